"""The templates in a step's fields, replaced by what they stand for in a context."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ...context import PipelineContext
from ...errors import ContextCopyError, TemplateError
from ..mistakes.problems import Path
from ..templating.template_values import MAX_TEXT, weigh
from ..templating.templates import MISSING, as_value, has_template, look_up, render, whole_variable
from ..typed_steps import Fields, Place
from .telling import told

Values = Mapping[str, Any]
_FIXED = (bool, int, float, str, type(None), type(MISSING))


class Rendering:
    """How the fields of one step are rendered.

    - `itself`: fields that the step renders itself
    - `closed`: fields that do not take just any value
    - `typed`: where something other than a text is wanted, and a template stands
    """

    __slots__ = ("closed", "itself", "place", "typed")

    def __init__(
        self,
        place: Place,
        itself: Collection[str] = (),
        closed: Collection[str] = (),
        typed: frozenset[Path] = frozenset(),
    ) -> None:
        self.place = place
        self.itself = itself
        self.closed = closed
        self.typed = typed

    def __call__(self, fields: Fields, context: PipelineContext[Any]) -> Fields:
        """The fields, every template in them rendered; keys stay as they are."""
        texts = Texts(context.results, self.place)
        typed = functools.partial(self._typed, texts)
        made = {}
        for key, field in fields.items():
            if key in self.itself:
                made[key] = field
            elif self.typed:
                made[key] = texts.in_all(field, (key,), typed)
            else:
                rendered = texts.text if key in self.closed else texts.anything
                made[key] = texts.in_all(field, (key,), rendered)
        return made

    def _typed(self, texts: Texts, text: str, path: Path) -> Any:
        if path not in self.typed:
            is_closed = path[0] in self.closed
            return texts.text(text, path) if is_closed else texts.anything(text, path)
        found = texts.variable(text, path)
        return as_value(texts.text(text, path)) if found is MISSING else found


def render_nothing(fields: Fields, context: PipelineContext[Any]) -> Fields:
    """For fields without a template."""
    return fields


class Texts:
    """The texts of one step, rendered. What they come to together is limited.

    What cannot be rendered names the step and the field.
    """

    def __init__(self, values: Values, place: Place) -> None:
        self.values = values
        self._place = place
        self._left = MAX_TEXT

    def in_all(self, value: Any, path: Path, rendered: Callable[[str, Path], Any]) -> Any:
        """A value with every text in it rendered, at any depth."""
        if isinstance(value, str):
            return rendered(value, path)
        if isinstance(value, dict):
            return {key: self.in_all(item, (*path, key), rendered) for key, item in value.items()}
        if isinstance(value, list):
            return [self.in_all(item, (*path, index), rendered) for index, item in enumerate(value)]
        return value

    def text(self, text: str, path: Path) -> str:
        """A text, rendered."""
        if not has_template(text):
            return text
        try:
            made = render(text, self.values)
            self._spend(len(made))
        except TemplateError as error:
            raise TemplateError(told(self._place, path, error)) from error
        return made

    def variable(self, text: str, path: Path) -> Any:
        """A copy of the value of the variable that the text is; `MISSING` if it is not one."""
        name = whole_variable(text)
        value = MISSING if name is None else look_up(self.values, name)
        if isinstance(value, _FIXED):
            return value
        try:
            self._spend(weigh(value))
            return copy.deepcopy(value)
        except TemplateError as error:
            raise TemplateError(told(self._place, path, error)) from error
        except Exception as error:
            found = f"what {text} holds cannot be copied: {error!r:.200}"
            hint = "keep it in context.shared"
            raise ContextCopyError(told(self._place, path, found, hint), key=text) from error

    def anything(self, text: str, path: Path) -> Any:
        """Where any value may stand: one variable gives its value."""
        return self.literal(text, path) if has_template(text) else text

    def given(self, text: str, path: Path) -> Any:
        """What is given to another recipe: the value that the rendered text spells.

        One variable whose value is a list, a dict, true, false or null gives that.
        """
        found = self.variable(text, path)
        if found is None or isinstance(found, bool | list | dict):
            return found
        return as_value(self.text(text, path))

    def literal(self, text: str, path: Path) -> Any:
        """A text that is one variable gives its value, all else is text."""
        found = self.variable(text, path)
        is_text = found is MISSING or isinstance(found, str)
        return self.text(text, path) if is_text else found

    def _spend(self, much: int) -> None:
        self._left -= much
        if self._left < 0:
            raise TemplateError(f"all together is longer than {MAX_TEXT:,} characters")
