"""`dump_pipeline`: what it writes, and that it says what no document can hold."""

from __future__ import annotations

import copy
import functools
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    Branch,
    CircuitBreaker,
    ConfigurationError,
    EventBus,
    LogicOperator,
    Loop,
    Map,
    Parallel,
    ParallelConfig,
    ParallelGroupError,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineDefinitionError,
    RetryPolicy,
    Serial,
    SharedThreadPoolExecutor,
    step,
)
from task_pipeline.collectors import Collector
from task_pipeline.documents import dump_pipeline, load_pipeline, register_agent, register_function
from task_pipeline.documents.registry import AGENTS, FUNCTIONS
from task_pipeline.journal.outline import outline_of


def load(context: Any) -> None:
    """Load the words."""
    context.results["words"] = ["to", "be", "or", "not"]


def count(context: Any, more: Any = 0) -> Any:
    return len(context.results["words"]) + more


def longest(context: Any) -> str:
    return str(max(context.results["words"], key=len))


async def later(context: Any) -> str:
    return "later"


def size(context: Any) -> int:
    return len(context.results["item"])


def larger(one: Any, other: Any) -> Any:
    return max(one, other)


NAMES: dict[str, Callable[..., Any]] = {
    "load": load,
    "count": count,
    "longest": longest,
    "later": later,
    "size": size,
    "larger": larger,
}


@pytest.fixture
def registered() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    before = dict(FUNCTIONS), dict(AGENTS)
    yield
    for known, old in zip((FUNCTIONS, AGENTS), before, strict=True):
        known.clear()
        known.update(old)


def again(pipeline: Pipeline, names: Any = NAMES) -> tuple[dict[str, Any], Pipeline]:
    """The document of a pipeline, and the pipeline that is loaded from its text."""
    document = dump_pipeline(pipeline, names)
    loaded = load_pipeline(json.dumps(document), functions=names)
    assert outline_of(loaded._plan) == outline_of(pipeline._plan)
    return document, loaded


def problems_of(*steps: Any, **options: Any) -> list[str]:
    with pytest.raises(PipelineDefinitionError) as caught:
        dump_pipeline(Pipeline(list(steps), **options), NAMES)
    return list(caught.value.problems)


# What is written


def test_functions_and_lists_are_written_and_read_again() -> None:
    document, loaded = again(Pipeline([load, [count, longest], later], name="words of a play"))
    assert document == {
        "workflow_id": "words_of_a_play",
        "name": "words of a play",
        "start_step": "load",
        "steps": {
            "load": {"type": "function", "function": "load", "next_step": "parallel"},
            "parallel": {
                "type": "group",
                "group": "parallel",
                "name": None,
                "steps": ["count", "longest"],
                "next_step": "later",
            },
            "count": {"type": "function", "function": "count"},
            "longest": {"type": "function", "function": "longest"},
            "later": {"type": "function", "function": "later"},
        },
    }
    assert loaded.name == "words of a play"
    results = loaded.run().results
    assert results["count"] == 4 and results["longest"] == "not" and results["later"] == "later"


def test_a_pipeline_without_steps_is_a_document_without_steps() -> None:
    document, loaded = again(Pipeline([]))
    assert document == {"steps": {}}
    assert loaded.run().results == {}


