"""The frames of a media stream, both ways (Twilio docs: voice/media-streams/websocket-messages). Pure.

A call brings fifty frames of sound a second, and any other frame now and then: those of sound are read past JSON where
their shape allows.
"""

import json
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from attrs import define, field, frozen


@frozen
class Connected:
    """The first frame; says nothing about the call."""


@frozen(kw_only=True)
class Started:
    """Attributes:
    parameters: the `<Parameter>`s of the stream's document, those that are text.
    """

    stream_sid: str
    call_sid: str
    parameters: Mapping[str, str] = field(repr=False)


@frozen
class Media:
    """The next piece of what the leg's own side says, mu-law 8 kHz; normally 20 ms."""

    audio: bytes


@frozen
class Key:
    digit: str


@frozen
class Mark:
    """What was sent before the mark of this name has been played, or was cleared."""

    name: str


@frozen
class Stopped:
    """The stream is over: the call has ended, or was given other orders."""


@frozen
class Nonsense:
    """A frame that breaks the format; what it broke, without what stood there."""

    sentence: str


Frame: TypeAlias = Connected | Started | Media | Key | Mark | Stopped | Nonsense

# --- From Twilio --------------------------------------------------------------------------------------


def read(text: str) -> Frame | None:
    """Read one frame. None for events that are not known, and for sound of the other side. Never raises."""
    return _plain_media(text) or _read(text)


# Sound as it always comes: numbers are strings, and nothing is escaped. With and without blanks.
_MEDIA_HEAD: Final = re.compile(
    r'\{"event": ?"media", ?"sequenceNumber": ?"[0-9]+", ?"media": ?\{"track": ?"inbound", ?"chunk": ?"[0-9]+",'
    r' ?"timestamp": ?"[0-9]+", ?"payload": ?"'
)
_MEDIA_TAIL: Final = re.compile(r'"\}, ?"streamSid": ?"[A-Za-z0-9]*"\}')


def _plain_media(text: str) -> Media | None:
    """None for what the whole reader is to look at."""
    head = _MEDIA_HEAD.match(text)
    if head is None:
        return None
    begin = head.end()
    end = text.find('"', begin)
    if end < 0 or _MEDIA_TAIL.fullmatch(text, end) is None:
        return None
    try:
        # Strict, so that a character which JSON would have to unescape is none of base64's either.
        return Media(a2b_base64(text[begin:end], strict_mode=True))
    except ValueError:
        return None


def _read(text: str) -> Frame | None:
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        return Nonsense("no JSON")
    if not isinstance(frame, dict):
        return Nonsense("no object")
    event = frame.get("event")
    if not isinstance(event, str):
        return Nonsense("no event")
    if event not in _READERS:
        return None
    body = frame.get(event)
    return _READERS[event](body if isinstance(body, dict) else {}, frame)


def _started(body: dict[str, Any], frame: dict[str, Any]) -> Frame:
    stream_sid = body.get("streamSid") or frame.get("streamSid")
    call_sid = body.get("callSid")
    if not isinstance(stream_sid, str) or not isinstance(call_sid, str) or not stream_sid or not call_sid:
        return Nonsense("a start without streamSid or callSid")
    sound = body.get("mediaFormat")
    if isinstance(sound, dict) and _format_of(sound) != ("audio/x-mulaw", "8000", "1"):
        return Nonsense("a start with another mediaFormat than mu-law 8000 mono")
    given = body.get("customParameters")
    parameters = given.items() if isinstance(given, dict) else ()
    return Started(
        stream_sid=stream_sid,
        call_sid=call_sid,
        parameters={name: value for name, value in parameters if isinstance(value, str)},
    )


def _format_of(sound: dict[str, Any]) -> tuple[str, str, str]:
    return str(sound.get("encoding")), str(sound.get("sampleRate")), str(sound.get("channels"))


def _media(body: dict[str, Any], _: dict[str, Any]) -> Frame | None:
    if body.get("track", "inbound") != "inbound":
        return None
    payload = body.get("payload")
    if not isinstance(payload, str):
        return Nonsense("media without payload")
    try:
        return Media(a2b_base64(payload, strict_mode=True))
    except ValueError:
        return Nonsense("media whose payload is no base64")


def _key(body: dict[str, Any], _: dict[str, Any]) -> Frame:
    digit = body.get("digit")
    return Key(digit) if isinstance(digit, str) and digit else Nonsense("dtmf without digit")


def _mark(body: dict[str, Any], _: dict[str, Any]) -> Frame:
    name = body.get("name")
    return Mark(name) if isinstance(name, str) else Nonsense("mark without name")


_READERS: Final[Mapping[str, Callable[[dict[str, Any], dict[str, Any]], Frame | None]]] = {
    "connected": lambda _body, _frame: Connected(),
    "start": _started,
    "media": _media,
    "dtmf": _key,
    "mark": _mark,
    "stop": lambda _body, _frame: Stopped(),
}

# --- To Twilio ----------------------------------------------------------------------------------------

MEDIA_START: Final = '{"event":"media"'
"""How a frame of sound begins that this writes, and no other."""


@define(eq=False)
class FrameWriter:
    """Writes the frames of one stream."""

    stream_sid: str
    _media_head: str = field(init=False)
    _clear: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        sid = json.dumps(self.stream_sid)
        self._media_head = f'{{"event":"media","streamSid":{sid},"media":{{"payload":"'
        self._clear = f'{{"event":"clear","streamSid":{sid}}}'

    def media(self, audio: bytes) -> str:
        """Sound to be played after all that was sent before: mu-law 8 kHz, of any length."""
        return self._media_head + b2a_base64(audio, newline=False).decode("ascii") + '"}}'

    def mark(self, name: str) -> str:
        """To be told when everything sent before has been played: the same name comes back."""
        return json.dumps({"event": "mark", "streamSid": self.stream_sid, "mark": {"name": name}})

    def clear(self) -> str:
        """Drop what was not played yet. All marks that wait for it come back at once."""
        return self._clear
