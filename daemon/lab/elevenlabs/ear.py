"""Speech recognition of a session: from the client's sound to what the caller said. Pure; time is sound that arrived."""

from collections import deque
from typing import Final

from attrs import define, field

from daemon.lab.spoken import MARK_BYTES, RATE_HZ, Spoken, marks_in

HEARD_FORMAT: Final = "ulaw_8000"
_REMEMBERED: Final = 16


@define(eq=False)
class Ear:
    """Listens to one session's sound for marked speech, across the borders of its chunks.

    What follows within the pause that ends a turn belongs to it, so that two sentences in one breath are one turn.

    Attributes:
        end_of_turn_s: so much sound after the speech its turn is over.
    """

    spoken: Spoken
    end_of_turn_s: float
    _arrived: int = field(default=0, init=False)
    _tail: bytes = field(default=b"", init=False)
    _words: list[str] = field(factory=list, init=False)
    _began: int = field(default=0, init=False)
    _ends: int = field(default=0, init=False)
    _known: deque[int] = field(factory=lambda: deque(maxlen=_REMEMBERED), init=False)

    def take(self, audio: bytes) -> str | None:
        """The next piece of sound; gives the words of a turn that is over with it."""
        self._look_for_marks(audio)
        self._arrived += len(audio)
        if not self._words or self._arrived < self._ends + self.end_of_turn_s * RATE_HZ:
            return None
        said = " ".join(self._words)
        self._words.clear()
        return said

    @property
    def speaking_s(self) -> float:
        """For how long the caller has been speaking; 0 while nobody is."""
        return (min(self._arrived, self._ends) - self._began) / RATE_HZ if self._words else 0.0

    def _look_for_marks(self, audio: bytes) -> None:
        piece = self._tail + audio
        begins = self._arrived - len(self._tail)
        for mark in marks_in(piece):
            utterance = self.spoken.look_up(mark.number)
            if utterance is None or mark.number in self._known:
                continue
            self._known.append(mark.number)
            if not self._words:
                self._began = begins + mark.begins
            self._words.append(utterance.words)
            self._ends = begins + mark.begins + utterance.length_bytes
        self._tail = piece[-(MARK_BYTES - 1) :]
