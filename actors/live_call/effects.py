"""What a live call's step asks for: commands to Twilio and to the stream, words for the agent, wake-ups. Pure values.

All of them may be done twice without harm, except dialling, which is done once for each leg.
"""

from enum import StrEnum
from typing import TypeAlias

from attrs import frozen

from actors.live_call.state import Ending, LeftMessage, Missed, Opening


class Place(StrEnum):
    """Where the caller's leg can be sent."""

    STREAM = "stream"
    ROOM = "room"
    MENU = "menu"
    VOICEMAIL = "voicemail"


class Timer(StrEnum):
    """What is waited for; a leg's ordinal stands beside it, so that one that is late is known to be."""

    AGENT = "agent"
    """The agent's stream to open."""
    CALLER = "caller"
    """The caller to be seen in the room, before the agent begins to speak."""
    DIAL = "dial"
    """The advisor's telephone to ring."""
    RING = "ring"
    """The advisor to pick up."""
    GATE = "gate"
    """The advisor to press 1."""
    JOIN = "join"
    """The advisor to come into the room."""
    MOVE = "move"
    """The agent to say that it connects, before the caller is moved to the room (direct mode)."""
    LEAVE = "leave"
    """The agent to say that the advisor is there, before it leaves."""
    MESSAGE = "message"
    """The agent to say that a message can be left, before the caller is sent there."""
    GOODBYE = "goodbye"
    """The agent's last words to be heard."""
    GRACE = "grace"
    """The news that the caller has hung up: who lost a leg may learn of it a moment later."""
    CALL = "call"
    """The end of the longest call."""


class Telling(StrEnum):
    """What the agent is told. Its words stand in the settings."""

    ADVISOR_CALLED = "advisor_called"
    """An advisor is being called; for requests that did not come from the agent."""
    NO_ADVISOR = "no_advisor"
    ADVISOR_MISSED = "advisor_missed"
    ADVISOR_JOINED = "advisor_joined"
    ADVISOR_LEFT = "advisor_left"


class ToolAnswer(StrEnum):
    CALLING = "calling"
    NOBODY = "nobody"
    RECORDING = "recording"
    NOT_NOW = "not_now"
    """The call is past this, or no advisor was tried before a message is to be left."""


@frozen
class DialAgent:
    leg: int


@frozen
class DialAdvisor:
    leg: int
    advisor: str


@frozen
class FindLeg:
    """Nobody knows what became of the dial: look for the leg at Twilio."""

    leg: int


@frozen
class EndLeg:
    """Whatever state it is in; tried again until Twilio was told."""

    sid: str


@frozen
class LimitCaller:
    """Have Twilio end the caller's leg after so long, should nobody else."""

    after_s: float


@frozen
class HoldCaller:
    on: bool


@frozen
class SendCaller:
    """Give the caller's leg another document. `leg` is the agent's that the stream is for."""

    place: Place
    leg: int = 0


@frozen
class EndCaller:
    """End the caller's leg, and with it the call."""


@frozen
class OpenSession:
    opening: Opening


@frozen
class CloseSession:
    pass


@frozen
class Music:
    on: bool


@frozen
class Tell:
    """`heard` names what is reported once the agent's answer to it was heard."""

    what: Telling
    advisor: str = ""
    missed: Missed | None = None
    heard: Timer | None = None


@frozen
class AnswerTool:
    call_id: str
    answer: ToolAnswer
    advisor: str = ""


@frozen
class AwaitHeard:
    """Report it once the agent was heard: what it has said so far, or with `is_next` what it says next."""

    what: Timer
    is_next: bool = False


@frozen
class Wake:
    timer: Timer
    leg: int
    after_s: float


@frozen
class LookAtRoom:
    """Ask Twilio who is in the room: an event may have been lost."""

    leg: int


@frozen
class LookAtCaller:
    """Ask Twilio whether the caller is still there: the news that it has gone may have been lost."""


@frozen
class PrepareWhisper:
    """Have ready what the advisor will hear."""

    leg: int


@frozen
class KeepSession:
    """Remember that this conversation of ElevenLabs' is a part of this call."""

    conversation_id: str


@frozen
class KeepRecording:
    """Fetch and store what was recorded, and tell the advisor; once, however often it is asked for."""

    message: LeftMessage


@frozen
class CountTransfer:
    outcome: str


@frozen
class Finish:
    ending: Ending


Effect: TypeAlias = (
    DialAgent
    | DialAdvisor
    | FindLeg
    | EndLeg
    | LimitCaller
    | HoldCaller
    | SendCaller
    | EndCaller
    | OpenSession
    | CloseSession
    | Music
    | Tell
    | AnswerTool
    | AwaitHeard
    | Wake
    | LookAtRoom
    | LookAtCaller
    | PrepareWhisper
    | KeepSession
    | KeepRecording
    | CountTransfer
    | Finish
)


class Answer(StrEnum):
    """What a request is answered with."""

    NOTHING = "nothing"
    """An acknowledgement."""
    REFUSED = "refused"
    """The step is out of order."""
    ADMITTED = "admitted"
    """The stream may go on."""
    CALLING = "calling"
    """An advisor is being reached."""
    NOBODY = "nobody"
    """There is no advisor to call."""
    ROOM = "room"
    STREAM = "stream"
    WHISPER = "whisper"
    CALLER_GONE = "caller_gone"
    MENU = "menu"
    VOICEMAIL = "voicemail"
    THANKS = "thanks"
    GOODBYE = "goodbye"
