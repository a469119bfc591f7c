"""Steps on any `concurrent.futures.Executor`: the standard library's, loky's, mpi4py's, Dask's."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from typing import Any, Self

from ..context import PipelineContext
from ..engine.calling import Call, Capabilities, Reply
from ..engine.step import current_step
from ..errors import ConfigurationError, ExecutorError, NotPortableError, WorkerDiedError
from ..plan import StepNode
from .handing import HandingOver
from .inline import unknown_options
from .performing import perform_packed
from .portable import Packed, dumps, require_cloudpickle
from .queueing import places_of
from .shipping import open_reply, preflight, shipment_of

MANY = 1_000
"""How many calls an executor is given at once that does not say how many it can run."""


class FuturesExecutor:
    """Runs steps on an executor of `concurrent.futures`, which stays its owner's to shut down.

    - `max_calls`: how many steps it is given at once; by default as many as it has workers, or
      1,000 if it does not say. Further ones wait until it has done with one, and their timeouts
      with them
    - `shares_memory`: whether its workers are threads of this process, which need no copy of
      what a step works on; by default that is so for a `ThreadPoolExecutor`. For all others
      steps and data are pickled

    It cannot stop what runs: a step that has passed its deadline is left, and has its worker
    until it ends. In other processes nothing is heard of a step while it runs: neither its
    progress nor its log comes here, and `context.cancelled` stays False.

    A pool that breaks, as a process pool does when a worker dies, fails the steps it has with
    `WorkerDiedError`, and later ones with `ExecutorError`: it must be replaced.

    ```python
    from concurrent.futures import ThreadPoolExecutor
    from task_pipeline import Pipeline

    def left(context): return 1
    def right(context): return 2

    with ThreadPoolExecutor(2) as threads:
        results = Pipeline([[left, right]], executor=threads).run().results
    assert results == {"left": 1, "right": 2}
    ```
    """

    def __init__(
        self,
        executor: Executor,
        max_calls: int | None = None,
        *,
        shares_memory: bool | None = None,
    ) -> None:
        """Raises `ConfigurationError` for what is not an executor, or no number of calls.

        And `MissingExtraError` if steps are to be pickled, and cloudpickle is not installed.
        """
        if hasattr(executor, "get_executor"):
            raise ConfigurationError(
                f"{executor!r:.80} is a client, not an executor: give DaskExecutor(client), or "
                "client.get_executor()"
            )
        if not callable(getattr(executor, "submit", None)):
            raise ConfigurationError(
                f"FuturesExecutor takes a concurrent.futures.Executor, not {executor!r:.80}"
            )
        if max_calls is not None and not _is_count(max_calls):
            raise ConfigurationError(f"max_calls must be a whole number from 1, not {max_calls!r}")
        if shares_memory is None:
            shares_memory = _runs_in_threads(executor)
        if not shares_memory:
            require_cloudpickle()
        self._executor = executor
        self._max_calls = max_calls
        self.capabilities = Capabilities(
            shares_memory=shares_memory,
            needs_pickling=not shares_memory,
            reports=shares_memory,
            tells_start=True,
        )
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._futures: dict[int, tuple[Call, Future[Any]]] = {}
        self._places = places_of(executor)
        self._is_shut_down = False
        # Not in the thread that completes a future: a pool may hold its locks there, and
        # what a call's end sets off may well be the next submit().
        self._handing = HandingOver(self._conclude, f"{self.name}-ends")

    @property
    def name(self) -> str:
        """The kind of executor it was given."""
        return type(self._executor).__name__

    @property
    def executor(self) -> Executor:
        """The executor it was given."""
        return self._executor

    @property
    def at_once(self) -> int:
        """How many calls the executor has at once, of all runs."""
        return self._max_calls or _workers_of(self._executor) or MANY

    @property
    def max_calls(self) -> int:
        """How many calls of one run it is given at once.

        If it is to have one for each worker, the next for each is made ready meanwhile.
        """
        workers = _workers_of(self._executor)
        if self._max_calls is not None or workers is None or self.capabilities.shares_memory:
            return self.at_once
        return 2 * workers

    def problems(self, node: StepNode) -> list[str]:
        """What it cannot do for a step: it knows no options. Without effect."""
        return unknown_options(node, f"a {self.name}")

    def preflight(self, steps: Sequence[StepNode], context: PipelineContext[Any]) -> list[str]:
        """What cannot be pickled of these steps and this data."""
        return [] if self.capabilities.shares_memory else preflight(steps, context)

    def submit(self, calls: Sequence[Call]) -> None:
        """Give them to the executor, each as a future of its own, as soon as it has a worker."""
        unusable = self._unusable()
        if unusable:
            for call in calls:
                call.failed(self._refusal(call, ExecutorError(unusable)))
        elif self.capabilities.shares_memory:
            # Each says itself when it begins: they may as well wait in there.
            stand_in = self._stand_in(calls[0]) if calls else None
            for call in calls:
                self._hand_over(_Turn(call), stand_in)
        else:
            self._places.wait(self, calls)

    def hand_over(self, call: Call) -> bool:
        """Give the executor a call it has a worker for; False if that came to nothing."""
        if call.begins():
            return self._hand_over(_Turn(call), None)
        call.ended(Reply())
        return False

    def _hand_over(self, turn: _Turn, stand_in: HandingOver | None) -> bool:
        call = turn.call
        try:
            future = self._submitted(turn)
        except Exception as error:  # noqa: BLE001  # of whatever executor this is
            call.failed(self._refusal(call, error))
            return False
        with self._lock:
            self._futures[id(call)] = (call, future)
        future.add_done_callback(functools.partial(self._is_done, turn))
        if not call.is_wanted:  # it was stopped before it could be found here
            future.cancel()
        if stand_in is not None:
            stand_in.give(turn)
        return True

    def stop(self, calls: Sequence[Call]) -> None:
        """Cancel what has not begun; what runs is over when it is over."""
        for call in self._places.withdraw(calls):
            self._handing.give(call, None)
        with self._lock:
            known = [self._futures.get(id(call)) for call in calls]
        for entry in known:
            if entry is not None:
                entry[1].cancel()

    def shutdown(self) -> None:
        """Take no more calls. The executor it was given is left as it is."""
        self._is_shut_down = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self  # there is one executor, whoever's pipeline works with it

    def __reduce__(self) -> Any:
        raise TypeError(
            f"a {self.name} cannot be pickled, and so cannot what holds it: it belongs to this "
            "process; make the pipeline where it is to run"
        )

    def __repr__(self) -> str:
        return f"FuturesExecutor({self._executor!r}, max_calls={self.at_once})"

    def _unusable(self) -> str:
        """Why it can do nothing at all; empty if it can."""
        if self._is_shut_down:
            return "it was shut down"
        if self._pid != os.getpid():  # its threads are not in this process: nothing would move
            return f"it was made in process {self._pid}, of which this one is a fork; make one here"
        return ""

    def _submitted(self, turn: _Turn) -> Future[Any]:
        if self.capabilities.shares_memory:
            future: Any = self._executor.submit(turn.take)
        else:
            shipment = shipment_of(turn.call)
            about = dumps(shipment.about, f"step {turn.call.node.label}")
            future = self._executor.submit(
                perform_packed, shipment.code.packed, shipment.base.packed(), about
            )
        if not isinstance(future, Future):
            raise ExecutorError(
                f"its submit() returned a {type(future).__name__}, not a concurrent.futures.Future"
            )
        return future

    def _stand_in(self, call: Call) -> HandingOver | None:
        """For a run inside a step that itself has one of the workers: a thread in its place.

        The step waits for the run, which could otherwise wait for that worker.
        """
        step = call.contextvars.get(current_step)
        while step is not None:
            around = step.node.executor
            if isinstance(around, FuturesExecutor) and around._executor is self._executor:
                new = HandingOver(_take_in_stead, f"{self.name}-stand-in")
                made: HandingOver = call.kept.setdefault(("stand-in", id(self)), new)
                return made
            step = step.run.outer
        return None

    def _is_done(self, turn: _Turn, future: Future[Any]) -> None:
        """A future is done, in one way or another. In a thread of the executor's."""
        with self._lock:
            self._futures.pop(id(turn.call), None)
        if future.cancelled():
            if turn.is_begun():  # by a stand-in: it will come to its end
                return
        elif self.capabilities.shares_memory and future.exception() is None:
            return  # the call was ended where it was performed
        self._handing.give(turn.call, future)

    def _conclude(self, call: Call, future: Future[Packed | None] | None) -> None:
        if future is None:  # it was stopped while it waited for a worker
            call.ended(Reply())
            return
        if not self.capabilities.shares_memory:
            self._places.leave()  # at once: a worker has nothing to do
        try:
            packed = future.result()
            reply = Reply() if packed is None else open_reply(packed)
        except CancelledError as error:
            call.failed(self._withdrawn(call, error))
        except Exception as error:  # noqa: BLE001  # of whatever executor this is
            call.failed(self._loss(call, error))
        except BaseException as raised:  # noqa: BLE001  # the step's own, such as SystemExit
            call.ended(Reply(error=raised))
        else:
            call.ended(reply)

    def _refusal(self, call: Call, error: Exception) -> Exception:
        """Why a call was not taken."""
        if isinstance(error, NotPortableError):
            return error
        reason = str(error) if isinstance(error, ExecutorError) else _told(error)
        if isinstance(error, BrokenExecutor):
            reason = f"it is broken, and stays so; give the pipeline another one ({error})"
        return _caused(
            ExecutorError(f"{self.name} did not take step {call.node.label}: {reason}"), error
        )

    def _withdrawn(self, call: Call, error: Exception) -> Exception:
        return _caused(
            ExecutorError(
                f"step {call.node.label} was cancelled before it began, by something other than "
                f"its run: was the {self.name} shut down with steps waiting in it?"
            ),
            error,
        )

    def _loss(self, call: Call, error: Exception) -> Exception:
        """What has become of a call whose future has an exception that is not the step's."""
        node = call.node
        if not isinstance(error, BrokenExecutor):
            lost: Exception = ExecutorError(
                f"{self.name} could not run step {node.label}: {_told(error)}"
            )
        elif isinstance(self._executor, ThreadPoolExecutor):  # its initializer has failed
            lost = ExecutorError(
                f"{self.name} broke before it could run step {node.label}: {error} A broken pool "
                "takes no more work: give the pipeline another one"
            )
        else:
            lost = WorkerDiedError(
                f"step {node.label} was lost: a worker of the {self.name} died, in this step or "
                "in one beside it, which broke the pool. A broken pool takes no more work: give "
                f"the pipeline another one ({error})",
                step_id=node.step_id,
                path=node.path,
                attempt=call.attempt,
            )
        return _caused(lost, error)


class _Turn:
    """A call that is performed by whichever thread comes first."""

    __slots__ = ("_lock", "call")

    def __init__(self, call: Call) -> None:
        self.call = call
        self._lock = threading.Lock()

    def is_begun(self) -> bool:
        """Whether somebody has begun it; nobody else does after this was asked."""
        return not self._lock.acquire(blocking=False)

    def take(self) -> None:
        """Perform it, unless somebody has begun it."""
        if not self.is_begun():
            self.call.perform()


def _take_in_stead(turn: _Turn) -> None:
    try:
        turn.take()
    except BaseException:  # noqa: BLE001  # such as SystemExit: the run has ended by it
        pass


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _workers_of(executor: Executor) -> int | None:
    workers: Any = getattr(executor, "_max_workers", None)
    return workers if _is_count(workers) else None


def _runs_in_threads(executor: Executor) -> bool:
    """Whether what it runs sees this process's objects.

    An `InterpreterPoolExecutor` is a kind of thread pool by its class alone. Its module is
    there if there is one of them.
    """
    module = sys.modules.get("concurrent.futures.interpreter")
    pools: Any = getattr(module, "InterpreterPoolExecutor", ())
    return isinstance(executor, ThreadPoolExecutor) and not isinstance(executor, pools)
