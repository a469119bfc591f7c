"""What a test has of the process that forks children: it asks, and reads what they left."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from task_pipeline.journal.store import Journal

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0
KILLED = -9
CHILD = "child"
"""What the children call themselves to a server."""
ENDED = {"succeeded", "failed", "skipped"}
FINAL = {*ENDED, "timed_out", "cancelled"}


@dataclass(frozen=True)
class Child:
    """How a child ended: its exit code, -9 if it was killed, and what it had to say."""

    pid: int
    code: int
    answer: dict[str, Any]

    @property
    def context(self) -> dict[str, Any]:
        """The merged context; fails if the run did."""
        assert "raised" not in self.answer, self.answer
        return {name: self.answer[name] for name in ("results", "errors")}


class Children:
    """The process that forks, and the files of its children."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._said = (folder / "stderr").open("w+")
        self._process = subprocess.Popen(
            # What is said of forking is meant for processes with threads: this one has none.
            [sys.executable, "-W", "error", "-m", "tests.crashing.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            cwd=ROOT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        patience = threading.Timer(PATIENCE, self._process.kill)
        patience.start()
        self._process.wait()
        patience.cancel()
        self._process.stdout.close()
        self._said.close()

    def ask(self, **command: Any) -> Child:
        """Have one child do something."""
        return self.together([command])[0]

    def together(self, commands: list[dict[str, Any]]) -> list[Child]:
        """Have several do something at once."""
        whole = [
            {
                "lines": str(self._folder / f"{command['run_id']}.lines"),
                "answer": str(self._folder / f"answer{at}"),
                **command,
                "url": _of_a_child(command["url"]),
            }
            for at, command in enumerate(commands)
        ]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(whole) + "\n")
        self._process.stdin.flush()
        patience = threading.Timer(PATIENCE, self._process.kill)
        patience.start()
        line = self._process.stdout.readline()
        patience.cancel()
        assert line, self.said()
        ends = json.loads(line)
        assert [end for end in ends if end["hung"]] == [], self.said()
        assert [end["code"] for end in ends if end["code"] not in (0, KILLED)] == [], self.said()
        return [Child(end["pid"], end["code"], end["answer"] or {}) for end in ends]

    def said(self) -> str:
        """What was written to the standard error."""
        self._said.flush()
        return Path(self._said.name).read_text("utf-8")[-5000:]

    def called(self, run_id: str, pid: int | None = None, sign: str = "+") -> list[str]:
        """Paths of the steps that were begun, or have come to their end: sign "-"."""
        found = []
        lines = self._folder / f"{run_id}.lines"
        for line in lines.read_text("utf-8").splitlines() if lines.exists() else ():
            which, key, _attempt, by = line.split()
            if which == sign and pid in (None, int(by)):
                found.append(key.split("/")[1])
        return found


def _of_a_child(url: str) -> str:
    return f"{url}&application_name={CHILD}" if url.startswith("postgresql") else url


def ended_steps(journal: Journal, run_id: str) -> set[str]:
    """Paths of the steps whose end is recorded."""
    return {
        row.path
        for row in journal.steps(run_id)
        # Of a step that was left, because the time was over, there is no error.
        if row.attempt > 0 and (row.status in ENDED or row.error is not None)
    }


def has_run(journal: Journal, run_id: str) -> bool:
    return any(run.run_id == run_id for run in journal.runs())


def wait_for_server(url: str) -> None:
    """Until a server has noticed that its clients are gone: a last commit may be on its way."""
    if not url.startswith("postgresql"):
        return
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        found: Any = True
        while found:
            found = connection.execute(
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
                "AND application_name = %s",
                [CHILD],
            ).fetchone()
