"""Mistakes in documents: what is said of each, where, in which order, and how many."""

import copy
import enum
import json
import pickle
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from task_pipeline import PipelineDefinitionError
from task_pipeline.documents.mistakes.problem_words import one_line
from task_pipeline.documents.mistakes.problems import (
    DocumentProblem,
    Problems,
    did_you_mean,
    from_pydantic,
    nearest,
    path_text,
    shown,
)
from task_pipeline.documents.mistakes.pydantic_words import must_be
from task_pipeline.documents.reading.source import Source, read_source
from task_pipeline.errors import DocumentError


def told(problems: Problems) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        problems.raise_if_any()
    return list(caught.value.problems)


# One problem


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ({}, "unknown key"),
        ({"hint": "did you mean 'a'?"}, "unknown key; did you mean 'a'?"),
        ({"path": "steps[0]"}, "steps[0]: unknown key"),
        ({"file": "r.json"}, "r.json: unknown key"),
        ({"file": "r.json", "line": 3, "column": 7, "path": "a.b"}, "r.json:3:7: a.b: unknown key"),
    ],
)
def test_a_problem_says_what_is_known_of_it(known: dict[str, Any], text: str) -> None:
    problem = DocumentProblem("unknown key", **known)
    assert problem == text
    facts = {name: getattr(problem, name) for name in ("hint", "path", "file", "line", "column")}
    assert facts == {"hint": "", "path": "", "file": None, "line": None, "column": None} | known
    assert problem.found == "unknown key"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_problem_survives_pickle(protocol: int) -> None:
    problem = DocumentProblem("found\n", "hint", path="a", file="f", line=1, column=2)
    again = pickle.loads(pickle.dumps(problem, protocol))
    assert type(again) is DocumentProblem and again == problem
    assert (again.found, again.hint, again.path) == ("found\\n", "hint", "a")
    assert (again.file, again.line, again.column) == ("f", 1, 2)


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
def test_a_problem_survives_copy(make: Callable[[Any], Any]) -> None:
    problem = DocumentProblem("found", "hint", path="a", file="f", line=1, column=2)
    again = make(problem)
    assert type(again) is DocumentProblem and again == problem and again.line == 1


def test_a_problem_stands_on_one_line_of_printable_characters() -> None:
    problem = DocumentProblem("a\nb\x1b[2J\u202e\ud800", "c\r", file="x\ty", path="a")
    assert problem == r"x\ty: a: a\nb\x1b[2J\u202e\ud800; c\r"
    assert problem.isprintable() and problem.encode()
    assert DocumentProblem("Größe 😀") == "Größe 😀"


def test_a_long_text_is_shortened() -> None:
    problem = DocumentProblem("x" * 10_000_000)
    assert len(problem) == 500 and problem.endswith("x...")
    assert one_line("a" * 9, 9) == "a" * 9
    assert one_line("a" * 10, 9) == "a" * 6 + "..."


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("steps", 2, "substeps", 0, "recipe_path"), "steps[2].substeps[0].recipe_path"),
        (("steps", "a b"), 'steps["a b"]'),
        (("step-a",), '["step-a"]'),
        ((0, "a"), "[0].a"),
        (("", 'say "hi"\\\n'), r'[""]["say \"hi\"\\\n"]'),
        (("größe",), "größe"),
        (("x" * 100,), "x" * 57 + "..."),
    ],
)
def test_a_path_is_written_as_one_writes_it(path: tuple[str | int, ...], text: str) -> None:
    assert path_text(path) == text


def test_of_a_long_path_both_ends_are_shown() -> None:
    text = path_text(("steps", *range(1_000), "last"))
    assert len(text) < 210
    assert text.startswith("steps[0][1]") and text.endswith("[999].last") and "..." in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (1.5, "1.5"),
        ("x", "the text 'x'"),
        ("a\nb", r"the text 'a\nb'"),
        ("x" * 61, f"the text '{'x' * 57}...'"),
        pytest.param(10**10_000, "a number of very many digits", id="huge"),
        ([], "an empty list"),
        ([1], "a list"),
        ({}, "an empty object"),
        ({"a": 1}, "an object"),
        (b"", "a value of type bytes"),
    ],
)
def test_values_are_shown_in_words(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("promt", "prompt"),
        ("PROMPT", "prompt"),
        ("output-key", "output_key"),
        ("zzz", None),
        ("", None),
        ("p" * 1_000, None),
    ],
)
def test_the_nearest_name_is_found(word: str, near: str | None) -> None:
    known = ["prompt", "model", "output_key"]
    assert nearest(word, known) == near
    assert nearest(word, []) is None


