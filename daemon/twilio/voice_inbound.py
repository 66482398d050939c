"""Twilio's voice webhooks, read. Pure.

Fields as in the Twilio docs: voice/twiml (every request), voice/api/call-resource (statuses), voice/twiml/conference
(events), voice/twiml/gather, voice/twiml/record. `query` holds the values of the URL's query, see
`actors.live_call.paths`. Each function raises `BadFieldError` for an identifier, a number or a name that is not what
Twilio sends. A number of a person that cannot be read is a withheld one, so that nobody's call fails for it.
"""

import re
from collections.abc import Mapping
from enum import Enum
from typing import Final, TypeVar

from actors.conversation.identity import canonical_number
from actors.live_call.paths import CALL_KEY, LEG_KEY
from actors.live_call.reports import (
    AfterReport,
    AgentCall,
    IncomingCall,
    KeysReport,
    LegReport,
    RecordingReport,
    RecordingStatus,
    RecordReport,
    RoomEvent,
    RoomReport,
)
from actors.live_call.telephony import LegStatus
from actors.messages import BadFieldError

Fields = Mapping[str, str]

_SID: Final = re.compile(r"[A-Z]{2}[0-9a-fA-F]{32}")
_NUMBER: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_WORD: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKEN: Final = re.compile(r"[\x21-\x7e]{0,500}")
_ROOM: Final = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
_LABEL: Final = re.compile(r"[^\x00-\x1f\x7f/]{0,128}")
_KEYS: Final = re.compile(r"[0-9*#A-D]{0,32}")
_HUNG_UP: Final = "hangup"

_ID_MAX: Final = 2**63 - 1
_COUNT_MAX: Final = 2**31 - 1

_Named = TypeVar("_Named", bound=Enum)


def read_incoming_call(form: Fields) -> IncomingCall:
    dialled = form.get("To", "")
    return IncomingCall(
        call_sid=_sid(form, "CallSid", "CA"),
        caller=canonical_number(form.get("From", "")),
        dialled=dialled if _NUMBER.fullmatch(dialled) else None,
    )


def read_agent_call(form: Fields) -> AgentCall:
    """The parameters of the `app:` address come back as fields of the form (Twilio docs:
    voice/api/conference-participant-resource, custom parameters).
    """
    return AgentCall(
        call_sid=_sid(form, "CallSid", "CA"),
        token=_matching(form, "token", _TOKEN, "not a token"),
        live_call_id=_whole(form, CALL_KEY, most=_ID_MAX),
    )


def read_leg_report(form: Fields, query: Fields) -> LegReport:
    return LegReport(
        call_sid=_sid(form, "CallSid", "CA"),
        status=_status(form, "CallStatus"),
        sequence=_whole(form, "SequenceNumber"),
        live_call_id=_whole(query, CALL_KEY, most=_ID_MAX),
        leg=_whole(query, LEG_KEY),
    )


def read_room_report(form: Fields, query: Fields) -> RoomReport:
    return RoomReport(
        room=_matching(form, "FriendlyName", _ROOM, "not a name"),
        event=_named(form, "StatusCallbackEvent", RoomEvent),
        call_sid=_sid(form, "CallSid", "CA") if form.get("CallSid") else None,
        label=_matching(form, "ParticipantLabel", _LABEL, "not a label"),
        reason_left=_word(form, "ReasonParticipantLeft"),
        live_call_id=_whole(query, CALL_KEY, most=_ID_MAX),
    )


def read_keys(form: Fields, query: Fields) -> KeysReport:
    return KeysReport(
        call_sid=_sid(form, "CallSid", "CA"),
        keys=_matching(form, "Digits", _KEYS, "not keys"),
        live_call_id=_whole(query, CALL_KEY, most=_ID_MAX),
        leg=_whole(query, LEG_KEY),
    )


def read_after(form: Fields, query: Fields) -> AfterReport:
    return AfterReport(
        call_sid=_sid(form, "CallSid", "CA"),
        call_status=_status(form, "CallStatus", is_needed=False),
        live_call_id=_whole(query, CALL_KEY, most=_ID_MAX),
        leg=_whole(query, LEG_KEY),
    )


def read_recording_report(form: Fields, query: Fields) -> RecordingReport:
    return RecordingReport(
        call_sid=_sid(form, "CallSid", "CA"),
        recording_sid=_sid(form, "RecordingSid", "RE"),
        status=_named(form, "RecordingStatus", RecordingStatus),
        duration_s=_seconds(form, "RecordingDuration"),
        live_call_id=_whole(query, CALL_KEY, most=_ID_MAX),
    )


def read_record_report(form: Fields, query: Fields) -> RecordReport:
    keys = form.get("Digits", "")
    if keys != _HUNG_UP:
        _matching(form, "Digits", _KEYS, "not keys")
    return RecordReport(
        call_sid=_sid(form, "CallSid", "CA"),
        recording_sid=_sid(form, "RecordingSid", "RE") if form.get("RecordingSid") else None,
        duration_s=_seconds(form, "RecordingDuration"),
        has_hung_up=keys == _HUNG_UP,
        live_call_id=_whole(query, CALL_KEY, most=_ID_MAX),
    )


def _sid(form: Fields, name: str, prefix: str) -> str:
    sid = form.get(name, "")
    if not sid.startswith(prefix) or not _SID.fullmatch(sid):
        raise BadFieldError(name, f"not a SID of {prefix}" if sid else "missing")
    return sid


def _status(form: Fields, name: str, *, is_needed: bool = True) -> LegStatus | None:
    return _named(form, name, LegStatus, is_needed=is_needed)


def _named(form: Fields, name: str, kind: type[_Named], *, is_needed: bool = True) -> _Named | None:
    """None for a word that Twilio has invented since, and for a missing one that is not needed."""
    word = _word(form, name)
    if word is None and is_needed:
        raise BadFieldError(name, "missing")
    return next((member for member in kind if member.value == word), None)


def _word(form: Fields, name: str) -> str | None:
    text = form.get(name, "")
    return _matching(form, name, _WORD, "not a word") if text else None


def _matching(form: Fields, name: str, pattern: re.Pattern[str], problem: str) -> str:
    """The field as it came, empty for a missing one where the pattern allows it."""
    text = form.get(name, "")
    if not pattern.fullmatch(text):
        raise BadFieldError(name, problem if text else "missing")
    return text


def _whole(form: Fields, name: str, *, most: int = _COUNT_MAX) -> int | None:
    """A whole number from zero, None when it is missing or blank."""
    text = form.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > most:
        raise BadFieldError(name, "not a whole number")
    return int(text)


def _seconds(form: Fields, name: str) -> int | None:
    """As `_whole`; a length of -1, which is none, must not cost the report of a recording."""
    return None if form.get(name) == "-1" else _whole(form, name)
