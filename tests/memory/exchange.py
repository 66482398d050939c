"""The telephone network in memory: legs, rooms and what is told of them. What people do on it is the test's to play."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import trio
from attrs import define, field

from actors.live_call.reports import IncomingCall, LegReport, RoomEvent, RoomReport
from actors.live_call.telephony import AGENT_LABEL, CALLER_LABEL, AdvisorDial, AgentDial, LegStatus
from actors.ports import WallClock

OUR_NUMBER: Final = "+525500000000"

Report: TypeAlias = LegReport | RoomReport

_COMING: Final = (LegStatus.INITIATED, LegStatus.RINGING, LegStatus.IN_PROGRESS)
_HUNG_UP: Final = "participant_hung_up"
_UPDATED: Final = "participant_updated_via_api"
_ADD_FAILED: Final = "participant_add_failed"
_MODERATOR: Final = "moderator_ended_conference"
_ENDED_VIA_API: Final = "conference_ended_via_api"


@define(eq=False, kw_only=True)
class MemoryLeg:
    """A leg as Twilio has it.

    Attributes:
        number: who is at the other end; empty for an agent.
        label: in its room; empty while it has none to go to.
        room: which it is in, or which an agent is called into.
        path: of the document that it was sent to last, over REST.
        dial: that made it; None for a caller's.
    """

    sid: str
    number: str
    created_at: datetime
    dial: AdvisorDial | AgentDial | None = None
    status: LegStatus = LegStatus.QUEUED
    label: str = ""
    room: str | None = None
    is_in_room: bool = False
    hold: bool = False
    path: str | None = None
    sequence: int = 0


@define(eq=False, kw_only=True)
class MemoryRoom:
    """A room; `live_call_id` comes back in its reports, from the callback of who came first."""

    sid: str
    name: str
    created_s: float
    live_call_id: int | None
    has_started: bool = False
    is_over: bool = False


@define
class MemoryExchange:
    """Twilio's telephone with one number of ours.

    Attributes:
        list_lag_s: after how long a new leg, or a new room, is found by who asks.
        on_report: called with each report as it comes to be; all of them stand in `reports` too.
    """

    clock: WallClock
    list_lag_s: float = 0.0
    on_report: Callable[[Report], object] = field(default=lambda _: None)
    reports: list[Report] = field(factory=list, init=False)
    legs: dict[str, MemoryLeg] = field(factory=dict, init=False)
    rooms: list[MemoryRoom] = field(factory=list, init=False)

    # --- People ---------------------------------------------------------------------------------------

    def call_in(self, number: str = "+525512345678") -> IncomingCall:
        """Somebody calls; their leg has been picked up."""
        leg = self._new_leg(number, None)
        leg.status = LegStatus.IN_PROGRESS
        return IncomingCall(call_sid=leg.sid, caller=number, dialled=OUR_NUMBER)

    def ring(self, sid: str) -> None:
        self._come_to(sid, LegStatus.RINGING)

    def pick_up(self, sid: str) -> None:
        """Somebody, or something, answers; an agent is then in its room, if there still is one."""
        self._come_to(sid, LegStatus.IN_PROGRESS)
        leg = self.legs[sid]
        if leg.label != AGENT_LABEL or leg.room is None or leg.is_in_room:
            return
        if self.active(leg.room) is None:
            self.end(sid)
        else:
            self.enter(leg.room, sid, AGENT_LABEL)

    def end(self, sid: str, status: LegStatus = LegStatus.COMPLETED) -> None:
        """A leg is over, and out of its room; nothing happens to one that is over."""
        leg = self.legs[sid]
        if leg.status.is_over:
            return
        leg.status = status
        self._report_leg(leg)
        self._leave(leg, _HUNG_UP if leg.is_in_room else _ADD_FAILED)

    def enter(self, room: str, sid: str, label: str, *, live_call_id: int | None = None) -> None:
        """A leg goes into a room, as its document says."""
        leg = self.legs[sid]
        found = self.active(room) or self._open(room, live_call_id)
        leg.room, leg.label, leg.is_in_room = room, label, True
        self._report_room(found, RoomEvent.JOIN, leg)
        if not found.has_started and len(self.inside(found)) > 1:
            found.has_started = True
            self._report_room(found, RoomEvent.START)

    def leave(self, sid: str) -> None:
        """A leg goes out of its room, and on with its document."""
        self._leave(self.legs[sid], _UPDATED)

    def leg_of(self, dial: AdvisorDial | AgentDial) -> MemoryLeg:
        """The newest leg that a dial has made."""
        return next(leg for leg in reversed(self.legs.values()) if leg.dial == dial)

    # --- What REST does -------------------------------------------------------------------------------

    def dial(self, dial: AdvisorDial | AgentDial) -> MemoryLeg:
        if isinstance(dial, AdvisorDial):
            return self._new_leg(dial.number, dial)
        leg = self._new_leg("", dial)
        leg.room, leg.label = dial.room, AGENT_LABEL
        if self.active(dial.room) is None:
            self._open(dial.room, dial.live_call_id)
        return leg

    def hang_up(self, sid: str) -> None:
        """End a leg in the way that fits how far it has come."""
        talks = self.legs[sid].status is LegStatus.IN_PROGRESS
        self.end(sid, LegStatus.COMPLETED if talks else LegStatus.CANCELED)

    def hold(self, room: MemoryRoom, leg: MemoryLeg, *, on: bool) -> None:
        if leg.hold != on:
            leg.hold = on
            self._report_room(room, RoomEvent.HOLD if on else RoomEvent.UNHOLD, leg)

    def close(self, room: MemoryRoom) -> None:
        self._close(room, _ENDED_VIA_API)

    def active(self, name: str) -> MemoryRoom | None:
        return next((room for room in self.rooms if room.name == name and not room.is_over), None)

    def around(self, room: MemoryRoom) -> Sequence[MemoryLeg]:
        """Who is inside, or called into it."""
        return [leg for leg in self.legs.values() if leg.room == room.name and not leg.status.is_over]

    def inside(self, room: MemoryRoom) -> Sequence[MemoryLeg]:
        return [leg for leg in self.legs.values() if leg.room == room.name and leg.is_in_room]

    def listed_rooms(self) -> Sequence[MemoryRoom]:
        """Open ones that are old enough to be found, newest first."""
        newest_s = trio.current_time() - self.list_lag_s
        return [room for room in reversed(self.rooms) if not room.is_over and room.created_s <= newest_s]

    def listed_legs(self) -> Sequence[MemoryLeg]:
        """Those we dialled that are old enough to be found, newest first."""
        newest = self.clock.now() - timedelta(seconds=self.list_lag_s)
        return [
            leg for leg in reversed(self.legs.values()) if leg.dial is not None and leg.created_at <= newest
        ]

    # --- Its own rules --------------------------------------------------------------------------------

    def _new_leg(self, number: str, dial: AdvisorDial | AgentDial | None) -> MemoryLeg:
        sid = f"CA{len(self.legs) + 1:032x}"
        self.legs[sid] = MemoryLeg(sid=sid, number=number, dial=dial, created_at=self.clock.now())
        return self.legs[sid]

    def _come_to(self, sid: str, status: LegStatus) -> None:
        """Through all statuses before it."""
        leg = self.legs[sid]
        assert not leg.status.is_over, "a leg that is over comes to nothing any more"
        before = _COMING.index(leg.status) + 1 if leg.status in _COMING else 0
        for each in _COMING[before : _COMING.index(status) + 1]:
            leg.status = each
            self._report_leg(leg)

    def _open(self, name: str, live_call_id: int | None) -> MemoryRoom:
        room = MemoryRoom(
            sid=f"CF{len(self.rooms) + 1:032x}",
            name=name,
            created_s=trio.current_time(),
            live_call_id=live_call_id,
        )
        self.rooms.append(room)
        return room

    def _leave(self, leg: MemoryLeg, reason: str) -> None:
        """Out of the room; who was the caller ends it, and so does the last one."""
        found = self.active(leg.room) if leg.room is not None else None
        if found is None:
            return
        was_inside = leg.is_in_room
        leg.room, leg.is_in_room, leg.hold = None, False, False
        self._report_room(found, RoomEvent.LEAVE, leg, reason_left=reason)
        if leg.label == CALLER_LABEL:
            self._close(found, _MODERATOR)
        elif not (self.inside(found) if was_inside else self.around(found)):
            self._close(found, "")

    def _close(self, room: MemoryRoom, reason_left: str) -> None:
        """All drop out. A caller goes on with the document that he came by, others' legs end."""
        room.is_over = True
        for leg in self.inside(room):
            leg.room, leg.is_in_room, leg.hold = None, False, False
            self._report_room(room, RoomEvent.LEAVE, leg, reason_left=reason_left)
            if leg.label != CALLER_LABEL:
                self.end(leg.sid)
        self._report_room(room, RoomEvent.END)

    def _report_leg(self, leg: MemoryLeg) -> None:
        self._report(
            LegReport(
                call_sid=leg.sid,
                status=leg.status,
                sequence=leg.sequence,
                live_call_id=leg.dial.live_call_id if leg.dial is not None else None,
                leg=leg.dial.leg if leg.dial is not None else None,
            )
        )
        leg.sequence += 1

    def _report_room(
        self,
        room: MemoryRoom,
        event: RoomEvent,
        leg: MemoryLeg | None = None,
        *,
        reason_left: str | None = None,
    ) -> None:
        self._report(
            RoomReport(
                room=room.name,
                event=event,
                call_sid=leg.sid if leg is not None else None,
                label=leg.label if leg is not None else "",
                reason_left=reason_left,
                live_call_id=room.live_call_id,
            )
        )

    def _report(self, report: Report) -> None:
        self.reports.append(report)
        self.on_report(report)
