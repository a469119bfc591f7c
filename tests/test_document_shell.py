"""`shell`: real commands, of which nothing is left."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    DocumentError,
    NotAllowedError,
    ParallelGroupError,
    PipelineContext,
    RunCancelledError,
    StepTimeoutError,
)
from task_pipeline.documents import load_pipeline
from task_pipeline.documents.steps import processes, shell
from task_pipeline.documents.steps.processes import Command, Ended, run_command
from task_pipeline.testing import ManualClock

PATIENCE = 10.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def load(root: Path, *command: str, **fields: Any) -> Any:
    step = {"type": "shell", "command": list(command), "output_key": "out", **fields}
    return load_pipeline({"steps": [step]}, root=root, allow={"shell"})


def run(root: Path, *command: str, **fields: Any) -> dict[str, Any]:
    """What a command comes to."""
    results: dict[str, Any] = load(root, *command, **fields).run().results
    out: dict[str, Any] = results["out"]
    return out


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", textwrap.dedent(code)]


def wait_for(path: Path) -> int:
    """Until a process has written its number into a file; gives the number."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if path.exists() and path.read_text().endswith("\n"):
            return int(path.read_text())
        os.sched_yield()
    raise TimeoutError(path)


def is_alive(pid: int) -> bool:
    """Whether a process is there; one that has ended and waits to be asked for is not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def wait_until_gone(pid: int) -> None:
    until = time.monotonic() + PATIENCE
    while is_alive(pid):
        assert time.monotonic() < until, f"process {pid} is left"
        os.sched_yield()


def marked(mark: str) -> list[int]:
    """The processes that are there and have the mark in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has ended meanwhile
            continue
    return [pid for pid in found if is_alive(pid)]


def children() -> set[str]:
    """Processes of this one, those that have ended too: nobody has asked for them then."""
    pid = os.getpid()
    return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


KNOWN: set[str] = set()


@pytest.fixture(autouse=True)
def _children_of_other_tests_are_known() -> None:
    """Such as a process of Python's own, which stays."""
    KNOWN.clear()
    KNOWN.update(children())


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class TestRunning:
    def test_what_it_writes_and_its_status(self, root):
        code = "echo out; echo error >&2; exit 3"

        out = run(root, "sh", "-c", code, check=False)

        assert out == {"status": 3, "stdout": "out\n", "stderr": "error\n"}

    def test_arguments_are_arguments_and_read_by_no_shell(self, root):
        hostile = "; touch evil $(touch evil) `touch evil` > evil"
        pipeline = load(root, "printf", "%s|", "{{ hostile }}", "*")

        out = pipeline.run(PipelineContext(results={"hostile": hostile})).results["out"]

        assert out["stdout"] == f"{hostile}|*|"
        assert list(root.iterdir()) == []

    def test_it_reads_what_it_is_given_or_nothing(self, root):
        assert run(root, "cat", stdin="é\n")["stdout"] == "é\n"
        assert run(root, "cat")["stdout"] == ""
        large = "x" * 3_000_000
        assert run(root, "cat", stdin=large)["stdout"] == large
        code = "exec 0<&-; sleep 0.05"  # it does not want to know
        assert run(root, "sh", "-c", code, stdin=large)["status"] == 0

    def test_its_folder_is_root_or_below(self, root):
        (root / "below").mkdir()

        assert run(root, "pwd")["stdout"] == f"{root.resolve()}\n"
        assert run(root, "pwd", cwd="below")["stdout"] == f"{root.resolve()}/below\n"

    @pytest.mark.parametrize("cwd", ["..", "/tmp", "link", "{{ up }}"])
    def test_no_folder_outside_of_root(self, root, cwd):
        (root / "link").symlink_to("/tmp")
        with pytest.raises(
            (NotAllowedError, DocumentError), match=r"steps\[0\]\.cwd: .*outside of"
        ):
            load(root, "touch", "evil", cwd=cwd).run(PipelineContext(results={"up": "/tmp"}))

    def test_a_folder_that_is_not_there_is_a_clean_error(self, root):
        with pytest.raises(NotADirectoryError, match=r"steps\[0\]\.cwd: there is no folder 'no'"):
            run(root, "true", cwd="no")

    def test_it_leads_a_session_without_a_terminal(self, root):
        line = run(root, "cat", "/proc/self/stat")["stdout"]
        pid = line.split()[0]
        group, session, terminal = line.rpartition(")")[2].split()[2:5]

        assert (group, session, terminal) == (pid, pid, "0")

    def test_secrets_of_the_application_are_not_in_its_environment(self, root, monkeypatch):
        monkeypatch.setenv("API_TOKEN", "secret")
        monkeypatch.setenv("LC_TIME", "C")

        lines = run(root, "env", env={"MINE": "{{ 1 }}", "LANG": "C"})["stdout"].splitlines()

        names = {line.partition("=")[0] for line in lines}
        assert "API_TOKEN" not in names
        assert names <= {*shell.PASSED_ON, "LC_TIME", "MINE", "LC_ALL", "LC_CTYPE"}
        assert {"MINE=1", "LANG=C", "LC_TIME=C", f"PATH={os.environ['PATH']}"} <= set(lines)

    def test_what_is_not_in_its_encoding_is_shown_to_be_missing(self, root):
        code = r"printf '\351'"

        assert run(root, "sh", "-c", code)["stdout"] == "\ufffd"
        assert run(root, "sh", "-c", code, encoding="latin-1")["stdout"] == "é"
        assert run(root, "cat", stdin="é", encoding="utf-16")["stdout"] == "é"

    def test_a_template_may_give_a_number_and_no_key_is_needed(self, root):
        pipeline = load(root, "sleep", "60", timeout="{{ seconds }}", output_key=None)
        with pytest.raises(TimeoutError, match=r"'sleep' was ended after 0\.02 s"):
            pipeline.run(PipelineContext(results={"seconds": 0.02}))

        assert load(root, "true", output_key=None).run().results == {}


