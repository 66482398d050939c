"""The hold music that ships with the daemon: made by this code, so nobody else has a right to it.

Eight slow bars for a telephone, which carries 300 to 3,400 Hz: soft chords change under a few plucked notes. The
chords' bass is there by its overtones alone, from which an ear makes out the note below them. Everything is laid on a
circle, so what still sounds at the end goes on at the beginning.
"""

import functools
from collections.abc import Sequence
from typing import Final

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from actors.live_call.mixing import RATE_HZ

BAND_HZ: Final = (300.0, 3_400.0)
RMS: Final = 2_067.0
"""24 dB below full scale."""

_BEAT_SAMPLES: Final = RATE_HZ * 3 // 4
_BAR_SAMPLES: Final = 4 * _BEAT_SAMPLES
# The band's ends are slopes inside it: a wall would ring.
_SLOPE_HZ: Final = 20.0
_WAVE_PLACES: Final = 16_384
_A4: Final = 69
_A4_HZ: Final = 440.0

_Sound = NDArray[np.float32]


@frozen(kw_only=True)
class _Bar:
    """Notes as MIDI numbers them; `plucked` has one for each half beat, 0 for a rest."""

    bass: int
    chord: Sequence[int]
    plucked: Sequence[int]


_BARS: Final = (
    _Bar(bass=48, chord=(64, 67, 71, 74), plucked=(76, 0, 79, 83, 0, 79, 0, 74)),
    _Bar(bass=45, chord=(64, 67, 72, 76), plucked=(72, 0, 76, 79, 0, 76, 0, 0)),
    _Bar(bass=41, chord=(64, 69, 72, 79), plucked=(76, 0, 79, 84, 0, 79, 0, 72)),
    _Bar(bass=43, chord=(65, 67, 72, 74), plucked=(74, 0, 79, 0, 84, 0, 79, 0)),
    _Bar(bass=52, chord=(64, 67, 71, 74), plucked=(76, 0, 79, 83, 0, 86, 0, 83)),
    _Bar(bass=45, chord=(64, 67, 72, 76), plucked=(79, 0, 76, 72, 0, 76, 0, 0)),
    _Bar(bass=50, chord=(65, 69, 72, 76), plucked=(77, 0, 81, 84, 0, 81, 0, 76)),
    _Bar(bass=43, chord=(65, 67, 71, 74), plucked=(74, 0, 79, 83, 0, 0, 0, 0)),
)


def _wave(overtones: Sequence[float]) -> _Sound:
    """One turn of a tone with these overtones, the fundamental first; each begins elsewhere, which keeps peaks low."""
    turn = np.arange(_WAVE_PLACES) * (2 * np.pi / _WAVE_PLACES)
    wave = np.zeros(_WAVE_PLACES)
    for number, loud in enumerate(overtones, start=1):
        wave += loud * np.sin(number * turn + number**2)
    return wave.astype(np.float32)


def _tone(wave: _Sound, note: float, shape: _Sound) -> _Sound:
    hz = _A4_HZ * 2 ** ((note - _A4) / 12)
    places = np.arange(len(shape)) * (hz * _WAVE_PLACES / RATE_HZ)
    return wave[places.astype(np.intp) % _WAVE_PLACES] * shape


def _swelling() -> _Sound:
    """Loudness of a chord: it comes with its bar, and goes while the next one comes."""
    swell = (1 - np.cos(np.linspace(0, np.pi, _BAR_SAMPLES // 3))) / 2
    return np.concatenate([swell, np.ones(_BAR_SAMPLES - len(swell)), swell[::-1]]).astype(np.float32)


def _plucked() -> _Sound:
    """Loudness of a plucked note: there at once, and gone within three beats."""
    places = np.arange(3 * _BEAT_SAMPLES)
    struck = np.minimum(places / (0.008 * RATE_HZ), 1.0)
    left = np.linspace(1, 0, len(places))
    return (struck * left * np.exp(-places / (0.4 * RATE_HZ))).astype(np.float32)


def _lay(circle: _Sound, place: int, sound: _Sound) -> None:
    before_end = len(circle) - place
    circle[place : place + len(sound)] += sound[:before_end]
    circle[: max(0, len(sound) - before_end)] += sound[before_end:]


def _played() -> _Sound:
    circle = np.zeros(len(_BARS) * _BAR_SAMPLES, np.float32)
    pad, bass, string = (
        _wave(overtones) for overtones in ((1, 0.4, 0.2, 0.06), (0, 0, 1, 0.8, 0.5, 0.3, 0.2), (1, 0.3, 0.08))
    )
    swelling, plucked = _swelling(), _plucked()
    for number, bar in enumerate(_BARS):
        begin = number * _BAR_SAMPLES
        _lay(circle, begin, 0.3 * _tone(bass, bar.bass, swelling))
        for note in bar.chord:
            # Two that are a little out of tune with each other sound warm.
            chorus = _tone(pad, note - 0.03, swelling) + _tone(pad, note + 0.03, swelling)
            _lay(circle, begin, 0.25 * chorus)
        for half, note in enumerate(bar.plucked):
            if note:
                _lay(circle, begin + half * _BEAT_SAMPLES // 2, _tone(string, note, plucked))
    return circle


def _banded(circle: _Sound) -> NDArray[np.float64]:
    """What a telephone carries of it; on the circle, so its ends still meet."""
    spectrum = np.fft.rfft(circle)
    hz = np.fft.rfftfreq(len(circle), 1 / RATE_HZ)
    low, high = BAND_HZ
    inside = np.clip(np.minimum(hz - low, high - hz) / _SLOPE_HZ, 0.0, 1.0)
    return np.fft.irfft(spectrum * inside, len(circle))


@functools.cache
def hold_loop() -> NDArray[np.int16]:
    """24 seconds at 8,000 samples a second whose end runs into their beginning; the same each time, not writable.

    Made at the first call, which takes less than a tenth of a second.
    """
    sound = _banded(_played())
    loop: NDArray[np.int16] = np.rint(sound * (RMS / np.sqrt(np.mean(sound**2)))).astype(np.int16)
    loop.flags.writeable = False
    return loop
