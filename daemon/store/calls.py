"""Finished calls, the batches they come from, and how far their follow-up is."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import frozen

from actors.calls import (
    Batch,
    BatchRecipient,
    CallDetails,
    CallOutcome,
    CallSighting,
    FollowUpState,
    SeenCall,
)
from actors.ports import AwaitedCall
from daemon.store.person import find_or_make_person, open_conversation
from daemon.store.pool import Database
from daemon.store.values import Row, storable, storable_or_none, to_jsonb

_DELIBERATE = frozenset({CallSighting.WEBHOOK, CallSighting.COMMAND, CallSighting.LIVE})

PART_OF_LIVE_CALL = "part of a live call"
"""Why a call gets no opening of its own."""

# A row that this very statement inserted has no xmax. Everybody goes through the ids in the same order, so that two
# who found the same calls do not wait for each other.
_SEE = """
INSERT INTO call (
    id, sighting, seen_at, agent_id, phone_number, outcome, batch_id, recipient_id, variables, look_at, updated_at
)
SELECT
    s.id, s.sighting, %(now)s, s.agent_id, s.phone_number, s.outcome, s.batch_id, s.recipient_id, s.variables,
    %(now)s, %(now)s
FROM jsonb_to_recordset(%(calls)s::jsonb) AS s (
    id text, sighting text, agent_id text, phone_number text, outcome text, batch_id text, recipient_id text,
    variables jsonb
)
ORDER BY s.id
ON CONFLICT (id) DO UPDATE
SET batch_id = coalesce(call.batch_id, excluded.batch_id),
    recipient_id = coalesce(call.recipient_id, excluded.recipient_id),
    outcome = coalesce(call.outcome, excluded.outcome),
    phone_number = coalesce(call.phone_number, excluded.phone_number),
    sighting = CASE WHEN call.sighting IN ('webhook', 'command', 'live') THEN call.sighting
        WHEN excluded.sighting IN ('webhook', 'command', 'live') THEN excluded.sighting
        ELSE call.sighting END
WHERE call.batch_id IS NULL AND excluded.batch_id IS NOT NULL
    OR call.recipient_id IS NULL AND excluded.recipient_id IS NOT NULL
    OR call.outcome IS NULL AND excluded.outcome IS NOT NULL
    OR call.phone_number IS NULL AND excluded.phone_number IS NOT NULL
    OR call.sighting NOT IN ('webhook', 'command', 'live') AND excluded.sighting IN ('webhook', 'command', 'live')
RETURNING id, xmax = 0
"""

# The operator's command looks again at calls that got no follow-up, unless an operator closed the conversation.
_REOPEN = """
UPDATE call
SET follow_up = 'awaiting_details', follow_up_note = NULL, attempts = 0, look_at = %(now)s, updated_at = %(now)s
WHERE id IN (
    SELECT id FROM call
    WHERE id = ANY(%(call_ids)s::text[]) AND follow_up = 'none'
        AND follow_up_note IS DISTINCT FROM 'conversation closed before the opening'
    ORDER BY id
    FOR NO KEY UPDATE
)
RETURNING id
"""

_SAVE_BATCH = """
INSERT INTO batch (id, name, agent_id, status, created_at, updated_at, settled_at)
VALUES (%(id)s, %(name)s, %(agent_id)s, %(status)s, %(created_at)s, %(updated_at)s, %(settled_at)s)
ON CONFLICT (id) DO UPDATE
SET name = excluded.name, agent_id = excluded.agent_id, status = excluded.status,
    created_at = excluded.created_at, updated_at = excluded.updated_at, settled_at = excluded.settled_at
"""

# A batch of ten thousand is seen again every few seconds while it runs; only what has changed is written.
_SAVE_RECIPIENTS = """
INSERT INTO batch_recipient AS r (batch_id, recipient_id, phone_number, status, outcome, call_id, variables)
SELECT %(id)s, n.id, n.phone_number, n.status, n.outcome, n.call_id, n.variables
FROM jsonb_to_recordset(%(recipients)s::jsonb) AS n (
    id text, phone_number text, status text, outcome text, call_id text, variables jsonb
)
ON CONFLICT (batch_id, recipient_id) DO UPDATE
SET phone_number = excluded.phone_number, status = excluded.status, outcome = excluded.outcome,
    call_id = excluded.call_id, variables = excluded.variables
WHERE (r.phone_number, r.status, r.outcome, r.call_id, r.variables) IS DISTINCT FROM
    (excluded.phone_number, excluded.status, excluded.outcome, excluded.call_id, excluded.variables)
