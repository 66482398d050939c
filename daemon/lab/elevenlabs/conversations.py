"""Conversations, of calls and of sockets, as the simulator keeps them and as the REST API shows them."""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from attrs import Factory, define, field, frozen

from daemon.lab.elevenlabs.loose import as_mapping
from daemon.lab.elevenlabs.playback import Voiced

# Ten minutes of what the client says.
_HEARD_MAX_BYTES: Final = 4_800_000
# Of the frames with it so many are kept as frames.
_AUDIO_FRAMES_MAX: Final = 500


class Status(StrEnum):
    INITIATED = "initiated"
    IN_PROGRESS = "in-progress"
    PROCESSING = "processing"
    DONE = "done"
    FAILED = "failed"


@frozen
class SeenFrame:
    """A frame on the wire. `direction` is `in` (from the client) or `out`; `at_s` is trio's clock."""

    direction: str
    at_s: float
    text: str

    @property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.text)
        return content


@frozen(kw_only=True)
class PhoneLeg:
    """The telephone side of a conversation. `result` is the newest API's `call_result`."""

    direction: str
    phone_number_id: str
    agent_number: str
    external_number: str
    call_sid: str
    stream_sid: str


@frozen(kw_only=True)
class Analysis:
    summary: str
    title: str
    successful: str
    collected: Mapping[str, Any] = Factory(dict)
    sentiment: str | None = None


@define(eq=False, kw_only=True)
class Conversation:
    """One conversation and everything that went over its wire.

    Attributes:
        started_unix: start of the conversation, Unix seconds.
        transcript: entries in the shape of the REST API.
        field_schemas: the agent's data collection fields.
        frames: the newest frames, as many as the lab keeps; of those with the client's audio only the first few.
        heard: the client's audio as it came, up to ten minutes of it.
        voiced: the agent's replies as sound, when each of them plays.
    """

    id: str
    agent_id: str
    agent_name: str
    started_unix: int
    source: str
    text_only: bool = False
    authorization: str = "public"
    user_id: str | None = None
    client_data: Mapping[str, Any] = Factory(dict)
    phone: PhoneLeg | None = None
    call_result: str | None = None
    batch: tuple[str, str] | None = None
    field_schemas: Mapping[str, Any] = Factory(dict)
    status: Status = Status.INITIATED
    transcript: list[dict[str, Any]] = Factory(list)
    duration_s: int = 0
    analysis: Analysis | None = None
    termination_reason: str = ""
    error: tuple[int, str] | None = None
    feedback: dict[int, str] = Factory(dict)
    frames: deque[SeenFrame] = Factory(deque)
    heard: bytearray = field(factory=bytearray, repr=False)
    voiced: list[Voiced] = Factory(list)
    _audio_frames: int = field(default=0, init=False)

    def keep(self, frame: SeenFrame, *, is_audio: bool = False) -> None:
        """Remember a frame; what the client says would else push everything out that is worth a look."""
        self._audio_frames += is_audio
        if not is_audio or self._audio_frames <= _AUDIO_FRAMES_MAX:
            self.frames.append(frame)

    def hear(self, audio: bytes) -> None:
        self.heard += audio[: _HEARD_MAX_BYTES - len(self.heard)]

    @property
    def variables(self) -> Mapping[str, Any]:
        return as_mapping(self.client_data.get("dynamic_variables"))

    @property
    def tool_names(self) -> list[str]:
        calls = [call for entry in self.transcript for call in entry["tool_calls"]]
        return sorted({call["tool_name"] for call in calls})

    def frames_of(self, direction: str, kind: str | None = None) -> Sequence[dict[str, Any]]:
        """The contents of the frames of one direction, in order; `kind` picks one message type."""
        contents = [frame.content for frame in self.frames if frame.direction == direction]
        return [content for content in contents if kind is None or content.get("type") == kind]


def transcript_entry(
    role: str,
    message: str | None,
    at_s: int,
    *,
    medium: str | None = None,
    tool_calls: Sequence[dict[str, Any]] = (),
    tool_results: Sequence[dict[str, Any]] = (),
    context_id: str | None = None,
) -> dict[str, Any]:
    return {
        "role": role,
        "message": message,
        "original_message": None,
        "tool_calls": list(tool_calls),
        "tool_results": list(tool_results),
        "time_in_call_secs": at_s,
        "interrupted": False,
        "source_medium": medium,
        "contextual_update_info": None
        if context_id is None
        else {"context_id": context_id, "is_superseded": False},
    }


def tool_entry_parts(
    name: str, request_id: str, parameters: Mapping[str, Any], *, tool_type: str
) -> dict[str, Any]:
    return {
        "type": tool_type,
        "request_id": request_id,
        "tool_name": name,
        "params_as_json": json.dumps(dict(parameters), ensure_ascii=False),
        "tool_has_been_called": True,
    }


def tool_result_parts(
    name: str, request_id: str, result: str, *, tool_type: str, is_error: bool = False, latency_s: float = 0.0
) -> dict[str, Any]:
    return {
        "type": tool_type,
        "request_id": request_id,
        "tool_name": name,
        "result_value": result,
        "is_error": is_error,
        "tool_has_been_called": True,
        "tool_latency_secs": round(latency_s, 3),
    }


