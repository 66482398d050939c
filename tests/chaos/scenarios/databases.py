"""PostgreSQL restarted, its backends terminated, its tables locked, away for a minute, its disk full."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psycopg
import trio

from tests.chaos.books import read_books
from tests.chaos.stage import Scenario, Stage

AWAY_S = 60.0
BESIEGED_S = 6.0
LOCKED_S = 6.0
FULL_S = 8.0
HEALED_WITHIN_S = 60.0
DISK_MIB = 192
_MIB = 1024 * 1024


async def restarted(stage: Stage) -> None:
    async def restart() -> None:
        for _ in range(max(2, stage.options.rounds)):
            await trio.sleep(stage.rng.uniform(1.0, 3.0))
            await stage.world.server.restart_at_once()
        await _heals(stage)

    await stage.world.run_daemon()
    await stage.under_load(restart)


async def backends_terminated(stage: Stage) -> None:
    """All of the daemon's, ten times a second for a while."""

    async def besiege() -> None:
        until = trio.current_time() + BESIEGED_S
        while trio.current_time() < until:
            await stage.world.server.terminate_backends()
            await trio.sleep(0.1)
        await _heals(stage)

    await stage.world.run_daemon()
    await stage.under_load(besiege)


async def pool_exhausted(stage: Stage) -> None:
    """Every connection of the pool waits for a lock, longer than a caller or a statement may wait."""

    async def lock() -> None:
        for _ in range(2):
            await trio.sleep(stage.rng.uniform(1.0, 2.0))
            async with stage.world.server.connection() as connection, connection.transaction():
                await connection.execute("LOCK TABLE message IN ACCESS EXCLUSIVE MODE")
                await trio.sleep(LOCKED_S)
        await _heals(stage)

    await stage.world.run_daemon()
    await stage.under_load(lock)


async def away(stage: Stage) -> None:
    """No database for a minute: webhooks are answered 503, nothing 2xx, and nobody has to start anything."""

    async def take_away() -> None:
        await trio.sleep(2.0)
        async with _is_away(stage):
            await trio.sleep(AWAY_S)
        await _heals(stage)

    await stage.world.run_daemon()
    pid = stage.world.pid
    await stage.under_load(take_away, at_first=4)
    if not stage.world.is_daemon_alive or stage.world.pid != pid:
        stage.misses.append("the daemon did not live through it")


@asynccontextmanager
async def _is_away(stage: Stage) -> AsyncIterator[None]:
    """Without a server while the block runs; what was answered meanwhile is looked at afterwards."""
    await stage.world.server.stop_at_once()
    began_at = (await stage.world.get(stage.world.twilio_lab))["now"]
    try:
        yield
        if not await stage.is_alive():
            stage.misses.append("/livez did not answer while the database was away")
        ended_at = (await stage.world.get(stage.world.twilio_lab))["now"]
    finally:
        await stage.world.server.start_again()
    statuses: list[int | None] = [
        attempt.status
        for book in await read_books(stage.world, stage.crowd.phones)
        for written in book.written
        for attempt in written.attempts
        if attempt.began_at.isoformat() > began_at and attempt.ended_at.isoformat() < ended_at
    ]
    stage.notes.append(f"{len(statuses)} webhooks while away")
    if wrong := [status for status in statuses if status != 503]:
        stage.misses.append(f"webhooks were answered {sorted({str(status) for status in wrong})} while away")
    if not statuses:
        stage.misses.append("no webhook came while the database was away")


async def _heals(stage: Stage) -> None:
    """Wait until the daemon is ready again by itself."""
    with trio.move_on_after(HEALED_WITHIN_S):
        if await stage.world.until_ready():
            await trio.sleep(1.0)
            return
    stage.misses.append(f"not ready again within {HEALED_WITHIN_S:.0f} s")


# --- the disk ---


async def disk_full(stage: Stage) -> None:
    """Nothing can be written for a while, the log of changes included; then there is room again."""
    disk = stage.world.server.folder.parent

    async def fill() -> None:
        await trio.sleep(2.0)
        filler = await trio.to_thread.run_sync(_fill, disk)
        try:
            until = trio.current_time() + FULL_S
            refusals = 0
            while trio.current_time() < until:
                refusals += not await _can_write(stage)
                await trio.sleep(0.3)
            stage.notes.append(f"{refusals} writes of ours were refused")
            if not refusals:
                stage.misses.append("the disk never was full")
        finally:
            filler.unlink()
        # PostgreSQL gives up when it cannot write its log; starting it is the operator's.
        if not stage.world.server.is_running:
            stage.notes.append("PostgreSQL had to be started again")
            await stage.world.server.start_again()
        await _heals(stage)

    await stage.world.run_daemon()
    await stage.under_load(fill)


def _fill(disk: Path) -> Path:
    """Take all room there is."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(_MIB))
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


async def _can_write(stage: Stage) -> bool:
    """Write a little, and have a new segment of the log begun, which needs room."""
    try:
        async with stage.world.server.connection() as connection:
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS chaos_junk AS SELECT repeat('x', 100000) AS x"
            )
            await connection.execute("INSERT INTO chaos_junk SELECT repeat(md5(random()::text), 3000)")
            await connection.execute("SELECT pg_switch_wal()")
    except psycopg.Error:
        return False
    return True


SCENARIOS = [
    Scenario(name="database-restarted", play=restarted),
    Scenario(name="database-backends-terminated", play=backends_terminated),
    Scenario(name="database-locked", play=pool_exhausted),
    Scenario(name="database-away", play=away),
]
DISK_FULL = Scenario(name="database-disk-full", play=disk_full)
