"""The frames of the agent socket, both ways: JSON text on one side, values on the other.

A call brings 10 to 25 frames of audio a second each way, and every other frame now and then: those of audio are read
and written past JSON where their shape allows.

Shapes are those of the ElevenLabs AsyncAPI of the agent WebSocket; what is known from live captures alone
is optional here. Unknown types and fields are ignored, always: their schemas grow monthly.
"""

import json
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from attrs import frozen

from actors.agent_events import (
    AgentAudio,
    AgentEvent,
    AgentFault,
    AgentInterrupted,
    AgentReplied,
    PartKind,
    PersonSaid,
    ReplyCompleted,
    ReplyCorrected,
    ReplyPart,
    SessionPlan,
    ToolCalled,
    ToolFinished,
    ToolStarted,
)
from daemon.elevenlabs.fields import Record, storable, whole_number
from daemon.elevenlabs.problems import sentence


@frozen
class Ping:
    """To be answered at once by `pong` with the same id."""

    event_id: int


@frozen
class Metadata:
    """The server's first message: the session exists. The audio formats are those of the agent's settings, given in
    text sessions too; empty where they are missing.
    """

    conversation_id: str
    agent_format: str = ""
    person_format: str = ""


Message: TypeAlias = AgentEvent | Ping | Metadata

# --- From the server ----------------------------------------------------------------------------------


def _integer(digits: str) -> int | None:
    """None for more digits than Python reads: no reason to lose what else is in the frame."""
    try:
        return int(digits)
    except ValueError:
        return None


_decode = json.JSONDecoder(parse_int=_integer).decode


def parse(frame: str | bytes) -> Message | None:
    """Read one frame of a text session. None for what is not for us: binary frames, other types, no JSON at all.
    Never raises.

    An event's fields normally stand in an object of their own beside `type`; flat frames
    (`{"type": "agent_response", "message": "…"}`) are understood too.
    """
    return _parse(frame, _SHAPES)


def parse_spoken(frame: str | bytes) -> Message | None:
    """Read one frame of a session that speaks, which brings audio and what belongs to it too."""
    if isinstance(frame, str):
        for head, tail in _PLAIN_AUDIO:
            if frame.startswith(head) and (audio := _plain_audio(frame, len(head), tail)) is not None:
                return audio
    return _parse(frame, _SPOKEN_SHAPES)


def _plain_shapes(space: str) -> Iterator[tuple[str, re.Pattern[str]]]:
    """What stands before the audio and after it where nothing but its id is with it and nothing is escaped."""
    audio, number = (
        f'"audio_event":{space}{{"audio_base_64":{space}"',
        rf'",{space}"event_id":{space}(0|[1-9][0-9]{{0,8}})}}',
    )
    kind = f'"type":{space}"audio"'
    yield f"{{{kind},{space}{audio}", re.compile(f"{number}}}")
    yield f"{{{audio}", re.compile(f"{number},{space}{kind}}}")


_PLAIN_AUDIO: Final = (*_plain_shapes(""), *_plain_shapes(" "))


def _plain_audio(frame: str, begin: int, tail: re.Pattern[str]) -> AgentAudio | None:
    """None for what the whole reader is to look at."""
    end = frame.find('"', begin)
    ended = tail.fullmatch(frame, end) if end >= 0 else None
    if ended is None:
        return None
    try:
        # Strict, so that a character which JSON would have to unescape is none of base64's either.
        payload = a2b_base64(frame[begin:end], strict_mode=True)
    except ValueError:
        return None
    return AgentAudio(payload=payload, event_id=int(ended[1]))


def _parse(frame: str | bytes, shapes: Mapping[str, "_Shape"]) -> Message | None:
    if isinstance(frame, bytes):
        return None
    try:
        message = _decode(frame)
    except (ValueError, RecursionError):
        return None
    kind = message.get("type") if isinstance(message, dict) else None
    shape = shapes.get(kind) if isinstance(kind, str) else None
    if shape is None:
        return None
    payload_name, read = shape
    payload = message.get(payload_name)
    return read(payload if isinstance(payload, dict) else message)


def _metadata(payload: Record) -> Metadata | None:
    conversation_id = payload.get("conversation_id")
    if not isinstance(conversation_id, str) or not conversation_id:
        return None
    return Metadata(
        conversation_id,
        _text(payload, "agent_output_audio_format"),
        _text(payload, "user_input_audio_format"),
    )


def _ping(payload: Record) -> Ping | None:
    event_id = _event_id(payload)
    return None if event_id is None else Ping(event_id)


def _agent_response(payload: Record) -> AgentReplied:
    text = _text(payload, "agent_response", "message", "text")
    return AgentReplied(text=text, event_id=_event_id(payload))


def _part(payload: Record) -> ReplyPart:
    kind = payload.get("type")
    return ReplyPart(
        kind=_PART_KINDS.get(kind, PartKind.DELTA) if isinstance(kind, str) else PartKind.DELTA,
        text=_text(payload, "text"),
        event_id=_event_id(payload),
    )


def _correction(payload: Record) -> ReplyCorrected:
    text = _text(payload, "corrected_agent_response", "message", "text")
    return ReplyCorrected(corrected=text, event_id=_event_id(payload))


def _completed(payload: Record) -> ReplyCompleted:
    return ReplyCompleted(event_id=_event_id(payload))