def contextual_update_entries(
    text: str, context_id: str | None, request_id: str, at_s: int
) -> list[dict[str, Any]]:
    """An update shows in the history as a synthetic tool call of the agent and its result (live service)."""
    name = "system:contextual_update"
    call = tool_entry_parts(name, request_id, {"text": text}, tool_type="system")
    result = tool_result_parts(name, request_id, text, tool_type="system")
    return [
        transcript_entry("agent", None, at_s, tool_calls=[call], context_id=context_id),
        transcript_entry("agent", None, at_s, tool_results=[result], context_id=context_id),
    ]


def _phone_call(conversation: Conversation) -> dict[str, Any] | None:
    phone = conversation.phone
    if phone is None:
        return None
    return {
        "type": "twilio",
        "direction": phone.direction,
        "phone_number_id": phone.phone_number_id,
        "agent_number": phone.agent_number,
        "external_number": phone.external_number,
        "call_sid": phone.call_sid,
        "stream_sid": phone.stream_sid,
        "call_result": conversation.call_result,
    }


def _metadata(conversation: Conversation) -> dict[str, Any]:
    scores = list(conversation.feedback.values())
    batch = conversation.batch
    error = conversation.error
    return {
        "start_time_unix_secs": conversation.started_unix,
        "accepted_time_unix_secs": None
        if conversation.status is Status.FAILED
        else conversation.started_unix,
        "call_duration_secs": conversation.duration_s,
        "cost": conversation.duration_s * 5,
        "cost_fiat": None,
        "authorization_method": conversation.authorization,
        "termination_reason": conversation.termination_reason,
        "error": None if error is None else {"code": error[0], "reason": error[1]},
        "warnings": [],
        "main_language": "es",
        "text_only": conversation.text_only,
        "conversation_initiation_source": conversation.source,
        "timezone": None,
        "phone_call": _phone_call(conversation),
        "batch_call": None
        if batch is None
        else {"batch_call_id": batch[0], "batch_call_recipient_id": batch[1]},
        "feedback": {
            "overall_score": None,
            "likes": scores.count("like"),
            "dislikes": scores.count("dislike"),
        },
        "deletion_settings": {},
        "charging": {},
    }


def _data_collection(conversation: Conversation, analysis: Analysis) -> dict[str, Any]:
    return {
        field_id: {
            "data_collection_id": field_id,
            "value": analysis.collected.get(field_id),
            "json_schema": conversation.field_schemas.get(field_id, {"type": "string", "description": ""}),
            "rationale": "Según lo que se dijo en la conversación.",
        }
        for field_id in {**conversation.field_schemas, **analysis.collected}
    }


def _analysis(conversation: Conversation) -> dict[str, Any] | None:
    analysis = conversation.analysis
    if analysis is None:
        return None
    collected = _data_collection(conversation, analysis)
    return {
        "call_successful": analysis.successful,
        "transcript_summary": analysis.summary,
        "call_summary_title": analysis.title,
        "evaluation_criteria_results": {},
        "data_collection_results": collected,
        "evaluation_criteria_results_list": [],
        "data_collection_results_list": list(collected.values()),
    }


def as_detail(conversation: Conversation) -> dict[str, Any]:
    """`GET /v1/convai/conversations/{id}`, and the `data` of `post_call_transcription`."""
    has_audio = not conversation.text_only and bool(conversation.transcript)
    return {
        "agent_id": conversation.agent_id,
        "agent_name": conversation.agent_name,
        "conversation_id": conversation.id,
        "user_id": conversation.user_id,
        "status": conversation.status.value,
        "transcript": conversation.transcript,
        "metadata": _metadata(conversation),
        "analysis": _analysis(conversation),
        "conversation_initiation_client_data": {
            "conversation_config_override": {},
            "custom_llm_extra_body": {},
            "user_id": conversation.user_id,
            "dynamic_variables": {},
            **conversation.client_data,
        },
        "environment": "production",
        "tag_ids": [],
        "has_audio": has_audio,
        "has_user_audio": has_audio,
        "has_response_audio": has_audio,
        "has_auxiliary_audio": False,
    }


_SENTIMENT_SCORES: Final = {"positive": 0.7, "neutral": 0.0, "negative": -0.7}


def _sentiment(label: str) -> dict[str, Any]:
    score = _SENTIMENT_SCORES[label]
    return {
        "overall_label": label,
        "overall_sentiment_score": score,
        "overall_frustration_score": max(0.0, -score),
        "min_user_sentiment_score": score,
        "max_user_frustration_score": max(0.0, -score),
        "num_scored_user_turns": 1,
    }


def as_list_item(conversation: Conversation, *, with_summary: bool) -> dict[str, Any]:
    """One entry of `GET /v1/convai/conversations`; only here does sentiment show."""
    analysis = conversation.analysis
    item: dict[str, Any] = {
        "agent_id": conversation.agent_id,
        "agent_name": conversation.agent_name,
        "conversation_id": conversation.id,
        "start_time_unix_secs": conversation.started_unix,
        "call_duration_secs": conversation.duration_s,
        "message_count": sum(entry["message"] is not None for entry in conversation.transcript),
        "status": conversation.status.value,
        "termination_reason": conversation.termination_reason,
        "call_successful": "unknown" if analysis is None else analysis.successful,
        "transcript_summary": analysis.summary if analysis and with_summary else None,
        "call_summary_title": analysis.title if analysis and with_summary else None,
        "main_language": "es",
        "conversation_initiation_source": conversation.source,
        "tool_names": conversation.tool_names,
        "direction": None if conversation.phone is None else conversation.phone.direction,
        "rating": None,
        "tag_ids": [],
    }
    if analysis is not None and analysis.sentiment is not None:
        item["sentiment_analysis"] = _sentiment(analysis.sentiment)
    return item
