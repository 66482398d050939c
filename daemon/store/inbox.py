"""Inbound messages: stored once, each with its person and an open conversation."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from attrs import frozen

from actors.messages import InboundMessage
from actors.ports import Received
from daemon.store.person import find_or_make_person
from daemon.store.pool import Connection, Database
from daemon.store.values import sole, storable, storable_or_none, to_jsonb

# All in one for a person about whom the message tells nothing new and whose conversation is open; no row otherwise.
# The lock makes a closing of the conversation wait for the message, or the message see that it is closed; what the
# locked row says is newer than what the rest of the statement sees of it.
_RECEIVE_FROM_KNOWN = """
WITH spot AS (
    SELECT c.id, c.person_id, c.status, c.turn_retry_at
    FROM person_identity i
    JOIN person p ON p.id = i.person_id
    JOIN conversation c ON c.person_id = i.person_id
    WHERE i.identity = %(surest)s AND c.status <> 'closed'
        AND (p.name IS NOT NULL OR %(name)s::text IS NULL)
        AND (p.phone_number IS NOT NULL OR %(phone_number)s::text IS NULL)
        AND NOT EXISTS (
            SELECT FROM unnest(%(others)s::text[]) AS o (identity)
            WHERE NOT EXISTS (
                SELECT FROM person_identity k WHERE k.identity = o.identity AND k.person_id = i.person_id
            )
        )
    FOR NO KEY UPDATE OF c
), stored AS (
    INSERT INTO message (
        conversation_id, person_id, direction, address, content, twilio_sid, status, created_at, kind, fields
    )
    SELECT
        id, person_id, 'inbound', %(address)s, %(text)s, %(sid)s, 'received', %(now)s, %(kind)s, %(fields)s::jsonb
    FROM spot
    ON CONFLICT (twilio_sid) WHERE twilio_sid IS NOT NULL DO NOTHING
    RETURNING person_id, conversation_id
), woken AS (
    UPDATE conversation c
    SET status = CASE c.status WHEN 'window_closed' THEN 'active' ELSE c.status END, turn_retry_at = NULL
    FROM stored, spot s
    WHERE c.id = s.id AND (s.status = 'window_closed' OR s.turn_retry_at IS NOT NULL)
)
SELECT person_id, conversation_id, true FROM stored
UNION ALL
SELECT person_id, conversation_id, false FROM message WHERE twilio_sid = %(sid)s
"""

_OPEN_CONVERSATION = """
INSERT INTO conversation (person_id, agent_id, started_at)
SELECT
    %(person_id)s,
    coalesce(
        (SELECT agent_id FROM conversation WHERE person_id = %(person_id)s ORDER BY id DESC LIMIT 1),
        %(default_agent_id)s
    ),
    %(now)s
ON CONFLICT (person_id) WHERE status <> 'closed' DO UPDATE
SET status = CASE conversation.status WHEN 'window_closed' THEN 'active' ELSE conversation.status END,
    turn_retry_at = NULL
RETURNING id
"""

_STORE = """
INSERT INTO message (
    conversation_id, person_id, direction, address, content, twilio_sid, status, created_at, kind, fields
)
VALUES (
    %(conversation_id)s, %(person_id)s, 'inbound', %(address)s, %(text)s, %(sid)s, 'received', %(now)s, %(kind)s,
    %(fields)s::jsonb
)
ON CONFLICT (twilio_sid) WHERE twilio_sid IS NOT NULL DO NOTHING
RETURNING person_id
"""

_NEWEST_MESSAGE_AT = "SELECT created_at FROM message WHERE direction = 'inbound' ORDER BY id DESC LIMIT 1"

_KNOWN = "SELECT twilio_sid FROM message WHERE twilio_sid = ANY(%(sids)s::text[])"

_STORED_BEFORE = "SELECT person_id, conversation_id FROM message WHERE twilio_sid = %(sid)s"


@frozen
class PostgresInbox:
    """`InboxStore` on PostgreSQL."""

    pool: Database

    async def newest_message_at(self) -> datetime | None:
        row = await self.pool.fetch_one(_NEWEST_MESSAGE_AT)
        return None if row is None else row[0]

    async def known(self, sids: Collection[str]) -> Collection[str]:
        return {row[0] for row in await self.pool.fetch_all(_KNOWN, {"sids": list(sids)})}

    async def receive(self, message: InboundMessage, *, default_agent_id: str, now: datetime) -> Received:
        values = _values(message, now)
        row = await self.pool.fetch_one(_RECEIVE_FROM_KNOWN, values)
        if row is not None:
            return Received(person_id=row[0], conversation_id=row[1], is_new=row[2])
        async with self.pool.transaction() as connection:
            return await _receive_slowly(connection, message, values, default_agent_id)


async def _receive_slowly(
    connection: Connection, message: InboundMessage, values: dict[str, Any], default_agent_id: str
) -> Received:
    person_id = await find_or_make_person(
        connection, message.identities, phone_number=message.phone_number, name=message.profile_name
    )
    values = {**values, "person_id": person_id, "default_agent_id": default_agent_id}
    conversation = sole(await connection.fetch_one(_OPEN_CONVERSATION, values))
    stored = await connection.fetch_one(_STORE, {**values, "conversation_id": conversation[0]})
    if stored is None:
        # A repetition that arrived at the same moment was first.
        before = sole(await connection.fetch_one(_STORED_BEFORE, values))
        return Received(person_id=before[0], conversation_id=before[1], is_new=False)
    return Received(person_id=person_id, conversation_id=conversation[0], is_new=True)


def _values(message: InboundMessage, now: datetime) -> dict[str, Any]:
    return {
        "sid": message.sid,
        "surest": message.identities[0],
        "others": list(message.identities[1:]),
        "phone_number": message.phone_number,
        "name": storable_or_none(message.profile_name),
        "address": message.address,
        "text": storable(message.text),
        "kind": message.kind,
        "fields": to_jsonb(message.fields),
        "now": now,
    }
