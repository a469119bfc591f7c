"""What `runs show` says of groups: of choices, and of what was cut off or has nothing to do."""

from __future__ import annotations

import copy
import itertools
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from task_pipeline import (
    Branch,
    Event,
    Journal,
    JournalDataError,
    Loop,
    Map,
    Parallel,
    Pipeline,
    PipelineConfig,
    Serial,
    SkipStep,
    StopPipeline,
    TaskStep,
    open_journal,
)
from task_pipeline.cli.documents import tree_document
from task_pipeline.cli.nodes import TreeNode
from task_pipeline.cli.showing import show_tree
from task_pipeline.cli.tree import build_tree
from task_pipeline.events import GroupEnded, GroupStarted
from tests.building import Built, Ledger, build
from tests.cli_records import START, group_record, run_record, step_record, written
from tests.drawn import Group as DrawnGroup
from tests.journaled import Runs, Work, quiet
from tests.pipelines import STARTS, trees

NOW = START + 20


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tmp_path)
    yield made
    made.close()


@pytest.fixture
def work() -> Work:
    return Work()


def tree_of(journal: Journal, run_id: str = "r") -> TreeNode:
    run = journal.run(run_id)
    steps, groups = journal.steps(run_id, superseded=True), journal.groups(run_id)
    return build_tree(run, steps, groups, NOW)


def states(root: TreeNode) -> dict[str, str]:
    return {node.path: node.state for node in root.walk() if node.path}


def run(runs: Runs, *steps: Any) -> dict[str, TreeNode]:
    with quiet():
        runs.pipeline(list(steps)).run(run_id="r")
    return {node.path: node for node in tree_of(runs.journal).walk()}


def never(context: Any) -> bool:
    return False


def always(context: Any) -> bool:
    return True


def raises(context: Any) -> bool:
    raise LookupError("asked")


def skips(context: Any) -> None:
    raise SkipStep("not today")


def stops(context: Any) -> None:
    raise StopPipeline("done")


# Choices


def test_a_branch_that_takes_no_way_has_succeeded(runs: Runs, work: Work) -> None:
    found = run(runs, Branch(never, work("y"), name="which"), work("z"))
    assert (found["0"].name, found["0"].state, found["0.0"].state) == (
        "which", "succeeded", "skipped",
    )  # fmt: skip
    assert found["0"].duration is not None
    assert found["0"].error == (None, None, None)


def test_a_series_of_branches_that_take_no_way_has_succeeded(runs: Runs, work: Work) -> None:
    found = run(runs, Serial([Branch(never, work("a")), Branch(never, [work("b")])]))
    assert found["0"].state == "succeeded"


@pytest.mark.parametrize("kind", ["Branch", "Map", "Loop"])
@pytest.mark.parametrize("critical", [True, False])
def test_a_group_that_cannot_choose_has_failed_with_its_error(
    runs: Runs, work: Work, kind: str, critical: bool
) -> None:
    made: Any = {
        "Branch": Branch(raises, [work("y")], name="which"),
        "Map": Map(work("m"), over=raises, name="which"),
        "Loop": Loop(work("l"), while_=raises, name="which"),
    }[kind]
    made.critical = critical
    found = run(runs, Serial([made, work("z")]))
    failed = found["0.0"]
    assert (failed.name, failed.state) == ("which", "failed")
    assert failed.error[:2] == ("builtins.LookupError", "asked")
    assert "in raises" in (failed.error.error_traceback or "")
    assert found["0"].state == ("succeeded" if critical is False else "failed")
    record, root = runs.journal.run("r"), tree_of(runs.journal)
    line = next(line for line in written(show_tree, record, root).splitlines() if "which" in line)
    assert line.endswith("LookupError: asked")
    (group,) = [one for one in tree_document(record, root, NOW)["groups"] if one["path"] == "0.0"]
    assert (group["status"], group["error"]["text"]) == ("failed", "asked")


def test_a_loop_without_a_round_has_succeeded(runs: Runs, work: Work) -> None:
    found = run(runs, Loop(work("l"), while_=never, name="again"), Map(work("m"), over=[]))
    assert (found["0"].state, found["0"].name, found["1"].state) == (
        "succeeded", "again", "succeeded",
    )  # fmt: skip


def test_a_group_that_was_never_reached_is_not_said_to_have_chosen(runs: Runs, work: Work) -> None:
    work.fail("a")
    found = run(
        runs,
        work("a"),
        Branch(always, work("y")),
        Map(work("m"), over=[1]),
        Loop(work("l"), times=2),
        Serial([Map(work("n"), over=[1]), work("z")]),
    )
    assert [found[str(at)].state for at in range(1, 5)] == [
        "skipped", "not run", "not run", "skipped",
    ]  # fmt: skip


