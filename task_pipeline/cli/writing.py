"""`--output`: the results of a run as JSON, in a file that is whole or not there."""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from ..context import PipelineContext
from .failures import CommandError
from .telling import named_line

STDOUT = "-"
_STDOUT, _STDERR = 1, 2
_DEEPEST = 200  # lists in lists; what is deeper is written as text
_MOST_BITS = 10_000  # of a number in decimal digits: those of more take Python long


Write: TypeAlias = Callable[[Any], object]
"""Writes a value as a document of JSON. Raises `CommandError`."""


@contextlib.contextmanager
def written_to(output: str | None) -> Iterator[tuple[TextIO, Write | None]]:
    """Where a run is to be shown, and what writes its results, if they are to be written.

    Raises `CommandError` if they cannot be.
    """
    if output is None:
        yield sys.stdout, None
    elif output == STDOUT:
        with nothing_else_on_stdout() as real:
            yield sys.stderr, lambda value: real.write(as_json(value, True))
    else:
        target = Target(output)
        yield sys.stdout, lambda value: target.write(as_json(value, False))


def write_what_is_there(
    write: Write, context: PipelineContext[Any], status: str, run_id: str, told: str
) -> list[str]:
    """Write what a run came to that has not ended well; what to say if that cannot be done."""
    errors = [named_line(part) for part in context.errors]
    about = {"status": status, "run_id": run_id, "error": told, "errors": errors}
    try:
        write({**about, "results": context.results})
    except (CommandError, OSError) as unwritten:
        return [str(unwritten)]
    return []


class Target:
    """A file to write once: it is seen at once that this can be done, and done in one move."""

    def __init__(self, name: str) -> None:
        """Raises `CommandError` if nothing can be written there."""
        self._name = name
        try:
            # What a link leads to is replaced, and not the link.
            self._file = Path(os.path.realpath(name))
            self._is_special = self._file.exists() and not stat.S_ISREG(self._file.stat().st_mode)
            if self._file.is_dir():
                raise CommandError(f"--output is a file, and {name!r} is a folder")
            if self._file.exists() and not os.access(self._file, os.W_OK):
                raise CommandError(f"--output {name!r} is there already, and may not be written")
            if not self._is_special:
                trial = self._beside()
                os.close(_create(trial))
                trial.unlink()
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from error

    def write(self, text: str) -> None:
        """Write the file. Raises `CommandError`, and leaves what was there as it was."""
        content = text.encode("utf-8", "backslashreplace")
        if self._is_special:
            with self._telling():
                self._file.write_bytes(content)
            return
        beside = self._beside()
        with self._telling():
            try:
                with open(_create(beside), "wb") as file:
                    file.write(content)
                if self._file.exists():
                    beside.chmod(stat.S_IMODE(self._file.stat().st_mode))
                beside.replace(self._file)
            except BaseException:
                beside.unlink(missing_ok=True)
                raise

    def _beside(self) -> Path:
        return self._file.with_name(f".{self._file.name[:100]}.{uuid.uuid4().hex[:12]}")

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: Exception) -> CommandError:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        return CommandError(f"--output {self._name!r} cannot be written: {why}")


def _create(file: Path) -> int:
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)


@contextlib.contextmanager
def nothing_else_on_stdout() -> Iterator[TextIO]:
    """Have all that is written to standard output go to standard error, and give the real one.

    That takes ASCII. What child processes write goes to standard error, too.
    """
    shown = sys.stdout
    shown.flush()
    kept = os.dup(_STDOUT)
    try:
        sys.stdout = sys.stderr
        os.dup2(_STDERR, _STDOUT)
        if _number_of(shown) == _STDOUT:
            with open(kept, "w", encoding="ascii", closefd=False) as real:
                yield real
        else:  # somebody has put something else there, which goes on elsewhere
            yield shown
    finally:
        sys.stdout = shown
        os.dup2(kept, _STDOUT)
        os.close(kept)


def _number_of(file: TextIO) -> int:
    try:
        return file.fileno()
    except (OSError, ValueError):
        return -1


def as_json(value: Any, is_ascii: bool) -> str:
    """A document of JSON; what JSON has no form for stands in it as text."""
    return json.dumps(_plain(value, ()), indent=2, ensure_ascii=is_ascii, allow_nan=False) + "\n"


def _plain(value: Any, around: tuple[int, ...]) -> Any:
    """The value as JSON knows it; `around` are the identities of what it stands in."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _plain_text(value)
    if isinstance(value, int):
        number = int(value)
        return number if number.bit_length() <= _MOST_BITS else hex(number)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if len(around) < _DEEPEST and id(value) not in around:
        within = (*around, id(value))
        if isinstance(value, dict):
            return {_key(key): _plain(item, within) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [_plain(item, within) for item in value]
    return _text(value)


def _plain_text(value: str) -> str:
    if type(value) is str:
        return value
    from ..documents.resolving.secrets import MASK, Secret

    return MASK if isinstance(value, Secret) else str.__str__(value)


def _key(key: object) -> str:
    if isinstance(key, str):
        return _plain_text(key)
    is_plain = key is None or isinstance(key, bool | int | float)
    return json.dumps(_plain(key, ())) if is_plain else _text(key)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001  # whatever a class of the user's raises, the rest is written
        return f"<{type(value).__name__}>"
