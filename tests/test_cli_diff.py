"""Two recorded runs side by side: `compare_runs`, and `runs diff`."""

from __future__ import annotations

import enum
import json
import pickle
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from task_pipeline import JournalDataError, RunNotFoundError
from task_pipeline.cli import main
from task_pipeline.context import PipelineContext
from task_pipeline.journal.codec import codec_named, encode_context, encode_delta, register_type
from task_pipeline.journal.comparison import RunDiff, compare_runs
from task_pipeline.journal.opening import open_journal
from task_pipeline.journal.written import MOST_LISTED, compare_written
from task_pipeline.state.delta import DELETED, Delta
from tests.cli_records import STEPS, record_run, step_record

JSON = codec_named("json")
NOTHING: dict[str, bytes] = {}


@dataclass
class Page:
    """Something of the user's."""

    headers: dict[str, Any] = field(default_factory=dict)
    size: int = 0


class Model(BaseModel):
    """Something of pydantic's."""

    items: list[int]


class Color(enum.Enum):
    """One of two."""

    RED = 1
    BLUE = 2


Pair = namedtuple("Pair", "left right")


class Texts:
    """Deltas as texts, and what goes beside them."""

    def __init__(self) -> None:
        self.large: dict[str, bytes] = {}

    def __call__(self, results: Any, codec: str = "json", **more: Any) -> str | None:
        encoded = encode_delta(Delta(results, **more), codec_named(codec), "step")
        self.large.update(encoded.large)
        return encoded.text

    def compare(self, a: str | None, b: str | None) -> list[tuple[str, str | None, str | None]]:
        changes, omitted = compare_written(a, b, self.large.__getitem__)
        assert omitted == 0
        return [(change.path, change.a, change.b) for change in changes]


@pytest.fixture
def text() -> Texts:
    return Texts()


@pytest.mark.parametrize(
    ("a", "b", "path", "shown"),
    [
        (1, 2, "", ("1", "2")),
        (1, True, "", ("1", "True")),
        (1, 1.0, "", ("1", "1.0")),
        (None, "x", "", ("None", "'x'")),
        ([1, [2, 3]], [1, [2, 4]], "[1][1]", ("3", "4")),
        ([1], [1, 2], "[1]", (None, "2")),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "['a']['b']", ("1", "2")),
        ({"a": 1}, {}, "['a']", ("1", None)),
        ([], {}, "", ("[]", "{}")),
        ({(1, "x"): 1}, {(1, "x"): 2}, "[(1, 'x')]", ("1", "2")),
        ((1, 2), (1, 3), "[1]", ("2", "3")),
        ((1,), [1], "", ("(1,)", "[1]")),
        (deque([1], 5), deque([1], 6), ".maxlen", ("5", "6")),
        ({1, 2}, {1}, "{2}", ("2", None)),
        (frozenset({1}), {1}, "", ("frozenset([1])", "{1}")),
        (OrderedDict(a=1), OrderedDict(a=2), "['a']", ("1", "2")),
        (Counter("aab"), Counter("ab"), "['a']", ("2", "1")),
        (defaultdict(int, a=1), defaultdict(bool, a=1), ".factory", ("'int'", "'bool'")),
        (SimpleNamespace(x=1), SimpleNamespace(x=2), ".x", ("1", "2")),
        (Page({"x": 1}), Page({"x": 2}), ".headers['x']", ("1", "2")),
        (Page(size=1), None, "", ("Page(headers={}, size=1)", "None")),
        (Model(items=[1]), Model(items=[2]), ".items[0]", ("1", "2")),
        (Pair(1, 2), Pair(1, 3), ".right", ("2", "3")),
        (Color.RED, Color.BLUE, "", ("Color('RED')", "Color('BLUE')")),
        (ValueError("a"), ValueError("b"), "", ("ValueError('a')", "ValueError('b')")),
        (b"a", b"b", "", ("bytes('YQ==')", "bytes('Yg==')")),
        (Path("a"), Path("b"), "", ("PosixPath('a')", "PosixPath('b')")),
        (float("nan"), 1.0, "", ("float('nan')", "1.0")),
        ({"$": 1}, {"$": 2}, "['$']", ("1", "2")),
        (
            *(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), ""),
            (
                "datetime('2026-01-01T00:00:00', tz=timezone(None))",
                "datetime('2026-01-02T00:00:00', tz=timezone(None))",
            ),
        ),
    ],
    ids=repr,
)
def test_what_differs_is_told_by_its_path(text, a, b, path, shown):
    one, other = text({"k": a, "same": a}), text({"k": b, "same": a})
    assert text.compare(one, other) == [(f"results['k']{path}", *shown)]
    assert text.compare(one, one) == text.compare(other, other) == []
    back = [(f"results['k']{path}", *shown[::-1])]
    assert text.compare(other, one) == back


