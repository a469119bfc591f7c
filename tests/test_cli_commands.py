"""`task-pipeline runs`: on real journals, in this process and as the installed script."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from task_pipeline.cli import main
from task_pipeline.journal.opening import open_journal
from task_pipeline.journal.records import NewRun
from tests.cli_records import STEPS, Screen, record_run, step_record
from tests.databases import postgresql_url

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = Path(sys.executable).with_name("task-pipeline")
DAY = 86_400.0


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty directory to call the program in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TASK_PIPELINE_JOURNAL", raising=False)
    monkeypatch.setenv("TZ", "UTC")
    return tmp_path


@pytest.fixture
def journal(here):
    """The journal that is found there."""
    with open_journal("sqlite:///runs.db") as opened:
        yield opened


@pytest.fixture
def call(capsys):
    """Runs one command: its exit code, what it wrote, and what it complained of."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["runs", *arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def script(*arguments: str, **more) -> subprocess.CompletedProcess[str]:
    """The installed script, in the current directory."""
    return subprocess.run(
        [SCRIPT, *arguments], capture_output=True, text=True, timeout=50, check=False, **more
    )


def ids(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines()[1:]]


# Which journal


def test_without_a_journal_the_three_ways_are_told(here, call):
    code, out, err = call("list")
    assert (code, out) == (2, "")
    assert err == (
        "task-pipeline: which journal? Say --journal URL, set TASK_PIPELINE_JOURNAL, or be in a "
        "directory with a runs.db\n"
    )
    assert list(here.iterdir()) == []


def test_the_journal_is_the_one_said_else_the_one_set_else_the_file(here, call, monkeypatch):
    for name in ("said", "set", "runs"):
        with open_journal(f"sqlite:///{name}.db") as made:
            record_run(made, f"in-{name}")
    assert ids(call("list")[1]) == ["in-runs"]
    monkeypatch.setenv("TASK_PIPELINE_JOURNAL", "sqlite:///set.db")
    assert ids(call("list")[1]) == ["in-set"]
    assert ids(call("list", "--journal", f"sqlite:///{here}/said.db")[1]) == ["in-said"]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("runs.db", "a journal is named by a URL, such as sqlite:///runs.db or"),
        ("sqlite:///typo.db", "typo.db', so 'sqlite:///typo.db' is no journal"),
        ("sqlite+pysqlite:///typo.db", "there is no file '"),
        ("sqlite:///~/typo.db", "there is no file '"),
        ("sqlite:///typo.db?timeout=5", "does not name a file"),
        ("sqlite:///:memory:", "does not name a file"),
        ("sqlite:///", "does not name a file"),
        ("mysql://x/y", "mysql"),
        ("://", ""),
    ],
)
def test_a_journal_that_is_none(here, call, url, told):
    code, out, err = call("list", "--journal", url)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert list(here.iterdir()) == []


def test_a_file_that_is_no_journal(here, call):
    (here / "runs.db").write_bytes(b"not a database" * 1_000)
    code, _, err = call("list")
    assert code == 2
    assert err.startswith("task-pipeline: ")
    assert err.count("\n") == 1


