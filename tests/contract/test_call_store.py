"""The port `CallStore`: calls that were found, their details, and the batches they come from."""

from collections.abc import Sequence
from datetime import datetime

import pytest
from attrs import evolve

from actors.calls import (
    Batch,
    BatchRecipient,
    BatchSummary,
    CallAnalysis,
    CallDetails,
    CallOutcome,
    CallSighting,
    FollowUpState,
)
from tests.contract.peeking import CallState
from tests.contract.stores import (
    ANA_CANONICAL,
    MINUTE,
    NOW,
    TEXT_AGENT,
    Stores,
    details,
    inbound,
    seen,
)

LATER = NOW + 60 * MINUTE


async def save(
    stores: Stores,
    call: CallDetails,
    *,
    follow_up: FollowUpState = FollowUpState.DUE,
    client_name: str | None = "Ana",
    identities: Sequence[str] = (ANA_CANONICAL,),
    agent_id: str = TEXT_AGENT,
) -> int | None:
    return await stores.calls.save_details(
        call, client_name=client_name, identities=identities, follow_up=follow_up, agent_id=agent_id
    )


async def awaiting(stores: Stores, *, at: datetime = LATER, limit: int = 100) -> list[str]:
    return [call.id for call in await stores.calls.awaiting_details(now=at, limit=limit)]


# --- Seeing -----------------------------------------------------------------------------------------------


async def test_only_calls_that_nobody_had_seen_are_new(stores: Stores) -> None:
    assert list(await stores.calls.see([seen("conv_b"), seen("conv_a")], now=NOW)) == ["conv_b", "conv_a"]
    assert list(await stores.calls.see([seen("conv_c"), seen("conv_b")], now=NOW)) == ["conv_c"]
    assert list(await stores.calls.see([seen("conv_a")], now=NOW)) == []
    assert list(await stores.calls.see([], now=NOW)) == []


async def test_a_call_seen_twice_at_once_is_one_call(stores: Stores) -> None:
    first = seen("conv_1", outcome=CallOutcome.BUSY)
    second = seen("conv_1", outcome=CallOutcome.FAILED, batch_id="btcal_1")

    assert list(await stores.calls.see([first, second], now=NOW)) == ["conv_1"]

    (call,) = await stores.calls.awaiting_details(now=NOW, limit=10)
    assert call.outcome is CallOutcome.BUSY


async def test_a_call_seen_again_fills_in_what_was_missing_and_nothing_else(stores: Stores) -> None:
    await stores.calls.see([seen(sighting=CallSighting.CONVERSATIONS)], now=NOW)
    again = evolve(
        seen(sighting=CallSighting.BATCH, outcome=CallOutcome.VOICEMAIL), phone_number="+573001112233"
    )
    await stores.calls.see([again], now=LATER)
    polled = seen(sighting=CallSighting.BATCH)
    for again in (
        evolve(polled, outcome=CallOutcome.FAILED, batch_id="btcal_1"),
        evolve(polled, batch_id="btcal_2", recipient_id="rcpt_1"),
        evolve(polled, recipient_id="rcpt_2"),
    ):
        await stores.calls.see([again], now=LATER)

    assert await stores.peek.origin("conv_1") == ("btcal_1", "rcpt_1")
    (call,) = await stores.calls.awaiting_details(now=NOW, limit=10)
    assert (call.sighting, call.seen_at, call.attempts) == (CallSighting.CONVERSATIONS, NOW, 0)
    assert (call.outcome, call.phone_number) == (CallOutcome.VOICEMAIL, ANA_CANONICAL)


@pytest.mark.parametrize("deliberate", [CallSighting.WEBHOOK, CallSighting.COMMAND])
@pytest.mark.parametrize("first", [1, 2])
async def test_a_call_that_polling_found_first_may_still_be_told_of(
    stores: Stores, deliberate: CallSighting, first: int
) -> None:
    polled = evolve(seen(sighting=CallSighting.CONVERSATIONS), phone_number=None)
    calls = [polled, seen(sighting=deliberate), seen(sighting=CallSighting.BATCH)]
    await stores.calls.see(calls[:first], now=NOW)
    await stores.calls.see(calls[first:], now=NOW)

    (call,) = await stores.calls.awaiting_details(now=NOW, limit=10)
    assert (call.sighting, call.phone_number) == (deliberate, ANA_CANONICAL)


async def test_the_operators_command_takes_a_call_up_again(stores: Stores) -> None:
    await stores.calls.see([seen(sighting=CallSighting.BATCH)], now=NOW)
    await stores.calls.postpone("conv_1", until=NOW)
    await save(stores, details(), follow_up=FollowUpState.NONE)

    assert list(await stores.calls.see([seen(sighting=CallSighting.BATCH)], now=LATER)) == []
    assert list(await stores.calls.see([seen(sighting=CallSighting.WEBHOOK)], now=LATER)) == []
    assert await awaiting(stores) == []
    assert list(await stores.calls.see([seen(sighting=CallSighting.COMMAND)], now=LATER)) == ["conv_1"]
    (call,) = await stores.calls.awaiting_details(now=LATER, limit=10)
    assert (call.id, call.attempts) == ("conv_1", 0)
    assert list(await stores.calls.see([seen(sighting=CallSighting.COMMAND)], now=LATER)) == []


