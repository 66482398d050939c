"""`python -m tests.calls`: bad days by seed, or every scenario broken off at every moment."""

import sys
from collections.abc import Iterable, Iterator

import click

from tests.calls.scenarios import broken_off, moments_of, scenarios
from tests.calls.simulate import Outcome, Summary, perform, simulate
from tests.calls.stage import Play, Stage
from tests.simulation.schedule import run_seeded

DOWN_S = (1.0, 3.0, 8.0)


@click.command()
@click.option("--seed", type=int, help="Live through this bad day and show how it went.")
@click.option("--whole", is_flag=True, help="With --seed or --scenario: all that happened.")
@click.option("--seeds", type=click.IntRange(min=1), default=200, show_default=True, help="So many bad days.")
@click.option("--first", type=int, default=0, show_default=True, help="The first of them.")
@click.option("--scenario", help="Play the scenarios with this in their names, undisturbed.")
@click.option(
    "--act", type=click.Choice(["hang up", "kill", "lose session", "end agent"]), help="Break them off."
)
@click.option(
    "--every", type=click.IntRange(min=1), default=1, show_default=True, help="At every n-th moment."
)
@click.option("--after-s", type=float, default=0.0, show_default=True, help="So long after the moment.")
def calls(
    seed: int | None,
    *,
    whole: bool,
    seeds: int,
    first: int,
    scenario: str | None,
    act: str | None,
    every: int,
    after_s: float,
) -> None:
    """Make telephone calls in virtual time and check everybody's ears. Exits with 1 if an invariant broke."""
    if seed is not None:
        sys.exit(_show([simulate(seed)], whole=whole))
    if act is not None:
        sys.exit(_run(map(perform, _broken_off(scenario or "", act, every, after_s))))
    if scenario is not None:
        plays = [play for play in scenarios() if scenario in play.name]
        sys.exit(_show(map(perform, plays), whole=whole))
    sys.exit(_run(map(simulate, range(first, first + seeds))))


def _show(outcomes: Iterable[Outcome], *, whole: bool) -> int:
    is_broken = False
    for outcome in outcomes:
        is_broken |= bool(outcome.broken)
        click.echo(outcome.report)
        if whole:
            click.echo("\n".join(outcome.lines))
    return int(is_broken)


def _run(outcomes: Iterable[Outcome]) -> int:
    summary = Summary()
    for outcome in outcomes:
        summary.add(outcome)
        if outcome.broken:
            click.echo(f"{outcome.play.mode.value}, {outcome.play.name}")
            click.echo("\n".join(f"    {broken}" for broken in outcome.broken))
    click.echo(summary.table)
    return int(bool(summary.broken))


def _broken_off(name: str, act: str, every: int, after_s: float) -> Iterator[Play]:
    for place, play in enumerate(scenarios()):
        if name not in play.name:
            continue
        stage = Stage(play)
        run_seeded(0, stage.run)
        for number, wish in enumerate(moments_of(stage)):
            if (place + number) % every == 0:
                yield broken_off(play, wish, act, after_s=after_s, down_s=DOWN_S[number % len(DOWN_S)])


if __name__ == "__main__":
    calls()
