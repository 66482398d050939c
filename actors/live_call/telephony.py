"""The port to the telephone: what a live call asks of Twilio, and what it may be told. Pure.

A leg is one call of Twilio's, known by its Call SID. A room is a conference; its name is known before its SID, and of
several rooms of one name at most one is open. Whatever is told here may be a moment old (Twilio docs:
voice/api/call-resource: reads are eventually consistent): reports that Twilio sends by itself, see `reports`, count more.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import Enum, auto
from typing import Final, Protocol, TypeAlias

from attrs import field, frozen
from attrs.validators import ge

ROOM_PREFIX: Final = "conf_"

CALLER_LABEL: Final = "caller"
AGENT_LABEL: Final = "agent"
ADVISOR_LABEL: Final = "advisor"

LABEL_TAKEN_CODE: Final = 16025
"""Code of a refusal: somebody of that label is in the room, or on the way into it, so nobody was called (Twilio docs:
api/errors/16025). For an agent it is news of an earlier dial whose outcome was unknown.
"""


def room_name(call_sid: str) -> str:
    """The name of the room that the caller with this leg meets everybody in."""
    return ROOM_PREFIX + call_sid


class LegStatus(Enum):
    """Statuses of a leg, by Twilio's words (Twilio docs: voice/api/call-resource). Pick-up is `IN_PROGRESS`, and no proof
    of a person.
    """

    QUEUED = "queued"
    INITIATED = "initiated"
    """Told by reports alone; whoever asks for the leg is told `QUEUED`."""
    RINGING = "ringing"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    BUSY = "busy"
    FAILED = "failed"
    NO_ANSWER = "no-answer"
    CANCELED = "canceled"

    @property
    def is_over(self) -> bool:
        return self in _OVER


_OVER: Final = frozenset(
    {LegStatus.COMPLETED, LegStatus.BUSY, LegStatus.FAILED, LegStatus.NO_ANSWER, LegStatus.CANCELED}
)


# --- Dialling -----------------------------------------------------------------------------------------


@frozen(kw_only=True)
class AdvisorDial:
    """An advisor who is to be called.

    Attributes:
        leg: its ordinal within the live call.
        number: E.164.
        ring_s: how long Twilio lets it ring, in whole seconds, rounded up, and at least 5; it adds some five seconds of
            its own (Twilio docs: voice/api/call-resource, `Timeout`). A second fence: who dials ends the leg himself.
        talk_max_s: after which Twilio ends the leg.
    """

    live_call_id: int
    leg: int
    number: str
    ring_s: float
    talk_max_s: int = field(validator=ge(1))


@frozen(kw_only=True)
class AgentDial:
    """The agent, who is to join a room.

    Attributes:
        leg: its ordinal within the live call.
        token: comes back in the request for what the agent's leg is to do, and is what proves it ours.
        time_limit_s: after which Twilio ends the leg.
    """

    live_call_id: int
    leg: int
    room: str
    token: str = field(repr=False)
    time_limit_s: int = field(validator=ge(1))


@frozen
class Dialled:
    """The leg exists; nobody has picked up yet."""

    sid: str


@frozen(kw_only=True)
class DialRefused:
    """Twilio will not place this call; no leg exists. `code` is Twilio's, or the HTTP status without one."""

    code: int
    detail: str


@frozen(kw_only=True)
class NotDialled:
    """Surely nothing happened: Twilio could not be reached, or asked to be left alone for a moment. May be tried again.

    Attributes:
        retry_after_s: how long Twilio asked us to wait.
    """

    detail: str
    retry_after_s: float | None = None


@frozen(kw_only=True)
class DialUnknown:
    """The request left and no usable answer came: the leg may or may not exist.

    Its reports name the live call and the leg, and its SID with them; else `Telephony.legs_to` and `Telephony.room` tell.
    """

    detail: str


DialOutcome: TypeAlias = Dialled | DialRefused | NotDialled | DialUnknown


# --- What Twilio knows --------------------------------------------------------------------------------


@frozen(kw_only=True)
class DialledLeg:
    """A leg that we dialled, as Twilio's own list shows it.

    Attributes:
        created_at: when Twilio took the request, to the second; the telephone may ring much later, as calls are placed
            one a second.
    """

    sid: str
    status: LegStatus
    number: str
    created_at: datetime


class RoomStatus(Enum):
    """`INIT` before two are inside who may talk; a room of one stays that (twilio-node issue 604)."""

    INIT = "init"
    IN_PROGRESS = "in-progress"


class ParticipantStatus(Enum):
    """How far somebody has come into a room (Twilio OpenAPI: api_v2010). `OTHER` is what Twilio may invent."""

    QUEUED = "queued"
    CONNECTING = "connecting"
    RINGING = "ringing"
    CONNECTED = "connected"
    COMPLETE = "complete"
    FAILED = "failed"
    OTHER = "other"


@frozen(kw_only=True)
class Participant:
    """Somebody in a room, or on the way into it.

    Attributes:
        label: empty without one.
        hold: hears hold music, hears nobody and is heard by nobody.
    """

    call_sid: str
    label: str
    hold: bool
    status: ParticipantStatus


@frozen(kw_only=True)
class OpenRoom:
    """A room that is not over."""

    sid: str
    name: str
    status: RoomStatus


