"""The step or group that each type of step becomes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from pydantic import ValidationError

from ...errors import ConditionError, ConfigurationError
from ...groups import Group, Serial, TaskStep
from ..expressions import Condition, parse
from ..mistakes.problems import Path, Problems, did_you_mean, from_pydantic
from ..registry import AGENTS
from ..resolving.references import OPENING
from ..surroundings import Surroundings, refusal
from ..typed_steps import DocumentStep, Place
from . import native
from .agents import (
    NO_MAPPING,
    AsyncOutputStep,
    OutputStep,
    Render,
    agent_step,
    way_to_call,
)
from .blocks import Asked, Choice
from .linking import Links
from .models import RetryFields, WorkFields
from .reading import COMMON, Node
from .scopes import References, Scope
from .spelling import Spot
from .values import View

Stops = frozenset[str]


class Made(NamedTuple):
    """A series of steps, and the ids of those that may be the last of it, the likeliest last."""

    steps: list[TaskStep]
    last: tuple[str, ...]


class Builder(Protocol):
    """What the making of a step asks for: the compiler."""

    surroundings: Surroundings
    problems: Problems
    references: References

    def branches(
        self, node: Node, lists: Sequence[tuple[str, Sequence[str], Scope]], stops: Stops
    ) -> list[Made]:
        """Lists of steps of a block: those of one run in series, each with what follows it."""
        ...

    def view(self, node: Node, scope: Scope) -> View:
        """What a step can see in a run."""
        ...

    def tell_twice(self, step_id: str) -> None:
        """Note that a step would run more than once."""
        ...

    def within(self, given: Any, spot: Spot, node: Node) -> Made | None:
        """The steps of a workflow in this one; None if it is in itself."""
        ...

    def wrong(self, node: Node, path: Path, found: str, hint: str = "") -> None:
        """Note a mistake in a step."""
        ...


class StepMaker:
    """Makes those that do something themselves, and the conditions of those that choose."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._ways: dict[int, int | None] = {}  # to call each agent

    def agent(self, node: Node, links: Links, scope: Scope, stops: Stops) -> TaskStep | None:
        """A step that calls an agent."""
        fields, builder = node.fields, self._builder
        given = node.given
        mapping = given.get("input_mapping", NO_MAPPING)
        if mapping is not NO_MAPPING:
            builder.references.check(node, ("input_mapping",), mapping, scope)
        if given.get("url") is not None:
            for key in ("url", "headers"):
                builder.references.check(node, (key,), given.get(key), scope)
            if fields is None:
                return None
            made = self._endpoint(node, mapping, scope)
            return None if made is None else self._with_attributes(made, fields)
        name = given.get("agent_name")
        if not isinstance(name, str):
            if fields is not None:
                found = "`agent_name` is missing"
                builder.wrong(node, (), found, "name a registered agent, or give it a `url`")
            return None
        for key in ("method", "headers"):
            if given.get(key) is not None:
                builder.wrong(node, (key,), f"{key!r} is for an agent with a `url`", "leave it out")
        function = self._function(node, name)
        if function is None or fields is None:
            return None
        if id(function) not in self._ways:
            self._ways[id(function)] = way_to_call(function)
        way = self._ways[id(function)]
        if way is None:
            found = f"the agent {name!r} takes neither an input nor an input and a context"
            builder.wrong(node, ("agent_name",), found, "it is called as fn(input[, context])")
            return None
        view = builder.view(node, scope)
        made = agent_step(view, name, function, way, mapping, builder.surroundings.env)
        return self._with_attributes(made, fields)

    def _endpoint(self, node: Node, mapping: Any, scope: Scope) -> Any:
        """The step for an agent with a `url`; None if it is wrong, or not allowed."""
        from .http_agents import HttpAgentStep, require_httpx, require_url

        fields, builder = node.fields, self._builder
        if "http" not in builder.surroundings.allow:
            builder.wrong(node, ("url",), refusal("http", "an agent with a url"))
            return None
        # What a reference at its beginning comes to is looked at in the run.
        if "://" in fields.url.partition(OPENING)[0] or OPENING not in fields.url:
            try:
                require_url(fields.url, "the url")
            except ConfigurationError as error:
                builder.wrong(node, ("url",), str(error))
                return None
        require_httpx()
        method, headers = fields.method or "POST", fields.headers or {}
        env = builder.surroundings.env
        return HttpAgentStep(builder.view(node, scope), fields.url, method, headers, mapping, env)

    def _function(self, node: Node, name: str) -> Callable[..., Any] | None:
        agents = self._builder.surroundings.agents
        found = agents.get(name) if name != "*" else None
        if found is None:
            found = AGENTS.get(name)
        if found is not None:
            return found
        fallback = agents.get("*")
        if fallback is None:
            names = [*(key for key in agents if key != "*"), *AGENTS]
            hint = f'register one with @register_agent("{name}"), or pass agents={{"{name}": fn}}'
            near = did_you_mean(name, names)
            if near:
                hint = f"{near}{' Or' if near.endswith('?') else '; or'} {hint}"
            self._builder.wrong(node, ("agent_name",), f"there is no agent {name!r}", hint)
            return None
        return _told_its_name(fallback, name)

    def _with_attributes(self, made: Any, fields: WorkFields) -> TaskStep:
        """A step with what is written of it beside its fields."""
        written = fields.model_fields_set
        if "timeout" in written:
            made.timeout = fields.timeout
        if "critical" in written:
            made.critical = fields.critical
        if "retry" in written:
            made.retries = made.policy(fields.retry) if hasattr(made, "policy") else retries(fields)
        if fields.description and fields.description.strip():
            made.description = fields.description
        if fields.attributes is not None:
            for name, value in fields.attributes.model_dump(exclude_unset=True).items():
                setattr(made, name, value)
        return made  # type: ignore[no-any-return]  # a step: what it was

    def typed(self, node: Node, links: Links, scope: Scope, stops: Stops) -> TaskStep | None:
        """A step of a registered type."""
        builder, kind = self._builder, node.typed
        fields = node.given.get("config", {})
        if kind is None or not isinstance(fields, dict):
            return None
        path = node.at(("config",))
        place = Place(node.place.source, path, "workflow")
        refers = builder.references.check(node, ("config",), fields, scope)
        config = None
        before = len(builder.problems)
        try:
            config = kind.model.model_validate(fields, strict=True)
        except ValidationError as error:
            from_pydantic(
                error, place.source, path, builder.problems, kind.model, fields, has_reference
            )
        if issubclass(kind.step_class, DocumentStep):
            for inside, found, hint in kind.step_class.check(fields, builder.surroundings):
                builder.wrong(node, ("config", *inside), found, hint)
        if node.fields is None or (config is None and len(builder.problems) > before):
            return None
        view = builder.view(node, scope)
        step_class = AsyncOutputStep if kind.is_async else OutputStep
        made: Any = step_class(
            node.id,
            kind,
            fields,
            None if refers else config,
            Render(view),
            place,
            builder.surroundings,
        )
        made.view, made.env = view, builder.surroundings.env
        return self._with_attributes(made, node.fields)

    def native(self, node: Node, links: Links, scope: Scope, stops: Stops) -> TaskStep | None:
        """A group or function of the library's own."""
        builder = self._builder
        fields = {key: item for key, item in node.given.items() if key not in COMMON}
        place = Place(node.place.source, node.place.path, "workflow")
        condition_of = functools.partial(self._asked, node, scope)
        read = native.read(
            str(node.given["type"]),
            fields,
            place,
            builder.surroundings,
            builder.problems,
            condition_of,
        )
        ways = {} if read is None else {one.field: one.in_series for one in read.nested}
        repeats = fields.get("group") == "loop"
        lists: list[tuple[str, Sequence[str], Scope]] = []
        for field, ids in links.lists:
            inner = Scope(scope, in_rounds=repeats)
            for number in range(len(ids)):
                shared = inner if ways.get(field, True) else Scope(scope)
                lists.append((field, ids[number : number + 1], shared))
        children: dict[str, list[TaskStep]] = {}
        inside = builder.branches(node, lists, stops)
        for (field, (step_id,), _), made in zip(lists, inside, strict=True):
            if made.steps:
                only = made.steps[0] if len(made.steps) == 1 else Serial(made.steps, step_id)
                children.setdefault(field, []).append(only)
        scopes = list({id(inner): inner for *_, inner in lists}.values())
        self.take_all(scopes, scope, exclusive=fields.get("group") == "branch")
        common = node.fields
        if read is None or common is None:
            return None
        if any(len(children.get(one.field, ())) != len(one.ids) for one in read.nested):
            return None  # what is missing is a mistake of its own
        attributes: dict[str, Any] = {}
        if common.attributes is not None:
            attributes = common.attributes.model_dump(exclude_unset=True)
        written = common.model_fields_set
        attributes |= {
            key: getattr(common, key) for key in ("timeout", "critical") if key in written
        }
        if "retry" in written:
            attributes["retries"] = retries(common)
        for one in read.nested:
            children.setdefault(one.field, [])
        return native.build(read, node.id, attributes, children)

    def take_all(self, scopes: Sequence[Scope], into: Scope, exclusive: bool = False) -> None:
        """What has run side by side; unless only one has, a step that is in two is a mistake."""
        taken: set[str] = set()
        for one in scopes:
            inside = [*one.seen, *one.hidden]
            if not exclusive:
                for step_id in inside:
                    if step_id in taken:
                        self._builder.tell_twice(step_id)
            taken.update(inside)
            into.take(one)

    def _asked(self, node: Node, scope: Scope, text: str, path: Path) -> Asked | None:
        """The condition of a group of the library's own."""
        inside = path[len(node.place.path) :]
        condition = self.condition(node, inside, text, scope)
        if condition is None:
            return None
        view = self._builder.view(node, scope)
        return Asked(view, condition, self._builder.surroundings)

    def choice(self, node: Node, links: Links, scope: Scope) -> Choice | None:
        """The condition of a conditional."""
        given = node.given.get("condition")
        path: Path = ("condition",)
        if isinstance(given, dict):
            given, path = given.get("expression"), ("condition", "expression")
        condition: Condition | bool | None = given if isinstance(given, bool) else None
        if isinstance(given, str):
            condition = self.condition(node, path, given, scope)
        if condition is None or node.fields is None:
            return None
        view = self._builder.view(node, scope)
        return Choice(view, condition, self._builder.surroundings, links.ways)

    def condition(self, node: Node, path: Path, text: str, scope: Scope) -> Condition | None:
        """A condition that was parsed, and its references checked."""
        try:
            condition = parse(text, style="workflow")
        except ConditionError as error:
            self._builder.wrong(node, path, f"{error} (column {error.column} of the condition)")
            return None
        for reference in condition.references():
            self._builder.references.check_text(node, path, reference, scope)
        return condition


