"""The caller's voice on its way to the agent: short frames joined to fewer, longer ones. Pure."""

from collections import deque

from attrs import define, field

from actors.live_call.mixing import RATE_HZ

FRAME_BYTES = RATE_HZ // 50
"""20 ms, as Twilio cuts it."""
PIECE_MAX_BYTES = 5 * FRAME_BYTES


@define(eq=False)
class Uplink:
    """Keeps what was not sent yet, for `max_s` at most: who falls behind real time further misses the oldest.

    Attributes:
        join: how many frames of 20 ms there have to be before they go; what else is there by then goes with them.
        dropped_bytes: how much was missed so far.
    """

    join: int
    max_s: float
    dropped_bytes: int = field(default=0, init=False)
    _frames: deque[bytes] = field(factory=deque, init=False)
    _bytes: int = field(default=0, init=False)

    def put(self, audio: bytes) -> bool:
        """Take the next frame; whether there is enough to send now."""
        self._frames.append(audio)
        self._bytes += len(audio)
        while self._bytes > self.max_s * RATE_HZ and len(self._frames) > 1:
            missed = len(self._frames.popleft())
            self._bytes -= missed
            self.dropped_bytes += missed
        return self._bytes >= self.join * FRAME_BYTES

    def get(self) -> bytes | None:
        """What goes next, up to 100 ms; None while there is too little."""
        if self._bytes < self.join * FRAME_BYTES:
            return None
        frames = [self._frames.popleft()]
        size = len(frames[0])
        while self._frames and size + len(self._frames[0]) <= PIECE_MAX_BYTES:
            frames.append(self._frames.popleft())
            size += len(frames[-1])
        self._bytes -= size
        return b"".join(frames)
