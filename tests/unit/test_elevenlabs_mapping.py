"""ElevenLabs' conversations in our own words."""

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.calls import CallAnalysis, CallOutcome, TranscriptEntry
from daemon.elevenlabs import mapping
from daemon.elevenlabs.problems import UnexpectedAnswerError
from tests.unit.test_elevenlabs_wire import JSON

STARTED = datetime.fromtimestamp(1_760_000_000, UTC)


def entry(role: str, message: str | None, at_s: int = 0, **more: Any) -> dict[str, Any]:
    return {"role": role, "message": message, "time_in_call_secs": at_s, **more}


def conversation(**changes: Any) -> dict[str, Any]:
    """A finished outbound call. `metadata` and `phone_call` are merged into what is there."""
    phone_call = {
        "type": "twilio",
        "direction": "outbound",
        "agent_number": "+15550001",
        "external_number": "+573138539155",
        "call_sid": "CA1",
    } | changes.pop("phone_call", {})
    metadata = {
        "start_time_unix_secs": 1_760_000_000,
        "call_duration_secs": 62,
        "termination_reason": "end_call tool was called",
        "error": None,
        "text_only": False,
        "conversation_initiation_source": "twilio",
        "phone_call": phone_call,
        "batch_call": {"batch_call_id": "btcal_1", "batch_call_recipient_id": "row-1"},
    } | changes.pop("metadata", {})
    return {
        "agent_id": "agent_1",
        "conversation_id": "conv_1",
        "status": "done",
        "transcript": [entry("agent", "Hola Alejandro"), entry("user", "Quiero una cotización", 4)],
        "metadata": metadata,
        "analysis": {"call_successful": "success", "transcript_summary": "Pidió precio."},
        "conversation_initiation_client_data": {"dynamic_variables": {"name": "Alejandro"}},
    } | changes


def silent(**changes: Any) -> dict[str, Any]:
    """A call in which the person said nothing."""
    return conversation(**{"transcript": [], "analysis": None} | changes)


# --- Call details ---------------------------------------------------------------------------------------


def test_numbers_that_no_column_takes_are_left_out() -> None:
    record = conversation(
        metadata={"call_duration_secs": 2**31},
        analysis={"data_collection_results": {"a": {"value": math.inf}, "b": {"value": [math.nan, 1]}}},
        conversation_initiation_client_data={"dynamic_variables": {"debt": -math.inf, "x": 2.5}},
    )

    call = mapping.call_details(record)

    assert call.duration_s == 0
    assert call.analysis is not None
    assert call.analysis.collected == {"b": [None, 1]}
    assert call.variables == {"debt": None, "x": 2.5}


def test_a_finished_call_is_told_in_full() -> None:
    transcript = [
        entry("agent", "Hola Alejandro"),
        entry("user", " Quiero una cotización ", 4, source_medium="audio"),
        entry("agent", None, 9, tool_calls=[{"tool_name": "request_advisor"}]),
        entry("agent", "  ", 10),
    ]
    analysis = {
        "call_successful": "success",
        "transcript_summary": "Pidió precio.",
        "call_summary_title": "Cotización",
        "data_collection_results": {
            "intent": {"data_collection_id": "intent", "value": "cotización", "rationale": "…"},
            "budget": {"data_collection_id": "budget", "value": None, "rationale": "…"},
            "strange": "no object",
        },
    }
    details = mapping.call_details(conversation(transcript=transcript, analysis=analysis))

    assert (details.id, details.agent_id) == ("conv_1", "agent_1")
    assert (details.is_over, details.outcome) == (True, CallOutcome.COMPLETED)
    assert (details.phone_number, details.direction) == ("+573138539155", "outbound")
    assert (details.started_at, details.duration_s) == (STARTED, 62)
    assert details.transcript == [
        TranscriptEntry(role="agent", text="Hola Alejandro", offset_s=0),
        TranscriptEntry(role="user", text="Quiero una cotización", offset_s=4),
    ]
    assert details.analysis == CallAnalysis(
        summary="Pidió precio.", title="Cotización", successful="success", collected={"intent": "cotización"}
    )
    assert not details.analysis_pending
    assert details.variables == {"name": "Alejandro"}
    assert (details.batch_id, details.recipient_id) == ("btcal_1", "row-1")


