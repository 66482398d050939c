"""What became of a row, for the suites of the store ports: no port tells, and the operator sees it."""

from datetime import datetime
from typing import Protocol

from attrs import frozen

from daemon.store.pool import Pool
from tests.memory.database import MemoryDatabase


@frozen
class MessageState:
    status: str
    sid: str | None = None
    error_code: int | None = None


@frozen
class CallState:
    follow_up: str
    note: str | None = None


@frozen
class SessionState:
    """Of a call that was a session of a live call."""

    live_call_id: int | None
    is_part: bool
    note: str | None


class Peek(Protocol):
    async def message(self, message_id: int) -> MessageState:
        """An outbound message."""
        ...

    async def call(self, call_id: str) -> CallState: ...

    async def origin(self, call_id: str) -> tuple[str | None, str | None]:
        """A call's batch and recipient."""
        ...

    async def conversation_status(self, conversation_id: int) -> str: ...

    async def session(self, call_id: str) -> SessionState: ...

    async def ending(self, live_call_id: int) -> tuple[str | None, datetime | None]:
        """How a live call ended, and when."""
        ...

    async def dropped(self, recording_sid: str) -> str | None:
        """Why a recording cannot be had."""
        ...


@frozen
class MemoryPeek:
    database: MemoryDatabase

    async def message(self, message_id: int) -> MessageState:
        row = self.database.outbound[message_id]
        return MessageState(row.status.label, row.sid, row.error_code)

    async def call(self, call_id: str) -> CallState:
        row = self.database.calls[call_id]
        return CallState(row.follow_up.value, row.follow_up_note)

    async def origin(self, call_id: str) -> tuple[str | None, str | None]:
        row = self.database.calls[call_id]
        return row.batch_id, row.recipient_id

    async def conversation_status(self, conversation_id: int) -> str:
        return self.database.conversations[conversation_id].status.name.lower()

    async def session(self, call_id: str) -> SessionState:
        row = self.database.calls[call_id]
        return SessionState(row.live_call_id, row.is_part, row.note)

    async def ending(self, live_call_id: int) -> tuple[str | None, datetime | None]:
        row = self.database.live_calls[live_call_id]
        return row.ending, row.ended_at

    async def dropped(self, recording_sid: str) -> str | None:
        (row,) = [row for row in self.database.recordings.values() if row.sid == recording_sid]
        return row.dropped_reason


@frozen
class PostgresPeek:
    pool: Pool

    async def message(self, message_id: int) -> MessageState:
        row = await self.pool.fetch_one(
            "SELECT status, twilio_sid, error_code FROM message WHERE id = %s AND direction = 'outbound'",
            (message_id,),
        )
        assert row is not None
        return MessageState(*row)

    async def call(self, call_id: str) -> CallState:
        row = await self.pool.fetch_one(
            "SELECT follow_up, follow_up_note FROM call WHERE id = %s", (call_id,)
        )
        assert row is not None
        return CallState(*row)

    async def origin(self, call_id: str) -> tuple[str | None, str | None]:
        row = await self.pool.fetch_one("SELECT batch_id, recipient_id FROM call WHERE id = %s", (call_id,))
        assert row is not None
        return row[0], row[1]

    async def conversation_status(self, conversation_id: int) -> str:
        row = await self.pool.fetch_one("SELECT status FROM conversation WHERE id = %s", (conversation_id,))
        assert row is not None
        return str(row[0])

    async def session(self, call_id: str) -> SessionState:
        row = await self.pool.fetch_one(
            "SELECT live_call_id, is_part, note FROM call WHERE id = %s", (call_id,)
        )
        assert row is not None
        return SessionState(*row)

    async def ending(self, live_call_id: int) -> tuple[str | None, datetime | None]:
        row = await self.pool.fetch_one(
            "SELECT ending, ended_at FROM live_call WHERE id = %s", (live_call_id,)
        )
        assert row is not None
        return row[0], row[1]

    async def dropped(self, recording_sid: str) -> str | None:
        row = await self.pool.fetch_one(
            "SELECT dropped_reason FROM live_recording WHERE sid = %s", (recording_sid,)
        )
        assert row is not None
        return None if row[0] is None else str(row[0])
