"""Every example runs, as a reader would run it, and ends well.

Scripts run where nothing else is. Documents run in a copy of their folder, by the command that
is written beside them; what they come to is checked.
"""

from __future__ import annotations

import filecmp
import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PATIENCE = 50.0  # seconds; less than the time limit of a test, so that the output is shown
# A part of the library: test_analyse_stdlib.py has it analyse the whole.
ARGUMENTS = {
    "analyse_stdlib.py": ["--output", "report", "--stdlib", str(Path(json.__file__).parent)]
}
SCRIPTS = sorted(path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py"))
DOCUMENTS = {
    "report/report.json": ["-c", "title=Weekly"],
    "evaluation/evaluation.json": ["-c", "questions=@questions.json", "--plugin", "agents"],
    "etl/etl.yaml": ["--plugin", "tables", "--journal", "sqlite:///runs.db"],
}
# These run as a part of another one.
PARTS = {"report/project.json": "report/report.json", "etl/clean.yaml": "etl/etl.yaml"}


def ended(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def run_document(name: str, folder: Path, *more: str) -> dict[str, Any]:
    """Run a document in its folder as the command line does, and return the results."""
    document = Path(name).name
    run = [sys.executable, "-m", "task_pipeline", "run", document, *DOCUMENTS[name], *more]
    process = ended([*run, "--display", "none", "--output", "results.json"], folder)
    assert process.returncode == 0, f"{name} ended with {process.returncode}:\n{process.stdout}"
    results: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return results


@pytest.fixture
def copied(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of a folder of examples, without what earlier runs have left in it."""
    made: Path = tmp_path / request.param
    left = shutil.ignore_patterns("build", "runs.db*", "__pycache__")
    shutil.copytree(EXAMPLES / request.param, made, ignore=left)
    return made


@pytest.mark.parametrize("name", SCRIPTS)
def test_example_ends_with_status_0(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-B", str(EXAMPLES / name), *ARGUMENTS.get(Path(name).name, [])]
    before = entries(EXAMPLES)
    process = ended(command, tmp_path)
    assert process.returncode == 0, f"{name} ended with {process.returncode}:\n{process.stdout}"
    assert entries(EXAMPLES) == before


def entries(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if "__pycache__" not in path.parts}


def test_every_document_of_the_examples_is_run() -> None:
    found = {
        path.relative_to(EXAMPLES).as_posix()
        for suffix in ("json", "yaml", "yml")
        for path in EXAMPLES.rglob(f"*.{suffix}")
        if "build" not in path.parts and "steps" in path.read_text(encoding="utf-8")
    }
    assert found == DOCUMENTS.keys() | PARTS.keys()
    for part, whole in PARTS.items():
        assert Path(part).name in (EXAMPLES / whole).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_readme_has_the_command_of_each_document(name: str) -> None:
    command = " ".join(["task-pipeline run", Path(name).name, *DOCUMENTS[name]])
    assert f"`{command}`" in (EXAMPLES / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("copied", ["report"], indirect=True)
def test_report(copied: Path) -> None:
    results = run_document("report/report.json", copied)
    report = (copied / "build" / "report.md").read_text(encoding="utf-8")
    assert report.startswith("# Weekly\n\nOver budget: library.\n")
    assert "| Harbour | 2 | 1 | 9400 | 12000 |\n" in report
    assert "## Open: Tram line 4\n\n- [ ] Test the brakes (Ada)\n" in report
    assert "## Open: Library" not in report
    page = (copied / "build" / "report.html").read_text(encoding="utf-8")
    assert "<tr><td>Library</td><td>2</td><td>0</td><td>3250</td><td>3000</td></tr>" in page
    assert [entry["status"] for entry in results["projects__history"]] == ["succeeded"] * 3


@pytest.mark.parametrize("copied", ["report"], indirect=True)
def test_report_within_budget(copied: Path) -> None:
    budget = json.loads((copied / "budget.json").read_text(encoding="utf-8"))
    budget["library"]["spent"] = 0
    (copied / "budget.json").write_text(json.dumps(budget), encoding="utf-8")
    run_document("report/report.json", copied, "-c", "out=elsewhere")
    report = (copied / "elsewhere" / "report.md").read_text(encoding="utf-8")
    assert "Every project is within its budget." in report


@pytest.mark.parametrize("copied", ["evaluation"], indirect=True)
def test_evaluation(copied: Path) -> None:
    results = run_document("evaluation/evaluation.json", copied)
    assert results["score"] == {"right": 5, "wrong": [], "failed": 1, "of": 6}
    assert results["accept"] == "accepted with 5 of 6"
    assert "reject" not in results
    graded = results["questions"]
    assert [one["id"] for one in graded[:5]] == ["q1", "q2", "q3", "q4", "q5"]
    assert graded[4]["said"] == {"schoolbook": 14, "hasty": 20}
    assert "needs at least 2 branches to succeed" in graded[5]["error"]["message"]


@pytest.mark.parametrize("copied", ["etl"], indirect=True)
def test_etl_stops_and_is_resumed(copied: Path) -> None:
    rates = (copied / "sources" / "rates.json").rename(copied / "rates.json")
    command = [sys.executable, "-m", "task_pipeline"]
    options = DOCUMENTS["etl/etl.yaml"]
    process = ended([*command, "run", "etl.yaml", *options, "--run-id", "today"], copied)
    assert process.returncode == 1
    assert "sources/rates.json" in process.stdout
    assert not (copied / "build").exists()

    rates.rename(copied / "sources" / "rates.json")
    process = ended([*command, "runs", "resume", "today", "etl.yaml", *options], copied)
    assert process.returncode == 0, process.stdout
    sales = json.loads((copied / "build" / "sales.json").read_text(encoding="utf-8"))
    assert sales["unknown"] == ["1006"]
    with closing(sqlite3.connect(copied / "build" / "shop.db")) as database:
        rows = database.execute("SELECT name, country, orders, euros FROM sales").fetchall()
    assert rows == [
        ("Ada Lovelace", "GB", 1, 120.5),
        ("Grace Hopper", "US", 2, 349.6),
        ("Mary Somerville", "GB", 2, 76.05),
    ]

    process = ended([*command, "runs", "show", "today"], copied)
    assert process.returncode == 0, process.stdout
    assert "resumed 1 time" in process.stdout


@pytest.mark.parametrize("copied", ["etl"], indirect=True)
def test_etl_gives_the_same_again(copied: Path) -> None:
    for out in ("first", "second"):
        results = run_document("etl/etl.yaml", copied, "-c", f"out={out}")
        assert results["rows_written"] == 3
    for name in ("sales.json", "remarks.txt"):
        assert filecmp.cmp(copied / "first" / name, copied / "second" / name, shallow=False)
