"""The folder that a document of the fuzzer is loaded in, its context, and who does its work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from task_pipeline import PipelineContext
from task_pipeline.documents.steps.docpack import pack

HIDDEN = "canary-hidden-attribute"
OUTSIDE = "canary-outside-of-root"
SECRET = 'canary-s3cret/"quoted" value'
MARK = "canary-s3cret"
"""In the secret, as nothing would write it otherwise."""

TOKEN = "FUZZ_TOKEN"
"""The environment variable that documents may read; its value is `SECRET`."""

SUB = {
    "steps": [
        {"type": "set_context", "key": "sub", "value": "{{ n }}"},
        {"type": "execute_recipe", "recipe_path": "deep/leaf.json"},
    ]
}
LEAF = {"steps": [{"type": "set_context", "key": "leaf", "value": 1}]}
AGAIN = """
steps:
  - {type: set_context, key: rounds, value: '{{ rounds | plus: 1 }}'}
  - type: conditional
    condition: '{{ rounds }} < 3'
    if_true:
      - {type: execute_recipe, recipe_path: again.yaml}
"""
FLOW = {"steps": {"inner": {"agent_name": "echo", "input_mapping": {"got": "${v}"}}}}


class Planned(Exception):
    """What an agent of the fuzzer raises."""


class Thing:
    """An object of the application's: a document sees its text, and nothing else of it."""

    def __init__(self) -> None:
        self.hidden = HIDDEN
        self.path, self.content = HIDDEN, HIDDEN

    def __str__(self) -> str:
        return "a thing"

    def method(self) -> str:
        """Must not be called."""
        return HIDDEN

    @property
    def prop(self) -> str:
        """Must not be read."""
        return HIDDEN


def fill(root: Path) -> None:
    """Put files into the root, and links that lead out of it."""
    (root / "deep").mkdir()
    written = {
        "data.json": json.dumps({"items": [1, 2, {"v": "x"}]}),
        "outline.json": json.dumps({"title": "t", "resources": [{"path": "notes.txt"}]}),
        "notes.txt": "some notes\n{{ name }} ${name}",
        "table.csv": "a,b\n1,2\n",
        "sub.json": json.dumps(SUB),
        "deep/leaf.json": json.dumps(LEAF),
        "deep/inner.txt": "inner",
        "again.yaml": AGAIN,
        "flow.json": json.dumps(FLOW),
    }
    for name, text in written.items():
        (root / name).write_text(text, "utf-8")
    (root / "pack.docpack").write_bytes(pack({"title": "t"}, {"files/a.txt": b"a"}))
    (root / "link").symlink_to("../outside", target_is_directory=True)
    (root / "link.json").symlink_to("../outside/secret.json")
    (root / "circle").symlink_to("circle")


def fill_outside(outside: Path) -> None:
    """Put what nobody may read, change or add to beside the root."""
    outside.mkdir()
    for name in ("secret.txt", "secret.json", "recipe.json"):
        text = json.dumps({"steps": [], "secret": OUTSIDE})
        (outside / name).write_text(text, "utf-8")


def seen(outside: Path) -> dict[str, tuple[int, str]]:
    """What is outside of the root, to see that it stays as it is."""
    return {
        str(path.relative_to(outside)): (path.lstat().st_mtime_ns, path.read_text("utf-8"))
        for path in sorted(outside.rglob("*"))
    }


def values() -> dict[str, Any]:
    """The context's results at the beginning, hostile ones among them."""
    return {
        "n": 3,
        "name": "Ada",
        "which": "sub",
        "file": "notes.txt",
        "items": [1, 2, 3],
        "data": [{"items": [{"v": 1}, {"v": 2}, {"v": "three"}]}],
        "nested": "{{ name }} and {{ nested }}",
        "hostile": "().__class__.__mro__",
        "format": "{0.__class__.__init__.__globals__} {name!r:>1000000000} %s %n",
        "quote": "' or true or '",
        "tag": "{% include 'notes.txt' %}{{ hostile }}${env.FUZZ_TOKEN}${n}",
        "path": "../outside/secret.txt",
        "file_name": "deep/named.txt",
        "files_to_write": [{"path": "w.txt", "content": "w"}],
        "thing": Thing(),
        "number": -1.5e300,
        "huge": 10**100,
        "none": None,
        "empty": "",
        "truth": True,
        "key with blank": {"a.b": [[]], "": 0},
        "set": {1, 2},
        "tuple": (1, "2"),
        "bytes": b"\xff\x00",
    }


def echo(given: Any) -> Any:
    """Puts out what it is given."""
    return given


def fail(given: Any = None, **more: Any) -> Any:
    """Fails."""
    raise Planned(f"as planned: {str(given)[:100]}")


def refuse(given: Any, **more: Any) -> Any:
    """Fails if it is given the number 2."""
    if given == 2:
        raise Planned("as planned")
    return {"result": given, "score": 0.5, "items": [given], "ok": True}


async def later(given: Any) -> Any:
    """Puts out what it is given, as a coroutine does."""
    return given


def add(context: PipelineContext[Any], a: Any = 0, b: Any = 0, **more: Any) -> Any:
    """Adds two numbers, or says that they are none."""
    if not isinstance(a, int | float) or not isinstance(b, int | float):
        raise Planned("no numbers")
    return a + b


def keys(context: PipelineContext[Any], **more: Any) -> list[str]:
    """The keys of the results."""
    return sorted(context.results)


def handled(config: dict[str, Any], context: PipelineContext[Any]) -> Any:
    """Gives back what it was given, as a handler."""
    return {"given": config, "items": [1, 2]}


AGENTS: dict[str, Callable[..., Any]] = {
    "echo": echo,
    "fail": fail,
    "refuse": refuse,
    "later": later,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": add,
    "keys": keys,
    "fail": fail,
    "refuse": refuse,
}
HANDLERS: dict[str, Callable[..., Any]] = {"llm_generate": handled, "mcp": handled, "echo": handled}
