"""Groups that grow while they run, groups in steps, groups without a run, as they are shown."""

from __future__ import annotations

import io

import pytest

from task_pipeline import EventBus, ExecutionState, Loop, Map, Pipeline, parallel
from task_pipeline.display import ParallelEventPrinter
from tests.test_display_printer import terminal, written


def double(context):
    return 2 * context.results["item"]


def again(context) -> None: ...


def agent(context) -> None:
    with parallel(name="calls") as group:
        for number in range(4):
            group.add(pow, number, 2)
        group.gather()


def test_maps_loops_and_groups_in_steps() -> None:
    file = io.StringIO()
    pipeline = Pipeline(
        [Map([double, again], over=[1, 2, 3], name="map"), agent, Loop(again, times=2, name="loop")]
    )
    with ParallelEventPrinter(file=file) as printer:
        printer.attach(pipeline)
        pipeline.run()
    text = file.getvalue()
    for name, branches in (("map", 3), ("calls", 4), ("loop", 2)):
        assert text.count(f"group {name} succeeded in ") == 1
        assert f": {branches} of {branches} succeeded, 0 failed\n" in text
    assert printer.summary is not None
    assert printer.summary.steps == printer.summary.succeeded == 6 + 1 + 4 + 2
    path = [step.name for step in printer.summary.critical_path]
    assert len(path) == 2 + 2 + 2  # a branch of the map, the agent with a call, both rounds
    assert path[2] == "agent"
    assert path[3].startswith("pow")


def test_in_a_terminal_every_one_is_in_the_tree_once() -> None:
    console = terminal(color_system=None, height=50)
    pipeline = Pipeline([Map(double, over=[1, 2, 3]), agent], name="analysis")
    with ParallelEventPrinter(console=console) as printer:
        printer.attach(pipeline)
        pipeline.run()
    final = written(console)[written(console).rindex("analysis  8/8 steps") :]
    assert "100 %" in final
    for name in ("double[0]", "double[2]", "agent", "calls", "pow[0]", "pow[3]"):
        assert final.split("Summary")[0].count(f"{name} ") == 1


@pytest.mark.parametrize("mode", ["progress", "realtime"])
def test_groups_of_a_state_are_shown_one_by_one(mode) -> None:
    file = io.StringIO()
    bus = EventBus()
    state = ExecutionState(event_bus=bus)
    with ParallelEventPrinter(mode, file=file) as printer:
        printer.attach(bus)
        for name in ("first", "second"):
            with state.parallel(name=name) as group:
                group.add(pow, 2, 3)
                group.add(pow, 2, 4)
        bus.flush()
    text = file.getvalue()
    for name in ("first", "second"):
        assert text.count(f"group {name} succeeded in ") == 1
        assert text.count(f"Summary of {name}: succeeded in ") == 1
