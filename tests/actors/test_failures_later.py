"""Messages that fail after Twilio has accepted them: they go again, are counted, and are told to the operator."""

from typing import cast

import trio
from attrs import define, field
from structlog.testing import capture_logs
from trio.testing import MockClock
from typing_extensions import override

from actors.calls import FollowUpState
from actors.failures import pause_s
from actors.messages import DeliveryStatus, Refused, StatusReport
from actors.metrics import NoMetrics
from actors.ports import OutboxStore
from actors.watch.failure_alerts import FailureAlerts
from actors.watch.status_intake import StatusIntake
from tests.actors.lanes import TEMPLATE, address_of, queue, sending, statuses
from tests.actors.worlds import World
from tests.memory.messaging import Created
from tests.memory.outbox import MemoryOutbox

FAILED, DELIVERED, SENT = DeliveryStatus.FAILED, DeliveryStatus.DELIVERED, DeliveryStatus.SENT


@define(eq=False)
class Counted(NoMetrics):
    sent: list[tuple[str, int | None]] = field(factory=list)

    @override
    def message_sent(self, result: str, code: int | None, /) -> None:
        self.sent.append((result, code))


@define(eq=False)
class Statuses:
    """Twilio's status callbacks of one world."""

    world: World
    metrics: Counted = field(factory=Counted)
    openings_failed: list[None] = field(factory=list)
    intake: StatusIntake = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.intake = StatusIntake(
            store=cast("OutboxStore", MemoryOutbox(self.world.database)),
            give_up_after_s=86_400,
            outbox_due=self.world.outbox.due,
            opening_failed=lambda: self.openings_failed.append(None),
            clock=self.world.clock,
            alerts=self.world.alerts,
            metrics=self.metrics,
        )

    async def report(self, created: Created, status: DeliveryStatus, code: int | None = None) -> None:
        await self.intake.take(
            StatusReport(message_id=created.message_id, sid=created.sid, status=status, error_code=code)
        )

    async def newest(self, status: DeliveryStatus, code: int | None = None) -> None:
        await self.report(self.world.messaging.created[-1], status, code)


async def test_what_failed_for_now_goes_again_after_its_pause(autojump_clock: MockClock) -> None:
    async with sending() as world:
        told = Statuses(world)
        await queue(world, "uno")
        await trio.sleep(1)
        await told.newest(FAILED, 63018)
        await trio.sleep(pause_s(63018, 0) - 2)
        assert statuses(world) == ["failed", "pending"]

        await trio.sleep(10)
        await told.newest(DELIVERED)
        assert statuses(world) == ["failed", "delivered"]
        assert world.messaging.bodies == ["uno", "uno"]


async def test_what_keeps_failing_comes_to_an_end(autojump_clock: MockClock) -> None:
    async with sending(sweep_every_s=300) as world:
        told = Statuses(world)
        await queue(world, "uno")
        for _ in range(10):
            await trio.sleep(4 * 3600)
            await told.newest(FAILED, 63012)

        assert statuses(world) == ["failed"] * 5


async def test_repeated_and_reordered_reports_change_nothing(autojump_clock: MockClock) -> None:
    async with sending() as world:
        told = Statuses(world)
        await queue(world, "uno")
        await trio.sleep(1)
        for status in (FAILED, FAILED, DELIVERED, SENT, DeliveryStatus.UNDELIVERED):
            await told.newest(status, 63018)
        await trio.sleep(1)

        assert statuses(world) == ["failed", "pending"]
        assert told.metrics.sent == [("failed", 63018)]


async def test_what_is_behind_a_repetition_keeps_its_order(autojump_clock: MockClock) -> None:
    async with sending() as world:
        told = Statuses(world)
        await queue(world, "uno")
        await trio.sleep(1)
        await told.newest(FAILED, 14107)
        await queue(world, "dos")
        await trio.sleep(20)
        assert world.messaging.bodies == ["uno"]

        await trio.sleep(20)
        assert world.messaging.bodies == ["uno", "uno", "dos"]


