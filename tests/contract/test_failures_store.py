"""The port `OutboxStore`: what follows when a message fails, at once or after it was accepted."""

from datetime import timedelta

import pytest

from actors.failures import pause_s, told
from actors.messages import DeliveryStatus, Outgoing, Reported, Template
from tests.contract.peeking import CallState, MessageState
from tests.contract.stores import ANA, ANA_CANONICAL, MINUTE, NOW, TEMPLATE, Stores, inbound, report

DAY = timedelta(days=1)
PAUSE = timedelta(seconds=pause_s(63018, 0))
LATER = NOW + 2 * DAY


async def accepted(stores: Stores, message: Outgoing, sid: str = "SM8") -> Outgoing:
    await stores.outbox.accepted(message.id, sid=sid, now=NOW)
    return message


async def fail(stores: Stores, code: int | None, sid: str = "SM8") -> Reported:
    reported = await stores.outbox.report(
        report(sid, DeliveryStatus.FAILED, error_code=code), now=NOW, give_up_after=DAY
    )
    assert reported is not None
    return reported


async def answer_accepted(stores: Stores, *, template: Template | None = None) -> Outgoing:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno", template=template)
    return await accepted(stores, await stores.claim(person_id))


async def opening_accepted(stores: Stores) -> Outgoing:
    person_id = await stores.due_call()
    await stores.queue_opening(person_id, template=TEMPLATE)
    return await accepted(stores, await stores.claim(person_id))


# --- After acceptance -------------------------------------------------------------------------------------


async def test_what_may_go_later_goes_again_after_a_pause_and_once(stores: Stores) -> None:
    message = await answer_accepted(stores)

    reported = await fail(stores, 63018)

    assert (reported.id, reported.is_repeated, reported.again_at) == (message.id, True, NOW + PAUSE)
    again = report("SM8", DeliveryStatus.UNDELIVERED, error_code=63018)
    assert await stores.outbox.report(again, now=NOW, give_up_after=DAY) is None
    assert await stores.outbox.claim(message.person_id, now=NOW + PAUSE - MINUTE) is None
    (lane,) = await stores.outbox.lanes(limit=10, exclude=())
    assert (lane.in_doubt_since, lane.not_before) == (None, NOW + PAUSE)
    repeated = await stores.claim(message.person_id, at=NOW + PAUSE)
    assert (repeated.text, repeated.address, repeated.attempts) == ("uno", ANA, 0)
    assert repeated.id != message.id
    assert repeated.created_at == message.created_at
    await accepted(stores, repeated, "SM9")
    assert await stores.outbox.lanes(limit=10, exclude=()) == []
    assert await stores.peek.message(message.id) == MessageState("failed", "SM8", 63018)


async def test_pauses_grow_with_each_repetition(stores: Stores) -> None:
    message = await answer_accepted(stores)
    first = await fail(stores, 63018)
    await accepted(stores, await stores.claim(message.person_id, at=LATER), "SM9")

    second = await fail(stores, 63018, "SM9")

    assert first.again_at is not None
    assert second.again_at == NOW + 2 * (first.again_at - NOW)


async def test_after_the_last_repetition_it_is_over(stores: Stores) -> None:
    message = await answer_accepted(stores)
    failures = 0
    while (await fail(stores, 30036, f"SM{8 + failures}")).is_repeated:
        failures += 1
        await accepted(stores, await stores.claim(message.person_id, at=LATER), f"SM{8 + failures}")

    assert failures == 2
    assert await stores.outbox.lanes(limit=10, exclude=()) == []


async def test_what_has_grown_too_old_does_not_go_again(stores: Stores) -> None:
    await answer_accepted(stores)

    reported = await stores.outbox.report(
        report("SM8", DeliveryStatus.FAILED, error_code=63018), now=NOW + DAY, give_up_after=DAY
    )

    assert reported is not None
    assert not reported.is_repeated


@pytest.mark.parametrize("code", [None, 63024, 63049, 63040, 99999])
async def test_what_would_fail_again_does_not_go_again(stores: Stores, code: int | None) -> None:
    message = await answer_accepted(stores)

    assert not (await fail(stores, code)).is_repeated

    assert await stores.outbox.lanes(limit=10, exclude=()) == []
    assert await stores.peek.message(message.id) == MessageState("failed", "SM8", code)


async def test_a_number_that_is_not_found_is_tried_by_its_other_spelling_once(stores: Stores) -> None:
    message = await answer_accepted(stores)
    assert message.address == ANA

    assert (await fail(stores, 63003)).is_repeated

    again = await accepted(stores, await stores.claim(message.person_id), "SM9")
    assert (again.text, again.address) == ("uno", ANA_CANONICAL)
    assert not (await fail(stores, 63003, "SM9")).is_repeated


