"""The outbox: sends what is due, in order for each person, and settles what is unknown.

A message is marked as being sent before the request leaves, so after a crash or a lost answer the store
shows that it may exist. Such a message is looked up at Twilio before anything else happens in its lane:
found, its SID is adopted; surely not there, it is sent again after a pause. Twilio has no idempotency key, so this
is the only way to neither lose nor double. What remains is one window: a message that Twilio accepted and does not
list within `certain_after_s` would be sent twice.

Who may send when is decided by the gate (`actors.watch.sending_gate`), for one message at a time.
"""

import contextvars
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import partial

import structlog
import trio
from attrs import define, field, frozen

from actors.alerts import Alerts
from actors.failures import failure_of, pause_s
from actors.messages import Accepted, NotSent, Outgoing, Purpose, Refused, SentMessage, Unknown
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
from actors.watch.failure_alerts import FailureAlerts
from actors.watch.sending_gate import Permit, SendingGate
from actors.watch.sending_limits import GateRules, PersonLimit, Urgency, extent_of, urgency_of
from actors.watch.sent_match import match_sent

_log = structlog.get_logger(__name__)

CREDENTIAL_CODES = frozenset({401, 403, 20003, 20005})

ATTEMPTS_TO_ALERT = 3
"""Lost answers happen; a message that has lost so many in a row needs somebody who looks."""

LANES_MAX = 2000
"""Lanes in memory, half of them at most for openings. Who is over it is found by a later sweep."""


@frozen(kw_only=True)
class OutboxRules:
    """Limits of sending.

    Attributes:
        messages_per_second: for the one sender; WhatsApp queues what is above it and drops it hours later.
        concurrency: messages to different people under way at once.
        person_burst, person_every_s: to one person so many at once, and one so often in the long run.
        sweep_every_s: how often the store is searched for what no nudge told of.
        look_up_after_s: age at which a message of unknown outcome is looked up for the first time. Ages count from
            the claim, so this includes the time that the request itself may take.
        certain_after_s: age from which a message that is not listed counts as never accepted; likewise.
        retry_first_s, retry_max_s: pause before a message that did not go is tried again, doubling, before a list
            that could not be read is read again, and of all sending when Twilio asks us to slow down. No wait that
            Twilio asks for is longer than `retry_max_s`.
        give_up_after_s: age at which a message that never went is given up.
    """

    messages_per_second: float
    concurrency: int
    person_burst: int
    person_every_s: float
    sweep_every_s: float
    look_up_after_s: float
    certain_after_s: float
    retry_first_s: float
    retry_max_s: float
    give_up_after_s: float


@define
class _Doubt:
    """The head of a lane may have been sent; `failures` in a row to read the list, by trio's clock `next_look_at`.

    `since` is when that became known here, by trio's clock. It is no older than that as far as anybody can tell: the
    wall clock may have jumped.
    """

    failures: int = 0
    next_look_at: float = 0.0
    since: float = field(factory=trio.current_time)

    def age_s(self, sending_since: datetime, now: datetime) -> float:
        """How old the doubt is at most, whatever the wall clock did since it began."""
        return max((now - sending_since).total_seconds(), trio.current_time() - self.since)


@define
class _Serving:
    """A lane that is being served. `is_due_again`: something came into it meanwhile, maybe."""

    urgency: Urgency
    is_due_again: bool = False


