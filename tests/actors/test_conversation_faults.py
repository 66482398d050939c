"""A conversation whose agent is lost, silent or refuses: the person gets an answer, or a word, exactly once."""

from datetime import timedelta

import pytest
import trio
from trio.testing import MockClock

from actors.agent_events import SessionEnd, SessionEndReason
from actors.conversation.mail import Nudge
from actors.messages import Purpose
from tests.actors.worlds import open_world
from tests.memory.agent import (
    LOST,
    REFUSED,
    SILENCE,
    BreakOff,
    MemorySession,
    Start,
    Step,
    asks_tool,
    does,
    echoes,
    reply,
    says,
)
from tests.memory.clock import BEGINNING

FALLBACK = "Un momento, por favor."
QUOTA = SessionEnd(reason=SessionEndReason.REFUSED, code=3000, detail="quota_exceeded")
CRASHED = SessionEnd(reason=SessionEndReason.FAILED, code=1011, detail="")


def cut_off(session: MemorySession, _heard: str) -> list[Step]:
    """Stream half a reply and break."""
    return [*reply(session, "Este plan cuesta")[:2], LOST]


@pytest.mark.parametrize(
    "reaction",
    [does(BreakOff()), does(LOST), does(CRASHED), cut_off],
    ids=["while speaking", "lost", "crashed", "cut off"],
)
async def test_a_session_lost_in_the_middle_is_replaced_and_the_turn_said_again(
    autojump_clock: MockClock, reaction: object
) -> None:
    async with open_world() as world:
        world.agent.reactions.append(reaction)  # type: ignore[arg-type]
        await world.writes("Hola")
        await trio.sleep(20)

        assert world.agent.heard == [["Hola"], ["Hola"]]
        assert world.sent == ["re: Hola"]
        assert world.conversation.agent_conversation_id == "conv_text_2"


