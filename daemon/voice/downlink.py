"""What a caller hears over a stream: the agent's voice, with or without hold music under it. Pure.

Without music every piece of voice goes on as it comes, and Twilio plays it when its turn has come. Music cannot be
mixed into what Twilio holds already; so with music the voice waits here, and goes in pieces of 100 ms just ahead of its
moment.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from attrs import define, field, frozen

from actors.live_call.mixing import RATE_HZ, MusicBed
from daemon.voice.frames import FrameWriter
from daemon.voice.playout import Playout

AHEAD_MIN_S: Final = 0.15
"""With music the next piece goes when Twilio has so much left to play: enough for a network's bad moments, and little
enough that an interruption and the end of the music are heard soon."""

_PIECE_BYTES: Final = RATE_HZ // 10
_FORWARDED_MAX_BYTES: Final = RATE_HZ


@frozen
class _Mark:
    """Attributes:
    said: how many pieces of voice there were when it was set.
    """

    name: str
    said: int


@define(eq=False)
class _Pending:
    """A mark on its way; it comes back when what was sent before it has been played, at about `due_s`."""

    mark: _Mark
    due_s: float


@define(eq=False)
class _Queue:
    """Voice that waits for its moment, and the marks in it."""

    size: int = 0
    _items: deque[bytes | _Mark] = field(factory=deque, init=False)

    def put(self, audio: bytes) -> None:
        self._items.append(audio)
        self.size += len(audio)

    def put_mark(self, mark: _Mark) -> None:
        self._items.append(mark)

    def take(self, limit: int) -> tuple[bytes, list[_Mark]]:
        """Up to so many bytes, and the marks that stand before or behind them."""
        pieces, marks, room = list[bytes](), list[_Mark](), limit
        while self._items:
            item = self._items[0]
            if isinstance(item, _Mark):
                marks.append(item)
            elif not room:
                break
            elif len(item) > room:
                pieces.append(item[:room])
                self._items[0] = item[room:]
                room = 0
                break
            else:
                pieces.append(item)
                room -= len(item)
            self._items.popleft()
        voice = b"".join(pieces)
        self.size -= len(voice)
        return voice, marks

    def clear(self) -> list[_Mark]:
        """Drop the voice; gives the marks that stood in it."""
        marks = [item for item in self._items if isinstance(item, _Mark)]
        self._items.clear()
        self.size = 0
        return marks


@define(eq=False, kw_only=True)
class Downlink:
    """One stream's way to the caller. Every method may ask for frames to be sent, in order.

    Attributes:
        send: takes a frame.
        clear: takes the frame that empties Twilio's buffer; sound that was given to `send` and has not gone yet need
            not go any more.
        heard: takes the name of a mark, once, and whether nothing was said since it was set.
        make_bed: makes the music of this call, when it is wanted first.
        voice_max_s: how much voice may wait to be heard; what comes beyond is dropped.
        mark_patience_s: a mark that did not come back so long after it was due counts as heard.
        dropped_bytes: how much voice was dropped so far.
    """

    writer: FrameWriter
    send: Callable[[str], None]
    clear: Callable[[str], None]
    heard: Callable[[str, bool], None]
    make_bed: Callable[[], MusicBed]
    voice_max_s: float
    mark_patience_s: float
    dropped_bytes: int = field(default=0, init=False)
    _playout: Playout = field(factory=Playout, init=False)
    _queue: _Queue = field(factory=_Queue, init=False)
    _marks: dict[str, _Pending] = field(factory=dict, init=False)
    _marks_set: int = field(default=0, init=False)
    _said: int = field(default=0, init=False)
    _bed: MusicBed | None = field(default=None, init=False)
    _is_mixing: bool = field(default=False, init=False)

    @property
    def due_s(self) -> float:
        """When `keep_time` is wanted next; infinite while nothing is waited for."""
        due_s = (
            min((pending.due_s for pending in self._marks.values()), default=math.inf) + self.mark_patience_s
        )
        return min(due_s, self._playout.ends_s - AHEAD_MIN_S) if self._is_mixing else due_s

    def keep_time(self, now_s: float) -> None:
        """Send what is due. Whoever comes late goes on from now: nothing is made up for."""
        while self._is_mixing and now_s >= self._playout.ends_s - AHEAD_MIN_S:
            self._mix_piece(now_s)
        for wire_name, pending in list(self._marks.items()):
            if now_s >= pending.due_s + self.mark_patience_s:
                self.came_back(wire_name)

    def say(self, audio: bytes, now_s: float) -> None:
        """Let the caller hear the agent."""
        self._said += 1
        waits_s = self._playout.waits_s(now_s) + self._queue.size / RATE_HZ
        if waits_s > self.voice_max_s:
            self.dropped_bytes += len(audio)
        elif self._is_mixing:
            self._queue.put(audio)
        else:
            self._forward(audio, now_s)

    def interrupt(self, now_s: float) -> None:
        """Let the agent be silent; music goes on. What was cut off counts as heard."""
        if self._is_mixing:
            for mark in self._queue.clear():
                self._tell_heard(mark)
        elif self._playout.waits_s(now_s):
            self._playout.take_back(now_s)
            for pending in self._marks.values():
                pending.due_s = min(pending.due_s, now_s)
            self.clear(self.writer.clear())

    def mark(self, name: str, now_s: float) -> None:
        """Have `heard` told of this name once the caller has heard all that was said so far."""
        mark = _Mark(name, self._said)
        if self._queue.size:
            self._queue.put_mark(mark)
        else:
            self._send_mark(mark, now_s)

    def came_back(self, wire_name: str) -> None:
        """Twilio gave a mark back. One that is not waited for any more means nothing."""
        pending = self._marks.pop(wire_name, None)
        if pending is not None:
            self._tell_heard(pending.mark)

    def music(self, now_s: float, *, on: bool) -> None:
        """Fade the music in or out. Told the same again, nothing changes."""
        if on:
            if self._bed is None:
                self._bed = self.make_bed()
            self._bed.begin()
            if not self._is_mixing:
                self._is_mixing = True
                self._take_back(now_s)
            self.keep_time(now_s)
        elif self._bed is not None and self._is_mixing:
            self._bed.end()
            if self._bed.is_over:
                self._stop_mixing(now_s)

    def _mix_piece(self, now_s: float) -> None:
        bed = self._bed
        if bed is None:
            raise RuntimeError("there is no music to mix")
        voice, marks = self._queue.take(_PIECE_BYTES)
        self._forward(bed.mix(voice, _PIECE_BYTES), now_s)
        for mark in marks:
            self._send_mark(mark, now_s)
        if bed.is_over:
            self._stop_mixing(now_s)

    def _take_back(self, now_s: float) -> None:
        """Have what Twilio holds back in the queue, marks in their places."""
        waits = self._playout.waits_s(now_s) > 0.0
        tail = self._playout.take_back(now_s)
        for place, mark in self._marks_within(now_s):
            self._queue.put(tail[self._queue.size : place])
            self._queue.put_mark(mark)
        self._queue.put(tail[self._queue.size :])
        if waits:
            self.clear(self.writer.clear())

    def _marks_within(self, now_s: float) -> Iterator[tuple[int, _Mark]]:
        """Marks that are not due yet, and where they stand in what is taken back. When they come back, that is
        because of the taking back, and means nothing.
        """
        for wire_name, pending in list(self._marks.items()):
            if pending.due_s > now_s:
                del self._marks[wire_name]
                yield round((pending.due_s - now_s) * RATE_HZ), pending.mark

    def _stop_mixing(self, now_s: float) -> None:
        """From here on nothing but voice: what waited goes on the heels of what was mixed."""
        self._is_mixing = False
        while self._queue.size:
            voice, marks = self._queue.take(_FORWARDED_MAX_BYTES)
            self._forward(voice, now_s)
            for mark in marks:
                self._send_mark(mark, now_s)

    def _forward(self, audio: bytes, now_s: float) -> None:
        self._playout.feed(audio, now_s)
        self.send(self.writer.media(audio))

    def _send_mark(self, mark: _Mark, now_s: float) -> None:
        self._marks_set += 1
        wire_name = f"{self._marks_set}:{mark.name}"
        self._marks[wire_name] = _Pending(mark, max(now_s, self._playout.ends_s))
        self.send(self.writer.mark(wire_name))

    def _tell_heard(self, mark: _Mark) -> None:
        self.heard(mark.name, mark.said == self._said)
