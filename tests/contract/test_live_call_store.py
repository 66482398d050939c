"""The port `LiveCallStore`: where live calls stand, their sessions, and what is known of who calls."""

from collections.abc import Sequence

import pytest
from attrs import evolve

from actors.calls import CallAnalysis, CallOutcome, CallSighting, FollowUpState, TranscriptEntry
from actors.live_call.ports import KeptRecording, LiveCall, Notice
from actors.live_call.reports import IncomingCall
from actors.live_call.state import (
    Attempt,
    CallState,
    Ending,
    LeftMessage,
    Leg,
    LegStage,
    Missed,
    Mode,
    Opening,
    Phase,
    Role,
    Session,
)
from actors.ports import Answer
from tests.contract import peeking
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
    seen,
)

INCOMING = IncomingCall(call_sid="CA1", caller=ANA_CANONICAL, dialled="+525550001111")
BEGUN = CallState(mode=Mode.CONFERENCE)
OVER = CallState(mode=Mode.CONFERENCE, phase=Phase.ENDED)
ADVANCED = CallState(
    mode=Mode.DIRECT,
    phase=Phase.TRANSFERRING,
    legs=(
        Leg(ordinal=1, role=Role.AGENT, stage=LegStage.OVER, sid="CA2", sequence=3),
        Leg(ordinal=2, role=Role.ADVISOR, advisor="Jesús Ñ.", stage=LegStage.RINGING, is_unwanted=True),
    ),
    is_caller_there=True,
    is_held=True,
    has_moved=True,
    is_on_the_way=True,
    session=Session.OPEN,
    opening=Opening.AFTER_MISSED,
    untold=Missed.BUSY,
    returns=1,
    is_agent_given_up=True,
    resumes=2,
    is_plain=True,
    reason="Quiere una cotización",
    attempts=(Attempt(advisor="Beto", missed=Missed.NO_ANSWER), Attempt(advisor="Jesús Ñ.", missed=None)),
    wants_message=True,
    sessions=("conv_1", "conv_2"),
    recordings=(LeftMessage(sid="RE1", duration_s=7, advisor="Jesús Ñ."),),
    had_advisor=True,
)
PART = peeking.CallState("none", "part of a live call")


async def begin(stores: Stores, incoming: IncomingCall = INCOMING) -> int:
    return (await stores.live_calls.begin(incoming, mode=Mode.CONFERENCE, now=NOW)).id


async def keep(stores: Stores, live_call_id: int, call_id: str = "conv_1", *, minute: float = 0) -> None:
    await stores.live_calls.keep_session(
        live_call_id, conversation_id=call_id, agent_id=VOICE_AGENT, now=NOW + minute * MINUTE
    )


async def finish(
    stores: Stores, live_call_id: int, *, minute: float = 10, note: str = "", follows_up: bool = True
) -> bool:
    return await stores.live_calls.finish(
        live_call_id,
        OVER,
        ending=Ending.AGENT,
        note=note,
        follows_up=follows_up,
        now=NOW + minute * MINUTE,
    )


async def awaiting(stores: Stores, *, minute: float = 100) -> list[str]:
    calls = await stores.calls.awaiting_details(now=NOW + minute * MINUTE, limit=10)
    return [call.id for call in calls]


async def take_in(stores: Stores, *call_ids: str, follow_up: FollowUpState = FollowUpState.DUE) -> int:
    """The details of these calls come. Returns the caller's id."""
    person_id = None
    for call_id in call_ids:
        person_id = await stores.calls.save_details(
            evolve(details(call_id), direction=None),
            client_name="Ana",
            identities=[ANA_CANONICAL],
            follow_up=follow_up,
            agent_id=TEXT_AGENT,
        )
    assert person_id is not None
    return person_id


# --- The call itself --------------------------------------------------------------------------------------


async def test_a_call_begins_once(stores: Stores) -> None:
    first = await stores.live_calls.begin(INCOMING, mode=Mode.CONFERENCE, now=NOW)

    assert first == LiveCall(
        id=first.id,
        call_sid="CA1",
        caller=ANA_CANONICAL,
        called="+525550001111",
        started_at=NOW,
        state=BEGUN,
    )
    await stores.live_calls.save(first.id, ADVANCED, now=NOW)
    again = await stores.live_calls.begin(INCOMING, mode=Mode.CONFERENCE, now=NOW + MINUTE)
    assert again == evolve(first, state=ADVANCED)


