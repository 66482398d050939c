"""Frames of media streams: the quick reader of sound says what the whole reader says, or nothing."""

import json
from base64 import b64decode, b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.lab.twilio.voice import frames as twilio
from daemon.voice import frames
from daemon.voice.frames import Connected, FrameWriter, Key, Mark, Media, Nonsense, Started, Stopped

SEPARATORS = [(",", ":"), (", ", ": "), (" , ", " : ")]
SID = "MZ" + "0a" * 16
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def media_frame(
    payload: object, *, track: str = "inbound", number: int = 7, **more: object
) -> dict[str, Any]:
    media = {
        "track": track,
        "chunk": str(number),
        "timestamp": str(20 * number),
        "payload": payload,
        **(more or {}),
    }
    return {"event": "media", "sequenceNumber": str(number + 1), "media": media, "streamSid": SID}


@given(audio=st.binary(max_size=400), number=st.integers(0, 10**7), separators=st.sampled_from(SEPARATORS))
def test_sound_is_read_byte_for_byte(audio: bytes, number: int, separators: tuple[str, str]) -> None:
    text = json.dumps(media_frame(b64encode(audio).decode(), number=number), separators=separators)

    assert frames.read(text) == Media(audio)


@given(audio=st.binary(max_size=400), number=st.integers(0, 10**7))
def test_what_twilio_sends_is_read_without_json(audio: bytes, number: int) -> None:
    for separators in SEPARATORS[:2]:
        text = json.dumps(media_frame(b64encode(audio).decode(), number=number), separators=separators)
        assert frames._plain_media(text) == Media(audio)


@given(
    payload=st.text("ABC+/=-_\\\"'é \n", max_size=12)
    | st.binary(max_size=9).map(lambda b: b64encode(b).decode())
    | st.integers()
    | st.none(),
    track=st.sampled_from(["inbound", "outbound", ""]),
    more=st.dictionaries(st.sampled_from(["payload", "x"]), st.text(max_size=3), max_size=2),
    separators=st.sampled_from(SEPARATORS),
    spoiling=st.data(),
)
def test_the_quick_reader_never_differs_from_the_whole_one(
    payload: object, track: str, more: dict[str, str], separators: tuple[str, str], spoiling: st.DataObject
) -> None:
    text = json.dumps(media_frame(payload, track=track, more=more), separators=separators)
    place, gone = spoiling.draw(st.integers(0, len(text))), spoiling.draw(st.integers(0, 12))
    put = spoiling.draw(
        st.sampled_from(
            ["", "0", '"', "\\", "}", "{", ",", "A", "=", '"event":"stop",', " ", "\\/", '"x":{},']
        )
    )
    for spoilt in (text, text[:place] + put + text[place + gone :]):
        assert frames.read(spoilt) == frames._read(spoilt)


@given(st.text())
def test_no_text_makes_the_reader_raise(text: str) -> None:
    assert isinstance(frames.read(text), Nonsense | None)


@given(st.sampled_from(["connected", "start", "media", "dtmf", "mark", "stop", "novelty"]), JSON, JSON)
def test_no_body_makes_the_reader_raise(event: str, body: Any, sid: Any) -> None:
    frames.read(json.dumps({"event": event, event: body, "streamSid": sid}))


@given(st.dictionaries(st.text(), JSON), JSON)
def test_no_start_makes_the_reader_raise(start: dict[str, Any], parameters: Any) -> None:
    start = {"streamSid": SID, "callSid": "CA1", **start, "customParameters": parameters}
    frame = frames.read(json.dumps({"event": "start", "start": start}))

    assert isinstance(frame, Started | Nonsense)


def test_the_labs_frames_are_understood() -> None:
    lab = twilio.FrameWriter(account_sid="AC1", call_sid="CA1", stream_sid=SID)

    assert frames.read(lab.connected()) == Connected()
    assert frames.read(lab.start(["inbound"], {"token": "abc"})) == Started(
        stream_sid=SID, call_sid="CA1", parameters={"token": "abc"}
    )
    assert frames.read(lab.media("inbound", 20, b"\x01\x02")) == Media(b"\x01\x02")
    assert frames.read(lab.media("outbound", 20, b"\x01\x02")) is None
    assert frames.read(lab.dtmf("#")) == Key("#")
    assert frames.read(lab.mark("ñ")) == Mark("ñ")
    assert frames.read(lab.stop()) == Stopped()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "no object"),
        ("{}", "no event"),
        ('{"event":7}', "no event"),
        ('{"event":"start","start":{"callSid":"CA1"}}', "a start without streamSid or callSid"),
        (
            '{"event":"start","start":{"streamSid":"MZ1","callSid":""}}',
            "a start without streamSid or callSid",
        ),
        (
            '{"event":"start","start":{"streamSid":"MZ1","callSid":"CA1","mediaFormat":{"encoding":"audio/l16"}}}',
            "a start with another mediaFormat than mu-law 8000 mono",
        ),
        ('{"event":"media"}', "media without payload"),
        ('{"event":"media","media":{"payload":"A"}}', "media whose payload is no base64"),
        ('{"event":"dtmf","dtmf":{}}', "dtmf without digit"),
        ('{"event":"mark","mark":{"name":7}}', "mark without name"),
    ],
)
def test_garbage_is_a_value(text: str, sentence: str) -> None:
    assert frames.read(text) == Nonsense(sentence)


def test_unknown_events_are_ignored() -> None:
    assert frames.read('{"event":"novelty","novelty":{}}') is None


def test_what_is_optional_may_be_missing_and_numbers_may_be_numbers() -> None:
    start = {
        "callSid": "CA1",
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": "8000", "channels": "1"},
        "customParameters": {"token": "abc", "n": 7},
    }
    frame = json.dumps({"event": "start", "sequenceNumber": 1, "start": start, "streamSid": SID})

    assert frames.read(frame) == Started(stream_sid=SID, call_sid="CA1", parameters={"token": "abc"})
    assert frames.read('{"event":"media","media":{"payload":"AQI="}}') == Media(b"\x01\x02")


@given(audio=st.binary(max_size=500), name=st.text(max_size=30), sid=st.text(min_size=1, max_size=40))
def test_what_we_write_is_what_twilio_reads(audio: bytes, name: str, sid: str) -> None:
    writer = FrameWriter(sid)

    assert twilio.read_frame(writer.media(audio), sid) == twilio.Media(audio)
    assert twilio.read_frame(writer.mark(name), sid) == twilio.Mark(name)
    assert twilio.read_frame(writer.clear(), sid) == twilio.Clear()
    assert json.loads(writer.media(audio)) == {
        "event": "media",
        "streamSid": sid,
        "media": {"payload": b64encode(audio).decode()},
    }
    assert b64decode(json.loads(writer.media(audio))["media"]["payload"]) == audio
    assert writer.media(audio).startswith(frames.MEDIA_START)
    assert not writer.mark(name).startswith(frames.MEDIA_START)
