"""A step performed where its run is not: in another process, an interpreter, on another machine.

Imported by workers: nothing here, nor below, needs anything but the standard library, and
cloudpickle once something is pickled.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..context import BINDING, PipelineContext
from ..engine.calling import Relay, Reply, current_relay
from ..errors import (
    NotPortableError,
    StepCancelledError,
    StepReturnError,
)
from ..events import Event
from ..signals import StopPipeline
from ..state.delta import Delta, adopt, delta_of
from ..state.fork import Fork
from .channels import NO_CHANNEL, Channel, NoChannel, relaying
from .image import Image, Overlay
from .portable import Packed, dumps, loads
from .raised import Raised, portable_error, sendable_error


@dataclass(slots=True)
class About:
    """What is known of one call: of its step, and of what its branch has changed.

    - `strict`: a value that cannot be copied is refused, as in a branch
    - `remaining`: seconds to the nearest deadline when it was sent
    - `variables`: context variables of the caller's: module, name there, value
    - `levels`: of the loggers that have one, by name
    """

    run_id: str
    step_id: str
    path: str
    name: str
    attempt: int
    idempotency_key: str
    result_key: str
    is_function: bool
    remaining: float | None
    strict: bool
    is_heard: bool
    overlay: Overlay | None
    variables: tuple[tuple[str, str, Any], ...]
    levels: dict[str, int]


class RemoteStep:
    """The step that a context is bound to, where its run is not."""

    __slots__ = ("_channel", "_deadline", "_told", "about", "attempt")

    def __init__(self, about: About, channel: Channel) -> None:
        self.about = about
        self.attempt = about.attempt
        self._channel = channel
        left = about.remaining
        self._deadline = None if left is None else time.monotonic() + left
        self._told = -1

    @property
    def step_id(self) -> str:
        """The step's id."""
        return self.about.step_id

    @property
    def idempotency_key(self) -> str:
        """The run and the step's place in it."""
        return self.about.idempotency_key

    @property
    def cancelled(self) -> bool:
        """Whether it has been asked to stop."""
        return self._channel.cancelled

    def remaining(self) -> float | None:
        """Seconds to the nearest deadline, or None; 0 once it is to stop."""
        if self._deadline is None and not self.cancelled:
            return None
        left = 0.0 if self._deadline is None else self._deadline - time.monotonic()
        return 0.0 if self.cancelled else max(0.0, left)

    def update_progress(self, percent: float) -> None:
        """Tell the run, of each whole percent once."""
        self.raise_if_cancelled()
        if int(percent) > self._told:
            self._told = int(percent)
            self._channel.progressed(percent)

    def raise_if_cancelled(self) -> None:
        """Raise `StepCancelledError` in a step that has been asked to stop."""
        if self.cancelled:
            about = self.about
            raise StepCancelledError(
                f"step {about.step_id!r} at path {about.path} was asked to stop: it passed a "
                "deadline, or what is around it ended early",
                step_id=about.step_id,
                path=about.path,
                attempt=about.attempt,
            )


def perform(
    function: Callable[[Any], Any], image: Image, about: About, channel: Channel = NO_CHANNEL
) -> Reply:
    """Call a step on a fork of a context as it was, and say what it has come to.

    Nothing that the step raises gets out of here, a `SystemExit` neither.
    """
    step = RemoteStep(about, channel)
    try:
        context = Fork(image.point(about.overlay), strict=about.strict).context()
        context.__dict__[BINDING] = step
    except Exception as wrong:  # noqa: BLE001  # what it was sent is not what it must be
        return Reply(None, wrong)
    variables = contextvars.copy_context()  # such as Dask's own, by which a step finds its worker
    for module, name, value in about.variables:
        found = getattr(sys.modules.get(module), name, None)
        if isinstance(found, contextvars.ContextVar):
            variables.run(found.set, value)
    if about.is_heard and not isinstance(channel, NoChannel):
        relay = Relay(about.path, about.run_id, functools.partial(_tell, channel))
        variables.run(current_relay.set, relay)
    error: BaseException | None = None
    returned: Any = None
    try:
        with relaying(about, channel):
            returned = variables.run(_call, function, context)
    except BaseException as raised:  # noqa: BLE001  # a step may raise anything
        error = raised
    if isinstance(error, asyncio.CancelledError):
        cancelled = StepCancelledError(
            f"step {about.step_id!r} at path {about.path} was cancelled by something other than "
            "its run",
            step_id=about.step_id,
            path=about.path,
            attempt=about.attempt,
        )
        cancelled.__cause__ = error
        error = cancelled
    return _reply(context, about, returned, error)


