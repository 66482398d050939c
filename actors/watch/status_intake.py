"""Taking in what Twilio reports of a message: stores it, tells of failures, and wakes who has something to do."""

from collections.abc import Callable
from datetime import timedelta

import structlog

from actors.alerts import Alerts
from actors.failures import failure_of
from actors.messages import DeliveryStatus, Purpose, Reported, StatusReport
from actors.metrics import Metrics
from actors.ports import OutboxStore, WallClock
from actors.watch.failure_alerts import FailureAlerts

_log = structlog.get_logger(__name__)

# `sent` proves little: WhatsApp's refusals may follow it.
_GONE_THROUGH = frozenset({DeliveryStatus.DELIVERED, DeliveryStatus.READ})


class StatusIntake:
    """Used by the status webhook.

    `outbox_due` tells the outbox of a person with something to send, `opening_failed` the watcher of campaigns.
    """

    def __init__(
        self,
        *,
        store: OutboxStore,
        give_up_after_s: float,
        outbox_due: Callable[[int, Purpose], object],
        opening_failed: Callable[[], object],
        clock: WallClock,
        alerts: Alerts,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._give_up_after = timedelta(seconds=give_up_after_s)
        self._outbox_due = outbox_due
        self._opening_failed = opening_failed
        self._clock = clock
        self._metrics = metrics
        self._alerts = FailureAlerts(alerts, "failed")

    async def take(self, report: StatusReport) -> None:
        """Store a report and do what follows from it; one that says nothing new changes nothing.

        Raises:
            StoreUnavailableError: it is not stored.
        """
        reported = await self._store.report(report, now=self._clock.now(), give_up_after=self._give_up_after)
        if reported is None:
            return
        if reported.status.is_failure:
            self._failed(reported)
        elif reported.status in _GONE_THROUGH:
            self._alerts.went_through(reported.template_sid, handed_over_at=reported.accepted_at)

    def _failed(self, reported: Reported) -> None:
        code = reported.error_code
        self._metrics.message_sent(reported.status.label, code)
        _log.warning(
            "message failed after acceptance",
            message_id=reported.id,
            person_id=reported.person_id,
            conversation_id=reported.conversation_id,
            purpose=reported.purpose,
            status=reported.status.label,
            code=code,
            advice=failure_of(code).advice,
            again=_when(reported),
        )
        # What goes as its template instead is no trouble of anybody's.
        if not (reported.is_repeated and reported.again_at is None):
            self._alerts.failed(code, reported.template_sid, at=self._clock.now())
        if reported.purpose is Purpose.OPENING:
            self._opening_failed()
        if reported.is_repeated and reported.again_at is None:
            self._outbox_due(reported.person_id, reported.purpose)


def _when(reported: Reported) -> str:
    if not reported.is_repeated:
        return "never"
    return "at once" if reported.again_at is None else reported.again_at.isoformat(timespec="seconds")
