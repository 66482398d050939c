"""Who hears what: every sound there was, and to whom each signal was connected when.

Nothing is written down per window. A signal keeps its sounds and a leg keeps the changes of what it was connected to;
what somebody heard in any 20 ms follows from the two. Times are `LabClock.elapsed_s`.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from math import inf
from typing import Any, Final

from attrs import define, field, frozen

from daemon.lab.twilio.voice.mulaw import FRAME_S, RATE_HZ, SILENT, is_loud, mix

# Sounds that follow each other closer than this are one.
SEAM_S: Final = 0.001


class Kind(Enum):
    """What a sound is to whoever hears it. `OPERATOR` is a voice of Twilio's own, as on an application error."""

    SPEECH = "speech"
    STREAM = "stream"
    MUSIC = "music"
    PLAY = "play"
    SAY = "say"
    TONE = "tone"
    OPERATOR = "operator"


class Part(Enum):
    """Which of a leg's signals: what comes in from its telephone, what Twilio's player, a media stream and an
    announcement send out to it.
    """

    MOUTH = "mouth"
    PLAYER = "player"
    STREAM = "stream"
    ANNOUNCEMENT = "announcement"


@frozen(order=True)
class Signal:
    """One place where sound comes from: a part of a leg, which is named by its Call SID."""

    call_sid: str
    part: Part = field(order=lambda part: part.value)


@frozen
class Clip:
    """Recorded sound, mu-law, with what it says."""

    kind: Kind
    label: str
    audio: bytes = field(repr=False)

    @property
    def length_s(self) -> float:
        return len(self.audio) / RATE_HZ


@define(eq=False)
class Sound:
    """A clip from `start_s` on; it may be cut off, go round, or still grow."""

    kind: Kind
    label: str
    start_s: float
    end_s: float
    audio: bytearray = field(repr=False)
    loops: bool = False

    def between(self, start_s: float, end_s: float) -> bytes:
        """The samples of a span, silence where the sound is not."""
        length = round((end_s - start_s) * RATE_HZ)
        first = max(self.start_s, start_s)
        count = min(length, round((min(self.end_s, end_s) - first) * RATE_HZ))
        if count <= 0 or not self.audio:
            return SILENT * length
        offset = round((first - self.start_s) * RATE_HZ)
        before = min(round((first - start_s) * RATE_HZ), length - count)
        body = self._samples(offset, count)
        return SILENT * before + body + SILENT * (length - before - len(body))

    def _samples(self, offset: int, count: int) -> bytes:
        if not self.loops:
            return bytes(self.audio[offset : offset + count])
        offset %= len(self.audio)
        rounds = (offset + count) // len(self.audio) + 1
        return bytes((self.audio * rounds)[offset : offset + count])


@define(eq=False)
class Sounds:
    """What one signal carried, in order; at most one sound at a time."""

    entries: list[Sound] = field(factory=list)

    def play(self, clip: Clip, start_s: float, *, loops: bool = False) -> Sound:
        """Begin a clip at a moment, in place of what was to sound from then on."""
        self.cut(start_s)
        end_s = inf if loops and clip.audio else start_s + clip.length_s
        sound = Sound(clip.kind, clip.label, start_s, end_s, bytearray(clip.audio), loops)
        self.entries.append(sound)
        return sound

    def stop(self, sound: Sound, at_s: float) -> None:
        """Cut a sound off, unless another has taken its place already."""
        if self.entries and self.entries[-1] is sound:
            self.cut(at_s)

    def extend(self, kind: Kind, label: str, audio: bytes, start_s: float) -> None:
        """Go on with a sound that arrives in pieces."""
        last = self.entries[-1] if self.entries else None
        length_s = len(audio) / RATE_HZ
        if (
            last is not None
            and (last.kind, last.label) == (kind, label)
            and abs(last.end_s - start_s) < SEAM_S
        ):
            last.audio += audio
            last.end_s += length_s
        else:
            self.entries.append(Sound(kind, label, start_s, start_s + length_s, bytearray(audio)))

    def cut(self, at_s: float) -> None:
        """Let nothing sound from a moment on."""
        while self.entries and self.entries[-1].start_s >= at_s:
            self.entries.pop()
        last = self.entries[-1] if self.entries else None
        if last is not None and last.end_s > at_s:
            last.end_s = at_s
            if not last.loops:
                del last.audio[round((at_s - last.start_s) * RATE_HZ) :]

    def within(self, start_s: float, end_s: float) -> Sequence[Sound]:
        """The sounds that a span touches."""
        first = max(0, bisect_right(self.entries, start_s, key=lambda sound: sound.start_s) - 1)
        found = []
        for place in range(first, len(self.entries)):
            sound = self.entries[place]
            if sound.start_s >= end_s:
                break
            if sound.end_s > start_s:
                found.append(sound)
        return found


