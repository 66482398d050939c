"""The port `OutboxStore`: what Twilio reports of a message, and what follows from a closed window."""

from itertools import permutations

import pytest

from actors.messages import DeliveryStatus, Outgoing, StatusReport, Template
from tests.contract.peeking import MessageState
from tests.contract.stores import MINUTE, NOW, TEMPLATE, Stores, inbound, report

CLOSED_WINDOW = report("SM8", DeliveryStatus.FAILED, error_code=63016)
CLOSED_WINDOW_OF_SM9 = report("SM9", DeliveryStatus.FAILED, error_code=63016)


# --- Status reports ---------------------------------------------------------------------------------------


async def test_a_report_of_an_unknown_message_is_ignored(stores: Stores) -> None:
    await stores.new_person()

    assert await stores.outbox.report(report("SM8", DeliveryStatus.SENT), now=NOW) is None
    assert await stores.outbox.report(report("SM8", DeliveryStatus.SENT, message_id=99), now=NOW) is None

    assert set(await stores.outbox.known_sids(["SM8"])) == set()


@pytest.mark.parametrize("status", [None, DeliveryStatus.SENT, DeliveryStatus.READ, DeliveryStatus.FAILED])
async def test_a_report_settles_a_message_in_doubt(stores: Stores, status: DeliveryStatus | None) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno", "dos")
    first = await stores.claim(person_id)

    reported = await stores.outbox.report(report("SM8", status, message_id=first.id), now=NOW)

    assert reported is not None
    assert (reported.id, reported.is_repeated) == (first.id, False)
    assert await stores.outbox.in_doubt(person_id) is None
    expected = (status or DeliveryStatus.ACCEPTED).label
    assert await stores.peek.message(first.id) == MessageState(expected, "SM8")
    assert (await stores.claim(person_id)).text == "dos"


async def test_a_report_settles_a_message_that_was_released_too_early(stores: Stores) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno")
    message = await stores.claim(person_id)
    await stores.outbox.release(message.id, not_before=NOW)

    await stores.outbox.report(report("SM8", DeliveryStatus.SENT, message_id=message.id), now=NOW)

    assert await stores.outbox.lanes(limit=10, exclude=()) == []


async def test_a_report_of_a_second_copy_leaves_the_message_alone(stores: Stores) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno")
    message = await stores.claim(person_id)
    await stores.outbox.accepted(message.id, sid="SM8", now=NOW)

    await stores.outbox.report(report("SM9", DeliveryStatus.FAILED, message_id=message.id), now=NOW)

    assert await stores.peek.message(message.id) == MessageState("accepted", "SM8")


async def test_a_report_of_a_refused_message_leaves_it_refused(stores: Stores) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno")
    message = await stores.claim(person_id)
    await stores.outbox.refused(message.id, code=21211, detail="x", now=NOW)

    await stores.outbox.report(report("SM8", DeliveryStatus.SENT, message_id=message.id), now=NOW)

    assert await stores.peek.message(message.id) == MessageState("refused", None, 21211)


async def test_a_report_does_not_touch_an_inbound_message(stores: Stores) -> None:
    person_id = await stores.new_person("SM1")

    await stores.outbox.report(report("SM1", DeliveryStatus.FAILED), now=NOW)

    assert len((await stores.conversations.work(person_id)).pending) == 1


async def sent_message(stores: Stores, *, template: Template | None = None) -> Outgoing:
    """Twilio has accepted a message as SM8."""
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno", template=template)
    message = await stores.claim(person_id)
    await stores.outbox.accepted(message.id, sid="SM8", now=NOW)
    return message


async def is_repeated(stores: Stores, arrived: StatusReport) -> bool:
    """Whether a message that has failed is followed by another."""
    reported = await stores.outbox.report(arrived, now=NOW)
    assert reported is not None
    return reported.is_repeated


ORDER = [DeliveryStatus.SENT, DeliveryStatus.DELIVERED, DeliveryStatus.READ, DeliveryStatus.FAILED]


@pytest.mark.parametrize("arrivals", list(permutations(ORDER)))
async def test_statuses_only_move_forward(stores: Stores, arrivals: tuple[DeliveryStatus, ...]) -> None:
    message = await sent_message(stores)
    for count, status in enumerate(arrivals, start=1):
        await stores.outbox.report(report("SM8", status, error_code=63024), now=NOW)
        furthest = max(arrivals[:count], key=ORDER.index)
        assert await stores.peek.message(message.id) == MessageState(
            furthest.label, "SM8", 63024 if furthest is DeliveryStatus.FAILED else None
        )


