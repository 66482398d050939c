"""Bad days: people who do as they please, and a telephone, an agent, a database and a daemon that fail at rates of the
seed's own. For a minute; then nothing goes wrong any more, and within a while everything has to be over.

Swarm testing, as in `tests/simulation/chance.py`: each day has some faults of its own, each at its own rate.
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

from attrs import frozen

from actors.live_call.state import Mode
from daemon.lab.faults import Fault
from daemon.lab.twilio.voice.script import Answers, Script, Step
from tests.calls.agent import LOST_START, REFUSED_START, Start
from tests.calls.ears import Patience
from tests.calls.scenarios import (
    ACCEPTS,
    ACCEPTS_AND_LEAVES,
    ASKS,
    ASKS_FOR_MESSAGE,
    ASKS_FOR_OTHER,
    JESUS,
    LAURA,
    LEAVES_MESSAGE,
    MISSES,
    SAYS_GOODBYE,
    answers,
)
from tests.calls.stage import Incident, Play

STORM_S: Final = 60.0
ON: Final = 0.2
"""The probability of each fault to be switched on."""
OFTEN: Final = (0.003, 0.01, 0.03)
NOW_AND_THEN: Final = (0.03, 0.1, 0.3)
SELDOM: Final = (0.2, 0.5, 0.9)


@frozen
class Peril:
    """A fault of the lab's by name, its possible rates, and from when to when its seconds lie."""

    name: str
    rates: Sequence[float]
    seconds: tuple[float, float] | None = None


TELEPHONE: Final = (
    Peril("call_fails", NOW_AND_THEN),
    Peril("call_drops", NOW_AND_THEN, (1, 30)),
    Peril("redirect_late", SELDOM, (0.5, 3)),
    Peril("picks_up_first", SELDOM),
    Peril("call_list_lags", SELDOM, (1, 5)),
    Peril("document_late", NOW_AND_THEN, (0.5, 4)),
    Peril("document_lost", NOW_AND_THEN),
    Peril("document_duplicate", SELDOM),
    Peril("participant_add_failed", SELDOM),
    Peril("participant_joins_at_ring", SELDOM),
    Peril("conference_lags", SELDOM, (0.5, 3)),
    Peril("app_leg_same_sid", SELDOM),
    Peril("stream_refused", NOW_AND_THEN),
    Peril("stream_late", SELDOM, (0.5, 4)),
    Peril("stream_start_late", SELDOM, (0.5, 5)),
    Peril("stream_drop", NOW_AND_THEN, (0.5, 30)),
    Peril("stream_no_stop", SELDOM),
    Peril("media_jitter", OFTEN, (0.1, 0.8)),
    Peril("media_lost", OFTEN),
    Peril("mark_lost", SELDOM),
    Peril("mark_late", SELDOM, (0.3, 3)),
    Peril("recording_not_ready", SELDOM, (1, 10)),
    *(
        Peril(f"{family}_{what}", SELDOM if what == "duplicate" else NOW_AND_THEN, seconds)
        for family in ("call_status", "conference_event", "recording_status")
        for what, seconds in (("duplicate", (0, 3)), ("reorder", (0.5, 2)), ("late", (1, 20)), ("lost", None))
    ),
)
REST: Final = (
    Peril("rest_429", NOW_AND_THEN),
    Peril("rest_500_before", NOW_AND_THEN),
    Peril("rest_500_after", NOW_AND_THEN),
    Peril("rest_timeout_after", NOW_AND_THEN, (16, 20)),
    Peril("rest_drop_before", NOW_AND_THEN),
    Peril("rest_slow", SELDOM, (0.5, 4)),
    Peril("html_502", NOW_AND_THEN),
)
AGENT: Final = (
    Peril("answer_never", NOW_AND_THEN),
    Peril("answer_delayed", SELDOM, (1, 5)),
    Peril("audio_never", NOW_AND_THEN),
    Peril("audio_stops", NOW_AND_THEN),
    Peril("audio_slow", NOW_AND_THEN),
    Peril("audio_odd", SELDOM),
    Peril("interruption_late", SELDOM, (0.3, 2)),
    Peril("speech_unheard", NOW_AND_THEN),
    Peril("transcript_never", SELDOM),
    Peril("tool_called_twice", SELDOM),
    Peril("tool_unknown", NOW_AND_THEN),
    Peril("tool_expects_response", NOW_AND_THEN),
    Peril("drop_idle", NOW_AND_THEN),
    Peril("crash_idle", NOW_AND_THEN),
    Peril("drop_on_message", NOW_AND_THEN),
    Peril("crash_on_message", NOW_AND_THEN),
    Peril("goodbye_after_answer", NOW_AND_THEN),
    Peril("quota_idle", NOW_AND_THEN),
)
STARTS: Final = (
    Start(after_s=0.2),
    Start(after_s=4.0),
    Start(after_s=9.5),
    Start(after_s=60.0),
    Start(end=LOST_START),
    Start(end=REFUSED_START),
)
PATIENCE: Final = Patience(
    silence_s=14.0,
    legs_left_s=25.0,
    legs_left_after_kill_s=25.0,
    alone_s=6.0,
    ring_extra_s=7.0,
    is_music_sure=False,
    hears_operator=True,
    logs_errors=True,
)


