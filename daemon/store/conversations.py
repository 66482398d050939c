"""Conversations: what waits for the agent, what it should know, and what it answered."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from attrs import frozen

from actors.messages import PendingMessage, Purpose
from actors.ports import Answer, Opening, PersonContext, Work
from daemon.store.context import read_context
from daemon.store.pool import Database
from daemon.store.values import id_array, storable, template_columns

# One row for each pending message, or a single one without; what is said of the conversation repeats.
_WORK = """
SELECT
    c.id,
    c.turn_failures,
    ARRAY(
        SELECT k.id FROM call k
        WHERE k.person_id = %(person_id)s AND k.follow_up = 'due' AND k.conversation_id = c.id
        ORDER BY k.started_at, k.id
    ),
    m.id, m.twilio_sid, m.address, m.content, m.created_at
FROM conversation c
LEFT JOIN message m ON m.person_id = c.person_id AND m.status = 'received' AND m.conversation_id = c.id
WHERE c.person_id = %(person_id)s AND c.status <> 'closed'
ORDER BY m.id
"""

_SAVE_SESSION = """
UPDATE conversation SET agent_conversation_id = %(agent_conversation_id)s WHERE id = %(conversation_id)s
"""

# The conversation goes first, as in a close: the insert would want it after the call.
_QUEUE_OPENING = """
WITH locked AS MATERIALIZED (
    SELECT id FROM conversation WHERE id = %(conversation_id)s FOR NO KEY UPDATE
), due AS (
    UPDATE call k SET follow_up = 'queued', follow_up_note = %(note)s, updated_at = %(now)s
    FROM locked
    WHERE k.id = %(call_id)s AND k.follow_up = 'due' AND k.conversation_id = locked.id
    RETURNING k.id, k.person_id, k.conversation_id, coalesce(k.batch_id, k.agent_id) AS campaign
)
INSERT INTO message (
    conversation_id, person_id, direction, address, content, status, created_at, purpose,
    template_sid, template_variables, call_id, note, campaign
)
SELECT
    conversation_id, person_id, 'outbound', %(address)s, %(text)s, 'pending', %(now)s, 'opening',
    %(template_sid)s, %(template_variables)s::jsonb, id, %(note)s, campaign
FROM due
RETURNING true
"""

_DROP_OPENING = """
UPDATE call SET follow_up = 'none', follow_up_note = %(reason)s, updated_at = now()
WHERE id = %(call_id)s AND follow_up = 'due'
"""

# The messages are found by what is unanswered and not by their ids: of those the planner does not know how many come,
# so it would plan anew each time.
_ANSWER = """
WITH answered AS (
    UPDATE message m SET status = 'answered'
    FROM conversation c
    WHERE c.id = %(conversation_id)s
        AND m.person_id = c.person_id AND m.status = 'received' AND m.conversation_id = c.id
        AND m.id = ANY(%(message_ids)s::bigint[])
    RETURNING m.person_id
), person AS (
    SELECT person_id FROM answered LIMIT 1
), reply AS (
    INSERT INTO message (
        conversation_id, person_id, direction, address, content, status, created_at, purpose,
        template_sid, template_variables
    )
    SELECT
        %(conversation_id)s, person.person_id, 'outbound', %(address)s, pieces.piece, 'pending', %(now)s, 'answer',
        %(template_sid)s, %(template_variables)s::jsonb
    FROM person, unnest(%(pieces)s::text[]) WITH ORDINALITY AS pieces (piece, place)
    ORDER BY pieces.place
), settled AS (
    UPDATE conversation c SET turn_failures = 0, turn_retry_at = NULL
    FROM person
    WHERE c.id = %(conversation_id)s AND (c.turn_failures > 0 OR c.turn_retry_at IS NOT NULL)
)
SELECT true FROM person
"""

_ADD_PIECES = """
INSERT INTO message (
    conversation_id, person_id, direction, address, content, status, created_at, purpose,
    template_sid, template_variables
)
SELECT
    c.id, c.person_id, 'outbound', %(address)s, pieces.piece, 'pending', %(now)s, %(purpose)s,
    %(template_sid)s, %(template_variables)s::jsonb
