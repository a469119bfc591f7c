"""A recipe becomes groups and steps; all that is wrong with it is found on the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path as File
from typing import Any

from pydantic import ValidationError

from ...groups import Serial, TaskStep
from ..mistakes.problem_words import did_you_mean, nearest, shown
from ..mistakes.problems import Path, Problems, from_pydantic
from ..reading.source import Source
from ..surroundings import Surroundings
from ..typed_steps import Place
from .blocks import Block, Included
from .field_checks import check_templates, checked, holds_template, validated
from .forms import listed_steps, series, unwrapped
from .inclusion import Inclusions, IsUnchanged, files_written
from .type_facts import TypeFacts, facts_of, type_names

MAX_NESTING = 64
"""How many blocks may stand in one another, those of included recipes counted."""

MAX_INCLUDED = 20_000
"""How many steps of other recipes are compiled with a recipe."""


class RecipeCompiler:
    """Compiles a recipe, and the recipes it includes, each of which is read once.

    `may_write`: whether a step that comes before may have written a recipe.
    """

    def __init__(self, surroundings: Surroundings, problems: Problems) -> None:
        self.surroundings = surroundings
        self.problems = problems
        self._inclusions = Inclusions()
        self.may_write = False
        self._facts: dict[str, TypeFacts] = {}
        self._depth = 0
        self._around: list[File | None] = []  # the files that are being compiled
        self._included = 0
        self._written: set[File] = set()
        self._writers: list[dict[str, Any]] = []  # of which it is not yet known what they write

    def recipe(self, source: Source) -> list[TaskStep]:
        """The steps of a whole recipe."""
        steps, path = listed_steps(source, self.problems)
        self._included += len(steps) if self._around else 0
        self._around.append(source.file)
        try:
            return self._all(steps, source, path)
        finally:
            self._around.pop()

    def include(self, file: File) -> Included | None:
        """The steps of another recipe; None for one that is to be read when it is reached.

        That is one that includes itself, one that the recipe writes before, and one more where
        very many are included.
        """
        while self._writers:
            self._written.update(files_written(self._writers.pop(), self.surroundings))
        if file in self._around or file in self._written or self._included > MAX_INCLUDED:
            return None
        source = self._inclusions.read(file, self.problems)
        if source is None:
            return Included([], None)
        guard = IsUnchanged(file, source.text) if self.may_write else None
        return Included(self.recipe(source), guard)

    def side_by_side(self, written: list[Any], place: Place) -> list[TaskStep]:
        """The steps of a field of type `Steps`."""
        source, path = place.source, place.path
        made: list[TaskStep] = []
        for index, step in enumerate(written):
            if isinstance(step, list):
                made.append(Serial(self._all(step, source, (*path, index)), f"series {index}"))
            elif (one := self._step(step, source, (*path, index))) is not None:
                made.append(one)
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

    def _all(self, steps: Sequence[Any], source: Source, path: Path) -> list[TaskStep]:
        made = []
        for index, written in enumerate(steps):
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
            if fields is None:
                return None
        else:
            fields, own = written.copy(), None
            del fields["type"]
        place = Place(source, path)
        if facts.block is not None:
            if self._depth == MAX_NESTING:
                self.wrong(place, f"more than {MAX_NESTING} blocks stand in one another")
                return None
            self._depth += 1
            try:
                return self._block(facts, own, fields, place)
            finally:
                self._depth -= 1
        if facts.may_write:
            self.may_write = True
            if "files" in fields:
                self._writers.append(fields)
        config, render = checked(facts, fields, place, self.surroundings, self.problems)
        return facts.step_class(
            own or facts.kind.name, facts.kind, fields, config, render, place, self.surroundings
        )

    def _find(self, written: dict[str, Any], source: Source, path: Path) -> TypeFacts | None:
        """What there is to know of a step's type."""
        if "type" not in written:
            meant = nearest("type", (key for key in written if key not in ("config", "id")))
            hint = f"is {meant!r} meant to be it?" if meant else "say what kind of step it is"
            self.problems.add(source, path, "`type` is missing", hint)
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
        self, facts: TypeFacts, own: str | None, fields: dict[str, Any], place: Place
    ) -> TaskStep | None:
        made = facts.block
        assert made is not None
        self._check_block(facts, fields, place)
        try:
            config = validated(facts, fields)
        except ValidationError as error:
            from_pydantic(
                error,
                place.source,
                place.path,
                self.problems,
                facts.kind.model,
                fields,
                holds_template,
            )
            made.look_at(fields, place, self)
            self._look_inside(made.of_steps, fields, place)
            return None
        return made.build(Block(facts.kind.name, own, config, place), self)

    def _check_block(self, facts: TypeFacts, fields: dict[str, Any], place: Place) -> None:
        """A block's own templates: where there may be one, it must be right."""
        made = facts.block
        assert made is not None
        for key, field in fields.items():
            if key in made.templated:
                check_templates(field, place, (key,), self.problems)
            elif key in facts.shaping and holds_template(field):
                self.problems.add(
                    place.source,
                    (*place.path, key),
                    f"a template cannot stand here: `{key}` shapes the pipeline, which is made "
                    "before anything runs",
                    "write the value itself",
                )

    def _look_inside(self, keys: Sequence[str], fields: dict[str, Any], place: Place) -> None:
        """Find what is wrong with the steps of a block that cannot be made itself."""
        for key in keys:
            written = fields.get(key)
            at = Place(place.source, (*place.path, key))
            if isinstance(written, list):
                self.side_by_side(written, at)
            elif isinstance(written, dict):
                self.way(written, at)


def _unknown_type(name: str, surroundings: Surroundings) -> str:
    known = did_you_mean(name, type_names(surroundings), most=0)
    register = f"register it with @register_step({name!r})"
    return f"{known} If not, {register}" if known else register
