"""Frames of the agent socket, read and written; how refusals and closes are told."""

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from actors.agent_events import (
    AgentFault,
    AgentReplied,
    PartKind,
    ReplyCompleted,
    ReplyCorrected,
    ReplyPart,
    SessionPlan,
    ToolCalled,
    ToolFinished,
    ToolStarted,
)
from daemon.elevenlabs import wire
from daemon.elevenlabs.problems import ApiRefusedError, ApiUnavailableError, read_problem, sentence

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
TOOL = {"tool_name": "request_advisor", "tool_call_id": "toolu_1", "event_id": 9}

KNOWN: list[tuple[str, str, dict[str, Any], object]] = [
    (
        "conversation_initiation_metadata",
        "conversation_initiation_metadata_event",
        {"conversation_id": "conv_1"},
        wire.Metadata("conv_1"),
    ),
    ("ping", "ping_event", {"event_id": 12, "ping_ms": None}, wire.Ping(12)),
    (
        "agent_response",
        "agent_response_event",
        {"agent_response": "Claro.", "event_id": 5},
        AgentReplied(text="Claro.", event_id=5),
    ),
    (
        "agent_chat_response_part",
        "text_response_part",
        {"type": "start", "text": "", "event_id": 5},
        ReplyPart(kind=PartKind.START, text="", event_id=5),
    ),
    (
        "agent_chat_response_part",
        "text_response_part",
        {"type": "delta", "text": "Cla", "event_id": 5},
        ReplyPart(kind=PartKind.DELTA, text="Cla", event_id=5),
    ),
    (
        "agent_chat_response_part",
        "text_response_part",
        {"type": "stop", "text": "", "event_id": 5},
        ReplyPart(kind=PartKind.STOP, text="", event_id=5),
    ),
    (
        "agent_response_complete",
        "agent_response_complete_event",
        {"event_id": 5},
        ReplyCompleted(event_id=5),
    ),
    (
        "agent_response_correction",
        "agent_response_correction_event",
        {"original_agent_response": "Claro que sí", "corrected_agent_response": "Claro", "event_id": 5},
        ReplyCorrected(corrected="Claro", event_id=5),
    ),
    (
        "client_tool_call",
        "client_tool_call",
        {**TOOL, "parameters": {"reason": "precio"}, "expects_response": False},
        ToolCalled(
            name="request_advisor",
            call_id="toolu_1",
            parameters={"reason": "precio"},
            expects_response=False,
            event_id=9,
        ),
    ),
    (
        "agent_tool_request",
        "agent_tool_request",
        {**TOOL, "tool_type": "webhook"},
        ToolStarted(name="request_advisor", call_id="toolu_1", event_id=9),
    ),
    (
        "agent_tool_response",
        "agent_tool_response",
        {**TOOL, "tool_type": "client", "is_error": False, "is_called": True, "status": "success"},
        ToolFinished(name="request_advisor", call_id="toolu_1", is_error=False, event_id=9),
    ),
    (
        "agent_tool_response_full_payload",
        "agent_tool_response_full_payload",
        {**TOOL, "tool_type": "mcp", "is_error": True, "is_called": True, "full_tool_result": "no"},
        ToolFinished(name="request_advisor", call_id="toolu_1", is_error=True, event_id=9),
    ),
    (
        "error",
        "error_event",
        {"code": 1008, "error_type": "override_error", "reason": "Not allowed.", "message": "internal"},
        AgentFault(code=1008, error_type="override_error", detail="Not allowed."),
    ),
]
KNOWN_FIELDS = {name for _, _, payload, _ in KNOWN for name in payload} | {"message", "text", "type"}


# --- From the server ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "key", "payload", "expected"), KNOWN)
def test_known_events_are_read(kind: str, key: str, payload: dict[str, Any], expected: object) -> None:
    assert wire.parse(json.dumps({"type": kind, key: payload})) == expected


@given(
    st.sampled_from(KNOWN),
    st.dictionaries(st.text(), JSON, max_size=4),
    st.dictionaries(st.text(), JSON, max_size=4),
)
def test_known_events_are_read_whatever_else_is_around(
    known: tuple[str, str, dict[str, Any], object], beside: dict[str, Any], inside: dict[str, Any]
) -> None:
    kind, key, payload, expected = known
    junk = {name: value for name, value in inside.items() if name not in KNOWN_FIELDS}

    assert wire.parse(json.dumps({**beside, "type": kind, key: {**junk, **payload}})) == expected


