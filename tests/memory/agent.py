"""The agent's sessions in memory: what each does is scripted, step by step.

A script is a list of steps: an event is delivered, a number of seconds waited, a tool's result waited for, and
the session ended by a `SessionEnd`. What is said to a session ends its script and begins the next one.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import trio
from attrs import Factory, define, field, frozen

from actors.agent_events import (
    AgentAudio,
    AgentEvent,
    AgentInterrupted,
    AgentReplied,
    PartKind,
    PersonSaid,
    ReplyCompleted,
    ReplyPart,
    SessionEnd,
    SessionEndReason,
    SessionOpened,
    SessionPlan,
    ToolCalled,
    ToolFinished,
)
from actors.ports import AgentSession, AgentSessions, SessionLostError

TOOL_TIMEOUT_S = 20.0

LOST = SessionEnd(reason=SessionEndReason.LOST, code=None, detail="the connection broke")
REFUSED = SessionEnd(reason=SessionEndReason.REFUSED, code=1008, detail="override refused")
HUNG_UP = SessionEnd(reason=SessionEndReason.ENDED_BY_AGENT, code=1000, detail="")


@frozen
class AwaitTool:
    """The agent waits for the result of this tool call, for a while."""

    call_id: str


@frozen
class BreakOff:
    """The session breaks while it is being spoken to. Only as the first step."""


Step: TypeAlias = AgentEvent | SessionEnd | AwaitTool | BreakOff | float
Reaction: TypeAlias = Callable[["MemorySession", str], Iterable[Step]]
Hearing: TypeAlias = Callable[["MemorySession", bytes], Iterable[Step]]


@frozen(kw_only=True)
class Start:
    """How a session starts: after so long, open or with this end. `greeting` is said unasked."""

    after_s: float = 0.0
    end: SessionEnd | None = None
    greeting: Sequence[Step] = ()


@define(eq=False)
class MemorySession:
    """`AgentSession` in memory. `heard`, `informed`, `audio` and `tool_results` are what we told the agent."""

    agent: "MemoryAgent"
    plan: SessionPlan
    conversation_id: str
    heard: list[str] = field(factory=list)
    informed: list[str] = field(factory=list)
    audio: list[bytes] = field(factory=list)
    tool_results: list[tuple[str, str, bool]] = field(factory=list)
    is_open: bool = False
    _script: deque[Step] = field(factory=deque)
    _last_event_id: int = 0
    _changed: trio.Event = field(factory=trio.Event)

    async def say(self, text: str) -> None:
        await trio.lowlevel.checkpoint()
        self._require_open()
        self.heard.append(text)
        reaction = self.agent.reactions.popleft() if self.agent.reactions else self.agent.usual_reaction
        self._begin(reaction(self, text))
        if isinstance(self._script[0] if self._script else None, BreakOff):
            self.end(LOST)
            raise SessionLostError
        await trio.lowlevel.checkpoint()

    async def inform(self, text: str) -> None:
        await trio.lowlevel.checkpoint()
        self._require_open()
        self.informed.append(text)

    async def hear(self, audio: bytes) -> None:
        await trio.sleep(self.agent.hear_s)
        self._require_open()
        self.audio.append(audio)
        if answer := list(self.agent.usual_hearing(self, audio)):
            self._begin(answer)

    async def answer_tool(self, call_id: str, result: str, *, is_error: bool) -> None:
        await trio.lowlevel.checkpoint()
        self._require_open()
        self.tool_results.append((call_id, result, is_error))
        self._change()

    def end(self, end: SessionEnd = LOST) -> None:
        """End the session now."""
        self.is_open = False
        self._begin([end])

    def unasked(self, *steps: Step) -> None:
        """Do something without having been spoken to."""
        self._begin([*self._script, *steps])

    def next_event_id(self) -> int:
        self._last_event_id += 1
        return self._last_event_id

    async def perform(self, deliver: Callable[[AgentEvent], None]) -> SessionEnd:
        """Carry the scripts out until one of them ends the session."""
        while True:
            if not self._script:
                await self._changed.wait()
            self._changed = trio.Event()
            step = self._script.popleft() if self._script else 0.0
            if isinstance(step, SessionEnd):
                return step
            if isinstance(step, float | int):
                with trio.move_on_after(step):
                    await self._changed.wait()
            elif isinstance(step, AwaitTool):
                await self._await_tool(step.call_id)
            elif not isinstance(step, BreakOff):
                await trio.lowlevel.checkpoint()
                if self.plan.speaks or not isinstance(step, AgentAudio | AgentInterrupted | PersonSaid):
                    deliver(step)

    async def _await_tool(self, call_id: str) -> None:
        with trio.move_on_after(TOOL_TIMEOUT_S):
            while call_id not in {answered for answered, _, _ in self.tool_results}:
                await self._changed.wait()
                self._changed = trio.Event()

    def _begin(self, script: Iterable[Step]) -> None:
        self._script = deque(script)
        self._change()

    def _change(self) -> None:
        self._changed.set()

    def _require_open(self) -> None:
        if not self.is_open:
            raise SessionLostError


# --- Reactions ----------------------------------------------------------------------------------------


def reply(
    session: MemorySession, text: str, *, has_parts: bool = True, has_final: bool = True
) -> list[AgentEvent]:
    """One reply as the agent streams it."""
    event_id, events = session.next_event_id(), list[AgentEvent]()
    if has_parts:
        half = len(text) // 2
        events += [
            ReplyPart(kind=PartKind.START, text="", event_id=event_id),
            ReplyPart(kind=PartKind.DELTA, text=text[:half], event_id=event_id),
            ReplyPart(kind=PartKind.DELTA, text=text[half:], event_id=event_id),
            ReplyPart(kind=PartKind.STOP, text="", event_id=event_id),
        ]
    if has_final:
        events.append(AgentReplied(text=text, event_id=event_id))
    return events


def says(*texts: str, completes: bool = True, after_s: float = 0.0, has_parts: bool = True) -> Reaction:
    """Reply with these texts, each after so long."""

    def react(session: MemorySession, _heard: str) -> Iterable[Step]:
        steps: list[Step] = []
        for text in texts:
            steps += [after_s, *reply(session, text, has_parts=has_parts)]
        if completes:
            steps.append(ReplyCompleted(event_id=session.next_event_id()))
        return steps

    return react


def echoes(*, completes: bool = True, after_s: float = 0.0) -> Reaction:
    """Reply with `re: ` and what was said."""

    def react(session: MemorySession, heard: str) -> Iterable[Step]:
        return says(f"re: {heard}", completes=completes, after_s=after_s)(session, heard)

    return react


def does(*steps: Step) -> Reaction:
    """Do exactly this. Nothing at all is silence."""
    return lambda _session, _heard: steps


def asks_tool(
    *, before: str = "", after: str = "", expects_response: bool = True, confirms: bool = True
) -> Reaction:
    """Call a client tool of an unknown name, with words before and after it."""
    call_id = "t1"

    def react(session: MemorySession, _heard: str) -> Iterable[Step]:
        steps: list[Step] = [*reply(session, before)] if before else []
        event_id = session.next_event_id()
        steps.append(
            ToolCalled(
                name="order_pizza",
                call_id=call_id,
                parameters={},
                expects_response=expects_response,
                event_id=event_id,
            )
        )
        if expects_response:
            steps.append(AwaitTool(call_id))
        if expects_response and confirms:
            steps += [
                0.16,
                ToolFinished(name="order_pizza", call_id=call_id, is_error=True, event_id=event_id),
            ]
        if after:
            steps += [0.18, *reply(session, after), ReplyCompleted(event_id=session.next_event_id())]
        return steps

    return react


SILENCE: Reaction = does()


def deaf(_session: MemorySession, _audio: bytes) -> Sequence[Step]:
    """What is heard changes nothing."""
    return ()


@define(eq=False)
class MemoryAgent:
    """`AgentSessions` in memory.

    Attributes:
        starts, reactions: what the next sessions and the next things said to any of them meet; when they are
            used up, the usual.
        usual_hearing: what each piece of sound begins; nothing begins nothing.
        hear_s: how long a piece of sound takes on its way.
        close_s: how long a polite close takes, and `last_words` what is still heard during it.
        sessions: all that were asked for, oldest first.
    """

    starts: deque[Start] = field(factory=deque)
    reactions: deque[Reaction] = field(factory=deque)
    usual_start: Start = Start()
    usual_reaction: Reaction = Factory(echoes)
    usual_hearing: Hearing = deaf
    hear_s: float = 0.0
    close_s: float = 0.0
    last_words: Sequence[AgentEvent] = ()
    sessions: list[MemorySession] = field(factory=list, init=False)

    @property
    def open_sessions(self) -> list[MemorySession]:
        return [session for session in self.sessions if session.is_open]

    @property
    def heard(self) -> list[list[str]]:
        """What was said to each session."""
        return [session.heard for session in self.sessions]

    async def run(self, plan: SessionPlan, deliver: Callable[[AgentEvent], None]) -> SessionEnd:
        session = MemorySession(self, plan, f"conv_text_{len(self.sessions) + 1}")
        self.sessions.append(session)
        start = self.starts.popleft() if self.starts else self.usual_start
        await trio.sleep(start.after_s)
        if start.end is not None:
            return start.end
        try:
            session.is_open = True
            deliver(SessionOpened(session))
            session.unasked(*start.greeting)
            return await session.perform(deliver)
        except trio.Cancelled:
            for event in self.last_words:
                deliver(event)
            with trio.move_on_after(1, shield=True):
                await trio.sleep(self.close_s)
            raise
        except trio.WouldBlock:
            return LOST
        finally:
            session.is_open = False


def _is_a_session(session: MemorySession) -> AgentSession:
    return session


def _are_sessions(agent: MemoryAgent) -> AgentSessions:
    return agent
