"""`<Dial>` in the simulated Twilio, in virtual time: numbers, whispers, applications."""

import pytest
from trio.testing import MockClock

from daemon.lab.twilio.voice.calls import CallStatus
from daemon.lab.twilio.voice.legs import Fetch
from daemon.lab.twilio.voice.script import Answers, Script, Step
from tests.contract.lab_twilio_voice import ADVISOR, APP, PAPER, on_paper


async def test_a_dialled_number_talks_with_the_caller(autojump_clock: MockClock) -> None:
    dialling = f"<Dial action='/after'><Number>{ADVISOR}</Number></Dial>"
    async with on_paper({"/incoming": dialling, "/after": "<Say>Gracias</Say>"}) as paper:
        paper.lab.voice.script(
            ADVISOR, Script(answer_after_s=2.0, steps=[Step(say="Bueno")], hang_up_after_s=5.0)
        )
        leg = paper.call_in(steps=[Step(at="bridged", wait_s=2.0, say="Hola")])
        await leg.ended.wait()
        advisor = paper.leg_of(ADVISOR)

    form = paper.engine.asked["/after"][0]
    assert (form["DialCallStatus"], form["DialBridged"], form["DialCallSid"]) == (
        "completed",
        "true",
        advisor.sid,
    )
    assert paper.heard(leg) == ["tone ringback", "speech Bueno", "say Gracias"]
    assert paper.heard(advisor) == ["speech Hola"]
    assert advisor.call.parent_sid == leg.sid


async def test_a_dialled_number_that_does_not_answer_is_reported(autojump_clock: MockClock) -> None:
    dialling = f"<Dial action='/after' timeout='10'>{ADVISOR}</Dial>"
    async with on_paper({"/incoming": dialling}) as paper:
        paper.lab.voice.script(ADVISOR, Script(answers=Answers.SILENT))
        leg = paper.call_in()
        await leg.ended.wait()

    assert paper.engine.asked["/after"][0]["DialCallStatus"] == "no-answer"


async def test_a_caller_who_hangs_up_takes_the_dialled_number_along(autojump_clock: MockClock) -> None:
    async with on_paper({"/incoming": f"<Dial>{ADVISOR}</Dial>"}) as paper:
        paper.lab.voice.script(ADVISOR, Script(answer_after_s=9.0))
        leg = paper.call_in(hang_up_after_s=3.0)
        await leg.ended.wait()

    assert paper.leg_of(ADVISOR).call.status is CallStatus.CANCELED


async def test_a_dialled_leg_with_new_orders_outlives_its_dial(autojump_clock: MockClock) -> None:
    documents = {"/incoming": f"<Dial action='/after'>{ADVISOR}</Dial>", "/new": "<Pause length='60'/>"}
    async with on_paper({**documents}) as paper:
        caller = paper.call_in()
        await paper.until("bridged", caller)
        advisor = paper.leg_of(ADVISOR)
        paper.lab.voice.exchange.redirect(advisor, Fetch(url=f"{PAPER}/new"))
        await caller.ended.wait()
        assert not advisor.call.over
        await advisor.ended.wait()

    assert paper.engine.asked["/after"][0]["DialCallStatus"] == "completed"


async def test_who_hears_only_twilio_is_alone(autojump_clock: MockClock) -> None:
    async with on_paper({"/incoming": f"<Say>Un momento</Say><Dial>{ADVISOR}</Dial>"}) as paper:
        paper.lab.voice.script(ADVISOR, Script(answer_after_s=3.0, hang_up_after_s=5.0))
        caller = paper.call_in()
        await caller.ended.wait()
        advisor = paper.leg_of(ADVISOR)
        answered_s = advisor.call.answered_s

        [(first, last)] = paper.lab.voice.audible.alone(caller.sid, 0.0, paper.now_s)
        assert (first, last) == (caller.call.answered_s, answered_s)


async def test_a_whisper_comes_before_the_talk(autojump_clock: MockClock) -> None:
    dialling = f"<Dial><Number url='/whisper'>{ADVISOR}</Number></Dial>"
    documents = {
        "/incoming": dialling,
        "/whisper": "<Gather numDigits='1'><Say>Marque uno</Say></Gather><Hangup/>",
    }
    async with on_paper({**documents}) as paper:
        leg = paper.call_in()
        await leg.ended.wait()
        advisor = paper.leg_of(ADVISOR)

    assert "bridged" not in paper.names(leg)
    assert paper.heard(advisor) == ["say Marque uno"]


async def test_an_application_answers_on_a_second_leg_with_its_own_parameters(
    autojump_clock: MockClock,
) -> None:
    dialling = f"<Dial><Application><ApplicationSid>{APP.sid}</ApplicationSid><Parameter name='t' value='x'/></Application></Dial>"
    async with on_paper({"/incoming": dialling, "/agent": "<Say>Soy el agente</Say>"}) as paper:
        leg = paper.call_in()
        await leg.ended.wait()

    form = paper.engine.asked["/agent"][0]
    assert (form["t"], form["To"]) == ("x", f"app:{APP.sid}")
    assert form["CallSid"] not in {leg.sid, form["ParentCallSid"]}
    assert "say Soy el agente" in paper.heard(leg)


@pytest.mark.parametrize("target", ["52", "<Number/>", "<Application>AP0</Application>"])
async def test_an_address_that_is_none_is_not_dialled(autojump_clock: MockClock, target: str) -> None:
    async with on_paper({"/incoming": f"<Dial action='/after'>{target}</Dial>"}) as paper:
        caller = paper.call_in()
        await caller.ended.wait()

    assert paper.engine.asked["/after"][0]["DialCallStatus"] == "failed"
    assert [entry.code for entry in paper.lab.books.debugger] == [13223]
