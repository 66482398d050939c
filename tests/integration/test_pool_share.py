"""A part of the pool for those who can wait."""

import pytest
import trio
import trio.testing

from actors.ports import StoreUnavailableError
from daemon.store.pool import Pool, PoolLimits, PoolShare, open_pool
from tests.postgres import LIMIT_S


async def hold(database: Pool | PoolShare, taken: trio.Event, let_go: trio.Event) -> None:
    async with database.connection():
        taken.set()
        await let_go.wait()


async def test_a_crowd_leaves_connections_to_those_who_cannot_wait(database: str) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_pool(database, limits=PoolLimits(size=3)) as pool, trio.open_nursery() as nursery:
            share, let_go = PoolShare(pool, at_most=2, patience_s=LIMIT_S), trio.Event()
            for _ in range(2):
                taken = trio.Event()
                nursery.start_soon(hold, share, taken, let_go)
                await taken.wait()
            answers: list[object] = []

            async def ask() -> None:
                answers.append(await share.fetch_one("SELECT 1"))

            for _ in range(50):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()

            assert await pool.fetch_one("SELECT 2") == (2,)
            assert answers == []
            let_go.set()
        assert answers == [(1,)] * 50


async def test_patience_has_an_end_and_a_place_is_never_lost(database: str) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_pool(database, limits=PoolLimits(size=2)) as pool, trio.open_nursery() as nursery:
            share, taken, let_go = PoolShare(pool, at_most=1, patience_s=0.05), trio.Event(), trio.Event()
            nursery.start_soon(hold, share, taken, let_go)
            await taken.wait()
            with pytest.raises(StoreUnavailableError, match="no turn"):
                await share.fetch_one("SELECT 1")
            with trio.CancelScope() as scope:
                scope.cancel()
                await share.fetch_one("SELECT 1")
            let_go.set()
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(3):
                assert await share.fetch_one("SELECT 1") == (1,)


async def test_a_lost_pool_gives_the_place_back(database: str) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_pool(database, limits=PoolLimits(size=1, acquire_s=0.05)) as pool:
            share = PoolShare(pool, at_most=1, patience_s=LIMIT_S)
            async with pool.connection():
                for _ in range(3):
                    with pytest.raises(StoreUnavailableError, match="no database connection"):
                        await share.fetch_one("SELECT 1")
            assert await share.fetch_one("SELECT 1") == (1,)