async def test_after_a_failure_no_other_failure_counts(stores: Stores) -> None:
    message = await sent_message(stores)
    await stores.outbox.report(report("SM8", DeliveryStatus.UNDELIVERED, error_code=63024), now=NOW)

    await stores.outbox.report(report("SM8", DeliveryStatus.FAILED, error_code=63018), now=NOW)

    assert await stores.peek.message(message.id) == MessageState("undelivered", "SM8", 63024)


async def test_a_status_without_news_changes_nothing(stores: Stores) -> None:
    message = await sent_message(stores)
    await stores.outbox.report(report("SM8", DeliveryStatus.SENT), now=NOW)

    await stores.outbox.report(report("SM8", None), now=NOW)

    assert await stores.peek.message(message.id) == MessageState("sent", "SM8")


# --- The 24-hour window -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [DeliveryStatus.FAILED, DeliveryStatus.UNDELIVERED])
async def test_a_message_that_met_a_closed_window_goes_again_as_its_template(
    stores: Stores, status: DeliveryStatus
) -> None:
    person_id = await stores.due_call()
    await stores.queue_opening(person_id, template=TEMPLATE)
    opening = await stores.claim(person_id)
    await stores.outbox.accepted(opening.id, sid="SM8", now=NOW)

    refusal = report("SM8", status, error_code=63016)
    reported = await stores.outbox.report(refusal, now=NOW + MINUTE)
    assert reported is not None
    assert (reported.person_id, reported.is_repeated, reported.again_at) == (person_id, True, None)
    assert await stores.outbox.report(refusal, now=NOW + MINUTE) is None

    conversation_id = await stores.conversation_id(person_id)
    assert await stores.peek.conversation_status(conversation_id) == "active"
    (again,) = await stores.lane(person_id)
    assert again.id != opening.id
    assert (again.purpose, again.text, again.address) == (opening.purpose, opening.text, opening.address)
    assert (again.template, again.must_use_template, again.created_at) == (TEMPLATE, True, NOW)


async def test_a_template_that_meets_a_closed_window_does_not_go_again(stores: Stores) -> None:
    person_id = (await sent_message(stores, template=TEMPLATE)).person_id
    await stores.outbox.report(report("SM8", DeliveryStatus.FAILED, error_code=63016), now=NOW)
    await stores.outbox.accepted((await stores.claim(person_id)).id, sid="SM9", now=NOW)

    assert not await is_repeated(stores, CLOSED_WINDOW_OF_SM9)

    assert await stores.outbox.lanes(limit=10, exclude=()) == []
    conversation_id = await stores.conversation_id(person_id)
    assert await stores.peek.conversation_status(conversation_id) == "window_closed"


async def test_without_a_template_the_window_is_closed_until_the_person_writes(stores: Stores) -> None:
    person_id = (await sent_message(stores)).person_id
    conversation_id = await stores.conversation_id(person_id)

    assert not await is_repeated(stores, CLOSED_WINDOW)

    assert await stores.outbox.lanes(limit=10, exclude=()) == []
    assert await stores.peek.conversation_status(conversation_id) == "window_closed"
    await stores.receive(inbound("SM1"))
    assert await stores.peek.conversation_status(conversation_id) == "window_closed"
    await stores.receive(inbound("SM2"))
    assert await stores.peek.conversation_status(conversation_id) == "active"


async def test_a_window_that_was_opened_meanwhile_is_not_closed(stores: Stores) -> None:
    person_id = (await sent_message(stores)).person_id
    conversation_id = await stores.conversation_id(person_id)
    await stores.receive(inbound("SM2"), at=NOW + MINUTE)

    await stores.outbox.report(CLOSED_WINDOW, now=NOW + MINUTE)

    assert await stores.peek.conversation_status(conversation_id) == "active"


async def test_a_closed_conversation_stays_closed(stores: Stores) -> None:
    person_id = (await sent_message(stores)).person_id
    conversation_id = await stores.conversation_id(person_id)
    await stores.conversations.close(conversation_id, now=NOW)

    await stores.outbox.report(CLOSED_WINDOW, now=NOW)

    assert await stores.peek.conversation_status(conversation_id) == "closed"


async def test_another_failure_sends_nothing_again(stores: Stores) -> None:
    await sent_message(stores, template=TEMPLATE)

    assert not await is_repeated(stores, report("SM8", DeliveryStatus.FAILED, error_code=63024))

    assert await stores.outbox.lanes(limit=10, exclude=()) == []


async def test_a_closed_window_of_a_message_in_doubt_is_met_too(stores: Stores) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno", template=TEMPLATE)
    message = await stores.claim(person_id)

    refusal = report("SM8", DeliveryStatus.UNDELIVERED, message_id=message.id, error_code=63016)
    assert await is_repeated(stores, refusal)

    assert (await stores.claim(person_id)).must_use_template
