"""A condition's parts as a tree."""

from __future__ import annotations

import difflib
import re
from typing import Final

from ...errors import ConditionError
from .lexing import MAX_LENGTH, Style, Token, tokens
from .tree import (
    FUNCTIONS,
    OPERATORS,
    Call,
    Comparison,
    Constant,
    Name,
    Node,
    Not,
    QuotedReferences,
    Reference,
    Several,
    Template,
)

MAX_DEPTH: Final = 100

_TAG = re.compile(r"\{%-?\s*+(\w*+)(?:[^%]|%(?!\}))*+%\}|\{\{(?:[^}]|\}(?!\}))*+\}\}")
_BLOCKS = frozenset(
    {"if", "unless", "case", "for", "tablerow", "capture", "ifchanged", "with"}
    | {"comment", "raw", "doc"}
)


def parse_tree(text: str, style: Style) -> Node:
    """The tree of a condition. Raises `ConditionError` if it is not one."""
    if not text.strip():
        raise ConditionError(
            "the condition is empty; write what must hold, such as: count > 3", text=text
        )
    if style == "recipe" and text.lstrip().startswith("{%"):
        return _template_alone(text)
    try:
        return _Parser(text, style).condition()
    except RecursionError as error:  # where it is called from is deep already
        raise ConditionError(
            "the condition is nested too deep; write it as several", text=text
        ) from error


def _template_alone(text: str) -> Template:
    """A condition that is one template with tags, such as `{% if a %}true{% endif %}`."""
    stripped = text.strip()
    start = text.index(stripped[0])
    if len(stripped) > MAX_LENGTH:
        raise ConditionError(
            f"a condition of {len(text):,} characters; {MAX_LENGTH:,} is the most", text=text
        )
    depth = at = 0
    for tag in _TAG.finditer(stripped):
        if depth == 0 and stripped[at : tag.start()].strip():
            break
        word = tag.group(1) or ""
        depth += (word in _BLOCKS) - word.startswith("end")
        at = tag.end()
    if at == 0:
        raise ConditionError("'{%' is not closed; write '%}' after it", text=text, column=start + 1)
    if depth <= 0 and stripped[at:].strip():
        raise ConditionError(
            "a template with {% tags %} is a condition of its own; put it in quotes to compare it",
            text=text,
            column=start + at + 1,
        )
    return Template(stripped, False, start)


