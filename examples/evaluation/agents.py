"""An evaluation: several models answer every question, and what most of them say is graded.

    cd examples/evaluation
    task-pipeline run evaluation.json -c questions=@questions.json --plugin agents

The workflow is in `evaluation.json`, what it calls is here: four "models" that are a few
lines of Python each, and two agents that grade. `python agents.py` runs it as well, and
shows what it came to. Needs the extra `cli` for the command line, and nothing for the
script.

Two answers are enough for a question (`n_of_m`), so nobody waits for the thorough model,
which is cancelled as soon as two others have answered. Where one of these gives up it has
0.3 seconds, and the question fails; the loop collects that and goes on.
"""

from __future__ import annotations

import asyncio
import json
import operator
import re
from collections import Counter
from pathlib import Path
from typing import Any

from task_pipeline import PipelineContext, load_pipeline, register_agent

HERE = Path(__file__).resolve().parent
APPLY = {"+": operator.add, "-": operator.sub, "*": operator.mul}
NUMBERS = {"one": 1, "two": 2, "three": 3}


# ---------------------------------------------------------------- the models


@register_agent("schoolbook")
def schoolbook(given: dict[str, Any]) -> dict[str, int]:
    """Knows that * comes before + and -, and only digits."""
    total = 0
    for sign, product in re.findall(r"([+-]?)\s*(\d+(?:\s*\*\s*\d+)*)", given["text"]):
        value = 1
        for factor in product.split("*"):
            value *= int(factor)
        total += -value if sign == "-" else value
    if not re.search(r"\d", given["text"]):
        raise ValueError(f"there is no number in {given['text']!r}")
    return {"answer": total}


@register_agent("hasty")
def hasty(given: dict[str, Any]) -> dict[str, int]:
    """Reads from left to right, and takes what it reads for a number where it can."""
    first, *rest = given["text"].replace("and", "+").split()
    total = number_of(first)
    for sign, word in zip(rest[::2], rest[1::2], strict=True):
        total = APPLY[sign](total, number_of(word))
    return {"answer": total}


@register_agent("thorough")
async def thorough(given: dict[str, Any]) -> dict[str, int]:
    """Is always right, and always late."""
    await asyncio.sleep(5.0)
    return {"answer": given["expected"]}


@register_agent("offline")
def offline(given: dict[str, Any]) -> dict[str, int]:
    """Cannot be reached."""
    raise ConnectionError(f"nobody is there to answer {given['text']!r}")


def number_of(word: str) -> int:
    return NUMBERS[word] if word in NUMBERS else int(word)


# ---------------------------------------------------------------- the grading


@register_agent("grade")
def grade(given: dict[str, Any]) -> dict[str, Any]:
    """What most models say; of as many on either side, what the first says."""
    question = given["question"]
    said = {name: one["answer"] for name, one in given["answers"].items() if "answer" in one}
    answer = Counter(said.values()).most_common(1)[0][0]
    return {"id": question["id"], "said": said, "is_right": answer == question["expected"]}


@register_agent("score")
def score(given: dict[str, Any]) -> dict[str, Any]:
    """Counts. A question that failed is an error in place of a grade."""
    grades = given["grades"]
    graded = [one for one in grades if "error" not in one]
    wrong = [one["id"] for one in graded if not one["is_right"]]
    right, failed = len(graded) - len(wrong), len(grades) - len(graded)
    return {"right": right, "wrong": wrong, "failed": failed, "of": len(grades)}


@register_agent("note")
def note(given: dict[str, str]) -> str:
    return given["text"]


def main() -> None:
    pipeline = load_pipeline(HERE / "evaluation.json")
    questions = json.loads((HERE / "questions.json").read_text(encoding="utf-8"))
    results = pipeline.run(PipelineContext(results={"questions": questions})).results
    for question, graded in zip(questions, results["questions"], strict=True):
        print(f"{question['text']:12}", graded.get("said") or "failed: " + first_line(graded))
    print(results.get("accept") or results.get("reject"))


def first_line(graded: dict[str, Any]) -> str:
    return str(graded["error"]["message"]).splitlines()[0]


if __name__ == "__main__":
    main()