async def test_what_an_operator_closed_the_command_does_not_take_up_again(stores: Stores) -> None:
    person_id = await stores.due_call()
    await stores.conversations.close(await stores.conversation_id(person_id), now=NOW)

    assert list(await stores.calls.see([seen(sighting=CallSighting.COMMAND)], now=LATER)) == []
    assert await awaiting(stores) == []


async def test_a_call_seen_again_stays_as_far_as_it_is(stores: Stores) -> None:
    person_id = await stores.due_call()

    await stores.calls.see([seen(outcome=CallOutcome.FAILED)], now=LATER)

    assert await awaiting(stores) == []
    assert await stores.is_due(person_id)


# --- Waiting for details ----------------------------------------------------------------------------------


async def test_calls_are_awaited_longest_waiting_first(stores: Stores) -> None:
    await stores.calls.see([seen("conv_new")], now=NOW + MINUTE)
    await stores.calls.see([seen("conv_old")], now=NOW)

    assert await awaiting(stores) == ["conv_old", "conv_new"]
    assert await awaiting(stores, limit=1) == ["conv_old"]
    assert await awaiting(stores, at=NOW) == ["conv_old"]
    assert await awaiting(stores, at=NOW - MINUTE) == []


async def test_a_postponed_call_is_awaited_again_then(stores: Stores) -> None:
    await stores.calls.see([seen("conv_1"), seen("conv_2")], now=NOW)

    await stores.calls.postpone("conv_1", until=NOW + 5 * MINUTE)

    assert await awaiting(stores, at=NOW + 4 * MINUTE) == ["conv_2"]
    calls = await stores.calls.awaiting_details(now=NOW + 5 * MINUTE, limit=10)
    assert [(call.id, call.attempts) for call in calls] == [("conv_2", 0), ("conv_1", 1)]
    assert {call.seen_at for call in calls} == {NOW}


async def test_a_call_that_is_given_up_is_over(stores: Stores) -> None:
    await stores.calls.see([seen()], now=NOW)

    await stores.calls.give_up("conv_1", reason="unknown at ElevenLabs")

    assert await awaiting(stores) == []
    assert await save(stores, details()) is None
    assert await stores.peek.call("conv_1") == CallState("none", "unknown at ElevenLabs")


async def test_giving_up_comes_too_late_for_a_call_that_is_due(stores: Stores) -> None:
    person_id = await stores.due_call()

    await stores.calls.give_up("conv_1", reason="unknown at ElevenLabs")

    assert await stores.is_due(person_id)


# --- Details ----------------------------------------------------------------------------------------------


async def test_a_due_call_makes_person_and_conversation(stores: Stores) -> None:
    await stores.calls.see([seen()], now=NOW)

    person_id = await save(stores, details(), agent_id="agent_special")

    assert person_id is not None
    assert await awaiting(stores) == []
    assert await stores.is_due(person_id)
    assert await stores.recovery.people_with_work(now=NOW, after=0, limit=10) == [person_id]
    context = await stores.conversations.context(person_id, messages_max=10)
    assert context is not None
    assert (context.agent_id, context.name, context.address) == ("agent_special", "Ana", ANA_CANONICAL)


async def test_a_due_call_goes_to_the_open_conversation(stores: Stores) -> None:
    received = await stores.receive(inbound())
    conversation_id = await stores.conversation_id(received.person_id)
    await stores.calls.see([seen()], now=NOW)

    assert await save(stores, details(), agent_id="agent_special") == received.person_id

    work = await stores.conversations.work(received.person_id)
    assert (work.conversation_id, list(work.due_calls)) == (conversation_id, ["conv_1"])
    context = await stores.conversations.context(received.person_id, messages_max=10)
    assert context is not None
    assert context.agent_id == TEXT_AGENT


async def test_saving_twice_is_saving_once(stores: Stores) -> None:
    await stores.calls.see([seen()], now=NOW)
    person_id = await save(stores, details())
    assert person_id is not None
    await stores.queue_opening(person_id)

    assert await save(stores, details()) == person_id

    assert not await stores.is_due(person_id)
    assert len(await stores.lane(person_id)) == 1


@pytest.mark.parametrize("follow_up", [FollowUpState.NONE, FollowUpState.AWAITING_DETAILS])
async def test_a_call_that_is_not_due_opens_no_conversation(stores: Stores, follow_up: FollowUpState) -> None:
    await stores.calls.see([seen()], now=NOW)

    person_id = await save(stores, details(), follow_up=follow_up)

    assert person_id is not None
    assert (await stores.conversations.work(person_id)).conversation_id is None
    assert await stores.recovery.people_with_work(now=NOW, after=0, limit=10) == []


async def test_a_call_without_a_number_has_no_person(stores: Stores) -> None:
    await stores.calls.see([seen()], now=NOW)

    call = details(phone_number=None)
    assert await save(stores, call, identities=[], follow_up=FollowUpState.NONE) is None

    assert await awaiting(stores) == []