def test_a_hint_about_a_name_gives_the_nearest_or_the_few_there_are() -> None:
    assert did_you_mean("promt", ["prompt", "model"]) == "did you mean 'prompt'?"
    assert did_you_mean("zzz", ["prompt", "model"]) == "known are 'prompt' and 'model'"
    assert did_you_mean("zzz", ["prompt"]) == "known are 'prompt'"
    assert did_you_mean("zzz", [f"name{number}" for number in range(20)]) == ""
    assert did_you_mean("zzz", []) == ""


# Several


def test_problems_come_in_the_order_of_file_line_and_column() -> None:
    first = read_source('{"a": 1,\n "b": {"c": 2}}')
    second = Source({"x": 1}, "second.json", None, first.folder, '{"x": 1}', "json")
    problems = Problems()
    assert not problems
    problems.raise_if_any()
    problems.add(second, ("x",), "of the second file")
    problems.add(first, ("b", "c"), "third")
    problems.add(first, ("b",), "second", of_key=True)
    problems.add(first, ("a",), "first")
    assert problems and len(problems) == 4
    assert told(problems) == [
        "second.json:1:7: x: of the second file",
        "<text>:1:7: a: first",
        "<text>:2:2: b: second",
        "<text>:2:13: b.c: third",
    ]


def test_a_problem_of_something_that_is_not_there_is_placed_at_what_is_around_it() -> None:
    source = read_source('{"a": {"b": [1]}}')
    problems = Problems()
    problems.add(source, ("a", "b", 5, "x"), "no such thing", of_key=True)
    assert told(problems) == ["<text>:1:13: a.b[5].x: no such thing"]


def test_duplicates_are_dropped() -> None:
    source, again = (read_source('{"a": 1}') for _ in range(2))
    problems = Problems()
    for one in (source, source, again):
        problems.add(one, ("a",), "twice", lambda: "hint")
    assert told(problems) == ["<text>:1:7: a: twice; hint"]


def test_of_dicts_nothing_but_the_path_is_known() -> None:
    problems = Problems()
    problems.add(read_source({"b": 1}), ("b",), "second")
    problems.add(read_source({"a": 1}), ("a",), "first")
    assert told(problems) == ["b: second", "a: first"]


def test_of_very_many_problems_the_first_are_shown_and_the_rest_counted() -> None:
    source = read_source(json.dumps(list(range(1_000))))
    asked: list[int] = []

    def hint(number: int) -> str:
        asked.append(number)
        return f"hint {number}"

    problems = Problems()
    for number in reversed(range(1_000)):
        problems.add(source, (number,), f"wrong {number}", partial(hint, number))
    with pytest.raises(PipelineDefinitionError) as caught:
        problems.raise_if_any()
    error = caught.value
    assert len(error.problems) == 200 and error.more == 800
    assert error.problems[199] == "<text>:1:887: [199]: wrong 199; hint 199"
    assert asked == list(range(200)), "hints are found for what is shown, and for nothing else"
    assert str(error).startswith("1000 mistakes in the document:")
    assert str(error).endswith("\n  and 800 more")


def test_the_mistakes_of_a_file_that_cannot_be_read_are_taken_over() -> None:
    problems = Problems()
    problems.add(read_source("a: 1\nb: 2"), ("b",), "before")
    with pytest.raises(DocumentError) as caught:
        read_source('{"a": [1, 2,]}')
    caught.value.more = 3
    problems.take(caught.value)
    problems.take(DocumentError(["said in other words"]))
    with pytest.raises(DocumentError) as all_of_them:
        problems.raise_if_any()
    assert list(all_of_them.value.problems) == [
        "<text>:1:13: a[2]: a value is expected here, not `]`; there is a comma too many before it",
        "<text>:2:4: b: before",
        "said in other words",
    ]
    assert all_of_them.value.more == 3


