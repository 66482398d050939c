"""What the suites of the store ports share: the stores themselves, and the rows most tests begin with."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from attrs import frozen

from actors.calls import CallAnalysis, CallDetails, CallOutcome, CallSighting, FollowUpState, SeenCall
from actors.live_call.ports import LiveCallStore, RecordingStore
from actors.messages import DeliveryStatus, InboundMessage, Outgoing, StatusReport, Template
from actors.ports import (
    Answer,
    CallStore,
    ConversationStore,
    HoldStore,
    InboxStore,
    Opening,
    OutboxStore,
    Received,
    RecoveryStore,
)
from tests.contract.peeking import MemoryPeek, Peek
from tests.memory.calls import MemoryCalls
from tests.memory.conversations import MemoryConversations
from tests.memory.database import MemoryDatabase
from tests.memory.holds import MemoryHolds
from tests.memory.inbox import MemoryInbox
from tests.memory.live_calls import MemoryLiveCalls
from tests.memory.outbox import MemoryOutbox
from tests.memory.recordings import MemoryRecordings
from tests.memory.recovery import MemoryRecovery

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ANA = "+5215512345678"
ANA_CANONICAL = "+525512345678"
TEXT_AGENT = "agent_text"
VOICE_AGENT = "agent_voice"
TEMPLATE = Template(sid="HX1", variables={"1": "Ana"})


@frozen(kw_only=True)
class Stores:
    """All ports over one database, and the steps that get there what a test is about."""

    inbox: InboxStore
    calls: CallStore
    conversations: ConversationStore
    outbox: OutboxStore
    holds: HoldStore
    recovery: RecoveryStore
    live_calls: LiveCallStore
    recordings: RecordingStore
    peek: Peek

    async def receive(self, message: InboundMessage, *, at: datetime = NOW) -> Received:
        return await self.inbox.receive(message, default_agent_id=TEXT_AGENT, now=at)

    async def new_person(self, sid: str = "SM1") -> int:
        """Ana has written, and nobody has answered."""
        return (await self.receive(inbound(sid))).person_id

    async def conversation_id(self, person_id: int) -> int:
        conversation_id = (await self.conversations.work(person_id)).conversation_id
        assert conversation_id is not None
        return conversation_id

    async def due_call(self, call_id: str = "conv_1", *, started_at: datetime = NOW) -> int:
        """A call of Ana's has ended and its opening is to be written. Returns the person's id."""
        await self.calls.see([seen(call_id)], now=NOW)
        person_id = await self.calls.save_details(
            details(call_id, started_at=started_at),
            client_name="Ana",
            identities=[ANA_CANONICAL],
            follow_up=FollowUpState.DUE,
            agent_id=TEXT_AGENT,
        )
        assert person_id is not None
        return person_id

    async def queue_opening(
        self, person_id: int, call_id: str = "conv_1", *, template: Template | None = None
    ) -> bool:
        context = await self.conversations.context(person_id, messages_max=0)
        assert context is not None
        opening = Opening(
            call_id=call_id,
            conversation_id=context.conversation_id,
            address=ANA,
            text="Hola, Ana.",
            template=template,
        )
        return await self.conversations.queue_opening(opening, now=NOW)

    async def queue(self, person_id: int, *pieces: str, template: Template | None = None) -> None:
        """Put texts into the person's lane."""
        conversation_id = await self.conversation_id(person_id)
        await self.conversations.add_answer(
            conversation_id, Answer(address=ANA, pieces=pieces, template=template), now=NOW
        )

    async def claim(self, person_id: int, *, at: datetime = NOW) -> Outgoing:
        message = await self.outbox.claim(person_id, now=at)
        assert message is not None
        return message

    async def lane(self, person_id: int) -> list[Outgoing]:
        """Send everything in the person's lane, and return it in the order in which it went."""
        sent = []
        while message := await self.outbox.claim(person_id, now=NOW + 1000 * MINUTE):
            await self.outbox.accepted(message.id, sid=f"SM-lane-{message.id}", now=NOW)
            sent.append(message)
        return sent

    async def is_due(self, person_id: int, call_id: str = "conv_1") -> bool:
        return call_id in (await self.conversations.work(person_id)).due_calls


def stores_in_memory(database: MemoryDatabase) -> Stores:
    return Stores(
        inbox=MemoryInbox(database),
        calls=MemoryCalls(database),
        conversations=MemoryConversations(database),
        outbox=MemoryOutbox(database),
        holds=MemoryHolds(database),
        recovery=MemoryRecovery(database),
        live_calls=MemoryLiveCalls(database),
        recordings=MemoryRecordings(database),
        peek=MemoryPeek(database),
    )


def inbound(
    sid: str = "SM1",
    *,
    text: str = "Hola",
    address: str = ANA,
    identities: Sequence[str] = (ANA_CANONICAL,),
    phone_number: str | None = ANA_CANONICAL,
    profile_name: str | None = "Ana",
) -> InboundMessage:
    return InboundMessage(
        sid=sid,
        address=address,
        identities=identities,
        phone_number=phone_number,
        profile_name=profile_name,
        kind="text",
        text=text,
        fields={"Body": text, "MessageSid": sid},
    )


def seen(
    call_id: str = "conv_1",
    *,
    sighting: CallSighting = CallSighting.WEBHOOK,
    outcome: CallOutcome | None = None,
    batch_id: str | None = None,
    recipient_id: str | None = None,
) -> SeenCall:
    return SeenCall(
        id=call_id,
        sighting=sighting,
        agent_id=VOICE_AGENT,
        phone_number=ANA_CANONICAL,
        outcome=outcome,
        batch_id=batch_id,
        recipient_id=recipient_id,
    )


def details(
    call_id: str = "conv_1",
    *,
    started_at: datetime = NOW,
    analysis: CallAnalysis | None = None,
    phone_number: str | None = ANA_CANONICAL,
) -> CallDetails:
    return CallDetails(
        id=call_id,
        agent_id=VOICE_AGENT,
        is_over=True,
        outcome=CallOutcome.COMPLETED,
        phone_number=phone_number,
        direction="outbound",
        started_at=started_at,
        duration_s=90,
        analysis=analysis,
    )


def report(
    sid: str,
    status: DeliveryStatus | None,
    *,
    message_id: int | None = None,
    error_code: int | None = None,
) -> StatusReport:
    return StatusReport(message_id=message_id, sid=sid, status=status, error_code=error_code)
