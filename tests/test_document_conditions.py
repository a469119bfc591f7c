"""Conditions in documents: what they mean, what is wrong with them, and what they never run."""

from __future__ import annotations

import os
import pickle
import re
from collections import deque
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from task_pipeline.documents.expressions import Condition, Style, parse
from task_pipeline.documents.templating.templates import MISSING, look_up, render, whole_variable
from task_pipeline.errors import ConditionError, MissingReferenceError, NotAllowedError


class Values:
    """Gives a condition the values of a context, as recipes and workflows do."""

    def __init__(self, values: dict[str, Any], root: Path | None = None) -> None:
        self.values = values
        self.root = root

    def value_of(self, path: tuple[str | int, ...]) -> Any:
        value = look_up(self.values, path)
        return None if value is MISSING else value

    def template(self, text: str) -> Any:
        path = whole_variable(text)
        return render(text, self.values) if path is None else self.value_of(path)

    def reference(self, text: str) -> Any:
        path = whole_variable("{{" + text[2:-1] + "}}")
        value = MISSING if path is None else look_up(self.values, path)
        if value is MISSING:
            raise MissingReferenceError(f"there is no {text}")
        return value

    def file(self, path: str) -> Path:
        if ".." in path:
            raise NotAllowedError(f"{path} is outside")
        return (self.root or Path()) / path


class Unsure:
    """As an array: its comparisons have no one answer."""

    def __eq__(self, other: object) -> Any:
        raise TypeError("secret")

    __hash__ = None  # type: ignore[assignment]  # as for an array

    def __bool__(self) -> bool:
        raise ValueError("secret")


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)
OTHER_CIRCLE: list[Any] = []
OTHER_CIRCLE.append(OTHER_CIRCLE)
LAUGHS: list[Any] = ["ha"]
for _ in range(30):
    LAUGHS = [LAUGHS, LAUGHS]
DEEP: list[Any] = []
ALSO_DEEP: list[Any] = []
for _ in range(5000):
    DEEP, ALSO_DEEP = [DEEP], [ALSO_DEEP]

VALUES: dict[str, Any] = {
    "n": 5,
    "zero": 0,
    "half": 0.5,
    "huge": 10**400,
    "price": Decimal("1.5"),
    "nan": float("nan"),
    "wrong": Decimal("sNaN"),
    "s": "xyz",
    "ten": "10",
    "float": " -1.5e1 ",
    "long": "9" * 5000,
    "f": "false",
    "word": " No ",
    "spelled": "True",
    "empty": "",
    "yes": True,
    "no": False,
    "none": None,
    "list": [1, "a", None, [2], {"k": 1}],
    "queue": deque([1]),
    "set": {1, "a"},
    "map": {"k": 1, 2: [3]},
    "data": {"items": [{"v": 3}], "a-b": {"in": 4}},
    "and-so": 1,
    "in": {"x": 1},
    "day": datetime(2020, 1, 1, tzinfo=UTC),
    "later": datetime(2021, 1, 1, tzinfo=UTC),
    "naive": datetime(2020, 1, 1),  # noqa: DTZ001  # of no comparison with the others
    "unsure": Unsure(),
    "circle": CIRCLE,
    "other_circle": OTHER_CIRCLE,
    "laughs": LAUGHS,
    "deep": DEEP,
    "also_deep": ALSO_DEEP,
    "complex": 1j,
    "mro": "().__class__.__mro__",
    "code": "a or true",
    "quotes": "' == '",
}

