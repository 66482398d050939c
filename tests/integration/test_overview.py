"""The port `Overview` on PostgreSQL: what the operator sees."""

from datetime import UTC, datetime, timedelta

import pytest

from actors.calls import (
    Batch,
    BatchRecipient,
    BatchSummary,
    CallDetails,
    CallOutcome,
    CallSighting,
    FollowUpState,
    SeenCall,
)
from actors.failures import failure_of
from actors.live_call.reports import IncomingCall
from actors.live_call.state import CallState, Ending, Leg, LegStage, Mode, Phase, Role
from actors.messages import DeliveryStatus, InboundMessage, StatusReport, Template
from actors.overview import CallCounts, Interaction, InteractionType, Queues, RecipientProgress
from actors.ports import Answer, Opening
from daemon.store.calls import PostgresCalls
from daemon.store.conversations import PostgresConversations
from daemon.store.inbox import PostgresInbox
from daemon.store.live_calls import PostgresLiveCalls
from daemon.store.migrate import migrate
from daemon.store.outbox import PostgresOutbox
from daemon.store.overview import PostgresOverview
from daemon.store.pool import Pool
from daemon.store.recordings import PostgresRecordings

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ANA = "+525512345678"
TEMPLATE = Template(sid="HX1", variables={"1": "Ana"})


@pytest.fixture
async def migrated(pool: Pool) -> Pool:
    async with pool.connection() as connection:
        await migrate(connection)
    return pool


@pytest.fixture
def overview(migrated: Pool) -> PostgresOverview:
    return PostgresOverview(migrated)


async def write(pool: Pool, sid: str, *, number: str = ANA, at: datetime = NOW) -> int:
    message = InboundMessage(
        sid=sid,
        address=number,
        identities=[number],
        phone_number=number,
        profile_name="Ana",
        kind="text",
        text=f"Hola {sid}",
        fields={},
    )
    return (await PostgresInbox(pool).receive(message, default_agent_id="agent_text", now=at)).person_id


async def queue(pool: Pool, person_id: int, *pieces: str, template: Template | None = None) -> None:
    conversations = PostgresConversations(pool)
    conversation_id = (await conversations.work(person_id)).conversation_id
    assert conversation_id is not None
    answer = Answer(address=ANA, pieces=pieces, template=template)
    await conversations.add_answer(conversation_id, answer, now=NOW + MINUTE)


async def send(pool: Pool, person_id: int, sid: str) -> None:
    outbox = PostgresOutbox(pool)
    message = await outbox.claim(person_id, now=NOW + MINUTE)
    assert message is not None
    await outbox.accepted(message.id, sid=sid, now=NOW + MINUTE)


async def fail(pool: Pool, sid: str, code: int) -> None:
    failure = StatusReport(message_id=None, sid=sid, status=DeliveryStatus.FAILED, error_code=code)
    await PostgresOutbox(pool).report(failure, now=NOW + 2 * MINUTE)


async def due_call(pool: Pool, call_id: str = "conv_1") -> int:
    calls = PostgresCalls(pool)
    await calls.see([SeenCall(id=call_id, sighting=CallSighting.BATCH)], now=NOW)
    call = CallDetails(
        id=call_id,
        agent_id="agent_voice",
        is_over=True,
        outcome=CallOutcome.COMPLETED,
        phone_number=ANA,
        direction="outbound",
        started_at=NOW - 10 * MINUTE,
        duration_s=90,
    )
    person_id = await calls.save_details(
        call, client_name="Ana", identities=[ANA], follow_up=FollowUpState.DUE, agent_id="agent_text"
    )
    assert person_id is not None
    return person_id


# --- Queues -----------------------------------------------------------------------------------------------


async def test_queues_are_empty_at_first(overview: PostgresOverview) -> None:
    assert await overview.queues() == Queues(
        inbound_pending=0, outbound_pending=0, outbound_in_doubt=0, dead_letters=0
    )