# What pydantic found


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: Literal["cat"]
    lives: int = Field(ge=1)


class Dog(BaseModel):
    type: Literal["dog"]
    name: str


def not_seven(value: int) -> int:
    if value == 7:
        raise ValueError("seven is\ntaken")
    if value == 8:
        raise AssertionError("eight is too")
    return value


class Everything(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    whole: int = 0
    number: float = Field(default=1, gt=0, lt=100, allow_inf_nan=False)
    even: int = Field(default=0, multiple_of=2, le=10)
    truth: bool = True
    word: str = Field(default="x", min_length=1, max_length=3)
    shape: str = Field(default="x", pattern="^x")
    numbers: list[int] = Field(default=[1, 2], min_length=2, max_length=3)
    pair: tuple[int, str] = (1, "")
    one_of: Literal["left", "right", "middle"] = "left"
    colour: Colour = Colour.RED
    nothing: None = None
    either: int | Literal["all"] = 0
    any_number: int | float | None = None
    ways: list[int] | dict[str, int] | None = None
    limited: Annotated[int, Field(ge=1)] | Annotated[str, Field(min_length=2)] = 1
    pet: Annotated[Cat | Dog, Field(discriminator="type")] | None = None
    animal: Cat | Dog | None = None
    pets: dict[str, Cat] = {}
    words: dict[Annotated[str, Field(pattern="^[a-z]+$")], int] = {}
    renamed: int = Field(default=0, alias="called")
    choices: int = Field(default=0, validation_alias=AliasChoices("then", "then_step"))
    checked: Annotated[int, AfterValidator(not_seven)] = 0
    nested: "Everything | None" = None
    stretched: Annotated[list[int], BeforeValidator(lambda value: value)] = []

    @field_validator("renamed")
    @classmethod
    def small(cls, value: int) -> int:
        if value > 5:
            raise ValueError
        return value

    @model_validator(mode="after")
    def agree(self) -> "Everything":
        if self.whole == 13:
            raise ValueError("whole must not be 13 here")
        return self


def wrong(
    given: Any,
    skip: Callable[[Any], bool] | None = None,
    model: type[BaseModel] = Everything,
) -> list[str]:
    source = read_source(json.dumps({"steps": [given]}))
    problems = Problems()
    with pytest.raises(ValidationError) as caught:
        model.model_validate(given)
    from_pydantic(caught.value, source, ("steps", 0), problems, model, given, skip)
    found = []
    for problem in told(problems) if problems else ():
        assert isinstance(problem, DocumentProblem)
        path = problem.path.removeprefix("steps[0]").removeprefix(".")
        found.append(f"{path}: {problem.found}" + (f"; {problem.hint}" if problem.hint else ""))
    return found


@pytest.mark.parametrize(
    ("wants", "value", "hint"),
    [
        (["a text"], True, "write it in quotes"),
        (["a text"], None, ""),
        (["a text", "a list"], 5, ""),
        (["a whole number"], " 5 ", "write 5 without quotes"),
        (["a whole number"], "5.5", ""),
        (["a whole number", "a number", "null"], "-5.5", "write -5.5 without quotes"),
        (["true or false"], "false", "write false without quotes"),
        (["true or false"], "5", ""),
    ],
)
def test_what_is_in_quotes_or_should_be_is_told(wants: list[str], value: Any, hint: str) -> None:
    assert must_be(wants, value)[1] == hint


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"whole": "x"}, "whole: must be a whole number, not the text 'x'"),
        ({"whole": 1.5}, "whole: must be a whole number, not 1.5"),
        ({"whole": None}, "whole: must be a whole number, not null"),
        ({"number": {}}, "number: must be a number, not an empty object"),
        ({"number": 0}, "number: must be more than 0, not 0"),
        ({"number": 100.5}, "number: must be less than 100, not 100.5"),
        ({"even": 3}, "even: must be a multiple of 2, not 3"),
        ({"even": 12}, "even: must be 10 or less, not 12"),
        ({"truth": "maybe"}, "truth: must be true or false, not the text 'maybe'"),
        ({"word": 5}, "word: must be a text, not 5; write it in quotes"),
        ({"word": ""}, "word: must not be empty"),
        ({"word": "long"}, "word: must have at most 3 characters, not 4"),
        ({"shape": "y"}, "shape: must match the pattern ^x, not the text 'y'"),
        ({"numbers": [1]}, "numbers: must have at least 2 items, not 1"),
        ({"numbers": [1, 2, 3, 4]}, "numbers: must have at most 3 items, not 4"),
        ({"numbers": {"a": 1}}, "numbers: must be a list, not an object"),
        ({"numbers": [1, "x"]}, "numbers[1]: must be a whole number, not the text 'x'"),
        ({"pair": [1]}, "pair: item 2 is missing"),
        (
            {"one_of": "lft"},
            ("one_of: must be one of 'left', 'right' or 'middle', not the text 'lft'; "
            "did you mean 'left'?"),
        ),
        ({"colour": "green"}, "colour: must be one of 'red' or 'blue', not the text 'green'"),
        ({"nothing": 1}, "nothing: must be null, not 1"),
        ({"either": "x"}, "either: must be a whole number or 'all', not the text 'x'"),
        ({"either": "al"}, ("either: must be a whole number or 'all', not the text 'al'; "
         "did you mean 'all'?")),
        ({"any_number": "x"}, "any_number: must be a number, not the text 'x'"),
        ({"ways": 1}, "ways: must be a list or an object, not 1"),
        ({"ways": [1, "x"]}, "ways[1]: must be a whole number, not the text 'x'"),
        ({"ways": {"a": "x"}}, "ways.a: must be a whole number, not the text 'x'"),
        ({"limited": 0}, "limited: must be 1 or more, not 0"),
        ({"limited": "x"}, "limited: must have at least 2 characters, not 1"),
        ({"limited": []}, "limited: must be a whole number or a text, not an empty list"),
        ({"pet": {"type": "cat"}}, "pet: `lives` is missing"),
        ({"pet": {"type": "cat", "lives": 0}}, "pet.lives: must be 1 or more, not 0"),
        ({"pet": {"type": "kat"}}, "pet.type: 'kat' is not known here; did you mean 'cat'?"),
        ({"pet": {"type": "zzz"}}, "pet.type: 'zzz' is not known here; known are 'cat' and 'dog'"),
        ({"pet": {"lives": 3}}, "pet: `type` is missing"),
        ({"pet": 5}, "pet: must be an object, not 5"),
        (
            {"pet": {"type": "cat", "lives": 1, "live": 1}},
            "pet.live: unknown key; did you mean 'lives'?",
        ),
        ({"animal": {"type": "dog"}}, "animal: `name` is missing"),
        ({"animal": 5}, "animal: must be an object, not 5"),
        ({"pets": {"cat": {"type": "cat"}}}, "pets.cat: `lives` is missing"),
        ({"pets": {"int": {"type": "cat", "lives": "x"}}},
         "pets.int.lives: must be a whole number, not the text 'x'"),
        ({"words": {"A": 1}}, "words.A: must match the pattern ^[a-z]+$, not the text 'A'"),
        ({"called": "x"}, "called: must be a whole number, not the text 'x'"),
        ({"renamed": "x"}, "renamed: must be a whole number, not the text 'x'"),
        ({"renamed": 9}, "renamed: cannot be used"),
        ({"then_step": "x"}, "then_step: must be a whole number, not the text 'x'"),
        ({"then_stop": 1}, "then_stop: unknown key; did you mean 'then_step'?"),
        ({"checked": 7}, r"checked: seven is\ntaken"),
        ({"checked": 8}, "checked: eight is too"),
        ({"whole": 13}, ": whole must not be 13 here"),
        (
            {"nested": {"nested": {"wole": 1}}},
            "nested.nested.wole: unknown key; did you mean 'whole'?",
        ),
        ({"nested": {"nested": {"ways": 1}}},
         "nested.nested.ways: must be a list or an object, not 1"),
    ],
)  # fmt: skip
def test_an_error_of_pydantic_is_said_in_our_words(given: Any, found: str) -> None:
    assert wrong(given) == [found]


