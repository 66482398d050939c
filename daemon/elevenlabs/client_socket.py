"""The agent's WebSocket, below its frames: connection, upgrade, sending and closing.

There is no task of its own: whoever receives reads from the connection, and whoever sends writes to it, without a wait
where the kernel takes it at once.
"""

import errno
import os
import socket
import ssl
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import trio
from attrs import define, field, frozen
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.protocol import State
from websockets.uri import WebSocketURI

from daemon.websocket import WebSocket, quiet_logger

_CLOSE_S: Final = 1.0
"""For the closing handshake, whoever wants to go."""

_RECEIVE_MAX_BYTES: Final = 64 * 1024

_KEEPALIVE: Final = (
    # A peer that vanished without a word: an idle socket learns of it after 60 s, a sending one after 30 s.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
)
_UNSENDABLE: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


@frozen
class Refusal:
    """An HTTP answer in place of the upgrade. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class BrokenOffError(Exception):
    """The upgrade was not answered as one; carries the answer where it was an HTTP one.

    `problem` says what was wrong otherwise.
    """

    def __init__(self, refusal: Refusal | None, problem: BaseException | None) -> None:
        super().__init__(refusal, problem)
        self.refusal = refusal
        self.problem = problem


@frozen
class Target:
    """Where a signed URL leads. Its resource is kept byte for byte: the signature is part of it."""

    uri: WebSocketURI = field(repr=False)

    @classmethod
    def of(cls, url: str) -> "Target":
        """Raises ValueError, without the URL in it, for anything but a WebSocket URL."""
        parts = urlsplit(url)
        if parts.scheme not in {"ws", "wss"} or parts.hostname is None or not url.isascii():
            raise ValueError("no WebSocket URL")
        is_tls = parts.scheme == "wss"
        port = parts.port or (443 if is_tls else 80)
        return cls(WebSocketURI(is_tls, parts.hostname, port, parts.path or "/", parts.query))


@define(eq=False, kw_only=True)
class ClientSocket:
    """One WebSocket from its connection to its end. It is gone after a send that was cancelled or took too long, since
    half a frame may have been written.

    Attributes:
        message_max_bytes: a message that the server sends; close code 1009 above it.
        send_timeout_s: for one frame.
        lost_because: why we gave it up, if we did.
    """

    message_max_bytes: int
    send_timeout_s: float
    lost_because: str = field(default="", init=False)
    _stream: trio.abc.Stream | None = field(default=None, init=False)
    _socket: trio.socket.SocketType | None = field(default=None, init=False)
    _is_tls: bool = field(default=False, init=False)
    _websocket: WebSocket | None = field(default=None, init=False)
    _sending: trio.Lock = field(factory=trio.Lock, init=False)

    async def connect(self, target: Target, ssl_context: ssl.SSLContext) -> None:
        """Connect and upgrade.

        Raises:
            OSError: no connection, or the name does not resolve.
            trio.BrokenResourceError: TLS failed.
            BrokenOffError: the upgrade was refused or broken off.
        """
        uri = target.uri
        tcp = await trio.open_tcp_stream(uri.host, uri.port)
        self._stream, self._socket, self._is_tls = tcp, tcp.socket, uri.secure
        for option in _KEEPALIVE:
            tcp.setsockopt(*option)
        if uri.secure:
            tls = trio.SSLStream(tcp, ssl_context, server_hostname=uri.host, https_compatible=True)
            self._stream = tls
            await tls.do_handshake()
        protocol = ClientProtocol(uri, max_size=self.message_max_bytes, logger=quiet_logger)
        self._websocket = WebSocket(protocol, self._read, self._write, _UNSENDABLE)
        protocol.send_request(protocol.connect())
        with suppress(*_UNSENDABLE):
            await self._websocket.flush()
        while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
            self._websocket.feed(await self._read())
        # What follows the upgrade may have come with it, a close too.
        if protocol.handshake_exc is not None:
            raise _broken_off(protocol.handshake_exc)

    @property
    def is_open(self) -> bool:
        return self._websocket is not None and self._websocket.is_open and not self.lost_because

    @property
    def close_code(self) -> int:
        return self._open().close_code

    @property
    def close_reason(self) -> str:
        return self._open().close_reason

    async def receive(self) -> str | bytes | None:
        """The next message; None at the end, whatever kind of end that is."""
        return await self._open().receive()

    async def send(self, text: bytes) -> bool:
        """Send a text frame; False where nobody takes it any more.

        Returns without letting others run where the kernel takes it at once. Cancelled while it waits, it leaves the
        socket lost.
        """
        if not self.is_open:
            return False
        try:
            return await self._open().send_text(text)
        except _UNSENDABLE:
            return False

    async def hang_up(self) -> None:
        """Close with 1000 where there is somebody to tell, for `_CLOSE_S` at most, then for certain. Not disturbed by
        cancellation.
        """
        websocket = self._websocket
        if websocket is not None and not self.lost_because:
            with trio.move_on_after(_CLOSE_S, shield=True), suppress(*_UNSENDABLE):
                await websocket.close(1000)
                await websocket.wait_closed()
        await self.cut()

    async def cut(self) -> None:
        """Let go of the connection at once; what still waits for it finds it closed."""
        if self._stream is not None:
            with trio.CancelScope(shield=True):  # does not wait for anybody
                await trio.aclose_forcefully(self._stream)

    def _open(self) -> WebSocket:
        if self._websocket is None:
            raise RuntimeError("not connected")
        return self._websocket

    async def _read(self) -> bytes:
        stream: Any = self._stream
        try:
            return bytes(await stream.receive_some(_RECEIVE_MAX_BYTES))
        except _UNSENDABLE:
            return b""

    async def _write(self, octets: bytes) -> None:
        try:
            self._sending.acquire_nowait()
        except trio.WouldBlock:
            await self._write_in_time(octets, is_next=False)
            return
        try:
            if left := self._write_at_once(octets):
                await self._write_in_time(left, is_next=True)
        finally:
            self._sending.release()

    def _write_at_once(self, octets: bytes) -> bytes:
        """What the kernel did not take."""
        if self._is_tls or self._socket is None:
            return octets
        try:
            return octets[os.write(self._socket.fileno(), octets) :]
        except BlockingIOError:
            return octets
        except OSError as error:
            closed = error.errno == errno.EBADF
            raise (trio.ClosedResourceError if closed else trio.BrokenResourceError) from error

    async def _write_in_time(self, octets: bytes, *, is_next: bool) -> None:
        """Raises trio.BrokenResourceError when it takes too long."""
        stream: Any = self._stream
        try:
            with trio.fail_after(self.send_timeout_s):
                if is_next:
                    await stream.send_all(octets)
                else:
                    async with self._sending:
                        await stream.send_all(octets)
        except trio.TooSlowError:
            await self._give_up(f"a frame was not taken within {self.send_timeout_s:g} s")
            raise trio.BrokenResourceError from None
        except trio.Cancelled:
            await self._give_up("a frame was cancelled while it was being sent")
            raise

    async def _give_up(self, why: str) -> None:
        self.lost_because = self.lost_because or why
        await self.cut()


def _broken_off(problem: Exception | None) -> BrokenOffError:
    if not isinstance(problem, InvalidStatus):
        return BrokenOffError(None, problem)
    answer = problem.response
    headers = {name.lower(): value for name, value in answer.headers.raw_items()}
    return BrokenOffError(Refusal(answer.status_code, headers, bytes(answer.body)), None)
