"""Values as they stand in the journal, compared and shown without making them.

What is known here of each tag is how to get to what is inside; of a tag that is not known, that
one value is another. So a class need not be loaded, and a pickle is compared and not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import JournalDataError
from .codec.text import TAG, from_text, to_text
from .value_text import OBJECTS, is_of_pairs, shown, side_by_side, tag_of

Fetch = Callable[[str], bytes]

MOST_LISTED = 200
"""Changes of one step that are listed; the rest is counted."""

_SEQUENCES = frozenset({"tuple", "deque"})
_SETS = frozenset({"set", "frozenset"})
_PAIRS = frozenset({"dict", "OrderedDict", "Counter", "defaultdict"})
_ABSENT: Any = object()

Parts = dict[Any, tuple[str, Any]]
"""What is inside a value, each under a key, with what is to be written behind it to get there."""


@dataclass(frozen=True, slots=True)
class Change:
    """What differs at a `path`, such as `results['page'].headers['x']`: the values, as text.

    None is what is not there; a long text is cut.
    """

    path: str
    a: str | None
    b: str | None


def compare_written(a: str | None, b: str | None, fetch: Fetch) -> tuple[list[Change], int]:
    """What differs between two encoded deltas or contexts, and how many changes are not listed.

    `fetch` gives what was put beside the row. Raises `JournalDataError` for what is not JSON.
    """
    if a == b:
        return [], 0
    changes: list[Change] = []
    omitted = 0
    try:
        for change in _differences(_sections(a), _sections(b), fetch):
            if len(changes) < MOST_LISTED:
                changes.append(change)
            else:
                omitted += 1
    except RecursionError as error:
        raise JournalDataError("what is to be compared is nested too deeply") from error
    return changes, omitted


def _sections(text: str | None) -> Parts:
    """What an encoded delta or context has: its results, fields, errors, and keys put last."""
    if text is None:
        return {}
    try:
        node = from_text(text)
    except ValueError as error:
        raise JournalDataError(f"what is to be compared is damaged: {error!s:.200}") from error
    if type(node) is not dict or not node.keys() <= {"r", "f", "e", "m", "k"}:
        raise JournalDataError(f"what is to be compared is not of a journal: {text:.80}")
    found: Parts = {}
    for key, item in _pairs_in(node.get("r", {})):
        found["r", to_text(key)] = f"results[{shown(key)}]", item
    for key, item in _pairs_in(node.get("f", {})):
        found["f", to_text(key)] = f"context.{key}", item
    for at, item in enumerate(_list_in(node.get("e", []))):
        found["e", at] = f"errors[{at}]", item
    if "m" in node:
        found["m"] = "the keys put last in results", node["m"]
    if "k" in node:
        found["k"] = "the errors that were kept", node["k"]
    return found


def _pairs_in(inside: Any) -> Iterable[Any]:
    """Keys and values of what is written as a dict, or as a list of pairs if it must be."""
    return inside.items() if type(inside) is dict else _list_in(inside, is_of_pairs(inside))


def _list_in(inside: Any, is_right: bool = True) -> list[Any]:
    if type(inside) is not list or not is_right:
        raise JournalDataError(f"what is to be compared is not of a journal: {shown(inside)}")
    return inside


def _differences(a: Parts, b: Parts, fetch: Fetch) -> Iterator[Change]:
    stack = [(suffix, x, y) for _, suffix, x, y in _both(a, b)][::-1]
    while stack:
        path, x, y = stack.pop()
        if x is _ABSENT or y is _ABSENT:
            yield Change(path, _shown_if_there(x), _shown_if_there(y))
            continue
        if _digest(x) is not None and _digest(x) == _digest(y):
            continue
        x, y = _loaded(x, path, fetch), _loaded(y, path, fetch)
        left, right = _parts_of(x), _parts_of(y)
        if left is not None and right is not None and _kind(x) == _kind(y):
            stack += reversed([(path + name, v, w) for _, name, v, w in _both(left, right)])
        elif not _is_same(x, y):
            yield Change(path, *side_by_side(x, y))


def _both(a: Parts, b: Parts) -> Iterator[tuple[Any, str, Any, Any]]:
    """What is in either, in the order of the one and then of the other."""
    for key, (suffix, node) in a.items():
        yield key, suffix, node, b[key][1] if key in b else _ABSENT
    for key, (suffix, node) in b.items():
        if key not in a:
            yield key, suffix, _ABSENT, node


def _shown_if_there(node: Any) -> str | None:
    return None if node is _ABSENT else shown(node)


def _is_same(x: Any, y: Any) -> bool:
    if tag_of(x) == tag_of(y) == "error":  # where it was raised does not matter
        return all(_is_same(x.get(part), y.get(part)) for part in ("type", "text"))
    # Not == alone: 1, 1.0 and true are three values, in a journal as in results.
    return type(x) is type(y) and (to_text(x) == to_text(y) if type(x) is dict else bool(x == y))


def _kind(node: Any) -> tuple[Any, ...]:
    """Values of different kinds are compared as a whole."""
    tag = tag_of(node)
    return (type(node),) if tag is None else (tag, node.get("type"))


def _parts_of(node: Any) -> Parts | None:
    """What is inside, each under a key, with what is written behind the path; None for a leaf."""
    if type(node) is list:
        return _items(node)
    if type(node) is not dict:
        return None
    if TAG not in node:
        return {key: (f"[{key!r}]", item) for key, item in node.items()}
    tag, inside = tag_of(node), node.get("v")
    if type(inside) is list and tag in _SEQUENCES:
        found = _items(inside)
    elif type(inside) is list and tag in _SETS:
        found = {to_text(item): (f"{{{shown(item)}}}", item) for item in inside}
    elif tag in _PAIRS and is_of_pairs(inside):
        found = {to_text(key): (f"[{shown(key)}]", item) for key, item in inside}
    elif tag in OBJECTS and is_of_pairs(inside):
        found = {to_text(key): (f".{key}", item) for key, item in inside}
    elif tag in OBJECTS and type(inside) is dict and TAG not in inside:
        found = {key: (f".{key}", item) for key, item in inside.items()}
    elif tag == "registered":  # what its own function has made of it
        found = {"v": ("", inside)}
    else:
        return None
    for name, item in node.items():
        if name not in (TAG, "v", "type"):
            found["", name] = (f".{name}", item)
    return found


def _items(node: list[Any]) -> Parts:
    return {at: (f"[{at}]", item) for at, item in enumerate(node)}


# What is beside the row


def _digest(node: Any) -> str | None:
    digest = node.get("digest") if tag_of(node) == "large" else None
    return digest if type(digest) is str else None


def _loaded(node: Any, path: str, fetch: Fetch) -> Any:
    """A value that is beside the row, if it is data; a mere reference to anything else."""
    digest = _digest(node)
    if digest is None or node.get("as") not in ("json", "str"):
        return node
    content = fetch(digest)
    try:
        text = content.decode()
        return text if node["as"] == "str" else from_text(text)
    except (ValueError, RecursionError) as error:
        raise JournalDataError(f"{path}: the large value {digest} is no JSON: {error}") from error
