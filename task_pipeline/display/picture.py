"""What is on the screen: the trees of what runs, and of what has ended with its summary."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

from ..outcome import Outcome
from .critical import Timed
from .nodes import RunState
from .rows import STYLES, Look, fit, row_text
from .summary import RunSummary, summarize
from .text import clean, counted, seconds_text
from .tree import fitting_tree, full_tree

LABEL_WIDTH = 15  # cells of "critical path" and a gap; where that is too much, labels stand alone
MOST_LINKS = 8  # of a critical path
MOST_FAILURES = 20


def live_picture(runs: Sequence[RunState], look: Look, room: int) -> list[Text]:
    """The runs under way, in at most `room` lines."""
    shown = list(runs)[: max(1, room // 2)]
    hidden = len(runs) - len(shown)
    left = room - bool(hidden)
    lines: list[Text] = []
    for number, run in enumerate(shown):
        rows = fitting_tree(run, look.signs, max(1, left // (len(shown) - number)))
        left -= len(rows)
        lines += [row_text(row, look) for row in rows]
    if hidden:
        more = f"{look.signs.ellipsis} {counted(hidden, 'more run')}"
        lines.append(Text(fit(more, look.width, ""), "bright_black", end=""))
    return lines[: max(1, room)]


def final_picture(run: RunState, look: Look) -> list[Text]:
    """The whole tree of a run that has ended."""
    return [row_text(row, look) for row in full_tree(run, look.signs)]


def summary_lines(summary: RunSummary, look: Look) -> list[Text]:
    """What is to be said of a run at its end."""
    outcome = summary.outcome
    told = "not seen to end" if outcome is None else outcome.value.replace("_", " ")
    name = clean(summary.name, look.encoding)
    end = f": {told} in {seconds_text(summary.duration)}"
    head = Text(fit("Summary", look.width, ""), "bold", end="", no_wrap=True)
    room = look.width - head.cell_len - len(end) - 4
    if room >= 4:
        head.append(f" of {fit(name, room, look.signs.ellipsis)}")
    style = "" if outcome is None else STYLES[outcome]
    head.append(fit(end, look.width - head.cell_len, look.signs.ellipsis), style)
    lines = [head]
    for label, pieces in _facts(summary, look):
        lines += _folded(label, pieces, look)
    return lines


def _facts(summary: RunSummary, look: Look) -> list[tuple[str, list[str]]]:
    signs = look.signs
    failed = f"{summary.failed} failed"
    if summary.timed_out:
        failed += f" ({summary.timed_out} timed out)"
    retried = f"{summary.retried} retried"
    if summary.extra_attempts > summary.retried:
        retried += f" ({counted(summary.extra_attempts, 'extra attempt')})"
    counts = [counted(summary.steps, "step"), f"{summary.succeeded} succeeded", failed, retried]
    rest = {
        "recovered": summary.recovered,
        "skipped": summary.skipped,
        "cancelled": summary.cancelled,
        "abandoned": summary.abandoned,
    }
    counts += [f"{number} {word}" for word, number in rest.items() if number]
    counts += [counted(summary.conflicts, "merge conflict")] if summary.conflicts else []
    facts = [("steps", [f"{count}," for count in counts[:-1]] + counts[-1:])]
    if summary.slowest:
        slowest = [_timed(step, look) for step in summary.slowest]
        facts.append(("slowest", [f"{step}," for step in slowest[:-1]] + slowest[-1:]))
    if summary.critical_path:
        facts.append(("critical path", _links(summary, look)))
    if summary.speed_up is not None:
        work, took = seconds_text(summary.work), seconds_text(summary.duration)
        told = [f"{summary.speed_up:.1f}{signs.times}", f"({work} of steps", f"in {took})"]
        facts.append(("speed-up", told))
    facts += [
        ("failed", [f"{failure.name}: {failure.error}"])
        for failure in summary.failures[:MOST_FAILURES]
    ]
    if len(summary.failures) > MOST_FAILURES:
        more = len(summary.failures) - MOST_FAILURES
        facts.append(("failed", [f"{signs.ellipsis} {more} more"]))
    if summary.error and not summary.failures and summary.outcome is not Outcome.SUCCEEDED:
        facts.append(("error", [summary.error]))
    return facts


def _timed(step: Timed, look: Look) -> str:
    return f"{clean(step.name, look.encoding)} {seconds_text(step.seconds)}"


def _links(summary: RunSummary, look: Look) -> list[str]:
    """The steps of the critical path; of a long one those that matter, in its order."""
    path = summary.critical_path
    links = [_timed(step, look) for step in path]
    if len(path) > MOST_LINKS:
        by_time = sorted(range(len(path)), key=lambda number: path[number].seconds, reverse=True)
        kept = sorted(by_time[:MOST_LINKS])
        rest = counted(len(path) - MOST_LINKS, "shorter one")
        links = [*(links[number] for number in kept), f"{look.signs.ellipsis} {rest}"]
    arrow = look.signs.arrow
    told = [links[0], *(f"{arrow} {link}" for link in links[1:])]
    return [*told, f"({seconds_text(summary.critical_seconds)})"] if len(links) > 1 else told


def _folded(label: str, pieces: list[str], look: Look) -> list[Text]:
    """The pieces behind their label, in as many lines as they need."""
    is_narrow = look.width < 3 * LABEL_WIDTH
    indent = 4 if is_narrow else LABEL_WIDTH + 2
    first = f"  {label}"
    lines = [first, " " * indent] if is_narrow else [first.ljust(indent)]
    is_fresh = True
    for piece in pieces:
        told = fit(clean(piece, look.encoding), max(1, look.width - indent), look.signs.ellipsis)
        if not is_fresh and cell_len(lines[-1]) + 1 + cell_len(told) > look.width:
            lines.append(" " * indent)
            is_fresh = True
        lines[-1] += told if is_fresh else f" {told}"
        is_fresh = False
    texts = [Text(fit(line, look.width, ""), end="", no_wrap=True) for line in lines]
    texts[0].stylize("bright_black", 0, len(first))
    return texts


def still(run: RunState, look: Look) -> tuple[RunSummary, list[Text]]:
    """What stays on the screen of a run that has ended, and its summary."""
    summary = summarize(run, look.now)
    return summary, [*final_picture(run, look), *summary_lines(summary, look)]
