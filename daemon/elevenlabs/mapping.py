"""ElevenLabs' conversations and batches in our own words.

Shapes are those of the ElevenLabs OpenAPI (`GetConversationResponseModel`, `BatchCallDetailedResponse`).
What an answer must have and lacks raises `UnexpectedAnswerError` with its path, in a list only where no entry has it;
everything else may be missing, null, or a word nobody has heard before.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from attrs import frozen

from actors.calls import (
    Batch,
    BatchRecipient,
    BatchSummary,
    CallAnalysis,
    CallDetails,
    CallOutcome,
    CallSighting,
    SeenCall,
    TranscriptEntry,
)
from daemon.elevenlabs.fields import (
    Record,
    items,
    moment,
    optional_moment,
    part,
    required_text,
    storable,
    storable_value,
    text,
    whole_number,
)
from daemon.elevenlabs.problems import UnexpectedAnswerError

_ENDED = frozenset({"processing", "done", "failed"})

_PHONE_SOURCES = frozenset({"twilio", "sip_trunk", "exotel", "genesys", "avaya", "audiocodes"})
_CHAT_SOURCES = frozenset({"whatsapp", "twilio_sms"})

_RECIPIENT_OUTCOMES = {
    "completed": CallOutcome.COMPLETED,
    "failed": CallOutcome.FAILED,
    "cancelled": CallOutcome.CANCELLED,
    "voicemail": CallOutcome.VOICEMAIL,
}
_BATCH_ENDED = frozenset({"completed", "failed", "cancelled"})

_CALL_RESULTS = {
    "voicemail": CallOutcome.VOICEMAIL,
    "busy": CallOutcome.BUSY,
    "no_answer": CallOutcome.NO_ANSWER,
    "failed": CallOutcome.FAILED,
}

_VOICEMAIL = re.compile(r"voice\s?mail|answering machine|machine detect", re.IGNORECASE)
_UNANSWERED = (
    (re.compile(r"\bbusy\b", re.IGNORECASE), CallOutcome.BUSY),
    (
        re.compile(r"\bno[ _-]?answer|not answered|unanswered|ring\w* timeout", re.IGNORECASE),
        CallOutcome.NO_ANSWER,
    ),
    (re.compile(r"\bcancell?ed\b", re.IGNORECASE), CallOutcome.CANCELLED),
)

_RESERVED_VARIABLES = ("system__", "secret__")

T = TypeVar("T")


def _readable(records: Sequence[Record], read: Callable[[Record], T]) -> list[T]:
    """Those of a list that can be read: one that cannot hides no other. Where none can, what is wrong is raised."""
    read_so_far: list[T] = []
    flaw: UnexpectedAnswerError | None = None
    for record in records:
        try:
            read_so_far.append(read(record))
        except UnexpectedAnswerError as error:
            flaw = error
    if flaw is not None and not read_so_far:
        raise flaw
    return read_so_far


# --- Batches ------------------------------------------------------------------------------------------


@frozen
class BatchPage:
    batches: Sequence[BatchSummary]
    next_doc: str | None


def batch_page(record: Record) -> BatchPage:
    batches = _readable(items(record, "batch_calls"), batch_summary)
    return BatchPage(batches, text(record, "next_doc") if record.get("has_more") is True else None)


def batch(record: Record) -> Batch:
    recipients = _readable(items(record, "recipients"), _recipient)
    return Batch(summary=batch_summary(record), recipients=recipients)


def batch_summary(record: Record) -> BatchSummary:
    created_at = moment(record, "created_at_unix")
    status = text(record, "status") or ""
    return BatchSummary(
        id=required_text(record, "id"),
        name=text(record, "name") or "",
        agent_id=text(record, "agent_id") or "",
        status=status,
        is_over=status in _BATCH_ENDED,
        created_at=created_at,
        updated_at=optional_moment(record, "last_updated_at_unix") or created_at,
    )


def _recipient(record: Record) -> BatchRecipient:
    status = text(record, "status") or ""
    return BatchRecipient(
        id=required_text(record, "id", "recipients"),
        phone_number=phone_number(record.get("phone_number")),
        status=status,
        outcome=_RECIPIENT_OUTCOMES.get(status),
        call_id=text(record, "conversation_id"),
        variables=_variables(record),
    )


# --- Conversations ------------------------------------------------------------------------------------


@frozen
class CallPage:
    calls: Sequence[SeenCall]
    next_cursor: str | None


def call_page(record: Record) -> CallPage:
    """The phone calls of one page of conversations that are over. Their outcome needs the details."""
    ended = [
        item
        for item in items(record, "conversations")
        if text(item, "status") in _ENDED and _is_phone_call(item)
    ]
    calls = _readable(ended, _seen_call)
    return CallPage(calls, text(record, "next_cursor") if record.get("has_more") is True else None)


def _seen_call(item: Record) -> SeenCall:
    return SeenCall(
        id=required_text(item, "conversation_id"),
        sighting=CallSighting.CONVERSATIONS,
        agent_id=text(item, "agent_id"),
    )


def _is_phone_call(item: Record) -> bool:
    if item.get("text_only") is True:
        return False
    source = text(item, "conversation_initiation_source")
    return source in _PHONE_SOURCES or (bool(item.get("direction")) and source not in _CHAT_SOURCES)


def is_chat(record: Record) -> bool:
    """A written conversation, as our own sessions with the text agent are."""
    metadata = part(record, "metadata")
    return (
        metadata.get("text_only") is True or text(metadata, "conversation_initiation_source") in _CHAT_SOURCES
    )


def call_details(record: Record) -> CallDetails:
    """One conversation, as `GET /v1/convai/conversations/{id}` and the post-call webhook tell it."""
    metadata = part(record, "metadata")
    phone_call, batch_call = part(metadata, "phone_call"), part(metadata, "batch_call")
    status = required_text(record, "status")
    analysis = _analysis(record)
    return CallDetails(
        id=required_text(record, "conversation_id"),
        agent_id=required_text(record, "agent_id"),
        # A status nobody knows may be a call that still goes on; its analysis says it does not.
        is_over=status in _ENDED or analysis is not None,
        outcome=conversation_outcome(record),
        phone_number=phone_number(phone_call.get("external_number")),
        direction=text(phone_call, "direction"),
        started_at=moment(metadata, "start_time_unix_secs", "metadata"),
        duration_s=_duration_s(metadata),
        transcript=_transcript(record),
        analysis=analysis,
        analysis_pending=status == "processing" and analysis is None,
        variables=_variables(record),
        batch_id=text(batch_call, "batch_call_id"),
        recipient_id=text(batch_call, "batch_call_recipient_id"),
    )


def conversation_outcome(record: Record) -> CallOutcome:
    """What became of a call.

    `metadata.phone_call.call_result` says so where it is given, which is new; otherwise the reason of the
    end has to. A reason's words count only for a call in which the person said nothing.
    """
    metadata = part(record, "metadata")
    result = text(part(metadata, "phone_call"), "call_result")
    if result in _CALL_RESULTS:
        return _CALL_RESULTS[result]
    words = " ".join(
        (text(metadata, "termination_reason") or "", text(part(metadata, "error"), "reason") or "")
    )
    if _VOICEMAIL.search(words) or _used_tool(record, "voicemail_detection"):
        return CallOutcome.VOICEMAIL
    status = text(record, "status")
    has_failed = status == "failed"
    said = _transcript(record)
    if result == "answered" or any(entry.role == "user" for entry in said):
        return CallOutcome.FAILED if has_failed else CallOutcome.COMPLETED
    for pattern, outcome in _UNANSWERED:
        if pattern.search(words):
            return outcome
    if has_failed or part(metadata, "error"):
        return CallOutcome.FAILED
    if not said and not _duration_s(metadata) and status in _ENDED:
        return CallOutcome.NO_ANSWER
    return CallOutcome.COMPLETED


def _transcript(record: Record) -> list[TranscriptEntry]:
    """What was said. Entries of tools alone carry no message."""
    return [
        TranscriptEntry(
            role=text(entry, "role") or "agent",
            text=said,
            offset_s=whole_number(entry.get("time_in_call_secs")) or 0,
        )
        for entry in items(record, "transcript")
        if (said := (text(entry, "message") or "").strip())
    ]


def _duration_s(metadata: Record) -> int:
    return max(0, whole_number(metadata.get("call_duration_secs")) or 0)


def _used_tool(record: Record, name: str) -> bool:
    return any(
        call.get("tool_name") == name and call.get("tool_has_been_called") is not False
        for entry in items(record, "transcript")
        for call in items(entry, "tool_calls")
    )


def _analysis(record: Record) -> CallAnalysis | None:
    analysis = part(record, "analysis")
    if not analysis:
        return None
    collected = _collected(analysis)
    return CallAnalysis(
        summary=text(analysis, "transcript_summary") or "",
        title=text(analysis, "call_summary_title"),
        successful=text(analysis, "call_successful"),
        collected=collected,
        sentiment=_sentiment(record, analysis, collected),
    )


def _collected(analysis: Record) -> dict[str, object]:
    """Values of the agent's data collection fields; fields the call said nothing of are left out."""
    return {
        storable(name): value
        for name, result in part(analysis, "data_collection_results").items()
        if isinstance(result, Mapping) and (value := storable_value(result.get("value"))) is not None
    }


def _sentiment(record: Record, analysis: Record, collected: Mapping[str, object]) -> str | None:
    """The operator's own field first; ElevenLabs' opt-in analysis is not part of every answer."""
    for name in ("sentiment", "sentimiento"):
        value = collected.get(name)
        if isinstance(value, str) and value:
            return value
    for holder in (record, analysis, part(record, "metadata")):
        label = text(part(holder, "sentiment_analysis"), "overall_label")
        if label:
            return label
    return None


def _variables(record: Record) -> dict[str, object]:
    """The caller's own dynamic variables, without ElevenLabs' reserved ones."""
    given = part(part(record, "conversation_initiation_client_data"), "dynamic_variables")
    return {
        storable(name): storable_value(value)
        for name, value in given.items()
        if not name.startswith(_RESERVED_VARIABLES)
    }


def phone_number(value: Any) -> str | None:
    """A number as it was given, freed of what a SIP or `tel:` address has around it."""
    if not isinstance(value, str):
        return None
    return re.sub(r"^(?:sips?|tel):|[@;].*$", "", storable(value).strip()) or None