TRUE = [
    "n > 3",
    "n >= 5 and n <= 5",
    "n == 5",
    "n = 5",
    "n != 4",
    "3 < n",
    "n==5&&n!=4||no",
    "half < n",
    "huge > 1e308",
    "1e999 > huge",
    "price == 1.5",
    "price < 2",
    "-3 < -2.5",
    ".5 == 0.5",
    "5. == 5",
    "9" * 400 + " > n",
    "not (nan == nan)",
    "nan != nan",
    "s == 'xyz'",
    's == "xyz"',
    "'a' < 'b'",
    "'Z' < 'a'",
    "'ä' > 'z'",
    "s",
    "'it\\'s' == \"it's\"",
    r"'\n\t\r\\\/' == '\u000a\u0009\u000d\u005c/'",
    r"'C:\dir' == 'C:\\dir'",
    "true and True and TRUE",
    "not false and not False",
    "null == None",
    "missing == null",
    "missing.deeper[0].x == null",
    "not missing",
    "!missing",
    "NOT missing AND n = 5",
    "!no && yes",
    "not not yes",
    "and(n > 1, s contains 'y', yes)",
    "or(no, zero, n)",
    "not(zero)",
    "AND(yes)",
    "or(no, and(yes, n == 5))",
    "no or yes and yes",
    "yes or no and no",
    "(no or yes) and yes",
    "not (n > 5 and yes)",
    "s contains 'y'",
    "'y' in s",
    "'q' not in s",
    "s not contains 'q'",
    "ten contains 1",
    "1 in ten",
    "list contains 'a'",
    "'a' in list",
    "null in list",
    "missing in list",
    "[2] in list",
    "'b' not in list",
    "n in [1, 2, 5]",
    "n in [1, 2, 5,]",
    "n not in []",
    "map contains 'k'",
    "2 in map",
    "1 in set",
    "1 in queue",
    "not (missing contains 'a')",
    "'a' not in missing",
    "not (s contains missing)",
    "data contains 'items'",
    "[1, [true, 'a']] == [1, [true, 'a']]",
    "[1] != [true]",
    "[1] != [1, 2]",
    "map == map",
    "map != data",
    "set == set",
    "list != map",
    "len(list) == 5",
    "len(s) > 2 and len(map) == 2 and len([1]) == 1",
    "len(missing) == 0",
    "len('') == 0",
    "LEN(s) == 3",
    "len(set) == 2",
    "data.items[0].v >= 3",
    "data.items.0.v == 3",
    "data['items'][0][\"v\"] == 3",
    "data.a-b.in == 4",
    "and-so == 1",
    "in.x == 1 and In.x == null",
    "list[-2][0] == 2",
    "data.items.size == 1",
    "{{ n }} > 3",
    "{{n}} == 5",
    "{{ n | plus: 1 }} == 6",
    "{{ ten }} > 9",
    "'{{ ten }}' > 9",
    "9 < {{ ten }}",
    "{{ ten }} == 10",
    "10 == '{{ ten }}'",
    "{{ float }} == -15",
    "{{ long }} > huge",
    "{{ ten }} != 11",
    "{{ ten }} == '10'",
    "'{{ s }}' == 'xyz'",
    '"{{ s }}" == s',
    "'{{ s | default: \"a\" }}' == 'xyz'",
    "'{{ s }}-{{ n }}' == 'xyz-5'",
    "'{{ none }}' == ''",
    "{{ missing }} == null",
    "not {{ missing }}",
    "not '{{ missing }}'",
    "not {{ f }}",
    "f",
    "not '{{ f }}'",
    "not {{ word }}",
    "not {{ zero | append: '' }}",
    "{{ s }}",
    "{{ yes }}",
    "{{ yes }} == true",
    "{{ yes | append: '' }} == true",
    "{{ spelled }} == true",
    "{{ f }} == false",
    "{{ list }} contains 'a'",
    "len({{ list }}) == 5",
    "'{{ list }}' contains '[1,'",
    "{{ list }} == list",
    "{{ f }} != true",
    "{{ s }} != 5",
    "{{ s }} != true",
    "{{ missing }} != 5",
    "'a' in '{{ code }}'",
    "{% if yes %}true{% else %}false{% endif %}",
    "not(no)",
    " {%- assign x = n -%}{{ x }}\n",
    "{% raw %}{{ x }}{% endraw %}",
    "{% if no %}{% endif %} {% if yes %}yes{% endif %}",
    "'{% if yes %}true{% endif %}' == 'true'",
    "day < later",
    "day == day",
    "day != later",
    "day != naive",
    "complex == complex",
    "{{ mro }} == '().__class__.__mro__'",
    "{{ code }}",
    "'{{ quotes }}' != 'x'",
    "mro contains '__'",
    "circle == circle",
]

