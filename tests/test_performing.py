"""What happens to a step, its data and what it brings on the way to another process and back."""

from __future__ import annotations

import asyncio
import collections
import contextvars
import logging
import os
import pickle
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy
import pytest

from task_pipeline import (
    Event,
    EventBus,
    NotPortableError,
    Pipeline,
    PipelineContext,
    PipelineStep,
    RecordedError,
    SkipStep,
    StepCancelledError,
    StepReturnError,
    StopPipeline,
    parallel,
)
from task_pipeline.engine.calling import Reply
from task_pipeline.executors.channels import NO_CHANNEL
from task_pipeline.executors.image import image_of
from task_pipeline.executors.performing import (
    About,
    open_reply,
    pack_reply,
    perform,
    perform_packed,
)
from task_pipeline.executors.portable import APART, Packed, dumps, loads
from task_pipeline.executors.raised import RemoteTraceback
from task_pipeline.executors.shipping import preflight
from task_pipeline.state.delta import DELETED, apply
from task_pipeline.state.fork import ForkPoint
from tests.held_calls import Held

REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("REQUEST", default="none")


@dataclass
class Order(PipelineContext[Any]):
    total: int = 0
    lines: list[str] = field(default_factory=list)


class Ear:
    """A channel that keeps what it is told."""

    owns_process = False

    def __init__(self, cancelled: bool = False) -> None:
        self.cancelled = cancelled
        self.percents: list[float] = []
        self.records: list[logging.LogRecord] = []
        self.events: list[Event] = []

    def progressed(self, percent: float) -> None:
        self.percents.append(percent)

    def logged(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def told(self, event: Event) -> None:
        self.events.append(event)


def about(**others: Any) -> About:
    facts: dict[str, Any] = {
        "run_id": "r",
        "step_id": "s",
        "path": "0.1",
        "name": "s",
        "attempt": 2,
        "idempotency_key": "r/0.1/s",
        "result_key": "s",
        "is_function": True,
        "remaining": None,
        "strict": True,
        "is_heard": True,
        "overlay": None,
        "variables": (),
        "levels": {},
    }
    return About(**{**facts, **others})


def called(
    function: Any, context: PipelineContext[Any], channel: Any = NO_CHANNEL, **facts: Any
) -> Reply:
    """What comes back of a step that went the whole way, through pickle and back."""
    image = loads(dumps(image_of(ForkPoint(context)), "context"))
    reply = perform(
        loads(dumps(function, "step")), image, loads(dumps(about(**facts), "about")), channel
    )
    return open_reply(loads(dumps(pack_reply(reply), "reply")))


def changes(reply: Reply) -> dict[Any, Any]:
    assert reply.error is None
    return {} if reply.delta is None else reply.delta.results


def test_only_changes_come_back() -> None:
    def work(context: Any) -> int:
        assert context.results["kept"] == [1]
        context.results["list"].append(3)
        del context.results["gone"]
        return 7

    context: PipelineContext[Any] = PipelineContext(results={"kept": [1], "list": [2], "gone": 0})
    reply = called(work, context)
    assert changes(reply) == {"list": [2, 3], "gone": DELETED, "s": 7}
    assert reply.delta is not None
    assert reply.delta.results["gone"] is DELETED
    apply(context, reply.delta)
    assert context.results == {"kept": [1], "list": [2, 3], "s": 7}


def test_a_context_class_of_the_users_keeps_its_fields() -> None:
    def work(context: Any) -> None:
        assert type(context).__name__ == "Order"
        context.total += 5
        context.lines.append("b")

    reply = called(work, Order(app_config={"x": 1}, total=1, lines=["a"]))
    assert reply.delta is not None
    assert reply.delta.fields == {"total": 6, "lines": ["a", "b"]}


@pytest.mark.parametrize(
    "results", [collections.defaultdict(list, a=[1]), collections.Counter(a=1)]
)
def test_what_results_do_about_a_missing_key_is_kept(results: Any) -> None:
    missing = results["missing"]
    results.pop("missing", None)
    assert (
        changes(
            called(lambda context: context.results["missing"], PipelineContext(results=results))
        )["s"]
        == missing
    )


def test_a_step_knows_who_it_is() -> None:
    def work(context: Any) -> Any:
        return (context.step_id, context.attempt, context.idempotency_key, context.cancelled)

    assert changes(called(work, PipelineContext()))["s"] == ("s", 2, "r/0.1/s", False)


def test_time_that_is_left() -> None:
    def work(context: Any) -> Any:
        return context.remaining

    assert 0 < changes(called(work, PipelineContext(), remaining=50.0))["s"] <= 50
    assert changes(called(work, PipelineContext())) == {}
    assert changes(called(work, PipelineContext(), Ear(cancelled=True), remaining=50.0))["s"] == 0.0


def test_progress_is_told_of_each_whole_percent_once() -> None:
    ear = Ear()

    def work(context: Any) -> None:
        for percent in (0.2, 0.4, 1, 1.5, 50, 20, 100):
            context.update_step_progress(percent)

    called(work, PipelineContext(), ear)
    assert ear.percents == [0.2, 1, 50, 100]


def test_a_step_that_is_to_stop_is_stopped_where_it_reports_progress() -> None:
    reply = called(lambda context: context.update_step_progress(1), PipelineContext(), Ear(True))
    assert isinstance(reply.error, StepCancelledError)
    assert reply.error.path == "0.1"


def test_log_records_come_back_with_their_step() -> None:
    ear = Ear()
    logger = logging.getLogger("shop")

    def work(context: Any) -> None:
        logger.warning("%s sold", threading.Lock)
        context.logger.error("here")
        thread = threading.Thread(target=logger.error, args=("in a thread",))
        thread.start()
        thread.join()
        try:
            raise KeyError("x")
        except KeyError:
            logger.exception("caught", extra={"lock": threading.Lock(), "n": 1})

    called(work, PipelineContext(), ear)
    texts = [record.getMessage() for record in ear.records]
    assert texts[1:] == ["here", "in a thread", "caught"]
    assert texts[0].endswith("sold")
    assert all(record.__dict__["step_id"] == "s" for record in ear.records)
    last: Any = pickle.loads(pickle.dumps(ear.records[-1].__dict__))
    assert "KeyError" in last["exc_text"]
    assert (last["n"], type(last["lock"])) == (1, str)
    logger.warning("outside")
    assert len(ear.records) == 4


def test_levels_of_loggers_are_those_of_the_run_in_a_process_of_our_own() -> None:
    ear = Ear()
    ear.owns_process = True
    logger = logging.getLogger("levelled")
    reply = called(
        lambda context: logger.info("quiet"), PipelineContext(), ear, levels={"levelled": 10}
    )
    assert reply.error is None
    assert [record.getMessage() for record in ear.records] == ["quiet"]
    logger.setLevel(logging.NOTSET)


def test_groups_in_a_step_are_told_of() -> None:
    ear = Ear()

    def fails() -> None:
        raise ValueError("in a task")

    def work(context: Any) -> None:
        for _ in range(2):
            with parallel(name="inside") as group:
                group.add(fails)
                group.gather()

    assert called(work, PipelineContext(), ear).error is None
    assert {event.path for event in ear.events} == {"0.1.0", "0.1.0.0", "0.1.1", "0.1.1.0"}
    assert any(isinstance(event.error, ValueError) for event in ear.events)


def test_coroutine_steps_are_run() -> None:
    async def work(context: Any) -> str:
        await asyncio.sleep(0)  # the step's work
        return "done"

    assert changes(called(work, PipelineContext())) == {"s": "done"}


def test_a_coroutine_that_cancels_itself_has_failed() -> None:
    async def work(context: Any) -> None:
        raise asyncio.CancelledError

    assert isinstance(called(work, PipelineContext()).error, StepCancelledError)


class Shy:
    """Neither pickled nor shown."""

    def __reduce__(self) -> Any:
        raise TypeError("not I")

    def __repr__(self) -> str:
        raise RuntimeError("nor this")


def test_what_cannot_be_shown_is_still_said_not_to_be_portable() -> None:
    with pytest.raises(NotPortableError, match=r"it: a set cannot be pickled.*not I"):
        dumps({Shy()}, "it")


class Restless:
    """Has a value that cannot be pickled, and others change it while somebody looks at it."""

    def __init__(self) -> None:
        self.looked_at = 0

    def __reduce__(self) -> Any:
        self.looked_at += 1
        raise TypeError("not I")


def test_a_context_variable_that_cannot_be_pickled_is_left_out_without_a_search() -> None:
    held, value = Held(), Restless()
    token = REQUEST.set(value)  # type: ignore[arg-type]  # whatever somebody keeps in it
    try:
        run = Pipeline([lambda context: None], executor=held).start()
    finally:
        REQUEST.reset(token)
    from task_pipeline.executors.shipping import shipment_of

    [call] = held.wait_for(1)
    assert shipment_of(call).about.variables == ()
    assert value.looked_at == 2  # plainly, and by cloudpickle
    call.ended(Reply())
    run.result(10)


def test_context_variables_of_the_caller_are_seen() -> None:
    held = Held()
    token = REQUEST.set("42")
    try:
        run = Pipeline([lambda context: None], executor=held).start()
    finally:
        REQUEST.reset(token)
    from task_pipeline.executors.shipping import shipment_of

    [call] = held.wait_for(1)
    variables = shipment_of(call).about.variables
    assert (__name__, "REQUEST", "42") in variables
    module = __name__

    def work(context: Any) -> Any:
        found = sys.modules[module].REQUEST
        value = found.get()
        found.set("changed")
        return value

    assert changes(called(work, PipelineContext(), variables=variables))["s"] == "42"
    assert REQUEST.get() == "none"
    call.ended(Reply())
    run.result(10)


class Step(PipelineStep):
    def __init__(self, returned: Any) -> None:
        self.returned = returned

    def run(self, context: Any) -> Any:
        return self.returned


def test_a_step_may_return_a_context() -> None:
    other: PipelineContext[Any] = PipelineContext(results={"n": 2})
    assert changes(called(Step(other).run, PipelineContext(), is_function=False)) == {"n": 2}
    reply = called(Step(5).run, PipelineContext(), is_function=False)
    assert isinstance(reply.error, StepReturnError)


def test_stops_and_skips() -> None:
    def stops(context: Any) -> None:
        raise StopPipeline({"enough": True})

    def skips(context: Any) -> None:
        raise SkipStep("no need")

    reply = called(stops, PipelineContext(), is_function=False)
    assert isinstance(reply.error, StopPipeline)
    assert reply.error.result is None
    assert reply.delta is not None
    assert reply.delta.results == {"s": {"enough": True}}
    reply = called(skips, PipelineContext())
    assert isinstance(reply.error, SkipStep)
    assert reply.error.reason == "no need"


class Odd(Exception):
    """It holds what cannot travel."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")
        self.lock = threading.Lock()


class Silent(Exception):
    def __init__(self) -> None:
        super().__init__(threading.Lock())

    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_exceptions_come_back_as_they_are_with_where_they_came_from() -> None:
    def work(context: Any) -> None:
        context.results["n"] = 1
        try:
            raise KeyError("below")
        except KeyError as error:
            wrong = ValueError("above")
            wrong.add_note("a note")
            raise wrong from error

    reply = called(work, PipelineContext())
    assert repr(reply.error) == "ValueError('above')"
    assert reply.error is not None
    assert reply.error.__notes__ == ["a note"]
    assert repr(reply.error.__cause__) == "KeyError('below')"
    below = reply.error.__cause__ and reply.error.__cause__.__cause__
    assert isinstance(below, RemoteTraceback)
    assert 'raise KeyError("below")' in str(below)
    assert reply.delta is not None
    assert reply.delta.results == {"n": 1}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Odd(1, 2), "Odd: 1 and 2"),
        (Silent(), "Silent: <its text could not be had: RuntimeError>"),
    ],
)
def test_of_an_exception_that_cannot_travel_what_is_known_does(error: Exception, text: str) -> None:
    context: PipelineContext[Any] = PipelineContext(errors=[error])

    def work(context: Any) -> None:
        context.errors.append(error_made())
        raise error_made()

    def error_made() -> Exception:
        return Odd(1, 2) if type(error).__name__ == "Odd" else Silent()

    image = image_of(ForkPoint(context))
    image.errors = []
    reply = open_reply(pack_reply(perform(work, image, about())))
    assert isinstance(reply.error, RecordedError)
    assert str(reply.error) == text
    assert reply.delta is not None
    assert [str(each) for each in reply.delta.errors] == [text]


def test_an_exit_comes_back() -> None:
    def work(context: Any) -> None:
        sys.exit(3)

    error = called(work, PipelineContext()).error
    assert isinstance(error, SystemExit)
    assert error.code == 3


def test_a_result_that_cannot_be_pickled_is_named() -> None:
    def work(context: Any) -> None:
        context.results["page"] = {"headers": [0, threading.Lock()]}

    error = called(work, PipelineContext()).error
    assert isinstance(error, NotPortableError)
    assert error.problems[0].startswith("results['page']['headers'][1]: a lock cannot be pickled")


def test_what_cannot_be_read_is_the_steps_failure() -> None:
    broken = Packed(b"nothing of the kind")
    reply = open_reply(broken)
    assert isinstance(reply.error, NotPortableError)
    image = dumps(image_of(ForkPoint(PipelineContext())), "context")
    there = open_reply(perform_packed(broken, image, dumps(about(), "about")))
    assert isinstance(there.error, NotPortableError)
    assert "must be installed there" in str(there.error)


def test_what_is_passed_by_reference_stays_where_it_is() -> None:
    def looks(context: Any) -> Any:
        shared = context.shared
        return ("cache" in shared, list(shared), len(shared), shared.get("other"), repr(shared))

    def reads(context: Any) -> Any:
        return context.shared["cache"]

    def writes(context: Any) -> None:
        context.shared["new"] = 1

    context: PipelineContext[Any] = PipelineContext(shared={"cache": threading.Lock()})
    found = changes(called(looks, context))["s"]
    assert found == (True, ["cache"], 1, None, "<the keys of context.shared: 'cache'>")
    for work in (reads, writes):
        error = called(work, context).error
        assert isinstance(error, NotPortableError)
        assert 'executor="thread"' in str(error)


def test_loggers_travel_by_name_and_others_if_they_can() -> None:
    named: PipelineContext[Any] = PipelineContext(logger_instance=logging.getLogger("shop"))
    assert image_of(ForkPoint(named)).logger == "shop"
    odd: PipelineContext[Any] = PipelineContext(logger_instance=threading.Lock())
    assert image_of(ForkPoint(odd)).logger == "task_pipeline"
    own: PipelineContext[Any] = PipelineContext(logger_instance=["a", "logger"])
    assert image_of(ForkPoint(own)).logger == ["a", "logger"]


def test_all_that_cannot_go_is_told_before_a_run_starts() -> None:
    lock = threading.Lock()

    class Holder:
        def __init__(self) -> None:
            self.inside = {"deep": (1, lock)}

    def closes(context: Any) -> None:
        lock.acquire()

    def with_default(context: Any, held: Any = Holder()) -> None: ...  # noqa: B008  # once is meant

    pipeline = Pipeline([closes, with_default, Step(lock)], executor=Held())
    steps = [node for node, _ in pipeline._plan.placed]
    context = Order(results={"h": Holder(), "fine": 1}, app_config={"l": [lock]})
    wrong = preflight(steps, context)
    assert [text.split(": a lock")[0] for text in wrong] == [
        "step 'closes' at path 0 (closure variable 'lock')",
        "step 'with_default' at path 1 (default 0).inside['deep'][1]",
        "step 'step' at path 2, self.returned",
        "context.app_config['l'][0]",
        "results['h'].inside['deep'][1]",
    ]


def test_large_buffers_stay_apart_from_the_text() -> None:
    array: Any = numpy.arange(APART, dtype="u1")
    packed = dumps({"large": array, "small": array[:10].copy()}, "it")
    assert len(packed.buffers) == 1
    assert len(packed.main) < 2000
    assert packed.nbytes == len(packed.main) + APART
    found = loads(packed)
    assert (found["large"] == array).all()


def test_a_worker_needs_no_pydantic() -> None:
    script = (
        "import sys\n"
        "sys.modules['pydantic'] = None\n"
        "import task_pipeline.executors.performing\n"
        "from task_pipeline import PipelineContext, PipelineStep, SkipStep, step\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ}, timeout=50)


def test_nobody_hears_of_what_has_no_channel() -> None:
    bus = EventBus()
    Pipeline([[lambda context: None]], event_bus=bus).run()
    bus.flush()
    NO_CHANNEL.progressed(1)
    NO_CHANNEL.logged(logging.makeLogRecord({}))
    NO_CHANNEL.told(bus.history[0])
    assert not NO_CHANNEL.cancelled


def test_a_record_that_is_handled_where_it_came_from_does_not_go_round() -> None:
    class Echo(Ear):
        def logged(self, record: logging.LogRecord) -> None:
            super().logged(record)
            logging.getLogger(record.name).handle(record)

    echo = Echo()
    called(lambda context: logging.getLogger("echo").error("once"), PipelineContext(), echo)
    assert [record.getMessage() for record in echo.records] == ["once"]
