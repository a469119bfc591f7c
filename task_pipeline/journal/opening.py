"""`open_journal`: the way to a journal, for which nothing of SQLAlchemy is imported before."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from .store import Journal

DURABILITIES = ("normal", "full")
CODECS = ("json", "pickle")


def open_journal(
    url: str,
    *,
    durability: str = "normal",
    codec: str = "json",
    lease: float = 30.0,
    patience: float = 30.0,
) -> Journal:
    """The journal at a URL: `sqlite:///runs.db`, `sqlite:////abs/runs.db`, `postgresql://…`.

    - `durability`: what is recorded survives the end of this process, however it comes
      ("normal"), or the loss of power too ("full")
    - `codec`: "pickle" writes what "json" has no form for; only for journals that nobody can
      write to whom you would not let run code
    - `lease`: a run whose process is gone without a trace can be resumed after so many seconds
    - `patience`: for so many seconds a lock or a lost connection is waited for

    The database is connected to when it is first used. Raises `ConfigurationError` for settings
    of no meaning, `JournalError` for a URL that cannot be read or a database of another kind,
    and `MissingExtraError` if the packages are not installed.

    ```python
    from task_pipeline import open_journal

    with open_journal("sqlite:///runs.db", durability="full") as journal:
        print(journal)
    ```
    """
    problems = [
        *(() if isinstance(url, str) else (f"url is a text, not {type(url).__name__}",)),
        *_not_one_of("durability", durability, DURABILITIES),
        *_not_one_of("codec", codec, CODECS),
    ]
    if not _is_number(lease) or lease <= 0:
        problems.append(f"lease is a number of seconds above 0, not {lease!r}")
    if not _is_number(patience) or patience < 0:
        problems.append(f"patience is a number of seconds from 0, not {patience!r}")
    if problems:
        raise ConfigurationError("a journal cannot be opened so: " + "; ".join(problems))
    try:
        import sqlalchemy  # noqa: F401  # only to see that it is there
    except ModuleNotFoundError as error:
        if error.name != "sqlalchemy":
            raise  # it is there, and something else is not
        raise MissingExtraError("a journal", "journal", "SQLAlchemy") from error
    from .address import read_address
    from .shared import share
    from .store import Journal

    address = read_address(url)
    store = share(address, durability, float(lease), float(patience))
    return Journal(url, codec, store)


def _not_one_of(name: str, value: Any, known: tuple[str, ...]) -> list[str]:
    if isinstance(value, str) and value in known:
        return []
    return [f"{name} is {' or '.join(map(repr, known))}, not {value!r}"]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
