"""Every error this library raises, in one tree.

```text
TaskPipelineError
├── PipelineDefinitionError (ValueError)   the lists or a step are malformed; nothing has run
│   ├── DocumentError                      a document is; each mistake with file, line, column
│   └── NotPortableError (TypeError)       a step or value cannot go to another process
├── ConfigurationError (ValueError)        a setting outside the lists is malformed
├── StepError                              one step; carries step_id, path and attempt
│   ├── StepReturnError (TypeError)        it returned something a step may not return
│   ├── StepTimeoutError (TimeoutError)    an attempt passed its deadline
│   ├── WorkerDiedError                    the process or machine that ran it is gone
│   └── StepCancelledError                 it was asked to stop, and stopped
│       └── StepAbandonedError             it passed its deadline and then touched its context
├── ParallelGroupError (ExceptionGroup, RuntimeError)   too many branches of a group failed
│   └── SubstepError                       that a recipe has written; says which substep failed
├── GroupTimeoutError (TimeoutError)       a group's deadline passed before it was decided
├── RunTimeoutError (TimeoutError)         a run's deadline passed
├── RunCancelledError                      somebody called cancel()
├── ContextCopyError (TypeError)           a branch touched a value that cannot be copied
├── ContextTypeError (TypeError)           a context, or its results, is not what it must be
├── MergeConflictError                     branches disagree and on_conflict="error"
├── ReducerError                           a reducer raised while two branches were merged
├── TaskGroupError (RuntimeError)          a dynamic group is used in a way it cannot be
├── CircuitOpenError                       a circuit breaker rejected an attempt
├── EventFormatError (ValueError)          a text or dict is not an event
├── RecordedError                          an exception as it was written down, read back
├── JournalError                           a run cannot be recorded, or what was recorded be used
│   ├── JournalDataError (ValueError)      a value cannot be written down, or what was be read
│   ├── JournalVersionError                a newer version of the library has written it
│   ├── RunNotFoundError (LookupError)     the journal has no such run
│   ├── RunExistsError (ValueError)        the journal has a run of that id
│   ├── RunLeasedError                     the run is under way somewhere
│   ├── PlanChangedError                   a run's pipeline is not what it was
│   └── UncertainStepError                 a step may have had its effect, and must not again
├── TemplateError (ValueError)             a template cannot be parsed, or rendered
├── ConditionError (ValueError)            a condition cannot be parsed, or evaluated
├── MissingReferenceError (LookupError)    a document's step refers to what is not there
├── NotAllowedError (PermissionError)      a document wants what its caller has not allowed
├── AgentCallError (ConnectionError)        an HTTP agent cannot be called, or is not well
│   └── PassingAgentCallError              and may be the next time
├── MissingExtraError (ImportError)        a part of the library needs an extra to be installed
├── ExecutorError (RuntimeError)           an executor cannot do its work, or not any more
└── PoolShutdownError (RuntimeError)       work was given to a pool that was shut down
```

Each has the facts as attributes; its text names the step or group, its path, and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self


class TaskPipelineError(Exception):
    """Root of the tree: `except TaskPipelineError` catches what this library raises itself.

    A step's own exception is raised as it is, not wrapped, so it is not in this tree.
    """


class PipelineDefinitionError(TaskPipelineError, ValueError):
    """The nested lists, a group or a step are malformed. Nothing has run.

    `problems` lists every mistake found, each with its path.
    """

    subject, more = "pipeline's definition", 0

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems: tuple[str, ...] = (
            (problems,) if isinstance(problems, str) else tuple(problems)
        )
        super().__init__(self.problems)

    def __str__(self) -> str:
        count = len(self.problems) + self.more
        head = "1 mistake" if count == 1 else f"{count} mistakes"
        more = [f"and {self.more:,} more"] if self.more else []
        return "\n  ".join([f"{head} in the {self.subject}:", *self.problems, *more])


class DocumentError(PipelineDefinitionError):
    """A recipe or workflow is malformed. Nothing has run.

    `problems` has every mistake in it: texts with `file`, `line`, `column` and `path`. Of very
    many it has the first, and how many `more` there are.
    """

    subject = "document"


class NotPortableError(PipelineDefinitionError, TypeError):
    """A step, or a value it is given or brings back, cannot go to another process.

    `problems` names each by its path in the data, such as `results['page'].socket`.
    """

    subject = "data that is to go to another process"


class ConfigurationError(TaskPipelineError, ValueError):
    """A setting that is not part of a pipeline, such as an environment variable, is malformed."""


class StepError(TaskPipelineError):
    """Something this library found wrong with one step.

    Attributes: `step_id`, `path` (such as "2.0.1"), `attempt` (1 for the first).
    """

    def __init__(
        self, message: str, *, step_id: str = "", path: str = "", attempt: int = 1
    ) -> None:
        super().__init__(message)
        self.step_id = step_id
        self.path = path
        self.attempt = attempt


class StepReturnError(StepError, TypeError):
    """A class step returned something other than a context or None."""


class StepTimeoutError(StepError, TimeoutError):
    """An attempt passed `step.timeout` seconds. Its thread, if any, is abandoned."""


class WorkerDiedError(StepError):
    """What ran an attempt is gone: a process that crashed or was killed, a machine that was lost.

    `pid` is the process's id and `exitcode` its status, negative for a signal, where known.
    """

    pid: int | None = None
    exitcode: int | None = None


class StepCancelledError(StepError):
    """Raised inside a step by `raise_if_cancelled()` once it has been asked to stop."""


class StepAbandonedError(StepCancelledError):
    """Raised inside an abandoned step that touches its context: it has been cut off."""


class ParallelGroupError(TaskPipelineError, ExceptionGroup[Exception], RuntimeError):
    """A parallel group failed: an `ExceptionGroup` of its branches' errors, and a `RuntimeError`.

    The text lists every branch that failed; `outcomes` maps each branch's name,
    in the order written, to its `Outcome`.

    ```python
    from task_pipeline import Pipeline

    def boom(context): raise ValueError("boom")

    try:
        Pipeline([[boom, lambda context: None]]).run()
    except* ValueError as caught:
        print(len(caught.exceptions))
    ```
    """

    outcomes: Mapping[str, str]

    def __new__(
        cls,
        message: str,
        exceptions: Sequence[Exception],
        outcomes: Mapping[str, str] | None = None,
    ) -> Self:
        """Build the exception group; `outcomes` is kept as an attribute."""
        error = super().__new__(cls, message, exceptions)
        error.outcomes = dict(outcomes or {})
        return error

    def __init__(self, message: str, exceptions: Sequence[Exception], *_: Any, **__: Any) -> None:
        super().__init__(message, exceptions)

    def derive(self, excs: Sequence[Any]) -> Any:
        """Return the part that `split()` and `except*` ask for, still of this type."""
        return ParallelGroupError(self.message, excs, self.outcomes)


class SubstepError(ParallelGroupError):
    """A parallel block or loop of a recipe failed: which of its parts, and what that was.

    `index` is the part's number, from 0, `step_type` its type, `recipe` the file it runs,
    if it does. Its own exception is the `__cause__`.
    """

    index = 0
    step_type = ""
    recipe: str | None = None

    def __str__(self) -> str:
        return self.message


class GroupTimeoutError(TaskPipelineError, TimeoutError):
    """A group's deadline passed before its operator was satisfied.

    `outcomes` maps each branch's name to its `Outcome`; those that did not end
    are `timed_out` or `cancelled`. `errors` has what the ended ones raised.
    """

    def __init__(
        self,
        message: str,
        *,
        outcomes: Mapping[str, str] | None = None,
        errors: Sequence[Exception] = (),
    ) -> None:
        super().__init__(message)
        self.outcomes: Mapping[str, str] = dict(outcomes or {})
        self.errors: tuple[Exception, ...] = tuple(errors)


class RunTimeoutError(TaskPipelineError, TimeoutError):
    """A run, or a pipeline nested in one, passed `PipelineConfig.timeout` seconds."""


class RunCancelledError(TaskPipelineError):
    """The run was cancelled before it ended."""


class ContextCopyError(TaskPipelineError, TypeError):
    """A branch touched a value that cannot be copied, such as a lock or a socket.

    `key` says where it is. Put such values in `context.shared`.
    """

    def __init__(self, message: str, *, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class ContextTypeError(TaskPipelineError, TypeError):
    """What was given as a context, or stands in its `results`, has the wrong type."""


class MergeConflictError(TaskPipelineError):
    """Branches changed one key in ways that do not merge, and `on_conflict` is "error".

    Attributes: `key` and `branches`, the names of those that changed it.
    """

    def __init__(self, message: str, *, key: str = "", branches: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.key = key
        self.branches = tuple(branches)


class ReducerError(TaskPipelineError):
    """The reducer of a key raised; its own exception is the cause."""


class TaskGroupError(TaskPipelineError, RuntimeError):
    """A dynamic group was used in a way it cannot be, such as adding to it after a gather."""


class CircuitOpenError(TaskPipelineError):
    """A circuit breaker rejected an attempt, without calling anything.

    `circuit` is the breaker's name, `retry_after` the seconds until it is worth trying again.
    """

    def __init__(self, message: str, *, circuit: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.circuit = circuit
        self.retry_after = retry_after


class EventFormatError(TaskPipelineError, ValueError):
    """A text or a dict that is to be read as an event is not one."""


class RecordedError(TaskPipelineError):
    """An exception that was written down and read back: its type's name, and its text.

    The text of `RecordedError("builtins.ValueError", "boom")` is "ValueError: boom"; `notes` are
    those of the exception.
    """

    def __init__(self, type_name: str, text: str, notes: Sequence[str] = ()) -> None:
        super().__init__(type_name, text)
        self.type_name = type_name
        self.text = text
        for note in notes:
            self.add_note(note)

    def __str__(self) -> str:
        return f"{self.type_name.rpartition('.')[2]}: {self.text}"


class JournalError(TaskPipelineError):
    """A run cannot be recorded, or what was recorded cannot be used.

    In the middle of a run it ends the run, before the next step starts. Carries the `run_id`,
    if it is about one.
    """

    def __init__(self, message: str, run_id: str | None = None) -> None:
        super().__init__(message, run_id)
        self.message = message
        self.run_id = run_id

    def __str__(self) -> str:
        return self.message


class JournalDataError(JournalError, ValueError):
    """A value cannot be written into a journal, or what stands there cannot be read.

    The text says where in the data it is, such as `results['page'].headers['x']`.
    """


class JournalVersionError(JournalError):
    """A journal, or a run in a file, was written by a newer version of this library."""


class RunNotFoundError(JournalError, LookupError):
    """The journal has no run of that id."""


class RunExistsError(JournalError, ValueError):
    """The journal already has a run of that id: resume it, or choose another id."""


class RunLeasedError(JournalError):
    """The run is under way: in this process, or in another one whose lease has not expired."""


class PlanChangedError(JournalError):
    """A run cannot go on, as its pipeline is not what it was; the text says what changed."""


class UncertainStepError(JournalError):
    """A step that is not `idempotent` was cut in the middle: nobody knows what it has done.

    Say `on_uncertain="rerun"` or `"skip"` once you know.
    """


class TemplateError(TaskPipelineError, ValueError):
    """A template cannot be parsed, cannot be rendered, or takes more than it may."""


class ConditionError(TaskPipelineError, ValueError):
    """A condition cannot be parsed, or evaluated: its `text`, and the `column` in it, from 1."""

    def __init__(self, message: str, *, text: str = "", column: int = 1) -> None:
        super().__init__(message)
        self.text = text
        self.column = column


class MissingReferenceError(TaskPipelineError, LookupError):
    """A step refers to what is not there; the text names step, field and reference."""


class NotAllowedError(TaskPipelineError, PermissionError):
    """A document wants what its caller has not allowed: a shell, HTTP, a file outside `root`."""


class AgentCallError(TaskPipelineError, ConnectionError):
    """An HTTP agent gave no answer, or a bad `status`; it may ask for `retry_after` seconds."""

    def __init__(
        self, message: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class PassingAgentCallError(AgentCallError):
    """One that may be different the next time: no network, status 429, or 500 and above."""


class MissingExtraError(TaskPipelineError, ImportError):
    """A part of the library needs a package that is not installed; the text names the extra."""

    def __init__(self, what: str, extra: str, package: str) -> None:
        super().__init__(
            f"{what} needs {package}, which is not installed; "
            f"install it with: pip install 'task-pipeline[{extra}]'"
        )
        self.extra = extra


class ExecutorError(TaskPipelineError, RuntimeError):
    """An executor was shut down, cannot be started, or has lost whom it works with."""


class PoolShutdownError(TaskPipelineError, RuntimeError):
    """Work was submitted to a pool after its `shutdown()`."""
