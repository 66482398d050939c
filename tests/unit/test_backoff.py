"""Pauses between attempts."""

import pytest

from actors.runtime.backoff import doubling_s


@pytest.mark.parametrize(
    ("failures", "pause_s"), [(0, 0.5), (1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (7, 30.0)]
)
def test_a_pause_doubles_up_to_its_limit(failures: int, pause_s: float) -> None:
    assert doubling_s(0.5, failures, max_s=30) == pause_s


def test_what_fails_for_ever_is_still_paused_for() -> None:
    assert doubling_s(0.5, 10**9, max_s=30) == 30