class TestFailing:
    def test_a_status_fails_the_step_with_the_end_of_its_error_output(self, root):
        code = "seq 1 2000 >&2; echo the end >&2; exit 7"
        with pytest.raises(RuntimeError) as caught:
            run(root, "sh", "-c", code)

        text = str(caught.value)
        assert "steps[0].command: 'sh' has ended with exit status 7; ... " in text
        assert text.endswith("the end")
        assert len(text) < 2_500
        with pytest.raises(RuntimeError, match=r"status 1; its error output: no\nstep"):
            run(root, "sh", "-c", "echo no >&2; exit 1")
        with pytest.raises(RuntimeError, match=r"exit status 1\nstep"):
            run(root, "false")

    def test_a_signal_has_a_name(self, root):
        with pytest.raises(RuntimeError, match="was ended by SIGUSR1"):
            run(root, "sh", "-c", "kill -USR1 $$")
        with pytest.raises(RuntimeError, match="was ended by signal 40"):
            run(root, "sh", "-c", "kill -40 $$")
        assert run(root, "sh", "-c", "kill -9 $$", check=False)["status"] == -9

    @pytest.mark.parametrize(
        ("command", "fields", "found"),
        [
            (["no-such-program"], {}, "there is no program 'no-such-program'"),
            (["./file"], {}, r"'\./file' cannot be run: Permission denied"),
            (["{{ nul }}"], {}, "cannot be run: embedded null byte"),
            (["true", "{{ half }}"], {}, "cannot be run: .*surrogates"),
            (["true"], {"env": {"A=B": "1"}}, "cannot be run: illegal environment"),
            (["cat"], {"stdin": "{{ half }}"}, "cannot be run: .*surrogates"),
        ],
    )
    def test_what_cannot_be_run_is_a_clean_error(self, root, command, fields, found):
        (root / "file").touch()
        context: PipelineContext = PipelineContext(results={"nul": "a\0b", "half": "\ud800"})
        with pytest.raises((OSError, ValueError), match=rf"steps\[0\]\.command: .*{found}"):
            load(root, *command, **fields).run(context)

    @pytest.mark.parametrize(
        ("fields", "found"),
        [
            ({"command": "ls -l"}, r'must be a list .* write \["ls", "-l"\]'),
            ({"command": []}, "command"),
            ({"command": ["", "a"]}, "must name a program"),
            ({"command": ["ls", 5]}, r"command\[1\]"),
            ({"command": ["ls"], "timeout": 0}, "timeout"),
            ({"command": ["ls"], "timeout": -1}, "timeout"),
            ({"command": ["ls"], "encoding": "no-such"}, "name of an encoding"),
            ({"command": ["ls"], "encoding": "hex"}, "name of an encoding"),
            ({"command": ["ls"], "encoding": "undefined"}, "name of an encoding"),
            ({"command": ["ls"], "envs": {}}, "env"),
        ],
    )
    def test_mistakes_are_found_before_anything_runs(self, root, fields, found):
        with pytest.raises(DocumentError, match=found):
            load_pipeline({"steps": [{"type": "shell", **fields}]}, root=root, allow={"shell"})


