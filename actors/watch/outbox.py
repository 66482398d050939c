"""The outbox: sends what is due, in order for each person, and settles what is unknown.

A message is marked as being sent before the request leaves, so after a crash or a lost answer the store
shows that it may exist. Such a message is looked up at Twilio before anything else happens in its lane:
found, its SID is adopted; surely not there, it is sent again. Twilio has no idempotency key, so this is the
only way to neither lose nor double. What remains is one window: a message that Twilio accepted and does not
list within `certain_after_s` would be sent twice.
"""

import contextvars
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

import structlog
import trio
from attrs import define, field, frozen

from actors.alerts import Alerts
from actors.conversation.permission import goes_as_template
from actors.messages import Accepted, NotSent, Outgoing, Refused, SentMessage, Unknown
from actors.metrics import Metrics
from actors.ports import (
    Lane,
    Messaging,
    OutboxStore,
    StoreUnavailableError,
    VendorRefusedError,
    VendorUnavailableError,
    WallClock,
)
from actors.runtime.backoff import doubling_s

_log = structlog.get_logger(__name__)

CLOCK_SKEW = timedelta(seconds=60)
"""How far Twilio's clock may be behind ours when its messages are compared with our attempts."""

CREDENTIAL_CODES = frozenset({401, 403, 20003})
RATE_CODES = frozenset({429, 20429})


@frozen(kw_only=True)
class OutboxRules:
    """Limits of sending.

    Attributes:
        messages_per_second: for the one sender; WhatsApp queues what is above it and drops it hours later.
        concurrency: messages to different people under way at once.
        sweep_every_s: how often the store is searched for what no nudge told of.
        look_up_after_s: age at which a message of unknown outcome is looked up for the first time.
        certain_after_s: age from which a message that is not listed counts as never accepted.
        retry_first_s, retry_max_s: pause before a message that did not go is tried again, doubling.
        give_up_after_s: age at which a message that never went is given up.
    """

    messages_per_second: float
    concurrency: int
    sweep_every_s: float
    look_up_after_s: float
    certain_after_s: float
    retry_first_s: float
    retry_max_s: float
    give_up_after_s: float


@define
class Pace:
    """Even spacing of what must not exceed a rate, with pauses on demand."""

    per_second: float
    _next_at: float = field(default=0.0, init=False)
    _paused_until: float = field(default=0.0, init=False)

    async def wait(self) -> None:
        """Wait for the next slot. A cancelled wait has used its slot up."""
        while True:
            slot = max(trio.current_time(), self._next_at, self._paused_until)
            self._next_at = slot + 1 / self.per_second
            await trio.sleep_until(slot)
            if slot >= self._paused_until:
                return

    def pause(self, seconds: float) -> None:
        """No slot before that many seconds have passed, for those who wait already too."""
        self._paused_until = max(self._paused_until, trio.current_time() + seconds)


