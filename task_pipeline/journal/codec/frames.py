"""DataFrames, Series, indexes and scalars of pandas: by their columns, without pickle.

pandas is not imported: whoever has a frame has imported it. Types that have no faithful way
here (periods, intervals, sparse and Arrow columns) are refused when they are written.
"""

from __future__ import annotations

import sys
from typing import Any

from .places import Place, Read, Reading, Way, Writing, full_name, shown
from .text import TAG


def way_of(kind: type) -> Way | None:
    """How what is of pandas is written."""
    pandas: Any = sys.modules.get("pandas")
    if not kind.__module__.startswith("pandas") or pandas is None:
        return None
    ways: dict[type, Any] = {
        pandas.DataFrame: _write_frame,
        pandas.Series: _write_series,
        pandas.RangeIndex: _write_range,
        pandas.MultiIndex: _write_multi,
        pandas.Timestamp: _write_moment,
        pandas.Timedelta: _write_moment,
        type(pandas.NaT): _write_missing,
        type(pandas.NA): _write_missing,
        **dict.fromkeys(
            (pandas.Index, pandas.DatetimeIndex, pandas.TimedeltaIndex, pandas.CategoricalIndex),
            _write_index,
        ),
    }
    write = ways.get(kind)
    return None if write is None else Way(write)


def _pandas(reader: Reading, place: Place) -> Any:
    pandas = sys.modules.get("pandas")
    if pandas is None:
        raise reader.fail(place, "it is of pandas: import pandas before the journal is read")
    return pandas


# Columns: a tag of their own each, read as an array that pandas takes as it is


def _write_column(values: Any, to: Writing, place: Place) -> Any:
    """The array behind a column or an index."""
    import numpy as np
    import pandas as pd

    dtype = values.dtype
    if isinstance(dtype, np.dtype):
        array = np.asarray(values)
        if dtype.kind != "O":
            return ["numpy", to.write(np.ascontiguousarray(array), place)]
        return ["object", [to.write(item, place.item(at)) for at, item in enumerate(array)]]
    if isinstance(dtype, pd.StringDtype):
        texts = [None if missing else str(item) for item, missing in _with_gaps(values)]
        kind = [dtype.storage, dtype.na_value is pd.NA]
        return ["string", kind, [to.write(text, place.item(at)) for at, text in enumerate(texts)]]
    if isinstance(dtype, pd.DatetimeTZDtype):
        moments = np.asarray(values.tz_convert("UTC").tz_localize(None))
        return ["zoned", to.write(moments, place), to.write(dtype.tz, place.attribute("tz"))]
    if isinstance(dtype, pd.CategoricalDtype):
        codes = to.write(np.asarray(values.codes), place)
        categories = to.write(dtype.categories, place.attribute("categories"))
        return ["categories", codes, categories, bool(dtype.ordered)]
    if str(dtype) in _nullable():
        plain = values.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
        gaps = np.asarray(values.isna())
        return ["nullable", str(dtype), to.write(plain, place), to.write(gaps, place)]
    return to.refuse(place, f"a column of the dtype {shown(dtype)}")


def _with_gaps(values: Any) -> Any:
    return zip(values, values.isna(), strict=True)


def _nullable() -> tuple[str, ...]:
    numbers = [f"{kind}{bits}" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)]
    return ("boolean", "Float32", "Float64", *numbers)


