"""The limits of sending: a rate that is never exceeded and never wasted, pauses that grow, precedence, a person's share."""

from collections import Counter
from itertools import pairwise
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import Purpose
from actors.watch.sending_limits import (
    Admission,
    Extent,
    GateRules,
    PersonLimit,
    Rate,
    SlidingWindow,
    Throttle,
    Urgency,
    extent_of,
)

AWAITED, UNAWAITED = Urgency.AWAITED, Urgency.UNAWAITED
BOTH = [AWAITED, UNAWAITED]
SLACK = 1e-9
"""Sums of floats."""

rates = st.floats(0.05, 100)
pauses = st.lists(st.floats(0, 3), max_size=200)


# --- The rate ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("per_second", "count", "window_s"), [(80, 80, 1), (0.33, 1, 1 / 0.33), (1, 1, 1), (2.5, 2, 0.8)]
)
def test_a_rate_is_so_many_in_a_window(per_second: float, count: int, window_s: float) -> None:
    rate = Rate(per_second)

    assert rate.count == count
    assert rate.window_s == pytest.approx(window_s)


def test_below_the_limit_nobody_waits() -> None:
    window = SlidingWindow(Rate(80))
    for _ in range(80):
        assert window.opens_at() <= 5.0
        window.take(5.0)

    assert window.opens_at() == 6.0


@given(rates, pauses)
def test_no_window_has_more_than_the_rate(per_second: float, rests: list[float]) -> None:
    window, times = SlidingWindow(Rate(per_second)), [0.0]
    for rest_s in rests:
        times.append(max(times[-1] + rest_s, window.opens_at()))
        window.take(times[-1])

    count, window_s = Rate(per_second).count, Rate(per_second).window_s
    later = zip(times[1:], times[1 + count :], strict=False)
    assert all(second - first >= window_s - SLACK for first, second in later)


@given(rates)
def test_no_slot_is_wasted_while_many_wait(per_second: float) -> None:
    window, now = SlidingWindow(Rate(per_second)), 0.0
    for _ in range(500):
        now = max(now, window.opens_at())
        window.take(now)

    assert now <= 500 / per_second


@given(st.lists(st.booleans(), min_size=1, max_size=100))
def test_a_slot_that_was_given_back_is_free_and_no_other(uses: list[bool]) -> None:
    window, used, now = SlidingWindow(Rate(3)), list[float](), 0.0
    for is_used in uses:
        now = max(now + 0.01, window.opens_at())
        window.take(now)
        if is_used:
            used.append(now)
        else:
            window.give_back(now)

    assert all(second - first >= 1 - SLACK for first, second in zip(used, used[3:], strict=False))


# --- Pauses -----------------------------------------------------------------------------------------------


def a_throttle() -> Throttle:
    return Throttle(first_s=1, max_s=60, step=1 / 16)


def test_a_pause_grows_while_nothing_is_accepted() -> None:
    throttle, now, told = a_throttle(), 0.0, []
    for _ in range(8):
        told.append(throttle.turned_away(now, began_at=now, asked_s=0))
        now = throttle.until

    assert told == [1, 2, 4, 8, 16, 32, 60, 60]
    assert throttle.share == 1 / 16


def test_those_who_were_under_way_together_count_once() -> None:
    throttle = a_throttle()
    for number in range(16):
        throttle.turned_away(10 + number / 100, began_at=9.9, asked_s=0)

    assert throttle.share == 0.5
    assert throttle.until == pytest.approx(11.15)


def test_an_acceptance_from_before_the_pause_proves_nothing() -> None:
    throttle = a_throttle()
    throttle.turned_away(10, began_at=9, asked_s=0)
    was_on = []
    for began_at in (9.5, 11):
        throttle.accepted(began_at=began_at)
        was_on.append(throttle.is_on)

    assert was_on == [True, False]
    assert throttle.turned_away(12, began_at=11.5, asked_s=0) == 1


