"""Messages that callers left: awaited from Twilio, stored, and told to the advisor whom they are for."""

from collections.abc import Sequence
from datetime import datetime

from attrs import frozen

from actors.live_call.ports import AwaitedRecording, KeptRecording, Notice, UndeletedRecording, VoicemailCall
from daemon.store.person import find_or_make_person, open_conversation
from daemon.store.pool import Connection, Database
from daemon.store.values import Row, sole, storable, template_columns

_UNSOUGHT = """
SELECT id, call_sid, ended_at FROM live_call WHERE seek_at <= %(now)s ORDER BY seek_at, id LIMIT %(limit)s
"""

_SEEK_LATER = "UPDATE live_call SET seek_at = %(until)s WHERE id = %(id)s AND seek_at IS NOT NULL"

_SOUGHT = """
UPDATE live_call SET seek_at = NULL
WHERE id = %(id)s AND NOT EXISTS (
    SELECT FROM unnest(%(sids)s::text[]) AS made (sid)
    WHERE NOT EXISTS (SELECT FROM live_recording r WHERE r.sid = made.sid)
)
"""

# Nothing for a live call that is not there any more.
_EXPECT = """
INSERT INTO live_recording (live_call_id, sid, advisor, duration_s, recorded_at, look_at)
SELECT id, %(sid)s, %(advisor)s, %(duration_s)s, %(now)s, %(now)s FROM live_call WHERE id = %(live_call_id)s
ON CONFLICT (sid) DO NOTHING
"""

# The name that a call was made under comes before what WhatsApp calls the person.
_DUE = """
SELECT
    r.id, r.live_call_id, r.sid, r.advisor, l.caller, coalesce(named.client_name, p.name), r.duration_s, r.recorded_at,
    r.attempts
FROM live_recording r
JOIN live_call l ON l.id = r.live_call_id
LEFT JOIN person_identity i ON i.identity = l.caller
LEFT JOIN person p ON p.id = i.person_id
LEFT JOIN LATERAL (
    SELECT k.client_name FROM call k
    WHERE k.person_id = p.id AND k.client_name IS NOT NULL
    ORDER BY k.started_at DESC, k.id DESC
    LIMIT 1
) named ON true
WHERE r.kept_at IS NULL AND r.dropped_reason IS NULL AND r.look_at <= %(now)s
ORDER BY r.look_at, r.id
LIMIT %(limit)s
"""

_POSTPONE = """
UPDATE live_recording SET look_at = %(until)s, attempts = attempts + 1
WHERE id = %(id)s AND deleted_at IS NULL AND dropped_reason IS NULL
"""

_DROP = """
UPDATE live_recording SET dropped_reason = %(reason)s
WHERE id = %(id)s AND kept_at IS NULL AND dropped_reason IS NULL
"""

# One that was given up a moment ago is had after all.
_KEEP = """
UPDATE live_recording
SET audio = %(audio)s, content_type = %(content_type)s, kept_at = %(now)s, dropped_reason = NULL,
    attempts = 0, look_at = %(now)s
WHERE id = %(id)s AND kept_at IS NULL
"""

_ADD_NOTICE = """
INSERT INTO message (
    conversation_id, person_id, direction, address, content, status, created_at, purpose,
    template_sid, template_variables
)
VALUES (
    %(conversation_id)s, %(person_id)s, 'outbound', %(address)s, %(text)s, 'pending', %(now)s, 'notice',
    %(template_sid)s, %(template_variables)s::jsonb
)
RETURNING id
"""

_SET_NOTICE = "UPDATE live_recording SET notice_id = %(notice_id)s WHERE id = %(id)s"

_TOLD = """
SELECT m.person_id FROM live_recording r JOIN message m ON m.id = r.notice_id WHERE r.id = %(id)s
"""

_UNDELETED = """
SELECT id, sid, attempts FROM live_recording
WHERE kept_at IS NOT NULL AND deleted_at IS NULL AND look_at <= %(now)s
ORDER BY look_at, id
LIMIT %(limit)s
"""

_DELETED = """
UPDATE live_recording SET deleted_at = %(now)s WHERE id = %(id)s AND kept_at IS NOT NULL AND deleted_at IS NULL
"""

