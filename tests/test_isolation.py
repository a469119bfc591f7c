"""A branch's view of `results`: complete, a real dict, and never the parent's own objects."""

from __future__ import annotations

import ast
import collections
import copy
import dataclasses
import json
import operator
import pickle
import pprint
import socket
import string
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    ContextCopyError,
    LogicOperator,
    ParallelConfig,
    ParallelGroupError,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    TaskStep,
    step,
)
from task_pipeline.testing import Gate

Results = dict[str, Any]
Context = PipelineContext[Any]


def in_a_branch(work: Callable[[Context], Any], results: Any) -> Any:
    """What a function returns that is called with the context of a branch."""
    found: list[Any] = []
    context: Context = PipelineContext(results=results)
    branch = step(step_id="branch")(lambda context: found.append(work(context)))
    Pipeline([[branch, lambda context: None]]).run(context)
    return found[0]


def keyword(first: object, k: Any) -> Any:
    return k


def matched(results: Results) -> Any:
    match results:
        case {"k": value}:
            return value


def matched_rest(results: Results) -> Any:
    match results:
        case {"first": 0, **rest}:
            return rest["k"]


def updated(mapping: Any, results: Results) -> Any:
    mapping.update(results)
    return mapping["k"]


WAYS_TO_A_VALUE: dict[str, Callable[[Results], Any]] = {
    "[]": lambda results: results["k"],
    "get": lambda results: results.get("k"),
    "items": lambda results: list(results.items())[1][1],
    "values": lambda results: list(results.values())[1],
    "pop": lambda results: results.pop("k"),
    "popitem": lambda results: results.popitem()[1],
    "setdefault": lambda results: results.setdefault("k", None),
    "copy": lambda results: results.copy()["k"],
    "|": lambda results: (results | {"other": 1})["k"],
    "| on the right": lambda results: ({"other": 1} | results)["k"],
    "|=": lambda results: operator.ior(results, {"other": 1})["k"],
    "|= on the right": lambda results: operator.ior({}, results)["k"],
    "dict": lambda results: dict(results)["k"],
    "dict(**)": lambda results: dict(**results)["k"],
    "{**}": lambda results: {**results}["k"],
    "update": lambda results: updated({}, results),
    "OrderedDict": lambda results: collections.OrderedDict(results)["k"],
    "defaultdict": lambda results: collections.defaultdict(list, results)["k"],
    "UserDict": lambda results: collections.UserDict(results)["k"],
    "ChainMap": lambda results: collections.ChainMap(results)["k"],
    "MappingProxyType": lambda results: types.MappingProxyType(results)["k"],
    "its own type": lambda results: type(results)(results)["k"],
    "iteration": lambda results: [results[key] for key in results][1],
    "reversed": lambda results: results[next(reversed(results))],
    "comprehension": lambda results: {key: value for key, value in results.items()}["k"],  # noqa: C416
    "itemgetter": operator.itemgetter("k"),
    "match": matched,
    "match with a rest": matched_rest,
    "json": lambda results: json.loads(json.dumps(results))["k"],
    "pickle": lambda results: pickle.loads(pickle.dumps(results))["k"],
    "copy.copy": lambda results: copy.copy(results)["k"],
    "copy.deepcopy": lambda results: copy.deepcopy(results)["k"],
    "a keyword argument": lambda results: keyword(**results),
}


@pytest.mark.parametrize("read", WAYS_TO_A_VALUE.values(), ids=WAYS_TO_A_VALUE)
def test_guarantee_5_no_way_to_read_hands_out_the_parents_object(
    read: Callable[[Results], Any],
) -> None:
    original = [1, [2]]
    seen = []

    def branch(context: Context) -> None:
        value = read(context.results)
        seen.append(copy.deepcopy(value))
        assert value is not original
        value.append(3)
        value[1].append(4)

    Pipeline([[branch, branch]]).run(PipelineContext(results={"first": 0, "k": original}))
    assert original == [1, [2]]
    assert seen == [[1, [2]], [1, [2]]]


