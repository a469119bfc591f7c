"""What the caller brings to a document: what it may do, where its files are, who does its work."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, NotAllowedError

Handler = Callable[..., Any]

PERMISSIONS = {
    "files": "read and write files outside of root",
    "http": "call HTTP endpoints",
    "shell": "run commands",
}
"""What can be allowed to a document, and what that lets it do."""


@dataclass(frozen=True)
class Surroundings:
    """All that a document does not say itself.

    - `folder`: where relative paths in it start from; `root`: what its files must be under
    - `allow`: of `PERMISSIONS`; `env`: the environment variables it may read
    - `handlers`, `agents`, `functions`: the application's, by name
    """

    folder: Path
    root: Path
    allow: frozenset[str] = frozenset()
    env: frozenset[str] = frozenset()
    handlers: Mapping[str, Handler] = field(default_factory=dict)
    agents: Mapping[str, Handler] = field(default_factory=dict)
    functions: Mapping[str, Handler] = field(default_factory=dict)

    def require(self, permission: str, what: str) -> None:
        """Raise `NotAllowedError` unless the caller has allowed it."""
        if permission not in self.allow:
            raise NotAllowedError(refusal(permission, what))

    def path(self, given: str, what: str) -> Path:
        """The file or folder of that name, below `root`: a relative one starts there.

        Links are followed first, so none leads out. Raises `NotAllowedError`.
        """
        root = self.root.resolve()
        try:
            wanted = (root / given).resolve()
        except (OSError, ValueError, RuntimeError) as error:  # a NUL, links in a circle and so on
            why = getattr(error, "strerror", None) or error
            raise NotAllowedError(
                f"{what}: {given!r:.200} cannot be the name of a file: {why}"
            ) from error
        if "files" not in self.allow and not wanted.is_relative_to(root):
            raise NotAllowedError(
                f"{what}: {given!r} is outside of {str(root)!r}, where this document's files must "
                'be; name a file in it, or give load_pipeline another root=, or allow={"files"}'
            )
        return wanted


def refusal(permission: str, what: str) -> str:
    """Why something is refused, and how to have it."""
    return (
        f"{what} is not allowed: a document may only {PERMISSIONS[permission]} if its caller says "
        f"so; if you trust it, pass allow={{{permission!r}}} to load_pipeline, or --allow "
        f"{permission} on the command line"
    )


def permissions(given: Collection[str]) -> frozenset[str]:
    """What is allowed; raises `ConfigurationError` for what there is not."""
    named = {given} if isinstance(given, str) else set(given)
    unknown = sorted(map(str, named - PERMISSIONS.keys()))
    if unknown:
        raise ConfigurationError(
            f"allow: there is no {', '.join(map(repr, unknown))}; "
            f"what can be allowed is {', '.join(map(repr, PERMISSIONS))}"
        )
    return frozenset(named)
