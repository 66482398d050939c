"""The hold music that ships: a telephone carries it, it is never silent, and nobody hears where it begins again."""

import numpy as np
import pytest
from numpy.typing import NDArray

from actors.live_call.mixing import RATE_HZ
from daemon.voice.hold_loop import BAND_HZ, hold_loop

FULL_SCALE = 32_768


def decibels(loudness: float) -> float:
    return 20 * float(np.log10(loudness / FULL_SCALE))


def rms(sound: NDArray[np.int16]) -> float:
    return float(np.sqrt(np.mean(sound.astype(np.float64) ** 2)))


def test_it_is_of_a_length_that_does_not_tire() -> None:
    loop = hold_loop()

    assert loop.dtype == np.int16
    assert 16 <= len(loop) / RATE_HZ <= 30


def test_it_is_soft_and_leaves_room_for_a_voice() -> None:
    loop = hold_loop()

    assert decibels(rms(loop)) == pytest.approx(-24, abs=0.1)
    assert decibels(float(np.abs(loop.astype(np.int32)).max())) < -9


def test_at_no_moment_is_it_silent_or_loud() -> None:
    for half_second in hold_loop().reshape(-1, RATE_HZ // 2):
        assert decibels(rms(half_second)) == pytest.approx(-24, abs=3)


def test_a_telephone_carries_all_of_it() -> None:
    loop = hold_loop()
    energy = np.abs(np.fft.rfft(loop)) ** 2
    hz = np.fft.rfftfreq(len(loop), 1 / RATE_HZ)
    carried = energy[(hz >= BAND_HZ[0]) & (hz <= BAND_HZ[1])].sum()

    assert carried / energy.sum() > 0.9999


def test_its_end_runs_into_its_beginning() -> None:
    loop = hold_loop()
    # A click is energy where the music has none: above the band, in the moment of the seam.
    across = np.concatenate([loop[-RATE_HZ:], loop[:RATE_HZ]])
    window = 256
    moments = [
        across[at : at + window] * np.hanning(window) for at in range(0, len(across) - window, window // 2)
    ]
    above = round(3_600 * window / RATE_HZ)
    clicks = [float(np.sum(np.abs(np.fft.rfft(moment)[above:]) ** 2)) for moment in moments]
    seam = len(moments) // 2

    assert max(clicks[seam - 2 : seam + 3]) < 3 * float(np.median(clicks))


def test_it_is_the_same_each_time_and_for_everybody() -> None:
    assert np.array_equal(hold_loop.__wrapped__(), hold_loop())
    with pytest.raises(ValueError, match="read-only"):
        hold_loop()[0] = 0