class Money:
    """Something that the user has registered."""

    def __init__(self, cents: int) -> None:
        self.cents = cents


register_type(Money, encode=lambda money: {"cents": money.cents}, decode=lambda it: Money(**it))


def test_what_was_registered_is_looked_into(text):
    one, other = text({"m": Money(1)}), text({"m": Money(2)})
    assert text.compare(one, other) == [("results['m']['cents']", "1", "2")]


def test_what_is_shown_is_bounded(text):
    deep: Any = 1
    for _ in range(20):
        deep = [deep]
    assert text.compare(text({"k": deep}), text({})) == [
        ("results['k']", "[[[[[[[[...]]]]]]]]", None)
    ]
    ((_, shown, _),) = text.compare(text({"k": {1: ["x" * 50] * 50}}), text({}))
    assert shown is not None
    assert len(shown) == 200
    assert shown.startswith("{1: ['xxx")
    assert text.compare('{"r":{"k":{"$":1}}}', text({})) == [("results['k']", "()", None)]
    nearly = ['{"r":{"k":{"$":"' + tag + '","v":{"$":"x"}}}}' for tag in ("tuple", "model")]
    assert text.compare(*nearly) == [("results['k']", "tuple(x())", "model(x())")]


def test_every_part_of_a_delta_is_compared(text):
    one = text({"a": DELETED, 1: "x"}, fields={"note": 1}, errors=[ValueError("x")])
    other = text({"a": 2, "b": 3}, fields={"note": 2}, errors=[ValueError("y"), KeyError("z")])
    assert text.compare(one, other) == [
        ("results['a']", "<deleted>", "2"),
        ("results[1]", "'x'", None),
        ("context.note", "1", "2"),
        ("errors[0]", "ValueError('x')", "ValueError('y')"),
        ("results['b']", None, "3"),
        ("errors[1]", None, "KeyError(\"'z'\")"),
    ]
    assert text.compare(None, text({"a": 1})) == [("results['a']", None, "1")]
    assert text.compare(text({"a": 1}), None) == [("results['a']", "1", None)]
    moved = text.compare(text({"a": 1}, moved=("a",)), text({"a": 1}, moved=("b", "a")))
    assert moved == [
        ("the keys put last in results[0]", "'a'", "'b'"),
        ("the keys put last in results[1]", None, "'a'"),
    ]


def test_where_an_error_was_raised_is_no_difference(text):
    def raised():
        try:
            raise ValueError("x")
        except ValueError as error:
            return error

    def elsewhere():
        return raised()

    assert text.compare(text({}, errors=[raised()]), text({}, errors=[elsewhere()])) == []


def test_the_order_of_keys_is_no_difference(text):
    assert (
        text.compare(text({"a": 1, "b": {"x": 1, "y": 2}}), text({"b": {"y": 2, "x": 1}, "a": 1}))
        == []
    )


def test_large_values_are_looked_into(text):
    line = "x" * 1_000
    one = text({"list": [line] * 1_200, "text": "x" * 2_000_000, "bytes": b"a" * 2_000_000})
    other = text(
        {
            "list": [*([line] * 1_199), "y"],
            "text": "x" * 1_999_999 + "y",
            "bytes": b"b" * 2_000_000,
        }
    )
    assert len(one) < 2_000
    found = {path: (a, b) for path, a, b in text.compare(one, other)}
    assert found.keys() == {"results['list'][1199]", "results['text']", "results['bytes']"}
    assert found["results['list'][1199]"][1] == "'y'"
    assert found["results['text']"][0] == "at 1999999: ... 'xxxxxxxxxxxxxxxxxxxxx'"
    assert found["results['text']"][1] == "at 1999999: ... 'xxxxxxxxxxxxxxxxxxxxy'"
    assert found["results['bytes']"][0].startswith("<bytes of 2000000 bytes, ")


def test_a_large_value_beside_a_small_one(text):
    found = text.compare(text({"t": "x"}), text({"t": "x" * 2_000_000}))
    assert [path for path, _, _ in found] == ["results['t']"]
    assert len(found[0][2]) <= 200


def test_a_large_value_that_is_damaged_is_an_error(text):
    one, other = text({"list": ["x" * 1_000] * 1_200}), text({"list": []})
    (digest,) = text.large
    text.large[digest] = b"{"
    with pytest.raises(
        JournalDataError, match=rf"results\['list'\]: the large value {digest} is no"
    ):
        text.compare(one, other)


