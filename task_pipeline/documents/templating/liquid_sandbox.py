"""python-liquid, so that a stranger's template can neither reach anything nor take too much.

A template sees items of mappings and sequences, and texts; no attributes, no files, no other
templates. Every rendering has a budget of work, which everything that it does is counted
against, as a template of a few lines can otherwise run for years.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterator, Mapping
from decimal import InvalidOperation
from functools import lru_cache, partial
from io import StringIO
from typing import Any, TextIO

from liquid import BoundTemplate, Environment, RenderContext, Token
from liquid.ast import Node
from liquid.builtin.expressions import FilteredExpression, TernaryFilteredExpression
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.cycle_tag import CycleNode, CycleTag
from liquid.builtin.tags.echo_tag import EchoTag
from liquid.builtin.tags.for_tag import ForLoop, ForNode, ForTag
from liquid.builtin.tags.tablerow_tag import TableRow, TablerowNode, TablerowTag
from liquid.exceptions import (
    FilterError,
    LiquidError,
    LiquidInterrupt,
    LiquidSyntaxError,
    ResourceLimitError,
)
from liquid.expression import Expression
from liquid.extra import WithTag, add_filters
from liquid.undefined import UNDEFINED, Undefined

from ...errors import TaskPipelineError, TemplateError
from .filters import LEFT_OUT, MAX_ITEMS, OWN_FILTERS, Work, call_filter
from .liquid_source import checked_source
from .template_values import MAX_TEXT, MISSING, item_of, plain, to_text

MAX_ROUNDS = 100_000
_MAX_LOCALS = 20_000_000
_MAX_SETTING = 200
_MAX_CACHED = 10_000
_LOOP_FACTS = ("index", "index0", "rindex", "rindex0", "first", "last", "length")


def render(text: str, values: Mapping[str, Any]) -> str:
    """The rendered text; see `templates.render`."""
    template = _parsed(text) if len(text) <= _MAX_CACHED else _parse(text)
    context = _Context(template, values)
    buffer = context.get_buffer()
    for node in template.nodes:
        try:
            node.render(context, buffer)
        except TemplateError as error:
            raise TemplateError(_in_words(text, str(error), node.token)) from error
        except TaskPipelineError:
            raise
        except LiquidError as error:
            raise _as_template_error(text, error, node.token) from error
        except LiquidInterrupt as error:
            problem = f"{{% {error} %}} stands outside of a loop"
            raise TemplateError(_in_words(text, problem, node.token)) from error
        except InvalidOperation as error:
            problem = "it calculates with what is no number, or has too many digits"
            raise TemplateError(_in_words(text, problem, node.token)) from error
        except Exception as error:
            problem = f"it cannot be rendered: {type(error).__name__}: {error!s:.200}"
            raise TemplateError(_in_words(text, problem, node.token)) from error
    return buffer.getvalue()


def problem(text: str) -> str | None:
    """What is wrong with the text as a template, or None."""
    try:
        _parsed(text)
    except TemplateError as error:
        return str(error)
    return None


@lru_cache(maxsize=512)
def _parsed(text: str) -> BoundTemplate:
    return _parse(text)


def _parse(text: str) -> BoundTemplate:
    environment = _environment()
    try:
        template = environment.from_string(checked_source(text))
        _prepare(template)
    except LiquidError as error:
        raise _as_template_error(text, error, None) from error
    return template


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return _Environment(autoescape=False)


class _Values(Mapping[str, Any]):
    """The user's values, read only: asking a defaultdict for a key would give it one."""

    __slots__ = ("values_of_user",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values_of_user = values

    def __getitem__(self, key: str) -> Any:
        if key in self.values_of_user:
            return self.values_of_user[key]
        raise KeyError(key)

    def __len__(self) -> int:
        return len(self.values_of_user)

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_of_user)


