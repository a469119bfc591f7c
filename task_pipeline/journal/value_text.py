"""Values as they stand in the journal, in words: nearly as one would write them in Python."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeGuard

from .codec.text import TAG, to_text

OBJECTS = frozenset({"namedtuple", "dataclass", "model", "object", "namespace"})
"""Tags of what has attributes."""

_BEFORE = 20  # characters that are shown before the first difference
_LONGEST = 200  # characters of a value that is shown
_DEEPEST = 8  # levels of it


def shown(node: Any) -> str:
    """A value as it would be written in Python, or nearly so, and not too long."""
    text = ""
    for piece in _pieces(node, 0):
        text += piece
        if len(text) > _LONGEST:
            return f"{text[: _LONGEST - 4]} ..."
    return text


def side_by_side(x: Any, y: Any) -> tuple[str, str]:
    """Two values that differ, from near the first difference on if it is far behind."""
    a, b = shown(x), shown(y)
    if a != b:
        return a, b
    a, b = (text if type(text) is str else to_text(text) for text in (x, y))
    pairs = enumerate(zip(a, b, strict=False))
    first = next((at for at, (one, other) in pairs if one != other), min(len(a), len(b)))
    start = max(0, first - _BEFORE)
    told = [text[start : start + _LONGEST - 50] for text in (a, b)]
    return f"at {first}: ... {told[0]!r}", f"at {first}: ... {told[1]!r}"


def tag_of(node: Any) -> str | None:
    """The tag of a value that JSON has not; "" for one that is none."""
    if type(node) is not dict or TAG not in node:
        return None
    tag = node[TAG]
    return tag if type(tag) is str else ""


def is_of_pairs(inside: Any) -> TypeGuard[list[list[Any]]]:
    """Whether it is a list of keys and values."""
    return type(inside) is list and all(type(pair) is list and len(pair) == 2 for pair in inside)


def _pieces(node: Any, depth: int) -> Iterator[str]:
    tag = tag_of(node)
    if type(node) in (list, dict) and depth >= _DEEPEST:
        yield "..."
    elif type(node) is list:
        yield from _in_brackets("[]", node, depth)
    elif type(node) is not dict:
        yield repr(node[: _LONGEST + 1] if type(node) is str else node)
    elif tag is None:
        yield from _as_dict(node.items(), depth)
    else:
        yield from _tagged(tag, node, depth)


def _tagged(tag: str, node: dict[str, Any], depth: int) -> Iterator[str]:
    inside = node.get("v")
    if tag == "tuple" and type(inside) is list:
        yield from _in_brackets("()", inside, depth)
    elif tag == "set" and type(inside) is list and inside:
        yield from _in_brackets("{}", inside, depth)
    elif tag == "dict" and is_of_pairs(inside):
        yield from _as_dict(inside, depth)
    elif tag == "large":
        yield f"<{node.get('as')} of {node.get('size')} bytes, {str(node.get('digest'))[:12]}>"
    elif tag == "pickle":
        yield f"<a pickle of {len(str(inside))} characters>"
    elif tag == "deleted":
        yield "<deleted>"
    else:
        yield str(node.get("type", tag)).rpartition(":")[2].rpartition(".")[2] + "("
        yield from _in_words(_told_of(tag, node), depth)
        yield ")"


def _told_of(tag: str, node: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    inside = node.get("v")
    if tag == "error":
        return [("", node.get("text"))]
    if tag in OBJECTS and type(inside) is dict and TAG not in inside:
        return [(f"{name}=", item) for name, item in inside.items()]
    names = {name: "" if name == "v" else f"{name}=" for name in node if name not in (TAG, "type")}
    return [(name, node[key]) for key, name in names.items()]


def _in_words(items: Iterable[tuple[str, Any]], depth: int) -> Iterator[str]:
    for number, (name, item) in enumerate(items):
        yield ", " if number else ""
        yield name
        yield from _pieces(item, depth + 1)


def _in_brackets(brackets: str, items: list[Any], depth: int) -> Iterator[str]:
    yield brackets[0]
    yield from _in_words((("", item) for item in items), depth)
    yield ("," if brackets == "()" and len(items) == 1 else "") + brackets[1]


def _as_dict(items: Iterable[Any], depth: int) -> Iterator[str]:
    yield "{"
    yield from _in_words(((f"{shown(key)}: ", item) for key, item in items), depth)
    yield "}"
