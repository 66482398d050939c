"""The outbox sends in order for each person, for many people at once, at its pace."""

import contextvars
from datetime import datetime, timedelta
from typing import Any

import pytest
import trio
from attrs import define
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.calls import FollowUpState
from actors.messages import NotSent, Refused
from tests.actors.lanes import TEMPLATE, first, queue, sending, statuses
from tests.actors.worlds import World
from tests.memory.outbox import MemoryOutbox

RATE_LIMITED = NotSent(code=20429, detail="too many requests", retry_after_s=7.0)
UNREACHABLE = NotSent(code=None, detail="connection refused")


async def test_a_lane_is_sent_in_order(autojump_clock: MockClock) -> None:
    async with sending(person_burst=20) as world:
        world.messaging.send_s = 0.3
        await queue(world, *map(str, range(20)))
        await trio.sleep(10)

        assert world.messaging.bodies == [str(number) for number in range(20)]
        assert statuses(world) == ["accepted"] * 20
        assert [message.sid for message in world.outbound] == [m.sid for m in world.messaging.created]


async def test_people_are_served_side_by_side_up_to_the_limit(autojump_clock: MockClock) -> None:
    async with sending(concurrency=3) as world:
        world.messaging.send_s = 2
        for person in range(6):
            await queue(world, "hola", person=person)
        await trio.sleep(3)
        assert world.messaging.in_flight_max == 3
        assert len(world.messaging.created) == 6

        await trio.sleep(3)
        assert statuses(world) == ["accepted"] * 6


async def test_a_slow_lane_holds_up_no_other(autojump_clock: MockClock) -> None:
    async with sending() as world:
        world.messaging.outcomes.append(NotSent(code=63018, detail="later", retry_after_s=100))
        await queue(world, "uno", person=1)
        await wait_all_tasks_blocked()
        await queue(world, "dos", person=2)
        await trio.sleep(5)

        assert world.messaging.bodies == ["dos"]


async def test_what_nobody_told_of_is_found_by_the_sweep(autojump_clock: MockClock) -> None:
    async with sending(sweep_every_s=5) as world:
        await trio.sleep(1)
        await queue(world, "hola", is_told=False)
        await trio.sleep(3)
        assert world.messaging.bodies == []

        await trio.sleep(2)
        assert world.messaging.bodies == ["hola"]


async def test_what_is_queued_while_its_lane_is_being_served_is_sent_with_it(
    autojump_clock: MockClock,
) -> None:
    async with sending(sweep_every_s=1000) as world:
        world.messaging.send_s = 1
        await queue(world, "uno")
        await trio.sleep(0.5)
        await queue(world, "dos")
        await trio.sleep(2)

        assert world.messaging.bodies == ["uno", "dos"]
        assert statuses(world) == ["accepted", "accepted"]


async def test_what_is_queued_in_the_last_moment_is_sent_at_once(autojump_clock: MockClock) -> None:
    async with sending(sweep_every_s=1000) as world:
        await trio.sleep(1)
        world.outbox_store.store = QueuesMeanwhile(world)
        await queue(world, "uno")
        await trio.sleep(2)

        assert world.messaging.bodies == ["uno", "dos"]


async def test_being_told_before_it_runs_does_no_harm(autojump_clock: MockClock) -> None:
    async with sending(is_running=False) as world:
        await queue(world, "hola")
        await world.start_outbox()
        await trio.sleep(1)

        assert world.messaging.bodies == ["hola"]


async def test_a_message_counts_as_being_sent_only_once_its_turn_has_come(autojump_clock: MockClock) -> None:
    async with sending(messages_per_second=0.1, concurrency=16, sweep_every_s=1000) as world:
        for person in range(3):
            await queue(world, "hola", person=person)
        await trio.sleep(5)

        assert statuses(world) == ["accepted", "pending", "pending"]


async def test_a_refused_message_is_settled_and_the_lane_goes_on(autojump_clock: MockClock) -> None:
    async with sending() as world:
        world.messaging.outcomes.append(Refused(code=63024, detail="invalid recipient"))
        await queue(world, "uno", "dos")
        await trio.sleep(5)

        assert statuses(world) == ["refused", "accepted"]
        assert first(world).error_code == 63024
        assert world.alert_keys == []


async def test_a_refused_opening_ends_the_follow_up_of_its_call(autojump_clock: MockClock) -> None:
    async with sending() as world:
        world.messaging.outcomes.append(Refused(code=63024, detail="invalid recipient"))
        await world.call_ends()
        await trio.sleep(5)

        assert world.follow_up() is FollowUpState.REFUSED


async def test_what_did_not_go_is_tried_again_with_growing_pauses(autojump_clock: MockClock) -> None:
    async with sending(sweep_every_s=0.5, retry_first_s=1, retry_max_s=4) as world:
        world.messaging.outcomes.extend([UNREACHABLE] * 4)
        await queue(world, "uno", "dos")
        await trio.sleep(30)

        times = [round(at) for at, text in world.messaging.attempts if text == "uno"]
        assert times == [0, 1, 3, 7, 11]
        assert world.messaging.bodies == ["uno", "dos"]


