"""Snapshots of runs: what they hold, as JSON and back, and contexts made of them."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from task_pipeline import Outcome, Pipeline, PipelineConfig, PipelineContext, Run
from task_pipeline.errors import (
    ContextCopyError,
    ContextTypeError,
    JournalDataError,
    JournalVersionError,
)
from task_pipeline.journal.snapshot import StateSnapshot, take_snapshot
from task_pipeline.testing import Gate


@dataclass
class Order(PipelineContext[Any]):
    total: int = 0
    parts: list[Any] = field(default_factory=list)


def snapshot_of(run: Run[Any]) -> StateSnapshot:
    return take_snapshot(run._execution, run._context)


def ended(**results: Any) -> Run[Any]:
    """A run that is over, with these results."""
    context = PipelineContext[Any](results=results)
    run: Run[Any] = Pipeline([lambda context: None]).start(context)
    run.result()
    return run


def some(**changes: Any) -> StateSnapshot:
    facts: dict[str, Any] = {
        "run_id": "r1",
        "pipeline": "nightly",
        "taken_at": datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
        "progress": 12.5,
        "outcome": None,
        "statuses": {"load": "succeeded", "parse": "running"},
        "results": {"a": (1, {2}), 5: None},
        "errors": [ValueError("x")],
        "fields": {"total": b"x"},
    }
    return StateSnapshot(**{**facts, **changes})


def test_a_snapshot_says_where_the_run_is() -> None:
    gate = Gate()

    def load(context) -> None:
        context.results["rows"] = [1, {"x": 2}]
        context.total = 5
        context.parts.append("p")

    def wait(context) -> None:
        gate.wait()

    run: Run[Any] = Pipeline([load, wait, load], name="nightly").start(Order(shared={"lock": gate}))
    try:
        gate.wait_until_reached()
        before = datetime.now(UTC)
        snapshot = snapshot_of(run)
        assert (snapshot.run_id, snapshot.pipeline) == (run.run_id, "nightly")
        assert snapshot.outcome is None
        assert before <= snapshot.taken_at <= datetime.now(UTC)
        assert snapshot.taken_at.tzinfo is UTC
        assert snapshot.statuses == {"load": "succeeded", "wait": "running", "load#2": "pending"}
        assert 33 < snapshot.progress < 34
        assert snapshot.results == {"rows": [1, {"x": 2}]}
        assert snapshot.fields == {"total": 5, "parts": ["p"]}
    finally:
        gate.open()
    context = run.result()
    after = snapshot_of(run)
    assert after.outcome is Outcome.SUCCEEDED and after.progress == 100.0
    assert snapshot.diff(after).statuses == {
        "wait": ("running", "succeeded"),
        "load#2": ("pending", "succeeded"),
    }
    # Later changes do not show in what was taken.
    context.results["rows"][1]["x"] = 9
    context.parts.append("q")
    assert after.results["rows"][1] == {"x": 2}
    assert after.fields["parts"] == ["p", "p"]


def test_errors_are_the_objects_that_they_are() -> None:
    def boom(context) -> None:
        raise ValueError("x")

    config = PipelineConfig(fail_fast=False)
    run: Run[Any] = Pipeline([boom], config=config).start()
    context = run.result()
    snapshot = snapshot_of(run)
    assert snapshot.errors[0] is context.errors[0]
    assert snapshot.errors is not context.errors


def test_what_shared_holds_and_an_error_in_the_results_are_not_copied() -> None:
    lock = threading.Lock()
    error = ValueError("x")
    context = PipelineContext[Any](shared={"lock": lock}, errors=[error])
    context.results.update(lock=lock, error=[error], twice=[1])
    context.results["once more"] = context.results["twice"]
    run: Run[Any] = Pipeline([lambda context: None]).start(context)
    run.result()
    snapshot = snapshot_of(run)
    assert snapshot.results["lock"] is lock and snapshot.results["error"][0] is error
    assert snapshot.results["once more"] is snapshot.results["twice"]


def test_a_value_that_cannot_be_copied_is_an_error_with_its_place() -> None:
    run = ended(a=[threading.Lock()])
    with pytest.raises(ContextCopyError, match=r"results\['a'\] holds a list"):
        snapshot_of(run)


# Steps go on while the copy is made


class Restless(dict[Any, Any]):
    """A dict that is changed while it is copied: the first times only, or always."""

    disturbances = 3

    def __deepcopy__(self, memo: Any) -> dict[Any, Any]:
        made = {}
        for key in self:
            made[key] = self[key]
            if self.disturbances:
                type(self).disturbances -= 1
                self[len(self)] = 1
        return made


def test_a_copy_that_a_step_disturbs_is_made_again() -> None:
    Restless.disturbances = 3
    run = ended(a=Restless(x=1))
    assert snapshot_of(run).results["a"]["x"] == 1


def test_a_copy_that_is_always_disturbed_is_an_error() -> None:
    Restless.disturbances = 10**6
    run = ended(a=Restless(x=1))
    with pytest.raises(ContextCopyError, match="changed size"):
        snapshot_of(run)


class RestlessErrors(list[Any]):
    times = 0

    def __iter__(self) -> Iterator[Any]:
        RestlessErrors.times -= 1
        if RestlessErrors.times >= 0:
            raise RuntimeError("changed while it is read")
        return super().__iter__()


def test_results_that_are_more_than_a_dict_stay_so() -> None:
    run: Run[Any] = Pipeline([lambda context: None]).start(
        PipelineContext[Any](results=defaultdict(list, {"a": [1]}))
    )
    context = run.result()
    snapshot = snapshot_of(run)
    assert snapshot.results == {"a": [1]} and type(snapshot.results) is defaultdict
    assert snapshot.results["a"] is not context.results["a"]
    made = StateSnapshot.from_json(snapshot.to_json())
    assert made.results["b"] == []
    assert snapshot.fields == {}
    assert PipelineContext[Any].from_snapshot(made).results["c"] == []


@pytest.mark.parametrize(("times", "told"), [(5, None), (10**6, "faster than it can be copied")])
def test_errors_that_change_while_they_are_read_are_read_again(times, told) -> None:
    run: Run[Any] = Pipeline([lambda context: None]).start(PipelineContext())
    context = run.result()
    context.errors = RestlessErrors([ValueError("x")])
    RestlessErrors.times = times
    if told is None:
        assert str(snapshot_of(run).errors[0]) == "x"
    else:
        with pytest.raises(ContextCopyError, match=told):
            snapshot_of(run)


@pytest.fixture
def restless_threads() -> Iterator[None]:
    """Threads give way to each other far more often than they usually do."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.usefixtures("restless_threads")
