"""What `daemon.store.connection` relies on in psycopg 3.3, PostgreSQL and trio: connecting, statements, loss."""

import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
import trio
from typing_extensions import override

from daemon.store import connection as connection_module
from daemon.store.connection import Connection
from daemon.store.embedded import EmbeddedServer
from tests.postgres import LIMIT_S, LONG, connect, open_proxy, until_runs


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


# --- Connecting -------------------------------------------------------------------------------------------


async def test_a_new_connection_is_in_utc_and_autocommit_and_says_who_it_is(conn: Connection) -> None:
    row = await conn.fetch_one("SELECT current_setting('timezone'), current_setting('application_name')")
    assert row == ("UTC", "relevo")
    assert conn.autocommit
    assert conn.is_idle


async def test_connects_over_tcp(database_url: str) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_proxy(database_url) as proxy:
            connection = await connect(proxy.url)
            assert await connection.fetch_one("SELECT 1") == (1,)
            connection.close_now()


class Resolver(trio.abc.HostnameResolver):
    """Knows one host, with an address where nobody listens before the right one."""

    @override
    async def getaddrinfo(  # type: ignore[override]  # the order of the results is all that matters
        self, host: bytes | str | None, port: bytes | str | int | None, *rest: object, **options: object
    ) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        if host not in (b"db.example", "db.example"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, ("127.0.0.2", 1)), (*kind, ("127.0.0.1", 1))]

    @override
    async def getnameinfo(self, sockaddr: object, flags: int) -> tuple[str, str]:
        raise NotImplementedError


async def test_host_names_are_resolved_by_trio_and_every_address_is_tried(database_url: str) -> None:
    trio.socket.set_custom_hostname_resolver(Resolver())
    with trio.fail_after(LIMIT_S):
        async with open_proxy(database_url) as proxy:
            connection = await connect(proxy.url.replace("127.0.0.1", "nowhere.example,db.example"))
            assert connection.info.hostaddr == "127.0.0.1"
            connection.close_now()


async def test_an_unknown_host_is_named() -> None:
    trio.socket.set_custom_hostname_resolver(Resolver())
    with trio.fail_after(LIMIT_S), pytest.raises(psycopg.OperationalError, match=r"nowhere\.example"):
        await connect("postgresql://nowhere.example/x")


async def test_a_closed_port_is_refused() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"postgresql://127.0.0.1:{bound.getsockname()[1]}/x"
        with trio.fail_after(LIMIT_S), pytest.raises(psycopg.OperationalError, match="refused"):
            await connect(url)


async def test_a_socket_folder_without_a_server_is_an_error(tmp_path: Path) -> None:
    with trio.fail_after(LIMIT_S), pytest.raises(psycopg.OperationalError, match="No such file"):
        await connect(f"postgresql:///x?host={tmp_path}")


async def test_a_url_that_is_none_is_a_programming_error() -> None:
    with pytest.raises(psycopg.ProgrammingError):
        await connect("postgresql://[")