def _read_column(node: Any, reader: Reading, place: Place) -> Any:
    pd = _pandas(reader, place)
    import numpy as np

    kind, *parts = reader.typed(node, list, place)
    if kind == "numpy":
        (array,) = reader.read(parts, place)
        return _one_dimensional(array, reader, place)
    if kind == "object":
        (items,) = reader.read(parts, place)
        array = np.empty(len(reader.typed(items, list, place)), object)
        for at, item in enumerate(items):
            array[at] = item
        return array
    if kind == "string":
        (storage, is_na), texts = reader.read(parts, place)
        for text in texts:
            if text is not None:
                reader.typed(text, str, place)
        dtype = pd.StringDtype(storage, na_value=pd.NA if is_na else np.nan)
        return pd.array(texts, dtype=dtype)
    if kind == "zoned":
        moments, zone = reader.read(parts, place)
        moments = _one_dimensional(moments, reader, place)
        return pd.DatetimeIndex(moments).tz_localize("UTC").tz_convert(zone).array
    if kind == "categories":
        codes, ordered = reader.read(parts[0], place), reader.typed(parts[2], bool, place)
        categories = _read_any_index(parts[1], reader, place)
        codes = _one_dimensional(codes, reader, place)
        return pd.Categorical.from_codes(codes, categories, ordered=ordered)
    name, plain, gaps = reader.read(parts, place)
    if kind != "nullable" or name not in _nullable():
        raise reader.fail(place, f"{shown(kind)} is not a kind of column")
    plain, gaps = (_one_dimensional(part, reader, place) for part in (plain, gaps))
    kinds = {"b": pd.arrays.BooleanArray, "f": pd.arrays.FloatingArray}
    column = kinds.get(plain.dtype.kind, pd.arrays.IntegerArray)(plain, gaps)
    if str(column.dtype) != name:
        raise reader.fail(place, f"{shown(plain)} are not values of a column of {name}")
    return column


def _one_dimensional(array: Any, reader: Reading, place: Place) -> Any:
    if full_name(type(array)) != "numpy.ndarray" or array.ndim != 1:
        raise reader.fail(place, f"{shown(array)} is not an array of one dimension")
    return array


# Indexes


def _write_index(value: Any, to: Writing, place: Place) -> Any:
    node = {
        TAG: "Index",
        "v": _write_column(value.array if _is_extended(value) else value, to, place),
        "name": to.write(value.name, place.attribute("name")),
    }
    frequency = getattr(value, "freq", None)
    if frequency is not None:
        node["freq"] = frequency.freqstr
    return node


def _is_extended(value: Any) -> bool:
    import numpy as np

    return not isinstance(value.dtype, np.dtype)


