"""The inbox check: catches up on messages whose webhook never reached us.

Twilio tells of a message once. A daemon that was down, or answered 5xx, is not told again (Twilio docs:
usage/webhooks/webhooks-connection-overrides), so the list of received messages is read at the start and every
few minutes, and what the store does not have goes the way of every other message. The list tells less than a
webhook, so a message whose webhook may still be on its way is left to a later look.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog
import trio
from attrs import frozen

from actors.alerts import Alerts
from actors.conversation.mail import ConversationMessage, MessageArrived
from actors.messages import InboundMessage
from actors.ports import (
    InboxStore,
    Messaging,
    StoreUnavailableError,
    VendorRefusedError,
    VendorUnavailableError,
    WallClock,
)
from actors.runtime.fault_points import FaultPoint, reached

_log = structlog.get_logger(__name__)

FIRST_OVERLAP = timedelta(minutes=10)
"""How far before the newest stored message the first look reaches: webhooks overtake each other, and lists lag."""

OVERLAP = timedelta(minutes=2)
"""How far before the end of the look before a later one reaches: lists lag."""

BATCH = 200

FAILURES = (VendorUnavailableError, VendorRefusedError, StoreUnavailableError)
"""What the next look may not meet any more."""


@frozen(kw_only=True)
class InboxCheckRules:
    """Limits of the check.

    Attributes:
        missed_after_s: age from which a message's webhook is no longer waited for.
        lookback: how far back a message may be to be answered at all; WhatsApp's window is a day.
    """

    every_s: float
    missed_after_s: float
    lookback: timedelta
    default_agent_id: str

    @property
    def soon_s(self) -> float:
        return min(self.missed_after_s, self.every_s)


@frozen(kw_only=True)
class InboxCheck:
    messaging: Messaging
    store: InboxStore
    post: Callable[[int, ConversationMessage], object]
    rules: InboxCheckRules
    clock: WallClock
    alerts: Alerts

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled; waits out a vendor or a database that is down.

        Started once it is known how far to look back, so no message may be taken in before that.
        """
        since = await self._since()
        last_look: tuple[datetime, float] | None = None
        task_status.started()
        while True:
            began_at = trio.current_time()
            until = self.clock.now() - timedelta(seconds=self.rules.missed_after_s)
            if last_look is not None:
                # The wall clock jumps, and the other one stands still while the machine sleeps: the earlier counts.
                end, at = last_look
                since = min(end, until - timedelta(seconds=began_at - at)) - OVERLAP
            is_soon_again = True
            with self.alerts.while_failing("inbox_check", "missed messages cannot be looked for", *FAILURES):
                await self._check(since, until)
                is_soon_again = last_look is None
                last_look = until, began_at
            # For what the first look was too early for, and for what one in vain has not seen.
            await trio.sleep(self.rules.soon_s if is_soon_again else self.rules.every_s)

    async def _since(self) -> datetime:
        """The first look reaches back to the last message of the life before; without one there was no life."""
        now = self.clock.now()
        newest = await self.store.newest_message_at()
        return max(now - self.rules.lookback, min(newest or now, now) - FIRST_OVERLAP)

    async def _check(self, since: datetime, until: datetime) -> None:
        missed: list[InboundMessage] = []
        batch: list[InboundMessage] = []
        async for message in self.messaging.received_since(since, until=until):
            batch.append(message)
            if len(batch) == BATCH:
                missed += await self._unknown(batch)
                batch.clear()
        missed += await self._unknown(batch)
        reached(FaultPoint.MISSED_LISTED)
        # A person's messages are stored in the order in which they were written.
        for message in reversed(missed):
            await self._receive(message)

    async def _unknown(self, batch: Sequence[InboundMessage]) -> list[InboundMessage]:
        known = await self.store.known([message.sid for message in batch])
        return [message for message in batch if message.sid not in known]

    async def _receive(self, message: InboundMessage) -> None:
        received = await self.store.receive(
            message, default_agent_id=self.rules.default_agent_id, now=self.clock.now()
        )
        reached(FaultPoint.MISSED_STORED)
        if received.is_new:
            _log.warning("missed message found", person_id=received.person_id, twilio_sid=message.sid)
            self.post(received.person_id, MessageArrived(message.sid))