async def test_a_failure_is_counted_and_logged_without_number_and_text(autojump_clock: MockClock) -> None:
    async with sending() as world:
        told = Statuses(world)
        await queue(world, "muy personal")
        await trio.sleep(1)
        with capture_logs() as logs:
            await told.newest(DeliveryStatus.UNDELIVERED, 63024)

        assert told.metrics.sent == [("undelivered", 63024)]
        (line,) = [log for log in logs if log["event"] == "message failed after acceptance"]
        assert (line["code"], line["again"], line["purpose"]) == (63024, "never", "answer")
        assert "muy personal" not in str(line)
        assert address_of(1) not in str(line)


async def test_the_follow_up_of_a_call_tells_what_became_of_its_opening(autojump_clock: MockClock) -> None:
    async with sending() as world:
        told = Statuses(world)
        await world.call_ends()
        await trio.sleep(5)
        assert world.follow_up() is FollowUpState.HANDLED
        await told.newest(FAILED, 63018)
        assert world.follow_up() is FollowUpState.QUEUED
        await trio.sleep(300)
        assert world.follow_up() is FollowUpState.HANDLED

        await told.newest(FAILED, 63024)
        assert world.follow_up() is FollowUpState.REFUSED
        assert len(told.openings_failed) == 2


async def test_only_what_needs_the_operator_is_an_alert(autojump_clock: MockClock) -> None:
    async with sending() as world:
        told = Statuses(world)
        for person, code in enumerate([63024, 63003, 63016, 63010, None, 63038]):
            await queue(world, "hola", person=person, template=TEMPLATE)
            await trio.sleep(60)
            created = next(m for m in world.messaging.created if m.address == address_of(person))
            await told.report(created, FAILED, code)

        assert world.alert_keys == ["failed_63038"]
        assert "daily limit" in world.alerts.standing[0].text


async def test_an_alert_is_settled_by_a_later_message_of_the_same_form(autojump_clock: MockClock) -> None:
    async with sending() as world:
        told = Statuses(world)
        await queue(world, "uno", person=1)
        await queue(world, "dos", person=2)
        await trio.sleep(1)
        early, failed = world.messaging.created
        await told.report(failed, FAILED, 63007)
        await told.report(early, DELIVERED)
        assert world.alert_keys == ["failed_63007"]

        await queue(world, "tres", person=3)
        await trio.sleep(1)
        await told.newest(SENT)
        assert world.alert_keys == ["failed_63007"]
        await told.newest(DELIVERED)
        assert world.alert_keys == []


async def test_an_alert_about_a_template_is_not_settled_by_a_text(autojump_clock: MockClock) -> None:
    async with sending() as world:
        alerts = FailureAlerts(world.alerts, "failed")
        now = world.clock.now()
        alerts.failed(63041, "HX1", at=now)
        alerts.failed(63041, "HX2", at=now)
        alerts.went_through(None, handed_over_at=now)
        alerts.went_through("HX1", handed_over_at=now)
        assert world.alert_keys == ["failed_63041"]

        alerts.went_through("HX2", handed_over_at=now)
        assert world.alert_keys == []


async def test_alerts_have_a_limit(autojump_clock: MockClock) -> None:
    async with sending() as world:
        alerts = FailureAlerts(world.alerts, "failed")
        for code in range(90_000, 90_150):
            alerts.failed(code, None, at=world.clock.now())
        assert len(world.alert_keys) == 100

        alerts.went_through(None, handed_over_at=world.clock.now())
        assert world.alert_keys == []


async def test_an_alert_about_refusals_is_settled_by_an_acceptance(autojump_clock: MockClock) -> None:
    async with sending() as world:
        world.messaging.outcomes.append(Refused(code=63007, detail="no sender"))
        await queue(world, "uno")
        await trio.sleep(1)
        assert world.alert_keys == ["refused_63007"]

        await queue(world, "dos")
        await trio.sleep(1)
        assert world.alert_keys == []


async def test_a_refusal_is_stored_with_what_to_do(autojump_clock: MockClock) -> None:
    async with sending() as world:
        world.messaging.outcomes.append(Refused(code=21610, detail="opted out"))
        await world.call_ends()
        await trio.sleep(5)

        note = world.database.calls["conv_1"].follow_up_note
        assert note == "21610: opted out (the person has opted out: write to them no more)"
