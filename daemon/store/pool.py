"""The connections that everything in the store shares."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, LiteralString, TypeAlias

import psycopg
import structlog
import trio
from attrs import frozen
from psycopg.abc import Params
from typing_extensions import override

from actors.ports import StoreUnavailableError
from daemon.store.beside import running_beside
from daemon.store.connection import Connection, StatementTimeoutError

__all__ = [
    "Connection",
    "Database",
    "Pool",
    "PoolLimits",
    "PoolShare",
    "PoolStatistics",
    "StatementError",
    "open_pool",
]

Row: TypeAlias = tuple[Any, ...]

log = structlog.get_logger()

# Rollbacks that are nobody's mistake, too few resources, an operator's or a standby's doing, trouble with the disk.
_PASSING_CLASSES = frozenset({"40", "53", "57", "58"})
_READ_ONLY = "25006"


class StatementError(Exception):
    """The database refused a statement.

    It says what kind of error that was and no more: what else PostgreSQL tells (DETAIL, CONTEXT) quotes the row's
    values, and those are personal.
    """

    def __init__(self, sqlstate: str | None, message: str) -> None:
        super().__init__(f"{sqlstate or 'no SQLSTATE'}: {message}")
        self.sqlstate = sqlstate


@frozen(kw_only=True)
class PoolLimits:
    size: int = 8
    connect_s: float = 5
    """One attempt to connect, over all addresses of the server."""
    acquire_s: float = 5
    """A caller's wait for a connection."""
    statement_s: float = 10
    """One statement, from sending to answer."""
    reconnect_min_s: float = 0.1
    reconnect_max_s: float = 5
    """The pause between two attempts to connect starts at the one and doubles up to the other."""


@frozen(kw_only=True)
class PoolStatistics:
    size: int
    idle: int
    in_use: int
    missing: int
    """Lost, or not yet opened; they are replaced as soon as the server lets us."""
    waiting: int
    """Tasks that wait for a connection."""


class Database:
    """What the stores work with: connections to borrow, one caller each at a time.

    Every method raises `StoreUnavailableError` when no connection can be had, when it is lost on the way, when a
    statement takes longer than `statement_s`, or when the server cannot do its work at the moment (a failover, a full
    disk, a deadlock); whether the statement happened is unknown where the connection was lost or the time was up.
    Other errors of the database come as `StatementError`. A cancelled statement may or may not have happened.
    """

    async def _acquire(self) -> Connection:
        raise NotImplementedError

    def _release(self, connection: Connection) -> None:
        raise NotImplementedError

    # --- One statement ----------------------------------------------------------------------------------

    async def fetch_all(self, sql: LiteralString, params: Params | None = None) -> list[Row]:
        with _Loan(self, await self._acquire()) as connection:
            return await connection.fetch_all(sql, params)

    async def fetch_one(self, sql: LiteralString, params: Params | None = None) -> Row | None:
        """The first row, if there is one."""
        with _Loan(self, await self._acquire()) as connection:
            return await connection.fetch_one(sql, params)

    async def execute(self, sql: LiteralString, params: Params | None = None) -> int:
        """The number of rows that the statement touched."""
        with _Loan(self, await self._acquire()) as connection:
            return await connection.run_statement(sql, params)

    async def check(self) -> bool:
        """Whether the database answers now."""
        try:
            await self.fetch_one("SELECT 1")
        except StoreUnavailableError:
            return False
        return True

    # --- Several statements -----------------------------------------------------------------------------

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for the block. Its session's settings must be as they were when it goes back."""
        with _Loan(self, await self._acquire()) as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection with a transaction for the block; see `Connection.transaction` for how it ends."""
        async with self.connection() as connection, connection.transaction():
            yield connection


class Pool(Database):
    """`limits.size` connections, one caller each at a time.

    A connection that is lost, or that comes back with a transaction or a statement still under way (after a cancel),
    is closed and replaced, so the pool heals by itself however long the server was away. Callers wait for a connection
    up to `acquire_s`, in order of arrival. Whoever holds one and asks for a second may deadlock up to that limit.
    """

    def __init__(self, url: str, *, limits: PoolLimits | None = None, search_path: str | None = None) -> None:
        self._url = url
        self._limits = limits or PoolLimits()
        self._search_path = search_path
        size = self._limits.size
        self._idle_in, self._idle_out = trio.open_memory_channel[Connection](size)
        self._missing_in, self._missing_out = trio.open_memory_channel[None](size)
        for _ in range(size):
            self._missing_in.send_nowait(None)
        self._in_use = 0
        self._is_open = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the connections open; runs until cancelled. Started when the first one is there.

        Raises:
            StoreUnavailableError: the first one could not be had. Later losses are healed.
        """
        try:
            first = await self._connect()
        except psycopg.OperationalError as error:
            raise StoreUnavailableError(f"cannot connect to the database: {error}") from error
        except psycopg.ProgrammingError:
            # What libpq says of a malformed URL quotes it, password and all.
            raise StoreUnavailableError(
                "cannot connect to the database: its URL is malformed or has a parameter that PostgreSQL does not know"
            ) from None
        self._missing_out.receive_nowait()
        self._idle_in.send_nowait(first)
        self._is_open = True
        try:
            task_status.started()
            async for _ in self._missing_out:
                self._idle_in.send_nowait(await self._connect_persistently())
        finally:
            self._close()

    async def _connect(self) -> Connection:
        return await Connection.connect(
            self._url,
            timeout_s=self._limits.connect_s,
            statement_timeout_s=self._limits.statement_s,
            search_path=self._search_path,
        )

    async def _connect_persistently(self) -> Connection:
        pause_s = self._limits.reconnect_min_s
        unreachable_since = None
        while True:
            try:
                connection = await self._connect()
            except psycopg.Error as error:
                if unreachable_since is None:
                    unreachable_since = trio.current_time()
                    log.error("database unreachable", reason=str(error))  # noqa: TRY400 -- once, in one line
            else:
                if unreachable_since is not None:
                    log.info(
                        "database reachable again", after_s=round(trio.current_time() - unreachable_since, 1)
                    )
                return connection
            await trio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311 -- jitter
            pause_s = min(2 * pause_s, self._limits.reconnect_max_s)

    def _close(self) -> None:
        self._is_open = False
        # Ends those who wait for a connection; connections in use are closed as they come back.
        self._idle_in.close()
        while self._idle_out.statistics().current_buffer_used:
            self._idle_out.receive_nowait().close_now()

    # --- Lending ----------------------------------------------------------------------------------------

    @property
    def statistics(self) -> PoolStatistics:
        channel = self._idle_out.statistics()
        idle = channel.current_buffer_used
        return PoolStatistics(
            size=self._limits.size,
            idle=idle,
            in_use=self._in_use,
            missing=self._limits.size - idle - self._in_use,
            waiting=channel.tasks_waiting_receive,
        )

    @override
    async def _acquire(self) -> Connection:
        try:
            # Without a checkpoint where nobody waits: the statement that follows has one.
            connection = self._take_idle() or await self._wait_for_idle()
        except trio.EndOfChannel:
            raise StoreUnavailableError("the store is closed") from None
        self._in_use += 1
        return connection

    def _take_idle(self) -> Connection | None:
        while True:
            try:
                connection = self._idle_out.receive_nowait()
            except trio.WouldBlock:
                return None
            if connection.is_alive():
                return connection
            self._replace(connection)

    async def _wait_for_idle(self) -> Connection:
        with trio.move_on_after(self._limits.acquire_s):
            while True:
                connection = await self._idle_out.receive()
                if connection.is_alive():
                    return connection
                self._replace(connection)
        raise StoreUnavailableError(f"no database connection within {self._limits.acquire_s:g} s")

    @override
    def _release(self, connection: Connection) -> None:
        self._in_use -= 1
        if not self._is_open:
            connection.close_now()
        elif connection.is_idle:
            self._idle_in.send_nowait(connection)
        else:
            self._replace(connection)

    def _replace(self, connection: Connection) -> None:
        connection.close_now()
        self._missing_in.send_nowait(None)


