"""Contenders for the same rows on PostgreSQL: those who wait for each other, and those who meet by chance."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, LiteralString

import trio
from attrs import frozen

from daemon.store.connection import Connection
from tests.postgres import until_row

Contender = Callable[[], Awaitable[Any]]

LIMIT_S = 30
CONTENDERS = 4
WAITING = """
SELECT 1 FROM pg_stat_activity
WHERE pid = ANY(%s) AND wait_event_type = 'Lock'
HAVING count(*) = %s
"""


@frozen(kw_only=True)
class Ring:
    """Where contenders meet: `holder` keeps what they want until all of them wait, one behind the other."""

    holder: Connection
    observer: Connection
    pids: Sequence[int]

    async def collide(self, hold: LiteralString, params: Sequence[Any], *contenders: Contender) -> list[Any]:
        """The results in the order of the contenders."""
        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery, self.holder.transaction():
                await self.holder.fetch_all(hold, params)
                results: list[Any] = [None] * len(contenders)
                for place, contender in enumerate(contenders):
                    nursery.start_soon(_run, contender, results, place)
                    await until_row(self.observer, WAITING, list(self.pids), place + 1)
        return results


async def race(*contenders: Contender) -> list[Any]:
    """The results in the order of the contenders, who meet where they happen to."""
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            results: list[Any] = [None] * len(contenders)
            for place, contender in enumerate(contenders):
                nursery.start_soon(_run, contender, results, place)
    return results


async def _run(contender: Contender, results: list[Any], place: int) -> None:
    results[place] = await contender()
