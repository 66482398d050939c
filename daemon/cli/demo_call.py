"""The demo's telephone call: who takes part, what is told of it while it goes, and what is kept of it.

Needs the simulators alone; whoever takes the call, answers their webhooks.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import click
import trio
from attrs import define, field, frozen

from daemon.cli.failure import CommandFailedError
from daemon.cli.lab import EXAMPLE_ADVISORS
from daemon.lab.hearing import what_sounded
from daemon.lab.picture import Bar, PlotMissingError, Scene, draw, legs_around, scene_of
from daemon.lab.serving import Lab
from daemon.lab.twilio.books import VoiceEvent
from daemon.lab.twilio.voice.audible import Kind, Part, Signal
from daemon.lab.twilio.voice.script import Answers, Script, Step
from daemon.lab.twilio.voice.side import AGENT, VoiceSide

CALLER: Final = "+573001234567"
CALLER_NAME: Final = "Marta"
(_FIRST_NAME, FIRST), (_SECOND_NAME, SECOND) = EXAMPLE_ADVISORS
RING_S: Final = 8
CALL_TIMEOUT_S: Final = 180.0
FOLLOW_UP_TIMEOUT_S: Final = 30.0
# From the end of the call to the last word of it.
_REST_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.5
_SILENCE_MAX_S: Final = 5.0

_CALLER_SCRIPT: Final = Script(
    steps=(
        Step(
            at="agent_said@agent",
            wait_s=0.6,
            say="Buenas tardes, soy Marta Ruiz. Quiero hablar con un asesor.",
        ),
        Step(at="agent_said:otro asesor@agent", wait_s=0.6, say="Sí, pruebe con otro asesor, por favor."),
        Step(at=f"speech@{SECOND}", wait_s=4.4, say="¿Cuánto cuesta el plan para diez personas?"),
        Step(at="agent_said:algo más@agent", wait_s=0.6, say="No, nada más. Muchas gracias, hasta luego."),
        Step(at="agent_said:luego@agent", wait_s=0.6, hang_up=True),
    )
)
_ADVISOR_SCRIPT: Final = Script(
    answer_after_s=3.0,
    steps=(
        Step(at="gather", wait_s=3.0, press="1"),
        Step(
            at="joined", wait_s=4.0, say="Buenas tardes, Marta. Soy Laura Gómez, ¿en qué le ayudo?", say_s=3.8
        ),
        Step(
            at=f"speech@{CALLER}",
            wait_s=3.4,
            say="Son dos mil pesos al mes; le envío la propuesta por WhatsApp.",
        ),
        Step(wait_s=0.4, hang_up=True),
    ),
)


@frozen(kw_only=True)
class PlayedCall:
    """A call that is over.

    Attributes:
        sound: what the caller heard, a WAV file.
        silence_s: the longest time in which the caller heard nothing.
        events: everything that happened on the telephone.
    """

    scene: Scene
    sound: bytes
    silence_s: float
    events: Sequence[VoiceEvent]


async def play_call(lab: Lab, folder: Path) -> PlayedCall:
    """Play the whole call against whoever answers the simulators, tell of it, and keep its picture and sound.

    Raises:
        CommandFailedError: it did not go as it should; the message says where.
    """
    played = await perform_call(lab)
    verify_call(played)
    await keep(played, folder)
    return played


async def perform_call(lab: Lab, tell: Callable[[str], None] = click.echo) -> PlayedCall:
    """The call itself, told line by line.

    Raises:
        CommandFailedError: it was not over within `CALL_TIMEOUT_S`.
    """
    voice = lab.twilio.voice
    voice.script(FIRST, Script(answers=Answers.SILENT))
    voice.script(SECOND, _ADVISOR_SCRIPT)
    first = voice.ground.moments.last
    leg = voice.call_in(CALLER, _CALLER_SCRIPT, to=lab.account.voice_number)
    narrator = Narrator(voice, leg.sid, first, tell)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(narrator.run, name="narrator")
        nursery.start_soon(narrator.watch_music, name="music")
        with trio.move_on_after(CALL_TIMEOUT_S) as patience:
            await leg.ended.wait()
        await trio.sleep(_REST_S)
        nursery.cancel_scope.cancel(reason="the call is over")
    if patience.cancelled_caught:
        voice.hang_up(leg.sid)
        raise CommandFailedError(f"the call was not over within {CALL_TIMEOUT_S:.0f} s")
    return PlayedCall(
        scene=scene_of(voice, legs_around(voice, leg.sid), _said(lab)),
        sound=voice.heard_wav(leg.sid),
        silence_s=voice.audible.longest_silence_s(leg.sid, *voice.listening(leg.sid)),
        events=[event for event in voice.ground.books.voice if event.ordinal > first],
    )


def verify_call(played: PlayedCall) -> None:
    """
    Raises:
        CommandFailedError: the first thing that is missing.
    """
    happened = {(event.name, event.number) for event in played.events}
    expected = (
        (("ringing", FIRST), f"{_FIRST_NAME} was not called"),
        (("ringing", SECOND), f"{_SECOND_NAME} was not called"),
        (("joined", SECOND), f"{_SECOND_NAME} did not come into the call"),
        (("speech", SECOND), f"{_SECOND_NAME} did not speak"),
    )
    for what, complaint in expected:
        if what not in happened:
            raise CommandFailedError(complaint)
    if any(event.name == "operator_voice" for event in played.events):
        raise CommandFailedError("Twilio's own voice was heard")
    left = next(event.ordinal for event in played.events if (event.name, event.number) == ("speech", SECOND))
    if not any(event.name == "agent_said" and event.ordinal > left for event in played.events):
        raise CommandFailedError("the agent did not return")
    if played.silence_s > _SILENCE_MAX_S:
        raise CommandFailedError(f"the caller heard nothing for {played.silence_s:.1f} s")


async def keep(played: PlayedCall, folder: Path, tell: Callable[[str], None] = click.echo) -> None:
    """Write `call.wav` and, where it can be drawn, `call.png` into a folder."""
    sound, picture = folder / "call.wav", folder / "call.png"
    await trio.Path(sound).write_bytes(played.sound)
    tell(f"What the caller heard:  {sound}")
    try:
        await trio.to_thread.run_sync(draw, played.scene, picture, "relevo demo --call: who heard what")
    except PlotMissingError as error:
        tell(f"No picture of the call: {error}")
    else:
        tell(f"Who heard what, drawn:  {picture}")


async def show_follow_up(lab: Lab, tell: Callable[[str], None] = click.echo) -> None:
    """Wait for the WhatsApp message that follows the call, and show it.

    Raises:
        CommandFailedError: none has come.
    """
    with trio.move_on_after(FOLLOW_UP_TIMEOUT_S):
        [message] = await lab.twilio.wait_for_message(CALLER, count=1)
        tell(f"And in WhatsApp, {CALLER_NAME} gets:  {message.body}")
        return
    raise CommandFailedError(f"no message followed the call within {FOLLOW_UP_TIMEOUT_S:.0f} s")


def _said(lab: Lab) -> Sequence[Bar]:
    """What the agent said, by the telephone's clock."""
    clock = lab.twilio.clock
    voiced = [one for it in lab.elevenlabs.world.conversations.values() for one in it.voiced]
    return [Bar(clock.elapsed_at(one.start_s), clock.elapsed_at(one.end_s), one.text) for one in voiced]


