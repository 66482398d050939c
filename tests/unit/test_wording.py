"""Openings: one message each, whatever a call left behind."""

from datetime import UTC, datetime

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from actors.alerts import Alerts
from actors.calls import CallOutcome
from actors.conversation.splitting import length
from actors.conversation.texts import Texts
from actors.conversation.wording import MESSAGE_MAX, Wording
from actors.messages import Purpose
from actors.ports import KnownCall, Opening, PersonContext
from daemon.clock import SystemClock
from daemon.settings import FollowUpSettings, Settings

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SETTINGS = Settings(follow_up=FollowUpSettings(voicemail="Le dejamos un mensaje, {{ name }}."))


def talk(summary: str, outcome: CallOutcome = CallOutcome.COMPLETED) -> tuple[PersonContext, KnownCall]:
    call = KnownCall(
        id="conv_1",
        agent_id="agent_voice",
        outcome=outcome,
        started_at=NOW,
        duration_s=60,
        summary=summary,
        collected={},
        variables={"name": "Ana"},
        transcript_excerpt="",
    )
    context = PersonContext(
        person_id=1,
        conversation_id=1,
        agent_id="agent_text",
        pseudonym="p",
        name="Ana",
        address="+573001234567",
        window_opened_at=None,
        calls=[call],
        messages=[],
    )
    return context, call


def opening(summary: str, *, outcome: CallOutcome = CallOutcome.COMPLETED) -> Opening | None:
    wording = Wording(Texts(SETTINGS.text_sources), {Purpose.OPENING: "HX1"}, Alerts(SystemClock()))
    return wording.opening(*talk(summary, outcome), "+573001234567")


@given(st.text(max_size=4000))
def test_an_opening_always_fits_one_message(summary: str) -> None:
    written = opening(summary)

    assert written is not None
    assert 0 < length(written.text) <= MESSAGE_MAX


def test_a_long_summary_is_cut_and_the_rest_of_the_text_is_not() -> None:
    written = opening("Habló de todo un poco. " * 100)

    assert written is not None
    assert "Habló de todo un poco." in written.text
    assert written.text.endswith("¿Continuamos por aquí?")


@pytest.mark.parametrize(("outcome", "sid"), [(CallOutcome.COMPLETED, "HX1"), (CallOutcome.VOICEMAIL, None)])
def test_the_template_of_a_talk_stands_for_no_other_outcome(outcome: CallOutcome, sid: str | None) -> None:
    written = opening("Hablaron.", outcome=outcome)

    assert written is not None
    assert (written.template.sid if written.template else None) == sid


def test_the_alert_about_a_text_stands_until_the_text_can_be_made_again() -> None:
    sources = evolve(SETTINGS.text_sources, opening="{{ variables.product.name }}")
    alerts = Alerts(SystemClock())
    failing, whole = (Wording(Texts(texts), {}, alerts) for texts in (sources, SETTINGS.text_sources))
    assert failing.opening(*talk("el plan"), "+573001234567") is None
    assert [alert.key for alert in alerts.standing] == ["text_completed"]

    assert whole.opening(*talk("el plan"), "+573001234567") is not None
    assert alerts.standing == []
