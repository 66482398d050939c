"""`<Record>`, and the recordings it makes (Twilio docs: voice/twiml/record, voice/api/recording)."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from itertools import count
from typing import Any, Final

import trio
from attrs import define, field

from daemon.lab.twilio.sids import new_sid
from daemon.lab.twilio.voice.audible import Clip, Kind
from daemon.lab.twilio.voice.documents import Document, Documents
from daemon.lab.twilio.voice.exchange import Exchange
from daemon.lab.twilio.voice.ground import Ground, is_url
from daemon.lab.twilio.voice.keys import ALL_KEYS, Input, listening
from daemon.lab.twilio.voice.legs import Fetch, Leg, Program
from daemon.lab.twilio.voice.mulaw import FRAME_BYTES, RATE_HZ, is_loud, tone
from daemon.lab.twilio.voice.player import MediaPlayer
from daemon.lab.twilio.voice.twiml import Verb
from daemon.lab.twilio.voice.wiring import incoming
from daemon.lab.twilio.whatsapp.messages import rfc2822

BEEP: Final = Clip(Kind.TONE, "beep", tone(1000, 0.25))
LOOK_EVERY_S: Final = 0.1


@define(eq=False, kw_only=True)
class Recording:
    """What was recorded of a leg. `ready_s` is when its file can be fetched, by `LabClock.elapsed_s`."""

    call_sid: str
    started_at: datetime
    created_at: datetime
    audio: bytes = field(repr=False)
    ordinal: int
    ready_s: float
    sid: str = field(factory=lambda: new_sid("RE"))

    @property
    def duration_s(self) -> int:
        """Whole seconds; something recorded has at least one."""
        return max(1, round(len(self.audio) / RATE_HZ)) if self.audio else 0

    def as_resource(self, account_sid: str, origin: str) -> dict[str, Any]:
        """The Recording resource (Twilio OpenAPI: api.v2010.account.recording)."""
        path = f"/2010-04-01/Accounts/{account_sid}/Recordings/{self.sid}"
        return {
            "account_sid": account_sid,
            "api_version": "2010-04-01",
            "call_sid": self.call_sid,
            "channels": 1,
            "conference_sid": None,
            "date_created": rfc2822(self.created_at),
            "date_updated": rfc2822(self.created_at),
            "duration": str(self.duration_s),
            "encryption_details": None,
            "error_code": None,
            "media_url": f"{origin}{path}",
            "price": None,
            "price_unit": "USD",
            "sid": self.sid,
            "source": "RecordVerb",
            "start_time": rfc2822(self.started_at),
            "status": "completed",
            "subresource_uris": {"transcriptions": f"{path}/Transcriptions.json"},
            "uri": f"{path}.json",
        }


@define(eq=False)
class Recorder:
    """Records what comes in on a leg, and keeps it by SID."""

    ground: Ground
    exchange: Exchange
    documents: Documents
    player: MediaPlayer
    recordings: dict[str, Recording] = field(factory=dict, init=False)
    _ordinals: Iterator[int] = field(factory=count, init=False)

    async def record(self, leg: Leg, document: Document, verb: Verb) -> Program | None:
        """Record until silence, a key, the limit or a hang-up. Nothing recorded: the next verb, and no `action`."""
        if verb.flag("playBeep", default=True):
            await self.player.sound(leg, BEEP)
        began_s, began_at = self.ground.now_s, self.ground.clock.now()
        heard = Input(finish_on=verb.get("finishOnKey", ALL_KEYS), digits_max=float("inf"))
        self.ground.moments.tell("record", leg.sid, leg.number)
        wire = incoming(leg, self.exchange.legs)
        try:
            with listening(leg, heard):
                await self._until_over(leg, verb, heard, began_s)
        except trio.Cancelled:
            if leg.call.over:
                audio = self.ground.books.audible.mixed(wire, began_s, leg.call.ended_s or began_s)
                self._after_hang_up(leg, document, verb, self._keep(leg, verb, document, audio, began_at))
            raise
        audio = self.ground.books.audible.mixed(wire, began_s, self.ground.now_s)
        recording = self._keep(leg, verb, document, audio, began_at)
        if recording is None:
            return None
        return self._action(document, verb, recording, heard.finish_key or "")

    async def _until_over(self, leg: Leg, verb: Verb, heard: Input, began_s: float) -> None:
        """Until a key, the maximum length, or so much silence."""
        limit_s = began_s + verb.number("maxLength", 3600)
        silence_s = verb.number("timeout", 5)
        loud_s = at_s = began_s
        wire = incoming(leg, self.exchange.legs)
        while not heard.finished.is_set() and at_s < limit_s and at_s - loud_s < silence_s:
            await self.ground.sleep(LOOK_EVERY_S)
            before_s, at_s = at_s, self.ground.now_s
            if is_loud(self.ground.books.audible.mixed(wire, before_s, at_s)):
                loud_s = at_s

    def _keep(
        self, leg: Leg, verb: Verb, document: Document, audio: bytes, began_at: datetime
    ) -> Recording | None:
        """Make a recording of what was heard, and tell; None, and `absent`, when nothing was."""
        if not is_loud(audio):
            fields = {"RecordingStatus": "absent", "RecordingSid": new_sid("RE")}
            self._call_back(leg, document, verb, "absent", fields)
            return None
        if verb.get("trim", "trim-silence") == "trim-silence":
            audio = trimmed(audio)
        now_s = self.ground.now_s
        recording = Recording(
            call_sid=leg.call.shown_sid,
            started_at=began_at,
            created_at=self.ground.clock.now(),
            audio=audio,
            ordinal=next(self._ordinals),
            ready_s=now_s + (self.ground.strikes_s("recording_not_ready", 5.0) or 0.0),
        )
        self.recordings[recording.sid] = recording
        self.ground.moments.tell("recorded", leg.sid, leg.number, recording.sid)
        fields = {
            **self._fields(recording),
            "RecordingStatus": "completed",
            "RecordingChannels": "1",
            "RecordingSource": "RecordVerb",
            "RecordingStartTime": rfc2822(began_at) or "",
            "RecordingTrack": "inbound",
            "ErrorCode": "0",
        }
        self._call_back(leg, document, verb, "completed", fields)
        return recording

    def _call_back(
        self, leg: Leg, document: Document, verb: Verb, event: str, fields: Mapping[str, str]
    ) -> None:
        url = verb.get("recordingStatusCallback")
        if not url or event not in verb.get("recordingStatusCallbackEvent", "completed").split():
            return
        form = {"AccountSid": self.ground.account.sid, "CallSid": leg.call.shown_sid, **fields}
        send = partial(
            self.ground.call_back,
            document.link(url),
            verb.get("recordingStatusCallbackMethod", "POST"),
            form,
            family="recording_status",
            key=f"recording {leg.sid}",
        )
        self.ground.schedule.after(self.ground.pace.recording_s, send)

    def _fields(self, recording: Recording) -> dict[str, str]:
        path = f"/2010-04-01/Accounts/{self.ground.account.sid}/Recordings/{recording.sid}"
        return {
            "RecordingDuration": str(recording.duration_s),
            "RecordingSid": recording.sid,
            "RecordingUrl": f"{self.ground.account.public_url}{path}",
        }

    def _action(self, document: Document, verb: Verb, recording: Recording, digits: str) -> Fetch:
        """Without an `action` it is the document itself, which then begins again."""
        return Fetch(
            url=document.link(verb.get("action")),
            method=verb.get("method", "POST"),
            extra={**self._fields(recording), "Digits": digits},
        )

    def _after_hang_up(self, leg: Leg, document: Document, verb: Verb, recording: Recording | None) -> None:
        if recording is not None:
            action = self._action(document, verb, recording, "hangup")
            fields = {**leg.call.fields(self.ground.account.sid), **action.extra}
            if is_url(action.url):
                self.documents.post(action.url, action.method, fields)


def trimmed(audio: bytes) -> bytes:
    """Without the silence before and after."""
    frames = [audio[place : place + FRAME_BYTES] for place in range(0, len(audio), FRAME_BYTES)]
    loud = [place for place, frame in enumerate(frames) if is_loud(frame)]
    return b"".join(frames[loud[0] : loud[-1] + 1]) if loud else b""
