"""The simulator's own time: trio's clock, a calendar to go with it, and a way to let a day pass at once."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import trio
from attrs import define, field


@define(eq=False)
class LabClock:
    """Time as everything in the simulator sees it.

    It goes as trio's clock goes (so a test may run it under a mock clock) and can be pushed forward. It starts when it
    is first read, which must be inside `trio.run`.

    Attributes:
        start: the calendar's first moment, UTC; None takes the machine's.
    """

    start: datetime | None = None
    _begun: tuple[float, datetime] | None = field(default=None, init=False)
    _advanced_s: float = field(default=0.0, init=False)
    _listeners: list[Callable[[], None]] = field(factory=list, init=False)

    def elapsed_s(self) -> float:
        """Seconds since the first reading, skipped time included. Never goes back."""
        origin_s, _ = self._begin()
        return trio.current_time() - origin_s + self._advanced_s

    def elapsed_at(self, trio_s: float) -> float:
        """What `elapsed_s` is at a moment of trio's clock, provided that no time is skipped between it and now."""
        return self.elapsed_s() + trio_s - trio.current_time()

    def now(self) -> datetime:
        _, start = self._begin()
        return start + timedelta(seconds=self.elapsed_s())

    def trio_deadline(self, due_s: float) -> float:
        """The moment of trio's clock at which `elapsed_s()` will be `due_s`, unless time is skipped before."""
        origin_s, _ = self._begin()
        return origin_s + due_s - self._advanced_s

    def advance(self, seconds: float) -> None:
        """Skip time. What falls due in between is due at once, in its order.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError("time goes forward only")
        self._advanced_s += seconds
        for listener in self._listeners:
            listener()

    def on_advance(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def _begin(self) -> tuple[float, datetime]:
        if self._begun is None:
            self._begun = trio.current_time(), self.start or datetime.now(UTC)
        return self._begun
