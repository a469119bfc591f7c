"""A plan as a drawing: SVG with a layout of our own, which needs no other program."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from xml.sax.saxutils import escape

from ..plan import Plan
from .figures import Shape, figure_of
from .layout import ASKED, BACK, BAR, COLUMN, GAP, HEADER, PAD, TITLE, Box, Lane, laid_out
from .measuring import SMALL, text_width
from .wording import shortened

_MARGIN = 12.0
_STYLE = """\
<style>
  text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif }
  .paper { fill: #ffffff }
  .title { font-size: 13px; fill: #0f172a }
  .head { font-size: 13px; font-weight: 600; fill: #0f172a }
  .small { font-size: 11px; fill: #475569 }
  .step { fill: #ffffff; stroke: #64748b; stroke-width: 1.2 }
  .nothing { fill: none; stroke: #94a3b8; stroke-dasharray: 4 3 }
  .frame { fill-opacity: 0.6; stroke-width: 1.2 }
  .series { fill: #f1f5f9; stroke: #94a3b8 }
  .parallel { fill: #e0edff; stroke: #6098f2 }
  .choice { fill: #f5eaff; stroke: #b07ce8 }
  .each { fill: #e2f7e6; stroke: #4bb568; stroke-dasharray: 6 4 }
  .loop { fill: #fff1dc; stroke: #e59a3c; stroke-dasharray: 6 4 }
  .asks { fill: #ffffff; stroke: #b07ce8; stroke-width: 1.2 }
  .line { fill: none; stroke: #64748b; stroke-width: 1.4 }
  .back { fill: none; stroke: #e59a3c; stroke-width: 1.4; stroke-dasharray: 5 4 }
  .bar { stroke: #475569; stroke-width: 4; stroke-linecap: round }
  .tip { fill: #64748b }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 }
    .title, .head { fill: #e6edf3 }
    .small { fill: #9fb0c3 }
    .step, .asks { fill: #161b22 }
    .frame { fill-opacity: 0.35 }
    .series { fill: #30363d }
    .parallel { fill: #1c3d6e }
    .choice { fill: #45296b }
    .each { fill: #1b4527 }
    .loop { fill: #5a3a10 }
    .line, .step { stroke: #8b9bb0 }
    .bar { stroke: #b6c2d0 }
    .tip { fill: #8b9bb0 }
  }
</style>
<defs>
  <marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" \
orient="auto"><path class="tip" d="M0 0 L8 4 L0 8 z"/></marker>
</defs>"""


def svg(plan: Plan) -> str:
    """The text of the drawing."""
    boxes = laid_out(figure_of(plan))
    whole = boxes[0]
    for box in boxes:
        box.x += _MARGIN
        box.y += _MARGIN
        for lane in itertools.chain.from_iterable(box.rows):
            lane.x += _MARGIN
            lane.y += _MARGIN
    width, height = _n(whole.width + 2 * _MARGIN), _n(whole.height + 2 * _MARGIN)
    title = _text(whole.figure.title)
    size = f'width="{width}" height="{height}"'
    view = f'viewBox="0 0 {width} {height}" role="img" aria-label="{title}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {view}>',
        f"<title>{title}</title>",
        _STYLE,
        f'<rect class="paper" {size}/>',
    ]
    for box in boxes:
        lines += _drawn(box)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _drawn(box: Box) -> Iterator[str]:
    """The box itself, and the arrows between those that stand in it."""
    figure = box.figure
    place = f'x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" height="{_n(box.height)}"'
    about = f"path {figure.path}" if figure.path else "the whole pipeline"
    tip = f"<title>{_text(', '.join([figure.title, *figure.remarks, about]))}</title>"
    if figure.is_node:
        kind = "step" if figure.shape is Shape.STEP else "nothing"
        yield f'<g>{tip}<rect class="{kind}" rx="7" {place}/>'
        lines = len(box.heading)
        for number, text in enumerate(box.heading):
            y = box.y + box.height / 2 + (4.5 if lines == 1 else (-3.5, 13.5)[number])
            yield _words(("title", "small")[number], box.middle, y, text, "middle")
        yield "</g>"
        return
    yield f'<g>{tip}<rect class="frame {figure.shape.value}" rx="10" {place}/>'
    if box.has_header:
        head, *rest = box.heading
        remarks = "".join(
            f'<tspan class="small" dx="{10 if head else 0}">{_text(text)}</tspan>' for text in rest
        )
        at = f'x="{_n(box.x + PAD)}" y="{_n(box.y + 20)}"'
        yield f'<text class="head" {at}>{_text(head)}{remarks}</text>'
    yield "</g>"
    yield from _arrows(box)


def _arrows(box: Box) -> Iterator[str]:
    for lane in itertools.chain.from_iterable(box.rows):
        yield from _arrows_in(lane)
    if box.has_bars:
        yield from _bars(box)
    if box.figure.shape is Shape.LOOP and len(box.rows[0][0].columns) == 1:
        first, last = box.rows[0][0].columns[0][0], box.rows[0][0].columns[0][-1]
        x = box.x + box.width - PAD - BACK / 2
        start = last.y + last.height / 2 + (6 if first is last else 0)
        end = first.y + first.height / 2 - (6 if first is last else 0)
        right, back = last.x + last.width, first.x + first.width
        yield (
            f'<path class="back" marker-end="url(#tip)" d="M{_n(right)} {_n(start)} H{_n(x - 6)} '
            f"Q{_n(x)} {_n(start)} {_n(x)} {_n(start - 6)} V{_n(end + 6)} "
            f'Q{_n(x)} {_n(end)} {_n(x - 6)} {_n(end)} H{_n(back + 1)}"/>'
        )


def _arrows_in(lane: Lane) -> Iterator[str]:
    for column in lane.columns:
        for above, below in itertools.pairwise(column):
            yield _line(f"M{_n(above.middle)} {_n(above.bottom)} V{_n(below.y - 1)}")
    for before, after in itertools.pairwise(lane.columns):
        last, first = before[-1], after[0]
        between = max(box.x + box.width for box in before) + COLUMN / 2
        low, high = last.bottom + GAP / 2, first.y - GAP / 2
        yield _line(
            f"M{_n(last.middle)} {_n(last.bottom)} V{_n(low)} H{_n(between)} V{_n(high)} "
            f"H{_n(first.middle)} V{_n(first.y - 1)}"
        )


def _bars(box: Box) -> Iterator[str]:
    """The bar that the lanes hang on, the one they end at, and the question, if there is one."""
    (lanes,) = box.rows
    top = lanes[0].y - BAR
    bottom = lanes[0].y + max(lane.height for lane in lanes) + BAR - 8
    ends = [_end_of(lane) for lane in lanes]
    starts = [lane.first.middle if lane.first else lane.x for lane in lanes]
    across = (min(starts) - 18, max(starts) + 18)
    if box.figure.shape is Shape.CHOICE:
        asked = shortened(box.figure.says, TITLE)
        width, y = text_width(asked, SMALL) + 40, box.y + (HEADER if box.has_header else PAD)
        at = f'x="{_n(box.middle - width / 2)}" y="{_n(y)}" width="{_n(width)}"'
        yield f'<rect class="asks" rx="{_n(ASKED / 2 - 2)}" {at} height="{_n(ASKED - 4)}"/>'
        yield _words("small", box.middle, y + 17, asked, "middle")
        across = min(*across, box.middle), max(*across, box.middle)
        yield _plain_line(f"M{_n(box.middle)} {_n(y + ASKED - 4)} V{_n(top)}")
    yield f'<path class="bar" d="M{_n(across[0])} {_n(top)} H{_n(across[1])}"/>'
    for lane, start, (end, low) in zip(lanes, starts, ends, strict=True):
        if lane.first is None:
            yield _plain_line(f"M{_n(start)} {_n(top)} V{_n(bottom)}")
        else:
            yield _line(f"M{_n(start)} {_n(top)} V{_n(lane.first.y - 1)}")
            yield _plain_line(f"M{_n(end)} {_n(low)} V{_n(bottom)}")
        if lane.label:
            yield _words("small", start + 6, top + 15, lane.label, "start")
    at_end = [end for end, _ in ends]
    yield f'<path class="bar" d="M{_n(min(at_end) - 18)} {_n(bottom)} H{_n(max(at_end) + 18)}"/>'


def _end_of(lane: Lane) -> tuple[float, float]:
    last = lane.last
    return (lane.x, lane.y) if last is None else (last.middle, last.bottom)


def _line(path: str) -> str:
    return f'<path class="line" marker-end="url(#tip)" d="{path}"/>'


def _plain_line(path: str) -> str:
    return f'<path class="line" d="{path}"/>'


def _words(kind: str, x: float, y: float, text: str, anchor: str) -> str:
    at = f'x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {at}>{_text(text)}</text>'


def _text(text: str) -> str:
    return escape(text, {'"': "&quot;", "'": "&#39;"})


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
