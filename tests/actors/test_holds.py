"""The breaker of a campaign: held back when most openings fail, tried again, released."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from attrs import define, field
from trio.testing import MockClock

from actors.alerts import Alerts
from actors.campaigns import BreakerRules
from actors.messages import DeliveryStatus, Refused, StatusReport
from actors.metrics import NoMetrics
from actors.watch.holds import HoldRules, Holds
from actors.watch.outbox import Outbox
from tests.actors.lanes import TEMPLATE, address_of, queue, sending, statuses
from tests.actors.worlds import World
from tests.memory.holds import MemoryHolds
from tests.memory.outbox import MemoryOutbox

CAMPAIGN = "agent_voice"
"""The calls of these tests have no batch."""
ALERT = f"campaign_{CAMPAIGN}"
PAUSE_S = 900.0
RULES = HoldRules(
    breaker=BreakerRules(openings=20, openings_min=4, failed_share=0.5, pause_s=PAUSE_S, probes=2),
    give_up_after_s=86_400,
)


def phone(person: int) -> str:
    return f"+57300111{person:04}"


@define(eq=False)
class Campaign:
    world: World
    holds: Holds
    people: int = 0
    _reported: set[str] = field(factory=set)

    async def openings(self, count: int) -> None:
        """So many calls end, and their openings go where nothing holds them back."""
        for _ in range(count):
            self.people += 1
            await self.world.call_ends(f"conv_{self.people}", who=phone(self.people))
        await trio.sleep(3)

    async def report(self, status: DeliveryStatus, code: int | None = None) -> None:
        """A status of everything of which none has come."""
        for created in self.world.messaging.created:
            if created.sid not in self._reported:
                self._reported.add(created.sid)
                report = StatusReport(
                    message_id=created.message_id, sid=created.sid, status=status, error_code=code
                )
                await MemoryOutbox(self.world.database).report(report, now=self.world.clock.now())
        self.holds.opening_failed()
        await trio.sleep(2)

    @property
    def sent(self) -> int:
        return len(self.world.messaging.created)

    @property
    def alert(self) -> str:
        return next((alert.text for alert in self.world.alerts.standing if alert.key == ALERT), "")


def make_holds(world: World, alerts: Alerts) -> Holds:
    return Holds(
        store=MemoryHolds(world.database),
        rules=RULES,
        outbox_due=world.outbox.due,
        clock=world.clock,
        alerts=alerts,
    )


@asynccontextmanager
async def campaign(**rules: Any) -> AsyncIterator[Campaign]:
    async with sending(**rules) as world:
        holds = make_holds(world, world.alerts)
        await world.nursery.start(holds.run)
        yield Campaign(world, holds)


async def test_a_campaign_that_mostly_fails_is_held_with_an_alert(autojump_clock: MockClock) -> None:
    async with campaign() as failing:
        await failing.openings(4)
        await failing.report(DeliveryStatus.FAILED, 63024)
        await failing.openings(5)

        assert failing.sent == 4
        assert statuses(failing.world) == ["failed"] * 4 + ["pending"] * 5
        assert "63024: the number has no WhatsApp" in failing.alert
        assert f"relevo batch process {CAMPAIGN}" in failing.alert


async def test_a_campaign_that_mostly_arrives_goes_on(autojump_clock: MockClock) -> None:
    async with campaign() as flowing:
        await flowing.openings(5)
        await flowing.report(DeliveryStatus.DELIVERED)
        await flowing.openings(4)
        await flowing.report(DeliveryStatus.FAILED, 63024)
        await flowing.openings(5)

        assert flowing.sent == 14
        assert flowing.alert == ""


async def test_nobody_elses_messages_are_held(autojump_clock: MockClock) -> None:
    async with campaign() as failing:
        await failing.openings(4)
        await failing.report(DeliveryStatus.FAILED, 63024)
        await failing.openings(1)
        await queue(failing.world, "una respuesta", person=7, template=TEMPLATE)
        await trio.sleep(5)

        assert failing.world.messaging.bodies_to(address_of(7)) == ["una respuesta"]


async def test_whoever_writes_gets_his_opening_and_then_his_answer(autojump_clock: MockClock) -> None:
    async with campaign() as failing:
        await failing.openings(4)
        await failing.report(DeliveryStatus.FAILED, 63024)
        await failing.openings(2)
        await failing.world.writes("¿me llamaron?", who=phone(5))
        await trio.sleep(30)

        assert failing.world.messaging.bodies_to(phone(5)) == [
            "Hola, Ana: quiere el plan anual.",
            "re: ¿me llamaron?",
        ]
        assert failing.world.messaging.bodies_to(phone(6)) == []


async def test_probes_that_arrive_release_the_campaign(autojump_clock: MockClock) -> None:
    async with campaign() as failing:
        await failing.openings(4)
        await failing.report(DeliveryStatus.FAILED, 63024)
        await failing.openings(6)
        await trio.sleep(PAUSE_S - 60)
        assert failing.sent == 4

        await trio.sleep(80)
        assert failing.sent == 4 + 2
        await failing.report(DeliveryStatus.DELIVERED)
        await trio.sleep(20)
        assert failing.sent == 10
        assert failing.alert == ""


async def test_probes_that_fail_hold_it_again(autojump_clock: MockClock) -> None:
    async with campaign() as failing:
        await failing.openings(4)
        await failing.report(DeliveryStatus.FAILED, 63024)
        await failing.openings(6)
        await trio.sleep(PAUSE_S + 20)
        await failing.report(DeliveryStatus.FAILED, 63049)
        await trio.sleep(PAUSE_S - 60)
        assert failing.sent == 6
        assert "63049" in failing.alert

        await trio.sleep(80)
        assert failing.sent == 8


async def test_the_operator_releases_it_at_once(autojump_clock: MockClock) -> None:
    async with campaign() as failing:
        await failing.openings(4)
        await failing.report(DeliveryStatus.FAILED, 63024)
        await failing.openings(6)
        await failing.holds.release([CAMPAIGN])
        assert failing.alert == ""
        await trio.sleep(20)

        assert failing.sent == 10
        assert failing.alert == ""


async def test_it_is_held_and_shown_after_a_restart(autojump_clock: MockClock) -> None:
    async with campaign() as failing:
        await failing.openings(4)
        await failing.report(DeliveryStatus.FAILED, 63024)
        alerts = Alerts(failing.world.clock)
        await failing.world.nursery.start(make_holds(failing.world, alerts).run)
        await failing.openings(1)

        (alert,) = alerts.standing
        assert alert.text == failing.alert
        assert failing.sent == 4


async def test_a_hold_with_nothing_behind_it_ends_with_its_pause(autojump_clock: MockClock) -> None:
    async with campaign() as failing:
        await failing.openings(4)
        await failing.report(DeliveryStatus.FAILED, 63024)
        assert failing.alert
        await trio.sleep(PAUSE_S + 20)

        assert failing.alert == ""


async def test_openings_that_are_refused_count_as_well(autojump_clock: MockClock) -> None:
    async with sending(is_running=False) as world:
        holds = make_holds(world, world.alerts)
        world.outbox = Outbox(
            store=MemoryOutbox(world.database),
            messaging=world.messaging,
            rules=world.outbox_rules,
            clock=world.clock,
            alerts=world.alerts,
            metrics=NoMetrics(),
            opening_failed=holds.opening_failed,
        )
        await world.start_outbox()
        await world.nursery.start(holds.run)
        failing = Campaign(world, holds)
        world.messaging.outcomes.extend([Refused(code=21211, detail="no number")] * 4)
        await failing.openings(4)
        await failing.openings(3)

        assert statuses(world) == ["refused"] * 4 + ["pending"] * 3
        assert failing.alert


async def test_a_database_that_is_down_is_waited_out(autojump_clock: MockClock) -> None:
    async with campaign() as failing:
        failing.world.database.unavailable = True
        await trio.sleep(20)
        assert "holds_store" in failing.world.alert_keys
        failing.world.database.unavailable = False
        await trio.sleep(20)

        assert failing.world.alert_keys == []


async def test_what_waits_for_nobody_any_more_is_given_up(autojump_clock: MockClock) -> None:
    async with campaign(sweep_every_s=300) as waiting:
        world = waiting.world
        await queue(world, "uno", "dos", person=1, template=TEMPLATE, is_told=False)
        world.database.inbound.clear()
        world.outbox.due(1)
        await trio.sleep(86_000)
        assert statuses(world) == ["pending", "pending", "accepted"]

        await trio.sleep(600)
        assert statuses(world) == ["refused", "refused", "accepted"]