def test_a_run_that_is_stopped_in_a_loop(runs: Runs, work: Work) -> None:
    found = run(runs, Serial([Loop([work("a"), stops], while_=always), Map(work("m"), over=[1])]))
    assert found["0"].state == found["0.0"].state == "succeeded"
    assert found["0.1"].state == "not run"


def test_a_run_that_is_stopped_by_choosing(runs: Runs, work: Work) -> None:
    found = run(runs, Serial([Branch(stops, work("a")), Map(work("m"), over=[1])]))
    assert found["0"].state == found["0.0"].state == "succeeded"


def test_a_branch_has_succeeded_if_what_it_chose_skipped_itself(runs: Runs) -> None:
    found = run(runs, Branch(always, skips))
    assert (found["0"].state, found["0.0"].state) == ("succeeded", "skipped")


PLAN_OF_A_BRANCH = {
    "group": "serial",
    "name": "p",
    "children": [
        {
            "group": "serial",
            "name": "b",
            "dynamic": {"kind": "Branch"},
            "children": [{"step": "y"}, {"step": "n"}],
        }
    ],
}


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        ("{", "succeeded", "its answer is not readable"),
        ("[]", "succeeded", "its answer is not a dict of texts"),
        ('{"decided": "{"}', "succeeded", "its answer is not readable"),
        ('{"decided": "\\"x\\""}', "succeeded", "this is no way to go on: '\"x\"'"),
        ('{"error": "3"}', "failed", "its error is none: '3'"),
        ('{"error": "{\\"type\\": 3}"}', "failed", "its error is none"),
    ],
)
def test_a_choice_that_cannot_be_read_is_an_error_that_says_where(
    answer: str, status: str, told: str
) -> None:
    record = run_record(plan=json.dumps(PLAN_OF_A_BRANCH))
    choice = group_record("0", "b", kind="choice", status=status, answer=answer)
    with pytest.raises(JournalDataError) as caught:
        tree_document(record, build_tree(record, [], [choice], NOW), NOW)
    assert str(caught.value).startswith("run '2027-01-15', 'b' at path 0: ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("{}", (None, None, None)),
        ('{"error": "{\\"type\\": \\"m:E\\", \\"text\\": {\\"$\\": 1}}"}', ("m.E", None, None)),
    ],
)
def test_an_error_of_which_little_is_written(answer: str, error: Any) -> None:
    record = run_record(plan=json.dumps(PLAN_OF_A_BRANCH))
    choice = group_record("0", "b", kind="choice", status="timed_out", answer=answer)
    (child,) = build_tree(record, [], [choice], NOW).children
    assert (child.state, child.error) == ("timed_out", error)


def test_a_plan_in_which_a_dynamic_group_is_no_object_is_none() -> None:
    plan = {"group": "serial", "name": "p", "dynamic": "Map", "children": []}
    with pytest.raises(JournalDataError, match="what a dynamic group is stands in an object"):
        build_tree(run_record(plan=json.dumps(plan)), [], [], NOW)


# Runs that were cut off


@pytest.mark.parametrize(
    ("make", "paths"),
    [
        (lambda work: Map([work("a"), work("cut")], over=[1], name="x"), "0 0.0"),
        (lambda work: Map([work("a"), Branch(always, work("cut"))], over=[1]), "0 0.0 0.0.1"),
        (lambda work: Map([work("a"), Map(work("cut"), over=[1])], over=[1]), "0 0.0 0.0.1"),
        (lambda work: Map(Parallel([work("a"), work("cut")]), over=[1]), "0 0.0"),
        (lambda work: Loop([work("a"), work("cut")], times=1), "0 0.0"),
        (lambda work: Serial([Loop(work("a"), times=2), work("cut")]), "0"),
        (lambda work: Branch(always, [work("a"), Map(work("cut"), over=[1])]), "0 0.0 0.0.1"),
        (lambda work: Branch(always, Serial([Map(work("cut"), over=[1])])), "0 0.0 0.0.0"),
        (lambda work: Branch(always, work("cut")), "0"),
        (lambda work: Serial([work("a", critical=False), work("cut")]), "0"),
    ],
)
def test_a_group_that_was_cut_off_is_interrupted(
    runs: Runs, work: Work, make: Any, paths: str
) -> None:
    steps: list[TaskStep] = [make(work), work("z")]
    left = runs.cut_in(work, "cut", runs.pipeline(steps, config=PipelineConfig(max_workers=1)))
    found = states(tree_of(left))
    assert [found[path] for path in paths.split()] == ["interrupted"] * len(paths.split())
    assert found["1"] == "pending"
    root = tree_of(left)
    assert [node.ended_at for node in root.walk() if node.state == "interrupted"] == [None] * (
        1 + len(paths.split())
    )


