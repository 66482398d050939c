"""How the people write: at moments of their own choice, or each as soon as another one was answered."""

import random
from collections import deque
from collections.abc import Iterable

import trio
from attrs import define, field

from tests.bench.vendors import Turn, Vendors

TURN_TIMEOUT_S = 30.0


class SpoiltError(Exception):
    """What was measured means nothing."""


def _deque(phones: Iterable[str]) -> deque[str]:
    return deque(phones)


@define(eq=False)
class Crowd:
    """People who take turns in writing.

    Attributes:
        idle: who has nothing under way.
    """

    vendors: Vendors
    idle: deque[str] = field(converter=_deque)
    turns: list[Turn] = field(factory=list, init=False)
    _writing: trio.CancelScope = field(factory=trio.CancelScope, init=False)

    async def greet(self, *, at_once: int) -> None:
        """Everybody writes once, so many at a time: sockets are open and statements prepared afterwards."""
        limit = trio.CapacityLimiter(at_once)
        async with trio.open_nursery() as nursery:
            for _ in range(len(self.idle)):
                await limit.acquire_on_behalf_of(phone := self.idle.popleft())
                nursery.start_soon(self._greet, phone, limit)
        self.turns.clear()

    async def _greet(self, phone: str, limit: trio.CapacityLimiter) -> None:
        await self.take_turn(phone)
        limit.release_on_behalf_of(phone)

    async def take_turn(self, phone: str) -> None:
        with trio.move_on_after(TURN_TIMEOUT_S):
            turn = await self.vendors.write(phone)
            await turn.done.wait()
            self.turns.append(turn)
            self.idle.append(phone)
            return
        raise SpoiltError(f"no answer in {TURN_TIMEOUT_S} s; {self.vendors.problems[:3]}")

    async def write_at_random(self, *, per_second: float) -> None:
        """Open loop: who writes does not wait for how fast others are answered. Runs until `stop`."""
        gaps = random.Random(7)
        at = trio.current_time()
        async with trio.open_nursery() as nursery:
            with self._writing:
                while True:
                    at += gaps.expovariate(per_second)
                    await trio.sleep_until(at)
                    if not self.idle:
                        raise SpoiltError("everybody waits for an answer: the load is too much")
                    nursery.start_soon(self.take_turn, self.idle.popleft())

    async def write_in_turn(self, *, at_once: int) -> None:
        """Closed loop: so many turns are under way at any moment. Runs until `stop`."""
        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(self._write_until_stopped)

    async def _write_until_stopped(self) -> None:
        while not self._writing.cancel_called:
            await self.take_turn(self.idle.popleft())

    def stop(self) -> None:
        """Nobody begins another turn; those under way come to their end."""
        self._writing.cancel()
