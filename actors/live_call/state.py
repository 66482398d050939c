"""Where a live call stands: the caller's place, the legs, what was tried. Pure values, stored as they are.

Nothing here holds a clock, a connection or a text: a state that was written down before a crash is as good after it.
"""

from enum import StrEnum

from attrs import evolve, frozen


class Mode(StrEnum):
    CONFERENCE = "conference"
    """Everybody meets in one room; the agent is a participant with a leg of its own."""
    DIRECT = "direct"
    """The agent is on the caller's own leg; a transfer moves the caller to a room and leaves the agent behind."""


class Phase(StrEnum):
    ARRIVING = "arriving"
    """The caller waits for the agent for the first time, with music."""
    WITH_AGENT = "with_agent"
    TRANSFERRING = "transferring"
    """An advisor is being reached; the agent stays with the caller where it can."""
    WITH_ADVISOR = "with_advisor"
    RECALLING = "recalling"
    """The caller waits, with music, for the agent to come back."""
    AT_MENU = "at_menu"
    AT_VOICEMAIL = "at_voicemail"
    ENDING = "ending"
    """The last words are being said; then the caller's leg is ended."""
    ENDED = "ended"


class Role(StrEnum):
    AGENT = "agent"
    ADVISOR = "advisor"


class Session(StrEnum):
    """The agent's session, which lives on its stream."""

    NONE = "none"
    OPENING = "opening"
    OPEN = "open"


class Opening(StrEnum):
    """How the next session of the agent begins."""

    FIRST = "first"
    RESUMED = "resumed"
    """The session before was lost."""
    AFTER_MISSED = "after_missed"
    """An advisor was not reached while the agent was away."""
    AFTER_ADVISOR = "after_advisor"
    """The advisor has left."""


class LegStage(StrEnum):
    """How far a leg has come. It only moves down this list."""

    WANTED = "wanted"
    """Asked for; nobody knows its SID yet."""
    DIALLED = "dialled"
    RINGING = "ringing"
    ANSWERED = "answered"
    """Picked up, which proves no person; an agent's stream is open."""
    ACCEPTED = "accepted"
    """An advisor pressed 1."""
    IN_ROOM = "in_room"
    OVER = "over"


_ORDER = {stage: place for place, stage in enumerate(LegStage)}


@frozen(kw_only=True)
class Leg:
    """A leg of ours. In direct mode the agent's is the stream on the caller's own leg, which has no SID of its own.

    Attributes:
        ordinal: counts a call's legs from 1; callbacks name it, so that a leg is known before its SID is.
        sequence: of the newest status report that counted.
        is_unwanted: to be ended, as soon as its SID is known.
    """

    ordinal: int
    role: Role
    advisor: str = ""
    stage: LegStage = LegStage.WANTED
    sid: str | None = None
    sequence: int = -1
    is_unwanted: bool = False

    @property
    def is_over(self) -> bool:
        return self.stage is LegStage.OVER

    @property
    def is_live(self) -> bool:
        """Wanted and not over."""
        return not (self.is_over or self.is_unwanted)

    def reached(self, stage: LegStage) -> bool:
        return _ORDER[self.stage] >= _ORDER[stage]

    def moved(self, stage: LegStage) -> "Leg":
        """At `stage`, unless it is further already."""
        return self if self.reached(stage) else evolve(self, stage=stage)


class Missed(StrEnum):
    """Why an advisor was not reached."""

    NO_ANSWER = "no_answer"
    BUSY = "busy"
    FAILED = "failed"
    """The network, or Twilio, could not place the call."""
    DECLINED = "declined"
    """Somebody or something picked up, and nobody pressed 1."""
    UNAVAILABLE = "unavailable"
    """There was nobody to dial."""


@frozen(kw_only=True)
class Attempt:
    """An advisor who was tried; `missed` is None for one who was reached."""

    advisor: str
    missed: Missed | None


class Ending(StrEnum):
    """How a call ended."""

    AGENT = "agent"
    """While or after it talked with the agent."""
    ADVISOR = "advisor"
    VOICEMAIL = "voicemail"
    ABANDONED = "abandoned"
    """The caller left while an advisor was being reached, or before the agent was there."""
    FAILED = "failed"
    """The agent could not be had."""