"""

_REMOVE_RECIPIENTS = """
DELETE FROM batch_recipient WHERE batch_id = %(id)s AND recipient_id <> ALL(%(recipient_ids)s::text[])
"""

_SETTLED_BATCHES = "SELECT id, settled_at FROM batch WHERE settled_at IS NOT NULL"

_AWAITED = """
SELECT id, sighting, outcome, phone_number, attempts, seen_at
FROM call
WHERE id = %(call_id)s AND follow_up = 'awaiting_details'
"""

_AWAITING_DETAILS = """
SELECT id, sighting, outcome, phone_number, attempts, seen_at
FROM call
WHERE follow_up = 'awaiting_details' AND look_at <= %(now)s
ORDER BY look_at, id
LIMIT %(limit)s
"""

_POSTPONE = """
UPDATE call SET look_at = %(until)s, attempts = attempts + 1
WHERE id = %(call_id)s AND follow_up = 'awaiting_details'
"""

_GIVE_UP = """
UPDATE call SET follow_up = 'none', follow_up_note = %(reason)s, updated_at = now()
WHERE id = %(call_id)s AND follow_up = 'awaiting_details'
"""

_LOCK = "SELECT follow_up, person_id, is_part FROM call WHERE id = %(id)s FOR NO KEY UPDATE"

_SAVE_DETAILS = """
UPDATE call
SET agent_id = %(agent_id)s,
    phone_number = coalesce(%(phone_number)s, phone_number),
    person_id = coalesce(%(person_id)s, person_id),
    conversation_id = coalesce(%(conversation_id)s, conversation_id),
    client_name = coalesce(%(client_name)s, client_name),
    batch_id = coalesce(batch_id, %(batch_id)s),
    recipient_id = coalesce(recipient_id, %(recipient_id)s),
    variables = CASE WHEN %(variables)s::jsonb = '{}' THEN variables ELSE %(variables)s::jsonb END,
    outcome = %(outcome)s,
    direction = coalesce(%(direction)s, direction),
    started_at = %(started_at)s,
    ended_at = %(ended_at)s,
    duration_s = %(duration_s)s,
    transcript = %(transcript)s::jsonb,
    summary = coalesce(%(summary)s, summary),
    title = coalesce(%(title)s, title),
    successful = coalesce(%(successful)s, successful),
    collected = coalesce(%(collected)s::jsonb, collected),
    sentiment = coalesce(%(sentiment)s, sentiment),
    follow_up = %(follow_up)s,
    follow_up_note = coalesce(%(follow_up_note)s, follow_up_note),
    updated_at = now()
