"""What the voice agent is told as it takes up a call, and what is known of the caller. Pure."""

from collections.abc import Iterator
from datetime import datetime

from actors.agent_events import SessionPlan
from actors.conversation.context import what_is_known
from actors.live_call.ports import CallerHistory, LiveCall
from actors.live_call.state import CallState, Missed, Opening
from actors.live_call.wording import CallFacts, Words, last_digits

_BACK = {
    Opening.RESUMED: "back_after_loss",
    Opening.AFTER_MISSED: "back_after_missed",
    Opening.AFTER_ADVISOR: "back_after_advisor",
}
_STRANGER = "caller"


def facts_of(call: LiveCall, history: CallerHistory | None, **more: object) -> CallFacts:
    """The variables of the texts for this call."""
    number = call.caller or ""
    values = {
        "name": (history.name if history is not None else None) or "",
        "number": number,
        "digits": last_digits(number),
        "reason": call.state.reason,
        "advisor": call.state.last_tried,
    }
    return CallFacts(**{**values, **more})  # type: ignore[arg-type]


def session_plan(
    call: LiveCall,
    history: CallerHistory | None,
    opening: Opening,
    words: Words,
    *,
    agent_id: str,
    now: datetime,
) -> SessionPlan:
    """The session for a caller: who it is, what was said before, what has happened in this call.

    A session that takes the place of another begins with a sentence of ours, where the agent allows that; the first one
    begins as the agent is set up.
    """
    facts = facts_of(call, history)
    variables, recollection = what_is_known(
        facts.name,
        history.calls if history is not None else (),
        history.messages if history is not None else (),
        now=now,
    )
    back = _BACK.get(opening)
    missed = next((a.missed for a in reversed(call.state.attempts) if a.missed is not None), None)
    told = facts_of(call, history, missed=missed.value if missed is not None else "")
    first_message = words.say(back, told) if back is not None else None
    return SessionPlan(
        agent_id=agent_id,
        user_id=history.pseudonym if history is not None else f"{_STRANGER}-{call.id}",
        dynamic_variables=variables | {"channel": "phone", "caller_digits": facts.digits},
        context="\n\n".join(part for part in (recollection, _this_call(call.state, words, told)) if part),
        speaks=True,
        first_message=None if call.state.is_plain else first_message,
    )


def _this_call(state: CallState, words: Words, facts: CallFacts) -> str:
    """What a session that comes later should know of those before it."""
    lines = [words.say("back_after_loss", facts)] if state.sessions and state.is_plain else []
    return "\n".join([*lines, *_attempts(state, words)])


def note_of(state: CallState, words: Words) -> str:
    """What happened in a call beside the talk with the agent, for who goes on in WhatsApp; empty for nothing."""
    return " ".join(dict.fromkeys(_attempts(state, words)))


def _attempts(state: CallState, words: Words) -> Iterator[str]:
    """A sentence for each advisor who was tried. That there was nobody to try is not worth one."""
    for attempt in state.attempts:
        if attempt.missed is None:
            yield words.say("note_talked", CallFacts(advisor=attempt.advisor))
        elif attempt.missed is not Missed.UNAVAILABLE:
            yield words.say("note_missed", CallFacts(advisor=attempt.advisor, missed=attempt.missed.value))
