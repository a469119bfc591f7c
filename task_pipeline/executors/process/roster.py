"""Which call goes to which worker. Everything here is done under the crew's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from .workers import Job, State, Worker


class Roster:
    """The calls that wait, first come, first served; the workers, and what each of them has.

    To have no worker wait for its next call, one more may lie in its line. It goes on with that
    by itself; so neither of the two may be one that is left while it runs, as then the other
    would be lost with it. A worker that has nothing to do takes over what lies in another's line.
    """

    def __init__(self, calls_per_worker: int | None) -> None:
        self._most_given = calls_per_worker
        self._jobs: dict[int, Job] = {}
        self._idle: list[Worker] = []
        self._lying = 0  # in lines, to be gone on with
        self.queue: deque[Job] = deque()
        self.workers: list[Worker] = []

    @property
    def is_empty(self) -> bool:
        """Whether no call is under way."""
        return not self._jobs

    @property
    def has_ready_workers(self) -> bool:
        """Whether some worker has started to work."""
        return any(worker.state in (State.IDLE, State.BUSY) for worker in self.workers)

    def idle(self) -> list[Worker]:
        """Those that have nothing to do."""
        return list(self._idle)

    def job_of(self, call: object) -> Job | None:
        """The job of a call that is under way."""
        return self._jobs.get(id(call))

    def add(self, jobs: Iterable[Job]) -> None:
        """Calls to be performed."""
        for job in jobs:
            self._jobs[id(job.call)] = job
            self.queue.append(job)

    def shortage(self) -> int:
        """How many workers more would find something to do."""
        if not self.queue and not self._lying:
            return 0
        starting = sum(worker.state is State.STARTING for worker in self.workers)
        return len(self.queue) + self._lying - starting - len(self._idle)

    def next(self) -> tuple[Worker, Job] | None:
        """A call that can begin, and the worker that is now kept for it."""
        while self._idle:
            job = self._first()
            if job is None:
                return None
            worker = self._idle.pop()
            worker.state, worker.current, job.worker = State.BUSY, job, worker
            worker.given += 1
            return worker, job
        self._lay_ahead()
        return None

    def _first(self) -> Job | None:
        queue = self.queue
        if self._lying:
            lying = [worker for worker in self.workers if worker.waiting is not None]
            lying.sort(key=lambda worker: worker.waiting.number)  # type: ignore[union-attr]  # not None
            for worker in lying:
                job = worker.waiting
                if job is None or (queue and queue[0].number < job.number):
                    break
                if self.withdraw(job):
                    return job
        return queue.popleft() if queue else None

    def _lay_ahead(self) -> None:
        for worker in self.workers if self.queue else ():
            job = self.queue[0]
            if job.is_leavable or not self._has_room(worker):
                continue
            if worker.give(job.message):
                self.queue.popleft()
                self._lying += 1
                worker.waiting, job.worker, job.is_sent = job, worker, True
                worker.given += 1
                if not self.queue:
                    return

    def _has_room(self, worker: Worker) -> bool:
        current = worker.current
        return (
            worker.waiting is None
            and current is not None
            and current.is_sent
            and not current.is_leavable
            and not current.is_stopped
            and worker.given != self._most_given
        )

    def withdraw(self, job: Job) -> bool:
        """Take a call back that waits, if it can be; then it is nobody's."""
        worker = job.worker
        if worker is None:
            try:
                self.queue.remove(job)
            except ValueError:  # it is taken back already
                return False
            return True
        if worker.waiting is not job:
            return False
        taken = worker.take_back()
        current = worker.current
        if current is not None and current.number in taken:
            worker.give(current.message)  # it has not even begun with that one
        if job.number not in taken:
            return False
        self._lying -= 1
        worker.given -= 1
        worker.waiting, job.worker, job.is_sent = None, None, False
        return True

    def send(self, worker: Worker, job: Job) -> bool:
        """Send a worker the call that it is kept for; False if it is not there any more."""
        job.is_sent = not worker.is_gone and worker.give(job.message)
        return job.is_sent

    def release(self, worker: Worker, now: float) -> None:
        """A worker has nothing to do, or did not get what it was kept for."""
        worker.current = None
        if worker.is_gone:
            return
        worker.state, worker.rests_since = State.IDLE, now
        self._idle.append(worker)

    def put_back(self, job: Job) -> None:
        """A call did not reach its worker: it is the first again."""
        job.worker, job.is_sent = None, False
        self.queue.appendleft(job)

    def over(self, worker: Worker, number: int) -> Job | None:
        """A worker is done with a call, and goes on with the next one, if that lies there."""
        job = worker.current
        if job is None or job.number != number:
            return None
        del self._jobs[id(job.call)]
        worker.current, worker.waiting = worker.waiting, None
        if worker.current is not None:
            self._lying -= 1
        return job

    def drop(self, job: Job) -> None:
        """A call is over that no worker has."""
        self._jobs.pop(id(job.call), None)

    def drop_queue(self) -> list[Job]:
        """None of those that wait is to be performed."""
        dropped, self.queue = list(self.queue), deque()
        for job in dropped:
            self.drop(job)
        return dropped

    def retire(self, worker: Worker) -> bool:
        """Have a worker take no more calls; False if it has one, or ends already."""
        if worker.state is not State.IDLE:
            return False
        self._idle.remove(worker)
        worker.state = State.ENDING
        return True

    def is_worn(self, worker: Worker) -> bool:
        """Whether it has performed as many calls as it is to."""
        return worker.given == self._most_given

    def lose(self, worker: Worker) -> Job | None:
        """A worker has ended; what it had not begun is the first again. The call it was in."""
        self.workers.remove(worker)
        if worker.state is State.IDLE:
            self._idle.remove(worker)
        taken = worker.take_back()
        current, waiting = worker.current, worker.waiting
        worker.current = worker.waiting = None
        if waiting is not None:
            self._lying -= 1
            self.put_back(waiting)
        if current is None or not current.is_sent:
            return None  # whoever is about to send it finds out
        if current.number in taken:
            self.put_back(current)
            return None
        self.drop(current)
        return current
