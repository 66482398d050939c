"""The way of an outbound message: the sender's queue, WhatsApp's rules, the statuses and their callbacks."""

from collections.abc import Callable
from functools import partial
from typing import Final

from attrs import define, field, frozen

from daemon.lab.faults import Faults
from daemon.lab.twilio.account import Account, address_key
from daemon.lab.twilio.clock import LabClock
from daemon.lab.twilio.courier import Courier
from daemon.lab.twilio.deliveries import Delivery
from daemon.lab.twilio.schedule import Schedule
from daemon.lab.twilio.sids import new_sid
from daemon.lab.twilio.whatsapp.messages import Direction, Message, Status
from daemon.lab.twilio.whatsapp.people import Person
from daemon.lab.twilio.whatsapp.world import World

# Twilio docs: whatsapp/best-practices-and-faqs.
QUEUE_MAX_S: Final = 4 * 3600.0

# One installation of the WhatsApp channel in the account.
CHANNEL_INSTALL_SID: Final = new_sid("XE")


@frozen(kw_only=True)
class Pace:
    """Seconds between one status and the next."""

    sent_s: float = 0.05
    delivered_s: float = 0.1
    read_s: float = 0.2


@define(eq=False, kw_only=True)
class Carrier:
    """Carries what REST accepted to the persons.

    Attributes:
        messages_per_second: how fast each sender's queue moves.
        on_arrival: called with the person and the message when a telephone has received one; plain functions.
    """

    account: Account
    world: World
    clock: LabClock
    schedule: Schedule
    courier: Courier
    faults: Faults
    pace: Pace = field(factory=Pace)
    messages_per_second: float = 80.0
    on_arrival: list[Callable[[Person, Message], None]] = field(factory=list)
    _free_s: dict[str, float] = field(factory=dict, init=False)

    def queue_is_full(self, sender: str) -> bool:
        return self._free_s.get(sender, 0.0) - self.clock.elapsed_s() > QUEUE_MAX_S

    def accept(self, message: Message, *, send_at_s: float | None = None) -> None:
        """Take a message on. Returns at once; the statuses follow by schedule."""
        if message.status is Status.QUEUED:
            self._enqueue(message)
        else:
            due_s = self.clock.elapsed_s() if send_at_s is None else send_at_s
            self.schedule.at(due_s, partial(self._begin, message))

    def accept_and_depart(self, message: Message) -> Delivery | None:
        """Take a message on and let it leave before anybody is told; gives its first status callback, if it has one."""
        return self._depart(message)

    def cancel(self, message: Message) -> None:
        self._enter(message, Status.CANCELED)

    def clear(self) -> None:
        self._free_s.clear()

    def _begin(self, message: Message) -> None:
        if message.status is Status.CANCELED:
            return
        self._enter(message, Status.QUEUED)
        self._enqueue(message)

    def _enqueue(self, message: Message) -> None:
        turn_s = max(self.clock.elapsed_s(), self._free_s.get(message.sender, 0.0))
        self._free_s[message.sender] = turn_s + 1 / self.messages_per_second
        self.schedule.at(turn_s + self.pace.sent_s, partial(self._depart, message))

    def _depart(self, message: Message) -> Delivery | None:
        code = self._refusal(message)
        if code is not None:
            return self._enter(message, Status.FAILED, code)
        message.sent_at = self.clock.now()
        callback = self._enter(message, Status.SENT)
        lost = self.faults.strikes("message_undelivered")
        if lost is None:
            self.schedule.after(self.pace.delivered_s, partial(self._arrive, message))
        else:
            lost_code = int(lost.details.get("code", 63049))
            self.schedule.after(
                self.pace.delivered_s, partial(self._enter, message, Status.UNDELIVERED, lost_code)
            )
        return callback

    def _arrive(self, message: Message) -> None:
        person = self.world.other_side(message)
        person.inbox.append(message)
        self._enter(message, Status.DELIVERED)
        if person.reads:
            self.schedule.after(self.pace.read_s, partial(self._enter, message, Status.READ))
        for listener in self.on_arrival:
            listener(person, message)

    def _refusal(self, message: Message) -> int | None:
        """The code with which WhatsApp refuses a message that REST has accepted."""
        struck = self.faults.strikes("message_failed")
        if struck is not None:
            return int(struck.details.get("code", 63016))
        person = self.world.other_side(message)
        if not person.has_whatsapp:
            return 63024
        if person.blocked:
            return 63014
        if not self.world.in_sandbox(person):
            return 63015
        if message.content is not None:
            template = message.content.template
            return template.refused_code or (63028 if template.lacks(message.content.variables) else None)
        return None if self.world.window_open(message.sender, person) else 63016

    def _enter(self, message: Message, status: Status, code: int | None = None) -> Delivery | None:
        message.error_code = code
        message.enter(status, self.clock.now())
        callback = None
        if message.status_callback is not None:
            callback = Delivery(
                kind="status",
                url=message.status_callback,
                params=status_fields(self.account, message),
                message_sid=message.sid,
            )
            message.deliveries.append(callback)
            self.courier.send(callback, family="status", key=message.sid)
        self.world.books.changed()
        return callback


def status_fields(account: Account, message: Message) -> list[tuple[str, str]]:
    """The form of a status callback (Twilio docs: messaging/guides/track-outbound-message-status, and captures)."""
    status = message.status
    fields = {
        "ApiVersion": "2010-04-01",
        "AccountSid": account.sid,
        "MessageSid": message.sid,
        "SmsSid": message.sid,
        "MessageStatus": status.value,
        "SmsStatus": status.value,
        "From": message.sender,
        "To": message.recipient,
        "ChannelPrefix": "whatsapp",
        "ChannelInstallSid": CHANNEL_INSTALL_SID,
        "ChannelToAddress": f"{address_key(message.recipient)[:-4]}XXXX",
    }
    if status is Status.SENT:
        fields["StructuredMessage"] = "false"
    if status in {Status.DELIVERED, Status.READ}:
        fields["EventType"] = status.value.upper()
    if message.error_code is not None:
        fields["ErrorCode"] = str(message.error_code)
        fields["ChannelStatusMessage"] = f"Error {message.error_code}"
    if message.messaging_service_sid is not None:
        fields["MessagingServiceSid"] = message.messaging_service_sid
    return list(fields.items())


def is_final(message: Message) -> bool:
    """Whether nothing more can come, reading aside."""
    unfinished = {Status.ACCEPTED, Status.SCHEDULED, Status.QUEUED, Status.SENT}
    return message.direction is Direction.INBOUND or message.status not in unfinished
