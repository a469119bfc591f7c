"""Where an executor's calls are taken, handed to the cluster, and concluded: in one thread."""

from __future__ import annotations

import functools
import pickle
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from ...engine.calling import Call, Reply
from ...errors import ExecutorError
from ..shipping import open_reply, shipment_of
from .calls import run_call
from .collecting import Return
from .connection import Connection
from .errands import Errand
from .jobs import BEGINS, LOGGED, OVER, PROGRESS, home
from .lane import Lane
from .link import Link
from .options import for_map, group_of
from .packing import LARGE, Packing
from .parcels import Order, Parcel, StepFailedError
from .values import Values

_SETTLING = 0.5  # seconds for a cluster that is being restarted
_TIMES = 3  # how often a call is handed over again that something has taken away


class Desk:
    """The calls of one executor. All methods but `put` and `shut_down` belong into the lane."""

    def __init__(self, connection: Connection, keep_over: int | None, reconnect: float) -> None:
        self._connection = connection
        self._keep_over = keep_over
        self._reconnect = reconnect
        self._name = f"task-pipeline-{uuid.uuid4().hex}"
        self._home = home()
        self._lane = Lane("task-pipeline-dask", self.look)
        self.put = self._lane.put
        self._count = 0
        self._links = 0
        self._errands: dict[str, Errand] = {}
        self._by_call: dict[int, Errand] = {}
        self._held: list[Errand] = []  # taken, and not handed over yet
        self._values = Values()
        self._link: Link | None = None
        self._lost_at: float | None = None  # since when the connection is away
        self._is_closed = False

    # Handing over

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
        # With those that are given right after them: of a batch that came back, each brings one.
        self._held += errands
        if len(self._held) == len(errands):
            self.put(self._hand_over_held)

    def _hand_over_held(self) -> None:
        held, self._held = self._held, []
        self._hand_over(held)

    def _hand_over(self, errands: Sequence[Errand]) -> None:
        for errand in errands:
            if errand.is_stopped or not errand.call.is_wanted:
                self._fail(errand, _stopped(errand))
        wanted = [errand for errand in errands if not errand.is_over]
        if not wanted:
            return
        try:
            if self._is_closed:
                raise ExecutorError("this DaskExecutor was shut down; make another one")
            link = self._connected()
        except Exception as error:  # noqa: BLE001  # it says what is wrong with the connection
            for errand in wanted:
                self._fail(errand, error)
            return
        if not link.is_sound:
            self._lose()
            return
        groups: dict[str, list[tuple[Errand, list[Any]]]] = {}
        for errand in wanted:
            try:
                packed = self._packed(errand, link.packing)
                groups.setdefault(group_of(errand.call.options), []).append((errand, packed))
            except Exception as error:  # noqa: BLE001  # it is the step's: it cannot be sent
                self._fail(errand, error)
        for group in groups.values():
            try:
                self._map(link, group)
            except Exception as error:  # noqa: BLE001  # it cannot be sent, for whatever reason
                for errand, _ in group:
                    self._fail(errand, errand.error_of(error))

    def _renew(self, errand: Errand) -> None:
        """Nobody is to listen any more to what was handed over before."""
        errand.future = None
        del self._errands[errand.token]
        self._count += 1
        errand.token = f"{self._name}.{self._count}"
        self._errands[errand.token] = errand

    def _connected(self) -> Link:
        """What belongs to the connection, which is made at the first need."""
        client = self._connection.client()
        if self._link is None:
            self._links += 1
            large = LARGE if self._keep_over is None else self._keep_over
            self._link = Link(
                client,
                self.put,
                Packing(client, f"{self._name}-{self._links}", large),
                topic=self._name,
                told=self.told,
                worker_gone=self.worker_gone,
            )
        return self._link

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
            claim=errand.claim,
            raises=bool(call.options.get("retries")),
            keep_over=self._keep_over,
        )
        values = [holding.future for holding in errand.holdings.values()]
        return [order, code, cargo.image, about, values]

    def _map(self, link: Link, group: Sequence[tuple[Errand, list[Any]]]) -> None:
        """One graph for calls with the same options."""
        errands = [errand for errand, _ in group]
        keys = []
        for errand in errands:
            errand.times += 1
            prefix = f"{errand.call.node.spec.step_id}-{self._name[-32:]}"
            keys.append((prefix, errand.token))
        columns = [list(column) for column in zip(*(packed for _, packed in group), strict=True)]
        options = for_map(errands[0].call.options)
        futures = link.client.map(run_call, *columns, key=keys, pure=False, **options)
        for errand, future in zip(errands, futures, strict=True):
            errand.future = future
        link.collecting.start(link.collecting.watch, errands, self.came_back)

    # What comes back

    def told(self, message: Any) -> None:
        """Calls have something to tell while they run."""
        for token, kind, content in message["notes"]:
            errand = self._errands.get(token)
            if errand is not None:
                self._tell(errand, kind, content)

    def _tell(self, errand: Errand, kind: str, content: bytes) -> None:
        call = errand.call
        try:
            if kind == OVER:
                self._fail(errand, _stopped(errand))
            elif kind == BEGINS:
                if not call.begins():
                    self.stop([call])
            elif kind == PROGRESS:
                call.progressed(pickle.loads(content))
            elif kind == LOGGED:
                call.logged(pickle.loads(content))
            else:
                call.told(pickle.loads(content))
        except Exception as error:  # noqa: BLE001  # what it tells cannot be read here
            self._fail(errand, errand.error_of(error))

    def came_back(self, returns: Sequence[Return]) -> None:
        """Futures are done."""
        replies: list[tuple[Errand, Reply]] = []
        taken_away: list[Errand] = []
        for errand, future, parcel, error in returns:
            if errand.is_over or future is not errand.future:
                continue
            came = error.parcel if isinstance(error, StepFailedError) else parcel
            if came is not None:
                reply = self._opened(errand, came)
                if reply is not None:
                    replies.append((errand, reply))
            elif error is not None:
                self._fail(errand, errand.error_of(error))
            elif not errand.is_stopped:
                taken_away.append(errand)
        try:
            if self._link is not None:
                self._values.settle(self._link, [(each.future, reply) for each, reply in replies])
        except Exception as error:  # noqa: BLE001  # a lost connection, in any of its ways
            for errand, _ in replies:
                self._fail(errand, errand.error_of(error))
        for errand, reply in replies:
            self._end(errand, functools.partial(errand.call.ended, reply))
        if taken_away:
            self._were_taken_away(taken_away)

    def _opened(self, errand: Errand, parcel: Parcel) -> Reply | None:
        for kind, content in parcel.notes:
            self._tell(errand, kind, content)
        if parcel.verdict == "done" and not errand.is_over:
            return open_reply(parcel.packed)
        if parcel.verdict == "claimed":
            self._fail(errand, _uncertain(errand, "the worker that had begun it was lost"))
        else:
            self._fail(errand, _stopped(errand))
        return None

    # What is taken away

    def stop(self, calls: Sequence[Call]) -> None:
        """Have calls end; those that run are over when their workers say so, or are gone."""
        errands = [self._by_call.get(id(call)) for call in calls]
        known = [each for each in errands if each is not None and not each.is_stopped]
        for errand in known:
            errand.is_stopped = True
        if self._link is None or not self._connection.is_alive:
            self.were_stopped(known, {})
        elif known:
            self._link.collecting.start(self._link.collecting.stop, known, self.were_stopped)

    def were_stopped(self, errands: Sequence[Errand], running: dict[str, str]) -> None:
        """These are cancelled; some are still running on a worker."""
        for errand in errands:
            errand.worker = running.get(errand.token)
            if errand.worker is None or self._link is None:
                self._fail(errand, _stopped(errand))
            else:
                self._link.watch(errand.worker)

    def worker_gone(self, address: str) -> None:
        """A worker is gone, with what was running on it, and the only copies it had."""
        for errand in list(self._errands.values()):
            if errand.is_stopped and errand.worker == address:
                self._fail(errand, _stopped(errand))
        if self._link is not None and self._connection.is_alive:
            self._values.worker_gone(self._link.client, address)

    def _were_taken_away(self, errands: Sequence[Errand]) -> None:
        """Futures were cancelled, and not from here: find out why, and hand over again."""
        self._look_at_link()
        again = []
        for errand in errands:
            lost = errand.lost()
            if errand.future is None:  # it is to be handed over once the connection is back
                continue
            if lost is not None:
                self._fail(errand, lost.error())
            elif errand.times > _TIMES:
                reason = "something other than its run cancels it on the cluster again and again"
                self._fail(errand, ExecutorError(f"step {errand.label}: {reason}"))
            else:
                again.append(errand)
        if again and self._link is not None:
            self._again(self._link, again)

    def _again(self, link: Link, errands: Sequence[Errand]) -> None:
        """Hand calls over again, once no worker will begin what was handed over before.

        One that is claimed and has begun says so, and is not performed again.
        """
        tokens = []
        for errand in errands:
            if errand.times:
                tokens.append(errand.token)
                self._renew(errand)
        link.collecting.start(link.collecting.quit, tokens, self._hand_over, list(errands))

    # The connection

    def look(self) -> bool:
        """See whether the connection is what it was; returns whether there is more to come."""
        if self._lost_at is not None:
            self._see_restored(self._lost_at)
        else:
            self._look_at_link()
        return bool(self._errands)

    def _look_at_link(self) -> None:
        if self._link is not None and not self._link.is_sound:
            self._lose()

    def _lose(self) -> None:
        """The connection was lost, with all that was on the cluster: wait for it to be back."""
        for errand in list(self._errands.values()):
            errand.future = None
            if errand.is_stopped:
                self._fail(errand, _stopped(errand))
        self._values.all_lost("the connection to the scheduler was lost")
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            self._see_restored(self._lost_at)

    def _see_restored(self, since: float) -> None:
        """If the connection is back, hand over what was under way; if it is not in time, fail it.

        Dask tells of a client that is connected again by its status alone.
        """
        passed = time.monotonic() - since
        left = self._reconnect - passed
        if left > 0 and (self._connection.is_waiting or passed < _SETTLING):
            return
        self._lost_at = self._link = None
        for errand in list(self._errands.values()):
            lost = errand.lost()
            if errand.claim is not None and errand.times:
                self._fail(errand, _uncertain(errand, "the connection to the scheduler was lost"))
            elif lost is not None and lost.address is not None:
                self._fail(errand, lost.error())
        again = list(self._errands.values())
        try:
            self._connection.renew(left)
            if again:
                self._again(self._connected(), again)
        except Exception as error:  # noqa: BLE001  # it says what is wrong with the connection
            for errand in again:
                self._fail(errand, error)

    # The end

    def shut_down(self) -> None:
        """Fail what is under way, let go of the cluster, and end the lane. From any thread."""
        self.put(self.close)
        self._lane.close()

    def close(self) -> None:
        """Fail what is under way, and let go of the cluster."""
        self._is_closed = True
        self._values.all_lost("its DaskExecutor was shut down")
        errands = list(self._errands.values())
        link, self._link = self._link, None
        try:
            if link is not None:
                futures = [each.future for each in errands if each.future is not None]
                if futures and self._connection.is_alive:
                    link.client.cancel(futures)
                link.end()
        finally:
            for errand in errands:
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
        del self._by_call[id(errand.call)]
        errand.future = None
        errand.holdings = {}
        if errand.claim is not None and self._link is not None:
            collecting = self._link.collecting
            collecting.start(collecting.forget_claims, [errand.claim])
        tell()


def _stopped(errand: Errand) -> ExecutorError:
    return ExecutorError(f"step {errand.label} was stopped")


def _uncertain(errand: Errand, reason: str) -> Exception:
    return errand.worker_died(
        f"{reason}, and it is not idempotent: nobody knows what it has done, so it is not run "
        "again. Say idempotent=True if it may run twice"
    )
