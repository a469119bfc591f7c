"""`document_schema`: what may stand in a recipe or a workflow, as JSON Schema."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ...errors import ConfigurationError
from .recipes import recipe_schema
from .workflows import workflow_schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def document_schema(kind: str, handlers: Collection[str] = ()) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of recipes or of workflows, for editors.

    It is made of the types of steps that are registered now, the application's own too, and
    of those that `handlers` names: the names that `load_pipeline` will be given. What a schema
    cannot say, such as whether there is a step of some id, `load_pipeline` still checks.

    Raises `ConfigurationError` for another kind than "recipe" and "workflow".

    ```python
    from task_pipeline import document_schema

    schema = document_schema("recipe")
    assert "set_context" in schema["$defs"]["step"]["properties"]["type"]["enum"]
    ```
    """
    if isinstance(handlers, str):
        raise ConfigurationError(f"handlers must be a list of names, not the text {handlers!r}")
    made = {"recipe": recipe_schema, "workflow": workflow_schema}.get(kind)
    if made is None:
        raise ConfigurationError(
            f'there is a schema of "recipe" and one of "workflow", and none of {kind!r}'
        )
    return {"$schema": DIALECT, **made(tuple(handlers))}
