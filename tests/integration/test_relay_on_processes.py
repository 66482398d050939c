"""The main job on real processes, undisturbed and with the daemon killed in the middle."""

from pathlib import Path

import pytest
import trio

from tests.integration.relay import Relay, open_relay

PEOPLE = 50
LIMIT_S = 120
PHONES = [f"+5730012340{number:02}" for number in range(PEOPLE)]

pytestmark = pytest.mark.processes


def answers_in(inbox: list[str]) -> list[str]:
    """Which of the customer's questions were answered, in the order of the answers."""
    return [word.strip("()") for body in inbox for word in body.split() if word.startswith("(#")]


async def talk(relay: Relay, phone: str) -> None:
    """A customer who gets the opening and then writes three times, each time after the answer."""
    assert len(await relay.inbox(phone, count=1, wait_s=60)) == 1
    for number in range(1, 4):
        await relay.write(phone, f"Tengo una duda #{number}")
        await relay.inbox(phone, count=1 + number, wait_s=60)


async def everybody_talks(relay: Relay) -> None:
    async with trio.open_nursery() as nursery:
        for phone in PHONES:
            nursery.start_soon(talk, relay, phone)


async def assert_one_opening_and_three_answers_each(relay: Relay) -> None:
    for phone in PHONES:
        inbox = await relay.inbox(phone)
        assert inbox[0].startswith("¡Hola, Persona"), phone
        assert answers_in(inbox[1:]) == ["#1", "#2", "#3"], phone
        assert len(inbox) == 4, phone


async def test_fifty_calls_become_fifty_conversations(schema_url: str, tmp_path: Path) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_relay(schema_url, tmp_path) as relay:
            await relay.submit_batch(PHONES)
            await everybody_talks(relay)

            await assert_one_opening_and_three_answers_each(relay)
            status = await relay.status()
            assert {
                "inbound_pending": 0,
                "outbound_pending": 0,
                "outbound_in_doubt": 0,
                "dead_letters": 0,
            } == status["queues"]
            assert status["alerts"] == []
            assert 0 == await relay.stop_daemon()


async def test_a_kill_in_the_middle_changes_nothing(schema_url: str, tmp_path: Path) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_relay(schema_url, tmp_path) as relay, trio.open_nursery() as nursery:
            await relay.submit_batch(PHONES)
            nursery.start_soon(everybody_talks, relay)
            for answered in (10, 60, 110):
                await until_answered(relay, answered)
                relay.kill_daemon()
                await relay.start_daemon()

        # everybody_talks has ended: each customer has seen every answer