async def test_queues_count_what_waits(overview: PostgresOverview, migrated: Pool) -> None:
    person_id = await write(migrated, "SM1")
    await write(migrated, "SM2")
    await queue(migrated, person_id, "uno", "dos", "tres", "cuatro")
    await send(migrated, person_id, "SM8")
    await fail(migrated, "SM8", 63024)
    assert await PostgresOutbox(migrated).claim(person_id, now=NOW + MINUTE)

    assert await overview.queues() == Queues(
        inbound_pending=2, outbound_pending=2, outbound_in_doubt=1, dead_letters=1
    )


async def test_a_message_that_its_template_replaced_is_no_dead_letter(
    overview: PostgresOverview, migrated: Pool
) -> None:
    person_id = await write(migrated, "SM1")
    await queue(migrated, person_id, "uno", template=TEMPLATE)
    await send(migrated, person_id, "SM8")
    await fail(migrated, "SM8", 63016)
    assert (await overview.queues()).dead_letters == 0

    await send(migrated, person_id, "SM9")
    await fail(migrated, "SM9", 63016)

    assert (await overview.queues()).dead_letters == 1


async def test_a_closed_conversation_leaves_nothing_pending(
    overview: PostgresOverview, migrated: Pool
) -> None:
    person_id = await write(migrated, "SM1")
    conversations = PostgresConversations(migrated)
    conversation_id = (await conversations.work(person_id)).conversation_id
    assert conversation_id is not None

    await conversations.close(conversation_id, now=NOW)

    assert (await overview.queues()).inbound_pending == 0


# --- Live calls -------------------------------------------------------------------------------------------


async def live_call(
    pool: Pool, call_sid: str = "CA1", *, at: datetime = NOW, caller: str | None = ANA
) -> int:
    incoming = IncomingCall(call_sid=call_sid, caller=caller, dialled=None)
    return (await PostgresLiveCalls(pool).begin(incoming, mode=Mode.CONFERENCE, now=at)).id


async def finish(pool: Pool, live_call_id: int, *, note: str = "") -> None:
    over = CallState(mode=Mode.CONFERENCE, phase=Phase.ENDED)
    await PostgresLiveCalls(pool).finish(
        live_call_id, over, ending=Ending.AGENT, note=note, follows_up=True, now=NOW + 10 * MINUTE
    )


async def test_calls_are_shown_while_they_go_on(overview: PostgresOverview, migrated: Pool) -> None:
    began_at = datetime.now(UTC) - timedelta(seconds=65)
    one = await live_call(migrated, at=began_at)
    two = await live_call(migrated, "CA2", at=datetime.now(UTC) + timedelta(days=1), caller=None)
    await finish(migrated, await live_call(migrated, "CA3"))
    called = (
        Leg(ordinal=1, role=Role.ADVISOR, advisor="Carla", stage=LegStage.OVER),
        Leg(ordinal=2, role=Role.ADVISOR, advisor="Beto", stage=LegStage.RINGING),
    )
    state = CallState(mode=Mode.CONFERENCE, phase=Phase.TRANSFERRING, legs=called)
    await PostgresLiveCalls(migrated).save(one, state, now=NOW)

    first, second = await overview.live_calls()

    assert (first.id, first.started_at, first.phase) == (one, began_at, Phase.TRANSFERRING)
    assert (first.caller, first.advisor) == (ANA, "Beto")
    assert 65 <= first.duration_s < 65 + 60
    # A clock that was set back since makes no call shorter than nothing.
    assert (second.id, second.caller, second.advisor, second.duration_s) == (two, None, None, 0)


@pytest.mark.expects_error_log
async def test_a_call_that_cannot_be_read_crashes_nobody_and_is_told_of_once(
    overview: PostgresOverview, migrated: Pool, error_logs: list[str]
) -> None:
    """As after a version was taken back that knew more words."""
    readable = await live_call(migrated)
    store = PostgresLiveCalls(migrated)
    for number, state in enumerate(
        (
            '{"mode": "direct", "phase": "at_survey"}',
            "[]",
            '{"phase": "with_agent"}',
            '{"mode": "direct", "legs": 7}',
        )
    ):
        unreadable = await live_call(migrated, f"CA{number + 2}")
        await migrated.execute(
            "UPDATE live_call SET state = %(state)s::jsonb WHERE id = %(id)s",
            {"id": unreadable, "state": state},
        )
        before = len(error_logs)
        assert [await store.load(unreadable) for _ in range(3)] == [None] * 3, state
        assert len(error_logs) == before + 1

    assert await store.load(readable) is not None
    assert [call.id for call in await overview.live_calls()] == [readable]


