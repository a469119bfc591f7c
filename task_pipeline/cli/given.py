"""`-c key=value`: what `results` holds when a run starts."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..errors import MissingExtraError
from .failures import CommandError

_WAYS = "-c takes key=value or key=@file.json"
_YAML = (".yaml", ".yml")


def parse_given(texts: Sequence[str]) -> dict[str, str]:
    """The keys with what stands behind the `=`; the last one wins. Reads no file."""
    given = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise CommandError(f"{_WAYS}, not {text!r}")
        given[key] = value
    return given


def read_given(given: dict[str, str]) -> dict[str, Any]:
    """The values: of files what is in them, of JSON what it says, and else the text."""
    return {
        key: _read_file(key, text[1:]) if text.startswith("@") else _value_of(text)
        for key, text in given.items()
    }


def _value_of(text: str) -> Any:
    try:
        return _parse(text)
    except (ValueError, RecursionError):
        return text


def _parse(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse, parse_float=_finite)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large for a number")
    return number


def _read_file(key: str, name: str) -> Any:
    """What is in a file: JSON, YAML or text, by the suffix of its name."""
    where = f"-c {key}=@{name}"
    try:
        text = Path(name).read_text("utf-8-sig")
    except OSError as error:
        raise CommandError(
            f"{where}: the file cannot be read: {error.strerror or error}. A text that begins "
            f"with @ is given as JSON: -c '{key}=\"@{name}\"'"
        ) from error
    except ValueError as error:  # of the encoding, or a NUL in the name
        raise CommandError(f"{where}: this is not a text in UTF-8: {error}") from error
    suffix = Path(name).suffix.lower()
    try:
        if suffix == ".json":
            return _parse(text)
        return _parse_yaml(text) if suffix in _YAML else text
    except RecursionError as error:
        raise CommandError(f"{where}: this is nested too deeply") from error
    except ValueError as error:
        raise CommandError(
            f"{where}: this is not {'YAML' if suffix in _YAML else 'JSON'}: {error}"
        ) from error


def _parse_yaml(text: str) -> Any:
    try:
        import yaml
    except ModuleNotFoundError as error:
        if error.name != "yaml":
            raise
        raise MissingExtraError("reading YAML", "documents", "PyYAML") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
