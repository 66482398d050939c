"""What the simulated ElevenLabs makes of a session that is over, as a chat or at the telephone."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from daemon.lab.elevenlabs.brain import REQUEST_ADVISOR, TAKE_MESSAGE, is_note
from daemon.lab.elevenlabs.conversations import Analysis, Conversation
from daemon.lab.elevenlabs.script import value_for_field

_INTRODUCED: Final = re.compile(
    r"\b(?:[Ss]oy|[Mm]e llamo|[Mm]i nombre es|[Ll]e habla) ([A-ZÁÉÍÓÚÑ][a-záéíóúñü]+)"
)
_ASKED_FOR: Final[Mapping[str, str]] = {
    REQUEST_ADVISOR: "pidió un asesor",
    TAKE_MESSAGE: "quiso dejar un mensaje",
}


def recap(conversation: Conversation) -> Analysis:
    """Its analysis. Notes of the business are nobody's words: what stands in brackets, and what is typed in a voice session."""
    words = _words(conversation)
    name = "" if conversation.text_only else _name(words)
    collected = {"customer_name": name} if name else {}
    summary = _of_chat(words) if conversation.text_only else _of_call(name, words, conversation.tool_names)
    return Analysis(
        summary=summary,
        title="Conversación por chat" if conversation.text_only else "Llamada telefónica",
        successful="success" if words else "unknown",
        collected={**collected, **_asked(conversation, collected)},
        sentiment="neutral",
    )


def _asked(conversation: Conversation, collected: Mapping[str, str]) -> Mapping[str, Any]:
    return {field_id: value_for_field(collected, field_id) for field_id in conversation.field_schemas}


def _words(conversation: Conversation) -> Sequence[str]:
    return [
        entry["message"]
        for entry in conversation.transcript
        if entry["role"] == "user"
        and (conversation.text_only or entry["source_medium"] == "audio")
        and not is_note(entry["message"])
    ]


def _name(words: Sequence[str]) -> str:
    """The first name of who introduced themselves."""
    return next((found[1] for text in words if (found := _INTRODUCED.search(text))), "")


def _of_chat(words: Sequence[str]) -> str:
    if not words:
        return "El cliente no escribió nada."
    count = "un mensaje" if len(words) == 1 else f"{len(words)} mensajes"
    return f"El cliente escribió {count}. {'Fue' if len(words) == 1 else 'Empezó con'}: {words[0]}"


def _of_call(name: str, words: Sequence[str], tool_names: Sequence[str]) -> str:
    who = name or "El cliente"
    if not words:
        return f"{who} llamó y no dijo nada."
    wishes = [wish for tool, wish in _ASKED_FOR.items() if tool in tool_names]
    if wishes:
        return f"{', '.join([f'{who} llamó', *wishes[:-1]])} y {wishes[-1]}."
    return f"{who} llamó. Empezó con: {words[0]}"
