"""What the operator sees: queues, live calls, conversations with their timelines, batches with their follow-ups."""

from collections.abc import Sequence

from attrs import frozen

from actors.calls import CallOutcome, FollowUpState
from actors.overview import (
    BatchProgress,
    CallCounts,
    ConversationPage,
    ConversationSummary,
    ConversationTimeline,
    Interaction,
    InteractionType,
    LiveCallSummary,
    Queues,
    RecipientProgress,
)
from daemon.store.live_calls import UNREADABLE, read_state
from daemon.store.pool import Database
from daemon.store.values import Row, sole

_MESSAGES_MAX = 500
_LIVE_CALLS_MAX = 50

# Each count is one partial index. Of a reopening that failed, what waited behind it is counted.
_QUEUES = """
SELECT
    (SELECT count(*) FROM message WHERE status = 'received'),
    (SELECT count(*) FROM message WHERE status = 'pending'),
    (SELECT count(*) FROM message WHERE status = 'sending'),
    (SELECT count(*) FROM message d
     WHERE d.status IN ('undelivered', 'failed', 'refused') AND d.purpose <> 'reopening'
        AND NOT EXISTS (SELECT FROM message r WHERE r.replaces_id = d.id))
"""

_CALL_COUNTS = """
SELECT
    (SELECT count(*) FROM live_call WHERE ended_at IS NULL),
    (SELECT count(*) FROM live_recording WHERE kept_at IS NULL AND dropped_reason IS NULL)
"""

_LIVE_CALLS = """
SELECT id, started_at, state, caller, greatest(0, extract(epoch FROM now() - started_at))::integer
FROM live_call
WHERE ended_at IS NULL
ORDER BY id
LIMIT %(calls_max)s
"""

_SUMMARY = """
    c.id, c.person_id, p.phone_number, p.name, c.status, c.agent_id, c.agent_conversation_id, c.started_at, c.closed_at,
    (SELECT m.created_at FROM message m WHERE m.conversation_id = c.id ORDER BY m.id DESC LIMIT 1),
    (SELECT count(*) FROM message m WHERE m.conversation_id = c.id),
    (SELECT count(*) FROM message m
     WHERE m.person_id = c.person_id AND m.status = 'received' AND m.conversation_id = c.id)
"""

_CONVERSATIONS = f"""
SELECT {_SUMMARY}
FROM conversation c
JOIN person p ON p.id = c.person_id
WHERE %(cursor)s::bigint IS NULL OR c.id < %(cursor)s
ORDER BY c.id DESC
LIMIT %(limit)s
"""  # noqa: S608 -- constants

_CONVERSATION = f"""
SELECT {_SUMMARY}, p.pseudonym
FROM conversation c
JOIN person p ON p.id = c.person_id
WHERE c.id = %(conversation_id)s
"""  # noqa: S608 -- constants

_NEWEST_OF_PERSON = f"""
SELECT {_SUMMARY}
FROM unnest(%(identities)s::text[]) WITH ORDINALITY AS named (identity, place)
JOIN person_identity i USING (identity)
JOIN person p ON p.id = i.person_id
JOIN conversation c ON c.person_id = p.id
ORDER BY named.place, c.id DESC
LIMIT 1
"""  # noqa: S608 -- constants

# The parts of a live call stand beside the session that stands for it.
_INTERACTIONS = """
SELECT type, at, platform, external_id, content, metadata
FROM (
    (
        SELECT
            'call' AS type, coalesce(started_at, seen_at) AS at, 'elevenlabs' AS platform, id AS external_id,
            coalesce(summary, '') AS content, 0 AS message_id,
            jsonb_strip_nulls(jsonb_build_object(
                'agent_id', agent_id, 'outcome', outcome, 'direction', direction, 'duration_s', duration_s,
                'title', title, 'successful', successful, 'sentiment', sentiment, 'collected', collected,
                'batch_id', batch_id, 'recipient_id', recipient_id,
                'follow_up', follow_up, 'follow_up_note', follow_up_note,
                'live_call_id', live_call_id, 'is_part', nullif(is_part, false), 'note', note
            )) AS metadata
        FROM call
        WHERE id IN (
            SELECT id FROM call WHERE conversation_id = %(conversation_id)s
            UNION
            SELECT part.id
            FROM call main
            JOIN call part ON part.live_call_id = main.live_call_id AND part.is_part
            WHERE main.conversation_id = %(conversation_id)s
        )
    )
    UNION ALL
    (
        SELECT
            'whatsapp', created_at, 'twilio', twilio_sid, content, id,
            jsonb_strip_nulls(jsonb_build_object(
                'id', id, 'direction', direction, 'status', status, 'kind', kind, 'purpose', purpose,
                'error_code', error_code, 'error_detail', error_detail, 'template_sid', template_sid,
                'sent_as', CASE WHEN as_template_at IS NOT NULL THEN 'template' WHEN accepted_at IS NOT NULL THEN 'text' END,
                'call_id', call_id, 'replaces_id', replaces_id, 'note', note, 'accepted_at', accepted_at,
                'not_before', CASE WHEN status = 'pending' THEN not_before END
            ))
        FROM message
        WHERE conversation_id = %(conversation_id)s
        ORDER BY id DESC
        LIMIT %(messages_max)s
    )
) interaction
ORDER BY at, message_id
"""

