"""Analyses the standard library of the Python that runs it, and writes a report.

Every package is read once and then looked at in three ways side by side (lines,
syntax trees, digests). All packages run side by side too, large ones in several
parts, and the merge adds their numbers up. The report is `report.md` and
`report.json`::

    python examples/analyse_stdlib.py --output ./stdlib-report

The pipeline, with one such row for every part of a package::

    ┌ read ─▶ ( lines ∥ syntax ∥ digests ) ─▶ finish ┐
    └ ...                                            ┘ ─▶ rank ─▶ write
"""

from __future__ import annotations

import argparse
import os
import sys
import sysconfig
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from stdlib_metrics import (
    Part,
    TreeStatistics,
    digests,
    find_parts,
    library_folder,
    line_numbers,
    size_numbers,
)
from stdlib_report import (
    ProgressLine,
    longest,
    rank_packages,
    render_json,
    render_markdown,
    summary,
)

from task_pipeline import (
    LogicOperator,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineStep,
    RetryPolicy,
    Run,
    Serial,
    step,
)


@dataclass(frozen=True)
class Settings:
    """What the command line chose; steps read it as `context.app_config`."""

    output: Path = Path("stdlib-report")
    stdlib: Path | None = None
    max_workers: int | None = None
    timeout: float = 110.0  # seconds for all packages together


class UnparsableFilesError(Exception):
    """Files of one package that this Python cannot parse: worth telling, no reason to stop."""

    def __init__(self, package: str, files: Sequence[str]) -> None:
        super().__init__(f"{package}: {len(files)} do not parse: {', '.join(files)}")
        self.package = package
        self.files = list(files)


# ---------------------------------------------------------------- discovery


def ask_sysconfig(context: PipelineContext[Settings]) -> None:
    """Where the build configuration says the library is."""
    context.results["stdlib"] = library_folder(Path(sysconfig.get_paths()["stdlib"]))


def ask_os_module(context: PipelineContext[Settings]) -> None:
    """Where a module of the library was really loaded from."""
    context.results["stdlib"] = library_folder(Path(os.__file__).parent)


def discover(context: PipelineContext[Settings]) -> list[Part]:
    """Lists the library's packages, in parts.

    Raises:
        ValueError: there is no `.py` file.
    """
    parts = list(find_parts(Path(context.results["stdlib"])))
    if not parts:
        raise ValueError(f"there is no .py file below {context.results['stdlib']}")
    return parts


def build_discovery(stdlib: Path | None = None) -> Pipeline:
    """Builds the pipeline that finds the library, unless it is given, and lists its packages.

    Either of two ways to find the library will do; when they disagree, the first
    one written is believed.
    """
    if stdlib is not None:
        given = str(stdlib.resolve())
        return Pipeline([step(step_id="stdlib")(lambda _: given), discover])
    either = ParallelConfig(operator=LogicOperator.OR, on_conflict="first")
    locate = Parallel([ask_sysconfig, ask_os_module], name="locate", config=either)
    return Pipeline([locate, discover])


# ---------------------------------------------------------------- one part of a package


class PartStep(PipelineStep):
    """A step that works on one part of a package; its id is `<package>.<what it does>`."""

    what = ""

    def __init__(self, part: Part) -> None:
        self.part = part

    @property
    def step_id(self) -> str:
        """Names the package too, so that progress and errors do; its second part gets a #2."""
        return f"{self.part.package}.{self.what}"

    def add(self, context: PipelineContext[Settings], numbers: Mapping[str, int]) -> None:
        """Adds `numbers` to the package's row and to the totals.

        Every branch does so in its own fork; the merge adds the increments up, so no
        branch needs a lock or has to know of the others.
        """
        rows = context.results.setdefault("packages", {})
        for row in rows.setdefault(self.part.package, {}), context.results.setdefault("totals", {}):
            for name, number in numbers.items():
                row[name] = row.get(name, 0) + number


def read_source(path: Path) -> bytes:
    """Reads one file: a function of its own, so that a test can make it fail."""
    return path.read_bytes()


class ReadSources(PartStep):
    """Reads the part's files, again if the file system fails for a moment."""

    what = "read"
    timeout = 30.0
    retries = RetryPolicy(
        attempts=3, delay=0.05, retry_on=(OSError,), never_on=(FileNotFoundError,)
    )

    def run(self, context: PipelineContext[Settings]) -> None:
        # The same key in every part: a branch sees only its own.
        context.results["sources"] = {
            file: read_source(self.part.root / file) for file in self.part.files
        }


class CountLines(PartStep):
    """Counts files, lines and blank lines."""

    what = "lines"

    def run(self, context: PipelineContext[Settings]) -> None:
        self.add(context, line_numbers(context.results["sources"]))


