"""Named moments at which the fault suite ends the process.

Each stands on the way of a message or of a call, right before or right after something takes effect: a commit, or a
request that leaves the house. What is promised must hold whichever of them is the process's last. In service nothing
listens, and a point costs one look at a variable.
"""

from collections.abc import Callable
from enum import Enum


class FaultPoint(Enum):
    """A moment; the value is its number and name."""

    # A message's way in.
    INBOUND_NOT_STORED = "01-inbound-not-stored"
    INBOUND_STORED = "02-inbound-stored"
    MISSED_LISTED = "03-missed-listed"
    MISSED_STORED = "04-missed-stored"

    # The turn.
    SESSION_NOT_OPENED = "10-session-not-opened"
    SESSION_NOT_SAVED = "11-session-not-saved"
    SESSION_SAVED = "12-session-saved"
    TURN_NOT_SAID = "13-turn-not-said"
    TURN_SAID = "14-turn-said"
    ANSWER_NOT_COMMITTED = "15-answer-not-committed"
    ANSWER_COMMITTED = "16-answer-committed"
    TURN_NOT_DEFERRED = "17-turn-not-deferred"
    TURN_DEFERRED = "18-turn-deferred"
    BELATED_NOT_COMMITTED = "19-belated-not-committed"
    BELATED_COMMITTED = "20-belated-committed"

    # A message's way out.
    SEND_NOT_CLAIMED = "30-send-not-claimed"
    SEND_CLAIMED = "31-send-claimed"
    SEND_ANSWERED = "32-send-answered"
    ACCEPTED_COMMITTED = "33-accepted-committed"
    REFUSED_COMMITTED = "34-refused-committed"
    RELEASED_COMMITTED = "35-released-committed"
    LOOKUP_NOT_ASKED = "36-lookup-not-asked"
    LOOKUP_ANSWERED = "37-lookup-answered"
    ADOPTED_COMMITTED = "38-adopted-committed"
    REPEAT_COMMITTED = "39-repeat-committed"
    STATUS_NOT_STORED = "40-status-not-stored"
    STATUS_STORED = "41-status-stored"

    # A call's way to its first message.
    CALL_NOT_SEEN = "50-call-not-seen"
    CALL_SEEN = "51-call-seen"
    BATCH_READ = "52-batch-read"
    BATCH_SAVED = "53-batch-saved"
    DETAILS_NOT_ASKED = "54-details-not-asked"
    DETAILS_NOT_SAVED = "55-details-not-saved"
    DETAILS_SAVED = "56-details-saved"
    OPENING_NOT_QUEUED = "57-opening-not-queued"
    OPENING_QUEUED = "58-opening-queued"


_listener: Callable[[FaultPoint], None] | None = None


def reached(point: FaultPoint) -> None:
    """Tell that the process is at this point."""
    if _listener is not None:
        _listener(point)


def listen(listener: Callable[[FaultPoint], None] | None) -> None:
    """From now on `listener` is told of every point; None ends it. For the fault suite alone."""
    global _listener  # noqa: PLW0603 - a point must reach its listener from anywhere without being handed around
    _listener = listener
