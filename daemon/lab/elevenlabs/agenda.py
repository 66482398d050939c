"""What the simulated world does later: an answered phone, a finished analysis, a late webhook."""

import heapq
import itertools
import math
from collections.abc import Callable, Iterator

import trio
from attrs import define, field


@define(eq=False)
class Agenda:
    """Actions with a time, done in order by `run`, outside of any request.

    An action is a plain function that must not block. Those of one moment run in the order they were added.
    """

    limit: int = 100_000
    _entries: list[tuple[float, int, Callable[[], None]]] = field(factory=list, init=False)
    _numbers: Iterator[int] = field(factory=itertools.count, init=False)
    _changed: trio.Event = field(factory=trio.Event, init=False)

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Have `action` done in `delay_s` seconds of trio's clock.

        Raises:
            OverflowError: `limit` actions wait already.
        """
        if len(self._entries) >= self.limit:
            raise OverflowError(f"the lab's agenda is full ({self.limit} entries)")
        heapq.heappush(self._entries, (trio.current_time() + delay_s, next(self._numbers), action))
        self._changed.set()

    def clear(self) -> None:
        self._entries.clear()

    async def run(self) -> None:
        """Do what is due. Runs until cancelled."""
        while True:
            self._changed = trio.Event()
            while self._entries and self._entries[0][0] <= trio.current_time():
                heapq.heappop(self._entries)[2]()
            with trio.move_on_at(self._entries[0][0] if self._entries else math.inf):
                await self._changed.wait()
