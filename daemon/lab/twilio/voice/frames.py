"""The frames of a media stream (Twilio docs: voice/media-streams/websocket-messages). Pure."""

import json
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field, frozen


@frozen
class Media:
    audio: bytes


@frozen
class Mark:
    name: str


@frozen
class Clear:
    pass


@frozen
class Nonsense:
    """A frame that Twilio cannot use."""

    sentence: str


def read_frame(text: str, stream_sid: str) -> Media | Mark | Clear | Nonsense:
    """A frame of the customer's server."""
    try:
        frame = json.loads(text)
        event = frame["event"]
        if frame.get("streamSid") != stream_sid:
            return Nonsense("streamSid is not this stream's")
        if event == "media":
            return Media(b64decode(frame["media"]["payload"], validate=True))
        if event == "mark":
            return Mark(str(frame["mark"]["name"]))
    except (ValueError, KeyError, TypeError, AttributeError, Base64Error):
        return Nonsense("not a frame of a media stream")
    return Clear() if event == "clear" else Nonsense(f"unknown event {event!r}")


@define(eq=False, kw_only=True)
class FrameWriter:
    """Writes one stream's frames, numbered as Twilio numbers them."""

    account_sid: str
    call_sid: str
    stream_sid: str
    _sequence: int = field(default=0, init=False)
    _chunks: dict[str, int] = field(factory=dict, init=False)

    def connected(self) -> str:
        return json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"})

    def start(self, tracks: Sequence[str], parameters: Mapping[str, str]) -> str:
        return self._frame(
            "start",
            {
                "accountSid": self.account_sid,
                "streamSid": self.stream_sid,
                "callSid": self.call_sid,
                "tracks": list(tracks),
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": dict(parameters),
            },
        )

    def media(self, track: str, timestamp_ms: int, audio: bytes) -> str:
        self._chunks[track] = self._chunks.get(track, 0) + 1
        return self._frame(
            "media",
            {
                "track": track,
                "chunk": str(self._chunks[track]),
                "timestamp": str(timestamp_ms),
                "payload": b64encode(audio).decode("ascii"),
            },
        )

    def dtmf(self, digit: str) -> str:
        return self._frame("dtmf", {"track": "inbound_track", "digit": digit})

    def mark(self, name: str) -> str:
        return self._frame("mark", {"name": name})

    def stop(self) -> str:
        return self._frame("stop", {"accountSid": self.account_sid, "callSid": self.call_sid})

    def _frame(self, event: str, body: dict[str, Any]) -> str:
        self._sequence += 1
        return json.dumps(
            {
                "event": event,
                "sequenceNumber": str(self._sequence),
                event: body,
                "streamSid": self.stream_sid,
            }
        )
