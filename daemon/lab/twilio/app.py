"""The simulated Twilio, put together."""

from collections.abc import Callable, Sequence
from typing import Final

import trio
from quart_trio import QuartTrio

from daemon.lab.faults import Faults
from daemon.lab.spoken import Spoken
from daemon.lab.twilio.account import Account, Application, IncomingNumber, IncomingWebhook, whatsapp_address
from daemon.lab.twilio.books import Books
from daemon.lab.twilio.clock import LabClock
from daemon.lab.twilio.control import Control, control_blueprint
from daemon.lab.twilio.courier import Courier
from daemon.lab.twilio.known_faults import KNOWN_FAULTS
from daemon.lab.twilio.rest import Edge, refuse_method, refuse_path
from daemon.lab.twilio.rest_account import AccountRoutes, account_blueprint
from daemon.lab.twilio.schedule import Schedule
from daemon.lab.twilio.voice.control import voice_blueprint
from daemon.lab.twilio.voice.ground import Ground, VoicePace
from daemon.lab.twilio.voice.side import VoiceSide
from daemon.lab.twilio.webhooks import WebhookEngine
from daemon.lab.twilio.whatsapp.carrier import Pace
from daemon.lab.twilio.whatsapp.messages import Media, Message
from daemon.lab.twilio.whatsapp.people import Person
from daemon.lab.twilio.whatsapp.phones import Button, Location, Writing
from daemon.lab.twilio.whatsapp.side import WhatsAppSide
from daemon.lab.twilio.whatsapp.templates import Template

BODY_MAX_BYTES: Final = 24 * 1024 * 1024
BODY_TIMEOUT_S: Final = 15
# Longer than any answer that a fault holds back.
RESPONSE_TIMEOUT_S: Final = 300


