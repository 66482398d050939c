"""An agent socket whose server follows a script, frame by frame, and may misbehave as it likes."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

import trio
from attrs import define, field
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from actors.agent_events import AgentEvent, SessionEnd, SessionOpened, SessionPlan
from actors.ports import AgentSession
from daemon.elevenlabs.agent_socket import AgentSessions


def metadata(*, agent_format: str, person_format: str) -> dict[str, Any]:
    event = {
        "conversation_id": "conv_1",
        "agent_output_audio_format": agent_format,
        "user_input_audio_format": person_format,
    }
    return {
        "type": "conversation_initiation_metadata",
        "conversation_initiation_metadata_event": event,
    }


METADATA = metadata(agent_format="pcm_16000", person_format="pcm_16000")
VOICE_METADATA = metadata(agent_format="ulaw_8000", person_format="ulaw_8000")
PLAN = SessionPlan(agent_id="agent_1", user_id="person-7")
RESOURCE = "/v1/convai/conversation?agent_id=agent_1&conversation_signature=cvtkn_topsecret"


@define
class Peer:
    """The server's end of one connection."""

    stream: trio.SocketStream
    _protocol: WSConnection = field(factory=lambda: WSConnection(ConnectionType.SERVER), init=False)

    async def event(self) -> Event:
        """The next thing the client did. EOF is a CloseConnection with 1006."""
        while True:
            for event in self._protocol.events():
                return event
            try:
                received = await self.stream.receive_some()
            except trio.BrokenResourceError:
                received = b""
            if not received:
                return CloseConnection(code=1006)
            self._protocol.receive_data(received)

    async def send(self, event: Event) -> None:
        await self.stream.send_all(self._protocol.send(event))

    async def accept(self) -> Request:
        request = await self.event()
        assert isinstance(request, Request)
        await self.send(AcceptConnection())
        return request

    async def refuse(self, status: int, body: bytes = b"", **headers: str) -> None:
        assert isinstance(await self.event(), Request)
        lines = [(b"content-length", b"%d" % len(body))]
        lines += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await self.send(RejectConnection(status_code=status, headers=lines, has_body=bool(body)))
        if body:
            await self.send(RejectData(data=body))

    async def open(self, answer: dict[str, Any] = METADATA) -> dict[str, Any]:
        """Accept, take the initiation and answer it with the metadata; returns the initiation."""
        await self.accept()
        initiation = await self.frame()
        await self.tell(answer)
        return initiation

    async def frame(self) -> dict[str, Any]:
        text, is_whole = "", False
        while not is_whole:
            event = await self.event()
            assert isinstance(event, TextMessage), event
            text, is_whole = text + event.data, event.message_finished
        frame: dict[str, Any] = json.loads(text)
        return frame

    async def tell(self, *frames: object) -> None:
        """Send frames in one write, so that the client reads them at once."""
        written = b""
        for frame in frames:
            data = frame if isinstance(frame, str) else json.dumps(frame)
            written += self._protocol.send(TextMessage(data=data))
        await self.stream.send_all(written)

    async def ping(self) -> None:
        await self.send(Ping(payload=b"are you there"))

    async def close(self, code: int, reason: str = "") -> None:
        await self.send(CloseConnection(code=code, reason=reason))
        await self.until_closed()

    async def until_closed(self) -> int:
        """Wait for the client's close frame and answer it; its code. 1006: it went without."""
        while True:
            event = await self.event()
            if isinstance(event, CloseConnection):
                await self._answer_close(event)
                return event.code

    async def _answer_close(self, event: CloseConnection) -> None:
        if event.code != 1006 and self._protocol.state.name == "REMOTE_CLOSING":
            await self.send(event.response())
        await self.stream.aclose()


Script: TypeAlias = Callable[[Peer], Awaitable[None]]


@define
class ScriptedAgent:
    """`sessions` talk to the script. `finished` once the script has run to its end."""

    sessions: AgentSessions
    finished: trio.Event = field(factory=trio.Event)


@asynccontextmanager
async def scripted_agent(
    script: Script, *, scheme: str = "ws", **limits: Any
) -> AsyncIterator[ScriptedAgent]:
    """Serve connections by the script, for at most ten seconds in all."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await script(Peer(stream))
        agent.finished.set()

    async def sign(agent_id: str) -> str:
        assert agent_id == PLAN.agent_id
        return f"{scheme}://127.0.0.1:{port}{RESOURCE}"

    agent = ScriptedAgent(agent_sessions(sign, **limits))
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
            port = listener.socket.getsockname()[1]
            yield agent
            nursery.cancel_scope.cancel()


def agent_sessions(sign: Callable[[str], Awaitable[str]], **limits: Any) -> AgentSessions:
    settings: dict[str, Any] = {
        "start_timeout_s": 5.0,
        "send_timeout_s": 5.0,
        "connects": trio.CapacityLimiter(8),
    }
    return AgentSessions(sign=sign, **settings | limits)


@define
class Ear:
    """Takes a session's events, and makes them something to wait for."""

    events: list[AgentEvent] = field(factory=list)
    _send: trio.MemorySendChannel[AgentEvent] = field(init=False)
    _receive: trio.MemoryReceiveChannel[AgentEvent] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[AgentEvent](1000)

    def deliver(self, event: AgentEvent) -> None:
        self.events.append(event)
        self._send.send_nowait(event)

    async def next(self) -> AgentEvent:
        return await self._receive.receive()

    async def session(self) -> AgentSession:
        opened = await self.next()
        assert isinstance(opened, SessionOpened)
        return opened.session

    @property
    def said(self) -> list[AgentEvent]:
        """What was delivered after `SessionOpened`."""
        assert not self.events or isinstance(self.events[0], SessionOpened)
        return self.events[1:]


async def play(script: Script, *, plan: SessionPlan = PLAN, **limits: Any) -> tuple[SessionEnd, Ear]:
    """Run one session against the script until both are at their end."""
    ear = Ear()
    async with scripted_agent(script, **limits) as agent:
        end = await agent.sessions.run(plan, ear.deliver)
        await agent.finished.wait()
    return end, ear


# --- What agents say ---


def response(text: str, event_id: int) -> dict[str, Any]:
    return {"type": "agent_response", "agent_response_event": {"agent_response": text, "event_id": event_id}}


def part(kind: str, text: str, event_id: int) -> dict[str, Any]:
    return {
        "type": "agent_chat_response_part",
        "text_response_part": {"type": kind, "text": text, "event_id": event_id},
    }


def ping(event_id: object) -> dict[str, Any]:
    return {"type": "ping", "ping_event": {"event_id": event_id, "ping_ms": None}}


def sound(audio: bytes, event_id: int) -> dict[str, Any]:
    event = {"audio_base_64": b64encode(audio).decode(), "event_id": event_id}
    return {"type": "audio", "audio_event": event}


def interruption(event_id: int) -> dict[str, Any]:
    return {"type": "interruption", "interruption_event": {"event_id": event_id}}


def transcript(text: str, event_id: int) -> dict[str, Any]:
    event = {"user_transcript": text, "event_id": event_id}
    return {"type": "user_transcript", "user_transcription_event": event}


def error(code: int, error_type: str, reason: str) -> dict[str, Any]:
    return {"type": "error", "error_event": {"code": code, "error_type": error_type, "reason": reason}}


async def stay_open(peer: Peer) -> None:
    await peer.open()
    await peer.until_closed()
