"""ElevenLabs' side of phone calls: they end, are analysed, listed, and told of, sooner or later."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta

import trio
from attrs import define, evolve, field, frozen

from actors.calls import (
    Batch,
    BatchRecipient,
    BatchSummary,
    CallAnalysis,
    CallDetails,
    CallOutcome,
    CallSighting,
    SeenCall,
)
from actors.ports import CallSource, VendorRefusedError, VendorUnavailableError
from tests.memory.call_source import MemoryCallSource
from tests.memory.clock import BEGINNING
from tests.simulation.chance import Chance, Fault
from tests.simulation.perils import Perils
from tests.simulation.rules import VOICE_AGENT
from tests.simulation.trace import Trace

BATCH = "btcal_1"
NEVER = float("inf")


@frozen(kw_only=True)
class PhoneCall:
    """A call that will have been. Times are virtual; `analysed_at` is infinite where no analysis ever comes."""

    id: str
    phone_number: str
    outcome: CallOutcome
    ended_at: float
    analysed_at: float
    is_in_batch: bool

    def details(self) -> CallDetails:
        """As ElevenLabs tells it at this moment."""
        now = trio.current_time()
        is_analysed = now >= self.analysed_at
        return CallDetails(
            id=self.id,
            agent_id=VOICE_AGENT,
            is_over=now >= self.ended_at,
            outcome=self.outcome,
            phone_number=self.phone_number,
            direction="outbound",
            started_at=self.started_at,
            duration_s=60,
            analysis=CallAnalysis(summary=f"resumen de {self.id}.") if is_analysed else None,
            analysis_pending=not is_analysed,
            variables={"customer_name": "Ana"},
        )

    @property
    def started_at(self) -> datetime:
        return BEGINNING + timedelta(seconds=self.ended_at - 60)

    def seen(self, sighting: CallSighting) -> SeenCall:
        return SeenCall(
            id=self.id,
            sighting=sighting,
            agent_id=VOICE_AGENT,
            phone_number=self.phone_number,
            outcome=self.outcome,
        )


@define(eq=False, kw_only=True)
class ElevenLabs:
    """`calls` has every call that ended, by id; `post_call` is the post-call webhook."""

    chance: Chance
    trace: Trace
    later: Callable[[float, Callable[[], object]], None]
    post_call: Callable[[CallDetails], None]
    books: MemoryCallSource = field(factory=MemoryCallSource, init=False)
    calls: dict[str, PhoneCall] = field(factory=dict, init=False)

    def end(self, phone_number: str, outcome: CallOutcome) -> None:
        """A call ends now."""
        now, chance = trio.current_time(), self.chance
        late_s = chance.one_of((NEVER, 10.0, 30.0)) if chance.strikes(Fault.ANALYSIS_LATE) else 0.0
        call = PhoneCall(
            id=f"call_{len(self.calls) + 1}",
            phone_number=phone_number,
            outcome=outcome,
            ended_at=now,
            analysed_at=now + chance.between(0, 2) + late_s,
            is_in_batch=chance.flips(0.4),
        )
        self.calls[call.id] = call
        self.trace.note("call ended", call.id, phone_number, outcome.value)
        self.books.known[call.id] = call.details
        if call.is_in_batch:
            self._add_to_batch(call)
        if not call.is_in_batch or chance.flips():
            self.later(5.0 if chance.strikes(Fault.CALL_LISTED_LATE) else 0.0, lambda: self._list(call))
        self._tell(call)

    def _list(self, call: PhoneCall) -> None:
        self.books.finished.insert(0, (call.started_at, call.seen(CallSighting.CONVERSATIONS)))

    def _add_to_batch(self, call: PhoneCall) -> None:
        recipient = BatchRecipient(
            id=f"rcpt_{call.id}",
            phone_number=call.phone_number,
            status="completed",
            outcome=call.outcome,
            call_id=call.id,
        )
        at = BEGINNING + timedelta(seconds=call.ended_at)
        known = self.books.batches_by_id.get(BATCH)
        summary = known.summary if known is not None else _summary(at)
        recipients = [*known.recipients, recipient] if known is not None else [recipient]
        self.books.batches_by_id[BATCH] = Batch(summary=evolve(summary, updated_at=at), recipients=recipients)

    def _tell(self, call: PhoneCall) -> None:
        """The webhook comes with the analysis, and not at all without one."""
        if call.analysed_at == NEVER:
            return
        after_s = call.analysed_at - trio.current_time() + self.chance.between(0, 3)
        if not self.chance.strikes(Fault.CALL_WEBHOOK_LOST):
            self.later(after_s, lambda: self.post_call(call.details()))
        if self.chance.strikes(Fault.CALL_WEBHOOK_REPEATED):
            self.later(after_s + self.chance.between(0, 20), lambda: self.post_call(call.details()))


def _summary(at: datetime) -> BatchSummary:
    return BatchSummary(
        id=BATCH,
        name="mayo",
        agent_id=VOICE_AGENT,
        status="completed",
        is_over=True,
        created_at=at,
        updated_at=at,
    )


@define(eq=False)
class CallSourceLine:
    """`CallSource` as one life of the daemon has it."""

    books: MemoryCallSource
    perils: Perils

    async def batches(self) -> AsyncIterator[BatchSummary]:
        await self._look("batches")
        async for summary in self.books.batches():
            yield summary

    async def batch(self, batch_id: str) -> Batch | None:
        await self._look("batch")
        return await self.books.batch(batch_id)

    async def finished_calls(self, *, started_after: datetime) -> AsyncIterator[SeenCall]:
        await self._look("finished calls")
        async for call in self.books.finished_calls(started_after=started_after):
            yield call

    async def call(self, call_id: str) -> CallDetails | None:
        await self._look("call")
        if self.perils.chance.strikes(Fault.CALL_UNKNOWN):
            return None
        return await self.books.call(call_id)

    async def _look(self, what: str) -> None:
        await self.perils.strike(what)
        self.perils.trace.note("look at", what, is_quiet=True)
        if self.perils.chance.strikes(Fault.ELEVENLABS_FAILS):
            raise VendorUnavailableError("no answer")
        if self.perils.chance.strikes(Fault.ELEVENLABS_REFUSES):
            raise VendorRefusedError("wrong key")


def _is_a_call_source(line: CallSourceLine) -> CallSource:
    return line
