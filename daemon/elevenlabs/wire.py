"""The frames of the agent socket, both ways: JSON text on one side, values on the other.

Shapes are those of the ElevenLabs AsyncAPI of the agent WebSocket; what is known from live captures alone
is optional here. Unknown types and fields are ignored, always: their schemas grow monthly.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from attrs import frozen

from actors.agent_events import (
    AgentEvent,
    AgentFault,
    AgentReplied,
    PartKind,
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
    """The server's first message: the session exists."""

    conversation_id: str


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
    """Read one frame. None for what is not for us: binary frames, other types, no JSON at all. Never raises.

    An event's fields normally stand in an object of their own beside `type`; flat frames
    (`{"type": "agent_response", "message": "…"}`) are understood too.
    """
    if isinstance(frame, bytes):
        return None
    try:
        message = _decode(frame)
    except (ValueError, RecursionError):
        return None
    kind = message.get("type") if isinstance(message, dict) else None
    shape = _SHAPES.get(kind) if isinstance(kind, str) else None
    if shape is None:
        return None
    payload_name, read = shape
    payload = message.get(payload_name)
    return read(payload if isinstance(payload, dict) else message)


def _metadata(payload: Record) -> Metadata | None:
    conversation_id = payload.get("conversation_id")
    return Metadata(conversation_id) if isinstance(conversation_id, str) and conversation_id else None


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
    """The client's first frame: a text-only session that waits for the person to speak.

    Both overrides need their permission on the agent. What is not overridden is left out, since null counts
    as an attempt to override.
    """
    frame: dict[str, Any] = {
        "type": "conversation_initiation_client_data",
        "conversation_config_override": {
            "agent": {"first_message": ""},
            "conversation": {"text_only": True},
        },
        "source_info": {"source": "relevo", "version": version[:50]},
        "user_id": plan.user_id,
    }
    if plan.dynamic_variables:
        frame["dynamic_variables"] = dict(plan.dynamic_variables)
    return _encode(frame)


def pong(event_id: int) -> str:
    return f'{{"type":"pong","event_id":{event_id:d}}}'


def user_message(text: str) -> str:
    return _encode({"type": "user_message", "text": text})


def contextual_update(text: str) -> str:
    """Tell the agent the history, in place of what it was told before. Starts no turn."""
    return _encode({"type": "contextual_update", "text": text, "context_id": "history"})


def client_tool_result(call_id: str, result: str, *, is_error: bool) -> str:
    return _encode(
        {"type": "client_tool_result", "tool_call_id": call_id, "result": result, "is_error": is_error}
    )
