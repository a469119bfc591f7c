"""Values that are on the cluster, and how a run gets them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import ExecutorError
from .parcels import unboxed


class Holding:
    """Where a value is: the holder of a `Resident`.

    - `name`: what it is called between run and workers; `label`: what users call it
    - `future`: Dask's, which keeps it there as long as this is kept
    - `address`: the worker where it came to be; None for what was sent from here
    - `lost`: what has become of it, if it cannot be had any more
    """

    __slots__ = ("__weakref__", "_gather", "address", "epoch", "future", "label", "lost", "name")

    def __init__(
        self,
        name: str,
        label: str,
        future: Any,
        *,
        address: str | None,
        epoch: object,
        gather: Callable[[Any], Any],
    ) -> None:
        self.name = name
        self.label = label
        self.future = future
        self.address = address
        self.epoch = epoch
        self.lost: str | None = None
        self._gather = gather

    @property
    def is_sound(self) -> bool:
        """Whether it can still be had, as far as is known here."""
        return self.lost is None and self.future.status in ("finished", "pending")

    def fetch(self) -> Any:
        """Get the value. Raises `ExecutorError`."""
        if self.lost is not None:
            raise self.error()
        try:
            return unboxed(self._gather(self.future))
        except Exception as error:
            self.lost = self.lost or f"it cannot be had ({type(error).__name__}: {error})"
            raise self.error() from error

    def error(self) -> ExecutorError:
        """What is to be raised for a value that is lost."""
        where = f" on worker {self.address}" if self.address is not None else ""
        return ExecutorError(
            f"{self.label} was kept on the Dask cluster{where}, and is lost: {self.lost}. Run the "
            "steps again that produce it, and read it before the executor is shut down; or have "
            "values brought back with each step: DaskExecutor(..., keep_over=None)"
        )
