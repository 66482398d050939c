"""What goes over an open agent socket, both ways."""

import json
from typing import Any

import trio
from wsproto.events import BytesMessage, TextMessage

from actors.agent_events import AgentReplied, PartKind, ReplyPart, SessionEndReason
from tests.contract.scripted_agent import PLAN, Ear, Peer, part, ping, play, response, scripted_agent

LOST, BY_AGENT = SessionEndReason.LOST, SessionEndReason.ENDED_BY_AGENT


async def test_what_is_said_and_answered_reaches_the_agent() -> None:
    heard: list[Any] = []

    async def script(peer: Peer) -> None:
        await peer.open()
        heard.extend([await peer.frame(), await peer.frame()])
        await peer.close(1000)

    ear = Ear()
    async with scripted_agent(script) as agent, trio.open_nursery() as nursery:
        nursery.start_soon(agent.sessions.run, PLAN, ear.deliver)
        session = await ear.session()
        await session.say("¿Cuánto cuesta? 🙂")
        await session.answer_tool("toolu_1", '{"status":"queued"}', is_error=False)

    assert heard == [
        {"type": "user_message", "text": "¿Cuánto cuesta? 🙂"},
        {
            "type": "client_tool_result",
            "tool_call_id": "toolu_1",
            "result": '{"status":"queued"}',
            "is_error": False,
        },
    ]


async def test_pings_are_answered_while_nothing_else_happens() -> None:
    pongs: list[Any] = []

    async def script(peer: Peer) -> None:
        await peer.open()
        for event_id in (1, "2", 30):
            await peer.tell(ping(event_id))
            pongs.append(await peer.frame())
        await peer.close(1000)

    end, ear = await play(script)

    assert pongs == [{"type": "pong", "event_id": number} for number in (1, 2, 30)]
    assert (end.reason, ear.said) == (BY_AGENT, [])


async def test_events_come_in_order_however_they_are_packed() -> None:
    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.tell(
            part("start", "", 5),
            part("delta", "El plan", 5),
            ping(6),
            part("stop", "", 5),
            response("El plan", 5),
        )
        assert await peer.frame() == {"type": "pong", "event_id": 6}
        await peer.close(1000)

    _, ear = await play(script)

    assert ear.said == [
        ReplyPart(kind=PartKind.START, text="", event_id=5),
        ReplyPart(kind=PartKind.DELTA, text="El plan", event_id=5),
        ReplyPart(kind=PartKind.STOP, text="", event_id=5),
        AgentReplied(text="El plan", event_id=5),
    ]


async def test_blank_binary_and_broken_frames_are_ignored() -> None:
    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.tell("", " ", "{", "[]", "null", '{"type":7}', '{"type":"novelty","novelty":{}}')
        await peer.send(BytesMessage(data=json.dumps(response("binario", 1)).encode()))
        await peer.send(TextMessage(data='{"type":"agent_response",', message_finished=False))
        await peer.send(TextMessage(data='"message":"en partes"}'))
        await peer.close(1000)

    end, ear = await play(script)

    assert ear.said == [AgentReplied(text="en partes", event_id=None)]
    assert end.reason is BY_AGENT


async def test_a_frame_over_a_mebibyte_ends_the_session_and_nothing_else() -> None:
    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.tell(response("a" * 2**20, 1))
        assert await peer.until_closed() == 1009

    end, ear = await play(script)

    assert (end.reason, end.code, ear.said) == (LOST, 1009, [])


async def test_every_frame_is_shown_to_whoever_wants_to_see() -> None:
    seen: list[tuple[str, Any]] = []

    async def script(peer: Peer) -> None:
        await peer.open()
        await peer.tell(ping(3))
        await peer.frame()
        await peer.close(1000)

    await play(script, on_frame=lambda direction, frame: seen.append((direction, json.loads(frame)["type"])))

    assert seen == [
        (">", "conversation_initiation_client_data"),
        ("<", "conversation_initiation_metadata"),
        ("<", "ping"),
        (">", "pong"),
    ]
