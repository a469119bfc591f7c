"""Where the boxes of a drawing stand, and how large they are. Lengths are in pixels.

What runs in series stands from top to bottom, what runs in parallel side by side. A series that
is too high goes on in another column, and branches that are too many stand in several rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .figures import Figure, Shape
from .measuring import LARGE, SMALL, text_width
from .wording import shortened

GAP = 30.0  # between two boxes of a series: room for an arrow
ASIDE = 22.0  # between two branches
COLUMN = 56.0  # between two columns of a series: room for a line back to the top
PAD = 16.0
HEADER = 30.0
BAR = 26.0  # from the bar that branches hang on to the branches
ASKED = 30.0  # the height of a question
BACK = 20.0  # room for the arrow of a loop
TITLE = 40  # characters that are shown of it
REMARKS = 64
_HIGH, _WIDE = 1400.0, 1600.0  # of a column, and of a row, unless there is very much in it


@dataclass(slots=True, eq=False)
class Lane:
    """Boxes one below the other, in one column or several."""

    columns: list[list[Box]]
    width: float
    height: float
    label: str = ""
    x: float = 0.0  # its middle
    y: float = 0.0

    @property
    def first(self) -> Box | None:
        """The box it begins with."""
        return self.columns[0][0] if self.columns else None

    @property
    def last(self) -> Box | None:
        """The box it ends with."""
        return self.columns[-1][-1] if self.columns else None


@dataclass(slots=True, eq=False)
class Box:
    """A figure with its place: `x` is its left side, `y` its top.

    `rows` of lanes: one, unless there are too many; only in one row do they hang on a bar.
    """

    figure: Figure
    width: float = 0.0
    height: float = 0.0
    x: float = 0.0
    y: float = 0.0
    heading: list[str] = field(default_factory=list)
    rows: list[list[Lane]] = field(default_factory=list)

    @property
    def middle(self) -> float:
        """Where arrows meet it."""
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        """Where it ends."""
        return self.y + self.height

    @property
    def has_header(self) -> bool:
        """Whether something stands over what is in it."""
        return any(self.heading)

    @property
    def has_bars(self) -> bool:
        """Whether arrows lead to each of its lanes."""
        lanes = len(self.rows[0]) if len(self.rows) == 1 else 0
        return self.figure.has_lanes and (lanes > 1 or self.figure.shape is Shape.CHOICE)


def laid_out(root: Figure) -> list[Box]:
    """The boxes of a drawing, each before those that stand in it; the first is all of it."""
    boxes: dict[Figure, Box] = {}
    for figure in reversed(list(root.walk())):  # those inside before what is around them
        boxes[figure] = _measured(figure, boxes, figure is root)
    placed = []
    stack = [boxes[root]]
    while stack:
        box = stack.pop()
        placed.append(box)
        stack.extend(reversed(_place(box)))
    return placed


def _measured(figure: Figure, boxes: dict[Figure, Box], is_root: bool) -> Box:
    written = zip(figure.heading, (TITLE, REMARKS), strict=False)
    heading = [shortened(text, most) for text, most in written]
    box = Box(figure, heading=heading)
    widths = [text_width(text, size) for text, size in zip(heading, (LARGE, SMALL), strict=False)]
    if figure.is_node:
        box.width = max(84.0, *(width + 28 for width in widths))
        box.height = 36.0 if len(heading) == 1 else 50.0
        return box
    if not (figure.is_framed or is_root):
        return box  # what stands in it stands in what is around it
    if figure.has_lanes:
        lanes = [_lane([boxes[item] for item in line]) for line in figure.lanes]
        for lane, child in zip(lanes, figure.children, strict=True):
            lane.label = child.label
        if figure.shape is Shape.CHOICE and len(lanes) == 1:
            lanes.append(Lane([], 44.0, 20.0, "else"))
        box.rows = _in_rows(lanes)
    else:
        box.rows = [[_lane([boxes[item] for item in figure.line])]]
    inner = max(_width_of_row(row) for row in box.rows)
    box.width = max(inner, sum(widths) + 14 * (len(widths) - 1)) + 2 * PAD
    if figure.shape is Shape.LOOP:
        box.width += 2 * BACK
    if figure.shape is Shape.CHOICE:
        asked = text_width(shortened(figure.says, TITLE), SMALL) + 60
        box.width = max(box.width, asked + 2 * PAD)
    rows = sum(max(lane.height for lane in row) for row in box.rows)
    box.height = _above(box) + rows + ASIDE * (len(box.rows) - 1) + _below(box)
    return box


def _above(box: Box) -> float:
    """How far below its top the first row begins."""
    height = HEADER if box.has_header else PAD
    if box.figure.shape is Shape.CHOICE:
        height += ASKED
    return height + (BAR + 8 if box.has_bars else 4)


def _below(box: Box) -> float:
    return PAD + (BAR - 8 if box.has_bars else 0)


def _width_of_row(row: list[Lane]) -> float:
    return sum(lane.width for lane in row) + ASIDE * (len(row) - 1)


def _lane(boxes: list[Box]) -> Lane:
    columns = _columns(boxes)
    width = sum(_width_of(column) for column in columns) + COLUMN * (len(columns) - 1)
    above = GAP if len(columns) > 1 else 0.0  # room for the line from one column to the next
    return Lane(columns, width, max(map(_height_of, columns)) + 2 * above)


def _columns(boxes: list[Box]) -> list[list[Box]]:
    """One, or if that is too high several that are about as high as each other."""
    area = sum((box.width + COLUMN) * (box.height + GAP) for box in boxes)
    whole = _height_of(boxes)
    count = math.ceil(whole / max(_HIGH, math.sqrt(area)))
    columns: list[list[Box]] = [[]]
    height = 0.0
    for box in boxes:
        if columns[-1] and height + box.height / 2 > whole / count * len(columns):
            columns.append([])
        columns[-1].append(box)
        height += box.height + GAP
    return columns


def _width_of(column: list[Box]) -> float:
    return max(box.width for box in column)


def _height_of(column: list[Box]) -> float:
    return sum(box.height for box in column) + GAP * (len(column) - 1)


def _in_rows(lanes: list[Lane]) -> list[list[Lane]]:
    area = sum((lane.width + ASIDE) * (lane.height + ASIDE) for lane in lanes)
    widest = max(_WIDE, math.sqrt(1.6 * area))
    if _width_of_row(lanes) <= widest or len(lanes) <= 4:
        return [lanes]
    rows: list[list[Lane]] = [[]]
    for lane in lanes:
        if rows[-1] and _width_of_row([*rows[-1], lane]) > widest:
            rows.append([])
        rows[-1].append(lane)
    return rows


def _place(box: Box) -> list[Box]:
    """Put what stands in a box into its place, and give it."""
    found: list[Box] = []
    y = box.y + (_above(box) if box.rows else 0.0)
    for row in box.rows:
        height = max(lane.height for lane in row)
        # The last of several rows is seldom full: it begins where the others do.
        x = box.middle - max(map(_width_of_row, box.rows)) / 2
        for lane in row:
            lane.x, lane.y = x + lane.width / 2, y
            found += _place_lane(lane, x)
            x += lane.width + ASIDE
        y += height + ASIDE
    return found


def _place_lane(lane: Lane, x: float) -> list[Box]:
    found: list[Box] = []
    for column in lane.columns:
        width = _width_of(column)
        y = lane.y + (GAP if len(lane.columns) > 1 else 0.0)
        for box in column:
            box.x, box.y = x + (width - box.width) / 2, y
            y += box.height + GAP
            found.append(box)
        x += width + COLUMN
    return found
