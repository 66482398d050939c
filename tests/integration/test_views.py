"""The three views keep the names, columns and meanings that reports of the first system read."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from actors.calls import (
    CallAnalysis,
    CallDetails,
    CallOutcome,
    CallSighting,
    FollowUpState,
    SeenCall,
    TranscriptEntry,
)
from actors.live_call.reports import IncomingCall
from actors.live_call.state import CallState, Ending, Mode, Phase
from actors.messages import DeliveryStatus, InboundMessage, StatusReport
from actors.ports import Answer
from daemon.store.calls import PostgresCalls
from daemon.store.conversations import PostgresConversations
from daemon.store.inbox import PostgresInbox
from daemon.store.live_calls import PostgresLiveCalls
from daemon.store.migrate import migrate
from daemon.store.outbox import PostgresOutbox
from daemon.store.pool import Pool

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ANA = "+525512345678"

CONVERSATION_STATE = {
    "id": "bigint",
    "phone_number": "character varying(20)",
    "client_name": "text",
    "elevenlabs_conversation_id": "text",
    "agent_id": "text",
    "batch_id": "text",
    "recipient_id": "text",
    "call_duration_secs": "integer",
    "status": "text",
    "started_at": "timestamp with time zone",
    "last_message_at": "timestamp with time zone",
    "message_count": "integer",
}
CONVERSATION_MESSAGES = {
    "id": "bigint",
    "conversation_id": "bigint",
    "direction": "text",
    "content": "text",
    "twilio_message_id": "text",
    "sent_at": "timestamp with time zone",
    "status": "text",
    "error_code": "integer",
}
CONVERSATIONS = {
    "client_phone": "text",
    "client_name": "text",
    "elevenlabs_conversation_id": "text",
    "call_started_at": "timestamp with time zone",
    "call_ended_at": "timestamp with time zone",
    "call_duration_seconds": "integer",
    "call_transcript": "jsonb",
    "call_summary": "text",
    "call_intent": "text",
    "call_sentiment": "text",
    "whatsapp_conversation_id": "bigint",
    "whatsapp_started_at": "timestamp with time zone",
    "whatsapp_last_message_at": "timestamp with time zone",
    "whatsapp_messages": "jsonb",
    "whatsapp_status": "text",
    "conversation_context": "jsonb",
    "created_at": "timestamp with time zone",
    "updated_at": "timestamp with time zone",
}

COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod)
FROM pg_attribute WHERE attrelid = %s::regclass ORDER BY attnum
"""


@pytest.fixture
async def migrated(pool: Pool) -> Pool:
    async with pool.connection() as connection:
        await migrate(connection)
    return pool


@pytest.mark.parametrize(
    ("view", "columns"),
    [
        ("conversation_state", CONVERSATION_STATE),
        ("conversation_messages", CONVERSATION_MESSAGES),
        ("conversations", CONVERSATIONS),
    ],
)
async def test_a_view_has_the_columns_it_always_had(
    migrated: Pool, view: str, columns: Mapping[str, str]
) -> None:
    rows = await migrated.fetch_all(COLUMNS, (view,))

    assert rows == list(columns.items())


async def a_followed_up_call(pool: Pool) -> None:
    """A call with a summary; the person has written, has been answered, and Twilio has delivered the answer."""
    calls, conversations, outbox = PostgresCalls(pool), PostgresConversations(pool), PostgresOutbox(pool)
    found = SeenCall(id="conv_1", sighting=CallSighting.BATCH, batch_id="btcal_1", recipient_id="rcpt_1")
    await calls.see([found], now=NOW)
    call = CallDetails(
        id="conv_1",
        agent_id="agent_voice",
        is_over=True,
        outcome=CallOutcome.COMPLETED,
        phone_number=ANA,
        direction="outbound",
        started_at=NOW,
        duration_s=90,
        transcript=[TranscriptEntry(role="user", text="Quiero un crédito", offset_s=3)],
        analysis=CallAnalysis(
            summary="Pidió un crédito.", collected={"intencion": "crédito"}, sentiment="positive"
        ),
    )
    person_id = await calls.save_details(
        call, client_name="Ana", identities=[ANA], follow_up=FollowUpState.DUE, agent_id="agent_text"
    )
    assert person_id is not None
    message = InboundMessage(
        sid="SM1",
        address=ANA,
        identities=[ANA],
        phone_number=ANA,
        profile_name=None,
        kind="text",
        text="Hola",
        fields={},
    )
    await PostgresInbox(pool).receive(message, default_agent_id="agent_text", now=NOW + MINUTE)
    work = await conversations.work(person_id)
    assert work.conversation_id is not None
    await conversations.save_session(work.conversation_id, agent_conversation_id="conv_2")
    answer = Answer(address=ANA, pieces=["Buenas"])
    await conversations.answer(work.conversation_id, [work.pending[0].id], answer, now=NOW + 2 * MINUTE)
    claimed = await outbox.claim(person_id, now=NOW + 2 * MINUTE)
    assert claimed is not None
    await outbox.accepted(claimed.id, sid="SM2", now=NOW + 3 * MINUTE)
    delivered = StatusReport(message_id=None, sid="SM2", status=DeliveryStatus.DELIVERED, error_code=None)
    await outbox.report(delivered, now=NOW + 4 * MINUTE)


