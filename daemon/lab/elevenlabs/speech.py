"""A voice of sorts: a soft tone in every audio format that agents and text-to-speech use."""

import functools
import io
import math
import struct
import wave
from typing import Final

_TONE_HZ: Final = 400
_AMPLITUDE: Final = 2500
_LETTERS_PER_SECOND: Final = 15
# An empty MPEG-1 layer III frame: 128 kbit/s, 44.1 kHz, 417 bytes, 26.1 ms of silence.
_MP3_FRAME: Final = bytes.fromhex("fffb9064") + bytes(413)
_MP3_FRAME_S: Final = 1152 / 44100


def spoken_s(text: str) -> float:
    """How long it takes to say the text."""
    return max(0.4, len(text) / _LETTERS_PER_SECOND)


@functools.cache
def _second(rate_hz: int) -> tuple[int, ...]:
    """One second of the tone; 400 Hz fits every rate without a seam."""
    return tuple(
        round(_AMPLITUDE * math.sin(2 * math.pi * _TONE_HZ * sample / rate_hz)) for sample in range(rate_hz)
    )


def _ulaw(sample: int) -> int:
    """ITU-T G.711 mu-law of a 16-bit sample."""
    magnitude = min(abs(sample), 32635) + 132
    exponent = magnitude.bit_length() - 8
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    return ~((0x80 if sample < 0 else 0) | (exponent << 4) | mantissa) & 0xFF


@functools.cache
def _second_encoded(encoding: str, rate_hz: int) -> bytes:
    if encoding == "ulaw":
        return bytes(map(_ulaw, _second(rate_hz)))
    return struct.pack(f"<{rate_hz}h", *_second(rate_hz))


def tone(seconds: float, audio_format: str) -> bytes:
    """A headerless tone in an agent's format: `ulaw_8000` or `pcm_<rate>`, mono."""
    encoding, _, rate = audio_format.partition("_")
    rate_hz = int(rate)
    second = _second_encoded(encoding, rate_hz)
    size = round(seconds * rate_hz) * (len(second) // rate_hz)
    return (second * (size // len(second) + 1))[:size]


def speech_file(seconds: float, output_format: str) -> bytes:
    """What text-to-speech answers: raw for `ulaw_*` and `pcm_*`, a WAV file, or an MP3 (of silence).

    Raises:
        ValueError: the format is none of these.
    """
    encoding, _, rest = output_format.partition("_")
    if encoding in {"ulaw", "pcm"}:
        return tone(seconds, output_format)
    if encoding == "mp3":
        return _MP3_FRAME * math.ceil(seconds / _MP3_FRAME_S)
    if encoding == "wav":
        return _wav(seconds, int(rest))
    raise ValueError(output_format)


def _wav(seconds: float, rate_hz: int) -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(tone(seconds, f"pcm_{rate_hz}"))
    return target.getvalue()
