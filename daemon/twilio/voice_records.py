"""Twilio's answers about calls, rooms and recordings, read. Pure."""

from datetime import datetime
from typing import Any, Final

from actors.live_call.telephony import (
    DialledLeg,
    DialRefused,
    DialUnknown,
    LegStatus,
    MadeRecording,
    NoRecording,
    OpenRoom,
    Participant,
    ParticipantStatus,
    Recording,
    RoomStatus,
)
from actors.ports import VendorRefusedError, VendorUnavailableError
from daemon.twilio.problems import Problem
from daemon.twilio.transport import File

# What answers in Twilio's place, as a proxy does, says so in one of these.
_NO_SOUND: Final = frozenset({"application/json", "application/problem+json", "application/xml"})


def verdict(problem: Problem) -> DialRefused | DialUnknown:
    """What an error answer to a dial means.

    Unlike a message, which waits until the operator has mended wrong credentials, a call with a person on the line is
    refused by them: the caller is told at once.
    """
    if problem.is_inside_twilio:
        return DialUnknown(detail=str(problem))
    return DialRefused(code=problem.code, detail=problem.detail)


def read_recording(file: File) -> Recording | NoRecording:
    """Raises `VendorUnavailableError`, `VendorRefusedError`."""
    if file.status in {404, 410}:
        return NoRecording.NOT_THERE
    if file.status != 200:
        problem = f"the recording could not be read: HTTP {file.status}"
        if 400 <= file.status < 500 and file.status not in {408, 429}:
            raise VendorRefusedError(problem, status=file.status)
        raise VendorUnavailableError(problem)
    if file.content is None:
        return NoRecording.TOO_LARGE
    content_type = file.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type.startswith("text/") or content_type in _NO_SOUND:
        raise VendorUnavailableError("the recording could not be read: the answer is no sound")
    return Recording(audio=file.content, content_type=content_type)


def read_made_recording(record: Any) -> MadeRecording | None:
    """None for one that holds nothing, or that no document asked for: an account may record every call."""
    if record.source != "RecordVerb" or record.status in {"absent", "failed", "deleted"}:
        return None
    duration = str(record.duration or "")
    return MadeRecording(sid=record.sid, duration_s=int(duration) if duration.isdecimal() else 0)


def read_leg_status(text: object) -> LegStatus:
    """Raises `VendorUnavailableError` for a status that is not known here: it may be another one next time."""
    try:
        return LegStatus(text)
    except ValueError:
        raise VendorUnavailableError("a leg has a status that is not known") from None


def read_leg(record: Any, number: str, undated: datetime) -> DialledLeg:
    return DialledLeg(
        sid=record.sid,
        status=read_leg_status(record.status),
        number=number,
        created_at=record.date_created or undated,
    )


def read_room(record: Any) -> OpenRoom | None:
    """None for a room that is over."""
    status = next((status for status in RoomStatus if status.value == record.status), None)
    if status is None:
        return None
    return OpenRoom(sid=record.sid, name=record.friendly_name or "", status=status)


def read_participant(record: Any) -> Participant:
    known = {status.value: status for status in ParticipantStatus}
    return Participant(
        call_sid=record.call_sid,
        label=record.label or "",
        hold=bool(record.hold),
        status=known.get(record.status, ParticipantStatus.OTHER),
    )
