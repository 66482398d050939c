"""Agents as the REST API stores them: schema defaults, merging, and what a conversation asks of them."""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from attrs import define

from daemon.lab.elevenlabs.loose import as_mapping

Document: TypeAlias = dict[str, Any]

DEFAULT_CLIENT_EVENTS: Final = (
    "audio",
    "interruption",
    "agent_response",
    "user_transcript",
    "agent_response_correction",
    "agent_tool_response",
)
"""As seen on an agent made by the API (live, 2026-10)."""

CLIENT_EVENTS: Final = frozenset(
    [
        "conversation_initiation_metadata",
        "asr_initiation_metadata",
        "ping",
        "audio",
        "interruption",
        "user_transcript",
        "tentative_user_transcript",
        "agent_response",
        "agent_response_correction",
        "client_tool_call",
        "mcp_tool_call",
        "mcp_connection_status",
        "agent_tool_request",
        "agent_tool_response",
        "agent_tool_response_full_payload",
        "agent_response_metadata",
        "vad_score",
        "agent_chat_response_part",
        "client_error",
        "guardrail_triggered",
        "dtmf_request",
        "agent_response_complete",
        "context_usage",
        "internal_turn_probability",
        "internal_tentative_agent_response",
    ]
)

_MULTILINGUAL_MODELS: Final = frozenset(
    [
        "eleven_turbo_v2_5",
        "eleven_flash_v2_5",
        "eleven_multilingual_v2",
        "eleven_v3_conversational",
        "eleven_v4",
        "eleven_v4_turbo",
    ]
)

_DEFAULTS: Final[Document] = {
    "name": "New agent",
    "conversation_config": {
        "agent": {
            "first_message": "",
            "language": "en",
            "dynamic_variables": {"dynamic_variable_placeholders": {}},
            "max_conversation_duration_message": "",
            "prompt": {
                "prompt": "",
                "llm": "gemini-2.5-flash",
                "tool_ids": [],
                "built_in_tools": {},
                "knowledge_base": [],
            },
        },
        "asr": {"user_input_audio_format": "pcm_16000", "keywords": []},
        "tts": {
            "model_id": "eleven_flash_v2",
            "voice_id": "cjVigY5qzO86Huf0OWal",
            "agent_output_audio_format": "pcm_16000",
            "stability": 0.5,
            "speed": 1.0,
            "similarity_boost": 0.8,
        },
        "turn": {
            "turn_timeout": 7.0,
            "initial_wait_time": None,
            "silence_end_call_timeout": -1,
            "mode": "turn",
        },
        "conversation": {
            "text_only": False,
            "max_duration_seconds": 600,
            "client_events": list(DEFAULT_CLIENT_EVENTS),
        },
    },
    "platform_settings": {
        "auth": {"enable_auth": False, "allowlist": [], "require_origin_header": False},
        "data_collection": {},
        "overrides": {
            "conversation_config_override": {
                "agent": {
                    "first_message": False,
                    "language": False,
                    "max_conversation_duration_message": False,
                    "prompt": {
                        "prompt": False,
                        "llm": False,
                        "tool_ids": False,
                        "native_mcp_server_ids": False,
                        "knowledge_base": False,
                    },
                },
                "tts": {
                    "voice_id": False,
                    "model_id": False,
                    "stability": False,
                    "speed": False,
                    "similarity_boost": False,
                },
                "asr": {"keywords": False},
                "turn": {"soft_timeout_config": {"message": False}},
                "conversation": {"text_only": False, "max_duration_seconds": False},
            },
            "custom_llm_extra_body": False,
            "enable_starting_workflow_node_id_from_client": False,
            "enable_procedure_ids_from_client": False,
        },
        "workspace_overrides": {"webhooks": {"post_call_webhook_id": None, "events": ["transcript"]}},
        "call_limits": {"agent_concurrency_limit": -1, "daily_limit": 100000, "bursting_enabled": True},
        "summary_language": None,
    },
    "tags": [],
}


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> Document:
    """A deep merge: objects are merged, everything else is replaced."""
    result = dict(base)
    for key, value in change.items():
        known = result.get(key)
        result[key] = merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return result


