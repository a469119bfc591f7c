"""Groups that say outright how their children run, and groups that find it out in the run."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self, TypeAlias

from .collectors import Collector
from .config import ParallelConfig, PipelineConfig
from .steps import PipelineStep

ProgressCallback: TypeAlias = Callable[[int, int, str, float], object]
"""Called as `callback(step_index, total_steps, name, percent)` when a top-level item ends."""


class Group:
    """What every group has: `children`, in the order written, and a `name`.

    - `collector`: what takes the place of the merge, of a parallel group
    - `critical`: whether its failure fails what it is part of; else that goes on
    - `tolerates_failures`: a parallel one succeeds however many of its branches fail
    - `max_open`: how many branches of a parallel one may be under way at once, whatever they
      wait for; `max_workers` is about the steps in them that run
    - `executor`: who calls the steps in it, if not who calls those around it; see `Pipeline`
    """

    children: Sequence[TaskStep]
    name: str | None
    collector: Collector | None = None
    critical: bool = True
    tolerates_failures: bool = False
    max_open: int | None = None
    executor: Any = None

    def __init__(
        self, children: Sequence[TaskStep], name: str | None = None, executor: Any = None
    ) -> None:
        self.children = children
        self.name = name
        self.executor = executor

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # A copy is called by the same executor: one cannot be copied, not even half.
        memo[id(self.executor)] = self.executor
        made = memo[id(self)] = object.__new__(type(self))
        state: Any = self.__getstate__()
        made.__dict__.update(copy.deepcopy(state, memo))
        return made

    def __repr__(self) -> str:
        count = len(self.children) if isinstance(self.children, Sequence) else "?"
        return f"<{type(self).__name__} {self.name or ''} of {count}>"


class Serial(Group):
    """Children that run one after another, wherever the group stands.

    A list inside it is a parallel group again.

    ```python
    from task_pipeline import Pipeline, Serial

    def first(context): ...
    def second(context): ...

    Pipeline([Serial([first, second], name="both")]).run()
    ```
    """


class Parallel(Group):
    """Children that run side by side, with a name and settings of their own.

    ```python
    from task_pipeline import Parallel, ParallelConfig, Pipeline

    def left(context): ...
    def right(context): ...

    Pipeline([Parallel([left, right], name="io", config=ParallelConfig(timeout=3))]).run()
    ```
    """

    def __init__(
        self,
        children: Sequence[TaskStep],
        name: str | None = None,
        config: ParallelConfig | None = None,
        executor: Any = None,
    ) -> None:
        super().__init__(children, name, executor)
        self.config = config


class PipelineGroup(Group):
    """A serial group with a pipeline's settings: what a `Pipeline` in a list is."""

    def __init__(
        self,
        children: Sequence[TaskStep],
        name: str | None = None,
        config: PipelineConfig | None = None,
        progress_callback: ProgressCallback | None = None,
    ) -> None:
        super().__init__(children, name)
        self.config = config if config is not None else PipelineConfig()
        self.progress_callback = progress_callback


class Dynamic(Group):
    """A group that only finds out in a run what is to run in it.

    `call` is asked, as a step is run, with the context the group works in; `decide`
    makes of its answer what the group needs. `form` is what a record calls it.
    """

    form = ""

    def call(self, context: Any) -> Any:
        """What the user wrote to be asked."""
        raise NotImplementedError

    def decide(self, answer: Any) -> Any:
        """The answer in the form the engine takes; raises if it has no meaning."""
        raise NotImplementedError

    def problems(self) -> list[str]:
        """What is wrong with the arguments."""
        raise NotImplementedError


class Map(Dynamic):
    """One step, or list of steps, for each of the items that are there when it is reached.

    - `over`: a key of `results`, a path below one such as "data.0.items", a function of
      the context, or a list
    - `item_key`: where each branch finds its item in its own `results`
    - `result_key`: where the values come to stand that the branches have under that key,
      as a list in the order of the items, None for a branch without. By default the id of a
      function, under which its branches have what it returns
    - `config`: as of any parallel group

    Branches are isolated and merged as those of any parallel group are.

    ```python
    from task_pipeline import Map, Pipeline, PipelineContext

    def double(context): return 2 * context.results["item"]

    pipeline = Pipeline([Map(double, over="numbers", result_key="doubled")])
    context = pipeline.run(PipelineContext(results={"numbers": [1, 2, 3]}))
    assert context.results["doubled"] == [2, 4, 6]
    ```
    """

    form = "Map"
    # For those built on it. `spreads`: an item is a dict of which each branch begins with every
    # key; `begins_anew`: and with nothing else, of what is around it; `hides`: without these keys.
    spreads = False
    begins_anew = False
    hides: tuple[str, ...] = ()

    def __init__(
        self,
        step: TaskStep,
        over: str | Callable[[Any], Any] | Sequence[Any],
        item_key: str = "item",
        result_key: str | None = None,
        config: ParallelConfig | None = None,
        name: str | None = None,
        executor: Any = None,
    ) -> None:
        super().__init__([step], name, executor)
        self.over = over
        self.item_key = item_key
        self.result_key = result_key
        self.config = config

    @property
    def call(self) -> Callable[[Any], Any]:
        """Finds the items in a context."""
        over = self.over
        if isinstance(over, str):
            return functools.partial(_items_under, over)
        return over if callable(over) else functools.partial(_given, over)

    def decide(self, answer: Any) -> list[Any]:
        """The items as a list; of a mapping its (key, value) pairs."""
        if isinstance(answer, Mapping):
            return list(answer.items())
        if isinstance(answer, str | bytes) or not isinstance(answer, Iterable):
            raise TypeError(f"`over` must lead to a list of items, not to {_shown(answer)}")
        return list(answer)

    def problems(self) -> list[str]:
        """What is wrong with the arguments."""
        found = []
        if isinstance(self.over, str | bytes):
            if not self.over or isinstance(self.over, bytes):
                found.append(f"over must not be {self.over!r}; name a key of results")
        elif not callable(self.over) and not isinstance(self.over, Sequence):
            found.append(f"over must be a key, a function or a list, not {_shown(self.over)}")
        if not isinstance(self.item_key, str) or not self.item_key:
            found.append(f"item_key must be a key of results, not {self.item_key!r}")
        if self.result_key is not None and (
            not isinstance(self.result_key, str) or not self.result_key
        ):
            found.append(f"result_key must be a key of results, or None, not {self.result_key!r}")
        elif self.result_key is not None and self.result_key == self.item_key:
            found.append(f"item_key and result_key are both {self.item_key!r}")
        return found


