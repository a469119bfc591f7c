"""What `analyse_stdlib.py` shows: the live progress line, the report, the summary.

Plain functions from the merged `results` to text. Nothing of the day or the clock
goes into a report, so the same tree gives the same report, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from stdlib_metrics import Function

COLUMNS = (
    "files",
    "lines",
    "blanks",
    "functions",
    "classes",
    "imports",
    "bytes",
    "compressed",
    "unparsable",
)
TOP = 10


class ProgressLine:
    """Shows a status: one line redrawn in place, or sparse plain lines when not on a terminal."""

    def __init__(self, stream: TextIO, seconds: float = 5.0) -> None:
        self.stream = stream
        self.seconds = seconds  # at most one plain line in this time
        self.redraws = stream.isatty()
        self.next_at = 0.0

    def show(self, status: Mapping[str, Any]) -> None:
        """Draws the status, if it is time for it."""
        running = list(status["running_steps"])
        more = f" and {len(running) - 1} more" if len(running) > 1 else ""
        now = f"{running[0]}{more}" if running else ""
        text = f"{status['progress']:5.1f} %  {status['elapsed']:5.1f} s  {now}"
        if self.redraws:
            bar = "█" * int(status["progress"] / 5)
            # Carriage return and "erase to the end": a shorter text leaves no rest behind.
            self.stream.write(f"\r{bar:░<20} {text[:56]}\x1b[K")
            self.stream.flush()
        elif time.monotonic() >= self.next_at or status["progress"] >= 100.0:
            self.next_at = time.monotonic() + self.seconds
            print(text.rstrip(), file=self.stream, flush=True)

    def close(self) -> None:
        """Ends the redrawn line, so that what is printed next starts on its own."""
        if self.redraws:
            self.stream.write("\n")
            self.stream.flush()


def rank_packages(results: Mapping[str, Any]) -> dict[str, Any]:
    """Orders what was found: the most first, ties by name."""

    def most(numbers: Mapping[str, int]) -> list[str]:
        return sorted(numbers, key=lambda name: (-numbers[name], name))

    rows = results.get("packages", {})
    return {
        "packages": {
            column: most({name: row.get(column, 0) for name, row in rows.items()})
            for column in COLUMNS
        },
        "longest_functions": longest(results.get("longest_functions", [])),
        "imported": most(results.get("imported", {}))[: 2 * TOP],
        "unparsable": sorted(results.get("unparsable", [])),
        "tree_sha256": tree_digest(results.get("digests", {})),
    }


def longest(functions: Iterable[Function]) -> list[Function]:
    """Returns the longest ten; ties go by file and line, so that the order is always the same."""
    return sorted(functions, key=lambda found: (-found[0], found[2], found[3]))[:TOP]


def tree_digest(digests: Mapping[str, str]) -> str:
    """Returns one digest for the whole tree, from the files' own, in the order of their names."""
    listing = "".join(f"{digests[file]}  {file}\n" for file in sorted(digests))
    return hashlib.sha256(listing.encode()).hexdigest()


def render_json(results: Mapping[str, Any]) -> str:
    """Renders everything, with the digest of every file."""
    ranked = results["rank"]
    report = {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "stdlib": results["stdlib"],
        "totals": results.get("totals", {}),
        "packages": {name: results["packages"][name] for name in ranked["packages"]["lines"]},
        "rankings": ranked["packages"],
        "longest_functions": [
            {"lines": lines, "name": name, "file": file, "line": line}
            for lines, name, file, line in ranked["longest_functions"]
        ],
        "imported": {name: results["imported"][name] for name in ranked["imported"]},
        "unparsable": [{"file": file, "reason": why} for file, why in ranked["unparsable"]],
        "tree_sha256": ranked["tree_sha256"],
        "sha256": dict(sorted(results.get("digests", {}).items())),
    }
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Renders a Markdown table; numbers stand right, with their thousands set apart."""

    def cell(value: object) -> str:
        return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")

    right = [all(isinstance(row[i], int) for row in rows) for i in range(len(header))]
    rule = ["---:" if is_number else "---" for is_number in right]
    lines = [header, rule, *([cell(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def render_markdown(results: Mapping[str, Any]) -> str:
    """Renders the report people read."""
    ranked, totals, rows = results["rank"], results.get("totals", {}), results.get("packages", {})
    implementation = f"{platform.python_implementation()} {platform.python_version()}"
    code = "`{}`".format
    parts = [
        f"# The standard library of {implementation}",
        f"In `{results['stdlib']}`. Digest of the tree: `{ranked['tree_sha256']}`.",
        "## Totals",
        table(COLUMNS, [[totals.get(column, 0) for column in COLUMNS]]),
        "## Packages, by lines",
        table(
            ("package", *COLUMNS),
            [
                [code(name), *(rows[name].get(column, 0) for column in COLUMNS)]
                for name in ranked["packages"]["lines"]
            ],
        ),
        "## Longest functions",
        table(
            ("lines", "function", "where"),
            [
                [lines, code(name), code(f"{file}:{line}")]
                for lines, name, file, line in ranked["longest_functions"]
            ],
        ),
        "## Most imported",
        table(
            ("module", "imports"),
            [[code(name), results["imported"][name]] for name in ranked["imported"]],
        ),
        "## Files that do not parse",
        table(("file", "reason"), [[code(file), why] for file, why in ranked["unparsable"]])
        if ranked["unparsable"]
        else "None.",
    ]
    return "\n\n".join(parts) + "\n"


def summary(results: Mapping[str, Any], errors: Sequence[BaseException], seconds: float) -> str:
    """Returns what is printed at the end: totals, the largest packages, where the report is."""
    totals, rows, ranked = results["totals"], results["packages"], results["rank"]
    found = f"{totals['files']:,} files in {len(rows)} packages"
    lines = [
        f"{results['stdlib']}: {found}, analysed in {seconds:.1f} s",
        "",
        *(f"  {column:<12}{totals[column]:>12,}" for column in COLUMNS),
        "",
        f"  {'package':<24}{'lines':>10}{'functions':>11}{'classes':>9}",
    ]
    for name in ranked["packages"]["lines"][:TOP]:
        row = rows[name]
        lines.append(f"  {name:<24}{row['lines']:>10,}{row['functions']:>11,}{row['classes']:>9,}")
    if ranked["longest_functions"]:
        length, function, file, line = ranked["longest_functions"][0]
        lines += ["", f"  longest function: {function}, {length:,} lines, {file}:{line}"]
    if errors:
        lines += ["", "  not critical:", *(f"    {error}" for error in errors)]
    lines += ["", f"  report: {' and '.join(results['write'])}"]
    return "\n".join(lines)
