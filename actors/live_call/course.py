"""One step of a live call in the making: the state as it changes, and what is to be done.

Here stand the moves that several events lead to: bringing the agent, losing it, missing an advisor, ending.
"""

from attrs import define, evolve, field, frozen

from actors.live_call.effects import (
    Answer,
    CloseSession,
    CountTransfer,
    DialAgent,
    Effect,
    EndCaller,
    EndLeg,
    Finish,
    HoldCaller,
    Music,
    OpenSession,
    Place,
    SendCaller,
    Tell,
    Telling,
    Timer,
    Wake,
)
from actors.live_call.state import (
    Attempt,
    CallState,
    Ending,
    Leg,
    LegStage,
    Missed,
    Mode,
    Opening,
    Phase,
    Role,
    Session,
)

RETURNS_MAX = 1
"""How often a lost agent is put back in one call; then the menu."""

RESUMES_MAX = 3
"""How often restarted daemons take one call up again; then the menu."""

WITH_COMPANY = frozenset(
    {Phase.ARRIVING, Phase.WITH_AGENT, Phase.TRANSFERRING, Phase.WITH_ADVISOR, Phase.RECALLING}
)
"""The phases in which somebody is with the caller, or is being brought."""


@frozen(kw_only=True)
class CallRules:
    """The time limits of a live call, in seconds.

    Attributes:
        agent_join_s: for the agent's stream to open.
        caller_seen_s: for the caller to be seen in the room, before the agent begins all the same.
        dial_s: from an advisor's dial to the first ring.
        ring_s: for the advisor's telephone to ring.
        gate_s: from picking up to pressing 1.
        join_s: from there into the room.
        move_s: for the agent's sentence before the caller is moved (direct mode).
        leave_s: for the agent's sentence before it leaves the caller with the advisor.
        message_s: for the agent's sentence before a message is left.
        goodbye_s: for the agent's last words.
        grace_s: between a lost leg and what is done about it.
        call_max_s: for the whole call.
    """

    ring_s: float
    agent_join_s: float = 12.0
    caller_seen_s: float = 1.5
    dial_s: float = 15.0
    gate_s: float = 25.0
    join_s: float = 8.0
    move_s: float = 6.0
    leave_s: float = 10.0
    message_s: float = 10.0
    goodbye_s: float = 8.0
    grace_s: float = 0.5
    call_max_s: float = 3600.0


