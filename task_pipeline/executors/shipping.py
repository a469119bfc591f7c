"""What a call needs that is performed elsewhere: its code, the data it starts from, its facts.

The code of a step is packed once for a run, the data of a fork point once for all branches
that start from it.
"""

from __future__ import annotations

import contextvars
import hashlib
import logging
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..context import SOURCE, PipelineContext
from ..engine.calling import Call
from ..errors import NotPortableError
from ..plan import StepNode
from ..state.fork import ForkPoint
from .image import Image, Overlay, image_of, overlay_of
from .performing import About, open_reply
from .portable import Packed, dumps, is_portable
from .raised import portable_error

__all__ = ["Base", "Code", "Shipment", "open_reply", "preflight", "shipment_of"]

_MOST_LEVELS = 100  # of loggers whose levels are told


class Code:
    """The function of a step. `digest` tells it from every other."""

    __slots__ = ("digest", "packed")

    def __init__(self, packed: Packed) -> None:
        self.packed = packed
        digest = hashlib.blake2b(packed.main, digest_size=16)
        for buffer in packed.buffers:
            digest.update(buffer)
        self.digest = digest.digest()


class Base:
    """The data that several calls start from. It lives as long as one of them may come.

    `kept` is for what an executor makes of it, by a key of its own.
    """

    __slots__ = ("__weakref__", "_image", "_packed", "kept")

    def __init__(self, point: ForkPoint) -> None:
        # Not the point itself, which keeps this: it must be gone as soon as nobody needs it.
        self._image = image_of(point)
        self._image.errors = [portable_error(error) for error in self._image.errors]
        self._packed: Packed | None = None
        self.kept: dict[Any, Any] = {}

    def image(self) -> Image:
        """A picture of it; its parts are the run's own objects."""
        return self._image

    def packed(self) -> Packed:
        """The picture, packed. Raises `NotPortableError`."""
        packed = self._packed
        if packed is None:
            try:
                packed = dumps(self._image, "context")
            except NotPortableError:
                raise NotPortableError(wrong_in(self._image)) from None
            self._packed = packed
        return packed


class Shipment(NamedTuple):
    """All of a call."""

    code: Code
    base: Base
    about: About


def shipment_of(call: Call) -> Shipment:
    """What a call needs elsewhere.

    Raises `NotPortableError` if its code cannot be pickled, and `StepAbandonedError` if it was
    left meanwhile.
    """
    base, overlay, strict = _origin(call)
    return Shipment(_code_of(call), base, _about(call, overlay, strict))


def _code_of(call: Call) -> Code:
    spec = call.node.spec
    key = ("code", id(spec.source))
    code = call.kept.get(key)
    if code is None:
        packed = dumps(spec.call, f"step {call.node.label}")
        code = call.kept.setdefault(key, Code(packed))
    return code  # type: ignore[no-any-return]  # it is kept by that key


def _origin(call: Call) -> tuple[Base, Overlay | None, bool]:
    """What all branches of the group start from, and what this one has touched since."""
    context, enclosing = call.context, call.enclosing
    if enclosing is not None and SOURCE in enclosing.__dict__:
        source, overlay, strict = enclosing.__dict__[SOURCE], overlay_of(enclosing), True
    else:
        source, overlay, strict = context.__dict__[SOURCE], None, False
    point: ForkPoint = source.point
    base = point.kept
    if base is None:
        # Two threads may come here at once: then there are two, and one of them stays.
        base = point.kept = Base(point)
    return base, overlay, strict


def _about(call: Call, overlay: Overlay | None, strict: bool) -> About:
    node = call.node
    if overlay is not None and overlay.errors:
        overlay.errors = [portable_error(error) for error in overlay.errors]
    variables = call.kept.get("variables")
    if variables is None:
        variables = call.kept.setdefault("variables", _variables(call.contextvars))
    levels = call.kept.get("levels")
    if levels is None:
        levels = call.kept.setdefault("levels", _levels())
    return About(
        run_id=call.run_id,
        step_id=node.step_id,
        path=node.path,
        name=node.name,
        attempt=call.attempt,
        idempotency_key=call.idempotency_key,
        result_key=node.result_key,
        is_function=node.spec.is_function,
        remaining=call.remaining(),
        strict=strict,
        is_heard=call.is_heard,
        overlay=overlay,
        variables=variables,
        levels=levels,
    )


def _variables(given: contextvars.Context) -> tuple[tuple[str, str, Any], ...]:
    """The context variables that a module holds, and whose values can be pickled."""
    if not given:
        return ()
    wanted = {id(variable): value for variable, value in given.items()}
    found = []
    for name, module in list(sys.modules.items()):
        for attribute, held in list(getattr(module, "__dict__", {}).items()):
            if isinstance(held, contextvars.ContextVar) and id(held) in wanted:
                value = wanted.pop(id(held))
                if is_portable(value):  # else it cannot be seen there; nothing else depends on it
                    found.append((name, attribute, value))
    return tuple(found)


def _levels() -> dict[str, int]:
    """The level of the root logger, and of all that have one of their own."""
    levels = {"": logging.getLogger().level}
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger.level and len(levels) < _MOST_LEVELS:
            levels[name] = logger.level
    return levels


def preflight(steps: Sequence[StepNode], context: PipelineContext[Any]) -> list[str]:
    """What of these steps and this data cannot be pickled, each with its path."""
    wrong: list[str] = []
    for node in steps:
        try:
            dumps(node.spec.call, f"step {node.label}")
        except NotPortableError as error:
            wrong += error.problems
    image = image_of(ForkPoint(context))
    image.errors = []
    try:
        dumps(image, "context")
    except NotPortableError:
        wrong += wrong_in(image)
    return wrong


def wrong_in(image: Image) -> list[str]:
    """What in a picture cannot be pickled."""
    parts: dict[str, Any] = {f"context.{name}": value for name, value in image.fields.items()}
    parts |= {f"results[{key!r}]": value for key, value in image.results.items()}
    parts["the context's class"] = image.kind
    parts["what results do about a missing key"] = image.missing
    wrong: list[str] = []
    for path, value in parts.items():
        try:
            dumps(value, path)
        except NotPortableError as error:
            wrong += error.problems
    return wrong or ["context: it cannot be pickled"]
