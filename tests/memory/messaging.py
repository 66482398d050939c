from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import TypeAlias

import trio
from attrs import define, field, frozen

from actors.conversation.identity import whatsapp_address_candidates
from actors.messages import (
    Accepted,
    InboundMessage,
    NotSent,
    Outgoing,
    Refused,
    SendResult,
    SentMessage,
    Unknown,
)
from actors.ports import Messaging, WallClock


class Lost(Enum):
    """Ways in which an answer gets lost."""

    AFTER_IT_WAS_ACCEPTED = auto()
    BEFORE_IT_ARRIVED = auto()


Outcome: TypeAlias = Refused | NotSent | Lost | None


@frozen(kw_only=True)
class Created:
    """A message that Twilio has. `message_id` is ours, which travels in the callback's URL."""

    sid: str
    message_id: int
    person_id: int
    address: str
    body: str
    is_template: bool
    at: datetime


@define
class MemoryMessaging:
    """`Messaging` in memory: Twilio with one sender.

    Attributes:
        outcomes: of the next sends; None, and everything after the last, is accepted.
        send_s: how long a send takes.
        list_lag_s: after how long a message that was created stands in the list.
        lookup_failures: what the next looks at the list raise.
        received: what `received_since` tells, and since when Twilio has it.
        on_send: called at the beginning of each send, in its task.
        attempts: when each send began, by trio's clock, and its text.
        inbox_looks: when the received messages were asked for, by trio's clock, and since when.
        typing: when the indicator was shown, and for which message.
    """

    clock: WallClock
    outcomes: deque[Outcome] = field(factory=deque)
    send_s: float = 0.0
    list_lag_s: float = 0.0
    lookup_failures: deque[Exception] = field(factory=deque)
    received: list[tuple[datetime, InboundMessage]] = field(factory=list)
    on_send: Callable[[], object] = field(default=lambda: None)
    created: list[Created] = field(factory=list, init=False)
    attempts: list[tuple[float, str]] = field(factory=list, init=False)
    lookups: list[float] = field(factory=list, init=False)
    inbox_looks: list[tuple[float, datetime]] = field(factory=list, init=False)
    typing: list[tuple[float, str]] = field(factory=list, init=False)
    in_flight: dict[int, int] = field(factory=dict, init=False)
    in_flight_max: int = field(default=0, init=False)

    @property
    def bodies(self) -> list[str]:
        """What Twilio has taken, in its order."""
        return [message.body for message in self.created]

    def bodies_to(self, address: str) -> list[str]:
        return [
            message.body
            for message in self.created
            if message.address in (whatsapp_address_candidates(address) or (address,))
        ]

    async def send(self, message: Outgoing, *, as_template: bool) -> SendResult:
        assert message.person_id not in self.in_flight, "two messages to one person at a time"
        self.on_send()
        self.attempts.append((trio.current_time(), message.text))
        self.in_flight[message.person_id] = message.id
        self.in_flight_max = max(self.in_flight_max, len(self.in_flight))
        try:
            outcome = self.outcomes.popleft() if self.outcomes else None
            if outcome is Lost.BEFORE_IT_ARRIVED:
                await trio.sleep(self.send_s)
                return Unknown(detail="timeout")
            if isinstance(outcome, Refused | NotSent):
                await trio.sleep(self.send_s)
                return outcome
            created = self._create(message, as_template=as_template)
            await trio.sleep(self.send_s)
            return Unknown(detail="timeout") if outcome is not None else Accepted(sid=created.sid)
        finally:
            del self.in_flight[message.person_id]

    def _create(self, message: Outgoing, *, as_template: bool) -> Created:
        if as_template:
            assert message.template is not None, "a message without a template cannot go as one"
        created = Created(
            sid=f"SM-out-{len(self.created) + 1}",
            message_id=message.id,
            person_id=message.person_id,
            address=message.address,
            body=f"template of {message.text}" if as_template else message.text,
            is_template=as_template,
            at=self.clock.now(),
        )
        self.created.append(created)
        return created

    async def sent_to(self, address: str, *, since: datetime) -> Sequence[SentMessage]:
        self.lookups.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if self.lookup_failures:
            raise self.lookup_failures.popleft()
        newest = self.clock.now() - timedelta(seconds=self.list_lag_s)
        return [
            SentMessage(sid=message.sid, body=message.body, created_at=message.at)
            for message in reversed(self.created)
            if message.address in (whatsapp_address_candidates(address) or (address,))
            and since <= message.at <= newest
        ]

    async def received_since(
        self, since: datetime, *, until: datetime | None = None
    ) -> AsyncIterator[InboundMessage]:
        self.inbox_looks.append((trio.current_time(), since))
        await trio.lowlevel.checkpoint()
        if self.lookup_failures:
            raise self.lookup_failures.popleft()
        for at, message in reversed(self.received):
            if since <= at and (until is None or at <= until):
                yield message

    async def show_typing(self, inbound_sid: str) -> None:
        self.typing.append((trio.current_time(), inbound_sid))
        await trio.lowlevel.checkpoint()


def _is_messaging(messaging: MemoryMessaging) -> Messaging:
    return messaging
