"""What was spent between two looks at the same processes."""

import re
from collections.abc import Mapping
from itertools import pairwise

from attrs import frozen

_BUCKET = re.compile(r'^relevo_event_loop_delay_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)


@frozen(kw_only=True)
class Reading:
    """Counters that only grow.

    Attributes:
        turns: that have been answered and reported.
        program_s, database_s, bench_s: CPU time.
        delays: how often the event loop was late by at most so many seconds; empty for the floor.
    """

    at: float
    turns: int
    program_s: float
    database_s: float
    bench_s: float
    delays: Mapping[float, float]


def read_delays(metrics: str) -> Mapping[float, float]:
    return {float(limit): float(count) for limit, count in _BUCKET.findall(metrics)}


@frozen
class Window:
    before: Reading
    after: Reading

    @property
    def turns(self) -> int:
        return self.after.turns - self.before.turns

    @property
    def seconds(self) -> float:
        return self.after.at - self.before.at

    @property
    def program_s(self) -> float:
        return self.after.program_s - self.before.program_s

    @property
    def program_ms(self) -> float:
        """CPU of the program under test for a turn; `database_ms` and `bench_ms` likewise."""
        return 1000 * self.program_s / self.turns

    @property
    def database_ms(self) -> float:
        return 1000 * (self.after.database_s - self.before.database_s) / self.turns

    @property
    def bench_ms(self) -> float:
        return 1000 * (self.after.bench_s - self.before.bench_s) / self.turns

    @property
    def delay_p99_ms(self) -> float:
        """From the metric's buckets, evenly spread within each."""
        grown = [(0.0, 0.0)]
        grown += [(limit, count - self.before.delays[limit]) for limit, count in self.after.delays.items()]
        wanted = 0.99 * grown[-1][1]
        for (low, below), (high, upto) in pairwise(grown):
            if upto >= wanted:
                return 1000 * (low + (high - low) * (wanted - below) / (upto - below))
        raise ValueError("no delays were counted")
