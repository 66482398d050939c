"""The port `RecordingStore`: messages that callers left, until the advisors know of them."""

from datetime import timedelta

from attrs import evolve

from actors.calls import FollowUpState
from actors.live_call.ports import (
    AwaitedRecording,
    KeptRecording,
    Notice,
    UndeletedRecording,
    VoicemailCall,
)
from actors.live_call.reports import IncomingCall
from actors.live_call.state import CallState, Ending, Mode, Phase
from actors.messages import DeliveryStatus, Purpose
from actors.ports import Answer
from tests.contract.peeking import MessageState
from tests.contract.stores import (
    ANA_CANONICAL,
    MINUTE,
    NOW,
    TEMPLATE,
    TEXT_AGENT,
    Stores,
    details,
    inbound,
    report,
    seen,
)

BETO = "+573001112233"
DAY = timedelta(days=1)
AUDIO = KeptRecording(audio=bytes(range(256)) * 400, content_type="audio/x-wav")
NOTICE = Notice(
    address=BETO,
    identities=[BETO],
    name="Beto",
    text="Ana dejó un mensaje de 12 segundos.",
    template=TEMPLATE,
    agent_id=TEXT_AGENT,
)


async def begin(stores: Stores, *, caller: str | None = ANA_CANONICAL, call_sid: str = "CA1") -> int:
    incoming = IncomingCall(call_sid=call_sid, caller=caller, dialled=None)
    return (await stores.live_calls.begin(incoming, mode=Mode.CONFERENCE, now=NOW)).id


async def expect(stores: Stores, live_call_id: int, sid: str = "RE1", *, minute: int = 0) -> None:
    await stores.recordings.expect(
        live_call_id, sid=sid, advisor="Beto", duration_s=12, now=NOW + minute * MINUTE
    )


async def awaited(stores: Stores) -> AwaitedRecording:
    """A message of Ana's for Beto that is still at Twilio."""
    await expect(stores, await begin(stores))
    (recording,) = await stores.recordings.due(now=NOW, limit=1)
    return recording


async def due(stores: Stores, *, minute: int = 100, limit: int = 10) -> list[str]:
    recordings = await stores.recordings.due(now=NOW + minute * MINUTE, limit=limit)
    return [recording.sid for recording in recordings]


async def tell(stores: Stores, notice: Notice = NOTICE) -> int:
    """Keep a message, and tell its advisor, whose id is returned."""
    recording = await awaited(stores)
    person_id = await stores.recordings.keep(recording.id, AUDIO, notice=notice, now=NOW)
    assert person_id is not None
    return person_id


async def end(
    stores: Stores, live_call_id: int, *, ending: Ending = Ending.VOICEMAIL, minute: int = 0
) -> None:
    over = CallState(mode=Mode.CONFERENCE, phase=Phase.ENDED, ending=ending)
    await stores.live_calls.finish(
        live_call_id, over, ending=ending, note="", follows_up=True, now=NOW + minute * MINUTE
    )


async def unsought(stores: Stores, *, minute: int = 100, limit: int = 10) -> list[str]:
    found = await stores.recordings.unsought(now=NOW + minute * MINUTE, limit=limit)
    return [call.call_sid for call in found]


# --- Seeking ----------------------------------------------------------------------------------------------


async def test_calls_that_ended_at_the_voicemail_are_sought_through_a_minute_later(stores: Stores) -> None:
    calls = {sid: await begin(stores, call_sid=sid) for sid in ("CA1", "CA2", "CA3", "CA4")}
    await end(stores, calls["CA1"], minute=50)
    await end(stores, calls["CA2"], minute=45)
    await end(stores, calls["CA3"], ending=Ending.AGENT, minute=50)

    assert await unsought(stores, minute=45) == []
    assert await unsought(stores, minute=46) == ["CA2"]
    assert await unsought(stores) == ["CA2", "CA1"]
    assert await unsought(stores, limit=1) == ["CA2"]
    (call,) = await stores.recordings.unsought(now=NOW + 46 * MINUTE, limit=10)
    assert call == VoicemailCall(live_call_id=calls["CA2"], call_sid="CA2", ended_at=NOW + 45 * MINUTE)

    await stores.recordings.seek_later(calls["CA2"], until=NOW + 60 * MINUTE)
    await stores.recordings.seek_later(calls["CA3"], until=NOW)
    assert await unsought(stores) == ["CA1", "CA2"]
    assert await unsought(stores, minute=59) == ["CA1"]


