"""Hand-made events: what a run would tell, at times that are set by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from task_pipeline import events
from task_pipeline.display.model import DisplayModel
from task_pipeline.display.nodes import RunState

DAY = datetime(2024, 1, 1, tzinfo=UTC)


class Story:
    """Makes the events of one run; `now` is its clock, in seconds."""

    def __init__(self, run_id: str = "run", name: str = "pipeline") -> None:
        self.run_id = run_id
        self.name = name
        self.now = 0.0
        self.events: list[events.Event] = []
        self._groups: dict[str, tuple[str, bool, int, float]] = {}
        self._began: dict[str, float] = {}

    def tell(self, kind: type[events.Event], path: str, name: str, **facts: Any) -> events.Event:
        """Any event."""
        event = kind(
            run_id=self.run_id,
            seq=len(self.events),
            at=DAY,
            monotonic=self.now,
            path=path,
            name=name,
            **facts,
        )
        self.events.append(event)
        return event

    # Runs and groups

    def start(self, total: int) -> events.Event:
        return self.tell(events.RunStarted, "", self.name, total=total)

    def end(self, kind: type[events.Event] = events.RunSucceeded, **facts: Any) -> events.Event:
        return self.tell(kind, "", self.name, duration=self.now, **facts)

    def group(self, path: str, total: int, name: str = "", parallel: bool = True) -> events.Event:
        name = name or f"group_{path}"
        self._groups[path] = (name, parallel, total, self.now)
        facts = {"group_id": path, "parallel": parallel, "total": total}
        return self.tell(events.GroupStarted, path, name, **facts)

    def expand(self, path: str, total: int) -> events.Event:
        name, parallel, _, began = self._groups[path]
        self._groups[path] = (name, parallel, total, began)
        facts = {"group_id": path, "parallel": parallel, "total": total}
        return self.tell(events.GroupExpanded, path, name, **facts)

    def close(
        self, path: str, kind: type[events.Event] = events.GroupSucceeded, **facts: Any
    ) -> events.Event:
        name, parallel, total, began = self._groups[path]
        known = {"group_id": path, "parallel": parallel, "total": total}
        return self.tell(kind, path, name, duration=self.now - began, **known, **facts)

    # Steps

    def begin(self, path: str, name: str = "", attempt: int = 1) -> events.Event:
        self._began[path] = self.now
        return self._step(events.StepStarted, path, name, attempt=attempt)

    def progress(self, path: str, percent: float) -> events.Event:
        return self._step(events.StepProgressed, path, "", attempt=1, percent=percent)

    def done(
        self, path: str, kind: type[events.Event] = events.StepSucceeded, **facts: Any
    ) -> events.Event:
        facts = {"attempt": 1, "duration": self.now - self._began.get(path, self.now), **facts}
        return self._step(kind, path, "", **facts)

    def step(self, path: str, seconds: float = 1.0, name: str = "") -> None:
        """A step that succeeds, while nothing else happens."""
        self.begin(path, name)
        self.now += seconds
        self.done(path)

    def _step(self, kind: type[events.Event], path: str, name: str, **facts: Any) -> events.Event:
        around = [group for group in self._groups if path.startswith(f"{group}.")]
        parallel = [group for group in around if self._groups[group][1]]
        nearest = max(parallel, key=len, default=None)
        name = name or f"step_{path}"
        known: Mapping[str, Any] = {"group_id": nearest, "is_parallel": nearest is not None}
        return self.tell(kind, path, name, step_id=name, **known, **facts)


def told(story: Story, model: DisplayModel | None = None) -> RunState:
    """The run as a model knows it after all of a story."""
    model = DisplayModel(clock=lambda: story.now) if model is None else model
    states = [model.apply(event) for event in story.events]
    run = next(state for state in reversed(states) if state is not None)
    assert run is not None
    return run