def test_what_had_ended_before_has_not_been_interrupted(runs: Runs, work: Work) -> None:
    steps: list[TaskStep] = [
        Map([work("a"), work("b")], over=[1, 2]),
        Loop([work("c")], while_=lambda context: "c" not in context.results.get("log", ())),
        Loop(work("d"), times=1),
        Branch(always, work("e"), [work("f")]),
        Branch(never, work("g")),
        Serial([work("h"), Branch(never, work("i"))]),
        work("cut"),
    ]
    found = states(tree_of(runs.cut_in(work, "cut", runs.pipeline(steps))))
    assert [found[str(at)] for at in range(6)] == ["succeeded"] * 6
    assert found["0.0"] == found["0.1"] == found["1.0"] == "succeeded"


def test_a_parallel_group_has_not_ended_before_its_branches_are_merged(
    runs: Runs, work: Work
) -> None:
    steps: list[TaskStep] = [Map(work("m"), over=[1, 2]), Parallel([work("a"), work("b")])]
    runs.pipeline(steps).run(run_id="r")
    journal = runs.journal
    record = replace(journal.run("r"), status="running", ended_at=None, is_live=True)
    choices = [group for group in journal.groups("r") if group.kind == "choice"]
    for is_live, state in ((True, "running"), (False, "interrupted")):
        root = build_tree(replace(record, is_live=is_live), journal.steps("r"), choices, NOW)
        found = states(root)
        assert (found["0"], found["1"]) == (state, state)
        assert found["0.0"] == found["1.1"] == "succeeded"


def test_what_was_skipped_before_the_run_was_cut_off_is_not_interrupted() -> None:
    never_reached = [
        {"group": "serial", "name": "s", "children": [
            {"step": "a"},
            {"group": "parallel", "name": "m", "dynamic": {"kind": "Map"}, "each": {"step": "x"}},
        ]},
        {"group": "parallel", "name": "g", "operator": "AND", "children": [{"step": "b"}]},
    ]  # fmt: skip
    plan = {"group": "serial", "name": "p", "children": never_reached}
    record = run_record(plan=json.dumps(plan), status="running", ended_at=None)
    nothing: Any = {"status": "skipped", "attempt": 0, "at": None, "duration": None}
    steps = [step_record("0.0", "a", **nothing), step_record("1.0", "b", **nothing)]
    found = states(build_tree(record, steps, [], NOW))
    assert (found["0"], found["1"], found["0.1"]) == ("skipped", "skipped", "pending")


def test_between_two_rounds_a_loop_is_running() -> None:
    plan = {
        "group": "serial",
        "name": "p",
        "children": [
            {
                "group": "serial",
                "name": "l",
                "dynamic": {"kind": "Loop", "times": 2},
                "each": {"step": "a"},
            }
        ],
    }
    record = run_record(plan=json.dumps(plan), status="running", is_live=True, ended_at=None)
    rounds = [
        group_record("0", "l", kind="choice", round=at, answer='{"decided": "true"}')
        for at in range(2)
    ]
    steps = [step_record(f"0.{at}", f"a[{at}]", at=at) for at in range(2)]
    for known, state in ((1, "running"), (2, "succeeded")):
        (loop,) = build_tree(record, steps[:known], rounds[:known], NOW).children
        assert loop.state == state
    (loop,) = build_tree(replace(record, is_live=False), steps[:1], rounds, NOW).children
    assert loop.state == "interrupted"
    ended = replace(record, status="cancelled", is_live=False, ended_at=START + 9)
    (loop,) = build_tree(ended, steps[:1], rounds, NOW).children
    assert loop.state == ""  # it was ended by what is around it: how, nobody has written down


def test_a_series_that_is_left_in_a_step_that_is_not_critical_has_not_succeeded() -> None:
    children = [{"step": "a"}, {"step": "b", "critical": False}]
    plan = {"group": "serial", "name": "p", "children": [
        {"group": "serial", "name": "s", "children": children}]}  # fmt: skip
    record = run_record(plan=json.dumps(plan), status="cancelled")
    first = step_record("0.0", "a")
    left = step_record("0.1", "b", at=2, status="cancelled")
    for second, state in ((left, "cancelled"), (replace(left, error_type="E"), "succeeded")):
        (series,) = build_tree(record, [first, second], [], NOW).children
        assert series.state == state


