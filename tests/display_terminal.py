"""A terminal to run a script in: a pty, and the screen that its output makes."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pyte

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 30.0  # seconds; longer than anything here takes


class Terminal:
    """A script in a terminal of so many columns and lines; `gate` lets one of its steps go on.

    In the script, `wait()` waits for that.
    """

    def __init__(self, script: str, columns: int, lines: int = 40, **environment: str) -> None:
        self.columns = columns
        self.screen: Any = pyte.HistoryScreen(columns, lines, history=2000, ratio=1.0)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._master, slave = pty.openpty()
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
        there, self._gate = os.pipe()
        code = f"import os\ndef wait(): os.read({there}, 1)\n{script}"
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            pass_fds=[there],
            cwd=ROOT,
            env={**kept, "TERM": "xterm-256color", "PYTHONUTF8": "1", **environment},
            start_new_session=True,
        )
        os.close(slave)
        os.close(there)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self._gate)

    def gate(self) -> None:
        """Let one `wait()` of the script return."""
        os.write(self._gate, b"x")

    def until(self, text: str) -> list[str]:
        """The screen as soon as it shows a text."""
        while not any(text in line for line in self.shown()):
            assert self._read(), f"{text!r} was never shown:\n" + "\n".join(self.all_lines())
        return self.shown()

    def finish(self) -> list[str]:
        """All lines there are once the script has ended."""
        while self._read():
            pass
        self.process.wait(PATIENCE)
        return self.all_lines()

    def shown(self) -> list[str]:
        """The lines of the screen."""
        return [line.rstrip() for line in self.screen.display]

    def all_lines(self) -> list[str]:
        """The lines that have left the screen at the top, and those of the screen."""
        above = [
            "".join(row[column].data for column in range(self.columns)).rstrip()
            for row in self.screen.history.top
        ]
        lines = above + self.shown()
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def has_cursor(self) -> bool:
        """Whether the cursor is to be seen."""
        return not self.screen.cursor.hidden

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], PATIENCE)
        try:
            told = os.read(self._master, 65536) if ready else b""
        except OSError:  # what Linux answers once nobody has the other end any more
            told = b""
        self.raw += told
        self.stream.feed(told)
        return bool(told)
