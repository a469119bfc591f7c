"""Deadlines are kept whatever a step does, and nothing is left behind: guarantees 6, 7 and 8."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ...config import ErrorStrategy, ParallelConfig, PipelineConfig
from ...engine.bus import EventBus
from ...errors import (
    GroupTimeoutError,
    ParallelGroupError,
    PipelineDefinitionError,
    RunCancelledError,
    RunTimeoutError,
    StepTimeoutError,
)
from ...events import AttemptEnded, Event, GroupStarted, RunStarted, StepStarted
from ...groups import Parallel
from ...steps import step
from .base import Conformance, Steps, Watched, check_events, equal, raised, true
from .steps import Computes, Meet, Nap, boom, nothing, time_left, traces

SOON = 0.1
"""Seconds to the deadlines, where a step takes no time."""
LONG = 0.2
"""Seconds that a step takes there which passes one."""


class DeadlinesConformance(Conformance):
    """Timeouts of steps, groups and runs, groups that end early, runs that are cancelled.

    An executor that cannot leave a step refuses those that might have to be left.
    """

    @property
    def soon(self) -> float:
        """Seconds to the deadlines: time enough for a step that does nothing."""
        return SOON + self.latency

    @property
    def long(self) -> float:
        """Seconds that a step takes which passes one."""
        return LONG + self.latency

    def test_a_step_is_left_at_its_timeout(self) -> None:
        """And fails with `StepTimeoutError`; what it still does is dropped."""
        for kind in (Nap, Computes):
            folder = self.folder()
            late: Steps = [kind(self.long, folder, timeout=self.soon)]
            watched = self._in_time(late, StepStarted, StepTimeoutError)
            if watched is None:
                return
            self._let_end(folder)
            equal(watched.results, {}, "what the step has left that passed its timeout")
            check_events(watched.events)

    def test_a_group_is_judged_at_its_timeout(self) -> None:
        """By the branches that have ended by then."""
        folder = self.folder()
        slow = Parallel(
            [Nap(self.long, folder), nothing], name="slow", config=ParallelConfig(timeout=self.soon)
        )
        expected = {"nap": "timed_out", "nothing": "succeeded"}
        watched = self._in_time(
            [slow],
            GroupStarted,
            GroupTimeoutError,
            meets=lambda watched: watched.statuses == expected,
        )
        if watched is None:
            return
        assert isinstance(watched.error, GroupTimeoutError)
        equal(dict(watched.error.outcomes), expected, "the branches' outcomes")
        self._let_end(folder)
        equal(watched.results, {}, "what the branch has left that passed the timeout")

    def test_a_run_ends_at_its_timeout(self) -> None:
        """With `RunTimeoutError`; what has not begun never does."""
        folder = self.folder()
        config = PipelineConfig(timeout=self.soon)
        steps: Steps = [Nap(self.long, folder), nothing]
        watched = self._in_time(steps, RunStarted, RunTimeoutError, config=config)
        if watched is None:
            return
        equal(watched.statuses, {"nap": "timed_out", "nothing": "cancelled"}, "the outcomes")
        self._let_end(folder)

    def test_a_group_that_fails_fast_ends_early(self) -> None:
        """At the first failure, without the branches that are still under way."""
        folder = self.folder()
        config = ParallelConfig(error_strategy=ErrorStrategy.FAIL_FAST)
        fast = Parallel([Nap(self.long, folder), boom], config=config)
        expected = {"nap": "cancelled", "boom": "failed"}
        watched = self._in_time(
            [fast],
            AttemptEnded,
            ParallelGroupError,
            after=0.0,
            meets=lambda watched: watched.statuses == expected,
        )
        if watched is None:
            return
        self._let_end(folder)
        equal(watched.results, {}, "what the branch has left that was cancelled")
        check_events(watched.events)

    def test_a_run_can_be_cancelled(self) -> None:
        """It ends at once, whatever its steps do."""
        if not self.capabilities.leaves:
            return
        tries = []
        for _ in range(3):
            tries.append(self._cancelled())
            if tries[-1] <= self.lateness:
                return
        raise AssertionError(f"the run ended {_seconds(tries)} after it was cancelled")

    def _cancelled(self) -> float:
        """Seconds from the wish that a run ends to its end."""
        folder = self.folder()
        bus = EventBus(history=1_000)
        run = self.pipeline([[Nap(self.long, folder), nothing], nothing], event_bus=bus).start()
        self.wait_for(lambda: traces(folder, "began1"), "the step has begun")
        asked_at = time.monotonic()
        run.cancel()
        try:
            run.result(self.patience)
        except RunCancelledError:
            took = time.monotonic() - asked_at
        else:
            raise AssertionError("a run that was cancelled raises RunCancelledError")
        statuses = {name: about["status"] for name, about in run.status()["step_details"].items()}
        equal(statuses["nap"], "cancelled", "the outcome of the step that was under way")
        equal(statuses["nothing#2"], "cancelled", "the outcome of one that had not begun")
        self._let_end(folder)
        check_events(bus.history)
        return took

    def test_a_step_is_tried_again_once_its_late_attempt_is_over(self) -> None:
        """That is killed if the executor can, and is waited for if not."""
        folder = self.folder()
        kills = self.capabilities.kills
        # An attempt that is not killed must end while there is time for another one. A worker
        # that takes the place of a killed one has things to import within the timeout.
        timeout = 3 * self.soon
        seconds = 6 * timeout if kills else 1.5 * timeout
        nap = Nap(seconds, folder, timeout=timeout, retries=3)
        if self._refuses([nap], "timeout"):
            return
        self._warm_up()
        watched = self.watch([nap]).succeeded()
        attempts = [event for event in watched.events if isinstance(event, StepStarted)]
        true(len(attempts) > 1, "there is a second attempt")
        equal(watched.results, {"napped": len(attempts)}, "what the last attempt has left")
        check_events(watched.events)
        between = attempts[1].monotonic - attempts[0].monotonic
        ended = traces(folder, "ended1")
        equal(ended, 0 if kills else 1, "how often the late attempt came to its end")
        is_right = between < seconds if kills else between >= seconds
        true(is_right, f"an attempt of {seconds} s was followed by the next after {between:.3f} s")

    def test_a_timeout_counts_from_the_begin_of_its_step(self) -> None:
        """Not from when it waits for a worker, which one that was left may still have."""
        folder = self.folder()
        late = Nap(2 * self.long, folder, timeout=self.soon)
        late.critical = False
        timed = Nap(0.0, self.folder(), timeout=2 * self.soon)
        steps: Steps = [[late] * self.workers, timed]
        if self._refuses(steps, "timeout"):
            return
        self._warm_up()
        watched = self.watch(steps)
        statuses = list(watched.succeeded().statuses.values())
        equal(statuses, ["timed_out"] * self.workers + ["succeeded"], "the steps' outcomes")
        self._let_end(folder)

    def test_a_step_knows_how_much_time_it_has(self) -> None:
        """The nearest of the deadlines over it; None if there is none."""
        equal(self.watch([time_left]).succeeded().results, {}, "what there is without a deadline")
        if not self.capabilities.leaves:
            return
        config = PipelineConfig(timeout=60.0)
        timed = step(timeout=50.0)(time_left)
        results = self.watch([[time_left, timed]], config=config).succeeded().results
        for name, most in (("time_left", 60.0), ("time_left#2", 50.0)):
            left = results[name]
            true(most - 10.0 < left <= most, f"{name} has {left} of {most} seconds")

    def test_a_step_within_its_timeout_is_as_any_other(self) -> None:
        """However often it is run."""
        timed = Nap(0.0, self.folder(), timeout=self.patience)
        if not self._refuses([timed], "timeout"):
            watched = self.watch([[timed] * 5, timed]).succeeded()
            equal(set(watched.statuses.values()), {"succeeded"}, "the outcomes")

    def test_after_steps_were_left_all_workers_are_there_again(self) -> None:
        """As soon as what was left has ended."""
        if not self.capabilities.leaves:
            return
        folder = self.folder()
        late = Nap(self.long, folder, timeout=self.soon)
        self._warm_up()
        pipeline = self.pipeline([[late] * self.workers])
        try:
            pipeline.run()
        except ParallelGroupError:
            self._let_end(folder)
        else:
            raise AssertionError("steps that pass their timeout fail")
        left = pipeline.get_status
        self.wait_for(lambda: left()["abandoned"] == 0, "nobody is inside a step that was left")
        self._warm_up()

    # What they share

    def _in_time(
        self,
        steps: Steps,
        begins: type[Event],
        kind: type[Exception],
        *,
        after: float | None = None,
        config: PipelineConfig | None = None,
        meets: Callable[[Watched], object] = bool,
    ) -> Watched | None:
        """A run that has ended `after` seconds from an event, with an error of a kind.

        None if the executor has rightly refused it. How late it is depends on the machine too,
        as does how far its other steps have come: the best of three counts.
        """
        if self._refuses(steps, "", config):
            return None
        self._warm_up()
        delay = self.soon if after is None else after
        tries = []
        for _ in range(3):
            watched = self.watch(steps, config=config)
            raised(watched.error, kind)
            tries.append(watched.ended_at - watched.first(begins).monotonic - delay)
            if tries[-1] <= self.lateness and meets(watched):
                return watched
        raise AssertionError(
            f"the run went on {_seconds(tries)} after its deadline, with {self.lateness} s "
            f"allowed; the steps' outcomes were {watched.statuses}"
        )

    def _warm_up(self) -> None:
        """Have the workers there, with all that they need for the suite's steps."""
        meet = Meet(self.folder(), self.workers, self.patience)
        self.watch([[meet] * self.workers]).succeeded()

    def _refuses(self, steps: Steps, why: str, config: PipelineConfig | None = None) -> bool:
        """Whether the executor cannot leave a step, and so takes none that may have to be left."""
        if self.capabilities.leaves:
            return False
        try:
            self.pipeline(steps, config)
        except PipelineDefinitionError as error:
            raised(error, PipelineDefinitionError, "step", "path", why)
            return True
        raise AssertionError("an executor that cannot leave a step refuses one with a deadline")

    def _let_end(self, folder: Path) -> None:
        """Wait until what was left has ended, if nothing ends it."""
        if not self.capabilities.kills:
            self.wait_for(
                lambda: traces(folder, "ended1") >= traces(folder, "began1"),
                "what was left has ended",
            )


def _seconds(tries: list[float]) -> str:
    return ", ".join(f"{seconds:.3f} s" for seconds in tries)
