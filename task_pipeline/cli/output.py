"""Where a command writes to: tables and colours in a terminal, plain lines anywhere else."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TextIO

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..display.text import Signs, signs_for
from .escaping import visible

_LEAST = 12  # columns that a text keeps which gives way
_BETWEEN = 2  # columns between two texts


class Cell(NamedTuple):
    """A text and its style, which only a terminal shows."""

    text: str
    style: str = ""


class Column(NamedTuple):
    """A column of a table.

    In a terminal without room for all of them: one that `gives_way` is cut, and if it
    `is_optional` it is left out, as it is where nothing stands in it. The first column, the one
    that rows are known by, goes on in the next line if it does not give way. `is_number`: it
    stands to the right.
    """

    title: str
    is_number: bool = False
    gives_way: bool = False
    is_optional: bool = False


class Output:
    """Standard output. What is written to it must be harmless already, but for its encoding."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = sys.stdout if file is None else file
        self.is_terminal = bool(self._file.isatty())
        self.encoding = self._file.encoding or "utf-8"
        # Not what the environment says of colours: what is no terminal gets no codes.
        self._console = Console(
            file=self._file,
            force_terminal=self.is_terminal,
            force_jupyter=False,
            markup=False,
            emoji=False,
            highlight=False,
            soft_wrap=not self.is_terminal,
        )

    @property
    def width(self) -> int:
        """The columns of the terminal; of anything else, as many as are read with ease."""
        return self._console.width if self.is_terminal else 120

    @property
    def signs(self) -> Signs:
        """The signs that can be written here."""
        return signs_for(self.encoding)

    def show(self, text: str) -> str:
        """A text of anybody's, as it is written here."""
        return visible(text, self.encoding)

    def line(self, *cells: Cell | str) -> None:
        """Write one line, made of pieces."""
        pieces = [Cell(cell) if isinstance(cell, str) else cell for cell in cells]
        if self.is_terminal:
            self._console.print(
                Text.assemble(*((piece.text, piece.style) for piece in pieces)), overflow="fold"
            )
        else:
            self._file.write("".join(piece.text for piece in pieces).rstrip() + "\n")

    def document(self, document: Any) -> None:
        """Write one document of JSON, in ASCII: a terminal finds nothing to obey in it."""
        self._file.write(json.dumps(document, indent=2, allow_nan=False) + "\n")

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[Cell | str]]) -> None:
        """Write a table: one of rich's, or columns of a width, two spaces apart."""
        cells = [[Cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
        if self.is_terminal:
            self._rich_table(columns, cells)
        else:
            self._plain_table(columns, cells)

    def _rich_table(self, columns: Sequence[Column], rows: list[list[Cell]]) -> None:
        shown = _with_room(columns, rows, self.width)
        table = Table(
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
            header_style="bold",
        )
        for number, width in shown.items():
            column = columns[number]
            table.add_column(
                Text(column.title),
                justify="right" if column.is_number else "left",
                # An id that was cut could not be used: it goes on in the next line instead.
                overflow="ellipsis" if column.gives_way else "fold",
                no_wrap=column.gives_way or number > 0,
                width=width,
            )
        for row in rows:
            table.add_row(*(Text(row[number].text, row[number].style) for number in shown))
        self._console.print(table)

    def _plain_table(self, columns: Sequence[Column], rows: list[list[Cell]]) -> None:
        texts = [[column.title for column in columns]]
        # Nothing stands as a sign, so that what splits the lines finds as many columns in each.
        texts += [[cell.text or "-" for cell in row] for row in rows]
        widths = [max(map(cell_len, column)) for column in zip(*texts, strict=True)]
        for row in texts:
            padded = [
                _padded(text, width, column.is_number)
                for text, width, column in zip(row, widths, columns, strict=True)
            ]
            self._file.write("  ".join(padded).rstrip() + "\n")


def _with_room(columns: Sequence[Column], rows: list[list[Cell]], room: int) -> dict[int, int]:
    """The numbers of the columns that there is room for, and how wide each is to be."""
    widths = {
        number: max([cell_len(column.title), *(cell_len(row[number].text) for row in rows)])
        for number, column in enumerate(columns)
        if not column.is_optional or any(row[number].text for row in rows)
    }
    least = {
        number: min(width, _LEAST) if columns[number].gives_way else width
        for number, width in widths.items()
    }
    for number in reversed(list(widths)):
        column = columns[number]
        if column.is_optional and not column.gives_way and _total(least) > room:
            del widths[number], least[number]
    for number, width in widths.items():
        if columns[number].gives_way:
            others = _total({**least, number: 0})
            least[number] = max(least[number], min(width, room - others))
    first = next(iter(least))
    least[first] = max(min(least[first], _LEAST), least[first] - max(0, _total(least) - room))
    return least


def _total(widths: dict[int, int]) -> int:
    return sum(widths.values()) + _BETWEEN * (len(widths) - 1)


def _padded(text: str, width: int, is_number: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if is_number else text + space
