"""What an agent session is asked for, what it says, and how it ends.

The shapes follow the ElevenLabs AsyncAPI of the agent WebSocket, with what no conversation needs left out.
`event_id` numbers grow during a session and are shared by all kinds of event, so they order events but do
not count them. An event that came without one carries None.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

from attrs import Factory, frozen

if TYPE_CHECKING:
    from actors.ports import AgentSession


@frozen(kw_only=True)
class SessionPlan:
    """A session that is wanted.

    Attributes:
        user_id: stable pseudonym of the person; never a phone number.
        dynamic_variables: what the agent's prompt may refer to as `{{name}}`.
        context: told to the agent as a contextual update before the first message; empty for nothing.
        speaks: a session in sound, mu-law 8 kHz both ways, for which nothing of the agent is overridden that is not
            given here. Without it the session is one of text, in which the agent waits for the person to begin.
        first_message: what an agent that speaks says first, in place of its own; the agent must allow that.
    """

    agent_id: str
    user_id: str
    dynamic_variables: Mapping[str, str | int | float | bool] = Factory(dict)
    context: str = ""
    speaks: bool = False
    first_message: str | None = None


@frozen
class SessionOpened:
    """The agent accepted the session. Always the first event, but no promise that it stays: a refused
    override closes the socket right after it.
    """

    session: "AgentSession"


@frozen(kw_only=True)
class AgentReplied:
    """A reply in its final form. One turn may bring several, around tools."""

    text: str
    event_id: int | None


class PartKind(Enum):
    START = auto()
    DELTA = auto()
    STOP = auto()


@frozen(kw_only=True)
class ReplyPart:
    """A streamed piece of a reply whose whole text normally follows as `AgentReplied`."""

    kind: PartKind
    text: str
    event_id: int | None


@frozen(kw_only=True)
class ReplyCorrected:
    """The agent was interrupted and said only part of the reply with this `event_id`."""

    corrected: str
    event_id: int | None


@frozen(kw_only=True)
class ReplyCompleted:
    """The whole reply, pending tool calls included, is over. Not every agent sends it, and it may be late."""

    event_id: int | None


@frozen(kw_only=True)
class ToolCalled:
    """The agent calls a tool of ours; with `expects_response` it waits for exactly one result."""

    name: str
    call_id: str
    parameters: Mapping[str, object]
    expects_response: bool
    event_id: int | None


@frozen(kw_only=True)
class ToolStarted:
    """The agent began to use a tool of its own; more of the reply follows."""

    name: str
    call_id: str
    event_id: int | None


@frozen(kw_only=True)
class ToolFinished:
    name: str
    call_id: str
    is_error: bool
    event_id: int | None


@frozen(kw_only=True)
class AgentFault:
    """The agent reported an error; normally the session's end follows, with the same code."""

    code: int
    error_type: str
    detail: str


@frozen(kw_only=True)
class AgentAudio:
    """A piece of the agent's voice, of any length. Pieces come in bursts, faster than they can be heard.

    This event and the next two come in sessions that speak, and in no other.

    Attributes:
        payload: mu-law 8 kHz, as it came.
        event_id: the same for all pieces of one utterance.
    """

    payload: bytes
    event_id: int | None


@frozen(kw_only=True)
class AgentInterrupted:
    """The person spoke over the agent: what was not heard yet of events up to this one is void."""

    event_id: int | None


@frozen(kw_only=True)
class PersonSaid:
    """What the person said, as the agent understood it."""

    text: str


AgentEvent: TypeAlias = (
    SessionOpened
    | AgentReplied
    | ReplyPart
    | ReplyCorrected
    | ReplyCompleted
    | ToolCalled
    | ToolStarted
    | ToolFinished
    | AgentFault
    | AgentAudio
    | AgentInterrupted
    | PersonSaid
)


class SessionEndReason(Enum):
    """Why a session ended, as far as it decides what to do next."""

    ENDED_BY_AGENT = "ended_by_agent"
    """Close 1000: the agent said goodbye or the session's maximum duration has passed."""
    LOST = "lost"
    """The connection broke, could not be made, or was not answered in time. Worth another try."""
    FAILED = "failed"
    """The agent's side failed (1002, 1011, 4300, an HTTP 429 or 5xx at the start). Worth another try."""
    FULL = "full"
    """ElevenLabs takes no more sessions of ours at a time (an HTTP 429 `concurrent_limit_exceeded`). Worth another
    try once one of them has ended."""
    REFUSED = "refused"
    """Our request or the account is at fault (1008, 3000, an HTTP 401, 403 or 404). Trying again unchanged
    changes nothing and costs money."""


@frozen(kw_only=True)
class SessionEnd:
    """How a session ended.

    Attributes:
        code: WebSocket close code, or HTTP status where no socket came about; None without either.
        detail: a sentence for the operator, without personal data.
    """

    reason: SessionEndReason
    code: int | None
    detail: str

    @property
    def may_retry(self) -> bool:
        return self.reason is not SessionEndReason.REFUSED
