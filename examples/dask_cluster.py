"""A Dask cluster: large values that stay there, and workers that are lost.

    python examples/dask_cluster.py

The cluster is one of two processes on this machine; with `DaskExecutor("tcp://scheduler:8786")`
it would be any other. All texts of a part of the standard library go to it, are read by many
branches, and never come back but where somebody looks. Then a worker is killed in the middle of
a step: the step is run again on another one, unless it says that it must not be. Takes some
seconds, leaves nothing behind, and needs the extra `dask`.
"""

from __future__ import annotations

import collections
import json
import logging
import os
import re
import signal
import string
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from task_pipeline import DaskExecutor, Map, Pipeline, PipelineContext, WorkerDiedError, step

Context = PipelineContext[Any]

LIBRARY = Path(json.__file__).parent.parent
KEEP_OVER = 100_000  # bytes


# ---------------------------------------------------------------- values that stay there


def load(context: Context) -> str:
    """The texts of all modules whose names begin with a letter from a to m, as one."""
    paths = sorted(LIBRARY.glob("[a-m]*.py"))
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in paths)


def count_words(context: Context) -> dict[str, int]:
    """How often the words with one first letter occur.

    The text comes from the other worker, if this one has not had it yet, and not from here.
    """
    first = context.results["item"]
    found = re.findall(rf"\b[{first}{first.upper()}]\w+", context.results["load"])
    return dict(collections.Counter(word.lower() for word in found).most_common(3))


@step(executor="thread")
def most_frequent(context: Context) -> list[tuple[str, int]]:
    """Here, as it is short: it needs the counts, and not the text."""
    counts = collections.Counter[str]()
    for found in context.results["count_words"]:
        counts.update(found)
    return counts.most_common(5)


def show_values(cluster: DaskExecutor) -> None:
    letters = Map(count_words, over=list(string.ascii_lowercase))
    context = Pipeline([load, letters, most_frequent], executor=cluster).run()
    results = context.results
    print(f"the most frequent words: {results['most_frequent']}")
    shown = repr(results)
    print(f"the results, of which one has stayed there: {shown[:50]}…")
    assert "not fetched" in shown
    print(f"it comes when it is read: {len(results['load']):,} letters")
    assert "not fetched" not in repr(results)


# ---------------------------------------------------------------- workers that are lost


def killed_once(folder: Path, name: str, *, idempotent: bool) -> Callable[[Context], int]:
    """A step that kills its worker when it runs for the first time."""

    @step(step_id=name, idempotent=idempotent)
    def send(context: Context) -> int:
        trace = folder / name
        if not trace.exists():
            trace.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    return send


def show_losses(cluster: DaskExecutor, folder: Path) -> None:
    again = killed_once(folder, "measure", idempotent=True)
    context = Pipeline([again], executor=cluster).run()
    print(f"a worker was killed in a step; it was run again in {context.results['measure']}")

    once = killed_once(folder, "charge", idempotent=False)
    try:
        Pipeline([once], executor=cluster).run()
    except WorkerDiedError as error:
        print(f"and one that must not run twice has failed:\n  {error}")
    else:
        raise AssertionError("nobody knows what the step had done")

    context = Pipeline([[here] * 4], executor=cluster).run()
    print(f"the cluster goes on: {sorted(set(context.results.values()))}, not {os.getpid()}")


def here(context: Context) -> int:
    return os.getpid()


def main() -> None:
    # Dask says much of every worker that is lost.
    options = {"silence_logs": logging.CRITICAL}
    with (
        tempfile.TemporaryDirectory(prefix="dask-cluster-") as folder,
        DaskExecutor.local(n_workers=2, keep_over=KEEP_OVER, **options) as cluster,
    ):
        show_values(cluster)
        show_losses(cluster, Path(folder))


if __name__ == "__main__":  # Dask's workers import this file
    main()
