"""The ways a session ends, from either side, and what they leave behind."""

import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from wsproto.events import CloseConnection

from actors import ports
from actors.agent_events import (
    AgentFault,
    AgentReplied,
    SessionEnd,
    SessionEndReason,
    SessionOpened,
    SessionPlan,
    ToolFinished,
)
from daemon.elevenlabs import agent_socket, client_socket
from tests.contract.scripted_agent import (
    METADATA,
    PLAN,
    Ear,
    Peer,
    error,
    part,
    ping,
    play,
    response,
    scripted_agent,
    stay_open,
)

LOST, FAILED = SessionEndReason.LOST, SessionEndReason.FAILED
REFUSED, BY_AGENT = SessionEndReason.REFUSED, SessionEndReason.ENDED_BY_AGENT


# --- Ends -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1000, BY_AGENT),
        (1001, LOST),
        (1002, FAILED),
        (1008, REFUSED),
        (1011, FAILED),
        (1013, FAILED),
        (3000, REFUSED),
        (4300, FAILED),
        (4999, FAILED),
    ],
)
async def test_a_close_ends_the_session_by_its_code(code: int, reason: SessionEndReason) -> None:
    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.close(code, "why it closed")

    end, _ = await play(script)

    assert end == SessionEnd(reason=reason, code=code, detail=f"close {code}: why it closed")


async def test_a_close_without_a_code_is_a_lost_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.stream.send_all(b"\x88\x00")
        await peer.until_closed()

    end, _ = await play(script)

    assert (end.reason, end.code) == (LOST, 1005)


async def test_metadata_then_1008_at_once_opens_and_refuses() -> None:
    sentence = "Override for field 'text_only' is not allowed by config."

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.frame()
        await peer.tell(METADATA, error(1008, "override_error", sentence))
        await peer.close(1008, sentence)

    end, ear = await play(script)

    assert ear.said == [AgentFault(code=1008, error_type="override_error", detail=sentence)]
    assert end == SessionEnd(reason=REFUSED, code=1008, detail=f"close 1008 override_error: {sentence}")


async def test_an_error_in_place_of_the_metadata_is_told() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.tell(error(1008, "missing_dynamic_variable", "Missing variable 'name'"))
        await peer.close(1008)

    end, ear = await play(script)

    assert (end.reason, end.code) == (REFUSED, 1008)
    assert end.detail == "close 1008 missing_dynamic_variable: Missing variable 'name'"
    assert ear.events == []


async def test_a_goodbye_before_the_session_began_is_a_failure() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.close(1000)

    end, _ = await play(script)

    assert (end.reason, end.code) == (FAILED, 1000)


async def test_a_start_closed_over_concurrency_says_that_there_are_too_many() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.close(1008, "Concurrent limit exceeded")

    end, _ = await play(script)

    assert (end.reason, end.code) == (SessionEndReason.FULL, 1008)


async def test_a_drop_in_mid_answer_keeps_what_came_before() -> None:
    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.tell(part("start", "", 1), part("delta", "El pl", 1))

    end, ear = await play(script)

    assert (end.reason, end.code, len(ear.said)) == (LOST, 1006, 2)


async def test_a_drop_after_an_error_is_what_the_error_says() -> None:
    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.tell(error(1008, "value_error", "Invalid message received"))

    end, _ = await play(script)

    assert (end.reason, end.code) == (REFUSED, 1008)
    assert end.detail == "close 1006 value_error (1008): Invalid message received"


async def test_what_came_before_a_close_is_delivered_although_a_pong_has_no_taker() -> None:
    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.tell(*(ping(number) for number in range(50)), response("adiós", 99))
        await peer.send(CloseConnection(code=1000))
        await peer.until_closed()

    end, ear = await play(script)

    assert ear.said == [AgentReplied(text="adiós", event_id=99)]
    assert end.reason is BY_AGENT


async def test_a_protocol_error_of_the_server_ends_the_session() -> None:
    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.stream.send_all(b"\xff\xff\xff\xff")
        await peer.stream.receive_some()

    end, _ = await play(script)

    assert end.may_retry


async def test_secrets_of_a_reason_stay_out_of_the_detail() -> None:
    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.close(1008, "no wss://api/x?conversation_signature=cvtkn_abc, cvtkn_abc of +573138539155")

    end, _ = await play(script)

    assert "cvtkn" not in end.detail
    assert "313853" not in end.detail
    assert end.detail.startswith("close 1008: no [secret]")


async def test_the_agents_hanging_up_ends_the_session_with_all_it_says() -> None:
    hung_up = {
        "type": "agent_tool_response",
        "agent_tool_response": {
            "tool_name": "end_call", "tool_call_id": "t1", "tool_type": "system",
            "is_error": False, "is_called": True, "event_id": 4,
        },
    }  # fmt: skip

    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.tell(hung_up, response("¡Hasta luego!", 5))
        await peer.close(1000)

    end, ear = await play(script)

    assert ear.said == [
        ToolFinished(name="end_call", call_id="t1", is_error=False, event_id=4),
        AgentReplied(text="¡Hasta luego!", event_id=5),
    ]
    assert end.reason is BY_AGENT


async def test_the_agents_hanging_up_ends_the_session_even_without_a_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agent_socket, "_GOODBYE_S", 0.05)
    codes: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.tell({"type": "agent_tool_response", "tool_name": "end_call", "tool_call_id": "t1"})
        codes.append(await peer.until_closed())

    end, _ = await play(script)

    assert (end.reason, codes) == (BY_AGENT, [1000])


