"""`ParallelEventPrinter`: shows runs by their events."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from ..errors import ConfigurationError, MissingExtraError
from ..events import Event
from .model import DisplayModel
from .modes import OutputMode, ParallelDisplayMode
from .nodes import RunState
from .output import StepOutput
from .summary import RunSummary
from .tracker import ParallelGroupTracker

if TYPE_CHECKING:
    from rich.console import Console

    from .view import View


class EventSource(Protocol):
    """What events come from: a bus, or a pipeline."""

    def subscribe(self, callback: Callable[[Event], object], /) -> Any:
        """Have a function called with each event."""


class ParallelEventPrinter:
    """Shows runs while they go on, and sums each up at its end; needs the extra `display`.

    - `parallel_mode`: a tree that is redrawn in place, or a line for each event
    - `show_progress`: whether to show how far things are: bars, percents, and what is left;
      with `REALTIME`, a line for each step's report of its progress
    - `console`: a rich console to write to; or `file`, by default `sys.stdout`
    - `step_output`: "prefix" or "group", to show what steps print and log by branch, see
      `StepOutput`

    It may be subscribed to several pipelines and buses, and be used for many runs, also at
    the same time. Where there is no terminal, it writes plain lines without control codes: one
    for each group, and the summary. In a notebook, `PROGRESS` is a live output.

    ```python
    import io
    from task_pipeline import Pipeline
    from task_pipeline.display import ParallelEventPrinter

    def left(context): ...
    def right(context): ...

    shown = io.StringIO()
    pipeline = Pipeline([[left, right]], name="both")
    with ParallelEventPrinter(file=shown) as printer:
        printer.attach(pipeline)
        pipeline.run()
    assert "both started: 2 steps" in shown.getvalue()
    assert printer.summary.succeeded == 2
    ```
    """

    def __init__(
        self,
        parallel_mode: ParallelDisplayMode | str = ParallelDisplayMode.PROGRESS,
        show_progress: bool = True,
        *,
        console: Console | None = None,
        file: TextIO | None = None,
        step_output: OutputMode | str | None = None,
    ) -> None:
        """Raises `MissingExtraError` without rich, `ConfigurationError` for a wrong argument."""
        if importlib.util.find_spec("rich") is None:
            raise MissingExtraError("the live display", "display", "rich")
        # All that needs rich, now: at the first event, a run would be over before it is there.
        self._views = importlib.import_module(".views", __package__)
        if console is not None and file is not None:
            raise ConfigurationError("give a display a console or a file, not both")
        self.parallel_mode = _mode(parallel_mode)
        self.show_progress = show_progress
        self.summary: RunSummary | None = None
        self._console = console
        self._file = file
        self._output = None if step_output is None else StepOutput(step_output)
        self._model = DisplayModel()
        # Two locks, so that drawing never waits for writing: the model's is held for moments;
        # what is written, opened and closed is so under the other, in the order it is to appear.
        self._lock = threading.RLock()
        self._showing = threading.RLock()
        self._view: View | None = None
        self._unpin: Callable[[], None] | None = None
        self._holds = 0
        self._ended_groups: dict[str, ParallelGroupTracker] = {}

    @property
    def parallel_groups(self) -> dict[str, ParallelGroupTracker]:
        """How far the groups are, by path: of the run that ended last, and of those under way."""
        with self._lock:
            groups = dict(self._ended_groups)
            for run in self._model.runs.values():
                groups |= _groups_of(run)
        return groups

    def print_event(self, event: Event) -> None:
        """Show an event; to be subscribed to a bus or a pipeline."""
        if self._output is not None:
            self._output.note(event)
        with self._lock:
            run = self._model.apply(event)
            view = self._view
            is_over = run is not None and run.is_over
            if run is not None and is_over:
                self._model.drop(run)
        wants = view is None or view.wants(event)
        is_shown = run is not None or self.parallel_mode is ParallelDisplayMode.REALTIME
        if is_shown and (wants or is_over):
            self._show(event, run)

    __call__ = print_event

    def attach(self, source: EventSource) -> Any:
        """Subscribe to a bus or a pipeline; returns what its `subscribe` returns."""
        return source.subscribe(self.print_event)

    @contextmanager
    def shows(self) -> Iterator[Callable[[Event], None]]:
        """A context around a run; gives what is to be called with each of its events.

        With `step_output`, what steps print is shown so from the context's beginning.
        Without the context, it is from the first event on, which may be a moment later. As
        events may come late, it is not closed before the runs it has heard of have ended.
        """
        self._hold(1)
        try:
            yield self.print_event
        finally:
            self._hold(-1)

    def close(self) -> None:
        """Stop showing; what is under way is shown as it stands. A later run is shown again."""
        with self._showing:
            with self._lock:
                runs = [*self._model.runs.values()]
                for run in runs:
                    self._model.drop(run, forever=True)
            for run in runs:
                self._end(run)
            self._close_view()

    def __enter__(self) -> ParallelEventPrinter:
        self._hold(1)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._hold(-1)
        self.close()

    def _hold(self, more: int) -> None:
        with self._showing:
            self._holds += more
            self._set_output()

    def _set_output(self) -> None:
        """Show what steps print as long as a run is shown, or one is known to come."""
        if self._output is not None:
            if self._holds > 0 or self._view is not None:
                self._output.start()
            else:
                self._output.close()

    def _show(self, event: Event, run: RunState | None) -> None:
        with self._showing:
            view = self._view or self._open_view()
            try:
                if view.wants(event):
                    view.show(event, run)
                if run is not None and run.is_over:
                    self._end(run)
            finally:
                self._close_view()

    def _end(self, run: RunState) -> None:
        with self._lock:
            self._ended_groups = _groups_of(run)
        if self._view is not None:
            self.summary = self._view.end_run(run)

    def _open_view(self) -> View:
        console = self._console or self._views.console_for(self._file)
        self._unpin = self._views.pin(console)
        view = self._view = self._new_view(console)
        # A run that is not seen to end shall not leave a terminal without its cursor.
        atexit.register(self.close)
        view.open()
        self._set_output()
        return view

    def _close_view(self) -> None:
        """Unless a run is under way."""
        with self._lock:
            if self._model.runs or self._view is None:
                return
            view, self._view = self._view, None
        atexit.unregister(self.close)
        try:
            self._set_output()
        finally:
            view.close()
            if self._unpin is not None:
                self._unpin()

    def _new_view(self, console: Console) -> View:
        is_realtime = self.parallel_mode is ParallelDisplayMode.REALTIME
        is_free = self._file is None and self._console is None
        kind: type[View] = self._views.view_for(console, is_realtime, is_free)
        return kind(console, self._model, self._lock, self.show_progress)


def printer_for(display: object) -> ParallelEventPrinter | None:
    """What a `display=` argument stands for; None for `False` and None.

    `True` is a printer as it is by default, one for the whole process; a
    `ParallelDisplayMode` is one in that mode.
    Raises `ConfigurationError` for anything else, `MissingExtraError` without rich.
    """
    if display is None or display is False:
        return None
    if display is True:
        return _shared()
    if isinstance(display, ParallelEventPrinter):
        return display
    if isinstance(display, str):
        return ParallelEventPrinter(_mode(display))
    raise ConfigurationError(
        f"display is True, False, a ParallelDisplayMode or a ParallelEventPrinter, not {display!r}"
    )


@functools.cache
def _shared() -> ParallelEventPrinter:
    """One for all that is shown at the same time: two would draw over each other."""
    return ParallelEventPrinter()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_shared.cache_clear)


def _mode(mode: ParallelDisplayMode | str) -> ParallelDisplayMode:
    try:
        return ParallelDisplayMode(mode)
    except ValueError:
        modes = " or ".join(repr(known.value) for known in ParallelDisplayMode)
        raise ConfigurationError(f"a display's mode is {modes}, not {mode!r}") from None


def _groups_of(run: RunState) -> dict[str, ParallelGroupTracker]:
    return {path: node.tracker for path, node in run.nodes.items() if node.tracker is not None}
