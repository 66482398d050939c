"""What every test may use: a database, a schema of its own in it, and the rule about error logs."""

import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import structlog
import trio
from hypothesis import settings
from psycopg import sql
from typing_extensions import override

from daemon.store.embedded import EmbeddedServer
from daemon.store.pool import Pool, PoolLimits, open_pool
from tests.postgres import drop_schema, make_schema, run_alone

_STRUCTLOG_ERRORS = frozenset({"error", "exception", "critical", "fatal"})

# Properties are tried with other values each time, in CI too: what fails prints the line that repeats it. Without a
# deadline for one example, since a busy machine is no bug. `--hypothesis-profile=thorough` looks longer.
settings.register_profile("relevo", max_examples=25, deadline=None, print_blob=True, derandomize=False)
settings.register_profile("thorough", settings.get_profile("relevo"), max_examples=2000)
settings.load_profile("relevo")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "expects_error_log: the test logs errors on purpose (see `error_logs`)"
    )


# --- The database -----------------------------------------------------------------------------------------


@contextmanager
def _server_folder() -> Iterator[Path]:
    # Not pytest's own folder: its next session closes that to the server's system user. And short, for the socket.
    folder = tempfile.mkdtemp(prefix="relevo-test-")
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """An empty folder that an embedded server of the test's own can live in."""
    with _server_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    """The server in RELEVO_TEST_DATABASE_URL, else an embedded one for this session, which forgets to sync."""
    url = os.environ.get("RELEVO_TEST_DATABASE_URL")
    if url:
        yield url
        return
    with _server_folder() as folder:
        server = EmbeddedServer(folder, durable=False)
        try:
            yield trio.run(server.start)
        finally:
            trio.run(server.stop)


@pytest.fixture
async def schema(database_url: str) -> AsyncIterator[str]:
    """The name of a new, empty schema, dropped after the test."""
    name = await make_schema(database_url)
    yield name
    await drop_schema(database_url, name)


@pytest.fixture
async def pool(database_url: str, schema: str) -> AsyncIterator[Pool]:
    """A pool whose connections see `schema` alone; migrate it, or make what the test needs."""
    async with open_pool(database_url, limits=PoolLimits(size=4), search_path=schema) as pool:
        yield pool


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[str]:
    """The URL of a database of the test's own, for processes that cannot be given a schema."""
    name = f"test_{secrets.token_hex(6)}"
    await run_alone(database_url, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    parts = urlsplit(database_url)
    yield urlunsplit(parts._replace(path=f"/{name}"))
    await run_alone(database_url, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


# --- Error logs -------------------------------------------------------------------------------------------


class _ErrorRecorder(logging.Handler):
    """Remembers errors that go through `logging` or structlog."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(f"{record.name}: {record.getMessage()}")

    def process(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """A structlog processor that lets everything through."""
        if method in _STRUCTLOG_ERRORS:
            self.seen.append(f"{event}")
        return event


@pytest.fixture(autouse=True)
def error_logs(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """The errors logged so far. A test that logs one fails, unless it is marked with `expects_error_log`."""
    recorder = _ErrorRecorder()
    # In place: loggers that were bound before hold the same list.
    processors = structlog.get_config()["processors"]
    processors.insert(0, recorder.process)
    logging.getLogger().addHandler(recorder)
    yield recorder.seen
    logging.getLogger().removeHandler(recorder)
    processors.remove(recorder.process)
    if recorder.seen and request.node.get_closest_marker("expects_error_log") is None:
        pytest.fail("unexpected error logs:\n" + "\n".join(recorder.seen))
