"""What the voice agent is told of who calls, and who goes on in WhatsApp of what happened."""

import re
from datetime import UTC, datetime, timedelta

from attrs import asdict, evolve

from actors.calls import CallOutcome
from actors.live_call.ports import CallerHistory, LiveCall
from actors.live_call.session_plan import note_of, session_plan
from actors.live_call.state import Attempt, CallState, Missed, Mode, Opening
from actors.live_call.wording import CallFacts, Words
from actors.ports import KnownCall, TimelineMessage
from daemon.settings import Settings

NOW = datetime(2026, 11, 28, 15, 0, tzinfo=UTC)
WORDS = Words(Settings().word_sources)
CALL = LiveCall(
    id=7,
    call_sid="CA" + "1" * 32,
    caller="+525512345678",
    called="+525550000000",
    started_at=NOW,
    state=CallState(mode=Mode.CONFERENCE),
)
HISTORY = CallerHistory(
    pseudonym="p-1",
    name="Ana",
    calls=[
        KnownCall(
            id="conv_1",
            agent_id="agent_voice",
            outcome=CallOutcome.COMPLETED,
            started_at=NOW - timedelta(days=2),
            duration_s=60,
            summary="Pidió una cotización del plan anual.",
            collected={"intent": "cotización"},
            variables={"product": "Plan anual"},
            transcript_excerpt="",
        )
    ],
    messages=[TimelineMessage(direction="inbound", text="¿Ya está mi cotización?", at=NOW)],
)


def test_a_caller_whom_we_know_is_no_stranger_to_the_agent() -> None:
    plan = session_plan(CALL, HISTORY, Opening.FIRST, WORDS, agent_id="agent_voice", now=NOW)
    assert plan.speaks
    assert plan.first_message is None, "it greets as it is set up"
    assert plan.user_id == "p-1"
    assert plan.dynamic_variables["customer_name"] == "Ana"
    assert plan.dynamic_variables["call_summary"] == "Pidió una cotización del plan anual."
    assert plan.dynamic_variables["caller_digits"] == "5678"
    assert "¿Ya está mi cotización?" in plan.context


def test_a_stranger_has_a_pseudonym_too() -> None:
    call = evolve(CALL, caller=None)
    plan = session_plan(call, None, Opening.FIRST, WORDS, agent_id="agent_voice", now=NOW)
    assert plan.user_id == "caller-7"
    assert "525512345678" not in repr(plan)


def test_a_session_that_follows_another_says_why() -> None:
    missed = Attempt(advisor="Jesús", missed=Missed.BUSY)
    state = CallState(mode=Mode.DIRECT, attempts=(missed,), sessions=("conv_1",))
    call = evolve(CALL, state=state)
    plan = session_plan(call, HISTORY, Opening.AFTER_MISSED, WORDS, agent_id="agent_voice", now=NOW)
    assert plan.first_message is not None
    assert plan.first_message.startswith("Jesús tiene la línea ocupada")


def test_where_the_agent_allows_no_first_message_none_is_sent() -> None:
    call = evolve(CALL, state=CallState(mode=Mode.DIRECT, sessions=("conv_1",), is_plain=True))
    plan = session_plan(call, HISTORY, Opening.RESUMED, WORDS, agent_id="agent_voice", now=NOW)
    assert plan.first_message is None
    assert WORDS.say("back_after_loss") in plan.context


def test_the_note_tells_who_was_reached_and_who_was_not() -> None:
    attempts = (
        Attempt(advisor="Jesús", missed=Missed.NO_ANSWER),
        Attempt(advisor="", missed=Missed.UNAVAILABLE),
        Attempt(advisor="Laura", missed=None),
    )
    note = note_of(CallState(mode=Mode.CONFERENCE, attempts=attempts), WORDS)
    assert "Jesús" in note
    assert "habló con Laura" in note
    assert note_of(CallState(mode=Mode.CONFERENCE), WORDS) == ""


def test_the_words_of_an_advisor_fit_a_woman_and_a_man() -> None:
    facts = [CallFacts(advisor="Laura", missed=missed.value) for missed in Missed]
    said = " ".join(WORDS.say(name, each) for name in asdict(Settings().voice_texts) for each in facts)
    assert "Laura" in said
    assert not re.search(r"\b(el|al|del|la) asesora? Laura|\bEl asesor|\bocupado\b", said)
