"""A PostgreSQL of the suite's own, with the settings that keep what was committed, and ways to hurt it."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import define, field

from daemon.store.connection import Connection
from daemon.store.embedded import EmbeddedServer, _Installation, _running_postmaster
from daemon.store.migrate import migrate

CONNECT_S = 20.0
STATEMENT_S = 120.0
SERVER_S = 120
OWN_NAME = "chaos"

# What a status was and became, for the audit: a status that fell back and rose again leaves no other trace.
_JOURNAL = """
CREATE TABLE chaos_journal (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id bigint NOT NULL,
    was text,
    became text NOT NULL,
    was_rank smallint,
    became_rank smallint NOT NULL
)
"""
_JOURNAL_INDEX = "CREATE INDEX chaos_journal_message ON chaos_journal (message_id)"
_WRITE_JOURNAL = """
CREATE FUNCTION chaos_write_journal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO chaos_journal (message_id, became, became_rank) VALUES (NEW.id, NEW.status, NEW.status_rank);
    ELSIF (OLD.status, OLD.status_rank) IS DISTINCT FROM (NEW.status, NEW.status_rank) THEN
        INSERT INTO chaos_journal (message_id, was, became, was_rank, became_rank)
        VALUES (NEW.id, OLD.status, NEW.status, OLD.status_rank, NEW.status_rank);
    END IF;
    RETURN NULL;
END $$
"""
_JOURNAL_TRIGGER = """
CREATE TRIGGER chaos_journal AFTER INSERT OR UPDATE ON message FOR EACH ROW EXECUTE FUNCTION chaos_write_journal()
"""

_TERMINATE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND application_name <> %s
"""


@define(eq=False)
class Server:
    """One PostgreSQL under `folder`, for one world."""

    folder: Path
    url: str = field(default="", init=False)
    _embedded: EmbeddedServer = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._embedded = EmbeddedServer(self.folder, start_timeout_s=SERVER_S)

    @property
    def own_url(self) -> str:
        """For the suite's own connections, which `terminate_backends` spares."""
        return f"{self.url}&application_name={OWN_NAME}"

    @property
    def is_running(self) -> bool:
        return _running_postmaster(self._embedded._pgdata) is not None

    async def start(self) -> None:
        """Start with the product's schema and the journal of statuses."""
        self.url = await self._embedded.start()
        async with self.connection() as connection:
            await migrate(connection)
            for statement in (_JOURNAL, _JOURNAL_INDEX, _WRITE_JOURNAL, _JOURNAL_TRIGGER):
                await connection.execute(statement)

    async def stop(self) -> None:
        await self._embedded.stop()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        connection = await Connection.connect(
            self.own_url, timeout_s=CONNECT_S, statement_timeout_s=STATEMENT_S
        )
        try:
            yield connection
        finally:
            connection.close_now()

    async def stop_at_once(self) -> None:
        """As a crash: backends are killed, nothing is written, the next start recovers."""
        await self._control("stop", "-m", "immediate")

    async def start_again(self) -> None:
        """On the same address."""
        await self._embedded._start_server(self._installation)

    async def restart_at_once(self) -> None:
        await self.stop_at_once()
        await self.start_again()

    async def terminate_backends(self) -> None:
        async with self.connection() as connection:
            await connection.execute(_TERMINATE, (OWN_NAME,))

    @property
    def _installation(self) -> _Installation:
        installation = self._embedded._installation
        if installation is None:
            raise RuntimeError("the server was never started")
        return installation

    async def _control(self, *arguments: str) -> None:
        result = await self._installation.run(
            "pg_ctl", *arguments, "-w", "-t", str(SERVER_S), "-D", str(self._embedded._pgdata)
        )
        if result.returncode:
            raise RuntimeError(f"pg_ctl {arguments[0]}: {result.stdout.decode(errors='replace')}")


class NoPlaceError(Exception):
    """This machine does not let us make a small disk; the message says why."""


@asynccontextmanager
async def small_disk(folder: Path, *, size_mib: int) -> AsyncIterator[Path]:
    """A file system of that size at `folder`.

    Raises:
        NoPlaceError: only root may mount, and not everywhere.
    """
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - at once
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=0755", "tmpfs", str(folder)]
    try:
        mounted = await trio.run_process(command, check=False, capture_stderr=True)
    except FileNotFoundError as error:
        raise NoPlaceError(str(error)) from error
    if mounted.returncode:
        raise NoPlaceError(mounted.stderr.decode(errors="replace").strip())
    try:
        yield folder
    finally:
        with trio.CancelScope(shield=True):
            await trio.run_process(["umount", "-l", str(folder)], check=False, stderr=subprocess.DEVNULL)
