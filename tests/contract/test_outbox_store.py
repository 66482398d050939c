"""The port `OutboxStore`: one lane per person, and statuses that only move forward."""

from datetime import datetime

import pytest

from actors.messages import DeliveryStatus, Outgoing, Purpose
from actors.ports import Lane
from tests.contract.peeking import CallState, MessageState
from tests.contract.stores import (
    ANA,
    MINUTE,
    NOW,
    TEMPLATE,
    Stores,
    inbound,
    report,
)


async def lanes(stores: Stores, *, limit: int = 10, exclude: set[int] | None = None) -> list[Lane]:
    return list(await stores.outbox.lanes(limit=limit, exclude=exclude or set()))


def an_answer(
    person_id: int, *, in_doubt_since: datetime | None = None, not_before: datetime | None = None
) -> Lane:
    return Lane(
        person_id=person_id, purpose=Purpose.ANSWER, in_doubt_since=in_doubt_since, not_before=not_before
    )


async def two_people(stores: Stores) -> tuple[int, int]:
    ana = await stores.new_person("SM1")
    other = await stores.receive(inbound("SM2", identities=["+573001112233"], phone_number="+573001112233"))
    return ana, other.person_id


# --- Lanes ------------------------------------------------------------------------------------------------


async def test_a_lane_is_there_while_anything_is_left_to_send(stores: Stores) -> None:
    person_id = await stores.new_person()
    assert await lanes(stores) == []
    await stores.queue(person_id, "uno", "dos")
    assert await lanes(stores) == [an_answer(person_id)]

    await stores.lane(person_id)

    assert await lanes(stores) == []


async def test_a_lane_shows_its_head_alone(stores: Stores) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno", "dos")
    await stores.claim(person_id, at=NOW + MINUTE)
    assert await lanes(stores) == [an_answer(person_id, in_doubt_since=NOW + MINUTE)]

    head = await stores.outbox.in_doubt(person_id)
    assert head is not None
    await stores.outbox.release(head.id, not_before=NOW + 5 * MINUTE)

    assert await lanes(stores) == [an_answer(person_id, not_before=NOW + 5 * MINUTE)]


async def test_what_never_had_to_wait_is_due_whatever_the_clock_says(stores: Stores) -> None:
    """The clock was ahead while it was queued."""
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno")

    (lane,) = await lanes(stores)

    assert lane.not_before is None
    assert (await stores.claim(person_id, at=NOW - 60 * MINUTE)).text == "uno"


async def test_lanes_come_longest_waiting_first(stores: Stores) -> None:
    ana, other = await two_people(stores)
    await stores.queue(ana, "uno")
    await stores.queue(other, "dos")
    assert [lane.person_id for lane in await lanes(stores)] == [ana, other]

    await stores.outbox.release((await stores.claim(ana)).id, not_before=NOW + MINUTE)

    assert [lane.person_id for lane in await lanes(stores)] == [other, ana]
    assert [lane.person_id for lane in await lanes(stores, limit=1)] == [other]
    assert [lane.person_id for lane in await lanes(stores, exclude={other})] == [ana]


async def test_a_lane_of_openings_tells_so_until_something_else_is_in_it(stores: Stores) -> None:
    person_id = await stores.due_call()
    await stores.queue_opening(person_id)
    assert [lane.purpose for lane in await lanes(stores)] == [Purpose.OPENING]

    await stores.queue(person_id, "uno")
    assert await lanes(stores) == [an_answer(person_id)]

    await stores.outbox.accepted((await stores.claim(person_id)).id, sid="SM8", now=NOW)
    assert await lanes(stores) == [an_answer(person_id)]


