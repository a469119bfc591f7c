"""Random workflows do what a plain walk through them says; mutilated ones are told, or run."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from task_pipeline import DocumentError, Pipeline, TaskPipelineError
from task_pipeline.documents import load_pipeline
from tests.workflow_documents import Context

STRESS = os.environ.get("TASK_PIPELINE_STRESS") == "1"
CASES = 2_000 if STRESS else 60
pytestmark = [pytest.mark.stress, pytest.mark.timeout(1_500 if STRESS else 60)]

INPUT = {"n": 3, "items": ["x", "y"]}

Results = dict[str, Any]
Series = list["Element"]


def mix(given: Any) -> Any:
    return ["mixed", given]


# What a workflow is made of, how it is written, and what it comes to


@dataclass
class Element:
    """One step of a series: `written` as a document has it, `run` as it should go."""

    id: str
    refs: list[str] = field(default_factory=list)
    in_loop: bool = False

    def write(self, steps: Results, following: str | None) -> None:
        steps[self.id] = {"agent_name": "mix", "input_mapping": self.mapping()}
        self.follow(steps, following)

    def follow(self, steps: Results, following: str | None) -> None:
        if following is not None:
            steps[self.id]["next_step"] = following

    def mapping(self) -> list[str]:
        own = ["${loop.item}", "at ${loop.index}"] if self.in_loop else []
        return [*(f"${{{ref}.output}}" for ref in self.refs), "${workflow.input.n}", *own]

    def given(self, results: Results) -> list[Any]:
        loop = results.get("loop")
        own = [loop["item"], f"at {loop['index']}"] if self.in_loop and loop else []
        return [*(results[ref] for ref in self.refs), results["n"], *own]

    def run(self, results: Results) -> Any:
        """Do what it does to the results; returns what a series that ends with it puts out."""
        results[self.id] = mix(self.given(results))
        return results[self.id]


def write(series: Series, steps: Results, following: str | None) -> None:
    for index, element in enumerate(series):
        more = series[index + 1].id if index + 1 < len(series) else following
        element.write(steps, more)


def run(series: Series, results: Results) -> Any:
    last = None
    for element in series:
        last = element.run(results)
    return last


def apart(series: Series, results: Results, more: Results) -> tuple[Results, Any]:
    """What a branch adds to the results, and its output."""
    own = {**copy.deepcopy(results), **more}
    last = run(series, own)
    return {key: item for key, item in own.items() if key not in results and key != "loop"}, last


@dataclass
class Parallel(Element):
    branches: list[Series] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def write(self, steps: Results, following: str | None) -> None:
        steps[self.id] = {
            "type": "parallel",
            "parallel_steps": [branch[0].id for branch in self.branches],
        }
        self.follow(steps, following)
        for branch, end in zip(self.branches, self.ends, strict=True):
            write(branch, steps, (None, self.id, following)[end])

    def run(self, results: Results) -> Any:
        output = {}
        added = [apart(branch, results, {})[0] for branch in self.branches]
        for branch, new in zip(self.branches, added, strict=True):
            results.update(new)
            output[branch[0].id] = new[branch[0].id]
        results[self.id] = output
        return output


@dataclass
class Fork(Element):
    branches: dict[str, Series] = field(default_factory=dict)
    policy: str = "all"
    lists_all: bool = True

    def write(self, steps: Results, following: str | None) -> None:
        branches = {}
        for name, branch in self.branches.items():
            branches[name] = {
                "steps": [one.id for one in (branch if self.lists_all else branch[:1])]
            }
            for one in branch if self.lists_all else ():
                one.write(steps, None)
            if not self.lists_all:
                write(branch, steps, self.id)
        steps[self.id] = {"type": "fork_join", "branches": branches, "join_policy": self.policy}
        self.follow(steps, following)

    def run(self, results: Results) -> Any:
        output = {}
        added = {name: apart(one, results, {}) for name, one in self.branches.items()}
        for name, (new, last) in added.items():
            results.update(new)
            output[name] = last
        results[self.id] = output
        return output


@dataclass
class Choice(Element):
    ways: tuple[Series, Series] = ([], [])
    limit: int = 0
    own_next: bool = False

    def write(self, steps: Results, following: str | None) -> None:
        step: Results = {
            "type": "conditional",
            "condition": {"expression": f"${{workflow.input.n}} > {self.limit}"},
        }
        steps[self.id] = step
        if self.own_next:
            self.follow(steps, following)
        for key, way in zip(("if_true_step", "if_false_step"), self.ways, strict=True):
            first = way[0].id if way else None if self.own_next else following
            if first is not None:
                step[key] = first
            write(way, steps, following)
        self.step = step

    def run(self, results: Results) -> Any:
        holds = results["n"] > self.limit
        taken = self.step.get("if_true_step" if holds else "if_false_step")
        results[self.id] = {"result": holds, "next_step": taken}
        last = run(self.ways[0 if holds else 1], results)
        return results[self.id] if last is None else last


@dataclass
class Loop(Element):
    body: Series = field(default_factory=list)
    mode: str = "sequential"

    def write(self, steps: Results, following: str | None) -> None:
        steps[self.id] = {
            "type": "loop",
            "loop_config": {
                "collection": "${workflow.input.items}",
                "loop_body": [one.id for one in self.body],
                "execution_mode": self.mode,
            },
        }
        self.follow(steps, following)
        for one in self.body:
            one.write(steps, None)

    def run(self, results: Results) -> Any:
        outputs = []
        for index, item in enumerate(results["items"]):
            loop = {"loop": {"item": item, "index": index}}
            outputs.append(apart(self.body, results, loop)[1])
        results[self.id] = outputs
        return outputs


@dataclass
class Call(Element):
    inner: Series = field(default_factory=list)

    def write(self, steps: Results, following: str | None) -> None:
        inner: Results = {}
        write(self.inner, inner, None)
        workflow = {"steps": inner, "start_step": self.inner[0].id}
        mapping = {"n": 1, "items": "${workflow.input.items}"}
        steps[self.id] = {
            "type": "sub_workflow",
            "workflow": workflow,
            "input_mapping": mapping,
        }
        self.follow(steps, following)

    def run(self, results: Results) -> Any:
        results[self.id] = run(self.inner, {"n": 1, "items": results["items"]})
        return results[self.id]


class Drawing:
    """Draws one workflow; ids are used once, but for those of a workflow in it."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.draw = draw
        self.count = 0

    def series(self, depth: int, seen: list[str], in_loop: bool, least: int = 1) -> Series:
        seen = list(seen)
        made: Series = []
        for _ in range(self.draw(st.integers(least, 3))):
            made.append(self.element(depth, seen, in_loop))
            seen.append(made[-1].id)
        return made

    def element(self, depth: int, seen: list[str], in_loop: bool) -> Element:
        self.count += 1
        step_id = f"s{self.count}"
        kinds = ["agent", "agent"]
        if depth:
            kinds += ["parallel", "fork", "choice", "loop", "call"]
        kind = self.draw(st.sampled_from(kinds))
        flag = self.draw(st.booleans())
        if kind == "parallel":
            count = self.draw(st.integers(1, 3))
            branches = [self.series(depth - 1, seen, in_loop) for _ in range(count)]
            ends = [self.draw(st.integers(0, 2)) for _ in branches]
            return Parallel(step_id, branches=branches, ends=ends)
        if kind == "fork":
            count = self.draw(st.integers(1, 3))
            forks = {f"way {n}": self.series(depth - 1, seen, in_loop) for n in range(count)}
            return Fork(step_id, branches=forks, lists_all=flag)
        if kind == "choice":
            ways = (self.series(depth - 1, seen, in_loop), self.series(depth - 1, seen, in_loop, 0))
            limit = self.draw(st.integers(0, 4))
            return Choice(step_id, ways=ways, limit=limit, own_next=flag)
        if kind == "loop":
            body = self.series(depth - 1, seen, True)
            return Loop(step_id, body=body, mode="parallel" if flag else "sequential")
        if kind == "call":
            return Call(step_id, inner=self.series(depth - 1, [], False))
        refs = self.draw(st.lists(st.sampled_from(seen), max_size=2)) if seen else []
        return Element(step_id, refs, in_loop)


