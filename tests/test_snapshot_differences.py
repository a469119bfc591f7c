"""What differs between two snapshots: by its path, at any depth."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict, deque, namedtuple
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, PrivateAttr

from task_pipeline.errors import JournalDataError
from task_pipeline.journal.codec import register_type
from task_pipeline.journal.differences import Difference, SnapshotDiff, diff_of
from task_pipeline.journal.snapshot import StateSnapshot


def some(results: Any = None, **others: Any) -> StateSnapshot:
    return StateSnapshot(
        run_id="r1",
        pipeline="nightly",
        taken_at=datetime(2026, 1, 1, tzinfo=UTC),
        progress=1.0,
        outcome=None,
        statuses=others.pop("statuses", {}),
        results=results or {},
        **others,
    )


@dataclass
class Page:
    url: str
    headers: dict[str, Any] = field(default_factory=dict)


class Model(BaseModel):
    x: Any = 1
    _y: Any = PrivateAttr(default=1)


Pair = namedtuple("Pair", "a b")


class Opaque:
    def __init__(self, value: Any) -> None:
        self.value = value


def model(x: Any, y: Any) -> Model:
    made = Model(x=x)
    made._y = y
    return made


def group(*parts: Exception) -> ExceptionGroup[Exception]:
    return ExceptionGroup("g", list(parts))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {"a": 1}, ["+ results['a']: 1"]),
        ({"a": [1]}, {}, ["- results['a']: [1]"]),
        ({"a": 1}, {"a": 2}, ["~ results['a']: 1 → 2"]),
        ({"a": 1}, {"a": True}, ["~ results['a']: 1 → True"]),
        ({"a": None}, {}, ["- results['a']: None"]),
        (
            {"a": [1, 2, {"b": Page("x", {"h": 1})}]},
            {"a": [1, 2, {"b": Page("x", {"h": 2})}, 4]},
            ["~ results['a'][2]['b'].headers['h']: 1 → 2", "+ results['a'][3]: 4"],
        ),
        ({"a": (1, 2)}, {"a": (1,)}, ["- results['a'][1]: 2"]),
        ({"a": (1,)}, {"a": [1]}, ["~ results['a']: (1,) → [1]"]),
        ({"a": deque([1])}, {"a": deque([2])}, ["~ results['a'][0]: 1 → 2"]),
        ({"a": {1, 2}}, {"a": {2, 3}}, ["- results['a']{1}: 1", "+ results['a']{3}: 3"]),
        ({"a": Pair(1, 2)}, {"a": Pair(1, 3)}, ["~ results['a'].b: 2 → 3"]),
        ({"a": model(1, 1)}, {"a": model(1, 2)}, ["~ results['a']._y: 1 → 2"]),
        ({"a": model(1, 1)}, {"a": model([1], 1)}, ["~ results['a'].x: 1 → [1]"]),
        ({"a": SimpleNamespace(b=1)}, {"a": SimpleNamespace()}, ["- results['a'].b: 1"]),
        ({"a": OrderedDict(b=1)}, {"a": OrderedDict(b=2)}, ["~ results['a']['b']: 1 → 2"]),
        ({"a": ValueError(1)}, {"a": ValueError(2)}, ["~ results['a'].args[0]: 1 → 2"]),
        (
            {"a": group(ValueError(1))},
            {"a": group(ValueError(2))},
            ["~ results['a'].exceptions[0].args[0]: 1 → 2"],
        ),
        ({(1, "x"): 1}, {(1, "x"): 2}, ["~ results[(1, 'x')]: 1 → 2"]),
        ({"a": b"x"}, {"a": b"x"}, []),
        ({"a": float("nan")}, {"a": float("nan")}, []),
        ({"a": Opaque([1])}, {"a": Opaque([1])}, []),
    ],
)
def test_what_differs_is_told_by_its_path(before, after, told) -> None:
    diff = some(before).diff(some(after))
    assert sorted(str(diff).splitlines()) == sorted(told or ["no difference"])
    assert bool(diff) is bool(told)
    there_and_back = some(after).diff(some(before))
    assert (there_and_back.added, there_and_back.removed) == (diff.removed, diff.added)
    assert there_and_back.changed == diff.changed


def test_a_value_without_a_known_inside_is_told_as_a_whole() -> None:
    diff = some({"a": Opaque(1)}).diff(some({"a": Opaque(2)}))
    assert diff.changed == ("results['a']",)
    assert some({"a": threading.Lock()}).diff(some({"a": threading.Lock()}))


def test_what_a_registered_class_does_not_write_is_no_difference() -> None:
    @register_type(name="cached", encode=lambda cached: cached.value, decode=lambda value: None)
    class Cached:
        def __init__(self, value: int, cache: object) -> None:
            self.value = value
            self.cache = cache

    assert not some({"a": Cached(1, "x")}).diff(some({"a": Cached(1, "y")}))
    assert some({"a": Cached(1, "x")}).diff(some({"a": Cached(2, "x")}))


def test_arrays_and_frames_are_compared_by_what_is_in_them() -> None:
    np: Any = pytest.importorskip("numpy")
    pd: Any = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    other = copy.deepcopy(frame)
    other.index.is_unique  # noqa: B018  # what pandas has worked out is no difference
    assert not some({"a": [np.arange(3), frame]}).diff(some({"a": [np.arange(3), other]}))
    other.loc[0, "a"] = 5
    diff = some({"a": [np.arange(3), frame]}).diff(some({"a": [np.arange(4), other]}))
    assert diff.changed == ("results['a'][0]", "results['a'][1]")


def test_errors_fields_and_statuses_are_told_too() -> None:
    before = some(
        errors=[ValueError("x")], fields={"total": 1}, statuses={"a": "running", "b": "pending"}
    )
    after = some(
        errors=[ValueError("x"), OSError(5, "io")],
        fields={"total": 2, "more": 3},
        statuses={"a": "succeeded", "b": "pending", "c": "running"},
    )
    diff = before.diff(after)
    assert diff.statuses == {"a": ("running", "succeeded"), "c": (None, "running")}
    assert diff.changed == ("context.total",)
    assert diff.added == ("errors[1]", "context.more")
    assert str(diff).splitlines() == [
        "~ status of 'a': running → succeeded",
        "~ status of 'c': None → running",
        "+ errors[1]: OSError(5, 'io')",
        "~ context.total: 1 → 2",
        "+ context.more: 3",
    ]


def test_no_difference_is_false_and_says_so() -> None:
    diff = some({"a": [1]}).diff(some({"a": [1]}))
    assert not diff and diff == SnapshotDiff()
    assert str(diff) == "no difference"
    assert not diff.added + diff.removed + diff.changed


def test_a_difference_has_both_values() -> None:
    (found,) = some({"a": 1}).diff(some({"a": [2]})).differences
    assert found == Difference("results['a']", "changed", 1, [2])


def test_long_values_are_shown_short() -> None:
    assert len(str(some({"a": "x" * 10_000}).diff(some({"a": "y" * 10_000})))) < 250


def test_an_error_that_was_read_back_does_not_differ_from_what_it_was() -> None:
    with pytest.raises(ValueError) as caught:
        raise ValueError("x")
    snapshot = some(errors=[caught.value])
    assert not snapshot.diff(StateSnapshot.from_json(snapshot.to_json()))


def test_cycles_end() -> None:
    left: list[Any] = [1]
    left.append(left)
    right: list[Any] = [1]
    right.append(right)
    assert not some({"a": left}).diff(some({"a": right}))
    right.append(2)
    assert some({"a": left}).diff(some({"a": right})).added == ("results['a'][2]",)


def test_what_is_nested_too_deeply_is_an_error() -> None:
    left: Any = 1
    right: Any = 2
    for _ in range(2000):
        left, right = [left], [right]
    with pytest.raises(JournalDataError, match="recursion limit"):
        diff_of(some({"a": left}), some({"a": right}))


values = st.recursive(
    st.none() | st.integers() | st.floats() | st.text() | st.binary() | st.frozensets(st.text()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    max_leaves=10,
)


@pytest.mark.no_cover
@given(st.dictionaries(st.text(), values), st.dictionaries(st.text(), values))
def test_there_is_a_difference_exactly_if_the_texts_differ(left, right) -> None:
    def text(value: Any) -> str:
        keys = sorted(value) if isinstance(value, dict) else ()
        return some({key: value[key] for key in keys}).to_json()

    same = _ordered(left) == _ordered(right)
    assert bool(some(left).diff(some(right))) is not same
    assert not some(left).diff(some(copy.deepcopy(left)))
    assert text(left) == text(copy.deepcopy(left))


def _ordered(value: Any) -> Any:
    """Told apart by type, with -0.0 and 0.0 the same, and the order of keys no matter."""
    if isinstance(value, dict):
        return {key: _ordered(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return (type(value).__name__, [_ordered(item) for item in value])
    if isinstance(value, float) and value != value:  # noqa: PLR0124  # NaN
        return "NaN"
    return (type(value).__name__, value)
