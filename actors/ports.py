"""What the actors ask of the world.

Each port is as narrow as the one actor that uses it. A store's method is one transaction: it has happened
as a whole when it returns and not at all when it raises. A cancelled call may or may not have happened.
Stores raise `StoreUnavailableError` while the database is out of reach; nobody but the supervisor's child
wrapper and the webhooks catch it.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from attrs import frozen

from actors.agent_events import AgentEvent, SessionEnd, SessionPlan
from actors.calls import Batch, BatchSummary, CallDetails, CallOutcome, CallSighting, FollowUpState, SeenCall
from actors.messages import (
    InboundMessage,
    Outgoing,
    PendingMessage,
    SendResult,
    SentMessage,
    StatusReport,
    Template,
)


class StoreUnavailableError(Exception):
    """The database cannot be reached or did not answer in time."""


class VendorUnavailableError(Exception):
    """A vendor's API did not answer, or asked to be left alone for a while. Worth another try."""


class VendorRefusedError(Exception):
    """A vendor's API refuses us: wrong key, no credit, no permission. Needs the operator."""


class SessionLostError(Exception):
    """The agent session is gone or going; its end is reported by `AgentSessions.run`."""


class WallClock(Protocol):
    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        ...


# --- ElevenLabs ---------------------------------------------------------------------------------------


class AgentSession(Protocol):
    """An open session with the agent. Methods raise `SessionLostError` once it is gone."""

    @property
    def conversation_id(self) -> str: ...

    async def say(self, text: str) -> None:
        """Say something as the person: starts a turn, and interrupts one that is under way."""
        ...

    async def answer_tool(self, call_id: str, result: str, *, is_error: bool) -> None: ...


class AgentSessions(Protocol):
    async def run(self, plan: SessionPlan, deliver: Callable[[AgentEvent], None]) -> SessionEnd:
        """Open a session and stay with it until it ends, however it ends.

        `deliver` gets every event in order, `SessionOpened` first. It must not block; when it raises
        `trio.WouldBlock` the session is closed as lost. Cancellation closes the session politely, for a
        second at most.
        """
        ...


class CallSource(Protocol):
    """Calls and batches at ElevenLabs.

    Raises:
        VendorUnavailableError, VendorRefusedError: from every method.
    """

    def batches(self) -> AsyncIterator[BatchSummary]:
        """Every batch of the workspace, all pages, newest first."""
        ...

    async def batch(self, batch_id: str) -> Batch | None: ...

    def finished_calls(self, *, started_after: datetime) -> AsyncIterator[SeenCall]:
        """Phone calls that have ended, newest first; chats of the text agent are left out."""
        ...

    async def call(self, call_id: str) -> CallDetails | None: ...


# --- Twilio -------------------------------------------------------------------------------------------


class Messaging(Protocol):
    async def send(self, message: Outgoing, *, as_template: bool) -> SendResult:
        """Hand one message to Twilio, as its text or as its template.

        Cancellation leaves the outcome unknown.
        """
        ...

    async def sent_to(self, address: str, *, since: datetime) -> Sequence[SentMessage]:
        """Messages from our sender to `address` that Twilio has created since then.

        Raises:
            VendorUnavailableError, VendorRefusedError: the list could not be read.
        """
        ...

    def received_since(
        self, since: datetime, *, until: datetime | None = None
    ) -> AsyncIterator[InboundMessage]:
        """Messages to our sender that Twilio has received since then, as far as its list tells, newest first.

        Those that it has received after `until` are left out.

        Raises:
            VendorUnavailableError, VendorRefusedError: while they are read.
        """
        ...

    async def show_typing(self, inbound_sid: str) -> None:
        """Show the person that an answer is being written. Best effort: never raises, never waits long."""
        ...


# --- Stores -------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Received:
    """`is_new` is false for a repeated message, which was stored before."""

    person_id: int
    conversation_id: int
    is_new: bool


