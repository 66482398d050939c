"""The two ends of bridged calls, each a process of its own: one plays Twilio's media streams, one the voice agent.

    python -m tests.bench.call_peers agent
    python -m tests.bench.call_peers twilio PORT CALLS SECONDS

Sockets and WebSocket frames by hand, so that the load costs less than what it measures. Sound carries the moment it was
sent at in its first eight bytes (both ends read the same monotonic clock), and the other end tells how old it was.
Each prints lines of JSON: what the bench waits for, and at the end the ages.
"""

import base64
import hashlib
import json
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator

from attrs import Factory, define, field

FRAME_S = 0.02
FRAME_BYTES = 160
WARM_UP_S = 3.0

UTTERANCE_S, PAUSE_S = 6.0, 4.0
CHUNK_S, CHUNK_EVERY_S = 0.1, 0.03
PING_EVERY_S = 2.0

_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MOMENT = struct.Struct("<d")


def tell(**news: object) -> None:
    sys.stdout.write(json.dumps(news) + "\n")
    sys.stdout.flush()


def sound(length_bytes: int) -> Callable[[], str]:
    """Makes sound of this length in base64, with the present moment in it."""
    rest = base64.b64encode(b"\xff" * (length_bytes - 9)).decode()

    def make() -> str:
        return base64.b64encode(_MOMENT.pack(time.monotonic()) + b"\xff").decode() + rest

    return make


@define(eq=False)
class Ages:
    """How old sound was, in ms, once everything has run for a while."""

    since: float = field(factory=lambda: time.monotonic() + WARM_UP_S)
    found: list[float] = Factory(list)

    def look(self, audio: bytes) -> None:
        (sent_at,) = _MOMENT.unpack_from(audio)
        now = time.monotonic()
        if self.since < sent_at <= now < sent_at + 60:
            self.found.append(1000 * (now - sent_at))

    def told(self) -> dict[str, float]:
        ordered = sorted(self.found) or [-1.0]
        parts = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        return {
            "count": len(self.found),
            **{
                name: ordered[min(len(ordered) - 1, int(part * len(ordered)))] for name, part in parts.items()
            },
        }


@define(eq=False)
class Peer:
    """One WebSocket."""

    socket: socket.socket
    came: bytearray = Factory(bytearray)
    is_open: bool = True

    def read(self) -> None:
        try:
            octets = self.socket.recv(256 * 1024)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        self.came += octets
        self.is_open = bool(octets)

    def send(self, text: str, *, masked: bool) -> None:
        """A text frame. A mask of zeros is one too, and saves the load the work."""
        data, bit = text.encode(), 0x80 if masked else 0
        head = struct.pack("!BBH", 0x81, bit | 126, len(data))
        if len(data) < 126:
            head = struct.pack("!BB", 0x81, bit | len(data))
        try:
            self.socket.sendall(head + (bytes(4) if masked else b"") + data)
        except OSError:
            self.is_open = False

    def frames(self) -> Iterator[bytes]:
        """The text frames that have come whole; any other is taken for the end."""
        while len(self.came) >= 2:
            length, place = self.came[1] & 0x7F, 2
            if length == 126:
                length, place = int.from_bytes(self.came[2:4], "big"), 4
            elif length == 127:
                length, place = int.from_bytes(self.came[2:10], "big"), 10
            mask = bytes(self.came[place : place + 4]) if self.came[1] & 0x80 else b""
            place += len(mask)
            if len(self.came) < place + length:
                return
            is_text, data = self.came[0] == 0x81, bytes(self.came[place : place + length])
            del self.came[: place + length]
            if not is_text:
                self.is_open = False
                return
            yield _unmasked(data, mask) if any(mask) else data

    def head(self) -> bytes:
        """Wait for an HTTP head."""
        while b"\r\n\r\n" not in self.came and self.is_open:
            select.select([self.socket], [], [])
            self.read()
        head, _, rest = bytes(self.came).partition(b"\r\n\r\n")
        self.came[:] = rest
        return head


