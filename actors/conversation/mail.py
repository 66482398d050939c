"""What a conversation's mailbox takes. None of it is the only copy of anything."""

from enum import Enum, auto
from typing import TypeAlias

from attrs import define, field, frozen

from actors.runtime.mailbox import Mailbox, MailboxFullError, Reply


@frozen
class MessageArrived:
    """The person wrote, and it is stored. `sid` is Twilio's, for the typing indicator."""

    sid: str


@frozen
class Close:
    """The operator closes the conversation; answered once that is stored. False: there was none."""

    done: Reply[bool] = field(factory=Reply)


class Nudge(Enum):
    LOOK = auto()
    """Something may wait in the store."""
    RETRY = auto()
    """What was put off may be tried at once."""
    REAP = auto()
    """Close the socket if it has been idle for long."""
    FINISH = auto()
    """Bring what is under way to its end and begin nothing new: the daemon is about to stop."""
    WAKE = auto()
    """Sent by the actor to itself when the agent said something."""


ConversationMessage: TypeAlias = MessageArrived | Close | Nudge


@define(eq=False)
class Waker:
    """Wakes the actor of a mailbox from one of its own tasks, once until it is awake."""

    _mailbox: Mailbox[ConversationMessage]
    _is_woken: bool = field(default=False, init=False)

    def wake(self) -> None:
        if not self._is_woken:
            try:
                self._mailbox.post(Nudge.WAKE)
            except MailboxFullError:
                # Whatever fills the mailbox wakes the actor just as well.
                return
            self._is_woken = True

    def woken(self) -> None:
        self._is_woken = False