async def test_a_call_was_sought_through_once_all_that_was_recorded_is_known(stores: Stores) -> None:
    live_call_id = await begin(stores)
    await end(stores, live_call_id)
    await expect(stores, live_call_id, "RE1")

    assert await stores.recordings.sought(live_call_id, sids=["RE1", "RE2"]) is False
    assert await unsought(stores) == ["CA1"]
    await expect(stores, live_call_id, "RE2")
    assert await stores.recordings.sought(live_call_id, sids=["RE1", "RE2"]) is True
    assert await stores.recordings.sought(4711, sids=[]) is False
    await stores.recordings.seek_later(live_call_id, until=NOW)

    assert await unsought(stores) == []


async def test_a_call_in_which_nothing_was_recorded_needs_no_more_seeking(stores: Stores) -> None:
    live_call_id = await begin(stores)
    await end(stores, live_call_id)

    assert await stores.recordings.sought(live_call_id, sids=[]) is True
    assert await unsought(stores) == []


# --- Fetching ---------------------------------------------------------------------------------------------


async def test_a_message_is_awaited_once(stores: Stores) -> None:
    live_call_id = await begin(stores)

    await expect(stores, live_call_id)
    await stores.recordings.expect(live_call_id, sid="RE1", advisor="Otro", duration_s=99, now=NOW)

    assert list(await stores.recordings.due(now=NOW - MINUTE, limit=10)) == []
    (recording,) = await stores.recordings.due(now=NOW, limit=10)
    assert recording == AwaitedRecording(
        id=recording.id,
        live_call_id=live_call_id,
        sid="RE1",
        advisor="Beto",
        caller=ANA_CANONICAL,
        caller_name=None,
        duration_s=12,
        recorded_at=NOW,
        attempts=0,
    )


async def test_nothing_is_awaited_of_a_call_that_is_not_there(stores: Stores) -> None:
    await expect(stores, 4711)

    assert await due(stores) == []


async def test_who_has_waited_longest_comes_first(stores: Stores) -> None:
    live_call_id = await begin(stores)
    for minute, sid in ((2, "RE1"), (0, "RE2"), (1, "RE3")):
        await expect(stores, live_call_id, sid, minute=minute)

    assert await due(stores, limit=2) == ["RE2", "RE3"]
    assert await due(stores, minute=1) == ["RE2", "RE3"]


async def test_an_attempt_that_failed_is_made_again_later(stores: Stores) -> None:
    recording = await awaited(stores)

    await stores.recordings.postpone(recording.id, until=NOW + 5 * MINUTE)

    assert await due(stores, minute=4) == []
    (again,) = await stores.recordings.due(now=NOW + 5 * MINUTE, limit=10)
    assert again == evolve(recording, attempts=1)


async def test_what_cannot_be_had_is_dropped(stores: Stores) -> None:
    recording = await awaited(stores)

    await stores.recordings.drop(recording.id, reason="unknown at Twilio")
    await stores.recordings.drop(recording.id, reason="again")
    await stores.recordings.postpone(recording.id, until=NOW)

    assert await due(stores) == []
    assert await stores.peek.dropped("RE1") == "unknown at Twilio"
    assert await stores.recordings.kept(recording.id) is None
    # It is no new one either.
    await expect(stores, recording.live_call_id)
    assert await due(stores) == []


async def undeleted(stores: Stores, *, minute: int = 100, limit: int = 10) -> list[UndeletedRecording]:
    return list(await stores.recordings.undeleted(now=NOW + minute * MINUTE, limit=limit))


async def test_what_is_kept_is_deleted_at_twilio_once(stores: Stores) -> None:
    recording = await awaited(stores)
    await stores.recordings.postpone(recording.id, until=NOW + 5 * MINUTE)
    await stores.recordings.deleted(recording.id, now=NOW)
    assert await undeleted(stores) == []

    await stores.recordings.keep(recording.id, AUDIO, notice=None, now=NOW + MINUTE)
    still_there = UndeletedRecording(id=recording.id, sid="RE1", attempts=0)
    assert await undeleted(stores, minute=0) == []
    assert await undeleted(stores, minute=1) == [still_there]

    await stores.recordings.postpone(recording.id, until=NOW + 5 * MINUTE)
    assert await undeleted(stores, minute=4) == []
    assert await undeleted(stores, minute=5) == [evolve(still_there, attempts=1)]
    assert await due(stores) == []

    await stores.recordings.deleted(recording.id, now=NOW + 5 * MINUTE)
    await stores.recordings.postpone(recording.id, until=NOW)
    assert await undeleted(stores) == []
    assert await stores.recordings.kept(recording.id) == AUDIO


