"""The first message after a call: what it says, and with which session the talk is to go on."""

from attrs import frozen

from actors.agent_events import SessionPlan
from actors.calls import CallOutcome
from actors.conversation.context import session_plan
from actors.conversation.wording import Wording
from actors.conversation.world import ConversationRules, ConversationWorld
from actors.ports import Opening, PersonContext


@frozen
class PlannedOpening:
    """`session` is the one to be opened before it goes out; None: it goes without."""

    opening: Opening
    session: SessionPlan | None


@frozen
class Openings:
    world: ConversationWorld
    rules: ConversationRules
    wording: Wording

    async def plan(self, context: PersonContext | None, call_id: str) -> PlannedOpening | None:
        """The opening that is due for this call. None when there is none, which is stored."""
        call = next((c for c in context.calls if c.id == call_id), None) if context is not None else None
        if context is None or call is None or context.address is None:
            await self.world.store.drop_opening(call_id, reason="nobody to write to")
            return None
        opening = self.wording.opening(context, call, context.address)
        if opening is None:
            reason = f"no text for the outcome {call.outcome.value}"
            await self.world.store.drop_opening(call_id, reason=reason)
            return None
        if not self.rules.opens_socket_at_call_end or call.outcome is not CallOutcome.COMPLETED:
            return PlannedOpening(opening, None)
        plan = session_plan(context, now=self.world.clock.now(), opening=opening.text)
        return PlannedOpening(opening, plan)
