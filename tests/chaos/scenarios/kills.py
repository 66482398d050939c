"""SIGKILL: at every numbered point of a message's and a call's way, and at moments of chance."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import trio
from attrs import frozen

from actors.runtime.fault_points import FaultPoint
from tests.chaos.audit import NOTHING_EXPECTED, Expectation
from tests.chaos.stage import Scenario, Stage
from tests.chaos.world import Kill

REACHED_WITHIN_S = 60.0
CHANCE_MAX_S = 2.5
CHANCES_A_ROUND = 14

_REFUSED = Expectation(refusals=True, reason="Twilio refuses the message for good (21408)")


@frozen(kw_only=True)
class Drive:
    """What brings the traffic past a point: faults of either lab, by name.

    Attributes:
        speaks_on: the agents say something more after their answers.
    """

    agent: Mapping[str, Mapping[str, Any]] = {}
    twilio: Mapping[str, Mapping[str, Any]] = {}
    speaks_on: bool = False
    expected: Expectation = NOTHING_EXPECTED


# A status callback would tell what the answer did not, before anything is looked up.
_ANSWER_LOST = Drive(twilio={"rest_500_after": {"probability": 0.4}, "status_lost": {"probability": 0.9}})
_AGENT_FAILS = Drive(agent={"quota_mid_answer": {"probability": 0.5}})
_AGENT_GOES_ON = Drive(agent={"complete_never": {"probability": 1.0}}, speaks_on=True)

# Ordinary traffic passes every other point.
DRIVES: Mapping[FaultPoint, Drive] = {
    # Sessions are opened with the call; a reply needs one when that has ended.
    FaultPoint.SESSION_NOT_OPENED: Drive(agent={"goodbye_after_answer": {"probability": 0.5}}),
    # The webhook brings the details along; they are asked for when it does not come.
    FaultPoint.DETAILS_NOT_ASKED: Drive(agent={"webhook_lost": {"probability": 1.0}}),
    FaultPoint.MISSED_LISTED: Drive(twilio={"webhook_lost": {"probability": 0.5}}),
    FaultPoint.MISSED_STORED: Drive(twilio={"webhook_lost": {"probability": 0.5}}),
    FaultPoint.TURN_NOT_DEFERRED: _AGENT_FAILS,
    FaultPoint.TURN_DEFERRED: _AGENT_FAILS,
    FaultPoint.BELATED_NOT_COMMITTED: _AGENT_GOES_ON,
    FaultPoint.BELATED_COMMITTED: _AGENT_GOES_ON,
    FaultPoint.REFUSED_COMMITTED: Drive(twilio={"rest_refused": {"probability": 0.3}}, expected=_REFUSED),
    FaultPoint.RELEASED_COMMITTED: Drive(
        twilio={"rest_429": {"probability": 0.4, "details": {"retry_after_s": 0.2}}}
    ),
    FaultPoint.LOOKUP_NOT_ASKED: _ANSWER_LOST,
    FaultPoint.LOOKUP_ANSWERED: _ANSWER_LOST,
    FaultPoint.ADOPTED_COMMITTED: _ANSWER_LOST,
    FaultPoint.REPEAT_COMMITTED: Drive(twilio={"rest_500_before": {"probability": 0.4}}),
}
ORDINARY = Drive()


async def kill_at(stage: Stage, point: FaultPoint) -> None:
    """Kill at the point again and again while customers come and write; each life is one kill long."""
    world, drive = stage.world, DRIVES.get(point, ORDINARY)
    for lab, faults in ((world.agent_lab, drive.agent), (world.twilio_lab, drive.twilio)):
        for name, fault in faults.items():
            await world.switch_on(lab, name, **fault)

    async def kill() -> None:
        for number in range(stage.options.rounds):
            await world.discard_daemon()
            await world.start_daemon(kill_at=Kill(point, stage.rng.randint(1, _passings_max(point))))
            if not await world.dies_within(REACHED_WITHIN_S):
                stage.misses.append(f"not reached within {REACHED_WITHIN_S:.0f} s, kill {number + 1}")
                break

    if drive.speaks_on:
        stage.crowd.after_answer = stage.crowd.make_agent_speak_on
    await stage.under_load(kill, at_first=4)


async def kill_at_chance(stage: Stage, *, a_round: int = CHANCES_A_ROUND) -> None:
    """Kill at seeded moments: some while the daemon starts, most while it serves."""
    world = stage.world

    async def kill() -> None:
        for _ in range(a_round * stage.options.rounds):
            if not world.is_daemon_alive:
                await world.start_daemon()
            if stage.rng.random() < 0.8:
                await world.until_ready()
            await trio.sleep(stage.rng.uniform(0.0, CHANCE_MAX_S))
            await world.kill_daemon()

    await world.run_daemon()
    await stage.under_load(kill)


def _passings_max(point: FaultPoint) -> int:
    """What everybody passes all the time is passed by an opening or by an answer, early or late."""
    return 2 if point in DRIVES else 6


def at_points(points: Sequence[FaultPoint]) -> list[Scenario]:
    return [
        Scenario(
            name=f"kill-{point.value}",
            play=partial(kill_at, point=point),
            expected=DRIVES.get(point, ORDINARY).expected,
        )
        for point in points
    ]


AT_CHANCE = Scenario(name="kill-at-chance", play=kill_at_chance)