# Without these an event says nothing; everything else may be missing or something else altogether.
REQUIRED = {
    "conversation_initiation_metadata": {"conversation_id"},
    "ping": {"event_id"},
    "client_tool_call": {"tool_name", "tool_call_id"},
}
KEPT_AS = {
    "conversation_id": "conversation_id",
    "tool_name": "name",
    "tool_call_id": "call_id",
    "event_id": "event_id",
    "agent_response": "text",
    "text": "text",
}


@given(
    known=st.sampled_from(KNOWN),
    beside=st.dictionaries(st.text(), JSON, max_size=3),
    choices=st.data(),
)
def test_no_known_event_is_lost_for_what_it_does_not_need(
    known: tuple[str, str, dict[str, Any], object],
    beside: dict[str, Any],
    choices: st.DataObject,
) -> None:
    kind, key, payload, expected = known
    names = st.sampled_from(sorted({*payload, "parameters", "type"}))
    broken = choices.draw(st.dictionaries(names, JSON, max_size=4))
    missing = choices.draw(st.sets(names, max_size=4))
    needed = REQUIRED.get(kind, set())
    sound = {name: value for name, value in payload.items() if name not in missing or name in needed}
    spoilt = {name: value for name, value in broken.items() if name not in needed}
    event = wire.parse(json.dumps({**beside, "type": kind, key: {**sound, **spoilt}}))

    assert type(event) is type(expected)
    for name in (set(sound) - set(spoilt)) & set(KEPT_AS):
        if hasattr(expected, KEPT_AS[name]):
            assert getattr(event, KEPT_AS[name]) == getattr(expected, KEPT_AS[name])


@pytest.mark.parametrize("junk", ["9" * 5_000, "-" + "9" * 5_000, "1e9999", "NaN", '"\\ud800"', "[[[[[]]]]]"])
def test_a_number_that_nobody_can_read_loses_no_event(junk: str) -> None:
    event = f'{{"agent_response":"Hola","event_id":1,"n":{junk}}}'
    frame = f'{{"x":{junk},"type":"agent_response","agent_response_event":{event}}}'

    assert wire.parse(frame) == AgentReplied(text="Hola", event_id=1)


@given(JSON)
def test_no_json_makes_the_reader_raise(value: Any) -> None:
    wire.parse(json.dumps(value))


@given(st.sampled_from(KNOWN), JSON, st.dictionaries(st.sampled_from(sorted(KNOWN_FIELDS)), JSON, max_size=6))
def test_no_payload_makes_the_reader_raise(
    known: tuple[str, str, dict[str, Any], object], anything: Any, fields: dict[str, Any]
) -> None:
    kind, key, _, _ = known
    wire.parse(json.dumps({"type": kind, key: anything}))
    wire.parse(json.dumps({"type": kind, key: fields}))
    wire.parse(json.dumps({**fields, "type": kind}))


@given(st.text() | st.binary())
def test_no_frame_makes_the_reader_raise(frame: str | bytes) -> None:
    wire.parse(frame)


@pytest.mark.parametrize(
    "frame",
    [
        "",
        " ",
        "{",
        "[" * 100_000,
        "1" * 5_000,
        "[]",
        "null",
        '"agent_response"',
        '{"type":null}',
        '{"type":["ping"]}',
        '{"type":"audio","audio_event":{"audio_base_64":"AAAA","event_id":1}}',
        '{"type":"user_transcript","user_transcription_event":{"user_transcript":"hola","event_id":1}}',
        '{"type":"user_transcript","message":"hola"}',
        '{"type":"client_error","error_event":{"code":1,"error_name":"x","message":"y"}}',
        '{"type":"ping","ping_event":{}}',
        '{"type":"ping","ping_event":{"event_id":true}}',
        '{"type":"conversation_initiation_metadata","conversation_initiation_metadata_event":{}}',
        '{"type":"client_tool_call","client_tool_call":{"tool_name":"x"}}',
        b'{"type":"ping","ping_event":{"event_id":1}}',
    ],
)
def test_frames_that_are_not_for_us_are_none(frame: str | bytes) -> None:
    assert wire.parse(frame) is None


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ({"type": "agent_response", "message": "Hola"}, AgentReplied(text="Hola", event_id=None)),
        ({"type": "agent_response", "text": "Hola", "event_id": 3}, AgentReplied(text="Hola", event_id=3)),
        ({"type": "ping", "event_id": 4}, wire.Ping(4)),
        ({"type": "conversation_initiation_metadata", "conversation_id": "c"}, wire.Metadata("c")),
        ({"type": "error", "code": 1011}, AgentFault(code=1011, error_type="unknown", detail="")),
    ],
)
def test_flat_frames_are_understood(frame: dict[str, Any], expected: object) -> None:
    assert wire.parse(json.dumps(frame)) == expected


