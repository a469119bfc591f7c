"""A thread that draws, some times a second."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger("task_pipeline.display")


class Ticker:
    """Calls a function again and again until it is stopped, or the function raises.

    What it raises is logged when the ticker is stopped, not at once: a log line might be
    written to the very screen that is being drawn.
    """

    def __init__(self, seconds: float, tick: Callable[[], object]) -> None:
        self._seconds = seconds
        self._tick = tick
        self._done = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="display", daemon=True)

    def start(self) -> None:
        """Begin; the first call comes after the first `seconds`."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no further call; one that is under way may still go on."""
        self._done.set()
        error, self._error = self._error, None
        if error is not None:
            logger.error("the display stood still, as it could not be drawn", exc_info=error)

    def _run(self) -> None:
        while not self._done.wait(self._seconds):
            try:
                self._tick()
            except Exception as error:  # noqa: BLE001  # kept for `stop`
                self._error = error
                return
