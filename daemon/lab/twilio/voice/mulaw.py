"""Telephone sound: mu-law at 8,000 samples a second (ITU-T G.711), mixed, made up, and read from WAV files."""

import functools
import math
import struct
import sys
from array import array
from collections.abc import Sequence
from typing import Final

RATE_HZ: Final = 8_000
FRAME_S: Final = 0.02
FRAME_BYTES: Final = 160
SILENT: Final = b"\xff"
SILENT_FRAME: Final = SILENT * FRAME_BYTES

_WAV_PCM: Final = 1
_WAV_MULAW: Final = 7
_LOUDEST: Final = 32_635
_BIAS: Final = 132
# A sample below this (about -54 dB) is not heard.
_QUIET_BELOW: Final = 64
_LETTERS_PER_SECOND: Final = 15


class NoSuchSoundError(ValueError):
    """The bytes are no sound that this simulator can read; the message says why."""


def encode_sample(sample: int) -> int:
    """mu-law of a 16-bit sample; what is louder than mu-law can say is cut."""
    magnitude = min(abs(sample), _LOUDEST) + _BIAS
    exponent = magnitude.bit_length() - 8
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    return ~((0x80 if sample < 0 else 0) | (exponent << 4) | mantissa) & 0xFF


def _decode_code(code: int) -> int:
    inverted = ~code & 0xFF
    magnitude = ((((inverted & 0x0F) << 3) + _BIAS) << ((inverted >> 4) & 0x07)) - _BIAS
    return -magnitude if inverted & 0x80 else magnitude


_LINEAR: Final = tuple(_decode_code(code) for code in range(256))
_QUIET: Final = bytes(code for code in range(256) if abs(_LINEAR[code]) < _QUIET_BELOW)


@functools.cache
def _codes() -> bytes:
    """The code of every 16-bit sample, by sample + 32768."""
    return bytes(encode_sample(sample) for sample in range(-32_768, 32_768))


def decode(audio: bytes) -> list[int]:
    """16-bit samples."""
    return [_LINEAR[code] for code in audio]


def encode(samples: Sequence[int]) -> bytes:
    codes = _codes()
    return bytes([codes[max(-32_768, min(32_767, sample)) + 32_768] for sample in samples])


def is_loud(audio: bytes | bytearray) -> bool:
    """Whether anybody would hear it."""
    return bool(audio.translate(None, _QUIET))


def mix(parts: Sequence[bytes]) -> bytes:
    """Sounds of equal length at once. One alone comes out as it went in."""
    if len(parts) == 1:
        return parts[0]
    sums = [0] * (len(parts[0]) if parts else 0)
    for part in parts:
        sums = [total + _LINEAR[code] for total, code in zip(sums, part, strict=True)]
    return encode(sums)


@functools.cache
def tone(pitch_hz: int, seconds: float) -> bytes:
    """A soft, steady tone."""
    step = 2 * math.pi * pitch_hz / RATE_HZ
    return encode([round(2_500 * math.sin(step * sample)) for sample in range(round(seconds * RATE_HZ))])


def spoken_s(text: str) -> float:
    """How long it takes to say the text."""
    return max(0.4, len(text) / _LETTERS_PER_SECOND)


def voice(seconds: float, pitch_hz: int) -> bytes:
    """So long a sound, standing for speech."""
    second = tone(pitch_hz, 1.0)
    length = round(seconds * RATE_HZ)
    return (second * (length // RATE_HZ + 1))[:length]


def wav(audio: bytes) -> bytes:
    """A WAV file of 16-bit PCM, which every program reads."""
    samples = struct.pack(f"<{len(audio)}h", *decode(audio))
    header = struct.pack("<HHIIHH", _WAV_PCM, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", len(header)) + header + b"data" + struct.pack("<I", len(samples))
    return b"RIFF" + struct.pack("<I", len(body) + len(samples)) + body + samples


def read_wav(file: bytes) -> bytes:
    """A WAV file's sound: PCM of 8 or 16 bits or mu-law, any rate; of several channels the first.

    Raises:
        NoSuchSoundError: it is another kind of file, or broken.
    """
    if file[:4] != b"RIFF" or file[8:12] != b"WAVE":
        raise NoSuchSoundError("not a WAV file")
    chunks = _chunks(file)
    try:
        encoding, channels, rate_hz, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", chunks[b"fmt "])
        body = chunks[b"data"]
    except (KeyError, struct.error):
        raise NoSuchSoundError("a WAV file without format or data") from None
    if 0 in {channels, rate_hz, frame_bytes} or frame_bytes != channels * bits // 8:
        raise NoSuchSoundError("a WAV file with an impossible format")
    body = body[: len(body) // frame_bytes * frame_bytes]
    if encoding == _WAV_MULAW and bits == 8:
        return bytes(_at_our_rate(body[::channels], rate_hz))
    if encoding == _WAV_PCM and bits == 16:
        return encode(_at_our_rate(_little_endian(body)[::channels], rate_hz))
    if encoding == _WAV_PCM and bits == 8:
        return encode([(sample - 128) << 8 for sample in _at_our_rate(body[::channels], rate_hz)])
    raise NoSuchSoundError(f"a WAV file in format {encoding} with {bits} bits")


def _little_endian(body: bytes) -> Sequence[int]:
    samples = array("h", body)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def _at_our_rate(samples: Sequence[int], rate_hz: int) -> Sequence[int]:
    """Each of our samples takes the value of the one that was last at its time."""
    if rate_hz == RATE_HZ:
        return samples
    return [samples[place * rate_hz // RATE_HZ] for place in range(len(samples) * RATE_HZ // rate_hz)]


def _chunks(file: bytes) -> dict[bytes, bytes]:
    chunks = {}
    place = 12
    while place + 8 <= len(file):
        (length,) = struct.unpack_from("<I", file, place + 4)
        chunks[file[place : place + 4]] = file[place + 8 : place + 8 + length]
        place += 8 + length + length % 2
    return chunks
