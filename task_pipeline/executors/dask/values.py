"""Values that stay on the cluster when the steps that made them are over."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from ...engine.calling import Reply
from ...state.resident import Resident
from .calls import take
from .holdings import Holding
from .link import Link
from .parcels import Left

_FIRST = 1_000_000  # the priority of what costs nothing and others wait for


class Values:
    """All values that an executor has on its cluster. In its lane."""

    def __init__(self) -> None:
        self._holdings: weakref.WeakSet[Holding] = weakref.WeakSet()

    def settle(self, link: Link, replies: Sequence[tuple[Any, Reply]]) -> None:
        """Put a `Resident` in the place of each value that has stayed on a worker.

        With each reply comes the future of its call, which keeps the values until each is a
        future of its own.
        """
        found: dict[str, dict[str, tuple[Left, str]]] = {}
        sources = []
        for future, reply in replies:
            left = _left_in(reply)
            for key, value in left.items():
                label = f"results[{key!r}]"
                found.setdefault(value.address, {})[value.token] = (value, label)
            if left:
                sources.append(future)
        residents: dict[str, Resident] = {}
        for address, things in found.items():
            residents.update(self._taken(link, address, things, sources))
        for _, reply in replies:
            for key, value in _left_in(reply).items():
                assert reply.delta is not None
                reply.delta.results[key] = residents[value.token]

    def _taken(
        self, link: Link, address: str, things: dict[str, tuple[Left, str]], sources: list[Any]
    ) -> dict[str, Resident]:
        """Have values that were left on a worker become futures of their own."""
        link.watch(address)
        names = [link.packing.name() for _ in things]
        futures = link.client.map(
            take,
            list(things),
            key=[f"task-pipeline-value-{name}" for name in names],
            workers=[address],
            allow_other_workers=False,
            priority=_FIRST,
            pure=False,
        )
        residents, holdings = {}, []
        for name, (left, label), future in zip(names, things.values(), futures, strict=True):
            holding = Holding(
                name, label, future, address=address, epoch=link.packing, gather=link.client.gather
            )
            holdings.append(holding)
            residents[left.token] = Resident(holding, left.kind, left.nbytes)
        self._holdings.update(holdings)
        link.collecting.start(
            link.collecting.see_taken, holdings, sources, link.worker_gone, self.are_lost
        )
        return residents

    def worker_gone(self, client: Any, address: str) -> None:
        """A worker is gone: what only it had is lost."""
        here = [each for each in self._holdings if each.address == address and each.lost is None]
        if here:
            copies = client.who_has([each.future for each in here])
            gone = [each for each in here if not copies.get(each.future.key)]
            self.are_lost(gone, "that worker is gone, and no other has a copy of it")

    def all_lost(self, reason: str) -> None:
        """None of them can be had any more."""
        for holding in list(self._holdings):
            holding.lost = holding.lost or reason

    def are_lost(self, holdings: Sequence[Holding], reason: str) -> None:
        """These cannot be had any more: what waits for them on the cluster is to end."""
        for holding in holdings:
            holding.lost = reason
            if holding.future.client.status == "running":
                holding.future.cancel()


def _left_in(reply: Reply) -> dict[Any, Left]:
    results = {} if reply.delta is None else reply.delta.results
    return {key: value for key, value in results.items() if type(value) is Left}
