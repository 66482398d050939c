"""May a message go now, and in which form? Pure."""

from datetime import datetime, timedelta

from actors.messages import Outgoing

CUSTOMER_WINDOW = timedelta(hours=23, minutes=50)
"""WhatsApp allows free text for 24 hours after a person's newest message (Twilio error 63016). Ten minutes are
kept back for a message that waits in a queue on its way."""


def is_window_open(opened_at: datetime | None, now: datetime) -> bool:
    """Whether free text may go; `opened_at` is the person's newest message, None for somebody who never wrote."""
    return opened_at is not None and now < opened_at + CUSTOMER_WINDOW


def goes_as_template(message: Outgoing, now: datetime) -> bool:
    """Whether a message must take the form of its template.

    Without a template the text is tried even where the window is closed: WhatsApp will most likely refuse
    it, which is shown, but silence would be certain.
    """
    if message.template is None:
        return False
    return message.must_use_template or not is_window_open(message.window_opened_at, now)
