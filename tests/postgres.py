"""What tests of the store share: waiting for a backend, and a wire that can be cut."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, LiteralString

import trio
from attrs import define
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from daemon.store.connection import Connection

LIMIT_S = 30
_ALONE_S = 10
LONG = "SELECT pg_sleep(600)"
# Rows are gone sooner than a TRUNCATE has made new files. What refers to what is of no account meanwhile.
EMPTIED: Final = """
DO $$
DECLARE name text;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename <> 'schema_migration'
    LOOP
        EXECUTE format('DELETE FROM %I', name);
    END LOOP;
    FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = current_schema()
    LOOP
        EXECUTE format('ALTER SEQUENCE %I RESTART', name);
    END LOOP;
END $$
"""


async def connect(url: str, schema: str | None = None, *, statement_timeout_s: float = LIMIT_S) -> Connection:
    return await Connection.connect(
        url, timeout_s=LIMIT_S, statement_timeout_s=statement_timeout_s, search_path=schema
    )


async def run_alone(url: str, statement: sql.Composed) -> None:
    """On a connection of its own."""
    connection = await Connection.connect(url, timeout_s=_ALONE_S, statement_timeout_s=_ALONE_S)
    try:
        await connection.execute(statement)
    finally:
        connection.close_now()


async def make_schema(url: str) -> str:
    """A new, empty one; its name."""
    name = f"test_{secrets.token_hex(6)}"
    await run_alone(url, sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    return name


async def drop_schema(url: str, name: str) -> None:
    await run_alone(url, sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


async def until_row(observer: Connection, sql: LiteralString, *params: Any) -> None:
    """Wait until the query has a row: what happens inside the server can only be asked for."""
    while await observer.fetch_one(sql, params) is None:  # noqa: ASYNC110
        await trio.sleep(0.001)


async def until_active(observer: Connection, pid: int) -> None:
    await until_row(observer, "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = 'active'", pid)


async def until_runs(observer: Connection, pid: int, query: str) -> None:
    sql = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND query = %s AND state = 'active'"
    await until_row(observer, sql, pid, query)


async def until_gone(observer: Connection, pid: int) -> None:
    await until_row(observer, "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)", pid)


@define(eq=False)
class Proxy:
    """TCP in front of the server; frozen, it goes on accepting and forwards nothing more."""

    upstream: str
    url: str = ""
    is_frozen: bool = False

    async def serve(self, client: trio.SocketStream) -> None:
        async with client, await self._connect() as server, trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, client, server)
            await self._pump(server, client)
            nursery.cancel_scope.cancel()

    async def _connect(self) -> trio.SocketStream:
        params = conninfo_to_dict(self.upstream)
        host, port = str(params.get("host", "127.0.0.1")), int(params.get("port") or 5432)
        if host.startswith("/"):
            return await trio.open_unix_socket(f"{host}/.s.PGSQL.{port}")
        return await trio.open_tcp_stream(host, port)

    async def _pump(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            async for chunk in source:
                if self.is_frozen:
                    await trio.sleep_forever()
                await sink.send_all(chunk)
        except trio.BrokenResourceError:
            pass  # the peer left without a farewell


@asynccontextmanager
async def open_proxy(upstream: str) -> AsyncIterator[Proxy]:
    params = conninfo_to_dict(upstream)
    login = f"{params.get('user', 'postgres')}:{params.get('password', '')}"
    proxy = Proxy(upstream)
    async with trio.open_nursery() as nursery:
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        nursery.start_soon(trio.serve_listeners, proxy.serve, [listener])
        port = listener.socket.getsockname()[1]
        proxy.url = (
            f"postgresql://{login}@127.0.0.1:{port}/{params.get('dbname', 'postgres')}?sslmode=disable"
        )
        yield proxy
        nursery.cancel_scope.cancel()
