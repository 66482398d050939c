"""What operators see: queues, conversations with their timelines, batches with their follow-ups."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from attrs import frozen

from actors.calls import CallOutcome, FollowUpState
from actors.live_call.state import Phase


@frozen(kw_only=True)
class Queues:
    """How many messages wait for what.

    Attributes:
        inbound_pending: nobody has answered them yet.
        outbound_pending: still to be sent, or to be sent again.
        outbound_in_doubt: on their way, or nobody knows whether they went.
        dead_letters: messages that failed for good, those that a template has replaced left out.
    """

    inbound_pending: int
    outbound_pending: int
    outbound_in_doubt: int
    dead_letters: int


@frozen(kw_only=True)
class CallCounts:
    """How many calls go on.

    Attributes:
        live: calls that somebody made to us and that have not ended.
        unfinished_recordings: messages of callers that are still to be fetched.
    """

    live: int
    unfinished_recordings: int


@frozen(kw_only=True)
class LiveCallSummary:
    """A live call as a list shows it.

    Attributes:
        caller: None for a number that is withheld.
        advisor: who is being reached, or is on the line.
        duration_s: so far.
    """

    id: int
    started_at: datetime
    phase: Phase
    caller: str | None
    advisor: str | None
    duration_s: int


class InteractionType(StrEnum):
    CALL = "call"
    WHATSAPP = "whatsapp"


@frozen(kw_only=True)
class Interaction:
    """One call or one message, in the shape they share.

    Attributes:
        platform: whose it is, `elevenlabs` or `twilio`.
        external_id: its id there; None for a message that Twilio does not have.
        content: a call's summary, a message's text.
        metadata: what only calls or only messages have, unknown values left out.
    """

    type: InteractionType
    at: datetime
    platform: str
    external_id: str | None
    content: str
    metadata: Mapping[str, object]


@frozen(kw_only=True)
class ConversationSummary:
    """A conversation as a list shows it. `unanswered` counts inbound messages that wait."""

    id: int
    person_id: int
    phone_number: str | None
    name: str | None
    status: str
    agent_id: str
    agent_conversation_id: str | None
    started_at: datetime
    closed_at: datetime | None
    last_message_at: datetime | None
    message_count: int
    unanswered: int


@frozen(kw_only=True)
class ConversationPage:
    """`next_cursor` is to be given for the page after this one; None on the last."""

    conversations: Sequence[ConversationSummary]
    next_cursor: int | None


@frozen(kw_only=True)
class ConversationTimeline:
    """A conversation with its calls and messages, oldest first.

    Attributes:
        person_uuid: the person's pseudonym, by which ElevenLabs knows them.
    """

    summary: ConversationSummary
    person_uuid: UUID
    interactions: Sequence[Interaction]


@frozen(kw_only=True)
class RecipientProgress:
    """A recipient of a batch and how far the follow-up is.

    Attributes:
        status: the recipient's status in the batch, as ElevenLabs says it.
        call_id: ElevenLabs conversation id; None until dialled.
        outcome: the call's, else the batch's word for it; None while nothing is known.
        follow_up: None for a call that has not been found yet.
    """

    id: str
    phone_number: str | None
    status: str
    call_id: str | None
    outcome: CallOutcome | None
    follow_up: FollowUpState | None
    follow_up_note: str | None


@frozen(kw_only=True)
class BatchProgress:
    """`is_settled`: nothing in it can change any more unless it is retried."""

    id: str
    name: str
    agent_id: str
    status: str
    created_at: datetime
    updated_at: datetime
    is_settled: bool
    recipients: Sequence[RecipientProgress]


class Overview(Protocol):
    """Reads for the status, the admin page and the commands; nothing here changes anything.

    Every method raises `StoreUnavailableError` while the database is out of reach.
    """

    async def queues(self) -> Queues: ...

    async def call_counts(self) -> CallCounts: ...

    async def live_calls(self) -> Sequence[LiveCallSummary]:
        """The calls that go on now, oldest first, fifty at most."""
        ...

    async def conversations(self, cursor: int | None, *, limit: int) -> ConversationPage:
        """Newest first; `cursor` is the `next_cursor` of the page before, None for the first."""
        ...

    async def conversation(self, conversation_id: int) -> ConversationTimeline | None: ...

    async def find_by_number(self, identities: Sequence[str]) -> ConversationSummary | None:
        """The newest conversation of the person with one of these identities."""
        ...

    async def newest_batch(self) -> BatchProgress | None: ...

    async def batch(self, batch_id: str) -> BatchProgress | None: ...
