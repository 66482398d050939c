"""`/lab/…`: the simulator's own routes, by which a test, a demo or a person at a terminal plays the rest of the world.

JSON in, JSON out, no authentication: for loopback only. A request that does not parse is answered 400 with `{"error": …}`.
"""

from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any, Final

import trio
from attrs import Factory, asdict, define, frozen
from quart import Blueprint, Response, jsonify, request

from daemon.lab.faults import Fault, Faults
from daemon.lab.twilio.account import Account, IncomingWebhook, whatsapp_address
from daemon.lab.twilio.books import Books
from daemon.lab.twilio.clock import LabClock
from daemon.lab.twilio.json_body import read_body
from daemon.lab.twilio.whatsapp.messages import Media
from daemon.lab.twilio.whatsapp.phones import Button, Location, Phones, Writing
from daemon.lab.twilio.whatsapp.templates import Template
from daemon.lab.twilio.whatsapp.world import World

WAIT_MAX_S: Final = 60.0
LAST_DEFAULT: Final = 1_000


@frozen(kw_only=True)
class MediaBody:
    content_type: str
    base64: str

    def media(self) -> Media:
        return Media(content_type=self.content_type, content=b64decode(self.base64))


@frozen(kw_only=True)
class WriteBody:
    """The body of a customer's message; see `Writing`."""

    body: str = ""
    to: str | None = None
    profile_name: str | None = None
    external_user_id: str | None = None
    media: MediaBody | None = None
    button: Button | None = None
    location: Location | None = None
    replied_to: str | None = None
    forwarded: bool = False
    fields: Mapping[str, str] | None = None

    def writing(self) -> Writing:
        return Writing(
            body=self.body,
            media=self.media.media() if self.media else None,
            button=self.button,
            location=self.location,
            replied_to=self.replied_to,
            forwarded=self.forwarded,
            fields=self.fields,
        )


@frozen(kw_only=True)
class HabitsBody:
    """What a customer is like; what is left out stays."""

    profile_name: str | None = None
    external_user_id: str | None = None
    has_whatsapp: bool | None = None
    reads: bool | None = None
    blocked: bool | None = None
    opted_out: bool | None = None


@frozen(kw_only=True)
class FaultBody:
    probability: float = 1.0
    times: int | None = None
    details: Mapping[str, float | int | str] = Factory(dict)


@frozen(kw_only=True)
class TemplateBody:
    body: str
    defaults: Mapping[str, str] = Factory(dict)
    refused_code: int | None = None


@frozen(kw_only=True)
class AdvanceBody:
    seconds: float


@define(eq=False, kw_only=True)
class Control:
    """What the control routes have their hands on."""

    account: Account
    world: World
    phones: Phones
    books: Books
    clock: LabClock
    faults: Faults
    reset: Callable[[], None]
    telephone: Callable[[], Mapping[str, int]]


def control_blueprint(control: Control) -> Blueprint:
    blueprint = Blueprint("lab", __name__, url_prefix="/lab")
    # Among others UnknownFaultError, NoSuchAddressError, and what `read_body` raises.
    blueprint.register_error_handler(ValueError, _bad_request)
    _add_customer_routes(blueprint, control)
    _add_fault_routes(blueprint, control)
    _add_setting_routes(blueprint, control)
    _add_book_routes(blueprint, control)
    return blueprint


def _add_customer_routes(blueprint: Blueprint, control: Control) -> None:
    @blueprint.post("/customers/<key>/messages")
    async def write(key: str) -> tuple[Response, int]:
        """The customer at a number (or WhatsApp user id) writes to the business.

        Body: `WriteBody`, for example `{"body": "Hola"}`; `to` defaults to the first sender. Answers 201 with
        `{"sid": …}` at once; the webhook follows.
        """
        asked = await read_body(WriteBody)
        person = control.world.person(key, external_user_id=asked.external_user_id)
        person.profile_name = asked.profile_name or person.profile_name
        to = whatsapp_address(asked.to) if asked.to else control.account.senders[0]
        return jsonify(sid=control.phones.write(person, asked.writing(), to=to)), 201

    @blueprint.get("/customers/<key>/messages")
    async def messages(key: str) -> Response:
        """What was said with a customer: `{"messages": […]}`, each with its statuses and webhooks.

        Query: `of=talk` (default: everything both ways, in the order of acceptance) or `of=inbox` (what the
        telephone received, in the order of arrival). With `count=N&wait_s=S` the answer waits until there are
        N, at most S seconds (60), and then shows what there is.
        """
        person = control.world.person(key)
        found = person.inbox if request.args.get("of") == "inbox" else person.talk
        count = int(request.args.get("count", 0))
        with trio.move_on_after(min(WAIT_MAX_S, float(request.args.get("wait_s", 0)))):
            await control.books.wait_until(lambda: len(found) >= count)
        return jsonify(messages=[message.as_json() for message in found])

    @blueprint.get("/customers")
    async def customers() -> Response:
        """Everybody who has written or been written to."""
        return jsonify(customers=[person.as_json() for person in control.world.people()])

    @blueprint.patch("/customers/<key>")
    async def habits(key: str) -> Response:
        """Change what a customer is like. Body: `HabitsBody`, for example `{"reads": false}`."""
        asked = await read_body(HabitsBody)
        person = control.world.person(key, external_user_id=asked.external_user_id)
        for name, value in asdict(asked).items():
            if value is not None:
                setattr(person, name, value)
        return jsonify(person.as_json())