@pytest.mark.parametrize(
    ("status", "analysis", "is_over", "is_pending"),
    [
        ("initiated", None, False, False),
        ("in-progress", None, False, False),
        ("processing", None, True, True),
        ("processing", {"transcript_summary": "x"}, True, False),
        ("done", None, True, False),
        ("failed", None, True, False),
        ("a_new_word", None, False, False),
        ("a_new_word", {"transcript_summary": "x"}, True, False),
    ],
)
def test_the_status_says_whether_anything_is_still_to_come(
    status: str,
    analysis: object,
    is_over: bool,  # noqa: FBT001
    is_pending: bool,  # noqa: FBT001
) -> None:
    details = mapping.call_details(conversation(status=status, analysis=analysis))

    assert (details.is_over, details.analysis_pending) == (is_over, is_pending)
    assert (details.analysis is None) == (analysis is None)


def test_a_conversation_without_a_phone_call_has_no_number() -> None:
    details = mapping.call_details(conversation(metadata={"phone_call": None, "batch_call": None}))

    assert (details.phone_number, details.direction) == (None, None)
    assert (details.batch_id, details.recipient_id) == (None, None)


def test_what_may_be_missing_is_not_missed() -> None:
    details = mapping.call_details(
        {
            "agent_id": "a",
            "conversation_id": "c",
            "status": "done",
            "metadata": {"start_time_unix_secs": 1_760_000_000},
        }
    )

    assert (details.duration_s, list(details.transcript), details.variables) == (0, [], {})
    assert details.outcome is CallOutcome.NO_ANSWER


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"conversation_id": None}, "conversation_id"),
        ({"agent_id": ""}, "agent_id"),
        ({"status": 3}, "status"),
        ({"metadata": {"start_time_unix_secs": None}}, "metadata.start_time_unix_secs"),
        ({"metadata": {"start_time_unix_secs": 10**20}}, "metadata.start_time_unix_secs"),
    ],
)
def test_what_must_be_there_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(UnexpectedAnswerError) as caught:
        mapping.call_details(conversation(**changes))

    assert caught.value.field == field


def test_variables_are_the_callers_own_and_fit_to_be_stored() -> None:
    given_variables = {
        "name": "Ale\x00jandro",
        "list": ["a\ud800", {"b\x00": 1}],
        "system__caller_id": "+57",
        "secret__token": "x",
    }
    details = mapping.call_details(
        conversation(conversation_initiation_client_data={"dynamic_variables": given_variables})
    )

    assert details.variables == {"name": "Alejandro", "list": ["a?", {"b": 1}]}


def test_endless_nesting_is_cut_off() -> None:
    endless: Any = "x"
    for _ in range(400):
        endless = [endless]
    details = mapping.call_details(
        conversation(conversation_initiation_client_data={"dynamic_variables": {"deep": endless}})
    )

    assert "deep" in details.variables


@pytest.mark.parametrize(
    ("changes", "sentiment"),
    [
        ({}, None),
        ({"sentiment_analysis": {"overall_label": "negative"}}, "negative"),
        ({"metadata": {"sentiment_analysis": {"overall_label": "neutral"}}}, "neutral"),
        (
            {
                "sentiment_analysis": {"overall_label": "negative"},
                "analysis": {"data_collection_results": {"sentimiento": {"value": "positivo"}}},
            },
            "positivo",
        ),
        ({"analysis": {"data_collection_results": {"sentiment": {"value": 3}}}}, None),
    ],
)
def test_sentiment_is_taken_where_it_is_given(changes: dict[str, Any], sentiment: str | None) -> None:
    analysis = mapping.call_details(conversation(**changes)).analysis

    assert analysis is not None
    assert analysis.sentiment == sentiment


