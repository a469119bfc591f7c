"""Settings: what they default to, what they refuse, how a group's go over its pipeline's."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pydantic
import pytest

from task_pipeline import (
    ErrorStrategy,
    LogicOperator,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    PipelineDefinitionError,
    RetryPolicy,
    TaskGroupConfig,
)

Models = Any
"""One of the models; their fields are what the tests get wrong."""

MODELS: list[Models] = [ParallelConfig, PipelineConfig, RetryPolicy, TaskGroupConfig]
QUORUM = LogicOperator.QUORUM


def problem(model: Models, **fields: Any) -> tuple[tuple[str, ...], str]:
    """Which fields the one mistake is in, and what is said of it."""
    with pytest.raises(pydantic.ValidationError) as caught:
        model(**fields)
    [error] = caught.value.errors()
    return tuple(map(str, error["loc"])), error["msg"]


def test_defaults() -> None:
    assert dict(ParallelConfig()) == {
        "operator": LogicOperator.AND,
        "quorum": None,
        "max_workers": None,
        "timeout": None,
        "error_strategy": ErrorStrategy.FAIL_SLOW,
        "delay": 0.0,
        "on_conflict": None,
        "show_task_identifiers": True,
        "use_visual_separators": False,
    }
    assert dict(PipelineConfig()) == {
        "fail_fast": True,
        "parallel_config": ParallelConfig(),
        "timeout": None,
        "max_workers": None,
        "on_conflict": "last",
        "reducers": {},
        "limits": {},
    }
    assert dict(RetryPolicy()) == {
        "attempts": 3,
        "backoff": "exponential",
        "delay": 0.1,
        "max_delay": None,
        "jitter": 0.0,
        "retry_on": (Exception,),
        "never_on": (),
        "total_time": None,
    }
    assert dict(TaskGroupConfig()) == {
        "max_workers": 5,
        "error_strategy": ErrorStrategy.FAIL_SLOW,
        "timeout": None,
        "name": None,
        "max_retries": 0,
        "retry_delay": 1.0,
        "circuit_breaker_threshold": 5,
        "circuit_breaker_timeout": 60.0,
        "circuit_breaker": None,
    }


@pytest.mark.parametrize("model", MODELS)
def test_a_field_that_does_not_exist_is_named(model: Models) -> None:
    assert problem(model, retrys=1) == (("retrys",), "Extra inputs are not permitted")
    with pytest.raises(pydantic.ValidationError, match="2 validation errors") as caught:
        model(retrys=1, max_worker=2)
    assert "retrys" in str(caught.value)
    assert "max_worker" in str(caught.value)


SECONDS: list[tuple[Models, str]] = [
    *((ParallelConfig, "timeout"), (PipelineConfig, "timeout"), (RetryPolicy, "total_time")),
    (TaskGroupConfig, "timeout"),
]
WAITS: list[tuple[Models, str]] = [
    *((ParallelConfig, "delay"), (RetryPolicy, "delay")),
    *((RetryPolicy, "jitter"), (TaskGroupConfig, "retry_delay")),
]
COUNTS: list[tuple[Models, str]] = [
    *((ParallelConfig, "max_workers"), (PipelineConfig, "max_workers")),
    *((RetryPolicy, "attempts"), (ParallelConfig, "quorum")),
    *((TaskGroupConfig, "max_workers"), (TaskGroupConfig, "circuit_breaker_threshold")),
]


@pytest.mark.parametrize("value", [-1, -0.001, float("nan"), float("inf"), "3", True, [3]])
@pytest.mark.parametrize(("model", "name"), [*SECONDS, *WAITS, (RetryPolicy, "max_delay")])
def test_times_are_finite_numbers_from_0(model: Models, name: str, value: Any) -> None:
    assert problem(model, **{name: value})[0] == (name,)


@pytest.mark.parametrize(("model", "name"), SECONDS)
def test_a_limit_of_time_is_above_0_or_none(model: Models, name: str) -> None:
    where, text = problem(model, **{name: 0})
    assert (where, text) == ((name,), "Input should be greater than 0")
    value = getattr(model(**{name: 3}), name)
    assert (value, type(value)) == (3.0, float)
    assert getattr(model(**{name: None}), name) is None


@pytest.mark.parametrize(("model", "name"), WAITS)
def test_a_wait_may_be_0(model: Models, name: str) -> None:
    assert getattr(model(**{name: 0}), name) == 0.0
    assert problem(model, **{name: None})[0] == (name,)


@pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, "3", True, float("inf")])
@pytest.mark.parametrize(("model", "name"), COUNTS)
def test_counts_are_whole_numbers_from_1(model: Models, name: str, value: Any) -> None:
    fields = {"operator": QUORUM} if name == "quorum" else {}
    assert problem(model, **{name: value}, **fields)[0] == (name,)
    assert getattr(model(**{name: 1}, **fields), name) == 1


@pytest.mark.parametrize(
    ("model", "name", "value"),
    [
        *((ParallelConfig, "operator", wrong) for wrong in ("XOR", "and", None, 1)),
        *((ParallelConfig, "error_strategy", wrong) for wrong in ("FAIL", None)),
        *((ParallelConfig, "on_conflict", wrong) for wrong in ("LAST", 1)),
        *((ParallelConfig, "show_task_identifiers", wrong) for wrong in (1, "yes", None)),
        *((ParallelConfig, "use_visual_separators", wrong) for wrong in (0, "no")),
        *((PipelineConfig, "fail_fast", wrong) for wrong in (1, "true", None)),
        *((PipelineConfig, "parallel_config", wrong) for wrong in (None, 5, PipelineConfig())),
        *((PipelineConfig, "on_conflict", wrong) for wrong in ("none", None)),
        *((PipelineConfig, "reducers", wrong) for wrong in (None, max, [("k", max)])),
        *((PipelineConfig, "limits", wrong) for wrong in (None, 5, [("k", 5)])),
        *((RetryPolicy, "backoff", wrong) for wrong in ("random", None)),
        *((TaskGroupConfig, "name", wrong) for wrong in ("", 5)),
        *((TaskGroupConfig, "max_retries", wrong) for wrong in (-1, 1.5, None)),
    ],
)
def test_a_setting_without_meaning_is_named(model: Models, name: str, value: Any) -> None:
    assert problem(model, **{name: value})[0][0] == name


def test_a_reducer_must_be_callable_under_a_name() -> None:
    assert problem(PipelineConfig, reducers={"k": 5})[0] == ("reducers", "k")
    assert problem(PipelineConfig, reducers={5: max})[0][0] == "reducers"
    assert PipelineConfig(reducers={"k": max, "a.b": min}).reducers == {"k": max, "a.b": min}


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3", None])
def test_a_limit_is_a_whole_number_from_1_under_a_name(value: Any) -> None:
    assert problem(PipelineConfig, limits={"api": value})[0] == ("limits", "api")
    assert PipelineConfig(limits={"api": 1, "disk": 8}).limits == {"api": 1, "disk": 8}
    for name in ("", 5, None):
        assert problem(PipelineConfig, limits={name: 1})[0][0] == "limits"


@pytest.mark.parametrize("name", ["retry_on", "never_on"])
@pytest.mark.parametrize(
    "value", [(KeyboardInterrupt,), (ValueError("a"),), ("ValueError",), OSError]
)
def test_retries_are_for_exception_types(name: str, value: Any) -> None:
    assert problem(RetryPolicy, **{name: value})[0][0] == name


def test_a_cap_is_not_below_the_first_wait() -> None:
    assert RetryPolicy(delay=0, max_delay=0).max_delay == 0.0
    assert RetryPolicy(delay=2, max_delay=2).max_delay == 2.0
    text = "Value error, max_delay 1.0 is less than delay 2.0"
    assert problem(RetryPolicy, delay=2, max_delay=1) == ((), text)


def test_operators_and_strategies_are_read_by_value_too() -> None:
    config = ParallelConfig.model_validate({"operator": "OR", "error_strategy": "FAIL_FAST"})
    assert config == ParallelConfig(
        operator=LogicOperator.OR, error_strategy=ErrorStrategy.FAIL_FAST
    )
    assert [str(operator) for operator in LogicOperator] == ["AND", "OR", "QUORUM"]
    assert [str(strategy) for strategy in ErrorStrategy] == ["FAIL_SLOW", "FAIL_FAST"]


def test_a_quorum_goes_with_its_operator_and_only_with_it() -> None:
    assert ParallelConfig(operator=QUORUM, quorum=2).quorum == 2
    text = "Value error, operator QUORUM needs `quorum`, the number of branches to succeed"
    assert problem(ParallelConfig, operator=QUORUM) == ((), text)
    for operator in ("AND", "OR"):
        _, text = problem(ParallelConfig, operator=operator, quorum=2)
        assert text == f"Value error, `quorum` means nothing with operator {operator}; leave it out"


@pytest.mark.parametrize("model", MODELS)
def test_settings_do_not_change_and_can_be_compared_copied_and_pickled(model: Models) -> None:
    settings = model()
    for name in model.model_fields:
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            setattr(settings, name, getattr(settings, name))
    assert copy.deepcopy(settings) == pickle.loads(pickle.dumps(settings)) == settings


# A group's settings over its pipeline's


def over(own: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    found = ParallelConfig(**own).over(ParallelConfig(**defaults))
    plain = ParallelConfig()
    return {name: value for name, value in found if value != getattr(plain, name)}


@pytest.mark.parametrize(
    ("own", "defaults", "expected"),
    [
        ({}, {}, {}),
        ({}, {"timeout": 3.0, "delay": 1.0}, {"timeout": 3.0, "delay": 1.0}),
        ({"timeout": 2.0}, {"timeout": 3.0, "delay": 1.0}, {"timeout": 2.0, "delay": 1.0}),
        ({"timeout": None}, {"timeout": 3.0}, {}),
        ({"operator": "AND"}, {"operator": "OR"}, {}),
        ({"operator": "OR"}, {"operator": QUORUM, "quorum": 2}, {"operator": "OR"}),
        ({}, {"operator": QUORUM, "quorum": 2}, {"operator": QUORUM, "quorum": 2}),
        ({"quorum": None}, {"operator": QUORUM, "quorum": 2}, {"operator": QUORUM, "quorum": 2}),
        (
            {"operator": QUORUM, "quorum": 1},
            {"operator": QUORUM, "quorum": 2, "delay": 1.0},
            {"operator": QUORUM, "quorum": 1, "delay": 1.0},
        ),
        ({"operator": QUORUM, "quorum": 1}, {"operator": "OR"}, {"operator": QUORUM, "quorum": 1}),
    ],
)
def test_fields_left_out_are_the_pipelines(
    own: dict[str, Any], defaults: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert over(own, defaults) == expected


def test_a_config_over_itself_is_itself() -> None:
    config = ParallelConfig(timeout=3)
    assert config.over(config) is config


def test_a_mistake_in_a_group_is_found_when_the_pipeline_is_made() -> None:
    steps: list[Any] = [lambda context: None, lambda context: None]
    for config, text in [
        (ParallelConfig(operator=QUORUM, quorum=3), "path 0: quorum 3 is more than its 2 branches"),
        ({"timeout": 3}, "path 0: config must be a ParallelConfig"),
        (PipelineConfig(), "path 0: config must be a ParallelConfig"),
    ]:
        with pytest.raises(PipelineDefinitionError, match=text):
            Pipeline([Parallel(steps, config=config)])  # type: ignore[arg-type]  # a mistake
