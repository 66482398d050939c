"""How much may be sent, and when: the rate of the sender, pauses, who goes first, one person's share. Pure.

Moments are seconds of one monotonic clock, given by the caller.
"""

from collections import deque
from collections.abc import Collection, Mapping
from enum import Enum, auto
from math import inf, prod

from attrs import Factory, define, field, frozen

from actors.messages import Purpose
from actors.runtime.backoff import doubling_s


class Urgency(Enum):
    """Whether somebody waits for what is sent to them."""

    AWAITED = auto()
    UNAWAITED = auto()


class Extent(Enum):
    """Whom a limit concerns."""

    EVERYBODY = auto()
    OPENINGS = auto()


# Our credentials are refused; too many requests; the sender's queue is full; the account's daily limit.
_CODES_FOR_EVERYBODY = frozenset({401, 403, 20003, 20005, 429, 20429, 21611, 63038})
# Too many messages to one person, or too many people who were written to first: an opening tells the second.
_TIER_CODE = 63018

_AWAITED_PER_OPENING = 9
"""While both wait, openings get one turn in ten."""

_SHARE_MIN = 1 / 16
_WINDOWS_TO_RECOVER = 8


def urgency_of(purpose: Purpose) -> Urgency:
    return Urgency.UNAWAITED if purpose is Purpose.OPENING else Urgency.AWAITED


def extent_of(code: int | None, purpose: Purpose) -> Extent | None:
    """Whom else a refusal for now concerns; None when it is about this message or this person alone."""
    if code in _CODES_FOR_EVERYBODY:
        return Extent.EVERYBODY
    if code == _TIER_CODE and purpose is Purpose.OPENING:
        return Extent.OPENINGS
    return None


@frozen
class Rate:
    """So many in any window, without spacing inside it: 80/s is 80 in any second, 0.33/s one in any three seconds."""

    per_second: float

    @property
    def count(self) -> int:
        return max(1, int(self.per_second))

    @property
    def window_s(self) -> float:
        return self.count / self.per_second


@define
class SlidingWindow:
    """Never more than `rate.count` in any `rate.window_s`, the later end not included."""

    rate: Rate
    _taken: deque[float] = field(
        default=Factory(lambda self: deque(maxlen=self.rate.count), takes_self=True), init=False
    )

    def opens_at(self, share: float = 1.0) -> float:
        """When the next may go, at that share of the rate; the past when at once."""
        return max(self._opens_at(self.rate), self._opens_at(Rate(self.rate.per_second * share)))

    def _opens_at(self, rate: Rate) -> float:
        return -inf if len(self._taken) < rate.count else self._taken[-rate.count] + rate.window_s

    def take(self, at: float) -> None:
        self._taken.append(at)

    def give_back(self, at: float) -> None:
        """What was taken at that moment was not used."""
        if at in self._taken:
            self._taken.remove(at)


@define
class Throttle:
    """Pauses that grow while we are turned away, and a rate that comes back bit by bit.

    Those who were under way together are turned away together: that counts once.

    Attributes:
        first_s, max_s: the pause, doubling; no longer one is kept, whoever asks for it.
        step: how much of the rate each acceptance gives back.
        until: nobody goes before that.
        share: of the rate that may be used; halved each time.
    """

    first_s: float
    max_s: float
    step: float
    until: float = field(default=-inf, init=False)
    share: float = field(default=1.0, init=False)
    _times: int = field(default=0, init=False)
    _last_at: float = field(default=-inf, init=False)

    @property
    def is_on(self) -> bool:
        """Nothing was accepted since we were turned away; one at a time may try."""
        return self._times > 0

    def turned_away(self, now: float, *, began_at: float, asked_s: float) -> float:
        """An attempt that began then was turned away; returns how long the pause is from now on.

        `asked_s`, how long we were asked to wait, may be any number, and none.
        """
        if began_at > self._last_at:
            self._last_at = now
            self._times += 1
            self.share = max(_SHARE_MIN, self.share / 2)
        pause_s = max(doubling_s(self.first_s, self._times - 1, max_s=self.max_s), min(self.max_s, asked_s))
        self.until = max(self.until, now + pause_s)
        return self.until - now

    def accepted(self, *, began_at: float) -> None:
        """An attempt that began then was accepted. It proves nothing when it began before we were turned away."""
        if began_at > self._last_at:
            self._times = 0
            self.share = min(1.0, self.share + self.step)


