"""Live calls: where each stands, the sessions the agent had in it, and what becomes of them when it ends.

Whoever changes a call's sessions locks the live call first, then the sessions in the order of their ids.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from attrs import field, frozen
from cattrs import Converter

from actors.calls import FollowUpState
from actors.live_call.ports import SEEK_AFTER, CallerHistory, LiveCall
from actors.live_call.reports import IncomingCall
from actors.live_call.state import CallState, Ending, Mode
from daemon.store.context import read_history
from daemon.store.pool import Connection, Database
from daemon.store.values import Row, sole, storable, to_jsonb

_log = structlog.get_logger(__name__)

# What another version wrote is read as far as it is known, and has this one's defaults where it said nothing.
_converter = Converter(detailed_validation=False)

# What cattrs raises for a state that is none of ours, according to where it differs.
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)

_COLUMNS = "id, call_sid, caller, called, started_at, state"

# Doing nothing would return nothing.
_BEGIN = f"""
INSERT INTO live_call (call_sid, caller, called, mode, phase, state, started_at, updated_at)
VALUES (%(call_sid)s, %(caller)s, %(called)s, %(mode)s, %(phase)s, %(state)s::jsonb, %(now)s, %(now)s)
ON CONFLICT (call_sid) DO UPDATE SET call_sid = excluded.call_sid
RETURNING {_COLUMNS}
"""  # noqa: S608 -- constants

_LOAD = f"SELECT {_COLUMNS} FROM live_call WHERE id = %(id)s"  # noqa: S608 -- constants

_FIND = "SELECT id FROM live_call WHERE call_sid = %(call_sid)s"

# What is learned after the end, such as a recording, is stored too.
_SAVE = """
UPDATE live_call SET phase = %(phase)s, state = %(state)s::jsonb, updated_at = %(now)s
WHERE id = %(id)s AND (ended_at IS NULL OR %(is_over)s)
"""

_UNFINISHED = "SELECT id FROM live_call WHERE ended_at IS NULL ORDER BY id"

_LOCK = "SELECT caller, ended_at, follows_up FROM live_call WHERE id = %(id)s FOR NO KEY UPDATE"

_END = """
UPDATE live_call
SET phase = %(phase)s, state = %(state)s::jsonb, ended_at = %(now)s, ending = %(ending)s, follows_up = %(follows_up)s,
    seek_at = %(seek_at)s, updated_at = %(now)s
WHERE id = %(id)s AND ended_at IS NULL
"""

# A webhook or a poll may have found the session as a finished call. It is taken over unless its opening is written.
_KEEP_SESSION = """
INSERT INTO call (
    id, sighting, seen_at, agent_id, phone_number, outcome, direction, started_at, live_call_id, follow_up, is_part,
    look_at, updated_at
)
VALUES (
    %(conversation_id)s, 'live', %(now)s, %(agent_id)s, %(caller)s, 'completed', 'inbound', %(now)s, %(id)s,
    %(follow_up)s, %(is_part)s, %(now)s, %(now)s
)
ON CONFLICT (id) DO UPDATE
SET live_call_id = excluded.live_call_id,
    sighting = CASE WHEN call.sighting IN ('webhook', 'command') THEN call.sighting ELSE excluded.sighting END,
    agent_id = coalesce(call.agent_id, excluded.agent_id),
    phone_number = coalesce(call.phone_number, excluded.phone_number),
    outcome = coalesce(call.outcome, excluded.outcome),
    direction = coalesce(call.direction, excluded.direction),
    started_at = coalesce(call.started_at, excluded.started_at),
    follow_up = CASE WHEN call.follow_up IN ('awaiting_details', 'due') THEN excluded.follow_up ELSE call.follow_up END,
    is_part = call.follow_up IN ('awaiting_details', 'due') AND excluded.is_part,
    look_at = excluded.look_at,
    updated_at = excluded.updated_at
