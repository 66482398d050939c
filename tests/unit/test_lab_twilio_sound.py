"""mu-law, the record of who heard what, the playout buffer, TwiML and stream frames: the pure parts of the telephone."""

import io
import json
import math
import struct
import wave
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.lab.twilio.deliveries import Answer
from daemon.lab.twilio.voice.audible import Audible, Clip, Kind, Part, Signal
from daemon.lab.twilio.voice.frames import Clear, FrameWriter, Mark, Media, Nonsense, read_frame
from daemon.lab.twilio.voice.moments import read_wish
from daemon.lab.twilio.voice.mulaw import (
    FRAME_BYTES,
    SILENT,
    SILENT_FRAME,
    NoSuchSoundError,
    decode,
    encode,
    is_loud,
    mix,
    read_wav,
    tone,
    voice,
    wav,
)
from daemon.lab.twilio.voice.playout import BUFFERED_MAX_S, Playout
from daemon.lab.twilio.voice.script import Lines, Script, Step
from daemon.lab.twilio.voice.twiml import BadDocumentError, parse, read_document

MUSIC = Clip(Kind.MUSIC, "música", tone(500, 1.0))
WORDS = Clip(Kind.SPEECH, "hola", voice(2.0, 200))
CALLER, AGENT = "CA1", "CA2"
MOUTH, STREAM = Signal(AGENT, Part.MOUTH), Signal(AGENT, Part.STREAM)
PLAYER = Signal(CALLER, Part.PLAYER)


@given(st.binary(max_size=400))
def test_decoding_and_encoding_gives_the_same_sound(audio: bytes) -> None:
    # Of the two codes for zero one is left.
    assert encode(decode(audio)) == audio.replace(b"\x7f", b"\xff")


