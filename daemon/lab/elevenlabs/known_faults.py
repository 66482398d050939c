"""Every fault of the ElevenLabs simulator, by name, with the sentence that explains it.

Details are given in `Fault.details`; the number in brackets is their default.
"""

from collections.abc import Mapping

UPGRADE_FAULTS: Mapping[str, str] = {
    "upgrade_401": "the socket's upgrade is refused with HTTP 401",
    "upgrade_403": "the socket's upgrade is refused with HTTP 403",
    "upgrade_429": "the socket's upgrade is refused with HTTP 429, too many conversations at once",
    "upgrade_silent": "TCP is accepted and the HTTP upgrade is never answered",
    "upgrade_slow": "the HTTP upgrade is answered after `seconds` (3)",
    "bad_signature_accepted": "a wrong signature is not refused at the upgrade but closed with 1008 afterwards",
}

START_FAULTS: Mapping[str, str] = {
    "metadata_never": "the socket opens and no metadata ever comes",
    "metadata_slow": "the metadata comes after `seconds` (12)",
    "quota_at_start": "close 3000 `quota_exceeded` instead of the metadata",
    "override_refused": "close 1008 right after the metadata: override of `field` (prompt) is not allowed",
    "error_frame_missing": "a close by the server is not announced by an `error` frame",
    "first_message_anyway": "the agent greets although its first message is empty or overridden to be",
    "first_message_never": "the agent's first message does not come",
}

ENDING_FAULTS: Mapping[str, str] = {
    "drop_on_message": "the connection breaks without close frame when a user message arrives",
    "drop_after_first_delta": "the connection breaks without close frame after the first delta of an answer",
    "drop_before_complete": "the connection breaks without close frame between agent_response and its completion",
    "drop_idle": "the connection breaks without close frame when a ping is due",
    "max_duration_short": "close 1000 `max_duration_exceeded`, `seconds` (1) after the session began",
    "max_duration_idle": "close 1000 `max_duration_exceeded` when a ping is due",
    "receive_timeout_idle": "close 1002 `transport_receive_timeout` when a ping is due",
    "llm_timeout_on_message": "close 1002 `llm_timeout` when a user message arrives",
    "llm_error_mid_answer": "close 1002 `llm_error` after the first delta of an answer",
    "invalid_message_on_message": "close 1008 `invalid_message` when a user message arrives",
    "crash_on_message": "close 1011 when a user message arrives",
    "crash_mid_answer": "close 1011 after the first delta of an answer",
    "crash_idle": "close 1011 when a ping is due",
    "quota_mid_answer": "close 3000 `quota_exceeded` after the first delta of an answer",
    "quota_idle": "close 3000 `quota_exceeded` when a ping is due",
    "goodbye_after_answer": "the agent ends the conversation, close 1000, right after an answer",
}

ANSWER_FAULTS: Mapping[str, str] = {
    "answer_never": "a user message is never answered",
    "answer_delayed": "an answer begins `seconds` (5) late",
    "answer_blank": "an answer is only whitespace",
    "answer_flat": 'agent_response comes in a flat shape, {"type": "agent_response", "message": …}',
    "parts_never": "an answer comes without agent_chat_response_part",
    "response_never": "an answer comes in parts only, without agent_response",
    "complete_never": "an answer comes without agent_response_complete",
    "complete_late": "agent_response_complete comes `seconds` (1) after the answer, new messages or not",
    "complete_after_next_message": "agent_response_complete comes only after the next user message",
    "interruption_late_correction": "an answer is followed by an interruption and, `seconds` (0.2) later, "
    "by its correction",
    "tool_between_replies": "an answer is two agent_responses around a call of `tool` (request_advisor)",
    "tool_expects_response": "an answer begins with a call of `tool` (request_advisor) that waits for a result",
    "tool_fire_and_forget": "an answer begins with a call of `tool` (request_advisor) that waits for nothing",
    "tool_unknown": "an answer begins with a call of a tool that no client has and that waits for a result",
}

VOICE_FAULTS: Mapping[str, str] = {
    "wrong_formats": "a voice session is in an audio format that no telephone speaks, `format` (pcm_16000) both ways",
    "audio_never": "a reply comes as text and never as sound",
    "audio_stops": "a reply's sound stops in the middle, and the rest never comes",
    "audio_slow": "a reply's sound comes slower than it is played, a second of it every `seconds` (1.5)",
    "audio_odd": "a reply's sound comes in pieces that are no whole telephone frames, some of two bytes",
    "interruption_late": "the caller speaks over the agent and the interruption comes `seconds` (1) late, "
    "or when he has finished",
    "speech_unheard": "what the caller says is not understood: no transcript and no answer",
    "transcript_never": "what the caller says is answered, and its user_transcript never comes",
    "tool_called_twice": "the agent calls a client tool twice at once, with two ids, and waits for both results",
}

FRAME_FAULTS: Mapping[str, str] = {
    "string_event_ids": "event ids are strings",
    "unknown_types": "a message of an unknown type precedes a message",
    "unknown_fields": "a message carries unknown fields",
    "ping_flood": "`count` (200) pings come at once when one is due",
}

REST_FAULTS: Mapping[str, str] = {
    "rest_429": "a REST call is refused with 429 `rate_limit_exceeded`; only paths that contain `path` (any)",
    "rest_500": "a REST call fails with 500 and no JSON; only paths that contain `path` (any)",
    "rest_answer_lost": "a REST call is carried out and the connection cut before its answer; "
    "only paths that contain `path` (any)",
    "rest_slow": "a REST call is answered after `seconds` (3); only paths that contain `path` (any)",
}

CALL_FAULTS: Mapping[str, str] = {
    "analysis_late": "the analysis of an ended conversation is ready `seconds` (30) later than it would be",
    "analysis_never": "an ended conversation stays `processing` for ever",
}

WEBHOOK_FAULTS: Mapping[str, str] = {
    "webhook_lost": "a webhook is not sent",
    "webhook_late": "a webhook is sent `seconds` (5) late",
    "webhook_duplicated": "a webhook is sent twice",
    "webhook_reordered": "a webhook is sent after the next one, or after `seconds` (5) when none follows",
    "webhook_forged": "a webhook is signed with another secret",
}

KNOWN_FAULTS: Mapping[str, str] = {
    **UPGRADE_FAULTS,
    **START_FAULTS,
    **ENDING_FAULTS,
    **ANSWER_FAULTS,
    **VOICE_FAULTS,
    **FRAME_FAULTS,
    **REST_FAULTS,
    **CALL_FAULTS,
    **WEBHOOK_FAULTS,
}
