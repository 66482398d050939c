"""`/Conferences` and their participants (Twilio OpenAPI: api_v2010; Twilio docs: voice/api/conference-participant-resource)."""

import re
from typing import Any, Final

from attrs import define, evolve
from quart import Blueprint, Response

from daemon.lab.twilio.errors import RestError, not_found
from daemon.lab.twilio.form import Form
from daemon.lab.twilio.paging import page
from daemon.lab.twilio.rest import Asked, Edge, Reply
from daemon.lab.twilio.voice.calls import CallStatus
from daemon.lab.twilio.voice.exchange import Exchange
from daemon.lab.twilio.voice.ground import Ground
from daemon.lab.twilio.voice.legs import Leg, TakeSeat
from daemon.lab.twilio.voice.ordering import (
    flag,
    read_fetch,
    read_order,
    read_room_callback,
    time_filter,
)
from daemon.lab.twilio.voice.room import Member, Room, Sheet
from daemon.lab.twilio.voice.rooms import Rooms
from daemon.lab.twilio.whatsapp.messages import rfc2822

CONFERENCE_SID: Final = re.compile("CF[0-9a-f]{32}")


@define(eq=False)
class ConferenceRoutes:
    """What the routes do; each is a plain function of the request."""

    ground: Ground
    exchange: Exchange
    rooms: Rooms

    def list(self, asked: Asked) -> Reply:
        query = asked.query
        name, status = query.get("FriendlyName"), query.get("Status")
        created, updated = time_filter(query, "DateCreated"), time_filter(query, "DateUpdated")
        now_s = self.ground.now_s
        found = [
            room
            for room in reversed(self.rooms.rooms.values())
            if name in {None, room.friendly_name}
            and status in {None, room.status.value}
            and created(room.created_at)
            and updated(room.updated_at)
            and room.listed_from_s <= now_s
        ]
        return page(asked, "conferences", found, ordinal=lambda room: room.ordinal, show=self._conference)

    def fetch(self, asked: Asked, sid: str) -> Reply:
        return Reply(body=self._conference(self._room(asked, sid)))

    def update(self, asked: Asked, sid: str) -> Reply:
        room = self._room(asked, sid)
        announcement = read_fetch(asked.form, "Announce")
        if announcement is not None:
            extra = {"ConferenceSid": room.sid, "FriendlyName": room.friendly_name}
            legs = [self.exchange.legs[sid] for sid in room.members]
            self.rooms.announce(room, legs, evolve(announcement, extra=extra))
        status = asked.form.get("Status")
        if status == "completed":
            self.rooms.end(room)
        elif status is not None:
            raise RestError(400, 20001, "Invalid Status")
        return Reply(body=self._conference(room))

    def add(self, asked: Asked, key: str) -> Reply:
        """Call somebody into a room: by its SID while it is active, by its name in any case."""
        order = read_order(asked.form, self.ground.account, None)
        room = self.rooms.active(key)
        if room is None and CONFERENCE_SID.fullmatch(key):
            raise not_found(asked.path)
        label = asked.form.get("Label") or None
        if room is not None and label is not None and room.find(label) is not None:
            raise RestError(400, 16025)
        room = room or self.rooms.open(key, read_room_callback(asked.form))
        leg = self.exchange.dial(order)
        member = self._member(leg, asked.form, label)
        leg.program = TakeSeat(room=room, member=member)
        self.rooms.expect(leg, room, member)
        if self.ground.strikes("participant_add_failed", text=order.recipient):
            self.ground.schedule.after(0.0, lambda: self.exchange.end(leg, CallStatus.FAILED, sip_code=503))
        return Reply(status=201, body=self._participant(room, member))

    def participants(self, asked: Asked, sid: str) -> Reply:
        room = self._room(asked, sid)
        muted, hold = flag(asked.query, "Muted"), flag(asked.query, "Hold")
        found = [
            (self.exchange.legs[member.call_sid].call.ordinal, member)
            for member in room.members.values()
            if muted in {None, member.muted} and hold in {None, member.hold}
        ]
        found.sort(key=lambda place: -place[0])
        return page(
            asked,
            "participants",
            found,
            ordinal=lambda place: place[0],
            show=lambda place: self._participant(room, place[1]),
        )

    def participant(self, asked: Asked, sid: str, key: str) -> Reply:
        room, member = self._seat(asked, sid, key)
        return Reply(body=self._participant(room, member))

    def change(self, asked: Asked, sid: str, key: str) -> Reply:
        room, member = self._seat(asked, sid, key)
        form, leg = asked.form, self.exchange.legs[member.call_sid]
        hold = flag(form, "Hold")
        if hold:
            sheet = read_fetch(form, "Hold", "GET")
            member.hold_sheet = Sheet(url=sheet.url, method=sheet.method) if sheet is not None else Sheet()
        self.rooms.change(
            leg, hold=hold, muted=flag(form, "Muted"), end_on_exit=flag(form, "EndConferenceOnExit")
        )
        announcement = read_fetch(form, "Announce")
        if announcement is not None:
            extra = {"ConferenceSid": room.sid, "FriendlyName": room.friendly_name}
            self.rooms.announce(room, [leg], evolve(announcement, extra=extra))
        return Reply(body=self._participant(room, member))

    def kick(self, asked: Asked, sid: str, key: str) -> Reply:
        _, member = self._seat(asked, sid, key)
        self.rooms.kick(self.exchange.legs[member.call_sid])
        return Reply(status=204)

    def _member(self, leg: Leg, form: Form, label: str | None) -> Member:
        member = self.rooms.member(leg)
        member.label = label
        member.muted = flag(form, "Muted") or False
        member.start_on_enter = flag(form, "StartConferenceOnEnter") is not False
        member.end_on_exit = flag(form, "EndConferenceOnExit") or False
        member.early_media = flag(form, "EarlyMedia") is not False
        if form.get("WaitUrl") is not None:
            member.wait = Sheet(url=form.get("WaitUrl"), method=form.get("WaitMethod") or "POST")
        return member

    def _room(self, asked: Asked, sid: str) -> Room:
        room = self.rooms.rooms.get(sid) or self.rooms.active(sid)
        if room is None or room.listed_from_s > self.ground.now_s:
            raise not_found(asked.path)
        return room

    def _seat(self, asked: Asked, sid: str, key: str) -> tuple[Room, Member]:
        room = self._room(asked, sid)
        member = room.find(key)
        if member is None:
            raise not_found(asked.path)
        return room, member

    def _conference(self, room: Room) -> dict[str, Any]:
        return {
            **room.as_resource(self.ground.account.sid),
            "date_created": rfc2822(room.created_at),
            "date_updated": rfc2822(room.updated_at),
        }

    def _participant(self, room: Room, member: Member) -> dict[str, Any]:
        account_sid = self.ground.account.sid
        queue_ms = self.exchange.legs[member.call_sid].call.queue_time_ms
        return {
            "account_sid": account_sid,
            "call_sid": member.call_sid,
            "call_sid_to_coach": None,
            "coaching": False,
            "conference_sid": room.sid,
            "date_created": rfc2822(member.created_at),
            "date_updated": rfc2822(member.updated_at),
            "end_conference_on_exit": member.end_on_exit,
            "hold": member.hold,
            "label": member.label,
            "muted": member.muted,
            "queue_time": str(queue_ms),
            "start_conference_on_enter": member.start_on_enter,
            "status": member.status.value,
            "uri": f"/2010-04-01/Accounts/{account_sid}/Conferences/{room.sid}"
            f"/Participants/{member.call_sid}.json",
        }


