"""What a step has raised, on its way to the process that its run is in.

Pickling an exception loses its causes and where it was raised, and fails for those whose class
has an `__init__` of its own that does not pass on all that it takes.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any, SupportsIndex

from ..errors import RecordedError
from .portable import dumps, loads


class RemoteTraceback(Exception):
    """Where in the other process an exception was raised: its text is that traceback."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


@dataclass(slots=True)
class Raised:
    """An exception and its causes, the nearest first, and the traceback of it all."""

    chain: list[Any]
    text: str

    @classmethod
    def of(cls, error: BaseException) -> Raised:
        """Take one to be pickled."""
        chain: list[BaseException] = []
        cause: BaseException | None = error
        while cause is not None and not any(cause is known for known in chain):
            chain.append(cause)
            cause = cause.__cause__
        text = "".join(traceback.format_exception(error))
        return cls([sendable_error(each) for each in chain], text)

    def error(self) -> BaseException:
        """The exception again."""
        below: BaseException = RemoteTraceback(self.text)
        for shown in reversed(self.chain):
            shown.__cause__ = below
            below = shown
        return below


def portable_error(error: Any) -> Any:
    """An exception that survives the way, or what is known of it as a `RecordedError`."""
    if not isinstance(error, BaseException) or _arrived(error, error) is not None:
        return error
    return _recorded(error)


def sendable_error(error: Any) -> Any:
    """The same for what is pickled at once: it may stand for the exception that it is there."""
    if not isinstance(error, BaseException):
        return error
    own = _Own(error)
    plain = _arrived(own, error)
    if plain is not None and _text(plain) == _text(error):
        return own
    # An `__init__` that makes its text of what it takes would be given that text.
    bare = _Bare(error)
    made = _arrived(bare, error)
    if made is not None and _text(made) == _text(error):
        return bare
    return _recorded(error) if plain is None else own


class _Own:
    """Pickles as an exception in that one's own way.

    Not in the one that tblib registers for all of them where Dask is: it calls no `__init__`, by
    which a `SystemExit` loses its code.
    """

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return self.error.__reduce_ex__(protocol)


class _Bare:
    """Pickles as an exception, of whose class the `__init__` is not called again."""

    def __init__(self, error: BaseException) -> None:
        self.kind = type(error)
        self.args = error.args
        self.state = dict(vars(error))
        if isinstance(error, BaseExceptionGroup):
            self.args = (error.message, [sendable_error(each) for each in error.exceptions])

    def __reduce__(self) -> Any:
        return _made, (self.kind, self.args, self.state)


def _made(kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


def _arrived(sent: object, error: BaseException) -> BaseException | None:
    """What becomes of that which is sent for an exception; None if that is no such exception."""
    kind = type(error)
    try:
        made = loads(dumps(sent, "an exception"))
    except Exception:  # noqa: BLE001  # that is what is found out
        return None
    is_one = type(made) is kind or type(made).__qualname__ == kind.__qualname__
    return made if is_one else None


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as wrong:  # noqa: BLE001  # an exception of the user's may raise anything
        return f"<its text could not be had: {type(wrong).__name__}>"


def _recorded(error: BaseException) -> RecordedError:
    kind = type(error)
    notes = getattr(error, "__notes__", ())
    known = [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []
    return RecordedError(f"{kind.__module__}.{kind.__qualname__}", _text(error), known)
