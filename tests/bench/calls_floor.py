"""The floor of a bridged call: the same frames over the same sockets, and nothing of what the bridge is for.

    python -m tests.bench.calls_floor AGENT_PORT

No HTTP server, no clock, no marks, no music, no limits; a crash ends everything. Whatever costs less than this has left
some I/O out, or puts more of it into one step.
"""

import json
import sys
from base64 import b64decode
from functools import partial

import trio
from attrs import Factory, define
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import Protocol
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from actors.agent_events import SessionPlan
from daemon.elevenlabs import wire
from tests.bench.call_peers import tell

JOIN = 2


@define(eq=False)
class Out:
    """A stream that two tasks send to."""

    stream: trio.SocketStream
    lock: trio.Lock = Factory(trio.Lock)


async def flush(out: Out, protocol: Protocol) -> None:
    async with out.lock:
        octets = b"".join(protocol.data_to_send())
        if octets:
            await out.stream.send_all(octets)


async def texts(stream: Out, protocol: Protocol) -> list[str]:
    """What came; nothing at the end."""
    while True:
        octets = await stream.stream.receive_some(65536)
        if not octets:
            return []
        protocol.receive_data(octets)
        events = protocol.events_received()
        if events and isinstance(events[0], Frame):
            return [bytes(event.data).decode() for event in events if isinstance(event, Frame)]
        if events and isinstance(events[0], Request) and isinstance(protocol, ServerProtocol):
            protocol.send_response(protocol.accept(events[0]))
            await flush(stream, protocol)


async def call(caller_stream: trio.SocketStream, *, agent_port: int) -> None:
    served, caller = ServerProtocol(), Out(caller_stream)
    if not await texts(caller, served):
        return
    agent = Out(await trio.open_tcp_stream("127.0.0.1", agent_port))
    talk = ClientProtocol(parse_uri(f"ws://127.0.0.1:{agent_port}/"))
    talk.send_request(talk.connect())
    await flush(agent, talk)
    while not talk.state:
        talk.receive_data(await agent.stream.receive_some(65536))
    talk.events_received()
    talk.send_text(wire.initiation(SessionPlan(agent_id="a", user_id="p", speaks=True), version="1").encode())
    await flush(agent, talk)
    async with caller.stream, agent.stream, trio.open_nursery() as nursery:
        nursery.start_soon(to_caller, caller, served, agent, talk)
        frames: list[str] = []
        while came := await texts(caller, served):
            for text in came:
                if text.startswith('{"event":"media"'):
                    frames.append(json.loads(text)["media"]["payload"])
                if len(frames) == JOIN:
                    # Base64 in pieces of 160 bytes cannot be joined as text.
                    audio = b"".join(map(b64decode, frames))
                    frames.clear()
                    talk.send_text(wire.user_audio_chunk(audio))
                    await flush(agent, talk)
            if '"stop"' in came[-1]:
                break
        nursery.cancel_scope.cancel()


async def to_caller(caller: Out, served: ServerProtocol, agent: Out, talk: ClientProtocol) -> None:
    while came := await texts(agent, talk):
        for text in came:
            frame = json.loads(text)
            if frame["type"] == "ping":
                talk.send_text(wire.pong(frame["ping_event"]["event_id"]).encode())
                await flush(agent, talk)
            elif frame["type"] == "audio":
                payload = frame["audio_event"]["audio_base_64"]
                served.send_text(
                    f'{{"event":"media","streamSid":"MZ","media":{{"payload":"{payload}"}}}}'.encode()
                )
                await flush(caller, served)


async def main(agent_port: int) -> None:
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, partial(call, agent_port=agent_port), 0, host="127.0.0.1")
        [listener] = await nursery.start(serve)
        tell(port=listener.socket.getsockname()[1])


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