class InboxStore(Protocol):
    """Used by the WhatsApp webhook, and by the inbox check that catches up on what it missed."""

    async def newest_message_at(self) -> datetime | None:
        """When the newest inbound message was stored; None before the first."""
        ...

    async def known(self, sids: Collection[str]) -> Collection[str]:
        """Those of `sids` that belong to messages in the store."""
        ...

    async def receive(self, message: InboundMessage, *, default_agent_id: str, now: datetime) -> Received:
        """Store an inbound message once, with its person and open conversation, made where missing."""
        ...


class CallStore(Protocol):
    """Used by the call monitor and the post-call webhook."""

    async def see(self, calls: Sequence[SeenCall], *, now: datetime) -> Sequence[str]:
        """Record calls that were found; returns the ids nobody had seen before.

        A call seen again fills in batch, recipient and outcome where they were missing, and changes
        nothing else.
        """
        ...

    async def save_batch(self, batch: Batch, *, is_settled: bool) -> None:
        """Store a batch with its recipients as they stand. Settled: nothing in it can still change
        unless its `updated_at` does.
        """
        ...

    async def settled_batches(self) -> Mapping[str, datetime]:
        """`updated_at` of every settled batch when it was settled, by batch id."""
        ...

    async def awaiting_details(self, *, now: datetime, limit: int) -> Sequence["AwaitedCall"]:
        """Calls whose details are to be fetched now, longest waiting first."""
        ...

    async def postpone(self, call_id: str, *, until: datetime) -> None:
        """Look at this call again then; counts the attempt."""
        ...

    async def save_details(
        self,
        details: CallDetails,
        *,
        client_name: str | None,
        identities: Sequence[str],
        follow_up: FollowUpState,
        agent_id: str,
    ) -> int | None:
        """Store what is known of a call and move its follow-up on, in one transaction.

        Makes the person and, when the follow-up is due, the open conversation (for text agent `agent_id`).
        A call that is past `AWAITING_DETAILS` is left as it is. Returns the person's id, None without
        identities.
        """
        ...

    async def give_up(self, call_id: str, *, reason: str) -> None:
        """No details will ever come (the call is unknown at ElevenLabs): no follow-up."""
        ...


@frozen(kw_only=True)
class AwaitedCall:
    """A call whose details are wanted. `attempts` so far; `seen_at` is when it was first found."""

    id: str
    sighting: CallSighting
    outcome: CallOutcome | None
    phone_number: str | None
    attempts: int
    seen_at: datetime


@frozen(kw_only=True)
class KnownCall:
    """What a conversation knows of a call.

    Attributes:
        variables: dynamic variables the call was started with.
        collected: data collection values, by field id.
    """

    id: str
    agent_id: str
    outcome: CallOutcome
    started_at: datetime
    duration_s: int
    summary: str | None
    collected: Mapping[str, object]
    variables: Mapping[str, object]
    transcript_excerpt: str


@frozen(kw_only=True)
class TimelineMessage:
    """A message as the history shows it. `direction` is `inbound` or `outbound`."""

    direction: str
    text: str
    at: datetime


@frozen(kw_only=True)
class PersonContext:
    """Everything a session with the agent should know beforehand.

    Attributes:
        calls: newest first.
        messages: the newest messages of this person, oldest first, those still unanswered left out.
    """

    person_id: int
    conversation_id: int
    agent_id: str
    pseudonym: str
    name: str | None
    address: str | None
    window_opened_at: datetime | None
    calls: Sequence[KnownCall]
    messages: Sequence[TimelineMessage]


@frozen(kw_only=True)
class Work:
    """What waits for a person's conversation.

    Attributes:
        conversation_id: the open conversation; None when there is none.
        pending: unanswered messages, oldest first.
        due_calls: calls whose opening is to be written, oldest first.
        turn_failures: turns that failed in a row; the fallback text goes out with the first only.
    """

    conversation_id: int | None
    pending: Sequence[PendingMessage]
    due_calls: Sequence[str]
    turn_failures: int


@frozen(kw_only=True)
class Answer:
    """What goes back to a person after a turn.

    Attributes:
        pieces: messages in order, none blank; empty when there is nothing to say.
        template: goes in place of each piece where the person's window has closed meanwhile.
    """

    address: str
    pieces: Sequence[str]
    template: Template | None = None


