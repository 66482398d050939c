"""Readmission: brings back those whose turn was put off, once the agent's sessions can be had again.

While an agent refuses, pauses between two tries of a turn grow to an hour, which nobody should wait once the
agent is mended. So one person is asked to try it whenever a probe is due, and as soon as one succeeds everybody is asked, at the rate at which sessions may be opened. A daemon that starts knows of no trouble and
asks everybody, too.
"""

from collections.abc import Sequence

import structlog
import trio

from actors.conversation.agent_access import AgentAccess
from actors.conversation.mail import ConversationMessage, Nudge
from actors.ports import RecoveryStore, StoreUnavailableError
from actors.runtime.registry import Registry

_log = structlog.get_logger(__name__)

TICK_S = 1.0
PROBE_EVERY_S = 15.0
"""Somebody who was asked to probe may be unable to; then another one is asked."""


class Readmission:
    """`page_size` people are asked a second."""

    def __init__(
        self,
        *,
        access: AgentAccess,
        store: RecoveryStore,
        conversations: Registry[ConversationMessage],
        page_size: int,
    ) -> None:
        self._access = access
        self._store = store
        self._conversations = conversations
        self._page_size = page_size
        # The last person asked, by agent; under None of all agents.
        self._asking: dict[str | None, int] = {None: 0}
        self._last_probe: dict[str | None, tuple[int, float]] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled; waits out a database that is down."""
        task_status.started()
        while True:
            self._access.review()
            self._asking.update(dict.fromkeys(self._access.take_returned(), 0))
            try:
                await self._ask_all()
                await self._ask_for_probes()
            except StoreUnavailableError as error:
                # Recovery, which looks far more often, has raised the alert.
                _log.info("readmission waits for the database", detail=str(error))
            if self._asking or self._access.is_troubled:
                await trio.sleep(TICK_S)
            else:
                # What became whole since the last look is settled before nobody looks any more.
                self._access.review()
                await self._access.until_troubled()

    async def _ask_all(self) -> None:
        if self._access.is_crowded:
            # Whoever waits already may still lose patience, and must not be passed over.
            return
        for agent_id, after in list(self._asking.items()):
            page: Sequence[int] = ()
            if self._access.takes(agent_id):
                page = await self._ask(agent_id, after=after, limit=self._page_size)
            if len(page) == self._page_size:
                self._asking[agent_id] = page[-1]
            else:
                # Nobody is left, or sessions are refused again: then there will be another return.
                del self._asking[agent_id]

    async def _ask_for_probes(self) -> None:
        now = trio.current_time()
        for agent_id in self._access.probes_due():
            last, asked_at = self._last_probe.get(agent_id, (0, -PROBE_EVERY_S))
            if now >= asked_at + PROBE_EVERY_S:
                page = await self._ask(agent_id, after=last, limit=1)
                # Not always the same one, whose own trouble it might be.
                self._last_probe[agent_id] = (page[0] if page else 0, now)

    async def _ask(self, agent_id: str | None, *, after: int, limit: int) -> Sequence[int]:
        page = await self._store.readmit(agent_id, after=after, limit=limit)
        for person_id in page:
            self._conversations.post(person_id, Nudge.RETRY)
        return page