class _Parser:
    """Goes through the parts once, from left to right."""

    def __init__(self, text: str, style: Style) -> None:
        self.text = text
        self.style = style
        self.tokens = tokens(text, style)
        self.at = 0
        self.depth = 0

    def condition(self) -> Node:
        """The whole."""
        node = self.either()
        if self.token.kind != "end":
            raise self.unexpected("an operator such as == or and")
        return node

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def take(self, *signs: str) -> Token | None:
        """The token here, if it is one of these signs; and go on."""
        token = self.token
        if token.kind != "sign" or token.value not in signs:
            return None
        self.at += 1
        return token

    def need(self, sign: str) -> None:
        if self.take(sign) is None:
            raise self.unexpected(repr(sign))

    def unexpected(self, wanted: str) -> ConditionError:
        token = self.token
        there = "the end" if token.kind == "end" else repr(self.text[token.at : token.end])
        return self.wrong(f"{wanted} is expected, and {there:.60} stands there", token.at)

    def wrong(self, message: str, at: int) -> ConditionError:
        return ConditionError(message, text=self.text, column=at + 1)

    def either(self) -> Node:
        return self.chain("or", "any")

    def chain(self, sign: str, kind: str) -> Node:
        """Parts with one sign between them; a long row is one node, and so not deep."""
        start = self.token.at
        parts = [self.chain("and", "all") if sign == "or" else self.negation()]
        while self.take(sign) is not None:
            parts.append(self.chain("and", "all") if sign == "or" else self.negation())
        return parts[0] if len(parts) == 1 else Several(kind, tuple(parts), start)

    def negation(self) -> Node:
        token = self.take("not")
        if token is None:
            return self.comparison()
        self.deeper(token.at)
        part = self.negation()
        self.depth -= 1
        return Not(part, token.at)

    def deeper(self, at: int) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.wrong(f"the condition is nested more than {MAX_DEPTH} deep", at)

    def comparison(self) -> Node:
        left = self.operand()
        token = self.take(*OPERATORS)
        negated = False
        if token is None and self.take("not") is not None:
            negated = True
            token = self.take("in", "contains")
            if token is None:
                raise self.unexpected("'in' or 'contains' after 'not'")
        if token is None:
            return left
        node: Node = Comparison(str(token.value), left, self.operand(), token.at)
        if self.token.kind == "sign" and self.token.value in OPERATORS:
            raise self.wrong("a comparison has two sides; join two with 'and'", self.token.at)
        return Not(node, token.at) if negated else node

    def operand(self) -> Node:
        token = self.token
        if token.kind == "constant":
            self.at += 1
            return Constant(token.value, token.at)
        if token.kind == "inserted":
            self.at += 1
            return self.inserted(token)
        if token.kind == "quoted":
            self.at += 1
            return self.quoted(token)
        if token.kind == "name":
            self.at += 1
            if self.take("(") is not None:
                return self.call(token)
            assert isinstance(token.value, tuple)
            return Name(token.value, token.at)
        return self.enclosed(token)

    def enclosed(self, token: Token) -> Node:
        """What stands in brackets."""
        if self.take("(") is not None:
            self.deeper(token.at)
            node = self.either()
            self.depth -= 1
            self.need(")")
            return node
        if self.take("[") is not None:
            return Several("list", self.parts("]", token.at), token.at)
        joining = self.take("and", "or")
        if joining is not None and self.take("(") is not None:
            parts = self.parts(")", token.at)
            if not parts:
                raise self.wrong(f"{joining.value}() needs at least one condition", token.at)
            return Several("all" if joining.value == "and" else "any", parts, token.at)
        if joining is not None:
            self.at -= 1
        raise self.unexpected("a value, a name or a condition")

    def parts(self, end: str, at: int) -> tuple[Node, ...]:
        """What stands between commas, up to the end."""
        self.deeper(at)
        parts: list[Node] = []
        while self.take(end) is None:
            if parts:
                if self.take(",") is None:
                    raise self.unexpected(f"',' or {end!r}")
                if self.take(end) is not None:
                    break
            parts.append(self.either())
        self.depth -= 1
        return tuple(parts)

    def call(self, token: Token) -> Node:
        written = self.text[token.at : token.end]
        function = written.lower()
        if function not in FUNCTIONS:
            near = difflib.get_close_matches(function, FUNCTIONS, 1)
            known = f"did you mean {near[0]}?" if near else f"there are {', '.join(FUNCTIONS)}"
            raise self.wrong(f"there is no function {written:.60}; {known}", token.at)
        arguments = self.parts(")", token.at)
        least, most = FUNCTIONS[function]
        if len(arguments) < least or (most is not None and len(arguments) > most):
            count = f"{least}" if most == least else f"at least {least}"
            raise self.wrong(f"{function} takes {count}, and {len(arguments)} are given", token.at)
        return Call(function, arguments, token.at)

    def inserted(self, token: Token) -> Node:
        text = str(token.value)
        if text.startswith("{%"):
            raise self.wrong(
                "a template with {% tags %} is a condition of its own; put it in quotes to "
                "compare it",
                token.at,
            )
        if self.style == "workflow":
            return Reference(text, token.at)
        return Template(text, False, token.at)

    def quoted(self, token: Token) -> Node:
        pieces = token.value
        assert isinstance(pieces, tuple)
        if self.style == "workflow":
            return QuotedReferences(
                tuple(
                    Reference(str(piece.value), piece.at) if isinstance(piece, Token) else piece
                    for piece in pieces
                ),
                token.at,
            )
        text = "".join(str(piece.value) if isinstance(piece, Token) else piece for piece in pieces)
        return Template(text, True, token.at)
