"""What leaves a conversation: stored together with what it settles, then told to the outbox."""

from collections.abc import Sequence
from datetime import timedelta

import structlog
from attrs import frozen

from actors.conversation.splitting import split
from actors.conversation.turn_in_flight import TurnInFlight
from actors.conversation.world import ConversationRules, ConversationWorld
from actors.messages import Purpose, Template
from actors.ports import Answer, Opening, PersonContext
from actors.runtime.backoff import doubling_s
from actors.runtime.fault_points import FaultPoint, reached

_log = structlog.get_logger(__name__)

UNANSWERED = "agent_unanswered"
"""The alert about people whose turn was put off. Only the store knows whether any is left, so recovery settles it."""

RETRY_SPREAD = 0.25
"""A pause between two tries of a turn is up to this share shorter."""


@frozen
class Delivery:
    """To one person. A `template` stands for each message where the person's window has closed meanwhile."""

    person_id: int
    world: ConversationWorld
    rules: ConversationRules

    async def answer(
        self, conversation_id: int, turn: TurnInFlight, template: Template | None, *, now: float
    ) -> None:
        """The agent's answer to a turn, which may have no words."""
        pieces = split("\n\n".join(turn.answer))
        reached(FaultPoint.ANSWER_NOT_COMMITTED)
        is_new = await self.world.store.answer(
            conversation_id,
            turn.turn.message_ids,
            Answer(address=turn.turn.address, pieces=pieces, template=template),
            now=self.world.clock.now(),
        )
        reached(FaultPoint.ANSWER_COMMITTED)
        if is_new and pieces:
            self.world.outbox_due(self.person_id, Purpose.ANSWER)
        self.world.metrics.turn_finished("answered" if pieces else "no_words", now - turn.began_at)

    async def defer(
        self,
        conversation_id: int,
        turn: TurnInFlight,
        template: Template | None,
        *,
        failures: int,
        now: float,
    ) -> float:
        """Put a turn off that the agent did not answer, with the fallback text if it is the first to fail.

        Returns after how many seconds it may be tried again.
        """
        rules, at = self.rules, self.world.clock.now()
        pause_s = doubling_s(rules.failed_turn_retry_s, failures, max_s=rules.failed_turn_retry_max_s)
        # Many are put off in the same minute, and need not come back in one.
        retry_s = pause_s * (1 - RETRY_SPREAD * turn.jitter)
        pieces = [self.world.texts.fallback] if failures == 0 else []
        reached(FaultPoint.TURN_NOT_DEFERRED)
        await self.world.store.defer_turn(
            conversation_id,
            Answer(address=turn.turn.address, pieces=pieces, template=template),
            retry_at=at + timedelta(seconds=retry_s),
            now=at,
        )
        reached(FaultPoint.TURN_DEFERRED)
        if pieces:
            self.world.outbox_due(self.person_id, Purpose.FALLBACK)
        self.world.alerts.raise_alert(UNANSWERED, "the agent left messages unanswered; they are tried again")
        self.world.metrics.turn_finished("failed", now - turn.began_at)
        return retry_s

    async def add(self, context: PersonContext, texts: Sequence[str], template: Template | None) -> None:
        """A belated part of an answer that went already."""
        if context.address is None:
            return
        pieces = split("\n\n".join(texts))
        answer = Answer(address=context.address, pieces=pieces, template=template)
        reached(FaultPoint.BELATED_NOT_COMMITTED)
        await self.world.store.add_answer(context.conversation_id, answer, now=self.world.clock.now())
        reached(FaultPoint.BELATED_COMMITTED)
        self.world.outbox_due(self.person_id, Purpose.ANSWER)

    async def opening(self, opening: Opening) -> None:
        """The first message after a call, unless somebody else was first."""
        reached(FaultPoint.OPENING_NOT_QUEUED)
        if await self.world.store.queue_opening(opening, now=self.world.clock.now()):
            reached(FaultPoint.OPENING_QUEUED)
            _log.info("opening queued", call_id=opening.call_id, note=opening.note)
            self.world.outbox_due(self.person_id, Purpose.OPENING)
