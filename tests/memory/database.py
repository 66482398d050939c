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
from actors.conversation.permission import CUSTOMER_WINDOW
from actors.live_call.ports import KeptRecording
from actors.live_call.state import CallState, Ending
from actors.messages import DeliveryStatus, Purpose, Template
from actors.ports import StoreUnavailableError
from daemon.store.values import storable


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
    """`details` are those that were saved last, None before; `began_at` is what a live call knows of its session."""

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
    client_name: str | None = None
    live_call_id: int | None = None
    began_at: datetime | None = None
    is_part: bool = False
    note: str | None = None


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
    as_template_at: datetime | None = None
    heard_at: datetime | None = None
    repeats: int = 0
    place: int | None = None
    is_respelled: bool = False
    written_at: datetime | None = None
    result_at: datetime | None = None
    campaign: str | None = None
    probe_round: int | None = None

    @property
    def is_unsent(self) -> bool:
        return self.status in {DeliveryStatus.PENDING, DeliveryStatus.SENDING}

    @property
    def order(self) -> tuple[int, int]:
        """Where it stands in its lane."""
        return (self.id if self.place is None else self.place, self.id)

    @property
    def needs_reopening(self) -> bool:
        """Where the window is closed."""
        return self.purpose in {Purpose.ANSWER, Purpose.FALLBACK} and self.template is not None


@define(kw_only=True)
class HeldCampaign:
    """A campaign of which an opening has failed."""

    id: str
    failed_at: datetime
    counts_after: datetime | None = None
    held_since: datetime | None = None
    look_at: datetime | None = None
    code: int | None = None
    probe_round: int = 0
    probes: int = 0


@define(kw_only=True)
class LiveCallRow:
    id: int
    call_sid: str
    caller: str | None
    called: str | None
    started_at: datetime
    state: CallState
    ended_at: datetime | None = None
    ending: Ending | None = None
    follows_up: bool | None = None
    seek_at: datetime | None = None


@define(kw_only=True)
class Recording:
    """A message that a caller left; `notice` tells the advisor of it."""

    id: int
    live_call_id: int
    sid: str
    advisor: str
    duration_s: int
    recorded_at: datetime
    look_at: datetime
    attempts: int = 0
    kept: KeptRecording | None = None
    deleted_at: datetime | None = None
    dropped_reason: str | None = None
    notice: Outbound | None = None

    @property
    def is_awaited(self) -> bool:
        return self.kept is None and self.dropped_reason is None

    @property
    def is_undeleted(self) -> bool:
        return self.kept is not None and self.deleted_at is None


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
    campaigns: dict[str, HeldCampaign] = field(factory=dict, init=False)
    live_calls: dict[int, LiveCallRow] = field(factory=dict, init=False)
    recordings: dict[int, Recording] = field(factory=dict, init=False)
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
        self._release_numbers(identities)
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

    def person_known_by(self, identities: Sequence[str]) -> Person | None:
        known = (self.identities[identity] for identity in identities if identity in self.identities)
        person_id = next(known, None)
        return None if person_id is None else self.people[person_id]

    def _release_numbers(self, identities: Sequence[str]) -> None:
        """A number that comes with another user id than before belongs to somebody else now."""
        user_ids = {identity for identity in identities if not identity.startswith("+")}
        for number in set(identities) - user_ids:
            owner = self.identities.get(number)
            owned = {identity for identity, person in self.identities.items() if person == owner}
            known_by = {identity for identity in owned if not identity.startswith("+")}
            if user_ids and known_by and not known_by & user_ids:
                del self.identities[number]

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

    def has_written_since(self, person_id: int, moment: datetime | None) -> bool:
        newest = self.newest_inbound(person_id)
        return newest is not None and moment is not None and newest.created_at > moment

    def first_written_since(self, person_id: int, moment: datetime) -> datetime | None:
        written = (m.created_at for m in self.inbound.values() if m.person_id == person_id)
        return min((at for at in written if at > moment), default=None)

    def is_held_opening(self, message: Outbound) -> bool:
        """As `HELD_OPENING` of the store on PostgreSQL."""
        campaign = self.campaigns.get(message.campaign or "")
        if message.status is not DeliveryStatus.PENDING or campaign is None or campaign.held_since is None:
            return False
        is_probe = campaign.probes > 0 and message.probe_round == campaign.probe_round
        talks = self.has_written_since(message.person_id, message.created_at - CUSTOMER_WINDOW)
        return not is_probe and not talks

    def has_answered(self, reopening: Outbound) -> bool:
        """As `ANSWERED` of the store on PostgreSQL."""
        newest = self.newest_inbound(reopening.person_id)
        return newest is not None and (reopening.heard_at is None or newest.created_at > reopening.heard_at)

    def waits_for_person(self, message: Outbound) -> bool:
        """As `WAITS_FOR_PERSON` of the store on PostgreSQL."""
        if message.status is not DeliveryStatus.PENDING or not message.needs_reopening:
            return False
        return any(
            other.person_id == message.person_id
            and other.purpose is Purpose.REOPENING
            and not other.status.is_failure
            and not self.has_answered(other)
            for other in self.outbound.values()
        )

    def waiting_for_answer(self, person_id: int) -> list[Outbound]:
        """What a reopening to this person is made for, oldest first."""
        return [
            m
            for m in self.outbound.values()
            if m.person_id == person_id and m.status is DeliveryStatus.PENDING and m.needs_reopening
        ]

    def is_superfluous(self, message: Outbound) -> bool:
        """As `SUPERFLUOUS` of the store on PostgreSQL."""
        if message.purpose is not Purpose.REOPENING or message.status is not DeliveryStatus.PENDING:
            return False
        return self.has_answered(message) or not self.waiting_for_answer(message.person_id)

    def lane(self, person_id: int) -> list[Outbound]:
        """What is unsent and not held back, in its order."""
        unsent = (
            m
            for m in self.outbound.values()
            if m.person_id == person_id
            and m.is_unsent
            and not self.is_held_opening(m)
            and not self.waits_for_person(m)
        )
        return sorted(unsent, key=lambda m: m.order)

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
                text=storable(piece),
                purpose=purpose,
                created_at=now,
                template=template,
            )
            for piece in pieces
        ]
        self.outbound.update((message.id, message) for message in added)
        return added


def started_at(call: Call) -> datetime:
    return call.details.started_at if call.details is not None else call.began_at or call.seen_at
