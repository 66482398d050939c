"""When a turn begins, and when the agent's answer to it is complete."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from actors.agent_events import (
    AgentEvent,
    AgentFault,
    AgentReplied,
    PartKind,
    ReplyCompleted,
    ReplyCorrected,
    ReplyPart,
    ToolCalled,
    ToolFinished,
    ToolStarted,
)
from actors.conversation.turn import LLM_TIMEOUT_S, AnswerCollector, CoalescingRules, Gathering, Turn
from actors.messages import PendingMessage

SETTLE_S = 1.0


def parts(event_id: int | None, *deltas: str) -> list[AgentEvent]:
    """A whole stream of parts."""
    return [
        ReplyPart(kind=PartKind.START, text="", event_id=event_id),
        *(ReplyPart(kind=PartKind.DELTA, text=delta, event_id=event_id) for delta in deltas),
        ReplyPart(kind=PartKind.STOP, text="", event_id=event_id),
    ]


def replied(text: str, event_id: int | None) -> AgentReplied:
    return AgentReplied(text=text, event_id=event_id)


def completed(event_id: int | None) -> ReplyCompleted:
    return ReplyCompleted(event_id=event_id)


def tool_called(event_id: int | None, *, expects_response: bool = True) -> ToolCalled:
    return ToolCalled(
        name="ask", call_id="t1", parameters={}, expects_response=expects_response, event_id=event_id
    )


def tool_started(event_id: int | None) -> ToolStarted:
    return ToolStarted(name="search", call_id="t1", event_id=event_id)


def tool_finished(
    event_id: int | None, *, name: str = "search", call_id: str = "t1", is_error: bool = False
) -> ToolFinished:
    return ToolFinished(name=name, call_id=call_id, is_error=is_error, event_id=event_id)


def fed(*events: AgentEvent, after_event_id: int = -1) -> AnswerCollector:
    """A collector that heard these events one second after another, from second 1 on."""
    collector = AnswerCollector(settle_s=SETTLE_S, after_event_id=after_event_id)
    for second, event in enumerate(events, start=1):
        collector.feed(event, float(second))
    return collector


def test_messages_are_gathered_until_nothing_came_for_a_while() -> None:
    rules = CoalescingRules(quiet_s=1, max_s=8)
    gathering = Gathering.begin(10)

    assert gathering.over_at(rules) == 11
    assert gathering.another(10.8).over_at(rules) == 11.8


def test_somebody_who_never_stops_writing_is_answered_all_the_same() -> None:
    gathering = Gathering.begin(10)
    for second in range(11, 30):
        gathering = gathering.another(second)

    assert gathering.over_at(CoalescingRules(quiet_s=1.5, max_s=8)) == 18


def test_a_turn_says_its_messages_line_by_line_and_is_answered_where_the_newest_came_from() -> None:
    turn = Turn(messages=[_pending(1, "Hola", "+52155"), _pending(2, "¿Qué tal?", "MX.1")])

    assert turn.texts == ["Hola", "¿Qué tal?"]
    assert turn.message_ids == [1, 2]
    assert turn.address == "MX.1"


def test_nothing_heard_is_no_answer() -> None:
    collector = fed()

    assert not collector.is_complete(1000)
    assert collector.settles_at is None
    assert not collector.is_usable


def test_a_plain_answer_is_complete_when_the_agent_says_so() -> None:
    events = [*parts(5, "El plan ", "cuesta…"), replied("El plan cuesta…", 5)]

    assert not fed(*events).is_complete(5)
    answered = fed(*events, completed(5))
    assert answered.is_complete(6)
    assert answered.is_over
    assert answered.paragraphs == ["El plan cuesta…"]


def test_without_that_event_an_answer_is_complete_after_some_quiet() -> None:
    collector = fed(*parts(5, "Sí."), replied("Sí.", 5))

    assert collector.settles_at == 4 + SETTLE_S
    assert not collector.is_complete(4.9)
    assert collector.is_complete(5)
    assert not collector.is_over


def test_the_final_text_stands_in_place_of_its_parts() -> None:
    assert fed(*parts(5, "Bue", "no"), replied("Bueno.", 5)).paragraphs == ["Bueno."]


def test_parts_that_come_after_the_final_text_add_nothing() -> None:
    assert fed(replied("Bueno.", 5), *parts(5, "Bueno.")).paragraphs == ["Bueno."]


def test_parts_alone_are_an_answer_once_they_have_stopped() -> None:
    streaming = parts(5, "Ya ", "voy")

    assert fed(*streaming[:-1]).settles_at is None
    assert fed(*streaming).settles_at == len(streaming) + SETTLE_S
    assert fed(*streaming).paragraphs == ["Ya voy"]


def test_a_stream_that_never_stops_is_over_some_quiet_after_the_agent_said_so() -> None:
    collector = fed(*parts(5, "Ya voy")[:-1], completed(5))

    assert not collector.is_complete(3)
    assert collector.is_complete(3 + SETTLE_S)


def test_a_completion_before_the_final_text_waits_for_the_stream_only() -> None:
    collector = fed(*parts(5, "Ya voy"), completed(5))
    assert collector.is_complete(4)

    collector.feed(replied("Ya voy.", 5), 4)

    assert collector.is_complete(4)
    assert collector.paragraphs == ["Ya voy."]


def test_once_the_answer_is_over_no_further_reply_is_begun() -> None:
    collector = fed(replied("Hola", 5), completed(5), *parts(7, "¿Sigues ahí?"), replied("¿Sigues ahí?", 7))

    assert collector.is_complete(2)
    assert collector.paragraphs == ["Hola"]


def test_a_completion_without_any_reply_completes_nothing() -> None:
    collector = fed(completed(5))

    assert not collector.is_complete(1000)


def test_a_late_completion_of_the_turn_before_is_ignored() -> None:
    collector = fed(completed(5), replied("Segunda", 8), completed(5), after_event_id=5)

    assert not collector.is_over
    assert collector.paragraphs == ["Segunda"]


def test_a_late_reply_of_the_turn_before_is_ignored() -> None:
    assert fed(replied("Primera", 5), replied("Segunda", 8), after_event_id=5).paragraphs == ["Segunda"]


def test_several_replies_make_one_answer() -> None:
    collector = fed(replied("Uno", 5), replied("Dos", 7), replied("Tres", 9))

    assert collector.paragraphs == ["Uno", "Dos", "Tres"]


def test_an_answer_around_a_client_tool_waits_for_the_words_after_it() -> None:
    before = [*parts(8, "Un momento"), replied("Un momento", 8), tool_called(9)]
    collector = fed(*before)
    assert not collector.is_complete(1000)

    collector.tool_answered("t1")
    collector.feed(tool_finished(9), 6)
    assert collector.settles_at == 6 + LLM_TIMEOUT_S

    collector.feed(replied("Ya avisé", 11), 7)
    assert collector.settles_at == 7 + SETTLE_S
    assert collector.paragraphs == ["Un momento", "Ya avisé"]


def test_a_tool_result_that_is_never_confirmed_does_not_hold_the_answer_back() -> None:
    collector = fed(replied("Un momento", 8), tool_called(9))
    collector.tool_answered("t1")
    assert collector.settles_at == 2 + LLM_TIMEOUT_S

    collector.feed(replied("Listo", 11), 3)

    assert collector.settles_at == 3 + SETTLE_S


def test_a_client_tool_that_expects_no_response_is_not_waited_for_but_words_may_follow() -> None:
    collector = fed(replied("Aquí va", 8), tool_called(9, expects_response=False))

    assert collector.settles_at == 2 + LLM_TIMEOUT_S


def test_a_server_tool_is_waited_for() -> None:
    collector = fed(replied("Busco…", 8), tool_started(9))
    assert not collector.is_complete(1000)

    collector.feed(tool_finished(9), 3)
    assert collector.settles_at == 3 + LLM_TIMEOUT_S

    collector.feed(replied("Encontrado", 11), 4)
    assert collector.settles_at == 4 + SETTLE_S


def test_newer_words_end_the_wait_for_a_server_tool_whose_end_is_never_told() -> None:
    collector = fed(replied("Busco…", 8), tool_started(9), replied("Encontrado", 11))

    assert collector.settles_at == 3 + SETTLE_S


def test_words_from_before_a_tool_that_arrive_after_it_are_not_those_that_follow_it() -> None:
    collector = fed(tool_called(9), replied("Un momento", 8))
    collector.tool_answered("t1")

    assert collector.settles_at == 2 + LLM_TIMEOUT_S
    assert not collector.is_usable


def test_a_tool_that_is_told_of_after_the_words_that_followed_it_changes_nothing() -> None:
    collector = fed(replied("Encontrado", 11), tool_started(9), tool_finished(9))

    assert collector.settles_at == 3 + SETTLE_S
    assert collector.is_usable


def test_a_completion_from_before_a_tool_is_not_the_end() -> None:
    collector = fed(replied("Un momento", 8), tool_called(9), completed(8))

    assert not collector.is_over
    assert fed(replied("Un momento", 8), tool_called(9), replied("Listo", 11), completed(11)).is_over


def test_a_tool_without_words_before_it_is_no_answer_yet() -> None:
    collector = fed(tool_started(5), tool_finished(5))

    assert not collector.is_complete(1000)


def test_a_goodbye_is_complete_at_once() -> None:
    collector = fed(replied("¡Hasta luego!", 5), tool_finished(6, name="end_call"))

    assert collector.is_over
    assert collector.is_complete(2)
    assert collector.is_usable
    assert collector.paragraphs == ["¡Hasta luego!"]


@pytest.mark.parametrize("later", [completed(7), completed(None)])
def test_hanging_up_without_a_word_is_an_answer_too(later: AgentEvent) -> None:
    collector = fed(tool_finished(6, name="end_call"), later)

    assert collector.is_complete(2)
    assert collector.paragraphs == []


def test_a_failed_hanging_up_is_a_tool_like_any_other() -> None:
    collector = fed(replied("Adiós", 5), tool_finished(6, name="end_call", is_error=True))

    assert not collector.is_over
    assert collector.settles_at == 2 + LLM_TIMEOUT_S


@pytest.mark.parametrize("text", ["", "  \n "])
def test_a_blank_reply_is_an_answer_without_words(text: str) -> None:
    collector = fed(replied(text, 5))

    assert collector.is_complete(1 + SETTLE_S)
    assert collector.paragraphs == []
    assert not collector.is_usable


def test_an_agent_that_skips_its_turn_has_answered() -> None:
    collector = fed(tool_finished(5, name="skip_turn"))

    assert collector.settles_at == 1 + SETTLE_S
    assert collector.paragraphs == []
    assert fed(tool_finished(5, name="skip_turn"), completed(5)).is_over


def test_an_agent_that_speaks_and_then_skips_keeps_its_words() -> None:
    collector = fed(replied("Aquí estoy", 5), tool_finished(5, name="skip_turn"))

    assert collector.paragraphs == ["Aquí estoy"]
    assert collector.settles_at == 2 + SETTLE_S


def test_a_correction_changes_nothing_and_is_no_sign_of_life() -> None:
    collector = fed(replied("El plan cuesta mil", 5), ReplyCorrected(corrected="El plan", event_id=5))

    assert collector.paragraphs == ["El plan cuesta mil"]
    assert collector.settles_at == 1 + SETTLE_S


def test_a_fault_changes_nothing() -> None:
    fault = AgentFault(code=1002, error_type="llm_error", detail="")

    assert fed(replied("Hola", 5), fault).settles_at == 1 + SETTLE_S


def test_events_without_ids_are_matched_in_their_order() -> None:
    collector = fed(
        *parts(None, "Un ", "momento"),
        replied("Un momento", None),
        *parts(None, "Li", "sto"),
        replied("Listo", None),
        completed(None),
    )

    assert collector.paragraphs == ["Un momento", "Listo"]
    assert collector.is_complete(10)


def test_parts_without_ids_and_without_a_final_text_are_separate_replies() -> None:
    collector = fed(*parts(None, "Uno"), *parts(None, "Dos"))

    assert collector.paragraphs == ["Uno", "Dos"]
    assert collector.settles_at == 6 + SETTLE_S


def test_a_stream_without_id_that_is_taken_over_by_another_is_not_waited_for() -> None:
    collector = fed(*parts(None, "Uno")[:-1], *parts(None, "Dos"))

    assert collector.settles_at == 5 + SETTLE_S
    assert collector.paragraphs == ["Uno", "Dos"]


def test_flat_replies_without_ids_are_one_each() -> None:
    assert fed(replied("Uno", None), replied("Dos", None)).paragraphs == ["Uno", "Dos"]


def test_the_end_of_a_stream_that_never_began_is_no_reply() -> None:
    collector = fed(ReplyPart(kind=PartKind.STOP, text="", event_id=5))

    assert not collector.is_complete(1000)


def test_a_stream_whose_beginning_was_lost_is_a_reply() -> None:
    assert fed(*parts(5, "Hola")[1:]).paragraphs == ["Hola"]


def test_junk_in_between_does_no_harm() -> None:
    junk: Sequence[AgentEvent] = [
        completed(2),
        ReplyCorrected(corrected="", event_id=None),
        AgentFault(code=0, error_type="unknown", detail=""),
        tool_finished(6, call_id="never called"),
    ]
    collector = fed(*junk, *parts(7, "Hola"), *junk[:3], replied("Hola", 7), completed(7))

    assert collector.paragraphs == ["Hola"]
    assert collector.is_complete(20)


def test_what_was_heard_is_usable_only_if_nothing_was_to_follow() -> None:
    assert fed(replied("Hola", 5)).is_usable
    assert not fed(*parts(5, "Ho")[:-1]).is_usable
    assert not fed(replied("Un momento", 5), tool_called(6)).is_usable
    assert not fed(replied("Un momento", 5), tool_started(6), tool_finished(6)).is_usable


def _pending(message_id: int, text: str, address: str) -> PendingMessage:
    return PendingMessage(
        id=message_id,
        sid=f"SM{message_id}",
        address=address,
        text=text,
        received_at=datetime(2026, 5, 4, tzinfo=UTC),
    )


def test_a_flat_reply_is_the_final_text_of_the_parts_before_it() -> None:
    """Old shapes lose the id; taken for a reply of its own it would be said twice."""
    collector = fed(*parts(5, "El plan ", "cuesta diez."), replied("El plan cuesta diez.", None))

    assert collector.paragraphs == ["El plan cuesta diez."]
