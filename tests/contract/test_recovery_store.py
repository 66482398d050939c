"""The port `RecoveryStore`: who has work that no nudge may have told of."""

from actors.ports import Answer
from tests.contract.stores import ANA, MINUTE, NOW, TEXT_AGENT, Stores, inbound


async def many(stores: Stores, count: int) -> list[int]:
    people = []
    for number in range(count):
        phone = f"+5730011122{number:02}"
        received = await stores.receive(inbound(f"SM-{number}", identities=[phone], phone_number=phone))
        people.append(received.person_id)
    return people


async def test_nobody_has_work_at_first(stores: Stores) -> None:
    assert await stores.recovery.people_with_work(now=NOW, after=0, limit=10) == []


async def test_whoever_waits_for_an_answer_has_work(stores: Stores) -> None:
    person_id = await stores.new_person("SM1")
    await stores.receive(inbound("SM2"))
    assert await stores.recovery.people_with_work(now=NOW, after=0, limit=10) == [person_id]

    work = await stores.conversations.work(person_id)
    assert work.conversation_id is not None
    await stores.conversations.answer(
        work.conversation_id, [m.id for m in work.pending], Answer(address=ANA, pieces=["uno"]), now=NOW
    )

    assert await stores.recovery.people_with_work(now=NOW, after=0, limit=10) == []


async def test_whoever_waits_for_an_opening_has_work(stores: Stores) -> None:
    person_id = await stores.due_call()
    await stores.new_person("SM1")
    assert await stores.recovery.people_with_work(now=NOW, after=0, limit=10) == [person_id]

    conversation_id = await stores.conversation_id(person_id)
    nothing = Answer(address=ANA, pieces=())
    await stores.conversations.defer_turn(conversation_id, nothing, retry_at=NOW + MINUTE, now=NOW)
    # The turn may wait; the opening need not.
    assert await stores.recovery.people_with_work(now=NOW, after=0, limit=10) == [person_id]

    await stores.queue_opening(person_id)
    assert await stores.recovery.people_with_work(now=NOW, after=0, limit=10) == []
    assert await stores.recovery.people_with_work(now=NOW + MINUTE, after=0, limit=10) == [person_id]


async def test_openings_come_page_by_page_too(stores: Stores) -> None:
    caller = await stores.due_call()
    writer = (await many(stores, 1))[0]
    assert caller < writer

    assert await stores.recovery.people_with_work(now=NOW, after=0, limit=1) == [caller]
    assert await stores.recovery.people_with_work(now=NOW, after=caller, limit=1) == [writer]


async def test_people_come_in_the_order_of_their_ids_page_by_page(stores: Stores) -> None:
    people = await many(stores, 5)

    first = await stores.recovery.people_with_work(now=NOW, after=0, limit=2)
    second = await stores.recovery.people_with_work(now=NOW, after=first[-1], limit=2)
    third = await stores.recovery.people_with_work(now=NOW, after=second[-1], limit=2)

    assert [*first, *second, *third] == sorted(people)
    assert await stores.recovery.people_with_work(now=NOW, after=third[-1], limit=2) == []


async def put_off(stores: Stores, people: list[int]) -> None:
    for person_id in people:
        await stores.conversations.defer_turn(
            await stores.conversation_id(person_id),
            Answer(address=ANA, pieces=()),
            retry_at=NOW + MINUTE,
            now=NOW,
        )


async def test_whose_turn_was_put_off_can_be_readmitted_page_by_page(stores: Stores) -> None:
    people = await many(stores, 5)
    await put_off(stores, people[1:])
    assert await stores.recovery.people_with_work(now=NOW, after=0, limit=10) == people[:1]

    assert await stores.recovery.readmit(TEXT_AGENT, after=0, limit=2) == people[1:3]
    assert await stores.recovery.people_with_work(now=NOW, after=0, limit=10) == people[:3]
    assert await stores.recovery.readmit(None, after=people[2], limit=10) == people[3:]
    assert await stores.recovery.readmit(None, after=0, limit=10) == []


async def test_those_of_another_agent_are_not_readmitted(stores: Stores) -> None:
    people = await many(stores, 1)
    await put_off(stores, people)

    assert await stores.recovery.readmit("agent_other", after=0, limit=10) == []
    assert await stores.recovery.people_with_work(now=NOW, after=0, limit=10) == []


async def test_who_was_put_off_counts_until_the_answer_or_the_end(stores: Stores) -> None:
    people = await many(stores, 4)
    assert await stores.recovery.people_unanswered() == 0
    await put_off(stores, people[1:])
    assert await stores.recovery.people_unanswered() == 3
    await stores.recovery.readmit(None, after=0, limit=1)
    assert await stores.recovery.people_unanswered() == 3

    work = await stores.conversations.work(people[1])
    assert work.conversation_id is not None
    ids = [message.id for message in work.pending]
    await stores.conversations.answer(work.conversation_id, ids, Answer(address=ANA, pieces=["uno"]), now=NOW)
    await stores.conversations.close(await stores.conversation_id(people[2]), now=NOW)
    assert await stores.recovery.people_unanswered() == 1
