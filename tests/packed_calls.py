"""An executor that packs all it is given, as for another process, and performs it in a thread."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from task_pipeline import Event
from task_pipeline.engine.calling import Call, Capabilities
from task_pipeline.executors.performing import open_reply, pack_reply, perform
from task_pipeline.executors.portable import Packed, dumps, loads
from task_pipeline.executors.shipping import preflight, shipment_of
from task_pipeline.plan import StepNode


class Line:
    """A call's way back to its run, which is in this process."""

    owns_process = False

    def __init__(self, call: Call) -> None:
        self.call = call

    @property
    def cancelled(self) -> bool:
        return not self.call.is_wanted

    def progressed(self, percent: float) -> None:
        self.call.progressed(percent)

    def logged(self, record: logging.LogRecord) -> None:
        """It was handled in this process already."""

    def told(self, event: Event) -> None:
        self.call.told(event)


class PackedHere:
    """Every way that data takes to another process and back, in this one."""

    name = "packed"
    capabilities = Capabilities(reports=True, tells_start=True)

    def __init__(self, workers: int = 2) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="packed")
        self.max_calls = 2 * workers

    def problems(self, node: StepNode) -> list[str]:
        return []

    def preflight(self, steps: Sequence[StepNode], context: Any) -> list[str]:
        return preflight(steps, context)

    def submit(self, calls: Sequence[Call]) -> None:
        for call in calls:
            try:
                shipment = shipment_of(call)
                packed = (shipment.code.packed, shipment.base.packed(), dumps(shipment.about, "it"))
            except Exception as error:
                call.failed(error)
            else:
                self._pool.submit(self._perform, call, packed)

    def stop(self, calls: Sequence[Call]) -> None:
        pass

    def shutdown(self) -> None:
        self._pool.shutdown()

    def _perform(self, call: Call, packed: tuple[Packed, Packed, Packed]) -> None:
        if not call.begins():
            call.failed(RuntimeError("not wanted"))
            return
        function, image, about = map(loads, packed)
        call.ended(open_reply(pack_reply(perform(function, image, about, Line(call)))))
