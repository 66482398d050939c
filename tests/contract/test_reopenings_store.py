"""The port `OutboxStore`: what meets a closed window waits behind a template that asks the person to write."""

from datetime import datetime, timedelta

import pytest

from actors.failures import pause_s
from actors.messages import DeliveryStatus, Outgoing, Purpose, Reported
from actors.ports import Answer
from tests.contract.peeking import MessageState
from tests.contract.stores import ANA, ANA_CANONICAL, MINUTE, NOW, TEMPLATE, Stores, inbound, report

DAY = timedelta(days=1)
PAUSE = timedelta(seconds=pause_s(63018, 0))
LATER = NOW + 2 * DAY
"""When the window of those who wrote at `NOW` is closed."""


async def waiting(stores: Stores, *pieces: str) -> int:
    """An answer waits for its person, who wrote long ago. The person's id."""
    person_id = await stores.new_person()
    await stores.queue(person_id, *(pieces or ("uno", "dos", "tres")), template=TEMPLATE)
    return person_id


async def reopening(stores: Stores, person_id: int, *, at: datetime = LATER) -> Outgoing:
    message = await stores.claim(person_id, at=at)
    assert (message.purpose, message.as_template) == (Purpose.REOPENING, True)
    return message


async def first_piece(stores: Stores, person_id: int) -> Outgoing:
    """What waits first. It was tried while the window was open, and did not go."""
    piece = await stores.claim(person_id)
    assert piece.purpose is Purpose.ANSWER
    await stores.outbox.release(piece.id, not_before=NOW)
    return piece


async def reopening_gone(stores: Stores, *pieces: str) -> Outgoing:
    message = await reopening(stores, await waiting(stores, *pieces))
    await stores.outbox.accepted(message.id, sid="SM8", now=LATER)
    return message


async def fail(stores: Stores, code: int | None, sid: str = "SM8", *, at: datetime = LATER) -> Reported:
    failure = report(sid, DeliveryStatus.FAILED, error_code=code)
    reported = await stores.outbox.report(failure, now=at, give_up_after=3 * DAY)
    assert reported is not None
    return reported


async def write(stores: Stores, sid: str = "SM2", *, at: datetime = LATER + MINUTE) -> None:
    await stores.receive(inbound(sid), at=at)


async def texts(stores: Stores, person_id: int, *, at: datetime = LATER + MINUTE) -> list[str]:
    """Send what goes as text, and say what that was. Nothing goes as a template."""
    sent = []
    while message := await stores.outbox.claim(person_id, now=at):
        assert not message.as_template
        await stores.outbox.accepted(message.id, sid=f"SM-text-{message.id}", now=at)
        sent.append(message.text)
    return sent


async def no_lanes(stores: Stores) -> bool:
    return await stores.outbox.lanes(limit=10, exclude=()) == []


# --- The template, and what waits behind it ---------------------------------------------------------------


async def test_the_template_is_a_message_of_its_own(stores: Stores) -> None:
    person_id = await waiting(stores)

    message = await stores.claim(person_id, at=LATER)

    assert message == Outgoing(
        id=message.id,
        person_id=person_id,
        conversation_id=await stores.conversation_id(person_id),
        address=ANA,
        purpose=Purpose.REOPENING,
        text="[HX1]",
        template=TEMPLATE,
        must_use_template=True,
        attempts=0,
        created_at=NOW,
        sending_since=LATER,
        window_opened_at=NOW,
        as_template=True,
    )
    assert await stores.outbox.in_doubt(person_id) == message
    (lane,) = await stores.outbox.lanes(limit=10, exclude=())
    assert (lane.person_id, lane.in_doubt_since) == (person_id, LATER)


@pytest.mark.parametrize("pieces", [["uno"], ["uno", "dos", "tres"]])
async def test_the_whole_answer_waits_and_goes_as_text_when_the_person_writes(
    stores: Stores, pieces: list[str]
) -> None:
    person_id = (await reopening_gone(stores, *pieces)).person_id

    assert await stores.outbox.claim(person_id, now=LATER + DAY) is None
    assert await no_lanes(stores)

    await write(stores)
    await stores.queue(person_id, "nuevo", template=TEMPLATE)
    (lane,) = await stores.outbox.lanes(limit=10, exclude=())
    assert (lane.person_id, lane.in_doubt_since) == (person_id, None)
    assert await texts(stores, person_id) == [*pieces, "nuevo"]
    assert await no_lanes(stores)


async def test_what_comes_while_the_person_is_asked_waits_behind_the_same_template(stores: Stores) -> None:
    person_id = (await reopening_gone(stores, "uno")).person_id
    await stores.queue(person_id, "dos", template=TEMPLATE)

    assert await stores.outbox.claim(person_id, now=LATER + DAY) is None

    await write(stores)
    assert await texts(stores, person_id) == ["uno", "dos"]


