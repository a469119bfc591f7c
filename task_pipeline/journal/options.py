"""How a run is to be taken up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from ..config import OnChanged, OnUncertain
from ..context import PipelineContext, context_or_new
from ..errors import ConfigurationError

ON_CHANGED = get_args(OnChanged)
ON_UNCERTAIN = get_args(OnUncertain)


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is to be taken up; see `Pipeline.resume`."""

    context: PipelineContext[Any] | None = None
    from_step: str | None = None
    on_changed: str = "error"
    on_uncertain: str = "error"

    def __post_init__(self) -> None:
        """Report every mistake."""
        context_or_new(self.context)
        problems = []
        if self.on_changed not in ON_CHANGED:
            problems.append(f"on_changed must be one of {ON_CHANGED}, not {self.on_changed!r}")
        if self.on_uncertain not in ON_UNCERTAIN:
            problems.append(
                f"on_uncertain must be one of {ON_UNCERTAIN}, not {self.on_uncertain!r}"
            )
        if self.from_step is not None and not isinstance(self.from_step, str):
            problems.append(f"from_step must be the id of a step, not {self.from_step!r}")
        if problems:
            raise ConfigurationError("; ".join(problems))
