"""The ears hear what is wrong: each of these bugs is planted, and one scenario is enough to find it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

import pytest
from attrs import evolve, frozen

from actors.live_call import advisor_steps, events, step
from actors.live_call.course import Course
from actors.live_call.effects import Answer, EndLeg, Finish, Timer
from actors.live_call.state import Mode
from actors.live_call.step import Stepped
from actors.live_call.voicemail import Voicemail
from daemon.voice.bridge import Bridge
from daemon.web.problem import HttpError
from daemon.web.voice import VoiceRoutes
from tests.calls.house import settings_for
from tests.calls.scenarios import LAURA, broken_off, scenarios
from tests.calls.simulate import perform
from tests.calls.stage import Play

pytestmark = pytest.mark.expects_error_log


@frozen(kw_only=True)
class Plant:
    play: str
    planted: Callable[[], Any]
    broken_off_at: str = ""
    mode: Mode = Mode.CONFERENCE


def _instead(of: Any, name: str, do: Any) -> Callable[[], Any]:
    return lambda: patch.object(of, name, do)


async def _nothing(*_: Any, **__: Any) -> bool:
    return True


async def _refuse(*_: Any, **__: Any) -> Any:
    raise HttpError(status=500, code="planted", message="planted")


@contextmanager
def _loud_music() -> Iterator[None]:
    def loud(*args: Any, **kwargs: Any) -> Any:
        settings = settings_for(*args, **kwargs)
        return evolve(settings, voice=evolve(settings.voice, music_ducked_level=settings.voice.music_level))

    with patch("tests.calls.stage.settings_for", loud):
        yield


def _without(kind: type) -> Callable[[], Any]:
    """Steps whose effects of this kind are forgotten."""
    real = step.step

    def forgetful(state: Any, event: Any, rules: Any) -> Stepped:
        done = real(state, event, rules)
        return evolve(done, effects=tuple(one for one in done.effects if not isinstance(one, kind)))

    return lambda: patch("actors.live_call.actor.step", forgetful)


def _straight_in(course: Course, _: Any) -> None:
    course.answer = Answer.ROOM


PLANTS: Final = {
    "there is music while a telephone rings": Plant(
        play="no answer, then goodbye", planted=_instead(Bridge, "music", lambda *_, **__: None)
    ),
    "no caller is left in silence": Plant(
        play="a session never starts", planted=_instead(Bridge, "music", lambda *_, **__: None)
    ),
    "music is lower under the agent's voice": Plant(play="no answer, then goodbye", planted=_loud_music),
    "no leg outlives the caller's": Plant(
        play="no answer, then goodbye", planted=_without(EndLeg), broken_off_at=f"ringing@{LAURA}"
    ),
    "no advisor sits alone": Plant(
        play="caller hangs up first",
        planted=lambda: patch.dict(step._STEPS, {events.CallerLeft: lambda *_: None}),
        broken_off_at=f"key@{LAURA}",
    ),
    "no advisor hears the caller before accepting": Plant(
        play="no digit, then goodbye",
        planted=lambda: patch.dict(step._STEPS, {events.GateReached: _straight_in}),
    ),
    "a telephone rings no longer than it may": Plant(
        play="no answer, then goodbye",
        planted=lambda: patch.dict(step._TIMERS, {Timer.RING: lambda *_: None}),
    ),
    "every message is kept once": Plant(
        play="a message: and waits", planted=_instead(Voicemail, "_fetch", _nothing)
    ),
    "nobody hears Twilio apologise": Plant(
        play="asks by key", planted=_instead(VoiceRoutes, "after", _refuse), mode=Mode.DIRECT
    ),
    "every call ends": Plant(play="the agent ends the call", planted=_without(Finish)),
    "sessions are released": Plant(play="the agent ends the call", planted=_without(Finish)),
    "one advisor is called at a time": Plant(
        play="the agent calls its tool twice",
        planted=lambda: patch.dict(step._STEPS, {events.AdvisorAsked: _asked_twice}),
    ),
}


def _asked_twice(course: Course, event: Any) -> None:
    advisor_steps._call(course, event, event.chosen or "Laura Gómez")


def _play(plant: Plant) -> Play:
    play = next(one for one in scenarios() if one.name == plant.play and one.mode is plant.mode)
    return broken_off(play, plant.broken_off_at, "hang up") if plant.broken_off_at else play


@pytest.mark.parametrize("invariant", PLANTS)
def test_a_planted_bug_is_heard(invariant: str) -> None:
    plant = PLANTS[invariant]
    with plant.planted():
        outcome = perform(_play(plant))
    assert invariant in {broken.invariant for broken in outcome.broken}, outcome.report
