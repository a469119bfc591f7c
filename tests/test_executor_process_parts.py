"""The parts of the process executor by themselves; of a worker's side too, in this process."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import ConfigurationError, Pipeline, PipelineContext
from task_pipeline.errors import ExecutorError, NotPortableError
from task_pipeline.events import StepFailed
from task_pipeline.executors import ProcessExecutor
from task_pipeline.executors.image import Image
from task_pipeline.executors.performing import About, open_reply
from task_pipeline.executors.portable import dumps, loads
from task_pipeline.executors.process import (
    boot,
    forking,
    launching,
    lines,
    packing,
    settings,
    surroundings,
    wording,
)
from task_pipeline.executors.process.flags import Flags
from task_pipeline.executors.process.lines import From, Line, To
from task_pipeline.executors.process.parcels import (
    Item,
    Setup,
    from_last_item,
    message,
    opened,
    to_item,
)
from task_pipeline.executors.process.remembering import MOST_FUNCTIONS, MOST_IMAGES, Memory
from task_pipeline.executors.process.scratch import Writer
from task_pipeline.executors.process.serving import Service, Wire
from task_pipeline.executors.process.watching import Watch
from task_pipeline.state.results import NO_RULE


class Parent:
    """A parent's side of a line to a worker that is a thread of this process."""

    def __init__(self, tmp_path: Path) -> None:
        self.end, far = lines.pair()
        self.flags = Flags(str(tmp_path / "flags"), 3)
        setup = Setup(1, str(tmp_path / "flags"), (str(tmp_path),), "reply-", {})
        self.writer = Writer((str(tmp_path),), "base-")
        self.service = Service(Line(far), setup)
        self.thread = threading.Thread(target=self.service.work)
        self.thread.start()
        self.where = surroundings.Surroundings().now()
        self.far = far
        assert self.hear() == [From.READY, os.getpid()]

    def hear(self) -> list[Any]:
        self.end.settimeout(20)
        return list(opened(self.end.recv(lines.MOST)))

    def call(self, function, results=None, number=1, base=1, **about):
        image = Image(PipelineContext, {}, results or {}, [], NO_RULE, (), (), "shop")
        packed = dumps(image, "context"), dumps(function, "step")
        base_item, code = (to_item(each, self.writer) for each in packed)
        facts = packing.facts_of(about_of(**about))
        digest = os.urandom(16)
        self.end.send(
            message(To.CALL, number, self.where, digest, code, base, base_item, facts, None)
        )

    def reply(self):
        kind, _number, item = self.hear()
        assert kind == From.REPLY
        return None if item is None else open_reply(from_last_item(item))

    def close(self) -> None:
        self.end.close()
        self.thread.join()
        self.far.close()
        self.flags.close()


def about_of(**given: Any) -> About:
    known: dict[str, Any] = {
        "run_id": "run",
        "step_id": "step",
        "path": "0",
        "name": "step",
        "attempt": 1,
        "idempotency_key": "run/0",
        "result_key": "step",
        "is_function": True,
        "remaining": None,
        "strict": True,
        "is_heard": True,
        "overlay": None,
        "variables": (),
        "levels": {},
    }
    return About(**known | given)


@pytest.fixture
def parent(tmp_path) -> Iterator[Parent]:
    root = logging.getLogger()
    handlers = root.handlers[:]
    made = Parent(tmp_path)
    yield made
    made.close()
    root.handlers[:] = handlers


def test_a_worker_performs_calls_and_ends_with_its_line(parent):
    parent.call(lambda context: context.results["a"] + 1, {"a": 41})
    assert parent.reply().delta.results == {"step": 42}
    parent.call(lambda context: None, base=2)
    assert parent.reply() is None, "nothing changed, nothing raised"
    parent.end.send(message(To.LOOK))
    parent.end.send(message(To.END))
    parent.thread.join(20)
    assert not parent.thread.is_alive()


def test_a_worker_says_what_a_step_says(parent):
    error = ValueError("of an event")
    event = StepFailed(
        run_id="run", seq=1, at=datetime.now(UTC), monotonic=1.0, path="0", name="x", error=error
    )

    channel = Wire(parent.service, 7)
    parent.flags.ask_to_stop(1, 6)
    assert not channel.cancelled
    channel.progressed(20)
    assert parent.hear() == [From.PROGRESS, 7, 20]
    channel.logged(logging.makeLogRecord({"msg": "sold out", "name": "shop"}))
    kind, number, item = parent.hear()
    record = open_any(item)
    assert (kind, number, record.getMessage()) == (From.RECORD, 7, "sold out")
    channel.told(event)
    kind, number, item = parent.hear()
    assert (kind, number) == (From.EVENT, 7)
    assert str(open_any(item).error) == "of an event"
    parent.flags.ask_to_stop(1, 7)
    assert channel.cancelled


def open_any(item):
    return loads(from_last_item(item))


