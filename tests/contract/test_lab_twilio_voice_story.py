"""One whole transfer on the simulated telephone, as the live call is to go, and what the record says of it afterwards."""

from trio.testing import MockClock

from daemon.lab.twilio.voice.legs import Fetch
from daemon.lab.twilio.voice.script import Answers, Script, Step
from tests.contract.lab_twilio_talk import AGENT, MUSIC, paper_with, sleep, talking
from tests.contract.lab_twilio_voice import ADVISOR, PAPER, on_paper, order

GATE = "<Gather numDigits='1' action='/accepted' timeout='8'><Say>Le llama Ana. Marque uno</Say></Gather><Hangup/>"
ACCEPTED = "<Dial><Conference beep='false' participantLabel='advisor'>sala</Conference></Dial>"
DOCUMENTS = paper_with(gate=GATE, accepted=ACCEPTED)


async def test_a_caller_reaches_an_advisor_and_never_waits_in_silence(autojump_clock: MockClock) -> None:
    async with on_paper(DOCUMENTS) as paper:
        talk = [Step(at="joined", say="Buenas tardes, soy Luis", say_s=60.0)]
        accepts = [Step(at="say:marque uno", wait_s=1.5, press="1"), *talk]
        paper.lab.voice.script(ADVISOR, Script(answer_after_s=7.0, steps=accepts))
        caller, agent = await talking(paper)
        advisor = paper.lab.voice.exchange.dial(order(program=Fetch(url=f"{PAPER}/gate")))
        await paper.until("speech", advisor)
        paper.post(paper.conferences.kick, "sala", "agent")
        alone_from_s = paper.now_s
        await sleep(paper, 30.0)
        paper.lab.voice.hang_up(caller.sid)
        await advisor.ended.wait()
        audible = paper.lab.voice.audible

        heard = [entry.removeprefix("speech ") for entry in paper.heard(caller)]
        assert heard == [MUSIC, AGENT, "Buenas tardes, soy Luis"]
        assert audible.longest_silence_s(caller.sid, 0.0, paper.now_s) == 0.0
        assert audible.alone(caller.sid, alone_from_s, paper.now_s) == []
        assert agent.call.over
        assert paper.details(caller, "operator_voice") == []


async def test_a_caller_whose_advisors_do_not_answer_leaves_a_message(autojump_clock: MockClock) -> None:
    prompt = "<Say>Deje su mensaje</Say><Record action='/done' timeout='3'/>"
    async with on_paper({**DOCUMENTS, "/voicemail": prompt, "/done": "<Say>Gracias</Say>"}) as paper:
        paper.lab.voice.script(ADVISOR, Script(answers=Answers.MACHINE), Script(answers=Answers.SILENT))
        caller, agent = await talking(paper)
        for _ in range(2):
            advisor = paper.lab.voice.exchange.dial(order(program=Fetch(url=f"{PAPER}/gate"), timeout_s=25.0))
            await advisor.ended.wait()
        paper.lab.voice.exchange.redirect(caller, Fetch(url=f"{PAPER}/voicemail"))
        await paper.until("record", caller)
        paper.lab.voice.say(caller.sid, "Que me llame mañana", 4.0)
        await caller.ended.wait()
        [recording] = paper.lab.voice.recorder.recordings.values()

    assert "/accepted" not in paper.engine.asked
    assert agent.call.over
    assert (recording.call_sid, recording.duration_s) == (caller.sid, 4)
    assert paper.heard(caller)[-1] == "say Gracias"
