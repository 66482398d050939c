"""Conferences at work: the rules of `room` with legs in them, music for who waits, and callbacks for who listens."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import count

import trio
from attrs import define, field

from daemon.lab.twilio.voice.exchange import Exchange
from daemon.lab.twilio.voice.ground import Ground
from daemon.lab.twilio.voice.legs import Fetch, Leg
from daemon.lab.twilio.voice.player import MediaPlayer
from daemon.lab.twilio.voice.room import (
    Happening,
    Left,
    Member,
    MemberStatus,
    Room,
    RoomCallback,
    happening_fields,
)
from daemon.lab.twilio.whatsapp.messages import rfc2822

_MOMENT_OF = {"participant-join": "joined", "participant-hold": "held", "participant-unhold": "unheld"}


@define(eq=False, kw_only=True)
class _Music:
    """What is played to somebody who is not in the talk."""

    purpose: str
    scope: trio.CancelScope = field(factory=trio.CancelScope)


@define(eq=False)
class Rooms:
    """All conferences, by SID. What is done to them happens at once; music and announcements are tasks."""

    ground: Ground
    exchange: Exchange
    player: MediaPlayer
    rooms: dict[str, Room] = field(factory=dict, init=False)
    _music: dict[str, _Music] = field(factory=dict, init=False)
    _early: set[str] = field(factory=set, init=False)
    _ordinals: Iterator[int] = field(factory=count, init=False)

    def active(self, key: str) -> Room | None:
        """The room of a SID or friendly name that is not over."""
        room = self.rooms.get(key)
        if room is not None:
            return room if room.active else None
        return next((r for r in reversed(self.rooms.values()) if r.friendly_name == key and r.active), None)

    def open(self, name: str, callback: RoomCallback) -> Room:
        """The active room of that name, else a new one, which then tells `callback` and nobody else."""
        room = self.active(name)
        if room is None:
            lag_s = self.ground.strikes_s("conference_lags", 2.0)
            room = Room(
                friendly_name=name,
                created_at=self.ground.clock.now(),
                ordinal=next(self._ordinals),
                callback=callback,
                listed_from_s=self.ground.now_s + lag_s if lag_s is not None else 0.0,
            )
            self.rooms[room.sid] = room
        return room

    def member(self, leg: Leg) -> Member:
        now = self.ground.clock.now()
        return Member(call_sid=leg.sid, created_at=now, updated_at=now)

    def expect(self, leg: Leg, room: Room, member: Member) -> None:
        """Somebody is being called into a room."""
        room.expect(member)
        leg.room, leg.member = room, member

    def seat(self, leg: Leg, room: Room, member: Member) -> None:
        """A leg comes in.

        Raises:
            LabelTakenError: somebody of that label is in the room.
        """
        happened = room.join(member)
        leg.room, leg.member, leg.left = room, member, None
        leg.unseated = trio.Event()
        if member.call_sid in self._early:
            self._early.discard(member.call_sid)
            self._tell_legs(room, happened.pop(0))
        self._follow(room, happened)

    def seat_early(self, leg: Leg) -> None:
        """Tell the join already while the leg rings, as has been seen with early media."""
        if leg.room is not None and leg.member is not None:
            self._early.add(leg.sid)
            self._tell(leg.room, Happening(event="participant-join", member=leg.member))

    def leave(self, leg: Leg, reason: Left, *, kicked: bool = False) -> None:
        """A leg goes out of the room that it is in, if any."""
        if leg.room is not None:
            status = leg.call.status.value
            self._follow(leg.room, leg.room.leave(leg.sid, reason, call_status=status, kicked=kicked))

    def kick(self, leg: Leg) -> None:
        """Put somebody out over REST. One who came by `<Dial>` goes on with his document, others' calls end."""
        if leg.member is not None and not leg.member.connected:
            self.exchange.hang_up(leg)
        else:
            self.leave(leg, Left.UPDATED, kicked=True)

    def end(self, room: Room) -> None:
        self._follow(room, room.end())

    def change(
        self,
        leg: Leg,
        *,
        hold: bool | None = None,
        muted: bool | None = None,
        end_on_exit: bool | None = None,
    ) -> None:
        room, member = leg.room, leg.member
        if room is not None and member is not None:
            member.updated_at = self.ground.clock.now()
            if hold and member.hold:
                # A new hold URL for somebody who is on hold already.
                self._stop_music(leg.sid)
            self._follow(room, room.change(member, hold=hold, muted=muted, end_on_exit=end_on_exit))

    def announce(self, room: Room, legs: Iterable[Leg], sheet: Fetch) -> None:
        """Play something to those of a room who take part in the talk."""
        listeners = [leg for leg in legs if leg.member is not None and leg.member.connected]
        self.ground.spawn(partial(self._announce, room, listeners, sheet), name=f"announcement {room.sid}")

    def legs_in(self, leg: Leg) -> list[Leg]:
        """The legs of a leg's room, its own among them."""
        members = leg.room.members if leg.room is not None else {}
        return [self.exchange.legs[sid] for sid in members if sid in self.exchange.legs] or [leg]

    def clear(self) -> None:
        for music in self._music.values():
            music.scope.cancel(reason="reset")
        self._music.clear()
        self._early.clear()
        self.rooms.clear()

    def _follow(self, room: Room, happened: Iterable[Happening]) -> None:
        """Tell what happened, put legs out, and let everybody hear what is now to be heard."""
        room.updated_at = self.ground.clock.now()
        outside = []
        for happening in happened:
            self._tell(room, happening)
            if happening.event == "participant-leave" and happening.member is not None:
                leg = self.exchange.legs.get(happening.member.call_sid)
                if leg is not None:
                    self._put_out(leg, Left(happening.fields["ReasonParticipantLeft"]))
                    outside.append(leg)
            self._tell_legs(room, happening)
        inside = [self.exchange.legs[sid] for sid in room.members if sid in self.exchange.legs]
        for leg in inside:
            self._settle(room, leg)
        if inside or outside:
            self.exchange.wiring.renew(*inside, *outside)
        self.ground.books.changed()

    def _put_out(self, leg: Leg, reason: Left) -> None:
        leg.room = leg.member = None
        leg.left = reason
        self._stop_music(leg.sid)
        self.ground.moments.tell("left", leg.sid, leg.number, reason.value)
        leg.unseated.set()

    def _tell_legs(self, room: Room, happening: Happening) -> None:
        if happening.event == "conference-start":
            for leg in self._connected(room):
                self.ground.moments.tell("started", leg.sid, leg.number, room.friendly_name)
        elif happening.event in _MOMENT_OF and happening.member is not None:
            leg = self.exchange.legs[happening.member.call_sid]
            self.ground.moments.tell(_MOMENT_OF[happening.event], leg.sid, leg.number, room.friendly_name)

    def _connected(self, room: Room) -> list[Leg]:
        return [self.exchange.legs[m.call_sid] for m in room.connected() if m.call_sid in self.exchange.legs]

    def _tell(self, room: Room, happening: Happening) -> None:
        callback = room.callback
        if callback.url is None or not callback.wants(happening.event):
            return
        room.sequence += 1
        fields = happening_fields(self.ground.account.sid, room, happening)
        fields["Timestamp"] = rfc2822(self.ground.clock.now()) or ""
        self.ground.call_back(
            callback.url, callback.method, fields, family="conference_event", key=f"room {room.sid}"
        )

    def _settle(self, room: Room, leg: Leg) -> None:
        """Begin or stop the music that a leg is to hear."""
        member = leg.member
        purpose = None
        if member is not None and member.status is MemberStatus.CONNECTED:
            purpose = "held" if member.hold else None if room.started else "waiting"
        playing = self._music.get(leg.sid)
        if playing is not None and playing.purpose != purpose:
            self._stop_music(leg.sid)
        if purpose is not None and member is not None and leg.sid not in self._music:
            music = self._music[leg.sid] = _Music(purpose=purpose)
            work = partial(self._play_music, room, leg, member, music)
            self.ground.spawn(work, name=f"music {leg.sid}")

    def _stop_music(self, call_sid: str) -> None:
        music = self._music.pop(call_sid, None)
        if music is not None:
            music.scope.cancel(reason="music over")

    async def _play_music(self, room: Room, leg: Leg, member: Member, music: _Music) -> None:
        with music.scope, leg.life():
            if music.purpose == "waiting":
                self.ground.moments.tell("waiting", leg.sid, leg.number)
            sheet = member.hold_sheet if music.purpose == "held" else member.wait
            extra = {"ConferenceSid": room.sid, "FriendlyName": room.friendly_name}
            await self.player.play_sheet(leg, sheet, extra)
            if music.purpose == "waiting":
                # Twilio docs: a participant whose waitUrl fails is not established and falls out of the Dial.
                self.leave(leg, Left.ADD_FAILED)

    async def _announce(self, room: Room, legs: Iterable[Leg], sheet: Fetch) -> None:
        results: list[bool] = []
        async with trio.open_nursery() as nursery:
            for leg in legs:
                nursery.start_soon(self._announce_to, leg, sheet, results)
        fields: Mapping[str, str] = {"AnnounceUrl": sheet.url}
        if results and all(results):
            self._tell(room, Happening(event="announcement-end", fields=fields))
        else:
            fields = {**fields, "ReasonAnnouncementFailed": "The announcement could not be fetched"}
            self._tell(room, Happening(event="announcement-fail", fields=fields))

    async def _announce_to(self, leg: Leg, sheet: Fetch, results: list[bool]) -> None:
        with leg.life():
            results.append(await self.player.announce(leg, sheet))
            self.ground.moments.tell("announced", leg.sid, leg.number, sheet.url)
