"""Taking in a finished call: which follow-up it gets, and who hears of it."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
import trio
from attrs import define, evolve, field
from trio.testing import MockClock
from typing_extensions import override

from actors.calls import CallAnalysis, CallDetails, CallOutcome, CallSighting, FollowUpState, SeenCall
from actors.metrics import NoMetrics
from actors.watch.call_intake import CallIntake, FollowUpPolicy
from tests.memory.calls import MemoryCalls
from tests.memory.clock import BEGINNING, VirtualClock
from tests.memory.database import MemoryDatabase

POLICY = FollowUpPolicy(
    outcomes=frozenset({CallOutcome.COMPLETED, CallOutcome.VOICEMAIL}),
    lookback=timedelta(hours=24),
    analysis_timeout_s=600,
    text_agent_id="agent_text",
    text_agents={"agent_sales": "agent_text_sales"},
)
DETAILS = CallDetails(
    id="conv_1",
    agent_id="agent_voice",
    is_over=True,
    outcome=CallOutcome.COMPLETED,
    phone_number="+525512345678",
    direction="outbound",
    started_at=BEGINNING - timedelta(seconds=90),
    duration_s=90,
    analysis=CallAnalysis(summary="Le interesa.", collected={"customer_name": "Ana"}),
)
OLD = evolve(DETAILS, started_at=BEGINNING - timedelta(hours=30))
UNANALYSED = evolve(DETAILS, analysis=None, analysis_pending=True)
SEEN = SeenCall(id="conv_1", sighting=CallSighting.BATCH, outcome=CallOutcome.COMPLETED)


class CallMetrics(NoMetrics):
    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    @override
    def call_found(self, source: str, outcome: str, /) -> None:
        self.found.append((source, outcome))


@define(eq=False)
class Desk:
    database: MemoryDatabase = field(factory=MemoryDatabase)
    metrics: CallMetrics = field(factory=CallMetrics)
    due: list[int] = field(factory=list)
    intake: CallIntake = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.intake = CallIntake(
            store=MemoryCalls(self.database),
            policy=POLICY,
            conversation_due=self.due.append,
            clock=VirtualClock(),
            metrics=self.metrics,
        )

    async def take(
        self, details: CallDetails, *, sighting: CallSighting = CallSighting.BATCH
    ) -> FollowUpState:
        await self.intake.see([evolve(SEEN, sighting=sighting)])
        return await self.intake.take(details, sighting=sighting)


@pytest.mark.parametrize(
    ("details", "state"),
    [
        (DETAILS, FollowUpState.DUE),
        (evolve(DETAILS, is_over=False), FollowUpState.AWAITING_DETAILS),
        (evolve(DETAILS, outcome=CallOutcome.VOICEMAIL), FollowUpState.DUE),
        (evolve(DETAILS, outcome=CallOutcome.BUSY), FollowUpState.NONE),
        (evolve(DETAILS, phone_number=None), FollowUpState.NONE),
        (evolve(DETAILS, phone_number="anonymous"), FollowUpState.NONE),
        (OLD, FollowUpState.NONE),
        (UNANALYSED, FollowUpState.AWAITING_DETAILS),
        (evolve(UNANALYSED, outcome=CallOutcome.BUSY), FollowUpState.NONE),
        (evolve(UNANALYSED, analysis_pending=False), FollowUpState.DUE),
    ],
)
def test_where_a_follow_up_stands(details: CallDetails, state: FollowUpState) -> None:
    assert POLICY.state_of(details, sighting=CallSighting.BATCH, seen_at=BEGINNING, now=BEGINNING) is state


@pytest.mark.parametrize("sighting", [CallSighting.WEBHOOK, CallSighting.COMMAND])
def test_a_call_that_somebody_told_us_of_is_followed_up_however_old(sighting: CallSighting) -> None:
    assert POLICY.state_of(OLD, sighting=sighting, seen_at=BEGINNING, now=BEGINNING) is FollowUpState.DUE


@pytest.mark.parametrize(
    ("waited_s", "state"),
    [(0, FollowUpState.AWAITING_DETAILS), (599, FollowUpState.AWAITING_DETAILS), (600, FollowUpState.DUE)],
)
def test_an_analysis_is_waited_for_but_not_for_ever(waited_s: float, state: FollowUpState) -> None:
    now = BEGINNING + timedelta(seconds=waited_s)

    assert POLICY.state_of(UNANALYSED, sighting=CallSighting.BATCH, seen_at=BEGINNING, now=now) is state


def test_a_call_seen_in_time_whose_details_come_late_is_followed_up() -> None:
    now = BEGINNING + timedelta(days=3)

    state = POLICY.state_of(DETAILS, sighting=CallSighting.BATCH, seen_at=BEGINNING, now=now)

    assert state is FollowUpState.DUE


async def test_a_number_is_stored_as_it_can_be_dialled(autojump_clock: MockClock) -> None:
    desk = Desk()

    assert await desk.take(evolve(DETAILS, phone_number="+57 313 853-9155")) is FollowUpState.DUE

    (person,) = desk.database.people.values()
    assert person.phone_number == desk.database.calls["conv_1"].phone_number == "+573138539155"


def test_a_voice_agent_may_have_its_own_text_agent() -> None:
    assert POLICY.agent_for("agent_sales") == "agent_text_sales"
    assert POLICY.agent_for("agent_voice") == "agent_text"


async def test_a_call_is_new_once_however_often_it_is_seen(autojump_clock: MockClock) -> None:
    desk = Desk()

    assert await desk.intake.see([SEEN, evolve(SEEN, id="conv_2", outcome=None)]) == 2
    assert await desk.intake.see([evolve(SEEN, sighting=CallSighting.CONVERSATIONS)]) == 0
    assert desk.metrics.found == [("batch", "completed"), ("batch", "unknown")]


async def test_nothing_seen_asks_nothing_of_the_store() -> None:
    desk = Desk()
    desk.database.unavailable = True

    assert await desk.intake.see([]) == 0


async def test_a_call_that_is_due_is_told_to_the_persons_conversation(autojump_clock: MockClock) -> None:
    desk = Desk()

    assert await desk.take(DETAILS) is FollowUpState.DUE
    (person_id,) = desk.due
    assert desk.database.people[person_id].name == "Ana"
    assert desk.database.calls["conv_1"].follow_up is FollowUpState.DUE
    assert desk.database.conversations[1].agent_id == "agent_text"


@pytest.mark.parametrize("details", [OLD, UNANALYSED, evolve(DETAILS, phone_number=None)])
async def test_a_call_that_is_not_due_is_told_to_nobody(
    autojump_clock: MockClock, details: CallDetails
) -> None:
    desk = Desk()
    await desk.take(details)

    assert desk.due == []
    assert desk.database.conversations == {}


async def test_a_call_whose_opening_has_gone_stays_as_it_is(autojump_clock: MockClock) -> None:
    desk = Desk()
    await desk.take(DETAILS)
    desk.database.calls["conv_1"].follow_up = FollowUpState.HANDLED
    await desk.take(evolve(DETAILS, analysis=None), sighting=CallSighting.WEBHOOK)

    call = desk.database.calls["conv_1"]
    assert call.follow_up is FollowUpState.HANDLED
    assert call.details is not None
    assert call.details.analysis is not None


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 0), (1, 1)])
async def test_whichever_sighting_comes_first_one_follow_up_comes_of_it(
    autojump_clock: MockClock, order: Sequence[int]
) -> None:
    desk = Desk()
    for which in order:
        await desk.take(DETAILS, sighting=(CallSighting.BATCH, CallSighting.WEBHOOK)[which])
        await trio.sleep(1)

    assert len(desk.database.calls) == 1
    assert len(desk.database.conversations) == 1
    assert len(desk.metrics.found) == 1


@pytest.mark.parametrize(
    ("seen", "told", "outcome", "number"),
    [
        (CallOutcome.VOICEMAIL, CallOutcome.COMPLETED, CallOutcome.VOICEMAIL, "+525512345678"),
        (CallOutcome.VOICEMAIL, CallOutcome.FAILED, CallOutcome.VOICEMAIL, "+525512345678"),
        (CallOutcome.FAILED, CallOutcome.COMPLETED, CallOutcome.COMPLETED, "+525512345678"),
        (None, CallOutcome.COMPLETED, CallOutcome.COMPLETED, None),
    ],
)
async def test_what_a_batch_knew_counts_for_details_that_come_unasked_as_for_fetched_ones(
    autojump_clock: MockClock,
    seen: CallOutcome | None,
    told: CallOutcome,
    outcome: CallOutcome,
    number: str | None,
) -> None:
    asked, unasked = Desk(), Desk()
    details = evolve(DETAILS, outcome=told, phone_number=None)
    for desk in (asked, unasked):
        await desk.intake.see([evolve(SEEN, outcome=seen, phone_number=number)])
    awaited = await MemoryCalls(asked.database).awaited("conv_1")
    assert awaited is not None

    await asked.intake.take_awaited(details, awaited)
    await unasked.intake.take_told(details)

    for desk in (asked, unasked):
        call = desk.database.calls["conv_1"]
        assert (call.outcome, call.phone_number) == (outcome, number)
        assert call.follow_up is (FollowUpState.DUE if number else FollowUpState.NONE)
        assert bool(desk.due) == bool(number)


async def test_details_that_nobody_waits_for_any_more_change_nothing(autojump_clock: MockClock) -> None:
    desk = Desk()
    await desk.take(DETAILS)

    await desk.intake.take_told(evolve(DETAILS, outcome=CallOutcome.FAILED))

    assert desk.database.calls["conv_1"].outcome is CallOutcome.COMPLETED
