"""What must be so in the end, when nothing has gone wrong for long enough."""

from collections.abc import Iterator

from actors.calls import CallOutcome, FollowUpState
from tests.memory.database import InboundStatus, Outbound
from tests.simulation.daemon import Life, Outside
from tests.simulation.elevenlabs import PhoneCall

TRANSIENT_ALERTS = frozenset(
    {
        "agent_unanswered",
        "elevenlabs_refused",
        "holds_store",
        "inbox_check",
        "monitor",
        "outbox_store",
        "recovery_store",
    }
)
"""Alerts that their actors settle by themselves, at the next look that goes through. Others stand until something
of their kind succeeds, which may be never.
"""

_ENDS = frozenset({FollowUpState.HANDLED, FollowUpState.REFUSED})
_CLOSED = "conversation closed before the opening"


def what_is_left(outside: Outside, life: Life | None) -> list[str]:
    """Everything that is not as it should be, a few words each."""
    if life is None or not life.is_serving:
        return ["the daemon is down"]
    return [*_unanswered(outside), *_not_followed_up(outside), *_unsent(outside), *_troubled(life)]


def _unanswered(outside: Outside) -> Iterator[str]:
    stored = {message.sid: message for message in outside.database.inbound.values()}
    for _, message in outside.twilio.books.received:
        if message.sid not in stored:
            yield f"{message.sid} was never stored"
        elif stored[message.sid].status is InboundStatus.RECEIVED:
            yield f"{message.sid} is unanswered"


def _not_followed_up(outside: Outside) -> Iterator[str]:
    held = {row.call_id for row in _held_back(outside)}
    for call in outside.elevenlabs.calls.values():
        known = outside.database.calls.get(call.id)
        if known is None:
            yield f"{call.id} was never found"
        elif not _is_an_end(call, known.follow_up, known.follow_up_note) and call.id not in held:
            yield f"{call.id} is {known.follow_up.value}"


def _is_an_end(call: PhoneCall, follow_up: FollowUpState, note: str | None) -> bool:
    is_due = call.outcome in {CallOutcome.COMPLETED, CallOutcome.VOICEMAIL}
    if is_due and note != _CLOSED:
        return follow_up in _ENDS
    return follow_up is FollowUpState.NONE


def _unsent(outside: Outside) -> Iterator[str]:
    held = {row.id for row in _held_back(outside)}
    for row in outside.database.outbound.values():
        if row.is_unsent and row.id not in held:
            yield f"row {row.id} is unsent"


def _held_back(outside: Outside) -> Iterator[Outbound]:
    """What waits for a person to write, or for its campaign to be released: rightly unsent."""
    database = outside.database
    for row in database.outbound.values():
        if database.is_held_opening(row) or database.waits_for_person(row):
            yield row


def _troubled(life: Life) -> Iterator[str]:
    # Whoever is parked and has nothing to do may stay so: the next message brings them back.
    for alert in life.alerts.standing:
        if alert.key in TRANSIENT_ALERTS:
            yield f"the alert {alert.key} stands"
