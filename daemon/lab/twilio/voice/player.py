"""Twilio's media player: what it says and plays to a leg, and how long that takes."""

import functools
from math import inf
from typing import Final

import trio
from attrs import define, field

from daemon.lab.twilio.deliveries import Answer
from daemon.lab.twilio.voice.audible import Clip, Kind, Part
from daemon.lab.twilio.voice.documents import Document, Documents
from daemon.lab.twilio.voice.ground import Ground
from daemon.lab.twilio.voice.legs import Fetch, Leg
from daemon.lab.twilio.voice.mulaw import NoSuchSoundError, read_wav, spoken_s, tone, voice
from daemon.lab.twilio.voice.room import Sheet
from daemon.lab.twilio.voice.twiml import MUSIC_VERBS, Verb

SAY_PITCH_HZ: Final = 300
OPERATOR_PITCH_HZ: Final = 350
MUSIC_PITCH_HZ: Final = 500
# Twilio's own, where nobody asked for another.
STOCK_MUSIC: Final = Clip(Kind.MUSIC, "twilio:music", tone(MUSIC_PITCH_HZ, 1.0))
APPLICATION_ERROR: Final = "We are sorry, an application error has occurred. Goodbye."
# An MP3 is not decoded: it sounds as a tone, as long as it would be at 128 kbit/s.
MP3_BYTES_PER_SECOND: Final = 16_000
SILENT_ROUNDS_MAX: Final = 10
DTMF: Final = Clip(Kind.TONE, "dtmf", tone(800, 0.2))


@functools.lru_cache(maxsize=32)
def _decoded(body: bytes, content_type: str) -> bytes:
    if content_type in {"audio/mpeg", "audio/mp3"}:
        return voice(len(body) / MP3_BYTES_PER_SECOND, MUSIC_PITCH_HZ)
    if content_type == "audio/basic":
        return body
    return read_wav(body)


@define(eq=False)
class MediaPlayer:
    """Plays to one of a leg's signals at a time. Cancelling a sound cuts it off."""

    ground: Ground
    documents: Documents
    _error: Clip = field(
        factory=lambda: spoken(APPLICATION_ERROR, Kind.OPERATOR, OPERATOR_PITCH_HZ), init=False
    )

    async def say(self, leg: Leg, text: str, loops: int = 1, *, part: Part = Part.PLAYER) -> None:
        self.ground.moments.tell("say", leg.sid, leg.number, text)
        await self.sound(leg, spoken(text, Kind.SAY, SAY_PITCH_HZ), loops, part=part)

    async def play(
        self, leg: Leg, url: str, loops: int = 1, *, part: Part = Part.PLAYER, kind: Kind = Kind.PLAY
    ) -> None:
        """Play what is at a URL; what cannot be had or read is passed over, and the debugger told."""
        answer = await self.documents.sound(url)
        if answer is None:
            return
        self.ground.moments.tell("play", leg.sid, leg.number, url)
        clip = self._read(leg, answer, url, kind)
        if clip is not None:
            await self.sound(leg, clip, loops, part=part)

    async def play_keys(self, leg: Leg, keys: str) -> None:
        """`digits` of a `<Play>`."""
        for key in keys:
            if key.lower() == "w":
                await self.ground.sleep(0.5)
            else:
                await self.sound(leg, DTMF)

    async def sound(self, leg: Leg, clip: Clip, loops: int = 1, *, part: Part = Part.PLAYER) -> None:
        """Play a clip; `loops` 0 has no end."""
        sounds = self.ground.sounds(leg.sid, part)
        endless = loops == 0 and bool(clip.audio)
        for _ in range(1 if endless else loops):
            sound = sounds.play(clip, self.ground.now_s, loops=endless)
            try:
                await self.ground.sleep(inf if endless else clip.length_s)
            except trio.Cancelled:
                sounds.stop(sound, self.ground.now_s)
                raise

    async def apologize(self, leg: Leg) -> None:
        """Twilio's voice on an application error, which no caller should ever hear."""
        self.ground.moments.tell("operator_voice", leg.sid, leg.number, APPLICATION_ERROR)
        await self.sound(leg, self._error)

    async def play_sheet(self, leg: Leg, sheet: Sheet, extra: dict[str, str]) -> None:
        """Waiting or hold music, until cancelled; when its verbs run out there is silence.

        Returns only when its URL could not be had.
        """
        if sheet.url is None:
            await self.sound(leg, STOCK_MUSIC, 0)
        elif sheet.url:
            document = await self._music(leg, Fetch(url=sheet.url, method=sheet.method, extra=extra))
            if document is None:
                return
            await self.perform(leg, document, extra, part=Part.PLAYER, kind=Kind.MUSIC)
        await trio.sleep_forever()

    async def announce(self, leg: Leg, sheet: Fetch) -> bool:
        """Play an announcement to somebody in a room; False when its URL could not be had."""
        document = await self._music(leg, sheet)
        if document is None:
            return False
        await self.perform(leg, document, dict(sheet.extra), part=Part.ANNOUNCEMENT, kind=Kind.PLAY)
        return True

    async def perform(
        self, leg: Leg, document: Document, extra: dict[str, str], *, part: Part, kind: Kind
    ) -> None:
        """Do what a document of `<Play> <Say> <Pause> <Redirect>` says, to its end."""
        silent = 0
        following: Document | None = document
        while following is not None and silent < SILENT_ROUNDS_MAX:
            document, following = following, None
            began_s = self.ground.now_s
            for verb in document.verbs:
                if verb.name == "Redirect":
                    url = document.link(verb.text)
                    following = await self._music(
                        leg, Fetch(url=url, method=verb.get("method", "POST"), extra=extra)
                    )
                    break
                await self.simple(leg, document, verb, part=part, kind=kind)
            silent = 0 if self.ground.now_s - began_s > 1.0 else silent + 1

    async def simple(
        self, leg: Leg, document: Document, verb: Verb, *, part: Part = Part.PLAYER, kind: Kind = Kind.PLAY
    ) -> None:
        """`<Say>`, `<Play>` or `<Pause>`."""
        loops = int(verb.number("loop", 1))
        if verb.name == "Say":
            await self.say(leg, verb.text, loops, part=part)
        elif verb.name == "Pause":
            await self.ground.sleep(verb.number("length", 1))
        elif verb.get("digits"):
            await self.play_keys(leg, verb.get("digits"))
        else:
            await self.play(leg, document.link(verb.text), loops, part=part, kind=kind)

    async def _music(self, leg: Leg, sheet: Fetch) -> Document | None:
        found = await self.documents.read_once(leg, sheet)
        if not isinstance(found, Document):
            return None
        strange = next((verb.name for verb in found.verbs if verb.name not in MUSIC_VERBS), None)
        if strange is not None:
            self.ground.complain(12200, sheet.url, f"<{strange}> is not allowed here", call_sid=leg.sid)
            return None
        return found

    def _read(self, leg: Leg, answer: Answer, url: str, kind: Kind) -> Clip | None:
        content_type = answer.content_type.partition(";")[0].strip().lower()
        try:
            return Clip(kind, url, _decoded(answer.body, content_type))
        except NoSuchSoundError as error:
            self.ground.complain(12300, url, str(error), call_sid=leg.sid)
            return None


def spoken(text: str, kind: Kind, pitch_hz: int, seconds: float | None = None) -> Clip:
    """A sound that stands for words; its label says which."""
    return Clip(kind, text, voice(spoken_s(text) if seconds is None else seconds, pitch_hz))
