"""Recovery: finds work in the store that no nudge told of, or whose nudge was lost.

The store is the truth and nudges are hints; this watcher is what makes that so. It looks at once when it
starts, which is how a restarted daemon goes on, and every few seconds from then on.
"""

import structlog
import trio

from actors.alerts import Alerts
from actors.conversation.mail import ConversationMessage, Nudge
from actors.ports import RecoveryStore, StoreUnavailableError, WallClock
from actors.runtime.registry import Registry

_log = structlog.get_logger(__name__)

PAGE_SIZE = 200
PAGE_PAUSE_S = 1.0
"""After an outage ten thousand people may wait; they are woken page by page, not all at once."""


class Recovery:
    def __init__(
        self,
        *,
        store: RecoveryStore,
        conversations: Registry[ConversationMessage],
        clock: WallClock,
        alerts: Alerts,
        every_s: float,
    ) -> None:
        self._store = store
        self._conversations = conversations
        self._clock = clock
        self._alerts = alerts
        self._every_s = every_s

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled; waits out a database that is down."""
        task_status.started()
        while True:
            try:
                await self._look()
                self._alerts.settle("recovery_store")
            except StoreUnavailableError as error:
                self._alerts.raise_alert("recovery_store", f"recovery cannot reach the database: {error}")
            await trio.sleep(self._every_s)

    async def _look(self) -> None:
        last = 0
        while page := await self._store.people_with_work(now=self._clock.now(), after=last, limit=PAGE_SIZE):
            for person_id in page:
                self._conversations.post(person_id, Nudge.LOOK)
            if len(page) < PAGE_SIZE:
                return
            last = page[-1]
            await trio.sleep(PAGE_PAUSE_S)
