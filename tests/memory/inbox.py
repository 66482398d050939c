from collections.abc import Collection
from datetime import datetime

from attrs import frozen

from actors.messages import InboundMessage
from actors.ports import Received
from daemon.store.values import storable
from tests.memory.database import ConversationStatus, Inbound, MemoryDatabase


@frozen
class MemoryInbox:
    """`InboxStore` in memory."""

    database: MemoryDatabase

    async def newest_message_at(self) -> datetime | None:
        async with self.database.transaction():
            newest = max(self.database.inbound, default=None)
            return None if newest is None else self.database.inbound[newest].created_at

    async def known(self, sids: Collection[str]) -> Collection[str]:
        async with self.database.transaction():
            stored = {m.sid for m in self.database.inbound.values()}
            stored |= {m.sid for m in self.database.outbound.values() if m.sid is not None}
            return stored & set(sids)

    async def receive(self, message: InboundMessage, *, default_agent_id: str, now: datetime) -> Received:
        async with self.database.transaction():
            return self._receive(message, default_agent_id, now)

    def _receive(self, message: InboundMessage, default_agent_id: str, now: datetime) -> Received:
        database = self.database
        repeated = next((m for m in database.inbound.values() if m.sid == message.sid), None)
        if repeated is not None:
            return Received(
                person_id=repeated.person_id, conversation_id=repeated.conversation_id, is_new=False
            )
        person = database.find_or_make_person(
            message.identities, phone_number=message.phone_number, name=message.profile_name
        )
        conversation = database.open_conversation(person.id)
        if conversation is None:
            earlier = database.conversations_of(person.id)
            agent_id = earlier[-1].agent_id if earlier else default_agent_id
            conversation = database.make_conversation(person.id, agent_id)
        if conversation.status is ConversationStatus.WINDOW_CLOSED:
            conversation.status = ConversationStatus.ACTIVE
        conversation.turn_retry_at = None
        stored = Inbound(
            id=database.next_message_id(),
            conversation_id=conversation.id,
            person_id=person.id,
            sid=message.sid,
            address=message.address,
            text=storable(message.text),
            created_at=now,
        )
        database.inbound[stored.id] = stored
        return Received(person_id=person.id, conversation_id=conversation.id, is_new=True)
