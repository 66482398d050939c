"""The port `OutboxStore`: what follows when a message fails, at once or after it was accepted."""

from datetime import datetime, timedelta

import pytest

from actors.failures import pause_s, told
from actors.messages import DeliveryStatus, Outgoing, Purpose, Reported, Template
from tests.contract.peeking import CallState, MessageState
from tests.contract.stores import ANA, ANA_CANONICAL, MINUTE, NOW, TEMPLATE, Stores, inbound, report

DAY = timedelta(days=1)
PAUSE = timedelta(seconds=pause_s(63018, 0))
LATER = NOW + 2 * DAY


async def accepted(stores: Stores, message: Outgoing, sid: str = "SM8") -> Outgoing:
    await stores.outbox.accepted(message.id, sid=sid, now=NOW)
    return message


async def fail(stores: Stores, code: int | None, sid: str = "SM8", *, at: datetime = NOW) -> Reported:
    reported = await stores.outbox.report(
        report(sid, DeliveryStatus.FAILED, error_code=code), now=at, give_up_after=DAY
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
    assert lane.not_before is None
    again = await stores.claim(opening.person_id, at=NOW + MINUTE)
    assert (again.text, again.as_template) == (opening.text, False)
    await accepted(stores, again, "SM9")
    await fail(stores, 63018, "SM9", at=NOW + MINUTE)
    await stores.receive(inbound("SM2"), at=NOW + 2 * MINUTE)
    assert await stores.outbox.claim(opening.person_id, now=NOW + 2 * MINUTE) is None


async def test_what_must_be_a_template_goes_as_text_once_the_person_has_written(stores: Stores) -> None:
    message = await answer_accepted(stores, template=TEMPLATE)
    assert not message.as_template
    await fail(stores, 63016)
    await stores.receive(inbound("SM2"), at=NOW + MINUTE)

    again = await stores.claim(message.person_id, at=NOW + MINUTE)

    assert (again.must_use_template, again.as_template) == (False, False)


async def answer_that_waits(stores: Stores, *, template: Template | None = None) -> int:
    """A text that failed three times and waits for eight minutes from `NOW` on. The person's id."""
    person_id = (await answer_accepted(stores, template=template)).person_id
    await fail(stores, 63018)
    for sid in ("SM9", "SM10"):
        again = await stores.claim(person_id, at=NOW + 10 * MINUTE)
        assert not again.as_template
        await accepted(stores, again, sid)
        await fail(stores, 63018, sid)
    assert 4 * PAUSE == 8 * MINUTE
    return person_id


@pytest.mark.parametrize("template", [None, TEMPLATE])
async def test_a_text_that_waits_goes_a_minute_after_the_person_wrote_and_before_the_answer(
    stores: Stores, template: Template | None
) -> None:
    person_id = await answer_that_waits(stores, template=template)
    assert await stores.outbox.claim(person_id, now=NOW + 7 * MINUTE) is None

    await stores.receive(inbound("SM2"), at=NOW + MINUTE)
    await stores.queue(person_id, "dos", template=template)

    (lane,) = await stores.outbox.lanes(limit=10, exclude=())
    assert lane.not_before == NOW + 2 * MINUTE
    assert await stores.outbox.claim(person_id, now=NOW + MINUTE) is None
    for text in ("uno", "dos"):
        message = await stores.claim(person_id, at=NOW + 2 * MINUTE)
        assert (message.text, message.as_template) == (text, False)
        await accepted(stores, message, f"SM-{text}")


async def test_whoever_goes_on_writing_waits_no_longer_for_that(stores: Stores) -> None:
    person_id = await answer_that_waits(stores)
    for sid, wait in (("SM2", MINUTE), ("SM3", 1.9 * MINUTE)):
        await stores.receive(inbound(sid), at=NOW + wait)

    assert (await stores.claim(person_id, at=NOW + 2 * MINUTE)).text == "uno"


async def test_a_wait_that_is_over_sooner_stays_so(stores: Stores) -> None:
    person_id = await answer_that_waits(stores)

    await stores.receive(inbound("SM2"), at=NOW + 7.5 * MINUTE)

    (lane,) = await stores.outbox.lanes(limit=10, exclude=())
    assert lane.not_before == NOW + 8 * MINUTE
    assert (await stores.claim(person_id, at=NOW + 8 * MINUTE)).text == "uno"


async def test_what_was_written_before_a_text_failed_shortens_no_wait(stores: Stores) -> None:
    person_id = (await answer_accepted(stores)).person_id
    await stores.receive(inbound("SM2"), at=NOW)
    await fail(stores, 63018)

    assert await stores.outbox.claim(person_id, now=NOW + PAUSE - MINUTE / 2) is None


async def test_an_opening_that_went_as_text_waits_no_longer_than_an_answer_does(stores: Stores) -> None:
    person_id = await stores.due_call()
    await stores.receive(inbound("SM1"))
    await stores.queue_opening(person_id, template=TEMPLATE)
    opening = await accepted(stores, await stores.claim(person_id))
    assert (opening.purpose, opening.as_template) == (Purpose.OPENING, False)
    await fail(stores, 63038)
    assert await stores.outbox.claim(person_id, now=NOW + 30 * MINUTE) is None

    await stores.receive(inbound("SM2"), at=NOW + 30 * MINUTE)

    assert (await stores.claim(person_id, at=NOW + 31 * MINUTE)).text == opening.text


async def test_what_twilio_did_not_take_waits_as_it_asked_whoever_writes(stores: Stores) -> None:
    person_id = await answer_that_waits(stores)
    await stores.receive(inbound("SM2"), at=NOW + MINUTE)
    again = await stores.claim(person_id, at=NOW + 2 * MINUTE)

    await stores.outbox.release(again.id, not_before=NOW + 5 * MINUTE)

    assert await stores.outbox.claim(person_id, now=NOW + 4 * MINUTE) is None
    (lane,) = await stores.outbox.lanes(limit=10, exclude=())
    assert lane.not_before == NOW + 5 * MINUTE


# --- The order of an answer -------------------------------------------------------------------------------


async def went(stores: Stores, person_id: int) -> list[str]:
    return [message.text for message in await stores.lane(person_id)]


@pytest.mark.parametrize("code", [63012, 63003])
@pytest.mark.parametrize("template", [None, TEMPLATE])
async def test_a_piece_that_failed_goes_before_those_that_were_still_to_go(
    stores: Stores, code: int, template: Template | None
) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno", "dos", "tres", template=template)
    await accepted(stores, await stores.claim(person_id))

    assert (await fail(stores, code)).is_repeated

    for text in ("uno", "dos", "tres"):
        message = await stores.claim(person_id, at=NOW + MINUTE)
        assert message.text == text
        await accepted(stores, message, f"SM-{text}")


async def test_a_refused_piece_goes_in_its_other_form_before_those_that_were_still_to_go(
    stores: Stores,
) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno", "dos")

    await stores.outbox.refused((await stores.claim(person_id)).id, code=63003, detail="x", now=NOW)

    assert await went(stores, person_id) == ["uno", "dos"]


async def test_pieces_go_again_in_their_order_however_they_failed(stores: Stores) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno", "dos", "tres")
    for sid in ("SM7", "SM8"):
        await accepted(stores, await stores.claim(person_id), sid)
    await fail(stores, 63012, "SM8")
    await fail(stores, 63012, "SM7")
    again = await accepted(stores, await stores.claim(person_id, at=NOW + MINUTE), "SM9")
    assert again.text == "uno"

    await fail(stores, 63012, "SM9")

    assert await went(stores, person_id) == ["uno", "dos", "tres"]


async def test_a_piece_that_fails_while_the_next_is_on_its_way_follows_it(stores: Stores) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno", "dos", "tres")
    await accepted(stores, await stores.claim(person_id))
    second = await stores.claim(person_id)

    await fail(stores, 63003)

    assert await stores.outbox.claim(person_id, now=NOW) is None
    in_doubt = await stores.outbox.in_doubt(person_id)
    assert in_doubt is not None
    assert in_doubt.id == second.id
    (lane,) = await stores.outbox.lanes(limit=10, exclude=())
    assert lane.in_doubt_since == NOW
    await accepted(stores, second, "SM9")
    assert await went(stores, person_id) == ["uno", "tres"]


async def test_no_answer_waits_for_an_opening_that_failed(stores: Stores) -> None:
    opening = await opening_accepted(stores)
    await stores.queue(opening.person_id, "uno")

    await fail(stores, 63018)

    assert (await stores.claim(opening.person_id)).text == "uno"
