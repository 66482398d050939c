"""Both simulators, and between them the smallest business there can be: it answers calls with a stream to the agent.

It is no model of the daemon: it knows one call at a time, mixes nothing, and answers tools as it is told.
"""

import json
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import trio
from attrs import define, field, frozen
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from daemon.lab.serving import Lab, open_lab
from daemon.lab.twilio.voice.legs import Leg
from daemon.lab.twilio.voice.script import Script, Step
from tests.contract.lab_twilio import serve
from tests.contract.lab_twilio_voice import Office, Talk, Told

CALLER = "+5215512345678"
GREETING = "Hola, gracias por llamar."
LIMIT_S = 40


@define(eq=False)
class Bridge:
    """Carries sound between streams and sessions.

    Attributes:
        frames: what the agents sent, in order.
        tool_answers: by tool, what it is answered; others are answered with an error.
    """

    lab: Lab
    office: Office
    frames: list[dict[str, Any]] = field(factory=list)
    tool_answers: dict[str, str] = field(factory=dict)

    async def run(self) -> None:
        """Serve one call after the other, until cancelled."""
        number = 0
        while True:
            number += 1
            talk = await self.office.talk(number)
            await self._serve(talk)

    async def _serve(self, talk: Talk) -> None:
        async with httpx.AsyncClient(base_url=self.lab.elevenlabs_url, trust_env=False) as http:
            answer = await http.get(
                "/v1/convai/conversation/get-signed-url",
                params={"agent_id": self.lab.account.voice_agent_id},
                headers={"xi-api-key": self.lab.account.api_key},
            )
        async with open_websocket_url(answer.json()["signed_url"]) as socket, trio.open_nursery() as nursery:
            await socket.send_message(json.dumps({"type": "conversation_initiation_client_data"}))
            nursery.start_soon(self._from_agent, socket, talk)
            nursery.start_soon(self._to_agent, socket, talk)
            await talk.ended()
            nursery.cancel_scope.cancel(reason="the stream is over")

    async def _to_agent(self, socket: WebSocketConnection, talk: Talk) -> None:
        sent = 0
        while True:
            media = await talk.until("media", sent + 1)
            for frame in media[sent:]:
                await socket.send_message(json.dumps({"user_audio_chunk": frame["media"]["payload"]}))
            sent = len(media)

    async def _from_agent(self, socket: WebSocketConnection, talk: Talk) -> None:
        try:
            while True:
                await self._take(socket, talk, json.loads(await socket.get_message()))
        except ConnectionClosed:
            await talk.close()

    async def _take(self, socket: WebSocketConnection, talk: Talk, frame: Mapping[str, Any]) -> None:
        self.frames.append(dict(frame))
        match frame["type"]:
            case "audio":
                await talk.say(b64decode(frame["audio_event"]["audio_base_64"]))
            case "interruption":
                await talk.send("clear")
            case "ping":
                await self._send(socket, "pong", event_id=frame["ping_event"]["event_id"])
            case "client_tool_call":
                call = frame["client_tool_call"]
                told = self.tool_answers.get(call["tool_name"])
                await self._send(
                    socket,
                    "client_tool_result",
                    tool_call_id=call["tool_call_id"],
                    result=told or "",
                    is_error=told is None,
                )

    async def _send(self, socket: WebSocketConnection, kind: str, **body: Any) -> None:
        await socket.send_message(json.dumps({"type": kind, **body}))


@frozen(kw_only=True)
class Bridged:
    lab: Lab
    office: Office
    bridge: Bridge

    def call_in(self, *steps: Step) -> Leg:
        return self.lab.twilio.voice.call_in(CALLER, Script(steps=steps))

    def heard(self, leg: Leg) -> list[str]:
        """The events of the agents' books and of one leg, as `name: detail`, in order."""
        events = [event for event in self.lab.twilio.books.voice if event.call_sid in {leg.sid, ""}]
        return [f"{event.name}: {event.detail}" for event in events]

    def transcript(self) -> list[str]:
        return transcript(self.lab)


def transcript(lab: Lab) -> list[str]:
    """What was said in the newest conversation, as its transcript has it."""
    conversation = list(lab.elevenlabs.world.conversations.values())[-1]
    entries = [entry for entry in conversation.transcript if entry["message"]]
    return [f"{entry['role']}: {entry['message']}" for entry in entries]


@asynccontextmanager
async def bridged() -> AsyncIterator[Bridged]:
    """Both simulators on ports of their own, with a business between them; nothing may last `LIMIT_S`."""
    documents: dict[str, Told] = {}
    office = Office(documents)
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            office.url = await serve(nursery, office.app)
            documents["/voice/incoming"] = f"<Connect><Stream url='{office.stream_url}'/></Connect>"
            async with open_lab(public_url=office.url, sends_post_call_webhooks=False) as lab:
                agent = lab.elevenlabs.world.agent(lab.account.voice_agent_id)
                agent.config["agent"]["first_message"] = GREETING
                bridge = Bridge(lab, office)
                nursery.start_soon(bridge.run)
                yield Bridged(lab=lab, office=office, bridge=bridge)
                for leg in list(lab.twilio.voice.exchange.legs.values()):
                    lab.twilio.voice.hang_up(leg.sid)
                nursery.cancel_scope.cancel(reason="the test is over")
