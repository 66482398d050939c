"""The state of the WhatsApp side: persons, messages, templates."""

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any, Final

from attrs import define, field

from daemon.lab.faults import Faults
from daemon.lab.twilio.account import Account, address_key
from daemon.lab.twilio.books import Books
from daemon.lab.twilio.clock import LabClock
from daemon.lab.twilio.sids import new_sid
from daemon.lab.twilio.whatsapp.messages import Direction, Message, Status
from daemon.lab.twilio.whatsapp.people import Person, new_person
from daemon.lab.twilio.whatsapp.templates import Template

WINDOW_S: Final = 24 * 3600.0
SANDBOX_MEMBERSHIP_S: Final = 3 * 24 * 3600.0


@define(eq=False, kw_only=True)
class World:
    """Who there is and what was said. It grows until `clear`.

    Attributes:
        sandbox_code: set, every sender is a sandbox: a person must have written `join <code>` in the last three days.
        messages: what REST shows, by SID, in the order of acceptance.
    """

    account: Account
    clock: LabClock
    books: Books
    faults: Faults
    sandbox_code: str | None = None
    templates: dict[str, Template] = field(factory=dict)
    messages: dict[str, Message] = field(factory=dict, init=False)
    _people: dict[str, Person] = field(factory=dict, init=False)
    _ordinal: Iterator[int] = field(factory=count, init=False)

    def person(self, key: str, *, external_user_id: str | None = None) -> Person:
        """The person at a number or WhatsApp user id; whoever is asked for comes into being.

        Raises:
            NoSuchAddressError: `key` is neither.
        """
        person = self._people.get(key) or new_person(key, external_user_id=external_user_id)
        if external_user_id is not None:
            person.external_user_id = external_user_id
        self._people[key] = self._people[person.external_user_id] = person
        return person

    def people(self) -> Iterable[Person]:
        return dict.fromkeys(self._people.values())

    def write_down(
        self,
        *,
        direction: Direction,
        sender: str,
        recipient: str,
        status: Status,
        rich: bool = False,
        **rest: Any,
    ) -> Message:
        """Enter a new message; `rest` are further attributes of `Message`.

        The SID of a rich one, which has media or comes from a template, begins with MM.
        """
        lag = self.faults.strikes("list_lags")
        message = Message(
            sid=new_sid("MM" if rich else "SM"),
            ordinal=next(self._ordinal),
            direction=direction,
            sender=sender,
            recipient=recipient,
            status=status,
            created_at=self.clock.now(),
            listed_from_s=self.clock.elapsed_s() + float(lag.details.get("seconds", 5.0)) if lag else 0.0,
            **rest,
        )
        self.messages[message.sid] = message
        self.other_side(message).talk.append(message)
        self.books.changed()
        return message

    def other_side(self, message: Message) -> Person:
        address = message.sender if message.direction is Direction.INBOUND else message.recipient
        return self.person(address_key(address))

    def listed(self, *, recipient: str | None, sender: str | None) -> Iterator[Message]:
        """What the list shows, newest first; an address given as None takes all."""
        now_s = self.clock.elapsed_s()
        for message in self._newest_first(recipient, sender):
            if recipient is not None and message.recipient != recipient:
                continue
            if sender is not None and message.sender != sender:
                continue
            if message.listed_from_s <= now_s and message.sid in self.messages:
                yield message

    def window_open(self, sender: str, person: Person) -> bool:
        wrote_s = person.wrote_s.get(sender)
        return wrote_s is not None and self.clock.elapsed_s() - wrote_s < WINDOW_S

    def in_sandbox(self, person: Person) -> bool:
        if self.sandbox_code is None:
            return True
        return person.joined_s is not None and self.clock.elapsed_s() - person.joined_s < SANDBOX_MEMBERSHIP_S

    def clear(self) -> None:
        """Forget persons and messages; templates and the sandbox stay."""
        self.messages.clear()
        self._people.clear()

    def _newest_first(self, recipient: str | None, sender: str | None) -> Iterator[Message]:
        for address in (recipient, sender):
            person = self._people.get(address_key(address)) if address is not None else None
            if person is not None:
                return reversed(person.talk)
        return reversed(self.messages.values())