FALSE = [
    "not no == no",
    "n > 5",
    "n == '5'",
    "yes == 1",
    "zero == no",
    "zero == null",
    "'' == null",
    "'true' == true",
    "s == 5",
    "[] == {{ map }}",
    "n == null",
    "1 in [true]",
    "zero",
    "no",
    "none",
    "empty",
    "missing",
    "[]",
    "''",
    "and(yes, no)",
    "or(no, zero)",
    "not(yes)",
    "no and boom.x > 3",
    "not yes or no",
    "'{{ quotes }}' == ''",
    "{{ f }}",
    "'{{ f }}'",
    "{{ word }}",
    "{% if no %}x{% endif %}",
    "{% if no %}true{% else %}false{% endif %}",
    "'{{ s }}' == '{{ n }}'",
    "'x' == ' x'",
    "nan == nan",
    "{{ long }} == {{ missing }}",
    "unsure == 5",
    "1 == unsure",
    "day == 'x'",
    "complex == 1",
    "list == [1]",
    "map == {{ data }}",
    "queue == set",
]


@pytest.mark.parametrize("text", TRUE)
def test_holds(text: str) -> None:
    assert parse(text, style="recipe").evaluate(Values(VALUES)) is True


@pytest.mark.parametrize("text", FALSE)
def test_does_not_hold(text: str) -> None:
    assert parse(text, style="recipe").evaluate(Values(VALUES)) is False


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${s} contains 'y'", True),
        ("'${s}' == 'xyz'", True),
        ("\"${s}\" == 'xyz'", True),
        ("len(${list}) > 0", True),
        ("${data.items[0].v} >= 3 and not ${zero}", True),
        ("${n} == 5 or ${missing}", True),
        ("n > 3 and missing == null", True),
        ("'${ten}' > 9", True),
        ("${ten} == 10", False),
        ("${f}", True),
        ("'${f}'", False),
        ("'${none}' == 'null' and ${none} == null", True),
        ("'${list}' == '[1, \"a\", null, [2], {\"k\": 1}]'", True),
        ("'${yes} ${s}' == 'true xyz'", True),
        ("'{{ n }}' == '{{ n }}'", True),
        ("'{{ n }}' == '5'", False),
        ("'$${s}' contains '{s'", True),
        ("'$5' == '$5'", True),
        ("${map[\"k\"]} == 1 and ${map['k']} == 1", True),
        ("'{' != '}'", True),
    ],
)
def test_conditions_of_workflows(text: str, expected: bool) -> None:
    assert parse(text, style="workflow").evaluate(Values(VALUES)) is expected


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 1, "the condition is empty"),
        ("  \n", 1, "the condition is empty"),
        ("n >", 4, "a value, a name or a condition is expected, and the end stands there"),
        ("n is null", 3, "an operator such as == or and is expected, and 'is' stands there"),
        ("x y", 3, "an operator"),
        ("{{ a }} {{ b }}", 9, "an operator"),
        ("()", 2, "a value"),
        ("(n", 3, "')' is expected, and the end"),
        ("len(list", 9, "',' or ')' is expected, and the end"),
        ("not(n, n)", 6, "')' is expected, and ','"),
        ("[1 2]", 4, "',' or ']' is expected"),
        ("[1", 3, "',' or ']' is expected, and the end"),
        ("n not 3", 7, "'in' or 'contains' after 'not'"),
        ("and n", 1, "a value, a name or a condition is expected, and 'and' stands there"),
        ("n and", 6, "a value"),
        ("or()", 1, "or() needs at least one condition"),
        ("1 < n < 9", 7, "a comparison has two sides; join two with 'and'"),
        ("1 == 1 in [true]", 8, "two sides"),
        ("lne(s)", 1, "there is no function lne; did you mean len?"),
        ("system('x')", 1, "there is no function system; there are len, file_exists"),
        ("len(1, 2)", 1, "len takes 1, and 2 are given"),
        ("yes and file_is_newer('a')", 9, "file_is_newer takes 2, and 1 are given"),
        ("all_files_exist()", 1, "takes at least 1"),
        ("n == 'x", 6, "a text begins with ' and does not end"),
        ("'\\", 1, "does not end"),
        ("n @ 3", 3, "'@' has no meaning here"),
        ("n - 3", 3, "'-' has no meaning"),
        ("3abc", 1, "'3a'... is no number"),
        ("1.2.3", 1, "is no number"),
        ("9" * 4001, 1, "a number of more than 4,000 digits"),
        ("n" * 10_001, 1, "10,000 is the most"),
        ("{% if a %}" + "x" * 10_000 + "{% endif %}", 1, "10,000 is the most"),
        ("n and {{ x", 7, "'{{' is not closed; write '}}'"),
        ("{% if x", 1, "'{%' is not closed; write '%}'"),
        ("n == {% if x %}y{% endif %}", 6, "a template with {% tags %} is a condition of its own"),
        (" {% if x %}y{% endif %} == 'y'", 24, "a condition of its own; put it in quotes"),
        ("{% if x %}y{% endif %} and {{ z }}", 23, "a condition of its own"),
        ("${a}", 1, "a recipe's condition has no ${references}"),
        ("(" * 101 + "n" + ")" * 101, 101, "nested more than 100 deep"),
        ("!" * 101 + "n", 101, "nested more than 100 deep"),
        ("[" * 5000, 101, "nested more than 100 deep"),
        ("and(" * 2000, 401, "nested more than 100 deep"),
    ],
)
def test_says_what_is_wrong_with_a_condition(text: str, column: int, words: str) -> None:
    with pytest.raises(ConditionError, match=re.escape(words)) as caught:
        parse(text, style="recipe")
    assert (caught.value.text, caught.value.column) == (text, column)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("{{ n }} > 1", 1, "a workflow's condition has no {{ templates }}"),
        ("n and ${x", 7, "'${' is not closed; write '}'"),
        ("'${x' == 1", 1, "does not end"),
    ],
)
def test_says_what_is_wrong_with_a_workflows_condition(text: str, column: int, words: str) -> None:
    if text.startswith("'"):
        # Not a reference, as nothing closes it: then it is a text like any other.
        assert parse(text, style="workflow").evaluate(Values(VALUES)) is False
        return
    with pytest.raises(ConditionError, match=re.escape(words)) as caught:
        parse(text, style="workflow")
    assert caught.value.column == column


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("yes and s > 3", 11, "> between a text and a number; both must be numbers, or texts"),
        ("ten > 9", 5, "> between a text and a number"),
        ("'{{ s }}' > 3", 11, "> between a text and a number"),
        ("missing < 3", 9, "< between null and a number"),
        ("yes < 3", 5, "< between true or false and a number"),
        ("map < list", 5, "< between a mapping and a list"),
        ("day < s", 5, "< between a value of type datetime and a text"),
        ("list < list", 6, "< has no meaning for a list"),
        ("map >= map", 5, ">= has no meaning for a mapping"),
        ("yes < no", 5, "< has no meaning for true or false"),
        ("none < none", 6, "< has no meaning for null"),
        ("n contains 3", 3, "a number cannot contain anything"),
        ("'a' in n", 5, "a number cannot contain anything"),
        ("s contains list", 3, "a text cannot contain a list"),
        ("s contains yes", 3, "a text cannot contain true or false"),
        ("len(n) > 1", 1, "len of a number; it needs a text, a list or a mapping"),
        ("len(yes)", 1, "len of true or false"),
        ("unsure", 1, "a value of type Unsure is neither true nor false"),
        ("unsure == unsure", 8, "cannot be compared: TypeError"),
        ("day < naive", 5, "cannot be compared: TypeError"),
        ("complex < complex", 9, "cannot be compared: TypeError"),
        ("wrong == 1", 7, "a number and a number cannot be compared: InvalidOperation"),
        pytest.param(
            "circle == other_circle",
            8,
            "a list and a list cannot be compared: a value would be a text of more than",
            marks=pytest.mark.no_cover,
        ),
        pytest.param(
            "laughs == [laughs]",
            8,
            "cannot be compared: a value would be a text of more than",
            marks=pytest.mark.no_cover,
        ),
        ("[1] in laughs", 5, "cannot be compared: a value would be a text of more than"),
        ("deep == also_deep", 6, "cannot be compared: RecursionError"),
        ("file_exists(3)", 1, "file_exists needs a path in quotes, not a number"),
        ("all_files_exist(list)", 1, "all_files_exist needs a path in quotes, not a number"),
        ("file_is_newer(map, 'b')", 1, "file_is_newer needs a path in quotes, not a mapping"),
        ("file_exists('\\u0000')", 1, "file_exists cannot look at a file: "),
        ("file_exists('" + "a" * 300 + "')", 1, "cannot look at a file: File name too long"),
    ],
)
def test_says_what_is_wrong_with_values(text: str, column: int, words: str) -> None:
    condition = parse(text, style="recipe")
    with pytest.raises(ConditionError, match=re.escape(words)) as caught:
        condition.evaluate(Values(VALUES))
    assert (caught.value.text, caught.value.column) == (text, column)
    assert "secret" not in str(caught.value)


