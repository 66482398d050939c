"""The port `ConversationStore`: what waits for the agent, what it should know, and what it answered."""

from actors.messages import Purpose
from actors.ports import Answer, Opening, Work
from tests.contract.peeking import CallState
from tests.contract.stores import (
    ANA,
    MINUTE,
    NOW,
    TEMPLATE,
    Stores,
    inbound,
)

NOTHING_WAITS = Work(conversation_id=None, pending=(), due_calls=(), turn_failures=0)


def answer(*pieces: str) -> Answer:
    return Answer(address=ANA, pieces=pieces)


# --- Work -------------------------------------------------------------------------------------------------


async def test_an_unknown_person_has_no_work(stores: Stores) -> None:
    assert await stores.conversations.work(4711) == NOTHING_WAITS


async def test_pending_messages_come_oldest_first(stores: Stores) -> None:
    person_id = await stores.new_person()
    for number in range(12):
        await stores.receive(inbound(f"SM-{number}", text=f"{number}"))

    work = await stores.conversations.work(person_id)

    assert [message.text for message in work.pending] == ["Hola", *(f"{number}" for number in range(12))]


async def test_due_calls_come_oldest_first(stores: Stores) -> None:
    await stores.due_call("conv_new", started_at=NOW)
    person_id = await stores.due_call("conv_old", started_at=NOW - 60 * MINUTE)

    assert list((await stores.conversations.work(person_id)).due_calls) == ["conv_old", "conv_new"]


async def test_work_of_others_is_not_ours(stores: Stores) -> None:
    person_id = await stores.due_call()
    await stores.queue_opening(person_id)
    other = await stores.receive(inbound("SM9", identities=["+573001112233"], phone_number="+573001112233"))

    assert (await stores.conversations.work(person_id)).pending == []
    work = await stores.conversations.work(other.person_id)
    assert [message.sid for message in work.pending] == ["SM9"]
    assert list(work.due_calls) == []


# --- Openings ---------------------------------------------------------------------------------------------


async def test_an_opening_is_queued_once(stores: Stores) -> None:
    person_id = await stores.due_call()

    assert await stores.queue_opening(person_id, template=TEMPLATE)
    assert not await stores.queue_opening(person_id, template=TEMPLATE)

    assert not await stores.is_due(person_id)
    (message,) = await stores.lane(person_id)
    assert (message.purpose, message.text, message.address) == (Purpose.OPENING, "Hola, Ana.", ANA)
    assert (message.template, message.must_use_template) == (TEMPLATE, False)
    assert (message.person_id, message.created_at) == (person_id, NOW)


async def test_an_opening_is_not_queued_for_a_conversation_that_is_not_the_calls(stores: Stores) -> None:
    person_id = await stores.due_call()
    other = await stores.receive(inbound("SM9", identities=["MX.1A2B"], phone_number=None))
    opening = Opening(
        call_id="conv_1",
        conversation_id=await stores.conversation_id(other.person_id),
        address=ANA,
        text="Hola",
    )

    assert not await stores.conversations.queue_opening(opening, now=NOW)

    assert await stores.is_due(person_id)
    assert await stores.lane(other.person_id) == []


async def test_a_dropped_opening_is_not_due_any_more(stores: Stores) -> None:
    person_id = await stores.due_call()

    await stores.conversations.drop_opening("conv_1", reason="no text for this outcome")

    assert await stores.peek.call("conv_1") == CallState("none", "no text for this outcome")
    assert await stores.recovery.people_with_work(now=NOW, after=0, limit=10) == []
    assert not await stores.queue_opening(person_id)


async def test_a_queued_opening_cannot_be_dropped(stores: Stores) -> None:
    person_id = await stores.due_call()
    await stores.queue_opening(person_id)

    await stores.conversations.drop_opening("conv_1", reason="too late")

    assert await stores.peek.call("conv_1") == CallState("queued")
    assert len(await stores.lane(person_id)) == 1


# --- Answers ----------------------------------------------------------------------------------------------


async def test_an_answer_goes_out_in_order_and_settles_its_messages(stores: Stores) -> None:
    person_id = await stores.new_person("SM1")
    await stores.receive(inbound("SM2"))
    work = await stores.conversations.work(person_id)
    assert work.conversation_id is not None
    pieces = [f"parte {number}" for number in range(20)]

    assert await stores.conversations.answer(
        work.conversation_id,
        [message.id for message in work.pending],
        Answer(address=ANA, pieces=pieces, template=TEMPLATE),
        now=NOW + MINUTE,
    )

    assert (await stores.conversations.work(person_id)).pending == []
    sent = await stores.lane(person_id)
    assert [message.text for message in sent] == pieces
    assert {(m.purpose, m.address, m.created_at) for m in sent} == {(Purpose.ANSWER, ANA, NOW + MINUTE)}
    assert all(message.template == TEMPLATE for message in sent)


async def test_an_answer_to_answered_messages_sends_nothing(stores: Stores) -> None:
    person_id = await stores.new_person()
    (message,) = (await stores.conversations.work(person_id)).pending
    conversation_id = await stores.conversation_id(person_id)
    assert await stores.conversations.answer(conversation_id, [message.id], answer("uno"), now=NOW)

    assert not await stores.conversations.answer(conversation_id, [message.id], answer("dos"), now=NOW)

    assert [sent.text for sent in await stores.lane(person_id)] == ["uno"]


