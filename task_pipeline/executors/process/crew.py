"""All of an executor's workers, and the calls that they perform.

One thread hears of the workers; whoever has a call, or hears that one is over, hands on. No call
is told anything while the lock is held: that may bring the next ones.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ...engine.calling import Call, Reply
from ..performing import open_reply
from ..portable import loads
from . import wording
from .lines import From, To
from .packing import Packing, make_packing
from .parcels import Item, Setup, from_last_item, message, opened
from .recruiting import Recruiting
from .roster import Roster
from .settings import Settings
from .upkeep import Upkeep
from .watching import Watch
from .workers import Job, State, Worker

logger = logging.getLogger("task_pipeline.process")
LOOK = message(To.LOOK)


class Crew:
    """See above. Every method is safe from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.lock = threading.Lock()
        self._roster = Roster(settings.max_calls_per_worker)
        self._recruiting = Recruiting(self, settings.max_workers)
        self._packing: Packing | None = None
        self._watch: Watch | None = None
        self._to_do: deque[Callable[[], object]] = deque()
        self._upkeep = Upkeep(settings, self._roster, self._wake)
        self._is_closed = self._is_killed = self._is_abandoned = False
        self._is_over = threading.Event()

    # For the executor

    def take(self, calls: Sequence[Call]) -> None:
        """Perform calls."""
        jobs: list[Job] = []
        refused: list[tuple[Call, Exception]] = []
        where = b""
        for call in () if self._is_closed else calls:
            try:
                packing = self._packing or self._open()
                where = where or packing.surroundings.now()
                jobs.append(packing.job(call, where))
            except Exception as wrong:  # noqa: BLE001  # packing is code of the user's too
                refused.append((call, wording.refusal(call, wrong)))
        with self.lock:
            if self._is_closed:
                refused = [(call, wording.shut_down(call)) for call in calls]
            else:
                try:
                    self._ensure_watch()  # once there is a worker, nobody is left to be told
                except (OSError, RuntimeError) as wrong:
                    refused = [(call, wording.refusal(call, wrong)) for call in calls]
                else:
                    self._roster.add(jobs)
        watch = self._watch
        if watch is None or threading.current_thread() is not watch.thread:
            self._hand_out()  # else that is done once it has dealt with all that it has heard
        for call, error in refused:
            call.failed(error)

    def stop(self, calls: Sequence[Call]) -> None:
        """Have calls end: by themselves within the grace period, else with their process."""
        with self.lock:
            for call in calls:
                job = self._roster.job_of(call)
                if job is not None:
                    self._stop(job)

    def status(self) -> dict[str, Any]:
        """What its workers are about."""
        with self.lock:
            workers = [worker.describe() for worker in self._roster.workers]
            return {"workers": workers, "waiting": len(self._roster.queue)}

    def shut_down(self, wait: float | None, kill: bool) -> None:
        """Take no more calls; end the workers when they are done, or at once.

        Waits for so many seconds until nothing is left, or for as long as it takes.
        """
        with self.lock:
            self._close(kill)
            watch = self._watch
        if watch is None:
            self._release()
        elif watch.thread is not threading.current_thread() and self._is_over.wait(wait):
            watch.thread.join()

    def abandon(self) -> None:
        """Nobody has the executor any more. Comes with a garbage collection: locks nothing."""
        self._is_abandoned = True
        if self._watch is None and not self._recruiting.launching:
            self._release()
        else:
            self._wake()

    def forget(self) -> None:  # pragma: no cover  # in forks of the process
        """In a fork of this process: all that is here is its parent's."""
        for worker in self._roster.workers:
            worker.launched.forget()
        for launched in self._upkeep.buried():
            launched.forget()
        if self._watch is not None:
            self._watch.forget()
        if self._packing is not None:
            self._packing.scratch.forget()

    # For those who start workers

    def setup_for(self, slot: int, stem: str) -> Setup:
        """What a worker is told."""
        return (self._packing or self._open()).setup(slot, stem)

    def joined(self, worker: Worker) -> None:
        """A process was started."""
        with self.lock:
            self._recruiting.launching -= 1
            self._roster.workers.append(worker)
            if self._is_killed:
                worker.kill()
            self._later(functools.partial(self._begin_watching, worker))

    def could_not_start(self, slot: int, reason: str) -> None:
        """One could not be."""

        def tell() -> None:
            with self.lock:
                self._recruiting.launching -= 1
                self._recruiting.left(slot)
            self._recruiting.failed(reason, time.monotonic())
            self._hand_out()

        with self.lock:
            self._later(tell)

    def has_workers(self) -> bool:
        """Whether some work already. Under the lock."""
        return self._roster.has_ready_workers

    def gave_up(self, reason: str) -> None:
        """None can be started."""
        with self.lock:
            jobs = self._roster.drop_queue()
        for job in jobs:
            job.call.failed(wording.no_process(job.call, reason))

    # For the thread that watches

    def heard(self, worker: Worker, text: memoryview) -> None:
        """A worker has sent a message."""
        kind, *parts = opened(text)
        if kind == From.REPLY:
            self._end(worker, *parts)
        elif kind == From.READY:
            with self.lock:
                self._recruiting.is_ready()
                self._upkeep.rest(worker)
        elif kind == From.BROKEN:
            worker.complaint = parts[0]
        else:
            self._pass_on(worker, kind, *parts)

    def ended(self, worker: Worker) -> None:
        """A worker's process is over."""
        with self.lock:
            was = worker.state
            lost = self._roster.lose(worker)
            exitcode = worker.bury()
            self._recruiting.left(worker.slot)
            self._upkeep.bury(worker.launched)
            packing = self._packing
        if was is State.STARTING:
            how = wording.how_it_ended(exitcode)
            reason = worker.complaint or f"the process {how} while it started"
            self._recruiting.failed(reason, time.monotonic())
        self._hand_out()
        if lost is not None:
            lost.call.failed(self._loss(lost, worker, exitcode))
        if packing is not None:
            packing.scratch.remove_of(worker.stem)

    def look_around(self) -> float | None:
        """Do what is due; returns the seconds until the next time something is."""
        while self._to_do:
            self._to_do.popleft()()
        if self._is_abandoned:
            with self.lock:
                self._close(kill=True)
        seconds = self._upkeep.look(self.lock)
        return 0.0 if self._to_do else seconds

    def heard_all(self) -> None:
        """There is no more to hear just now.

        What the ends of several calls have set off is sent together: that wakes each process
        once, which takes longer than most of what is done here for a call.
        """
        self._hand_out()

    def may_leave(self) -> bool:
        """Whether there is nothing to watch any more."""
        if self._roster.workers:  # as ever, and as can be seen without the lock
            return False
        with self.lock:
            is_busy = self._roster.workers or self._recruiting.launching or self._to_do
            if is_busy or not self._roster.is_empty:
                return False
            buried, is_closed = self._upkeep.exhume(), self._is_closed
            if not is_closed:
                self._watch = None
        for launched in buried:
            launched.join()
        if is_closed:
            self._release()
        return True

    # Inside

    def _open(self) -> Packing:
        with self.lock:
            if self._packing is None:
                self._packing = make_packing(self._settings.max_workers, self._removed)
            return self._packing

    def _removed(self) -> None:
        """A file is gone: workers that have it open let go of it. Locks nothing."""
        self._to_do.append(self._tell_of_removal)
        self._wake()

    def _tell_of_removal(self) -> None:
        with self.lock:
            for worker in self._roster.idle():
                worker.give(LOOK)

    def _later(self, do: Callable[[], object]) -> None:
        """Have something done in the thread that watches, which is there from now on."""
        self._to_do.append(do)
        self._ensure_watch().wake()

    def _ensure_watch(self) -> Watch:
        """Raises `OSError` or `RuntimeError` if there can be none. Under the lock."""
        if self._watch is None:
            self._watch = watch = Watch(self)
            try:
                watch.thread.start()
            except RuntimeError:
                self._watch = None
                watch.close()
                raise
        return self._watch

    def _wake(self) -> None:
        watch = self._watch
        if watch is not None:
            watch.wake()

    def _begin_watching(self, worker: Worker) -> None:
        if self._watch is not None:
            self._watch.add(worker)

    def _hand_out(self) -> None:
        """Give calls to workers as long as there are both."""
        while True:
            with self.lock:
                found = self._roster.next()
                if found is None:
                    lost = self._recruit()
                    break
            worker, job = found
            is_wanted = job.begins()
            with self.lock:
                if not is_wanted:
                    self._roster.drop(job)
                    self._roster.release(worker, time.monotonic())
                elif not self._roster.send(worker, job):
                    self._roster.put_back(job)
                    worker.current = None
                    worker.kill()  # if it is there: who does not read is good for nothing
            if not is_wanted:
                job.call.failed(wording.stopped(job.call, False))
        for job, error in lost:
            job.call.failed(error)

    def _recruit(self) -> list[tuple[Job, Exception]]:
        """Find workers for those who wait; who waits in vain, and why. Under the lock."""
        roster, recruiting = self._roster, self._recruiting
        if self._is_killed:
            return [(job, self._loss(job, None, None)) for job in roster.drop_queue()]
        try:
            if recruiting.has_places:
                recruiting.ask_for(roster.shortage() - recruiting.launching, time.monotonic())
        except RuntimeError as error:  # there is no thread to start them in
            jobs = [] if roster.workers else roster.drop_queue()
            return [(job, wording.no_process(job.call, str(error))) for job in jobs]
        return []

    def _end(self, worker: Worker, number: int, item: Item | None) -> None:
        """A worker is done with a call."""
        with self.lock:
            job = self._roster.over(worker, number)
            following = worker.current
            is_urgent = following is None and bool(self._roster.queue)
            if following is None:
                self._upkeep.rest(worker)
        if following is not None and not following.begins():
            with self.lock:
                self._stop(following)
        if is_urgent:
            self._hand_out()
        if job is None:
            return
        try:
            reply = Reply() if item is None else open_reply(from_last_item(item))
        except OSError as error:
            job.call.failed(wording.lost_reply(job.call, error))
        else:
            job.call.ended(reply)

    def _stop(self, job: Job) -> None:
        if job.is_stopped:
            return
        job.is_stopped = True
        if self._roster.withdraw(job):
            self._roster.drop(job)
            self._later(functools.partial(job.call.failed, wording.stopped(job.call, False)))
        elif job.worker is not None:
            if self._packing is not None:
                self._packing.flags.ask_to_stop(job.worker.slot, job.number)
            self._upkeep.kill_later(job)

    def _pass_on(self, worker: Worker, kind: int, number: int, said: Any) -> None:
        """What a step has to say while it runs."""
        with self.lock:
            job = worker.current
        if job is None or job.number != number:
            return  # a thread that it has left behind
        if kind == From.PROGRESS:
            job.call.progressed(said)
            return
        try:
            told = loads(from_last_item(said))
        except Exception as error:  # noqa: BLE001  # a class of the user's may raise anything
            label = job.call.node.label
            logger.warning("what step %s has logged or told cannot be read: %r", label, error)
            return
        if kind == From.RECORD:
            job.call.logged(told)
        else:
            job.call.told(told)

    def _loss(self, job: Job, worker: Worker | None, exitcode: int | None) -> Exception:
        """Why a call is over that has no reply. If it had no worker, it had not begun."""
        if job.is_stopped:
            return wording.stopped(job.call, worker is not None)
        if self._is_killed or worker is None:
            return wording.shut_down(job.call, worker is not None)
        return wording.bereft(job.call, worker.pid, exitcode)

    def _close(self, kill: bool) -> None:
        """Take no more calls. Under the lock."""
        self._is_closed = self._upkeep.is_closing = True
        now = time.monotonic()
        for worker in self._roster.idle():
            self._upkeep.retire(worker, now)
        if kill and not self._is_killed:
            self._is_killed = True
            self._recruiting.close()
            for job in self._roster.drop_queue():
                self._later(functools.partial(job.call.failed, wording.shut_down(job.call)))
            for worker in self._roster.workers:
                worker.kill()
        if self._recruiting.launching:
            self._later(lambda: None)  # somebody has to hear of those that are being started
        self._wake()

    def _release(self) -> None:
        """All are gone, and nothing is to come: let go of the rest."""
        packing = self._packing
        if packing is not None:
            packing.close()
        self._recruiting.release()
        self._is_over.set()
