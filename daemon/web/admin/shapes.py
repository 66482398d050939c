"""How the admin routes show things: plain JSON values, numbers masked, times in ISO 8601."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from actors.overview import (
    BatchProgress,
    ConversationPage,
    ConversationSummary,
    ConversationTimeline,
    Interaction,
    LiveCallSummary,
    RecipientProgress,
)
from daemon.masking import mask, mask_number_of, mask_numbers, mask_phone


def page_json(page: ConversationPage) -> dict[str, Any]:
    return {
        "conversations": [summary_json(summary) for summary in page.conversations],
        "next_cursor": str(page.next_cursor) if page.next_cursor is not None else None,
    }


def summary_json(summary: ConversationSummary) -> dict[str, Any]:
    return {
        "id": summary.id,
        "phone_number": _masked(summary.phone_number),
        "client_name": summary.name,
        "status": summary.status,
        "agent_id": summary.agent_id,
        "elevenlabs_conversation_id": summary.agent_conversation_id,
        "started_at": _iso(summary.started_at),
        "closed_at": _iso(summary.closed_at),
        "last_message_at": _iso(summary.last_message_at),
        "message_count": summary.message_count,
        "unanswered": summary.unanswered,
    }


def live_call_json(call: LiveCallSummary) -> dict[str, Any]:
    return {
        "id": call.id,
        "phone_number": _masked(call.caller),
        "phase": call.phase.value,
        "advisor": call.advisor,
        "started_at": _iso(call.started_at),
        "duration_s": call.duration_s,
    }


def timeline_json(timeline: ConversationTimeline) -> dict[str, Any]:
    """One person's story over all channels."""
    return {
        **summary_json(timeline.summary),
        "person": str(timeline.person_uuid),
        "interactions": [
            _interaction(interaction, timeline.summary.phone_number) for interaction in timeline.interactions
        ],
    }


def batch_json(batch: BatchProgress) -> dict[str, Any]:
    return {
        "id": batch.id,
        "name": batch.name,
        "agent_id": batch.agent_id,
        "status": batch.status,
        "settled": batch.is_settled,
        "created_at": _iso(batch.created_at),
        "updated_at": _iso(batch.updated_at),
        "recipients": [_recipient(recipient) for recipient in batch.recipients],
    }


def status_json(status: Mapping[str, object]) -> dict[str, Any]:
    """Alerts and errors may quote what a vendor said."""
    shown: dict[str, Any] = mask(status, texts=True)
    return shown


def _interaction(interaction: Interaction, own_number: str | None) -> dict[str, Any]:
    """What was written stays as it is but for the person's own number: an order's number is no telephone's."""
    return {
        "type": interaction.type.value,
        "timestamp": _iso(interaction.at),
        "platform": interaction.platform,
        "external_id": interaction.external_id,
        "content": mask_number_of(own_number, interaction.content),
        "metadata": _without_numbers(mask(interaction.metadata, texts=True)),
    }


def _recipient(recipient: RecipientProgress) -> dict[str, Any]:
    return {
        "id": recipient.id,
        "phone_number": _masked(recipient.phone_number),
        "status": recipient.status,
        "outcome": recipient.outcome.value if recipient.outcome is not None else None,
        "conversation_id": recipient.call_id,
        "follow_up": recipient.follow_up.value if recipient.follow_up is not None else None,
        "follow_up_note": _without_numbers(recipient.follow_up_note),
    }


def _without_numbers(value: Any) -> Any:
    if isinstance(value, str):
        return mask_numbers(value)
    if isinstance(value, dict):
        return {name: _without_numbers(item) for name, item in value.items()}
    return [_without_numbers(item) for item in value] if isinstance(value, list) else value


def _masked(number: str | None) -> str | None:
    return mask_phone(number) if number is not None else None


def _iso(at: datetime | None) -> str | None:
    return at.isoformat(timespec="milliseconds") if at is not None else None
