"""Outbound messages: one lane per person, one message of it on its way at a time, statuses that only move forward."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from attrs import frozen

from actors.failures import NOT_NEEDED, Repeat, failure_of, other_form_of, repeat_of, told
from actors.messages import DeliveryStatus, Outgoing, Purpose, Reported, StatusReport
from actors.ports import Lane
from daemon.store.failed import FAILED, failed_message, follow
from daemon.store.held import HELD, HELD_VALUES, NEEDS_REOPENING, SUPERFLUOUS
from daemon.store.pool import Database, StatementError
from daemon.store.values import OUTGOING, Row, id_array, outgoing, storable

_UNIQUE_VIOLATION = "23505"

PATIENCE = timedelta(seconds=60)
"""What repeats a failed message waits no longer than this once the person has written."""

# Where a message stands in its lane.
_PLACE = "coalesce(m.place, m.id)"

# When a pending message may go; null: at once. What waits without having been tried repeats a failed message, and was
# made when that failed. What was tried waits because Twilio could not take it, whoever writes.
_DUE_AT = """
    CASE
        WHEN m.not_before IS NULL OR EXISTS (
            SELECT FROM message i
            WHERE i.person_id = m.person_id AND i.direction = 'inbound' AND i.created_at > m.as_template_at
        ) THEN NULL
        WHEN m.attempts > 0 THEN m.not_before
        ELSE least(m.not_before, (
            SELECT min(i.created_at) + %(patience)s::interval FROM message i
            WHERE i.person_id = m.person_id AND i.direction = 'inbound' AND i.created_at > m.created_at
        ))
    END
"""

# The oldest that is no opening tells a lane's purpose. Openings and others each have the limit for themselves: ten
# thousand openings must not hide the answers behind them. What is being sent is the head: a reopening may be, behind
# the answer it was made for.
_LANES = f"""
SELECT person_id, purpose, sending_since, due_at
FROM (
    SELECT head.*, row_number() OVER (PARTITION BY purpose = 'opening' ORDER BY waiting_since, id) AS nth
    FROM (
        SELECT DISTINCT ON (person_id)
            person_id, id, sending_since,
            first_value(purpose) OVER (PARTITION BY person_id ORDER BY purpose = 'opening', place, id) AS purpose,
            due_at,
            coalesce(sending_since, due_at, created_at) AS waiting_since
        FROM (
            SELECT
                m.person_id, m.id, m.purpose, m.created_at, m.sending_since, {_PLACE} AS place, {_DUE_AT} AS due_at
            FROM message m
            WHERE m.status IN ('pending', 'sending') AND m.person_id <> ALL(%(exclude)s::bigint[]) AND NOT {HELD}
        ) unsent
        ORDER BY person_id, sending_since IS NULL, place, id
    ) head
) numbered
WHERE nth <= %(limit)s
ORDER BY waiting_since, id
"""  # noqa: S608 -- constants

_HEAD = f"""
    SELECT m.id FROM message m
    WHERE m.person_id = %(person_id)s AND m.status IN ('pending', 'sending') AND NOT {HELD} AND NOT {SUPERFLUOUS}
    ORDER BY {_PLACE}, m.id LIMIT 1
"""  # noqa: S608 -- constants

_TALK = """
    SELECT max(i.created_at) AS opened_at FROM message i
    WHERE i.person_id = %(person_id)s AND i.direction = 'inbound'
"""

_IS_DUE = f"coalesce({_DUE_AT} <= %(now)s, true)"

# As `actors.conversation.permission.goes_as_template`.
_GOES_AS_TEMPLATE = """(
    m.template_sid IS NOT NULL AND (
        m.must_use_template AND NOT coalesce(talk.opened_at > m.created_at, false)
        OR NOT coalesce(talk.opened_at > %(now)s::timestamptz - %(window)s::interval, false)
    )
)"""

# Of two claims at once the second waits for the first one's row and then finds it no longer pending. The index
# `message_in_flight` refuses the cases that remain: an older message whose insert became visible in between, or which
# waited for a reopening that is on its way, to somebody who has written meanwhile.
_CLAIM = f"""
UPDATE message m
SET status = 'sending', status_rank = 1, sending_since = %(now)s, attempts = attempts + 1,
    as_template_at = CASE WHEN m.purpose = 'reopening' OR {_GOES_AS_TEMPLATE} THEN %(now)s END
