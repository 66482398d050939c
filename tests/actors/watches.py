"""A call monitor at work, with ElevenLabs and the database in memory."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import trio
from attrs import define, evolve, field

from actors.alerts import Alerts
from actors.calls import (
    Batch,
    BatchRecipient,
    BatchSummary,
    CallAnalysis,
    CallDetails,
    CallOutcome,
    CallSighting,
    FollowUpState,
    SeenCall,
)
from actors.metrics import NoMetrics
from actors.ports import VendorRefusedError, VendorUnavailableError
from actors.watch.call_intake import CallIntake, FollowUpPolicy
from actors.watch.call_monitor import (
    CallMonitor,
    MonitorRules,
)
from tests.memory.call_source import MemoryCallSource
from tests.memory.calls import MemoryCalls
from tests.memory.clock import BEGINNING, VirtualClock
from tests.memory.database import MemoryDatabase

DOWN = VendorUnavailableError("503")
REFUSED = VendorRefusedError("401")


def details(call_id: str = "conv_1", **changes: Any) -> CallDetails:
    return evolve(
        CallDetails(
            id=call_id,
            agent_id="agent_voice",
            is_over=True,
            outcome=CallOutcome.COMPLETED,
            phone_number="+525512345678",
            direction="outbound",
            started_at=BEGINNING - timedelta(seconds=90),
            duration_s=90,
            analysis=CallAnalysis(summary="Le interesa."),
        ),
        **changes,
    )


def recipient(
    call_id: str | None = "conv_1", outcome: CallOutcome | None = CallOutcome.COMPLETED
) -> BatchRecipient:
    return BatchRecipient(
        id=f"row {call_id}",
        phone_number="+525512345678",
        status="",
        outcome=outcome,
        call_id=call_id,
        variables={"name": "Ana"},
    )


def batch(
    *recipients: BatchRecipient,
    batch_id: str = "btcal_1",
    is_over: bool = True,
    updated_at: datetime = BEGINNING,
) -> Batch:
    summary = BatchSummary(
        id=batch_id,
        name="octubre",
        agent_id="agent_voice",
        status="completed" if is_over else "in_progress",
        is_over=is_over,
        created_at=updated_at,
        updated_at=updated_at,
    )
    return Batch(summary=summary, recipients=recipients)


@define(eq=False)
class Watch:
    source: MemoryCallSource = field(factory=MemoryCallSource)
    database: MemoryDatabase = field(factory=MemoryDatabase)
    clock: VirtualClock = field(factory=VirtualClock)
    due: list[int] = field(factory=list)
    alerts: Alerts = field(init=False)
    monitor: CallMonitor = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.alerts = Alerts(self.clock)
        policy = FollowUpPolicy(
            outcomes=frozenset({CallOutcome.COMPLETED, CallOutcome.VOICEMAIL}),
            lookback=timedelta(hours=24),
            analysis_timeout_s=600,
            text_agent_id="agent_text",
            text_agents={},
        )
        intake = CallIntake(
            store=MemoryCalls(self.database),
            policy=policy,
            conversation_due=self.due.append,
            clock=self.clock,
            metrics=NoMetrics(),
        )
        self.monitor = CallMonitor(
            source=self.source,
            store=MemoryCalls(self.database),
            intake=intake,
            rules=MonitorRules(poll_every_s=15, lookback=timedelta(hours=24), details_concurrency=4),
            clock=self.clock,
            alerts=self.alerts,
        )

    def knows(self, *all_details: CallDetails) -> None:
        """ElevenLabs knows these calls, and lists them."""
        for one in all_details:
            self.source.known[one.id] = lambda one=one: one  # type: ignore[misc]
            seen = SeenCall(id=one.id, sighting=CallSighting.CONVERSATIONS, agent_id=one.agent_id)
            self.source.finished.append((one.started_at, seen))

    def has_batch(self, one: Batch) -> None:
        self.source.batches_by_id[one.summary.id] = one

    def follow_up(self, call_id: str = "conv_1") -> FollowUpState:
        return self.database.calls[call_id].follow_up

    def note(self, call_id: str = "conv_1") -> str | None:
        return self.database.calls[call_id].follow_up_note

    def looks(self, what: str) -> int:
        return self.source.looks.count(what)

    @property
    def alert_keys(self) -> list[str]:
        return [alert.key for alert in self.alerts.standing]


@asynccontextmanager
async def watching(setup: Callable[[Watch], None]) -> AsyncIterator[Watch]:
    with trio.fail_after(1e7):
        async with trio.open_nursery() as nursery:
            watch = Watch()
            setup(watch)
            await nursery.start(watch.monitor.run)
            yield watch
            nursery.cancel_scope.cancel()
