"""A WhatsApp message as Twilio keeps it."""

from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from enum import StrEnum
from typing import Any

from attrs import define, field, frozen

from daemon.lab.twilio.deliveries import Delivery
from daemon.lab.twilio.sids import new_sid
from daemon.lab.twilio.whatsapp.templates import Template


class Direction(StrEnum):
    INBOUND = "inbound"
    OUTBOUND_API = "outbound-api"
    OUTBOUND_REPLY = "outbound-reply"


class Status(StrEnum):
    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    UNDELIVERED = "undelivered"
    CANCELED = "canceled"
    RECEIVED = "received"


@frozen(kw_only=True)
class Media:
    """A file that a person sends."""

    content_type: str
    content: bytes = field(repr=False)
    sid: str = field(factory=lambda: new_sid("ME"))


@frozen(kw_only=True)
class Content:
    """A template with the values that a message fills in."""

    template: Template
    variables: Mapping[str, str]


@define(eq=False, kw_only=True)
class Message:
    """A message and everything that happened to it.

    Attributes:
        sender: whom it is from, as an address (`whatsapp:+…`); `recipient` likewise.
        ordinal: its place in the order of acceptance.
        redacted: REST shows an empty body; `body` remains what the person has read.
        history: every status with its time.
        deliveries: its webhooks: of an inbound message those that told of it, of an outbound one its callbacks.
        listed_from_s: the clock's seconds from which lists show it.
    """

    sid: str
    ordinal: int
    direction: Direction
    sender: str
    recipient: str
    status: Status
    created_at: datetime
    body: str = ""
    media: dict[str, Media] = field(factory=dict)
    media_urls: tuple[str, ...] = ()
    content: Content | None = None
    status_callback: str | None = None
    messaging_service_sid: str | None = None
    error_code: int | None = None
    sent_at: datetime | None = None
    updated_at: datetime = field(init=False)
    redacted: bool = False
    listed_from_s: float = 0.0
    history: list[tuple[Status, datetime]] = field(factory=list, init=False)
    deliveries: list[Delivery] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.enter(self.status, self.created_at)

    def enter(self, status: Status, at: datetime) -> None:
        self.status = status
        self.updated_at = at
        self.history.append((status, at))

    @property
    def media_count(self) -> int:
        return len(self.media) or len(self.media_urls)

    def as_resource(self, account_sid: str) -> dict[str, Any]:
        """The Message resource (Twilio OpenAPI: api.v2010.account.message)."""
        uri = f"/2010-04-01/Accounts/{account_sid}/Messages/{self.sid}"
        return {
            "account_sid": account_sid,
            "api_version": "2010-04-01",
            "body": "" if self.redacted else self.body,
            "date_created": rfc2822(self.created_at),
            "date_sent": rfc2822(self.sent_at),
            "date_updated": rfc2822(self.updated_at),
            "direction": self.direction.value,
            "error_code": self.error_code,
            "error_message": None,
            "from": self.sender,
            "messaging_service_sid": self.messaging_service_sid,
            "num_media": str(self.media_count),
            "num_segments": "1",
            "price": None,
            "price_unit": None,
            "sid": self.sid,
            "status": self.status.value,
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": self.recipient,
            "uri": f"{uri}.json",
        }

    def as_json(self) -> dict[str, Any]:
        """The message as the control routes show it."""
        return {
            "sid": self.sid,
            "direction": self.direction.value,
            "from": self.sender,
            "to": self.recipient,
            "body": self.body,
            "status": self.status.value,
            "error_code": self.error_code,
            "content_sid": self.content.template.sid if self.content else None,
            "media_urls": list(self.media_urls),
            "media": [
                {"sid": media.sid, "content_type": media.content_type} for media in self.media.values()
            ],
            "created_at": self.created_at.isoformat(),
            "history": [{"status": status.value, "at": at.isoformat()} for status, at in self.history],
            "webhooks": [delivery.as_json() for delivery in self.deliveries],
        }


def rfc2822(moment: datetime | None) -> str | None:
    """`Thu, 24 Aug 2023 05:01:45 +0000`."""
    return None if moment is None else format_datetime(moment)
