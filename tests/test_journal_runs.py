"""Runs that are recorded, as their user has them: ids, tags, contexts, loops, copies, forks."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest

from task_pipeline import (
    ConfigurationError,
    JournalDataError,
    JournalError,
    ParallelGroupError,
    Pipeline,
    PipelineContext,
    RunExistsError,
    StateSnapshot,
    open_journal,
)
from task_pipeline.testing import Gate
from tests.journaled import Runs, Work, quiet, row, statuses

T = TypeVar("T")


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tmp_path)
    yield made
    made.close()


@pytest.fixture
def work() -> Work:
    return Work()


@dataclass
class Import(PipelineContext[Any]):
    """A context with fields of its own."""

    total: int = 0
    pages: list[str] = field(default_factory=list)


class Settings:
    """Cannot be recorded, and can be changed."""

    def __init__(self) -> None:
        self.count = 0


@dataclass
class Options:
    """Could be recorded."""

    count: int = 0


# Ids and tags


def test_a_run_has_the_id_and_tags_it_is_given(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a"), name="nightly")
    pipeline.run(run_id="2026-11-21", tags=["prod", "eu"])
    run = runs.journal.run("2026-11-21")
    assert (run.name, run.tags, run.status) == ("nightly", ("prod", "eu"), "succeeded")
    assert [run.run_id for run in runs.journal.runs(tag="eu")] == ["2026-11-21"]
    assert pipeline.journal is runs.journal


def test_a_run_without_an_id_gets_one(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a"))
    pipeline.run()
    run = pipeline.start()
    run.result()
    ids = {record.run_id for record in runs.journal.runs()}
    assert len(ids) == 2
    assert run.run_id in ids
    assert run.snapshot().run_id == run.run_id
    assert runs.journal.run(run.run_id).name == "pipeline"


def test_an_id_is_used_once(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a"))
    pipeline.run(run_id="r")
    work.ran()
    with pytest.raises(RunExistsError, match=r"'r'.*resume"):
        pipeline.run(run_id="r")
    with pytest.raises(RunExistsError):
        runs.pipeline(work.all("b")).run(run_id="r")
    with pytest.raises(RunExistsError):
        pipeline.start(run_id="r")
    assert work.ran() == []
    assert runs.journal.run("r").status == "succeeded"


@pytest.mark.parametrize("wrong", ["", "  ", "a\nb", 3])
def test_an_id_is_a_text_of_one_line(runs: Runs, work: Work, wrong: Any) -> None:
    pipeline = runs.pipeline(work.all("a"))
    with pytest.raises(ConfigurationError, match="run_id"):
        pipeline.run(run_id=wrong)
    assert runs.journal.runs() == []


@pytest.mark.parametrize("wrong", ["prod", [""], [3], 3, None])
def test_tags_are_texts(runs: Runs, work: Work, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="tag"):
        runs.pipeline(work.all("a")).run(tags=wrong)
    assert runs.journal.runs() == []


def test_without_a_journal_tags_have_no_place(work: Work) -> None:
    pipeline = Pipeline(work.all("a"))
    assert pipeline.journal is None
    with pytest.raises(ConfigurationError, match="journal="):
        pipeline.run(tags=["prod"])
    run = pipeline.start(run_id="mine")
    run.result()
    assert run.run_id == "mine"


def test_a_journal_is_a_url_or_an_open_one(tmp_path: Path, work: Work) -> None:
    wrong: Any = 3
    with pytest.raises(ConfigurationError, match="3"):
        Pipeline(work.all("a"), journal=wrong)
    with pytest.raises(JournalError, match="sqlite:///"):
        Pipeline(work.all("a"), journal="nonsense")
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    pipeline = Pipeline(work.all("a"), journal=url)
    assert not (tmp_path / "runs.db").exists()  # it is opened when a run needs it
    pipeline.run(run_id="r")
    with open_journal(url) as journal:
        assert journal.run("r").status == "succeeded"
    assert pipeline.journal is not None
    pipeline.journal.close()


def test_a_closed_journal_refuses_runs(runs: Runs, work: Work) -> None:
    journal = runs.opened()
    pipeline = runs.pipeline(work.all("a"), journal=journal)
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        pipeline.run()
    assert work.ran() == []


def test_two_pipelines_share_a_journal(runs: Runs, work: Work) -> None:
    first = runs.pipeline(work.all("a"), name="first")
    second = runs.pipeline(work.all("b"), name="second")
    gate = Gate()
    work.meanwhile("a", gate.wait)
    run = first.start(run_id="1")
    gate.wait_until_reached()
    second.run(run_id="2")
    gate.open()
    run.result()
    assert {run.name: run.status for run in runs.journal.runs()} == {
        "first": "succeeded",
        "second": "succeeded",
    }
    assert list(statuses(runs.journal, "2")) == ["b"]


# The context


def test_what_it_is_given_is_updated_and_returned(runs: Runs, work: Work) -> None:
    given: PipelineContext[Any] = PipelineContext(results={"in": [1]})
    results = given.results

    def add(context: Any) -> None:
        context.results["in"].append(2)

    assert runs.pipeline([add]).run(given) is given
    assert given.results is results
    assert given.results == {"in": [1, 2]}


def test_changes_at_every_depth_are_recorded(runs: Runs, work: Work) -> None:
    def change(context: Any) -> None:
        context.results["deep"]["list"][0]["set"].add(3)
        context.results["deep"]["list"].append({"tuple": (1, [2])})
        del context.results["gone"]
        context.results["bytes"] = b"\x00\xff"
        context.results[5] = {1: "int", None: "none"}

    def branch(context: Any) -> None:
        context.results["deep"]["list"][0]["set"].add(4)

    def other(context: Any) -> None:
        context.results["deep"]["other"] = [branch.__name__]

    given: PipelineContext[Any] = PipelineContext(
        results={"gone": 1, "deep": {"list": [{"set": {1}}]}, "same": [1]}
    )
    pipeline = runs.pipeline([change, [branch, other], work("z")])
    work.fail("z")
    with quiet():
        pipeline.run(given, run_id="r")
    assert '"same"' not in (row(runs.journal, "change").delta or "")
    expected = {
        "deep": {"list": [{"set": {1, 3, 4}}, {"tuple": (1, [2])}], "other": ["branch"]},
        "same": [1],
        "bytes": b"\x00\xff",
        5: {1: "int", None: "none"},
        "log": ["z"],
    }
    context = pipeline.resume("r")
    assert context.results == expected
    assert list(context.results) == list(expected)
    assert pipeline.resume("r").results == expected


def test_keys_stand_in_the_order_of_an_uncut_run(runs: Runs, work: Work) -> None:
    def moves(context: Any) -> None:
        context.results["a"] = context.results.pop("a")
        context.results["c"] = 3

    given = {"a": 1, "b": 2}
    pipeline = runs.pipeline([moves, work("z")])
    first: PipelineContext[Any] = PipelineContext(results=dict(given))
    whole = pipeline.run(first)
    work.fail("z")
    with quiet():
        pipeline.run(PipelineContext(results=dict(given)), run_id="r")
    assert list(pipeline.resume("r").results) == list(whole.results) == ["b", "a", "c", "log"]


def test_fields_of_a_subclass_are_recorded(runs: Runs, work: Work) -> None:
    def count(context: Import) -> None:
        context.total += 5
        context.pages.append("p1")

    def more(context: Import) -> None:
        context.total += 1
        context.pages.append("p2")

    pipeline = runs.pipeline([count, [more, work("b")], work("z")])
    work.fail("z")
    with quiet():
        pipeline.run(Import(total=10), run_id="r")
    context = pipeline.resume("r")
    assert type(context) is Import
    assert (context.total, context.pages) == (16, ["p1", "p2"])
    assert context.results == {"log": ["b", "z"]}


def test_a_context_of_generic_type_is_recorded(runs: Runs, work: Work) -> None:
    class Typed(PipelineContext[T], Generic[T]):
        pass

    work.fail("z")
    pipeline = runs.pipeline(work.all("a z"))
    with quiet():
        pipeline.run(Typed[int](results={"in": 1}), run_id="r")
    assert work.ran() == ["a", "z"]
    assert pipeline.resume("r").results == {"in": 1, "log": ["a", "z"]}
    context = PipelineContext[Settings](app_config=Settings())
    assert pipeline.run(context).results == {"log": ["a", "z"]}


def test_a_context_that_is_not_known_here_has_to_be_given(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a z"))
    work.fail("z")
    with quiet():
        pipeline.run(Import(), run_id="r")
    document = runs.journal.export_run("r")
    document["run"]["context_type"] = "elsewhere.Unknown"
    other = runs.opened()
    other.import_run(document)
    pipeline = runs.pipeline(work.all("a z"), journal=other)
    work.ran()
    with pytest.raises(JournalDataError, match=r"elsewhere\.Unknown"):
        pipeline.resume("r")
    assert other.run("r").status == "failed"
    assert pipeline.resume("r", Import()).results == {"log": ["a", "z"]}
    assert work.ran() == ["z"]


def test_an_input_that_cannot_be_recorded_is_refused(runs: Runs, work: Work) -> None:
    context = Import()
    context.results["page"] = {"x": Settings()}
    context.pages = [Settings()]  # type: ignore[list-item]  # that is the mistake
    with pytest.raises(JournalDataError, match=r"results\['page'\]\['x'\]") as raised:
        runs.pipeline(work.all("a")).run(context, run_id="r")
    assert "pages[0]" in str(raised.value)
    assert work.ran() == []
    assert runs.journal.runs() == []


def test_settings_and_shared_are_not_recorded_and_given_again(runs: Runs, work: Work) -> None:
    seen: list[tuple[Any, Any]] = []

    def look(context: Any) -> None:
        seen.append((context.app_config, context.shared.get("db")))

    pipeline = runs.pipeline([look, work("b"), look])
    first, again = Settings(), Settings()
    given: PipelineContext[Any] = PipelineContext(app_config=first, shared={"db": Gate})
    work.fail("b")
    with quiet():
        pipeline.run(given, run_id="r")
    renewed: PipelineContext[Any] = PipelineContext(app_config=again, shared={"db": Work})
    assert pipeline.resume("r", renewed) is renewed
    assert [db for _, db in seen] == [Gate, Work]
    assert renewed.app_config is again
    with quiet():
        pipeline.resume("r", from_step="b")
    assert seen[-1] == (None, None)


@pytest.mark.parametrize("kind", [Settings, Options])
def test_settings_that_a_step_changes_are_not_recorded(runs: Runs, work: Work, kind: Any) -> None:
    def change(context: Any) -> None:
        context.app_config.count += 1

    pipeline = runs.pipeline([change, work("z")])
    work.fail("z")
    given: PipelineContext[Any] = PipelineContext(app_config=kind())
    with pytest.raises(ValueError, match="z"):
        pipeline.run(given, run_id="r")
    assert given.app_config.count == 1
    assert row(runs.journal, "change").delta is None
    renewed: PipelineContext[Any] = PipelineContext(app_config=kind())
    renewed.app_config.count = 7
    pipeline.resume("r", renewed)
    assert renewed.app_config.count == 7


def test_errors_of_a_context_are_recorded(runs: Runs, work: Work) -> None:
    def notes(context: Any) -> None:
        context.errors.append(KeyError("noted"))

    pipeline = runs.pipeline([notes, [work("soft", critical=False), work("b")], work("z")])
    work.fail("soft")
    work.fail("z")
    given: PipelineContext[Any] = PipelineContext()
    given.errors.append(ValueError("before"))
    with quiet():
        pipeline.run(given, run_id="r")
    context = pipeline.resume("r")
    assert [repr(error) for error in context.errors] == [
        "ValueError('before')",
        "KeyError('noted')",
        "ValueError('soft')",
    ]


class PageError(Exception):
    """Cannot be made from its arguments alone."""

    def __init__(self, code: int, *, page: str) -> None:
        super().__init__(code)
        self.code, self.page = code, page


def test_errors_come_back_as_what_they_were(runs: Runs, work: Work) -> None:
    errors: list[Exception] = [
        PageError(404, page="x"),
        ExceptionGroup("both", [ValueError(1), PageError(500, page="y")]),
    ]
    steps = [work("soft", critical=False), work("soft", critical=False), work("z")]
    pipeline = runs.pipeline(steps)
    work.fail("soft", *errors)
    work.fail("z")
    with quiet():
        pipeline.run(run_id="r")
    first, second = pipeline.resume("r").errors
    assert isinstance(first, PageError)
    assert (first.code, first.page, first.args) == (404, "x", (404,))
    assert isinstance(second, ExceptionGroup)
    assert repr(second.exceptions) == "(ValueError(1), PageError(500))"
    assert first.__notes__ == ["step 'soft' at path 0, attempt 1 of 1"]


def test_a_context_that_a_step_returns(runs: Runs, work: Work) -> None:
    def replaces(context: Any) -> Any:
        return Import(results={"fresh": [1]}, total=3)

    pipeline = runs.pipeline([work("a"), replaces, work("z")])
    whole = pipeline.run(Import())
    work.fail("z")
    with quiet():
        pipeline.run(Import(), run_id="r")
    context = pipeline.resume("r")
    assert isinstance(context, Import) and isinstance(whole, Import)
    assert (context.results, context.total) == (whole.results, whole.total)
    assert "fresh" in context.results


def test_a_run_goes_on_from_a_snapshot(runs: Runs, work: Work) -> None:
    run = runs.pipeline(work.all("a b")).start(Import(total=4), run_id="r")
    run.result()
    snapshot = StateSnapshot.from_json(run.snapshot().to_json())
    assert (snapshot.run_id, snapshot.progress) == ("r", 100.0)
    context = Import.from_snapshot(snapshot)
    assert (context.total, context.results) == (4, {"log": ["a", "b"]})
    done = runs.pipeline(work.all("c")).run(context, run_id="s")
    assert done.results == {"log": ["a", "b", "c"]}


# In an event loop, and in the background


def test_runs_in_an_event_loop(runs: Runs, work: Work) -> None:
    async def plain(context: Any) -> int:
        work.did("plain")
        await asyncio.sleep(0)  # the step's work
        return 3

    async def often_fails(context: Any) -> int:
        work.did("often_fails")
        if work.is_to_fail("often_fails"):
            raise ValueError("often_fails")
        return 4

    pipeline = runs.pipeline([work("a"), [plain, often_fails], work("z")])
    work.fail("often_fails")

    async def main() -> PipelineContext[Any]:
        with pytest.raises(ParallelGroupError):
            await pipeline.arun(run_id="r", tags=["async"])
        assert sorted(work.ran()) == ["a", "often_fails", "plain"]
        with pytest.raises(RunExistsError):
            await pipeline.arun(run_id="r")
        return await pipeline.aresume("r")

    context = asyncio.run(main())
    assert work.ran() == ["often_fails", "z"]
    assert context.results == {"log": ["a", "z"], "plain": 3, "often_fails": 4}
    assert runs.journal.run("r").tags == ("async",)
    assert set(statuses(runs.journal).values()) == {"succeeded"}
    # The same run can be taken up outside of a loop.
    assert pipeline.resume("r", from_step="often_fails").results == context.results
    assert work.ran() == ["often_fails", "z"]


def test_a_finished_run_is_taken_up_in_an_event_loop(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a b"))
    done = pipeline.run(run_id="r")
    work.ran()
    assert asyncio.run(pipeline.aresume("r")).results == done.results
    assert work.ran() == []


def test_a_task_that_is_cancelled_leaves_a_run_that_can_go_on(runs: Runs, work: Work) -> None:
    async def main() -> None:
        inside = asyncio.Event()

        async def slow(context: Any) -> None:
            work.did("slow")
            if work.is_to_fail("slow"):
                inside.set()
                await asyncio.Event().wait()

        pipeline = runs.pipeline([work("a"), slow, work("z")])
        work.fail("slow")
        task = asyncio.create_task(pipeline.arun(run_id="r"))
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert runs.journal.run("r").status == "cancelled"
        assert work.ran() == ["a", "slow"]
        await pipeline.aresume("r")

    asyncio.run(main())
    assert work.ran() == ["slow", "z"]


def test_a_run_in_the_background(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a z"))
    work.fail("z")
    run = pipeline.start(run_id="r", tags=["t"])
    with pytest.raises(ValueError, match="z"):
        run.result()
    assert runs.journal.run("r").status == "failed"  # recorded before anybody hears of it
    work.ran()
    pipeline.resume("r")
    assert work.ran() == ["z"]


# Copies and processes


def test_a_pipeline_with_a_journal_can_be_copied(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    pipeline = Pipeline([len_of], journal=url)
    for copied in (pickle.loads(pickle.dumps(pipeline)), copy.copy(pipeline)):
        copied.run(PipelineContext(results={"x": [1, 2]}), run_id=f"r{id(copied)}")
        assert copied.journal is not None and pipeline.journal is not None
        run = pipeline.journal.run(f"r{id(copied)}")
        assert run.status == "succeeded"
        copied.journal.close()
    assert pipeline.journal is not None
    pipeline.journal.close()


def len_of(context: Any) -> int:
    return len(context.results["x"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_parent_and_child_of_a_fork_record_both(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, sys, warnings
        warnings.simplefilter("ignore")
        from task_pipeline import Pipeline
        pipeline = Pipeline([lambda context: 1], journal=sys.argv[1])
        pipeline.run(run_id="before")
        child = os.fork()
        pipeline.run(run_id="parent" if child else "child")
        assert pipeline.resume("before").results == {"lambda": 1}
        if not child:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(sorted((run.run_id, run.status) for run in pipeline.journal.runs()))
        """
    )
    done = run_script(script, f"sqlite:///{tmp_path / 'runs.db'}")
    assert done.stdout.strip() == str(
        [("before", "succeeded"), ("child", "succeeded"), ("parent", "succeeded")]
    ), done.stderr


