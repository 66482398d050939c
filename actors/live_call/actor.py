"""The actor of one live call: takes what happens, in order, and has done what follows from it.

The state is stored before anything is done about it. A database that is away does not cost a caller the call: it goes
on, and the state is stored with the next event.
"""

import structlog
import trio
from attrs import evolve

from actors.agent_events import SessionEndReason
from actors.live_call import effects as do
from actors.live_call import events
from actors.live_call.agent_side import AgentSide
from actors.live_call.effects import Answer, Effect
from actors.live_call.events import CallEvent, Source
from actors.live_call.hands import RETRY_FIRST_S, RETRY_MAX_S, Hands
from actors.live_call.line import (
    AgentSpoke,
    Heard,
    KeyPressed,
    Line,
    LineClosed,
    LineEvent,
    SessionBegan,
    SessionEnded,
    ToolAsked,
)
from actors.live_call.mail import (
    Admit,
    Answered,
    AskForAdvisor,
    AwaitSid,
    CallMessage,
    Happened,
    OnLine,
    Question,
)
from actors.live_call.ports import LiveCall
from actors.live_call.records import Records
from actors.live_call.state import Ending, LegStage, Phase, Session
from actors.live_call.step import step
from actors.live_call.world import LiveCallRules, LiveCallWorld
from actors.ports import StoreUnavailableError
from actors.runtime.backoff import doubling_s
from actors.runtime.mailbox import Mailbox, MailboxFullError, Reply

_log = structlog.get_logger(__name__)

LINGER_S = 30.0
"""An ended call takes late news for so long; after that a message brings its actor back."""

ADVISOR_TOOL = "request_advisor"
MESSAGE_TOOL = "take_message"
ADVISOR_KEY = "0"

_NOT_STORED = "live_call_not_stored"
_AGENT_REFUSED = "voice_agent_refused"
_PARAMETER_MAX_CHARACTERS = 300


