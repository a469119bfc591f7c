"""Secrets in workflows: used by agents, and told to nobody."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import traceback
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    JournalDataError,
    NotAllowedError,
    StopPipeline,
)
from task_pipeline.documents.resolving.secrets import Secret
from tests.workflow_documents import Context, agent, loaded, results_of, wrong_steps

VALUE = "v3ry-s3cret"
NAME = "WORKFLOWS_SECRET"
TOKEN = f"${{env.{NAME}}}"


@pytest.fixture(autouse=True)
def value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, VALUE)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'runs.db'}"


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())


def keeps(given: Any) -> Any:
    """Puts its secret out again, in texts of its own."""
    text = f"Bearer {given['token']}!"
    return {"list": [text, {"deep": (text,)}], "length": len(text), text: 1}


def tells(given: Any) -> None:
    raise ValueError(f"bad token {given['token']}", given)


async def tells_later(given: Any) -> None:
    await asyncio.sleep(0)  # the step's work
    raise PermissionError(13, f"bad token {given['token']}")


AGENTS = {"keeps": keeps, "tells": tells, "tells_later": tells_later}


def test_agents_get_the_value_and_what_they_put_out_of_it_stays_hidden() -> None:
    steps = {
        "a": agent({"token": TOKEN, "text": f"key={TOKEN}"}, next_step="b"),
        "b": agent({"token": "${a.output.token}"}, "keeps", next_step="c"),
        "c": agent("again ${b.output.list[0]} ${b.output.list[1]}"),
    }
    results = results_of(steps, start="a", env={NAME}, agents=AGENTS)
    assert results["a"] == {"token": VALUE, "text": f"key={VALUE}"}
    assert results["b"]["list"][0] == f"Bearer {VALUE}!"
    assert results["b"]["length"] == len(f"Bearer {VALUE}!")
    assert isinstance(results["c"], Secret) and results["c"].startswith(f"again Bearer {VALUE}!")
    assert VALUE not in repr(results)


@pytest.mark.parametrize("name", ["tells", "tells_later"])
def test_what_agents_raise_of_it_is_masked(
    name: str, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[str] = []
    steps = {"a": agent({"token": TOKEN}, name, retry=1)}
    pipeline = loaded(steps, env={NAME}, agents=AGENTS, journal=url)
    pipeline.subscribe(lambda event: events.append(event.to_json()))
    context = Context()
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises((ValueError, PermissionError), match=r"bad token \*\*\*") as caught,
    ):
        pipeline.run(context)
    assert VALUE not in "".join(traceback.format_exception(caught.value))
    assert VALUE not in repr(context.errors) + repr(vars(caught.value))
    assert VALUE not in caplog.text
    assert events and VALUE not in "".join(events)
    assert VALUE.encode() not in everything_in(tmp_path)


def test_the_journal_has_the_template_and_a_resumed_run_the_value(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready: list[Any] = []

    def unready(given: Any) -> Any:
        if not ready:
            raise ConnectionError("not yet")
        return given == f"<Bearer {VALUE}!>"

    steps = {
        "a": agent({"token": TOKEN}, "keeps", next_step="lp"),
        "lp": {"type": "loop", "collection": [TOKEN], "loop_body": ["x"], "next_step": "b"},
        "x": agent("${loop.item}"),
        "b": agent("<${a.output.list[0]}>", "unready"),
    }
    options: Any = {"env": {NAME}, "agents": {**AGENTS, "unready": unready}, "journal": url}
    pipeline = loaded(steps, "a", **options)
    with pytest.raises(ConnectionError):
        pipeline.run(run_id="r")
    assert VALUE.encode() not in everything_in(tmp_path)
    assert TOKEN.encode() in everything_in(tmp_path)
    ready.append(True)
    results = loaded(steps, "a", **options).resume("r").results
    assert results["b"] is True and results["lp"] == [VALUE]
    assert VALUE.encode() not in everything_in(tmp_path)
    # Where the variable is gone, the journal does not give it.
    monkeypatch.delenv(NAME)
    with pytest.raises(JournalDataError, match="is not set"):
        pipeline.replay("r")


def test_a_journal_that_somebody_has_written_into_leads_nowhere(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKFLOWS_OTHER", "other value")
    steps = {"a": agent({"token": TOKEN}, next_step="b"), "b": agent(1, "fail")}
    pipeline = loaded(steps, "a", env={NAME}, journal=url)
    with pytest.raises(ValueError, match="no 1"):
        pipeline.run(run_id="r")
    with closing(sqlite3.connect(tmp_path / "runs.db")) as database:
        for (table,) in database.execute(
            "select name from sqlite_master where type = 'table' and name not like 'sqlite_%'"
        ).fetchall():
            for row in database.execute(f"pragma table_info({table})").fetchall():
                column = row[1]
                database.execute(
                    f"update {table} set {column} = replace({column}, ?, ?) "
                    f"where typeof({column}) = 'text' and {column} like '%{NAME}%'",
                    (NAME, "WORKFLOWS_OTHER"),
                )
        database.commit()
    with pytest.raises(JournalDataError, match="WORKFLOWS_OTHER, which no document"):
        loaded(steps, "a", env={NAME}, journal=url).resume("r")


def test_typed_steps_keep_secrets_too() -> None:
    def shout(context: Any, text: str) -> str:
        return text.upper() + text

    def fails(context: Any, text: str) -> str:
        raise ValueError(text)

    steps = {
        "a": {"type": "set_context", "config": {"key": "k", "value": {"t": f"x {TOKEN}"}}},
        "b": {"type": "python", "config": {"function": "shout", "args": {"text": TOKEN}}},
    }
    steps["a"]["next_step"] = "b"
    functions = {"shout": shout, "fails": fails}
    results = results_of(steps, start="a", env={NAME}, functions=functions)
    assert results["k"] == {"t": f"x {VALUE}"}
    assert results["b"] == VALUE.upper() + VALUE
    assert VALUE not in repr(results)
    steps["b"]["config"] = {"function": "fails", "args": {"text": TOKEN}}
    with pytest.raises(ValueError, match=r"^\*\*\*"):
        results_of(steps, start="a", env={NAME}, functions=functions)


def test_a_run_may_be_stopped_by_an_agent_all_the_same() -> None:
    def stop(given: Any) -> None:
        raise StopPipeline("enough")

    steps = {"a": agent({"token": TOKEN}, "stop", next_step="b"), "b": agent(1)}
    assert results_of(steps, start="a", env={NAME}, agents={"stop": stop}) == {"a": "enough"}


def test_only_what_is_allowed_can_be_read() -> None:
    (mistake,) = wrong_steps({"a": agent(TOKEN)})
    assert f"this document may not read the environment variable {NAME}" in mistake
    # Nor in a condition, where a bare name is a name and no variable.
    check = {"type": "conditional", "condition": f"env.{NAME} == '{VALUE}'", "if_true_step": "b"}
    results = results_of({"a": check, "b": agent(1)}, start="a", env={NAME})
    assert results["a"]["result"] is False
    (mistake,) = wrong_steps({"a": {**check, "condition": f"{TOKEN} == 'x'"}, "b": agent(1)}, "a")
    assert "may not read" in mistake
    check["condition"] = f"{TOKEN} == '{VALUE}'"
    results = results_of({"a": check, "b": agent(1)}, start="a", env={NAME})
    assert results["a"]["result"] is True


def test_a_variable_that_has_gone_since(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = loaded({"a": agent(TOKEN)}, env={NAME})
    monkeypatch.delenv(NAME)
    with pytest.raises(NotAllowedError, match=f"{NAME} is not set"):
        pipeline.run()


def test_input_of_the_run_that_has_it_is_not_the_documents_secret() -> None:
    results = results_of({"a": agent("${workflow.input.x}")}, {"x": f"has {VALUE}"}, env={NAME})
    assert VALUE not in repr(results["a"])  # what an agent puts out is looked through