def _unmasked(data: bytes, mask: bytes) -> bytes:
    key = int.from_bytes((mask * (len(data) // 4 + 1))[: len(data)], "big")
    return (int.from_bytes(data, "big") ^ key).to_bytes(len(data), "big")


@define(eq=False)
class Loop:
    """Reads whatever comes until a moment has come."""

    take: Callable[[Peer], None]
    peers: dict[int, Peer] = Factory(dict)
    poll: select.epoll = Factory(select.epoll)
    listener: socket.socket | None = None

    def add(self, peer: Peer) -> None:
        peer.socket.setblocking(True)
        self.peers[peer.socket.fileno()] = peer
        self.poll.register(peer.socket, select.EPOLLIN)

    def until(self, moment: float) -> None:
        while True:
            left_s = moment - time.monotonic()
            for descriptor, _ in self.poll.poll(max(0.0, left_s)):
                peer = self.peers[descriptor]
                peer.read()
                self.take(peer)
                if not peer.is_open:
                    self.poll.unregister(descriptor)
                    peer.socket.close()
                    del self.peers[descriptor]
            if left_s <= 0:
                return


# --- Twilio -------------------------------------------------------------------------------------------


def twilio(port: int, calls: int, seconds: float) -> None:
    ages = Ages()

    def take(peer: Peer) -> None:
        for frame in peer.frames():
            place = frame.find(b'"payload":"') + len(b'"payload":"')
            if frame.startswith(b'{"event":"media"'):
                ages.look(base64.b64decode(frame[place : place + 12]))

    loop = Loop(take)
    streams = [_stream(port, number) for number in range(calls)]
    for stream in streams:
        loop.add(stream)
    tell(streaming=calls)
    make, began_at = sound(FRAME_BYTES), time.monotonic()
    for count in range(int(seconds / FRAME_S)):
        for number, stream in enumerate(streams):
            loop.until(began_at + FRAME_S * (count + number / calls))
            if stream.is_open:
                stream.send(_media(count, make()), masked=True)
    alive = sum(stream.is_open for stream in streams)
    for stream in streams:
        stream.send(json.dumps({"event": "stop", "streamSid": "MZ", "stop": {}}), masked=True)
    loop.until(time.monotonic() + 0.5)
    tell(alive=alive, ages=ages.told())


def _stream(port: int, number: int) -> Peer:
    peer = Peer(socket.create_connection(("127.0.0.1", port)))
    peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    upgrade = (
        f"GET /voice/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {_KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    peer.socket.sendall(upgrade.encode())
    if b" 101 " not in peer.head():
        raise RuntimeError("the upgrade was refused")
    peer.send('{"event":"connected","protocol":"Call","version":"1.0.0"}', masked=True)
    start = {
        "accountSid": "AC" + "0" * 32,
        "streamSid": f"MZ{number:032x}",
        "callSid": f"CA{number:032x}",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {"token": f"t{number}"},
    }
    frame = {"event": "start", "sequenceNumber": "1", "start": start, "streamSid": start["streamSid"]}
    peer.send(json.dumps(frame, separators=(",", ":")), masked=True)
    return peer


def _media(count: int, payload: str) -> str:
    return (
        f'{{"event":"media","sequenceNumber":"{count + 2}","media":{{"track":"inbound","chunk":"{count + 1}",'
        f'"timestamp":"{count * 20}","payload":"{payload}"}},"streamSid":"MZ0123456789abcdef0123456789abcdef"}}'
    )


# --- The agent ----------------------------------------------------------------------------------------


@define(eq=False)
class Speech:
    """When the agent of one session does what next."""

    peer: Peer
    next_at: float
    ping_at: float
    chunks_left: int = 0
    event_id: int = 1

    def act(self, now: float, make: Callable[[], str]) -> None:
        if now >= self.ping_at:
            self.ping_at += PING_EVERY_S
            frame = f'{{"type":"ping","ping_event":{{"event_id":{self.event_id},"ping_ms":null}}}}'
            self.peer.send(frame, masked=False)
        if now < self.next_at:
            return
        if not self.chunks_left:
            self.chunks_left, self.event_id = int(UTTERANCE_S / CHUNK_S), self.event_id + 1
        self.chunks_left -= 1
        self.peer.send(
            f'{{"type":"audio","audio_event":{{"audio_base_64":"{make()}","event_id":{self.event_id}}}}}',
            masked=False,
        )
        burst_s = UTTERANCE_S / CHUNK_S * CHUNK_EVERY_S
        self.next_at += CHUNK_EVERY_S if self.chunks_left else UTTERANCE_S + PAUSE_S - burst_s


METADATA = {
    "type": "conversation_initiation_metadata",
    "conversation_initiation_metadata_event": {
        "conversation_id": "conv_bench",
        "agent_output_audio_format": "ulaw_8000",
        "user_input_audio_format": "ulaw_8000",
    },
}


def agent() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    tell(port=listener.getsockname()[1])
    ages, speeches, pongs = Ages(since=time.monotonic()), list[Speech](), 0

    def take(peer: Peer) -> None:
        nonlocal pongs
        for frame in peer.frames():
            if frame.startswith(b'{"user_audio_chunk":"'):
                audio = base64.b64decode(frame[21:-2])
                for place in range(0, len(audio), FRAME_BYTES):
                    ages.look(audio[place : place + 8])
            elif frame.startswith(b'{"type":"conversation_init'):
                ages.since = time.monotonic() + WARM_UP_S
                peer.send(json.dumps(METADATA), masked=False)
                now = time.monotonic()
                # Everybody speaks at another moment.
                speeches.append(Speech(peer, now + len(speeches) * 0.37 % (UTTERANCE_S + PAUSE_S), now + 1))
            elif frame.startswith(b'{"type":"pong"'):
                pongs += 1

    loop, make = Loop(take), sound(int(CHUNK_S * 8_000))
    listener.setblocking(False)
    while loop.peers or not speeches:
        try:
            accepted, _ = listener.accept()
        except BlockingIOError:
            pass
        else:
            loop.add(_accepted(accepted))
        now = time.monotonic()
        for speech in speeches:
            if speech.peer.is_open:
                speech.act(now, make)
        loop.until(now + 0.005)
    tell(ages=ages.told(), pongs=pongs)


def _accepted(accepted: socket.socket) -> Peer:
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer = Peer(accepted)
    fields = (line.partition(b":") for line in peer.head().splitlines())
    key = next(value.strip() for name, _, value in fields if name.lower() == b"sec-websocket-key")
    digest = base64.b64encode(hashlib.sha1(key + _SUFFIX, usedforsecurity=False).digest())
    accepted.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + digest
        + b"\r\n\r\n"
    )
    return peer


if __name__ == "__main__":
    if sys.argv[1] == "agent":
        agent()
    else:
        twilio(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
