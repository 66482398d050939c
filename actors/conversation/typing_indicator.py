"""The typing indicator, which a person sees from the first message on until the answer is there."""

import trio
from attrs import define, field

from actors.ports import Messaging

NEVER = float("inf")
EVERY_S = 20.0
"""WhatsApp shows the indicator for 25 seconds (Twilio docs: whatsapp/api/typing-indicators-resource)."""

AGAIN_S = 1.0
"""After an answer, which ends the indicator where it arrives."""


@define(eq=False)
class TypingIndicator:
    """Shown below the newest message. Times are monotonic seconds; `due_at` says when it is to be shown again."""

    messaging: Messaging
    due_at: float = field(default=NEVER, init=False)
    _newest_sid: str | None = field(default=None, init=False)

    def wanted(self, newest_sid: str, now: float) -> None:
        self._newest_sid = newest_sid
        if self.due_at == NEVER:
            self.due_at = now

    def answered(self, now: float) -> None:
        """An answer goes out, and more waits for one."""
        self.due_at = now + AGAIN_S

    def unwanted(self) -> None:
        self.due_at = NEVER

    def show(self, nursery: trio.Nursery, now: float) -> None:
        """Begin to show it; nobody waits for that."""
        self.due_at = now + EVERY_S
        if self._newest_sid is not None:
            nursery.start_soon(self.messaging.show_typing, self._newest_sid, name="typing indicator")