def full_document(body: Mapping[str, Any]) -> Document:
    """A submitted agent with every default filled in."""
    return copy.deepcopy(merged(_DEFAULTS, body))


def setting_problem(document: Document) -> str | None:
    """Why ElevenLabs would refuse these settings, or None."""
    config = document["conversation_config"]
    if config["agent"]["language"] != "en" and config["tts"]["model_id"] not in _MULTILINGUAL_MODELS:
        return "Non-english Agents must use turbo or flash v2_5."
    timeout = config["turn"]["turn_timeout"]
    if timeout != -1 and not 1 <= timeout <= 300:
        return "turn_timeout must be -1 or between 1 and 300 seconds."
    return None


def _known(permitted: Mapping[str, Any], wanted: Mapping[str, Any]) -> Document:
    """An override without the fields that the API does not know."""
    known = {}
    for name, value in wanted.items():
        permission = permitted.get(name)
        if not isinstance(permission, dict):
            if permission is not None:
                known[name] = value
        elif isinstance(value, dict):
            known[name] = _known(permission, value)
    return known


_VARIABLE: Final = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")


@define(eq=False)
class Agent:
    id: str
    document: Document
    created_at: int
    updated_at: int

    @property
    def name(self) -> str:
        return str(self.document["name"])

    @property
    def config(self) -> Document:
        config: Document = self.document["conversation_config"]
        return config

    @property
    def platform(self) -> Document:
        platform: Document = self.document["platform_settings"]
        return platform

    @property
    def placeholders(self) -> Document:
        placeholders: Document = self.config["agent"]["dynamic_variables"]["dynamic_variable_placeholders"]
        return placeholders

    def refused_override(self, initiation: Mapping[str, Any]) -> str | None:
        """The name of the first overridden field that the agent does not permit.

        Fields that the API does not know are ignored, as the misplaced `text_only` of the Python SDK is.
        """
        overrides = self.platform["overrides"]
        wanted = as_mapping(initiation.get("conversation_config_override"))
        for name, is_permitted in _permissions(overrides["conversation_config_override"], wanted):
            if not is_permitted:
                return name
        for name, flag in _FLAGGED_FIELDS.items():
            if initiation.get(name) and not overrides.get(flag):
                return name
        return None

    def settings_for(self, initiation: Mapping[str, Any]) -> Document:
        """The conversation config with a session's overrides in place, permitted or not."""
        permitted = self.platform["overrides"]["conversation_config_override"]
        return merged(
            self.config, _known(permitted, as_mapping(initiation.get("conversation_config_override")))
        )


_FLAGGED_FIELDS: Final = {
    "custom_llm_extra_body": "custom_llm_extra_body",
    "starting_workflow_node_id": "enable_starting_workflow_node_id_from_client",
    "procedure_ids": "enable_procedure_ids_from_client",
}


def _permissions(permitted: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """(field name, permitted) for each known field of an override; null and empty text count as fields."""
    for name, value in wanted.items():
        permission = permitted.get(name)
        if isinstance(permission, dict):
            if isinstance(value, dict):
                yield from _permissions(permission, value)
        elif permission is not None:
            yield name, bool(permission)


def missing_variables(text: str, variables: Mapping[str, Any]) -> set[str]:
    return {name for name in _VARIABLE.findall(text) if name not in variables}


def filled_in(text: str, variables: Mapping[str, Any]) -> str:
    """The text with its `{{variables}}` replaced; `secret__` ones never show."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        return "<REDACTED>" if name.startswith("secret__") else str(variables.get(name, match.group(0)))

    return _VARIABLE.sub(value, text)