@given(st.lists(st.integers(-32_768, 32_767), max_size=50))
def test_a_sample_survives_with_the_precision_of_mulaw(samples: list[int]) -> None:
    for before, after in zip(samples, decode(encode(samples)), strict=True):
        assert abs(before - after) <= max(8, abs(before) // 16)


def test_silence_is_quiet_and_a_tone_is_not() -> None:
    assert not is_loud(SILENT_FRAME)
    assert not is_loud(encode([40, -40]))
    assert is_loud(tone(400, 0.02))


def test_mixing_adds_and_does_not_overflow() -> None:
    assert decode(mix([encode([1000, 32_000]), encode([2000, 32_000])])) == pytest.approx(
        [3000, 32_124], abs=130
    )
    assert mix([b"\x12\x34"]) == b"\x12\x34"


def test_a_wav_file_comes_back() -> None:
    audio = tone(400, 0.1)
    with wave.open(io.BytesIO(wav(audio))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (8000, 1, 800)
    assert read_wav(wav(audio)) == audio


@pytest.mark.parametrize(("rate_hz", "channels"), [(8000, 2), (16_000, 1), (44_100, 2)])
def test_other_rates_and_channels_are_read(rate_hz: int, channels: int) -> None:
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        samples = [round(5000 * math.sin(n * 400 * 2 * math.pi / rate_hz)) for n in range(rate_hz)]
        file.writeframes(b"".join(struct.pack("<h", sample) * channels for sample in samples))
    audio = read_wav(target.getvalue())

    assert len(audio) == 8000
    assert is_loud(audio)


def test_a_mulaw_wav_is_taken_as_it_is() -> None:
    audio = tone(400, 0.1)
    header = struct.pack("<HHIIHH", 7, 1, 8000, 8000, 1, 8)
    file = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", 16) + header + b"data" + struct.pack("<I", 800) + audio

    assert read_wav(file) == audio


@pytest.mark.parametrize("file", [b"", b"ID3 an mp3", b"RIFF\0\0\0\0WAVE", wav(b"")[:30]])
def test_what_is_no_wav_file_is_refused(file: bytes) -> None:
    with pytest.raises(NoSuchSoundError):
        read_wav(file)


def test_a_leg_hears_what_it_is_connected_to() -> None:
    audible = Audible()
    audible.sounds(PLAYER).play(MUSIC, 0.0, loops=True)
    audible.sounds(MOUTH).play(WORDS, 1.0)
    audible.connect(CALLER, frozenset({PLAYER}), 0.0)
    audible.connect(CALLER, frozenset({MOUTH}), 2.0)
    heard = audible.heard(CALLER, 0.0, 10.0)

    assert [(one.start_s, one.end_s, one.label, one.call_sid) for one in heard] == [
        (0.0, 2.0, "música", CALLER),
        (2.0, 3.0, "hola", AGENT),
    ]
    assert [one.label for one in audible.window(CALLER, 1.99)] == ["música", "hola"]


def test_silence_is_measured_where_nothing_is_heard() -> None:
    audible = Audible()
    audible.connect(CALLER, frozenset({MOUTH}), 0.0)
    audible.sounds(MOUTH).play(WORDS, 1.0)
    audible.close(CALLER, 10.0)

    assert audible.silences(CALLER, 0.0, 60.0) == [(0.0, 1.0), (3.0, 10.0)]
    assert audible.longest_silence_s(CALLER, 0.0, 60.0) == 7.0
    assert audible.longest_silence_s(CALLER, 0.0, 5.0) == 2.0


SOUNDING = st.lists(
    st.tuples(st.sampled_from([MOUTH, PLAYER, STREAM]), st.integers(0, 10), st.booleans()), max_size=8
)


@given(SOUNDING, st.lists(st.tuples(st.integers(0, 10), st.booleans()), max_size=5))
def test_what_was_heard_and_silence_are_all_the_time_there_was(
    sounding: list[tuple[Signal, int, bool]], wiring: list[tuple[int, bool]]
) -> None:
    audible = Audible()
    for signal, start, loops in sorted(sounding, key=lambda one: one[1]):
        audible.sounds(signal).play(WORDS, float(start), loops=loops)
    audible.connect(CALLER, frozenset({PLAYER}), 0.0)
    for at, talks in sorted(wiring):
        audible.connect(CALLER, frozenset({MOUTH, STREAM} if talks else {PLAYER}), float(at))
    audible.close(CALLER, 12.0)

    windows = [audible.window(CALLER, second + 0.5) for second in range(12)]
    silences = audible.silences(CALLER, 0.0, 20.0)
    for second, window in enumerate(windows):
        silent = any(first <= second + 0.5 < last for first, last in silences)
        assert silent is not bool(window)


def test_streamed_silence_is_silence() -> None:
    audible = Audible()
    audible.connect(CALLER, frozenset({STREAM}), 0.0)
    sounds = audible.sounds(STREAM)
    sounds.extend(Kind.STREAM, "MZ1", tone(400, 1.0), 0.0)
    sounds.extend(Kind.STREAM, "MZ1", SILENT * 8000, 1.0)
    sounds.extend(Kind.STREAM, "MZ1", tone(400, 1.0), 2.0)
    audible.close(CALLER, 3.0)

    [gap] = audible.silences(CALLER, 0.0, 60.0)
    assert gap == pytest.approx((1.0, 2.0))


def test_only_others_are_company() -> None:
    audible = Audible()
    audible.connect(CALLER, frozenset({PLAYER}), 0.0)
    audible.connect(CALLER, frozenset({PLAYER, MOUTH}), 2.0)
    audible.connect(CALLER, frozenset({STREAM}), 3.0)
    audible.connect(CALLER, frozenset(), 4.0)
    audible.close(CALLER, 6.0)

    assert audible.alone(CALLER, 0.0, 60.0) == [(0.0, 2.0), (4.0, 6.0)]


def test_what_was_heard_comes_as_samples() -> None:
    audible = Audible()
    audible.connect(CALLER, frozenset({PLAYER}), 0.5)
    audible.sounds(PLAYER).play(MUSIC, 0.0, loops=True)
    audio = audible.audio(CALLER, 0.0, 3.0)

    assert len(audio) == 3 * 8000
    assert audio[:4000] == SILENT * 4000
    assert audio[4000:12_000] == MUSIC.audio[4000:] + MUSIC.audio[:4000]


def test_two_at_once_are_mixed() -> None:
    audible = Audible()
    audible.connect(CALLER, frozenset({PLAYER, MOUTH}), 0.0)
    audible.sounds(PLAYER).play(MUSIC, 0.0)
    audible.sounds(MOUTH).play(WORDS, 0.0)

    assert audible.audio(CALLER, 0.0, 1.0) == mix([MUSIC.audio, WORDS.audio[:8000]])


def test_a_sound_that_is_cut_ends_there() -> None:
    audible = Audible()
    audible.connect(CALLER, frozenset({STREAM}), 0.0)
    sounds = audible.sounds(STREAM)
    sounds.extend(Kind.STREAM, "MZ1", tone(400, 5.0), 0.0)
    sounds.cut(1.0)
    sounds.extend(Kind.STREAM, "MZ1", tone(600, 1.0), 1.0)
    heard = audible.audio(CALLER, 0.0, 3.0)

    assert heard == tone(400, 1.0) + tone(600, 1.0) + SILENT * 8000


def test_marks_come_when_what_was_before_them_was_heard() -> None:
    playout = Playout()
    assert playout.feed(8000, 10.0) == 10.0
    assert playout.mark("a", 10.0) == 11.0
    assert playout.feed(8000, 10.5) == 11.0
    assert playout.mark("b", 10.5) == 12.0

    assert playout.passed(10.9) == []
    assert playout.passed(11.0) == ["a"]
    assert playout.clear(11.5) == ["b"]
    assert playout.feed(8000, 11.5) == 11.5
    assert playout.mark("c", 20.0) == 20.0


def test_a_buffer_that_is_full_takes_no_more() -> None:
    playout = Playout()
    playout.feed(round((BUFFERED_MAX_S + 1) * 8000), 0.0)

    assert playout.feed(FRAME_BYTES, 0.0) is None


def test_twiml_is_read_with_its_nouns() -> None:
    [dial, hang_up] = parse(
        "<Response><Dial action='/a'><Conference beep='false'>sala</Conference></Dial><Hangup/></Response>"
    )
    conference = dial.first("Conference")

    assert conference is not None
    assert (dial.get("action"), conference.text, hang_up.name) == ("/a", "sala", "Hangup")
    assert not conference.flag("beep", default=True)
    assert dial.number("timeout", 30) == 30
    assert parse("<Response><Say>Hola <emphasis>tú</emphasis></Say></Response>")[0].text == "Hola tú"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("no xml", 12100),
        ("<Answer/>", 12100),
        ("<Response><Sing/></Response>", 12200),
        ("<Response><Gather><Dial/></Gather></Response>", 12200),
    ],
)
def test_a_document_that_makes_no_sense_has_a_code(text: str, code: int) -> None:
    with pytest.raises(BadDocumentError) as caught:
        parse(text)

    assert caught.value.code == code