class TestAllowing:
    def test_it_is_refused_when_the_document_is_loaded(self, root):
        document = {"steps": [{"type": "shell", "command": ["touch", "evil"]}]}
        with pytest.raises(DocumentError, match=r"steps\[0\]: .*not allowed.*--allow shell"):
            load_pipeline(document, root=root, allow={"http", "files"})

    def test_and_when_it_runs(self, root, monkeypatch):
        monkeypatch.setattr(shell.Shell, "check", classmethod(lambda *_: ()))
        document = {"steps": [{"type": "shell", "command": ["touch", "evil"]}]}
        pipeline = load_pipeline(document, root=root)
        with pytest.raises(NotAllowedError, match=r"steps\[0\]: .*shell.* is not allowed"):
            pipeline.run()

        assert list(root.iterdir()) == []

    def test_another_system_is_told_so(self, monkeypatch):
        monkeypatch.setattr(shell, "IS_SUPPORTED", False)
        with pytest.raises(DocumentError, match="does not work on this system"):
            load(Path(), "true")


STUBBORN = """
    import os, signal, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork():
        open(sys.argv[1], "w").write(f"{os.getpid()}\\n")
    else:
        open(sys.argv[2], "w").write(f"{os.getpid()}\\n")
    time.sleep(60)  # the step's work
"""


