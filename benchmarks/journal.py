"""What a journal costs: against SQLite used by hand, against LangGraph's, and on disk.

Every function here runs in a process of its own (see `benchmarks.worker`), and all that one
function compares lies in one folder, on the disk that temporary files are kept on.
"""

import importlib
import os
import sqlite3
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, TypedDict

from benchmarks.harness import Rounds, Subject, expect, interleave
from benchmarks.reference import WORKERS
from benchmarks.steps import Counting, NoOp, Writing
from task_pipeline import Pipeline, PipelineConfig, PipelineContext, open_journal

STEPS = 100
BRANCHES_PER_COMMIT = 10
RUNS_OF_SIZE = 20
"""How many runs are divided by: a file also has pages that hold no row yet."""

STEP_KINDS: dict[str, Callable[[str], NoOp]] = {"noop": NoOp, "writing": Writing}


def step(durability: str, rounds: int) -> Rounds:
    """One of 100 steps in series, each recorded before the next, against a bare insert and commit.

    Recording that the run begins and ends is shared out among its steps.
    """
    with folder() as place, by_hand(place, durability, STEPS) as reference:
        pipeline = journaled([Writing(f"step_{i}") for i in range(STEPS)], place, durability)
        measured = interleave(running(pipeline, STEPS), reference, rounds=rounds)
        expect_recorded(pipeline, STEPS)
    return measured


def group(kind: str, rounds: int) -> Rounds:
    """One of 100 branches, against that twice without a journal and a tenth of a commit."""
    branches = [STEP_KINDS[kind](f"step_{i}") for i in range(STEPS)]
    plain = Pipeline([branches], config=PipelineConfig(max_workers=WORKERS))
    commits = STEPS // BRANCHES_PER_COMMIT
    with folder() as place, by_hand(place, "normal", commits) as committing:
        pipeline = journaled([branches], place)

        def allowed() -> None:
            plain.run(PipelineContext())
            plain.run(PipelineContext())
            committing.run()

        measured = interleave(running(pipeline, STEPS), Subject(allowed, STEPS), rounds=rounds)
        expect_recorded(pipeline, STEPS)
    return measured


def chain(durability: str, rounds: int) -> Rounds:
    """One of 100 steps in series that add one to a number, against the same in LangGraph."""
    with folder() as place, langgraph_chain(place, durability) as invoke:
        pipeline = counting(place)
        measured = interleave(
            Subject(lambda: pipeline.run(counted()), STEPS), Subject(invoke, STEPS), rounds=rounds
        )
        expect_recorded(pipeline, STEPS)
    return measured


def size(side: str) -> float:
    """Bytes in the file for each step of `chain`, once everything is in it."""
    with folder() as place, ExitStack() as stack:
        if side == "ours":
            pipeline = counting(place)
            file = place / "journal.db"
            for _ in range(RUNS_OF_SIZE):
                pipeline.run(counted())
        else:
            invoke = stack.enter_context(langgraph_chain(place, "async"))
            file = place / "langgraph.db"
            for _ in range(RUNS_OF_SIZE):
                invoke()
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return file.stat().st_size / (RUNS_OF_SIZE * STEPS)


def journaled(steps: list[Any], place: Path, durability: str = "normal") -> Pipeline:
    """A pipeline with as many workers as the others, and a journal in a fresh file."""
    journal = open_journal(f"sqlite:///{place / 'journal.db'}", durability=durability)
    return Pipeline(steps, config=PipelineConfig(max_workers=WORKERS), journal=journal)


def counting(place: Path) -> Pipeline:
    """The chain that adds up."""
    pipeline = journaled([Counting(f"step_{i}") for i in range(STEPS)], place)
    expect(pipeline.run(counted()).results["value"] == STEPS, "a step has not counted")
    return pipeline


def counted() -> PipelineContext[Any]:
    """What the chain starts from."""
    return PipelineContext(results={"value": 0})


def running(pipeline: Pipeline, items: int) -> Subject:
    """Each call is one whole run, recorded under an id of its own."""
    return Subject(lambda: pipeline.run(PipelineContext()), items)


def expect_recorded(pipeline: Pipeline, steps: int) -> None:
    """Refuse figures of a journal that did not keep what was run."""
    journal = pipeline.journal
    assert journal is not None
    (latest,) = journal.runs(limit=1)
    expect(len(journal.steps(latest.run_id)) == steps, "a step is missing in the journal")
    journal.close()


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="task-pipeline-bench-") as name:
        yield Path(name)


@contextmanager
def by_hand(place: Path, durability: str, count: int) -> Iterator[Subject]:
    """Insert a short row and commit, `count` times, as one does with nothing but `sqlite3`."""
    with closing(sqlite3.connect(place / "by_hand.db")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        synchronous = {"normal": "NORMAL", "full": "FULL"}[durability]
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute("CREATE TABLE ended (number INTEGER PRIMARY KEY, step TEXT, delta TEXT)")

        def run() -> None:
            for index in range(count):
                row = (f"step_{index}", f'{{"step_{index}":1}}')
                connection.execute("INSERT INTO ended (step, delta) VALUES (?, ?)", row)
                connection.commit()

        yield Subject(run, count)


class State(TypedDict, total=False):
    """What LangGraph's nodes share: the number that is counted up, and nothing else."""

    value: int


@contextmanager
def langgraph_chain(place: Path, durability: str) -> Iterator[Callable[[], object]]:
    """100 nodes in a row with LangGraph's own SQLite saver, as its documentation shows.

    With the durability "async", its default, a checkpoint is written while the next node runs
    already; "sync" promises what a journal does. The saver itself switches the file to WAL.
    """
    for variable in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
        os.environ[variable] = "false"
    graph: Any = importlib.import_module("langgraph.graph")
    sqlite: Any = importlib.import_module("langgraph.checkpoint.sqlite")
    builder = graph.StateGraph(State)
    before = graph.START
    for index in range(STEPS):
        builder.add_node(f"step_{index}", lambda state: {"value": state["value"] + 1})
        builder.add_edge(before, f"step_{index}")
        before = f"step_{index}"
    builder.add_edge(before, graph.END)
    with sqlite.SqliteSaver.from_conn_string(str(place / "langgraph.db")) as saver:
        compiled = builder.compile(checkpointer=saver)

        def invoke() -> Any:
            thread = {"configurable": {"thread_id": uuid.uuid4().hex}, "recursion_limit": 2 * STEPS}
            return compiled.invoke({"value": 0}, config=thread, durability=durability)

        expect(invoke()["value"] == STEPS, "a node has not counted")
        yield invoke
