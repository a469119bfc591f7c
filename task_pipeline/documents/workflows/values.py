"""What a step sees and leaves in a run: the workflow's input, other steps' output, its own.

The input is what `results` holds when the run starts, and each step's output comes to stand
there under its id. What an output takes the place of is kept under `results["workflow"]`,
so that the input stays what it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from ...context import PipelineContext
from ...errors import MissingReferenceError
from ..mistakes.problems import path_text
from ..resolving.references import Missing, Reference, absent, resolved, walked
from ..resolving.secrets import variable
from ..typed_steps import Place

Context = PipelineContext[Any]

KEPT = "workflow"
LOOP = "loop"


@dataclass(slots=True)
class View:
    """What can be seen where a step stands.

    - `step_id`, `place`: the step's; `ids`: of all steps of its workflow, each with its turn
    - `turn`: the step's own: what has a lower one may have run before
    - `in_loop`: it is part of a loop's body; `in_rounds`: of one that repeats it in one context
    """

    step_id: str
    place: Place
    ids: Mapping[str, int]
    turn: int
    in_loop: bool
    in_rounds: bool = False

    def resolve(self, value: Any, field: str, context: Context) -> Any:
        """A value with its references replaced; raises `MissingReferenceError`."""
        try:
            return resolved(value, Looking(self, context).look)
        except Missing as missing:
            where = f"{field}{_below(missing.where)}"
            raise MissingReferenceError(
                f"step {self.step_id!r}, field {where}: there is nothing for "
                f"{missing.reference}: {missing.why} ({self.place})"
            ) from None

    def input(self, context: Context) -> dict[str, Any]:
        """The whole input of the workflow."""
        kept = kept_input(context)
        ids, turn = self.ids, self.turn
        whole = {}
        for key in context.results:
            if key in kept or (key == KEPT and is_ours(context)) or (key == LOOP and self.in_loop):
                continue
            # What is to run later has put nothing out yet: it is the input's.
            if key not in ids or ids[key] >= turn:
                whole[key] = context.results[key]
        whole.update(kept)
        return whole


def _below(where: Iterable[str | int]) -> str:
    text = path_text(tuple(where))
    return f".{text}" if text and text[0] != "[" else text


@dataclass(slots=True)
class Looking:
    """Looks up what references stand for, for one step in one context."""

    view: View
    context: Context

    def look(self, reference: Reference) -> Any:
        """What a reference stands for; raises `Missing`."""
        kind = reference.kind
        if kind == "name":
            kind = "step" if reference.name in self.view.ids else "input"
            path = reference.path if kind == "step" else (reference.name, *reference.path)
            reference = Reference(reference.text, kind, reference.name, path)
        if kind == "step":
            return self._output(reference)
        if kind == "env":
            return variable(reference.name)
        if kind == "loop":
            if not self.view.in_loop:
                raise Missing(reference.text, "it is not inside of a loop")
            return walked(self.context.results[LOOP], reference, LOOP)
        return self._input(reference)

    def _output(self, reference: Reference) -> Any:
        results, name = self.context.results, reference.name
        ids = self.view.ids
        if name not in ids:
            raise Missing(reference.text, absent("the workflow", name, dict(ids)))
        if name not in results:
            raise Missing(
                reference.text,
                f"step {name!r} has put nothing out: it was not reached, or it has failed",
            )
        return walked(results[name], reference, f"{name}.output")

    def _input(self, reference: Reference) -> Any:
        if not reference.path:
            return self.view.input(self.context)
        key, context = reference.path[0], self.context
        kept = kept_input(context)
        results: Any = context.results
        if key in kept:
            results = kept
        is_other = (key == KEPT and is_ours(context)) or (key == LOOP and self.view.in_loop)
        if key not in results or (results is not kept and is_other):
            known = self.view.input(context)
            raise Missing(reference.text, absent("the workflow's input", key, known))
        rest = Reference(reference.text, "input", "", reference.path[1:])
        return walked(results[key], rest, f"workflow.input{_below((key,))}")


def put_out(context: Context, view: View, output: Any) -> None:
    """Set a step's output."""
    results, step_id = context.results, view.step_id
    if step_id in results and not view.in_rounds:
        keep_input(context, (step_id,))
    results[step_id] = output


def keep_input(context: Context, keys: Iterable[str]) -> None:
    """Keep what the input has under keys that are about to be taken."""
    results = context.results
    kept = dict(kept_input(context))
    if KEPT in results and not is_ours(context):
        kept[KEPT] = results[KEPT]
    kept.update({key: results[key] for key in keys})
    results[KEPT] = {"input": kept, "run": run_of(context)}


def kept_input(context: Context) -> Mapping[str, Any]:
    """What the input had under keys that outputs have taken since."""
    return context.results[KEPT]["input"] if is_ours(context) else {}


def is_ours(context: Context) -> bool:
    """Whether what stands under "workflow" was kept by this run."""
    results = context.results
    if KEPT not in results:
        return False
    kept = results[KEPT]
    # Of another run on the same context it is input, like everything that was there.
    return is_kept(kept) and kept["run"] in ("", run_of(context))


def is_kept(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a value is what is kept of an input."""
    if not isinstance(value, dict) or value.keys() != {"input", "run"}:
        return False
    return isinstance(value["input"], dict) and isinstance(value["run"], str)


def run_of(context: Context) -> str:
    """The id of the run, or "" outside of one."""
    key = context.idempotency_key
    return "" if key is None else key.rsplit("/", 2)[0]