WHERE call.live_call_id IS NULL
"""

_SESSIONS = """
SELECT id, coalesce(started_at, seen_at), follow_up, is_part, note
FROM call
WHERE live_call_id = %(id)s
ORDER BY id
FOR NO KEY UPDATE
"""

_END_SESSIONS = """
UPDATE call
SET follow_up = CASE follow_up WHEN 'live' THEN 'awaiting_details' ELSE follow_up END,
    look_at = CASE follow_up WHEN 'live' THEN %(now)s ELSE look_at END,
    attempts = CASE follow_up WHEN 'live' THEN 0 ELSE attempts END,
    is_part = NOT %(follows_up)s OR id <> %(main)s,
    note = CASE WHEN id = %(main)s THEN nullif(%(note)s, '') END,
    updated_at = %(now)s
WHERE live_call_id = %(id)s
"""

_ARE_DETAILS_WANTED = """
SELECT EXISTS (SELECT FROM call WHERE live_call_id = %(id)s AND follow_up = 'awaiting_details')
"""

_SET_NOTE = "UPDATE call SET note = %(note)s WHERE id = %(session)s"


@frozen(kw_only=True)
class CallSession:
    """A session of the agent in a live call, as far as it matters when the call ends."""

    id: str
    started_at: datetime
    follow_up: FollowUpState
    is_part: bool
    note: str | None

    @property
    def is_followed_up(self) -> bool:
        """Its opening is written."""
        return self.follow_up in {FollowUpState.QUEUED, FollowUpState.HANDLED, FollowUpState.REFUSED}


def main_session(sessions: Sequence[CallSession], *, ended_at: datetime) -> CallSession:
    """The session that stands for its live call, of at least one: the longest, each lasting until the next begins.

    One that had its opening before anybody knew it for a part of a live call comes first, and one that can have none any
    more last.
    """
    ordered = sorted(sessions, key=lambda session: (session.started_at, session.id))
    ends = [*(session.started_at for session in ordered[1:]), ended_at]
    lasted = {session.id: end - session.started_at for session, end in zip(ordered, ends, strict=True)}

    def weight(session: CallSession) -> tuple[bool, bool, timedelta]:
        return session.is_followed_up, session.follow_up is not FollowUpState.NONE, lasted[session.id]

    return max(ordered, key=weight)


def noted_session(sessions: Sequence[CallSession], *, ended_at: datetime | None) -> CallSession:
    """The session at which the note of its live call stands, of at least one."""
    if ended_at is None:
        return sessions[0]
    whole = [session for session in sessions if not session.is_part]
    noted = [session for session in sessions if session.note is not None]
    return next(iter(whole + noted), None) or main_session(sessions, ended_at=ended_at)


def joined_note(sessions: Collection[CallSession], note: str) -> str:
    """What was noted while the call went on, and a note more; what was noted before is not said again."""
    told = " ".join(session.note for session in sessions if session.note)
    return told if note in told else f"{told} {note}".strip()


@frozen
class PostgresLiveCalls:
    """`LiveCallStore` on PostgreSQL."""

    pool: Database
    _unreadable: set[int] = field(factory=set, init=False, eq=False, repr=False)

    async def begin(self, incoming: IncomingCall, *, mode: Mode, now: datetime) -> LiveCall:
        values = {
            "call_sid": incoming.call_sid,
            "caller": incoming.caller,
            "called": incoming.dialled,
            "mode": mode,
            **_state_columns(CallState(mode=mode)),
            "now": now,
        }
        return _live_call(sole(await self.pool.fetch_one(_BEGIN, values)))

    async def load(self, live_call_id: int) -> LiveCall | None:
        """See `LiveCallStore`. None also for a call whose state cannot be read, as a later version may have left it when it
        was taken back: it is nobody's to serve, and whoever looks after all calls must not crash of one.
        """
        row = await self.pool.fetch_one(_LOAD, {"id": live_call_id})
        try:
            return None if row is None else _live_call(row)
        except UNREADABLE as problem:
            # Looked at again and again, and told once.
            if live_call_id not in self._unreadable:
                _log.error(
                    "live call cannot be read", live_call_id=live_call_id, detail=type(problem).__name__
                )
                self._unreadable.add(live_call_id)
            return None

    async def find(self, call_sid: str) -> int | None:
        row = await self.pool.fetch_one(_FIND, {"call_sid": call_sid})
        return None if row is None else row[0]

    async def save(self, live_call_id: int, state: CallState, *, now: datetime) -> None:
        values = {"id": live_call_id, "is_over": state.is_over, **_state_columns(state), "now": now}
        await self.pool.execute(_SAVE, values)

    async def keep_session(
        self, live_call_id: int, *, conversation_id: str, agent_id: str, now: datetime
    ) -> None:
        """See `LiveCallStore`. Of a call that has ended meanwhile: it waits for its details at once, and stands for the
        call only if no other session does.
        """
        values = {"id": live_call_id, "conversation_id": conversation_id, "agent_id": agent_id, "now": now}
        async with self.pool.transaction() as connection:
            live = await connection.fetch_one(_LOCK, values)
            if live is None:
                return
            caller, ended_at, follows_up = live
            is_part = False
            if ended_at is not None:
                others = await _sessions(connection, live_call_id)
                is_part = not follows_up or any(not other.is_part for other in others)
            values |= {
                "caller": caller,
                "follow_up": FollowUpState.LIVE if ended_at is None else FollowUpState.AWAITING_DETAILS,
                "is_part": is_part,
            }
            await connection.run_statement(_KEEP_SESSION, values)

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
        values: dict[str, Any] = {
            "id": live_call_id,
            **_state_columns(state),
            "ending": ending,
            "follows_up": follows_up,
            "seek_at": now + SEEK_AFTER if ending is Ending.VOICEMAIL else None,
            "now": now,
        }
        async with self.pool.transaction() as connection:
            if await connection.run_statement(_END, values):
                sessions = await _sessions(connection, live_call_id)
                if sessions:
                    main = main_session(sessions, ended_at=now)
                    values |= {"main": main.id, "note": joined_note(sessions, storable(note))}
                    await connection.run_statement(_END_SESSIONS, values)
            return bool(sole(await connection.fetch_one(_ARE_DETAILS_WANTED, values))[0])

    async def add_note(self, live_call_id: int, note: str) -> None:
        async with self.pool.transaction() as connection:
            live = await connection.fetch_one(_LOCK, {"id": live_call_id})
            sessions = await _sessions(connection, live_call_id)
            if live is None or not sessions:
                return
            noted = noted_session(sessions, ended_at=live[1])
            joined = joined_note([noted], storable(note))
            await connection.run_statement(_SET_NOTE, {"session": noted.id, "note": joined or None})

    async def unfinished(self) -> Sequence[int]:
        return [row[0] for row in await self.pool.fetch_all(_UNFINISHED)]

    async def history(self, identities: Sequence[str], *, messages_max: int) -> CallerHistory | None:
        return await read_history(self.pool, identities, messages_max=messages_max)


async def _sessions(connection: Connection, live_call_id: int) -> Sequence[CallSession]:
    """All of the call's, which they keep from being changed by anybody else; in the order of their ids."""
    return [
        CallSession(
            id=row[0], started_at=row[1], follow_up=FollowUpState(row[2]), is_part=row[3], note=row[4]
        )
        for row in await connection.fetch_all(_SESSIONS, {"id": live_call_id})
    ]


def state_json(state: CallState) -> str:
    return to_jsonb(_converter.unstructure(state))


def read_state(value: object) -> CallState:
    """A state as it was stored, by this version or another.

    Raises:
        UNREADABLE: it holds a word that this version does not know, or has another shape.
    """
    return _converter.structure(value, CallState)


def _state_columns(state: CallState) -> dict[str, str]:
    return {"phase": state.phase, "state": state_json(state)}


def _live_call(row: Row) -> LiveCall:
    return LiveCall(
        id=row[0],
        call_sid=row[1],
        caller=row[2],
        called=row[3],
        started_at=row[4],
        state=read_state(row[5]),
    )
