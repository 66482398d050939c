"""The invariants: what must hold after every step, whatever went wrong before it.

A step is a commit in the database or an event at a vendor. The witness sees each and complains at once, while the
trace still ends with the step that did it.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import trio
from attrs import define, field, frozen
from typing_extensions import override

from actors.messages import DeliveryStatus, Purpose
from actors.ports import StoreUnavailableError
from tests.memory.database import Inbound, InboundStatus, MemoryDatabase, Outbound
from tests.simulation.agent import marks_in
from tests.simulation.elevenlabs import PhoneCall
from tests.simulation.perils import InjectedCrashError
from tests.simulation.trace import Trace
from tests.simulation.twilio import Taken


@frozen
class BrokenError(Exception):
    """An invariant does not hold."""

    invariant: str
    detail: str

    @override
    def __str__(self) -> str:
        return f"{self.invariant}: {self.detail}"


@define(eq=False, kw_only=True)
class Witness:
    """Sees every step.

    Attributes:
        complain: called with the first invariant that is broken; ends the world.
        calls: every call that ended, by id.
        acknowledged_sids: of inbound messages that Twilio was told we have.
    """

    trace: Trace
    database: MemoryDatabase
    calls: dict[str, PhoneCall]
    complain: Callable[[BrokenError], None]
    acknowledged_sids: list[str] = field(factory=list, init=False)
    _wordless: set[str] = field(factory=set, init=False)
    _statuses: dict[int, DeliveryStatus] = field(factory=dict, init=False)
    _answered: dict[str, int] = field(factory=dict, init=False)
    _settled_inbound: dict[int, InboundStatus] = field(factory=dict, init=False)
    _openings: Counter[str] = field(factory=Counter, init=False)
    _newest_answered: dict[int, int] = field(factory=dict, init=False)
    _claimed_before: dict[int, set[int]] = field(factory=dict, init=False)
    _passed_over: set[int] = field(factory=set, init=False)
    _taken: dict[int, list[Taken]] = field(factory=dict, init=False)

    # --- steps ---

    def committed(self, call: str, about: tuple[object, ...], is_read: bool) -> None:  # noqa: FBT001
        self.trace.note(call, *about, is_quiet=is_read)
        if not is_read:
            self._check(self._database_holds)

    def taken(self, taken: Taken) -> None:
        self._check(lambda: self._taken_once_and_in_order(taken))

    def acknowledged(self, sid: str) -> None:
        self.trace.note("answered 200", sid)
        self.acknowledged_sids.append(sid)
        self._check(lambda: self._is_stored(sid))

    def said_nothing(self, marks: Sequence[str]) -> None:
        self._wordless.update(marks)

    def crashed(self, child: str, crash: BaseException) -> None:
        kinds = {type(leaf) for leaf in leaves(crash)}
        if kinds == {trio.Cancelled}:
            return
        self.trace.note("crashed", child, *sorted(kind.__name__ for kind in kinds))
        foreseen = {trio.Cancelled, InjectedCrashError}
        if child == "inbox_check":
            # It cannot begin before it knows since when to look.
            foreseen.add(StoreUnavailableError)
        if not kinds <= foreseen:
            self.complain(BrokenError("no actor crashes of itself", f"{child}: {crash!r}"))

    def _check(self, holds: Callable[[], None]) -> None:
        try:
            holds()
        except BrokenError as broken:
            self.complain(broken)

    # --- invariants ---

    def _is_stored(self, sid: str) -> None:
        if all(message.sid != sid for message in self.database.inbound.values()):
            raise BrokenError("what was acknowledged is stored", f"{sid} is not")

    def _taken_once_and_in_order(self, taken: Taken) -> None:
        row = self.database.outbound[taken.created.message_id]
        earlier = self._taken.setdefault(row.person_id, [])
        repeated = self._origins(row)
        if any(t.created.message_id in repeated and t.failure is None for t in earlier):
            raise BrokenError("no message is delivered twice", f"row {row.id}")
        self._taken_in_order(row, earlier)
        if row.call_id is not None:
            self._opened_once(row.call_id, earlier)
        earlier.append(taken)

    def _taken_in_order(self, row: Outbound, earlier: Sequence[Taken]) -> None:
        """What had been claimed before the row came into its lane was not to wait for it."""
        if row.id in self._passed_over:
            return
        for other in (self.database.outbound[taken.created.message_id] for taken in earlier):
            if other.order > row.order and other.id not in self._claimed_before[row.id]:
                raise BrokenError("messages go in order", f"row {row.id} after row {other.id}")

    def _origins(self, row: Outbound) -> set[int]:
        """The row, and those that failed and that it repeats."""
        ids = {row.id}
        while row.replaces_id is not None:
            row = self.database.outbound[row.replaces_id]
            ids.add(row.id)
        return ids

    def _opened_once(self, call_id: str, earlier: Sequence[Taken]) -> None:
        outbound = self.database.outbound
        if any(t.failure is None and outbound[t.created.message_id].call_id == call_id for t in earlier):
            raise BrokenError("a call is opened once", f"{call_id} has its opening already")

    def _database_holds(self) -> None:
        sending = Counter[int]()
        for row in self.database.outbound.values():
            if row.id not in self._statuses:
                self._row_is_right(row)
            self._moves_forward(row)
            if row.status is DeliveryStatus.PENDING and self._is_held_back(row):
                self._passed_over.add(row.id)
            if row.status is DeliveryStatus.SENDING:
                sending[row.person_id] += 1
        if any(count > 1 for count in sending.values()):
            raise BrokenError("one message per person is in flight", str(dict(sending)))
        for message in self.database.inbound.values():
            self._is_answered_once(message)

    def _is_held_back(self, row: Outbound) -> bool:
        """Whether it waits for its campaign or its person; others need not wait for it."""
        return self.database.is_held_opening(row) or self.database.waits_for_person(row)

    def _moves_forward(self, row: Outbound) -> None:
        before = self._statuses.get(row.id, DeliveryStatus.PENDING)
        self._statuses[row.id] = row.status
        is_released = before is DeliveryStatus.SENDING and row.status is DeliveryStatus.PENDING
        is_over = before.is_failure and row.status is not before
        if (row.status.rank < before.rank and not is_released) or is_over:
            change = f"row {row.id} went from {before.label} to {row.status.label}"
            raise BrokenError("statuses move forward", change)

    def _row_is_right(self, row: Outbound) -> None:
        """Of a message that has just been put into the outbox."""
        lane = (other for other in self.database.outbound.values() if other.person_id == row.person_id)
        self._claimed_before[row.id] = {
            other.id for other in lane if other.status is not DeliveryStatus.PENDING
        }
        if row.purpose is Purpose.OPENING and row.replaces_id is None:
            self._is_an_opening_in_time(row)
        elif row.purpose is Purpose.ANSWER:
            self._answers_in_order(row)

    def _is_an_opening_in_time(self, row: Outbound) -> None:
        call_id = row.call_id or ""
        self._openings[call_id] += 1
        if self._openings[call_id] > 1:
            raise BrokenError("a call is opened once", f"{call_id} has a second opening")
        if call_id not in self.calls:
            raise BrokenError("only a finished call is opened", f"{call_id} is not over")

    def _answers_in_order(self, row: Outbound) -> None:
        ids = {message.text: message.id for message in self.database.inbound.values()}
        for mark in marks_in(row.text) if row.replaces_id is None else ():
            if mark in self._answered:
                raise BrokenError("no message is answered twice", f"{mark} in row {row.id}")
            self._answered[mark] = row.id
            if ids[mark] < self._newest_answered.get(row.person_id, 0):
                raise BrokenError("answers go in the order of the questions", f"{mark} in row {row.id}")
            self._newest_answered[row.person_id] = ids[mark]

    def _is_answered_once(self, message: Inbound) -> None:
        before = self._settled_inbound.get(message.id)
        if before is message.status:
            return
        if before is not None:
            raise BrokenError("no message is answered twice", f"{message.text} is open again")
        if message.status is InboundStatus.RECEIVED:
            return
        self._settled_inbound[message.id] = message.status
        is_silent = message.text in self._wordless or message.status is InboundStatus.DROPPED
        if message.text not in self._answered and not is_silent:
            raise BrokenError("what counts as answered has its answer", message.text)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group, at any depth."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error
