"""The side of an agent session that answers: turns into replies, tool calls, audio and corrections."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Final

import trio
from attrs import define, field, frozen

from daemon.lab.elevenlabs import wire
from daemon.lab.elevenlabs.brain import REQUEST_ADVISOR, CallTool, EndCall, Pause, Say, Step
from daemon.lab.elevenlabs.client_tools import ClientTools
from daemon.lab.elevenlabs.conversations import tool_entry_parts, tool_result_parts, transcript_entry
from daemon.lab.elevenlabs.session import Ending, Point, Session, Turn, TurnCutError, TurnKind
from daemon.lab.elevenlabs.voice import send_voice

UNKNOWN_TOOL: Final = "tool_that_no_client_has"
END_CALL: Final = "end_call"


@define(eq=False)
class _Utterance:
    """A reply on its way out: the whole text, and how much of it has been sent."""

    event_id: int
    text: str
    sent: str = ""


@frozen(kw_only=True)
class _Style:
    """Which shapes an answer comes in, as the faults will have it."""

    parts: bool
    response: bool
    flat: bool


@define(eq=False)
class Speaker:
    """Answers one turn after another. A turn that was cut leaves an interruption behind it."""

    session: Session
    turns: trio.MemoryReceiveChannel[Turn]
    _saying: _Utterance | None = field(default=None, init=False)
    _last: _Utterance | None = field(default=None, init=False)
    _has_said: bool = field(default=False, init=False)
    _tools: ClientTools = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._tools = ClientTools(self.session)

    async def run(self) -> None:
        """Answer until cancelled; the session's end cancels."""
        async for turn in self.turns:
            self.session.speaking = turn
            self._saying, self._has_said = None, False
            if turn.is_of_user:
                await self._take_in(turn)
            try:
                await self._answer(turn)
            except TurnCutError:
                await self._leave_off()
            self.session.speaking = None
            self.session.expect_user()

    async def _take_in(self, turn: Turn) -> None:
        """Note what the user said; whatever of the last answer is still being played is cut off."""
        session = self.session
        await session.cut_playback()
        if turn.kind is TurnKind.SPOKEN and not session.world.faults.strikes("transcript_never"):
            await session.emit_if_wanted(wire.user_transcript(turn.text, session.next_event_id()))
        medium = "audio" if turn.kind is TurnKind.SPOKEN else "text"
        session.conversation.transcript.append(
            transcript_entry("user", turn.text, session.second, medium=medium)
        )
        session.context.said.append(("user", turn.text))
        await session.meet_fault(Point.MESSAGE)
        held, session.after_next = session.after_next, []
        for frame in held:
            await session.emit(frame)

    async def _answer(self, turn: Turn) -> None:
        session = self.session
        if turn.is_of_user:
            if session.world.faults.strikes("answer_never"):
                return
            if late := session.world.faults.strikes("answer_delayed"):
                await turn.pause(float(late.details.get("seconds", 5)))
            await turn.pause(session.timing.think_s)
        style = self._style()
        for step in self._steps(turn):
            turn.check()
            await self._do(turn, step, style)
        await self._complete()

    def _style(self) -> _Style:
        session = self.session
        faults = session.world.faults
        listed = session.text_only or "agent_chat_response_part" in session.events
        return _Style(
            parts=listed and not faults.strikes("parts_never"),
            response="agent_response" in session.events and not faults.strikes("response_never"),
            flat=faults.strikes("answer_flat") is not None,
        )

    def _steps(self, turn: Turn) -> Iterable[Step]:
        if not turn.is_of_user:
            return [Say(turn.text)]
        self.session.context.is_typed = turn.kind is TurnKind.TYPED
        steps: Iterable[Step] = self.session.brain.reply(self.session.context, turn.text)
        return itertools.chain(self._steps_of_faults(turn), self._blanked(steps), self._steps_after())

    def _steps_of_faults(self, turn: Turn) -> Iterator[Step]:
        faults = self.session.world.faults
        if fault := faults.strikes("tool_between_replies"):
            yield Say("Un momento, lo consulto.")
            yield CallTool(str(fault.details.get("tool", REQUEST_ADVISOR)), {"reason": turn.text}, True)
        if fault := faults.strikes("tool_expects_response"):
            yield CallTool(str(fault.details.get("tool", REQUEST_ADVISOR)), {"reason": turn.text}, True)
        if fault := faults.strikes("tool_fire_and_forget"):
            yield CallTool(str(fault.details.get("tool", REQUEST_ADVISOR)), {"reason": turn.text}, False)
        if faults.strikes("tool_unknown"):
            yield CallTool(UNKNOWN_TOOL, {"reason": turn.text}, True)

    def _blanked(self, steps: Iterable[Step]) -> Iterable[Step]:
        return [Say("  ")] if self.session.world.faults.strikes("answer_blank") else steps

    def _steps_after(self) -> Iterator[Step]:
        if self.session.world.faults.strikes("goodbye_after_answer"):
            yield EndCall("The user said goodbye")

    async def _do(self, turn: Turn, step: Step, style: _Style) -> None:
        match step:
            case Say(text):
                await self._say(turn, text, style)
            case CallTool():
                await self._tools.call(turn, step)
            case Pause(seconds):
                await turn.pause(seconds)
            case EndCall(reason):
                await self._end_call(reason)

    async def _say(self, turn: Turn, text: str, style: _Style) -> None:
        session = self.session
        said = self._saying = _Utterance(session.next_event_id(), text)
        if style.parts:
            await self._send_parts(turn, said)
        said.sent = text
        if style.flat:
            await session.emit(wire.flat_response(text))
        elif style.response:
            await session.emit(wire.response(text, said.event_id))
        entry = transcript_entry("agent", text, session.second)
        session.conversation.transcript.append(entry)
        session.context.said.append(("agent", text))
        self._last, self._saying, self._has_said = said, None, True
        if not session.text_only and "audio" in session.events:
            await send_voice(session, turn, text, said.event_id, entry, opens_answer=not style.parts)
        await session.meet_fault(Point.RESPONSE)

    async def _send_parts(self, turn: Turn, said: _Utterance) -> None:
        session = self.session
        await session.emit(wire.part("start", "", said.event_id))
        for piece in _pieces(said.text, session.timing.words_per_delta):
            await session.emit(wire.part("delta", piece, said.event_id))
            is_first = not said.sent
            said.sent += piece
            if is_first:
                await session.meet_fault(Point.DELTA)
            await turn.pause(session.timing.delta_pause_s)
            turn.check()
        await session.emit(wire.part("stop", "", said.event_id))

    async def _end_call(self, reason: str) -> None:
        session = self.session
        call_id = session.world.ids.new("toolu_01")
        call = tool_entry_parts(END_CALL, call_id, {"reason": reason}, tool_type="system")
        result = tool_result_parts(END_CALL, call_id, "Tool succeeded", tool_type="system")
        session.conversation.transcript.append(
            transcript_entry("agent", None, session.second, tool_calls=[call], tool_results=[result])
        )
        session.conversation.termination_reason = "end_call tool was called"
        await session.emit_if_wanted(
            wire.tool_response(END_CALL, call_id, session.next_event_id(), tool_type="system", is_error=False)
        )
        await session.end_here(Ending(1000))

    async def _complete(self) -> None:
        session = self.session
        faults = session.world.faults
        said = self._last if self._has_said else None
        if said is not None and (fault := faults.strikes("interruption_late_correction")):
            await self._interrupt_late(said, float(fault.details.get("seconds", 0.2)))
        if "agent_response_complete" not in session.events or faults.strikes("complete_never"):
            return
        frame = wire.complete(session.next_event_id() if said is None else said.event_id)
        if fault := faults.strikes("complete_late"):
            session.send_late(float(fault.details.get("seconds", 1)), frame)
        elif faults.strikes("complete_after_next_message"):
            session.after_next.append(frame)
        else:
            await session.emit(frame)

    async def _interrupt_late(self, said: _Utterance, seconds: float) -> None:
        half = said.text[: len(said.text) // 2].rstrip() + "…"
        await self.session.emit_if_wanted(wire.interruption(said.event_id))
        self.session.send_late(seconds, wire.correction(said.text, half, said.event_id))

    async def _leave_off(self) -> None:
        """What the client sees of a turn that was cut: interruption, then the correction of what was not heard."""
        session = self.session
        said = self._saying
        was_playing = await session.cut_playback()
        event_id = said.event_id if said is not None else session.next_event_id()
        if said is not None and said.sent and said.sent != said.text:
            await session.emit(wire.part("stop", "", said.event_id))
        if not was_playing:
            await session.emit_if_wanted(wire.interruption(event_id))
        if said is None or not said.sent:
            return
        entry = transcript_entry("agent", said.sent, session.second)
        entry["interrupted"] = True
        entry["original_message"] = said.text
        session.conversation.transcript.append(entry)
        session.context.said.append(("agent", said.sent))
        await session.emit_if_wanted(wire.correction(said.text, f"{said.sent.rstrip()}…", said.event_id))


def _pieces(text: str, words: int) -> Iterator[str]:
    """The text in pieces of so many words; joined they are the text again."""
    start = 0
    for number, position in enumerate(
        (index + 1 for index, letter in enumerate(text) if letter == " "), start=1
    ):
        if number % words == 0:
            yield text[start:position]
            start = position
    if start < len(text):
        yield text[start:]
