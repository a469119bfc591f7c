"""How a command ends that cannot do what it was asked."""

from __future__ import annotations

import re
import traceback
from collections.abc import Sequence

from ..errors import PipelineDefinitionError, PlanChangedError, UncertainStepError
from .escaping import visible

OK, FAILED, MISUSE, INTERRUPTED, NOBODY_READS = 0, 1, 2, 130, 141


class CommandError(Exception):
    """What a command was asked for cannot be done; its text is all there is to say."""


class ResumeFailed(Exception):
    """The run did not end well: what to say, and the exit code. Its cause is what was raised."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class RunFailed(Exception):
    """A run did not end well: the lines to say, and the exit code. Its cause is what was raised."""

    def __init__(self, lines: Sequence[str], code: int) -> None:
        super().__init__(*lines)
        self.lines = tuple(lines)
        self.code = code


def error_line(error: BaseException) -> str:
    """What went wrong, in one line."""
    text = str(error)
    if isinstance(error, PipelineDefinitionError):
        text = text.replace("\n  ", " ", 1).replace("\n  ", "; ")
    if isinstance(error, PlanChangedError | UncertainStepError):  # as it is said here
        text = re.sub(r"\bon_(changed|uncertain)='(\w+)'", r"--on-\1 \2", text)
    if not isinstance(error, CommandError) and type(error).__module__ == "builtins":
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return visible(" ".join((text or type(error).__name__).split()))


def problem_lines(error: PipelineDefinitionError) -> list[str]:
    """The mistakes in a document or pipeline, each in one line."""
    return [visible(str(problem)) for problem in error.problems]


def traceback_lines(error: BaseException) -> str:
    """The whole traceback, harmless in a terminal."""
    lines = "".join(traceback.format_exception(error)).rstrip().split("\n")
    return "".join(f"{visible(line)}\n" for line in lines)