_BATCH = """
SELECT id, name, agent_id, status, created_at, updated_at, settled_at IS NOT NULL FROM batch WHERE id = %(batch_id)s
"""

_NEWEST_BATCH = "SELECT id FROM batch ORDER BY created_at DESC, id DESC LIMIT 1"

_RECIPIENTS = """
SELECT
    r.recipient_id, r.phone_number, r.status, r.call_id, coalesce(k.outcome, r.outcome), k.follow_up, k.follow_up_note
FROM batch_recipient r
LEFT JOIN call k ON k.id = r.call_id
WHERE r.batch_id = %(batch_id)s
ORDER BY r.recipient_id
"""


@frozen
class PostgresOverview:
    """`Overview` on PostgreSQL. A timeline holds the newest 500 messages."""

    pool: Database

    async def queues(self) -> Queues:
        row = sole(await self.pool.fetch_one(_QUEUES))
        return Queues(
            inbound_pending=row[0], outbound_pending=row[1], outbound_in_doubt=row[2], dead_letters=row[3]
        )

    async def call_counts(self) -> CallCounts:
        row = sole(await self.pool.fetch_one(_CALL_COUNTS))
        return CallCounts(live=row[0], unfinished_recordings=row[1])

    async def live_calls(self) -> Sequence[LiveCallSummary]:
        rows = await self.pool.fetch_all(_LIVE_CALLS, {"calls_max": _LIVE_CALLS_MAX})
        shown = [_live_call(row) for row in rows]
        return [call for call in shown if call is not None]

    async def conversations(self, cursor: int | None, *, limit: int) -> ConversationPage:
        rows = await self.pool.fetch_all(_CONVERSATIONS, {"cursor": cursor, "limit": limit + 1})
        page = [_summary(row) for row in rows[:limit]]
        return ConversationPage(conversations=page, next_cursor=page[-1].id if len(rows) > limit else None)

    async def conversation(self, conversation_id: int) -> ConversationTimeline | None:
        row = await self.pool.fetch_one(_CONVERSATION, {"conversation_id": conversation_id})
        if row is None:
            return None
        interactions = await self.pool.fetch_all(
            _INTERACTIONS, {"conversation_id": conversation_id, "messages_max": _MESSAGES_MAX}
        )
        return ConversationTimeline(
            summary=_summary(row),
            person_uuid=row[-1],
            interactions=[_interaction(interaction) for interaction in interactions],
        )

    async def find_by_number(self, identities: Sequence[str]) -> ConversationSummary | None:
        row = await self.pool.fetch_one(_NEWEST_OF_PERSON, {"identities": list(identities)})
        return None if row is None else _summary(row)

    async def newest_batch(self) -> BatchProgress | None:
        row = await self.pool.fetch_one(_NEWEST_BATCH)
        return None if row is None else await self.batch(row[0])

    async def batch(self, batch_id: str) -> BatchProgress | None:
        row = await self.pool.fetch_one(_BATCH, {"batch_id": batch_id})
        if row is None:
            return None
        recipients = await self.pool.fetch_all(_RECIPIENTS, {"batch_id": batch_id})
        return BatchProgress(
            id=row[0],
            name=row[1],
            agent_id=row[2],
            status=row[3],
            created_at=row[4],
            updated_at=row[5],
            is_settled=row[6],
            recipients=[_recipient(recipient) for recipient in recipients],
        )


def _summary(row: Row) -> ConversationSummary:
    return ConversationSummary(
        id=row[0],
        person_id=row[1],
        phone_number=row[2],
        name=row[3],
        status=row[4],
        agent_id=row[5],
        agent_conversation_id=row[6],
        started_at=row[7],
        closed_at=row[8],
        last_message_at=row[9],
        message_count=row[10],
        unanswered=row[11],
    )


def _live_call(row: Row) -> LiveCallSummary | None:
    """None for a call that nobody here can read, and so nobody serves."""
    try:
        state = read_state(row[2])
    except UNREADABLE:
        return None
    return LiveCallSummary(
        id=row[0],
        started_at=row[1],
        phase=state.phase,
        caller=row[3],
        advisor=state.advisor.advisor if state.advisor is not None else None,
        duration_s=row[4],
    )


def _interaction(row: Row) -> Interaction:
    return Interaction(
        type=InteractionType(row[0]),
        at=row[1],
        platform=row[2],
        external_id=row[3],
        content=row[4],
        metadata=row[5],
    )


def _recipient(row: Row) -> RecipientProgress:
    return RecipientProgress(
        id=row[0],
        phone_number=row[1],
        status=row[2],
        call_id=row[3],
        outcome=CallOutcome(row[4]) if row[4] else None,
        follow_up=FollowUpState(row[5]) if row[5] else None,
        follow_up_note=row[6],
    )
