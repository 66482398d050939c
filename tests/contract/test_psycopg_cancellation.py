"""What `daemon.store.connection` relies on in psycopg 3.3, PostgreSQL and trio: cancellation and transactions."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable

import psycopg
import pytest
import trio
from psycopg.pq import TransactionStatus

from daemon.store import connection as connection_module
from daemon.store.connection import Connection, StatementTimeoutError
from tests.postgres import LIMIT_S, LONG, Proxy, connect, open_proxy, until_active, until_gone, until_runs


@pytest.fixture
async def conn(database_url: str, schema: str) -> AsyncIterator[Connection]:
    connection = await connect(database_url, schema)
    await connection.execute("CREATE TABLE note (id int PRIMARY KEY, body text)")
    yield connection
    connection.close_now()


@pytest.fixture
async def observer(database_url: str, schema: str) -> AsyncIterator[Connection]:
    connection = await connect(database_url, schema)
    yield connection
    connection.close_now()


async def ids(connection: Connection) -> list[int]:
    return [row[0] for row in await connection.fetch_all("SELECT id FROM note ORDER BY id")]


# --- Cancellation -----------------------------------------------------------------------------------------


async def test_a_cancelled_query_ends_at_the_server_and_the_connection_goes_on(
    conn: Connection, observer: Connection
) -> None:
    pid = conn.info.backend_pid
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(conn.fetch_one, LONG)
            await until_runs(observer, pid, LONG)
            nursery.cancel_scope.cancel()
        assert conn.is_idle
        assert await conn.fetch_one("SELECT pg_backend_pid()") == (pid,)


async def test_a_query_beyond_its_limit_is_cancelled(database_url: str) -> None:
    connection = await connect(database_url, statement_timeout_s=0.1)
    with trio.fail_after(LIMIT_S), pytest.raises(StatementTimeoutError, match=r"0\.1 s"):
        await connection.fetch_one(LONG)
    assert connection.is_idle
    connection.close_now()


async def test_a_task_that_is_already_cancelled_sends_nothing(conn: Connection) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await conn.execute("INSERT INTO note VALUES (1)")
    assert scope.cancelled_caught
    assert await ids(conn) == []


async def test_a_cancel_that_the_server_does_not_answer_closes_the_connection(
    database_url: str, observer: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_CANCEL_LIMIT_S", 0.1)
    with trio.fail_after(LIMIT_S):
        async with open_proxy(database_url) as proxy:
            connection = await connect(proxy.url)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.fetch_one, LONG)
                await until_runs(observer, connection.info.backend_pid, LONG)
                proxy.is_frozen = True
                nursery.cancel_scope.cancel()
            assert connection.closed


async def test_cancel_safe_ends_a_query_of_another_task(conn: Connection, observer: Connection) -> None:
    async def expect_cancel() -> None:
        with pytest.raises(psycopg.errors.QueryCanceled):
            await conn.fetch_one(LONG)

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_cancel)
            await until_runs(observer, conn.info.backend_pid, LONG)
            await conn.cancel_safe()


async def cancel_in_pipeline(conn: Connection) -> None:
    async with conn.pipeline():
        await (await conn.execute(LONG)).fetchone()


async def cancel_in_copy_out(conn: Connection) -> None:
    async with conn.cursor().copy("COPY (SELECT generate_series(1, 1e9)) TO STDOUT") as copy:
        async for _ in copy:
            pass


async def cancel_in_copy_in(conn: Connection) -> None:
    async with conn.cursor().copy("COPY note FROM STDIN") as copy:
        await copy.write_row((1, "never"))
        await trio.sleep_forever()


async def cancel_in_stream(conn: Connection) -> None:
    async for _ in conn.cursor().stream("SELECT generate_series(1, 1e9)"):
        pass


@pytest.mark.parametrize("use", [cancel_in_pipeline, cancel_in_copy_out, cancel_in_copy_in, cancel_in_stream])
async def test_a_cancel_in_any_mode_leaves_the_connection_idle_or_closed(
    conn: Connection, observer: Connection, use: Callable[[Connection], Awaitable[None]]
) -> None:
    pid = conn.info.backend_pid
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(use, conn)
            await until_active(observer, pid)
            nursery.cancel_scope.cancel()
        if conn.closed:
            await until_gone(observer, pid)
        else:
            assert conn.is_idle
            assert await conn.fetch_one("SELECT 1") == (1,)
    assert await ids(observer) == []


# --- Transactions -----------------------------------------------------------------------------------------


class BlockError(Exception):
    """The exception of a transaction's block."""


