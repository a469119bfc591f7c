"""YAML, read safely: what JSON can say, one document, and no more of it than the limits allow.

PyYAML takes the text apart; the values are put together here, as its `SafeLoader` would.
So `yes`, `no`, `on` and `off` are true and false, `012` is 10, and `1:30` is 90, as YAML 1.1
says: put in quotes what is to stay a text. Dates and times stay the texts that they are.
Keys must be texts, and none may be there twice. Merge keys (`<<`) work, and an alias makes a
copy. Tags other than those of texts, numbers, truth, null, lists and mappings are mistakes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any, NoReturn

from ...errors import MissingExtraError
from ..mistakes.problem_words import one_line, shown
from .json_values import (
    DEFAULT,
    MOST_MISTAKES,
    Limits,
    Lines,
    Mistake,
    MistakesError,
    Spot,
    is_writable,
    paired,
    too_deep,
    too_many,
)
from .yaml_scalars import MERGE, STANDARD, OddError, Scalars, refused
from .yaml_words import said_of

# What libyaml refuses is read again, up to this many characters, by the parser in Python.
MOST_READ_AGAIN = 200_000
# The lines before a document's first: blank ones, comments and directives.
_HEAD = re.compile(r"(?:[ \t]*(?:#[^\r\n]*)?(?:\r\n|\r|\n)|%[^\r\n]*(?:\r\n|\r|\n))*")
_DIRECTIVE = re.compile(r"%(?:YAML[ \t]+1\.[12]|TAG)[ \t\r\n]")


@dataclass
class _Anchor:
    """What an alias stands for, and what a copy of it adds."""

    value: Any = None
    spot: Spot = 0
    nodes: int = 0
    characters: int = 0
    height: int = 0
    # False while the node is being read: an alias in itself would never end.
    is_complete: bool = False


@dataclass
class _Open:
    """A list or mapping whose end has not come yet."""

    value: Any
    # As a spot has it: the items' places, or those of the keys and their values.
    inner: Any
    offset: int
    anchor: _Anchor | None
    # What had been counted before it.
    nodes: int
    characters: int
    height: int = 1
    # Of a mapping: the key whose value comes next; None if a key comes next.
    key: str | None = None
    key_offset: int = 0
    is_repeated: bool = False
    is_merge: bool = False
    merge_offset: int | None = None
    merged: list[tuple[dict[str, Any], Any]] = field(default_factory=list)


class _End(Exception):
    """The rest of the text cannot be made sense of, or there is too much of it."""


def pyyaml() -> ModuleType:
    """The package, which is an extra."""
    try:
        import yaml
    except ModuleNotFoundError as error:
        if error.name != "yaml":
            raise  # it is there, and something else is not
        raise MissingExtraError("Reading YAML", "documents", "PyYAML") from error
    return yaml


def parser_type(yaml: ModuleType) -> Any:
    """What takes a text apart: libyaml's parser where PyYAML was built with it."""
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlReading:
    """One reading: the document's `value`, and in `spot` where each part of it begins.

    Raises `MistakesError`, and `MissingExtraError` if PyYAML is not installed.
    """

    def __init__(self, text: str, limits: Limits = DEFAULT) -> None:
        self._yaml = pyyaml()
        self._scalars = Scalars(self._yaml, limits)
        self._text = text
        self._limits = limits
        self._begin_again()
        try:
            self._read()
        except _End:
            pass
        if self._mistakes:
            raise MistakesError(self._mistakes)

    def _begin_again(self) -> None:
        self.value: Any = None
        self.spot: Spot = 0
        self._mistakes: list[Mistake] = []
        self._stack: list[_Open] = []
        self._anchors: dict[str, _Anchor] = {}
        self._nodes = self._characters = self._aliases = self._documents = 0

    @cached_property
    def _lines(self) -> Lines:
        return Lines(self._text)

    def _read(self) -> None:
        self._check_text()
        parser, in_python = parser_type(self._yaml), self._yaml.SafeLoader
        try:
            self._events(parser)
        except self._yaml.YAMLError as error:
            if parser is in_python or len(self._text) > MOST_READ_AGAIN:
                self._stop(*said_of(error))
            # What libyaml refuses, the parser in Python may read; if not, it says more about it.
            self._begin_again()
            try:
                self._events(in_python)
            except self._yaml.YAMLError as other:
                self._stop(*said_of(other))
        if not self._documents:
            self._stop(0, "the document is empty")

    def _events(self, parser_type: Any) -> None:
        events = self._yaml.events
        reads: dict[type, Callable[[Any], None]] = {
            events.DocumentStartEvent: self._document,
            events.ScalarEvent: self._scalar,
            events.AliasEvent: self._alias,
            events.SequenceStartEvent: self._begin,
            events.MappingStartEvent: self._begin,
            events.SequenceEndEvent: self._close,
            events.MappingEndEvent: self._close,
        }
        parser = parser_type(self._text)
        try:
            while parser.check_event():
                event = parser.get_event()
                read = reads.get(type(event))
                if read is not None:
                    read(event)
        finally:
            parser.dispose()

    def _check_text(self) -> None:
        """What PyYAML's two parsers do not agree about."""
        odd = self._yaml.reader.Reader.NON_PRINTABLE.search(self._text)
        if odd is not None:
            found = f"the character {one_line(odd.group())} cannot stand in YAML"
            self._stop(odd.start(), found, "write it as an escape in double quotes")
        offset = 0
        head = _HEAD.match(self._text)
        for line in head.group().splitlines(keepends=True) if head else ():
            if line.startswith("%") and not _DIRECTIVE.match(line):
                self._stop(offset, "a directive that is not known", "use %YAML 1.1, 1.2 or %TAG")
            offset += len(line)

    # Events

    def _document(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            self._stop(event.start_mark.index, "a second document begins here", "a file has one")

    def _scalar(self, event: Any) -> None:
        text, offset = event.value, event.start_mark.index
        self._count(offset, 0 if self._wants_key else 1, len(text))
        if not is_writable(text):
            text = paired(text)  # as JSON writes what has no room in four digits
            if not is_writable(text):
                self._note(offset, "a text with half of a surrogate pair", "no file can hold it")
        tag = self._scalars.tag(event)
        try:
            value = self._scalars.value(text, tag)
        except OddError as odd:
            value = text
            self._note(offset, odd.found, odd.hint)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchor(value, offset, 1, len(text), 0, True)
        if self._wants_key:
            self._key(value, text, offset, is_merge=tag == MERGE)
        else:
            self._put(value, offset, 0)

    def _alias(self, event: Any) -> None:
        offset = event.start_mark.index
        self._aliases += 1
        if self._aliases > self._limits.aliases:
            self._stop(offset, f"more than {self._limits.aliases:,} aliases")
        anchor = self._anchors.get(event.anchor)
        if anchor is None or not anchor.is_complete:
            found = "is of no anchor before it" if anchor is None else "stands in what it is of"
            self._note(offset, f"the alias `*{one_line(event.anchor, 40)}` {found}")
            anchor = _Anchor({}, (offset, {}))
        self._count(offset, 0 if self._wants_key else anchor.nodes, anchor.characters)
        if len(self._stack) + anchor.height > self._limits.depth:
            self._stop(offset, too_deep(self._limits))
        if self._wants_key:
            self._key(anchor.value, event.anchor, offset)
        else:
            spot = offset if isinstance(anchor.spot, int) else (offset, anchor.spot[1])
            self._put(_copy(anchor.value), spot, anchor.height)

    def _begin(self, event: Any) -> None:
        offset = event.start_mark.index
        is_list = isinstance(event, self._yaml.SequenceStartEvent)
        if self._wants_key:
            self._stop(offset, f"a key must be a text, not {'a list' if is_list else 'an object'}")
        if len(self._stack) >= self._limits.depth:
            self._stop(offset, too_deep(self._limits))
        if event.tag not in (None, "!", STANDARD + ("seq" if is_list else "map")):
            odd = refused(event.tag)
            self._note(offset, odd.found, odd.hint)
        anchor = None
        if event.anchor is not None:
            anchor = self._anchors[event.anchor] = _Anchor()
        value: Any = [] if is_list else {}
        inner: Any = [] if is_list else {}
        opened = _Open(value, inner, offset, anchor, self._nodes, self._characters)
        self._count(offset, 1, 0)
        self._stack.append(opened)

    def _close(self, event: object) -> None:
        closed = self._stack.pop()
        if closed.merged:
            own = (dict(closed.value), dict(closed.inner))
            closed.value.clear()
            closed.inner.clear()
            # Of the mappings in a list the earlier ones win, and over all the keys written here.
            for value, inner in (*reversed(closed.merged), own):
                closed.value.update(value)
                closed.inner.update(inner)
        spot = (closed.offset, closed.inner)
        anchor = closed.anchor
        if anchor is not None:
            anchor.value, anchor.spot, anchor.height = closed.value, spot, closed.height
            anchor.nodes = self._nodes - closed.nodes
            anchor.characters = self._characters - closed.characters
            anchor.is_complete = True
        self._put(closed.value, spot, closed.height)

    # Values

    @property
    def _wants_key(self) -> bool:
        if not self._stack:
            return False
        around = self._stack[-1]
        return around.key is None and isinstance(around.value, dict)

    def _key(self, value: Any, written: str, offset: int, *, is_merge: bool = False) -> None:
        """The next key of the mapping at hand."""
        mapping = self._stack[-1]
        mapping.key = value if isinstance(value, str) else written
        mapping.key_offset, mapping.is_merge = offset, is_merge
        if not isinstance(value, str):
            hint = f'write "{written}", in quotes' if written else "write it in quotes"
            self._note(offset, f"a key must be a text, not {shown(value)}", hint)
        first = mapping.inner.get(mapping.key, (None,))[0]
        if is_merge:
            first, mapping.merge_offset = mapping.merge_offset, offset
        mapping.is_repeated = first is not None
        if first is not None:
            line, column = self._lines.place(first)
            hint = f"the other one is at line {line}, column {column}"
            self._note(offset, "this key is there twice", hint)

    def _put(self, value: Any, spot: Spot, height: int) -> None:
        """A value that is complete, in the list or mapping at hand."""
        if not self._stack:
            self.value, self.spot = value, spot
            return
        around = self._stack[-1]
        around.height = max(around.height, height + 1)
        if isinstance(around.value, list):
            around.value.append(value)
            around.inner.append(spot)
            return
        if around.is_merge:
            self._merge(around, value, spot)
        elif not around.is_repeated:
            around.value[around.key] = value
            around.inner[around.key] = (around.key_offset, spot)
        around.key = None

    def _merge(self, mapping: _Open, value: Any, spot: Any) -> None:
        """Keep what is to be merged into a mapping: another one, or a list of others."""
        values, spots = (value, spot[1]) if isinstance(value, list) else ([value], [spot])
        if all(isinstance(one, dict) for one in values):
            mapping.merged += [(one, at[1]) for one, at in zip(values, spots, strict=True)]
        else:
            said = f"`<<` merges an object, or a list of objects, not {shown(value)}"
            self._note(mapping.key_offset, said)

    # Mistakes

    def _count(self, offset: int, nodes: int, characters: int) -> None:
        """Count what is read, and what an alias adds again, before it takes memory."""
        self._nodes += nodes
        self._characters += characters
        if self._nodes > self._limits.yaml_nodes:
            self._stop(offset, too_many(self._limits.yaml_nodes), "each alias counts again")
        if self._characters > self._limits.size:
            found = f"texts of more than {self._limits.size:,} characters"
            self._stop(offset, found, "each alias counts again")

    def _stop(self, offset: int, found: str, hint: str = "") -> NoReturn:
        self._note(offset, found, hint)
        raise _End

    def _note(self, offset: int, found: str, hint: str = "") -> None:
        parts = (
            len(around.value) if isinstance(around.value, list) else around.key
            for around in self._stack
        )
        path = tuple(part for part in parts if part is not None)
        self._mistakes.append(Mistake(offset, path, found, hint))
        if len(self._mistakes) >= MOST_MISTAKES:
            raise _End


def _copy(value: Any) -> Any:
    """A copy of lists and dicts, without recursion: an alias may stand where the stack is short."""
    if not isinstance(value, dict | list):
        return value
    top = type(value)()
    waiting = [(value, top)]
    while waiting:
        old, copy = waiting.pop()
        for key, inner in old.items() if isinstance(old, dict) else enumerate(old):
            new = inner
            if isinstance(inner, dict | list):
                new = type(inner)()
                waiting.append((inner, new))
            if isinstance(copy, dict):
                copy[key] = new
            else:
                copy.append(new)
    return top
