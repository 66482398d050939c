"""Live calls on PostgreSQL when two connections want the same at the same moment."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import LiteralString

import pytest

from actors.calls import CallSighting, FollowUpState
from actors.live_call.ports import KeptRecording, LiveCall, Notice
from actors.live_call.reports import IncomingCall
from actors.live_call.state import CallState, Ending, Mode, Phase
from daemon.store.pool import Pool
from tests.contract.peeking import CallState as FollowUp
from tests.contract.peeking import SessionState
from tests.contract.racing import CONTENDERS, Contender, Ring, race
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

INCOMING = IncomingCall(call_sid="CA1", caller=ANA_CANONICAL, dialled=None)
OVER = CallState(mode=Mode.CONFERENCE, phase=Phase.ENDED)
NOTICE = Notice(
    address=ANA,
    identities=[ANA_CANONICAL, "MX.1A"],
    name="Ana",
    text="Beto dejó un mensaje.",
    template=None,
    agent_id=TEXT_AGENT,
)
HOLD_CALL: LiteralString = "SELECT id FROM live_call FOR UPDATE"
HOLD_SESSIONS: LiteralString = "SELECT id FROM call FOR UPDATE"


@pytest.fixture
def stores(postgres_stores: Stores) -> Stores:
    return postgres_stores


async def begin(stores: Stores) -> LiveCall:
    return await stores.live_calls.begin(INCOMING, mode=Mode.CONFERENCE, now=NOW)


def keep(stores: Stores, live_call_id: int, call_id: str = "conv_1", *, minute: int = 0) -> Contender:
    return partial(
        stores.live_calls.keep_session,
        live_call_id,
        conversation_id=call_id,
        agent_id=VOICE_AGENT,
        now=NOW + minute * MINUTE,
    )


def finish(stores: Stores, live_call_id: int, *, note: str = "") -> Contender:
    return partial(
        stores.live_calls.finish,
        live_call_id,
        OVER,
        ending=Ending.AGENT,
        note=note,
        follows_up=True,
        now=NOW + 10 * MINUTE,
    )


def take_in(stores: Stores, call_id: str = "conv_1") -> Contender:
    return partial(
        stores.calls.save_details,
        details(call_id),
        client_name="Ana",
        identities=[ANA_CANONICAL],
        follow_up=FollowUpState.DUE,
        agent_id=TEXT_AGENT,
    )


async def is_awaiting(stores: Stores, *call_ids: str) -> bool:
    calls = await stores.calls.awaiting_details(now=NOW + timedelta(days=1), limit=10)
    return sorted(call.id for call in calls) == sorted(call_ids)


@pytest.mark.parametrize("round_", range(5))
async def test_a_call_that_begins_twice_at_once_is_one(stores: Stores, round_: int) -> None:
    begun: Sequence[LiveCall] = await race(*(partial(begin, stores) for _ in range(CONTENDERS)))

    assert len({call.id for call in begun}) == 1
    assert list(await stores.live_calls.unfinished()) == [begun[0].id]


@pytest.mark.parametrize("round_", range(5))
async def test_a_session_that_is_kept_and_found_at_once_waits_for_the_end(
    stores: Stores, round_: int
) -> None:
    live = await begin(stores)
    calls = [seen("conv_1"), seen("conv_2", sighting=CallSighting.CONVERSATIONS)]

    await race(
        partial(stores.calls.see, calls, now=NOW),
        keep(stores, live.id, "conv_2"),
        keep(stores, live.id, "conv_1"),
        partial(stores.calls.see, calls[::-1], now=NOW),
    )

    assert await is_awaiting(stores)
    assert await finish(stores, live.id)()
    assert await is_awaiting(stores, "conv_1", "conv_2")


@pytest.mark.parametrize("order", [1, -1])
async def test_a_session_that_is_kept_as_its_details_come_waits_for_the_end(
    stores: Stores, ring: Ring, order: int
) -> None:
    live = await begin(stores)
    await stores.calls.see([seen()], now=NOW)

    contenders = [keep(stores, live.id), take_in(stores)][::order]
    await ring.collide(HOLD_SESSIONS, (), *contenders)

    assert await stores.peek.call("conv_1") == FollowUp("live")


@pytest.mark.parametrize("order", [1, -1])
async def test_a_session_is_kept_or_has_its_opening(stores: Stores, ring: Ring, order: int) -> None:
    live = await begin(stores)
    person_id = await stores.due_call()

    contenders: list[Contender] = [partial(stores.queue_opening, person_id), keep(stores, live.id)]
    results = await ring.collide(HOLD_SESSIONS, (), *contenders[::order])

    is_queued = results[::order][0]
    assert await stores.peek.call("conv_1") == FollowUp("queued" if is_queued else "live")
    assert len(await stores.lane(person_id)) == is_queued


async def test_a_call_that_is_finished_twice_at_once_is_finished_once(stores: Stores, ring: Ring) -> None:
    live = await begin(stores)
    await keep(stores, live.id, "conv_1")()
    await keep(stores, live.id, "conv_2", minute=1)()

    results = await ring.collide(
        HOLD_CALL, (), finish(stores, live.id, note="uno"), finish(stores, live.id, note="dos")
    )

    assert results == [True, True]
    assert await stores.peek.session("conv_1") == SessionState(live.id, True, None)
    assert await stores.peek.session("conv_2") == SessionState(live.id, False, "uno")


@pytest.mark.parametrize("order", [1, -1])
async def test_a_session_that_is_kept_at_the_end_is_followed_up(
    stores: Stores, ring: Ring, order: int
) -> None:
    live = await begin(stores)

    contenders = [keep(stores, live.id), finish(stores, live.id)][::order]
    await ring.collide(HOLD_CALL, (), *contenders)

    assert await is_awaiting(stores, "conv_1")
    await take_in(stores)()
    assert await stores.peek.call("conv_1") == FollowUp("due")


async def test_of_two_sessions_that_are_told_of_late_one_stands_for_the_call(
    stores: Stores, ring: Ring
) -> None:
    live = await begin(stores)
    await finish(stores, live.id)()

    await ring.collide(HOLD_CALL, (), keep(stores, live.id, "conv_1"), keep(stores, live.id, "conv_2"))

    assert [(await stores.peek.session(call_id)).is_part for call_id in ("conv_1", "conv_2")] == [False, True]


@pytest.mark.parametrize("order", [1, -1])
async def test_a_note_at_the_end_is_not_lost(stores: Stores, ring: Ring, order: int) -> None:
    live = await begin(stores)
    await keep(stores, live.id, "conv_1")()
    await keep(stores, live.id, "conv_2", minute=1)()

    contenders: list[Contender] = [
        finish(stores, live.id, note="uno"),
        partial(stores.live_calls.add_note, live.id, "dos"),
    ]
    await ring.collide(HOLD_CALL, (), *contenders[::order])

    assert (await stores.peek.session("conv_1")).note is None
    assert (await stores.peek.session("conv_2")).note == ("uno dos" if order == 1 else "dos uno")


async def test_finding_and_finishing_do_not_wait_for_each_other(stores: Stores, ring: Ring) -> None:
    live = await begin(stores)
    await keep(stores, live.id, "conv_2")()
    await keep(stores, live.id, "conv_1")()
    again = [seen("conv_2", batch_id="btcal_1"), seen("conv_1", batch_id="btcal_1")]

    await ring.collide(
        HOLD_SESSIONS,
        (),
        finish(stores, live.id),
        partial(stores.calls.see, again, now=NOW),
        partial(stores.calls.see, again[::-1], now=NOW),
    )

    assert await is_awaiting(stores, "conv_1", "conv_2")


# --- Recordings -------------------------------------------------------------------------------------------


async def awaited(stores: Stores) -> int:
    live = await begin(stores)
    expect = partial(stores.recordings.expect, live.id, sid="RE1", advisor="", duration_s=9, now=NOW)
    await race(*(expect for _ in range(CONTENDERS)))
    (recording,) = await stores.recordings.due(now=NOW, limit=10)
    return recording.id


async def test_a_message_that_is_kept_twice_at_once_is_told_once(stores: Stores, ring: Ring) -> None:
    recording_id = await awaited(stores)

    def keep_as(audio: bytes) -> Contender:
        recording = KeptRecording(audio=audio, content_type="audio/x-wav")
        return partial(stores.recordings.keep, recording_id, recording, notice=NOTICE, now=NOW)

    told = await ring.collide("SELECT id FROM live_recording FOR UPDATE", (), keep_as(b"1"), keep_as(b"2"))

    assert told[0] == told[1] is not None
    assert await stores.recordings.kept(recording_id) == KeptRecording(audio=b"1", content_type="audio/x-wav")
    assert len(await stores.lane(told[0])) == 1


@pytest.mark.parametrize("round_", range(5))
async def test_an_advisor_who_writes_as_they_are_told_is_one_person(
    stores: Stores, store_pool: Pool, round_: int
) -> None:
    recording_id = await awaited(stores)
    recording = KeptRecording(audio=b"1", content_type="audio/x-wav")

    told, received, _ = await race(
        partial(stores.recordings.keep, recording_id, recording, notice=NOTICE, now=NOW),
        partial(stores.receive, inbound("SM1", identities=["MX.1A", ANA_CANONICAL])),
        partial(stores.receive, inbound("SM2")),
    )

    assert told == received.person_id
    assert await store_pool.fetch_one("SELECT count(*) FROM person") == (1,)
    assert await store_pool.fetch_one("SELECT count(*) FROM conversation") == (1,)
