"""Migrations: applied once, in order, by one at a time, and refused where the schema is not what it should be."""

from pathlib import Path

import pytest
import trio

from actors.ports import StoreUnavailableError
from daemon.store import migrate as migrate_module
from daemon.store.connection import Connection
from daemon.store.migrate import Migration, MigrationError, load_migrations, migrate
from daemon.store.pool import Pool
from tests.postgres import LIMIT_S, connect, until_row

FIRST = Migration(1, "first", "CREATE TABLE note (id int); INSERT INTO note VALUES (1)")
SECOND = Migration(2, "second", "ALTER TABLE note ADD body text DEFAULT '50 %s'")
THIRD = Migration(3, "third", "INSERT INTO note VALUES (3)")


async def apply(pool: Pool, *migrations: Migration) -> list[Migration]:
    with trio.fail_after(LIMIT_S):
        async with pool.connection() as connection:
            return await migrate(connection, migrations)


async def recorded(pool: Pool) -> list[int]:
    return [row[0] for row in await pool.fetch_all("SELECT version FROM schema_migration ORDER BY version")]


async def test_what_is_missing_is_applied_once_and_in_order(pool: Pool) -> None:
    assert await apply(pool, FIRST) == [FIRST]
    assert await apply(pool, FIRST, SECOND, THIRD) == [SECOND, THIRD]
    assert await apply(pool, FIRST, SECOND, THIRD) == []
    assert await pool.fetch_all("SELECT id, body FROM note ORDER BY id") == [(1, "50 %s"), (3, "50 %s")]
    assert await recorded(pool) == [1, 2, 3]


async def test_a_migration_that_fails_leaves_nothing_and_keeps_those_before_it(pool: Pool) -> None:
    bad = Migration(2, "bad", "CREATE TABLE half (id int); SELECT 1/0")
    with pytest.raises(MigrationError, match="0002_bad failed: division by zero"):
        await apply(pool, FIRST, bad)
    assert await recorded(pool) == [1]
    assert await pool.fetch_one("SELECT to_regclass('half')") == (None,)
    assert await apply(pool, FIRST, SECOND) == [SECOND]


async def test_several_at_once_apply_each_migration_once(database_url: str, schema: str, pool: Pool) -> None:
    applied: list[Migration] = []

    async def start_up() -> None:
        connection = await connect(database_url, schema)
        applied.extend(await migrate(connection, [FIRST, SECOND, THIRD]))
        connection.close_now()

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(start_up)
    assert sorted(migration.version for migration in applied) == [1, 2, 3]


async def test_a_cancelled_migration_can_be_run_again(pool: Pool) -> None:
    long = Migration(2, "long", "CREATE TABLE half (id int); SELECT pg_sleep(600)")

    async def observe_and_cancel(observer: Connection, pid: int) -> None:
        sql = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND query LIKE 'CREATE TABLE half%%' AND wait_event = 'PgSleep'"
        await until_row(observer, sql, pid)
        nursery.cancel_scope.cancel()

    with trio.fail_after(LIMIT_S):
        async with pool.connection() as connection, pool.connection() as observer:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(observe_and_cancel, observer, connection.info.backend_pid)
                await migrate(connection, [FIRST, long])
            assert await migrate(connection, [FIRST, SECOND]) == [SECOND]


async def test_a_changed_migration_is_refused(pool: Pool) -> None:
    await apply(pool, FIRST)
    changed = Migration(1, "first", FIRST.sql + " -- changed")
    with pytest.raises(MigrationError, match="0001_first was applied with other contents"):
        await apply(pool, changed, SECOND)
    assert await recorded(pool) == [1]


async def test_a_database_newer_than_the_program_is_refused(pool: Pool) -> None:
    await apply(pool, FIRST, SECOND)
    with pytest.raises(MigrationError, match="newer than this program: it has migration 0002_second"):
        await apply(pool, FIRST)


async def test_a_migration_that_commits_by_itself_is_refused(pool: Pool) -> None:
    with pytest.raises(MigrationError, match="ends its transaction itself"):
        await apply(pool, Migration(1, "rash", "CREATE TABLE note (id int); COMMIT"))
    assert await recorded(pool) == []


async def test_an_old_server_is_refused(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate_module, "_OLDEST_SERVER", 990000)
    with pytest.raises(MigrationError, match=r"needs PostgreSQL 14 or later; this server is \d+\.\d+"):
        await apply(pool, FIRST)


async def test_a_lost_connection_makes_the_store_unavailable(pool: Pool) -> None:
    suicide = Migration(1, "suicide", "SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(StoreUnavailableError):
        await apply(pool, suicide)
    assert await apply(pool, FIRST) == [FIRST]


async def test_the_connections_own_limit_is_back_afterwards(pool: Pool) -> None:
    async with pool.connection() as connection:
        usual = connection.statement_timeout_s
        await migrate(connection, [FIRST])
        assert connection.statement_timeout_s == usual


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_text("SELECT 1;\n", encoding="utf-8")
    return folder


def test_migrations_are_read_in_order_and_with_either_kind_of_line_ends(tmp_path: Path) -> None:
    write(tmp_path, "0002_b.sql", "0001_a.sql", "README.md")
    (tmp_path / "0001_a.sql").write_bytes(b"SELECT 1;\r\n")
    first, second = load_migrations(tmp_path)
    assert (str(first), str(second)) == ("0001_a", "0002_b")
    assert first.checksum == second.checksum


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (("0001_a.sql", "0003_c.sql"), "0003_c stands where number 0002 is due"),
        (("0002_a.sql",), "0002_a stands where number 0001 is due"),
        (("0001_a.sql", "0001_b.sql"), "0001_b stands where number 0002 is due"),
        (("1_a.sql",), "1_a.sql is not named like 0001_name.sql"),
    ],
)
def test_gaps_doubles_and_odd_names_are_refused(
    tmp_path: Path, names: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(MigrationError, match=complaint):
        load_migrations(write(tmp_path, *names))


async def test_calls_of_before_live_calls_stay_as_they_are(pool: Pool) -> None:
    migrations = load_migrations()
    await apply(pool, *migrations[:4])
    await pool.execute(
        "INSERT INTO call (id, sighting, seen_at, follow_up, look_at) VALUES ('conv_1', 'batch', now(), 'due', now())"
    )

    await apply(pool, *migrations)

    rows = await pool.fetch_all("SELECT id, follow_up, live_call_id, note, is_part FROM call")
    assert rows == [("conv_1", "due", None, None, False)]
    assert await pool.execute("UPDATE call SET follow_up = 'live'") == 1


def test_the_daemons_own_migrations_are_packaged_and_without_gaps() -> None:
    migrations = load_migrations()
    assert [migration.version for migration in migrations] == list(range(1, len(migrations) + 1))
    assert migrations
