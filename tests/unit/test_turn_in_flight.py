"""One turn, whatever the agent's session does meanwhile: every state with every event."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import pytest

from actors.agent_events import (
    AgentReplied,
    PartKind,
    ReplyCompleted,
    ReplyPart,
    SessionEnd,
    SessionEndReason,
    ToolCalled,
)
from actors.conversation.turn import Turn
from actors.conversation.turn_in_flight import Link, Step, TurnInFlight, TurnRules
from actors.messages import PendingMessage

RULES = TurnRules(reply_timeout_s=60, settle_s=1, attempts_max=4, retry_first_s=2, retry_max_s=5)
NOW = 1000.0
TIMEOUT = NOW + RULES.reply_timeout_s

REASONS = list(SessionEndReason)
MAY_RETRY = [reason for reason in REASONS if reason is not SessionEndReason.REFUSED]


def end(reason: SessionEndReason = SessionEndReason.LOST) -> SessionEnd:
    return SessionEnd(reason=reason, code=None, detail="")


def replied(text: str = "Sí.", event_id: int = 5) -> AgentReplied:
    return AgentReplied(text=text, event_id=event_id)


def unsaid() -> TurnInFlight:
    message = PendingMessage(
        id=1, sid="SM1", address="+52155", text="Hola", received_at=datetime(2026, 5, 4, tzinfo=UTC)
    )
    return TurnInFlight(turn=Turn(messages=[message]), rules=RULES, began_at=NOW - 1, jitter=1.0)


def retrying() -> TurnInFlight:
    turn = unsaid()
    turn.session_ended(end(), NOW)
    return turn


def said() -> TurnInFlight:
    turn = unsaid()
    turn.said(NOW, after_event_id=4)
    return turn


def streaming() -> TurnInFlight:
    turn = said()
    turn.hear(ReplyPart(kind=PartKind.START, text="S", event_id=5), NOW)
    return turn


def awaiting_tool() -> TurnInFlight:
    turn = said()
    turn.hear(replied("Un momento."), NOW)
    turn.hear(ToolCalled(name="ask", call_id="t1", parameters={}, expects_response=True, event_id=6), NOW)
    return turn


def settling() -> TurnInFlight:
    turn = said()
    turn.hear(replied(), NOW)
    return turn


def blank() -> TurnInFlight:
    turn = said()
    turn.hear(replied(" "), NOW)
    return turn


def complete() -> TurnInFlight:
    turn = settling()
    turn.hear(ReplyCompleted(event_id=5), NOW)
    return turn


def complete_without_words() -> TurnInFlight:
    turn = blank()
    turn.hear(ReplyCompleted(event_id=5), NOW)
    return turn


def hopeless() -> TurnInFlight:
    turn = said()
    turn.session_ended(end(SessionEndReason.REFUSED), NOW)
    return turn


State = Callable[[], TurnInFlight]

STEPS: Mapping[State, Mapping[Link, Step]] = {
    unsaid: {Link.CLOSED: Step.OPEN, Link.OPENING: Step.WAIT, Link.OPEN: Step.SAY},
    retrying: {Link.CLOSED: Step.WAIT, Link.OPENING: Step.WAIT, Link.OPEN: Step.SAY},
    said: dict.fromkeys(Link, Step.WAIT),
    streaming: dict.fromkeys(Link, Step.WAIT),
    awaiting_tool: dict.fromkeys(Link, Step.WAIT),
    settling: dict.fromkeys(Link, Step.WAIT),
    blank: dict.fromkeys(Link, Step.WAIT),
    complete: dict.fromkeys(Link, Step.COMMIT),
    complete_without_words: dict.fromkeys(Link, Step.COMMIT),
    hopeless: dict.fromkeys(Link, Step.GIVE_UP),
}
STATES = list(STEPS)
UNANSWERED = [unsaid, retrying, said, streaming, awaiting_tool, blank]
ANSWERED = [settling, complete, complete_without_words]


def _name(value: object) -> str | None:
    return getattr(value, "__name__", None) or getattr(value, "name", None)


by_state = pytest.mark.parametrize("state", STATES, ids=_name)


@by_state
@pytest.mark.parametrize("link", Link, ids=_name)
def test_what_to_do_at_once(state: State, link: Link) -> None:
    assert state().next_step(NOW, link) is STEPS[state][link]


@by_state
@pytest.mark.parametrize("link", Link, ids=_name)
def test_who_waits_wakes_when_there_is_something_to_do(state: State, link: Link) -> None:
    turn = state()
    if turn.next_step(NOW, link) is not Step.WAIT:
        return

    moment = turn.next_moment(link)

    assert moment > NOW
    if moment < float("inf"):
        assert turn.next_step(moment - 0.001, link) is Step.WAIT
        assert turn.next_step(moment, link) is not Step.WAIT


@pytest.mark.parametrize(
    ("state", "link", "moment"),
    [
        (unsaid, Link.OPENING, float("inf")),
        (retrying, Link.CLOSED, NOW + RULES.retry_first_s),
        (said, Link.OPEN, TIMEOUT),
        (streaming, Link.OPEN, TIMEOUT),
        (awaiting_tool, Link.OPEN, TIMEOUT),
        (settling, Link.OPEN, NOW + RULES.settle_s),
    ],
)
def test_how_long_to_wait(state: State, link: Link, moment: float) -> None:
    assert state().next_moment(link) == moment


@pytest.mark.parametrize("state", [said, streaming, awaiting_tool], ids=_name)
def test_an_agent_without_a_whole_answer_in_time_is_replaced(state: State) -> None:
    assert state().next_step(TIMEOUT, Link.OPEN) is Step.REPLACE


@pytest.mark.parametrize("state", [settling, blank, complete], ids=_name)
def test_a_whole_answer_is_taken_however_late(state: State) -> None:
    assert state().next_step(TIMEOUT, Link.OPEN) is Step.COMMIT


def test_an_answer_that_came_in_the_last_moment_is_taken_before_it_has_settled() -> None:
    turn = said()
    turn.hear(replied(), TIMEOUT - 0.1)

    assert turn.next_step(TIMEOUT, Link.OPEN) is Step.COMMIT
    assert turn.answer == ["Sí."]


@pytest.mark.parametrize("state", UNANSWERED, ids=_name)
@pytest.mark.parametrize("reason", MAY_RETRY, ids=_name)
def test_a_lost_session_is_tried_again_after_a_pause(state: State, reason: SessionEndReason) -> None:
    turn = state()
    turn.session_ended(end(reason), NOW)

    assert turn.next_step(NOW, Link.CLOSED) is Step.WAIT
    assert NOW < turn.next_moment(Link.CLOSED) <= NOW + RULES.retry_max_s
    assert turn.next_step(NOW + RULES.retry_max_s, Link.CLOSED) is Step.OPEN
    assert not turn.is_said
    assert turn.answer == []


@pytest.mark.parametrize("state", UNANSWERED, ids=_name)
def test_a_refused_session_is_not_tried_again(state: State) -> None:
    turn = state()
    turn.session_ended(end(SessionEndReason.REFUSED), NOW)

    for link in Link:
        assert turn.next_step(NOW, link) is Step.GIVE_UP


@pytest.mark.parametrize("state", ANSWERED, ids=_name)
@pytest.mark.parametrize("reason", REASONS, ids=_name)
def test_an_answer_outlives_the_session_it_came_from(state: State, reason: SessionEndReason) -> None:
    turn = state()
    answer = turn.answer
    turn.session_ended(end(reason), NOW)

    assert turn.next_step(NOW, Link.CLOSED) is Step.COMMIT
    assert turn.answer == answer


def test_an_answer_that_the_agent_chose_to_leave_blank_outlives_its_session_once_it_has_settled() -> None:
    turn = blank()
    turn.session_ended(end(), NOW + RULES.settle_s)

    assert turn.next_step(NOW + RULES.settle_s, Link.CLOSED) is Step.COMMIT
    assert turn.answer == []


@pytest.mark.parametrize("state", [said, streaming, awaiting_tool], ids=_name)
def test_a_silent_agent_is_replaced_at_once_and_only_once(state: State) -> None:
    turn = state()
    turn.session_was_silent()
    assert turn.next_step(TIMEOUT, Link.CLOSED) is Step.OPEN
    assert turn.answer == []

    turn.said(TIMEOUT, after_event_id=-1)
    assert turn.next_step(TIMEOUT + RULES.reply_timeout_s, Link.OPEN) is Step.REPLACE
    turn.session_was_silent()

    assert turn.next_step(TIMEOUT + RULES.reply_timeout_s, Link.CLOSED) is Step.GIVE_UP


def test_sessions_that_break_are_tried_so_often_with_growing_pauses() -> None:
    turn, pauses = unsaid(), []
    for attempt in range(RULES.attempts_max):
        assert turn.next_step(NOW + 100 * attempt, Link.CLOSED) is Step.OPEN
        turn.session_ended(end(), NOW + 100 * attempt)
        pauses.append(turn.next_moment(Link.CLOSED) - (NOW + 100 * attempt))

    assert pauses == [2, 4, 5, 5]
    assert turn.next_step(NOW + 1000, Link.CLOSED) is Step.GIVE_UP


@pytest.mark.parametrize(("jitter", "pause"), [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0)])
def test_jitter_spreads_the_retries(jitter: float, pause: float) -> None:
    turn = unsaid()
    turn.jitter = jitter
    turn.session_ended(end(), NOW)

    assert turn.next_moment(Link.CLOSED) == NOW + pause


def test_a_silent_and_a_broken_session_count_together() -> None:
    turn = unsaid()
    turn.said(NOW, after_event_id=-1)
    turn.session_was_silent()
    for _ in range(RULES.attempts_max - 1):
        assert turn.next_step(TIMEOUT + 1000, Link.CLOSED) is Step.OPEN
        turn.session_ended(end(), TIMEOUT)

    assert turn.next_step(TIMEOUT + 1000, Link.CLOSED) is Step.GIVE_UP


@pytest.mark.parametrize("state", [unsaid, retrying], ids=_name)
def test_what_is_heard_before_the_turn_is_said_is_no_answer_to_it(state: State) -> None:
    turn = state()
    turn.hear(replied(), NOW)
    turn.hear(ReplyCompleted(event_id=5), NOW)
    turn.tool_answered("t1")

    assert turn.answer == []
    assert turn.next_step(NOW, Link.OPEN) is Step.SAY


def test_news_of_the_turn_before_is_no_answer() -> None:
    turn = said()
    turn.hear(replied("De antes", 4), NOW)
    turn.hear(ReplyCompleted(event_id=4), NOW)

    assert turn.answer == []
    assert turn.next_step(NOW + 30, Link.OPEN) is Step.WAIT


def test_a_turn_said_again_forgets_what_the_lost_session_said() -> None:
    turn = streaming()
    turn.session_ended(end(), NOW)
    turn.said(NOW + 10, after_event_id=-1)
    turn.hear(replied("Ahora sí.", 1), NOW + 11)

    assert turn.answer == ["Ahora sí."]
    assert turn.next_moment(Link.OPEN) == NOW + 11 + RULES.settle_s


def test_a_tool_that_was_answered_is_no_longer_waited_for() -> None:
    turn = awaiting_tool()
    turn.tool_answered("t1")
    turn.hear(replied("Listo.", 8), NOW + 5)

    assert turn.next_step(NOW + 5 + RULES.settle_s, Link.OPEN) is Step.COMMIT
    assert turn.answer == ["Un momento.", "Listo."]


def test_whether_more_may_follow_an_answer_is_known() -> None:
    assert settling().completes_by_silence
    assert not complete().completes_by_silence
    assert not unsaid().completes_by_silence