FROM conversation c, unnest(%(pieces)s::text[]) WITH ORDINALITY AS pieces (piece, place)
WHERE c.id = %(conversation_id)s
ORDER BY pieces.place
"""

_DEFER_TURN = """
UPDATE conversation SET turn_failures = turn_failures + 1, turn_retry_at = %(retry_at)s
WHERE id = %(conversation_id)s AND status <> 'closed'
"""

# The conversation goes first: what comes to it meanwhile waits for its lock, and is seen by the statements after it.
_CLOSE = """
UPDATE conversation SET status = 'closed', closed_at = %(now)s WHERE id = %(conversation_id)s AND status <> 'closed'
"""

# A message that an answer holds at this moment is answered, and waiting for it might be waiting for ourselves.
_DROP_MESSAGES = """
UPDATE message SET status = 'dropped'
WHERE id IN (
    SELECT m.id
    FROM conversation c
    JOIN message m ON m.person_id = c.person_id AND m.status = 'received' AND m.conversation_id = c.id
    WHERE c.id = %(conversation_id)s
    FOR UPDATE OF m SKIP LOCKED
)
"""

_DROP_CALLS = """
UPDATE call SET follow_up = 'none', follow_up_note = 'conversation closed before the opening', updated_at = %(now)s
WHERE conversation_id = %(conversation_id)s AND follow_up = 'due'
"""


@frozen
class PostgresConversations:
    """`ConversationStore` on PostgreSQL."""

    pool: Database

    async def work(self, person_id: int) -> Work:
        rows = await self.pool.fetch_all(_WORK, {"person_id": person_id})
        if not rows:
            return Work(conversation_id=None, pending=(), due_calls=(), turn_failures=0)
        conversation_id, turn_failures, due_calls = rows[0][:3]
        pending = [
            PendingMessage(id=row[3], sid=row[4], address=row[5], text=row[6], received_at=row[7])
            for row in rows
            if row[3] is not None
        ]
        return Work(
            conversation_id=conversation_id, pending=pending, due_calls=due_calls, turn_failures=turn_failures
        )

    async def context(self, person_id: int, *, messages_max: int) -> PersonContext | None:
        return await read_context(self.pool, person_id, messages_max=messages_max)

    async def save_session(self, conversation_id: int, *, agent_conversation_id: str) -> None:
        await self.pool.execute(
            _SAVE_SESSION,
            {"conversation_id": conversation_id, "agent_conversation_id": agent_conversation_id},
        )

    async def queue_opening(self, opening: Opening, *, now: datetime) -> bool:
        queued = await self.pool.fetch_one(
            _QUEUE_OPENING,
            {
                "call_id": opening.call_id,
                "conversation_id": opening.conversation_id,
                "address": opening.address,
                "text": storable(opening.text),
                "note": opening.note,
                "now": now,
                **template_columns(opening.template),
            },
        )
        return queued is not None

    async def drop_opening(self, call_id: str, *, reason: str) -> None:
        await self.pool.execute(_DROP_OPENING, {"call_id": call_id, "reason": storable(reason)})

    async def answer(
        self, conversation_id: int, message_ids: Sequence[int], answer: Answer, *, now: datetime
    ) -> bool:
        values = _values(conversation_id, answer, now)
        values["message_ids"] = id_array(message_ids)
        return await self.pool.fetch_one(_ANSWER, values) is not None

    async def add_answer(self, conversation_id: int, answer: Answer, *, now: datetime) -> None:
        values = _values(conversation_id, answer, now)
        await self.pool.execute(_ADD_PIECES, {**values, "purpose": Purpose.ANSWER})

    async def defer_turn(
        self, conversation_id: int, fallback: Answer, *, retry_at: datetime, now: datetime
    ) -> None:
        values = _values(conversation_id, fallback, now)
        async with self.pool.transaction() as connection:
            deferred = await connection.run_statement(_DEFER_TURN, {**values, "retry_at": retry_at})
            if deferred and fallback.pieces:
                await connection.run_statement(_ADD_PIECES, {**values, "purpose": Purpose.FALLBACK})

    async def close(self, conversation_id: int, *, now: datetime) -> None:
        values = {"conversation_id": conversation_id, "now": now}
        async with self.pool.transaction() as connection:
            for statement in (_CLOSE, _DROP_MESSAGES, _DROP_CALLS):
                await connection.run_statement(statement, values)


def _values(conversation_id: int, answer: Answer, now: datetime) -> dict[str, Any]:
    return {
        "conversation_id": conversation_id,
        "address": answer.address,
        "pieces": [storable(piece) for piece in answer.pieces],
        "now": now,
        **template_columns(answer.template),
    }