async def test_a_fallback_waits_as_an_answer_does(stores: Stores) -> None:
    person_id = await stores.new_person()
    fallback = Answer(address=ANA, pieces=["un momento"], template=TEMPLATE)
    conversation_id = await stores.conversation_id(person_id)
    await stores.conversations.defer_turn(conversation_id, fallback, retry_at=LATER, now=NOW)
    await stores.outbox.accepted((await reopening(stores, person_id)).id, sid="SM8", now=LATER)

    await write(stores)

    assert await texts(stores, person_id) == ["un momento"]


async def test_whoever_does_not_write_before_the_window_closes_again_is_asked_again(stores: Stores) -> None:
    person_id = (await reopening_gone(stores, "uno")).person_id
    await write(stores)

    again = await reopening(stores, person_id, at=LATER + 2 * DAY)

    await stores.outbox.accepted(again.id, sid="SM9", now=LATER + 2 * DAY)
    assert await stores.outbox.claim(person_id, now=LATER + 2 * DAY) is None
    await write(stores, "SM3", at=LATER + 3 * DAY)
    assert await texts(stores, person_id, at=LATER + 3 * DAY) == ["uno"]


async def test_a_message_that_was_on_its_way_to_us_is_an_answer_too(stores: Stores) -> None:
    person_id = (await reopening_gone(stores, "uno")).person_id

    await write(stores, at=LATER - MINUTE)

    assert await texts(stores, person_id) == ["uno"]


async def test_what_waits_for_the_person_stands_in_nobodys_way(stores: Stores) -> None:
    person_id = (await reopening_gone(stores)).person_id
    await stores.queue(person_id, "sin plantilla")
    assert (await stores.claim(person_id, at=LATER)).text == "sin plantilla"


async def test_an_opening_goes_in_the_form_of_its_own_template(stores: Stores) -> None:
    person_id = (await reopening_gone(stores)).person_id
    await stores.due_call()
    await stores.queue_opening(person_id, template=TEMPLATE)

    opening = await stores.claim(person_id, at=LATER)

    assert (opening.purpose, opening.text, opening.as_template) == (Purpose.OPENING, "Hola, Ana.", True)


async def test_without_a_template_nothing_waits_for_the_person(stores: Stores) -> None:
    person_id = await stores.new_person()
    await stores.queue(person_id, "uno", "dos")

    assert [piece.text for piece in await stores.lane(person_id)] == ["uno", "dos"]


async def test_what_waited_too_long_for_the_person_is_refused(stores: Stores) -> None:
    person_id = (await reopening_gone(stores)).person_id
    assert await stores.holds.give_up_held(written_before=NOW, now=LATER) == 0

    assert await stores.holds.give_up_held(written_before=LATER, now=LATER) == 3

    assert await stores.holds.give_up_held(written_before=LATER, now=LATER) == 0
    await write(stores)
    assert await stores.outbox.claim(person_id, now=LATER + MINUTE) is None


async def test_the_agents_history_holds_what_waits_and_not_the_template(stores: Stores) -> None:
    person_id = (await reopening_gone(stores)).person_id

    context = await stores.conversations.context(person_id, messages_max=10)

    assert context is not None
    assert [message.text for message in context.messages] == ["uno", "dos", "tres"]


# --- Whoever writes meanwhile -----------------------------------------------------------------------------


async def test_while_the_template_is_on_its_way_nothing_else_goes(stores: Stores) -> None:
    person_id = await waiting(stores)
    message = await reopening(stores, person_id)
    await write(stores)

    assert await stores.outbox.claim(person_id, now=LATER + MINUTE) is None
    in_doubt = await stores.outbox.in_doubt(person_id)
    assert in_doubt is not None
    assert in_doubt.id == message.id
    (lane,) = await stores.outbox.lanes(limit=10, exclude=())
    assert lane.in_doubt_since == LATER

    assert await stores.outbox.accepted(message.id, sid="SM8", now=LATER + 2 * MINUTE)
    assert await texts(stores, person_id) == ["uno", "dos", "tres"]


async def test_whoever_wrote_before_a_template_that_did_not_go_gets_none(stores: Stores) -> None:
    person_id = await waiting(stores)
    message = await reopening(stores, person_id)
    await stores.outbox.release(message.id, not_before=LATER + 5 * MINUTE)
    await write(stores)

    assert await texts(stores, person_id) == ["uno", "dos", "tres"]

    assert await no_lanes(stores)
    assert await stores.peek.message(message.id) == MessageState("refused")
    assert await stores.outbox.claim(person_id, now=LATER + DAY) is None


