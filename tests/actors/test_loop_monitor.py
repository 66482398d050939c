"""The event loop's delay, in virtual time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from attrs import Factory, define
from trio.testing import MockClock, wait_all_tasks_blocked

from daemon.observability.loop_monitor import TICK_S, LoopMonitor


@define
class Delays:
    seen: list[float] = Factory(list)

    def loop_delayed(self, seconds: float, /) -> None:
        self.seen.append(round(seconds, 6))


@asynccontextmanager
async def monitoring(delays: Delays) -> AsyncIterator[LoopMonitor]:
    async with trio.open_nursery() as nursery:
        monitor = LoopMonitor(delays)
        nursery.start_soon(monitor.run)
        await wait_all_tasks_blocked()
        yield monitor
        nursery.cancel_scope.cancel()


async def jump(clock: MockClock, seconds: float) -> None:
    """Time in which the loop ran nothing."""
    clock.jump(seconds)
    await wait_all_tasks_blocked()


async def test_a_loop_on_time_is_healthy(mock_clock: MockClock) -> None:
    delays = Delays()
    async with monitoring(delays) as monitor:
        assert not monitor.healthy
        for _ in range(3):
            await jump(mock_clock, TICK_S)
        assert delays.seen == [0.0, 0.0, 0.0]
        assert monitor.healthy


async def test_a_loop_that_was_held_up_is_not_healthy_until_it_is_on_time_again(
    mock_clock: MockClock,
) -> None:
    delays = Delays()
    async with monitoring(delays) as monitor:
        await jump(mock_clock, TICK_S)
        await jump(mock_clock, TICK_S + 1.5)
        assert delays.seen == [0.0, 1.5]
        assert round(monitor.last_delay_s, 6) == 1.5
        assert not monitor.healthy
        await jump(mock_clock, TICK_S)
        assert monitor.healthy


async def test_a_small_delay_is_measured_and_forgiven(mock_clock: MockClock) -> None:
    delays = Delays()
    async with monitoring(delays) as monitor:
        await jump(mock_clock, TICK_S + 0.25)
        assert delays.seen == [0.25]
        assert monitor.healthy


async def test_who_asks_before_the_monitor_has_run_again_hears_that_it_is_late(mock_clock: MockClock) -> None:
    async with monitoring(Delays()) as monitor:
        await jump(mock_clock, TICK_S)
        mock_clock.jump(TICK_S + 1.5)
        assert not monitor.healthy
