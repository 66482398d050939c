"""Calls of the simulated Twilio in virtual time: queue, ringing, documents, digits, recordings, dialling."""

import pytest
from trio.testing import MockClock

from daemon.lab.twilio.voice.calls import CallStatus
from daemon.lab.twilio.voice.detection import Detection
from daemon.lab.twilio.voice.ground import VoicePace
from daemon.lab.twilio.voice.legs import Fetch, Leg
from daemon.lab.twilio.voice.script import Answers, Script, Step
from tests.contract.lab_twilio_voice import ADVISOR, CALLER, OURS, PAPER, Paper, on_paper, order


def dial(paper: Paper, **options: object) -> Leg:
    return paper.lab.voice.exchange.dial(order(**options))


async def test_a_call_is_answered_and_does_what_its_document_says(autojump_clock: MockClock) -> None:
    async with on_paper({"/advisor": "<Say>Hola</Say><Pause length='2'/>"}) as paper:
        leg = dial(paper)
        await leg.ended.wait()

    forms = paper.engine.asked["/status"]
    assert [form["CallStatus"] for form in forms] == ["initiated", "ringing", "in-progress", "completed"]
    assert [form["SequenceNumber"] for form in forms] == ["0", "1", "2", "3"]
    assert forms[-1]["CallDuration"] == "3"
    assert paper.engine.asked["/advisor"][0]["CallStatus"] == "in-progress"
    assert paper.heard(leg) == ["say Hola"]


async def test_calls_leave_the_queue_one_a_second(autojump_clock: MockClock) -> None:
    async with on_paper({}, voice_pace=VoicePace(dial_s=0.0)) as paper:
        begun_s = paper.now_s
        legs = [dial(paper) for _ in range(3)]
        await paper.until("ringing", legs[2])
        took_s = paper.now_s - begun_s

    assert took_s == pytest.approx(2.0)
    assert [leg.call.queue_time_ms for leg in legs] == [0, 1000, 2000]


@pytest.mark.parametrize(
    ("answers", "status", "sip_code", "took_s"),
    [
        (Answers.BUSY, CallStatus.BUSY, 486, 1.0),
        (Answers.REFUSING, CallStatus.BUSY, 603, 1.0),
        (Answers.SILENT, CallStatus.NO_ANSWER, 487, 30.0),
        (Answers.UNREACHABLE, CallStatus.FAILED, 404, 0.0),
    ],
)
async def test_nobody_answers(
    autojump_clock: MockClock, answers: Answers, status: CallStatus, sip_code: int, took_s: float
) -> None:
    async with on_paper({}, voice_pace=VoicePace(dial_s=0.0)) as paper:
        paper.lab.voice.script(ADVISOR, Script(answers=answers))
        leg = dial(paper, timeout_s=25.0)
        await leg.ended.wait()
        assert paper.now_s == pytest.approx(took_s)

    last = paper.engine.asked["/status"][-1]
    assert leg.call.status is status
    assert (last["CallStatus"], last["SipResponseCode"]) == (status.value, str(sip_code))
    assert "/advisor" not in paper.engine.asked


async def test_a_line_answers_call_by_call(autojump_clock: MockClock) -> None:
    async with on_paper({}) as paper:
        paper.lab.voice.script(ADVISOR, Script(answers=Answers.BUSY), Script())
        legs = []
        for _ in range(3):
            legs.append(dial(paper))
            await legs[-1].ended.wait()

    assert [leg.call.status.value for leg in legs] == ["busy", "completed", "completed"]


async def test_a_call_ends_at_its_time_limit(autojump_clock: MockClock) -> None:
    async with on_paper({"/advisor": "<Pause length='9999'/>"}) as paper:
        leg = dial(paper, time_limit_s=60.0)
        await leg.ended.wait()

    assert leg.call.duration_s == 60


async def test_a_caller_is_answered_by_the_numbers_document(autojump_clock: MockClock) -> None:
    async with on_paper({"/incoming": "<Say>Hola</Say>"}) as paper:
        leg = paper.call_in()
        await leg.ended.wait()

    form = paper.engine.asked["/incoming"][0]
    assert (form["CallStatus"], form["Direction"]) == ("ringing", "inbound")
    assert (form["From"], form["To"]) == (CALLER, OURS)
    assert [f["CallStatus"] for f in paper.engine.asked["/number-status"]] == ["completed"]


