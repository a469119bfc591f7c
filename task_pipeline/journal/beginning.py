"""Recording that a run begins."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from ..context import PipelineContext
from ..engine.clock import Clock
from ..errors import JournalDataError
from ..plan import Plan
from .codec import codec_named, digest_of, encode_context
from .contexts import type_name
from .outline import fingerprint_of, outline_of, text_of
from .recorder import RunRecorder
from .records import NewRun
from .store import Journal


def begin(
    journal: Journal, plan: Plan, about: NewRun, context: PipelineContext[Any], clock: Clock
) -> RunRecorder:
    """Record that a run begins; raises `RunExistsError`, `JournalDataError`, `JournalError`."""
    codec = codec_named(journal.codec)
    if plan.outline is None:
        _require_plain_ids(plan)
        text = text_of(outline_of(plan))
        plan.outline = text, fingerprint_of(text)
    outline, fingerprint = plan.outline
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


def digest_of_context(context: PipelineContext[Any], journal: Journal) -> str:
    """What is the same for two contexts that say the same."""
    return digest_of(encode_context(context, codec_named(journal.codec)).text or "")


def _require_plain_ids(plan: Plan) -> None:
    """Steps are told by their ids, so a journal must be able to give them back as they are."""
    wrong = [spec.step_id for spec in plan.specs if not _is_plain(spec.step_id)]
    if wrong:
        raise JournalDataError(
            f"a journal cannot hold the ids of the steps {', '.join(map(repr, wrong))}: NUL and "
            "lone surrogates have no place in a database; call the steps something else"
        )


def _is_plain(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= sign <= "\udfff" for sign in text)
