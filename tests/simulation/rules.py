"""The rules of the simulated daemon: as in config.toml, but shorter where waiting shows nothing new."""

from datetime import timedelta

from actors.calls import CallOutcome
from actors.campaigns import BreakerRules
from actors.conversation.agent_access import AccessRules
from actors.conversation.texts import Texts, TextSources
from actors.conversation.turn import CoalescingRules
from actors.conversation.turn_in_flight import TurnRules
from actors.conversation.world import ConversationRules
from actors.messages import Purpose
from actors.runtime.supervisor import RestartIntensity
from actors.watch.call_intake import FollowUpPolicy
from actors.watch.call_monitor import MonitorRules
from actors.watch.holds import HoldRules
from actors.watch.inbox_check import InboxCheckRules
from actors.watch.outbox import OutboxRules

TEXT_AGENT = "agent_text"
VOICE_AGENT = "agent_voice"

REQUEST_S = 4.0
"""No request to Twilio takes longer; within it, a message may still arrive there."""
CERTAIN_S = 8.0
LIST_LAG_MAX_S = 7.9
"""The promise ends where a list lags longer than `certain_after_s` (docs/delivery.md), so here it never does."""
HTTP_TIMEOUT_S = 5.0
RECOVER_EVERY_S = 5.0
REAP_EVERY_S = 12.0
PARK_S = 25.0
INTENSITY = RestartIntensity(restarts_max=2)
"""Two restarts a minute instead of five: so that a few crashes park a conversation, or end the process."""
MAILBOX_SIZE = 8

OUTBOX = OutboxRules(
    messages_per_second=80,
    concurrency=3,
    person_burst=3,
    person_every_s=2,
    sweep_every_s=3,
    look_up_after_s=REQUEST_S + 0.5,
    certain_after_s=REQUEST_S + CERTAIN_S,
    retry_first_s=1,
    retry_max_s=15,
    give_up_after_s=86_400,
)
HOLDS = HoldRules(
    breaker=BreakerRules(openings=6, openings_min=3, failed_share=0.6, pause_s=12, probes=1),
    give_up_after_s=86_400,
)
ACCESS = AccessRules(connects_per_second=10, refused_retry_first_s=3, refused_retry_max_s=12)
MONITOR = MonitorRules(poll_every_s=7, lookback=timedelta(hours=24), details_concurrency=2)
INBOX_CHECK = InboxCheckRules(
    every_s=10, missed_after_s=6, lookback=timedelta(hours=24), default_agent_id=TEXT_AGENT
)
FOLLOW_UP = FollowUpPolicy(
    outcomes=frozenset({CallOutcome.COMPLETED, CallOutcome.VOICEMAIL, CallOutcome.BUSY}),
    lookback=timedelta(hours=24),
    analysis_timeout_s=15,
    text_agent_id=TEXT_AGENT,
    text_agents={},
)
TEXTS = Texts(
    TextSources(
        opening="Hola, {{ name }}: {{ summary }}",
        opening_without_summary="Hola, {{ name }}.",
        fallback="Un momento, por favor.",
        # A line that was busy has an outcome to follow up and no text for it.
        follow_ups={CallOutcome.VOICEMAIL: "Le dejamos un mensaje, {{ name }}."},
        opening_variables={"1": "{{ name }}"},
        reopen_variables={"1": "{{ name }}"},
    )
)


def conversation_rules(*, opens_socket_at_call_end: bool, has_templates: bool) -> ConversationRules:
    return ConversationRules(
        turn=TurnRules(reply_timeout_s=12, settle_s=1, attempts_max=4, retry_first_s=1, retry_max_s=10),
        coalescing=CoalescingRules(quiet_s=1, max_s=4, per_minute_max=6),
        opens_socket_at_call_end=opens_socket_at_call_end,
        idle_close_s=15,
        retire_after_s=8,
        failed_turn_retry_s=10,
        failed_turn_retry_max_s=30,
        history_messages=6,
        turn_text_max=8000,
        template_sids=dict.fromkeys(Purpose, "HX1") if has_templates else {},
    )
