"""Media streams: a leg's sound over a WebSocket, to the customer's server and back (Twilio docs: voice/media-streams)."""

import contextlib
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Final

import trio
from attrs import define, field, frozen

from daemon.lab.twilio.sids import new_sid
from daemon.lab.twilio.signing import signature
from daemon.lab.twilio.voice.audible import Kind, Part, Signal, Sounds
from daemon.lab.twilio.voice.exchange import Exchange
from daemon.lab.twilio.voice.frames import Clear, FrameWriter, Mark, Media, Nonsense, read_frame
from daemon.lab.twilio.voice.ground import Ground
from daemon.lab.twilio.voice.legs import Leg
from daemon.lab.twilio.voice.mulaw import FRAME_S
from daemon.lab.twilio.voice.playout import BUFFERED_MAX_S, Playout
from daemon.lab.twilio.voice.socket import GoneError, RefusedError, Socket, open_socket
from daemon.lab.twilio.voice.wiring import incoming, outgoing

OUTBOX_MAX: Final = 1_000
# Whoever falls behind further, because time was skipped or the machine is busy, goes on from now.
BEHIND_MAX_S: Final = 1.0
HANDSHAKE_FAILED: Final = 31920
# Of a parameter's name and value together (Twilio docs: voice/twiml/stream).
PARAMETER_MAX: Final = 500


class StreamEnd(Enum):
    """Why a stream is over while its call may go on."""

    CLOSED = "closed by the server"
    BROKEN = "broken"
    REFUSED = "refused"
    STOPPED = "stopped"


@frozen(kw_only=True)
class StreamOrder:
    """What a `<Stream>` or `POST Streams.json` asks for. `both_ways` is that of `<Connect>`."""

    url: str
    name: str | None = None
    both_ways: bool = False
    tracks: Sequence[str] = ("inbound",)
    parameters: Mapping[str, str] = field(factory=dict)
    status_url: str | None = None
    status_method: str = "POST"