class TwilioLab:
    """A Twilio of one's own: REST, webhooks, WhatsApp, calls.

    `app` answers REST (one origin for all of Twilio's hosts) and the control routes below `/lab`; `run` makes
    messages and calls move and webhooks go out. All state is in memory and grows until `reset`.

    Args:
        senders: the account's WhatsApp numbers, with or without `whatsapp:`.
        incoming_url: where inbound messages go; its fragment may carry connection overrides.
        seed: of the faults' draws.
        pace: the time between statuses.
        voice_pace: how long the telephone network takes.
        spoken: what is said on the telephone; shared with a simulated agent that is to understand it.
        messages_per_second: of each sender's queue.
        sandbox_code: makes every sender a sandbox that persons join by writing `join <code>`.
    """

    def __init__(
        self,
        *,
        account_sid: str,
        auth_token: str,
        senders: Sequence[str],
        incoming_url: str | None = None,
        seed: int = 0,
        clock: LabClock | None = None,
        pace: Pace | None = None,
        messages_per_second: float = 80.0,
        sandbox_code: str | None = None,
        templates: Sequence[Template] = (),
        numbers: Sequence[IncomingNumber] = (),
        applications: Sequence[Application] = (),
        voice_pace: VoicePace | None = None,
        spoken: Spoken | None = None,
    ) -> None:
        self.account = Account(
            sid=account_sid,
            auth_token=auth_token,
            senders=senders,
            incoming=IncomingWebhook(url=incoming_url),
            numbers=numbers,
            applications=applications,
        )
        self.clock = clock or LabClock()
        self.faults = Faults(KNOWN_FAULTS, seed)
        self.books = Books()
        self.schedule = Schedule(self.clock)
        self.engine = WebhookEngine(account=self.account, books=self.books, clock=self.clock)
        self.courier = Courier(self.engine, self.schedule, self.faults)
        self.edge = Edge(account=self.account, books=self.books, clock=self.clock, faults=self.faults)
        self.whatsapp = WhatsAppSide(
            account=self.account,
            clock=self.clock,
            books=self.books,
            faults=self.faults,
            schedule=self.schedule,
            courier=self.courier,
            pace=pace or Pace(),
            messages_per_second=messages_per_second,
            sandbox_code=sandbox_code,
            templates=templates,
        )
        self.world = self.whatsapp.world
        self.carrier = self.whatsapp.carrier
        self.phones = self.whatsapp.phones
        self.voice = VoiceSide(self._ground(voice_pace or VoicePace()), spoken or Spoken())
        self.app = self._open_app()

    def _ground(self, pace: VoicePace) -> Ground:
        return Ground(
            account=self.account,
            clock=self.clock,
            books=self.books,
            faults=self.faults,
            schedule=self.schedule,
            courier=self.courier,
            engine=self.engine,
            pace=pace,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The webhook engine, the schedule and the calls. Runs once, until cancelled; what is under way is then broken off."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.engine.run)
            await nursery.start(self.schedule.run)
            await nursery.start(self.voice.run)
            task_status.started()

    @property
    def public_url(self) -> str:
        """The origin of the media URLs in webhooks; whoever binds `app` to a port sets it."""
        return self.account.public_url

    @public_url.setter
    def public_url(self, origin: str) -> None:
        self.account.public_url = origin.rstrip("/")

    @property
    def abort_connection(self) -> Callable[[tuple[str, int]], None] | None:
        """Closes the TCP connection of the peer at an address, for the faults that drop one.

        Whoever binds `app` to a port sets it.
        """
        return self.edge.abort_connection

    @abort_connection.setter
    def abort_connection(self, abort: Callable[[tuple[str, int]], None] | None) -> None:
        self.edge.abort_connection = abort

    def person(self, key: str) -> Person:
        """The person at a number or WhatsApp user id, whose habits may be changed at once.

        Raises:
            NoSuchAddressError: `key` is neither.
        """
        return self.world.person(key)

    def write(
        self,
        key: str,
        body: str = "",
        *,
        to: str | None = None,
        media: Media | None = None,
        button: Button | None = None,
        location: Location | None = None,
        replied_to: str | None = None,
        external_user_id: str | None = None,
        profile_name: str | None = None,
        **fields: str,
    ) -> str:
        """A person writes to the business; gives the message's SID at once, and the webhook follows.

        `key` is a number, or the WhatsApp user id of a person without one; `to` the sender that is written to, by
        default the first; `fields` further fields of the webhook, by their Twilio names.

        Raises:
            NoSuchAddressError: `key` is neither.
        """
        person = self.world.person(key, external_user_id=external_user_id)
        person.profile_name = profile_name or person.profile_name
        writing = Writing(
            body=body, media=media, button=button, location=location, replied_to=replied_to, fields=fields
        )
        return self.phones.write(person, writing, to=whatsapp_address(to) if to else self.account.senders[0])

    async def wait_for_message(
        self, key: str, *, count: int = 1, where: Callable[[Message], bool] = lambda _: True
    ) -> list[Message]:
        """Wait until a person's telephone has received `count` messages like that; gives them all, as they arrived.

        Waits for ever if need be: put a deadline around it.
        """
        inbox = self.world.person(key).inbox
        await self.books.wait_until(lambda: sum(map(where, inbox)) >= count)
        return list(filter(where, inbox))

    def on_message(self, listener: Callable[[Person, Message], None]) -> None:
        """Have a plain function called whenever a telephone receives a message."""
        self.carrier.on_arrival.append(listener)

    def advance(self, seconds: float) -> None:
        """Let time pass at once."""
        self.clock.advance(seconds)

    def reset(self) -> None:
        """Forget messages, persons, calls, books, faults and what was scheduled. Settings, templates and time stay."""
        self.schedule.clear()
        self.courier.clear()
        self.voice.clear()
        self.whatsapp.clear()
        self.faults.clear()
        self.books.clear()

    def _open_app(self) -> QuartTrio:
        app = QuartTrio("relevo-twilio-lab")
        app.config["MAX_CONTENT_LENGTH"] = BODY_MAX_BYTES
        app.config["BODY_TIMEOUT"] = BODY_TIMEOUT_S
        app.config["RESPONSE_TIMEOUT"] = RESPONSE_TIMEOUT_S
        control = Control(
            account=self.account,
            world=self.world,
            phones=self.phones,
            books=self.books,
            clock=self.clock,
            faults=self.faults,
            reset=self.reset,
            telephone=self.voice.counts,
        )
        account = account_blueprint(self.edge, AccountRoutes(self.account))
        controls = control_blueprint(control), voice_blueprint(self.voice)
        sides = *self.whatsapp.blueprints(self.edge), *self.voice.blueprints(self.edge)
        for blueprint in (*sides, account, *controls):
            app.register_blueprint(blueprint)
        app.register_error_handler(404, refuse_path)
        app.register_error_handler(405, refuse_method)
        return app
