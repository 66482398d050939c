"""Music under a voice, in telephone sound: mu-law at 8,000 samples a second (ITU-T G.711). Pure.

One call costs some 30 microseconds for each 100 ms that it hears: tables instead of logarithms, and nowhere more
bits than a telephone carries.
"""

import struct
from typing import Final

import numpy as np
from attrs import define, field, frozen, validators
from numpy.typing import NDArray

RATE_HZ: Final = 8_000
SILENCE: Final = b"\xff"

_WAV_MULAW: Final = 7

_SAMPLE_MIN: Final = -32_768
_SAMPLE_MAX: Final = 32_767
_LOUDEST: Final = 32_635
"""What is louder is more than mu-law can say, and is cut (G.711, table 2a)."""
_BIAS: Final = 132
_FADED_IN: Final = 1.0
_FADED_OUT: Final = 0.0
# About -48 dB. Between its words a synthetic voice is nearly silent, not quite; and no word is as quiet throughout.
_QUIET_BELOW: Final = 128


def _linear_of_codes() -> NDArray[np.int16]:
    """The sample of every code."""
    inverted = ~np.arange(256, dtype=np.uint8)
    mantissa, exponent = (inverted & 0x0F).astype(np.int32), (inverted >> 4) & 0x07
    magnitude = (((mantissa << 3) + _BIAS) << exponent) - _BIAS
    return np.where(inverted & 0x80, -magnitude, magnitude).astype(np.int16)


def _codes_of_samples() -> NDArray[np.uint8]:
    """The code of every sample, by sample + 32768."""
    samples = np.arange(_SAMPLE_MIN, _SAMPLE_MAX + 1, dtype=np.int32)
    magnitude = np.minimum(np.abs(samples), _LOUDEST) + _BIAS
    exponent: NDArray[np.int32] = np.frexp(magnitude)[1] - 8
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    codes: NDArray[np.int32] = ~(np.where(samples < 0, 0x80, 0) | (exponent << 4) | mantissa) & 0xFF
    return codes.astype(np.uint8)


_LINEAR: Final = _linear_of_codes()
_CODES: Final = _codes_of_samples()
_QUIET: Final = bytes(np.flatnonzero(np.abs(_LINEAR) < _QUIET_BELOW).tolist())
# Added before a sum is cut to a whole number: its place in the table, rounded.
_TO_INDEX: Final = np.float32(0.5 - _SAMPLE_MIN)


def decode(audio: bytes) -> NDArray[np.int16]:
    """16-bit samples of mu-law."""
    return _LINEAR.take(np.frombuffer(audio, np.uint8))


def encode(samples: NDArray[np.integer]) -> bytes:
    """mu-law of samples of any width; what is louder than 16 bits can say is cut."""
    cut: NDArray[np.integer] = np.clip(samples, _SAMPLE_MIN, _SAMPLE_MAX)
    indices: NDArray[np.intp] = cut.astype(np.intp) - _SAMPLE_MIN
    return _CODES.take(indices).tobytes()


_FACTOR: Final = validators.and_(validators.ge(0.0), validators.le(1.0))


def wav(audio: bytes) -> bytes:
    """A WAV file of mu-law (RFC 2361, section A.4: WAVE format 7), mono: what a telephone carries, so that nobody converts.

    Formats other than PCM tell the length, here 0, of their extension and, in a chunk of its own, the number of samples. A
    chunk of odd length is filled up (Microsoft, Multimedia Data Standards Update 3.0, 1994).
    """
    form = struct.pack("<HHIIHHH", _WAV_MULAW, 1, RATE_HZ, RATE_HZ, 1, 8, 0)
    length = struct.pack("<I", len(audio))
    body = b"WAVE" + _chunk(b"fmt ", form) + _chunk(b"fact", length) + _chunk(b"data", audio)
    return _chunk(b"RIFF", body)


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


@frozen(kw_only=True)
class BedRules:
    """How loud the music is and how fast that changes; loudness as a factor of the music's own, 0 to 1.

    Attributes:
        level: while nobody speaks.
        ducked_level: while somebody does.
        fade_s: from nothing to `level`, and from `level` to nothing.
        duck_s: from `level` to `ducked_level`.
        release_s: from `ducked_level` to `level`.
        pause_s: silence in a voice that is shorter than that is still the voice: the music stays low.
    """

    level: float = field(converter=float, validator=_FACTOR)
    ducked_level: float = field(converter=float, validator=_FACTOR)
    fade_s: float
    duck_s: float
    release_s: float
    pause_s: float = 0.4


