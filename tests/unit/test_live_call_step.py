"""The live call's state machine: every event in every state, in any order, and what must hold after each."""

import random
from collections.abc import Iterator

import pytest
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st

from actors.agent_events import SessionEndReason
from actors.live_call import events
from actors.live_call.course import CallRules
from actors.live_call.effects import (
    Answer,
    DialAdvisor,
    DialAgent,
    Effect,
    EndCaller,
    EndLeg,
    Finish,
    HoldCaller,
    KeepRecording,
    LimitCaller,
    LookAtCaller,
    LookAtRoom,
    Music,
    OpenSession,
    Place,
    SendCaller,
    Timer,
    Wake,
)
from actors.live_call.events import Source
from actors.live_call.state import CallState, LeftMessage, Leg, LegStage, Mode, Opening, Phase, Role, Session
from actors.live_call.step import step
from actors.live_call.telephony import Dialled, DialRefused, DialUnknown, LegStatus, NotDialled

RULES = CallRules(ring_s=25)
WALK_MAX = 60


@define(eq=False)
class Walk:
    """One call: the state, timers that are set, and everything that was asked for."""

    state: CallState
    timers: list[Wake] = field(factory=list)
    effects: list[Effect] = field(factory=list)
    path: list[events.CallEvent] = field(factory=list)

    def take(self, event: events.CallEvent) -> Answer:
        before = self.state
        stepped = step(self.state, event, RULES)
        self.path.append(event)
        self.state = stepped.state
        self.effects.extend(stepped.effects)
        self.timers.extend(effect for effect in stepped.effects if isinstance(effect, Wake))
        self.check(before, stepped.effects)
        return stepped.answer

    def fire(self, place: int) -> None:
        wake = self.timers.pop(place % len(self.timers))
        self.take(events.TimeUp(wake.timer, wake.leg))

    def check(self, before: CallState, effects: tuple[Effect, ...]) -> None:
        state = self.state
        assert len([leg for leg in state.legs if leg.role is Role.ADVISOR and leg.is_live]) <= 1
        assert len([leg for leg in state.legs if leg.role is Role.AGENT and leg.is_live]) <= 1
        assert (state.phase is Phase.TRANSFERRING) <= (state.advisor is not None)
        assert (state.phase is Phase.WITH_ADVISOR) <= (state.advisor is not None)
        if state.phase is Phase.WITH_AGENT:
            assert state.is_agent_heard
        if state.session is not Session.NONE:
            assert state.agent is not None
            assert state.agent.reached(LegStage.ANSWERED)
        if state.phase in {Phase.AT_MENU, Phase.AT_VOICEMAIL, Phase.ENDED}:
            assert state.agent is None
            assert state.advisor is None
        if before.is_over:
            assert state.is_over
            assert not any(isinstance(effect, DialAgent | DialAdvisor | OpenSession) for effect in effects)
        if state.is_over and not before.is_over:
            assert sum(isinstance(effect, Finish) for effect in effects) == 1
        for leg in state.legs:
            # Nobody is left behind: what is not wanted and can be named was told to end.
            if leg.is_unwanted and not leg.is_over and leg.sid is not None:
                assert EndLeg(leg.sid) in self.effects

    def settle(self) -> None:
        """Nothing more happens but time: let all timers run out, and sessions that were to be opened fail."""
        for _ in range(100):
            if self.state.session is Session.OPENING:
                self.take(events.SessionEnded(SessionEndReason.LOST))
                continue
            if not self.timers:
                break
            # The longest limit, that of the whole call, comes last.
            order = sorted(range(len(self.timers)), key=lambda place: self.timers[place].after_s)
            if self.timers[order[0]].timer is Timer.CALL:
                break
            self.fire(order[0])
            if isinstance(look := self.effects[-1], LookAtRoom):
                self.take(events.RoomSeen(look.leg, None))


def sid_of(ordinal: int) -> str:
    return f"CA{ordinal:032d}"