def test_every_kind_of_group_keeps_its_settings() -> None:
    config = ParallelConfig(operator=LogicOperator.QUORUM, quorum=1, timeout=3, max_workers=2)
    inner = PipelineConfig(
        fail_fast=False, timeout=9, limits={"disk": 1}, reducers={"n": larger}, max_workers=3
    )
    pipeline = Pipeline(
        [
            load,
            Parallel([count, longest], name="io", config=config),
            Serial([count], name="one"),
            Pipeline([longest], inner, name="nested"),
            Map(size, over="words", result_key="sizes", config=ParallelConfig(delay=0)),
            Map([size, count], over=[["a"], "b", None, 1.5], item_key="it", name="all"),
            Branch("words.0", [count, load], otherwise=longest),
            Branch("nothing", load),
            Loop(count, times=2, while_=count),
            Loop([count, longest], times=1, name="once"),
        ],
        PipelineConfig(parallel_config=ParallelConfig(on_conflict="first"), reducers={"a": larger}),
    )
    document, loaded = again(pipeline)
    steps = document["steps"]
    assert document["config"] == {
        "parallel_config": {"on_conflict": "first"},
        "reducers": {"a": "larger"},
    }
    assert steps["io"]["config"] == {
        "operator": "QUORUM",
        "quorum": 1,
        "timeout": 3.0,
        "max_workers": 2,
    }
    assert steps["nested"]["config"] == {
        "fail_fast": False,
        "timeout": 9.0,
        "limits": {"disk": 1},
        "reducers": {"n": "larger"},
        "max_workers": 3,
    }
    assert steps["map"]["over"] == "words" and steps["map"]["result_key"] == "sizes"
    assert steps["all"]["over"] == [["a"], "b", None, 1.5] and steps["all"]["item_key"] == "it"
    assert steps["branch"]["condition"] == "words.0"
    assert steps["branch"]["then"] == ["count-4", "load-2"]
    assert steps["branch"]["otherwise"] == ["longest-3"]
    assert "otherwise" not in steps["branch-2"]
    assert steps["loop-2"]["while"] == {"function": "count"} and steps["loop-2"]["times"] == 2
    configs = [[group.config for group in one._plan.groups] for one in (pipeline, loaded)]
    assert configs[0] == configs[1]
    scopes = [[group.scope for group in one._plan.groups] for one in (pipeline, loaded)]
    assert scopes[0] == scopes[1]


def test_lists_in_groups_mean_what_they_meant_and_stand_in_their_order() -> None:
    every = ParallelConfig(operator=LogicOperator.AND)  # said outright, as the pipeline says OR
    pipeline = Pipeline(
        [
            load,
            Parallel([[count, longest], later], name="side by side", config=every),
            Serial([[count, longest], load]),
            Branch("words", [count, load], [longest, later]),
        ],
        PipelineConfig(parallel_config=ParallelConfig(operator=LogicOperator.OR)),
    )
    document, _ = again(pipeline)
    called = [entry.get("function", entry.get("group")) for entry in document["steps"].values()]
    assert " ".join(called) == (
        "load parallel serial count longest later serial parallel count longest load "
        "branch count load longest later"
    )


def test_a_list_of_one_step_in_a_map_stays_a_series() -> None:
    document, _ = again(Pipeline([load, Map([size], over="words"), Map([], over="words")]))
    assert document["steps"]["map"]["steps"] == ["serial"]
    assert document["steps"]["map-2"]["steps"] == []


def test_what_a_step_says_of_itself_is_written_where_it_is_not_so_anyway() -> None:
    marked = step(
        step_id="load them",
        description="All of them",
        timeout=2,
        retries=RetryPolicy(attempts=3, backoff="linear", delay=0.5, max_delay=4, total_time=9),
        critical=False,
        weight=3,
        isolated=False,
        limit="disk",
        idempotent=False,
        version="2",
        circuit_breaker="shop",
    )(load)
    pipeline = Pipeline([marked, load, step(retries=1)(count)])
    document, loaded = again(pipeline)
    first, second, third = document["steps"].values()
    assert first == {
        "type": "function",
        "function": "load",
        "retry": {
            "max_attempts": 3,
            "backoff": "linear",
            "delay": 0.5,
            "max_delay": 4.0,
            "total_time": 9.0,
        },
        "timeout": 2.0,
        "critical": False,
        "attributes": {
            "step_id": "load them",
            "description": "All of them",
            "weight": 3.0,
            "isolated": False,
            "limit": "disk",
            "circuit_breaker": "shop",
            "idempotent": False,
            "version": "2",
        },
        "next_step": "load",
    }
    assert second == {"type": "function", "function": "load", "next_step": "count"}
    assert third["retry"] == {"max_attempts": 2, "delay": 0.0}
    for one, other in zip(pipeline._plan.specs, loaded._plan.specs, strict=True):
        for name in ("description", "policy", "timeout", "isolated", "weight", "circuit_breaker"):
            assert getattr(one, name) == getattr(other, name)