def test_files(tmp_path: Path) -> None:
    values = Values({"old": "old", "both": ["old", "new"], "path": tmp_path / "old"}, tmp_path)
    for at, name in enumerate(("old", "new", "same")):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (min(at, 1), min(at, 1)))

    def holds(text: str) -> bool:
        return parse(text, style="recipe").evaluate(values)

    assert holds("file_exists('old') and file_exists({{ old }}) and file_exists('{{ old }}')")
    assert holds("file_exists(path) and file_exists('.')")
    assert not holds("file_exists('none') or file_exists(missing) or file_exists('{{ missing }}')")
    assert not holds("file_exists('old/below')")
    assert holds("all_files_exist(['old', 'new']) and all_files_exist('old', both)")
    assert holds("all_files_exist(both) and all_files_exist([])")
    assert not holds("all_files_exist(['old', 'none']) or all_files_exist(missing)")
    assert holds("file_is_newer('new', 'old') and file_is_newer('new', 'none')")
    assert not holds("file_is_newer('old', 'new') or file_is_newer('none', 'old')")
    assert not holds("file_is_newer('same', 'new') or file_is_newer('none', 'nowhere')")


def test_what_the_names_raise_is_raised_as_it_is() -> None:
    with pytest.raises(NotAllowedError):
        parse("file_exists('../x')", style="recipe").evaluate(Values({}))
    with pytest.raises(MissingReferenceError):
        parse("${a.b} == 1", style="workflow").evaluate(Values({}))
    with pytest.raises(MissingReferenceError):
        parse("'x${a.b}' == 1", style="workflow").evaluate(Values({}))