def any_event(state: CallState, chance: random.Random) -> events.CallEvent:
    """Something that may be told of this call, likely or not."""
    ordinal = chance.randint(1, max(1, len(state.legs)))
    sid = sid_of(ordinal)
    outcomes = [
        Dialled(sid),
        Dialled(sid),
        DialUnknown(detail=""),
        NotDialled(detail=""),
        DialRefused(code=1, detail=""),
    ]
    return chance.choice(list(_events(ordinal, sid, chance, chance.choice(outcomes))))


def _events(ordinal: int, sid: str, chance: random.Random, outcome: object) -> Iterator[events.CallEvent]:
    yield events.Begin()
    yield events.CallerJoined()
    yield events.CallerLeft() if chance.random() < 0.1 else events.CallerJoined()
    yield events.DialEnded()
    yield events.AgentLeft(sid)
    yield events.AdvisorJoined(sid)
    yield events.AdvisorLeft(sid)
    yield events.LegAnswered(ordinal, outcome)  # type: ignore[arg-type]
    yield events.LegReported(ordinal, sid, chance.choice(list(LegStatus)), chance.randint(0, 4))
    yield events.StreamOpened(ordinal)
    yield events.StreamOpened(ordinal)
    yield events.StreamClosed(ordinal)
    yield events.SessionBegan(f"conv_{chance.randint(1, 3)}")
    yield events.SessionBegan(f"conv_{chance.randint(1, 3)}")
    yield events.SessionEnded(chance.choice(list(SessionEndReason)))
    yield events.AgentSpoke()
    chosen = chance.choice(["Jesús", "Laura", None])
    for source in Source:
        yield events.AdvisorAsked(source=source, chosen=chosen, reason="ventas", tool_call_id="t1")
    yield events.MessageAsked("t2")
    yield events.GateReached(ordinal, sid)
    yield events.GatePassed(ordinal)
    yield events.GateMissed(ordinal)
    yield events.Heard(chance.choice(list(Timer)))
    yield events.TimeUp(chance.choice(list(Timer)), ordinal)
    yield events.RoomSeen(ordinal, chance.choice([None, frozenset({sid}), frozenset()]))
    yield events.SendFailed() if chance.random() < 0.1 else events.AgentSpoke()
    yield events.MenuReached()
    yield events.MenuChosen(chance.choice(["1", "2", ""]))
    yield events.VoicemailReached()
    yield events.RecordEnded()
    yield events.Recorded(f"RE{chance.randint(1, 2)}", 3)
    yield events.Resumed(
        caller=chance.choice([None, LegStatus.IN_PROGRESS]),
        room_sids=chance.choice([None, frozenset({sid}), frozenset()]),
        advisor=chance.choice([None, LegStatus.RINGING, LegStatus.BUSY]),
        has_stream=chance.random() < 0.3,
        has_agent=chance.random() < 0.3,
    )


def walk(seed: int, mode: Mode, length: int) -> Walk:
    chance = random.Random(seed)
    course = Walk(CallState(mode=mode))
    course.take(events.Begin())
    for _ in range(length):
        if course.timers and chance.random() < 0.1:
            course.fire(chance.randrange(len(course.timers)))
        else:
            course.take(any_event(course.state, chance))
    return course


@given(st.integers(0, 2**32), st.sampled_from(Mode), st.integers(0, WALK_MAX))
def test_whatever_comes_in_whatever_order_nobody_is_forgotten(seed: int, mode: Mode, length: int) -> None:
    walk(seed, mode, length)


@given(st.integers(0, 2**32), st.sampled_from(Mode), st.integers(0, WALK_MAX))
def test_a_caller_whom_nothing_more_happens_to_ends_with_somebody(seed: int, mode: Mode, length: int) -> None:
    """Whatever was lost: timers alone bring a caller to the agent, an advisor, the menu, a message or the end."""
    course = walk(seed, mode, length)
    course.settle()
    assert course.state.phase not in {Phase.ARRIVING, Phase.RECALLING, Phase.TRANSFERRING}, course.path
    if course.state.phase is Phase.ENDING:
        assert any(isinstance(effect, EndCaller) for effect in course.effects)


