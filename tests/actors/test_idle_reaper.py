"""The idle reaper asks everybody who lives, and wakes nobody who does not."""

import trio
from trio.testing import MockClock

from actors.conversation.mail import Nudge
from actors.runtime.supervisor import ChildSpec, RestartPolicy
from actors.watch.idle_reaper import IdleReaper
from tests.actors.worlds import World, open_world
from tests.memory.agent import echoes


async def start_reaper(world: World, every_s: float = 300) -> None:
    reaper = IdleReaper(conversations=world.conversations, every_s=every_s)
    await world.supervisor.start(
        ChildSpec(name="idle reaper", run=reaper.run, policy=RestartPolicy.PERMANENT, kind="idle reaper")
    )


async def test_sessions_that_nobody_needs_are_closed_after_a_while(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await start_reaper(world)
        for person in range(3):
            await world.writes("Hola", who=f"+52551234000{person}")
        await trio.sleep(1799)
        assert len(world.agent.open_sessions) == 3

        await trio.sleep(600)
        assert world.agent.open_sessions == []
        assert len(world.budget) == 0


async def test_a_session_that_was_used_in_between_is_kept(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await start_reaper(world)
        await world.writes("Hola")
        await trio.sleep(1500)
        await world.writes("otra vez")
        await trio.sleep(1500)

        assert world.agent.heard == [["Hola", "otra vez"]]
        assert len(world.agent.open_sessions) == 1


async def test_a_session_at_work_is_left_alone(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await start_reaper(world, every_s=1)
        world.agent.usual_reaction = echoes(after_s=50)
        await world.writes("Hola")
        await trio.sleep(60)

        assert world.sent == ["re: Hola"]


async def test_a_conversation_that_leaves_meanwhile_is_not_started_anew(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        people = [await world.writes("Hola", who=f"+52551234{person:04}") for person in range(50)]
        await trio.sleep(10)
        await start_reaper(world, every_s=5)
        await trio.sleep(5)  # the reaper's round begins at this moment
        world.conversations.post(people[-1], Nudge.FINISH)
        await trio.sleep(1)

        assert people[-1] not in world.conversations
        assert len(world.conversations) == 49
