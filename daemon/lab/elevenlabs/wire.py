"""Frames of the agent socket: how the server's look and what the client's must look like.

Source: the ElevenLabs AsyncAPI of the agent WebSocket; `expects_response` and `status` as seen on the live
service.
"""

import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from attrs import frozen

Frame: TypeAlias = dict[str, Any]


@frozen
class BadFrame:
    """A client's frame that ends the conversation with 1008."""

    error_type: str
    reason: str


def _is_event_id(value: object) -> bool:
    # A pong echoes what the ping carried, and the ids may have been strings.
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, str) and value.isdigit()
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_text_or_null(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_score(value: object) -> bool:
    return value in {None, "like", "dislike"}


REQUIRED_FIELDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "conversation_initiation_client_data": {},
    "pong": {"event_id": _is_event_id},
    "user_message": {"text": _is_text_or_null},
    "contextual_update": {"text": _is_text},
    "user_activity": {},
    "client_tool_result": {"tool_call_id": _is_text, "result": _is_text, "is_error": _is_bool},
    "feedback": {"event_id": _is_event_id, "score": _is_score},
    "mcp_tool_approval_result": {"tool_call_id": _is_text, "is_approved": _is_bool},
    "multimodal_message": {},
}

AUDIO: Final = "user_audio_chunk"
"""Stands in for the type of the one message that has none."""


def read_client_frame(raw: str | bytes) -> tuple[str, Frame] | BadFrame:
    """A frame of the client's as its type and content."""
    if isinstance(raw, bytes):
        return BadFrame("invalid_message", "Invalid message received")
    try:
        frame = json.loads(raw)
    except ValueError:
        return BadFrame("invalid_message", "Invalid message received")
    if not isinstance(frame, dict):
        return BadFrame("invalid_message", "Invalid message received")
    if AUDIO in frame:
        if not isinstance(frame[AUDIO], str):
            return BadFrame("invalid_message", "Invalid message received")
        return AUDIO, frame
    return _checked(frame)


def _checked(frame: Frame) -> tuple[str, Frame] | BadFrame:
    kind = frame.get("type")
    required = REQUIRED_FIELDS.get(kind) if isinstance(kind, str) else None
    if required is None or not isinstance(kind, str):
        return BadFrame("invalid_message", "Invalid message received")
    for name, is_right in required.items():
        if name not in frame:
            return BadFrame("missing_fields", f"Missing required field '{name}' in {kind}")
        if not is_right(frame[name]):
            return BadFrame("invalid_message", f"Invalid value of '{name}' in {kind}")
    return kind, frame


def audio_of(frame: Frame) -> bytes | None:
    """The sound in a client's audio frame, None when it is no base64."""
    try:
        return b64decode(frame[AUDIO], validate=True)
    except ValueError:
        return None


def metadata(conversation_id: str, *, output_format: str, input_format: str) -> Frame:
    event = {
        "conversation_id": conversation_id,
        "agent_output_audio_format": output_format,
        "user_input_audio_format": input_format,
    }
    return {"type": "conversation_initiation_metadata", "conversation_initiation_metadata_event": event}


def ping(event_id: int, ping_ms: int | None) -> Frame:
    return {"type": "ping", "ping_event": {"event_id": event_id, "ping_ms": ping_ms}}


def part(kind: str, text: str, event_id: int) -> Frame:
    """`kind` is start, delta or stop; the text is empty but for a delta."""
    return {
        "type": "agent_chat_response_part",
        "text_response_part": {"type": kind, "text": text, "event_id": event_id},
    }


def response(text: str, event_id: int) -> Frame:
    return {
        "type": "agent_response",
        "agent_response_event": {"agent_response": text, "event_id": event_id},
    }


def flat_response(text: str) -> Frame:
    """What this project's founding documents took an agent_response for."""
    return {"type": "agent_response", "message": text}


def complete(event_id: int) -> Frame:
    return {"type": "agent_response_complete", "agent_response_complete_event": {"event_id": event_id}}


def correction(original: str, corrected: str, event_id: int) -> Frame:
    event = {
        "original_agent_response": original,
        "corrected_agent_response": corrected,
        "event_id": event_id,
    }
    return {"type": "agent_response_correction", "agent_response_correction_event": event}


def interruption(event_id: int) -> Frame:
    return {"type": "interruption", "interruption_event": {"event_id": event_id}}


def user_transcript(text: str, event_id: int) -> Frame:
    return {
        "type": "user_transcript",
        "user_transcription_event": {"user_transcript": text, "event_id": event_id},
    }


def audio(audio_base_64: str, event_id: int) -> Frame:
    return {"type": "audio", "audio_event": {"audio_base_64": audio_base_64, "event_id": event_id}}


def tool_call(
    name: str, call_id: str, parameters: Mapping[str, Any], event_id: int, *, expects_response: bool
) -> Frame:
    call = {
        "tool_name": name,
        "tool_call_id": call_id,
        "parameters": dict(parameters),
        "event_id": event_id,
        "expects_response": expects_response,
    }
    return {"type": "client_tool_call", "client_tool_call": call}


def tool_response(name: str, call_id: str, event_id: int, *, tool_type: str, is_error: bool) -> Frame:
    result = {
        "tool_name": name,
        "tool_call_id": call_id,
        "tool_type": tool_type,
        "is_error": is_error,
        "is_called": True,
        "event_id": event_id,
        "status": "error" if is_error else "success",
    }
    return {"type": "agent_tool_response", "agent_tool_response": result}


def error(code: int, error_type: str, reason: str) -> Frame:
    return {"type": "error", "error_event": {"code": code, "error_type": error_type, "reason": reason}}


def unknown_type(event_id: int) -> Frame:
    return {"type": "agent_mood_estimate", "mood_event": {"mood": "curious", "event_id": event_id}}


def with_unknown_fields(frame: Frame) -> Frame:
    known = {
        key: {**value, "lab_extra": 1} if isinstance(value, dict) else value for key, value in frame.items()
    }
    return {**known, "lab_extra": {"nested": [None, True]}}


def with_string_event_ids(frame: Frame) -> Frame:
    return {
        key: {**value, "event_id": str(value["event_id"])}
        if isinstance(value, dict) and "event_id" in value
        else value
        for key, value in frame.items()
    }


def encoded(frame: Frame) -> str:
    return json.dumps(frame, ensure_ascii=False, separators=(",", ":"))
