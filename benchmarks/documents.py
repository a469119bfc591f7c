"""What it costs to load a document: against `json.loads` and a pydantic validation of the same."""

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from benchmarks.harness import Rounds, Subject, expect, interleave
from task_pipeline import load_pipeline

STEPS = 1_000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SetContext(_Strict):
    """As somebody would write it who only wants to check the document."""

    type: Literal["set_context"]
    key: str
    value: Any
    if_exists: Literal["overwrite", "merge"] = "overwrite"
    nested_render: bool = False


class ReadFiles(_Strict):
    """As above."""

    type: Literal["read_files"]
    path: str | list[str]
    content_key: str
    optional: bool = False


class WriteFiles(_Strict):
    """As above."""

    type: Literal["write_files"]
    files: list[dict[str, Any]]
    root: str = "."


class Parallel(_Strict):
    """As above."""

    type: Literal["parallel"]
    substeps: "list[Step]"
    max_concurrency: int = 0
    delay: float = 0.0
    timeout: float | None = None


Step = Annotated[
    SetContext | ReadFiles | WriteFiles | Parallel,
    Field(discriminator="type"),
]


class Recipe(_Strict):
    """As above."""

    steps: list[Step]


def _plain(number: int) -> dict[str, Any]:
    return {"type": "set_context", "key": f"key_{number}", "value": number}


def _templated(number: int) -> dict[str, Any]:
    return {
        "type": "set_context",
        "key": f"key_{number}",
        "value": f"{{{{ name }}}} number {number}, {{{{ data.items[{number}].title | upcase }}}}",
    }


def _mixed(number: int) -> dict[str, Any]:
    return (
        _plain(number),
        _templated(number),
        {"type": "read_files", "path": f"in/{number}.txt", "content_key": f"text_{number}"},
        {
            "type": "write_files",
            "files": [{"path": f"out/{number}.txt", "content": "{{ text }}"}],
        },
        {"type": "parallel", "max_concurrency": 2, "substeps": [_plain(number)] * 2},
    )[number % 5]


KINDS: dict[str, Callable[[int], dict[str, Any]]] = {
    "plain": _plain,
    "templated": _templated,
    "mixed": _mixed,
}


def load(kind: str, rounds: int) -> Rounds:
    """A recipe of 1,000 steps, loaded and checked, against the least that can be done with it."""
    text = json.dumps({"steps": [KINDS[kind](number) for number in range(STEPS)]})
    expect(len(load_pipeline(text).steps) == STEPS, "a step is missing")
    return interleave(
        Subject(lambda: load_pipeline(text), 1),
        Subject(lambda: Recipe.model_validate(json.loads(text)), 1),
        rounds=rounds,
    )
