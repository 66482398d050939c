"""The port `InboxStore`: a message is stored once, with its person and an open conversation."""

import pytest

from actors.calls import FollowUpState
from actors.ports import Answer
from tests.contract.stores import (
    ANA,
    ANA_CANONICAL,
    MINUTE,
    NOW,
    Stores,
    details,
    inbound,
    seen,
)


async def test_a_first_message_makes_person_and_conversation(stores: Stores) -> None:
    received = await stores.receive(inbound("SM1", text="Hola", address=ANA))

    assert received.is_new
    work = await stores.conversations.work(received.person_id)
    assert work.conversation_id is not None
    (pending,) = work.pending
    assert (pending.sid, pending.address, pending.text, pending.received_at) == ("SM1", ANA, "Hola", NOW)
    context = await stores.conversations.context(received.person_id, messages_max=10)
    assert context is not None
    assert (context.agent_id, context.name, context.window_opened_at) == ("agent_text", "Ana", NOW)


async def test_a_second_message_goes_to_the_same_conversation(stores: Stores) -> None:
    first = await stores.receive(inbound("SM1", text="Hola"))
    second = await stores.receive(inbound("SM2", text="¿Sigue ahí?"))

    assert second.is_new
    assert second.person_id == first.person_id
    work = await stores.conversations.work(first.person_id)
    assert [message.text for message in work.pending] == ["Hola", "¿Sigue ahí?"]


async def test_a_repeated_sid_is_not_new_and_tells_its_person(stores: Stores) -> None:
    first = await stores.receive(inbound("SM1"))
    await stores.receive(inbound("SM2", identities=["+573001112233"], phone_number="+573001112233"))

    repeated = await stores.receive(inbound("SM1"))

    assert not repeated.is_new
    assert repeated.person_id == first.person_id
    assert len((await stores.conversations.work(first.person_id)).pending) == 1


async def test_a_repetition_after_the_conversation_was_closed_opens_none(stores: Stores) -> None:
    person_id = await stores.new_person("SM1")
    await stores.conversations.close(await stores.conversation_id(person_id), now=NOW)

    assert not (await stores.receive(inbound("SM1"))).is_new

    assert (await stores.conversations.work(person_id)).conversation_id is None


async def test_any_known_identity_finds_the_person(stores: Stores) -> None:
    first = await stores.receive(inbound("SM1", identities=[ANA_CANONICAL]))

    second = await stores.receive(inbound("SM2", identities=["MX.1A2B", ANA_CANONICAL]))

    assert second.person_id == first.person_id


async def test_a_missing_identity_is_added(stores: Stores) -> None:
    first = await stores.receive(inbound("SM1", identities=[ANA_CANONICAL]))
    await stores.receive(inbound("SM2", identities=[ANA_CANONICAL, "MX.1A2B"]))

    by_user_id = await stores.receive(inbound("SM3", identities=["MX.1A2B"], phone_number=None))

    assert by_user_id.person_id == first.person_id


async def test_of_two_known_identities_the_first_listed_wins(stores: Stores) -> None:
    one = await stores.receive(inbound("SM1", identities=["MX.1A2B"], phone_number=None))
    other = await stores.receive(inbound("SM2", identities=[ANA_CANONICAL]))
    assert one.person_id != other.person_id

    assert (await stores.receive(inbound("SM3", identities=["MX.1A2B", ANA_CANONICAL]))) == one
    assert (await stores.receive(inbound("SM4", identities=[ANA_CANONICAL, "MX.1A2B"]))) == other


async def test_a_number_that_comes_with_another_user_id_is_somebody_elses_now(stores: Stores) -> None:
    former = await stores.receive(inbound("SM1", identities=["MX.1A2B", ANA_CANONICAL]))

    owner = await stores.receive(inbound("SM2", identities=["MX.9Z9Z", ANA_CANONICAL], profile_name="Otra"))

    assert owner.is_new
    assert owner.person_id != former.person_id
    assert [m.sid for m in (await stores.conversations.work(former.person_id)).pending] == ["SM1"]
    context = await stores.conversations.context(owner.person_id, messages_max=10)
    assert context is not None
    assert context.name == "Otra"
    by_number = await stores.receive(inbound("SM3", identities=[ANA_CANONICAL]))
    assert by_number.person_id == owner.person_id
    assert (await stores.due_call()) == owner.person_id
    by_user_id = await stores.receive(inbound("SM4", identities=["MX.1A2B"], phone_number=None))
    assert by_user_id.person_id == former.person_id


async def test_somebody_known_by_user_id_takes_over_a_number_of_another(stores: Stores) -> None:
    await stores.receive(inbound("SM1", identities=["MX.1A2B", ANA_CANONICAL]))
    mover = await stores.receive(inbound("SM2", identities=["MX.9Z9Z"], phone_number=None))

    moved = await stores.receive(inbound("SM3", identities=["MX.9Z9Z", ANA_CANONICAL]))

    assert moved.person_id == mover.person_id
    assert (await stores.receive(inbound("SM4", identities=[ANA_CANONICAL]))).person_id == mover.person_id


