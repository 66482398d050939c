"""The port `AgentSessions`, over the adapter on a scripted server and over the fake in memory.

What goes over the wire, and each way to fail there, is tested beside it; here is what a caller may count on with both.
"""

import json
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio
from attrs import define, evolve, field
from wsproto.events import TextMessage

from actors.agent_events import (
    AgentAudio,
    AgentEvent,
    AgentInterrupted,
    AgentReplied,
    PersonSaid,
    SessionEnd,
    SessionEndReason,
    SessionOpened,
    SessionPlan,
    ToolCalled,
)
from actors.ports import AgentSession, AgentSessions, SessionLostError
from tests.contract.scripted_agent import (
    PLAN,
    VOICE_METADATA,
    Ear,
    Peer,
    interruption,
    response,
    scripted_agent,
    sound,
    transcript,
)
from tests.memory import agent as memory

GOODBYE, BREAK, ORDER = "Adiós.", "Corta.", "Pida una."
"""What makes the agent hang up, its connection break, and it call a tool. Anything else is echoed."""
TOOL = ToolCalled(name="order", call_id="toolu_1", parameters={}, expects_response=True, event_id=1)
LIMIT_S = 10
SPOKEN = evolve(PLAN, speaks=True)


def answer_in_sound(audio: bytes) -> Sequence[AgentEvent]:
    """To any sound the agent says that it heard something, echoes it, and finds itself interrupted."""
    return [PersonSaid(text="¿Qué?"), AgentAudio(payload=audio, event_id=4), AgentInterrupted(event_id=4)]


@define(kw_only=True)
class Conduct:
    refuses: bool = False


Opened = Callable[[Conduct], AbstractAsyncContextManager[AgentSessions]]


@asynccontextmanager
async def adapter_on_a_scripted_server(conduct: Conduct) -> AsyncIterator[AgentSessions]:
    async def script(peer: Peer) -> None:
        if conduct.refuses:
            await peer.refuse(401)
            return
        await peer.open(VOICE_METADATA)
        while (heard := await heard_by(peer)) is not None:
            if isinstance(heard, bytes):
                await peer.tell(transcript("¿Qué?", 3), sound(heard, 4), interruption(4))
                continue
            if heard == BREAK:
                return
            if heard == ORDER:
                await peer.tell(order())
                await peer.frame()
            await peer.tell(response(f"re: {heard}", 2))
            if heard == GOODBYE:
                await peer.close(1000)
                return

    async with scripted_agent(script) as agent:
        yield agent.sessions


async def heard_by(peer: Peer) -> str | bytes | None:
    """What the person says next, in text or in sound; None when we have closed. What we inform of is passed over."""
    while isinstance(event := await peer.event(), TextMessage):
        frame = json.loads(event.data)
        if (audio := frame.get("user_audio_chunk")) is not None:
            return b64decode(audio)
        if frame["type"] == "user_message":
            return str(frame["text"])
    return None


def order() -> dict[str, object]:
    call = {
        "tool_name": TOOL.name,
        "tool_call_id": TOOL.call_id,
        "parameters": {},
        "expects_response": True,
        "event_id": TOOL.event_id,
    }
    return {"type": "client_tool_call", "client_tool_call": call}


@asynccontextmanager
async def fake_in_memory(conduct: Conduct) -> AsyncIterator[AgentSessions]:
    def react(_session: memory.MemorySession, heard: str) -> Iterable[memory.Step]:
        if heard == BREAK:
            return [memory.LOST]
        tool: list[memory.Step] = [TOOL, memory.AwaitTool(TOOL.call_id)] if heard == ORDER else []
        end: list[memory.Step] = [memory.HUNG_UP] if heard == GOODBYE else []
        return [*tool, AgentReplied(text=f"re: {heard}", event_id=2), *end]

    def hear(_session: memory.MemorySession, audio: bytes) -> Iterable[memory.Step]:
        return answer_in_sound(audio)

    start = memory.Start(end=memory.REFUSED if conduct.refuses else None)
    with trio.fail_after(LIMIT_S):
        yield memory.MemoryAgent(usual_start=start, usual_reaction=react, usual_hearing=hear)


@pytest.fixture(params=[adapter_on_a_scripted_server, fake_in_memory])
def opened(request: pytest.FixtureRequest) -> Opened:
    open_sessions: Opened = request.param
    return open_sessions


@define
class Run:
    """A session under way, and how it ended once it has."""

    ear: Ear
    session: AgentSession
    scope: trio.CancelScope
    ended: trio.Event = field(factory=trio.Event)
    ends: list[SessionEnd] = field(factory=list)

    async def end(self) -> SessionEnd:
        await self.ended.wait()
        (end,) = self.ends
        return end


