"""A program under test with everything it talks to, for one figure."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path

import httpx
import trio
from attrs import frozen

from tests.bench.database import Database, phone_numbers
from tests.bench.load import Crowd, SpoiltError
from tests.bench.processes import Program, Surroundings, cpu_s, free_port, own_cpu_s
from tests.bench.vendors import Vendors
from tests.bench.window import Reading, Window, read_delays

WARM_UP_S = 3.0
_LOG_SHOWN_CHARACTERS = 4000


class Subject(StrEnum):
    DAEMON = "daemon"
    FLOOR = "floor"


@frozen(kw_only=True)
class Stage:
    """Everything ready, the program not yet started."""

    database: Database
    vendors: Vendors
    program: Program

    def crowd(self, people: int) -> Crowd:
        """The first so many of those who are known."""
        return Crowd(self.vendors, phone_numbers(people))

    async def watch(self, windows: int, *, window_s: float) -> list[Window]:
        """What is spent in so many windows, one after the other, once the load has run for a while."""
        await trio.sleep(WARM_UP_S)
        found, before = [], await self._read()
        for _ in range(windows):
            await trio.sleep(window_s)
            after = await self._read()
            found.append(Window(before, after))
            before = after
        return found

    async def _read(self) -> Reading:
        metrics = ""
        if self.program.metrics_url is not None:
            async with httpx.AsyncClient() as http:
                metrics = (await http.get(self.program.metrics_url)).text
        return Reading(
            at=trio.current_time(),
            turns=self.vendors.finished,
            program_s=cpu_s(self.program.pid),
            database_s=self.database.cpu_s(),
            bench_s=own_cpu_s(),
            delays=read_delays(metrics),
        )


@asynccontextmanager
async def open_stage(
    database: Database, subject: Subject, *, known: int, messages_each: int = 10, settings: str = ""
) -> AsyncIterator[Stage]:
    """The stage, in a database of its own. The program is killed afterwards.

    Raises:
        SpoiltError: something went wrong that makes every figure worthless.
    """
    url = await database.create_with(f"bench_{subject}", people=known, messages_each=messages_each)
    vendors = Vendors(free_port())
    with tempfile.TemporaryDirectory(prefix="relevo-bench-") as folder:
        async with trio.open_nursery() as nursery:
            await nursery.start(vendors.run)
            surroundings = Surroundings(
                folder=Path(folder),
                database_url=url,
                vendors_url=vendors.url,
                public_port=vendors.public_port,
            )
            program = surroundings.floor() if subject is Subject.FLOOR else surroundings.daemon(settings)
            try:
                yield Stage(database=database, vendors=vendors, program=program)
                _require_unspoilt(vendors)
            except BaseException as error:
                error.add_note(program.log[-_LOG_SHOWN_CHARACTERS:])
                raise
            finally:
                program.kill()
            nursery.cancel_scope.cancel()
    await database.drop(f"bench_{subject}")


def _require_unspoilt(vendors: Vendors) -> None:
    """A figure from a run in which something went wrong is none."""
    if vendors.problems:
        raise SpoiltError(f"{len(vendors.problems)} problems: {vendors.problems[:5]}")
