"""The buffer between a media stream and the ear: what was sent faster than it can be heard waits its turn.

Pure: moments are given, nothing waits here. Twilio docs: voice/media-streams/websocket-messages.
"""

from typing import Final

from attrs import define, field

from daemon.lab.twilio.voice.mulaw import RATE_HZ

# More than anybody says in one go; what comes beyond is refused.
BUFFERED_MAX_S: Final = 1_800.0


@define(eq=False)
class Playout:
    """Plays what it is given in order and in real time.

    Attributes:
        ends_s: when everything given so far has been heard.
    """

    ends_s: float = 0.0
    _marks: list[tuple[float, str]] = field(factory=list, init=False)

    def feed(self, length_bytes: int, now_s: float) -> float | None:
        """Take sound in; gives the moment at which it begins to be heard, None when the buffer is full."""
        start_s = max(now_s, self.ends_s)
        if start_s - now_s > BUFFERED_MAX_S:
            return None
        self.ends_s = start_s + length_bytes / RATE_HZ
        return start_s

    def mark(self, name: str, now_s: float) -> float:
        """Remember a mark; gives the moment at which what came before it has been heard."""
        due_s = max(now_s, self.ends_s)
        self._marks.append((due_s, name))
        return due_s

    def passed(self, now_s: float) -> list[str]:
        """The marks that have come due, in order; each is given once."""
        names = [name for due_s, name in self._marks if due_s <= now_s]
        del self._marks[: len(names)]
        return names

    def clear(self, now_s: float) -> list[str]:
        """Throw away what has not been heard; gives the marks that waited for it, in order."""
        names = [name for _, name in self._marks]
        self._marks.clear()
        self.ends_s = min(self.ends_s, now_s)
        return names
