"""Deltas, inputs of runs and single values as texts; what is large beside them; and pickle."""

from __future__ import annotations

import base64
import hashlib
import pickle
import threading
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest

from task_pipeline import Pipeline, PipelineContext
from task_pipeline.errors import ConfigurationError, JournalDataError, JournalError, RecordedError
from task_pipeline.journal.codec import (
    Codec,
    Encoded,
    codec_named,
    decode_context,
    decode_delta,
    decode_value,
    digest_of,
    encode_context,
    encode_delta,
    encode_error,
    encode_value,
)
from task_pipeline.state.delta import DELETED, Delta

from .codec_round_trip import JSON, PICKLE, assert_identical, back, nobody, read, text_of

np: Any = pytest.importorskip("numpy")

MANY = 1_000_000


def again(delta: Delta, codec: Codec = JSON) -> Delta:
    encoded = encode_delta(delta, codec, "load")
    assert encoded.text is not None and encoded.text.encode()  # what a database can keep
    made = decode_delta(encoded.text, codec, "load", dict(encoded.large).__getitem__)
    assert made is not None
    return made


@pytest.mark.parametrize("codec", [JSON, PICKLE, Codec("json", large=20)])
@pytest.mark.parametrize(
    "delta",
    [
        Delta({"step_7": 5}),
        Delta({"a": DELETED, "b": (1,), "c": DELETED, "d": {"$": 1}}),
        Delta({"$": 1}),
        Delta({1: 2, (1, "x"): DELETED, None: {3}, "a": "b"}),
        Delta({"\ud800": 1}),
        Delta({"a": "\ud800", "b": ["\ud83d\ude00"], "c": "ä"}),
        Delta({"a": float("nan"), "b": [-float("inf")], "c": 10**500}),
        Delta({"a": 1}, {"total": (1, {2}), "other": None}),
        Delta(errors=["text", 5]),
        Delta({"b": 1, "a": 2}, moved=("b", 3, (4,))),
        Delta(moved=("b",)),
        Delta({"n": None}),
        Delta({"$": "deleted"}),
        Delta({"a": {"$": "deleted"}}),
    ],
)
def test_a_delta_comes_back(delta, codec) -> None:
    made = again(delta, codec)
    assert_identical(list(made.results), list(delta.results))
    for key, value in delta.results.items():
        if value is DELETED:
            assert made.results[key] is DELETED
        else:
            assert_identical(made.results[key], value)
    assert_identical(made.fields, delta.fields)
    assert made.errors == delta.errors
    assert_identical(made.moved, delta.moved)


def test_an_empty_delta_is_no_text() -> None:
    assert encode_delta(Delta(), JSON, "load") == Encoded(None, ())
    assert decode_delta(None, JSON, "load", nobody) is None


def test_a_small_plain_delta_is_short() -> None:
    assert encode_delta(Delta({"step_7": 5}), JSON, "s").text == '{"r":{"step_7":5}}'


def test_errors_come_back_and_one_that_cannot_be_written_is_not_lost() -> None:
    made = again(Delta(errors=[ValueError("x"), OSError(threading.Lock())]))
    assert type(made.errors[0]) is ValueError
    assert type(made.errors[1]) is RecordedError


def test_all_that_cannot_be_written_is_told_with_the_step_and_each_place() -> None:
    delta = Delta(
        {"page": {"h": [threading.Lock()]}, (open,): 1}, {"f": open}, [object()], moved=(open,)
    )
    with pytest.raises(JournalDataError) as caught:
        encode_delta(delta, JSON, "load")
    text = str(caught.value)
    assert text.startswith("what step 'load' has changed cannot be recorded, for 5 values in it:")
    for place in ("results['page']['h'][0] is a", "context.f is a", "errors[0] is an object"):
        assert f"  {place}" in text
    assert "results{<built-in function open>}" in text


