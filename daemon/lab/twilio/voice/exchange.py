"""The telephone exchange: legs are dialled, ring, are answered and end. Everything here happens at once; nothing waits."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from attrs import define, field, frozen

from daemon.lab.twilio.account import Application, IncomingNumber
from daemon.lab.twilio.voice.audible import Clip, Kind, Part
from daemon.lab.twilio.voice.calls import EVENT_OF, OVER, Call, CallCallback, CallStatus, Direction
from daemon.lab.twilio.voice.detection import Detection, Detector
from daemon.lab.twilio.voice.ground import Ground
from daemon.lab.twilio.voice.legs import KEYS, Bridge, Fetch, Leg, Program
from daemon.lab.twilio.voice.mulaw import tone
from daemon.lab.twilio.voice.room import Left, MemberStatus
from daemon.lab.twilio.voice.script import Answers, Lines, Script
from daemon.lab.twilio.voice.wiring import Wiring
from daemon.lab.twilio.whatsapp.messages import rfc2822

if TYPE_CHECKING:
    from daemon.lab.twilio.voice.rooms import Rooms

RINGBACK: Final = Clip(Kind.TONE, "ringback", tone(425, 1.0))


@frozen(kw_only=True)
class Order:
    """A call to be made.

    Attributes:
        program: what the leg does when it is answered; None where that is said later.
        timeout_s: how long it may ring, before what Twilio adds.
        queued: waits its turn in the account's queue, as what is ordered over REST does.
    """

    sender: str
    recipient: str
    program: Program | None
    direction: Direction = Direction.OUTBOUND_API
    parent: Leg | None = None
    callback: CallCallback | None = None
    fallback: Fetch | None = None
    timeout_s: float = 60.0
    time_limit_s: float = 14_400.0
    detection: Detection | None = None
    queued: bool = True


@define(eq=False, kw_only=True)
class Exchange:
    """All legs there are and were, by Call SID.

    Attributes:
        perform: what a leg does when it is answered, until it is over; given by the interpreter.
        attend: what the person at a leg's other end does.
        rooms: where legs may sit; given by whoever puts the voice side together.
    """

    ground: Ground
    lines: Lines
    legs: dict[str, Leg] = field(factory=dict, init=False)
    wiring: Wiring = field(init=False)
    detector: Detector = field(init=False)
    rooms: "Rooms" = field(init=False)
    perform: Callable[[Leg], Awaitable[None]] = field(init=False)
    attend: Callable[[Leg], Awaitable[None]] = field(init=False)
    _ordinals: Iterator[int] = field(factory=count, init=False)
    _free_s: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self.wiring = Wiring(self.ground.books.audible, self.legs, lambda: self.ground.now_s)
        self.detector = Detector(self.ground)

    def dial(self, order: Order) -> Leg:
        """Make a call; it begins when its turn in the queue has come."""
        now_s = self.ground.now_s
        turn_s = max(now_s, self._free_s) if order.queued else now_s
        if order.queued:
            self._free_s = turn_s + 1 / self.ground.pace.calls_per_second
        lag_s = self.ground.strikes_s("call_list_lags", 5.0, text=order.recipient)
        address, _, query = order.recipient.partition("?")
        call = Call(
            sender=order.sender,
            recipient=order.recipient,
            direction=order.direction,
            created_at=self.ground.clock.now(),
            ordinal=next(self._ordinals),
            parent_sid=order.parent.sid if order.parent is not None else None,
            callback=order.callback,
            queue_time_ms=round((turn_s - now_s) * 1000),
            listed_from_s=now_s + lag_s if lag_s is not None else 0.0,
        )
        leg = Leg(
            call=call,
            number=address,
            program=order.program,
            born=self.ground.moments.last,
            fallback=order.fallback,
            time_limit_s=order.time_limit_s,
        )
        self.legs[leg.sid] = leg
        custom = dict(parse_qsl(query, keep_blank_values=True))
        self.ground.schedule.at(turn_s, partial(self._initiate, leg, order, custom))
        return leg

    def ring_in(self, sender: str, number: IncomingNumber, script: Script) -> Leg:
        """Somebody calls one of our numbers."""
        callback = (
            CallCallback(url=number.status_callback, method=number.status_callback_method)
            if number.status_callback
            else None
        )
        leg = self._inner_leg(sender, number, {}, callback)
        leg.inner = False
        leg.script = script
        self._tell(leg, "ringing")
        self.ground.spawn(partial(self.attend, leg), name=f"caller {sender}")
        self.ground.spawn(partial(self.perform, leg), name=f"leg {leg.sid}")
        return leg

    def answer(self, leg: Leg) -> None:
        """Somebody, or something, picks up. Nothing happens on a leg that is past that."""
        if leg.call.over or leg.answered.is_set():
            return
        self.ground.sounds(leg.sid, Part.PLAYER).cut(self.ground.now_s)
        leg.call.answered_s = self.ground.now_s
        leg.call.started_at = self.ground.clock.now()
        leg.answered.set()
        self._enter(leg, CallStatus.IN_PROGRESS)
        self.ground.schedule.after(leg.time_limit_s, partial(self.end, leg, CallStatus.COMPLETED))
        if (drop_s := self.ground.strikes_s("call_drops", 5.0, text=leg.number)) is not None:
            self.ground.schedule.after(drop_s, partial(self.end, leg, CallStatus.COMPLETED))
        self._tell(leg, "answered")
        if leg.inner:
            if leg.far is not None:
                self.answer(leg.far)
        elif leg.call.direction is not Direction.INBOUND:
            self.ground.spawn(partial(self.perform, leg), name=f"leg {leg.sid}")
        self.wiring.renew(leg)

    def end(
        self, leg: Leg, status: CallStatus, *, left: Left = Left.HUNG_UP, sip_code: int | None = None
    ) -> None:
        """The call is over: it goes out of its room, and what hangs on it ends. A second end changes nothing."""
        if leg.call.over:
            return
        now_s = self.ground.now_s
        leg.call.ended_s = now_s
        leg.call.ended_at = self.ground.clock.now()
        leg.call.sip_code = sip_code
        around = [other for other in (leg.bridged, leg.far) if other is not None]
        self._enter(leg, status)
        self._tell(leg, "ended", status.value)
        self.ground.books.audible.close(leg.sid, now_s)
        self.rooms.leave(leg, left if leg.answered.is_set() else Left.ADD_FAILED)
        self.unbridge(leg)
        leg.ended.set()
        leg.die(f"call {status.value}")
        for child in leg.children:
            self.let_go(child)
        if leg.far is not None:
            self._end_far(leg.far, status)
        self.wiring.renew(*around)

    def hang_up(self, leg: Leg) -> None:
        """End a call in the way that fits how far it has come."""
        self.end(leg, CallStatus.COMPLETED if leg.answered.is_set() else CallStatus.CANCELED)

    def let_go(self, child: Leg) -> None:
        """The `<Dial>` that made a leg is over, and so is the leg, unless REST has given it something else to do."""
        if isinstance(child.program, Bridge):
            self.hang_up(child)

    def _end_far(self, leg: Leg, status: CallStatus) -> None:
        """End the other leg of a pair; an application that did not answer has refused."""
        refused = leg.far is not None and leg.far.inner and not leg.answered.is_set()
        if refused and status is not CallStatus.CANCELED:
            self.end(leg, CallStatus.BUSY if status is CallStatus.BUSY else CallStatus.FAILED)
        else:
            self.hang_up(leg)

    def redirect(self, leg: Leg, program: Program) -> None:
        """Have a leg drop what it does and do something else."""
        self.rooms.leave(leg, Left.UPDATED)
        self.unbridge(leg)
        leg.orders = leg.program = program
        if leg.step is not None:
            leg.step.cancel(reason="new orders")

    def bridge(self, leg: Leg, child: Leg) -> None:
        """Connect two legs with each other."""
        leg.bridged, child.bridged = child, leg
        child.bridged_once.set()
        self._tell(leg, "bridged", child.number)
        self.wiring.renew(leg, child)

    def unbridge(self, leg: Leg) -> None:
        other = leg.bridged
        if other is None:
            return
        leg.bridged = other.bridged = None
        leg.unbridged.set()
        other.unbridged.set()
        self.wiring.renew(leg, other)

    def press(self, leg: Leg, key: str) -> None:
        """The person presses a key: who listens on this leg gets it, and a media stream of the leg tells it."""
        if key not in KEYS or leg.call.over:
            return
        self._tell(leg, "key", key)
        if leg.on_key is not None:
            leg.on_key(key)
        for stream in leg.streams:
            stream.press(key)

    def speak(self, leg: Leg, clip: Clip) -> None:
        """The person says something; it sounds from now on."""
        if leg.call.over:
            return
        self._tell(leg, "speech", clip.label)
        self.ground.sounds(leg.sid, Part.MOUTH).play(clip, self.ground.now_s)
        if leg.on_speech is not None:
            leg.on_speech(None)
            self.ground.schedule.after(clip.length_s, partial(leg.on_speech, clip.label))

    def clear(self) -> None:
        """Break off every call; nobody is told, but a stream says `stop`."""
        for leg in self.legs.values():
            leg.ended.set()
            leg.die("reset")
        self.legs.clear()
        self.lines.clear()
        self._free_s = 0.0

    def _initiate(self, leg: Leg, order: Order, custom: Mapping[str, str]) -> None:
        if leg.call.over:
            return
        self._enter(leg, CallStatus.INITIATED)
        self._tell(leg, "dialing")
        self.ground.schedule.after(self.ground.pace.dial_s, partial(self._reach, leg, order, custom))

    def _reach(self, leg: Leg, order: Order, custom: Mapping[str, str]) -> None:
        """The network has found the other end, or not."""
        if leg.call.over:
            return
        if fault := self.ground.strikes("call_fails", text=leg.number):
            self.end(leg, CallStatus.FAILED, sip_code=int(fault.details.get("code", 503)))
            return
        self.ground.schedule.after(
            order.timeout_s + self.ground.pace.no_answer_extra_s, partial(self._give_up, leg)
        )
        if order.detection is not None:
            self.detector.begin(leg, order.detection)
        target = self.ground.account.target(leg.number)
        if target is not None:
            self._reach_inside(leg, target, custom)
        else:
            self._reach_outside(leg)

    def _reach_outside(self, leg: Leg) -> None:
        """A telephone somewhere; who answers there stands in its script."""
        leg.script = self.lines.next(leg.number)
        if leg.script.answers is Answers.UNREACHABLE:
            self.end(leg, CallStatus.FAILED, sip_code=404)
            return
        if leg.script.answers is not Answers.BUSY:
            self._ring(leg)
        self.ground.spawn(partial(self.attend, leg), name=f"person {leg.sid}")

    def _ring(self, leg: Leg) -> None:
        self._enter(leg, CallStatus.RINGING)
        self._tell(leg, "ringing")
        self.ground.sounds(leg.sid, Part.PLAYER).play(RINGBACK, self.ground.now_s, loops=True)
        if leg.member is not None:
            leg.member.status = MemberStatus.RINGING
            if self.ground.strikes("participant_joins_at_ring"):
                self.rooms.seat_early(leg)
            self.wiring.renew(*self.rooms.legs_in(leg))

    def _reach_inside(
        self, leg: Leg, target: Application | IncomingNumber, custom: Mapping[str, str]
    ) -> None:
        """An application or one of our own numbers: its document runs on a second leg."""
        self._enter(leg, CallStatus.RINGING)
        self._tell(leg, "ringing")
        if leg.member is not None:
            leg.member.status = MemberStatus.RINGING
        inner = self._inner_leg(leg.call.sender, target, custom, None)
        inner.call.recipient = leg.number
        inner.call.parent_sid = leg.sid
        inner.far, leg.far = leg, inner
        if self.ground.strikes("app_leg_same_sid"):
            inner.call.shown_sid = leg.sid
        self.ground.spawn(partial(self.perform, inner), name=f"leg {inner.sid}")

    def _inner_leg(
        self,
        sender: str,
        target: Application | IncomingNumber,
        custom: Mapping[str, str],
        callback: CallCallback | None,
    ) -> Leg:
        """A leg that one of the account's Voice URLs answers."""
        own = target.phone_number if isinstance(target, IncomingNumber) else f"app:{target.sid}"
        call = Call(
            sender=sender,
            recipient=own,
            direction=Direction.INBOUND,
            created_at=self.ground.clock.now(),
            ordinal=next(self._ordinals),
            phone_number_sid=target.sid if isinstance(target, IncomingNumber) else None,
            callback=callback,
            custom=custom,
            status=CallStatus.RINGING,
        )
        program = Fetch(url=target.voice_url, method=target.voice_method) if target.voice_url else None
        fallback = (
            Fetch(url=target.voice_fallback_url, method=target.voice_fallback_method)
            if target.voice_fallback_url
            else None
        )
        leg = Leg(
            call=call,
            number=sender,
            program=program,
            born=self.ground.moments.last,
            fallback=fallback,
            inner=True,
        )
        self.legs[leg.sid] = leg
        return leg

    def _give_up(self, leg: Leg) -> None:
        if not leg.answered.is_set():
            self.end(leg, CallStatus.NO_ANSWER, sip_code=487)

    def _enter(self, leg: Leg, status: CallStatus) -> None:
        """Go on to a status and tell who wants to know."""
        call = leg.call
        call.enter(status, self.ground.clock.now())
        callback = call.callback
        if callback is not None and EVENT_OF[status] in callback.events:
            fields = call.callback_fields(self.ground.account.sid)
            fields["Timestamp"] = rfc2822(self.ground.clock.now()) or ""
            call.sequence += 1
            self.ground.call_back(
                callback.url, callback.method, fields, family="call_status", key=f"call {call.sid}"
            )
        if status in OVER or status is CallStatus.IN_PROGRESS:
            self.ground.books.changed()

    def _tell(self, leg: Leg, name: str, detail: str = "") -> None:
        self.ground.moments.tell(name, leg.sid, leg.number, detail)
