"""The suite for executors finds what is wrong with one: each guarantee, broken once."""

from __future__ import annotations

import time
import unittest
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from task_pipeline.engine.calling import Call, Capabilities, Reply
from task_pipeline.executors.performing import perform
from task_pipeline.executors.portable import loads
from task_pipeline.testing.conformance import ExecutorConformance
from task_pipeline.testing.guarantees.deadlines import DeadlinesConformance
from tests.packed_calls import Line, PackedHere


class Careless(PackedHere):
    """Does everything, but for what a subclass does wrong."""

    def _perform(self, call: Call, packed: Any) -> None:
        if not call.begins():
            call.failed(RuntimeError("not wanted"))
            return
        function, image, about = map(loads, packed)
        reply = self.performed(call, function, image, self.told_of(about))
        if reply is not None:
            call.ended(reply)

    def told_of(self, about: Any) -> Any:
        return about

    def performed(self, call: Call, function: Any, image: Any, about: Any) -> Reply | None:
        return perform(function, image, about, Line(call))


class ForgetsErrors(Careless):
    def performed(self, *given: Any) -> Any:
        reply: Any = super().performed(*given)
        if reply.delta is not None:
            reply.delta.errors = []
        return reply


class ForgetsTheOrder(Careless):
    def performed(self, *given: Any) -> Any:
        reply: Any = super().performed(*given)
        if reply.delta is not None:
            reply.delta.moved = ()
        return reply


class ForgetsNotes(Careless):
    def performed(self, *given: Any) -> Any:
        reply: Any = super().performed(*given)
        if isinstance(reply.error, ValueError):
            reply.error = ValueError(*reply.error.args)
        return reply


class KeepsWhatFailed(Careless):
    def performed(self, *given: Any) -> Any:
        reply: Any = super().performed(*given)
        reply.error = None
        return reply


class CallsTwice(Careless):
    def performed(self, *given: Any) -> Any:
        super().performed(*given)
        return super().performed(*given)


class CountsNoAttempts(Careless):
    def told_of(self, about: Any) -> Any:
        return replace(about, attempt=1)


class HasNoVariables(Careless):
    def told_of(self, about: Any) -> Any:
        return replace(about, variables=())


class KnowsNoTime(Careless):
    def told_of(self, about: Any) -> Any:
        return replace(about, remaining=None)


class SharesItsData(Careless):
    """Gives all branches one and the same objects."""

    def performed(self, call: Call, function: Any, image: Any, about: Any) -> Any:
        image = self.__dict__.setdefault(f"image {call.run_id}", image)
        for key, value in image.results.items():
            if isinstance(value, list):
                value.append(f"seen by {call.node.path} under {key}")
        return super().performed(call, function, image, about)


class NeverSaysThatOneIsOver(Careless):
    def performed(self, call: Call, *given: Any) -> Any:
        reply = super().performed(call, *given)
        return reply if call.is_wanted else None


class SaysNothing(Careless):
    class Mute(Line):
        def progressed(self, percent: float) -> None:
            """Nothing."""

    def performed(self, call: Call, function: Any, image: Any, about: Any) -> Any:
        return perform(function, image, about, self.Mute(call))


class IsDeaf(Careless):
    class Deaf(Line):
        cancelled = False

    def performed(self, call: Call, function: Any, image: Any, about: Any) -> Any:
        return perform(function, image, about, self.Deaf(call))


class LooksAtNothingFirst(Careless):
    def preflight(self, steps: Any, context: Any) -> list[str]:
        return []


class CallsWhereItIsGivenThem(Careless):
    """Keeps the thread that hands over until the step has ended."""

    def submit(self, calls: Sequence[Call]) -> None:
        super().submit(calls)
        self._pool.submit(int).result()
        time.sleep(0.3)  # the step's work: what it does meanwhile in a real one


class TakesItsTimeToStop(Careless):
    def stop(self, calls: Sequence[Call]) -> None:
        time.sleep(0.3)  # the step's work: of what waits for a step to end


class SaysItKills(Careless):
    capabilities = Capabilities(reports=True, tells_start=True, kills=True)


class SaysItCannotLeave(Careless):
    capabilities = Capabilities(reports=True, tells_start=True, leaves=False)


class HasOneWorker(Careless):
    def __init__(self) -> None:
        super().__init__(1)


