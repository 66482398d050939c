"""`Messaging` as one life of the daemon has it: requests get lost on their way, and answers on theirs."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import partial

import trio
from attrs import define, field

from actors.messages import (
    Accepted,
    InboundMessage,
    NotSent,
    Outgoing,
    Refused,
    SendResult,
    SentMessage,
    Unknown,
)
from actors.ports import Messaging, VendorUnavailableError
from tests.simulation.chance import Fault
from tests.simulation.clocks import JumpingClock
from tests.simulation.perils import Perils
from tests.simulation.rules import REQUEST_S
from tests.simulation.twilio import Twilio

QUICK_S = 0.1
SLOW_LOOK_S = 9.0
SEND_WEIGHT = 5.0
LAST_MOMENT_S = REQUEST_S - 0.01

_TURNED_AWAY: dict[Fault, Sequence[SendResult]] = {
    Fault.SEND_REFUSED: (
        Refused(code=21211, detail="invalid number"),
        Refused(code=63003, detail="channel not found"),
    ),
    Fault.SEND_THROTTLED: (
        NotSent(code=20429, detail="too many requests", retry_after_s=3.0),
        NotSent(code=63018, detail="rate limit"),
    ),
    Fault.SEND_UNREACHABLE: (NotSent(code=None, detail="no connection"),),
    Fault.LOCKED_OUT: (NotSent(code=20003, detail="authenticate"),),
}


@define(eq=False)
class TwilioLine:
    """`in_flight` has the people to whom this life is sending something right now."""

    twilio: Twilio
    perils: Perils
    clock: JumpingClock
    in_flight: set[int] = field(factory=set, init=False)

    async def send(self, message: Outgoing, *, as_template: bool) -> SendResult:
        assert message.person_id not in self.in_flight, "two messages to one person at a time"
        self.in_flight.add(message.person_id)
        try:
            await self.perils.strike("send", SEND_WEIGHT)
            self.perils.trace.note("send", f"row {message.id}")
            result = await self._send(message, as_template=as_template)
            await self.perils.strike("send", SEND_WEIGHT)
        finally:
            self.in_flight.discard(message.person_id)
        return result

    async def _send(self, message: Outgoing, *, as_template: bool) -> SendResult:
        chance = self.perils.chance
        if chance.strikes(Fault.REQUEST_LOST) or (self.twilio.is_cut_off and chance.flips()):
            await trio.sleep(REQUEST_S)
            return Unknown(detail="timeout")
        turned_away = next((fault for fault in _TURNED_AWAY if chance.strikes(fault)), None)
        arrives_at = trio.current_time() + self._way_s()
        try:
            await trio.sleep_until(arrives_at)
        except trio.Cancelled:
            # The request may be on its way, and nobody calls it back.
            if turned_away is None and chance.flips():
                rest_s = arrives_at - trio.current_time()
                self.twilio.later(rest_s, partial(self.twilio.take, message, as_template=as_template))
            raise
        if turned_away is not None:
            return chance.one_of(_TURNED_AWAY[turned_away])
        created = self.twilio.take(message, as_template=as_template)
        if chance.strikes(Fault.ANSWER_LOST) or self.twilio.is_cut_off:
            await trio.sleep(chance.one_of((0.0, arrives_at + REQUEST_S - trio.current_time())))
            return Unknown(detail="no answer")
        await trio.sleep(self.perils.chance.between(0, QUICK_S))
        return Accepted(sid=created.sid)

    def _way_s(self) -> float:
        """How long a request takes to arrive."""
        chance = self.perils.chance
        if not chance.strikes(Fault.SEND_SLOW):
            return chance.between(0, QUICK_S)
        return chance.one_of((LAST_MOMENT_S, chance.between(0, LAST_MOMENT_S)))

    async def sent_to(self, address: str, *, since: datetime) -> Sequence[SentMessage]:
        await self._look("look up what was sent")
        # The adapter knows by Twilio's answers how far the clocks are apart.
        listed = await self.twilio.sent_to(address, since=self.clock.true(since))
        # It is as old as its way was long.
        is_slow = self.perils.chance.strikes(Fault.LIST_SLOW)
        await trio.sleep(self.perils.chance.between(0, SLOW_LOOK_S if is_slow else QUICK_S))
        return listed

    async def received_since(
        self, since: datetime, *, until: datetime | None = None
    ) -> AsyncIterator[InboundMessage]:
        await self._look("look for missed messages")
        since, until = self.clock.true(since), until and self.clock.true(until)
        for message in await self.twilio.received_since(since, until=until):
            yield message

    async def _look(self, what: str) -> None:
        await self.perils.strike(what)
        self.perils.trace.note(what, is_quiet=True)
        if self.twilio.is_cut_off or self.perils.chance.strikes(Fault.LIST_FAILS):
            raise VendorUnavailableError("the list cannot be read")

    async def show_typing(self, inbound_sid: str) -> None:
        await self.twilio.books.show_typing(inbound_sid)


def _is_messaging(line: TwilioLine) -> Messaging:
    return line
