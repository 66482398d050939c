"""Every scenario, undisturbed and broken off at some of its moments; `python -m tests.calls --act kill` breaks off at all."""

from collections.abc import Mapping, Sequence
from random import Random

import pytest
from attrs import evolve

from actors.live_call.state import Mode
from daemon.lab.faults import Fault
from tests.calls.ears import listen
from tests.calls.scenarios import LAURA, broken_off, moments_of, scenarios
from tests.calls.simulate import perform
from tests.calls.stage import Play, Stage
from tests.simulation.schedule import run_seeded

PLAYS: Mapping[str, Play] = {f"{play.mode.value}: {play.name}": play for play in scenarios()}
BROKEN_OFF = (
    ("conference: advisor hangs up first", "hang up"),
    ("conference: advisor hangs up first", "kill"),
    ("direct: caller hangs up first", "hang up"),
    ("direct: caller hangs up first", "kill"),
    ("conference: a message: and presses the pound key", "hang up"),
    ("direct: a message: and presses the pound key", "kill"),
)
MOMENTS = 4
"""Of those of a scenario; others at each one."""

pytestmark = pytest.mark.expects_error_log


@pytest.mark.parametrize("name", PLAYS)
def test_everybody_hears_what_they_should(name: str) -> None:
    outcome = perform(PLAYS[name])
    assert not outcome.broken, outcome.report


def _moments(play: Play, act: str) -> Sequence[str]:
    stage = Stage(play)
    run_seeded(0, stage.run)
    found = moments_of(stage)
    return Random(f"{play.name} {act}").sample(found, min(MOMENTS, len(found)))


@pytest.mark.parametrize(("name", "act"), BROKEN_OFF)
def test_whatever_moment_it_is_broken_off_at(name: str, act: str) -> None:
    play = PLAYS[name]
    for number, wish in enumerate(_moments(play, act)):
        outcome = perform(broken_off(play, wish, act, down_s=(1.0, 3.0, 8.0)[number % 3]))
        assert not outcome.broken, outcome.report


# --- found by listening, and mended ---


@pytest.mark.parametrize("wish", ["ringing", "document:incoming", "dialing@*", f"ringing@{LAURA}"])
def test_a_caller_who_hangs_up_before_anything_has_happened_leaves_nobody_behind(wish: str) -> None:
    outcome = perform(broken_off(PLAYS["conference: caller hangs up first"], wish, "hang up"))
    assert not outcome.broken, outcome.report


@pytest.mark.parametrize("mode", Mode)
def test_who_hangs_up_in_a_message_has_left_one(mode: Mode) -> None:
    outcome = perform(PLAYS[f"{mode.value}: a message: and hangs up"])
    assert outcome.counts["call ended: voicemail"] == 1
    assert outcome.counts["notice due"] == 1


@pytest.mark.parametrize("name", ["direct: caller hangs up first", "direct: a message: and waits"])
def test_an_agent_whose_sound_comes_in_splinters_is_heard_to_the_end(name: str) -> None:
    outcome = perform(evolve(PLAYS[name], agent_faults=[Fault(name="audio_odd")]))
    assert not outcome.broken, outcome.report
    cut = next(
        place
        for place, line in enumerate(outcome.lines)
        if "/voice/after" in line or "/voice/voicemail" in line
    )
    assert "agent_said" in next(line for line in reversed(outcome.lines[:cut]) if " agent_s" in line), (
        outcome.report
    )


@pytest.mark.parametrize("away_s", [0.03, 0.4])
@pytest.mark.parametrize("mode", Mode)
def test_a_goodbye_is_heard_to_its_end_and_is_the_end_however_far_twilio_is(
    mode: Mode, away_s: float
) -> None:
    stage = Stage(evolve(PLAYS[f"{mode.value}: the agent ends the call"], away_s=away_s))
    run_seeded(0, stage.run)
    assert not listen(stage)
    said_s = max(event.at_s for event in stage.events if event.name == "agent_said")
    heard_s = said_s + stage.agents.latency_s + away_s
    (caller,) = stage.callers
    assert caller.call.ended_s == pytest.approx(heard_s + away_s, abs=0.3)


@pytest.mark.parametrize("mode", Mode)
def test_a_call_outlives_a_daemon_and_a_database(mode: Mode) -> None:
    play = PLAYS[f"{mode.value}: caller hangs up first"]
    at = f"ringing@{LAURA}"
    outcome = perform(
        broken_off(broken_off(play, at, "outage", down_s=7.0), at, "kill", after_s=0.5, down_s=1.0)
    )
    assert not outcome.broken, outcome.report
    assert not outcome.counts["live call restarted"]


@pytest.mark.parametrize("mode", Mode)
def test_a_message_of_which_nobody_was_there_to_be_told_is_found(mode: Mode) -> None:
    """Though the database is away, too, when Twilio is asked; and Twilio is not asked all the time."""
    play = broken_off(PLAYS[f"{mode.value}: a message: and hangs up"], "recorded", "kill", down_s=8.0)
    stage = Stage(broken_off(play, "recorded", "outage", after_s=55.0, down_s=45.0))
    run_seeded(0, stage.run)
    assert not listen(stage)
    assert len(stage.made_recordings) == 1
    asked = [call for call in stage.lab.books.rest_calls if call.operation == "recording.list"]
    assert 1 <= len(asked) <= 4


@pytest.mark.parametrize("failures", [0, 2])
def test_a_stream_on_the_callers_own_leg_is_limited_at_twilio(failures: int) -> None:
    play = PLAYS["direct: the agent ends the call"]
    faults = (
        [Fault(name="rest_500_before", times=failures, details={"on": "call.update"})] if failures else []
    )
    stage = Stage(evolve(play, faults=faults))
    run_seeded(0, stage.run)
    assert not listen(stage)
    # The limit, and at the end the hanging up.
    updates = [call.status for call in stage.lab.books.rest_calls if call.operation == "call.update"]
    assert updates == [500] * failures + [200, 200]


def test_a_play_repeats_event_by_event() -> None:
    play = PLAYS["conference: advisor hangs up first"]
    assert perform(play, seed=3).digest == perform(play, seed=3).digest
    assert perform(play, seed=3).digest != perform(play, seed=4).digest