async def test_what_nobody_claims_any_more_stands_in_no_lane_for_long(stores: Stores) -> None:
    person_id = await waiting(stores, "uno")
    message = await reopening(stores, person_id)
    await stores.outbox.release(message.id, not_before=LATER + 5 * MINUTE)
    await write(stores)
    text = await stores.claim(person_id, at=LATER + MINUTE)
    assert await stores.outbox.accepted(text.id, sid="SM9", now=LATER + MINUTE)

    (lane,) = await stores.outbox.lanes(limit=10, exclude=())
    assert lane.not_before is None
    assert await stores.outbox.claim(person_id, now=LATER + MINUTE) is None

    assert await no_lanes(stores)


async def test_a_failure_after_the_person_wrote_takes_nothing_with_it(stores: Stores) -> None:
    person_id = (await reopening_gone(stores)).person_id
    await write(stores)

    await fail(stores, 63024, at=LATER + MINUTE)

    conversation_id = await stores.conversation_id(person_id)
    assert await stores.peek.conversation_status(conversation_id) == "active"
    assert await texts(stores, person_id) == ["uno", "dos", "tres"]


async def test_a_failure_for_now_after_the_person_wrote_sends_no_other(stores: Stores) -> None:
    person_id = (await reopening_gone(stores)).person_id
    await write(stores)

    await fail(stores, 63018, at=LATER + MINUTE)

    assert await texts(stores, person_id) == ["uno", "dos", "tres"]
    assert await no_lanes(stores)
    assert await stores.outbox.claim(person_id, now=LATER + 2 * DAY) is None


# --- What did not go, and what is not known to have gone ---------------------------------------------------


async def test_a_template_that_did_not_go_goes_again_when_it_may(stores: Stores) -> None:
    person_id = await waiting(stores)
    first = await reopening(stores, person_id)

    await stores.outbox.release(first.id, not_before=LATER + 5 * MINUTE)

    assert await stores.outbox.claim(person_id, now=LATER + MINUTE) is None
    (lane,) = await stores.outbox.lanes(limit=10, exclude=())
    assert (lane.in_doubt_since, lane.not_before) == (None, LATER + 5 * MINUTE)
    again = await reopening(stores, person_id, at=LATER + 5 * MINUTE)
    assert (again.id, again.attempts, again.created_at) == (first.id, 1, NOW)


async def test_a_report_settles_a_template_that_was_released_too_early(stores: Stores) -> None:
    person_id = await waiting(stores)
    message = await reopening(stores, person_id)
    await stores.outbox.release(message.id, not_before=LATER)

    await stores.outbox.report(report("SM8", DeliveryStatus.SENT, message_id=message.id), now=LATER)

    assert await stores.outbox.claim(person_id, now=LATER + DAY) is None
    await write(stores)
    assert await texts(stores, person_id) == ["uno", "dos", "tres"]


async def test_a_template_that_did_not_go_goes_no_more_when_nothing_waits_behind_it(stores: Stores) -> None:
    person_id = await waiting(stores)
    message = await reopening(stores, person_id)
    await stores.outbox.release(message.id, not_before=LATER)
    assert await stores.holds.give_up_held(written_before=LATER, now=LATER) == 3

    assert await stores.outbox.claim(person_id, now=LATER + DAY) is None

    assert await stores.peek.message(message.id) == MessageState("refused")
    assert await no_lanes(stores)


async def test_what_was_to_wait_for_itself_asks_no_sooner(stores: Stores) -> None:
    person_id = await waiting(stores, "uno")
    text = await stores.claim(person_id)
    assert not text.as_template
    await stores.outbox.release(text.id, not_before=LATER + MINUTE)

    assert await stores.outbox.claim(person_id, now=LATER) is None

    await reopening(stores, person_id, at=LATER + MINUTE)


# --- Failures ---------------------------------------------------------------------------------------------


async def test_a_template_that_may_go_later_goes_again_after_a_pause(stores: Stores) -> None:
    message = await reopening_gone(stores)

    reported = await fail(stores, 63018)

    assert (reported.id, reported.purpose, reported.template_sid) == (message.id, Purpose.REOPENING, "HX1")
    assert (reported.is_repeated, reported.again_at) == (True, LATER + PAUSE)
    person_id = message.person_id
    assert await stores.outbox.claim(person_id, now=LATER + PAUSE - MINUTE) is None
    again = await reopening(stores, person_id, at=LATER + PAUSE)
    assert (again.text, again.created_at) == ("[HX1]", NOW)
    await stores.outbox.accepted(again.id, sid="SM9", now=LATER + PAUSE)
    second = await fail(stores, 63018, "SM9")
    assert second.again_at == LATER + 2 * PAUSE
    await write(stores)
    assert await texts(stores, person_id) == ["uno", "dos", "tres"]
    assert await no_lanes(stores)


