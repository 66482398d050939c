"""Media streams at the real server: calls of the simulated Twilio with the simulated agent, and everybody who may not."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest
import trio
from attrs import define, evolve
from structlog.testing import capture_logs
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from actors.agent_events import SessionPlan
from actors.live_call.line import (
    AgentSpoke,
    Heard,
    KeyPressed,
    Line,
    LineClosed,
    LineEnd,
    LineOpened,
    Report,
    SessionBegan,
    ToolAsked,
)
from actors.live_call.mixing import BedRules, MusicBed
from daemon.elevenlabs.agent_socket import AgentSessions
from daemon.elevenlabs.rest import RestApi
from daemon.httpserver import HttpServer, ServerLimits
from daemon.lab.faults import Fault
from daemon.lab.serving import Lab, open_lab
from daemon.lab.twilio.voice.legs import Leg
from daemon.lab.twilio.voice.script import Script, Step
from daemon.voice.bridge import BridgeRules, read_every_s
from daemon.voice.stream_route import StreamRoute
from tests.contract.lab_bridged import CALLER, GREETING, transcript
from tests.contract.lab_twilio_voice import Office, Told
from tests.memory.line_events import LineEvents

SAID = "agent_said@agent"
TOKEN = "one-time-token"
LIMITS = ServerLimits(drain_s=0.3)
LIMIT_S = 40
PATH = "/voice/stream"


def a_bed() -> MusicBed:
    rules = BedRules(level=0.5, ducked_level=0.2, fade_s=0.2, duck_s=0.1, release_s=0.1)
    return MusicBed(np.full(800, 3_000, np.int16), rules)


@define(eq=False)
class Desk(LineEvents):
    """Stands in for the call's actor: lets the token in once, and opens the agent."""

    plan: SessionPlan
    line: Line | None = None
    opens: bool = True

    async def admit(self, token: str, call_sid: str, line: Line) -> Report | None:
        await trio.lowlevel.checkpoint()
        if token != TOKEN or self.line is not None:
            return None
        self.line = line
        if self.opens:
            line.open_agent(self.plan)
        return self.report


