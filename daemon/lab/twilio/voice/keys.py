"""Collecting what a person presses or says, for `<Gather>` and `<Record>`."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Final

import trio
from attrs import define, field

from daemon.lab.twilio.voice.ground import Ground
from daemon.lab.twilio.voice.legs import Leg

ALL_KEYS: Final = "1234567890*#"


@define(eq=False)
class Input:
    """What has come in while a leg was listened to.

    Attributes:
        digits: without the key that finished.
        speech: the words, once they have been said.
        finished: by a key that finishes, by enough digits, by speech.
    """

    finish_on: str
    digits_max: float
    takes_keys: bool = True
    takes_speech: bool = False
    digits: str = ""
    speech: str | None = None
    finish_key: str | None = None
    began: trio.Event = field(factory=trio.Event)
    finished: trio.Event = field(factory=trio.Event)
    changed: trio.Event = field(factory=trio.Event)
    _speaking: bool = False

    def press(self, key: str) -> None:
        if not self.takes_keys or self.finished.is_set():
            return
        if key in self.finish_on:
            self.finish_key = key
            self._finish()
            return
        self.digits += key
        self._note()
        if len(self.digits) >= self.digits_max:
            self._finish()

    def say(self, words: str | None) -> None:
        """The person begins to speak (None), or has said something."""
        if not self.takes_speech or self.finished.is_set():
            return
        self._speaking = words is None
        self.speech = words
        if words is None:
            self._note()
        else:
            self._finish()

    async def wait(self, ground: Ground, timeout_s: float) -> None:
        """Wait until it is finished, or until so much time has passed since the last key."""
        while not self.finished.is_set():
            self.changed = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_then_cancel, self.changed, nursery.cancel_scope)
                await ground.sleep(inf if self._speaking else timeout_s)
                nursery.cancel_scope.cancel(reason="nothing came")
            if not self.changed.is_set():
                return

    def _finish(self) -> None:
        self.finished.set()
        self._note()

    def _note(self) -> None:
        self.began.set()
        self.changed.set()


async def _then_cancel(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel(reason="it came")


@contextmanager
def listening(leg: Leg, heard: Input) -> Iterator[None]:
    """Have an input hear what the person on a leg presses and says."""
    leg.on_key, leg.on_speech = heard.press, heard.say
    try:
        yield
    finally:
        leg.on_key = leg.on_speech = None
