"""The fault suite in short, and that it fails where it must. All of it is `make chaos`."""

from functools import partial
from pathlib import Path

import pytest
import trio

from tests.chaos.program import Ground, grounds, play_ground
from tests.chaos.report import row
from tests.chaos.scenarios.kills import kill_at_chance
from tests.chaos.stage import Options, Result, Scenario

LIMIT_S = 240
SHORT = ("kill-32-send-answered", "database-restarted")

pytestmark = pytest.mark.processes


def named(*names: str) -> list[Scenario]:
    every = {scenario.name: scenario for ground in grounds() for scenario in ground.scenarios}
    return [every[name] for name in names]


async def play(scenarios: list[Scenario], options: Options, folder: Path) -> list[Result]:
    results: list[Result] = []
    with trio.fail_after(LIMIT_S):
        await play_ground(Ground(name="short", scenarios=scenarios), options, folder, tell=results.append)
    return results


@pytest.mark.long
async def test_kills_and_a_restarted_database_lose_and_double_nothing(server_folder: Path) -> None:
    at_chance = Scenario(name="kill-at-chance", play=partial(kill_at_chance, a_round=2))
    results = await play([*named(*SHORT), at_chance], Options(rounds=1), server_folder)

    wrong = [[row(result), *result.wrongs] for result in results if not result.is_good]
    assert wrong == []
    assert sum(result.kills for result in results) == 3
    assert all(result.verdict.written for result in results[:-1])


@pytest.mark.long
async def test_a_daemon_that_forgets_at_its_start_what_was_unanswered_is_found_out(
    server_folder: Path,
) -> None:
    options = Options(rounds=1, plant="forget-at-start", patience_s=3)
    results = await play(named("kill-02-inbound-stored"), options, server_folder)

    assert any(wrong.startswith("lost: ") for wrong in results[0].wrongs)


def test_every_scenario_has_a_name_of_its_own() -> None:
    names = [scenario.name for ground in grounds() for scenario in ground.scenarios]
    assert len(set(names)) == len(names)
