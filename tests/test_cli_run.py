"""`task-pipeline run`: pipelines in Python, in this process and as the installed script."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from task_pipeline.cli.given import parse_given, read_given
from task_pipeline.cli.options import DocumentKind, DocumentOptions, Permission
from task_pipeline.cli.running import RunSettings, resume_command
from task_pipeline.cli.telling import failure_text
from task_pipeline.cli.writing import Target, as_json
from task_pipeline.documents.resolving.secrets import Secret
from task_pipeline.errors import SubstepError
from task_pipeline.journal.opening import open_journal
from tests.cli_project import SCRIPT, call, project, script

__all__ = ["call", "project"]

pytestmark = pytest.mark.usefixtures("project")


def log() -> list[str]:
    return Path("log").read_text(encoding="utf-8").split()


# What it shows


def test_a_run_shows_a_line_for_each_event(call):
    told = call("run", "flows:good")
    assert (told.code, told.err) == (0, "")
    lines = told.out.splitlines()
    assert "● good started: 4 steps" in lines
    assert any(line.startswith("  ✓ load succeeded in ") for line in lines)
    assert any(line.startswith("✓ good succeeded in ") for line in lines)
    assert {"loading", "from a child", "shouting"} <= set(lines)
    assert call("run", "flows:good", "--display", "lines").out.count("✓") == told.out.count("✓")


def test_what_is_no_terminal_gets_lines_and_no_codes(call):
    told = call("run", "flows:good", "--display", "live")
    assert "  ✓ load succeeded in " in told.out
    assert "\x1b" not in told.out


def test_a_run_without_a_display_is_quiet(call):
    told = call("run", "flows:good", "--display", "none")
    assert told == (0, "loading\nfrom a child\nshouting\n", "")


# -c


def test_what_is_given_stands_in_results(call):
    Path("rows.json").write_text('{"a": [1, null]}', encoding="utf-8")
    Path("rows.YAML").write_text("a: [1, x]", encoding="utf-8")
    Path("note.txt").write_text("\ufeffjust\ntext", encoding="utf-8")
    given = [
        *("-c", "n=3", "-c", "text=hello", "-c", "eq=a=b", "-c", 'quoted="3"', "-c", "a.b=null"),
        *("-c", "none=", "-c", "json=@rows.json", "--context", "yaml=@rows.YAML"),
        *("-c", "plain=@note.txt", "-c", "n=4"),
    ]
    told = call("run", "flows:good", "--display", "none", "--output", "out.json", *given)
    assert (told.code, told.err) == (0, "")
    assert json.loads(Path("out.json").read_text("utf-8"))["load"]["given"] == {
        "n": 4,
        "text": "hello",
        "eq": "a=b",
        "quoted": "3",
        "a.b": None,
        "none": "",
        "json": {"a": [1, None]},
        "yaml": {"a": [1, "x"]},
        "plain": "just\ntext",
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.5", 1.5),
        ("true", True),
        ("True", "True"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("1e999", "1e999"),
        ("[1, {", "[1, {"),
        ("[" * 100_000, "[" * 100_000),
        ("9" * 5_000, "9" * 5_000),
        ("漢字", "漢字"),
    ],
)
def test_a_value_is_json_or_else_text(text, value):
    assert read_given(parse_given([f"k={text}"])) == {"k": value}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("x", "-c takes key=value or key=@file.json, not 'x'"),
        ("=x", "-c takes key=value or key=@file.json, not '=x'"),
        ("x=@nope.json", "the file cannot be read: No such file or directory. A text that begins"),
        ("x=@.", "-c x=@.: the file cannot be read: Is a directory"),
        ("x=@bad.json", "-c x=@bad.json: this is not JSON: Expecting ',' delimiter: line 1 col"),
        ("x=@bad.yaml", "-c x=@bad.yaml: this is not YAML: while "),
        ("x=@deep.json", "-c x=@deep.json: this is nested too deeply"),
        ("x=@latin.txt", "-c x=@latin.txt: this is not a text in UTF-8: "),
    ],
)
def test_what_cannot_be_given(call, given, told):
    Path("bad.json").write_text("[1 2]", encoding="utf-8")
    Path("bad.yaml").write_text("a: [1", encoding="utf-8")
    Path("deep.json").write_text("[" * 100_000, encoding="utf-8")
    Path("latin.txt").write_bytes(b"\xff")
    found = call("run", "flows:good", "-c", given, "--journal", "sqlite:///runs.db")
    assert (found.code, found.out) == (2, "")
    assert told in found.err
    assert found.err.startswith("task-pipeline: ")
    assert found.err.count("\n") == 1
    assert not Path("runs.db").exists()


# --output


def test_results_are_written_as_json(call):
    told = call("run", "flows:good", "--output", "out.json", "--display", "none")
    assert told.code == 0
    results = json.loads(Path("out.json").read_text("utf-8"))
    assert results["parse"] == [1, 2]
    assert results["odd"] == {
        "1": "<class 'object'>", "nan": "nan", "text": "漢 \ud800", "big": hex(10**4000)
    }  # fmt: skip
    assert "漢" in Path("out.json").read_text("utf-8")
    assert sorted(path.name for path in Path().iterdir() if path.is_file()) == [
        "flows.py", "log", "out.json",
    ]  # fmt: skip


def test_only_results_go_to_standard_output():
    told = script("run", "flows:good", "--output", "-")
    assert told.returncode == 0
    assert json.loads(told.stdout)["parse"] == [1, 2]
    assert told.stdout.isascii()
    assert {"loading", "from a child", "shouting"} <= set(told.stderr.splitlines())
    assert "✓ good succeeded in " in told.stderr


def test_only_results_go_to_standard_output_in_this_process(call):
    told = call("run", "flows:good", "--output", "-", "--display", "none")
    assert json.loads(told.out)["parse"] == [1, 2]
    assert sorted(told.err.splitlines()) == ["from a child", "loading", "shouting"]
    assert call("run", "flows:number", "--output", "-").out == ""


def test_the_real_standard_output_in_this_process(call, monkeypatch):
    with open(1, "w", encoding="utf-8", closefd=False) as real:
        monkeypatch.setattr(sys, "stdout", real)
        told = call("run", "flows:good", "--output", "-", "--display", "none")
    assert json.loads(told.out)["parse"] == [1, 2]
    assert sorted(told.err.splitlines()) == ["from a child", "loading", "shouting"]


def test_something_else_may_stand_for_standard_output(call, monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stdout", shown)
    assert call("run", "flows:good", "--output", "-", "--display", "none").code == 0
    assert sys.stdout is shown
    assert json.loads(shown.getvalue())["parse"] == [1, 2]


def test_a_run_that_fails_writes_what_it_came_to(call):
    told = call("run", "flows:single", "--output", "out.json", "--run-id", "one")
    assert told.code == 1
    written = json.loads(Path("out.json").read_text("utf-8"))
    assert written.pop("results")["load"]["rows"] == [1, 2]
    assert written == {
        "status": "failed",
        "run_id": "one",
        "error": "step 'boom' at path 1 failed: ValueError: no\\x1b[2J luck",
        "errors": ["ValueError: no\\x1b[2J luck"],
    }


def test_a_file_that_is_there_is_replaced_and_keeps_its_mode(call):
    Path("real").mkdir()
    out = Path("real/out.json")
    out.write_text("before", encoding="utf-8")
    out.chmod(0o640)
    Path("link.json").symlink_to("real/out.json")
    assert call("run", "flows:good", "--output", "link.json", "--display", "none").code == 0
    assert Path("link.json").is_symlink()
    assert json.loads(out.read_text("utf-8"))["parse"] == [1, 2]
    assert stat.S_IMODE(out.stat().st_mode) == 0o640
    assert call("run", "flows:good", "--output", os.devnull, "--display", "none").code == 0
    assert Path(os.devnull).is_char_device()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere/out.json", "--output 'nowhere/out.json' cannot be written: No such file"),
        (".", "--output is a file, and '.' is a folder"),
        ("flows.py/x", "--output 'flows.py/x' cannot be written: Not a directory"),
        ("nul\0", "cannot be written"),
        ("locked.json", "--output 'locked.json' is there already, and may not be written"),
    ],
)
def test_a_file_that_cannot_be_written_is_told_before_the_run(call, monkeypatch, name, told):
    Path("locked.json").touch()
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: Path(path).name != "locked.json" and access(path, mode)
    )
    found = call("run", "flows:good", "--output", name)
    assert (found.code, found.out) == (2, "")
    assert told in found.err
    assert found.err.count("\n") == 1
    assert not Path("log").exists()


def test_a_file_that_cannot_be_written_any_more(call, monkeypatch):
    real = Path.replace

    def full(self, target):
        if self.name.startswith(".out.json"):
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", full)
    Path("out.json").write_text("before", encoding="utf-8")
    found = call("run", "flows:good", "--output", "out.json", "--display", "none")
    assert found.code == 1
    told = "the run succeeded, but --output 'out.json' cannot be written: No space left on device"
    assert found.err == f"task-pipeline: {told}\n"
    found = call("run", "flows:single", "--output", "out.json", "--display", "none")
    assert found.code == 1
    assert found.err.splitlines()[0].startswith("task-pipeline: step 'boom' at path 1 failed")
    assert found.err.splitlines()[1].endswith("cannot be written: No space left on device")
    assert Path("out.json").read_text("utf-8") == "before"
    assert not list(Path().glob(".out*"))
    with pytest.raises(Exception, match="cannot be written"):
        Target("/dev/full").write("x" * 100_000)


def test_a_secret_is_not_written():
    secret = Secret("hunter2", "${env.PASSWORD}")
    assert json.loads(as_json({"a": [secret], secret: {secret}}, is_ascii=True)) == {
        "a": ["***"], "***": "{'***'}"
    }  # fmt: skip


def test_any_value_has_a_form_in_json():
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError

    class Text(str):
        __slots__ = ()

    loop: list = []
    loop += [loop, loop]
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    values = {
        "odd": Odd(), "text": Text("x"), (1, 2): 3, None: 1, True: 2, 1.5: 3, "set": {1},
        "inf": float("inf"), "loop": loop, "bytes": b"x",
    }  # fmt: skip
    assert json.loads(as_json(values, is_ascii=True)) == {
        "odd": "<Odd>", "text": "x", "(1, 2)": 3, "null": 1, "true": 2, "1.5": 3, "set": "{1}",
        "inf": "inf", "loop": ["[[...], [...]]", "[[...], [...]]"], "bytes": "b'x'",
    }  # fmt: skip
    assert "<list>" in as_json(deep, is_ascii=False)
    while deep:
        deep = deep.pop()


# What fails


def test_a_failure_names_the_step(call):
    told = call("run", "flows:single", "--display", "none")
    assert told.code == 1
    assert told.err == "task-pipeline: step 'boom' at path 1 failed: ValueError: no\\x1b[2J luck\n"
    told = call("run", "flows:bad", "--display", "none")
    assert told.code == 1
    assert told.err.endswith(
        "task-pipeline: step 'boom' at path 1.1 failed: ValueError: no\\x1b[2J luck; "
        "step 'flaky' at path 1.2.0 failed in attempt 2: OSError: gone\n"
    )
    assert log() == ["load", "load"]
    told = call("run", "flows:five", "--display", "none")
    assert told.err.count("ValueError") == 3
    assert told.err.endswith("; and 2 more\n")


def test_a_step_that_leaves_the_program_has_failed(call):
    told = call("run", "flows:leaves", "--display", "none")
    assert told.code == 1
    assert told.err == "task-pipeline: SystemExit: 0\n"
    told = call("run", "flows:cancels", "--display", "none")
    assert told.code == 1
    assert "RunCancelledError: somebody else's" in told.err


def test_a_run_that_is_too_late_says_so(call):
    told = call("run", "flows:late", "--display", "none")
    assert told.code == 1
    assert "task-pipeline: RunTimeoutError: " in told.err


def test_errors_that_a_run_went_on_after_are_told(call):
    told = call("run", "flows:patient", "--display", "none")
    assert told.code == 0
    assert told.err == (
        "task-pipeline: it went on after 1 error: step 'boom' at path 1 failed: "
        "ValueError: no\\x1b[2J luck\n"
    )


def test_a_traceback_for_those_who_ask_for_it(call):
    told = call("run", "flows:single", "--display", "none", "--debug")
    assert told.err.startswith("Traceback (most recent call last):\n")
    assert "in boom\n" in told.err
    assert "\x1b" not in told.err


# The journal


def test_a_run_that_is_recorded_can_be_resumed_as_it_says(call):
    told = call(
        "run", "flows:single", "--journal", "sqlite:///runs.db", "--run-id", "one", "--tag", "a",
        "--tag", "b",
    )  # fmt: skip
    assert told.code == 1
    message, way = told.err.splitlines()[-2:]
    assert message.startswith("task-pipeline: run one: step 'boom' at path 1 failed: ")
    assert way == (
        "task-pipeline: resume it with: task-pipeline runs resume one flows:single "
        "--journal sqlite:///runs.db"
    )
    Path("fixed").touch()
    assert call(*way.split(": ")[2].split()[1:]).out.startswith("run one succeeded after ")
    assert log() == ["load"]
    with open_journal("sqlite:///runs.db") as journal:
        assert journal.run("one").tags == ("a", "b")
    told = call("run", "flows:single", "--journal", "sqlite:///runs.db", "--run-id", "two")
    assert told.out.splitlines()[-1].startswith("run two succeeded after ")


def test_the_journal_is_the_one_said_else_its_own_else_the_one_set(call, monkeypatch):
    monkeypatch.setenv("TASK_PIPELINE_JOURNAL", "sqlite:///set.db")
    assert call("run", "flows:own", "--journal", "sqlite:///said.db").code == 1
    assert [path.name for path in Path().glob("*.db")] == ["said.db"]
    told = call("run", "flows:single", "--run-id", "one", "--display", "none")
    assert told.err.splitlines()[-1].endswith("task-pipeline runs resume one flows:single")
    Path("fixed").touch()
    assert call("runs", "resume", "one", "flows:single").code == 0
    assert {path.name for path in Path().glob("*.db")} == {"said.db", "set.db"}


def test_a_pipeline_with_a_journal_of_its_own(call, monkeypatch):
    monkeypatch.setenv("TASK_PIPELINE_JOURNAL", "sqlite:///set.db")
    told = call("run", "flows:own", "--run-id", "one", "--display", "none")
    assert told.err.splitlines()[-1].endswith("task-pipeline runs resume one flows:own")
    assert [path.name for path in Path().glob("*.db")] == ["own.db"]


def test_what_lies_in_the_folder_is_not_taken_for_the_journal(call):
    arguments = ("--journal", "sqlite:///runs.db", "--run-id", "one", "--display", "none")
    assert call("run", "flows:good", *arguments).code == 0
    assert call("run", "flows:single", "--display", "none", "--run-id", "two").code == 1
    with open_journal("sqlite:///runs.db") as journal:
        assert len(journal.runs()) == 1


def test_a_run_that_cannot_be_recorded_has_failed(call):
    told = call("run", "flows:unwritable", "--journal", "sqlite:///runs.db", "--display", "none")
    assert told.code == 1
    assert "JournalDataError: " in told.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--tag", "x"], "--tag is for runs that are recorded; say --journal URL, too"),
        (["--run-id", ""], "run_id must be a text of one line that is not empty, not ''"),
        (["--journal", "runs.db"], "a journal is named by a URL, such as sqlite:///runs.db"),
        (["--journal", "mysql://x/y"], "a journal cannot be in a mysql database"),
        (["--journal", "sqlite:///flows.py"], "flows.py"),
        (["--display", "loud"], "'live', 'lines', 'none'"),
        (["--colour"], "--colour"),
        (
            ["--allow", "shell", "--root", "."],
            "--allow, --root are for documents, and 'flows:good'",
        ),
        (["--kind", "recipe"], "--kind is for documents"),
        (["--env", "HOME"], "--env is for documents"),
        (["--plugin", "nope"], "there is no module 'nope'"),
        (["--plugin", "flows:good"], "a plugin is a module, such as flows.steps, not 'flows:good'"),
        (["extra"], "extra"),
    ],
)
def test_wrong_use_is_one_line(call, arguments, told):
    found = call("run", "flows:good", *arguments)
    assert (found.code, found.out) == (2, "")
    assert told in found.err
    assert "Value error" not in found.err
    assert found.err.startswith("task-pipeline: ")
    assert found.err.count("\n") == 1
    assert not Path("log").exists()


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            "flows",
            "a pipeline is named as module:name, such as flows.daily:nightly, not 'flows'; and",
        ),
        ("flows.py", "'flows.py' is Python: name the pipeline in it, as flows:pipeline"),
        ("nope.json", "there is no file 'nope.json', looked for from "),
        ("nope.YML", "there is no file 'nope.YML', looked for from "),
        (".", "'.' is a folder; name a recipe or workflow in it"),
        (os.devnull, "is neither a file nor a folder"),
        ("nul\0.json", "there is no file"),
        ("nope:x", "there is no module 'nope'"),
        ("flows:number", "flows:number must be a Pipeline, not an int"),
        ("\x1b[2J", "not '\\x1b[2J'"),
    ],
)
def test_what_is_not_there_is_one_line(call, source, told):
    for command in (["run"], ["run", "--dry-run"], ["graph"], ["runs", "resume", "x"]):
        found = call(*command, source)
        assert (found.code, found.out) == (2, "")
        assert told in found.err
        assert found.err.count("\n") == 1


def test_an_id_that_is_taken(call):
    arguments = ("run", "flows:single", "--journal", "sqlite:///runs.db", "--run-id", "one")
    assert call(*arguments).code == 1
    told = call(*arguments)
    assert (told.code, told.out) == (2, "")
    assert "the journal has a run 'one' already" in told.err
    assert log() == ["load"]


def test_a_command_to_resume_with_has_all_that_it_takes_and_no_password():
    options = DocumentOptions(
        ("flows.steps",), DocumentKind.RECIPE, (Permission.HTTP,), Path("a b"), ("KEY",)
    )
    url = "postgresql://me:secret@host/runs"
    text = resume_command(RunSettings("my flow.json", options, {}, url), "one\x1b")
    assert text == (
        "task-pipeline runs resume 'one\\x1b' 'my flow.json' --journal "
        "'postgresql://me:***@host/runs' --plugin flows.steps --kind recipe --allow http "
        "--root 'a b' --env KEY"
    )


# --dry-run and graph


def test_a_dry_run_shows_what_would_run_and_does_nothing(call):
    told = call(
        "run", "flows:bad", "--dry-run", "--journal", "sqlite:///runs.db", "-c", "x=@nope.json",
        "--output", "out.json",
    )  # fmt: skip
    shown = (
        "bad\n├ load\n├ io (parallel)\n│ ├ parse\n│ ├ boom\n│ └ series\n"
        "│   ├ flaky (up to 2 attempts)\n│   └ parse#2\n└ slow\n"
    )
    assert told == (0, shown, "")
    assert [path.name for path in Path().iterdir() if path.is_file()] == ["flows.py"]
    assert call("run", "flows:bad", "--dry-run", "-c", "x").code == 2


@pytest.mark.parametrize(
    ("wanted", "begins"),
    [("mermaid", "---\n"), ("dot", 'digraph "bad" {'), ("svg", "<svg "), ("tree", "bad\n├ load\n")],
)
def test_a_graph(call, wanted, begins):
    told = call("graph", "flows:bad", "--format", wanted)
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith(begins)
    assert call("graph", "flows:bad", "--format", wanted, "--output", "graph")[:2] == (0, "")
    assert Path("graph").read_text("utf-8") == told.out
    assert call("graph", "flows:bad", "--format", wanted, "--output", "-").out == told.out


def test_a_graph_that_cannot_be_drawn(call):
    assert "'mermaid', 'dot', 'svg', 'tree'" in call("graph", "flows:bad", "--format", "png").err
    told = call("graph", "flows:bad", "--output", "nowhere/x")
    assert (told.code, told.out) == (2, "")
    assert "--output 'nowhere/x' cannot be written" in told.err
    assert call("graph", "flows:bad").out.startswith('---\ntitle: "bad"\n')


def test_a_graph_for_those_who_have_nothing_but_ascii():
    Path("signs.py").write_text(
        "from task_pipeline import Pipeline, step\n"
        "@step(step_id='größe')\ndef work(context): ...\n"
        "pipeline = Pipeline([work], name='漢')",
        encoding="utf-8",
    )
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    found = {
        wanted: script("graph", "signs:pipeline", "--format", wanted, env=ascii_only).stdout
        for wanted in ("svg", "dot", "mermaid", "tree")
    }
    assert "gr&#246;&#223;e" in found["svg"]
    assert "gr&#246;&#223;e" in found["dot"]
    assert found["tree"] == "\\u6f22\n`-gr\\xf6\\xdfe\n"
    assert 'n1["gr\\xf6#223;e"]' in found["mermaid"]


# Ctrl-C


def test_ctrl_c_cancels_the_run():
    command = [
        str(SCRIPT), "run", "flows:hangs", "--journal", "sqlite:///runs.db", "--run-id", "one",
        "--output", "out.json",
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "waiting\n":
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(50) == 130
        assert process.stderr is not None
        told = process.stderr.read().splitlines()
    assert told[-2] == "task-pipeline: run one: interrupted"
    assert told[-1] == (
        "task-pipeline: resume it with: task-pipeline runs resume one flows:hangs "
        "--journal sqlite:///runs.db"
    )
    with open_journal("sqlite:///runs.db") as journal:
        assert journal.run("one").status == "cancelled"
    written = json.loads(Path("out.json").read_text("utf-8"))
    assert (written["status"], written["errors"]) == ("cancelled", [])
    assert written["results"]["load"]["rows"] == [1, 2]
    Path("fixed").touch()
    assert script(*told[-1].split(": ")[2].split()[1:]).returncode == 0
    assert log() == ["load", "hang", "hang"]


def test_ctrl_c_in_this_process(call, monkeypatch):
    """As above, where coverage is measured: a step sends it, and another waits meanwhile."""
    Path("press.py").write_text(
        "import os, signal, threading\n"
        "from task_pipeline import Pipeline\n"
        "gate = threading.Event()\n"
        "def press(context): os.kill(os.getpid(), signal.SIGINT)\n"
        "def wait(context):\n"
        "    while not gate.wait(0.01): context.raise_if_cancelled()\n"
        "pipeline = Pipeline([[press, wait]], name='press')\n",
        encoding="utf-8",
    )
    monkeypatch.setattr("task_pipeline.cli.running._SECONDS_BETWEEN_LOOKS", 0.001)
    told = call("run", "press:pipeline", "--display", "none")
    assert told.code == 130
    assert told.err.splitlines()[-1] == "task-pipeline: interrupted"
    sys.modules["press"].gate.set()


def test_ctrl_c_that_comes_too_late_changes_nothing(call, monkeypatch):
    from task_pipeline.engine.run import Run

    real = Run.result
    pressed: list[bool] = []

    def result(self, timeout=None):
        found = real(self, timeout)
        if not pressed:
            pressed.append(True)
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(Run, "result", result)
    assert call("run", "flows:good", "--display", "none").code == 0
    assert pressed == [True]


# What is told of errors


def test_an_error_of_a_recipe_says_which_part_it_was():
    inner = ValueError("boom")
    inner.add_note("odd")
    inner.add_note("step 'b' at path 1.0, attempt 1 of 1")
    whole = SubstepError("substep 0 (greet) failed: boom", [inner])
    assert failure_text(whole, lambda path: "") == (
        "substep 0 (greet) failed: boom; that was step 'b' at path 1.0"
    )
    inner.add_note("in the recipe sub/greet.json")
    inner.add_note("in the recipe whole.json")
    assert failure_text(whole, lambda path: f"a.json:{path}").endswith(
        "that was step 'b' at path 1.0 (in sub/greet.json)"
    )
    inner.__notes__[2:] = []
    bare = SubstepError("substep 0 (greet) failed: boom", [ValueError("boom")])
    assert failure_text(bare, str) == "substep 0 (greet) failed: boom"
    short = SubstepError("substep 0 (greet) failed", [inner])
    assert failure_text(short, lambda path: f"a.json:{path}") == (
        "substep 0 (greet) failed: step 'b' at path 1.0 (a.json:1.0) failed: ValueError: boom"
    )
    assert failure_text(KeyError("x"), str) == "KeyError: 'x'"


@pytest.mark.parametrize("installed", [False, True])
def test_yaml_that_cannot_be_imported(call, monkeypatch, installed):
    Path("x.yaml").touch()
    if installed:  # but broken
        Path("yaml.py").write_text("import not_there", encoding="utf-8")
        monkeypatch.syspath_prepend(str(Path.cwd()))
        monkeypatch.delitem(sys.modules, "yaml", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "yaml", None)
    told = call("run", "flows:good", "-c", "x=@x.yaml")
    assert (told.code, told.out) == (2, "")
    assert ("not_there" if installed else "pip install 'task-pipeline[documents]'") in told.err
