"""psycopg 3.3 driven by trio: the only file that stands on psycopg's internals.

psycopg's core is made of generators that say what they wait for on the socket; `Connection` waits with trio. What
the subclass replaces is what would need asyncio (connect, wait, cancel, the lock) and what would not survive trio's
cancellation (the transaction's edges). `tests/contract/test_psycopg_on_trio.py` holds what this relies on.
"""

import math
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, LiteralString, Self, TypeVar

import psycopg
import trio
from psycopg import generators, waiting
from psycopg._conninfo_utils import get_param, is_ip_address, split_attempts
from psycopg.abc import ConnDict, Params, PQGen, PQGenConn
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import _WaitTimeout
from psycopg.pq import ConnStatus, PipelineStatus, TransactionStatus
from psycopg.pq.abc import PGconn
from psycopg.rows import AsyncRowFactory, TupleRow, tuple_row
from psycopg.waiting import Ready, Wait
from typing_extensions import override

Result = TypeVar("Result")

_CANCEL_LIMIT_S = 2.0
_TRANSACTION_EDGE_LIMIT_S = 5.0
_KEPT_CURSORS_MAX = 100

_DEFAULTS: ConnDict = {
    "application_name": "relevo",
    # GSSAPI would look for a Kerberos server with blocking calls.
    "gssencmode": "disable",
    # An idle connection that a firewall has forgotten is noticed within a minute.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}


class StatementTimeoutError(psycopg.OperationalError):
    """A statement took longer than the connection's limit and was cancelled."""


class _Lock:
    """A lock whose uncontended acquire is no checkpoint: every holder goes on to wait for the socket."""

    def __init__(self) -> None:
        self._lock = trio.Lock()

    async def __aenter__(self) -> None:
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()

    async def __aexit__(self, *exc_info: object) -> None:
        self._lock.release()


class Connection(psycopg.AsyncConnection[TupleRow]):
    """A connection in autocommit mode whose session is in UTC; rows are tuples.

    A statement is prepared the second time it is run. One that is cancelled here is cancelled at the server too, and
    may have happened all the same; within two seconds the connection is usable again, or else it is closed.
    """

    def __init__(self, pgconn: PGconn, row_factory: AsyncRowFactory[TupleRow] = tuple_row) -> None:
        super().__init__(pgconn, row_factory)
        self.lock = _Lock()  # type: ignore[assignment]  # psycopg only ever says `async with`
        self._autocommit = True
        self.prepare_threshold = 1
        self.statement_timeout_s = math.inf
        """How long one answer may take before `StatementTimeoutError`; infinite for a connection that listens."""
        self._cursors: dict[str, psycopg.AsyncCursor[TupleRow]] = {}

    @classmethod
    @override
    async def connect(  # type: ignore[override]  # psycopg's options are not the caller's to vary
        cls,
        url: str,
        *,
        timeout_s: float,
        statement_timeout_s: float = math.inf,
        search_path: str | None = None,
    ) -> Self:
        """Connect within `timeout_s`, which all addresses of all the URL's hosts share.

        Raises:
            psycopg.OperationalError: no address let us in; the message has the reason of each.
            psycopg.ProgrammingError: the URL is no connection string.
        """
        params = _DEFAULTS | conninfo_to_dict(url)
        with trio.move_on_after(timeout_s) as scope:
            connection = await cls._connect_to_any(params, deadline=scope.deadline)
            try:
                await connection.execute("SELECT set_config('TimeZone', 'UTC', false)")
                if search_path is not None:
                    await connection.execute("SELECT set_config('search_path', %s, false)", (search_path,))
            except BaseException:
                connection.close_now()
                raise
            connection.statement_timeout_s = statement_timeout_s
            return connection
        raise psycopg.errors.ConnectionTimeout(f"no connection within {timeout_s:g} s")

    @classmethod
    async def _connect_to_any(cls, params: ConnDict, *, deadline: float) -> Self:
        """Try the addresses one after the other, each with its share of the time that is left."""
        attempts: list[ConnDict] = []
        failures: list[str] = []
        for host in split_attempts(params):
            try:
                attempts += await _resolved(host)
            except (OSError, UnicodeError) as error:
                failures.append(f"the host name {host.get('host')!r} cannot be resolved: {error}")
        for position, attempt in enumerate(attempts):
            time_left_s = max(0, deadline - trio.current_time())
            with trio.move_on_after(time_left_s / (len(attempts) - position)):
                try:
                    return await _drive_connect(cls._connect_gen(make_conninfo("", **attempt)))
                except psycopg.OperationalError as error:
                    failures.append(str(error))
                    continue
            failures.append(f"{attempt.get('hostaddr')} does not answer")
        raise psycopg.OperationalError("; ".join(failures))

    # --- Statements -------------------------------------------------------------------------------------

    async def fetch_all(self, sql: LiteralString, params: Params | None = None) -> list[TupleRow]:
        cursor = await self._execute_kept(sql, params)
        rows = await cursor.fetchall()
        _forget_result(cursor)
        return rows

    async def fetch_one(self, sql: LiteralString, params: Params | None = None) -> TupleRow | None:
        """The first row, if there is one."""
        cursor = await self._execute_kept(sql, params)
        row = await cursor.fetchone()
        _forget_result(cursor)
        return row

    async def run_statement(self, sql: LiteralString, params: Params | None = None) -> int:
        """Run a statement that returns nothing; the number of rows it touched."""
        cursor = await self._execute_kept(sql, params)
        return cursor.rowcount

    async def _execute_kept(self, sql: LiteralString, params: Params | None) -> psycopg.AsyncCursor[TupleRow]:
        """Like `execute`, at three quarters of the cost: a cursor keeps what it has learned about its statement."""
        cursor = self._cursors.get(sql)
        if cursor is None:
            if len(self._cursors) >= _KEPT_CURSORS_MAX:
                self._cursors.clear()
            cursor = self._cursors[sql] = self.cursor()
        return await cursor.execute(sql, params)

    @override
    @asynccontextmanager
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncIterator[psycopg.AsyncTransaction]:
        """A transaction, or a savepoint within one, that ends with the block also when the block is cancelled.

        A block that comes to its end is committed even if it is cancelled at that moment.

        Raises:
            psycopg.OperationalError: the connection was lost, or the server did not confirm the end within five
                seconds. The transaction may have been committed.
            psycopg.errors.InFailedSqlTransaction: the block ended well although a statement in it had failed or had
                been cancelled. Nothing was committed.
        """
        transaction = _Transaction(self, savepoint_name, force_rollback)
        if self._pipeline:
            async with self.pipeline(), transaction, self.pipeline():
                yield transaction
        else:
            async with transaction:
                yield transaction

    # --- Waiting ----------------------------------------------------------------------------------------

    @override
    async def wait(self, gen: PQGen[Result], interval: float = 0, timeout: float | None = None) -> Result:
        """Drive one of psycopg's generators. `timeout` is its own way to stop listening for notifications."""
        limit_s = self.statement_timeout_s if timeout is None else timeout
        if limit_s == math.inf:
            return await self._drive(gen)
        with trio.move_on_after(limit_s):
            return await self._drive(gen)
        if timeout is not None:
            raise _WaitTimeout
        raise StatementTimeoutError(f"no answer within {limit_s:g} s")

    async def _drive(self, gen: PQGen[Result]) -> Result:
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            wanted = next(gen)
            fileno = self.pgconn.socket
            while True:
                wanted = gen.send(await _until_ready(fileno, wanted))
        except StopIteration as end:
            result: Result = end.value
            return result
        except (trio.ClosedResourceError, OSError) as error:
            raise psycopg.OperationalError("the connection was closed") from error
        except (trio.Cancelled, KeyboardInterrupt):
            gen.close()
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                await self._abandon_statement()
            raise

    async def _abandon_statement(self) -> None:
        """Have the server cancel what it is doing and take in what it still answers, or close."""
        with trio.move_on_after(_CANCEL_LIMIT_S, shield=True):
            try:
                await _drive_connect(self._cancel_gen())
                # Who would get which of a pipeline's answers is beyond us: that connection is closed.
                if self.pgconn.pipeline_status == PipelineStatus.OFF:
                    await self._drain()
            except (psycopg.Error, trio.ClosedResourceError, OSError):
                pass  # the transaction's status tells how it went
        if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
            self.close_now()

    async def _drain(self) -> None:
        """Take in the rest of the answer."""
        answer = generators.execute(self.pgconn)
        fileno = self.pgconn.socket
        try:
            wanted = next(answer)
            while True:
                wanted = answer.send(await _until_ready(fileno, wanted))
        except StopIteration:
            return

    @override
    async def cancel_safe(self, *, timeout: float = _CANCEL_LIMIT_S) -> None:
        if not self._should_cancel():
            return
        with trio.move_on_after(timeout, shield=True):
            await _drive_connect(self._cancel_gen())
            return
        raise psycopg.errors.CancellationTimeout(f"no cancellation within {timeout:g} s")

    # --- State and end ----------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether the next one may have it: open, with no transaction, statement or pipeline under way."""
        return (
            self.pgconn.transaction_status == TransactionStatus.IDLE
            and self.pgconn.pipeline_status == PipelineStatus.OFF
        )

    def is_alive(self) -> bool:
        """Whether an idle connection is still open at both ends, as far as the socket tells without waiting."""
        try:
            # A server that goes says so first and hangs up then; each is read in a round of its own.
            while not self.closed and waiting._ready(self.pgconn.socket, Wait.R):  # noqa: SLF001 -- see `_until_ready`
                self.pgconn.consume_input()
        except psycopg.OperationalError:
            return False
        return not self.closed

    def close_now(self) -> None:
        """Close without waiting; the server rolls back. A task that waits on it gets `OperationalError`."""
        self._closed = True
        if not self.closed:
            trio.lowlevel.notify_closing(self.pgconn.socket)
        self.pgconn.finish()

    @override
    async def close(self) -> None:
        self.close_now()


class _Transaction(psycopg.AsyncTransaction):
    """psycopg's transaction with its BEGIN and its end shielded, each for a limited time."""

    _conn: Connection

    @override
    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint_if_cancelled()
        with trio.move_on_after(_TRANSACTION_EDGE_LIMIT_S, shield=True):
            return await super().__aenter__()
        self._conn.close_now()
        raise psycopg.OperationalError("the server did not begin the transaction in time")

    @override
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool:
        broken = self._broken_before_commit() if exc_val is None else None
        if broken is not None:
            exc_type, exc_val = type(broken), broken
        with trio.move_on_after(_TRANSACTION_EDGE_LIMIT_S, shield=True) as scope:
            swallow = await super().__aexit__(exc_type, exc_val, exc_tb)
        if scope.cancelled_caught:
            self._conn.close_now()
            swallow = False
            if exc_val is None:
                broken = psycopg.OperationalError("the end of the transaction was not confirmed in time")
        if broken is not None:
            raise broken
        return swallow

    def _broken_before_commit(self) -> psycopg.Error | None:
        """Why this transaction cannot be committed although its block saw no error (it may have caught one).

        PostgreSQL answers the COMMIT of a failed transaction with a rollback and no error; psycopg skips the COMMIT
        on a lost connection.
        """
        if self.pgconn.status != ConnStatus.OK:
            return psycopg.OperationalError("the connection was lost during the transaction")
        if self.pgconn.transaction_status == TransactionStatus.INERROR:
            return psycopg.errors.InFailedSqlTransaction("a statement of the transaction had failed")
        return None


async def _resolved(params: ConnDict) -> list[ConnDict]:
    """One set of parameters for each address of the host, so that libpq never asks a name server itself."""
    host = get_param(params, "host")
    if not host or host.startswith(("/", "@")) or get_param(params, "hostaddr"):
        return [params]
    if is_ip_address(host):
        return [{**params, "hostaddr": host}]
    found = await trio.socket.getaddrinfo(
        host, get_param(params, "port") or "5432", proto=socket.IPPROTO_TCP, type=socket.SOCK_STREAM
    )
    return [{**params, "hostaddr": str(address[0])} for *_, address in found]


async def _drive_connect(gen: PQGenConn[Result]) -> Result:
    """Drive a generator whose socket may change on the way."""
    try:
        fileno, wanted = next(gen)
        while True:
            fileno, wanted = gen.send(await _until_ready(fileno, wanted))
    except StopIteration as end:
        result: Result = end.value
        return result
    except OSError as error:
        raise psycopg.OperationalError(f"the connection was closed: {error}") from error
    finally:
        gen.close()


async def _until_ready(fileno: int, wanted: Wait) -> Ready:
    if wanted == Wait.R:
        await trio.lowlevel.wait_readable(fileno)
        return Ready.R
    if wanted == Wait.W:
        await trio.lowlevel.wait_writable(fileno)
        return Ready.W
    # psycopg's own look at a socket without waiting: one system call, where a selector would take several.
    while not (ready := waiting._ready(fileno, wanted)):  # noqa: SLF001
        # Both directions at once: an epoll instance is readable when one of its sockets is ready.
        with select.epoll() as either:
            either.register(fileno, select.EPOLLIN | select.EPOLLOUT)
            await trio.lowlevel.wait_readable(either.fileno())
    # A socket with room in its buffer, round after round, would otherwise keep everyone else waiting.
    await trio.lowlevel.checkpoint()
    return Ready(ready)


def _forget_result(cursor: psycopg.AsyncCursor[Any]) -> None:
    """A kept cursor must not keep its last rows."""
    cursor._reset(reset_query=False)  # noqa: SLF001
    cursor._tx.set_pgresult(None)  # noqa: SLF001
