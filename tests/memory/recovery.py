from collections.abc import Sequence
from datetime import datetime

from attrs import frozen

from tests.memory.database import Conversation, MemoryDatabase


@frozen
class MemoryRecovery:
    """`RecoveryStore` in memory."""

    database: MemoryDatabase

    async def people_with_work(self, *, now: datetime, after: int, limit: int) -> Sequence[int]:
        async with self.database.transaction():
            people = sorted(
                conversation.person_id
                for conversation in self.database.conversations.values()
                if conversation.is_open
                and conversation.person_id > after
                and self._has_work(conversation, now)
            )
            return people[:limit]

    async def readmit(self, agent_id: str | None, *, after: int, limit: int) -> Sequence[int]:
        async with self.database.transaction():
            waiting = sorted(
                (c for c in self._put_off() if c.turn_retry_at is not None and c.person_id > after),
                key=lambda conversation: conversation.person_id,
            )
            page = [c for c in waiting if agent_id in {None, c.agent_id}][:limit]
            for conversation in page:
                conversation.turn_retry_at = None
            return [conversation.person_id for conversation in page]

    async def people_unanswered(self) -> int:
        async with self.database.transaction():
            return len(self._put_off())

    def _put_off(self) -> list[Conversation]:
        return [
            conversation
            for conversation in self.database.conversations.values()
            if conversation.is_open
            and conversation.turn_failures > 0
            and self.database.unanswered(conversation.id)
        ]

    def _has_work(self, conversation: Conversation, now: datetime) -> bool:
        if self.database.due_calls(conversation.id):
            return True
        may_be_tried = conversation.turn_retry_at is None or conversation.turn_retry_at <= now
        return may_be_tried and bool(self.database.unanswered(conversation.id))
