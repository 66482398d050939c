"""Finished calls and the batches they come from, as the follow-up needs to know them."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from attrs import Factory, frozen


class CallOutcome(StrEnum):
    COMPLETED = "completed"
    VOICEMAIL = "voicemail"
    NO_ANSWER = "no_answer"
    BUSY = "busy"
    FAILED = "failed"
    CANCELLED = "cancelled"


def surer_outcome(seen: CallOutcome | None, fetched: CallOutcome) -> CallOutcome:
    """Of two reports on one call the one that says more.

    A batch or a telephony event names voicemail, no answer and busy; the conversation's own record of such a
    call may only say that it failed, or that it is done.
    """
    if seen is None or seen in {CallOutcome.COMPLETED, CallOutcome.FAILED}:
        return fetched
    return seen


class CallSighting(StrEnum):
    """Where a finished call was found."""

    WEBHOOK = "webhook"
    BATCH = "batch"
    CONVERSATIONS = "conversations"
    COMMAND = "command"
    LIVE = "live"
    """It was held here, by one of our own live calls."""


class FollowUpState(StrEnum):
    """Where a call's follow-up stands. `HANDLED`, `REFUSED` and `NONE` are final."""

    LIVE = "live"
    """A session of a live call that goes on: nobody follows it up before that ends."""
    AWAITING_DETAILS = "awaiting_details"
    """Found; details or analysis are still to be fetched."""
    DUE = "due"
    """Everything is known; the person's conversation has to write the opening."""
    QUEUED = "queued"
    """The opening stands in the outbox."""
    HANDLED = "handled"
    """Twilio accepted the opening."""
    REFUSED = "refused"
    """Twilio refused the opening for good."""
    NONE = "none"
    """This outcome gets no message, or there is nobody to write to."""


@frozen(kw_only=True)
class SeenCall:
    """A call that was seen to have ended, with whatever was known where it was seen.

    Attributes:
        id: ElevenLabs conversation id; the one key of a call.
    """

    id: str
    sighting: CallSighting
    agent_id: str | None = None
    phone_number: str | None = None
    outcome: CallOutcome | None = None
    batch_id: str | None = None
    recipient_id: str | None = None
    variables: Mapping[str, object] = Factory(dict)


@frozen(kw_only=True)
class TranscriptEntry:
    """One thing said. `offset_s` counts from the start of the call."""

    role: str
    text: str
    offset_s: int


@frozen(kw_only=True)
class CallAnalysis:
    """What ElevenLabs found out about a call once it was over.

    Attributes:
        collected: values of the agent's data collection fields, by field id.
    """

    summary: str
    title: str | None = None
    successful: str | None = None
    collected: Mapping[str, object] = Factory(dict)
    sentiment: str | None = None


@frozen(kw_only=True)
class CallDetails:
    """A call as ElevenLabs tells it.

    Attributes:
        is_over: nothing more will be said; without it, look again later.
        analysis: None while it is being made, or when there will be none.
        analysis_pending: the call is over and its analysis still being made.
        phone_number: E.164 of the person on the other end; None when there was no phone call.
        variables: the dynamic variables that the call was started with.
    """

    id: str
    agent_id: str
    is_over: bool
    outcome: CallOutcome
    phone_number: str | None
    direction: str | None
    started_at: datetime
    duration_s: int
    transcript: Sequence[TranscriptEntry] = ()
    analysis: CallAnalysis | None = None
    analysis_pending: bool = False
    variables: Mapping[str, object] = Factory(dict)
    batch_id: str | None = None
    recipient_id: str | None = None

    @property
    def ended_at(self) -> datetime:
        return self.started_at + timedelta(seconds=self.duration_s)


@frozen(kw_only=True)
class BatchRecipient:
    """One line of a batch. `call_id` is None until it was dialled, and a retry may change it."""

    id: str
    phone_number: str | None
    status: str
    outcome: CallOutcome | None
    call_id: str | None
    variables: Mapping[str, object] = Factory(dict)


@frozen(kw_only=True)
class BatchSummary:
    id: str
    name: str
    agent_id: str
    status: str
    is_over: bool
    created_at: datetime
    updated_at: datetime


@frozen(kw_only=True)
class Batch:
    summary: BatchSummary
    recipients: Sequence[BatchRecipient]