@given(st.integers(0, 2**32), st.sampled_from(Mode), st.integers(0, WALK_MAX))
def test_a_caller_who_leaves_takes_everybody_along(seed: int, mode: Mode, length: int) -> None:
    course = walk(seed, mode, length)
    course.take(events.CallerLeft())
    for leg in course.state.legs:
        assert not leg.is_live
        if not leg.is_over and leg.sid is None and not (leg.role is Role.AGENT and mode is Mode.DIRECT):
            # Its SID may still be on its way.
            course.take(events.LegAnswered(leg.ordinal, Dialled(sid_of(leg.ordinal))))
            assert EndLeg(sid_of(leg.ordinal)) in course.effects


@given(st.integers(0, 2**32), st.sampled_from(Mode), st.integers(0, WALK_MAX))
def test_an_event_that_comes_again_at_once_dials_nobody_twice(seed: int, mode: Mode, length: int) -> None:
    course = walk(seed, mode, length)
    event = any_event(course.state, random.Random(seed))
    course.take(event)
    if isinstance(event, events.SendFailed | events.Resumed | events.TimeUp | events.DialEnded):
        return
    again = step(course.state, event, RULES)
    assert not [effect for effect in again.effects if isinstance(effect, DialAdvisor | DialAgent)]


# --- Scenarios ------------------------------------------------------------------------------------------------


def phase_of(course: Walk) -> Phase:
    return course.state.phase


def agent_of(course: Walk) -> Leg | None:
    return course.state.agent


def with_agent(mode: Mode = Mode.CONFERENCE) -> Walk:
    course = Walk(CallState(mode=mode))
    course.take(events.Begin())
    course.take(events.CallerJoined())
    course.take(events.LegAnswered(1, Dialled(sid_of(1))))
    assert course.take(events.StreamOpened(1)) is Answer.ADMITTED
    course.take(events.SessionBegan("conv_1"))
    course.take(events.AgentSpoke())
    assert phase_of(course) is Phase.WITH_AGENT
    return course


def ringing(mode: Mode = Mode.CONFERENCE, course: Walk | None = None) -> Walk:
    course = course or with_agent(mode)
    leg = course.state.next_ordinal()
    asked = events.AdvisorAsked(source=Source.TOOL, chosen="Jesús", reason="ventas", tool_call_id="t1")
    assert course.take(asked) is Answer.CALLING
    course.take(events.LegAnswered(leg, Dialled(sid_of(leg))))
    course.take(events.LegReported(leg, sid_of(leg), LegStatus.RINGING, 1))
    return course


def accepted(mode: Mode = Mode.CONFERENCE) -> Walk:
    course = ringing(mode)
    leg = course.state.advisor
    assert leg is not None
    assert course.take(events.GateReached(leg.ordinal, sid_of(leg.ordinal))) is Answer.WHISPER
    assert course.take(events.GatePassed(leg.ordinal)) is Answer.ROOM
    course.take(events.AdvisorJoined(sid_of(leg.ordinal)))
    assert phase_of(course) is Phase.WITH_ADVISOR
    return course


def test_an_advisor_who_accepts_takes_the_agents_place() -> None:
    course = accepted()
    assert agent_of(course) is not None, "the agent says goodbye first"
    course.take(events.Heard(Timer.LEAVE))
    assert agent_of(course) is None
    assert EndLeg(sid_of(1)) in course.effects


@pytest.mark.parametrize(
    ("status", "missed"),
    [
        (LegStatus.NO_ANSWER, "no_answer"),
        (LegStatus.BUSY, "busy"),
        (LegStatus.FAILED, "failed"),
        (LegStatus.CANCELED, "no_answer"),
    ],
)
def test_a_missed_advisor_leaves_the_same_session(status: LegStatus, missed: str) -> None:
    course = ringing()
    course.take(events.LegReported(2, sid_of(2), status, 2))
    assert phase_of(course) is Phase.WITH_AGENT
    assert course.state.sessions == ("conv_1",)
    assert course.state.attempts[0].missed == missed


