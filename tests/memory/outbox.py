from collections.abc import Collection, Sequence
from datetime import datetime

from attrs import frozen

from actors.calls import FollowUpState
from actors.messages import DeliveryStatus, Outgoing, StatusReport
from actors.ports import Lane
from tests.memory.database import ConversationStatus, MemoryDatabase, Outbound

_WINDOW_CLOSED = 63016


@frozen
class MemoryOutbox:
    """`OutboxStore` in memory."""

    database: MemoryDatabase

    async def lanes(self, *, limit: int, exclude: Collection[int]) -> Sequence[Lane]:
        async with self.database.transaction():
            heads = [
                message
                for person_id in self.database.people
                if person_id not in exclude and (message := self._head(person_id)) is not None
            ]
            heads.sort(key=lambda m: (m.sending_since or m.not_before or m.created_at, m.id))
            return [
                Lane(
                    person_id=head.person_id,
                    in_doubt_since=head.sending_since,
                    not_before=head.not_before or head.created_at,
                )
                for head in heads[:limit]
            ]

    async def claim(self, person_id: int, *, now: datetime) -> Outgoing | None:
        async with self.database.transaction():
            head = self._head(person_id)
            if head is None or head.status is not DeliveryStatus.PENDING:
                return None
            if head.not_before is not None and head.not_before > now:
                return None
            head.status = DeliveryStatus.SENDING
            head.sending_since = now
            head.attempts += 1
            return self._outgoing(head)

    async def in_doubt(self, person_id: int) -> Outgoing | None:
        async with self.database.transaction():
            head = self._head(person_id)
            if head is None or head.status is not DeliveryStatus.SENDING:
                return None
            return self._outgoing(head)

    async def accepted(self, message_id: int, *, sid: str, now: datetime) -> bool:
        async with self.database.transaction():
            message = self.database.outbound[message_id]
            message.sid = message.sid or sid
            self._accept(message, now)
            return self._head(message.person_id) is not None

    async def refused(self, message_id: int, *, code: int, detail: str, now: datetime) -> bool:
        async with self.database.transaction():
            message = self.database.outbound[message_id]
            if message.is_unsent:
                message.status = DeliveryStatus.REFUSED
                message.error_code = code
                message.sending_since = None
                self._settle_call(message, FollowUpState.REFUSED, note=f"{code}: {detail}")
            return self._head(message.person_id) is not None

    async def release(self, message_id: int, *, not_before: datetime) -> None:
        async with self.database.transaction():
            message = self.database.outbound[message_id]
            if message.status is DeliveryStatus.SENDING:
                message.status = DeliveryStatus.PENDING
                message.sending_since = None
                message.not_before = not_before

    async def known_sids(self, sids: Collection[str]) -> Collection[str]:
        async with self.database.transaction():
            known = {m.sid for m in self.database.inbound.values()}
            known |= {m.sid for m in self.database.outbound.values() if m.sid is not None}
            return known & set(sids)

    async def report(self, report: StatusReport, *, now: datetime) -> int | None:
        async with self.database.transaction():
            message = self._reported(report)
            status = report.status
            if status is None or status.rank < DeliveryStatus.ACCEPTED.rank:
                status = DeliveryStatus.ACCEPTED
            if message is None or message.status.rank >= status.rank:
                return None
            message.sid = report.sid
            self._accept(message, now)
            message.status = status
            if status.is_failure:
                message.error_code = report.error_code
            return self._repeat_as_template(message, now) if message.error_code == _WINDOW_CLOSED else None

    def _reported(self, report: StatusReport) -> Outbound | None:
        for message in self.database.outbound.values():
            if message.sid == report.sid:
                return message
        for message in self.database.outbound.values():
            if message.id == report.message_id and message.sid is None:
                return message
        return None

    def _repeat_as_template(self, message: Outbound, now: datetime) -> int | None:
        conversation = self.database.conversations[message.conversation_id]
        if message.template is None or message.must_use_template:
            newest = self.database.newest_inbound(message.person_id)
            wrote_since = (
                newest is not None and message.accepted_at and newest.created_at > message.accepted_at
            )
            if conversation.status is ConversationStatus.ACTIVE and not wrote_since:
                conversation.status = ConversationStatus.WINDOW_CLOSED
            return None
        (repeated,) = self.database.add_pieces(
            conversation,
            [message.text],
            address=message.address,
            purpose=message.purpose,
            template=message.template,
            now=now,
        )
        repeated.must_use_template = True
        repeated.call_id = message.call_id
        repeated.replaces_id = message.id
        return message.person_id

    def _accept(self, message: Outbound, now: datetime) -> None:
        if message.is_unsent:
            message.status = DeliveryStatus.ACCEPTED
        message.accepted_at = message.accepted_at or now
        message.sending_since = None
        self._settle_call(message, FollowUpState.HANDLED)

    def _settle_call(self, message: Outbound, state: FollowUpState, *, note: str | None = None) -> None:
        call = self.database.calls.get(message.call_id) if message.call_id is not None else None
        if call is not None and call.follow_up is FollowUpState.QUEUED:
            call.follow_up = state
            call.follow_up_note = note or call.follow_up_note

    def _head(self, person_id: int) -> Outbound | None:
        """The oldest message of the lane."""
        return next(
            (m for m in self.database.outbound.values() if m.person_id == person_id and m.is_unsent), None
        )

    def _outgoing(self, message: Outbound) -> Outgoing:
        newest = self.database.newest_inbound(message.person_id)
        return Outgoing(
            id=message.id,
            person_id=message.person_id,
            conversation_id=message.conversation_id,
            address=message.address,
            purpose=message.purpose,
            text=message.text,
            template=message.template,
            must_use_template=message.must_use_template,
            attempts=message.attempts - (message.status is DeliveryStatus.SENDING),
            created_at=message.created_at,
            sending_since=message.sending_since,
            window_opened_at=newest.created_at if newest is not None else None,
        )
