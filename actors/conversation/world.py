"""What every conversation works with, and the rules it keeps."""

import random
from collections.abc import Callable, Mapping

from attrs import frozen

from actors.alerts import Alerts
from actors.conversation.agent_access import AgentAccess
from actors.conversation.texts import Texts
from actors.conversation.turn import CoalescingRules
from actors.conversation.turn_in_flight import TurnRules
from actors.messages import Purpose
from actors.metrics import Metrics
from actors.ports import AgentSessions, ConversationStore, Messaging, WallClock


@frozen(kw_only=True)
class ConversationRules:
    """Limits and choices of every conversation; see `[conversation]` in config.toml."""

    turn: TurnRules
    coalescing: CoalescingRules
    opens_socket_at_call_end: bool
    idle_close_s: float
    retire_after_s: float
    failed_turn_retry_s: float
    failed_turn_retry_max_s: float
    history_messages: int
    turn_text_max: int
    template_sids: Mapping[Purpose, str]


@frozen(kw_only=True)
class ConversationWorld:
    """What a conversation works with.

    Attributes:
        access: the way to the agent's sessions, shared by all conversations.
        outbox_due: tells the outbox that a person has something to send, and why.
        jitter: draws a number between 0 and 1, which spreads the retries of one turn.
    """

    sessions: AgentSessions
    access: AgentAccess
    store: ConversationStore
    messaging: Messaging
    outbox_due: Callable[[int, Purpose], None]
    texts: Texts
    alerts: Alerts
    metrics: Metrics
    clock: WallClock
    jitter: Callable[[], float] = random.random