@define(eq=False)
class Narrator:
    """Tells a call as it goes, from the telephone's events."""

    voice: VoiceSide
    caller_sid: str
    told: int
    tell: Callable[[str], None]
    _begin_s: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._begin_s = self.voice.ground.now_s

    async def run(self) -> None:
        """Runs until cancelled."""
        moments, books = self.voice.ground.moments, self.voice.ground.books
        while True:
            await books.wait_until(lambda: moments.last > self.told)
            news = [event for event in books.voice if event.ordinal > self.told]
            self.told = moments.last
            for event in news:
                self._tell(event)

    async def watch_music(self) -> None:
        """Tell when the caller begins and ceases to hear music, which nobody announces. Runs until cancelled."""
        was_heard = False
        while True:
            await trio.sleep(_LOOK_EVERY_S)
            now_s = self.voice.ground.now_s
            is_heard = has_music(self.voice, self.caller_sid, now_s - _LOOK_EVERY_S, now_s)
            if is_heard != was_heard:
                self._line(now_s, click.style("♪ music" if is_heard else "♪ no more music", dim=True))
            was_heard = is_heard

    def _tell(self, event: VoiceEvent) -> None:
        if event.name in {"speech", "agent_speaks"}:
            who = click.style(f"{_name(event.number)}: ", bold=True, fg=_COLORS.get(event.number))
            self._line(event.at_s, who + event.detail)
        elif (text := _narrated(event)) is not None:
            self._line(event.at_s, click.style(text, dim=True))

    def _line(self, at_s: float, text: str) -> None:
        minutes, seconds = divmod(max(0.0, at_s - self._begin_s), 60)
        self.tell(f"{minutes:02.0f}:{seconds:04.1f}  {text}")


