"""The simulation finds bugs that are there: each of these is planted, and found by one of the first seeds."""

import pytest

from tests.simulation.plants import PLANTS
from tests.simulation.simulate import Outcome, simulate

SEEDS_MAX = 1000

pytestmark = pytest.mark.expects_error_log


def first_broken() -> Outcome | None:
    return next((outcome for outcome in map(simulate, range(SEEDS_MAX)) if outcome.broken), None)


# It shows only after some hundred seeds.
_LONG = "trusts the first look"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if name == _LONG else []) for name in PLANTS]
)
def test_a_planted_bug_is_found(name: str) -> None:
    with PLANTS[name].planted():
        outcome = first_broken()

    assert outcome is not None, f"{SEEDS_MAX} seeds have not found it"
    assert outcome.broken is not None
    assert outcome.broken.invariant in PLANTS[name].breaks
    assert f"--seed {outcome.seed}" in outcome.report


def test_a_seed_that_finds_a_bug_is_well_without_it() -> None:
    with PLANTS["claims without a mark"].planted():
        outcome = first_broken()
    assert outcome is not None

    assert simulate(outcome.seed).broken is None
