"""A conversation's life: closed by the operator, reaped, retired, drained, without its database."""

import pytest
import trio
from trio.testing import MockClock

from actors.calls import FollowUpState
from actors.conversation.mail import Close, Nudge
from actors.ports import StoreUnavailableError
from actors.runtime.mailbox import ActorGoneError
from tests.actors.worlds import FaultyStore, World, open_world, rules_with
from tests.memory.agent import LOST, SILENCE, Start, asks_tool, echoes, says
from tests.memory.database import ConversationStatus


async def close(world: World, person_id: int) -> bool:
    order = Close()
    world.conversations.post(person_id, order)
    return await order.done.wait(timeout_s=5)


# --- closing ------------------------------------------------------------------------------------------


async def test_a_closed_conversation_has_no_session_and_the_next_message_opens_another(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        person_id = await world.writes("uno")
        await trio.sleep(10)
        assert await close(world, person_id)
        assert world.conversation.status is ConversationStatus.CLOSED
        assert world.agent.open_sessions == []

        await world.writes("dos")
        await trio.sleep(10)
        assert world.sent == ["re: uno", "re: dos"]
        assert len(world.database.conversations) == 2


async def test_closing_what_is_closed_says_so(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        person_id = await world.writes("uno")
        await trio.sleep(10)
        assert await close(world, person_id)
        assert not await close(world, person_id)


@pytest.mark.parametrize("after_s", [0.0, 0.5, 1.5, 5.0, 9.5, 10.5, 11.5, 12.0])
async def test_a_conversation_can_be_closed_in_every_phase_of_a_turn(
    autojump_clock: MockClock, after_s: float
) -> None:
    async with open_world() as world:
        world.agent.usual_start = Start(after_s=2)
        world.agent.usual_reaction = echoes(after_s=8, completes=False)
        person_id = await world.writes("uno")
        await trio.sleep(after_s)
        assert await close(world, person_id)
        await trio.sleep(100)

        assert world.sent in ([], ["re: uno"])
        assert world.unanswered == []
        assert world.agent.open_sessions == []
        assert person_id not in world.conversations


async def test_after_a_closing_nobody_types_any_more(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.usual_reaction = SILENCE
        person_id = await world.writes("uno")
        await trio.sleep(5)
        assert await close(world, person_id)
        await trio.sleep(20)
        world.conversations.post(person_id, Nudge.LOOK)
        await trio.sleep(1)

        assert world.messaging.typing == [(0, "SM-in-1")]


async def test_a_conversation_can_be_closed_between_two_attempts(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.usual_reaction = SILENCE
        person_id = await world.writes("uno")
        await trio.sleep(70)
        assert await close(world, person_id)
        await trio.sleep(200)

        assert world.sent == []
        assert len(world.agent.sessions) == 2


@pytest.mark.parametrize("after_s", [0.0, 1.0, 3.0])
async def test_a_conversation_can_be_closed_during_its_opening(
    autojump_clock: MockClock, after_s: float
) -> None:
    async with open_world() as world:
        world.agent.usual_start = Start(after_s=2)
        person_id = await world.call_ends()
        await trio.sleep(after_s)
        assert await close(world, person_id)
        await trio.sleep(100)

        assert len(world.sent) == (after_s > 2)
        assert world.follow_up() is (FollowUpState.HANDLED if after_s > 2 else FollowUpState.NONE)
        assert world.agent.open_sessions == []


async def test_what_a_closed_session_left_to_do_is_not_done(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.reactions.append(says("Primero.", completes=False))
        person_id = await world.writes("uno")
        await trio.sleep(3)
        session = world.agent.sessions[0]
        session.unasked(*asks_tool()(session, ""), *says("¡tarde!")(session, ""))
        assert await close(world, person_id)
        await world.writes("dos")
        await trio.sleep(10)

        assert world.sent == ["Primero.", "re: dos"]


@pytest.mark.parametrize("has_effect", [True, False])
async def test_who_closes_without_a_database_is_told_so_at_once(
    autojump_clock: MockClock, *, has_effect: bool
) -> None:
    async with open_world() as world:
        person_id = await world.writes("uno")
        await trio.sleep(10)
        world.store = FaultyStore(
            world.store, StoreUnavailableError(), fails_at=2, has_effect=has_effect
        ).as_store()
        world.conversations.post(person_id, Nudge.FINISH)  # a new life sees the faulty store
        await trio.sleep(1)

        with pytest.raises(ActorGoneError):
            await close(world, person_id)


async def test_a_conversation_that_was_closed_behind_its_back_ends_its_turn(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        world.agent.usual_start = Start(end=LOST)
        person_id = await world.writes("uno")
        await trio.sleep(1.2)
        await world.store.close(world.conversation.id, now=world.clock.now())
        await trio.sleep(100)

        assert world.sent == []
        assert person_id not in world.conversations


# --- reaping and retirement ---------------------------------------------------------------------------


async def test_a_session_that_was_idle_for_long_is_closed_when_the_reaper_asks(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        person_id = await world.writes("Hola")
        await trio.sleep(1700)
        world.conversations.post(person_id, Nudge.REAP)
        await trio.sleep(1)
        assert len(world.agent.open_sessions) == 1

        await trio.sleep(200)
        world.conversations.post(person_id, Nudge.REAP)
        await trio.sleep(1)
        assert world.agent.open_sessions == []


async def test_a_session_that_was_opened_for_an_opening_nobody_answers_is_closed_too(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        person_id = await world.call_ends()
        await trio.sleep(1900)
        assert len(world.agent.open_sessions) == 1
        world.conversations.post(person_id, Nudge.REAP)
        await trio.sleep(1)

        assert world.agent.open_sessions == []


async def test_a_session_at_work_is_never_idle(autojump_clock: MockClock) -> None:
    async with open_world(rules=rules_with(idle_close_s=5)) as world:
        await world.writes("Hola")
        await trio.sleep(2)
        world.agent.usual_reaction = echoes(after_s=50)
        person_id = await world.writes("¿sí?", is_told=False)
        world.conversations.post(person_id, Nudge.LOOK)
        for _ in range(10):
            await trio.sleep(5)
            world.conversations.post(person_id, Nudge.REAP)
        await trio.sleep(10)

        assert world.sent == ["re: Hola", "re: ¿sí?"]
        assert len(world.agent.sessions) == 1


async def test_a_conversation_without_a_session_and_work_leaves_and_comes_back(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        person_id = await world.writes("uno")
        await trio.sleep(10)
        world.agent.sessions[0].end()
        await trio.sleep(59)
        assert person_id in world.conversations
        await trio.sleep(2)
        assert person_id not in world.conversations

        await world.writes("dos")
        await trio.sleep(10)
        assert world.sent == ["re: uno", "re: dos"]


async def test_a_message_in_the_moment_of_retirement_is_answered(autojump_clock: MockClock) -> None:
    for late_s in (59.9, 60.0, 60.1):
        async with open_world() as world:
            await world.writes("uno")
            await trio.sleep(10)
            world.agent.sessions[0].end()
            await trio.sleep(late_s)
            await world.writes("dos")
            await trio.sleep(10)

            assert world.sent == ["re: uno", "re: dos"]


async def test_a_conversation_with_an_open_session_stays(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        person_id = await world.writes("uno")
        await trio.sleep(3600)

        assert person_id in world.conversations


# --- draining -----------------------------------------------------------------------------------------


async def finish(world: World) -> None:
    for person_id in world.conversations:
        world.conversations.post(person_id, Nudge.FINISH)
    world.conversations.close()
    await world.conversations.until_empty()


async def test_a_drain_finishes_the_turn_in_flight(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.usual_reaction = echoes(after_s=10)
        await world.writes("Hola")
        await trio.sleep(5)
        await finish(world)

        assert world.sent == ["re: Hola"]
        assert trio.current_time() == pytest.approx(11)
        assert world.agent.open_sessions == []


async def test_a_drain_begins_no_turn(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.usual_reaction = echoes(after_s=10)
        await world.writes("uno")
        await trio.sleep(5)
        await world.writes("dos")
        await trio.sleep(2)
        await finish(world)

        assert world.sent == ["re: uno"]
        assert world.unanswered == ["dos"]


async def test_a_drain_leaves_what_is_still_being_gathered(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.writes("Hola")
        await trio.sleep(0.5)
        await finish(world)

        assert trio.current_time() == pytest.approx(0.5)
        assert world.unanswered == ["Hola"]
        assert world.agent.heard == [[]]
        assert world.agent.open_sessions == []


async def test_a_drain_finishes_an_opening_that_waits_for_its_session(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.usual_start = Start(after_s=10)
        await world.call_ends("conv_1")
        await world.call_ends("conv_2")
        await trio.sleep(5)
        await finish(world)

        assert world.sent == ["Hola, Ana: quiere el plan anual."]
        assert world.follow_up("conv_2") is FollowUpState.DUE


async def test_a_drain_lets_resting_conversations_go_at_once(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.writes("Hola")
        await trio.sleep(10)
        await finish(world)

        assert trio.current_time() == 10
        assert len(world.conversations) == 0


# --- without the database -----------------------------------------------------------------------------


async def test_a_database_that_goes_away_costs_nothing_but_time(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.start_recovery()
        world.agent.usual_reaction = echoes(after_s=5)
        await world.writes("Hola")
        await trio.sleep(3)
        world.database.unavailable = True
        await trio.sleep(100)
        assert len(world.conversations) == 0

        world.database.unavailable = False
        await trio.sleep(30)
        assert world.sent == ["re: Hola"]
        assert world.unanswered == []
        assert "recovery_store" not in world.alert_keys


async def test_nudges_during_an_outage_do_not_make_a_conversation_spin(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        person_id = await world.writes("Hola", is_told=False)
        world.database.unavailable = True
        for _ in range(50):
            world.conversations.post(person_id, Nudge.LOOK)
        await trio.sleep(1)

        assert len(world.conversations) == 0
        assert world.supervisor.restarts == 0


@pytest.mark.expects_error_log
async def test_a_conversation_that_crashes_again_and_again_is_parked_and_others_go_on(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        await world.start_recovery()
        whole = world.store
        broken = FaultyStore(whole, RuntimeError("a bug"), fails_at=1)
        world.store = broken.as_store()
        person_id = await world.writes("uno", who="+525512340001")
        while not world.parked:
            broken.fails_at = len(broken.calls) + 1
            await trio.sleep(0.05)
        assert world.parked == [person_id]

        world.store = whole
        await world.writes("dos", who="+525512340002")
        await trio.sleep(10)
        assert world.sent == ["re: dos"]

        await trio.sleep(330)
        assert world.sent == ["re: dos", "re: uno"]