async def test_a_person_may_have_no_number(stores: Stores) -> None:
    received = await stores.receive(
        inbound("SM1", address="MX.1A2B", identities=["MX.1A2B"], phone_number=None)
    )

    context = await stores.conversations.context(received.person_id, messages_max=10)
    assert context is not None
    assert context.address == "MX.1A2B"


@pytest.mark.parametrize("blank", [None, ""])
async def test_a_name_is_filled_in_once(stores: Stores, blank: str | None) -> None:
    person_id = (await stores.receive(inbound("SM1", profile_name=blank))).person_id
    for sid, name in (("SM2", "Ana"), ("SM3", "Otra"), ("SM4", blank)):
        await stores.receive(inbound(sid, profile_name=name))

    context = await stores.conversations.context(person_id, messages_max=10)
    assert context is not None
    assert context.name == "Ana"


async def test_a_message_after_a_close_opens_a_conversation_with_the_same_agent(stores: Stores) -> None:
    await stores.calls.see([seen()], now=NOW)
    person_id = await stores.calls.save_details(
        details(),
        client_name=None,
        identities=[ANA_CANONICAL],
        follow_up=FollowUpState.DUE,
        agent_id="agent_special",
    )
    assert person_id is not None
    closed_id = await stores.conversation_id(person_id)
    await stores.conversations.close(closed_id, now=NOW)

    await stores.receive(inbound("SM1"))

    context = await stores.conversations.context(person_id, messages_max=10)
    assert context is not None
    assert context.conversation_id != closed_id
    assert context.agent_id == "agent_special"


async def test_of_several_closed_conversations_the_newest_gives_the_agent(stores: Stores) -> None:
    person_id = 0
    for number, agent_id in enumerate(("agent_first", "agent_second")):
        await stores.calls.see([seen(f"conv_{number}")], now=NOW)
        person_id = (
            await stores.calls.save_details(
                details(f"conv_{number}"),
                client_name=None,
                identities=[ANA_CANONICAL],
                follow_up=FollowUpState.DUE,
                agent_id=agent_id,
            )
            or 0
        )
        await stores.conversations.close(await stores.conversation_id(person_id), now=NOW)

    await stores.receive(inbound("SM1"))

    context = await stores.conversations.context(person_id, messages_max=10)
    assert context is not None
    assert context.agent_id == "agent_second"


async def test_a_number_is_filled_in_and_leaves_the_name_alone(stores: Stores) -> None:
    await stores.receive(inbound("SM1", identities=["MX.1A2B"], phone_number=None, profile_name="Ana"))
    await stores.receive(inbound("SM2", identities=["MX.1A2B", ANA_CANONICAL], profile_name="Otra"))
    person_id = (await stores.receive(inbound("SM3", identities=["MX.1A2B"]))).person_id

    context = await stores.conversations.context(person_id, messages_max=10)
    assert context is not None
    assert context.name == "Ana"


async def test_a_message_ends_the_wait_of_a_failed_turn(stores: Stores) -> None:
    person_id = await stores.new_person("SM1")
    conversation_id = await stores.conversation_id(person_id)
    nothing = Answer(address=ANA, pieces=())
    await stores.conversations.defer_turn(conversation_id, nothing, retry_at=NOW + 60 * MINUTE, now=NOW)
    assert await stores.recovery.people_with_work(now=NOW, after=0, limit=10) == []

    await stores.receive(inbound("SM2"))

    assert await stores.recovery.people_with_work(now=NOW, after=0, limit=10) == [person_id]
    assert (await stores.conversations.work(person_id)).turn_failures == 1


async def test_an_address_is_the_newest_one_written_from(stores: Stores) -> None:
    person_id = (await stores.receive(inbound("SM1", address="+525512345678"))).person_id
    await stores.receive(inbound("SM2", address="+5215512345678"), at=NOW + MINUTE)

    context = await stores.conversations.context(person_id, messages_max=10)
    assert context is not None
    assert context.address == "+5215512345678"
    assert context.window_opened_at == NOW + MINUTE


async def test_the_newest_message_tells_how_far_back_the_store_reaches(stores: Stores) -> None:
    assert await stores.inbox.newest_message_at() is None
    person_id = await stores.new_person("SM1")
    await stores.receive(inbound("SM2"), at=NOW + MINUTE)
    await stores.receive(inbound("SM1"), at=NOW + 2 * MINUTE)
    await stores.queue(person_id, "de nosotros")

    assert await stores.inbox.newest_message_at() == NOW + MINUTE


async def test_known_are_the_sids_of_stored_messages(stores: Stores) -> None:
    await stores.receive(inbound("SM1"))
    await stores.receive(inbound("SM2"))

    assert set(await stores.inbox.known(["SM2", "SM3"])) == {"SM2"}
    assert set(await stores.inbox.known([])) == set()