async def test_calls_are_found_by_their_leg(stores: Stores) -> None:
    hidden = IncomingCall(call_sid="CA2", caller=None, dialled=None)
    one, two = await begin(stores), await begin(stores, hidden)

    assert one != two
    assert await stores.live_calls.find("CA1") == one
    assert await stores.live_calls.find("CA2") == two
    assert await stores.live_calls.find("CA3") is None
    assert await stores.live_calls.load(4711) is None
    loaded = await stores.live_calls.load(two)
    assert loaded == LiveCall(id=two, call_sid="CA2", caller=None, called=None, started_at=NOW, state=BEGUN)


async def test_a_state_comes_back_as_it_was_stored(stores: Stores) -> None:
    live_call_id = await begin(stores)

    await stores.live_calls.save(live_call_id, ADVANCED, now=NOW)

    loaded = await stores.live_calls.load(live_call_id)
    assert loaded is not None
    assert loaded.state == ADVANCED


async def test_a_call_goes_on_until_it_is_finished(stores: Stores) -> None:
    one, two = await begin(stores), await begin(stores, evolve(INCOMING, call_sid="CA2"))
    # What a crash between the two leaves behind.
    await stores.live_calls.save(one, OVER, now=NOW)
    assert list(await stores.live_calls.unfinished()) == [one, two]

    await finish(stores, one)

    assert list(await stores.live_calls.unfinished()) == [two]
    assert await stores.live_calls.find("CA1") == one
    assert await stores.peek.ending(one) == ("agent", NOW + 10 * MINUTE)
    assert await stores.peek.ending(two) == (None, None)


async def test_a_call_that_has_ended_stays_ended_and_learns_what_comes_late(stores: Stores) -> None:
    live_call_id = await begin(stores)
    await finish(stores, live_call_id)

    await stores.live_calls.save(live_call_id, ADVANCED, now=NOW)
    stands = await stores.live_calls.load(live_call_id)
    assert stands is not None
    assert stands.state == OVER

    learned = evolve(OVER, recordings=(LeftMessage(sid="RE1", duration_s=7, advisor="Jesús Ñ."),))
    await stores.live_calls.save(live_call_id, learned, now=NOW)
    stands = await stores.live_calls.load(live_call_id)
    assert stands is not None
    assert stands.state == learned
    assert list(await stores.live_calls.unfinished()) == []


async def test_what_is_nobodys_changes_nothing(stores: Stores) -> None:
    await stores.live_calls.save(4711, ADVANCED, now=NOW)
    await keep(stores, 4711)
    await stores.live_calls.add_note(4711, "Dejó un mensaje.")
    assert await finish(stores, 4711) is False
    assert list(await stores.live_calls.unfinished()) == []
    assert list(await stores.calls.see([seen()], now=NOW)) == ["conv_1"]


# --- Sessions ---------------------------------------------------------------------------------------------


async def test_nobody_follows_a_session_up_while_the_call_goes_on(stores: Stores) -> None:
    live_call_id = await begin(stores)
    await keep(stores, live_call_id)

    for sighting in (CallSighting.WEBHOOK, CallSighting.CONVERSATIONS, CallSighting.COMMAND):
        assert list(await stores.calls.see([seen(sighting=sighting)], now=NOW)) == []
    assert await stores.calls.awaited("conv_1") is None
    await stores.calls.postpone("conv_1", until=NOW)
    await stores.calls.give_up("conv_1", reason="unknown")
    await stores.calls.save_details(
        details(), client_name=None, identities=[ANA_CANONICAL], follow_up=FollowUpState.DUE, agent_id=""
    )
    await keep(stores, live_call_id, minute=1)

    assert await awaiting(stores) == []
    assert await stores.peek.call("conv_1") == peeking.CallState("live")


async def test_a_session_is_a_call_of_the_callers_once_the_call_is_over(stores: Stores) -> None:
    live_call_id = await begin(stores)
    await keep(stores, live_call_id)

    assert await finish(stores, live_call_id)

    (call,) = await stores.calls.awaiting_details(now=NOW + 10 * MINUTE, limit=10)
    assert (call.id, call.sighting, call.seen_at) == ("conv_1", CallSighting.LIVE, NOW)
    assert (call.outcome, call.phone_number, call.attempts) == (CallOutcome.COMPLETED, ANA_CANONICAL, 0)
    assert await awaiting(stores, minute=9) == []
    person_id = await take_in(stores, "conv_1")
    assert await stores.is_due(person_id)


