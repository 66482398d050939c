"""What REST checks before it accepts a message (Twilio docs: messaging/api/message-resource; OpenAPI api_v2010)."""

from datetime import UTC, datetime
from enum import Enum
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

from daemon.lab.twilio.account import address_key
from daemon.lab.twilio.errors import RestError
from daemon.lab.twilio.form import Form
from daemon.lab.twilio.whatsapp.messages import Content, Direction, Message, Status
from daemon.lab.twilio.whatsapp.people import NUMBER, is_address_key
from daemon.lab.twilio.whatsapp.templates import parse_variables
from daemon.lab.twilio.whatsapp.world import World

BODY_MAX_CHARACTERS: Final = 1600
MEDIA_MAX: Final = 10


@frozen(kw_only=True)
class Order:
    """A message as it may be sent; `send_at` is None for now."""

    recipient: str
    sender: str
    body: str
    media_urls: tuple[str, ...]
    content: Content | None
    status_callback: str | None
    messaging_service_sid: str | None
    send_at: datetime | None

    def write_down(self, world: World) -> Message:
        status = Status.QUEUED if self.messaging_service_sid is None else Status.ACCEPTED
        return world.write_down(
            direction=Direction.OUTBOUND_API,
            sender=self.sender,
            recipient=self.recipient,
            status=status if self.send_at is None else Status.SCHEDULED,
            rich=bool(self.media_urls) or self.content is not None,
            body=self.body,
            media_urls=self.media_urls,
            content=self.content,
            status_callback=self.status_callback,
            messaging_service_sid=self.messaging_service_sid,
        )


def check_order(form: Form, world: World) -> Order:
    """Read the form of a create.

    Raises:
        RestError: what Twilio answers to this form; nothing has happened.
    """
    recipient = _recipient(form)
    service = _service(form, world)
    sender = _sender(form, world, recipient, service)
    content = _content(form, world)
    return Order(
        recipient=recipient,
        sender=sender,
        body=_body(form, content),
        media_urls=_media_urls(form),
        content=content,
        status_callback=_status_callback(form),
        messaging_service_sid=service,
        send_at=_send_at(form, service),
    )


def _recipient(form: Form) -> str:
    to = form.get("To")
    if not to:
        raise RestError(400, 21604)
    if to.startswith("whatsapp:"):
        reachable = is_address_key(address_key(to))
    else:
        reachable = NUMBER.fullmatch(to) is not None
    if not reachable:
        raise RestError(400, 21211, f"Invalid 'To' Phone Number: {to}")
    return to


def _service(form: Form, world: World) -> str | None:
    service = form.get("MessagingServiceSid")
    if service and service != world.account.messaging_service_sid:
        raise RestError(400, 21701)
    return service or None


def _sender(form: Form, world: World, recipient: str, service: str | None) -> str:
    sender = form.get("From")
    if not sender:
        if service is None:
            raise RestError(400, 21603)
        sender = world.account.senders[0]
    if not NUMBER.fullmatch(address_key(sender)):
        raise RestError(400, 21212, f"Invalid From Number (caller ID): {sender}")
    if sender.startswith("whatsapp:") != recipient.startswith("whatsapp:"):
        raise RestError(400, 21910)
    if sender not in world.account.senders:
        raise RestError(400, 63007 if sender.startswith("whatsapp:") else 21606)
    return sender


def _content(form: Form, world: World) -> Content | None:
    sid, variables = form.get("ContentSid"), form.get("ContentVariables")
    if not sid:
        if variables:
            raise RestError(400, 21654)
        return None
    template = world.templates.get(sid)
    if template is None:
        raise RestError(400, 21655)
    return Content(template=template, variables=parse_variables(variables or None))


def _body(form: Form, content: Content | None) -> str:
    if content is not None:
        return content.template.render(content.variables)
    body = form.get("Body")
    if body is None and not form.all("MediaUrl"):
        raise RestError(400, 21619)
    if body is not None and not body.strip() and not form.all("MediaUrl"):
        raise RestError(400, 21602)
    if len(body or "") > BODY_MAX_CHARACTERS:
        raise RestError(400, 21617)
    return body or ""


def _media_urls(form: Form) -> tuple[str, ...]:
    urls = form.all("MediaUrl")
    if len(urls) > MEDIA_MAX:
        raise RestError(400, 21623)
    return tuple(urls)


def _status_callback(form: Form) -> str | None:
    url = form.get("StatusCallback")
    if not url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        raise RestError(400, 21609) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or "_" in parts.hostname:
        raise RestError(400, 21609)
    return url


def _send_at(form: Form, service: str | None) -> datetime | None:
    """Twilio drops the scheduling of a message that names no Messaging Service and sends it at once."""
    if service is None or form.get("ScheduleType") != "fixed":
        return None
    try:
        moment = datetime.fromisoformat(form.get("SendAt") or "")
    except ValueError:
        raise RestError(400, 20001, "Invalid SendAt") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def check_recipient_wants_it(order: Order, world: World) -> None:
    """Refuse what Twilio knows to be unwanted.

    Raises:
        RestError: 21610, the person has opted out.
    """
    if world.person(address_key(order.recipient)).opted_out:
        raise RestError(400, 21610)


class Update(Enum):
    CANCEL = "cancel"
    REDACT = "redact"


def check_update(form: Form) -> Update:
    """Read the form of an update: a message can be cancelled or emptied, nothing else.

    Raises:
        RestError: it asks for something else.
    """
    status = form.get("Status")
    if status is None and form.get("Body") == "":
        return Update.REDACT
    if status == "canceled":
        return Update.CANCEL
    raise RestError(400, 20001, "Only Status=canceled or an empty Body can be set")