def test_a_journal_at_home(here, call, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    with open_journal("sqlite:///~/mine.db") as made:
        record_run(made, "one")
    assert ids(call("list", "--journal", "sqlite:///~/mine.db")[1]) == ["one"]


# list


@pytest.fixture
def several(journal):
    now = time.time()
    for number, status in enumerate(("succeeded", "failed", "cancelled"), 1):
        created = now - number * DAY
        record_run(
            journal, f"run-{status}", status=status, created_at=created, started_at=created,
            ended_at=created + 5, name=f"p{number}", tags=(f"t{number}", "all"),
            error_type="builtins.ValueError" if status == "failed" else None,
        )  # fmt: skip
    began = now - 4 * DAY
    record_run(journal, "cut", status=None, created_at=began, started_at=began, name="p4", tags=())
    return journal


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize(
    ("options", "found"),
    [
        ((), ["run-succeeded", "run-failed", "run-cancelled", "cut"]),
        (("--status", "failed"), ["run-failed"]),
        (("--status", "interrupted"), ["cut"]),
        (("--status", "running"), []),
        (("--name", "p3"), ["run-cancelled"]),
        (("--tag", "t1"), ["run-succeeded"]),
        (("--tag", "all", "--limit", "2"), ["run-succeeded", "run-failed"]),
        (("--since", "36h"), ["run-succeeded"]),
        (("--until", "84h"), ["cut"]),
        (("--since", "2d12h", "--until", "1d12h"), ["run-failed"]),
        (("--since", "2026-01-01", "--status", "cancelled"), ["run-cancelled"]),
    ],
)
def test_a_list_of_some(call, options, found):
    code, out, err = call("list", *options)
    assert (code, ids(out), err) == (0, found, "")


@pytest.mark.usefixtures("several")
def test_a_list_as_a_document(call):
    code, out, _ = call("list", "--json", "--status", "failed")
    (run,) = json.loads(out)["runs"]
    assert code == 0
    assert (run["run_id"], run["status"], run["duration"]) == ("run-failed", "failed", 5.0)
    assert run["error"]["text"] == "boom"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["list", "--status", "broken"], "'running', 'interrupted'"),
        (["list", "--limit", "0"], "--limit"),
        (["list", "--limit", "many"], "--limit"),
        (["list", "--since", "soon"], "--since takes a time ago such as 2d"),
        (["list", "--until", "soon"], "--until takes a time ago such as 2d"),
        (["list", "--colour"], "--colour"),
        (["show"], "RUN"),
        (["show", "a", "b"], "b"),
        (["prune"], "--older-than"),
        (["prune", "--older-than", "30"], "--older-than takes a time ago"),
        (["vanish"], "vanish"),
        ([], "Missing command"),
    ],
)
@pytest.mark.usefixtures("journal")
def test_misuse_is_one_line(call, arguments, told):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert err.startswith("task-pipeline: ")
    assert err.count("\n") == 1


def test_what_was_typed_is_not_obeyed_either(journal, call):
    for arguments in (["list", "--status", "\x1b[2J"], ["show", "\x1b[2J"], ["\x1b[2J"]):
        code, _, err = call(*arguments)
        assert code == 2
        assert "\x1b" not in err
        assert err.count("\n") == 1


# show


def test_a_run_is_found_by_how_its_id_begins(journal, call):
    for run_id in ("2026-11-20", "2026-11-21", "2026-11-21-b", "other"):
        record_run(journal, run_id)
    assert call("show", "o")[1].startswith("other  nightly  failed\n")
    assert call("show", "2026-11-21")[1].startswith("2026-11-21  ")
    code, out, err = call("show", "2026")
    assert (code, out) == (2, "")
    assert "may be any of: " in err
    assert "2026-11-21-b" in err
    for given, told in (("nope", "there is no run 'nope'"), ("", "not an empty text")):
        code, _, err = call("show", given)
        assert code == 2
        assert told in err


def test_of_many_runs_that_begin_so_some_are_named(journal, call):
    for number in range(8):
        record_run(journal, f"r\x1b{number}", [], [])
    _, _, err = call("show", "r")
    assert err.count("r\\x1b") == 5
    assert "and 3 more; give more of it" in err


def test_a_run_that_is_shown(journal, call):
    record_run(journal, "one")
    code, out, err = call("show", "one")
    assert (code, err) == (0, "")
    assert "│ │ ├ parse           succeeded         2    1.50 s  1.0.0  -\n" in out
    assert "█" in call("show", "one", "--timeline")[1]
    document = json.loads(call("show", "one", "--json")[1])
    assert [len(step["attempts"]) for step in document["steps"]][:2] == [1, 2]
    code, _, err = call("show", "one", "--json", "--timeline")
    assert code == 2
    assert "say one of them" in err


def test_a_run_under_way_is_shown_as_one(journal, call):
    lane = journal.create_run(NewRun(run_id="now", started_at=time.time()))
    try:
        document = json.loads(call("show", "now", "--json")[1])["run"]
    finally:
        lane.release()
    assert (document["state"], document["is_live"]) == ("running", True)
    assert document["duration"] >= 0
    document = json.loads(call("show", "now", "--json")[1])["run"]
    assert (document["state"], document["duration"]) == ("interrupted", None)


# delete and prune


def test_a_run_is_deleted_once_it_is_sure(journal):
    record_run(journal, "one")
    asked = script("runs", "delete", "one", input="y\n")
    assert asked.returncode == 2
    assert "say --yes to delete run 'one'" in asked.stderr
    done = script("runs", "delete", "on", "--yes")
    assert (done.returncode, done.stdout) == (0, "deleted run one\n")
    assert journal.runs() == []


def test_a_run_under_way_is_not_deleted(journal, call):
    lane = journal.create_run(NewRun(run_id="now"))
    try:
        code, _, err = call("delete", "now", "-y")
    finally:
        lane.release()
    assert code == 2
    assert "now" in err
    assert [run.run_id for run in journal.runs()] == ["now"]


