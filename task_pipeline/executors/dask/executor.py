"""Steps on a Dask cluster: on this machine, or on many."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any, Self

from ...context import PipelineContext
from ...engine.calling import Call, Capabilities
from ...errors import ConfigurationError
from ...plan import StepNode
from ...state.resident import Resident, referring
from ..shipping import preflight
from .connection import Connection, Target
from .desk import Desk
from .holdings import Holding
from .options import wrong_options
from .parcels import arrived
from .seceding import make_room

_MIB = 1024 * 1024


class DaskExecutor:
    """Runs steps on a Dask cluster, whose own scheduler says which worker runs what.

    `cluster` is the address of a scheduler, or a `distributed.Client`, which stays its owner's to
    close. `DaskExecutor.local()` has a cluster of its own on this machine.

    - `max_calls`: how many steps of a run the scheduler has at once
    - `keep_over`: values that steps put into `results` and that take more bytes than this stay
      on the cluster until somebody reads them; None has all of them come back at once
    - `reconnect`: for how many seconds a lost connection may be away

    Workers import this library and what the steps import, so both must be installed there. A
    step that runs cannot be killed: one that has passed its deadline is left, and has its
    worker's thread until it ends. A worker that is lost is no loss: its steps are run again on
    another one, but for those that are not `idempotent`, which fail with `WorkerDiedError`.

    A step's `executor_options` are Dask's own: `resources`, `priority`, `retries`, `workers`,
    `allow_other_workers`.

    ```python
    from task_pipeline import DaskExecutor, Pipeline

    def left(context): return 1
    def right(context): return 2

    if __name__ == "__main__":  # as wherever processes are started
        with DaskExecutor.local(n_workers=2) as cluster:
            assert Pipeline([[left, right]], executor=cluster).run().results["right"] == 2
    ```
    """

    name = "Dask"
    capabilities = Capabilities(reports=True, tells_start=True)

    def __init__(
        self,
        cluster: Any,
        *,
        max_calls: int = 1_000,
        keep_over: int | None = _MIB,
        reconnect: float = 30.0,
    ) -> None:
        """Connects when it is first needed.

        Raises `ConfigurationError` for an argument that is not what it must be, and
        `MissingExtraError` if distributed is not installed.
        """
        if not _is_count(max_calls) or max_calls < 1:
            raise ConfigurationError(f"max_calls must be a whole number from 1, not {max_calls!r}")
        if keep_over is not None and not _is_count(keep_over):
            raise ConfigurationError(
                f"keep_over must be a number of bytes from 0, or None, not {keep_over!r}"
            )
        if isinstance(reconnect, bool) or not isinstance(reconnect, int | float) or reconnect < 0:
            raise ConfigurationError(f"reconnect must be seconds from 0, not {reconnect!r}")
        self.max_calls = max_calls
        self.keep_over = keep_over
        self.reconnect = float(reconnect)
        self._target = cluster if isinstance(cluster, Target) else Target.of(cluster)
        self._lock = threading.Lock()
        self._is_shut_down = False
        self._open()

    @classmethod
    def local(
        cls,
        n_workers: int | None = None,
        threads_per_worker: int = 1,
        *,
        max_calls: int = 1_000,
        keep_over: int | None = _MIB,
        reconnect: float = 30.0,
        **cluster_options: Any,
    ) -> Self:
        """One with a `LocalCluster` of its own, started at its first need, ended by `shutdown()`.

        It has `n_workers` processes, by default as many as Dask finds right for this machine.
        `cluster_options` are those of `distributed.LocalCluster`. Its dashboard is at
        `client.dashboard_link`. Workers are processes that import the main script, so that
        needs an `if __name__ == "__main__":`. Raises what the class itself does.
        """
        options = {
            "n_workers": n_workers,
            "threads_per_worker": threads_per_worker,
            "dashboard_address": ":0",
            **cluster_options,
        }
        return cls(
            Target.local_cluster(options),
            max_calls=max_calls,
            keep_over=keep_over,
            reconnect=reconnect,
        )

    def _open(self) -> None:
        self._pid = os.getpid()
        connection = self._connection = Connection(self._target)
        self._desk = Desk(connection, self.keep_over, self.reconnect)
        # Should nobody shut it down: its cluster ends with it, or with the process.
        self._finalizer = weakref.finalize(self, connection.close)

    @property
    def client(self) -> Any:
        """The `distributed.Client` that it works with. Raises `ExecutorError`."""
        self._look_where_we_are()
        return self._connection.client()

    def problems(self, node: StepNode) -> list[str]:
        """What is wrong with a step's `executor_options`. Without effect."""
        return wrong_options(node.spec.options or {})

    def preflight(self, steps: Sequence[StepNode], context: PipelineContext[Any]) -> list[str]:
        """What cannot be pickled of steps and data. Raises `ExecutorError` without a connection."""
        make_room(self.client)  # it connects
        with referring(_leave_out):
            return preflight(steps, context)

    def submit(self, calls: Sequence[Call]) -> None:
        """Hand calls to the cluster, all in one."""
        self._look_where_we_are()
        self._desk.put(self._desk.take, list(calls))

    def stop(self, calls: Sequence[Call]) -> None:
        """Cancel calls; one that runs is told, and is over when its thread is free."""
        self._desk.put(self._desk.stop, list(calls))

    def shutdown(self) -> None:
        """End: steps under way fail, values that are still on the cluster cannot be read any more.

        A client that it was given stays open; a cluster of its own is closed.
        """
        with self._lock:
            is_first = not self._is_shut_down
            self._is_shut_down = True
        if is_first and self._pid == os.getpid():
            self._desk.shut_down()
            self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self  # there is one cluster, whoever's pipeline works with it

    def __reduce__(self) -> Any:
        """By its address: the copy connects when it is first used."""
        address = self._connection.address
        target = self._target.portable() if address is None else Target(address=address)
        return _remade, (type(self), target, self.max_calls, self.keep_over, self.reconnect)

    def __repr__(self) -> str:
        shown = self._connection.address or self._target.describe()
        return f"{type(self).__name__}({shown}, max_calls={self.max_calls})"

    def _look_where_we_are(self) -> None:
        """After a fork: the parent's connection is the parent's, this process makes its own."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid != os.getpid():
                self._finalizer.detach()
                address = self._connection.address
                if address is not None:
                    self._target = Target(address=address)
                self._open()


def _remade(
    kind: type[DaskExecutor],
    target: Target,
    max_calls: int,
    keep_over: int | None,
    reconnect: float,
) -> DaskExecutor:
    return kind(target, max_calls=max_calls, keep_over=keep_over, reconnect=reconnect)


def _leave_out(resident: Resident) -> tuple[Any, tuple[Any, ...]] | None:
    """A value that is on a cluster was pickled already."""
    holding = resident.holder
    return (arrived, (holding.name,)) if isinstance(holding, Holding) else None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
