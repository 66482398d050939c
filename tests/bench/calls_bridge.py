"""The bridge alone, as the daemon has it, between the ends that play calls.

python -m tests.bench.calls_bridge AGENT_PORT [music]
"""

import sys

import trio

from actors.agent_events import SessionPlan
from actors.live_call.line import Line, LineEvent, Report
from actors.live_call.mixing import BedRules, MusicBed
from daemon.elevenlabs.agent_socket import AgentSessions
from daemon.httpserver import HttpServer, ServerLimits
from daemon.observability.logging import configure_logging
from daemon.voice.bridge import BridgeRules, read_every_s
from daemon.voice.hold_loop import hold_loop
from daemon.voice.stream_route import StreamRoute
from tests.bench.call_peers import tell


async def main(agent_port: int, *, with_music: bool) -> None:
    configure_logging(json=False, level="warning")
    music = hold_loop()
    rules = BedRules(level=0.5, ducked_level=0.2, fade_s=0.5, duck_s=0.1, release_s=0.4)

    async def sign(_: str) -> str:
        await trio.lowlevel.checkpoint()
        return f"ws://127.0.0.1:{agent_port}/v1/convai/conversation?agent_id=a"

    async def admit(token: str, _: str, line: Line) -> Report:
        await trio.lowlevel.checkpoint()
        line.open_agent(SessionPlan(agent_id="a", user_id=token, speaks=True))
        line.music(on=with_music)
        return ignore

    def ignore(_: LineEvent) -> None:
        """Nobody minds what happens on these lines."""

    async def nothing_else(*_: object) -> None:
        raise RuntimeError

    route = StreamRoute(
        path="/voice/stream",
        otherwise=nothing_else,
        sessions=AgentSessions(
            sign=sign, start_timeout_s=30, send_timeout_s=10, connects=trio.CapacityLimiter(8)
        ),
        make_bed=lambda: MusicBed(music, rules),
        admit=admit,
        rules=BridgeRules(),
        streams_max=1_000,
    )
    server = HttpServer(
        route, name="bench", host="127.0.0.1", port=0, limits=ServerLimits(), websocket_beat_s=read_every_s(2)
    )
    async with trio.open_nursery() as nursery:
        _, port = await nursery.start(server.run)
        tell(port=port)


if __name__ == "__main__":
    trio.run(lambda: main(int(sys.argv[1]), with_music="music" in sys.argv))
