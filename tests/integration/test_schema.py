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
from actors.live_call.ports import KeptRecording, Notice
from actors.live_call.reports import IncomingCall
from actors.live_call.state import CallState, Ending, Mode, Phase
from actors.messages import DeliveryStatus, InboundMessage, StatusReport, Template
from actors.ports import Answer, Opening
from daemon.store.calls import PostgresCalls
from daemon.store.conversations import PostgresConversations
from daemon.store.inbox import PostgresInbox
from daemon.store.live_calls import PostgresLiveCalls
from daemon.store.migrate import migrate
from daemon.store.outbox import PostgresOutbox
from daemon.store.pool import Pool, StatementError
from daemon.store.recordings import PostgresRecordings
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


async def a_told_recording(pool: Pool) -> tuple[int, int, int]:
    """Ana has called and left a message for Beto, who was told. Ids of the live call, the recording, and Beto."""
    live_calls, recordings = PostgresLiveCalls(pool), PostgresRecordings(pool)
    incoming = IncomingCall(call_sid="CA1", caller=ANA_CANONICAL, dialled=None)
    live = await live_calls.begin(incoming, mode=Mode.CONFERENCE, now=NOW)
    await live_calls.keep_session(live.id, conversation_id="conv_1", agent_id="agent_voice", now=NOW)
    over = CallState(mode=Mode.CONFERENCE, phase=Phase.ENDED)
    await live_calls.finish(live.id, over, ending=Ending.VOICEMAIL, note="", follows_up=True, now=NOW)
    await recordings.expect(live.id, sid="RE1", advisor="Beto", duration_s=5, now=NOW)
    (recording,) = await recordings.due(now=NOW, limit=1)
    notice = Notice(
        address="+573001112233",
        identities=["+573001112233"],
        name="Beto",
        text="Ana dejó un mensaje.",
        template=None,
        agent_id="agent_text",
    )
    kept = KeptRecording(audio=b"sound", content_type="audio/x-wav")
    told = await recordings.keep(recording.id, kept, notice=notice, now=NOW)
    assert told is not None
    return live.id, recording.id, told


async def test_an_advisor_can_be_forgotten_and_the_message_stays(migrated: Pool) -> None:
    _, recording_id, beto = await a_told_recording(migrated)

    await migrated.execute("DELETE FROM person WHERE id = %s", (beto,))

    recordings = PostgresRecordings(migrated)
    assert await recordings.kept(recording_id) == KeptRecording(audio=b"sound", content_type="audio/x-wav")
    # Told once is told: a repetition does not tell it again.
    other = KeptRecording(audio=b"", content_type="")
    assert await recordings.keep(recording_id, other, notice=None, now=NOW) is None
    assert await migrated.fetch_one("SELECT count(*) FROM message") == (0,)


async def test_a_live_call_can_be_forgotten_with_its_recordings_and_its_sessions_stay_calls(
    migrated: Pool,
) -> None:
    live_call_id, recording_id, _ = await a_told_recording(migrated)

    await migrated.execute("DELETE FROM live_call WHERE id = %s", (live_call_id,))

    assert await PostgresRecordings(migrated).kept(recording_id) is None
    assert await migrated.fetch_all("SELECT id, live_call_id, follow_up FROM call") == [
        ("conv_1", None, "awaiting_details")
    ]


async def test_a_call_ends_with_everything_that_belongs_to_an_end(migrated: Pool) -> None:
    await a_told_recording(migrated)

    for column in ("ending", "follows_up", "ended_at"):
        with pytest.raises(StatementError, match="23514"):
            await migrated.execute(f"UPDATE live_call SET {column} = NULL")


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
