"""A run of many steps as a few things that each have a rate, and what limits it.

A small simulation of discrete events: the run's own process, the cluster's scheduler, the network,
the workers and the journal each do one thing after another, at the rates that were measured, and
each step passes through them in its order. What a step does by itself is left out.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial


class Executor(StrEnum):
    """Who calls the steps."""

    THREAD = "thread"
    PROCESS = "process"
    DASK = "dask"


class Form(StrEnum):
    """How the branches of a group are written."""

    LIST = "list"
    MAP = "map"
    TASKS = "tasks"


class Part(StrEnum):
    """Where the time of a run goes."""

    RUN = "the run's own process"
    SCHEDULER = "Dask's scheduler"
    NETWORK = "the network at the client"
    WORKERS = "the workers"
    JOURNAL = "the journal's commits"


@dataclass(frozen=True)
class Rates:
    """Seconds of a processor, or bytes, for one step; measured by `python -m benchmarks.scaling`.

    - `build`, `plan_bytes`: a step in a written list, before the run
    - `step`, `branch`: a step of a series, and of a group, on threads; `item`, `task`: one of a
      `Map`'s, and of a dynamic group's
    - `write`: what a branch adds that writes a key; `key`: what each key adds that is there before
    - `*_bytes`: what each keeps: for as long as the run goes, or (a task's) as long as its group
    - `process_bytes`, `dask_bytes`: a written step that is called there, to the end of the run
    - `left_bytes`: what a task leaves when its group is over
    - `delta_bytes`: what a branch that wrote something keeps until its group is merged
    - `process`, `client`: a call in the run's process; `scheduler`: in Dask's; `process_worker`,
      `dask_worker`: in a worker
    - `process_wait`, `dask_wait`: seconds of nobody's on the way there and back
    - `call_bytes`, `reply_bytes`: of a call on Dask, at the client
    - `row`: a step in the journal; `commit`: one commit of what has gathered meanwhile
    - `event`, `event_bytes`: a step's events for each listener, and one event that is kept
    """

    build: float
    plan_bytes: float
    step: float
    branch: float
    item: float
    task: float
    write: float
    key: float
    branch_bytes: float
    item_bytes: float
    process_bytes: float
    dask_bytes: float
    task_bytes: float
    left_bytes: float
    delta_bytes: float
    process: float
    process_worker: float
    process_wait: float
    client: float
    scheduler: float
    dask_worker: float
    dask_wait: float
    call_bytes: float
    reply_bytes: float
    row: float
    row_bytes: float
    sqlite_commit: float
    postgresql_commit: float
    event: float
    event_bytes: float


@dataclass(frozen=True)
class Program:
    """What is to be run: groups of `width` branches, one group after another.

    Each branch is one step, of `seconds`, in which it computes, or waits for something else if it
    `waits`. It leaves `writes` keys of its own, and `changed` bytes in all.
    """

    steps: int
    width: int
    seconds: float = 0.0
    waits: bool = False
    writes: int = 0
    changed: float = 0.0
    form: Form = Form.LIST
    groups_side_by_side: bool = False


@dataclass(frozen=True)
class Place:
    """Where it is to be run.

    - `workers`: threads, processes, or worker threads of a cluster; `cores`: of this machine
    - `elsewhere`: the cluster's scheduler and workers are on other machines
    - `max_calls`: how many calls are under way at once; by default, what the executor is made for
    - `bandwidth` in bytes a second, `round_trip` in seconds: of the network
    """

    executor: Executor = Executor.THREAD
    workers: int = 8
    cores: int = 2
    elsewhere: bool = False
    max_calls: int | None = None
    bandwidth: float = 1e9 / 8
    round_trip: float = 0.0005
    journal: str = "none"
    listeners: int = 0
    history: int = 0

    @property
    def at_once(self) -> int:
        """How many steps are under way at once."""
        if self.max_calls is not None:
            return self.max_calls
        usual = {Executor.THREAD: self.workers, Executor.PROCESS: 2 * self.workers}
        return usual.get(self.executor, 1_000)


@dataclass
class Outcome:
    """What a run is expected to take: seconds, and bytes at its peak.

    `busy`: the share of the time for which each part was at work (of the workers, on average);
    `memory`: what the peak consists of; `build` seconds come before the run.
    """

    seconds: float
    build: float
    busy: dict[Part, float] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)

    @property
    def binds(self) -> Part:
        """What is the busiest."""
        return max(self.busy, key=lambda part: self.busy[part])


class Station:
    """Does things one after another, or some side by side, in the order in which they come."""

    def __init__(self, model: "Model", places: int = 1) -> None:
        self._model = model
        self._places = places
        self._free = places
        self._waiting: list[tuple[float, Callable[[], None]]] = []
        self._first = 0
        self.total = 0.0

    @property
    def at_work(self) -> int:
        """How many of its places are taken."""
        return self._places - self._free

    def do(self, seconds: float, then: Callable[[], None]) -> None:
        """Do something that takes so long, as soon as there is a place for it."""
        if self._free:
            self._begin(seconds, then)
        else:
            self._waiting.append((seconds, then))

    def _begin(self, seconds: float, then: Callable[[], None]) -> None:
        self._free -= 1
        taken = self._model.slowed(self, seconds)
        self.total += taken
        self._model.after(taken, lambda: self._end(then))

    def _end(self, then: Callable[[], None]) -> None:
        self._free += 1
        if self._first < len(self._waiting):
            following = self._waiting[self._first]
            self._first += 1
            if self._first > 10_000:
                del self._waiting[: self._first]
                self._first = 0
            self._begin(*following)
        then()


class Model:
    """One run. `simulate()` returns what it is expected to take."""

    def __init__(self, program: Program, place: Place, rates: Rates) -> None:
        self.program, self.place, self.rates = program, place, rates
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = 0
        self.run = Station(self)
        self.workers = Station(self, place.workers)
        # On the same machine it is part of the client's process, as in a LocalCluster.
        has_scheduler = place.executor is Executor.DASK
        self.scheduler = Station(self) if has_scheduler and place.elsewhere else self.run
        self.out, self.back = Station(self), Station(self)
        self.journal = Station(self)
        self._costs()
        self._unwritten = 0
        self._writing = False
        self._wants_commit: list[Callable[[], None]] = []

    def _costs(self) -> None:
        program, place, rates = self.program, self.place, self.rates
        form, is_series = program.form, program.width == 1
        own = {Form.LIST: rates.branch, Form.MAP: rates.item, Form.TASKS: rates.task}[form]
        if is_series and form is Form.LIST:
            own = rates.step
        own += rates.write if program.writes and not is_series else 0.0
        own += place.listeners * rates.event
        own += rates.row if place.journal != "none" else 0.0
        remote = {Executor.PROCESS: rates.process, Executor.DASK: rates.client}
        if place.executor is not Executor.THREAD:
            own += max(0.0, remote[place.executor] - rates.branch)
        self.own = own
        self.there = {
            Executor.THREAD: 0.0,
            Executor.PROCESS: rates.process_worker,
            Executor.DASK: rates.dask_worker,
        }[place.executor]

    # What stations need

    def after(self, seconds: float, then: Callable[[], None]) -> None:
        """Have something happen later."""
        self._numbers += 1
        heapq.heappush(self._events, (self.now + seconds, self._numbers, then))

    def slowed(self, station: Station, seconds: float) -> float:
        """What it takes with the cores there are, given who else is at work at the moment."""
        place, program = self.place, self.program
        if station in (self.out, self.back, self.journal):
            return seconds
        if station is self.workers:
            if program.waits or place.elsewhere:
                return seconds
            share = self.run.total / self.now if self.now else 0.0
            wanted = min(share, 1.0) + self.workers.at_work
        else:
            computes = not (program.waits or place.elsewhere or place.executor is Executor.THREAD)
            wanted = 1.0 + (self.workers.at_work if computes else 0)
        return seconds * max(1.0, wanted / place.cores)

    # The run

    def simulate(self) -> Outcome:
        """Let it happen."""
        program, rates = self.program, self.rates
        self._left = program.steps
        self._groups_begun = 0
        self._begin_group()
        while self._events:
            self.now, _, then = heapq.heappop(self._events)
            then()
        elapsed = max(self.now, 1e-9)
        parts: dict[Part, float] = {Part.RUN: self.run.total, Part.JOURNAL: self.journal.total}
        parts[Part.WORKERS] = self.workers.total / self.place.workers
        parts[Part.NETWORK] = max(self.out.total, self.back.total)
        if self.scheduler is not self.run:
            parts[Part.SCHEDULER] = self.scheduler.total
        build = rates.build * program.steps if program.form is Form.LIST else 0.0
        busy = {part: total / elapsed for part, total in parts.items() if total}
        return Outcome(elapsed, build, busy, self._memory())

    def _begin_group(self) -> None:
        program = self.program
        width = self._left if program.groups_side_by_side else min(program.width, self._left)
        if not width:
            return
        self._to_begin = self._open = width
        self._left -= width
        held = 0 if program.groups_side_by_side else self._groups_begun * program.width
        self._groups_begun += 1
        self._per_key = self.rates.key * held * bool(program.writes) * (program.width > 1)
        for _ in range(min(width, self.place.at_once)):
            self._begin_step()

    def _begin_step(self) -> None:
        self._to_begin -= 1
        # Half of what the run does for a step comes before it, and half after it.
        own = (self.own + self._per_key) / 2
        place, program = self.place, self.program
        if place.executor is Executor.THREAD:
            if program.waits and program.seconds:
                waits = partial(self.workers.do, program.seconds, partial(self._came, own))
                self.run.do(own, waits)
            else:
                self.run.do(own + program.seconds, lambda: self._came(own))
        elif place.executor is Executor.PROCESS:
            self.run.do(own, lambda: self._at_worker(own))
        else:
            self.run.do(own, lambda: self._to_cluster(own))

    def _to_cluster(self, own: float) -> None:
        place, rates = self.place, self.rates
        trip = place.round_trip / 2 if place.elsewhere else 0.0
        wire = rates.call_bytes / place.bandwidth if place.elsewhere else 0.0
        half = rates.scheduler / 2

        def sent() -> None:
            self.after(trip, lambda: self.scheduler.do(half, lambda: self._at_worker(own)))

        if wire:
            self.out.do(wire, sent)
        else:
            sent()

    def _at_worker(self, own: float) -> None:
        place, rates = self.place, self.rates
        is_dask = place.executor is Executor.DASK
        wait = rates.dask_wait if is_dask else rates.process_wait

        def done() -> None:
            self.after(wait, (lambda: self._from_cluster(own)) if is_dask else came)

        def came() -> None:
            self._came(own)

        self.workers.do(self.there + self.program.seconds, done)

    def _from_cluster(self, own: float) -> None:
        place, rates = self.place, self.rates
        trip = place.round_trip / 2 if place.elsewhere else 0.0
        wire = (rates.reply_bytes + self.program.changed) / place.bandwidth

        def there() -> None:
            if place.elsewhere:
                self.back.do(wire, lambda: self.after(trip, lambda: self._came(own)))
            else:
                self._came(own)

        self.scheduler.do(rates.scheduler / 2, there)

    def _came(self, own: float) -> None:
        self.run.do(own, self._ended)

    def _ended(self) -> None:
        self._open -= 1
        if self.place.journal != "none":
            self._unwritten += 1
            if not self._open:
                self._wants_commit.append(self._begin_group)  # which depends on this one
            self._commit()
        if self._to_begin:
            self._begin_step()
        elif not self._open and self.place.journal == "none":
            self._begin_group()

    def _commit(self) -> None:
        if self._writing or not self._unwritten:
            return
        self._writing = True
        self._unwritten = 0
        wanted, self._wants_commit = self._wants_commit, []
        kind = self.place.journal
        commit = self.rates.sqlite_commit if kind == "sqlite" else self.rates.postgresql_commit

        def written() -> None:
            self._writing = False
            for then in wanted:
                then()
            self._commit()

        self.journal.do(commit, written)

    def _memory(self) -> dict[str, float]:
        program, place, rates = self.program, self.place, self.rates
        width = program.steps if program.groups_side_by_side else program.width
        parts: dict[str, float] = {}
        if program.form is Form.LIST:
            parts["the plan"] = rates.plan_bytes * program.steps
            parts["what is known of each step"] = rates.branch_bytes * program.steps
            if place.executor is not Executor.THREAD:
                is_dask = place.executor is Executor.DASK
                sent = rates.dask_bytes if is_dask else rates.process_bytes
                parts["the steps as they are sent"] = sent * program.steps
        elif program.form is Form.MAP:
            parts["what is known of each item"] = rates.item_bytes * program.steps
        else:
            parts["the tasks of one group"] = rates.task_bytes * width
            parts["what tasks before have left"] = rates.left_bytes * (program.steps - width)
        if program.width > 1 and (program.writes or program.changed):
            parts["changes until they are merged"] = (rates.delta_bytes + program.changed) * width
        parts["calls under way"] = min(place.at_once, width) * (
            (rates.call_bytes if place.executor is not Executor.THREAD else 0.0) + program.changed
        )
        parts["events that are kept"] = rates.event_bytes * min(place.history, 2 * program.steps)
        parts["what the steps leave"] = program.changed * program.steps
        return {name: size for name, size in parts.items() if size}


def simulate(program: Program, place: Place, rates: Rates) -> Outcome:
    """What a program is expected to take in a place."""
    return Model(program, place, rates).simulate()


def least_seconds(program: Program, place: Place) -> float:
    """What the steps alone take, if nothing else did."""
    side_by_side = min(place.workers, program.width)
    if not program.waits and not place.elsewhere:
        side_by_side = min(side_by_side, place.cores)
        if place.executor is Executor.THREAD:
            side_by_side = 1
    return program.steps * program.seconds / max(1, side_by_side)


def advice(part: Part, program: Program, place: Place, rates: Rates) -> str:
    """What to change when a part is the limit."""
    said = {
        Part.WORKERS: "the steps themselves: more workers",
        Part.NETWORK: "the network: results that stay on the cluster, smaller ones, fewer calls",
        Part.JOURNAL: "the journal: groups instead of series, several steps in one",
        Part.SCHEDULER: "Dask's scheduler: more items in each step, or several clusters",
        Part.RUN: "one process that coordinates: more items in each step, or several runs",
    }
    if part is not Part.RUN:
        return said[part]
    if program.seconds and not program.waits and place.executor is Executor.THREAD:
        return "the interpreter, which runs one thread at a time: executor='process'"
    follow = (
        program.writes and 1 < program.width < program.steps and not program.groups_side_by_side
    )
    if follow and rates.key * program.steps / 2 > max(rates.process, rates.branch):
        return "the keys that are in results: groups side by side, or one key for all of it"
    return said[part]
