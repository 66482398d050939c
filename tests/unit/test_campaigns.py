"""When the openings of a campaign are held back, and when they go again."""

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve

from actors.campaigns import BreakerMove, BreakerRules, Campaign, Tally, next_move

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RULES = BreakerRules(openings=20, openings_min=10, failed_share=0.5, pause_s=900, probes=3)
NONE = Tally(known=0, failed=0, code=None)
FLOWING = Campaign(
    id="btcal_1",
    held_since=None,
    look_at=None,
    code=None,
    probes=0,
    results=NONE,
    probed=NONE,
    waiting=0,
)
HELD = evolve(FLOWING, held_since=NOW - MINUTE, look_at=NOW + MINUTE, code=63018, waiting=50)
PROBING = evolve(HELD, probes=3)


def tally(failed: int, known: int) -> Tally:
    return Tally(known=known, failed=failed, code=63018 if failed else None)


@pytest.mark.parametrize(
    ("failed", "known", "move"),
    [
        (0, 20, BreakerMove.NONE),
        (9, 9, BreakerMove.NONE),
        (4, 10, BreakerMove.NONE),
        (5, 10, BreakerMove.HOLD),
        (10, 10, BreakerMove.HOLD),
        (9, 20, BreakerMove.NONE),
        (10, 20, BreakerMove.HOLD),
    ],
)
def test_a_campaign_is_held_once_most_of_enough_openings_failed(
    failed: int, known: int, move: BreakerMove
) -> None:
    assert next_move(evolve(FLOWING, results=tally(failed, known)), RULES, NOW) is move


def test_a_held_campaign_waits_out_its_pause() -> None:
    assert next_move(HELD, RULES, NOW) is BreakerMove.NONE
    assert next_move(HELD, RULES, NOW + MINUTE) is BreakerMove.PROBE


def test_with_nothing_left_to_hold_back_it_is_released() -> None:
    empty = evolve(HELD, waiting=0)

    assert next_move(empty, RULES, NOW) is BreakerMove.NONE
    assert next_move(empty, RULES, NOW + MINUTE) is BreakerMove.RELEASE


@pytest.mark.parametrize(
    ("failed", "known", "move"),
    [
        (0, 0, BreakerMove.NONE),
        (0, 2, BreakerMove.NONE),
        (1, 1, BreakerMove.NONE),
        (0, 3, BreakerMove.RELEASE),
        (1, 3, BreakerMove.RELEASE),
        (2, 2, BreakerMove.HOLD),
        (3, 3, BreakerMove.HOLD),
    ],
)
def test_probes_decide_as_soon_as_they_can(failed: int, known: int, move: BreakerMove) -> None:
    assert next_move(evolve(PROBING, probed=tally(failed, known)), RULES, NOW) is move


def test_probes_of_which_nothing_is_heard_are_followed_by_others() -> None:
    assert next_move(evolve(PROBING, probed=tally(0, 2)), RULES, NOW + MINUTE) is BreakerMove.PROBE


def test_a_single_probe_decides_alone() -> None:
    single = evolve(PROBING, probes=1)

    assert next_move(evolve(single, probed=tally(1, 1)), RULES, NOW) is BreakerMove.HOLD
    assert next_move(evolve(single, probed=tally(0, 1)), RULES, NOW) is BreakerMove.RELEASE
