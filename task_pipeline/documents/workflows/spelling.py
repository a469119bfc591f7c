"""Older and other spellings of a workflow's steps, brought to the ones that the models know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..mistakes.problems import Located, Path, Problems
from .models import TypedFields

TYPES = {
    "fork-join": "fork_join",
    "forkjoin": "fork_join",
    "condition": "conditional",
    "sub-workflow": "sub_workflow",
    "subworkflow": "sub_workflow",
}
_WORK_KEYS = {"timeout_seconds": "timeout", "retry_config": "retry", "retry_policy": "retry"}
_STEP_KEYS = {
    **_WORK_KEYS,
    "then_step": "if_true_step",
    "else_step": "if_false_step",
    "if_true": "if_true_step",
    "if_false": "if_false_step",
    "condition_expression": "condition",
}
_RETRY_KEYS = {
    "attempts": "max_attempts",
    "delay_seconds": "delay",
    "initial_delay": "delay",
    "initial_delay_seconds": "delay",
    "strategy": "backoff",
    "backoff_strategy": "backoff",
    "max_delay_seconds": "max_delay",
}
_LOOP_KEYS = (
    "collection",
    "loop_body",
    "execution_mode",
    "max_parallelism",
    "max_iterations",
    "on_error",
)
_FORK_KEYS = (
    "branches",
    "join_policy",
    "n_required",
    "branch_timeout_seconds",
    "max_parallelism",
    "on_error",
)
_BRANCH_KEYS = {"timeout": "timeout_seconds"}
_TYPED_KEYS = frozenset(TypedFields.model_fields)
_OLD = _STEP_KEYS.keys() | {"retry", "fork_join_config", "parallel_config"}
_LISTS = {"parallel": "parallel_config", "fork_join": "fork_join_config"}

Clash = Callable[[Path, str, str], None]


class Respelt:
    """A step as the models know it, and where each part of it was written."""

    def __init__(self, given: dict[str, Any], kind: str, problems: Problems, at: Spot) -> None:
        self.value = dict(given)
        self._moved: dict[Path, Path] = {}
        self._problems = problems
        self._at = at
        self._rename(self.value, (), _WORK_KEYS if kind == "typed" else _STEP_KEYS)
        if isinstance(self.value.get("retry"), dict):
            self.value["retry"] = retry = dict(self.value["retry"])
            self._rename(retry, ("retry",), _RETRY_KEYS)
            self._count_extra(retry)
        if kind == "loop":
            self._gather()
        elif kind in _LISTS and isinstance(self.value.get(_LISTS[kind]), dict):
            self._spread(_LISTS[kind])
        if kind == "fork_join":
            self._fork_join()
        elif kind == "typed" and "config" not in self.value:
            self._take_fields()

    def written(self, path: Path) -> Path:
        """Where a part of it stands in the document."""
        for length in range(len(path), 0, -1):
            moved = self._moved.get(path[:length])
            if moved is not None:
                return self.written(moved[:-1]) + moved[-1:] + path[length:]
        return path

    def _rename(self, given: dict[str, Any], path: Path, names: dict[str, str]) -> None:
        for old in names.keys() & given.keys():
            if old in given:
                self._move(given, (*path, old), given, (*path, names[old]))

    def _move(self, of: dict[str, Any], old: Path, to: dict[str, Any], new: Path) -> None:
        key, into = str(old[-1]), str(new[-1])
        value = of.pop(key)
        if into in to:
            self._problems.add(
                self._at.source,
                self._at.path + self.written(old),
                f"{key!r} says what {into!r} says as well",
                f"leave {key!r} out",
                of_key=True,
            )
            return
        to[into] = value
        self._moved[new] = old

    def _count_extra(self, retry: dict[str, Any]) -> None:
        """`max_retries` counts the attempts after the first."""
        extra = retry.get("max_retries")
        if isinstance(extra, int) and not isinstance(extra, bool) and extra >= 0:
            self._move(retry, ("retry", "max_retries"), retry, ("retry", "max_attempts"))
            retry["max_attempts"] = extra + 1

    def _gather(self) -> None:
        """Fields of a loop that are flat on the step."""
        flat = [key for key in _LOOP_KEYS if key in self.value]
        config = self.value.get("loop_config")
        if isinstance(config, dict):
            self.value["loop_config"] = config = dict(config)
        elif flat and config is None:
            self.value["loop_config"] = config = {}
        if isinstance(config, dict):
            for key in flat:
                self._move(self.value, (key,), config, ("loop_config", key))
            for key, names in (("execution_mode", ()), ("loop_body", str), ("on_error", ())):
                self._tidy(config, key, names)

    def _tidy(self, config: dict[str, Any], key: str, single: Any) -> None:
        given = config.get(key)
        if isinstance(given, str):
            config[key] = [given] if single is str else given.lower()

    def _take_fields(self) -> None:
        """Fields of a registered type that stand beside the step's own."""
        fields = {key: self.value.pop(key) for key in list(self.value) if key not in _TYPED_KEYS}
        if fields:
            self.value["config"] = fields
        self._moved[("config",)] = ()

    def _spread(self, name: str) -> None:
        """Fields of a block that stand in an object of their own."""
        config = dict(self.value.pop(name))
        for key in list(config):
            self._move(config, (name, key), self.value, (key,))

    def _fork_join(self) -> None:
        policy = self.value.get("join_policy")
        if isinstance(policy, str):
            self.value["join_policy"] = policy.lower().replace("-", "_")
        branches = self.value.get("branches")
        if isinstance(branches, list) and all(isinstance(one, dict) for one in branches):
            branches = self._named(branches)
        if isinstance(branches, dict):
            made = {}
            for name, branch in branches.items():
                if isinstance(branch, list):
                    made[name] = {"steps": branch}
                    self._moved["branches", name, "steps"] = ("branches", name)
                elif isinstance(branch, dict) and "timeout" in branch:
                    made[name] = dict(branch)
                    self._rename(made[name], ("branches", name), _BRANCH_KEYS)
                else:
                    made[name] = branch
            self.value["branches"] = made

    def _named(self, branches: list[dict[str, Any]]) -> dict[str, Any] | list[dict[str, Any]]:
        """A list of branches with names, as an object."""
        names = [branch.get("name") for branch in branches]
        if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            return branches
        made: dict[str, Any] = {}
        for number, branch in enumerate(branches):
            name: Any = names[number]
            made[name] = {key: item for key, item in branch.items() if key != "name"}
            self._moved["branches", name] = ("branches", number)
        return made


class Spot:
    """A place in a document: which one, and where in it."""

    __slots__ = ("path", "source")

    def __init__(self, source: Located, path: Path) -> None:
        self.source = source
        self.path = path


def needs_respelling(given: dict[str, Any], kind: str) -> bool:
    """Whether a step may have other spellings in it."""
    if kind == "typed":
        return "config" not in given or not _WORK_KEYS.keys().isdisjoint(given)
    return kind in ("loop", "fork_join", "parallel") or not _OLD.isdisjoint(given)
