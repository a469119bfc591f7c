"""What calls need on the cluster: sent along if it is small, put there once if it is not."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from ...engine.calling import Call
from ...errors import NotPortableError
from ...state.resident import Reference, Resident, kind_of, referring
from ..performing import About
from ..portable import dumps
from ..shipping import Base, Code, wrong_in
from .calls import size_of
from .holdings import Holding
from .parcels import Parcel, arrived, boxed, identity

INLINE = 4 * 1024
"""Up to this size in bytes, what many calls share is sent with each of them."""

ALONG = 64 * 1024
"""Up to this size what only one call needs goes with it."""

LARGE = 1024 * 1024
"""From this size on, nothing passes through the scheduler's memory."""

_TIMES = 3  # how often it is tried to put something on a worker
_PATIENCE = 5.0  # seconds to wait for a worker that can take something


@dataclass(slots=True)
class Cargo:
    """The data that the calls of a group start from, as it is on the cluster.

    - `image`: the picture of it, or a future of that; `name`: for the workers' caches
    - `holdings`: the values that are given beside it
    """

    image: Any
    name: str
    holdings: dict[str, Holding] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        """Whether all of it is still there."""
        image = self.image
        there = isinstance(image, Parcel) or image.status in ("finished", "pending")
        return there and all(holding.is_sound for holding in self.holdings.values())


class Packing:
    """Packs calls for one connection to a cluster."""

    def __init__(self, client: Any, name: str, large: int) -> None:
        self._client = client
        self._name = name
        self._large = large
        self._count = 0

    def name(self) -> str:
        """One that nothing else has."""
        self._count += 1
        return f"{self._name}.{self._count}"

    def code(self, call: Call, code: Code) -> Any:
        """The code of a step, as an argument."""
        if code.packed.nbytes <= INLINE:
            return Parcel(code.packed)
        place = (self, code.digest)
        kept = call.kept.get(place)
        if kept is None or kept.status not in ("finished", "pending"):
            kept = call.kept[place] = self._put(Parcel(code.packed), "task-pipeline-code")
        return kept

    def cargo(self, base: Base) -> Cargo:
        """The data of a group. Raises `NotPortableError`, and `ExecutorError` for what is lost."""
        cargo: Cargo | None = base.kept.get(self)
        if cargo is None or not cargo.is_sound:
            cargo = base.kept[self] = self._made(base)
        return cargo

    def about(self, about: About) -> tuple[Any, dict[str, Holding]]:
        """What is told of one call, as an argument, and the values it refers to."""
        overlay = about.overlay
        if overlay is not None:
            self._prepare(overlay.results)
            self._prepare(overlay.whole or {})
        bearer = _Bearer(self)
        with referring(bearer.refer):
            packed = dumps(about, f"step {about.step_id!r}")
        parcel = Parcel(packed)
        if packed.nbytes > ALONG:
            return self._put(parcel, "task-pipeline-call"), bearer.holdings
        return parcel, bearer.holdings

    def _made(self, base: Base) -> Cargo:
        image = base.image()
        results = dict(image.results)
        self._prepare(results)
        self._station(results)
        bearer = _Bearer(self)
        with referring(bearer.refer):
            try:
                packed = dumps(dataclasses.replace(image, results=results), "context")
            except NotPortableError:
                raise NotPortableError(wrong_in(image)) from None
        parcel: Any = Parcel(packed)
        if packed.nbytes > INLINE:
            parcel = self._put(parcel, "task-pipeline-data")
        return Cargo(parcel, self.name(), bearer.holdings)

    def _prepare(self, results: dict[Any, Any]) -> None:
        """Have at hand what is elsewhere, but not on this cluster; it may be lost."""
        for value in results.values():
            if type(value) is Resident:
                holding = self.holding(value)
                if holding is None:
                    value.fetched()
                elif holding.lost is not None:
                    raise holding.error()

    def holding(self, resident: Resident) -> Holding | None:
        """Where a value is, if it is on this cluster, and what is there counts."""
        holder = resident.holder
        if isinstance(holder, Holding) and holder.epoch is self and not resident.is_here:
            return holder
        return None

    def _station(self, results: dict[Any, Any]) -> None:
        """Put large values that are here on the cluster, each once for all of the calls."""
        large: dict[Any, tuple[Any, int]] = {}
        for key, value in results.items():
            here = value
            if type(value) is Resident:
                if self.holding(value) is not None:
                    continue
                here = value.fetched()
            size = size_of(here)
            if size > self._large:
                dumps(here, f"results[{key!r}]")  # Dask would only say that it failed
                large[key] = (here, size)
        if not large:
            return
        futures = self._scattered([boxed(value, size) for value, size in large.values()])
        for (key, (value, size)), future in zip(large.items(), futures, strict=True):
            holding = Holding(
                self.name(),
                f"results[{key!r}]",
                future,
                address=None,
                epoch=self,
                gather=self._client.gather,
            )
            results[key] = Resident(holding, kind_of(value), size)

    def _put(self, parcel: Parcel, prefix: str) -> Any:
        """A future of something packed."""
        if parcel.packed.nbytes > LARGE:
            return self._scattered([parcel])[0]
        return self._literal(parcel, prefix)

    def _scattered(self, values: list[Any]) -> list[Any]:
        for _ in range(_TIMES):
            try:
                futures: list[Any] = self._client.scatter(values, hash=False, timeout=_PATIENCE)
                return futures
            except TimeoutError:  # there is no worker yet; a cluster may grow once it has tasks
                break
            except OSError:  # a worker has died meanwhile
                if self._client.status != "running":
                    break
        return [self._literal(value, "task-pipeline-value") for value in values]

    def _literal(self, value: Any, prefix: str) -> Any:
        """A task whose result it is: if its worker is lost, Dask makes it again."""
        return self._client.submit(identity, value, key=f"{prefix}-{self.name()}", pure=False)


class _Bearer:
    """Notes which values of this cluster are referred to in what is pickled."""

    def __init__(self, packing: Packing) -> None:
        self._packing = packing
        self.holdings: dict[str, Holding] = {}

    def refer(self, resident: Resident) -> Reference | None:
        holding = self._packing.holding(resident)
        if holding is None:
            return None
        self.holdings[holding.name] = holding
        return arrived, (holding.name,)
