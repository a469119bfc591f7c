"""Types of steps for the tests of recipes, and what they meet at: gates, meters, notes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import DocumentError, Pipeline, PipelineContext, PipelineStep
from task_pipeline.documents import STEP_REGISTRY, load_pipeline
from task_pipeline.engine.clock import current_clock
from task_pipeline.testing import Gate, ManualClock

PATIENCE = 30.0


@dataclass
class Scene:
    """What the steps of one test meet at; it is in `context.shared["scene"]`.

    - `notes`: what `note` steps were called, and when; `peak`: how many were in `meet` at once
    """

    clock: ManualClock = field(default_factory=ManualClock)
    gates: dict[str, Gate] = field(default_factory=dict)
    notes: list[tuple[str, float]] = field(default_factory=list)
    peak: int = 0
    inside: int = 0
    passed: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    lock: threading.Lock = field(default_factory=threading.Lock)
    barrier: threading.Barrier | None = None

    def gate(self, name: str) -> Gate:
        with self.lock:
            return self.gates.setdefault(name, Gate(PATIENCE))

    def names(self) -> list[str]:
        with self.lock:
            return [name for name, _ in self.notes]

    def note(self, name: str) -> None:
        with self.lock:
            self.notes.append((name, self.clock.monotonic()))

    def context(self, **results: Any) -> PipelineContext[Any]:
        return PipelineContext(results=results, shared={"scene": self})

    @contextmanager
    def meeting(self) -> Iterator[None]:
        with self.lock:
            self.inside += 1
            self.peak = max(self.peak, self.inside)
        try:
            yield
        finally:
            with self.lock:
                self.inside -= 1


def scene_of(context: Any) -> Scene:
    return context.shared["scene"]  # type: ignore[no-any-return]  # every test's context has one


class Put(PipelineStep):
    """Sets a key."""

    def __init__(self, key: str, value: Any = None) -> None:
        self.key, self.value = key, value

    def run(self, context: Any) -> None:
        context.results[self.key] = self.value


class Number(PipelineStep):
    """Sets a key to a number."""

    def __init__(self, key: str, number: int) -> None:
        self.key, self.number = key, number

    def run(self, context: Any) -> None:
        context.results[self.key] = self.number


class Add(PipelineStep):
    """Adds to a list."""

    def __init__(self, key: str, item: Any) -> None:
        self.key, self.item = key, item

    def run(self, context: Any) -> None:
        context.results.setdefault(self.key, []).append(self.item)


class Fail(PipelineStep):
    """Fails."""

    def __init__(self, text: str, if_item: Any = None) -> None:
        self.text, self.if_item = text, if_item

    def run(self, context: Any) -> None:
        if self.if_item is None or str(context.results.get("x")) == str(self.if_item):
            raise ValueError(self.text)


class Note(PipelineStep):
    """Tells the scene that it was here."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, context: Any) -> None:
        scene_of(context).note(self.name)


class Wait(PipelineStep):
    """Waits at a gate, and says that it is through."""

    def __init__(self, gate: str) -> None:
        self.gate = gate

    def run(self, context: Any) -> None:
        scene = context.shared["scene"]
        scene.gate(self.gate).wait()
        scene.passed.release()


class AsyncWait(PipelineStep):
    """Waits for ever, unless it is cancelled."""

    def __init__(self, gate: str) -> None:
        self.gate = gate

    async def run(self, context: Any) -> None:
        scene = context.shared["scene"]
        gate = scene.gate(self.gate)
        gate._is_open = True  # a coroutine must not block: it only says that it has come
        gate.wait()
        try:
            await asyncio.Event().wait()
        finally:
            scene.passed.release()


class AsyncPut(PipelineStep):
    """Sets a key, as a coroutine."""

    def __init__(self, key: str, value: Any) -> None:
        self.key, self.value = key, value

    async def run(self, context: Any) -> None:
        await asyncio.sleep(0)  # the step's work
        context.results[self.key] = self.value


class Touch(PipelineStep):
    """Writes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def run(self, context: Any) -> None:
        Path(self.path).write_text("here", "utf-8")


class Meet(PipelineStep):
    """Is there with as many others as the barrier wants."""

    def __init__(self) -> None:
        pass

    def run(self, context: Any) -> None:
        scene = scene_of(context)
        with scene.meeting():
            if scene.barrier is not None:
                scene.barrier.wait(PATIENCE)


TYPES: dict[str, type[PipelineStep]] = {
    "t_put": Put,
    "t_number": Number,
    "t_add": Add,
    "t_fail": Fail,
    "t_note": Note,
    "t_wait": Wait,
    "t_async_wait": AsyncWait,
    "t_async_put": AsyncPut,
    "t_touch": Touch,
    "t_meet": Meet,
}


@pytest.fixture(scope="module", autouse=True)
def _types() -> Iterator[None]:
    for name, kind in TYPES.items():
        STEP_REGISTRY[name] = kind
    yield
    for name in TYPES:
        del STEP_REGISTRY[name]


def note(name: str) -> dict[str, Any]:
    return {"type": "t_note", "name": name}


def put(key: str, value: Any) -> dict[str, Any]:
    return {"type": "t_put", "key": key, "value": value}


def wait(gate: str) -> dict[str, Any]:
    return {"type": "t_wait", "gate": gate}


def fail(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "t_fail", "text": text, **more}


def results_of(steps: Any, scene: Scene | None = None, **start: Any) -> dict[str, Any]:
    """What a recipe of these steps leaves in `results`."""
    context = (scene or Scene()).context(**start)
    load_pipeline({"steps": steps}, "recipe").run(context)
    return context.results


def mistakes(document: Any, **options: Any) -> list[str]:
    """What is wrong with a document."""
    with pytest.raises(DocumentError) as caught:
        load_pipeline(document, "recipe", **options)
    return [str(problem) for problem in caught.value.problems]


@contextmanager
def started(steps: Any, scene: Scene, **start: Any) -> Iterator[Any]:
    """A run of these steps by the scene's clock; every gate is open in the end."""
    pipeline: Pipeline = load_pipeline({"steps": steps}, "recipe")
    token = current_clock.set(scene.clock)
    try:
        run = pipeline.start(scene.context(**start))
    finally:
        current_clock.reset(token)
    try:
        yield run
    finally:
        for gate in scene.gates.values():
            gate.open()
