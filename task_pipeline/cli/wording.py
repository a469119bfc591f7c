"""What a list, a tree and a timeline say alike: how something ended, and with what error."""

from __future__ import annotations

from .escaping import first_line, visible
from .output import Cell, Output

_STYLES = {
    "succeeded": "green",
    "failed": "bold red",
    "timed_out": "bold red",
    "running": "cyan",
    "interrupted": "bold magenta",
    "cancelled": "yellow",
    "skipped": "dim",
    "pending": "dim",
    "not run": "dim",
    "abandoned": "yellow",
}


def style_of(state: str) -> str:
    """The colour of a state."""
    return _STYLES.get(state, "")


def state_cell(output: Output, state: str) -> Cell:
    """A state in its colour."""
    return Cell(output.show(state), style_of(state))


def error_text(output: Output, type_name: str | None, text: str | None) -> str:
    """An error in one line, as a traceback ends; "" for none."""
    if type_name is None:
        return ""
    name = visible(type_name.rpartition(".")[2], output.encoding)
    told = first_line(text or "", output.encoding)
    return f"{name}: {told}" if told else name
