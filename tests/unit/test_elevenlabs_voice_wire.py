"""Frames of sessions that speak: the quick reader of audio says what the whole reader says, or nothing."""

import json
from base64 import b64decode, b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.agent_events import AgentAudio, AgentInterrupted, AgentReplied, PersonSaid, SessionPlan
from daemon.elevenlabs import wire

SEPARATORS = [(",", ":"), (", ", ": "), (" , ", " : ")]


def whole_reader(frame: str) -> wire.Message | None:
    return wire._parse(frame, wire._SPOKEN_SHAPES)


def audio_frame(audio: str, event_id: object, *, type_first: bool = True, **more: object) -> dict[str, Any]:
    event = {"audio_base_64": audio, "event_id": event_id, **more}
    return {"type": "audio", "audio_event": event} if type_first else {"audio_event": event, "type": "audio"}


@pytest.mark.parametrize("separators", SEPARATORS)
@pytest.mark.parametrize("type_first", [True, False])
@given(audio=st.binary(max_size=500), event_id=st.integers(0, 2**31 - 1) | st.none())
def test_audio_is_read_byte_for_byte(
    audio: bytes, event_id: int | None, *, separators: tuple[str, str], type_first: bool
) -> None:
    frame = audio_frame(b64encode(audio).decode(), event_id, type_first=type_first)
    text = json.dumps(frame, separators=separators)

    assert wire.parse_spoken(text) == AgentAudio(payload=audio, event_id=event_id)


@given(audio=st.binary(max_size=50), event_id=st.integers(0, 999_999_999), type_first=st.booleans())
def test_what_normally_comes_is_read_without_json(audio: bytes, event_id: int, *, type_first: bool) -> None:
    frame = audio_frame(b64encode(audio).decode(), event_id, type_first=type_first)
    for separators in SEPARATORS[:2]:
        text = json.dumps(frame, separators=separators)
        quick = [
            wire._plain_audio(text, len(head), tail)
            for head, tail in wire._PLAIN_AUDIO
            if text.startswith(head)
        ]
        assert quick == [AgentAudio(payload=audio, event_id=event_id)]


@given(
    frame=st.builds(
        audio_frame,
        st.text("ABC+/=-_\\\"'é \n", max_size=12)
        | st.binary(max_size=9).map(lambda b: b64encode(b).decode()),
        st.integers() | st.text("0123456789-. e", max_size=12) | st.booleans() | st.none() | st.floats(),
        type_first=st.booleans(),
    ),
    separators=st.sampled_from(SEPARATORS),
    cuts=st.data(),
)
def test_the_quick_reader_never_differs_from_the_whole_one(
    frame: dict[str, Any], separators: tuple[str, str], cuts: st.DataObject
) -> None:
    text = json.dumps(frame, separators=separators)
    place = cuts.draw(st.integers(0, len(text)))
    gone = cuts.draw(st.integers(0, 12))
    put = cuts.draw(
        st.sampled_from(["", "0", "1", '"', "\\", "}", "{", ",", "A", "=", '"type":"ping",', " ", "\\/"])
    )
    for spoilt in (text, text[:place] + put + text[place + gone :]):
        assert wire.parse_spoken(spoilt) == whole_reader(spoilt)


@pytest.mark.parametrize(
    "text",
    [
        r'{"type":"audio","audio_event":{"audio_base_64":"\/\/8=","event_id":4}}',
        r'{"audio_event":{"event_id":4,"audio_base_64":"//8="},"type":"audio"}',
        '{"type":"audio","audio_event":{"audio_base_64":"//8=","event_id":4,"alignment":{"chars":["a"]}}}',
        '{"type":"audio","audio_event":{"audio_base_64":"//8=","event_id":"4","is_final":null},"more":1}',
    ],
)
def test_audio_in_another_shape_is_read_too(text: str) -> None:
    assert wire.parse_spoken(text) == AgentAudio(payload=b"\xff\xff", event_id=4)


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"audio","audio_event":{"audio_base_64":"A","event_id":4}}',
        '{"type":"audio","audio_event":{"audio_base_64":"AAA","event_id":4}}',
        '{"type":"audio","audio_event":{"audio_base_64":"AA==AA==","event_id":4}}',
        '{"type":"audio","audio_event":{"audio_base_64":"ñandu","event_id":4}}',
        '{"type":"audio","audio_event":{"audio_base_64":7,"event_id":4}}',
        '{"type":"audio","audio_event":{"event_id":4}}',
        '{"type":"audio","audio_event":{"audio_base_64":"//8=","event_id":04}}',
        '{"type":"ping","audio_event":{"audio_base_64":"//8=","event_id":4}}',
        '{"audio_event":{"audio_base_64":"//8=","event_id":4}}',
        '{"type":"audio","audio_event":{"audio_base_64":"//8=","event_id":4}',
        '{"type":"audio","audio_event":{"audio_base_64":"//8=',
    ],
)
def test_audio_that_is_none_is_dropped(text: str) -> None:
    assert wire.parse_spoken(text) is None


@given(st.text() | st.binary())
def test_no_frame_makes_the_reader_raise(frame: str | bytes) -> None:
    wire.parse_spoken(frame)


def test_what_belongs_to_speech_is_read_and_all_else_as_in_text() -> None:
    said = {"type": "user_transcript", "user_transcription_event": {"user_transcript": "Hola", "event_id": 3}}
    cut = {"type": "interruption", "interruption_event": {"event_id": "7", "reason": "user"}}
    reply = {"type": "agent_response", "agent_response_event": {"agent_response": "Sí", "event_id": 8}}

    assert wire.parse_spoken(json.dumps(said)) == PersonSaid(text="Hola")
    assert wire.parse_spoken(json.dumps(cut)) == AgentInterrupted(event_id=7)
    assert wire.parse_spoken(json.dumps({"type": "interruption"})) == AgentInterrupted(event_id=None)
    assert wire.parse_spoken(json.dumps(reply)) == AgentReplied(text="Sí", event_id=8)
    assert [wire.parse(json.dumps(frame)) for frame in (said, cut)] == [None, None]


def test_the_metadata_name_the_formats() -> None:
    event = {"conversation_id": "c", "agent_output_audio_format": "ulaw_8000", "user_input_audio_format": 7}
    frame = {"type": "conversation_initiation_metadata", "conversation_initiation_metadata_event": event}

    assert wire.parse_spoken(json.dumps(frame)) == wire.Metadata("c", "ulaw_8000", "")


def test_a_session_that_speaks_overrides_nothing() -> None:
    plan = SessionPlan(agent_id="a", user_id="person-7", dynamic_variables={"name": "Ñandú"}, speaks=True)

    assert json.loads(wire.initiation(plan, version="1")) == {
        "type": "conversation_initiation_client_data",
        "dynamic_variables": {"name": "Ñandú"},
        "user_id": "person-7",
        "source_info": {"source": "relevo", "version": "1"},
    }


@pytest.mark.parametrize("first_message", ["", "Hola, soy Valeria."])
def test_a_session_that_speaks_overrides_the_first_message_that_is_given(first_message: str) -> None:
    plan = SessionPlan(agent_id="a", user_id="p", speaks=True, first_message=first_message)
    frame = json.loads(wire.initiation(plan, version="1"))

    assert frame["conversation_config_override"] == {"agent": {"first_message": first_message}}


@given(st.binary(max_size=1_000))
def test_sound_for_the_agent_is_json(audio: bytes) -> None:
    frame = json.loads(wire.user_audio_chunk(audio))

    assert list(frame) == ["user_audio_chunk"]
    assert b64decode(frame["user_audio_chunk"], validate=True) == audio
