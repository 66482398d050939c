"""Outbound messages: one lane per person, one message of it on its way at a time, statuses that only move forward."""

from collections.abc import Collection, Sequence
from datetime import datetime

from attrs import frozen

from actors.messages import DeliveryStatus, Outgoing, StatusReport
from actors.ports import Lane
from daemon.store.pool import Pool, StatementError
from daemon.store.values import OUTGOING, Row, id_array, outgoing, storable

_WINDOW_CLOSED = 63016
_UNIQUE_VIOLATION = "23505"

_LANES = """
SELECT person_id, sending_since, not_before
FROM (
    SELECT DISTINCT ON (person_id)
        person_id, id, sending_since, coalesce(not_before, created_at) AS not_before
    FROM message
    WHERE status IN ('pending', 'sending') AND person_id <> ALL(%(exclude)s::bigint[])
    ORDER BY person_id, id
) head
ORDER BY coalesce(sending_since, not_before), id
LIMIT %(limit)s
"""

# Of two claims at once the second waits for the first one's row and then finds it no longer pending. The index
# `message_in_flight` refuses the case that remains: an older message whose insert became visible in between.
_CLAIM = f"""
UPDATE message m
SET status = 'sending', status_rank = 1, sending_since = %(now)s, attempts = attempts + 1
WHERE m.id = (
        SELECT id FROM message
        WHERE person_id = %(person_id)s AND status IN ('pending', 'sending')
        ORDER BY id LIMIT 1
    )
    AND m.status = 'pending' AND (m.not_before IS NULL OR m.not_before <= %(now)s)
RETURNING {OUTGOING}
"""  # noqa: S608 -- constants

_IN_DOUBT = f"SELECT {OUTGOING} FROM message m WHERE m.person_id = %(person_id)s AND m.status = 'sending'"  # noqa: S608 -- constants

# A status report may have come first, so what it recorded stays.
_ACCEPTED = """
WITH accepted AS (
    UPDATE message
    SET twilio_sid = coalesce(twilio_sid, %(sid)s),
        status = CASE WHEN status_rank < 2 THEN 'accepted' ELSE status END,
        status_rank = greatest(status_rank, 2),
        accepted_at = coalesce(accepted_at, %(now)s),
        sending_since = NULL
    WHERE id = %(message_id)s AND direction = 'outbound'
    RETURNING id, person_id, call_id
), handled AS (
    UPDATE call k SET follow_up = 'handled', updated_at = %(now)s
    FROM accepted a
    WHERE k.id = a.call_id AND k.follow_up = 'queued'
)
SELECT EXISTS (
    SELECT FROM message m
    WHERE m.person_id = a.person_id AND m.status IN ('pending', 'sending') AND m.id <> a.id
)
FROM accepted a
"""

_REFUSED = """
WITH refused AS (
    UPDATE message
    SET status = 'refused', status_rank = 6, error_code = %(code)s, error_detail = %(detail)s, sending_since = NULL
    WHERE id = %(message_id)s AND status IN ('pending', 'sending')
    RETURNING id, call_id
), given_up AS (
    UPDATE call k SET follow_up = 'refused', follow_up_note = %(note)s, updated_at = %(now)s
    FROM refused r
    WHERE k.id = r.call_id AND k.follow_up = 'queued'
)
SELECT EXISTS (
    SELECT FROM message m
    WHERE m.person_id = o.person_id AND m.status IN ('pending', 'sending') AND m.id <> o.id
)
FROM message o
WHERE o.id = %(message_id)s
"""

_RELEASE = """
UPDATE message SET status = 'pending', status_rank = 0, sending_since = NULL, not_before = %(not_before)s
WHERE id = %(message_id)s AND status = 'sending'
"""

_KNOWN_SIDS = "SELECT twilio_sid FROM message WHERE twilio_sid = ANY(%(sids)s::text[])"

# Whatever Twilio reports of a message, it has accepted it. One that nobody knew to be accepted has no SID yet and is
# found by our own id; one that has another SID than this was sent twice, and the report is about the copy.
_MOVE = """
    UPDATE message
    SET twilio_sid = %(sid)s,
        status = %(status)s,
        status_rank = %(rank)s,
        error_code = %(error_code)s,
        accepted_at = coalesce(accepted_at, %(now)s),
        sending_since = NULL
    WHERE (twilio_sid = %(sid)s OR id = %(message_id)s AND twilio_sid IS NULL)
        AND direction = 'outbound' AND status_rank < %(rank)s
"""