def test_the_codecs_have_names() -> None:
    assert codec_named("json") == JSON and codec_named("pickle").pickles
    for name in ("yaml", "", None, ["json"]):
        with pytest.raises(ConfigurationError, match='codec is "json" or "pickle", not'):
            codec_named(name)  # type: ignore[arg-type]  # that is the point


# Data that another thread changes


class Growing(dict[Any, Any]):
    """What a dict looks like that another thread puts something into meanwhile."""

    def items(self) -> Any:
        for item in super().items():
            self[len(self)] = 1
            yield item


def test_data_that_changes_while_it_is_written_is_an_error_that_says_so() -> None:
    delta = Delta(Growing({"a": 1, "b": 2}))
    with pytest.raises(JournalDataError, match="was changed by another thread while it was"):
        encode_delta(delta, JSON, "load")


# Contexts


@dataclass
class Order(PipelineContext[Any]):
    total: int = 0
    parts: list[Any] = field(default_factory=list)


def test_the_input_of_a_run_comes_back_without_what_is_passed_by_reference() -> None:
    lock = threading.Lock()
    context: Any = Order(app_config=lock, shared={"lock": lock}, results={"a": (1,)}, total=5)
    context.parts.append({2})
    context.errors.append(ValueError("x"))
    context.ad_hoc = b"x"
    encoded = encode_context(context, JSON)
    assert encoded.text is not None
    made = decode_context(encoded.text, JSON, nobody)
    assert made.keys() == {"results", "errors", "total", "parts", "ad_hoc"}
    assert made["results"] == {"a": (1,)} and made["total"] == 5 and made["parts"] == [{2}]
    assert made["ad_hoc"] == b"x"
    assert str(made["errors"][0]) == "x"


def test_a_context_of_a_generic_class_has_no_more_fields() -> None:
    encoded = encode_context(PipelineContext[int](results={"a": 1}), JSON)
    assert encoded == encode_context(PipelineContext(results={"a": 1}), JSON)


def test_the_digest_of_an_input_changes_with_the_data_alone() -> None:
    def digest(**fields: Any) -> str:
        return digest_of(encode_context(Order(**fields), JSON).text)

    assert digest(results={"a": {"x", "y"}}) == digest(results={"a": {"y", "x"}}, app_config=5)
    assert digest() != digest(total=1) != digest(results={"total": 1})


def test_an_input_that_cannot_be_recorded_is_an_error() -> None:
    with pytest.raises(
        JournalDataError, match=r"the input of the run cannot .*context\.total is a"
    ):
        encode_context(Order(total=open), JSON)  # type: ignore[arg-type]  # that is the point


def test_the_context_of_a_branch_is_written_as_it_sees_it() -> None:
    seen: list[Any] = []

    def look(context) -> None:
        context.results["own"] = 1
        text = encode_context(context, JSON).text
        assert text is not None
        seen.append(decode_context(text, JSON, nobody))

    Pipeline([[look, lambda context: None]]).run(Order(results={"a": [1]}, total=3))
    assert seen[0]["results"] == {"a": [1], "own": 1}
    assert seen[0]["total"] == 3


def test_results_that_are_more_than_a_dict_stay_so() -> None:
    kinds: list[Any] = [defaultdict(list, {"a": [(1,)]}), defaultdict(int), OrderedDict(b=1, a=2)]
    for results in kinds:
        text = encode_context(PipelineContext(results=results), JSON).text
        assert text is not None
        made = decode_context(text, JSON, nobody)["results"]
        assert made == results and type(made) is type(results)
    seen: list[Any] = []

    def look(context) -> None:
        text = encode_context(context, JSON).text
        assert text is not None
        seen.append(decode_context(text, JSON, nobody)["results"])

    Pipeline([[look, lambda context: None]]).run(PipelineContext(results=defaultdict(list, a=[1])))
    assert seen[0] == {"a": [1]} and seen[0]["b"] == []
    with pytest.raises(JournalDataError, match=r"results is a .*Growing, a subclass"):
        encode_context(PipelineContext(results=Growing(a=1)), JSON)
    with pytest.raises(JournalDataError, match="results: a tuple stands where a dict must"):
        decode_context('{"r":{"$":"tuple","v":[]}}', JSON, nobody)


