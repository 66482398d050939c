"""ElevenLabs' lists of conversations and its batches in our own words."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.calls import CallOutcome, CallSighting, SeenCall
from daemon.elevenlabs import mapping
from daemon.elevenlabs.problems import UnexpectedAnswerError
from tests.unit.test_elevenlabs_mapping import STARTED, conversation
from tests.unit.test_elevenlabs_wire import JSON

MORE_NAMES = ["id", "status", "created_at_unix", "phone_number", "text_only"]
SOUND_VALUES = st.sampled_from(["done", "failed", "completed", "twilio", "outbound", 1_760_000_000])

# --- Conversations --------------------------------------------------------------------------------------


def listed(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "conversation_id": f"conv_{number}",
        "agent_id": "agent_1",
        "status": "done",
        "direction": None,
        "conversation_initiation_source": "twilio",
    } | changes


def test_only_phone_calls_that_are_over_are_taken_from_the_list() -> None:
    page = mapping.call_page(
        {
            "conversations": [
                listed(1),
                listed(2, status="processing", conversation_initiation_source="sip_trunk"),
                listed(3, status="failed", conversation_initiation_source="unknown", direction="inbound"),
                listed(4, status="in-progress"),
                listed(5, status="initiated"),
                listed(6, conversation_initiation_source="python_sdk"),
                listed(7, conversation_initiation_source="whatsapp", direction="outbound"),
                listed(8, text_only=True),
                listed(9, status=["done"], conversation_initiation_source={}),
                "no object",
            ],
            "has_more": True,
            "next_cursor": "next",
        }
    )

    assert page.calls == [
        SeenCall(id=f"conv_{number}", sighting=CallSighting.CONVERSATIONS, agent_id="agent_1")
        for number in (1, 2, 3)
    ]
    assert page.next_cursor == "next"


@pytest.mark.parametrize(
    "end", [{"has_more": False, "next_cursor": "x"}, {"has_more": True, "next_cursor": None}, {}]
)
def test_a_list_ends_where_it_says_so(end: dict[str, Any]) -> None:
    assert mapping.call_page({"conversations": [], **end}).next_cursor is None
    assert mapping.batch_page({"batch_calls": [], "next_doc": end.get("next_cursor"), **end}).next_doc is None


@pytest.mark.parametrize(
    ("metadata", "is_chat"),
    [
        ({}, False),
        ({"text_only": True}, True),
        ({"conversation_initiation_source": "whatsapp"}, True),
        ({"conversation_initiation_source": "unknown"}, False),
    ],
)
def test_written_conversations_are_told_from_calls(metadata: dict[str, Any], is_chat: bool) -> None:  # noqa: FBT001
    assert mapping.is_chat(conversation(metadata=metadata)) is is_chat


@given(strangers=st.lists(JSON, max_size=5), place=st.integers(0, 5), more=st.dictionaries(st.text(), JSON))
def test_no_entry_of_a_list_hides_another(strangers: list[Any], place: int, more: dict[str, Any]) -> None:
    place = min(place, len(strangers))
    for name, known, read in (
        ("conversations", listed(1), lambda record: mapping.call_page(record).calls),
        ("batch_calls", batch(), lambda record: mapping.batch_page(record).batches),
        ("recipients", {"id": "row-1"}, lambda record: mapping.batch(record).recipients),
    ):
        entries = [*strangers[:place], known, *strangers[place:]]
        found = read({**more, **batch(), name: entries})
        assert known.get("conversation_id", known.get("id")) in [entry.id for entry in found]


@given(
    entries=st.lists(
        st.dictionaries(st.sampled_from([*listed(1), *MORE_NAMES]), JSON | SOUND_VALUES), max_size=4
    )
)
def test_any_list_is_a_page_or_an_unexpected_answer(entries: list[dict[str, Any]]) -> None:
    for read in (mapping.call_page, mapping.batch_page, mapping.batch):
        with suppress(UnexpectedAnswerError):
            read({**batch(), "conversations": entries, "batch_calls": entries, "recipients": entries})


# --- Batches --------------------------------------------------------------------------------------------


def batch(**changes: Any) -> dict[str, Any]:
    return {
        "id": "btcal_1",
        "name": "octubre",
        "agent_id": "agent_1",
        "status": "in_progress",
        "created_at_unix": 1_760_000_000,
        "last_updated_at_unix": 1_760_000_060,
    } | changes


@pytest.mark.parametrize(
    ("status", "is_over"),
    [
        ("pending", False),
        ("in_progress", False),
        ("completed", True),
        ("failed", True),
        ("cancelled", True),
        ("new", False),
    ],
)
def test_a_batch_is_summed_up(status: str, is_over: bool) -> None:  # noqa: FBT001
    summary = mapping.batch_summary(batch(status=status))

    assert (summary.id, summary.name, summary.agent_id) == ("btcal_1", "octubre", "agent_1")
    assert (summary.status, summary.is_over) == (status, is_over)
    assert (summary.updated_at - summary.created_at).total_seconds() == 60


def test_a_batch_that_was_never_changed_is_as_old_as_its_making() -> None:
    assert mapping.batch_summary(batch(last_updated_at_unix=None)).updated_at == STARTED


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("pending", None),
        ("dispatched", None),
        ("initiated", None),
        ("in_progress", None),
        ("completed", CallOutcome.COMPLETED),
        ("failed", CallOutcome.FAILED),
        ("cancelled", CallOutcome.CANCELLED),
        ("voicemail", CallOutcome.VOICEMAIL),
        ("a_new_word", None),
    ],
)
def test_a_recipient_is_told_with_his_outcome(status: str, outcome: CallOutcome | None) -> None:
    recipient = {
        "id": "row-1",
        "phone_number": " +573138539155",
        "status": status,
        "conversation_id": "conv_1",
        "conversation_initiation_client_data": {"dynamic_variables": {"name": "Alejandro"}},
    }
    told = mapping.batch(batch(recipients=[recipient, {"id": "row-2", "status": "pending"}]))
    first, second = told.recipients

    assert (first.id, first.phone_number, first.call_id) == ("row-1", "+573138539155", "conv_1")
    assert (first.status, first.outcome, first.variables) == (status, outcome, {"name": "Alejandro"})
    assert (second.phone_number, second.call_id, second.variables) == (None, None, {})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": None}, "id"),
        ({"created_at_unix": "soon"}, "created_at_unix"),
        ({"recipients": [{"status": "pending"}]}, "recipients.id"),
    ],
)
def test_what_a_batch_must_have_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(UnexpectedAnswerError) as caught:
        mapping.batch(batch(**changes))

    assert caught.value.field == field


@pytest.mark.parametrize(
    ("given_number", "number"),
    [
        ("+573138539155", "+573138539155"),
        ("sip:+573138539155@sip.example.org;transport=tls", "+573138539155"),
        ("tel:+573138539155", "+573138539155"),
        ("", None),
        (None, None),
        (573138539155, None),
    ],
)
def test_a_number_is_freed_of_its_address(given_number: object, number: str | None) -> None:
    assert mapping.phone_number(given_number) == number