async def test_a_slow_consumer_loses_its_session_politely() -> None:
    codes: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.tell(response("uno", 1), response("dos", 2))
        codes.append(await peer.until_closed())

    send, receive = trio.open_memory_channel[Any](2)
    async with scripted_agent(script) as agent:
        end = await agent.sessions.run(PLAN, send.send_nowait)
        await agent.finished.wait()

    assert (end.reason, end.code, codes) == (LOST, None, [1000])
    assert receive.statistics().current_buffer_used == 2


# --- Our own close --------------------------------------------------------------------------------------


async def cancelled_session(script: Callable[[Peer], Awaitable[None]]) -> bool:
    """Open a session, cancel it and wait until it is gone; whether that went as cancellations go."""
    ear = Ear()
    ended: list[SessionEnd] = []
    async with scripted_agent(script) as agent, trio.open_nursery() as siblings:
        alive = trio.Event()
        siblings.start_soon(alive.wait)
        with trio.fail_after(client_socket._CLOSE_S + 1), trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def run() -> None:
                    ended.append(await agent.sessions.run(PLAN, ear.deliver))

                nursery.start_soon(run)
                await ear.session()
                scope.cancel()
        alive.set()
        await agent.finished.wait()
        return scope.cancelled_caught and not ended


async def test_cancellation_closes_with_1000() -> None:
    codes: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.open()
        codes.append(await peer.until_closed())

    assert await cancelled_session(script)
    assert codes == [1000]


async def test_cancellation_while_connecting_leaves_nothing_behind() -> None:
    connected = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.stream.receive_some()
        connected.set()
        assert not await peer.stream.receive_some()

    async with scripted_agent(script) as agent:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(agent.sessions.run, PLAN, Ear().deliver)
            await connected.wait()
            nursery.cancel_scope.cancel()
        await agent.finished.wait()


async def test_a_peer_that_ignores_our_close_is_left_after_a_second() -> None:
    async def script(peer: Peer) -> None:
        await peer.open()
        while await peer.stream.receive_some():
            pass

    assert await cancelled_session(script)


async def ping_meets_close(peer: Peer) -> None:
    """The server's Ping arrives after our close frame has gone out (trio-websocket issue 184)."""
    await peer.open()
    assert b"\x88" in await peer.stream.receive_some()
    await peer.ping()
    while await peer.stream.receive_some():
        pass


async def test_a_ping_that_meets_our_close_does_not_look_like_a_cancellation_of_others() -> None:
    assert await cancelled_session(ping_meets_close)


async def test_a_ping_that_meets_our_close_leaves_the_sessions_end_a_value() -> None:
    def refuse(_: object) -> None:
        raise trio.WouldBlock

    async with scripted_agent(ping_meets_close) as agent:
        end = await agent.sessions.run(PLAN, refuse)
        await agent.finished.wait()
        await trio.lowlevel.checkpoint()

    assert end.reason is LOST


async def test_a_frame_that_is_not_taken_in_time_loses_the_session() -> None:
    released = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.open()
        await released.wait()

    ear, ends = Ear(), []
    async with scripted_agent(script, send_timeout_s=0.2) as agent, trio.open_nursery() as nursery:

        async def run() -> None:
            ends.append(await agent.sessions.run(PLAN, ear.deliver))

        nursery.start_soon(run)
        session = await ear.session()
        with pytest.raises(ports.SessionLostError):
            await session.say("x" * 2**24)
        with pytest.raises(ports.SessionLostError):
            await session.say("hola")
        released.set()

    assert ends == [SessionEnd(reason=LOST, code=None, detail="a frame was not taken within 0.2 s")]


async def test_a_frame_that_is_cancelled_loses_the_session() -> None:
    released = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.open()
        await released.wait()

    ear, ends = Ear(), []
    async with scripted_agent(script) as agent, trio.open_nursery() as nursery:

        async def run() -> None:
            ends.append(await agent.sessions.run(PLAN, ear.deliver))

        nursery.start_soon(run)
        session = await ear.session()
        with trio.move_on_after(0.1):
            await session.say("x" * 2**24)
        with pytest.raises(ports.SessionLostError):
            await session.say("hola")
        released.set()

    assert (ends[0].reason, ends[0].detail) == (LOST, "a frame was cancelled while it was being sent")


async def test_a_session_that_has_ended_takes_nothing_more() -> None:
    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.close(1000)

    _, ear = await play(script)

    assert isinstance(ear.events[0], SessionOpened)
    with pytest.raises(ports.SessionLostError):
        await ear.events[0].session.say("hola")
    with pytest.raises(ports.SessionLostError):
        await ear.events[0].session.answer_tool("t1", "", is_error=True)


async def test_an_open_session_keeps_neither_plan_nor_context() -> None:
    ear = Ear()
    async with scripted_agent(stay_open) as agent, trio.open_nursery() as nursery:
        plan = SessionPlan(agent_id="agent_1", user_id="p", context="larga historia")
        kept = weakref.ref(plan)
        nursery.start_soon(agent.sessions.run, plan, ear.deliver)
        del plan
        await ear.session()
        gc.collect()
        assert kept() is None
        nursery.cancel_scope.cancel()