class _Context(RenderContext):
    """One rendering: where names are looked up, and what is counted."""

    __slots__ = ("_sizes", "rounds", "work")

    def __init__(self, template: BoundTemplate, values: Mapping[str, Any]) -> None:
        self.work = Work()
        self.rounds = 0
        self._sizes = 0
        super().__init__(template, globals=_Values(values))

    @property
    def disabled_tags(self) -> list[str]:
        """No tag is disabled; but each node asks, in or out of a loop, and so is counted."""
        self.work.spend(1)
        return []

    @disabled_tags.setter
    def disabled_tags(self, tags: list[str]) -> None:
        """Nothing to keep."""

    def get(self, path: list[object], *, token: Token | None, default: object = UNDEFINED) -> Any:
        """The value at a path, if it can be had without touching an attribute."""
        root = path[0]
        value: Any = MISSING
        if isinstance(root, str):
            try:
                value = self.scope[root]
            except KeyError:
                value = MISSING
            for key in path[1:]:
                if value is MISSING:
                    break
                value = item_of(value, key)
        if value is MISSING:
            return self.env.undefined(str(root), token=token) if default is UNDEFINED else default
        if isinstance(value, ForLoop | TableRow):
            # As a mapping it would count itself on with every look at it.
            return {fact: value[fact] for fact in _LOOP_FACTS}
        value = plain(value)
        if isinstance(value, list | tuple):
            self.work.spend(len(value) >> 5)
        elif isinstance(value, str):
            self.work.spend(len(value) >> 12)
        return value

    def resolve(self, name: str, *, token: Token | None = None, default: object = UNDEFINED) -> Any:
        """A setting of a filter that is found among the values, such as `locale`."""
        value = self.get([name], token=token, default=default)
        if isinstance(value, str) and len(value) > _MAX_SETTING:
            raise FilterError(
                f"{name!r} has more than the {_MAX_SETTING} characters of a setting", token=token
            )
        return value

    def filter(self, name: str, token: Token | None) -> Any:
        """A filter, guarded."""
        return partial(call_filter, self.work, name, super().filter(name, token))

    def assign(self, key: str, val: Any) -> None:
        """Keep a value under a name of the template's own."""
        before = self.locals.get(key)
        self.locals[key] = val
        self._sizes += sys.getsizeof(val, 1) - sys.getsizeof(before, 1)
        if self._sizes > _MAX_LOCALS:
            raise ResourceLimitError("the template keeps too much in names of its own", token=None)

    def raise_for_loop_limit(self, length: int = 1) -> None:
        """Count the rounds of a loop that begins; raises if there are too many in all."""
        self.rounds += length
        if self.rounds > MAX_ROUNDS:
            raise ResourceLimitError(
                f"the template's loops go round more than {MAX_ROUNDS:,} times", token=None
            )

    def get_buffer(self, buf: TextIO | None = None) -> StringIO:
        """Where to write: as much as the buffer has room for that it will be copied to."""
        return _Buffer(self.work, buf.room if isinstance(buf, _Buffer) else MAX_TEXT)


class _Buffer(StringIO):
    def __init__(self, work: Work, room: int) -> None:
        super().__init__()
        self.work = work
        self.room = room

    def write(self, text: str) -> int:
        self.room -= len(text)
        if self.room < 0:
            raise ResourceLimitError(
                f"the rendered text is longer than {MAX_TEXT:,} characters", token=None
            )
        self.work.spend(len(text) >> 10)
        return super().write(text)


def _written(value: Any) -> str:
    return "" if isinstance(value, Undefined) else to_text(value)


class _OutputNode(OutputNode):
    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        value = self.expression.evaluate(context)
        text = _written(value)
        if not isinstance(value, str):
            context.work.spend(len(text) >> 3)  # type: ignore[attr-defined]  # it is a _Context
        return buffer.write(text)


class _Output(Output):
    node_class = _OutputNode


class _Echo(EchoTag):
    node_class = _OutputNode  # type: ignore[assignment]  # it only lacks the tag's __str__


class _CycleNode(CycleNode):
    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        texts = [_written(argument.evaluate(context)) for argument in self.args]
        group = _written(self.group.evaluate(context)) if self.group else "\n".join(texts)
        if len(group) > _MAX_SETTING:
            raise FilterError(
                f"a cycle's texts have more than {_MAX_SETTING} characters", token=None
            )
        index = context.cycle(group, len(texts))
        return buffer.write(texts[index]) if index < len(texts) else 0


