"""What follows when a message has failed: another in its place, or the end of its call's follow-up."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from actors.failures import FailedMessage, FailureKind, Repeat, failure_of
from actors.messages import Purpose
from daemon.store.held import ANSWERED, NEEDS_REOPENING
from daemon.store.pool import Connection
from daemon.store.values import Row

# Of a failed message `m`, in the order in which `_failed` reads them.
FAILED: Final = """
    m.id, m.call_id, m.campaign, m.address, m.template_sid IS NOT NULL, m.must_use_template, m.repeats, m.is_respelled,
    coalesce(m.written_at, m.created_at), m.purpose
"""

# A piece of an answer keeps its place before those that are still to go. What repeats an opening goes last: an answer
# does not wait for it.
_REPEAT: Final = """
INSERT INTO message (
    conversation_id, person_id, direction, address, content, status, created_at, purpose, call_id,
    template_sid, template_variables, must_use_template, replaces_id,
    not_before, repeats, is_respelled, written_at, campaign, probe_round, as_template_at,
    heard_at, place
)
SELECT
    m.conversation_id, m.person_id, 'outbound', %(address)s, m.content, 'pending', %(now)s, m.purpose, m.call_id,
    m.template_sid, m.template_variables, %(must_use_template)s, m.id,
    %(not_before)s, %(repeats)s, %(is_respelled)s, coalesce(m.written_at, m.created_at), m.campaign,
    CASE WHEN %(not_before)s::timestamptz IS NULL THEN m.probe_round END,
    CASE WHEN %(not_before)s::timestamptz IS NOT NULL THEN m.as_template_at END,
    m.heard_at,
    CASE WHEN m.purpose IN ('answer', 'fallback') THEN coalesce(m.place, m.id) END
FROM message m
WHERE m.id = %(message_id)s
"""

_QUEUE_CALL: Final = """
UPDATE call SET follow_up = 'queued', updated_at = %(now)s
WHERE id = %(call_id)s AND follow_up IN ('queued', 'handled')
"""

_REFUSE_CALL: Final = """
UPDATE call SET follow_up = 'refused', follow_up_note = %(note)s, updated_at = %(now)s
WHERE id = %(call_id)s AND follow_up IN ('queued', 'handled')
"""

# Whoever wrote after the message had gone has opened the window meanwhile.
_MARK_CLOSED_WINDOW: Final = """
UPDATE conversation c SET status = 'window_closed'
FROM message m
WHERE m.id = %(message_id)s AND c.id = m.conversation_id AND c.status = 'active'
    AND NOT EXISTS (
        SELECT FROM message i
        WHERE i.person_id = m.person_id AND i.direction = 'inbound'
            AND i.created_at > CASE
                WHEN m.purpose = 'reopening' THEN coalesce(m.heard_at, '-infinity')
                ELSE coalesce(m.accepted_at, m.created_at)
            END
    )
"""

# What waits behind a reopening `t`. A piece that is claimed at this moment goes: the person has written.
_WAITING: Final = f"""
    SELECT m.id
    FROM message t
    JOIN message m ON m.person_id = t.person_id AND m.status = 'pending' AND {NEEDS_REOPENING}
    WHERE t.id = %(message_id)s AND NOT {ANSWERED}
    ORDER BY m.id
    FOR NO KEY UPDATE OF m SKIP LOCKED
"""  # noqa: S608 -- constants

_REFUSE_WAITING: Final = f"""
UPDATE message p
SET status = 'refused', status_rank = 6, error_code = t.error_code, error_detail = t.error_detail, result_at = %(now)s
FROM message t
WHERE t.id = %(message_id)s AND p.id IN ({_WAITING})
"""  # noqa: S608 -- constants

_RESPELL_WAITING: Final = f"""
UPDATE message p
SET address = %(address)s, is_respelled = true
FROM message t
WHERE t.id = %(message_id)s AND p.address = t.address AND t.address <> %(address)s AND p.id IN ({_WAITING})
"""  # noqa: S608 -- constants

_NOTE_FAILURE: Final = """
INSERT INTO campaign (id, failed_at) VALUES (%(campaign)s, %(now)s)
ON CONFLICT (id) DO UPDATE SET failed_at = greatest(campaign.failed_at, excluded.failed_at)
"""


def failed_message(row: Row) -> FailedMessage:
    """From the columns of `FAILED`."""
    return FailedMessage(
        address=row[3],
        has_template=row[4],
        must_use_template=row[5],
        repeats=row[6],
        is_respelled=row[7],
        written_at=row[8],
    )


async def follow(
    connection: Connection, row: Row, *, code: int | None, note: str, repeat: Repeat | None, now: datetime
) -> None:
    """Do what follows from the failure of the message in `row`, the columns of `FAILED`.

    A reopening that fails for good takes with it what waits behind it, as nobody will read that.

    To be called in the transaction in which the message fails, which holds the message's row: whoever locks more takes
    the message first, then its call, then its campaign.
    """
    message_id, call_id, campaign = row[:3]
    is_reopening = row[9] == Purpose.REOPENING
    values: dict[str, Any] = {
        "message_id": message_id,
        "call_id": call_id,
        "campaign": campaign,
        "note": note,
        "now": now,
    }
    if repeat is not None:
        await _repeat(connection, values, repeat, is_reopening=is_reopening)
    elif is_reopening:
        await connection.run_statement(_REFUSE_WAITING, values)
        await connection.run_statement(_MARK_CLOSED_WINDOW, values)
    elif failure_of(code).kind is FailureKind.WINDOW_CLOSED:
        await connection.run_statement(_MARK_CLOSED_WINDOW, values)
    if call_id is not None:
        await connection.run_statement(_REFUSE_CALL if repeat is None else _QUEUE_CALL, values)
    if campaign is not None and (repeat is None or repeat.not_before is not None):
        await connection.run_statement(_NOTE_FAILURE, values)


async def _repeat(
    connection: Connection, values: Mapping[str, Any], repeat: Repeat, *, is_reopening: bool
) -> None:
    values = {
        **values,
        "address": repeat.address,
        "must_use_template": repeat.must_use_template,
        "not_before": repeat.not_before,
        "repeats": repeat.repeats,
        "is_respelled": repeat.is_respelled,
    }
    await connection.run_statement(_REPEAT, values)
    if is_reopening:
        await connection.run_statement(_RESPELL_WAITING, values)
