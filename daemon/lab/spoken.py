"""What persons say on the simulated telephone, so that a simulated ear knows it from the sound alone. Pure.

Speech here is a tone. Each begins with an inaudible mark of 15 mu-law samples (2 ms, none louder than -48 dB): four that
say that it is one, eight with four bits each of the utterance's number, one with the number of the copy, two with a
check sum. Copies follow 30 ms apart, so that a lost frame does not cost the words. A mark survives whatever hands
samples on as they are; sound that is mixed with another is no longer understood.
"""

import re
import zlib
from collections.abc import Iterator
from itertools import count
from typing import Final

from attrs import define, field, frozen

RATE_HZ: Final = 8_000
COPIES: Final = 3
APART_BYTES: Final = 240
UTTERANCES_MAX: Final = 100_000

# Soft samples of both signs, so that neither silence nor a tone looks like it.
_MAGIC: Final = b"\xf2\x75\xf9\x7c"
_MARK: Final = re.compile(re.escape(_MAGIC) + rb"([\xf0-\xff]{11})")
MARK_BYTES: Final = len(_MAGIC) + 11


@frozen
class Utterance:
    """Something that was said, and how long it sounds."""

    words: str
    length_bytes: int


@frozen
class Mark:
    """A mark in a piece of sound. `begins` is where in the piece its utterance began: before it, where that is negative."""

    number: int
    begins: int


@define(eq=False)
class Spoken:
    """Every utterance by its number; of more than `UTTERANCES_MAX` the oldest are forgotten."""

    _utterances: dict[int, Utterance] = field(factory=dict, init=False)
    _numbers: Iterator[int] = field(factory=lambda: count(1), init=False)

    def say(self, words: str, audio: bytes) -> bytes:
        """The same sound with a mark by which `look_up` finds the words. One too short for it stays as it is."""
        if len(audio) < MARK_BYTES:
            return audio
        number = next(self._numbers) & 0xFFFFFFFF
        while len(self._utterances) >= UTTERANCES_MAX:
            del self._utterances[next(iter(self._utterances))]
        self._utterances[number] = Utterance(words, len(audio))
        marked = bytearray(audio)
        for copy in range(COPIES):
            place = copy * APART_BYTES
            if place + MARK_BYTES <= len(marked):
                marked[place : place + MARK_BYTES] = written_mark(number, copy)
        return bytes(marked)

    def look_up(self, number: int) -> Utterance | None:
        return self._utterances.get(number)


def written_mark(number: int, copy: int) -> bytes:
    nibbles = [number >> shift & 0xF for shift in range(28, -4, -4)]
    check = _check(number, copy)
    return _MAGIC + bytes(0xF0 | nibble for nibble in (*nibbles, copy, check >> 4, check & 0xF))


def marks_in(audio: bytes) -> Iterator[Mark]:
    """The marks that lie wholly in a piece of sound."""
    for found in _MARK.finditer(audio):
        nibbles = [code & 0xF for code in found[1]]
        number = sum(nibble << shift for nibble, shift in zip(nibbles, range(28, -4, -4), strict=False))
        copy, check = nibbles[8], nibbles[9] << 4 | nibbles[10]
        if check == _check(number, copy):
            yield Mark(number, found.start() - copy * APART_BYTES)


def _check(number: int, copy: int) -> int:
    return zlib.crc32(b"%d/%d" % (number, copy)) & 0xFF
