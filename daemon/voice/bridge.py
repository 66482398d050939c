"""The bridge of one call: a media stream on one side, a voice session with the agent on the other.

Sound goes through byte for byte, in both directions, except where hold music is mixed under the agent's voice. The
bridge lives in its connection's task, and what crashes in it ends that connection.
"""

import math
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol, TypeAlias

import structlog
import trio
from attrs import define, field, frozen, validators

from actors.agent_events import (
    AgentAudio,
    AgentEvent,
    AgentInterrupted,
    SessionOpened,
    SessionPlan,
    ToolCalled,
)
from actors.live_call.line import (
    AgentSpoke,
    Heard,
    KeyPressed,
    Line,
    LineClosed,
    LineEnd,
    LineEvent,
    LineOpened,
    Report,
    SessionBegan,
    SessionEnded,
    ToolAsked,
)
from actors.live_call.mixing import RATE_HZ, MusicBed
from actors.ports import AgentSession, AgentSessions, SessionLostError
from daemon.voice import frames
from daemon.voice.downlink import Downlink
from daemon.voice.frames import FrameWriter, Key, Mark, Media, Nonsense, Started, Stopped
from daemon.voice.uplink import FRAME_BYTES, Uplink

_log = structlog.get_logger(__name__)

Word: TypeAlias = Callable[[AgentSession], Awaitable[None]]

_CLOSE_S: Final = 1.0
"""For the close frame to a stream that we hang up."""


class StreamSocket(Protocol):
    """The stream's WebSocket. One task receives and one sends."""

    async def receive(self) -> str | None:
        """The next text frame; None once the socket is closed, however that came."""
        ...

    async def send(self, text: str) -> None:
        """Nothing happens once the socket is closed."""
        ...

    async def close(self, code: int) -> None: ...


@frozen(kw_only=True)
class BridgeRules:
    """What may wait, and how much of it.

    Attributes:
        uplink_frames: how many frames of 20 ms there have to be before they go to the agent, in one piece with all else
            that has come. Each piece costs CPU, each frame that is waited for time. One is enough where the server
            reads streams at common moments (`read_every_s`): what came between them goes as one.
        uplink_max_s: how much of the caller's voice waits for an agent's socket that is too slow; then the oldest is
            dropped.
        voice_max_s: how much of the agent's voice waits to be heard; what comes beyond is dropped.
        words_max: how many things to tell the agent wait; what comes beyond is dropped, with a warning.
        frames_max: how many frames wait for a stream that takes none; beyond, it is broken off.
        mark_patience_s: what was heard by our clock counts as heard so long after, though Twilio did not say so.
    """

    uplink_frames: int = field(default=1, validator=[validators.ge(1), validators.le(5)])
    uplink_max_s: float = 1.0
    voice_max_s: float = 300.0
    words_max: int = 100
    frames_max: int = 1_000
    mark_patience_s: float = 2.0


def read_every_s(uplink_frames: int) -> float:
    """How often a server should read streams (`websocket_beat_s`) for about so many frames of 20 ms to be there each time.

    Nothing that a caller says is held longer than that. With two of them forty calls cost half the CPU that they
    do when every frame wakes the daemon, and 99 of 100 frames are on their way to the agent within 40 ms.
    """
    return uplink_frames * FRAME_BYTES / RATE_HZ - 0.005


@define(eq=False)
class _Talk:
    """One session with the agent, from the wish to have it to its end.

    Attributes:
        interrupted: audio of events up to this one is void.
        is_silent: the agent has not spoken since it was last asked to.
    """

    uplink: Uplink
    scope: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    done: trio.Event = field(factory=trio.Event, init=False)
    session: AgentSession | None = field(default=None, init=False)
    words: deque[Word] = field(factory=deque, init=False)
    interrupted: float = field(default=-math.inf, init=False)
    is_silent: bool = field(default=True, init=False)
    _news: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)

    def hear(self, audio: bytes) -> None:
        """Let the agent hear the caller, if it is there."""
        if self.session is not None and self.uplink.put(audio):
            self._news.unpark()

    def tell(self, word: Word) -> None:
        self.words.append(word)
        self._news.unpark()

    def begin(self, session: AgentSession) -> None:
        self.session = session
        self._news.unpark()

    async def speak(self) -> None:
        """Bring the session what there is for it, words before sound, until it is lost or this is cancelled."""
        try:
            while True:
                session = self.session
                if session is not None and self.words:
                    await self.words.popleft()(session)
                elif session is not None and (audio := self.uplink.get()) is not None:
                    await session.hear(audio)
                else:
                    await self._news.park()
        except SessionLostError:
            return  # whoever runs the session is told of its end

    async def prompt(self, text: str, session: AgentSession) -> None:
        await session.say(text)
        self.is_silent = True

    async def answer(self, call_id: str, result: str, session: AgentSession, *, is_error: bool) -> None:
        await session.answer_tool(call_id, result, is_error=is_error)
        self.is_silent = True


