"""A call, performed on a worker: what Dask runs as a task."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

from ...engine.calling import Reply
from ...errors import NotPortableError
from ...signals import SkipStep, StopPipeline
from ...state.delta import DELETED
from ...state.resident import kind_of
from ..image import Image
from ..performing import About, not_loaded, pack_reply, perform
from ..portable import dumps
from .jobs import Job
from .parcels import NOTHING, Left, Order, Parcel, Placeholder, StepFailedError, opened, unboxed
from .workshop import Workshop, workshop_here


def run_call(order: Order, code: Parcel, image: Parcel, about: Parcel, values: list[Any]) -> Parcel:
    """Perform a step, and return what it has come to, packed. In a worker's thread.

    Raises `StepFailedError` if the step fails and Dask is to try again.
    """
    workshop = workshop_here()
    job = workshop.enter(order)
    if job is None:
        return Parcel(NOTHING, verdict="refused")
    reply: Reply | None = None
    try:
        if order.claim is not None and not _claim(order.claim):
            return Parcel(NOTHING, job.leave(), "claimed")
        if job.cancelled:  # meanwhile it was handed over again, or is not wanted any more
            return Parcel(NOTHING, job.leave(), "refused")
        reply = _performed(workshop, job, code, image, about, values)
        fails = order.raises and _is_failure(reply.error)
        if order.keep_over is not None and not fails:
            _leave_what_is_large(workshop, reply, order.keep_over)
        packed = pack_reply(reply)
    finally:
        notes = job.leave()
    parcel = Parcel(packed, notes)
    if fails and not job.cancelled:
        if order.claim is not None:
            _event(order.claim).clear()
        text = f"step {order.label} has failed with {type(reply.error).__name__}: {reply.error}"
        raise StepFailedError(text, parcel)
    return parcel


def take(token: str) -> Any:
    """A value that a call has left on this worker. As a task of its own, Dask keeps it."""
    return workshop_here().taken(token)


def stop_calls(tokens: list[str], dask_worker: Any) -> list[str]:
    """Stop calls on one worker; returns which of them are running there."""
    return Workshop.of(dask_worker).stop(tokens)


def _performed(
    workshop: Workshop, job: Job, code: Parcel, image: Parcel, about: Parcel, values: list[Any]
) -> Reply:
    order = job.order
    given = dict(zip(order.references, map(unboxed, values), strict=True))
    try:
        function = workshop.codes.get(order.code, code)
        picture: Image = workshop.images.get(order.image, image)
        facts: About = opened(about, given)
    except Exception as wrong:  # noqa: BLE001  # a module of the user's may be missing here
        error = not_loaded(wrong)
        error.add_note(f"on the worker {workshop.worker.address}")
        return Reply(None, error)
    if given:
        results = {
            key: given[value.name] if type(value) is Placeholder else value
            for key, value in picture.results.items()
        }
        picture = dataclasses.replace(picture, results=results)
    return perform(function, picture, facts, job)


def _is_failure(error: BaseException | None) -> bool:
    return error is not None and not isinstance(error, StopPipeline | SkipStep)


def _leave_what_is_large(workshop: Workshop, reply: Reply, keep_over: int) -> None:
    """Keep large values of `results` here, and have the reply say so."""
    if reply.delta is None:
        return
    results = reply.delta.results
    left: dict[int, Left] = {}
    for key, value in results.items():
        if value is DELETED or (size := size_of(value)) <= keep_over:
            continue
        if id(value) not in left:
            try:  # it will have to travel: what cannot is to be the step's error now
                dumps(value, f"results[{key!r}]")
            except NotPortableError:
                continue  # found again, with its path, when the reply is packed
            left[id(value)] = workshop.leave(value, kind_of(value), size)
        results[key] = left[id(value)]


def size_of(value: Any) -> int:
    """About how many bytes a value takes."""
    sizeof = importlib.import_module("dask.sizeof").sizeof
    try:
        return int(sizeof(value))
    except Exception:  # noqa: BLE001  # a class of the user's may not say
        return 0


def _claim(name: str) -> bool:
    """Whether no execution before this one has begun; from now on one has."""
    event = _event(name)
    if event.is_set():
        return False
    event.set()
    return True


def _event(name: str) -> Any:
    return importlib.import_module("distributed").Event(name)
