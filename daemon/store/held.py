"""What is held back in the outbox, as SQL over a message `m`. See `actors.ports.OutboxStore`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from actors.conversation.permission import CUSTOMER_WINDOW

# The window stands open, or did when the opening was queued: who talks to us waits for no campaign.
HELD_OPENING: Final = """
    m.campaign IS NOT NULL
    AND EXISTS (
        SELECT FROM campaign held
        WHERE held.id = m.campaign AND held.held_since IS NOT NULL
            AND (held.probes = 0 OR m.probe_round IS DISTINCT FROM held.probe_round)
    )
    AND NOT EXISTS (
        SELECT FROM message i
        WHERE i.person_id = m.person_id AND i.direction = 'inbound' AND i.created_at > m.created_at - %(window)s::interval
    )
"""

# What needs a reopening where the window is closed.
NEEDS_REOPENING: Final = "m.purpose IN ('answer', 'fallback') AND m.template_sid IS NOT NULL"

# The person has written since the reopening `t` was made.
ANSWERED: Final = """
    EXISTS (
        SELECT FROM message i
        WHERE i.person_id = t.person_id AND i.direction = 'inbound' AND i.created_at > coalesce(t.heard_at, '-infinity')
    )
"""

# A reopening has gone, or is still to go. That two rows are not the same keeps the planner from looking at the
# reopenings of everybody at once.
WAITS_FOR_PERSON: Final = f"""
    {NEEDS_REOPENING}
    AND EXISTS (
        SELECT FROM message t
        WHERE t.person_id = m.person_id AND t.id <> m.id AND t.purpose = 'reopening'
            AND t.status NOT IN ('undelivered', 'failed', 'refused') AND NOT {ANSWERED}
    )
"""

HELD: Final = f"(m.status = 'pending' AND (({HELD_OPENING}) OR ({WAITS_FOR_PERSON})))"

# A reopening that did not go, and on which nothing depends any more: the person has written by themselves, or what it
# was made for was given up.
SUPERFLUOUS: Final = f"""(
    m.purpose = 'reopening' AND m.status = 'pending'
    AND EXISTS (
        SELECT FROM message t
        WHERE t.id = m.id AND (
            {ANSWERED}
            OR NOT EXISTS (
                SELECT FROM message m
                WHERE m.person_id = t.person_id AND m.id <> t.id AND m.status = 'pending' AND {NEEDS_REOPENING}
            )
        )
    )
)"""  # noqa: S608 -- constants

HELD_VALUES: Final[Mapping[str, Any]] = MappingProxyType({"window": CUSTOMER_WINDOW})
