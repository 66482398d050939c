"""What may not be read in a log: phone numbers, secrets, and what people wrote; and that ids stay whole."""

import string
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from typing_extensions import override

from daemon.masking import mask, mask_number_of, mask_numbers, mask_phone, redact_secrets

# Country code, national number: every length that ITU-T E.164 knows in practice.
NUMBERS = st.tuples(
    st.sampled_from(["1", "34", "44", "51", "52", "54", "55", "56", "57", "506", "591", "593"]),
    st.text("0123456789", min_size=8, max_size=11),
)
AROUND = st.text(string.ascii_letters + " ,;:()\"'=&áñ¿\n", max_size=20)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("+573001239155", "+57•••9155"),
        ("+14155550123", "+1•••0123"),
        ("+50688887777", "+506•••7777"),
        ("whatsapp:+5215512345678", "whatsapp:+52•••5678"),
        ("To=whatsapp%3A%2B573001239155&Body", "To=whatsapp%3A%2B57•••9155&Body"),
        ("no answer from +57 300 123-9155.", "no answer from +57•••9155."),
        ("+1 (415) 555-0123", "+1•••0123"),
        ("+573001239155, +573009998877", "+57•••9155, +57•••8877"),
        ("+573001239155 2026-11-20", "+57•••9155 2026-11-20"),
        ("573001239155", "•••9155"),
        ("person 3001239155 called", "person •••9155 called"),
        ("/conversations/573001239155", "/conversations/•••9155"),
        ("'from': 573001239155", "'from': •••9155"),
        ("+2901234", "+•••1234"),
    ],
)
def test_a_phone_number_keeps_its_country_code_and_last_four_digits(text: str, masked: str) -> None:
    assert mask_phone(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "CA0123456789abcdef0123456789abcdef",
        "SM12345678901234567890123456789012",
        "conv_3001239155573001239155abcdef00",
        "conv_573001239155",
        "btcal_01jx5730012391550000",
        "550e8400-e29b-41d4-a716-446655440000",
        "12345678-1234-1234-1234-123456789012",
        "2026-11-20T19:22:28.949214+00:00",
        "2026-11-20 19:22:28 +0000",
        "Fri, 20 Nov 2026 19:22:28 +0200",
        "1763661234",
        "1763661234567",
        "1763661234.949214",
        "127.0.0.1:40123",
        "192.168.100.100",
        "63016",
        "8388608 bytes",
        "v1.10.20260102",
        "0.123456789012",
        "",
    ],
)
def test_ids_times_and_sizes_stay_whole(text: str) -> None:
    assert mask_phone(text) == text


@given(NUMBERS, AROUND, AROUND, st.sampled_from(["+", "whatsapp:+", "%2B", "tel:+"]))
def test_a_number_with_a_plus_is_found_anywhere(
    number: tuple[str, str], before: str, after: str, plus: str
) -> None:
    code, national = number
    masked = mask_phone(f"{before}{plus}{code}{national}{after}")
    assert masked.startswith(before + plus)
    assert masked.endswith(national[-4:] + after)
    assert national not in masked


@given(
    NUMBERS,
    st.sampled_from(["", " ", ",", "=", ":", "'", "("]),
    st.sampled_from(["", " ", ",", "'", ")", "&"]),
)
def test_a_number_without_a_plus_is_found_where_it_stands_alone(
    number: tuple[str, str], before: str, after: str
) -> None:
    digits = "".join(number)
    assume(len(digits) >= 10)
    assume(not (digits.startswith("1") and len(digits) in {10, 13}))  # could be a time in s or ms
    assert mask_phone(f"{before}{digits}{after}") == f"{before}•••{digits[-4:]}{after}"


@given(st.text(string.digits + "+-. ()%2Bab:", max_size=60))
def test_masking_twice_changes_nothing(text: str) -> None:
    once = mask_phone(text)
    assert mask_phone(once) == once


@given(
    st.sampled_from(["CA", "SM", "MG", "AC", "conv_", "btcal_", "agent_"]),
    st.text("0123456789abcdef", min_size=26, max_size=32),
)
def test_an_id_of_hex_digits_is_never_taken_for_a_number(prefix: str, digits: str) -> None:
    assert mask_phone(f"got {prefix}{digits}.") == f"got {prefix}{digits}."


@given(st.uuids())
def test_a_uuid_is_never_taken_for_a_number(uuid: UUID) -> None:
    assert mask_phone(f"id={uuid}") == f"id={uuid}"


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_is_never_taken_for_a_number(moment: datetime) -> None:
    assert mask_phone(moment.isoformat()) == moment.isoformat()