@pytest.mark.parametrize(
    ("starts", "main"),
    [
        ([0, 1, 9], "conv_1"),
        ([0, 6, 9], "conv_0"),
        ([0, 1, 2], "conv_2"),
        ([3, 2, 1], "conv_0"),
        # Of two that lasted equally long the first.
        ([0, 5], "conv_0"),
    ],
)
async def test_the_longest_session_leads_to_the_opening(
    stores: Stores, starts: Sequence[int], main: str
) -> None:
    live_call_id = await begin(stores)
    call_ids = [f"conv_{number}" for number in range(len(starts))]
    for call_id, start in zip(call_ids, starts, strict=True):
        await keep(stores, live_call_id, call_id, minute=start)

    assert await finish(stores, live_call_id, note="Habló con Beto.")

    assert sorted(await awaiting(stores)) == call_ids
    person_id = await take_in(stores, *call_ids)
    assert list((await stores.conversations.work(person_id)).due_calls) == [main]
    for call_id in call_ids:
        is_main = call_id == main
        expected = peeking.SessionState(live_call_id, not is_main, "Habló con Beto." if is_main else None)
        assert await stores.peek.session(call_id) == expected
        assert await stores.peek.call(call_id) == (peeking.CallState("due") if is_main else PART)


async def test_the_agent_knows_what_was_said_in_every_part(stores: Stores) -> None:
    live_call_id = await begin(stores)
    await keep(stores, live_call_id, "conv_1")
    await keep(stores, live_call_id, "conv_2", minute=1)
    await finish(stores, live_call_id, note="Habló con Beto.")
    await take_in(stores, "conv_2", "conv_1")

    history = await stores.live_calls.history([ANA_CANONICAL], messages_max=5)

    assert history is not None
    assert [(call.id, call.note) for call in history.calls] == [
        ("conv_2", "Habló con Beto."),
        ("conv_1", None),
    ]


async def test_no_session_leads_to_an_opening_where_none_is_wanted(stores: Stores) -> None:
    live_call_id = await begin(stores)
    await keep(stores, live_call_id, "conv_1")
    await keep(stores, live_call_id, "conv_2", minute=1)

    assert await finish(stores, live_call_id, note="Habló con Beto.", follows_up=False)

    await take_in(stores, "conv_1", "conv_2")
    assert [await stores.peek.call(call_id) for call_id in ("conv_1", "conv_2")] == [PART, PART]
    assert await stores.peek.session("conv_2") == peeking.SessionState(live_call_id, True, "Habló con Beto.")


async def test_a_part_waits_for_its_details_as_any_call(stores: Stores) -> None:
    live_call_id = await begin(stores)
    await keep(stores, live_call_id)
    await finish(stores, live_call_id, follows_up=False)

    await take_in(stores, "conv_1", follow_up=FollowUpState.AWAITING_DETAILS)
    assert await awaiting(stores) == ["conv_1"]
    await take_in(stores, "conv_1", follow_up=FollowUpState.NONE)
    assert await stores.peek.call("conv_1") == PART
    # The operator's command cannot make a call of it either.
    assert list(await stores.calls.see([seen(sighting=CallSighting.COMMAND)], now=NOW)) == ["conv_1"]
    await take_in(stores, "conv_1")
    assert await stores.peek.call("conv_1") == PART


async def test_a_call_finished_again_stays_as_it_was(stores: Stores) -> None:
    live_call_id = await begin(stores)
    await keep(stores, live_call_id)
    assert await finish(stores, live_call_id, note="uno")

    # Who never learned that it was finished asks again, and is told the same.
    assert await finish(stores, live_call_id, minute=20, note="dos", follows_up=False)

    assert await stores.peek.ending(live_call_id) == ("agent", NOW + 10 * MINUTE)
    assert await stores.peek.session("conv_1") == peeking.SessionState(live_call_id, False, "uno")
    await take_in(stores, "conv_1")
    assert not await finish(stores, live_call_id, minute=30)
    assert await stores.peek.call("conv_1") == peeking.CallState("due")


async def test_a_call_without_a_session_wants_no_details(stores: Stores) -> None:
    assert not await finish(stores, await begin(stores), note="Nadie le atendió.")


# --- Sessions that were found as finished calls -----------------------------------------------------------


@pytest.mark.parametrize("sighting", [CallSighting.WEBHOOK, CallSighting.CONVERSATIONS])
async def test_a_session_that_was_found_first_is_taken_over(stores: Stores, sighting: CallSighting) -> None:
    live_call_id = await begin(stores)
    await stores.calls.see([evolve(seen(sighting=sighting), phone_number=None)], now=NOW)

    await keep(stores, live_call_id)

    assert await awaiting(stores) == []
    await finish(stores, live_call_id)
    (call,) = await stores.calls.awaiting_details(now=NOW + 10 * MINUTE, limit=10)
    told = CallSighting.WEBHOOK if sighting is CallSighting.WEBHOOK else CallSighting.LIVE
    assert (call.sighting, call.phone_number, call.outcome) == (told, ANA_CANONICAL, CallOutcome.COMPLETED)


