"""Which signals reach whom, as it follows from where the legs are; and the record of it."""

from collections.abc import Callable, Mapping

from attrs import define

from daemon.lab.twilio.voice.audible import Audible, Part, Signal
from daemon.lab.twilio.voice.legs import Leg
from daemon.lab.twilio.voice.room import Member, MemberStatus

Legs = Mapping[str, Leg]
_SILENCE: frozenset[Signal] = frozenset()


def incoming(leg: Leg, legs: Legs, seen: frozenset[Leg] = frozenset()) -> frozenset[Signal]:
    """What comes in from a leg's other end."""
    if leg.far is None:
        return frozenset({Signal(leg.sid, Part.MOUTH)})
    return outgoing(leg.far, legs, seen)


def outgoing(leg: Leg, legs: Legs, seen: frozenset[Leg] = frozenset()) -> frozenset[Signal]:
    """What is sent out to a leg's other end."""
    if leg in seen:
        return _SILENCE
    seen |= {leg}
    player = frozenset({Signal(leg.sid, Part.PLAYER)})
    if leg.member is not None and leg.room is not None:
        if leg.member.hold or not leg.room.started:
            return player
        others = [member for member in leg.room.members.values() if member is not leg.member]
        announced = frozenset({Signal(leg.sid, Part.ANNOUNCEMENT)})
        return announced.union(*(_from_member(member, legs, seen) for member in others))
    if leg.bridged is not None:
        return incoming(leg.bridged, legs, seen)
    if any(stream.order.both_ways for stream in leg.streams):
        return player | {Signal(leg.sid, Part.STREAM)}
    return player


def _from_member(member: Member, legs: Legs, seen: frozenset[Leg]) -> frozenset[Signal]:
    """What somebody in a room gives to the others: nothing while muted or on hold."""
    leg = legs.get(member.call_sid)
    if leg is None or member.muted or member.hold:
        return _SILENCE
    if member.connected:
        return incoming(leg, legs, seen)
    if member.early_media and member.status is MemberStatus.RINGING:
        return frozenset({Signal(leg.sid, Part.PLAYER)})
    return _SILENCE


def circle(leg: Leg, legs: Legs) -> set[Leg]:
    """All legs whose hearing may depend on where this one is."""
    found: set[Leg] = set()
    rest = [leg]
    while rest:
        one = rest.pop()
        if one in found:
            continue
        found.add(one)
        rest += [other for other in (one.far, one.bridged) if other is not None]
        if one.room is not None:
            rest += [legs[sid] for sid in one.room.members if sid in legs]
    return found


@define(eq=False)
class Wiring:
    """Keeps the record of who is connected to what."""

    audible: Audible
    legs: Legs
    now_s: Callable[[], float]

    def renew(self, *around: Leg) -> None:
        """Something about these legs is different: write down what everybody around them hears now."""
        concerned = set().union(*(circle(leg, self.legs) for leg in around))
        for leg in concerned:
            if leg.live:
                hears = incoming(leg, self.legs) if leg.inner else outgoing(leg, self.legs)
                self.audible.connect(leg.sid, hears, self.now_s())
