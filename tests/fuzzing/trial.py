"""One document, tried: loaded, drawn, dumped and run. Whatever is not clean about it is told."""

from __future__ import annotations

import copy
import importlib
import itertools
import logging
import os
import pickle
import pkgutil
import re
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from task_pipeline import (
    DocumentError,
    Event,
    GroupTimeoutError,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    PipelineDefinitionError,
    RunCancelledError,
    RunTimeoutError,
    StepError,
    TaskPipelineError,
    open_journal,
)
from task_pipeline.documents import DocumentPipeline, DocumentProblem, dump_pipeline, load_pipeline
from task_pipeline.drawing import dot, mermaid, svg, tree
from task_pipeline.journal.outline import outline_of

from . import corpus, folder
from .guard import Guard, stack_of

TIMEOUT = 1.0
"""Seconds that a run may take: how much a document may ask for is not limited, only until when."""

LONGEST = 5.0
LARGEST = 300_000
"""Seconds, and kilobytes, that a document may take in all."""

_IS_TEXT = ("{", "[", "---", "#")

# What steps of the library raise on purpose. Of these types exactly: pydantic's and json's errors
# are ValueErrors too.
_PLAIN = (ValueError, RuntimeError, TimeoutError, OSError, FileNotFoundError, IsADirectoryError,
          NotADirectoryError, PermissionError, FileExistsError)  # fmt: skip
# How each of them must begin to tell: which step, or which place of the document.
_OF_RUNS = (RunTimeoutError, GroupTimeoutError, RunCancelledError, StepError, DocumentError)
_PLACED = re.compile(r"\bstep |\bsteps\b|\[\d+\]")
# What a Map of the library says, in Python too, of what it is to go over.
_OF_MAPS = re.compile(r"['\"`]?over\b")
_RAW = re.compile(
    r"pydantic|validation error|\[type=|Traceback|object at 0x|liquid\.exceptions|<class '"
)


class Options(NamedTuple):
    """How a document is loaded and run.

    - `is_inside`: with its own settings, in a pipeline that has the deadline
    - `is_recorded`: with a journal
    - `values`: what else is in the context; `agents`: who else is there
    - `patience`: seconds that threads are waited for which the deadline has left behind
    """

    kind: Any = None
    as_file: str | None = None
    fails_fast: bool = True
    is_inside: bool = False
    has_fallback: bool = False
    is_recorded: bool = False
    values: Mapping[str, Any] = {}
    agents: Mapping[str, Any] = {}
    patience: float = 20.0
    is_watched: bool = True


DEFAULT = Options()


class Verdict(NamedTuple):
    """What came of a document: how far it got, and what was not clean about it."""

    stage: str
    problems: list[str]


