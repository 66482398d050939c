"""Answering machine detection (Twilio docs: voice/answering-machine-detection)."""

from functools import partial
from typing import Final

import trio
from attrs import define, field, frozen

from daemon.lab.twilio.voice.ground import Ground
from daemon.lab.twilio.voice.legs import Leg
from daemon.lab.twilio.voice.script import Answers

_AS_MACHINE: Final = {"Enable": "machine_start", "DetectMessageEnd": "machine_end_beep"}


@frozen(kw_only=True)
class Detection:
    """What was asked for.

    Attributes:
        mode: `Enable` or `DetectMessageEnd`.
        blocks: the call's document waits for the result, which goes into its request.
        url: who is told, when it does not block.
    """

    mode: str
    blocks: bool = False
    url: str | None = None
    method: str = "POST"


@define(eq=False)
class Detector:
    ground: Ground
    _results: dict[str, trio.Event] = field(factory=dict, init=False)

    def begin(self, leg: Leg, detection: Detection) -> None:
        """Wait for the answer, listen, and say who it was."""
        if detection.blocks:
            self._results[leg.sid] = trio.Event()
        self.ground.spawn(partial(self._watch, leg, detection), name=f"detection {leg.sid}")

    async def result(self, leg: Leg) -> None:
        """Wait until the result is there, on a leg whose document waits for it."""
        done = self._results.get(leg.sid)
        if done is not None:
            await done.wait()

    async def _watch(self, leg: Leg, detection: Detection) -> None:
        with leg.life():
            await leg.answered.wait()
            taken_s = self.ground.pace.amd_s + (self.ground.strikes_s("amd_late", 10.0) or 0.0)
            await self.ground.sleep(taken_s)
            if not leg.call.over:
                self._report(leg, detection, taken_s)
        done = self._results.pop(leg.sid, None)
        if done is not None:
            done.set()

    def _report(self, leg: Leg, detection: Detection, taken_s: float) -> None:
        wrong = self.ground.strikes("amd_wrong") is not None
        machine = leg.script is not None and leg.script.answers is Answers.MACHINE
        answered_by = _AS_MACHINE.get(detection.mode, "unknown") if machine != wrong else "human"
        leg.call.answered_by = answered_by
        if detection.blocks or detection.url is None:
            return
        fields = {
            "AccountSid": self.ground.account.sid,
            "AnsweredBy": answered_by,
            "CallSid": leg.call.shown_sid,
            "MachineDetectionDuration": str(round(taken_s * 1000)),
        }
        self.ground.call_back(
            detection.url, detection.method, fields, family="call_status", key=f"amd {leg.sid}"
        )
