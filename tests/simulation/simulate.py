"""Running seeds, one or thousands, and telling what came of them."""

import gc
from collections import Counter
from time import perf_counter

from attrs import Factory, define, field, frozen

from tests.simulation.chance import Fault
from tests.simulation.schedule import run_seeded, silent_logs
from tests.simulation.trace import Trace
from tests.simulation.witness import BrokenError, leaves
from tests.simulation.world import World

TOLD = 50
COLLECT_EVERY = 50
"""Worlds between two garbage collections: there is none while one runs."""


@frozen(kw_only=True)
class Outcome:
    """What came of a seed.

    Attributes:
        broken: the first invariant that did not hold.
        struck: how often each fault came about.
        counts: what else happened, and how often.
    """

    seed: int
    broken: BrokenError | None
    trace: Trace
    struck: Counter[Fault]
    counts: Counter[str]
    virtual_s: float

    @property
    def report(self) -> str:
        """What a failed test shows: the invariant, how it came to that, and how to see it again."""
        lines = [
            f"seed {self.seed}: {self.broken or 'all is well'}",
            f"the last {TOLD} events:",
            *(str(event) for event in self.trace.last(TOLD)),
            f"again: .venv/bin/python -m tests.simulation --seed {self.seed}",
        ]
        return "\n".join(lines)


def simulate(seed: int) -> Outcome:
    world = World(seed)
    try:
        with silent_logs():
            run_seeded(seed, world.run)
    except ExceptionGroup as errors:
        # Not a child's crash, which the witness judges: a webhook's, or a vendor's.
        world.broken = BrokenError("nothing else fails", ", ".join(map(repr, leaves(errors))))
    if seed % COLLECT_EVERY == 0:
        gc.collect()
    return Outcome(
        seed=seed,
        broken=world.broken,
        trace=world.trace,
        struck=world.chance.struck,
        counts=world.counts,
        virtual_s=world.virtual_s,
    )


@define
class Summary:
    """What came of many seeds."""

    outcomes: int = field(default=0, init=False)
    broken: list[int] = field(factory=list, init=False)
    steps: int = field(default=0, init=False)
    virtual_s: float = field(default=0.0, init=False)
    struck: Counter[Fault] = field(factory=Counter, init=False)
    worlds_struck: Counter[Fault] = field(factory=Counter, init=False)
    counts: Counter[str] = field(factory=Counter, init=False)
    began_at: float = Factory(perf_counter)

    def add(self, outcome: Outcome) -> None:
        self.outcomes += 1
        self.steps += len(outcome.trace)
        self.virtual_s += outcome.virtual_s
        self.struck += outcome.struck
        self.worlds_struck.update(outcome.struck.keys())
        self.counts += outcome.counts
        if outcome.broken is not None:
            self.broken.append(outcome.seed)

    @property
    def table(self) -> str:
        took_s = perf_counter() - self.began_at
        pace = f"{self.outcomes / took_s:.0f} seeds/s, {self.steps / took_s:.0f} steps/s"
        lines = [
            f"{self.outcomes} seeds in {took_s:.1f} s: {pace}, {self.virtual_s / 3600:.1f} h of virtual time",
            "",
            f"{'fault':52}{'struck':>8}{'worlds':>8}",
            *(f"{f.words:52}{self.struck[f]:8}{self.worlds_struck[f]:8}" for f in Fault),
            "",
            *(f"{what:52}{count:8}" for what, count in sorted(self.counts.items())),
            "",
            f"broken: {', '.join(map(str, self.broken)) or 'none'}",
        ]
        return "\n".join(lines)
