"""All that belongs to one connection to a scheduler, and ends with it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .collecting import Collecting
from .packing import Packing
from .parcels import identity


class Link:
    """A client while it is connected.

    - `put`: hands something to the lane
    - `told`: there, what calls tell while they run; `worker_gone`: there, the end of a worker
      that is watched
    """

    def __init__(
        self,
        client: Any,
        put: Callable[..., None],
        packing: Packing,
        *,
        topic: str,
        told: Callable[[Any], None],
        worker_gone: Callable[[str], None],
    ) -> None:
        self.client = client
        self.packing = packing
        self.collecting = Collecting(client, put)
        self.worker_gone = worker_gone
        self._put = put
        self._topics: set[str] = set()
        self._subscribe(topic, told)
        # Cancelled when the connection is lost, or the cluster restarted, however short that is;
        # if its worker is lost, Dask does it again on another one.
        self._pulse = client.submit(identity, None, key=f"{packing.name()}-pulse", pure=False)

    @property
    def is_sound(self) -> bool:
        """Whether the connection has been there all the time, as far as is known here."""
        return bool(self.client.status == "running" and self._pulse.status != "cancelled")

    def watch(self, address: str) -> None:
        """Hear of a worker's end."""
        if address not in self._topics:
            self._subscribe(address, functools.partial(self._changed, address))

    def end(self) -> None:
        """Hear of nothing any more, and wait for nothing."""
        if self.client.status == "running":
            for topic in self._topics:
                self.client.unsubscribe_topic(topic)
        self.collecting.end()

    def _subscribe(self, topic: str, work: Callable[[Any], None]) -> None:
        self._topics.add(topic)
        # What is heard is heard on the client's loop; an event is a time and a message.
        self.client.subscribe_topic(topic, lambda event: self._put(work, event[1]))

    def _changed(self, address: str, message: Any) -> None:
        """Something is told of a worker."""
        if isinstance(message, dict) and message.get("action") == "remove-worker":
            self.worker_gone(address)