@define(eq=False)
class MediaStream:
    """One stream of a leg. `run` is its life; the call's end, `stop` or either side's socket ends it."""

    ground: Ground
    exchange: Exchange
    leg: Leg
    order: StreamOrder
    sid: str = field(factory=lambda: new_sid("MZ"), init=False)
    end: StreamEnd | None = field(default=None, init=False)
    _playout: Playout = field(factory=Playout, init=False)
    _scope: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _outbox: trio.MemorySendChannel[str] | None = field(default=None, init=False)
    _frames: FrameWriter = field(init=False)
    _sounds: Sounds = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._frames = FrameWriter(
            account_sid=self.ground.account.sid, call_sid=self.leg.call.shown_sid, stream_sid=self.sid
        )
        self._sounds = self.ground.sounds(self.leg.sid, Part.STREAM)

    @property
    def name(self) -> str:
        return self.order.name or self.sid

    async def run(self) -> StreamEnd:
        """Connect and stream until somebody ends it. Cancelling says `stop` and closes politely."""
        try:
            socket = await self._open()
        except RefusedError as error:
            self._refuse(str(error))
            return StreamEnd.REFUSED
        self.leg.streams.append(self)
        self.exchange.wiring.renew(self.leg)
        self._tell("stream", self.sid)
        self._report("stream-started")
        try:
            with self._scope:
                await self._talk(socket)
        finally:
            self.leg.streams.remove(self)
            if self.order.both_ways:
                self._sounds.cut(self.ground.now_s)
            self.exchange.wiring.renew(self.leg)
            await self._part(socket)
            self._report("stream-stopped")
        return self.end or StreamEnd.STOPPED

    def stop(self) -> None:
        """End the stream as `<Stop>` does."""
        self._finish(StreamEnd.STOPPED)

    def press(self, digit: str) -> None:
        """The person pressed a key; a stream of `<Start>` does not tell it."""
        if self.order.both_ways:
            self._post(self._frames.dtmf(digit))

    async def _open(self) -> Socket:
        if self.ground.strikes("stream_refused", text=self.order.url):
            raise RefusedError("HTTP 502, by a fault")
        if (late_s := self.ground.strikes_s("stream_late", 3.0, text=self.order.url)) is not None:
            await self.ground.sleep(late_s)
        if "?" in self.order.url:
            raise RefusedError("a query string in the stream's URL")
        if any(len(name) + len(value) >= PARAMETER_MAX for name, value in self.order.parameters.items()):
            raise RefusedError(f"a parameter of {PARAMETER_MAX} characters or more")
        return await open_socket(self.order.url, self._signed())

    def _signed(self) -> list[tuple[str, str]]:
        """The handshake's signature; which URL Twilio signs is not settled, so that it can be chosen."""
        fault = self.ground.strikes("stream_signature")
        form = str(fault.details.get("form", "absent")) if fault is not None else "plain"
        if form == "absent":
            return []
        url = self.order.url
        if form == "slash":
            url += "/"
        elif form == "https":
            url = "http" + url.removeprefix("ws")
        token = "not-the-auth-token" if form == "forged" else self.ground.account.auth_token
        return [("x-twilio-signature", signature(token, url))]

    async def _talk(self, socket: Socket) -> None:
        outbox, taken = trio.open_memory_channel[str](OUTBOX_MAX)
        self._outbox = outbox
        self._post(self._frames.connected())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, socket, taken)
            nursery.start_soon(self._read, socket)
            nursery.start_soon(self._send_media)
            if (drop_s := self.ground.strikes_s("stream_drop", 1.0, text=self.order.url)) is not None:
                await self.ground.sleep(drop_s)
                self._lose(GoneError(None))

    async def _write(self, socket: Socket, taken: trio.MemoryReceiveChannel[str]) -> None:
        try:
            async for text in taken:
                await socket.send(text)
        except GoneError as gone:
            self._lose(gone)

    async def _read(self, socket: Socket) -> None:
        try:
            while True:
                self._take(await socket.receive())
        except GoneError as gone:
            self._lose(gone)

    def _take(self, text: str) -> None:
        frame = read_frame(text, self.sid)
        now_s = self.ground.now_s
        if isinstance(frame, Nonsense):
            self.ground.complain(31951, self.order.url, frame.sentence, call_sid=self.leg.sid)
        elif not self.order.both_ways:
            return
        elif isinstance(frame, Media):
            self._play(frame.audio, now_s)
        elif isinstance(frame, Mark):
            self.ground.schedule.at(self._playout.mark(frame.name, now_s), self._return_marks)
        elif isinstance(frame, Clear):
            self._sounds.cut(now_s)
            self._tell("cleared")
            self._give_back(self._playout.clear(now_s))

    def _play(self, audio: bytes, now_s: float) -> None:
        start_s = self._playout.feed(len(audio), now_s)
        if start_s is None:
            sentence = f"more than {BUFFERED_MAX_S:g} s wait to be played"
            self.ground.complain(31930, self.order.url, sentence, call_sid=self.leg.sid)
        else:
            self._sounds.extend(Kind.STREAM, self.sid, audio, start_s)

    def _return_marks(self) -> None:
        if self.end is None:
            self._give_back(self._playout.passed(self.ground.now_s))

    def _give_back(self, names: Sequence[str]) -> None:
        for name in names:
            self._tell("mark", name)
            if self.ground.strikes("mark_lost", text=self.order.url):
                continue
            late_s = self.ground.strikes_s("mark_late", 1.0, text=self.order.url)
            if late_s is None:
                self._post_mark(name)
            else:
                self.ground.schedule.after(late_s, partial(self._post_mark, name))

    def _post_mark(self, name: str) -> None:
        self._post(self._frames.mark(name))

    async def _send_media(self) -> None:
        """The start, then every 20 ms what was heard in them, until cancelled."""
        if (late_s := self.ground.strikes_s("stream_start_late", 5.0, text=self.order.url)) is not None:
            await self.ground.sleep(late_s)
        self._post(self._frames.start(self.order.tracks, self.order.parameters))
        began_s = at_s = self.ground.now_s
        while True:
            await self.ground.sleep_until(at_s + FRAME_S)
            if (late_s := self.ground.strikes_s("media_jitter", 0.2, text=self.order.url)) is not None:
                await self.ground.sleep(late_s)
            if self.ground.now_s - at_s > BEHIND_MAX_S:
                at_s += (self.ground.now_s - at_s) // FRAME_S * FRAME_S - FRAME_S
            for track in self.order.tracks:
                sound = self.ground.books.audible.mixed(self._heard(track), at_s, at_s + FRAME_S)
                frame = self._frames.media(track, round((at_s - began_s) * 1000), sound)
                if not self.ground.strikes("media_lost", text=self.order.url):
                    self._post(frame)
            at_s += FRAME_S

    def _heard(self, track: str) -> frozenset[Signal]:
        connect = incoming if track == "inbound" else outgoing
        return connect(self.leg, self.exchange.legs)

    def _post(self, text: str) -> None:
        if self._outbox is None or self.end is not None:
            return
        try:
            self._outbox.send_nowait(text)
        except trio.WouldBlock:
            self._finish(StreamEnd.BROKEN)

    def _lose(self, gone: GoneError) -> None:
        if self.end is None:
            self._tell("stream_dropped" if gone.code is None else "stream_closed", str(gone.code or ""))
        self._finish(StreamEnd.BROKEN if gone.code is None else StreamEnd.CLOSED)

    def _finish(self, end: StreamEnd) -> None:
        if self.end is None:
            self.end = end
        self._scope.cancel(reason=f"stream {end.value}")

    async def _part(self, socket: Socket) -> None:
        """Say `stop` unless the connection is gone or a fault leaves it out."""
        self._outbox = None
        if self.end is StreamEnd.BROKEN or self.ground.strikes("stream_no_stop"):
            await socket.drop()
            return
        with trio.move_on_after(1.0, shield=True):
            if self.end is not StreamEnd.CLOSED:
                with contextlib.suppress(GoneError):
                    await socket.send(self._frames.stop())
            await socket.close()

    def _refuse(self, why: str) -> None:
        self.end = StreamEnd.REFUSED
        self._tell("stream_refused", why)
        self.ground.complain(HANDSHAKE_FAILED, self.order.url, why, call_sid=self.leg.sid)
        self._report("stream-error", f"{HANDSHAKE_FAILED} - Stream - WebSocket - Handshake Error: {why}")

    def _report(self, event: str, error: str | None = None) -> None:
        if self.order.status_url is None:
            return
        fields = {
            "AccountSid": self.ground.account.sid,
            "CallSid": self.leg.call.shown_sid,
            "StreamEvent": event,
            "StreamName": self.name,
            "StreamSid": self.sid,
            "Timestamp": self.ground.clock.now().isoformat(),
        }
        if error is not None:
            fields["StreamError"] = error
        self.ground.call_back(
            self.order.status_url,
            self.order.status_method,
            fields,
            family="call_status",
            key=f"stream {self.sid}",
        )

    def _tell(self, name: str, detail: str = "") -> None:
        self.ground.moments.tell(name, self.leg.sid, self.leg.number, detail)


def start_stream(ground: Ground, stream: MediaStream) -> None:
    """Run a one-way stream beside whatever its leg does."""

    async def live() -> None:
        with stream.leg.life():
            await stream.run()

    ground.spawn(live, name=f"stream {stream.sid}")
