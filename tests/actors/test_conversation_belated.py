"""What the agent says after an answer that had counted as complete."""

from typing import Any, cast

import trio
from attrs import define
from trio.testing import MockClock

from actors.agent_events import AgentReplied
from actors.ports import ConversationStore
from tests.actors.worlds import World, open_world
from tests.memory.agent import MemorySession, Start, Step, echoes, reply, says
from tests.memory.conversations import MemoryConversations


@define(eq=False)
class SpeakingMeanwhile:
    """A store that takes its time over one kind of call, while the agent says something more."""

    world: World
    method: str
    is_done: bool = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(MemoryConversations(self.world.database), name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            if name == self.method and self.world.agent.sessions and not self.is_done:
                self.is_done = True
                session = self.world.agent.sessions[0]
                session.unasked(*reply(session, "Y segundo."))
                await trio.sleep(1)
            return await method(*args, **kwargs)

        return call

    def as_store(self) -> ConversationStore:
        return cast("ConversationStore", self)


async def test_a_belated_reply_is_sent_after_the_answer(autojump_clock: MockClock) -> None:
    def pauses(session: MemorySession, _heard: str) -> list[Step]:
        return [*reply(session, "Primero."), 5.0, *reply(session, "Y segundo.")]

    async with open_world() as world:
        world.agent.reactions.append(pauses)
        await world.writes("cuéntame")
        await trio.sleep(4)
        assert world.sent == ["Primero."]
        await trio.sleep(10)
        await world.writes("gracias")
        await trio.sleep(10)

        assert world.sent == ["Primero.", "Y segundo.", "re: gracias"]


async def test_a_belated_reply_goes_before_the_answer_to_what_is_being_written(
    autojump_clock: MockClock,
) -> None:
    def pauses(session: MemorySession, _heard: str) -> list[Step]:
        return [*reply(session, "Primero."), 3.0, *reply(session, "Y segundo.", has_parts=False)]

    async with open_world() as world:
        world.agent.reactions.append(pauses)
        await world.writes("cuéntame")
        await trio.sleep(3.5)
        await world.writes("gracias")
        await trio.sleep(10)

        assert world.sent == ["Primero.", "Y segundo.", "re: gracias"]


async def test_a_reply_that_comes_while_the_answer_is_being_stored_is_not_lost(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        world.agent.reactions.append(says("Primero.", completes=False))
        world.store = SpeakingMeanwhile(world, "answer").as_store()
        await world.writes("cuéntame")
        await trio.sleep(10)

        assert world.sent == ["Primero.", "Y segundo."]


async def test_late_news_of_the_answer_before_is_no_part_of_the_next(autojump_clock: MockClock) -> None:
    def repeats(session: MemorySession, _heard: str) -> list[Step]:
        return [AgentReplied(text="Primero.", event_id=1), 0.2, *reply(session, "Y segundo.")]

    async with open_world() as world:
        world.agent.reactions.extend([says("Primero."), repeats])
        await world.writes("uno")
        await trio.sleep(10)
        await world.writes("dos")
        await trio.sleep(10)

        assert world.sent == ["Primero.", "Y segundo."]


async def test_what_a_new_session_says_unasked_is_not_taken_for_belated(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.usual_reaction = echoes(completes=False)
        await world.writes("uno")
        await trio.sleep(5)
        world.agent.sessions[0].end()
        world.agent.usual_start = Start(greeting=[AgentReplied(text="¡Bienvenida!", event_id=None)])
        await world.writes("dos")
        await trio.sleep(10)

        assert world.sent == ["re: uno", "re: dos"]


async def test_a_text_that_was_answered_with_already_is_not_sent_again(autojump_clock: MockClock) -> None:
    def repeats(session: MemorySession, _heard: str) -> list[Step]:
        first = reply(session, "Primero.", has_final=False)
        return [*first, 3.0, AgentReplied(text="Primero.", event_id=1)]

    async with open_world() as world:
        world.agent.reactions.append(repeats)
        await world.writes("cuéntame")
        await trio.sleep(10)

        assert world.sent == ["Primero."]


async def test_what_the_agent_says_unasked_and_long_after_is_not_sent(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.agent.usual_reaction = echoes(completes=False)
        await world.writes("Hola")
        await trio.sleep(60)
        session = world.agent.sessions[0]
        session.unasked(*reply(session, "¿Sigue ahí?"))
        await trio.sleep(10)

        assert world.sent == ["re: Hola"]


async def test_after_a_completed_answer_nothing_more_is_expected(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.writes("Hola")
        await trio.sleep(5)
        session = world.agent.sessions[0]
        session.unasked(*reply(session, "¿Sigue ahí?"))
        await trio.sleep(10)

        assert world.sent == ["re: Hola"]


async def test_a_belated_reply_that_comes_while_the_next_turn_begins_goes_before_its_answer(
    autojump_clock: MockClock,
) -> None:
    async with open_world() as world:
        world.agent.usual_reaction = echoes(completes=False)
        slow = SpeakingMeanwhile(world, "work", is_done=True)
        world.store = slow.as_store()
        await world.writes("uno")
        await trio.sleep(5)
        slow.is_done = False
        await world.writes("dos")
        await trio.sleep(10)

        assert world.sent == ["re: uno", "Y segundo.", "re: dos"]
