"""What events say, and what becomes of them in JSON."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
import math
import pickle
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from task_pipeline import (
    EventBus,
    EventFormatError,
    MergeConflictError,
    Parallel,
    ParallelConfig,
    ParallelGroupError,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    RecordedError,
    Serial,
    StepTimeoutError,
    step,
)
from task_pipeline import events as ev
from task_pipeline.events import Event
from task_pipeline.testing import Gate, ManualClock, Simulator

Context = PipelineContext[Any]
PATIENCE = 30.0
KINDS: list[type[Event]] = [
    kind for kind in vars(ev).values() if inspect.isclass(kind) and issubclass(kind, Event)
]


def a(context: Context) -> int:
    return 1


def b(context: Context) -> int:
    return 2


def fails(context: Context) -> None:
    raise ValueError("boom")


def events_of(pipeline: Pipeline, context: Context | None = None) -> list[Any]:
    """The events of a run, which may fail."""
    told: list[Any] = []
    with pipeline.subscribe(told.append):
        try:
            pipeline.run(context)
        except Exception:
            assert isinstance(told[-1], ev.RunFailed)
    return told


def of(kind: type[Event], told: list[Any]) -> list[Any]:
    return [event for event in told if isinstance(event, kind)]


# JSON

text = st.text(max_size=5)
number = st.floats(allow_nan=False)
BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "str": text,
    "str | None": st.none() | text,
    "int": st.integers(),
    "int | None": st.none() | st.integers(),
    "bool": st.booleans(),
    "float": number,
    "float | None": st.none() | number,
    "datetime": st.datetimes(timezones=st.just(UTC)),
    "tuple[str, ...]": st.lists(text, max_size=3).map(tuple),
    "BaseException | None": st.none(),
}


@st.composite
def any_event(draw: st.DrawFn) -> Event:
    kind = draw(st.sampled_from(KINDS))
    return kind(**{item.name: draw(BY_TYPE[str(item.type)]) for item in dataclasses.fields(kind)})


@given(any_event())
def test_an_event_comes_back_from_json_as_it_was(event: Event) -> None:
    back = Event.from_json(event.to_json())
    assert back == event and type(back) is type(event)
    assert json.loads(event.to_json()) == event.to_dict()
    assert pickle.loads(pickle.dumps(event)) == event


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def noted(error: BaseException, *notes: Any) -> BaseException:
    error.__notes__ = list(notes)
    return error


@pytest.mark.parametrize(
    ("error", "written"),
    [
        (ValueError("boom"), {"type": "builtins.ValueError", "text": "boom", "notes": []}),
        (
            noted(KeyError("k"), "n", 5),
            {"type": "builtins.KeyError", "text": "'k'", "notes": ["n"]},
        ),
        (
            StepTimeoutError("late", step_id="x"),
            {"type": "task_pipeline.errors.StepTimeoutError", "text": "late", "notes": []},
        ),
        (
            Silent(),
            {
                "type": f"{__name__}.Silent",
                "text": "<its text could not be had: RuntimeError>",
                "notes": [],
            },
        ),
        (SystemExit(2), {"type": "builtins.SystemExit", "text": "2", "notes": []}),
        (RecordedError("m.E", "t", ["n"]), {"type": "m.E", "text": "t", "notes": ["n"]}),
        (noted(OSError("\ud800"), "\ud800"), None),
    ],
)
def test_an_error_is_written_once_and_stays_as_it_was_written(
    error: BaseException, written: dict[str, Any] | None
) -> None:
    event = ev.StepFailed(**FACTS, error=error)
    if written is not None:
        assert event.to_dict()["error"] == written
    back = Event.from_json(event.to_json())
    assert isinstance(back.error, RecordedError)
    assert back.to_json() == event.to_json()
    assert Event.from_json(back.to_json()).to_dict() == event.to_dict()


FACTS: dict[str, Any] = {
    "run_id": "r",
    "seq": 3,
    "at": datetime(2024, 5, 6, tzinfo=UTC),
    "monotonic": 1.5,
    "path": "0",
    "name": "load",
}


def test_the_json_of_an_event() -> None:
    event = ev.MergeConflictFound(**FACTS, key="k", branches=("x", "y"))
    assert event.to_dict() == {
        "kind": "MergeConflictFound",
        "run_id": "r",
        "seq": 3,
        "at": "2024-05-06T00:00:00+00:00",
        "monotonic": 1.5,
        "path": "0",
        "name": "load",
        "step_id": None,
        "group_id": None,
        "is_parallel": False,
        "parallel_index": None,
        "attempt": 0,
        "duration": None,
        "error": None,
        "key": "k",
        "branches": ["x", "y"],
        "winner": None,
    }


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_numbers_that_json_does_not_know_are_strings(number: float) -> None:
    event = ev.StepRetrying(**FACTS, delay=number)
    assert event.to_dict()["delay"] == str(number)
    back = Event.from_json(event.to_json())
    assert back.to_dict() == event.to_dict()
    assert isinstance(back, ev.StepRetrying) and type(back.delay) is float


def test_a_time_of_another_zone_is_the_same_time_in_utc() -> None:
    event = ev.RunStarted(**FACTS)
    given = event.to_dict() | {"at": "2024-05-06T02:00:00+02:00"}
    assert Event.from_dict(given) == event
    there = ev.RunStarted(**FACTS | {"at": FACTS["at"].astimezone(timezone(timedelta(hours=2)))})
    assert Event.from_dict(there.to_dict()).to_dict() == event.to_dict()


def test_what_has_a_default_may_be_missing() -> None:
    plain = {"kind": "RunStarted", **FACTS, "at": FACTS["at"].isoformat()}
    assert Event.from_dict(plain) == ev.RunStarted(**FACTS)


@pytest.mark.parametrize(
    ("changes", "mistakes"),
    [
        ({"kind": "Nothing"}, ["kind must name Event or a subclass, not 'Nothing'"]),
        ({"kind": 5}, ["kind must name", "not 5"]),
        ({"kind": "datetime"}, ["kind must name"]),
        ({"seq": True}, ["seq must be a whole number, not True"]),
        ({"seq": 1.0, "name": None}, ["seq must be a whole number", "name must be a string"]),
        ({"monotonic": "1"}, ["monotonic must be a number, not '1'"]),
        ({"monotonic": 10**400}, ["monotonic must be a number"]),
        ({"monotonic": True}, ["monotonic must be a number"]),
        ({"at": "2024-05-06T00:00:00"}, ["at must be a time in ISO 8601 with its time zone"]),
        ({"at": 5}, ["at must be a time"]),
        ({"at": "yesterday"}, ["at must be a time"]),
        ({"is_parallel": 1}, ["is_parallel must be true or false"]),
        ({"error": "boom"}, ["error must be an error's type, text and notes or null"]),
        ({"error": {"type": "x"}}, ["error must be"]),
        ({"error": {"type": "x", "text": 1, "notes": []}}, ["error must be"]),
        ({"error": {"type": "x", "text": "", "notes": ""}}, ["error must be"]),
        ({"delay": None, "more": 1, 7: 8}, ["delay must be", "'more' is not", "7 is not"]),
    ],
)
def test_what_is_no_event_is_refused_with_every_mistake(
    changes: dict[Any, Any], mistakes: list[str]
) -> None:
    given = ev.StepRetrying(**FACTS, delay=1.0).to_dict() | changes
    with pytest.raises(EventFormatError) as caught:
        Event.from_dict(given)
    for mistake in mistakes:
        assert mistake in str(caught.value)


def test_missing_fields_are_all_named() -> None:
    with pytest.raises(EventFormatError) as caught:
        Event.from_dict({"kind": "StepRetrying", "seq": 1, "branches": []})
    for name in ("run_id", "at", "monotonic", "path", "name", "delay"):
        assert f"{name} is missing" in str(caught.value)
    assert "'branches' is not a field of it" in str(caught.value)
    assert "seq" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "null", b"\xff", "[" * 100_000, 5])
def test_what_is_no_object_of_json_is_refused(text: Any) -> None:
    with pytest.raises(EventFormatError):
        Event.from_json(text)


def test_a_kind_reads_only_its_own() -> None:
    written = ev.RunSucceeded(**FACTS).to_dict()
    assert type(ev.RunEnded.from_dict(written)) is ev.RunSucceeded
    with pytest.raises(EventFormatError, match="kind must name StepEvent or a subclass"):
        ev.StepEvent.from_dict(written)


# Places


def meeting(count: int) -> Callable[[Context], None]:
    """A step that is over once `count` of them are under way."""
    barrier = threading.Barrier(count, timeout=PATIENCE)

    def meet(context: Context) -> None:
        barrier.wait()

    return meet


def place(event: Any) -> tuple[Any, ...]:
    return event.path, event.step_id, event.group_id, event.is_parallel, event.parallel_index


def test_three_tasks_at_once_stand_in_one_group_and_nested_ones_in_their_own() -> None:
    meet = meeting(3)
    steps = [step(step_id=name)(lambda context: meet(context)) for name in "xyz"]
    pipeline = Pipeline(
        [a, [steps[0], [steps[1], [b, b]], steps[2]]], PipelineConfig(max_workers=3)
    )
    told = events_of(pipeline)
    places = {(event.name, *place(event)) for event in told}
    assert places == {
        ("pipeline", "", None, None, False, None),
        ("a", "0", "a", None, False, None),
        ("parallel_group_1", "1", None, "1", True, None),
        ("x", "1.0", "x", "1", True, 0),
        ("serial_group_1.1", "1.1", None, "1.1", True, 1),
        ("y", "1.1.0", "y", "1", True, 1),
        ("parallel_group_1.1.1", "1.1.1", None, "1.1.1", True, 1),
        ("b", "1.1.1.0", "b", "1.1.1", True, 0),
        ("b#2", "1.1.1.1", "b#2", "1.1.1", True, 1),
        ("z", "1.2", "z", "1", True, 2),
    }
    assert len({event.run_id for event in told}) == 1
    again = events_of(pipeline)
    assert {(event.name, *place(event)) for event in again} == places
    assert again[0].run_id != told[0].run_id


def test_a_series_in_a_series_is_not_parallel() -> None:
    told = events_of(Pipeline([Serial([a, Serial([b])])]))
    assert not any(event.is_parallel for event in told)
    groups = [None, "0", None, None, "0.1", None, None, "0.1", "0", None]
    assert [event.group_id for event in told] == groups


@pytest.mark.no_cover
def test_any_depth_is_told_of() -> None:
    nested: Any = a
    for _ in range(2000):
        nested = [nested]
    (started,) = of(ev.StepStarted, events_of(Pipeline([nested])))
    assert started.path.count(".") == 2000 and started.parallel_index == 0


# Facts


def test_times_are_utc_and_go_with_the_monotonic_ones() -> None:
    before = datetime.now(UTC)
    told = events_of(Pipeline([a, [b, fails]]))
    after = datetime.now(UTC)
    assert all(event.at.utcoffset() == timedelta(0) for event in told)
    assert before - timedelta(seconds=0.1) <= told[0].at <= told[-1].at
    assert told[-1].at <= after + timedelta(seconds=0.1)
    for one, two in itertools.pairwise(told):
        apart = (two.at - one.at).total_seconds()
        assert two.seq == one.seq + 1
        assert apart == pytest.approx(two.monotonic - one.monotonic, abs=1e-5)


def test_times_go_by_the_runs_clock() -> None:
    clock = ManualClock(100.0)

    def wait(context: Context) -> None:
        clock.advance(3600.0)

    with clock.installed():
        told = events_of(Pipeline([wait]))
    assert [event.monotonic for event in told] == [100.0, 100.0, 3700.0, 3700.0]
    assert told[2].at - told[1].at == timedelta(hours=1)
    assert [event.duration for event in told] == [None, None, 3600.0, 3600.0]


def test_all_that_ended_says_how_long_it_took() -> None:
    told = events_of(Pipeline([[a, step(retries=2)(fails)]]))
    for event in told:
        ended = isinstance(event, ev.AttemptEnded | ev.GroupEnded | ev.RunEnded)
        assert (event.duration is not None) == ended
    assert [event.attempt for event in of(ev.StepRetrying, told)] == [1, 2]


def test_totals() -> None:
    told = events_of(Pipeline([a, [a, b, [a, b]]]))
    assert told[0].total == 5
    totals = {event.path: event.total for event in of(ev.GroupEnded, told)}
    assert totals == {event.path: event.total for event in of(ev.GroupStarted, told)}
    assert totals == {"1": 3, "1.2": 2}


def test_progress_is_told_once_for_each_whole_percent_of_an_attempt() -> None:
    @step(retries=1)
    def work(context: Context) -> None:
        for number in range(1001):
            context.update_step_progress(number / 10)
        context.update_step_progress(5)
        if context.attempt == 1:
            raise ValueError("again")

    told = events_of(Pipeline([work]))
    progress = [(event.attempt, event.percent) for event in of(ev.StepProgressed, told)]
    assert progress == [(attempt, float(n)) for attempt in (1, 2) for n in range(1, 101)]
    kinds = [type(event) for event in told if not isinstance(event, ev.StepProgressed)]
    assert kinds[1:5] == [ev.StepStarted, ev.StepRetrying, ev.StepStarted, ev.StepSucceeded]


def test_a_step_that_was_left_tells_no_progress() -> None:
    clock, gate, over = ManualClock(), Gate(), threading.Event()

    @step(timeout=5)
    def stuck(context: Context) -> None:
        context.update_step_progress(10)
        gate.wait()
        context.update_step_progress(20)

    pipeline = Pipeline([stuck])
    told: list[Any] = []

    def note(event: Event) -> None:
        told.append(event)
        if isinstance(event, ev.AbandonedThreadEnded):
            over.set()

    pipeline.subscribe(note)
    with clock.installed():
        run = pipeline.start()
    gate.wait_until_reached()
    clock.advance(5)
    with pytest.raises(StepTimeoutError):
        run.result(PATIENCE)
    clock.advance(2)
    gate.open()
    assert over.wait(PATIENCE)
    kinds = [type(event) for event in told[1:]]
    assert kinds[:4] == [ev.StepStarted, ev.StepProgressed, ev.StepTimedOut, ev.StepAbandoned]
    (left,), (ended,) = of(ev.StepAbandoned, told), of(ev.AbandonedThreadEnded, told)
    assert (left.step_id, left.attempt, left.duration) == ("stuck", 1, None)
    assert (ended.step_id, ended.attempt, ended.duration) == ("stuck", 1, 7.0)


def writes(value: int) -> Any:
    def write(context: Context) -> None:
        context.results["key"] = str(value)

    return step(step_id=f"write_{value}")(write)


@pytest.mark.parametrize(("rule", "winner"), [("last", "write_1"), ("first", "write_0")])
def test_a_conflict_names_key_branches_and_winner(rule: Any, winner: str) -> None:
    group = Parallel([writes(0), writes(1)], config=ParallelConfig(on_conflict=rule))
    (found,) = of(ev.MergeConflictFound, events_of(Pipeline([group])))
    assert (found.key, found.branches, found.winner) == ("key", ("write_0", "write_1"), winner)
    assert (found.path, found.group_id, found.error) == ("0", "0", None)


def test_a_conflict_that_is_an_error_has_no_winner() -> None:
    group = Parallel([writes(0), writes(1)], config=ParallelConfig(on_conflict="error"))
    told = events_of(Pipeline([group]))
    (found,) = of(ev.MergeConflictFound, told)
    assert (found.key, found.branches, found.winner) == ("key", ("write_0", "write_1"), None)
    assert isinstance(found.error, MergeConflictError)
    assert found.error is told[-1].error


def test_every_event_of_runs_where_much_happens_survives_json() -> None:
    steps: list[Any] = [[[a, writes(0), fails], writes(1), step(retries=1)(b)], b]
    pipeline = Pipeline(steps, PipelineConfig(fail_fast=False))
    kinds = set()
    for seed in range(40):
        run = Simulator(pipeline, seed, failure_rate=0.2, cancel_rate=0.05).run()
        for event in run.events:
            kinds.add(type(event))
            back = Event.from_json(event.to_json())
            assert type(back) is type(event) and back.to_json() == event.to_json()
            assert event.error is not None or back == event
    assert len(kinds) >= 12


def test_the_error_in_an_event_is_the_very_one() -> None:
    bus = EventBus()
    with pytest.raises(ParallelGroupError) as caught:
        Pipeline([[fails, a]], event_bus=bus).run()
    assert bus.history[-1].error is caught.value
    (failed,) = of(ev.StepFailed, list(bus.history))
    assert failed.error is caught.value.exceptions[0]
