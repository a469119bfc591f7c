"""A few numbers in memory that an executor shares with its workers.

The parent writes, the workers read, without a message: a worker can look while a step runs
that has the wish to stop to look for.
"""

from __future__ import annotations

import mmap
from pathlib import Path

_WORD = 8


class Flags:
    """For each worker the number of the call that is to stop; and how often files were removed."""

    def __init__(self, path: str, slots: int | None = None) -> None:
        """Make them, or open those that are there."""
        if slots is not None:
            with Path(path).open("xb") as stream:
                stream.write(bytes(_WORD * (slots + 1)))
        with Path(path).open("r+b") as stream:
            self._memory = mmap.mmap(stream.fileno(), 0)
        self._words = memoryview(self._memory).cast("Q")

    def ask_to_stop(self, slot: int, number: int) -> None:
        """The call of that number, in the worker of that slot, is to stop."""
        self._words[slot + 1] = number

    def is_asked_to_stop(self, slot: int, number: int) -> bool:
        """Whether that call is to stop."""
        return self._words[slot + 1] == number

    @property
    def removals(self) -> int:
        """Grows with each removal."""
        return self._words[0]

    def count_removal(self) -> None:
        """A file was removed. Two at once may count as one: it is another number all the same."""
        try:
            self._words[0] += 1
        except ValueError:  # closed: there is nobody left to see it
            return

    def close(self) -> None:
        """Let the memory go."""
        self._words.release()  # a second time, it does nothing
        self._memory.close()