def test_the_rate_comes_back_step_by_step() -> None:
    throttle = a_throttle()
    throttle.turned_away(0, began_at=-1, asked_s=0)
    shares = []
    for number in range(1, 11):
        throttle.accepted(began_at=number)
        shares.append(throttle.share)

    assert shares[:3] == [0.5625, 0.625, 0.6875]
    assert shares[-1] == 1


@pytest.mark.parametrize(
    ("asked_s", "pause_s"), [(7, 7), (0.1, 1), (1e300, 60), (inf, 60), (nan, 60), (-1e300, 1)]
)
def test_a_wait_that_was_asked_for_is_kept_within_measure(asked_s: float, pause_s: float) -> None:
    assert a_throttle().turned_away(100, began_at=99, asked_s=asked_s) == pytest.approx(pause_s)


@pytest.mark.parametrize(
    ("code", "purpose", "extent"),
    [
        (20429, Purpose.ANSWER, Extent.EVERYBODY),
        (429, Purpose.OPENING, Extent.EVERYBODY),
        (21611, Purpose.ANSWER, Extent.EVERYBODY),
        (63038, Purpose.FALLBACK, Extent.EVERYBODY),
        (20003, Purpose.ANSWER, Extent.EVERYBODY),
        (401, Purpose.OPENING, Extent.EVERYBODY),
        (63018, Purpose.OPENING, Extent.OPENINGS),
        (63018, Purpose.ANSWER, None),
        (63018, Purpose.NOTICE, None),
        (14107, Purpose.ANSWER, None),
        (None, Purpose.OPENING, None),
    ],
)
def test_a_code_tells_whom_else_it_concerns(
    code: int | None, purpose: Purpose, extent: Extent | None
) -> None:
    assert extent_of(code, purpose) is extent


# --- Precedence -------------------------------------------------------------------------------------------


def an_admission(*, per_second: float = 80, concurrency: int = 16) -> Admission:
    rules = GateRules(
        messages_per_second=per_second, concurrency=concurrency, pause_first_s=1, pause_max_s=60
    )
    return Admission(rules)


def admitted(admission: Admission, waiting: list[Urgency], *, until: float) -> list[tuple[float, Urgency]]:
    """Who goes when, if as many as may be wait all the time and each is done at once."""
    now, went = 0.0, []
    while now < until:
        urgency = admission.admit(waiting, now)
        if urgency is None:
            now = min(admission.opens_at(waiter) for waiter in waiting)
        else:
            admission.leave(urgency)
            went.append((now, urgency))
    return went


def test_answers_go_first_and_openings_get_one_turn_in_ten() -> None:
    went = Counter(urgency for _, urgency in admitted(an_admission(), BOTH, until=100))

    assert went.total() == 8000
    assert went[UNAWAITED] == 800


def test_openings_have_the_whole_rate_evenly_while_nobody_is_awaited() -> None:
    times = [at for at, _ in admitted(an_admission(), [UNAWAITED], until=10)]

    assert len(times) == 800
    assert all(second - first == pytest.approx(1 / 80) for first, second in pairwise(times))


def test_an_answer_amid_a_flood_of_openings_waits_for_one_slot_at_most() -> None:
    admission = an_admission()
    admitted(admission, [UNAWAITED], until=7)

    assert admission.opens_at(AWAITED) <= 7 + 1 / 80 + SLACK


def test_places_are_kept_for_answers_however_many_openings_wait() -> None:
    admission = an_admission(concurrency=4)
    for second in range(3):
        assert admission.admit([UNAWAITED], second) is UNAWAITED
    assert admission.admit([UNAWAITED], 10) is None
    assert admission.opens_at(UNAWAITED) == inf
    assert admission.admit(BOTH, 10) is AWAITED
    assert admission.admit(BOTH, 10) is None

    admission.leave(UNAWAITED)

    assert admission.admit(BOTH, 11) is AWAITED