@frozen(kw_only=True)
class GateRules:
    """Limits of one sender.

    Attributes:
        messages_per_second: WhatsApp queues what is above it and drops it hours later.
        concurrency: messages under way at once.
        pause_first_s, pause_max_s: of a sender that was turned away.
    """

    messages_per_second: float
    concurrency: int
    pause_first_s: float
    pause_max_s: float

    @property
    def openings_max(self) -> int:
        """Openings under way at once: slow ones must not hold up an answer."""
        return max(1, self.concurrency * 3 // 4)


@define
class Admission:
    """Who may go now, of two classes: the rate, the pauses, what is under way, and precedence.

    Awaited messages use the window as they come, with no wait below the limit. Openings are spaced evenly: nobody waits
    for them, and a window that they filled at one stroke would hold up the answers of a whole second. Only what answers
    that went first have left them in debt goes without spacing.
    """

    rules: GateRules
    throttles: Mapping[Extent, Throttle] = field(init=False)
    _window: SlidingWindow = field(init=False)
    _under_way: dict[Urgency, int] = field(factory=lambda: dict.fromkeys(Urgency, 0), init=False)
    _passed_over: int = field(default=0, init=False)
    _next_opening_at: float = field(default=-inf, init=False)

    def __attrs_post_init__(self) -> None:
        rate = Rate(self.rules.messages_per_second)
        self._window = SlidingWindow(rate)
        self.throttles = {
            extent: Throttle(
                first_s=self.rules.pause_first_s,
                max_s=self.rules.pause_max_s,
                step=1 / (_WINDOWS_TO_RECOVER * rate.count),
            )
            for extent in Extent
        }

    def opens_at(self, urgency: Urgency) -> float:
        """When the next of this class may go; the past when at once, `inf` while too many are under way."""
        everybody, openings = self.throttles[Extent.EVERYBODY], self.throttles[Extent.OPENINGS]
        if sum(self._under_way.values()) >= _allowed(everybody, self.rules.concurrency):
            return inf
        opens_at = max(everybody.until, self._window.opens_at(everybody.share))
        if urgency is Urgency.AWAITED:
            return opens_at
        if self._under_way[Urgency.UNAWAITED] >= _allowed(openings, self.rules.openings_max):
            return inf
        opens_at = max(opens_at, openings.until)
        return opens_at if self._is_opening_owed else max(opens_at, self._next_opening_at)

    @property
    def _is_opening_owed(self) -> bool:
        return self._passed_over >= _AWAITED_PER_OPENING

    def admit(self, waiting: Collection[Urgency], now: float) -> Urgency | None:
        """Let the next one go; returns of which class, None when nobody of those who wait may go now."""
        ready = {urgency for urgency in waiting if self.opens_at(urgency) <= now}
        if not ready:
            return None
        is_awaited = Urgency.AWAITED in ready and not (self._is_opening_owed and Urgency.UNAWAITED in ready)
        urgency = Urgency.AWAITED if is_awaited else Urgency.UNAWAITED
        if is_awaited:
            self._passed_over += Urgency.UNAWAITED in waiting
        else:
            share = prod(throttle.share for throttle in self.throttles.values())
            self._next_opening_at = now + 1 / (self.rules.messages_per_second * share)
            self._passed_over = 0
        self._window.take(now)
        self._under_way[urgency] += 1
        return urgency

    def leave(self, urgency: Urgency) -> None:
        self._under_way[urgency] -= 1

    def give_back(self, urgency: Urgency, admitted_at: float) -> None:
        """One of this class that was let go at that moment has sent nothing."""
        self._window.give_back(admitted_at)
        if urgency is Urgency.UNAWAITED:
            self._next_opening_at = min(self._next_opening_at, admitted_at)


def _allowed(throttle: Throttle, usual: int) -> int:
    return 1 if throttle.is_on else usual


@define
class PersonLimit:
    """At most `burst` to one person at once, and one every `every_s` in the long run.

    Remembers only those whose bucket is not full: nobody whose last message is older than `burst * every_s`.
    """

    burst: int
    every_s: float
    _full_at: dict[int, float] = field(factory=dict, init=False)

    def opens_at(self, person_id: int) -> float:
        """When this person may have the next; the past when at once."""
        return self._full_at.get(person_id, -inf) - (self.burst - 1) * self.every_s

    def take(self, person_id: int, now: float) -> None:
        self._full_at[person_id] = max(now, self._full_at.get(person_id, now)) + self.every_s

    def forget_full(self, now: float) -> None:
        for person_id in [person_id for person_id, full_at in self._full_at.items() if full_at <= now]:
            del self._full_at[person_id]

    def __len__(self) -> int:
        return len(self._full_at)
