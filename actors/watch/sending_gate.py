"""The gate in front of Twilio: hands out permits to send, first to whoever is awaited, then in the order of arrival.

A permit is one place among those under way and one slot of the sender's rate. Who waits holds neither.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf

import structlog
import trio
from attrs import define, field

from actors.alerts import Alerts
from actors.watch.sending_limits import Admission, Extent, GateRules, Urgency

_log = structlog.get_logger(__name__)

PAUSE_TO_ALERT_S = 5.0
"""A shorter pause is how a rate limit works; of a longer one somebody should know."""

_ALERTS = {
    Extent.EVERYBODY: ("sending_throttled", "Twilio takes no messages for now"),
    Extent.OPENINGS: ("openings_throttled", "Twilio takes no first messages for now"),
}


@define(eq=False)
class Permit:
    """Leave to send one message, once it is granted.

    Attributes:
        granted_at: by trio's clock.
        is_used: to be set when something may have been sent; otherwise the slot goes to the next.
    """

    urgency: Urgency
    granted_at: float = field(default=inf, init=False)
    is_used: bool = field(default=False, init=False)
    granted: trio.Event = field(factory=trio.Event, init=False)


class SendingGate:
    """For one sender. While `run` does not, nobody comes in for whom time has to pass."""

    def __init__(self, rules: GateRules, alerts: Alerts) -> None:
        self._admission = Admission(rules)
        self._alerts = alerts
        self._waiting: dict[Urgency, dict[int, Permit]] = {urgency: {} for urgency in Urgency}
        self._alarm = trio.CancelScope()

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            with trio.CancelScope() as self._alarm:
                self._let_in()
                await trio.sleep_forever()

    @asynccontextmanager
    async def permit(self, person_id: int, urgency: Urgency) -> AsyncIterator[Permit]:
        """Wait for a permit, and hold it while the block runs. For each person once at a time.

        Whoever is cancelled, waiting or just let in, leaves the turn to the next.
        """
        permit = Permit(urgency)
        self._waiting[urgency][person_id] = permit
        self._let_in()
        try:
            await permit.granted.wait()
            yield permit
        finally:
            self._leave(person_id, permit)
            self._let_in()

    def hurry(self, person_id: int) -> None:
        """Somebody who waits is awaited now: last of those who are. Without effect on others."""
        permit = self._waiting[Urgency.UNAWAITED].pop(person_id, None)
        if permit is not None:
            permit.urgency = Urgency.AWAITED
            self._waiting[Urgency.AWAITED][person_id] = permit
            self._let_in()

    def accepted(self, permit: Permit, urgency: Urgency) -> None:
        """What was sent with this permit was taken; an opening may have gone with an answer's, and is one all the same."""
        self._passed(Extent.EVERYBODY, permit)
        if urgency is Urgency.UNAWAITED:
            self._passed(Extent.OPENINGS, permit)

    def turned_away(self, permit: Permit, extent: Extent, *, reason: str, asked_s: float) -> None:
        """What was sent with this permit was not taken, and nothing else of that extent would be.

        `asked_s`, how long Twilio asked us to wait, is kept up to the longest pause.
        """
        pause_s = self._admission.throttles[extent].turned_away(
            trio.current_time(), began_at=permit.granted_at, asked_s=asked_s
        )
        _log.warning("sending pauses", extent=extent.name.lower(), pause_s=round(pause_s, 1), detail=reason)
        if pause_s >= PAUSE_TO_ALERT_S:
            key, text = _ALERTS[extent]
            self._alerts.raise_alert(key, f"{text}: {reason}; the next attempt is in {pause_s:.0f} s")

    def _passed(self, extent: Extent, permit: Permit) -> None:
        throttle = self._admission.throttles[extent]
        throttle.accepted(began_at=permit.granted_at)
        if not throttle.is_on:
            self._alerts.settle(_ALERTS[extent][0])

    def _leave(self, person_id: int, permit: Permit) -> None:
        if not permit.granted.is_set():
            del self._waiting[permit.urgency][person_id]
            return
        self._admission.leave(permit.urgency)
        if not permit.is_used:
            self._admission.give_back(permit.urgency, permit.granted_at)

    def _let_in(self) -> None:
        """Grant what can be granted now, and set the alarm for when the next can be."""
        now = trio.current_time()
        while (urgency := self._admission.admit(self._classes(), now)) is not None:
            queue = self._waiting[urgency]
            permit = queue.pop(next(iter(queue)))
            permit.granted_at = now
            permit.granted.set()
        self._alarm.deadline = min(map(self._admission.opens_at, self._classes()), default=inf)

    def _classes(self) -> list[Urgency]:
        return [urgency for urgency, queue in self._waiting.items() if queue]
