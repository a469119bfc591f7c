"""The executor that runs steps in processes of their own."""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from typing import Any, Self

from ...context import PipelineContext
from ...engine.calling import Call, Capabilities
from ...errors import ConfigurationError
from ...plan import StepNode
from ..inline import unknown_options
from ..portable import require_cloudpickle
from ..shipping import preflight
from .settings import Settings, settings_of

try:
    from .crew import Crew
    from .launching import pebbles_process
except ImportError as missing:  # no fork server, no file locks: not POSIX
    raise