@pytest.mark.parametrize(
    ("given_id", "event_id"),
    [
        (7, 7),
        ("7", 7),
        (7.0, 7),
        (-1, -1),
        ("seven", None),
        (None, None),
        (True, None),
        ([7], None),
        (1e400, None),
    ],
)
def test_event_ids_are_whole_numbers_or_none(given_id: object, event_id: int | None) -> None:
    frame = json.dumps(
        {"type": "agent_response_complete", "agent_response_complete_event": {"event_id": given_id}}
    )

    assert wire.parse(frame) == ReplyCompleted(event_id=event_id)


def test_a_tool_call_that_does_not_say_whether_it_waits_is_answered() -> None:
    event = wire.parse(json.dumps({"type": "client_tool_call", "client_tool_call": TOOL}))

    assert isinstance(event, ToolCalled)
    assert event.expects_response
    assert event.parameters == {}


def test_a_tool_that_was_not_called_counts_as_an_error() -> None:
    skipped = {**TOOL, "is_error": False, "is_called": False, "status": "skipped"}
    event = wire.parse(json.dumps({"type": "agent_tool_response", "agent_tool_response": skipped}))

    assert isinstance(event, ToolFinished)
    assert event.is_error


def test_texts_are_freed_of_what_a_database_cannot_hold() -> None:
    frame = r'{"type":"agent_response","agent_response_event":{"agent_response":"a\u0000b\ud800c \ud83d\ude42","event_id":1}}'

    assert wire.parse(frame) == AgentReplied(text="ab?c 🙂", event_id=1)


# --- To the server --------------------------------------------------------------------------------------

PLAN = SessionPlan(
    agent_id="agent_1", user_id="person-7", dynamic_variables={"name": "Ñandú", "n": 2, "vip": True}
)


def test_the_initiation_overrides_what_a_chat_needs_and_leaves_the_rest_out() -> None:
    assert json.loads(wire.initiation(PLAN, version="1.2.3")) == {
        "type": "conversation_initiation_client_data",
        "conversation_config_override": {"agent": {"first_message": ""}, "conversation": {"text_only": True}},
        "dynamic_variables": {"name": "Ñandú", "n": 2, "vip": True},
        "user_id": "person-7",
        "source_info": {"source": "relevo", "version": "1.2.3"},
    }


def test_the_initiation_has_no_variables_when_there_are_none_and_no_endless_version() -> None:
    frame = json.loads(wire.initiation(SessionPlan(agent_id="a", user_id="p"), version="1" * 99))

    assert "dynamic_variables" not in frame
    assert len(frame["source_info"]["version"]) == 50


@given(st.text(), st.text(), st.booleans(), st.integers())
def test_client_frames_are_json_with_their_fields(text: str, other: str, flag: bool, number: int) -> None:  # noqa: FBT001
    assert json.loads(wire.pong(number)) == {"type": "pong", "event_id": number}
    assert json.loads(wire.user_message(text)) == {"type": "user_message", "text": text}
    assert json.loads(wire.contextual_update(text)) == {"type": "contextual_update", "text": text}
    assert json.loads(wire.history(text)) == {
        "type": "contextual_update",
        "text": text,
        "context_id": "history",
    }
    assert json.loads(wire.client_tool_result(text, other, is_error=flag)) == {
        "type": "client_tool_result",
        "tool_call_id": text,
        "result": other,
        "is_error": flag,
    }


