"""What goes to a step and comes back from it, wherever it runs: guarantees 10 and 14."""

from __future__ import annotations

import array
import copy
import datetime
import decimal
import functools
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any

from ...context import PipelineContext
from ...errors import NotPortableError
from ...groups import TaskStep
from ...steps import step
from .base import Conformance, Steps, check_events, equal, raised, true
from .changing_steps import (
    SIZE,
    Adds,
    looks_at_errors,
    makes_a_lock,
    makes_array,
    raises_all,
    raises_from,
    reads_shared,
    sums,
    takes_more,
    touches_values,
)
from .steps import (
    WHO,
    Once,
    add_one,
    answer,
    boom,
    traces,
    waits_a_turn,
    where,
    who,
)

VALUES: dict[str, Any] = {
    "tuple": (1, (2, 3)),
    "frozenset": frozenset({1, 2}),
    "bytes": b"\x00\xff",
    "decimal": decimal.Decimal("1.10"),
    "time": datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC),
    "none": None,
    "ordered": OrderedDict(b=1, a=2),
    "default": defaultdict(list, {"a": [1]}),
    "complex": 1j,
    "large": 10**50,
}


class TravellingConformance(Conformance):
    """Steps, values, exceptions, context variables; and runs that are taken up again."""

    def test_steps_of_every_kind_run(self) -> None:
        """Functions of a module, lambdas, closures, partials, methods, objects, coroutines."""
        amount = 3

        def closure(context: Any) -> int:
            return amount

        steps: Steps = [
            answer,
            [lambda context: 1, closure, Adds(4), step(step_id="method")(Adds(5).doubled)],
            functools.partial(takes_more, 6),
            step(step_id="named", retries=1)(lambda context: context.attempt),
        ]
        expected = {
            "answer": 42,
            "lambda": 1,
            "closure": 3,
            "adds": 4,
            "method": 10,
            "takes_more": 6,
            "named": 1,
        }
        equal(self.watch(steps).succeeded().results, expected, "what the steps have returned")

    def test_a_coroutine_is_awaited(self) -> None:
        """In a series and in a branch, and if a plain function returns it."""
        later = step(step_id="later")(lambda context: waits_a_turn(context))  # noqa: PLW0108
        results = self.watch([waits_a_turn, [waits_a_turn, later]]).succeeded().results
        equal(results["trail"], ["coroutine"] * 3, "what the coroutines have done")
        for name in ("waits_a_turn", "waits_a_turn#2", "later"):
            equal(results[name], "came back", f"what {name} has returned")

    def test_a_step_knows_which_one_it_is(self) -> None:
        """Its id, its attempt, its idempotency key; and it sees the application's settings."""
        context: PipelineContext[Any] = PipelineContext(app_config={"setting": [1]})
        watched = self.watch([[where, where]], context).succeeded()
        for index, name in enumerate(("where", "where#2")):
            key = f"{watched.events[0].run_id}/0.{index}/{name}"
            expected = (name, 1, key, {"setting": [1]})
            equal(tuple(watched.results[name]), expected, f"what {name} knows")

    def test_context_variables_of_the_caller_are_seen(self) -> None:
        """And what a step does to them leaks nowhere."""

        def run() -> tuple[list[str], str]:
            WHO.set("the caller")
            results = self.watch([who, [who, who], who]).succeeded().results
            return list(results.values()), WHO.get()

        seen, after = copy_context().run(run)
        equal(seen, ["the caller"] * 4, "what the steps see")
        equal(after, "the caller", "what the caller sees afterwards")

    def test_values_keep_their_types(self) -> None:
        """Whatever can be pickled."""
        context: PipelineContext[Any] = PipelineContext(results=copy.deepcopy(VALUES))
        results = self.watch([[touches_values], add_one], context).succeeded().results
        for name, value in VALUES.items():
            for key in (name, f"{name} again"):
                equal((results[key], type(results[key])), (value, type(value)), key)

    def test_an_exception_keeps_its_cause(self) -> None:
        """The one it was raised from."""
        error = raised(self.watch([raises_from]).error, KeyError, "not there")
        raised(error.__cause__, ValueError, "boom")

    def test_a_step_sees_what_has_failed_before_it(self) -> None:
        """In `context.errors`."""
        fails = step(critical=False)(boom)
        results = self.watch([[fails, fails], looks_at_errors]).succeeded().results
        equal(results["looks_at_errors"], ["ValueError: boom"] * 2, "the errors it sees")

    def test_data_that_cannot_be_pickled_is_reported_before_the_run(self) -> None:
        """With its path, if it has to be pickled at all; no step has run by then."""
        folder, lock = self.folder(), threading.Lock()
        context: PipelineContext[Any] = PipelineContext(results={"page": [{"lock": lock}]})
        watched = self.watch([self._on_thread(folder), [add_one]], context)
        if self.capabilities.needs_pickling:
            raised(watched.error, NotPortableError, "results['page'][0]['lock']", "lock")
            equal(traces(folder, "first"), 0, "how many steps have run")
        else:
            true(watched.succeeded().results["page"][0]["lock"] is lock, "it is the same lock")

    def test_data_that_a_thread_has_made_and_cannot_be_pickled_fails_who_is_to_have_it(
        self,
    ) -> None:
        """With its path, if it has to be pickled."""
        watched = self.watch([step(executor="thread")(makes_a_lock), add_one])
        if self.capabilities.needs_pickling:
            raised(watched.error, NotPortableError, "results['page']['lock']")
            equal(watched.statuses["add_one"], "failed", "the outcome of the step after it")
            check_events(watched.events)
        else:
            equal(watched.succeeded().results["count"], 1, "the result of the step after it")

    def test_a_step_that_cannot_be_pickled_is_reported_before_the_run(self) -> None:
        """Naming the step, and what of it cannot be; no step has run by then."""
        folder, lock = self.folder(), threading.Lock()

        def holds_a_lock(context: Any) -> bool:
            with lock:
                return True

        watched = self.watch([self._on_thread(folder), [holds_a_lock]])
        if self.capabilities.needs_pickling:
            raised(watched.error, NotPortableError, "holds_a_lock", "1.0", "'lock'")
            equal(traces(folder, "first"), 0, "how many steps have run")
        else:
            true(watched.succeeded().results["holds_a_lock"], "the step has run")

    def _on_thread(self, folder: Path) -> TaskStep:
        """A step for which nothing has to be pickled."""
        first = Once("first", folder)
        first.executor = "thread"
        return first

    def test_a_result_that_cannot_be_pickled_fails_its_step(self) -> None:
        """With its path, if it has to be pickled."""
        steps: Steps = [makes_a_lock, step(critical=False)(add_one)]
        watched = self.watch(steps)
        if self.capabilities.needs_pickling:
            raised(watched.error, NotPortableError, "results['page']['lock']")
            equal(watched.statuses["makes_a_lock"], "failed", "the outcome of its step")
            check_events(watched.events)
        else:
            equal(watched.succeeded().results["page"]["numbers"], [1], "the result")
        equal(self.watch([add_one]).succeeded().results, {"count": 1}, "a run after it")

    def test_what_is_shared_is_the_callers_own(self) -> None:
        """Where memory is shared; elsewhere a step that touches it fails, naming the key."""
        counter: list[int] = []
        context: PipelineContext[Any] = PipelineContext(
            shared={"counter": counter, "lock": threading.Lock()}
        )
        watched = self.watch([[reads_shared, reads_shared]], context)
        true(context.shared["counter"] is counter, "shared is what it was")
        if self.capabilities.shares_memory:
            seen = watched.succeeded().results["reads_shared"]
            equal((seen, counter), ([["counter", "lock"], 2, None], [1, 1]), "what is shared")
        else:
            assert isinstance(watched.error, BaseExceptionGroup)
            error = watched.error.exceptions[0]
            raised(error, NotPortableError, "shared['counter']")

    def test_large_arrays(self) -> None:
        """They are read, changed and made by steps; and can be changed afterwards."""
        for numbers in _arrays(self.has_numpy):
            context: PipelineContext[Any] = PipelineContext(results={"array": numbers})
            expected = float(sum(range(SIZE)))
            steps: Steps = [[sums, sums], raises_all, makes_array]
            results = self.watch(steps, context).succeeded().results
            kind = type(numbers).__name__
            equal((results["sums"], results["sums#2"]), (expected, expected), f"sums of {kind}")
            changed = results["array"]
            equal(type(changed), type(numbers), "the type of the array")
            ends = (float(changed[0]), float(changed[1]), float(changed[SIZE - 1]))
            equal(ends, (100.0, 1.0, 100.0), f"the ends of the changed {kind}")
            changed[1] = 5  # it is nobody else's, and not read-only
            results["makes_array"][0] = 5
            equal(len(results["makes_array"]), SIZE, "the length of the array that was made")

    def test_a_copy_of_a_pipeline_runs_on_the_same_executor(self) -> None:
        """As pipelines can be copied."""
        pipeline = copy.deepcopy(self.pipeline([[add_one, add_one]]))
        equal(pipeline.run().results, {"count": 2}, "the results of the copy")

    def test_a_recorded_run_goes_on_where_it_ended(self) -> None:
        """What has ended is not run again, with a journal."""
        folder = self.folder()
        steps: Steps = [
            Once("first", folder),
            [Once("left", folder), Once("right", folder, fails=True)],
            Once("last", folder),
        ]
        with _journal(f"sqlite:///{folder}/journal.db") as journal:
            pipeline = self.pipeline(steps, journal=journal)
            try:
                pipeline.run(run_id="conforming")
            except ExceptionGroup:
                (folder / "go").touch()
            context = pipeline.resume("conforming")
        counts = {name: traces(folder, name) for name in ("first", "left", "right", "last")}
        equal(counts, {"first": 1, "left": 1, "right": 2, "last": 1}, "how often each step ran")
        expected = {
            "first": "conforming/0/first",
            "left": "conforming/1.0/left",
            "right": "conforming/1.1/right",
            "last": "conforming/2/last",
        }
        equal(context.results, expected, "the results")


@contextmanager
def _journal(url: str) -> Iterator[Any]:
    from ...journal.opening import open_journal

    journal = open_journal(url)
    try:
        yield journal
    finally:
        journal.close()


def _arrays(with_numpy: bool) -> Iterator[Any]:
    yield array.array("d", range(SIZE))
    if not with_numpy:
        return
    try:
        import numpy as np
    except ModuleNotFoundError:
        return
    yield np.arange(SIZE, dtype="float64")
