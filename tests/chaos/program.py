"""Which scenarios there are, which of them share a world, and how all of them are played."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from fnmatch import fnmatch
from pathlib import Path

import trio
from attrs import evolve, field, frozen

from actors.runtime.fault_points import FaultPoint
from tests.chaos.audit import Verdict
from tests.chaos.database import NoPlaceError, small_disk
from tests.chaos.scenarios import databases, idle_crowd, kills, process, vendors
from tests.chaos.stage import Options, Result, Scenario, Stage, play
from tests.chaos.world import Settings, World, open_world

LOOK_AGAIN_S = 300.0


@frozen(kw_only=True)
class Ground:
    """Scenarios that are played one after the other in one world.

    Attributes:
        settings: of the daemon, beside the suite's.
        disk_mib: the database's disk is of its own, and that small.
        is_alone: nothing else is played meanwhile, since figures are taken.
    """

    name: str
    scenarios: Sequence[Scenario]
    settings: Settings = field(factory=dict)
    disk_mib: int | None = None
    is_alone: bool = False


def grounds() -> list[Ground]:
    points = list(FaultPoint)
    third, half = -(-len(points) // 3), -(-len(vendors.OF_AGENT) // 2)
    return [
        *(
            Ground(
                name=f"kills-{part + 1}", scenarios=kills.at_points(points[part * third : (part + 1) * third])
            )
            for part in range(3)
        ),
        Ground(name="agent-1", scenarios=vendors.OF_AGENT[:half]),
        Ground(name="agent-2", scenarios=vendors.OF_AGENT[half:]),
        Ground(name="twilio", scenarios=[*vendors.OF_TWILIO, vendors.IN_DISARRAY]),
        Ground(name="chance", scenarios=[kills.AT_CHANCE]),
        Ground(name="database", scenarios=databases.SCENARIOS),
        Ground(name="disk", scenarios=[databases.DISK_FULL], disk_mib=databases.DISK_MIB),
        Ground(name="closes", scenarios=vendors.CLOSES_BY_CODE),
        Ground(name="signals", scenarios=process.SIGNALS),
        # A clock that has jumped is no place to begin another one.
        *(
            Ground(name=scenario.name, scenarios=[scenario], settings=process.CLOCK_SETTINGS)
            for scenario in process.CLOCKS
        ),
        Ground(name="crowd", scenarios=[idle_crowd.IDLE_CROWD], settings=idle_crowd.SETTINGS, is_alone=True),
    ]


def chosen(all_grounds: Sequence[Ground], patterns: Sequence[str]) -> list[Ground]:
    """The grounds with those scenarios alone whose names fit a pattern (`kill-3*`)."""
    found = []
    for ground in all_grounds:
        scenarios = [
            scenario
            for scenario in ground.scenarios
            if not patterns or any(fnmatch(scenario.name, pattern) for pattern in patterns)
        ]
        if scenarios:
            found.append(evolve(ground, scenarios=scenarios))
    return found


async def play_all(
    wanted: Sequence[Ground], options: Options, folder: Path, *, at_once: int, tell: Callable[[Result], None]
) -> None:
    """Play the grounds, so many at the same time, and tell each result as it comes."""
    limit = trio.CapacityLimiter(at_once)

    async def play_and_leave(ground: Ground) -> None:
        try:
            await play_ground(ground, options, folder / ground.name, tell=tell)
        finally:
            limit.release_on_behalf_of(ground.name)

    async with trio.open_nursery() as nursery:
        # In their order: the longest come first.
        for ground in [ground for ground in wanted if not ground.is_alone]:
            await limit.acquire_on_behalf_of(ground.name)
            nursery.start_soon(play_and_leave, ground)
    for ground in [ground for ground in wanted if ground.is_alone]:
        await play_ground(ground, options, folder / ground.name, tell=tell)


async def play_ground(
    ground: Ground, options: Options, folder: Path, *, tell: Callable[[Result], None]
) -> None:
    """Play one ground's scenarios, and at the end look at everybody once more: what comes late counts too."""
    stages: list[Stage] = []
    try:
        async with _open(ground, options, folder) as world:
            for area, scenario in enumerate(ground.scenarios, start=1):
                stage = Stage(
                    world=world,
                    options=options,
                    name=scenario.name,
                    area=area,
                    expected=scenario.expected,
                )
                result = await play(scenario, stage)
                tell(result)
                if result.is_good and result.skipped is None:
                    stages.append(stage)
            if len(stages) > 1:
                tell(await _look_again(ground, stages))
    except NoPlaceError as error:
        for scenario in ground.scenarios:
            tell(Result(name=scenario.name, skipped=f"no small disk can be made: {error}"))


async def _look_again(ground: Ground, stages: Sequence[Stage]) -> Result:
    """The audit of what was good when its scenario ended."""
    began_at = trio.current_time()
    verdicts: list[Verdict] = []
    with trio.move_on_after(LOOK_AGAIN_S) as limit:
        for stage in stages:
            verdicts.append(await stage.look())  # noqa: PERF401 - a time-out keeps what was seen
    return Result(
        name=f"{ground.name}, once more",
        # What is written and arrived was counted before.
        verdict=Verdict(findings=[finding for verdict in verdicts for finding in verdict.findings]),
        seconds=trio.current_time() - began_at,
        misses=["not finished in time"] if limit.cancelled_caught else [],
    )


@asynccontextmanager
async def _open(ground: Ground, options: Options, folder: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        disk = None
        if ground.disk_mib is not None:
            disk = await stack.enter_async_context(small_disk(folder / "disk", size_mib=ground.disk_mib))
        yield await stack.enter_async_context(
            open_world(folder, seed=options.seed, settings=ground.settings, plant=options.plant, disk=disk)
        )
