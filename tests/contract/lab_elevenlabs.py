"""A served ElevenLabs lab, and a raw client of its agent socket, for the tests of the lab."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import trio
from attrs import define, field, frozen
from quart import request
from quart_trio import QuartTrio
from trio_websocket import CloseReason, ConnectionClosed, WebSocketConnection, wrap_client_stream

from daemon.httpserver import HttpServer, ServerLimits
from daemon.lab.elevenlabs.app import ElevenLabsLab
from daemon.lab.elevenlabs.script import CallScript
from daemon.lab.faults import Fault

KEY = "lab-key"
SECRET = "wsec_lab"
INITIATION = {"type": "conversation_initiation_client_data"}
FULL_EVENTS = [
    "conversation_initiation_metadata",
    "ping",
    "audio",
    "interruption",
    "user_transcript",
    "agent_response",
    "agent_response_correction",
    "agent_chat_response_part",
    "agent_response_complete",
    "client_tool_call",
    "agent_tool_response",
]
ADVISOR_TOOL = {
    "type": "client",
    "name": "request_advisor",
    "description": "Pide un asesor humano.",
    "expects_response": True,
    "response_timeout_secs": 20,
}


END_CALL_TOOL = {"type": "system", "name": "end_call", "params": {"system_tool_type": "end_call"}}


def agent_body(*, text_only: bool = True, **conversation: Any) -> dict[str, Any]:
    """An agent as an operator should set it up; more settings of `conversation` by keyword."""
    return {
        "name": "Valeria",
        "conversation_config": {
            "agent": {
                "language": "es",
                "first_message": "",
                "dynamic_variables": {"dynamic_variable_placeholders": {"customer_name": "", "product": ""}},
                "prompt": {
                    "prompt": "Eres Valeria y hablas con {{customer_name}} de {{product}}.",
                    "tools": [dict(ADVISOR_TOOL)],
                    "built_in_tools": {"end_call": END_CALL_TOOL},
                },
            },
            "tts": {"model_id": "eleven_turbo_v2_5", "agent_output_audio_format": "ulaw_8000"},
            "asr": {"user_input_audio_format": "ulaw_8000"},
            "turn": {"turn_timeout": -1},
            "conversation": {"text_only": text_only, "client_events": FULL_EVENTS, **conversation},
        },
        "platform_settings": {
            "data_collection": {"intent": {"type": "string", "description": "Qué quiere"}},
        },
    }


def of_type(frames: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [frame for frame in frames if frame.get("type") == kind]


def reply_texts(frames: Sequence[dict[str, Any]]) -> list[str]:
    return [frame["agent_response_event"]["agent_response"] for frame in of_type(frames, "agent_response")]


@define
class Talk:
    """The client's end of an agent socket. Keeps what it got; answers no ping of itself."""

    socket: WebSocketConnection
    frames: list[dict[str, Any]] = field(factory=list)

    async def send(self, frame: Mapping[str, Any]) -> None:
        await self.socket.send_message(json.dumps(frame))

    async def initiate(self, **initiation: Any) -> str:
        """Send the initiation and wait for the metadata; returns the conversation id."""
        await self.send({"type": "conversation_initiation_client_data", **initiation})
        metadata = await self.until("conversation_initiation_metadata")
        return str(metadata["conversation_initiation_metadata_event"]["conversation_id"])

    async def say(self, text: str) -> None:
        await self.send({"type": "user_message", "text": text})

    async def next(self) -> dict[str, Any]:
        frame = cast("dict[str, Any]", json.loads(await self.socket.get_message()))
        self.frames.append(frame)
        return frame

    async def until(self, kind: str) -> dict[str, Any]:
        while True:
            frame = await self.next()
            if frame["type"] == kind:
                return frame

    async def turn(self, text: str) -> list[dict[str, Any]]:
        """Say something and collect the frames of the answer, the completion last."""
        start = len(self.frames)
        await self.say(text)
        await self.until("agent_response_complete")
        return self.frames[start:]

    async def end(self) -> tuple[int, str | None]:
        """Read until the server ends the session; its close code and reason. 1006: no close frame."""
        try:
            while True:
                await self.next()
        except ConnectionClosed:
            reason = cast("CloseReason", self.socket.closed)
            return int(reason.code), reason.reason

    def types(self) -> list[str]:
        return [frame["type"] for frame in self.frames]


