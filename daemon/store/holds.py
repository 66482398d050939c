"""What is held back in the outbox: campaigns whose openings fail, and what waits for a person to write."""

from collections.abc import Collection, Sequence
from datetime import datetime

from attrs import frozen

from actors.campaigns import Campaign, Tally
from actors.failures import AT_ONCE_CODES, HELD_TOO_LONG, NOT_WRITTEN, WINDOW_CLOSED_CODE
from daemon.store.held import HELD, HELD_OPENING, HELD_VALUES
from daemon.store.pool import Database
from daemon.store.values import id_array, sole

# A result, unless what repeats it says more.
_IS_RESULT = """
    NOT EXISTS (
        SELECT FROM message r
        WHERE r.replaces_id = m.id AND (r.result_at IS NOT NULL OR m.error_code = ANY(%(at_once)s::integer[]))
    )
"""

_TALLY = """
    count(*) AS known,
    count(*) FILTER (WHERE status_rank = 6) AS failed,
    mode() WITHIN GROUP (ORDER BY error_code) FILTER (WHERE status_rank = 6) AS code
"""

_CAMPAIGNS = f"""
SELECT
    c.id, c.held_since, c.look_at, c.error_code, c.probes,
    results.known, results.failed, results.code, probed.known, probed.failed, probed.code,
    CASE WHEN c.held_since IS NULL THEN 0 ELSE (
        SELECT count(*) FROM message m WHERE m.campaign = c.id AND m.status = 'pending' AND {HELD_OPENING}
    ) END
FROM campaign c
CROSS JOIN LATERAL (
    SELECT {_TALLY}
    FROM (
        SELECT m.status_rank, m.error_code FROM message m
        WHERE m.campaign = c.id AND m.result_at > coalesce(c.counts_after, '-infinity') AND {_IS_RESULT}
        ORDER BY m.result_at DESC, m.id DESC
        LIMIT %(openings)s
    ) newest
) results
CROSS JOIN LATERAL (
    SELECT {_TALLY}
    FROM message m
    WHERE m.campaign = c.id AND m.result_at IS NOT NULL AND c.probes > 0 AND m.probe_round = c.probe_round
        AND {_IS_RESULT}
) probed
WHERE c.failed_at > %(failed_since)s OR c.held_since IS NOT NULL
ORDER BY c.id
"""  # noqa: S608 -- constants

_HOLD = """
UPDATE campaign
SET held_since = coalesce(held_since, %(now)s), look_at = %(look_at)s, error_code = %(code)s, probes = 0
WHERE id = %(campaign)s
"""

# Chosen apart: as a subquery the choice might be made again for every row it is compared with.
_MARK_PROBES = f"""
WITH chosen AS MATERIALIZED (
    SELECT m.id FROM message m
    WHERE m.campaign = %(campaign)s AND m.status = 'pending' AND {HELD_OPENING}
    ORDER BY m.id
    LIMIT %(openings)s
    FOR NO KEY UPDATE OF m SKIP LOCKED
)
UPDATE message p
SET probe_round = (SELECT c.probe_round + 1 FROM campaign c WHERE c.id = %(campaign)s)
FROM chosen
WHERE p.id = chosen.id
RETURNING p.id, p.person_id
"""  # noqa: S608 -- constants

_BEGIN_ROUND = """
UPDATE campaign SET probe_round = probe_round + 1, probes = %(probes)s, look_at = %(look_at)s WHERE id = %(campaign)s
"""

_RELEASE = """
UPDATE campaign SET counts_after = %(now)s, held_since = NULL, look_at = NULL, error_code = NULL, probes = 0
WHERE id = ANY(%(campaigns)s::text[]) AND held_since IS NOT NULL
RETURNING id
"""

# It was never tried, so it is no result of its campaign.
_GIVE_UP = f"""
WITH given_up AS (
    UPDATE message
    SET status = 'refused', status_rank = 6,
        error_code = CASE WHEN purpose = 'opening' THEN NULL ELSE %(window_closed)s::integer END,
        error_detail = CASE WHEN purpose = 'opening' THEN %(held_too_long)s ELSE %(not_written)s END
    WHERE id IN (
        SELECT m.id FROM message m
        WHERE m.status = 'pending' AND coalesce(m.written_at, m.created_at) < %(written_before)s AND {HELD}
        ORDER BY m.id
        FOR NO KEY UPDATE OF m SKIP LOCKED
    )
    RETURNING call_id
), refused AS (
    UPDATE call k SET follow_up = 'refused', follow_up_note = %(held_too_long)s, updated_at = %(now)s
    FROM given_up g
    WHERE k.id = g.call_id AND k.follow_up IN ('queued', 'handled')
)
SELECT count(*) FROM given_up
"""  # noqa: S608 -- constants


@frozen
class PostgresHolds:
    """`HoldStore` on PostgreSQL."""

    pool: Database

    async def campaigns(self, *, failed_since: datetime, openings: int) -> Sequence[Campaign]:
        values = {
            "failed_since": failed_since,
            "openings": openings,
            "at_once": id_array(sorted(AT_ONCE_CODES)),
            **HELD_VALUES,
        }
        rows = await self.pool.fetch_all(_CAMPAIGNS, values)
        return [
            Campaign(
                id=row[0],
                held_since=row[1],
                look_at=row[2],
                code=row[3],
                probes=row[4],
                results=Tally(known=row[5], failed=row[6], code=row[7]),
                probed=Tally(known=row[8], failed=row[9], code=row[10]),
                waiting=row[11],
            )
            for row in rows
        ]

    async def hold(self, campaign_id: str, *, code: int | None, look_at: datetime, now: datetime) -> None:
        values = {"campaign": campaign_id, "code": code, "look_at": look_at, "now": now}
        await self.pool.execute(_HOLD, values)

    async def probe(self, campaign_id: str, *, openings: int, look_at: datetime) -> Sequence[int]:
        values = {"campaign": campaign_id, "openings": openings, "look_at": look_at, **HELD_VALUES}
        async with self.pool.transaction() as connection:
            # The messages first: whoever reports that one has failed locks in that order too.
            marked = await connection.fetch_all(_MARK_PROBES, values)
            if marked:
                await connection.run_statement(_BEGIN_ROUND, {**values, "probes": len(marked)})
        return [row[1] for row in sorted(marked)]

    async def release(self, campaign_ids: Collection[str], *, now: datetime) -> Sequence[str]:
        rows = await self.pool.fetch_all(_RELEASE, {"campaigns": list(campaign_ids), "now": now})
        return sorted(row[0] for row in rows)

    async def give_up_held(self, *, written_before: datetime, now: datetime) -> int:
        values = {
            "written_before": written_before,
            "window_closed": WINDOW_CLOSED_CODE,
            "held_too_long": HELD_TOO_LONG,
            "not_written": NOT_WRITTEN,
            "now": now,
            **HELD_VALUES,
        }
        given_up: int = sole(await self.pool.fetch_one(_GIVE_UP, values))[0]
        return given_up
