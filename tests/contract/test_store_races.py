"""The stores on PostgreSQL when two connections want the same at the same moment."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import pytest
import trio

from actors.calls import FollowUpState
from actors.messages import DeliveryStatus, Purpose
from actors.ports import Answer, Opening
from daemon.store.pool import Pool
from tests.contract.peeking import CallState, MessageState
from tests.contract.racing import CONTENDERS, LIMIT_S, Contender, Ring, race
from tests.contract.stores import (
    ANA,
    ANA_CANONICAL,
    NOW,
    TEMPLATE,
    TEXT_AGENT,
    Stores,
    details,
    inbound,
    report,
    seen,
)

DROPPED = "conversation closed before the opening"


@pytest.fixture
def stores(postgres_stores: Stores) -> Stores:
    return postgres_stores


# --- New people -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("round_", range(5))
async def test_first_messages_at_once_make_one_person(stores: Stores, store_pool: Pool, round_: int) -> None:
    both = [ANA_CANONICAL, "MX.1A2B"]
    messages = [
        inbound("SM1", identities=both),
        inbound("SM2", identities=both[::-1]),
        inbound("SM3", identities=both),
        inbound("SM4", identities=both[::-1]),
    ]

    results = await race(*(partial(stores.receive, message) for message in messages))

    (person_id,) = {received.person_id for received in results}
    assert all(received.is_new for received in results)
    work = await stores.conversations.work(person_id)
    assert {message.sid for message in work.pending} == {"SM1", "SM2", "SM3", "SM4"}
    assert await store_pool.fetch_one("SELECT count(*) FROM person") == (1,)


@pytest.mark.parametrize("round_", range(5))
async def test_the_same_first_message_at_once_is_stored_once(stores: Stores, round_: int) -> None:
    results = await race(*(partial(stores.receive, inbound("SM1")) for _ in range(CONTENDERS)))

    assert sorted(received.is_new for received in results) == [False, False, False, True]
    (person_id,) = {received.person_id for received in results}
    assert len((await stores.conversations.work(person_id)).pending) == 1


@pytest.mark.parametrize("round_", range(5))
async def test_webhook_and_poll_follow_a_call_up_once(stores: Stores, store_pool: Pool, round_: int) -> None:
    calls = [seen("conv_1"), seen("conv_2"), seen("conv_3")]

    async def find(call_id: str, order: int) -> Sequence[str]:
        new = await stores.calls.see(calls[::order], now=NOW)
        await stores.calls.save_details(
            details(call_id),
            client_name="Ana",
            identities=[ANA_CANONICAL],
            follow_up=FollowUpState.DUE,
            agent_id=TEXT_AGENT,
        )
        return new

    new = await race(
        partial(find, "conv_1", 1),
        partial(find, "conv_1", -1),
        partial(find, "conv_2", 1),
        partial(stores.receive, inbound("SM1")),
    )

    assert sorted([*new[0], *new[1], *new[2]]) == ["conv_1", "conv_2", "conv_3"]
    work = await stores.conversations.work(new[3].person_id)
    assert set(work.due_calls) == {"conv_1", "conv_2"}
    assert len(work.pending) == 1
    assert await store_pool.fetch_one("SELECT count(*) FROM person") == (1,)
    assert await store_pool.fetch_one("SELECT count(*) FROM conversation") == (1,)


@pytest.mark.parametrize("order", [1, -1])
async def test_details_that_come_at_once_do_not_undo_each_other(
    stores: Stores, ring: Ring, order: int
) -> None:
    await stores.calls.see([seen()], now=NOW)

    def save(follow_up: FollowUpState) -> Contender:
        return partial(
            stores.calls.save_details,
            details(),
            client_name="Ana",
            identities=[ANA_CANONICAL],
            follow_up=follow_up,
            agent_id=TEXT_AGENT,
        )

    contenders = [save(FollowUpState.DUE), save(FollowUpState.AWAITING_DETAILS)][::order]
    await ring.collide("SELECT id FROM call FOR UPDATE", (), *contenders)

    assert await stores.peek.call("conv_1") == CallState("due")


# --- Inbound messages -------------------------------------------------------------------------------------


async def test_the_same_message_of_a_known_person_is_stored_once(stores: Stores, ring: Ring) -> None:
    person_id = await stores.new_person("SM1")

    results = await ring.collide(
        "SELECT id FROM conversation FOR UPDATE",
        (),
        partial(stores.receive, inbound("SM2")),
        partial(stores.receive, inbound("SM2")),
    )

    assert sorted(received.is_new for received in results) == [False, True]
    assert {received.person_id for received in results} == {person_id}
    assert [m.sid for m in (await stores.conversations.work(person_id)).pending] == ["SM1", "SM2"]


async def test_a_message_that_meets_a_close_opens_another_conversation(stores: Stores, ring: Ring) -> None:
    person_id = await stores.new_person("SM1")
    closed_id = await stores.conversation_id(person_id)

    await ring.collide(
        "UPDATE conversation SET status = 'closed' RETURNING id", (), partial(stores.receive, inbound("SM2"))
    )

    work = await stores.conversations.work(person_id)
    assert work.conversation_id not in {None, closed_id}
    assert [message.sid for message in work.pending] == ["SM2"]


async def test_two_messages_open_a_closed_window_without_a_deadlock(stores: Stores, ring: Ring) -> None:
    person_id = await stores.new_person("SM1")
    conversation_id = await stores.conversation_id(person_id)

    await ring.collide(
        "UPDATE conversation SET status = 'window_closed' RETURNING id",
        (),
        partial(stores.receive, inbound("SM2")),
        partial(stores.receive, inbound("SM3")),
    )

    assert await stores.peek.conversation_status(conversation_id) == "active"
    assert len((await stores.conversations.work(person_id)).pending) == 3


# --- Answers and openings ---------------------------------------------------------------------------------


async def test_of_two_answers_one_goes_out(stores: Stores, ring: Ring) -> None:
    person_id = await stores.new_person()
    work = await stores.conversations.work(person_id)
    assert work.conversation_id is not None
    ids = [message.id for message in work.pending]

    def answer(text: str) -> Contender:
        pieces = Answer(address=ANA, pieces=[text])
        assert work.conversation_id is not None
        return partial(stores.conversations.answer, work.conversation_id, ids, pieces, now=NOW)

    results = await ring.collide("SELECT id FROM message FOR UPDATE", (), answer("uno"), answer("dos"))

    assert sorted(results) == [False, True]
    assert [sent.text for sent in await stores.lane(person_id)] == [("uno", "dos")[results.index(True)]]


async def test_an_answer_and_a_close_do_not_wait_for_each_other(stores: Stores, ring: Ring) -> None:
    person_id = await stores.new_person()
    work = await stores.conversations.work(person_id)
    assert work.conversation_id is not None
    reply = Answer(address=ANA, pieces=["uno"])
    await stores.conversations.defer_turn(
        work.conversation_id, Answer(address=ANA, pieces=()), retry_at=NOW, now=NOW
    )

    _, answered = await ring.collide(
        "SELECT id FROM conversation FOR UPDATE",
        (),
        partial(stores.conversations.close, work.conversation_id, now=NOW),
        partial(stores.conversations.answer, work.conversation_id, [work.pending[0].id], reply, now=NOW),
    )

    assert answered
    assert len(await stores.lane(person_id)) == 1
    assert (await stores.conversations.work(person_id)).conversation_id is None


@pytest.mark.parametrize("order", [1, -1])
async def test_an_opening_and_a_close_do_not_wait_for_each_other(
    stores: Stores, ring: Ring, order: int
) -> None:
    person_id = await stores.due_call()
    conversation_id = await stores.conversation_id(person_id)
    opening = Opening(call_id="conv_1", conversation_id=conversation_id, address=ANA, text="Hola, Ana.")
    contenders: list[Contender] = [
        partial(stores.conversations.queue_opening, opening, now=NOW),
        partial(stores.conversations.close, conversation_id, now=NOW),
    ]

    # As the details of a call do it: whoever waits for the row then looks at the newer one behind it.
    hold = "UPDATE conversation SET person_id = person_id RETURNING id"
    results = await ring.collide(hold, (), *contenders[::order])

    is_queued = results[::order][0]
    expected = CallState("queued") if is_queued else CallState("none", DROPPED)
    assert await stores.peek.call("conv_1") == expected
    assert len(await stores.lane(person_id)) == is_queued
    assert (await stores.conversations.work(person_id)).conversation_id is None


async def test_of_two_openings_one_goes_out(stores: Stores, ring: Ring) -> None:
    person_id = await stores.due_call()

    results = await ring.collide(
        "SELECT id FROM call FOR UPDATE",
        (),
        partial(stores.queue_opening, person_id),
        partial(stores.queue_opening, person_id),
    )

    assert sorted(results) == [False, True]
    assert len(await stores.lane(person_id)) == 1


# --- The outbox -------------------------------------------------------------------------------------------


async def test_of_two_claims_one_wins(stores: Stores, ring: Ring) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno", "dos")
    claim = partial(stores.outbox.claim, person_id, now=NOW)

    results = await ring.collide("SELECT id FROM message FOR UPDATE", (), claim, claim)

    (won,) = [message for message in results if message is not None]
    assert won.text == "uno"
    assert await stores.outbox.in_doubt(person_id) == won


async def test_of_two_claims_that_meet_a_closed_window_one_makes_the_template(
    stores: Stores, ring: Ring
) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno", template=TEMPLATE)
    claim = partial(stores.outbox.claim, person_id, now=NOW + timedelta(days=2))

    results = await ring.collide("SELECT id FROM conversation FOR UPDATE", (), claim, claim)

    (won,) = [message for message in results if message is not None]
    assert (won.purpose, won.as_template) == (Purpose.REOPENING, True)
    assert await stores.outbox.in_doubt(person_id) == won


async def test_an_older_message_that_becomes_visible_late_waits_its_turn(stores: Stores, ring: Ring) -> None:
    person_id = await stores.new_person()
    conversation_id = await stores.conversation_id(person_id)
    with trio.fail_after(LIMIT_S):
        async with ring.holder.transaction():
            await ring.holder.run_statement(
                """
                INSERT INTO message (
                    conversation_id, person_id, direction, address, content, status, created_at, purpose
                )
                VALUES (%s, %s, 'outbound', '+1', 'older', 'pending', now(), 'answer')
                """,
                (conversation_id, person_id),
            )
            await stores.queue(person_id, "newer")
            newer = await stores.claim(person_id)

    assert newer.text == "newer"
    assert await stores.outbox.claim(person_id, now=NOW) is None
    assert await stores.outbox.accepted(newer.id, sid="SM8", now=NOW)
    assert [message.text for message in await stores.lane(person_id)] == ["older"]


@pytest.mark.parametrize("status", [None, DeliveryStatus.DELIVERED])
async def test_a_report_that_overtakes_the_acceptance_agrees_with_it(
    stores: Stores, ring: Ring, status: DeliveryStatus | None
) -> None:
    person_id = await stores.due_call()
    await stores.queue_opening(person_id)
    opening = await stores.claim(person_id)

    await ring.collide(
        "SELECT id FROM message FOR UPDATE",
        (),
        partial(stores.outbox.accepted, opening.id, sid="SM8", now=NOW),
        partial(stores.outbox.report, report("SM8", status, message_id=opening.id), now=NOW),
    )

    expected = (status or DeliveryStatus.ACCEPTED).label
    assert await stores.peek.message(opening.id) == MessageState(expected, "SM8")
    assert await stores.peek.call("conv_1") == CallState("handled")


async def test_a_closed_window_reported_twice_at_once_is_met_once(stores: Stores, ring: Ring) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno", template=TEMPLATE)
    await stores.outbox.accepted((await stores.claim(person_id)).id, sid="SM8", now=NOW)
    failed = report("SM8", DeliveryStatus.FAILED, error_code=63016)
    undelivered = report("SM8", DeliveryStatus.UNDELIVERED, error_code=63016)

    results = await ring.collide(
        "SELECT id FROM message FOR UPDATE",
        (),
        partial(stores.outbox.report, failed, now=NOW),
        partial(stores.outbox.report, undelivered, now=NOW),
    )

    assert [result.is_repeated for result in results if result is not None] == [True]
    assert len(await stores.lane(person_id)) == 1
