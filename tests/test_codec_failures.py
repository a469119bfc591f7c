"""Exceptions through the codec: with all that they carry, and never lost."""

from __future__ import annotations

import errno
import pickle
import sys
import threading
from typing import Any

import pytest

from task_pipeline import GroupTimeoutError, ParallelGroupError, Pipeline, StepTimeoutError
from task_pipeline.errors import JournalDataError, RecordedError
from task_pipeline.journal.codec import (
    decode_error,
    encode_error,
    encode_value,
    register_type,
    traceback_text,
)

from .codec_round_trip import JSON, assert_identical, back, nobody, read

HERE = __name__
CALLED: list[str] = []


def again(error: BaseException) -> BaseException:
    return decode_error(encode_error(error, JSON), JSON, nobody)


class Refused(ValueError):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        CALLED.append("init")
        self.code = code


class Made(Exception):
    def __new__(cls, *args: Any) -> Made:
        CALLED.append("new")
        return super().__new__(cls, *args)


class Slotted(OSError):
    __slots__ = ("spare", "where")


class Mixed(Refused, OSError):
    pass


class OwnGroup(ExceptionGroup[Exception]):
    pass


def decoding() -> UnicodeError:
    with pytest.raises(UnicodeDecodeError) as caught:
        b"ab\xff".decode()
    return caught.value


def missing_file() -> OSError:
    with pytest.raises(FileNotFoundError) as caught:
        open("/no/such/file")  # noqa: PTH123, SIM115  # it is to fail
    return caught.value


def syntax() -> SyntaxError:
    with pytest.raises(SyntaxError) as caught:
        compile("a b", "the file", "exec")
    return caught.value


def wrong_name() -> NameError:
    with pytest.raises(NameError) as caught:
        exec("no_such_name")
    return caught.value


def slotted() -> Slotted:
    error = Slotted(errno.ENOENT, "gone", "a", None, "b")
    error.where = (1,)  # type: ignore[attr-defined]  # a slot
    return error