FROM ({_TALK}) talk
WHERE m.id = ({_HEAD})
    AND m.status = 'pending'
    AND {_IS_DUE}
    AND NOT ({NEEDS_REOPENING} AND {_GOES_AS_TEMPLATE})
RETURNING {OUTGOING}
"""  # noqa: S608 -- constants

# Where nothing could be claimed. Ends reopenings that nobody needs any more, and makes a new one, which tells the
# template's SID as its text; WhatsApp shows other words.
_REOPEN = f"""
WITH superfluous AS (
    UPDATE message m SET status = 'refused', status_rank = 6, error_detail = %(not_needed)s, result_at = %(now)s
    WHERE m.person_id = %(person_id)s AND {SUPERFLUOUS}
)
INSERT INTO message AS m (
    conversation_id, person_id, direction, address, content, status, status_rank, created_at, purpose,
    template_sid, template_variables, must_use_template, attempts, sending_since, as_template_at, heard_at,
    is_respelled, written_at
)
SELECT
    m.conversation_id, m.person_id, 'outbound', m.address, '[' || m.template_sid || ']', 'sending', 1, %(now)s, 'reopening',
    m.template_sid, m.template_variables, true, 1, %(now)s, %(now)s, talk.opened_at,
    m.is_respelled, coalesce(m.written_at, m.created_at)
FROM message m, ({_TALK}) talk
WHERE m.id = ({_HEAD})
    AND m.status = 'pending'
    AND {_IS_DUE}
    AND {NEEDS_REOPENING} AND {_GOES_AS_TEMPLATE}
RETURNING {OUTGOING}
"""  # noqa: S608 -- constants

_IN_DOUBT = f"SELECT {OUTGOING} FROM message m WHERE m.person_id = %(person_id)s AND m.status = 'sending'"  # noqa: S608 -- constants

# A status report may have come first, so what it recorded stays: of a message that has failed already the call is
# no longer handled by it.
_ACCEPTED = """
WITH accepted AS (
    UPDATE message
    SET twilio_sid = coalesce(twilio_sid, %(sid)s),
        status = CASE WHEN status_rank < 2 THEN 'accepted' ELSE status END,
        status_rank = greatest(status_rank, 2),
        accepted_at = coalesce(accepted_at, %(now)s),
        sending_since = NULL
    WHERE id = %(message_id)s AND direction = 'outbound'
    RETURNING id, person_id, call_id, status_rank
), handled AS (
    UPDATE call k SET follow_up = 'handled', updated_at = %(now)s
    FROM accepted a
    WHERE k.id = a.call_id AND k.follow_up = 'queued' AND a.status_rank < 6
)
SELECT EXISTS (
    SELECT FROM message m
    WHERE m.person_id = a.person_id AND m.status IN ('pending', 'sending') AND m.id <> a.id
)
FROM accepted a
"""

_REFUSED = f"""
UPDATE message m
SET status = 'refused', status_rank = 6, error_code = %(code)s, error_detail = %(detail)s, sending_since = NULL,
    result_at = %(now)s
WHERE m.id = %(message_id)s AND m.status IN ('pending', 'sending')
RETURNING {FAILED}
"""  # noqa: S608 -- constants

_HAS_MORE = """
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
    UPDATE message m
    SET twilio_sid = %(sid)s,
        status = %(status)s,
        status_rank = %(rank)s,
        error_code = %(error_code)s,
        error_detail = %(error_detail)s,
        accepted_at = coalesce(accepted_at, %(now)s),
        sending_since = NULL,
        result_at = CASE WHEN %(rank)s > 5 OR %(rank)s > 2 AND result_at IS NULL THEN %(now)s ELSE result_at END
    WHERE (m.twilio_sid = %(sid)s OR m.id = %(message_id)s AND m.twilio_sid IS NULL)
        AND m.direction = 'outbound' AND m.status_rank < %(rank)s
