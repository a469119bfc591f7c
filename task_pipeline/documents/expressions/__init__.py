r"""Conditions, such as `{{ count }} > 3 and not file_exists('done.txt')`.

They are parsed here, once, into a tree, and evaluated by walking it; a value is only ever a
value, whatever its text looks like.

Lowest first, and each from left to right:

| written | means |
|---|---|
| `a or b`, `a \|\| b`, `or(a, b, ...)` | one holds; what follows it is not looked at |
| `a and b`, `a && b`, `and(a, b, ...)` | all of them hold |
| `not a`, `! a`, `not(a)` | it does not hold |
| `==` or `=`, `!=`, `<`, `<=`, `>`, `>=` | one comparison; `a < b < c` must be written as two |
| `a contains b`, `b in a`, `not in` | a piece of a text, an item of a list, a key of a mapping |
| `len(a)` | the length of a text, list or mapping; 0 for null |
| `file_exists(p)` | whether there is such a file or folder |
| `all_files_exist([p, ...])` | whether all are there; also `all_files_exist(p, ...)` |
| `file_is_newer(a, b)` | `a` is there, and `b` is not or is older |

An operand is a number, a text in quotes, `true`, `false`, `null`, a list in brackets, a name
such as `data.items[0].id`, a `{{ template }}` in recipes, or a `${reference}` in workflows.
"""

from __future__ import annotations

from .conditions import Condition, Names, parse
from .lexing import Style

__all__ = ["Condition", "Names", "Style", "parse"]