class ParseTrees(PartStep):
    """Counts functions, classes and imports in the syntax trees, and files that have none."""

    what = "syntax"
    weight = 8.0  # nearly all of a part's time

    def run(self, context: PipelineContext[Settings]) -> None:
        found = TreeStatistics(self.part.package)
        done = 0
        for file, text in context.results["sources"].items():
            found.take(file, text)
            done += len(text)
            # Also the point where this step stops once the group's time is up.
            context.update_step_progress(100.0 * done / max(1, self.part.size))
        self.add(context, found.numbers())
        context.results["unparsable"] = found.unparsable
        context.results["imported"] = found.imported
        context.results["longest_functions"] = longest(found.functions)


class TakeDigests(PartStep):
    """Takes the sha256 of every file, and the size the files have when compressed."""

    what = "digests"

    def run(self, context: PipelineContext[Settings]) -> None:
        context.results["digests"] = digests(context.results["sources"])
        self.add(context, size_numbers(context.results["sources"]))


class FinishPart(PartStep):
    """Drops the sources, and complains of files that do not parse.

    The library ships some such files on purpose, so the step is not critical: its
    error is kept in `context.errors`, and the run goes on.
    """

    what = "finish"
    critical = False

    def run(self, context: PipelineContext[Settings]) -> None:
        # What a branch both adds and deletes never reaches the merge.
        del context.results["sources"]
        if unparsable := context.results["unparsable"]:
            raise UnparsableFilesError(self.part.package, [file for file, _ in unparsable])


def build_part(part: Part) -> Serial:
    """Builds the row of steps for one part."""
    views = Parallel([CountLines(part), ParseTrees(part), TakeDigests(part)])
    return Serial([ReadSources(part), views, FinishPart(part)], name=part.package)


# ---------------------------------------------------------------- the whole


@step(weight=0.02)
def rank(context: PipelineContext[Settings]) -> dict[str, Any]:
    """Orders packages, functions and imported modules for the report."""
    return rank_packages(context.results)


@step(weight=0.02)
def write(context: PipelineContext[Settings]) -> list[str]:
    """Writes the report twice, for people and for programs; returns where."""
    folder = context.app_config.output
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "report.md": render_markdown(context.results),
        "report.json": render_json(context.results),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [str(folder / name) for name in texts]


def build_pipeline(parts: Sequence[Part], settings: Settings) -> Pipeline:
    """Builds the pipeline that analyses `parts` and writes the report."""
    packages = Parallel(
        [build_part(part) for part in parts],
        name="packages",
        config=ParallelConfig(timeout=settings.timeout),
    )
    return Pipeline(
        [packages, rank, write], config=PipelineConfig(max_workers=settings.max_workers)
    )


def analyse(settings: Settings, stream: TextIO) -> PipelineContext[Settings]:
    """Finds and analyses the library, showing progress on `stream` meanwhile.

    Returns:
        The context: the numbers in `results`, files that do not parse in `errors`.
    """
    context = build_discovery(settings.stdlib).run(PipelineContext(app_config=settings))
    # The packages are known only now, and a pipeline's plan never changes while it
    # runs: so the second pipeline is built from what the first one found.
    pipeline = build_pipeline(context.results.pop("discover"), settings)
    # Parsing old code warns of escapes and literals that are not ours to mend. The
    # filter is the whole process's, so it is set here and not in each thread.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return watch(pipeline, pipeline.start(context), ProgressLine(stream))


def watch(
    pipeline: Pipeline, run: Run[PipelineContext[Settings]], line: ProgressLine
) -> PipelineContext[Settings]:
    """Redraws `line` from the pipeline's status until the run ends; returns its context."""
    try:
        while not run.done:
            line.show(pipeline.get_status())
            time.sleep(0.1)
        line.show(pipeline.get_status())
    except KeyboardInterrupt:
        run.cancel()
        raise
    finally:
        line.close()
    return run.result()


def parse_arguments(arguments: Sequence[str] | None = None) -> Settings:
    """Turns the command line into settings."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Settings.output, metavar="DIR")
    parser.add_argument("--stdlib", type=Path, metavar="PATH", help="another tree to analyse")
    parser.add_argument("--max-workers", type=int, metavar="N", help="steps that may run at once")
    settings = Settings(**vars(parser.parse_args(arguments)))
    if settings.stdlib is not None and not settings.stdlib.is_dir():
        parser.error(f"--stdlib: {settings.stdlib} is not a folder")
    return settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the analysis and prints its summary."""
    settings = parse_arguments(arguments)
    started = time.perf_counter()
    try:
        context = analyse(settings, sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(summary(context.results, context.errors, time.perf_counter() - started))
    return 0


if __name__ == "__main__":
    sys.exit(main())