def test_every_error_is_told() -> None:
    given = {"whole": "x", "zzz": 1, "numbers": ["a", "b"], "pet": {"type": "cat", "x": 1}}
    assert wrong(given) == [
        "whole: must be a whole number, not the text 'x'",
        "zzz: unknown key",
        "numbers[0]: must be a whole number, not the text 'a'",
        "numbers[1]: must be a whole number, not the text 'b'",
        "pet: `lives` is missing",
        "pet.x: unknown key; known are 'type' and 'lives'",
    ]


def is_template(value: Any) -> bool:
    return isinstance(value, str) and "{{" in value


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"whole": "{{ x }}"}, []),
        ({"either": "{{ x }}"}, []),
        ({"ways": "{{ x }}"}, []),
        ({"ways": [1, "{{ x }}"]}, []),
        ({"animal": {"type": "cat", "lives": "{{ x }}"}}, []),
        ({"whole": "{{ x }}", "even": 3}, ["even: must be a multiple of 2, not 3"]),
        ({"zzz": "{{ x }}"}, ["zzz: unknown key"]),
        ({"pet": {"type": "cat", "live": "{{ x }}"}},
         ["pet: `lives` is missing", "pet.live: unknown key; did you mean 'lives'?"]),
    ],
)  # fmt: skip
def test_what_is_to_be_left_out_is(given: Any, found: list[str]) -> None:
    assert wrong(given, is_template) == found


