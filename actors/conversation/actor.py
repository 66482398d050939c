"""The conversation actor: one person's talk with the agent on WhatsApp.

It holds nothing that the store does not hold: what waits for an answer, which calls want an opening and what
was said stand there. Its mailbox only tells it to look. A crash at any moment costs the open socket and
nothing else; the next life, or the next look at the store, goes on where the last commit left off.

The actor never waits for the agent: every message, every event of the session and every deadline wakes it; it
does what is due, one thing at a time, and sleeps until the next one.
"""

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from enum import Enum, auto
from typing import TypeAlias

import structlog
import trio
from attrs import evolve, field, frozen

from actors.agent_events import (
    AgentEvent,
    AgentReplied,
    PartKind,
    ReplyPart,
    SessionEnd,
    SessionOpened,
    ToolCalled,
)
from actors.alerts import Alerts
from actors.calls import CallOutcome
from actors.conversation.agent_link import AgentLink
from actors.conversation.context import facts_of, session_plan
from actors.conversation.socket_budget import SocketBudget
from actors.conversation.splitting import split
from actors.conversation.texts import CallFacts, TextError, Texts
from actors.conversation.turn import LLM_TIMEOUT_S, CoalescingRules, Gathering, Turn
from actors.conversation.turn_in_flight import Link, Step, TurnInFlight, TurnRules
from actors.messages import Purpose, Template
from actors.metrics import Metrics
from actors.ports import (
    AgentSession,
    AgentSessions,
    Answer,
    ConversationStore,
    KnownCall,
    Messaging,
    Opening,
    PersonContext,
    SessionLostError,
    StoreUnavailableError,
    WallClock,
    Work,
)
from actors.runtime.mailbox import Mailbox, MailboxFullError, Reply

_log = structlog.get_logger(__name__)

NEVER = float("inf")
TYPING_EVERY_S = 20.0
"""WhatsApp shows the indicator for 25 seconds (Twilio docs: whatsapp/api/typing-indicators-resource)."""
NOTE_WITHOUT_AGENT = "sent without agent conversation"


@frozen
class MessageArrived:
    """The person wrote, and it is stored. `sid` is Twilio's, for the typing indicator."""

    sid: str


@frozen
class Close:
    """The operator closes the conversation; answered once that is stored. False: there was none."""

    done: Reply[bool] = field(factory=Reply)


class Nudge(Enum):
    LOOK = auto()
    """Something may wait in the store."""
    REAP = auto()
    """Close the socket if it has been idle for long."""
    FINISH = auto()
    """Bring what is under way to its end and begin nothing new: the daemon is about to stop."""
    WAKE = auto()
    """Sent by the actor to itself when the agent said something."""


ConversationMessage: TypeAlias = MessageArrived | Close | Nudge


@frozen(kw_only=True)
class ConversationRules:
    """Limits and choices of every conversation; see `[conversation]` in config.toml."""

    turn: TurnRules
    coalescing: CoalescingRules
    opens_socket_at_call_end: bool
    idle_close_s: float
    retire_after_s: float
    failed_turn_retry_s: float
    failed_turn_retry_max_s: float
    history_messages: int
    template_sids: Mapping[Purpose, str]


@frozen(kw_only=True)
class ConversationWorld:
    """What a conversation works with. `outbox_due` tells the outbox that a person has something to send."""

    sessions: AgentSessions
    budget: SocketBudget
    store: ConversationStore
    messaging: Messaging
    outbox_due: Callable[[int], None]
    texts: Texts
    alerts: Alerts
    metrics: Metrics
    clock: WallClock


