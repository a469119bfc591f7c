"""The tree as lines: which there are, and that none is wider than the terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from task_pipeline import events
from task_pipeline.display.nodes import RunState
from task_pipeline.display.picture import final_picture, live_picture, summary_lines
from task_pipeline.display.rows import Look
from task_pipeline.display.summary import summarize
from task_pipeline.display.text import (
    ASCII,
    UNICODE,
    clean,
    percent_text,
    seconds_text,
    signs_for,
)
from tests.display_story import Story, told

NASTY = [
    *("[red]markup[/red]", "two\nlines", "\x1b[31mcolour\x1b[0m", "漢字" * 30, "👩‍👩‍👧‍👦 family"),
    *("tab\there", "\u202ebackwards", "x" * 300, "", "é" * 50, "\ud800 half a pair"),
]


def look(width: int = 100, **changes) -> Look:
    facts = {"signs": UNICODE, "encoding": "utf-8", "now": 100.0, **changes}
    return Look(width=width, **facts)


def plain(lines) -> list[str]:
    return [line.plain for line in lines]


def wide(branches: int, ended: int = 0, running: int = 0, failed: tuple[int, ...] = ()) -> RunState:
    story = Story()
    story.start(branches)
    story.group("0", branches, "many")
    for number in range(ended):
        story.begin(f"0.{number}", f"work {number}")
        kind = events.StepFailed if number in failed else events.StepSucceeded
        story.done(f"0.{number}", kind, error=ValueError("broken") if number in failed else None)
    for number in range(ended, ended + running):
        story.begin(f"0.{number}", f"work {number}")
    return told(story)


def nasty_story() -> Story:
    story = Story(name="漢字 [bold]run[/bold]\n")
    story.start(len(NASTY) + 2)
    story.group("0", len(NASTY), "[blue]group[/blue] \x07")
    for number, name in enumerate(NASTY):
        story.begin(f"0.{number}", name or "?")
    story.done("0.0", events.StepFailed, error=ValueError("[red]\n漢字" * 40))
    story.done("0.1", events.StepRetrying, delay=1.0, error=KeyError("x" * 200))
    story.progress("0.2", 40.0)
    return story


@given(st.integers(1, 260), st.booleans(), st.booleans(), st.sampled_from(["utf-8", "ascii"]))
def test_no_line_is_wider_than_it_may_be(width, is_final, show_progress, encoding) -> None:
    run = told(nasty_story())
    drawn = look(
        width,
        is_final=is_final,
        show_progress=show_progress,
        encoding=encoding,
        signs=signs_for(encoding),
    )
    lines = [
        *(final_picture(run, drawn) if is_final else live_picture([run], drawn, 40)),
        *summary_lines(summarize(run, 100.0), drawn),
    ]
    for line in plain(lines):
        assert cell_len(line) <= width
        assert line == clean(line, encoding)  # no control character, nothing that cannot be written


@given(st.integers(1, 60), st.integers(0, 40), st.integers(0, 20), st.integers(1, 3))
def test_a_live_picture_is_never_taller_than_its_room(room, ended, running, runs) -> None:
    run = wide(100, ended, running, failed=(3, 30))
    assert len(live_picture([run] * runs, look(), room)) <= room


def test_names_are_shown_as_they_are() -> None:
    run = told(nasty_story())
    lines = plain(final_picture(run, look(120)))
    assert "✗ [red]markup[/red]" in lines[2]
    assert "two lines" in lines[3]
    assert "[blue]group[/blue]" in lines[1]


def test_what_runs_and_what_failed_comes_first() -> None:
    run = wide(100, ended=60, running=3, failed=(7,))
    lines = plain(live_picture([run], look(), 12))
    text = "\n".join(lines)
    for name in ("work 7 ", "work 60 ", "work 61 ", "work 62 ", "work 59 "):
        assert name in text
    assert lines[-1].strip("└ ") == "… 55 more done, 37 to come"
    assert len(lines) == 11


def test_a_tree_that_fits_is_shown_whole() -> None:
    run = wide(8, ended=5, running=3)
    lines = plain(live_picture([run], look(), 10))
    assert len(lines) == 10
    assert not any("more" in line for line in lines)


def test_what_is_too_deep_for_the_room_is_shown_flat() -> None:
    story = Story()
    story.start(1)
    path = "0"
    for _ in range(30):
        story.group(path, 1)
        path += ".0"
    story.begin(path, "deep")
    lines = plain(live_picture([told(story)], look(), 5))
    assert len(lines) == 2
    assert "● deep" in lines[1]


def test_more_runs_than_lines() -> None:
    lines = plain(live_picture([wide(3, running=1)] * 20, look(), 8))
    assert len(lines) <= 8
    assert lines[-1] == "… 16 more runs"


def test_a_final_picture_has_every_step_once() -> None:
    run = wide(150, ended=150)
    lines = plain(final_picture(run, look()))
    assert len(lines) == 152
    for number in range(150):
        assert sum(f"work {number} " in line for line in lines) == 1


def test_of_a_huge_group_the_failed_and_the_first_are_listed_and_the_rest_counted() -> None:
    run = wide(1000, ended=1000, failed=(900, 950))
    lines = plain(final_picture(run, look()))
    assert len(lines) == 2 + 200 + 1
    assert lines[-1].strip("└ ") == "… 800 more: 800 succeeded"
    assert any("work 900 " in line for line in lines)
    assert sum("✗ work" in line for line in lines) == 2


def test_columns_come_and_go_with_the_width() -> None:
    run = wide(4, ended=2, running=1)
    run.offset = 90.0
    wide_lines = plain(live_picture([run], look(100), 10))
    assert "50 %" in wide_lines[0]
    assert "2/4 steps" in wide_lines[0]
    assert "━" in wide_lines[0]
    assert "~10.0 s left" in wide_lines[0]
    assert "2/4" in wide_lines[1]
    narrow = plain(live_picture([run], look(39), 10))
    assert "50 %" in narrow[0]
    assert not any("━" in line or "left" in line for line in narrow)
    bare = plain(live_picture([run], look(100, show_progress=False), 10))
    assert not any("%" in line or "━" in line or "left" in line for line in bare)


def test_a_run_that_failed_is_not_a_hundred_percent() -> None:
    story = Story()
    story.start(1)
    story.begin("0")
    story.done("0", events.StepFailed, error=ValueError("boom"))
    story.end(events.RunFailed, error=ValueError("boom"))
    lines = plain(final_picture(told(story), look(is_final=True)))
    assert "failed" in lines[0]
    assert "%" not in lines[0]
    assert "ValueError: boom" in lines[1]


def test_signs_that_cannot_be_written_have_stand_ins() -> None:
    assert signs_for("utf-8") is UNICODE
    assert signs_for("ascii") is ASCII
    assert signs_for("no such encoding") is ASCII
    assert all(sign.isascii() for sign in ASCII)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0.0, "0.00 s"), (1.234, "1.23 s"), (9.996, "10.0 s"), (59.97, "1:00 min")),
        *((119.6, "2:00 min"), (3599.4, "59:59 min"), (3600.0, "1:00 h"), (360000.0, "100:00 h")),
    ],
)
def test_seconds(seconds, text) -> None:
    assert seconds_text(seconds) == text


@given(st.floats(0, 1e6))
def test_seconds_fit_their_column(seconds) -> None:
    assert len(seconds_text(seconds)) <= 9


def test_only_what_is_done_is_a_hundred_percent() -> None:
    assert [percent_text(percent) for percent in (0.0, 99.99, 100.0)] == ["0 %", "99 %", "100 %"]
