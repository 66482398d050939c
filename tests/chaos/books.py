"""What the lab's own books say happened: the truth that the store is held against."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trio
from attrs import frozen

from tests.chaos.world import World

AT_ONCE = 32
INCOMING_PATH = "/api/webhook/twilio/incoming"
_TOKEN = re.compile(r"#\w+")
_LIVE = frozenset({"initiated", "in-progress"})


def tokens_in(text: str) -> list[str]:
    """The marks by which a question is known in its answer, each once, in order."""
    return list(dict.fromkeys(_TOKEN.findall(text)))


@frozen(kw_only=True)
class Attempt:
    """One request of a webhook; `status` is None when no answer began."""

    began_at: datetime
    ended_at: datetime
    status: int | None
    is_forged: bool = False

    @property
    def is_taken(self) -> bool:
        return self.status is not None and self.status < 300


@frozen(kw_only=True)
class Written:
    """A message that a customer wrote, and how its webhook was received."""

    sid: str
    body: str
    attempts: Sequence[Attempt] = ()
    forged_sids: Sequence[str] = ()


@frozen(kw_only=True)
class Carried:
    """A message that Twilio accepted for a customer.

    Attributes:
        statuses: all that it has had, in order.
        row_id: our own id in its callback's URL.
    """

    sid: str
    body: str
    is_template: bool
    statuses: Sequence[str]
    row_id: int | None
    arrived_at: datetime | None = None

    @property
    def has_arrived(self) -> bool:
        return "delivered" in self.statuses

    @property
    def has_failed(self) -> bool:
        return self.statuses[-1] in {"failed", "undelivered"}


@frozen(kw_only=True)
class PersonBook:
    """One customer. `written` in the order of writing, `carried` in that of acceptance."""

    phone: str
    written: Sequence[Written] = ()
    carried: Sequence[Carried] = ()
    calls: Sequence[str] = ()


async def read_books(world: World, phones: Sequence[str]) -> list[PersonBook]:
    """What is known of these customers."""
    # Newcomers may be added to the list meanwhile.
    phones = tuple(phones)
    calls = await _ended_calls(world, frozenset(phones))
    found: dict[str, PersonBook] = {}
    limit = trio.CapacityLimiter(AT_ONCE)

    async def read(phone: str) -> None:
        async with limit:
            talk = await world.get(f"{world.twilio_lab}/customers/{phone}/messages")
        found[phone] = person_book(phone, talk["messages"], calls.get(phone, ()))

    async with trio.open_nursery() as nursery:
        for phone in phones:
            nursery.start_soon(read, phone)
    return [found[phone] for phone in phones]


async def _ended_calls(world: World, phones: frozenset[str]) -> dict[str, list[str]]:
    """The calls that a conversation should follow, by number."""
    calls: dict[str, list[str]] = {}
    for entry in await world.get(f"{world.agent_lab}/conversations"):
        if entry["phone_number"] in phones and entry["status"] not in _LIVE:
            calls.setdefault(entry["phone_number"], []).append(entry["conversation_id"])
    return calls


def person_book(phone: str, talk: Iterable[Mapping[str, Any]], calls: Sequence[str]) -> PersonBook:
    """A customer's book from the lab's JSON."""
    messages = list(talk)
    return PersonBook(
        phone=phone,
        written=[_written(message) for message in messages if message["direction"] == "inbound"],
        carried=[_carried(message) for message in messages if message["direction"] != "inbound"],
        calls=calls,
    )


def _written(message: Mapping[str, Any]) -> Written:
    webhooks = message["webhooks"]
    return Written(
        sid=message["sid"],
        body=message["body"],
        attempts=[
            _attempt(attempt, is_forged=webhook["forged"])
            for webhook in webhooks
            for attempt in webhook["attempts"]
        ],
        forged_sids=[webhook["message_sid"] for webhook in webhooks if webhook["forged"]],
    )


def _attempt(attempt: Mapping[str, Any], *, is_forged: bool) -> Attempt:
    began_at = datetime.fromisoformat(attempt["at"])
    return Attempt(
        began_at=began_at,
        ended_at=began_at + timedelta(seconds=attempt["took_s"]),
        status=attempt["status"],
        is_forged=is_forged,
    )


def _carried(message: Mapping[str, Any]) -> Carried:
    arrived = [entry["at"] for entry in message["history"] if entry["status"] == "delivered"]
    return Carried(
        sid=message["sid"],
        body=message["body"],
        is_template=message["content_sid"] is not None,
        statuses=[entry["status"] for entry in message["history"]],
        row_id=_row_id(message["webhooks"]),
        arrived_at=datetime.fromisoformat(arrived[0]) if arrived else None,
    )


def _row_id(webhooks: Sequence[Mapping[str, Any]]) -> int | None:
    for webhook in webhooks:
        ours = parse_qs(urlsplit(webhook["url"]).query).get("m")
        if ours is not None:
            return int(ours[0])
    return None