async def test_a_wait_that_twilio_asked_for_is_kept(autojump_clock: MockClock) -> None:
    async with sending(sweep_every_s=0.5) as world:
        world.messaging.outcomes.append(RATE_LIMITED)
        await queue(world, "uno")
        await trio.sleep(20)

        assert [round(at) for at, _ in world.messaging.attempts] == [0, 7]


@pytest.mark.parametrize("asked_s", [1e300, float("inf"), float("nan"), -1e300])
async def test_a_wait_without_measure_is_cut(autojump_clock: MockClock, asked_s: float) -> None:
    async with sending(retry_max_s=30) as world:
        world.messaging.outcomes.append(NotSent(code=20429, detail="slow", retry_after_s=asked_s))
        await queue(world, "uno")
        await trio.sleep(40)

        assert world.messaging.bodies == ["uno"]


async def test_wrong_credentials_are_an_alert_until_they_work_again(autojump_clock: MockClock) -> None:
    async with sending() as world:
        world.messaging.outcomes.append(NotSent(code=20003, detail="authenticate"))
        await queue(world, "uno")
        await trio.sleep(0.5)
        assert world.alert_keys == ["twilio_credentials"]

        await trio.sleep(10)
        assert world.alert_keys == []
        assert world.messaging.bodies == ["uno"]


async def test_what_could_not_go_for_too_long_is_given_up(autojump_clock: MockClock) -> None:
    async with sending(give_up_after_s=600, retry_max_s=100) as world:
        world.messaging.outcomes.extend([NotSent(code=63018, detail="rate")] * 8)
        await queue(world, "uno", "dos")
        await trio.sleep(590)
        assert statuses(world)[0] == "pending"

        await trio.sleep(200)
        assert statuses(world) == ["refused", "accepted"]
        assert first(world).error_code == 63018


async def test_what_never_goes_is_paused_for_however_often_it_was_tried(autojump_clock: MockClock) -> None:
    async with sending(sweep_every_s=0.5, retry_max_s=0.5) as world:
        await queue(world, "uno", is_told=False)
        first(world).attempts = 5000
        world.messaging.outcomes.append(UNREACHABLE)
        await trio.sleep(5)

        assert world.messaging.bodies == ["uno"]


async def test_a_database_that_is_down_is_an_alert_until_it_is_back(autojump_clock: MockClock) -> None:
    async with sending() as world:
        await queue(world, "uno", is_told=False)
        world.database.unavailable = True
        await trio.sleep(5)
        assert world.alert_keys == ["outbox_store"]

        world.database.unavailable = False
        await trio.sleep(5)
        assert world.alert_keys == []
        assert world.messaging.bodies == ["uno"]


async def test_free_text_goes_while_the_window_is_open_and_the_template_afterwards(
    autojump_clock: MockClock,
) -> None:
    async with sending() as world:
        await queue(world, "uno", template=TEMPLATE)
        await trio.sleep(5)
        await queue(world, "dos", template=TEMPLATE, is_told=False)
        _close_window(world)
        await trio.sleep(5)

        assert world.messaging.bodies == ["uno", "template of [HX1]"]


async def test_without_a_template_the_text_is_tried_though_the_window_is_closed(
    autojump_clock: MockClock,
) -> None:
    async with sending() as world:
        await queue(world, "uno", is_told=False)
        _close_window(world)
        await trio.sleep(5)

        assert world.messaging.bodies == ["uno"]


async def test_a_lane_inherits_no_context_from_who_told_of_it(autojump_clock: MockClock) -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request")
    seen: list[str | None] = []
    async with sending() as world:
        person_id = await queue(world, "uno", is_told=False)
        world.messaging.on_send = lambda: seen.append(request.get(None))
        request.set("of a webhook")
        world.outbox.due(person_id)
        await trio.sleep(1)

    assert seen == [None]


async def test_an_outbox_is_idle_once_everything_under_way_is_done(autojump_clock: MockClock) -> None:
    async with sending() as world:
        world.messaging.send_s = 3
        await world.outbox.until_idle()
        await queue(world, "uno")
        await queue(world, "dos", person=2)
        await world.outbox.until_idle()

        assert trio.current_time() == pytest.approx(3, abs=0.1)
        assert statuses(world) == ["accepted", "accepted"]


@define(eq=False)
class QueuesMeanwhile:
    """A store in which something is queued just after a message was found to be the last of its lane."""

    world: World
    is_done: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(MemoryOutbox(self.world.database), name)

    async def accepted(self, message_id: int, *, sid: str, now: datetime) -> bool:
        has_more = await MemoryOutbox(self.world.database).accepted(message_id, sid=sid, now=now)
        if not self.is_done:
            self.is_done = True
            await queue(self.world, "dos")
        return has_more


def _close_window(world: World) -> None:
    """Everybody wrote for the last time a day ago."""
    for message in world.database.inbound.values():
        message.created_at -= timedelta(hours=24)
