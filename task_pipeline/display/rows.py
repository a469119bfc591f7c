"""A line of the tree as rich text, never wider than it is told."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from ..outcome import Outcome
from .nodes import DisplayNode, RunState
from .outcomes import BAD
from .summary import describe
from .text import Signs, clean, percent_text, seconds_text
from .tree import Row

STYLES = {
    Outcome.SUCCEEDED: "green",
    Outcome.FAILED: "red",
    Outcome.TIMED_OUT: "red",
    Outcome.CANCELLED: "yellow",
    Outcome.SKIPPED: "bright_black",
}
SHORTEST_ESTIMATE = 0.5  # seconds before which nothing can be told about the rest
ELAPSED_WIDTH, COUNT_WIDTH, ESTIMATE_WIDTH = 9, 9, 15


@dataclass(frozen=True, slots=True)
class Look:
    """How lines are drawn: for how many cells, with which signs, at what time.

    `is_final`: the picture stays, so nothing is said of what is left.
    """

    width: int
    signs: Signs
    encoding: str
    now: float
    show_progress: bool = True
    is_final: bool = False

    @property
    def bar(self) -> int:
        """Cells of a bar, 0 for none."""
        if not self.show_progress or self.width < 60:
            return 0
        return 12 if self.width < 100 else 24

    @property
    def has_estimate(self) -> bool:
        """Whether there is a column for what is left."""
        return self.show_progress and not self.is_final and self.width >= 76


def fit(text: str, width: int, ellipsis: str) -> str:
    """The text in at most `width` cells."""
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return text
    room = width - cell_len(ellipsis)
    return set_cell_size(text, room).rstrip() + ellipsis if room > 0 else set_cell_size(text, width)


def row_text(row: Row, look: Look) -> Text:
    """One line, at most `look.width` cells."""
    line = Text(no_wrap=True, end="")
    guide = row.guide if look.width >= 24 else ""
    line.append(_short_guide(guide, look.width // 3), "bright_black")
    if row.node is None:
        line.append(fit(row.text, look.width - line.cell_len, look.signs.ellipsis), "bright_black")
        return line
    right = _right(row.run, row.node, row.is_header, look)
    room = look.width - line.cell_len - right.cell_len
    if room < 8 and right.cell_len:  # the name matters more than the figures
        right = Text()
        room = look.width - line.cell_len
    line.append_text(_left(row, look, room - bool(right.cell_len)))
    if right.cell_len:
        line.append(" " * (look.width - line.cell_len - right.cell_len))
        line.append_text(right)
    return line


def _short_guide(guide: str, width: int) -> str:
    return guide if len(guide) <= width else guide[-(width // 2 * 2) :]


def _left(row: Row, look: Look, room: int) -> Text:
    """Mark, name, attempts, and as much as fits of why it failed."""
    node = row.node
    assert node is not None
    mark, style = _mark(row.run, node, look.signs)
    text = Text(end="")
    text.append(fit(f"{mark} ", room, ""), style)
    attempts = f" {look.signs.times}{node.attempts}" if node.attempts > 1 else ""
    room -= text.cell_len + len(attempts)
    name = fit(clean(node.name, look.encoding), max(0, room), look.signs.ellipsis)
    text.append(name, "bold" if row.is_header or not node.is_step else "")
    text.append(attempts, "yellow")
    note = clean(_note(row, look), look.encoding)
    room -= cell_len(name) + 2
    if note and room >= 8:
        text.append("  " + fit(note, room, look.signs.ellipsis), "bright_black")
    return text


def _mark(run: RunState, node: DisplayNode, signs: Signs) -> tuple[str, str]:
    if node.outcome is not None:
        return signs.of(node.outcome), STYLES[node.outcome]
    if node.is_waiting:
        return signs.waiting, "yellow"
    if node.is_running or (node is run.root and not run.is_over):
        return signs.running, "cyan"
    return signs.pending, "bright_black"


def _note(row: Row, look: Look) -> str:
    run, node = row.run, row.node
    assert node is not None
    if row.is_header:
        return f"{run.steps_ended}/{run.step_total} steps"
    if node.error is not None and (node.outcome in BAD or node.is_waiting):
        return describe(node.error)
    if node.outcome is None or node.outcome is Outcome.SUCCEEDED:
        return ""
    return node.reason or node.outcome.value.replace("_", " ")


def _right(run: RunState, node: DisplayNode, is_header: bool, look: Look) -> Text:
    """Bar, count or percent, elapsed, estimate: columns of fixed widths, so that they align."""
    text = Text(end="")
    is_top = is_header or (node.parent is run.root and run.is_implied)
    has_begun = node.began is not None
    fraction = run.percent / 100.0 if is_header else node.fraction
    if look.bar:
        text.append_text(_bar(node, fraction, is_header, look))
        text.append(" ")
    if look.width >= 32:
        count = _count(node, fraction, is_top, look.show_progress)
        style = STYLES[node.outcome] if is_top and node.outcome is not None else ""
        text.append(f"{count:>{COUNT_WIDTH}} ", style)
    elapsed = run.elapsed(node, look.now)
    told = seconds_text(elapsed) if has_begun else ""
    text.append(f"{told:>{ELAPSED_WIDTH}}")
    if look.has_estimate:
        left = _estimate(node, fraction, elapsed)
        text.append(f"{left:>{ESTIMATE_WIDTH}}", "bright_black")
    return text


def _bar(node: DisplayNode, fraction: float, is_header: bool, look: Look) -> Text:
    shows = is_header or not node.is_step or (node.outcome is None and node.fraction > 0.0)
    if not shows:
        return Text(" " * look.bar)
    full = int(look.bar * min(1.0, fraction))
    style = "cyan" if node.outcome is None else STYLES[node.outcome]
    bar = Text(look.signs.full * full, style)
    bar.append(look.signs.empty * (look.bar - full), "bright_black")
    return bar


def _count(node: DisplayNode, fraction: float, is_top: bool, show_progress: bool) -> str:
    if is_top and node.outcome is not None and node.outcome is not Outcome.SUCCEEDED:
        return node.outcome.value.replace("_", " ")  # and not "100 %" of anything
    if is_top and show_progress:
        return percent_text(100.0 * fraction)
    if node.is_step:
        reports = node.outcome is None and node.fraction > 0.0 and show_progress
        return percent_text(100.0 * fraction) if reports else ""
    known = max(node.total, len(node.children))
    return f"{node.children_ended}/{known}" if known else ""


def _estimate(node: DisplayNode, fraction: float, elapsed: float) -> str:
    """What is left if it goes on as it did."""
    if node.outcome is not None or not 0.0 < fraction < 1.0 or elapsed < SHORTEST_ESTIMATE:
        return ""
    return f"~{seconds_text(elapsed * (1.0 - fraction) / fraction)} left"