@st.composite
def workflows(draw: Callable[[Any], Any]) -> tuple[Results, Series]:
    series = Drawing(draw).series(draw(st.integers(0, 3)), [], False)
    steps: Results = {}
    write(series, steps, None)
    shuffled = draw(st.permutations(list(steps)))
    document = {
        "workflow_id": "drawn",
        "start_step": series[0].id,
        "steps": {step_id: steps[step_id] for step_id in shuffled},
    }
    return document, series


def loaded(document: Results) -> Pipeline:
    return load_pipeline(document, "workflow", agents={"mix": mix})


@settings(max_examples=CASES, deadline=None)
@given(workflows())
def test_a_workflow_does_what_a_walk_through_it_says(drawn: tuple[Results, Series]) -> None:
    document, series = drawn
    note(repr(document))
    expected = copy.deepcopy(INPUT)
    run(series, expected)
    context = loaded(document).run(Context(results=copy.deepcopy(INPUT)))
    assert context.results == expected
    assert context.errors == []


JSON = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 5),
    st.sampled_from(["", "s1", "s2", "parallel", "loop", "${s1.output}", "${", "mix", "x y"]),
    st.lists(st.sampled_from(["s1", "s2", 3]), max_size=2),
    st.just({}),
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a value, with each of its keys."""
    found = []
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        found.append((value, key))
        found += places(value[key])
    return found


@settings(max_examples=5 * CASES, deadline=None)
@given(workflows(), st.data())
def test_a_mutilated_workflow_is_told_or_runs(drawn: tuple[Results, Series], data: Any) -> None:
    document, _ = drawn
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(places(document)))
        what = data.draw(st.sampled_from(["replace", "remove", "swap"]))
        if what == "remove":
            del container[key]
        elif what == "replace":
            container[key] = data.draw(JSON)
        else:
            other, its = data.draw(st.sampled_from(places(document)))
            container[key], other[its] = copy.deepcopy((other[its], container[key]))
    note(repr(document))
    said = ""
    try:
        pipeline = loaded(document)
    except DocumentError as error:
        said = str(error)
    if said:
        assert "pydantic" not in said and "Traceback" not in said
        return
    try:
        pipeline.run(Context(results=copy.deepcopy(INPUT)))
    except (TaskPipelineError, ExceptionGroup):
        pass  # such as a reference to what was not reached
