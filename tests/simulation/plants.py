"""Bugs to be planted, to see that the simulation finds them: each replaces one method by what somebody might have
written there.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from unittest.mock import patch

from attrs import evolve, frozen

from actors.conversation.delivery import Delivery
from actors.conversation.splitting import split
from actors.conversation.turn_in_flight import TurnInFlight
from actors.messages import DeliveryStatus, InboundMessage, Outgoing, StatusReport
from actors.ports import Answer
from actors.watch.outbox import Outbox
from actors.watch.recovery import Recovery
from tests.memory.outbox import MemoryOutbox
from tests.simulation.daemon import Life


@frozen(kw_only=True)
class Plant:
    """A bug: `method` of `owner` is replaced by `bug`, which is told the original first.

    Attributes:
        breaks: the invariants of which one fails first.
    """

    owner: type
    method: str
    bug: Callable[..., Any]
    breaks: frozenset[str]

    @contextmanager
    def planted(self) -> Iterator[None]:
        original = getattr(self.owner, self.method)

        async def replaced(*args: Any, **kwargs: Any) -> Any:
            return await self.bug(original, *args, **kwargs)

        with patch.object(self.owner, self.method, replaced):
            yield


async def _sends_again_without_looking(_: Any, outbox: Any, message: Outgoing, *__: Any, **___: Any) -> bool:
    """No usable answer? Once more, then."""
    is_over: bool = await outbox._repeat(message, outbox._clock.now())
    return is_over


async def _trusts_the_first_look(original: Any, outbox: Any, *args: Any, **kwargs: Any) -> bool:
    """What Twilio does not list never arrived."""
    patient, outbox._rules = outbox._rules, evolve(outbox._rules, certain_after_s=0)
    try:
        is_over: bool = await original(outbox, *args, **kwargs)
    finally:
        outbox._rules = patient
    return is_over


async def _claims_without_a_mark(original: Any, store: MemoryOutbox, person_id: int, *, now: datetime) -> Any:
    """A row counts as being sent once it was."""
    message = await original(store, person_id, now=now)
    if message is not None:
        store.database.outbound[message.id].status = DeliveryStatus.PENDING
    return message


async def _passes_the_head_by(original: Any, store: MemoryOutbox, person_id: int, *, now: datetime) -> Any:
    """Why should a message wait for another one that is to be tried again?"""
    head = store._head(person_id)
    if head is None or head.status is not DeliveryStatus.PENDING or (head.not_before or now) <= now:
        return await original(store, person_id, now=now)
    head.status = DeliveryStatus.READ
    try:
        return await original(store, person_id, now=now)
    finally:
        head.status = DeliveryStatus.PENDING


async def _believes_the_last_report(
    original: Any, store: MemoryOutbox, report: StatusReport, **rest: Any
) -> Any:
    """The newest report wins."""
    message = store._reported(report)
    what_follows = await original(store, report, **rest)
    if message is not None and report.status is not None:
        message.status = report.status
    return what_follows


async def _acknowledges_first(_: Any, life: Any, message: InboundMessage) -> None:
    """Twilio is answered at once, and the message stored afterwards."""
    life.outside.witness.acknowledged(message.sid)
    await life._inbox.receive(message, default_agent_id="agent_text", now=life.outside.clock.now())


async def _answers_in_two_commits(
    _: Any, delivery: Any, conversation_id: int, turn: TurnInFlight, *__: Any, **___: Any
) -> None:
    """The answer goes into the outbox, and the questions are ticked off afterwards."""
    store, now = delivery.world.store, delivery.world.clock.now()
    answer = Answer(address=turn.turn.address, pieces=split("\n\n".join(turn.answer)))
    await store.add_answer(conversation_id, answer, now=now)
    delivery.world.outbox_due(delivery.person_id)
    await store.answer(conversation_id, turn.turn.message_ids, evolve(answer, pieces=()), now=now)


async def _recovers_nobody(*_: Any) -> None:
    """Whoever crashed was nudged anyway, surely."""


PLANTS = {
    "sends again without looking": Plant(
        owner=Outbox,
        method="_settle",
        bug=_sends_again_without_looking,
        breaks=frozenset({"no message is delivered twice", "a call is opened once"}),
    ),
    "trusts the first look": Plant(
        owner=Outbox,
        method="_settle",
        bug=_trusts_the_first_look,
        breaks=frozenset({"no message is delivered twice"}),
    ),
    "claims without a mark": Plant(
        owner=MemoryOutbox,
        method="claim",
        bug=_claims_without_a_mark,
        breaks=frozenset({"no message is delivered twice", "a call is opened once"}),
    ),
    "passes the head by": Plant(
        owner=MemoryOutbox,
        method="claim",
        bug=_passes_the_head_by,
        breaks=frozenset({"messages go in order", "one message per person is in flight"}),
    ),
    "believes the last report": Plant(
        owner=MemoryOutbox,
        method="report",
        bug=_believes_the_last_report,
        breaks=frozenset({"statuses move forward"}),
    ),
    "acknowledges first": Plant(
        owner=Life,
        method="message_arrived",
        bug=_acknowledges_first,
        breaks=frozenset({"what was acknowledged is stored"}),
    ),
    "answers in two commits": Plant(
        owner=Delivery,
        method="answer",
        bug=_answers_in_two_commits,
        breaks=frozenset({"no message is answered twice"}),
    ),
    "recovers nobody": Plant(
        owner=Recovery,
        method="_look",
        bug=_recovers_nobody,
        breaks=frozenset({"everything comes to its end"}),
    ),
}