def _tell(channel: Channel, event: Event) -> None:
    if event.error is not None:
        event = replace(event, error=portable_error(event.error))
    channel.told(event)


def _call(function: Callable[[Any], Any], context: PipelineContext[Any]) -> Any:
    value = function(context)
    if value is not None and value is not context and inspect.isawaitable(value):
        return asyncio.run(_awaited(value))
    return value


async def _awaited(value: Any) -> Any:
    return await value


def _reply(
    context: PipelineContext[Any], about: About, value: Any, error: BaseException | None
) -> Reply:
    try:
        if isinstance(error, StopPipeline):
            value, error.result, error.args = error.result, None, (None,)
            _accept(context, about, value, stops=True)
        elif error is None:
            _accept(context, about, value)
    except Exception as wrong:  # noqa: BLE001  # what it returned is not what it must be
        error = wrong
    try:
        delta = delta_of(context)
    except Exception as wrong:  # noqa: BLE001  # what it left behind is not what it must be
        return Reply(None, error or wrong)
    return Reply(delta, error)


def _accept(context: PipelineContext[Any], about: About, value: Any, stops: bool = False) -> None:
    """Take what the step returned: as `engine.flow.accept`, without a plan."""
    if value is None or value is context:
        return
    if isinstance(value, PipelineContext):
        adopt(context, value)
    elif about.is_function or stops:
        context.results[about.result_key] = value
    else:
        raise StepReturnError(
            f"step {about.step_id!r} at path {about.path} returned a {type(value).__name__}; "
            "run() must return the context, another context or None. Put what it produced into "
            "context.results.",
            step_id=about.step_id,
            path=about.path,
            attempt=about.attempt,
        )


# What goes back


def pack_reply(reply: Reply) -> Packed:
    """A reply made ready for the way back; what of it cannot go there is the step's error."""
    delta, error = reply.delta, reply.error
    if delta is not None:
        delta.errors = [sendable_error(each) for each in delta.errors]
        delta.references.pop("shared", None)
        delta.references.pop("logger_instance", None)
    raised = None if error is None else Raised.of(error)
    try:
        return dumps((delta, raised), "what the step has changed")
    except NotPortableError:
        wrong = _what_is_wrong(delta)
    if raised is None:
        raised = Raised.of(NotPortableError(wrong))
    return dumps((None, raised), "the step's error")


def open_reply(packed: Packed) -> Reply:
    """A reply that has come back; what cannot be read is the step's error."""
    try:
        delta, raised = loads(packed)
    except Exception as wrong:  # noqa: BLE001  # a class of the user's may raise anything
        error = NotPortableError(
            f"what the step has changed: it cannot be read here ({type(wrong).__name__}: {wrong})"
        )
        error.__cause__ = wrong
        return Reply(None, error)
    return Reply(delta, None if raised is None else raised.error())


def _what_is_wrong(delta: Delta | None) -> list[str]:
    wrong: list[str] = []
    parts: dict[str, Any] = {}
    if delta is not None:
        parts = {f"results[{key!r}]": value for key, value in delta.results.items()}
        parts |= {f"context.{name}": value for name, value in delta.fields.items()}
    for path, value in parts.items():
        try:
            dumps(value, path)
        except NotPortableError as error:
            wrong += error.problems
    return wrong or ["what the step has changed: it cannot be pickled"]


def perform_packed(code: Packed, image: Packed, about: Packed) -> Packed:
    """The whole of a call, for an executor that takes a function and its arguments."""
    try:
        function, picture, facts = loads(code), loads(image), loads(about)
    except Exception as wrong:  # noqa: BLE001  # a module of the user's may be missing here
        return pack_reply(Reply(None, not_loaded(wrong)))
    return pack_reply(perform(function, picture, facts))


def not_loaded(error: Exception) -> NotPortableError:
    """The error for a step, or its data, that cannot be read where it is to be performed."""
    wrong = NotPortableError(
        f"the step, or what it is given: it cannot be read where it is to run "
        f"({type(error).__name__}: {error}); what it needs must be installed there"
    )
    wrong.__cause__ = error
    return wrong