@pytest.mark.parametrize(("reason", "status"), [("busy", "busy"), ("rejected", "no-answer")])
async def test_a_caller_is_rejected(autojump_clock: MockClock, reason: str, status: str) -> None:
    async with on_paper({"/incoming": f"<Reject reason='{reason}'/>"}) as paper:
        leg = paper.call_in()
        await leg.ended.wait()

    assert leg.call.status.value == status
    assert not leg.answered.is_set()


@pytest.mark.parametrize("document", [500, "<Sing/>", "<Say><Play/></Say>", "<Say>"])
async def test_without_a_document_the_caller_hears_an_operator_voice(
    autojump_clock: MockClock, document: str | int
) -> None:
    async with on_paper({"/incoming": document}) as paper:
        leg = paper.call_in()
        await leg.ended.wait()

    assert len(paper.details(leg, "operator_voice")) == 1
    assert paper.heard(leg)[0].startswith("operator We are sorry")


async def test_a_fallback_is_asked_with_the_error(autojump_clock: MockClock) -> None:
    async with on_paper({"/incoming": "<Sing/>", "/fallback": "<Say>Hola</Say>"}) as paper:
        paper.lab.account.numbers[0].voice_fallback_url = f"{PAPER}/fallback"
        leg = paper.call_in()
        await leg.ended.wait()

    form = paper.engine.asked["/fallback"][0]
    assert (form["ErrorCode"], form["ErrorUrl"]) == ("12200", f"{PAPER}/incoming")
    assert paper.heard(leg) == ["say Hola"]
    assert "operator_voice" not in paper.names(leg)


async def test_digits_interrupt_the_prompt_and_go_to_the_action(autojump_clock: MockClock) -> None:
    gather = "<Gather numDigits='1' action='/menu'><Say>Marque uno para dejar un recado</Say></Gather>"
    async with on_paper({"/incoming": gather, "/menu": "<Hangup/>"}) as paper:
        leg = paper.call_in(steps=[Step(at="say:marque uno", wait_s=0.5, press="1")])
        await leg.ended.wait()

    assert paper.engine.asked["/menu"][0]["Digits"] == "1"
    assert leg.call.duration_s == 1


async def test_without_digits_the_next_verb_follows(autojump_clock: MockClock) -> None:
    async with on_paper({"/incoming": "<Gather timeout='3' action='/menu'/><Say>Adiós</Say>"}) as paper:
        leg = paper.call_in()
        await leg.ended.wait()

    assert "/menu" not in paper.engine.asked
    [heard] = paper.lab.voice.audible.heard(leg.sid, 0.0, 60.0)
    assert heard.start_s == pytest.approx(3.0)


async def test_a_key_that_finishes_is_not_among_the_digits(autojump_clock: MockClock) -> None:
    async with on_paper({"/incoming": "<Gather action='/menu'/>"}) as paper:
        leg = paper.call_in(steps=[Step(at="gather", press="123#")])
        await leg.ended.wait()

    assert paper.engine.asked["/menu"][0]["Digits"] == "123"


async def test_speech_is_gathered_where_it_was_asked_for_and_interrupts(autojump_clock: MockClock) -> None:
    gather = "<Gather input='dtmf speech' action='/menu'><Say loop='0'>Diga</Say></Gather>"
    async with on_paper({"/incoming": gather}) as paper:
        leg = paper.call_in(steps=[Step(at="gather", wait_s=2.0, say="un recado", say_s=7.0)])
        await leg.ended.wait()
        [prompt] = paper.lab.voice.audible.heard(leg.sid, 0.0, 99.0)

    assert prompt.end_s == pytest.approx(2.0)
    assert paper.engine.asked["/menu"][0]["SpeechResult"] == "un recado"


RECORD = (
    "<Record action='/done' timeout='2' recordingStatusCallback='/recording' "
    "recordingStatusCallbackEvent='completed absent'/><Say>No oímos nada</Say>"
)


async def test_a_message_is_recorded_until_silence(autojump_clock: MockClock) -> None:
    async with on_paper({"/incoming": RECORD}) as paper:
        leg = paper.call_in(steps=[Step(at="record", wait_s=1.0, say="Llámeme mañana", say_s=3.0)])
        await leg.ended.wait()
        [recording] = paper.lab.voice.recorder.recordings.values()

    [form] = paper.engine.asked["/done"]
    assert (form["RecordingDuration"], form["Digits"], form["RecordingSid"]) == ("3", "", recording.sid)
    assert paper.engine.asked["/recording"][0]["RecordingStatus"] == "completed"
    assert len(recording.audio) == pytest.approx(3 * 8000, abs=320)