async def test_a_new_session_knows_what_was_said_in_the_one_before(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.call_ends(summary="quiere el plan anual.")
        await trio.sleep(5)
        await world.writes("¿cuánto cuesta?")
        await trio.sleep(5)
        world.agent.reactions.append(does(BreakOff()))
        await world.writes("¿y al mes?")
        await trio.sleep(20)

        plan = world.agent.sessions[-1].plan
        assert "quiere el plan anual." in plan.context
        assert plan.dynamic_variables["history"] == (
            "Tú: Hola, Ana: quiere el plan anual.\nCliente: ¿cuánto cuesta?\nTú: re: ¿cuánto cuesta?"
        )


async def test_a_whole_answer_outlives_the_session_that_gave_it(autojump_clock: MockClock) -> None:
    def answers_and_breaks(session: MemorySession, _heard: str) -> list[Step]:
        return [*reply(session, "Sí."), LOST]

    async with open_world() as world:
        world.agent.reactions.append(answers_and_breaks)
        await world.writes("¿sí?")
        await trio.sleep(20)

        assert world.sent == ["Sí."]
        assert len(world.agent.sessions) == 1


async def test_words_before_a_tool_are_no_answer_when_the_session_is_lost(autojump_clock: MockClock) -> None:
    def breaks_after_tool(session: MemorySession, heard: str) -> list[Step]:
        return [*asks_tool(before="Un momento.")(session, heard), LOST]

    async with open_world() as world:
        world.agent.reactions.append(breaks_after_tool)
        await world.writes("una pizza")
        await trio.sleep(60)

        assert world.sent == ["re: una pizza"]


async def test_a_session_lost_while_nobody_needs_it_is_not_missed(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.writes("uno")
        await trio.sleep(10)
        world.agent.sessions[0].end(LOST)
        await trio.sleep(10)
        assert len(world.agent.sessions) == 1

        await world.writes("dos")
        await trio.sleep(10)
        assert world.sent == ["re: uno", "re: dos"]


async def test_a_session_that_does_not_start_is_tried_again_with_growing_pauses(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        # The first is the one that is opened ahead.
        world.agent.starts.extend([Start(end=LOST)] * 4)
        await world.writes("Hola")
        await trio.sleep(60)

        assert len(world.agent.sessions) == 5
        assert world.sent == ["re: Hola"]
        assert world.alert_keys == []


async def test_sessions_that_never_start_end_in_the_fallback_text_once(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.usual_start = Start(end=LOST)
        await world.writes("Hola")
        await trio.sleep(50)

        assert world.sent == [FALLBACK]
        assert [message.purpose for message in world.outbound] == [Purpose.FALLBACK]
        assert world.unanswered == ["Hola"]
        assert world.alert_keys == ["agent_unanswered"]


async def test_a_silent_agent_is_replaced_once_and_then_the_fallback_text_goes(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        world.agent.usual_reaction = SILENCE
        await world.writes("Hola")
        await trio.sleep(60.5)
        assert world.sent == []
        assert len(world.agent.sessions) == 1

        await trio.sleep(1)
        assert world.agent.heard == [["Hola"], ["Hola"]]
        assert len(world.agent.open_sessions) == 1

        await trio.sleep(60)
        assert world.sent == [FALLBACK]
        assert world.agent.open_sessions == []
        assert world.alert_keys == ["agent_unanswered"]
        assert world.unanswered == ["Hola"]


async def test_an_agent_that_never_finishes_is_as_good_as_silent(autojump_clock: MockClock) -> None:
    def endless(session: MemorySession, _heard: str) -> list[Step]:
        start, delta, *_ = reply(session, "y además…")
        return [start, *[delta, 1.0] * 200]

    async with open_world() as world:
        world.agent.reactions.append(endless)
        await world.writes("Hola")
        await trio.sleep(70)

        assert world.sent == ["re: Hola"]


async def test_what_a_replaced_session_says_afterwards_is_not_heard(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.close_s = 0.9
        world.agent.reactions.append(says("¡tarde!", after_s=60.5))
        await world.writes("Hola")
        await trio.sleep(200)

        assert world.sent == ["re: Hola"]


async def test_an_unanswered_message_is_answered_with_the_next_one(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.reactions.extend([SILENCE, SILENCE])
        await world.writes("Hola")
        await trio.sleep(125)
        await world.writes("¿hay alguien?")
        await trio.sleep(10)

        assert world.sent == [FALLBACK, "re: Hola\n¿hay alguien?"]
        assert world.unanswered == []


async def test_an_unanswered_message_is_tried_again_by_itself(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.start_recovery()
        world.agent.reactions.extend([SILENCE, SILENCE])
        await world.writes("Hola")
        await trio.sleep(175)
        assert world.sent == [FALLBACK]

        await trio.sleep(30)
        assert world.sent == [FALLBACK, "re: Hola"]
        assert world.conversation.turn_failures == 0


async def test_looks_that_were_asked_for_during_a_failed_turn_do_not_begin_it_again_at_once(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        world.agent.usual_reaction = SILENCE
        person_id = await world.writes("Hola")
        for _ in range(8):
            await trio.sleep(14)
            world.conversations.post(person_id, Nudge.LOOK)
        await trio.sleep(40)

        assert len(world.agent.sessions) == 2
        assert world.conversation.turn_retry_at == BEGINNING + timedelta(seconds=121 + 60)


async def test_pauses_between_tries_are_spread_over_a_quarter(autojump_clock: MockClock) -> None:
    async with open_world(jitter=1.0) as world:
        world.agent.usual_start = Start(end=REFUSED)
        await world.writes("Hola")
        await trio.sleep(10)

        assert world.conversation.turn_retry_at == world.outbound[0].created_at + timedelta(seconds=45)


async def test_the_fallback_text_goes_once_however_often_a_turn_fails(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.start_recovery()
        world.agent.usual_reaction = SILENCE
        await world.writes("Hola")
        await trio.sleep(3600)

        assert world.sent == [FALLBACK]
        assert world.conversation.turn_failures > 3
        pauses = len(world.agent.sessions) / 2
        assert pauses == world.conversation.turn_failures


@pytest.mark.parametrize("end", [REFUSED, QUOTA], ids=["1008", "3000"])
async def test_a_refused_session_is_not_tried_again(autojump_clock: MockClock, end: SessionEnd) -> None:
    async with open_world() as world:
        world.agent.usual_start = Start(end=end)
        await world.writes("Hola", "¿hola?")
        await trio.sleep(0.5)
        await world.writes("¿hay alguien?")
        await trio.sleep(30)

        assert len(world.agent.sessions) == 1
        assert world.sent == [FALLBACK]
        assert world.alert_keys == ["agent_refused_agent_text", "agent_unanswered"]


async def test_a_session_refused_right_after_it_was_opened_is_not_tried_again(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        world.agent.usual_start = Start(greeting=[0.05, REFUSED])
        await world.writes("Hola")
        await trio.sleep(30)

        assert len(world.agent.sessions) == 1
        assert world.sent == [FALLBACK]


async def test_a_turn_whose_session_is_refused_while_it_runs_is_given_up(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.reactions.append(does(0.5, QUOTA))
        await world.writes("Hola")
        await trio.sleep(30)

        assert len(world.agent.sessions) == 1
        assert world.sent == [FALLBACK]


async def test_who_writes_again_after_a_refusal_gets_another_try(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.starts.append(Start(end=REFUSED))
        await world.writes("Hola")
        await trio.sleep(31)
        await world.writes("¿hola?")
        await trio.sleep(10)

        assert world.sent == [FALLBACK, "re: Hola\n¿hola?"]
        assert "agent_refused_agent_text" not in world.alert_keys


async def test_an_idle_session_that_ends_over_what_was_said_costs_the_next_message_nothing(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        person_id = await world.writes("uno")
        await trio.sleep(10)
        world.agent.sessions[0].end(REFUSED)
        await trio.sleep(10)
        await world.writes("dos", is_told=False)
        world.conversations.post(person_id, Nudge.LOOK)
        await trio.sleep(10)

        assert world.sent == ["re: uno", "re: dos"]


async def test_without_a_seat_for_its_socket_a_turn_waits_for_one(autojump_clock: MockClock) -> None:
    async with open_world(sockets_max=1) as world:
        world.agent.usual_reaction = echoes(after_s=8)
        await world.writes("uno", who="+525512340001")
        await trio.sleep(2)
        await world.writes("dos", who="+525512340002")
        await trio.sleep(60)

        assert world.sent == ["re: uno", "re: dos"]
        assert len(world.agent.open_sessions) == 1


async def test_who_waits_for_an_answer_gets_the_seat_of_who_does_not(autojump_clock: MockClock) -> None:
    async with open_world(sockets_max=2) as world:
        for person in range(4):
            await world.writes(str(person), who=f"+52551234000{person}")
            await trio.sleep(20)

        assert world.sent == ["re: 0", "re: 1", "re: 2", "re: 3"]
        assert [session.heard for session in world.agent.open_sessions] == [["2"], ["3"]]


async def test_who_is_writing_again_keeps_the_seat(autojump_clock: MockClock) -> None:
    async with open_world(sockets_max=1) as world:
        world.agent.usual_reaction = echoes(after_s=10)
        await world.writes("uno", who="+525512340001")
        await trio.sleep(10.9)
        await world.writes("dos", who="+525512340001")
        await trio.sleep(0.3)
        await world.writes("tres", who="+525512340002")
        await trio.sleep(100)

        assert world.agent.heard == [["uno", "dos"], ["tres"]]


async def test_a_fault_of_one_is_no_concern_of_another(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.reactions.append(SILENCE)
        await world.writes("uno", who="+525512340001")
        await trio.sleep(5)
        await world.writes("dos", who="+525512340002")
        await trio.sleep(10)

        assert world.sent == ["re: dos"]


async def test_a_slow_start_is_waited_for(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.usual_start = Start(after_s=25)
        await world.writes("Hola")
        await trio.sleep(30)

        assert world.sent == ["re: Hola"]
        assert len(world.agent.sessions) == 1
