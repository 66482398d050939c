"""`/voice/stream`: the WebSocket that Twilio brings a call's sound to (Twilio docs: voice/media-streams).

Who may stream is decided by a token among the stream's parameters. It comes with the first frames, so whoever opens
the socket is given a while to send it. The upgrade's signature is looked at only where that is asked for: reports
differ on what Twilio signs there.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import structlog
import trio
from attrs import define, field

from actors.live_call.line import Line, Report
from actors.live_call.mixing import MusicBed
from actors.ports import AgentSessions
from daemon.voice import frames
from daemon.voice.bridge import Bridge, BridgeRules
from daemon.voice.frames import Started

_log = structlog.get_logger(__name__)

Scope: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
Application: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
Admit: TypeAlias = Callable[[str, str, Line], Awaitable[Report | None]]

_POLICY: Final = 1008
_TRY_AGAIN_LATER: Final = 1013
_FRAMES_BEFORE_START_MAX: Final = 100


@define(eq=False)
class AsgiSocket:
    """A `StreamSocket` over ASGI."""

    _receive: Receive
    _send: Send

    async def receive(self) -> str | None:
        while True:
            event = await self._receive()
            if event["type"] != "websocket.receive":
                return None
            text: str | None = event.get("text")
            if text is not None:
                return text

    async def send(self, text: str) -> None:
        await self._send({"type": "websocket.send", "text": text})

    async def close(self, code: int) -> None:
        await self._send({"type": "websocket.close", "code": code})


@define(eq=False, kw_only=True)
class StreamRoute:
    """An ASGI application: media streams at `path`, and everything else to `otherwise`.

    Attributes:
        sessions: opens voice sessions with the agent.
        make_bed: makes the hold music of one call.
        admit: asked with a stream's token, its call's SID and its line; gives what takes the line's events, None for
            a token that is wrong or used. It has time limits of its own.
        is_signed: whether an upgrade with these headers, by lower-case name, is Twilio's, for this path and query; None
            lets everybody in as far as the token.
        start_timeout_s: how long the stream's parameters may take.
        streams_max: streams that were let in; whoever comes beyond is closed with 1013 and goes on with what its document
            has next.
        starting_max: sockets whose token is not known yet, a limit of their own, so that strangers who open sockets and
            say nothing take no caller's place; whoever comes beyond is closed with 1013.
    """

    path: str
    otherwise: Application
    sessions: AgentSessions
    make_bed: Callable[[], MusicBed]
    admit: Admit
    rules: BridgeRules
    is_signed: Callable[[Mapping[str, str], str], bool] | None = None
    start_timeout_s: float = 10.0
    streams_max: int = 100
    starting_max: int = 64
    _open: int = field(default=0, init=False)
    _starting: int = field(default=0, init=False)
    _is_draining: bool = field(default=False, init=False)

    @property
    def streams(self) -> int:
        """How many were let in and are open now."""
        return self._open

    def begin_drain(self) -> None:
        """Take no new streams; those that are open go on until their calls end or the server's drain does."""
        self._is_draining = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket" and scope["path"] == self.path:
            await self._serve(scope, receive, send)
        else:
            await self.otherwise(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = AsgiSocket(receive, send)
        await receive()  # the upgrade
        if self.is_signed is not None and not self.is_signed(_headers(scope), _target(scope)):
            _log.warning("media stream refused: not signed by Twilio")
            await socket.close(_POLICY)  # before it was accepted: HTTP 403
            return
        has_room = not self._is_draining and self._starting < self.starting_max
        self._starting += has_room
        started = None
        try:
            await send({"type": "websocket.accept"})
            if has_room:
                started = await self._start(socket)
        finally:
            self._starting -= has_room
        if not has_room:
            await self._turn_away(socket)
        elif started is None:
            _log.info("media stream refused: it did not start")
            await socket.close(_POLICY)
        elif self._is_draining or self._open >= self.streams_max:
            await self._turn_away(socket)
        else:
            self._open += 1
            try:
                was_admitted = await self._bridge(socket, started)
            finally:
                self._open -= 1
            if not was_admitted:
                _log.warning("media stream refused: no such token")
                await socket.close(_POLICY)

    async def _start(self, socket: AsgiSocket) -> Started | None:
        with trio.move_on_after(self.start_timeout_s):
            return await _start(socket)
        return None

    async def _turn_away(self, socket: AsgiSocket) -> None:
        _log.warning(
            "media stream refused", open=self._open, starting=self._starting, draining=self._is_draining
        )
        await socket.close(_TRY_AGAIN_LATER)

    async def _bridge(self, socket: AsgiSocket, started: Started) -> bool:
        """Whether it was admitted; then it is over."""
        token = started.parameters.get("token", "")
        bridge = Bridge(
            socket=socket,
            started=started,
            sessions=self.sessions,
            make_bed=self.make_bed,
            rules=self.rules,
        )
        report = await self.admit(token, started.call_sid, bridge)
        if report is None:
            return False
        await bridge.run(report, token=token)
        return True


async def _start(socket: AsgiSocket) -> Started | None:
    """What a stream says of itself; None when it ends before, or talks of everything else."""
    for _ in range(_FRAMES_BEFORE_START_MAX):
        text = await socket.receive()
        if text is None:
            return None
        frame = frames.read(text)
        if isinstance(frame, Started):
            return frame
    return None


def _headers(scope: Scope) -> Mapping[str, str]:
    """By lower-case name; of a repeated one the first counts."""
    return {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in reversed(scope["headers"])
    }


def _target(scope: Scope) -> str:
    """Path and query, as they came."""
    path: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    return (path + b"?" + query if query else path).decode("latin-1")
