"""Liquid's filters, each kept to what one rendering may take, and a few of our own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from liquid.builtin.filters.misc import date as liquid_date
from liquid.exceptions import FilterError, ResourceLimitError
from liquid.filter import with_environment
from liquid.undefined import Undefined

from .template_values import MAX_DIGITS, MAX_TEXT, MISSING, item_of, json_text, plain, to_text

MAX_ITEMS: Final = 1_000_000
MAX_WORK: Final = 1_000_000
"""How much one rendering may do, in steps of about a microsecond."""

_MAX_BITS = int(MAX_DIGITS * 3.33)
_MAX_FORMAT = 200
_MAX_LEVELS = 100


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ON_SEQUENCES = _words(
    "compact concat find find_index has join map reject reverse sort sort_natural sort_numeric "
    "sum uniq where"
)
_ON_TEXT = _words(
    "append base64_decode base64_encode base64_url_safe_decode base64_url_safe_encode capitalize "
    "downcase escape escape_once escapejs lstrip newline_to_br prepend remove remove_first "
    "remove_last replace replace_first replace_last rstrip safe script_tag slice snakecase split "
    "squish strip strip_html strip_newlines stylesheet_tag truncate truncatewords upcase "
    "url_decode url_encode"
)
_ON_DATES_AND_NUMBERS = _words(
    "currency date datetime decimal money money_with_currency money_without_currency "
    "money_without_trailing_zeros unit"
)
_ON_NUMBERS = _words("abs at_least at_most ceil divided_by floor minus modulo plus round times")
# These only copy their text, and cost far less for each character than the others.
_COPYING = frozenset({"append", "prepend", "slice", "safe"})


class Work:
    """What one rendering may still do."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_WORK

    def spend(self, steps: int) -> None:
        """Count some steps; raises when there are none left."""
        self.left -= steps
        if self.left < 0:
            raise ResourceLimitError(
                "the template does too much; render less at a time", token=None
            )


def call_filter(
    work: Work, name: str, function: Callable[..., Any], left: Any, *args: Any, **options: Any
) -> Any:
    """The filter's result, if neither what it works on nor what comes out is too much."""
    left = _left_for(name, work, left)
    given = [_argument_for(name, work, value) for value in args]
    named = {key: _argument_for(name, work, value) for key, value in options.items()}
    if name in _ON_DATES_AND_NUMBERS:
        work.spend(60)
        _check_formatting(name, left, [*given, *named.values()])
    elif name in ("replace", "replace_first", "replace_last") and given:
        _check_replacing(left, *map(to_text, given[:2]))
    result = function(left, *given, **named)
    if isinstance(result, str):
        work.spend(len(result) >> (3 if name in ("join", "json") else 10))
    if isinstance(result, str | list | int | float):
        _check(name, result)
        return result
    return result if isinstance(result, Undefined) else plain(result)


def _left_for(name: str, work: Work, left: Any) -> Any:
    """What a filter works on, in the form in which it can harm nobody."""
    work.spend(2)
    if name in _ON_TEXT and not (name == "slice" and isinstance(left, list | tuple | range)):
        left = _text(work, left)
        work.spend(len(left) >> (12 if name in _COPYING else 7))
    elif name in _ON_SEQUENCES:
        left = _flat(name, left)
        work.spend(len(left) >> 1)
    elif isinstance(left, Undefined):
        left = [] if name == "index" else None
    elif isinstance(left, list | tuple | range):
        work.spend(len(left) >> 6)
    elif isinstance(left, Decimal) and name in _ON_NUMBERS:
        left = float(left)
    _check(name, left)
    return left


def _text(work: Work, value: Any) -> str:
    if isinstance(value, Undefined):
        return ""
    text = to_text(value)
    if not isinstance(value, str):
        work.spend(len(text) >> 3)
    return text


def _argument_for(name: str, work: Work, value: Any) -> Any:
    if isinstance(value, list | tuple) and name == "concat":
        value = [_element(item) for item in value]
        work.spend(len(value) >> 1)
    elif name in _ON_TEXT and type(value) not in (str, int, float):
        value = value if isinstance(value, Undefined) else _text(work, value)
    elif isinstance(value, Decimal) and name in _ON_NUMBERS:
        value = float(value)
    if isinstance(value, str):
        work.spend(len(value) >> 12)
    _check(name, value)
    return value


def _check(name: str, value: Any) -> None:
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise FilterError(f"{name}: a text of more than {MAX_TEXT:,} characters", token=None)
    elif isinstance(value, list | tuple):
        if len(value) > MAX_ITEMS:
            raise FilterError(f"{name}: a list of more than {MAX_ITEMS:,} items", token=None)
    elif isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise FilterError(f"{name}: a number of more than {MAX_DIGITS:,} digits", token=None)


def _flat(name: str, left: Any) -> list[Any] | range:
    """The items of a list, and of the lists in it."""
    if isinstance(left, range):
        return left
    if isinstance(left, Undefined):
        return []
    if not isinstance(left, list | tuple):
        return [_element(left)]
    flat: list[Any] = []
    levels = [iter(left)]
    while levels:
        for item in levels[-1]:
            if isinstance(item, list | tuple):
                levels.append(iter(item))
                break
            flat.append(_element(item))
        else:
            levels.pop()
        if len(flat) > MAX_ITEMS or len(levels) > _MAX_LEVELS:
            raise FilterError(
                f"{name}: a list of more than {MAX_ITEMS:,} items, or nested more than "
                f"{_MAX_LEVELS} deep",
                token=None,
            )
    return flat


