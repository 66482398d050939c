"""The side of an agent session that listens: the client's frames, pings, and the session's clocks."""

import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio
from attrs import define, field

from daemon.lab.elevenlabs import wire
from daemon.lab.elevenlabs.conversations import contextual_update_entries
from daemon.lab.elevenlabs.ear import HEARD_FORMAT, Ear
from daemon.lab.elevenlabs.session import (
    MAX_DURATION,
    RECEIVE_TIMEOUT,
    Ending,
    Point,
    Session,
    Turn,
    TurnKind,
)
from daemon.lab.elevenlabs.wire import BadFrame, Frame

_FILES_MAX: Final = 5


@define(eq=False)
class Listener:
    """Takes every frame at once and never waits for an answer of the agent's.

    Turns go to the answering task through `turns`; while that channel is full no further frame is read.
    """

    session: Session
    receive: Callable[[], Awaitable[str | bytes]]
    turns: trio.MemorySendChannel[Turn]
    _ping_at: float = field(init=False)
    _silence_at: float = field(init=False)
    _max_at: float = field(init=False)
    _ping: tuple[int, float] = field(default=(0, 0.0), init=False)
    _ping_ms: int | None = field(default=None, init=False)
    _latest: Turn | None = field(default=None, init=False)
    _ear: Ear | None = field(default=None, init=False)
    _barge_in_at: float | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        now = trio.current_time()
        session = self.session
        if session.settings["asr"]["user_input_audio_format"] == HEARD_FORMAT and not session.text_only:
            self._ear = Ear(session.world.spoken, session.timing.end_of_turn_s)
        self._ping_at = now + self.session.timing.ping_every_s
        self._max_at = now + self._max_duration_s()
        self._hear_input(now)

    def _max_duration_s(self) -> float:
        if fault := self.session.world.faults.strikes("max_duration_short"):
            return float(fault.details.get("seconds", 1))
        return float(self.session.settings["conversation"]["max_duration_seconds"])

    async def run(self) -> None:
        """Listen until cancelled; the session's end cancels."""
        while True:
            frame = await self._next_frame()
            if frame is None:
                await self._tick()
            elif isinstance(frame, BadFrame):
                self.session.end(Ending(1008, frame.reason, frame.error_type))
            else:
                await self._take(*frame)

    async def _next_frame(self) -> tuple[str, Frame] | BadFrame | None:
        """The next frame, or None when a deadline came first."""
        with trio.CancelScope(deadline=self._next_deadline()) as self.session.listening:
            raw = await self.receive()
            frame = wire.read_client_frame(raw)
            is_audio = not isinstance(frame, BadFrame) and frame[0] == wire.AUDIO
            self.session.record("in", raw if isinstance(raw, str) else repr(raw), is_audio=is_audio)
            return frame
        return None

    def _next_deadline(self) -> float:
        late_at = self.session.late[0][0] if self.session.late else math.inf
        return min(self._ping_at, self._silence_at, self._max_at, self.session.nudge_at, late_at)

    async def _tick(self) -> None:
        now = trio.current_time()
        session = self.session
        while session.late and session.late[0][0] <= now:
            await session.emit(session.late.pop(0)[1])
        if now >= self._max_at:
            await self._end_at_max_duration()
        elif now >= self._silence_at:
            session.end(RECEIVE_TIMEOUT)
        elif now >= session.nudge_at:
            session.nudge_at = math.inf
            await self.start_turn(Turn(TurnKind.NUDGE, "¿Sigues ahí?"))
        elif now >= self._ping_at:
            self._ping_at = now + session.timing.ping_every_s
            await self._send_pings()

    async def _send_pings(self) -> None:
        session = self.session
        await session.meet_fault(Point.IDLE)
        flood = session.world.faults.strikes("ping_flood")
        for _ in range(int(flood.details.get("count", 200)) if flood else 1):
            self._ping = (session.next_event_id(), trio.current_time())
            await session.emit(wire.ping(self._ping[0], self._ping_ms))

    async def _end_at_max_duration(self) -> None:
        message = self.session.settings["agent"]["max_conversation_duration_message"]
        if message:
            await self.session.emit_if_wanted(wire.response(message, self.session.next_event_id()))
        self.session.end(MAX_DURATION)

    def _hear_input(self, now: float) -> None:
        timeout_s = self.session.timing.receive_timeout_s
        self._silence_at = math.inf if timeout_s is None else now + timeout_s

    async def _take(self, kind: str, frame: Frame) -> None:
        now = trio.current_time()
        if kind != "pong" or self.session.timing.pong_is_input:
            self._hear_input(now)
        match kind:
            case "pong":
                self._hear_pong(int(frame["event_id"]), now)
            case "user_message":
                await self._hear_text(frame["text"])
            case "multimodal_message":
                await self._hear_multimodal(frame)
            case "contextual_update":
                self._hear_update(frame["text"], frame.get("context_id"))
            case "client_tool_result":
                self._hear_tool_result(frame)
            case "feedback":
                self._hear_feedback(int(frame["event_id"]), frame["score"])
            case "user_activity":
                if self.session.nudge_at < math.inf:
                    self.session.expect_user()
            case wire.AUDIO:
                await self._hear_audio(wire.audio_of(frame))
            case "conversation_initiation_client_data":
                self.session.end(Ending(1008, "Invalid message received", "invalid_message"))
            case _:  # MCP approvals are accepted and mean nothing here
                pass

    def _hear_pong(self, event_id: int, now: float) -> None:
        if event_id == self._ping[0]:
            self._ping_ms = round((now - self._ping[1]) * 1000)

    async def _hear_audio(self, audio: bytes | None) -> None:
        """The caller's sound: what he says in it is answered when he has said it, and may interrupt before."""
        session = self.session
        if audio is None:
            session.end(Ending(1008, "Invalid message received", "invalid_message"))
            return
        session.conversation.hear(audio)
        if self._ear is None:
            return
        said = self._ear.take(audio)
        if said is not None:
            self._barge_in_at = None
            await self._answer_speech(said)
        elif self._ear.speaking_s > 0:
            session.nudge_at = math.inf
            if self._ear.speaking_s >= session.timing.barge_in_s:
                await self._barge_in()

    async def _answer_speech(self, words: str) -> None:
        if self.session.world.faults.strikes("speech_unheard"):
            if self.session.speaking is None:
                self.session.expect_user()
        else:
            await self.start_turn(Turn(TurnKind.SPOKEN, words))

    async def _barge_in(self) -> None:
        """The caller has begun to speak: the agent stops, if he can be heard, before the words are understood."""
        session, now = self.session, trio.current_time()
        if not session.playback.is_on(now):
            return
        if self._barge_in_at is None:
            late = session.world.faults.strikes("interruption_late")
            self._barge_in_at = now + (float(late.details.get("seconds", 1)) if late is not None else 0.0)
        if now < self._barge_in_at:
            return
        if session.speaking is not None:
            session.speaking.cut()
        else:
            await session.cut_playback()

    async def _hear_text(self, text: str | None) -> None:
        if text is None:
            return
        await self.start_turn(Turn(TurnKind.TYPED, text))

    async def start_turn(self, turn: Turn) -> None:
        """A new turn interrupts every earlier one that is not over."""
        self._supersede(turn)
        await self.turns.send(turn)

    def _supersede(self, turn: Turn) -> None:
        if self._latest is not None:
            self._latest.cut()
        self._latest = turn
        self.session.nudge_at = math.inf

    def hear_speech(self, text: str) -> None:
        """The caller says something, as speech recognition understood it.

        Raises:
            trio.WouldBlock: too many turns wait already.
        """
        turn = Turn(TurnKind.SPOKEN, text)
        self.turns.send_nowait(turn)
        self._supersede(turn)

    async def _hear_multimodal(self, frame: Frame) -> None:
        files = frame.get("files") or ([frame["file"]] if frame.get("file") else [])
        text = frame.get("text")
        is_text_right = text is None or (isinstance(text, dict) and isinstance(text.get("text"), str | None))
        if len(files) > _FILES_MAX or not is_text_right or not (files or text):
            self.session.end(Ending(1008, "Invalid message received", "invalid_message"))
            return
        words = [text["text"]] if text and text.get("text") else []
        await self.start_turn(Turn(TurnKind.TYPED, " ".join([*words, *["[archivo]" for _ in files]])))

    def _hear_update(self, text: str, context_id: str | None) -> None:
        session = self.session
        transcript = session.conversation.transcript
        if context_id is not None:
            for entry in transcript:
                info: dict[str, Any] | None = entry["contextual_update_info"]
                if info is not None and info["context_id"] == context_id:
                    info["is_superseded"] = True
        session.context.update(text, context_id)
        request_id = session.world.ids.new("ctx_")
        transcript.extend(contextual_update_entries(text, context_id, request_id, session.second))

    def _hear_tool_result(self, frame: Frame) -> None:
        """A result that nobody waits for (any more) is ignored."""
        call_id = frame["tool_call_id"]
        if call_id in self.session.tool_results and self.session.tool_results[call_id] is None:
            self.session.tool_results[call_id] = frame
            if self.session.speaking is not None:
                self.session.speaking.stir()

    def _hear_feedback(self, event_id: int, score: str | None) -> None:
        if score is None:
            self.session.conversation.feedback.pop(event_id, None)
        else:
            self.session.conversation.feedback[event_id] = score