async def row_of(pool: Pool, view: str, columns: Mapping[str, str]) -> dict[str, object]:
    (row,) = await pool.fetch_all(f"SELECT * FROM {view}")
    return dict(zip(columns, row, strict=True))


async def test_conversation_state_shows_a_conversation_with_its_call(migrated: Pool) -> None:
    await a_followed_up_call(migrated)

    row = await row_of(migrated, "conversation_state", CONVERSATION_STATE)

    del row["id"], row["started_at"]
    assert row == {
        "phone_number": ANA,
        "client_name": "Ana",
        "elevenlabs_conversation_id": "conv_2",
        "agent_id": "agent_text",
        "batch_id": "btcal_1",
        "recipient_id": "rcpt_1",
        "call_duration_secs": 90,
        "status": "active",
        "last_message_at": NOW + 2 * MINUTE,
        "message_count": 2,
    }


async def test_the_name_is_the_one_the_call_was_for(migrated: Pool) -> None:
    await a_followed_up_call(migrated)
    await migrated.execute("UPDATE person SET name = 'Ana María'")

    for view, columns in (("conversation_state", CONVERSATION_STATE), ("conversations", CONVERSATIONS)):
        assert (await row_of(migrated, view, columns))["client_name"] == "Ana"


async def test_conversation_messages_shows_both_directions(migrated: Pool) -> None:
    await a_followed_up_call(migrated)

    rows = await migrated.fetch_all(
        """
        SELECT direction, content, twilio_message_id, sent_at, status, error_code
        FROM conversation_messages ORDER BY id
        """
    )

    assert rows == [
        ("inbound", "Hola", "SM1", NOW + MINUTE, "answered", None),
        ("outbound", "Buenas", "SM2", NOW + 3 * MINUTE, "delivered", None),
    ]


async def test_conversations_shows_call_and_chat_as_one(migrated: Pool) -> None:
    await a_followed_up_call(migrated)

    row = await row_of(migrated, "conversations", CONVERSATIONS)

    messages = row.pop("whatsapp_messages")
    assert isinstance(messages, list)
    assert [(m["direction"], m["content"]) for m in messages] == [("inbound", "Hola"), ("outbound", "Buenas")]
    for column in ("whatsapp_conversation_id", "whatsapp_started_at", "created_at", "updated_at"):
        assert row.pop(column) is not None
    assert row == {
        "client_phone": ANA,
        "client_name": "Ana",
        "elevenlabs_conversation_id": "conv_1",
        "call_started_at": NOW,
        "call_ended_at": NOW + timedelta(seconds=90),
        "call_duration_seconds": 90,
        "call_transcript": [{"role": "user", "text": "Quiero un crédito", "offset_s": 3}],
        "call_summary": "Pidió un crédito.",
        "call_intent": "crédito",
        "call_sentiment": "positive",
        "whatsapp_last_message_at": NOW + 2 * MINUTE,
        "whatsapp_status": "active",
        "conversation_context": {
            "agent_id": "agent_text",
            "agent_conversation_id": "conv_2",
            "outcome": "completed",
            "variables": {},
            "collected": {"intencion": "crédito"},
        },
    }


async def test_conversations_shows_a_call_without_a_chat(migrated: Pool) -> None:
    seen = SeenCall(id="conv_1", sighting=CallSighting.BATCH, phone_number=ANA, outcome=CallOutcome.NO_ANSWER)
    await PostgresCalls(migrated).see([seen], now=NOW)

    row = await row_of(migrated, "conversations", CONVERSATIONS)

    assert (row["client_phone"], row["elevenlabs_conversation_id"]) == (ANA, "conv_1")
    assert (row["whatsapp_conversation_id"], row["whatsapp_messages"]) == (None, [])


async def test_conversations_shows_the_sessions_of_a_live_call_as_calls(migrated: Pool) -> None:
    live_calls = PostgresLiveCalls(migrated)
    incoming = IncomingCall(call_sid="CA1", caller=ANA, dialled=None)
    live = await live_calls.begin(incoming, mode=Mode.CONFERENCE, now=NOW)
    await live_calls.keep_session(live.id, conversation_id="conv_1", agent_id="agent_voice", now=NOW)

    # While it goes on, with what is known.
    row = await row_of(migrated, "conversations", CONVERSATIONS)
    assert (row["client_phone"], row["elevenlabs_conversation_id"]) == (ANA, "conv_1")
    assert (row["call_started_at"], row["call_ended_at"], row["call_summary"]) == (NOW, None, None)

    over = CallState(mode=Mode.CONFERENCE, phase=Phase.ENDED)
    await live_calls.finish(
        live.id, over, ending=Ending.AGENT, note="Dejó un mensaje.", follows_up=True, now=NOW + MINUTE
    )
    await a_followed_up_call(migrated)

    row = await row_of(migrated, "conversations", CONVERSATIONS)
    assert (row["elevenlabs_conversation_id"], row["call_summary"]) == ("conv_1", "Pidió un crédito.")
    assert row["whatsapp_status"] == "active"
    state = await row_of(migrated, "conversation_state", CONVERSATION_STATE)
    assert (state["phone_number"], state["call_duration_secs"]) == (ANA, 90)
