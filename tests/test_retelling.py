"""Events that are told again: those that were kept, or what the rows of a run amount to."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    Branch,
    Event,
    EventFormatError,
    Journal,
    JournalDataError,
    LogicOperator,
    Loop,
    Map,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    RecordedError,
    ReplayMode,
    Serial,
    SkipStep,
    StopPipeline,
    TaskStep,
)
from task_pipeline.events import (
    AbandonedThreadEnded,
    CircuitEvent,
    GroupSucceeded,
    MergeConflictFound,
    RunStarted,
    RunSucceeded,
    StepAbandoned,
    StepEvent,
    StepFailed,
    StepProgressed,
    StepRecovered,
    StepRetrying,
    StepStarted,
    StepSucceeded,
)
from task_pipeline.journal.retelling import recorded_events
from task_pipeline.testing import Gate, ManualClock
from tests.journaled import Runs, Work, everything, quiet

ONE_WORKER = PipelineConfig(max_workers=1)
FOUR_WORKERS = PipelineConfig(max_workers=4)

# What no row tells of.
NOT_IN_ROWS = (
    StepProgressed,
    StepAbandoned,
    AbandonedThreadEnded,
    MergeConflictFound,
    CircuitEvent,
)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tmp_path)
    yield made
    made.close()


@pytest.fixture
def work() -> Work:
    return Work()


def skips(context: Any) -> None:
    raise SkipStep("why")


def stops(context: Any) -> None:
    raise StopPipeline("done")


def group(operator: str, branches: list[Any], **more: Any) -> Parallel:
    return Parallel(branches, config=ParallelConfig(operator=LogicOperator(operator), **more))


def never(context: Any) -> bool:
    return False


def always(context: Any) -> bool:
    return True


def raises(context: Any) -> bool:
    raise LookupError("asked")


FAST = {"error_strategy": "FAIL_FAST"}

# Names of steps that fail once, and the pipeline.
STORIES: dict[str, tuple[str, Callable[[Work], list[TaskStep]]]] = {
    "serial": ("", lambda work: work.all("a b c")),
    "nested": ("", lambda work: [work("a"), [work("b"), [work("c"), work.all("d e")]], work("z")]),
    "a failure": ("e", lambda work: [[work("b"), [work("c"), work.all("d e")]], work("z")]),
    "fail fast": (
        "b",
        lambda work: [group("AND", [work("b"), work.all("c d"), work("g")], **FAST)],
    ),
    "retries": ("a b", lambda work: [work("a", retries=2), [work("b", retries=1)], work("z")]),
    "map": ("", lambda work: [Map(work("m"), over=[1, 2]), Map(work("n"), over=[])]),
    "map of series": ("", lambda work: [Map([work("m"), [work("n")]], over=[1, 2], name="x")]),
    "map fails": ("m", lambda work: [Map(work("m"), over=[1, 2, 3]), work("z")]),
    "map is not found": ("", lambda work: [Map(work("m"), over="nowhere"), work("z")]),
    "map of maps": ("", lambda work: [Map(Map(work("m"), over=[1, 2]), over=[1, 2])]),
    "loop": ("", lambda work: [Loop(work.all("a b"), times=2), work("z")]),
    "loop fails": ("a", lambda work: [Loop(work.all("a b"), times=2), work("z")]),
    "loop asks": ("", lambda work: [Loop(work("l"), while_=lambda c: "log" not in c.results)]),
    "loop never": ("", lambda work: [Loop(work("l"), while_=never), work("z")]),
    "loop is not found": ("", lambda work: [Loop(work("l"), while_=raises), work("z")]),
    "branch": ("", lambda work: [Branch(always, work("y"), work("n")), work("z")]),
    "other branch": ("", lambda work: [Branch(never, work("y"), work.all("n1 n2"))]),
    "no branch": ("", lambda work: [Branch(never, work.all("y1 y2")), work("z")]),
    "branch fails": ("y1", lambda work: [Branch(always, work.all("y1 y2"), work("n")), work("z")]),
    "branch is not found": ("", lambda work: [Branch(raises, work("y")), work("z")]),
    "map of loops": (
        "",
        lambda work: [Map(Loop([work("a"), work.all("b c")], times=2), over=[1, 2])],
    ),
    "loop of branch of map": (
        "",
        lambda work: [Loop(Branch(always, Map(work("m"), over=[1, 2]), work("o")), times=2)],
    ),
    "skips": ("", lambda work: [skips, [skips, work("a")], work("z")]),
    "stops": ("", lambda work: [work("a"), [work("b"), [stops, work("c")], work("d")], work("z")]),
    "not critical": ("a c", lambda work: [work("a", critical=False), [work("c", critical=False)]]),
    "series of its own": ("b", lambda work: [Serial([work("a"), work("b"), work("c")], name="s")]),
    "pipeline in it": (
        "b",
        lambda work: [
            Pipeline(work.all("b c"), name="in", config=PipelineConfig(fail_fast=False)),
            work("z"),
        ],
    ),
    "not idempotent": (
        "b",
        lambda work: [work("a", idempotent=False), work("b", idempotent=False)],
    ),
    "or": ("a", lambda work: [group("OR", [work("a"), work("b"), work.all("c d")], **FAST)]),
    "quorum": (
        "a",
        lambda work: [
            group("QUORUM", [work("a"), work("b"), work.all("c d"), work("e")], quorum=2, **FAST)
        ],
    ),
    "empty": ("", lambda work: [Parallel([]), work("a"), [[work("b"), []]]]),
}


def retold(runs: Runs, run_id: str = "r", journal: Journal | None = None) -> list[Event]:
    """What is told again of a run whose events nobody kept."""
    document = (journal or runs.journal).export_run(run_id)
    other = runs.opened()
    other.import_run({**document, "events": []})
    events = list(recorded_events(other, other.run(run_id)))
    assert [event.seq for event in events] == list(range(len(events)))
    assert all(a.at <= b.at and a.monotonic <= b.monotonic for a, b in pairwise(events))
    assert {event.run_id for event in events} == {run_id}
    return events


def facts(events: list[Event]) -> list[tuple[object, ...]]:
    """What live and retold events have in common."""
    return [
        (
            *(type(event).__name__, event.path, event.name, event.step_id, event.group_id),
            *(event.is_parallel, event.parallel_index, event.attempt),
            *(getattr(event, "total", None), getattr(event, "parallel", None)),
        )
        for event in events
        if not isinstance(event, NOT_IN_ROWS)
    ]


def listen(pipeline: Pipeline) -> list[Event]:
    heard: list[Event] = []
    pipeline.subscribe(heard.append)
    return heard


@pytest.mark.parametrize("story", STORIES)
def test_rows_tell_what_was_told_live(runs: Runs, work: Work, story: str) -> None:
    failing, make = STORIES[story]
    for name in failing.split():
        work.fail(name)
    pipeline = runs.pipeline(make(work), config=ONE_WORKER, name="told")
    heard = listen(pipeline)
    with quiet():
        pipeline.run(run_id="r")
    again = retold(runs)
    assert facts(again) == facts(heard)
    live = [event for event in heard if not isinstance(event, NOT_IN_ROWS)]
    for was, now in zip(live, again, strict=True):
        assert (was.duration is None) == (now.duration is None), was
        if isinstance(was, StepEvent):
            assert was.duration == pytest.approx(now.duration, abs=1e-4)
            assert str(now.error or "") == (
                f"{type(was.error).__name__}: {was.error}" if was.error else ""
            )
            assert getattr(was.error, "__notes__", []) == getattr(now.error, "__notes__", [])


def test_many_at_once_are_told_with_all_their_events(runs: Runs, work: Work) -> None:
    series: list[TaskStep] = [work.all(f"a{index} b{index}") for index in range(10)]
    steps: list[TaskStep] = [[work(f"s{index}") for index in range(20)], series]
    pipeline = runs.pipeline(steps, config=FOUR_WORKERS)
    heard = listen(pipeline)
    pipeline.run(run_id="r")
    again = retold(runs)
    assert sorted(map(str, facts(again))) == sorted(map(str, facts(heard)))
    assert_in_order(again)


def assert_in_order(events: list[Event]) -> None:
    """Groups begin before what is in them, and end after it; attempts begin before they end."""
    begun: set[str] = set()
    for event in events:
        kind = type(event).__name__
        above = event.path.rpartition(".")[0]
        if kind.endswith("Started"):
            assert not event.path or above in begun, event
            begun.add(event.path)
        elif event.attempt or kind.startswith("Group"):
            assert event.path in begun, event
            assert not event.path or above in begun, event
            if not isinstance(event, StepRetrying) and not kind.endswith("Expanded"):
                begun.discard(event.path)
    assert begun <= {""}


@pytest.mark.parametrize("how", ["group", "group that does without", "run", "step", "cancel"])
def test_what_was_left_is_told(runs: Runs, work: Work, how: str) -> None:
    gate, clock = Gate(), ManualClock()

    def slow(context: Any) -> None:
        gate.wait()

    settings: dict[str, Any] = {"group": {"timeout": 5.0}}.get(how, {})
    if how == "group that does without":
        settings = {"timeout": 5.0, "operator": "OR"}
    limited = Parallel([work("q"), slow, [slow, work("k")]], config=ParallelConfig(**settings))
    waits = work("st", timeout=5.0)
    config = PipelineConfig(max_workers=4, timeout=5.0 if how == "run" else None)
    steps: list[TaskStep] = [work("a"), limited, work("z")]
    if how == "step":
        work.meanwhile("st", gate.wait)
        steps = [work("a"), [work("q"), slow, [waits, work("k")]], work("z")]
    pipeline = runs.pipeline(steps, config=config)
    heard = listen(pipeline)
    with clock.installed():
        run = pipeline.start(run_id="r")
        gate.wait_until_reached(2)
        if how == "cancel":
            run.cancel()
        clock.advance(5.0)
        if how == "step":
            gate.open()
        with quiet():
            run.result()
        gate.open()
    again = retold(runs)
    assert sorted(map(str, facts(again))) == sorted(map(str, facts(heard)))
    assert_in_order(again)


def test_an_interrupted_run_is_told_as_far_as_it_came(runs: Runs, work: Work) -> None:
    steps: list[TaskStep] = [
        work("a"),
        [work("b"), [work("c"), work("cut", idempotent=False), work("d")]],
        work("z"),
    ]
    left = runs.cut_in(work, "cut", runs.pipeline(steps, config=ONE_WORKER))
    told = [(type(event).__name__, event.path) for event in retold(runs, journal=left)]
    assert told == [
        ("RunStarted", ""),
        ("StepStarted", "0"),
        ("StepSucceeded", "0"),
        ("GroupStarted", "1"),
        ("StepStarted", "1.0"),
        ("StepSucceeded", "1.0"),
        ("GroupStarted", "1.1"),
        ("StepStarted", "1.1.0"),
        ("StepSucceeded", "1.1.0"),
        ("StepStarted", "1.1.1"),
    ]


def test_a_loop_that_was_cut_has_not_ended(runs: Runs, work: Work) -> None:
    loop = Loop([work("a"), work("cut")], times=2)
    left = runs.cut_in(work, "cut", runs.pipeline([Loop(work("b"), times=1), loop]))
    told = [(type(event).__name__, event.path) for event in retold(runs, journal=left)]
    assert ("GroupSucceeded", "0") in told
    assert ("GroupSucceeded", "1") not in told
    assert told[-1] == ("StepSucceeded", "1.0.0")


def test_a_run_that_was_resumed_is_told_as_one(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline([work("a"), work.all("b c"), work("z")], config=ONE_WORKER)
    work.fail("c")
    with quiet():
        pipeline.run(run_id="r")
    pipeline.resume("r")
    events = retold(runs)
    assert_in_order(events)
    told = [(type(event), event.path, event.attempt) for event in events if event.step_id == "c"]
    assert told == [
        (StepStarted, "1.1", 1),
        (StepRetrying, "1.1", 1),
        (StepStarted, "1.1", 2),
        (StepSucceeded, "1.1", 2),
    ]
    assert isinstance(events[-1], RunSucceeded)
    assert [event for event in events if event.step_id == "z" and event.attempt == 0] == []


def test_what_was_set_aside_is_not_told(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a b"))
    pipeline.run(run_id="r")
    pipeline.resume("r", from_step="b")
    ended = [event for event in retold(runs) if isinstance(event, StepSucceeded)]
    assert [(event.path, event.attempt) for event in ended] == [("0", 1), ("1", 2)]
    changed = runs.pipeline(work.all("x b"))
    changed.resume("r", on_changed="rerun_changed")
    assert {event.step_id for event in retold(runs)} == {None, "x", "b"}


# Through replay()


def test_kept_events_are_published_as_they_were(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline([work("a"), work.all("b c"), work("z")])
    heard = listen(pipeline)
    work.fail("z")
    with quiet():
        pipeline.run(run_id="r")
    kept = list(map(Event.from_json, runs.journal.events("r")))
    assert [event.to_json() for event in kept] == [event.to_json() for event in heard]
    before = everything(runs.journal)
    first, heard[:] = list(heard), []
    report = pipeline.replay("r", ReplayMode.REPUBLISH_ALL)
    assert [event.to_json() for event in heard] == [event.to_json() for event in first]
    assert report.events == len(first)
    assert (report.mode, report.status, report.context) == ("REPUBLISH_ALL", "failed", None)
    assert report.outcomes == {"succeeded": 3, "failed": 1}
    assert everything(runs.journal) == before
    (failed,) = [event for event in heard if isinstance(event, StepFailed)]
    assert isinstance(failed.error, RecordedError)
    assert failed.error.type_name == "builtins.ValueError"


def test_events_nobody_kept_are_published_from_rows(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline([work("a"), work.all("b c")])
    pipeline.run(run_id="r")
    assert list(runs.journal.events("r")) == []
    heard = listen(pipeline)
    report = pipeline.replay("r", "REPUBLISH_ALL")
    assert report.events == len(heard) == 10
    assert isinstance(heard[0], RunStarted) and heard[0].total == 3
    assert list(runs.journal.events("r")) == []
    work.ran()


def test_both_parts_of_a_resumed_run_are_published(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a z"))
    heard = listen(pipeline)
    work.fail("z")
    with quiet():
        pipeline.run(run_id="r")
    pipeline.resume("r")
    first, heard[:] = list(heard), []
    pipeline.replay("r", "REPUBLISH_ALL")
    assert [event.to_json() for event in heard] == [event.to_json() for event in first]
    assert sum(isinstance(event, StepRecovered) for event in heard) == 1


def test_without_anybody_who_listens_they_are_counted(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a"))
    pipeline.run(run_id="r")
    assert pipeline.replay("r", "REPUBLISH_ALL").events == 4


# What is damaged


def damaged(runs: Runs, **columns: Any) -> Journal:
    document = runs.journal.export_run("r")
    other = runs.opened()
    other.import_run({**document, "run": {**document["run"], **columns}})
    return other


@pytest.mark.parametrize("plan", ["{", "[]", "[" * 100_000, '{"step": "a"}'])
def test_a_plan_that_cannot_be_read(runs: Runs, work: Work, plan: str) -> None:
    runs.pipeline(work.all("a")).run(run_id="r")
    journal = damaged(runs, plan=plan)
    gc.disable()  # one of them fills the stack: no garbage of other tests is to be looked for there
    try:
        with pytest.raises(JournalDataError, match="'r'"):
            list(recorded_events(journal, journal.run("r")))
    finally:
        gc.enable()


def test_an_event_that_is_none(runs: Runs, work: Work) -> None:
    runs.pipeline(work.all("a")).run(run_id="r")
    document = runs.journal.export_run("r")
    other = runs.opened()
    other.import_run({**document, "events": [{"seq": 0, "event": '{"kind": "Nothing"}'}]})
    with pytest.raises(EventFormatError, match="Nothing"):
        list(recorded_events(other, other.run("r")))


def test_rows_that_contradict_each_other_are_told_by_time(runs: Runs, work: Work) -> None:
    runs.pipeline(work.all("a b c")).run(run_id="r")
    document = runs.journal.export_run("r")
    steps = [{**row, "seq": 2 - row["seq"]} for row in document["steps"]]
    steps.append({**steps[0], "path": "7", "seq": 9})  # the plan has no such place
    steps.append({**steps[0], "path": "0.0", "seq": 10})
    other = runs.opened()
    other.import_run({**document, "steps": steps})
    events = list(recorded_events(other, other.run("r")))
    assert len(events) == 8
    assert [event.seq for event in events] == list(range(8))


def test_the_end_of_the_run_is_told_last(runs: Runs, work: Work) -> None:
    runs.pipeline(work.all("a b")).run(run_id="r")
    started = runs.journal.run("r").started_at
    journal = damaged(runs, ended_at=started)  # as after a clock that was set back
    events = list(recorded_events(journal, journal.run("r")))
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunSucceeded)
    assert events[-1].duration == 0.0


def test_errors_without_notes_or_of_another_codec(runs: Runs, work: Work) -> None:
    work.fail("a")
    with quiet():
        runs.pipeline(work.all("a")).run(run_id="r")
    document = runs.journal.export_run("r")
    for encoded in (
        "gASVAAAA",
        "[1]",
        json.dumps({"notes": [1, "kept"]}),
        json.dumps({"notes": 3}),
    ):
        other = runs.opened()
        other.import_run({**document, "steps": [{**document["steps"][0], "error": encoded}]})
        failed = list(recorded_events(other, other.run("r")))[2].error
        assert isinstance(failed, RecordedError)
        assert (failed.type_name, failed.text) == ("builtins.ValueError", "a")
        assert getattr(failed, "__notes__", []) == (["kept"] if "kept" in encoded else [])


def test_a_loop_that_a_step_in_it_has_stopped_is_told_to_its_end(runs: Runs) -> None:
    def stops(context: Any) -> None:
        raise StopPipeline("enough")

    pipeline = Pipeline([Loop([stops, stops], while_=lambda context: True)], journal=runs.journal)
    live: list[Event] = []
    pipeline.subscribe(live.append)
    pipeline.run(run_id="r")
    without = {**runs.journal.export_run("r"), "events": []}
    runs.journal.delete("r")
    runs.journal.import_run(without)
    retold = list(recorded_events(runs.journal, runs.journal.run("r")))
    groups = [
        [(type(event).__name__, event.path) for event in told if isinstance(event, GroupSucceeded)]
        for told in (live, retold)
    ]
    assert groups[0] == groups[1] != []
