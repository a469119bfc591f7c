"""Each measurement in a fresh process: `python -m benchmarks.worker TASK`.

So no line inherits another's heap, threads or imports, a crash or hang costs one row,
and what differs between processes (addresses, hash seed) is averaged over several.
"""

import importlib
import json
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60.0
"""Seconds a process may take before its row becomes an error."""


class MeasurementError(Exception):
    """A measurement could not be taken; the text is what its row shows."""


@dataclass(frozen=True)
class Task:
    """A function of this package, and what to call it with."""

    module: str
    function: str
    arguments: dict[str, Any] = field(default_factory=dict)


def measure(task: Task, patience: float = PATIENCE) -> Any:
    """Run `task` in a fresh process and return what it returned, as plain JSON data.

    Raises:
        MeasurementError: it raised, died, or took longer than `patience` seconds.
    """
    command = [sys.executable, "-m", "benchmarks.worker", json.dumps(asdict(task))]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=patience, cwd=ROOT, check=False
        )
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"no answer within {patience:.0f} s") from None
    # The last line only: a library may print while it is imported.
    answer = done.stdout.strip().rpartition("\n")[2]
    if done.returncode != 0:
        # The last line of a traceback names the error.
        reason = done.stderr.strip().rpartition("\n")[2]
        raise MeasurementError(reason or f"exit status {done.returncode}")
    return json.loads(answer)


def main(text: str) -> None:
    """Do the task described by `text` and print its result as one line of JSON."""
    task = Task(**json.loads(text))
    module = importlib.import_module(f"benchmarks.{task.module}")
    result = getattr(module, task.function)(**task.arguments)
    print(json.dumps(result, default=asdict), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
