"""`<Dial>`: into a conference, to numbers, to an application (Twilio docs: voice/twiml/dial)."""

from collections.abc import Mapping, Sequence
from functools import partial

import trio
from attrs import define

from daemon.lab.twilio.voice.calls import CallCallback, CallStatus, Direction
from daemon.lab.twilio.voice.documents import Document
from daemon.lab.twilio.voice.exchange import RINGBACK, Exchange, Order
from daemon.lab.twilio.voice.ground import Ground
from daemon.lab.twilio.voice.legs import Bridge, Fetch, Leg, Program
from daemon.lab.twilio.voice.ordering import NUMBER, OTHER_ADDRESSES
from daemon.lab.twilio.voice.player import MediaPlayer
from daemon.lab.twilio.voice.room import LabelTakenError, Left, Member, RoomCallback, Sheet
from daemon.lab.twilio.voice.rooms import Rooms
from daemon.lab.twilio.voice.twiml import Verb


@define(eq=False)
class Dialing:
    ground: Ground
    exchange: Exchange
    rooms: Rooms
    player: MediaPlayer

    async def dial(self, leg: Leg, document: Document, verb: Verb) -> Program | None:
        conference = verb.first("Conference")
        if conference is not None:
            result = await self._enter(leg, document, conference, verb)
        else:
            result = await self._call(leg, document, verb)
        if result is None:
            return None
        if not verb.get("action"):
            return None
        return Fetch(url=document.link(verb.get("action")), method=verb.get("method", "POST"), extra=result)

    async def _enter(self, leg: Leg, document: Document, noun: Verb, verb: Verb) -> Mapping[str, str] | None:
        """Sit in a conference until something puts the leg out; None when it never came in."""
        self.ground.moments.tell("dial", leg.sid, leg.number, noun.text)
        room = self.rooms.open(noun.text, _room_callback(document, noun))
        member = self._member(leg, document, noun)
        try:
            self.rooms.seat(leg, room, member)
        except LabelTakenError:
            self.ground.complain(16025, document.url, "the label is in use", call_sid=leg.sid)
            return None
        if "timeLimit" in verb.attributes:
            self.ground.schedule.after(verb.number("timeLimit", 14_400), partial(self._time_out, leg, member))
        await leg.unseated.wait()
        return {"DialBridged": "true", "DialCallStatus": "answered"}

    def _time_out(self, leg: Leg, member: Member) -> None:
        if leg.member is member:
            self.rooms.leave(leg, Left.HUNG_UP)

    def _member(self, leg: Leg, document: Document, noun: Verb) -> Member:
        member = self.rooms.member(leg)
        member.label = noun.get("participantLabel") or None
        member.muted = noun.flag("muted", default=False)
        member.start_on_enter = noun.flag("startConferenceOnEnter", default=True)
        member.end_on_exit = noun.flag("endConferenceOnExit", default=False)
        if "waitUrl" in noun.attributes:
            url = noun.get("waitUrl")
            member.wait = Sheet(url=document.link(url) if url else "", method=noun.get("waitMethod", "POST"))
        return member

    async def _call(self, leg: Leg, document: Document, verb: Verb) -> Mapping[str, str]:
        """Ring everybody at once and talk to who answers first."""
        children = [
            self.exchange.dial(self._order(leg, document, verb, number, noun))
            for number, noun in _targets(verb)
            if self._exists(leg, number)
        ]
        leg.children += children
        for child in children:
            self.ground.moments.tell("dial", leg.sid, leg.number, child.number)
        leg.unbridged = trio.Event()
        try:
            winner = await self._first(leg, children)
            if winner is None:
                return _result(children[0]) if children else {"DialCallStatus": "failed"}
            for child in children:
                if child is not winner:
                    self.exchange.hang_up(child)
            await leg.unbridged.wait()
            self.exchange.let_go(winner)
            return _result(winner)
        finally:
            for child in children:
                self.exchange.let_go(child)

    def _exists(self, leg: Leg, number: str) -> bool:
        """Whether there is any such address; the debugger is told of one that is none."""
        address = number.partition("?")[0]
        known = self.ground.account.target(address) is not None or (
            NUMBER.fullmatch(address) is not None or address.startswith(OTHER_ADDRESSES)
        )
        if not known:
            self.ground.complain(13223, "", "Dial: Invalid phone number format", call_sid=leg.sid)
        return known

    async def _first(self, leg: Leg, children: Sequence[Leg]) -> Leg | None:
        """Who is connected first, while the caller hears it ring; None when all have failed.

        A whisper belongs to the ringing: who answered is connected when it is over.
        """
        winners: list[Leg] = []
        async with trio.open_nursery() as nursery:

            async def watch(child: Leg) -> None:
                await _either(child.ended, child.bridged_once)
                if child.bridged_once.is_set():
                    winners.append(child)
                    nursery.cancel_scope.cancel(reason="connected")

            async def give_up() -> None:
                for child in children:
                    await child.ended.wait()
                nursery.cancel_scope.cancel(reason="nobody answered")

            for child in children:
                nursery.start_soon(watch, child)
            nursery.start_soon(give_up)
            await self.player.sound(leg, RINGBACK, 0)
        return winners[0] if winners else None

    def _order(self, leg: Leg, document: Document, verb: Verb, number: str, noun: Verb) -> Order:
        whisper = noun.get("url")
        callback = noun.get("statusCallback")
        return Order(
            sender=verb.get("callerId") or leg.call.sender,
            recipient=number,
            program=Bridge(
                parent=leg,
                whisper=Fetch(url=document.link(whisper), method=noun.get("method", "POST"))
                if whisper
                else None,
            ),
            direction=Direction.OUTBOUND_DIAL,
            parent=leg,
            callback=CallCallback(
                url=document.link(callback),
                method=noun.get("statusCallbackMethod", "POST"),
                events=frozenset(noun.get("statusCallbackEvent", "completed").split()),
            )
            if callback
            else None,
            timeout_s=verb.number("timeout", 30),
            time_limit_s=verb.number("timeLimit", 14_400),
            queued=False,
        )


def _targets(verb: Verb) -> list[tuple[str, Verb]]:
    """Whom to call: the numbers and applications within, else the text."""
    found = []
    for noun in verb.children:
        sid = noun.first("ApplicationSid")
        text = noun.text if sid is None else sid.text
        query = "&".join(
            f"{child.get('name')}={child.get('value')}" for child in noun.children if child is not sid
        )
        address = text if noun.name == "Number" else f"app:{text}{'?' + query if query else ''}"
        found.append((address, noun))
    return found or [(verb.text, Verb("Number"))]


def _result(child: Leg) -> Mapping[str, str]:
    answered = child.answered.is_set()
    status = CallStatus.COMPLETED if answered else child.call.status
    fields = {
        "DialBridged": str(answered).lower(),
        "DialCallSid": child.sid,
        "DialCallStatus": status.value,
    }
    if answered:
        fields["DialCallDuration"] = str(child.call.duration_s)
    return fields


def _room_callback(document: Document, noun: Verb) -> RoomCallback:
    url = noun.get("statusCallback")
    return RoomCallback(
        url=document.link(url) if url else None,
        method=noun.get("statusCallbackMethod", "POST"),
        groups=frozenset(noun.get("statusCallbackEvent").split()),
    )


async def _either(first: trio.Event, second: trio.Event) -> None:
    """Wait for one of two."""
    async with trio.open_nursery() as nursery:

        async def wait(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel(reason="it came")

        nursery.start_soon(wait, first)
        nursery.start_soon(wait, second)