def test_what_cannot_be_read_over_there_is_the_steps_error(parent):
    digest = b"x"
    nothing: Item = (b"", [])
    parent.end.send(message(To.CALL, 1, parent.where, digest, nothing, 1, nothing, (), None))
    with pytest.raises(NotPortableError, match="cannot be read where it is to run"):
        raise parent.reply().error


def test_facts_that_are_not_plain_are_packed_apart(parent):
    image = Image(PipelineContext, {}, {}, [], NO_RULE, (), (), "shop")
    items = [
        to_item(dumps(each, "it"), parent.writer)
        for each in (lambda context: context.step_id, image, about_of(step_id="packed"))
    ]
    parent.end.send(message(To.CALL, 1, parent.where, b"x", items[0], 1, items[1], (), items[2]))
    assert parent.reply() is not None


def test_without_any_room_the_steps_reply_says_so(parent, tmp_path):
    parent.service.writer.places = (str(tmp_path / "nowhere"),)
    parent.call(lambda context: b"x" * 100_000)
    with pytest.raises(ExecutorError, match=r"cannot be written to a file.*nowhere"):
        raise parent.reply().error


def test_a_worker_without_a_standard_output_works(parent, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    parent.call(lambda context: 1)
    assert parent.reply().delta.results == {"step": 1}


def test_a_worker_lets_go_of_images_whose_files_were_removed(parent, tmp_path):
    parent.call(lambda context: len(context.results["a"]), {"a": b"x" * 200_000})
    assert parent.reply().delta.results == {"step": 200_000}
    parent.call(lambda context: 1, base=2)
    parent.reply()
    assert list(parent.service._memory._images) == [1, 2]
    for path in tmp_path.glob("base-*"):
        path.unlink()
    parent.flags.count_removal()
    parent.call(lambda context: 1, base=2)
    parent.reply()
    parent.end.send(message(To.END))
    parent.thread.join(20)
    assert list(parent.service._memory._images) == [2]


def test_what_a_worker_remembers_is_bounded(tmp_path):
    memory, writer = Memory(), Writer((str(tmp_path),), "x-")
    first = memory.function(b"0", to_item(dumps(len, "f"), writer))
    for number in range(1, MOST_FUNCTIONS):
        memory.function(b"%d" % number, to_item(dumps(len, "f"), writer))
    assert memory.function(b"0", (b"", [])) is first, "it is not read again"
    memory.function(b"new", to_item(dumps(len, "f"), writer))
    with pytest.raises(EOFError):
        memory.function(b"1", (b"", []))  # the one that was not used for longest
    images = [memory.image(n, to_item(dumps({"n": n}, "i"), writer)) for n in range(MOST_IMAGES)]
    assert memory.image(0, (b"", [])) is images[0]
    memory.image(99, to_item(dumps({}, "i"), writer))
    with pytest.raises(EOFError):
        memory.image(1, (b"", []))


def test_a_worker_that_cannot_begin_says_why(tmp_path, monkeypatch):
    near, far = lines.pair()
    monkeypatch.setattr(boot, "stand_apart", lambda: None)
    boot.run(far, Setup(0, str(tmp_path / "nowhere"), (), "x-", dict(os.environ)))
    kind, reason = opened(near.recv(lines.MOST))
    assert kind == From.BROKEN
    assert "nowhere" in reason
    near.close()
    far.close()


def test_a_worker_whose_parent_is_gone_ends_and_says_nothing(tmp_path, monkeypatch):
    near, far = lines.pair()
    Flags(str(tmp_path / "flags"), 1).close()
    monkeypatch.setattr(boot, "stand_apart", lambda: None)
    monkeypatch.setenv("TO_BE_THERE", "before")
    environment = {**os.environ, "TO_BE_THERE": "after"}
    near.close()
    boot.run(far, Setup(0, str(tmp_path / "flags"), (str(tmp_path),), "x-", environment))
    assert os.environ["TO_BE_THERE"] == "after"
    far.close()


def test_a_process_without_a_parent_does_not_end_with_it():
    boot._end_with_parent()
    boot._leave_fork_server()


def test_a_process_goes_where_another_one_is(tmp_path, monkeypatch):
    path = [*sys.path]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*path, str(tmp_path)])
    there = surroundings.Surroundings().now()
    monkeypatch.chdir("/")
    monkeypatch.setattr(sys, "path", path)
    surroundings.go_to(there)
    assert (Path.cwd(), sys.path[-1]) == (tmp_path, str(tmp_path))
    importlib.invalidate_caches()


def test_surroundings_are_told_anew_only_when_they_have_changed(tmp_path, monkeypatch):
    known = surroundings.Surroundings()
    assert known.now() is known.now()
    before = known.now()
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert known.now() != before
    monkeypatch.chdir("/")
    surroundings.go_to(known.now())


