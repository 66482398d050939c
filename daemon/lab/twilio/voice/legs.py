"""A leg: a call while it lives, with what stands at its other end and what it is told to do."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import trio
from attrs import Factory, define, field, frozen

from daemon.lab.twilio.voice.calls import Call
from daemon.lab.twilio.voice.room import Left, Member, Room
from daemon.lab.twilio.voice.script import Script

if TYPE_CHECKING:
    from daemon.lab.twilio.voice.streams import MediaStream

KEYS: Final = frozenset("0123456789*#")


@frozen(kw_only=True)
class Fetch:
    """Do what the document at a URL says."""

    url: str
    method: str = "POST"
    extra: Mapping[str, str] = Factory(dict)


@frozen
class Inline:
    """Do what this document says."""

    twiml: str


@frozen(kw_only=True)
class TakeSeat:
    """Go into a conference over REST, as this member, and end with it."""

    room: Room
    member: Member


@frozen(kw_only=True)
class Bridge:
    """Be connected to the leg that dialled, after what `whisper` says was done."""

    parent: "Leg"
    whisper: Fetch | None = None


Program = Fetch | Inline | TakeSeat | Bridge


@define(eq=False, kw_only=True)
class Leg:
    """One call's leg.

    Attributes:
        number: what stands at the other end: a telephone's number, `app:AP…`.
        script: the person there; None where a second leg stands there instead.
        far: the second leg of a call to an application or to one of our own numbers, and the first one seen from it.
        inner: this is that second leg: it has no telephone, its document speaks to the first leg.
        bridged: the leg to which a `<Dial>` connected this one.
        room, member: the conference this leg is in.
        left: why it went out of the last one.
        program: what it does when it is answered, or at once when it is inbound.
        orders: what it is to do instead; the step under way has been cancelled.
        born: the ordinal of the last event before this leg was made.
        fallback: asked when a document fails.
        on_key, on_speech: what a `<Gather>` or `<Record>` listens with; speech is None when it begins, and then the words.
    """

    call: Call
    number: str
    program: Program | None
    script: Script | None = None
    far: "Leg | None" = None
    inner: bool = False
    born: int = 0
    fallback: Fetch | None = None
    time_limit_s: float = 14_400.0
    bridged: "Leg | None" = None
    children: list["Leg"] = field(factory=list)
    room: Room | None = None
    member: Member | None = None
    left: Left | None = None
    streams: list["MediaStream"] = field(factory=list)
    orders: Program | None = None
    on_key: Callable[[str], None] | None = None
    on_speech: Callable[[str | None], None] | None = None
    _lives: set[trio.CancelScope] = field(factory=set, init=False)
    step: trio.CancelScope | None = None
    answered: trio.Event = field(factory=trio.Event)
    ended: trio.Event = field(factory=trio.Event)
    unseated: trio.Event = field(factory=trio.Event)
    bridged_once: trio.Event = field(factory=trio.Event)
    unbridged: trio.Event = field(factory=trio.Event)

    @property
    def sid(self) -> str:
        return self.call.sid

    @property
    def live(self) -> bool:
        return self.answered.is_set() and not self.call.over

    @contextmanager
    def life(self) -> Iterator[None]:
        """What runs inside is cancelled when the call ends."""
        with trio.CancelScope() as scope:
            self._lives.add(scope)
            if self.ended.is_set():
                scope.cancel(reason="call over")
            try:
                yield
            finally:
                self._lives.discard(scope)

    def die(self, reason: str) -> None:
        for scope in list(self._lives):
            scope.cancel(reason=reason)
