"""The post-call webhook: who speaks, and what they say."""

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.calls import CallDetails, CallOutcome, CallSighting, SeenCall
from actors.messages import BadFieldError
from daemon.elevenlabs.webhook import TOLERANCE_S, SignatureCheck, check_signature, read_call_news
from tests.unit.test_elevenlabs_mapping import conversation
from tests.unit.test_elevenlabs_wire import JSON

SECRET = "wsec_test"
NOW = datetime.fromtimestamp(1_760_000_100, UTC)
BODY = '{"type":"post_call_transcription","ñ":1}'.encode()


def digest(at: datetime, body: bytes = BODY, secret: str = SECRET) -> str:
    signed = f"{int(at.timestamp())}.".encode() + body
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def header(at: datetime, *digests: str) -> str:
    return ",".join([f"t={int(at.timestamp())}", *(f"v0={value}" for value in digests)])


def checked(value: str | None, body: bytes = BODY) -> SignatureCheck:
    return check_signature(value, body, secret=SECRET, now=NOW)


def one_byte_changed(sent: bytes, place: int, step: int) -> bytes:
    place %= len(sent)
    return sent[:place] + bytes([(sent[place] + step) % 256]) + sent[place + 1 :]


# --- Signature ------------------------------------------------------------------------------------------


def test_a_good_signature_is_good() -> None:
    assert checked(header(NOW, digest(NOW))) is SignatureCheck.GOOD


def test_one_of_several_signatures_suffices_in_any_order_and_spacing() -> None:
    old = digest(NOW, secret="wsec_old")

    assert checked(header(NOW, old, digest(NOW))) is SignatureCheck.GOOD
    assert checked(f" v0={digest(NOW)} , t={int(NOW.timestamp())}, v1=x") is SignatureCheck.GOOD


@pytest.mark.parametrize("minutes", [-29, 29])
def test_half_an_hour_is_tolerated_in_either_direction(minutes: int) -> None:
    at = NOW + timedelta(minutes=minutes)

    assert checked(header(at, digest(at))) is SignatureCheck.GOOD


@pytest.mark.parametrize("minutes", [-31, 31])
def test_more_than_half_an_hour_is_stale(minutes: int) -> None:
    at = NOW + timedelta(minutes=minutes)

    assert checked(header(at, digest(at))) is SignatureCheck.STALE


@pytest.mark.parametrize(
    "value", [digest(NOW, body=BODY + b" "), digest(NOW, secret="other"), digest(NOW).upper(), "ñ", "0"]
)
def test_any_other_signature_is_wrong(value: str) -> None:
    assert checked(header(NOW, value)) is SignatureCheck.WRONG


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "t=1760000100",
        f"v0={digest(NOW)}",
        f"t=,v0={digest(NOW)}",
        f"t=now,v0={digest(NOW)}",
        f"t=²,v0={digest(NOW)}",
        f"t=1760000100,t=1760000100,v0={digest(NOW)}",
        f"t={'9' * 5000},v0={digest(NOW)}",
        "t=1760000100,v0=",
    ],
)
def test_what_cannot_be_read_counts_as_missing(value: str | None) -> None:
    assert checked(value) is SignatureCheck.MISSING


@given(st.text(), st.binary())
def test_no_header_makes_the_check_raise(value: str, body: bytes) -> None:
    assert checked(value, body) is not SignatureCheck.GOOD


NAMES_AND_VALUES = st.lists(
    st.tuples(st.sampled_from(["v1", "V0", "", "x", "v0"]), st.text("0123456789abcdef ", max_size=8)),
    max_size=3,
)


@given(
    body=st.binary(),
    age_s=st.integers(-TOLERANCE_S, TOLERANCE_S),
    others=NAMES_AND_VALUES,
    gap=st.sampled_from(["", " ", "\t"]),
    order=st.randoms(use_true_random=False),
)
def test_a_good_signature_is_taken_whatever_stands_beside_it(
    body: bytes, age_s: int, others: list[tuple[str, str]], gap: str, order: Random
) -> None:
    at = NOW - timedelta(seconds=age_s)
    pairs = [("t", str(int(at.timestamp()))), ("v0", digest(at, body)), *others]
    order.shuffle(pairs)
    value = ",".join(f"{gap}{name}={text}{gap}" for name, text in pairs)

    assert checked(value, body) is SignatureCheck.GOOD


@given(
    body=st.binary(min_size=1),
    age_s=st.integers(0, TOLERANCE_S),
    place=st.integers(0, 500),
    step=st.integers(1, 255),
)
def test_one_byte_of_body_time_or_signature_changed_is_refused(
    body: bytes, age_s: int, place: int, step: int
) -> None:
    at = NOW - timedelta(seconds=age_s)
    good, forged = header(at, digest(at, body)), one_byte_changed(body, place, step)
    assert checked(good, body) is SignatureCheck.GOOD

    assert checked(good, forged) is SignatureCheck.WRONG
    altered = one_byte_changed(good.encode(), place, step).decode("latin-1")
    assert checked(altered, body) is not SignatureCheck.GOOD
    assert check_signature(good, body, secret="other", now=NOW) is SignatureCheck.WRONG


