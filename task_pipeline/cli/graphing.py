"""`graph`, and `run --dry-run`: pictures of what would run."""

from __future__ import annotations

import sys

from ..compiler import compile_plan
from ..display.text import UNICODE
from ..drawing import dot, mermaid, svg, tree
from ..pipeline import Pipeline
from .failures import OK
from .options import Format
from .output import Output
from .writing import STDOUT, Target

_DRAW = {Format.MERMAID: mermaid, Format.DOT: dot, Format.SVG: svg, Format.TREE: tree}


def draw_pipeline(pipeline: Pipeline, wanted: Format, target: Target | None) -> int:
    """Write a picture to a file, or to standard output."""
    if target is not None:
        target.write(_DRAW[wanted](compile_plan(pipeline)))
    elif wanted is Format.TREE:
        show_plan(Output(), pipeline)
    else:
        text = _DRAW[wanted](compile_plan(pipeline))
        # What the terminal cannot show is written as the two languages of markup have it.
        errors = "backslashreplace" if wanted is Format.MERMAID else "xmlcharrefreplace"
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, errors).decode(encoding))
    return OK


def show_plan(output: Output, pipeline: Pipeline) -> int:
    """Write what would run, as a tree."""
    text = tree(compile_plan(pipeline), is_ascii=output.signs is not UNICODE)
    for line in text.splitlines():
        output.line(output.show(line))
    return OK


def target_of(name: str | None) -> Target | None:
    """The file that is meant; None for standard output."""
    return None if name is None or name == STDOUT else Target(name)
