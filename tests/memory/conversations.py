from collections.abc import Sequence
from datetime import datetime

from attrs import frozen

from actors.calls import FollowUpState
from actors.messages import PendingMessage, Purpose
from actors.ports import Answer, KnownCall, Opening, PersonContext, TimelineMessage, Work
from daemon.store.context import excerpt
from tests.memory.database import (
    Call,
    ConversationStatus,
    InboundStatus,
    MemoryDatabase,
    started_at,
)

_CALLS_MAX = 5
_NOT_THE_AGENTS = frozenset({Purpose.REOPENING, Purpose.NOTICE})


@frozen
class MemoryConversations:
    """`ConversationStore` in memory."""

    database: MemoryDatabase

    async def work(self, person_id: int) -> Work:
        async with self.database.transaction():
            conversation = self.database.open_conversation(person_id)
            if conversation is None:
                return Work(conversation_id=None, pending=(), due_calls=(), turn_failures=0)
            return Work(
                conversation_id=conversation.id,
                pending=[
                    PendingMessage(
                        id=m.id, sid=m.sid, address=m.address, text=m.text, received_at=m.created_at
                    )
                    for m in self.database.unanswered(conversation.id)
                ],
                due_calls=[call.id for call in self.database.due_calls(conversation.id)],
                turn_failures=conversation.turn_failures,
            )

    async def context(self, person_id: int, *, messages_max: int) -> PersonContext | None:
        async with self.database.transaction():
            conversation = self.database.open_conversation(person_id)
            if conversation is None:
                return None
            person = self.database.people[person_id]
            newest = self.database.newest_inbound(person_id)
            return PersonContext(
                person_id=person_id,
                conversation_id=conversation.id,
                agent_id=conversation.agent_id,
                pseudonym=person.pseudonym,
                name=person.name,
                address=newest.address if newest is not None else person.phone_number,
                window_opened_at=newest.created_at if newest is not None else None,
                calls=known_calls(self.database, person_id),
                messages=timeline(self.database, person_id, messages_max),
            )

    async def save_session(self, conversation_id: int, *, agent_conversation_id: str) -> None:
        async with self.database.transaction():
            self.database.conversations[conversation_id].agent_conversation_id = agent_conversation_id

    async def queue_opening(self, opening: Opening, *, now: datetime) -> bool:
        async with self.database.transaction():
            call = self.database.calls[opening.call_id]
            if call.follow_up is not FollowUpState.DUE or call.conversation_id != opening.conversation_id:
                return False
            call.follow_up = FollowUpState.QUEUED
            call.follow_up_note = opening.note
            (message,) = self.database.add_pieces(
                self.database.conversations[opening.conversation_id],
                [opening.text],
                address=opening.address,
                purpose=Purpose.OPENING,
                template=opening.template,
                now=now,
            )
            message.call_id = opening.call_id
            message.note = opening.note
            message.campaign = call.batch_id or (call.details.agent_id if call.details else None)
            return True

    async def drop_opening(self, call_id: str, *, reason: str) -> None:
        async with self.database.transaction():
            _drop(self.database.calls[call_id], reason)

    async def answer(
        self, conversation_id: int, message_ids: Sequence[int], answer: Answer, *, now: datetime
    ) -> bool:
        async with self.database.transaction():
            answered = [m for m in self.database.unanswered(conversation_id) if m.id in message_ids]
            if not answered:
                return False
            for message in answered:
                message.status = InboundStatus.ANSWERED
            conversation = self.database.conversations[conversation_id]
            conversation.turn_failures = 0
            conversation.turn_retry_at = None
            self._add(conversation_id, answer, Purpose.ANSWER, now)
            return True

    async def add_answer(self, conversation_id: int, answer: Answer, *, now: datetime) -> None:
        async with self.database.transaction():
            self._add(conversation_id, answer, Purpose.ANSWER, now)

    def _add(self, conversation_id: int, answer: Answer, purpose: Purpose, now: datetime) -> None:
        self.database.add_pieces(
            self.database.conversations[conversation_id],
            answer.pieces,
            address=answer.address,
            purpose=purpose,
            template=answer.template,
            now=now,
        )

    async def defer_turn(
        self, conversation_id: int, fallback: Answer, *, retry_at: datetime, now: datetime
    ) -> None:
        async with self.database.transaction():
            conversation = self.database.conversations[conversation_id]
            if conversation.is_open:
                conversation.turn_failures += 1
                conversation.turn_retry_at = retry_at
                self._add(conversation_id, fallback, Purpose.FALLBACK, now)

    async def close(self, conversation_id: int, *, now: datetime) -> None:
        async with self.database.transaction():
            self.database.conversations[conversation_id].status = ConversationStatus.CLOSED
            for message in self.database.unanswered(conversation_id):
                message.status = InboundStatus.DROPPED
            for call in self.database.due_calls(conversation_id):
                _drop(call, "conversation closed before the opening")


def known_calls(database: MemoryDatabase, person_id: int) -> list[KnownCall]:
    """Newest first; those whose opening is to be written are always among them."""
    calls = [c for c in database.calls.values() if c.person_id == person_id]
    calls.sort(key=lambda call: (started_at(call), call.id), reverse=True)
    return [
        _known_call(call)
        for place, call in enumerate(calls)
        if place < _CALLS_MAX or call.follow_up is FollowUpState.DUE
    ]


def timeline(database: MemoryDatabase, person_id: int, messages_max: int) -> list[TimelineMessage]:
    """The newest messages, oldest first."""
    messages = [
        (m.id, TimelineMessage(direction="inbound", text=m.text, at=m.created_at))
        for m in database.inbound.values()
        if m.person_id == person_id and m.status is not InboundStatus.RECEIVED
    ]
    messages += [
        (o.id, TimelineMessage(direction="outbound", text=o.text, at=o.created_at))
        for o in database.outbound.values()
        if o.person_id == person_id and not o.status.is_failure and o.purpose not in _NOT_THE_AGENTS
    ]
    messages.sort(key=lambda numbered: numbered[0])
    return [message for _, message in messages[max(0, len(messages) - messages_max) :]]


def _drop(call: Call, reason: str) -> None:
    if call.follow_up is FollowUpState.DUE:
        call.follow_up = FollowUpState.NONE
        call.follow_up_note = reason


def _known_call(call: Call) -> KnownCall:
    details = call.details
    assert details is not None, "a call has its person from its details"
    return KnownCall(
        id=call.id,
        agent_id=details.agent_id,
        outcome=details.outcome,
        started_at=details.started_at,
        duration_s=details.duration_s,
        summary=(details.analysis.summary or None) if details.analysis else None,
        collected=details.analysis.collected if details.analysis else {},
        variables=details.variables,
        transcript_excerpt=excerpt([(entry.role, entry.text) for entry in details.transcript]),
        note=call.note,
    )
