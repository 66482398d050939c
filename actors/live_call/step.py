"""What a live call does next: (state, event) -> (state, effects, answer). Pure.

Every event may come in every state: twice, late, out of order. What does not fit changes nothing, and whoever asked is
told so by the answer.
"""

from collections.abc import Callable
from typing import Any

from attrs import evolve, frozen

from actors.live_call import advisor_steps, agent_steps, caller_steps, events
from actors.live_call.course import CallRules, Course
from actors.live_call.effects import Answer, Effect, EndLeg, KeepRecording, Timer
from actors.live_call.state import CallState, LeftMessage
from actors.live_call.telephony import Dialled


@frozen
class Stepped:
    state: CallState
    effects: tuple[Effect, ...]
    answer: Answer


def step(state: CallState, event: events.CallEvent, rules: CallRules) -> Stepped:
    course = Course(state, rules)
    if isinstance(event, events.Recorded):
        _recorded(course, event)
    elif state.is_over:
        _after_end(course, event)
    elif isinstance(event, events.TimeUp):
        _TIMERS[event.timer](course, event.leg)
    elif isinstance(event, events.Heard):
        _HEARD.get(event.what, _nothing)(course, 0)
    else:
        _STEPS[type(event)](course, event)
    return Stepped(course.state, tuple(course.effects), course.answer)


def _recorded(course: Course, event: events.Recorded) -> None:
    """May come when the call is long over. Told again, it is kept again, which changes nothing where it was kept before."""
    known = next((left for left in course.state.recordings if left.sid == event.sid), None)
    if known is None:
        known = LeftMessage(sid=event.sid, duration_s=event.duration_s, advisor=course.state.last_tried)
        course.set(recordings=(*course.state.recordings, known))
    course.do(KeepRecording(known))


def _after_end(course: Course, event: events.CallEvent) -> None:
    """Nobody is left behind: a leg that turns up now is ended, and who asks is let go politely."""
    course.answer = _FAREWELLS.get(type(event), Answer.NOTHING)
    sid: str | None = None
    match event:
        case events.LegAnswered(ordinal, Dialled(found)):
            sid = found
        case events.LegReported(ordinal, found, status) if not status.is_over:
            sid = found
        case events.AdvisorJoined(found):
            ordinal, sid = 0, found
        case _:
            return
    leg = course.state.leg(ordinal)
    if leg is not None:
        course.put(evolve(leg, sid=sid))
    course.do(EndLeg(sid))


def _nothing(_course: Course, _leg: int) -> None:
    pass


_STEPS: dict[type, Callable[[Course, Any], None]] = {
    events.Begin: caller_steps.begin,
    events.CallerJoined: caller_steps.joined,
    events.CallerLeft: caller_steps.left,
    events.DialEnded: caller_steps.asks_what_next,
    events.SendFailed: caller_steps.send_failed,
    events.MessageAsked: caller_steps.message_asked,
    events.MenuReached: caller_steps.menu_reached,
    events.MenuChosen: caller_steps.menu_chosen,
    events.VoicemailReached: caller_steps.voicemail_reached,
    events.RecordEnded: caller_steps.record_ended,
    events.Resumed: caller_steps.resumed,
    events.StreamOpened: agent_steps.stream_opened,
    events.StreamClosed: agent_steps.stream_closed,
    events.SessionBegan: agent_steps.session_began,
    events.SessionEnded: agent_steps.session_ended,
    events.AgentSpoke: agent_steps.spoke,
    events.AgentLeft: agent_steps.left,
    events.AdvisorAsked: advisor_steps.asked,
    events.LegAnswered: advisor_steps.leg_answered,
    events.LegReported: advisor_steps.leg_reported,
    events.GateReached: advisor_steps.gate_reached,
    events.GatePassed: advisor_steps.gate_passed,
    events.GateMissed: advisor_steps.gate_missed,
    events.AdvisorJoined: advisor_steps.joined,
    events.AdvisorLeft: advisor_steps.left,
    events.RoomSeen: advisor_steps.room_seen,
}

_TIMERS: dict[Timer, Callable[[Course, int], None]] = {
    Timer.AGENT: agent_steps.not_there_in_time,
    Timer.CALLER: agent_steps.begin_without_seeing,
    Timer.GRACE: agent_steps.grace_over,
    Timer.LEAVE: agent_steps.may_leave,
    Timer.DIAL: advisor_steps.not_ringing_in_time,
    Timer.RING: advisor_steps.not_picked_up,
    Timer.GATE: advisor_steps.not_accepted,
    Timer.JOIN: advisor_steps.not_seen_in_room,
    Timer.MOVE: advisor_steps.move,
    Timer.MESSAGE: caller_steps.message_late,
    Timer.GOODBYE: caller_steps.goodbye_heard,
    Timer.CALL: caller_steps.too_long,
}

_HEARD: dict[Timer, Callable[[Course, int], None]] = {
    Timer.LEAVE: lambda course, _: agent_steps.leave(course),
    Timer.MOVE: lambda course, _: advisor_steps.move_now(course),
    Timer.MESSAGE: lambda course, _: caller_steps.leave_message(course),
    Timer.GOODBYE: caller_steps.goodbye_heard,
}

_FAREWELLS: dict[type, Answer] = {
    events.StreamOpened: Answer.REFUSED,
    events.AdvisorAsked: Answer.REFUSED,
    events.GateReached: Answer.CALLER_GONE,
    events.GatePassed: Answer.CALLER_GONE,
    events.GateMissed: Answer.GOODBYE,
    events.Begin: Answer.GOODBYE,
    events.DialEnded: Answer.GOODBYE,
    events.MenuReached: Answer.GOODBYE,
    events.MenuChosen: Answer.GOODBYE,
    events.VoicemailReached: Answer.REFUSED,
    events.RecordEnded: Answer.THANKS,
}
