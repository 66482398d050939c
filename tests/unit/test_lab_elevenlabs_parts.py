"""The pure parts of the ElevenLabs lab: agents, wire, scripts, speech, ids, agenda, signature."""

import io
import json
import wave
from typing import Any

import pytest
import trio
import trio.testing

from daemon.lab.elevenlabs.agenda import Agenda
from daemon.lab.elevenlabs.agents import Agent, filled_in, full_document, merged, missing_variables
from daemon.lab.elevenlabs.ids import Ids
from daemon.lab.elevenlabs.script import CallScript, Outcome, read_script, story_of, value_for_field
from daemon.lab.elevenlabs.session import Turn, TurnCutError, TurnKind
from daemon.lab.elevenlabs.speech import speech_file, tone
from daemon.lab.elevenlabs.webhooks import signature
from daemon.lab.elevenlabs.wire import (
    BadFrame,
    read_client_frame,
    response,
    with_string_event_ids,
    with_unknown_fields,
)


def agent(**permissions: Any) -> Agent:
    overrides = {"conversation_config_override": permissions}
    document = full_document({"conversation_config": {}, "platform_settings": {"overrides": overrides}})
    return Agent("agent_1", document, 0, 0)


def override(**sections: Any) -> dict[str, Any]:
    return {"conversation_config_override": sections}


@pytest.mark.parametrize(
    ("wanted", "refused"),
    [
        ({}, None),
        ({"agent": {}}, None),
        ({"agent": {"language": "es"}}, None),
        ({"agent": {"first_message": ""}}, "first_message"),
        ({"agent": {"prompt": {"prompt": None}}}, "prompt"),
        ({"conversation": {"text_only": True}}, "text_only"),
        ({"tts": {"voice_id": "x"}}, "voice_id"),
        ({"text_only": True}, None),
        ({"conversation": {"client_events": ["ping"]}}, None),
        ({"agent": None}, None),
    ],
)
def test_an_override_needs_permission(wanted: dict[str, Any], refused: str | None) -> None:
    assert agent(agent={"language": True}).refused_override(override(**wanted)) == refused


def test_fields_behind_flags_need_their_flag_unless_empty() -> None:
    assert agent().refused_override({"custom_llm_extra_body": {}}) is None
    assert agent().refused_override({"custom_llm_extra_body": {"a": 1}}) == "custom_llm_extra_body"


def test_unknown_overrides_leave_the_settings_alone() -> None:
    known = agent()

    assert known.settings_for(override(text_only=True, agent=None, conversation={"x": 1})) == known.config


def test_merging_changes_neither_side() -> None:
    base, change = {"a": {"b": [1], "c": 2}}, {"a": {"b": [3]}}

    assert merged(base, change) == {"a": {"b": [3], "c": 2}}
    assert (base, change) == ({"a": {"b": [1], "c": 2}}, {"a": {"b": [3]}})


def test_variables_are_found_and_filled_in() -> None:
    text = "Hola {{ name }}, {{system__time}}, clave {{secret__key}}"

    assert missing_variables(text, {"name": "Ana", "secret__key": "x"}) == {"system__time"}
    assert (
        filled_in(text, {"name": "Ana", "secret__key": "x"}) == "Hola Ana, {{system__time}}, clave <REDACTED>"
    )


@pytest.mark.parametrize(
    ("raw", "error_type"),
    [
        (b"\x00", "invalid_message"),
        ("not json", "invalid_message"),
        ("[]", "invalid_message"),
        ("{}", "invalid_message"),
        ('{"type": 5}', "invalid_message"),
        ('{"user_audio_chunk": 5}', "invalid_message"),
        ('{"type": "pong", "event_id": true}', "invalid_message"),
        ('{"type": "pong", "event_id": "x"}', "invalid_message"),
        ('{"type": "contextual_update"}', "missing_fields"),
        ('{"type": "feedback", "event_id": 1, "score": "meh"}', "invalid_message"),
    ],
)
def test_bad_client_frames_are_named(raw: str | bytes, error_type: str) -> None:
    read = read_client_frame(raw)

    assert isinstance(read, BadFrame)
    assert read.error_type == error_type