def test_pruning(several, call):
    assert call("prune", "--older-than", "12h")[:2] == (0, "deleted 1 run\n")
    assert call("prune", "--older-than", "60h", "--no-keep-failed")[:2] == (0, "deleted 2 runs\n")
    assert [run.run_id for run in several.runs()] == ["run-failed"]


# export and import


def test_a_run_goes_from_one_journal_into_another(journal):
    record_run(journal, "one", [step_record("0", "\x1b[2J"), *STEPS[1:]])
    exported = script("runs", "export", "one")
    assert exported.returncode == 0
    assert exported.stdout.isascii()
    there = ("--journal", "sqlite:///there.db")
    imported = script("runs", "import", "-", *there, input=exported.stdout)
    assert (imported.returncode, imported.stdout) == (0, "imported run one\n")
    with open_journal("sqlite:///there.db") as other:
        assert other.export_run("one") == journal.export_run("one")
    Path("run.json").write_text(exported.stdout, encoding="utf-8")
    again = script("runs", "import", "run.json", *there)
    assert again.returncode == 2
    assert "has a run 'one' already" in again.stderr


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "'run.json' is not JSON: "),
        (b"\xff", "'run.json' is not JSON: "),
        (b"[" * 100_000, "'run.json' is nested too deeply"),
        (b"{}", "task-pipeline: "),
        (b"[1]", "task-pipeline: "),
        (None, "'run.json' cannot be read: No such file or directory"),
    ],
)
def test_what_is_no_exported_run_is_not_imported(journal, call, content, told):
    if content is not None:
        Path("run.json").write_bytes(content)
    code, out, err = call("import", "run.json")
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert journal.runs() == []


# The program


def test_the_script_and_the_module_are_the_same():
    for command in ([SCRIPT], [sys.executable, "-m", "task_pipeline"]):
        told = subprocess.run(
            [*command, "runs", "--help"], capture_output=True, text=True, timeout=50, check=True,
            cwd=ROOT,
        )  # fmt: skip
        for name in ("list", "show", "resume", "diff", "delete", "export", "import", "prune"):
            assert f"  {name} " in told.stdout
        assert told.stdout.startswith("Usage: task-pipeline runs")


def test_every_option_is_explained(call):
    for name in ("list", "show", "resume", "diff", "delete", "export", "import", "prune"):
        code, out, err = call(name, "--help")
        assert (code, err) == (0, "")
        assert "--debug" in out
        assert "--journal" in out


def test_a_traceback_is_for_those_who_ask_for_it(here, call):
    assert "Traceback" not in call("list")[2]
    code, _, err = call("list", "--debug")
    assert code == 2
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.splitlines()[-1].startswith("task-pipeline: which journal?")


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_says_what_to_install(missing):
    program = f"import sys; sys.modules[{missing!r}] = None; from task_pipeline.cli import main"
    told = subprocess.run(
        [sys.executable, "-c", f"{program}; sys.exit(main(['runs', 'list']))"],
        capture_output=True, text=True, timeout=50, check=False, cwd=ROOT,
    )  # fmt: skip
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == (
        f"task-pipeline: The command line needs {missing}, which is not installed; install it "
        "with: pip install 'task-pipeline[cli]'\n"
    )


def test_without_sqlalchemy_it_says_what_to_install(journal):
    record_run(journal, "one")
    program = "import sys; sys.modules['sqlalchemy'] = None; from task_pipeline.cli import main"
    told = subprocess.run(
        [sys.executable, "-c", f"{program}; sys.exit(main(['runs', 'list']))"],
        capture_output=True, text=True, timeout=50, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert told.returncode == 2
    assert "pip install 'task-pipeline[journal]'" in told.stderr
    assert told.stderr.count("\n") == 1


def test_an_import_error_of_another_kind_is_not_hidden():
    program = "import sys; sys.modules['json'] = None; from task_pipeline.cli import main; main([])"
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False,
        cwd=ROOT,
    )  # fmt: skip
    assert told.returncode == 1
    assert "import of json halted" in told.stderr


