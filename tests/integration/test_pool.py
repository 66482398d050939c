"""The pool against a real server: lending, limits, and healing by itself."""

import random
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from actors.ports import StoreUnavailableError
from daemon.store import connection as connection_module
from daemon.store.connection import Connection
from daemon.store.embedded import EmbeddedServer
from daemon.store.pool import Pool, PoolLimits, StatementError, open_pool
from tests.postgres import LIMIT_S, LONG, connect, open_proxy, until_gone, until_runs

BRIEF = PoolLimits(size=2, acquire_s=0.1, reconnect_min_s=0.01, reconnect_max_s=0.05)

NUMBER = "+573138539155"
PASSWORD = "s3cret"


@pytest.fixture
async def observer(database_url: str) -> AsyncIterator[Connection]:
    connection = await connect(database_url)
    yield connection
    connection.close_now()


async def backend_pid(pool: Pool) -> int:
    row = await pool.fetch_one("SELECT pg_backend_pid()")
    assert row is not None
    return int(row[0])


async def until_full(pool: Pool) -> None:
    """Wait until every connection is idle."""
    while pool.statistics.idle < pool.statistics.size:  # noqa: ASYNC110 -- the pool tells nobody
        await trio.sleep(0.001)


# --- Lending ----------------------------------------------------------------------------------------------


async def test_statements_return_rows_a_row_or_a_count(pool: Pool) -> None:
    await pool.execute("CREATE TABLE note (id int)")
    assert await pool.execute("INSERT INTO note SELECT generate_series(1, 3)") == 3
    assert await pool.fetch_all("SELECT id FROM note WHERE id > %s ORDER BY id", (1,)) == [(2,), (3,)]
    assert await pool.fetch_one("SELECT id FROM note WHERE id = %(id)s", {"id": 3}) == (3,)
    assert await pool.fetch_one("SELECT id FROM note WHERE id = %(id)s", {"id": 4}) is None


async def test_a_transaction_commits_with_its_block(pool: Pool) -> None:
    await pool.execute("CREATE TABLE note (id int)")
    async with pool.transaction() as connection:
        await connection.execute("INSERT INTO note VALUES (1)")
        assert await pool.fetch_all("SELECT id FROM note") == []
    assert await pool.fetch_all("SELECT id FROM note") == [(1,)]


async def test_errors_of_a_statement_tell_what_kind_they_are(pool: Pool) -> None:
    with pytest.raises(StatementError, match='relation "nothing" does not exist'):
        await pool.fetch_all("SELECT * FROM nothing")
    with pytest.raises(StatementError, match=r"^22012: division by zero$"):
        async with pool.transaction() as connection:
            await connection.execute("SELECT 1/0")
    await until_full(pool)


async def test_errors_of_a_statement_do_not_quote_the_row(pool: Pool) -> None:
    await pool.execute("CREATE TABLE person (number text UNIQUE)")
    await pool.execute("INSERT INTO person VALUES (%s)", (NUMBER,))

    with pytest.raises(StatementError) as caught:
        await pool.execute("INSERT INTO person VALUES (%s)", (NUMBER,))

    assert caught.value.sqlstate == "23505"
    assert NUMBER not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("sqlstate", ["40001", "40P01", "53100", "57014", "58030", "25006"])
async def test_a_server_that_cannot_do_its_work_makes_the_store_unavailable(
    pool: Pool, sqlstate: str
) -> None:
    block = f"DO $$ BEGIN RAISE 'no' USING ERRCODE = '{sqlstate}', DETAIL = 'of {NUMBER}'; END $$"
    with pytest.raises(StoreUnavailableError) as caught:
        await pool.execute(block)

    assert NUMBER not in "".join(traceback.format_exception(caught.value))
    await until_full(pool)


@pytest.mark.parametrize("rest", ["h/db?nonsense=1", "[::1/db", "a..b/db"])
async def test_a_malformed_url_is_told_without_its_password(rest: str) -> None:
    with trio.fail_after(LIMIT_S), pytest.raises(StoreUnavailableError, match="cannot connect") as caught:
        async with open_pool(f"postgresql://relevo:{PASSWORD}@{rest}"):
            pass

    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


async def test_statistics_count_idle_used_and_waiting(database_url: str) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_pool(database_url, limits=PoolLimits(size=2)) as pool, trio.open_nursery() as nursery:
            await until_full(pool)
            async with pool.connection(), pool.connection():
                nursery.start_soon(pool.check)
                await trio.testing.wait_all_tasks_blocked()
                seen = pool.statistics
                assert (seen.size, seen.idle, seen.in_use, seen.missing, seen.waiting) == (2, 0, 2, 0, 1)


async def test_waiting_for_a_connection_has_a_limit(database_url: str) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_pool(database_url, limits=BRIEF) as pool:
            await until_full(pool)
            async with pool.connection(), pool.connection():
                with pytest.raises(StoreUnavailableError, match=r"within 0\.1 s"):
                    await pool.fetch_one("SELECT 1")
            assert await pool.check()


