"""Trying a run's record out on a run that nobody is told of."""

from __future__ import annotations

from typing import Any

from ..context import PipelineContext
from ..engine.clock import Clock
from ..engine.core import Setup
from ..engine.execution import Execution
from ..engine.feed import Feed
from ..engine.pools import shared_pool
from ..engine.recorder import Recovery
from ..plan import Plan


def try_out(plan: Plan, context: PipelineContext[Any], recovery: Recovery, clock: Clock) -> None:
    """Bring a run that nobody is told of to where its record ends, and no further."""
    setup = Setup(shared_pool(), clock, "trial", Feed(""), None, recovery)
    put_together(Execution(plan, context, setup))


def put_together(execution: Execution) -> None:
    """Have a run be where its record ends, and no further."""
    execution.begin()
    execution.cancel()