async def test_an_answer_counts_if_one_of_its_messages_still_waits(stores: Stores) -> None:
    person_id = await stores.new_person("SM1")
    conversation_id = await stores.conversation_id(person_id)
    (first,) = (await stores.conversations.work(person_id)).pending
    await stores.conversations.answer(conversation_id, [first.id], answer("uno"), now=NOW)
    await stores.receive(inbound("SM2"))
    (second,) = (await stores.conversations.work(person_id)).pending

    assert await stores.conversations.answer(conversation_id, [first.id, second.id], answer("dos"), now=NOW)

    assert [sent.text for sent in await stores.lane(person_id)] == ["uno", "dos"]


async def test_an_answer_leaves_later_messages_waiting(stores: Stores) -> None:
    person_id = await stores.new_person("SM1")
    (first,) = (await stores.conversations.work(person_id)).pending
    await stores.receive(inbound("SM2"))

    conversation_id = await stores.conversation_id(person_id)
    await stores.conversations.answer(conversation_id, [first.id], answer("uno"), now=NOW)

    assert [m.sid for m in (await stores.conversations.work(person_id)).pending] == ["SM2"]


async def test_an_empty_answer_settles_its_messages(stores: Stores) -> None:
    person_id = await stores.new_person()
    (message,) = (await stores.conversations.work(person_id)).pending
    conversation_id = await stores.conversation_id(person_id)

    assert await stores.conversations.answer(conversation_id, [message.id], answer(), now=NOW)

    assert (await stores.conversations.work(person_id)).pending == []
    assert await stores.lane(person_id) == []


async def test_an_answer_ends_a_row_of_failures(stores: Stores) -> None:
    person_id = await stores.new_person("SM1")
    (message,) = (await stores.conversations.work(person_id)).pending
    await stores.receive(inbound("SM2"))
    conversation_id = await stores.conversation_id(person_id)
    await stores.conversations.defer_turn(conversation_id, answer(), retry_at=NOW + 60 * MINUTE, now=NOW)

    await stores.conversations.answer(conversation_id, [message.id], answer("uno"), now=NOW)

    assert (await stores.conversations.work(person_id)).turn_failures == 0
    assert await stores.recovery.people_with_work(now=NOW, after=0, limit=10) == [person_id]


async def test_a_belated_part_follows_the_answer(stores: Stores) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno")
    await stores.queue(person_id, "dos", "tres", template=TEMPLATE)

    sent = await stores.lane(person_id)

    assert [(m.text, m.template) for m in sent] == [("uno", None), ("dos", TEMPLATE), ("tres", TEMPLATE)]
    assert {message.purpose for message in sent} == {Purpose.ANSWER}


# --- Turns that failed ------------------------------------------------------------------------------------


async def test_a_deferred_turn_is_counted_and_sends_its_fallback(stores: Stores) -> None:
    person_id = await stores.new_person()
    conversation_id = await stores.conversation_id(person_id)

    await stores.conversations.defer_turn(
        conversation_id, answer("Un momento."), retry_at=NOW + MINUTE, now=NOW
    )
    await stores.conversations.defer_turn(conversation_id, answer(), retry_at=NOW + 2 * MINUTE, now=NOW)

    work = await stores.conversations.work(person_id)
    assert work.turn_failures == 2
    assert len(work.pending) == 1
    sent = await stores.lane(person_id)
    assert [(message.purpose, message.text) for message in sent] == [(Purpose.FALLBACK, "Un momento.")]


async def test_a_deferred_turn_is_left_until_its_time(stores: Stores) -> None:
    person_id = await stores.new_person()
    await stores.conversations.defer_turn(
        await stores.conversation_id(person_id), answer(), retry_at=NOW + MINUTE, now=NOW
    )

    assert await stores.recovery.people_with_work(now=NOW, after=0, limit=10) == []
    assert await stores.recovery.people_with_work(now=NOW + MINUTE, after=0, limit=10) == [person_id]


# --- The end ----------------------------------------------------------------------------------------------


async def test_a_close_drops_what_is_pending_from_the_work(stores: Stores) -> None:
    person_id = await stores.new_person("SM1")
    await stores.due_call()
    await stores.queue(person_id, "en camino")
    (message,) = (await stores.conversations.work(person_id)).pending
    conversation_id = await stores.conversation_id(person_id)

    await stores.conversations.close(conversation_id, now=NOW)

    assert await stores.conversations.work(person_id) == NOTHING_WAITS
    assert await stores.peek.call("conv_1") == CallState("none", "conversation closed before the opening")
    assert await stores.recovery.people_with_work(now=NOW, after=0, limit=10) == []
    assert not await stores.conversations.answer(conversation_id, [message.id], answer("uno"), now=NOW)
    assert [sent.text for sent in await stores.lane(person_id)] == ["en camino"]


async def test_after_a_close_a_call_opens_another_conversation(stores: Stores) -> None:
    person_id = await stores.new_person("SM1")
    closed_id = await stores.conversation_id(person_id)
    await stores.conversations.close(closed_id, now=NOW)

    assert await stores.due_call() == person_id

    work = await stores.conversations.work(person_id)
    assert work.conversation_id != closed_id
    assert list(work.due_calls) == ["conv_1"]
    assert work.pending == []


async def test_a_second_close_changes_nothing(stores: Stores) -> None:
    person_id = await stores.new_person("SM1")
    conversation_id = await stores.conversation_id(person_id)
    await stores.conversations.close(conversation_id, now=NOW)
    await stores.receive(inbound("SM2"))

    await stores.conversations.close(conversation_id, now=NOW)

    assert [m.sid for m in (await stores.conversations.work(person_id)).pending] == ["SM2"]


async def test_a_session_is_remembered_without_touching_the_work(stores: Stores) -> None:
    person_id = await stores.new_person()
    before = await stores.conversations.work(person_id)

    await stores.conversations.save_session(
        await stores.conversation_id(person_id), agent_conversation_id="conv_a"
    )

    assert await stores.conversations.work(person_id) == before
