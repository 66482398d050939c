from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from attrs import frozen

from actors.calls import FollowUpState
from actors.conversation.permission import goes_as_template
from actors.failures import WINDOW_CLOSED_CODE, FailedMessage, Repeat, other_form_of, repeat_of, told
from actors.messages import DeliveryStatus, Outgoing, Purpose, Reported, StatusReport
from actors.ports import Lane
from daemon.store.outbox import PATIENCE
from tests.memory.database import ConversationStatus, HeldCampaign, MemoryDatabase, Outbound


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
            heads.sort(key=lambda m: (m.sending_since or self._due_at(m) or m.created_at, m.id))
            lanes = [
                Lane(
                    person_id=head.person_id,
                    purpose=self._purpose(head.person_id),
                    in_doubt_since=head.sending_since,
                    not_before=self._due_at(head),
                )
                for head in heads
            ]
            openings = [lane for lane in lanes if lane.purpose is Purpose.OPENING][:limit]
            others = [lane for lane in lanes if lane.purpose is not Purpose.OPENING][:limit]
            return [lane for lane in lanes if lane in openings or lane in others]

    async def claim(self, person_id: int, *, now: datetime) -> Outgoing | None:
        async with self.database.transaction():
            unsent = [m for m in self.database.lane(person_id) if not self.database.is_superfluous(m)]
            head = self._due(unsent[:1], now)
            if head is not None and any(m.status is DeliveryStatus.SENDING for m in unsent):
                return None
            is_reopened = (
                head is not None and head.needs_reopening and goes_as_template(self._outgoing(head), now)
            )
            if head is None or is_reopened:
                self._end_superfluous(person_id, now)
            if head is None:
                return None
            return self._reopen(head, now) if is_reopened else self._start(head, now)

    def _due(self, head: list[Outbound], now: datetime) -> Outbound | None:
        for message in head:
            due_at = self._due_at(message)
            if message.status is DeliveryStatus.PENDING and (due_at is None or due_at <= now):
                return message
        return None

    def _start(self, head: Outbound, now: datetime) -> Outgoing:
        is_template = head.purpose is Purpose.REOPENING or goes_as_template(self._outgoing(head), now)
        head.status = DeliveryStatus.SENDING
        head.sending_since = now
        head.attempts += 1
        head.as_template_at = now if is_template else None
        return self._outgoing(head)

    def _reopen(self, head: Outbound, now: datetime) -> Outgoing:
        assert head.template is not None
        (reopening,) = self.database.add_pieces(
            self.database.conversations[head.conversation_id],
            [f"[{head.template.sid}]"],
            address=head.address,
            purpose=Purpose.REOPENING,
            template=head.template,
            now=now,
        )
        newest = self.database.newest_inbound(head.person_id)
        reopening.must_use_template = True
        reopening.heard_at = newest.created_at if newest is not None else None
        reopening.is_respelled = head.is_respelled
        reopening.written_at = head.written_at or head.created_at
        return self._start(reopening, now)

    def _end_superfluous(self, person_id: int, now: datetime) -> None:
        for message in self.database.outbound.values():
            if message.person_id == person_id and self.database.is_superfluous(message):
                message.status = DeliveryStatus.REFUSED
                message.result_at = now

    async def in_doubt(self, person_id: int) -> Outgoing | None:
        async with self.database.transaction():
            for message in self.database.lane(person_id):
                if message.status is DeliveryStatus.SENDING:
                    return self._outgoing(message)
            return None

    async def accepted(self, message_id: int, *, sid: str, now: datetime) -> bool:
        async with self.database.transaction():
            message = self.database.outbound[message_id]
            message.sid = message.sid or sid
            self._accept(message, now)
            return self._has_more(message)

    async def refused(self, message_id: int, *, code: int, detail: str, now: datetime) -> bool:
        async with self.database.transaction():
            message = self.database.outbound[message_id]
            if message.is_unsent:
                message.status = DeliveryStatus.REFUSED
                message.error_code = code
                message.sending_since = None
                message.result_at = now
                repeat = other_form_of(_failed(message), code, now=now)
                self._follow(message, repeat, note=f"{code}: {detail}", now=now)
            return self._has_more(message)

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

    async def report(
        self, report: StatusReport, *, now: datetime, give_up_after: timedelta | None = None
    ) -> Reported | None:
        async with self.database.transaction():
            message = self._reported(report)
            status = report.status
            if status is None or status.rank < DeliveryStatus.ACCEPTED.rank:
                status = DeliveryStatus.ACCEPTED
            if message is None or message.status.rank >= status.rank:
                return None
            message.sid = report.sid
            message.accepted_at = message.accepted_at or now
            message.sending_since = None
            message.status = status
            repeat = None
            if status.is_failure:
                message.result_at = now
                message.error_code = report.error_code
                repeat = repeat_of(_failed(message), report.error_code, now=now, give_up_after=give_up_after)
                self._follow(message, repeat, note=told(report.error_code), now=now)
            else:
                self._settle_call(message, FollowUpState.HANDLED)
                if status is not DeliveryStatus.ACCEPTED:
                    message.result_at = message.result_at or now
            return _what_changed(message, repeat)

    def _reported(self, report: StatusReport) -> Outbound | None:
        for message in self.database.outbound.values():
            if message.sid == report.sid:
                return message
        for message in self.database.outbound.values():
            if message.id == report.message_id and message.sid is None:
                return message
        return None

    def _follow(self, message: Outbound, repeat: Repeat | None, *, note: str, now: datetime) -> None:
        """What follows from the failure of a message."""
        call = self.database.calls.get(message.call_id or "")
        if call is not None and call.follow_up in {FollowUpState.QUEUED, FollowUpState.HANDLED}:
            call.follow_up = FollowUpState.REFUSED if repeat is None else FollowUpState.QUEUED
            call.follow_up_note = note if repeat is None else call.follow_up_note
        if repeat is not None:
            self._repeat(message, repeat, now)
        elif message.purpose is Purpose.REOPENING:
            self._refuse_waiting(message, now)
            self._mark_closed_window(message)
        elif message.error_code == WINDOW_CLOSED_CODE:
            self._mark_closed_window(message)
        if message.campaign is not None and (repeat is None or repeat.not_before is not None):
            campaign = self.database.campaigns.setdefault(
                message.campaign, HeldCampaign(id=message.campaign, failed_at=now)
            )
            campaign.failed_at = max(campaign.failed_at, now)

    def _repeat(self, message: Outbound, repeat: Repeat, now: datetime) -> None:
        (again,) = self.database.add_pieces(
            self.database.conversations[message.conversation_id],
            [message.text],
            address=repeat.address,
            purpose=message.purpose,
            template=message.template,
            now=now,
        )
        again.must_use_template = repeat.must_use_template
        again.not_before = repeat.not_before
        again.repeats = repeat.repeats
        again.is_respelled = repeat.is_respelled
        again.written_at = message.written_at or message.created_at
        again.call_id = message.call_id
        again.campaign = message.campaign
        again.replaces_id = message.id
        again.heard_at = message.heard_at
        if message.purpose in {Purpose.ANSWER, Purpose.FALLBACK}:
            again.place = message.order[0]
        for piece in self._waiting_behind(message):
            if piece.address == message.address != repeat.address:
                piece.address, piece.is_respelled = repeat.address, True
        if repeat.not_before is None:
            again.probe_round = message.probe_round
        else:
            again.as_template_at = message.as_template_at

    def _waiting_behind(self, message: Outbound) -> list[Outbound]:
        if message.purpose is not Purpose.REOPENING or self.database.has_answered(message):
            return []
        return self.database.waiting_for_answer(message.person_id)

    def _refuse_waiting(self, reopening: Outbound, now: datetime) -> None:
        for piece in self._waiting_behind(reopening):
            piece.status = DeliveryStatus.REFUSED
            piece.error_code = reopening.error_code
            piece.result_at = now

    def _mark_closed_window(self, message: Outbound) -> None:
        conversation = self.database.conversations[message.conversation_id]
        if message.purpose is Purpose.REOPENING:
            wrote_since = self.database.has_answered(message)
        else:
            gone_at = message.accepted_at or message.created_at
            wrote_since = self.database.has_written_since(message.person_id, gone_at)
        if conversation.status is ConversationStatus.ACTIVE and not wrote_since:
            conversation.status = ConversationStatus.WINDOW_CLOSED

    def _accept(self, message: Outbound, now: datetime) -> None:
        if message.is_unsent:
            message.status = DeliveryStatus.ACCEPTED
        message.accepted_at = message.accepted_at or now
        message.sending_since = None
        if not message.status.is_failure:
            self._settle_call(message, FollowUpState.HANDLED)

    def _settle_call(self, message: Outbound, state: FollowUpState) -> None:
        call = self.database.calls.get(message.call_id) if message.call_id is not None else None
        if call is not None and call.follow_up is FollowUpState.QUEUED:
            call.follow_up = state

    def _purpose(self, person_id: int) -> Purpose:
        unsent = self.database.lane(person_id)
        return next((m.purpose for m in unsent if m.purpose is not Purpose.OPENING), Purpose.OPENING)

    def _head(self, person_id: int) -> Outbound | None:
        """What is being sent, else the first message of the lane."""
        lane = self.database.lane(person_id)
        return min(lane, key=lambda m: (m.status is not DeliveryStatus.SENDING, m.order), default=None)

    def _has_more(self, message: Outbound) -> bool:
        return any(m.person_id == message.person_id and m.is_unsent for m in self.database.outbound.values())

    def _due_at(self, message: Outbound) -> datetime | None:
        """When it may go; None: at once."""
        person_id, not_before = message.person_id, message.not_before
        if not_before is None or self.database.has_written_since(person_id, message.as_template_at):
            return None
        written_at = self.database.first_written_since(person_id, message.created_at)
        if message.attempts or written_at is None:
            return not_before
        return min(not_before, written_at + PATIENCE)

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
            must_use_template=message.must_use_template
            and not self.database.has_written_since(message.person_id, message.created_at),
            attempts=message.attempts - (message.status is DeliveryStatus.SENDING),
            created_at=message.written_at or message.created_at,
            sending_since=message.sending_since,
            window_opened_at=newest.created_at if newest is not None else None,
            as_template=message.as_template_at is not None,
        )


def _failed(message: Outbound) -> FailedMessage:
    return FailedMessage(
        address=message.address,
        has_template=message.template is not None,
        must_use_template=message.must_use_template,
        repeats=message.repeats,
        is_respelled=message.is_respelled,
        written_at=message.written_at or message.created_at,
    )


def _what_changed(message: Outbound, repeat: Repeat | None) -> Reported:
    assert message.accepted_at is not None
    went_as = message.template if message.as_template_at is not None else None
    return Reported(
        id=message.id,
        person_id=message.person_id,
        conversation_id=message.conversation_id,
        purpose=message.purpose,
        template_sid=went_as.sid if went_as is not None else None,
        accepted_at=message.accepted_at,
        status=message.status,
        error_code=message.error_code,
        is_repeated=repeat is not None,
        again_at=repeat.not_before if repeat is not None else None,
    )