async def test_a_template_that_keeps_failing_comes_to_an_end(stores: Stores) -> None:
    message = await reopening_gone(stores, "uno")
    failures = 0
    while (await fail(stores, 30036, f"SM{8 + failures}")).is_repeated:
        failures += 1
        again = await reopening(stores, message.person_id, at=LATER + DAY)
        await stores.outbox.accepted(again.id, sid=f"SM{8 + failures}", now=LATER + DAY)

    assert failures == 2
    assert await no_lanes(stores)
    assert await stores.outbox.claim(message.person_id, now=LATER + 2 * DAY) is None


async def test_a_number_that_is_not_found_takes_what_waits_to_its_other_spelling(stores: Stores) -> None:
    person_id = (await reopening_gone(stores, "uno", "dos")).person_id

    assert (await fail(stores, 63003)).is_repeated

    again = await reopening(stores, person_id)
    assert again.address == ANA_CANONICAL
    await stores.outbox.accepted(again.id, sid="SM9", now=LATER)
    await write(stores)
    for text in ("uno", "dos"):
        piece = await stores.claim(person_id, at=LATER + MINUTE)
        assert (piece.text, piece.address) == (text, ANA_CANONICAL)
        await stores.outbox.accepted(piece.id, sid=f"SM-{text}", now=LATER + MINUTE)
    assert not (await fail(stores, 63003, "SM-dos")).is_repeated


@pytest.mark.parametrize("code", [None, 63016, 63024, 63041, 63049])
async def test_a_template_that_fails_for_good_takes_what_waits_with_it(
    stores: Stores, code: int | None
) -> None:
    person_id = await waiting(stores, "uno", "dos")
    piece = await first_piece(stores, person_id)
    await stores.outbox.accepted((await reopening(stores, person_id)).id, sid="SM8", now=LATER)

    assert not (await fail(stores, code)).is_repeated

    assert await no_lanes(stores)
    assert await stores.peek.message(piece.id) == MessageState("refused", None, code)
    conversation_id = await stores.conversation_id(person_id)
    assert await stores.peek.conversation_status(conversation_id) == "window_closed"
    assert await stores.outbox.claim(person_id, now=LATER + MINUTE) is None
    await write(stores)
    assert await stores.peek.conversation_status(conversation_id) == "active"
    assert await texts(stores, person_id) == []


async def test_a_refusal_at_once_takes_what_waits_with_it(stores: Stores) -> None:
    person_id = await waiting(stores)
    piece = await first_piece(stores, person_id)
    message = await reopening(stores, person_id)

    assert not await stores.outbox.refused(message.id, code=63041, detail="paused", now=LATER)

    assert await no_lanes(stores)
    assert await stores.peek.message(message.id) == MessageState("refused", None, 63041)
    assert await stores.peek.message(piece.id) == MessageState("refused", None, 63041)


async def test_a_refusal_at_once_is_followed_by_the_other_spelling(stores: Stores) -> None:
    person_id = await waiting(stores)
    message = await reopening(stores, person_id)

    assert await stores.outbox.refused(message.id, code=63003, detail="nobody", now=LATER)

    assert (await reopening(stores, person_id)).address == ANA_CANONICAL


async def test_an_opening_is_not_taken_along(stores: Stores) -> None:
    person_id = (await reopening_gone(stores)).person_id
    await stores.due_call()
    await stores.queue_opening(person_id, template=TEMPLATE)

    await fail(stores, 63049)

    assert (await stores.claim(person_id, at=LATER)).purpose is Purpose.OPENING


# --- A window that was closed after all -------------------------------------------------------------------


async def test_a_text_that_met_a_closed_window_waits_behind_one_template(stores: Stores) -> None:
    person_id = await waiting(stores, "uno", "dos", "tres")
    for sid in ("SM7", "SM8", "SM9"):
        text = await stores.claim(person_id)
        assert not text.as_template
        await stores.outbox.accepted(text.id, sid=sid, now=NOW)
    for sid in ("SM7", "SM8", "SM9"):
        assert (await fail(stores, 63016, sid, at=NOW)).is_repeated

    asking = await reopening(stores, person_id, at=NOW)

    await stores.outbox.accepted(asking.id, sid="SM10", now=NOW)
    assert await stores.outbox.claim(person_id, now=NOW) is None
    context = await stores.conversations.context(person_id, messages_max=10)
    assert context is not None
    assert [message.text for message in context.messages] == ["uno", "dos", "tres"]
    await write(stores, at=NOW + MINUTE)
    assert await texts(stores, person_id, at=NOW + MINUTE) == ["uno", "dos", "tres"]


async def test_what_must_be_a_template_goes_as_text_once_the_person_has_written(stores: Stores) -> None:
    person_id = await waiting(stores, "uno")
    text = await stores.claim(person_id)
    await stores.outbox.accepted(text.id, sid="SM8", now=NOW)
    await fail(stores, 63016, at=NOW)

    await write(stores, at=NOW + MINUTE)

    assert await texts(stores, person_id, at=NOW + MINUTE) == ["uno"]