def test_audio_is_the_one_frame_without_a_type() -> None:
    assert read_client_frame('{"user_audio_chunk": "AA=="}') == (
        "user_audio_chunk",
        {"user_audio_chunk": "AA=="},
    )


def test_disguises_keep_what_a_frame_says() -> None:
    frame = response("Hola", 7)

    assert with_string_event_ids(frame)["agent_response_event"] == {"agent_response": "Hola", "event_id": "7"}
    assert with_unknown_fields(frame)["agent_response_event"]["agent_response"] == "Hola"
    assert frame == response("Hola", 7)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_answered_calls_have_a_story(outcome: Outcome) -> None:
    story = story_of(CallScript(outcome=outcome), {"name": "Ana", "product": "IA"})

    assert bool(story.lines) is (outcome in {Outcome.COMPLETED, Outcome.VOICEMAIL})


def test_a_script_is_read_from_json() -> None:
    script = read_script(
        json.loads('{"outcome": "voicemail", "lines": [{"role": "user", "text": "x", "at_s": 1}]}')
    )

    assert script.outcome is Outcome.VOICEMAIL
    assert story_of(script, {}).lines[0].text == "x"


@pytest.mark.parametrize("body", [{"outcome": "nope"}, {"unknown": 1}, {"talk_s": -1}])
def test_a_wrong_script_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        read_script(body)


def test_collected_values_are_found_under_related_names() -> None:
    collected = {"intent": "cotización", "next_step": "llamar"}

    assert value_for_field(collected, "intent") == "cotización"
    assert value_for_field(collected, "next_steps") == "llamar"
    assert value_for_field(collected, "budget") is None


def test_the_tone_has_its_length_and_silence_is_ff_in_mu_law() -> None:
    assert len(tone(0.5, "ulaw_8000")) == 4000
    assert tone(0.5, "ulaw_8000")[0] == 0xFF
    assert len(tone(0.5, "pcm_16000")) == 16000


def test_speech_comes_as_a_file_or_raw() -> None:
    with wave.open(io.BytesIO(speech_file(1.0, "wav_8000"))) as file:
        assert (file.getframerate(), file.getnframes()) == (8000, 8000)
    assert speech_file(1.0, "mp3_44100_128").count(bytes.fromhex("fffb9064")) == 39
    with pytest.raises(ValueError, match="opus"):
        speech_file(1.0, "opus_48000_32")


def test_ids_repeat_by_seed_and_look_the_part() -> None:
    ids = Ids(1)
    made = ids.new("conv_")

    assert made == Ids(1).new("conv_")
    assert len(made) == len("conv_7401k5m9x2p8ec3rqv6dtnhb0fzw")
    assert ids.new("conv_") != made


def test_the_signature_is_the_documented_hmac() -> None:
    assert signature("wsec_test", 1760000100, b'{"a":1}') == (
        "t=1760000100,v0=d71e2aca6f5ca128e6fd15c871f401a6cdd4c71287993ebf3f6aa1dfdf50d2d8"
    )


async def test_the_agenda_keeps_time_and_order(autojump_clock: trio.testing.MockClock) -> None:
    done: list[tuple[str, float]] = []
    agenda = Agenda()

    def note(name: str) -> None:
        done.append((name, trio.current_time()))
        if name == "first":
            agenda.after(1, lambda: note("from within"))

    start = trio.current_time()
    agenda.after(5, lambda: note("late"))
    agenda.after(2, lambda: note("first"))
    agenda.after(2, lambda: note("second"))
    with trio.move_on_after(10):
        await agenda.run()

    assert [(name, at - start) for name, at in done] == [
        ("first", 2),
        ("second", 2),
        ("from within", 3),
        ("late", 5),
    ]


async def test_the_agenda_is_limited_and_can_be_cleared() -> None:
    agenda = Agenda(limit=1)
    agenda.after(1, lambda: None)
    with pytest.raises(OverflowError):
        agenda.after(1, lambda: None)
    agenda.clear()
    agenda.after(1, lambda: None)


async def test_a_cut_turn_stops_waiting(autojump_clock: trio.testing.MockClock) -> None:
    turn = Turn(TurnKind.TYPED, "hola")

    assert await turn.until(lambda: False, 3) is False
    turn.cut()
    with pytest.raises(TurnCutError):
        await turn.pause(60)
