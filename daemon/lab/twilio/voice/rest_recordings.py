"""`/Recordings`: what `<Record>` made, and its sound (Twilio OpenAPI: api_v2010)."""

from typing import Any, Final

from attrs import define
from quart import Blueprint, Response

from daemon.lab.twilio.errors import not_found
from daemon.lab.twilio.paging import page
from daemon.lab.twilio.rest import Asked, Edge, Reply
from daemon.lab.twilio.voice.ground import Ground
from daemon.lab.twilio.voice.mulaw import RATE_HZ, wav
from daemon.lab.twilio.voice.recorder import Recorder, Recording

# An empty MPEG-1 layer III frame: 128 kbit/s, 44.1 kHz, 26.1 ms of silence. Nothing here can encode a true one.
MP3_FRAME: Final = bytes.fromhex("fffb9064") + bytes(413)
MP3_FRAME_S: Final = 1152 / 44_100


@define(eq=False)
class RecordingRoutes:
    """Recordings. An MP3 has the right length and is silent; a WAV holds what was said."""

    ground: Ground
    recorder: Recorder

    def list(self, asked: Asked) -> Reply:
        call_sid = asked.query.get("CallSid")
        found = [
            recording
            for recording in reversed(self.recorder.recordings.values())
            if call_sid in {None, recording.call_sid}
        ]
        return page(asked, "recordings", found, ordinal=lambda one: one.ordinal, show=self._resource)

    def fetch(self, asked: Asked, sid: str) -> Reply:
        return Reply(body=self._resource(self._recording(asked, sid)))

    def sound(self, asked: Asked, sid: str, kind: str) -> Reply:
        recording = self._recording(asked, sid)
        if recording.ready_s > self.ground.now_s:
            raise not_found(asked.path)
        if kind == "mp3":
            frames = round(len(recording.audio) / RATE_HZ / MP3_FRAME_S)
            return Reply(file=(MP3_FRAME * max(1, frames), "audio/mpeg"))
        return Reply(file=(wav(recording.audio), "audio/x-wav"))

    def delete(self, asked: Asked, sid: str) -> Reply:
        del self.recorder.recordings[self._recording(asked, sid).sid]
        return Reply(status=204)

    def _recording(self, asked: Asked, sid: str) -> Recording:
        recording = self.recorder.recordings.get(sid)
        if recording is None:
            raise not_found(asked.path)
        return recording

    def _resource(self, recording: Recording) -> dict[str, Any]:
        account = self.ground.account
        return recording.as_resource(account.sid, account.public_url)


def recording_blueprint(edge: Edge, routes: RecordingRoutes) -> Blueprint:
    blueprint = Blueprint("recordings", __name__)
    recordings = "/2010-04-01/Accounts/<account_sid>/Recordings"

    @blueprint.get(f"{recordings}.json")
    async def list_recordings(account_sid: str) -> Response:
        return await edge.answer("recording.list", account_sid, routes.list)

    @blueprint.get(f"{recordings}/<sid>.json")
    async def fetch(account_sid: str, sid: str) -> Response:
        return await edge.answer("recording.fetch", account_sid, lambda asked: routes.fetch(asked, sid))

    @blueprint.delete(f"{recordings}/<sid>.json")
    async def delete(account_sid: str, sid: str) -> Response:
        return await edge.answer("recording.delete", account_sid, lambda asked: routes.delete(asked, sid))

    @blueprint.get(f"{recordings}/<sid>")
    async def sound(account_sid: str, sid: str) -> Response:
        name, _, kind = sid.partition(".")
        return await edge.answer(
            "recording.media", account_sid, lambda asked: routes.sound(asked, name, kind)
        )

    return blueprint