async def test_who_has_waited_longest_is_deleted_first(stores: Stores) -> None:
    live_call_id = await begin(stores)
    for minute, sid in ((2, "RE1"), (0, "RE2"), (1, "RE3")):
        await expect(stores, live_call_id, sid)
        (recording,) = await stores.recordings.due(now=NOW, limit=1)
        await stores.recordings.keep(recording.id, AUDIO, notice=None, now=NOW + minute * MINUTE)

    assert [recording.sid for recording in await undeleted(stores, limit=2)] == ["RE2", "RE3"]


async def test_what_is_dropped_is_not_deleted_at_twilio(stores: Stores) -> None:
    recording = await awaited(stores)
    await stores.recordings.drop(recording.id, reason="too large")

    assert await undeleted(stores) == []


async def test_the_caller_is_named_as_their_call_named_them(stores: Stores) -> None:
    await stores.receive(inbound("SM1", profile_name="✨Anita✨"))
    assert (await awaited(stores)).caller_name == "✨Anita✨"

    await stores.calls.see([seen()], now=NOW)
    await stores.calls.save_details(
        details(),
        client_name="Ana María",
        identities=[ANA_CANONICAL],
        follow_up=FollowUpState.NONE,
        agent_id=TEXT_AGENT,
    )

    (recording,) = await stores.recordings.due(now=NOW, limit=1)
    assert recording.caller_name == "Ana María"


async def test_a_caller_without_a_number_has_no_name(stores: Stores) -> None:
    await stores.new_person()
    await expect(stores, await begin(stores, caller=None))

    (recording,) = await stores.recordings.due(now=NOW, limit=1)
    assert (recording.caller, recording.caller_name) == (None, None)


# --- Keeping ----------------------------------------------------------------------------------------------


async def test_a_message_is_kept_as_it_is(stores: Stores) -> None:
    recording = await awaited(stores)
    assert await stores.recordings.kept(recording.id) is None

    assert await stores.recordings.keep(recording.id, AUDIO, notice=None, now=NOW) is None

    assert await stores.recordings.kept(recording.id) == AUDIO
    assert await due(stores) == []
    assert await stores.outbox.lanes(limit=10, exclude=()) == []


async def test_there_is_nothing_to_keep_that_was_not_awaited(stores: Stores) -> None:
    assert await stores.recordings.keep(4711, AUDIO, notice=NOTICE, now=NOW) is None
    assert await stores.recordings.kept(4711) is None
    assert await stores.outbox.lanes(limit=10, exclude=()) == []


async def test_what_was_dropped_and_comes_after_all_is_kept(stores: Stores) -> None:
    recording = await awaited(stores)
    await stores.recordings.drop(recording.id, reason="too late")

    assert await stores.recordings.keep(recording.id, AUDIO, notice=NOTICE, now=NOW) is not None

    assert await stores.recordings.kept(recording.id) == AUDIO
    assert await stores.peek.dropped("RE1") is None


async def test_what_is_kept_is_neither_dropped_nor_awaited_again(stores: Stores) -> None:
    recording = await awaited(stores)
    await stores.recordings.keep(recording.id, AUDIO, notice=None, now=NOW)

    await stores.recordings.drop(recording.id, reason="too late")
    await stores.recordings.postpone(recording.id, until=NOW)

    assert await stores.peek.dropped("RE1") is None
    assert await due(stores) == []


async def test_the_advisor_is_told_once(stores: Stores) -> None:
    recording = await awaited(stores)
    other = KeptRecording(audio=b"other", content_type="audio/mpeg")

    told = await stores.recordings.keep(recording.id, AUDIO, notice=NOTICE, now=NOW)
    again = await stores.recordings.keep(
        recording.id, other, notice=evolve(NOTICE, text="otro", identities=["MX.1A"]), now=NOW + MINUTE
    )

    assert told is not None
    assert again == told
    assert await stores.recordings.kept(recording.id) == AUDIO
    (message,) = await stores.lane(told)
    assert (message.purpose, message.text, message.address) == (Purpose.NOTICE, NOTICE.text, BETO)
    assert (message.template, message.created_at, message.must_use_template) == (TEMPLATE, NOW, False)


