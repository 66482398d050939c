"""WhatsApp messages, in and out, and what may become of one that was sent."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum, StrEnum
from typing import TypeAlias

from attrs import Factory, frozen
from typing_extensions import override


@frozen(kw_only=True)
class InboundMessage:
    """A message as it arrived.

    Attributes:
        sid: Twilio's message SID; the idempotency key.
        address: exactly where it came from and where an answer goes, without the `whatsapp:` prefix:
            a phone number in E.164 or a business-scoped user id such as `MX.1A2B`.
        identities: canonical names of the person (see `actors.conversation.identity`), surest first.
        text: what the agent will read.
        fields: the webhook's form as it came, kept for what nobody thought of yet.
    """

    sid: str
    address: str
    identities: Sequence[str]
    phone_number: str | None
    profile_name: str | None
    kind: str
    text: str
    fields: Mapping[str, str]


@frozen(kw_only=True)
class PendingMessage:
    """An inbound message that still waits for its answer."""

    id: int
    sid: str
    address: str
    text: str
    received_at: datetime


class Purpose(StrEnum):
    """Why a message is sent; decides its template when the 24-hour window is closed."""

    OPENING = "opening"
    ANSWER = "answer"
    FALLBACK = "fallback"
    REOPENING = "reopening"
    """A template that asks the person to write, so that answers which wait can go as text. Made by the outbox's store."""
    NOTICE = "notice"
    """An advisor is told that a caller left a message; goes as its template where the window is closed."""


@frozen(kw_only=True)
class Template:
    """An approved WhatsApp template: Twilio `ContentSid` and `ContentVariables`."""

    sid: str
    variables: Mapping[str, str] = Factory(dict)


@frozen(kw_only=True)
class Outgoing:
    """A message that is about to be sent, or may have been.

    Attributes:
        text: the body.
        template: what goes in place of the text where the person's window is closed, if anything can.
        must_use_template: free text was refused already, and the person has not written since.
        sending_since: when the unfinished attempt began; None when there is none.
        attempts: attempts before this one.
        created_at: when its text came into the outbox; what repeats a failed message keeps that one's time.
        window_opened_at: the person's newest inbound message, which opened the 24-hour window; None when
            this person has never written.
        as_template: the attempt that was claimed last goes as the template.
    """

    id: int
    person_id: int
    conversation_id: int
    address: str
    purpose: Purpose
    text: str
    template: Template | None
    must_use_template: bool
    attempts: int
    created_at: datetime
    sending_since: datetime | None
    window_opened_at: datetime | None
    as_template: bool = False


@frozen(kw_only=True)
class Accepted:
    """Twilio has the message. That is no delivery: refusals by WhatsApp come later, as statuses."""

    sid: str


@frozen(kw_only=True)
class Refused:
    """Twilio will not take this message, now or later."""

    code: int
    detail: str


@frozen(kw_only=True)
class NotSent:
    """The message surely did not go: Twilio asked us to slow down, or could not be reached.

    Attributes:
        code: Twilio's error code or the HTTP status; None without an answer.
        retry_after_s: how long Twilio asked us to wait.
    """

    code: int | None
    detail: str
    retry_after_s: float | None = None


@frozen(kw_only=True)
class Unknown:
    """The request left and no usable answer came: the message may or may not exist."""

    detail: str


SendResult: TypeAlias = Accepted | Refused | NotSent | Unknown


@frozen(kw_only=True)
class SentMessage:
    """A message to a person as Twilio's own list shows it."""

    sid: str
    body: str
    created_at: datetime


class DeliveryStatus(Enum):
    """Statuses of an outbound message, in the order in which they may follow each other.

    A status of a lower rank that arrives later is ignored, and so is everything after a final failure.
    `READ` may come without `DELIVERED`, and a failure may follow `SENT` (Twilio docs:
    messaging/guides/track-outbound-message-status).
    """

    PENDING = ("pending", 0)
    SENDING = ("sending", 1)
    ACCEPTED = ("accepted", 2)
    SENT = ("sent", 3)
    DELIVERED = ("delivered", 4)
    READ = ("read", 5)
    UNDELIVERED = ("undelivered", 6)
    FAILED = ("failed", 6)
    REFUSED = ("refused", 6)

    def __init__(self, label: str, rank: int) -> None:
        self.label = label
        self.rank = rank

    @property
    def is_failure(self) -> bool:
        return self.rank == DeliveryStatus.FAILED.rank


@frozen(kw_only=True)
class StatusReport:
    """A status of one of our messages, as Twilio reports it.

    Attributes:
        message_id: our own id, which travels in the callback's URL; None when it is missing.
        status: None for a status that carries no news (`queued` and whatever Twilio will invent).
    """

    message_id: int | None
    sid: str
    status: DeliveryStatus | None
    error_code: int | None


@frozen(kw_only=True)
class Reported:
    """What a status report has changed: the message as it stands now, and what follows from that.

    Attributes:
        id: of the message.
        template_sid: of the template as which it went; None when it went as its text.
        error_code: of a failure, when Twilio gave one.
        is_repeated: a new message stands in the outbox in its place.
        again_at: when that one may go; None for at once.
    """

    id: int
    person_id: int
    conversation_id: int
    purpose: Purpose
    template_sid: str | None
    accepted_at: datetime
    status: DeliveryStatus
    error_code: int | None
    is_repeated: bool = False
    again_at: datetime | None = None


@frozen
class BadFieldError(ValueError):
    """Something from outside cannot be understood: which field, and what is wrong with it.

    `problem` is a sentence without the field's value, which may be personal.
    """

    field: str
    problem: str

    @override
    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"
