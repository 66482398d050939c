"""Answers that find the window closed: a template asks the person to write, and nothing of the answer is lost."""

from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import cast

import pytest
import trio
from attrs import Factory, define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from actors.messages import DeliveryStatus, NotSent, Purpose, Refused, StatusReport
from actors.metrics import NoMetrics
from actors.ports import OutboxStore
from actors.watch.status_intake import StatusIntake
from tests.actors.lanes import TEMPLATE, address_of, claim, queue, sending, statuses
from tests.actors.worlds import World, open_world
from tests.memory.clock import BEGINNING, VirtualClock
from tests.memory.database import MemoryDatabase
from tests.memory.messaging import Created, Lost, MemoryMessaging, Outcome
from tests.memory.outbox import MemoryOutbox

ASKED = "template of [HX1]"
LATE, NEVER_ARRIVED = Lost.AFTER_IT_WAS_ACCEPTED, Lost.BEFORE_IT_ARRIVED
FAILED = DeliveryStatus.FAILED
HOUR_S = 3600.0


def close_window(database: MemoryDatabase) -> None:
    """Everybody wrote for the last time a day ago."""
    for message in database.inbound.values():
        message.created_at -= timedelta(days=1)


async def waiting(world: World, *texts: str) -> int:
    person_id = await queue(world, *(texts or ("uno", "dos")), template=TEMPLATE, is_told=False)
    close_window(world.database)
    return person_id


async def write(world: World) -> None:
    await world.writes("¿sí?", who=address_of(1), is_told=False)


async def report(world: World, created: Created, code: int) -> None:
    intake = StatusIntake(
        store=cast("OutboxStore", MemoryOutbox(world.database)),
        give_up_after_s=86_400,
        outbox_due=world.outbox.due,
        opening_failed=lambda: pytest.fail("no opening has failed"),
        clock=world.clock,
        alerts=world.alerts,
        metrics=NoMetrics(),
    )
    await intake.take(
        StatusReport(message_id=created.message_id, sid=created.sid, status=FAILED, error_code=code)
    )


@pytest.mark.parametrize("pieces", [["uno"], ["uno", "dos", "tres"]])
async def test_one_template_goes_and_the_whole_answer_when_the_person_writes(
    autojump_clock: MockClock, pieces: list[str]
) -> None:
    async with sending() as world:
        await waiting(world, *pieces)
        await trio.sleep(HOUR_S)
        assert world.messaging.bodies == [ASKED]
        assert statuses(world) == ["pending"] * len(pieces) + ["accepted"]

        await write(world)
        await queue(world, "nuevo", template=TEMPLATE)
        await trio.sleep(5)
        assert world.messaging.bodies == [ASKED, *pieces, "nuevo"]


async def test_whoever_writes_while_the_template_is_in_doubt_gets_the_answer_once_that_is_settled(
    autojump_clock: MockClock,
) -> None:
    async with sending() as world:
        world.messaging.outcomes.append(LATE)
        await waiting(world)
        await trio.sleep(3)
        await write(world)
        await trio.sleep(60)

        assert world.messaging.bodies == [ASKED, "uno", "dos"]
        assert statuses(world) == ["accepted", "accepted", "accepted"]


async def test_whoever_writes_before_the_template_went_gets_none(autojump_clock: MockClock) -> None:
    async with sending() as world:
        world.messaging.outcomes.append(NotSent(code=None, detail="no connection", retry_after_s=100))
        await waiting(world)
        await trio.sleep(10)
        assert statuses(world) == ["pending", "pending", "pending"]

        await write(world)
        await trio.sleep(HOUR_S)
        assert world.messaging.bodies == ["uno", "dos"]
        assert statuses(world) == ["accepted", "accepted", "refused"]


async def test_a_template_that_never_arrived_goes_again_with_growing_pauses(
    autojump_clock: MockClock,
) -> None:
    async with sending() as world:
        world.messaging.outcomes.extend([NEVER_ARRIVED] * 2)
        await waiting(world)
        await trio.sleep(HOUR_S)

        assert [text for _, text in world.messaging.attempts] == ["[HX1]"] * 3
        assert world.messaging.bodies == [ASKED]


async def test_a_template_under_way_when_the_daemon_was_killed_goes_once(autojump_clock: MockClock) -> None:
    async with sending() as world:
        person_id = await waiting(world)
        message = await claim(world, person_id)
        await world.messaging.send(message, as_template=True)
        await trio.sleep(HOUR_S)

        assert world.messaging.bodies == [ASKED]
        await write(world)
        await trio.sleep(5)
        assert world.messaging.bodies == [ASKED, "uno", "dos"]


async def test_a_template_that_fails_for_now_goes_again_and_costs_a_pause_each_time(
    autojump_clock: MockClock,
) -> None:
    async with sending() as world:
        await waiting(world)
        for _ in range(12):
            await trio.sleep(HOUR_S)
            await report(world, world.messaging.created[-1], 63018)
            assert not world.messaging.bodies_to(address_of(1)).count("uno")

        assert 3 <= len(world.messaging.bodies) <= 10
        await write(world)
        await trio.sleep(HOUR_S)
        assert world.messaging.bodies[-2:] == ["uno", "dos"]


