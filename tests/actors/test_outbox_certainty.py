"""When it is certain that a message never arrived. Each of these was found by the simulation."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import trio
from attrs import define
from trio.testing import MockClock
from typing_extensions import override

from actors.messages import SentMessage
from tests.actors.lanes import claim, queue, sending, statuses
from tests.actors.worlds import open_world
from tests.memory.clock import VirtualClock
from tests.memory.messaging import Lost, MemoryMessaging

LATE = Lost.AFTER_IT_WAS_ACCEPTED


@define
class SlowListing(MemoryMessaging):
    """The list is read at once, and takes long to arrive."""

    arrives_after_s: float = 0.0

    @override
    async def sent_to(self, address: str, *, since: datetime) -> Sequence[SentMessage]:
        listed = await super().sent_to(address, since=since)
        await trio.sleep(self.arrives_after_s)
        return listed


@define
class JumpingClock(VirtualClock):
    offset: timedelta = timedelta()

    @override
    def now(self) -> datetime:
        return super().now() + self.offset


async def test_a_list_tells_of_the_moment_at_which_it_was_asked_for(autojump_clock: MockClock) -> None:
    async with sending(is_running=False) as world:
        # Asked when the message is six seconds old, and there when it is older than `certain_after_s`.
        slow = SlowListing(world.clock, arrives_after_s=18, list_lag_s=10)
        slow.outcomes.append(LATE)
        world.outbox._messaging = slow
        await world.start_outbox()
        await queue(world, "uno")
        await trio.sleep(120)

        assert slow.bodies == ["uno"]
        assert statuses(world) == ["accepted"]


async def test_a_clock_that_jumps_forward_makes_no_message_older(autojump_clock: MockClock) -> None:
    clock, twilio = JumpingClock(), MemoryMessaging(VirtualClock())
    async with open_world(clock=clock, messaging=twilio, has_outbox=False) as world:
        world.messaging.list_lag_s = 15
        world.messaging.outcomes.append(LATE)
        await world.start_outbox()
        await queue(world, "uno")
        await trio.sleep(3)
        clock.offset = timedelta(seconds=50)
        await trio.sleep(60)

        assert world.messaging.bodies == ["uno"]
        assert statuses(world) == ["accepted"]


async def test_a_clock_that_jumps_while_the_daemon_is_down_makes_no_message_older(
    autojump_clock: MockClock,
) -> None:
    clock, twilio = JumpingClock(), MemoryMessaging(VirtualClock())
    async with open_world(clock=clock, messaging=twilio, has_outbox=False) as world:
        person_id = await queue(world, "uno", is_told=False)
        sent = await claim(world, person_id)
        world.messaging.list_lag_s = 15
        await world.messaging.send(sent, as_template=False)
        clock.offset = timedelta(seconds=50)
        await world.start_outbox()
        await trio.sleep(60)

        assert world.messaging.bodies == ["uno"]
        assert statuses(world) == ["accepted"]


async def test_what_is_due_while_the_outbox_goes_down_crashes_nobody(autojump_clock: MockClock) -> None:
    async with sending(is_running=False) as world:
        async with trio.open_nursery() as nursery:
            await nursery.start(world.outbox.run)
            person_id = await queue(world, "uno", is_told=False)
            nursery.cancel_scope.cancel()
            # Its tasks end one after the other; whenever somebody tells it of something, it must take that.
            with trio.CancelScope(shield=True):
                for _ in range(10):
                    world.outbox.due(person_id)
                    await trio.lowlevel.checkpoint()

        assert statuses(world) == ["pending"]
