"""What goes wrong on the simulated telephone, by name; and that nonsense in a document ends nothing but its call."""

import pytest
from trio.testing import MockClock

from daemon.lab.twilio.voice.calls import CallStatus
from daemon.lab.twilio.voice.detection import Detection
from daemon.lab.twilio.voice.script import Script
from tests.contract.lab_twilio_talk import paper_with, sleep, talking
from tests.contract.lab_twilio_voice import ADVISOR, APP, PAPER, on_paper, order


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("call_status_lost", ["ringing", "in-progress", "completed"]),
        ("call_status_late", ["ringing", "in-progress", "completed", "initiated"]),
        ("call_status_reorder", ["ringing", "initiated", "in-progress", "completed"]),
        ("call_status_duplicate", ["initiated", "initiated", "ringing", "in-progress", "completed"]),
    ],
)
async def test_status_callbacks_suffer(autojump_clock: MockClock, fault: str, seen: list[str]) -> None:
    async with on_paper({"/advisor": "<Say>Hola</Say>"}) as paper:
        paper.fault(fault)
        leg = paper.lab.voice.exchange.dial(order())
        await leg.ended.wait()
        await paper.lab.voice.ground.sleep(60.0)

    assert paper.engine.events("/status", "CallStatus") == seen


async def test_a_call_can_fail_by_itself(autojump_clock: MockClock) -> None:
    async with on_paper({}) as paper:
        paper.fault("call_fails", code=404)
        leg = paper.lab.voice.exchange.dial(order())
        await leg.ended.wait()

    assert (leg.call.status, leg.call.sip_code) == (CallStatus.FAILED, 404)


async def test_machine_detection_can_be_late(autojump_clock: MockClock) -> None:
    async with on_paper({"/advisor": "<Pause length='99'/>"}) as paper:
        paper.fault("amd_late", seconds=30)
        paper.lab.voice.exchange.dial(order(detection=Detection(mode="Enable", url=f"{PAPER}/amd")))
        await paper.lab.books.wait_until(lambda: "/amd" in paper.engine.asked)

        assert paper.now_s > 30.0


async def test_a_new_call_may_not_be_listed_at_first(autojump_clock: MockClock) -> None:
    async with on_paper({}) as paper:
        paper.fault("call_list_lags", seconds=5)
        leg = paper.lab.voice.exchange.dial(order())

        assert leg.call.listed_from_s == pytest.approx(5.0)


async def test_a_document_can_be_asked_for_twice_or_late(autojump_clock: MockClock) -> None:
    async with on_paper({"/incoming": "<Hangup/>"}) as paper:
        paper.fault("document_duplicate")
        paper.fault("document_late", seconds=3)
        leg = paper.call_in()
        await leg.ended.wait()

        assert paper.now_s == pytest.approx(3.0)
    assert len(paper.engine.asked["/incoming"]) == 2


async def test_conference_events_can_change_places(autojump_clock: MockClock) -> None:
    async with on_paper(paper_with()) as paper:
        paper.fault("conference_event_reorder")
        await talking(paper)
        await sleep(paper, 1.0)

    assert paper.engine.events("/events", "SequenceNumber")[:2] == ["2", "1"]


async def test_a_join_is_told_at_the_ring_where_that_is_wanted(autojump_clock: MockClock) -> None:
    async with on_paper(paper_with()) as paper:
        paper.lab.voice.script(ADVISOR, Script(answer_after_s=5.0))
        paper.fault("participant_joins_at_ring", times=None)
        await talking(paper)
        advisor = paper.add(ADVISOR, Label="advisor")
        await paper.until("ringing", advisor)
        before = paper.engine.events("/events", "StatusCallbackEvent")
        await paper.until("joined", advisor)
        await sleep(paper, 1.0)

    assert before[-1] == "participant-join"
    assert paper.engine.events("/events").count("participant-join") == 3


async def test_both_legs_of_the_agent_may_show_one_sid(autojump_clock: MockClock) -> None:
    async with on_paper(paper_with()) as paper:
        paper.fault("app_leg_same_sid")
        _, agent = await talking(paper)

    assert paper.engine.asked["/agent"][0]["CallSid"] == agent.sid


async def test_a_participant_can_fail_by_itself(autojump_clock: MockClock) -> None:
    async with on_paper(paper_with()) as paper:
        caller = paper.call_in()
        await paper.until("joined", caller)
        paper.fault("participant_add_failed", on="app:")
        agent = paper.add(f"app:{APP.sid}", Label="agent")
        await agent.ended.wait()
        last = paper.engine.asked["/events"][-1]

    assert (last["ReasonParticipantLeft"], last["ParticipantCallStatus"]) == (
        "participant_add_failed",
        "failed",
    )


@pytest.mark.parametrize(
    "document",
    [
        "<Say loop='inf'>Hola</Say>",
        "<Say loop='nan'>Hola</Say><Pause length='-3'/>",
        "<Play>http://[</Play><Play>ftp://x</Play>",
        "<Redirect>http://[</Redirect>",
        "<Gather numDigits='x' timeout='soon' action='http://['/>",
        "<Record timeout='1' action='junk:' recordingStatusCallback='http://['/>",
        "<Connect><Stream url='ws://here:port/'/></Connect>",
        "<Connect><Stream url='wss://'/></Connect><Connect/>",
        "<Start/><Stop/><Dial/>",
        "<Dial><Conference statusCallback='junk' statusCallbackEvent='join what' waitUrl='http://['/></Dial>",
        "",
    ],
)
async def test_nonsense_in_a_document_ends_nothing_but_the_call(
    autojump_clock: MockClock, document: str
) -> None:
    async with on_paper({"/incoming": document}) as paper:
        leg = paper.call_in(hang_up_after_s=60.0)
        await leg.ended.wait()
        again = paper.call_in(hang_up_after_s=60.0)
        await again.ended.wait()
