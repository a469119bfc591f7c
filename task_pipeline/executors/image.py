"""A picture of a context, which can go to another process and become a fork's origin there."""

from __future__ import annotations

import logging
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

from ..context import BINDING, BY_REFERENCE, SOURCE, PipelineContext
from ..errors import NotPortableError
from ..state.delta import DELETED
from ..state.fork import ForkPoint, stored
from ..state.results import NO_RULE, ForkedResults, MissingRule

Context = PipelineContext[Any]
_APART = frozenset({SOURCE, BINDING, "results", "errors"})


@dataclass
class Image:
    """What a context held at one moment.

    `shared` has the keys of what is passed by reference, which stays where it is. `logger` is
    the name of a logger, or one of the user's own kind, if that can be pickled.
    """

    kind: type[Context]
    fields: dict[str, Any]
    results: dict[Any, Any]
    errors: list[Any]
    missing: MissingRule
    apart: tuple[str, ...]
    shared: tuple[Any, ...]
    logger: Any

    def point(self, overlay: Overlay | None) -> ForkPoint:
        """The same as something to fork from, here, with what a branch has changed since.

        What is in it may be used for several calls: forks copy what they touch.
        """
        if overlay is None:
            return self._as_it_is
        return self._point(overlay)

    @cached_property
    def _as_it_is(self) -> ForkPoint:
        return self._point(None)

    def _point(self, overlay: Overlay | None) -> ForkPoint:
        fields = {**self.fields, "shared": NotHere(self.shared), "logger_instance": self.logger}
        if isinstance(self.logger, str):
            fields["logger_instance"] = logging.getLogger(self.logger)
        results, errors, missing = dict(self.results), list(self.errors), self.missing
        if overlay is not None:
            fields.update(overlay.fields)
            errors = errors if overlay.errors is None else overlay.errors
            if overlay.whole is not None:
                results, missing = overlay.whole, NO_RULE
            for key, value in overlay.results.items():
                if value is DELETED:
                    results.pop(key, None)
                else:
                    results[key] = value
            for key in overlay.moved:
                results[key] = results.pop(key)
        return ForkPoint.detached(self.kind, fields, results, errors, missing, self.apart)


@dataclass(slots=True)
class Overlay:
    """What a branch has touched since its fork point: changed, or only copied.

    `moved` stand last in the dict; `whole` takes the place of all results.
    """

    results: dict[Any, Any]
    moved: tuple[Any, ...]
    whole: dict[Any, Any] | None
    fields: dict[str, Any]
    errors: list[Any] | None


def image_of(point: ForkPoint) -> Image:
    """A picture of a context as it stood."""
    names = [name for name in dict.fromkeys(point.names()) if name not in BY_REFERENCE]
    shared = point.field("shared")
    return Image(
        kind=point.kind,
        fields={name: point.field(name) for name in names},
        results=point.results,
        errors=point.errors,
        missing=point.missing,
        apart=point.apart,
        shared=tuple(shared) if isinstance(shared, dict) else (),
        logger=_portable_logger(point.field("logger_instance")),
    )


def overlay_of(context: Context) -> Overlay | None:
    """What a branch has touched; None for nothing. Nothing is copied."""
    values = stored(context)
    fields = {
        name: value
        for name, value in values.items()
        if name not in _APART and name not in BY_REFERENCE
    }
    results, errors = values.get("results"), values.get("errors")
    changed: dict[Any, Any] = {}
    moved: tuple[Any, ...] = ()
    whole: dict[Any, Any] | None = None
    if isinstance(results, ForkedResults) and results.copier is values.get(SOURCE):
        raw = results.raw()
        changed = {key: raw.get(key, DELETED) for key in results.touched}
        if values[SOURCE].apart:  # it is a branch of a `Map`, whose item was put in beside that
            base = values[SOURCE].point.results
            changed.update(
                (key, value) for key, value in raw.items() if base.get(key, DELETED) is not value
            )
        moved = tuple(key for key, was_put in results.touched.items() if was_put and key in raw)
    elif isinstance(results, dict):
        whole = results.raw() if isinstance(results, ForkedResults) else dict(results)
    if not (changed or whole is not None or fields or errors is not None):
        return None
    return Overlay(changed, moved, whole, fields, None if errors is None else list(errors))


def _portable_logger(logger: Any) -> Any:
    if isinstance(logger, logging.Logger):
        return logger.name
    from .portable import dumps

    try:
        dumps(logger, "context.logger_instance")
    except NotPortableError:
        return "task_pipeline"
    return logger


class NotHere(MutableMapping[Any, Any]):
    """What `context.shared` is in another process: its keys are known, nothing else."""

    __slots__ = ("_keys",)

    def __init__(self, keys: tuple[Any, ...]) -> None:
        self._keys = keys

    def __iter__(self) -> Iterator[Any]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __getitem__(self, key: Any) -> Any:
        if key not in self._keys:
            raise KeyError(key)
        _refuse(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _refuse(key)

    def __delitem__(self, key: Any) -> None:
        _refuse(key)

    def __deepcopy__(self, memo: object) -> NotHere:
        return self

    def __repr__(self) -> str:
        return f"<the keys of context.shared: {', '.join(map(repr, self._keys))}>"


def _refuse(key: Any) -> NoReturn:
    raise NotPortableError(
        f"context.shared[{key!r}]: what is in `shared` is passed by reference, and this step runs "
        "in another process; put what it needs into app_config or results, or have the step run "
        'on a thread: executor="thread"'
    )