async def test_a_spelling_that_is_not_found_is_not_tried_again_after_a_pause_either(stores: Stores) -> None:
    message = await answer_accepted(stores)
    await fail(stores, 63003)
    await accepted(stores, await stores.claim(message.person_id), "SM9")
    await fail(stores, 63012, "SM9")
    await accepted(stores, await stores.claim(message.person_id, at=LATER), "SM10")

    assert not (await fail(stores, 63003, "SM10")).is_repeated


async def test_a_report_tells_in_which_form_a_message_went(stores: Stores) -> None:
    opening = await opening_accepted(stores)
    assert opening.as_template
    delivered = await stores.outbox.report(report("SM8", DeliveryStatus.DELIVERED), now=NOW)
    assert delivered is not None
    assert (delivered.template_sid, delivered.accepted_at) == (TEMPLATE.sid, NOW)

    await stores.receive(inbound("SM1"))
    await stores.queue(opening.person_id, "uno", template=TEMPLATE)
    text = await accepted(stores, await stores.claim(opening.person_id), "SM9")

    assert not text.as_template
    delivered = await stores.outbox.report(report("SM9", DeliveryStatus.DELIVERED), now=NOW)
    assert delivered is not None
    assert delivered.template_sid is None


# --- At once ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "is_repeated"), [(63003, True), (21211, False), (63018, False)])
async def test_a_refusal_is_followed_where_another_form_may_do(
    stores: Stores, code: int, *, is_repeated: bool
) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno")
    message = await stores.claim(person_id)

    assert await stores.outbox.refused(message.id, code=code, detail="x", now=NOW) is is_repeated

    again = await stores.outbox.claim(person_id, now=NOW)
    assert (again is not None) is is_repeated
    if again is not None:
        assert again.address == ANA_CANONICAL


# --- The call of an opening -------------------------------------------------------------------------------


async def test_a_call_waits_again_while_its_opening_does(stores: Stores) -> None:
    opening = await opening_accepted(stores)
    assert await stores.peek.call("conv_1") == CallState("handled")

    await fail(stores, 63018)

    assert await stores.peek.call("conv_1") == CallState("queued")
    await accepted(stores, await stores.claim(opening.person_id, at=LATER), "SM9")
    assert await stores.peek.call("conv_1") == CallState("handled")


@pytest.mark.parametrize("code", [63024, None])
async def test_a_call_whose_opening_failed_for_good_says_why(stores: Stores, code: int | None) -> None:
    await opening_accepted(stores)

    await fail(stores, code)

    assert await stores.peek.call("conv_1") == CallState("refused", told(code))


async def test_an_acceptance_that_comes_after_the_failure_does_not_handle_the_call(stores: Stores) -> None:
    person_id = await stores.due_call()
    await stores.queue_opening(person_id)
    opening = await stores.claim(person_id)
    failure = report("SM8", DeliveryStatus.FAILED, message_id=opening.id, error_code=63018)
    await stores.outbox.report(failure, now=NOW)

    assert await stores.outbox.accepted(opening.id, sid="SM8", now=NOW)

    assert await stores.peek.call("conv_1") == CallState("queued")


# --- Whoever writes meanwhile -----------------------------------------------------------------------------


async def test_what_went_as_a_template_goes_as_text_once_the_person_has_written(stores: Stores) -> None:
    opening = await opening_accepted(stores)
    await fail(stores, 63018)
    assert await stores.outbox.claim(opening.person_id, now=NOW + MINUTE) is None

    await stores.receive(inbound("SM1"), at=NOW + MINUTE)

    (lane,) = await stores.outbox.lanes(limit=10, exclude=())
    assert lane.not_before == NOW
    again = await stores.claim(opening.person_id, at=NOW + MINUTE)
    assert (again.text, again.as_template) == (opening.text, False)
    await accepted(stores, again, "SM9")
    await fail(stores, 63018, "SM9")
    await stores.receive(inbound("SM2"), at=NOW + 2 * MINUTE)
    assert await stores.outbox.claim(opening.person_id, now=NOW + 2 * MINUTE) is None


async def test_what_must_be_a_template_goes_as_text_once_the_person_has_written(stores: Stores) -> None:
    message = await answer_accepted(stores, template=TEMPLATE)
    assert not message.as_template
    await fail(stores, 63016)
    await stores.receive(inbound("SM2"), at=NOW + MINUTE)

    again = await stores.claim(message.person_id, at=NOW + MINUTE)

    assert (again.must_use_template, again.as_template) == (False, False)
