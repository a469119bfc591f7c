"""Properties of conditions: they mean what they say, and values never change what they are."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from task_pipeline.documents.expressions import Style, parse
from task_pipeline.documents.templating.templates import MISSING, look_up, render, whole_variable
from task_pipeline.errors import ConditionError, TemplateError


@dataclass
class Names:
    """Gives values, and never fails."""

    values: dict[str, Any]

    def value_of(self, path: tuple[str | int, ...]) -> Any:
        value = look_up(self.values, path)
        return None if value is MISSING else value

    def template(self, text: str) -> Any:
        path = whole_variable(text)
        if path is not None:
            return self.value_of(path)
        try:
            return render(text, self.values)
        except TemplateError:
            return ""

    def reference(self, text: str) -> Any:
        path = whole_variable("{{" + text[2:-1] + "}}")
        return None if path is None else self.value_of(path)

    def file(self, path: str) -> Path:
        return Path("/nowhere") / path.strip("/")


VALUES: dict[str, Any] = {
    "a": 3,
    "b": "text",
    "c": [1, "x"],
    "d": {"e": None, "f": True},
    "g": -1.5,
}


# A condition is drawn as its text together with what it means, which nothing here parses.


@dataclass
class Drawn:
    """A text, and the value that it stands for."""

    text: str
    value: Any


def literal(value: Any) -> Drawn:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
        return Drawn(f"'{escaped}'", value)
    return Drawn(repr(value), value)


TEXTS = st.text(alphabet=st.characters(exclude_characters="{$"), max_size=5)
NUMBERS = st.one_of(
    st.integers(-100, 10**30).map(literal),
    st.floats(allow_nan=False, allow_infinity=False).map(literal),
    st.sampled_from([Drawn("a", 3), Drawn("g", -1.5), Drawn("{{ a }}", 3), Drawn("len(c)", 2)]),
    TEXTS.map(lambda text: Drawn(f"len({literal(text).text})", len(text))),
)
WORDS = st.one_of(
    TEXTS.map(literal),
    st.sampled_from([Drawn("b", "text"), Drawn("c[1]", "x"), Drawn('"text"', "text")]),
)
TRUTHS = st.sampled_from(
    [Drawn("true", True), Drawn("False", False), Drawn("d.f", True), Drawn("{{ d.f }}", True)]
)
NULLS = st.sampled_from([Drawn("null", None), Drawn("none_such", None), Drawn("d['e']", None)])
LISTS = st.lists(NUMBERS | WORDS | NULLS, max_size=3).map(
    lambda items: Drawn(f"[{', '.join(i.text for i in items)}]", [i.value for i in items])
)
OPERANDS = NUMBERS | WORDS | TRUTHS | NULLS | LISTS

SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
}


def compared(left: Drawn, sign: str, right: Drawn) -> Drawn:
    return Drawn(f"{left.text} {sign} {right.text}", SIGNS[sign](left.value, right.value))


def kind(value: Any) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__


def alike(left: Drawn, sign: str, right: Drawn) -> Drawn:
    """Equality of any two: values of different kinds are different."""
    same = kind(left.value) == kind(right.value) and left.value == right.value
    return Drawn(f"{left.text} {sign} {right.text}", same == (sign == "=="))


COMPARISONS = st.one_of(
    st.builds(compared, NUMBERS, st.sampled_from(sorted(SIGNS)), NUMBERS),
    st.builds(compared, WORDS, st.sampled_from(sorted(SIGNS)), WORDS),
    st.builds(alike, OPERANDS, st.sampled_from(["==", "!="]), OPERANDS),
    st.builds(
        lambda word, sign, whole: Drawn(
            f"{word.text} {sign} {whole.text}", (word.value in whole.value) == (sign == "in")
        ),
        WORDS,
        st.sampled_from(["in", "not in"]),
        WORDS
        | st.lists(WORDS, max_size=3).map(
            lambda items: Drawn(f"[{','.join(i.text for i in items)}]", [i.value for i in items])
        ),
    ),
    st.builds(
        lambda whole, word: Drawn(f"{whole.text} Contains {word.text}", word.value in whole.value),
        WORDS,
        WORDS,
    ),
)


def joined(parts: list[Drawn], word: str, function: bool) -> Drawn:
    value = (all if word in ("and", "&&", "AND") else any)(part.value for part in parts)
    if function:
        return Drawn(
            f"{'and' if word in ('and', '&&', 'AND') else 'or'}"
            f"({', '.join(part.text for part in parts)})",
            value,
        )
    # In brackets, so that this says nothing of which binds closer.
    return Drawn(f"({f' {word} '.join(f'({part.text})' for part in parts)})", value)


CONDITIONS = st.recursive(
    COMPARISONS | OPERANDS,
    lambda inner: st.one_of(
        st.builds(lambda part: Drawn(f"not ({part.text})", not part.value), inner),
        st.builds(lambda part: Drawn(f"!({part.text})", not part.value), inner),
        st.builds(
            joined,
            st.lists(inner, min_size=1, max_size=3),
            st.sampled_from(["and", "or", "&&", "||", "AND", "Or"]),
            st.booleans(),
        ),
    ),
    max_leaves=8,
)  # fmt: skip


@given(CONDITIONS)
def test_a_condition_means_what_it_was_drawn_to_mean(drawn: Drawn) -> None:
    condition = parse(drawn.text, style="recipe")
    assert condition.evaluate(Names(VALUES)) is bool(drawn.value)


@given(st.lists(st.booleans(), min_size=2, max_size=8), st.data())
def test_and_binds_closer_than_or_and_not_closer_than_both(
    values: list[bool], data: st.DataObject
) -> None:
    words = [data.draw(st.sampled_from(["and", "or"])) for _ in values[1:]]
    nots = [data.draw(st.booleans()) for _ in values]
    text = "".join(
        f"{'not ' if no else ''}{str(value).lower()} {word} "
        for value, no, word in zip(values, nots, [*words, ""], strict=True)
    )
    either = [True]
    for value, no, word in zip(values, nots, ["and", *words], strict=True):
        if word == "or":
            either.append(True)
        either[-1] = either[-1] and value != no
    assert parse(text, style="recipe").evaluate(Names({})) is any(either)


# fmt: off
PIECES = [
    "a", "b.c", "d['e']", " ", "and", "or", "not", "in", "contains", "(", ")", "[", "]", ",", "==",
    "=", "<", ">=", "!", "!=", "&&", "||", "'", '"', "\\", "{{", "}}", "{%", "%}", "if", "endif",
    "${", "}", "$${", "1", "-1.5", "1e9", "true", "null", "len(", "file_exists(",
    "all_files_exist(", "file_is_newer(", "|", "upcase", "-", ".", "\n", "\x00", "é", "\ud800",
]
# fmt: on


@given(
    st.lists(st.sampled_from(PIECES), max_size=15).map("".join)
    | st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join)
    | st.text(),
    st.sampled_from(["recipe", "workflow"]),
)
@example("{{", "recipe")
@example("'${'", "workflow")
@example("{%%}", "recipe")
@example("{%raw%}{{{%endraw%}", "recipe")
def test_any_text_is_a_condition_or_a_condition_error(text: str, style: Style) -> None:
    wrong: ConditionError | None = None
    try:
        condition = parse(text, style=style)
        assert isinstance(condition.evaluate(Names(VALUES)), bool)
        assert all(found in text for found in condition.references())
    except ConditionError as error:
        wrong = error
    if wrong is not None:
        assert wrong.text == text
        assert 1 <= wrong.column <= len(text) + 1


HOSTILE = st.one_of(
    st.sampled_from(
        [
            "().__class__.__mro__",
            "a or true",
            "' == '",
            "' or '1' == '1",
            "') or true or ('",
            "{{ a }}",
            "${a}",
            "{% if true %}x{% endif %}",
            "\\' or true",
            "__import__('os').system('x')",
            "file_exists('/')",
        ]
    ),
    st.text(),
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
)


@given(HOSTILE, HOSTILE)
def test_values_are_never_read_as_conditions(value: str, other: str) -> None:
    names = Names({"v": value, "w": other})
    expected = value == other

    def holds(text: str, style: Style = "recipe") -> bool:
        return parse(text, style=style).evaluate(names)

    assert holds("v == w") is expected
    assert holds("{{ v }} == {{ w }}") is expected
    assert holds("'{{ v }}' == '{{ w }}'") is expected
    assert holds("'{{ v }}' == w and true") is expected
    assert holds("not ('{{ v }}!' == '{{ w }}!')") is not expected
    assert holds("v in [w]") is expected
    assert holds("v contains w") is (other in value)
    assert holds("len('{{ v }}') == len(v)")
    assert holds("${v} == ${w}", "workflow") is expected
    assert holds("'${v}' == '${w}'", "workflow") is expected
    assert holds("false and '{{ v }}' == ''") is False
    assert holds("true or {{ v }}") is True
