"""The idle reaper: closes agent sockets that nobody has needed for long."""

import trio

from actors.conversation.mail import ConversationMessage, Nudge
from actors.runtime.registry import Registry


class IdleReaper:
    """Every `every_s` seconds each living conversation is told to look whether its socket is idle."""

    def __init__(self, *, conversations: Registry[ConversationMessage], every_s: float) -> None:
        self._conversations = conversations
        self._every_s = every_s

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled."""
        task_status.started()
        while True:
            await trio.sleep(self._every_s)
            for person_id in self._conversations:
                # Who has gone meanwhile would be started anew by a message.
                if person_id in self._conversations:
                    self._conversations.post(person_id, Nudge.REAP)
                await trio.lowlevel.checkpoint()
