"""The stores, each suite once over memory and once over PostgreSQL."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
import trio

from daemon.store.calls import PostgresCalls
from daemon.store.conversations import PostgresConversations
from daemon.store.holds import PostgresHolds
from daemon.store.inbox import PostgresInbox
from daemon.store.live_calls import PostgresLiveCalls
from daemon.store.migrate import migrate
from daemon.store.outbox import PostgresOutbox
from daemon.store.pool import Pool, PoolLimits, open_pool
from daemon.store.recordings import PostgresRecordings
from daemon.store.recovery import PostgresRecovery
from tests.contract.peeking import PostgresPeek
from tests.contract.racing import CONTENDERS, Ring
from tests.contract.stores import Stores, stores_in_memory
from tests.memory.database import MemoryDatabase
from tests.postgres import EMPTIED, connect, drop_schema, make_schema


@pytest.fixture
def memory_database() -> MemoryDatabase:
    return MemoryDatabase()


@pytest.fixture
def memory_stores(memory_database: MemoryDatabase) -> Stores:
    return stores_in_memory(memory_database)


@pytest.fixture(scope="session")
def migrated_schema(database_url: str) -> Iterator[str]:
    """One for all, since making it takes ten times as long as a test; `store_pool` empties it."""

    async def make() -> str:
        name = await make_schema(database_url)
        connection = await connect(database_url, name)
        await migrate(connection)
        connection.close_now()
        return name

    name = trio.run(make)
    yield name
    trio.run(drop_schema, database_url, name)


@pytest.fixture
async def store_pool(database_url: str, migrated_schema: str) -> AsyncIterator[Pool]:
    """A pool over tables that are empty, and that count from 1."""
    async with open_pool(database_url, limits=PoolLimits(size=4), search_path=migrated_schema) as pool:
        await pool.execute(EMPTIED)
        yield pool


@pytest.fixture
async def postgres_stores(store_pool: Pool) -> Stores:
    return Stores(
        inbox=PostgresInbox(store_pool),
        calls=PostgresCalls(store_pool),
        conversations=PostgresConversations(store_pool),
        outbox=PostgresOutbox(store_pool),
        holds=PostgresHolds(store_pool),
        recovery=PostgresRecovery(store_pool),
        live_calls=PostgresLiveCalls(store_pool),
        recordings=PostgresRecordings(store_pool),
        peek=PostgresPeek(store_pool),
    )


@pytest.fixture(params=["memory", "postgres"])
def stores(request: pytest.FixtureRequest) -> Stores:
    """Stores over one empty database. Of the two only the one that the parameter names is made."""
    stores: Stores = request.getfixturevalue(f"{request.param}_stores")
    return stores


@pytest.fixture
async def ring(store_pool: Pool, database_url: str, migrated_schema: str) -> AsyncIterator[Ring]:
    pids = []
    async with AsyncExitStack() as stack:
        for _ in range(CONTENDERS):
            connection = await stack.enter_async_context(store_pool.connection())
            pids.append(connection.info.backend_pid)
    holder = await connect(database_url, migrated_schema)
    observer = await connect(database_url, migrated_schema)
    yield Ring(holder=holder, observer=observer, pids=pids)
    holder.close_now()
    observer.close_now()
