"""One seed's world: some customers, Twilio, ElevenLabs, a database, and one life of the daemon after the other.

First a storm, in which people write, calls end and everything goes wrong that this seed has switched on. Then
calm: nothing goes wrong any more, and within a while everything has to be as it should.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import trio
from attrs import define, field

from actors.calls import CallDetails, CallOutcome
from actors.conversation.identity import identities_of
from actors.messages import InboundMessage, StatusReport
from tests.simulation.chance import Chance, Fault
from tests.simulation.clocks import JumpingClock
from tests.simulation.counting import CountingMetrics, counts_at_the_end
from tests.simulation.daemon import Life, Outside
from tests.simulation.elevenlabs import ElevenLabs
from tests.simulation.ending import what_is_left
from tests.simulation.stores import LiveDatabase
from tests.simulation.trace import Trace
from tests.simulation.twilio import Twilio
from tests.simulation.witness import BrokenError, Witness

STORM_S = 40.0
TRAFFIC_S = 25.0
"""What happens in the storm's last part would end in the calm, where nothing befalls it."""
OCCASIONS = 3
"""For each disaster; whether it strikes is another matter."""
CALM_MAX_S = 400.0
LOOK_EVERY_S = 2.0
AFTERMATH_S = 8.0
"""Once all is well it has to stay so for a while."""
CUSTOMERS = (1, 1, 2, 2, 3, 5)
OUTCOMES = (CallOutcome.COMPLETED,) * 5 + (CallOutcome.VOICEMAIL, CallOutcome.BUSY, CallOutcome.NO_ANSWER)
JUMP_MAX_S = 40.0


@define(eq=False)
class Customer:
    """Twilio knows them by another spelling of the number than the one that was called."""

    number: int
    written: int = 0

    @property
    def phone_number(self) -> str:
        return f"+5255123400{self.number:02}"

    @property
    def address(self) -> str:
        return self.phone_number.replace("+52", "+521")

    def next_message(self) -> InboundMessage:
        """Its text is a mark by which the answer to it is known."""
        self.written += 1
        mark = f"{self.number}.{self.written}"
        return InboundMessage(
            sid=f"SM-in-{mark}",
            address=self.address,
            identities=identities_of(self.address),
            phone_number=self.phone_number,
            profile_name="Ana",
            kind="text",
            text=mark,
            fields={},
        )


