"""Metrics as dicts, JSON and Prometheus text, and several of them together."""

from __future__ import annotations

import json

import pytest

from task_pipeline import (
    ConfigurationError,
    Metrics,
    Pipeline,
    PipelineConfig,
    Serial,
    StepMetrics,
    step,
)
from tests.metered import ONE, Clock, fails, len_of, times, works
from tests.prometheus_text import parse


@pytest.fixture
def clock():
    with Clock().installed() as clock:
        yield clock


def test_as_dict_is_plain_and_json_says_the_same(clock):
    pipeline = Pipeline([works(clock, 1), Serial([fails])], PipelineConfig(fail_fast=False))
    pipeline.run()
    metrics = pipeline.metrics()
    plain = metrics.as_dict()
    assert json.loads(metrics.to_json()) == json.loads(metrics.to_json(indent=2)) == plain
    assert plain["steps"]["1.0"]["failed"] == 1
    assert plain["steps"]["0"] == {
        "path": "0",
        "name": "work",
        "count": 1,
        "running": 0,
        "succeeded": 1,
        "failed": 0,
        "timed_out": 0,
        "cancelled": 0,
        "skipped": 0,
        "run_time": {"count": 1, "total": 1.0, "min": 1.0, "max": 1.0, "mean": 1.0},
        "retried": 0,
        "abandoned": 0,
        "queue_time": {"count": 1, "total": 0.0, "min": 0.0, "max": 0.0, "mean": 0.0},
    }
    assert plain["groups"]["1"]["succeeded"] == 1  # with `fail_fast` off it goes on
    assert {"name", "workers", "elapsed", "busy", "capacity", "utilisation"} < plain.keys()


def test_prometheus_text_is_in_the_format_and_says_the_same(clock):
    pipeline = Pipeline(
        [works(clock, 1, "a"), [works(clock, 2, "b"), fails], len_of], ONE, name="e"
    )
    with pytest.raises(RuntimeError):
        pipeline.run()
    families = parse(pipeline.metrics().to_prometheus({"host": "h1"}))
    b = {"host": "h1", "pipeline": "e", "path": "1.0", "name": "b"}
    at = families["task_pipeline_step_run_seconds"].value
    assert (at("_sum", **b), at("_count", **b)) == (2.0, 1.0)
    assert families["task_pipeline_step_run_seconds_max"].value(**b) == 2.0
    assert families["task_pipeline_steps_total"].value(**b, outcome="succeeded") == 1.0
    assert families["task_pipeline_steps_total"].value(**b, outcome="failed") == 0.0
    never = {**b, "path": "2", "name": "len_of"}
    assert families["task_pipeline_steps_total"].value(**never, outcome="skipped") == 1.0
    assert ("", frozenset(never.items())) not in families[
        "task_pipeline_step_run_seconds_max"
    ].samples
    common = {"host": "h1", "pipeline": "e"}
    assert families["task_pipeline_workers"].value(**common) == 1.0
    assert families["task_pipeline_elapsed_seconds_total"].value(**common) == 3.0
    assert families["task_pipeline_worker_utilisation_ratio"].value(**common) == 1.0
    group = {**common, "path": "1", "name": "parallel_group_1"}
    assert families["task_pipeline_groups_total"].value(**group, outcome="failed") == 1.0


@pytest.mark.parametrize("name", ['say "hi"', "back\\slash\\n", "two\nlines", "ümläut ∥", "a,b={}"])
def test_any_name_is_escaped(name):
    pipeline = Pipeline([step(step_id=name)(len_of)], name=name)
    pipeline.run()
    families = parse(pipeline.metrics().to_prometheus({"where": name}))
    labels = {"pipeline": name, "where": name, "path": "0", "name": name, "outcome": "succeeded"}
    assert families["task_pipeline_steps_total"].value(**labels) == 1.0


def test_a_name_that_utf8_has_no_bytes_for():
    pipeline = Pipeline([step(step_id="file-\udcff")(len_of)])
    pipeline.run()
    assert parse(pipeline.metrics().to_prometheus().encode().decode())
    json.loads(pipeline.metrics().to_json())


@pytest.mark.parametrize("label", ["", "1st", "a-b", "a b", "ä", "__own", "path", "outcome"])
def test_labels_that_prometheus_would_not_take(label):
    with pytest.raises(ConfigurationError, match="label"):
        Metrics().to_prometheus({label: "x"})


def test_metrics_cannot_be_changed():
    with pytest.raises(AttributeError):
        Metrics().name = "other"  # type: ignore[misc]  # that is what is tested


def test_adding_up_runs(clock):
    pipeline = Pipeline([works(clock, 1, "a"), [works(clock, 2, "b")]], ONE, name="etl")
    together = Metrics()
    for _ in range(3):
        pipeline.run()
        together += pipeline.metrics()
    assert (together.name, together.workers, together.elapsed) == ("etl", 1, 9.0)
    assert times(together.steps["1.0"].run_time) == (3, 6.0, 2.0, 2.0, 2.0)
    assert together.groups["1"].count == 3 and together.utilisation == 1.0
    other = Pipeline([fails], name="other")
    with pytest.raises(ValueError, match="no"):
        other.run()
    both = together + other.metrics()
    assert (both.name, both.total.count, both.steps["0"].name) == ("", 7, "a")
    assert both.steps["0"].failed == 1


def test_durations_of_nothing_do_not_hide_those_of_something(clock):
    pipeline = Pipeline([works(clock, 2)], ONE)
    pipeline.run()
    entry = pipeline.metrics().steps["0"]
    nothing = StepMetrics("0", "work", skipped=1)
    for added in (entry + nothing, nothing + entry):
        assert times(added.run_time) == (1, 2.0, 2.0, 2.0, 2.0) and added.count == 2
