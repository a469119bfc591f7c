"""What is heard of a step while it runs, from executors that `report`."""

from __future__ import annotations

import logging
from collections import Counter

from ...engine.bus import EventBus
from ...errors import RunCancelledError
from ...events import StepProgressed
from .acting_steps import Listens, Reports, spreads
from .base import Conformance, check_events, equal, true
from .steps import LOGGER, leave_trace, traces


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


class ReportingConformance(Conformance):
    """Progress, log records, events and the wish to stop, while a step runs.

    From an executor that does not report, nothing of it is asked but that it does no harm.
    """

    def test_progress_and_log_are_heard_while_a_step_runs(self) -> None:
        """The progress in the status and as an event, the log where it is handled here."""
        folder = self.folder()
        bus = EventBus()
        records = _Records()
        logger = logging.getLogger(LOGGER)
        logger.addHandler(records)
        steps = [[Reports(folder, self.patience)]]
        try:
            run = self.pipeline(steps, event_bus=bus).start()
            try:
                self.wait_for(lambda: traces(folder, "reported"), "the step has reported")
                if self.capabilities.reports:
                    details = run.status
                    self.wait_for(
                        lambda: details()["step_details"]["reports"]["internal_progress"] == 40.0,
                        "the progress of 40 %",
                    )
                    self.wait_for(lambda: records.texts, "the log record")
            finally:
                leave_trace(str(folder), "go")
            context = run.result(self.patience)
        finally:
            logger.removeHandler(records)
        equal(context.results, {"reports": "went on"}, "the results")
        check_events(bus.history)
        if self.capabilities.reports:
            equal(records.texts, ["of a step"], "the log records, each handled once,")
            found = [event.percent for event in bus.history if isinstance(event, StepProgressed)]
            equal(found, [40.0], "the progress that events tell of")

    def test_a_step_hears_that_it_is_to_stop(self) -> None:
        """Unless it is ended without being asked."""
        can_hear = self.capabilities.reports and self.capabilities.leaves
        if not can_hear or self.capabilities.kills:
            return
        folder = self.folder()
        run = self.pipeline([Listens(folder, self.patience)]).start()
        self.wait_for(lambda: traces(folder, "began1"), "the step has begun")
        run.cancel()
        try:
            run.result(self.patience)
        except RunCancelledError:
            self.wait_for(lambda: traces(folder, "heard"), "the step has heard of it")
        else:
            raise AssertionError("a run that was cancelled raises RunCancelledError")

    def test_a_step_can_have_tasks_of_its_own(self) -> None:
        """As on a thread; and if the executor reports, with the same events."""
        if not self.starts_runs:
            return
        kinds = []
        for executor in (self.executor, "thread"):
            watched = self.watch([[spreads]], executor=executor).succeeded()
            equal(watched.results, {"spreads": [0, 1, 4]}, "what the tasks have returned")
            check_events(watched.events)
            kinds.append(Counter(type(event).__name__ for event in watched.events))
        if self.capabilities.reports:
            equal(kinds[0], kinds[1], "the kinds of events, against threads,")
        true(kinds[0]["RunSucceeded"] == 1, "there is one end of the run")
