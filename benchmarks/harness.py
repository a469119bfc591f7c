"""Timing two things side by side, in one process, so that noise falls on both."""

import gc
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

WARM_UP = 0.25
"""Seconds each subject runs untimed: thread pools fill, caches and inline caches settle."""

SAMPLE = 0.01
"""Least seconds in one timed sample; a shorter one is mostly clock and scheduler noise."""


@dataclass(frozen=True)
class Subject:
    """A piece of work to time: one call of `run` handles `items` items."""

    run: Callable[[], object]
    items: int


@dataclass(frozen=True)
class Rounds:
    """Seconds per item, one entry per round; entry i of both was taken in the same round."""

    ours: tuple[float, ...]
    reference: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours over the reference, round by round."""
        return tuple(a / b for a, b in zip(self.ours, self.reference, strict=True))


@dataclass(frozen=True)
class Spread:
    """The median with its quartiles."""

    median: float
    low: float
    high: float


def expect(condition: bool, otherwise: str) -> None:
    """Refuse to time work that was not done.

    Raises:
        RuntimeError: `condition` is false; `otherwise` says what is wrong.
    """
    if not condition:
        raise RuntimeError(otherwise)


def spread(values: Sequence[float]) -> Spread:
    """Summarise `values`; a single value is its own quartiles."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def interleave(ours: Subject, reference: Subject, *, rounds: int, sample: float = SAMPLE) -> Rounds:
    """Time both subjects in turn: A B, B A, A B, ...

    Swapping who goes first keeps a slow drift of the machine, or what one leaves
    behind for the next, from always falling on the same side.
    """
    calls = {id(subject): _warm_up(subject, sample) for subject in (ours, reference)}
    taken: dict[int, list[float]] = {id(ours): [], id(reference): []}
    for index in range(rounds):
        pair = (ours, reference) if index % 2 == 0 else (reference, ours)
        for subject in pair:
            taken[id(subject)].append(_sample(subject, calls[id(subject)]))
    return Rounds(tuple(taken[id(ours)]), tuple(taken[id(reference)]))


def _warm_up(subject: Subject, sample: float) -> int:
    """Run untimed for a while; return how many calls fill one sample."""
    durations: list[float] = []
    stop = perf_counter() + WARM_UP
    while perf_counter() < stop or len(durations) < 2:
        started = perf_counter()
        subject.run()
        durations.append(perf_counter() - started)
    # The later half only: the first calls start threads and fill caches.
    typical = statistics.median(durations[len(durations) // 2 :])
    return max(1, round(sample / typical))


def _sample(subject: Subject, calls: int) -> float:
    """Seconds per item over `calls` calls.

    The collector starts every sample from the same state and stays on, as it is in
    an application: garbage a subject makes is part of its price. The last result is
    held until the clock has stopped, so that freeing it is nobody's price.
    """
    gc.collect()
    run = subject.run
    result: object = None
    started = perf_counter()
    for _ in range(calls):
        result = run()
    elapsed = perf_counter() - started
    del result
    return elapsed / (calls * subject.items)