@define(eq=False, kw_only=True)
class Bridge:
    """A `Line` over one stream.

    Attributes:
        started: what the stream said of itself.
        make_bed: makes the hold music of this call, if it is wanted.
    """

    socket: StreamSocket
    started: Started
    sessions: AgentSessions
    make_bed: Callable[[], MusicBed]
    rules: BridgeRules
    _report: Report | None = field(default=None, init=False)
    _nursery: trio.Nursery | None = field(default=None, init=False)
    _held: list[Callable[[trio.Nursery], None]] = field(factory=list, init=False)
    _listening: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _end: LineEnd | None = field(default=None, init=False)
    _talk: _Talk | None = field(default=None, init=False)
    _talks: set[_Talk] = field(factory=set, init=False)
    _downlink: Downlink = field(init=False)
    _outbox: deque[str] = field(factory=deque, init=False)
    _outgoing: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)
    _nap: trio.CancelScope | None = field(default=None, init=False)
    _keeps_time: bool = field(default=False, init=False)
    _dropped_bytes: int = field(default=0, init=False)
    _nonsense: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._downlink = Downlink(
            writer=FrameWriter(self.started.stream_sid),
            send=self._send,
            clear=self._send_clear,
            heard=lambda name, is_all: self._tell(Heard(name, is_all)),
            make_bed=self.make_bed,
            voice_max_s=self.rules.voice_max_s,
            mark_patience_s=self.rules.mark_patience_s,
        )

    async def run(self, report: Report, *, token: str) -> None:
        """Bridge until the stream ends, from either side, or this is cancelled. Then the agent's session is closed
        politely, which takes a second at most.

        `report` is told `LineOpened` first and `LineClosed` last, whatever happens; it must neither block nor raise.
        """
        self._report = report
        try:
            report(LineOpened(line=self, token=token, call_sid=self.started.call_sid))
            async with trio.open_nursery() as nursery:
                writer_done = await nursery.start(self._write, name="stream writer")
                self._nursery = nursery
                for start in self._held:
                    start(nursery)
                self._held.clear()
                with self._listening:
                    self._finish(await self._listen())
                self._close(report)
                self._outgoing.unpark()
                with trio.move_on_after(_CLOSE_S, shield=True):
                    await writer_done.wait()
                nursery.cancel_scope.cancel(reason="the stream is over")
        finally:
            self._finish(LineEnd.CANCELLED)
            self._close(report)

    @property
    def is_open(self) -> bool:
        return self._end is None

    @property
    def has_agent(self) -> bool:
        return self._talk is not None

    # --- What the call's actor asks -------------------------------------------------------------------

    def open_agent(self, plan: SessionPlan) -> None:
        self.close_agent()
        if self._end is not None:
            return
        talk = self._talk = _Talk(Uplink(self.rules.uplink_frames, self.rules.uplink_max_s))
        self._talks.add(talk)
        # A plan carries a whole history, and the task lives as long as the session: it is handed through.
        plans = [plan]
        self._start(lambda nursery: nursery.start_soon(self._hold, talk, plans, name="voice session"))

    def close_agent(self) -> None:
        if self._talk is not None:
            self._talk.scope.cancel(reason="the agent is not needed on this line")
            self._talk = None

    def music(self, *, on: bool) -> None:
        if self._end is None:
            self._downlink.music(trio.current_time(), on=on)
            self._mind_the_time()

    def tell_agent(self, *, context: str, prompt: str = "") -> None:
        talk = self._talk
        if talk is None:
            return
        if context:
            self._say(talk, lambda session: session.inform(context))
        if prompt:
            self._say(talk, partial(talk.prompt, prompt))

    def answer_tool(self, call_id: str, result: str, *, is_error: bool) -> None:
        if (talk := self._talk) is not None:
            self._say(talk, lambda session: talk.answer(call_id, result, session, is_error=is_error))

    def mark(self, name: str) -> None:
        if self._end is None:
            self._downlink.mark(name, trio.current_time())
            self._mind_the_time()

    def hang_up(self) -> None:
        self._finish(LineEnd.HUNG_UP)

    # --- The stream -----------------------------------------------------------------------------------

    async def _listen(self) -> LineEnd:
        receive, read = self.socket.receive, frames.read
        while (text := await receive()) is not None:
            frame = read(text)
            if isinstance(frame, Media):
                if self._talk is not None:
                    self._talk.hear(frame.audio)
            elif isinstance(frame, Stopped):
                return LineEnd.STOPPED
            elif frame is not None:
                self._take(frame)
        return LineEnd.LOST

    def _take(self, frame: frames.Frame) -> None:
        if isinstance(frame, Mark):
            self._downlink.came_back(frame.name)
        elif isinstance(frame, Key):
            self._tell(KeyPressed(frame.digit))
        elif isinstance(frame, Nonsense):
            if not self._nonsense:
                _log.warning("frame of a media stream not understood", reason=frame.sentence)
            self._nonsense += 1

    def _send(self, frame: str) -> None:
        self._outbox.append(frame)
        self._outgoing.unpark()
        if len(self._outbox) > self.rules.frames_max:
            _log.warning("media stream takes nothing", waiting=len(self._outbox))
            self._outbox.clear()
            self._finish(LineEnd.LOST)

    def _send_clear(self, frame: str) -> None:
        """What has not gone yet is as good as cleared; marks come back all the same."""
        kept = [text for text in self._outbox if not text.startswith(frames.MEDIA_START)]
        self._outbox.clear()
        self._outbox.extend(kept)
        self._send(frame)

    async def _write(self, *, task_status: trio.TaskStatus[trio.Event]) -> None:
        """Send until the line ends, then close the stream, whoever ended it."""
        done, send = trio.Event(), self.socket.send
        task_status.started(done)
        while self._end is None:
            if self._outbox:
                await send(self._outbox.popleft())
            else:
                await self._outgoing.park()
        await self.socket.close(1000)
        done.set()

    def _finish(self, end: LineEnd) -> None:
        """The first end counts. From here on nothing is told but the end itself."""
        if self._end is None:
            self._end = end
            self._talk = None
            self._listening.cancel(reason=f"line {end.value}")

    def _close(self, report: Report) -> None:
        if self._end is None or self._report is None:
            return
        self._report = None
        report(LineClosed(self._end))
        dropped = self._dropped_bytes + sum(talk.uplink.dropped_bytes for talk in self._talks)
        _log.info(
            "line closed",
            reason=self._end.value,
            dropped_from_caller_s=round(dropped / RATE_HZ, 2),
            dropped_from_agent_s=round(self._downlink.dropped_bytes / RATE_HZ, 2),
            nonsense=self._nonsense,
        )

    def _tell(self, event: LineEvent) -> None:
        if self._end is None and self._report is not None:
            self._report(event)

    def _start(self, start: Callable[[trio.Nursery], None]) -> None:
        """Start a task, now or as soon as there is somewhere to start it."""
        if self._nursery is None:
            self._held.append(start)
        else:
            start(self._nursery)

    # --- The agent ------------------------------------------------------------------------------------

    async def _hold(self, talk: _Talk, plans: list[SessionPlan]) -> None:
        try:
            with talk.scope:
                while earlier := self._talks - {talk}:
                    await next(iter(earlier)).done.wait()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(talk.speak, name="voice session speaker")
                    end = await self.sessions.run(plans.pop(), partial(self._hear, talk))
                    if talk is self._talk:
                        self._talk = None
                        _log.info(
                            "voice session ended", reason=end.reason.value, code=end.code, detail=end.detail
                        )
                        self._tell(SessionEnded(end))
                    nursery.cancel_scope.cancel(reason="the session is over")
        finally:
            self._talks.discard(talk)
            self._dropped_bytes += talk.uplink.dropped_bytes
            talk.done.set()

    def _hear(self, talk: _Talk, event: AgentEvent) -> None:
        if talk is not self._talk:
            return
        match event:
            case AgentAudio(payload=payload, event_id=event_id):
                if payload and (event_id is None or event_id > talk.interrupted):
                    self._let_speak(talk, payload)
            case AgentInterrupted(event_id=event_id):
                if event_id is not None:
                    talk.interrupted = max(talk.interrupted, event_id)
                self._downlink.interrupt(trio.current_time())
                self._mind_the_time()
            case ToolCalled():
                self._tell(
                    ToolAsked(
                        name=event.name,
                        call_id=event.call_id,
                        parameters=event.parameters,
                        expects_response=event.expects_response,
                    )
                )
            case SessionOpened(session=session):
                talk.begin(session)
                self._tell(SessionBegan(session.conversation_id))
            case _:
                pass

    def _let_speak(self, talk: _Talk, audio: bytes) -> None:
        self._downlink.say(audio, trio.current_time())
        if talk.is_silent:
            talk.is_silent = False
            self._tell(AgentSpoke())

    def _say(self, talk: _Talk, word: Word) -> None:
        if len(talk.words) >= self.rules.words_max:
            _log.warning("agent not told: too much waits to be said", waiting=len(talk.words))
        else:
            talk.tell(word)

    # --- The clock ------------------------------------------------------------------------------------

    def _mind_the_time(self) -> None:
        """Have somebody awake when the downlink wants it: with music, or while a mark is out."""
        due_s = self._downlink.due_s
        if self._nap is not None:
            self._nap.deadline = due_s
        elif not self._keeps_time and due_s < math.inf:
            self._keeps_time = True
            self._start(lambda nursery: nursery.start_soon(self._keep_time, name="stream clock"))

    async def _keep_time(self) -> None:
        while (due_s := self._downlink.due_s) < math.inf:
            with trio.CancelScope(deadline=due_s) as self._nap:
                await trio.sleep_forever()
            self._nap = None
            self._downlink.keep_time(trio.current_time())
        self._keeps_time = False


def _is_a_line(bridge: Bridge) -> Line:
    return bridge