def test_an_answers_type_decides_what_it_is() -> None:
    def answer(content_type: str, body: bytes = b"") -> Answer:
        return Answer(status=200, content_type=content_type, body=body)

    assert read_document(answer("audio/mpeg"), "http://here/a.mp3")[0].text == "http://here/a.mp3"
    assert read_document(answer("text/plain", b"Hola"), "")[0].name == "Say"
    with pytest.raises(BadDocumentError, match="application/json"):
        read_document(answer("application/json", b"{}"), "")


def test_frames_are_numbered_and_chunks_counted_by_track() -> None:
    frames = FrameWriter(account_sid="AC1", call_sid="CA1", stream_sid="MZ1")
    assert "sequenceNumber" not in json.loads(frames.connected())
    start = json.loads(frames.start(["inbound"], {"token": "x"}))
    first, second = (json.loads(frames.media(track, 0, b"\xff")) for track in ("inbound", "outbound"))

    assert (start["sequenceNumber"], start["start"]["customParameters"]) == ("1", {"token": "x"})
    assert (second["sequenceNumber"], first["media"]["chunk"], second["media"]["chunk"]) == ("3", "1", "1")


@pytest.mark.parametrize(
    ("frame", "read"),
    [
        ({"event": "media", "media": {"payload": b64encode(b"abc").decode()}}, Media(b"abc")),
        ({"event": "mark", "mark": {"name": "m"}}, Mark("m")),
        ({"event": "clear"}, Clear()),
        ({"event": "media", "media": {"payload": "???"}}, Nonsense("not a frame of a media stream")),
        ({"event": "mark"}, Nonsense("not a frame of a media stream")),
        ({"event": "sing"}, Nonsense("unknown event 'sing'")),
    ],
)
def test_frames_of_the_server_are_read(frame: dict[str, object], read: object) -> None:
    assert read_frame(json.dumps({**frame, "streamSid": "MZ1"}), "MZ1") == read


@pytest.mark.parametrize("text", ["", "[]", "7", '{"event": "clear", "streamSid": "MZ2"}'])
def test_other_frames_are_nonsense(text: str) -> None:
    assert isinstance(read_frame(text, "MZ1"), Nonsense)


def test_a_moment_that_does_not_exist_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="gather"):
        Step(at="gathering")
    with pytest.raises(ValueError, match="no moment"):
        Script(answer_at="noon@+52")
    assert read_wish("say:Acepta@*").part == "acepta"


def test_a_number_nobody_was_told_about_is_answered() -> None:
    assert Lines().next("+525500000001") == Script()