async def test_a_server_that_accepts_and_says_nothing_is_given_up_in_time(nursery: trio.Nursery) -> None:
    async def silent(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    listeners = await nursery.start(trio.serve_tcp, silent, 0)
    url = f"postgresql://127.0.0.1:{listeners[0].socket.getsockname()[1]}/x"
    with trio.fail_after(LIMIT_S), pytest.raises(psycopg.OperationalError):
        await Connection.connect(url, timeout_s=0.2)


@pytest.mark.processes
async def test_a_wrong_password_is_refused_and_the_right_one_is_not(server_folder: Path) -> None:
    server = EmbeddedServer(server_folder, durable=False)
    with trio.fail_after(2 * LIMIT_S):
        connection = await connect(await server.start())
        await connection.execute("CREATE ROLE guest LOGIN PASSWORD 'open sesame'")
        connection.close_now()
        await server.stop()
        rules = server_folder / "postgresql" / "pg_hba.conf"
        rules.write_text("local all guest scram-sha-256\nlocal all all trust\n")
        try:
            url = (await server.start()).replace("postgres@", "guest:{}@")
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                await connect(url.format("guess"))
            (await connect(url.format("open%20sesame"))).close_now()
        finally:
            await server.stop()


# --- Statements -------------------------------------------------------------------------------------------


async def test_a_statement_is_prepared_the_second_time(conn: Connection) -> None:
    for _ in range(3):
        assert await conn.fetch_all("SELECT id FROM note WHERE id > %s", (0,)) == []
    rows = await conn.fetch_all("SELECT statement FROM pg_prepared_statements")
    assert [row[0] for row in rows] == ["SELECT id FROM note WHERE id > $1"]


async def test_kept_cursors_do_not_keep_rows(conn: Connection) -> None:
    await conn.fetch_all("SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
    assert [cursor.pgresult for cursor in conn._cursors.values()] == [None]


async def test_kept_cursors_are_limited(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "_KEPT_CURSORS_MAX", 2)
    for number in range(5):
        assert await conn.fetch_one(f"SELECT {number}") == (number,)
    assert len(conn._cursors) <= 2


async def test_the_number_of_touched_rows_is_returned(conn: Connection) -> None:
    assert await conn.run_statement("INSERT INTO note VALUES (1, 'a'), (2, 'b')") == 2
    assert await conn.run_statement("DELETE FROM note WHERE id = %s", (7,)) == 0


async def test_tasks_that_share_a_connection_take_turns(conn: Connection) -> None:
    async def check(number: int) -> None:
        assert await conn.fetch_one("SELECT %s::int", (number,)) == (number,)

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(check, number)


async def test_a_parameter_larger_than_the_sockets_buffers_arrives(conn: Connection) -> None:
    large = random.Random(1).randbytes(20_000_000)
    with trio.fail_after(LIMIT_S):
        assert await conn.fetch_one("SELECT %s::bytea", (large,)) == (large,)


async def test_an_error_of_a_statement_leaves_the_connection_usable(conn: Connection) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        await conn.fetch_one("SELECT 1/0")
    assert await conn.fetch_one("SELECT 1") == (1,)


async def test_pipeline_sends_without_waiting_for_answers(conn: Connection) -> None:
    with trio.fail_after(LIMIT_S):
        async with conn.pipeline():
            first = await conn.execute("INSERT INTO note VALUES (1, 'a') RETURNING id")
            second = await conn.execute("SELECT count(*) FROM note")
            assert await first.fetchone() == (1,)
            assert await second.fetchone() == (1,)
        assert conn.is_idle


async def test_executemany_and_copy_move_many_rows(conn: Connection) -> None:
    with trio.fail_after(LIMIT_S):
        cursor = conn.cursor()
        await cursor.executemany("INSERT INTO note VALUES (%s, %s)", [(i, "many") for i in range(1000)])
        async with cursor.copy("COPY note FROM STDIN") as copy:
            for i in range(1000, 2000):
                await copy.write_row((i, "copied"))
        async with cursor.copy("COPY (SELECT id FROM note ORDER BY id) TO STDOUT") as copy:
            assert [int(row[0]) async for row in copy.rows()] == list(range(2000))
        assert conn.is_idle


async def test_notifications_arrive(conn: Connection, observer: Connection) -> None:
    with trio.fail_after(LIMIT_S):
        await conn.execute("LISTEN news")
        await observer.execute("NOTIFY news, 'first'")
        heard = [notify.payload async for notify in conn.notifies(stop_after=1)]
        assert heard == ["first"]
        assert [notify async for notify in conn.notifies(timeout=0.01)] == []
        assert await conn.fetch_one("SELECT 1") == (1,)


# --- Loss -------------------------------------------------------------------------------------------------


async def test_a_backend_killed_under_a_query_is_an_operational_error(
    conn: Connection, observer: Connection
) -> None:
    pid = conn.info.backend_pid

    async def expect_loss() -> None:
        with pytest.raises(psycopg.OperationalError):
            await conn.fetch_one(LONG)

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_loss)
            await until_runs(observer, pid, LONG)
            await observer.execute("SELECT pg_terminate_backend(%s)", (pid,))
    assert conn.closed


async def test_a_listening_connection_notices_that_its_backend_was_killed(
    conn: Connection, observer: Connection
) -> None:
    await conn.execute("LISTEN news")
    await observer.execute("SELECT pg_terminate_backend(%s)", (conn.info.backend_pid,))
    with trio.fail_after(LIMIT_S), pytest.raises(psycopg.OperationalError):
        async for _ in conn.notifies():
            pass


async def test_an_idle_connection_knows_without_waiting_that_it_was_lost(
    conn: Connection, observer: Connection
) -> None:
    assert conn.is_alive()
    await conn.execute("LISTEN news")
    await observer.execute("NOTIFY news")
    assert conn.is_alive()
    await observer.execute("SELECT pg_terminate_backend(%s)", (conn.info.backend_pid,))
    with trio.fail_after(LIMIT_S):
        while conn.is_alive():
            await trio.lowlevel.wait_readable(conn.pgconn.socket)


async def test_closing_wakes_the_task_that_waits(conn: Connection, observer: Connection) -> None:
    async def expect_close() -> None:
        with pytest.raises(psycopg.OperationalError, match="closed"):
            await conn.fetch_one(LONG)

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_close)
            await until_runs(observer, conn.info.backend_pid, LONG)
            conn.close_now()
