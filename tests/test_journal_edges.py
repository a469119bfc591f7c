"""Journals that fail in the middle of a run, odd data, and records that were tampered with."""

from __future__ import annotations

import enum
import gc
import logging
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    JournalDataError,
    JournalError,
    Map,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    RunLeasedError,
    TaskStep,
    open_journal,
    register_type,
    step,
)
from task_pipeline.journal.lane import Lane, elapsed
from task_pipeline.journal.leases import LIVING
from task_pipeline.journal.recorder import Handed
from tests.codec_round_trip import read
from tests.journaled import Runs, Work, row

ONE_WORKER = PipelineConfig(max_workers=1)
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tmp_path)
    yield made
    made.close()


@pytest.fixture
def work() -> Work:
    return Work()


def file_of(runs: Runs) -> str:
    return runs.journal.url.removeprefix("sqlite:///")


def tamper(runs: Runs, statement: str, *values: Any) -> None:
    """Change the journal behind its back."""
    with closing(sqlite3.connect(file_of(runs))) as connection:
        connection.execute(statement, values)
        connection.commit()


# Journals that fail


def delete(runs: Runs) -> None:
    for end in ("", "-wal", "-shm"):  # whoever sees that the file is gone removes the others
        Path(file_of(runs) + end).unlink(missing_ok=True)


def restore(runs: Runs) -> None:
    """Put a copy of the file in its place, as it is at this moment."""
    tamper(runs, "vacuum into ?", file_of(runs) + "-copy")
    delete(runs)
    Path(file_of(runs) + "-copy").rename(file_of(runs))


def steal(runs: Runs) -> None:
    """The run is another worker's, and the time is over in which nobody could take it."""
    tamper(runs, "update workflow_runs set lease_token = 'of another'")
    lane = lane_of("r")
    lane.was_renewed(elapsed() - lane.lease, time.time() - lane.lease)


Breaking = Callable[[Runs], None]


def lane_of(run_id: str) -> Lane:
    (lane,) = [lane for lane in LIVING.all() if lane.run_id == run_id]
    return lane


def fail(runs: Runs, breaking: Breaking) -> None:
    """Break the journal of a run under way, and see to it that the run is told."""
    lane = lane_of("r")
    breaking(runs)
    with pytest.raises(JournalError):
        lane.wait(lane.put_event(10**6, "{}"))


@pytest.mark.parametrize("breaking", [delete, restore])
def test_a_file_that_is_lost_ends_the_run(runs: Runs, work: Work, breaking: Breaking) -> None:
    work.meanwhile("breaks", lambda: breaking(runs))
    with pytest.raises(JournalError, match=r"'r'.*was deleted, or another one was put"):
        runs.pipeline(work.all("a breaks z")).run(run_id="r")
    assert work.ran() == ["a", "breaks"]


def test_a_run_that_was_deleted_does_not_end_well(runs: Runs, work: Work) -> None:
    work.meanwhile("breaks", lambda: tamper(runs, "delete from workflow_runs"))
    with pytest.raises(JournalError, match=r"'r'.*deleted from the journal"):
        runs.pipeline(work.all("a breaks z")).run(run_id="r")


@pytest.mark.parametrize("is_coroutine", [False, True])
@pytest.mark.parametrize(("breaking", "error"), [(delete, JournalError), (steal, RunLeasedError)])
def test_no_branch_starts_after_the_journal_has_failed(
    runs: Runs, work: Work, breaking: Breaking, error: type[Exception], is_coroutine: bool
) -> None:
    ran: list[int] = []

    def send(context: Any) -> None:
        ran.append(1)
        if len(ran) == 3:
            fail(runs, breaking)

    async def send_async(context: Any) -> None:
        send(context)

    letters = Map(send_async if is_coroutine else send, over=range(50))
    with pytest.raises(error, match="'r'"):
        runs.pipeline([letters, work("z")], config=ONE_WORKER).run(run_id="r")
    assert len(ran) == 3
    assert work.ran() == []


