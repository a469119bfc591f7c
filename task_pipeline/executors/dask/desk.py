"""Where an executor's calls are taken, handed to the cluster, and concluded: in one thread."""

from __future__ import annotations

import functools
import pickle
import uuid
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from ...engine.calling import Call, Reply
from ...errors import ExecutorError
from ...state.resident import Resident
from ..shipping import open_reply, shipment_of
from .calls import run_call, take
from .collecting import Collecting, Return
from .connection import Connection
from .errands import Errand
from .holdings import Holding
from .jobs import BEGINS, LOGGED, OVER, PROGRESS, TOLD, home
from .lane import Lane
from .options import for_map, group_of
from .packing import LARGE, Packing
from .parcels import Left, Order, Parcel, StepFailedError

_FIRST = 1_000_000  # the priority of what costs nothing and others wait for
_TIMES = 3  # how often a call is handed over again that something has taken away


class Desk:
    """The calls of one executor. All methods but `put` belong into the lane."""

    def __init__(self, connection: Connection, keep_over: int | None, reconnect: float) -> None:
        self._connection = connection
        self._keep_over = keep_over
        self._reconnect = reconnect
        self._name = f"task-pipeline-{uuid.uuid4().hex}"
        self._home = home()
        self._lane = Lane("task-pipeline-dask")
        self.put = self._lane.put
        self._count = 0
        self._errands: dict[str, Errand] = {}
        self._by_call: dict[int, Errand] = {}
        self._adrift: list[Errand] = []  # handed over, and the connection was lost
        self._is_restoring = False
        self._holdings: weakref.WeakSet[Holding] = weakref.WeakSet()
        self._watched: set[str] = set()
        self._packing: Packing | None = None
        self._collecting: Collecting | None = None
        self._epochs = 0
        self._is_closed = False

    # Taking calls

    def take(self, calls: Sequence[Call]) -> None:
        """Hand calls to the cluster."""
        errands = []
        for call in calls:
            self._count += 1
            errand = Errand(call, f"{self._name}.{self._count}")
            if not call.node.spec.idempotent:
                errand.claim = f"{errand.token}-begun"
            self._errands[errand.token] = self._by_call[id(call)] = errand
            errands.append(errand)
        self._hand_over(errands)

    def _hand_over(self, errands: Sequence[Errand]) -> None:
        wanted = [errand for errand in errands if not errand.is_over]
        for errand in wanted:
            if not errand.call.is_wanted:
                self._fail(errand, _stopped(errand))
        wanted = [errand for errand in wanted if not errand.is_over]
        try:
            if self._is_closed:
                raise ExecutorError("this DaskExecutor was shut down")
            client, packing, collecting = self._ready()
        except Exception as error:  # noqa: BLE001  # it says what is wrong with the connection
            for errand in wanted:
                self._fail(errand, error)
            return
        groups: dict[str, list[tuple[Errand, list[Any]]]] = {}
        for errand in wanted:
            try:
                packed = self._packed(errand, packing)
                groups.setdefault(group_of(errand.call.options), []).append((errand, packed))
            except Exception as error:  # noqa: BLE001  # it is the step's: it cannot be sent
                self._fail(errand, error)
        for group in groups.values():
            try:
                self._map(client, group)
                collecting.start(collecting.watch, [errand for errand, _ in group], self.came_back)
            except Exception as error:  # noqa: BLE001  # it cannot be sent, for whatever reason
                for errand, _ in group:
                    self._fail(errand, errand.error_of(error))

    def _ready(self) -> tuple[Any, Packing, Collecting]:
        """The client, connected, and what belongs to this connection."""
        client = self._connection.client()
        if self._packing is None or self._collecting is None:
            self._epochs += 1
            name = f"{self._name}-{self._epochs}"
            large = LARGE if self._keep_over is None else self._keep_over
            self._packing = Packing(client, name, large)
            self._collecting = Collecting(client, self.put)
            client.subscribe_topic(self._name, functools.partial(self._hear, self.told))
        return client, self._packing, self._collecting

    def _hear(self, work: Callable[..., None], event: tuple[float, Any]) -> None:
        """Something has been told under a topic. On the loop."""
        self.put(work, event[1])

    def _packed(self, errand: Errand, packing: Packing) -> list[Any]:
        """The arguments of `run_call`."""
        call = errand.call
        shipment = shipment_of(call)
        code = packing.code(call, shipment.code)
        cargo = packing.cargo(shipment.base)
        about, holdings = packing.about(shipment.about)
        errand.holdings = {**cargo.holdings, **holdings}
        order = Order(
            token=errand.token,
            label=errand.label,
            topic=self._name,
            home=self._home,
            code=shipment.code.digest,
            image=cargo.name,
            references=tuple(errand.holdings),
            is_prompt=call.node.spec.timeout is not None,
            is_heard=call.is_heard,
            claim=errand.claim,
            raises=bool(call.options.get("retries")),
            keep_over=self._keep_over,
        )
        values = [holding.future for holding in errand.holdings.values()]
        return [order, code, cargo.image, about, values]

    def _map(self, client: Any, group: Sequence[tuple[Errand, list[Any]]]) -> None:
        """One graph for calls with the same options."""
        errands = [errand for errand, _ in group]
        keys = []
        for errand in errands:
            errand.times += 1
            prefix = f"{errand.call.node.spec.step_id}-{self._name[-32:]}"
            keys.append((prefix, f"{errand.token}.{errand.times}"))
        columns = [list(column) for column in zip(*(packed for _, packed in group), strict=True)]
        options = for_map(errands[0].call.options)
        futures = client.map(run_call, *columns, key=keys, pure=False, **options)
        for errand, future in zip(errands, futures, strict=True):
            errand.future = future

    # What comes back

    def told(self, message: Any) -> None:
        """Calls have something to tell while they run."""
        for token, kind, content in message["notes"]:
            errand = self._errands.get(token)
            if errand is None:
                continue
            if kind == OVER:
                self._fail(errand, _stopped(errand))
                continue
            if kind == BEGINS:
                errand.worker = message["worker"]
            self._tell(errand, kind, content)

    def _tell(self, errand: Errand, kind: str, content: bytes) -> None:
        call = errand.call
        try:
            if kind == BEGINS:
                if not call.begins() and not errand.is_stopped:
                    self.stop([call])
                return
            told = pickle.loads(content)
            {PROGRESS: call.progressed, LOGGED: call.logged, TOLD: call.told}[kind](told)
        except Exception as error:  # noqa: BLE001  # what it tells cannot be read here
            self._fail(errand, errand.error_of(error))

    def came_back(self, returns: Sequence[Return]) -> None:
        """Futures are done."""
        replies: list[tuple[Errand, Reply]] = []
        taken_away: list[Errand] = []
        for errand, future, parcel, error in returns:
            if errand.is_over or future is not errand.future:
                continue
            if isinstance(error, StepFailedError):
                parcel = error.parcel
            if parcel is not None:
                reply = self._opened(errand, parcel)
                if reply is not None:
                    replies.append((errand, reply))
            elif error is not None:
                self._fail(errand, errand.error_of(error))
            elif not errand.is_stopped:
                taken_away.append(errand)
        self._fetch_later(replies)
        for errand, reply in replies:
            self._end(errand, functools.partial(errand.call.ended, reply))
        if taken_away:
            self._was_taken_away(taken_away)

    def _opened(self, errand: Errand, parcel: Parcel) -> Reply | None:
        for kind, content in parcel.notes:
            self._tell(errand, kind, content)
        if errand.is_over:
            return None
        if parcel.verdict == "done":
            return open_reply(parcel.packed)
        if parcel.verdict == "claimed":
            reason = (
                "the worker that ran it was lost, and it is not idempotent: nobody knows what it "
                "has done, so it is not run again elsewhere"
            )
            self._fail(errand, errand.worker_died(reason))
        else:
            self._fail(errand, _stopped(errand))
        return None

    def _fetch_later(self, replies: Sequence[tuple[Errand, Reply]]) -> None:
        """Put a `Resident` in the place of each value that has stayed on a worker."""
        found: dict[str, dict[str, tuple[Left, str]]] = {}
        sources = []
        for errand, reply in replies:
            results = {} if reply.delta is None else reply.delta.results
            left = {key: value for key, value in results.items() if type(value) is Left}
            for key, value in left.items():
                label = f"results[{key!r}]"
                found.setdefault(value.address, {})[value.token] = (value, label)
            if left:
                sources.append(errand.future)
        if not found:
            return
        residents: dict[str, Resident] = {}
        for address, things in found.items():
            residents.update(self._taken(address, things, sources))
        for _, reply in replies:
            results = {} if reply.delta is None else reply.delta.results
            for key, value in results.items():
                if type(value) is Left:
                    results[key] = residents[value.token]

    def _taken(
        self, address: str, things: dict[str, tuple[Left, str]], sources: list[Any]
    ) -> dict[str, Resident]:
        """Have values that were left on a worker become futures of their own."""
        client, packing, collecting = self._ready()
        self._watch(address)
        names = [packing.name() for _ in things]
        futures = client.map(
            take,
            list(things),
            key=[f"task-pipeline-value-{name}" for name in names],
            workers=[address],
            allow_other_workers=False,
            priority=_FIRST,
            pure=False,
        )
        residents, holdings = {}, []
        for name, (left, label), future in zip(names, things.values(), futures, strict=True):
            holding = Holding(
                name, label, future, address=address, epoch=packing, gather=client.gather
            )
            holdings.append(holding)
            self._holdings.add(holding)
            residents[left.token] = Resident(holding, left.kind, left.nbytes)
        collecting.start(
            collecting.see_taken, holdings, sources, self.worker_gone, self.values_lost
        )
        return residents

    # What is taken away

    def stop(self, calls: Sequence[Call]) -> None:
        """Have calls end; those that run are over when their workers say so, or are gone."""
        errands = [self._by_call.get(id(call)) for call in calls]
        known = [each for each in errands if each is not None and not each.is_stopped]
        for errand in known:
            errand.is_stopped = True
        if not known:
            return
        if self._collecting is None or not self._connection.is_alive:
            self.were_stopped(known, {})
        else:
            self._collecting.start(self._collecting.stop, known, self.were_stopped)

    def were_stopped(self, errands: Sequence[Errand], running: dict[str, str]) -> None:
        """These are cancelled; some are still running on a worker."""
        for errand in errands:
            worker = errand.worker = running.get(errand.token)
            if worker is None:
                self._fail(errand, _stopped(errand))
            else:
                self._watch(worker)

    def _watch(self, address: str) -> None:
        """Hear of a worker's end."""
        if address not in self._watched:
            self._watched.add(address)
            changed = functools.partial(self.worker_changed, address)
            self._connection.client().subscribe_topic(
                address, functools.partial(self._hear, changed)
            )

    def worker_changed(self, address: str, message: Any) -> None:
        """Something is told of a worker."""
        if isinstance(message, dict) and message.get("action") == "remove-worker":
            self.worker_gone(address)

    def worker_gone(self, address: str) -> None:
        """A worker is gone, with what was running on it, and the only copies it had."""
        for errand in list(self._errands.values()):
            if errand.is_stopped and errand.worker == address:
                self._fail(errand, _stopped(errand))
        here = [each for each in self._holdings if each.address == address and each.lost is None]
        if here and self._connection.is_alive:
            copies = self._connection.client().who_has([each.future for each in here])
            gone = [each for each in here if not copies.get(each.future.key)]
            self.values_lost(gone, "that worker is gone, and no other has a copy of it")

    def values_lost(self, holdings: Sequence[Holding], reason: str) -> None:
        """Values cannot be had any more: what waits for them is to end."""
        for holding in holdings:
            holding.lost = reason
        if holdings and self._connection.is_alive:
            self._connection.client().cancel([holding.future for holding in holdings])

    def _was_taken_away(self, errands: Sequence[Errand]) -> None:
        """Futures were cancelled, and not from here: find out why, and hand over again."""
        again = []
        for errand in errands:
            lost = errand.lost()
            if lost is not None:
                self._fail(errand, lost.error())
            elif not self._connection.is_alive:
                self._adrift.append(errand)
            elif errand.claim is not None:
                self._fail(errand, _uncertain(errand, "it was cancelled on the cluster"))
            elif errand.times > _TIMES:
                reason = "something other than its run cancels it on the cluster again and again"
                self._fail(errand, ExecutorError(f"step {errand.label}: {reason}"))
            else:
                again.append(errand)
        self._hand_over(again)
        if self._adrift and not self._is_restoring and self._collecting is not None:
            self._is_restoring = True
            collecting = self._collecting
            collecting.start(collecting.see_restored, self._reconnect, self.restored)

    def restored(self, deadline: float) -> None:
        """The connection is back, or will not come back."""
        self._is_restoring = False
        adrift, self._adrift = self._adrift, []
        packing, self._packing = self._packing, None
        self._collecting = None
        for holding in list(self._holdings):
            if holding.epoch is packing and holding.lost is None:
                holding.lost = "the connection to the scheduler was lost"
        again = []
        for errand in adrift:
            if errand.claim is not None:
                self._fail(errand, _uncertain(errand, "the connection to the scheduler was lost"))
            elif (lost := errand.lost()) is not None and lost.address is not None:
                self._fail(errand, lost.error())
            else:
                again.append(errand)
        try:
            self._connection.client(deadline)
        except Exception as error:  # noqa: BLE001  # it says what is wrong with the connection
            for errand in again:
                self._fail(errand, error)
            return
        self._hand_over(again)

    # The end

    def shut_down(self) -> None:
        """Fail what is under way, let go of the cluster, and end the lane. From any thread."""
        self.put(self.close)
        self._lane.close()

    def close(self) -> None:
        """Fail what is under way, and let go of the cluster."""
        self._is_closed = True
        for holding in list(self._holdings):
            holding.lost = holding.lost or "its DaskExecutor was shut down"
        errands = [each for each in self._errands.values() if each.future is not None]
        if self._connection.is_alive:
            client = self._connection.client()
            if errands:
                client.cancel([errand.future for errand in errands])
            for topic in (self._name, *self._watched):
                client.unsubscribe_topic(topic)
        if self._collecting is not None:
            self._collecting.end()
        for errand in list(self._errands.values()):
            reason = f"step {errand.label} was under way when its DaskExecutor was shut down"
            self._fail(errand, ExecutorError(reason))

    def _fail(self, errand: Errand, error: Exception) -> None:
        self._end(errand, functools.partial(errand.call.failed, error))

    def _end(self, errand: Errand, tell: Callable[[], None]) -> None:
        """Tell a call once that it is over."""
        if errand.is_over:
            return
        errand.is_over = True
        del self._errands[errand.token]
        self._by_call.pop(id(errand.call), None)
        errand.future = None
        if errand.claim is not None and self._collecting is not None:
            self._collecting.start(self._collecting.forget_claims, [errand.claim])
        tell()


def _stopped(errand: Errand) -> ExecutorError:
    return ExecutorError(f"step {errand.label} was stopped")


def _uncertain(errand: Errand, reason: str) -> Exception:
    return errand.worker_died(
        f"{reason}, and it is not idempotent: nobody knows what it has done, so it is not run again"
    )
