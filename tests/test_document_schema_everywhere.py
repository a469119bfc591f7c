"""Whatever document a test of recipes or workflows loads, the schema has nothing against it.

The tests are run once more with this module as a plugin, which looks at what they load.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from task_pipeline.documents import STEP_REGISTRY, document_schema, loading
from task_pipeline.documents.mistakes.problems import Problems
from task_pipeline.documents.workflows.native import pipeline_config

ROOT = Path(__file__).resolve().parent.parent
FOUND = "TASK_PIPELINE_SCHEMA_FOUND"
"""The environment variable with the file that what was found is written into."""

STRESS = os.environ.get("TASK_PIPELINE_STRESS") == "1"
PATTERNS = (
    ("test_recipe*.py", "test_workflow*.py", "test_document_*.py")
    if STRESS
    else ("test_recipes.py", "test_workflows.py")
)

pytestmark = [pytest.mark.stress, pytest.mark.timeout(600)]

_compile = loading.compile_document
_schemas: dict[Any, Any] = {}
_found: list[str] = []
_looked_at = 0


def pytest_configure() -> None:
    """As a plugin: look at every document that is loaded, and found right."""
    if FOUND in os.environ:
        loading.compile_document = _looked_at_too


def pytest_sessionfinish() -> None:
    """Write down what the schema has against documents that were loaded."""
    if FOUND in os.environ:
        told = {"looked_at": _looked_at, "found": _found}
        Path(os.environ[FOUND]).write_text(json.dumps(told), "utf-8")


def _looked_at_too(source: Any, kind: Any, surroundings: Any, problems: Any) -> Any:
    global _looked_at
    before = len(problems)
    steps = _compile(source, kind, surroundings, problems)
    if kind == "workflow":
        pipeline_config(source, surroundings, settings := Problems())
        before -= len(settings)
    if len(problems) == before:
        _looked_at += 1
        handlers = sorted(surroundings.handlers)
        key = (kind, *handlers, *STEP_REGISTRY.items())
        if key not in _schemas:
            _schemas[key] = jsonschema.Draft202012Validator(document_schema(kind, handlers))
        for error in _schemas[key].iter_errors(source.value):
            where = os.environ.get("PYTEST_CURRENT_TEST", "?")
            _found.append(f"{where}: {list(error.path)}: {error.message}"[:2_000])
    return steps


def modules() -> Iterator[str]:
    for pattern in PATTERNS:
        for path in sorted((ROOT / "tests").glob(pattern)):
            if path.name != Path(__file__).name:
                yield str(path)


def test_the_schema_accepts_whatever_the_tests_load(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    plain = {key: item for key, item in os.environ.items() if key != "TASK_PIPELINE_STRESS"}
    options = ["-q", "-p", __name__, "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *modules()],
        cwd=ROOT,
        env={**plain, FOUND: str(found)},
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(found.read_text("utf-8"))
    assert told["found"] == []
    assert told["looked_at"] > 100, done.stdout
