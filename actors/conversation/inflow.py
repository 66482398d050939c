"""What a person writes until a turn takes it, and when that turn may begin. Pure; times are monotonic seconds.

Normally a turn begins once the person has stopped writing for a moment. Who writes more than so many messages a
minute, by mischief, by a broken phone or as another bot, gets no turn for each of them: they are gathered until
the rate has fallen, at most for a minute, and then go as one.
"""

from collections import deque
from collections.abc import Sequence
from datetime import datetime

from attrs import define, field

from actors.conversation.turn import CoalescingRules, Gathering
from actors.messages import PendingMessage

NEVER = float("inf")
MINUTE_S = 60.0


@define
class Inflow:
    """Arrivals of the last minute, as many as tell whether they are too many."""

    rules: CoalescingRules
    _gathering: Gathering | None = field(default=None, init=False)
    _recent: deque[float] = field(init=False)
    _recalled: frozenset[str] = field(default=frozenset(), init=False)
    _is_held_back: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._recent = deque(maxlen=self.rules.per_minute_max + 1)

    @property
    def is_gathering(self) -> bool:
        return self._gathering is not None

    @property
    def due_at(self) -> float:
        """When the next turn may begin; `NEVER` while nothing has come."""
        if self._gathering is None:
            return NEVER
        held_until = min(self._calm_at, self._gathering.first_at + MINUTE_S)
        return max(self._gathering.over_at(self.rules), held_until)

    def arrived(self, sid: str, now: float) -> None:
        if sid not in self._recalled:
            self._recent.append(now)
        self._gathering = self._gathering.another(now) if self._gathering else Gathering.begin(now)

    def recall(self, pending: Sequence[PendingMessage], now: float, *, wall: datetime) -> None:
        """Take up what came before this life and is still unanswered; `wall` is the same moment as `now`.

        The store knows them all, so they stand for whatever was counted until now.
        """
        came_at = {m.sid: now - max(0.0, (wall - m.received_at).total_seconds()) for m in pending}
        recent = sorted(at for at in came_at.values() if at > now - MINUTE_S)
        self._recent.clear()
        self._recent.extend(recent)
        self._recalled = frozenset(came_at)
        if self._gathering is None and now < self._calm_at:
            self._gathering = Gathering(first_at=recent[0], last_at=recent[-1])

    def begins_to_hold(self, now: float) -> bool:
        """Whether messages are held back now that were not when this was last asked."""
        was, self._is_held_back = self._is_held_back, now < self._calm_at
        return self._is_held_back and not was

    def take(self, now: float) -> float:
        """A turn takes what came, or nobody will. Returns when the first of it came; now, when nothing did."""
        began_at = now if self._gathering is None else self._gathering.first_at
        self._gathering = None
        return began_at

    @property
    def _calm_at(self) -> float:
        """When the last minute will hold no more than is allowed, if nothing more comes."""
        is_full = len(self._recent) == self._recent.maxlen
        return self._recent[0] + MINUTE_S if is_full else -NEVER
