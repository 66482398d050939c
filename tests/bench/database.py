"""The bench's PostgreSQL, with the settings that keep data safe, and databases full of people who are known already."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from attrs import frozen
from psycopg import sql

from daemon.store.connection import Connection
from daemon.store.embedded import EmbeddedServer
from daemon.store.migrate import migrate
from tests.bench.processes import cpu_of_family_s

_CONNECT_S = 10.0

_PEOPLE = """
WITH made AS (
    INSERT INTO person (phone_number, name)
    SELECT '+57300' || lpad(n::text, 7, '0'), 'Persona' FROM generate_series(1, %(people)s) n
    RETURNING id, phone_number
), named AS (
    INSERT INTO person_identity (identity, person_id)
    SELECT unnest(ARRAY[phone_number, 'CO.' || substr(phone_number, 2)]), id FROM made
)
INSERT INTO conversation (person_id, agent_id, started_at)
SELECT id, 'agent_lab_whatsapp', now() - interval '1 day' FROM made
"""
_CALLS = """
INSERT INTO call (
    id, sighting, seen_at, agent_id, phone_number, person_id, conversation_id, outcome, started_at, ended_at,
    duration_s, transcript, summary, follow_up, look_at
)
SELECT
    'conv_' || p.id, 'batch', now(), 'agent_lab_voice', p.phone_number, p.id, c.id, 'completed',
    now() - interval '1 day', now() - interval '1 day', 120,
    (SELECT jsonb_agg(jsonb_build_object('role', 'user', 'text', 'Quiero saber cuánto cuesta el plan. ' || n))
        FROM generate_series(1, 20) n),
    'Pidió precios del plan básico y quedó en decidir con su socio.', 'handled', now()
FROM person p JOIN conversation c ON c.person_id = p.id
"""
_MESSAGES = """
INSERT INTO message (
    conversation_id, person_id, direction, address, content, twilio_sid, status, status_rank, created_at, kind,
    purpose, accepted_at
)
SELECT
    c.id, c.person_id, CASE WHEN n %% 2 = 1 THEN 'inbound' ELSE 'outbound' END, p.phone_number,
    '¿Cuánto cuesta el plan básico y qué incluye? Mensaje ' || n || ' de esta persona.',
    'SMx' || lpad(c.id::text, 11, '0') || lpad(n::text, 20, '0'),
    CASE WHEN n %% 2 = 1 THEN 'answered' ELSE 'read' END, CASE WHEN n %% 2 = 1 THEN 0 ELSE 5 END,
    now() - interval '1 day' + n * interval '1 minute',
    CASE WHEN n %% 2 = 1 THEN 'text' END, CASE WHEN n %% 2 = 0 THEN 'answer' END, CASE WHEN n %% 2 = 0 THEN now() END
FROM generate_series(1, %(messages)s) n CROSS JOIN conversation c JOIN person p ON p.id = c.person_id
ORDER BY n, c.id
"""


def phone_numbers(people: int) -> list[str]:
    return [f"+57300{number:07}" for number in range(1, people + 1)]


@frozen
class Database:
    """A server of our own.

    Attributes:
        url: of its administrative database.
        postmaster: the pid of the server, whose children do the work.
    """

    url: str
    postmaster: int

    def cpu_s(self) -> float:
        return cpu_of_family_s(self.postmaster)

    async def create(self, name: str) -> str:
        """The URL of a new and empty database."""
        await self._run(self.url, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    async def create_with(self, name: str, *, people: int, messages_each: int = 10) -> str:
        """A database in which so many people have had a call and written; statistics are up to date."""
        url = await self.create(name)
        connection = await Connection.connect(url, timeout_s=_CONNECT_S)
        try:
            await migrate(connection)
            await connection.execute(_PEOPLE, {"people": people})
            await connection.execute(_CALLS)
            await connection.execute(_MESSAGES, {"messages": messages_each})
            await connection.execute("VACUUM ANALYZE")
        finally:
            connection.close_now()
        return url

    async def drop(self, name: str) -> None:
        await self._run(self.url, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    async def _run(self, url: str, statement: sql.Composed) -> None:
        connection = await Connection.connect(url, timeout_s=_CONNECT_S)
        try:
            await connection.execute(statement)
        finally:
            connection.close_now()


@asynccontextmanager
async def open_database() -> AsyncIterator[Database]:
    folder = Path(tempfile.mkdtemp(prefix="relevo-bench-"))
    server = EmbeddedServer(folder)
    try:
        url = await server.start()
        pid_file = folder / "postgresql" / "postmaster.pid"
        yield Database(url, int(pid_file.read_text().splitlines()[0]))
    finally:
        await server.stop()
        shutil.rmtree(folder)
