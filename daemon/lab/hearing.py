"""What sounded in a stretch of telephone sound: the simulated agent's voice, other sound, or nothing. Pure.

The agent's voice is a tone of 400 Hz, so that it can be told from the music that a daemon has mixed under it. It is not
told from a strong note of the music beside it, such as G4 at 392 Hz: the music has to be softer than the voice.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from daemon.lab.twilio.voice.mulaw import decode

# Of energies as they are measured here: the agent's voice has 3,100,000, and soft music up to 950,000 at its frequency.
VOICE_HEARD: Final = 1_200_000.0
OTHERS_HEARD: Final = 64.0**2
SLICE_S: Final = 0.02

_VOICE_HZ: Final = (380.0, 420.0)
_QUIET_BELOW: Final = 64
_LINEAR: Final = np.array(decode(bytes(range(256))), dtype=np.int16)

Span = tuple[float, float]


@frozen(kw_only=True)
class Window:
    """A moment of sound. Energies are mean squares of 16-bit samples.

    Attributes:
        voice: between 380 and 420 Hz.
        music: everywhere else; also other people, tones, announcements.
    """

    start_s: float
    voice: float
    music: float

    @property
    def has_voice(self) -> bool:
        return self.voice >= VOICE_HEARD

    @property
    def has_music(self) -> bool:
        return self.music >= OTHERS_HEARD


def what_sounded(audio: bytes, rate_hz: int = 8_000, window_s: float = 0.1) -> Sequence[Window]:
    """mu-law sound, window by window; the last is filled up with silence.

    A tone that begins or ends smears over all frequencies, so the energy beside the voice is the median of slices of
    20 ms, whole waves of the voice each.
    """
    slice_samples = round(SLICE_S * rate_hz)
    slices = max(1, round(window_s / SLICE_S))
    samples = _linear(audio).astype(np.float64)
    count = -(-len(samples) // (slices * slice_samples))
    samples = np.pad(samples, (0, count * slices * slice_samples - len(samples)))
    voice = _energy(samples.reshape(count, slices * slice_samples), rate_hz, in_voice=True)
    beside = _energy(samples.reshape(count * slices, slice_samples), rate_hz, in_voice=False)
    music = np.median(beside.reshape(count, slices), axis=1)
    return [
        Window(start_s=place * slices * SLICE_S, voice=float(one), music=float(other))
        for place, (one, other) in enumerate(zip(voice, music, strict=True))
    ]


def spans_where(windows: Sequence[Window], sounds: Callable[[Window], bool]) -> Sequence[Span]:
    """From when to when windows are so, as seconds from the first one's beginning on."""
    window_s = windows[1].start_s - windows[0].start_s if len(windows) > 1 else SLICE_S
    spans: list[Span] = []
    for window in filter(sounds, windows):
        end_s = window.start_s + window_s
        if spans and window.start_s - spans[-1][1] < window_s / 2:
            spans[-1] = (spans[-1][0], end_s)
        else:
            spans.append((window.start_s, end_s))
    return spans


def longest_silence_s(audio: bytes, rate_hz: int = 8_000) -> float:
    """The longest time in which nobody would have heard anything."""
    loud = np.flatnonzero(np.abs(_linear(audio)) >= _QUIET_BELOW)
    edges = np.concatenate([[-1], loud, [len(audio)]])
    return float(np.diff(edges).max() - 1) / rate_hz


def _linear(audio: bytes) -> NDArray[np.int16]:
    return _LINEAR.take(np.frombuffer(audio, np.uint8))


def _energy(rows: NDArray[np.float64], rate_hz: int, *, in_voice: bool) -> NDArray[np.float64]:
    """The mean square of each row, of the voice's frequencies or of all others but 0 Hz."""
    length = rows.shape[1]
    hz = np.fft.rfftfreq(length, 1 / rate_hz)
    # A short row has one band for the voice, wider than it.
    slack = max(0.0, rate_hz / length / 2 - (_VOICE_HZ[1] - _VOICE_HZ[0]) / 2)
    voice = (hz >= _VOICE_HZ[0] - slack) & (hz <= _VOICE_HZ[1] + slack)
    chosen = voice if in_voice else ~voice & (hz > 0)
    power = np.abs(np.fft.rfft(rows, axis=1)[:, chosen]) ** 2
    energy: NDArray[np.float64] = 2 * power.sum(axis=1) / length**2
    return energy