class Branch(Dynamic):
    """One of two ways on: `then` if the condition holds, else `otherwise`.

    `condition` is a function of the context, or a key of `results` (or a path below one)
    whose value counts as true or false; one that is not there is false. Steps of the way
    that is not taken are skipped. A list runs one after another.

    ```python
    from task_pipeline import Branch, Pipeline, PipelineContext

    def publish(context): return "published"
    def report(context): return "reported"

    pipeline = Pipeline([Branch("ok", publish, otherwise=report)])
    assert pipeline.run(PipelineContext(results={"ok": False})).results["report"] == "reported"
    ```
    """

    form = "Branch"

    def __init__(
        self,
        condition: str | Callable[[Any], Any],
        then: TaskStep,
        otherwise: TaskStep | None = None,
        name: str | None = None,
        executor: Any = None,
    ) -> None:
        super().__init__([then] if otherwise is None else [then, otherwise], name, executor)
        self.condition = condition

    @property
    def call(self) -> Callable[[Any], Any]:
        """Evaluates the condition."""
        return _condition(self.condition)

    def decide(self, answer: Any) -> int:
        """The number of the way to take."""
        return 0 if answer else 1

    def problems(self) -> list[str]:
        """What is wrong with the arguments."""
        return _wrong_condition("condition", self.condition)


class Loop(Dynamic):
    """A step, or list of steps, again and again: `times` often, or as long as `while_` holds.

    `while_`, a condition as `Branch` takes it, is asked before each round. With both, it
    is at most `times` rounds. Each round works on what the one before has left.

    ```python
    from task_pipeline import Loop, Pipeline, PipelineContext

    def halve(context): context.results["n"] //= 2

    pipeline = Pipeline([Loop(halve, while_=lambda context: context.results["n"] > 10)])
    assert pipeline.run(PipelineContext(results={"n": 100})).results["n"] == 6
    ```
    """

    form = "Loop"

    def __init__(
        self,
        step: TaskStep,
        while_: str | Callable[[Any], Any] | None = None,
        times: int | None = None,
        name: str | None = None,
        executor: Any = None,
    ) -> None:
        super().__init__([step], name, executor)
        self.while_ = while_
        self.times = times

    @property
    def call(self) -> Callable[[Any], Any]:
        """Evaluates the condition."""
        return _always if self.while_ is None else _condition(self.while_)

    def decide(self, answer: Any) -> bool:
        """Whether there is another round."""
        return bool(answer)

    def problems(self) -> list[str]:
        """What is wrong with the arguments."""
        found = [] if self.while_ is None else _wrong_condition("while_", self.while_)
        times = self.times
        if self.while_ is None and times is None:
            found.append("a Loop needs `while_` or `times`, or it would never end")
        if times is not None and (
            isinstance(times, bool) or not isinstance(times, int) or times < 0
        ):
            found.append(f"times must be a whole number from 0, not {times!r}")
        return found


# Functions of the module, so that a pipeline with such a group can be pickled.


def _always(context: object) -> bool:
    return True


def _items_under(key: str, context: Any) -> Any:
    return lookup(context.results, key, "over")


def _given(items: Sequence[Any], context: object) -> Sequence[Any]:
    return items


def _value_under(key: str, context: Any) -> Any:
    return lookup(context.results, key, None)


def _condition(condition: str | Callable[[Any], Any]) -> Callable[[Any], Any]:
    return functools.partial(_value_under, condition) if isinstance(condition, str) else condition


def _wrong_condition(name: str, condition: object) -> list[str]:
    if callable(condition) or (isinstance(condition, str) and condition):
        return []
    return [f"{name} must be a function or a key of results, not {condition!r}"]


def _shown(value: object) -> str:
    return f"{type(value).__name__} {value!r:.60}" if value is not None else "None"


def lookup(results: Any, key: str, needed_for: str | None) -> Any:
    """The value of a key, or of a path below one such as "data.0.items".

    One that is not there is None, or a `KeyError` if it is `needed_for` something.
    """
    if key in results:
        return results[key]
    value = results
    walked: list[str] = []
    for part in key.split("."):
        try:
            if isinstance(value, Mapping):
                value = value[part]
            elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
                value = value[int(part)]
            else:
                raise LookupError(part)  # noqa: TRY004  # as for a key that is not there
        except (LookupError, ValueError) as error:
            if needed_for is None:
                return None
            raise KeyError(
                f"{needed_for}={key!r}: there is no {part!r} in results"
                + "".join(f"[{step!r}]" for step in walked)
            ) from error
        walked.append(part)
    return value


TaskStep: TypeAlias = "PipelineStep | Callable[[Any], Any] | Group | Sequence[TaskStep]"
"""The type of one element of a pipeline's list: a step, a function, a group or a list."""
