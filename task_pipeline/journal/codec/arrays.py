"""Arrays and scalars of numpy: their exact bytes, type, shape and order.

numpy is not imported: whoever has an array has imported it.
"""

from __future__ import annotations

import math
import sys
from typing import Any

from .places import Place, Read, Reading, Way, Writing, full_name, shown
from .text import TAG

# Booleans, numbers, times, texts, bytes and structures; neither objects nor texts on the heap.
_KINDS = "biufcmMSUV"


def way_of(kind: type) -> Way | None:
    """How arrays and scalars are written."""
    numpy: Any = sys.modules.get("numpy")
    if not kind.__module__.startswith("numpy") or numpy is None:
        return None
    if kind is numpy.ndarray:
        return Way(_write_array)
    if issubclass(kind, numpy.generic):
        return Way(_write_scalar)
    if issubclass(kind, numpy.dtype):
        return Way(_write_dtype)
    return Way(None, f"a {full_name(kind)}, of which the journal knows only the array in it")


def _numpy(reader: Reading, place: Place) -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        raise reader.fail(place, "it is of numpy: import numpy before the journal is read")
    return numpy


def _description(dtype: Any, to: Writing, place: Place) -> Any:
    """What names a dtype; None, with a mistake noted, for one that has no faithful name."""
    import numpy as np

    if dtype.kind in _KINDS and not dtype.hasobject:
        described = np.lib.format.dtype_to_descr(dtype)
        if np.lib.format.descr_to_dtype(described) == dtype:
            return to.write(described, place)
    return to.refuse(place, f"an array or scalar of the dtype {shown(dtype)}")


def _dtype(node: Any, reader: Reading, place: Place) -> Any:
    numpy = _numpy(reader, place)
    described = reader.read(node, place)
    dtype = numpy.lib.format.descr_to_dtype(described)
    if dtype.kind not in _KINDS or dtype.hasobject:
        raise reader.fail(place, f"{shown(described)} is not a dtype that is written")
    return dtype


def _write_dtype(value: Any, to: Writing, place: Place) -> Any:
    return {TAG: "dtype", "v": _description(value, to, place)}


def _read_dtype(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    (described,) = reader.parts(node, place, ("v",))
    return _dtype(described, reader, place)


def _write_array(value: Any, to: Writing, place: Place) -> Any:
    if _is_of_no_length(value.dtype):
        return to.refuse(place, "an array of texts without any length")
    described = _description(value.dtype, to, place)
    if described is None:
        return None
    # Any other order, such as that of a slice, is one of memory that is not written.
    order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    return {
        TAG: "ndarray",
        "dtype": described,
        "shape": list(value.shape),
        "order": order,
        "v": to.write(value.tobytes(order), place),
    }


def _read_array(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    described, shape, order, raw = reader.parts(node, place, ("dtype", "shape", "order", "v"))
    numpy = _numpy(reader, place)
    dtype = _dtype(described, reader, place)
    content = reader.typed(reader.read(raw, place), bytes, place)
    sizes = [reader.typed(size, int, place) for size in reader.typed(shape, list, place)]
    if min(sizes, default=0) < 0 or math.prod(sizes) * dtype.itemsize != len(content):
        raise reader.fail(
            place,
            f"{len(content)} bytes are not an array of {shown(dtype)} in shape {shown(shape)}",
        )
    if _is_of_no_length(dtype):
        raise reader.fail(place, f"there are no arrays of {shown(dtype)}")
    if order not in ("C", "F"):
        raise reader.fail(place, f"{shown(order)} is not an order of arrays")
    if not content:
        return numpy.zeros(sizes, dtype, order)
    # Of a bytearray, so that what comes back can be written to.
    return numpy.frombuffer(bytearray(content), dtype).reshape(sizes, order=order)


def _is_of_no_length(dtype: Any) -> bool:
    # numpy would give each text one character, so that a short text asks for any memory.
    return bool(dtype.kind in "SU" and dtype.itemsize == 0)


def _write_scalar(value: Any, to: Writing, place: Place) -> Any:
    if isinstance(value, str | bytes):  # an array would drop zeros at the end
        plain = str.__str__(value) if isinstance(value, str) else bytes(value)
        kind = "U" if isinstance(value, str) else "S"
        return {TAG: "npscalar", "dtype": kind, "v": to.write(plain, place)}
    described = _description(value.dtype, to, place)
    raw = None if described is None else to.write(value.tobytes(), place)
    return {TAG: "npscalar", "dtype": described, "v": raw}


def _read_scalar(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    described, raw = reader.parts(node, place, ("dtype", "v"))
    numpy = _numpy(reader, place)
    given = reader.read(raw, place)
    if described == "U":
        return numpy.str_(reader.typed(given, str, place))
    content = reader.typed(given, bytes, place)
    if described == "S":
        return numpy.bytes_(content)
    dtype = _dtype(described, reader, place)
    if dtype.itemsize != len(content):
        raise reader.fail(place, f"{len(content)} bytes are not a {shown(dtype)}")
    return numpy.frombuffer(bytearray(content), dtype)[0] if content else dtype.type(b"")


READERS: dict[str, Read] = {
    "ndarray": _read_array,
    "npscalar": _read_scalar,
    "dtype": _read_dtype,
}