def _add_fault_routes(blueprint: Blueprint, control: Control) -> None:
    @blueprint.get("/faults")
    async def faults() -> Response:
        """The faults by name: `known` with their explanations, `active` with their settings."""
        active = {fault.name: asdict(fault) for fault in control.faults.active}
        return jsonify(known=dict(control.faults.known), active=active)

    @blueprint.put("/faults/<name>")
    async def switch_on(name: str) -> Response:
        """Switch a fault on. Body: `FaultBody`, for example `{"times": 1, "details": {"seconds": 3}}`."""
        asked = await read_body(FaultBody)
        fault = Fault(name=name, probability=asked.probability, times=asked.times, details=asked.details)
        control.faults.switch_on(fault)
        return jsonify(asdict(fault))

    @blueprint.delete("/faults/<name>")
    async def switch_off(name: str) -> tuple[str, int]:
        """Switch a fault off; 204 also when it was not on."""
        control.faults.switch_off(name)
        return "", 204

    @blueprint.delete("/faults")
    async def clear() -> tuple[str, int]:
        """Switch all faults off."""
        control.faults.clear()
        return "", 204


def _add_setting_routes(blueprint: Blueprint, control: Control) -> None:
    @blueprint.get("")
    async def health() -> Response:
        """200 while the simulator answers, with what it is and a few counts."""
        return jsonify(
            ok=True,
            account_sid=control.account.sid,
            senders=list(control.account.senders),
            incoming=asdict(control.account.incoming),
            now=control.clock.now().isoformat(),
            messages=len(control.world.messages),
            webhooks=len(control.books.webhooks),
            **control.telephone(),
        )

    @blueprint.put("/incoming")
    async def incoming() -> Response:
        """Set where inbound messages go. Body: `{"url": …, "method": "POST", "fallback_url": …}`."""
        control.account.incoming = await read_body(IncomingWebhook)
        return jsonify(asdict(control.account.incoming))

    @blueprint.put("/templates/<sid>")
    async def template(sid: str) -> Response:
        """Approve a template under an `HX…` SID. Body: `{"body": "Hola {{1}}", "defaults": {…}, "refused_code": …}`."""
        asked = await read_body(TemplateBody)
        approved = Template(
            sid=sid, body=asked.body, defaults=asked.defaults, refused_code=asked.refused_code
        )
        control.world.templates[sid] = approved
        return jsonify(asdict(approved))

    @blueprint.post("/clock/advance")
    async def advance() -> Response:
        """Let time pass at once. Body: `{"seconds": 86400}`. What falls due meanwhile happens now."""
        asked = await read_body(AdvanceBody)
        control.clock.advance(asked.seconds)
        return jsonify(now=control.clock.now().isoformat())

    @blueprint.post("/reset")
    async def reset() -> tuple[str, int]:
        """Forget messages, persons, calls, books, faults and what was scheduled. Settings, templates and time stay."""
        control.reset()
        return "", 204


def _add_book_routes(blueprint: Blueprint, control: Control) -> None:
    @blueprint.get("/books/<name>")
    async def book(name: str) -> Response | tuple[Response, int]:
        """One of the books, oldest first: `messages`, `webhooks`, `rest_calls`, `typing`, `debugger`, `voice`.

        Query: `last=N` (default 1000) shows the end of it. Answers `{"entries": […], "total": N}`.
        """
        books: dict[str, Any] = {
            "messages": control.world.messages.values(),
            "webhooks": control.books.webhooks,
            "rest_calls": control.books.rest_calls,
            "typing": control.books.typing,
            "debugger": control.books.debugger,
            "voice": control.books.voice,
        }
        if name not in books:
            return jsonify(error=f"no book {name!r}; there are: {', '.join(books)}"), 404
        entries = list(books[name])
        last = int(request.args.get("last", LAST_DEFAULT))
        return jsonify(entries=[entry.as_json() for entry in entries[-last:]], total=len(entries))


async def _bad_request(error: Exception) -> tuple[Response, int]:
    return jsonify(error=str(error)), 400
