"""What the actors ask of the world.

Each port is as narrow as the one actor that uses it. A store's method is one transaction: it has happened
as a whole when it returns and not at all when it raises. A cancelled call may or may not have happened.
Stores raise `StoreUnavailableError` while the database is out of reach; nobody but the supervisor's child
wrapper and the webhooks catch it.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from attrs import frozen

from actors.agent_events import AgentEvent, SessionEnd, SessionPlan
from actors.calls import Batch, BatchSummary, CallDetails, CallOutcome, CallSighting, FollowUpState, SeenCall
from actors.campaigns import Campaign
from actors.messages import (
    InboundMessage,
    Outgoing,
    PendingMessage,
    Purpose,
    Reported,
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
    """A vendor's API refuses us: wrong key, no credit, no permission. Needs the operator.

    Attributes:
        status: the HTTP status it was said with; None without one.
    """

    def __init__(self, message: str = "", *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


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

    async def inform(self, text: str) -> None:
        """Tell the agent something that it knows from then on, beside what it was told before. Starts no turn."""
        ...

    async def hear(self, audio: bytes) -> None:
        """Let the agent hear the person: mu-law 8 kHz, the next piece of any length. Only in a session that speaks.

        Returns when the piece is on its way, without letting others run where that is at once.
        """
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
        """Messages from our sender to `address` that Twilio has created since then, by our clock as it is now.

        Raises:
            VendorUnavailableError, VendorRefusedError: the list could not be read.
        """
        ...

    def received_since(
        self, since: datetime, *, until: datetime | None = None
    ) -> AsyncIterator[InboundMessage]:
        """Messages to our sender that Twilio has received since then, as far as its list tells, newest first.

        Those that it has received after `until` are left out. Both moments are by our clock as it is now.

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
        """Record calls that were found; returns the ids whose details are wanted because of it.

        Those are the ids nobody had seen before, and of calls that the operator's command names
        (`CallSighting.COMMAND`) those whose follow-up had ended as `NONE`: they wait for their details again
        as if they were new, unless an operator closed the conversation before the opening. A call seen again
        fills in batch, recipient, outcome and number where they were missing; its sighting changes only from
        one that polling made to one of somebody who told us of this very call (`WEBHOOK`, `COMMAND`, `LIVE`).
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

    async def awaited(self, call_id: str) -> "AwaitedCall | None":
        """A call whose details are still wanted, whenever they are; None for any other."""
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
        A call that is past `AWAITING_DETAILS`, or is still `LIVE`, is left as it is. One that is only a part of a
        live call ends as `NONE` instead of becoming due. Returns the person's id, None without identities.
        """
        ...

    async def give_up(self, call_id: str, *, reason: str) -> None:
        """No usable details will come: the follow-up ends as `NONE`, with the reason as its note.

        ElevenLabs does not know the call, refuses to tell of it, tells what cannot be taken in, or says a day
        later that it still goes on. Nothing happens to a call that is past `AWAITING_DETAILS`; `see` takes one
        up again that was given up.
        """
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
        note: what else happened in the live call it was held in.
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
    note: str | None = None


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
    """Used by the watchers that bring back what waits: recovery and readmission."""

    async def people_with_work(self, *, now: datetime, after: int, limit: int) -> Sequence[int]:
        """People with unanswered messages that may be tried now, or with an opening to write.

        In the order of their ids, those above `after`; so all of them can be had page by page.
        """
        ...

    async def readmit(self, agent_id: str | None, *, after: int, limit: int) -> Sequence[int]:
        """Let turns with this agent, or with any, that were put off be tried at once; returns the people.

        In the order of their ids, those above `after`.
        """
        ...

    async def people_unanswered(self) -> int:
        """How many people wait for the answer to a turn that failed at least once."""
        ...


