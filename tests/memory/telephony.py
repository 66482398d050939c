from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias, TypeVar

import trio
from attrs import define, field

from actors.conversation.identity import whatsapp_address_candidates
from actors.live_call.telephony import (
    AGENT_LABEL,
    LABEL_TAKEN_CODE,
    ROOM_PREFIX,
    AdvisorDial,
    AgentDial,
    Dialled,
    DialledLeg,
    DialOutcome,
    DialRefused,
    DialUnknown,
    LegStatus,
    MadeRecording,
    NoRecording,
    NotDialled,
    OpenRoom,
    Participant,
    ParticipantStatus,
    Recording,
    RedirectOutcome,
    Room,
    RoomStatus,
    Telephony,
)
from actors.ports import VendorUnavailableError
from tests.memory.exchange import MemoryExchange, MemoryRoom
from tests.memory.messaging import Lost

T = TypeVar("T")
DialScript: TypeAlias = DialRefused | NotDialled | Lost | None


@define
class MemoryTelephony:
    """`Telephony` in memory, over an exchange on which the test plays callers, agents and advisors.

    Attributes:
        dial_scripts: what the next dials lead to; None, and everything after the last, makes a leg.
        failures: what a method will meet, by its name, once each: a command cannot be told, a question raises it.
        request_s: how long each request takes. What it asks for happens when it begins.
        recordings: by SID.
        made: whose they are, and how long: by the leg's SID, oldest first.
        commands: what was asked for, in order: the method's name and what it was given.
    """

    exchange: MemoryExchange
    dial_scripts: deque[DialScript] = field(factory=deque)
    failures: dict[str, deque[Exception]] = field(factory=dict)
    request_s: float = 0.0
    recordings: dict[str, Recording] = field(factory=dict)
    made: dict[str, list[MadeRecording]] = field(factory=dict)
    commands: list[tuple[object, ...]] = field(factory=list, init=False)

    def fail(self, method: str, failure: Exception | None = None, *, times: int = 1) -> None:
        """Have a method fail so often."""
        failures = self.failures.setdefault(method, deque())
        failures.extend([failure or VendorUnavailableError("no answer")] * times)

    async def add_agent(self, dial: AgentDial) -> DialOutcome:
        self.commands.append(("add_agent", dial))
        room = self.exchange.active(dial.room)
        if room is not None and any(leg.label == AGENT_LABEL for leg in self.exchange.around(room)):
            await trio.sleep(self.request_s)
            return DialRefused(code=LABEL_TAKEN_CODE, detail="label in use")
        return await self._dialled(dial)

    async def dial_advisor(self, dial: AdvisorDial) -> DialOutcome:
        self.commands.append(("dial_advisor", dial))
        return await self._dialled(dial)

    async def _dialled(self, dial: AdvisorDial | AgentDial) -> DialOutcome:
        script = self.dial_scripts.popleft() if self.dial_scripts else None
        if isinstance(script, DialRefused | NotDialled):
            await trio.sleep(self.request_s)
            return script
        if script is Lost.BEFORE_IT_ARRIVED:
            await trio.sleep(self.request_s)
            return DialUnknown(detail="timeout")
        leg = self.exchange.dial(dial)
        await trio.sleep(self.request_s)
        return DialUnknown(detail="timeout") if script is not None else Dialled(leg.sid)

    async def end_leg(self, sid: str) -> bool:
        if self._fails("end_leg", sid):
            return await self._slept(False)
        if sid in self.exchange.legs:
            self.exchange.hang_up(sid)
        return await self._slept(True)

    async def limit(self, sid: str, seconds: int) -> bool:
        return await self._slept(not self._fails("limit", sid, seconds))

    async def redirect(self, sid: str, path: str) -> RedirectOutcome:
        if self._fails("redirect", sid, path):
            return await self._slept(RedirectOutcome.FAILED)
        leg = self.exchange.legs.get(sid)
        if leg is None or leg.status is not LegStatus.IN_PROGRESS:
            return await self._slept(RedirectOutcome.OVER)
        leg.path = path
        self.exchange.leave(sid)
        return await self._slept(RedirectOutcome.DONE)

    async def hold(self, room: str, label: str, *, on: bool, music_path: str) -> bool:
        if self._fails("hold", room, label, on, music_path):
            return await self._slept(False)
        found = self._found(room)
        inside = self.exchange.inside(found) if found is not None else []
        leg = next((leg for leg in inside if leg.label == label), None)
        if found is None or leg is None:
            return await self._slept(False)
        self.exchange.hold(found, leg, on=on)
        return await self._slept(True)

    async def leg_status(self, sid: str) -> LegStatus | None:
        await self._ask("leg_status")
        leg = self.exchange.legs.get(sid)
        return _shown(leg.status) if leg is not None else None

    async def room(self, name: str) -> Room | None:
        await self._ask("room")
        found = self._found(name)
        if found is None:
            return None
        participants = [
            Participant(
                call_sid=leg.sid,
                label=leg.label,
                hold=leg.hold,
                status=ParticipantStatus.CONNECTED if leg.is_in_room else ParticipantStatus.QUEUED,
            )
            for leg in self.exchange.around(found)
        ]
        return Room(sid=found.sid, name=name, status=_status(found), participants=participants)

    async def end_room(self, sid: str) -> bool:
        if self._fails("end_room", sid):
            return await self._slept(False)
        for room in self.exchange.rooms:
            if room.sid == sid and not room.is_over:
                self.exchange.close(room)
        return await self._slept(True)

    async def legs_to(self, number: str, *, since: datetime) -> Sequence[DialledLeg]:
        await self._ask("legs_to")
        return [
            DialledLeg(sid=leg.sid, status=_shown(leg.status), number=leg.number, created_at=leg.created_at)
            for leg in self.exchange.listed_legs()
            if leg.number in (whatsapp_address_candidates(number) or (number,)) and since <= leg.created_at
        ]

    async def open_rooms(self, *, prefix: str = ROOM_PREFIX) -> Sequence[OpenRoom]:
        await self._ask("open_rooms")
        return [
            OpenRoom(sid=room.sid, name=room.name, status=_status(room))
            for room in self.exchange.listed_rooms()
            if room.name.startswith(prefix)
        ]

    async def recordings_of(self, sid: str) -> Sequence[MadeRecording]:
        await self._ask("recordings_of")
        return [made for made in self.made.get(sid, []) if made.sid in self.recordings]

    async def recording(self, sid: str, *, max_bytes: int) -> Recording | NoRecording:
        await self._ask("recording")
        found = self.recordings.get(sid)
        if found is None:
            return NoRecording.NOT_THERE
        return found if len(found.audio) <= max_bytes else NoRecording.TOO_LARGE

    async def delete_recording(self, sid: str) -> bool:
        if self._fails("delete_recording", sid):
            return await self._slept(False)
        self.recordings.pop(sid, None)
        return await self._slept(True)

    def _found(self, name: str) -> MemoryRoom | None:
        return next((room for room in self.exchange.listed_rooms() if room.name == name), None)

    def _fails(self, command: str, *given: object) -> bool:
        self.commands.append((command, *given))
        failures = self.failures.get(command)
        return bool(failures and failures.popleft())

    async def _slept(self, result: T) -> T:
        await trio.sleep(self.request_s)
        return result

    async def _ask(self, question: str) -> None:
        await trio.sleep(self.request_s)
        failures = self.failures.get(question)
        if failures:
            raise failures.popleft()


def _shown(status: LegStatus) -> LegStatus:
    """As REST shows it, which knows no `INITIATED`."""
    return LegStatus.QUEUED if status is LegStatus.INITIATED else status


def _status(room: MemoryRoom) -> RoomStatus:
    return RoomStatus.IN_PROGRESS if room.has_started else RoomStatus.INIT


def _is_telephony(telephony: MemoryTelephony) -> Telephony:
    return telephony
