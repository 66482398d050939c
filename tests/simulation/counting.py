"""What happened in a world, counted: so that one can see that a simulation goes where it should."""

from collections import Counter

from attrs import define, field
from typing_extensions import override

from actors.messages import Purpose
from actors.metrics import NoMetrics
from tests.memory.database import MemoryDatabase
from tests.simulation.twilio import Twilio


@define
class CountingMetrics(NoMetrics):
    """`Metrics` of all lives of a world; `counts` by a few words each."""

    counts: Counter[str] = field(factory=Counter, init=False)

    @override
    def turn_finished(self, result: str, seconds: float, /) -> None:
        self.counts[f"turn {result}"] += 1

    @override
    def message_sent(self, result: str, code: int | None, /) -> None:
        self.counts[f"message {result}"] += 1

    @override
    def child_restarted(self, kind: str, /) -> None:
        self.counts[f"{kind} restarted"] += 1

    @override
    def call_found(self, source: str, outcome: str, /) -> None:
        self.counts[f"call found by {source}"] += 1


def counts_at_the_end(database: MemoryDatabase, twilio: Twilio, acknowledged: int) -> Counter[str]:
    """What can be told from the tables alone."""
    rows = database.outbound.values()
    return Counter(
        {
            "opening queued": sum(row.purpose is Purpose.OPENING and not row.replaces_id for row in rows),
            "fallback queued": sum(row.purpose is Purpose.FALLBACK and not row.replaces_id for row in rows),
            "message repeated after it had failed": sum(row.replaces_id is not None for row in rows),
            "message went as a template": sum(taken.created.is_template for taken in twilio.taken),
            "message found without its webhook": max(0, len(database.inbound) - acknowledged),
        }
    )
