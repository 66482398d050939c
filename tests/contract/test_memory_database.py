"""What the stores in memory offer beyond the ports: an outage on demand, and nothing halfway."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from attrs import evolve
from trio.testing import assert_checkpoints

from actors.calls import Batch, BatchSummary, FollowUpState
from actors.live_call.ports import KeptRecording, Notice
from actors.live_call.reports import IncomingCall
from actors.live_call.state import CallState, Ending, Mode
from actors.messages import DeliveryStatus
from actors.ports import Answer, Opening, StoreUnavailableError
from tests.contract.stores import (
    ANA,
    ANA_CANONICAL,
    NOW,
    TEXT_AGENT,
    Stores,
    details,
    inbound,
    report,
    seen,
)
from tests.memory.database import HeldCampaign, MemoryDatabase

ANSWER = Answer(address=ANA, pieces=["uno"])
OPENING = Opening(call_id="conv_1", conversation_id=1, address=ANA, text="Hola")
BATCH = Batch(
    summary=BatchSummary(
        id="btcal_1", name="", agent_id="", status="", is_over=False, created_at=NOW, updated_at=NOW
    ),
    recipients=(),
)

INCOMING = IncomingCall(call_sid="CA2", caller=None, dialled=None)
STATE = CallState(mode=Mode.DIRECT)
RECORDING = KeptRecording(audio=b"", content_type="")
NOTICE = Notice(address=ANA, identities=["MX.9"], name="", text="Hola", template=None, agent_id=TEXT_AGENT)

METHODS: dict[str, Callable[[Stores], Awaitable[object]]] = {
    "newest_message_at": lambda s: s.inbox.newest_message_at(),
    "receive": lambda s: s.receive(inbound("SM2")),
    "see": lambda s: s.calls.see([seen()], now=NOW),
    "save_batch": lambda s: s.calls.save_batch(BATCH, is_settled=True),
    "settled_batches": lambda s: s.calls.settled_batches(),
    "awaiting_details": lambda s: s.calls.awaiting_details(now=NOW, limit=1),
    "awaited": lambda s: s.calls.awaited("conv_1"),
    "postpone": lambda s: s.calls.postpone("conv_1", until=NOW),
    "save_details": lambda s: s.calls.save_details(
        details(),
        client_name=None,
        identities=[ANA_CANONICAL],
        follow_up=FollowUpState.DUE,
        agent_id=TEXT_AGENT,
    ),
    "give_up": lambda s: s.calls.give_up("conv_1", reason=""),
    "work": lambda s: s.conversations.work(1),
    "context": lambda s: s.conversations.context(1, messages_max=1),
    "save_session": lambda s: s.conversations.save_session(1, agent_conversation_id="conv_9"),
    "queue_opening": lambda s: s.conversations.queue_opening(OPENING, now=NOW),
    "drop_opening": lambda s: s.conversations.drop_opening("conv_1", reason=""),
    "answer": lambda s: s.conversations.answer(1, [1], ANSWER, now=NOW),
    "add_answer": lambda s: s.conversations.add_answer(1, ANSWER, now=NOW),
    "defer_turn": lambda s: s.conversations.defer_turn(1, ANSWER, retry_at=NOW, now=NOW),
    "close": lambda s: s.conversations.close(1, now=NOW),
    "people_with_work": lambda s: s.recovery.people_with_work(now=NOW, after=0, limit=1),
    "lanes": lambda s: s.outbox.lanes(limit=1, exclude=()),
    "claim": lambda s: s.outbox.claim(1, now=NOW),
    "in_doubt": lambda s: s.outbox.in_doubt(1),
    "accepted": lambda s: s.outbox.accepted(2, sid="SM9", now=NOW),
    "refused": lambda s: s.outbox.refused(2, code=1, detail="", now=NOW),
    "release": lambda s: s.outbox.release(2, not_before=NOW),
    "campaigns": lambda s: s.holds.campaigns(failed_since=NOW, openings=1),
    "hold": lambda s: s.holds.hold("btcal_1", code=None, look_at=NOW, now=NOW),
    "probe": lambda s: s.holds.probe("btcal_1", openings=1, look_at=NOW),
    "release_campaigns": lambda s: s.holds.release(["btcal_1"], now=NOW),
    "give_up_held": lambda s: s.holds.give_up_held(written_before=NOW, now=NOW),
    "begin": lambda s: s.live_calls.begin(INCOMING, mode=Mode.DIRECT, now=NOW),
    "load": lambda s: s.live_calls.load(1),
    "find": lambda s: s.live_calls.find("CA1"),
    "save": lambda s: s.live_calls.save(1, STATE, now=NOW),
    "keep_session": lambda s: s.live_calls.keep_session(1, conversation_id="conv_2", agent_id="", now=NOW),
    "finish": lambda s: s.live_calls.finish(1, STATE, ending=Ending.AGENT, note="", follows_up=True, now=NOW),
    "add_note": lambda s: s.live_calls.add_note(1, "uno"),
    "unfinished": lambda s: s.live_calls.unfinished(),
    "history": lambda s: s.live_calls.history([ANA_CANONICAL], messages_max=1),
    "expect": lambda s: s.recordings.expect(1, sid="RE2", advisor="", duration_s=1, now=NOW),
    "due": lambda s: s.recordings.due(now=NOW, limit=1),
    "postpone_recording": lambda s: s.recordings.postpone(1, until=NOW),
    "drop": lambda s: s.recordings.drop(1, reason=""),
    "keep": lambda s: s.recordings.keep(1, RECORDING, notice=NOTICE, now=NOW),
    "kept": lambda s: s.recordings.kept(1),
    "known": lambda s: s.inbox.known(["SM1"]),
    "known_sids": lambda s: s.outbox.known_sids(["SM1"]),
    "report": lambda s: s.outbox.report(report("SM9", DeliveryStatus.SENT), now=NOW),
}


@pytest.fixture
async def stores(memory_stores: Stores, memory_database: MemoryDatabase) -> Stores:
    """Ana has written (message 1), something stands in her lane (message 2), a call of hers was found, and she left a
    message for an advisor in another that goes on.
    """
    person_id = await memory_stores.new_person("SM1")
    await memory_stores.queue(person_id, "cero")
    await memory_stores.calls.see([seen()], now=NOW)
    live = await memory_stores.live_calls.begin(evolve(INCOMING, call_sid="CA1"), mode=Mode.DIRECT, now=NOW)
    await memory_stores.recordings.expect(live.id, sid="RE1", advisor="", duration_s=1, now=NOW)
    memory_database.campaigns["btcal_1"] = HeldCampaign(id="btcal_1", failed_at=NOW)
    return memory_stores


@pytest.mark.parametrize("name", METHODS)
async def test_every_method_is_a_checkpoint(stores: Stores, name: str) -> None:
    with assert_checkpoints():
        await METHODS[name](stores)


@pytest.mark.parametrize("name", METHODS)
async def test_an_outage_changes_nothing(stores: Stores, memory_database: MemoryDatabase, name: str) -> None:
    before = repr(memory_database)
    memory_database.unavailable = True
    with pytest.raises(StoreUnavailableError):
        await METHODS[name](stores)
    memory_database.unavailable = False

    assert repr(memory_database) == before
    await METHODS[name](stores)


@pytest.mark.parametrize("name", METHODS)
async def test_a_call_cancelled_before_it_began_changes_nothing(
    stores: Stores, memory_database: MemoryDatabase, name: str
) -> None:
    before = repr(memory_database)
    with trio.CancelScope() as scope:
        scope.cancel()
        await METHODS[name](stores)

    assert scope.cancelled_caught
    assert repr(memory_database) == before