async def test_details_may_come_in_parts(stores: Stores) -> None:
    await stores.calls.see([seen()], now=NOW)
    await save(stores, details(), follow_up=FollowUpState.AWAITING_DETAILS)
    assert await awaiting(stores) == ["conv_1"]
    analysis = CallAnalysis(summary="Pidió una cotización.", collected={"intent": "cotización"})

    person_id = await save(stores, details(analysis=analysis))

    assert person_id is not None
    context = await stores.conversations.context(person_id, messages_max=10)
    assert context is not None
    assert context.calls[0].summary == "Pidió una cotización."
    assert context.calls[0].collected == {"intent": "cotización"}


async def test_what_was_seen_stays_where_the_details_are_silent(stores: Stores) -> None:
    variables = {"name": "Ana", "amount": 5000, "nested": {"a": [1, None]}}
    await stores.calls.see([evolve(seen(), variables=variables)], now=NOW)

    person_id = await save(stores, details(phone_number=None))

    assert person_id is not None
    context = await stores.conversations.context(person_id, messages_max=10)
    assert context is not None
    assert context.calls[0].variables == variables
    assert context.calls[0].outcome is CallOutcome.COMPLETED


async def test_batch_and_recipient_may_come_with_the_details(stores: Stores) -> None:
    await stores.calls.see([seen(batch_id="btcal_1")], now=NOW)

    await save(stores, evolve(details(), batch_id="btcal_2", recipient_id="rcpt_1"))

    assert await stores.peek.origin("conv_1") == ("btcal_1", "rcpt_1")


async def test_a_name_from_a_call_is_filled_in_where_none_is_known(stores: Stores) -> None:
    await stores.calls.see([seen("conv_1"), seen("conv_2"), seen("conv_3")], now=NOW)
    await save(stores, details("conv_1"), client_name=None)
    await save(stores, details("conv_2"), client_name="Ana")
    person_id = await save(stores, details("conv_3"), client_name="Otra")

    assert person_id is not None
    context = await stores.conversations.context(person_id, messages_max=10)
    assert context is not None
    assert context.name == "Ana"


async def test_any_identity_of_a_call_finds_the_person(stores: Stores) -> None:
    received = await stores.receive(inbound(identities=["MX.1A2B"], phone_number=None))
    await stores.calls.see([seen("conv_1"), seen("conv_2")], now=NOW)

    by_user_id = await save(stores, details("conv_1"), identities=[ANA_CANONICAL, "MX.1A2B"])
    by_number = await save(stores, details("conv_2"), identities=[ANA_CANONICAL])

    assert by_user_id == by_number == received.person_id


async def test_a_call_that_nobody_has_seen_is_a_mistake(stores: Stores) -> None:
    with pytest.raises(LookupError):
        await save(stores, details())


async def test_a_call_is_awaited_until_its_details_are_in(stores: Stores) -> None:
    await stores.calls.see([seen(outcome=CallOutcome.BUSY)], now=NOW)
    await stores.calls.postpone("conv_1", until=LATER)

    call = await stores.calls.awaited("conv_1")
    assert call is not None
    assert (call.outcome, call.phone_number, call.attempts, call.seen_at) == (
        CallOutcome.BUSY,
        ANA_CANONICAL,
        1,
        NOW,
    )
    await save(stores, details())
    assert await stores.calls.awaited("conv_1") is None
    assert await stores.calls.awaited("conv_none") is None


# --- Batches ----------------------------------------------------------------------------------------------


def batch(batch_id: str = "btcal_1", *, updated_at: datetime = NOW) -> Batch:
    summary = BatchSummary(
        id=batch_id,
        name="Mayo",
        agent_id="agent_voice",
        status="completed",
        is_over=True,
        created_at=NOW,
        updated_at=updated_at,
    )
    recipient = BatchRecipient(
        id="rcpt_1", phone_number=ANA_CANONICAL, status="completed", outcome=None, call_id="conv_1"
    )
    return Batch(summary=summary, recipients=[recipient])


async def test_settled_batches_tell_when_they_were_changed_last(stores: Stores) -> None:
    await stores.calls.save_batch(batch("btcal_1"), is_settled=True)
    await stores.calls.save_batch(batch("btcal_2", updated_at=LATER), is_settled=True)
    await stores.calls.save_batch(batch("btcal_3"), is_settled=False)

    assert await stores.calls.settled_batches() == {"btcal_1": NOW, "btcal_2": LATER}


async def test_a_recipient_that_is_listed_twice_is_one(stores: Stores) -> None:
    once = batch()
    (recipient,) = once.recipients
    twice = evolve(once, recipients=[recipient, evolve(recipient, status="failed", call_id="conv_2")])

    await stores.calls.save_batch(twice, is_settled=True)
    await stores.calls.save_batch(twice, is_settled=True)

    assert await stores.calls.settled_batches() == {"btcal_1": NOW}


async def test_a_batch_that_goes_on_is_not_settled_any_more(stores: Stores) -> None:
    await stores.calls.save_batch(batch(), is_settled=True)

    await stores.calls.save_batch(batch(updated_at=LATER), is_settled=False)

    assert await stores.calls.settled_batches() == {}