class Executed:
    """What says so when it is read out of a pickle."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was read",)


def test_pickles_are_compared_and_not_read(text):
    one, other = text({"x": Executed()}, "pickle"), text({"x": 1})
    with pytest.raises(BaseException, match="a pickle was read"):
        pickle.loads(pickle.dumps(Executed()))
    ((path, a, b),) = text.compare(one, other)
    assert (path, b) == ("results['x']", "1")
    assert a.startswith("<a pickle of")


def test_classes_need_not_be_loaded(text):
    one = text({"p": Page(size=1)}).replace("Page", "Gone").replace(__name__, "not.there")
    other = one.replace('"size":1', '"size":2')
    assert text.compare(one, other) == [("results['p'].size", "1", "2")]


def test_only_so_many_changes_are_listed():
    one, other = (encode_delta(Delta({"l": [n] * 300}), JSON, "s").text for n in (0, 1))
    changes, omitted = compare_written(one, other, NOTHING.__getitem__)
    assert (len(changes), omitted) == (MOST_LISTED, 100)


@pytest.mark.parametrize(
    "damaged",
    [
        "", "{", "[]", "1", "{} x", '{"x": 1}', '{"r": 1}', '{"e": {}}', '{"f": [1]}',
        '{"r": {"a": 1, "a": 2}}', '{"r": [[1]]}', '{"r": NaN}', "[" * 100_000,
        '{"r":' * 100_000,
    ],
)  # fmt: skip
def test_what_is_damaged_is_an_error(text, damaged):
    with pytest.raises(JournalDataError, match="what is to be compared"):
        text.compare(damaged, text({"a": 1}))


nodes = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["$", "v", "type", "digest", "as", "x"]), inner, max_size=4
        )
        | st.fixed_dictionaries(
            {
                "$": st.sampled_from(
                    ["tuple", "dict", "set", "dataclass", "error", "large", "model"]
                )
            },
            optional={"v": inner, "type": inner, "digest": st.just("d"), "as": st.just("json")},
        )
    ),
    max_leaves=12,
)


@pytest.mark.no_cover
@given(nodes, nodes)
def test_whatever_stands_there_is_compared_or_refused(a, b):
    one, other = (json.dumps({"r": {"x": node}}) for node in (a, b))
    changes, _ = compare_written(one, other, {"d": b"[1]"}.__getitem__)
    assert compare_written(one, one, NOTHING.__getitem__) == ([], 0)
    for change in changes:
        assert change.path.startswith("results['x']")
        assert change.a is None or len(change.a) <= 400


# Runs


@pytest.fixture
def journal(tmp_path):
    with open_journal(f"sqlite:///{tmp_path}/runs.db") as opened:
        yield opened


def test_a_run_does_not_differ_from_one_that_only_took_longer(journal):
    slower = [step_record("0", "load", duration=9.0), *STEPS[1:]]
    record_run(journal, "a")
    record_run(journal, "b", slower, created_at=1_900_000_000.0, tags=("other",))
    found = compare_runs(journal, "a", "b")
    assert not found
    assert str(found) == "no difference"
    assert [step.path for step in found.steps] == ["0", "1.0.0", "1.0.1", "1.1", "2.9", "2.10", "3"]
    load, parse, *_ = found.to_dict()["steps"]
    assert (load["a"]["duration"], load["b"]["duration"]) == (1.0, 9.0)
    assert (parse["a"]["attempts"], parse["a"]["duration"]) == (2, 1.5)


def other_steps():
    return [
        step_record("0", "load", delta=encode_delta(Delta({"n": 2}), JSON, "load").text),
        step_record("1.0.0", "parse", status="failed", error_type="builtins.ValueError",
                    error_text="no"),
        step_record("1.1", "fetch", superseded=True),
        step_record("4", "extra"),
        *(step for step in STEPS if step.path[0] in "23"),
    ]  # fmt: skip


def test_how_runs_differ(journal):
    context = encode_context(PipelineContext(results={"day": 1}), JSON)
    steps = [step_record("0", "load", delta='{"r":{"n":1}}'), *STEPS[1:]]
    record_run(journal, "a", steps)
    record_run(
        journal, "b", other_steps(), status="succeeded", error_type=None, error_text=None,
        fingerprint="f2", input=context.text,
    )  # fmt: skip
    found = compare_runs(journal, "a", "b")
    assert found
    assert str(found).splitlines() == [
        "run: status: failed → succeeded",
        "run: error removed: builtins.ValueError: boom",
        "run: plan: f1 → f2",
        "run: input results['day'] added: 1",
        "load (0): results['n']: 1 → 2",
        "parse (1.0.0): succeeded → failed",
        "parse (1.0.0): error None → builtins.ValueError: no",
        "count (1.0.1): only in a",
        "fetch (1.1): only in a",
        "extra (4): only in b",
    ]
    document = found.to_dict()
    assert json.loads(json.dumps(document)) == json.loads(json.dumps(document))
    assert document["differs"] is True
    assert [step["differs"] for step in document["steps"]] == [*[True] * 4, *[False] * 3, True]
    assert document["steps"][0]["changes"] == ({"path": "results['n']", "a": "1", "b": "2"},)
    assert document["steps"][0]["a"] == {
        "status": "succeeded", "attempts": 1, "duration": 1.0, "error": None,
    }  # fmt: skip


def test_a_run_that_is_not_there(journal):
    record_run(journal, "a")
    with pytest.raises(RunNotFoundError):
        compare_runs(journal, "a", "b")


def test_many_changes_in_one_step(journal):
    for run_id, number in (("a", 0), ("b", 1)):
        delta = encode_delta(Delta({"l": [number] * 300}), JSON, "s").text
        record_run(journal, run_id, [step_record("0", "load", delta=delta)])
    found = compare_runs(journal, "a", "b")
    assert str(found).splitlines()[-1] == "load (0): 100 more"
    assert len(found.steps[0].changes) == MOST_LISTED


def test_an_empty_diff_is_false():
    assert not RunDiff("a", "b")


# The command


def test_the_command_for_runs_that_differ(journal, capsys):
    record_run(journal, "a", [step_record("0", "load", delta='{"r":{"n":1}}'), *STEPS[1:]])
    record_run(journal, "b", other_steps())
    assert main(["runs", "diff", "a", "b", "--journal", journal.url]) == 1
    shown = capsys.readouterr().out
    assert shown == (
        "A  a\n"
        "B  b\n"
        "\n"
        "STEP        PATH   STATUS A   STATUS B   TIME A  TIME B  DIFFERS\n"
        "load        0      succeeded  succeeded  1.00 s  1.00 s  yes\n"
        "parse       1.0.0  succeeded  failed     1.50 s  1.00 s  yes\n"
        "count       1.0.1  cancelled  -               -       -  yes\n"
        "fetch       1.1    succeeded  -          4.00 s       -  yes\n"
        "double[9]   2.9    succeeded  succeeded  250 ms  250 ms  no\n"
        "double[10]  2.10   succeeded  succeeded  4.0 ms  4.0 ms  no\n"
        "report      3      failed     failed     3.00 s  3.00 s  no\n"
        "extra       4      -          succeeded       -  1.00 s  yes\n"
        "\n"
        "STEP   PATH   WHAT          A          B\n"
        "load   0      results['n']  1          2\n"
        "parse  1.0.0  status        succeeded  failed\n"
        "parse  1.0.0  error         -          builtins.ValueError: no\n"
        "count  1.0.1  step          cancelled  -\n"
        "fetch  1.1    step          succeeded  -\n"
        "extra  4      step          -          succeeded\n"
        "\n"
        "the runs differ: 5 of 8 steps\n"
    )


def test_the_command_for_runs_that_do_not_differ(journal, capsys):
    record_run(journal, "a")
    record_run(journal, "b")
    assert main(["runs", "diff", "a", "b", "--journal", journal.url]) == 0
    assert capsys.readouterr().out.endswith("\n\nthe runs do not differ\n")


def test_the_command_says_what_it_leaves_out(journal, capsys):
    for run_id, number in (("a", 0), ("b", 1)):
        delta = encode_delta(Delta({"l": [number] * 300, "t": "x" * 500}), JSON, "s").text
        run_input = encode_context(PipelineContext(results={"i": [number] * 300}), JSON).text
        record_run(journal, run_id, [step_record("0", "\x1b[2J", delta=delta)], input=run_input)
    assert main(["runs", "diff", "a", "b", "--journal", journal.url]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("\\x1b[2J") and "and 280 more" in line for line in lines)
    assert any("and 100 more" in line for line in lines)


def test_the_document_of_the_command(journal, capsys):
    record_run(journal, "a")
    record_run(journal, "b", other_steps())
    assert main(["runs", "diff", "a", "b", "--json", "--journal", journal.url]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["differs"] is True
    assert document == json.loads(json.dumps(compare_runs(journal, "a", "b").to_dict()))
