"""`python`, `llm_generate`, `mcp` and the application's own types: what is called, and how."""

from __future__ import annotations

import asyncio
import copy
import functools
import pickle
import threading
from typing import Any

import pytest

from task_pipeline import DocumentError, PipelineContext, StepTimeoutError
from task_pipeline.documents import (
    load_pipeline,
    register_agent,
    register_function,
    register_handler,
)
from task_pipeline.documents.registry import AGENTS, FUNCTIONS, HANDLERS
from task_pipeline.documents.steps import handler_type, python_function
from task_pipeline.documents.steps.calls import own


def run(*steps: dict[str, Any], results: dict[str, Any] | None = None, **options: Any) -> Any:
    pipeline = load_pipeline({"steps": list(steps)}, **options)
    return pipeline.run(PipelineContext(results=results or {})).results


def call(function: Any, **fields: Any) -> Any:
    """What a step of type `python` leaves of it."""
    step = {"type": "python", "function": "fn", **fields}
    return run(step, functions={"fn": function}, results={"n": 2})


def seen(config: dict[str, Any], context: PipelineContext[Any]) -> dict[str, Any]:
    return config


def test_an_own_copy_keeps_what_is_in_two_places_in_two_places():
    shared: list[Any] = [1]
    shared.append(shared)

    made = own({"a": shared, "b": (shared,)})

    assert made["a"] is not shared
    assert made["a"][1] is made["a"]
    assert made["b"][0] is shared


