"""Mistakes that a daemon may be given, each by a patch of one place: the suite has to find every one of them."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import trio

from actors.messages import Accepted, InboundMessage, Outgoing, SendResult, StatusReport
from actors.ports import Answer, Received
from actors.watch.inbox_check import InboxCheck
from actors.watch.outbox import Outbox
from actors.watch.recovery import Recovery
from daemon.store.conversations import PostgresConversations
from daemon.store.inbox import PostgresInbox
from daemon.store.outbox import PostgresOutbox
from daemon.twilio.messaging import TwilioMessaging


def _acknowledge_before_storing() -> None:
    """Takes a message for stored that is stored a moment later; and never looks for what it missed."""
    receive = PostgresInbox.receive

    async def receive_later(self: PostgresInbox, message: InboundMessage, **rest: Any) -> Received:
        async def store() -> None:
            await trio.sleep(0.5)
            await receive(self, message, **rest)

        trio.lowlevel.spawn_system_task(store)
        return Received(person_id=0, conversation_id=0, is_new=False)

    PostgresInbox.receive = receive_later  # type: ignore[method-assign]
    _never_look_for_missed()


def _never_look_for_missed() -> None:
    """Believes that every webhook arrives."""

    async def run(self: InboxCheck, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()

    InboxCheck.run = run  # type: ignore[method-assign]


def _send_again_unseen() -> None:
    """Sends a message of unknown outcome again without looking it up."""

    async def settle(self: Outbox, message: Outgoing, *_: object, **__: object) -> bool:
        return await self._repeat(message, self._clock.now())

    Outbox._settle = settle  # type: ignore[method-assign]


def _forget_at_start() -> None:
    """Takes what was unanswered at its start for answered."""
    run = Recovery.run

    async def forget(
        self: Recovery, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        pool: Any = self._store
        await pool.pool.execute("UPDATE message SET status = 'answered' WHERE status = 'received'")
        await run(self, task_status=task_status)

    Recovery.run = forget  # type: ignore[method-assign]


def _move_statuses_back() -> None:
    """Writes down every status as it comes, whatever came before."""
    report = PostgresOutbox.report

    async def report_anyway(self: PostgresOutbox, report_: StatusReport, **rest: Any) -> Any:
        moved = await report(self, report_, **rest)
        if report_.status is not None:
            await self.pool.execute(
                "UPDATE message SET status = %s, status_rank = %s WHERE twilio_sid = %s AND status_rank > 1",
                (report_.status.label, report_.status.rank, report_.sid),
            )
        return moved

    PostgresOutbox.report = report_anyway  # type: ignore[assignment, method-assign]


def _believe_without_answer() -> None:
    """Takes a request without a usable answer for accepted."""
    send = TwilioMessaging.send

    async def believe(self: TwilioMessaging, message: Outgoing, *, as_template: bool) -> SendResult:
        result = await send(self, message, as_template=as_template)
        return result if isinstance(result, Accepted) else Accepted(sid=f"SMunknown{message.id:023}")

    TwilioMessaging.send = believe  # type: ignore[method-assign]


def _answer_twice() -> None:
    """Puts an answer into the outbox in a statement of its own, and again when it comes twice."""
    answer = PostgresConversations.answer

    async def answer_again(
        self: PostgresConversations, conversation_id: int, message_ids: Any, said: Answer, *, now: datetime
    ) -> bool:
        is_new = await answer(self, conversation_id, message_ids, said, now=now)
        await self.add_answer(conversation_id, said, now=now)
        return is_new

    PostgresConversations.answer = answer_again  # type: ignore[assignment, method-assign]


PLANTS: Mapping[str, Callable[[], None]] = {
    "acknowledge-before-storing": _acknowledge_before_storing,
    "never-look-for-missed": _never_look_for_missed,
    "send-again-unseen": _send_again_unseen,
    "forget-at-start": _forget_at_start,
    "move-statuses-back": _move_statuses_back,
    "believe-without-answer": _believe_without_answer,
    "answer-twice": _answer_twice,
}