@given(
    st.builds(
        "".join,
        st.lists(st.sampled_from(["t=", "v0=", ",", "1760000100", "é", "\udce9", "\0", "==", digest(NOW)])),
    ),
)
def test_no_header_of_almost_right_pieces_makes_the_check_raise(value: str) -> None:
    assert checked(value) in SignatureCheck


# --- News -----------------------------------------------------------------------------------------------


def news(kind: str, data: object) -> CallDetails | SeenCall | None:
    event = {"type": kind, "event_timestamp": 1_760_000_100, "data": data}
    return read_call_news(json.dumps(event).encode())


def failure(reason: str, kind: str = "twilio", **body: Any) -> SeenCall:
    data = {
        "agent_id": "agent_1",
        "conversation_id": "conv_1",
        "failure_reason": reason,
        "metadata": {"type": kind, "body": body},
    }
    seen = news("call_initiation_failure", data)
    assert isinstance(seen, SeenCall)
    return seen


def test_a_transcription_is_the_whole_call() -> None:
    details = news("post_call_transcription", conversation())

    assert isinstance(details, CallDetails)
    assert (details.id, details.phone_number) == ("conv_1", "+573138539155")


def test_a_chat_of_our_own_is_no_call() -> None:
    assert news("post_call_transcription", conversation(metadata={"text_only": True})) is None


@pytest.mark.parametrize("kind", ["post_call_audio", "answering_machine_detection", "a_new_word"])
def test_other_types_are_none_of_our_business(kind: str) -> None:
    assert news(kind, {"anything": 1}) is None
    assert news(kind, None) is None


def test_a_call_that_failed_is_told_with_its_number() -> None:
    assert failure(
        "no-answer", CallSid="CA1", CallStatus="no-answer", To="+573138539155", From="+15550001"
    ) == SeenCall(
        id="conv_1",
        sighting=CallSighting.WEBHOOK,
        agent_id="agent_1",
        phone_number="+573138539155",
        outcome=CallOutcome.NO_ANSWER,
    )


def test_a_sip_call_that_failed_is_told_with_its_number() -> None:
    seen = failure(
        "busy", "sip", from_number="+15550001", to_number="sip:+573138539155@trunk", sip_status_code=486
    )

    assert (seen.phone_number, seen.outcome) == ("+573138539155", CallOutcome.BUSY)


def test_a_call_that_came_in_has_its_person_at_the_other_end() -> None:
    assert (
        failure("unknown", Direction="inbound", From="+573138539155", To="+1555").phone_number
        == "+573138539155"
    )


@pytest.mark.parametrize(
    ("reason", "body", "outcome"),
    [
        ("busy", {}, CallOutcome.BUSY),
        ("no-answer", {}, CallOutcome.NO_ANSWER),
        ("unknown", {}, CallOutcome.FAILED),
        ("unknown", {"CallStatus": "failed"}, CallOutcome.FAILED),
        ("unknown", {"CallStatus": "busy"}, CallOutcome.BUSY),
        ("unknown", {"CallStatus": "canceled"}, CallOutcome.CANCELLED),
        ("unknown", {"sip_status_code": 480}, CallOutcome.NO_ANSWER),
        ("unknown", {"sip_status_code": "486"}, CallOutcome.BUSY),
        ("unknown", {"sip_status_code": 503}, CallOutcome.FAILED),
    ],
)
def test_the_reason_is_the_given_one_or_the_carriers(
    reason: str, body: dict[str, Any], outcome: CallOutcome
) -> None:
    assert failure(reason, **body).outcome is outcome


def test_a_failure_without_a_carriers_words_is_told_all_the_same() -> None:
    assert news("call_initiation_failure", {"conversation_id": "conv_1"}) == SeenCall(
        id="conv_1", sighting=CallSighting.WEBHOOK, outcome=CallOutcome.FAILED
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"\xff\xfe", "body"),
        (b"[" * 100_000, "body"),
        (b"[]", "type"),
        (b'{"type":7}', "type"),
        (b'{"type":"post_call_transcription"}', "data"),
        (b'{"type":"post_call_transcription","data":{}}', "data.status"),
        (b'{"type":"call_initiation_failure","data":[]}', "data"),
        (b'{"type":"call_initiation_failure","data":{}}', "data.conversation_id"),
    ],
)
def test_what_is_missing_is_named(body: bytes, field: str) -> None:
    with pytest.raises(BadFieldError) as caught:
        read_call_news(body)

    assert caught.value.field == field


@given(st.sampled_from(["post_call_transcription", "call_initiation_failure"]), JSON)
def test_no_body_makes_the_reader_raise_anything_else(kind: str, data: Any) -> None:
    try:
        news(kind, data)
    except BadFieldError as error:
        assert error.field  # noqa: PT017
