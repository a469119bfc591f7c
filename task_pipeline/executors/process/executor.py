"""The executor that runs steps in processes of their own."""

from __future__ import annotations

import atexit
import multiprocessing.util  # before _end_all is registered
import os
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from ...context import PipelineContext
from ...engine.calling import Call, Capabilities
from ...errors import ConfigurationError
from ...plan import StepNode
from ..inline import unknown_options
from ..portable import require_cloudpickle
from ..shipping import preflight
from . import lines
from .settings import Settings, settings_of

if TYPE_CHECKING:
    from .crew import Crew

PATIENCE = 2.0
"""Seconds for which the end of the interpreter waits for that of killed processes."""


class ProcessExecutor:
    """Runs steps in processes, each on a core of its own, and kills those that are to stop.

    - `max_workers`: how many processes there are at most; by default as many as there are
      processors that this process may use
    - `grace`: for so many seconds a step that is to stop may do so by itself, as it sees in
      `context.cancelled`; then its process is killed, with all that it has started
    - `idle`: a process that has had nothing to do for so many seconds is ended
    - `max_calls_per_worker`: after so many steps a process is replaced by a fresh one

    Processes are started when they are needed. They have the modules' path and the directory of
    this process, and its environment as it is then; they do not import its main module, so a
    script needs no `if __name__ == "__main__"`. A process that dies fails the one step it was in,
    with `WorkerDiedError`. All of them end with this one, however that ends.

    Steps and their data are pickled, by cloudpickle; large arrays lie in files in memory, which
    all processes read in place. A step may be given no `executor_options` here. Needs Linux, or
    a system like it: raises `ConfigurationError` on another, and for settings of no meaning, and
    `MissingExtraError` if pebble or cloudpickle are not installed.

    ```python
    import os
    from task_pipeline import Pipeline
    from task_pipeline.executors import ProcessExecutor

    def left(context): return os.getpid()
    def right(context): return os.getpid()

    with ProcessExecutor(max_workers=2) as executor:
        results = Pipeline([[left, right]], executor=executor).run().results
    assert os.getpid() not in results.values()
    ```
    """

    name = "process"
    capabilities = Capabilities(
        kills=True,
        leaves=True,
        shares_memory=False,
        needs_pickling=True,
        reports=True,
        tells_start=True,
    )

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        grace: float = 0.05,
        idle: float = 10.0,
        max_calls_per_worker: int | None = None,
    ) -> None:
        """Nothing is started yet."""
        self._settings = settings_of(max_workers, grace, idle, max_calls_per_worker)
        if not hasattr(os, "fork") or not lines.are_to_be_had():
            raise ConfigurationError(
                "ProcessExecutor needs Linux, or a system with socket pairs that keep messages "
                "whole; here, give the pipeline a concurrent.futures.ProcessPoolExecutor"
            )
        from .launching import pebbles_process

        pebbles_process()
        require_cloudpickle()
        self._crew: Crew
        self._hire()
        _executors.add(self)

    def _hire(self) -> None:
        from .crew import Crew

        self._crew = Crew(self._settings)
        self._end = weakref.finalize(self, self._crew.abandon)
        self._end.atexit = False
        if multiprocessing.parent_process() is not None:
            # A process that multiprocessing has started ends without what is registered below.
            multiprocessing.util.Finalize(None, _end_all, exitpriority=1)

    @property
    def max_workers(self) -> int:
        """How many processes there are at most."""
        return self._settings.max_workers

    @property
    def max_calls(self) -> int:
        """How many calls of one run it is given at once: each process has its next one ready."""
        return 2 * self._settings.max_workers

    def problems(self, node: StepNode) -> list[str]:
        """What it cannot do for a step: it knows no options. Without effect."""
        return unknown_options(node, "the process executor")

    def preflight(self, steps: Sequence[StepNode], context: PipelineContext[Any]) -> list[str]:
        """What of these steps and this data cannot be pickled."""
        return preflight(steps, context)

    def submit(self, calls: Sequence[Call]) -> None:
        """Give calls to processes, first come, first served."""
        self._crew.take(calls)

    def stop(self, calls: Sequence[Call]) -> None:
        """Have calls end, if need be with their processes."""
        self._crew.stop(calls)

    def status(self) -> dict[str, Any]:
        """What it is about: `workers` and `waiting`, how many calls have none.

        Each worker is a dict of its `pid`, its `state` ("starting", "idle", "busy" or "ending"),
        the `step` it is in, by its label, or None, and how many `calls` it was given so far.
        """
        return self._crew.status()

    def shutdown(self, wait: bool = True, *, kill: bool = False) -> None:
        """Take no more calls; those that were taken are performed, unless `kill` is true.

        With `wait`, nothing of it is left once this returns: no process, thread or file. The end
        of a `with` block is such a shutdown, which kills if the block has raised something.
        """
        self._crew.shut_down(None if wait else 0.0, kill)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.shutdown(kill=kind is not None)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self  # there is one executor, whoever's pipeline works with it

    def __reduce__(self) -> Any:
        return _made, (type(self), tuple(self._settings))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_workers={self.max_workers})"

    def end_with_process(self) -> None:
        """The interpreter ends: nobody waits for a step any more, nor for long for anything."""
        self._crew.shut_down(PATIENCE, kill=True)

    def _after_fork(self) -> None:  # pragma: no cover  # in forks of the process
        self._end.detach()
        self._crew.forget()
        self._hire()


def _made(kind: type[ProcessExecutor], settings: tuple[Any, ...]) -> ProcessExecutor:
    """One of the same settings, in another process."""
    known = Settings(*settings)
    return kind(
        known.max_workers,
        grace=known.grace,
        idle=known.idle,
        max_calls_per_worker=known.max_calls_per_worker,
    )


_executors: weakref.WeakSet[ProcessExecutor] = weakref.WeakSet()


def _after_fork_in_child() -> None:  # pragma: no cover  # in forks of the process
    for executor in list(_executors):
        executor._after_fork()


def _end_all() -> None:  # pragma: no cover  # after the last line was measured
    """Before multiprocessing, which was imported before, removes what it works with."""
    for executor in list(_executors):
        executor.end_with_process()


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
