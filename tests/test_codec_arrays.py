"""Arrays of numpy and frames of pandas through the codec: their exact bytes, types and labels."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from task_pipeline.errors import JournalDataError

from .codec_round_trip import SMALL, back, read

np: Any = pytest.importorskip("numpy")
pd: Any = pytest.importorskip("pandas")


def assert_same_array(a: Any, b: Any) -> None:
    assert type(a) is type(b) is np.ndarray
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert a.dtype.byteorder == b.dtype.byteorder
    assert a.tobytes("A") == b.tobytes("A")
    assert a.flags.f_contiguous == b.flags.f_contiguous
    assert a.flags.c_contiguous == b.flags.c_contiguous


RECORD = np.dtype([("a", "<i4"), ("b", [("c", "U3"), ("d", ">f8", (2,))])])
ALIGNED = np.dtype([("a", "i1"), ("b", "f8")], align=True)

ARRAYS: list[Any] = [
    *(np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3)), np.array(5)),
    *(np.zeros((0, 3)), np.zeros(0, "U"), np.zeros((3, 0), ">i2"), np.zeros(3, "V0")),
    *(np.array([np.nan, np.inf, -0.0]), np.array([1, 2], ">u8"), np.array([True, False])),
    *(np.array([1 + 2j], "c16"), np.array([1.5], "f2"), np.array([1], np.longdouble)),
    *(np.array(["a\0b", "ä"]), np.array([b"a", b"b\0c"]), np.array([b"xy"], "V2")),
    *(np.array(["2024-01-01", "NaT"], "M8[ns]"), np.array([1, 2], "m8[25s]"), np.zeros(1, "M8[Y]")),
    *(np.zeros(2, RECORD), np.ones(2, ALIGNED), np.zeros((2, 2), RECORD)),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_an_array_comes_back_to_the_byte(array) -> None:
    assert_same_array(back({"a": [array]})["a"][0], array)
    assert_same_array(back(array, SMALL), array)
    assert back(array).flags.writeable


def test_the_bytes_of_not_a_number_come_back() -> None:
    array = np.array([0x7FF8000000000123, 0xFFF8000000000001], "u8").view("f8")
    assert_same_array(back(array), array)


def test_a_slice_comes_back_as_an_array_of_its_own() -> None:
    array = np.arange(24).reshape(2, 3, 4)[:, ::2, ::-1]
    made = back(array)
    assert (made == array).all() and made.shape == array.shape and made.flags.c_contiguous


@given(
    hnp.arrays(
        hnp.scalar_dtypes() | hnp.unicode_string_dtypes() | hnp.byte_string_dtypes(),
        hnp.array_shapes(min_dims=0, min_side=0),
    )
)
def test_any_array_comes_back(array) -> None:
    assert_same_array(back(array), np.ascontiguousarray(array).reshape(array.shape))


SCALARS: list[Any] = [
    *(np.int64(5), np.float64(1.5), np.float32(-0.0), np.bool_(True), np.complex64(1j)),
    *(np.str_("a\0"), np.bytes_(b"a\0"), np.str_(""), np.bytes_(b""), np.longdouble(1)),
    *(
        np.datetime64("2024-01-01"),
        np.timedelta64(3, "h"),
        np.datetime64("NaT", "s"),
        np.uint8(255),
    ),
    *(np.void(b"ab"), np.zeros(1, RECORD)[0], np.float16(2)),
]


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda scalar: type(scalar).__name__)
def test_a_scalar_comes_back_with_its_type(scalar) -> None:
    made = back([scalar])[0]
    assert type(made) is type(scalar) and made.dtype == scalar.dtype
    assert made.tobytes() == scalar.tobytes()


def test_a_dtype_comes_back() -> None:
    for dtype in (np.dtype("i4"), RECORD, ALIGNED, np.dtype("M8[D]")):
        assert back(dtype) == dtype


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.array([1, "x"], object), "an array or scalar of the dtype dtype('O')"),
        (np.zeros(1, [("a", object)]), "an array or scalar of the dtype dtype([('a', 'O')])"),
        (np.ma.array([1]), "numpy.ma.MaskedArray, of which the journal knows only"),
        (
            np.zeros(1, RECORD).view(np.recarray),
            "recarray, of which the journal knows only the array in it",
        ),
        (np.dtype(object), "dtype('O')"),
        (np.zeros(2, [("a", "U0"), ("b", "u1")])["a"], "an array of texts without any length"),
    ],
)
def test_what_has_no_exact_bytes_is_refused(value, told) -> None:
    with pytest.raises(JournalDataError) as caught:
        back({"a": value})
    assert told in str(caught.value) and "value['a']" in str(caught.value)


ARRAY = '{"$":"ndarray","dtype":%s,"shape":%s,"order":%s,"v":{"$":"bytes","v":"AAAA"}}'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (ARRAY % ('"<i8"', "[3]", '"C"'), "3 bytes are not an array of"),
        (ARRAY % ('"u1"', "[-3]", '"C"'), "3 bytes are not an array of"),
        (ARRAY % ('"u1"', "[3]", '"K"'), "'K' is not an order"),
        (ARRAY % ('"u1"', '["3"]', '"C"'), "'3' stands where a int must"),
        (ARRAY % ('"u1"', "[99999999999999999999999]", '"C"'), "3 bytes are not an array of"),
        (ARRAY % ('"V0"', "[99999999999999999999999]", '"C"'), "3 bytes are not an array of"),
        (
            '{"$":"ndarray","dtype":"<U0","shape":[9999999999],"order":"C","v":{"$":"bytes","v":""}}',
            "there are no arrays of dtype('<U')",
        ),
        (ARRAY % ('"O"', "[3]", '"C"'), "'O' is not a dtype that is written"),
        (ARRAY % ('"nonsense"', "[3]", '"C"'), "this is no ndarray"),
        (ARRAY % ("5", "[3]", '"C"'), "this is no ndarray"),
        (ARRAY % ("null", "[3]", '"C"'), "this is no ndarray"),
        ('{"$":"npscalar","dtype":"<i8","v":{"$":"bytes","v":"AAAA"}}', "3 bytes are not a"),
        ('{"$":"npscalar","dtype":"U","v":5}', "5 stands where a str"),
        ('{"$":"npscalar","dtype":"S","v":5}', "5 stands where a bytes"),
        ('{"$":"dtype","v":"O"}', "is not a dtype that is written"),
        ('{"$":"Series","v":["what",1,2],"index":1,"name":1}', "this is no Series"),
        ('{"$":"Series","v":["nullable","Int8",1,2],"index":1,"name":1}', "of one dimension"),
        ('{"$":"Series","v":["nullable","Q",1,2],"index":1,"name":1}', "not a kind of column"),
        ('{"$":"Series","v":["object",[1]],"index":1,"name":1}', "1 is not an index"),
        (
            (
                '{"$":"Series","v":["object",[1]],"index":{"$":"RangeIndex","v":[0,2,1],"name":null},"name":1}'
            ),
            "1 values do not fit 2 labels",
        ),
        ('{"$":"Series","v":["numpy",5],"index":1,"name":1}', "5 is not an array of one"),
        ('{"$":"Series","v":["string",["python",false],[5]],"index":1,"name":1}', "5 stands"),
        ('{"$":"missing","v":"?"}', "this is no missing"),
        ('{"$":"RangeIndex","v":[0,"x",1],"name":null}', "'x' stands where a int must"),
        ('{"$":"Timestamp","v":5,"unit":"nonsense"}', "this is no Timestamp"),
    ],
)
def test_what_is_no_array_or_frame_is_an_error(text, told) -> None:
    with pytest.raises(JournalDataError) as caught:
        read(text)
    assert told in str(caught.value)


def test_nullable_numbers_of_the_wrong_type_are_an_error() -> None:
    from .codec_round_trip import text_of

    text = text_of(pd.Series([1, None], dtype="Int64")).replace('"Int64"', '"Int32"')
    with pytest.raises(JournalDataError, match="are not values of a column of Int32"):
        read(text)


# pandas


def frame() -> Any:
    columns = {
        "whole": [1, 2, 3],
        "float": [1.5, np.nan, -0.0],
        "text": ["a", None, "c"],
        "mixed": np.array([1, "x", None], object),
        "nullable": pd.array([1, None, 3], dtype="Int64"),
        "small": pd.array([1, None, 3], dtype="UInt8"),
        "real": pd.array([1.5, None, 2], dtype="Float32"),
        "truth": pd.array([True, None, False], dtype="boolean"),
        "moment": pd.to_datetime(["2024-01-01", None, "2024-06-01"]),
        "zoned": pd.date_range("2024-10-26", periods=3, tz="Europe/Berlin"),
        "span": pd.to_timedelta([1, 2, None], unit="s"),
        "kind": pd.Categorical(["u", None, "v"], categories=["v", "u"], ordered=True),
        "string": pd.array(["a", None, "ä"], dtype="string"),
        "bytes": np.array([(1,), {2}, dt.date(2024, 1, 1)], object),
    }
    made = pd.DataFrame(columns, index=pd.date_range("2024", periods=3, freq="D", name="when"))
    made.attrs["from"] = ("here",)
    return made


FRAMES: list[Any] = [
    *(frame(), frame().iloc[::-1], frame().iloc[:0], frame()[["whole"]], pd.DataFrame()),
    *(
        pd.DataFrame(index=[1, 2]),
        pd.DataFrame(columns=["a"]),
        frame().set_index(["whole", "text"]),
    ),
    pd.DataFrame([[1, 2]], columns=["a", "a"]),
    pd.DataFrame(
        [[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", "y"])
    ),
    pd.DataFrame({1: [2], "x": [3.5]}),
    pd.DataFrame([[1, 2]], columns=pd.Index(["p", "q"], name="head")),
    pd.DataFrame({"a": [1, 2]}, index=pd.CategoricalIndex(["x", "y"])),
    pd.DataFrame({"a": [1]}, index=pd.Index([(1, 2)], tupleize_cols=False)),
]


@pytest.mark.parametrize("value", FRAMES)
def test_a_frame_comes_back(value) -> None:
    for made in (back([value])[0], back(value, SMALL)):
        pd.testing.assert_frame_equal(made, value, check_exact=True, check_freq=True)
        assert made.attrs == value.attrs
        assert type(made.index) is type(value.index)
        assert type(made.columns) is type(value.columns)
        assert list(made.dtypes) == list(value.dtypes)


@pytest.mark.parametrize("name", list(frame().columns))
def test_a_series_comes_back(name) -> None:
    series = frame()[name].rename((name, 1))
    made = back(series)
    pd.testing.assert_series_equal(made, series, check_exact=True, check_freq=True)
    assert made.name == (name, 1)
    for value, other in zip(made, series, strict=True):
        assert type(value) is type(other)


def test_what_came_back_can_be_changed() -> None:
    made = back(frame())
    made.loc[made.index[0], "whole"] = 9
    made["kind"] = made["kind"].cat.add_categories("w")
    assert made["whole"].tolist() == [9, 2, 3]


@pytest.mark.parametrize(
    "value",
    [
        *(
            pd.RangeIndex(1, 10, 3, name="x"),
            pd.Index([1, 2]),
            pd.Index(["a", None], name=("n", 1)),
        ),
        *(pd.MultiIndex.from_product([[1, 2], ["a", "b"]]), pd.date_range("2024", periods=2)),
        *(pd.timedelta_range("1s", periods=3), pd.Index([1.5, np.nan]), pd.Index([], dtype=object)),
        pd.date_range("2024-03-30", periods=3, tz=dt.timezone(dt.timedelta(hours=2))),
    ],
)
def test_an_index_comes_back(value) -> None:
    made = back(value)
    pd.testing.assert_index_equal(made, value, exact=True)
    assert getattr(made, "freq", None) == getattr(value, "freq", None)


@pytest.mark.parametrize(
    "value",
    [
        *(pd.Timestamp("2024-01-01 01:02:03.123456789"), pd.Timestamp(2024, 1, 1).as_unit("s")),
        pd.Timestamp("2024-10-27 01:30", tz="UTC").tz_convert(zoneinfo.ZoneInfo("Europe/Berlin")),
        *(pd.Timedelta(5, "s"), pd.Timedelta(-1, "ns")),
    ],
)
def test_a_moment_of_pandas_comes_back(value) -> None:
    made = back(value)
    assert type(made) is type(value) and made == value and made.unit == value.unit
    assert str(made) == str(value)


def test_what_is_missing_is_the_same_object() -> None:
    assert back([pd.NaT, pd.NA]) == [pd.NaT, pd.NA] or back([pd.NaT])[0] is pd.NaT
    assert back(pd.NA) is pd.NA and back(pd.NaT) is pd.NaT


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (pd.DataFrame({"p": pd.period_range("2024", periods=2)}), "value['p'] is a column of the"),
        (pd.Series(pd.arrays.SparseArray([0, 1])), "is a column of the dtype Sparse"),
        (pd.interval_range(0, 2), "value is a pandas.IntervalIndex, which"),
        (pd.DataFrame({"a": [1]}, index=pd.period_range("2024", periods=1)), "value.index is a"),
        (pd.DataFrame({"a": [open]}), "value['a'][0] is a builtin_function_or_method"),
        (pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False), "duplicate labels"),
        (pd.Period("2024"), "Period, which the journal does not know"),
    ],
)
def test_what_has_no_faithful_way_is_refused(value, told) -> None:
    with pytest.raises(JournalDataError) as caught:
        back(value)
    assert told in str(caught.value)


@given(st.lists(st.one_of(st.none(), st.text(), st.integers(), st.booleans(), st.binary())))
def test_a_column_of_anything_comes_back(items) -> None:
    column = np.empty(len(items), object)
    column[:] = items
    series = pd.Series(column, dtype=object)
    made = back(series)
    assert list(made) == list(series) and made.dtype == object
    assert list(map(type, made)) == list(map(type, series))