class Trials:
    """Tries documents, each in a folder of its own."""

    def __init__(self) -> None:
        self.guard = Guard()
        os.environ[folder.TOKEN] = folder.SECRET
        self.place = Path(tempfile.mkdtemp(prefix="fuzz-"))
        self.root = self.place / "root"
        folder.fill_outside(self.place / "outside")
        self.outside = folder.seen(self.place / "outside")
        self.numbers = itertools.count()
        self.log = _Log()
        logger = logging.getLogger("task_pipeline")
        logger.setLevel(logging.DEBUG)
        logger.addHandler(self.log)
        logger.propagate = False
        _import_everything()
        for document in (*corpus.DOCUMENTS, *corpus.YAML_TEXTS):
            self.try_one(document, Options(is_watched=False))
        self.try_one(corpus.WORKFLOWS[0], Options(is_watched=False, is_recorded=True))

    def close(self) -> None:
        """Leave nothing behind."""
        os.chdir("/")
        logging.getLogger("task_pipeline").removeHandler(self.log)
        shutil.rmtree(self.place, ignore_errors=True)

    def try_one(self, document: Any, options: Options = DEFAULT) -> Verdict:
        """Load and run one."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir()
        folder.fill(self.root)
        os.chdir(self.root)
        if isinstance(document, str) and (options.as_file or not document.startswith(_IS_TEXT)):
            # What is no text for certain is the name of a file, which the caller has given.
            name = options.as_file or "doc"
            (self.root / name).write_text(document, "utf-8", "surrogatepass", "")
            document = Path(name)
        self.log.records.clear()
        journal = self.place / f"runs.db{next(self.numbers)}"
        trial = _Trial(document, options, self.root, journal)
        begun, before = time.monotonic(), _most_memory(begins=True)
        watching: AbstractContextManager[list[str]] = nullcontext([])
        if options.is_watched:
            extra = ("sqlite3.",) if options.is_recorded else ()
            watching = self.guard.watching(self.root, *extra)
        with watching as found:
            trial.go()
            busy = _threads_left(options.patience)
        took, more = time.monotonic() - begun, _most_memory() - before
        trial.judge(self.log.records)
        for file in self.place.glob("runs.db*"):
            trial.told("journal", file.read_bytes().decode("latin-1"), is_own=False)
            file.unlink()
        problems = trial.problems
        problems += [f"a thread goes on and on:\n{stack}" for stack in busy]
        if took > LONGEST:
            problems.append(f"it took {took:.1f} s")
        if more > LARGEST:
            problems.append(f"it took {more:,} kB")
        problems += [f"not for documents: {one}" for one in dict.fromkeys(found)]
        if folder.seen(self.place / "outside") != self.outside:
            raise SystemExit(f"something outside of the root was changed; {problems}")
        return Verdict(trial.stage, problems)


class _Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class _Trial:
    def __init__(self, document: Any, options: Options, root: Path, journal: Path) -> None:
        self.document = document
        self.options = options
        self.root = root
        self.journal = journal
        self.pipeline: DocumentPipeline | None = None
        self.events: list[Event] = []
        self.stage = "refused"
        self.problems: list[str] = []
        self.refusal: BaseException | None = None
        self.not_looked_at: BaseException | None = None
        self.failure: BaseException | None = None
        self.context: PipelineContext[Any] | None = None

    def go(self) -> None:
        config = PipelineConfig(timeout=TIMEOUT, fail_fast=self.options.fails_fast)
        is_inside = self.options.is_inside
        try:
            pipeline = load_pipeline(
                self.document,
                self.options.kind,
                root=self.root,
                base_dir=self.root,
                env={folder.TOKEN},
                handlers=folder.HANDLERS,
                agents={
                    **folder.AGENTS,
                    **({"*": folder.echo} if self.options.has_fallback else {}),
                    **self.options.agents,
                },
                functions=folder.FUNCTIONS,
                config=None if is_inside else config,
            )
        except BaseException as error:  # what it is, is judged later
            self.refusal = error
            return
        try:
            self.look_at(pipeline)
        except BaseException as error:
            self.not_looked_at = error
        self.pipeline = pipeline
        values = {**folder.values(), **self.options.values}
        if self.options.is_recorded:
            values |= dict.fromkeys(("thing", "tuple", "set", "bytes"), "not to be recorded")
        context: PipelineContext[Any] = PipelineContext(results=values)
        try:
            with ExitStack() as stack:
                journal = None
                if self.options.is_recorded:
                    journal = stack.enter_context(open_journal(f"sqlite:///{self.journal}"))
                outer: Pipeline = pipeline
                if is_inside or journal is not None:
                    outer = Pipeline([pipeline], config, journal=journal)
                outer.subscribe(self.events.append)
                self.context = outer.run(context)
            self.stage = "ran"
        except BaseException as error:
            self.failure = error
            self.stage = "failed"
        try:
            pipeline.get_status()
        except BaseException as error:
            self.not_looked_at = error

    def look_at(self, pipeline: DocumentPipeline) -> None:
        """Everything that can be asked of a pipeline without running it."""
        plan = pipeline._plan
        outline_of(plan)
        for draw in (tree, mermaid, dot, svg):
            draw(plan)
        try:
            dump_pipeline(pipeline)
        except DocumentError:
            raise
        except PipelineDefinitionError as error:
            self.told("dump", str(error))
        repr(pipeline)

    def judge(self, records: list[logging.LogRecord]) -> None:
        """Find whatever is not clean."""
        if self.refusal is not None:
            self.refused(self.refusal)
        if self.not_looked_at is not None:
            self.unclean("look", self.not_looked_at)
        if self.failure is not None:
            self.failed(self.failure)
        if self.context is not None:
            for one in self.context.errors:
                self.told("errors", repr(one), is_own=False)
            self.told("results", _shown(self.context.results), is_own=False)
        for event in self.events:
            self.told("events", event.to_json(), is_own=False)
        if self.pipeline is not None:
            self.copied(self.pipeline)
        for record in records:
            self.told("log", logging.Formatter().format(record), is_own=False)

    def copied(self, pipeline: DocumentPipeline) -> None:
        """A pipeline that was loaded can be sent to another process."""
        try:
            again = pickle.loads(pickle.dumps(pipeline))
            if outline_of(again._plan) != outline_of(pipeline._plan):
                self.problems.append("copy: it is another one")
            copy.deepcopy(pipeline)
        except Exception as error:
            self.unclean("copy", error)

    def refused(self, error: BaseException) -> None:
        """A document that cannot be used must be told so that its writer can mend it."""
        if not isinstance(error, DocumentError):
            self.unclean("load", error)
            return
        if not error.problems:
            self.problems.append("load: refused without a reason")
        for problem in error.problems:
            if not isinstance(problem, DocumentProblem):
                self.problems.append(f"load: no DocumentProblem: {problem!r:.300}")
            elif not problem.found or "\n" in problem:
                self.problems.append(f"load: not a line of text: {problem!r:.300}")
            elif isinstance(self.document, str | Path) and problem.file is None:
                self.problems.append(f"load: no file: {problem!r:.300}")
        self.told("load", str(error))
        pickle.loads(pickle.dumps(error))

    def failed(self, error: BaseException) -> None:
        """A run may only fail with errors that somebody meant."""
        whole = "".join(traceback.format_exception(error))
        self.told("run", f"{error}\n{whole}", is_own=False)
        for one in _leaves(error):
            if isinstance(one, folder.Planned):
                continue
            is_meant = isinstance(one, TaskPipelineError) or type(one) in _PLAIN
            if isinstance(one, KeyError | TypeError) and _OF_MAPS.match(str(one)):
                continue
            if not is_meant or (not isinstance(one, _OF_RUNS) and not _PLACED.search(str(one))):
                self.unclean("run", one)
            self.told("run", str(one))

    def told(self, when: str, text: str, *, is_own: bool = True) -> None:
        """No text may tell what nobody may see; the library's own are in its own words."""
        for canary in (folder.HIDDEN, folder.OUTSIDE):
            if canary in text:
                self.problems.append(f"{when}: {canary} in {text[:2_000]}")
        if folder.MARK in text:
            self.problems.append(f"{when}: the secret is in {text[:3_000]}")
        if is_own and (raw := _RAW.search(text)) is not None:
            self.problems.append(f"{when}: {raw.group()!r} in {text[:2_000]}")

    def unclean(self, when: str, error: BaseException) -> None:
        """What nobody meant."""
        whole = "".join(traceback.format_exception(error))
        self.problems.append(f"{when}: {type(error).__name__}: {error!s:.500}\n{whole[-4_000:]}")