class TestNothingIsLeft:
    @pytest.fixture(autouse=True)
    def _nothing_is_left(self):
        before, files = children(), open_files()
        yield
        assert children() <= before
        assert open_files() <= files
        assert processes._groups == set()

    def test_a_timeout_ends_all_of_it_in_time(self, root):
        command = [*python(STUBBORN), str(root / "parent"), str(root / "child")]
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=r"steps\[0\]\.timeout: .* was ended after 0\.4 s"):
            run(root, *command, timeout=0.4, env={"MARK": str(root)})
        took = time.monotonic() - began

        assert 0.4 <= took < 1.0
        for pid in marked(str(root)):  # it may be about to end, on a machine that is busy
            wait_until_gone(pid)

    def test_it_is_asked_before_it_is_ended(self, root, monkeypatch):
        monkeypatch.setattr(processes, "GRACE", PATIENCE)  # it ends as soon as it is asked
        code = "trap 'echo asked > asked; exit 0' TERM; echo $$ > ready; while :; do :; done"
        with pytest.raises(TimeoutError):
            run(root, "sh", "-c", code, timeout=0.2)

        assert (root / "asked").read_text() == "asked\n"

    def test_what_it_leaves_behind_is_ended_with_it(self, root):
        out = run(root, "sh", "-c", "sleep 60 & echo $! > left; echo done")

        assert out["stdout"] == "done\n"
        wait_until_gone(int((root / "left").read_text()))

    def test_one_that_closes_its_output_goes_on(self, root):
        out = run(root, "sh", "-c", "exec >&- 2>&-; sleep 0.05; echo x > file; exit 0")

        assert out == {"status": 0, "stdout": "", "stderr": ""}
        assert (root / "file").exists()

    @pytest.mark.parametrize("stream", ["stdout", "stderr"])
    def test_too_much_output_ends_it(self, root, monkeypatch, stream):
        monkeypatch.setattr(processes, "MOST_OUTPUT", 100_000)
        code = "yes" if stream == "stdout" else "yes >&2"
        with pytest.raises(RuntimeError, match=f"more than .* bytes to {stream} and was ended"):
            run(root, "sh", "-c", code)

    def test_too_much_at_its_very_end_is_seen(self, root, monkeypatch):
        monkeypatch.setattr(processes._Pipes, "serve", lambda self, seconds: None)
        monkeypatch.setattr(processes, "MOST_OUTPUT", 100)

        with pytest.raises(RuntimeError, match="to stdout and was ended"):
            run(root, "printf", "%200s", "x")

    def test_the_steps_deadline_ends_it(self, root):
        pipeline = load(root, *python(STUBBORN), str(root / "parent"), str(root / "child"))
        step: Any = pipeline.steps[0]
        step.timeout = 0.5
        with pytest.raises(StepTimeoutError):
            pipeline.run()

        wait_until_gone(wait_for(root / "parent"))
        wait_until_gone(wait_for(root / "child"))
        wait_for_the_thread()

    def test_the_end_of_the_run_ends_it(self, root):
        pipeline = load(root, *python(STUBBORN), str(root / "parent"), str(root / "child"))
        handle = pipeline.start()
        pids = [wait_for(root / name) for name in ("parent", "child")]
        handle.cancel()
        with pytest.raises(RunCancelledError):
            handle.result()

        for pid in pids:
            wait_until_gone(pid)
        wait_for_the_thread()

    def test_the_failure_of_a_sibling_ends_it(self, root):
        def fail(context: Any) -> None:
            wait_for(root / "parent")
            raise KeyError("sibling")

        command = [*python(STUBBORN), str(root / "parent"), str(root / "child")]
        substeps = [
            {"type": "shell", "command": command},
            {"type": "python", "function": "fail"},
        ]
        pipeline = load_pipeline(
            {"steps": [{"type": "parallel", "substeps": substeps}]},
            root=root,
            allow={"shell"},
            functions={"fail": fail},
        )
        with pytest.raises(ParallelGroupError):
            pipeline.run()

        wait_until_gone(wait_for(root / "parent"))
        wait_until_gone(wait_for(root / "child"))
        wait_for_the_thread()

    def test_an_interrupt_ends_it(self, root):
        command = [*python(STUBBORN), str(root / "parent"), str(root / "child")]
        code = f"""
            import signal
            from task_pipeline.documents import load_pipeline
            signal.signal(signal.SIGINT, signal.default_int_handler)
            step = {{"type": "shell", "command": {command!r}}}
            load_pipeline({{"steps": [step]}}, allow={{"shell"}}).run()
        """
        program = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)], stderr=subprocess.PIPE
        )
        pids = [wait_for(root / name) for name in ("parent", "child")]
        program.send_signal(signal.SIGINT)
        _, error = program.communicate(timeout=PATIENCE)

        assert b"KeyboardInterrupt" in error
        for pid in pids:
            wait_until_gone(pid)

    def test_the_end_of_the_program_ends_it(self, root):
        command = [*python(STUBBORN), str(root / "parent"), str(root / "child")]
        code = f"""
            from task_pipeline.documents import load_pipeline
            step = {{"type": "shell", "command": {command!r}}}
            load_pipeline({{"steps": [step]}}, allow={{"shell"}}).start()
            files = [pathlib.Path(name) for name in {command[-2:]!r}]
            while not all(file.exists() and file.read_text() for file in files):
                pass
        """
        code = "import pathlib\n" + textwrap.dedent(code)
        subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)

        wait_until_gone(wait_for(root / "parent"))
        wait_until_gone(wait_for(root / "child"))


def wait_for_the_thread() -> None:
    """Until the thread that was in the command has come to its end as well."""
    until = time.monotonic() + PATIENCE
    while processes._groups and time.monotonic() < until:
        os.sched_yield()
    gone = time.monotonic() + PATIENCE
    while children() - KNOWN and time.monotonic() < gone:
        os.sched_yield()


