"""What happens to the process from outside: its clock jumps, it is told to end."""

import signal
from collections.abc import Mapping
from functools import partial

import trio

from tests.chaos.stage import Scenario, Stage
from tests.chaos.world import DRAIN_S, Settings

MINUTES_S = 150.0
HOUR_S = 3600.0
WINDOW_AND_MORE_S = 26 * HOUR_S
CLOSING_S = 8.0
AT_ONCE_S = 3.0
PEOPLE = 12
WAITS_S = 20.0

# A message that a jump makes a day old is not to be given up for its age.
CLOCK_SETTINGS: Settings = {"outbox": {"give_up_after_s": 10 * 24 * HOUR_S}}


# So that there is work that was put off, or is in doubt, by a clock that is no longer right.
_PUTS_OFF: Mapping[str, float] = {
    "rest_500_after": 0.2,
    "rest_429": 0.2,
    "status_lost": 0.9,
    "webhook_lost": 0.2,
}
_AGENT_PUTS_OFF: Mapping[str, float] = {"quota_mid_answer": 0.2}


async def clock_jumps(stage: Stage, offsets_s: tuple[float, ...]) -> None:
    """The wall clock stands elsewhere from one moment to the next, under load.

    A pause ends at a time of day. A clock that is set back makes what was put off before wait for that time once
    more: it must go then, and is not expected to go before.
    """
    world = stage.world
    world.set_clock(0.0)
    await world.run_daemon()
    for lab, faults in ((world.twilio_lab, _PUTS_OFF), (world.agent_lab, _AGENT_PUTS_OFF)):
        for name, probability in faults.items():
            await world.switch_on(lab, name, probability=probability)

    async def jump() -> None:
        for offset_s in offsets_s:
            await trio.sleep(stage.rng.uniform(2.0, 3.0))
            world.set_clock(offset_s)
        await trio.sleep(3.0)

    await stage.under_load(jump)
    await world.switch_all_off()
    if owed := await stage.until_nothing_is_owed(within_s=WAITS_S):
        stage.notes.append(f"{owed} waited until the clock came to their time again")
        world.set_clock(max(0.0, *offsets_s))


async def window_closes(stage: Stage) -> None:
    """More than a day passes at once, for Twilio too: what is answered afterwards goes as a template, or as text to
    whoever has written since.
    """
    world = stage.world
    world.set_clock(0.0)
    await world.run_daemon()
    await world.switch_on(world.agent_lab, "answer_delayed", probability=0.5, details={"seconds": 1.5})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(stage.crowd.all_talk, PEOPLE, messages=6))
        await trio.sleep(stage.rng.uniform(3.0, 4.0))
        world.set_clock(WINDOW_AND_MORE_S)
        await world.post(f"{world.twilio_lab}/clock/advance", {"seconds": WINDOW_AND_MORE_S})


async def terminated(stage: Stage) -> None:
    """SIGTERM under load: the daemon drains and exits 0 in time, and its next life goes on."""
    world = stage.world

    async def terminate() -> None:
        for _ in range(max(2, stage.options.rounds // 2)):
            await world.run_daemon()
            await trio.sleep(stage.rng.uniform(1.0, 3.0))
            world.send_signal(signal.SIGTERM)
            code = await world.exit_code(within_s=DRAIN_S + CLOSING_S)
            if code != 0:
                stage.misses.append(f"exit code {code} after SIGTERM, {DRAIN_S:.0f} s to drain")
                await world.kill_daemon()

    await world.run_daemon()
    await stage.under_load(terminate, at_first=20)


async def terminated_twice(stage: Stage) -> None:
    """A second SIGTERM while turns are in flight ends the process at once."""
    world = stage.world
    await world.run_daemon()
    await world.switch_on(world.agent_lab, "answer_delayed", details={"seconds": 2.5})

    async def terminate() -> None:
        await trio.sleep(4.0)
        world.send_signal(signal.SIGTERM)
        if await world.exit_code(within_s=0.3) is not None:
            stage.misses.append("the first SIGTERM did not wait for the turns in flight")
            return
        world.send_signal(signal.SIGTERM)
        if await world.exit_code(within_s=AT_ONCE_S) is None:
            stage.misses.append(f"still there {AT_ONCE_S:.0f} s after a second SIGTERM")
            await world.kill_daemon()

    await stage.under_load(terminate)


CLOCKS = [
    Scenario(name="clock-minutes-ahead", play=partial(clock_jumps, offsets_s=(MINUTES_S,))),
    Scenario(name="clock-hour-ahead", play=partial(clock_jumps, offsets_s=(HOUR_S,))),
    Scenario(name="clock-hour-back", play=partial(clock_jumps, offsets_s=(-HOUR_S,))),
    Scenario(name="clock-to-and-fro", play=partial(clock_jumps, offsets_s=(HOUR_S, 0.0, -HOUR_S, 0.0))),
    Scenario(name="clock-window-closes", play=window_closes),
]
SIGNALS = [
    Scenario(name="sigterm", play=terminated),
    Scenario(name="sigterm-twice", play=terminated_twice),
]
