"""How late the event loop is, and whether it makes progress."""

from typing import Protocol

import trio

TICK_S = 0.1


class DelayMetrics(Protocol):
    def loop_delayed(self, seconds: float, /) -> None: ...


class LoopMonitor:
    """A task that asks to be woken ten times a second and looks at how late it was.

    Attributes:
        last_delay_s: how late it was the last time.
    """

    def __init__(self, metrics: DelayMetrics, *, delay_limit_s: float = 1.0) -> None:
        self.last_delay_s = 0.0
        self._metrics = metrics
        self._delay_limit_s = delay_limit_s
        self._ticked_at: float | None = None

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            due = trio.current_time() + TICK_S
            await trio.sleep_until(due)
            self._ticked_at = trio.current_time()
            self.last_delay_s = self._ticked_at - due
            self._metrics.loop_delayed(self.last_delay_s)

    @property
    def healthy(self) -> bool:
        """Whether the last tick was on time, within the limit, and the next is not overdue by more than it."""
        if self._ticked_at is None or self.last_delay_s > self._delay_limit_s:
            return False
        return trio.current_time() - self._ticked_at <= TICK_S + self._delay_limit_s
