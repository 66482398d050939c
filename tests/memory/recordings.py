from collections.abc import Sequence
from datetime import datetime

from attrs import frozen

from actors.live_call.ports import (
    AwaitedRecording,
    KeptRecording,
    Notice,
    UndeletedRecording,
    VoicemailCall,
)
from actors.messages import Purpose
from daemon.store.values import storable
from tests.memory.database import MemoryDatabase, Outbound, Recording, started_at


@frozen
class MemoryRecordings:
    """`RecordingStore` in memory."""

    database: MemoryDatabase

    async def unsought(self, *, now: datetime, limit: int) -> Sequence[VoicemailCall]:
        async with self.database.transaction():
            rows = [(row.seek_at, row.id, row) for row in self.database.live_calls.values() if row.seek_at]
            due = sorted(found[:2] for found in rows if found[0] <= now)
            calls = [self.database.live_calls[live_call_id] for _, live_call_id in due[:limit]]
        return [
            VoicemailCall(live_call_id=row.id, call_sid=row.call_sid, ended_at=row.ended_at)
            for row in calls
            if row.ended_at is not None
        ]

    async def seek_later(self, live_call_id: int, *, until: datetime) -> None:
        async with self.database.transaction():
            row = self.database.live_calls.get(live_call_id)
            if row is not None and row.seek_at is not None:
                row.seek_at = until

    async def sought(self, live_call_id: int, *, sids: Sequence[str]) -> bool:
        async with self.database.transaction():
            row = self.database.live_calls.get(live_call_id)
            known = {recording.sid for recording in self.database.recordings.values()}
            if row is None or not known.issuperset(sids):
                return False
            row.seek_at = None
            return True

    async def expect(
        self, live_call_id: int, *, sid: str, advisor: str, duration_s: int, now: datetime
    ) -> None:
        async with self.database.transaction():
            is_known = any(row.sid == sid for row in self.database.recordings.values())
            if is_known or live_call_id not in self.database.live_calls:
                return
            row = Recording(
                id=len(self.database.recordings) + 1,
                live_call_id=live_call_id,
                sid=sid,
                advisor=storable(advisor),
                duration_s=duration_s,
                recorded_at=now,
                look_at=now,
            )
            self.database.recordings[row.id] = row

    async def due(self, *, now: datetime, limit: int) -> Sequence[AwaitedRecording]:
        async with self.database.transaction():
            waiting = [row for row in self._awaited() if row.look_at <= now]
            waiting.sort(key=lambda row: (row.look_at, row.id))
            return [self._shown(row) for row in waiting[:limit]]

    def _awaited(self) -> list[Recording]:
        return [row for row in self.database.recordings.values() if row.is_awaited]

    def _shown(self, row: Recording) -> AwaitedRecording:
        caller = self.database.live_calls[row.live_call_id].caller
        return AwaitedRecording(
            id=row.id,
            live_call_id=row.live_call_id,
            sid=row.sid,
            advisor=row.advisor,
            caller=caller,
            caller_name=self._name_of(caller),
            duration_s=row.duration_s,
            recorded_at=row.recorded_at,
            attempts=row.attempts,
        )

    def _name_of(self, caller: str | None) -> str | None:
        person = self.database.person_known_by([caller] if caller is not None else [])
        if person is None:
            return None
        named = [c for c in self.database.calls.values() if c.person_id == person.id and c.client_name]
        newest = max(named, key=lambda call: (started_at(call), call.id), default=None)
        return person.name if newest is None else newest.client_name

    async def postpone(self, recording_id: int, *, until: datetime) -> None:
        async with self.database.transaction():
            for row in self._awaited() + self._undeleted():
                if row.id == recording_id:
                    row.look_at = until
                    row.attempts += 1

    async def drop(self, recording_id: int, *, reason: str) -> None:
        async with self.database.transaction():
            for row in self._awaited():
                if row.id == recording_id:
                    row.dropped_reason = storable(reason)

    async def keep(
        self, recording_id: int, recording: KeptRecording, *, notice: Notice | None, now: datetime
    ) -> int | None:
        async with self.database.transaction():
            row = self.database.recordings.get(recording_id)
            if row is None:
                return None
            if row.kept is None:
                row.kept, row.dropped_reason = recording, None
                row.attempts, row.look_at = 0, now
                row.notice = self._tell(notice, now) if notice is not None else None
            return None if row.notice is None else row.notice.person_id

    def _tell(self, notice: Notice, now: datetime) -> Outbound:
        person = self.database.find_or_make_person(
            notice.identities,
            phone_number=notice.address if notice.address.startswith("+") else None,
            name=notice.name,
        )
        conversation = self.database.open_conversation(person.id)
        conversation = conversation or self.database.make_conversation(person.id, notice.agent_id)
        (message,) = self.database.add_pieces(
            conversation,
            [notice.text],
            address=notice.address,
            purpose=Purpose.NOTICE,
            template=notice.template,
            now=now,
        )
        return message

    async def undeleted(self, *, now: datetime, limit: int) -> Sequence[UndeletedRecording]:
        async with self.database.transaction():
            waiting = [row for row in self._undeleted() if row.look_at <= now]
            waiting.sort(key=lambda row: (row.look_at, row.id))
            return [
                UndeletedRecording(id=row.id, sid=row.sid, attempts=row.attempts) for row in waiting[:limit]
            ]

    def _undeleted(self) -> list[Recording]:
        return [row for row in self.database.recordings.values() if row.is_undeleted]

    async def deleted(self, recording_id: int, *, now: datetime) -> None:
        async with self.database.transaction():
            for row in self._undeleted():
                if row.id == recording_id:
                    row.deleted_at = now

    async def kept(self, recording_id: int) -> KeptRecording | None:
        async with self.database.transaction():
            row = self.database.recordings.get(recording_id)
            return None if row is None else row.kept
