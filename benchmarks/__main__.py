"""`python -m benchmarks`: print what everything costs, ours and others', in one run."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import table
from benchmarks.budget import FULL, QUICK, Result, measure_all
from benchmarks.rivals import PeerResult, measure_peers


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status: 0, or 1 if --check finds a bound missed."""
    options = _parser().parse_args(arguments)
    effort = QUICK if options.quick else FULL
    print(table.opening(effort), end="\n\n", flush=True)

    lines: list[Result] = []
    print(table.budget_heading())
    for result in measure_all(effort, with_peers=not options.no_peers):
        lines.append(result)
        print(table.budget_row(result), flush=True)

    peers: list[PeerResult] = []
    if not options.no_peers:
        print(f"\n{table.peer_heading()}")
        for peer in measure_peers(effort):
            peers.append(peer)
            print(table.peer_row(peer), flush=True)
        warning = table.unsteady(peers)
        print(f"\n{warning}" if warning else "", end="\n" if warning else "")

    missed = [result for result in lines if result.met is False]
    bounded = sum(result.met is not None for result in lines)
    print(f"\n{bounded - len(missed)} of {bounded} bounds met.")
    if options.json is not None:
        options.json.write_text(json.dumps(_report(effort, lines, peers), indent=2) + "\n")
    return 1 if options.check and missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds, one process each, no long lines"
    )
    parser.add_argument("--no-peers", action="store_true", help="only our own lines")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure to FILE")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bound is missed")
    return parser


def _report(effort: Any, lines: list[Result], peers: list[PeerResult]) -> dict[str, Any]:
    return {
        "conditions": table.opening(effort),
        "lines": [asdict(result) | {"met": result.met} for result in lines],
        "peers": [asdict(peer) for peer in peers],
    }


if __name__ == "__main__":
    raise SystemExit(main())
