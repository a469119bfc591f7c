"""A workflow as it is written: its steps by id, each checked for itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from ..mistakes.problems import Located, Path, Problems, did_you_mean, from_pydantic, shown
from ..registry import STEP_REGISTRY, StepType
from ..resolving.references import RESERVED
from ..surroundings import Surroundings
from ..typed_steps import Place
from . import native
from .models import MODELS, NativeCommon, StepFields, TypedFields, WorkflowFields
from .spelling import TYPES, Respelt, Spot, needs_respelling

_ID = re.compile(r"[\w-]+")


COMMON = frozenset({"type", "id", "next_step", "timeout", "retry", "critical", "attributes"})
"""What is read of a step that stands for one of the library's own; the rest it reads itself."""


@dataclass(slots=True, eq=False)
class Node:
    """A step as it is written.

    - `given`: what it says, in today's spellings; `fields`: the same checked, or None
    - `typed`: the registered type, of one that is not the workflow's own
    """

    id: str
    kind: str
    given: dict[str, Any]
    fields: Any
    place: Place
    typed: StepType | None = None
    respelt: Respelt | None = None

    def at(self, path: Path) -> Path:
        """Where a part of it stands in the document."""
        return self.place.path + (path if self.respelt is None else self.respelt.written(path))


@dataclass(slots=True, eq=False)
class Workflow:
    """A workflow as it is written: `spot` is where it stands."""

    spot: Spot
    nodes: dict[str, Node] = field(default_factory=dict)
    start: str | None = None
    is_list: bool = False


