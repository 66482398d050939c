"""The conversation actor: one person's talk with the agent on WhatsApp.

It holds nothing that the store does not hold: what waits for an answer, which calls want an opening and what
was said stand there. Its mailbox only tells it to look. A crash at any moment costs the open socket and
nothing else; the next life, or the next look at the store, goes on where the last commit left off.

The actor never waits for the agent: every message, every event of the session and every deadline wakes it; it
does what is due, one thing at a time, and sleeps until the next one.
"""

import structlog
import trio
from attrs import evolve

from actors.agent_events import AgentEvent, PartKind, ReplyPart, SessionEnd, SessionOpened
from actors.conversation.agent_link import AgentLink
from actors.conversation.context import facts_of, session_plan
from actors.conversation.delivery import Delivery
from actors.conversation.inflow import Inflow
from actors.conversation.mail import Close, ConversationMessage, MessageArrived, Nudge, Waker
from actors.conversation.opening import Openings
from actors.conversation.put_off import PutOff
from actors.conversation.turn import BelatedReplies, Turn
from actors.conversation.turn_in_flight import Link, Step, TurnInFlight
from actors.conversation.turn_text import turn_text
from actors.conversation.typing_indicator import TypingIndicator
from actors.conversation.wording import Wording
from actors.conversation.world import ConversationRules, ConversationWorld
from actors.messages import Purpose, Template
from actors.ports import Opening, PersonContext, StoreUnavailableError, Work
from actors.runtime.fault_points import FaultPoint, reached
from actors.runtime.mailbox import Mailbox

_log = structlog.get_logger(__name__)

