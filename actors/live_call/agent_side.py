"""The agent's side of a live call: its sessions on the stream, what it is told, and when it was heard."""

from functools import partial
from typing import Final

from attrs import define, field

from actors.live_call import effects as do
from actors.live_call.effects import Telling, Timer, ToolAnswer
from actors.live_call.hands import Hands
from actors.live_call.line import Heard, Line, ToolAsked
from actors.live_call.records import Records
from actors.live_call.session_plan import facts_of, session_plan
from actors.live_call.state import Opening

_TELLINGS: Final = {
    Telling.ADVISOR_CALLED: "told_calling",
    Telling.NO_ADVISOR: "told_nobody",
    Telling.ADVISOR_MISSED: "told_missed",
    Telling.ADVISOR_JOINED: "told_joined",
    Telling.ADVISOR_LEFT: "told_left",
}
_TOOL_ANSWERS: Final = {
    ToolAnswer.CALLING: "tool_calling",
    ToolAnswer.NOBODY: "tool_nobody",
    ToolAnswer.RECORDING: "tool_recording",
    ToolAnswer.NOT_NOW: "tool_not_now",
}


@define(eq=False)
class _Listening:
    """What is to be reported once the agent was heard; until it is marked, the agent has not begun to speak.

    Attributes:
        is_beginning: the mark stands behind the first piece of what the agent says: that nothing has come behind it yet
            means nothing.
    """

    what: Timer
    is_marked: bool
    is_beginning: bool


@define(eq=False, kw_only=True)
class AgentSide:
    """Works with the line that is open now; without one nothing happens."""

    hands: Hands
    records: Records
    _listening: _Listening | None = field(default=None, init=False)
    _tools: set[str] = field(factory=set, init=False)
    _session: int = field(default=0, init=False)

    @property
    def _line(self) -> Line | None:
        found = self.hands.world.lines.get(self.hands.call.id)
        return found[1] if found is not None else None

    def open(self, opening: Opening) -> None:
        """Open a session that knows the caller, unless it is closed before that was looked up."""
        self._session += 1
        self.hands.start(partial(self._open, opening, self._session), "agent session")

    async def _open(self, opening: Opening, session: int) -> None:
        history = await self.records.learn_history()
        line = self._line
        if line is None or session != self._session:
            return
        world, rules = self.hands.world, self.hands.rules
        plan = session_plan(
            self.hands.call, history, opening, world.words, agent_id=rules.agent_id, now=world.clock.now()
        )
        line.open_agent(plan)

    def close(self) -> None:
        self._session += 1
        self._listening = None
        if (line := self._line) is not None:
            line.close_agent()

    def music(self, *, on: bool) -> None:
        if (line := self._line) is not None:
            line.music(on=on)

    def tell(self, effect: do.Tell) -> None:
        """Tell the agent what has happened, and make it speak of it: an update alone starts no turn."""
        line = self._line
        if line is None:
            return
        missed = effect.missed.value if effect.missed is not None else ""
        text = self._say(_TELLINGS[effect.what], advisor=effect.advisor, missed=missed)
        if effect.heard is not None:
            self.await_heard(effect.heard, is_next=True)
        line.tell_agent(context=text, prompt=text)

    def asked(self, tool: ToolAsked) -> None:
        """The agent has called a tool, and may wait for its answer."""
        if tool.expects_response:
            self._tools.add(tool.call_id)

    def answer_tool(self, effect: do.AnswerTool) -> None:
        line = self._line
        if line is None or effect.call_id not in self._tools:
            return
        self._tools.discard(effect.call_id)
        text = self._say(_TOOL_ANSWERS[effect.answer], advisor=effect.advisor)
        line.answer_tool(effect.call_id, text, is_error=effect.answer is ToolAnswer.NOT_NOW)

    def await_heard(self, what: Timer, *, is_next: bool) -> None:
        """See to it that `heard` tells when the agent was heard: what it has said so far, or what it says next."""
        self._listening = _Listening(what, is_marked=False, is_beginning=is_next)
        if not is_next:
            self.begins_to_speak()

    def begins_to_speak(self) -> None:
        listening = self._listening
        if listening is not None and not listening.is_marked:
            listening.is_marked = True
            self._mark(listening)

    def heard(self, mark: Heard) -> Timer | None:
        """What was waited for, once a mark has come back with nothing said behind it. Else the mark is set again."""
        listening = self._listening
        if listening is None or listening.what.value != mark.name:
            return None
        if listening.is_beginning or not mark.is_all:
            listening.is_beginning = False
            self._mark(listening)
            return None
        self._listening = None
        return listening.what

    def _mark(self, listening: _Listening) -> None:
        if (line := self._line) is not None:
            line.mark(listening.what.value)

    def _say(self, name: str, *, advisor: str, missed: str = "") -> str:
        facts = facts_of(self.hands.call, self.records.history, advisor=advisor, missed=missed)
        return self.hands.world.words.say(name, facts)