_KEPT = "SELECT audio, content_type FROM live_recording WHERE id = %(id)s AND kept_at IS NOT NULL"


@frozen
class PostgresRecordings:
    """`RecordingStore` on PostgreSQL."""

    pool: Database

    async def unsought(self, *, now: datetime, limit: int) -> Sequence[VoicemailCall]:
        rows = await self.pool.fetch_all(_UNSOUGHT, {"now": now, "limit": limit})
        return [VoicemailCall(live_call_id=row[0], call_sid=row[1], ended_at=row[2]) for row in rows]

    async def seek_later(self, live_call_id: int, *, until: datetime) -> None:
        await self.pool.execute(_SEEK_LATER, {"id": live_call_id, "until": until})

    async def sought(self, live_call_id: int, *, sids: Sequence[str]) -> bool:
        return bool(await self.pool.execute(_SOUGHT, {"id": live_call_id, "sids": list(sids)}))

    async def expect(
        self, live_call_id: int, *, sid: str, advisor: str, duration_s: int, now: datetime
    ) -> None:
        values = {
            "live_call_id": live_call_id,
            "sid": sid,
            "advisor": storable(advisor),
            "duration_s": duration_s,
            "now": now,
        }
        await self.pool.execute(_EXPECT, values)

    async def due(self, *, now: datetime, limit: int) -> Sequence[AwaitedRecording]:
        rows = await self.pool.fetch_all(_DUE, {"now": now, "limit": limit})
        return [_awaited(row) for row in rows]

    async def postpone(self, recording_id: int, *, until: datetime) -> None:
        await self.pool.execute(_POSTPONE, {"id": recording_id, "until": until})

    async def drop(self, recording_id: int, *, reason: str) -> None:
        await self.pool.execute(_DROP, {"id": recording_id, "reason": storable(reason)})

    async def keep(
        self, recording_id: int, recording: KeptRecording, *, notice: Notice | None, now: datetime
    ) -> int | None:
        """See `RecordingStore`. Kept again: nothing changes, and the person is the one who was told then."""
        values = {
            "id": recording_id,
            "audio": recording.audio,
            "content_type": storable(recording.content_type),
            "now": now,
        }
        async with self.pool.transaction() as connection:
            if await connection.run_statement(_KEEP, values) and notice is not None:
                notice_id = await _tell(connection, notice, now)
                await connection.run_statement(_SET_NOTICE, {"id": recording_id, "notice_id": notice_id})
            told = await connection.fetch_one(_TOLD, {"id": recording_id})
        return None if told is None else told[0]

    async def undeleted(self, *, now: datetime, limit: int) -> Sequence[UndeletedRecording]:
        rows = await self.pool.fetch_all(_UNDELETED, {"now": now, "limit": limit})
        return [UndeletedRecording(id=row[0], sid=row[1], attempts=row[2]) for row in rows]

    async def deleted(self, recording_id: int, *, now: datetime) -> None:
        await self.pool.execute(_DELETED, {"id": recording_id, "now": now})

    async def kept(self, recording_id: int) -> KeptRecording | None:
        row = await self.pool.fetch_one(_KEPT, {"id": recording_id})
        return None if row is None else KeptRecording(audio=row[0], content_type=row[1])


async def _tell(connection: Connection, notice: Notice, now: datetime) -> int:
    """Put a notice into the outbox; returns the message's id."""
    person_id = await find_or_make_person(
        connection,
        notice.identities,
        phone_number=notice.address if notice.address.startswith("+") else None,
        name=notice.name,
    )
    values = {
        "conversation_id": await open_conversation(connection, person_id, notice.agent_id),
        "person_id": person_id,
        "address": notice.address,
        "text": storable(notice.text),
        "now": now,
        **template_columns(notice.template),
    }
    message_id: int = sole(await connection.fetch_one(_ADD_NOTICE, values))[0]
    return message_id


def _awaited(row: Row) -> AwaitedRecording:
    return AwaitedRecording(
        id=row[0],
        live_call_id=row[1],
        sid=row[2],
        advisor=row[3],
        caller=row[4],
        caller_name=row[5],
        duration_s=row[6],
        recorded_at=row[7],
        attempts=row[8],
    )
