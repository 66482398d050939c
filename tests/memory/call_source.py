from collections.abc import AsyncIterator, Callable
from datetime import datetime

import trio
from attrs import define, field

from actors.calls import Batch, BatchSummary, CallDetails, SeenCall
from actors.ports import CallSource


@define
class MemoryCallSource:
    """`CallSource` in memory: calls and batches at ElevenLabs.

    Attributes:
        known: details by call id, made anew at each look, so that they may change with time.
        finished: calls with the moment at which they began, newest first.
        failures: what a look raises, by the kind of look (`batches`, `batch`, `finished_calls`, `call`), as long
            as it stands there.
        fails_after: so many finished calls are told before the failure.
        looks: everything that was asked for, in order.
    """

    known: dict[str, Callable[[], CallDetails]] = field(factory=dict)
    batches_by_id: dict[str, Batch] = field(factory=dict)
    finished: list[tuple[datetime, SeenCall]] = field(factory=list)
    failures: dict[str, Exception] = field(factory=dict)
    fails_after: int = 0
    look_s: float = 0.0
    looks: list[str] = field(factory=list, init=False)
    call_looks_now: int = field(default=0, init=False)
    call_looks_at_once: int = field(default=0, init=False)

    async def batches(self) -> AsyncIterator[BatchSummary]:
        await self._look("batches")
        for batch in list(self.batches_by_id.values()):
            await trio.lowlevel.checkpoint()
            yield batch.summary

    async def batch(self, batch_id: str) -> Batch | None:
        await self._look("batch", batch_id)
        return self.batches_by_id.get(batch_id)

    async def finished_calls(self, *, started_after: datetime) -> AsyncIterator[SeenCall]:
        self.looks.append("finished_calls")
        for place, (started_at, call) in enumerate(self.finished):
            await trio.lowlevel.checkpoint()
            if place >= self.fails_after and "finished_calls" in self.failures:
                raise self.failures["finished_calls"]
            if started_at >= started_after:
                yield call
        if "finished_calls" in self.failures:
            raise self.failures["finished_calls"]

    async def call(self, call_id: str) -> CallDetails | None:
        self.call_looks_now += 1
        self.call_looks_at_once = max(self.call_looks_at_once, self.call_looks_now)
        try:
            await self._look("call", call_id)
        finally:
            self.call_looks_now -= 1
        details = self.known.get(call_id)
        return details() if details is not None else None

    async def _look(self, kind: str, *rest: str) -> None:
        self.looks.append(" ".join([kind, *rest]))
        await trio.sleep(self.look_s)
        if kind in self.failures:
            raise self.failures[kind]


def _is_a_call_source(source: MemoryCallSource) -> CallSource:
    return source
