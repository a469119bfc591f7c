"""Values made ready for another process, and what is wrong with those that cannot go there.

Pickled by cloudpickle, which also takes functions and classes of `__main__`, lambdas and
closures; with protocol 5, so that large arrays are not copied into the text but stay apart.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, SupportsIndex

from ..errors import MissingExtraError, NotPortableError

Buffer = Any
"""Anything with the buffer protocol: a `pickle.PickleBuffer`, bytes, a memoryview."""

APART = 16 * 1024
"""The size in bytes from which on a buffer stays out of the text."""

_DEPTH = 12  # of what is looked through for the part that cannot be pickled


@dataclass(frozen=True, slots=True)
class Packed:
    """A pickled value: its text, and the buffers that are apart from it."""

    main: bytes | memoryview
    buffers: Sequence[Buffer] = field(default=())

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """For whoever pickles it once more, such as a `ProcessPoolExecutor`.

        What is in the buffers can be changed where they arrive.
        """
        if int(protocol) >= 5:
            buffers: tuple[Any, ...] = tuple(map(_writable, self.buffers))
        else:
            buffers = tuple(map(bytearray, map(_raw, self.buffers)))
        return Packed, (bytes(self.main), buffers)

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return len(self.main) + sum(memoryview(buffer).nbytes for buffer in self.buffers)


def _raw(buffer: Buffer) -> memoryview:
    return buffer.raw() if isinstance(buffer, pickle.PickleBuffer) else memoryview(buffer)


def _writable(buffer: Buffer) -> Any:
    raw = _raw(buffer)
    return bytearray(raw) if raw.readonly else pickle.PickleBuffer(raw)


@functools.cache
def _dumps() -> Callable[..., bytes]:
    try:
        from cloudpickle import dumps as dump
    except ModuleNotFoundError as error:
        raise MissingExtraError("To call steps in another process", "process", "cloudpickle") from (
            error
        )
    return dump  # type: ignore[no-any-return]  # it has no annotations


@functools.cache
def _by_value() -> Callable[[], Any]:
    _dumps()
    import cloudpickle

    return cloudpickle.list_registry_pickle_by_value  # type: ignore[no-any-return]  # it has no annotations


def require_cloudpickle() -> None:
    """Raise `MissingExtraError` if cloudpickle is not installed."""
    _dumps()


def dumps(value: object, what: str) -> Packed:
    """Pickle a value; `what` is how messages call it.

    Raises `NotPortableError`, naming the part that cannot be pickled.
    """
    buffers: list[Any] = []

    def stays_inside(buffer: Any) -> bool:
        with buffer.raw() as view:
            is_small: bool = view.nbytes < APART
        if not is_small:
            buffers.append(buffer)
        return is_small

    main = _plainly(value, stays_inside)
    if main is not None:
        return Packed(main, tuple(buffers))
    buffers.clear()
    dump = _dumps()
    try:
        main = dump(value, protocol=5, buffer_callback=stays_inside)
    except Exception as error:
        raise NotPortableError(wrong_parts(value, what) or [_said(what, value, error)]) from error
    return Packed(main, tuple(buffers))


def _plainly(value: object, stays_inside: Callable[[Any], bool]) -> bytes | None:
    """Pickle without cloudpickle, in a fifth of the time; None if only that can do it.

    It is needed for functions and classes of the main module, which other processes do not
    have, and of modules that somebody has registered to go by value.
    """
    if _by_value()():
        return None
    try:
        main = pickle.dumps(value, 5, buffer_callback=stays_inside)
    except Exception:  # noqa: BLE001  # a class may raise anything; it is told of the other way
        return None
    return None if b"__main__" in main else main


def loads(packed: Packed) -> Any:
    """The value again; raises whatever its making raises."""
    return pickle.loads(packed.main, buffers=packed.buffers)


def is_portable(value: object) -> bool:
    """Whether a value can be pickled; what in it cannot is not looked for."""
    return _plainly(value, lambda _: False) is not None or _refusal(value) is None


def wrong_parts(value: object, what: str) -> list[str]:
    """What in a value cannot be pickled, each part with its path."""
    seen: set[int] = set()
    found: list[str] = []

    def walk(part: object, path: str, depth: int) -> bool:
        """Whether anything wrong was found in it."""
        error = _refusal(part)
        if error is None:
            return False
        if id(part) in seen:
            return True
        seen.add(id(part))
        is_inside = False
        if depth:
            for name, inner in _readable_parts(part):
                # A place in the pipeline has dots, too.
                is_own = name[:1] == "." and path == what and what.startswith("step ")
                whole = f"{path}, self{name}" if is_own else path + name
                is_inside = walk(inner, whole, depth - 1) or is_inside
        if not is_inside:
            found.append(_said(path, part, error))
        return True

    walk(value, what, _DEPTH)
    return found


def _refusal(value: object) -> Exception | None:
    try:
        _dumps()(value, protocol=5, buffer_callback=lambda buffer: False)
    except MissingExtraError:
        raise
    except Exception as error:  # noqa: BLE001  # a class may raise anything
        return error
    return None


def _readable_parts(value: Any) -> list[tuple[str, object]]:
    """What a value consists of; nothing if it does not say, or is being changed meanwhile."""
    try:
        return list(_parts(value))
    except Exception:  # noqa: BLE001  # a class may raise anything, such as in its repr
        return []


def _parts(value: Any) -> Iterator[tuple[str, object]]:
    """What a value consists of, each with its step in a path."""
    if isinstance(value, Mapping):
        for key in list(value):
            try:
                item = value[key]
            except Exception:  # noqa: BLE001  # a mapping of somebody's own
                continue
            yield f"[{key!r:.60}]", item
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield f"[{index}]", item
    elif isinstance(value, set | frozenset):
        for item in list(value):  # as one step: it may be changed meanwhile
            yield f"{{{item!r:.60}}}", item
    elif isinstance(value, functools.partial):
        yield " (of partial)", value.func
        for index, item in enumerate(value.args):
            yield f" (argument {index})", item
        for name, item in value.keywords.items():
            yield f" (argument {name!r})", item
    elif hasattr(value, "__func__") and hasattr(value, "__self__"):
        yield "", value.__self__
    elif hasattr(value, "__code__") and hasattr(value, "__globals__"):
        names = value.__code__.co_freevars
        for name, cell in zip(names, value.__closure__ or (), strict=False):
            try:
                inner = cell.cell_contents
            except ValueError:  # it has none yet
                continue
            yield f" (closure variable {name!r})", inner
        used = value.__code__.co_names
        for name in used:
            if name in value.__globals__:
                yield f" (global {name!r})", value.__globals__[name]
        for index, inner in enumerate(value.__defaults__ or ()):
            yield f" (default {index})", inner
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        for name, inner in list(vars(value).items()):
            yield f".{name}", inner


def _said(path: str, value: object, error: Exception) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # its own text must not hide where it is
        text = "(its text cannot be shown)"
    return f"{path}: a {type(value).__name__} cannot be pickled ({type(error).__name__}: {text})"
