"""The agent's line in a call: one media stream, and the voice sessions that are held over it. Types alone.

A line lives as long as its stream. What happens on it is told in order to whoever it was admitted by; `LineOpened`
is the first event and `LineClosed` the last.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol, TypeAlias

from attrs import field, frozen

from actors.agent_events import SessionEnd, SessionPlan


class Line(Protocol):
    """A stream as the call's actor sees it. Nothing here waits or raises, and after the line's end nothing happens.

    It may be used as soon as it is there, before `LineOpened` was told too.
    """

    @property
    def is_open(self) -> bool:
        """The stream has not ended."""
        ...

    @property
    def has_agent(self) -> bool:
        """A session with the agent is open, or being opened."""
        ...

    def open_agent(self, plan: SessionPlan) -> None:
        """Open a session with the agent; its audio goes both ways from then on. One that is open, or being opened,
        is closed first, and nothing is heard of it any more, its end included.
        """
        ...

    def close_agent(self) -> None:
        """Close the session politely, and keep the stream. Nothing is heard of the session any more."""
        ...

    def music(self, *, on: bool) -> None:
        """Fade hold music in or out under whatever else there is to hear. Lasts until told otherwise, over sessions."""
        ...

    def tell_agent(self, *, context: str, prompt: str = "") -> None:
        """Tell the agent something, and with a `prompt`, which is said as the person, make it speak.

        Goes out in the order of the calls, tools' answers included; while the session is being opened, all of it
        waits. Without a session nothing happens.
        """
        ...

    def answer_tool(self, call_id: str, result: str, *, is_error: bool) -> None: ...

    def mark(self, name: str) -> None:
        """Report `Heard` with this name once everything that the agent has said so far was heard, or cut off by an
        interruption. What the person spoke over counts as heard.
        """
        ...

    def hang_up(self) -> None:
        """End the stream at once: Twilio goes on with what its document has next."""
        ...


class LineEnd(StrEnum):
    """Who ended a line."""

    STOPPED = "stopped"
    """Twilio said so: the call has ended or was given other orders."""
    LOST = "lost"
    """The stream broke."""
    HUNG_UP = "hung_up"
    """We did."""
    CANCELLED = "cancelled"
    """The daemon is stopping, or crashed here."""


@frozen(kw_only=True)
class LineOpened:
    line: Line
    token: str = field(repr=False)
    call_sid: str


@frozen
class LineClosed:
    reason: LineEnd


@frozen
class SessionBegan:
    conversation_id: str


@frozen
class SessionEnded:
    """The agent's session is over and was not closed by us; the line goes on without one."""

    end: SessionEnd


@frozen(kw_only=True)
class ToolAsked:
    """The agent calls a tool of ours; with `expects_response` it waits for `answer_tool`."""

    name: str
    call_id: str
    parameters: Mapping[str, object]
    expects_response: bool


@frozen
class KeyPressed:
    """One of `0123456789*#`. Only streams on the caller's own leg report keys."""

    key: str


@frozen
class Heard:
    """What a mark was set for was heard.

    Attributes:
        is_all: the agent has said nothing since the mark was set.
    """

    name: str
    is_all: bool


@frozen
class AgentSpoke:
    """The agent begins to speak, for the first time in a session or since it was given a prompt or a tool's answer."""


LineEvent: TypeAlias = (
    LineOpened | LineClosed | SessionBegan | SessionEnded | ToolAsked | KeyPressed | Heard | AgentSpoke
)

Report: TypeAlias = Callable[[LineEvent], None]
"""Takes an event of a line. Must neither block nor raise."""
