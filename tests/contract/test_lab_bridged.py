"""A person on the simulated telephone talks with the simulated agent, through nothing but sound."""

from daemon.lab.twilio.voice.script import Step
from tests.contract.lab_bridged import GREETING, bridged

SAID = "agent_said@agent"


async def test_the_agent_hears_a_caller_and_the_caller_the_agent() -> None:
    async with bridged() as stage:
        stage.bridge.tool_answers["request_advisor"] = '{"status": "calling", "advisor": "Jesús Ortega"}'
        leg = stage.call_in(
            Step(at=SAID, wait_s=0.3, say="¿Me comunica con Jesús?"),
            Step(at="agent_said:comunicándole@agent", hang_up=True),
        )
        await leg.ended.wait()
        audible = stage.lab.twilio.voice.audible
        heard_s = sum(one.end_s - one.start_s for one in audible.heard(leg.sid, 0.0, 60.0))
        said = stage.transcript()

    greeting, connecting = said[0], said[-1]
    assert said == [
        f"agent: {GREETING}",
        "user: ¿Me comunica con Jesús?",
        "agent: Claro, permítame un momento, por favor.",
        "agent: Estoy comunicándole con Jesús, espere un momento por favor.",
    ]
    assert heard_s > (len(greeting) + len(connecting)) / 15


async def test_a_caller_who_speaks_over_the_agent_stops_it() -> None:
    async with bridged() as stage:
        leg = stage.call_in(
            Step(at="agent_speaks@agent", wait_s=0.5, say="Un recado, por favor"),
            Step(at="cleared", wait_s=0.0),
            Step(at=SAID, hang_up=True),
        )
        stage.bridge.tool_answers["take_message"] = "ok"
        await leg.ended.wait()
        said = stage.transcript()
        names = [line.partition(":")[0] for line in stage.heard(leg)]

    assert said[0].endswith("…")
    assert said[1:] == ["user: Un recado, por favor", "agent: Deje su mensaje después del tono."]
    assert names.index("speech") < names.index("cleared") < len(names) - 1
    assert names.count("agent_speaks") == 2


async def test_keys_and_beeps_are_not_words() -> None:
    async with bridged() as stage:
        leg = stage.call_in(Step(at=SAID, press="12w3"), Step(wait_s=1.0, hang_up=True))
        await leg.ended.wait()

    assert len(stage.transcript()) == 1
