"""The port `ConversationStore`: what a session with the agent should know beforehand."""

from attrs import evolve

from actors.calls import CallAnalysis, CallOutcome, FollowUpState, TranscriptEntry
from actors.messages import DeliveryStatus
from actors.ports import Answer
from tests.contract.stores import (
    ANA,
    ANA_CANONICAL,
    MINUTE,
    NOW,
    TEXT_AGENT,
    VOICE_AGENT,
    Stores,
    details,
    inbound,
    report,
    seen,
)


async def test_nobody_has_no_context(stores: Stores) -> None:
    assert await stores.conversations.context(4711, messages_max=10) is None


async def test_context_ends_with_the_conversation(stores: Stores) -> None:
    person_id = await stores.new_person()
    await stores.conversations.close(await stores.conversation_id(person_id), now=NOW)

    assert await stores.conversations.context(person_id, messages_max=10) is None


async def test_context_tells_of_person_and_call(stores: Stores) -> None:
    analysis = CallAnalysis(summary="Habló de un crédito.", collected={"intent": "crédito", "monto": 5000})
    call = details(analysis=analysis, started_at=NOW)
    person_id = await stores.due_call()
    await stores.calls.see([seen("conv_2")], now=NOW)
    await stores.calls.save_details(
        details("conv_2", started_at=NOW + MINUTE, analysis=analysis),
        client_name="Otra",
        identities=[ANA_CANONICAL],
        follow_up=FollowUpState.NONE,
        agent_id=TEXT_AGENT,
    )

    context = await stores.conversations.context(person_id, messages_max=10)

    assert context is not None
    assert (context.person_id, context.agent_id, context.name) == (person_id, TEXT_AGENT, "Ana")
    assert (context.address, context.window_opened_at) == (ANA_CANONICAL, None)
    newest, oldest = context.calls
    assert (newest.id, newest.agent_id, newest.outcome) == ("conv_2", VOICE_AGENT, CallOutcome.COMPLETED)
    assert (newest.started_at, newest.duration_s) == (NOW + MINUTE, call.duration_s)
    assert newest.summary == "Habló de un crédito."
    assert newest.collected == {"intent": "crédito", "monto": 5000}
    assert (oldest.id, oldest.summary, oldest.collected) == ("conv_1", None, {})


async def test_a_pseudonym_stays_and_tells_nothing(stores: Stores) -> None:
    person_id = await stores.new_person()
    other = await stores.receive(inbound("SM9", identities=["MX.1A2B"], phone_number=None))

    first = await stores.conversations.context(person_id, messages_max=10)
    again = await stores.conversations.context(person_id, messages_max=10)
    another = await stores.conversations.context(other.person_id, messages_max=10)

    assert first is not None
    assert again is not None
    assert another is not None
    assert first.pseudonym == again.pseudonym != another.pseudonym
    assert ANA_CANONICAL not in first.pseudonym


async def test_context_ends_with_the_end_of_a_long_call(stores: Stores) -> None:
    await stores.calls.see([seen()], now=NOW)
    transcript = [
        TranscriptEntry(role="user", text=f"frase {number} " + 100 * "x", offset_s=number)
        for number in range(60)
    ]
    person_id = await stores.calls.save_details(
        evolve(details(), transcript=transcript),
        client_name=None,
        identities=[ANA_CANONICAL],
        follow_up=FollowUpState.DUE,
        agent_id=TEXT_AGENT,
    )
    assert person_id is not None

    context = await stores.conversations.context(person_id, messages_max=10)

    assert context is not None
    excerpt = context.calls[0].transcript_excerpt
    assert excerpt.splitlines()[-1] == "user: frase 59 " + 100 * "x"
    assert excerpt.startswith("user: frase ")
    assert 1000 < len(excerpt) <= 2000


async def test_context_holds_a_due_call_however_old(stores: Stores) -> None:
    person_id = await stores.due_call("conv_old", started_at=NOW - 600 * MINUTE)
    for number in range(7):
        await stores.due_call(f"conv_{number}", started_at=NOW + number * MINUTE)
        await stores.queue_opening(person_id, f"conv_{number}")

    context = await stores.conversations.context(person_id, messages_max=10)

    assert context is not None
    assert [call.id for call in context.calls] == [
        "conv_6",
        "conv_5",
        "conv_4",
        "conv_3",
        "conv_2",
        "conv_old",
    ]


async def test_history_is_the_newest_messages_oldest_first_without_unanswered_ones(stores: Stores) -> None:
    person_id = await stores.new_person("SM1")
    conversation_id = await stores.conversation_id(person_id)
    (first,) = (await stores.conversations.work(person_id)).pending
    await stores.conversations.answer(
        conversation_id, [first.id], Answer(address=ANA, pieces=["uno", "dos"]), now=NOW
    )
    await stores.receive(inbound("SM2", text="sin respuesta"))

    context = await stores.conversations.context(person_id, messages_max=2)
    longer = await stores.conversations.context(person_id, messages_max=10)

    assert context is not None
    assert [(m.direction, m.text, m.at) for m in context.messages] == [
        ("outbound", "uno", NOW),
        ("outbound", "dos", NOW),
    ]
    assert longer is not None
    assert [m.text for m in longer.messages] == ["Hola", "uno", "dos"]


async def test_history_goes_back_beyond_the_open_conversation(stores: Stores) -> None:
    person_id = await stores.new_person("SM1")
    await stores.queue(person_id, "antes")
    await stores.conversations.close(await stores.conversation_id(person_id), now=NOW)
    await stores.receive(inbound("SM2", text="después"))
    await stores.queue(person_id, "ahora")

    context = await stores.conversations.context(person_id, messages_max=10)

    assert context is not None
    # The first message was dropped from the agent's work by the close, and stays in the history.
    assert [m.text for m in context.messages] == ["Hola", "antes", "ahora"]


async def test_history_leaves_out_what_never_reached_the_person(stores: Stores) -> None:
    person_id = await stores.new_person("SM1")
    await stores.queue(person_id, "rechazado", "fallido", "recibido")
    refused = await stores.claim(person_id)
    await stores.outbox.refused(refused.id, code=21610, detail="opted out", now=NOW)
    failed = await stores.claim(person_id)
    await stores.outbox.report(
        report("SM8", DeliveryStatus.FAILED, message_id=failed.id, error_code=63024), now=NOW
    )

    context = await stores.conversations.context(person_id, messages_max=10)

    assert context is not None
    assert [m.text for m in context.messages] == ["recibido"]
