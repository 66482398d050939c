"""Taking in a finished call, wherever it was found: decides its follow-up and stores both at once."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta

import structlog
from attrs import evolve, frozen

from actors.calls import CallDetails, CallOutcome, CallSighting, FollowUpState, SeenCall, surer_outcome
from actors.conversation.context import person_name
from actors.conversation.identity import identities_of, whatsapp_address_candidates
from actors.metrics import Metrics
from actors.ports import AwaitedCall, CallStore, WallClock
from actors.runtime.fault_points import FaultPoint, reached

_log = structlog.get_logger(__name__)

DELIBERATE_SIGHTINGS = frozenset({CallSighting.WEBHOOK, CallSighting.COMMAND, CallSighting.LIVE})
"""Somebody told us of this very call, so its age is no reason to leave it alone."""


@frozen(kw_only=True)
class FollowUpPolicy:
    """Which calls get a message, and when.

    Attributes:
        outcomes: those that get one.
        lookback: calls that ended earlier than that before polling found them get none; so the first start
            does not write to everybody who was ever called.
        analysis_timeout_s: how long after its end a call waits for its analysis.
        text_agent_id: the agent who writes, unless `text_agents` names another for the call's voice agent.
    """

    outcomes: Collection[CallOutcome]
    lookback: timedelta
    analysis_timeout_s: float
    text_agent_id: str
    text_agents: Mapping[str, str]

    def agent_for(self, voice_agent_id: str) -> str:
        return self.text_agents.get(voice_agent_id, self.text_agent_id)

    def state_of(
        self, details: CallDetails, *, sighting: CallSighting, seen_at: datetime, now: datetime
    ) -> FollowUpState:
        """Where the follow-up of this call stands at this moment. Pure."""
        if not details.is_over:
            return FollowUpState.AWAITING_DETAILS
        if details.outcome not in self.outcomes or not _identities(details):
            return FollowUpState.NONE
        if sighting not in DELIBERATE_SIGHTINGS and details.ended_at < seen_at - self.lookback:
            return FollowUpState.NONE
        waits = details.analysis_pending and now < details.ended_at + timedelta(
            seconds=self.analysis_timeout_s
        )
        return FollowUpState.AWAITING_DETAILS if waits else FollowUpState.DUE


class CallIntake:
    """Used by the call monitor and by the post-call webhook.

    `conversation_due` tells a person's conversation that an opening is to be written.
    """

    def __init__(
        self,
        *,
        store: CallStore,
        policy: FollowUpPolicy,
        conversation_due: Callable[[int], object],
        clock: WallClock,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._policy = policy
        self._conversation_due = conversation_due
        self._clock = clock
        self._metrics = metrics

    async def see(self, calls: Sequence[SeenCall]) -> int:
        """Record calls that have ended; returns how many of them want their details fetched now: those that nobody
        had seen before, and those that the operator's command takes up again.
        """
        if not calls:
            return 0
        reached(FaultPoint.CALL_NOT_SEEN)
        new = set(await self._store.see(calls, now=self._clock.now()))
        reached(FaultPoint.CALL_SEEN)
        for call in calls:
            if call.id in new:
                outcome = call.outcome.value if call.outcome is not None else "unknown"
                self._metrics.call_found(call.sighting.value, outcome)
                _log.info("finished call found", call_id=call.id, by=call.sighting.value, outcome=outcome)
        return len(new)

    async def take_told(self, details: CallDetails) -> None:
        """Take a call whose details came unasked, and that has been seen; nothing if they are not wanted any more."""
        call = await self._store.awaited(details.id)
        if call is not None:
            await self.take_awaited(details, call)

    async def take_awaited(self, details: CallDetails, call: AwaitedCall) -> FollowUpState:
        """As `take`, with what was known of the call where it was found: its batch may name an outcome or a number
        that the call itself does not.
        """
        details = evolve(
            details,
            outcome=surer_outcome(call.outcome, details.outcome),
            phone_number=_usable_number(details.phone_number, call.phone_number),
        )
        return await self.take(details, sighting=call.sighting, seen_at=call.seen_at)

    async def take(
        self, details: CallDetails, *, sighting: CallSighting, seen_at: datetime | None = None
    ) -> FollowUpState:
        """Store what is known of a call that has been seen, and bring its follow-up under way if it is time.

        `seen_at` is when the call was first found, None for now. Returns where the follow-up stands by these
        details; a call whose follow-up is further on stays so.
        """
        now = self._clock.now()
        details = evolve(details, phone_number=_in_e164(details.phone_number))
        state = self._policy.state_of(details, sighting=sighting, seen_at=seen_at or now, now=now)
        reached(FaultPoint.DETAILS_NOT_SAVED)
        person_id = await self._store.save_details(
            details,
            client_name=person_name(details.variables, details.analysis.collected if details.analysis else {})
            or None,
            identities=_identities(details),
            follow_up=state,
            agent_id=self._policy.agent_for(details.agent_id),
        )
        reached(FaultPoint.DETAILS_SAVED)
        if state is FollowUpState.DUE and person_id is not None:
            self._conversation_due(person_id)
        return state


def _usable_number(*numbers: str | None) -> str | None:
    """The first under which somebody can be written to; else the first there is."""
    given = [number for number in numbers if number]
    return next((number for number in given if identities_of(number)), next(iter(given), None))


def _in_e164(number: str | None) -> str | None:
    """As it can be dialled, since it becomes the person's address; what is no number stays as it is."""
    return next(iter(whatsapp_address_candidates(number)), number) if number is not None else None


def _identities(details: CallDetails) -> Sequence[str]:
    return identities_of(details.phone_number) if details.phone_number is not None else ()
