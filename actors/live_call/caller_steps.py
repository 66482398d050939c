"""What the caller's own leg leads to, from the first document to the last, and what a restart does."""

from attrs import evolve

from actors.live_call import advisor_steps, events
from actors.live_call.course import RESUMES_MAX, WITH_COMPANY, Course
from actors.live_call.effects import (
    Answer,
    AnswerTool,
    AwaitHeard,
    CloseSession,
    FindLeg,
    Timer,
    ToolAnswer,
    Wake,
)
from actors.live_call.state import Leg, LegStage, Missed, Phase, Role, Session


def begin(course: Course, _event: events.Begin) -> None:
    course.answer = Answer.ROOM if course.is_conference else Answer.STREAM
    if not course.state.legs:
        course.bring_agent(is_asked_for=True)
        course.do(Wake(Timer.CALL, 0, course.rules.call_max_s))


def joined(course: Course, _event: events.CallerJoined) -> None:
    course.set(is_caller_there=True)
    agent = course.state.agent
    if (
        course.is_conference
        and agent is not None
        and agent.reached(LegStage.ANSWERED)
        and course.state.session is Session.NONE
        and course.state.phase in {Phase.ARRIVING, Phase.RECALLING}
    ):
        course.open_session()


def left(course: Course, _event: events.CallerLeft) -> None:
    course.end()


def too_long(course: Course, _leg: int) -> None:
    course.end_caller()


def goodbye_heard(course: Course, _leg: int) -> None:
    if course.state.phase is Phase.ENDING:
        course.end_caller()


def send_failed(course: Course, _event: events.SendFailed) -> None:
    """A caller who cannot be sent anywhere is in nobody's hands."""
    course.end_agent()
    course.end_caller()


def asks_what_next(course: Course, _event: events.DialEnded) -> None:
    """The caller's leg fell out of its room or off its stream, and nobody of us sent it elsewhere."""
    course.set(is_on_the_way=False)
    state = course.state
    course.answer = {
        Phase.AT_MENU: Answer.MENU,
        Phase.AT_VOICEMAIL: Answer.VOICEMAIL,
        Phase.ENDING: Answer.GOODBYE,
    }.get(state.phase, Answer.NOTHING)
    if course.answer is not Answer.NOTHING:
        return
    agent = state.agent
    if not course.is_conference and agent is not None and not agent.reached(LegStage.ANSWERED):
        course.answer = Answer.STREAM
        return
    if state.advisor is not None and (course.is_conference or state.has_moved):
        course.answer = Answer.ROOM
        return
    course.end_agent()
    if course.may_return():
        phase = Phase.RECALLING if state.advisor is None else Phase.TRANSFERRING
        course.set(phase=phase, opening=course.reopening, is_held=False, is_caller_there=False)
        course.bring_agent(is_asked_for=True)
        course.answer = Answer.ROOM if course.is_conference else Answer.STREAM
    else:
        course.to_menu(is_asked_for=True)
        course.answer = Answer.MENU


# --- A message --------------------------------------------------------------------------------------------


def message_asked(course: Course, event: events.MessageAsked) -> None:
    state = course.state
    is_fit = state.phase is Phase.WITH_AGENT and bool(state.attempts)
    if event.tool_call_id:
        answer = ToolAnswer.RECORDING if is_fit else ToolAnswer.NOT_NOW
        course.do(AnswerTool(event.tool_call_id, answer, state.last_tried))
    if is_fit and not state.wants_message:
        course.set(wants_message=True)
        course.do(
            AwaitHeard(Timer.MESSAGE, is_next=True),
            Wake(Timer.MESSAGE, len(state.attempts), course.rules.message_s),
        )


def message_late(course: Course, attempts: int) -> None:
    if attempts == len(course.state.attempts):
        leave_message(course)
        # Where the agent was lost meanwhile it may offer a message again.
        course.set(wants_message=False)


def leave_message(course: Course) -> None:
    if course.state.phase is Phase.WITH_AGENT and course.state.wants_message:
        course.to_voicemail()


def menu_reached(course: Course, _event: events.MenuReached) -> None:
    course.set(is_on_the_way=False)
    answers = {Phase.AT_MENU: Answer.MENU, Phase.AT_VOICEMAIL: Answer.VOICEMAIL}
    course.answer = answers.get(course.state.phase, Answer.REFUSED)


def menu_chosen(course: Course, event: events.MenuChosen) -> None:
    if course.state.phase is Phase.AT_VOICEMAIL:
        course.answer = Answer.VOICEMAIL
    elif course.state.phase is not Phase.AT_MENU:
        course.answer = Answer.REFUSED
    elif event.key == "1":
        course.set(phase=Phase.AT_VOICEMAIL, was_at_voicemail=True)
        course.answer = Answer.VOICEMAIL
    else:
        _say_goodbye(course, Answer.GOODBYE)


def voicemail_reached(course: Course, _event: events.VoicemailReached) -> None:
    course.set(is_on_the_way=False)
    at_voicemail = course.state.phase is Phase.AT_VOICEMAIL
    course.answer = Answer.VOICEMAIL if at_voicemail else Answer.REFUSED