def test_what_a_registered_function_says_of_itself_can_be_taken_back() -> None:
    marked = step(retries=2, timeout=1.0, critical=False, limit="disk")(load)
    plain = step(retries=0, timeout=None, critical=True, limit=None)(marked)
    names = {"marked": marked, "count": count}
    document, loaded = again(Pipeline([marked, plain]), names)
    kept, changed = document["steps"].values()
    assert kept.keys() == {"type", "function", "next_step"}
    assert changed == {
        "type": "function",
        "function": "marked",
        "retry": 0,
        "timeout": None,
        "critical": True,
        "attributes": {"step_id": "load", "limit": None},
    }
    assert loaded._plan.specs[1].policy is None and loaded._plan.specs[1].timeout is None


def test_two_of_one_name_and_names_that_are_no_ids() -> None:
    named = step(step_id="größe.1 (rund)")(count)
    odd = step(step_id="...")(count)
    pipeline = Pipeline([load, load, named, step(step_id="env")(load), odd, Serial([], "a/b")])
    document, loaded = again(pipeline)
    assert list(document["steps"]) == ["load", "load-2", "gr_e_1_rund_", "env-2", "step", "a_b"]
    assert document["steps"]["load-2"]["attributes"] == {"step_id": "load"}
    assert document["steps"]["a_b"]["name"] == "a/b"
    ids = [node.step_id for node in loaded._plan.steps]
    assert ids == ["load", "load#2", "größe.1 (rund)", "env", "..."]


def test_an_id_that_a_name_has_taken_is_not_used_twice() -> None:
    steps = [load, step(step_id="load-2")(load), load]
    document, _ = again(Pipeline(steps))
    assert list(document["steps"]) == ["load", "load-2", "load-3"]


def test_a_partial_is_written_with_its_arguments() -> None:
    partial = functools.partial(functools.partial(count, more=1), more=2)
    text = functools.partial(count, more="${not.a.reference} {{ nor_this }}")
    document, loaded = again(Pipeline([load, partial, step(limit="x")(text)]))
    assert document["steps"]["count"]["args"] == {"more": 2}
    assert document["steps"]["count-2"]["args"]["more"].startswith("${not")
    with pytest.raises(TypeError):  # a text cannot be added to a number: it came through as it is
        loaded.run()
    assert loaded.get_status()["step_details"]["count"]["status"] == "succeeded"


class Shop:
    def open(self, context: Any) -> str:
        return f"open: {len(context.results)}"

    def __call__(self, context: Any) -> str:
        return "called"


def test_the_outer_of_two_partials_says_what_an_argument_is() -> None:
    inner = step(limit="disk")(functools.partial(count, more=1))
    document, loaded = again(Pipeline([load, functools.partial(inner, more=2)]))
    assert document["steps"]["count"]["args"] == {"more": 2}
    assert loaded.run().results["count"] == 6


def test_methods_and_objects_that_can_be_called_are_found() -> None:
    shop, other = Shop(), Shop()
    names: dict[str, Any] = {"open": shop.open, "shop": shop}
    document, loaded = again(Pipeline([shop.open, shop]), names)
    assert [entry["function"] for entry in document["steps"].values()] == ["open", "shop"]
    assert loaded.run().results == {"open": "open: 0", "shop": "called"}
    with pytest.raises(PipelineDefinitionError, match="registered under no name"):
        dump_pipeline(Pipeline([other.open]), names)


