"""The persons at the telephones, doing what their scripts say."""

from functools import partial
from typing import Final

import trio
from attrs import define, evolve

from daemon.lab.spoken import Spoken
from daemon.lab.twilio.voice.audible import Clip, Kind
from daemon.lab.twilio.voice.calls import CallStatus, Direction
from daemon.lab.twilio.voice.exchange import Exchange
from daemon.lab.twilio.voice.ground import Ground
from daemon.lab.twilio.voice.legs import Leg
from daemon.lab.twilio.voice.moments import read_wish
from daemon.lab.twilio.voice.mulaw import tone
from daemon.lab.twilio.voice.player import spoken
from daemon.lab.twilio.voice.script import MACHINE_RECORDS_S, Answers, Script, Step

PERSON_PITCH_HZ: Final = 200
BETWEEN_KEYS_S: Final = 0.1
KEY_PAUSE_S: Final = 0.5
MACHINE_BEEP: Final = Clip(Kind.TONE, "machine beep", tone(1000, 0.4))


@define(eq=False)
class People:
    """Plays the person at a leg's other end. A person's task ends with the call."""

    ground: Ground
    exchange: Exchange
    spoken: Spoken

    async def attend(self, leg: Leg) -> None:
        """Everything one person does in one call, from the first ring or from dialling."""
        script = leg.script or Script()
        with leg.life():
            began = self.ground.moments.last
            if leg.call.direction is not Direction.INBOUND:
                began = await self._pick_up(leg, script)
            async with trio.open_nursery() as nursery:
                if script.hang_up_after_s is not None:
                    nursery.start_soon(self._leave_after, leg, script.hang_up_after_s)
                if script.answers is Answers.MACHINE:
                    await self._greet(leg, script)
                await self._act(leg, script, began)
                await trio.sleep_forever()

    def say(self, leg: Leg, words: str, seconds: float | None = None) -> float:
        """Have the person say something now; gives how long it takes."""
        sound = spoken(words, Kind.SPEECH, PERSON_PITCH_HZ, seconds)
        clip = evolve(sound, audio=self.spoken.say(words, sound.audio))
        self.exchange.speak(leg, clip)
        return clip.length_s

    async def press(self, leg: Leg, keys: str) -> None:
        for key in keys:
            if key.lower() == "w":
                await self.ground.sleep(KEY_PAUSE_S)
            else:
                self.exchange.press(leg, key)
                await self.ground.sleep(BETWEEN_KEYS_S)

    async def _pick_up(self, leg: Leg, script: Script) -> int:
        """Let it ring and answer, or not; gives the moment from which the steps count."""
        if script.answer_at is not None:
            await self.ground.moments.wait(read_wish(script.answer_at), leg.sid, after=leg.born)
        await self.ground.sleep(script.answer_after_s)
        if script.answers in {Answers.BUSY, Answers.REFUSING}:
            self.exchange.end(leg, CallStatus.BUSY, sip_code=486 if script.answers is Answers.BUSY else 603)
        elif script.answers is Answers.SILENT:
            await trio.sleep_forever()
        before = self.ground.moments.last
        self.exchange.answer(leg)
        return before

    async def _act(self, leg: Leg, script: Script, began: int) -> None:
        cursor = began
        for step in script.steps:
            if step.at is not None:
                cursor = await self.ground.moments.wait(read_wish(step.at), leg.sid, after=cursor)
            await self.ground.sleep(step.wait_s)
            await self._do(leg, step)

    async def _do(self, leg: Leg, step: Step) -> None:
        if step.say is not None:
            await self.ground.sleep(self.say(leg, step.say, step.say_s))
        if step.press is not None:
            await self.press(leg, step.press)
        if step.hang_up:
            self.exchange.hang_up(leg)

    async def _greet(self, leg: Leg, script: Script) -> None:
        await self.ground.sleep(self.say(leg, script.greeting))
        self.exchange.speak(leg, MACHINE_BEEP)
        if script.hang_up_after_s is None:
            self.ground.schedule.after(MACHINE_RECORDS_S, partial(self.exchange.hang_up, leg))

    async def _leave_after(self, leg: Leg, seconds: float) -> None:
        await leg.answered.wait()
        await self.ground.sleep(seconds)
        self.exchange.hang_up(leg)