def test_a_series_of_steps_that_are_not_critical() -> None:
    plan = {"group": "serial", "name": "p", "children": [
        {"group": "serial", "name": "s", "children": [{"step": "a", "critical": False}]},
    ]}  # fmt: skip
    record = run_record(plan=json.dumps(plan))
    for status, state in (("failed", "succeeded"), ("skipped", "skipped"), ("succeeded",) * 2):
        (series,) = build_tree(record, [step_record("0.0", "a", status=status)], [], NOW).children
        assert series.state == state


# Groups in which nothing is to be done


def test_a_group_without_steps_is_done_once_it_was_passed(runs: Runs, work: Work) -> None:
    work.fail("b")
    found = run(
        runs,
        Serial([]),
        Serial([Serial([Serial([])]), work("a")]),
        Branch(always, Serial([]), Serial([])),
        Parallel([Serial([]), work("p")]),
        Loop(work("l"), times=0),
        work("b"),
        Serial([]),
    )
    done = ["0", "1", "1.0", "1.0.0", "2", "2.0", "3", "3.0", "4"]
    assert [found[path].state for path in done] == ["succeeded"] * len(done)
    assert [found[path].state for path in ("2.1", "6")] == ["not run"] * 2


# Names


def test_instances_have_their_index_behind_their_names(runs: Runs, work: Work) -> None:
    found = run(
        runs,
        Map(Serial([work("a"), Serial([work("b")], name="in")], name="lp"), over=[1, 2]),
        Loop(Map([work("c"), [work("d")]], over=[1], name="m"), times=1, name="l"),
    )
    names = {path: node.name for path, node in found.items()}
    assert (names["0.0"], names["0.1"]) == ("lp[0]", "lp[1]")
    assert (names["0.1.1"], names["0.1.1.0"]) == ("in[1]", "b[1]")
    assert (names["1"], names["1.0"]) == ("l", "m[0]")
    assert names["1.0.0"] == "serial_group_1.0.0"


# All that chance makes


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    logger = logging.getLogger("task_pipeline")
    before = logger.level
    logger.setLevel(logging.ERROR)
    with open_journal(f"sqlite:///{tmp_path_factory.mktemp('journal') / 'runs.db'}") as opened:
        yield opened
    logger.setLevel(before)


_numbers = itertools.count()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trees(depth=2), STARTS, st.floats(0.0, 1.0))
def test_a_tree_says_of_each_group_what_its_events_have_said(
    journal: Journal, tree: DrawnGroup, start: dict[str, Any], part: float
) -> None:
    made, run_id = build(tree, Built(waits=False)), f"r{next(_numbers)}"
    pipeline = Pipeline(list(made.steps), made.config, journal=journal)
    events: list[Event] = []
    pipeline.subscribe(events.append)
    with quiet():
        pipeline.run(Ledger(results=copy.deepcopy(start)), run_id=run_id)
    names = {event.path: event.name for event in events if isinstance(event, GroupStarted)}
    ends = {event.path: type(event).__name__ for event in events if isinstance(event, GroupEnded)}
    for node in tree_of(journal, run_id).walk():
        if node.path and not node.is_step:
            check_group(node, names.get(node.path), ends.get(node.path), is_cut=False)
    rows: list[Any] = [*journal.steps(run_id, superseded=True), *journal.groups(run_id)]
    kept = sorted(rows, key=lambda row: row.seq)[: round(part * len(rows))]
    record = replace(journal.run(run_id), status="running", ended_at=None, is_live=False)
    steps = [row for row in kept if hasattr(row, "step_id")]
    groups = [row for row in kept if not hasattr(row, "step_id")]
    for node in build_tree(record, steps, groups, NOW).walk():
        if node.path and not node.is_step:
            check_group(node, names.get(node.path), ends.get(node.path), is_cut=True)


def check_group(node: TreeNode, name: str | None, end: str | None, is_cut: bool) -> None:
    """What is said of a group is true; of one that was cut off, it may be that it was."""
    said = node.state
    if name is not None:
        assert node.name == name
    may_be = {"", "pending", "interrupted"} if is_cut else {""}
    if end is None:
        may_be |= {"not run", "skipped", "cancelled"}
    else:
        may_be.add({"GroupSucceeded": "succeeded", "GroupFailed": "failed"}.get(end, "cancelled"))
        has_steps = any(below.is_step and below.current for below in node.walk())
        if end == "GroupSucceeded" and not node.choices:
            may_be |= {"skipped"} if has_steps else {"not run", "skipped"}
    assert said in may_be, (node.path, end)
