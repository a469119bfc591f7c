"""Arrays in branches: compared without being copied, and shared once they are read-only."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

from task_pipeline import Pipeline, PipelineContext
from task_pipeline.state.copying import is_closed, unchanged


def of(*shape: int, dtype: Any = float) -> Any:
    return numpy.arange(numpy.prod(shape), dtype=dtype).reshape(shape).copy()


def closed(array: Any) -> Any:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("size", [3, 100_000])
def test_an_array_is_compared_by_what_is_in_it(size: int) -> None:
    array = of(size)
    assert unchanged(array, array.copy())
    for place in (0, size // 2, size - 1):
        other = array.copy()
        other[place] += 1
        assert not unchanged(array, other)
    assert not unchanged(array, array[:-1])
    assert not unchanged(array, array.astype("f4"))
    assert not unchanged(of(4, 2), of(2, 4))
    assert unchanged(of(4, 2)[:, 1], of(4, 2)[:, 1].copy())


def test_what_objects_are_in_an_array_is_compared() -> None:
    array = numpy.array([[1], {"a": 2}], dtype=object)
    other = numpy.array([[1], {"a": 2}], dtype=object)
    assert unchanged(array, other)
    other[1]["a"] = 3
    assert not unchanged(array, other)


def test_which_arrays_are_read_only() -> None:
    array = of(4)
    view = array[1:]
    view.flags.writeable = False
    assert not is_closed(array)
    assert not is_closed(view)  # what it is a view of can be written to
    closed(array)
    assert is_closed(array)
    assert is_closed(array[1:])
    assert is_closed(numpy.frombuffer(b"12345678"))
    assert not is_closed(numpy.frombuffer(bytearray(b"12345678")))
    assert not is_closed(closed(numpy.array([[]], dtype=object)))
    others: list[Any] = [[1], {}, b"bytes", memoryview(b"bytes"), "text"]
    assert not any(map(is_closed, others))


def test_a_read_only_array_is_the_same_for_all_branches_and_another_is_a_copy() -> None:
    open_one, closed_one = of(10), closed(of(10))

    def look(context: Any) -> Any:
        assert context.results["closed"] is closed_one
        assert context.results["open"] is not open_one
        context.results["open"][0] += 1
        with pytest.raises(ValueError, match="read-only"):
            context.results["closed"][0] = 5
        return float(context.results["closed"].sum())

    start: dict[str, Any] = {"open": open_one, "closed": closed_one}
    context: PipelineContext[Any] = PipelineContext(results=start)
    results = Pipeline([[look, look]]).run(context).results
    assert results["closed"] is closed_one
    assert results["look"] == results["look#2"] == 45.0
    assert results["open"][0] == 1
    assert open_one[0] == 0
