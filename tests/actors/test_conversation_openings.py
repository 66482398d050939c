"""The first message after a call: with a session for the talk that follows, or without one."""

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from actors.calls import CallOutcome, FollowUpState
from actors.conversation.actor import NOTE_WITHOUT_AGENT
from actors.conversation.mail import Nudge
from actors.messages import Purpose, Template
from tests.actors.worlds import ALL_TEMPLATES, TEXTS, World, open_world, rules_with
from tests.memory.agent import LOST, REFUSED, Start, echoes
from tests.memory.database import Outbound

ANA = "+525512345678"
OPENING = "Hola, Ana: quiere el plan anual."


def notes(world: World) -> list[str | None]:
    return [message.note for message in world.outbound]


async def test_an_opening_goes_once_its_session_is_open_and_the_id_is_stored(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        world.agent.usual_start = Start(after_s=10)
        await world.call_ends()
        await trio.sleep(9)
        assert world.sent == []

        await trio.sleep(2)
        assert world.sent == [OPENING]
        assert notes(world) == [None]
        assert world.conversation.agent_conversation_id == "conv_text_1"
        assert world.follow_up() is FollowUpState.HANDLED


async def test_the_agent_knows_the_opening_that_it_is_answered_to(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.call_ends()
        await trio.sleep(5)
        await world.writes("sí, por favor")
        await trio.sleep(5)

        assert len(world.agent.sessions) == 1
        variables = world.agent.sessions[0].plan.dynamic_variables
        assert variables["history"] == f"Tú: {OPENING}"
        assert variables["call_summary"] == "quiere el plan anual."
        assert world.sent == [OPENING, "re: sí, por favor"]


@pytest.mark.parametrize("start", [Start(end=LOST), Start(after_s=30, end=LOST), Start(end=REFUSED)])
async def test_without_a_session_the_opening_goes_all_the_same_with_a_note(
    autojump_clock: MockClock, start: Start
) -> None:
    async with open_world() as world:
        world.agent.starts.append(start)
        await world.call_ends()
        await trio.sleep(40)

        assert world.sent == [OPENING]
        assert notes(world) == [NOTE_WITHOUT_AGENT]
        assert world.conversation.agent_conversation_id is None
        assert len(world.agent.sessions) == 1


async def test_an_opening_does_not_wait_for_a_socket_when_all_are_in_use(autojump_clock: MockClock) -> None:
    async with open_world(sockets_max=1) as world:
        world.agent.usual_reaction = echoes(after_s=50)
        await world.writes("Hola", who="+525512340001")
        await trio.sleep(5)
        await world.call_ends()
        await trio.sleep(1)

        assert world.sent == [OPENING]
        assert notes(world) == [NOTE_WITHOUT_AGENT]


async def test_with_open_socket_reply_no_session_is_opened_before_the_person_writes(
    autojump_clock: MockClock,
) -> None:
    async with open_world(rules=rules_with(opens_socket_at_call_end=False)) as world:
        await world.call_ends()
        await trio.sleep(30)
        assert world.sent == [OPENING]
        assert notes(world) == [None]
        assert world.agent.sessions == []

        await world.writes("sí")
        await trio.sleep(5)
        assert world.sent == [OPENING, "re: sí"]
        assert world.agent.sessions[0].plan.dynamic_variables["history"] == f"Tú: {OPENING}"


async def test_an_outcome_with_a_text_of_its_own_gets_that_and_no_session(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.call_ends(outcome=CallOutcome.VOICEMAIL)
        await trio.sleep(5)

        assert world.sent == ["Le dejamos un mensaje, Ana."]
        assert world.agent.sessions == []


async def test_an_outcome_without_a_text_ends_its_follow_up(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.call_ends(outcome=CallOutcome.BUSY)
        await trio.sleep(5)

        assert world.sent == []
        assert world.follow_up() is FollowUpState.NONE


async def test_a_text_that_fails_ends_the_follow_up_with_an_alert(autojump_clock: MockClock) -> None:
    async with open_world(texts=evolve(TEXTS, opening="{{ variables.product.name }}")) as world:
        await world.call_ends()
        await trio.sleep(5)

        assert world.sent == []
        assert world.follow_up() is FollowUpState.NONE
        assert world.alert_keys == ["text_completed"]


async def test_a_template_variable_that_fails_costs_the_template_and_not_the_text(
    autojump_clock: MockClock,
) -> None:
    texts = evolve(TEXTS, opening_variables={"1": "{{ variables.product.name }}"})
    async with open_world(texts=texts, rules=rules_with(template_sids=ALL_TEMPLATES)) as world:
        await world.call_ends()
        await trio.sleep(5)

        assert world.messaging.bodies == [OPENING]
        assert world.alert_keys == ["template_opening"]


async def test_an_opening_carries_its_template(autojump_clock: MockClock) -> None:
    async with open_world(rules=rules_with(template_sids=ALL_TEMPLATES)) as world:
        await world.call_ends()
        await trio.sleep(5)

        (message,) = world.outbound
        assert message.purpose is Purpose.OPENING
        assert message.template == Template(sid="HX1", variables={"1": "Ana"})
        assert world.messaging.bodies == [f"template of {OPENING}"]


async def test_two_calls_get_an_opening_each_and_the_agent_knows_both(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.call_ends("conv_1", summary="quiere el plan anual.")
        await world.call_ends("conv_2", summary="cambió de idea.")
        await trio.sleep(10)
        await world.writes("¿entonces?")
        await trio.sleep(10)

        assert world.sent == [OPENING, "Hola, Ana: cambió de idea.", "re: ¿entonces?"]
        assert len(world.agent.open_sessions) == 1
        history = world.agent.open_sessions[0].plan.dynamic_variables["history"]
        assert history == f"Tú: {OPENING}\nTú: Hola, Ana: cambió de idea."
        assert world.agent.open_sessions[0].heard == ["¿entonces?"]


async def test_a_call_in_the_middle_of_a_talk_gives_the_talk_a_session_that_knows_it(
    autojump_clock: MockClock,
) -> None:
    async with open_world(sockets_max=1) as world:
        await world.writes("Hola")
        await trio.sleep(10)
        await world.call_ends()
        await trio.sleep(10)
        await world.writes("gracias")
        await trio.sleep(10)

        assert world.sent == ["re: Hola", OPENING, "re: gracias"]
        assert notes(world)[1] is None
        assert world.agent.heard == [["Hola"], ["gracias"]]
        assert len(world.agent.open_sessions) == 1


async def test_a_call_that_ends_during_a_turn_waits_for_its_answer(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.usual_reaction = echoes(after_s=20)
        await world.writes("Hola")
        await trio.sleep(5)
        await world.call_ends()
        await trio.sleep(30)

        assert world.sent == ["re: Hola", OPENING]


async def test_an_opening_goes_before_the_answer_to_a_message_that_waits(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.call_ends(is_told=False)
        await world.writes("¿me llamaron?")
        await trio.sleep(20)

        assert world.sent == [OPENING, "re: ¿me llamaron?"]
        assert world.agent.sessions[-1].heard == ["¿me llamaron?"]


async def test_a_message_during_the_opening_is_answered_after_it(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.usual_start = Start(after_s=20)
        await world.call_ends()
        await trio.sleep(5)
        await world.writes("¿hola?")
        await trio.sleep(5)
        assert world.sent == []

        await trio.sleep(20)
        assert world.sent == [OPENING, "re: ¿hola?"]
        assert len(world.agent.sessions) == 1


async def test_a_refusal_during_the_opening_counts_for_the_message_that_came_meanwhile(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        world.agent.usual_start = Start(after_s=5, end=REFUSED)
        await world.call_ends()
        await trio.sleep(4.5)
        await world.writes("¿hola?")
        await trio.sleep(20)

        assert world.sent == [OPENING, "Un momento, por favor."]
        assert len(world.agent.sessions) == 1


async def test_looking_again_does_not_open_again(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        person_id = await world.call_ends()
        for _ in range(3):
            world.conversations.post(person_id, Nudge.LOOK)
            await trio.sleep(2)
            world.conversations.post(person_id, Nudge.LOOK)

        assert world.sent == [OPENING]


async def test_a_call_of_somebody_who_cannot_be_written_to_is_dropped(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        person_id = await world.call_ends(is_told=False)
        world.database.people[person_id].phone_number = None
        world.conversations.post(person_id, Nudge.LOOK)
        await trio.sleep(5)

        assert world.sent == []
        assert world.follow_up() is FollowUpState.NONE


async def test_a_person_is_written_to_where_they_wrote_from_last(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.writes("Hola")
        await trio.sleep(10)
        world.database.inbound[1].address = "MX.1A2B"
        await world.call_ends(who=ANA)
        await trio.sleep(10)

        openings: list[Outbound] = [m for m in world.outbound if m.purpose is Purpose.OPENING]
        assert [message.address for message in openings] == ["MX.1A2B"]
