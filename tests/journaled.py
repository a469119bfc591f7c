"""Steps that say when they ran, and runs cut off where they stand, for tests of the journal."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from task_pipeline import Journal, Pipeline, TaskStep, open_journal, step
from task_pipeline.events import Event, StepSucceeded
from task_pipeline.journal.records import GroupRecord, StepRecord
from task_pipeline.testing import Gate


class Work:
    """Makes steps; `ran` are the names of those that ran since it was last asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ran: list[str] = []
        self._faults: dict[str, list[BaseException]] = {}
        self._meanwhile: dict[str, Callable[[], object]] = {}

    def fail(self, name: str, *errors: BaseException) -> None:
        """Have a step fail with these, once each."""
        self._faults[name] = list(errors or [ValueError(name)])

    def meanwhile(self, name: str, call: Callable[[], object]) -> None:
        """Have something called when a step runs next, once."""
        self._meanwhile[name] = call

    def is_to_fail(self, name: str) -> bool:
        """Whether a step made elsewhere is to fail now."""
        return bool(self._faults.get(name)) and bool(self._faults[name].pop())

    def did(self, name: str) -> None:
        """A step ran."""
        with self._lock:
            self._ran.append(name)

    def ran(self) -> list[str]:
        """What ran since the last call, in the order it did."""
        with self._lock:
            ran, self._ran = self._ran, []
        return ran

    def __call__(self, name: str, **attributes: Any) -> Any:
        """A step of that name, which writes its name down in `results`."""

        @step(step_id=name, **attributes)
        def work(context: Any) -> None:
            self.did(name)
            context.results.setdefault("log", []).append(name)
            call = self._meanwhile.pop(name, None)
            if call is not None:
                call()
            if self._faults.get(name):
                raise self._faults[name].pop(0)

        return work

    def all(self, names: str) -> list[TaskStep]:
        """A step for each of the names."""
        return [self(name) for name in names.split()]


class Runs:
    """Pipelines with one journal, and copies of it as it stood when a process died."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._journals: list[Journal] = []
        self.journal = self.opened()

    def opened(self) -> Journal:
        """One more journal, of its own."""
        path = self._folder / f"{len(self._journals)}.db"
        journal = open_journal(f"sqlite:///{path}")
        self._journals.append(journal)
        return journal

    def pipeline(self, steps: list[TaskStep], **options: Any) -> Pipeline:
        """A pipeline whose runs are recorded."""
        return Pipeline(steps, **{"journal": self.journal, **options})

    def cut(self, run_id: str = "r") -> Journal:
        """A journal that has a run as it stands now, as if its process had just died."""
        document = self.journal.export_run(run_id)
        copy = self.opened()
        copy.import_run(document)
        return copy

    def cut_in(self, work: Work, name: str, pipeline: Pipeline, run_id: str = "r") -> Journal:
        """What is left of a run of the pipeline whose process dies in the middle of a step."""
        left: list[Journal] = []
        work.meanwhile(name, lambda: left.append(self.cut(run_id)))
        with quiet():
            pipeline.run(run_id=run_id)
        work.ran()
        return left[0]

    def on_disk(self) -> list[str]:
        """The steps that whoever comes after a crash would find, for no journal writes for this."""
        with closing(sqlite3.connect(self.journal.url.removeprefix("sqlite:///"))) as connection:
            rows = connection.execute("select step_id from step_executions order by seq")
            return [name for (name,) in rows]

    def close(self) -> None:
        """Close them all."""
        for journal in self._journals:
            journal.close()


@contextmanager
def quiet() -> Iterator[None]:
    """What the run raises is not what the test is about."""
    try:
        yield
    except Exception:  # as said
        pass


def row(journal: Journal, step_id: str, run_id: str = "r") -> StepRecord:
    """What is true of a step."""
    (found,) = [step for step in journal.steps(run_id) if step.step_id == step_id]
    return found


def statuses(journal: Journal, run_id: str = "r") -> dict[str, str]:
    """How each step ended."""
    return {step.step_id: step.status for step in journal.steps(run_id)}


def group_row(journal: Journal, path: str, run_id: str = "r") -> GroupRecord:
    """How a group ended."""
    found = [group for group in journal.groups(run_id) if group.path == path]
    (group,) = [group for group in found if group.kind == "group"]
    return group


def everything(journal: Journal, run_id: str = "r") -> tuple[Any, ...]:
    """All that is recorded of a run."""
    return (
        journal.run(run_id),
        journal.steps(run_id, superseded=True),
        journal.groups(run_id, superseded=True),
        list(journal.events(run_id)),
    )


@contextmanager
def until_ended(pipeline: Pipeline, *names: str) -> Iterator[Gate]:
    """A gate that opens once these steps of the runs begun within it have ended well."""
    told, missing = Gate(), set(names)

    def note(event: Event) -> None:
        if isinstance(event, StepSucceeded):
            missing.discard(event.name)
        if not missing:
            told.open()

    with pipeline.subscribe(note):
        yield told
