"""A WebSocket client that can be as rude as a network: wsproto on trio's streams, in the hands of the media streams.

trio_websocket's client closes politely whatever happens to it, and a stream that drops must not.
"""

import contextlib
import ssl
from typing import Final
from urllib.parse import urlsplit

import trio
from attrs import define, field
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

CONNECT_S: Final = 5.0
SEND_S: Final = 5.0
CLOSE_S: Final = 1.0
RECEIVE_BYTES: Final = 64 * 1024


class RefusedError(Exception):
    """No WebSocket came about; the message says why."""


class GoneError(Exception):
    """The connection is over.

    Attributes:
        code: of the other side's close frame; None where the connection broke.
    """

    def __init__(self, code: int | None) -> None:
        super().__init__(f"closed with {code}" if code is not None else "broken")
        self.code = code


@define(eq=False)
class Socket:
    """An open connection for text frames. One task may receive while another sends."""

    _stream: trio.abc.Stream
    _protocol: WSConnection
    _sending: trio.Lock = field(factory=trio.Lock)
    _events: list[Event] = field(factory=list)
    _text: str = ""
    _closed_with: int | None = None

    async def send(self, text: str) -> None:
        """Send one frame.

        Raises:
            GoneError: also when the other side takes nothing for `SEND_S`.
        """
        await self._write(TextMessage(data=text))

    async def receive(self) -> str:
        """The next text message, whole. Pings are answered meanwhile.

        Raises:
            GoneError: the other side closed, or the connection broke.
        """
        while True:
            for event in await self._next_events():
                if isinstance(event, Ping):
                    await self._write(event.response())
                elif isinstance(event, CloseConnection):
                    await self._answer_close(event)
                    raise GoneError(event.code)
                elif isinstance(event, TextMessage):
                    self._text += event.data
                    if event.message_finished:
                        text, self._text = self._text, ""
                        return text
                elif isinstance(event, BytesMessage):
                    continue

    async def close(self) -> None:
        """Close as it should be done: say so, wait for the same word, at most `CLOSE_S`."""
        with trio.move_on_after(CLOSE_S, shield=True), contextlib.suppress(GoneError):
            if self._protocol.state is ConnectionState.OPEN:
                await self._write(CloseConnection(code=1000))
                while not any(isinstance(event, CloseConnection) for event in await self._next_events()):
                    pass
        await trio.aclose_forcefully(self._stream)

    async def drop(self) -> None:
        """Close the connection without a word."""
        await trio.aclose_forcefully(self._stream)

    async def _next_events(self) -> list[Event]:
        """What has arrived; events that were not looked at yet come first."""
        if not self._events:
            try:
                received = await self._stream.receive_some(RECEIVE_BYTES)
                if not received:
                    raise GoneError(None)
                self._protocol.receive_data(bytes(received))
            except (trio.BrokenResourceError, trio.ClosedResourceError, RemoteProtocolError):
                raise GoneError(None) from None
            self._events = list(self._protocol.events())
            # Whoever sends may learn of it before it is looked at.
            closes = [event.code for event in self._events if isinstance(event, CloseConnection)]
            self._closed_with = next(iter(closes), self._closed_with)
        return [self._events.pop(0)] if self._events else []

    async def _answer_close(self, event: CloseConnection) -> None:
        try:
            await self._write(event.response())
        except GoneError:
            return

    async def _write(self, event: Event) -> None:
        try:
            async with self._sending:
                frame = self._protocol.send(event)
                with trio.fail_after(SEND_S):
                    await self._stream.send_all(frame)
        except (
            trio.BrokenResourceError,
            trio.ClosedResourceError,
            trio.TooSlowError,
            LocalProtocolError,
        ):
            raise GoneError(self._closed_with) from None


async def open_socket(url: str, headers: list[tuple[str, str]]) -> Socket:
    """Connect and upgrade, within `CONNECT_S`.

    Raises:
        RefusedError: the URL is none, nobody listens, or the answer is not 101.
    """
    host, port, target = _address(url)
    secure = url.startswith("wss:")
    stream: trio.abc.Stream | None = None
    try:
        with trio.fail_after(CONNECT_S):
            stream = await trio.open_tcp_stream(host, port)
            if secure:
                context = ssl.create_default_context()
                stream = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
            return await _upgrade(stream, urlsplit(url).netloc, target, headers)
    except (OSError, trio.BrokenResourceError, trio.TooSlowError, RemoteProtocolError, RefusedError) as error:
        if stream is not None:
            await trio.aclose_forcefully(stream)
        raise RefusedError(str(error) or type(error).__name__) from None


def _address(url: str) -> tuple[str, int, str]:
    """Host, port and path."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"ws": 80, "wss": 443}[parts.scheme]
    except (ValueError, KeyError):
        raise RefusedError("not the URL of a WebSocket") from None
    if not parts.hostname or not parts.path.isascii() or not parts.path.isprintable() or " " in parts.path:
        raise RefusedError("not the URL of a WebSocket")
    return parts.hostname, port, parts.path or "/"


async def _upgrade(stream: trio.abc.Stream, host: str, target: str, headers: list[tuple[str, str]]) -> Socket:
    protocol = WSConnection(ConnectionType.CLIENT)
    extra = [(name.encode(), value.encode()) for name, value in headers]
    await stream.send_all(protocol.send(Request(host=host, target=target, extra_headers=extra)))
    while True:
        received = await stream.receive_some(RECEIVE_BYTES)
        if not received:
            raise RefusedError("the connection was closed")
        protocol.receive_data(bytes(received))
        events = list(protocol.events())
        for place, event in enumerate(events):
            if isinstance(event, AcceptConnection):
                return Socket(stream, protocol, events=events[place + 1 :])
            if isinstance(event, RejectConnection):
                raise RefusedError(f"HTTP {event.status_code}")
