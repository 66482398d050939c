"""Bad days, a few of the thousands that `python -m tests.calls --seeds 1000` tries."""

import pytest

from tests.calls.simulate import simulate

SEEDS = 20
SEEDS_AT_ONCE = 10

pytestmark = pytest.mark.expects_error_log


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_AT_ONCE))
def test_nobody_is_forgotten_whatever_goes_wrong(first: int) -> None:
    for seed in range(first, first + SEEDS_AT_ONCE):
        outcome = simulate(seed)
        assert not outcome.broken, outcome.report


@pytest.mark.parametrize("seed", [2, 23])
def test_a_seed_repeats_its_day_event_by_event(seed: int) -> None:
    assert simulate(seed).digest == simulate(seed).digest
