"""Words in sound: marks, the ear that finds them, and what of the agent's voice is still to be heard."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.lab.elevenlabs.ear import Ear
from daemon.lab.elevenlabs.playback import Playback, Voiced
from daemon.lab.spoken import APART_BYTES, MARK_BYTES, Mark, Spoken, marks_in, written_mark
from daemon.lab.twilio.voice.mulaw import FRAME_BYTES, SILENT, decode, encode, mix, tone, voice

PAUSE_S = 0.3
HELLO = voice(1.0, 200)


def an_ear(spoken: Spoken) -> Ear:
    return Ear(spoken, PAUSE_S)


def turns_heard(ear: Ear, audio: bytes, size: int = FRAME_BYTES) -> list[str]:
    pieces = (audio[place : place + size] for place in range(0, len(audio), size))
    return [said for piece in pieces if (said := ear.take(piece)) is not None]


@given(st.integers(0, 2**32 - 1), st.integers(0, 2), st.binary(max_size=50), st.binary(max_size=50))
def test_a_mark_is_found_wherever_it_stands(number: int, copy: int, before: bytes, after: bytes) -> None:
    mark = written_mark(number, copy)
    expected = Mark(number, len(before) - copy * APART_BYTES)

    assert len(mark) == MARK_BYTES
    assert expected in list(marks_in(before + mark + after))


def test_a_mark_is_too_soft_to_be_noticed_and_survives_silence_beside_it() -> None:
    marked = Spoken().say("hola", HELLO)

    assert max(map(abs, decode(marked[:MARK_BYTES]))) <= 120
    assert mix([marked, SILENT * len(marked)]) == marked
    assert encode(decode(marked)) == marked
    assert len(marked) == len(HELLO)


@given(st.binary(max_size=4_000))
def test_noise_says_nothing(audio: bytes) -> None:
    spoken = Spoken()
    spoken.say("hola", HELLO)
    ear = an_ear(spoken)
    ear.take(audio)

    assert ear.speaking_s == 0.0


@given(st.integers(0, 3_000), st.integers(1, 700))
def test_words_are_known_when_they_have_been_said_however_they_are_cut_up(before: int, size: int) -> None:
    spoken = Spoken()
    ear = an_ear(spoken)
    sound = SILENT * before + spoken.say("quiero hablar", HELLO)
    pause = round(PAUSE_S * 8_000)

    assert turns_heard(ear, sound + SILENT * (pause - 1), size) == []
    assert turns_heard(ear, SILENT) == ["quiero hablar"]
    assert ear.speaking_s == 0.0


def test_the_ear_knows_for_how_long_somebody_speaks() -> None:
    spoken = Spoken()
    ear = an_ear(spoken)
    sound = SILENT * 100 + spoken.say("hola", HELLO)
    ear.take(sound[: 100 + 2_400])

    assert ear.speaking_s == pytest.approx(0.3)


def test_two_sentences_in_one_breath_are_one_turn() -> None:
    spoken = Spoken()
    ear = an_ear(spoken)
    breath = spoken.say("buenas", HELLO) + SILENT * 1_600 + spoken.say("tardes", HELLO)
    later = SILENT * 2_400 + spoken.say("adiós", HELLO) + SILENT * 2_400

    assert turns_heard(ear, breath + later) == ["buenas tardes", "adiós"]


def test_who_breaks_off_and_begins_anew_is_heard_to_the_end_of_the_new() -> None:
    spoken = Spoken()
    ear = an_ear(spoken)
    first, second = spoken.say("yo quisiera", voice(60.0, 200)), spoken.say("espere", HELLO)

    assert turns_heard(ear, first[:8_000] + second + SILENT * 2_400) == ["yo quisiera espere"]


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_lost_frame_does_not_cost_the_words(lost: int) -> None:
    spoken = Spoken()
    sound = spoken.say("hola", HELLO) + SILENT * 4_000
    without = sound[: lost * FRAME_BYTES] + sound[(lost + 1) * FRAME_BYTES :]

    assert turns_heard(an_ear(spoken), without) == ["hola"]


def test_what_is_mixed_with_another_sound_is_not_understood() -> None:
    spoken = Spoken()
    both = mix([spoken.say("hola", HELLO), tone(500, 1.0)])

    assert turns_heard(an_ear(spoken), both + SILENT * 4_000) == []


def test_two_telephones_share_what_was_said_only_through_one_register() -> None:
    sound = Spoken().say("hola", HELLO) + SILENT * 4_000

    assert turns_heard(an_ear(Spoken()), sound) == []


def test_a_sound_too_short_for_a_mark_stays_as_it_is() -> None:
    assert Spoken().say("eh", b"\xff" * 10) == b"\xff" * 10


def add(playback: Playback, text: str, length_s: float, now_s: float) -> Voiced:
    return playback.add(text, 1, length_s, {"message": text}, now_s=now_s)


def test_replies_wait_for_each_other_at_the_client() -> None:
    playback = Playback()
    first, second = add(playback, "uno", 2.0, 10.0), add(playback, "dos", 3.0, 10.5)
    third = add(playback, "tres", 1.0, 20.0)

    assert [(one.start_s, one.end_s) for one in (first, second, third)] == [(10, 12), (12, 15), (20, 21)]
    assert (playback.until_s, playback.is_on(20.9), playback.is_on(21.0)) == (21.0, True, False)


def test_an_interruption_cuts_what_is_heard_and_what_waits() -> None:
    playback = Playback()
    over = add(playback, "uno", 1.0, 0.0)
    heard, waiting = add(playback, "0123456789", 2.0, 0.0), add(playback, "nunca", 2.0, 0.0)
    cut = playback.cut(2.0)

    assert [(one.text, left) for one, left in cut] == [("0123456789", "01234…"), ("nunca", "…")]
    assert not over.is_cut
    assert (heard.end_s, waiting.start_s, waiting.end_s) == (2.0, 2.0, 2.0)
    assert heard.entry == {"message": "01234…", "interrupted": True, "original_message": "0123456789"}
    assert (playback.until_s, playback.cut(2.0)) == (2.0, [])
