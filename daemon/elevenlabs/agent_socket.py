"""The agent's WebSocket. The only module that knows trio-websocket.

What there is to know about it:

- its connect timeout does not fire on a peer that accepts and stays silent;
- what its reader task raises goes through whatever nursery it runs in, and a Ping that meets our own close
  makes it raise (trio-websocket issue 184);
- a send that was cancelled may have left half a frame behind, so that nothing may follow it.
"""

import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.metadata import version
from typing import Any, TypeAlias, cast
from urllib.parse import urlsplit

import trio
from attrs import Factory, define, field, frozen
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from actors.agent_events import (
    AgentEvent,
    AgentFault,
    SessionEnd,
    SessionOpened,
    SessionPlan,
    ToolFinished,
)
from actors.ports import SessionLostError
from daemon.elevenlabs import endings, wire
from daemon.elevenlabs.problems import ApiRefusedError, ApiUnavailableError, read_problem

OnFrame: TypeAlias = Callable[[str, str], None]

_VERSION = version("relevo")

_CLOSE_S = 1.0
"""For the closing handshake, whoever wants to go."""

_GOODBYE_S = 5.0
"""Between the agent's hanging up by its `end_call` tool and its close frame, which normally follows at once."""

_KEEPALIVE = (
    # A peer that vanished without a word: an idle socket learns of it after 60 s, a sending one after 30 s.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
)


class _CannotStartError(Exception):
    """The session did not come about; carries its end."""

    def __init__(self, end: SessionEnd) -> None:
        super().__init__(end)
        self.end = end


@define(eq=False)
class _Line:
    """One WebSocket, its stream and the library's reader task.

    It stands in for the nursery that the library starts its reader in. The reader is shielded, so that the
    closing handshake works while its session is being cancelled, and whatever it dies of ends this line and
    nothing else.
    """

    _nursery: trio.Nursery
    _reader: trio.CancelScope = field(factory=lambda: trio.CancelScope(shield=True), init=False)
    _waiting: trio.CancelScope | None = field(default=None, init=False)
    _stream: trio.abc.Stream | None = field(default=None, init=False)
    _websocket: WebSocketConnection | None = field(default=None, init=False)
    problem: Exception | None = field(default=None, init=False)
    is_over: bool = field(default=False, init=False)

    def start_soon(self, read: Callable[[], Awaitable[None]]) -> None:
        """Called by the library with its reader task."""
        self._nursery.start_soon(self._contain, read, name="agent socket reader")

    async def _contain(self, read: Callable[[], Awaitable[None]]) -> None:
        try:
            with self._reader:
                await read()
        # Refused upgrades arrive this way, and so does everything the library and wsproto did not foresee.
        except Exception as problem:  # noqa: BLE001
            self.problem = problem
        finally:
            self.is_over = True
            if self._waiting is not None:
                # Nothing in the library wakes those who wait for a handshake when its reader ends.
                self._waiting.cancel(reason="the socket's reader has ended")

    async def connect(self, target: "_Target", ssl_context: ssl.SSLContext) -> WebSocketConnection:
        """Connect and upgrade.

        Raises:
            OSError: no connection, or the name does not resolve.
            trio.BrokenResourceError: TLS failed.
            _CannotStartError: the upgrade was refused or broken off.
        """
        tcp = await trio.open_tcp_stream(target.host, target.port)
        self._stream = tcp
        for option in _KEEPALIVE:
            tcp.setsockopt(*option)
        if target.is_tls:
            tls = trio.SSLStream(tcp, ssl_context, server_hostname=target.host, https_compatible=True)
            self._stream = tls
            await tls.do_handshake()
        with trio.CancelScope() as self._waiting:
            self._websocket = await wrap_client_stream(
                cast("trio.Nursery", self), cast("Any", self._stream), target.netloc, target.resource
            )
        if self._websocket is None:
            raise _CannotStartError(self._refusal())
        return self._websocket

    def _refusal(self) -> SessionEnd:
        problem = self.problem
        if not isinstance(problem, ConnectionRejected):
            return endings.lost(f"the upgrade was broken off{_named(problem)}")
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in problem.headers}
        return endings.refused(read_problem(problem.status_code, headers, problem.body or b""))

    async def cut(self) -> None:
        """Let go of the connection at once; what still waits for it finds it closed."""
        if self._stream is not None:
            with trio.CancelScope(shield=True):  # does not wait for anybody
                await trio.aclose_forcefully(self._stream)

    async def hang_up(self) -> None:
        """Close with 1000 where there is somebody to tell, for `_CLOSE_S` at most, then for certain. Not
        disturbed by cancellation.
        """
        if self._websocket is not None and not self.is_over:
            with trio.move_on_after(_CLOSE_S, shield=True) as self._waiting:
                await self._websocket.aclose(1000)
        self._reader.cancel(reason="the session is over")
        await self.cut()