@pytest.mark.usefixtures("registered")
def test_registered_functions_and_agents_need_no_more_names() -> None:
    register_function("loading")(load)
    register_agent("counting")(count)
    document = dump_pipeline(Pipeline([load, count]))
    assert [entry["function"] for entry in document["steps"].values()] == ["loading", "counting"]
    assert load_pipeline(document).run().results["count"] == 4


@pytest.mark.usefixtures("registered")
def test_a_name_that_means_something_else_is_not_used() -> None:
    register_function("load")(load)
    assert dump_pipeline(Pipeline([load]))["steps"]["load"]["function"] == "load"
    with pytest.raises(PipelineDefinitionError, match="registered under no name"):
        dump_pipeline(Pipeline([load]), {"load": count})
    document = dump_pipeline(Pipeline([load]), {"load": count, "mine": load})
    assert document["steps"]["load"]["function"] == "mine"


def test_what_another_decorator_has_put_around_a_function_is_not_lost() -> None:
    @functools.wraps(step(limit="disk")(load))  # copies what @step has set
    def around(context: Any) -> None:
        context.results["around"] = True

    (problem,) = problems_of(around)
    assert "registered under no name" in problem
    assert dump_pipeline(Pipeline([around]), {"around": around})["steps"]


@pytest.mark.no_cover
def test_deep_nesting_is_written_without_end() -> None:
    nested: Any = load
    for _ in range(1_500):
        nested = [nested]
    document = dump_pipeline(Pipeline([nested]), NAMES)
    assert len(document["steps"]) == 1_501


def test_a_group_that_may_fail_is_written_as_one() -> None:
    def fails(context: Any) -> None:
        raise ValueError("no")

    names = {**NAMES, "fails": fails}
    lenient, tolerant = Parallel([fails], name="lenient"), Parallel([fails], name="tolerant")
    lenient.critical = False
    tolerant.tolerates_failures = True
    pipeline = Pipeline([lenient, tolerant, load])
    document, loaded = again(pipeline, names)
    assert document["steps"]["lenient"]["critical"] is False
    assert document["steps"]["tolerant"]["tolerates_failures"] is True
    one, other = pipeline.run(), loaded.run()
    assert one.results == other.results
    assert [str(error) for error in one.errors] == [str(error) for error in other.errors]


def test_a_loaded_pipeline_can_be_pickled_and_copied() -> None:
    _, loaded = again(Pipeline([load, step(weight=2)(count), [longest, later]]))
    for other in (pickle.loads(pickle.dumps(loaded)), copy.deepcopy(loaded)):
        assert other.run().results == loaded.run().results


def test_the_loaded_pipeline_goes_on_with_what_the_dumped_one_began(tmp_path: Path) -> None:
    calls: list[str] = []

    def first(context: Any) -> str:
        calls.append("first")
        return "first"

    def second(context: Any) -> str:
        calls.append("second")
        if calls.count("second") == 1:
            raise ValueError("not yet")
        return "second"

    steps: list[Any] = [first, [second, load]]
    names = {"first": first, "second": second, "load": load}
    url = f"sqlite:///{tmp_path}/runs.db"
    document = dump_pipeline(Pipeline(steps), names)
    with pytest.raises(ParallelGroupError):
        Pipeline(steps, journal=url).run(run_id="one")
    context = load_pipeline(document, functions=names, journal=url).resume("one")
    assert calls == ["first", "second", "second"]
    assert context.results["second"] == "second" and context.results["words"]


# What was loaded from a document


WORKFLOW = {"name": "mine", "steps": {"a": {"type": "function", "function": "load"}}}


def test_a_loaded_workflow_gives_its_own_document_back() -> None:
    loaded = load_pipeline(WORKFLOW, functions=NAMES)
    document = dump_pipeline(loaded)
    assert document == WORKFLOW
    document["steps"]["a"]["function"] = "changed"
    assert dump_pipeline(loaded) == WORKFLOW


