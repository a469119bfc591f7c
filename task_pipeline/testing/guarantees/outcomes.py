"""One outcome for each step, and what becomes of what fails: guarantees 3, 7, 9 and 11."""

from __future__ import annotations

import functools
from typing import Any

from ...config import LogicOperator, ParallelConfig, PipelineConfig
from ...context import PipelineContext
from ...errors import ParallelGroupError, RecordedError, StepReturnError
from ...events import StepRetrying, StepSkipped
from ...groups import Parallel
from .acting_steps import ReturnsText
from .base import Conformance, Steps, check_events, equal, raised, true
from .steps import (
    Fails,
    Unportable,
    Unusual,
    add_one,
    boom,
    nothing,
    raises_unportable,
    raises_unusual,
    skips,
    stops,
)


def _disturb(event: Any) -> None:
    raise RuntimeError("an observer that raises")


class OutcomesConformance(Conformance):
    """Failures, retries, skipped and stopped steps."""

    def test_every_step_has_one_outcome_and_every_attempt_one_start_and_one_end(self) -> None:
        """Also those that fail, are tried again, give up their turn or end the run."""
        steps: Steps = [
            Fails(2, retries=2, name="third_time_lucky"),
            [Fails(1, critical=False, name="not_critical"), skips, add_one],
            stops,
            nothing,
        ]
        watched = self.watch(steps).succeeded()
        check_events(watched.events)
        expected = {
            "third_time_lucky": "succeeded",
            "not_critical": "failed",
            "skips": "skipped",
            "add_one": "succeeded",
            "stops": "succeeded",
            "nothing": "skipped",
        }
        equal(watched.statuses, expected, "the steps' outcomes")
        retries = [event for event in watched.events if isinstance(event, StepRetrying)]
        equal([event.attempt for event in retries], [1, 2], "the attempts that were tried again")

    def test_a_failure_is_the_steps_own_exception_and_ends_the_run(self) -> None:
        """Type, text and notes are kept; a note says which step, where and which attempt."""
        watched = self.watch([[add_one], Fails(9, retries=1), nothing])
        error = raised(watched.error, ValueError, "fails, attempt 2")
        notes = getattr(error, "__notes__", [])
        true("of the step's own" in notes, f"its own note is among its notes: {notes}")
        known = any("'fails'" in note and "2 of 2" in note and "1" in note for note in notes)
        true(known, f"step, path and attempt are among its notes: {notes}")
        equal(watched.statuses["nothing"], "skipped", "the outcome of the step after it")
        check_events(watched.events)

    def test_the_errors_of_what_is_not_critical_are_kept(self) -> None:
        """Each once, with its type, text and notes; and the run goes on."""
        steps: Steps = [[Fails(9, critical=False), Fails(9, name="other", critical=False)], add_one]
        watched = self.watch(steps).succeeded()
        errors = watched.context.errors
        told = [(type(error), str(error)) for error in errors]
        expected = [(ValueError, "fails, attempt 1"), (ValueError, "other, attempt 1")]
        equal(told, expected, "context.errors")
        for error in errors:
            equal(error.__notes__.count("of the step's own"), 1, "how often its own note is there")
        equal(watched.results["count"], 1, "what the step after them has done")

    def test_a_run_that_goes_on_records_each_error_once(self) -> None:
        """With `fail_fast=False`."""
        steps: Steps = [boom, [boom, add_one], add_one]
        watched = self.watch(steps, config=PipelineConfig(fail_fast=False)).succeeded()
        texts = [str(error) for error in watched.context.errors]
        equal(texts, ["boom", "boom"], "context.errors")
        equal(watched.results["count"], 2, "what the others have counted")

    def test_a_group_raises_the_errors_of_all_its_branches(self) -> None:
        """In a `ParallelGroupError`, with every branch's outcome."""
        group = Parallel([Fails(9), nothing, Fails(9, name="other")], name="three")
        error = raised(self.watch([group]).error, ParallelGroupError, "three", "fails", "other")
        assert isinstance(error, ParallelGroupError)
        texts = [str(inner) for inner in error.exceptions]
        equal(texts, ["fails, attempt 1", "other, attempt 1"], "its exceptions")
        outcomes = {"fails": "failed", "nothing": "succeeded", "other": "failed"}
        equal(dict(error.outcomes), outcomes, "its outcomes")

    def test_a_failed_isolated_attempt_leaves_nothing(self) -> None:
        """An attempt sees what was before the first, not what the last one did."""
        watched = self.watch([Fails(2, retries=2)], PipelineContext(results={"touched": []}))
        expected = {"touched": [3], "fails": 3}
        equal(watched.succeeded().results, expected, "what the third attempt has left")
        failed = self.watch([Fails(9, retries=1, critical=False)]).succeeded()
        equal(failed.results, {}, "what a step has left that failed in all attempts")

    def test_what_a_step_did_before_it_failed_stays_if_it_is_not_isolated(self) -> None:
        """As a step on a thread works on its run's context in place."""
        failed = self.watch([Fails(9, critical=False)]).succeeded()
        equal(failed.results, {"touched": [1]}, "what a failed step has left")

    def test_a_step_that_gives_up_its_turn_is_skipped_and_says_why(self) -> None:
        """What it has done until then stays."""
        watched = self.watch([skips, add_one]).succeeded()
        equal(watched.results, {"skipped": True, "count": 1}, "the results")
        event = watched.first(StepSkipped, "skips")
        assert isinstance(event, StepSkipped)
        equal((event.reason, event.attempt), ("nothing to do", 1), "the reason and the attempt")

    def test_a_step_can_end_the_run_well(self) -> None:
        """What it ends it with is its result; what comes after is skipped."""
        watched = self.watch([add_one, stops, [nothing, add_one]]).succeeded()
        equal(watched.results, {"count": 1, "stops": "enough"}, "the results")
        equal(watched.statuses["nothing"], "skipped", "the outcome of a step after it")
        check_events(watched.events)

    def test_a_class_step_may_not_return_just_anything(self) -> None:
        """As everywhere, it is the step's error."""
        watched = self.watch([ReturnsText()])
        raised(watched.error, StepReturnError, "returns_text", "str")

    def test_an_exception_that_pickling_does_not_bring_back_is_the_steps_own(self) -> None:
        """As its class wants to be made in another way than pickling does."""
        raised(self.watch([raises_unusual]).error, Unusual, "no such thing (7)")

    def test_an_exception_that_cannot_be_pickled_is_known_by_type_and_text(self) -> None:
        """Where it does not have to be pickled it is the very exception."""
        error = self.watch([raises_unportable]).error
        if self.capabilities.needs_pickling:
            recorded = raised(error, RecordedError, "Unportable", "locked")
            assert isinstance(recorded, RecordedError)
            true(recorded.type_name.endswith(".Unportable"), recorded.type_name)
        else:
            raised(error, Unportable, "locked")

    def test_an_observer_that_raises_changes_nothing(self) -> None:
        """Neither the result nor what others are told."""
        pipeline = self.pipeline([[add_one, add_one], Fails(1, critical=False)])
        with pipeline.subscribe(_disturb):
            context = pipeline.run()
        equal(context.results["count"], 2, "what the steps have counted")
        equal(pipeline.get_status()["progress"], 100.0, "the progress at the end")

    def test_progress_never_goes_back_and_reaches_100(self) -> None:
        """Each time something ends."""
        seen: list[float] = []
        note = functools.partial(_note_progress, seen)
        pipeline = self.pipeline([[add_one] * 3, [nothing, [add_one, skips]], add_one])
        with pipeline.subscribe(lambda event: note(pipeline.get_status())):
            pipeline.run()
        note(pipeline.get_status())
        equal(seen, sorted(seen), "the progress, each time something happened,")
        equal(seen[-1], 100.0, "the progress at the end")

    def test_a_group_with_an_operator_is_judged_by_it(self) -> None:
        """Here: one success is enough."""
        config = ParallelConfig(operator=LogicOperator.OR)
        watched = self.watch([Parallel([boom, add_one, skips], config=config)]).succeeded()
        equal(watched.results["count"], 1, "what the branch that succeeded has done")


def _note_progress(seen: list[float], status: dict[str, Any]) -> None:
    seen.append(status["progress"])