@frozen
class _Target:
    """Where a signed URL leads. Its resource is kept byte for byte: the signature is part of it."""

    host: str
    port: int
    is_tls: bool
    netloc: str
    resource: str = field(repr=False)

    @classmethod
    def of(cls, url: str) -> "_Target":
        """Raises ValueError, without the URL in it, for anything but a WebSocket URL."""
        parts = urlsplit(url)
        if parts.scheme not in {"ws", "wss"} or parts.hostname is None or not url.isascii():
            raise ValueError("no WebSocket URL")
        is_tls = parts.scheme == "wss"
        return cls(
            parts.hostname,
            parts.port or (443 if is_tls else 80),
            is_tls,
            parts.netloc.rpartition("@")[2],
            (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        )


@define(eq=False)
class AgentSession:
    """An open session with the agent. It is gone after a send that was cancelled or took too long, since
    half a frame may have been written.
    """

    _line: _Line
    _websocket: WebSocketConnection
    _send_timeout_s: float
    _on_frame: OnFrame | None
    conversation_id: str = field(default="", init=False)
    _fault: AgentFault | None = field(default=None, init=False)
    _lost_because: str = field(default="", init=False)

    async def say(self, text: str) -> None:
        await self._send(wire.user_message(text))

    async def answer_tool(self, call_id: str, result: str, *, is_error: bool) -> None:
        await self._send(wire.client_tool_result(call_id, result, is_error=is_error))

    async def introduce(self, plan: SessionPlan) -> bool:
        """Say who we are, wait until the agent has done so, and tell it what it should know. False when the
        session ended before.
        """
        await self._tell(wire.initiation(plan, version=_VERSION))
        try:
            while not self.conversation_id:
                match await self._next():
                    case wire.Metadata(conversation_id):
                        self.conversation_id = conversation_id
                    case wire.Ping(event_id):
                        await self._tell(wire.pong(event_id))
                    case AgentFault() as fault:
                        self._fault = fault
        except ConnectionClosed:
            return False
        if plan.context:
            await self._tell(wire.contextual_update(plan.context))
        return True

    async def relay(self, deliver: Callable[[AgentEvent], None]) -> bool:
        """Deliver events and answer pings until the session ends. True when the agent has hung up by its
        tool and the close is still to come.
        """
        try:
            while True:
                event = await self._next()
                if event is None or isinstance(event, wire.Metadata):
                    continue
                if isinstance(event, wire.Ping):
                    await self._tell(wire.pong(event.event_id))
                    continue
                if isinstance(event, AgentFault):
                    self._fault = event
                deliver(event)
                if isinstance(event, ToolFinished) and event.name == "end_call" and not event.is_error:
                    return True
        except ConnectionClosed:
            return False

    def end(self) -> SessionEnd:
        """How it ended, once it has."""
        if self._lost_because:
            return endings.lost(self._lost_because)
        close = self._websocket.closed
        if close is None:
            return endings.lost(f"the connection broke{_named(self._line.problem)}")
        return endings.closed(
            close.code, close.reason, fault=self._fault, was_open=bool(self.conversation_id)
        )

    async def _next(self) -> wire.Message | None:
        frame = await self._websocket.get_message()
        if self._on_frame is not None and isinstance(frame, str):
            self._on_frame("<", frame)
        return wire.parse(frame)

    async def _tell(self, frame: str) -> None:
        """Send, and leave it to the next read to find out that nobody listens: frames may be waiting there
        that say why.
        """
        with suppress(SessionLostError):
            await self._send(frame)

    async def _send(self, frame: str) -> None:
        if self._line.is_over or self._lost_because:
            raise SessionLostError
        if self._on_frame is not None:
            self._on_frame(">", frame)
        try:
            with trio.fail_after(self._send_timeout_s):
                await self._websocket.send_message(frame)
        except ConnectionClosed:
            raise SessionLostError from None
        except trio.TooSlowError:
            await self._give_up(f"a frame was not taken within {self._send_timeout_s:g} s")
            raise SessionLostError from None
        except trio.Cancelled:
            await self._give_up("a frame was cancelled while it was being sent")
            raise

    async def _give_up(self, why: str) -> None:
        self._lost_because = why
        await self._line.cut()


@define(eq=False, kw_only=True)
class AgentSessions:
    """Text sessions with agents, each one WebSocket.

    Attributes:
        sign: gets a signed URL for an agent; raises `ApiUnavailableError` or `ApiRefusedError`.
        start_timeout_s: for everything up to the agent's first message, waiting for `connects` included.
        send_timeout_s: for one frame.
        connects: how many sessions may be connecting at a time, since each TLS handshake costs CPU.
        on_frame: sees every text frame, with `>` for sent and `<` for received.
    """

    sign: Callable[[str], Awaitable[str]]
    start_timeout_s: float
    send_timeout_s: float
    connects: trio.CapacityLimiter
    ssl_context: ssl.SSLContext = Factory(ssl.create_default_context)
    on_frame: OnFrame | None = None

    async def run(self, plan: SessionPlan, deliver: Callable[[AgentEvent], None]) -> SessionEnd:
        """Open a session and stay with it until it ends; see the port."""
        async with trio.open_nursery() as nursery:
            line = _Line(nursery)
            try:
                session = await self._start(line, plan)
                # A plan carries a whole history, and this frame lives as long as the session.
                del plan
                end = await _stay(session, deliver)
            except _CannotStartError as failure:
                end = failure.end
            finally:
                await line.hang_up()
        return end

    async def _start(self, line: _Line, plan: SessionPlan) -> AgentSession:
        step = "getting a signed URL"
        try:
            with trio.fail_after(self.start_timeout_s):
                async with self.connects:
                    target = _Target.of(await self.sign(plan.agent_id))
                    step = "connecting"
                    websocket = await line.connect(target, self.ssl_context)
                step = "waiting for the agent's first message"
                session = AgentSession(line, websocket, self.send_timeout_s, self.on_frame)
                if await session.introduce(plan):
                    return session
                end = session.end()
        except trio.TooSlowError:
            end = endings.lost(f"no start within {self.start_timeout_s:g} s: {step}")
        except (ApiUnavailableError, ApiRefusedError) as error:
            end = endings.unsigned(error)
        except (OSError, ValueError, trio.BrokenResourceError) as error:
            end = endings.lost(f"{step}{_named(error.__cause__ or error)}")
        raise _CannotStartError(end)


async def _stay(session: AgentSession, deliver: Callable[[AgentEvent], None]) -> SessionEnd:
    try:
        deliver(SessionOpened(session))
        if await session.relay(deliver):
            with trio.move_on_after(_GOODBYE_S):
                while await session.relay(deliver):
                    pass
                return session.end()
            return endings.closed(1000, "the agent hung up", fault=None, was_open=True)
    except trio.WouldBlock:
        return endings.lost("events were not taken as fast as the agent sent them")
    return session.end()


def _named(error: BaseException | None) -> str:
    return "" if error is None else f": {type(error).__name__}: {error}"
