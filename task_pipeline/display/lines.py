"""Lines, one below the other: for files, pipes and logs, and for all events as they come."""

from __future__ import annotations

from rich.text import Text

from ..events import (
    Event,
    GroupEnded,
    GroupStarted,
    RunStarted,
    StepProgressed,
    StepRetrying,
    StepStarted,
)
from .nodes import RunState
from .outcomes import outcome_of
from .picture import summary_lines
from .rows import STYLES, Look
from .summary import RunSummary, summarize
from .text import clean
from .view import View
from .wording import describe_event


class PlainLines(View):
    """A line when a run starts, one for each group that has ended, and the summary."""

    def wants(self, event: Event) -> bool:
        """Runs that start and groups that end."""
        return isinstance(event, RunStarted | GroupEnded)

    def show(self, event: Event, run: RunState | None) -> None:
        """Write its line."""
        if run is not None:
            with self.lock:
                line = describe_event(event, run)
            self.write([Text(clean(line, self.look().encoding), end="")])

    def end_run(self, run: RunState) -> RunSummary:
        """Write the summary."""
        summary = summarize(run, self.model.clock())
        self.write(summary_lines(summary, self.look(is_final=True)))
        return summary


class EventLines(PlainLines):
    """A line for each event, indented by depth."""

    def wants(self, event: Event) -> bool:
        """All; without progress, all but a step's reports of it."""
        return self.show_progress or not isinstance(event, StepProgressed)

    def show(self, event: Event, run: RunState | None) -> None:
        """Write its line."""
        with self.lock:
            line = event_line(event, run, self.look())
            if len(self.model.runs) > 1:
                line.append(f"  ({clean(event.run_id, self.look().encoding)[:8]})", "bright_black")
        self.write([line])


def event_line(event: Event, run: RunState | None, look: Look) -> Text:
    """An event as a line: indented, marked, and told in words."""
    depth = event.path.count(".") + 1 if event.path else 0
    outcome = outcome_of(event)
    signs = look.signs
    mark, style = signs.pending, "bright_black"
    if outcome is not None:
        mark, style = signs.of(outcome), STYLES[outcome]
    elif isinstance(event, RunStarted | GroupStarted | StepStarted):
        mark, style = signs.running, "cyan"
    elif isinstance(event, StepRetrying):
        mark, style = signs.waiting, "yellow"
    line = Text("  " * min(depth, 40), end="")
    line.append(f"{mark} ", style)
    line.append(clean(describe_event(event, run), look.encoding))
    return line
