"""What can happen in a call, each in both modes, and every moment at which it can be broken off."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from attrs import evolve

from actors.live_call.state import Mode
from daemon.lab.faults import Fault
from daemon.lab.twilio.books import VoiceEvent
from daemon.lab.twilio.voice.script import Answers, Script, Step
from tests.calls.agent import LOST_START, REFUSED_START, Start
from tests.calls.house import ADVISORS
from tests.calls.stage import Incident, Play, Stage

LAURA, JESUS = ADVISORS

# --- people ---

ASKS: Final = Step(at="agent_said@agent", wait_s=0.5, say="Quiero hablar con un asesor, por favor")
ASKS_FOR_OTHER: Final = Step(at="agent_said:otro asesor@agent", wait_s=0.5, say="Sí, con otro asesor")
ASKS_FOR_MESSAGE: Final = Step(at="agent_said:otro asesor@agent", wait_s=0.5, say="Quiero dejar un mensaje")
LEAVES_MESSAGE: Final = Step(at="record", wait_s=0.4, say="Hola Laura, llámeme por lo de la factura, gracias")
SAYS_GOODBYE: Final = Step(at="agent_said@agent", wait_s=0.5, say="No, es todo, adiós")
NEVER_S: Final = 90.0


def caller(*steps: Step, patience_s: float = NEVER_S) -> Script:
    return Script(steps=steps, hang_up_after_s=patience_s)


def answers(*steps: Step, after_s: float = 3.0) -> Script:
    return Script(answer_after_s=after_s, steps=steps)


PRESSES_ONE: Final = Step(at="gather", wait_s=2.0, press="1")
GREETS: Final = Step(at="joined", wait_s=1.0, say="Hola, le atiende Laura")
ACCEPTS: Final = answers(PRESSES_ONE, GREETS)
ACCEPTS_AND_LEAVES: Final = answers(PRESSES_ONE, GREETS, Step(wait_s=8.0, hang_up=True))
SILENT: Final = Script(answers=Answers.SILENT)
MISSES: Final = {
    "no answer": SILENT,
    "busy": Script(answers=Answers.BUSY),
    "unreachable": Script(answers=Answers.UNREACHABLE),
    "refuses": Script(answers=Answers.REFUSING, answer_after_s=2.0),
    "a machine picks up": Script(answers=Answers.MACHINE, answer_after_s=2.0),
    "no digit": answers(),
    "wrong digit": answers(Step(at="gather", wait_s=2.0, press="5")),
    "hangs up in the whisper": answers(Step(at="gather", wait_s=1.0, hang_up=True)),
}


def _transfers(mode: Mode) -> Iterator[Play]:
    talk = Step(at=f"joined@{LAURA}", wait_s=3.0, say="Buenos días")
    yield Play(
        name="advisor hangs up first",
        mode=mode,
        callers=[caller(ASKS, talk, Step(at="agent_said:sigo@agent", wait_s=0.5, say="No, es todo, adiós"))],
        advisors={LAURA: [ACCEPTS_AND_LEAVES]},
    )
    yield Play(
        name="caller hangs up first",
        mode=mode,
        callers=[caller(ASKS, talk, Step(wait_s=6.0, hang_up=True))],
        advisors={LAURA: [ACCEPTS]},
    )


def _misses(mode: Mode) -> Iterator[Play]:
    for name, script in MISSES.items():
        yield Play(
            name=f"{name}, then goodbye",
            mode=mode,
            callers=[
                caller(ASKS, Step(at="agent_said:otro asesor@agent", wait_s=0.5, say="No, es todo, adiós"))
            ],
            advisors={LAURA: [script]},
        )
    yield Play(
        name="the second advisor accepts",
        mode=mode,
        callers=[caller(ASKS, ASKS_FOR_OTHER, Step(at=f"joined@{JESUS}", wait_s=5.0, hang_up=True))],
        advisors={LAURA: [SILENT], JESUS: [ACCEPTS]},
    )
    yield Play(
        name="nobody is free",
        mode=mode,
        advisors_known=0,
        callers=[caller(ASKS, Step(at="agent_said:mensaje@agent", wait_s=0.5, say="No, es todo, adiós"))],
    )


def _other_ways_to_ask(mode: Mode) -> Iterator[Play]:
    yield Play(
        name="a program asks for an advisor",
        mode=mode,
        callers=[caller(Step(at=f"joined@{LAURA}", wait_s=5.0, hang_up=True))],
        advisors={LAURA: [ACCEPTS]},
        incidents=[Incident(at="agent_said@agent", act="program asks", after_s=0.5)],
    )
    if mode is Mode.DIRECT:
        yield Play(
            name="asks by key",
            mode=mode,
            callers=[
                caller(
                    Step(at="agent_said@agent", wait_s=0.5, press="0"),
                    Step(at=f"joined@{LAURA}", wait_s=5.0, hang_up=True),
                )
            ],
            advisors={LAURA: [ACCEPTS]},
        )


def _messages(mode: Mode) -> Iterator[Play]:
    ends = {
        "and hangs up": (LEAVES_MESSAGE, Step(wait_s=0.5, hang_up=True)),
        "and presses the pound key": (LEAVES_MESSAGE, Step(wait_s=0.5, press="#")),
        "and waits": (LEAVES_MESSAGE,),
        "says nothing": (),
        "hangs up at the beep": (Step(at="record", wait_s=0.1, hang_up=True),),
    }
    for name, steps in ends.items():
        yield Play(
            name=f"a message: {name}",
            mode=mode,
            callers=[caller(ASKS, ASKS_FOR_MESSAGE, *steps)],
            advisors={LAURA: [Script(answers=Answers.BUSY)]},
        )


def _losses(mode: Mode) -> Iterator[Play]:
    once = [Incident(at="agent_said@agent", act="lose session", after_s=0.4)]
    twice = [*once, Incident(at="agent_said:sigo con usted@agent", act="lose session", after_s=0.4)]
    leg_once = [evolve(one, act="end agent") for one in once]
    leg_twice = [evolve(one, act="end agent") for one in twice]
    goodbye = Step(at="agent_said:sigo con usted@agent", wait_s=0.5, say="No, es todo, adiós")
    yield Play(name="the agent ends the call", mode=mode, callers=[caller(SAYS_GOODBYE)])
    for name, incidents in (("session", once), ("leg", leg_once)):
        yield Play(
            name=f"agent's {name} lost once", mode=mode, callers=[caller(goodbye)], incidents=incidents
        )
    menu = {
        "takes a message": (
            Step(at="gather", wait_s=1.0, press="1"),
            LEAVES_MESSAGE,
            Step(wait_s=0.5, hang_up=True),
        ),
        "presses another key": (Step(at="gather", wait_s=1.0, press="7"),),
        "presses nothing": (),
    }
    for name, incidents in (("session", twice), ("leg", leg_twice)):
        for choice, steps in menu.items():
            yield Play(
                name=f"agent's {name} lost twice, caller {choice}",
                mode=mode,
                callers=[caller(*steps)],
                incidents=incidents,
            )


def _starts(mode: Mode) -> Iterator[Play]:
    for name, start in (
        ("never starts", Start(after_s=60.0)),
        ("is lost at its start", Start(end=LOST_START)),
    ):
        yield Play(name=f"a session {name}", mode=mode, callers=[caller(SAYS_GOODBYE)], starts=[start])
    yield Play(
        name="every session is refused",
        mode=mode,
        callers=[caller()],
        starts=[Start(end=REFUSED_START)] * 5,
    )
    yield Play(
        name="a session starts slowly", mode=mode, callers=[caller(SAYS_GOODBYE)], starts=[Start(after_s=6.0)]
    )


def _losses_while_ringing(mode: Mode) -> Iterator[Play]:
    rung = Play(
        name="session lost while it rings",
        mode=mode,
        callers=[caller(ASKS, Step(at=f"joined@{LAURA}", wait_s=4.0, hang_up=True))],
        advisors={LAURA: [evolve(ACCEPTS, answer_after_s=8.0)]},
        incidents=[Incident(at=f"ringing@{LAURA}", act="lose session", after_s=5.0)],
    )
    yield rung
    yield evolve(
        rung,
        name="leg lost while it rings",
        incidents=[Incident(at=f"ringing@{LAURA}", act="end agent", after_s=3.0)],
        music_gap_s=1.5,
    )


def _troubles(mode: Mode) -> Iterator[Play]:
    if mode is Mode.CONFERENCE:
        refused = Fault(name="rest_refused", times=1, details={"on": "participant.create", "code": 21218})
        for name, fault in (
            ("refused", refused),
            ("failed", Fault(name="participant_add_failed", times=1)),
            ("silent", Fault(name="document_lost", times=1, details={"on": "/voice/agent"})),
        ):
            yield Play(
                name=f"agent cannot be added: {name}",
                mode=mode,
                callers=[caller(SAYS_GOODBYE)],
                faults=[fault],
            )
    yield Play(
        name="no speech to be had",
        mode=mode,
        callers=[caller(ASKS, ASKS_FOR_MESSAGE, LEAVES_MESSAGE)],
        advisors={LAURA: [answers()]},
        takes_s=None,
    )
    yield Play(
        name="the agent calls its tool twice",
        mode=mode,
        callers=[caller(ASKS, Step(at=f"joined@{LAURA}", wait_s=5.0, hang_up=True))],
        advisors={LAURA: [ACCEPTS]},
        agent_faults=[Fault(name="tool_called_twice", times=1)],
    )


MAKERS: Final[Sequence[Callable[[Mode], Iterator[Play]]]] = (
    _transfers,
    _misses,
    _other_ways_to_ask,
    _messages,
    _losses,
    _starts,
    _losses_while_ringing,
    _troubles,
)


def scenarios() -> Sequence[Play]:
    return [play for mode in Mode for make in MAKERS for play in make(mode)]


# --- breaking off -----------------------------------------------------------------------------------------


def moments_of(stage: Stage) -> Sequence[str]:
    """Every moment of a world's books, as a wish that its first occurrence fulfils."""
    own = {leg.sid for leg in stage.callers}
    return list(dict.fromkeys(_wish(event, is_own=event.call_sid in own) for event in stage.events))


def _wish(event: VoiceEvent, *, is_own: bool) -> str:
    name = event.name
    if name in {"agent_said", "agent_speaks", "document"}:
        detail = (
            event.detail.rpartition("/voice/")[2].partition("?")[0]
            if name == "document"
            else event.detail[:24]
        )
        name = f"{name}:{detail.partition('@')[0]}"
    return name if is_own else f"{name}@{event.number}"


def broken_off(play: Play, wish: str, act: str, *, after_s: float = 0.0, down_s: float = 2.0) -> Play:
    """The same play, in which something happens at a moment."""
    incident = Incident(at=wish, act=act, after_s=after_s, down_s=down_s)
    return evolve(
        play, name=f"{play.name}; {act} at {wish} + {after_s:g}", incidents=[*play.incidents, incident]
    )
