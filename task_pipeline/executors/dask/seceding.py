"""A step that runs a pipeline on the cluster it is on: its worker takes others meanwhile."""

from __future__ import annotations

import importlib
from typing import Any


def make_room(client: Any) -> None:
    """If a worker of the client's cluster runs this thread, have it count as no worker's thread.

    It is about to wait for steps that may need that very place: where each thread of a cluster
    waited so, none of them would ever begin. Dask's own way for tasks that start tasks.
    """
    pool = importlib.import_module("distributed.threadpoolexecutor")
    if not getattr(pool.thread_state, "proceed", False):  # no worker's, or it has left already
        return
    library = importlib.import_module("distributed")
    try:
        worker = library.get_worker()
    except ValueError:
        return
    if worker.scheduler.address == client.scheduler.address:
        library.secede()
