"""Pipelines drawn by Hypothesis as plain data."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.drawn import DYNAMIC, Group, Step, changed_in_branches
from tests.dynamic_work import Asked, Turn, without_stops
from tests.step_work import AT_A_PLACE, READS, WHOLE, Edit, Work

KEYS = ("a", "b", "c", "d")
INNER = ("x", "y")
NAMES = ("load", "parse", "rank")
ERRORS: tuple[type[Exception], ...] = (ValueError, KeyError, OSError)


# Drawing


SCALARS = st.sampled_from([0, 1, 3, -2, 2.5, True, False, None, "s", "t"])
LISTS = st.lists(SCALARS, max_size=3)
VALUES: st.SearchStrategy[Any] = st.one_of(
    SCALARS,
    SCALARS,
    LISTS,
    st.sets(st.sampled_from("pqr"), max_size=3),
    st.dictionaries(st.sampled_from(INNER), st.one_of(SCALARS, LISTS), max_size=2),
)
PLACES = st.one_of(
    st.tuples(st.sampled_from([*KEYS, *KEYS, "item"])),
    st.tuples(st.sampled_from(KEYS), st.sampled_from(INNER)),
    st.tuples(st.sampled_from(KEYS), st.sampled_from(INNER), st.sampled_from(INNER)),
)
GIVEN = {
    "put": VALUES,
    "add": st.integers(-3, 3),
    "append": SCALARS,
    "insert": SCALARS,
    "include": st.sampled_from("pqr"),
    "exclude": st.sampled_from("pqr"),
    "default": VALUES,
    "copy": st.sampled_from([*KEYS, "item"]),
    "tell": st.sampled_from(sorted(READS)),
    "spoil": st.sampled_from(sorted(READS)),
    "replace": st.lists(st.sampled_from(KEYS), unique=True),
    "update": st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3),
    "total": st.integers(-3, 3),
    "tag": st.sampled_from("pqr"),
    "tags": st.sampled_from("pqr"),
    "warn": st.sampled_from(["odd", "late"]),
}
EDITS = st.one_of(
    *(
        st.builds(Edit, st.just(kind), PLACES if kind in AT_A_PLACE else st.just(()), given)
        for kind, given in ((kind, GIVEN.get(kind, st.none())) for kind in [*AT_A_PLACE, *WHOLE])
    )
)
TO_ITEMS = st.builds(
    Edit,
    st.sampled_from(["append", "insert", "shorten", "swap", "delete", "rebind"]),
    st.just(("items",)),
    VALUES,
)
"""To what maps take their items from: always a list, if it is there."""
DONE: dict[str, st.SearchStrategy[Any]] = {
    "fails": st.sampled_from([0, 0, 0, 0, 1, 2, 9]),
    "at": st.integers(0, 3),
    "error": st.sampled_from(ERRORS),
    "gives": st.sampled_from(["nothing", "nothing", "context", "copy", "value"]),
    "value": VALUES,
}
WORKS = st.one_of(
    st.builds(Work, st.lists(EDITS, max_size=4).map(tuple), **DONE),
    st.builds(Work, st.lists(EDITS, max_size=4).map(tuple), **DONE),
    st.builds(
        Turn,
        st.lists(st.one_of(EDITS, TO_ITEMS), max_size=3).map(tuple),
        **DONE,
        ends=st.sampled_from(["item", "item", "skips", "stops"]),
    ),
)
ASKED = st.builds(
    Asked,
    st.sampled_from(["truth", "size", "truth", "size", "fails", "skips", "stops"]),
    st.sampled_from([*KEYS, "item"]),
    st.booleans(),
)
CONDITIONS = st.one_of(st.sampled_from([*KEYS, "item", "items"]), ASKED)
ITEMS = st.one_of(
    st.lists(VALUES, max_size=3).map(tuple),
    st.just("items"),
    st.builds(
        Asked,
        st.sampled_from(["list", "list", "fails", "skips", "stops"]),
        st.sampled_from([*KEYS, "item"]),
        st.booleans(),
    ),
)
ATTRIBUTES: dict[str, st.SearchStrategy[Any]] = {
    "attempts": st.sampled_from([1, 1, 1, 2, 3]),
    "delay": st.sampled_from([0.0, 0.0, 1.0]),
    "never_on": st.sampled_from([(), (), (KeyError,)]),
    "critical": st.sampled_from([True, True, True, False]),
    "isolated": st.sampled_from([None, None, None, True, False]),
    "is_function": st.booleans(),
    "is_coroutine": st.booleans(),
    "limit": st.sampled_from([None, None, "disk"]),
}
STEPS = st.builds(Step, st.sampled_from(NAMES), WORKS, **ATTRIBUTES)
TIMEOUTS = st.sampled_from([None, None, None, 1.0, 2.0])
TIMED = {"attempts": st.sampled_from([1, 2, 3]), "timeout": st.sampled_from([None, 1.0, 2.0])}
TIMED_STEPS = st.builds(Step, st.sampled_from(NAMES), WORKS, **{**ATTRIBUTES, **TIMED})
IDLE_STEPS = st.builds(
    Step,
    st.just("idle"),
    st.just(Work(())),
    critical=st.booleans(),
    limit=st.sampled_from([None, "disk"]),
)
"""For the scheduler alone, which runs no step's work."""
CONFLICTS = st.sampled_from([None, None, "last", "first", "error"])
LIMITS = st.sampled_from([None, None, 1, 2])
RESULT_KEYS = (None, None, "b", "out")