def test_a_run_that_fails_says_that_its_end_was_not_recorded(
    runs: Runs, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    work.meanwhile("send", lambda: delete(runs))
    work.fail("send", OSError("no such mailbox"))
    with (
        caplog.at_level(logging.ERROR, "task_pipeline"),
        pytest.raises(OSError, match="no such mailbox") as raised,
    ):
        runs.pipeline(work.all("load send")).run(run_id="r")
    notes = [note for note in raised.value.__notes__ if "could not be recorded" in note]
    assert len(notes) == 1
    assert "was deleted" in notes[0]
    assert any("could not be recorded" in record.getMessage() for record in caplog.records)


def test_a_lock_is_waited_for_no_longer_than_asked(
    tmp_path: Path, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "locked.db"
    with (
        open_journal(f"sqlite:///{path}", patience=0) as journal,
        closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other,
    ):
        assert journal.runs() == []
        work.meanwhile("locks", lambda: other.execute("begin immediate"))
        before = time.monotonic()
        with pytest.raises(JournalError, match="locked"):
            Pipeline(work.all("a locks z"), journal=journal).run(run_id="r")
        assert time.monotonic() - before < 4  # SQLite by itself waits for 5 seconds
        assert work.ran() == ["a", "locks"]
    assert not any("('passes'" in record.getMessage() for record in caplog.records)


# What is kept, and what is not


def test_a_run_that_has_ended_keeps_no_change_of_a_step(runs: Runs, work: Work) -> None:
    @step(retries=1)
    def grows(context: Any) -> None:
        context.results.setdefault("list", []).append("x" * 100)
        if work.is_to_fail("grows"):
            raise ValueError

    def kept() -> int:
        return sum(type(one) is Handed for one in gc.get_objects())

    before = kept()
    pipeline = runs.pipeline([*[grows] * 5, [grows, grows], Map(grows, over=[1, 2])])
    work.fail("grows")
    run = pipeline.start(run_id="r")
    assert len(run.result().results["list"]) == 9
    assert kept() <= before
    with pipeline.subscribe(lambda event: None):
        pipeline.resume("r", from_step="0")
    assert kept() <= before


CLEARING: dict[str, Callable[[Any], object]] = {
    "clear": lambda context: context.errors.clear(),
    "replace": lambda context: setattr(context, "errors", []),
    "first": lambda context: context.errors.pop(0),
    "other": lambda context: setattr(context, "errors", [ValueError("other")]),
}


@pytest.mark.parametrize("way", CLEARING)
def test_errors_that_a_step_takes_away_stay_away(runs: Runs, work: Work, way: str) -> None:
    def notes(context: Any) -> None:
        context.errors += [ValueError("one"), ValueError("two")]

    @step(step_id="changes")
    def changes(context: Any) -> None:
        CLEARING[way](context)

    def told(context: Any) -> list[str]:
        return [str(error) for error in context.errors]

    steps = [notes, changes, work("z")]
    plain = told(runs.pipeline(steps, journal=None).run())
    pipeline = runs.pipeline(steps)
    work.fail("z")
    with pytest.raises(ValueError, match="z"):
        pipeline.run(run_id="r")
    assert told(pipeline.resume("r")) == plain
    assert told(pipeline.run()) == plain
    assert told(pipeline.replay("r").context) == plain


def test_what_is_passed_by_reference_can_be_replaced(runs: Runs) -> None:
    def replaces(context: Any) -> None:
        context.shared = dict(context.shared, z=1)

    def looks(context: Any) -> list[str]:
        return sorted(context.shared)

    context = PipelineContext[Any](shared={"a": 0})
    runs.pipeline([replaces, looks]).run(context)
    assert context.results["looks"] == ["a", "z"]
    assert context.shared == {"a": 0, "z": 1}


class OddError(Exception):
    """One of which hardly anything can be had."""

    @property
    def args(self) -> Any:  # type: ignore[override]  # as odd as can be
        raise RuntimeError("no args")

    __cause__ = args


def test_the_oddest_error_is_not_lost(runs: Runs, work: Work) -> None:
    work.fail("odd", OddError())
    pipeline = runs.pipeline(work.all("odd z"))
    with pytest.raises(OddError):
        pipeline.run(run_id="r")
    assert row(runs.journal, "odd").error_type == f"{__name__}.OddError"
    work.ran()
    assert pipeline.resume("r").results == {"log": ["odd", "z"]}


# Called wrongly


@pytest.mark.parametrize("name", ["\ud800", "a\0b"])
def test_a_name_that_no_database_takes_is_refused_at_the_start(
    runs: Runs, work: Work, name: str
) -> None:
    with pytest.raises(JournalDataError, match="call the steps something else"):
        runs.pipeline([work("a"), work(name)]).run(run_id="r")
    assert work.ran() == []
    assert runs.journal.runs() == []


def test_a_url_with_a_nul_in_it_is_called_wrong() -> None:
    with pytest.raises(JournalError, match="URL has a NUL"):
        open_journal("sqlite:///a\0b")


WITHOUT = """
import sys
sys.modules["sqlalchemy"] = None
import task_pipeline
from task_pipeline import *
assert Pipeline([lambda context: 1]).run().results == {"lambda": 1}
url = "sqlite:///never.db"
for call in (
    lambda: Pipeline([], journal=url), lambda: open_journal(url), lambda: task_pipeline.Journal
):
    try:
        call()
    except MissingExtraError as error:
        assert "task-pipeline[journal]" in str(error), error
        print("told")
"""


def test_without_its_packages_a_journal_is_an_error_that_names_the_extra(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (child.stdout.split(), child.stderr) == (["told"] * 3, "")


# Tampered with

CODE_RAN: list[str] = []


class Spied:
    @property
    def secret(self) -> int:
        return 1

    @secret.setter
    def secret(self, value: Any) -> None:
        CODE_RAN.append("property")


class SpiedError(Exception):
    def __setattr__(self, name: str, value: Any) -> None:
        CODE_RAN.append(name)


class SpiedFlag(enum.IntFlag):
    ONE = 1

    @classmethod
    def _missing_(cls, value: object) -> Any:
        CODE_RAN.append("missing")
        return super()._missing_(value)


@pytest.mark.parametrize(
    "text", ['"object","type":"Spied","v":{"secret":1}', '"enum","type":"SpiedFlag","v":8']
)
def test_reading_runs_no_code_of_the_classes_it_names(text: str) -> None:
    register_type(Spied)
    CODE_RAN.clear()
    with pytest.raises(JournalDataError, match="Spied"):
        read('{"$":' + text.replace('"Spied', f'"{__name__}:Spied') + "}")
    assert CODE_RAN == []


def test_an_error_is_read_without_its_code() -> None:
    CODE_RAN.clear()
    more = '"args":[1],"trace":"t","notes":["n"],"cause":["x","y"],"state":{"more":1}'
    made = read(f'{{"$":"error","type":"{__name__}:SpiedError","text":"t",{more}}}')
    assert (type(made), made.args, vars(made)["more"]) == (SpiedError, (1,), 1)
    assert CODE_RAN == []


def left_with(runs: Runs, steps: list[TaskStep], work: Work) -> Any:
    """A run that failed in its last step, `z`."""
    work.fail("z")
    pipeline = runs.pipeline([*steps, work("z")])
    with pytest.raises(ValueError, match="z"):
        pipeline.run(PipelineContext(app_config="mine"), run_id="r")
    work.ran()
    return pipeline


@pytest.mark.parametrize("column", ["delta", "input"])
@pytest.mark.parametrize("name", ["app_config", "results", "errors", "cancelled", "_source"])
def test_no_row_sets_what_is_not_data(runs: Runs, work: Work, column: str, name: str) -> None:
    pipeline = left_with(runs, [work("a")], work)
    table = "step_executions" if column == "delta" else "workflow_runs"
    tamper(runs, f"update {table} set {column} = ?", f'{{"f":{{"{name}":5}}}}')
    for look in (pipeline.resume, pipeline.replay):
        with pytest.raises(JournalDataError, match=name):
            look("r")
    assert work.ran() == []


@pytest.mark.parametrize("value", [2**62, -1e300])
@pytest.mark.parametrize("table", ["workflow_runs", "step_executions", "group_executions"])
def test_a_time_of_no_year_is_an_error(runs: Runs, work: Work, table: str, value: float) -> None:
    pipeline = left_with(runs, [work.all("a b")], work)
    tamper(runs, f"update {table} set started_at = ?", value)
    with pytest.raises(JournalDataError, match="started_at"):
        pipeline.replay("r", "REPUBLISH_ALL")


def test_a_group_of_which_nobody_knows_how_it_ended(runs: Runs, work: Work) -> None:
    pipeline = left_with(runs, [work.all("a b")], work)
    tamper(runs, "update group_executions set status = 'over'")
    for look in (pipeline.resume, pipeline.replay):
        with pytest.raises(JournalDataError, match="status"):
            look("r")
    # As of one whose time was over, and whose branches were cut before they were merged.
    tamper(runs, "update group_executions set status = 'running'")
    assert pipeline.resume("r").results == {"log": ["a", "b", "z"]}
    assert work.ran() == ["z"]
