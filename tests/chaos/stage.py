"""What a scenario plays on, how it is settled, and what comes of it."""

import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeAlias

import httpx
import psycopg
import trio
from attrs import define, field, frozen

from tests.chaos.audit import NOTHING_EXPECTED, Expectation, Verdict, audit
from tests.chaos.books import read_books
from tests.chaos.crowd import Crowd
from tests.chaos.ledger import count_owed, read_ledger
from tests.chaos.world import World

SETTLE_S = 120.0
LOOK_EVERY_S = 0.5


class SkippedError(Exception):
    """The scenario cannot be played on this machine; the message says why."""


@frozen(kw_only=True)
class Options:
    """Attributes:
    rounds: kills at each point, and the measure of everything that repeats.
    people: who write all at once.
    patience_s: what has not changed for so long although nothing is owed any more will not change.
    """

    seed: int = 1
    rounds: int = 4
    people: int = 10_000
    plant: str | None = None
    patience_s: float = 25.0


@define(eq=False, kw_only=True)
class Stage:
    """One scenario under way.

    Attributes:
        expected: what the audit should not hold against it.
        misses: what the scenario itself found wrong.
        notes: figures worth printing.
    """

    world: World
    options: Options
    name: str
    area: int
    expected: Expectation = NOTHING_EXPECTED
    misses: list[str] = field(factory=list)
    notes: list[str] = field(factory=list)
    crowd: Crowd = field(init=False)
    rng: random.Random = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.crowd = Crowd(self.world, self.area)
        self.rng = random.Random(f"{self.options.seed}/{self.name}")

    async def settle(self, *, within_s: float = SETTLE_S) -> Verdict:
        """Wait until everything has come to its end, and audit it then."""
        verdict = Verdict()
        with trio.move_on_after(within_s):
            changed_at, before = trio.current_time(), -1
            while True:
                owed = await self._owed()
                if owed == 0:
                    verdict = await self.look()
                    if not verdict.findings:
                        return verdict
                    is_stuck = trio.current_time() > changed_at + self.options.patience_s
                    if is_stuck and len(verdict.findings) == before:
                        return verdict
                if owed or len(verdict.findings) != before:
                    changed_at, before = trio.current_time(), len(verdict.findings)
                # Neither process tells when it has nothing left to do.
                await trio.sleep(LOOK_EVERY_S)
        return await self.look()

    async def look(self) -> Verdict:
        """The audit of this scenario's customers as things stand now.

        The store first: a status that comes in between is at Twilio before it is with us.
        """
        async with self.world.server.connection() as connection:
            ledger = await read_ledger(connection, self.crowd.phones)
        books = await read_books(self.world, self.crowd.phones)
        return audit(books, ledger, self.expected)

    async def until_nothing_is_owed(self, *, within_s: float) -> int:
        """What the daemon still owes, by its own account, at the end of that time."""
        owed = await self._owed()
        with trio.move_on_after(within_s):
            while owed:
                await trio.sleep(LOOK_EVERY_S)
                owed = await self._owed()
        return owed

    async def _owed(self) -> int:
        """-1 while the database does not say."""
        with suppress(psycopg.Error):
            async with self.world.server.connection() as connection:
                return await count_owed(connection)
        return -1

    async def under_load(self, harm: Callable[[], Awaitable[None]], *, at_first: int = 8) -> None:
        """Do harm while customers keep coming and writing."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_coming, at_first)
            try:
                await harm()
            finally:
                self.crowd.is_over = True

    async def _keep_coming(self, at_first: int) -> None:
        await self.crowd.keep_coming(at_first=at_first)

    async def is_alive(self) -> bool:
        """Whether the daemon still answers at all, whatever it may have to say."""
        with suppress(httpx.TransportError):
            return (await self.world.http.get(f"{self.world.admin_url}/livez")).is_success
        return False


Play: TypeAlias = Callable[[Stage], Awaitable[None]]


@frozen(kw_only=True)
class Scenario:
    """Attributes:
    name: by which it is chosen.
    play: does the harm; settling and auditing are done for it.
    """

    name: str
    play: Play
    expected: Expectation = NOTHING_EXPECTED


@frozen(kw_only=True)
class Result:
    """One line of the table."""

    name: str
    verdict: Verdict = field(factory=Verdict)
    kills: int = 0
    seconds: float = 0.0
    misses: Sequence[str] = ()
    notes: Sequence[str] = ()
    skipped: str | None = None

    @property
    def is_good(self) -> bool:
        return not self.verdict.findings and not self.misses

    @property
    def wrongs(self) -> list[str]:
        return [*self.misses, *(f"{finding.kind}: {finding.sentence}" for finding in self.verdict.findings)]


async def play(scenario: Scenario, stage: Stage) -> Result:
    """A scenario from its beginning to its audit. What breaks is part of the result."""
    world, began_at, kills = stage.world, trio.current_time(), stage.world.kills
    verdict, skipped = Verdict(), None
    try:
        await scenario.play(stage)
        await world.switch_all_off()
        await world.run_daemon()
        verdict = await stage.settle()
    except SkippedError as error:
        skipped = str(error)
    except Exception as error:  # noqa: BLE001 - the next scenario must be played, and this one has failed
        stage.misses.append(f"broke off: {_in_short(error)}")
    finally:
        with trio.move_on_after(10, shield=True), suppress(httpx.HTTPError):
            await world.switch_all_off()
    return Result(
        name=scenario.name,
        verdict=verdict,
        kills=world.kills - kills,
        seconds=trio.current_time() - began_at,
        misses=stage.misses,
        notes=stage.notes,
        skipped=skipped,
    )


def _in_short(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"[:300]