def longer(one: Any, other: Any) -> Any:
    """A reducer that takes any two values."""
    return one if len(str(one)) >= len(str(other)) else other


def added(one: Any, other: Any) -> Any:
    """A reducer that raises for many."""
    return one + other


REDUCERS = st.sampled_from(
    [
        {},
        {},
        {},
        {"a": longer},
        {"a": added},
        {"b.x": longer, "told": added},
        {"context.tags": added},
    ]
)


class Chosen(NamedTuple):
    """What may be in a drawn pipeline: error strategies, kinds of steps, timeouts of groups.

    `stops`: also in branches, where chance decides what has been done by then.
    """

    strategies: tuple[str, ...] = ("FAIL_SLOW",)
    steps: st.SearchStrategy[Any] = STEPS
    timed: bool = False
    stops: bool = False


SLOW = Chosen()
EARLY = Chosen(("FAIL_FAST", "FAIL_FAST", "FAIL_SLOW"))
LATE = Chosen(EARLY.strategies, TIMED_STEPS, timed=True)
ANYWHERE = Chosen(EARLY.strategies, TIMED_STEPS, timed=True, stops=True)
IDLE = Chosen(EARLY.strategies, IDLE_STEPS, timed=True)


def _set_only(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


@st.composite
def parallel_settings(draw: Any, count: int, chosen: Chosen) -> dict[str, Any]:
    """Settings of a parallel group with `count` branches; 0 for a pipeline's defaults."""
    operator = draw(st.sampled_from([None, "AND", "OR", "QUORUM"]))
    return _set_only(
        operator=operator,
        quorum=draw(st.integers(1, max(count, 1))) if operator == "QUORUM" else None,
        error_strategy=draw(st.sampled_from([None, *chosen.strategies])),
        on_conflict=draw(CONFLICTS),
        max_workers=draw(LIMITS),
        delay=draw(st.sampled_from([None, None, None, 1.0])),
        timeout=draw(TIMEOUTS) if chosen.timed else None,
    )


@st.composite
def pipeline_settings(draw: Any, chosen: Chosen) -> dict[str, Any]:
    """Settings of a pipeline."""
    return _set_only(
        fail_fast=draw(st.sampled_from([None, True, False])),
        parallel=draw(st.one_of(st.just({}), parallel_settings(0, chosen))),
        on_conflict=draw(CONFLICTS),
        reducers=draw(REDUCERS),
        max_workers=draw(LIMITS),
        timeout=draw(TIMEOUTS) if chosen.timed else None,
        limits=draw(st.sampled_from([None, None, {"disk": 1}, {"disk": 2}])),
    )


@st.composite
def _dynamic_groups(draw: Any, inner: st.SearchStrategy[Any], chosen: Chosen) -> Group:
    kind = draw(st.sampled_from(DYNAMIC))
    name = draw(st.sampled_from([None, None, None, "left", "right"]))
    if kind == "map":
        keys = (draw(st.sampled_from(["item", "item", "a"])), draw(st.sampled_from(RESULT_KEYS)))
        settings = draw(st.one_of(st.just({}), parallel_settings(2, chosen)))
        return Group(kind, (draw(inner),), name, settings, draw(ITEMS), keys)
    if kind == "branch":
        ways = draw(st.lists(inner, min_size=1, max_size=2))
        return Group(kind, tuple(ways), name, asked=draw(CONDITIONS))
    asked = draw(st.one_of(st.none(), CONDITIONS))
    times = draw(st.sampled_from([0, 1, 2, 2, 3]))
    return Group(kind, (draw(inner),), name, asked=asked, times=times)


@st.composite
def _groups(
    draw: Any, kinds: tuple[str, ...], inner: st.SearchStrategy[Any], chosen: Chosen
) -> Group:
    kind = draw(st.sampled_from(kinds))
    children = draw(st.lists(inner, max_size=4))
    if children and draw(st.integers(0, 7)) == 0:
        children.append(draw(st.sampled_from(children)))  # one and the same object, twice
    settings: dict[str, Any] = {}
    if kind == "pipeline":
        settings = draw(pipeline_settings(chosen))
    elif kind == "parallel":
        settings = draw(parallel_settings(len(children), chosen))
    name = None if kind == "list" else draw(st.sampled_from([None, None, "left", "right"]))
    return Group(kind, tuple(children), name, settings)


def trees(chosen: Chosen = SLOW, depth: int = 4) -> st.SearchStrategy[Group]:
    """Whole pipelines, nested `depth` deep at most."""
    kinds = ("list", "list", "serial", "parallel", "pipeline")
    nodes = chosen.steps
    for _ in range(depth):
        dynamic = _dynamic_groups(nodes, chosen)
        nodes = st.one_of(chosen.steps, _groups(kinds, nodes, chosen), dynamic)
    found = _groups(("pipeline",), nodes, chosen)
    return found if chosen.stops else found.map(_stopping_in_series_only)


def _stopping_in_series_only(tree: Group) -> Group:
    return changed_in_branches(tree, without_stops)


STARTS = st.builds(
    lambda known, items: {**known, **items},
    st.dictionaries(st.sampled_from([*KEYS, "item"]), VALUES, max_size=4),
    st.sampled_from([{}, {"items": [1, [2]]}, {"items": ["s", {"x": 1}, [3]]}]),
)
"""What a context's results hold before the run."""