def _import_everything() -> None:
    """What is imported when it is first needed: later on no import is right."""
    for package in ("task_pipeline", "liquid", "babel", "encodings"):
        paths = importlib.import_module(package).__path__
        for one in pkgutil.walk_packages(paths, f"{package}."):
            if not one.name.startswith(_NOT_NEEDED) and not one.name.endswith("__main__"):
                importlib.import_module(one.name)


_NOT_NEEDED = (
    "encodings.mbcs",
    "encodings.oem",
    "babel.messages",
    "babel.localtime",
    "liquid.utils.cache",
    "task_pipeline.display",
)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group of errors, at any depth."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _shown(results: Any) -> str:
    try:
        return repr(dict(results))
    except RecursionError:
        return ""


def _threads_left(patience: float) -> list[str]:
    """What threads do that a deadline has left behind, and that do not come to their end."""
    until = time.monotonic() + patience
    pause = threading.Event()
    while (busy := list(_busy())) and time.monotonic() < until:
        pause.wait(0.005)
    return busy


def _busy() -> Iterator[str]:
    me = threading.get_ident()
    for ident, frame in list(sys._current_frames().items()):
        if ident != me and "task_pipeline/documents" in (stack := stack_of(frame, 100)):
            yield stack


def _most_memory(*, begins: bool = False) -> int:
    """The most memory of the process since it was last asked to begin, in kilobytes."""
    if begins:
        Path("/proc/self/clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found.group(1)) if found else 0
