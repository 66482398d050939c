"""The schema's numbered migrations, `migrations/0001_name.sql` and on, each applied once and in order."""

import hashlib
import re
from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable

import psycopg
import structlog
from attrs import field, frozen
from typing_extensions import override

from actors.ports import StoreUnavailableError
from daemon.store.connection import Connection

log = structlog.get_logger()

_OLDEST_SERVER = 140000  # as PostgreSQL numbers itself: 14.0
_FILE_NAME = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.sql")

# One at a time in a schema; two daemons may start at once. The first number is ours alone, by chance.
_LOCK = "SELECT pg_advisory_xact_lock(727013651, hashtext(coalesce(current_schema(), '')))"
_MAKE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migration (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
_HAS_TABLE = "SELECT to_regclass('schema_migration')::text"
_APPLIED = "SELECT version, name, checksum FROM schema_migration ORDER BY version"
_RECORD = "INSERT INTO schema_migration (version, name, checksum) VALUES (%s, %s, %s)"


class MigrationError(Exception):
    """The schema cannot be brought up to date; the message is a sentence for the operator."""


@frozen
class Migration:
    version: int
    name: str
    sql: str = field(repr=False)

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @override
    def __str__(self) -> str:
        return f"{self.version:04}_{self.name}"


def load_migrations(folder: Traversable | None = None) -> list[Migration]:
    """The migrations in `folder`, by default the daemon's own, in order.

    Raises:
        MigrationError: a file name is not `0001_name.sql`, or the numbers are not 1, 2, 3 … without a gap or a double.
    """
    folder = folder or resources.files("daemon.store") / "migrations"
    migrations = sorted(
        (_load(file) for file in folder.iterdir() if file.name.endswith(".sql")),
        key=lambda migration: (migration.version, migration.name),
    )
    for expected, migration in enumerate(migrations, start=1):
        if migration.version != expected:
            raise MigrationError(f"Migration {migration} stands where number {expected:04} is due.")
    return migrations


def _load(file: Traversable) -> Migration:
    match = _FILE_NAME.fullmatch(file.name)
    if match is None:
        raise MigrationError(f"The migration {file.name} is not named like 0001_name.sql.")
    # Universal newlines: a checkout with other line ends has the same checksum.
    return Migration(version=int(match["version"]), name=match["name"], sql=file.read_text(encoding="utf-8"))


async def migrate(
    connection: Connection, migrations: Sequence[Migration] | None = None, *, statement_timeout_s: float = 600
) -> list[Migration]:
    """Apply what is missing, in the first schema of the connection's search path, and return what was applied.

    Each migration is one transaction together with its record, so a cancelled or killed run goes on where it left
    off. Several may run this at once: one applies, the others wait for it. `statement_timeout_s` limits both a
    migration and that wait.

    Raises:
        MigrationError: the server is older than PostgreSQL 14; the schema is newer than `migrations` or was made by
            other ones; a migration fails.
        StoreUnavailableError: the connection is lost.
    """
    migrations = load_migrations() if migrations is None else migrations
    _refuse_old_server(connection)
    usual_timeout_s, connection.statement_timeout_s = connection.statement_timeout_s, statement_timeout_s
    try:
        return await _apply_missing(connection, migrations)
    except psycopg.Error as error:
        if connection.closed:
            raise StoreUnavailableError(f"the database did not answer: {error}") from error
        raise MigrationError(f"The schema cannot be brought up to date: {error}") from error
    finally:
        connection.statement_timeout_s = usual_timeout_s


async def missing_migrations(
    connection: Connection, migrations: Sequence[Migration] | None = None
) -> Sequence[Migration]:
    """What `migrate` would apply. Changes nothing.

    Raises:
        MigrationError: it could not: the server is too old, or the schema was made by another release.
        psycopg.Error: the connection is lost, or may not read.
    """
    migrations = load_migrations() if migrations is None else migrations
    _refuse_old_server(connection)
    if await connection.fetch_all(_HAS_TABLE) == [(None,)]:
        return migrations
    return migrations[await _count_applied(connection, migrations) :]


def _refuse_old_server(connection: Connection) -> None:
    if connection.info.server_version < _OLDEST_SERVER:
        raise MigrationError(
            f"Relevo needs PostgreSQL 14 or later; this server is {_readable(connection.info.server_version)}."
        )


async def _apply_missing(connection: Connection, migrations: Sequence[Migration]) -> list[Migration]:
    async with connection.transaction():
        await connection.execute(_LOCK)
        await connection.execute(_MAKE_TABLE)
        known = await _count_applied(connection, migrations)
    applied = []
    for migration in migrations[known:]:
        async with connection.transaction():
            await connection.execute(_LOCK)
            if await _count_applied(connection, migrations) < migration.version:
                await _apply(connection, migration)
                applied.append(migration)
    return applied


async def _count_applied(connection: Connection, migrations: Sequence[Migration]) -> int:
    """How many of `migrations` the schema has, after a check that those and no others made it."""
    rows = await connection.fetch_all(_APPLIED)
    if len(rows) > len(migrations):
        version, name, _ = rows[len(migrations)]
        raise MigrationError(
            f"The database is newer than this program: it has migration {version:04}_{name}. Install that release."
        )
    for (version, name, checksum), migration in zip(rows, migrations, strict=False):
        if (version, checksum) != (migration.version, migration.checksum):
            raise MigrationError(
                f"Migration {version:04}_{name} was applied with other contents than {migration} has now."
            )
    return len(rows)


async def _apply(connection: Connection, migration: Migration) -> None:
    try:
        # Unprepared and without parameters: the only way that takes several statements at once.
        await connection.execute(migration.sql.encode(), prepare=False)
    except psycopg.Error as error:
        if connection.closed:
            raise
        raise MigrationError(f"Migration {migration} failed: {error}") from error
    if connection.is_idle:
        raise MigrationError(f"Migration {migration} ends its transaction itself, which it must not.")
    await connection.execute(_RECORD, (migration.version, migration.name, migration.checksum))
    log.info("migration applied", migration=str(migration))


def _readable(server_version: int) -> str:
    major, minor = divmod(server_version, 10000)
    return f"{major}.{minor}" if major >= 10 else f"{major}.{minor // 100}"