async def test_an_empty_recording_falls_through(autojump_clock: MockClock) -> None:
    async with on_paper({"/incoming": RECORD}) as paper:
        leg = paper.call_in()
        await leg.ended.wait()

    assert "/done" not in paper.engine.asked
    assert [form["RecordingStatus"] for form in paper.engine.asked["/recording"]] == ["absent"]
    assert paper.heard(leg) == ["tone beep", "say No oímos nada"]


async def test_who_hangs_up_while_recording_leaves_the_message(autojump_clock: MockClock) -> None:
    async with on_paper({"/incoming": RECORD}) as paper:
        leg = paper.call_in(steps=[Step(at="record", say="Llámeme", say_s=2.0), Step(hang_up=True)])
        await leg.ended.wait()
        await paper.lab.voice.ground.sleep(1.0)

    [form] = paper.engine.asked["/done"]
    assert (form["Digits"], form["CallStatus"]) == ("hangup", "completed")


async def test_recording_without_action_begins_the_document_again(autojump_clock: MockClock) -> None:
    async with on_paper({"/incoming": "<Record timeout='1'/>"}) as paper:
        talk = [Step(at="record", say="Hola"), Step(at="record", say="Hola"), Step(at="record", hang_up=True)]
        leg = paper.call_in(steps=talk)
        await leg.ended.wait()

    # Once to begin with, once after each message.
    assert len(paper.engine.asked["/incoming"]) == 3


async def test_both_race_and_the_caller_is_gone_when_the_advisor_answers(autojump_clock: MockClock) -> None:
    async with on_paper({"/incoming": "<Pause length='99'/>", "/advisor": "<Say>Hola</Say>"}) as paper:
        paper.lab.voice.script(ADVISOR, Script(answer_at=f"ended@{CALLER}", answer_after_s=0.0))
        caller = paper.call_in(steps=[Step(at=f"ringing@{ADVISOR}", wait_s=4.0, hang_up=True)])
        advisor = dial(paper)
        await advisor.ended.wait()

    assert advisor.call.answered_s == caller.call.ended_s


@pytest.mark.parametrize(
    ("answers", "fault", "answered_by"),
    [
        (Answers.PERSON, None, "human"),
        (Answers.MACHINE, None, "machine_start"),
        (Answers.MACHINE, "amd_wrong", "human"),
    ],
)
async def test_machine_detection_tells_who_answered(
    autojump_clock: MockClock, answers: Answers, fault: str | None, answered_by: str
) -> None:
    async with on_paper({"/advisor": "<Pause length='9'/>"}) as paper:
        paper.lab.voice.script(ADVISOR, Script(answers=answers))
        if fault is not None:
            paper.fault(fault)
        leg = dial(paper, detection=Detection(mode="Enable", url=f"{PAPER}/amd"))
        await leg.ended.wait()

    assert [form["AnsweredBy"] for form in paper.engine.asked["/amd"]] == [answered_by]


async def test_machine_detection_that_blocks_goes_into_the_documents_request(
    autojump_clock: MockClock,
) -> None:
    async with on_paper({}) as paper:
        leg = dial(paper, detection=Detection(mode="DetectMessageEnd", blocks=True))
        await leg.ended.wait()

    assert paper.engine.asked["/advisor"][0]["AnsweredBy"] == "human"


async def test_new_orders_interrupt_what_runs(autojump_clock: MockClock) -> None:
    async with on_paper({"/incoming": "<Say loop='0'>Espere</Say>", "/new": "<Say>Gracias</Say>"}) as paper:
        leg = paper.call_in()
        await paper.until("say", leg)
        await paper.lab.voice.ground.sleep(1.0)
        paper.lab.voice.exchange.redirect(leg, Fetch(url=f"{PAPER}/new"))
        await leg.ended.wait()

    first, second = paper.lab.voice.audible.heard(leg.sid, 0.0, 99.0)
    assert (first.end_s, second.label) == (second.start_s, "Gracias")


async def test_skipped_time_lets_a_telephone_stop_ringing(autojump_clock: MockClock) -> None:
    async with on_paper({}) as paper:
        paper.lab.voice.script(ADVISOR, Script(answers=Answers.SILENT))
        leg = dial(paper, timeout_s=25.0)
        await paper.until("ringing", leg)
        paper.lab.advance(25.0)
        await leg.ended.wait()

    assert leg.call.status is CallStatus.NO_ANSWER
