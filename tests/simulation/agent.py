"""The agent: answers with the marks of what it was asked, in one of the many ways in which agents answer."""

from collections.abc import Callable, Sequence

import trio
from attrs import define, field, frozen

from actors.agent_events import (
    AgentEvent,
    ReplyCompleted,
    SessionEnd,
    SessionEndReason,
    SessionOpened,
    SessionPlan,
    ToolCalled,
    ToolFinished,
)
from actors.conversation.turn import SKIP_TURN_TOOL
from actors.ports import AgentSession, AgentSessions
from tests.memory.agent import (
    HUNG_UP,
    LOST,
    REFUSED,
    AwaitTool,
    BreakOff,
    MemoryAgent,
    MemorySession,
    Start,
    Step,
    reply,
)
from tests.simulation.chance import Chance, Fault
from tests.simulation.perils import Perils

FAILED = SessionEnd(reason=SessionEndReason.FAILED, code=1011, detail="the agent failed")
FULL = SessionEnd(reason=SessionEndReason.FULL, code=429, detail="too many sessions")
ENDS = (LOST, FAILED, HUNG_UP, REFUSED)
REFUSES_S = 15.0
LATE_S = 14.0
"""Later than the reply's time limit."""
LONG = "bla " * 300

ANSWER = "re: "


def marks_in(answer: str) -> list[str]:
    """The marks of the messages that an answer answers; empty for any other text."""
    return answer.partition("\n")[0].removeprefix(ANSWER).split() if answer.startswith(ANSWER) else []


@frozen
class PerilousSession:
    """`AgentSession`, spoken to by somebody who may crash or be killed meanwhile."""

    session: MemorySession
    perils: Perils

    @property
    def conversation_id(self) -> str:
        return self.session.conversation_id

    async def say(self, text: str) -> None:
        await self.perils.strike("say")
        await self.session.say(text)
        await self.perils.strike("say")

    async def inform(self, text: str) -> None:
        await self.session.inform(text)

    async def hear(self, audio: bytes) -> None:
        await self.session.hear(audio)

    async def answer_tool(self, call_id: str, result: str, *, is_error: bool) -> None:
        await self.perils.strike("answer tool")
        await self.session.answer_tool(call_id, result, is_error=is_error)


@define(eq=False)
class SimulatedAgent:
    """`AgentSessions` as one life of the daemon has it.

    Attributes:
        said_nothing: told of the marks that the agent chose to leave without words.
    """

    perils: Perils
    said_nothing: Callable[[Sequence[str]], None]
    agent: MemoryAgent = field(init=False)
    _refuses_until: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self.agent = MemoryAgent(usual_reaction=self._react)

    @property
    def _chance(self) -> Chance:
        return self.perils.chance

    async def run(self, plan: SessionPlan, deliver: Callable[[AgentEvent], None]) -> SessionEnd:
        def deliver_perilously(event: AgentEvent) -> None:
            if isinstance(event, SessionOpened) and isinstance(event.session, MemorySession):
                event = SessionOpened(PerilousSession(event.session, self.perils))
            deliver(event)

        await self.perils.strike("open a session")
        self.agent.starts.append(self._start())
        end = await self.agent.run(plan, deliver_perilously)
        self.perils.trace.note("session ended", end.reason.value)
        return end

    def _start(self) -> Start:
        if self._chance.strikes(Fault.AGENT_REFUSES):
            self._refuses_until = trio.current_time() + REFUSES_S
        if trio.current_time() < self._refuses_until:
            return Start(after_s=0.1, end=REFUSED)
        after_s = self._chance.between(1, 8) if self._chance.strikes(Fault.START_SLOW) else 0.1
        end = self._chance.one_of((*ENDS, FULL)) if self._chance.strikes(Fault.START_FAILS) else None
        return Start(after_s=after_s, end=end)

    def _react(self, session: MemorySession, heard: str) -> Sequence[Step]:
        self.perils.trace.note("agent heard", heard.replace("\n", " "))
        chance, thinking_s = self._chance, self._chance.between(0.1, 2)
        if chance.strikes(Fault.BREAKS_OFF):
            return [BreakOff()]
        if chance.strikes(Fault.AGENT_SILENT):
            return []
        if chance.strikes(Fault.ENDS_EARLY):
            return [thinking_s, chance.one_of(ENDS)]
        if chance.strikes(Fault.AGENT_LATE):
            thinking_s += LATE_S
        if chance.strikes(Fault.SAYS_NOTHING):
            return [thinking_s, *self._nothing(session, heard)]
        return [thinking_s, *self._words(session, ANSWER + " ".join(heard.split()))]

    def _nothing(self, session: MemorySession, heard: str) -> Sequence[Step]:
        self.said_nothing(heard.split())
        event_id = session.next_event_id()
        return [ToolFinished(name=SKIP_TURN_TOOL, call_id="skip", is_error=False, event_id=event_id)]

    def _words(self, session: MemorySession, text: str) -> list[Step]:
        chance = self._chance
        if chance.strikes(Fault.SAYS_MUCH):
            text += f"\n\n{LONG}\n\n{LONG}"
        has_final = not chance.strikes(Fault.NO_FINAL)
        has_parts = not has_final or not chance.strikes(Fault.NO_PARTS)
        steps: list[Step] = [*reply(session, text, has_parts=has_parts, has_final=has_final)]
        if chance.strikes(Fault.ENDS_WITHIN):
            return [*steps[: len(steps) // 2], chance.one_of(ENDS)]
        if chance.strikes(Fault.USES_TOOL):
            steps += self._tool(session)
        if chance.strikes(Fault.TALKS_ON):
            steps += [3.0, *reply(session, "y otra cosa")]
        elif not chance.strikes(Fault.NO_COMPLETION):
            steps.append(ReplyCompleted(event_id=session.next_event_id()))
        if chance.strikes(Fault.ENDS_AFTER):
            steps.append(chance.one_of(ENDS))
        return steps

    def _tool(self, session: MemorySession) -> list[Step]:
        """A tool that nobody knows, and words after it."""
        event_id = session.next_event_id()
        call_id = f"tool_{event_id}"
        called = ToolCalled(
            name="order_pizza", call_id=call_id, parameters={}, expects_response=True, event_id=event_id
        )
        return [called, AwaitTool(call_id), 0.2, *reply(session, "listo")]


def _is_a_session(session: PerilousSession) -> AgentSession:
    return session


def _are_sessions(agent: SimulatedAgent) -> AgentSessions:
    return agent