class _Cycle(CycleTag):
    node_class = _CycleNode


def _count_items(expression: Any, context: RenderContext) -> None:
    # With an offset, all that stands before it is walked over too.
    items = expression.iterable.evaluate(context)
    if isinstance(items, list | tuple | range | Mapping):
        context.work.spend(len(items) >> 4)  # type: ignore[attr-defined]  # it is a _Context


class _ForNode(ForNode):
    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        _count_items(self.expression, context)
        return super().render_to_output(context, buffer)


class _For(ForTag):
    node_class = _ForNode


class _TablerowNode(TablerowNode):
    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        _count_items(self.expression, context)
        return super().render_to_output(context, buffer)


class _Tablerow(TablerowTag):
    node_class = _TablerowNode


class _Range(RangeLiteral):
    """`(1..n)`, of which there must not be too many numbers."""

    __slots__ = ()

    def evaluate(self, context: RenderContext) -> range:
        numbers = super().evaluate(context)
        size = numbers.stop - numbers.start
        if size > MAX_ITEMS:
            raise ResourceLimitError(
                f"a range of {size:.3g} numbers: {MAX_ITEMS:,} is the most", token=self.token
            )
        context.work.spend(size >> 3)  # type: ignore[attr-defined]  # it is a _Context
        return numbers


class _Environment(Environment):
    """Liquid with its extra filters, without what reads files or calls methods."""

    ternary_expressions = True
    logical_parentheses = True
    shorthand_indexes = True

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        """Register what a template may use."""
        super().setup_tags_and_filters(extra=False)
        add_filters(self)
        for tag in (_Output, _Echo, _Cycle, _For, _Tablerow, WithTag):
            self.add_tag(tag)
        for name in ("include", "render"):
            del self.tags[name]
        for name in LEFT_OUT:
            del self.filters[name]
        self.filters.update(OWN_FILTERS)


def _prepare(template: BoundTemplate) -> None:
    """Bound the ranges of a parsed template, and see that its filters exist."""
    context = _Context(template, {})
    nodes: list[Node] = list(template.nodes)
    while nodes:
        node = nodes.pop()
        nodes.extend(node.children(context))
        expressions: list[Expression] = list(node.expressions())
        while expressions:
            expression = expressions.pop()
            if type(expression) is RangeLiteral:
                # python-liquid's parser makes them, and cannot be told of another class.
                expression.__class__ = _Range
            _check_filters(expression)
            expressions.extend(expression.children())


def _check_filters(expression: Expression) -> None:
    filters: list[Any] = []
    if isinstance(expression, TernaryFilteredExpression):
        filters += expression.left.filters or []
        filters += expression.tail_filters or []
    if isinstance(expression, FilteredExpression | TernaryFilteredExpression):
        filters += expression.filters or []
    known = _environment().filters
    for used in filters:
        if used.name not in known:
            near = difflib.get_close_matches(used.name, known, 1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise LiquidSyntaxError(f"there is no filter {used.name!r}{meant}", token=used.token)


def _as_template_error(text: str, error: LiquidError, near: Token | None) -> TemplateError:
    message = str(error.message)
    if error.__cause__ is not None and message == "unexpected liquid parsing error":
        message = f"it cannot be parsed: {error.__cause__!r:.200}"
    unknown = re.fullmatch(r"unexpected tag '(\w+)'", message)
    if unknown is not None and not unknown.group(1).startswith("end"):
        message = f"there is no tag {unknown.group(1)!r} in templates of documents"
    ending = re.match(r"expected tag '?(end\w+)", message)
    if ending is not None:
        message = f"{{% {ending.group(1)} %}} is missing"
    return TemplateError(_in_words(text, message, error.token or near))


def _in_words(text: str, problem: str, token: Token | None) -> str:
    """What is wrong, and where, as far as that is known."""
    if token is None or token.start_index < 0:
        return problem
    if "\n" in token.source:
        line = token.source.count("\n", 0, token.start_index) + 1
        return f"line {line}: {problem}"
    around = text if len(text) <= 60 else f"{text[:57]}..."
    return f"{problem}, in {around!r}"
