"""The outline of a plan: what of it decides the results, and how two of them are compared."""

from __future__ import annotations

import json
from typing import Any

import pytest

from task_pipeline import (
    Branch,
    ErrorStrategy,
    LogicOperator,
    Loop,
    Map,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    Serial,
    TaskStep,
    step,
)
from task_pipeline.errors import ConfigurationError
from task_pipeline.journal.outline import (
    Entry,
    chain,
    compare,
    entry_at,
    fingerprint_of,
    outline_of,
    text_of,
)
from task_pipeline.journal.targets import paths_of


def named(name: str, **attributes: Any) -> Any:
    @step(step_id=name, **attributes)
    def work(context: Any) -> None: ...

    return work


def names(text: str) -> list[TaskStep]:
    return [named(name) for name in text.split()]


def outline(steps: list[TaskStep], **options: Any) -> Entry:
    return outline_of(Pipeline(steps, **options)._plan)


def fingerprint(steps: list[TaskStep], **options: Any) -> str:
    return fingerprint_of(text_of(outline(steps, **options)))


def test_it_is_what_json_knows() -> None:
    steps: list[TaskStep] = [
        named("a", version="2", critical=False),
        Parallel(
            names("b c"), config=ParallelConfig(operator=LogicOperator.QUORUM, quorum=1), name="io"
        ),
        Map(named("m"), over="items", result_key="out"),
        Loop(names("l k"), times=3, while_="more"),
        Branch("flag", named("y"), named("n")),
    ]
    made = outline(steps, name="all")
    assert json.loads(text_of(made)) == made
    assert made["group"] == "serial"
    assert made["name"] == "pipeline"  # whatever the pipeline is called
    a, io, mapped, loop, branch = made["children"]
    assert a == {"step": "a", "critical": False, "version": "2"}
    assert (io["group"], io["name"], io["operator"], io["quorum"]) == (
        "parallel",
        "io",
        "QUORUM",
        1,
    )
    assert mapped["dynamic"]["kind"] == "Map"
    assert (mapped["dynamic"]["over"], mapped["each"]) == ("items", {"step": "m"})
    assert (loop["dynamic"]["times"], loop["dynamic"]["while"]) == (3, "more")
    assert branch["dynamic"]["condition"] == "flag"
    assert [child["step"] for child in branch["children"]] == ["y", "n"]


def test_it_is_the_same_for_two_of_a_kind() -> None:
    def steps() -> list[TaskStep]:
        return [named("a"), names("b c"), Map(names("m n"), over=lambda context: [])]

    assert fingerprint(steps()) == fingerprint(steps())


@pytest.mark.parametrize(
    ("steps", "options"),
    [
        ([named("a", timeout=3.0, retries=2, weight=2.0, isolated=True), names("b c")], {}),
        ([named("a"), Parallel(names("b c"), config=ParallelConfig(timeout=3, delay=1))], {}),
        (
            [named("a", limit="io"), names("b c")],
            {"limits": {"io": 2}, "config": PipelineConfig(max_workers=2, timeout=9.0)},
        ),
        ([named("a", idempotent=False, description="x", circuit_breaker=None), names("b c")], {}),
    ],
)
def test_how_it_runs_is_not_part_of_it(steps: list[TaskStep], options: dict[str, Any]) -> None:
    assert fingerprint(steps, **options) == fingerprint([named("a"), names("b c")])


@pytest.mark.parametrize(
    ("steps", "options"),
    [
        ([named("a"), names("b d")], {}),
        ([named("a"), names("c b")], {}),
        ([named("a"), *names("b c")], {}),
        ([named("a", version="1"), names("b c")], {}),
        ([named("a", critical=False), names("b c")], {}),
        (
            [named("a"), Parallel(names("b c"), config=ParallelConfig(operator=LogicOperator.OR))],
            {},
        ),
        (
            [
                named("a"),
                Parallel(
                    names("b c"), config=ParallelConfig(error_strategy=ErrorStrategy.FAIL_FAST)
                ),
            ],
            {},
        ),
        ([named("a"), Parallel(names("b c"), config=ParallelConfig(on_conflict="first"))], {}),
        ([named("a"), names("b c")], {"config": PipelineConfig(fail_fast=False)}),
        ([named("a"), names("b c")], {"config": PipelineConfig(reducers={"x": max})}),
    ],
)
def test_what_comes_out_is_part_of_it(steps: list[TaskStep], options: dict[str, Any]) -> None:
    assert fingerprint(steps, **options) != fingerprint([named("a"), names("b c")])