_HANDLE = """
    UPDATE call k SET follow_up = 'handled', updated_at = %(now)s
    FROM moved m
    WHERE k.id = m.call_id AND k.follow_up = 'queued'
"""

_REPORT = f"WITH moved AS ({_MOVE} RETURNING call_id) {_HANDLE}"

# What must go as a template and failed like this is not sent again. Whoever wrote after the message had gone has
# opened the window meanwhile.
_REPORT_CLOSED_WINDOW = f"""
WITH moved AS ({_MOVE} RETURNING *),
handled AS ({_HANDLE}),
replacement AS (
    INSERT INTO message (
        conversation_id, person_id, direction, address, content, status, created_at, purpose, call_id,
        template_sid, template_variables, must_use_template, replaces_id
    )
    SELECT
        conversation_id, person_id, 'outbound', address, content, 'pending', %(now)s, purpose, call_id,
        template_sid, template_variables, true, id
    FROM moved
    WHERE template_sid IS NOT NULL AND NOT must_use_template
    RETURNING person_id
), marked AS (
    UPDATE conversation c SET status = 'window_closed'
    FROM moved m
    WHERE (m.template_sid IS NULL OR m.must_use_template) AND c.id = m.conversation_id AND c.status = 'active'
        AND NOT EXISTS (
            SELECT FROM message i
            WHERE i.person_id = m.person_id AND i.direction = 'inbound' AND i.created_at > m.accepted_at
        )
)
SELECT person_id FROM replacement
"""  # noqa: S608 -- constants


@frozen
class PostgresOutbox:
    """`OutboxStore` on PostgreSQL."""

    pool: Pool

    async def lanes(self, *, limit: int, exclude: Collection[int]) -> Sequence[Lane]:
        rows = await self.pool.fetch_all(_LANES, {"limit": limit, "exclude": id_array(exclude)})
        return [Lane(person_id=row[0], in_doubt_since=row[1], not_before=row[2]) for row in rows]

    async def claim(self, person_id: int, *, now: datetime) -> Outgoing | None:
        try:
            row = await self.pool.fetch_one(_CLAIM, {"person_id": person_id, "now": now})
        except StatementError as error:
            if error.sqlstate != _UNIQUE_VIOLATION:
                raise
            return None
        return _outgoing_or_none(row)

    async def in_doubt(self, person_id: int) -> Outgoing | None:
        return _outgoing_or_none(await self.pool.fetch_one(_IN_DOUBT, {"person_id": person_id}))

    async def accepted(self, message_id: int, *, sid: str, now: datetime) -> bool:
        row = await self.pool.fetch_one(_ACCEPTED, {"message_id": message_id, "sid": sid, "now": now})
        return row is not None and bool(row[0])

    async def refused(self, message_id: int, *, code: int, detail: str, now: datetime) -> bool:
        detail = storable(detail)
        row = await self.pool.fetch_one(
            _REFUSED,
            {
                "message_id": message_id,
                "code": code,
                "detail": detail,
                "note": f"{code}: {detail}",
                "now": now,
            },
        )
        return row is not None and bool(row[0])

    async def release(self, message_id: int, *, not_before: datetime) -> None:
        await self.pool.execute(_RELEASE, {"message_id": message_id, "not_before": not_before})

    async def known_sids(self, sids: Collection[str]) -> Collection[str]:
        return {row[0] for row in await self.pool.fetch_all(_KNOWN_SIDS, {"sids": list(sids)})}

    async def report(self, report: StatusReport, *, now: datetime) -> int | None:
        status = report.status
        if status is None or status.rank < DeliveryStatus.ACCEPTED.rank:
            status = DeliveryStatus.ACCEPTED
        values = {
            "sid": report.sid,
            "message_id": report.message_id,
            "status": status.label,
            "rank": status.rank,
            "error_code": report.error_code if status.is_failure else None,
            "now": now,
        }
        if values["error_code"] != _WINDOW_CLOSED:
            await self.pool.execute(_REPORT, values)
            return None
        replaced = await self.pool.fetch_one(_REPORT_CLOSED_WINDOW, values)
        return None if replaced is None else int(replaced[0])


def _outgoing_or_none(row: Row | None) -> Outgoing | None:
    return None if row is None else outgoing(row)
