"""How many substeps and rounds are under way at once, whatever those that are wait for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from task_pipeline import PipelineStep, RetryPolicy
from task_pipeline.documents import STEP_REGISTRY
from tests.recipe_work import Scene, _types, note, results_of, scene_of

__all__ = ["_types"]

MEET = {"type": "t_meet"}


class SecondTime(PipelineStep):
    """Fails at first, and is tried again."""

    retries = RetryPolicy(attempts=2, delay=0.02)

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, context: Any) -> None:
        scene_of(context).note(self.name)
        if scene_of(context).names().count(self.name) == 1:
            raise ConnectionError("line busy")


@pytest.fixture(autouse=True)
def _second_time() -> Iterator[None]:
    STEP_REGISTRY["t_second_time"] = SecondTime
    yield
    del STEP_REGISTRY["t_second_time"]


def parallel(*substeps: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "parallel", "substeps": list(substeps), **fields}


def loop(items: list[Any], *substeps: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "loop", "items": items, "item_key": "x", "substeps": list(substeps), **fields}


WAITING = [
    pytest.param(parallel(note("{{ x }}b"), note("{{ x }}c"), delay=0.02), id="launch"),
    pytest.param({"type": "t_second_time", "name": "{{ x }}b"}, id="retry"),
]
"""What does nothing for a while in the middle."""


@pytest.mark.parametrize("waiting", WAITING)
def test_rounds_one_after_another_also_while_nothing_runs(waiting: dict[str, Any]) -> None:
    scene = Scene()
    results_of([loop([1, 2, 3], note("{{ x }}a"), waiting, note("{{ x }}d"))], scene)
    rounds = [name[0] for name in scene.names()]
    assert rounds == sorted(rounds) and len(rounds) == 12


@pytest.mark.parametrize("waiting", WAITING)
def test_substeps_one_after_another_also_while_nothing_runs(waiting: dict[str, Any]) -> None:
    scene = Scene()
    one = [{"type": "t_put", "key": "x", "value": "1"}, waiting, note("1d")]
    two = [{"type": "t_put", "key": "x", "value": "2"}, waiting, note("2d")]
    results_of([parallel(one, two, max_concurrency=1)], scene)
    substeps = [name[0] for name in scene.names()]
    assert substeps == ["1"] * 3 + ["2"] * 3


def test_one_round_after_another_is_no_limit_for_a_block_in_it() -> None:
    scene = Scene(barrier=threading.Barrier(3))
    results_of([loop([1, 2], parallel(MEET, MEET, MEET))], scene)
    assert scene.peak == 3


def test_a_limit_of_rounds_holds_over_the_blocks_in_them() -> None:
    scene = Scene(barrier=threading.Barrier(2))
    block = parallel(MEET, MEET, MEET, MEET, max_concurrency=4)
    results_of([loop([1, 2, 3, 4], block, max_concurrency=2)], scene)
    assert scene.peak == 2