WAYS_TO_EVERY_KEY: dict[str, Callable[[Results], Any]] = {
    "dict": dict,
    "{**}": lambda results: {**results},
    "items": lambda results: dict(list(results.items())),
    "zip": lambda results: dict(zip(results.keys(), results.values(), strict=True)),
    "iteration": lambda results: {key: results[key] for key in results},
    "copy": lambda results: results.copy(),
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "pickle": lambda results: pickle.loads(pickle.dumps(results)),
    "json": lambda results: json.loads(json.dumps(results)),
    "json, indented": lambda results: json.loads(json.dumps(results, indent=1, sort_keys=True)),
    "repr": lambda results: ast.literal_eval(repr(results)),
    "str": lambda results: ast.literal_eval(f"{results}"),
    "pprint": lambda results: ast.literal_eval(pprint.pformat(results, width=10)),
    "|": lambda results: results | {},
    "popitem": lambda results: dict([results.popitem() for _ in range(len(results))]),
}


@pytest.mark.parametrize("read", WAYS_TO_EVERY_KEY.values(), ids=WAYS_TO_EVERY_KEY)
def test_every_way_to_read_sees_every_key(read: Callable[[Results], Any]) -> None:
    def work(context: Context) -> Any:
        results = context.results
        results["changed"] = "new"
        results["list"].append(2)
        results["added"] = [4]
        del results["gone"]
        return read(results)

    base = {"gone": [0], "changed": "old", "list": [1], "dict": {"d": {"e": 3}}, "none": None}
    expected = {"changed": "new", "list": [1, 2], "dict": {"d": {"e": 3}}, "none": None}
    assert in_a_branch(work, base) == {**expected, "added": [4]}


def test_a_branchs_results_answer_as_any_dict() -> None:
    def work(context: Context) -> None:
        results = context.results
        assert isinstance(results, dict)
        assert results == {"a": 1, "b": [2]}
        assert results == {"a": 1, "b": [2]}
        assert results != {"a": 1}
        assert (len(results), bool(results)) == (2, True)
        assert "b" in results
        assert "c" not in results
        assert list(results) == list(results.keys()) == ["a", "b"]
        assert list(reversed(results)) == ["b", "a"]
        assert results.keys() & {"b", "c"} == {"b"}
        assert results.get("c") is None
        assert results.get("c", 5) == 5
        assert results.pop("c", 6) == 6
        assert results.setdefault("c") is None
        assert results.pop("c") is None
        assert "{a} {b[0]}".format_map(results) == "1 2"
        assert string.Template("$a").substitute(results) == "1"
        assert results.fromkeys("xy", 0) == {"x": 0, "y": 0}
        for missing in (lambda: results["c"], lambda: results.pop("c")):
            with pytest.raises(KeyError, match=r"^'c'$"):
                missing()
        with pytest.raises(KeyError):
            del results["c"]
        results.clear()
        assert results == {}
        assert not results
        with pytest.raises(KeyError, match="popitem"):
            results.popitem()

    in_a_branch(work, {"a": 1, "b": [2]})


def test_asdict_works_in_a_branch() -> None:
    assert in_a_branch(dataclasses.asdict, {"k": [1]})["results"] == {"k": [1]}


def cleared_and_set(results: Results) -> None:
    results.clear()
    results["k"] = 3