def test_the_second_request_dials_nobody() -> None:
    course = ringing()
    again = events.AdvisorAsked(source=Source.API, chosen="Laura", reason="", tool_call_id="")
    assert course.take(again) is Answer.CALLING
    assert sum(isinstance(effect, DialAdvisor) for effect in course.effects) == 1


def test_the_telephone_rings_no_longer_than_allowed() -> None:
    course = ringing()
    course.take(events.TimeUp(Timer.RING, 2))
    assert EndLeg(sid_of(2)) in course.effects
    assert course.take(events.GateReached(2, sid_of(2))) is Answer.CALLER_GONE


def test_an_advisor_who_picks_up_as_the_caller_hangs_up_is_let_go() -> None:
    course = ringing()
    course.take(events.GateReached(2, sid_of(2)))
    course.take(events.CallerLeft())
    assert course.take(events.GatePassed(2)) is Answer.CALLER_GONE
    assert EndLeg(sid_of(2)) in course.effects


def test_the_agent_comes_back_when_the_advisor_leaves_first() -> None:
    course = accepted()
    course.take(events.Heard(Timer.LEAVE))
    course.take(events.AdvisorLeft(sid_of(2)))
    assert HoldCaller(on=True) in course.effects
    course.take(events.TimeUp(Timer.GRACE, 3))
    assert DialAgent(3) in course.effects
    course.take(events.StreamOpened(3))
    assert course.effects[-1] == OpenSession(course.state.opening)
    assert HoldCaller(on=False) in course.effects


def test_a_lost_agent_is_put_back_once_and_then_there_is_the_menu() -> None:
    course = with_agent()
    course.take(events.StreamClosed(1))
    course.take(events.TimeUp(Timer.GRACE, 2))
    course.take(events.LegAnswered(2, Dialled(sid_of(2))))
    course.take(events.StreamOpened(2))
    course.take(events.SessionBegan("conv_2"))
    course.take(events.StreamClosed(2))
    assert phase_of(course) is Phase.AT_MENU
    assert course.take(events.MenuReached()) is Answer.MENU
    assert course.take(events.MenuChosen("1")) is Answer.VOICEMAIL


def test_an_agent_who_cannot_join_the_room_takes_the_callers_own_leg() -> None:
    course = Walk(CallState(mode=Mode.CONFERENCE))
    course.take(events.Begin())
    course.take(events.LegAnswered(1, DialRefused(code=21220, detail="")))
    assert course.state.mode is Mode.DIRECT
    assert isinstance(course.effects[-2], SendCaller)


def test_a_stream_on_the_callers_own_leg_has_a_limit_at_twilio() -> None:
    limit = LimitCaller(RULES.call_max_s)
    assert limit in with_agent(Mode.DIRECT).effects
    assert limit not in with_agent(Mode.CONFERENCE).effects, "the room's document has one"


def test_a_caller_who_is_not_seen_in_the_room_is_looked_for() -> None:
    course = Walk(CallState(mode=Mode.CONFERENCE))
    course.take(events.Begin())
    course.take(events.LegAnswered(1, Dialled(sid_of(1))))
    course.take(events.StreamOpened(1))
    course.take(events.TimeUp(Timer.CALLER, 1))
    assert LookAtCaller() in course.effects
    assert OpenSession(Opening.FIRST) in course.effects, "it is the news of the caller that may be lost"


@pytest.mark.parametrize("mode", Mode)
def test_a_caller_who_was_to_be_sent_elsewhere_as_the_daemon_died_is_sent_again(mode: Mode) -> None:
    course = with_agent(mode)
    course.take(events.AdvisorAsked(source=Source.TOOL, chosen=None, reason="", tool_call_id="t1"))
    course.take(events.MessageAsked("t2"))
    course.take(events.Heard(Timer.MESSAGE))
    anew = evolve(resumed(), has_stream=False)
    course.effects.clear()
    course.take(anew)
    assert SendCaller(Place.VOICEMAIL) in course.effects

    course.take(events.VoicemailReached())
    course.effects.clear()
    course.take(anew)
    assert SendCaller(Place.VOICEMAIL) not in course.effects, "a message that is being recorded goes on"