@define(eq=False)
class Stage:
    lab: Lab
    route: StreamRoute
    server: HttpServer
    url: str
    desk: Desk
    documents: dict[str, Told]

    @property
    def stream_url(self) -> str:
        return f"ws{self.url.removeprefix('http')}{PATH}"

    def call_in(self, *steps: Step, token: str = TOKEN) -> Leg:
        parameter = f"<Parameter name='token' value='{token}'/>"
        connect = f"<Connect><Stream url='{self.stream_url}'>{parameter}</Stream></Connect>"
        self.documents["/voice/incoming"] = f"{connect}<Say>Se cortó</Say>"
        return self.lab.twilio.voice.call_in(CALLER, Script(steps=steps))

    def names(self, leg: Leg) -> list[str]:
        return [event.name for event in self.lab.twilio.books.voice if event.call_sid == leg.sid]

    def details(self, leg: Leg, name: str) -> list[str]:
        events = [event for event in self.lab.twilio.books.voice if event.call_sid == leg.sid]
        return [event.detail for event in events if event.name == name]

    def heard_s(self, leg: Leg) -> float:
        """How long the caller heard the stream."""
        heard = self.lab.twilio.voice.audible.heard(leg.sid, 0.0, 3_600.0)
        return sum(entry.end_s - entry.start_s for entry in heard if entry.kind.value == "stream")

    async def until_agent_said(self, words: str) -> None:
        books = self.lab.twilio.books
        await books.wait_until(
            lambda: any(event.name == "agent_said" and words in event.detail for event in books.voice)
        )

    def transcript(self) -> list[str]:
        return transcript(self.lab)

    @asynccontextmanager
    async def socket(self, path: str = PATH) -> AsyncIterator[WebSocketConnection]:
        """The stream is ours to close: trio-websocket leaves it open when the server closes first."""
        host, _, port = self.url.rpartition("/")[2].partition(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream, trio.open_nursery() as nursery:
            yield await wrap_client_stream(nursery, stream, host, path)
            nursery.cancel_scope.cancel()

    async def code(self, *frames: Mapping[str, Any]) -> int:
        """The code that a stream with these frames is closed with."""
        code = 0
        async with self.socket() as socket:
            try:
                for frame in frames:
                    await socket.send_message(json.dumps(frame))
                await socket.get_message()
            except ConnectionClosed as closed:
                code = closed.reason.code if closed.reason is not None else 0
        return code


@asynccontextmanager
async def staged(**options: Any) -> AsyncIterator[Stage]:
    """The labs, and a server with the route; nothing may last `LIMIT_S`."""
    documents: dict[str, Told] = {}
    office = Office(documents)
    with trio.fail_after(LIMIT_S):
        async with (
            httpx.AsyncClient(trust_env=False) as http,
            trio.open_nursery() as nursery,
        ):
            desk = Desk(SessionPlan(agent_id="", user_id="person-7", speaks=True))
            route = StreamRoute(
                path=PATH,
                otherwise=office.app,
                sessions=_not_yet(),
                make_bed=a_bed,
                admit=desk.admit,
                rules=BridgeRules(),
                **options,
            )
            server = HttpServer(
                route,
                name="public",
                host="127.0.0.1",
                port=0,
                limits=LIMITS,
                websocket_beat_s=read_every_s(2),
            )
            host, port = await nursery.start(server.run)
            office.url = f"http://{host}:{port}"
            async with open_lab(public_url=office.url, sends_post_call_webhooks=False) as lab:
                desk.plan = evolve(desk.plan, agent_id=lab.account.voice_agent_id)
                lab.elevenlabs.world.agent(lab.account.voice_agent_id).config["agent"]["first_message"] = (
                    GREETING
                )
                route.sessions = _sessions(lab, http)
                yield Stage(lab, route, server, office.url, desk, documents)
                for leg in list(lab.twilio.voice.exchange.legs.values()):
                    lab.twilio.voice.hang_up(leg.sid)
                nursery.cancel_scope.cancel(reason="the test is over")
    assert server.crashes == 0


def _not_yet() -> AgentSessions:
    async def sign(_: str) -> str:
        raise AssertionError

    return AgentSessions(sign=sign, start_timeout_s=5, send_timeout_s=5, connects=trio.CapacityLimiter(8))


def _sessions(lab: Lab, http: httpx.AsyncClient) -> AgentSessions:
    api = RestApi(
        client=http,
        base_url=lab.elevenlabs_url,
        api_key=lab.account.api_key,
        timeout_s=5,
        answer_max_bytes=2**20,
    )
    return evolve(_not_yet(), sign=api.signed_url)


# --- Calls ----------------------------------------------------------------------------------------------


async def test_a_caller_and_the_agent_hear_each_other() -> None:
    async with staged() as stage:
        leg = stage.call_in(
            Step(at=SAID, wait_s=0.3, say="¿Me comunica con Jesús?"),
            Step(at="key", press="0"),
            Step(hang_up=True),
        )
        asked = await stage.desk.until(ToolAsked)
        line, desk = stage.desk.line, stage.desk
        assert line is not None
        line.answer_tool(asked.call_id, '{"status": "calling", "advisor": "Jesús Ortega"}', is_error=False)
        # What has been written down may not have been spoken yet.
        await stage.until_agent_said("espere un momento")
        line.mark("said")
        await desk.until(Heard)
        stage.lab.twilio.voice.hang_up(leg.sid)
        await desk.until(LineClosed)
        heard_s, said = stage.heard_s(leg), stage.transcript()

    assert said[0] == f"agent: {GREETING}"
    assert said[1] == "user: ¿Me comunica con Jesús?"
    assert said[3] == "agent: Estoy comunicándole con Jesús, espere un momento por favor."
    assert heard_s == pytest.approx(sum(len(line) - 7 for line in (said[0], said[2], said[3])) / 15, rel=0.3)
    opened, began = desk.events[:2]
    assert isinstance(opened, LineOpened)
    assert (opened.token, opened.call_sid, isinstance(began, SessionBegan)) == (TOKEN, leg.sid, True)
    assert desk.told(AgentSpoke)
    assert desk.events[-1] == LineClosed(LineEnd.STOPPED)


async def test_a_caller_who_speaks_over_the_agent_silences_it() -> None:
    async with staged() as stage:
        leg = stage.call_in(Step(at="agent_speaks@agent", wait_s=0.5, say="Un recado, por favor"))
        asked = await stage.desk.until(ToolAsked)
        assert asked.name == "take_message"
        names = stage.names(leg)
        said = stage.transcript()

    assert said[0].endswith("…")
    assert "cleared" in names


async def test_music_is_under_the_agents_voice_and_ends() -> None:
    async with staged() as stage:
        leg = stage.call_in()
        await stage.desk.until(AgentSpoke)
        line = stage.desk.line
        assert line is not None
        line.music(on=True)
        await trio.sleep(1.5)
        line.music(on=False)
        line.mark("greeted")
        await stage.desk.until(Heard)
        heard_s = stage.heard_s(leg)

    assert heard_s > 1.5
    assert "cleared" in stage.names(leg)


async def test_keys_are_told() -> None:
    async with staged() as stage:
        stage.call_in(Step(at=SAID, press="0#"))
        await stage.desk.until(KeyPressed, 2)

    assert stage.desk.told(KeyPressed) == [KeyPressed("0"), KeyPressed("#")]


async def test_hanging_up_lets_the_call_go_on_with_its_document() -> None:
    async with staged() as stage:
        leg = stage.call_in()
        await stage.desk.until(AgentSpoke)
        assert stage.desk.line is not None
        stage.desk.line.hang_up()
        await leg.ended.wait()

    assert stage.details(leg, "stream_closed") == ["1000"]
    assert stage.details(leg, "say") == ["Se cortó"]
    assert stage.desk.events[-1] == LineClosed(LineEnd.HUNG_UP)


async def test_a_stream_that_drops_is_a_lost_line() -> None:
    async with staged() as stage:
        stage.lab.twilio.faults.switch_on(Fault(name="stream_drop", times=1, details={"seconds": 1.0}))
        leg = stage.call_in()
        await stage.desk.until(LineClosed)
        await leg.ended.wait()

    assert stage.desk.events[-1] == LineClosed(LineEnd.LOST)


async def test_at_the_end_of_a_drain_the_line_is_closed() -> None:
    async with staged() as stage:
        stage.call_in()
        await stage.desk.until(AgentSpoke)
        stage.route.begin_drain()
        await stage.server.drain()
        assert stage.route.streams == 0

    assert stage.desk.events[-1] == LineClosed(LineEnd.CANCELLED)


# --- The door -------------------------------------------------------------------------------------------


async def test_a_wrong_token_and_a_used_one_are_closed_with_1008() -> None:
    async with staged() as stage:
        with capture_logs() as logs:
            wrong = stage.call_in(token="guessed")
            await wrong.ended.wait()
            assert stage.desk.events == []
            stage.call_in()
            await stage.desk.until(AgentSpoke)
            again = stage.call_in()
            await again.ended.wait()
        assert stage.route.streams == 1

    assert stage.details(wrong, "stream_closed") == stage.details(again, "stream_closed") == ["1008"]
    assert [log["event"] for log in logs].count("media stream refused: no such token") == 2


async def test_who_does_not_start_is_closed_with_1008() -> None:
    async with staged(start_timeout_s=0.2) as stage:
        connected = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
        assert await stage.code(connected) == 1008
        assert await stage.code(*[connected] * 200) == 1008
        async with stage.socket() as socket:
            await socket.send_message("nonsense")
            await socket.aclose()
        assert stage.desk.events == []


async def test_above_the_limit_streams_are_closed_with_1013() -> None:
    async with staged(streams_max=1) as stage:
        stage.call_in()
        await stage.desk.until(AgentSpoke)
        assert stage.route.streams == 1
        another = stage.call_in()
        await another.ended.wait()
        assert stage.route.streams == 1

    assert stage.details(another, "stream_closed") == ["1013"]


async def test_strangers_who_open_sockets_and_say_nothing_take_no_callers_place() -> None:
    async with staged(streams_max=1, starting_max=3) as stage, stage.socket(), stage.socket():
        stage.call_in()
        await stage.desk.until(AgentSpoke)
        assert stage.route.streams == 1


async def test_there_is_a_limit_to_sockets_that_say_nothing() -> None:
    async with staged(starting_max=1, start_timeout_s=1) as stage:
        async with stage.socket() as stranger:
            assert await stage.code() == 1013
            with pytest.raises(ConnectionClosed):
                await stranger.get_message()
        # It took too long, and its place is free again.
        stage.call_in()
        await stage.desk.until(AgentSpoke)
        assert stage.route.streams == 1


async def test_while_draining_streams_are_closed_with_1013() -> None:
    async with staged() as stage:
        stage.route.begin_drain()
        assert await stage.code() == 1013
        assert stage.route.streams == 0


async def test_an_upgrade_that_is_not_signed_gets_no_socket() -> None:
    seen: list[tuple[Mapping[str, str], str]] = []

    def is_signed(headers: Mapping[str, str], target: str) -> bool:
        seen.append((headers, target))
        return "x-twilio-signature" in headers

    async with staged(is_signed=is_signed) as stage:
        with pytest.raises(BaseExceptionGroup) as refused:
            async with stage.socket():
                pass
        leg = stage.call_in()
        await stage.desk.until(AgentSpoke)
        stage.lab.twilio.voice.hang_up(leg.sid)

    assert refused.group_contains(ConnectionRejected)
    assert [target for _, target in seen] == [PATH, PATH]


async def test_other_paths_and_requests_are_somebody_elses() -> None:
    async with staged() as stage:
        stage.documents["/else"] = "<Hangup/>"
        stage.documents[PATH] = "<Hangup/>"
        async with httpx.AsyncClient(base_url=stage.url) as http:
            assert [(await http.get(path)).status_code for path in ("/else", PATH)] == [200, 200]
        async with stage.socket("/other") as socket:
            await socket.aclose()
        assert stage.route.streams == 0