def _element(item: Any) -> Any:
    # A defaultdict would be given keys by being asked for them.
    if isinstance(item, Mapping) and type(item) is not dict:
        return dict(item)
    return plain(item)


def _check_replacing(left: str, old: str, new: str = "") -> None:
    count = left.count(old)
    if len(left) + count * (len(new) - len(old)) > MAX_TEXT:
        raise FilterError(f"replace: a text of more than {MAX_TEXT:,} characters", token=None)


def _check_formatting(name: str, left: Any, args: list[Any]) -> None:
    """Formats are texts that say how many digits to write: none may ask for many."""
    for value in (left, *args):
        if isinstance(value, str) and len(value) > _MAX_FORMAT:
            raise FilterError(
                f"{name}: a text of more than {_MAX_FORMAT} characters is no number, date or "
                "format",
                token=None,
            )
    for value in (left, *args):
        number = value
        if isinstance(value, str):
            try:
                number = Decimal(value.replace(",", "").strip())
            except InvalidOperation:
                continue
        if isinstance(number, Decimal) and number.is_finite() and abs(number.adjusted()) > 400:
            raise FilterError(f"{name}: {value} has too many digits", token=None)


def join(left: list[Any], separator: Any = " ") -> str:
    """The items as one text."""
    between = to_text(separator)
    total = 0
    texts = []
    for item in left:
        text = to_text(item)
        total += len(text) + len(between)
        if total > MAX_TEXT + len(between):
            raise FilterError(f"join: a text of more than {MAX_TEXT:,} characters", token=None)
        texts.append(text)
    return between.join(texts)


def as_json(value: Any, indent: Any = None) -> str:
    """A value as JSON; `json: 2` writes it over several lines."""
    if indent is None or isinstance(indent, Undefined):
        return json_text(value)
    if type(indent) is not int or not 0 <= indent <= 8:
        raise FilterError(
            f"json: the indent must be a whole number from 0 to 8, not {to_text(indent):.40}",
            token=None,
        )
    return json_text(value, indent)


def map_items(left: list[Any], key: Any) -> list[Any]:
    """Of each item, what it has under a key; None for one without."""
    found = (item_of(item, key if isinstance(key, int) else to_text(key)) for item in left)
    return [None if value is MISSING else plain(value) for value in found]


def snakecase(text: str) -> str:
    """`HelloWorld 2-go!` as `hello_world_2_go`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", text)
    return re.sub(r"[\W_]+", "_", words).strip("_").lower()


def strip_html(text: str) -> str:
    """The text without tags, comments, scripts and styles."""
    kept: list[str] = []
    lower = text.lower() if len(text.lower()) == len(text) else text
    unclosed: set[str] = set()
    at = 0
    while (start := text.find("<", at)) >= 0:
        kept.append(text[at:start])
        end = ">"
        for opening, closing in _TO_THE_END:
            if lower.startswith(opening, start) and closing not in unclosed:
                end = closing
                break
        found = lower.find(end, start)
        if found < 0 and end != ">":
            # Looked for once: a text of nothing but openings must not cost its square.
            unclosed.add(end)
            found, end = lower.find(">", start), ">"
        if found < 0:
            kept.append(text[start:])
            return "".join(kept)
        at = found + len(end)
    kept.append(text[at:])
    return "".join(kept)


_TO_THE_END = (("<script", "</script>"), ("<style", "</style>"), ("<!--", "-->"))


def date(value: Any, form: Any = None, *, environment: Any) -> Any:
    """A date as a `strftime` format says it."""
    if isinstance(form, Undefined) or form is None:
        return to_text(value)
    form = to_text(form)
    # A width, as in "%1000000000d", is a lot of spaces.
    if re.search(r"%(?![-_^#0]?[A-Za-z%])", form):
        raise FilterError(f"date: {form!r} has a % that is not followed by a letter", token=None)
    if value is None:
        return ""
    return liquid_date(value, form, environment=environment)


def uniq(left: list[Any], key: Any = None) -> list[Any]:
    """The items, or those with different values under a key, each once."""
    seen: set[Any] = set()
    result = []
    for item in left:
        value = item if key is None else item_of(item, key)
        try:
            hash(value)
        except TypeError:  # a list or a mapping: two of the same text are the same
            value = ("as text", json_text(value))
        if value not in seen:
            seen.add(value)
            result.append(item)
    return result


OWN_FILTERS: dict[str, Callable[..., Any]] = {
    "date": with_environment(date),
    "join": join,
    "json": as_json,
    "map": map_items,
    "snakecase": snakecase,
    "strip_html": strip_html,
    "uniq": uniq,
}
"""Instead of python-liquid's of these names, or beside them."""

LEFT_OUT = ("t", "gettext", "ngettext", "pgettext", "npgettext")
"""They call methods of an object that they find among the values."""
