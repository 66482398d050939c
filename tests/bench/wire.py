"""HTTP/1.1 and WebSocket by hand and only as far as the bench needs them: the load must cost less than what it measures."""

import base64
import hashlib

import trio
from attrs import define, field, frozen

_RECEIVE_MAX_BYTES = 64 * 1024
_BLANK_LINE = b"\r\n\r\n"
_WEBSOCKET_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE = 1, 8


class HungUpError(Exception):
    """The other side has closed the connection."""


@frozen
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@define(eq=False)
class Wire:
    """A TCP stream with what was read of it and not yet used."""

    stream: trio.SocketStream
    _unused: bytearray = field(factory=bytearray)
    _sending: trio.Lock = field(factory=trio.Lock)

    async def send(self, octets: bytes) -> None:
        try:
            async with self._sending:
                await self.stream.send_all(octets)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise HungUpError from error

    async def read_head(self) -> bytes:
        """Everything before the next blank line."""
        while (end := self._unused.find(_BLANK_LINE)) < 0:
            await self._read_more()
        return self._take(end + len(_BLANK_LINE))[:end]

    async def read_exactly(self, count_bytes: int) -> bytes:
        while len(self._unused) < count_bytes:
            await self._read_more()
        return self._take(count_bytes)

    def _take(self, count_bytes: int) -> bytes:
        taken = bytes(self._unused[:count_bytes])
        del self._unused[:count_bytes]
        return taken

    async def _read_more(self) -> None:
        try:
            octets = await self.stream.receive_some(_RECEIVE_MAX_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise HungUpError from error
        if not octets:
            raise HungUpError
        self._unused += octets


async def read_request(wire: Wire) -> Request:
    first, *lines = (await wire.read_head()).decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = _headers(lines)
    body = await wire.read_exactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body)


async def read_status(wire: Wire) -> int:
    """Read one answer to its end; its status."""
    first, *lines = (await wire.read_head()).decode("latin-1").split("\r\n")
    await wire.read_exactly(int(_headers(lines).get("content-length", "0")))
    return int(first.split(" ", 2)[1])


def answer(status: int, body: str) -> bytes:
    octets = body.encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(octets)}\r\n\r\n"
    return head.encode("ascii") + octets


def post(host: str, target: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"POST {target} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def _headers(lines: list[str]) -> dict[str, str]:
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


# --- WebSocket, the server's side (RFC 6455) ----------------------------------------------------------------


def handshake(request: Request) -> bytes:
    key = request.headers["sec-websocket-key"].encode("ascii")
    accepted = base64.b64encode(hashlib.sha1(key + _WEBSOCKET_KEY_SUFFIX).digest()).decode("ascii")
    return (
        "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accepted}\r\n\r\n"
    ).encode("ascii")


def text_frame(text: str) -> bytes:
    octets = text.encode()
    if len(octets) < 126:
        return bytes((0x80 | _TEXT, len(octets))) + octets
    return bytes((0x80 | _TEXT, 126)) + len(octets).to_bytes(2) + octets


async def read_text_frame(wire: Wire) -> str:
    """The client's next message; it comes in one frame, as clients of ours send it."""
    first, second = await wire.read_exactly(2)
    size = second & 0x7F
    if size >= 126:
        size = int.from_bytes(await wire.read_exactly(2 if size == 126 else 8))
    mask = await wire.read_exactly(4)
    masked = await wire.read_exactly(size)
    if first & 0x0F == _CLOSE:
        raise HungUpError
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(masked) ^ int.from_bytes(key)).to_bytes(size).decode()


async def connect(address: tuple[str, int]) -> Wire:
    return Wire(await trio.open_tcp_stream(*address))
