"""The outbox: sends what is due, in order for each person, and settles what is unknown.

A message is marked as being sent before the request leaves, so after a crash or a lost answer the store
shows that it may exist. Such a message is looked up at Twilio before anything else happens in its lane:
found, its SID is adopted; surely not there, it is sent again after a pause. Twilio has no idempotency key, so this
is the only way to neither lose nor double. What remains is one window: a message that Twilio accepted and does not
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
from actors.runtime.fault_points import FaultPoint, reached

_log = structlog.get_logger(__name__)

CREDENTIAL_CODES = frozenset({401, 403, 20003})
RATE_CODES = frozenset({429, 20429})

ATTEMPTS_TO_ALERT = 3
"""Lost answers happen; a message that has lost so many in a row needs somebody who looks."""


@frozen(kw_only=True)
class OutboxRules:
    """Limits of sending.

    Attributes:
        messages_per_second: for the one sender; WhatsApp queues what is above it and drops it hours later.
        concurrency: messages to different people under way at once.
        sweep_every_s: how often the store is searched for what no nudge told of.
        look_up_after_s: age at which a message of unknown outcome is looked up for the first time. Ages count from
            the claim, so this includes the time that the request itself may take.
        certain_after_s: age from which a message that is not listed counts as never accepted; likewise.
        retry_first_s, retry_max_s: pause before a message that did not go is tried again, doubling, and before a
            list that could not be read is read again. No wait that Twilio asks for is longer than `retry_max_s`.
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


