"""The live view of a notebook: IPython itself, with what it would send to the browser kept."""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from task_pipeline import Pipeline
from task_pipeline.display import ParallelEventPrinter
from task_pipeline.display.notebook import has_kernel
from task_pipeline.testing import Gate

pytest.importorskip("IPython")


@pytest.fixture
def published(monkeypatch) -> Iterator[list[dict[str, Any]]]:
    """What a kernel would send: a shell that keeps it, and says that it has a kernel."""
    shells: Any = import_module("IPython.core.interactiveshell").InteractiveShell
    sent: list[dict[str, Any]] = []

    def publish(*, data: Any, transient: Any, update: bool = False, **rest: Any) -> None:
        sent.append({"html": data["text/html"], "update": update, **transient})

    shell = shells.instance()
    monkeypatch.setattr(shell.display_pub, "publish", publish)
    monkeypatch.setattr(shell, "kernel", object(), raising=False)
    yield sent
    shells.clear_instance()


def text_of(sent: dict[str, Any]) -> list[str]:
    return html.unescape(re.sub(r"<[^>]+>", "", sent["html"])).splitlines()


def test_one_output_is_replaced_as_the_run_goes_on(published, capsys) -> None:
    gate = Gate()

    def load(context) -> None:
        gate.wait()

    def parse(context) -> None: ...

    pipeline = Pipeline([load, [parse, parse]], name="<b>analysis</b>")
    with ParallelEventPrinter() as printer:
        printer.attach(pipeline)
        run = pipeline.start()
        gate.wait_until_reached()
        gate.open()
        run.result()
    assert [sent["update"] for sent in published] == [False] + [True] * (len(published) - 1)
    assert len({sent["display_id"] for sent in published}) == 1
    lines = text_of(published[-1])
    assert all(lines)
    assert sum("<b>analysis</b>" in line and "100 %" in line for line in lines) == 1
    for name in ("load", "parse ", "parse#2"):
        assert sum(f"✓ {name}" in line for line in lines) == 1
    assert sum(line.startswith("Summary of") for line in lines) == 1
    assert "color: #" in published[-1]["html"]
    assert "http" not in published[-1]["html"]
    assert capsys.readouterr().out == ""


def test_in_realtime_it_is_lines(published, capsys) -> None:
    with ParallelEventPrinter("realtime") as printer:
        pipeline = Pipeline([lambda context: None], name="analysis")
        printer.attach(pipeline)
        pipeline.run()
    assert published == []
    assert "● analysis started: 1 step\n" in capsys.readouterr().out


def test_ipython_without_a_kernel_is_no_notebook(published, monkeypatch) -> None:
    assert has_kernel()
    monkeypatch.delattr(sys.modules["IPython"].get_ipython(), "kernel")
    assert not has_kernel()
