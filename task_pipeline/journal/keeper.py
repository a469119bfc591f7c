"""The thread of a journal: writes what nobody waits for, renews leases, closes what is idle."""

from __future__ import annotations

import logging
import threading

from .lane import elapsed
from .writer import Writer

logger = logging.getLogger("task_pipeline.journal")

# A record lies for one to two of these, in seconds, so that whoever waits for it goes first.
TICK = 0.005
# After so many without a record it sleeps until there is one.
QUIET = 10
# A journal without a lane is closed after so many seconds: the file is nobody's then.
IDLE = 2.0


class Keeper:
    """Keeps a writer as long as it has lanes; the thread is started by the first one."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.reset()

    def reset(self) -> None:
        """Fresh, as after a fork: the thread is the parent's."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_stopped = False

    def start(self) -> None:
        """See that the thread is there; call it once the lane is."""
        with self._lock:
            if self._thread is None:
                self._is_stopped = False
                self._thread = threading.Thread(
                    target=self._run, name="task_pipeline.journal", daemon=True
                )
                self._thread.start()
                self._writer.is_tended = True

    def stop(self) -> None:
        """End the thread, and wait for it unless it is this one."""
        with self._lock:
            thread, self._is_stopped = self._thread, True
        self._writer.bell.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        writer = self._writer
        seen = quiet = 0
        beat = last = elapsed()
        while not self._is_stopped:
            writer.bell.wait(TICK if writer.is_watched else self._nap())
            writer.bell.clear()
            try:
                latest = self._tend(seen)
                if elapsed() >= beat:
                    writer.renew([lane for lane in writer.lanes() if lane.is_due(1 / 3)])
                    beat = elapsed() + writer.lease / 30
            except Exception:
                # A mistake of this library's own: whoever waits for a record meets it too.
                logger.exception("the journal's thread goes on after an error")
                latest = seen
            quiet = 0 if latest != seen else quiet + 1
            seen = latest
            if quiet > QUIET:
                with writer.lock:
                    writer.is_watched = writer.has_work
            if writer.is_watched or writer.lanes():
                last = elapsed()
            elif elapsed() - last >= IDLE and self._retire():
                return
        self._gone()

    def _tend(self, seen: int) -> int:
        """Write what lies there since the last look, or is wanted at once."""
        writer = self._writer
        with writer.lock:
            queue = writer.queue
            must = writer.is_urgent or (queue and queue[0][0] <= seen)
            latest = writer.number
        if must or (writer.has_work and not queue):
            writer.write()
        writer.call_back()
        return latest

    def _nap(self) -> float:
        return max(min(IDLE / 2, self._writer.lease / 30), TICK)

    def _retire(self) -> bool:
        with self._lock:
            writer = self._writer
            if writer.lanes() or writer.has_work:
                return False
            self._thread = None
            writer.is_tended = False
            writer.close()
        return True

    def _gone(self) -> None:
        with self._lock:
            self._thread = None
            self._writer.is_tended = False