async def test_calls_and_their_recordings_are_counted_until_they_are_done(
    overview: PostgresOverview, migrated: Pool
) -> None:
    assert await overview.call_counts() == CallCounts(live=0, unfinished_recordings=0)
    one, _ = await live_call(migrated), await live_call(migrated, "CA2")
    recordings = PostgresRecordings(migrated)
    for sid in ("RE1", "RE2"):
        await recordings.expect(one, sid=sid, advisor="", duration_s=5, now=NOW)
    assert await overview.call_counts() == CallCounts(live=2, unfinished_recordings=2)

    await finish(migrated, one)
    (first, _) = await recordings.due(now=NOW, limit=2)
    await recordings.drop(first.id, reason="unknown at Twilio")

    assert await overview.call_counts() == CallCounts(live=1, unfinished_recordings=1)


async def test_a_timeline_shows_every_part_of_a_live_call(overview: PostgresOverview, migrated: Pool) -> None:
    live_calls = PostgresLiveCalls(migrated)
    live_call_id = await live_call(migrated)
    other_id = await live_call(migrated, "CA2")
    for kept_in, call_id in ((live_call_id, "conv_1"), (live_call_id, "conv_2"), (other_id, "conv_3")):
        await live_calls.keep_session(kept_in, conversation_id=call_id, agent_id="agent_voice", now=NOW)
    await finish(migrated, live_call_id, note="Dejó un mensaje.")
    person_id = await due_call(migrated, "conv_2")
    await due_call(migrated, "conv_1")
    conversation_id = (await PostgresConversations(migrated).work(person_id)).conversation_id
    assert conversation_id is not None

    timeline = await overview.conversation(conversation_id)

    assert timeline is not None
    told = {one.external_id: one.metadata for one in timeline.interactions}
    assert told.keys() == {"conv_1", "conv_2"}
    assert told["conv_2"].items() >= {"live_call_id": live_call_id, "note": "Dejó un mensaje."}.items()
    assert "is_part" not in told["conv_2"]
    assert told["conv_1"].items() >= {"live_call_id": live_call_id, "is_part": True}.items()
    assert "note" not in told["conv_1"]


# --- Conversations ----------------------------------------------------------------------------------------


async def test_conversations_come_newest_first_page_by_page(
    overview: PostgresOverview, migrated: Pool
) -> None:
    people = [await write(migrated, f"SM{n}", number=f"+57300111220{n}") for n in range(5)]

    pages = []
    cursor: int | None = None
    while True:
        page = await overview.conversations(cursor, limit=2)
        pages.append([conversation.person_id for conversation in page.conversations])
        cursor = page.next_cursor
        if cursor is None:
            break

    one, two, three, four, five = people
    assert pages == [[five, four], [three, two], [one]]


async def test_a_full_last_page_is_the_last(overview: PostgresOverview, migrated: Pool) -> None:
    await write(migrated, "SM1")

    page = await overview.conversations(None, limit=1)

    assert len(page.conversations) == 1
    assert page.next_cursor is None


async def test_a_conversation_is_found_by_any_number_of_the_person(
    overview: PostgresOverview, migrated: Pool
) -> None:
    person_id = await write(migrated, "SM1")
    await write(migrated, "SM2", at=NOW + MINUTE)

    summary = await overview.find_by_number(["+573001112233", ANA])

    assert summary is not None
    assert (summary.person_id, summary.phone_number, summary.name) == (person_id, ANA, "Ana")
    assert (summary.status, summary.agent_id, summary.closed_at) == ("active", "agent_text", None)
    assert (summary.started_at, summary.last_message_at) == (NOW, NOW + MINUTE)
    assert (summary.message_count, summary.unanswered) == (2, 2)
    assert await overview.find_by_number(["+573001112233"]) is None


