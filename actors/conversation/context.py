"""What the agent is told before it takes up a conversation again, and what is worth saying of a call. Pure.

An agent session knows nothing of the ones before it and cannot be resumed, so everything it should know goes
along each time: dynamic variables for the prompt, and the recent messages as a contextual update.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

from actors.agent_events import SessionPlan
from actors.conversation.texts import CallFacts
from actors.ports import KnownCall, PersonContext, TimelineMessage

# Data collection fields are named by whoever set up the voice agent; these are the names we look for.
_NAMES = ("customer_name", "client_name", "name", "nombre", "nombre_cliente", "first_name")
_INTENT = ("intent", "intencion", "intención")
_TOPICS = ("topics", "temas")
_PENDING_QUESTIONS = (
    "pending_questions",
    "pending_question",
    "open_questions",
    "preguntas_pendientes",
    "pendientes",
)
_NEXT_STEPS = ("next_steps", "next_step", "proximos_pasos", "próximos_pasos", "acuerdos")
_LINKS = ("links", "enlaces")
_SENTIMENT = ("sentiment", "sentimiento")

_LIST_MARKS = re.compile(r"\s*(?:\n|;|•|✓)\s*(?:[-*–]\s+)?")
_RESERVED_PREFIXES = ("system__", "secret__")
_VARIABLE_MAX_CHARACTERS = 4_000


def person_name(variables: Mapping[str, object], collected: Mapping[str, object]) -> str:
    """The person's name where the call or its analysis tells it, else an empty string."""
    return _text(collected, _NAMES) or _text(variables, _NAMES)


def facts_of(context: PersonContext, call: KnownCall | None = None) -> CallFacts:
    """What the texts may say of a person's call; of the newest without `call`."""
    if call is None:
        call = context.calls[0] if context.calls else None
    return _facts(context.name or "", call)


def _facts(name: str, call: KnownCall | None) -> CallFacts:
    if call is None:
        return CallFacts(name=name)
    return CallFacts(
        # What WhatsApp calls a person is their own invention; the call knows whom it was made to.
        name=person_name(call.variables, call.collected) or name,
        summary=(call.summary or "").strip(),
        pending_questions=_items(call.collected, _PENDING_QUESTIONS),
        next_steps=_items(call.collected, _NEXT_STEPS),
        links=_items(call.collected, _LINKS),
        variables=call.variables,
    )


def session_plan(context: PersonContext, *, now: datetime, opening: str = "") -> SessionPlan:
    """The session for a person: who it is, what the last call was about, what was written since.

    `opening` is a message that is about to be sent and stands in no history yet.
    """
    facts = facts_of(context)
    messages = list(context.messages)
    if opening:
        messages.append(TimelineMessage(direction="outbound", text=opening, at=now))
    variables, recollection = what_is_known(facts.name, context.calls, messages, now=now)
    return SessionPlan(
        agent_id=context.agent_id,
        user_id=context.pseudonym,
        dynamic_variables=variables | {"channel": "whatsapp"},
        context=recollection,
    )


Variables: TypeAlias = dict[str, str | int | float | bool]


def what_is_known(
    name: str, calls: Sequence[KnownCall], messages: Sequence[TimelineMessage], *, now: datetime
) -> tuple[Variables, str]:
    """What a session is told of a person, as dynamic variables and in plain words: their calls, newest first, and their
    messages, oldest first.
    """
    call = calls[0] if calls else None
    facts = _facts(name, call)
    variables = dict(_usable(facts.variables))
    if call is not None:
        variables |= _call_variables(facts, call, now)
    variables |= {
        "customer_name": facts.name,
        "is_followup": call is not None,
        "history": _clip_oldest(_history(messages)),
    }
    return variables, _recollection(calls, messages)


def _call_variables(facts: CallFacts, call: KnownCall, now: datetime) -> dict[str, str | int | float | bool]:
    return {
        "call_summary": _clip(facts.summary or call.transcript_excerpt),
        "call_outcome": call.outcome.value,
        "call_at": call.started_at.isoformat(timespec="minutes"),
        "hours_since_call": max(0, round((now - call.started_at).total_seconds() / 3600)),
        "intent": _text(call.collected, _INTENT),
        "sentiment": _text(call.collected, _SENTIMENT),
        "topics": _clip("; ".join(_items(call.collected, _TOPICS))),
        "pending_questions": _clip("; ".join(facts.pending_questions)),
        "next_steps": _clip("; ".join(facts.next_steps)),
    }


def _recollection(calls: Sequence[KnownCall], messages: Sequence[TimelineMessage]) -> str:
    """What a session is told in plain words, in the language the agent talks in."""
    blocks = [
        f"Llamada del {call.started_at:%Y-%m-%d %H:%M} UTC: {told}"
        for call in reversed(calls)
        if (told := _told(call))
    ]
    if messages:
        blocks.append("Mensajes anteriores por WhatsApp:\n" + _history(messages))
    return "\n\n".join(blocks)


def _told(call: KnownCall) -> str:
    """What was said in a call, and what else happened in it: on a line of its own, so that nobody seems to have said it."""
    said = call.summary or call.transcript_excerpt
    if said and call.note:
        return f"{said}\nAdemás: {call.note}"
    return said or call.note or ""


def _history(messages: Sequence[TimelineMessage]) -> str:
    return "\n".join(
        f"{'Cliente' if message.direction == 'inbound' else 'Tú'}: {_clip(message.text)}"
        for message in messages
    )


def _usable(variables: Mapping[str, object]) -> dict[str, str | int | float | bool]:
    """The call's own variables, which the agent's prompt may know too. Reserved names are ElevenLabs' to set."""
    return {
        name: value
        for name, value in variables.items()
        if isinstance(value, str | int | float | bool) and not name.startswith(_RESERVED_PREFIXES)
    }


def _text(values: Mapping[str, object], names: Iterable[str]) -> str:
    for name in names:
        value = values.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return ""


def _items(values: Mapping[str, object], names: Iterable[str]) -> list[str]:
    """A list that a language model wrote as one text: one item a line, or separated by semicolons."""
    text = _text(values, names)
    return [bare for item in _LIST_MARKS.split(text) if (bare := item.strip(" -*–"))]


def _clip(text: str) -> str:
    return text if len(text) <= _VARIABLE_MAX_CHARACTERS else text[: _VARIABLE_MAX_CHARACTERS - 1] + "…"


def _clip_oldest(text: str) -> str:
    return text if len(text) <= _VARIABLE_MAX_CHARACTERS else "…" + text[1 - _VARIABLE_MAX_CHARACTERS :]