NEVER = float("inf")
NOTE_WITHOUT_AGENT = "sent without agent conversation"


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
        self._wording = Wording(world.texts, rules.template_sids, world.alerts)
        self._delivery = Delivery(person_id, world, rules)
        self._openings = Openings(world, rules, self._wording)
        self._link = AgentLink(world.sessions, world.access, world.metrics, self._hear)
        self._nursery: trio.Nursery
        self._conversation_id: int | None = None
        self._answer_template: Template | None = None
        self._refusal: SessionEnd | None = None
        self._turn: TurnInFlight | None = None
        self._turn_failures = 0
        self._put_off = PutOff()
        self._opening: Opening | None = None
        self._inflow = Inflow(rules.coalescing)
        self._typing = TypingIndicator(world.messaging)
        self._has_looked = False
        self._look_at = NEVER
        self._retire_at = NEVER
        self._wants_session = False
        self._belated = BelatedReplies()
        self._waker = Waker(mailbox)
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
        moments = [self._typing.due_at]
        if self._turn is not None:
            moments.append(self._turn.next_moment(self._link.state))
        elif self._opening is None:
            moments += [self._look_at, self._retire_at]
        return min(moments)

    def _update_retirement(self) -> float:
        """When this actor may end; postponed for as long as there is anything to wait for."""
        is_busy = self._turn is not None or self._opening is not None
        if self._is_finishing and not is_busy:
            return 0.0
        if is_busy or self._inflow.is_gathering or not self._link.is_closed:
            self._retire_at = NEVER
        elif self._retire_at == NEVER:
            self._retire_at = trio.current_time() + self._rules.retire_after_s
        return self._retire_at

    def _take(self, message: ConversationMessage | None) -> None:
        now = trio.current_time()
        match message:
            case MessageArrived(sid=sid):
                self._gather(sid, now)
            case Close():
                self._closing = message
            case Nudge.LOOK:
                self._look_at = now
            case Nudge.RETRY:
                self._look_at, self._put_off = now, PutOff()
            case Nudge.REAP:
                idle_since = self._link.idle_since
                if idle_since is not None and now >= idle_since + self._rules.idle_close_s:
                    self._link.close(reason="idle")
            case Nudge.FINISH:
                self._is_finishing = True
            case Nudge.WAKE:
                self._waker.woken()
            case None:
                pass

    def _gather(self, sid: str, now: float) -> None:
        if not self._inflow.is_gathering:
            self._wants_session = self._link.is_closed
        self._inflow.arrived(sid, now)
        if self._inflow.begins_to_hold(now):
            _log.warning("messages are held back", per_minute_max=self._rules.coalescing.per_minute_max)
            self._world.metrics.flood_began()
        self._look_at = self._inflow.due_at
        self._typing.wanted(sid, now)
        self._link.busy()

    async def _advance(self) -> bool:
        """Do the one thing that is most due; False when nothing is."""
        now = trio.current_time()
        if self._closing is not None:
            await self._close_conversation(self._closing)
        elif self._link.has_unsaved_session:
            await self._save_session()
        elif self._link.has_tool_calls:
            await self._answer_tool()
        elif now >= self._typing.due_at:
            self._typing.show(self._nursery, now)
        elif not self._belated.is_empty:
            await self._send_belated()
        elif self._opening is not None:
            return await self._advance_opening(self._opening)
        elif self._turn is not None:
            return await self._advance_turn(self._turn, now)
        elif self._is_finishing:
            return False
        elif now >= self._look_at:
            await self._look(now)
        elif self._wants_session:
            await self._open_session()
        else:
            return False
        return True

    # --- what the agent's session says; called in its task, so nothing here may wait ---

    def _hear(self, event: AgentEvent | SessionEnd) -> None:
        now = trio.current_time()
        if isinstance(event, SessionOpened):
            self._belated.forget()
        elif isinstance(event, SessionEnd):
            self._session_ended(event, now)
        elif self._turn is not None and self._turn.is_said:
            self._turn.hear(event, now)
        else:
            self._belated.hear(event, now)
        if not (isinstance(event, ReplyPart) and event.kind is not PartKind.STOP):
            self._waker.wake()

    def _session_ended(self, end: SessionEnd, now: float) -> None:
        if self._turn is not None:
            self._turn.session_ended(end, now)
        elif self._inflow.is_gathering and not end.may_retry:
            # The session was opened ahead for the turn that comes next.
            self._refusal = end

    # --- the store ---

    async def _look(self, now: float) -> None:
        work = await self._store.work(self._person_id)
        self._belong_to(work.conversation_id)
        self._look_at = NEVER
        if not self._has_looked:
            self._has_looked = True
            self._inflow.recall(work.pending, now, wall=self._world.clock.now())
        if work.due_calls:
            await self._begin_opening(work.due_calls[0])
            self._look_at = now
        elif self._inflow.is_gathering and now < self._inflow.due_at:
            self._look_at = self._inflow.due_at
        else:
            self._begin_turn(work, now)

    async def _context(self) -> PersonContext | None:
        context = await self._store.context(self._person_id, messages_max=self._rules.history_messages)
        if context is not None:
            self._belong_to(context.conversation_id)
            self._answer_template = self._wording.template(Purpose.ANSWER, facts_of(context))
        return context

    def _belong_to(self, conversation_id: int | None) -> None:
        self._conversation_id = conversation_id
        structlog.contextvars.bind_contextvars(conversation_id=conversation_id)

    async def _save_session(self) -> None:
        session = self._link.take_unsaved_session()
        if session is None:
            return
        if self._conversation_id is not None:
            reached(FaultPoint.SESSION_NOT_SAVED)
            await self._store.save_session(
                self._conversation_id, agent_conversation_id=session.conversation_id
            )
            reached(FaultPoint.SESSION_SAVED)
        _log.info("agent session opened", agent_conversation_id=session.conversation_id)
        if self._turn is None and not self._inflow.is_gathering:
            self._link.idle()

    async def _close_conversation(self, close: Close) -> None:
        self._closing = None
        self._opening = self._refusal = None
        self._inflow.take(trio.current_time())
        self._end_turn()
        self._link.close(reason="conversation closed")
        try:
            work = await self._store.work(self._person_id)
            if work.conversation_id is not None:
                await self._store.close(work.conversation_id, now=self._world.clock.now())
                _log.info("conversation closed", conversation_id=work.conversation_id)
            close.done.give(work.conversation_id is not None)
        finally:
            close.done.abandon()

    # --- the session ---

    async def _open_session(self) -> None:
        self._wants_session = False
        context = await self._context()
        if context is None:
            # Closed behind our back: there is nobody to talk to.
            self._end_turn()
        elif self._link.is_closed:
            reached(FaultPoint.SESSION_NOT_OPENED)
            self._link.open(self._nursery, session_plan(context, now=self._world.clock.now()))

    async def _answer_tool(self) -> None:
        call = self._link.take_tool_call()
        if call is None or not call.expects_response:
            return
        _log.warning("agent called an unknown tool", tool=call.name)
        if self._turn is not None:
            self._turn.tool_answered(call.call_id)
        await self._link.answer_tool(call.call_id, f"unknown tool: {call.name}", is_error=True)

    # --- a turn ---

    def _begin_turn(self, work: Work, now: float) -> None:
        began_at = self._inflow.take(now)
        refusal, self._refusal = self._refusal, None
        ids = [message.id for message in work.pending]
        if not ids or self._put_off.covers(ids, now):
            self._end_turn()
            return
        self._turn_failures = work.turn_failures
        self._typing.wanted(work.pending[-1].sid, now)
        self._link.busy()
        self._turn = TurnInFlight(
            turn=Turn(messages=work.pending),
            rules=self._rules.turn,
            began_at=began_at,
            jitter=self._world.jitter(),
        )
        if refusal is not None:
            # Asking again changes nothing.
            self._turn.session_ended(refusal, now)

    def _end_turn(self) -> None:
        self._turn = None
        if self._inflow.is_gathering:
            self._typing.answered(trio.current_time())
        else:
            self._typing.unwanted()
            self._link.idle()

    async def _advance_turn(self, turn: TurnInFlight, now: float) -> bool:
        match turn.next_step(now, self._link.state):
            case Step.WAIT:
                return False
            case Step.OPEN:
                await self._open_session()
            case Step.SAY:
                await self._say(turn, now)
            case Step.REPLACE:
                _log.warning("agent is silent")
                self._link.close(reason="silent")
                turn.session_was_silent()
            case Step.COMMIT:
                await self._commit(turn, now)
            case Step.GIVE_UP:
                await self._give_up(turn, now)
        return True

    async def _say(self, turn: TurnInFlight, now: float) -> None:
        turn.said(now, after_event_id=self._link.last_event_id)
        reached(FaultPoint.TURN_NOT_SAID)
        limit, left_out = self._rules.turn_text_max, self._world.texts.left_out
        if await self._link.say(turn_text(turn.turn.texts, max_characters=limit, left_out=left_out)):
            reached(FaultPoint.TURN_SAID)

    async def _commit(self, turn: TurnInFlight, now: float) -> None:
        # What is heard from here on is no part of this answer, also while it is being stored.
        self._turn = None
        if turn.completes_by_silence:
            self._belated.expect(now, after_event_id=self._link.last_event_id)
        await self._delivery.answer(self._require_conversation(), turn, self._answer_template, now=now)
        self._end_turn()

    async def _give_up(self, turn: TurnInFlight, now: float) -> None:
        retry_s = await self._delivery.defer(
            self._require_conversation(), turn, self._answer_template, failures=self._turn_failures, now=now
        )
        self._put_off = PutOff(frozenset(turn.turn.message_ids), until=now + retry_s)
        self._link.close(reason="turn given up")
        self._end_turn()

    async def _send_belated(self) -> None:
        texts = self._belated.take()
        context = await self._context()
        if context is not None:
            await self._delivery.add(context, texts, self._answer_template)

    def _require_conversation(self) -> int:
        if self._conversation_id is None:
            raise RuntimeError("a turn without a conversation")
        return self._conversation_id

    # --- the first message after a call ---

    async def _begin_opening(self, call_id: str) -> None:
        planned = await self._openings.plan(await self._context(), call_id)
        if planned is None:
            return
        # A session that is open knows neither of this call nor of the message that follows it.
        had_seat = not self._link.is_closed
        self._link.close(reason="a call has ended")
        plan = planned.session
        if plan is None:
            await self._delivery.opening(planned.opening)
        elif not self._world.access.takes_ahead(plan.agent_id, has_seat=had_seat):
            await self._delivery.opening(evolve(planned.opening, note=NOTE_WITHOUT_AGENT))
        else:
            self._link.open(self._nursery, plan, is_ahead=True)
            self._opening = planned.opening

    async def _advance_opening(self, opening: Opening) -> bool:
        """Send the opening as soon as it is known whether there is a session for the talk that follows."""
        if self._link.state is Link.OPENING:
            return False
        self._opening = None
        note = None if self._link.state is Link.OPEN else NOTE_WITHOUT_AGENT
        await self._delivery.opening(evolve(opening, note=note))
        return True
