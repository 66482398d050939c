"""HTTP/1.1 and WebSocket on trio, for the daemon's listeners and for the lab's simulators.

hypercorn speaks HTTP and answers upgrades. The sockets, the time limits and the crash boundary are ours: hypercorn's
own trio server ends with the first request that crashes a connection (hypercorn issue 225), has no limit for
connections, and does not end while one client does not read. This is the only file that imports hypercorn.

A WebSocket that was accepted is no longer hypercorn's: the app that receives from it reads from the socket itself. So a
frame wakes one task and not two, and costs a quarter of the protocol's work; calls are made of frames.
"""

import errno
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum, auto
from math import inf
from typing import Any, cast

import h11
import structlog
import trio
from attrs import frozen
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol, H11WSConnection
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveEvent,
    ASGISendEvent,
    ConnectionState,
    H11SendableEvent,
    Scope,
)
from typing_extensions import override

from daemon.websocket import Beats, WebSocket, server_protocol

_log = structlog.get_logger(__name__)

Address = tuple[str, int]
App = ASGIFramework

_RECEIVE_MAX_BYTES = 64 * 1024
_APP_EVENTS_MAX = 10
# A request line has a method and a version too; a head has the request line and an empty one.
_REQUEST_LINE_MORE_BYTES = 40
_LINES_THAT_ARE_NO_FIELDS = 2
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_NO_ROOM_PAUSE_S = 0.1
_THEY_ARE_DONE = frozenset({h11.DONE, h11.MUST_CLOSE, h11.CLOSED})


class CannotListenError(Exception):
    """The address cannot be listened on. The sentence names host, port and reason."""


@frozen(kw_only=True)
class ServerLimits:
    """What clients may take, and what happens when they take more.

    Attributes:
        connections_max: open connections; the next ones wait in the backlog until one is closed.
        backlog: connections that wait to be accepted; the kernel lets the next ones try again or time out.
        head_max_bytes: a request's head; 431 above it, and the connection is closed.
        target_max_bytes: its path and query; 414 above it, and the connection is closed.
        fields_max: its header fields; 431 above it, and the connection is closed.
        head_timeout_s: from the connection to the first byte, and from a head's first byte to its last; the
            connection is closed without an answer.
        body_timeout_s: from a request's head to the end of its body; the connection is closed.
        write_timeout_s: until the client has taken one piece of an answer or one frame; the connection is closed.
        keep_alive_s: from an answer to the next request's first byte; the connection is closed.
        linger_s: how long a client may go on sending what nobody will read, after it was answered for good.
        drain_s: how long requests and WebSockets may go on once the drain has begun; then they are cancelled
            and their connections closed.
        websocket_max_message_bytes: a message the client sends, uncompressed; close code 1009 above it.
    """

    connections_max: int = 1000
    backlog: int = 256
    head_max_bytes: int = 16 * 1024
    target_max_bytes: int = 8 * 1024
    fields_max: int = 100
    head_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    write_timeout_s: float = 30.0
    keep_alive_s: float = 75.0
    linger_s: float = 2.0
    drain_s: float = 20.0
    websocket_max_message_bytes: int = 1024 * 1024

    def tick_s(self) -> float:
        """How often the limits are looked at: a limit may be overdrawn by a quarter of the shortest, at most 1 s."""
        shortest = min(
            self.head_timeout_s, self.body_timeout_s, self.write_timeout_s, self.keep_alive_s, self.linger_s
        )
        return min(shortest / 4, 1.0)