class ConversationActor:
    """The actor of one person; there is never a second one for the same person."""

    def __init__(
        self,
        person_id: int,
        mailbox: Mailbox[ConversationMessage],
        *,
        world: ConversationWorld,
        rules: ConversationRules,
    ) -> None:
        self._person_id = person_id
        self._mailbox = mailbox
        self._world = world
        self._store = world.store
        self._rules = rules
        self._link = AgentLink(world.sessions, world.budget, world.metrics, self._hear)
        self._nursery: trio.Nursery
        self._conversation_id: int | None = None
        self._answer_template: Template | None = None
        self._refusal: SessionEnd | None = None
        self._turn: TurnInFlight | None = None
        self._turn_failures = 0
        self._opening: Opening | None = None
        self._gathering: Gathering | None = None
        self._look_at = NEVER
        self._typing_at = NEVER
        self._retire_at = NEVER
        self._newest_sid: str | None = None
        self._wants_session = False
        self._unsaved_session: AgentSession | None = None
        self._tool_calls: deque[ToolCalled] = deque()
        self._belated: list[str] = []
        self._belated_until = 0.0
        self._last_event_id = -1
        self._is_woken = False
        self._is_finishing = False
        self._closing: Close | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Lives until there has been nothing to do for a while, or until cancelled.

        Cancellation closes the agent session and leaves the rest to the store.
        """
        structlog.contextvars.bind_contextvars(person_id=self._person_id)
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await self._live()
                nursery.cancel_scope.cancel(reason="the conversation rests")
        except* StoreUnavailableError as errors:
            # Nothing is lost that is stored, and nothing can be done without the store: recovery starts this
            # conversation again once it is back.
            _log.warning("conversation waits for the database", detail=str(errors.exceptions[0]))

    async def _live(self) -> None:
        # After a crash nobody may tell what for; a first message postpones this until it is gathered.
        self._look_at = trio.current_time()
        while trio.current_time() < self._update_retirement():
            self._take(await self._next_message())
            while await self._advance():
                pass

    async def _next_message(self) -> ConversationMessage | None:
        """The next message; None when a deadline passed first."""
        message = self._mailbox.receive_nowait()
        if message is None:
            with trio.move_on_at(self._next_moment()):
                message = await self._mailbox.receive()
        return message

    def _next_moment(self) -> float:
        moments = [self._look_at, self._retire_at]
        if self._turn is not None:
            moments = [self._turn.next_moment(self._link_state), self._typing_at]
        elif self._opening is not None:
            moments = [NEVER]
        return min(moments)

    def _update_retirement(self) -> float:
        """When this actor may end; postponed for as long as there is anything to wait for."""
        if self._is_finishing and self._turn is None and self._opening is None:
            return 0.0
        rests = (
            self._turn is None and self._opening is None and self._gathering is None and self._link.is_closed
        )
        if not rests or self._look_at < NEVER:
            self._retire_at = NEVER
        elif self._retire_at == NEVER:
            self._retire_at = trio.current_time() + self._rules.retire_after_s
        return self._retire_at if self._mailbox.is_empty else NEVER

    def _take(self, message: ConversationMessage | None) -> None:
        now = trio.current_time()
        match message:
            case MessageArrived(sid=sid):
                self._newest_sid = sid
                gathering = self._gathering
                self._gathering = Gathering.begin(now) if gathering is None else gathering.another(now)
                self._look_at = self._gathering.over_at(self._rules.coalescing)
                self._typing_at = now
                self._wants_session = self._link.is_closed
                self._link.busy()
            case Close():
                self._closing = message
            case Nudge.LOOK:
                self._look_at = now
            case Nudge.REAP:
                idle_since = self._link.idle_since
                if idle_since is not None and now >= idle_since + self._rules.idle_close_s:
                    self._link.close(reason="idle")
            case Nudge.FINISH:
                self._is_finishing = True
            case Nudge.WAKE:
                self._is_woken = False
            case None:
                pass

    async def _advance(self) -> bool:
        """Do the one thing that is most due; False when nothing is."""
        now = trio.current_time()
        if self._closing is not None:
            await self._close_conversation(self._closing)
        elif self._unsaved_session is not None:
            await self._save_session(self._unsaved_session)
        elif self._tool_calls:
            await self._answer_tool(self._tool_calls.popleft())
        elif now >= self._typing_at:
            self._show_typing(now)
        elif self._opening is not None:
            return await self._advance_opening(self._opening)
        elif self._turn is not None:
            return await self._advance_turn(self._turn, now)
        elif self._belated:
            await self._send_belated()
        elif self._is_finishing:
            return False
        elif now >= self._look_at:
            await self._look(now)
        elif self._wants_session:
            await self._open_session()
        else:
            return False
        return True

    @property
    def _link_state(self) -> Link:
        if self._link.is_closed:
            return Link.CLOSED
        return Link.OPENING if self._link.session is None else Link.OPEN

    # --- what the agent's session says; called in its task, so nothing here may wait ---

    def _hear(self, event: AgentEvent | SessionEnd) -> None:
        now = trio.current_time()
        if isinstance(event, SessionOpened):
            self._unsaved_session, self._last_event_id = event.session, -1
        elif isinstance(event, SessionEnd):
            self._session_ended(event, now)
        else:
            self._agent_said(event, now)
        if not (isinstance(event, ReplyPart) and event.kind is not PartKind.STOP):
            self._wake()

    def _session_ended(self, end: SessionEnd, now: float) -> None:
        self._unsaved_session = None
        self._tool_calls.clear()
        if not end.may_retry:
            self._world.alerts.raise_alert("agent_refused", f"the agent refuses sessions: {end.detail}")
            self._refusal = end
        if self._turn is not None:
            self._turn.session_ended(end, now)

    def _agent_said(self, event: AgentEvent, now: float) -> None:
        if isinstance(event, ToolCalled):
            self._tool_calls.append(event)
        event_id = getattr(event, "event_id", None)
        is_news = event_id is None or event_id > self._last_event_id
        if self._turn is not None and self._turn.is_said:
            self._turn.hear(event, now)
        elif isinstance(event, AgentReplied) and is_news and now < self._belated_until:
            # The answer had counted as complete, and was not.
            self._belated.append(event.text)
        if event_id is not None:
            self._last_event_id = max(self._last_event_id, event_id)

    def _wake(self) -> None:
        if not self._is_woken:
            try:
                self._mailbox.post(Nudge.WAKE)
            except MailboxFullError:
                # Whatever fills the mailbox wakes the actor just as well.
                return
            self._is_woken = True

    # --- the store ---

    async def _look(self, now: float) -> None:
        work = await self._store.work(self._person_id)
        self._conversation_id = work.conversation_id
        self._look_at = NEVER
        if work.due_calls:
            await self._begin_opening(work.due_calls[0])
            self._look_at = now
        elif self._gathering is not None and now < self._gathering.over_at(self._rules.coalescing):
            self._look_at = self._gathering.over_at(self._rules.coalescing)
        else:
            self._begin_turn(work, now)

    async def _context(self) -> PersonContext | None:
        context = await self._store.context(self._person_id, messages_max=self._rules.history_messages)
        if context is not None:
            self._conversation_id = context.conversation_id
            self._answer_template = self._template(Purpose.ANSWER, facts_of(context))
        return context

    def _template(self, purpose: Purpose, facts: CallFacts) -> Template | None:
        """What stands for a message of this purpose where the person's window is closed."""
        sid = self._rules.template_sids.get(purpose)
        if not sid:
            return None
        try:
            return Template(sid=sid, variables=self._world.texts.render_template_variables(purpose, facts))
        except TextError as error:
            self._world.alerts.raise_alert(f"text_{purpose.value}", f"a template variable failed: {error}")
            return None

    async def _save_session(self, session: AgentSession) -> None:
        self._unsaved_session = None
        if self._conversation_id is not None:
            await self._store.save_session(
                self._conversation_id, agent_conversation_id=session.conversation_id
            )
        _log.info("agent session opened", agent_conversation_id=session.conversation_id)
        self._world.alerts.settle("agent_refused")
        if self._turn is None and self._gathering is None:
            self._link.idle()

    async def _close_conversation(self, close: Close) -> None:
        self._closing = None
        self._turn = self._opening = self._gathering = None
        self._typing_at = self._look_at = NEVER
        self._wants_session = False
        self._link.close(reason="conversation closed")
        work = await self._store.work(self._person_id)
        if work.conversation_id is not None:
            await self._store.close(work.conversation_id, now=self._world.clock.now())
            _log.info("conversation closed", conversation_id=work.conversation_id)
        close.done.give(work.conversation_id is not None)

    # --- the session ---

    async def _open_session(self) -> None:
        self._wants_session = False
        context = await self._context()
        if context is None:
            # Closed behind our back: there is nobody to talk to.
            self._turn = None
        elif self._link.is_closed:
            self._link.open(self._nursery, session_plan(context, now=self._world.clock.now()))

    async def _answer_tool(self, call: ToolCalled) -> None:
        session = self._link.session
        if session is None or not call.expects_response:
            return
        _log.warning("agent called an unknown tool", tool=call.name)
        try:
            await session.answer_tool(call.call_id, f"unknown tool: {call.name}", is_error=True)
        except SessionLostError:
            return  # its end is on the way
        if self._turn is not None:
            self._turn.tool_answered(call.call_id)

    def _show_typing(self, now: float) -> None:
        self._typing_at = now + TYPING_EVERY_S
        if self._newest_sid is not None:
            self._nursery.start_soon(
                self._world.messaging.show_typing, self._newest_sid, name="typing indicator"
            )

    # --- a turn ---

    def _begin_turn(self, work: Work, now: float) -> None:
        began_at = self._gathering.first_at if self._gathering is not None else now
        self._gathering = None
        if not work.pending:
            self._end_turn()
            return
        self._turn_failures = work.turn_failures
        self._newest_sid = work.pending[-1].sid
        if self._typing_at == NEVER:
            self._typing_at = now
        self._link.busy()
        self._turn = TurnInFlight(
            turn=Turn(messages=work.pending),
            rules=self._rules.turn,
            began_at=began_at,
            jitter=random.random(),  # noqa: S311 - spreads retries, guards nothing
        )
        if self._refusal is not None:
            # The session that was opened ahead for this turn was refused; asking again changes nothing.
            self._turn.session_ended(self._refusal, now)
            self._refusal = None

    def _end_turn(self) -> None:
        self._turn = self._refusal = None
        self._wants_session = False
        if self._gathering is None:
            self._typing_at = NEVER
            self._link.idle()

    async def _advance_turn(self, turn: TurnInFlight, now: float) -> bool:
        match turn.next_step(now, self._link_state):
            case Step.WAIT:
                return False
            case Step.OPEN:
                await self._open_session()
            case Step.SAY:
                await self._say(turn, now)
            case Step.REPLACE:
                _log.warning("agent is silent")
                self._link.close(reason="silent")
                turn.session_was_silent(now)
            case Step.COMMIT:
                await self._commit(turn, now)
            case Step.GIVE_UP:
                await self._give_up(turn, now)
        return True

    async def _say(self, turn: TurnInFlight, now: float) -> None:
        session = self._link.session
        if session is None:
            return
        turn.said(now, after_event_id=self._last_event_id)
        try:
            await session.say(turn.turn.text)
        except SessionLostError:
            _log.info("session lost while speaking")  # its end is on the way

    async def _commit(self, turn: TurnInFlight, now: float) -> None:
        pieces = split("\n\n".join(turn.answer))
        is_new = await self._store.answer(
            self._require_conversation(),
            turn.turn.message_ids,
            self._answer(turn.turn.address, pieces),
            now=self._world.clock.now(),
        )
        if is_new and pieces:
            self._world.outbox_due(self._person_id)
        self._belated_until = now + LLM_TIMEOUT_S if turn.completes_by_silence else 0.0
        self._world.metrics.turn_finished("answered" if pieces else "no_words", now - turn.began_at)
        self._world.alerts.settle("agent_unanswered")
        self._end_turn()

    async def _give_up(self, turn: TurnInFlight, now: float) -> None:
        rules = self._rules
        wait_s = min(rules.failed_turn_retry_s * 2**self._turn_failures, rules.failed_turn_retry_max_s)
        at = self._world.clock.now()
        await self._store.defer_turn(
            self._require_conversation(),
            self._answer(turn.turn.address, [self._world.texts.fallback] if self._turn_failures == 0 else []),
            retry_at=at + timedelta(seconds=wait_s),
            now=at,
        )
        self._world.outbox_due(self._person_id)
        self._world.alerts.raise_alert(
            "agent_unanswered", "the agent left messages unanswered; they are tried again"
        )
        self._world.metrics.turn_finished("failed", now - turn.began_at)
        self._link.close(reason="turn given up")
        self._end_turn()

    async def _send_belated(self) -> None:
        pieces = split("\n\n".join(self._belated))
        self._belated.clear()
        context = await self._context()
        if context is not None and context.address is not None:
            answer = self._answer(context.address, pieces)
            await self._store.add_answer(context.conversation_id, answer, now=self._world.clock.now())
            self._world.outbox_due(self._person_id)

    def _answer(self, address: str, pieces: Sequence[str]) -> Answer:
        return Answer(address=address, pieces=pieces, template=self._answer_template)

    def _require_conversation(self) -> int:
        if self._conversation_id is None:
            raise RuntimeError("a turn without a conversation")
        return self._conversation_id

    # --- the first message after a call ---

    async def _begin_opening(self, call_id: str) -> None:
        context = await self._context()
        call = next((c for c in context.calls if c.id == call_id), None) if context is not None else None
        if context is None or call is None or context.address is None:
            await self._store.drop_opening(call_id, reason="nobody to write to")
            return
        opening = await self._write_opening(context, call, context.address)
        if opening is None:
            return
        if not self._rules.opens_socket_at_call_end or call.outcome is not CallOutcome.COMPLETED:
            await self._queue_opening(opening)
        elif self._link.is_closed and self._world.budget.is_exhausted:
            await self._queue_opening(evolve(opening, note=NOTE_WITHOUT_AGENT))
        else:
            if self._link.is_closed:
                plan = session_plan(context, now=self._world.clock.now(), opening=opening.text)
                self._link.open(self._nursery, plan)
            self._opening = opening

    async def _write_opening(self, context: PersonContext, call: KnownCall, address: str) -> Opening | None:
        facts = facts_of(context, call)
        try:
            text = self._world.texts.render_follow_up(call.outcome, facts)
        except TextError as error:
            self._world.alerts.raise_alert("text_opening", f"an opening could not be written: {error}")
            text = None
        if text is None:
            await self._store.drop_opening(call.id, reason=f"no text for the outcome {call.outcome.value}")
            return None
        return Opening(
            call_id=call.id,
            conversation_id=context.conversation_id,
            address=address,
            text=text,
            template=self._template(Purpose.OPENING, facts),
        )

    async def _advance_opening(self, opening: Opening) -> bool:
        """Send the opening as soon as it is known whether there is a session for the talk that follows."""
        if self._link_state is Link.OPENING:
            return False
        self._opening = self._refusal = None
        note = None if self._link_state is Link.OPEN else NOTE_WITHOUT_AGENT
        await self._queue_opening(evolve(opening, note=note))
        return True

    async def _queue_opening(self, opening: Opening) -> None:
        if await self._store.queue_opening(opening, now=self._world.clock.now()):
            _log.info("opening queued", call_id=opening.call_id, note=opening.note)
            self._world.outbox_due(self._person_id)
