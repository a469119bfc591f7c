"""Settings: of a pipeline, of a parallel group, of a step's retries.

All are frozen pydantic models. A field that does not exist, a limit that is not
positive or a setting without meaning is an error where it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, model_validator


class LogicOperator(StrEnum):
    """How many branches must succeed: all (`AND`), one (`OR`), `quorum` of them (`QUORUM`)."""

    AND = "AND"
    OR = "OR"
    QUORUM = "QUORUM"


class ErrorStrategy(StrEnum):
    """Whether a group waits for every branch (`FAIL_SLOW`) or ends once decided (`FAIL_FAST`)."""

    FAIL_SLOW = "FAIL_SLOW"
    FAIL_FAST = "FAIL_FAST"


class ReplayMode(StrEnum):
    """What a replay of a recorded run does.

    - `NORMAL`: nothing runs; what was recorded is put together again
    - `VALIDATION`: every step runs again, on what it was given then, and is compared
    - `REPUBLISH_ALL`: nothing runs; the run's events are told again, in order
    """

    NORMAL = "NORMAL"
    VALIDATION = "VALIDATION"
    REPUBLISH_ALL = "REPUBLISH_ALL"


OnConflict = Literal["last", "first", "error"]
"""Which branch wins a key that does not merge: the last or first as written, or none."""

OnChanged = Literal["error", "rerun_changed", "ignore"]
"""What a resume does if the pipeline is not what it was."""

OnUncertain = Literal["error", "rerun", "skip"]
"""What a resume does about steps that must not be repeated blindly."""

Reducer = Callable[[Any, Any], Any]
"""Folds two branches' values of one key, the earlier branch's first: `max`, `operator.or_`."""

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Delay = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
# Enums are read by value too, so that the same model reads a document.
Operator = Annotated[LogicOperator, Field(strict=False)]
Strategy = Annotated[ErrorStrategy, Field(strict=False)]


class _Settings(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, arbitrary_types_allowed=True
    )


class ParallelConfig(_Settings):
    """Settings of one parallel group; `timeout` and `delay` are in seconds.

    A field left out is taken from the pipeline's `parallel_config`.

    ```python
    from task_pipeline import LogicOperator, ParallelConfig

    config = ParallelConfig(operator=LogicOperator.QUORUM, quorum=2, timeout=3)
    ```
    """

    operator: Operator = LogicOperator.AND
    quorum: Count | None = None
    max_workers: Count | None = None
    timeout: Seconds | None = None
    error_strategy: Strategy = ErrorStrategy.FAIL_SLOW
    delay: Delay = 0.0
    on_conflict: OnConflict | None = None
    show_task_identifiers: bool = True
    use_visual_separators: bool = False

    @model_validator(mode="after")
    def _quorum_goes_with_its_operator(self) -> Self:
        wants = self.operator is LogicOperator.QUORUM
        if wants and self.quorum is None:
            raise ValueError("operator QUORUM needs `quorum`, the number of branches to succeed")
        if not wants and self.quorum is not None:
            raise ValueError(f"`quorum` means nothing with operator {self.operator}; leave it out")
        return self

    def over(self, defaults: ParallelConfig) -> ParallelConfig:
        """This config, with fields left out here taken from `defaults`."""
        if self is defaults:
            return self
        fields = {name: getattr(defaults, name) for name in defaults.model_fields_set}
        if "operator" in self.model_fields_set:
            fields.pop("quorum", None)  # a quorum belongs to the operator it was written with
        own = {name: getattr(self, name) for name in self.model_fields_set}
        if own.get("quorum", ...) is None:  # None says nothing; the operator decides
            del own["quorum"]
        fields.update(own)
        return ParallelConfig(**fields)


class RetryPolicy(_Settings):
    """When a failed step is tried again, and after what wait.

    `attempts` counts the first one. The wait after attempt n is `delay` (constant),
    `delay * n` (linear) or `delay * 2 ** (n - 1)` (exponential), at most `max_delay` if
    that is set, plus up to `jitter` more, all in seconds. No attempt starts once
    `total_time` seconds have passed since the first began.

    ```python
    from task_pipeline import RetryPolicy

    policy = RetryPolicy(attempts=5, backoff="exponential", delay=0.5, max_delay=30, jitter=0.1,
                         retry_on=(ConnectionError,))
    ```
    """

    attempts: Count = 3
    backoff: Literal["constant", "linear", "exponential"] = "exponential"
    delay: Delay = 0.1
    max_delay: Delay | None = None
    jitter: Delay = 0.0
    retry_on: tuple[type[Exception], ...] = (Exception,)
    never_on: tuple[type[Exception], ...] = ()
    total_time: Seconds | None = None

    @model_validator(mode="after")
    def _cap_is_above_the_first_wait(self) -> Self:
        if self.max_delay is not None and self.max_delay < self.delay:
            raise ValueError(f"max_delay {self.max_delay} is less than delay {self.delay}")
        return self


def _checked_retries(value: object) -> RetryPolicy | int:
    if isinstance(value, RetryPolicy):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(f"a whole number from 0, or a RetryPolicy, not {value!r}")


class TaskGroupConfig(_Settings):
    """Settings of a dynamic group, as `parallel()` takes them; times are in seconds.

    - `max_retries`: extra attempts of a task that fails, after `retry_delay` and then twice
      as long each time; or a `RetryPolicy`
    - `circuit_breaker_threshold`: after so many failed attempts in a row nothing more is
      tried for `circuit_breaker_timeout`; None for no breaker. `circuit_breaker` is one to
      share with others instead, or the name of it
    """

    max_workers: Count = 5
    error_strategy: Strategy = ErrorStrategy.FAIL_SLOW
    timeout: Seconds | None = None
    name: Annotated[str, Field(min_length=1)] | None = None
    max_retries: Annotated[RetryPolicy | int, PlainValidator(_checked_retries)] = 0
    retry_delay: Delay = 1.0
    circuit_breaker_threshold: Count | None = 5
    circuit_breaker_timeout: Seconds = 60.0
    circuit_breaker: Any = None

    @model_validator(mode="after")
    def _breaker_is_one(self) -> Self:
        given = self.circuit_breaker
        if given is not None and not isinstance(given, str) and not hasattr(given, "admit"):
            raise ValueError(f"circuit_breaker must be a CircuitBreaker or a name, not {given!r}")
        return self

    @property
    def policy(self) -> RetryPolicy | None:
        """When a task is tried again."""
        if isinstance(self.max_retries, RetryPolicy):
            return self.max_retries if self.max_retries.attempts > 1 else None
        if self.max_retries == 0:
            return None
        return RetryPolicy(attempts=self.max_retries + 1, delay=self.retry_delay)


class PipelineConfig(_Settings):
    """Settings of one pipeline.

    `timeout` (seconds) bounds the whole run, `max_workers` how many of its steps run at
    once. `reducers` maps a key of `results` (or a dotted path below one, such as
    "stats.best") to a function that folds two branches' values. `limits` caps how many
    of the steps with that `limit` run at once, at any depth.

    ```python
    from task_pipeline import ParallelConfig, PipelineConfig

    config = PipelineConfig(fail_fast=False, parallel_config=ParallelConfig(max_workers=4))
    ```
    """

    fail_fast: bool = True
    parallel_config: ParallelConfig = Field(default_factory=ParallelConfig)
    timeout: Seconds | None = None
    max_workers: Count | None = None
    on_conflict: OnConflict = "last"
    reducers: Mapping[str, Reducer] = Field(default_factory=dict)
    limits: Mapping[Annotated[str, Field(min_length=1)], Count] = Field(default_factory=dict)
