"""A conversation: messages in, turns, answers out."""

import trio
from trio.testing import MockClock

from actors.agent_events import ToolFinished
from actors.conversation.mail import MessageArrived, Nudge
from actors.conversation.turn import LLM_TIMEOUT_S
from actors.messages import Purpose, Template
from tests.actors.worlds import ALL_TEMPLATES, open_world, rules_with
from tests.memory.agent import HUNG_UP, MemorySession, Step, asks_tool, does, echoes, reply, says


async def test_a_message_gets_one_answer(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.writes("Hola")
        await trio.sleep(10)

        assert world.sent == ["re: Hola"]
        assert world.messaging.bodies == ["re: Hola"]
        assert world.unanswered == []


async def test_the_answer_goes_where_the_message_came_from(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.writes("Hola", who="+5215512345678")
        await trio.sleep(10)

        assert [message.address for message in world.outbound] == ["+5215512345678"]
        assert [message.purpose for message in world.outbound] == [Purpose.ANSWER]


async def test_a_burst_is_one_turn_in_order(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        for text in ("Hola", "soy Ana", "¿cuánto cuesta?"):
            await world.writes(text)
            await trio.sleep(0.8)
        await trio.sleep(10)

        assert world.agent.heard == [["Hola\nsoy Ana\n¿cuánto cuesta?"]]
        assert world.sent == ["re: Hola\nsoy Ana\n¿cuánto cuesta?"]


async def test_a_look_does_not_cut_a_burst_short(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        person_id = await world.writes("Hola")
        await trio.sleep(0.5)
        world.conversations.post(person_id, Nudge.LOOK)
        await trio.sleep(0.3)
        await world.writes("soy Ana")
        await trio.sleep(10)

        assert world.agent.heard == [["Hola\nsoy Ana"]]


async def test_who_never_stops_writing_is_answered_after_a_while(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        for number in range(20):
            await world.writes(str(number))
            await trio.sleep(0.9)
        await trio.sleep(20)

        turns = world.agent.heard[0]
        assert len(turns) > 1
        assert "\n".join(turns).split("\n") == [str(number) for number in range(20)]
        assert world.unanswered == []


async def test_what_is_written_while_the_agent_answers_is_the_next_turn(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.usual_reaction = echoes(after_s=10)
        await world.writes("uno")
        await trio.sleep(5)
        await world.writes("dos")
        await trio.sleep(2)
        await world.writes("tres")
        await trio.sleep(30)

        assert world.agent.heard == [["uno", "dos\ntres"]]
        assert world.sent == ["re: uno", "re: dos\ntres"]


async def test_people_are_answered_side_by_side_each_by_a_session_of_their_own(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        world.agent.usual_reaction = echoes(after_s=10)
        for person in range(5):
            await world.writes(f"soy {person}", who=f"+52551234000{person}")
        await trio.sleep(13)

        assert sorted(world.sent) == [f"re: soy {person}" for person in range(5)]
        assert len(world.agent.sessions) == 5


async def test_the_session_is_kept_for_what_is_written_next(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.writes("uno")
        await trio.sleep(300)
        await world.writes("dos")
        await trio.sleep(10)

        assert world.agent.heard == [["uno", "dos"]]
        assert world.conversation.agent_conversation_id == "conv_text_1"


async def test_the_session_is_opened_while_messages_still_come_in(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.writes("Hola")
        await trio.sleep(0.5)

        assert len(world.agent.open_sessions) == 1
        assert world.agent.heard == [[]]


async def test_an_answer_without_a_completion_is_sent_after_some_quiet(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.usual_reaction = echoes(completes=False)
        await world.writes("Hola")
        await trio.sleep(1.9)
        assert world.sent == []

        await trio.sleep(0.2)
        assert world.sent == ["re: Hola"]


async def test_several_replies_around_a_tool_are_one_answer(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.reactions.append(asks_tool(before="Un momento.", after="No puedo pedirla."))
        await world.writes("una pizza")
        await trio.sleep(10)
        await world.writes("¿y ahora?")
        await trio.sleep(10)

        assert world.sent == ["Un momento.\n\nNo puedo pedirla.", "re: ¿y ahora?"]


async def test_an_unknown_tool_is_answered_with_an_error(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.reactions.append(asks_tool(after="No puedo."))
        await world.writes("una pizza")
        await trio.sleep(10)

        assert world.agent.sessions[0].tool_results == [("t1", "unknown tool: order_pizza", True)]
        assert world.sent == ["No puedo."]


async def test_a_tool_that_expects_no_response_gets_none(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.reactions.append(asks_tool(after="Pedida.", expects_response=False))
        await world.writes("una pizza")
        await trio.sleep(10)

        assert world.agent.sessions[0].tool_results == []
        assert world.sent == ["Pedida."]


async def test_a_tool_whose_result_is_never_confirmed_does_not_hold_the_answer_back_for_ever(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        world.agent.reactions.append(asks_tool(before="Un momento.", confirms=False))
        await world.writes("una pizza")
        await trio.sleep(1 + LLM_TIMEOUT_S + 1)

        assert world.sent == ["Un momento."]


async def test_a_tool_call_between_turns_is_answered_too(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.writes("Hola")
        await trio.sleep(10)
        session = world.agent.sessions[0]
        session.unasked(*asks_tool()(session, ""))
        await trio.sleep(1)

        assert [call_id for call_id, _, _ in session.tool_results] == ["t1"]


async def test_a_blank_answer_sends_nothing_and_settles_the_message(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.reactions.append(says(" \n"))
        await world.writes("👍")
        await trio.sleep(10)

        assert world.sent == []
        assert world.unanswered == []
        assert world.told_outbox == []


async def test_a_long_answer_is_cut_into_messages_in_order(autojump_clock: MockClock) -> None:
    sentences = [f"Frase número {number}." for number in range(300)]
    async with open_world() as world:
        world.agent.reactions.append(says(" ".join(sentences)))
        await world.writes("cuéntame todo")
        await trio.sleep(10)

        assert len(world.sent) > 2
        assert all(len(piece) <= 1600 for piece in world.sent)
        assert " ".join(world.sent).split() == " ".join(sentences).split()
        assert world.messaging.bodies == world.sent


async def test_an_agent_that_hangs_up_has_answered_and_the_next_message_gets_a_new_session(
    autojump_clock: MockClock,
) -> None:
    def goodbye(session: MemorySession, _heard: str) -> list[Step]:
        finished = ToolFinished(
            name="end_call", call_id="t1", is_error=False, event_id=session.next_event_id()
        )
        return [*reply(session, "¡Hasta luego!"), finished, HUNG_UP]

    async with open_world() as world:
        world.agent.reactions.append(goodbye)
        await world.writes("adiós")
        await trio.sleep(10)
        await world.writes("espera")
        await trio.sleep(10)

        assert world.sent == ["¡Hasta luego!", "re: espera"]
        assert world.agent.heard == [["adiós"], ["espera"]]


async def test_an_agent_that_hangs_up_without_a_word_has_answered(autojump_clock: MockClock) -> None:
    finished = ToolFinished(name="end_call", call_id="t1", is_error=False, event_id=9)
    async with open_world() as world:
        world.agent.reactions.append(does(finished, HUNG_UP))
        await world.writes("adiós")
        await trio.sleep(100)

        assert world.agent.heard == [["adiós"]]
        assert world.sent == []
        assert world.unanswered == []


async def test_an_answer_carries_the_template_for_a_window_that_closes(autojump_clock: MockClock) -> None:
    async with open_world(rules=rules_with(template_sids=ALL_TEMPLATES)) as world:
        await world.writes("Hola")
        await trio.sleep(10)

        assert [message.template for message in world.outbound] == [
            Template(sid="HX1", variables={"1": "Ana"})
        ]


async def test_the_typing_indicator_is_shown_and_repeated_during_a_long_turn(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        world.agent.usual_reaction = echoes(after_s=50)
        await world.writes("Hola")
        await trio.sleep(200)

        assert world.messaging.typing == [(0, "SM-in-1"), (20, "SM-in-1"), (40, "SM-in-1")]


async def test_who_types_is_shown_for_a_message_too_whose_nudge_got_lost(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        person_id = await world.writes("uno", "dos", is_told=False)
        world.conversations.post(person_id, Nudge.LOOK)
        await trio.sleep(10)

        assert world.messaging.typing == [(0, "SM-in-2")]


async def test_after_the_answer_nobody_types_any_more(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        person_id = await world.writes("Hola")
        await trio.sleep(100)
        world.conversations.post(person_id, Nudge.LOOK)
        await trio.sleep(100)

        assert world.messaging.typing == [(0, "SM-in-1")]


async def test_a_burst_shows_the_typing_indicator_once(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.writes("uno", "dos", "tres")
        await trio.sleep(10)

        assert len(world.messaging.typing) == 1


async def test_nudges_without_anything_to_do_do_nothing(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        person_id = await world.writes("Hola")
        await trio.sleep(10)
        for nudge in (Nudge.LOOK, Nudge.REAP, Nudge.WAKE, Nudge.LOOK, MessageArrived("SM-in-1")):
            world.conversations.post(person_id, nudge)
        await trio.sleep(100)

        assert world.sent == ["re: Hola"]
        assert world.agent.heard == [["Hola"]]


async def test_a_message_whose_nudge_got_lost_is_answered_with_the_next(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.writes("uno", is_told=False)
        await world.writes("dos")
        await trio.sleep(10)

        assert world.agent.heard == [["uno\ndos"]]


async def test_a_flood_that_overflows_the_mailbox_is_answered_all_the_same(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.writes(*map(str, range(200)))
        await trio.sleep(70)

        assert "\n".join(world.agent.heard[0]).split("\n") == [str(number) for number in range(200)]
        assert world.unanswered == []