async def test_of_a_persons_conversations_the_newest_is_found(
    overview: PostgresOverview, migrated: Pool
) -> None:
    await write(migrated, "SM1")
    first = await overview.find_by_number([ANA])
    assert first is not None
    await PostgresConversations(migrated).close(first.id, now=NOW + MINUTE)
    closed = await overview.find_by_number([ANA])
    assert closed is not None
    assert (closed.id, closed.status, closed.closed_at) == (first.id, "closed", NOW + MINUTE)

    await write(migrated, "SM2")

    second = await overview.find_by_number([ANA])
    assert second is not None
    assert second.id > first.id


async def test_a_timeline_has_calls_and_messages_in_one_shape(
    overview: PostgresOverview, migrated: Pool
) -> None:
    await write(migrated, "SM0", at=NOW - 60 * MINUTE)
    person_id = await due_call(migrated)
    conversations = PostgresConversations(migrated)
    conversation_id = (await conversations.work(person_id)).conversation_id
    assert conversation_id is not None
    opening = Opening(
        call_id="conv_1",
        conversation_id=conversation_id,
        address=ANA,
        text="Hola, Ana.",
        note="sent without agent conversation",
    )
    await conversations.queue_opening(opening, now=NOW)
    await write(migrated, "SM1", at=NOW + MINUTE)

    timeline = await overview.conversation(conversation_id)

    assert timeline is not None
    assert timeline.summary.id == conversation_id
    before, call, first, second = timeline.interactions
    assert before.external_id == "SM0"
    assert call == Interaction(
        type=InteractionType.CALL,
        at=NOW - 10 * MINUTE,
        platform="elevenlabs",
        external_id="conv_1",
        content="",
        metadata={
            "agent_id": "agent_voice",
            "outcome": "completed",
            "direction": "outbound",
            "duration_s": 90,
            "collected": {},
            "follow_up": "queued",
            "follow_up_note": "sent without agent conversation",
        },
    )
    assert (first.type, first.platform, first.external_id) == (InteractionType.WHATSAPP, "twilio", None)
    assert (first.at, first.content) == (NOW, "Hola, Ana.")
    assert first.metadata["purpose"] == "opening"
    assert first.metadata["note"] == "sent without agent conversation"
    assert (second.external_id, second.content) == ("SM1", "Hola SM1")
    assert (second.metadata["direction"], second.metadata["status"]) == ("inbound", "received")


async def test_a_timeline_tells_what_the_person_really_read(
    overview: PostgresOverview, migrated: Pool
) -> None:
    person_id = await write(migrated, "SM1", at=NOW - timedelta(days=2))
    await queue(migrated, person_id, "uno", template=TEMPLATE)
    await send(migrated, person_id, "SM8")
    await queue(migrated, person_id, "dos")
    await send(migrated, person_id, "SM9")
    summary = await overview.find_by_number([ANA])
    assert summary is not None

    timeline = await overview.conversation(summary.id)

    assert timeline is not None
    assert [(one.content, one.metadata.get("sent_as")) for one in timeline.interactions] == [
        ("Hola SM1", None),
        ("uno", None),
        ("[HX1]", "template"),
        ("dos", "text"),
    ]
    assert timeline.interactions[2].metadata["purpose"] == "reopening"


async def test_a_template_that_failed_is_counted_by_what_waited_behind_it(
    overview: PostgresOverview, migrated: Pool
) -> None:
    person_id = await write(migrated, "SM1", at=NOW - timedelta(days=2))
    await queue(migrated, person_id, "uno", "dos", template=TEMPLATE)
    await send(migrated, person_id, "SM8")
    assert (await overview.queues()).outbound_pending == 2

    await fail(migrated, "SM8", 63041)

    queues = await overview.queues()
    assert (queues.outbound_pending, queues.dead_letters) == (0, 2)
    rows = await migrated.fetch_all("SELECT error_code, error_detail FROM message WHERE status = 'refused'")
    assert rows == [(63041, failure_of(63041).advice)] * 2