SPELLINGS = [
    "+573001239155",
    "573001239155",
    "3001239155",
    "300 123 9155",
    "300-123-91-55",
    "300.123.9155",
    "(300) 123 9155",
    "+57 (300) 123-9155",
    "+57\u00a0300\u00a0123\u00a09155",
    "0057 300 123 9155",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_persons_own_number_is_hidden_in_every_spelling(spelling: str) -> None:
    text = f"mi número es {spelling}, pedido 4500123456 del 2026-05-04, otro 3115550000"
    shown = mask_number_of("+573001239155", text)
    assert shown == "mi número es •••9155, pedido 4500123456 del 2026-05-04, otro 3115550000"


@pytest.mark.parametrize("number", [None, "", "12345", "user.abc"])
def test_without_a_number_of_their_own_nothing_is_hidden(number: str | None) -> None:
    assert mask_number_of(number, "mi número es 300 123 9155") == "mi número es 300 123 9155"


@pytest.mark.parametrize("number", ["+525512345678", "+5215512345678"])
def test_variants_of_a_number_are_the_same_number(number: str) -> None:
    assert mask_number_of(number, "+52 1 55 1234 5678 / 5512345678") == "•••5678 / •••5678"


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_anything_like_a_number_is_hidden_from_a_note(spelling: str) -> None:
    shown = mask_numbers(f"llamar al {spelling}.")
    assert shown.endswith("•••9155.")
    assert "123" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-04",
        "el 04/05/2026 a las 12:30:00",
        "2026-05-04T12:00:00+00:00",
        "2026-05-04 12:00:00",
        "$ 1.250.000",
        "12,500,000 pesos",
        "conv_573001239155",
        "HX12345678901234567890",
        "550e8400-e29b-41d4-a716-446655440000",
        "63016",
        "",
    ],
)
def test_dates_amounts_and_ids_stay_in_a_note(text: str) -> None:
    assert mask_numbers(text) == text


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer [redacted]"),
        (
            "wss://x/y?agent_id=a&conversation_signature=cvtkn_1&z=2",
            "wss://x/y?agent_id=a&conversation_signature=[redacted]&z=2",
        ),
        ("postgresql://relevo:hunter2@db/relevo", "postgresql://relevo:[redacted]@db/relevo"),
        ("invalid signature: header missing", "invalid signature: header missing"),
    ],
)
def test_secrets_inside_a_text_are_hidden(text: str, redacted: str) -> None:
    assert redact_secrets(text) == redacted


@pytest.mark.parametrize(
    "key",
    [
        "token",
        "auth_token",
        "authToken",
        "TWILIO_AUTH_TOKEN",
        "X-Twilio-Signature",
        "xi-api-key",
        "api_key",
        "apiKey",
        "Authorization",
        "password",
        "webhook_secret",
        "Set-Cookie",
        "signed_url",
    ],
)
@given(value=st.text(min_size=1) | st.integers() | st.lists(st.text()))
def test_the_value_of_a_secret_key_is_replaced(key: str, value: object) -> None:
    assert mask({key: value}) == {key: "[redacted]"}


@pytest.mark.parametrize(
    "key", ["body", "Body", "text", "content", "transcript", "message_body", "agentText"]
)
def test_what_people_wrote_is_dropped_unless_asked_for(key: str) -> None:
    assert mask({key: "hola, ¿qué tal?"}) == {key: "[15 characters]"}
    assert mask({key: ["hola"]}) == {key: "[dropped]"}
    assert mask({key: "hola"}, texts=True) == {key: "hola"}


@pytest.mark.parametrize("key", ["content_type", "context", "body_bytes", "message_sid", "texture", "reason"])
def test_other_keys_keep_their_values(key: str) -> None:
    assert mask({key: "text/xml"}) == {key: "text/xml"}


def test_numbers_under_a_phone_key_are_masked_in_any_form() -> None:
    assert mask({"phone": 573001239155, "caller": "300 123 91 55"}) == {
        "phone": "•••9155",
        "caller": "•••9155",
    }


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text("abc +-"),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["a", "port", "code", "size_bytes"]), inner)
        ),
        max_leaves=20,
    )
)
def test_what_holds_nothing_private_is_unchanged(value: object) -> None:
    flat = mask(value)
    assert flat == value or "[too deep]" in repr(flat)


@attrs.frozen
class _Message:
    address: str
    text: str
    token: str = attrs.field(default="t", repr=False)


class _Opaque:
    @override
    def __repr__(self) -> str:
        return "<Opaque for +573001239155>"


def test_objects_are_masked_by_their_fields_or_their_repr() -> None:
    masked = mask(
        {
            "message": _Message("+573001239155", "hola"),
            "error": ValueError("+573001239155 is unknown"),
            "opaque": (_Opaque(), b"+573001239155"),
            "by_number": {"+573001239155": 1},
            "path": Path("/var/lib/relevo"),
            "at": datetime(2026, 11, 20, tzinfo=UTC),
            "not_finite": float("nan"),
        }
    )
    assert masked == {
        "message": {"address": "+57•••9155", "text": "[4 characters]"},
        "error": "ValueError('+57•••9155 is unknown')",
        "opaque": ["<Opaque for +57•••9155>", "b'+57•••9155'"],
        "by_number": {"+57•••9155": 1},
        "path": "/var/lib/relevo",
        "at": "2026-11-20 00:00:00+00:00",
        "not_finite": "nan",
    }


def test_a_value_that_holds_itself_ends() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert "[too deep]" in repr(mask(loop))