@define(eq=False)
class _Gain:
    """A factor on its way: in a straight line from where it is, so that nothing clicks."""

    at: float

    def move(self, target: float, step: float, samples: int) -> float | NDArray[np.float32]:
        """The factor of each of the next samples, `step` nearer to the target each time; one number if it stays."""
        if self.at == target:
            return target
        began_at, distance = self.at, abs(target - self.at)
        if samples * step >= distance:
            self.at = target
        else:
            self.at += samples * step if target > began_at else -samples * step
        line = np.arange(1, samples + 1, dtype=np.float32)
        line *= np.float32(step if target > began_at else -step)
        line += np.float32(began_at)
        return (np.minimum if target > began_at else np.maximum)(line, np.float32(target), out=line)


def _step(distance: float, seconds: float) -> float:
    """How much a factor changes from sample to sample to go so far in so long; at once where that is no time."""
    return distance / max(1.0, seconds * RATE_HZ)


class MusicBed:
    """Music under the voice of one call, silent until it begins.

    Wherever it was faded out it goes on when it begins again, and at the loop's end from the loop's beginning.

    Args:
        music: a loop at 8,000 samples a second. It is read and never copied, so many calls share one.
        rules: loudness and pace.

    Raises:
        ValueError: the loop is empty.
    """

    def __init__(self, music: NDArray[np.int16], rules: BedRules) -> None:
        if not len(music):
            raise ValueError("a loop without a sample cannot go round")
        self._music = music
        self._rules = rules
        self._place = 0
        self._sounds = False
        self._fade = _Gain(_FADED_OUT)
        self._duck = _Gain(rules.level)
        self._pause_samples = round(rules.pause_s * RATE_HZ)
        self._quiet_samples = self._pause_samples
        between = abs(rules.level - rules.ducked_level)
        self._fade_step = _step(_FADED_IN, rules.fade_s)
        self._duck_step = _step(between, rules.duck_s)
        self._release_step = _step(between, rules.release_s)

    @property
    def is_over(self) -> bool:
        """Nothing is left to hear: it has not begun, or has faded out."""
        return not self._sounds and self._fade.at == _FADED_OUT

    def begin(self) -> None:
        """Fade in from now on; from where the loudness is, if the end is not over yet."""
        if self.is_over:
            self._quiet_samples = self._pause_samples
        self._sounds = True

    def end(self) -> None:
        """Fade out from now on."""
        self._sounds = False

    def mix(self, voice: bytes, samples: int) -> bytes:
        """The next `samples` samples: the voice, silence where it is shorter, and the music under both.

        Music is lowered from the first sample of a piece in which there is voice. Where there is no music, the
        voice comes out byte for byte.

        Raises:
            ValueError: the voice is longer than that.
        """
        if len(voice) > samples:
            raise ValueError(f"{len(voice)} samples of voice do not fit into {samples}")
        if self.is_over:
            return voice + SILENCE * (samples - len(voice))
        gain = self._next_gain(voice, samples)
        music = self._next_music(samples)
        if isinstance(gain, float) and gain == 0.0:
            return voice + SILENCE * (samples - len(voice))
        # A plain float would make all of it twice as wide.
        sound: NDArray[np.float32] = music * (np.float32(gain) if isinstance(gain, float) else gain)
        if voice:
            sound[: len(voice)] += decode(voice)
        sound += _TO_INDEX
        return _CODES.take(sound.astype(np.intp), mode="clip").tobytes()

    def _next_gain(self, voice: bytes, samples: int) -> float | NDArray[np.float32]:
        last_heard = len(voice.rstrip(_QUIET))
        has_voice = bool(last_heard) or self._quiet_samples < self._pause_samples
        self._quiet_samples = samples - last_heard if last_heard else self._quiet_samples + samples
        rules = self._rules
        target, step = (
            (rules.ducked_level, self._duck_step) if has_voice else (rules.level, self._release_step)
        )
        if self._fade.at == _FADED_OUT:
            self._duck.at = target  # nobody hears it jump
        fade = self._fade.move(_FADED_IN if self._sounds else _FADED_OUT, self._fade_step, samples)
        return fade * self._duck.move(target, step, samples)

    def _next_music(self, samples: int) -> NDArray[np.int16]:
        begin, end = self._place, self._place + samples
        self._place = end % len(self._music)
        if end <= len(self._music):
            return self._music[begin:end]
        return self._music.take(np.arange(begin, end), mode="wrap")
