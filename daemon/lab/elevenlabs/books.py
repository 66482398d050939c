"""What really happened in the simulator, for tests and for people who look at it."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import trio
from attrs import Factory, define, field, frozen

from daemon.lab.elevenlabs.conversations import Conversation


@frozen(kw_only=True)
class SentWebhook:
    """One attempt to deliver a webhook. `status` is the receiver's HTTP status, None when none came."""

    kind: str
    conversation_id: str
    status: int | None
    attempt: int
    body: bytes
    signature: str

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "conversation_id": self.conversation_id,
            "status": self.status,
            "attempt": self.attempt,
        }


@define(eq=False)
class Books:
    """The record of one simulator.

    Attributes:
        conversations: all, by id, oldest first; each holds its frames.
        requests: REST calls by method and route, refused ones included.
        webhooks: delivery attempts in the order they ended.
        lost_webhooks: (kind, conversation id) of those that a fault swallowed.
        sockets_opened: upgrades accepted so far.
        sockets_open: agent sockets open now.
    """

    conversations: Mapping[str, Conversation]
    requests: Counter[str] = Factory(Counter)
    webhooks: list[SentWebhook] = Factory(list)
    lost_webhooks: list[tuple[str, str]] = Factory(list)
    sockets_opened: int = 0
    sockets_open: int = 0
    _changed: trio.Event | None = field(default=None, init=False)

    def change(self) -> None:
        """Tell those who wait in `until` that something happened. Cheap when nobody does."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds; it is looked at whenever anything happens in the simulator."""
        while not condition():
            if self._changed is None:
                self._changed = trio.Event()
            await self._changed.wait()

    def clear(self) -> None:
        self.requests.clear()
        self.webhooks.clear()
        self.lost_webhooks.clear()
        self.sockets_opened = 0
