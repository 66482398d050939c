"""What the schema guarantees by itself, and what it takes."""

from typing import LiteralString

import pytest
from attrs import evolve

from actors.calls import (
    CallAnalysis,
    CallDetails,
    CallOutcome,
    CallSighting,
    FollowUpState,
    SeenCall,
    TranscriptEntry,
)
from actors.messages import DeliveryStatus, InboundMessage, StatusReport, Template
from actors.ports import Answer, Opening
from daemon.store.calls import PostgresCalls
from daemon.store.conversations import PostgresConversations
from daemon.store.inbox import PostgresInbox
from daemon.store.migrate import migrate
from daemon.store.outbox import PostgresOutbox
from daemon.store.pool import Pool, StatementError
from tests.contract.stores import ANA, ANA_CANONICAL, NOW, details, inbound, seen

ROWS_OF_PEOPLE: LiteralString = """
SELECT
    (SELECT count(*) FROM person), (SELECT count(*) FROM person_identity), (SELECT count(*) FROM conversation),
    (SELECT count(*) FROM message), (SELECT count(*) FROM call)
"""
INSERT_MESSAGE: LiteralString = """
INSERT INTO message (conversation_id, person_id, direction, address, content, status, created_at, twilio_sid, purpose)
SELECT id, %(person_id)s, %(direction)s, '+1', '', %(status)s, now(), %(sid)s, %(purpose)s FROM conversation LIMIT 1
"""
INBOUND = {"direction": "inbound", "status": "received", "sid": "SM9", "purpose": None}
OUTBOUND = {"direction": "outbound", "status": "pending", "sid": None, "purpose": "answer"}


@pytest.fixture
async def migrated(pool: Pool) -> Pool:
    async with pool.connection() as connection:
        await migrate(connection)
    return pool


async def ana_writes(pool: Pool, message: InboundMessage | None = None) -> int:
    received = await PostgresInbox(pool).receive(
        message or inbound("SM1"), default_agent_id="agent_text", now=NOW
    )
    return received.person_id


async def a_call_is_due(pool: Pool, call: CallDetails) -> int:
    calls = PostgresCalls(pool)
    await calls.see([seen(call.id)], now=NOW)
    person_id = await calls.save_details(
        call,
        client_name="Ana",
        identities=[ANA_CANONICAL],
        follow_up=FollowUpState.DUE,
        agent_id="agent_text",
    )
    assert person_id is not None
    return person_id


async def test_nothing_of_a_person_survives_the_person(migrated: Pool) -> None:
    person_id = await ana_writes(migrated)
    await a_call_is_due(migrated, details())
    conversations, outbox = PostgresConversations(migrated), PostgresOutbox(migrated)
    conversation_id = (await conversations.work(person_id)).conversation_id
    assert conversation_id is not None
    template = Template(sid="HX1")
    opening = Opening(
        call_id="conv_1", conversation_id=conversation_id, address=ANA, text="Hola", template=template
    )
    await conversations.queue_opening(opening, now=NOW)
    message = await outbox.claim(person_id, now=NOW)
    assert message is not None
    failed = StatusReport(message_id=message.id, sid="SM8", status=DeliveryStatus.FAILED, error_code=63016)
    reported = await outbox.report(failed, now=NOW)
    assert reported is not None
    assert reported.is_repeated

    await migrated.execute("DELETE FROM person WHERE id = %s", (person_id,))

    assert await migrated.fetch_one(ROWS_OF_PEOPLE) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "row",
    [
        INBOUND | {"sid": None},
        INBOUND | {"status": "pending"},
        INBOUND | {"direction": "sideways"},
        OUTBOUND | {"purpose": None},
        OUTBOUND | {"status": "received"},
    ],
)
async def test_a_message_that_makes_no_sense_is_refused(migrated: Pool, row: dict[str, str | None]) -> None:
    person_id = await ana_writes(migrated)

    with pytest.raises(StatementError, match="23514"):
        await migrated.execute(INSERT_MESSAGE, {"person_id": person_id, **row})


async def test_a_message_belongs_to_the_person_of_its_conversation(migrated: Pool) -> None:
    await ana_writes(migrated)
    other = await ana_writes(migrated, inbound("SM2", identities=["MX.1A2B"], phone_number=None))

    with pytest.raises(StatementError, match="23503"):
        await migrated.execute(INSERT_MESSAGE, {"person_id": other, **OUTBOUND})


async def test_a_person_has_one_open_conversation(migrated: Pool) -> None:
    person_id = await ana_writes(migrated)

    with pytest.raises(StatementError, match="23505"):
        await migrated.execute(
            "INSERT INTO conversation (person_id, agent_id) VALUES (%s, 'a')", (person_id,)
        )


async def test_characters_that_postgresql_does_not_take_do_not_lose_the_rest(migrated: Pool) -> None:
    spoiled = "Ho\x00la \ud83d"
    message = evolve(inbound("SM1", text=spoiled, profile_name=spoiled), fields={"Body": spoiled})
    person_id = await ana_writes(migrated, message)
    call = evolve(
        details(),
        transcript=[TranscriptEntry(role="user", text=spoiled, offset_s=0)],
        analysis=CallAnalysis(summary=spoiled, collected={"intent": spoiled}),
    )
    await a_call_is_due(migrated, call)
    conversations = PostgresConversations(migrated)
    work = await conversations.work(person_id)
    assert work.conversation_id is not None
    answer = Answer(address=ANA, pieces=[spoiled])
    await conversations.answer(work.conversation_id, [work.pending[0].id], answer, now=NOW)

    context = await conversations.context(person_id, messages_max=10)

    assert context is not None
    assert [message.text for message in context.messages] == ["Hola ?", "Hola ?"]
    assert context.name == "Hola ?"
    (known,) = context.calls
    assert (known.summary, known.collected) == ("Hola ?", {"intent": "Hola ?"})
    assert known.transcript_excerpt == "user: Hola ?"


async def test_ten_thousand_recipients_are_stored_and_seen_at_once(migrated: Pool) -> None:
    calls = PostgresCalls(migrated)
    found = [
        SeenCall(id=f"conv_{n}", sighting=CallSighting.BATCH, outcome=CallOutcome.COMPLETED)
        for n in range(10_000)
    ]

    assert len(await calls.see(found, now=NOW)) == 10_000
    assert await calls.see(found, now=NOW) == []
