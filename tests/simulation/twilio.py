"""Twilio, and WhatsApp behind it: takes messages, delivers them or not, and tells of it, more or less.

It outlives every life of the daemon, and its clock is right. It keeps what docs/delivery.md counts on: a request
takes no longer than its time limit, and a message stands in the list soon enough after it.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import TypeVar

from attrs import define, field, frozen

from actors.conversation.identity import canonical_number
from actors.conversation.permission import is_window_open
from actors.messages import DeliveryStatus, InboundMessage, Outgoing, SentMessage, StatusReport
from tests.memory.clock import VirtualClock
from tests.memory.messaging import Created, MemoryMessaging
from tests.simulation.chance import Chance, Fault
from tests.simulation.rules import LIST_LAG_MAX_S
from tests.simulation.trace import Trace

WINDOW_CLOSED = (DeliveryStatus.UNDELIVERED, 63016)
FAILURES = (
    (DeliveryStatus.FAILED, 63024),
    (DeliveryStatus.UNDELIVERED, 63049),
    (DeliveryStatus.UNDELIVERED, 63003),
    (DeliveryStatus.FAILED, 63012),
)
DELIVERY_S = 1.0
CLOCK_SLACK = timedelta(seconds=60)
"""Of the adapter's: what it asks for is a little older than what it was asked for."""

T = TypeVar("T")

canonical = cache(canonical_number)


@frozen(kw_only=True)
class Taken:
    """A message that Twilio took. `failure` is the status it will end in, with its code; None: it is delivered."""

    created: Created
    failure: tuple[DeliveryStatus, int] | None


@define(eq=False, kw_only=True)
class Twilio:
    """Twilio's books and its habits.

    Attributes:
        later: does something after so many seconds, whatever becomes of the daemon meanwhile.
        post_message, post_status: its webhooks, lost where nobody serves.
        on_taken: told of each message it takes, before anything else may happen.
        taken: every message, in its order.
        is_cut_off: nothing it sends reaches us, nor the other way round.
    """

    chance: Chance
    trace: Trace
    later: Callable[[float, Callable[[], object]], None]
    post_message: Callable[[InboundMessage], None]
    post_status: Callable[[StatusReport], None]
    on_taken: Callable[[Taken], None]
    books: MemoryMessaging = field(factory=lambda: MemoryMessaging(VirtualClock()), init=False)
    taken: list[Taken] = field(factory=list, init=False)
    is_cut_off: bool = field(default=False, init=False)

    # --- what people write ---

    def receive(self, message: InboundMessage) -> None:
        """It stands in the list sooner or later; its webhook is sent once, normally."""
        self.trace.note("customer wrote", message.sid)
        self.books.received.append((self.books.clock.now(), message))
        if not self.chance.strikes(Fault.WEBHOOK_LOST):
            self._post_message(message)
        if self.chance.strikes(Fault.WEBHOOK_REPEATED):
            self._post_message(message)

    def _post_message(self, message: InboundMessage) -> None:
        late_s = self.chance.between(0, 20) if self.chance.strikes(Fault.WEBHOOK_LATE) else 0.0
        self.later(self.chance.between(0, 0.3) + late_s, lambda: self._reach_us(self.post_message, message))

    # --- what we send ---

    def take(self, message: Outgoing, *, as_template: bool) -> Created:
        """A request has arrived, and there is no way back."""
        created = self.books._create(message, as_template=as_template)
        taken = Taken(created=created, failure=self._failure(created))
        self.taken.append(taken)
        self.trace.note("Twilio took", f"row {created.message_id}", created.sid, created.body[:24])
        self.on_taken(taken)
        self._tell(taken)
        return created

    def _failure(self, created: Created) -> tuple[DeliveryStatus, int] | None:
        if not created.is_template and not is_window_open(self._wrote_at(created.address), created.at):
            return WINDOW_CLOSED
        return self.chance.one_of(FAILURES) if self.chance.strikes(Fault.FAILS_LATER) else None

    def _wrote_at(self, address: str) -> datetime | None:
        """When the person behind this address wrote last, whatever spelling of the number was used."""
        whose = canonical(address)
        times = [at for at, message in self.books.received if canonical(message.address) == whose]
        return max(times, default=None)

    def _tell(self, taken: Taken) -> None:
        """The status callbacks of a message: in order and once, normally."""
        if self.chance.strikes(Fault.UNTOLD):
            return
        at_s = 0.0
        statuses: list[tuple[DeliveryStatus, int | None]] = [(DeliveryStatus.SENT, None)]
        if taken.failure is not None:
            statuses.append(taken.failure)
        else:
            statuses += [(DeliveryStatus.DELIVERED, None), (DeliveryStatus.READ, None)]
        for status, code in statuses:
            at_s += self.chance.between(0.05, DELIVERY_S)
            report = StatusReport(
                message_id=taken.created.message_id, sid=taken.created.sid, status=status, error_code=code
            )
            if not self.chance.strikes(Fault.STATUS_LOST):
                self._post_status(report, at_s)
            if self.chance.strikes(Fault.STATUS_REPEATED):
                self._post_status(report, at_s)

    def _post_status(self, report: StatusReport, at_s: float) -> None:
        late_s = self.chance.between(0, 30) if self.chance.strikes(Fault.STATUS_LATE) else 0.0
        self.later(at_s + late_s, lambda: self._reach_us(self.post_status, report))

    def _reach_us(self, post: Callable[[T], None], news: T) -> None:
        if self.is_cut_off:
            self.trace.note("a webhook does not reach us")
        else:
            post(news)

    # --- its lists: what is young may be missing ---

    async def sent_to(self, address: str, *, since: datetime) -> Sequence[SentMessage]:
        self.books.list_lag_s = self._lag_s()
        return await self.books.sent_to(address, since=since - CLOCK_SLACK)

    async def received_since(self, since: datetime, *, until: datetime | None) -> Sequence[InboundMessage]:
        listed = self.books.clock.now() - timedelta(seconds=self._lag_s())
        until = listed if until is None else min(until, listed)
        return [message async for message in self.books.received_since(since - CLOCK_SLACK, until=until)]

    def _lag_s(self) -> float:
        if not self.chance.strikes(Fault.LIST_LAGS):
            return 0.0
        return self.chance.one_of((LIST_LAG_MAX_S, self.chance.between(0, LIST_LAG_MAX_S)))
