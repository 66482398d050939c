"""What a crash, or a lost nudge, may have left lying."""

from collections.abc import Sequence
from datetime import datetime

from attrs import frozen

from daemon.store.pool import Database
from daemon.store.values import sole

# Each half is limited by itself, so that it can stop reading its partial index early.
_PEOPLE_WITH_WORK = """
(
    SELECT DISTINCT m.person_id
    FROM message m
    JOIN conversation c ON c.id = m.conversation_id
    WHERE m.person_id > %(after)s AND m.status = 'received' AND c.status <> 'closed'
        AND (c.turn_retry_at IS NULL OR c.turn_retry_at <= %(now)s)
    ORDER BY m.person_id
    LIMIT %(limit)s
)
UNION
(
    SELECT DISTINCT k.person_id
    FROM call k
    JOIN conversation c ON c.id = k.conversation_id
    WHERE k.person_id > %(after)s AND k.follow_up = 'due' AND c.status <> 'closed'
    ORDER BY k.person_id
    LIMIT %(limit)s
)
ORDER BY person_id
LIMIT %(limit)s
"""

_PUT_OFF = """
FROM message m
JOIN conversation c ON c.id = m.conversation_id
WHERE m.status = 'received' AND c.status <> 'closed' AND c.turn_failures > 0
"""

_READMIT = f"""
UPDATE conversation SET turn_retry_at = NULL
WHERE id IN (
    SELECT DISTINCT ON (m.person_id) c.id
    {_PUT_OFF}
        AND m.person_id > %(after)s AND c.turn_retry_at IS NOT NULL
        AND (%(agent_id)s::text IS NULL OR c.agent_id = %(agent_id)s)
    ORDER BY m.person_id
    LIMIT %(limit)s
)
RETURNING person_id
"""  # noqa: S608 -- constants

_PEOPLE_UNANSWERED = f"SELECT count(DISTINCT m.person_id) {_PUT_OFF}"


@frozen
class PostgresRecovery:
    """`RecoveryStore` on PostgreSQL."""

    pool: Database

    async def people_with_work(self, *, now: datetime, after: int, limit: int) -> Sequence[int]:
        rows = await self.pool.fetch_all(_PEOPLE_WITH_WORK, {"now": now, "after": after, "limit": limit})
        return [row[0] for row in rows]

    async def readmit(self, agent_id: str | None, *, after: int, limit: int) -> Sequence[int]:
        rows = await self.pool.fetch_all(_READMIT, {"agent_id": agent_id, "after": after, "limit": limit})
        return sorted(row[0] for row in rows)

    async def people_unanswered(self) -> int:
        return int(sole(await self.pool.fetch_one(_PEOPLE_UNANSWERED, {}))[0])