def test_a_single_place_is_for_everybody() -> None:
    admission = an_admission(concurrency=1)

    assert admission.admit([UNAWAITED], 0) is UNAWAITED
    assert admission.admit([AWAITED], 0) is None


def test_after_a_pause_one_tries_before_the_others_go_at_a_lower_rate() -> None:
    admission = an_admission(per_second=8)
    everybody = admission.throttles[Extent.EVERYBODY]
    everybody.turned_away(0, began_at=-1, asked_s=5)
    assert admission.opens_at(AWAITED) == 5

    assert [admission.admit([AWAITED], 5) for _ in range(2)] == [AWAITED, None]
    everybody.accepted(began_at=5)
    admission.leave(AWAITED)

    assert [admission.admit([AWAITED], 5) for _ in range(4)] == [AWAITED, AWAITED, AWAITED, None]


def test_a_pause_of_openings_is_none_of_answers() -> None:
    admission = an_admission()
    admission.throttles[Extent.OPENINGS].turned_away(0, began_at=-1, asked_s=30)

    assert admission.admit(BOTH, 1) is AWAITED
    assert admission.opens_at(UNAWAITED) == 30


@given(rates, st.lists(st.sampled_from([[AWAITED], [UNAWAITED], BOTH]), max_size=200), st.data())
def test_whatever_happens_the_rate_holds(
    per_second: float, waiting: list[list[Urgency]], chance: st.DataObject
) -> None:
    admission, now, times = an_admission(per_second=per_second, concurrency=3), 0.0, list[float]()
    for waiters in waiting:
        now = max(now, min(admission.opens_at(urgency) for urgency in waiters))
        urgency = admission.admit(waiters, now)
        assert urgency in waiters
        times.append(now)
        admission.leave(urgency)
        extent = chance.draw(st.sampled_from([None, None, *Extent]))
        if extent is not None:
            admission.throttles[extent].turned_away(now, began_at=now, asked_s=0)
        elif chance.draw(st.booleans()):
            for throttle in admission.throttles.values():
                throttle.accepted(began_at=now)

    rate = Rate(per_second)
    later = zip(times, times[rate.count :], strict=False)
    assert all(second - first >= rate.window_s - SLACK for first, second in later)


# --- One person -------------------------------------------------------------------------------------------


def test_a_person_gets_a_burst_and_then_one_now_and_then() -> None:
    limit, now, times = PersonLimit(burst=3, every_s=6), 100.0, []
    for _ in range(6):
        now = max(now, limit.opens_at(1))
        limit.take(1, now)
        times.append(now)

    assert times == [100, 100, 100, 106, 112, 118]
    assert limit.opens_at(2) < now


@given(st.integers(1, 12), st.floats(0, 10), pauses)
def test_a_person_never_gets_more_than_the_bucket_holds(
    burst: int, every_s: float, rests: list[float]
) -> None:
    limit, now, times = PersonLimit(burst=burst, every_s=every_s), 0.0, list[float]()
    for rest_s in rests:
        now = max(now + rest_s, limit.opens_at(1))
        limit.take(1, now)
        limit.forget_full(now)
        times.append(now)

    for first, begun in enumerate(times):
        for count, at in enumerate(times[first:], start=1):
            assert count <= burst + (at - begun) / every_s + 1e-6 if every_s > 1e-6 else True


def test_who_has_the_full_burst_again_is_forgotten() -> None:
    limit = PersonLimit(burst=3, every_s=6)
    for person_id in range(1000):
        limit.take(person_id, float(person_id))
    limit.forget_full(1000.0)

    assert len(limit) == 5


def test_an_opening_that_was_not_sent_costs_the_next_one_nothing() -> None:
    admission = an_admission(per_second=0.33)
    for _ in range(5):
        assert admission.admit([UNAWAITED], 100.0) is UNAWAITED
        admission.leave(UNAWAITED)
        admission.give_back(UNAWAITED, 100.0)
    assert admission.opens_at(UNAWAITED) <= 100.0
