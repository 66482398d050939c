"""Live calls on real processes: undisturbed, and with the daemon killed in the middle."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import trio
from attrs import define

from daemon.lab.hearing import Window, what_sounded
from daemon.lab.twilio.voice.mulaw import read_wav
from tests.integration.relay import Relay, open_relay

CALLER = "+573001234567"
JESUS, LAURA = "+525599990001", "+525599990002"
LIMIT_S = 90
SILENCE_MAX_S = 10.0

SETTINGS = f"""
[transfer]
ring_timeout_s = 15
[[transfer.advisors]]
name = "Jesús Pérez"
phone = "{JESUS}"
[[transfer.advisors]]
name = "Laura Gómez"
phone = "{LAURA}"
topics = ["ventas"]
[voice]
sweep_every_s = 1
"""

pytestmark = pytest.mark.processes


@define
class Phone:
    """The caller's telephone, and what the lab knows of the call."""

    relay: Relay
    sid: str = ""

    async def call(self, *steps: dict[str, Any]) -> None:
        body = {"sender": CALLER, "script": {"steps": list(steps)}}
        self.sid = (await self.relay.post(f"{self.relay.twilio_lab}/calls", body))["sid"]

    async def answer_at(self, number: str, **script: Any) -> None:
        response = await self.relay.http.put(
            f"{self.relay.twilio_lab}/lines/{number}", json={"calls": [script]}
        )
        response.raise_for_status()

    async def hang_up(self) -> None:
        await self.relay.post(f"{self.relay.twilio_lab}/calls/{self.sid}/hangup")

    async def events(self) -> list[dict[str, Any]]:
        books = await self.relay.get(f"{self.relay.twilio_lab}/books/voice")
        events: list[dict[str, Any]] = books["entries"]
        return events

    async def until(self, name: str, number: str = "", *, count: int = 1) -> dict[str, Any]:
        """The n-th such event, once it has happened: the lab's books have no other way to tell."""
        while True:
            found = [e for e in await self.events() if e["name"] == name and number in e["number"]]
            if len(found) >= count:
                return found[count - 1]
            await trio.sleep(0.1)

    async def open_legs(self) -> list[str]:
        calls = await self.relay.get(f"{self.relay.twilio_lab}/calls")
        over = {"completed", "busy", "failed", "no-answer", "canceled"}
        return [call["sid"] for call in calls["calls"] if call["status"] not in over]

    async def sounded(self, from_s: float, to_s: float) -> Sequence[Window]:
        """What the caller heard, window by window, by its frequencies."""
        response = await self.relay.http.get(
            f"{self.relay.twilio_lab}/calls/{self.sid}/heard.wav", params={"from_s": from_s, "to_s": to_s}
        )
        response.raise_for_status()
        return what_sounded(read_wav(response.content))

    async def longest_silence_s(self, from_s: float) -> float:
        heard = await self.relay.get(f"{self.relay.twilio_lab}/calls/{self.sid}/heard", from_s=str(from_s))
        return float(heard["longest_silence_s"])

    async def until_nobody(self, within_s: float) -> None:
        with trio.fail_after(within_s):
            while await self.open_legs():  # noqa: ASYNC110 - the lab can only be asked
                await trio.sleep(0.1)


async def test_a_caller_reaches_an_advisor_and_goes_on_in_whatsapp(database: str, tmp_path: Path) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_relay(database, tmp_path, settings=SETTINGS) as relay:
            phone = Phone(relay)
            await phone.answer_at(
                JESUS,
                answer_after_s=7,
                steps=[{"at": "gather", "wait_s": 3, "press": "1"}, {"at": "joined", "say": "Buenas tardes"}],
            )
            await phone.call({"at": "started", "wait_s": 3.5, "say": "Quiero hablar con un asesor"})
            await phone.until("joined", JESUS)
            await phone.until("speech", JESUS)
            await agent_and_music_were_heard_together(phone)
            await phone.hang_up()
            await phone.until_nobody(5)
            [opening] = await relay.inbox(CALLER, count=1, wait_s=20)
            assert opening
            assert relay.log.count("Traceback") == 0


async def agent_and_music_were_heard_together(phone: Phone) -> None:
    """While the advisor's telephone rang: music all the time, and lower where the agent spoke over it."""
    ringing, answered = await phone.until("ringing", JESUS), await phone.until("answered", JESUS)
    # Faded in for 0.8 s, and the sound of a second is under way.
    windows = await phone.sounded(ringing["at_s"] + 1.5, answered["at_s"])
    together = [window.music for window in windows if window.has_voice and window.has_music]
    alone = [window.music for window in windows if not window.has_voice and window.has_music]
    assert len(together) > 5
    assert len(alone) > 5
    assert len(together) + len(alone) > 0.95 * len(windows)
    assert median(together) < 0.3 * median(alone)


@pytest.mark.parametrize("moment", ["ringing", "talking"])
async def test_a_killed_daemon_takes_its_calls_up_again(moment: str, database: str, tmp_path: Path) -> None:
    with trio.fail_after(LIMIT_S):
        async with open_relay(database, tmp_path, settings=SETTINGS) as relay:
            phone = Phone(relay)
            await phone.answer_at(JESUS, answers="silent")
            await phone.call({"at": "started", "wait_s": 3.5, "say": "Quiero hablar con un asesor"})
            if moment == "ringing":
                await phone.until("ringing", JESUS)
            else:
                await phone.until("agent_said", "agent")
            killed = (await phone.events())[-1]
            relay.kill_daemon()
            await relay.start_daemon()
            await phone.until("stream", count=2)
            await phone.until("agent_speaks", count=3 if moment == "ringing" else 2)
            await trio.sleep(1)
            assert await phone.longest_silence_s(killed["at_s"]) < SILENCE_MAX_S
            await phone.hang_up()
            await phone.until_nobody(15)
            assert relay.log.count("Traceback") == 0