class Flat(BaseModel):
    model_config = ConfigDict(extra="forbid")

    class Inner(BaseModel):
        count: int = 1
        total: int = 1

    inner: Inner

    @model_validator(mode="before")
    @classmethod
    def lift(cls, given: Any) -> Any:
        inner = {key: given[key] for key in ("count",) if key in given}
        return {"inner": {**inner, "total": "from elsewhere"}}


def test_a_value_that_a_validator_has_moved_is_found_where_it_was_written() -> None:
    assert wrong({"count": "x"}, model=Flat) == [
        ": must be a whole number, not the text 'from elsewhere'",
        "count: must be a whole number, not the text 'x'",
    ]


class Tagged(BaseModel):
    # The names of the types of the union are keys of the document as well.
    value: dict[str, int] | int
    other: "list[Tagged] | str | None" = None


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"value": {"int": "x"}}, ["value.int: must be a whole number, not the text 'x'"]),
        ({"value": 1, "other": [{"value": 1, "other": 3}]},
         ["other[0].other: must be a list or a text, not 3"]),
    ],
)  # fmt: skip
def test_a_key_that_is_called_as_a_type_is_not_taken_for_one(given: Any, found: Any) -> None:
    assert wrong(given, model=Tagged) == found


def never(value: int) -> int:
    raise PydanticCustomError("of_our_own", "The value is {kind}", {"kind": "odd"})


class Rare(BaseModel):
    code: bytes = b""
    unique: set[int] = set()
    function: Callable[[], None] | None = None
    own: Annotated[int, AfterValidator(never)] = 0


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"code": 5}, "code: must be a text, not 5; write it in quotes"),
        ({"unique": 5}, "unique: must be a list, not 5"),
        ({"function": 5}, "function: must be callable, not 5"),
        ({"own": 5}, "own: the value is odd"),
    ],
)
def test_an_error_without_words_of_ours_is_said_as_ours_are(given: Any, found: str) -> None:
    assert wrong(given, model=Rare) == [found]


def test_nothing_of_pydantic_shows() -> None:
    given = {name: object() for name in Everything.model_fields}
    problems = Problems()
    source = read_source({})
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate(given)
    from_pydantic(caught.value, source, (), problems, Everything, given)
    for problem in told(problems):
        for word in ("Input", "input_value", "type=", "http", "pydantic", "valid "):
            assert word not in problem
