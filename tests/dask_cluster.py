"""One Dask cluster of two worker processes, for all tests of a session that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from task_pipeline.executors import DaskExecutor


@pytest.fixture(scope="session")
def dask_cluster() -> Iterator[DaskExecutor]:
    """An executor with a cluster of its own; its `client` is what others connect by."""
    with DaskExecutor.local(n_workers=2, threads_per_worker=2) as executor:
        yield executor
