"""A run as a document: out, in again, and nothing but a clear error for one of no sense."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from task_pipeline.errors import JournalDataError, JournalError, JournalVersionError, RunExistsError
from task_pipeline.journal.large import digest_of_content
from task_pipeline.journal.opening import open_journal
from task_pipeline.journal.records import NewRun
from task_pipeline.journal.store import Journal
from task_pipeline.journal.transfer import Document, read_document
from task_pipeline.journal.troubles import PASSES, Trouble
from tests.databases import database_url, sqlite_url, step_row

__all__ = ["database_url"]

CONTENT = b"\0\xff" * 1000
DIGEST = digest_of_content(CONTENT)


def exported(journal: Journal, run_id: str = "r1") -> dict:
    lane = journal.create_run(
        NewRun(run_id=run_id, name="n", tags=("a", "b"), input="{}", large=((DIGEST, CONTENT),))
    )
    lane.put_step(step_row(run_id, "0", seq=1, delta='{"a": "\\u0000"}', stops=True))
    lane.put_step(step_row(run_id, "1", seq=2, superseded=True, status="failed", error="{}"))
    lane.put_group((run_id, "1", "group", 0, 3, "g", "failed", "x", 1.0, 2.0, "[]", False))
    lane.put_event(0, '{"seq": 0}')
    lane.put_event(1, '{"seq": 1}')
    lane.put_run(status="failed", ended_at=7.25, error_type="E", error_text="t")
    lane.end()
    return journal.export_run(run_id)


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    with open_journal(sqlite_url(tmp_path_factory.mktemp("runs"))) as journal:
        return exported(journal)


@pytest.mark.parametrize("form", [dict, json.dumps, lambda given: json.dumps(given).encode()])
def test_a_run_that_is_imported_is_what_was_exported(database_url, document, form):
    with open_journal(database_url) as journal:
        assert journal.import_run(form(document)) == "r1"
        assert journal.export_run("r1") == document
        assert journal.large(DIGEST) == CONTENT
        run = journal.run("r1")
        assert (run.state, run.is_live, run.lease_until) == ("failed", False, None)
        with pytest.raises(RunExistsError, match="'r1' already"):
            journal.import_run(document)
        journal.lease("r1").end()


def test_a_run_under_way_is_exported_and_comes_in_interrupted(database_url, tmp_path):
    with open_journal(database_url) as journal, open_journal(sqlite_url(tmp_path)) as other:
        lane = journal.create_run(NewRun(run_id="r1"))
        other.import_run(journal.export_run("r1"))
        assert other.run("r1").state == "interrupted"
        lane.end()


def changed(document: dict, *path: object, to: object) -> dict:
    other = copy.deepcopy(document)
    place: Any = other
    for key in path[:-1]:
        place = place[key]
    if to is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return other


@pytest.mark.parametrize(
    ("path", "to", "says"),
    [
        (["kind"], "else", "kind"),
        (["format"], "1", "format"),
        (["format"], True, "format"),
        (["run"], [], "run"),
        (["run", "run_id"], "", "run.run_id"),
        (["run", "run_id"], "x" * 501, "run.run_id"),
        (["run", "run_id"], "\ud800", "run.run_id"),
        (["run", "name"], "a\0b", "run.name"),
        (["run", "name"], None, "run.name"),
        (["run", "status"], "over", "run.status"),
        (["run", "tags"], "ab", "run.tags"),
        (["run", "tags", 0], 1, "run.tags.0"),
        (["run", "created_at"], float("inf"), "run.created_at"),
        (["run", "created_at"], "noon", "run.created_at"),
        (["run", "resumes"], -1, "run.resumes"),
        (["run", "resumes"], 2**63, "run.resumes"),
        (["run", "codec"], "xml", "run.codec"),
        (["run", "format"], 0, "run.format"),
        (["run", "lease_until"], 9e9, "run.lease_until"),
        (["run", "plan"], ..., "run.plan"),
        (["steps"], {}, "steps"),
        (["steps", 0, "status"], "over", "steps.0.status"),
        (["steps", 0, "attempt"], 1.5, "steps.0.attempt"),
        (["steps", 0, "stops"], 1, "steps.0.stops"),
        (["steps", 0, "delta"], {}, "steps.0.delta"),
        (["steps", 0, "run_id"], "other", "steps.0.run_id"),
        (["steps", 1, "path"], "0", "steps: "),
        (["groups", 0, "kind"], "else", "groups.0.kind"),
        (["events", 1, "seq"], 0, "events: 0 is there 2 times"),
        (["events", 0], "x", "events.0"),
        (["large", DIGEST], "no base64!", "not in base64"),
        (["large", DIGEST], "é", "not in base64"),
        (["large", DIGEST], base64.b64encode(b"else").decode(), "not the SHA-256"),
        (["large", "x"], "", "not the SHA-256"),
        (["large"], [], "large"),
        (["more"], 1, "more"),
    ],
)
def test_what_is_wrong_in_a_document_is_named_and_nothing_is_imported(
    tmp_path, document, path, to, says
):
    with open_journal(sqlite_url(tmp_path)) as journal:
        with pytest.raises(JournalDataError, match="this is not an exported run") as caught:
            journal.import_run(changed(document, *path, to=to))
        assert says in str(caught.value)
        assert journal.runs() == []


@pytest.mark.parametrize("path", [["format"], ["run", "format"]])
def test_a_document_of_a_newer_version_is_refused_as_such(tmp_path, document, path):
    newer = changed(document, *path, to=2)
    newer["what we do not know"] = 1
    with (
        open_journal(sqlite_url(tmp_path)) as journal,
        pytest.raises(JournalVersionError, match="format is 2, this one knows up to 1"),
    ):
        journal.import_run(newer)


@pytest.mark.parametrize("given", ["", "[", "[" * 100_000, "7", b"\xff\xfe\xff", 7, None, [], "{}"])
def test_what_is_no_document_at_all_is_an_error(tmp_path, given):
    with (
        open_journal(sqlite_url(tmp_path)) as journal,
        pytest.raises(JournalDataError, match="exported run"),
    ):
        journal.import_run(given)


def test_mistakes_are_told_of_together_and_not_without_end(tmp_path, document):
    many = changed(document, "events", to=[{"seq": 0, "event": "{}"}] + [{"seq": "x"}] * 100)
    with (
        open_journal(sqlite_url(tmp_path)) as journal,
        pytest.raises(JournalDataError, match=r"events\.1\.seq.*events\.1\.event.*and 180 more"),
    ):
        journal.import_run(many)


def test_an_import_that_fails_half_way_leaves_nothing(database_url, document, monkeypatch):
    def broken(*_arguments: object) -> None:
        raise ValueError("boom")

    with open_journal(database_url) as journal:
        with monkeypatch.context() as patch:
            patch.setattr("task_pipeline.journal.transfer.put_large", broken)
            with pytest.raises(JournalError, match="boom"):
                journal.import_run(document)
        assert journal.runs() == []
        journal.import_run(document)
        assert len(journal.steps("r1", superseded=True)) == 2


def test_an_import_that_was_told_it_failed_is_not_in_its_own_way(tmp_path, document, monkeypatch):
    """The commit went through, its answer was lost: it is done again."""
    with open_journal(sqlite_url(tmp_path), patience=5.0) as journal:
        writer = journal._store.writer
        journal.runs()
        plain = writer._once
        lost: list[int] = []

        def once(work):
            result = plain(work)
            if not lost:
                lost.append(1)
                writer._lose_link()
                raise Trouble(PASSES, "the answer was lost")
            return result

        monkeypatch.setattr(writer, "_once", once)
        assert journal.import_run(document) == "r1"
        lost.clear()
        lane = journal.create_run(NewRun(run_id="r2"))
        assert lost
        lost.clear()
        lane.put_step(step_row("r2", "0"))
        lane.end()
        assert lost
        lost.clear()
        lane = journal.lease("r2")
        assert lost
        lost.clear()
        journal.supersede(lane, steps=[("0", 1)])
        assert lost
        assert journal.run("r2").resumes == 1
        lane.end()


hostile = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=150)
@given(data=st.data())
def test_a_hostile_document_is_a_clear_error_or_a_run(document, data):
    other = copy.deepcopy(document)
    for _ in range(data.draw(st.integers(1, 3))):
        place: Any = other
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            inner = place[key]
            if isinstance(inner, dict | list) and inner and data.draw(st.booleans()):
                place = inner
                continue
            place[key] = data.draw(hostile)
            break
    try:
        assert isinstance(read_document(other), Document)
    except (JournalDataError, JournalVersionError):
        pass