@define(eq=False)
class Ear:
    """What a leg was connected to: from each moment on, until the next."""

    changes: list[tuple[float, frozenset[Signal]]] = field(factory=list)
    closed_s: float = inf

    def spans(self, start_s: float, end_s: float) -> Iterator[tuple[float, float, frozenset[Signal]]]:
        for place, (since_s, signals) in enumerate(self.changes):
            until_s = self.changes[place + 1][0] if place + 1 < len(self.changes) else self.closed_s
            first, last = max(since_s, start_s), min(until_s, end_s)
            if first < last:
                yield first, last, signals


@frozen(kw_only=True)
class Heard:
    """Something a leg heard, without a pause, from `start_s` to `end_s`; `call_sid` is the leg it came from."""

    start_s: float
    end_s: float
    kind: Kind
    label: str
    call_sid: str

    def as_json(self) -> dict[str, Any]:
        return {
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "kind": self.kind.value,
            "label": self.label,
            "call_sid": self.call_sid,
        }


Span = tuple[float, float]


@define(eq=False)
class Audible:
    """The whole record. It grows until `clear`."""

    _signals: dict[Signal, Sounds] = field(factory=dict, init=False)
    _ears: dict[str, Ear] = field(factory=dict, init=False)

    def sounds(self, signal: Signal) -> Sounds:
        return self._signals.setdefault(signal, Sounds())

    def connect(self, call_sid: str, signals: frozenset[Signal], at_s: float) -> None:
        """Say what a leg hears from now on."""
        changes = self._ears.setdefault(call_sid, Ear()).changes
        if changes and changes[-1][1] == signals:
            return
        if changes and changes[-1][0] == at_s:
            changes[-1] = (at_s, signals)
        else:
            changes.append((at_s, signals))

    def close(self, call_sid: str, at_s: float) -> None:
        """The leg is over: it makes and hears nothing from now on."""
        for part in Part:
            if sounds := self._signals.get(Signal(call_sid, part)):
                sounds.cut(at_s)
        if (ear := self._ears.get(call_sid)) is not None:
            ear.closed_s = min(ear.closed_s, at_s)

    def listening(self, call_sid: str) -> Span | None:
        """From when to when a leg could hear; the end is infinite while it still can. None for one that never could."""
        ear = self._ears.get(call_sid)
        return (ear.changes[0][0], ear.closed_s) if ear is not None and ear.changes else None

    def heard(self, call_sid: str, start_s: float, end_s: float) -> list[Heard]:
        """What a leg heard in a span, by beginning. What is too soft to be heard is not in it."""
        found = [
            Heard(
                start_s=since_s, end_s=until_s, kind=sound.kind, label=sound.label, call_sid=signal.call_sid
            )
            for first, last, signals in self._spans(call_sid, start_s, end_s)
            for signal in sorted(signals)
            for sound in self._within(signal, first, last)
            for since_s, until_s in _loud_spans(sound, first, last)
        ]
        return _joined(sorted(found, key=lambda heard: heard.start_s))

    def window(self, call_sid: str, at_s: float) -> list[Heard]:
        """What a leg heard in the 20 ms from a moment on."""
        return self.heard(call_sid, at_s, at_s + FRAME_S)

    def silences(self, call_sid: str, start_s: float, end_s: float) -> list[Span]:
        """When, within a span and its own time, a leg heard nothing for longer than 20 ms."""
        return self._gaps(call_sid, start_s, end_s, self.heard(call_sid, start_s, end_s))

    def longest_silence_s(self, call_sid: str, start_s: float, end_s: float) -> float:
        return max((last - first for first, last in self.silences(call_sid, start_s, end_s)), default=0.0)

    def alone(self, call_sid: str, start_s: float, end_s: float) -> list[Span]:
        """When a leg was connected to nobody: neither another telephone nor a media stream."""
        spans = [
            (first, last)
            for first, last, signals in self._spans(call_sid, start_s, end_s)
            if not any(_is_company(signal, call_sid) for signal in signals)
        ]
        return _merged(spans)

    def audio(self, call_sid: str, start_s: float, end_s: float) -> bytes:
        """What a leg heard, as mu-law samples: everything mixed, silence where there was nothing."""
        whole = bytearray(SILENT * round((end_s - start_s) * RATE_HZ))
        for first, last, signals in self._spans(call_sid, start_s, end_s):
            place = round((first - start_s) * RATE_HZ)
            piece = self.mixed(signals, first, last)[: len(whole) - place]
            whole[place : place + len(piece)] = piece
        return bytes(whole)

    def mixed(self, signals: Iterable[Signal], start_s: float, end_s: float) -> bytes:
        """What signals carried together in a span."""
        parts = [
            sound.between(start_s, end_s)
            for signal in sorted(signals)
            for sound in self._within(signal, start_s, end_s)
        ]
        return mix(parts) if parts else SILENT * round((end_s - start_s) * RATE_HZ)

    def clear(self) -> None:
        self._signals.clear()
        self._ears.clear()

    def _within(self, signal: Signal, start_s: float, end_s: float) -> Sequence[Sound]:
        sounds = self._signals.get(signal)
        return sounds.within(start_s, end_s) if sounds is not None else ()

    def _spans(
        self, call_sid: str, start_s: float, end_s: float
    ) -> Iterator[tuple[float, float, frozenset[Signal]]]:
        ear = self._ears.get(call_sid)
        return ear.spans(start_s, end_s) if ear is not None else iter(())

    def _gaps(self, call_sid: str, start_s: float, end_s: float, heard: Iterable[Heard]) -> list[Span]:
        listening = self.listening(call_sid)
        if listening is None:
            return []
        at_s, end_s = max(start_s, listening[0]), min(end_s, listening[1])
        gaps = []
        for first, last in _merged(sorted((entry.start_s, entry.end_s) for entry in heard)):
            if first - at_s > FRAME_S:
                gaps.append((at_s, first))
            at_s = max(at_s, last)
        if end_s - at_s > FRAME_S:
            gaps.append((at_s, end_s))
        return gaps


