"""`python -m tests.simulation`: one seed with its trace, or many with a summary."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import click

from tests.simulation.plants import PLANTS
from tests.simulation.simulate import Summary, simulate


@click.command()
@click.option("--seed", type=int, help="Run this one and show its trace.")
@click.option("--whole", is_flag=True, help="With --seed: the whole trace, reads included.")
@click.option("--seeds", type=click.IntRange(min=1), default=2000, show_default=True, help="Run so many.")
@click.option("--first", type=int, default=0, show_default=True, help="The first of them.")
@click.option("--plant", type=click.Choice(list(PLANTS)), help="Plant this bug before.")
def simulation(seed: int | None, *, whole: bool, seeds: int, first: int, plant: str | None) -> None:
    """Live through storms, and see whether anything is lost or doubled. Exits with 1 if an invariant broke."""
    with PLANTS[plant].planted() if plant is not None else nullcontext():
        is_well = _show(seed, whole=whole) if seed is not None else _run_many(range(first, first + seeds))
    sys.exit(0 if is_well else 1)


def _show(seed: int, *, whole: bool) -> bool:
    outcome = simulate(seed)
    click.echo("\n".join(map(str, outcome.trace)) if whole else outcome.report)
    return outcome.broken is None


def _run_many(seeds: range) -> bool:
    summary = Summary()
    with _progress(seeds) as rest:
        for seed in rest:
            outcome = simulate(seed)
            summary.add(outcome)
            if outcome.broken is not None:
                click.echo(f"\n{outcome.report}")
    click.echo(summary.table)
    return not summary.broken


@contextmanager
def _progress(seeds: range) -> Iterator[Iterator[int]]:
    with click.progressbar(seeds, file=sys.stderr, label="seeds") as rest:
        yield rest


if __name__ == "__main__":
    simulation()
