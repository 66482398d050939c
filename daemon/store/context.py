"""What a session with the agent should know beforehand, in WhatsApp and on the telephone."""

from collections.abc import Sequence

from actors.calls import CallOutcome
from actors.live_call.ports import CallerHistory
from actors.ports import KnownCall, PersonContext, TimelineMessage
from daemon.store.pool import Database
from daemon.store.values import Row

_CALLS_MAX = 5
_EXCERPT_MAX_CHARACTERS = 2_000

_PERSON = """
SELECT
    p.id, c.id, c.agent_id, p.pseudonym, p.name,
    coalesce(newest.address, p.phone_number),
    newest.created_at
FROM conversation c
JOIN person p ON p.id = c.person_id
LEFT JOIN LATERAL (
    SELECT m.address, m.created_at FROM message m
    WHERE m.person_id = p.id AND m.direction = 'inbound'
    ORDER BY m.created_at DESC LIMIT 1
) newest ON true
WHERE c.person_id = %(person_id)s AND c.status <> 'closed'
"""

_KNOWN_BY = """
SELECT p.id, p.pseudonym, p.name
FROM unnest(%(identities)s::text[]) WITH ORDINALITY AS named (identity, place)
JOIN person_identity i USING (identity)
JOIN person p ON p.id = i.person_id
ORDER BY named.place
LIMIT 1
"""

# Those whose opening is to be written are always among them. The end of a call weighs most for what follows it.
_CALLS = """
SELECT
    id, agent_id, outcome, started_at, coalesce(duration_s, 0), summary, collected, variables,
    jsonb_path_query_array(transcript, '$[last - 29 to last]'), note
FROM call
WHERE person_id = %(person_id)s AND started_at IS NOT NULL
    AND (follow_up = 'due' OR id IN (
        SELECT id FROM call
        WHERE person_id = %(person_id)s AND started_at IS NOT NULL
        ORDER BY started_at DESC, id DESC
        LIMIT %(calls_max)s
    ))
ORDER BY started_at DESC, id DESC
"""

# What never reached the person is no part of what was said. What waits for the person will have been read when the
# agent speaks again; the template that asks for an answer is none of the agent's words, nor is what an advisor is told.
_MESSAGES = """
SELECT m.direction, m.content, m.created_at
FROM conversation c
CROSS JOIN LATERAL (
    SELECT id, direction, content, created_at FROM message
    WHERE conversation_id = c.id AND status NOT IN ('received', 'undelivered', 'failed', 'refused')
        AND (purpose IS NULL OR purpose NOT IN ('reopening', 'notice'))
    ORDER BY id DESC LIMIT %(messages_max)s
) m
WHERE c.person_id = %(person_id)s
ORDER BY m.id DESC
LIMIT %(messages_max)s
"""


async def read_context(pool: Database, person_id: int, *, messages_max: int) -> PersonContext | None:
    """The newest calls with the end of what was said in them, and the newest messages. See `ConversationStore`."""
    person = await pool.fetch_one(_PERSON, {"person_id": person_id})
    if person is None:
        return None
    return PersonContext(
        person_id=person[0],
        conversation_id=person[1],
        agent_id=person[2],
        pseudonym=str(person[3]),
        name=person[4],
        address=person[5],
        window_opened_at=person[6],
        calls=await _known_calls(pool, person_id),
        messages=await _messages(pool, person_id, messages_max),
    )


async def read_history(
    pool: Database, identities: Sequence[str], *, messages_max: int
) -> CallerHistory | None:
    """As `read_context`, for a caller, whom the first identity that is known tells. See `LiveCallStore`."""
    person = await pool.fetch_one(_KNOWN_BY, {"identities": list(identities)})
    if person is None:
        return None
    return CallerHistory(
        pseudonym=str(person[1]),
        name=person[2],
        calls=await _known_calls(pool, person[0]),
        messages=await _messages(pool, person[0], messages_max),
    )


async def _known_calls(pool: Database, person_id: int) -> Sequence[KnownCall]:
    rows = await pool.fetch_all(_CALLS, {"person_id": person_id, "calls_max": _CALLS_MAX})
    return [_known_call(row) for row in rows]


async def _messages(pool: Database, person_id: int, messages_max: int) -> Sequence[TimelineMessage]:
    rows = await pool.fetch_all(_MESSAGES, {"person_id": person_id, "messages_max": messages_max})
    return [TimelineMessage(direction=row[0], text=row[1], at=row[2]) for row in reversed(rows)]


def _known_call(row: Row) -> KnownCall:
    return KnownCall(
        id=row[0],
        agent_id=row[1],
        outcome=CallOutcome(row[2]),
        started_at=row[3],
        duration_s=row[4],
        summary=row[5],
        collected=row[6],
        variables=row[7],
        transcript_excerpt=excerpt([(entry["role"], entry["text"]) for entry in row[8] or ()]),
        note=row[9],
    )


def excerpt(transcript: Sequence[tuple[str, str]]) -> str:
    """The end of what was said, one line `role: text` for each entry."""
    text = "\n".join(f"{role}: {said}" for role, said in transcript)
    if len(text) <= _EXCERPT_MAX_CHARACTERS:
        return text
    end = text[-_EXCERPT_MAX_CHARACTERS:]
    return end.partition("\n")[2] or end