def test_snapshots_can_be_taken_all_the_while_steps_write() -> None:
    stop = threading.Event()
    begun = threading.Event()

    def write(context) -> None:
        inner = context.results["inner"]  # the run's own: a serial step is given no copy
        number = 0
        while not stop.is_set():
            number += 1
            inner[number % 300] = [number]
            begun.set()
            if number % 7 == 0:
                inner.clear()

    context = PipelineContext[Any](results={"inner": {}})
    run: Run[Any] = Pipeline([write]).start(context)
    try:
        assert begun.wait(10)
        seen: set[str] = set()
        while len(seen) < 100:
            snapshot = snapshot_of(run)
            assert snapshot.statuses == {"write": "running"}
            seen.add(str(snapshot.results))
    finally:
        stop.set()
    run.result()


def test_the_context_of_a_branch_is_not_touched_by_a_snapshot_of_a_run_inside() -> None:
    copied: list[str] = []

    class Value:
        def __deepcopy__(self, memo: Any) -> Value:
            copied.append(threading.current_thread().name)
            return self

    seen: list[Any] = []

    def inside(context) -> None:
        run: Run[Any] = Pipeline([lambda context: None]).start(context)
        run.result()
        copied.clear()
        snapshot = snapshot_of(run)
        seen.append((snapshot, len(copied), "results" in context.__dict__))

    context = Order(results={"a": Value()}, total=3, errors=[ValueError("x")])
    Pipeline([[inside, lambda context: None]]).run(context)
    snapshot, copies, was_touched = seen[0]
    assert snapshot.results.keys() == {"a"} and snapshot.fields["total"] == 3
    assert str(snapshot.errors[0]) == "x"
    assert copies == 1
    assert not was_touched


# As JSON


def test_a_snapshot_comes_back_from_json() -> None:
    snapshot = some()
    made = StateSnapshot.from_json(snapshot.to_json())
    assert "\n" not in snapshot.to_json()
    for name in ("run_id", "pipeline", "taken_at", "progress", "outcome", "statuses", "results"):
        assert getattr(made, name) == getattr(snapshot, name)
    assert made.fields == {"total": b"x"} and type(made.results["a"]) is tuple
    assert str(made.errors[0]) == "x"
    assert not made.diff(snapshot)
    ended = some(outcome=Outcome.TIMED_OUT, progress=100)
    assert StateSnapshot.from_json(ended.to_json()).outcome is Outcome.TIMED_OUT


def test_all_of_a_large_snapshot_is_in_its_text() -> None:
    snapshot = some(results={"big": b"x" * 2_000_000})
    assert StateSnapshot.from_json(snapshot.to_json()).results == snapshot.results