@define(eq=False)
class World:
    """`broken` is the first invariant that did not hold."""

    seed: int
    chance: Chance = field(init=False)
    trace: Trace = field(factory=Trace, init=False)
    outside: Outside = field(init=False)
    customers: list[Customer] = field(init=False)
    life: Life | None = field(default=None, init=False)
    lives: int = field(default=0, init=False)
    broken: BrokenError | None = field(default=None, init=False)
    virtual_s: float = field(default=0.0, init=False)
    _nursery: trio.Nursery = field(init=False)
    _pending: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.chance = Chance(self.seed)
        database = LiveDatabase()
        elevenlabs = ElevenLabs(
            chance=self.chance, trace=self.trace, later=self._later, post_call=self._post_call
        )
        witness = Witness(
            trace=self.trace, database=database, calls=elevenlabs.calls, complain=self._complain
        )
        twilio = Twilio(
            chance=self.chance,
            trace=self.trace,
            later=self._later,
            post_message=self._post_message,
            post_status=self._post_status,
            on_taken=witness.taken,
        )
        self.outside = Outside(
            chance=self.chance,
            trace=self.trace,
            witness=witness,
            metrics=CountingMetrics(),
            clock=JumpingClock(),
            database=database,
            twilio=twilio,
            elevenlabs=elevenlabs,
        )
        self.customers = [Customer(number + 1) for number in range(self.chance.one_of(CUSTOMERS))]

    @property
    def counts(self) -> Counter[str]:
        """What happened, and how often."""
        outside = self.outside
        acknowledged = len(set(outside.witness.acknowledged_sids))
        at_the_end = counts_at_the_end(outside.database, outside.twilio, acknowledged)
        held = sum(event.what == "holds.hold" for event in self.trace)
        own = Counter({"life of a daemon": self.lives, "campaign held back": held})
        return own + outside.metrics.counts + at_the_end

    async def run(self) -> None:
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._live)
            await self._storm()
            self._calm()
            await self._settle()
            self.virtual_s = trio.current_time()
            self._nursery.cancel_scope.cancel()

    def _complain(self, broken: BrokenError) -> None:
        if self.broken is None:
            self.broken = broken
            self.virtual_s = trio.current_time()
            self.trace.note("BROKEN", str(broken))
            if self.life is not None:
                self.life.kill()
            self._nursery.cancel_scope.cancel()

    async def _live(self) -> None:
        while True:
            self.life = Life(self.outside)
            self.lives += 1
            await self.life.run()
            self.life = None
            await trio.sleep(self.chance.one_of((0.1, 0.1, 1.0, 5.0, 15.0)))

    def _later(self, seconds: float, act: Callable[[], object]) -> None:
        self._pending += 1
        self._nursery.start_soon(self._do_later, seconds, act)

    async def _do_later(self, seconds: float, act: Callable[[], object]) -> None:
        await trio.sleep(seconds)
        self._pending -= 1
        act()

    # --- storm ---

    async def _storm(self) -> None:
        for customer in self.customers:
            self._plan(customer)
        for strike in (self._outage, self._cut_off, self._restart, self._close_one, self._jump, self._jump):
            for _ in range(OCCASIONS):
                self._later(self.chance.between(0, STORM_S), strike)
        await trio.sleep(STORM_S)

    def _plan(self, customer: Customer) -> None:
        for _ in range(self.chance.one_of((0, 1, 1, 2))):
            end = partial(self.outside.elevenlabs.end, customer.phone_number, self.chance.one_of(OUTCOMES))
            self._later(self.chance.between(0, TRAFFIC_S), end)
        for _ in range(self.chance.one_of((0, 1, 2, 3))):
            at_s = self.chance.between(0, TRAFFIC_S)
            for _ in range(self.chance.one_of((1, 1, 1, 2, 4))):
                self._later(at_s, lambda: self.outside.twilio.receive(customer.next_message()))
                at_s += self.chance.between(0, 2)

    def _outage(self) -> None:
        if self.chance.strikes(Fault.STORE_DOWN):
            self.trace.note("DATABASE DOWN")
            self.outside.database.unavailable = True
            self._later(self.chance.between(0.5, 15), self._end_outage)

    def _end_outage(self) -> None:
        self.trace.note("DATABASE UP")
        self.outside.database.unavailable = False

    def _cut_off(self) -> None:
        if self.chance.strikes(Fault.CUT_OFF):
            self.trace.note("TWILIO CUT OFF")
            self.outside.twilio.is_cut_off = True
            self._later(self.chance.between(0.5, 10), self._reconnect)

    def _reconnect(self) -> None:
        self.trace.note("TWILIO BACK")
        self.outside.twilio.is_cut_off = False

    def _jump(self) -> None:
        if self.chance.strikes(Fault.CLOCK_JUMP):
            offset_s = self.chance.between(-JUMP_MAX_S, JUMP_MAX_S)
            self.trace.note("CLOCK JUMPS to", f"{offset_s:+.1f} s")
            self.outside.clock.offset = timedelta(seconds=offset_s)

    def _restart(self) -> None:
        if self.life is not None and self.life.is_serving and self.chance.strikes(Fault.DRAINED):
            self.trace.note("DRAINED")
            self.life.drain()

    def _close_one(self) -> None:
        people = list(self.outside.database.people)
        if people and self.life is not None and self.chance.strikes(Fault.CLOSED_BY_HAND):
            person_id = self.chance.one_of(people)
            self.trace.note("operator closes", f"person {person_id}")
            self.life.close_conversation(person_id)

    # --- calm ---

    def _calm(self) -> None:
        self.trace.note("CALM")
        self.chance.is_calm = True
        self.outside.database.unavailable = self.outside.twilio.is_cut_off = False

    async def _settle(self) -> None:
        """Wait until everything is as it should be, and a while longer.

        Whatever is still left after a long time will be left for ever.
        """
        give_up_at = trio.current_time() + CALM_MAX_S
        well_until = trio.current_time() + AFTERMATH_S
        while trio.current_time() < well_until:
            left = ["vendors are still at it"] if self._pending else what_is_left(self.outside, self.life)
            if left:
                well_until = trio.current_time() + AFTERMATH_S
            if left and trio.current_time() > give_up_at:
                self._complain(BrokenError("everything comes to its end", "; ".join(left)))
            await trio.sleep(LOOK_EVERY_S)

    # --- the vendors' webhooks ---

    def _post_message(self, message: InboundMessage) -> None:
        self._post(f"webhook {message.sid}", lambda life: life.message_arrived(message))

    def _post_status(self, report: StatusReport) -> None:
        status = report.status.label if report.status is not None else "no news"
        self._post(f"status {report.sid} {status}", lambda life: life.status_arrived(report))

    def _post_call(self, details: CallDetails) -> None:
        self._post(f"webhook {details.id}", lambda life: life.call_ended(details))

    def _post(self, what: str, answer: Callable[[Life], Awaitable[None]]) -> None:
        life = self.life
        if life is None:
            self.trace.note(what, "nobody there")
        else:
            life.handle(what, lambda: answer(life))
