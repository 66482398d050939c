"""Virtual time, and a schedule that the seed decides."""

import gc
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
import trio
from trio._core import _run as trio_run
from trio.testing import MockClock


def run_seeded(seed: int, main: Callable[[], Awaitable[None]]) -> None:
    """Run `main` in virtual time, with the order in which tasks run drawn from the seed.

    Trio shuffles the tasks that could run next. With its switch for deterministic scheduling that depends on
    nothing but its own random generator, so a seed repeats a schedule, and other seeds try others.
    """
    with _seeded(seed), _without_collector():
        trio.run(main, clock=MockClock(autojump_threshold=0))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    # Private names of trio's, which its own integration with Hypothesis uses in the same way.
    switches: Any = trio_run
    was_deterministic, states = switches._ALLOW_DETERMINISTIC_SCHEDULING, switches._r.getstate()
    global_state = random.getstate()
    switches._ALLOW_DETERMINISTIC_SCHEDULING = True
    switches._r.seed(seed)
    # What actors draw for themselves, such as the jitter of retries.
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(global_state)
        switches._r.setstate(states)
        switches._ALLOW_DETERMINISTIC_SCHEDULING = was_deterministic


@contextmanager
def _without_collector() -> Iterator[None]:
    """A collection in the middle would finalise generators at a moment that no seed decides."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def silent_logs() -> Iterator[None]:
    """A crash a second is what a simulation is made of; its trace tells more than its logs."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
