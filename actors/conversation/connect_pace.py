"""How fast agent sessions may be opened, and what becomes of that while most of them fail.

A vendor in trouble is not helped by five hundred conversations that all try again: sessions are opened at a
limited rate, answers before what is opened ahead, and while most openings fail only single trials are made,
with growing pauses.
"""

from collections import deque

import trio
from attrs import define, field

from actors.runtime.backoff import doubling_s

PATIENCE_S = 30.0
"""Who waits for an answer waits so long to be let through before that counts as a failed attempt."""
AHEAD_PATIENCE_S = 10.0
"""An opening that goes out so much later is worse than one without an agent session."""
WAITING_MAX = 10_000

RECENT_S = 60.0
RECENT_MAX = 20
FAILURES_TO_TRIP = 10
TRIAL_PAUSE_FIRST_S = 1.0
TRIAL_PAUSE_MAX_S = 30.0


class CrowdedError(Exception):
    """Too many wait to open a session, or sessions do not come about at all."""


@define
class Breaker:
    """Whether sessions come about, by the latest openings of the last minute. Pure; times are monotonic seconds.

    It trips when `FAILURES_TO_TRIP` of the latest `RECENT_MAX` openings failed, and most of them did; then it
    lets single trials through until one succeeds.
    """

    _recent: deque[tuple[float, bool]] = field(factory=lambda: deque(maxlen=RECENT_MAX), init=False)
    _is_tripped: bool = field(default=False, init=False)
    _is_tried: bool = field(default=False, init=False)
    _trials_failed: int = field(default=0, init=False)
    _trial_at: float = field(default=0.0, init=False)

    @property
    def is_tripped(self) -> bool:
        return self._is_tripped

    def free_at(self) -> float:
        """When the next opening may begin; infinity while a trial is under way."""
        if not self._is_tripped:
            return 0.0
        return float("inf") if self._is_tried else self._trial_at

    def begin(self) -> bool:
        """An opening begins. True when it is a trial, which must tell `succeeded`, `failed` or `trial_left`."""
        self._is_tried = self._is_tripped
        return self._is_tripped

    def succeeded(self, now: float) -> bool:
        """A session came about. True when that shows the trouble to be over."""
        was_tripped = self._is_tripped
        if was_tripped:
            self._recent.clear()
            self._is_tripped = self._is_tried = False
        self._recent.append((now, True))
        return was_tripped

    def failed(self, now: float, *, is_trial: bool) -> bool:
        """A session did not come about. True when that trips the breaker."""
        if is_trial:
            self._is_tried = False
            self._trials_failed += 1
            self._pause(now)
        if self._is_tripped:
            return False
        self._recent.append((now, False))
        results = [result for at, result in self._recent if at > now - RECENT_S]
        failures = results.count(False)
        if failures < FAILURES_TO_TRIP or 2 * failures <= len(results):
            return False
        self._is_tripped, self._is_tried, self._trials_failed = True, False, 0
        self._pause(now)
        return True

    def trial_left(self) -> None:
        """The trial ended without telling anything."""
        self._is_tried = False

    def _pause(self, now: float) -> None:
        self._trial_at = now + doubling_s(TRIAL_PAUSE_FIRST_S, self._trials_failed, max_s=TRIAL_PAUSE_MAX_S)


@define(eq=False)
class _Waiter:
    woken: trio.Event = field(factory=trio.Event)


class ConnectPace:
    """Lets openings through at `per_second`, a second's worth at once at most, and as the breaker allows."""

    def __init__(self, per_second: float, breaker: Breaker) -> None:
        self._breaker = breaker
        self._interval_s = 1.0 / per_second
        self._slack_s = max(0.0, 1.0 - self._interval_s)
        self._paid_until = 0.0
        # In the order of their coming.
        self._answers: dict[_Waiter, None] = {}
        self._ahead: dict[_Waiter, None] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._answers) + len(self._ahead)

    @property
    def takes_ahead(self) -> bool:
        """Whether a session may be opened ahead of need: while the breaker is tripped only as the trial that is
        due, and for which nobody waits.
        """
        is_trial_due = not len(self) and trio.current_time() >= self._free_at
        return is_trial_due or not self._breaker.is_tripped

    async def take(self, *, is_ahead: bool) -> bool:
        """Wait until a session may be opened. True when it is the breaker's trial.

        Whoever opens one ahead of need waits behind everybody who needs one now, and not at all while the
        breaker is tripped: it is the trial at once, or nothing. Who is cancelled has taken nothing.

        Raises:
            CrowdedError: it would take too long.
        """
        if len(self) >= WAITING_MAX or (is_ahead and not self.takes_ahead):
            raise CrowdedError
        queue, waiter = self._ahead if is_ahead else self._answers, _Waiter()
        queue[waiter] = None
        try:
            with trio.move_on_after(AHEAD_PATIENCE_S if is_ahead else PATIENCE_S):
                await self._until_turn(waiter)
                return self._let_through()
        finally:
            del queue[waiter]
            self.wake()
        raise CrowdedError

    def wake(self) -> None:
        """The breaker has changed its mind, or somebody has left the queue."""
        first = self._first
        if first is not None:
            first.woken.set()

    @property
    def _first(self) -> _Waiter | None:
        return next(iter(self._answers or self._ahead), None)

    @property
    def _free_at(self) -> float:
        return max(self._paid_until - self._slack_s, self._breaker.free_at())

    async def _until_turn(self, waiter: _Waiter) -> None:
        while True:
            free_at = self._free_at
            if waiter is not self._first:
                free_at = float("inf")
            elif trio.current_time() >= free_at:
                return
            waiter.woken = trio.Event()
            with trio.move_on_at(free_at):
                await waiter.woken.wait()

    def _let_through(self) -> bool:
        self._paid_until = max(self._paid_until, trio.current_time()) + self._interval_s
        return self._breaker.begin()
