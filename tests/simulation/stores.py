"""The database as one life of the daemon reaches it: over a line on which calls fail, linger and get lost."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import trio
from attrs import define
from typing_extensions import override

from actors.ports import StoreUnavailableError
from tests.memory.database import MemoryDatabase
from tests.simulation.chance import Chance, Fault
from tests.simulation.perils import Perils

SLOW_S = 0.3
READ_WEIGHT = 0.2
"""Most calls only read, and change nothing for whoever comes after.
"""

_READS = frozenset(
    {
        "awaited",
        "awaiting_details",
        "campaigns",
        "context",
        "in_doubt",
        "known",
        "known_sids",
        "lanes",
        "newest_message_at",
        "people_unanswered",
        "people_with_work",
        "settled_batches",
        "work",
    }
)


@define(eq=False)
class LiveDatabase(MemoryDatabase):
    """Tables in memory whose transactions happen at one point: the line before them does the waiting."""

    @asynccontextmanager
    @override
    async def transaction(self) -> AsyncIterator[None]:
        if self.unavailable:
            raise StoreUnavailableError("the memory is switched off")
        yield


@define(eq=False, slots=False)
class StoreLine:
    """A store port. Every call may fail before its commit or after it, and whoever is cancelled in the middle
    does not learn which.

    Attributes:
        committed: told of every call that went through, with its name and whether it may have changed anything.
    """

    store: object
    name: str
    perils: Perils
    chance: Chance
    committed: Callable[[str, tuple[object, ...], bool], None]

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        act, label, is_read = getattr(self.store, method), f"{self.name}.{method}", method in _READS

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._call(label, partial(act, *args, **kwargs), _ids(args), is_read=is_read)

        setattr(self, method, call)
        return call

    async def _call(
        self, label: str, act: Callable[[], Awaitable[Any]], about: tuple[object, ...], *, is_read: bool
    ) -> Any:
        await self.perils.strike(label, READ_WEIGHT if is_read else 1.0)
        if self.chance.strikes(Fault.STORE_FAILS):
            raise StoreUnavailableError("failed before the commit")
        try:
            await self._travel()
        except trio.Cancelled:
            if not is_read and self.chance.flips():
                with suppress(StoreUnavailableError):
                    await act()
                    self.committed(f"{label}, unseen by its caller", about, is_read)
            raise
        result = await act()
        self.committed(label, about, is_read)
        if self.chance.strikes(Fault.COMMIT_UNSEEN):
            raise StoreUnavailableError("failed after the commit")
        await self.perils.strike(label, READ_WEIGHT if is_read else 1.0)
        await trio.lowlevel.checkpoint()
        return result

    async def _travel(self) -> None:
        if self.chance.strikes(Fault.STORE_SLOW):
            await trio.sleep(self.chance.between(0, SLOW_S))
        else:
            await trio.lowlevel.checkpoint()


def _ids(args: tuple[Any, ...]) -> tuple[object, ...]:
    """Of what a call was about: the ids, for the trace."""
    ids = (arg if isinstance(arg, int | str) else getattr(arg, "sid", None) for arg in args)
    return tuple(id_ for id_ in ids if id_ is not None)
