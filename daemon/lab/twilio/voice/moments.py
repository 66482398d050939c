"""The course of all calls as events, and waiting for one of them."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Final

import trio
from attrs import define, field, frozen

from daemon.lab.twilio.books import Books, VoiceEvent
from daemon.lab.twilio.clock import LabClock

# Every event there is, with what its detail says.
MOMENTS: Final = {
    "dialing": "the leg has left the queue",
    "ringing": "the telephone rings",
    "answered": "it was picked up",
    "ended": "the call is over; its status",
    "document": "a document was asked for; its URL",
    "say": "Twilio begins to say something; the text",
    "play": "Twilio begins to play something; the URL",
    "gather": "digits or speech are waited for",
    "record": "the beep has sounded and the recording begins",
    "recorded": "a recording was made; its SID",
    "operator_voice": "the leg hears a voice of Twilio's own; what it says",
    "key": "the person pressed a key; which",
    "speech": "the person begins to speak; the words",
    "dial": "Twilio dials for this leg; whom",
    "bridged": "the leg was connected to the one that was dialled",
    "joined": "the leg came into a conference; its name",
    "waiting": "the leg hears the conference's waiting music",
    "started": "the leg's conference has started; its name",
    "held": "the leg was put on hold",
    "unheld": "the leg was taken off hold",
    "announced": "an announcement to the leg has ended",
    "left": "the leg went out of its conference; why",
    "stream": "a media stream has started; its SID",
    "stream_refused": "a media stream's handshake failed; why",
    "stream_closed": "the other side ended the media stream; the close code",
    "stream_dropped": "the media stream's connection broke",
    "mark": "a mark was played and told; its name",
    "cleared": "the stream's buffer was emptied",
    "agent_speaks": "a simulated agent begins to be heard, on nobody's leg; the words",
    "agent_said": "the same when it has been heard to the end",
}
ANY: Final = "*"


@frozen
class Wish:
    """A moment to wait for: a name, something its detail contains, and on whose leg."""

    name: str
    part: str = ""
    number: str | None = None

    def fits(self, event: VoiceEvent, own_sid: str) -> bool:
        if self.name != event.name or self.part not in event.detail.casefold():
            return False
        return event.call_sid == own_sid if self.number is None else self.number in {event.number, ANY}


def read_wish(text: str) -> Wish:
    """`name`, `name:part of its detail`, each with `@number` behind for another's leg; `@*` is anybody's.

    Raises:
        ValueError: there is no moment of that name.
    """
    rest, at, number = text.partition("@")
    name, _, part = rest.partition(":")
    if name not in MOMENTS:
        raise ValueError(f"no moment {name!r}; there are: {', '.join(MOMENTS)}")
    return Wish(name, part.casefold(), number if at else None)


@define(eq=False)
class Moments:
    """Writes events into the books and wakes who waits for them."""

    books: Books
    clock: LabClock
    _ordinals: Iterator[int] = field(factory=lambda: count(1), init=False)
    _last: int = field(default=0, init=False)
    _waiting: dict[Callable[[VoiceEvent], bool], trio.Event] = field(factory=dict, init=False)

    @property
    def last(self) -> int:
        """The ordinal of the newest event, 0 before the first."""
        return self._last

    def tell(self, name: str, call_sid: str, number: str, detail: str = "") -> None:
        self._last = next(self._ordinals)
        event = VoiceEvent(
            ordinal=self._last,
            at=self.clock.now(),
            at_s=self.clock.elapsed_s(),
            name=name,
            call_sid=call_sid,
            number=number,
            detail=detail,
        )
        self.books.voice.append(event)
        for fits, woken in list(self._waiting.items()):
            if fits(event):
                woken.set()
        self.books.changed()

    async def wait(self, wish: Wish, own_sid: str, *, after: int) -> int:
        """Wait for the first fitting event whose ordinal is above `after`; gives its ordinal."""
        while (found := self._find(wish, own_sid, after)) is None:
            woken = trio.Event()

            def fits(event: VoiceEvent) -> bool:
                return wish.fits(event, own_sid)

            self._waiting[fits] = woken
            try:
                await woken.wait()
            finally:
                del self._waiting[fits]
        return found

    def _find(self, wish: Wish, own_sid: str, after: int) -> int | None:
        found = None
        for event in reversed(self.books.voice):
            if event.ordinal <= after:
                break
            if wish.fits(event, own_sid):
                found = event.ordinal
        return found
