"""The stores, each suite once over memory and once over PostgreSQL."""

import pytest

from daemon.store.calls import PostgresCalls
from daemon.store.conversations import PostgresConversations
from daemon.store.inbox import PostgresInbox
from daemon.store.migrate import migrate
from daemon.store.outbox import PostgresOutbox
from daemon.store.pool import Pool
from daemon.store.recovery import PostgresRecovery
from tests.contract.peeking import MemoryPeek, PostgresPeek
from tests.contract.stores import Stores
from tests.memory.calls import MemoryCalls
from tests.memory.conversations import MemoryConversations
from tests.memory.database import MemoryDatabase
from tests.memory.inbox import MemoryInbox
from tests.memory.outbox import MemoryOutbox
from tests.memory.recovery import MemoryRecovery


@pytest.fixture
def memory_database() -> MemoryDatabase:
    return MemoryDatabase()


@pytest.fixture
def memory_stores(memory_database: MemoryDatabase) -> Stores:
    return Stores(
        inbox=MemoryInbox(memory_database),
        calls=MemoryCalls(memory_database),
        conversations=MemoryConversations(memory_database),
        outbox=MemoryOutbox(memory_database),
        recovery=MemoryRecovery(memory_database),
        peek=MemoryPeek(memory_database),
    )


@pytest.fixture
async def postgres_stores(pool: Pool) -> Stores:
    async with pool.connection() as connection:
        await migrate(connection)
    return Stores(
        inbox=PostgresInbox(pool),
        calls=PostgresCalls(pool),
        conversations=PostgresConversations(pool),
        outbox=PostgresOutbox(pool),
        recovery=PostgresRecovery(pool),
        peek=PostgresPeek(pool),
    )


@pytest.fixture(params=["memory", "postgres"])
def stores(request: pytest.FixtureRequest) -> Stores:
    """Stores over one empty database. Of the two only the one that the parameter names is made."""
    stores: Stores = request.getfixturevalue(f"{request.param}_stores")
    return stores
