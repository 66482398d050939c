"""The transfer desk: no call without its actor, no room that outlives its call."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from attrs import define, evolve, field
from trio.testing import MockClock

from actors.alerts import Alerts
from actors.live_call.ports import LiveCall
from actors.live_call.state import Ending, Mode, Phase
from actors.live_call.telephony import CALLER_LABEL, room_name
from actors.live_call.transfer_desk import TransferDesk
from tests.memory.clock import VirtualClock
from tests.memory.database import MemoryDatabase
from tests.memory.exchange import MemoryExchange
from tests.memory.live_calls import MemoryLiveCalls
from tests.memory.telephony import MemoryTelephony


@define(eq=False)
class Floor:
    """A desk that runs, and what it works with."""

    database: MemoryDatabase
    exchange: MemoryExchange
    telephony: MemoryTelephony
    alerts: Alerts
    clock: VirtualClock
    nudged: list[int] = field(factory=list)

    async def call(self) -> LiveCall:
        """Somebody calls, and is in their room."""
        incoming = self.exchange.call_in()
        call = await MemoryLiveCalls(self.database).begin(
            incoming, mode=Mode.CONFERENCE, now=self.clock.now()
        )
        self.exchange.enter(room_name(call.call_sid), call.call_sid, CALLER_LABEL, live_call_id=call.id)
        return call

    async def end(self, call: LiveCall) -> None:
        """The call is over for us, whatever its room does."""
        state = evolve(call.state, phase=Phase.ENDED, ending=Ending.AGENT)
        await MemoryLiveCalls(self.database).finish(
            call.id, state, ending=Ending.AGENT, note="", follows_up=True, now=self.clock.now()
        )

    @property
    def ended_rooms(self) -> int:
        return sum(command[0] == "end_room" for command in self.telephony.commands)


@asynccontextmanager
async def open_floor() -> AsyncIterator[Floor]:
    clock, database = VirtualClock(), MemoryDatabase()
    exchange = MemoryExchange(clock)
    floor = Floor(database, exchange, MemoryTelephony(exchange), Alerts(clock), clock)

    def nudge(live_call_id: int) -> bool:
        floor.nudged.append(live_call_id)
        return True

    desk = TransferDesk(
        store=MemoryLiveCalls(database),
        telephony=floor.telephony,
        nudge=nudge,
        alerts=floor.alerts,
        sweep_every_s=10,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.run)
        yield floor
        nursery.cancel_scope.cancel()


async def test_every_call_that_has_not_ended_is_looked_after(autojump_clock: MockClock) -> None:
    async with open_floor() as floor:
        first = await floor.call()
        second = await floor.call()
        await floor.end(second)
        await trio.sleep(25)
        assert set(floor.nudged) == {first.id}


async def test_a_room_that_outlives_its_call_is_ended(autojump_clock: MockClock) -> None:
    async with open_floor() as floor:
        call = await floor.call()
        await trio.sleep(15)
        assert floor.ended_rooms == 0
        await floor.end(call)
        await trio.sleep(20)
        assert floor.ended_rooms == 1


async def test_a_room_of_another_program_is_left_alone(autojump_clock: MockClock) -> None:
    async with open_floor() as floor:
        stranger = floor.exchange.call_in()
        floor.exchange.enter(room_name(stranger.call_sid), stranger.call_sid, "someone")
        await floor.call()
        await trio.sleep(60)
        assert floor.ended_rooms == 0


async def test_a_database_that_is_away_is_waited_out(autojump_clock: MockClock) -> None:
    async with open_floor() as floor:
        floor.database.unavailable = True
        await trio.sleep(15)
        assert [alert.key for alert in floor.alerts.standing] == ["live_calls_store"]
        floor.database.unavailable = False
        call = await floor.call()
        await trio.sleep(15)
        assert call.id in floor.nudged
        assert not floor.alerts.standing


async def test_a_twilio_that_is_away_is_waited_out(autojump_clock: MockClock) -> None:
    async with open_floor() as floor:
        floor.telephony.fail("open_rooms", times=1)
        await floor.call()
        await trio.sleep(5)
        assert [alert.key for alert in floor.alerts.standing] == ["rooms_unseen"]
        await trio.sleep(15)
        assert not floor.alerts.standing
