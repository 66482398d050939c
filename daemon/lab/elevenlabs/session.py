"""One agent session on a socket: its state, its way out to the client, and how it ends."""

import bisect
import math
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, auto
from typing import Any, Final

import trio
from attrs import Factory, define, field, frozen

from daemon.lab.elevenlabs import wire
from daemon.lab.elevenlabs.agents import Agent
from daemon.lab.elevenlabs.brain import Brain, CallContext
from daemon.lab.elevenlabs.conversations import Conversation, SeenFrame
from daemon.lab.elevenlabs.playback import Playback
from daemon.lab.elevenlabs.wire import Frame
from daemon.lab.elevenlabs.world import World


@frozen(kw_only=True)
class SocketTiming:
    """The clocks of the agent socket.

    Attributes:
        ping_every_s: from one ping to the next.
        think_s: from a user message to the first frame of its answer.
        delta_pause_s: between two deltas.
        tool_latency_s: from a tool result to `agent_tool_response`, and again to the next reply.
        initiation_timeout_s: how long the first frame may take.
        receive_timeout_s: without user input for so long the session ends with 1002; None: never.
        pong_is_input: whether a pong counts as user input there; not established for the live service.
        analysis_delay_s: from a session's end to `done`.
        words_per_delta: how much text one delta carries.
        barge_in_s: a caller who has spoken so long interrupts the agent.
        end_of_turn_s: a caller who has been silent so long is answered.
    """

    ping_every_s: float = 5.0
    think_s: float = 0.0
    delta_pause_s: float = 0.0
    tool_latency_s: float = 0.0
    initiation_timeout_s: float = 60.0
    receive_timeout_s: float | None = 60.0
    pong_is_input: bool = True
    analysis_delay_s: float = 0.0
    words_per_delta: int = 5
    barge_in_s: float = 0.3
    end_of_turn_s: float = 0.3


@frozen
class Ending:
    """How the server ends a session; no `code` means that the connection breaks without a close frame.

    `error_type` is announced by an `error` frame before the close, where there is one.
    """

    code: int | None
    reason: str = ""
    error_type: str | None = None


class Point(Enum):
    """Where a fault may end a session."""

    MESSAGE = auto()
    DELTA = auto()
    RESPONSE = auto()
    IDLE = auto()


_BREAK: Final = Ending(None)
_QUOTA: Final = Ending(3000, "quota_exceeded")
_CRASH: Final = Ending(1011, "Internal error", "unknown_websocket_crash")
MAX_DURATION: Final = Ending(1000, "Conversation exceeded maximum duration", "max_duration_exceeded")
RECEIVE_TIMEOUT: Final = Ending(1002, "No user input received for 60 seconds", "transport_receive_timeout")
QUOTA_AT_START: Final = _QUOTA

_ENDINGS: Final[Mapping[Point, Mapping[str, Ending]]] = {
    Point.MESSAGE: {
        "drop_on_message": _BREAK,
        "llm_timeout_on_message": Ending(1002, "LLM timed out", "llm_timeout"),
        "invalid_message_on_message": Ending(1008, "Invalid message received", "invalid_message"),
        "crash_on_message": _CRASH,
    },
    Point.DELTA: {
        "drop_after_first_delta": _BREAK,
        "llm_error_mid_answer": Ending(1002, "LLM failed", "llm_error"),
        "crash_mid_answer": _CRASH,
        "quota_mid_answer": _QUOTA,
    },
    Point.RESPONSE: {"drop_before_complete": _BREAK},
    Point.IDLE: {
        "drop_idle": _BREAK,
        "max_duration_idle": MAX_DURATION,
        "receive_timeout_idle": RECEIVE_TIMEOUT,
        "crash_idle": _CRASH,
        "quota_idle": _QUOTA,
    },
}


class TurnKind(Enum):
    FIRST_MESSAGE = auto()
    TYPED = auto()
    SPOKEN = auto()
    NUDGE = auto()
    """The agent asks whether the user is still there."""


class TurnCutError(Exception):
    """The user interrupted; the turn is over where it stands."""


@define(eq=False)
class Turn:
    """Something the agent is to answer, or to say of itself (then `text` is what it says)."""

    kind: TurnKind
    text: str
    is_cut: bool = field(default=False, init=False)
    _shielded: bool = field(default=False, init=False)
    _cut_later: bool = field(default=False, init=False)
    _stirred: trio.Event = field(factory=trio.Event, init=False)

    @property
    def is_of_user(self) -> bool:
        return self.kind in {TurnKind.TYPED, TurnKind.SPOKEN}

    def cut(self) -> None:
        """Interrupt it; a shielded turn is cut when its shield is gone."""
        self._cut_later = self._shielded
        if not self._shielded:
            self.is_cut = True
            self._stirred.set()

    def shield(self) -> None:
        """Let nobody interrupt from now on."""
        self._shielded = True

    def unshield(self) -> None:
        self._shielded = False
        if self._cut_later:
            self.cut()

    def stir(self) -> None:
        """Make `until` look again."""
        self._stirred.set()

    def check(self) -> None:
        if self.is_cut:
            raise TurnCutError

    async def until(self, is_done: Callable[[], bool], limit_s: float) -> bool:
        """Wait until done, for `limit_s` at most; says whether it is done.

        Raises:
            TurnCutError: the turn was cut first.
        """
        with trio.move_on_after(limit_s):
            while not (is_done() or self.is_cut):
                self._stirred = trio.Event()
                await self._stirred.wait()
        self.check()
        return is_done()

    async def pause(self, seconds: float) -> None:
        if seconds > 0:
            await self.until(lambda: False, seconds)


