"""`python -m benchmarks.scaling`: what a run of many steps takes, and what limits it.

It reckons with a small simulation (`benchmarks.scaling_model`) and with the rates that were
measured on the machine of `docs/scaling.md`; with `--measure` it measures those of this one first,
which takes some two minutes, and with `--rates FILE` it keeps them. `--check` runs programs here
of 1,000 steps and more, and says how far off the simulation was.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.scaling_check import check
from benchmarks.scaling_model import (
    Executor,
    Form,
    Place,
    Program,
    Rates,
    advice,
    least_seconds,
    simulate,
)
from benchmarks.table import seconds as shown
from benchmarks.worker import Task, measure

MANY = 100_000
FEW = 1_000
THERE = Rates(
    build=11.5e-6,
    plan_bytes=820,
    step=7.4e-6,
    branch=10.4e-6,
    item=15.4e-6,
    task=15.0e-6,
    write=13.0e-6,
    key=3.6e-9,
    branch_bytes=520,
    item_bytes=1_010,
    process_bytes=1_600,
    dask_bytes=3_400,
    task_bytes=1_120,
    left_bytes=45,
    delta_bytes=880,
    process=75e-6,
    process_worker=30e-6,
    process_wait=30e-6,
    client=220e-6,
    scheduler=550e-6,
    dask_worker=850e-6,
    dask_wait=6e-3,
    call_bytes=2_000,
    reply_bytes=700,
    row=13.6e-6,
    row_bytes=211,
    sqlite_commit=45e-6,
    postgresql_commit=450e-6,
    event=7.1e-6,
    event_bytes=200,
)
"""As measured on the machine that the documentation's figures are from."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate what was asked for, and say what it comes to."""
    options = _parser().parse_args(arguments)
    rates = THERE
    if options.rates is not None and options.rates.exists():
        rates = Rates(**json.loads(options.rates.read_text()))
    elif options.measure or options.rates is not None:
        rates = measured(options.postgresql)
        if options.rates is not None:
            options.rates.write_text(json.dumps(dataclasses.asdict(rates), indent=2) + "\n")
    if options.measure or options.show_rates:
        for field in dataclasses.fields(rates):
            value = getattr(rates, field.name)
            print(f"  {field.name:<18} {_bytes(value) if 'bytes' in field.name else shown(value)}")
    if options.check:
        return check(rates, options.steps, options.only)
    program, place = _asked(options)
    for line in report(program, place, rates):
        print(line)
    return 0


def report(program: Program, place: Place, rates: Rates) -> list[str]:
    """What a program is expected to take in a place, in lines."""
    outcome = simulate(program, place, rates)
    ideal = least_seconds(program, place)
    groups = "in series" if program.width == 1 else f"in groups of {program.width:,}"
    each = f" of {shown(program.seconds)}" if program.seconds else ""
    steps = f"{program.steps:,} steps{each} {groups}"
    rate = f"{program.steps / outcome.seconds:,.0f} steps/s"
    alone = f"; the steps alone {shown(ideal)}" if ideal else ""
    lines = [
        f"{steps}, on {place.executor} with {place.workers} workers",
        f"  takes       {shown(outcome.seconds)}: {rate}{alone}",
    ]
    if outcome.build:
        lines.append(f"  before it   {shown(outcome.build)} to build the pipeline")
    lines.append("  busy        " + ", ".join(f"{p} {s:.0%}" for p, s in outcome.busy.items()))
    lines.append(f"  the limit   {advice(outcome.binds, program, place, rates)}")
    total = sum(outcome.memory.values())
    lines.append(f"  memory      {_bytes(total)} here, over the idle process")
    parts = sorted(outcome.memory.items(), key=lambda part: -part[1])
    lines.extend(f"    {_bytes(size):>10}  {name}" for name, size in parts)
    if place.journal != "none":
        lines.append(f"  on disk     {_bytes((rates.row_bytes + program.changed) * program.steps)}")
    return lines


