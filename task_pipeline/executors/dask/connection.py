"""The client by which an executor works with a cluster, and a cluster of its own if it has one."""

from __future__ import annotations

import importlib
import pkgutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import ConfigurationError, ExecutorError, MissingExtraError
from ..portable import require_cloudpickle


def distributed() -> Any:
    """The library, imported at its first need. Raises `MissingExtraError`."""
    try:
        return importlib.import_module("distributed")
    except ModuleNotFoundError as error:
        if error.name not in ("distributed", "dask"):
            raise
        raise MissingExtraError("DaskExecutor", "dask", "distributed") from error


_PATIENCE = 5.0  # seconds for workers to say what they have


@dataclass(frozen=True, slots=True)
class Target:
    """Which cluster is meant: that of a client, that at an address, or one of the executor's own.

    `local` are the arguments for a `LocalCluster`.
    """

    client: Any = None
    address: str | None = None
    local: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, given: object) -> Target:
        """What was given to an executor. Raises `ConfigurationError` for anything else."""
        kind = distributed().Client
        require_cloudpickle()
        if isinstance(given, str) and given.strip():
            return cls(address=given)
        if not isinstance(given, kind):
            raise ConfigurationError(
                "DaskExecutor takes the address of a scheduler, such as 'tcp://scheduler:8786', or "
                f"a distributed.Client, not {given!r:.80}"
            )
        client: Any = given
        if client.asynchronous:
            raise ConfigurationError(
                "DaskExecutor cannot use a Client made with asynchronous=True, as its event loop "
                "is not to wait for steps; give it the scheduler's address, or a Client without "
                "that"
            )
        return cls(client=client)

    @classmethod
    def local_cluster(cls, options: Mapping[str, Any]) -> Target:
        """A cluster of the executor's own, with these options for a `LocalCluster`."""
        distributed()
        require_cloudpickle()
        return cls(local=dict(options))

    def portable(self) -> Target:
        """The same, for another process."""
        if self.client is not None:
            raise ConfigurationError(
                f"this DaskExecutor cannot be pickled: its client is closed, {self.client!r}"
            )
        return self

    def describe(self) -> str:
        """How it is shown before there is a connection."""
        if self.local is not None:
            return f"local, n_workers={self.local.get('n_workers')}"
        return self.address or repr(self.client)


class Connection:
    """A client that is connected, and closed at the end if it is the executor's own.

    Safe from any thread but that of the client's loop.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self._lock = threading.RLock()
        self._client: Any = target.client
        self._cluster: Any = None
        self._is_closed = False
        self._seen: Any = None  # the client whose workers were asked

    @property
    def address(self) -> str | None:
        """Where the scheduler is, as far as that is known."""
        client = self._client
        if client is not None and client.scheduler is not None:
            return str(client.scheduler.address)
        return self.target.address

    def client(self) -> Any:
        """The client, connected. Raises `ExecutorError` if there is no connection to be had."""
        with self._lock:
            if self._is_closed:
                raise ExecutorError("this DaskExecutor was shut down; make another one")
            client = self._client
            if client is None or (client.status == "closed" and client is not self.target.client):
                client = self._client = self._connected()
            elif client.status == "closed":
                raise ExecutorError(
                    f"the client that this DaskExecutor was given is closed: {client!r}; give "
                    "another executor a client that is connected"
                )
            if self._seen is not client:
                _see_library(client)
                self._seen = client
            return client

    def renew(self, patience: float) -> None:
        """See that there is a connection after one was lost; it may take so many seconds.

        Raises `ExecutorError`.
        """
        with self._lock:
            if self.is_alive or self._is_closed:
                return
            client = self._client
            if client is self.target.client or patience <= 0:
                raise ExecutorError(
                    "the connection to the Dask scheduler was lost, and has not come back in time"
                )
            client.close()
            self._client = self._connected(patience)

    @property
    def is_alive(self) -> bool:
        """Whether there is a connection at this moment."""
        client = self._client
        return not self._is_closed and client is not None and client.status == "running"

    @property
    def is_waiting(self) -> bool:
        """Whether the client is trying to be connected again."""
        client = self._client
        return client is not None and client.status not in ("running", "closed")

    def close(self) -> None:
        """Close what is not somebody else's."""
        with self._lock:
            self._is_closed = True
            client, cluster = self._client, self._cluster
            self._client = self._cluster = self._seen = None
        if client is not None and client is not self.target.client:
            client.close()
        if cluster is not None:
            cluster.close()

    def _connected(self, patience: float | None = None) -> Any:
        library = distributed()
        timeout = {} if patience is None else {"timeout": max(patience, 0.1)}
        target = self.target
        try:
            if target.address is not None:
                _read(target.address)
            if target.local is not None and self._cluster is None:
                self._cluster = library.LocalCluster(**target.local)
            return library.Client(self._cluster or target.address, set_as_default=False, **timeout)
        except Exception as error:
            what = "its own local cluster" if target.local is not None else target.address
            raise ExecutorError(
                f"DaskExecutor cannot connect to {what} ({type(error).__name__}: {error}); is a "
                "scheduler running there, and can it be reached from here?"
            ) from error


def _read(address: str) -> None:
    """Raise `ValueError` for what is no address: a client would be left half made by it."""
    scheme = address.partition("://")[0]
    if scheme != "inproc":  # which has no port
        importlib.import_module("distributed.comm").get_address_host_port(address)


def _see_library(client: Any) -> None:
    """Raise `ExecutorError` if there are workers without this library.

    Such a worker ends when it is given a call, as it cannot read what it was sent: the call would
    go from one to the next, and wait for ever.
    """

    async def ask() -> dict[str, Any]:
        package = __name__.partition(".")[0]
        answers: dict[str, Any] = await client.run(
            pkgutil.get_data, package, "py.typed", on_error="return"
        )
        return answers

    try:
        answers = client.sync(ask, callback_timeout=_PATIENCE)
    except Exception:  # noqa: BLE001  # one is busy or gone: whatever it is, calls will show it
        return
    without = [
        worker
        for worker, answer in answers.items()
        if answer is None or isinstance(answer, ImportError)
    ]
    if without:
        raise ExecutorError(
            f"{len(without)} of the {len(answers)} workers of this Dask cluster cannot import "
            f"task_pipeline, such as {without[0]}; install it there, in the same version as here"
        )
