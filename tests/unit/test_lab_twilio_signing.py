"""The signature of the simulated Twilio, held against the vendor's own validator."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from daemon.lab.twilio.signing import signature

TOKEN = "12345"
CALL_URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
WHATSAPP_FIELDS = [
    ("SmsMessageSid", "SM00000000000000000000000000000001"),
    ("NumMedia", "0"),
    ("ProfileName", "Zoë"),
    ("MessageType", "text"),
    ("SmsSid", "SM00000000000000000000000000000001"),
    ("WaId", "5215512345678"),
    ("SmsStatus", "received"),
    ("Body", "Hola, ¿cómo estás?"),
    ("To", "whatsapp:+14155238886"),
    ("NumSegments", "1"),
    ("ReferralNumMedia", "0"),
    ("MessageSid", "SM00000000000000000000000000000001"),
    ("AccountSid", "AC" + "0" * 32),
    ("From", "whatsapp:+5215512345678"),
    ("ApiVersion", "2010-04-01"),
]

VECTORS = [
    pytest.param(
        CALL_URL,
        [
            ("CallSid", "CA1234567890ABCDE"),
            ("Digits", "1234"),
            ("From", "+14158675309"),
            ("To", "+18005551212"),
            ("Caller", "+14158675309"),
        ],
        "RSOYDt4T1cUTdK1PDd93/VVr8B8=",
        id="form",
    ),
    pytest.param(
        CALL_URL,
        [
            ("Sid", "CA123"),
            ("SidAccount", "AC123"),
            ("Digits", "5678"),
            ("Digits", "1234"),
            ("Digits", "1234"),
        ],
        "IK+Dwps556ElfBT0I3Rgjkr1wJU=",
        id="repeated names",
    ),
    pytest.param(
        f"{CALL_URL}&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620",
        [],
        "a9nBmqA0ju/hNViExpshrM61xv4=",
        id="JSON body",
    ),
    pytest.param("wss://api.tuempresa.com/media", [], "Zxmdm6Xdy9IpkfFZtI7U5c0JnPo=", id="socket"),
    pytest.param(
        "https://api.tuempresa.com/api/webhook/twilio/incoming",
        WHATSAPP_FIELDS,
        "pDm04jNKjMNkvcLl+7guOAwYBHg=",
        id="WhatsApp",
    ),
]


@pytest.mark.parametrize(("url", "params", "expected"), VECTORS)
def test_a_known_request_has_its_known_signature(
    url: str, params: list[tuple[str, str]], expected: str
) -> None:
    assert signature(TOKEN, url, params) == expected


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=20), max_size=6))
def test_the_vendors_validator_accepts_any_form(params: dict[str, str]) -> None:
    signed = signature(TOKEN, CALL_URL, params.items())

    assert RequestValidator(TOKEN).validate(CALL_URL, params, signed)


def test_a_blank_value_counts_with_its_name() -> None:
    assert signature(TOKEN, CALL_URL, [("FromCity", "")]) != signature(TOKEN, CALL_URL)
