"""What every part of the voice side stands on."""

from collections.abc import Awaitable, Callable
from math import inf
from urllib.parse import urlsplit

import trio
from attrs import define, field, frozen

from daemon.lab.faults import Fault, Faults
from daemon.lab.twilio.account import Account
from daemon.lab.twilio.books import Books, DebuggerEntry
from daemon.lab.twilio.clock import LabClock
from daemon.lab.twilio.courier import Courier
from daemon.lab.twilio.deliveries import Delivery
from daemon.lab.twilio.schedule import Schedule
from daemon.lab.twilio.voice.audible import Part, Signal, Sounds
from daemon.lab.twilio.voice.moments import Moments
from daemon.lab.twilio.webhooks import WebhookEngine


@frozen(kw_only=True)
class VoicePace:
    """How long the network takes, in seconds.

    Attributes:
        calls_per_second: how fast calls leave the account's queue (Twilio docs: voice/api/conference-participant-resource).
        dial_s: from the queue to the first ring.
        no_answer_extra_s: what Twilio adds to `Timeout`.
        amd_s: from the answer to the machine detection's result.
        recording_s: from a recording's end to its callback.
    """

    calls_per_second: float = 1.0
    dial_s: float = 0.1
    no_answer_extra_s: float = 5.0
    amd_s: float = 2.0
    recording_s: float = 0.5


@define(eq=False, kw_only=True)
class Ground:
    """The shared parts of the simulator, and the nursery in which everything on the telephone runs."""

    account: Account
    clock: LabClock
    books: Books
    faults: Faults
    schedule: Schedule
    courier: Courier
    engine: WebhookEngine
    pace: VoicePace
    moments: Moments = field(init=False)
    _nursery: trio.Nursery | None = field(default=None, init=False)
    _over: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.moments = Moments(self.books, self.clock)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the nursery. Runs until cancelled; calls then end without a word."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._over = True

    def spawn(self, work: Callable[[], Awaitable[object]], *, name: str) -> None:
        """Begin a task; what it raises ends the simulator. Nothing begins any more when that has ended.

        Raises:
            RuntimeError: the simulator has not been started.
        """
        if self._over:
            return
        if self._nursery is None:
            raise RuntimeError("the simulated Twilio does not run")
        self._nursery.start_soon(work, name=name)

    @property
    def now_s(self) -> float:
        return self.clock.elapsed_s()

    async def sleep(self, seconds: float) -> None:
        """Wait by the lab's clock; an infinite time waits for cancellation."""
        if seconds == inf:
            await trio.sleep_forever()
        await self.sleep_until(self.now_s + seconds)

    async def sleep_until(self, due_s: float) -> None:
        """Wait by the lab's clock, so that skipped time ends it too."""
        due = trio.Event()
        self.schedule.at(due_s, due.set)
        await due.wait()

    def strikes(self, name: str, *, text: str = "") -> Fault | None:
        """Whether a fault strikes here; one with a detail `on` strikes only where `text` contains it."""
        aimed = next((fault for fault in self.faults.active if fault.name == name), None)
        if aimed is None or str(aimed.details.get("on", "")) not in text:
            return None
        return self.faults.strikes(name)

    def strikes_s(self, name: str, default_s: float, *, text: str = "") -> float | None:
        """The detail `seconds` of a fault that strikes here."""
        fault = self.strikes(name, text=text)
        return None if fault is None else float(fault.details.get("seconds", default_s))

    def sounds(self, call_sid: str, part: Part) -> Sounds:
        return self.books.audible.sounds(Signal(call_sid, part))

    def call_back(self, url: str, method: str, fields: dict[str, str], *, family: str, key: str) -> None:
        """Send a status callback. Those of one key go out in their order, unless a fault has it otherwise."""
        if not is_url(url):
            self.complain(11100, url, "not a URL", call_sid=fields.get("CallSid", ""))
            return
        delivery = Delivery(kind=family, url=url, method=method, params=list(fields.items()), lane=key)
        self.courier.send(delivery, family=family, key=key)

    def complain(self, code: int, url: str, sentence: str, *, call_sid: str) -> None:
        """Write into Twilio's debugger."""
        self.books.debugger.append(
            DebuggerEntry(at=self.clock.now(), code=code, url=url, sentence=sentence, call_sid=call_sid)
        )
        self.books.changed()


def is_url(text: str) -> bool:
    """Whether a request can be made to it at all."""
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
