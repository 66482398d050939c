"""Music under a voice: exact mu-law, nothing clicks, nothing overflows, and the voice is always on top."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from actors.live_call.mixing import RATE_HZ, SILENCE, BedRules, MusicBed, decode, encode
from daemon.lab.twilio.voice import mulaw

PIECE = 800
RULES = BedRules(level=0.8, ducked_level=0.2, fade_s=0.5, duck_s=0.1, release_s=0.5)
AT_ONCE = BedRules(level=1, ducked_level=1, fade_s=0, duck_s=0, release_s=0)
MUSIC_HZ, VOICE_HZ = 500, 1_000


def tone(hz: float, seconds: float, loudness: float = 4_000) -> NDArray[np.int16]:
    places = np.arange(round(seconds * RATE_HZ))
    sine: NDArray[np.float64] = np.rint(loudness * np.sin(2 * np.pi * hz / RATE_HZ * places))
    return sine.astype(np.int16)


def steady(loudness: int) -> NDArray[np.int16]:
    """Not a sound, but what comes out shows the gain of every sample."""
    return np.full(RATE_HZ, loudness, np.int16)


def pieces(audio: bytes) -> Sequence[bytes]:
    return [audio[start : start + PIECE] for start in range(0, len(audio), PIECE)]


def play(bed: MusicBed, voice: bytes) -> NDArray[np.int16]:
    return decode(b"".join(bed.mix(piece, len(piece)) for piece in pieces(voice)))


def loudness_at(hz: float, sound: NDArray[np.int16]) -> float:
    """How loud a sine of that pitch is in it."""
    spectrum = np.abs(np.fft.rfft(sound)) * 2 / len(sound)
    return float(spectrum[round(hz * len(sound) / RATE_HZ)])


# --- mu-law ---


def test_every_code_and_every_sample_is_what_the_standard_says() -> None:
    codes = bytes(range(256))
    samples = range(-32_768, 32_768)

    assert decode(codes).tolist() == mulaw.decode(codes)
    assert encode(np.array(samples)) == mulaw.encode(samples)


@pytest.mark.parametrize("width", [np.int32, np.int64])
def test_what_is_too_loud_for_sixteen_bits_is_cut(width: type[np.signedinteger]) -> None:
    ends = np.iinfo(width)

    assert encode(np.array([ends.min, -40_000, 40_000, ends.max], width)) == mulaw.encode(
        [-32_768, -32_768, 32_767, 32_767]
    )


def test_no_sound_is_no_sound() -> None:
    assert decode(b"").tolist() == []
    assert encode(np.array([], np.int16)) == b""


# --- a bed that is silent ---


@given(st.binary(max_size=PIECE), st.integers(0, PIECE))
def test_without_music_the_voice_is_untouched(voice: bytes, missing: int) -> None:
    bed = MusicBed(tone(MUSIC_HZ, 1), RULES)

    assert bed.is_over
    assert bed.mix(voice, len(voice) + missing) == voice + SILENCE * missing


@given(st.binary(min_size=1, max_size=PIECE))
def test_after_the_music_the_voice_is_untouched(voice: bytes) -> None:
    bed = MusicBed(tone(MUSIC_HZ, 1), RULES)
    bed.begin()
    bed.mix(b"", RATE_HZ)
    bed.end()
    before = bed.is_over
    bed.mix(b"", RATE_HZ)

    assert (before, bed.is_over) == (False, True)
    assert bed.mix(voice, len(voice)) == voice


def test_music_that_is_to_be_silent_under_a_voice_leaves_it_untouched() -> None:
    rules = BedRules(level=0.8, ducked_level=0, fade_s=0.5, duck_s=0.1, release_s=0.5)
    bed = MusicBed(tone(MUSIC_HZ, 1), rules)
    bed.begin()
    voice = encode(tone(VOICE_HZ, 0.1))
    for _ in range(10):
        bed.mix(voice, PIECE)

    assert bed.mix(voice + b"\x7f", PIECE + 100) == voice + b"\x7f" + SILENCE * 99


def test_ending_what_did_not_begin_is_nothing() -> None:
    bed = MusicBed(tone(MUSIC_HZ, 1), RULES)
    bed.end()

    assert bed.is_over


# --- music ---

Step = tuple[str, bytes, int]
VOICES = st.one_of(st.just(b""), st.binary(max_size=300), st.just(encode(tone(VOICE_HZ, 0.03))))
STEPS = st.lists(
    st.tuples(st.sampled_from(["begin", "end", "on", "on"]), VOICES, st.integers(0, 1_000)), max_size=20
)


def tell(bed: MusicBed, order: str) -> None:
    if order == "begin":
        bed.begin()
    elif order == "end":
        bed.end()


@given(STEPS, st.integers(1, 2_000))
def test_as_many_samples_come_out_as_were_asked_for(steps: list[Step], loop_length: int) -> None:
    bed = MusicBed(steady(9_000)[:loop_length], RULES)
    for order, voice, more in steps:
        tell(bed, order)
        assert len(bed.mix(voice, len(voice) + more)) == len(voice) + more


@given(st.lists(st.tuples(st.sampled_from(["begin", "end", "on"]), st.booleans(), st.integers(1, 2_000))))
def test_loudness_never_jumps(steps: list[tuple[str, bool, int]]) -> None:
    bed = MusicBed(steady(16_000), RULES)
    heard = [np.zeros(1, np.int16)]
    for order, has_voice, samples in steps:
        tell(bed, order)
        # One soft sample makes it a voice, and does not hide the music.
        heard.append(decode(bed.mix(encode(np.array([200])) if has_voice else b"", samples)))
    codes = np.concatenate(heard).astype(np.int32)

    # mu-law's own steps are 1/16 of the loudness at most; the fastest of the ramps is far below that.
    assert np.all(np.abs(np.diff(codes)) <= 232 + codes[:-1] / 8)
    assert codes.min() >= 0
    assert codes.max() <= 16_000


@given(
    st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=50),
    st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=50),
)
def test_music_and_voice_add_up_and_do_not_overflow(music: list[int], voice: list[int]) -> None:
    bed = MusicBed(np.array(music, np.int16), AT_ONCE)
    bed.begin()
    spoken = encode(np.array(voice))
    round_about = [music[place % len(music)] for place in range(len(voice))]
    sums = [one + other for one, other in zip(round_about, mulaw.decode(spoken), strict=True)]

    assert bed.mix(spoken, len(spoken)) == mulaw.encode(sums)


@given(st.integers(1, 1_000), st.lists(st.integers(1, 900), min_size=1, max_size=10))
def test_the_loop_goes_round_and_pauses_where_it_ended(loop_length: int, lengths: list[int]) -> None:
    loop = np.arange(loop_length, dtype=np.int16) * 30
    bed = MusicBed(loop, AT_ONCE)
    heard = b""
    for length in lengths:
        bed.begin()
        heard += bed.mix(b"", length)
        bed.end()
        bed.mix(b"", 1)
        bed.mix(b"", 777)  # nobody hears this, so the loop waits
    expected: list[int] = []
    place = 0
    for length in lengths:
        expected += [int(loop[(place + n) % loop_length]) for n in range(length)]
        place += length + 1  # the one sample in which it ended

    assert heard == mulaw.encode(expected)


def test_it_fades_in_and_out_in_the_time_that_was_set() -> None:
    bed = MusicBed(steady(16_000), RULES)
    bed.begin()
    coming = play(bed, SILENCE * RATE_HZ)
    bed.end()
    going = play(bed, SILENCE * RATE_HZ)

    full, faded = 0.8 * 16_000, RULES.fade_s * RATE_HZ
    assert coming[0] < 100
    assert coming[round(faded / 2)] == pytest.approx(full / 2, rel=0.05)
    assert coming[round(faded) :] == pytest.approx(full, rel=0.05)
    assert going[0] == pytest.approx(full, rel=0.05)
    assert going[round(faded / 2)] == pytest.approx(full / 2, rel=0.05)
    assert not np.any(going[round(faded) :])


def test_an_end_that_is_taken_back_goes_on_from_where_the_loudness_is() -> None:
    bed = MusicBed(steady(16_000), RULES)
    bed.begin()
    play(bed, SILENCE * RATE_HZ)
    bed.end()
    going = play(bed, SILENCE * 2_000)
    bed.begin()
    coming = play(bed, SILENCE * 2_000)

    assert going[-1] == pytest.approx(0.4 * 16_000, rel=0.05)
    assert coming[0] == pytest.approx(0.4 * 16_000, rel=0.05)
    assert coming[-1] == pytest.approx(0.8 * 16_000, rel=0.05)


# --- music under a voice ---


@pytest.fixture
def bed() -> MusicBed:
    """At its full loudness."""
    bed = MusicBed(tone(MUSIC_HZ, 1), RULES)
    bed.begin()
    play(bed, SILENCE * RATE_HZ)
    return bed


def test_music_is_low_while_a_voice_sounds_and_comes_back(bed: MusicBed) -> None:
    before = play(bed, SILENCE * RATE_HZ)
    under = play(bed, encode(tone(VOICE_HZ, 1)))
    after = play(bed, SILENCE * 2 * RATE_HZ)

    assert loudness_at(MUSIC_HZ, before) == pytest.approx(0.8 * 4_000, rel=0.03)
    ducked = round(RULES.duck_s * RATE_HZ)
    assert loudness_at(MUSIC_HZ, under[ducked:]) == pytest.approx(0.2 * 4_000, rel=0.03)
    assert loudness_at(VOICE_HZ, under[ducked:]) == pytest.approx(4_000, rel=0.03)
    # Low for the pause that might have been one inside a sentence, then rising.
    pause, risen = round(RULES.pause_s * RATE_HZ), round((RULES.pause_s + RULES.release_s) * RATE_HZ)
    assert loudness_at(MUSIC_HZ, after[:pause]) == pytest.approx(0.2 * 4_000, rel=0.03)
    assert loudness_at(MUSIC_HZ, after[risen:]) == pytest.approx(0.8 * 4_000, rel=0.03)
    rising = [loudness_at(MUSIC_HZ, after[at : at + PIECE]) for at in range(pause, risen, PIECE)]
    assert rising == sorted(rising)


def test_pauses_in_a_sentence_do_not_pump_the_music(bed: MusicBed) -> None:
    word, pause = encode(tone(VOICE_HZ, 0.3)), SILENCE * round(0.3 * RATE_HZ)
    under = play(bed, (word + pause) * 5)

    for start in range(PIECE, len(under), PIECE):
        assert loudness_at(MUSIC_HZ, under[start : start + PIECE]) == pytest.approx(0.2 * 4_000, rel=0.1)


@pytest.mark.parametrize("quiet", [b"", SILENCE * PIECE, b"\x7f" * PIECE, encode(tone(VOICE_HZ, 0.1, 100))])
def test_what_nobody_hears_is_no_voice(bed: MusicBed, quiet: bytes) -> None:
    heard = decode(b"".join(bed.mix(quiet, PIECE) for _ in range(10)))

    assert loudness_at(MUSIC_HZ, heard) == pytest.approx(0.8 * 4_000, rel=0.03)


def test_music_that_begins_under_a_voice_is_never_above_it() -> None:
    bed = MusicBed(tone(MUSIC_HZ, 1), RULES)
    bed.begin()
    under = play(bed, encode(tone(VOICE_HZ, 1)))

    assert all(
        loudness_at(MUSIC_HZ, under[at : at + PIECE]) < 0.22 * 4_000 for at in range(0, len(under), PIECE)
    )


# --- what cannot be ---


def test_a_loop_without_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="loop"):
        MusicBed(np.array([], np.int16), RULES)


def test_a_voice_longer_than_its_time_is_refused() -> None:
    with pytest.raises(ValueError, match="voice"):
        MusicBed(tone(MUSIC_HZ, 1), RULES).mix(SILENCE * 2, 1)


@pytest.mark.parametrize("level", [-0.1, 1.1])
def test_music_louder_than_itself_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        BedRules(level=level, ducked_level=0, fade_s=1, duck_s=1, release_s=1)
