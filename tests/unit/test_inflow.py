"""What a person writes until a turn takes it: gathered for a moment, or held back when it is too much."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from actors.conversation.inflow import MINUTE_S, NEVER, Inflow
from actors.conversation.turn import CoalescingRules
from actors.messages import PendingMessage

RULES = CoalescingRules(quiet_s=1, max_s=8, per_minute_max=5)
WALL = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
NOW = 1000.0


def after(*moments: float) -> Inflow:
    inflow = Inflow(RULES)
    for number, moment in enumerate(moments):
        inflow.arrived(f"SM{number}", moment)
    return inflow


def came(*seconds_ago: float) -> list[PendingMessage]:
    return [
        PendingMessage(
            id=number, sid=f"SM{number}", address="", text="", received_at=WALL - timedelta(seconds=ago)
        )
        for number, ago in enumerate(seconds_ago)
    ]


def test_without_messages_no_turn_is_due() -> None:
    assert Inflow(RULES).due_at == NEVER


def test_as_many_as_are_allowed_are_only_coalesced() -> None:
    assert after(0, 1, 2, 3, 4).due_at == 5
    assert not after(0, 1, 2, 3, 4).begins_to_hold(4)


def test_more_than_that_wait_until_the_last_minute_holds_fewer() -> None:
    inflow = after(0, 10, 20, 30, 40)
    inflow.take(41)
    inflow.arrived("SM5", 50)
    assert inflow.begins_to_hold(50)
    assert inflow.due_at == 60


def test_holding_back_is_told_once_until_it_is_over() -> None:
    inflow = after(0, 0, 0, 0, 0, 0)
    assert [inflow.begins_to_hold(now) for now in (0, 1, 59)] == [True, False, False]
    assert not inflow.begins_to_hold(61)
    for second in range(70, 76):
        inflow.arrived(f"SM-{second}", second)
    assert inflow.begins_to_hold(76)


def test_who_never_stops_gets_a_turn_a_minute() -> None:
    inflow, turns = Inflow(RULES), []
    for second in range(300):
        inflow.arrived(f"SM{second}", second)
        if second >= inflow.due_at:
            inflow.take(second)
            turns.append(second)
    assert {later - earlier for earlier, later in pairwise(turns)} == {61}


def test_what_came_before_this_life_counts() -> None:
    inflow = Inflow(RULES)
    inflow.recall(came(50, 40, 30, 20, 10, 5), NOW, wall=WALL)
    assert inflow.is_gathering
    assert inflow.due_at == NOW - 50 + MINUTE_S


def test_what_came_long_before_this_life_does_not() -> None:
    inflow = Inflow(RULES)
    inflow.recall(came(5000, 4000, 3000, 80, 70, 65, 61), NOW, wall=WALL)
    assert not inflow.is_gathering


def test_a_few_messages_from_before_are_answered_at_once() -> None:
    inflow = Inflow(RULES)
    inflow.recall(came(3, 2, 1), NOW, wall=WALL)
    assert inflow.due_at == NEVER


def test_the_nudge_of_a_message_that_was_recalled_does_not_count_again() -> None:
    inflow = Inflow(RULES)
    inflow.arrived("SM0", NOW)
    inflow.recall(came(2, 1, 0), NOW, wall=WALL)
    for number in range(3):
        inflow.arrived(f"SM{number}", NOW)
    assert inflow.due_at == NOW + 1


@given(st.lists(st.floats(min_value=0, max_value=30), min_size=1, max_size=60))
def test_a_turn_begins_after_a_minute_at_the_latest_and_never_above_the_rate_before(
    pauses: list[float],
) -> None:
    inflow, now, arrivals, first_at = Inflow(RULES), 0.0, list[float](), float("nan")
    for number, pause in enumerate(pauses):
        now += pause
        if inflow.due_at <= now:
            due_at = inflow.due_at
            recent = [at for at in arrivals if due_at - MINUTE_S + 1e-6 < at <= due_at]
            assert len(recent) <= RULES.per_minute_max or due_at >= first_at + MINUTE_S
            inflow.take(due_at)
        if not inflow.is_gathering:
            first_at = now
        inflow.arrived(f"SM{number}", now)
        arrivals.append(now)
        assert now <= inflow.due_at <= first_at + MINUTE_S + RULES.quiet_s
