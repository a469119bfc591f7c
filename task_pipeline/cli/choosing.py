"""What dynamic groups have found out, as far as a tree of a run tells it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import JournalDataError
from ..journal.choices import Answer

if TYPE_CHECKING:
    from ..journal.records import GroupRecord


class ToldError(NamedTuple):
    """An error as a row of a step has it."""

    error_type: str | None = None
    error_text: str | None = None
    error_traceback: str | None = None


def error_of(choice: GroupRecord) -> ToldError:
    """What choosing has raised; raises `JournalDataError` for a record that cannot be read."""
    where = _where(choice)
    text = Answer.from_text(choice.answer, where).error
    if text is None:
        return ToldError()
    written = _read(text, where)
    if not isinstance(written, dict) or not isinstance(written.get("type"), str):
        raise JournalDataError(f"{where}: its error is none: {text!r:.80}", choice.run_id)
    parts = [written.get(name) for name in ("text", "trace")]
    return ToldError(
        written["type"].replace(":", "."),
        *(part if isinstance(part, str) else None for part in parts),
    )


def decision_of(choice: GroupRecord) -> int | None:
    """The number of the way, or whether there is another round; None for neither.

    Raises `JournalDataError` for a record that cannot be read.
    """
    where = _where(choice)
    text = Answer.from_text(choice.answer, where).decided
    decided = None if text is None else _read(text, where)
    if decided is None or isinstance(decided, int):
        return decided
    raise JournalDataError(f"{where}: this is no way to go on: {text!r:.80}", choice.run_id)


def _read(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise JournalDataError(f"{where}: its answer is not readable: {error}") from error


def _where(choice: GroupRecord) -> str:
    return f"run {choice.run_id!r}, {choice.name!r} at path {choice.path}"
