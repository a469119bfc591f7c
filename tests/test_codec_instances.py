"""Instances of the user's classes through the codec: found by name, made without `__init__`."""

from __future__ import annotations

import enum
import functools
import sys
import types
from collections import namedtuple
from dataclasses import InitVar, dataclass, field
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import pytest
from pydantic import BaseModel, ConfigDict, PrivateAttr, RootModel
from pydantic import Field as ModelField
from pydantic.dataclasses import dataclass as pydantic_dataclass

from task_pipeline import PipelineContext
from task_pipeline.errors import JournalDataError
from task_pipeline.journal.codec import register_type
from task_pipeline.outcome import ExecutionResult, Outcome

from .codec_round_trip import back, read

HERE = __name__


class Plain(enum.Enum):
    ONE = 1
    UNO = 1  # noqa: PIE796  # another name of it
    LIST = [1]


class Whole(enum.IntEnum):
    ONE = 1


class Word(enum.StrEnum):
    A = "a"


class Bits(enum.Flag):
    R = 1
    W = 2
    RW = 3


class Masked(enum.Flag, boundary=enum.CONFORM):
    A = 1
    B = 2


class Loose(enum.IntFlag):
    X = 4


def test_a_member_is_the_very_member() -> None:
    for member in (Plain.ONE, Plain.UNO, Plain.LIST, Whole.ONE, Word.A, Outcome.FAILED, Bits.RW):
        assert back({"a": [member]})["a"][0] is member
    assert back({Word.A: 1}) == {"a": 1}
    assert type(next(iter(back({Word.A: 1})))) is Word


@pytest.mark.parametrize(
    "union", [Bits.R | Bits.W, Bits(0), Loose(0), Loose.X | Loose(16), ~Bits.R]
)
def test_a_union_of_flags_comes_back(union) -> None:
    assert back(union) == union
    assert type(back(union)) is type(union)


class Point(NamedTuple):
    x: int
    y: Any = None


Old = namedtuple("Old", "a b")


class Tall(Old):
    pass


def test_a_named_tuple_comes_back() -> None:
    for value in (Point(1, (2, {3})), Old([1], b"x"), Tall(1, 2)):
        assert back(value) == value
        assert type(back(value)) is type(value)


def test_a_named_tuple_with_attributes_is_refused() -> None:
    value = Tall(1, 2)
    value.more = 3  # type: ignore[attr-defined]  # that is the point
    with pytest.raises(JournalDataError, match=r"attributes of its own, \['more'\]"):
        back(value)


T = TypeVar("T")
CALLED: list[str] = []


@dataclass
class Page:
    url: str
    headers: dict[str, Any] = field(default_factory=dict)
    size: int = field(default=0, init=False)
    start: InitVar[int] = 0
    kind: ClassVar[str] = "page"

    def __post_init__(self, start: int) -> None:
        CALLED.append("post_init")

    @functools.cached_property
    def words(self) -> object:
        return open


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen(Generic[T]):
    part: T
    other: Any = ()


@pydantic_dataclass
class Strict:
    number: int


@dataclass
class Box(Generic[T]):
    part: T


class Outer:
    @dataclass
    class Inner:
        x: int


def test_a_dataclass_comes_back_without_its_init_being_called() -> None:
    page = Page("http://x", {"a": (1,)}, start=5)
    page.size = 9
    assert page.words is open
    CALLED.clear()
    again = back(page)
    assert again == page
    assert CALLED == []
    assert "words" not in vars(again)


@pytest.mark.parametrize(
    "value",
    [
        Frozen(part=[Point(1)], other=Frozen(part=1)),
        Box[int](5),
        Strict(1),
        Outer.Inner(2),
        ExecutionResult(),
    ],
)
def test_every_kind_of_dataclass_comes_back(value) -> None:
    assert back(value) == value
    assert type(back(value)) is type(value)


