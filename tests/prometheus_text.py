"""A strict reader of the text that Prometheus reads, exposition format 0.0.4.

Stricter than Prometheus: each metric has its HELP and TYPE, in this order and once, a
counter's name ends in `_total`, and no value is NaN or infinite.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r"[a-zA-Z_][a-zA-Z0-9_]*"
HELP = re.compile(rf"# HELP ({NAME}) (.*)")
TYPE = re.compile(rf"# TYPE ({NAME}) (counter|gauge|summary|histogram|untyped)")
SAMPLE = re.compile(rf"({NAME})(?:{{(.*)}})? (\S+)")
PAIR = re.compile(rf'({LABEL})="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(,|$)')
ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}

Labels = frozenset[tuple[str, str]]


@dataclass
class Family:
    """One metric: its kind, and its samples by their name's suffix and labels."""

    kind: str
    about: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def value(self, suffix: str = "", **labels: str) -> float:
        """The sample with exactly these labels."""
        return self.samples[suffix, frozenset(labels.items())]


def parse(text: str) -> dict[str, Family]:
    """The metrics in a text; AssertionError for what is not in the format."""
    assert text.endswith("\n")
    families: dict[str, Family] = {}
    name = ""
    lines = iter(text.split("\n")[:-1])
    for line in lines:
        if line.startswith("#"):
            helped = HELP.fullmatch(line)
            assert helped, line
            name = helped[1]
            typed = TYPE.fullmatch(next(lines))
            assert typed and typed[1] == name, line
            assert name not in families, f"{name} comes twice, or in parts"
            families[name] = Family(typed[2], helped[2])
            continue
        found = SAMPLE.fullmatch(line)
        assert found, line
        take(families[name], name, *found.groups())
    for name, family in families.items():
        check(name, family)
    return families


def take(family: Family, name: str, sample: str, labels: str | None, value: str) -> None:
    assert sample.startswith(name), f"{sample} stands below {name}"
    suffix = sample.removeprefix(name)
    assert suffix in ({"_sum", "_count"} if family.kind == "summary" else {""}), sample
    pairs = list(read_labels(labels or ""))
    assert len(dict(pairs)) == len(pairs), f"a label comes twice: {labels}"
    key = (suffix, frozenset(pairs))
    assert key not in family.samples, f"{sample} has two values for {labels}"
    number = float(value)
    assert math.isfinite(number), f"{sample} is {value}"
    family.samples[key] = number


def read_labels(text: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        found = PAIR.match(text, at)
        assert found, f"not labels from {at} on: {text}"
        value = re.sub(r"\\.", lambda escape: ESCAPES[escape[0]], found[2])
        pairs.append((found[1], value))
        at = found.end()
    return pairs


def check(name: str, family: Family) -> None:
    assert family.samples, f"{name} has no samples"
    assert family.about.strip() and "\n" not in family.about
    assert name.endswith("_total") == (family.kind == "counter"), f"{name} is a {family.kind}"
    assert "seconds" in name or not re.search(r"_(ms|millis\w*|minutes)", name)
    if family.kind == "summary":
        by_suffix: dict[str, set[Labels]] = {"_sum": set(), "_count": set()}
        for suffix, labels in family.samples:
            by_suffix[suffix].add(labels)
        assert by_suffix["_sum"] == by_suffix["_count"]
    if family.kind in ("counter", "summary"):
        assert min(family.samples.values()) >= 0
