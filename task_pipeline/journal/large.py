"""Values too large for a row: kept once, by what they are."""

from __future__ import annotations

import hashlib

from sqlalchemy import Text, delete, select, type_coerce

from ..errors import JournalDataError
from .batch import lock_retention
from .database import Link
from .schema import LARGE, USES


def digest_of_content(content: bytes) -> str:
    """What a large value is kept by: its SHA-256, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def read_large(link: Link, digest: str) -> bytes:
    """A large value; raises `JournalDataError` if it is not there, or not what it was."""
    content = type_coerce(LARGE.c.content, Text).label("content")
    row = link.sql.execute(select(content).where(LARGE.c.digest == digest)).one_or_none()
    if row is None:
        raise JournalDataError(f"table {LARGE.name} has no value {digest!r}, which a run refers to")
    if not isinstance(row.content, bytes) or digest_of_content(row.content) != digest:
        raise JournalDataError(
            f"value {digest!r} in table {LARGE.name} is not what was written: its digest differs; "
            "the journal is damaged, or was changed by hand"
        )
    return row.content


def used_by(link: Link, run_id: str) -> list[str]:
    """The digests of the large values of a run."""
    return list(link.sql.scalars(select(USES.c.digest).where(USES.c.run_id == run_id)))


def leave(link: Link, run_id: str) -> None:
    """A run uses none any more; those that nobody else uses go."""
    lock_retention(link, shared=False)
    digests = used_by(link, run_id)
    link.sql.execute(delete(USES).where(USES.c.run_id == run_id))
    for digest in digests:
        others = select(USES.c.digest).where(USES.c.digest == digest)
        link.sql.execute(delete(LARGE).where(LARGE.c.digest == digest, ~others.exists()))