def test_data_that_is_not_known_is_named_with_its_place() -> None:
    with pytest.raises(
        JournalDataError, match=r"the snapshot of the run 'r1' .*results\['a'\] is a"
    ):
        some(results={"a": open}).to_json()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"kind": "Event"}, "it has not the kind of one"),
        ({"version": "1"}, "version is '1'"),
        ({"version": 0}, "version is 0"),
        ({"version": True}, "version is True"),
        ({"run_id": 5}, "run_id is 5, not a text"),
        ({"progress": 101}, "progress is 101, not a number from 0 to 100"),
        ({"progress": True}, "progress is True"),
        ({"taken_at": "2024-01-01"}, "taken_at is '2024-01-01', not a time"),
        ({"taken_at": "yesterday"}, "taken_at is 'yesterday'"),
        ({"taken_at": None}, "taken_at is None"),
        ({"outcome": "well"}, "outcome is 'well', not the name of an outcome"),
        ({"statuses": {"a": 1}}, "statuses is {'a': 1}"),
        ({"statuses": []}, "statuses is []"),
        ({"state": {}}, "state is {}, not a text"),
        ({"state": "{"}, "the snapshot of the run 'r1' cannot be read"),
        ({"state": '{"m":["a"]}'}, "deleted or moved"),
        ({"state": '{"r":{"a":{"$":"deleted"}}}'}, "deleted or moved"),
        (
            {"state": '{"r":{"a":{"$":"large","as":"str","digest":"%s","size":1}}}' % ("0" * 64)},
            "not",
        ),
    ],
)
def test_what_is_no_snapshot_is_an_error(changes, told) -> None:
    text = json.dumps({**json.loads(some().to_json()), **changes})
    with pytest.raises(JournalDataError) as caught:
        StateSnapshot.from_json(text)
    assert told in str(caught.value)


@pytest.mark.parametrize("text", ["", "5", "[]", "{", "[" * 100_000, "null", '{"kind":5}', None])
def test_what_is_no_json_of_a_snapshot_is_an_error(text) -> None:
    with pytest.raises(JournalDataError):
        StateSnapshot.from_json(text)


def test_a_snapshot_of_a_newer_version_is_an_error() -> None:
    text = json.dumps({**json.loads(some().to_json()), "version": 2})
    with pytest.raises(JournalVersionError, match=r"version 2, .* reads up to 1\. Upgrade"):
        StateSnapshot.from_json(text)


def test_a_snapshot_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        some().progress = 5  # type: ignore[misc]  # that is the point


# A context made of one


def test_a_context_is_made_with_copies_of_the_data() -> None:
    lock = threading.Lock()
    snapshot = some(fields={"total": 5, "parts": [[1]]})
    context = Order.from_snapshot(snapshot, app_config={"x": 1}, shared={"lock": lock})
    assert type(context) is Order
    assert context.results == snapshot.results and context.total == 5
    assert context.app_config == {"x": 1} and context.shared == {"lock": lock}
    assert context.errors == snapshot.errors and context.errors is not snapshot.errors
    context.parts[0].append(2)
    context.results["b"] = 1
    assert snapshot.fields["parts"] == [[1]] and "b" not in snapshot.results
    Pipeline([lambda context: 42]).run(context)


def test_an_error_that_is_in_the_results_too_stays_one_object() -> None:
    error = ValueError("x")
    snapshot = some(results={"why": error}, errors=[error], fields={})
    context = PipelineContext[Any].from_snapshot(snapshot)
    assert context.results["why"] is context.errors[0] is error


def test_what_a_context_has_no_field_for_is_an_error() -> None:
    with pytest.raises(
        ContextTypeError, match=r"PipelineContext cannot be made .* no field 'total'"
    ):
        PipelineContext.from_snapshot(some())
    with pytest.raises(ContextTypeError, match="no field 'results', 'total'"):
        PipelineContext.from_snapshot(some(), results={})


@dataclass
class Derived(PipelineContext[Any]):
    needed: int = field(kw_only=True)
    ready: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.ready = True
        self.results["made"] = 1
        self.lock = threading.Lock()


def test_what_was_recorded_stands_above_what_a_post_init_makes() -> None:
    snapshot = some(results={"a": 1}, fields={"needed": 3, "ready": False})
    context = Derived.from_snapshot(snapshot)
    assert (context.needed, context.ready) == (3, False)
    assert context.lock.acquire(blocking=False)
    assert context.results == {"a": 1}
    assert snapshot.results == {"a": 1}


def test_a_field_that_is_needed_and_not_there_is_an_error() -> None:
    with pytest.raises(ContextTypeError, match="'needed'"):
        Derived.from_snapshot(some(fields={}))