WAYS_TO_WRITE: dict[str, tuple[Callable[[Results], Any], Results]] = {
    "[]": (lambda results: operator.setitem(results, "n", 1), {"k": [1], "n": 1}),
    "update": (lambda results: results.update(n=1), {"k": [1], "n": 1}),
    "update with pairs": (lambda results: results.update([("n", 1)]), {"k": [1], "n": 1}),
    "update with a dict": (lambda results: results.update({"k": 2}), {"k": 2}),
    "|=": (lambda results: operator.ior(results, {"n": 1}), {"k": [1], "n": 1}),
    "setdefault": (lambda results: results.setdefault("n", []).append(1), {"k": [1], "n": [1]}),
    "setdefault of a key": (lambda results: results.setdefault("k", []).append(2), {"k": [1, 2]}),
    "in place": (lambda results: results["k"].append(2), {"k": [1, 2]}),
    "in place, by get": (lambda results: results.get("k", []).append(2), {"k": [1, 2]}),
    "in place, by values": (lambda results: list(results.values()).pop().append(2), {"k": [1, 2]}),
    "in place, by items": (lambda results: dict(results.items())["k"].append(2), {"k": [1, 2]}),
    "+=": (lambda results: operator.iadd(results["k"], [2]), {"k": [1, 2]}),
    "del": (lambda results: operator.delitem(results, "k"), {}),
    "pop": (lambda results: results.pop("k"), {}),
    "popitem": (lambda results: results.popitem(), {}),
    "clear": (lambda results: results.clear(), {}),
    "clear and set": (cleared_and_set, {"k": 3}),
}


@pytest.mark.parametrize(("write", "expected"), WAYS_TO_WRITE.values(), ids=WAYS_TO_WRITE)
def test_every_way_to_write_reaches_the_parent(
    write: Callable[[Results], Any], expected: Results
) -> None:
    context: Context = PipelineContext(results={"k": [1]})

    def branch(branch_context: Context) -> None:
        write(branch_context.results)

    Pipeline([[branch, lambda context: None]]).run(context)
    assert context.results == expected
    assert type(context.results) is dict


def test_results_replaced_as_a_whole_reach_the_parent() -> None:
    def branch(context: Context) -> None:
        context.results = {"kept": context.results["kept"], "new": 1}

    context: Context = PipelineContext(results={"kept": [1], "gone": 2})
    Pipeline([[branch, lambda context: None]]).run(context)
    assert context.results == {"kept": [1], "new": 1}


# Values that cannot be copied


@pytest.fixture(params=["lock", "socket", "file", "module", "own error"])
def uncopyable(request: pytest.FixtureRequest) -> Any:
    class Refuses:
        def __deepcopy__(self, memo: object) -> Any:
            raise RuntimeError("not me")

    if request.param == "socket":
        with socket.socket() as connection:
            yield connection
    elif request.param == "file":
        with Path(__file__).open(encoding="utf-8") as file:
            yield file
    else:
        yield {"lock": threading.Lock(), "module": json, "own error": Refuses()}[request.param]


def test_what_cannot_be_copied_may_lie_in_results_untouched(uncopyable: Any) -> None:
    def branch(context: Context) -> None:
        assert "it" in context.results
        assert len(context.results) == 2
        assert list(context.results) == ["it", "n"]
        context.results["n"] += 1

    context: Context = PipelineContext(results={"it": uncopyable, "n": 0})
    nested: list[TaskStep] = [branch, [branch, [branch, branch]]]
    Pipeline([nested, [[branch, nested], branch], step(isolated=True)(branch)]).run(context)
    assert context.results["it"] is uncopyable
    assert context.results["n"] == 4 + 6 + 1


TOUCHES: dict[str, Callable[[Context], Any]] = {
    "[]": lambda context: context.results["it"],
    "get": lambda context: context.results.get("it"),
    "pop": lambda context: context.results.pop("it"),
    "items": lambda context: context.results.items(),
    "dict": lambda context: dict(context.results),
    "copy.copy": lambda context: copy.copy(context.results),
    "copy.deepcopy": lambda context: copy.deepcopy(context.results),
    "deepcopy of the context": copy.deepcopy,
}


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES)
def test_touching_what_cannot_be_copied_names_the_key_and_the_way_out(
    touch: Callable[[Context], Any], uncopyable: Any
) -> None:
    with pytest.raises(ParallelGroupError) as caught:
        in_a_branch(touch, {"it": uncopyable})
    [error] = caught.value.exceptions
    assert isinstance(error, ContextCopyError)
    assert error.key == "results['it']"
    assert "results['it'] holds a" in str(error)
    assert type(uncopyable).__name__ in str(error)
    assert "Put it in context.shared" in str(error)
    assert error.__cause__ is not None