def _is_company(signal: Signal, call_sid: str) -> bool:
    if signal.part is Part.STREAM:
        return True
    return signal.part is Part.MOUTH and signal.call_sid != call_sid


def _loud_spans(sound: Sound, start_s: float, end_s: float) -> Iterator[Span]:
    """Where a sound can be heard: all of a clip, and of what is streamed the windows that are loud."""
    first, last = max(sound.start_s, start_s), min(sound.end_s, end_s)
    if sound.kind is not Kind.STREAM:
        if first < last:
            yield first, last
        return
    at_s = first
    while last - at_s > SEAM_S:
        until_s = min(at_s + FRAME_S, last)
        if is_loud(sound.between(at_s, until_s)):
            yield at_s, until_s
        at_s = until_s


def _joined(entries: Iterable[Heard]) -> list[Heard]:
    """Put pieces of one sound together, also where others begin in between."""
    joined: list[Heard] = []
    places: dict[tuple[Kind, str, str], int] = {}
    for entry in entries:
        key = (entry.kind, entry.label, entry.call_sid)
        place = places.get(key)
        if place is not None and entry.start_s - joined[place].end_s < SEAM_S:
            before = joined[place]
            joined[place] = Heard(
                start_s=before.start_s,
                end_s=max(before.end_s, entry.end_s),
                kind=entry.kind,
                label=entry.label,
                call_sid=entry.call_sid,
            )
        else:
            places[key] = len(joined)
            joined.append(entry)
    return joined


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for first, last in spans:
        if merged and first - merged[-1][1] < SEAM_S:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged
