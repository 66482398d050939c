"""What the agent's leg, its stream and its session lead to."""

from attrs import evolve

from actors.agent_events import SessionEndReason
from actors.live_call import events
from actors.live_call.course import Course
from actors.live_call.effects import (
    Answer,
    AwaitHeard,
    CloseSession,
    KeepSession,
    LimitCaller,
    LookAtCaller,
    Music,
    Tell,
    Telling,
    Timer,
    Wake,
)
from actors.live_call.state import Leg, LegStage, Mode, Opening, Phase, Session

_QUIET_PHASES = frozenset({Phase.AT_MENU, Phase.AT_VOICEMAIL, Phase.ENDING})


def stream_opened(course: Course, event: events.StreamOpened) -> None:
    agent = course.state.agent
    if agent is None or agent.ordinal != event.leg or agent.reached(LegStage.ANSWERED):
        course.answer = Answer.REFUSED
        return
    course.answer = Answer.ADMITTED
    course.put(agent.moved(LegStage.ANSWERED))
    # Music until the agent speaks, which may take seconds.
    course.do(Music(on=True))
    if not course.is_conference:
        # In a room the document limits the caller's leg; a stream's document has no way to.
        course.do(LimitCaller(course.rules.call_max_s))
    course.unhold()
    if course.state.is_caller_there or not course.is_conference:
        course.open_session()
    else:
        course.do(Wake(Timer.CALLER, agent.ordinal, course.rules.caller_seen_s))


def begin_without_seeing(course: Course, leg: int) -> None:
    """The news that the caller is in the room may have been lost."""
    agent = course.state.agent
    if agent is None or agent.ordinal != leg or not agent.reached(LegStage.ANSWERED):
        return
    if not course.state.is_caller_there:
        # A caller who hung up before being anywhere has left no news behind that could be understood.
        course.do(LookAtCaller())
    course.set(is_caller_there=True)
    if course.state.session is Session.NONE:
        course.open_session()


def session_began(course: Course, event: events.SessionBegan) -> None:
    state = course.state
    if state.session is not Session.OPENING:
        return
    if event.conversation_id not in state.sessions:
        course.set(sessions=(*state.sessions, event.conversation_id))
        course.do(KeepSession(event.conversation_id))
    course.set(session=Session.OPEN)
    if state.phase in {Phase.ARRIVING, Phase.RECALLING}:
        course.set(phase=Phase.WITH_AGENT)
    if state.untold is not None:
        course.set(untold=None)
        course.do(Tell(Telling.ADVISOR_MISSED, advisor=state.last_tried, missed=state.untold))


def spoke(course: Course, _event: events.AgentSpoke) -> None:
    if course.state.phase is not Phase.TRANSFERRING:
        course.do(Music(on=False))


def session_ended(course: Course, event: events.SessionEnded) -> None:
    state = course.state
    if state.session is Session.NONE or state.agent is None:
        return
    course.set(session=Session.NONE)
    if state.phase is Phase.WITH_ADVISOR:
        course.end_agent()
    elif state.phase in _QUIET_PHASES:
        return
    elif event.reason is SessionEndReason.ENDED_BY_AGENT and state.session is Session.OPEN:
        _hung_up(course)
    else:
        _lost(course, event.reason)


def _hung_up(course: Course) -> None:
    """The agent has said goodbye. Who waits for an advisor goes on waiting, with music."""
    if course.state.phase is Phase.TRANSFERRING:
        # In direct mode too, until the caller is moved to where there is music anyway.
        course.do(Music(on=True))
        return
    course.set(phase=Phase.ENDING)
    course.do(AwaitHeard(Timer.GOODBYE), Wake(Timer.GOODBYE, 0, course.rules.goodbye_s))


def _lost(course: Course, reason: SessionEndReason) -> None:
    """Another session on the same stream, with music meanwhile."""
    state = course.state
    if reason is SessionEndReason.REFUSED and state.opening is not Opening.FIRST and not state.is_plain:
        # Perhaps the agent may not be given a first message; that costs nobody a return.
        course.set(is_plain=True)
    elif not course.may_return():
        course.give_up_agent()
        return
    else:
        course.set(opening=course.reopening)
    if state.phase is Phase.WITH_AGENT:
        course.set(phase=Phase.RECALLING)
    course.do(Music(on=True))
    course.open_session()


def stream_closed(course: Course, event: events.StreamClosed) -> None:
    agent = course.state.agent
    if agent is not None and agent.ordinal == event.leg:
        _gone(course, agent)


def left(course: Course, event: events.AgentLeft) -> None:
    agent = course.state.agent
    if agent is not None and agent.sid == event.sid:
        gone(course, evolve(agent, stage=LegStage.OVER))


def gone(course: Course, agent: Leg) -> None:
    """The agent's leg is over, with or without its stream ever having been open."""
    was_there = (course.state.leg(agent.ordinal) or agent).reached(LegStage.ANSWERED)
    course.put(evolve(agent, stage=LegStage.OVER))
    if was_there:
        _gone(course, agent)
    else:
        unreachable(course, agent)


def _gone(course: Course, agent: Leg) -> None:
    """The stream broke off. The leg's document would go on without it, so the leg is ended."""
    if course.state.session is not Session.NONE:
        course.set(session=Session.NONE)
        course.do(CloseSession())
    course.drop(agent)
    phase = course.state.phase
    if phase is Phase.ENDING:
        course.end_caller()
    elif phase is Phase.WITH_ADVISOR or phase in _QUIET_PHASES:
        return
    elif course.may_return():
        course.recall(course.reopening)
    else:
        course.give_up_agent()


def grace_over(course: Course, _leg: int) -> None:
    """The caller has not hung up meanwhile: bring the agent."""
    state = course.state
    if state.has_moved:
        is_due = state.phase is Phase.RECALLING
    else:
        is_due = state.phase in {Phase.RECALLING, Phase.TRANSFERRING} and not state.is_agent_given_up
    if is_due and state.agent is None:
        course.bring_agent()


def not_there_in_time(course: Course, leg: int) -> None:
    agent = course.state.agent
    if agent is not None and agent.ordinal == leg and not agent.reached(LegStage.ANSWERED):
        unreachable(course, agent)


def unreachable(course: Course, agent: Leg) -> None:
    """The agent could not be brought this way. From the room, the caller goes to the agent instead."""
    course.drop(agent)
    state = course.state
    if state.phase not in {Phase.ARRIVING, Phase.RECALLING}:
        if state.phase is Phase.TRANSFERRING:
            # It is brought another way when the advisor is not reached.
            course.wait_for_advisor()
        return
    if course.is_conference:
        course.set(mode=Mode.DIRECT, is_held=False)
        course.bring_agent()
    elif course.may_return():
        course.bring_agent()
    else:
        course.give_up_agent()


def may_leave(course: Course, leg: int) -> None:
    agent = course.state.agent
    if agent is not None and agent.ordinal == leg:
        leave(course)


def leave(course: Course) -> None:
    """What the agent said to the two was heard."""
    if course.state.phase is Phase.WITH_ADVISOR:
        course.end_agent()