@asynccontextmanager
async def session_with(sessions: AgentSessions, plan: SessionPlan = PLAN) -> AsyncIterator[Run]:
    ear, scope, ended, ends = Ear(), trio.CancelScope(), trio.Event(), list[SessionEnd]()

    async def run() -> None:
        with scope:
            ends.append(await sessions.run(plan, ear.deliver))
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield Run(ear, await ear.session(), scope, ended, ends)
        scope.cancel()


async def assert_takes_nothing_more(session: AgentSession) -> None:
    with pytest.raises(SessionLostError):
        await session.say("¿Sigue ahí?")
    with pytest.raises(SessionLostError):
        await session.answer_tool(TOOL.call_id, "", is_error=False)
    with pytest.raises(SessionLostError):
        await session.inform("Sigue ahí.")
    with pytest.raises(SessionLostError):
        await session.hear(b"\xff")


async def test_it_opens_first_and_then_brings_the_answers_in_order(opened: Opened) -> None:
    async with opened(Conduct()) as sessions, session_with(sessions) as run:
        assert run.session.conversation_id
        for text in ("Hola", "¿Cuánto cuesta? 🙂"):
            await run.session.say(text)
            assert await run.ear.next() == AgentReplied(text=f"re: {text}", event_id=2)
    assert isinstance(run.ear.events[0], SessionOpened)
    assert len(run.ear.said) == 2


async def test_the_agent_waits_for_a_tools_result(opened: Opened) -> None:
    async with opened(Conduct()) as sessions, session_with(sessions) as run:
        await run.session.say(ORDER)
        assert await run.ear.next() == TOOL
        assert run.ear.said == [TOOL]
        await run.session.answer_tool(TOOL.call_id, "listo", is_error=False)
        assert await run.ear.next() == AgentReplied(text=f"re: {ORDER}", event_id=2)


async def test_what_the_person_says_is_answered_in_sound(opened: Opened) -> None:
    async with opened(Conduct()) as sessions, session_with(sessions, SPOKEN) as run:
        for audio in (b"\x00\x80\xff" * 100, b"\x7f"):
            await run.session.hear(audio)
            assert [await run.ear.next() for _ in range(3)] == answer_in_sound(audio)
        await run.session.say("Hola")
        assert await run.ear.next() == AgentReplied(text="re: Hola", event_id=2)


async def test_sound_reaches_nobody_in_a_session_of_text(opened: Opened) -> None:
    async with opened(Conduct()) as sessions, session_with(sessions) as run:
        await run.session.hear(b"\xff" * 160)
        await run.session.say("Hola")
        await run.ear.next()
    assert run.ear.said == [AgentReplied(text="re: Hola", event_id=2)]


@pytest.mark.parametrize("plan", [PLAN, SPOKEN])
async def test_what_the_agent_is_informed_of_starts_no_turn(opened: Opened, plan: SessionPlan) -> None:
    async with opened(Conduct()) as sessions, session_with(sessions, plan) as run:
        await run.session.inform("El cliente espera.")
        await run.session.say("Hola")
        await run.ear.next()
    assert run.ear.said == [AgentReplied(text="re: Hola", event_id=2)]


async def test_the_agents_goodbye_comes_after_its_last_words(opened: Opened) -> None:
    async with opened(Conduct()) as sessions, session_with(sessions) as run:
        await run.session.say(GOODBYE)
        end = await run.end()
        await assert_takes_nothing_more(run.session)
    assert (end.reason, end.code) == (SessionEndReason.ENDED_BY_AGENT, 1000)
    assert run.ear.said == [AgentReplied(text=f"re: {GOODBYE}", event_id=2)]


async def test_a_connection_that_breaks_loses_the_session(opened: Opened) -> None:
    async with opened(Conduct()) as sessions, session_with(sessions) as run:
        await run.session.say(BREAK)
        end = await run.end()
        await assert_takes_nothing_more(run.session)
    assert end.reason is SessionEndReason.LOST
    assert end.may_retry


async def test_a_session_that_is_refused_never_opens(opened: Opened) -> None:
    ear = Ear()
    async with opened(Conduct(refuses=True)) as sessions:
        end = await sessions.run(PLAN, ear.deliver)
    assert end.reason is SessionEndReason.REFUSED
    assert not end.may_retry
    assert ear.events == []


async def test_whoever_cannot_take_an_event_loses_the_session(opened: Opened) -> None:
    def deliver(_: AgentEvent) -> None:
        raise trio.WouldBlock

    async with opened(Conduct()) as sessions:
        end = await sessions.run(PLAN, deliver)
    assert end.reason is SessionEndReason.LOST


async def test_cancellation_closes_the_session(opened: Opened) -> None:
    async with opened(Conduct()) as sessions, session_with(sessions) as run:
        run.scope.cancel()
        await run.ended.wait()
        await assert_takes_nothing_more(run.session)
    assert run.ends == []
