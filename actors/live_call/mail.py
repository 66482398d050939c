"""What a live call's mailbox takes."""

from typing import TypeAlias

from attrs import define, field, frozen

from actors.live_call.effects import Answer
from actors.live_call.events import CallEvent, Source
from actors.live_call.line import Line, LineEvent
from actors.live_call.ports import LiveCall
from actors.runtime.mailbox import Reply


@frozen
class Answered:
    """What a request is answered with, and the call as it stands then.

    Attributes:
        whisper: what the advisor is told, where that is the answer.
        is_stored: the call as it stands is in the database; else it goes on without.
    """

    answer: Answer
    call: LiveCall
    whisper: str = ""
    is_stored: bool = True


@define(eq=False)
class Happened:
    """An event that somebody told us of; whoever wants an answer gets it once the new state is stored."""

    event: CallEvent
    reply: Reply[Answered] = field(factory=Reply)


@define(eq=False)
class Admit:
    """The stream for the agent's leg `leg` has opened."""

    leg: int
    line: Line
    reply: Reply[Answered] = field(factory=Reply)


@frozen
class OnLine:
    """Something happened on the stream of the agent's leg `leg`."""

    leg: int
    event: LineEvent


@define(eq=False, kw_only=True)
class AskForAdvisor:
    """The caller wants a person: this one, or one for a topic, or whoever's turn it is.

    Attributes:
        tool_call_id: of the agent's tool, which waits for its answer; empty for other sources.
    """

    source: Source
    reason: str
    name: str = ""
    topic: str = ""
    tool_call_id: str = ""
    reply: Reply[Answered] = field(factory=Reply)


@define(eq=False)
class AwaitSid:
    """Somebody wants to know a leg's SID: answered once that is known, or the leg is over."""

    leg: int
    reply: Reply[str | None] = field(factory=Reply)


@frozen
class Nudge:
    """See whether there is anything to do."""


Question: TypeAlias = Happened | Admit | AskForAdvisor | AwaitSid
"""Carries a `reply` that somebody may wait for."""

CallMessage: TypeAlias = Question | OnLine | Nudge
