"""Every fault of both labs by name, the close codes of the agent socket, and what webhooks may go through."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import trio

from daemon.lab.elevenlabs.known_faults import KNOWN_FAULTS as ALL_AGENT_FAULTS
from daemon.lab.elevenlabs.known_faults import VOICE_FAULTS as AGENT_VOICE_FAULTS
from daemon.lab.twilio.known_faults import KNOWN_FAULTS, VOICE_FAULTS
from tests.chaos.audit import NOTHING_EXPECTED, Expectation
from tests.chaos.crowd import end_sessions
from tests.chaos.stage import Scenario, SkippedError, Stage

PEOPLE = 4
PROBABILITY = 0.4
TIMES = 2

# What these faults make impossible, with the reason; of every other one nothing may be lost.
EXPECTED: Mapping[str, Expectation] = {
    "rest_refused": Expectation(refusals=True, reason="Twilio refuses the message for good (21408)"),
    "message_failed": Expectation(refusals=True, reason="WhatsApp refuses the template too (63016)"),
    "message_undelivered": Expectation(refusals=True, reason="Meta declines to deliver it (63049): no retry"),
    "answer_blank": Expectation(wordless=True, reason="the agent answers with nothing but white space"),
}
# People write here, and nobody speaks.
AGENT_FAULTS = {name: told for name, told in ALL_AGENT_FAULTS.items() if name not in AGENT_VOICE_FAULTS}
TWILIO_FAULTS = {name: told for name, told in KNOWN_FAULTS.items() if name not in VOICE_FAULTS}
# So that what takes half a minute there takes seconds here.
DETAILS: Mapping[str, Mapping[str, Any]] = {
    "webhook_late": {"seconds": 3},
    "status_late": {"seconds": 3},
    "analysis_late": {"seconds": 3},
    "rest_429": {"retry_after_s": 0.5},
}
# What a fault needs to have anything to strike at.
COMPANIONS: Mapping[str, Mapping[str, float]] = {"error_frame_missing": {"llm_error_mid_answer": 1.0}}
NEVER_STRIKES: Mapping[str, str] = {
    "bad_signature_accepted": "strikes at a wrong signature only, and the daemon has none"
}
STRIKES_WITHIN_S = 15.0
# Sessions are idle for so long here that faults of idle ones are met.
PING_EVERY_S = 1.0
# ElevenLabs' REST faults strike any path; Twilio's strike `message.create` alone unless told otherwise.
_ON_ANYTHING = frozenset({"rest_429", "rest_500_before", "rest_drop_before", "rest_slow", "html_502"})

CLOSE_CODES: tuple[int | None, ...] = (1000, 1001, 1002, 1003, None, 1008, 1011, 1012, 1013, 3000, 4300)
CLOSES_EVERY_S = 0.4
CLOSES = 10


async def fault(stage: Stage, lab: str, name: str) -> None:
    """First surely, a few times; then by chance, for as long as a few customers talk."""
    if name in NEVER_STRIKES and lab == "agent":
        raise SkippedError(NEVER_STRIKES[name])
    world = stage.world
    url = world.agent_lab if lab == "agent" else world.twilio_lab
    details = DETAILS.get(name, {})
    await world.run_daemon()
    await world.http.put(f"{world.agent_lab}/timing", json={"ping_every_s": PING_EVERY_S})
    for companion, probability in COMPANIONS.get(name, {}).items():
        await world.switch_on(url, companion, probability=probability)
    await world.switch_on(url, name, times=TIMES, details=details)
    await stage.crowd.all_talk(PEOPLE // 2, messages=1)
    if not await _has_struck(stage, url, name):
        stage.misses.append(f"the fault has not struck within {STRIKES_WITHIN_S:.0f} s")
    await world.switch_on(url, name, probability=PROBABILITY, details=details)
    await stage.crowd.all_talk(PEOPLE, messages=3)


async def _has_struck(stage: Stage, lab: str, name: str) -> bool:
    """Whether a fault that was switched on for `TIMES` strikes has struck; waits a while for it."""
    with trio.move_on_after(STRIKES_WITHIN_S):
        while True:
            faults = await stage.world.get(f"{lab}/faults")
            left = (faults.get("on") or faults.get("active") or {}).get(name)
            if left is None or left["times"] < TIMES:
                return True
            await trio.sleep(0.2)
    return False


async def fault_anywhere(stage: Stage, name: str) -> None:
    """A fault of Twilio's REST side that strikes lists, typing indicators and all."""
    world = stage.world
    details = {**DETAILS.get(name, {}), "on": "any"}
    await world.run_daemon()
    await world.switch_on(world.twilio_lab, name, probability=PROBABILITY, details=details)
    await stage.crowd.all_talk(PEOPLE, messages=3)


async def close_code(stage: Stage, code: int | None) -> None:
    """Every open session is closed with the code, again and again, most of them in the middle of an answer."""
    world = stage.world
    await world.run_daemon()
    await world.switch_on(world.agent_lab, "answer_delayed", probability=0.7, details={"seconds": 0.6})

    async def close() -> None:
        ended = 0
        for _ in range(CLOSES):
            await trio.sleep(CLOSES_EVERY_S)
            ended += await end_sessions(world, code)
        if not ended:
            stage.misses.append("no session was open")
        stage.notes.append(f"{ended} sessions ended")

    await stage.under_load(close, at_first=6)


async def webhooks_in_disarray(stage: Stage) -> None:
    """Duplicated, reordered, late, lost and forged at the same time, in and out, of both vendors."""
    world = stage.world
    await world.run_daemon()
    names = [(world.twilio_lab, name) for name in TWILIO_FAULTS if name.startswith(("webhook_", "status_"))]
    names += [(world.agent_lab, name) for name in AGENT_FAULTS if name.startswith("webhook_")]
    for lab, name in names:
        await world.switch_on(lab, name, probability=0.25, details={"seconds": 2})
    await stage.crowd.all_talk(3 * PEOPLE, messages=4)


OF_AGENT = [
    Scenario(
        name=f"agent-{name}",
        play=partial(fault, lab="agent", name=name),
        expected=EXPECTED.get(name, NOTHING_EXPECTED),
    )
    for name in AGENT_FAULTS
]
OF_TWILIO = [
    Scenario(
        name=f"twilio-{name}",
        play=partial(fault, lab="twilio", name=name),
        expected=EXPECTED.get(name, NOTHING_EXPECTED),
    )
    for name in TWILIO_FAULTS
] + [
    Scenario(name=f"twilio-{name}-anywhere", play=partial(fault_anywhere, name=name))
    for name in sorted(_ON_ANYTHING & TWILIO_FAULTS.keys())
]
CLOSES_BY_CODE = [
    Scenario(name=f"close-{code or 1006}", play=partial(close_code, code=code)) for code in CLOSE_CODES
]
IN_DISARRAY = Scenario(name="webhooks-in-disarray", play=webhooks_in_disarray)
