"""What `runs list` and `runs show` write, of records made by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from rich.cells import cell_len

from task_pipeline import JournalDataError
from task_pipeline.cli.documents import tree_document
from task_pipeline.cli.listing import list_runs
from task_pipeline.cli.showing import show_tree
from task_pipeline.cli.timeline import Axis, show_timeline
from task_pipeline.cli.tree import build_tree
from task_pipeline.journal.records import RunRecord
from tests.cli_records import (
    GROUPS,
    START,
    STEPS,
    group_record,
    run_record,
    step_record,
    written,
)

NOW = START + 20
HOSTILE = "\x1b[2J\x1b]0;owned\x07\r[bold]x[/bold]\u202e"


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


def shown(run: RunRecord | None = None, steps=STEPS, groups=GROUPS, show=show_tree, **kinds):
    run = run or run_record()
    root = build_tree(run, steps, groups, NOW)
    more = (NOW,) if show is show_timeline else ()
    return written(show, run, root, *more, **kinds)


def rows(text: str) -> dict[str, list[str]]:
    """The rows of the tree by path: status, attempts, duration, error."""
    lines = text.split("\n\n")[1].splitlines()
    columns = [lines[0].index(name) for name in ("STATUS", "ATTEMPTS", "DURATION", "PATH")]
    found = {}
    for line in lines[1:]:
        path, _, error = line[columns[3] :].partition(" ")
        status = line[columns[0] : columns[1]].strip()
        found[path] = [status, *line[columns[1] : columns[3]].split(), error.strip()]
        found[path] = [status, line[columns[1] : columns[1] + 8].strip()]
        found[path] += [line[columns[1] + 8 : columns[3]].strip(), error.strip()]
    return found


def test_the_tree_of_a_run():
    assert shown() == (
        "2027-01-15  nightly  failed\n"
        "  started 2027-01-15T08:00:00+00:00, ended 2027-01-15T08:00:10+00:00, took 10.0 s\n"
        "  tags prod, daily\n"
        "  worked on by process 7 on host\n"
        "  ValueError: boom\n"
        "\n"
        "STEP                  STATUS     ATTEMPTS  DURATION  PATH   ERROR\n"
        "nightly               failed            -    10.0 s  -      -\n"
        "├ load                succeeded         1    1.00 s  0      -\n"
        "├ both (any)          succeeded         -    4.00 s  1      -\n"
        "│ ├ serial_group_1.0  cancelled         -    2.00 s  1.0    -\n"
        "│ │ ├ parse           succeeded         2    1.50 s  1.0.0  -\n"
        "│ │ └ count           cancelled         0         -  1.0.1  -\n"
        "│ └ fetch             succeeded         1    4.00 s  1.1    -\n"
        "├ each (1 of 2)       succeeded         -    500 ms  2      -\n"
        "│ ├ double[9]         succeeded         1    250 ms  2.9    -\n"
        "│ └ double[10]        succeeded         1    4.0 ms  2.10   -\n"
        "└ report              failed            1    3.00 s  3      ValueError: boom ...\n"
    )


def test_a_run_in_which_nothing_has_begun():
    run = run_record(
        worker=None,
        status="running",
        is_live=True,
        started_at=None,
        ended_at=None,
        error_type=None,
        tags=(),
    )
    text = shown(run, [], [])
    assert "  started never\n" in text
    assert {row[0] for path, row in rows(text).items() if path != "-"} == {"pending"}
    assert rows(text)["-"][0] == "running"
    ended = rows(shown(replace(run, status="cancelled"), [], []))
    assert ended["1.0.0"][0] == "not run"


def test_a_step_that_runs_goes_on_until_now_if_somebody_works_at_the_run():
    steps = [
        step_record("0", "load"),
        step_record("1.0.0", "parse", at=1, duration=None, status="running"),
    ]
    live = run_record(status="running", is_live=True, ended_at=None, resumes=1)
    found = rows(shown(live, steps, []))
    assert found["1.0.0"] == ["running", "1", "19.0 s", "-"]
    assert found["1.0"][:3] == ["running", "-", "19.0 s"]
    assert found["1"][:3] == ["running", "-", "19.0 s"]
    assert found["-"][:3] == ["running", "-", "20.0 s"]
    assert "resumed 1 time" in shown(live, steps, [])
    dead = replace(live, is_live=False)
    found = rows(shown(dead, steps, []))
    assert [found[path][0] for path in ("-", "1", "1.0", "1.0.0")] == ["interrupted"] * 4
    assert found["1.0.0"][2] == "-"
    assert found["1.0.1"][0] == "pending"
    assert found["0"][0] == "succeeded"


def test_between_two_steps_a_series_is_running():
    run = run_record(status="running", is_live=True, ended_at=None)
    found = rows(shown(run, [step_record("1.0.0", "parse", at=1)], []))
    assert found["1.0"][0] == "running"


@pytest.mark.parametrize(
    ("more", "first", "second", "state"),
    [
        ({}, "succeeded", "skipped", "succeeded"),
        ({}, "failed", "succeeded", "failed"),
        ({"goes_on": True}, "failed", "succeeded", "-"),
        ({}, "timed_out", None, "timed_out"),
        ({}, "skipped", "skipped", "skipped"),
    ],
)
def test_a_series_without_a_row_is_what_its_steps_come_to(more, first, second, state):
    children = [{"step": "a"}, {"step": "b"}, {"step": "c", "critical": False}]
    series = {"group": "serial", "name": "in", "children": children, **more}
    plan = {"group": "serial", "name": "p", "children": [series]}
    steps = [step_record("0.0", "a", status=first), step_record("0.2", "c", status="failed")]
    if second:
        steps.append(step_record("0.1", "b", status=second))
    assert rows(shown(run_record(plan=json.dumps(plan)), steps, []))["0"][0] == state


def test_what_a_resume_has_set_aside_is_history_and_no_longer_in_the_tree():
    steps = [
        step_record("0", "load", superseded=True, status="failed"),
        step_record("0", "load", attempt=2, at=5),
        step_record("7", "gone", superseded=True),
    ]
    found = rows(shown(None, steps, [group_record("7.1", "gone too", superseded=True)]))
    assert found["0"][:3] == ["succeeded", "2", "2.00 s"]
    assert not {"7", "7.1"} & found.keys()


def test_a_group_that_ran_again_took_as_long_as_it_then_did():
    steps = [
        step_record("1.0.0", "parse", superseded=True),
        step_record("1.0.0", "parse", attempt=2, at=500, superseded=True, status="failed"),
        step_record("1.0.0", "parse", attempt=3, at=502),
    ]
    found = rows(shown(None, steps, []))
    assert found["1.0.0"][:3] == ["succeeded", "3", "3.00 s"]
    assert found["1.0"][2] == "3.00 s"


def test_without_a_plan_the_tree_is_made_of_what_there_are_rows_for():
    steps = [
        *(step_record("0.1.d0.1", "inner"), step_record("0.2", "two"), step_record("0.10", "ten")),
        *(step_record("x", "odd"), step_record("0.99999999999999999999", "huge")),
    ]
    found = rows(shown(run_record(plan=""), steps, [group_record("0", "named"), *GROUPS[2:]]))
    paths = ["-", "0", "0.1", "0.1.d0", "0.1.d0.1", "0.2", "0.10", "0.99999999999999999999"]
    assert list(found) == [*paths, "2", "x"] or list(found) == [*paths, "x"]
    assert "├ group 0.1\n" not in shown(run_record(plan=""), steps, [])
    assert "group 0.1" in shown(run_record(plan=""), steps, [])


def test_the_latest_round_of_a_group_counts():
    groups = [
        group_record("1", "both", round=1, status="failed"),
        group_record("1", "both", round=0),
    ]
    assert rows(shown(None, [], groups))["1"][0] == "failed"


@pytest.mark.parametrize(
    "plan",
    [
        "{",
        "[" * 100_000,
        "[]",
        '{"group": "serial"}',
        '{"group": "serial", "name": "n", "children": {}}',
        '{"group": "serial", "name": "n", "children": [1]}',
        '{"group": "serial", "name": "n", "each": {"step": 1}}',
    ],
)
def test_a_plan_that_is_none_is_an_error_that_says_where(plan):
    place = r"^workflow_runs, run '2027-01-15', column plan: this is no outline of a plan: "
    with pytest.raises(JournalDataError, match=place) as caught:
        shown(run_record(plan=plan))
    assert caught.value.run_id == "2027-01-15"


@pytest.mark.no_cover
def test_a_tree_as_deep_as_it_likes():
    path = ".".join("0" * 1_100)
    assert len(shown(run_record(plan=""), [step_record(path, "deep")], []).splitlines()) > 1_100


# What is hostile


def hostile_run(**columns):
    return run_record(
        run_id=HOSTILE, name=HOSTILE, tags=(HOSTILE,), worker=HOSTILE, error_type=HOSTILE,
        error_text=HOSTILE, plan="", **columns,
    )  # fmt: skip


HOSTILE_STEPS = [step_record("0", HOSTILE, error_type="E", error_text=HOSTILE, status="failed")]


@pytest.mark.parametrize("show", [show_tree, show_timeline])
@pytest.mark.parametrize("is_terminal", [False, True])
def test_nothing_out_of_a_journal_is_obeyed(show, is_terminal):
    run = hostile_run()
    steps = [*HOSTILE_STEPS, step_record(f"0.{HOSTILE}", "below")]
    groups = [group_record("1", HOSTILE)]
    text = shown(run, steps, groups, show, is_terminal=is_terminal)
    text += written(list_runs, [run], False, NOW, is_terminal=is_terminal)
    assert "\\x1b[2J\\x1b]0" in text
    assert "[bold]x" in text.replace("\n", "")
    for control in ("\x1b[2J", "\x1b]", "\x07", "\r", "\u202e"):
        assert control not in text
    if not is_terminal:
        assert "\x1b" not in text


def test_json_is_ascii_whatever_stands_in_it():
    screen = written(list_runs, [hostile_run()], True, NOW, is_terminal=True)
    assert screen.isascii()
    assert "\x1b" not in screen
    assert json.loads(screen)["runs"][0]["run_id"] == HOSTILE


# Documents


def test_the_document_of_a_run():
    run = run_record()
    document = tree_document(run, build_tree(run, STEPS, GROUPS, NOW), NOW)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["run"] == {
        "run_id": "2027-01-15",
        "name": "nightly",
        "state": "failed",
        "status": "failed",
        "is_live": False,
        "tags": ["prod", "daily"],
        "created_at": "2027-01-15T08:00:00.000000+00:00",
        "started_at": "2027-01-15T08:00:00.000000+00:00",
        "ended_at": "2027-01-15T08:00:10.000000+00:00",
        "duration": 10.0,
        "resumes": 0,
        "worker": "host:7:::",
        "fingerprint": "f1",
        "codec": "json",
        "context_type": "task_pipeline.context:PipelineContext",
        "error": {
            "type": "builtins.ValueError",
            "text": "boom",
            "traceback": "Traceback ...\nValueError: boom\n",
        },
    }
    by_path = {step["path"]: step for step in document["steps"]}
    assert list(by_path) == ["0", "1.0.0", "1.0.1", "1.1", "2.9", "2.10", "3"]
    parse = by_path["1.0.0"]
    assert [attempt["status"] for attempt in parse["attempts"]] == ["failed", "succeeded"]
    assert [attempt["superseded"] for attempt in parse["attempts"]] == [True, False]
    assert (parse["branch_name"], parse["duration"]) == ("left", 1.5)
    assert by_path["2.9"]["map_key"] == "9"
    assert document["groups"][1] == {
        "path": "1",
        "name": "both",
        "join": "any",
        "status": "succeeded",
        "started_at": "2027-01-15T08:00:01.000000+00:00",
        "ended_at": "2027-01-15T08:00:05.000000+00:00",
        "duration": 4.0,
        "closed_by": None,
        "error": None,
    }


def test_the_document_of_a_run_with_numbers_that_json_has_not():
    steps = [step_record("0", "load", at=float("nan"), duration=float("inf"))]
    steps += [step_record("1.1", "fetch", at=1, duration=float("nan"))]
    run = run_record(started_at=float("nan"))
    document = tree_document(run, build_tree(run, steps, [], NOW), NOW)
    assert json.dumps(document, allow_nan=False)
    assert document["run"]["duration"] is None
    assert document["steps"][0]["attempts"][0]["duration"] is None


# Lists


def test_a_list_in_a_pipe_has_as_many_columns_in_each_line():
    runs = [run_record(), run_record(run_id="漢字", tags=(), error_type=None, started_at=None)]
    text = written(list_runs, runs, False, NOW)
    assert text == (
        "RUN         PIPELINE  STATE   STARTED                    DURATION  RESUMES  TAGS        "
        "ERROR\n"
        "2027-01-15  nightly   failed  2027-01-15T08:00:00+00:00    10.0 s        0  prod,daily  "
        "ValueError: boom\n"
        "漢字        nightly   failed  2027-01-15T08:00:00+00:00         -        0  -           "
        "-\n"
    )


def test_an_empty_list():
    assert written(list_runs, [], False, NOW).startswith("RUN  PIPELINE  STATE")
    assert written(list_runs, [], False, NOW, is_terminal=True).strip() == "no such run"
    assert json.loads(written(list_runs, [], True, NOW)) == {"runs": []}


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200])
def test_a_list_in_a_terminal_is_no_wider_than_it(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    run_id = "8c7d9f3e-5d3f-4d0b-9a55-8e8a4ce1c2f9"
    run = run_record(run_id=run_id, error_text="an error " * 30, resumes=2)
    text = written(list_runs, [run], False, NOW, is_terminal=True)
    lines = text.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    if columns >= 80:
        assert max(map(cell_len, lines)) <= columns
    first = lines[2].index("  ")
    assert "".join(line[:first].strip() for line in lines[2:]) == run_id  # never cut
    assert ("RESUMES" in lines[0]) is (columns >= 120)


# Timelines


def bars(text: str) -> dict[str, str]:
    lines = text.split("\n\n")[1].splitlines()
    first = lines[0].index("0")
    return {line[:first].strip(" ├│└"): line[first:].rsplit("  ", 1)[0] for line in lines[1:]}


def test_a_timeline():
    found = bars(shown(show=show_timeline))
    width = len(found["nightly"].rstrip())
    assert set(found["nightly"].strip()) == {"─"}
    assert found["load"].startswith("█" * (width // 10))
    assert found["parse"].strip().split() == ["▒" * 5, "█" * found["parse"].count("█")]
    assert found["count"].strip() == ""
    assert set(found["report"].strip()) == {"▒"}
    assert found["report"].index("▒") == pytest.approx(width * 0.7, abs=1)
    assert found["fetch"].index("█") == pytest.approx(width * 0.1, abs=1)
    assert "10.0 s" in shown(show=show_timeline).split("\n\n")[1].splitlines()[0]


def test_a_timeline_in_ascii():
    text = shown(show=show_timeline, encoding="ascii")
    assert text.isascii()
    assert "#" in bars(text)["|-load"]


def test_a_timeline_of_a_run_that_goes_on():
    steps = [step_record("0", "load"), step_record("3", "report", at=1, status="running",
                                                   duration=None)]  # fmt: skip
    run = run_record(status="running", is_live=True, ended_at=None)
    assert bars(shown(run, steps, [], show_timeline))["report"].strip().endswith("█▶")
    cut = replace(run, is_live=False)
    assert bars(shown(cut, steps, [], show_timeline))["report"].strip() == "▶"


def test_a_timeline_of_nothing():
    assert set("".join(bars(shown(steps=[], groups=[], show=show_timeline)).values())) <= set(" ")
    steps = [step_record("0", "load", at=float("nan"))]
    assert bars(shown(steps=steps, groups=[], show=show_timeline))["load"].strip() == ""


def test_the_time_when_nobody_was_at_it_is_cut_out_of_a_resumed_run():
    day = 86_400.0
    steps = [step_record("0", "load", duration=2.0), step_record("3", "report", at=day)]
    run = run_record(resumes=1, ended_at=START + day + 1)
    found = bars(shown(run, steps, [], show_timeline))
    assert found["load"].count("█") == pytest.approx(2 * found["report"].count("█"), abs=2)
    column = found["report"].index("┊")
    assert (found["load"][column], found["nightly"][column]) == ("┊", "─")
    uncut = bars(shown(replace(run, resumes=0), steps, [], show_timeline))
    assert uncut["load"].count("█") == 1


def test_an_axis():
    axis = Axis([(0.0, 1.0), (100.0, 101.0)], 21, cuts_rests=True)
    assert (axis.width, axis.rests, axis.seconds) == (21, [10], 2.0)
    assert axis.columns((0.0, 1.0)) == range(10)
    assert axis.columns((0.0, 0.5)) == range(5)
    assert axis.columns((0.5, 1.0)) == range(5, 10)
    assert axis.columns((-5.0, 0.0)) == range(1)
    assert axis.columns((50.0, 60.0)) == range(11, 12)
    assert axis.columns((100.0, 101.0)) == axis.columns((100.0, 500.0)) == range(11, 21)
    assert axis.columns((101.0, 101.0)) == range(20, 21)
    assert Axis([(5.0, 5.0)], 10, cuts_rests=True).columns((5.0, 5.0)) == range(1)
    many = Axis([(at, at + 1e-9) for at in range(0, 4_000, 1_000)], 3, cuts_rests=True)
    assert (many.width, many.rests) == (7, [1, 3, 5])
    assert Axis([], 10, cuts_rests=True).columns((5.0, 5.0)) == range(1)
