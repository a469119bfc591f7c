"""Large values: files in memory, which processes map, and which are gone afterwards."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from task_pipeline import Pipeline, PipelineContext
from task_pipeline.context import BINDING
from task_pipeline.errors import ExecutorError
from task_pipeline.executors import ProcessExecutor
from task_pipeline.executors.portable import Packed, dumps, loads
from task_pipeline.executors.process import parcels, scratch
from tests.process_doors import ROOT, Door, comes_true, is_gone_within


@pytest.fixture(scope="module")
def executor() -> Iterator[ProcessExecutor]:
    made = ProcessExecutor(2)
    yield made
    made.shutdown(kill=True)


def places(executor: ProcessExecutor) -> tuple[str, ...]:
    packing = executor._crew._packing
    assert packing is not None
    return packing.scratch.places


def files_of(executor: ProcessExecutor) -> list[str]:
    """Those that hold values."""
    found = [path.name for place in places(executor) for path in Path(place).iterdir()]
    return sorted(name for name in found if name not in ("alive", "flags"))


@pytest.mark.parametrize("size", [10, 3_000, 100_000, 1_000_000])
def test_arrays_of_any_size_go_there_and_come_back_and_can_be_written_to(executor, size):
    def doubles(context):
        found = context.results["array"]
        found += 1  # a copy of its own
        return found * 2

    context: PipelineContext[Any] = PipelineContext()
    context.results["array"] = np.arange(size, dtype=np.float64)
    doubled = Pipeline([doubles], executor=executor).run(context).results["doubles"]
    assert np.array_equal(doubled, (np.arange(size) + 1.0) * 2)
    doubled[0] = -1
    assert doubled[0] == -1


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_keep_the_order_in_which_they_lie_in_memory(executor, order):
    def returns(context):
        return context.results["array"]

    context: PipelineContext[Any] = PipelineContext()
    context.results["array"] = np.array(np.arange(60_000).reshape(200, 300), order=order)
    results = Pipeline([[returns]], executor=executor).run(context).results
    assert np.array_equal(results["returns"], context.results["array"])
    assert results["returns"].flags.f_contiguous == (order == "F")


def test_what_branches_start_from_is_written_once_and_goes_when_the_run_does(executor):
    def looks(context):
        found = list(Path(context.app_config["place"]).glob("base-*"))
        return float(context.results["array"][-1]), len(found)

    Pipeline([lambda context: 1], executor=executor).run()
    context: PipelineContext[Any] = PipelineContext(app_config={"place": places(executor)[0]})
    context.results["array"] = np.arange(200_000, dtype=np.float64)
    results = Pipeline([[looks] * 6], executor=executor).run(context).results
    assert {results[name] for name in results if name.startswith("looks")} == {(199_999.0, 1)}
    assert comes_true(lambda: gc.collect() or files_of(executor) == [])


def test_processes_let_go_of_what_was_removed(executor, tmp_path):
    """What is mapped takes memory, though its file be gone."""

    def reads(context):
        context.results["array"].sum()
        return os.getpid()

    context: PipelineContext[Any] = PipelineContext()
    context.results["array"] = np.arange(400_000, dtype=np.float64)
    pid = Pipeline([[reads]], executor=executor).run(context).results["reads"]
    gc.collect()
    assert comes_true(lambda: "base-" not in Path(f"/proc/{pid}/maps").read_text())


def test_what_a_branch_has_changed_goes_by_a_file_too(executor):
    def makes(context):
        context.results["array"] = np.ones(100_000)

    def sums(context):
        context.results["sum"] = context.results.pop("array").sum()

    context: PipelineContext[Any] = PipelineContext()
    results = Pipeline([[[makes, sums]]], executor=executor).run(context).results
    assert results["sum"] == 100_000
    assert comes_true(lambda: gc.collect() or files_of(executor) == [])


def test_a_large_closure_goes_by_a_file_too(executor):
    table = np.arange(300_000)

    def uses(context):
        return int(table[-1])

    results = Pipeline([[uses] * 3], executor=executor).run().results
    assert results["uses"] == results["uses#3"] == 299_999


def test_many_large_results_do_not_take_a_descriptor_each(executor, monkeypatch):
    monkeypatch.setattr(scratch, "MOST_MAPS", 3)

    def makes(context):
        return np.zeros(150_000)

    before = len(list(Path("/proc/self/fd").iterdir()))
    results = Pipeline([[makes] * 12], executor=executor).run().results
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 3
    results["makes#12"][:] = 5
    assert results["makes#12"].sum() == 5 * 150_000


def test_without_room_in_memory_files_go_to_disk(tmp_path, monkeypatch):
    """A device that is always full stands where there is no room."""
    small, large = tmp_path / "small", tmp_path / "large"
    small.mkdir()
    large.mkdir()
    (small / "base-0").symlink_to("/dev/full")
    opened = Path.open

    def opens(self, mode="r"):
        return opened(self, "wb" if mode == "xb" and self.is_symlink() else mode)

    monkeypatch.setattr(Path, "open", opens)
    writer = scratch.Writer((str(small), str(large)), "base-")
    path = writer.write([b"x" * 100_000])
    assert path == f"{large}/base-0"
    assert [bytes(part) for part in scratch.read(path)] == [b"x" * 100_000]
    assert list(small.iterdir()) == [], "nothing of it is left there"


def test_an_error_that_is_not_want_of_room_is_not_hidden(tmp_path):
    writer = scratch.Writer((str(tmp_path / "nowhere"), str(tmp_path)), "base-")
    with pytest.raises(FileNotFoundError):
        writer.write([b"x"])


def test_a_reply_whose_file_was_removed_fails_its_step(executor, tmp_path):
    door = Door(tmp_path / "door")

    def makes(context):
        door.wait()
        return np.ones(100_000)

    run = Pipeline([makes], executor=executor).start()
    door.wait_until_reached()
    for name in places(executor)[0], places(executor)[-1]:
        Path(name).rename(f"{name}-away")
    door.open()
    with pytest.raises(ExecutorError, match="cannot be written to a file"):
        run.result()
    for name in places(executor):
        Path(f"{name}-away").rename(name)


def test_what_a_process_that_died_has_written_is_removed(executor, tmp_path):
    def dies(context):
        writer = context.__dict__[BINDING]._channel._writer
        (tmp_path / "path").write_text(writer.write([b"left behind"]))
        os._exit(1)

    with pytest.raises(Exception, match="exit code 1"):
        Pipeline([dies], executor=executor).run()
    Pipeline([lambda context: 1], executor=executor).run()  # after all that its end has set off
    assert not Path((tmp_path / "path").read_text()).exists()


def test_what_a_parent_that_was_killed_has_left_is_swept_and_its_processes_end(tmp_path):
    script = dedent("""
        import os, sys, subprocess
        import numpy as np
        from task_pipeline import Pipeline, PipelineContext
        from task_pipeline.executors import ProcessExecutor
        def computes(context):
            child = subprocess.Popen(["sleep", "1000"])
            print(os.getpid(), child.pid, *os.listdir("/dev/shm"), flush=True)
            return pow(10**6 + 3, 10**9) % 7
        context = PipelineContext()
        context.results["array"] = np.ones(1_000_000)
        Pipeline([computes], executor=ProcessExecutor(1)).run(context)
    """)
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert parent.stdout is not None
    with parent.stdout:
        worker, child, *found = parent.stdout.readline().split()
    left = [Path("/dev/shm", name) for name in found if f"-{parent.pid}-" in name]
    assert left and all(any(place.iterdir()) for place in left)
    parent.kill()
    parent.wait()
    assert is_gone_within(int(worker), 5), "though it is inside of an endless call"
    assert is_gone_within(int(child), 5), "and so is what it has started"
    with ProcessExecutor(1) as executor:
        Pipeline([lambda context: 1], executor=executor).run()
    assert not any(place.exists() for place in left)


def test_what_belongs_to_a_process_that_is_there_is_not_swept(tmp_path):
    kept = scratch.Scratch([str(tmp_path)])
    (tmp_path / f"{scratch.PREFIX}empty").mkdir()
    dead = tmp_path / f"{scratch.PREFIX}dead"
    dead.mkdir()
    (dead / "alive").touch()
    (dead / "base-7").touch()
    other = tmp_path / "other"
    other.mkdir()
    scratch.sweep(str(tmp_path))
    assert sorted(tmp_path.iterdir()) == sorted([Path(kept.places[0]), other])
    kept.close()
    kept.close()
    assert list(tmp_path.iterdir()) == [other]


def test_without_any_place_for_files_the_reason_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "possible_roots", lambda: [str(tmp_path / "nowhere")])
    with ProcessExecutor(1) as executor, pytest.raises(ExecutorError, match="nowhere"):
        Pipeline([lambda context: 1], executor=executor).run()


def test_a_place_that_is_swept_while_it_is_made_is_made_again(tmp_path, monkeypatch):
    swept: list[Any] = []
    opens = os.open

    def sweeps_first(path, *arguments, **options):
        if not swept:
            swept.append(path)
            scratch.sweep(str(tmp_path))  # of another process, at that very moment
        return opens(path, *arguments, **options)

    monkeypatch.setattr(os, "open", sweeps_first)
    made = scratch.Scratch([str(tmp_path)])
    assert Path(made.places[0]).is_dir()
    assert not Path(swept[0]).parent.exists()
    made.close()


def test_a_packed_value_is_an_item_and_the_same_again(tmp_path):
    writer = scratch.Writer((str(tmp_path),), "item-")
    for size in (5, 20_000, 3_000_000):
        packed = dumps({"array": np.arange(size, dtype=np.uint8)}, "it")
        for is_last in (False, True):
            item = parcels.to_item(packed, writer)
            opened = parcels.from_last_item(item) if is_last else parcels.from_item(item)
            assert np.array_equal(loads(opened)["array"], np.arange(size, dtype=np.uint8))
            if isinstance(item, str):
                assert Path(item).exists() != is_last
    assert parcels.to_item(Packed(b"abc", [memoryview(b"de")]), writer) == (
        b"abc",
        [bytearray(b"de")],
    )
