from collections.abc import Mapping, Sequence
from datetime import datetime

from attrs import evolve, frozen

from actors.calls import Batch, CallAnalysis, CallDetails, CallSighting, FollowUpState, SeenCall
from actors.ports import AwaitedCall
from daemon.store.calls import PART_OF_LIVE_CALL
from tests.memory.database import Call, MemoryDatabase

_DELIBERATE = frozenset({CallSighting.WEBHOOK, CallSighting.COMMAND, CallSighting.LIVE})


@frozen
class MemoryCalls:
    """`CallStore` in memory."""

    database: MemoryDatabase

    async def see(self, calls: Sequence[SeenCall], *, now: datetime) -> Sequence[str]:
        async with self.database.transaction():
            return [call.id for call in calls if self._see(call, now)]

    def _see(self, seen: SeenCall, now: datetime) -> bool:
        known = self.database.calls.get(seen.id)
        if known is not None:
            known.batch_id = known.batch_id or seen.batch_id
            known.recipient_id = known.recipient_id or seen.recipient_id
            known.outcome = known.outcome or seen.outcome
            known.phone_number = known.phone_number or seen.phone_number
            if known.sighting not in _DELIBERATE and seen.sighting in _DELIBERATE:
                known.sighting = seen.sighting
            return seen.sighting is CallSighting.COMMAND and _reopened(known, now)
        self.database.calls[seen.id] = Call(
            id=seen.id,
            sighting=seen.sighting,
            seen_at=now,
            look_at=now,
            phone_number=seen.phone_number,
            outcome=seen.outcome,
            batch_id=seen.batch_id,
            recipient_id=seen.recipient_id,
            variables=seen.variables,
        )
        return True

    async def save_batch(self, batch: Batch, *, is_settled: bool) -> None:
        async with self.database.transaction():
            self.database.batches[batch.summary.id] = batch
            self.database.settled.pop(batch.summary.id, None)
            if is_settled:
                self.database.settled[batch.summary.id] = batch.summary.updated_at

    async def settled_batches(self) -> Mapping[str, datetime]:
        async with self.database.transaction():
            return dict(self.database.settled)

    async def awaiting_details(self, *, now: datetime, limit: int) -> Sequence[AwaitedCall]:
        async with self.database.transaction():
            waiting = [call for call in self._awaiting() if call.look_at <= now]
            waiting.sort(key=lambda call: (call.look_at, call.id))
            return [_awaited(call) for call in waiting[:limit]]

    async def awaited(self, call_id: str) -> AwaitedCall | None:
        async with self.database.transaction():
            return next((_awaited(call) for call in self._awaiting() if call.id == call_id), None)

    def _awaiting(self) -> list[Call]:
        return [c for c in self.database.calls.values() if c.follow_up is FollowUpState.AWAITING_DETAILS]

    async def postpone(self, call_id: str, *, until: datetime) -> None:
        async with self.database.transaction():
            for call in self._awaiting():
                if call.id == call_id:
                    call.look_at = until
                    call.attempts += 1

    async def save_details(
        self,
        details: CallDetails,
        *,
        client_name: str | None,
        identities: Sequence[str],
        follow_up: FollowUpState,
        agent_id: str,
    ) -> int | None:
        async with self.database.transaction():
            call = self.database.calls[details.id]
            if call.follow_up is not FollowUpState.AWAITING_DETAILS:
                return call.person_id
            if identities:
                call.person_id = self.database.find_or_make_person(
                    identities, phone_number=details.phone_number, name=client_name
                ).id
            if call.is_part and follow_up is not FollowUpState.AWAITING_DETAILS:
                follow_up, call.follow_up_note = FollowUpState.NONE, PART_OF_LIVE_CALL
            if follow_up is FollowUpState.DUE:
                if call.person_id is None:
                    raise ValueError("a call that is due has somebody to write to")
                conversation = self.database.open_conversation(call.person_id)
                conversation = conversation or self.database.make_conversation(call.person_id, agent_id)
                call.conversation_id = conversation.id
            _store(call, details)
            call.client_name = client_name or call.client_name
            call.follow_up = follow_up
            return call.person_id

    async def give_up(self, call_id: str, *, reason: str) -> None:
        async with self.database.transaction():
            for call in self._awaiting():
                if call.id == call_id:
                    call.follow_up = FollowUpState.NONE
                    call.follow_up_note = reason


def _awaited(call: Call) -> AwaitedCall:
    return AwaitedCall(
        id=call.id,
        sighting=call.sighting,
        outcome=call.outcome,
        phone_number=call.phone_number,
        attempts=call.attempts,
        seen_at=call.seen_at,
    )


def _reopened(call: Call, now: datetime) -> bool:
    is_closed = call.follow_up_note == "conversation closed before the opening"
    if call.follow_up is not FollowUpState.NONE or is_closed:
        return False
    call.follow_up, call.follow_up_note = FollowUpState.AWAITING_DETAILS, None
    call.attempts, call.look_at = 0, now
    return True


def _store(call: Call, details: CallDetails) -> None:
    """What was known before stays where the details say nothing about it."""
    earlier = call.details
    call.outcome = details.outcome
    call.phone_number = details.phone_number or call.phone_number
    call.batch_id = call.batch_id or details.batch_id
    call.recipient_id = call.recipient_id or details.recipient_id
    call.variables = details.variables or call.variables
    analysis = _completed(details.analysis, earlier.analysis if earlier else None)
    call.details = evolve(details, variables=call.variables, analysis=analysis)


def _completed(analysis: CallAnalysis | None, earlier: CallAnalysis | None) -> CallAnalysis | None:
    if analysis is None or earlier is None:
        return analysis or earlier
    return evolve(
        analysis,
        summary=analysis.summary or earlier.summary,
        title=analysis.title or earlier.title,
        successful=analysis.successful or earlier.successful,
        sentiment=analysis.sentiment or earlier.sentiment,
    )
