"""The functions of a small ETL: what `etl.yaml` does by name.

    cd examples/etl
    task-pipeline run etl.yaml --plugin tables --journal sqlite:///runs.db

CSV files are cleaned, joined and converted to euros; `build/` then has `sales.json`,
`remarks.txt` and `shop.db`. `python tables.py` shows a run that stops half-way, as the
rates are not there yet, and is taken up once they are: it works on a copy, and leaves
nothing behind. Needs the extras `documents` (YAML and templates) and `journal`, and
`cli` for the command line.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import sqlite3
import tempfile
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

from task_pipeline import PipelineContext, load_pipeline, open_journal, register_function

Context = PipelineContext[Any]
Row = dict[str, str]
HERE = Path(__file__).resolve().parent


# ---------------------------------------------------------------- one file


@register_function("parse_rows")
def parse_rows(context: Context) -> list[Row]:
    """The rows of a CSV file as dicts, without blanks around their values."""
    rows = csv.DictReader(io.StringIO(context.results["text"]))
    return [{name: value.strip() for name, value in row.items()} for row in rows]


@register_function("complete_rows")
def complete_rows(context: Context) -> list[Row]:
    """The rows that have a value in every column."""
    return [row for row in context.results["rows"] if all(row.values())]


# ---------------------------------------------------------------- all together


@register_function("join_orders")
def join_orders(context: Context) -> dict[str, Any]:
    """What each customer has bought, in euros; and the orders of customers that nobody knows."""
    results = context.results
    names = {row["customer"]: row["name"] for row in results["customers"]}
    countries = {row["customer"]: row["country"].upper() for row in results["customers"]}
    euros: defaultdict[str, float] = defaultdict(float)
    orders: Counter[str] = Counter()
    unknown = []
    for row in results["orders"]:
        if row["customer"] not in names:
            unknown.append(row["order"])
            continue
        orders[row["customer"]] += 1
        euros[row["customer"]] += float(row["amount"]) * results["rates"][row["currency"]]
    customers = [
        {
            "customer": int(key),
            "name": names[key],
            "country": countries[key],
            "orders": orders[key],
            "euros": round(euros[key], 2),
        }
        for key in sorted(orders, key=int)
    ]
    return {"customers": customers, "unknown": unknown}


@register_function("write_database")
def write_database(context: Context, path: str) -> int:
    """Writes the table in one transaction; if it runs again, it is there once all the same."""
    customers = context.results["sales"]["customers"]
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS sales "
            "(customer INTEGER PRIMARY KEY, name TEXT, country TEXT, orders INTEGER, euros REAL)"
        )
        database.execute("DELETE FROM sales")
        database.executemany(
            "INSERT INTO sales VALUES (:customer, :name, :country, :orders, :euros)", customers
        )
    return len(customers)


# ---------------------------------------------------------------- as a script


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "etl"
        shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("build", "runs.db*"))
        os.chdir(folder)
        try:
            run_and_resume(folder)
        finally:
            os.chdir(HERE)


def run_and_resume(folder: Path) -> None:
    rates = (folder / "sources" / "rates.json").rename(folder / "rates.json")
    with open_journal(f"sqlite:///{folder / 'runs.db'}") as journal:
        pipeline = load_pipeline(folder / "etl.yaml", journal=journal)
        try:
            pipeline.run(run_id="today")
        except FileNotFoundError as error:
            print("stopped:", str(error).replace(str(folder), "."))
        before = {step.step_id for step in journal.steps("today") if step.status == "succeeded"}
        rates.rename(folder / "sources" / "rates.json")
        context = pipeline.resume("today")
        print("resumed; not repeated:", ", ".join(sorted(before)))
        assert all(len(attempts(journal, key)) == 1 for key in before)
    for row in context.results["sales"]["customers"]:
        print(f"{row['name']:16} {row['orders']} orders {row['euros']:10.2f} €")
    print((folder / "build" / "remarks.txt").read_text(encoding="utf-8"), end="")


def attempts(journal: Any, step_id: str) -> list[Any]:
    return [step for step in journal.steps("today") if step.step_id == step_id]


if __name__ == "__main__":
    main()