@frozen(kw_only=True)
class LeftMessage:
    """Something that a caller recorded; `advisor` is who it is for, empty for nobody in particular."""

    sid: str
    duration_s: int
    advisor: str


@frozen(kw_only=True)
class CallState:
    """A live call.

    Attributes:
        legs: ours, oldest first; over ones are kept, since reports about them may still come.
        is_caller_there: the caller was seen in the room; always true in direct mode.
        is_held: the caller hears hold music and nobody.
        has_moved: direct mode: the caller has left the stream for the room.
        is_on_the_way: the caller's leg was to be given another document, and has not asked for it yet.
        opening: how the agent's next session begins.
        untold: an advisor was missed while the agent's session was being opened, and it was not told yet.
        returns: how often a lost agent was put back; once is all there is.
        is_agent_given_up: it will not be put back any more.
        resumes: how often a restarted daemon took this call up again.
        is_plain: the agent may not be given a first message of ours.
        reason: why the caller wants an advisor, in the agent's words.
        attempts: oldest first.
        wants_message: the agent has announced that a message can be left.
        was_at_voicemail: the caller could leave a message, whatever came of it.
        sessions: ElevenLabs conversation ids, oldest first.
        recordings: oldest first.
        had_advisor: the caller has talked with an advisor.
        ending: how the call ended, once it has.
    """

    mode: Mode
    phase: Phase = Phase.ARRIVING
    legs: tuple[Leg, ...] = ()
    is_caller_there: bool = False
    is_held: bool = False
    has_moved: bool = False
    is_on_the_way: bool = False
    session: Session = Session.NONE
    opening: Opening = Opening.FIRST
    untold: Missed | None = None
    returns: int = 0
    is_agent_given_up: bool = False
    resumes: int = 0
    is_plain: bool = False
    reason: str = ""
    attempts: tuple[Attempt, ...] = ()
    wants_message: bool = False
    was_at_voicemail: bool = False
    sessions: tuple[str, ...] = ()
    recordings: tuple[LeftMessage, ...] = ()
    had_advisor: bool = False
    ending: Ending | None = None

    @property
    def is_over(self) -> bool:
        return self.phase is Phase.ENDED

    @property
    def agent(self) -> Leg | None:
        """The agent's leg that is wanted now."""
        return self._live(Role.AGENT)

    @property
    def advisor(self) -> Leg | None:
        """The advisor's leg that is wanted now."""
        return self._live(Role.ADVISOR)

    @property
    def engaged(self) -> str | None:
        """The advisor whom no other call should dial: who is on a leg of this one, or may be, as long as nobody knows what
        became of the dial.
        """
        if (advisor := self.advisor) is not None:
            return advisor.advisor
        doubtful = (
            leg for leg in self.legs if leg.role is Role.ADVISOR and not leg.is_over and leg.sid is None
        )
        return next((leg.advisor for leg in doubtful), None)

    @property
    def is_agent_heard(self) -> bool:
        """The agent's stream is open and its session too."""
        agent = self.agent
        return agent is not None and agent.reached(LegStage.ANSWERED) and self.session is Session.OPEN

    @property
    def tried(self) -> frozenset[str]:
        """Advisors who were not reached."""
        return frozenset(attempt.advisor for attempt in self.attempts if attempt.missed is not None)

    @property
    def last_tried(self) -> str:
        """Whom a message is for: the advisor tried last; empty when none was."""
        return next((a.advisor for a in reversed(self.attempts) if a.advisor), "")

    def leg(self, ordinal: int) -> Leg | None:
        return next((leg for leg in self.legs if leg.ordinal == ordinal), None)

    def leg_of(self, sid: str) -> Leg | None:
        return next((leg for leg in self.legs if leg.sid == sid), None)

    def with_leg(self, leg: Leg) -> "CallState":
        """With this leg in place of the one with its ordinal, or behind the others."""
        if self.leg(leg.ordinal) is None:
            return evolve(self, legs=(*self.legs, leg))
        return evolve(self, legs=tuple(leg if leg.ordinal == old.ordinal else old for old in self.legs))

    def next_ordinal(self) -> int:
        return self.legs[-1].ordinal + 1 if self.legs else 1

    def _live(self, role: Role) -> Leg | None:
        return next((leg for leg in reversed(self.legs) if leg.role is role and leg.is_live), None)
