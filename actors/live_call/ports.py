"""What live calls ask of the database. As in `actors.ports`, a method is one transaction.

Stores raise `StoreUnavailableError` while the database is out of reach.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from attrs import field, frozen

from actors.live_call.reports import IncomingCall
from actors.live_call.state import CallState, Ending, Mode
from actors.messages import Template
from actors.ports import KnownCall, TimelineMessage

SEEK_AFTER: Final = timedelta(minutes=1)
"""After its end a call that ended at the voicemail is sought through: by then Twilio has made a recording of what was said
last, lists it, and has as a rule told of it.
"""


@frozen(kw_only=True)
class LiveCall:
    """A call that somebody made to us.

    Attributes:
        call_sid: of the caller's own leg; its room is named after it.
        caller, called: as in `IncomingCall`.
    """

    id: int
    call_sid: str
    caller: str | None
    called: str | None
    started_at: datetime
    state: CallState


@frozen(kw_only=True)
class CallerHistory:
    """What is known of a caller by their number: earlier calls and messages, whatever became of the conversation.

    Attributes:
        calls: newest first.
        messages: the newest ones, oldest first.
    """

    pseudonym: str
    name: str | None
    calls: Sequence[KnownCall]
    messages: Sequence[TimelineMessage]


class LiveCallStore(Protocol):
    """Used by the voice routes and by the calls' actors."""

    async def begin(self, incoming: IncomingCall, *, mode: Mode, now: datetime) -> LiveCall:
        """Store a call once; asked again for the same leg: the call as it stands."""
        ...

    async def load(self, live_call_id: int) -> LiveCall | None: ...

    async def find(self, call_sid: str) -> int | None:
        """The live call whose caller has this leg."""
        ...

    async def save(self, live_call_id: int, state: CallState, *, now: datetime) -> None:
        """Store where the call stands. A call that has ended stays ended."""
        ...

    async def keep_session(
        self, live_call_id: int, *, conversation_id: str, agent_id: str, now: datetime
    ) -> None:
        """Record a session of the agent in this call as a call with the follow-up `LIVE`, which nobody follows up
        before the live call ends, whoever finds it and however often. Kept again: nothing changes.
        """
        ...

    async def finish(
        self,
        live_call_id: int,
        state: CallState,
        *,
        ending: Ending,
        note: str,
        follows_up: bool,
        now: datetime,
    ) -> bool:
        """The call has ended: store that, and let its sessions be followed up, and what was recorded be sought.

        Their details are awaited from now on. Only the longest session leads to an opening, and none without
        `follows_up`; the others are parts of it. `note` tells the person's agent what else happened in the call. Done
        again: nothing changes. True when details are wanted.
        """
        ...

    async def add_note(self, live_call_id: int, note: str) -> None:
        """Add to the note that `finish` gave, or is to give. What stands there already is not added again."""
        ...

    async def unfinished(self) -> Sequence[int]:
        """Ids of the calls that have not ended, oldest first."""
        ...

    async def history(self, identities: Sequence[str], *, messages_max: int) -> CallerHistory | None:
        """None for somebody nobody knows."""
        ...


@frozen(kw_only=True)
class AwaitedRecording:
    """A message that a caller left and that is still at Twilio.

    Attributes:
        advisor: whom it is for; empty when nobody was tried.
        caller_name: as far as earlier calls tell.
        attempts: to fetch it, so far.
    """

    id: int
    live_call_id: int
    sid: str
    advisor: str
    caller: str | None
    caller_name: str | None
    duration_s: int
    recorded_at: datetime
    attempts: int


@frozen(kw_only=True)
class VoicemailCall:
    """A call that has ended and whose caller could leave a message."""

    live_call_id: int
    call_sid: str
    ended_at: datetime


@frozen(kw_only=True)
class UndeletedRecording:
    """A message that is kept, and still at Twilio as far as is known. `attempts` to delete it there, so far."""

    id: int
    sid: str
    attempts: int


@frozen(kw_only=True)
class Notice:
    """A WhatsApp message to an advisor. Opt-out and contact hours do not apply to it.

    Attributes:
        identities: canonical names of the advisor's address, surest first.
        template: goes in place of the text where the advisor's window is closed.
    """

    address: str
    identities: Sequence[str]
    name: str
    text: str
    template: Template | None
    agent_id: str


@frozen(kw_only=True)
class KeptRecording:
    audio: bytes = field(repr=False)
    content_type: str


class RecordingStore(Protocol):
    """Used by the voice routes, by the calls' actors and by the voicemail, which fetches recordings."""

    async def unsought(self, *, now: datetime, limit: int) -> Sequence[VoicemailCall]:
        """Calls that ended at the voicemail and are to be sought through now, longest waiting first."""
        ...

    async def seek_later(self, live_call_id: int, *, until: datetime) -> None:
        """Seek through a call then, if it is still to be."""
        ...

    async def sought(self, live_call_id: int, *, sids: Sequence[str]) -> bool:
        """These are all that the call's caller has recorded. True, and the call needs no more seeking, where each of them
        is awaited, kept or dropped here; False, and nothing changes, where one is not.
        """
        ...

    async def expect(
        self, live_call_id: int, *, sid: str, advisor: str, duration_s: int, now: datetime
    ) -> None:
        """A recording is to be fetched; once for each SID."""
        ...

    async def due(self, *, now: datetime, limit: int) -> Sequence[AwaitedRecording]:
        """Recordings that are to be fetched now, longest waiting first."""
        ...

    async def postpone(self, recording_id: int, *, until: datetime) -> None:
        """Try again then, to fetch it or to delete it at Twilio; counts the attempt."""
        ...

    async def drop(self, recording_id: int, *, reason: str) -> None:
        """It cannot be had."""
        ...

    async def keep(
        self, recording_id: int, recording: KeptRecording, *, notice: Notice | None, now: datetime
    ) -> int | None:
        """Store a recording, and put the notice of it into the outbox, once. Returns the person it goes to.

        From now on it is to be deleted at Twilio.
        """
        ...

    async def undeleted(self, *, now: datetime, limit: int) -> Sequence[UndeletedRecording]:
        """Recordings that are to be deleted at Twilio now, longest waiting first."""
        ...

    async def deleted(self, recording_id: int, *, now: datetime) -> None:
        """A recording that is kept is at Twilio no more."""
        ...

    async def kept(self, recording_id: int) -> KeptRecording | None: ...