def test_a_path_of_modules_that_is_too_long_is_refused(monkeypatch):
    with ProcessExecutor(1) as executor:
        monkeypatch.setattr(sys, "path", [*sys.path, "/x" * lines.MOST])
        with pytest.raises(ExecutorError, match=r"sys\.path is too long"):
            Pipeline([lambda context: 1], executor=executor).run()


def test_a_system_of_short_messages_is_refused(monkeypatch):
    monkeypatch.setattr(lines, "MOST", 1 << 40)
    monkeypatch.setattr(socket.socket, "setsockopt", lambda *_: None)
    with pytest.raises(OSError, match=r"net\.core\.wmem_max"):
        lines.pair()


def test_flags_that_are_closed_take_a_removal_and_do_nothing(tmp_path):
    flags = Flags(str(tmp_path / "flags"), 1)
    flags.count_removal()
    assert flags.removals == 1
    flags.close()
    flags.count_removal()
    flags.close()


def test_how_many_processors_there_are_is_asked_in_the_best_way_there_is(monkeypatch):
    monkeypatch.setattr(os, "process_cpu_count", lambda: 3, raising=False)
    assert settings.usable_cpus() == 3
    monkeypatch.setattr(os, "process_cpu_count", None, raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert settings.usable_cpus() == os.cpu_count()


def test_on_another_kind_of_system_it_says_what_to_take(monkeypatch):
    monkeypatch.delattr(os, "fork")
    with pytest.raises(ConfigurationError, match=r"Linux.*ProcessPoolExecutor"):
        ProcessExecutor(1)


def test_the_end_of_a_process_that_nobody_knows_is_told_so():
    assert wording.how_it_ended(None) == "is gone"
    assert wording.how_it_ended(-signal.SIGKILL) == "was killed by SIGKILL"


def test_a_package_of_pebbles_that_is_missing_is_not_taken_for_pebble(monkeypatch):
    launching.pebbles_process.cache_clear()
    monkeypatch.delitem(sys.modules, "pebble", raising=False)
    monkeypatch.delitem(sys.modules, "pebble.concurrent", raising=False)
    monkeypatch.setitem(sys.modules, "pebble.common", None)
    with pytest.raises(ModuleNotFoundError, match=r"pebble\.common"):
        launching.pebbles_process()


def test_a_process_without_a_thread_that_waits_for_it_is_killed_again(tmp_path, monkeypatch):
    """The system starts no thread more: pebble raises, with the process there."""
    Flags(str(tmp_path / "flags"), 1).close()
    made = []
    process = launching.Process if hasattr(launching, "Process") else forking.Process
    start = process.start

    def starts(self):
        start(self)
        made.append(self)

    def refuses(*_, **__):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(process, "start", starts)
    monkeypatch.setattr("pebble.common.launch_thread", refuses)
    forking.SERVER.enter()
    setup = Setup(0, str(tmp_path / "flags"), (str(tmp_path),), "x-", dict(os.environ))
    with pytest.raises(RuntimeError, match="can't start new thread"):
        launching.launch(setup)
    (child,) = made
    child.join(20)
    assert child.exitcode == -signal.SIGKILL
    child.close()
    forking.SERVER.leave()


def test_a_watch_goes_on_after_a_mistake(caplog):
    looked = threading.Event()

    class Listener:
        times = 0

        def look_around(self):
            self.times += 1
            if self.times == 1:
                raise RuntimeError("a mistake")
            looked.set()

        def heard_all(self):
            pass

        def may_leave(self):
            return looked.is_set()

    watch = Watch(Listener())  # type: ignore[arg-type]  # all that it needs without workers
    for _ in range(100_000):  # more than there is room for
        watch.wake()
    watch.thread.start()
    assert looked.wait(20)
    watch.thread.join(20)
    watch.wake()  # it is not there any more
    assert "a call could not be dealt with" in caplog.text


def test_a_fork_server_that_was_waited_for_elsewhere_does_no_harm():
    server = forking.Server()
    server.enter()
    read, write = server.connect([])
    os.close(read)
    os.close(write)
    pid = server._server._forkserver_pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    read, write = server.connect([])  # another one
    os.close(read)
    os.close(write)
    os.kill(server._server._forkserver_pid, signal.SIGKILL)
    os.waitpid(server._server._forkserver_pid, 0)
    os.close(server._server._forkserver_alive_fd)
    server._server._forkserver_alive_fd = os.open(os.devnull, os.O_RDONLY)
    server.leave()


def test_nothing_of_it_is_imported_before_it_is_needed():
    script = """
        import sys, task_pipeline, task_pipeline.executors
        heavy = ("pebble", "cloudpickle", "multiprocessing")
        print([name for name in sys.modules if name.startswith(heavy)])
        import task_pipeline.executors.process.serving
        print([n for n in sys.modules if n.startswith(("pebble", "pydantic"))])
    """
    done = subprocess.run(
        [sys.executable, "-c", "import textwrap; exec(textwrap.dedent('''" + script + "'''))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n[]\n"
