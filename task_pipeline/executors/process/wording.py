"""What is said of calls that came to nothing."""

from __future__ import annotations

import signal

from ...engine.calling import Call
from ...errors import ExecutorError, StepCancelledError, TaskPipelineError, WorkerDiedError


def stopped(call: Call, has_begun: bool) -> StepCancelledError:
    """A call was stopped."""
    node = call.node
    was = "in the middle of it: its process was killed" if has_begun else "before it began"
    return StepCancelledError(
        f"step {node.label} was stopped {was}",
        step_id=node.step_id,
        path=node.path,
        attempt=call.attempt,
    )


def bereft(call: Call, pid: int, exitcode: int | None) -> WorkerDiedError:
    """A call's worker has died."""
    node = call.node
    error = WorkerDiedError(
        f"step {node.label}: the process that ran it, {pid}, {how_it_ended(exitcode)} in the "
        f"middle of it. {_what_to_do(exitcode)}",
        step_id=node.step_id,
        path=node.path,
        attempt=call.attempt,
    )
    error.pid, error.exitcode = pid, exitcode
    return error


def how_it_ended(exitcode: int | None) -> str:
    """What is known of the end of a process."""
    if exitcode is None:
        return "is gone"
    if exitcode >= 0:
        return f"ended with exit code {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    return f"was killed by {name}"


_CRASHES = {"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGSYS", "SIGTRAP"}


def _what_to_do(exitcode: int | None) -> str:
    if exitcode is not None and exitcode >= 0:
        return (
            "Something in it has called os._exit(), or has closed files that are not its own: "
            "have it raise an error instead"
        )
    if exitcode == -signal.SIGKILL:
        return (
            "If nobody did that, the system did, for want of memory, and says so in its log: give "
            "the step less to hold, or the executor fewer max_workers"
        )
    if exitcode is not None and how_it_ended(exitcode).rpartition(" ")[2] not in _CRASHES:
        return (
            "Something has sent it that signal, such as the step itself, an alarm or a limit that "
            "it has set, or somebody outside: give the step retries if it does so only now and then"
        )
    return (
        "Code in it that is not Python has crashed: set PYTHONFAULTHANDLER=1 to see where, and "
        "give the step retries if it does so only now and then"
    )


def refusal(call: Call, error: Exception) -> Exception:
    """A call could not be made ready."""
    if isinstance(error, TaskPipelineError):
        return error
    refused = ExecutorError(
        f"step {call.node.label} could not be given to a process: {type(error).__name__}: {error}"
    )
    refused.__cause__ = error
    return refused


def shut_down(call: Call, has_begun: bool = False) -> ExecutorError:
    """The executor was shut down."""
    was = "was ended in the middle of it" if has_begun else "was not begun"
    return ExecutorError(
        f"step {call.node.label} {was}: its process executor was shut down; make another one"
    )


def no_process(call: Call, reason: str) -> ExecutorError:
    """No worker can be started."""
    return ExecutorError(
        f"step {call.node.label} was not begun: no process could be started for it, several times "
        f"in a row: {reason}"
    )


def lost_reply(call: Call, error: Exception) -> ExecutorError:
    """What came back cannot be read."""
    lost = ExecutorError(
        f"step {call.node.label} has ended, and the file with what it has brought back cannot be "
        f"read ({type(error).__name__}: {error}); were temporary files removed?"
    )
    lost.__cause__ = error
    return lost