@pytest.mark.parametrize("mode", Mode)
def test_who_waits_for_an_advisor_has_music_when_the_agent_has_gone(mode: Mode) -> None:
    course = ringing(mode)
    course.effects.clear()
    course.take(events.SessionEnded(SessionEndReason.ENDED_BY_AGENT))
    assert course.state.phase is Phase.TRANSFERRING
    assert Music(on=True) in course.effects


def test_a_message_is_for_who_was_tried_last() -> None:
    course = ringing()
    course.take(events.TimeUp(Timer.RING, 2))
    course.take(events.MessageAsked("t2"))
    course.take(events.Heard(Timer.MESSAGE))
    assert course.take(events.VoicemailReached()) is Answer.VOICEMAIL
    course.take(events.CallerLeft())
    course.take(events.Recorded("RE1", 7))
    assert course.take(events.RecordEnded()) is Answer.THANKS
    left = LeftMessage(sid="RE1", duration_s=7, advisor="Jesús")
    assert course.state.recordings == (left,)
    course.take(events.Recorded("RE1", 7))
    assert course.state.recordings == (left,)
    assert course.effects.count(KeepRecording(left)) == 2, "keeping it may have failed the first time"


def test_an_advisor_whose_dial_nobody_knows_the_fate_of_stays_engaged() -> None:
    course = with_agent()
    course.take(events.AdvisorAsked(source=Source.TOOL, chosen="Jesús", reason="", tool_call_id="t1"))
    course.take(events.TimeUp(Timer.DIAL, 2))
    assert course.state.advisor is None
    assert course.state.engaged == "Jesús"
    course.take(events.LegAnswered(2, NotDialled(detail="Twilio knows no such leg")))
    assert course.state.engaged is None


def resumed(*, advisor: LegStatus | None = None, has_agent: bool = False) -> events.Resumed:
    return events.Resumed(
        caller=LegStatus.IN_PROGRESS,
        room_sids=None,
        advisor=advisor,
        has_stream=True,
        has_agent=has_agent,
    )


def test_an_actor_that_crashed_and_finds_no_session_on_its_stream_opens_one() -> None:
    course = with_agent()
    course.effects.clear()
    course.take(resumed(has_agent=True))
    assert not any(isinstance(effect, OpenSession) for effect in course.effects)
    course.take(resumed(has_agent=False))
    assert any(isinstance(effect, OpenSession) for effect in course.effects)
    assert phase_of(course) is Phase.RECALLING


def test_an_advisor_who_left_as_nobody_listened_is_missed_at_take_up() -> None:
    course = accepted()
    course.take(events.AdvisorJoined(sid_of(2)))
    assert phase_of(course) is Phase.WITH_ADVISOR
    course.take(evolve(resumed(advisor=LegStatus.COMPLETED), has_stream=False))
    assert phase_of(course) is Phase.RECALLING


def test_no_message_before_anybody_was_tried() -> None:
    course = with_agent()
    course.take(events.MessageAsked("t2"))
    assert not course.state.wants_message
    assert course.take(events.VoicemailReached()) is Answer.REFUSED


def test_in_direct_mode_the_caller_is_moved_once_the_agent_has_said_so() -> None:
    course = ringing(Mode.DIRECT)
    course.take(events.Heard(Timer.MOVE))
    assert course.state.has_moved
    course.take(events.StreamClosed(1))
    assert phase_of(course) is Phase.TRANSFERRING
    course.take(events.TimeUp(Timer.RING, 2))
    assert phase_of(course) is Phase.RECALLING
    assert not course.state.has_moved


def test_a_restart_while_it_rings_goes_on_ringing_and_brings_the_agent() -> None:
    course = ringing()
    course.take(evolve(resumed(advisor=LegStatus.RINGING), has_stream=False, room_sids=frozenset()))
    assert phase_of(course) is Phase.TRANSFERRING
    assert EndLeg(sid_of(1)) in course.effects
    assert DialAgent(3) in course.effects
    assert course.take(events.GateReached(2, sid_of(2))) is Answer.WHISPER
