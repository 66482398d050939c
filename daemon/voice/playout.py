"""What was sent to a stream and has not been heard yet: it is sent faster than it sounds, and Twilio plays it in real time.

Pure: moments are given. How long the wire takes is not known here, and need not be: what is sent and taken back is
shifted by it alike.
"""

from collections import deque

from attrs import define, field

from actors.live_call.mixing import RATE_HZ


@define(eq=False)
class Playout:
    """The stream's clock.

    Attributes:
        ends_s: when everything sent so far will have been played; in the past when nothing waits.
    """

    ends_s: float = 0.0
    _waiting: deque[tuple[float, bytes]] = field(factory=deque, init=False)

    def feed(self, audio: bytes, now_s: float) -> None:
        """Note what is sent now. It sounds after what waits, or at once."""
        while self._waiting and _end_of(self._waiting[0]) <= now_s:
            self._waiting.popleft()
        start_s = max(now_s, self.ends_s)
        self._waiting.append((start_s, audio))
        self.ends_s = start_s + len(audio) / RATE_HZ

    def waits_s(self, now_s: float) -> float:
        """How much is still to be heard."""
        return max(0.0, self.ends_s - now_s)

    def take_back(self, now_s: float) -> bytes:
        """Everything that was not played yet, which from now on was never sent."""
        pieces = []
        for start_s, audio in self._waiting:
            played = max(0, round((now_s - start_s) * RATE_HZ))
            if played < len(audio):
                pieces.append(audio[played:])
        self._waiting.clear()
        self.ends_s = min(self.ends_s, now_s)
        return b"".join(pieces)


def _end_of(piece: tuple[float, bytes]) -> float:
    start_s, audio = piece
    return start_s + len(audio) / RATE_HZ