def _read_index(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    column, name, frequency = reader.parts(node, place, ("v", "name"), ("freq",))
    pd = _pandas(reader, place)
    values = _read_column(column, reader, place)
    index = pd.Index(values, dtype=values.dtype, name=reader.read(name, place), tupleize_cols=False)
    if frequency is not None:
        index.freq = reader.typed(frequency, str, place)
    return index


def _write_range(value: Any, to: Writing, place: Place) -> Any:
    name = to.write(value.name, place.attribute("name"))
    return {TAG: "RangeIndex", "v": [value.start, value.stop, value.step], "name": name}


def _read_range(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    parts, name = reader.parts(node, place, ("v", "name"))
    start, stop, step = [reader.typed(part, int, place) for part in parts]
    return _pandas(reader, place).RangeIndex(start, stop, step, name=reader.read(name, place))


def _write_multi(value: Any, to: Writing, place: Place) -> Any:
    import numpy as np

    levels = [
        to.write(level, place.attribute("levels").item(at)) for at, level in enumerate(value.levels)
    ]
    codes = [to.write(np.asarray(part), place) for part in value.codes]
    names = [to.write(name, place.attribute("names")) for name in value.names]
    return {TAG: "MultiIndex", "levels": levels, "codes": codes, "names": names}


def _read_multi(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    levels, codes, names = reader.parts(node, place, ("levels", "codes", "names"))
    return _pandas(reader, place).MultiIndex(
        levels=[_read_any_index(level, reader, place) for level in levels],
        codes=[_one_dimensional(part, reader, place) for part in reader.read(codes, place)],
        names=reader.read(reader.typed(names, list, place), place),
    )


def _read_any_index(node: Any, reader: Reading, place: Place) -> Any:
    index = reader.read(node, place)
    if not isinstance(index, _pandas(reader, place).Index):
        raise reader.fail(place, f"{shown(index)} is not an index")
    return index


# Series and frames


def _write_series(value: Any, to: Writing, place: Place) -> Any:
    return {
        TAG: "Series",
        "v": _write_column(value.array if _is_extended(value) else value, to, place),
        "index": to.write(value.index, place.attribute("index")),
        "name": to.write(value.name, place.attribute("name")),
        **_attrs(value, to, place),
    }


def _attrs(value: Any, to: Writing, place: Place) -> dict[str, Any]:
    if not value.flags.allows_duplicate_labels:
        to.refuse(place, f"a {type(value).__name__} that does not allow duplicate labels")
    return {"attrs": to.write(value.attrs, place.attribute("attrs"))} if value.attrs else {}


def _read_series(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    column, index, name, attrs = reader.parts(node, place, ("v", "index", "name"), ("attrs",))
    pd = _pandas(reader, place)
    values = _read_column(column, reader, place)
    labels = _read_any_index(index, reader, place)
    _require_length(values, labels, reader, place)
    series = pd.Series(values, labels, dtype=values.dtype, name=reader.read(name, place))
    return _with_attrs(series, attrs, reader, place)


def _with_attrs(made: Any, attrs: Any, reader: Reading, place: Place) -> Any:
    if attrs is not None:
        made.attrs = reader.typed(reader.read(attrs, place), dict, place)
    return made


def _require_length(values: Any, labels: Any, reader: Reading, place: Place) -> None:
    if len(values) != len(labels):
        raise reader.fail(place, f"{len(values)} values do not fit {len(labels)} labels")


def _write_frame(value: Any, to: Writing, place: Place) -> Any:
    columns = []
    for at, label in enumerate(value.columns):
        series = value.iloc[:, at]
        column = series.array if _is_extended(series) else series
        columns.append(_write_column(column, to, place.item(label)))
    return {
        TAG: "DataFrame",
        "v": columns,
        "index": to.write(value.index, place.attribute("index")),
        "columns": to.write(value.columns, place.attribute("columns")),
        **_attrs(value, to, place),
    }


def _read_frame(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    given, index, columns, attrs = reader.parts(node, place, ("v", "index", "columns"), ("attrs",))
    pd = _pandas(reader, place)
    labels = _read_any_index(index, reader, place)
    heads = _read_any_index(columns, reader, place)
    _require_length(reader.typed(given, list, place), heads, reader, place)
    series = {}
    for at, node_of in enumerate(given):
        values = _read_column(node_of, reader, place.item(at))
        _require_length(values, labels, reader, place)
        series[at] = pd.Series(values, labels, dtype=values.dtype)
    frame = pd.DataFrame(series, index=labels)
    frame.columns = heads
    return _with_attrs(frame, attrs, reader, place)


# Scalars


def _write_moment(value: Any, to: Writing, place: Place) -> Any:
    node = {TAG: type(value).__name__, "v": int(value.asm8.astype("int64")), "unit": value.unit}
    if getattr(value, "tzinfo", None) is not None:
        node["tz"] = to.write(value.tzinfo, place.attribute("tzinfo"))
    return node


def _read_timestamp(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    number, unit, zone = reader.parts(node, place, ("v", "unit"), ("tz",))
    pd = _pandas(reader, place)
    import numpy as np

    moment = pd.Timestamp(np.datetime64(reader.typed(number, int, place), unit))
    tz = reader.read(zone, place)
    return moment if tz is None else moment.tz_localize("UTC").tz_convert(tz)


def _read_timedelta(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    number, unit = reader.parts(node, place, ("v", "unit"))
    pd = _pandas(reader, place)
    import numpy as np

    return pd.Timedelta(np.timedelta64(reader.typed(number, int, place), unit))


def _write_missing(value: Any, to: Writing, place: Place) -> Any:
    return {TAG: "missing", "v": "NA" if type(value).__name__ == "NAType" else "NaT"}


def _read_missing(node: dict[str, Any], reader: Reading, place: Place) -> Any:
    (name,) = reader.parts(node, place, ("v",))
    pandas = _pandas(reader, place)
    return {"NA": pandas.NA, "NaT": pandas.NaT}[name]


READERS: dict[str, Read] = {
    "DataFrame": _read_frame,
    "Series": _read_series,
    "Index": _read_index,
    "RangeIndex": _read_range,
    "MultiIndex": _read_multi,
    "Timestamp": _read_timestamp,
    "Timedelta": _read_timedelta,
    "missing": _read_missing,
}
