"""A conversation's link to the agent: one session at a time, opened when needed, gone at any moment."""

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

import structlog
import trio
from attrs import define, field

from actors.agent_events import (
    AgentEvent,
    SessionEnd,
    SessionEndReason,
    SessionOpened,
    SessionPlan,
    ToolCalled,
)
from actors.conversation.agent_access import Admission, AgentAccess, NotAdmittedError
from actors.conversation.turn_in_flight import Link
from actors.metrics import Metrics
from actors.ports import AgentSession, AgentSessions, SessionLostError

_log = structlog.get_logger(__name__)

Hear: TypeAlias = Callable[[AgentEvent | SessionEnd], None]


@define(eq=False)
class _Run:
    """One session from the wish to open it to its end; holds its seat in the socket budget.

    Attributes:
        is_ahead: nobody needs it yet.
        idle_since: one that is opened ahead is idle from the beginning, so that it gives way.
    """

    began_at: float
    close: Callable[[], None]
    is_ahead: bool = False
    session: AgentSession | None = None
    is_saved: bool = False
    idle_since: float | None = None
    last_event_id: int = -1
    tool_calls: deque[ToolCalled] = field(factory=deque)
    scope: trio.CancelScope = field(factory=trio.CancelScope)

    def give_way(self) -> None:
        self.close()


@define(eq=False)
class AgentLink:
    """Opens, holds and closes the agent session of one conversation.

    Everything heard of the present session, its end included, goes to `hear`, in order, in the session's own
    task; `hear` must neither block nor raise. Nothing is heard of a session after `close`, and what it left
    to do is gone with it.
    """

    sessions: AgentSessions
    access: AgentAccess
    metrics: Metrics
    hear: Hear
    _run: _Run | None = field(default=None, init=False)

    @property
    def session(self) -> AgentSession | None:
        """The open session; None while there is none or it is being opened."""
        return None if self._run is None else self._run.session

    @property
    def is_closed(self) -> bool:
        return self._run is None

    @property
    def state(self) -> Link:
        if self._run is None:
            return Link.CLOSED
        return Link.OPENING if self._run.session is None else Link.OPEN

    @property
    def idle_since(self) -> float | None:
        """Monotonic time since when an open session serves nobody."""
        return None if self._run is None else self._run.idle_since

    @property
    def last_event_id(self) -> int:
        """The newest event that was heard of the session before the present one; -1 before the first."""
        return -1 if self._run is None else self._run.last_event_id

    @property
    def has_unsaved_session(self) -> bool:
        return self._run is not None and self._run.session is not None and not self._run.is_saved

    @property
    def has_tool_calls(self) -> bool:
        return self._run is not None and bool(self._run.tool_calls)

    def take_unsaved_session(self) -> AgentSession | None:
        """The session that was opened and not yet taken from here, once."""
        if self._run is None or self._run.is_saved:
            return None
        self._run.is_saved = self._run.session is not None
        return self._run.session

    def take_tool_call(self) -> ToolCalled | None:
        """The oldest tool call that was not yet taken from here."""
        return self._run.tool_calls.popleft() if self._run is not None and self._run.tool_calls else None

    async def say(self, text: str) -> bool:
        """Say it in the session. False when that is lost; then its end is on the way."""
        if self.session is None:
            return False
        try:
            await self.session.say(text)
        except SessionLostError:
            _log.info("session lost while speaking")
            return False
        return True

    async def answer_tool(self, call_id: str, result: str, *, is_error: bool) -> None:
        """Tell the tool's result in the session, if that is still there."""
        if self.session is None:
            return
        try:
            await self.session.answer_tool(call_id, result, is_error=is_error)
        except SessionLostError:
            _log.info("session lost while answering a tool")

    def open(self, nursery: trio.Nursery, plan: SessionPlan, *, is_ahead: bool = False) -> None:
        """Begin to open a session; `hear` is told `SessionOpened`, or the end. The link must be closed.

        With `is_ahead` nobody needs it yet: it waits behind those who do, and gives way to them.
        """
        if self._run is not None:
            raise RuntimeError("a session is open or being opened")
        now = trio.current_time()
        run = self._run = _Run(
            now, lambda: self._give_way(run), is_ahead, idle_since=now if is_ahead else None
        )
        # A plan carries a whole history, and these tasks live as long as the session: it is handed through.
        nursery.start_soon(self._live, run, [plan], name="agent session")

    def close(self, *, reason: str) -> None:
        """Close the session, politely and in the background; without one nothing happens."""
        if self._run is not None:
            self._close(self._run, reason=reason)

    def busy(self) -> None:
        """The session is needed now."""
        if self._run is not None:
            self._run.idle_since = None

    def idle(self) -> None:
        """The session is only kept for what may come; where others wait for a socket, it gives way at once."""
        if self._run is not None:
            self._run.idle_since = trio.current_time()
            self.access.fell_idle()

    def _give_way(self, run: _Run) -> None:
        is_awaited = run is self._run and run.session is None
        self._close(run, reason="socket needed elsewhere")
        if is_awaited:
            self.hear(SessionEnd(reason=SessionEndReason.LOST, code=None, detail="socket needed elsewhere"))

    def _close(self, run: _Run, *, reason: str) -> None:
        run.idle_since = None
        run.scope.cancel(reason=reason)
        if run is self._run:
            self._run = None

    async def _live(self, run: _Run, plan: list[SessionPlan]) -> None:
        end: SessionEnd | None = None
        with run.scope:
            end = await self._hold(run, plan)
        if run is self._run and end is not None:
            self._run = None
            _log.info("agent session ended", reason=end.reason.value, code=end.code, detail=end.detail)
            self.hear(end)

    async def _hold(self, run: _Run, plan: list[SessionPlan]) -> SessionEnd:
        try:
            admission = await self.access.admit(
                run, agent_id=plan[0].agent_id, user_id=plan[0].user_id, is_ahead=run.is_ahead
            )
        except NotAdmittedError as refusal:
            return refusal.end
        end: SessionEnd | None = None
        try:
            end = await self.sessions.run(plan.pop(), lambda event: self._heard(run, admission, event))
            admission.ended(end)
            return end
        finally:
            admission.leave()
            self.metrics.agent_session_closed(end.code if end is not None else 1000)

    def _heard(self, run: _Run, admission: Admission, event: AgentEvent) -> None:
        admission.heard(event)
        if run is not self._run:
            return
        if isinstance(event, SessionOpened):
            run.session = event.session
            self.metrics.agent_session_opened(trio.current_time() - run.began_at)
        elif isinstance(event, ToolCalled):
            run.tool_calls.append(event)
        self.hear(event)
        event_id = getattr(event, "event_id", None)
        if event_id is not None:
            run.last_event_id = max(run.last_event_id, event_id)
