"""The main job on real processes, undisturbed and with the daemon killed in the middle."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from attrs import define, field

from tests.integration.relay import Relay, open_relay

PEOPLE = 50
LIMIT_S = 120
PHONES = [f"+5730012340{number:02}" for number in range(PEOPLE)]
FEW = PHONES[:18]

EMPTY_QUEUES = {"inbound_pending": 0, "outbound_pending": 0, "outbound_in_doubt": 0, "dead_letters": 0}

pytestmark = pytest.mark.processes


def answers_in(inbox: list[str]) -> list[str]:
    """Which of the customer's questions were answered, in the order of the answers."""
    return [word.strip("()") for body in inbox for word in body.split() if word.startswith("(#")]


@define
class Crowd:
    """Customers who each get an opening and then write three times, each time after the answer."""

    relay: Relay
    phones: Sequence[str] = field(default=PHONES)
    answers: int = 0
    answered: trio.Event = field(factory=trio.Event)

    async def talk(self, phone: str) -> None:
        assert len(await self.relay.inbox(phone, count=1, wait_s=60)) == 1
        for number in range(1, 4):
            await self.relay.write(phone, f"Tengo una duda #{number}")
            await self.relay.inbox(phone, count=1 + number, wait_s=60)
            self.answers += 1
            self.answered.set()
            self.answered = trio.Event()

    async def all_talk(self) -> None:
        async with trio.open_nursery() as nursery:
            for phone in self.phones:
                nursery.start_soon(self.talk, phone)

    async def until(self, answers: int) -> None:
        while self.answers < answers:
            await self.answered.wait()


async def assert_one_opening_and_three_answers_each(relay: Relay, phones: Sequence[str] = PHONES) -> None:
    for phone in phones:
        inbox = await relay.inbox(phone)
        assert inbox[0].startswith("¡Hola, Persona"), phone
        assert answers_in(inbox[1:]) == ["#1", "#2", "#3"], phone
        assert len(inbox) == 4, phone


async def test_fifty_calls_become_fifty_conversations(database: str, tmp_path: Path) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_relay(database, tmp_path) as relay:
            await relay.submit_batch(PHONES)
            await Crowd(relay).all_talk()

            await assert_one_opening_and_three_answers_each(relay)
            status = await relay.status()
            assert status["queues"] == EMPTY_QUEUES
            assert status["alerts"] == []
            assert await relay.stop_daemon() == 0


async def test_calls_are_found_by_polling_alone(database: str, tmp_path: Path) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_relay(database, tmp_path, webhooks=False) as relay:
            await relay.submit_batch(PHONES[:5])
            for phone in PHONES[:5]:
                await Crowd(relay).talk(phone)


async def test_a_kill_in_the_middle_changes_nothing(database: str, tmp_path: Path) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_relay(database, tmp_path) as relay:
            await relay.submit_batch(FEW)
            crowd = Crowd(relay, FEW)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(crowd.all_talk)
                for answers in (5, 20, 40):
                    await crowd.until(answers)
                    relay.kill_daemon()
                    await relay.start_daemon()

            await assert_one_opening_and_three_answers_each(relay, FEW)
            assert (await relay.status())["queues"] == EMPTY_QUEUES