ERRORS: list[BaseException] = [
    *(ValueError(), ValueError("x"), ValueError("x", (1, {2})), KeyError("k"), Exception(b"x")),
    *(OSError(5, "io"), OSError("only"), missing_file(), PermissionError(13, "no", "f"), slotted()),
    *(decoding(), UnicodeEncodeError("ascii", "ä", 0, 1, "no"), syntax(), wrong_name()),
    *(ImportError("no", name="x", path="y"), ModuleNotFoundError("m", name="m")),
    *(StopIteration(5), SystemExit(3), KeyboardInterrupt(), AttributeError("x", name="y")),
    *(Refused(5, "no"), Made("a"), Mixed(3, "x"), StepTimeoutError("late", step_id="a", path="1")),
    GroupTimeoutError("late", outcomes={"a": "succeeded"}, errors=[ValueError("x")]),
    *(RecordedError("a.B", "text", ["note"]), BlockingIOError(11, "again", 7)),
    StopAsyncIteration(1),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_exception_comes_back_with_all_that_it_carries(error) -> None:
    CALLED.clear()
    for made in (again(error), back([error])[0]):
        assert_identical(made, error)
        assert str(made) == str(error)
        for name in ("errno", "filename", "filename2", "encoding", "object", "start", "lineno"):
            assert getattr(made, name, None) == getattr(error, name, None)
        for name in ("name", "path", "value", "code", "text", "where", "characters_written"):
            assert getattr(made, name, None) == getattr(error, name, None)
    assert CALLED == []


def test_groups_come_back_with_their_parts() -> None:
    inner: Any = OwnGroup("inner", [ValueError(1), Refused(1, "x")])
    group = BaseExceptionGroup("outer", [inner, KeyboardInterrupt()])
    made: Any = again(group)
    assert type(made) is BaseExceptionGroup and made.message == "outer"
    first: Any = made.exceptions[0]
    assert type(first) is OwnGroup
    assert [part.args for part in first.exceptions] == [(1,), ("1: x",)]
    assert vars(first.exceptions[1])["code"] == 1
    assert made.args[0] == "outer" and len(made.args) == 2
    assert made.split(ValueError)[0] is not None


def test_the_error_of_a_failed_group_of_a_run_comes_back() -> None:
    def boom(context) -> None:
        raise Refused(5, "no")

    with pytest.raises(ParallelGroupError) as caught:
        Pipeline([[boom, boom]]).run()
    made: Any = again(caught.value)
    assert str(made) == str(caught.value)
    assert made.outcomes == caught.value.outcomes
    assert [type(part) for part in made.exceptions] == [Refused, Refused]
    assert made.exceptions[0].__notes__ == caught.value.exceptions[0].__notes__


def test_notes_the_cause_and_the_traceback_come_back() -> None:
    def raised() -> ValueError:
        try:
            try:
                raise KeyError("k")
            except KeyError as cause:
                raise ValueError("x") from cause
        except ValueError as error:
            error.add_note("first\ud800")
            error.add_note("second")
            return error

    error = raised()
    made: Any = again(error)
    assert made.__notes__ == ["first\ud800", "second"]
    assert isinstance(made.__cause__, RecordedError)
    assert (made.__cause__.type_name, made.__cause__.text) == ("KeyError", "'k'")
    assert made.__traceback__ is None
    assert traceback_text(made) == traceback_text(error)
    assert "in raised" in traceback_text(made)
    # Written once more, nothing of it is lost.
    twice: Any = again(made)
    assert traceback_text(twice) == traceback_text(error)
    assert (twice.__cause__.type_name, twice.__cause__.text) == ("KeyError", "'k'")
    with pytest.raises(ValueError, match="x"):
        raise made
    pickle.loads(pickle.dumps(made))


def test_a_long_traceback_is_cut_at_its_beginning() -> None:
    with pytest.raises(ValueError) as caught:
        raise ValueError("x" * 50_000)
    text = traceback_text(again(caught.value))
    assert len(text) <= 20_001 and text.startswith("…") and text.endswith("xxx\n")
    assert traceback_text(ValueError()) == ""


def test_notes_that_are_no_texts_come_back_as_they_are() -> None:
    error: Any = ValueError("x")
    error.__notes__ = (1, "x")
    made: Any = again(error)
    assert made.__notes__ == (1, "x")


# What cannot be written: the failure is recorded all the same


def test_an_exception_with_parts_that_cannot_be_written_is_read_as_recorded() -> None:
    error: Any = Refused(5, "no")
    error.request = threading.Lock()
    error.add_note("a note")
    made: Any = again(error)
    assert type(made) is RecordedError
    assert made.type_name == f"{HERE}.Refused"
    assert str(made) == "Refused: 5: no"
    assert made.__notes__ == ["a note"]


def test_groups_that_are_nested_too_deeply_are_not_lost() -> None:
    group: Exception = ValueError("x")
    for _ in range(3000):
        group = ExceptionGroup("g", [group])
    made = again(group)
    assert str(made).endswith("g (1 sub-exception)")


def test_an_exception_that_contains_itself_is_not_lost() -> None:
    error: Any = ValueError("x")
    error.me = error
    assert type(again(error)) is RecordedError


def test_a_traceback_that_cannot_be_had_is_no_reason_to_lose_the_exception() -> None:
    class Odd(ValueError):
        @property
        def __notes__(self) -> Any:  # type: ignore[override]  # that is the point
            raise RuntimeError("odd")

    with pytest.raises(ValueError) as caught:
        raise Odd("x")
    made = again(caught.value)
    assert str(made) == "Odd: x"
    assert "traceback" in traceback_text(made).lower()  # Python 3.13 can have it


def test_only_the_part_of_a_group_that_cannot_be_written_is_read_as_recorded() -> None:
    made: Any = again(ExceptionGroup("g", [ValueError(threading.Lock()), KeyError("k")]))
    assert type(made.exceptions[0]) is RecordedError
    assert type(made.exceptions[1]) is KeyError


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("mute")


def test_an_exception_whose_text_raises_is_recorded() -> None:
    made: Any = again(Mute(threading.Lock()))
    assert str(made) == "Mute: <its text could not be had: ValueError>"


def test_an_exception_of_a_local_class_is_read_as_recorded() -> None:
    class Local(Exception):
        pass

    made = again(Local("x"))
    assert type(made) is RecordedError and str(made) == "Local: x"
    register_type(Local, name="local-error")
    assert type(again(Local("x"))) is Local


def test_an_exception_of_a_class_whose_name_another_one_has_is_read_as_recorded(
    monkeypatch,
) -> None:
    error = Made("a")
    monkeypatch.setattr(sys.modules[HERE], "Made", type("Made", (Exception,), {"__module__": HERE}))
    made = again(error)
    assert type(made) is RecordedError and str(made) == "Made: a"


def test_an_exception_of_a_class_that_is_not_loaded_is_read_as_recorded() -> None:
    text = encode_error(Refused(5, "no"), JSON).replace("Refused", "Gone")
    made: Any = decode_error(text, JSON, nobody)
    assert type(made) is RecordedError
    assert made.type_name == f"{HERE}.Gone" and made.text == "5: no"


def test_in_the_data_every_part_of_an_exception_counts() -> None:
    with pytest.raises(JournalDataError, match=r"value\['e'\]\.args\[1\] is a _thread\.lock"):
        encode_value({"e": ValueError(1, threading.Lock())}, JSON, "it")

    class Local(Exception):
        pass

    with pytest.raises(JournalDataError, match="made inside a function"):
        encode_value([Local()], JSON, "it")


# Texts that are not of exceptions


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"$":"error","type":"builtins:int","text":"x","args":[]}', "not a class of exceptions"),
        ('{"$":"error","type":"builtins:ValueError","text":5,"args":[]}', "5 stands where a str"),
        ('{"$":"error","type":"builtins:ValueError","text":"","args":{}}', "where a list must"),
        ('{"$":"error","type":"builtins:ValueError","text":"","args":[],"notes":[1]}', "1 stands"),
        (
            '{"$":"error","type":"builtins:ValueError","text":"","args":[],"state":[]}',
            "a dict must",
        ),
        (
            (
                '{"$":"error","type":"builtins:ValueError","text":"","args":[],"state":{"$":"dict","v":[[1,2]]}}'
            ),
            "1 stands where a str must",
        ),
        ('{"$":"error","type":"builtins:ValueError","text":"","args":[],"trace":1}', "a str must"),
        ('{"$":"error","type":"builtins:ValueError","text":"","args":[],"cause":[1]}', "no error"),
        ('{"$":"error","type":"builtins:OSError","text":"","args":[],"members":{"x":1}}', "no 'x'"),
        (
            (
                '{"$":"error","type":"builtins:UnicodeDecodeError","text":"","args":[],"members":{"object":1}}'
            ),
            "1 is not the object of a UnicodeDecodeError",
        ),
        (
            (
                '{"$":"error","type":"builtins:UnicodeDecodeError","text":"","args":[],"members":{"start":"x"}}'
            ),
            "'x' is not the start",
        ),
        ('{"$":"error","type":"builtins:ExceptionGroup","text":"","args":[]}', "is not as a"),
        (
            (
                '{"$":"error","type":"builtins:ValueError","text":"","args":[],"message":"x","exceptions":[]}'
            ),
            "is not as a ValueError is written",
        ),
        (
            (
                '{"$":"error","type":"builtins:ExceptionGroup","text":"","args":[],"message":"x","exceptions":[1]}'
            ),
            "this is no error (ValueError: Item 0",
        ),
        ('{"$":"error","type":"builtins:ValueError"}', "has no 'text'"),
        ('{"$":"error","type":"builtins:ValueError","text":"","more":1}', "'more', which does not"),
    ],
)
def test_what_is_not_an_exception_is_an_error(text, told) -> None:
    with pytest.raises(JournalDataError) as caught:
        read(text)
    assert told in str(caught.value)


def test_a_base_group_of_exceptions_alone_would_be_another_class() -> None:
    text = (
        '{"$":"error","type":"builtins:BaseExceptionGroup","text":"","args":[],"message":"x",'
        '"exceptions":[{"$":"error","type":"builtins:ValueError","text":"","args":[]}]}'
    )
    with pytest.raises(JournalDataError, match="are not the arguments of a BaseExceptionGroup"):
        read(text)


def test_something_else_is_not_read_as_an_error() -> None:
    with pytest.raises(JournalDataError, match="it is a int"):
        decode_error("5", JSON, nobody)