def test_what_comes_after_the_decision_is_not_looked_at() -> None:
    for text in (
        "false and ${gone}",
        "not (true or ${gone})",
        "and(0, ${gone})",
        "not or(1, ${gone})",
    ):
        assert parse(text, style="workflow").evaluate(Values({})) is False


def test_references_and_templates_are_found_wherever_they_stand() -> None:
    condition = parse(
        "len(${a.output}) > 0 and not ('${b} and ${c[0]}' in [${d}, 'x']) or and(${a.output}, e)",
        style="workflow",
    )
    assert condition.references() == ["${a.output}", "${b}", "${c[0]}", "${d}", "${a.output}"]
    assert condition.templates() == []
    condition = parse("{{ a }} > 1 and file_exists('x/{{ b }}/{{ c }}') and d", style="recipe")
    assert condition.templates() == ["{{ a }}", "x/{{ b }}/{{ c }}"]
    assert condition.references() == []
    assert parse(" {% if a %}1{% endif %} ", style="recipe").templates() == [
        "{% if a %}1{% endif %}"
    ]


@pytest.mark.parametrize("style", ["recipe", "workflow"])
def test_a_condition_can_be_pickled_and_used_again(style: Style) -> None:
    condition = parse("n > 3 and 'a' in list or not len(s) == 3", style=style)
    again: Condition = pickle.loads(pickle.dumps(condition))
    assert again == condition
    assert [again.evaluate(Values(VALUES)) for _ in range(2)] == [True, True]


def test_a_long_row_is_not_deep() -> None:
    text = " and ".join(["n"] * 1000)
    assert parse(text, style="recipe").evaluate(Values({"n": 1}))
    assert not parse(text.replace("and", "or"), style="recipe").evaluate(Values({}))


def test_being_called_from_deep_down_is_a_condition_error() -> None:
    def below(levels: int) -> None:
        if levels:
            below(levels - 1)
        else:
            parse("(" * 99 + "n" + ")" * 99, style="recipe")

    with pytest.raises(ConditionError, match="nested too deep"):
        below(600)