def test_a_loaded_workflow_keeps_the_settings_and_the_name_it_was_given() -> None:
    config = PipelineConfig(timeout=5, reducers={"a": larger})
    loaded = load_pipeline(WORKFLOW, functions=NAMES, config=config, name="other")
    document = dump_pipeline(loaded, NAMES)
    assert document["name"] == "other"
    assert document["config"] == {"timeout": 5.0, "reducers": {"a": "larger"}}
    assert load_pipeline(document, functions=NAMES).config == config
    with pytest.raises(PipelineDefinitionError, match="reducer of 'a'"):
        dump_pipeline(loaded)
    plain = load_pipeline(document, functions=NAMES, config=PipelineConfig())
    assert "config" not in dump_pipeline(plain)


def test_a_workflow_of_a_file_is_not_called_as_its_file(tmp_path: Path) -> None:
    file = tmp_path / "words.json"
    file.write_text(json.dumps({"steps": WORKFLOW["steps"]}), "utf-8")
    assert "name" not in dump_pipeline(load_pipeline(file, functions=NAMES))


def test_a_recipe_is_a_document_already() -> None:
    loaded = load_pipeline({"steps": [{"type": "set_context", "key": "a", "value": 1}]})
    with pytest.raises(
        PipelineDefinitionError, match=r"recipe \(a dict\).*pipeline\.source\.value"
    ):
        dump_pipeline(loaded)


def test_what_is_taken_out_of_a_document_is_not_written_into_another() -> None:
    recipe = load_pipeline({"steps": [{"type": "set_context", "key": "a", "value": 1}]})
    recipe.name = "inner"
    found = problems_of(load, recipe, *recipe.steps)
    assert found[0].startswith("path 1, DocumentPipeline 'inner': it was loaded from a dict")
    assert found[1].startswith("path 2, step 'set_context': it is part of a document")


# What cannot be written


def test_everything_that_cannot_be_written_is_said_at_once() -> None:
    mapped = Map(lambda context: 1, over=lambda context: [], name="each")
    found = problems_of(
        lambda context: None,
        [load, [load, lambda context: None]],
        mapped,
        Branch(lambda context: True, load),
        Loop(load, while_=lambda context: False),
        functools.partial(count, 3),
        step(retries=RetryPolicy(retry_on=(ValueError,), never_on=(OSError,)))(load),
        step(circuit_breaker=CircuitBreaker("shop"))(load),
        config=PipelineConfig(reducers={"a": max}),
    )
    expected = [
        ("the pipeline: the reducer of 'a'", "@register_function"),
        ("path 0, step 'lambda'", "registered under no name; register it with @register_function"),
        ("path 1.1.1, step 'lambda'", "functions={name: function}"),
        ("path 2, Map 'each': over is a function", "name a key of results"),
        ("path 2.0, step 'lambda'", "registered under no name"),
        ("path 3, Branch without a name: condition is a function", "@register_function"),
        ("path 4, Loop without a name: while_ is a function", "@register_function"),
        ("path 5, step 'count': it is a partial", "give them by name"),
        ("path 6, step 'load': a document cannot name the exceptions in retry_on", "@step"),
        ("path 6, step 'load': a document cannot name the exceptions in never_on", "@step"),
        ("path 7, step 'load': a document cannot hold its circuit breaker", "name it"),
    ]
    assert len(found) == len(expected)
    for problem, (start, part) in zip(found, expected, strict=True):
        assert problem.startswith(start) and part in problem