class PoolShare(Database):
    """At most so many of a pool's connections, for those who can wait: the others stay free for those who cannot.

    Who finds all of them busy waits in order of arrival, up to `patience_s`, and then as long as the pool lets anybody
    wait.
    """

    def __init__(self, pool: Pool, *, at_most: int, patience_s: float) -> None:
        self._pool = pool
        self._places = trio.Semaphore(at_most)
        self._patience_s = patience_s

    @override
    async def _acquire(self) -> Connection:
        try:
            self._places.acquire_nowait()
        except trio.WouldBlock:
            await self._wait_for_place()
        try:
            return await self._pool._acquire()  # noqa: SLF001 -- one class in three parts
        except BaseException:
            self._places.release()
            raise

    async def _wait_for_place(self) -> None:
        with trio.move_on_after(self._patience_s) as patience:
            await self._places.acquire()
        if patience.cancelled_caught:
            raise StoreUnavailableError(f"no turn at the database within {self._patience_s:g} s")

    @override
    def _release(self, connection: Connection) -> None:
        self._pool._release(connection)  # noqa: SLF001 -- one class in three parts
        self._places.release()


class _Loan:
    """Gives the connection back, and tells its loss from the errors of a statement."""

    __slots__ = ("_connection", "_database")

    def __init__(self, database: Database, connection: Connection) -> None:
        self._database = database
        self._connection = connection

    def __enter__(self) -> Connection:
        return self._connection

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        is_unavailable = self._connection.closed or _is_passing(error)
        self._database._release(self._connection)  # noqa: SLF001 -- one class in three parts
        if not isinstance(error, psycopg.Error):
            return
        if is_unavailable:
            raise StoreUnavailableError(f"the database did not answer: {_impersonal(error)}") from None
        raise StatementError(error.sqlstate, _impersonal(error)) from None


def _is_passing(error: BaseException | None) -> bool:
    """Whether the same statement may well succeed later."""
    if not isinstance(error, psycopg.Error):
        return False
    sqlstate = error.sqlstate or ""
    is_servers = sqlstate[:2] in _PASSING_CLASSES or sqlstate == _READ_ONLY
    return is_servers or isinstance(error, StatementTimeoutError)


def _impersonal(error: psycopg.Error) -> str:
    """What happened, without PostgreSQL's DETAIL and CONTEXT; the library's own errors quote no values."""
    return error.diag.message_primary or str(error)


@asynccontextmanager
async def open_pool(
    url: str, *, limits: PoolLimits | None = None, search_path: str | None = None
) -> AsyncIterator[Pool]:
    """A pool that runs as long as the block does, for what has no nursery of its own: commands and tests."""
    pool = Pool(url, limits=limits, search_path=search_path)
    async with running_beside(pool.run, name="store pool"):
        yield pool