class TestProcesses:
    """What commands on this machine do not do, or cannot be brought to do."""

    def command(self, *arguments: str, **fields: Any) -> Command:
        given: dict[str, Any] = {
            "folder": Path("/"),
            "environment": os.environ,
            "given": None,
            "timeout": PATIENCE,
            "time_left": lambda: None,
        }
        return Command(arguments, **{**given, **fields})

    def test_systems_without_pidfd_or_waitid(self, monkeypatch):
        monkeypatch.delattr(os, "pidfd_open")
        monkeypatch.delattr(os, "waitid")

        ended = run_command(self.command("sh", "-c", "sleep 60 & echo $!; sleep 0.05; exit 4"))

        assert (ended.how, ended.status, ended.stderr) == ("exit", 4, b"")
        wait_until_gone(int(ended.stdout))

    def test_it_is_ended_when_the_question_for_the_time_left_raises(self, root):
        file = root / "pid"

        def time_left() -> None:
            if file.exists() and file.read_text().endswith("\n"):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_command(
                self.command("sh", "-c", f"echo $$ > {file}; sleep 60", time_left=time_left)
            )

        assert not is_alive(int(file.read_text()))
        assert processes._groups == set()

    def test_one_that_cannot_be_ended_does_not_hold_up_the_step(self, monkeypatch):
        monkeypatch.setattr(processes, "_PATIENCE", 0.01)
        signals: list[int] = []
        monkeypatch.setattr(processes, "_signal", lambda group, number: signals.append(group))
        with pytest.warns(ResourceWarning, match="still running"):
            self.run_what_cannot_be_ended()
        os.killpg(signals[0], signal.SIGKILL)
        os.waitpid(signals[0], 0)
        subprocess._active.clear()  # type: ignore[attr-defined]  # where it would be looked after

    def run_what_cannot_be_ended(self) -> None:
        with pytest.raises(TimeoutError, match=r"process \d+ cannot be ended"):
            run_command(self.command("sleep", "60", timeout=0.01))
        gc.collect()

    def test_a_group_of_somebody_else_is_none_of_ours(self, monkeypatch):
        def refuse(group: int, number: int) -> None:
            raise PermissionError

        monkeypatch.setattr(os, "killpg", refuse)

        assert run_command(self.command("true")).status == 0

    def test_a_forked_child_has_none(self):
        processes._groups.add(-1)
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(write, str(len(processes._groups)).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        processes._groups.discard(-1)

        assert os.read(read, 10) == b"0"
        os.close(read)
        os.close(write)

    def test_at_the_end_of_the_program_all_are_ended(self, monkeypatch):
        signals: list[tuple[int, int]] = []
        monkeypatch.setattr(processes, "_groups", {5})
        monkeypatch.setattr(processes, "_signal", lambda *given: signals.append(given))

        processes._end_all()

        assert signals == [(5, signal.SIGKILL)]


class TestDeadlinesSeenEarly:
    """The command sees a deadline before the engine has acted on it."""

    @pytest.fixture
    def stopped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shell, "run_command", lambda command: Ended("stopped", 0, b"", b""))
        monkeypatch.setattr(shell, "_PATIENCE", 0.05)

    def test_the_engine_has_the_say(self, root, stopped):
        pipeline = load(root, "true")
        step: Any = pipeline.steps[0]
        step.timeout = 0.01
        with pytest.raises(StepTimeoutError):
            pipeline.run()

    def test_if_it_says_nothing_the_step_does(self, root, stopped):
        with pytest.raises(TimeoutError, match="'true' was ended: the step's deadline has passed"):
            load(root, "true").run()

    def test_time_left_is_that_of_the_runs_clock(self, root):
        clock = ManualClock()
        with clock.installed():
            pipeline = load(root, "sh", "-c", "echo $$ > pid; sleep 60")
            step: Any = pipeline.steps[0]
            step.timeout = 3600
            handle = pipeline.start()
        pid = wait_for(root / "pid")
        clock.advance(3600)
        with pytest.raises(StepTimeoutError):
            handle.result()

        wait_until_gone(pid)
        wait_for_the_thread()
