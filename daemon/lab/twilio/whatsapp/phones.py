"""The persons' side: what they write, and the webhook that tells the business of it."""

import json
from collections.abc import Mapping
from typing import Any, Final

from attrs import define, frozen

from daemon.lab.faults import Faults
from daemon.lab.twilio.account import Account, whatsapp_address
from daemon.lab.twilio.books import DebuggerEntry
from daemon.lab.twilio.clock import LabClock
from daemon.lab.twilio.courier import Courier
from daemon.lab.twilio.deliveries import Answer, Delivery
from daemon.lab.twilio.sids import new_sid
from daemon.lab.twilio.whatsapp.answers import Trouble, read_answer
from daemon.lab.twilio.whatsapp.carrier import Carrier
from daemon.lab.twilio.whatsapp.messages import Direction, Media, Message, Status
from daemon.lab.twilio.whatsapp.people import Person
from daemon.lab.twilio.whatsapp.world import World

JOINED: Final = "Twilio Sandbox: ✅ You are all set! Reply stop to leave the sandbox any time."


@frozen(kw_only=True)
class Button:
    """A tap on a quick reply: its title, and the id that the template gave it."""

    text: str
    payload: str


@frozen(kw_only=True)
class Location:
    latitude: str
    longitude: str
    address: str = ""
    label: str = ""


@frozen(kw_only=True)
class Writing:
    """What a person sends.

    Attributes:
        replied_to: the SID of the message of ours that it answers.
        fields: further fields of the webhook, or other values for those it has (a referral, a list choice, …).
    """

    body: str = ""
    media: Media | None = None
    button: Button | None = None
    location: Location | None = None
    replied_to: str | None = None
    forwarded: bool = False
    fields: Mapping[str, str] | None = None


@define(eq=False, kw_only=True)
class Phones:
    """Lets persons write to a sender of the account."""

    account: Account
    world: World
    clock: LabClock
    courier: Courier
    carrier: Carrier
    faults: Faults

    def write(self, person: Person, writing: Writing, *, to: str) -> str:
        """Send a message and owe its webhook; gives the message's SID. A person's webhooks keep their order."""
        if not self._reaches_the_account(person, writing, to):
            return new_sid("SM")
        person.wrote_s[to] = self.clock.elapsed_s()
        message = self.world.write_down(
            direction=Direction.INBOUND,
            sender=person.address,
            recipient=to,
            status=Status.RECEIVED,
            rich=writing.media is not None,
            body=writing.button.text if writing.button else writing.body,
            media={writing.media.sid: writing.media} if writing.media else {},
            sent_at=self.clock.now(),
        )
        if self.account.incoming.url is not None:
            self._tell(self.account.incoming.url, person, message, writing)
        return message.sid

    def _reaches_the_account(self, person: Person, writing: Writing, to: str) -> bool:
        """What is written to a sandbox goes to an account only after the person has joined."""
        if self.world.sandbox_code is None:
            return True
        if writing.body.strip().lower() != f"join {self.world.sandbox_code}":
            return self.world.in_sandbox(person)
        person.joined_s = person.wrote_s[to] = self.clock.elapsed_s()
        self._reply(to, person.address, JOINED, ())
        return False

    def _tell(self, url: str, person: Person, message: Message, writing: Writing) -> None:
        delivery = Delivery(
            kind="incoming",
            url=url,
            method=self.account.incoming.method,
            fallback_url=self.account.incoming.fallback_url,
            params=incoming_fields(self.account, person, message, writing),
            lane=person.address,
            message_sid=message.sid,
            on_answer=lambda answer: self._heed(answer, message),
        )
        if self.faults.strikes("webhook_forged") is not None:
            self._forge(delivery, message)
        message.deliveries.append(delivery)
        self.courier.send(delivery, family="webhook", key=person.address)

    def _forge(self, genuine: Delivery, message: Message) -> None:
        made_up = new_sid("SM")
        values = {
            "MessageSid": made_up,
            "SmsSid": made_up,
            "SmsMessageSid": made_up,
            "Body": "mensaje falsificado",
        }
        forged = Delivery(
            kind="incoming",
            url=genuine.url,
            method=genuine.method,
            params=list({**dict(genuine.params), **values}.items()),
            message_sid=made_up,
            forged=True,
        )
        message.deliveries.append(forged)
        self.courier.engine.submit(forged)

    def _heed(self, answer: Answer, message: Message) -> None:
        """Do what the business' answer to a webhook asks for."""
        read = read_answer(answer)
        if isinstance(read, Trouble):
            self.world.books.debugger.append(
                DebuggerEntry(
                    at=self.clock.now(),
                    code=read.code,
                    url=self.account.incoming.url or "",
                    sentence=read.sentence,
                    message_sid=message.sid,
                )
            )
            return
        for reply in read:
            self._reply(message.recipient, message.sender, reply.body, reply.media_urls)

    def _reply(self, sender: str, recipient: str, body: str, media_urls: tuple[str, ...]) -> None:
        reply = self.world.write_down(
            direction=Direction.OUTBOUND_REPLY,
            sender=sender,
            recipient=recipient,
            status=Status.QUEUED,
            rich=bool(media_urls),
            body=body,
            media_urls=media_urls,
        )
        self.carrier.accept(reply)