@frozen(kw_only=True)
class Room:
    """A room that is not over, and who is in it."""

    sid: str
    name: str
    status: RoomStatus
    participants: Sequence[Participant]

    def labelled(self, label: str) -> Participant | None:
        return next((one for one in self.participants if one.label == label), None)


class RedirectOutcome(Enum):
    """What became of a new document for a leg."""

    DONE = auto()
    OVER = auto()
    """There is no such leg, it is over, or nobody has picked it up: the usual end of a race."""
    FAILED = auto()
    """Twilio could not be told, or it is not known whether it was. Worth another try: twice does what once does."""


# --- Recordings ---------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Recording:
    """The sound of a recording. `content_type` as Twilio names it, `audio/mpeg` as a rule."""

    audio: bytes = field(repr=False)
    content_type: str


class NoRecording(Enum):
    NOT_THERE = auto()
    """Not ready yet, or gone."""
    TOO_LARGE = auto()
    """It is larger than asked for, and always will be."""


@frozen(kw_only=True)
class MadeRecording:
    """A recording that a `<Record>` has made, as Twilio's own list shows it.

    Attributes:
        duration_s: zero where it is not known yet.
    """

    sid: str
    duration_s: int


# --- The port -----------------------------------------------------------------------------------------


class Telephony(Protocol):
    """Twilio's telephone.

    What is asked for is asked once: trying again is the caller's business. Every method ends within a limit of its own.
    What changes something never raises for what is to be expected; whoever asks a question gets `VendorUnavailableError`
    (worth another try) or `VendorRefusedError` where there is no answer. Cancellation leaves it open whether Twilio was
    told.

    Twilio places one call a second of an account, agents' and advisors' alike, and queues the rest (Twilio docs:
    voice/api/conference-participant-resource): in a rush a leg stays `QUEUED` for a while, which is no failure.
    """

    async def add_agent(self, dial: AgentDial) -> DialOutcome:
        """Call the agent into a room, which is opened where there is none.

        Its leg has two SIDs, one in the room, which is the one given here and the one in the room's reports, and one with
        which its document is asked for (`reports.AgentCall`). It says nothing to the room before it is connected, ends
        nothing when it leaves, and its label is `AGENT_LABEL`.
        """
        ...

    async def dial_advisor(self, dial: AdvisorDial) -> DialOutcome:
        """Call an advisor, who hears what `/voice/transfer/connect` answers once the leg is picked up."""
        ...

    async def end_leg(self, sid: str) -> bool:
        """End a leg in whatever state it is in; one that is over, or unknown to Twilio, counts as ended.

        False: Twilio could not be told, or it is not known whether it was. Worth another try.
        """
        ...

    async def limit(self, sid: str, seconds: int) -> bool:
        """Have Twilio end a leg that was picked up after so long, whatever becomes of us; one that is over needs none.

        Whether Twilio counts from the beginning of the leg or from now is written down nowhere; `seconds` is to be good
        for both. False: Twilio could not be told, or it is not known whether it was. Worth another try.
        """
        ...

    async def redirect(self, sid: str, path: str) -> RedirectOutcome:
        """Have a leg that was picked up drop what it does, its seat in a room too, and ask for the document at `path`.

        A path below the public URL, with its query.
        """
        ...

    async def hold(self, room: str, label: str, *, on: bool, music_path: str) -> bool:
        """Put somebody in a room on hold with the music that `music_path` answers to a GET, or take the hold off.

        False: it could not be done now. Either there is no such room or participant (a new room may be found a moment
        later only), or Twilio could not be told. Worth another try while the participant is known to be there.
        """
        ...

    async def leg_status(self, sid: str) -> LegStatus | None:
        """None: Twilio knows no such leg.

        Raises:
            VendorUnavailableError, VendorRefusedError: there is no answer.
        """
        ...

    async def room(self, name: str) -> Room | None:
        """The open room of a name; None without one. A new room may be found a moment later only.

        Raises:
            VendorUnavailableError, VendorRefusedError: there is no answer.
        """
        ...

    async def end_room(self, sid: str) -> bool:
        """End a room for all in it; one that is over counts as ended. Legs that came by a document go on with it.

        False: Twilio could not be told, or it is not known whether it was.
        """
        ...

    async def legs_to(self, number: str, *, since: datetime) -> Sequence[DialledLeg]:
        """Legs that we dialled to a number since then, by our clock as it is now, or shortly before; newest first.

        Settles a `DialUnknown`, though not at once: a new leg may be listed some seconds later only.

        Raises:
            VendorUnavailableError, VendorRefusedError: the list could not be read.
        """
        ...

    async def open_rooms(self, *, prefix: str = ROOM_PREFIX) -> Sequence[OpenRoom]:
        """All rooms that are not over and whose name begins so, as many as are looked through.

        Raises:
            VendorUnavailableError, VendorRefusedError: the list could not be read.
        """
        ...

    async def recordings_of(self, sid: str) -> Sequence[MadeRecording]:
        """What a leg was recorded to say by its documents, oldest first; what was deleted is not there any more.

        Raises:
            VendorUnavailableError, VendorRefusedError: the list could not be read.
        """
        ...

    async def recording(self, sid: str, *, max_bytes: int) -> Recording | NoRecording:
        """The sound of a recording.

        Raises:
            VendorUnavailableError, VendorRefusedError: it could not be fetched.
        """
        ...

    async def delete_recording(self, sid: str) -> bool:
        """Delete a recording at Twilio; one that is not there counts as deleted. False: worth another try."""
        ...
