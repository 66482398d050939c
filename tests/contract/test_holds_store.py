"""The port `HoldStore`: how a campaign's openings fared, and which of them are held back."""

from collections.abc import Sequence
from datetime import timedelta

from attrs import evolve, frozen

from actors.calls import FollowUpState
from actors.campaigns import Campaign, Tally
from actors.failures import HELD_TOO_LONG
from actors.messages import DeliveryStatus
from actors.ports import Opening
from tests.contract.peeking import CallState
from tests.contract.stores import (
    MINUTE,
    NOW,
    TEMPLATE,
    TEXT_AGENT,
    VOICE_AGENT,
    Stores,
    details,
    inbound,
    report,
    seen,
)

DAY = timedelta(days=1)
BATCH = "btcal_1"
NOTHING = Tally(known=0, failed=0, code=None)


def number(place: int) -> str:
    return f"+5730011122{place:02}"


@frozen
class Openings:
    """Openings of a batch to as many people, in the order in which they were queued."""

    stores: Stores
    people: Sequence[int]

    async def send(self, place: int, status: DeliveryStatus | None, code: int | None = None) -> None:
        """Have it accepted, and a status reported of it."""
        stores = self.stores
        message = await stores.claim(self.people[place], at=NOW + DAY)
        sid = f"SM-{message.id}"
        await stores.outbox.accepted(message.id, sid=sid, now=NOW)
        await stores.outbox.report(report(sid, status, error_code=code), now=NOW)

    async def goes(self, place: int) -> bool:
        return await self.stores.outbox.claim(self.people[place], now=NOW) is not None

    async def tally(self, openings: int = 20) -> Tally:
        return (await self.campaign(openings)).results

    async def campaign(self, openings: int = 20) -> Campaign:
        (campaign,) = await self.stores.holds.campaigns(failed_since=NOW - MINUTE, openings=openings)
        return campaign

    async def hold(self) -> None:
        await self.stores.holds.hold(BATCH, code=63018, look_at=NOW + MINUTE, now=NOW)

    async def probe(self, openings: int = 1) -> Sequence[int]:
        return await self.stores.holds.probe(BATCH, openings=openings, look_at=NOW + MINUTE)


async def openings(stores: Stores, count: int, *, batch_id: str | None = BATCH) -> Openings:
    people = []
    for place in range(count):
        call_id = f"conv_{place}"
        await stores.calls.see([seen(call_id, batch_id=batch_id)], now=NOW)
        call = evolve(details(call_id), phone_number=number(place))
        person_id = await stores.calls.save_details(
            call,
            client_name=None,
            identities=[number(place)],
            follow_up=FollowUpState.DUE,
            agent_id=TEXT_AGENT,
        )
        assert person_id is not None
        opening = Opening(
            call_id=call_id,
            conversation_id=await stores.conversation_id(person_id),
            address=number(place),
            text="Hola",
            template=TEMPLATE,
        )
        await stores.conversations.queue_opening(opening, now=NOW)
        people.append(person_id)
    return Openings(stores, people)


async def writes(stores: Stores, place: int, sid: str) -> None:
    person = inbound(sid, address=number(place), identities=[number(place)], phone_number=number(place))
    await stores.receive(person, at=NOW + MINUTE)


# --- Results ----------------------------------------------------------------------------------------------


async def test_a_campaign_is_told_of_once_an_opening_of_it_has_failed(stores: Stores) -> None:
    sent = await openings(stores, 2)
    await sent.send(0, DeliveryStatus.DELIVERED)
    assert await stores.holds.campaigns(failed_since=NOW - MINUTE, openings=20) == []

    await sent.send(1, DeliveryStatus.FAILED, 63024)

    assert await sent.campaign() == Campaign(
        id=BATCH,
        held_since=None,
        look_at=None,
        code=None,
        probes=0,
        results=Tally(known=2, failed=1, code=63024),
        probed=NOTHING,
        waiting=0,
    )
    assert await stores.holds.campaigns(failed_since=NOW, openings=20) == []


async def test_calls_without_a_batch_make_a_campaign_by_their_agent(stores: Stores) -> None:
    sent = await openings(stores, 1, batch_id=None)
    await sent.send(0, DeliveryStatus.FAILED, 63024)

    assert (await sent.campaign()).id == VOICE_AGENT


async def test_only_what_has_left_or_failed_is_a_result(stores: Stores) -> None:
    sent = await openings(stores, 7)
    await sent.send(0, None)
    await sent.send(1, DeliveryStatus.SENT)
    await sent.send(2, DeliveryStatus.READ)
    await sent.send(3, DeliveryStatus.UNDELIVERED, 63049)
    refused = await stores.claim(sent.people[4])
    await stores.outbox.refused(refused.id, code=21211, detail="x", now=NOW)
    await stores.claim(sent.people[5])

    assert await sent.tally() == Tally(known=4, failed=2, code=21211)


async def test_the_most_frequent_code_is_told(stores: Stores) -> None:
    sent = await openings(stores, 5)
    for place, code in enumerate([63024, 63049, None, 63049, None]):
        await sent.send(place, DeliveryStatus.FAILED, code)

    assert await sent.tally() == Tally(known=5, failed=5, code=63049)


async def test_the_newest_results_count(stores: Stores) -> None:
    sent = await openings(stores, 4)
    for place in range(3):
        await sent.send(place, DeliveryStatus.FAILED, 63024)
    await sent.send(3, DeliveryStatus.DELIVERED)

    assert await sent.tally(openings=2) == Tally(known=2, failed=1, code=63024)


