"""`python -m tests.chaos.victim … run --config FILE`: the ordinary command line, with a wound.

It may end itself at a fault point as SIGKILL would, believe in another wall clock, or carry a planted mistake, by
which the suite shows that it sees what it is there to see. Nothing of this is in the product.
"""

import os
import signal
import sys
from datetime import datetime, timedelta
from pathlib import Path

import click
from attrs import define

from actors.runtime.fault_points import FaultPoint, listen
from daemon.cli import main
from daemon.clock import SystemClock
from tests.chaos.plants import PLANTS


@define
class _Killer:
    """Ends the process when it passes a point for the n-th time; nothing is finished, nothing is said."""

    point: FaultPoint
    passings: int

    def __call__(self, point: FaultPoint) -> None:
        if point is self.point:
            self.passings -= 1
            if self.passings <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


def _let_the_clock_jump(file: Path) -> None:
    """From now on SIGUSR1 adds the seconds that the file holds to the wall clock; the monotonic clock goes on."""
    honest = SystemClock.now
    offset = timedelta()

    def now(self: SystemClock) -> datetime:
        return honest(self) + offset

    def jump(*_: object) -> None:
        nonlocal offset
        offset = timedelta(seconds=float(file.read_text()))

    SystemClock.now = now  # type: ignore[method-assign]
    signal.signal(signal.SIGUSR1, jump)
    jump()


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--kill-at", type=click.Choice([point.value for point in FaultPoint]))
@click.option("--passing", default=1)
@click.option("--clock", type=click.Path(path_type=Path), help="The file with the offset in seconds.")
@click.option("--plant", type=click.Choice(list(PLANTS)))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def victim(
    kill_at: str | None, passing: int, clock: Path | None, plant: str | None, arguments: tuple[str, ...]
) -> None:
    if kill_at is not None:
        listen(_Killer(FaultPoint(kill_at), passing))
    if clock is not None:
        _let_the_clock_jump(clock)
    if plant is not None:
        PLANTS[plant]()
    main(list(arguments))


if __name__ == "__main__":
    victim(sys.argv[1:])
