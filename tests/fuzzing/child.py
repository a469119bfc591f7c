"""The process that tries documents: an audit hook and limits cannot be taken back.

`python -m tests.fuzzing.child 17` tries the case of seed 17 and says what it was; given `FIRST
COUNT`, that many, with a line of JSON for each; `serve`, what is asked for on standard input.
"""

from __future__ import annotations

import faulthandler
import json
import os
import pickle
import resource
import sys
from collections.abc import Iterator
from random import Random
from typing import Any, TextIO

from .cases import Case, case_of
from .trial import Trials

HANGS = 60.0
"""Seconds after which a document counts as one that hangs: the process ends."""

MOST_MEMORY = 4_000_000_000
"""Bytes, for the case that one wants much more than a document may take."""


def main(arguments: list[str]) -> None:
    """Do what is asked."""
    # What others print must not come between.
    own = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, limits[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    trials = Trials()
    try:
        if arguments[0] == "serve":
            hangs = float(arguments[1]) if len(arguments) > 1 else HANGS
            for case in _asked():
                _say(own, **_tried(trials, case, hangs))
        elif len(arguments) == 2:
            first, count = map(int, arguments)
            for seed in range(first, first + count):
                _say(own, seed=seed)
                said = _tried(trials, case_of(Random(seed)), HANGS)
                _say(own, seed=seed, **said)
        else:
            seed = int(arguments[0])
            case = case_of(Random(seed))
            print(case.made.document, "\n", case.options, file=own)
            for key, item in _tried(trials, case, HANGS).items():
                print(key, item if isinstance(item, str) else "\n".join(item), file=own)
    finally:
        trials.close()


def _asked() -> Iterator[Case]:
    while True:
        try:
            yield pickle.load(sys.stdin.buffer)
        except EOFError:
            return


def _tried(trials: Trials, case: Case, hangs: float) -> dict[str, Any]:
    faulthandler.dump_traceback_later(hangs, exit=True)
    verdict = trials.try_one(case.made.document, case.options)
    faulthandler.cancel_dump_traceback_later()
    return {"stage": verdict.stage, "how": case.made.how, "problems": verdict.problems}


def _say(own: TextIO, **said: Any) -> None:
    own.write(f"{json.dumps(said)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