@pytest.mark.specs
@pytest.mark.parametrize(
    ("schema", "frame"),
    [
        ("ConversationInitiationPayload", wire.initiation(PLAN, version="1.0")),
        ("PongPayload", wire.pong(3)),
        ("UserMessagePayload", wire.user_message("hola")),
        ("ContextualUpdatePayload", wire.contextual_update("novedad")),
        ("ContextualUpdatePayload", wire.history("historia")),
        ("UserAudioPayload", wire.user_audio_chunk(b"\xff" * 320).decode()),
        ("ConversationInitiationPayload", wire.initiation(evolve(PLAN, speaks=True), version="1.0")),
        ("ClientToolResultPayload", wire.client_tool_result("t", "r", is_error=False)),
    ],
)
def test_client_frames_fit_the_asyncapi(schema: str, frame: str) -> None:
    folder = os.environ.get("RELEVO_SPECS")
    if folder is None:
        pytest.skip("RELEVO_SPECS names no folder")
    spec = yaml.safe_load((Path(folder) / "elevenlabs" / "agent.asyncapi.yaml").read_text())
    jsonschema.validate(json.loads(frame), {"$ref": f"#/components/schemas/{schema}", **spec})


# --- Refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            b'{"detail":{"type":"x","code":"invalid_api_key","status":"other","message":"Bad key","param":null}}',
            "HTTP 400 invalid_api_key: Bad key",
        ),
        (b'{"detail":{"status":"old_word","message":"Older"}}', "HTTP 400 old_word: Older"),
        (
            b'{"detail":[{"loc":["body","recipients",0],"msg":"Field required","type":"missing"},{"msg":7},3]}',
            "HTTP 400: body.recipients.0: Field required; ?: 7",
        ),
        (b'{"detail":"Not Found"}', "HTTP 400: Not Found"),
        (b'{"detail":null}', "HTTP 400"),
        (b"<html>Bad Gateway</html>", "HTTP 400"),
        (b"", "HTTP 400"),
        (b"[" * 100_000, "HTTP 400"),
    ],
)
def test_all_shapes_of_errors_are_understood(body: bytes, told: str) -> None:
    assert read_problem(400, {}, body).sentence == told


@pytest.mark.parametrize(
    ("status", "code", "is_refusal"),
    [
        (400, "", True),
        (400, "invalid_api_key", True),
        (401, "", True),
        (402, "", True),
        (403, "", True),
        (404, "", True),
        (422, "", True),
        (401, "system_busy", False),
        (408, "", False),
        (429, "", False),
        (429, "concurrent_limit_exceeded", False),
        (429, "quota_exceeded", True),
        (301, "", False),
        (500, "", False),
        (503, "quota_exceeded", True),
    ],
)
def test_what_to_do_depends_on_the_code_first(status: int, code: str, is_refusal: bool) -> None:  # noqa: FBT001
    problem = read_problem(status, {}, json.dumps({"detail": {"code": code}}).encode())

    assert problem.is_refusal is is_refusal
    error = problem.error()
    assert isinstance(error, ApiRefusedError if is_refusal else ApiUnavailableError)
    assert error.status == status


@pytest.mark.parametrize(
    ("header", "seconds"), [("30", 30.0), ("1.5", 1.5), ("Wed, 21 Oct 2026", None), ("", None), ("-1", None)]
)
def test_retry_after_is_taken_in_seconds(header: str, seconds: float | None) -> None:
    assert read_problem(429, {"retry-after": header}, b"").retry_after_s == seconds


@pytest.mark.parametrize(
    "text",
    [
        "see wss://api.elevenlabs.io/v1/convai/conversation?agent_id=a&conversation_signature=cvtkn_SECRET",
        "conversation_signature=SECRET&x",
        "token cvtkn_SECRET expired",
        "webhook wsec_SECRET",
        "key sk_SECRET",
        "Bearer SECRET",
    ],
)
def test_sentences_hold_no_secrets(text: str) -> None:
    assert "SECRET" not in sentence(text)


def test_sentences_are_one_short_line() -> None:
    told = sentence("a\nb\t" + "c " * 1000)

    assert told.startswith("a b c c")
    assert len(told) == 300
