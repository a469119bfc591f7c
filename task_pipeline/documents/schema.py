"""`document_schema`."""

from __future__ import annotations

from typing import Any


def document_schema(kind: str) -> dict[str, Any]:
    """The JSON Schema of a kind of document."""
    raise NotImplementedError(kind)