async def test_a_session_whose_opening_is_not_written_yet_is_taken_over(stores: Stores) -> None:
    live_call_id = await begin(stores)
    person_id = await stores.due_call("conv_1")

    await keep(stores, live_call_id)

    assert not await stores.is_due(person_id)
    assert not await stores.queue_opening(person_id)
    assert await stores.peek.call("conv_1") == peeking.CallState("live")
    await finish(stores, live_call_id)
    await take_in(stores, "conv_1")
    assert await stores.is_due(person_id)


async def test_a_session_whose_opening_is_written_stands_for_the_call(stores: Stores) -> None:
    live_call_id = await begin(stores)
    person_id = await stores.due_call("conv_1")
    await stores.queue_opening(person_id)

    await keep(stores, live_call_id, "conv_1")
    await keep(stores, live_call_id, "conv_2", minute=1)

    await finish(stores, live_call_id, note="Habló con Beto.")
    await take_in(stores, "conv_2")
    assert await stores.peek.call("conv_1") == peeking.CallState("queued")
    assert await stores.peek.call("conv_2") == PART
    assert await stores.peek.session("conv_1") == peeking.SessionState(live_call_id, False, "Habló con Beto.")


async def test_a_session_that_was_given_up_does_not_stand_for_the_call(stores: Stores) -> None:
    live_call_id = await begin(stores)
    await stores.calls.see([seen("conv_1")], now=NOW)
    await stores.calls.give_up("conv_1", reason="unknown")
    await keep(stores, live_call_id, "conv_1")
    await keep(stores, live_call_id, "conv_2", minute=9)

    await finish(stores, live_call_id)

    assert await stores.peek.call("conv_1") == peeking.CallState("none", "unknown")
    await take_in(stores, "conv_2")
    assert await stores.peek.call("conv_2") == peeking.CallState("due")


@pytest.mark.parametrize("is_found", [False, True])
async def test_a_session_that_is_told_of_after_the_call_is_followed_up_too(
    stores: Stores, *, is_found: bool
) -> None:
    live_call_id = await begin(stores)
    await finish(stores, live_call_id)
    if is_found:
        await stores.due_call("conv_1")

    await keep(stores, live_call_id, "conv_1", minute=11)
    await keep(stores, live_call_id, "conv_2", minute=11)

    assert await awaiting(stores, minute=11) == ["conv_1", "conv_2"]
    await take_in(stores, "conv_1", "conv_2")
    assert await stores.peek.call("conv_1") == peeking.CallState("due")
    assert await stores.peek.call("conv_2") == PART


async def test_a_session_that_is_told_of_after_a_call_that_is_not_followed_up_is_a_part(
    stores: Stores,
) -> None:
    live_call_id = await begin(stores)
    await finish(stores, live_call_id, follows_up=False)

    await keep(stores, live_call_id, minute=11)

    await take_in(stores, "conv_1")
    assert await stores.peek.call("conv_1") == PART


async def test_a_session_belongs_to_the_call_that_kept_it_first(stores: Stores) -> None:
    one, two = await begin(stores), await begin(stores, evolve(INCOMING, call_sid="CA2"))
    await keep(stores, one)
    await finish(stores, one)

    await keep(stores, two)

    assert await awaiting(stores) == ["conv_1"]
    assert (await stores.peek.session("conv_1")).live_call_id == one


# --- Notes ------------------------------------------------------------------------------------------------


async def test_notes_are_added_each_once(stores: Stores) -> None:
    live_call_id = await begin(stores)
    await keep(stores, live_call_id, "conv_1")
    await keep(stores, live_call_id, "conv_2", minute=1)
    await finish(stores, live_call_id, note="Habló con Beto.")
    await take_in(stores, "conv_1", "conv_2")

    for note in ("Dejó un mensaje.", "Dejó un mensaje.", ""):
        await stores.live_calls.add_note(live_call_id, note)

    assert (await stores.peek.session("conv_1")).note is None
    assert (await stores.peek.session("conv_2")).note == "Habló con Beto. Dejó un mensaje."


async def test_what_is_noted_before_the_end_is_not_lost(stores: Stores) -> None:
    live_call_id = await begin(stores)
    await keep(stores, live_call_id, "conv_1")
    await stores.live_calls.add_note(live_call_id, "Dejó un mensaje.")
    await keep(stores, live_call_id, "conv_2", minute=1)

    await finish(stores, live_call_id, note="Habló con Beto.")

    assert (await stores.peek.session("conv_1")).note is None
    assert (await stores.peek.session("conv_2")).note == "Dejó un mensaje. Habló con Beto."