def bad_day(seed: int) -> Play:
    """What this seed has in store."""
    chance = Random(f"{seed}/day")
    callers = chance.choice((1, 1, 1, 2))
    return Play(
        name=f"bad day {seed}",
        mode=chance.choice(list(Mode)),
        callers=[_caller(chance) for _ in range(callers)],
        advisors={number: [_advisor(chance) for _ in range(3)] for number in (LAURA, JESUS)},
        advisors_known=chance.choice((0, 1, 2, 2, 2)),
        takes_s=chance.choice((0.2, 0.2, 0.2, 3.0, None)),
        has_music_url=chance.random() < 0.3,
        starts=[chance.choice(STARTS) for _ in range(4)] if chance.random() < 0.4 else [],
        faults=[*_drawn(chance, TELEPHONE), *_drawn(chance, REST, on="any")],
        agent_faults=list(_drawn(chance, AGENT)),
        incidents=list(_incidents(chance)),
        away_s=chance.choice((0.03, 0.03, 0.03, 0.1, 0.3)),
    )


def _drawn(chance: Random, perils: Sequence[Peril], **details: str) -> Iterator[Fault]:
    for peril in perils:
        rate, is_on = chance.choice(peril.rates), chance.random() < ON
        seconds = chance.uniform(*peril.seconds) if peril.seconds is not None else None
        if is_on:
            timed = {} if seconds is None else {"seconds": round(seconds, 2)}
            yield Fault(name=peril.name, probability=rate, details={**details, **timed})


def _incidents(chance: Random) -> Iterator[Incident]:
    yield Incident(at="ringing", act="calm", after_s=STORM_S)
    acts = ("kill", "kill", "outage", "lose session", "end agent", "program asks")
    for act in acts:
        if chance.random() < 0.25:
            after_s, down_s = chance.uniform(0.0, STORM_S), chance.uniform(1.0, 8.0)
            yield Incident(at="ringing", act=act, after_s=after_s, down_s=down_s)


def _caller(chance: Random) -> Script:
    answers_to_offer = (
        ASKS_FOR_OTHER,
        ASKS_FOR_MESSAGE,
        Step(at="agent_said:mensaje@agent", wait_s=0.5, say="Sí, por favor"),
        Step(at="agent_said:otro asesor@agent", wait_s=0.5, say="No, es todo, adiós"),
    )
    beginnings = (
        (ASKS,),
        (ASKS,),
        (Step(at="agent_speaks@agent", wait_s=0.6, say="Con un asesor, por favor"),),
        (Step(at="agent_said@agent", wait_s=0.5, press="0"),),
        (SAYS_GOODBYE,),
        (Step(wait_s=6.0, say="Páseme con Jesús Ríos"),),
    )
    middles = ((), (chance.choice(answers_to_offer),), (ASKS_FOR_OTHER, chance.choice(answers_to_offer)))
    ends = (
        (LEAVES_MESSAGE,),
        (LEAVES_MESSAGE, Step(wait_s=0.3, press="#")),
        (LEAVES_MESSAGE, Step(wait_s=0.2, hang_up=True)),
        (Step(at="gather", wait_s=1.0, press="1"), LEAVES_MESSAGE),
    )
    steps = (*chance.choice(beginnings), *chance.choice(middles), *chance.choice(ends))
    return Script(steps=steps, hang_up_after_s=chance.choice((3.0, 10.0, 25.0, 50.0, 80.0, 110.0)))


def _advisor(chance: Random) -> Script:
    return chance.choice(
        (
            ACCEPTS,
            ACCEPTS,
            ACCEPTS_AND_LEAVES,
            *MISSES.values(),
            answers(Step(at="gather", wait_s=0.1, press="1"), Step(at="joined", wait_s=1.0, hang_up=True)),
            answers(Step(at="gather", wait_s=5.0, press="1"), after_s=9.0),
            Script(answers=Answers.SILENT),
        )
    )
