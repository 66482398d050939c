"""The post-call webhook: is it ElevenLabs who speaks, and what do they say.

Source: ElevenLabs docs "Post-call webhooks", `webhooks_custom.py` of their Python SDK.
"""

import hmac
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any

from actors.calls import CallDetails, CallOutcome, CallSighting, SeenCall
from actors.messages import BadFieldError
from daemon.elevenlabs import mapping
from daemon.elevenlabs.fields import Record, part, required_text, text, whole_number
from daemon.elevenlabs.problems import UnexpectedAnswerError

TOLERANCE_S = 30 * 60


class SignatureCheck(Enum):
    GOOD = "good"
    MISSING = "missing"
    """There is no signature, or none that can be read."""
    STALE = "stale"
    """Its time is more than 30 minutes away from ours, in either direction: a replay, or a wrong clock."""
    WRONG = "wrong"


def check_signature(header: str | None, body: bytes, *, secret: str, now: datetime) -> SignatureCheck:
    """Check an `ElevenLabs-Signature` header: `t=<unix seconds>,v0=<hex>`, where the hex is the HMAC-SHA256
    of `<t>.<raw body>`. With several `v0`, as while secrets rotate, one has to fit.
    """
    pairs = [pair.strip().partition("=") for pair in (header or "").split(",")]
    times = [value for name, _, value in pairs if name == "t" and value.isascii() and value.isdigit()]
    digests = [value for name, _, value in pairs if name == "v0" and value]
    if len(times) != 1 or not digests or len(times[0]) > 12:
        return SignatureCheck.MISSING
    if abs(now.timestamp() - int(times[0])) > TOLERANCE_S:
        return SignatureCheck.STALE
    expected = hmac.new(secret.encode(), times[0].encode() + b"." + body, "sha256").hexdigest().encode()
    fits = [hmac.compare_digest(expected, digest.encode("utf-8", "replace")) for digest in digests]
    return SignatureCheck.GOOD if any(fits) else SignatureCheck.WRONG


def read_call_news(body: bytes) -> CallDetails | SeenCall | None:
    """Read a webhook whose signature is good: a whole call, a call that failed before it began, or None for
    what is neither, chats included.

    Raises:
        BadFieldError: it lacks what its type must have.
    """
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        raise BadFieldError("body", "is no JSON") from None
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise BadFieldError("type", "is missing")
    read, data = _READERS.get(event["type"]), event.get("data")
    if read is None:
        return None
    if not isinstance(data, dict):
        raise BadFieldError("data", "is missing")
    try:
        return read(data)
    except UnexpectedAnswerError as error:
        raise BadFieldError(f"data.{error.field}", "is missing or not usable") from None


_FAILURES = {
    "busy": CallOutcome.BUSY,
    "no-answer": CallOutcome.NO_ANSWER,
    "no_answer": CallOutcome.NO_ANSWER,
    "canceled": CallOutcome.CANCELLED,
}
# RFC 3261: request timeout, temporarily unavailable, busy here, request terminated, busy everywhere, decline.
_SIP_FAILURES = {
    408: CallOutcome.NO_ANSWER,
    480: CallOutcome.NO_ANSWER,
    486: CallOutcome.BUSY,
    487: CallOutcome.NO_ANSWER,
    600: CallOutcome.BUSY,
    603: CallOutcome.BUSY,
}


def _transcription(data: Record) -> CallDetails | None:
    return None if mapping.is_chat(data) else mapping.call_details(data)


def _initiation_failure(data: Record) -> SeenCall:
    body = _carrier_body(data)
    return SeenCall(
        id=required_text(data, "conversation_id"),
        sighting=CallSighting.WEBHOOK,
        agent_id=text(data, "agent_id"),
        phone_number=_other_end(body),
        outcome=_failure(data.get("failure_reason"), body),
    )


_READERS: Mapping[str, Callable[[Record], CallDetails | SeenCall | None]] = {
    "post_call_transcription": _transcription,
    "call_initiation_failure": _initiation_failure,
}


def _carrier_body(data: Record) -> Record:
    """What the carrier said: Twilio's status callback, or SIP's answer."""
    return part(part(data, "metadata"), "body")


def _other_end(body: Record) -> str | None:
    """The person's number. The call was ours, unless Twilio says that it came in."""
    came_in = body.get("Direction") == "inbound"
    for name in ("From" if came_in else "To", "to_number"):
        number = mapping.phone_number(body.get(name))
        if number:
            return number
    return None


def _failure(reason: Any, body: Record) -> CallOutcome:
    """The given reason; `unknown` ones by the carrier's own status."""
    for word in (reason, body.get("CallStatus")):
        if isinstance(word, str) and word in _FAILURES:
            return _FAILURES[word]
    return _SIP_FAILURES.get(whole_number(body.get("sip_status_code")) or 0, CallOutcome.FAILED)
