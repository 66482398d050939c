"""Mailboxes and one-shot replies, in virtual time."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.runtime.mailbox import ActorGoneError, Mailbox, MailboxFullError, Reply


async def test_messages_come_out_in_the_order_in_which_they_were_posted() -> None:
    mailbox = Mailbox[str](3)

    for message in ("one", "two", "three"):
        mailbox.post(message)

    assert [await mailbox.receive() for _ in range(3)] == ["one", "two", "three"]


async def test_a_full_mailbox_takes_no_more_and_keeps_what_it_has() -> None:
    mailbox = Mailbox[str](1)
    mailbox.post("first")

    with pytest.raises(MailboxFullError):
        mailbox.post("second")

    assert len(mailbox) == 1
    assert mailbox.receive_nowait() == "first"


async def test_an_empty_mailbox_has_nothing_at_once() -> None:
    mailbox = Mailbox[str](1)

    assert mailbox.is_empty
    assert mailbox.receive_nowait() is None


async def test_a_message_wakes_who_waits_for_it() -> None:
    mailbox = Mailbox[str](1)
    received: list[str] = []

    async def receive() -> None:
        received.append(await mailbox.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        assert received == []
        mailbox.post("hello")

    assert received == ["hello"]
    assert mailbox.is_empty


async def test_a_wait_that_was_cancelled_loses_no_message(autojump_clock: MockClock) -> None:
    mailbox = Mailbox[str](2)

    with trio.move_on_after(1) as waiting:
        await mailbox.receive()
    mailbox.post("kept")

    assert waiting.cancelled_caught
    assert await mailbox.receive() == "kept"


async def test_a_message_posted_in_the_moment_of_a_cancellation_is_received_or_kept() -> None:
    mailbox = Mailbox[str](1)
    received: list[str] = []

    async def receive(scope: trio.CancelScope) -> None:
        with scope:
            received.append(await mailbox.receive())

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive, scope)
        await wait_all_tasks_blocked()
        mailbox.post("somewhere")
        scope.cancel()

    assert len(received) + len(mailbox) == 1


async def test_a_reply_reaches_who_waits_for_it() -> None:
    reply = Reply[int]()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_give, reply, 7)
        assert await reply.wait(timeout_s=1) == 7


async def test_a_reply_may_come_before_anybody_waits_and_only_the_first_counts() -> None:
    reply = Reply[int]()

    reply.give(1)
    reply.give(2)
    reply.abandon()

    assert await reply.wait(timeout_s=1) == 1


async def test_a_reply_may_be_none() -> None:
    reply = Reply[None]()

    reply.give(None)
    await reply.wait(timeout_s=1)


async def test_a_reply_that_does_not_come_ends_the_wait(autojump_clock: MockClock) -> None:
    with pytest.raises(trio.TooSlowError):
        await Reply[int]().wait(timeout_s=5)

    assert trio.current_time() == 5


async def test_who_waits_for_an_abandoned_reply_hears_that_nobody_is_there() -> None:
    reply = Reply[int]()
    reply.abandon()

    with pytest.raises(ActorGoneError):
        await reply.wait(timeout_s=1)


async def _give(reply: Reply[int], value: int) -> None:
    reply.give(value)
