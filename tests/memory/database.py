"""The rows behind the stores in memory, and the rules that several of those stores share.

For tests of actors, in virtual time: deterministic, and every method of a store is one step that happens as a whole.
`tests/contract` holds these stores and the ones on PostgreSQL to the same suites.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from enum import Enum, auto
from uuid import UUID

import trio
from attrs import define, field

from actors.calls import Batch, CallDetails, CallOutcome, CallSighting, FollowUpState
from actors.messages import DeliveryStatus, Purpose, Template
from actors.ports import StoreUnavailableError


@define(kw_only=True)
class Person:
    id: int
    phone_number: str | None
    name: str | None

    @property
    def pseudonym(self) -> str:
        return str(UUID(int=self.id))


class ConversationStatus(Enum):
    ACTIVE = auto()
    WINDOW_CLOSED = auto()
    CLOSED = auto()


@define(kw_only=True)
class Conversation:
    id: int
    person_id: int
    agent_id: str
    status: ConversationStatus = ConversationStatus.ACTIVE
    agent_conversation_id: str | None = None
    turn_failures: int = 0
    turn_retry_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        return self.status is not ConversationStatus.CLOSED


@define(kw_only=True)
class Call:
    """`details` are those that were saved last, None before."""

    id: str
    sighting: CallSighting
    seen_at: datetime
    look_at: datetime
    phone_number: str | None
    outcome: CallOutcome | None
    batch_id: str | None
    recipient_id: str | None
    variables: Mapping[str, object]
    attempts: int = 0
    follow_up: FollowUpState = FollowUpState.AWAITING_DETAILS
    follow_up_note: str | None = None
    details: CallDetails | None = None
    person_id: int | None = None
    conversation_id: int | None = None


class InboundStatus(Enum):
    RECEIVED = auto()
    ANSWERED = auto()
    DROPPED = auto()


@define(kw_only=True)
class Inbound:
    id: int
    conversation_id: int
    person_id: int
    sid: str
    address: str
    text: str
    created_at: datetime
    status: InboundStatus = InboundStatus.RECEIVED


@define(kw_only=True)
class Outbound:
    id: int
    conversation_id: int
    person_id: int
    address: str
    text: str
    purpose: Purpose
    created_at: datetime
    template: Template | None
    must_use_template: bool = False
    call_id: str | None = None
    note: str | None = None
    replaces_id: int | None = None
    status: DeliveryStatus = DeliveryStatus.PENDING
    sid: str | None = None
    error_code: int | None = None
    attempts: int = 0
    not_before: datetime | None = None
    sending_since: datetime | None = None
    accepted_at: datetime | None = None

    @property
    def is_unsent(self) -> bool:
        return self.status in {DeliveryStatus.PENDING, DeliveryStatus.SENDING}


@define
class MemoryDatabase:
    """Tables as dictionaries in the order of insertion.

    Attributes:
        unavailable: while it is set, every method of every store raises `StoreUnavailableError`.
    """

    unavailable: bool = False
    people: dict[int, Person] = field(factory=dict, init=False)
    identities: dict[str, int] = field(factory=dict, init=False)
    conversations: dict[int, Conversation] = field(factory=dict, init=False)
    calls: dict[str, Call] = field(factory=dict, init=False)
    batches: dict[str, Batch] = field(factory=dict, init=False)
    settled: dict[str, datetime] = field(factory=dict, init=False)
    inbound: dict[int, Inbound] = field(factory=dict, init=False)
    outbound: dict[int, Outbound] = field(factory=dict, init=False)
    _last_message_id: int = field(default=0, init=False)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Surrounds a block without awaits. A caller cancelled at its end does not learn that it has happened."""
        await trio.lowlevel.checkpoint()
        if self.unavailable:
            raise StoreUnavailableError("the memory is switched off")
        yield
        await trio.lowlevel.checkpoint()

    def next_message_id(self) -> int:
        self._last_message_id += 1
        return self._last_message_id

    def find_or_make_person(
        self, identities: Sequence[str], *, phone_number: str | None, name: str | None
    ) -> Person:
        known = [self.identities[identity] for identity in identities if identity in self.identities]
        if known:
            person = self.people[known[0]]
            person.phone_number = person.phone_number or phone_number or None
            person.name = person.name or name or None
        else:
            person = Person(id=len(self.people) + 1, phone_number=phone_number or None, name=name or None)
            self.people[person.id] = person
        for identity in identities:
            self.identities.setdefault(identity, person.id)
        return person

    def conversations_of(self, person_id: int) -> list[Conversation]:
        """Oldest first."""
        return [c for c in self.conversations.values() if c.person_id == person_id]

    def open_conversation(self, person_id: int) -> Conversation | None:
        return next((c for c in self.conversations_of(person_id) if c.is_open), None)

    def make_conversation(self, person_id: int, agent_id: str) -> Conversation:
        conversation = Conversation(id=len(self.conversations) + 1, person_id=person_id, agent_id=agent_id)
        self.conversations[conversation.id] = conversation
        return conversation

    def unanswered(self, conversation_id: int) -> list[Inbound]:
        return [
            message
            for message in self.inbound.values()
            if message.conversation_id == conversation_id and message.status is InboundStatus.RECEIVED
        ]

    def due_calls(self, conversation_id: int) -> list[Call]:
        """Oldest first."""
        due = [
            call
            for call in self.calls.values()
            if call.conversation_id == conversation_id and call.follow_up is FollowUpState.DUE
        ]
        return sorted(due, key=lambda call: (started_at(call), call.id))

    def newest_inbound(self, person_id: int) -> Inbound | None:
        messages = (m for m in self.inbound.values() if m.person_id == person_id)
        return max(messages, key=lambda message: message.created_at, default=None)

    def add_pieces(
        self,
        conversation: Conversation,
        pieces: Iterable[str],
        *,
        address: str,
        purpose: Purpose,
        template: Template | None,
        now: datetime,
    ) -> list[Outbound]:
        added = [
            Outbound(
                id=self.next_message_id(),
                conversation_id=conversation.id,
                person_id=conversation.person_id,
                address=address,
                text=piece,
                purpose=purpose,
                created_at=now,
                template=template,
            )
            for piece in pieces
        ]
        self.outbound.update((message.id, message) for message in added)
        return added


def started_at(call: Call) -> datetime:
    return call.details.started_at if call.details is not None else call.seen_at
