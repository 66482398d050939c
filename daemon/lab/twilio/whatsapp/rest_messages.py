"""`/Accounts/{AccountSid}/Messages` and the typing indicator (Twilio OpenAPI: api_v2010, messaging_v2)."""

from attrs import define
from quart import Blueprint, Response

from daemon.lab.faults import Faults
from daemon.lab.twilio.account import Account
from daemon.lab.twilio.books import Books, Typing
from daemon.lab.twilio.clock import LabClock
from daemon.lab.twilio.errors import RestError, not_found
from daemon.lab.twilio.paging import page
from daemon.lab.twilio.rest import Asked, Edge, Reply
from daemon.lab.twilio.whatsapp.accepting import (
    Order,
    Update,
    check_order,
    check_recipient_wants_it,
    check_update,
)
from daemon.lab.twilio.whatsapp.carrier import Carrier, is_final
from daemon.lab.twilio.whatsapp.listing import sent_filter
from daemon.lab.twilio.whatsapp.messages import Direction, Message, Status
from daemon.lab.twilio.whatsapp.world import World


@define(eq=False, kw_only=True)
class MessageRoutes:
    """What the routes do; each is a plain function of the request."""

    account: Account
    world: World
    carrier: Carrier
    books: Books
    clock: LabClock
    faults: Faults

    def create(self, asked: Asked) -> Reply:
        order = check_order(asked.form, self.world)
        check_recipient_wants_it(order, self.world)
        if self.carrier.queue_is_full(order.sender):
            raise RestError(400, 21611)
        message = order.write_down(self.world)
        resource = message.as_resource(self.account.sid)
        if message.status_callback is not None and self.faults.strikes("status_before_answer"):
            callback = self.carrier.accept_and_depart(message)
            return Reply(status=201, body=resource, hold=callback.done if callback else None)
        self.carrier.accept(message, send_at_s=self._send_at_s(order))
        return Reply(status=201, body=resource)

    def list(self, asked: Asked) -> Reply:
        was_sent_when_asked = sent_filter(asked.query)
        found = self.world.listed(recipient=asked.query.get("To"), sender=asked.query.get("From"))
        return page(
            asked,
            "messages",
            (message for message in found if was_sent_when_asked(message)),
            ordinal=lambda message: message.ordinal,
            show=lambda message: message.as_resource(self.account.sid),
        )

    def fetch(self, asked: Asked, sid: str) -> Reply:
        return Reply(body=self._message(asked, sid).as_resource(self.account.sid))

    def update(self, asked: Asked, sid: str) -> Reply:
        message = self._message(asked, sid)
        if check_update(asked.form) is Update.REDACT:
            message.redacted = True
        elif message.status is not Status.SCHEDULED:
            raise RestError(400, 30409)
        else:
            self.carrier.cancel(message)
        return Reply(body=message.as_resource(self.account.sid))

    def delete(self, asked: Asked, sid: str) -> Reply:
        message = self._message(asked, sid)
        if not is_final(message):
            raise RestError(409, 20009)
        del self.world.messages[sid]
        return Reply(status=204)

    def show_typing(self, asked: Asked) -> Reply:
        struck = self.faults.strikes("typing_fails")
        if struck is not None:
            raise RestError(int(struck.details.get("status", 500)), 20500)
        message = self.world.messages.get(asked.form.get("messageId") or "")
        if asked.form.get("channel") != "whatsapp" or message is None:
            raise RestError(400, 20001, "Invalid channel or messageId")
        if message.direction is not Direction.INBOUND:
            raise RestError(400, 20001, "messageId must be that of an inbound message")
        self.books.typing.append(Typing(at=self.clock.now(), message_sid=message.sid, person=message.sender))
        return Reply(body={"success": True})

    def _message(self, asked: Asked, sid: str) -> Message:
        message = self.world.messages.get(sid)
        if message is None:
            raise not_found(asked.path)
        return message

    def _send_at_s(self, order: Order) -> float | None:
        if order.send_at is None:
            return None
        return self.clock.elapsed_s() + (order.send_at - self.clock.now()).total_seconds()


def message_blueprint(edge: Edge, routes: MessageRoutes) -> Blueprint:
    blueprint = Blueprint("messages", __name__)
    collection = "/2010-04-01/Accounts/<account_sid>/Messages.json"
    member = "/2010-04-01/Accounts/<account_sid>/Messages/<sid>.json"

    @blueprint.post(collection)
    async def create(account_sid: str) -> Response:
        return await edge.answer("message.create", account_sid, routes.create)

    @blueprint.get(collection)
    async def list_messages(account_sid: str) -> Response:
        return await edge.answer("message.list", account_sid, routes.list)

    @blueprint.get(member)
    async def fetch(account_sid: str, sid: str) -> Response:
        return await edge.answer("message.fetch", account_sid, lambda asked: routes.fetch(asked, sid))

    @blueprint.post(member)
    async def update(account_sid: str, sid: str) -> Response:
        return await edge.answer("message.update", account_sid, lambda asked: routes.update(asked, sid))

    @blueprint.delete(member)
    async def delete(account_sid: str, sid: str) -> Response:
        return await edge.answer("message.delete", account_sid, lambda asked: routes.delete(asked, sid))

    @blueprint.post("/v2/Indicators/Typing.json")
    async def show_typing() -> Response:
        return await edge.answer("typing.create", None, routes.show_typing)

    return blueprint
