"""Steps in processes of their own: on several cores, killed if they hang, lost alone if they crash.

    python examples/processes.py

Functions of the standard library that were copied from one file into another are found, by
reading a hundred files and comparing what their functions do, in two processes. Then a step
hangs in C code, where nothing but the end of its process ends it, and another one crashes its
process. Takes some seconds, leaves nothing behind, and needs the extra `process`.
"""

from __future__ import annotations

import ast
import ctypes
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from task_pipeline import (
    Map,
    Pipeline,
    PipelineContext,
    ProcessExecutor,
    WorkerDiedError,
    step,
)

Context = PipelineContext[Any]

LIBRARY = Path(json.__file__).parent.parent
FILES, SLICES, SHORTEST = 100, 8, 60  # the shortest function that counts, in parts of its code
INPUT = "a" * 40 + "!"


# ---------------------------------------------------------------- copied functions


def find_files(context: Context) -> None:
    """The names of the files, in slices that take about as long.

    A step for each file would spend more of its time on the way there and back.
    """
    files = sorted(LIBRARY.glob("*.py"), key=lambda path: path.stat().st_size)[-FILES:]
    context.results["slices"] = [[str(path) for path in files[n::SLICES]] for n in range(SLICES)]


def read_functions(context: Context) -> None:
    """What each function of some files does, as a digest of its code.

    Python code that computes: on threads it would take as long as one after another. Each branch
    writes to the same dict, and merges with the others key by key.
    """
    found = context.results.setdefault("found", {})
    for name in context.results["slice"]:
        tree = ast.parse(Path(name).read_text(encoding="utf-8"))
        for function, digest in digests(tree):
            found.setdefault(digest, []).append(f"{Path(name).stem}.{function}")
    context.results["pids"] = {os.getpid()}


def digests(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each function's name, and the digest of its code without its name and its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            parts = [ast.dump(statement) for statement in (node.args, *body)]
            if sum(part.count("(") for part in parts) >= SHORTEST:
                yield node.name, hashlib.sha256("\n".join(parts).encode()).hexdigest()


@step(executor="thread")
def list_copies(context: Context) -> list[list[str]]:
    """Those that stand in more than one place. Too short to be worth a process."""
    return sorted(sorted(places) for places in context.results["found"].values() if places[1:])


def show_copies(executor: ProcessExecutor) -> None:
    reading = Map(read_functions, over="slices", item_key="slice")
    pipeline = Pipeline([find_files, reading, list_copies], executor=executor)
    started = time.perf_counter()
    results = pipeline.run().results
    seconds = time.perf_counter() - started

    copies, pids = results["list_copies"], results["pids"]
    print(f"{FILES} files read in {seconds:.1f} s, in processes {sorted(pids)}, not {os.getpid()}")
    print(f"{len(results['found']):,} functions, of which {len(copies)} stand in several places:")
    for places in copies:
        print(f"  {', '.join(places)}")
    assert os.getpid() not in pids
    assert len(pids) <= executor.max_workers


# ---------------------------------------------------------------- a step that hangs


@step(timeout=0.5, retries=1)
def match(context: Context) -> str:
    """A pattern that backtracks: C code that holds the GIL for hours.

    On a thread, the run could not even keep its deadline. Here the process is killed, and the
    step is tried again.
    """
    if context.attempt == 1:
        return str(re.match(r"(a+)+$", INPUT))
    return str(re.match(r"a+$", INPUT))


def show_kill(executor: ProcessExecutor) -> None:
    started = time.perf_counter()
    results = Pipeline([match], executor=executor).run().results
    seconds = time.perf_counter() - started
    print(f"a step that hung was killed after 0.5 s, and tried again: {seconds:.1f} s in all")
    assert results == {"match": "None"}
    assert seconds < 10


# ---------------------------------------------------------------- a step that crashes


@step(critical=False)
def crash(context: Context) -> None:
    """Reads memory that is not there. On a thread, this would be the end of the program."""
    ctypes.string_at(0)


def survive(context: Context) -> str:
    return "still here"


def show_crash(executor: ProcessExecutor) -> None:
    context = Pipeline([[crash, survive]], executor=executor).run()
    (error,) = context.errors
    print(f"a step crashed, and the others went on:\n  {error}")
    assert isinstance(error, WorkerDiedError)
    assert context.results == {"survive": "still here"}


def main() -> None:
    with ProcessExecutor(max_workers=2) as executor:
        show_copies(executor)
        show_kill(executor)
        show_crash(executor)
    # It is shut down: no process of it is left, and no file.
    assert executor.status()["workers"] == []


if __name__ == "__main__":
    main()
