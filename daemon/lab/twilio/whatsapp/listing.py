"""The list's filters by the time of sending.

Twilio docs: messaging/api/message-resource#read-multiple-message-resources.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from daemon.lab.twilio.errors import RestError
from daemon.lab.twilio.form import Form
from daemon.lab.twilio.whatsapp.messages import Message

DATE_LENGTH: Final = len("2026-01-31")


def sent_filter(query: Form) -> Callable[[Message], bool]:
    """Read `DateSent`, `DateSent>` and `DateSent<`, each a date or a moment, all three inclusive.

    A message that has not left yet counts from its creation.

    Raises:
        RestError: 20001, a value that is neither.
    """
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for name, text in query.pairs:
        if not name.startswith("DateSent"):
            continue
        moment, span = _parse(text)
        if name == "DateSent":
            first, last = max(first, moment), min(last, moment + span)
        elif name == "DateSent>":
            first = max(first, moment)
        elif name == "DateSent<":
            last = min(last, moment + span)

    # Twilio's times have whole seconds.
    return lambda message: first <= (message.sent_at or message.created_at).replace(microsecond=0) <= last


def _parse(text: str) -> tuple[datetime, timedelta]:
    """A moment and how much time it stands for: a date is a whole UTC day."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise RestError(400, 20001, "Invalid DateSent") from None
    span = timedelta(days=1, seconds=-1) if len(text) == DATE_LENGTH else timedelta()
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)), span
