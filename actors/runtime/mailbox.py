"""Mailboxes: how actors are spoken to."""

from typing import Generic, TypeVar

import trio
from attrs import define, field, frozen

M = TypeVar("M")
R = TypeVar("R")


class MailboxFullError(Exception):
    """The actor does not keep up; the message was not taken."""


class ActorGoneError(Exception):
    """The actor ended without answering."""


class Mailbox(Generic[M]):
    """A bounded queue of messages that outlives the crashes of the actor who reads it.

    A message that was posted and not yet received survives a restart of the actor; one that was received
    and not finished does not. So a mailbox carries nudges, and nothing whose only copy it would be.
    """

    def __init__(self, size: int) -> None:
        self._send, self._receive = trio.open_memory_channel[M](size)

    def post(self, message: M) -> None:
        """Leave a message; never blocks.

        Raises:
            MailboxFullError: `size` messages wait already.
        """
        try:
            self._send.send_nowait(message)
        except trio.WouldBlock:
            raise MailboxFullError from None

    async def receive(self) -> M:
        """The next message, first come first served. Cancellation loses none."""
        return await self._receive.receive()

    def receive_nowait(self) -> M | None:
        """The next message if one waits."""
        try:
            return self._receive.receive_nowait()
        except trio.WouldBlock:
            return None

    @property
    def is_empty(self) -> bool:
        return self._receive.statistics().current_buffer_used == 0

    def __len__(self) -> int:
        return self._receive.statistics().current_buffer_used


@frozen
class _Answer(Generic[R]):
    value: R


@define(eq=False)
class Reply(Generic[R]):
    """A one-shot slot that travels with a message whose sender wants an answer."""

    _answer: _Answer[R] | None = field(default=None, init=False)
    _settled: trio.Event = field(factory=trio.Event, init=False)

    @property
    def is_settled(self) -> bool:
        """It was answered or abandoned, or who asked waits no longer."""
        return self._settled.is_set()

    def give(self, value: R) -> None:
        """Answer; a second answer is ignored."""
        if not self._settled.is_set():
            self._answer = _Answer(value)
            self._settled.set()

    def abandon(self) -> None:
        """There will be no answer."""
        self._settled.set()

    async def wait(self, *, timeout_s: float) -> R:
        """The answer, waited for once: afterwards none is taken any more.

        Raises:
            trio.TooSlowError: none came in time.
            ActorGoneError: none will come.
        """
        try:
            with trio.fail_after(timeout_s):
                await self._settled.wait()
        finally:
            self._settled.set()
        if self._answer is None:
            raise ActorGoneError
        return self._answer.value