@given(
    st.dictionaries(st.text(), JSON),
    st.dictionaries(st.sampled_from(sorted(conversation())), JSON),
    st.dictionaries(st.text(), JSON),
)
def test_no_answer_makes_the_mapping_raise_anything_else(
    anything: dict[str, Any], changes: dict[str, Any], metadata: dict[str, Any]
) -> None:
    weird_inside = conversation()
    weird_inside["metadata"].update(metadata)
    for answer in (anything, {**conversation(), **changes}, weird_inside):
        for read in (mapping.call_details, mapping.call_page, mapping.batch, mapping.batch_page):
            try:
                read(answer)
            except UnexpectedAnswerError as error:
                assert error.field  # noqa: PT017


@given(
    changes=st.dictionaries(
        st.sampled_from(
            sorted({*conversation(), "has_audio"} - {"conversation_id", "agent_id", "status", "metadata"})
        ),
        JSON,
    ),
    metadata=st.dictionaries(st.text() | st.sampled_from([*conversation()["metadata"], "error"]), JSON),
)
def test_a_call_is_known_by_what_it_must_have_whatever_the_rest_is(
    changes: dict[str, Any], metadata: dict[str, Any]
) -> None:
    record = {**conversation(), **changes}
    record["metadata"] = {**record["metadata"], **metadata, "start_time_unix_secs": 1_760_000_000}
    call = mapping.call_details(record)

    assert (call.id, call.agent_id, call.started_at, call.is_over) == ("conv_1", "agent_1", STARTED, True)
    assert isinstance(call.outcome, CallOutcome)
    assert call.ended_at >= call.started_at


# --- Outcomes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (conversation(), CallOutcome.COMPLETED),
        (conversation(status="failed"), CallOutcome.FAILED),
        (conversation(phone_call={"call_result": "answered"}), CallOutcome.COMPLETED),
        (silent(phone_call={"call_result": "answered"}), CallOutcome.COMPLETED),
        (silent(status="failed", phone_call={"call_result": "answered"}), CallOutcome.FAILED),
        (silent(phone_call={"call_result": "voicemail"}), CallOutcome.VOICEMAIL),
        (silent(phone_call={"call_result": "busy"}), CallOutcome.BUSY),
        (silent(phone_call={"call_result": "no_answer"}), CallOutcome.NO_ANSWER),
        (silent(phone_call={"call_result": "failed"}), CallOutcome.FAILED),
        (silent(phone_call={"call_result": "a_new_word"}), CallOutcome.COMPLETED),
        (conversation(metadata={"termination_reason": "Voicemail detected"}), CallOutcome.VOICEMAIL),
        (
            conversation(
                transcript=[entry("agent", None, tool_calls=[{"tool_name": "voicemail_detection"}])]
            ),
            CallOutcome.VOICEMAIL,
        ),
        (
            conversation(
                transcript=[
                    entry(
                        "user",
                        "Hola",
                        tool_calls=[{"tool_name": "voicemail_detection", "tool_has_been_called": False}],
                    )
                ]
            ),
            CallOutcome.COMPLETED,
        ),
        (silent(status="failed", metadata={"termination_reason": "User is busy"}), CallOutcome.BUSY),
        (
            silent(status="failed", metadata={"error": {"code": 1, "reason": "no-answer"}}),
            CallOutcome.NO_ANSWER,
        ),
        (
            silent(status="failed", metadata={"termination_reason": "Call was canceled"}),
            CallOutcome.CANCELLED,
        ),
        (silent(status="failed", metadata={"termination_reason": ""}), CallOutcome.FAILED),
        (silent(metadata={"error": {"code": 1002, "reason": "LLM timeout"}}), CallOutcome.FAILED),
        (silent(metadata={"call_duration_secs": 0}), CallOutcome.NO_ANSWER),
        (silent(), CallOutcome.COMPLETED),
        (conversation(metadata={"termination_reason": "the customer is busy"}), CallOutcome.COMPLETED),
        (silent(status="in-progress", metadata={"call_duration_secs": 0}), CallOutcome.COMPLETED),
    ],
)
def test_the_outcome_follows_from_what_is_known(answer: dict[str, Any], outcome: CallOutcome) -> None:
    assert mapping.call_details(answer).outcome is outcome
