"""An import that is killed half-way, and resumed.

    python examples/resumable_import.py

10,000 rows of a CSV file go into a table, in twenty batches, two at a time, each run
recorded in a journal. The import runs in a process of its own, which is killed
(SIGKILL) while two batches are in the middle. Another process resumes it: what was
recorded is not run again, and in the end every row is there once. Takes two seconds,
leaves nothing behind, and needs the extra `journal`.
"""

from __future__ import annotations

import csv
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from task_pipeline import Map, ParallelConfig, Pipeline, PipelineContext, open_journal

Context = PipelineContext[Any]

ROWS, BATCH, AT_ONCE = 10_000, 500, 2
HALF = ROWS // BATCH // 2
RUN = "import-of-today"
PATIENCE = 30.0  # seconds for the other process to get half-way


# ---------------------------------------------------------------- the import


def find_batches(context: Context) -> None:
    """Where each batch begins and ends in the file."""
    note(context)
    with (folder(context) / "people.csv").open(newline="") as file:
        rows = sum(1 for _ in csv.DictReader(file))
    context.results["batches"] = [
        [first, min(first + BATCH, rows)] for first in range(0, rows, BATCH)
    ]


def import_batch(context: Context) -> int:
    """Writes one batch. If it is cut in the middle it runs again, from its beginning.

    A row that was written then is written over by the same row: `ON CONFLICT`.
    """
    note(context)
    first, end = context.results["batch"]
    with (folder(context) / "people.csv").open(newline="") as file:
        rows = [row for index, row in enumerate(csv.DictReader(file)) if first <= index < end]
    with closing(sqlite3.connect(folder(context) / "people.db", timeout=30.0)) as database:
        for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
            database.executemany(
                "INSERT INTO people (id, name, euros) VALUES (:id, :name, :euros) "
                "ON CONFLICT (id) DO UPDATE SET name = excluded.name, euros = excluded.euros",
                half,
            )
            database.commit()
            if first >= HALF * BATCH and context.app_config["stays"]:
                wait_to_be_killed()
    return len(rows)


def check(context: Context) -> None:
    """Fails the run if a row is missing or there twice."""
    note(context)
    with closing(sqlite3.connect(folder(context) / "people.db")) as database:
        found = database.execute("SELECT count(*), count(DISTINCT id), sum(euros) FROM people")
        count, different, euros = found.fetchone()
    assert count == different == sum(context.results["import_batch"])
    context.results["euros"] = euros


def pipeline(place: Path) -> Pipeline:
    """The same in each process: a run is resumed by the pipeline that began it."""
    batches = Map(
        import_batch,
        over="batches",
        item_key="batch",
        config=ParallelConfig(max_workers=AT_ONCE),
    )
    return Pipeline([find_batches, batches, check], name="import", journal=url(place))


def settings(place: Path, *, stays: bool = False) -> Context:
    """Where everything is, and whether to stay in the middle; this is not recorded."""
    return PipelineContext(app_config={"folder": place, "stays": stays})


def url(place: Path) -> str:
    return f"sqlite:///{place / 'runs.db'}"


def folder(context: Context) -> Path:
    """Whoever resumes a run gives its settings again."""
    place: Path = context.app_config["folder"]
    return place


def note(context: Context) -> None:
    """One line for each time that a step is run, by whichever process."""
    with (folder(context) / "steps.log").open("a") as log:
        log.write(f"{context.step_id}\n")


def wait_to_be_killed() -> None:
    time.sleep(PATIENCE)
    raise TimeoutError("nobody has killed this process")


# ---------------------------------------------------------------- the story


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="resumable-import-") as name:
        place = Path(name)
        make_files(place)
        print(f"people.csv has {ROWS:,} rows, to be imported in batches of {BATCH}")
        kill_half_way(place)
        before = steps_run(place)
        show_what_was_recorded(place, before)
        resume(place, before)


def kill_half_way(place: Path) -> None:
    """Starts the import elsewhere, and kills it once half of the batches are recorded."""
    child = subprocess.Popen([sys.executable, __file__, str(place)])
    recorded = 0
    try:
        with open_journal(url(place)) as journal:
            stop = time.monotonic() + PATIENCE
            # What it has recorded can be read while it runs.
            while recorded < HALF or steps_run(place)["import_batch"] < HALF + AT_ONCE:
                assert child.poll() is None, "the import has ended by itself"
                assert time.monotonic() < stop, "the import has not got half-way"
                time.sleep(0.02)
                if journal.runs():
                    rows = journal.steps(RUN)
                    recorded = sum(row.map_key is not None for row in rows)
    finally:
        child.kill()
        child.wait()
    print(f"killed it with {recorded} batches recorded and {AT_ONCE} in the middle")


def show_what_was_recorded(place: Path, before: Counter[str]) -> None:
    with open_journal(url(place)) as journal:
        run = journal.run(RUN)
        steps = journal.steps(RUN)
    print(f"the journal: run {run.run_id!r} of {run.name!r} is {run.state}")
    print(f"  {before.total()} steps had started, {len(steps)} are recorded as ended")
    assert run.state == "interrupted"
    assert (before.total(), len(steps)) == (1 + HALF + AT_ONCE, 1 + HALF)


def resume(place: Path, before: Counter[str]) -> None:
    """In this process. The one that had the run is dead, so it can be taken up at once."""
    print("resumed:")
    context = pipeline(place).resume(RUN, settings(place))
    again = steps_run(place) - before
    for step, batches in (("find_batches", 1), ("import_batch", ROWS // BATCH), ("check", 1)):
        twice = before[step] + again[step] - batches
        print(f"  {step:<12} started {before[step]:2} before, {again[step]:2} now: {twice} twice")
    # Cut in the middle: these two, and no other, ran twice.
    assert steps_run(place) == Counter(find_batches=1, import_batch=20 + AT_ONCE, check=1)

    with closing(sqlite3.connect(place / "people.db")) as database:
        ids = [row[0] for row in database.execute("SELECT id FROM people ORDER BY id")]
    assert ids == list(range(ROWS))
    assert context.results["euros"] == sum(euros_of(number) for number in range(ROWS))
    print(f"every one of {len(ids):,} rows is there once: {context.results['euros']:,} euros")

    # Fresh settings again: in a context that was run, what the steps have written is input.
    assert pipeline(place).resume(RUN, settings(place)).results == context.results
    assert steps_run(place) == before + again
    print("resumed once more: nothing ran, the results are the same")


def make_files(place: Path) -> None:
    with (place / "people.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "name", "euros"])
        writer.writerows([number, f"person {number}", euros_of(number)] for number in range(ROWS))
    with closing(sqlite3.connect(place / "people.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, euros INTEGER)")


def euros_of(number: int) -> int:
    return number * 7 % 1_000


def steps_run(place: Path) -> Counter[str]:
    """How often each step was started so far, all batches taken together."""
    log = place / "steps.log"
    names = log.read_text().splitlines() if log.exists() else []
    return Counter(name.partition("[")[0] for name in names)


if __name__ == "__main__":
    if len(sys.argv) > 1:  # the process that is going to be killed
        here = Path(sys.argv[1])
        pipeline(here).run(settings(here, stays=True), run_id=RUN, tags=["example"])
    else:
        main()
