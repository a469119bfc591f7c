"""What a test has of the processes that try documents."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from types import TracebackType
from typing import Any, Self

from .cases import Case

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
_COMMAND = [sys.executable, "-m", "tests.fuzzing.child"]
_WHAT_IS_RUNNING = "the process ended in the middle of it: "


class Server:
    """A process that tries one document after another, as it is asked."""

    def __init__(self, hangs: float = 60.0) -> None:
        self._hangs = hangs
        self._folder = TemporaryDirectory(prefix="fuzzing-")
        self._process: subprocess.Popen[bytes] | None = None

    def _start(self) -> subprocess.Popen[bytes]:
        self._said = TemporaryFile("w+")  # noqa: SIM115  # closed when the process has ended
        self._process = subprocess.Popen(
            [*_COMMAND, "serve", str(self._hangs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            cwd=ROOT,
            env=_environment(self._folder.name),
        )
        return self._process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        self._folder.cleanup()

    def _end(self) -> str:
        """What it had to say."""
        process, self._process = self._process, None
        if process is None:
            return ""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass
        patience = threading.Timer(PATIENCE, process.kill)
        patience.start()
        process.wait()
        patience.cancel()
        process.stdout.close()
        self._said.seek(0)
        said = self._said.read()
        self._said.close()
        return said

    def ask(self, case: Case) -> dict[str, Any]:
        """What comes of a case: `stage` and `problems`; if it ends the process, that is one."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(pickle.dumps(case))
        process.stdin.flush()
        line = process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        return {"stage": "ended", "problems": [_WHAT_IS_RUNNING + self._end()[-6_000:]]}


def _environment(folder: str) -> dict[str, str]:
    """With a place for its files, which it may not come to clean up itself."""
    return {**os.environ, "TMPDIR": folder}


class Tally:
    """What came of many cases: how many got how far, and what was wrong with which seeds."""

    def __init__(self) -> None:
        self.stages: Counter[str] = Counter()
        self.problems: dict[int, list[str]] = {}
        self._lock = threading.Lock()

    def add(self, seed: int, stage: str, problems: list[str]) -> None:
        """Count one case."""
        with self._lock:
            self.stages[stage] += 1
            if problems:
                self.problems[seed] = problems

    def told(self) -> str:
        """The first of the problems in full, and how to have each again."""
        lines = [f"{len(self.problems)} of {self.stages.total()} cases: {dict(self.stages)}"]
        for seed, problems in sorted(self.problems.items())[:20]:
            lines.append(f"\npython -m tests.fuzzing.child {seed}")
            lines += [f"  {problem[:3_000]}" for problem in problems]
        return "\n".join(lines)


def try_many(first: int, count: int, processes: int) -> Tally:
    """Try the cases of these seeds, in several processes at once."""
    tally = Tally()
    share = -(-count // processes)
    workers = [
        threading.Thread(target=_try_share, args=(tally, start, min(share, first + count - start)))
        for start in range(first, first + count, share)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return tally


def _try_share(tally: Tally, first: int, count: int) -> None:
    """Try some, going on with the next after one that has ended the process."""
    end = first + count
    while first < end:
        with (
            TemporaryFile("w+") as said,
            subprocess.Popen(
                [*_COMMAND, str(first), str(end - first)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                cwd=ROOT,
                text=True,
            ) as process,
        ):
            begun = None
            for answer in _answers(process):
                begun = answer["seed"]
                if "stage" in answer:
                    tally.add(begun, answer["stage"], answer["problems"])
                    first, begun = begun + 1, None
            process.wait()
            if first < end:
                said.seek(0)
                tally.add(begun or first, "ended", [_WHAT_IS_RUNNING + said.read()[-6_000:]])
                first += 1


def _answers(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    yield from map(json.loads, process.stdout)
