"""Finding people by the names under which they come, and making those who are new, with their conversations."""

from collections.abc import Sequence

from daemon.store.pool import Connection
from daemon.store.values import sole, storable_or_none

# Sorted, so that two who want some of the same names never wait for each other. The locks end with the transaction.
_LOCK_IDENTITIES = """
SELECT pg_advisory_xact_lock(key)
FROM (SELECT DISTINCT hashtextextended(name, 0) AS key FROM unnest(%(identities)s::text[]) AS name ORDER BY key) AS k
"""

# A number goes to somebody else one day, and then comes with another user id of WhatsApp's: whoever had it before has it
# no longer. What begins with a plus sign is a number, anything else a user id.
_RELEASE_NUMBERS = """
DELETE FROM person_identity n
WHERE n.identity = ANY(%(numbers)s::text[])
    AND EXISTS (
        SELECT FROM person_identity u WHERE u.person_id = n.person_id AND NOT starts_with(u.identity, '+')
    )
    AND NOT EXISTS (
        SELECT FROM person_identity u WHERE u.person_id = n.person_id AND u.identity = ANY(%(user_ids)s::text[])
    )
"""

_FIND = """
SELECT i.person_id
FROM unnest(%(identities)s::text[]) WITH ORDINALITY AS named (identity, place)
JOIN person_identity i USING (identity)
ORDER BY place
LIMIT 1
"""

_MAKE = "INSERT INTO person (phone_number, name) VALUES (%(phone_number)s, %(name)s) RETURNING id"

_FILL_IN = """
UPDATE person
SET phone_number = coalesce(phone_number, %(phone_number)s), name = coalesce(name, %(name)s)
WHERE id = %(person_id)s
    AND (phone_number IS NULL AND %(phone_number)s::text IS NOT NULL OR name IS NULL AND %(name)s::text IS NOT NULL)
"""

_ADD_IDENTITIES = """
INSERT INTO person_identity (identity, person_id)
SELECT DISTINCT identity, %(person_id)s::bigint FROM unnest(%(identities)s::text[]) AS named (identity)
ON CONFLICT (identity) DO NOTHING
"""

# Doing nothing would return nothing; the useless update also keeps the conversation from being closed meanwhile.
_OPEN_CONVERSATION = """
INSERT INTO conversation (person_id, agent_id) VALUES (%(person_id)s, %(agent_id)s)
ON CONFLICT (person_id) WHERE status <> 'closed' DO UPDATE SET person_id = excluded.person_id
RETURNING id
"""


async def find_or_make_person(
    connection: Connection, identities: Sequence[str], *, phone_number: str | None, name: str | None
) -> int:
    """The person with one of these identities, the first that is known deciding; a new one where none is.

    Identities that nobody has become this person's, and so does a number that came with another person's user id
    before; number and name are filled in where they are missing. To be called inside a transaction, which then holds
    the identities against everybody else who makes people.
    """
    known = {
        "identities": list(identities),
        "numbers": [identity for identity in identities if identity.startswith("+")],
        "user_ids": [identity for identity in identities if not identity.startswith("+")],
        "phone_number": storable_or_none(phone_number),
        "name": storable_or_none(name),
    }
    await connection.run_statement(_LOCK_IDENTITIES, known)
    if known["numbers"] and known["user_ids"]:
        await connection.run_statement(_RELEASE_NUMBERS, known)
    found = await connection.fetch_one(_FIND, known)
    if found is None:
        found = sole(await connection.fetch_one(_MAKE, known))
    else:
        await connection.run_statement(_FILL_IN, {**known, "person_id": found[0]})
    person_id: int = found[0]
    await connection.run_statement(_ADD_IDENTITIES, {**known, "person_id": person_id})
    return person_id


async def open_conversation(connection: Connection, person_id: int, agent_id: str) -> int:
    """The person's open conversation; one with this agent is made where there is none.

    To be called inside a transaction, which then keeps the conversation from being closed.
    """
    values = {"person_id": person_id, "agent_id": agent_id}
    conversation_id: int = sole(await connection.fetch_one(_OPEN_CONVERSATION, values))[0]
    return conversation_id