class LiveCallActor:
    """One live call, from its first document until the last leg is over.

    Runs until the call has ended, everything that was asked for is done, and no news has come for `LINGER_S`.
    """

    def __init__(
        self,
        live_call_id: int,
        mailbox: Mailbox[CallMessage],
        *,
        world: LiveCallWorld,
        rules: LiveCallRules,
    ) -> None:
        self._id = live_call_id
        self._mailbox = mailbox
        self._world = world
        self._rules = rules
        self._sids_awaited: list[AwaitSid] = []
        self._is_stored = True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until the call is over. Cancellation leaves the call to the next life, which finds it in the store."""
        task_status.started()
        call = await self._load()
        if call is None:
            self._answer_nobody()
            return
        if not call.state.is_over:
            self._world.active.add(self._id)
        try:
            await self._live(call)
        finally:
            self._world.active.remove(self._id)

    async def _load(self) -> LiveCall | None:
        """The call as it stands. Waits for a database that is away: an actor that crashed of it would be parked, and its
        caller forgotten for so long.
        """
        attempt = 0
        while True:
            try:
                return await self._world.store.load(self._id)
            except StoreUnavailableError as problem:
                _log.warning("a live call cannot be loaded", live_call_id=self._id, detail=str(problem))
            await trio.sleep(doubling_s(RETRY_FIRST_S, attempt, max_s=RETRY_MAX_S))
            attempt += 1

    async def _live(self, call: LiveCall) -> None:
        async with trio.open_nursery() as nursery:
            self._hands = Hands(
                call=call, world=self._world, rules=self._rules, nursery=nursery, post=self._post
            )
            self._records = Records(self._hands)
            self._agent = AgentSide(hands=self._hands, records=self._records)
            nursery.start_soon(self._watch_caller, name=f"caller of call {self._id}")
            self._world.advisors.engage(self._id, call.state.engaged)
            await self._take_up()
            while (message := await self._next()) is not None:
                await self._take(message)
            self._world.advisors.engage(self._id, None)
            nursery.cancel_scope.cancel(reason="the call is over")

    def _answer_nobody(self) -> None:
        """There is no such call: whoever asks it something waits no longer."""
        while (message := self._mailbox.receive_nowait()) is not None:
            if isinstance(message, Question):
                message.reply.abandon()

    @property
    def _call(self) -> LiveCall:
        return self._hands.call

    async def _next(self) -> CallMessage | None:
        """The next message; None when the call is over and no more are awaited."""
        if not self._call.state.is_over:
            return await self._mailbox.receive()
        while True:
            with trio.move_on_after(LINGER_S):
                return await self._mailbox.receive()
            if not self._hands.busy:
                return None

    async def _take_up(self) -> None:
        """Go on with a call that had begun before this life."""
        call = self._call
        self._records.carry_on()
        for leg in call.state.legs:
            if leg.is_unwanted and not leg.is_over and leg.sid is not None:
                self._hands.carry_out(do.EndLeg(leg.sid))
        if call.state.is_over or not call.state.legs:
            return
        line = self._world.lines.get(self._id)
        has_agent = line is not None and line[1].has_agent
        _log.info("live call taken up", live_call_id=self._id, phase=call.state.phase.value)
        await self._happen(await self._hands.ask_all(has_stream=line is not None, has_agent=has_agent))

    async def _take(self, message: CallMessage) -> None:
        is_taken = False
        try:
            await self._take_in(message)
            is_taken = True
        finally:
            if not is_taken and isinstance(message, Question):
                # We crash, or are stopped: whoever waits may ask the next life.
                message.reply.abandon()

    async def _take_in(self, message: CallMessage) -> None:
        match message:
            case Happened(event, reply):
                await self._happen(event, reply)
            case Admit(leg, line, reply):
                await self._admit(leg, line, reply)
            case AskForAdvisor():
                await self._ask_for_advisor(message)
            case OnLine(leg, event):
                await self._on_line(leg, event)
            case AwaitSid():
                self._sids_awaited.append(message)
                self._tell_sids()
            case _:
                await self._look()

    async def _look(self) -> None:
        """A nudge: see to what nobody may have told us, and to what could not be done before."""
        if not self._is_stored:
            await self._save()
        state = self._call.state
        agent = state.agent
        if agent is None or not agent.reached(LegStage.ANSWERED):
            return
        line = self._world.lines.get(self._id)
        if line is None or line[0] != agent.ordinal:
            await self._happen(events.StreamClosed(agent.ordinal))
        elif state.session is Session.OPEN and not line[1].has_agent:
            await self._happen(events.SessionEnded(SessionEndReason.LOST))

    async def _happen(self, event: CallEvent, reply: Reply[Answered] | None = None) -> None:
        before = self._call.state
        stepped = step(before, event, self._rules.steps)
        self._hands.call = evolve(self._call, state=stepped.state)
        if stepped.state is not before and stepped.state != before:
            if stepped.state.phase is not before.phase:
                _log.info("live call", live_call_id=self._id, phase=stepped.state.phase.value)
            # Before anything is waited for: another call may choose in this moment.
            self._world.advisors.engage(self._id, stepped.state.engaged)
            await self._save()
        elif reply is not None and not self._is_stored:
            # Whoever tells a thing once more does so because it could not be stored; the rest of it changes nothing.
            await self._save()
        if stepped.state.is_over:
            self._hands.let_go()
        for effect in stepped.effects:
            self._carry_out(effect)
        self._tell_sids()
        if reply is not None:
            whisper = self._whisper(stepped.answer)
            reply.give(Answered(stepped.answer, self._call, whisper, is_stored=self._is_stored))

    def _whisper(self, answer: Answer) -> str:
        advisor = self._call.state.advisor
        return self._records.whisper(advisor.ordinal) if answer is Answer.WHISPER and advisor else ""

    def _tell_sids(self) -> None:
        """Answer those whose leg is known, or over."""
        for asked in tuple(self._sids_awaited):
            leg = self._call.state.leg(asked.leg)
            if leg is None or leg.sid is not None or leg.is_over:
                asked.reply.give(leg.sid if leg is not None else None)
                self._sids_awaited.remove(asked)

    async def _save(self) -> None:
        state = self._call.state
        self._is_stored = False
        try:
            with trio.fail_after(self._rules.save_s):
                await self._world.store.save(self._id, state, now=self._world.clock.now())
        except StoreUnavailableError as error:
            problem = str(error)
        except trio.TooSlowError:
            problem = "no answer in time"
        else:
            self._is_stored = True
            self._world.alerts.settle(_NOT_STORED)
            return
        self._world.alerts.raise_alert(_NOT_STORED, f"live calls go on and cannot be stored: {problem}")

    async def _watch_caller(self) -> None:
        """The news that the caller has gone may be lost, and nobody else tells."""
        while not self._call.state.is_over:
            await trio.sleep(self._rules.caller_check_s)
            await self._hands.check_caller()
            await self._hands.check_advisor()

    def _post(self, event: CallEvent) -> None:
        try:
            self._mailbox.post(Happened(event))
        except MailboxFullError:
            _log.error("a live call's mailbox is full", live_call_id=self._id, lost=type(event).__name__)

    # --- the stream ---

    async def _admit(self, leg: int, line: Line, reply: Reply[Answered]) -> None:
        if reply.is_settled:
            # Whoever opened the stream was refused meanwhile, and closes it.
            return
        before = self._world.lines.get(self._id)
        self._world.lines.put(self._id, leg, line)
        stepped = step(self._call.state, events.StreamOpened(leg), self._rules.steps)
        if stepped.answer is not Answer.ADMITTED:
            self._world.lines.drop(self._id, leg)
            if before is not None:
                self._world.lines.put(self._id, *before)
            reply.give(Answered(stepped.answer, self._call))
            return
        await self._happen(events.StreamOpened(leg), reply)

    async def _on_line(self, leg: int, event: LineEvent) -> None:
        line = self._world.lines.get(self._id)
        if line is None or line[0] != leg:
            return
        match event:
            case LineClosed():
                self._world.lines.drop(self._id, leg)
                self._hands.start(self._hands.check_caller, "look at the caller")
                await self._happen(events.StreamClosed(leg))
            case SessionBegan(conversation_id):
                self._world.alerts.settle(_AGENT_REFUSED)
                await self._happen(events.SessionBegan(conversation_id))
            case SessionEnded(end):
                _log.info(
                    "agent session ended", live_call_id=self._id, reason=end.reason.value, code=end.code
                )
                if not end.may_retry:
                    self._world.alerts.raise_alert(
                        _AGENT_REFUSED, f"the voice agent refuses sessions: {end.detail}"
                    )
                await self._happen(events.SessionEnded(end.reason))
            case ToolAsked():
                await self._on_tool(event, line[1])
            case KeyPressed(key) if key == ADVISOR_KEY:
                await self._ask_for_advisor(AskForAdvisor(source=Source.KEY, reason=""))
            case Heard():
                if (heard := self._agent.heard(event)) is not None:
                    await self._happen(events.Heard(heard))
            case AgentSpoke():
                self._agent.begins_to_speak()
                await self._happen(events.AgentSpoke())
            case _:
                return

    async def _on_tool(self, asked: ToolAsked, line: Line) -> None:
        self._agent.asked(asked)
        values = {name: _text(asked.parameters.get(name)) for name in ("reason", "advisor", "topic")}
        if asked.name == ADVISOR_TOOL:
            await self._ask_for_advisor(
                AskForAdvisor(
                    source=Source.TOOL,
                    reason=values["reason"],
                    name=values["advisor"],
                    topic=values["topic"],
                    tool_call_id=asked.call_id,
                )
            )
        elif asked.name == MESSAGE_TOOL:
            await self._happen(events.MessageAsked(asked.call_id))
        elif asked.expects_response:
            line.answer_tool(asked.call_id, f"there is no tool {asked.name!r} in this call", is_error=True)

    async def _ask_for_advisor(self, asked: AskForAdvisor) -> None:
        state = self._call.state
        chosen = None
        # Whose turn it is does not change where nobody will be called.
        if state.phase is Phase.WITH_AGENT:
            chosen = self._world.advisors.choose(
                self._id, name=asked.name, topic=asked.topic, tried=state.tried
            )
        if chosen is not None:
            # Before anything is waited for: another call may choose in this moment.
            self._world.advisors.engage(self._id, chosen)
        event = events.AdvisorAsked(
            source=asked.source, chosen=chosen, reason=asked.reason, tool_call_id=asked.tool_call_id
        )
        await self._happen(event, asked.reply)

    # --- what a step asks for ---

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case do.OpenSession(opening):
                self._agent.open(opening)
            case do.CloseSession():
                self._agent.close()
            case do.Music(on):
                self._agent.music(on=on)
            case do.Tell():
                self._agent.tell(effect)
            case do.AnswerTool():
                self._agent.answer_tool(effect)
            case do.AwaitHeard(what, is_next):
                self._agent.await_heard(what, is_next=is_next)
            case do.Wake():
                self._hands.nursery.start_soon(self._wait, effect, name=f"{effect.timer} of call {self._id}")
            case do.CountTransfer(outcome):
                self._world.metrics.transfer_ended(outcome)
            case do.Finish(ending):
                self._count_end(ending)
                self._records.carry_out(effect)
            case do.PrepareWhisper() | do.KeepSession() | do.KeepRecording():
                self._records.carry_out(effect)
            case _:
                self._hands.carry_out(effect)

    async def _wait(self, effect: do.Wake) -> None:
        await trio.sleep(effect.after_s)
        self._post(events.TimeUp(effect.timer, effect.leg))

    def _count_end(self, ending: Ending) -> None:
        self._world.active.remove(self._id)
        seconds = (self._world.clock.now() - self._call.started_at).total_seconds()
        _log.info("live call ended", live_call_id=self._id, ending=ending.value, seconds=round(seconds))
        self._world.metrics.live_call_ended(ending.value, seconds)


def _text(value: object) -> str:
    return value.strip()[:_PARAMETER_MAX_CHARACTERS] if isinstance(value, str) else ""