def test_an_attribute_beside_the_fields_comes_back_too() -> None:
    page = Page("x")
    page.extra = {1, 2}  # type: ignore[attr-defined]  # that is the point
    assert back(page).extra == {1, 2}
    assert back(page) == page


def test_a_field_that_is_not_set_is_an_error() -> None:
    page = Page("x")
    del page.url
    with pytest.raises(JournalDataError, match=r"value\.url is not set"):
        back(page)


def test_what_is_inside_of_instances_is_named_with_its_place() -> None:
    with pytest.raises(JournalDataError, match=r"value\['page'\]\.headers\['x'\] is a builtin"):
        back({"page": Page("x", {"x": open})})


def test_an_attribute_that_raises_is_an_error_with_the_place() -> None:
    @register_type(name="raising", encode=lambda value: value.missing, decode=lambda given: given)
    class Raising:
        pass

    with pytest.raises(JournalDataError, match=r"value\[0\] is a .*Raising that raises Attribute"):
        back([Raising()])


class Model(BaseModel):
    model_config = ConfigDict(extra="allow")
    number: int = ModelField(default=1, alias="Number")
    parts: tuple[Any, ...] = ()
    _secret: Any = PrivateAttr(default=None)

    def model_post_init(self, context: Any) -> None:
        CALLED.append("model_post_init")

    @functools.cached_property
    def words(self) -> object:
        return open


class Bare(BaseModel):
    inner: Model | None = None


class Root(RootModel[list[int]]):
    pass


def test_a_model_comes_back_with_what_was_set_its_extra_and_private_attributes() -> None:
    model = Model.model_validate({"Number": 5, "more": {"x": (1,)}})
    model._secret = {1}
    assert model.words is open
    CALLED.clear()
    again = back(model)
    assert CALLED == []
    assert again == model
    assert again.model_fields_set == {"number", "more"}
    assert again.__pydantic_extra__ == {"more": {"x": (1,)}}
    assert again._secret == {1}
    assert type(again.more["x"]) is tuple


def test_models_of_every_kind_come_back() -> None:
    for model in (Bare(), Bare(inner=Model()), Root([1, 2]), Model.model_construct()):
        assert back(model) == model
        assert back(model).model_fields_set == model.model_fields_set
        assert back(model).model_copy() == model
    assert back(Bare.model_construct(inner=3)).inner == 3


def test_a_model_without_a_required_field_comes_back_as_it_is() -> None:
    class_of = Strictly.model_construct()
    assert "needed" not in vars(back(class_of))


class Strictly(BaseModel):
    needed: int


# Which classes are found again


def test_a_class_made_in_a_function_is_refused() -> None:
    @dataclass
    class Local:
        x: int

    with pytest.raises(JournalDataError, match=r"<locals>\.Local, a class made inside a function"):
        back(Local(1))


def test_a_class_that_is_no_longer_the_one_of_that_name_is_refused(monkeypatch) -> None:
    point = Point(1)
    monkeypatch.setattr(sys.modules[HERE], "Point", Old)
    with pytest.raises(JournalDataError, match="that name is not this class in its module"):
        back(point)


