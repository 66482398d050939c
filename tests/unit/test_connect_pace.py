"""The breaker: whether sessions come about at all."""

from actors.conversation.connect_pace import (
    FAILURES_TO_TRIP,
    RECENT_S,
    TRIAL_PAUSE_MAX_S,
    Breaker,
)


def tripped(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_TO_TRIP):
        breaker.failed(now, is_trial=False)
    return breaker


# A function, since this changes behind the back of the type checker.
def is_tripped(breaker: Breaker) -> bool:
    return breaker.is_tripped


def test_it_trips_once_enough_openings_failed_and_says_so_once() -> None:
    breaker = Breaker()
    told = [breaker.failed(0, is_trial=False) for _ in range(FAILURES_TO_TRIP + 5)]
    assert told.index(True) == FAILURES_TO_TRIP - 1
    assert told.count(True) == 1


def test_as_many_successes_keep_it_from_tripping() -> None:
    breaker = Breaker()
    for _ in range(50):
        breaker.failed(0, is_trial=False)
        breaker.succeeded(0)
    assert not is_tripped(breaker)


def test_old_failures_are_forgotten() -> None:
    breaker = Breaker()
    for second in range(100):
        breaker.failed(second * RECENT_S / (FAILURES_TO_TRIP - 2), is_trial=False)
    assert not is_tripped(breaker)


def test_single_trials_are_made_with_growing_pauses() -> None:
    breaker, now, pauses = tripped(), 0.0, []
    for _ in range(7):
        pauses.append(breaker.free_at() - now)
        now = breaker.free_at()
        assert breaker.begin()
        assert breaker.free_at() == float("inf")
        breaker.failed(now, is_trial=True)
    assert pauses == [1, 2, 4, 8, 16, TRIAL_PAUSE_MAX_S, TRIAL_PAUSE_MAX_S]


def test_one_success_is_enough() -> None:
    breaker = tripped()
    breaker.begin()
    assert breaker.succeeded(5)
    assert not is_tripped(breaker)
    assert breaker.free_at() == 0
    assert not breaker.begin()
    assert not breaker.succeeded(6)


def test_a_trial_that_tells_nothing_is_followed_by_another() -> None:
    breaker = tripped()
    breaker.begin()
    breaker.trial_left()
    assert breaker.free_at() == 1


def test_a_failure_that_began_before_is_no_trial() -> None:
    breaker = tripped()
    breaker.begin()
    breaker.failed(1, is_trial=False)
    assert breaker.free_at() == float("inf")