class TestPython:
    @pytest.mark.parametrize(
        ("function", "args", "returned"),
        [
            (lambda context: context.results["n"], {}, 2),
            (lambda context, a: (context.results["n"], a), {"a": "{{ n }}"}, (2, 2)),
            (lambda anything: anything.results["n"], {}, 2),
            (lambda a, b=0: (a, b), {"a": 1}, (1, 0)),
            (lambda *, a: a, {"a": [1]}, [1]),
            (lambda: 5, {}, 5),
            (lambda a, context: (a, context.results["n"]), {}, ValueError),
            (lambda a: a, {"b": 1}, ValueError),
            (functools.partial(lambda a, context: a, 7), {}, 7),
            (dict, {"a": 1}, {"n": 2, "a": 1}),
        ],
    )
    def test_a_function_is_called_with_the_context_if_it_takes_it(self, function, args, returned):
        if returned is ValueError:
            with pytest.raises(ValueError, match=r"steps\[0\]\.args: fn\(.*\) cannot be called"):
                call(function, args=args)
        elif function is dict:  # it has no signature to look at
            with pytest.raises(TypeError):
                call(function, args=args)
        else:
            assert call(function, args=args)["fn"] == returned

    def test_what_it_returns_goes_under_the_key_or_its_name(self):
        assert call(lambda context: 1) == {"n": 2, "fn": 1}
        assert call(lambda context: 1, output_key="{{ n }}") == {"n": 2, "2": 1}
        assert call(lambda context: None) == {"n": 2}
        assert call(lambda context: None, output_key="k") == {"n": 2, "k": None}
        assert call(lambda context: context, output_key="k") == {"n": 2}

    def test_it_may_be_a_coroutine_function(self):
        async def double(context: Any, by: int) -> int:
            await asyncio.sleep(0)  # the step's work
            return int(context.results["n"]) * by

        assert call(double, args={"by": 3}) == {"n": 2, "fn": 6}

    def test_a_coroutine_is_really_cancelled(self):
        cancelled = threading.Event()

        async def slow(context: Any) -> None:
            try:
                await asyncio.sleep(60)  # the step's work
            except asyncio.CancelledError:
                cancelled.set()
                raise

        pipeline = load_pipeline(
            {"steps": [{"type": "python", "function": "slow"}]}, functions={"slow": slow}
        )
        step: Any = pipeline.steps[0]
        step.timeout = 0.05
        with pytest.raises(StepTimeoutError):
            pipeline.run()
        assert cancelled.wait(10)

    def test_arguments_are_the_calls_own(self):
        def change(context: Any, a: list[int]) -> list[int]:
            a.append(2)
            return a

        step = {"type": "python", "function": "change", "args": {"a": [1]}}
        pipeline = load_pipeline({"steps": [step, step]}, functions={"change": change})

        assert [pipeline.run().results["change"] for _ in range(2)] == [[1, 2], [1, 2]]

    def test_names_are_looked_for_in_order(self, monkeypatch):
        registered_agents: dict[str, Any] = {}
        registered: dict[str, Any] = {}
        monkeypatch.setattr(python_function, "AGENTS", registered_agents)
        monkeypatch.setattr(python_function, "FUNCTIONS", registered)

        step = {"type": "python", "function": "fn", "args": {"a": 1}, "output_key": "k"}
        handlers = {"fn": lambda config, context: ("handler", config)}
        assert run(step, handlers=handlers) == {"k": ("handler", {"a": 1})}
        registered_agents["fn"] = lambda given: ("registered agent", given)
        assert run(step, handlers=handlers)["k"] == ("registered agent", {"a": 1})
        agents = {"fn": lambda given, context: ("agent", given, len(context.results))}
        assert run(step, handlers=handlers, agents=agents)["k"] == ("agent", {"a": 1}, 0)
        registered["fn"] = lambda context, a: ("registered", a)
        assert run(step, handlers=handlers, agents=agents)["k"] == ("registered", 1)
        functions = {"fn": lambda context, a: ("function", a)}
        assert run(step, agents=agents, functions=functions)["k"] == ("function", 1)

    def test_what_is_registered_is_found(self):
        @register_function("test: a function")
        def function(context: Any) -> int:
            return 1

        @register_agent("test: an agent")
        def agent(given: Any) -> int:
            return 2

        try:
            steps = [
                {"type": "python", "function": name, "output_key": name[6:]}
                for name in ("test: a function", "test: an agent")
            ]
            assert run(*steps) == {"a function": 1, "an agent": 2}
        finally:
            del FUNCTIONS["test: a function"], AGENTS["test: an agent"]

    def test_a_name_that_there_is_not_is_found_at_once_with_the_nearest(self):
        steps = [
            {"type": "python", "function": name} for name in ("cuont", "__import__", "os.system")
        ]
        with pytest.raises(DocumentError) as caught:
            load_pipeline({"steps": steps}, functions={"count": len})

        first, *others = caught.value.problems
        assert "steps[0].function: there is no function 'cuont'" in first
        assert "did you mean 'count'? Or give load_pipeline functions=" in first
        assert len(others) == 2
        assert "register_function" in others[0]

    def test_a_name_that_is_put_together_is_looked_for_in_the_run(self):
        step = {"type": "python", "function": "{{ name }}"}

        assert run(step, functions={"one": lambda: 1}, results={"name": "one"})["one"] == 1
        with pytest.raises(ValueError, match=r"steps\[0\]\.function: there is no function 'eval'"):
            run(step, functions={"one": lambda: 1}, results={"name": "eval"})

    def test_what_it_raises_is_raised(self):
        with pytest.raises(ZeroDivisionError):
            call(lambda context: 1 // 0)


class TestHandlers:
    def test_llm_generate_has_its_fields_rendered_and_others_too(self):
        step = {
            "type": "llm_generate",
            "config": {
                "prompt": "Say {{ word }}",
                "model": "m",
                "output_format": {"type": "object", "title": "{{ word }}"},
                "output_key": "said",
                "max_tokens": 5,
                "servers": [{"url": "{{ word }}"}],
            },
        }

        results = run(step, handlers={"llm_generate": seen}, results={"word": "hi"})

        assert results["said"] == {
            "prompt": "Say hi",
            "model": "m",
            "output_format": {"type": "object", "title": "hi"},
            "output_key": "said",
            "max_tokens": 5,
            "servers": [{"url": "hi"}],
        }

    def test_llm_generate_has_defaults(self):
        results = run({"type": "llm_generate", "prompt": "p"}, handlers={"llm_generate": seen})
        expected = {"prompt": "p", "output_format": "text", "output_key": "llm_output"}
        assert results == {"llm_output": expected}

        step = {"type": "llm_generate", "prompt": "p", "output_key": None}
        assert list(run(step, handlers={"llm_generate": seen})) == ["llm_output"]

    @pytest.mark.parametrize(
        ("fields", "key", "tool"),
        [
            ({"tool_name": "t"}, "tool_result", "t"),
            ({"tool": "t", "result_key": "r"}, "r", "t"),
            ({"tool": "{{ n }}", "output_key": "o"}, "o", "2"),
        ],
    )
    def test_mcp_calls_one_tool(self, fields, key, tool):
        step = {"type": "mcp", "server": {"url": "u"}, "arguments": {"n": "{{ n }}"}, **fields}

        results = run(step, handlers={"mcp": seen}, results={"n": 2})

        assert results[key]["tool_name"] == tool
        assert results[key]["arguments"] == {"n": 2}
        assert "tool" not in results[key]

    @pytest.mark.parametrize(
        ("fields", "found"),
        [
            ({}, "give tool_name"),
            ({"tool": "a", "tool_name": "b"}, "one tool"),
            ({"tool": "a", "result_key": "b", "output_key": "c"}, "not both"),
        ],
    )
    def test_mcp_that_is_not_clear_is_a_mistake(self, fields, found):
        with pytest.raises(DocumentError, match=found):
            load_pipeline({"steps": [{"type": "mcp", **fields}]}, handlers={"mcp": seen})

    def test_without_a_handler_loading_says_so(self):
        steps = [{"type": "llm_generate", "prompt": "p"}, {"type": "mcp", "tool": "t"}]
        with pytest.raises(DocumentError) as caught:
            load_pipeline({"steps": steps})

        first, second = caught.value.problems
        assert "steps[0]: there is no handler for type 'llm_generate'" in first
        assert 'handlers={"llm_generate": fn}' in first
        assert "type 'mcp'" in second

    def test_a_handler_is_the_one_that_was_there_when_the_document_was_loaded(self):
        handlers = {"llm_generate": seen}
        pipeline = load_pipeline(
            {"steps": [{"type": "llm_generate", "prompt": "p"}]}, handlers=handlers
        )
        handlers.clear()
        assert "llm_output" in pipeline.run().results

    def test_a_registered_handler_does_what_the_caller_brings_none_for(self):
        @register_handler("answers_by_name")
        def answer(config: dict[str, Any], context: Any) -> str:
            return f"registered {config['x']}"

        try:
            document = {"steps": [{"type": "answers_by_name", "x": 1}]}
            assert load_pipeline(document).run().results == {"answers_by_name": "registered 1"}
            brought = {"answers_by_name": lambda config, context: 2}
            assert load_pipeline(document, handlers=brought).run().results["answers_by_name"] == 2
        finally:
            del HANDLERS["answers_by_name"]

    def test_a_type_of_the_applications_takes_any_fields(self):
        async def ask(config: dict[str, Any], context: Any) -> Any:
            return {**config, "n": context.results["n"]}

        steps: list[dict[str, Any]] = [
            {"type": "ask", "what": ["{{ n }}"]},
            {"type": "ask", "config": {"deep": {"a": None}}, "id": "b"},
            {"type": "ask", "output_key": "k{{ n }}", "empty": None},
        ]

        results = run(*steps, handlers={"ask": ask}, results={"n": 2})

        assert results["ask"] == {"deep": {"a": None}, "n": 2}
        assert results["k2"] == {"output_key": "k2", "empty": None, "n": 2}

    def test_a_type_that_nobody_does_is_a_mistake(self):
        with pytest.raises(DocumentError, match="ask"):
            load_pipeline({"steps": [{"type": "ask"}]}, handlers={"other": seen})

    def test_what_a_handler_is_given_is_its_own(self):
        def change(config: dict[str, Any], context: Any) -> Any:
            config["list"].append(2)
            return config["list"]

        step = {"type": "change", "list": [1], "dict": {"a": [1]}}
        pipeline = load_pipeline({"steps": [step, step]}, handlers={"change": change})

        assert [pipeline.run().results["change"] for _ in range(2)] == [[1, 2], [1, 2]]

    def test_nor_are_the_defaults_of_the_fields_shared_by_runs(self):
        def count(config: dict[str, Any], context: Any) -> int:
            arguments = config.get("arguments", config)
            arguments["n"] = arguments.get("n", 0) + 1
            return int(arguments["n"])

        steps = [{"type": "mcp", "tool": "t"}, {"type": "python", "function": "count"}]
        pipeline = load_pipeline({"steps": steps}, handlers={"mcp": count}, agents={"count": count})

        for _ in range(2):
            assert pipeline.run().results == {"tool_result": 1, "count": 1}

    def test_nor_is_it_what_stands_in_the_context(self):
        def change(config: dict[str, Any], context: Any) -> Any:
            config["list"].append(2)
            config["dict"]["in"].append(3)

        config = {"list": "${workflow.input.l}", "dict": {"in": "${workflow.input.l}"}}
        document = {"start_step": "a", "steps": {"a": {"type": "change", "config": config}}}
        context: PipelineContext = load_pipeline(document, handlers={"change": change}).run(
            PipelineContext(results={"l": [1]})
        )

        assert context.results["l"] == [1]

    def test_pipelines_with_them_can_be_pickled_and_copied(self):
        steps = [{"type": "seen", "a": "{{ n }}"}, {"type": "llm_generate", "prompt": "p"}]
        handlers = {"seen": seen, "llm_generate": seen}
        pipeline = load_pipeline({"steps": steps}, handlers=handlers)

        for other in (pickle.loads(pickle.dumps(pipeline)), copy.deepcopy(pipeline)):
            assert other.run(PipelineContext(results={"n": 1})).results["seen"] == {"a": 1}

    def test_a_type_is_made_once_for_each_name(self):
        assert handler_type("x") is handler_type("x")
        assert handler_type("x").name == "x"
        assert pickle.loads(pickle.dumps(handler_type("x"))) is handler_type("x")


def test_steps_say_which_keys_they_set():
    """In a workflow their output is what stands there."""
    steps: dict[str, dict[str, Any]] = {
        "set_context": {"key": "a", "value": 1},
        "read_files": {"path": "no", "content_key": "b", "optional": True},
        "write_files": {"files": []},
        "python": {"function": "fn"},
        "llm_generate": {"prompt": "p"},
        "shell": {"command": ["true"], "output_key": "c"},
        "docpack_create": {"outline_path": "o", "resource_files": "", "output_path": "p"},
        "docpack_extract": {"docpack_path": "p", "extract_dir": "d"},
    }
    pipeline = load_pipeline(
        {"steps": [{"type": name, **fields} for name, fields in steps.items()]},
        functions={"fn": lambda: 1},
        handlers={"llm_generate": seen},
        allow={"shell"},
    )
    context: PipelineContext = PipelineContext()

    made: list[Any] = [step.made(context) for step in pipeline.steps]  # type: ignore[union-attr]  # all are typed

    assert dict(zip(steps, [step.sets for step in made], strict=True)) == {
        "set_context": ("a",),
        "read_files": ("b",),
        "write_files": (),
        "python": ("fn",),
        "llm_generate": ("llm_output",),
        "shell": ("c",),
        "docpack_create": (),
        "docpack_extract": ("outline_json", "resource_files"),
    }
