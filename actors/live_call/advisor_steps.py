"""What reaching an advisor leads to, and what is told of legs."""

from typing import assert_never

from attrs import evolve

from actors.live_call import agent_steps, events
from actors.live_call.course import Course
from actors.live_call.effects import (
    Answer,
    AnswerTool,
    AwaitHeard,
    CountTransfer,
    DialAdvisor,
    EndLeg,
    FindLeg,
    LookAtRoom,
    Music,
    PrepareWhisper,
    Tell,
    Telling,
    Timer,
    ToolAnswer,
    Wake,
)
from actors.live_call.events import Source
from actors.live_call.state import Attempt, Leg, LegStage, Missed, Opening, Phase, Role
from actors.live_call.telephony import Dialled, DialRefused, DialUnknown, LegStatus, NotDialled

_STAGES = {
    LegStatus.QUEUED: LegStage.DIALLED,
    LegStatus.INITIATED: LegStage.DIALLED,
    LegStatus.RINGING: LegStage.RINGING,
    LegStatus.IN_PROGRESS: LegStage.ANSWERED,
}
_MISSED = {
    LegStatus.BUSY: Missed.BUSY,
    LegStatus.FAILED: Missed.FAILED,
    LegStatus.NO_ANSWER: Missed.NO_ANSWER,
    LegStatus.CANCELED: Missed.NO_ANSWER,
}


def asked(course: Course, event: events.AdvisorAsked) -> None:
    """The caller wants a person. Asked again while one is being reached: the same answer, and no second dial."""
    state = course.state
    if state.phase is Phase.TRANSFERRING and state.advisor is not None:
        course.answer = Answer.CALLING
        _answer_tool(course, event, ToolAnswer.CALLING, state.advisor.advisor)
    elif state.phase is not Phase.WITH_AGENT:
        course.answer = Answer.REFUSED
        _answer_tool(course, event, ToolAnswer.NOT_NOW)
    elif event.chosen is None:
        course.answer = Answer.NOBODY
        nobody = Attempt(advisor="", missed=Missed.UNAVAILABLE)
        course.set(attempts=(*state.attempts, nobody), wants_message=False)
        course.do(CountTransfer(Missed.UNAVAILABLE.value))
        _answer_tool(course, event, ToolAnswer.NOBODY)
        if event.source is not Source.TOOL:
            course.do(Tell(Telling.NO_ADVISOR))
    else:
        course.answer = Answer.CALLING
        _call(course, event, event.chosen)


def _call(course: Course, event: events.AdvisorAsked, advisor: str) -> None:
    course.set(phase=Phase.TRANSFERRING, reason=event.reason, wants_message=False)
    leg = course.new_leg(Role.ADVISOR, advisor)
    _answer_tool(course, event, ToolAnswer.CALLING, advisor)
    if event.source is not Source.TOOL:
        course.do(Tell(Telling.ADVISOR_CALLED, advisor=advisor))
    course.do(PrepareWhisper(leg.ordinal), DialAdvisor(leg.ordinal, advisor))
    course.do(Wake(Timer.DIAL, leg.ordinal, course.rules.dial_s))
    if course.is_conference:
        course.do(Music(on=True))
    else:
        course.do(AwaitHeard(Timer.MOVE, is_next=True), Wake(Timer.MOVE, leg.ordinal, course.rules.move_s))


def _answer_tool(course: Course, event: events.AdvisorAsked, answer: ToolAnswer, advisor: str = "") -> None:
    if event.source is Source.TOOL and event.tool_call_id:
        course.do(AnswerTool(event.tool_call_id, answer, advisor))


def move(course: Course, leg: int) -> None:
    if _wanted(course, leg) is not None:
        move_now(course)


def move_now(course: Course) -> None:
    if course.state.phase is Phase.TRANSFERRING:
        course.move_to_room()


# --- What is told of legs ---------------------------------------------------------------------------------


def leg_answered(course: Course, event: events.LegAnswered) -> None:
    leg = course.state.leg(event.leg)
    if leg is None:
        return
    match event.outcome:
        case Dialled(sid):
            found = evolve(leg.moved(LegStage.DIALLED), sid=sid)
            course.put(found)
            if found.is_unwanted and not found.is_over:
                course.do(EndLeg(sid))
        case DialUnknown():
            course.do(FindLeg(leg.ordinal))
        case NotDialled() | DialRefused():
            _over(course, leg, LegStatus.FAILED)
        case _ as never:
            assert_never(never)


def leg_reported(course: Course, event: events.LegReported) -> None:
    known = course.state.leg(event.leg)
    if known is None:
        return
    leg = evolve(known, sid=known.sid or event.sid)
    if event.status.is_over:
        _over(course, leg, event.status)
        return
    if event.sequence > leg.sequence:
        leg = evolve(leg, sequence=event.sequence)
        # A stream tells that an agent's leg was answered, since nothing is heard without it.
        if leg.role is Role.ADVISOR or event.status is not LegStatus.IN_PROGRESS:
            leg = leg.moved(_STAGES[event.status])
    course.put(leg)
    if leg.is_unwanted and not leg.is_over:
        course.do(EndLeg(event.sid))
    elif leg.role is Role.ADVISOR and leg.stage is not known.stage:
        _watch(course, leg)