def test_only_the_branch_that_touches_it_fails(uncopyable: Any) -> None:
    config = PipelineConfig(parallel_config=ParallelConfig(operator=LogicOperator.OR))
    context: Context = PipelineContext(results={"it": uncopyable})
    touches = step(step_id="touches")(lambda context: context.results["it"])
    Pipeline([[touches, step(step_id="other")(lambda context: "done")]], config).run(context)
    assert context.results == {"it": uncopyable, "other": "done"}
    assert [type(error) for error in context.errors] == [ContextCopyError]


@pytest.mark.parametrize("remove", [operator.delitem, lambda results, key: results.clear()])
def test_what_cannot_be_copied_can_be_deleted_and_replaced(remove: Any, uncopyable: Any) -> None:
    def branch(context: Context) -> None:
        remove(context.results, "it")

    def other(context: Context) -> None:
        context.results["n"] = 1

    shapes: list[list[TaskStep]] = [
        [[branch, other]],
        [[[[branch, other]], other]],
        [branch, other],
    ]
    for shape in shapes:
        context: Context = PipelineContext(results={"it": uncopyable})
        Pipeline(shape).run(context)
        assert context.results.keys() == {"n"}


# Two names of one object


def test_two_keys_of_one_object_stay_two_keys_of_one_object() -> None:
    def branch(context: Context) -> None:
        results = context.results
        results["a"].append(2)
        assert results["b"] is results["a"]
        assert results["inside"]["deep"] is results["a"]
        context.app_config["alias"].append(3)
        assert results["b"] == [1, 2, 3]

    value = [1]
    results = {"a": value, "b": value, "inside": {"deep": value}}
    context: Context = PipelineContext(app_config={"alias": value}, results=results)
    Pipeline([[branch, lambda context: None]]).run(context)
    assert value == [1]
    assert context.results == {"a": [1, 2, 3], "b": [1, 2, 3], "inside": {"deep": [1, 2, 3]}}
    assert context.results["a"] is context.results["b"]


def test_what_shared_holds_is_never_copied_by_another_way() -> None:
    connection = threading.Lock()

    def branch(context: Context) -> None:
        assert context.results["connection"] is connection
        assert context.results["all"] == [connection]
        assert context.results["shared"] is context.shared

    shared = {"connection": connection}
    results = {"connection": connection, "all": [connection], "shared": shared}
    Pipeline([[branch, branch]]).run(PipelineContext(results=results, shared=shared))


# Threads


def test_guarantee_5_nothing_is_seen_before_the_join() -> None:
    met, gate = threading.Barrier(2, timeout=30), Gate()
    seen: dict[str, Any] = {}

    def branch(name: str) -> Callable[[Context], None]:
        def work(context: Context) -> None:
            context.results[name] = "written"
            context.results["list"].append(name)
            context.errors.append(name)
            met.wait()
            seen[name] = (dict(context.results), list(context.errors))
            gate.wait()

        return step(step_id=name)(work)

    context: Context = PipelineContext(results={"list": []})
    run = Pipeline([[branch("a"), branch("b")]]).start(context)
    gate.wait_until_reached(2)
    assert (context.results, context.errors) == ({"list": []}, [])
    gate.open()
    run.result()
    assert seen["a"] == ({"list": ["a"], "a": "written"}, ["a"])
    assert seen["b"] == ({"list": ["b"], "b": "written"}, ["b"])
    assert context.results == {"list": ["a", "b"], "a": "written", "b": "written"}