def test_a_reader_that_has_seen_enough_ends_it_quietly(journal):
    for number in range(40):
        record_run(journal, f"run-{number}", [], [], tags=("x" * 5_000,))
    with subprocess.Popen(
        [SCRIPT, "runs", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(3) == b"RUN"
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(50) == 141


def test_an_ascii_terminal_gets_ascii(journal):
    record_run(journal, "漢字", [step_record("0", "ü")], [], name="größe")
    told = subprocess.run(
        [SCRIPT, "runs", "show", "漢字"], capture_output=True, timeout=50, check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(b"\\u6f22\\u5b57  gr\\xf6\\xdfe  failed\n")
    assert b"|-\\xfc" in told.stdout


def test_an_id_that_is_no_text_is_not_found(journal):
    told = subprocess.run(
        [SCRIPT, "runs", "show", b"\xff\xfe"], capture_output=True, timeout=50, check=False
    )
    assert told.returncode == 2
    assert told.stderr.startswith(b"task-pipeline: ")
    assert told.stderr.count(b"\n") == 1


# PostgreSQL


def test_a_journal_in_postgresql(here, call, monkeypatch):
    url = postgresql_url()
    monkeypatch.setenv("TASK_PIPELINE_JOURNAL", url)
    with open_journal(url) as journal:
        record_run(journal, "one", [step_record("0", "\x1b[2J"), *STEPS[1:]])
        record_run(journal, "other", status="succeeded", error_type=None)
    assert sorted(ids(call("list")[1])) == ["one", "other"]
    assert "├ \\x1b[2J " in call("show", "on")[1]
    assert call("diff", "one", "other")[0] == 1
    (here / "run.json").write_text(call("export", "one")[1], encoding="utf-8")
    assert call("delete", "one", "--yes")[0] == 0
    assert call("import", "run.json")[:2] == (0, "imported run one\n")
    assert call("import", "run.json", "--journal", "sqlite:///runs.db")[0] == 0
    assert call("diff", "one", "other")[0] == 1


def test_a_database_that_is_not_there_is_said_without_its_password(here, call, monkeypatch):
    monkeypatch.setattr("task_pipeline.cli.finding._PATIENCE", 0.0)
    url = f"postgresql://postgres:secret@/nothing?host={here}"
    code, out, err = call("list", "--journal", url)
    assert (code, out) == (2, "")
    assert "secret" not in err
    assert err.count("\n") == 1


# The same in this process, where coverage is measured


def test_keeping_in_this_process(journal, call, monkeypatch):
    record_run(journal, "one")
    assert call("delete", "one")[0] == 2
    exported = call("export", "one")[1]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(exported.encode())))
    assert call("import", "-", "--journal", "sqlite:///there.db")[1] == "imported run one\n"
    answers = {False: "nothing was deleted\n", True: "deleted run one\n"}
    monkeypatch.setattr(sys, "stdin", Screen(is_terminal=True))
    for answer, told in answers.items():
        monkeypatch.setattr("typer.confirm", lambda question, answer=answer: answer)
        assert call("delete", "one") == (0, told, "")
    assert journal.runs() == []


class Closed(io.StringIO):
    """A pipe that nobody reads any more."""

    def write(self, text: str) -> int:
        """As the system says it."""
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


class Full(io.StringIO):
    """One of which that is only seen at the end."""

    def flush(self) -> None:
        """As the system says it."""
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


@pytest.mark.parametrize("pipe", [Closed, Full])
def test_a_pipe_that_nobody_reads(journal, monkeypatch, pipe):
    record_run(journal, "one")
    before = os.dup(1)
    try:
        monkeypatch.setattr(sys, "stdout", pipe())
        assert main(["runs", "list"]) == 141
    finally:
        os.dup2(before, 1)
        os.close(before)


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_extra_in_this_process(monkeypatch, capsys, missing):
    for name in [name for name in sys.modules if name.startswith("task_pipeline.cli.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    assert main([]) == 2
    assert "pip install 'task-pipeline[cli]'" in capsys.readouterr().err


def test_another_import_error_in_this_process(monkeypatch):
    monkeypatch.setitem(sys.modules, "task_pipeline.cli.app", None)
    with pytest.raises(ImportError, match="halted"):
        main([])


def test_what_nobody_has_thought_of_is_told_too(journal, call, monkeypatch):
    record_run(journal, "one")
    for error, code, told in (
        (RuntimeError("odd"), 2, "task-pipeline: RuntimeError: odd\n"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ):

        def fail(*arguments, error=error):
            raise error

        monkeypatch.setattr("task_pipeline.cli.app.list_runs", fail)
        found = call("list")
        assert found[0] == code
        assert told in found[2]
    monkeypatch.setattr("task_pipeline.cli.app.list_runs", lambda *arguments: sys.exit(7))
    with pytest.raises(SystemExit):
        call("list")
