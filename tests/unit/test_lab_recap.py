"""What the simulated ElevenLabs makes of a session: its customer's words, and nobody else's."""

import pytest

from daemon.lab.elevenlabs.conversations import (
    Conversation,
    tool_entry_parts,
    transcript_entry,
)
from daemon.lab.elevenlabs.recap import recap

NOTE = "[Aviso del sistema] Se está llamando al asesor Jesús."


def session(*said: tuple[str, str], text_only: bool = False, tool: str = "") -> Conversation:
    conversation = Conversation(
        id="conv_1", agent_id="agent_1", agent_name="Ana", started_unix=0, source="", text_only=text_only
    )
    for medium, text in said:
        conversation.transcript.append(transcript_entry("user", text, 0, medium=medium))
    if tool:
        call = tool_entry_parts(tool, "toolu_1", {}, tool_type="client")
        conversation.transcript.append(transcript_entry("agent", None, 0, tool_calls=[call]))
    return conversation


@pytest.mark.parametrize(
    ("written", "summary"),
    [
        ([], "El cliente no escribió nada."),
        (["Hola"], "El cliente escribió un mensaje. Fue: Hola"),
        ([NOTE, "Hola", "¿Y?"], "El cliente escribió 2 mensajes. Empezó con: Hola"),
    ],
)
def test_a_chat_is_counted_without_the_notes(written: list[str], summary: str) -> None:
    assert recap(session(*[("text", text) for text in written], text_only=True)).summary == summary


def test_a_call_is_told_as_a_call_by_the_name_that_was_said() -> None:
    words = [
        ("text", NOTE),
        ("audio", "Buenas, soy Marta Ruiz. Quiero un asesor."),
        ("text", "Jesús no contestó."),
    ]
    analysis = recap(session(*words, tool="request_advisor"))

    assert analysis.summary == "Marta llamó y pidió un asesor."
    assert analysis.collected["customer_name"] == "Marta"


def test_what_was_asked_for_stands_in_one_sentence() -> None:
    conversation = session(("audio", "Quiero un asesor"), tool="request_advisor")
    call = tool_entry_parts("take_message", "toolu_2", {}, tool_type="client")
    conversation.transcript.append(transcript_entry("agent", None, 0, tool_calls=[call]))

    assert recap(conversation).summary == "El cliente llamó, pidió un asesor y quiso dejar un mensaje."


def test_a_call_is_told_by_its_first_words_where_nothing_was_asked_for() -> None:
    assert recap(session(("text", NOTE), ("audio", "¿Cuánto cuesta?"))).summary == (
        "El cliente llamó. Empezó con: ¿Cuánto cuesta?"
    )
    silent = recap(session(("text", NOTE)))
    assert (silent.summary, silent.successful) == ("El cliente llamó y no dijo nada.", "unknown")


def test_the_fields_of_the_agent_are_filled_by_their_names() -> None:
    conversation = session(("audio", "Me llamo Marta."))
    conversation.field_schemas = {"customer_name": {}, "intent": {}}

    assert recap(conversation).collected == {"customer_name": "Marta", "intent": None}