@define
class Receiver:
    """Where the lab's webhooks go. Answers `statuses` in turn, then 200."""

    statuses: list[int] = field(factory=list)
    got: list[tuple[str, bytes]] = field(factory=list)
    app: QuartTrio = field(factory=lambda: QuartTrio("receiver"))

    def __attrs_post_init__(self) -> None:
        self.app.add_url_rule("/hook", view_func=self.take, methods=["POST"])

    async def take(self) -> tuple[str, int]:
        body = cast("bytes", await request.get_data())
        self.got.append((request.headers["ElevenLabs-Signature"], body))
        return "", self.statuses.pop(0) if self.statuses else 200

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]


@asynccontextmanager
async def webhook_receiver() -> AsyncIterator[tuple[Receiver, str]]:
    receiver = Receiver()
    async with trio.open_nursery() as nursery:
        server = HttpServer(receiver.app, name="hook", host="127.0.0.1", port=0, limits=ServerLimits())
        host, port = await nursery.start(lambda task_status: server.run(task_status=task_status))
        yield receiver, f"http://{host}:{port}/hook"
        nursery.cancel_scope.cancel()


@frozen(kw_only=True)
class ServedLab:
    lab: ElevenLabsLab
    url: str
    agent_id: str

    @property
    def ws_url(self) -> str:
        return f"{self.url.replace('http', 'ws', 1)}/v1/convai/conversation?agent_id={self.agent_id}"

    async def submit(self, *scripts: Mapping[str, Any] | None, **body: Any) -> str:
        """Submit a batch over the lab's own route, one recipient per script; returns its id."""
        recipients = [
            {
                "id": f"row-{number}",
                "phone_number": f"+57313853915{number}",
                "conversation_initiation_client_data": {
                    "dynamic_variables": {"name": "Alejandro", "product": "Software IA"}
                },
                **({} if script is None else {"script": script}),
            }
            for number, script in enumerate(scripts)
        ]
        submission = {
            "call_name": "octubre",
            "agent_id": self.agent_id,
            "agent_phone_number_id": "phnum_lab",
            "recipients": recipients,
            **body,
        }
        async with self.client() as client:
            answer = await client.post("/lab/batches", json=submission)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def fault(self, name: str, *, times: int | None = 1, **details: float | str) -> None:
        self.lab.faults.switch_on(Fault(name=name, times=times, details=details))

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(base_url=self.url, headers={"xi-api-key": KEY}, timeout=10) as client:
            yield client

    @asynccontextmanager
    async def talk(
        self,
        url: str | None = None,
        *,
        headers: Sequence[tuple[bytes, bytes]] = (),
        subprotocols: Sequence[str] = (),
    ) -> AsyncIterator[Talk]:
        """A client of the socket. The stream is ours: trio-websocket leaves it open when the server refuses
        the upgrade or is first to close.
        """
        parts = urlsplit(url or self.ws_url)
        stream = await trio.open_tcp_stream(parts.hostname or "", parts.port or 80)
        try:
            async with stream, trio.open_nursery() as nursery:
                socket = await wrap_client_stream(
                    nursery,
                    stream,
                    parts.netloc,
                    f"{parts.path}?{parts.query}",
                    subprotocols=subprotocols,
                    extra_headers=list(headers),
                )
                yield Talk(socket)
                await socket.aclose()
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            # A refused upgrade comes out of the reader's task.
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from None
            raise


@asynccontextmanager
async def served_lab(*, agent: dict[str, Any] | None = None, **settings: Any) -> AsyncIterator[ServedLab]:
    """A lab on a port of its own with one agent, for at most 20 seconds."""
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            lab = ElevenLabsLab(**{"api_key": KEY, "write_script": lambda _: CallScript(), **settings})
            server = HttpServer(lab.app, name="lab", host="127.0.0.1", port=0, limits=ServerLimits())
            lab.abort_connection = server.abort
            await nursery.start(lambda task_status: lab.run(task_status=task_status))
            host, port = await nursery.start(lambda task_status: server.run(task_status=task_status))
            agent_id = lab.world.add_agent(agent or agent_body()).id
            yield ServedLab(lab=lab, url=f"http://{host}:{port}", agent_id=agent_id)
            nursery.cancel_scope.cancel()
    assert server.crashes == 0
