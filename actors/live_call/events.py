"""What happens to a live call, whoever tells of it. Pure values.

Each may come twice, late, or in another order than it happened; what is lost is made up for by timers.
"""

from enum import StrEnum
from typing import TypeAlias

from attrs import frozen

from actors.agent_events import SessionEndReason
from actors.live_call.effects import Timer
from actors.live_call.telephony import DialOutcome, LegStatus


@frozen
class Begin:
    """The caller is to be given its first document."""


@frozen
class CallerJoined:
    pass


@frozen
class CallerLeft:
    """The caller hung up, or Twilio ended its leg."""


@frozen
class DialEnded:
    """The caller's leg is out of its room, or its stream, and asks what comes next."""


@frozen
class AgentLeft:
    """The agent is out of the room."""

    sid: str


@frozen
class AdvisorJoined:
    sid: str


@frozen
class AdvisorLeft:
    """The advisor is out of the room, which goes on."""

    sid: str


@frozen
class LegAnswered:
    """What Twilio said to a dial."""

    leg: int
    outcome: DialOutcome


@frozen
class LegReported:
    """A status of a leg."""

    leg: int
    sid: str
    status: LegStatus
    sequence: int


@frozen
class StreamOpened:
    leg: int


@frozen
class StreamClosed:
    leg: int


@frozen
class SessionBegan:
    conversation_id: str


@frozen
class SessionEnded:
    reason: SessionEndReason


@frozen
class AgentSpoke:
    """The agent begins to speak, for the first time in a session or since it was told something."""


class Source(StrEnum):
    TOOL = "tool"
    KEY = "key"
    API = "api"


@frozen(kw_only=True)
class AdvisorAsked:
    """The caller wants a person.

    Attributes:
        chosen: the advisor whose turn it is; None when there is nobody to call.
        tool_call_id: of the agent's tool; empty for other sources.
    """

    source: Source
    chosen: str | None
    reason: str
    tool_call_id: str = ""


@frozen
class MessageAsked:
    """The agent wants the caller to leave a message."""

    tool_call_id: str


@frozen
class GateReached:
    """The advisor's leg was picked up and asks what to say."""

    leg: int
    sid: str


@frozen
class GatePassed:
    """1 was pressed."""

    leg: int


@frozen
class GateMissed:
    """Another key was pressed, or none."""

    leg: int


@frozen
class Heard:
    what: Timer


@frozen
class TimeUp:
    timer: Timer
    leg: int


@frozen
class RoomSeen:
    """Who is in the room: SIDs of the participants; None when there is no such room."""

    leg: int
    sids: frozenset[str] | None


@frozen
class SendFailed:
    """The caller's leg did not get its document."""


@frozen
class MenuReached:
    pass


@frozen
class MenuChosen:
    key: str


@frozen
class VoicemailReached:
    pass


@frozen
class RecordEnded:
    """The caller is done with recording."""


@frozen
class Recorded:
    sid: str
    duration_s: int


@frozen(kw_only=True)
class Resumed:
    """The actor lives again.

    Attributes:
        caller: the status of the caller's leg at Twilio; None when it could not be asked.
        room_sids: as in `RoomSeen`.
        advisor: the status of the advisor's leg, where there is one and Twilio knows it.
        has_stream: the agent's stream lives on.
        has_agent: and so does a session on it, or one that is being opened.
    """

    caller: LegStatus | None
    room_sids: frozenset[str] | None
    advisor: LegStatus | None
    has_stream: bool
    has_agent: bool = False


CallEvent: TypeAlias = (
    Begin
    | CallerJoined
    | CallerLeft
    | DialEnded
    | AgentLeft
    | AdvisorJoined
    | AdvisorLeft
    | LegAnswered
    | LegReported
    | StreamOpened
    | StreamClosed
    | SessionBegan
    | SessionEnded
    | AgentSpoke
    | AdvisorAsked
    | MessageAsked
    | GateReached
    | GatePassed
    | GateMissed
    | Heard
    | TimeUp
    | RoomSeen
    | SendFailed
    | MenuReached
    | MenuChosen
    | VoicemailReached
    | RecordEnded
    | Recorded
    | Resumed
)
