"""The quick start: nested lists in, one merged context out.

    python examples/quickstart.py

Reads three short texts, counts their words and letters side by side, and
prints a line for each item of the pipeline as it ends.
"""

from __future__ import annotations

from typing import Any

from task_pipeline import Pipeline, PipelineContext, PipelineStep, step

TEXTS = {
    "haiku": "an old silent pond\na frog jumps into the pond\nsplash silence again",
    "motto": "simple is better than complex",
    "saying": "many hands make light work",
}


class Load(PipelineStep):
    """Loads the texts; a class step keeps its settings as attributes."""

    retries, timeout = 2, 5.0

    def run(self, context: PipelineContext[dict[str, str]]) -> None:
        context.results["texts"] = dict(context.app_config)


def words(context: PipelineContext[Any]) -> int:
    """Counts words: what a function returns is kept in `results["words"]`."""
    return sum(len(text.split()) for text in context.results["texts"].values())


def letters(context: PipelineContext[Any]) -> int:
    """Counts letters, at the same time as `words`."""
    return sum(map(str.isalpha, "".join(context.results["texts"].values())))


def longest(context: PipelineContext[Any]) -> str:
    """Finds the longest word, at the same time too."""
    return max(" ".join(context.results["texts"].values()).split(), key=len)


def report(context: PipelineContext[Any]) -> str:
    """Runs after the group, and sees what all of its branches wrote."""
    found = context.results
    return (
        f"{found['words']} words of {found['letters']} letters, the longest is {found['longest']!r}"
    )


@step(critical=False)
def notify(context: PipelineContext[Any]) -> None:
    """May fail without failing the run: its error is kept in `context.errors`."""
    raise ConnectionError("nobody listens")


def show(index: int, total: int, name: str, percent: float) -> None:
    """Is called when each item of the pipeline's list ends."""
    print(f"  {percent:5.1f} %  {name}")


def main() -> None:
    """Runs the pipeline and prints what came of it."""
    pipeline = Pipeline([Load(), [words, letters, longest], report, notify], progress_callback=show)
    context = pipeline.run(PipelineContext(app_config=TEXTS))
    print(context.results["report"])
    print(f"not critical: {context.errors[0]!r}")
    print(f"done: {pipeline.get_status()['progress']} %")


if __name__ == "__main__":
    main()
