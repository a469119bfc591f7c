"""The plain types of steps that come with the library; importing it registers them."""

from __future__ import annotations

from . import docpack_steps as docpack_steps
from . import handlers as handlers
from . import python_function as python_function
from . import read_files as read_files
from . import set_context as set_context
from . import shell as shell
from . import write_files as write_files
from .handlers import handler_type

__all__ = ["handler_type"]
