"""The demo's telephone call against a business on paper, in virtual time: who says what, what is told, what is kept."""

import wave
from pathlib import Path

import click
import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from daemon.cli.demo_call import (
    CALLER,
    FIRST,
    RING_S,
    SECOND,
    PlayedCall,
    keep,
    perform_call,
    verify_call,
)
from daemon.cli.failure import CommandFailedError
from daemon.lab.elevenlabs.app import ElevenLabsLab
from daemon.lab.picture import Lane
from daemon.lab.serving import Lab, LabAccount
from daemon.lab.twilio.books import VoiceEvent
from daemon.lab.twilio.voice.legs import Fetch, Leg
from daemon.lab.twilio.voice.mulaw import read_wav
from tests.contract.lab_twilio_talk import paper_with, sleep
from tests.contract.lab_twilio_voice import APP, OURS, PAPER, Paper, on_paper, order

GATE = "<Gather numDigits='1' action='/accepted' timeout='8'><Say>Le llama Marta</Say></Gather><Hangup/>"
ACCEPTED = "<Dial><Conference beep='false' participantLabel='advisor'>sala</Conference></Dial>"
MISSED = "Jesús no contestó. ¿Quiere que pruebe con otro asesor?"
RETURNED = "Laura ya terminó la llamada. ¿Le ayudo en algo más?"


async def says(paper: Paper, words: str) -> None:
    paper.lab.voice.agent_speaks(words)
    await sleep(paper, len(words) / 15)
    paper.lab.voice.agent_said(words)


def advisor_called(paper: Paper, number: str) -> Leg:
    program = Fetch(url=f"{PAPER}/gate")
    return paper.lab.voice.exchange.dial(order(recipient=number, program=program, timeout_s=float(RING_S)))


async def business(paper: Paper) -> None:
    """What the daemon is to do, as far as the telephone sees it."""
    await paper.until("joined")
    await sleep(paper, 2.0)
    paper.add(f"app:{APP.sid}", Label="agent")
    caller = paper.leg_of(CALLER)
    await paper.until("started", caller)
    await says(paper, "Hola, gracias por llamar.")
    await paper.until("speech", caller)
    await advisor_called(paper, FIRST).ended.wait()
    await says(paper, MISSED)
    await paper.until("speech", caller, count=2)
    second = advisor_called(paper, SECOND)
    await paper.until("joined", second)
    await second.ended.wait()
    await says(paper, RETURNED)
    await paper.until("speech", caller, count=4)
    await sleep(paper, 3.0)
    await says(paper, "Gracias por llamar. ¡Hasta luego!")


async def played(told: list[str]) -> PlayedCall:
    async with on_paper(paper_with(gate=GATE, accepted=ACCEPTED)) as paper, trio.open_nursery() as nursery:
        nursery.start_soon(business, paper)
        elevenlabs = ElevenLabsLab(api_key="key")
        account = LabAccount(voice_number=OURS)
        lab = Lab(account=account, elevenlabs=elevenlabs, twilio=paper.lab, elevenlabs_url="", twilio_url="")
        result = await perform_call(lab, told.append)
        nursery.cancel_scope.cancel()
    return result


async def test_the_call_is_played_told_and_found_right(autojump_clock: MockClock) -> None:
    told: list[str] = []
    call = await played(told)
    verify_call(call)

    said = [line.split("  ", 1)[1] for line in told]
    wanted = [
        "☎ Marta calls",
        "Marta is in the room",
        "Agente: Hola, gracias por llamar.",
        "Marta: Buenas tardes, soy Marta Ruiz. Quiero hablar con un asesor.",
        "☎ Jesús's telephone rings",
        "Jesús was not reached (no-answer)",
        f"Agente: {MISSED}",
        "Marta: Sí, pruebe con otro asesor, por favor.",
        "☎ Laura's telephone rings",
        "Laura picks up",
        "Laura hears: «Le llama Marta»",
        "Laura presses 1",
        "Laura is in the room",
        "Laura: Buenas tardes, Marta. Soy Laura Gómez, ¿en qué le ayudo?",
        "Marta: ¿Cuánto cuesta el plan para diez personas?",
        "Laura: Son dos mil pesos al mes; le envío la propuesta por WhatsApp.",
        "Laura's call is over",
        f"Agente: {RETURNED}",
        "Marta: No, nada más. Muchas gracias, hasta luego.",
        "Marta's call is over",
    ]
    plain = [click.unstyle(line) for line in said]
    places = [plain.index(line) for line in wanted]
    assert places == sorted(places)
    assert "♪ music" in plain
    assert told[0].startswith("00:00.0  ")


async def test_what_was_heard_is_kept(autojump_clock: MockClock, tmp_path: Path) -> None:
    call = await played([])

    first, _, *advisors = call.scene.rows
    assert {Lane.MUSIC, Lane.PEOPLE, Lane.ANNOUNCEMENT} <= set(first.lanes)
    assert len(advisors) == 2
    assert len(read_wav(call.sound)) / 8_000 == pytest.approx(call.scene.length_s, abs=1.0)


def test_sound_and_picture_are_files(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    call: list[PlayedCall] = []

    async def play() -> None:
        call.append(await played([]))

    trio.run(play, clock=MockClock(autojump_threshold=0))
    told: list[str] = []
    trio.run(keep, call[0], tmp_path, told.append)

    assert len(told) == 2
    assert (tmp_path / "call.png").stat().st_size > 10_000
    with wave.open(str(tmp_path / "call.wav")) as sound:
        assert sound.getnframes() > 8_000 * 20


async def test_what_is_missing_is_named(autojump_clock: MockClock) -> None:
    call = await played([])

    def without(name: str, number: str) -> PlayedCall:
        return evolve(call, events=[it for it in call.events if (it.name, it.number) != (name, number)])

    for broken, sentence in (
        (without("ringing", FIRST), "Jesús Ortega was not called"),
        (without("joined", SECOND), "Laura Gómez did not come into the call"),
        (without("agent_said", "agent"), "the agent did not return"),
        (evolve(call, silence_s=9.0), "heard nothing for 9.0 s"),
        (evolve(call, events=[*call.events, _operator(call)]), "Twilio's own voice"),
    ):
        with pytest.raises(CommandFailedError, match=sentence):
            verify_call(broken)


async def test_a_call_that_goes_on_for_ever_is_ended(autojump_clock: MockClock) -> None:
    async with on_paper({"/incoming": "<Say loop='0'>Espere</Say>"}) as paper:
        lab = Lab(
            account=LabAccount(voice_number=OURS),
            elevenlabs=ElevenLabsLab(api_key="key"),
            twilio=paper.lab,
            elevenlabs_url="",
            twilio_url="",
        )
        with pytest.raises(CommandFailedError, match="not over within 180 s"):
            await perform_call(lab, lambda _: None)
        assert paper.leg_of(CALLER).call.over


def _operator(call: PlayedCall) -> VoiceEvent:
    return evolve(call.events[-1], name="operator_voice")