@frozen(kw_only=True)
class Lane:
    """The head of one person's queue of outbound messages.

    Attributes:
        purpose: why this person is written to: of the oldest message in the lane that is no opening, since it makes the
            openings before it urgent too; `OPENING` when there are only such.
        in_doubt_since: the head was being sent and nobody knows what became of it; None when it is
            plainly pending.
        not_before: the head must wait until then; None: it may go at once.
    """

    person_id: int
    purpose: Purpose
    in_doubt_since: datetime | None
    not_before: datetime | None


class OutboxStore(Protocol):
    """Used by the outbox. One message per person is in flight; the rest of the person's lane waits.

    What is held back is passed over, as if it were not in its lane:

    - a campaign's openings while it is held (see `HoldStore`), except to people whose window was open when it was
      queued, or who have written since;
    - answers and fallbacks that would have to go as their template. One template, a message of its own with the purpose
      `REOPENING`, asks the person to write; when they do, everything that waited goes as text, in order. A reopening
      that was not sent ends when the person writes first.
    """

    async def lanes(self, *, limit: int, exclude: Collection[int]) -> Sequence[Lane]:
        """Lanes with anything left to send, longest waiting first: up to `limit` of openings, and as many others."""
        ...

    async def claim(self, person_id: int, *, now: datetime) -> Outgoing | None:
        """Mark the head of the lane as being sent, in which form, before it is. None when nothing may go now.

        Where an answer or a fallback would have to go as its template, a reopening is made and claimed in its place.
        What went as a template last does not wait any longer once the person has written, and what repeats a failed
        text a minute longer at most. A piece of an answer that is repeated goes where the failed one stood.
        """
        ...

    async def in_doubt(self, person_id: int) -> Outgoing | None:
        """The message of this lane that was being sent, if any."""
        ...

    async def accepted(self, message_id: int, *, sid: str, now: datetime) -> bool:
        """Record Twilio's SID; an opening's call is handled with it. True when the lane has more."""
        ...

    async def refused(self, message_id: int, *, code: int, detail: str, now: datetime) -> bool:
        """Record a final refusal; an opening's call is refused with it. True when the lane has more.

        Where another form may do (`actors.failures`) a new message is put into the lane in the same transaction.
        """
        ...

    async def release(self, message_id: int, *, not_before: datetime) -> None:
        """The message surely did not go: it waits again at the head of its lane."""
        ...

    async def known_sids(self, sids: Collection[str]) -> Collection[str]:
        """Those of `sids` that belong to messages in the store."""
        ...

    async def report(
        self, report: StatusReport, *, now: datetime, give_up_after: timedelta | None = None
    ) -> Reported | None:
        """Move a message's status forward, and adopt the SID of one that was in doubt. None: nothing has changed.

        A message that has failed and may go again (`actors.failures.repeat_of`) is followed, in the same transaction
        and once only, by a new one; the call of an opening is queued again then, and refused otherwise. Without a
        template to follow it, 63016 (the window was closed after all) marks the conversation `window_closed`. So does
        the end of a reopening, here and by `refused`: what waited behind it is refused with it, unless the person has
        written.
        """
        ...


class HoldStore(Protocol):
    """Used by the watcher of what is held back. See `actors.campaigns` for what the numbers mean."""

    async def campaigns(self, *, failed_since: datetime, openings: int) -> Sequence[Campaign]:
        """Campaigns of which an opening has failed since then, and those that are held, in the order of their ids.

        `openings`: how many of the newest results are told.
        """
        ...

    async def hold(self, campaign_id: str, *, code: int | None, look_at: datetime, now: datetime) -> None:
        """Hold a campaign's openings back, probes that have not gone among them."""
        ...

    async def probe(self, campaign_id: str, *, openings: int, look_at: datetime) -> Sequence[int]:
        """Let the oldest openings of a held campaign through, so many at most; returns the people they go to."""
        ...

    async def release(self, campaign_ids: Collection[str], *, now: datetime) -> Sequence[str]:
        """Hold these campaigns no longer, and forget how their openings fared; returns those that were held."""
        ...

    async def give_up_held(self, *, written_before: datetime, now: datetime) -> int:
        """Refuse what is held back and was written before then, with the calls of openings; returns how much that was."""
        ...