@frozen(kw_only=True)
class Opening:
    """The first message after a call.

    Attributes:
        template: goes in place of the text where the person's window is closed.
        note: what the operator should know, such as that no agent session could be opened.
    """

    call_id: str
    conversation_id: int
    address: str
    text: str
    template: Template | None = None
    note: str | None = None


class ConversationStore(Protocol):
    """Used by the conversation actor."""

    async def work(self, person_id: int) -> Work: ...

    async def context(self, person_id: int, *, messages_max: int) -> PersonContext | None:
        """None when the person has no open conversation."""
        ...

    async def save_session(self, conversation_id: int, *, agent_conversation_id: str) -> None: ...

    async def queue_opening(self, opening: Opening, *, now: datetime) -> bool:
        """Put the opening into the outbox and move the call to `QUEUED`. False: it was not due any more."""
        ...

    async def drop_opening(self, call_id: str, *, reason: str) -> None:
        """No opening will be written for this call: its follow-up ends as `NONE`."""
        ...

    async def answer(
        self, conversation_id: int, message_ids: Sequence[int], answer: Answer, *, now: datetime
    ) -> bool:
        """Mark messages answered and put the pieces of the answer into the outbox, in order.

        False when they had been answered already; then nothing is sent.
        """
        ...

    async def add_answer(self, conversation_id: int, answer: Answer, *, now: datetime) -> None:
        """Put a belated part of an answer into the outbox."""
        ...

    async def defer_turn(
        self, conversation_id: int, fallback: Answer, *, retry_at: datetime, now: datetime
    ) -> None:
        """Leave the pending messages unanswered until `retry_at` or the person's next message, count the
        failure, and put the fallback text, if it has any pieces, into the outbox with its own purpose.
        """
        ...

    async def close(self, conversation_id: int, *, now: datetime) -> None:
        """Close the conversation; the next message or call opens another. What is pending is dropped from
        the agent's work and stays in the history.
        """
        ...


class RecoveryStore(Protocol):
    """Used by the recovery watcher."""

    async def people_with_work(self, *, now: datetime, after: int, limit: int) -> Sequence[int]:
        """People with unanswered messages that may be tried now, or with an opening to write.

        In the order of their ids, those above `after`; so all of them can be had page by page.
        """
        ...


@frozen(kw_only=True)
class Lane:
    """The head of one person's queue of outbound messages.

    Attributes:
        in_doubt_since: the head was being sent and nobody knows what became of it; None when it is
            plainly pending.
        not_before: the head must wait until then.
    """

    person_id: int
    in_doubt_since: datetime | None
    not_before: datetime


class OutboxStore(Protocol):
    """Used by the outbox. One message per person is in flight; the rest of the person's lane waits."""

    async def lanes(self, *, limit: int, exclude: Collection[int]) -> Sequence[Lane]:
        """Lanes with anything left to send, longest waiting first."""
        ...

    async def claim(self, person_id: int, *, now: datetime) -> Outgoing | None:
        """Mark the head of the lane as being sent, before it is. None when nothing may go now."""
        ...

    async def in_doubt(self, person_id: int) -> Outgoing | None:
        """The message of this lane that was being sent, if any."""
        ...

    async def accepted(self, message_id: int, *, sid: str, now: datetime) -> bool:
        """Record Twilio's SID; an opening's call is handled with it. True when the lane has more."""
        ...

    async def refused(self, message_id: int, *, code: int, detail: str, now: datetime) -> bool:
        """Record a final refusal. True when the lane has more."""
        ...

    async def release(self, message_id: int, *, not_before: datetime) -> None:
        """The message surely did not go: it waits again at the head of its lane."""
        ...

    async def known_sids(self, sids: Collection[str]) -> Collection[str]:
        """Those of `sids` that belong to messages in the store."""
        ...

    async def report(self, report: StatusReport, *, now: datetime) -> int | None:
        """Move a message's status forward, and adopt the SID of one that was in doubt.

        On 63016 (the window was closed after all) a message that has a template is followed, in the same
        transaction and once only, by a new one that must go as that template; without a template the
        conversation is marked `window_closed`. Returns the person whose lane got that new message, else None.
        """
        ...
