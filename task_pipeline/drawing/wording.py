"""What a picture says of steps and groups, in words."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from ..config import ErrorStrategy, LogicOperator
from ..groups import Branch, Loop, Map
from ..plan import GroupNode, Kind, Node, StepNode

MOST_CHARACTERS = 120
_JOINER = "\u200d"  # what several characters are one emoji by
_UNSEEN = "\ufffd"
_EARLY_ENDS = {
    LogicOperator.AND: "ends at the first failure",
    LogicOperator.OR: "ends at the first success",
    LogicOperator.QUORUM: "ends once decided",
}


def one_line(text: object) -> str:
    """A text in one line of characters that can be seen, and not too many of them."""
    words = " ".join(str(text).split())
    shown = words if words.isprintable() else "".join(map(_seen, words))
    return shortened(shown or _UNSEEN, MOST_CHARACTERS)


def _seen(character: str) -> str:
    return character if character.isprintable() or character == _JOINER else _UNSEEN


def shortened(text: str, most: int) -> str:
    """At most so many characters of a text."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def shape_of(node: GroupNode) -> str:
    """What kind of group it is."""
    written = node.dynamic
    if isinstance(written, Branch):
        return "choice"
    if isinstance(written, Map):
        return "each"
    if isinstance(written, Loop):
        return "loop"
    return "parallel" if node.kind is Kind.PARALLEL else "series"


def facts_of_step(node: Node) -> list[str]:
    """The settings of a step that are not as they are by default."""
    assert isinstance(node, StepNode)
    spec = node.spec
    facts = [] if spec.timeout is None else [f"within {spec.timeout:g} s"]
    if spec.policy is not None:
        facts.append(f"up to {spec.policy.attempts} attempts")
    if not spec.critical:
        facts.append("may fail")
    if spec.limit is not None:
        facts.append(f"limit {one_line(spec.limit)}")
    return facts


def facts_of_group(node: GroupNode) -> list[str]:
    """The settings of a group that are not as they are by default."""
    facts = _facts_of_branches(node) if node.kind is Kind.PARALLEL else []
    if node.parent is None or node.scope is not node.parent.scope:  # it is a pipeline
        if node.scope.max_workers is not None:
            facts.append(f"at most {node.scope.max_workers} at once")
        facts += [
            f"at most {count} of {one_line(name)} at once"
            for name, count in node.scope.limits.items()
        ]
        if not node.scope.fail_fast:
            facts.append("goes on after failures")
    if node.timeout is not None:
        facts.append(f"within {node.timeout:g} s")
    return facts


def _facts_of_branches(node: GroupNode) -> list[str]:
    config, count = node.config, len(node.children)
    facts = []
    if config.operator is LogicOperator.OR:
        facts.append("one is enough")
    elif config.operator is LogicOperator.QUORUM:
        of_all = f" of {count}" if node.dynamic is None else ""
        facts.append(f"{config.quorum}{of_all} {'is' if config.quorum == 1 else 'are'} enough")
    if config.error_strategy is ErrorStrategy.FAIL_FAST:
        facts.append(_EARLY_ENDS[config.operator])
    if node.max_open == 1:
        facts.append("one after another")
    elif config.max_workers is not None or node.max_open is not None:
        facts.append(f"at most {config.max_workers or node.max_open} at once")
    if config.delay:
        facts.append(f"{config.delay:g} s apart")
    return facts


def asked_by(node: GroupNode) -> str:
    """The condition of a choice."""
    assert isinstance(node.dynamic, Branch)
    return _name_of(node.dynamic.condition) or "a condition holds"


def repeated_over(node: GroupNode) -> str:
    """The items of a `Map`."""
    assert isinstance(node.dynamic, Map)
    over = node.dynamic.over
    if isinstance(over, Sequence) and not isinstance(over, str):
        return f"{len(over)} items" if len(over) != 1 else "1 item"
    return _name_of(over) or "the items"


def rounds_of(node: GroupNode) -> str:
    """How often a loop goes round."""
    assert isinstance(node.dynamic, Loop)
    times, condition = node.dynamic.times, node.dynamic.while_
    if condition is None:
        return "1 round" if times == 1 else f"{times} rounds"
    words = f"while {_name_of(condition) or 'a condition holds'}"
    return words if times is None else f"{words}, at most {times} rounds"


def _name_of(asked: object) -> str:
    """What is asked: a key, the `words` that are to be said of it, or the name of a function."""
    while isinstance(asked, functools.partial):
        asked = asked.func
    words = asked if isinstance(asked, str) else getattr(asked, "words", None)
    name = words or getattr(asked, "__name__", "")
    return one_line(name) if isinstance(name, str) and name not in ("", "<lambda>") else ""
