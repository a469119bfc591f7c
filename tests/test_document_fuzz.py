"""Whatever a document says, it runs or gives a clean error: see `fuzzing.trial` for what is clean.

`TASK_PIPELINE_FUZZ_SEED=N` begins with the document of that seed.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzzing import corpus, sabotage
from tests.fuzzing.cases import Case, case_of
from tests.fuzzing.mutations import Made
from tests.fuzzing.parent import Server, Tally, try_many
from tests.fuzzing.trial import Options

STRESS = os.environ.get("TASK_PIPELINE_STRESS") == "1"
COUNT = 100_000 if STRESS else 250
ONE_STEP = {"steps": {"a": {"agent_name": "sabotage", "input_mapping": "${env.FUZZ_TOKEN}"}}}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as started:
        yield started


def test_the_documents_that_the_fuzzer_begins_with_are_good(server: Server) -> None:
    for document in corpus.DOCUMENTS:
        answer = server.ask(Case(Made(document, "as it is"), Options()))
        assert answer["problems"] == []
        asks_for_more = "'shell'" in repr(document) or "'url'" in repr(document)
        assert answer["stage"] == ("refused" if asks_for_more else "ran"), document


@pytest.mark.stress
@settings(
    max_examples=5_000 if STRESS else 100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(chance=st.randoms(use_true_random=False))
def test_a_document_runs_or_gives_a_clean_error(server: Server, chance: Random) -> None:
    case = case_of(chance)
    answer = server.ask(case)
    assert answer["problems"] == [], case


@pytest.mark.stress
@pytest.mark.timeout(1_700 if STRESS else 120)
def test_mutated_documents_run_or_give_a_clean_error() -> None:
    given_seed = os.environ.get("TASK_PIPELINE_FUZZ_SEED")
    first = int(given_seed or (random.SystemRandom().randrange(10**9) if STRESS else 0))
    tally = try_many(first, COUNT, processes=min(os.cpu_count() or 1, 4))
    print(f"TASK_PIPELINE_FUZZ_SEED={first}: {tally.stages}")
    assert not tally.problems, f"TASK_PIPELINE_FUZZ_SEED={first}: {tally.told()}"
    assert tally.stages.total() == COUNT
    # If hardly any got further than to be read, nothing much would have been tried.
    assert tally.stages["ran"] > COUNT // 20
    assert tally.stages["failed"] > COUNT // 100


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        (sabotage.raises, "run: KeyError"),
        (sabotage.recurses, "run: RecursionError"),
        (sabotage.reads_outside, "not for documents: open ("),
        (sabotage.follows_link, "not for documents: open ('link/secret.txt'"),
        (sabotage.tells_outside, "results: canary-outside-of-root"),
        (sabotage.writes_outside, "not for documents: open ('../other.txt'"),
        (sabotage.runs_code, "not for documents: exec"),
        (sabotage.runs_command, "not for documents: subprocess.Popen"),
        (sabotage.opens_socket, "not for documents: socket.__new__"),
        (sabotage.imports, "not for documents: import ('this'"),
        (sabotage.takes_memory, "it took 4"),
    ],
)
def test_the_fuzzer_sees_what_is_not_clean(server: Server, agent: Any, said: str) -> None:
    options = Options(agents={"sabotage": agent}, patience=0.1)
    answer = server.ask(Case(Made(ONE_STEP, "sabotage"), options))
    assert any(problem.startswith(said) for problem in answer["problems"]), answer


def test_the_fuzzer_sees_a_thread_that_goes_on() -> None:
    options = Options(agents={"sabotage": sabotage.goes_on}, patience=0.1)
    with Server() as another:
        (problem,) = another.ask(Case(Made(ONE_STEP, "sabotage"), options))["problems"]
    assert problem.startswith("a thread goes on and on")
    assert "goes_on" in problem


def test_the_fuzzer_sees_a_secret_that_is_told(server: Server) -> None:
    # The library hides what a workflow's agent tells; that of a recipe is the application's.
    recipe = {"steps": [{"type": "python", "function": "sabotage"}]}
    options = Options(agents={"sabotage": sabotage.tells_secret})
    assert server.ask(Case(Made(ONE_STEP, "sabotage"), options))["problems"] == []
    (problem, *_) = server.ask(Case(Made(recipe, "sabotage"), options))["problems"]
    assert problem.startswith("run: the secret is in")


def test_the_fuzzer_sees_a_document_that_stops_everything() -> None:
    options = Options(agents={"sabotage": sabotage.blocks})
    with Server(hangs=0.5) as impatient:
        answer = impatient.ask(Case(Made(ONE_STEP, "sabotage"), options))
        assert answer["stage"] == "ended"
        assert "in blocks" in answer["problems"][0]


def test_a_seed_gives_the_same_document_again() -> None:
    assert [repr(case_of(Random(seed))) for seed in range(50)] == [
        repr(case_of(Random(seed))) for seed in range(50)
    ]


def test_a_tally_tells_how_to_have_a_case_again() -> None:
    tally = Tally()
    tally.add(3, "ran", [])
    tally.add(7, "failed", ["run: KeyError"])
    assert "python -m tests.fuzzing.child 7\n  run: KeyError" in tally.told()
