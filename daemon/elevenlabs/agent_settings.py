"""What an agent at ElevenLabs must be set to, so that this daemon can talk with it. Pure.

An agent's document is what `GET /v1/convai/agents/{id}` answers. `PATCH` merges objects and replaces everything else
(ElevenLabs OpenAPI), so that a rule for a list, or for a map with names of the operator's own, gives back all of it.
The agent's prompt, voice, language model and first message are the operator's: no rule touches them, only whether a
session may bring a first message of its own.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from attrs import frozen

from daemon.elevenlabs.fields import Record, part
from daemon.elevenlabs.setting_rules import (
    Difference,
    Rule,
    always,
    at_least,
    exactly,
    having,
    including,
    lacking,
    never,
    present,
)


class Role(StrEnum):
    TEXT = "text"
    """Writes on WhatsApp."""
    VOICE = "voice"
    """Speaks in live calls."""


def differences(document: Record, role: Role) -> Sequence[Difference]:
    """What is not as it should be, without the agent's tools."""
    own = _TEXT_RULES if role is Role.TEXT else _VOICE_RULES
    rules = [*own, *_RULES_OF_BOTH, _placeholders(document)]
    return [difference for rule in rules for difference in rule.check(document)]


# --- What we send and look for --------------------------------------------------------------------------


@frozen(kw_only=True)
class CollectedField:
    """A field of data collection. `ids` are the names under which a follow-up looks for it, ours first."""

    ids: Sequence[str]
    description: str


COLLECTED: Final = (
    CollectedField(
        ids=("customer_name", "client_name", "name", "nombre", "nombre_cliente", "first_name"),
        description="Nombre del cliente, si lo dijo o lo confirmó.",
    ),
    CollectedField(
        ids=("intent", "intencion", "intención"), description="Qué quiere el cliente, en una frase."
    ),
    CollectedField(ids=("topics", "temas"), description="Temas de los que se habló, uno por línea."),
    CollectedField(
        ids=(
            "pending_questions",
            "pending_question",
            "open_questions",
            "preguntas_pendientes",
            "pendientes",
        ),
        description="Preguntas del cliente que quedaron sin respuesta, una por línea. Vacío si no quedó ninguna.",
    ),
    CollectedField(
        ids=("next_steps", "next_step", "proximos_pasos", "próximos_pasos", "acuerdos"),
        description="Lo que se acordó hacer después de la llamada, un paso por línea. Vacío si nada se acordó.",
    ),
    CollectedField(
        ids=("links", "enlaces"), description="Enlaces que se mencionaron, uno por línea. Vacío si ninguno."
    ),
    CollectedField(
        ids=("sentiment", "sentimiento"), description="Ánimo del cliente: positivo, neutral o negativo."
    ),
)
"""See docs/agent.md, "Data collection on the voice agent"."""

SENT_VARIABLES: Final[Mapping[str, str | bool]] = {
    "customer_name": "",
    "call_summary": "",
    "call_outcome": "",
    "call_at": "",
    "hours_since_call": "",
    "intent": "",
    "sentiment": "",
    "topics": "",
    "pending_questions": "",
    "next_steps": "",
    "history": "",
    "channel": "",
    "caller_digits": "",
    "is_followup": False,
}
"""The dynamic variables of our sessions, by what stands for them in a session without them: a person who was never
called has no summary.
"""

_USED_VARIABLE: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_VENDORS_VARIABLES: Final = ("system__", "secret__")

_ENGLISH_ONLY: Final[Mapping[str, str]] = {
    "eleven_turbo_v2": "eleven_turbo_v2_5",
    "eleven_flash_v2": "eleven_flash_v2_5",
    "eleven_monolingual_v1": "eleven_flash_v2_5",
}

_TEXT_EVENTS: Final = (
    "conversation_initiation_metadata",
    "ping",
    "agent_response",
    "agent_response_correction",
    "agent_chat_response_part",
    "agent_response_complete",
    "client_tool_call",
    "agent_tool_response",
)
_VOICE_EVENTS: Final = (
    "conversation_initiation_metadata",
    "ping",
    "audio",
    "interruption",
    "user_transcript",
    "agent_response",
    "agent_response_correction",
    "agent_response_complete",
    "client_tool_call",
    "agent_tool_response",
)
_LONGEST_TALK_S: Final = 3600
_END_CALL: Final = {
    "type": "system",
    "name": "end_call",
    "description": "",
    "params": {"system_tool_type": "end_call"},
}

_EVENTS: Final = "conversation_config.conversation.client_events"
_OVERRIDES: Final = "platform_settings.overrides.conversation_config_override"