async def test_openings_hide_no_answers_and_answers_no_openings(stores: Stores) -> None:
    ana = await stores.due_call()
    await stores.queue_opening(ana)
    numbers = ("+573001112233", "+573001112244")
    first, second = [
        (await stores.receive(inbound(f"SM{n}", identities=[n], phone_number=n))).person_id for n in numbers
    ]
    await stores.queue(first, "uno")
    await stores.queue(second, "dos")

    assert [lane.person_id for lane in await lanes(stores, limit=1)] == [ana, first]
    assert [lane.person_id for lane in await lanes(stores, limit=1, exclude={ana})] == [first]


# --- Claims -----------------------------------------------------------------------------------------------


async def test_a_claim_takes_the_head_and_marks_it_as_being_sent(stores: Stores) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno", "dos", template=TEMPLATE)

    message = await stores.claim(person_id, at=NOW + MINUTE)

    assert message == Outgoing(
        id=message.id,
        person_id=person_id,
        conversation_id=await stores.conversation_id(person_id),
        address=ANA,
        purpose=Purpose.ANSWER,
        text="uno",
        template=TEMPLATE,
        must_use_template=False,
        attempts=0,
        created_at=NOW,
        sending_since=NOW + MINUTE,
        window_opened_at=NOW,
    )
    assert await stores.outbox.in_doubt(person_id) == message


async def test_nothing_else_of_a_lane_goes_while_one_is_being_sent(stores: Stores) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno", "dos")
    await stores.claim(person_id)

    assert await stores.outbox.claim(person_id, now=NOW) is None


async def test_an_empty_lane_has_nothing_to_claim(stores: Stores) -> None:
    person_id = await stores.new_person()

    assert await stores.outbox.claim(person_id, now=NOW) is None
    assert await stores.outbox.in_doubt(person_id) is None


async def test_the_window_is_the_newest_message_of_the_person(stores: Stores) -> None:
    ana, other = await two_people(stores)
    await stores.receive(inbound("SM3"), at=NOW + MINUTE)
    await stores.queue(ana, "uno")
    await stores.queue(other, "dos")

    assert (await stores.claim(ana)).window_opened_at == NOW + MINUTE
    assert (await stores.claim(other)).window_opened_at == NOW


async def test_whoever_never_wrote_has_no_window(stores: Stores) -> None:
    person_id = await stores.due_call()
    await stores.queue_opening(person_id)

    assert (await stores.claim(person_id)).window_opened_at is None


async def test_a_released_message_waits_at_the_head_of_its_lane(stores: Stores) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno", "dos")
    first = await stores.claim(person_id)

    await stores.outbox.release(first.id, not_before=NOW + MINUTE)

    assert await stores.outbox.in_doubt(person_id) is None
    assert await stores.outbox.claim(person_id, now=NOW) is None
    again = await stores.claim(person_id, at=NOW + MINUTE)
    assert (again.id, again.attempts, again.sending_since) == (first.id, 1, NOW + MINUTE)


async def test_only_what_is_being_sent_can_be_released(stores: Stores) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno")
    message = await stores.claim(person_id)
    await stores.outbox.accepted(message.id, sid="SM8", now=NOW)

    await stores.outbox.release(message.id, not_before=NOW)

    assert await lanes(stores) == []


# --- Ends -------------------------------------------------------------------------------------------------


async def test_acceptance_tells_whether_the_lane_has_more(stores: Stores) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno", "dos")

    assert await stores.outbox.accepted((await stores.claim(person_id)).id, sid="SM8", now=NOW)
    assert not await stores.outbox.accepted((await stores.claim(person_id)).id, sid="SM9", now=NOW)

    assert set(await stores.outbox.known_sids(["SM7", "SM8", "SM9"])) == {"SM8", "SM9"}


async def test_known_sids_are_those_of_messages_in_and_out(stores: Stores) -> None:
    person_id = await stores.new_person("SM1")
    await stores.queue(person_id, "uno")
    await stores.outbox.accepted((await stores.claim(person_id)).id, sid="SM8", now=NOW)

    assert set(await stores.outbox.known_sids(["SM1", "SM8", "SM9"])) == {"SM1", "SM8"}
    assert set(await stores.outbox.known_sids([])) == set()