@define
class _Doubt:
    """The head of a lane may have been sent; `failures` in a row to read the list, by trio's clock `next_look_at`."""

    failures: int = 0
    next_look_at: float = 0.0


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
        self._doubts: dict[int, _Doubt] = {}
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
        limit = 10 * self._rules.concurrency
        lanes = await self._store.lanes(limit=limit, exclude=self._active)
        now = self._clock.now()
        if len(lanes) < limit:
            self._forget_doubts(lanes)
        for lane in lanes:
            if self._is_ripe(lane, now):
                self.due(lane.person_id)

    def _forget_doubts(self, lanes: Sequence[Lane]) -> None:
        """Drop those that a status report has settled. `lanes` are all that nobody is serving."""
        standing = {lane.person_id for lane in lanes if lane.in_doubt_since is not None} | self._active
        for person_id in self._doubts.keys() - standing:
            del self._doubts[person_id]

    def _is_ripe(self, lane: Lane, now: datetime) -> bool:
        if lane.in_doubt_since is None:
            return now >= lane.not_before
        doubt = self._doubts.setdefault(lane.person_id, _Doubt())
        return self._may_look(doubt, lane.in_doubt_since, now)

    def _may_look(self, doubt: _Doubt, since: datetime, now: datetime) -> bool:
        is_old_enough = now >= since + timedelta(seconds=self._rules.look_up_after_s)
        return is_old_enough and trio.current_time() >= doubt.next_look_at

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
        if person_id in self._doubts and not await self._resolve(person_id, self._doubts[person_id]):
            return False
        # First the slot, then the claim: from the claim on the message may have been sent, and its age counts.
        await self._pace.wait()
        reached(FaultPoint.SEND_NOT_CLAIMED)
        message = await self._store.claim(person_id, now=self._clock.now())
        if message is not None:
            reached(FaultPoint.SEND_CLAIMED)
            structlog.contextvars.bind_contextvars(conversation_id=message.conversation_id)
            return await self._send(message)
        if await self._store.in_doubt(person_id) is None:
            return False
        self._doubts.setdefault(person_id, _Doubt())
        return True

    async def _resolve(self, person_id: int, doubt: _Doubt) -> bool:
        """Look what became of a message in doubt; True when there is none any more, and its lane can go on.

        Takes no slot: a look sends nothing, and must not wait out a pause of sending.
        """
        message = await self._store.in_doubt(person_id)
        if message is None or message.sending_since is None:
            del self._doubts[person_id]
            return True
        structlog.contextvars.bind_contextvars(conversation_id=message.conversation_id)
        now = self._clock.now()
        if not self._may_look(doubt, message.sending_since, now):
            return False
        return await self._settle(message, doubt, since=message.sending_since)

    async def _send(self, message: Outgoing) -> bool:
        as_template = goes_as_template(message, self._clock.now())
        result = await self._messaging.send(message, as_template=as_template)
        reached(FaultPoint.SEND_ANSWERED)
        now = self._clock.now()
        match result:
            case Accepted(sid=sid):
                self._metrics.message_sent("accepted", None)
                self._alerts.settle("twilio_credentials")
                self._alerts.settle("outbox_unknown")
                _log.info("message accepted", message_id=message.id, twilio_sid=sid, purpose=message.purpose)
                has_more = await self._store.accepted(message.id, sid=sid, now=now)
                reached(FaultPoint.ACCEPTED_COMMITTED)
                return has_more
            case Refused(code=code, detail=detail):
                self._metrics.message_sent("refused", code)
                self._alerts.raise_alert(f"refused_{code}", f"Twilio refused a message: {code} {detail}")
                has_more = await self._store.refused(message.id, code=code, detail=detail, now=now)
                reached(FaultPoint.REFUSED_COMMITTED)
                return has_more
            case NotSent():
                return await self._not_sent(message, result, now)
            case Unknown(detail=detail):
                self._metrics.message_sent("unknown", None)
                _log.warning("outcome of a send is unknown", message_id=message.id, detail=detail)
                self._doubts[message.person_id] = _Doubt()
                return False

    async def _not_sent(self, message: Outgoing, result: NotSent, now: datetime) -> bool:
        self._metrics.message_sent("not_sent", result.code)
        _log.warning("message not sent", message_id=message.id, code=result.code, detail=result.detail)
        if result.code in CREDENTIAL_CODES:
            self._alerts.raise_alert("twilio_credentials", f"Twilio refuses our credentials: {result.detail}")
        if self._is_given_up(message, now):
            return await self._store.refused(message.id, code=result.code or 0, detail=result.detail, now=now)
        backoff_s = self._backoff_s(message.attempts)
        # Whatever was asked for: an hour's pause of all sending is not for one answer to decide.
        wait_s = max(backoff_s, min(self._rules.retry_max_s, result.retry_after_s or 0.0))
        if result.code in RATE_CODES:
            self._pace.pause(wait_s)
        await self._store.release(message.id, not_before=now + timedelta(seconds=wait_s))
        reached(FaultPoint.RELEASED_COMMITTED)
        return False

    def _is_given_up(self, message: Outgoing, now: datetime) -> bool:
        return now - message.created_at > timedelta(seconds=self._rules.give_up_after_s)

    def _backoff_s(self, failures: int) -> float:
        return doubling_s(self._rules.retry_first_s, failures, max_s=self._rules.retry_max_s)

    async def _settle(self, message: Outgoing, doubt: _Doubt, *, since: datetime) -> bool:
        """Find out what became of a message that was being sent; True when its lane can go on."""
        reached(FaultPoint.LOOKUP_NOT_ASKED)
        try:
            listed = await self._messaging.sent_to(message.address, since=since)
            reached(FaultPoint.LOOKUP_ANSWERED)
        except (VendorUnavailableError, VendorRefusedError) as error:
            _log.warning("a send cannot be looked up", message_id=message.id, detail=str(error))
            self._alerts.raise_alert("outbox_lookup", f"sent messages cannot be looked up: {error}")
            doubt.next_look_at = trio.current_time() + self._backoff_s(doubt.failures)
            doubt.failures += 1
            return False
        doubt.failures = 0
        self._alerts.settle("outbox_lookup")
        known = await self._store.known_sids([sent.sid for sent in listed])
        found = match_sent(message, [sent for sent in listed if sent.sid not in known])
        now = self._clock.now()
        if found is not None:
            return await self._adopt(message, found, now)
        if now - since >= timedelta(seconds=self._rules.certain_after_s):
            return await self._repeat(message, now)
        return False

    async def _adopt(self, message: Outgoing, found: SentMessage, now: datetime) -> bool:
        self._metrics.message_sent("adopted", None)
        self._alerts.settle("outbox_unknown")
        _log.info("message found at Twilio", message_id=message.id, twilio_sid=found.sid)
        del self._doubts[message.person_id]
        has_more = await self._store.accepted(message.id, sid=found.sid, now=now)
        reached(FaultPoint.ADOPTED_COMMITTED)
        return has_more

    async def _repeat(self, message: Outgoing, now: datetime) -> bool:
        """A message that surely never arrived waits for its next attempt, or is given up."""
        attempts = message.attempts + 1
        problem = f"{attempts} attempts without a usable answer, and Twilio does not list the message"
        if attempts >= ATTEMPTS_TO_ALERT or self._is_given_up(message, now):
            self._alerts.raise_alert("outbox_unknown", f"a message does not reach Twilio: {problem}")
        del self._doubts[message.person_id]
        if self._is_given_up(message, now):
            self._metrics.message_sent("refused", 0)
            _log.warning("message given up", message_id=message.id, attempts=attempts)
            return await self._store.refused(message.id, code=0, detail=f"given up: {problem}", now=now)
        self._metrics.message_sent("resent", None)
        _log.info("message never reached Twilio", message_id=message.id, attempts=attempts)
        wait = timedelta(seconds=self._backoff_s(message.attempts))
        await self._store.release(message.id, not_before=now + wait)
        reached(FaultPoint.REPEAT_COMMITTED)
        return False


def match_sent(message: Outgoing, unclaimed: Sequence[SentMessage]) -> SentMessage | None:
    """The listed message that is `message`, oldest first; None when there is none.

    Only messages to the same person that no other of ours has claimed are given, and at most one of a
    person's is ever in doubt. A template's body is written by Twilio, so for a message that went as one, any
    unclaimed message counts.
    """
    candidates = sorted(unclaimed, key=lambda sent: sent.created_at)
    for sent in candidates:
        if sent.body.strip() == message.text.strip():
            return sent
    return candidates[0] if candidates and _may_have_gone_as_template(message) else None


def _may_have_gone_as_template(message: Outgoing) -> bool:
    since, opened_at = message.sending_since, message.window_opened_at
    if message.template is None or since is None:
        return False
    # Whoever has written since then, to answer this very message maybe, has hidden what the window was like.
    return goes_as_template(message, since) or (opened_at is not None and opened_at > since)
