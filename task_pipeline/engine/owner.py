"""The thread that calls `run()`: it works on its own run's steps, and waits for the rest."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable

from .execution import Execution
from .slots import Slot, Standing, current_slot, set_current_slot

LOOK_FOR_SIGNALS = 0.5
"""Seconds after which a wait without an end looks whether somebody has pressed Ctrl-C."""


def drive(run: Execution) -> None:
    """Start a run and see it through on the current thread.

    A thread that is inside a step already, so that this run is nested in another,
    keeps the permit it has if this run is on the same pool, and is stood in for
    while it can do nothing. On another pool it gives its permit back until the
    end: it runs no step of its own pool meanwhile.
    """
    outer = current_slot()
    nested = outer is not None and outer.pool is run.pool
    # Made before it gets its permit, so that an interrupt anywhere leaves it to be found.
    own = Slot(run.pool, is_worker=False)
    if outer is not None and not nested:
        outer.pool.block(outer)
    try:
        run.begin()
        while not run.is_done:
            entered = _help_nested(run, outer) if nested and outer else _help(run, own)
            if not run.is_done:
                _park(run, outer if nested else None, entered)
    except BaseException as error:
        run.abort(error)
        raise
    finally:
        if own.standing is not Standing.IDLE:  # else it has no permit to give back
            try:
                run.pool.leave(own)
            finally:  # again, as an interrupt may have cut that short
                run.pool.leave(own)
        set_current_slot(outer)
        if outer is not None and not nested:
            outer.pool.unblock(outer, run.ended_early)


def _help_nested(run: Execution, outer: Slot) -> bool:
    """Work on the run's steps with the permit of the step that this run is part of."""
    if run.pool.is_overdrawn:
        # This thread has kept a deadline without a permit: it runs steps with one only.
        run.pool.block(outer)
        run.pool.unblock(outer)
    run.work(outer, on_owner=True)
    return True


def _help(run: Execution, own: Slot) -> bool:
    """Work on the run's steps; False if there is no permit to be had."""
    if not run.pool.enter(own):
        run.do_chores_and_call()
        return False
    before = set_current_slot(own)
    try:
        run.work(own, on_owner=True)
    finally:
        set_current_slot(before)
        run.pool.leave(own)
    return True


def _park(run: Execution, outer: Slot | None, entered: bool) -> None:
    """Wait until the run is over, or has a step for this thread."""
    gate: threading.Lock | None = None
    wake: Callable[[bool], None]
    with run.lock:
        if run.is_done or (entered and run.has_step_for_owner()):
            return
        if outer is not None:
            wake = functools.partial(outer.pool.wake, outer)
        else:
            gate = threading.Lock()
            gate.acquire()
            wake = _opener(gate)
        run.parked(wake)
    if gate is not None:
        # Python may miss a signal that comes just as a wait begins, until the wait is over.
        while not gate.acquire(timeout=LOOK_FOR_SIGNALS):
            continue
    elif outer is not None:
        outer.pool.wait_blocked(outer)
    with run.lock:
        run.parked(None)


def _opener(gate: threading.Lock) -> Callable[[bool], None]:
    return lambda at_once: gate.release()
