"""Values with templates in them, rendered: a lone variable keeps its value."""

from __future__ import annotations

import copy
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import ContextCopyError, TemplateError
from ..templating.template_values import MAX_TEXT, weigh
from ..templating.templates import (
    MISSING,
    check_template,
    has_template,
    look_up,
    render,
    whole_variable,
)

MOST_ROUNDS = 10
_RAW = re.compile(r"\{%-?\s*raw\s*-?%\}(.*?)\{%-?\s*endraw\s*-?%\}", re.DOTALL)

Values = Mapping[str, Any]


def rendered_value(value: Any, values: Values) -> Any:
    """A value with every text in it rendered, at any depth.

    A text that is nothing but one variable gives a copy of what that holds, whatever it is;
    the empty text if there is nothing of that name. Raises `TemplateError`, also for more
    than a template may give.
    """
    return _with_texts(value, _Rendering(values).once)


def rendered_again(value: Any, values: Values) -> Any:
    """The same, and what comes out is rendered again while it has templates in it.

    That ends after 10 rounds; what is left then is text, and so is what is no good template.
    What stands between `{% raw %}` and `{% endraw %}` is left as it is.
    """
    rendering = _Rendering(values)
    value = _with_texts(value, rendering.first)
    for _ in range(MOST_ROUNDS - 1):
        rendering.has_changed = False
        value = _with_texts(value, rendering.again)
        if not rendering.has_changed:
            break
    return _with_texts(value, rendering.put_back) if rendering.held else value


class _Rendering:
    """One value's: all it makes together is limited, as variables may hold templates of more."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.has_changed = False
        self.held: dict[str, str] = {}
        # Digits, as no filter for case touches them, and more than anybody could guess.
        self.mark = f"{secrets.randbits(64)}"
        self._spent = 0

    def once(self, text: str) -> Any:
        if not has_template(text):
            return text
        path = whole_variable(text)
        if path is None:
            text = render(text, self.values)
            self._spend(len(text))
            return text
        found = look_up(self.values, path)
        if found is MISSING:
            return ""
        self._spend(weigh(found))
        return _copied(found, text)

    def first(self, text: str) -> Any:
        return self.once(_RAW.sub(self._hold, text))

    def again(self, text: str) -> Any:
        if not has_template(text) or check_template(text) is not None:
            return text
        made = self.first(text)
        if not (isinstance(made, str) and made == text):
            self.has_changed = True
        return made

    def put_back(self, text: str) -> str:
        return re.sub(rf"{self.mark}:\d+;", lambda found: self.held[found.group()], text)

    def _hold(self, found: re.Match[str]) -> str:
        name = f"{self.mark}:{len(self.held)};"
        self.held[name] = found.group(1)
        return name

    def _spend(self, much: int) -> None:
        self._spent += much
        if self._spent > MAX_TEXT:
            raise TemplateError(f"the value would be longer than {MAX_TEXT:,} characters in all")


def _with_texts(value: Any, change: Callable[[str], Any]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _with_texts(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_texts(item, change) for item in value]
    return value


def _copied(value: Any, text: str) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception as error:
        raise ContextCopyError(
            f"what {text} holds cannot be copied: {error!r:.200}; keep it in context.shared",
            key=text,
        ) from error