@define(eq=False, kw_only=True)
class Session:
    """The state of one session, shared by the task that listens and the task that answers.

    Attributes:
        settings: the agent's conversation config with this session's overrides.
        events: message types the client gets.
        late: (trio time, frame) of frames held back by a fault, earliest first.
        after_next: frames held back until the next user message.
        playback: the audio on its way to the caller's ear; voice only.
        tool_results: result frames of client tools by call id; None while one is awaited.
        listening: the scope in which the listening task waits, so that a new deadline can wake it.
    """

    world: World
    timing: SocketTiming
    agent: Agent
    conversation: Conversation
    brain: Brain
    context: CallContext
    settings: Mapping[str, Any]
    send: Callable[[str], Awaitable[None]]
    scope: trio.CancelScope = Factory(trio.CancelScope)
    events: frozenset[str] = field(init=False)
    text_only: bool = field(init=False)
    started_at: float = field(factory=trio.current_time)
    ending: Ending | None = None
    event_id: int = 0
    speaking: Turn | None = None
    nudge_at: float = math.inf
    late: list[tuple[float, Frame]] = Factory(list)
    after_next: list[Frame] = Factory(list)
    playback: Playback = Factory(Playback)
    tool_results: dict[str, Frame | None] = Factory(dict)
    listening: trio.CancelScope = Factory(trio.CancelScope)

    def __attrs_post_init__(self) -> None:
        conversation = self.settings["conversation"]
        self.events = frozenset(conversation["client_events"])
        self.text_only = bool(conversation["text_only"])

    @property
    def second(self) -> int:
        """Whole seconds since the session began."""
        return int(trio.current_time() - self.started_at)

    def next_event_id(self) -> int:
        self.event_id += self.world.ids.step()
        return self.event_id

    def record(self, direction: str, text: str, *, is_audio: bool = False) -> None:
        """Write a frame into the books; `is_audio`: it holds what the client says."""
        self.conversation.keep(SeenFrame(direction, trio.current_time(), text), is_audio=is_audio)
        self.world.books.change()

    async def emit(self, frame: Frame) -> None:
        faults = self.world.faults
        if faults.strikes("unknown_types"):
            await self._put(wire.unknown_type(self.next_event_id()))
        if faults.strikes("unknown_fields"):
            frame = wire.with_unknown_fields(frame)
        if faults.strikes("string_event_ids"):
            frame = wire.with_string_event_ids(frame)
        await self._put(frame)

    async def _put(self, frame: Frame) -> None:
        text = wire.encoded(frame)
        self.record("out", text)
        await self.send(text)

    async def emit_if_wanted(self, frame: Frame) -> None:
        """Emit a frame whose type the agent's client events must list."""
        if frame["type"] in self.events:
            await self.emit(frame)

    async def cut_playback(self) -> bool:
        """The caller speaks over the agent: what was not heard yet was never said. False: all of it was."""
        cut = self.playback.cut(trio.current_time())
        if not cut:
            return False
        # A client drops the audio of every event up to this one.
        await self.emit_if_wanted(wire.interruption(cut[-1][0].event_id))
        for voiced, heard in cut:
            await self.emit_if_wanted(wire.correction(voiced.text, heard, voiced.event_id))
        return True

    def end(self, ending: Ending) -> None:
        """End the session; its tasks are cancelled at their next checkpoint. The first ending counts."""
        if self.ending is None:
            self.ending = ending
            self.scope.cancel(reason="the session ends")

    async def end_here(self, ending: Ending) -> None:
        """End the session and never return."""
        self.end(ending)
        await trio.sleep_forever()

    async def meet_fault(self, point: Point) -> None:
        """End the session here if a fault of this point strikes."""
        for name, ending in _ENDINGS[point].items():
            if self.world.faults.strikes(name):
                await self.end_here(ending)

    def expect_user(self) -> None:
        """Start waiting for the user: after `turn_timeout` of silence the agent asks whether he is there."""
        timeout_s = self.settings["turn"]["turn_timeout"]
        if timeout_s > 0:
            self.nudge_at = max(trio.current_time(), self.playback.until_s) + timeout_s
            self._wake_listener_at(self.nudge_at)

    def send_late(self, seconds: float, frame: Frame) -> None:
        """Leave a frame to the listening task, which is never busy answering."""
        due_at = trio.current_time() + seconds
        bisect.insort(self.late, (due_at, frame), key=lambda entry: entry[0])
        self._wake_listener_at(due_at)

    def _wake_listener_at(self, at: float) -> None:
        self.listening.deadline = min(self.listening.deadline, at)