def record_ended(course: Course, _event: events.RecordEnded) -> None:
    if course.state.phase in {Phase.AT_VOICEMAIL, Phase.ENDING}:
        _say_goodbye(course, Answer.THANKS)
    else:
        course.answer = Answer.REFUSED


def _say_goodbye(course: Course, words: Answer) -> None:
    """The document says it and hangs up; a leg that does neither is ended."""
    course.set(phase=Phase.ENDING)
    course.answer = words
    course.do(Wake(Timer.GOODBYE, 0, 2 * course.rules.goodbye_s))


# --- After a restart --------------------------------------------------------------------------------------


def resumed(course: Course, event: events.Resumed) -> None:
    """Go on where the state stands. The caller is taken for alive unless Twilio says that it is not."""
    if event.caller is not None and event.caller.is_over:
        course.end()
        return
    course.do(Wake(Timer.CALL, 0, course.rules.call_max_s))
    if course.state.is_on_the_way:
        course.send_caller()
    if event.has_stream:
        _go_on(course, event)
        return
    course.set(resumes=course.state.resumes + 1, wants_message=False)
    _forget_agent(course)
    phase = course.state.phase
    if phase is Phase.ENDING:
        course.end_caller()
    elif phase in WITH_COMPANY and course.state.resumes > RESUMES_MAX:
        course.give_up_agent()
    elif phase is Phase.WITH_ADVISOR:
        _resume_with_advisor(course, event)
    elif phase in WITH_COMPANY:
        _resume_with_agent(course, event)


def _go_on(course: Course, event: events.Resumed) -> None:
    """The actor alone was gone. What it had begun to open died with its tasks, and what the stream told it may be lost."""
    agent, state, rules = course.state.agent, course.state, course.rules
    if agent is None:
        if state.phase is Phase.RECALLING:
            course.do(Wake(Timer.GRACE, 0, rules.grace_s))
    elif not agent.reached(LegStage.ANSWERED):
        course.do(Wake(Timer.AGENT, agent.ordinal, rules.agent_join_s))
    elif state.phase is Phase.WITH_ADVISOR:
        course.do(Wake(Timer.LEAVE, agent.ordinal, rules.leave_s))
    elif state.phase in WITH_COMPANY and not (event.has_agent and state.session is Session.OPEN):
        course.set(opening=course.reopening)
        course.do(CloseSession())
        course.open_session()
        if state.phase is Phase.WITH_AGENT:
            course.set(phase=Phase.RECALLING)
    if state.wants_message:
        course.do(Wake(Timer.MESSAGE, len(state.attempts), rules.message_s))
    if state.phase is Phase.ENDING:
        course.do(Wake(Timer.GOODBYE, 0, rules.goodbye_s))
    if (advisor := state.advisor) is not None:
        _limit(course, advisor)


def _forget_agent(course: Course) -> None:
    """Streams end with the process. A leg that was being dialled is looked for, so that it can be ended."""
    course.set(session=Session.NONE, untold=None)
    course.do(CloseSession())
    for leg in course.state.legs:
        if leg.role is Role.AGENT and not leg.is_over:
            course.drop(leg)
            if leg.sid is None and course.is_conference:
                course.do(FindLeg(leg.ordinal))


def _resume_with_advisor(course: Course, event: events.Resumed) -> None:
    advisor = course.state.advisor
    if advisor is None:
        return
    is_out = event.room_sids is not None and advisor.sid not in event.room_sids
    if is_out or (event.advisor is not None and event.advisor.is_over):
        course.drop(advisor)
        advisor_steps.gone(course, advisor)


def _resume_with_agent(course: Course, event: events.Resumed) -> None:
    course.set(opening=course.reopening)
    advisor = course.state.advisor
    if advisor is not None:
        if event.advisor is not None and event.advisor.is_over:
            course.miss(evolve(advisor, stage=LegStage.OVER), Missed.NO_ANSWER)
            return
        if advisor.sid is None:
            course.do(FindLeg(advisor.ordinal))
        _limit(course, advisor)
        if course.state.has_moved:
            return
    else:
        course.set(phase=Phase.RECALLING)
    # The hold of before the restart may or may not have been carried out.
    course.set(is_held=False)
    course.hold()
    course.bring_agent()


def _limit(course: Course, advisor: Leg) -> None:
    rules = course.rules
    timer, limit_s = {
        LegStage.WANTED: (Timer.DIAL, rules.dial_s),
        LegStage.DIALLED: (Timer.DIAL, rules.dial_s),
        LegStage.RINGING: (Timer.RING, rules.ring_s),
        LegStage.ANSWERED: (Timer.GATE, rules.gate_s),
        LegStage.ACCEPTED: (Timer.JOIN, 0.0),
    }.get(advisor.stage, (Timer.CALL, rules.call_max_s))
    course.do(Wake(timer, advisor.ordinal, limit_s))
