"""What a dynamic group has found out, as it is stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple, Self

from ..errors import JournalDataError
from .codec import Codec, Encoded, decode_value, encode_value


class Answer(NamedTuple):
    """The encoded parts of a choice: what was `decided`, the `delta` of asking, the `error`."""

    decided: str | None
    delta: str | None
    error: str | None

    def to_text(self) -> str:
        """One line of JSON."""
        return json.dumps({name: part for name, part in self._asdict().items() if part})

    @classmethod
    def from_text(cls, text: str | None, where: str) -> Self:
        """Read it back; raises `JournalDataError`."""
        try:
            parts = json.loads(text or "")
            if isinstance(parts, dict) and all(isinstance(part, str) for part in parts.values()):
                return cls(**{"decided": None, "delta": None, "error": None, **parts})
        except (ValueError, TypeError, RecursionError) as error:
            raise JournalDataError(f"{where}: its answer is not readable: {error}") from error
        raise JournalDataError(f"{where}: its answer is not a dict of texts, but {text!r:.80}")


def encode_decision(decided: Any, codec: Codec, where: str) -> Encoded:
    """What a group is to run; raises `JournalDataError` for items that cannot be written down."""
    return encode_value(decided, codec, f"what {where} found")


def decode_decision(
    text: str | None, codec: Codec, where: str, fetch: Callable[[str], bytes]
) -> Any:
    """What the group is to run; raises `JournalDataError` for a text that says nothing."""
    return None if text is None else decode_value(text, codec, f"what {where} found", fetch)
