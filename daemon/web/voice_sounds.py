"""What Twilio, and an advisor's telephone, fetch by GET: hold music, spoken sentences, recordings."""

import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from hashlib import sha256
from typing import Final, TypeAlias

from attrs import frozen
from quart import Response, request
from quart_trio import QuartTrio

from actors.live_call import paths
from actors.live_call.documents import Document, HoldMusic
from actors.live_call.ports import KeptRecording
from daemon.web.door import TwilioDoor, stored
from daemon.web.problem import HttpError

AUDIO: Final = "/voice/audio"
RECORDINGS: Final = "/voice/recordings"

_MUSIC_NAME: Final = re.compile(r"hold-music(-[0-9a-f]{16})?\.wav")
# A browser that opens a sound as a page of its own plays it on that page, which keeps the answer's policy.
_PLAYABLE: Final = "default-src 'none'; media-src 'self'; frame-ancestors 'none'"
_WAV: Final = "audio/wav"
_DAY_S: Final = 86_400

Sound: TypeAlias = bytes


def music_url(public_url: str, content: Sound) -> str:
    """Where Twilio finds this very music."""
    return f"{public_url}{AUDIO}/{music_name(content)}"


@lru_cache(maxsize=1)
def music_name(content: Sound) -> str:
    """The name of this very music: Twilio keeps a sound by its address for as long as it is told that it may."""
    return f"hold-music-{sha256(content).hexdigest()[:16]}.wav"


@frozen(kw_only=True)
class VoiceSounds:
    """Attributes:
    music: the file of the hold music, as it is now.
    speech: the file of a spoken sentence, by its name; None for a name that is none of ours.
    recording_of: the recording that a signed name stands for; None for a wrong or an old one.
    kept: a recording's sound.
    """

    door: TwilioDoor
    public_url: str
    write: Callable[[Document], str]
    music: Callable[[], Sound]
    speech: Callable[[str], Awaitable[Sound | None]]
    recording_of: Callable[[str], int | None]
    kept: Callable[[int], Awaitable[KeptRecording | None]]
    store_timeout_s: float

    def register(self, app: QuartTrio) -> None:
        app.add_url_rule(paths.HOLD_MUSIC, view_func=self.hold_music, methods=["GET", "POST"])
        app.add_url_rule(f"{AUDIO}/<name>", view_func=self.audio, methods=["GET"])
        app.add_url_rule(f"{RECORDINGS}/<name>", view_func=self.recording, methods=["GET"])

    async def hold_music(self) -> Response:
        """A document that loops the hold music, for waiting and for hold."""
        if request.method == "POST":
            await self.door.form(request)
        else:
            self.door.query(request)
        document = HoldMusic(music_url(self.public_url, self.music()))
        return Response(self.write(document), content_type="text/xml")

    async def audio(self, name: str) -> Response:
        """A sound of ours. Its name is not to be guessed, so that it needs no signature.

        By the name of hold music that has changed since, which is no secret, one has the present one, for once.
        """
        if _MUSIC_NAME.fullmatch(name):
            music = self.music()
            return _sound(music, _WAV, max_age_s=_DAY_S if name == music_name(music) else 0)
        file = await self.speech(name)
        if file is None:
            raise HttpError(status=404, code="unknown_sound", message="there is no such sound")
        return _sound(file, _WAV, max_age_s=_DAY_S)

    async def recording(self, name: str) -> Response:
        """What a caller has recorded, for who has the link, as long as it works."""
        recording_id = self.recording_of(name)
        found = None
        if recording_id is not None:
            found = await stored(self.kept(recording_id), timeout_s=self.store_timeout_s)
        if found is None:
            raise HttpError(status=404, code="unknown_recording", message="the link is wrong or has expired")
        return _playable(found.audio, found.content_type)


def _sound(content: bytes, content_type: str, *, max_age_s: int) -> Response:
    response = Response(content, content_type=content_type)
    response.headers["Cache-Control"] = f"private, max-age={max_age_s}" if max_age_s else "no-store"
    return response


def _playable(content: bytes, content_type: str) -> Response:
    """The whole, or the part that is asked for: a player on iOS asks for parts, and plays nothing that has none.

    Quart's own way fails at a part that is counted from the end. Several parts at once, and those of a version that
    the client knows, are answered with the whole (RFC 9110, sections 13.1.5 and 14.2).

    Raises:
        HttpError: 416 for a part that is not there.
    """
    wanted, length = request.range, len(content)
    begin, end = 0, length
    is_part = (
        wanted is not None
        and wanted.units == "bytes"
        and len(wanted.ranges) == 1
        and "If-Range" not in request.headers
    )
    if wanted is not None and is_part:
        first, stop = wanted.ranges[0]
        begin = first if first >= 0 else max(0, length + first)
        end = length if stop is None else min(stop, length)
        if begin >= end:
            raise HttpError(
                status=416,
                code="no_such_part",
                message=f"the recording has {length} bytes",
                headers={"Content-Range": f"bytes */{length}"},
            )
    response = _sound(content[begin:end], content_type, max_age_s=0)
    response.headers["Content-Security-Policy"] = _PLAYABLE
    response.headers["Accept-Ranges"] = "bytes"
    if is_part:
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {begin}-{end - 1}/{length}"
    return response
