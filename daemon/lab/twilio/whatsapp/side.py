"""The WhatsApp side, put together. The voice side stands on the same account, clock, schedule, courier and edge."""

from collections.abc import Sequence

from attrs import define, field
from quart import Blueprint

from daemon.lab.faults import Faults
from daemon.lab.twilio.account import Account
from daemon.lab.twilio.books import Books
from daemon.lab.twilio.clock import LabClock
from daemon.lab.twilio.courier import Courier
from daemon.lab.twilio.rest import Edge
from daemon.lab.twilio.schedule import Schedule
from daemon.lab.twilio.whatsapp.carrier import Carrier, Pace
from daemon.lab.twilio.whatsapp.phones import Phones
from daemon.lab.twilio.whatsapp.rest_media import MediaRoutes, media_blueprint
from daemon.lab.twilio.whatsapp.rest_messages import MessageRoutes, message_blueprint
from daemon.lab.twilio.whatsapp.templates import Template
from daemon.lab.twilio.whatsapp.world import World


@define(eq=False, kw_only=True)
class WhatsAppSide:
    """Persons, messages, and the REST routes that know of them."""

    account: Account
    clock: LabClock
    books: Books
    faults: Faults
    schedule: Schedule
    courier: Courier
    pace: Pace
    messages_per_second: float
    sandbox_code: str | None
    templates: Sequence[Template]
    world: World = field(init=False)
    carrier: Carrier = field(init=False)
    phones: Phones = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.world = World(
            account=self.account,
            clock=self.clock,
            books=self.books,
            faults=self.faults,
            sandbox_code=self.sandbox_code,
            templates={template.sid: template for template in self.templates},
        )
        self.carrier = Carrier(
            account=self.account,
            world=self.world,
            clock=self.clock,
            schedule=self.schedule,
            courier=self.courier,
            faults=self.faults,
            pace=self.pace,
            messages_per_second=self.messages_per_second,
        )
        self.phones = Phones(
            account=self.account,
            world=self.world,
            clock=self.clock,
            courier=self.courier,
            carrier=self.carrier,
            faults=self.faults,
        )

    def blueprints(self, edge: Edge) -> list[Blueprint]:
        messages = MessageRoutes(
            account=self.account,
            world=self.world,
            carrier=self.carrier,
            books=self.books,
            clock=self.clock,
            faults=self.faults,
        )
        media = MediaRoutes(account=self.account, world=self.world, clock=self.clock)
        return [message_blueprint(edge, messages), media_blueprint(edge, media)]

    def clear(self) -> None:
        self.carrier.clear()
        self.world.clear()