async def test_a_template_that_is_refused_takes_the_answer_with_it_and_is_tried_no_more(
    autojump_clock: MockClock,
) -> None:
    async with sending() as world:
        world.messaging.outcomes.append(Refused(code=63041, detail="paused"))
        await waiting(world)
        await trio.sleep(HOUR_S)

        assert len(world.messaging.attempts) == 1
        assert [(m.status.label, m.error_code) for m in world.outbound] == [("refused", 63041)] * 3
        assert world.alert_keys == ["refused_63041"]


async def test_a_template_that_never_goes_is_given_up_with_what_waits(autojump_clock: MockClock) -> None:
    async with sending(give_up_after_s=600) as world:
        world.messaging.outcomes.extend([NotSent(code=503, detail="away")] * 100)
        await waiting(world)
        await trio.sleep(HOUR_S)

        assert statuses(world) == ["refused"] * 3
        assert world.messaging.bodies == []


async def test_texts_that_met_a_closed_window_go_again_when_the_person_writes(
    autojump_clock: MockClock,
) -> None:
    async with sending() as world:
        await queue(world, "uno", "dos", template=TEMPLATE)
        await trio.sleep(5)
        for created in list(world.messaging.created):
            await report(world, created, 63016)
        await trio.sleep(HOUR_S)
        assert world.messaging.bodies == ["uno", "dos", ASKED]

        await write(world)
        await trio.sleep(5)
        assert world.messaging.bodies == ["uno", "dos", ASKED, "uno", "dos"]
        assert world.alert_keys == []


# --- Whatever happens -------------------------------------------------------------------------------------

happenings = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.1, 1.0, 4.0, 21.0, 130.0]),
        st.sampled_from(["kill", "write", "fail", "queue", "nothing"]),
    ),
    max_size=10,
)
outcomes = st.lists(
    st.sampled_from([None, *Lost, NotSent(code=63018, detail="rate"), NotSent(code=None, detail="away")]),
    max_size=8,
)


@define(eq=False)
class Life:
    """What outlives the daemon, of one person whose window is closed."""

    outcomes: Sequence[Outcome]
    clock: VirtualClock = Factory(VirtualClock)
    database: MemoryDatabase = Factory(MemoryDatabase)
    messaging: MemoryMessaging = field(init=False)
    texts: list[str] = field(factory=lambda: ["uno", "dos", "tres"])
    wrote_at: float | None = None

    def __attrs_post_init__(self) -> None:
        self.messaging = MemoryMessaging(self.clock, send_s=0.2)

    async def live(self, happenings: Sequence[tuple[float, str]]) -> None:
        rest = deque(happenings)
        is_new = True
        while rest or is_new:
            self.messaging.in_flight.clear()
            async with open_world(
                database=self.database, messaging=self.messaging, clock=self.clock
            ) as world:
                if is_new:
                    self.messaging.outcomes.extend(self.outcomes)
                    await waiting(world, *self.texts)
                    is_new = False
                await self._happen(world, rest)
                if not rest:
                    await self._end(world)

    async def _happen(self, world: World, rest: deque[tuple[float, str]]) -> None:
        while rest:
            pause_s, happening = rest.popleft()
            await trio.sleep(pause_s)
            match happening:
                case "kill" if rest:
                    return
                case "write":
                    await self._write(world)
                case "fail":
                    await self._fail(world)
                case "queue" if self.wrote_at is None:
                    self.texts.append(f"más {len(self.texts)}")
                    await self._queue(world, self.texts[-1])

    async def _queue(self, world: World, text: str) -> None:
        conversation = self.database.open_conversation(1)
        assert conversation is not None
        async with self.database.transaction():
            self.database.add_pieces(
                conversation,
                [text],
                address=address_of(1),
                purpose=Purpose.ANSWER,
                template=TEMPLATE,
                now=self.clock.now(),
            )
        world.outbox.due(1)

    async def _write(self, world: World) -> None:
        if self.wrote_at is None:
            self.wrote_at = trio.current_time()
        await write(world)

    async def _fail(self, world: World) -> None:
        templates = [created for created in self.messaging.created if created.is_template]
        if templates:
            await report(world, templates[-1], 63018)

    async def _end(self, world: World) -> None:
        self.messaging.outcomes.clear()
        await trio.sleep(HOUR_S)
        if self.wrote_at is None:
            await self._write(world)
        await trio.sleep(HOUR_S)


@settings(max_examples=8, deadline=None)
@given(happenings, outcomes)
def test_whatever_happens_the_answer_comes_once_and_in_order_when_the_person_writes(
    happenings: Sequence[tuple[float, str]], outcomes: Sequence[Outcome]
) -> None:
    life = Life(outcomes)
    trio.run(life.live, happenings, clock=MockClock(autojump_threshold=0))

    created = life.messaging.created
    assert [message.body for message in created if not message.is_template] == life.texts
    asked = [message for message in created if message.is_template]
    rows = life.database.outbound.values()
    assert len(asked) == len([m for m in rows if m.purpose is Purpose.REOPENING and m.sid is not None])
    assert not [m for m in rows if m.is_unsent]
    assert life.wrote_at is not None
    assert all(message.at <= BEGINNING + timedelta(seconds=life.wrote_at) for message in asked)
