"""`register_type`: classes that nobody else knows, and classes under other names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from task_pipeline.errors import ConfigurationError, JournalDataError
from task_pipeline.journal.codec import register_type

from .codec_round_trip import back, read, text_of

HERE = __name__
CALLED: list[str] = []


class Sub(dict):
    pass


class Outer:
    @dataclass
    class Inner:
        x: int


@dataclass
class Page:
    url: str


Alias = Page


def test_a_class_is_found_by_its_own_name_alone() -> None:
    assert read(f'{{"$":"dataclass","type":"{HERE}:Page","v":{{"url":"x"}}}}') == Page("x")
    with pytest.raises(JournalDataError, match="not loaded"):
        read(f'{{"$":"dataclass","type":"{HERE}:Alias","v":{{"url":"x"}}}}')


def test_a_registered_class_is_written_by_its_functions() -> None:
    @register_type(encode=lambda money: (money.cents, {"cur"}), decode=lambda given: Money(*given))
    class Money:
        def __init__(self, cents: int, currency: set[str]) -> None:
            self.cents = cents
            self.currency = currency

    again = back({"price": Money(5, set())})["price"]
    assert type(again) is Money and (again.cents, again.currency) == (5, {"cur"})


def test_a_registered_class_without_functions_is_written_by_its_attributes() -> None:
    class Base:
        __slots__ = ("a", "b")

    @register_type
    class Thing(Base):
        def __init__(self) -> None:
            CALLED.append("init")
            self.a = (1,)
            self.c = {2}

    thing = Thing()
    CALLED.clear()
    again = back(thing)
    assert type(again) is Thing and again.a == (1,) and again.c == {2}
    assert not hasattr(again, "b")
    assert CALLED == []


def test_a_local_dataclass_is_found_once_it_is_registered() -> None:
    @register_type(name="local-page")
    @dataclass
    class Local:
        x: int

    assert '"type":"local-page"' in text_of(Local(1))
    assert back(Local(1)) == Local(1)


def test_a_renamed_class_reads_what_was_written_before() -> None:
    text = text_of(Outer.Inner(5)).replace("Outer.Inner", "Gone")
    with pytest.raises(JournalDataError, match="not loaded"):
        read(text)

    @register_type(name=f"{HERE}:Gone")
    @dataclass
    class Renamed:
        x: int

    assert read(text) == Renamed(5)


def test_registering_again_replaces() -> None:
    def declared() -> type:
        @register_type(name="twice")
        @dataclass
        class Twice:
            x: int

        return Twice

    first, second = declared(), declared()
    assert type(back(second(1))) is second
    with pytest.raises(JournalDataError, match="made inside a function"):
        back(first(1))
    register_type(second, name="twice-2")
    assert '"twice-2"' in text_of(second(1))
    with pytest.raises(JournalDataError, match="not loaded"):
        read('{"$":"dataclass","type":"twice","v":{"x":1}}')


wrongly: Any = register_type


class Unhelped(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: wrongly(5), "takes a class, not 5"),
        (lambda: register_type(Sub, name=""), "name is a text"),
        (lambda: register_type(Sub, encode=dict), "give both, or none"),
        (lambda: wrongly(Sub, encode=dict, decode=5), "5 is not a function"),
        (lambda: register_type(int, encode=str, decode=int), "int is not a class of yours"),
        (lambda: register_type(Unhelped), "Unhelped is a subclass of str: give encode and decode"),
    ],
)
def test_a_wrong_registration_is_an_error(call, told) -> None:
    with pytest.raises(ConfigurationError, match=told):
        call()


def test_a_name_is_given_once() -> None:
    register_type(Sub, name="taken", encode=dict, decode=Sub)
    with pytest.raises(ConfigurationError, match=r"Sub has the name 'taken'; give .*Outer another"):
        register_type(Outer, name="taken")
    assert type(back([Sub(a=1)])[0]) is Sub


def test_a_subclass_of_a_registered_class_is_not_known() -> None:
    @register_type(name="parent")
    class Parent:
        pass

    class Child(Parent):
        pass

    with pytest.raises(JournalDataError, match=r"Child, which the journal does not know"):
        back(Child())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"$":"registered","type":"nobody","v":1}', "is not registered as it was"),
        ('{"$":"object","type":"nobody","v":{}}', "is not registered as it was"),
        ('{"$":"registered","type":"wrongly","v":1}', "has returned a int"),
        ('{"$":"registered","type":"wrongly","v":"x"}', "this is no registered (ValueError: in"),
        ('{"$":"object","type":"wrongly","v":{}}', "is not registered as it was"),
        ('{"$":"object","type":"data","v":{}}', "written as a object"),
        ('{"$":"registered","type":"data","v":{}}', "is not registered as it was"),
        ('{"$":"object","type":"simple","v":{"a b":1}}', "this is no object"),
        ('{"$":"object","type":"simple","v":{"__class__":1}}', "not an attribute"),
    ],
)
def test_a_class_that_is_registered_otherwise_now_is_an_error(text, told) -> None:
    register_type(Wrongly, name="wrongly", encode=lambda value: 1, decode=int)
    register_type(Page, name="data")
    register_type(Simple, name="simple")
    with pytest.raises(JournalDataError) as caught:
        read(text)
    assert told in str(caught.value)


class Wrongly:
    pass


class Simple:
    __slots__ = ("a",)


def test_encode_may_be_called_from_many_threads_while_classes_are_registered() -> None:
    from concurrent.futures import ThreadPoolExecutor

    kinds = [type(f"Kind{number}", (), {}) for number in range(200)]

    def use(kind: type) -> bool:
        register_type(kind, name=f"many:{kind.__name__}")
        return type(back(kind())) is kind

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, kinds))
