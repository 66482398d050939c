"""The inbox check: catches up on messages whose webhook never reached us.

Twilio tells of a message once. A daemon that was down, or answered 5xx, is not told again (Twilio docs:
usage/webhooks/webhooks-connection-overrides), so the list of received messages is read at the start and every
few minutes, and what the store does not have goes the way of every other message.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
import trio
from attrs import frozen

from actors.alerts import Alerts
from actors.conversation.mail import ConversationMessage, MessageArrived
from actors.ports import (
    InboxStore,
    Messaging,
    StoreUnavailableError,
    VendorRefusedError,
    VendorUnavailableError,
    WallClock,
)

_log = structlog.get_logger(__name__)

OVERLAP = timedelta(minutes=10)
"""How far before the newest stored message the list is read: webhooks overtake each other, and lists lag."""


@frozen(kw_only=True)
class InboxCheckRules:
    """`lookback` is how far back a message may be to be answered at all; WhatsApp's window is a day."""

    every_s: float
    lookback: timedelta
    default_agent_id: str


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
        task_status.started()
        while True:
            began_at = self.clock.now()
            try:
                await self._check(since)
                since = began_at - OVERLAP
                self.alerts.settle("inbox_check")
            except (VendorUnavailableError, VendorRefusedError, StoreUnavailableError) as error:
                self.alerts.raise_alert("inbox_check", f"missed messages cannot be looked for: {error}")
            await trio.sleep(self.rules.every_s)

    async def _since(self) -> datetime:
        """The first look reaches back to the last message of the life before."""
        oldest = self.clock.now() - self.rules.lookback
        newest = await self.store.newest_message_at()
        return oldest if newest is None else max(oldest, newest - OVERLAP)

    async def _check(self, since: datetime) -> None:
        async for message in self.messaging.received_since(since):
            received = await self.store.receive(
                message, default_agent_id=self.rules.default_agent_id, now=self.clock.now()
            )
            if received.is_new:
                _log.warning("missed message found", person_id=received.person_id, twilio_sid=message.sid)
                self.post(received.person_id, MessageArrived(message.sid))
