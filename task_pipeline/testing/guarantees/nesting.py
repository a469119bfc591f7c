"""Any nesting completes, within its limits: guarantees 1, 2 and 12."""

from __future__ import annotations

import threading
from typing import Any

from ...config import ParallelConfig, PipelineConfig
from ...context import PipelineContext
from ...engine.bus import EventBus
from ...groups import Branch, Loop, Map, Parallel, Serial
from ...pipeline import Pipeline
from ...steps import step
from .acting_steps import inline_pipeline, runs_a_pipeline
from .base import Conformance, Steps, check_events, equal, true
from .steps import Meet, Note, Span, add_one, nothing, traces

TRAIL = list("abcdefghijklklmopopqrst")


def _nested() -> Steps:
    """Every kind of group, and all of them in each other; it leaves `TRAIL`."""
    a, b, c, d, e, f, g, h, i, j = map(Note, "abcdefghij")
    k, m, n, o, p, q, r, s, t = map(Note, "kmnopqrst")
    return [
        a,
        [b, [c, [d, e], f]],
        Serial([g, [h]]),
        Parallel([[i, j], []], name="pair"),
        Map([k, [Note("l")]], over="items"),
        Branch("yes", [m], otherwise=[n]),
        Loop([o, [p]], times=2),
        Pipeline([q, [r, s]], name="inner"),
        t,
    ]


def _start() -> PipelineContext[Any]:
    return PipelineContext(results={"items": [1, 2], "yes": True})


def _trail_of(context: PipelineContext[Any]) -> list[str]:
    # A step that stands somewhere a second time has a number behind its name.
    return [name[0] for name in context.results["trail"]]


def peak(spans: list[tuple[float, float]]) -> int:
    """How many spans of time lie over each other, at most."""
    points = sorted([(end, -1) for _, end in spans] + [(begin, 1) for begin, _ in spans])
    most = now = 0
    for _, change in points:
        now += change
        most = max(most, now)
    return most


