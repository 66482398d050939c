"""What a number and a TwiML App at Twilio must be set to."""

import textwrap
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.twilio.account_settings import (
    FALLBACK_TWIML,
    Difference,
    Resource,
    application_differences,
    number_differences,
)

PUBLIC = "https://relevo.empresa.com"
BIN = "https://handler.twilio.com/twiml/EH0123"
GOOD = {
    "voice_url": f"{PUBLIC}/voice/incoming",
    "voice_method": "POST",
    "status_callback": f"{PUBLIC}/voice/status",
    "status_callback_method": "POST",
    "voice_application_sid": None,
    "trunk_sid": None,
    "voice_fallback_url": BIN,
}


def number(**changes: Any) -> dict[str, Difference]:
    resource = Resource(sid="PN1", settings={**GOOD, **changes})
    return {one.path[0]: one for one in number_differences(resource, public_url=PUBLIC)}


def test_a_number_that_is_set_leaves_nothing_to_say() -> None:
    assert number() == {}
    # What Twilio leaves out has Twilio's default.
    assert number(voice_method=None, status_callback_method=None, voice_application_sid="") == {}


@pytest.mark.parametrize(
    ("setting", "value", "wants", "is_vital", "is_taken_over"),
    [
        ("voice_url", None, f"{PUBLIC}/voice/incoming", True, False),
        ("voice_url", "", f"{PUBLIC}/voice/incoming", True, False),
        ("voice_url", "https://demo.twilio.com/welcome/voice/", f"{PUBLIC}/voice/incoming", True, False),
        ("voice_url", f"{PUBLIC}/voice", f"{PUBLIC}/voice/incoming", True, False),
        ("voice_url", "https://central.empresa.com/voz", f"{PUBLIC}/voice/incoming", True, True),
        ("voice_url", "https://[", f"{PUBLIC}/voice/incoming", True, True),
        ("voice_method", "GET", "POST", True, False),
        ("status_callback", None, f"{PUBLIC}/voice/status", False, False),
        ("status_callback", "https://central.empresa.com/fin", f"{PUBLIC}/voice/status", False, True),
        ("status_callback_method", "GET", "POST", False, False),
        ("voice_application_sid", "AP1", "", True, True),
    ],
)
def test_what_keeps_calls_away_is_named(
    setting: str, value: str | None, wants: str, *, is_vital: bool, is_taken_over: bool
) -> None:
    found = number(**{setting: value})

    assert set(found) == {setting}
    difference = found[setting]
    assert (difference.wants, difference.is_vital) == (wants, is_vital)
    assert (difference.is_taken_over, difference.is_by_hand) == (is_taken_over, False)
    assert difference.why


@pytest.mark.parametrize("url", [None, "", f"{PUBLIC}/voice/incoming", "HTTPS://RELEVO.empresa.com/x"])
def test_a_fallback_must_not_be_this_daemon(url: str | None) -> None:
    found = number(voice_fallback_url=url)

    assert set(found) == {"voice_fallback_url"}
    assert found["voice_fallback_url"].is_by_hand
    assert not found["voice_fallback_url"].is_vital


def test_a_trunk_is_for_the_operator_to_leave() -> None:
    found = number(trunk_sid="TK1")
    assert (set(found), found["trunk_sid"].is_by_hand, found["trunk_sid"].is_vital) == (
        {"trunk_sid"},
        True,
        True,
    )


def test_an_app_must_lead_to_the_agent() -> None:
    def app(**settings: Any) -> set[str]:
        found = application_differences(Resource(sid="AP1", settings=settings), public_url=PUBLIC)
        return {one.path[0] for one in found}

    assert app(voice_url=f"{PUBLIC}/voice/agent", voice_method="POST") == set()
    assert app(voice_url=None, voice_method="GET") == {"voice_url", "voice_method"}


VALUES = st.none() | st.sampled_from(
    ["", "GET", "POST", "https://otro.com/x", f"{PUBLIC}/voice/incoming", "AP1"]
)


@given(st.fixed_dictionaries(dict.fromkeys(GOOD, VALUES)))
def test_what_is_written_leaves_only_the_operators_part(settings: dict[str, Any]) -> None:
    found = number_differences(Resource(sid="PN1", settings=settings), public_url=PUBLIC)
    written = {**settings, **{one.path[0]: one.wants for one in found if not one.is_by_hand}}
    again = number_differences(Resource(sid="PN1", settings=written), public_url=PUBLIC)
    assert all(one.is_by_hand for one in again)


def test_the_fallback_is_a_document_that_speaks_and_hangs_up() -> None:
    response = ET.fromstring(FALLBACK_TWIML)
    assert (response.tag, [verb.tag for verb in response]) == ("Response", ["Say", "Hangup"])
    assert response[0].attrib["language"] == "es-MX"
    assert (response[0].text or "").startswith("En este momento")


def test_the_docs_have_the_same_document() -> None:
    page = (Path(__file__).parents[2] / "docs" / "live-call.md").read_text(encoding="utf-8")
    assert textwrap.indent(FALLBACK_TWIML, "   ") in page