class Outbox:
    """The permanent actor that sends. `due` may be called from any task."""

    def __init__(
        self,
        *,
        store: OutboxStore,
        messaging: Messaging,
        rules: OutboxRules,
        clock: WallClock,
        alerts: Alerts,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._messaging = messaging
        self._rules = rules
        self._clock = clock
        self._alerts = alerts
        self._metrics = metrics
        self._pace = Pace(rules.messages_per_second)
        self._limit = trio.CapacityLimiter(rules.concurrency)
        self._active: set[int] = set()
        self._due_again: set[int] = set()
        self._nursery: trio.Nursery | None = None
        self._lot = trio.lowlevel.ParkingLot()

    def due(self, person_id: int) -> None:
        """This person has something to send. A hint: the sweep finds it as well, only later."""
        if person_id in self._active:
            self._due_again.add(person_id)
        elif self._nursery is not None:
            self._active.add(person_id)
            # In an empty context: a request that told of a message must not be kept alive by its sending.
            contextvars.Context().run(
                partial(self._nursery.start_soon, self._serve, person_id, name=f"outbox lane {person_id}")
            )

    async def until_idle(self) -> None:
        """Wait until nobody's messages are being sent."""
        while self._active:
            await self._lot.park()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send until cancelled. What is under way then is settled by the next run."""
        self._active.clear()
        self._due_again.clear()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await self._sweep_forever()
        finally:
            self._nursery = None

    async def _sweep_forever(self) -> None:
        while True:
            try:
                await self._sweep()
                self._alerts.settle("outbox_store")
            except StoreUnavailableError as error:
                self._alerts.raise_alert("outbox_store", f"the outbox cannot reach the database: {error}")
            await trio.sleep(self._rules.sweep_every_s)

    async def _sweep(self) -> None:
        lanes = await self._store.lanes(limit=10 * self._rules.concurrency, exclude=self._active)
        now = self._clock.now()
        for lane in lanes:
            if self._is_ripe(lane, now):
                self.due(lane.person_id)

    def _is_ripe(self, lane: Lane, now: datetime) -> bool:
        if lane.in_doubt_since is not None:
            return now >= lane.in_doubt_since + timedelta(seconds=self._rules.look_up_after_s)
        return now >= lane.not_before

    async def _serve(self, person_id: int) -> None:
        """Send one person's messages until nothing more may go now."""
        structlog.contextvars.bind_contextvars(person_id=person_id)
        try:
            async with self._limit:
                while await self._send_next(person_id) or person_id in self._due_again:
                    self._due_again.discard(person_id)
        except StoreUnavailableError as error:
            # What was under way counts as unknown; the sweep comes back to it.
            _log.warning("outbox lane stopped", detail=str(error))
        finally:
            self._active.discard(person_id)
            self._due_again.discard(person_id)
            self._lot.unpark_all()

    async def _send_next(self, person_id: int) -> bool:
        """Send or settle the head of a lane; True when there is more to do at once."""
        # First the slot, then the claim: from the claim on the message may have been sent, and its age counts.
        await self._pace.wait()
        message = await self._store.claim(person_id, now=self._clock.now())
        if message is not None:
            structlog.contextvars.bind_contextvars(conversation_id=message.conversation_id)
            return await self._send(message)
        doubtful = await self._store.in_doubt(person_id)
        if doubtful is None or doubtful.sending_since is None:
            return False
        age = self._clock.now() - doubtful.sending_since
        if age < timedelta(seconds=self._rules.look_up_after_s):
            return False
        return await self._settle(doubtful, age)

    async def _send(self, message: Outgoing) -> bool:
        as_template = goes_as_template(message, self._clock.now())
        result = await self._messaging.send(message, as_template=as_template)
        now = self._clock.now()
        match result:
            case Accepted(sid=sid):
                self._metrics.message_sent("accepted", None)
                self._alerts.settle("twilio_credentials")
                _log.info("message accepted", message_id=message.id, twilio_sid=sid, purpose=message.purpose)
                return await self._store.accepted(message.id, sid=sid, now=now)
            case Refused(code=code, detail=detail):
                self._metrics.message_sent("refused", code)
                self._alerts.raise_alert(f"refused_{code}", f"Twilio refused a message: {code} {detail}")
                return await self._store.refused(message.id, code=code, detail=detail, now=now)
            case NotSent():
                return await self._not_sent(message, result, now)
            case Unknown(detail=detail):
                self._metrics.message_sent("unknown", None)
                _log.warning("outcome of a send is unknown", message_id=message.id, detail=detail)
                return False

    async def _not_sent(self, message: Outgoing, result: NotSent, now: datetime) -> bool:
        self._metrics.message_sent("not_sent", result.code)
        _log.warning("message not sent", message_id=message.id, code=result.code, detail=result.detail)
        if result.code in CREDENTIAL_CODES:
            self._alerts.raise_alert("twilio_credentials", f"Twilio refuses our credentials: {result.detail}")
        if now - message.created_at > timedelta(seconds=self._rules.give_up_after_s):
            return await self._store.refused(message.id, code=result.code or 0, detail=result.detail, now=now)
        backoff_s = doubling_s(self._rules.retry_first_s, message.attempts, max_s=self._rules.retry_max_s)
        wait_s = max(backoff_s, result.retry_after_s or 0.0)
        if result.code in RATE_CODES:
            self._pace.pause(wait_s)
        await self._store.release(message.id, not_before=now + timedelta(seconds=wait_s))
        return False

    async def _settle(self, message: Outgoing, age: timedelta) -> bool:
        """Find out what became of a message that was being sent; True when its lane can go on."""
        since = (message.sending_since or message.created_at) - CLOCK_SKEW
        try:
            listed = await self._messaging.sent_to(message.address, since=since)
        except (VendorUnavailableError, VendorRefusedError) as error:
            _log.warning("a send cannot be looked up", message_id=message.id, detail=str(error))
            self._alerts.raise_alert("outbox_lookup", f"sent messages cannot be looked up: {error}")
            return False
        self._alerts.settle("outbox_lookup")
        known = await self._store.known_sids([sent.sid for sent in listed])
        found = match_sent(message, [sent for sent in listed if sent.sid not in known])
        now = self._clock.now()
        if found is not None:
            self._metrics.message_sent("adopted", None)
            _log.info("message found at Twilio", message_id=message.id, twilio_sid=found.sid)
            return await self._store.accepted(message.id, sid=found.sid, now=now)
        if age < timedelta(seconds=self._rules.certain_after_s):
            return False
        self._metrics.message_sent("resent", None)
        _log.info("message never reached Twilio", message_id=message.id)
        await self._store.release(message.id, not_before=now)
        return True


def match_sent(message: Outgoing, unclaimed: Sequence[SentMessage]) -> SentMessage | None:
    """The listed message that is `message`, oldest first; None when there is none.

    Only messages to the same person that no other of ours has claimed are given, and at most one of a
    person's is ever in doubt. A template's body is written by Twilio, so for one any unclaimed message counts.
    """
    candidates = sorted(unclaimed, key=lambda sent: sent.created_at)
    for sent in candidates:
        if sent.body.strip() == message.text.strip():
            return sent
    return candidates[0] if candidates and message.template is not None else None
