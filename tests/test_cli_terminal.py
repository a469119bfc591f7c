"""`task-pipeline runs` in real terminals: a pty, and the screen it leaves."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from task_pipeline.journal.opening import open_journal
from tests.cli_records import GROUPS, STEPS, record_run, step_record
from tests.display_terminal import Terminal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no ptys")

HOSTILE = "\x1b[2J\x1b]0;owned\x07[red]x"


@pytest.fixture
def url(tmp_path):
    """A journal with a run whose last step has a name and an error that nobody should obey."""
    url = f"sqlite:///{tmp_path}/runs.db"
    hostile = step_record("3", HOSTILE, at=7, status="failed", error_type="builtins.ValueError",
                          error_text=HOSTILE)  # fmt: skip
    with open_journal(url) as journal:
        record_run(journal, "2027-01-15", [*STEPS[:-1], hostile], GROUPS, name="漢字 nightly")
        record_run(journal, "2027-01-16", [*STEPS[:-1], hostile], GROUPS, name="漢字 nightly")
    return url


class Typed(Terminal):
    """One in which somebody types."""

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._master, text.encode())


def terminal(columns: int, *arguments: str, **environment: str) -> Typed:
    script = f"import sys; from task_pipeline.cli import main; sys.exit(main({list(arguments)!r}))"
    return Typed(script, columns, 40, TZ="UTC", **environment)


def colours(shown: Terminal, text: str) -> set[str]:
    """The colours in which a text stands on the screen."""
    found = set()
    for number, line in enumerate(shown.screen.display):
        at = line.find(text)
        if at >= 0:
            row = shown.screen.buffer[number]
            found |= {row[column].fg for column in range(at, at + len(text))}
    return found


@pytest.mark.parametrize("columns", [80, 120])
def test_a_run_in_a_terminal(url, columns):
    with terminal(columns, "runs", "show", "2027-01-15", "--journal", url) as shown:
        lines = shown.finish()
        assert shown.process.returncode == 0
        assert lines[0] == "2027-01-15  漢字 nightly  failed"
        assert lines[1] == "  started 2027-01-15 08:00:00, ended 2027-01-15 08:00:10, took 10.0 s"
        table = lines[lines.index("") + 1 :]
        assert table[0].split() == ["STEP", "STATUS", "ATTEMPTS", "DURATION", "PATH", "ERROR"]
        assert set(table[1]) == {"─"}
        assert table[4].split() == ["├", "both", "(any)", "succeeded", "4.00", "s", "1"]
        assert table[6].split() == ["│", "│", "├", "parse", "succeeded", "2", "1.50", "s", "1.0.0"]
        assert table[-1].startswith("└ \\x1b[2J\\x1b]0;owned")
        assert ("\\x07[red]x" in table[-1]) is (columns == 120)
        assert " ValueE" in table[-1]
        assert len(table) == 13
        assert colours(shown, "succeeded") == {"green"}
        assert colours(shown, "cancelled") == {"brown"}
        assert b"\x1b[2J" not in shown.raw
        assert b"\x07" not in shown.raw
        assert shown.has_cursor


def test_without_colours_if_somebody_asks_for_it(url):
    with terminal(100, "runs", "show", "2027-01-15", "--journal", url, NO_COLOR="1") as shown:
        lines = shown.finish()
        assert any("succeeded" in line for line in lines)
        assert colours(shown, "succeeded") == {"default"}


def test_a_timeline_in_a_terminal(url):
    arguments = ("runs", "show", "2027-01-15", "--timeline", "--journal", url)
    with terminal(100, *arguments) as shown:
        lines = shown.finish()
        fetch = next(line for line in lines if "fetch" in line)
        assert fetch.rstrip().endswith("4.00 s")
        assert "████████" in fetch
        assert colours(shown, "████████") >= {"green"}
        assert b"\x1b[2J" not in shown.raw


def test_a_list_and_a_diff_in_a_terminal(url):
    with terminal(100, "runs", "list", "--journal", url) as shown:
        lines = shown.finish()
        assert lines[0].split()[:4] == ["RUN", "PIPELINE", "STATE", "STARTED"]
        assert "RESUMES" not in lines[0]
        assert [line.split()[0] for line in lines[2:]] == ["2027-01-16", "2027-01-15"]
    with terminal(100, "runs", "diff", "2027-01-15", "2027-01-16", "--journal", url) as shown:
        lines = shown.finish()
        assert shown.process.returncode == 0
        assert lines[-1] == "the runs do not differ"


@pytest.mark.parametrize(
    ("answer", "told"),
    [("y", "deleted run 2027-01-15"), ("n", "nothing was deleted"), ("", "interrupted")],
)
def test_deleting_asks_first(url, answer, told):
    shown = terminal(100, "runs", "delete", "2027-01-15", "--journal", url)
    with shown:
        shown.until("Delete run 2027-01-15 (漢字 nightly, failed)?")
        if answer:
            shown.type(answer + "\n")
        else:
            shown.process.send_signal(signal.SIGINT)
        assert told in shown.finish()[-1]
        assert shown.process.returncode == (0 if answer else 130)
    with open_journal(url) as journal:
        assert len(journal.runs()) == (1 if answer == "y" else 2)
