"""The network between Twilio and the daemon, in memory: requests both ways, and media streams.

What travels is what would travel: signed forms, TwiML, JSON, frames. Who is gone in the middle of it is missed as on a
real network: a request breaks off, a stream ends without a close frame.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from email.utils import format_datetime
from itertools import count
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

import httpcore
import httpx
import trio
from attrs import define, field, frozen
from typing_extensions import override

from daemon.lab.twilio.app import TwilioLab
from daemon.lab.twilio.voice.socket import GoneError, RefusedError
from daemon.twilio.transport import File, Limits, MaybeReceivedError, Transport

Application = Callable[[Any, Any, Any], Awaitable[None]]

MUSIC_HOST: Final = "music.example.com"
"""A company's own server, which is always there."""


class BrokenOffError(Exception):
    """The other side has gone before it answered."""


@frozen
class Answered:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


async def ask(
    app: Application, method: str, url: str, headers: Mapping[str, str], body: bytes, *, port: int = 0
) -> Answered:
    """One request of an ASGI application, in this task."""
    parts = urlsplit(url)
    scope = {
        **_scope("http", parts.path, parts.query, headers),
        "method": method,
        "scheme": "http",
        "client": ("127.0.0.1", port),
    }
    sent: list[dict[str, Any]] = []
    is_read = False

    async def receive() -> dict[str, Any]:
        nonlocal is_read
        if is_read:
            await trio.sleep_forever()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(event: dict[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(event)

    await app(scope, receive, send)
    if not sent:
        raise BrokenOffError
    content = b"".join(event.get("body", b"") for event in sent[1:])
    return Answered(sent[0]["status"], list(sent[0]["headers"]), content)


def _scope(kind: str, path: str, query: str, headers: Mapping[str, str]) -> dict[str, Any]:
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        "server": ("127.0.0.1", 80),
    }


# --- from Twilio to the daemon ----------------------------------------------------------------------------


class Daemon(Protocol):
    """A daemon that may be asked; `BrokenOffError` when it dies meanwhile."""

    async def serve(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answered: ...

    async def serve_stream(self, target: str, headers: Mapping[str, str], pipe: "Pipe") -> None: ...


@frozen
class ToDaemon(httpx.AsyncBaseTransport):
    """What Twilio's webhook engine requests by.

    Attributes:
        daemon: who listens now; None while nobody does.
        latency_s: of each way.
        music: what lies at the company's server.
    """

    daemon: Callable[[], Daemon | None]
    latency_s: Callable[[], float]
    music: Callable[[], bytes]

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.sleep(self.latency_s())
        if request.url.host == MUSIC_HOST:
            return httpx.Response(200, headers={"Content-Type": "audio/wav"}, content=self.music())
        daemon = self.daemon()
        if daemon is None:
            raise httpx.ConnectError("nobody listens", request=request)
        body = await request.aread()
        try:
            answer = await daemon.serve(request.method, str(request.url), dict(request.headers), body)
        except BrokenOffError:
            raise httpx.ReadError("broken off", request=request) from None
        await trio.sleep(self.latency_s())
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body)


# --- media streams ----------------------------------------------------------------------------------------


@frozen
class Closed:
    """The end of a connection; None where it broke."""

    code: int | None


Frame = str | Closed


@define(eq=False)
class _Way:
    """One direction of a connection, in order, each frame so long under way."""

    latency_s: float
    _put: trio.MemorySendChannel[tuple[float, Frame]] = field(init=False)
    _take: trio.MemoryReceiveChannel[tuple[float, Frame]] = field(init=False)
    _closed: Closed | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._put, self._take = trio.open_memory_channel[tuple[float, Frame]](100_000)

    def put(self, frame: Frame) -> None:
        if self._closed is None:
            self._put.send_nowait((trio.current_time() + self.latency_s, frame))
        if isinstance(frame, Closed) and self._closed is None:
            self._closed = frame

    @property
    def is_closed(self) -> bool:
        return self._closed is not None

    async def take(self) -> Frame:
        if self._closed is not None and not self._take.statistics().current_buffer_used:
            await trio.lowlevel.checkpoint()
            return self._closed
        due, frame = await self._take.receive()
        if due > trio.current_time():
            await trio.sleep_until(due)
        return frame


@define(eq=False)
class Pipe:
    """A WebSocket between Twilio and the daemon, Twilio's end as the lab's own `Socket`."""

    latency_s: float
    to_daemon: _Way = field(init=False)
    to_twilio: _Way = field(init=False)
    upgraded: trio.Event = field(factory=trio.Event, init=False)
    is_accepted: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.to_daemon, self.to_twilio = _Way(self.latency_s), _Way(self.latency_s)

    # --- Twilio's end ---

    async def send(self, text: str) -> None:
        await trio.lowlevel.checkpoint()
        if self.to_twilio.is_closed:
            raise GoneError(None)
        self.to_daemon.put(text)

    async def receive(self) -> str:
        frame = await self.to_twilio.take()
        if isinstance(frame, Closed):
            raise GoneError(frame.code)
        return frame

    async def close(self) -> None:
        self.to_daemon.put(Closed(1000))

    async def drop(self) -> None:
        self.to_daemon.put(Closed(None))

    # --- the daemon's end ---

    def break_off(self) -> None:
        """The daemon is gone."""
        self.to_twilio.put(Closed(None))
        self.to_daemon.put(Closed(None))
        self.upgraded.set()

    async def serve(self, app: Application, target: str, headers: Mapping[str, str]) -> None:
        """Have an ASGI application serve the daemon's end, in this task."""
        parts = urlsplit(target)
        scope = {
            **_scope("websocket", parts.path, parts.query, headers),
            "scheme": "ws",
            "client": ("127.0.0.1", 0),
            "subprotocols": [],
        }
        is_connected = False

        async def receive() -> dict[str, Any]:
            nonlocal is_connected
            if not is_connected:
                is_connected = True
                return {"type": "websocket.connect"}
            frame = await self.to_daemon.take()
            if isinstance(frame, Closed):
                return {"type": "websocket.disconnect", "code": frame.code or 1006}
            return {"type": "websocket.receive", "text": frame}

        await app(scope, receive, self._sent)
        self.to_twilio.put(Closed(1000))
        self.upgraded.set()

    async def _sent(self, event: Mapping[str, Any]) -> None:
        await trio.lowlevel.checkpoint()
        match event["type"]:
            case "websocket.accept":
                self.is_accepted = True
                self.upgraded.set()
            case "websocket.send":
                self.to_twilio.put(event["text"])
            case "websocket.close":
                self.to_twilio.put(Closed(event.get("code", 1000)))
                self.upgraded.set()


async def open_pipe(
    url: str, headers: list[tuple[str, str]], *, daemon: Callable[[], Daemon | None], latency_s: float
) -> Pipe:
    """In place of the lab's `open_socket`."""
    await trio.sleep(latency_s)
    found = daemon()
    if found is None:
        raise RefusedError("nobody listens")
    pipe = Pipe(latency_s)
    await found.serve_stream(url, dict(headers), pipe)
    await pipe.upgraded.wait()
    if not pipe.is_accepted:
        raise RefusedError("HTTP 403")
    return pipe


# --- from the daemon to Twilio ----------------------------------------------------------------------------


@define(eq=False)
class RestOffice:
    """Twilio's REST side, asked in memory. A request that has left is worked on, whatever becomes of who asked.

    Attributes:
        nursery: of the world, in which requests are worked on.
    """

    lab: TwilioLab
    nursery: trio.Nursery
    latency_s: Callable[[], float]
    _ports: Iterator[int] = field(factory=lambda: count(1), init=False)
    _open: dict[int, trio.CancelScope] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.lab.abort_connection = lambda peer: self._open[peer[1]].cancel(reason="a fault")

    async def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        """Raises `BrokenOffError` where the connection was dropped."""
        answers: list[Answered] = []
        done = trio.Event()
        await trio.sleep(self.latency_s())

        async def work() -> None:
            port = next(self._ports)
            try:
                with trio.CancelScope() as self._open[port]:
                    answers.append(await ask(self.lab.app, method, url, headers, body, port=port))
            finally:
                del self._open[port]
                done.set()

        self.nursery.start_soon(work, name=f"REST {method}")
        await done.wait()
        await trio.sleep(self.latency_s())
        if not answers:
            raise BrokenOffError
        return answers[0]


class MemoryTransport(Transport):
    """The daemon's transport to Twilio, which knows that office and no network."""

    def __init__(self, limits: Limits, office: RestOffice) -> None:
        super().__init__(limits)
        self._office = office

    @override
    async def _exchange(self, method: str, url: str, headers: Any, body: Any) -> httpcore.Response:
        body.has_left = True
        answer = await self._asked(method, url, dict(headers), body.content)
        response = httpcore.Response(answer.status, headers=self._dated(answer), content=answer.body)
        await response.aread()
        return response

    @override
    async def file(
        self, url: str, *, auth: tuple[str, str] | None, max_bytes: int, deadline_s: float
    ) -> File:
        headers = {}
        if auth is not None:
            headers["Authorization"] = httpx.BasicAuth(*auth)._auth_header
        with trio.move_on_after(deadline_s):
            answer = await self._asked("GET", url, headers, b"")
            names = {name.decode().lower(): value.decode() for name, value in answer.headers}
            content = answer.body if len(answer.body) <= max_bytes else None
            return File(status=answer.status, headers=names, content=content)
        raise MaybeReceivedError("no whole answer in time")

    async def _asked(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        try:
            return await self._office.ask(method, url, headers, body)
        except BrokenOffError:
            raise MaybeReceivedError("the connection was dropped") from None

    def _dated(self, answer: Answered) -> list[tuple[bytes, bytes]]:
        now = format_datetime(self._office.lab.clock.now(), usegmt=True)
        return [*answer.headers, (b"date", now.encode())]