@pytest.mark.parametrize("note", ["", "Habló con Beto."])
async def test_of_parts_alone_the_longest_has_the_note(stores: Stores, note: str) -> None:
    live_call_id = await begin(stores)
    await keep(stores, live_call_id, "conv_1")
    await keep(stores, live_call_id, "conv_2", minute=1)
    await keep(stores, live_call_id, "conv_3", minute=9)
    await finish(stores, live_call_id, note=note, follows_up=False)

    await stores.live_calls.add_note(live_call_id, "Dejó un mensaje.")

    notes = [(await stores.peek.session(call_id)).note for call_id in ("conv_1", "conv_2", "conv_3")]
    assert notes == [None, f"{note} Dejó un mensaje.".strip(), None]


async def test_the_persons_agent_is_told_the_note(stores: Stores) -> None:
    live_call_id = await begin(stores)
    await keep(stores, live_call_id)
    await finish(stores, live_call_id, note="Dejó un mensaje.")
    person_id = await take_in(stores, "conv_1")

    context = await stores.conversations.context(person_id, messages_max=1)

    assert context is not None
    assert [call.note for call in context.calls] == ["Dejó un mensaje."]


# --- What is known of who calls ---------------------------------------------------------------------------


async def test_a_stranger_has_no_history(stores: Stores) -> None:
    await stores.new_person()

    assert await stores.live_calls.history([], messages_max=5) is None
    assert await stores.live_calls.history(["+573001112233"], messages_max=5) is None


async def test_a_caller_is_known_as_their_conversation_knows_them(stores: Stores) -> None:
    analysis = CallAnalysis(summary="Habló de un crédito.", collected={"monto": 5000})
    said = [TranscriptEntry(role="user", text="Hola", offset_s=1)]
    person_id = await stores.due_call()
    await stores.calls.see([seen("conv_2")], now=NOW)
    await stores.calls.save_details(
        evolve(details("conv_2", started_at=NOW + MINUTE, analysis=analysis), transcript=said),
        client_name="Ana",
        identities=[ANA_CANONICAL],
        follow_up=FollowUpState.NONE,
        agent_id=TEXT_AGENT,
    )
    await stores.receive(inbound("SM1"))
    work = await stores.conversations.work(person_id)
    assert work.conversation_id is not None
    await stores.conversations.answer(
        work.conversation_id, [work.pending[0].id], Answer(address=ANA, pieces=["uno", "dos"]), now=NOW
    )
    context = await stores.conversations.context(person_id, messages_max=2)

    history = await stores.live_calls.history(["MX.1A", ANA_CANONICAL], messages_max=2)

    assert context is not None
    assert history is not None
    assert (history.pseudonym, history.name) == (context.pseudonym, "Ana")
    assert list(history.calls) == list(context.calls)
    assert [call.id for call in history.calls] == ["conv_2", "conv_1"]
    assert list(history.messages) == list(context.messages)
    assert [message.text for message in history.messages] == ["uno", "dos"]


async def test_a_history_outlives_its_conversation(stores: Stores) -> None:
    person_id = await stores.new_person()
    await stores.conversations.close(await stores.conversation_id(person_id), now=NOW)

    history = await stores.live_calls.history([ANA_CANONICAL], messages_max=5)

    assert history is not None
    assert [message.text for message in history.messages] == ["Hola"]


async def test_the_call_that_goes_on_is_no_history(stores: Stores) -> None:
    await stores.new_person()
    await keep(stores, await begin(stores))

    history = await stores.live_calls.history([ANA_CANONICAL], messages_max=5)

    assert history is not None
    assert list(history.calls) == []


async def test_what_an_advisor_is_told_is_no_talk_with_the_agent(stores: Stores) -> None:
    live_call_id = await begin(stores)
    await stores.recordings.expect(live_call_id, sid="RE1", advisor="Ana", duration_s=9, now=NOW)
    (recording,) = await stores.recordings.due(now=NOW, limit=1)
    notice = Notice(
        address=ANA,
        identities=[ANA_CANONICAL],
        name="Ana",
        text="Beto dejó un mensaje.",
        template=None,
        agent_id=TEXT_AGENT,
    )
    kept = KeptRecording(audio=b"\x00", content_type="audio/x-wav")
    person_id = await stores.recordings.keep(recording.id, kept, notice=notice, now=NOW)
    assert person_id is not None

    context = await stores.conversations.context(person_id, messages_max=5)
    history = await stores.live_calls.history([ANA_CANONICAL], messages_max=5)

    assert context is not None
    assert history is not None
    assert list(context.messages) == list(history.messages) == []
