"""Pictures of a plan, as text: for a terminal, for a README, for Graphviz, and as SVG."""

from .dot_text import dot
from .mermaid_text import mermaid
from .svg_text import svg
from .tree_text import tree

__all__ = ["dot", "mermaid", "svg", "tree"]
