"""Which steps' outputs can be seen at a place in a workflow, and which references cannot hold."""

from __future__ import annotations

import os
from typing import Any

from ..mistakes.problems import Path, Problems, did_you_mean
from ..resolving.references import Reference, WrongReference, parsed, references
from ..surroundings import Surroundings
from .reading import Node


class Scope:
    """What may have run before a place: `seen` by it, or `hidden` in a loop.

    What its `parent` comes to know while it lasts does not count: that is checked before.
    """

    __slots__ = ("hidden", "in_loop", "in_rounds", "parent", "seen")

    def __init__(
        self, parent: Scope | None = None, in_loop: bool = False, in_rounds: bool = False
    ) -> None:
        self.parent = parent
        self.in_loop: bool = in_loop or (parent is not None and parent.in_loop)
        self.in_rounds: bool = in_rounds or (parent is not None and parent.in_rounds)
        self.seen: dict[str, None] = {}
        self.hidden: dict[str, None] = {}

    def sees(self, step_id: str) -> bool:
        """Whether a step may have put something out that can be seen here."""
        scope: Scope | None = self
        while scope is not None:
            if step_id in scope.seen:
                return True
            scope = scope.parent
        return False

    def has_run(self, step_id: str) -> bool:
        """Whether a step may have run before."""
        scope: Scope | None = self
        while scope is not None:
            if step_id in scope.seen or step_id in scope.hidden:
                return True
            scope = scope.parent
        return False

    def take(self, inner: Scope) -> None:
        """What has run in an inner one, and can be seen from now on."""
        self.seen.update(inner.seen)
        self.hidden.update(inner.hidden)

    def hide(self, inner: Scope) -> None:
        """What has run in an inner one, and is not seen outside of it."""
        self.hidden.update(inner.seen)
        self.hidden.update(inner.hidden)


class Anywhere(Scope):
    """A place that nobody knows yet: all that there is may be seen from it."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(in_loop=True)

    def sees(self, step_id: str) -> bool:
        """Whether a step may have put something out that can be seen here."""
        return True


class References:
    """Checks the references of a workflow's steps.

    A step that is compiled for several ways may refer to what runs before it on one of them.
    """

    def __init__(
        self, nodes: dict[str, Node], surroundings: Surroundings, problems: Problems
    ) -> None:
        self._nodes = nodes
        self._surroundings = surroundings
        self._problems = problems
        self._times: dict[str, int] = {}  # that each step was compiled
        # In which of these a reference cannot hold, by step, place and reference.
        self._failing: dict[tuple[str, Path, Reference], set[int]] = {}
        self.blocks: dict[str, tuple[tuple[str, str], ...]] = {}  # and branches around each step
        self.loops: dict[str, str] = {}  # the loop around a step

    def check(self, node: Node, path: Path, value: Any, scope: Scope) -> bool:
        """Look at all references in a field; whether there are any."""
        found = False
        for where, text in references(value):
            found = True
            self.check_text(node, path + where, text, scope)
        return found

    def check_text(self, node: Node, path: Path, text: str, scope: Scope) -> None:
        """Look at all references in a text."""
        try:
            parts = parsed(text)
        except WrongReference as wrong:
            self._add(node, path, wrong.found, wrong.hint)
            return
        nodes = self._nodes
        for part in parts:
            # Most are right, and that takes no more than this.
            if type(part) is Reference and not (
                part.kind == "input"
                or (part.kind == "step" and part.name in nodes and scope.sees(part.name))
            ):
                self._check(node, path, part, scope)

    def _check(self, node: Node, path: Path, reference: Reference, scope: Scope) -> None:
        kind, name = reference.kind, reference.name
        if kind == "env":
            self._check_variable(node, path, reference)
        elif kind == "loop":
            if not scope.in_loop:
                self._fails(node, path, reference)
        elif kind == "step" or (kind == "name" and name in self._nodes):
            if name not in self._nodes:
                names = [step_id for step_id in self._nodes if step_id != node.id]
                found = f"{reference.text} refers to a step {name!r}, and there is none"
                self._add(node, path, found, did_you_mean(name, names))
            elif kind == "name" and reference.path:
                rest = reference.text[2:-1].strip()[len(name) :]
                hint = f"write ${{{name}.output{rest}}}"
                self._add(node, path, f"{reference.text} is not a reference", hint)
            elif not scope.sees(name):
                self._fails(node, path, reference)

    def enter(self, step_id: str, around: tuple[tuple[str, str], ...]) -> None:
        """A step is about to be compiled, in these blocks and branches."""
        self._times[step_id] = self._times.get(step_id, 0) + 1
        if around:
            self.blocks.setdefault(step_id, around)

    def _fails(self, node: Node, path: Path, reference: Reference) -> None:
        key = (node.id, path, reference)
        self._failing.setdefault(key, set()).add(self._times[node.id])

    def _check_variable(self, node: Node, path: Path, reference: Reference) -> None:
        name = reference.name
        if name not in self._surroundings.env:
            self._add(
                node,
                path,
                f"{reference.text}: this document may not read the environment variable {name}",
                f"if it is meant to, pass env={{{name!r}}} to load_pipeline, or --env {name} on "
                "the command line",
            )
        elif name not in os.environ:
            found = f"{reference.text}: the environment variable {name} is not set"
            self._add(node, path, found, "set it before the workflow is loaded")

    def settle(self) -> None:
        """Note the references that no way through the workflow can fulfil."""
        for (step_id, path, reference), times in self._failing.items():
            if len(times) == self._times[step_id]:
                node = self._nodes[step_id]
                found, hint = self._why(node, reference)
                self._add(node, path, f"{reference.text}: {found}", hint)

    def _why(self, node: Node, reference: Reference) -> tuple[str, str]:
        """Why a step cannot see what it refers to, and what to do."""
        name = reference.name
        if reference.kind == "loop":
            return "the step is not part of a loop", "it means something in a loop's body only"
        if name == node.id:
            return "a step cannot refer to its own output", "refer to a step before it"
        around, others = self.blocks.get(node.id, ()), self.blocks.get(name, ())
        if any(block == name for block, _ in around):
            found = f"the block {name!r} has put nothing out while its own steps run"
            return found, "refer to a step before the block"
        loop = self._loop_of(name, around)
        if loop is not None:
            return (
                f"what the body of the loop {loop!r} puts out stays in its iterations",
                f"refer to the loop's output, such as ${{{loop}.output[0]}}",
            )
        for (block, branch), (other_block, other) in zip(around, others, strict=False):
            if block == other_block and branch != other:
                return (
                    f"step {name!r} runs beside it, in the block {block!r}",
                    "the steps of a block do not see each other; a step after the block sees all",
                )
        return f"step {name!r} cannot have run before", "refer to a step that runs before it"

    def _loop_of(self, step_id: str, around: tuple[tuple[str, str], ...]) -> str | None:
        """The outermost loop that a step is in, and that is not around as well."""
        found, loop = None, self.loops.get(step_id)
        seen = set()
        while loop is not None and loop not in seen:
            seen.add(loop)
            if (loop, "") not in around:
                found = loop
            loop = self.loops.get(loop)
        return found

    def _add(self, node: Node, path: Path, found: str, hint: str) -> None:
        self._problems.add(node.place.source, node.at(path), found, hint)