async def test_there_is_no_timeline_of_an_unknown_conversation(overview: PostgresOverview) -> None:
    assert await overview.conversation(4711) is None


# --- Batches ----------------------------------------------------------------------------------------------


def batch(batch_id: str, *recipients: BatchRecipient, created_at: datetime = NOW) -> Batch:
    summary = BatchSummary(
        id=batch_id,
        name="Mayo",
        agent_id="agent_voice",
        status="in_progress",
        is_over=False,
        created_at=created_at,
        updated_at=created_at,
    )
    return Batch(summary=summary, recipients=recipients)


def recipient(
    recipient_id: str, *, call_id: str | None = None, outcome: CallOutcome | None = None
) -> BatchRecipient:
    return BatchRecipient(
        id=recipient_id, phone_number=ANA, status="pending", outcome=outcome, call_id=call_id
    )


async def test_there_may_be_no_batch(overview: PostgresOverview) -> None:
    assert await overview.newest_batch() is None
    assert await overview.batch("btcal_1") is None


async def test_the_newest_batch_is_the_one_created_last(overview: PostgresOverview, migrated: Pool) -> None:
    calls = PostgresCalls(migrated)
    await calls.save_batch(batch("btcal_2", created_at=NOW + MINUTE), is_settled=False)
    await calls.save_batch(batch("btcal_1"), is_settled=True)

    newest = await overview.newest_batch()
    other = await overview.batch("btcal_1")

    assert newest is not None
    assert (newest.id, newest.name, newest.status, newest.is_settled) == (
        "btcal_2",
        "Mayo",
        "in_progress",
        False,
    )
    assert other is not None
    assert other.is_settled


async def test_a_batch_shows_each_recipients_call_and_follow_up(
    overview: PostgresOverview, migrated: Pool
) -> None:
    await due_call(migrated, "conv_1")
    calls = PostgresCalls(migrated)
    await calls.see([SeenCall(id="conv_2", sighting=CallSighting.BATCH, outcome=CallOutcome.BUSY)], now=NOW)
    await calls.give_up("conv_2", reason="unknown at ElevenLabs")
    await calls.save_batch(
        batch(
            "btcal_1",
            recipient("rcpt_1", call_id="conv_1"),
            recipient("rcpt_2", call_id="conv_2"),
            recipient("rcpt_3", call_id="conv_3", outcome=CallOutcome.FAILED),
            recipient("rcpt_4"),
        ),
        is_settled=False,
    )

    shown = await overview.batch("btcal_1")

    assert shown is not None
    assert [(r.id, r.call_id, r.outcome, r.follow_up, r.follow_up_note) for r in shown.recipients] == [
        ("rcpt_1", "conv_1", CallOutcome.COMPLETED, FollowUpState.DUE, None),
        ("rcpt_2", "conv_2", CallOutcome.BUSY, FollowUpState.NONE, "unknown at ElevenLabs"),
        ("rcpt_3", "conv_3", CallOutcome.FAILED, None, None),
        ("rcpt_4", None, None, None, None),
    ]


async def test_a_batch_shows_its_recipients_as_they_stand(overview: PostgresOverview, migrated: Pool) -> None:
    calls = PostgresCalls(migrated)
    await calls.save_batch(batch("btcal_1", recipient("rcpt_1"), recipient("rcpt_2")), is_settled=False)

    await calls.save_batch(batch("btcal_1", recipient("rcpt_1", call_id="conv_9")), is_settled=False)

    shown = await overview.batch("btcal_1")
    assert shown is not None
    assert shown.recipients == [
        RecipientProgress(
            id="rcpt_1",
            phone_number=ANA,
            status="pending",
            call_id="conv_9",
            outcome=None,
            follow_up=None,
            follow_up_note=None,
        )
    ]
