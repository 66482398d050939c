"""Playing plays, one or thousands, and telling what came of them."""

import gc
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from time import perf_counter

from attrs import Factory, define, field, frozen

from tests.calls.bad_days import PATIENCE, bad_day
from tests.calls.ears import Broken, Patience, listen
from tests.calls.stage import Play, Stage
from tests.simulation.schedule import run_seeded
from tests.simulation.witness import leaves

TOLD = 40
COLLECT_EVERY = 10
"""Worlds between two garbage collections: there is none while one runs."""


@frozen(kw_only=True)
class Outcome:
    """What came of a play. `lines` is everything that happened, in order."""

    play: Play
    seed: int
    broken: Sequence[Broken]
    lines: Sequence[str]
    counts: Counter[str]
    calls: int
    virtual_s: float
    again: str = ""

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()

    @property
    def report(self) -> str:
        """What a failed test shows: what is broken, how it came to that, and how to see it again."""
        told = [f"{self.play.mode.value}, {self.play.name}: {len(self.broken) or 'nothing'} broken"]
        told += [f"  {broken}" for broken in self.broken]
        told += [f"the last {TOLD} events:", *self.lines[-TOLD:]]
        return "\n".join([*told, f"again: {self.again}"] if self.again else told)


def perform(play: Play, seed: int = 0, patience: Patience | None = None, *, again: str = "") -> Outcome:
    """Play it, and listen."""
    stage = Stage(play, seed)
    try:
        run_seeded(seed, stage.run)
    except ExceptionGroup as errors:
        broken: Sequence[Broken] = [Broken("nothing else fails", ", ".join(map(repr, leaves(errors))))]
    else:
        broken = listen(stage, patience)
    return Outcome(
        play=play,
        seed=seed,
        broken=broken,
        lines=_lines(stage),
        counts=stage.metrics.counts + Counter({"kills": len(stage.kills), "outages": len(stage.outages)}),
        calls=len(stage.callers),
        virtual_s=stage.ended_s,
        again=again,
    )


def simulate(seed: int) -> Outcome:
    """The bad day of a seed."""
    again = f".venv/bin/python -m tests.calls --seed {seed}"
    return perform(bad_day(seed), seed, PATIENCE, again=again)


def _lines(stage: Stage) -> Sequence[str]:
    lines = [
        (event.at_s, f"{event.number[:14]:14} {event.call_sid[:6]:6} {event.name:15} {event.detail[-80:]}")
        for event in stage.events
    ]
    lines += [(one.at_s, f"daemon: {one.event} {one.about}") for one in stage.logged]
    lines += [(at_s, f"KILLED, back at {back_s:.2f}") for at_s, back_s in stage.kills]
    lines += [(at_s, f"DATABASE DOWN until {back_s:.2f}") for at_s, back_s in stage.outages]
    lines += [
        (
            stage.seconds_of(call.at),
            f"REST {call.operation} {call.status} {call.code or ''} {call.fault or ''}",
        )
        for call in stage.lab.books.rest_calls
    ]
    return [f"{at_s:8.2f}  {line}" for at_s, line in sorted(lines, key=lambda line: line[0])]


@define
class Summary:
    """What came of many."""

    outcomes: int = field(default=0, init=False)
    calls: int = field(default=0, init=False)
    virtual_s: float = field(default=0.0, init=False)
    broken: list[str] = field(factory=list, init=False)
    kinds: Counter[str] = field(factory=Counter, init=False)
    counts: Counter[str] = field(factory=Counter, init=False)
    began_at: float = Factory(perf_counter)

    def add(self, outcome: Outcome) -> None:
        self.outcomes += 1
        self.calls += outcome.calls
        self.virtual_s += outcome.virtual_s
        self.counts += outcome.counts
        if outcome.broken:
            self.broken.append(outcome.again or f"{outcome.play.mode.value}: {outcome.play.name}")
            self.kinds.update({broken.invariant for broken in outcome.broken})
        if self.outcomes % COLLECT_EVERY == 0:
            gc.collect()

    @property
    def table(self) -> str:
        took_s = perf_counter() - self.began_at
        pace = f"{self.calls} calls, {self.virtual_s / 3600:.1f} h of virtual time"
        lines = [
            f"{self.outcomes} worlds in {took_s:.1f} s: {pace}",
            *(f"{what:52}{count:8}" for what, count in sorted(self.counts.items())),
            f"broken worlds: {len(self.broken)}",
            *(f"  {kind:50}{count:8}" for kind, count in self.kinds.most_common()),
        ]
        return "\n".join(lines)


Progress = Callable[[Outcome], None]