async def test_more_tasks_than_connections_are_all_served(pool: Pool) -> None:
    answers = []

    async def ask(number: int) -> None:
        answers.append(await pool.fetch_one("SELECT %s::int", (number,)))

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(ask, number)
    assert sorted(answer[0] for answer in answers if answer) == list(range(200))


async def test_a_statement_beyond_its_limit_makes_the_store_unavailable(database_url: str) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_pool(database_url, limits=PoolLimits(size=1, statement_s=0.1)) as pool:
            pid = await backend_pid(pool)
            with pytest.raises(StoreUnavailableError, match=r"0\.1 s"):
                await pool.fetch_one(LONG)
            assert await backend_pid(pool) == pid


async def test_a_closed_pool_is_unavailable(database_url: str) -> None:
    async with open_pool(database_url, limits=BRIEF) as pool:
        pass
    with pytest.raises(StoreUnavailableError, match="closed"):
        await pool.fetch_one("SELECT 1")
    assert not await pool.check()


async def test_closing_ends_every_connection(database_url: str, observer: Connection) -> None:
    async with open_pool(database_url, limits=BRIEF) as pool:
        await until_full(pool)
        async with pool.connection() as one, pool.connection() as other:
            pids = [one.info.backend_pid, other.info.backend_pid]
    with trio.fail_after(LIMIT_S):
        for pid in pids:
            await until_gone(observer, pid)


async def test_an_exception_of_the_block_leaves_open_pool_as_it_is(database_url: str) -> None:
    with pytest.raises(LookupError):
        async with open_pool(database_url, limits=BRIEF):
            raise LookupError


async def test_a_server_that_is_not_there_is_told_at_once(server_folder: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="cannot connect"):
        async with open_pool(f"postgresql:///x?host={server_folder}", limits=BRIEF):
            pass


# --- Cancellation -----------------------------------------------------------------------------------------


async def test_a_connection_that_comes_back_with_a_transaction_is_replaced(
    database_url: str, observer: Connection
) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_pool(database_url, limits=PoolLimits(size=1)) as pool:
            async with pool.connection() as connection:
                pid = connection.info.backend_pid
                await connection.execute("BEGIN")
            await until_gone(observer, pid)
            assert await backend_pid(pool) != pid


async def test_after_a_cancel_that_is_not_answered_the_connection_is_replaced(
    database_url: str, observer: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_CANCEL_LIMIT_S", 0.1)
    with trio.fail_after(LIMIT_S):
        async with open_proxy(database_url) as proxy, open_pool(proxy.url, limits=PoolLimits(size=1)) as pool:
            pid = await backend_pid(pool)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pool.fetch_one, LONG)
                await until_runs(observer, pid, LONG)
                proxy.is_frozen = True
                nursery.cancel_scope.cancel()
            proxy.is_frozen = False
            assert await backend_pid(pool) != pid


async def test_random_cancels_leave_the_pool_whole(database_url: str) -> None:
    chance = random.Random(20_27)

    async def use(pool: Pool) -> None:
        for _ in range(25):
            with trio.move_on_after(chance.uniform(0, 0.005)):
                async with pool.transaction() as connection:
                    await connection.fetch_one("SELECT pg_sleep(0.001)")
            with trio.move_on_after(chance.uniform(0, 0.002)):
                await pool.fetch_one("SELECT pg_sleep(0.001)")

    with trio.fail_after(LIMIT_S):
        async with open_pool(database_url, limits=PoolLimits(size=3)) as pool:
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(use, pool)
            await until_full(pool)
            assert await pool.check()


# --- Loss -------------------------------------------------------------------------------------------------


async def test_a_backend_killed_under_a_statement_makes_the_store_unavailable_once(
    database_url: str, observer: Connection
) -> None:
    async def expect_loss(pool: Pool) -> None:
        with pytest.raises(StoreUnavailableError):
            await pool.fetch_one(LONG)

    with trio.fail_after(LIMIT_S):
        async with open_pool(database_url, limits=PoolLimits(size=1)) as pool:
            pid = await backend_pid(pool)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(expect_loss, pool)
                await until_runs(observer, pid, LONG)
                await observer.execute("SELECT pg_terminate_backend(%s)", (pid,))
            assert await pool.check()


async def test_a_backend_killed_while_idle_is_replaced_unnoticed(
    database_url: str, observer: Connection
) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_pool(database_url, limits=PoolLimits(size=1)) as pool:
            pid = await backend_pid(pool)
            await observer.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
            assert await backend_pid(pool) != pid


@pytest.mark.processes
@pytest.mark.expects_error_log
async def test_the_pool_heals_when_the_server_returns(server_folder: Path, error_logs: list[str]) -> None:
    server = EmbeddedServer(server_folder, durable=False)
    with trio.fail_after(2 * LIMIT_S):
        url = await server.start()
        try:
            async with open_pool(url, limits=BRIEF) as pool:
                await until_full(pool)
                await server.stop()
                assert not await pool.check()
                with pytest.raises(StoreUnavailableError):
                    await pool.fetch_one("SELECT 1")
                assert len(error_logs) == 1
                assert await server.start() == url
                await until_full(pool)
                assert await pool.check()
                assert len(error_logs) == 1
        finally:
            await server.stop()
