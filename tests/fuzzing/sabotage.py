"""Agents that do what no document may have done: the fuzzer must see each of them."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from task_pipeline.documents.templating import templates

from . import folder


def raises(given: Any) -> Any:
    """An error that says nothing."""
    raise KeyError("x")


def recurses(given: Any) -> Any:
    """Goes too deep."""
    return recurses(given)


def reads_outside(given: Any) -> Any:
    """Reads a file outside of root."""
    return json.loads(Path("../outside/secret.txt").read_text("utf-8"))["steps"]


def follows_link(given: Any) -> Any:
    """Reads what a link in root leads to."""
    return Path("link/secret.txt").read_bytes()[:1]


def tells_outside(given: Any) -> Any:
    """Puts out what is in a file outside of root."""
    return folder.OUTSIDE


def writes_outside(given: Any) -> Any:
    """Puts a file outside of root."""
    Path("../other.txt").write_text("x", "utf-8")


def runs_code(given: Any) -> Any:
    """Evaluates a text."""
    return eval(str(1 + len(str(given))))


def runs_command(given: Any) -> Any:
    """Starts a program."""
    subprocess.run(["true"], check=True)


def opens_socket(given: Any) -> Any:
    """Reaches for the network."""
    socket.socket(socket.AF_INET).close()


def imports(given: Any) -> Any:
    """Imports a module that nobody needs."""
    __import__("this")


def tells_secret(given: Any) -> Any:
    """Fails, telling the secret that it has read itself."""
    raise folder.Planned(os.environ[folder.TOKEN])


def takes_memory(given: Any) -> Any:
    """Takes more than a document may."""
    return len(b"x" * 500_000_000)


def goes_on(given: Any) -> Any:
    """Goes on after the deadline, in the library's own code."""
    until = time.monotonic() + 3
    while time.monotonic() < until:
        templates.has_template("x" * 1_000_000)


def blocks(given: Any) -> Any:
    """Stops everything, deadlines too."""
    re.match(r"(a+)+$", "a" * 60 + "b")