def _watch(course: Course, leg: Leg) -> None:
    """Limit what an advisor's leg has come to."""
    if leg.stage is LegStage.RINGING:
        course.do(Wake(Timer.RING, leg.ordinal, course.rules.ring_s))
    elif leg.stage is LegStage.ANSWERED:
        course.do(Wake(Timer.GATE, leg.ordinal, course.rules.gate_s))


def _over(course: Course, leg: Leg, status: LegStatus) -> None:
    was_live = leg.is_live
    was_answered = leg.reached(LegStage.ANSWERED)
    over = evolve(leg, stage=LegStage.OVER)
    if was_live and leg.role is Role.AGENT:
        agent_steps.gone(course, over)
        return
    course.put(over)
    if not was_live:
        return
    if course.state.phase is Phase.WITH_ADVISOR:
        gone(course, over)
    else:
        otherwise = Missed.DECLINED if was_answered else Missed.NO_ANSWER
        course.miss(over, _MISSED.get(status, otherwise))


# --- The advisor's way in ---------------------------------------------------------------------------------


def gate_reached(course: Course, event: events.GateReached) -> None:
    leg = _wanted(course, event.leg)
    if leg is None:
        course.answer = Answer.CALLER_GONE
        return
    if leg.reached(LegStage.ACCEPTED):
        course.answer = Answer.ROOM
        return
    course.answer = Answer.WHISPER
    answered = evolve(leg.moved(LegStage.ANSWERED), sid=leg.sid or event.sid)
    course.put(answered)
    if answered.stage is not leg.stage:
        _watch(course, answered)


def gate_passed(course: Course, event: events.GatePassed) -> None:
    leg = _wanted(course, event.leg)
    if leg is None:
        course.answer = Answer.CALLER_GONE
        return
    course.answer = Answer.ROOM
    if not leg.reached(LegStage.ACCEPTED):
        course.put(leg.moved(LegStage.ACCEPTED))
        course.do(Wake(Timer.JOIN, leg.ordinal, course.rules.join_s))
        course.move_to_room()


def gate_missed(course: Course, event: events.GateMissed) -> None:
    course.answer = Answer.GOODBYE
    _miss_before(course, event.leg, LegStage.ACCEPTED, Missed.DECLINED)


def joined(course: Course, event: events.AdvisorJoined) -> None:
    known = course.state.leg_of(event.sid)
    advisor = course.state.advisor
    if known is None and advisor is not None and advisor.sid is None:
        known = evolve(advisor, sid=event.sid)
        course.put(known)
    if known is None or not known.is_live:
        # Nobody wants him any more, and an advisor is not left alone in a room.
        course.do(EndLeg(event.sid))
    elif known.stage is LegStage.ACCEPTED:
        course.joined(known)


def left(course: Course, event: events.AdvisorLeft) -> None:
    leg = course.state.leg_of(event.sid)
    if leg is not None and leg.is_live and leg.stage is LegStage.IN_ROOM:
        course.drop(leg)
        gone(course, leg)


def gone(course: Course, leg: Leg) -> None:
    """The advisor has left the caller: the agent comes back, knowing it."""
    if course.state.is_agent_heard:
        course.set(phase=Phase.WITH_AGENT)
        course.do(Tell(Telling.ADVISOR_LEFT, advisor=leg.advisor))
        return
    course.end_agent()
    course.recall(Opening.AFTER_ADVISOR)


def room_seen(course: Course, event: events.RoomSeen) -> None:
    """The news that the advisor came in may have been lost."""
    leg = _wanted(course, event.leg)
    if leg is None or leg.stage is not LegStage.ACCEPTED:
        return
    if event.sids is not None and leg.sid in event.sids:
        course.joined(leg)
    else:
        course.miss(leg, Missed.FAILED)


# --- Limits -----------------------------------------------------------------------------------------------


def not_ringing_in_time(course: Course, leg: int) -> None:
    _miss_before(course, leg, LegStage.RINGING, Missed.FAILED)


def not_picked_up(course: Course, leg: int) -> None:
    _miss_before(course, leg, LegStage.ANSWERED, Missed.NO_ANSWER)


def not_accepted(course: Course, leg: int) -> None:
    _miss_before(course, leg, LegStage.ACCEPTED, Missed.DECLINED)


def not_seen_in_room(course: Course, leg: int) -> None:
    advisor = _wanted(course, leg)
    if advisor is not None and advisor.stage is LegStage.ACCEPTED:
        course.do(LookAtRoom(leg))


def _miss_before(course: Course, leg: int, stage: LegStage, why: Missed) -> None:
    advisor = _wanted(course, leg)
    if advisor is not None and not advisor.reached(stage):
        course.miss(advisor, why)


def _wanted(course: Course, leg: int) -> Leg | None:
    """The advisor's leg, if it is this one and still wanted."""
    advisor = course.state.advisor
    return advisor if advisor is not None and advisor.ordinal == leg else None