def test_what_a_pipeline_was_given_beside_its_steps_would_be_lost(tmp_path: Path) -> None:
    with SharedThreadPoolExecutor(1) as pool:
        found = problems_of(
            Pipeline([load], progress_callback=print, name="inner"),
            executor=pool,
            event_bus=EventBus(),
            journal=f"sqlite:///{tmp_path}/runs.db",
            progress_callback=print,
        )
    starts = [
        "the pipeline: a document cannot hold its executor",
        "the pipeline: a document cannot hold its event_bus",
        "the pipeline: a document cannot hold its journal",
        "the pipeline: a document cannot hold its progress_callback",
        "path 0, Pipeline 'inner': a document cannot hold its progress_callback",
    ]
    assert [problem[: len(start)] for problem, start in zip(found, starts, strict=True)] == starts


class Twice(Map):
    """A map that asks in a way of its own."""

    def decide(self, answer: Any) -> list[Any]:
        return super().decide(answer) * 2


def test_groups_of_which_documents_know_nothing() -> None:
    collected = Parallel([load])
    collected.collector = Collector()
    found = problems_of(Twice(load, over="words"), collected)
    assert found[0].startswith("path 0, Twice without a name: a document has no such group")
    assert found[1] == (
        "path 1, Parallel without a name: a document cannot hold its collector; take it away"
    )


def test_who_calls_steps_is_not_written() -> None:
    own = step(executor="inline", executor_options=None)(load)
    assert problems_of(Parallel([own], executor="inline")) == [
        "path 0, Parallel without a name: a document cannot hold its executor; take it away",
        (
            "path 0.0, step 'load': a document cannot hold its executor, nor executor_options; "
            "take them away"
        ),
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ((1, 2), "over[1] cannot be written: (1, 2) is a tuple, which JSON does not have"),
        ({1, 2}, "a set"),
        ({"a": {1: 2}}, "over[1].a cannot be written: its key 1 is no text"),
        (float("nan"), "over[1] cannot be written: JSON has no nan"),
        ("\ud800", "half of a surrogate pair"),
        ({"\ud800": 1}, "its key"),
        pytest.param(10**5_000, "it is too large a number", id="large"),
        pytest.param((10**5_000,), "it is a tuple, which JSON does not have", id="in a tuple"),
        (json.loads("[" * 99 + "]" * 99), "it is nested too deep"),
        (PipelineContext, "which JSON does not have"),
    ],
)
def test_values_that_json_would_change_are_refused(value: Any, reason: str) -> None:
    (problem,) = problems_of(Map(load, over=[{"fine": [None, True, 1.5]}, value]))
    assert problem.startswith("path 0, Map without a name: over[1]") and reason in problem


def test_arguments_and_names_that_json_would_change_are_refused() -> None:
    found = problems_of(
        functools.partial(count, more=(1,)),
        step(step_id="a\ud800")(load),
        Serial([], name="b\ud800"),
        Map(size, over="c\ud800", item_key="d\ud800", result_key="e\ud800"),
        name="g\ud800",
    )
    assert [problem.split(" cannot be")[0] for problem in found] == [
        "the pipeline: name",
        "path 0, step 'count': args.more",
        "path 1, step 'a\\ud800': attributes.step_id",
        "path 2, Serial 'b\\ud800': name",
        "path 3, Map without a name: over",
        "path 3, Map without a name: item_key",
        "path 3, Map without a name: result_key",
    ]


def test_lists_that_have_changed_since_are_checked_again() -> None:
    steps: list[Any] = [load]
    pipeline = Pipeline(steps)
    steps.append(steps)
    with pytest.raises(PipelineDefinitionError, match="contains itself"):
        dump_pipeline(pipeline, NAMES)


@pytest.mark.parametrize("given", [None, [load], PipelineConfig()])
def test_only_a_pipeline_can_be_dumped(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="takes a Pipeline"):
        dump_pipeline(given)


@pytest.mark.parametrize("names", [{"a": 1}, {"": load}, {1: load}])
def test_names_must_be_names_of_functions(names: Any) -> None:
    with pytest.raises(ConfigurationError, match="functions must be functions by name"):
        dump_pipeline(Pipeline([load]), names)
