"""What the simulator saw and did, for tests, for the control routes and for whoever waits on it."""

from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import trio
from attrs import define, field, frozen

from daemon.lab.twilio.deliveries import Delivery
from daemon.lab.twilio.voice.audible import Audible

BOOK_MAX: Final = 100_000


@define(eq=False, kw_only=True)
class RestCall:
    """One request to the REST side.

    Attributes:
        status: what was answered; None while it is not, and for good when the connection was dropped.
        fault: the fault that struck.
    """

    at: datetime
    operation: str
    method: str
    path: str
    status: int | None = None
    code: int | None = None
    fault: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "at": self.at.isoformat(),
            "operation": self.operation,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "code": self.code,
            "fault": self.fault,
        }


@frozen(kw_only=True)
class Typing:
    """A typing indicator that was shown to the person who wrote `message_sid`."""

    at: datetime
    message_sid: str
    person: str

    def as_json(self) -> dict[str, Any]:
        return {"at": self.at.isoformat(), "message_sid": self.message_sid, "person": self.person}


@frozen(kw_only=True)
class DebuggerEntry:
    """What Twilio's debugger would show: something about a webhook is wrong."""

    at: datetime
    code: int
    url: str
    sentence: str
    message_sid: str | None = None
    call_sid: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "at": self.at.isoformat(),
            "code": self.code,
            "url": self.url,
            "sentence": self.sentence,
            "message_sid": self.message_sid,
            "call_sid": self.call_sid,
        }


@frozen(kw_only=True)
class VoiceEvent:
    """Something that happened on a leg of a call; what there is to happen stands in `docs/lab.md`.

    Attributes:
        ordinal: counts all of them.
        at_s: `LabClock.elapsed_s`, the time of the audible model.
        number: the other end of the leg: a telephone, `app:…`.
        detail: what was said, pressed, played, asked for; empty for an event that says it all.
    """

    ordinal: int
    at: datetime
    at_s: float
    name: str
    call_sid: str
    number: str
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "ordinal": self.ordinal,
            "at": self.at.isoformat(),
            "at_s": round(self.at_s, 3),
            "name": self.name,
            "call_sid": self.call_sid,
            "number": self.number,
            "detail": self.detail,
        }


def _book() -> deque[Any]:
    return deque(maxlen=BOOK_MAX)


@define(eq=False)
class Books:
    """Five logs, oldest first; each keeps its last `BOOK_MAX` entries. Messages are in the `World`.

    Attributes:
        audible: who heard what on the telephone.
    """

    webhooks: deque[Delivery] = field(factory=_book)
    rest_calls: deque[RestCall] = field(factory=_book)
    typing: deque[Typing] = field(factory=_book)
    debugger: deque[DebuggerEntry] = field(factory=_book)
    voice: deque[VoiceEvent] = field(factory=_book)
    audible: Audible = field(factory=Audible)
    _changes: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)

    def changed(self) -> None:
        """Whoever writes into the books or moves a message calls this, so that those who wait look again."""
        self._changes.unpark_all()

    async def wait_until(self, predicate: Callable[[], bool]) -> None:
        """Wait until something in the simulator is so. Put a deadline around it."""
        while not predicate():
            await self._changes.park()

    def clear(self) -> None:
        for book in (self.webhooks, self.rest_calls, self.typing, self.debugger, self.voice):
            book.clear()
        self.audible.clear()
        self.changed()
