"""`python -m tests.bench [--only NAME]…`: measures, and prints a table in Markdown."""

import sys
from collections.abc import Sequence

import click
import trio

from daemon.observability.logging import configure_logging
from tests.bench.database import open_database
from tests.bench.figures import BY_DEFAULT, FIGURES
from tests.bench.report import HEADER, machine


@click.command()
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(list(FIGURES)),
    help="May be repeated; else everything but million.",
)
def bench(only: Sequence[str]) -> None:
    """Measure the daemon's speed and size."""
    configure_logging(json=False, level="warning")
    trio.run(_bench, only or BY_DEFAULT)


async def _bench(names: Sequence[str]) -> None:
    _print(machine())
    _print("")
    _print(HEADER)
    async with open_database() as database:
        for name in names:
            for figure in await FIGURES[name](database):
                _print(figure.row())


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    bench()