WHERE id = %(id)s
"""


@frozen
class PostgresCalls:
    """`CallStore` on PostgreSQL."""

    pool: Database

    async def see(self, calls: Sequence[SeenCall], *, now: datetime) -> Sequence[str]:
        if not calls:
            return ()
        merged = _merged(calls)
        rows = await self.pool.fetch_all(_SEE, {"calls": to_jsonb(list(merged.values())), "now": now})
        wanted = {row[0] for row in rows if row[1]}
        commanded = [call.id for call in calls if call.sighting is CallSighting.COMMAND]
        if commanded:
            reopened = await self.pool.fetch_all(_REOPEN, {"call_ids": commanded, "now": now})
            wanted.update(row[0] for row in reopened)
        return [call_id for call_id in merged if call_id in wanted]

    async def save_batch(self, batch: Batch, *, is_settled: bool) -> None:
        summary = batch.summary
        # One statement cannot write a row twice: of a recipient that is listed twice the later line counts.
        recipients = {recipient.id: recipient for recipient in batch.recipients}
        values = {
            "id": summary.id,
            "name": storable(summary.name),
            "agent_id": summary.agent_id,
            "status": summary.status,
            "created_at": summary.created_at,
            "updated_at": summary.updated_at,
            "settled_at": summary.updated_at if is_settled else None,
            "recipients": to_jsonb([_recipient_columns(recipient) for recipient in recipients.values()]),
            "recipient_ids": list(recipients),
        }
        async with self.pool.transaction() as connection:
            for statement in (_SAVE_BATCH, _SAVE_RECIPIENTS, _REMOVE_RECIPIENTS):
                await connection.run_statement(statement, values)

    async def settled_batches(self) -> Mapping[str, datetime]:
        return dict(await self.pool.fetch_all(_SETTLED_BATCHES))

    async def awaiting_details(self, *, now: datetime, limit: int) -> Sequence[AwaitedCall]:
        rows = await self.pool.fetch_all(_AWAITING_DETAILS, {"now": now, "limit": limit})
        return [_awaited(row) for row in rows]

    async def awaited(self, call_id: str) -> AwaitedCall | None:
        row = await self.pool.fetch_one(_AWAITED, {"call_id": call_id})
        return None if row is None else _awaited(row)

    async def postpone(self, call_id: str, *, until: datetime) -> None:
        await self.pool.execute(_POSTPONE, {"call_id": call_id, "until": until})

    async def save_details(
        self,
        details: CallDetails,
        *,
        client_name: str | None,
        identities: Sequence[str],
        follow_up: FollowUpState,
        agent_id: str,
    ) -> int | None:
        """See `CallStore`. A call that is due has somebody to write to.

        Raises:
            LookupError: nobody has seen the call; see it first.
            ValueError: it is due, and it has nobody.
        """
        async with self.pool.transaction() as connection:
            stands = await connection.fetch_one(_LOCK, {"id": details.id})
            if stands is None:
                raise LookupError(f"nobody has seen the call {details.id}")
            person_id: int | None = stands[1]
            if stands[0] != FollowUpState.AWAITING_DETAILS:
                return person_id
            if identities:
                person_id = await find_or_make_person(
                    connection, identities, phone_number=details.phone_number, name=client_name
                )
            values = {
                **_details_columns(details),
                "person_id": person_id,
                "client_name": storable_or_none(client_name),
                "follow_up": follow_up,
                "follow_up_note": None,
                "conversation_id": None,
            }
            is_part: bool = stands[2]
            if is_part and follow_up is not FollowUpState.AWAITING_DETAILS:
                values |= {"follow_up": FollowUpState.NONE, "follow_up_note": PART_OF_LIVE_CALL}
            elif follow_up is FollowUpState.DUE:
                if person_id is None:
                    raise ValueError("a call that is due has somebody to write to")
                values["conversation_id"] = await open_conversation(connection, person_id, agent_id)
            await connection.run_statement(_SAVE_DETAILS, values)
            return person_id

    async def give_up(self, call_id: str, *, reason: str) -> None:
        await self.pool.execute(_GIVE_UP, {"call_id": call_id, "reason": storable(reason)})


def _awaited(row: Row) -> AwaitedCall:
    return AwaitedCall(
        id=row[0],
        sighting=CallSighting(row[1]),
        outcome=CallOutcome(row[2]) if row[2] else None,
        phone_number=row[3],
        attempts=row[4],
        seen_at=row[5],
    )


def _merged(calls: Sequence[SeenCall]) -> dict[str, dict[str, Any]]:
    """The rows to store by call id; of a call seen several times at once, a later one fills in the earlier."""
    rows: dict[str, dict[str, Any]] = {}
    for call in calls:
        row = _seen_columns(call)
        earlier = rows.setdefault(call.id, row)
        for column in ("batch_id", "recipient_id", "outcome", "phone_number"):
            earlier[column] = earlier[column] or row[column]
        if earlier["sighting"] not in _DELIBERATE and row["sighting"] in _DELIBERATE:
            earlier["sighting"] = row["sighting"]
    return rows


def _seen_columns(call: SeenCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "sighting": call.sighting,
        "agent_id": call.agent_id,
        "phone_number": call.phone_number,
        "outcome": call.outcome,
        "batch_id": call.batch_id,
        "recipient_id": call.recipient_id,
        "variables": dict(call.variables),
    }


def _recipient_columns(recipient: BatchRecipient) -> dict[str, Any]:
    return {
        "id": recipient.id,
        "phone_number": recipient.phone_number,
        "status": recipient.status,
        "outcome": recipient.outcome,
        "call_id": recipient.call_id,
        "variables": dict(recipient.variables),
    }


def _details_columns(details: CallDetails) -> dict[str, Any]:
    analysis = details.analysis
    return {
        "id": details.id,
        "agent_id": details.agent_id,
        "phone_number": storable_or_none(details.phone_number),
        "batch_id": details.batch_id,
        "recipient_id": details.recipient_id,
        "variables": to_jsonb(dict(details.variables)),
        "outcome": details.outcome,
        "direction": details.direction,
        "started_at": details.started_at,
        "ended_at": details.ended_at,
        "duration_s": details.duration_s,
        "transcript": to_jsonb(
            [
                {"role": entry.role, "text": entry.text, "offset_s": entry.offset_s}
                for entry in details.transcript
            ]
        ),
        "summary": storable_or_none(analysis.summary) if analysis else None,
        "title": storable_or_none(analysis.title) if analysis else None,
        "successful": analysis.successful if analysis else None,
        "collected": to_jsonb(dict(analysis.collected)) if analysis else None,
        "sentiment": analysis.sentiment if analysis else None,
    }
