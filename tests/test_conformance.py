"""The public suite for executors, on every kind of executor there is."""

from __future__ import annotations

import concurrent.futures
import importlib.util
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

from task_pipeline.executors import DaskExecutor, ProcessExecutor
from task_pipeline.testing.conformance import ExecutorConformance
from tests.packed_calls import PackedHere


class TestInline(ExecutorConformance):
    workers = 1

    def make_executor(self) -> str:
        return "inline"


class TestThread(ExecutorConformance):
    def make_executor(self) -> str:
        return "thread"


class TestProcess(ExecutorConformance):
    def make_executor(self) -> ProcessExecutor:
        return ProcessExecutor(max_workers=2)

    def make_narrow_executor(self) -> ProcessExecutor:
        return ProcessExecutor(max_workers=1)


class TestPackedHere(ExecutorConformance):
    """Everything is packed, and performed in a thread here: what coverage can see of the way."""

    many, drawn = 200, 10

    def make_executor(self) -> PackedHere:
        return PackedHere()

    def make_narrow_executor(self) -> PackedHere:
        return PackedHere(1)


class TestDask(ExecutorConformance):
    many, drawn = 500, 10

    def make_executor(self) -> DaskExecutor:
        return DaskExecutor.local(n_workers=2)


class TestThreadPoolExecutor(ExecutorConformance):
    many, drawn = 200, 10

    def make_executor(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(2)

    def make_narrow_executor(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1)


class TestProcessPoolExecutor(ExecutorConformance):
    many, drawn = 200, 10

    def make_executor(self) -> ProcessPoolExecutor:
        return self.make_pool(2)

    def make_narrow_executor(self) -> ProcessPoolExecutor:
        return self.make_pool(1)

    def make_pool(self, workers: int) -> ProcessPoolExecutor:
        # Not forked: this process has threads.
        return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


if importlib.util.find_spec("loky") is not None:

    class TestLoky(ExecutorConformance):
        many, drawn = 200, 10

        def make_executor(self) -> Any:
            import loky

            return loky.ProcessPoolExecutor(2)


if sys.version_info >= (3, 14):

    class TestInterpreterPoolExecutor(ExecutorConformance):
        # Neither pydantic nor numpy can be loaded in an interpreter beside the main one.
        starts_runs = has_numpy = False

        def make_executor(self) -> Any:
            return concurrent.futures.InterpreterPoolExecutor(2)

        def make_narrow_executor(self) -> Any:
            return concurrent.futures.InterpreterPoolExecutor(1)