# Large values


@pytest.mark.parametrize(
    "value",
    [
        *("x" * (MANY + 1), b"x" * MANY, "ä" * MANY, "\x00" * MANY, bytearray(MANY)),
        *("\ud800" * MANY, {"a": ["y" * MANY, 5]}, ("z" * MANY,)),
        pytest.param(list(range(MANY // 5)), marks=pytest.mark.no_cover),
        pytest.param(np.arange(MANY), id="array"),
        {f"the number {number}": number for number in range(MANY // 20)},
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_large_goes_beside_the_row(value) -> None:
    encoded = encode_delta(Delta({"big": value, "small": 1}), JSON, "load")
    assert encoded.text is not None and len(encoded.text) < 500
    assert len(encoded.large) == 1
    for digest, content in encoded.large:
        assert hashlib.sha256(content).hexdigest() == digest
    made = decode_delta(encoded.text, JSON, "load", dict(encoded.large).__getitem__)
    assert made is not None and made.results["small"] == 1
    if isinstance(value, np.ndarray):
        assert (made.results["big"] == value).all()
    else:
        assert_identical(made.results["big"], value)


def test_what_is_just_not_large_stays_in_the_row() -> None:
    for value in ("x" * (MANY - 2), b"x" * 749_000, "ä" * (MANY // 2 - 1)):
        assert encode_delta(Delta({"a": value}), JSON, "load").large == ()
    assert encode_value(["x" * (MANY - 10)], JSON, "it").large == ()


def test_equal_content_is_put_beside_the_row_once() -> None:
    big, twin = "x" * (MANY + 1), "x" * (MANY + 1)
    first = encode_delta(Delta({"a": [big, twin], "b": big}), JSON, "load")
    assert len(first.large) == 1
    assert encode_value(big, JSON, "it").large == first.large


@pytest.mark.no_cover
def test_a_large_value_in_a_large_value_comes_back() -> None:
    value = {"a": "x" * (MANY + 1), "b": list(range(MANY // 5))}
    encoded = encode_value(value, JSON, "it")
    assert encoded.text is not None and len(encoded.large) == 2
    assert decode_value(encoded.text, JSON, "it", dict(encoded.large).__getitem__) == value


def test_a_failed_attempt_leaves_nothing_large() -> None:
    value = ["x" * (MANY + 1), threading.Lock()]
    encoded = encode_delta(Delta({"b": 1}, errors=[ValueError(*value)]), JSON, "load")
    assert all(b"_thread.lock" in content for _, content in encoded.large)


def test_an_error_has_all_in_its_text() -> None:
    text = encode_error(ValueError(b"x" * MANY), JSON)
    assert '"large"' not in text and len(text) > MANY


def broken(content: bytes | None, **changes: Any) -> Any:
    encoded = encode_value("x" * (MANY + 1), JSON, "it")
    assert encoded.text is not None
    text = encoded.text
    for name, value in changes.items():
        old = {"size": f'"size":{MANY + 1}', "kind": '"as":"str"'}[name]
        assert old in text
        text = text.replace(old, value)
    kept = dict(encoded.large)
    if content is not None:
        kept = dict.fromkeys(kept, content)
    return lambda: decode_value(text, JSON, "it", kept.__getitem__)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (broken(b"x" * MANY + b"y"), "is not what was written"),
        (broken(b"x"), "is not what was written"),
        (broken("x"), "is not there"),  # type: ignore[arg-type]  # that is the point
        (broken(None, size='"size":5'), "is not what was written"),
        (broken(None, kind='"as":"int"'), "a large value cannot be a 'int'"),
        (broken(None, kind='"as":5'), "5 stands where a str must"),
        (broken(None, kind='"as":"json"'), "this is no large"),
        (broken(None, kind='"as":"pickle"'), 'codec="pickle"'),
        (lambda: decode_value(text_large(), JSON, "it", nobody), "is not there"),
    ],
)
def test_a_large_value_that_is_not_what_was_written_is_an_error(call, told) -> None:
    with pytest.raises(JournalDataError) as caught:
        call()
    assert told in str(caught.value) and "it cannot be read: value" in str(caught.value)


def text_large() -> str:
    return text_of("x" * (MANY + 1))


def test_an_error_of_the_storage_is_not_taken_for_one_of_the_data() -> None:
    def stopped(digest: str) -> bytes:
        raise ConnectionError("gone")

    def locked(digest: str) -> bytes:
        raise JournalError("the file is locked")

    with pytest.raises(JournalError, match=r"not be fetched .ConnectionError: gone") as caught:
        decode_value(text_large(), JSON, "it", stopped)
    assert not isinstance(caught.value, JournalDataError)
    with pytest.raises(JournalError, match=r"^the file is locked$"):
        decode_value(text_large(), JSON, "it", locked)


# Pickle


class Odd:
    def __init__(self, ring: bool = False) -> None:
        self.me = self if ring else None

    def __eq__(self, other: object) -> bool:
        return type(other) is Odd

    __hash__ = None  # type: ignore[assignment]  # it is not a key


class Unpicklable:
    def __reduce__(self) -> Any:
        raise ValueError("no")


class Evil:
    def __reduce__(self) -> Any:
        return (called, ("evil",))


def called(by: str) -> None:
    CALLED.append(by)


CALLED: list[str] = []


def test_pickle_has_a_way_for_what_json_has_not() -> None:
    delta = again(Delta({"a": Odd(ring=True), "b": {"c": [Odd()]}, "d": (1,)}, {"f": {5}}), PICKLE)
    assert delta.results["a"].me is delta.results["a"]
    assert delta.results["b"] == {"c": [Odd()]} and delta.results["d"] == (1,)
    assert delta.fields == {"f": {5}}
    ring: list[Any] = []
    ring.append(ring)
    assert back(ring, PICKLE)[0][0].__class__ is list


def test_what_json_has_a_way_for_is_not_pickled() -> None:
    value = {"a": [(1,), {2}, b"x", ValueError("x")]}
    assert text_of(value, PICKLE) == text_of(value, JSON)


def test_a_large_pickle_goes_beside_the_row() -> None:
    encoded = encode_value([Odd(), "x" * MANY], PICKLE, "it")
    assert encoded.text is not None and len(encoded.text) < 300 and len(encoded.large) == 1
    made = decode_value(encoded.text, PICKLE, "it", dict(encoded.large).__getitem__)
    assert made == [Odd(), "x" * MANY]


def test_what_cannot_be_pickled_either_is_an_error() -> None:
    with pytest.raises(
        JournalDataError, match=r"results\['a'\] is a dict that cannot be pickled e"
    ):
        again(Delta({"a": {"b": threading.Lock()}}), PICKLE)
    with pytest.raises(JournalDataError, match="ValueError: no"):
        again(Delta({"a": Unpicklable()}), PICKLE)


def test_the_json_codec_runs_no_pickle() -> None:
    text = text_of(Evil(), PICKLE)
    with pytest.raises(JournalDataError) as caught:
        read(text)
    assert 'Open the journal with codec="pickle" only if everybody who can' in str(caught.value)
    assert CALLED == []
    read(text, PICKLE)
    assert CALLED == ["evil"]


def test_a_pickle_that_is_none_is_an_error() -> None:
    content = base64.b64encode(pickle.dumps(Odd())[:-5]).decode()
    with pytest.raises(JournalDataError, match="this is no pickle"):
        read(f'{{"$":"pickle","v":"{content}"}}', PICKLE)
