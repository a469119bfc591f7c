"""What steps print and log, shown by branch."""

from __future__ import annotations

import threading
from typing import NamedTuple, TextIO

from ..engine.step import ActiveStep
from ..errors import ConfigurationError
from ..events import Event, GroupEnded, RunEnded
from ..plan import Kind, Node
from .modes import OutputMode
from .outcomes import OUTCOME_OF
from .redirection import Redirection
from .streams import LineStream


class _Place(NamedTuple):
    """Where a step is: in which run and branch; `branch` is "" outside of parallel groups."""

    run_id: str
    path: str
    branch: str
    label: str
    branch_name: str


class _Line(NamedTuple):
    target: TextIO
    text: str


class StepOutput:
    """A context manager in which what steps print and log says where it is from.

    - `mode` "prefix": each line has `[branch/step] ` before it, as it comes
    - `mode` "group": the lines of each branch of a parallel group are held back, and
      shown in one block, with a line that names the branch, when it has ended. For that it
      is to be told the events: subscribe its `note`; without, it shows them when it is left
    - `stream`: where it all goes; by default, what was written to `sys.stderr` goes there,
      and so does what was written to `sys.stdout`

    It covers `print`, `sys.stdout`, `sys.stderr`, and log handlers that write to them, in
    threads and coroutines; not what subprocesses write. What is written outside of
    steps goes its usual way.

    ```python
    import io
    from task_pipeline import Pipeline
    from task_pipeline.display import step_output

    def left(context): print("one")
    def right(context): print("two")

    shown = io.StringIO()
    pipeline = Pipeline([[left, right]])
    with step_output("group", shown) as output, pipeline.subscribe(output.note):
        pipeline.run()
    assert sorted(shown.getvalue().splitlines()) == ["  one", "  two", "[left]", "[right]"]
    ```
    """

    def __init__(
        self, mode: OutputMode | str = OutputMode.PREFIX, stream: TextIO | None = None
    ) -> None:
        """Raises `ConfigurationError` for a mode that there is not."""
        self.mode = output_mode(mode)
        self._stream = stream
        self._redirection = Redirection(self._stand_in)
        self._blocks: dict[tuple[str, str], list[_Line]] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._lock = threading.RLock()

    def __enter__(self) -> StepOutput:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin, as entering the context does; once it has begun, this does nothing."""
        self._redirection.start()

    def close(self) -> None:
        """Put everything back, and show what is still held."""
        self._redirection.stop()
        with self._lock:
            for key in [*self._blocks]:
                self._show_block(key)

    def note(self, event: Event) -> None:
        """Take an event in, to know when a step or branch has ended."""
        ends_run = isinstance(event, RunEnded)
        if not ends_run and type(event) not in OUTCOME_OF:
            return
        run_id, path = event.run_id, event.path

        def ends(step: ActiveStep) -> bool:
            place = _place(step)
            is_mine = ends_run or path in {place.path, place.branch}
            return is_mine and place.run_id == run_id

        if not isinstance(event, GroupEnded):
            self._redirection.end_lines(ends)
        with self._lock:
            keys = [key for key in self._blocks if key[0] == run_id] if ends_run else []
            for key in keys or [(run_id, path)]:
                self._show_block(key)

    __call__ = note

    def _stand_in(self, target: TextIO) -> LineStream:
        return LineStream(target, self._take, only_steps=True)

    def _take(self, target: TextIO, lines: list[str], step: ActiveStep | None) -> None:
        stream = self._stream or target
        assert step is not None  # the stand-ins are for steps only
        place = _place(step)
        if self.mode is OutputMode.PREFIX:
            text = "".join(f"[{place.label}] {line}\n" for line in lines)
        elif place.branch:
            key = place.run_id, place.branch
            with self._lock:
                self._names[key] = place.branch_name
                block = self._blocks.setdefault(key, [])
                block += [_Line(stream, line) for line in lines]
            return
        else:
            text = "".join(f"{line}\n" for line in lines)
        with self._lock:
            stream.write(text)

    def _show_block(self, key: tuple[str, str]) -> None:
        """Under the lock, so that a block stays one."""
        lines = self._blocks.pop(key, None)
        if lines is None:
            return
        target, pending = lines[0].target, [f"[{self._names.pop(key)}]\n"]
        for line in lines:
            if line.target is not target:
                target.write("".join(pending))
                target, pending = line.target, []
            pending.append(f"  {line.text}\n")
        target.write("".join(pending))


def step_output(
    mode: OutputMode | str = OutputMode.PREFIX, stream: TextIO | None = None
) -> StepOutput:
    r"""What steps print and log shows where it is from: see `StepOutput`.

    ```python
    import io
    from task_pipeline import Pipeline
    from task_pipeline.display import step_output

    def load(context): print("3 rows")

    shown = io.StringIO()
    with step_output("prefix", shown):
        Pipeline([load]).run()
    assert shown.getvalue() == "[load] 3 rows\n"
    ```
    """
    return StepOutput(mode, stream)


def output_mode(mode: OutputMode | str) -> OutputMode:
    """The mode itself; raises `ConfigurationError` for what is none."""
    try:
        return OutputMode(mode)
    except ValueError:
        modes = " or ".join(repr(known.value) for known in OutputMode)
        raise ConfigurationError(f"how output is shown is {modes}, not {mode!r}") from None


def _place(step: ActiveStep) -> _Place:
    """Where a step is, from its node: the nearest parallel group above it has its branch."""
    run_id = getattr(step.run, "run_id", "")
    names = [step.node.name]
    node: Node = step.node
    while node.parent is not None:
        if node.parent.kind is Kind.PARALLEL:
            label = names[0] if node is step.node else f"{node.name}/{names[0]}"
            return _Place(run_id, step.node.path, node.path, label, node.name)
        node = node.parent
    return _Place(run_id, step.node.path, "", names[0], "")