class NestingConformance(Conformance):
    """Nesting, limits, runs inside of steps and beside each other."""

    def test_any_nesting_completes(self) -> None:
        """Series, parallel groups, maps, branches, loops and pipelines, in each other."""
        watched = self.watch(_nested(), _start()).succeeded()
        equal(_trail_of(watched.context), TRAIL, "what the steps have left")
        check_events(watched.events)

    def test_any_nesting_completes_with_one_worker(self) -> None:
        """Whether it is the run that may have one only, or the executor that has no more."""
        config = PipelineConfig(max_workers=1)
        watched = self.watch(_nested(), _start(), config).succeeded()
        equal(_trail_of(watched.context), TRAIL, "what the steps have left, at max_workers=1")
        if self.narrow_executor is not None:
            narrow = self.watch(_nested(), _start(), executor=self.narrow_executor).succeeded()
            equal(_trail_of(narrow.context), TRAIL, "what the steps have left, with one worker")

    def test_branches_run_side_by_side(self) -> None:
        """As many as there are workers; with one worker, one after another."""
        if self.workers == 1:
            spans = self.watch([[Span(0.01)] * 3]).succeeded().results["span"]
            equal(peak(spans), 1, "how many steps ran at once")
            return
        meet = Meet(self.folder(), self.workers, self.patience)
        self.watch([[meet] * self.workers]).succeeded()

    def test_never_more_at_once_than_a_limit_allows(self) -> None:
        """The `max_workers` of the run and of a group, and the limits that steps name."""
        spans = self.watch(
            [[[[Span(0.01)] * 3, [Span(0.01)] * 3]] * 2],
            config=PipelineConfig(max_workers=2),
        )
        most = peak(spans.succeeded().results["span"])
        true(most <= 2, f"{most} steps of a run with max_workers=2 ran at once")
        group = Parallel([Span(0.01)] * 4, config=ParallelConfig(max_workers=1))
        disk: Steps = [[Span(0.01, limit="disk")] * 4, [nothing]]
        config = PipelineConfig(limits={"disk": 1})
        results = self.watch([[[group], disk]], config=config).succeeded().results
        equal(peak(results["span"]), 1, "how many steps of a group with max_workers=1 ran at once")
        equal(peak(results["span_disk"]), 1, "how many steps with a limit of 1 ran at once")

    def test_very_many_branches(self) -> None:
        """All of them run, once, and all are merged."""
        watched = self.watch([[add_one] * self.many]).succeeded()
        equal(watched.results["count"], self.many, "the sum of what the branches have counted")
        equal(set(watched.statuses.values()), {"succeeded"}, "the branches' outcomes")
        check_events(watched.events)

    def test_a_long_series(self) -> None:
        """Each step begins where the last one has ended, however many there are."""
        watched = self.watch([Loop([add_one], times=100), add_one]).succeeded()
        equal(watched.results["count"], 101, "what the steps of a series have counted")

    def test_a_run_inside_a_step_completes(self) -> None:
        """Wherever the step runs, and whoever runs the steps of that run."""
        if not self.starts_runs:
            return
        steps: Steps = [[runs_a_pipeline, inline_pipeline], runs_a_pipeline]
        for executor in filter(None, (self.executor, self.narrow_executor)):
            results = self.watch(steps, executor=executor).succeeded().results
            for name in ("runs_a_pipeline", "inline_pipeline", "runs_a_pipeline#2"):
                equal(results[name], ["x", "y", "z"], f"what the run inside {name} has left")

    def test_a_run_inside_a_step_on_the_same_executor_completes(self) -> None:
        """Even if the step has the only worker. Elsewhere than here there is no such executor."""
        if not self.capabilities.shares_memory:
            return
        executor = self.narrow_executor or self.executor

        def outer(context: Any) -> list[str]:
            inner = Pipeline(_nested(), executor=executor).run(_start())
            return _trail_of(inner)

        results = self.watch([[outer, outer]], executor=executor).succeeded().results
        for name in ("outer", "outer#2"):
            equal(results[name], TRAIL, f"what the run inside {name} has left")

    def test_runs_beside_each_other_do_not_see_each_other(self) -> None:
        """One pipeline, run by several threads at once."""
        bus = EventBus(history=10_000)
        pipeline = self.pipeline([[add_one, [add_one, add_one]], add_one], event_bus=bus)
        starts = range(0, 400, 100)
        contexts: list[PipelineContext[Any]] = []

        def run(start: int) -> None:
            contexts.append(pipeline.run(PipelineContext(results={"count": start})))

        threads = [threading.Thread(target=run, args=(start,)) for start in starts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(self.patience)
        counts = sorted(context.results["count"] for context in contexts)
        equal(counts, [start + 4 for start in starts], "what each of the runs has counted")
        for run_id in {event.run_id for event in bus.history}:
            check_events([event for event in bus.history if event.run_id == run_id])

    def test_executors_mix_in_one_pipeline(self) -> None:
        """Branches, groups and steps with executors of their own, beside each other."""
        folder = self.folder()
        on_thread = step(executor="thread", step_id="on_thread")(lambda context: folder.name)
        inline = step(executor="inline", step_id="inline")(lambda context: folder.name)
        steps: Steps = [
            Note("a"),
            [Note("b"), on_thread, inline, [Note("c"), Parallel([Note("d")], executor="thread")]],
            Pipeline([Note("e"), [Note("f"), inline]], executor="thread", name="inner"),
            Note("g"),
        ]
        watched = self.watch(steps).succeeded()
        equal(_trail_of(watched.context), list("abcdefg"), "what the steps have left")
        for name in ("on_thread", "inline", "inline#2"):
            equal(watched.results[name], folder.name, f"what {name} has returned")
        equal(traces(folder, ""), 0, "the number of files")
        check_events(watched.events)
