"""The templates in a step's fields, replaced by what they stand for in a context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...context import PipelineContext
from ...errors import TemplateError
from ...state.copying import ATOMIC, copy_value
from ..problems import Path
from ..templates import MISSING, as_value, has_template, look_up, render, whole_variable
from ..typed_steps import Fields, Place
from .telling import told

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rendering:
    """How the fields of one step are rendered.

    - `itself`: fields that the step renders itself
    - `typed`: where something other than a text is wanted, and a template stands
    """

    place: Place
    itself: tuple[str, ...] = ()
    typed: frozenset[Path] = frozenset()

    def __call__(self, fields: Fields, context: PipelineContext[Any]) -> Fields:
        """The fields, every template in them rendered; keys stay as they are."""
        values = context.results
        return {
            key: field if key in self.itself else self._rendered(field, values, (key,))
            for key, field in fields.items()
        }

    def _rendered(self, field: Any, values: Values, path: Path) -> Any:
        if isinstance(field, str):
            if not has_template(field):
                return field
            if path in self.typed:
                found = variable_value(field, values)
                return as_value(text_of(field, values, self.place, path)) if found is MISSING else found
            return text_of(field, values, self.place, path)
        if isinstance(field, dict):
            return {
                key: self._rendered(item, values, (*path, key)) for key, item in field.items()
            }
        if isinstance(field, list):
            return [
                self._rendered(item, values, (*path, index)) for index, item in enumerate(field)
            ]
        return field


def render_nothing(fields: Fields, context: PipelineContext[Any]) -> Fields:
    """For fields without a template."""
    return fields


def text_of(text: str, values: Values, place: Place, path: Path) -> str:
    """The text rendered; what cannot be names the step and the field."""
    try:
        return render(text, values)
    except TemplateError as error:
        raise TemplateError(told(place, path, error)) from error


def variable_value(text: str, values: Values) -> Any:
    """The value of the variable that the text is nothing but; `MISSING` if it is not one.

    A copy, so that no two keys of a context have the same list.
    """
    path = whole_variable(text)
    if path is None:
        return MISSING
    return own(look_up(values, path), text)


def own(value: Any, what: str) -> Any:
    """The value itself if it cannot change, else a copy."""
    if type(value) in ATOMIC or value is MISSING:
        return value
    return copy_value(value, {}, what)


def given_value(field: Any, values: Values, place: Place, path: Path) -> Any:
    """What is given to another recipe: rendered, and then the value that it spells.

    A text that is one variable whose value is a list, a dict, true, false or null gives that;
    any other text what `as_value` makes of it.
    """
    if isinstance(field, str):
        found = variable_value(field, values)
        if found is None or isinstance(found, bool | list | dict):
            return found
        return as_value(text_of(field, values, place, path))
    return _inside(field, values, place, path, given_value)


def literal_value(field: Any, values: Values, place: Place, path: Path) -> Any:
    """A list or dict that is written out, with its texts rendered.

    A text that is one variable gives its value, of whatever type; all others stay text.
    """
    if isinstance(field, str):
        found = variable_value(field, values) if has_template(field) else MISSING
        return text_of(field, values, place, path) if found is MISSING else found
    return _inside(field, values, place, path, literal_value)


def _inside(field: Any, values: Values, place: Place, path: Path, rendered: Any) -> Any:
    if isinstance(field, dict):
        return {
            key: rendered(item, values, place, (*path, key)) for key, item in field.items()
        }
    if isinstance(field, list):
        return [
            rendered(item, values, place, (*path, index)) for index, item in enumerate(field)
        ]
    return field