class Reader:
    """Reads one workflow; what is wrong with it goes to `problems`."""

    def __init__(self, surroundings: Surroundings, problems: Problems, spot: Spot) -> None:
        self._surroundings = surroundings
        self._problems = problems
        self._spot = spot

    def read(self, given: Any) -> Workflow | None:
        """The workflow; None if there are no steps to be seen in it."""
        workflow = Workflow(self._spot)
        if not isinstance(given, dict):
            self.wrong((), f"a workflow is an object with `steps`, not {shown(given)}")
            return None
        if "$schema" in given:
            given = {key: item for key, item in given.items() if key != "$schema"}
        steps = given.get("steps")
        # The steps are looked at one by one, below.
        whole = {**given, "steps": []} if isinstance(steps, dict | list) else given
        try:
            WorkflowFields.model_validate(whole)
        except ValidationError as error:
            self.told(error, WorkflowFields, whole, self._spot.path)
        workflow.is_list = isinstance(steps, list)
        for path, written, key in self._steps(steps):
            self._add(workflow, path, written, key)
        start = given.get("start_step")
        workflow.start = start if isinstance(start, str) and start else None
        return workflow if workflow.nodes else None

    def wrong(self, path: Path, found: str, hint: str = "", of_key: bool = False) -> None:
        """Note a mistake."""
        self._problems.add(self._spot.source, self._spot.path + path, found, hint, of_key=of_key)

    def told(self, error: ValidationError, model: type[BaseModel], given: Any, path: Path) -> None:
        """Note the mistakes that pydantic has found."""
        from_pydantic(error, self._spot.source, path, self._problems, model, given)

    def _steps(self, steps: Any) -> Iterator[tuple[Path, dict[str, Any], str | None]]:
        if isinstance(steps, dict):
            for key, written in steps.items():
                if self._is_step(written, ("steps", key)):
                    yield ("steps", key), written, key
        elif isinstance(steps, list):
            for number, written in enumerate(steps):
                if self._is_step(written, ("steps", number)):
                    yield ("steps", number), written, None

    def _is_step(self, written: Any, path: Path) -> bool:
        if not isinstance(written, dict):
            self.wrong(path, f"must be an object, not {shown(written)}")
            return False
        return True

    def _add(
        self, workflow: Workflow, path: Path, written: dict[str, Any], key: str | None
    ) -> None:
        if key is not None and "id" not in written:  # as most are
            self._check_id(key, path, True)
            workflow.nodes[key] = self._node(key, self._spot.path + path, written)
            return
        step_id = written.get("id", key)
        if not isinstance(step_id, str) or not step_id:
            if "id" not in written:
                self.wrong(path, "`id` is missing", "a step in a list has an id")
            elif isinstance(step_id, str):
                self.wrong((*path, "id"), "the id is empty")
            elif key is None:
                self.wrong((*path, "id"), f"must be a text, not {shown(step_id)}")
            if key is None:
                return
            step_id = key
        elif key is not None and step_id != key:
            self.wrong(
                (*path, "id"),
                f"the step {key!r} has the id {step_id!r}",
                "leave the id out: it is the key that the step stands under",
            )
            step_id = key
        where = path if key is not None else (*path, "id")
        self._check_id(step_id, where, key is not None)
        if step_id in workflow.nodes:
            self.wrong(where, f"there are two steps of the id {step_id!r}", "ids are used once")
            return
        workflow.nodes[step_id] = self._node(step_id, self._spot.path + path, written)

    def _check_id(self, step_id: str, path: Path, of_key: bool) -> None:
        if _ID.fullmatch(step_id) is not None and step_id not in RESERVED:
            return
        if step_id in RESERVED:
            hint = f"{', '.join(RESERVED)} mean something else in references; call it another name"
            self.wrong(path, f"a step cannot be called {step_id!r}", hint, of_key)
        else:
            self.wrong(
                path,
                f"a step cannot be called {step_id!r}",
                "an id is made of letters, digits, - and _, so that references can name it",
                of_key,
            )

    def _node(self, step_id: str, path: Path, written: dict[str, Any]) -> Node:
        place = Place(self._spot.source, path, "workflow")  # type: ignore[arg-type]  # what the caller has read
        given_kind = written.get("type", "agent")
        kind = TYPES.get(given_kind, given_kind) if isinstance(given_kind, str) else "agent"
        model, typed = MODELS.get(kind), None
        if kind in native.TYPES:
            return self._native(Node(step_id, "native", written, None, place))
        if model is None:
            model = TypedFields
            typed = self._type_of(kind, path)
            if typed is None:
                return Node(step_id, "", written, None, place)
            kind = "typed"
        node = Node(step_id, kind, written, None, place, typed)
        if needs_respelling(written, kind):
            node.respelt = Respelt(written, kind, self._problems, Spot(place.source, path))
            node.given = node.respelt.value
        try:
            node.fields = model.model_validate(node.given)
        except ValidationError as error:
            self._tell(node, error, model)
        return node

    def _native(self, node: Node) -> Node:
        """A step that stands for one of the library's own."""
        common = {key: item for key, item in node.given.items() if key in COMMON}
        try:
            node.fields = NativeCommon.model_validate(common)
        except ValidationError as error:
            self.told(error, NativeCommon, common, node.place.path)
        return node

    def _tell(self, node: Node, error: ValidationError, model: type[StepFields]) -> None:
        problems = self._problems if node.respelt is None else Translated(self._problems, node)
        given, path = node.given, node.place.path
        from_pydantic(error, node.place.source, path, problems, model, given)  # type: ignore[arg-type]  # Problems, as far as it is used

    def _type_of(self, kind: str, path: Path) -> StepType | None:
        at = (*path, "type")
        if kind in STEP_REGISTRY:
            found = STEP_REGISTRY.type_of(kind)
            if not getattr(found.step_class, "is_recipe_block", False):
                return found
            hint = "in a workflow, write a sub_workflow"
            self._problems.add(self._spot.source, at, f"{kind!r} is a block of recipes", hint)
            return None
        if kind in self._surroundings.handlers:
            from ..steps.handlers import handler_type

            return handler_type(kind)
        own = (name for name in STEP_REGISTRY if not is_recipe_block(name))
        names = [*MODELS, *native.TYPES, *own, *self._surroundings.handlers]
        hint = did_you_mean(kind, names) or "register a type of your own with @register_step"
        self._problems.add(self._spot.source, at, f"there is no type of step {kind!r}", hint)
        return None


def is_recipe_block(name: str) -> bool:
    """Whether a registered type is one of recipes only."""
    return getattr(STEP_REGISTRY[name], "is_recipe_block", False) is True


class Translated:
    """`Problems` for a step in other spellings: each mistake is put where it was written."""

    def __init__(self, problems: Problems, node: Node) -> None:
        self._problems = problems
        self._node = node

    def add(
        self, source: Located, path: Path, found: str, hint: Any = "", *, of_key: bool = False
    ) -> None:
        """Add one mistake."""
        inside = path[len(self._node.place.path) :]
        self._problems.add(source, self._node.at(inside), found, hint, of_key=of_key)