def conference_blueprint(edge: Edge, routes: ConferenceRoutes) -> Blueprint:
    blueprint = Blueprint("conferences", __name__)
    conferences = "/2010-04-01/Accounts/<account_sid>/Conferences"

    @blueprint.get(f"{conferences}.json")
    async def list_conferences(account_sid: str) -> Response:
        return await edge.answer("conference.list", account_sid, routes.list)

    @blueprint.get(f"{conferences}/<sid>.json")
    async def fetch(account_sid: str, sid: str) -> Response:
        return await edge.answer("conference.fetch", account_sid, lambda asked: routes.fetch(asked, sid))

    @blueprint.post(f"{conferences}/<sid>.json")
    async def update(account_sid: str, sid: str) -> Response:
        return await edge.answer("conference.update", account_sid, lambda asked: routes.update(asked, sid))

    @blueprint.post(f"{conferences}/<sid>/Participants.json")
    async def add(account_sid: str, sid: str) -> Response:
        return await edge.answer("participant.create", account_sid, lambda asked: routes.add(asked, sid))

    @blueprint.get(f"{conferences}/<sid>/Participants.json")
    async def participants(account_sid: str, sid: str) -> Response:
        return await edge.answer(
            "participant.list", account_sid, lambda asked: routes.participants(asked, sid)
        )

    @blueprint.get(f"{conferences}/<sid>/Participants/<key>.json")
    async def participant(account_sid: str, sid: str, key: str) -> Response:
        return await edge.answer(
            "participant.fetch", account_sid, lambda asked: routes.participant(asked, sid, key)
        )

    @blueprint.post(f"{conferences}/<sid>/Participants/<key>.json")
    async def change(account_sid: str, sid: str, key: str) -> Response:
        return await edge.answer(
            "participant.update", account_sid, lambda asked: routes.change(asked, sid, key)
        )

    @blueprint.delete(f"{conferences}/<sid>/Participants/<key>.json")
    async def kick(account_sid: str, sid: str, key: str) -> Response:
        return await edge.answer(
            "participant.delete", account_sid, lambda asked: routes.kick(asked, sid, key)
        )

    return blueprint
