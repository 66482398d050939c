"""The two agents and the tools that a lab's workspace begins with, as `POST /v1/convai/…` takes them."""

from collections.abc import Sequence
from typing import Any, Final

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


def _client_tool(
    name: str, description: str, *, required: Sequence[str] = (), **properties: str
) -> dict[str, Any]:
    return {
        "type": "client",
        "name": name,
        "description": description,
        "parameters": {
            "type": "object",
            "required": list(required),
            "properties": {
                what: {"type": "string", "description": text} for what, text in properties.items()
            },
        },
        "expects_response": True,
        "response_timeout_secs": 40,
        "pre_tool_speech": "force",
        "execution_mode": "post_tool_speech",
        "interruption_mode": "disable_during_tool",
    }


CLIENT_TOOLS: Final = (
    _client_tool(
        "request_advisor",
        "Pide que un asesor humano atienda la llamada.",
        required=["reason"],
        reason="Motivo en una frase.",
        advisor="Nombre del asesor, si el cliente pidió a uno.",
        topic="Tema del que se trata.",
    ),
    _client_tool(
        "take_message", "Graba un recado del cliente para un asesor.", summary="De qué trata, en una frase."
    ),
)


def text_agent() -> dict[str, Any]:
    """Writes on WhatsApp."""
    return {
        "name": "Seguimiento por WhatsApp",
        "conversation_config": {
            "agent": {
                "first_message": "",
                "language": "es",
                "prompt": {"prompt": "Sigues por WhatsApp una conversación telefónica. {{call_summary}}"},
                "dynamic_variables": {
                    "dynamic_variable_placeholders": {"call_summary": "", "customer_name": ""}
                },
            },
            "turn": {"turn_timeout": -1},
            "conversation": {
                "text_only": True,
                "max_duration_seconds": 3600,
                "client_events": list(_TEXT_EVENTS),
            },
            "tts": {"model_id": "eleven_turbo_v2_5"},
        },
        "platform_settings": {
            "overrides": {
                "conversation_config_override": {
                    "agent": {"first_message": True, "language": True},
                    "conversation": {"text_only": True},
                }
            }
        },
    }


def voice_agent(tool_ids: Sequence[str]) -> dict[str, Any]:
    """Speaks on the telephone: in batch calls, which ElevenLabs dials, and in the live calls that we bridge."""
    end_call = {"type": "system", "name": "end_call", "params": {"system_tool_type": "end_call"}}
    return {
        "name": "Recepción y ventas por teléfono",
        "conversation_config": {
            "agent": {
                "first_message": "Hola, gracias por llamar. ¿En qué le puedo ayudar?",
                "language": "es",
                "prompt": {
                    "prompt": "Atiendes el teléfono. Hablas de usted, en frases cortas.",
                    "tool_ids": list(tool_ids),
                    "built_in_tools": {"end_call": end_call},
                },
            },
            "asr": {"user_input_audio_format": "ulaw_8000"},
            "tts": {"model_id": "eleven_turbo_v2_5", "agent_output_audio_format": "ulaw_8000"},
            # Longer than a telephone rings: who waits for an advisor is not asked whether he is still there.
            "turn": {"turn_timeout": 30},
            "conversation": {"max_duration_seconds": 3600, "client_events": list(_VOICE_EVENTS)},
        },
        "platform_settings": {
            "overrides": {"conversation_config_override": {"agent": {"first_message": True}}}
        },
    }
