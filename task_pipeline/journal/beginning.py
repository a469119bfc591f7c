"""Recording that a run begins."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from ..context import PipelineContext
from ..engine.clock import Clock
from ..plan import Plan
from .codec import codec_named, digest_of, encode_context
from .contexts import blank_of, type_name
from .outline import written_outline
from .recorder import RunRecorder
from .records import NewRun
from .store import Journal


def begin(
    journal: Journal, plan: Plan, about: NewRun, context: PipelineContext[Any], clock: Clock
) -> RunRecorder:
    """Record that a run begins; raises `RunExistsError`, `JournalDataError`, `JournalError`."""
    codec = codec_named(journal.codec)
    outline, fingerprint = written_outline(plan)
    given = encode_context(context, codec)
    now = time.time()
    lane = journal.create_run(
        dataclasses.replace(
            about,
            fingerprint=fingerprint,
            plan=outline,
            input=given.text,
            input_digest=digest_of(given.text or ""),
            context_type=type_name(type(context)),
            codec=journal.codec,
            created_at=now,
            started_at=now,
            large=given.large,
        )
    )
    return RunRecorder(lane, codec, clock)


def is_blank(context: PipelineContext[Any], journal: Journal) -> bool:
    """Whether a context has no data: it brings only settings, a logger, what is shared."""
    blank = blank_of(context)
    if blank is None:
        return False
    return digest_of_context(context, journal) == digest_of_context(blank, journal)


def digest_of_context(context: PipelineContext[Any], journal: Journal) -> str:
    """What is the same for two contexts that say the same."""
    return digest_of(encode_context(context, codec_named(journal.codec)).text or "")