class Outbox:
    """The permanent actor that sends. `due` may be called from any task.

    `opening_failed` tells the watcher of campaigns that an opening was refused.
    """

    def __init__(
        self,
        *,
        store: OutboxStore,
        messaging: Messaging,
        rules: OutboxRules,
        clock: WallClock,
        alerts: Alerts,
        metrics: Metrics,
        opening_failed: Callable[[], object] = lambda: None,
    ) -> None:
        self._store = store
        self._messaging = messaging
        self._rules = rules
        self._clock = clock
        self._alerts = alerts
        self._metrics = metrics
        self._opening_failed = opening_failed
        self._refusals = FailureAlerts(alerts, "refused")
        gate_rules = GateRules(
            messages_per_second=rules.messages_per_second,
            concurrency=rules.concurrency,
            pause_first_s=rules.retry_first_s,
            pause_max_s=rules.retry_max_s,
        )
        self._gate = SendingGate(gate_rules, alerts)
        self._people = PersonLimit(burst=rules.person_burst, every_s=rules.person_every_s)
        self._looks = trio.CapacityLimiter(max(1, rules.concurrency // 2))
        self._active: dict[int, _Serving] = {}
        self._doubts: dict[int, _Doubt] = {}
        self._nursery: trio.Nursery | None = None
        self._lot = trio.lowlevel.ParkingLot()

    def due(self, person_id: int, purpose: Purpose = Purpose.ANSWER) -> None:
        """This person has something to send, for that reason. A hint: the sweep finds it as well, only later."""
        urgency = urgency_of(purpose)
        lane = self._active.get(person_id)
        if lane is not None:
            lane.is_due_again = True
            if urgency is Urgency.AWAITED:
                lane.urgency = urgency
                self._gate.hurry(person_id)
        elif self._nursery is not None and self._has_room(urgency):
            lane = self._active[person_id] = _Serving(urgency)
            # In an empty context: a request that told of a message must not be kept alive by its sending.
            contextvars.Context().run(
                partial(
                    self._nursery.start_soon, self._serve, person_id, lane, name=f"outbox lane {person_id}"
                )
            )

    def _has_room(self, urgency: Urgency) -> bool:
        return len(self._active) < (LANES_MAX if urgency is Urgency.AWAITED else LANES_MAX // 2)

    async def until_idle(self) -> None:
        """Wait until nobody's messages are being sent."""
        while self._active:
            await self._lot.park()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send until cancelled. What is under way then is settled by the next run."""
        self._active.clear()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                nursery.start_soon(self._gate.run, name="sending gate")
                task_status.started()
                await self._sweep_forever()
            finally:
                # Before the nursery closes, which it does a moment before this task goes on.
                self._nursery = None

    async def _sweep_forever(self) -> None:
        while True:
            with self._alerts.while_failing(
                "outbox_store", "the outbox cannot reach the database", StoreUnavailableError
            ):
                await self._sweep()
            await trio.sleep(self._rules.sweep_every_s)

    async def _sweep(self) -> None:
        self._people.forget_full(trio.current_time())
        limit = 10 * self._rules.concurrency
        served = set(self._active)
        lanes = await self._store.lanes(limit=limit, exclude=served)
        now = self._clock.now()
        if len(lanes) < limit:
            self._forget_doubts(lanes, served | self._active.keys())
        for lane in lanes:
            if self._is_ripe(lane, now):
                self.due(lane.person_id, lane.purpose)

    def _forget_doubts(self, lanes: Sequence[Lane], served: Collection[int]) -> None:
        """Drop those that a status report has settled. `lanes` are all but those that were `served` meanwhile."""
        standing = {lane.person_id for lane in lanes if lane.in_doubt_since is not None}
        for person_id in self._doubts.keys() - standing - set(served):
            del self._doubts[person_id]
        if not any(doubt.failures for doubt in self._doubts.values()):
            self._alerts.settle("outbox_lookup")

    def _is_ripe(self, lane: Lane, now: datetime) -> bool:
        if lane.in_doubt_since is None:
            return lane.not_before is None or now >= lane.not_before
        doubt = self._doubts.setdefault(lane.person_id, _Doubt())
        return self._may_look(doubt, lane.in_doubt_since, now)

    def _may_look(self, doubt: _Doubt, since: datetime, now: datetime) -> bool:
        is_old_enough = doubt.age_s(since, now) >= self._rules.look_up_after_s
        return is_old_enough and trio.current_time() >= doubt.next_look_at

    async def _serve(self, person_id: int, lane: _Serving) -> None:
        """Send one person's messages until nothing more may go now."""
        structlog.contextvars.bind_contextvars(person_id=person_id)
        try:
            while await self._send_next(person_id, lane) or lane.is_due_again:
                lane.is_due_again = False
        except StoreUnavailableError as error:
            # What was under way counts as unknown; the sweep comes back to it.
            _log.warning("outbox lane stopped", detail=str(error))
        finally:
            self._active.pop(person_id, None)
            self._lot.unpark_all()

    async def _send_next(self, person_id: int, lane: _Serving) -> bool:
        """Send or settle the head of a lane; True when there is more to do at once."""
        if person_id in self._doubts:
            # A look sends nothing: it takes no permit, and must not wait out a pause of sending.
            async with self._looks:
                if not await self._resolve(person_id, self._doubts[person_id]):
                    return False
        await trio.sleep_until(self._people.opens_at(person_id))
        # First the permit, then the claim: from the claim on the message may have been sent, and its age counts.
        async with self._gate.permit(person_id, lane.urgency) as permit:
            reached(FaultPoint.SEND_NOT_CLAIMED)
            message = await self._store.claim(person_id, now=self._clock.now())
            if message is not None:
                reached(FaultPoint.SEND_CLAIMED)
                permit.is_used = True
                self._people.take(person_id, trio.current_time())
                structlog.contextvars.bind_contextvars(conversation_id=message.conversation_id)
                return await self._send(message, permit)
        if await self._store.in_doubt(person_id) is None:
            return False
        self._doubts.setdefault(person_id, _Doubt())
        return True

    async def _resolve(self, person_id: int, doubt: _Doubt) -> bool:
        """Look what became of a message in doubt; True when there is none any more, and its lane can go on."""
        message = await self._store.in_doubt(person_id)
        if message is None or message.sending_since is None:
            del self._doubts[person_id]
            return True
        structlog.contextvars.bind_contextvars(conversation_id=message.conversation_id)
        now = self._clock.now()
        if not self._may_look(doubt, message.sending_since, now):
            return False
        return await self._settle(message, doubt, since=message.sending_since)

    async def _send(self, message: Outgoing, permit: Permit) -> bool:
        claimed_at = trio.current_time()
        result = await self._messaging.send(message, as_template=message.as_template)
        reached(FaultPoint.SEND_ANSWERED)
        now = self._clock.now()
        match result:
            case Accepted(sid=sid):
                self._count_accepted("accepted", message, now)
                self._gate.accepted(permit, urgency_of(message.purpose))
                self._alerts.settle("twilio_credentials")
                self._alerts.settle("outbox_unknown")
                self._refusals.went_through(_form(message), handed_over_at=now)
                _log.info("message accepted", message_id=message.id, twilio_sid=sid, purpose=message.purpose)
                has_more = await self._store.accepted(message.id, sid=sid, now=now)
                reached(FaultPoint.ACCEPTED_COMMITTED)
                return has_more
            case Refused(code=code, detail=detail):
                self._metrics.message_sent("refused", code)
                _log.warning("message refused", message_id=message.id, code=code, detail=detail)
                self._refusals.failed(code, _form(message), at=now)
                has_more = await self._refuse(message, code, detail, now)
                reached(FaultPoint.REFUSED_COMMITTED)
                return has_more
            case NotSent():
                return await self._not_sent(message, permit, result, now)
            case Unknown(detail=detail):
                self._metrics.message_sent("unknown", None)
                _log.warning("outcome of a send is unknown", message_id=message.id, detail=detail)
                self._doubts[message.person_id] = _Doubt(since=claimed_at)
                return False

    async def _refuse(self, message: Outgoing, code: int, detail: str, now: datetime) -> bool:
        """Store a refusal with its code and what to do about it."""
        advised = f"{detail} ({failure_of(code).advice})" if code else detail
        has_more = await self._store.refused(message.id, code=code, detail=advised, now=now)
        if message.purpose is Purpose.OPENING:
            self._opening_failed()
        return has_more

    def _count_accepted(self, result: str, message: Outgoing, now: datetime) -> None:
        self._metrics.message_sent(result, None)
        self._metrics.message_waited(message.purpose, (now - message.created_at).total_seconds())

    async def _not_sent(self, message: Outgoing, permit: Permit, result: NotSent, now: datetime) -> bool:
        self._metrics.message_sent("not_sent", result.code)
        _log.warning("message not sent", message_id=message.id, code=result.code, detail=result.detail)
        if result.code in CREDENTIAL_CODES:
            self._alerts.raise_alert("twilio_credentials", f"Twilio refuses our credentials: {result.detail}")
        asked_s = result.retry_after_s or 0.0
        if (extent := extent_of(result.code, message.purpose)) is not None:
            reason = f"{result.code} {result.detail}"
            self._gate.turned_away(permit, extent, reason=reason, asked_s=asked_s)
        if self._is_given_up(message, now):
            return await self._refuse(message, result.code or 0, result.detail, now)
        wanted_s = max(asked_s, pause_s(result.code, message.attempts))
        wait_s = max(self._backoff_s(message.attempts), min(self._rules.retry_max_s, wanted_s))
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
        # The list tells of the moment at which it is asked for, not of the one at which it is there.
        is_certain = trio.current_time() - doubt.since >= self._rules.certain_after_s
        asked_at = self._clock.now()
        oldest = asked_at - timedelta(seconds=doubt.age_s(since, asked_at))
        try:
            listed = await self._messaging.sent_to(message.address, since=oldest)
            reached(FaultPoint.LOOKUP_ANSWERED)
        except (VendorUnavailableError, VendorRefusedError) as error:
            _log.warning("a send cannot be looked up", message_id=message.id, detail=str(error))
            self._alerts.raise_alert("outbox_lookup", f"sent messages cannot be looked up: {error}")
            doubt.next_look_at = trio.current_time() + self._backoff_s(doubt.failures)
            doubt.failures += 1
            return False
        doubt.failures = 0
        known = await self._store.known_sids([sent.sid for sent in listed])
        found = match_sent(message, [sent for sent in listed if sent.sid not in known])
        now = self._clock.now()
        if found is not None:
            return await self._adopt(message, found, now)
        if is_certain:
            return await self._repeat(message, now)
        return False

    async def _adopt(self, message: Outgoing, found: SentMessage, now: datetime) -> bool:
        self._count_accepted("adopted", message, now)
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
            return await self._refuse(message, 0, f"given up: {problem}", now)
        self._metrics.message_sent("resent", None)
        _log.info("message never reached Twilio", message_id=message.id, attempts=attempts)
        wait = timedelta(seconds=self._backoff_s(message.attempts))
        await self._store.release(message.id, not_before=now + wait)
        reached(FaultPoint.REPEAT_COMMITTED)
        return False


def _form(message: Outgoing) -> str | None:
    """The template as which a message goes; None as its text."""
    return message.template.sid if message.as_template and message.template is not None else None