def incoming_fields(
    account: Account, person: Person, message: Message, writing: Writing
) -> list[tuple[str, str]]:
    """The form of an incoming-message webhook (Twilio docs: messaging/guides/webhook-request, and captures)."""
    fields = {
        "SmsMessageSid": message.sid,
        "NumMedia": str(message.media_count),
        "ProfileName": person.profile_name,
        "MessageType": _message_type(writing),
        "SmsSid": message.sid,
        "WaId": (person.phone or "").removeprefix("+"),
        "SmsStatus": "received",
        "Body": message.body,
        "To": message.recipient,
        "NumSegments": "1",
        "ReferralNumMedia": "0",
        "MessageSid": message.sid,
        "AccountSid": account.sid,
        "ChannelMetadata": _channel_metadata(person, writing),
        "From": message.sender,
        "ExternalUserId": whatsapp_address(person.external_user_id),
        "ApiVersion": "2010-04-01",
    }
    if account.messaging_service_sid is not None:
        fields["MessagingServiceSid"] = account.messaging_service_sid
    for number, media in enumerate(message.media.values()):
        fields[f"MediaContentType{number}"] = media.content_type
        fields[f"MediaUrl{number}"] = media_url(account, message.sid, media.sid)
    fields |= _kind_fields(writing, message)
    return list({**fields, **(writing.fields or {})}.items())


def media_url(account: Account, message_sid: str, media_sid: str) -> str:
    return f"{account.public_url}/2010-04-01/Accounts/{account.sid}/Messages/{message_sid}/Media/{media_sid}"


def _kind_fields(writing: Writing, message: Message) -> dict[str, str]:
    fields: dict[str, str] = {}
    if writing.button is not None:
        fields |= {
            "ButtonText": writing.button.text,
            "ButtonPayload": writing.button.payload,
            "ButtonType": "REPLY",
        }
    if writing.location is not None:
        fields |= {
            "Latitude": writing.location.latitude,
            "Longitude": writing.location.longitude,
            "Address": writing.location.address,
            "Label": writing.location.label,
        }
    if writing.replied_to is not None:
        fields |= {
            "OriginalRepliedMessageSid": writing.replied_to,
            "OriginalRepliedMessageSender": message.recipient,
        }
    if writing.forwarded:
        fields |= {"Forwarded": "true", "FrequentlyForwarded": "false"}
    return fields


def _message_type(writing: Writing) -> str:
    if writing.button is not None:
        return "interactive"
    if writing.location is not None:
        return "location"
    if writing.media is None:
        return "text"
    kind = writing.media.content_type.partition("/")[0]
    special = {"text/vcard": "contacts", "image/webp": "sticker"}
    return special.get(
        writing.media.content_type, kind if kind in {"image", "audio", "video"} else "document"
    )


def _channel_metadata(person: Person, writing: Writing) -> str:
    context: dict[str, Any] = {"ProfileName": person.profile_name}
    if person.phone is not None:
        context["WaId"] = person.phone.removeprefix("+")
    if writing.button is not None:
        context["ButtonText"] = writing.button.text
    return json.dumps({"type": "whatsapp", "data": {"context": context}})