def retries(fields: WorkFields) -> Any:
    """When a step is tried again, as the engine takes it."""
    if isinstance(fields.retry, RetryFields):
        return fields.retry.policy()
    return fields.retry or 0


def set_critical(node: Node, group: Group) -> None:
    """A block whose failure does not fail what it is part of."""
    fields = node.fields
    if not fields.critical or getattr(fields, "on_error", "fail") == "continue":
        group.critical = False


def has_reference(value: Any) -> bool:
    """Whether a value is a text whose real value is only known in a run."""
    return isinstance(value, str) and OPENING in value


def as_branch(steps: list[TaskStep], name: str) -> TaskStep:
    """Steps in series as one branch of a group; one that is called so as it is."""
    if len(steps) == 1:
        only: Any = steps[0]
        called = only.name if isinstance(only, Group) else getattr(only, "step_id", name)
        if called == name:
            return steps[0]
    return Serial(steps, name)


def as_way(steps: list[TaskStep], name: str) -> TaskStep | None:
    """Steps in series where there may be none; one as it is."""
    if len(steps) < 2:
        return steps[0] if steps else None
    return Serial(steps, name)


def _told_its_name(fallback: Callable[..., Any], name: str) -> Callable[..., Any]:
    """What answers for agents that nobody knows, with the agent's name if it asks for it."""
    try:
        asks = "agent_name" in inspect.signature(fallback).parameters
    except (TypeError, ValueError):
        asks = False
    return functools.partial(fallback, agent_name=name) if asks else fallback
