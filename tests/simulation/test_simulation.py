"""Thousands of storms, and after every step of each what has been promised. `schedule.py` says why they repeat."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.chance import Fault
from tests.simulation.simulate import Summary, simulate

SEEDS = 300
"""About a minute on one slow core. `python -m tests.simulation` runs as many as you have time for."""
SEEDS_AT_ONCE = 75
WORLDS_STRUCK_MIN = 20
REMARKABLE = (
    "campaign held back",
    "conversation parked",
    "conversation restarted",
    "fallback queued",
    "message adopted",
    "message found without its webhook",
    "message repeated after it had failed",
    "message resent",
    "message went as a template",
    "outbox restarted",
    "turn no_words",
)

pytestmark = pytest.mark.expects_error_log


@pytest.fixture(scope="module")
def so_far() -> Summary:
    """Of the seeds that were run until now."""
    return Summary()


@pytest.fixture
def summary(so_far: Summary) -> Summary:
    """Of all seeds."""
    if so_far.outcomes < SEEDS:
        pytest.skip("tells something only after all seeds")
    return so_far


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_AT_ONCE))
def test_nothing_is_lost_or_doubled_whatever_happens(first: int, so_far: Summary) -> None:
    for seed in range(first, first + SEEDS_AT_ONCE):
        outcome = simulate(seed)
        so_far.add(outcome)
        if outcome.broken is not None:
            pytest.fail(outcome.report, pytrace=False)


def test_every_fault_comes_about_in_some_worlds(summary: Summary) -> None:
    assert [fault for fault in Fault if summary.worlds_struck[fault] < WORLDS_STRUCK_MIN] == []


@pytest.mark.parametrize("what", REMARKABLE)
def test_the_worlds_are_not_dull(summary: Summary, what: str) -> None:
    assert summary.counts[what] > 0


@pytest.mark.parametrize("seed", [3, 42, 581])
def test_a_seed_repeats_its_world_event_by_event(seed: int) -> None:
    assert simulate(seed).trace.digest == simulate(seed).trace.digest


def test_another_seed_is_another_world() -> None:
    assert simulate(1).trace.digest != simulate(2).trace.digest


def test_a_seed_repeats_its_world_in_another_process() -> None:
    assert _trace_in_a_process(hash_seed="1") == _trace_in_a_process(hash_seed="2")


def _trace_in_a_process(*, hash_seed: str) -> str:
    """The order of sets of strings depends on the hash seed; a world must not."""
    command = [sys.executable, "-m", "tests.simulation", "--seed", "42", "--whole"]
    return subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