async def test_acceptance_after_a_status_keeps_the_status(stores: Stores) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno")
    message = await stores.claim(person_id)
    await stores.outbox.report(report("SM8", DeliveryStatus.FAILED, message_id=message.id), now=NOW)

    assert not await stores.outbox.accepted(message.id, sid="SM8", now=NOW)

    assert await stores.peek.message(message.id) == MessageState("failed", "SM8")


async def test_a_refusal_is_final_and_lets_the_lane_go_on(stores: Stores) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno", "dos")

    assert await stores.outbox.refused((await stores.claim(person_id)).id, code=21211, detail="x", now=NOW)
    second = await stores.claim(person_id)
    assert not await stores.outbox.refused(second.id, code=21212, detail="x", now=NOW)

    assert second.text == "dos"
    assert await lanes(stores) == []
    assert await stores.peek.message(second.id) == MessageState("refused", None, 21212)


async def test_a_refusal_comes_too_late_for_an_accepted_message(stores: Stores) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno")
    message = await stores.claim(person_id)
    await stores.outbox.report(report("SM8", None, message_id=message.id), now=NOW)

    await stores.outbox.refused(message.id, code=21211, detail="x", now=NOW)

    assert await stores.peek.message(message.id) == MessageState("accepted", "SM8")


# --- Openings ---------------------------------------------------------------------------------------------


async def opening_under_way(stores: Stores) -> Outgoing:
    person_id = await stores.due_call()
    await stores.queue_opening(person_id)
    assert await stores.peek.call("conv_1") == CallState("queued")
    return await stores.claim(person_id)


async def test_a_call_is_handled_once_its_opening_is_accepted_and_not_before(stores: Stores) -> None:
    opening = await opening_under_way(stores)
    assert await stores.peek.call("conv_1") == CallState("queued")

    assert not await stores.outbox.accepted(opening.id, sid="SM8", now=NOW)

    assert await stores.peek.call("conv_1") == CallState("handled")


@pytest.mark.parametrize("status", [None, DeliveryStatus.SENT, DeliveryStatus.DELIVERED])
async def test_a_report_proves_that_an_opening_was_accepted(
    stores: Stores, status: DeliveryStatus | None
) -> None:
    opening = await opening_under_way(stores)

    await stores.outbox.report(report("SM8", status, message_id=opening.id), now=NOW)

    assert await stores.peek.call("conv_1") == CallState("handled")


async def test_a_call_whose_opening_is_refused_is_refused_with_the_reason(stores: Stores) -> None:
    opening = await opening_under_way(stores)

    await stores.outbox.refused(opening.id, code=21610, detail="opted out", now=NOW)

    assert await stores.peek.call("conv_1") == CallState("refused", "21610: opted out")


async def test_a_call_whose_opening_fails_later_is_queued_again_or_refused(stores: Stores) -> None:
    person_id = await stores.due_call()
    await stores.queue_opening(person_id, template=TEMPLATE)
    opening = await stores.claim(person_id)
    await stores.outbox.accepted(opening.id, sid="SM8", now=NOW)
    await stores.outbox.report(report("SM8", DeliveryStatus.FAILED, error_code=63016), now=NOW)
    assert await stores.peek.call("conv_1") == CallState("queued")
    again = await stores.claim(person_id)

    await stores.outbox.refused(again.id, code=63024, detail="no WhatsApp", now=NOW)

    assert await stores.peek.call("conv_1") == CallState("refused", "63024: no WhatsApp")


async def test_an_answer_settles_no_call(stores: Stores) -> None:
    person_id = await stores.due_call()
    await stores.queue(person_id, "uno")
    await stores.queue_opening(person_id)

    await stores.outbox.accepted((await stores.claim(person_id)).id, sid="SM8", now=NOW)

    assert await stores.peek.call("conv_1") == CallState("queued")
