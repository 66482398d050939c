"""The inbox check finds what no webhook told of, and leaves alone what one may still tell of."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import trio
from attrs import define, field
from trio.testing import MockClock

from actors.alerts import Alerts
from actors.conversation.mail import ConversationMessage, MessageArrived
from actors.messages import InboundMessage
from actors.ports import VendorUnavailableError
from actors.watch.inbox_check import InboxCheck, InboxCheckRules
from tests.memory.clock import VirtualClock
from tests.memory.database import MemoryDatabase
from tests.memory.inbox import MemoryInbox
from tests.memory.messaging import MemoryMessaging

EVERY_S = 120
MISSED_AFTER_S = 30


def message(sid: str) -> InboundMessage:
    return InboundMessage(
        sid=sid,
        address="+525512345678",
        identities=["+525512345678"],
        phone_number="+525512345678",
        profile_name=None,
        kind="text",
        text="Hola",
        fields={},
    )


@define
class Bench:
    clock: VirtualClock = field(factory=VirtualClock)
    database: MemoryDatabase = field(factory=MemoryDatabase)
    messaging: MemoryMessaging = field(init=False)
    alerts: Alerts = field(init=False)
    told: list[str] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.messaging = MemoryMessaging(self.clock)
        self.alerts = Alerts(self.clock)

    @property
    def sids(self) -> list[str]:
        return [stored.sid for stored in self.database.inbound.values()]

    def arrives(self, sid: str, *, ago_s: float = 0) -> None:
        """Twilio has a message, and its webhook does not come."""
        self.messaging.received.append((self.clock.now() - timedelta(seconds=ago_s), message(sid)))

    async def stored(self, sid: str, *, ago_s: float = 0) -> None:
        at = self.clock.now() - timedelta(seconds=ago_s)
        await MemoryInbox(self.database).receive(message(sid), default_agent_id="agent", now=at)

    def post(self, person_id: int, mail: ConversationMessage) -> None:
        del person_id
        assert isinstance(mail, MessageArrived)
        self.told.append(mail.sid)

    @asynccontextmanager
    async def checking(self) -> AsyncIterator[None]:
        check = InboxCheck(
            messaging=self.messaging,
            store=MemoryInbox(self.database),
            post=self.post,
            rules=InboxCheckRules(
                every_s=EVERY_S,
                missed_after_s=MISSED_AFTER_S,
                lookback=timedelta(hours=24),
                default_agent_id="agent",
            ),
            clock=self.clock,
            alerts=self.alerts,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(check.run)
            yield
            nursery.cancel_scope.cancel()


async def test_what_was_missed_is_stored_and_told(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.arrives("SM1", ago_s=60)
    async with bench.checking():
        await trio.sleep(1)

        assert bench.told == bench.sids == ["SM1"]


async def test_what_a_webhook_may_still_tell_of_is_left_to_the_look_soon_after_the_start(
    autojump_clock: MockClock,
) -> None:
    bench = Bench()
    bench.arrives("SM1", ago_s=2)
    async with bench.checking():
        await trio.sleep(MISSED_AFTER_S - 1)
        assert bench.sids == []

        await trio.sleep(2)
        assert bench.told == ["SM1"]


async def test_what_one_look_was_too_early_for_is_found_by_the_next(autojump_clock: MockClock) -> None:
    bench = Bench()
    async with bench.checking():
        await trio.sleep(MISSED_AFTER_S + EVERY_S - 1)
        bench.arrives("SM1")
        await trio.sleep(EVERY_S)
        assert bench.told == []

        await trio.sleep(2)
        assert bench.told == ["SM1"]


async def test_an_empty_database_is_no_reason_to_answer_the_whole_day(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.arrives("SM1", ago_s=660)
    bench.arrives("SM2", ago_s=540)
    async with bench.checking():
        await trio.sleep(1)

        assert bench.told == ["SM2"]


async def test_the_first_look_reaches_to_the_last_life_and_later_ones_two_minutes(
    autojump_clock: MockClock,
) -> None:
    bench = Bench()
    await bench.stored("SM0", ago_s=3 * 3600)
    began = bench.clock.now()
    async with bench.checking():
        await trio.sleep(MISSED_AFTER_S + 1)

    (_, first), (_, second) = bench.messaging.inbox_looks
    assert began - first == timedelta(hours=3, minutes=10)
    assert began - second == timedelta(seconds=MISSED_AFTER_S, minutes=2)


async def test_a_look_that_failed_is_made_again_in_full(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.arrives("SM1", ago_s=500)
    bench.messaging.lookup_failures.append(VendorUnavailableError("503"))
    async with bench.checking():
        await trio.sleep(1)
        assert [alert.key for alert in bench.alerts.standing] == ["inbox_check"]

        await trio.sleep(MISSED_AFTER_S)
        assert bench.told == ["SM1"]
        assert bench.alerts.standing == []


async def test_of_many_messages_only_the_unknown_are_received(autojump_clock: MockClock) -> None:
    bench = Bench()
    for number in range(450):
        bench.arrives(f"SM{number}", ago_s=100)
        if number % 10:
            await bench.stored(f"SM{number}", ago_s=100)
    async with bench.checking():
        await trio.sleep(1)

    assert sorted(bench.told) == sorted(f"SM{number}" for number in range(0, 450, 10))
    assert len(bench.sids) == 450


async def test_what_was_missed_while_the_machine_slept_is_found(autojump_clock: MockClock) -> None:
    """A monotonic clock stands still meanwhile."""
    bench = Bench()
    async with bench.checking():
        await trio.sleep(2 * EVERY_S)
        bench.clock.ahead = timedelta(hours=1)
        bench.arrives("SM1", ago_s=1800)
        await trio.sleep(2 * EVERY_S)
    assert bench.sids == ["SM1"]


async def test_what_was_missed_is_found_though_the_clock_was_set_back(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.clock.ahead = timedelta(hours=1)
    async with bench.checking():
        await trio.sleep(2 * EVERY_S)
        bench.clock.ahead = timedelta()
        bench.arrives("SM1")
        await trio.sleep(2 * EVERY_S)
    assert bench.sids == ["SM1"]


async def test_after_a_look_in_vain_the_next_one_comes_soon(autojump_clock: MockClock) -> None:
    bench = Bench()
    async with bench.checking():
        await trio.sleep(2 * EVERY_S)
        bench.messaging.lookup_failures.append(VendorUnavailableError("503"))
        await trio.sleep(MISSED_AFTER_S + 1)
        assert not bench.messaging.lookup_failures
        bench.arrives("SM1", ago_s=MISSED_AFTER_S)
        await trio.sleep(MISSED_AFTER_S + 1)
    assert bench.sids == ["SM1"]