async def insert_and_fail(conn: Connection, number: int) -> None:
    async with conn.transaction():
        await conn.execute("INSERT INTO note VALUES (%s)", (number,))
        raise BlockError


async def test_a_transaction_commits_or_rolls_back_with_its_block(conn: Connection) -> None:
    async with conn.transaction():
        await conn.execute("INSERT INTO note VALUES (1)")
        with pytest.raises(BlockError):
            await insert_and_fail(conn, 2)
    with pytest.raises(BlockError):
        await insert_and_fail(conn, 3)
    assert await ids(conn) == [1]
    assert conn.is_idle


async def test_a_cancelled_transaction_is_rolled_back(conn: Connection, observer: Connection) -> None:
    async def write() -> None:
        async with conn.transaction():
            await conn.execute("INSERT INTO note VALUES (1)")
            await conn.execute(LONG)

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await until_runs(observer, conn.info.backend_pid, LONG)
            nursery.cancel_scope.cancel()
    assert conn.is_idle
    assert await ids(observer) == []


async def test_a_block_that_came_to_its_end_is_committed_in_spite_of_a_cancel(conn: Connection) -> None:
    with trio.CancelScope() as scope:
        async with conn.transaction():
            await conn.execute("INSERT INTO note VALUES (1)")
            scope.cancel()
    assert await ids(conn) == [1]


async def swallow_a_failure(conn: Connection) -> None:
    async with conn.transaction():
        await conn.execute("INSERT INTO note VALUES (1)")
        with pytest.raises(psycopg.errors.DivisionByZero):
            await conn.execute("SELECT 1/0")


async def swallow_a_cancel(conn: Connection) -> None:
    async with conn.transaction():
        await conn.execute("INSERT INTO note VALUES (1)")
        with trio.move_on_after(0.01):
            await conn.execute(LONG)


@pytest.mark.parametrize("swallow", [swallow_a_failure, swallow_a_cancel])
async def test_a_transaction_that_swallowed_a_failure_does_not_pass_for_committed(
    conn: Connection, swallow: Callable[[Connection], Awaitable[None]]
) -> None:
    with trio.fail_after(LIMIT_S), pytest.raises(psycopg.errors.InFailedSqlTransaction):
        await swallow(conn)
    assert conn.is_idle
    assert await ids(conn) == []


async def test_a_transaction_that_swallowed_the_loss_of_its_connection_does_not_pass_for_committed(
    conn: Connection,
) -> None:
    with pytest.raises(psycopg.OperationalError, match="lost"):
        async with conn.transaction():
            conn.close_now()


async def commit_into_the_void(conn: Connection, proxy: Proxy) -> None:
    async with conn.transaction():
        await conn.execute("SELECT 1")
        proxy.is_frozen = True


async def test_a_commit_that_is_not_confirmed_in_time_is_an_error(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_CANCEL_LIMIT_S", 0.1)
    monkeypatch.setattr(connection_module, "_TRANSACTION_EDGE_LIMIT_S", 0.1)
    with trio.fail_after(LIMIT_S):
        async with open_proxy(database_url) as proxy:
            connection = await connect(proxy.url)
            with pytest.raises(psycopg.OperationalError, match="not confirmed"):
                await commit_into_the_void(connection, proxy)
            assert connection.closed


async def test_two_hundred_random_cancels_leave_no_transaction_open(
    database_url: str, schema: str, conn: Connection, observer: Connection
) -> None:
    chance = random.Random(20_26)
    committed = []
    cancelled = 0
    worker = await connect(database_url, schema)
    with trio.fail_after(2 * LIMIT_S):
        for number in range(200):
            with trio.move_on_after(chance.uniform(0, 0.012)) as scope:
                async with worker.transaction():
                    await worker.execute("INSERT INTO note VALUES (%s)", (number,))
                    await worker.execute("SELECT pg_sleep(0.002)")
                committed.append(number)
            cancelled += scope.cancelled_caught
            if worker.closed:
                worker = await connect(database_url, schema)
            assert worker.info.transaction_status == TransactionStatus.IDLE
    assert await ids(observer) == committed
    assert cancelled + len(committed) == 200
    assert cancelled
    worker.close_now()
