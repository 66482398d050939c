"""WhatsApp messages through Twilio: the port `actors.ports.Messaging`."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog
import trio
from attrs import define, field
from twilio.base.exceptions import (  # type: ignore[import-untyped]
    TwilioException,
    TwilioRestException,
    TwilioServiceException,
)
from twilio.rest import Client  # type: ignore[import-untyped]

from actors.conversation.identity import whatsapp_address_candidates
from actors.failures import FailureKind, failure_of
from actors.messages import (
    Accepted,
    BadFieldError,
    InboundMessage,
    NotSent,
    Outgoing,
    Refused,
    SendResult,
    SentMessage,
    Unknown,
)
from actors.ports import VendorRefusedError, VendorUnavailableError, WallClock
from daemon.twilio.callbacks import without_slash
from daemon.twilio.inbound import read_message
from daemon.twilio.transport import MaybeReceivedError, NeverLeftError, ThrottledError, TransportError

_log = structlog.get_logger(__name__)

STATUS_PATH: Final = "/api/webhook/twilio/status"
_CHANNEL: Final = "whatsapp:"

# Wrong credentials; an account that is not active; what answers 403 in Twilio's place.
_LOCKED_OUT: Final = frozenset({20003, 20005, 403})
_INTERNAL_ERROR: Final = 20500

_PAGE: Final = 200
_LOOKUP_PAGES_MAX: Final = 5
_INBOX_PAGES_MAX: Final = 100
# Twilio's `date_created` has whole seconds, and its clock is not ours.
_CLOCK_SLACK: Final = timedelta(seconds=60)

_TYPING_MAX: Final = 8
"""Indicators under way at once. They share the connections with what is sent, and a crowd of them must not delay it."""

_DETAIL_MAX: Final = 300
_NUMBER_BUT_ITS_END: Final = re.compile(r"\d{3,}(?=\d{4})")


def _with_channel(address: str) -> str:
    return address if address.startswith(_CHANNEL) else _CHANNEL + address


@define(kw_only=True)
class TwilioMessaging:
    """Sends from one WhatsApp sender.

    Attributes:
        sender: with or without `whatsapp:`.
        public_url: where Twilio reaches us; statuses come to `STATUS_PATH` below it with our id as `m`.
        clock: ours, by which moments are given.
        vendor_now: what Twilio's clock shows, which dates its messages; None as long as nobody can tell.
    """

    client: Client
    sender: str = field(converter=_with_channel)
    public_url: str = field(converter=without_slash)
    clock: WallClock
    vendor_now: Callable[[], datetime | None]
    typing_deadline_s: float = 3.0
    lookup_deadline_s: float = 30.0
    _typing: trio.CapacityLimiter = field(factory=partial(trio.CapacityLimiter, _TYPING_MAX), init=False)

    async def send(self, message: Outgoing, *, as_template: bool) -> SendResult:
        """Hand one message to Twilio, as its text or as its template.

        Cancellation leaves the outcome unknown.
        """
        content = _content(message, as_template=as_template)
        try:
            created = await self.client.messages.create_async(
                to=_CHANNEL + message.address,
                from_=self.sender,
                status_callback=f"{self.public_url}{STATUS_PATH}?m={message.id}",
                **content,
            )
        except NeverLeftError as error:
            return NotSent(code=None, detail=str(error))
        except ThrottledError as error:
            return NotSent(code=error.code, detail=str(error), retry_after_s=error.retry_after_s)
        except MaybeReceivedError as error:
            return Unknown(detail=str(error))
        except TwilioRestException as error:
            return verdict(error.status, error.code, error.msg)
        except TwilioServiceException as error:
            return verdict(error.status, error.code, error.detail or error.title)
        except json.JSONDecodeError:
            return Unknown(detail="unreadable answer")
        return Accepted(sid=created.sid) if created.sid else Unknown(detail="answer without a SID")

    async def sent_to(self, address: str, *, since: datetime) -> Sequence[SentMessage]:
        """Messages from our sender to `address` that Twilio has created since then, or shortly before.

        Two clocks are compared: Twilio's is read from its answer, and up to a minute before `since` is included. Every
        spelling of the number is asked for: Twilio has reported `+54351…` for what was sent to `+549351…`.

        `DateSent` is not used as a filter although it is the only date that can be one: it is empty while a
        message is queued, which may take hours, and with it fresh messages were missing for minutes
        (twilio-java issue 442). Even without it the list may lag behind (twilio-node issue 647): a message
        that is missing once may still exist. At most 1000 messages per spelling are looked through, the
        newest first (Twilio docs: messaging/api/message-resource).

        Raises:
            VendorUnavailableError, VendorRefusedError: the list could not be read.
        """
        found: dict[str, SentMessage] = {}
        with _reading_a_list():
            with trio.fail_after(self.lookup_deadline_s):
                for spelling in whatsapp_address_candidates(address) or (address,):
                    listed = await self._listed(spelling, since=since)
                    found |= {message.sid: message for message in listed}
        return list(found.values())

    async def _listed(self, address: str, *, since: datetime) -> list[SentMessage]:
        """Reads page by page until nothing on one is young enough."""
        found: list[SentMessage] = []
        page = await self.client.messages.page_async(
            to=_CHANNEL + address, from_=self.sender, page_size=_PAGE
        )
        ahead = self._vendor_is_ahead()
        oldest, undated = since + ahead - _CLOCK_SLACK, since + ahead
        for remaining in reversed(range(_LOOKUP_PAGES_MAX)):
            listed = [
                SentMessage(sid=record.sid, body=record.body or "", created_at=record.date_created or undated)
                for record in page
            ]
            young = [message for message in listed if message.created_at >= oldest]
            found += young
            if not young or not remaining:
                break
            page = await page.next_page_async()
            if page is None:
                break
        return found

    async def received_since(
        self, since: datetime, *, until: datetime | None = None
    ) -> AsyncIterator[InboundMessage]:
        """Messages to our sender that Twilio has received since then, or up to a minute before, newest first.

        Those after `until` are left out; one without a date counts as old.

        The list tells less than a webhook: neither the profile's name nor the user id, no button, no
        coordinates, and of media only that there are some. At most 20,000 messages are looked through.

        Raises:
            VendorUnavailableError, VendorRefusedError: while they are read.
        """
        with _reading_a_list():
            page = await self.client.messages.page_async(to=self.sender, page_size=_PAGE)
        ahead = self._vendor_is_ahead()
        since, until = since + ahead, until + ahead if until is not None else None
        oldest = since - _CLOCK_SLACK
        for _ in range(_INBOX_PAGES_MAX):
            records = [record for record in page if (record.date_created or since) >= oldest]
            for record in records:
                if until is not None and (record.date_created or since) > until:
                    continue
                if (message := _received(record)) is not None:
                    yield message
            if not records:
                return
            with _reading_a_list():
                page = await page.next_page_async()
            if page is None:
                return
        _log.warning("more messages were received than are looked through", pages=_INBOX_PAGES_MAX)

    def _vendor_is_ahead(self) -> timedelta:
        """By how much Twilio's clock is ahead of ours, told right after an answer of Twilio's."""
        vendor_now = self.vendor_now()
        return vendor_now - self.clock.now() if vendor_now is not None else timedelta()

    async def show_typing(self, inbound_sid: str) -> None:
        """Show the person that an answer is being written. Best effort: never raises, never waits long, and does
        nothing while too many others are shown.

        Also marks the message as read (Twilio docs: whatsapp/api/typing-indicators-resource, public beta).
        """
        try:
            self._typing.acquire_nowait()
        except trio.WouldBlock:
            return
        try:
            with trio.move_on_after(self.typing_deadline_s):
                await self.client.messaging.v2.typing_indicator.create_async(
                    channel="whatsapp", message_id=inbound_sid
                )
        except Exception as error:  # noqa: BLE001 - a decoration of a beta API must not cost the answer
            _log.debug("typing indicator not shown", problem=type(error).__name__)
        finally:
            self._typing.release()


def verdict(status: object, code: object, detail: object) -> NotSent | Refused | Unknown:
    """What an error answer to a POST of a message means.

    Args:
        status: HTTP status.
        code: Twilio's error code; the SDK puts the status in its place when there is none.
        detail: Twilio's sentence; phone numbers in it are masked.
    """
    http = _number(status, default=500)
    number = _number(code, default=http)
    text = _told(detail)
    if http >= 500 or http == 408 or number == _INTERNAL_ERROR:
        # Whatever the code says: an error inside Twilio may have come after the message was taken.
        return Unknown(detail=f"{number}: {text}")
    is_early = http == 429 or failure_of(number).kind is FailureKind.LATER
    # Nothing is lost while the operator mends the credentials or the account. A 403 without a code of Twilio's is from
    # something that stands between Twilio and us, and so is a redirect.
    is_locked_out = http == 401 or number in _LOCKED_OUT
    if is_early or is_locked_out or http < 400:
        return NotSent(code=number, detail=text)
    return Refused(code=number, detail=text)


def _content(message: Outgoing, *, as_template: bool) -> dict[str, str]:
    if not as_template:
        return {"body": message.text}
    template = message.template
    if template is None:
        raise ValueError(f"message {message.id} has no template")
    content = {"content_sid": template.sid}
    if template.variables:
        content["content_variables"] = json.dumps(dict(template.variables), ensure_ascii=False)
    return content


def _received(record: Any) -> InboundMessage | None:
    """A message of Twilio's list, read as if its webhook had come."""
    if record.direction != "inbound":
        return None
    fields = {
        "MessageSid": record.sid,
        "AccountSid": record.account_sid,
        "From": record.from_,
        "To": record.to,
        "Body": record.body,
        "NumMedia": record.num_media,
    }
    try:
        return read_message({name: value or "" for name, value in fields.items()})
    except BadFieldError as error:
        _log.warning("a received message cannot be read", field=error.field, problem=error.problem)
        return None


@contextmanager
def _reading_a_list() -> Iterator[None]:
    """Failures to read a list, as the port names them."""
    try:
        yield
    except (TransportError, trio.TooSlowError) as error:
        raise VendorUnavailableError(f"messages could not be listed: {error}") from error
    except TwilioException as error:
        raise _unlisted(error) from error
    except json.JSONDecodeError as error:
        raise VendorUnavailableError("the list of messages is unreadable") from error


def _unlisted(error: TwilioException) -> VendorUnavailableError | VendorRefusedError:
    """The SDK raises its base class with the response as second argument when a page is no 200."""
    status: Any = getattr(error.args[1], "status_code", None) if len(error.args) > 1 else None
    problem = f"messages could not be listed: HTTP {status}"
    if isinstance(status, int) and 400 <= status < 500 and status != 408:
        return VendorRefusedError(problem)
    return VendorUnavailableError(problem)


def _number(value: object, *, default: int) -> int:
    try:
        return int(str(value))
    except ValueError:
        return default


def _told(detail: object) -> str:
    text = str(detail).removeprefix("Unable to create record: ")[:_DETAIL_MAX]
    return _NUMBER_BUT_ITS_END.sub("…", text)