def _not_true(has: Any) -> Any:
    return False if has is True else has


def _a_model_that_speaks_spanish(has: Any) -> Any:
    """The same kind of model for all languages, where it is one for English alone."""
    return _ENGLISH_ONLY.get(has, has) if isinstance(has, str) else "eleven_flash_v2_5"


def _collecting(has: Any) -> Any:
    """Data collection with one field at least for everything that a follow-up looks for."""
    known = has if isinstance(has, dict) else {}
    missing = {
        field.ids[0]: {"type": "string", "description": field.description}
        for field in COLLECTED
        if not known.keys() & set(field.ids)
    }
    return {**known, **missing} if missing else has


def _placeholders(document: Record) -> Rule:
    """Also for what the prompt and the first message name: the calls' own variables, which not everybody has."""
    agent = part(part(document, "conversation_config"), "agent")
    texts = (part(agent, "prompt").get("prompt"), agent.get("first_message"))
    used = {
        name: ""
        for text in texts
        if isinstance(text, str)
        for name in _USED_VARIABLE.findall(text)
        if not name.startswith(_VENDORS_VARIABLES)
    }
    return Rule(
        path="conversation_config.agent.dynamic_variables.dynamic_variable_placeholders",
        wants=having({**used, **SENT_VARIABLES}),
        why="a session that lacks a variable which the agent uses is refused (missing_dynamic_variable)",
        is_vital=lacking(*used) if used else never,
    )


_RULES_OF_BOTH: Final = (
    Rule(
        path="conversation_config.conversation.max_duration_seconds",
        wants=at_least(_LONGEST_TALK_S),
        why="the agent ends every talk after that time, in the middle of a sentence if need be",
    ),
    Rule(
        path="platform_settings.auth.enable_auth",
        wants=exactly(True),
        why="anybody who knows the agent's id may talk to it, at your cost",
    ),
    Rule(
        path="platform_settings.summary_language",
        wants=exactly("es"),
        why="the call's summary, which the opening quotes, may be in another language",
    ),
)

_TEXT_RULES: Final = (
    Rule(
        path=f"{_OVERRIDES}.conversation.text_only",
        wants=exactly(True),
        why="sessions are refused with 1008: each one asks for text without sound",
        is_vital=always,
    ),
    Rule(
        path=f"{_OVERRIDES}.agent.first_message",
        wants=exactly(True),
        why="sessions are refused with 1008: the opening is ours, so that each one asks the agent to say nothing first",
        is_vital=always,
    ),
    Rule(
        path=_EVENTS,
        wants=including(*_TEXT_EVENTS),
        why="without agent_response no answer is heard, and without agent_response_complete its end is told by silence",
        is_vital=lacking("agent_response"),
    ),
    Rule(
        path="conversation_config.turn.turn_timeout",
        wants=exactly(-1),
        why='the agent asks "are you still there?" in the chat',
    ),
)

_VOICE_RULES: Final = (
    Rule(
        path="conversation_config.conversation.text_only",
        wants=_not_true,
        why="the agent makes no sound",
        is_vital=always,
    ),
    Rule(
        path="conversation_config.tts.agent_output_audio_format",
        wants=exactly("ulaw_8000"),
        why="the caller hears noise: what the agent says goes to the telephone untouched",
        is_vital=always,
    ),
    Rule(
        path="conversation_config.asr.user_input_audio_format",
        wants=exactly("ulaw_8000"),
        why="the agent understands nothing: what the caller says goes to it untouched",
        is_vital=always,
    ),
    Rule(
        path="conversation_config.tts.model_id",
        wants=_a_model_that_speaks_spanish,
        why="the agent reads Spanish as if it were English",
    ),
    Rule(
        path=_EVENTS,
        wants=including(*_VOICE_EVENTS),
        why="what is not listed is not sent: no sound, no stop when the caller speaks, or no request for an advisor",
        is_vital=lacking("audio", "interruption", "client_tool_call"),
    ),
    Rule(
        path=f"{_OVERRIDES}.agent.first_message",
        wants=exactly(True),
        why="an agent that comes back into a call greets the caller as if it were the first time",
    ),
    Rule(
        path="conversation_config.agent.prompt.built_in_tools.end_call",
        wants=present(_END_CALL),
        why="the agent cannot hang up, and a call that is over goes on in silence",
    ),
    Rule(
        path="platform_settings.data_collection",
        wants=_collecting,
        why="the WhatsApp message after the call cannot say what was asked and agreed",
    ),
)