def _tool_called(payload: Record) -> ToolCalled | None:
    name, call_id = _text(payload, "tool_name"), _text(payload, "tool_call_id")
    if not name or not call_id:
        return None
    parameters = payload.get("parameters")
    return ToolCalled(
        name=name,
        call_id=call_id,
        parameters=parameters if isinstance(parameters, dict) else {},
        # Newer than the AsyncAPI. Without it the official clients answer every call, and a result nobody
        # waits for does no harm.
        expects_response=payload.get("expects_response") is not False,
        event_id=_event_id(payload),
    )


def _tool_started(payload: Record) -> ToolStarted:
    return ToolStarted(
        name=_text(payload, "tool_name"),
        call_id=_text(payload, "tool_call_id"),
        event_id=_event_id(payload),
    )


def _tool_finished(payload: Record) -> ToolFinished:
    return ToolFinished(
        name=_text(payload, "tool_name"),
        call_id=_text(payload, "tool_call_id"),
        # A tool that was blocked or skipped did nothing either.
        is_error=payload.get("is_error") is True or payload.get("is_called") is False,
        event_id=_event_id(payload),
    )


def _fault(payload: Record) -> AgentFault:
    return AgentFault(
        code=whole_number(payload.get("code")) or 0,
        error_type=_text(payload, "error_type") or "unknown",
        # `reason` is the text meant for every client; `message` depends on who asks.
        detail=sentence(_text(payload, "reason", "message")),
    )


def _audio(payload: Record) -> AgentAudio | None:
    encoded = payload.get("audio_base_64")
    if not isinstance(encoded, str):
        return None
    try:
        audio = a2b_base64(encoded, strict_mode=True)
    except ValueError:
        return None
    return AgentAudio(payload=audio, event_id=_event_id(payload))


def _interrupted(payload: Record) -> AgentInterrupted:
    return AgentInterrupted(event_id=_event_id(payload))


def _person_said(payload: Record) -> PersonSaid:
    return PersonSaid(text=_text(payload, "user_transcript", "message", "text"))


_Shape: TypeAlias = tuple[str, Callable[[Record], Message | None]]

_SHAPES: Mapping[str, _Shape] = {
    "conversation_initiation_metadata": ("conversation_initiation_metadata_event", _metadata),
    "ping": ("ping_event", _ping),
    "agent_response": ("agent_response_event", _agent_response),
    "agent_chat_response_part": ("text_response_part", _part),
    "agent_response_correction": ("agent_response_correction_event", _correction),
    "agent_response_complete": ("agent_response_complete_event", _completed),
    "client_tool_call": ("client_tool_call", _tool_called),
    "agent_tool_request": ("agent_tool_request", _tool_started),
    "agent_tool_response": ("agent_tool_response", _tool_finished),
    "agent_tool_response_full_payload": ("agent_tool_response_full_payload", _tool_finished),
    "error": ("error_event", _fault),
}
_SPOKEN_SHAPES: Mapping[str, _Shape] = {
    **_SHAPES,
    "audio": ("audio_event", _audio),
    "interruption": ("interruption_event", _interrupted),
    "user_transcript": ("user_transcription_event", _person_said),
}

_PART_KINDS = {"start": PartKind.START, "delta": PartKind.DELTA, "stop": PartKind.STOP}


def _text(payload: Record, *names: str) -> str:
    for name in names:
        text = payload.get(name)
        if isinstance(text, str):
            return storable(text)
    return ""


def _event_id(payload: Record) -> int | None:
    return whole_number(payload.get("event_id"))


# --- To the server ------------------------------------------------------------------------------------

_encode = json.JSONEncoder(separators=(",", ":")).encode


def initiation(plan: SessionPlan, *, version: str) -> str:
    """The client's first frame: a text-only session that waits for the person to speak, or one that speaks, as the
    agent is set to or with a first message of ours.

    Every override needs its permission on the agent. What is not overridden is left out, since null counts
    as an attempt to override.
    """
    frame: dict[str, Any] = {
        "type": "conversation_initiation_client_data",
        "source_info": {"source": "relevo", "version": version[:50]},
        "user_id": plan.user_id,
    }
    if not plan.speaks:
        frame["conversation_config_override"] = {
            "agent": {"first_message": ""},
            "conversation": {"text_only": True},
        }
    elif plan.first_message is not None:
        frame["conversation_config_override"] = {"agent": {"first_message": plan.first_message}}
    if plan.dynamic_variables:
        frame["dynamic_variables"] = dict(plan.dynamic_variables)
    return _encode(frame)


def pong(event_id: int) -> str:
    return f'{{"type":"pong","event_id":{event_id:d}}}'


def user_message(text: str) -> str:
    return _encode({"type": "user_message", "text": text})


def history(text: str) -> str:
    """Tell the agent the history, in place of what it was told of it before. Starts no turn."""
    return _encode({"type": "contextual_update", "text": text, "context_id": "history"})


def contextual_update(text: str) -> str:
    """Tell the agent something beside what it was told before. Starts no turn."""
    return _encode({"type": "contextual_update", "text": text})


def user_audio_chunk(audio: bytes) -> bytes:
    """Sound of the person's, in the format of the session. The only frame without a type."""
    return b'{"user_audio_chunk":"%b"}' % b2a_base64(audio, newline=False)


def client_tool_result(call_id: str, result: str, *, is_error: bool) -> str:
    return _encode(
        {"type": "client_tool_result", "tool_call_id": call_id, "result": result, "is_error": is_error}
    )
