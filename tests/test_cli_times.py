"""Times and durations on the command line, and texts that nobody should obey."""

from __future__ import annotations

import math
import time
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from task_pipeline import PipelineDefinitionError
from task_pipeline.cli.escaping import first_line, visible, visible_lines
from task_pipeline.cli.failures import CommandError, error_line, traceback_lines
from task_pipeline.cli.times import (
    duration_text,
    iso_time,
    local_time,
    parse_duration,
    parse_time,
)
from tests.cli_records import START


@pytest.fixture
def berlin(monkeypatch):
    """A machine that is an hour ahead of UTC in winter."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("3h", 10_800),
        ("2d", 172_800),
        ("1h30m", 5_400),
        (" 2W ", 1_209_600),
        ("1.5h", 5_400),
        ("0s", 0),
    ],
)
def test_a_duration_is_numbers_with_units(text, seconds):
    assert parse_duration(text, "--since") == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "2", "d", "2 days", "-2d", "2d!", "٣d", "1e3s", "P2D"])
def test_what_is_no_duration_is_an_error_that_names_the_option(text):
    with pytest.raises(CommandError, match=r"^--older-than takes a time ago such as 2d") as caught:
        parse_duration(text, "--older-than")
    assert repr(text) in str(caught.value)


def test_a_duration_longer_than_there_are_days_is_an_error():
    with pytest.raises(CommandError, match="longer than there are days"):
        parse_duration("9999999999w", "--since")
    with pytest.raises(CommandError, match="before there were years"):
        parse_time("999999d", "--since")


def test_a_time_ago_is_counted_from_now():
    before = datetime.now(UTC)
    found = parse_time("2d", "--since")
    assert before - timedelta(days=2) <= found <= datetime.now(UTC) - timedelta(days=2)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-21", "2026-11-20T23:00:00+00:00"),
        ("2026-11-21T08:00", "2026-11-21T07:00:00+00:00"),
        ("2026-07-01 08:00:30", "2026-07-01T06:00:30+00:00"),
        ("2026-11-21T08:00+05:00", "2026-11-21T03:00:00+00:00"),
        ("2026-11-21T08:00Z", "2026-11-21T08:00:00+00:00"),
    ],
)
@pytest.mark.usefixtures("berlin")
def test_a_date_or_time_is_local_unless_it_says_otherwise(text, utc):
    assert parse_time(text, "--since").isoformat() == utc


@pytest.mark.parametrize(
    "text", ["yesterday", "2026-13-01", "21.11.2026", "0001-01-01T00:00+23:00"]
)
def test_what_is_no_time_is_an_error(text):
    with pytest.raises(CommandError, match=r"--since takes .*or a date or time such as 2026-11-21"):
        parse_time(text, "--since")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (math.nan, ""),
        (math.inf, ""),
        (0.0, "0.0 ms"),
        (0.0042, "4.2 ms"),
        (0.0096, "10 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (12.34, "12.3 s"),
        (90, "1:30 min"),
        (7_260, "2:01 h"),
        (100_000, "1 d 4 h"),
        (-1.5, "-1.50 s"),
    ],
)
def test_a_duration_is_short(seconds, text):
    assert duration_text(seconds) == text


@pytest.mark.usefixtures("berlin")
def test_times_of_a_journal():
    assert iso_time(START) == "2027-01-15T08:00:00.000000+00:00"
    assert local_time(START) == "2027-01-15 09:00:00"
    assert local_time(START, for_people=False) == "2027-01-15T09:00:00+01:00"


@pytest.mark.parametrize("moment", [None, math.nan, math.inf, 1e300, -1e17])
def test_a_time_that_is_none_is_not_shown(moment):
    assert iso_time(moment) is None
    assert local_time(moment) == ""


# Texts


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Überraschung 漢字 😀", "Überraschung 漢字 😀"),
        ("\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202etxt.exe", "abc\\u202etxt.exe"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("a\u2028b", "a\\u2028b"),
        ("[red]markup[/red] :smile:", "[red]markup[/red] :smile:"),
    ],
)
def test_what_a_terminal_would_obey_is_written_as_in_a_string(text, shown):
    assert visible(text) == shown


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=40))
def test_whatever_the_text_it_is_one_line_without_controls(text):
    shown = visible(text, "latin-1")
    shown.encode("latin-1")
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp", "Cn", "Co"}
    assert not [one for one in shown if unicodedata.category(one) in hidden]


def test_what_cannot_be_encoded_is_escaped():
    assert visible("漢 ü", "ascii") == "\\u6f22 \\xfc"


def test_texts_of_several_lines():
    assert visible_lines("a\x1b\n\tb") == ["a\\x1b", "        b"]
    assert first_line("\n  one\x07 \ntwo") == "one\\x07 ..."
    assert first_line("") == ""


# What went wrong


def test_an_error_is_one_line():
    problems = PipelineDefinitionError(["path 0: wrong", "path 1: wrong too"])
    assert error_line(problems) == (
        "2 mistakes in the pipeline's definition: path 0: wrong; path 1: wrong too"
    )
    assert error_line(CommandError("a\n  b\x1b")) == "a b\\x1b"
    assert error_line(KeyError("x")) == "KeyError: 'x'"
    assert error_line(ValueError()) == "ValueError"


def test_a_traceback_is_harmless():
    try:
        raise ValueError("\x1b[2J")
    except ValueError as error:
        lines = traceback_lines(error)
    assert "\x1b" not in lines
    assert lines.endswith("ValueError: \\x1b[2J\n")
    assert Path(__file__).name in lines