def has_music(voice: VoiceSide, call_sid: str, from_s: float, to_s: float) -> bool:
    """Whether music was heard most of the time, by itself or in a media stream."""
    heard = voice.audible.heard(call_sid, from_s, to_s)
    if any(entry.kind is Kind.MUSIC for entry in heard):
        return True
    signals = {Signal(entry.call_sid, Part.STREAM) for entry in heard if entry.kind is Kind.STREAM}
    windows = what_sounded(voice.audible.mixed(signals, from_s, to_s)) if signals else []
    return sum(window.has_music for window in windows) * 2 > len(windows)


_NAMES: Final = {
    CALLER: CALLER_NAME,
    FIRST: _FIRST_NAME.partition(" ")[0],
    SECOND: _SECOND_NAME.partition(" ")[0],
    AGENT: "Agente",
}
_COLORS: Final = {CALLER: "cyan", FIRST: "yellow", SECOND: "yellow", AGENT: "green"}


def _name(number: str) -> str:
    return "The agent" if number.startswith("app:") else _NAMES.get(number, number)


# What is told of an event, where it is told at all.
_SENTENCES: Final[Mapping[str, str]] = {
    "ringing": "☎ {who}'s telephone rings",
    "answered": "{who} picks up",
    "key": "{who} presses {detail}",
    "joined": "{who} is in the room",
    "left": "{who} is out of the room",
    "held": "{who} is on hold",
    "unheld": "{who} is off hold",
    "say": "{who} hears: «{detail}»",
    "play": "{who} hears an announcement",
    "record": "{who} hears the tone and is recorded",
    "stream_dropped": "the agent's line broke",
    "operator_voice": "{who} hears Twilio's own voice: {detail}",
}
_OF_CALLER: Final[Mapping[str, str | None]] = {"ringing": "☎ {who} calls", "answered": None, "play": None}
_OF_AGENT: Final[Mapping[str, str | None]] = {"ringing": None, "answered": None, "ended": None}


def _narrated(event: VoiceEvent) -> str | None:
    """An event in a sentence; None for one that nobody wants to read of, or on a leg that is nobody's."""
    is_agent = event.number.startswith("app:")
    if event.number not in _NAMES and not is_agent:
        return None
    own = _OF_AGENT if is_agent else _OF_CALLER if event.number == CALLER else {}
    ended = "{who}'s call is over" if event.detail == "completed" else "{who} was not reached ({detail})"
    sentence = own.get(event.name, {**_SENTENCES, "ended": ended}.get(event.name))
    return None if sentence is None else sentence.format(who=_name(event.number), detail=event.detail)
