"""The stores, each suite once over memory and once over PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from daemon.store.calls import PostgresCalls
from daemon.store.conversations import PostgresConversations
from daemon.store.holds import PostgresHolds
from daemon.store.inbox import PostgresInbox
from daemon.store.live_calls import PostgresLiveCalls
from daemon.store.migrate import migrate
from daemon.store.outbox import PostgresOutbox
from daemon.store.pool import Pool
from daemon.store.recordings import PostgresRecordings
from daemon.store.recovery import PostgresRecovery
from tests.contract.peeking import PostgresPeek
from tests.contract.racing import CONTENDERS, Ring
from tests.contract.stores import Stores, stores_in_memory
from tests.memory.database import MemoryDatabase
from tests.postgres import connect


@pytest.fixture
def memory_database() -> MemoryDatabase:
    return MemoryDatabase()


@pytest.fixture
def memory_stores(memory_database: MemoryDatabase) -> Stores:
    return stores_in_memory(memory_database)


@pytest.fixture
async def postgres_stores(pool: Pool) -> Stores:
    async with pool.connection() as connection:
        await migrate(connection)
    return Stores(
        inbox=PostgresInbox(pool),
        calls=PostgresCalls(pool),
        conversations=PostgresConversations(pool),
        outbox=PostgresOutbox(pool),
        holds=PostgresHolds(pool),
        recovery=PostgresRecovery(pool),
        live_calls=PostgresLiveCalls(pool),
        recordings=PostgresRecordings(pool),
        peek=PostgresPeek(pool),
    )


@pytest.fixture(params=["memory", "postgres"])
def stores(request: pytest.FixtureRequest) -> Stores:
    """Stores over one empty database. Of the two only the one that the parameter names is made."""
    stores: Stores = request.getfixturevalue(f"{request.param}_stores")
    return stores


@pytest.fixture
async def ring(pool: Pool, database_url: str, schema: str) -> AsyncIterator[Ring]:
    pids = []
    async with AsyncExitStack() as stack:
        for _ in range(CONTENDERS):
            connection = await stack.enter_async_context(pool.connection())
            pids.append(connection.info.backend_pid)
    holder = await connect(database_url, schema)
    observer = await connect(database_url, schema)
    yield Ring(holder=holder, observer=observer, pids=pids)
    holder.close_now()
    observer.close_now()
