"""What the daemon's store says of some customers, read by SQL."""

from collections.abc import Sequence
from typing import Any, LiteralString

from attrs import frozen

from daemon.store.connection import Connection

_MESSAGES = """
SELECT p.phone_number, m.id, m.direction, m.status, m.twilio_sid, m.content, m.purpose, m.call_id, m.replaces_id
FROM message m JOIN person p ON p.id = m.person_id
WHERE p.phone_number = ANY(%(phones)s::text[])
ORDER BY m.id
"""
_CALLS = """
SELECT phone_number, id, follow_up, follow_up_note FROM call WHERE phone_number = ANY(%(phones)s::text[]) ORDER BY id
"""
_STEPS = """
SELECT j.message_id, j.was, j.became, j.was_rank, j.became_rank
FROM chaos_journal j JOIN message m ON m.id = j.message_id JOIN person p ON p.id = m.person_id
WHERE p.phone_number = ANY(%(phones)s::text[])
ORDER BY j.n
"""
# Everybody's: whoever has nothing to do with these customers may have lost something all the same.
_OWED = """
SELECT
    (SELECT count(*) FROM message WHERE status IN ('received', 'pending', 'sending'))
    + (SELECT count(*) FROM call WHERE follow_up IN ('awaiting_details', 'due', 'queued'))
"""


@frozen(kw_only=True)
class Row:
    """One message of the store."""

    phone: str
    id: int
    direction: str
    status: str
    sid: str | None
    text: str
    purpose: str | None = None
    call_id: str | None = None
    replaces_id: int | None = None

    @property
    def is_inbound(self) -> bool:
        return self.direction == "inbound"


@frozen(kw_only=True)
class CallRow:
    phone: str
    id: str
    follow_up: str
    note: str | None = None


@frozen(kw_only=True)
class Step:
    """A change of a message's status; `was` is None for its insert."""

    message_id: int
    was: str | None
    became: str
    was_rank: int | None
    became_rank: int


@frozen(kw_only=True)
class Ledger:
    rows: Sequence[Row] = ()
    calls: Sequence[CallRow] = ()
    steps: Sequence[Step] = ()


async def read_ledger(connection: Connection, phones: Sequence[str]) -> Ledger:
    async def rows(sql: LiteralString) -> list[tuple[Any, ...]]:
        return await connection.fetch_all(sql, {"phones": list(phones)})

    names = ("phone", "id", "direction", "status", "sid", "text", "purpose", "call_id", "replaces_id")
    calls = ("phone", "id", "follow_up", "note")
    steps = ("message_id", "was", "became", "was_rank", "became_rank")
    async with connection.transaction():
        return Ledger(
            rows=[Row(**dict(zip(names, row, strict=True))) for row in await rows(_MESSAGES)],
            calls=[CallRow(**dict(zip(calls, row, strict=True))) for row in await rows(_CALLS)],
            steps=[Step(**dict(zip(steps, row, strict=True))) for row in await rows(_STEPS)],
        )


async def count_owed(connection: Connection) -> int:
    """What the daemon still has to do, by its own account."""
    row = await connection.fetch_one(_OWED)
    return int(row[0]) if row is not None else 0
