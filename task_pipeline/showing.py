"""Showing a run while it goes on: the display is a room that most programs never enter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from .engine.execution import Execution
from .engine.run import flush, wait_until_done
from .events import Event

if TYPE_CHECKING:
    from .display import ParallelEventPrinter

Display: TypeAlias = "bool | str | ParallelEventPrinter"
"""How to show a run: not at all (False), as is best (True), in a mode, by a printer."""


class Shown:
    """Hands on the events of one run, whatever others of the pipeline go on meanwhile."""

    def __init__(self, tell: Callable[[Event], object] | None) -> None:
        self._tell = tell
        self._run_id: str | None = None

    def of(self, execution: Execution) -> Execution:
        """The run to show; gives it back."""
        if self._tell is not None:
            self._run_id = execution.run_id
        return execution

    def tell(self, event: Event) -> None:
        """An event of some run."""
        if self._tell is not None and event.run_id == self._run_id:
            self._tell(event)


@contextmanager
def shown(
    subscribe: Callable[[Callable[[Event], object]], AbstractContextManager[Any]],
    display: Display,
) -> Iterator[Shown]:
    """Show the run that begins in this context, of all whose events one can subscribe to."""
    printer = None
    if display is not False:
        # A room that most programs never enter, and that needs rich.
        from .display import printer_for

        printer = printer_for(display)
    if printer is None:
        yield Shown(None)
        return
    with printer.shows() as tell:
        screen = Shown(tell)
        with subscribe(screen.tell):
            yield screen


def show_until_over(execution: Execution, close: Callable[[], None]) -> None:
    """Close what shows a run once it is over, and everybody has been told of it."""
    wait_until_done(execution, None)
    flush(execution)
    close()
