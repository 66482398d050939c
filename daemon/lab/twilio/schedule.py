"""Everything that is to happen later, in one heap served by one task."""

import heapq
from collections.abc import Callable, Iterator
from itertools import count
from typing import Final

import trio
from attrs import define, field

from daemon.lab.twilio.clock import LabClock

Action = Callable[[], object]

PENDING_MAX: Final = 200_000


class ScheduleFullError(RuntimeError):
    """More is to come than the simulator is willing to remember."""


@define(eq=False)
class Schedule:
    """Actions by due time. They are plain functions: they change state and hand real work on, and never wait.

    Actions due at the same moment run in the order in which they were scheduled. At most `PENDING_MAX` wait;
    beyond that scheduling raises `ScheduleFullError`.
    """

    clock: LabClock
    _heap: list[tuple[float, int, Action]] = field(factory=list, init=False)
    _ordinal: Iterator[int] = field(factory=count, init=False)
    _changed: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self.clock.on_advance(self._wake)

    def after(self, delay_s: float, action: Action) -> None:
        self.at(self.clock.elapsed_s() + delay_s, action)

    def at(self, due_s: float, action: Action) -> None:
        """Schedule at a moment of `LabClock.elapsed_s`; one that has passed is due at once."""
        if len(self._heap) >= PENDING_MAX:
            raise ScheduleFullError(f"{PENDING_MAX} actions wait already")
        entry = (due_s, next(self._ordinal), action)
        heapq.heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._wake()

    def clear(self) -> None:
        self._heap.clear()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run what falls due. Runs until cancelled; what has not run then stays scheduled."""
        task_status.started()
        while True:
            self._changed = trio.Event()
            self._run_due()
            with trio.CancelScope(deadline=self._next_deadline()):
                await self._changed.wait()

    def _run_due(self) -> None:
        # Compared as the deadline that woke us, to the last bit: else this could spin at one moment of a mock clock.
        while self._next_deadline() <= trio.current_time():
            _, _, action = heapq.heappop(self._heap)
            action()

    def _next_deadline(self) -> float:
        return self.clock.trio_deadline(self._heap[0][0]) if self._heap else float("inf")

    def _wake(self) -> None:
        self._changed.set()