FOUND = [
    (ForgetsErrors, "test_whatever_a_step_does_to_its_context_is_what_it_does_on_a_thread"),
    (ForgetsTheOrder, "test_whatever_a_step_does_to_its_context_is_what_it_does_on_a_thread"),
    (ForgetsTheOrder, "test_drawn_pipelines_come_to_the_same_everywhere"),
    (ForgetsNotes, "test_a_failure_is_the_steps_own_exception_and_ends_the_run"),
    (ForgetsNotes, "test_the_errors_of_what_is_not_critical_are_kept"),
    (KeepsWhatFailed, "test_a_failed_isolated_attempt_leaves_nothing"),
    (KeepsWhatFailed, "test_a_step_can_end_the_run_well"),
    (KeepsWhatFailed, "test_an_exception_keeps_its_cause"),
    (CallsTwice, "test_a_recorded_run_goes_on_where_it_ended"),
    (CountsNoAttempts, "test_a_failed_isolated_attempt_leaves_nothing"),
    (HasNoVariables, "test_context_variables_of_the_caller_are_seen"),
    (KnowsNoTime, "test_a_step_knows_how_much_time_it_has"),
    (SharesItsData, "test_branches_do_not_see_each_other_nor_the_parent_them"),
    (SharesItsData, "test_drawn_pipelines_come_to_the_same_everywhere"),
    (NeverSaysThatOneIsOver, "test_after_steps_were_left_all_workers_are_there_again"),
    (SaysNothing, "test_progress_and_log_are_heard_while_a_step_runs"),
    (IsDeaf, "test_a_step_hears_that_it_is_to_stop"),
    (LooksAtNothingFirst, "test_data_that_cannot_be_pickled_is_reported_before_the_run"),
    (LooksAtNothingFirst, "test_a_step_that_cannot_be_pickled_is_reported_before_the_run"),
    (CallsWhereItIsGivenThem, "test_a_group_is_judged_at_its_timeout"),
    (CallsWhereItIsGivenThem, "test_a_group_that_fails_fast_ends_early"),
    (TakesItsTimeToStop, "test_a_run_can_be_cancelled"),
    (SaysItKills, "test_a_step_is_tried_again_once_its_late_attempt_is_over"),
    (SaysItCannotLeave, "test_a_run_ends_at_its_timeout"),
    (HasOneWorker, "test_branches_run_side_by_side"),
]


@pytest.mark.parametrize(
    ("kind", "test"), FOUND, ids=[f"{kind.__name__}-{test[5:40]}" for kind, test in FOUND]
)
def test_it_finds_what_is_wrong(kind: type[Careless], test: str) -> None:
    class Wrong(ExecutorConformance):
        patience, drawn = 0.5, 5

        def make_executor(self) -> Careless:
            return kind()

    try:
        with pytest.raises((Exception, AssertionError)):
            getattr(Wrong(), test)()
    finally:
        Wrong.teardown_class()


def test_and_nothing_if_nothing_is() -> None:
    class Right(ExecutorConformance):
        drawn = 5

        def make_executor(self) -> Careless:
            return Careless()

    try:
        for test in sorted({test for _, test in FOUND} - set(vars(DeadlinesConformance))):
            getattr(Right(), test)()
    finally:
        Right.teardown_class()


def test_it_runs_with_unittest_too() -> None:
    class Both(ExecutorConformance, unittest.TestCase):
        made = 0

        def make_executor(self) -> str:
            type(self).made += 1
            return "inline"

    suite = unittest.TestSuite(
        [Both("test_any_nesting_completes"), Both("test_a_coroutine_is_awaited")]
    )
    result = unittest.TestResult()
    suite.run(result)
    assert (result.testsRun, result.failures, result.errors, Both.made) == (2, [], [], 1)


def test_it_says_what_has_to_be_written() -> None:
    with pytest.raises(NotImplementedError, match="ExecutorConformance needs a make_executor"):
        ExecutorConformance().test_any_nesting_completes()
    ExecutorConformance.teardown_class()


def test_it_does_not_take_what_is_no_executor() -> None:
    class Wrong(ExecutorConformance):
        def make_executor(self) -> str:
            return "somewhere"

    with pytest.raises(AssertionError, match="there is no executor 'somewhere'"):
        _ = Wrong().capabilities
