"""A crash at any call to the store changes nothing in the end: nothing is lost, nothing is sent twice.

Each story is told once without a fault, which gives the expected end and the number of calls; then again and again with one
call that raises, before or after it took effect.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import cast

import pytest
import trio
from attrs import define, evolve, frozen
from trio.testing import MockClock

from actors.calls import CallOutcome
from actors.ports import StoreUnavailableError
from actors.runtime.supervisor import RestartIntensity
from tests.actors.worlds import OUTBOX_RULES, FaultyStore, World, open_world
from tests.memory.agent import (
    LOST,
    REFUSED,
    SILENCE,
    MemorySession,
    Start,
    Step,
    asks_tool,
    does,
    echoes,
    says,
)

pytestmark = pytest.mark.expects_error_log

CALM = evolve(OUTBOX_RULES, sweep_every_s=30)
CAREFREE = RestartIntensity(restarts_max=100)
LONG_S = 150.0
"""A message in doubt waits for several of the rare sweeps of `CALM`, until it is looked up, released and sent."""

Story = Callable[[World], Awaitable[None]]


@frozen
class End:
    """What a story leaves behind; a faulty telling of it must leave the same."""

    sent: Sequence[tuple[str, str | None]]
    delivered: Sequence[str]
    unanswered: Sequence[str]
    follow_ups: Sequence[str]
    failures: int


async def talk_after_a_call(world: World) -> None:
    await world.call_ends()
    await trio.sleep(30)
    await world.writes("sí", "¿cuánto cuesta?")
    await trio.sleep(30)
    world.agent.sessions[-1].end(LOST)
    await world.writes("¿y al mes?")


async def burst_and_tool(world: World) -> None:
    world.agent.usual_reaction = asks_tool(before="Un momento.", after="No puedo.")
    await world.writes("una", "pizza")
    await trio.sleep(60)
    await world.writes("por favor")


async def calls_and_a_message_at_once(world: World) -> None:
    world.agent.usual_start = Start(after_s=3)
    await world.call_ends("conv_1")
    await world.call_ends("conv_2", outcome=CallOutcome.VOICEMAIL)
    await world.call_ends("conv_3", outcome=CallOutcome.BUSY)
    await world.writes("¿me llamaron?")


async def opening_without_a_session(world: World) -> None:
    world.agent.usual_start = Start(end=LOST)
    await world.call_ends()
    await trio.sleep(30)
    world.agent.usual_start = Start()
    await world.writes("sí")


async def silence(world: World) -> None:
    def silent_at_first(session: MemorySession, heard: str) -> Iterable[Step]:
        reaction = SILENCE if trio.current_time() < world.began_at + 400 else echoes()
        return reaction(session, heard)

    world.agent.usual_reaction = silent_at_first
    await world.writes("Hola")
    await trio.sleep(800)
    await world.writes("¿hay alguien?")


async def refusal(world: World) -> None:
    world.agent.usual_start = Start(end=REFUSED)
    await world.writes("Hola")
    await trio.sleep(20)
    world.agent.usual_start = Start()
    await world.writes("¿hay alguien?")


async def breaking_sessions(world: World) -> None:
    def breaks_at_first(session: MemorySession, heard: str) -> Iterable[Step]:
        reaction = (
            does(LOST)
            if trio.current_time() < world.began_at + 2.2
            else says(f"por fin: {heard}", completes=False)
        )
        return reaction(session, heard)

    world.agent.usual_reaction = breaks_at_first
    await world.writes("Hola")


async def blank_and_long(world: World) -> None:
    async def write(text: str, answer: str) -> None:
        world.agent.usual_reaction = says(answer)
        await world.writes(text)
        await trio.sleep(30)

    await write("👍", "  ")
    await write("cuéntame", "Una frase larga. " * 300)


STORIES: Sequence[Story] = [
    talk_after_a_call,
    burst_and_tool,
    calls_and_a_message_at_once,
    opening_without_a_session,
    silence,
    refusal,
    breaking_sessions,
    blank_and_long,
]


@define(eq=False)
class Fault:
    """Call number `at`, counted from 1, to the store of the conversations, or to that of the outbox."""

    failure: Exception
    at: int
    has_effect: bool
    is_outbox: bool

    def put_into(self, world: World) -> None:
        faults = world.outbox_store if self.is_outbox else cast("FaultyStore", world.store)
        faults.failure, faults.fails_at, faults.has_effect = self.failure, self.at, self.has_effect


async def tell(story: Story, fault: Fault | None = None) -> tuple[End, list[str], list[str]]:
    """Tell a story; returns its end, and the calls to the two stores."""
    async with open_world(intensity=CAREFREE, outbox_rules=CALM) as world:
        conversations = FaultyStore(world.store)
        world.store = conversations.as_store()
        if fault is not None:
            world.outbox_store.calls.clear()
            fault.put_into(world)
        await world.start_recovery()
        await world.start_readmission()
        await story(world)
        await trio.sleep(LONG_S)
        end = End(
            [(message.text, message.note) for message in world.outbound],
            world.messaging.bodies,
            world.unanswered,
            [call.follow_up.value for call in world.database.calls.values()],
            world.conversation.turn_failures,
        )
        return end, conversations.calls, world.outbox_store.calls


@pytest.mark.parametrize("is_outbox", [False, True], ids=["conversation", "outbox"])
@pytest.mark.parametrize("has_effect", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "failure", [RuntimeError("a bug"), StoreUnavailableError("gone")], ids=["crash", "outage"]
)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_a_fault_at_any_call_to_a_store_changes_nothing_in_the_end(
    autojump_clock: MockClock, story: Story, failure: Exception, *, has_effect: bool, is_outbox: bool
) -> None:
    expected, *calls = await tell(story)
    assert expected.unanswered == []
    assert list(expected.delivered) == [text for text, _ in expected.sent]

    # A crash behind a call is one before the next: every other call, and both sides of it, is every moment once. An outage is
    # met where it happens: each call fails once, before its effect or after it.
    first = has_effect and isinstance(failure, StoreUnavailableError)
    for number, name in list(enumerate(calls[is_outbox], start=1))[first::2]:
        end, *_ = await tell(story, Fault(failure, number, has_effect, is_outbox))
        assert end == expected, f"a fault at call {number}, {name}"
