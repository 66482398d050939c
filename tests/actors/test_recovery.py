"""Recovery finds what no nudge told of."""

import trio
from trio.testing import MockClock

from actors.watch.recovery import PAGE_PAUSE_S, PAGE_SIZE
from tests.actors.worlds import open_world


async def test_what_a_dead_daemon_left_is_taken_up_at_the_start(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.writes("Hola", is_told=False)
        await world.call_ends(who="+525512340002", is_told=False)
        await world.start_recovery()
        await trio.sleep(5)

        assert sorted(world.sent) == ["Hola, Ana: quiere el plan anual.", "re: Hola"]


async def test_a_message_whose_nudge_got_lost_is_found(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.start_recovery(every_s=15)
        await trio.sleep(1)
        await world.writes("Hola", is_told=False)
        await trio.sleep(13)
        assert world.sent == []

        await trio.sleep(5)
        assert world.sent == ["re: Hola"]


async def test_looking_into_what_is_under_way_changes_nothing(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.start_recovery(every_s=0.3)
        for number in range(5):
            await world.writes(str(number))
            await trio.sleep(3)
        await trio.sleep(20)

        assert world.sent == [f"re: {number}" for number in range(5)]


async def test_many_people_are_woken_page_by_page(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        count = 2 * PAGE_SIZE + 1
        for person in range(count):
            await world.writes("Hola", who=f"+5255{person:08}", is_told=False)
        await world.start_recovery(every_s=1000)
        await trio.sleep(PAGE_PAUSE_S / 2)
        assert len(world.conversations) == PAGE_SIZE

        await trio.sleep(60)
        assert world.sent == ["re: Hola"] * count


async def test_a_database_that_is_down_is_an_alert_until_it_is_back(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        await world.writes("Hola", is_told=False)
        world.database.unavailable = True
        await world.start_recovery(every_s=15)
        await trio.sleep(1)
        assert "recovery_store" in world.alert_keys

        world.database.unavailable = False
        await trio.sleep(30)
        assert world.alert_keys == []
        assert world.sent == ["re: Hola"]