def test_a_class_of_main_is_found_there(monkeypatch) -> None:
    main = types.ModuleType("__main__")
    exec("import dataclasses\n@dataclasses.dataclass\nclass Here:\n    x: int", main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert back(main.Here(1)) == main.Here(1)


def test_a_module_is_not_asked_for_what_it_does_not_have(monkeypatch) -> None:
    class Lazy(types.ModuleType):
        def __getattribute__(self, name: str) -> Any:
            CALLED.append(name)
            return super().__getattribute__(name)

    module = Lazy("lazy_module")
    CALLED.clear()
    monkeypatch.setitem(sys.modules, "lazy_module", module)
    with pytest.raises(JournalDataError, match="not loaded"):
        read('{"$":"dataclass","type":"lazy_module:Thing","v":{}}')
    assert CALLED == []


def test_a_class_that_is_not_loaded_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(JournalDataError) as caught:
        read('[{"$":"enum","type":"no.such.module:Colour","v":"RED"}]')
    assert "value[0]: it is an instance of 'no.such.module:Colour'" in str(caught.value)
    assert "Import the module 'no.such.module' before" in str(caught.value)
    assert "no" not in sys.modules


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            '{"$":"dataclass","type":"subprocess:Popen","v":{}}',
            "not a class whose instances are written as a data",
        ),
        ('{"$":"model","type":"builtins:int","v":{},"set":[]}', "written as a model"),
        ('{"$":"enum","type":"builtins:int","v":"A"}', "written as a enum"),
        ('{"$":"namedtuple","type":"builtins:tuple","v":{}}', "written as a namedtuple"),
        ('{"$":"dataclass","type":"task_pipeline.context:PipelineContext","v":{}}', "not a class"),
        ('{"$":"dataclass","type":"os:system","v":{}}', "not loaded"),
        ('{"$":"dataclass","type":"os:path.join","v":{}}', "not loaded"),
        ('{"$":"dataclass","type":"json:decoder.JSONDecoder","v":{}}', "not loaded"),
        ('{"$":"dataclass","type":"","v":{}}', "not loaded"),
        ('{"$":"dataclass","type":5,"v":{}}', "5 stands where a str must"),
        ('{"$":"dataclass","v":{}}', "has no 'type'"),
        (f'{{"$":"enum","type":"{HERE}:Plain","v":"TWO"}}', "has no member 'TWO'"),
        (f'{{"$":"enum","type":"{HERE}:Plain","v":1}}', "1 is not the name of a"),
        (f'{{"$":"enum","type":"{HERE}:Bits","v":64}}', "64 is not a union of"),
        (f'{{"$":"enum","type":"{HERE}:Masked","v":67}}', "67 is not a union of"),
        (f'{{"$":"enum","type":"{HERE}:Bits","v":true}}', "True stands where a int must"),
        (f'{{"$":"namedtuple","type":"{HERE}:Point","v":{{"x":1}}}}', "it has now 'y'"),
        (
            f'{{"$":"dataclass","type":"{HERE}:Outer.Inner","v":{{"x":1,"y":2}}}}',
            "it no longer has 'y'",
        ),
        (f'{{"$":"dataclass","type":"{HERE}:Outer.Inner","v":[1]}}', "[1] stands where a dict"),
        (f'{{"$":"model","type":"{HERE}:Bare","v":{{}},"set":[]}}', "it differs in 'inner'"),
        (
            f'{{"$":"model","type":"{HERE}:Bare","v":{{"inner":1,"z":1}},"set":[]}}',
            "it differs in 'z'",
        ),
        (
            f'{{"$":"model","type":"{HERE}:Bare","v":{{"inner":1}},"set":["z"]}}',
            "are not fields of",
        ),
        (
            f'{{"$":"model","type":"{HERE}:Bare","v":{{"inner":1}},"set":[],"extra":{{"z":1}}}}',
            "it differs in 'z'",
        ),
        (
            f'{{"$":"model","type":"{HERE}:Bare","v":{{"inner":1}},"set":[],"private":{{"_z":1}}}}',
            "it differs in '_z'",
        ),
        (
            f'{{"$":"dataclass","type":"{HERE}:Frozen","v":{{"part":1,"other":2}},"extra":{{"z":1}}}}',
            "this is no dataclass",
        ),
    ],
)
def test_only_what_the_class_is_like_is_read(text, told) -> None:
    with pytest.raises(JournalDataError) as caught:
        read(text)
    assert told in str(caught.value)


def test_a_context_is_no_data() -> None:
    with pytest.raises(JournalDataError, match=r"value\['c'\] is a context, which is no data"):
        back({"c": PipelineContext()})


@dataclass
class DictLike(dict):
    x: int = 0


def test_a_dataclass_that_is_a_dict_is_not_known() -> None:
    with pytest.raises(JournalDataError, match="DictLike, a subclass of dict"):
        back(DictLike())