"""

_MOVED = """
    m.id, m.person_id, m.conversation_id, m.purpose, m.accepted_at,
    CASE WHEN m.as_template_at IS NOT NULL THEN m.template_sid END
"""

_REPORT_PROGRESS = f"""
WITH moved AS (
    {_MOVE} RETURNING {_MOVED}, m.call_id
), handled AS (
    UPDATE call k SET follow_up = 'handled', updated_at = %(now)s
    FROM moved m
    WHERE k.id = m.call_id AND k.follow_up = 'queued'
)
SELECT * FROM moved
"""  # noqa: S608 -- constants

_REPORT_FAILURE = f"{_MOVE} RETURNING {_MOVED}, {FAILED}"
_MOVED_COLUMNS = 6


@frozen
class PostgresOutbox:
    """`OutboxStore` on PostgreSQL."""

    pool: Database

    async def lanes(self, *, limit: int, exclude: Collection[int]) -> Sequence[Lane]:
        values = {"limit": limit, "exclude": id_array(exclude), "patience": PATIENCE, **HELD_VALUES}
        rows = await self.pool.fetch_all(_LANES, values)
        return [
            Lane(person_id=row[0], purpose=Purpose(row[1]), in_doubt_since=row[2], not_before=row[3])
            for row in rows
        ]

    async def claim(self, person_id: int, *, now: datetime) -> Outgoing | None:
        values = {"person_id": person_id, "now": now, "patience": PATIENCE, **HELD_VALUES}
        try:
            row = await self.pool.fetch_one(_CLAIM, values)
            if row is None:
                row = await self.pool.fetch_one(_REOPEN, {**values, "not_needed": NOT_NEEDED})
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
        values = {"message_id": message_id, "code": code, "detail": detail, "now": now}
        async with self.pool.transaction() as connection:
            row = await connection.fetch_one(_REFUSED, values)
            if row is not None:
                repeat = other_form_of(failed_message(row), code, now=now)
                await follow(connection, row, code=code, note=f"{code}: {detail}", repeat=repeat, now=now)
            more = await connection.fetch_one(_HAS_MORE, values)
        return more is not None and bool(more[0])

    async def release(self, message_id: int, *, not_before: datetime) -> None:
        await self.pool.execute(_RELEASE, {"message_id": message_id, "not_before": not_before})

    async def known_sids(self, sids: Collection[str]) -> Collection[str]:
        return {row[0] for row in await self.pool.fetch_all(_KNOWN_SIDS, {"sids": list(sids)})}

    async def report(
        self, report: StatusReport, *, now: datetime, give_up_after: timedelta | None = None
    ) -> Reported | None:
        status = report.status
        if status is None or status.rank < DeliveryStatus.ACCEPTED.rank:
            status = DeliveryStatus.ACCEPTED
        code = report.error_code if status.is_failure else None
        values = {
            "sid": report.sid,
            "message_id": report.message_id,
            "status": status.label,
            "rank": status.rank,
            "error_code": code,
            "error_detail": failure_of(code).advice if status.is_failure else None,
            "now": now,
        }
        if not status.is_failure:
            moved = await self.pool.fetch_one(_REPORT_PROGRESS, values)
            return None if moved is None else _reported(moved, status, None, None)
        async with self.pool.transaction() as connection:
            moved = await connection.fetch_one(_REPORT_FAILURE, values)
            if moved is None:
                return None
            failed = moved[_MOVED_COLUMNS:]
            repeat = repeat_of(failed_message(failed), code, now=now, give_up_after=give_up_after)
            await follow(connection, failed, code=code, note=told(code), repeat=repeat, now=now)
        return _reported(moved, status, code, repeat)


def _reported(row: Row, status: DeliveryStatus, code: int | None, repeat: Repeat | None) -> Reported:
    return Reported(
        id=row[0],
        person_id=row[1],
        conversation_id=row[2],
        purpose=Purpose(row[3]),
        accepted_at=row[4],
        template_sid=row[5],
        status=status,
        error_code=code,
        is_repeated=repeat is not None,
        again_at=repeat.not_before if repeat is not None else None,
    )


def _outgoing_or_none(row: Row | None) -> Outgoing | None:
    return None if row is None else outgoing(row)
