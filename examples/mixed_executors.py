"""One pipeline on several executors: each step where it is best off.

    python examples/mixed_executors.py

Ten archives are read on threads, which share one lock and one cache; what is computed from them
is computed in processes; and all that touches the database is called by the one thread that has
opened it, as SQLite wants it. The contexts, the merges and the order are those of any pipeline.
Takes two seconds, leaves nothing behind, and needs the extra `process`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from task_pipeline import Map, Pipeline, PipelineContext, Serial, step

Context = PipelineContext[Any]

LIBRARY = Path(json.__file__).parent.parent
ARCHIVES, NAMES = 10, ("json", "email", "logging", "unittest", "html")


# ---------------------------------------------------------------- on threads


def find_archives(context: Context) -> None:
    context.results["archives"] = sorted(map(str, context.app_config["folder"].glob("*.zip")))


def unpack(context: Context) -> str:
    """Waits for the disk. `shared` has the very objects of this process, such as a lock."""
    name = context.results["archive"]
    with zipfile.ZipFile(name) as archive:
        text = "\n".join(archive.read(member).decode() for member in archive.namelist())
    with context.shared["lock"]:
        context.shared["read"][name] = threading.current_thread().name
    return text


# ---------------------------------------------------------------- in processes


def longest_twice(context: Context) -> list[dict[str, Any]]:
    """The longest line that stands in a text twice, found in Python: it computes.

    A list of one, as lists are joined when the branches are merged.
    """
    text = context.results.pop("unpack")  # nobody needs it any more: it need not travel back
    seen: set[str] = set()
    longest = ""
    for line in map(str.strip, text.splitlines()):
        if line in seen and len(line) > len(longest):
            longest = line
        seen.add(line)
    archive = Path(context.results["archive"]).stem
    return [{"archive": archive, "lines": len(seen), "line": longest, "pid": os.getpid()}]


# ---------------------------------------------------------------- on the one thread


def open_database(context: Context) -> None:
    database = sqlite3.connect(context.app_config["folder"] / "lines.db")
    database.execute("CREATE TABLE lines (archive TEXT, lines INTEGER, line TEXT)")
    context.shared["database"] = database


def store(context: Context) -> None:
    """A connection of SQLite may be used by the thread that has opened it, and by no other."""
    rows = context.results["longest_twice"]
    with context.shared["database"] as database:
        database.executemany("INSERT INTO lines VALUES (:archive, :lines, :line)", rows)


def report(context: Context) -> list[tuple[str, int, str]]:
    found = context.shared["database"].execute("SELECT * FROM lines ORDER BY lines DESC")
    rows: list[tuple[str, int, str]] = found.fetchall()
    context.shared["database"].close()
    return rows


def make_archives(folder: Path) -> None:
    for number in range(ARCHIVES):
        name = NAMES[number % len(NAMES)]
        with zipfile.ZipFile(folder / f"{number}-{name}.zip", "w") as archive:
            for path in sorted((LIBRARY / name).glob("*.py"))[number // len(NAMES) :: 2]:
                archive.write(path, path.name)


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="mixed-executors-") as name,
        ThreadPoolExecutor(1, "database") as one_thread,
    ):
        make_archives(Path(name))
        compute = step(executor="process")(longest_twice)
        pipeline = Pipeline(
            [
                find_archives,
                Serial([open_database], executor=one_thread),
                Map([unpack, compute], over="archives", item_key="archive"),
                Serial([store, report], executor=one_thread),
            ]
        )
        shared: dict[str, Any] = {"lock": threading.Lock(), "read": {}}
        context: Context = PipelineContext(app_config={"folder": Path(name)}, shared=shared)
        results = pipeline.run(context).results

    for archive, lines, line in results["report"]:
        print(f"{archive:<12} {lines:5} lines, the longest that stands there twice: {line[:40]}")
    pids = {found["pid"] for found in results["longest_twice"]}
    threads = set(shared["read"].values())
    print(
        f"read by {len(threads)} threads, computed by {len(pids)} processes, stored by one thread"
    )
    assert len(results["report"]) == ARCHIVES
    assert os.getpid() not in pids
    assert not any(thread.startswith("database") for thread in threads)


if __name__ == "__main__":
    main()