def measured(postgresql: str | None = None) -> Rates:
    """The rates of this machine. That of a PostgreSQL server only with its URL."""

    def of(function: str, **arguments: Any) -> dict[str, float]:
        print(f"measuring: {function} {arguments or ''}", file=sys.stderr, flush=True)
        answer: dict[str, float] = measure(Task("rates", function, arguments))
        return answer

    def group(kind: str, width: int, form: str) -> dict[str, float]:
        return of("group", count=MANY, kind=kind, width=width, form=form)

    branch, series = group("nothing", MANY, "list"), group("nothing", 1, "list")
    writing = group("own key", MANY, "list")
    item, task = group("nothing", MANY, "map"), group("nothing", MANY, "tasks")
    process = of("process", count=5 * FEW, kind="nothing", width=5 * FEW)
    in_series = of("process", count=FEW, kind="nothing", width=1)
    dask = of("dask", count=4 * FEW, kind="nothing", width=4 * FEW)
    one_by_one = of("dask", count=50, kind="nothing", width=1)
    row = of("journal", count=3 * FEW, width=FEW, url=None)
    commit = of("journal", count=FEW, width=1, url=None)
    event = of("events", count=10 * FEW)
    server = THERE.postgresql_commit
    if postgresql is not None:
        server = of("journal", count=FEW, width=1, url=postgresql)["elapsed"]
    return Rates(
        build=of("build", count=20 * FEW)["seconds"],
        plan_bytes=branch["plan_bytes"],
        step=series["seconds"],
        branch=branch["seconds"],
        item=item["seconds"],
        task=task["seconds"],
        write=writing["seconds"] - branch["seconds"],
        key=of("keys", count=200, held=20 * FEW)["seconds"],
        branch_bytes=branch["run_bytes"],
        item_bytes=item["run_bytes"],
        process_bytes=max(0.0, process["bytes"] - branch["run_bytes"]),
        dask_bytes=max(0.0, dask["bytes"] - branch["run_bytes"]),
        task_bytes=task["run_bytes"],
        left_bytes=max(0.0, group("nothing", FEW, "tasks")["run_bytes"] - task["run_bytes"] / 100),
        delta_bytes=writing["run_bytes"] - branch["run_bytes"],
        process=process["here"],
        process_worker=process["there"],
        process_wait=max(0.0, in_series["elapsed"] - in_series["here"] - in_series["there"]),
        client=dask["here"],
        scheduler=dask["scheduler"],
        dask_worker=dask["there"],
        dask_wait=max(
            0.0, one_by_one["elapsed"] - sum(one_by_one[n] for n in ("here", "scheduler", "there"))
        ),
        call_bytes=dask["bytes_to_workers"],
        reply_bytes=dask["bytes_to_client"],
        row=row["seconds"],
        row_bytes=row["bytes"],
        sqlite_commit=max(0.0, commit["elapsed"] - row["seconds"]),
        postgresql_commit=server,
        event=event["seconds"],
        event_bytes=event["bytes"],
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    add = parser.add_argument
    add("--steps", type=int, default=1_000_000)
    add("--width", type=int, help="branches of each group; 1 for a series; by default all of them")
    add("--side-by-side", action="store_true", help="groups side by side, not one after another")
    add("--seconds-per-step", type=float, default=0.0, metavar="S")
    add("--waits", action="store_true", help="steps wait for something else, and do not compute")
    add("--writes", action="store_true", help="each step writes a key of its own")
    add("--bytes-per-step", type=float, default=0.0, metavar="B", help="that a step leaves")
    add("--form", choices=list(Form), type=Form, default=Form.LIST)
    add("--executor", choices=list(Executor), type=Executor, default=Executor.THREAD)
    add("--workers", type=int, default=8)
    add("--cores", type=int, default=2, help="of the machine that the run is on")
    add("--elsewhere", action="store_true", help="Dask's scheduler and workers are other machines")
    add("--max-calls", type=int, help="calls under way at once")
    add("--megabits", type=float, default=1_000, help="of the network, a second")
    add("--round-trip", type=float, default=0.0005, metavar="S")
    add("--journal", choices=["none", "sqlite", "postgresql"], default="none")
    add("--listeners", type=int, default=0, help="callbacks for events")
    add("--history", type=int, default=0, help="events that are kept")
    add("--measure", action="store_true", help="measure the rates of this machine first")
    add("--rates", type=Path, metavar="FILE", help="rates to use; measured into it if it is new")
    add("--show-rates", action="store_true")
    add("--postgresql", metavar="URL", help="of a server whose commits are to be measured")
    add("--check", action="store_true", help="run up to --steps steps here, and compare")
    add("--only", default="", metavar="TEXT", help="of --check: programs with this in their name")
    return parser


def _asked(options: argparse.Namespace) -> tuple[Program, Place]:
    program = Program(
        steps=options.steps,
        width=min(options.width or options.steps, options.steps),
        seconds=options.seconds_per_step,
        waits=options.waits,
        writes=int(options.writes),
        changed=options.bytes_per_step,
        form=options.form,
        groups_side_by_side=options.side_by_side,
    )
    place = Place(
        executor=options.executor,
        workers=options.workers,
        cores=options.cores,
        elsewhere=options.elsewhere,
        max_calls=options.max_calls,
        bandwidth=options.megabits * 1e6 / 8,
        round_trip=options.round_trip,
        journal=options.journal,
        listeners=options.listeners,
        history=options.history,
    )
    return program, place


def _bytes(size: float) -> str:
    for scale, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size:.0f} B"


if __name__ == "__main__":
    raise SystemExit(main())
