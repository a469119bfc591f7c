"""Documents changed until they are wrong, or nearly: their trees, their texts, their YAML."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

import yaml

from . import corpus, fragments

Place = tuple[Any, Any]
"""A container, and the key or index of a value in it."""


def places(document: Any) -> list[Place]:
    """Every value in a document by where it stands."""
    return list(_places(document))


def _places(document: Any) -> Iterator[Place]:
    waiting = [document]
    while waiting:
        container = waiting.pop()
        items = container.items() if isinstance(container, dict) else enumerate(container)
        for key, value in items:
            yield container, key
            if isinstance(value, dict | list):
                waiting.append(value)


def tree(random: Random, document: Any, most: int = 4) -> Any:
    """A copy of a document with a few changes."""
    top = [copy.deepcopy(document)]
    for _ in range(random.choice([1, 1, 1, 2, 3, most])):
        found = places(top)
        container, key = random.choice(found)
        random.choice(_CHANGES)(random, container, key, found)
        if not top:
            return []
    return top[0]


def _replace(random: Random, container: Any, key: Any, found: list[Place]) -> None:
    container[key] = fragments.value(random)


def _replace_alike(random: Random, container: Any, key: Any, found: list[Place]) -> None:
    """Another value of the kind that is there: that gets further."""
    value = container[key]
    if isinstance(value, str):
        container[key] = fragments.text(random)
    elif isinstance(value, bool):
        container[key] = not value
    elif isinstance(value, int | float):
        container[key] = random.choice(fragments.NUMBERS)
    else:
        _extend(random, container, key, found)


def _within(random: Random, container: Any, key: Any, found: list[Place]) -> None:
    """What has templates or references in it already gets others: there they are looked at."""
    live = [(of, at) for of, at in found if isinstance(of[at], str) and _is_live(str(at), of[at])]
    if not live:
        _fitting(random, container, key, found)
        return
    of, at = random.choice(live)
    if "condition" in str(at) or at == "expression":
        of[at] = fragments.condition(random)
    elif "${" in of[at]:
        of[at] = random.choice(fragments.REFERENCES)
    else:
        of[at] = fragments.template(random)


def _is_live(name: str, text: str) -> bool:
    return "{{" in text or "${" in text or name in ("condition", "expression")


def _fitting(random: Random, container: Any, key: Any, found: list[Place]) -> None:
    """A text of the kind that this field is for."""
    name = str(key)
    if "condition" in name or name in ("expression", "while"):
        container[key] = fragments.condition(random)
    elif "path" in name or name in ("root", "extract_dir", "cwd", "resource_files"):
        container[key] = random.choice(fragments.PATHS)
    elif name == "type":
        container[key] = random.choice(fragments.TYPES)
    elif name.endswith(("_step", "_steps", "_body", "steps")):
        ids = [random.choice(fragments.IDS) for _ in range(random.randint(0, 3))]
        container[key] = ids if name.endswith(("s", "y")) else random.choice(fragments.IDS)
    else:
        container[key] = random.choice([fragments.template, fragments.text])(random)


def _delete(random: Random, container: Any, key: Any, found: list[Place]) -> None:
    del container[key]


def _rename(random: Random, container: Any, key: Any, found: list[Place]) -> None:
    if isinstance(container, dict):
        container[fragments.key(random)] = container.pop(key)


def _swap(random: Random, container: Any, key: Any, found: list[Place]) -> None:
    """Two values change places; one may come to stand in the other, so both are copies."""
    other, at = random.choice(found)
    ours, theirs = copy.deepcopy(container[key]), copy.deepcopy(other[at])
    container[key], other[at] = theirs, ours


def _move(random: Random, container: Any, key: Any, found: list[Place]) -> None:
    other, at = random.choice(found)
    container[key] = copy.deepcopy(other[at])


def _extend(random: Random, container: Any, key: Any, found: list[Place]) -> None:
    value = container[key]
    if isinstance(value, list):
        value.insert(random.randint(0, len(value)), copy.deepcopy(random.choice(value or [1])))
    elif isinstance(value, dict):
        value[fragments.key(random)] = fragments.value(random)
    else:
        container[key] = random.choice([[value], {fragments.key(random): value}])


def _nest(random: Random, container: Any, key: Any, found: list[Place]) -> None:
    """As deep as the limits, and deeper."""
    value = container[key]
    name = fragments.key(random) if random.random() < 0.5 else None
    for _ in range(random.choice([3, 20, 60, 99, 101, 300])):
        value = [value] if name is None else {name: value}
    container[key] = value


def _nest_blocks(random: Random, container: Any, key: Any, found: list[Place]) -> None:
    step: Any = {"type": "set_context", "key": "k", "value": "{{ n }}"}
    for _ in range(random.choice([3, 20, 63, 64, 65])):
        step = {"type": "parallel", "substeps": [step], "merge": True}
    container[key] = [step] if isinstance(container[key], list) else step


def _repeat(random: Random, container: Any, key: Any, found: list[Place]) -> None:
    if isinstance(container, list) and len(container) < 50:
        container += [copy.deepcopy(container[key]) for _ in range(random.choice([1, 5, 30]))]


def _join(random: Random, container: Any, key: Any, found: list[Place]) -> None:
    """A step of another document comes in."""
    other = random.choice(corpus.DOCUMENTS)
    there, at = random.choice(places([other]))
    container[key] = copy.deepcopy(there[at])


Change = Callable[[Random, Any, Any, list[Place]], None]
_CHANGES: list[Change] = [
    *(_within, _within, _within, _within, _within, _within, _within, _within, _within, _within),
    *(_replace, _replace_alike, _replace_alike, _fitting, _fitting, _fitting, _fitting, _delete),
    *(_rename, _swap, _move, _extend, _nest, _nest_blocks, _repeat, _join),
]

_SYNTAX = [
    *'{}[]",:\\',
    "null",
    "true",
    "NaN",
    "-Infinity",
    "1e999",
    "0" * 50,
    "9" * 5000,
    '"steps":',
    "\ud800",
    "\\ud800",
    "\\u0000",
    "\x00",
    "\x85",
    "\u2028",
    "\t",
    "\n",
    "\r",
    "- ",
    "? ",
    ": ",
    "&a ",
    "*a ",
    "!!python/name:os.system ",
    "!!binary ",
    "!t ",
    "!<x> ",
    "<<: *a",
    "|\n",
    ">-\n",
    "%TAG ! x\n",
    "---\n",
    "...\n",
    "#",
    "'",
    "{{",
    "}}",
    "${",
    "[" * 200,
    '{"a":' * 150,
    "  ",
    "\ufeff",
    *"%@`",
]


def characters(random: Random, text: str) -> str:
    """A text with a few characters changed, cut, doubled or put in."""
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        at = random.randint(0, len(text))
        end = min(len(text), at + random.choice([0, 1, 1, 2, 10, 80]))
        kind = random.randrange(6)
        if kind == 0:
            text = text[:at] + text[end:]
        elif kind == 1:
            text = text[:at] + random.choice(_SYNTAX) + text[end:]
        elif kind == 2:
            text = text[:end] + text[at:end] * random.choice([1, 2, 40]) + text[end:]
        elif kind == 3 and at < len(text):
            changed = chr((ord(text[at]) ^ (1 << random.randrange(8))) or 1)
            text = text[:at] + changed + text[at + 1 :]
        elif kind == 4:
            other = random.choice(corpus.texts())
            start = random.randint(0, len(other))
            text = text[:at] + other[start : start + random.choice([5, 50, 500])] + text[at:]
        else:
            text = text[:at]
    return text


_YAML_WORDS = ["&a", "*a", "!!str", "!!map", "!!set", "!!python/object:os.system", "!x", "|", "?"]


def yaml_words(random: Random, text: str) -> str:
    """A YAML text with anchors, aliases, tags and merge keys in its lines."""
    lines = text.splitlines()
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(lines) or 1)
        line = lines[at] if lines else ""
        indent = line[: len(line) - len(line.lstrip())]
        before, colon, after = line.partition(": ")
        put = random.choice(_YAML_WORDS)
        changed = [
            f"{before}: {put} {after}" if colon else f"{line} {put}",
            f"{indent}<<: {random.choice(['*a', '[*a, *a]', '{a: 1}', '1'])}",
            f"{indent}- *a",
            f"{indent}? {random.choice(['[1]', '*a', 'b', '&a c'])}\n{indent}: {after}",
            f"{line}\n{indent}{random.choice(fragments.KEYS)}: &a [{', '.join(['*a'] * 9)}]",
            line.replace("  ", " ", 1),
        ]
        lines[at : at + 1] = [random.choice(changed)]
    return "\n".join(lines)


class Made(NamedTuple):
    """A document to try: as a dict or list or text, and how it came about."""

    document: Any
    how: str


def made(random: Random, grow: Callable[[Random], Any]) -> Made:
    """Any document; `grow` makes one from nothing."""
    kind = random.randrange(10)
    if kind < 5:
        return _given(random, tree(random, random.choice(corpus.DOCUMENTS)), "tree")
    if kind < 7:
        return _given(random, grow(random), "grown")
    text = random.choice(corpus.texts())
    if kind < 9:
        return Made(characters(random, text), "text")
    if random.random() < 0.7:
        dumped = yaml.safe_dump(random.choice(corpus.DOCUMENTS), sort_keys=False)
        return Made(yaml_words(random, dumped), "yaml")
    return Made(yaml_words(random, text), "yaml")


def _given(random: Random, document: Any, how: str) -> Made:
    """As it is, or as JSON or YAML; what no text can hold stays as it is."""
    kind = random.randrange(4)
    try:
        if kind == 0:
            return Made(json.dumps(document, indent=random.choice([None, 2])), f"{how} json")
        if kind == 1:
            return Made(yaml.safe_dump(document, allow_unicode=True), f"{how} yaml")
    except (ValueError, yaml.YAMLError, RecursionError):
        pass
    return Made(document, how)
