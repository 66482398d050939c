"""The customers of one scenario: they are called, get an opening, and write."""

from collections.abc import Awaitable, Callable, Iterator
from itertools import count

import httpx
import trio
from attrs import define, field

from tests.chaos.world import World

ANSWER_WAIT_S = 4.0
OPENING_WAIT_S = 6.0
NEWCOMER_EVERY_S = 1.2
SPEAKS_S = 0.8

_SESSION = """
SELECT c.agent_conversation_id FROM conversation c JOIN person p ON p.id = c.person_id
WHERE p.phone_number = %(phone)s AND c.agent_conversation_id IS NOT NULL
ORDER BY c.id DESC LIMIT 1
"""


@define(eq=False)
class Crowd:
    """Customers with numbers of their own; `area` keeps those of one scenario apart from all others.

    Nobody waits for ever: whoever got no answer for a while writes again, as people do.

    Attributes:
        after_answer: done with a customer's number whenever something has arrived there.
    """

    world: World
    area: int
    after_answer: Callable[[str], Awaitable[None]] | None = None
    phones: list[str] = field(factory=list, init=False)
    is_over: bool = field(default=False, init=False)
    _numbers: Iterator[int] = field(factory=lambda: count(1), init=False)
    _tokens: Iterator[int] = field(factory=lambda: count(1), init=False)

    def newcomers(self, people: int) -> list[str]:
        phones = [f"+57301{self.area:03}{next(self._numbers):04}" for _ in range(people)]
        self.phones += phones
        return phones

    async def call(self, phones: list[str]) -> None:
        """One batch of calls, which end at once."""
        recipients = [
            {
                "id": f"row-{phone}",
                "phone_number": phone,
                "conversation_initiation_client_data": {
                    "dynamic_variables": {"name": "Persona", "product": "Software IA"}
                },
                "script": {"outcome": "completed"},
            }
            for phone in phones
        ]
        batch = {
            "call_name": "chaos",
            "agent_id": self.world.account.voice_agent_id,
            "agent_phone_number_id": "phnum_lab",
            "recipients": recipients,
        }
        await self.world.post(f"{self.world.agent_lab}/batches", batch)

    async def write(self, phone: str) -> None:
        body = {"body": f"Tengo una duda #t{next(self._tokens)}"}
        await self.world.post(f"{self.world.twilio_lab}/customers/{phone}/messages", body)

    async def received(self, phone: str, *, count: int = 0, wait_s: float = 0.0) -> int:
        """How many messages the telephone has, once there are `count` or time is up."""
        url = f"{self.world.twilio_lab}/customers/{phone}/messages"
        found = await self.world.get(url, of="inbox", count=count, wait_s=str(wait_s))
        return len(found["messages"])

    async def talk(self, phone: str, *, messages: int, answer_wait_s: float = ANSWER_WAIT_S) -> None:
        """Wait for the opening a while, then write and wait for the answer a while, again and again until `is_over`,
        but once at least.
        """
        received = await self.received(phone, count=1, wait_s=OPENING_WAIT_S)
        for number in range(messages):
            if self.is_over and number:
                return
            await self.write(phone)
            before = received
            received = await self.received(phone, count=before + 1, wait_s=answer_wait_s)
            if received > before and self.after_answer is not None:
                await self.after_answer(phone)

    async def all_talk(self, people: int, *, messages: int, answer_wait_s: float = ANSWER_WAIT_S) -> None:
        """New customers are called and talk at the same time; to their end."""
        phones = self.newcomers(people)
        await self.call(phones)
        async with trio.open_nursery() as nursery:
            for phone in phones:
                nursery.start_soon(self._talk, phone, messages, answer_wait_s)

    async def keep_coming(self, *, at_first: int = 4, messages: int = 5) -> None:
        """Until `is_over` new customers come one after the other and talk; then all finish their sentence."""
        async with trio.open_nursery() as nursery:
            people = at_first
            while not self.is_over:
                phones = self.newcomers(people)
                await self.call(phones)
                for phone in phones:
                    nursery.start_soon(self._talk, phone, messages, ANSWER_WAIT_S)
                await trio.sleep(NEWCOMER_EVERY_S)
                people = 1

    async def _talk(self, phone: str, messages: int, answer_wait_s: float) -> None:
        await self.talk(phone, messages=messages, answer_wait_s=answer_wait_s)

    async def make_agent_speak_on(self, phone: str) -> None:
        """The agent says something of its own accord, where its session is still open."""
        async with self.world.server.connection() as connection:
            row = await connection.fetch_one(_SESSION, {"phone": phone})
        if row is not None:
            url = f"{self.world.agent_lab}/conversations/{row[0]}/hear"
            await self.world.http.post(url, json={"text": "espere"})
            # Said before the customer asks the next question, of which it would be taken for the answer.
            await trio.sleep(SPEAKS_S)


async def open_sessions(world: World) -> list[str]:
    found = await world.get(f"{world.agent_lab}/conversations")
    return [
        entry["conversation_id"] for entry in found if entry["text_only"] and entry["status"] == "in-progress"
    ]


async def end_sessions(world: World, code: int | None) -> int:
    """The agents' side closes every open session with this code, or drops it without one; how many those were."""
    ended = 0
    for conversation_id in await open_sessions(world):
        how = "drop" if code is None else "close"
        url = f"{world.agent_lab}/conversations/{conversation_id}/{how}"
        response: httpx.Response = await world.http.post(url, json={"code": code, "reason": "chaos"})
        ended += response.is_success
    return ended
