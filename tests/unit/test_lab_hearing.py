"""Telling the simulated agent's voice from music by the samples alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.lab.elevenlabs.speech import tone as agent_voice
from daemon.lab.hearing import Window, longest_silence_s, spans_where, what_sounded
from daemon.lab.twilio.voice.mulaw import SILENT, decode, encode, mix, tone

VOICE_ENERGY = 2_500**2 / 2


def soft(audio: bytes, factor: float) -> bytes:
    return encode([round(sample * factor) for sample in decode(audio)])


def silence(seconds: float) -> bytes:
    return SILENT * round(seconds * 8_000)


def music(seconds: float, factor: float = 0.3) -> bytes:
    """A soft chord."""
    chord = mix([soft(tone(hz, 1.0), factor) for hz in (330, 494, 660)])
    return (chord * 10)[: round(seconds * 8_000)]


def test_the_agents_voice_is_voice_and_nothing_else() -> None:
    windows = what_sounded(agent_voice(1.0, "ulaw_8000"))

    assert [window.start_s for window in windows] == pytest.approx([n / 10 for n in range(10)])
    assert all(window.voice == pytest.approx(VOICE_ENERGY, rel=0.05) for window in windows)
    assert all(window.has_voice and not window.has_music for window in windows)


def test_music_is_no_voice() -> None:
    assert all(window.has_music and not window.has_voice for window in what_sounded(music(1.0)))


def test_silence_is_neither() -> None:
    assert what_sounded(silence(0.2)) == [
        Window(start_s=0.0, voice=0.0, music=0.0),
        Window(start_s=0.1, voice=0.0, music=0.0),
    ]
    assert what_sounded(b"") == []


def test_both_at_once_are_told_apart_however_soft_the_music() -> None:
    both = mix([agent_voice(1.0, "ulaw_8000"), music(1.0, 0.1)])

    assert all(window.has_voice and window.has_music for window in what_sounded(both))


@given(st.integers(0, 799), st.floats(0.4, 3.0))
def test_a_voice_that_begins_and_ends_anywhere_is_not_taken_for_music(offset: int, seconds: float) -> None:
    audio = SILENT * offset + agent_voice(seconds, "ulaw_8000") + silence(0.5)

    assert not any(window.has_music for window in what_sounded(audio))


def test_other_rates_and_windows_are_measured_alike() -> None:
    [window] = what_sounded(agent_voice(0.06, "ulaw_16000"), rate_hz=16_000, window_s=0.06)

    assert window.voice == pytest.approx(VOICE_ENERGY, rel=0.05)
    assert window.music < 1_000


def test_music_that_is_lowered_under_a_voice_is_seen_to_be() -> None:
    loud, low = music(1.0, 0.4), music(1.0, 0.1)
    windows = what_sounded(loud + mix([low, agent_voice(1.0, "ulaw_8000")]) + loud)
    before, under, after = (
        sum(window.music for window in windows[place : place + 10]) for place in (0, 10, 20)
    )

    assert under < before / 4
    assert after == pytest.approx(before, rel=0.05)


def test_spans_are_put_together() -> None:
    audio = silence(0.5) + music(1.0) + silence(0.3) + music(0.5)
    spans = spans_where(what_sounded(audio), lambda window: window.has_music)

    assert [pytest.approx(span) for span in spans] == [(0.5, 1.5), (1.8, 2.3)]


def test_silence_is_measured_to_the_sample() -> None:
    voice = agent_voice(1.0, "ulaw_8000")[5:-5]
    audio = silence(0.25) + voice + silence(0.75) + voice + silence(0.5)

    assert longest_silence_s(audio) == pytest.approx(0.75, abs=0.001)
    assert longest_silence_s(silence(2.0)) == pytest.approx(2.0)
    assert longest_silence_s(b"") == 0.0
