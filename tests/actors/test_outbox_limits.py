"""The outbox keeps the sender's rate, one person's share, and pauses; first messages wait behind answers."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from typing_extensions import override

from actors.messages import NotSent, Purpose
from actors.metrics import NoMetrics
from actors.watch import outbox
from tests.actors.lanes import address_of, queue, sending, statuses
from tests.actors.worlds import World
from tests.memory.messaging import Lost

OPENING = Purpose.OPENING


async def queue_openings(world: World, count: int, *, is_told: bool = True) -> list[int]:
    """One for each of the persons from number 100 on; returns their ids."""
    people = range(100, 100 + count)
    return [await queue(world, f"opening {n}", person=n, purpose=OPENING, is_told=is_told) for n in people]


def lanes_in_memory() -> int:
    tasks = [trio.lowlevel.current_root_task()]
    names = []
    while tasks:
        task = tasks.pop()
        assert task is not None
        names.append(task.name)
        tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return sum(name.startswith("outbox lane") for name in names)


async def test_an_answer_waits_for_no_opening_but_those_under_way(autojump_clock: MockClock) -> None:
    async with sending(messages_per_second=1) as world:
        await queue_openings(world, 40)
        await trio.sleep(0.5)
        await queue(world, "answer")
        await trio.sleep(1)

        assert world.messaging.bodies == ["opening 100", "answer"]


async def test_slow_openings_leave_a_place_for_an_answer(autojump_clock: MockClock) -> None:
    async with sending(concurrency=4) as world:
        world.messaging.send_s = 15
        await queue_openings(world, 10)
        await trio.sleep(1)
        world.messaging.send_s = 0.1
        await queue(world, "answer")
        await trio.sleep(1)

        assert statuses(world)[-1] == "accepted"
        assert world.messaging.in_flight_max == 4


async def test_openings_are_not_forgotten_over_answers(autojump_clock: MockClock) -> None:
    async with sending(messages_per_second=1, sweep_every_s=1) as world:
        await queue_openings(world, 3)
        for person in range(60):
            await queue(world, "answer", person=person)
        await trio.sleep(40)

        openings = [i for i, body in enumerate(world.messaging.bodies) if body.startswith("opening")]
        assert openings == [0, 10, 20]


async def test_an_answer_hurries_the_opening_before_it(autojump_clock: MockClock) -> None:
    async with sending(messages_per_second=1) as world:
        await queue_openings(world, 9)
        await trio.sleep(0.5)
        await queue(world, "answer", person=108)
        await trio.sleep(3)

        assert world.messaging.bodies == ["opening 100", "opening 108", "answer", "opening 101"]


async def test_the_sweep_finds_answers_behind_a_campaign(autojump_clock: MockClock) -> None:
    async with sending(messages_per_second=1, concurrency=1, sweep_every_s=5) as world:
        await trio.sleep(1)
        await queue_openings(world, 30, is_told=False)
        await queue(world, "answer", is_told=False)
        await trio.sleep(7)

        assert "answer" in world.messaging.bodies[:2]


async def test_there_is_a_limit_of_lanes_in_memory_and_nobody_is_left_behind(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "LANES_MAX", 8)
    async with sending(messages_per_second=1) as world:
        await queue_openings(world, 20)
        await wait_all_tasks_blocked()
        assert lanes_in_memory() == 4

        await queue(world, "answer")
        await trio.sleep(60)
        assert world.messaging.bodies[1] == "answer"
        assert len(world.messaging.bodies) == 21


async def test_a_person_gets_a_burst_and_then_waits_and_holds_up_nobody(autojump_clock: MockClock) -> None:
    async with sending(person_burst=3, person_every_s=6, concurrency=1) as world:
        await queue(world, *map(str, range(6)), person=1)
        await trio.sleep(1)
        await queue(world, "other", person=2)
        await trio.sleep(30)

        times = [round(at, 3) for at, text in world.messaging.attempts if text != "other"]
        assert times == [0, 0, 0, 6, 12, 18]
        assert world.messaging.bodies_to(address_of(1)) == list("012345")
        assert world.messaging.bodies[3] == "other"


async def test_a_rate_limit_pauses_everybody_and_keeps_the_order(autojump_clock: MockClock) -> None:
    async with sending(sweep_every_s=0.5) as world:
        world.messaging.outcomes.append(NotSent(code=20429, detail="too many requests", retry_after_s=7.0))
        await queue(world, "uno", "dos", person=0)
        await wait_all_tasks_blocked()
        assert world.alert_keys == ["sending_throttled"]
        for person in range(1, 4):
            await queue(world, "uno", "dos", person=person)
        await trio.sleep(30)

        assert len([at for at, _ in world.messaging.attempts if at < 7]) == 1
        assert world.alert_keys == []
        for person in range(4):
            assert world.messaging.bodies_to(address_of(person)) == ["uno", "dos"]


@pytest.mark.parametrize("code", [21611, 63038])
async def test_an_account_that_may_send_no_more_is_asked_now_and_then(
    autojump_clock: MockClock, code: int
) -> None:
    async with sending() as world:
        world.messaging.outcomes.extend([NotSent(code=code, detail="limit")] * 200)
        for person in range(50):
            await queue(world, "hola", person=person)
        await trio.sleep(3600)

        assert len(world.messaging.attempts) < 30
        assert world.alert_keys == ["sending_throttled"]


async def test_a_full_tier_pauses_openings_and_no_answers(autojump_clock: MockClock) -> None:
    async with sending(concurrency=1) as world:
        world.messaging.outcomes.append(NotSent(code=63018, detail="tier", retry_after_s=100))
        await queue_openings(world, 3)
        await trio.sleep(5)
        await queue(world, "answer")
        await trio.sleep(5)
        assert world.messaging.bodies == ["answer"]
        assert world.alert_keys == ["openings_throttled"]

        await trio.sleep(120)
        assert len(world.messaging.bodies) == 4
        assert world.alert_keys == []


async def test_how_long_messages_wait_is_measured(autojump_clock: MockClock) -> None:
    waits = Waits()
    async with sending(metrics=waits, messages_per_second=1, look_up_after_s=5) as world:
        world.messaging.outcomes.append(Lost.AFTER_IT_WAS_ACCEPTED)
        await queue(world, "uno", person=1)
        await queue(world, "dos", person=2)
        await queue_openings(world, 1)
        await trio.sleep(20)

    assert waits.seconds == [("answer", 1), ("opening", 2), ("answer", 6)]


class Waits(NoMetrics):
    def __init__(self) -> None:
        self.seconds: list[tuple[str, float]] = []

    @override
    def message_waited(self, purpose: str, seconds: float, /) -> None:
        self.seconds.append((purpose, round(seconds)))