async def test_an_advisor_whom_nobody_knew_becomes_a_person_with_a_conversation(stores: Stores) -> None:
    person_id = await tell(stores)

    context = await stores.conversations.context(person_id, messages_max=5)
    assert context is not None
    assert (context.name, context.address, context.agent_id) == ("Beto", BETO, TEXT_AGENT)


async def test_an_advisor_who_has_written_keeps_name_and_conversation(stores: Stores) -> None:
    received = await stores.receive(
        inbound("SM1", address=BETO, identities=[BETO], phone_number=BETO, profile_name="Alberto")
    )

    assert await tell(stores, evolve(NOTICE, agent_id="agent_other")) == received.person_id

    context = await stores.conversations.context(received.person_id, messages_max=5)
    assert context is not None
    assert (context.conversation_id, context.name) == (received.conversation_id, "Alberto")
    assert context.agent_id == TEXT_AGENT


async def test_an_advisor_may_have_no_number(stores: Stores) -> None:
    person_id = await tell(stores, evolve(NOTICE, address="CO.1A", identities=["CO.1A"]))

    context = await stores.conversations.context(person_id, messages_max=5)
    assert context is not None
    assert context.address is None
    assert [message.address for message in await stores.lane(person_id)] == ["CO.1A"]


# --- A notice in the outbox -------------------------------------------------------------------------------


async def test_somebody_waits_for_a_notice(stores: Stores) -> None:
    person_id = await tell(stores)

    (lane,) = await stores.outbox.lanes(limit=1, exclude=())
    assert (lane.person_id, lane.purpose) == (person_id, Purpose.NOTICE)


async def test_a_notice_goes_as_its_text_while_the_window_is_open(stores: Stores) -> None:
    await stores.receive(inbound("SM1", address=BETO, identities=[BETO], phone_number=BETO))
    person_id = await tell(stores)

    message = await stores.claim(person_id)

    assert (message.purpose, message.as_template) == (Purpose.NOTICE, False)


async def test_a_notice_goes_as_its_own_template_where_the_window_is_closed(stores: Stores) -> None:
    person_id = await tell(stores)

    message = await stores.claim(person_id, at=NOW + 2 * DAY)

    assert (message.purpose, message.as_template) == (Purpose.NOTICE, True)
    assert (message.text, message.template) == (NOTICE.text, TEMPLATE)


async def test_a_notice_passes_answers_that_wait_for_the_advisor_to_write(stores: Stores) -> None:
    received = await stores.receive(inbound("SM1", address=BETO, identities=[BETO], phone_number=BETO))
    answer = Answer(address=BETO, pieces=["uno"], template=TEMPLATE)
    await stores.conversations.add_answer(received.conversation_id, answer, now=NOW)
    reopening = await stores.claim(received.person_id, at=NOW + 2 * DAY)
    assert reopening.purpose is Purpose.REOPENING
    await stores.outbox.accepted(reopening.id, sid="SM8", now=NOW + 2 * DAY)
    await tell(stores)

    message = await stores.claim(received.person_id, at=NOW + 2 * DAY)

    assert (message.purpose, message.as_template) == (Purpose.NOTICE, True)


async def test_a_notice_that_was_refused_as_text_goes_as_its_template_once(stores: Stores) -> None:
    await stores.receive(inbound("SM1", address=BETO, identities=[BETO], phone_number=BETO))
    person_id = await tell(stores)
    text = await stores.claim(person_id)
    await stores.outbox.accepted(text.id, sid="SM8", now=NOW)

    failed = report("SM8", DeliveryStatus.FAILED, error_code=63016)
    reported = await stores.outbox.report(failed, now=NOW, give_up_after=DAY)

    assert reported is not None
    assert (reported.purpose, reported.is_repeated) == (Purpose.NOTICE, True)
    template = await stores.claim(person_id)
    assert (template.purpose, template.as_template) == (Purpose.NOTICE, True)
    await stores.outbox.refused(template.id, code=63016, detail="closed", now=NOW)
    assert await stores.peek.message(template.id) == MessageState("refused", None, 63016)
    assert await stores.outbox.lanes(limit=10, exclude=()) == []


async def test_a_notice_is_not_given_up_with_what_is_held_back(stores: Stores) -> None:
    person_id = await tell(stores)

    assert await stores.holds.give_up_held(written_before=NOW + DAY, now=NOW + DAY) == 0

    assert (await stores.claim(person_id)).purpose is Purpose.NOTICE