def run_script(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_killed_process_leaves_a_run_for_the_next_one(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, signal, sys
        from task_pipeline import Pipeline

        def say(name):
            def step(context):
                print(name, flush=True)
                context.results.setdefault("log", []).append(name)
                if name == "cut" and sys.argv[2] == "run":
                    os.kill(os.getpid(), signal.SIGKILL)
            step.__name__ = name
            return step

        pipeline = Pipeline(list(map(say, ["a", "b", "cut", "z"])), journal=sys.argv[1])
        if sys.argv[2] == "run":
            pipeline.run(run_id="r")
        else:
            print(pipeline.journal.run("r").state)
            print(pipeline.resume("r").results["log"])
        """
    )
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    killed = run_script(script, url, "run")
    assert (killed.returncode, killed.stdout.split()) == (-9, ["a", "b", "cut"])
    done = run_script(script, url, "resume")
    assert done.stdout.splitlines() == [
        "interrupted",
        "cut",
        "z",
        "['a', 'b', 'cut', 'z']",
    ], done.stderr


def test_importing_the_library_does_not_import_the_database() -> None:
    script = (
        "import sys, task_pipeline as t; t.Pipeline([len]).run; print('sqlalchemy' in sys.modules)"
    )
    assert run_script(script).stdout.strip() == "False"


def test_runs_are_listed_by_when_they_were_created(runs: Runs, work: Work) -> None:
    pipeline = runs.pipeline(work.all("a"))
    for run_id in ("1", "2", "3"):
        pipeline.run(run_id=run_id)
    assert [run.run_id for run in runs.journal.runs()] == ["3", "2", "1"]
    newest = runs.journal.run("3")
    assert abs(newest.created_at - time.time()) < 60