@define(eq=False)
class Course:
    state: CallState
    rules: CallRules
    effects: list[Effect] = field(factory=list)
    answer: Answer = Answer.NOTHING

    def do(self, *effects: Effect) -> None:
        self.effects.extend(effects)

    def set(self, **changes: object) -> None:
        self.state = evolve(self.state, **changes)  # type: ignore[arg-type]

    def put(self, leg: Leg) -> None:
        self.state = self.state.with_leg(leg)

    @property
    def is_conference(self) -> bool:
        return self.state.mode is Mode.CONFERENCE

    # --- legs ---

    def new_leg(self, role: Role, advisor: str = "") -> Leg:
        leg = Leg(ordinal=self.state.next_ordinal(), role=role, advisor=advisor)
        self.put(leg)
        return leg

    def drop(self, leg: Leg) -> None:
        """Want a leg no longer; what is not over is ended as soon as it can be named."""
        if leg.is_over:
            return
        has_own_leg = leg.role is Role.ADVISOR or self.is_conference
        stage = leg.stage if has_own_leg else LegStage.OVER
        self.put(evolve(leg, is_unwanted=True, stage=stage))
        if has_own_leg and leg.sid is not None:
            self.do(EndLeg(leg.sid))

    # --- the agent ---

    def bring_agent(self, *, is_asked_for: bool = False) -> None:
        """Bring the agent to the caller. `is_asked_for`: the caller's leg asks for its document this very moment."""
        leg = self.new_leg(Role.AGENT)
        if self.is_conference:
            self.do(DialAgent(leg.ordinal))
        else:
            self.set(has_moved=False, is_on_the_way=False)
            if not is_asked_for:
                self.do(SendCaller(Place.STREAM, leg.ordinal))
        self.do(Wake(Timer.AGENT, leg.ordinal, self.rules.agent_join_s))

    def open_session(self) -> None:
        self.set(session=Session.OPENING)
        self.do(OpenSession(self.state.opening))

    def end_agent(self) -> None:
        """The agent leaves, or is no use any more."""
        agent = self.state.agent
        if self.state.session is not Session.NONE:
            self.set(session=Session.NONE)
            self.do(CloseSession())
        if agent is not None:
            self.drop(agent)

    def hold(self) -> None:
        """Hold music for a caller who would hear nothing."""
        if self.is_conference and self.state.is_caller_there and not self.state.is_held:
            self.set(is_held=True)
            self.do(HoldCaller(on=True))

    def unhold(self) -> None:
        if self.state.is_held:
            self.set(is_held=False)
            self.do(HoldCaller(on=False))

    def recall(self, opening: Opening) -> None:
        """Let the agent come back, once it is clear that the caller is still there."""
        self.set(opening=opening, wants_message=False)
        if self.state.phase is not Phase.TRANSFERRING:
            self.set(phase=Phase.RECALLING)
        self.hold()
        self.do(Wake(Timer.GRACE, self.state.next_ordinal(), self.rules.grace_s))

    def may_return(self) -> bool:
        """Take the one return that there is; false when it was taken."""
        if self.state.returns >= RETURNS_MAX:
            return False
        self.set(returns=self.state.returns + 1)
        return True

    @property
    def reopening(self) -> Opening:
        """How a session begins that takes the place of a lost one."""
        if self.state.sessions and self.state.opening is Opening.FIRST:
            return Opening.RESUMED
        return self.state.opening

    def give_up_agent(self) -> None:
        """It will not be brought any more. Who waits for an advisor goes on waiting, with music."""
        self.end_agent()
        self.set(is_agent_given_up=True)
        if self.state.advisor is None:
            self.to_menu()
        else:
            self.wait_for_advisor()

    def wait_for_advisor(self) -> None:
        """Without the agent: with hold music, or the room's waiting music."""
        if self.is_conference:
            self.hold()
        else:
            self.move_to_room()

    # --- the caller ---

    def to_menu(self, *, is_asked_for: bool = False) -> None:
        """`is_asked_for` as for `bring_agent`."""
        self._leave_company(Phase.AT_MENU)
        self.set(is_agent_given_up=True)
        if not is_asked_for:
            self.send_caller()

    def to_voicemail(self) -> None:
        self._leave_company(Phase.AT_VOICEMAIL)
        self.set(was_at_voicemail=True)
        self.send_caller()

    def send_caller(self) -> None:
        """Send the caller to where its phase has it. May be done again until the leg has asked for its document."""
        place = {Phase.AT_MENU: Place.MENU, Phase.AT_VOICEMAIL: Place.VOICEMAIL}.get(
            self.state.phase, Place.ROOM
        )
        self.set(is_on_the_way=True)
        self.do(SendCaller(place))

    def _leave_company(self, phase: Phase) -> None:
        """The caller goes out of the room, which ends, or off the stream; hold ends with it."""
        self.end_agent()
        if (advisor := self.state.advisor) is not None:
            self.drop(advisor)
        self.set(phase=phase, is_held=False, is_caller_there=False)

    def move_to_room(self) -> None:
        """Direct mode: the caller goes to the room and hears its waiting music; the agent stays behind."""
        if self.is_conference or self.state.has_moved:
            return
        self.end_agent()
        self.set(has_moved=True)
        self.send_caller()

    # --- advisors ---

    def miss(self, leg: Leg, why: Missed) -> None:
        """The advisor was not reached: the agent goes on, and speaks of it."""
        self.drop(leg)
        attempt = Attempt(advisor=leg.advisor, missed=why)
        self.set(attempts=(*self.state.attempts, attempt), phase=Phase.WITH_AGENT)
        self.do(CountTransfer(why.value))
        agent = self.state.agent
        if self.state.is_agent_heard:
            self.do(Tell(Telling.ADVISOR_MISSED, advisor=leg.advisor, missed=why))
            return
        self.set(phase=Phase.RECALLING)
        if self.state.is_agent_given_up:
            self.to_menu()
        elif self.state.session is Session.OPENING:
            self.set(untold=why)
        else:
            self.set(opening=Opening.AFTER_MISSED)
            if agent is None:
                self.bring_agent()
            elif agent.reached(LegStage.ANSWERED):
                self.open_session()

    def joined(self, leg: Leg) -> None:
        """The advisor is with the caller; the agent says so and leaves."""
        self.put(leg.moved(LegStage.IN_ROOM))
        attempt = Attempt(advisor=leg.advisor, missed=None)
        self.set(phase=Phase.WITH_ADVISOR, had_advisor=True, attempts=(*self.state.attempts, attempt))
        self.do(CountTransfer("accepted"), Music(on=False))
        self.unhold()
        agent = self.state.agent
        if agent is not None and self.state.is_agent_heard:
            self.do(
                Tell(Telling.ADVISOR_JOINED, advisor=leg.advisor, heard=Timer.LEAVE),
                Wake(Timer.LEAVE, agent.ordinal, self.rules.leave_s),
            )
        else:
            self.end_agent()

    # --- the end ---

    def end_caller(self) -> None:
        self.set(phase=Phase.ENDING)
        self.do(EndCaller())

    def end(self) -> None:
        """The caller is gone, and so is everybody."""
        ending = self._ending()
        if self.state.advisor is not None and self.state.phase is Phase.TRANSFERRING:
            self.do(CountTransfer("caller_left"))
        self.set(session=Session.NONE, is_held=False, phase=Phase.ENDED, ending=ending)
        for leg in self.state.legs:
            if leg.is_live:
                self.drop(leg)
        self.do(CloseSession(), Finish(ending))

    def _ending(self) -> Ending:
        state = self.state
        if state.was_at_voicemail:
            return Ending.VOICEMAIL
        if state.had_advisor:
            return Ending.ADVISOR
        if state.phase is Phase.AT_MENU or state.is_agent_given_up:
            return Ending.FAILED
        if state.phase is Phase.TRANSFERRING or not state.sessions:
            return Ending.ABANDONED
        return Ending.AGENT
