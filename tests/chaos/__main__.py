"""`python -m tests.chaos [--seed N] [--only NAME]… [--rounds N]`: the fault suite, on real processes.

Exit code 1 when anything was lost, doubled, out of order or never reached; the logs are then kept.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import trio

from daemon.observability.logging import configure_logging
from tests.chaos.plants import PLANTS
from tests.chaos.program import Ground, chosen, grounds, play_all
from tests.chaos.report import HEADER, row, summary
from tests.chaos.stage import Options, Result

SHOWN = 12


@click.command()
@click.option("--seed", default=1, show_default=True, help="Repeats what is left to chance.")
@click.option("--only", multiple=True, help="A scenario's name, or a pattern (kill-3*). May be repeated.")
@click.option("--rounds", default=4, show_default=True, type=click.IntRange(1), help="Kills at each point.")
@click.option("--people", default=10_000, show_default=True, type=click.IntRange(1), help="Of idle-crowd.")
@click.option("--at-once", default=3, show_default=True, type=click.IntRange(1), help="Worlds at a time.")
@click.option("--plant", type=click.Choice(list(PLANTS)), help="A mistake that the suite has to find.")
@click.option("--list", "only_list", is_flag=True, help="Show the scenarios' names and end.")
def chaos(
    seed: int,
    only: Sequence[str],
    rounds: int,
    people: int,
    at_once: int,
    plant: str | None,
    *,
    only_list: bool,
) -> None:
    """Break everything that can break, and audit the store against the lab's books."""
    configure_logging(json=False, level="error")
    wanted = chosen(grounds(), only)
    if not wanted:
        raise click.UsageError("no scenario has such a name; --list shows them")
    if only_list:
        for ground in wanted:
            for scenario in ground.scenarios:
                _print(f"{scenario.name}\t{scenario.expected.reason}".rstrip())
        return
    options = Options(seed=seed, rounds=rounds, people=people, plant=plant)
    folder = Path(tempfile.mkdtemp(prefix="relevo-chaos-"))
    results = trio.run(_chaos, wanted, options, folder, at_once)
    if all(result.is_good for result in results):
        shutil.rmtree(folder)
        return
    _print(f"The logs are in {folder}")
    sys.exit(1)


async def _chaos(wanted: Sequence[Ground], options: Options, folder: Path, at_once: int) -> list[Result]:
    results: list[Result] = []

    def tell(result: Result) -> None:
        results.append(result)
        _print(row(result))
        for note in result.notes:
            _print(f"    {note}")
        for wrong in result.wrongs[:SHOWN]:
            _print(f"    WRONG {wrong}")
        if result.wrongs:
            (folder / "wrongs.log").open("a").write("".join(f"{result.name}: {w}\n" for w in result.wrongs))

    began_at = trio.current_time()
    _print(HEADER)
    await play_all(wanted, options, folder, at_once=at_once, tell=tell)
    _print("")
    _print(summary(results, options, seconds=trio.current_time() - began_at))
    return results


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    chaos()
