"""A message that fails after acceptance, on the simulated Twilio and a real database."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import trio
from attrs import define, field

from actors.alerts import Alerts
from actors.failures import pause_s
from actors.messages import DeliveryStatus
from actors.metrics import NoMetrics
from actors.ports import Answer
from actors.watch.outbox import Outbox
from actors.watch.status_intake import StatusIntake
from daemon.twilio.inbound import read_status
from daemon.twilio.messaging import STATUS_PATH
from tests.actors.worlds import OUTBOX_RULES
from tests.contract.lab_twilio import PERSON, Bench, served
from tests.contract.stores import Stores, inbound
from tests.contract.test_messaging_lab import messaging

GIVE_UP_AFTER_S = 86_400


@define
class Clock:
    """The real one, which can be put forward."""

    ahead_s: float = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead_s)


@define(eq=False)
class Callbacks:
    """Hands every status callback to the intake, as the webhook does."""

    bench: Bench
    intake: StatusIntake
    taken: list[DeliveryStatus | None] = field(factory=list)
    _lot: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    async def run(self) -> None:
        while True:
            callbacks = await self.bench.business.wait_for(len(self.taken) + 1, STATUS_PATH)
            for callback in callbacks[len(self.taken) :]:
                message_id = parse_qs(urlsplit(callback.url).query)["m"][0]
                report = read_status(callback.params, message_id=message_id)
                await self.intake.take(report)
                self.taken.append(report.status)
                self._lot.unpark_all()

    async def until(self, status: DeliveryStatus) -> None:
        while status not in self.taken:
            await self._lot.park()


async def test_a_message_over_the_limit_is_sent_again_later_and_arrives_once(postgres_stores: Stores) -> None:
    stores, clock = postgres_stores, Clock()
    alerts = Alerts(clock)
    async with served() as bench, messaging(bench) as port, trio.open_nursery() as nursery:
        outbox = Outbox(
            store=stores.outbox,
            messaging=port,
            rules=OUTBOX_RULES,
            clock=clock,
            alerts=alerts,
            metrics=NoMetrics(),
        )
        intake = StatusIntake(
            store=stores.outbox,
            give_up_after_s=GIVE_UP_AFTER_S,
            outbox_due=outbox.due,
            opening_failed=lambda: None,
            clock=clock,
            alerts=alerts,
            metrics=NoMetrics(),
        )
        await nursery.start(outbox.run)
        callbacks = Callbacks(bench, intake)
        nursery.start_soon(callbacks.run)
        bench.fault("message_failed", code=63018)
        bench.lab.write(PERSON, "Hola")
        person = await stores.receive(inbound("SM1", address=PERSON), at=clock.now())
        answer = Answer(address=PERSON, pieces=["uno"])
        await stores.conversations.add_answer(person.conversation_id, answer, now=clock.now())
        outbox.due(person.person_id)
        await callbacks.until(DeliveryStatus.FAILED)
        assert [alert.key for alert in alerts.standing] == ["failed_63018"]

        clock.ahead_s = pause_s(63018, 0) + 1
        outbox.due(person.person_id)
        (arrived,) = await bench.lab.wait_for_message(PERSON)
        await callbacks.until(DeliveryStatus.DELIVERED)

        assert alerts.standing == []
        assert arrived.body == "uno"
        assert await stores.outbox.lanes(limit=10, exclude=()) == []
        nursery.cancel_scope.cancel()
