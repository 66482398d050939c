from collections.abc import Sequence
from datetime import datetime

from attrs import frozen

from actors.calls import CallOutcome, CallSighting, FollowUpState
from actors.live_call.ports import SEEK_AFTER, CallerHistory, LiveCall
from actors.live_call.reports import IncomingCall
from actors.live_call.state import CallState, Ending, Mode
from daemon.store.live_calls import CallSession, joined_note, main_session, noted_session
from daemon.store.values import storable
from tests.memory.conversations import known_calls, timeline
from tests.memory.database import Call, LiveCallRow, MemoryDatabase, started_at

_TAKEN_OVER = frozenset({FollowUpState.AWAITING_DETAILS, FollowUpState.DUE})


@frozen
class MemoryLiveCalls:
    """`LiveCallStore` in memory."""

    database: MemoryDatabase

    async def begin(self, incoming: IncomingCall, *, mode: Mode, now: datetime) -> LiveCall:
        async with self.database.transaction():
            known = self._by_sid(incoming.call_sid)
            if known is not None:
                return _live_call(known)
            row = LiveCallRow(
                id=len(self.database.live_calls) + 1,
                call_sid=incoming.call_sid,
                caller=incoming.caller,
                called=incoming.dialled,
                started_at=now,
                state=CallState(mode=mode),
            )
            self.database.live_calls[row.id] = row
            return _live_call(row)

    async def load(self, live_call_id: int) -> LiveCall | None:
        async with self.database.transaction():
            row = self.database.live_calls.get(live_call_id)
            return None if row is None else _live_call(row)

    async def find(self, call_sid: str) -> int | None:
        async with self.database.transaction():
            row = self._by_sid(call_sid)
            return None if row is None else row.id

    def _by_sid(self, call_sid: str) -> LiveCallRow | None:
        return next((row for row in self.database.live_calls.values() if row.call_sid == call_sid), None)

    async def save(self, live_call_id: int, state: CallState, *, now: datetime) -> None:
        async with self.database.transaction():
            row = self.database.live_calls.get(live_call_id)
            if row is not None and (row.ended_at is None or state.is_over):
                row.state = state

    async def keep_session(
        self, live_call_id: int, *, conversation_id: str, agent_id: str, now: datetime
    ) -> None:
        async with self.database.transaction():
            live = self.database.live_calls.get(live_call_id)
            if live is not None:
                self._keep_session(live, conversation_id, now)

    def _keep_session(self, live: LiveCallRow, conversation_id: str, now: datetime) -> None:
        is_part = live.ended_at is not None and (
            not live.follows_up or any(not other.is_part for other in self._sessions(live.id))
        )
        call = self.database.calls.get(conversation_id)
        if call is None:
            call = self.database.calls[conversation_id] = Call(
                id=conversation_id,
                sighting=CallSighting.LIVE,
                seen_at=now,
                look_at=now,
                phone_number=live.caller,
                outcome=CallOutcome.COMPLETED,
                batch_id=None,
                recipient_id=None,
                variables={},
            )
        elif call.live_call_id is not None:
            return
        call.live_call_id = live.id
        if call.sighting not in {CallSighting.WEBHOOK, CallSighting.COMMAND}:
            call.sighting = CallSighting.LIVE
        call.phone_number = live.caller if call.phone_number is None else call.phone_number
        call.outcome = call.outcome or CallOutcome.COMPLETED
        call.began_at = now
        call.look_at = now
        if call.follow_up in _TAKEN_OVER:
            call.follow_up = FollowUpState.LIVE if live.ended_at is None else FollowUpState.AWAITING_DETAILS
            call.is_part = is_part

    async def finish(
        self,
        live_call_id: int,
        state: CallState,
        *,
        ending: Ending,
        note: str,
        follows_up: bool,
        now: datetime,
    ) -> bool:
        async with self.database.transaction():
            live = self.database.live_calls.get(live_call_id)
            if live is not None and live.ended_at is None:
                live.state, live.ended_at, live.ending, live.follows_up = state, now, ending, follows_up
                live.seek_at = now + SEEK_AFTER if ending is Ending.VOICEMAIL else None
                self._end_sessions(live, storable(note), now)
            return any(
                call.follow_up is FollowUpState.AWAITING_DETAILS for call in self._sessions(live_call_id)
            )

    def _end_sessions(self, live: LiveCallRow, note: str, now: datetime) -> None:
        calls = self._sessions(live.id)
        if not calls:
            return
        sessions = [_session(call) for call in calls]
        main, joined = main_session(sessions, ended_at=now), joined_note(sessions, note)
        for call in calls:
            if call.follow_up is FollowUpState.LIVE:
                call.follow_up, call.look_at, call.attempts = FollowUpState.AWAITING_DETAILS, now, 0
            call.is_part = not live.follows_up or call.id != main.id
            call.note = joined or None if call.id == main.id else None

    async def add_note(self, live_call_id: int, note: str) -> None:
        async with self.database.transaction():
            live = self.database.live_calls.get(live_call_id)
            sessions = [_session(call) for call in self._sessions(live_call_id)]
            if live is not None and sessions:
                noted = noted_session(sessions, ended_at=live.ended_at)
                self.database.calls[noted.id].note = joined_note([noted], storable(note)) or None

    def _sessions(self, live_call_id: int) -> list[Call]:
        calls = (call for call in self.database.calls.values() if call.live_call_id == live_call_id)
        return sorted(calls, key=lambda call: call.id)

    async def unfinished(self) -> Sequence[int]:
        async with self.database.transaction():
            return [row.id for row in self.database.live_calls.values() if row.ended_at is None]

    async def history(self, identities: Sequence[str], *, messages_max: int) -> CallerHistory | None:
        async with self.database.transaction():
            person = self.database.person_known_by(identities)
            if person is None:
                return None
            return CallerHistory(
                pseudonym=person.pseudonym,
                name=person.name,
                calls=known_calls(self.database, person.id),
                messages=timeline(self.database, person.id, messages_max),
            )


def _live_call(row: LiveCallRow) -> LiveCall:
    return LiveCall(
        id=row.id,
        call_sid=row.call_sid,
        caller=row.caller,
        called=row.called,
        started_at=row.started_at,
        state=row.state,
    )


def _session(call: Call) -> CallSession:
    return CallSession(
        id=call.id,
        started_at=started_at(call),
        follow_up=call.follow_up,
        is_part=call.is_part,
        note=call.note,
    )
