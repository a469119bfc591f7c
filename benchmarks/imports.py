"""What importing costs, each time in a fresh interpreter."""

import subprocess
import sys

from benchmarks.harness import Rounds

TIMED = """
import sys, time
started = time.perf_counter()
{statement}
print(time.perf_counter() - started)
if sys.modules[{module!r}].__file__ is None:
    raise ImportError({module!r} " is an empty folder")
"""


def compare(ours: str, reference: str, rounds: int) -> Rounds:
    """Seconds of two import statements, in turn; starting the interpreter is not counted."""
    for statement in (ours, reference):
        _seconds(statement)  # the first import writes the .pyc files and fills the disk cache
    taken: list[tuple[float, float]] = []
    for index in range(rounds):
        if index % 2 == 0:
            first = _seconds(ours)
            taken.append((first, _seconds(reference)))
        else:
            first = _seconds(reference)
            taken.append((_seconds(ours), first))
    return Rounds(tuple(pair[0] for pair in taken), tuple(pair[1] for pair in taken))


def _seconds(statement: str) -> float:
    module = statement.split()[1]
    done = subprocess.run(
        [sys.executable, "-c", TIMED.format(statement=statement, module=module)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        # The last line of the traceback, without the type that is raised again here.
        raise ImportError(done.stderr.strip().rpartition("\n")[2].partition(": ")[2])
    return float(done.stdout)