class HttpServer:
    """One ASGI app on one address.

    A crash of a connection is logged and counted and ends that connection alone. No lifespan events are sent:
    whoever builds an app starts and stops what it needs. Serves one `run()` in its life.

    There is no limit for the connections of one address: behind a proxy all come from the proxy's.

    Args:
        app: answers the requests.
        name: for log lines.
        host: where to listen.
        port: where to listen; 0 lets the system choose.
        limits: what clients may take.
        headers: sent with every answer, refusals of the protocol included, unless the answer has one of that name.
        websocket_beat_s: WebSockets are read at common moments that lie so far apart, and what comes between them
            waits in the kernel: for many that each bring a little all the time. Zero reads what comes when it comes.
    """

    def __init__(
        self,
        app: App,
        *,
        name: str,
        host: str,
        port: int,
        limits: ServerLimits,
        headers: Mapping[str, str] | None = None,
        websocket_beat_s: float = 0.0,
    ) -> None:
        self.crashes = 0
        self._name = name
        self._host = host
        self._port = port
        self._limits = limits
        self._spoken = _Protocols(app, limits, headers or {})
        self._spoken.beats = Beats(websocket_beat_s) if websocket_beat_s else None
        self._open: set[_Connection] = set()
        self._room = trio.Semaphore(limits.connections_max)
        self._accepting = trio.CancelScope()
        self._ended = trio.Event()

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._open)

    async def run(self, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until drained or cancelled; `started()` gets the address really bound.

        Cancelling closes every connection at once and cancels what is being answered.

        Raises:
            CannotListenError: before `started()`, when the address is taken, forbidden or unknown.
        """
        try:
            listeners = await self._listen()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_limits, name=f"{self._name} limits")
                task_status.started(listeners[0].socket.getsockname()[:2])
                await self._serve(listeners)
                nursery.cancel_scope.cancel(reason="drained")
        finally:
            self._ended.set()

    def begin_drain(self) -> None:
        """Stop accepting, let idle connections go, give the others `drain_s`. Returns at once; may be repeated."""
        # From now on every answer says that it is its connection's last.
        self._spoken.config.keep_alive_max_requests = 0
        self._accepting.cancel(reason="draining")

    async def drain(self) -> None:
        """Begin the drain and wait for the end of `run()`, when every connection is closed.

        Takes at most `drain_s`, and after that what an app does under a shield. Cancelling it does not take the
        drain back.
        """
        self.begin_drain()
        await self._ended.wait()

    def abort(self, peer: Address) -> None:
        """Close this client's TCP stream at once, without a close frame. Nothing happens when it is gone already."""
        for connection in tuple(self._open):
            if connection.peer == peer:
                connection.close("aborted")

    async def _listen(self) -> list[trio.SocketListener]:
        try:
            return await trio.open_tcp_listeners(self._port, host=self._host, backlog=self._limits.backlog)
        except OSError as error:
            reason = (
                "the port is taken by another program"
                if error.errno == errno.EADDRINUSE
                else (error.strerror or str(error))
            )
            raise CannotListenError(f"cannot listen on {self._host}:{self._port}: {reason}") from error

    async def _serve(self, listeners: Sequence[trio.SocketListener]) -> None:
        async with trio.open_nursery() as connections:
            try:
                with self._accepting:
                    async with trio.open_nursery() as acceptors:
                        for listener in listeners:
                            acceptors.start_soon(self._accept, listener, connections)
            finally:
                for listener in listeners:
                    listener.socket.close()
            await self._spoken.context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + self._limits.drain_s
            for connection in tuple(self._open):
                connection.let_go()

    async def _accept(self, listener: trio.SocketListener, connections: trio.Nursery) -> None:
        while True:
            await self._room.acquire()
            try:
                socket, address = await listener.socket.accept()
            except OSError as error:
                # Out of descriptors or memory, which passes; or the client was gone before it was looked at.
                self._room.release()
                if error.errno in _NO_ROOM:
                    _log.warning("cannot accept a connection", server=self._name, reason=error.strerror)
                    await trio.sleep(_NO_ROOM_PAUSE_S)
                continue
            connection = _Connection(trio.SocketStream(socket), self._spoken, peer=address[:2])
            self._open.add(connection)
            connections.start_soon(self._guard, connection, name=f"{self._name} connection")

    async def _guard(self, connection: "_Connection") -> None:
        """The crash boundary: an app's or a protocol's failure ends one connection and no more."""
        try:
            await connection.run()
        except BaseException as error:  # noqa: BLE001 - even a Cancelled that leaked must not reach the server
            crash, upwards = _split(error)
            if crash is not None:
                self.crashes += 1
                _log.error("connection crashed", server=self._name, peer=connection.peer, exc_info=crash)
            if upwards is not None:
                raise upwards from None
        finally:
            connection.close("ended")
            self._open.remove(connection)
            self._room.release()

    async def _watch_limits(self) -> None:
        """One task for all connections: a deadline is a number, where a cancel scope would cost each request."""
        tick_s = self._limits.tick_s()
        while True:
            await trio.sleep(tick_s)
            now = trio.current_time()
            for connection in tuple(self._open):
                excess = connection.excess(now)
                if excess is not None:
                    _log.debug("connection cut", server=self._name, peer=connection.peer, reason=excess)
                    connection.close(excess)


def _split(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """What of `error` is a crash of the one who raised it, and what has to go on upwards.

    A Cancelled where nothing was cancelled is a crash: trio-websocket and others leak them (trio-websocket
    issue 184), and trio would end the whole program in silence.
    """
    cancelled = trio.current_effective_deadline() == -inf
    upwards = (KeyboardInterrupt, SystemExit, *((trio.Cancelled,) if cancelled else ()))
    if not isinstance(error, BaseExceptionGroup):
        return (None, error) if isinstance(error, upwards) else (error, None)
    passing, crash = error.split(upwards)
    return crash, passing


class _Protocols:
    """What all connections of a server share."""

    def __init__(self, app: App, limits: ServerLimits, headers: Mapping[str, str]) -> None:
        self.app = app
        self.limits = limits
        # As they stand in a head: h11 would check each of them anew for every answer.
        self.headers = [
            (f"\r\n{name.lower()}:".encode(), f"{name.lower()}: {value}\r\n".encode())
            for name, value in headers.items()
        ]
        self.beats: Beats | None = None
        self.context = WorkerContext(None)
        self.config = Config()
        self.config.errorlog = logging.getLogger("hypercorn.error")
        self.config.include_server_header = False
        self.config.keep_alive_max_requests = sys.maxsize
        self.config.h11_max_incomplete_size = limits.head_max_bytes


class _RefusedError(Exception):
    """The client did what no client may; it is answered with the status, and the connection ends."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Phase(Enum):
    IDLE = auto()  # waits for a request's first byte
    HEAD = auto()  # a request's head has begun
    BUSY = auto()  # a request is being answered, or a WebSocket is open
    LINGERING = auto()  # our side has ended; what still comes is thrown away
    CLOSED = auto()


_EXCESS = {
    _Phase.IDLE: "idle for too long",
    _Phase.HEAD: "request head not complete in time",
    _Phase.BUSY: "request body not complete in time",
    _Phase.LINGERING: "not closed in time",
}


class _Connection:
    """One client's stream, and the deadlines of what it does."""

    def __init__(self, stream: trio.SocketStream, spoken: _Protocols, *, peer: Address) -> None:
        self.peer = peer
        self._stream = stream
        self._limits = spoken.limits
        self._beats = spoken.beats
        self._websocket: _AppSocket | None = None
        self._websocket_read_at = -inf
        self._write_lock = trio.Lock()
        self._write_deadline = inf
        self._reading = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._phase = _Phase.IDLE
        self._deadline = trio.current_time() + self._limits.head_timeout_s
        self._protocol = _Http11(
            app=cast("Any", spoken.app),
            config=spoken.config,
            context=spoken.context,
            task_group=cast("Any", self),
            connection_state=ConnectionState({}),
            ssl=False,
            client=peer,
            server=stream.socket.getsockname()[:2],
            send=self._send,
        )
        self._protocol.be_strict(spoken)

    async def run(self) -> None:
        """Answer requests until either side ends the connection. What crashes here comes out."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            with self._reading:
                await self._read()
            if self._websocket is not None:
                self._websocket.hand_over()
            await self._protocol.handle(Closed())

    def close(self, reason: str) -> None:
        """Close the stream at once. What is being answered learns of it as of a client that left."""
        self._phase, self._deadline = _Phase.CLOSED, inf
        self._stream.socket.close()
        self._reading.cancel(reason=reason)

    def let_go(self) -> None:
        """The server drains: close the stream if nothing is being asked on it."""
        if self._phase is _Phase.IDLE:
            self.close("draining")

    def excess(self, now: float) -> str | None:
        """The limit that this connection has overdrawn, if any."""
        if now >= self._write_deadline:
            return "answer not taken in time"
        if now < self._deadline:
            return None
        if self._phase is _Phase.BUSY and self._protocol.connection.their_state is not h11.SEND_BODY:
            self._deadline = inf
            return None
        return _EXCESS[self._phase]

    async def spawn_app(
        self,
        app: App,
        config: Config,  # noqa: ARG002
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Start the app on a request; hypercorn asks it of what it takes for its own task group."""
        events = _AppEvents()
        receive = events.get
        if scope["type"] == "websocket":
            socket = self._websocket = self._protocol.websocket = _AppSocket(self, events, send)
            receive, send = socket.receive, socket.send
        cast("trio.Nursery", self._nursery).start_soon(_answer, app, scope, events, receive, send)
        return events.put

    def open_websocket(self) -> WebSocket:
        """This connection as a WebSocket whose upgrade was answered. Whoever has it reads it, and nobody else."""
        return WebSocket(
            server_protocol(max_message_bytes=self._limits.websocket_max_message_bytes),
            self._read_websocket,
            self._write,
        )

    async def end_websocket(self) -> None:
        """Nothing more will be said on it."""
        await self._send(Closed())

    @property
    def is_upgraded(self) -> bool:
        """The upgrade was answered with 101."""
        stream = self._protocol.stream
        return (
            isinstance(stream, WSStream)
            and stream.state is ASGIWebsocketState.CONNECTED
            and not stream.closed
        )

    async def _read(self) -> None:
        while True:
            try:
                octets = await self._receive()
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                return
            if not octets:
                return
            if self._phase is _Phase.LINGERING:
                continue
            if self._phase is _Phase.IDLE:
                self._enter(_Phase.HEAD, self._limits.head_timeout_s)
            try:
                await self._protocol.handle(RawData(bytes(octets)))
            except _RefusedError as refused:
                await self._protocol.refuse(refused.status)

    async def _receive(self) -> bytes:
        """What comes next and is not a WebSocket's."""
        while (socket := self._websocket) is not None:
            octets = await socket.before(self._stream.receive_some, _RECEIVE_MAX_BYTES)
            if octets is not None:
                return octets
            # The app has read it until now.
            self._websocket = None
        return await self._stream.receive_some(_RECEIVE_MAX_BYTES)

    async def _read_websocket(self) -> bytes:
        if self._beats is not None:
            await self._beats.next(after_s=self._websocket_read_at)
            self._websocket_read_at = trio.current_time()
            try:
                return os.read(self._stream.socket.fileno(), _RECEIVE_MAX_BYTES)
            except BlockingIOError:
                pass  # it is silent, and its next word is awaited
            except OSError:
                return b""
        try:
            return bytes(await self._stream.receive_some(_RECEIVE_MAX_BYTES))
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            return b""
        finally:
            self._websocket_read_at = trio.current_time()

    async def _send(self, event: Event) -> None:
        if isinstance(event, RawData):
            if event.data:
                await self._write(event.data)
        elif isinstance(event, Closed):
            self._end()
            await self._protocol.handle(event)
        elif isinstance(event, Updated):
            if event.idle:
                self._enter(_Phase.IDLE, self._limits.keep_alive_s)
            else:
                self._enter(_Phase.BUSY, self._limits.body_timeout_s)

    async def _write(self, octets: bytes) -> None:
        try:
            self._write_lock.acquire_nowait()
        except trio.WouldBlock:
            await self._write_lock.acquire()
        self._write_deadline = trio.current_time() + self._limits.write_timeout_s
        try:
            await self._stream.send_all(octets)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self._protocol.handle(Closed())
            # An app that goes on sending would otherwise never let others run.
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            # Half of it may be out, and nothing can follow half a frame.
            self.close("write cancelled")
            raise
        finally:
            self._write_deadline = inf
            self._write_lock.release()

    def _end(self) -> None:
        """End our side. Closing with bytes unread would reset the stream and could cost the client its answer."""
        if self._protocol.connection.their_state in _THEY_ARE_DONE:
            self.close("answered")
        if self._phase is _Phase.CLOSED:
            return
        self._enter(_Phase.LINGERING, self._limits.linger_s)
        with suppress(OSError):
            self._stream.socket.shutdown(trio.socket.SHUT_WR)

    def _enter(self, phase: _Phase, limit_s: float) -> None:
        if self._phase is not _Phase.CLOSED:
            self._phase = phase
            self._deadline = trio.current_time() + limit_s


async def _answer(
    app: App,
    scope: Scope,
    events: "_AppEvents",
    receive: Callable[[], Awaitable[ASGIReceiveEvent]],
    send: Callable[[ASGISendEvent | None], Awaitable[None]],
) -> None:
    """Run the app on one request. Its crash is answered by the None: 500, or close code 1011 on a WebSocket."""
    try:
        await app(scope, receive, send)
    except BaseException as error:  # noqa: BLE001 - a crash boundary; see `_split` for a Cancelled that leaked
        crash, upwards = _split(error)
        if crash is not None:
            _log.error("request crashed", path=_route_of(str(scope.get("path", ""))), exc_info=crash)
        if upwards is not None:
            raise upwards from None
    finally:
        events.close()
    await send(None)


def _route_of(path: str) -> str:
    """A path as it may be logged. What follows its first two parts may open something, as a recording's link does."""
    known = path.split("/", 3)
    return "/".join([*known[:3], "…"]) if len(known) > 3 else path


class _AppEvents:
    """What a client does, on its way to the app that answers it.

    Holds ten events; then reading from the socket stops. The client's leaving always finds room, so that an app
    that never looks cannot hold its connection. What comes after the app's end is dropped.
    """

    def __init__(self) -> None:
        self._in, self._out = trio.open_memory_channel[ASGIReceiveEvent](_APP_EVENTS_MAX)
        self._last: ASGIReceiveEvent = {"type": "http.disconnect"}

    async def put(self, event: ASGIReceiveEvent) -> None:
        if event["type"] in {"http.disconnect", "websocket.disconnect"}:
            self._last = event
            self._in.close()
            return
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            try:
                self._in.send_nowait(event)
            except trio.WouldBlock:
                await self._in.send(event)

    async def get(self) -> ASGIReceiveEvent:
        try:
            return await self._out.receive()
        except trio.EndOfChannel:
            await trio.lowlevel.checkpoint()
            return self._last

    def end(self) -> None:
        """Nothing more will come this way."""
        self._in.close()

    def close(self) -> None:
        self._out.close()


class _AppSocket:
    """What a WebSocket's app receives from and sends to: hypercorn until the upgrade is accepted, then the socket."""

    def __init__(
        self,
        connection: _Connection,
        events: _AppEvents,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> None:
        self._connection = connection
        self._events = events
        self._send = send
        self._accepting: WebSocket | None = None
        self._socket: WebSocket | None = None
        self._reading = trio.CancelScope()
        self._handed_over = trio.Event()
        self._over = trio.Event()

    async def before(self, receive: Callable[[int], Awaitable[bytes]], count: int) -> bytes | None:
        """What comes before the app reads, or while it does nothing with it. None once the app has read all it wanted:
        then the connection is its reader's again.
        """
        if self._socket is None:
            with trio.CancelScope() as self._reading:
                return await receive(count)
        self.hand_over()
        await self._over.wait()
        return None

    def hand_over(self) -> None:
        """Nobody but the app reads from the connection any more."""
        self._handed_over.set()

    def feed(self, octets: bytes) -> bool:
        """Bytes that came between the acceptance and the handing over. False before the acceptance."""
        socket = self._socket or self._accepting
        if socket is not None:
            socket.feed(octets)
        return socket is not None

    async def receive(self) -> ASGIReceiveEvent:
        socket = self._socket
        if socket is None:
            event = await self._events.get()
            socket = self._upgraded()
            if socket is None or event["type"] == "websocket.connect":
                return event
        message = await socket.receive()
        if message is None:
            return {"type": "websocket.disconnect", "code": socket.close_code}
        if isinstance(message, str):
            return {"type": "websocket.receive", "text": message, "bytes": None}
        return {"type": "websocket.receive", "text": None, "bytes": message}

    def _upgraded(self) -> WebSocket | None:
        return self._socket

    async def send(self, event: ASGISendEvent | None) -> None:
        """None: the app has ended."""
        if self._socket is None:
            await self._answer_upgrade(event)
        elif event is None:
            await self._end(self._socket)
        elif event["type"] == "websocket.send":
            octets = event.get("bytes")
            await self._socket.send(cast("str", event["text"]) if octets is None else octets)
        elif event["type"] == "websocket.close":
            await self._socket.close(int(event.get("code", 1000)), event.get("reason") or "")
        else:
            raise ValueError(f"a WebSocket that is open takes no {event['type']}")

    async def _answer_upgrade(self, event: ASGISendEvent | None) -> None:
        if event is None or event["type"] != "websocket.accept":
            await self._send(event)
            return
        # The client may go on as soon as it has the answer.
        self._accepting = self._connection.open_websocket()
        await self._send(event)
        if self._connection.is_upgraded:
            self._socket = self._accepting
            self._reading.cancel(reason="the app reads the WebSocket itself")
            await self._handed_over.wait()
            self._events.end()  # somebody may be waiting there already

    async def _end(self, socket: WebSocket) -> None:
        await socket.close(1011)
        await self._connection.end_websocket()
        self._over.set()


class _Http11(H11Protocol):
    """hypercorn's HTTP/1.1, without its ways into HTTP/2 and without what lets a client crash or hold it."""

    _held = b""
    _headers: Sequence[tuple[bytes, bytes]] = ()
    websocket: _AppSocket | None = None

    def be_strict(self, spoken: _Protocols) -> None:
        """To be called before the first byte."""
        self._headers = spoken.headers
        self.connection = _StrictWire(spoken.limits)

    @override
    async def handle(self, event: Event) -> None:
        if not isinstance(self.stream, WSStream) or not isinstance(event, RawData):
            await super().handle(event)
        elif self.websocket is None or not self.websocket.feed(event.data):
            # RFC 6455, 4.1: nothing may follow the handshake before it was answered. hypercorn would answer twice.
            raise _RefusedError(400)

    async def refuse(self, status: int) -> None:
        """Answer in the app's place, which is no longer heard."""
        if self.stream is not None:
            self.stream.closed = True
            if self.stream.app_put is not None:
                await self.stream.app_put({"type": "websocket.disconnect", "code": 1002})
        wire = (
            self.connection.h11_connection
            if isinstance(self.connection, H11WSConnection)
            else self.connection
        )
        if wire.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            await self._send_error_response(status)
        await self.send(Closed())

    @override
    async def _check_protocol(self, event: h11.Request) -> None:
        # An `Upgrade: h2c` may be ignored (RFC 9110, 7.8); the HTTP/2 preface reads as a request of version 2.0.
        if event.http_version not in {b"1.1", b"1.0"}:
            raise _RefusedError(505)
        if event.method == b"CONNECT":
            # Answered with 200 it would be a tunnel, and h11 would speak no more.
            raise _RefusedError(501)
        names = [name for name, _ in event.headers]
        if b"transfer-encoding" in names and (b"content-length" in names or event.http_version == b"1.0"):
            # RFC 9112, 6.1 and 6.3: a proxy may have read the other one, and another request in the body.
            raise _RefusedError(400)

    @override
    async def _create_stream(self, request: h11.Request) -> None:
        await super()._create_stream(_without_extensions(request))
        if not isinstance(self.connection, H11WSConnection):
            return
        if self.connection.buffer:
            raise _RefusedError(400)
        if self.stream is not None and self.stream.closed:
            # hypercorn has refused the handshake and would wait for the client to leave.
            await self.send(Closed())

    @override
    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        """As hypercorn's, but a head of known length goes with the first piece of its body, in one packet, and an answer
        that comes before the request's end says that it is its connection's last, as it is for hypercorn.
        """
        if isinstance(event, h11.Response) and self.connection.their_state is h11.SEND_BODY:
            event = _as_the_last(event)
        try:
            octets = self._held + self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise
            return
        self._held = b""
        if not isinstance(event, h11.Response):
            await self.send(RawData(octets))
            return
        head = octets.lower()
        octets = octets[:-2] + b"".join(line for name, line in self._headers if name not in head) + b"\r\n"
        if b"\r\ncontent-length:" in head:
            self._held = octets
        else:
            await self.send(RawData(octets))


class _StrictWire(h11.Connection):
    """h11, which forgives what RFC 9112 forbids. What two programs read in two ways, a proxy and this server for
    example, is how one request is hidden in another; so nothing is forgiven here.
    """

    def __init__(self, limits: ServerLimits) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=limits.head_max_bytes)
        self._limits = limits

    @override
    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """As h11's; raises `_RefusedError` as soon as a head shows that it is none."""
        if self.their_state is h11.IDLE and (come := self.trailing_data[0]):
            status = _flaw_of_head(come, self._limits)
            if status is not None:
                raise _RefusedError(status)
        return super().next_event()


def _flaw_of_head(come: bytes, limits: ServerLimits) -> int | None:
    """The status for the head that `come` begins with, whole or not; None while nothing is wrong with it.

    Looked for are line ends other than CR LF, NUL, folded lines, a repeated Content-Length or one that is a list,
    and what is too much (RFC 9112, 2.2, 5.2 and 6.3).
    """
    end = come.find(b"\r\n\r\n")
    head = come[: end + 4] if end >= 0 else come
    lines = head.count(b"\r\n")
    returns = head.count(b"\r") - (end < 0 and head.endswith(b"\r"))
    if returns != lines or head.count(b"\n") != lines or b"\0" in head:
        return 400
    if b"\r\n " in head or b"\r\n\t" in head:
        return 400
    first = head.find(b"\r\n")
    if (first if first >= 0 else len(head)) > limits.target_max_bytes + _REQUEST_LINE_MORE_BYTES:
        return 414
    if lines > limits.fields_max + _LINES_THAT_ARE_NO_FIELDS or len(head) > limits.head_max_bytes:
        return 431
    _, name, after = head.lower().partition(b"\r\ncontent-length")
    if name and (b"," in after.partition(b"\r\n")[0] or b"\r\ncontent-length" in after):
        return 400
    return None


def _as_the_last(response: h11.Response) -> h11.Response:
    """What is left of a request that was answered before its end would be read as the next one (RFC 9112, 9.3)."""
    headers = [(name, value) for name, value in response.headers if name != b"connection"]
    return h11.Response(status_code=response.status_code, headers=[*headers, (b"connection", b"close")])


def _without_extensions(request: h11.Request) -> h11.Request:
    """No compression: a small message could unpack beyond its limit before anybody looks at its size."""
    if all(name != b"sec-websocket-extensions" for name, _ in request.headers):
        return request
    return h11.Request(
        method=request.method,
        target=request.target,
        http_version=request.http_version,
        headers=[(name, value) for name, value in request.headers if name != b"sec-websocket-extensions"],
    )
