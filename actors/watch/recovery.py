"""Recovery: finds work in the store that no nudge told of, or whose nudge was lost.

The store is the truth and nudges are hints; this watcher is what makes that so. It looks at once when it
starts, which is how a restarted daemon goes on, and every few seconds from then on.
"""

from collections.abc import Callable

import structlog
import trio

from actors.alerts import Alerts
from actors.conversation.delivery import UNANSWERED
from actors.conversation.mail import ConversationMessage, Nudge
from actors.ports import RecoveryStore, StoreUnavailableError, WallClock
from actors.runtime.registry import Registry

_log = structlog.get_logger(__name__)

PAGE_SIZE = 200
PAGE_PAUSE_S = 1.0
CROWDED_PAUSES_MAX = 60
"""After an outage ten thousand people may wait; they are woken page by page, not all at once, and no faster than
sessions can be opened for them: who waits for one too long gets the fallback text."""


class Recovery:
    def __init__(
        self,
        *,
        store: RecoveryStore,
        conversations: Registry[ConversationMessage],
        clock: WallClock,
        alerts: Alerts,
        every_s: float,
        is_crowded: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._conversations = conversations
        self._clock = clock
        self._alerts = alerts
        self._every_s = every_s
        self._is_crowded = is_crowded

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled; waits out a database that is down."""
        task_status.started()
        while True:
            with self._alerts.while_failing(
                "recovery_store", "recovery cannot reach the database", StoreUnavailableError
            ):
                await self._look()
                await self._count_unanswered()
            await trio.sleep(self._every_s)

    async def _look(self) -> None:
        last = 0
        while page := await self._store.people_with_work(now=self._clock.now(), after=last, limit=PAGE_SIZE):
            for person_id in page:
                self._conversations.post(person_id, Nudge.LOOK)
            if len(page) < PAGE_SIZE:
                return
            last = page[-1]
            await self._pause()

    async def _pause(self) -> None:
        for _ in range(CROWDED_PAUSES_MAX):
            await trio.sleep(PAGE_PAUSE_S)
            if not self._is_crowded():
                return

    async def _count_unanswered(self) -> None:
        people = await self._store.people_unanswered()
        if people:
            self._alerts.keep(UNANSWERED, f"people whom the agent left unanswered: {people}; tried again")
        else:
            self._alerts.settle(UNANSWERED)