def test_no_nesting_is_too_deep() -> None:
    steps: Any = [named("a")]
    for _ in range(300):
        steps = [steps]
    made = outline(steps)
    text = text_of(made)
    assert compare(json.loads(text), made).changes == []
    deepest = ".".join(["0"] * 301)
    assert entry_at(made, deepest) == {"step": "a"}


def test_places_in_it() -> None:
    made = outline([named("a"), [names("b c")], Map(names("m n"), over="x")])
    assert entry_at(made, "") is made
    assert entry_at(made, "1.0.1") == {"step": "c"}
    assert entry_at(made, "2.7.1") == {"step": "n"}
    for nowhere in ("3", "0.1", "1.0.2", "2.7.2"):
        assert entry_at(made, nowhere) is None
    assert [path for path, _ in chain(made, "1.0.1")] == ["", "1", "1.0", "1.0.1"]
    assert [path for path, _ in chain(made, "1.0.9")] == ["", "1", "1.0"]


# Comparing


def changed(before: list[TaskStep], now: list[TaskStep]) -> list[str]:
    return compare(outline(before), outline(now)).changes


def test_nothing_changed() -> None:
    found = compare(outline(names("a b")), outline(names("a b")))
    assert found.changes == []
    assert found.place_of("1") == "1"
    assert found.place_of("") == ""


def test_changes_in_a_series() -> None:
    assert changed(names("a b"), names("a b c")) == ["at path 2: step 'c' was added"]
    assert changed(names("a b c"), names("a b")) == ["step 'c' was removed, which was at path 2"]
    assert changed(names("a b"), names("a x b")) == ["at path 1: step 'x', where it was step 'b'"]
    assert changed([named("a")], [named("a", version="2", critical=False)]) == [
        "at path 0: step 'a' (version '2', not critical), where it was step 'a'"
    ]
    assert changed([named("a")], [Serial(names("a"), name="s")]) == [
        "at path 0: serial group 's' (of 1), where it was step 'a'"
    ]


def test_what_stands_before_a_change_is_kept() -> None:
    found = compare(outline(names("a b c")), outline(names("a x c")))
    assert [found.place_of(path) for path in ("0", "1", "2")] == ["0", None, None]


def test_changes_of_branches() -> None:
    before: list[TaskStep] = [names("a b c")]
    now: list[TaskStep] = [[named("c"), named("a"), named("x")]]
    found = compare(outline(before), outline(now))
    assert sorted(found.changes) == [
        "at path 0.0: step 'c' has moved",
        "at path 0.1: step 'a' has moved",
        "at path 0.2: step 'x' was added",
        "step 'b' was removed, which was at path 0.1",
    ]
    places = {path: found.place_of(path) for path in ("0.0", "0.1", "0.2")}
    assert places == {"0.0": "0.1", "0.1": None, "0.2": "0.0"}


def test_a_branch_that_changed_inside_is_found_by_its_name() -> None:
    before: list[TaskStep] = [[Serial(names("a b"), name="x"), Serial(names("c"), name="y")]]
    now: list[TaskStep] = [[Serial(names("c"), name="y"), Serial(names("a d"), name="x")]]
    found = compare(outline(before), outline(now))
    assert found.place_of("0.0.0") == "0.1.0"
    assert found.place_of("0.0.1") is None
    assert found.place_of("0.1.0") == "0.0.0"


def test_a_changed_group_is_another_group() -> None:
    fast = ParallelConfig(error_strategy=ErrorStrategy.FAIL_FAST)
    found = compare(outline([names("a b")]), outline([Parallel(names("a b"), config=fast)]))
    assert len(found.changes) == 1
    assert "on_error=FAIL_FAST" in found.changes[0]
    assert found.place_of("0.0") is None


def test_a_changed_template_is_another_map() -> None:
    found = compare(
        outline([Map(named("m"), over="x", name="each")]),
        outline([Map(named("n"), over="x", name="each")]),
    )
    assert len(found.changes) == 1
    assert "Map 'each'" in found.changes[0]
    assert found.place_of("0.3") is None


# Targets


def test_names_and_paths() -> None:
    made = outline([named("a"), Parallel(names("b b"), name="io"), named("b")])
    assert paths_of("a", made, []) == ["0"]
    assert paths_of("io", made, []) == ["1"]
    assert paths_of("b#2", made, []) == ["1.1"]
    assert paths_of("1.0", made, []) == ["1.0"]
    for wrong in ("c", "7", "1.9", "1.", ""):
        with pytest.raises(ConfigurationError, match="from_step"):
            paths_of(wrong, made, [])
