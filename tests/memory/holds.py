from collections import Counter
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from attrs import frozen

from actors.calls import FollowUpState
from actors.campaigns import Campaign, Tally
from actors.failures import AT_ONCE_CODES, HELD_TOO_LONG, WINDOW_CLOSED_CODE
from actors.messages import DeliveryStatus, Purpose
from tests.memory.database import HeldCampaign, MemoryDatabase, Outbound


@frozen
class MemoryHolds:
    """`HoldStore` in memory."""

    database: MemoryDatabase

    async def campaigns(self, *, failed_since: datetime, openings: int) -> Sequence[Campaign]:
        async with self.database.transaction():
            return [
                self._campaign(row, openings)
                for _, row in sorted(self.database.campaigns.items())
                if row.failed_at > failed_since or row.held_since is not None
            ]

    def _campaign(self, row: HeldCampaign, openings: int) -> Campaign:
        results = self._results(row, lambda at, _: row.counts_after is None or at > row.counts_after)
        probed = self._results(row, lambda _, message: message.probe_round == row.probe_round)
        return Campaign(
            id=row.id,
            held_since=row.held_since,
            look_at=row.look_at,
            code=row.code,
            probes=row.probes,
            results=_tally(results[:openings]),
            probed=_tally(probed if row.probes else ()),
            waiting=len(self._waiting(row.id)),
        )

    def _results(self, row: HeldCampaign, counts: Callable[[datetime, Outbound], bool]) -> list[Outbound]:
        """Newest first."""
        dated = [
            (m.result_at, m.id, m)
            for m in self.database.outbound.values()
            if m.campaign == row.id
            and m.result_at is not None
            and counts(m.result_at, m)
            and self._is_result(m)
        ]
        return [message for _, _, message in sorted(dated, key=lambda d: d[:2], reverse=True)]

    def _is_result(self, message: Outbound) -> bool:
        """Whether nothing that repeats it says more."""
        went_at_once = message.error_code in AT_ONCE_CODES
        return not any(
            other.replaces_id == message.id and (other.result_at is not None or went_at_once)
            for other in self.database.outbound.values()
        )

    def _waiting(self, campaign_id: str) -> list[Outbound]:
        return [
            m
            for m in self.database.outbound.values()
            if m.campaign == campaign_id and self.database.is_held_opening(m)
        ]

    async def hold(self, campaign_id: str, *, code: int | None, look_at: datetime, now: datetime) -> None:
        async with self.database.transaction():
            row = self.database.campaigns[campaign_id]
            row.held_since = row.held_since or now
            row.look_at = look_at
            row.code = code
            row.probes = 0

    async def probe(self, campaign_id: str, *, openings: int, look_at: datetime) -> Sequence[int]:
        async with self.database.transaction():
            row = self.database.campaigns[campaign_id]
            chosen = self._waiting(campaign_id)[:openings]
            if chosen:
                row.probe_round += 1
                row.probes = len(chosen)
                row.look_at = look_at
            for message in chosen:
                message.probe_round = row.probe_round
            return [message.person_id for message in chosen]

    async def release(self, campaign_ids: Collection[str], *, now: datetime) -> Sequence[str]:
        async with self.database.transaction():
            held = [
                row
                for campaign_id, row in sorted(self.database.campaigns.items())
                if campaign_id in campaign_ids and row.held_since is not None
            ]
            for row in held:
                row.counts_after = now
                row.held_since = row.look_at = row.code = None
                row.probes = 0
            return [row.id for row in held]

    async def give_up_held(self, *, written_before: datetime, now: datetime) -> int:
        async with self.database.transaction():
            held = [
                m
                for m in self.database.outbound.values()
                if (m.written_at or m.created_at) < written_before
                and (self.database.waits_for_person(m) or self.database.is_held_opening(m))
            ]
            for message in held:
                message.status = DeliveryStatus.REFUSED
                if message.purpose is not Purpose.OPENING:
                    message.error_code = WINDOW_CLOSED_CODE
                call = self.database.calls.get(message.call_id or "")
                if call is not None and call.follow_up in {FollowUpState.QUEUED, FollowUpState.HANDLED}:
                    call.follow_up, call.follow_up_note = FollowUpState.REFUSED, HELD_TOO_LONG
            return len(held)


def _tally(messages: Sequence[Outbound]) -> Tally:
    failed = [m for m in messages if m.status.is_failure]
    codes = Counter(m.error_code for m in failed if m.error_code is not None)
    most = max(codes.values(), default=0)
    return Tally(
        known=len(messages),
        failed=len(failed),
        code=min((code for code, count in codes.items() if count == most), default=None),
    )
