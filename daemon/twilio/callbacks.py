"""Where Twilio reports to, and what: the same for every request and document of ours."""

from typing import Final

ROOM_EVENTS: Final = ("start", "end", "join", "leave", "hold")
"""What a room is to report (Twilio docs: voice/twiml/conference, `statusCallbackEvent`). Only the callback of who comes
first counts, so all who come ask for the same.
"""


def without_slash(url: str) -> str:
    """A public URL, as paths are put behind it."""
    return url.rstrip("/")
