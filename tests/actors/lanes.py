"""People with something in their lanes, for the tests of the outbox."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from attrs import evolve

from actors.messages import Outgoing, Purpose, Template
from actors.metrics import Metrics, NoMetrics
from actors.ports import Answer
from tests.actors.worlds import OUTBOX_RULES, World, open_world
from tests.memory.database import Outbound
from tests.memory.outbox import MemoryOutbox

TEMPLATE = Template(sid="HX1")


def address_of(person: int) -> str:
    return f"+5255{12340000 + person}"


async def queue(
    world: World,
    *texts: str,
    person: int = 1,
    template: Template | None = None,
    purpose: Purpose = Purpose.ANSWER,
    is_told: bool = True,
) -> int:
    """Put texts into somebody's lane; returns the person's id. The person's window is open."""
    person_id = await world.writes("…", who=address_of(person), is_told=False)
    work = await world.store.work(person_id)
    assert work.conversation_id is not None
    answer = Answer(address=address_of(person), pieces=texts, template=template)
    await world.store.add_answer(work.conversation_id, answer, now=world.clock.now())
    for message in world.outbound[-len(texts) :]:
        message.purpose = purpose
    if is_told:
        world.outbox.due(person_id, purpose)
    return person_id


async def claim(world: World, person_id: int) -> Outgoing:
    """What a daemon did that was killed while sending."""
    message = await MemoryOutbox(world.database).claim(person_id, now=world.clock.now())
    assert message is not None
    return message


def statuses(world: World) -> list[str]:
    return [message.status.label for message in world.outbound]


def first(world: World) -> Outbound:
    return world.outbound[0]


@asynccontextmanager
async def sending(
    *, is_running: bool = True, metrics: Metrics | None = None, **rules: Any
) -> AsyncIterator[World]:
    """A world in which nobody answers and only the outbox works."""
    async with open_world(
        outbox_rules=evolve(OUTBOX_RULES, **rules),
        outbox_metrics=metrics or NoMetrics(),
        has_outbox=is_running,
    ) as world:
        yield world
