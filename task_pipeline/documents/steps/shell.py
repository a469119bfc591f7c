"""`shell`: a command, if the caller of the document allows it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable
from typing import Annotated, Any, NoReturn

from pydantic import Field, field_validator

from ..mistakes.problems import shown
from ..registry import StepConfig, register_step
from ..surroundings import Surroundings, refusal
from ..typed_steps import Fields
from .plain import Context, Finding, Key, PlainStep, outside, texts_in
from .processes import IS_SUPPORTED, MOST_OUTPUT, Command, Ended, run_command

PASSED_ON = ("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")
"""The variables of the program's own environment that a command has, with all LC_...: no other,
so that no secret of the application's is among them."""

_SHOWN = 2_000
_PATIENCE = 1.0
_WHAT = "a step of type 'shell'"


class ShellConfig(StepConfig):
    """The fields of `shell`."""

    command: list[str] = Field(
        min_length=1, description="The program and its arguments, each a text; no shell reads them."
    )
    cwd: str = Field(default=".", description="The folder to run in, below root.")
    env: dict[str, str] = Field(
        default_factory=dict,
        description="Environment variables, beside the few that are passed on (PATH, HOME, LANG "
        "and the like).",
    )
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None, description="Seconds until it is ended, with all that it has started."
    )
    stdin: str | None = Field(default=None, description="What it can read; by default nothing.")
    output_key: Key | None = Field(
        default=None, description="The key of the results for {status, stdout, stderr}."
    )
    check: bool = Field(
        default=True, description="Whether an exit status other than 0 fails the step."
    )
    encoding: str = Field(
        default="utf-8",
        description="Of what it reads and writes; what does not fit comes out as U+FFFD.",
    )

    @field_validator("command", mode="before")
    @classmethod
    def _is_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(  # noqa: TRY004  # pydantic takes only this for a mistake
                f"must be a list of texts, one for each argument, not {shown(value)}: no shell "
                f"reads it; write {json.dumps(value.split(), ensure_ascii=False):.200}"
            )
        return value

    @field_validator("command")
    @classmethod
    def _names_program(cls, value: list[str]) -> list[str]:
        if not value[0].strip():
            raise ValueError("the first text must name a program")
        return value

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            b"text".decode(value, "replace")
        except (LookupError, ValueError) as error:
            raise ValueError(f"must be the name of an encoding such as utf-8: {error}") from error
        return value


@register_step("shell")
class Shell(PlainStep):
    """Run a command, without a shell. Only if the caller allows it: `allow={"shell"}`.

    What it starts ends with it: processes that it leaves behind, and those of a step that
    passes a deadline, is cancelled, or whose run ends, are ended at once.
    """

    config: ShellConfig

    @classmethod
    def check(cls, fields: Fields, surroundings: Surroundings) -> Iterable[Finding]:
        """Refuse it, unless it is allowed; and a folder outside of root."""
        if "shell" not in surroundings.allow:
            yield (), refusal("shell", _WHAT), ""
        elif not IS_SUPPORTED:
            yield (), "type 'shell' does not work on this system", "run it on a POSIX one"
        yield from outside(texts_in(fields.get("cwd"), ("cwd",)), surroundings)

    @property
    def sets(self) -> tuple[str, ...]:
        """The keys of the results that it sets."""
        return () if self.config.output_key is None else (self.config.output_key,)

    def run(self, context: Context) -> None:
        """Run it. Raises `RuntimeError` if it fails, `TimeoutError` if it takes too long."""
        config = self.config
        self.surroundings.require("shell", f"{self.where(context)}: {_WHAT}")
        what = self.where(context, "command")
        ended = self._ended(context, what)
        if ended.how == "stopped":
            self._leave(context, what)
        output: dict[str, Any] = {
            "status": ended.status,
            "stdout": ended.stdout.decode(config.encoding, "replace"),
            "stderr": ended.stderr.decode(config.encoding, "replace"),
        }
        tail = _tail(output["stderr"])
        if ended.how == "timeout":
            raise TimeoutError(
                f"{self.where(context, 'timeout')}: {self._named} was ended after "
                f"{config.timeout:g} s{tail}"
            )
        if ended.how != "exit":
            raise RuntimeError(
                f"{what}: {self._named} has written more than {MOST_OUTPUT:,} bytes to "
                f"{ended.how} and was ended; have it write into a file"
            )
        if config.check and ended.status != 0:
            raise RuntimeError(f"{what}: {self._named} {_ending(ended.status)}{tail}")
        if config.output_key is not None:
            context.results[config.output_key] = output

    @property
    def _named(self) -> str:
        return repr(self.config.command[0])

    def _ended(self, context: Context, what: str) -> Ended:
        config = self.config
        folder = self.file(context, config.cwd, "cwd")
        if not folder.is_dir():
            raise NotADirectoryError(
                f"{self.where(context, 'cwd')}: there is no folder {config.cwd!r}"
            )
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in PASSED_ON or name.startswith("LC_")
        }
        try:
            given = None if config.stdin is None else config.stdin.encode(config.encoding)
            return run_command(
                Command(
                    config.command,
                    folder,
                    {**environment, **config.env},
                    given,
                    config.timeout,
                    lambda: context.remaining,  # 0 once it is cancelled
                )
            )
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{what}: there is no program {self._named}; name one that is in PATH, or its file"
            ) from error
        except OSError as error:
            raise type(error)(
                f"{what}: {self._named} cannot be run: {error.strerror or error}"
            ) from error
        except ValueError as error:  # a NUL, half of a surrogate pair, = in a variable's name
            raise ValueError(f"{what}: {self._named} cannot be run: {error}") from error

    def _leave(self, context: Context, what: str) -> NoReturn:
        """The step has to stop; why, its run says, which may take notice a moment later."""
        until = time.monotonic() + _PATIENCE
        while not context.cancelled and time.monotonic() < until:
            time.sleep(_PATIENCE / 200)
        context.raise_if_cancelled()
        raise TimeoutError(f"{what}: {self._named} was ended: the step's deadline has passed")


def _ending(status: int) -> str:
    if status > 0:
        return f"has ended with exit status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def _tail(stderr: str) -> str:
    """The end of what it has written there, for a message."""
    text = stderr.strip()
    if not text:
        return ""
    return f"; its error output: {text}" if len(text) <= _SHOWN else f"; ... {text[-_SHOWN:]}"
