"""A recipe becomes groups and steps; all that is wrong with it is found on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from ...groups import Serial, TaskStep
from ..problem_words import did_you_mean, shown
from ..problems import Path, Problems, from_pydantic
from ..source import Source
from ..surroundings import Surroundings
from ..templates import has_template
from ..typed_steps import Place
from .blocks import Block
from .field_checks import check_templates, checked, holds_template, validated
from .forms import listed_steps, series, unwrapped
from .inclusion import Inclusions
from .type_facts import TypeFacts, facts_of, type_names

MAX_NESTING = 100
"""How many blocks may stand in one another, those of included recipes counted."""


class RecipeCompiler:
    """Compiles a recipe, and the recipes it includes, each of which is read once."""

    def __init__(
        self, surroundings: Surroundings, problems: Problems, source: Source
    ) -> None:
        self.surroundings = surroundings
        self.problems = problems
        self.inclusions = Inclusions(surroundings, source.file)
        self.may_write = False  # whether a step may, that comes before
        self._facts: dict[str, TypeFacts] = {}
        self._depth = 0

    def recipe(self, source: Source) -> list[TaskStep]:
        """The steps of a whole recipe."""
        steps, path = listed_steps(source, self.problems)
        return self._all(steps, source, path)

    def side_by_side(self, written: list[Any], place: Place) -> list[TaskStep]:
        """The steps of a field of type `Steps`."""
        source, path = place.source, place.path
        made: list[TaskStep] = []
        for index, step in enumerate(written):
            if isinstance(step, list):
                made.append(Serial(self._all(step, source, (*path, index)), f"series {index}"))
            else:
                made += self._all([step], source, path, index)
        return made

    def way(self, written: list[Any] | dict[str, Any], place: Place) -> list[TaskStep]:
        """The steps of a field of type `Way`, to run one after another."""
        steps, path = series(written, place.source, place.path, self.problems)
        if path is None:
            made = self._step(steps[0], place.source, place.path)
            return [] if made is None else [made]
        return self._all(steps, place.source, path)

    def wrong(self, place: Place, found: str, hint: str = "") -> None:
        """Note a mistake."""
        self.problems.add(place.source, place.path, found, hint)

    def _all(
        self, steps: Sequence[Any], source: Source, path: Path, first: int = 0
    ) -> list[TaskStep]:
        made = []
        for index, written in enumerate(steps, first):
            step = self._step(written, source, (*path, index))
            if step is not None:
                made.append(step)
        return made

    def _step(self, written: Any, source: Source, path: Path) -> TaskStep | None:
        """One step; None for one that is too wrong to be made."""
        if not isinstance(written, dict):
            self.problems.add(
                source, path, f"a step is an object with a `type`, not {shown(written)}"
            )
            return None
        name = written.get("type")
        facts = self._facts.get(name) if isinstance(name, str) else None
        if facts is None:
            facts = self._find(written, source, path)
            if facts is None:
                return None
        if "config" in written or "id" in written:
            fields, path, own = unwrapped(written, facts.keys, source, path, self.problems)
        else:
            fields, own = written.copy(), None
            del fields["type"]
        name = own or facts.kind.name
        place = Place(source, path)
        if facts.block is not None:
            return self._block(facts, name, fields, place)
        self.may_write = self.may_write or facts.may_write
        config, render = checked(facts, fields, place, self.surroundings, self.problems)
        return facts.step_class(name, facts.kind, fields, config, render, place, self.surroundings)

    def _find(self, written: dict[str, Any], source: Source, path: Path) -> TypeFacts | None:
        """What there is to know of a step's type."""
        if "type" not in written:
            self.problems.add(source, path, "`type` is missing", "say what kind of step it is")
            return None
        name = written["type"]
        if not isinstance(name, str):
            self.problems.add(source, (*path, "type"), f"must be a text, not {shown(name)}")
            return None
        facts = facts_of(name, self.surroundings)
        if facts is None:
            self.problems.add(
                source,
                (*path, "type"),
                f"there is no type of steps {shown(name).removeprefix('the text ')}",
                lambda: _unknown_type(name, self.surroundings),
            )
            return None
        self._facts[name] = facts
        return facts

    def _block(
        self, facts: TypeFacts, name: str, fields: dict[str, Any], place: Place
    ) -> TaskStep | None:
        made = facts.block
        assert made is not None
        self._check_block(facts, fields, place)
        try:
            config = validated(facts, fields)
        except ValidationError as error:
            from_pydantic(
                error, place.source, place.path, self.problems, facts.kind.model, fields,
                holds_template,
            )
            self._look_inside(made.of_steps, fields, place)
            return None
        if self._depth == MAX_NESTING:
            self.wrong(place, f"more than {MAX_NESTING} blocks stand in one another")
            return None
        self._depth += 1
        try:
            return made.build(Block(name, config, place), self)
        finally:
            self._depth -= 1

    def _check_block(self, facts: TypeFacts, fields: dict[str, Any], place: Place) -> None:
        """A block's own templates: where there may be one, it must be right."""
        made = facts.block
        assert made is not None
        for key, field in fields.items():
            if key in made.templated:
                check_templates({key: field}, place, self.problems)
            elif key not in made.of_steps and key in facts.keys and holds_template(field):
                self.problems.add(
                    place.source,
                    (*place.path, key),
                    f"a template cannot stand here: `{key}` shapes the pipeline, which is made "
                    "before anything runs",
                    "write the value itself",
                )
