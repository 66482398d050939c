"""The call monitor: finds finished calls and fetches what there is to know of them.

A call may be found by a webhook, in a batch, in the list of conversations, or by the operator's command; its
id makes it one call. Finding only records it. A second loop takes what was recorded, asks ElevenLabs for the
details until the analysis is there or has taken too long, and hands them on.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import structlog
import trio
from attrs import frozen

from actors.alerts import Alerts
from actors.calls import (
    Batch,
    BatchRecipient,
    BatchSummary,
    CallSighting,
    FollowUpState,
    SeenCall,
)
from actors.ports import (
    AwaitedCall,
    CallSource,
    CallStore,
    StoreUnavailableError,
    VendorRefusedError,
    VendorUnavailableError,
    WallClock,
)
from actors.runtime.backoff import doubling_s
from actors.runtime.fault_points import FaultPoint, reached
from actors.watch.call_intake import CallIntake

_log = structlog.get_logger(__name__)

LONGEST_CALL = timedelta(hours=2)
"""Calls are listed by when they began; one that began this long ago may just have ended."""
FULL_LOOK_EVERY_S = 3600.0
DETAILS_PAGE = 100
DETAILS_SWEEP_S = 2.0
FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 30.0
UNKNOWN_ATTEMPTS_MAX = 8
"""A call that ElevenLabs does not know may be too new; after so many looks it never existed. One that is refused
or cannot be taken in gets as many.
"""
LONGEST_WAIT_FOR_CALL = timedelta(days=1)
"""A call seen that long ago which still goes on, or for which alone ElevenLabs has no usable answer, is given up."""

# HTTP statuses that refuse the question and not us: a wrong key or URL is the operator's to mend, and waits.
_REFUSED_QUESTION = frozenset({400, 410, 422})


@frozen(kw_only=True)
class MonitorRules:
    """See `[monitor]` in config.toml."""

    poll_every_s: float
    lookback: timedelta
    details_concurrency: int


@frozen(kw_only=True)
class MonitorState:
    """What the status shows. `last_poll_at` is the end of the last poll that went through."""

    last_poll_at: datetime | None
    last_error: str | None


class CallMonitor:
    def __init__(
        self,
        *,
        source: CallSource,
        store: CallStore,
        intake: CallIntake,
        rules: MonitorRules,
        clock: WallClock,
        alerts: Alerts,
    ) -> None:
        self._source = source
        self._store = store
        self._intake = intake
        self._rules = rules
        self._clock = clock
        self._alerts = alerts
        self._details_due = trio.Event()
        self._full_look_at = 0.0
        self._setbacks = Counter[str]()
        self.state = MonitorState(last_poll_at=None, last_error=None)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled; waits out vendors and databases that are down."""
        self._full_look_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._fetch_forever, name="call details")
            task_status.started()
            while True:
                await self._poll()
                await trio.sleep(self._rules.poll_every_s)

    def details_due(self) -> None:
        """A call was recorded whose details are wanted now."""
        self._details_due.set()

    async def process_batch(self, batch_id: str) -> Batch | None:
        """Record every finished recipient of a batch now; safe to repeat. None: no such batch.

        Raises:
            VendorUnavailableError, VendorRefusedError, StoreUnavailableError: nothing or part was recorded.
        """
        batch = await self._source.batch(batch_id)
        if batch is not None:
            await self._record(batch, CallSighting.COMMAND)
        return batch

    # --- finding ---

    async def _poll(self) -> None:
        # Either may work while the other does not.
        errors = [await _error_of(look) for look in (self._poll_batches, self._poll_conversations)]
        refused = next((error for error in errors if isinstance(error, VendorRefusedError)), None)
        if refused is not None:
            self._alerts.raise_alert("elevenlabs_refused", f"ElevenLabs refuses us: {refused}")
        else:
            self._alerts.settle("elevenlabs_refused")
        failed = next((error for error in errors if error is not None), None)
        if failed is not None:
            self._failed(failed)
        else:
            self.state = MonitorState(last_poll_at=self._clock.now(), last_error=None)
            self._alerts.settle("monitor")

    def _failed(self, error: Exception) -> None:
        _log.warning("poll failed", detail=str(error))
        self._alerts.raise_alert("monitor", f"finished calls cannot be polled: {error}")
        self.state = MonitorState(last_poll_at=self.state.last_poll_at, last_error=str(error))

    async def _poll_batches(self) -> None:
        settled = await self._store.settled_batches()
        oldest = self._clock.now() - self._rules.lookback
        # Read to its end before anything else may fail: a generator that is left half way must be closed by hand.
        for summary in [summary async for summary in self._source.batches()]:
            if summary.updated_at < oldest or _is_settled(summary, settled.get(summary.id)):
                continue
            batch = await self._source.batch(summary.id)
            if batch is not None:
                await self._record(batch, CallSighting.BATCH)

    async def _record(self, batch: Batch, sighting: CallSighting) -> None:
        """Record a batch and its finished calls; settled once every recipient is at its end."""
        reached(FaultPoint.BATCH_READ)
        calls = [_seen(batch, recipient, sighting) for recipient in batch.recipients]
        await self._see([call for call in calls if call is not None])
        is_settled = batch.summary.is_over and all(r.outcome is not None for r in batch.recipients)
        await self._store.save_batch(batch, is_settled=is_settled)
        reached(FaultPoint.BATCH_SAVED)

    async def _poll_conversations(self) -> None:
        """Look through the whole lookback now and then, and otherwise through what may have ended lately."""
        now = trio.current_time()
        is_full = now >= self._full_look_at
        lookback = self._rules.lookback if is_full else min(LONGEST_CALL, self._rules.lookback)
        seen: list[SeenCall] = []
        try:
            async for call in self._source.finished_calls(started_after=self._clock.now() - lookback):
                seen.append(call)  # noqa: PERF401 - what was read before a failure counts
        except (VendorUnavailableError, VendorRefusedError):
            await self._see(seen)
            raise
        await self._see(seen)
        if is_full:
            self._full_look_at = now + FULL_LOOK_EVERY_S

    async def _see(self, calls: Sequence[SeenCall]) -> None:
        for start in range(0, len(calls), DETAILS_PAGE):
            if await self._intake.see(calls[start : start + DETAILS_PAGE]):
                self.details_due()

    # --- fetching ---

    async def _fetch_forever(self) -> None:
        while True:
            self._details_due = trio.Event()
            has_more = False
            try:
                calls = await self._store.awaiting_details(now=self._clock.now(), limit=DETAILS_PAGE)
                has_more = await self._fetch_all(calls) and len(calls) == DETAILS_PAGE
            except StoreUnavailableError as error:
                _log.warning("call details wait for the database", detail=str(error))
            if not has_more:
                with trio.move_on_after(DETAILS_SWEEP_S):
                    await self._details_due.wait()

    async def _fetch_all(self, calls: Sequence[AwaitedCall]) -> bool:
        """Fetch the details of these calls; false when the database did not take all of them."""
        limit = trio.CapacityLimiter(self._rules.details_concurrency)
        went_through = True

        async def fetch(call: AwaitedCall) -> None:
            nonlocal went_through
            async with limit:
                try:
                    await self._fetch_or_set_aside(call)
                except StoreUnavailableError as error:
                    went_through = False
                    _log.warning("call details wait for the database", call_id=call.id, detail=str(error))

        async with trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(fetch, call, name=f"details of {call.id}")
        return went_through

    async def _fetch_or_set_aside(self, call: AwaitedCall) -> None:
        try:
            await self._fetch(call)
        except StoreUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - one call must not stop all others
            _log.error("call cannot be taken in", call_id=call.id, exc_info=error)
            kind = type(error).__name__
            self._alerts.raise_alert(f"call {call.id}", f"call {call.id} cannot be taken in: {kind}")
            await self._set_back(call, reason=f"cannot be taken in: {kind}")

    async def _fetch(self, call: AwaitedCall) -> None:
        reached(FaultPoint.DETAILS_NOT_ASKED)
        try:
            details = await self._source.call(call.id)
        except (VendorUnavailableError, VendorRefusedError) as error:
            _log.warning("call details not fetched", call_id=call.id, detail=str(error))
            await self._not_fetched(call, error)
            return
        if details is None:
            await self._set_back(call, reason="unknown at ElevenLabs")
            return
        state = await self._intake.take_awaited(details, call)
        self._setbacks.pop(call.id, None)
        self._alerts.settle(f"call {call.id}")
        if state is not FollowUpState.AWAITING_DETAILS:
            return
        if not details.is_over and self._waited_too_long(call):
            await self._store.give_up(call.id, reason="still in progress a day after it was seen")
        else:
            await self._look_again(call)

    async def _not_fetched(
        self, call: AwaitedCall, error: VendorUnavailableError | VendorRefusedError
    ) -> None:
        """Whoever is down or refuses us altogether is waited out; a call that alone has no answer is not."""
        if isinstance(error, VendorRefusedError):
            is_hopeless = error.status in _REFUSED_QUESTION
        else:
            is_hopeless = self.state.last_error is None and self._waited_too_long(call)
        if is_hopeless:
            await self._set_back(call, reason=f"no details at ElevenLabs: {error}")
        else:
            await self._look_again(call)

    def _waited_too_long(self, call: AwaitedCall) -> bool:
        return self._clock.now() - call.seen_at > LONGEST_WAIT_FOR_CALL

    async def _set_back(self, call: AwaitedCall, *, reason: str) -> None:
        """Look again, or give the call up for this reason when that has been in vain too often."""
        self._setbacks[call.id] += 1
        if self._setbacks[call.id] <= UNKNOWN_ATTEMPTS_MAX:
            await self._look_again(call)
            return
        await self._store.give_up(call.id, reason=reason)
        del self._setbacks[call.id]
        _log.warning("call given up", call_id=call.id, reason=reason)

    async def _look_again(self, call: AwaitedCall) -> None:
        wait_s = doubling_s(FIRST_WAIT_S, call.attempts, max_s=LONGEST_WAIT_S)
        await self._store.postpone(call.id, until=self._clock.now() + timedelta(seconds=wait_s))


async def _error_of(look: Callable[[], Awaitable[None]]) -> Exception | None:
    """The expected failure of a look at ElevenLabs, None when it went through."""
    try:
        await look()
    except (VendorRefusedError, VendorUnavailableError, StoreUnavailableError) as error:
        return error
    return None


def _is_settled(summary: BatchSummary, settled_at: datetime | None) -> bool:
    return settled_at is not None and summary.updated_at <= settled_at


def _seen(batch: Batch, recipient: BatchRecipient, sighting: CallSighting) -> SeenCall | None:
    """A recipient's call once it has ended. Without an id nobody was ever dialled: there is no call."""
    if recipient.call_id is None or recipient.outcome is None:
        return None
    return SeenCall(
        id=recipient.call_id,
        sighting=sighting,
        agent_id=batch.summary.agent_id,
        phone_number=recipient.phone_number,
        outcome=recipient.outcome,
        batch_id=batch.summary.id,
        recipient_id=recipient.id,
        variables=recipient.variables,
    )