async def test_a_call_has_one_result_however_often_its_opening_was_repeated(stores: Stores) -> None:
    sent = await openings(stores, 1)
    await sent.send(0, DeliveryStatus.FAILED, 63018)
    assert await sent.tally() == Tally(known=1, failed=1, code=63018)
    await sent.send(0, DeliveryStatus.FAILED, 63018)
    assert await sent.tally() == Tally(known=1, failed=1, code=63018)

    await sent.send(0, DeliveryStatus.DELIVERED)

    assert await sent.tally() == Tally(known=1, failed=0, code=None)


async def test_what_goes_at_once_in_another_form_is_no_result(stores: Stores) -> None:
    sent = await openings(stores, 2)
    await sent.send(0, DeliveryStatus.FAILED, 63016)
    await sent.send(1, DeliveryStatus.FAILED, 63024)

    assert await sent.tally() == Tally(known=1, failed=1, code=63024)


# --- Holding back -----------------------------------------------------------------------------------------


async def failed_and_held(stores: Stores, waiting: int) -> Openings:
    """One opening failed, so many others are held back; the first person is the one to whom it failed."""
    sent = await openings(stores, 1 + waiting)
    await sent.send(0, DeliveryStatus.FAILED, 63024)
    await sent.hold()
    return sent


async def test_a_held_campaigns_openings_stay_where_they_are(stores: Stores) -> None:
    sent = await failed_and_held(stores, 2)

    assert not await sent.goes(1)
    assert await stores.outbox.lanes(limit=10, exclude=()) == []
    campaign = await sent.campaign()
    assert (campaign.held_since, campaign.look_at, campaign.code) == (NOW, NOW + MINUTE, 63018)
    assert campaign.waiting == 2


async def test_a_held_campaign_is_told_of_however_long_ago_it_failed(stores: Stores) -> None:
    await failed_and_held(stores, 1)

    assert await stores.holds.campaigns(failed_since=NOW + DAY, openings=20)


async def test_other_campaigns_and_other_messages_go(stores: Stores) -> None:
    sent = await failed_and_held(stores, 1)
    await stores.queue(sent.people[1], "una respuesta")
    other = await stores.due_call("conv_other")
    await stores.queue_opening(other, "conv_other", template=TEMPLATE)

    assert (await stores.claim(sent.people[1])).text == "una respuesta"
    assert (await stores.claim(other)).text == "Hola, Ana."


async def test_whoever_writes_gets_the_opening_first(stores: Stores) -> None:
    sent = await failed_and_held(stores, 2)
    await writes(stores, 1, "SM1")
    await stores.queue(sent.people[1], "una respuesta")

    first = await stores.claim(sent.people[1], at=NOW + MINUTE)

    assert (first.text, first.as_template) == ("Hola", False)
    assert not await sent.goes(2)
    assert (await sent.campaign()).waiting == 1


async def test_probes_are_let_through_oldest_first(stores: Stores) -> None:
    sent = await failed_and_held(stores, 3)

    assert await sent.probe(2) == list(sent.people[1:3])

    assert await sent.goes(1)
    assert await sent.goes(2)
    assert not await sent.goes(3)
    campaign = await sent.campaign()
    assert (campaign.probes, campaign.probed, campaign.waiting) == (2, NOTHING, 1)


async def test_the_results_of_probes_are_told_by_themselves(stores: Stores) -> None:
    sent = await failed_and_held(stores, 3)
    await sent.probe(3)
    await sent.send(1, DeliveryStatus.DELIVERED)
    await sent.send(2, DeliveryStatus.FAILED, 63018)

    assert (await sent.campaign()).probed == Tally(known=2, failed=1, code=63018)
    # What repeats a probe later is none itself.
    assert await stores.outbox.claim(sent.people[2], now=NOW + DAY) is None


async def test_a_campaign_held_again_holds_back_its_probes_too(stores: Stores) -> None:
    sent = await failed_and_held(stores, 2)
    await sent.probe(1)

    await stores.holds.hold(BATCH, code=63049, look_at=NOW + 2 * MINUTE, now=NOW + MINUTE)

    assert not await sent.goes(1)
    campaign = await sent.campaign()
    assert (campaign.held_since, campaign.code, campaign.probes, campaign.waiting) == (NOW, 63049, 0, 2)
    assert await sent.probe(1) == [sent.people[1]]
    assert await sent.goes(1)


async def test_with_nothing_to_probe_nothing_changes(stores: Stores) -> None:
    sent = await failed_and_held(stores, 0)

    assert await sent.probe() == []

    assert (await sent.campaign()).look_at == NOW + MINUTE


async def test_a_released_campaign_goes_on_and_is_judged_anew(stores: Stores) -> None:
    sent = await failed_and_held(stores, 2)

    assert await stores.holds.release([BATCH, "btcal_2"], now=NOW) == [BATCH]
    assert await stores.holds.release([BATCH], now=NOW) == []

    assert await sent.goes(1)
    campaign = await sent.campaign()
    assert (campaign.held_since, campaign.results, campaign.waiting) == (None, NOTHING, 0)


async def test_what_was_held_back_too_long_is_refused_with_its_call(stores: Stores) -> None:
    sent = await failed_and_held(stores, 1)
    assert await stores.holds.give_up_held(written_before=NOW, now=NOW) == 0

    assert await stores.holds.give_up_held(written_before=NOW + MINUTE, now=NOW + DAY) == 1

    assert await stores.peek.call("conv_1") == CallState("refused", HELD_TOO_LONG)
    campaign = await sent.campaign()
    assert (campaign.waiting, campaign.results.known) == (0, 1)
