"""A WebSocket once its handshake is over, either end of it: websockets' protocol between a stream and whole messages.

The library speaks the protocol, without tasks and locks of its own; who reads and writes, and when, is decided here and
by those who use this. It costs a quarter of what wsproto does for a frame (10 and 39 µs for one of Twilio's).
"""

import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import trio
from attrs import define, field
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

quiet_logger: Final = logging.getLogger("relevo.websocket")
"""For the library, which tells of each connection that it is closed."""
quiet_logger.setLevel(logging.WARNING)

_INVALID_DATA: Final = 1007
_TOO_BIG: Final = 1009
_PARTS_MAX: Final = 1_000
_NO_CLOSE_FRAME: Final = 1006
_REASON_MAX_BYTES: Final = 123
_DATA: Final = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})


def server_protocol(*, max_message_bytes: int) -> Protocol:
    """The server's end of a WebSocket whose upgrade has been answered."""
    return Protocol(Side.SERVER, state=State.OPEN, max_size=max_message_bytes, logger=quiet_logger)


@define(eq=False)
class WebSocket:
    """One end of a WebSocket. One task at a time receives; any may send.

    Pings are answered by whoever receives, so somebody always should.

    Args:
        protocol: open.
        read: gives what has come next; nothing at the end, however it came about.
        write: sends bytes that must not be mixed with others; returns when they are on their way. What it raises comes
            out of `send` and `close`, never out of `receive`, which goes on with what has come before.
    """

    _protocol: Protocol
    _read: Callable[[], Awaitable[bytes]]
    _write: Callable[[bytes], Awaitable[None]]
    _unsendable: tuple[type[Exception], ...] = ()
    _messages: deque[str | bytes] = field(factory=deque, init=False)
    _parts: list[Frame] = field(factory=list, init=False)
    _has_ended: bool = field(default=False, init=False)

    @property
    def is_open(self) -> bool:
        """Neither side has said that it closes, and nothing broke."""
        return self._protocol.state is State.OPEN

    @property
    def close_code(self) -> int:
        """The code that the other side closed with, else the one that we had to close with; 1006 without either."""
        close = self._protocol.close_rcvd or self._protocol.close_sent
        return _NO_CLOSE_FRAME if close is None else int(close.code)

    @property
    def close_reason(self) -> str:
        close = self._protocol.close_rcvd or self._protocol.close_sent
        return "" if close is None else close.reason

    async def receive(self) -> str | bytes | None:
        """The next message; None once all that came before the end has been given. Where a message is there already,
        others are not let run.
        """
        while not self._messages:
            if not self.is_open:
                await trio.lowlevel.checkpoint()
                return None
            self.feed(await self._read())
            await self._answer()
        return self._messages.popleft()

    def feed(self, octets: bytes) -> None:
        """Take bytes that somebody else has read; none at the end of all."""
        protocol = self._protocol
        if self._has_ended:
            return
        if octets:
            protocol.receive_data(octets)
        else:
            self._has_ended = True
            protocol.receive_eof()
        for event in protocol.events_received():
            if isinstance(event, Frame) and event.opcode in _DATA:
                self._take(event)

    async def send(self, message: str | bytes) -> bool:
        """Send a message; False, and nothing is sent, once the socket is no longer open."""
        if isinstance(message, str):
            return await self.send_text(message.encode())
        if not self.is_open:
            return False
        self._protocol.send_binary(message)
        await self.flush()
        return True

    async def send_text(self, text: bytes) -> bool:
        """As `send`, for text that is encoded already."""
        if not self.is_open:
            return False
        self._protocol.send_text(text)
        await self.flush()
        return True

    async def close(self, code: int, reason: str = "") -> None:
        """Say that we close, if nobody said so before. Does not wait for the other side."""
        if self.is_open:
            shortened = reason.encode()[:_REASON_MAX_BYTES].decode(errors="ignore")
            self._protocol.send_close(code, shortened)
            await self.flush()

    async def flush(self) -> None:
        """Send what the protocol has to say."""
        octets = b"".join(self._protocol.data_to_send())
        if octets:
            await self._write(octets)

    async def wait_closed(self) -> None:
        """Read and throw away until the other side has said that it closes, or has gone. Whoever waits sets the limit."""
        while not self._has_ended and self._protocol.close_rcvd is None:
            self.feed(await self._read())
        self._messages.clear()

    def _take(self, frame: Frame) -> None:
        if frame.fin and not self._parts:
            self._put(frame.opcode, bytes(frame.data))
            return
        self._parts.append(frame)
        if len(self._parts) > _PARTS_MAX:
            self._protocol.fail(_TOO_BIG, "a message in too many parts")
        elif frame.fin:
            whole = b"".join(part.data for part in self._parts)
            opcode = self._parts[0].opcode
            self._parts.clear()
            self._put(opcode, whole)

    def _put(self, opcode: Opcode, data: bytes) -> None:
        if opcode is Opcode.BINARY:
            self._messages.append(data)
            return
        try:
            self._messages.append(data.decode())
        except UnicodeDecodeError:
            self._protocol.fail(_INVALID_DATA, "text that is no UTF-8")

    async def _answer(self) -> None:
        try:
            await self.flush()
        except self._unsendable:
            return  # what is still to be read may say why


@define(eq=False)
class Beats:
    """Moments that many wait for together, so that the loop wakes once for all of them.

    What comes in small pieces at many connections wakes the loop for each piece, which costs more than what is done
    with it.
    """

    every_s: float
    _coming: trio.Event | None = field(default=None, init=False)

    async def next(self, *, after_s: float) -> None:
        """Wait for the next of these moments that comes no sooner than half a beat after this one."""
        earliest_s = after_s + self.every_s / 2
        while True:
            await self._beat()
            if trio.current_time() >= earliest_s:
                return

    async def _beat(self) -> None:
        if self._coming is not None:
            await self._coming.wait()
            return
        beat = self._coming = trio.Event()
        try:
            await trio.sleep_until((math.floor(trio.current_time() / self.every_s) + 1) * self.every_s)
        finally:
            # Cancelled, the others come early, which does no harm.
            self._coming = None
            beat.set()
