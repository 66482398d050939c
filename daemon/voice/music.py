"""The company's hold music: fetched from its URL, made fit for a telephone, and until then the daemon's own loop."""

import io
from typing import Final
from urllib.parse import urlsplit

import httpx
import numpy as np
import soundfile
import soxr
import structlog
import trio
from attrs import define, field, frozen
from numpy.typing import NDArray
from typing_extensions import override

from actors.alerts import Alerts
from actors.live_call.mixing import RATE_HZ, encode, wav
from actors.runtime.backoff import doubling_s
from daemon.voice.hold_loop import BAND_HZ, RMS, hold_loop

_log = structlog.get_logger(__name__)

_ALERT: Final = "hold_music"
_REDIRECTS_MAX: Final = 3
_SHORTEST_S: Final = 1.0
_SEAM_SAMPLES: Final = RATE_HZ // 20
_RATES_HZ: Final = range(2_000, 384_001)
# Of 16 bits: 1 dB below the loudest, and a level at which nobody knows that music is playing.
_PEAK_MAX: Final = 29_200.0
_RMS_MIN: Final = 33.0
_FULL_SCALE: Final = 32_768.0
_READ_VALUES: Final = 2**18
_WINDOW_SAMPLES: Final = 1_024


class MusicError(Exception):
    """The company's music cannot be had or used. The sentence is for the operator and names no path or password."""


@frozen(kw_only=True)
class MusicLimits:
    """What the company's music may take.

    Attributes:
        file_max_bytes: of the file, as it lies there.
        length_max_s: of the sound; in memory a second takes 24 KB.
        fetch_s: for one attempt, from the first redirect to the last byte.
        retry_first_s: pause after the first attempt in vain, which doubles from one to the next.
        retry_max_s: the longest pause.
    """

    file_max_bytes: int = 32 * 1024 * 1024
    length_max_s: float = 600.0
    fetch_s: float = 60.0
    retry_first_s: float = 5.0
    retry_max_s: float = 900.0


@define(eq=False, kw_only=True)
class HoldMusic:
    """What a caller hears while a phone rings.

    Attributes:
        url: of the company's music; empty: the loop that ships with the daemon.
        client: shared; made and closed by whoever passes it in.
        samples: the loop, and the company's music as soon as it is there. Whoever plays it keeps what he took.
        file: the same as a WAV file, for `<Play>`.
        arrived: set once the company's music is there.
    """

    url: str = field(repr=False)
    client: httpx.AsyncClient
    alerts: Alerts
    limits: MusicLimits = field(factory=MusicLimits)
    samples: NDArray[np.int16] = field(factory=hold_loop, init=False, repr=False)
    file: bytes = field(init=False, repr=False)
    arrived: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self.file = wav(encode(self.samples))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled; tries again for as long as the music cannot be had, and has nothing to do after that."""
        task_status.started()
        failures = 0
        while self.url and not self.arrived.is_set():
            with self.alerts.while_failing(
                _ALERT, "callers on hold hear the built-in loop instead of the company's music", MusicError
            ):
                await self._load()
            if not self.arrived.is_set():
                limits = self.limits
                await trio.sleep(doubling_s(limits.retry_first_s, failures, max_s=limits.retry_max_s))
                failures += 1
        await trio.sleep_forever()

    async def _load(self) -> None:
        data = await fetch_music(self.url, client=self.client, limits=self.limits)
        # Pure work: when the daemon goes, nobody waits for it.
        self.samples, self.file = await trio.to_thread.run_sync(
            _decoded, data, self.limits, abandon_on_cancel=True
        )
        self.arrived.set()
        _log.info("hold music is there", seconds=round(len(self.samples) / RATE_HZ, 1))


def _decoded(data: bytes, limits: MusicLimits) -> tuple[NDArray[np.int16], bytes]:
    samples = decode_music(data, limits)
    return samples, wav(encode(samples))


# --- fetching ---


async def fetch_music(url: str, *, client: httpx.AsyncClient, limits: MusicLimits) -> bytes:
    """The file that stands there; up to three redirects are followed, to http and https alone.

    Raises:
        MusicError: there is none, it is too large, or it does not come in time.
    """
    try:
        with trio.fail_after(limits.fetch_s):
            for _ in range(_REDIRECTS_MAX + 1):
                answer = await _ask(url, client=client, limits=limits)
                if isinstance(answer, bytes):
                    return answer
                url = answer
    except trio.TooSlowError:
        raise MusicError(f"{_host(url)} did not send all of it within {limits.fetch_s:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise MusicError(f"{_host(url)}: {str(error) or type(error).__name__}") from error
    raise MusicError(f"{_host(url)} is one redirect too many")


async def _ask(url: str, *, client: httpx.AsyncClient, limits: MusicLimits) -> bytes | str:
    """What stands there, or the URL at which to look instead."""
    if not url.lower().startswith(("http://", "https://")):
        raise MusicError("only http and https addresses are fetched")
    headers = {"Accept": "audio/*", "Accept-Encoding": "identity"}
    async with client.stream(
        "GET", url, headers=headers, timeout=limits.fetch_s, follow_redirects=False
    ) as response:
        if response.has_redirect_location:
            return str(response.url.join(response.headers["Location"]))
        if response.status_code != httpx.codes.OK:
            raise MusicError(f"{_host(url)} answers {response.status_code}")
        body = await _body(response, limits.file_max_bytes)
    if body is None:
        raise MusicError(f"the file is larger than {limits.file_max_bytes} bytes")
    return body


async def _body(response: httpx.Response, max_bytes: int) -> bytes | None:
    """The file; None when it is longer, from the head if that tells. Otherwise what is too much is let go by, since
    httpx's generators do not take being left early; the deadline bounds that, for a radio station too.
    """
    told = response.headers.get("Content-Length", "")
    if told.isdecimal() and int(told) > max_bytes:
        return None
    body = bytearray()
    async for chunk in response.aiter_bytes():
        if len(body) <= max_bytes:
            body += chunk
    return bytes(body) if len(body) <= max_bytes else None


def _host(url: str) -> str:
    """The rest of a URL may hold a password or a signature."""
    try:
        return urlsplit(url).hostname or "the address"
    except ValueError:
        return "the address"


# --- decoding ---


class _File(io.BytesIO):
    """A broken file has places before its beginning. From inside libsndfile nothing can be raised, and it sees by
    where it gets that there is no such place.
    """

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


def decode_music(data: bytes, limits: MusicLimits | None = None) -> NDArray[np.int16]:
    """A loop for a telephone: 8,000 samples a second, as loud as the daemon's own, its end blended into its beginning.

    Takes WAV of any rate, PCM or mu-law, and MP3 (and what else libsndfile reads), with any number of channels.
    Ten minutes of music take two or three seconds, so it belongs in a thread.

    Raises:
        MusicError: it is no sound, a broken one, silent, shorter than a second, or longer or larger than allowed.
    """
    limits = limits or MusicLimits()
    if len(data) > limits.file_max_bytes:
        raise MusicError(f"the file is larger than {limits.file_max_bytes} bytes")
    try:
        with soundfile.SoundFile(_File(data)) as file, np.errstate(over="ignore", invalid="ignore"):
            sound = _mono(file, limits)
    except soundfile.LibsndfileError as error:
        raise MusicError(f"the file is no WAV or MP3 that can be read: {error.error_string}") from error
    if len(sound) < _SHORTEST_S * RATE_HZ:
        raise MusicError(f"the music is shorter than {_SHORTEST_S:g} s")
    return _looped(np.rint(sound * _factor(sound)).astype(np.int16))


def _mono(file: soundfile.SoundFile, limits: MusicLimits) -> NDArray[np.float32]:
    """One channel at our rate, 1.0 the loudest; read piece by piece, whatever the file says of its own length."""
    rate_hz = file.samplerate
    if rate_hz not in _RATES_HZ:
        raise MusicError(f"{rate_hz} samples a second are no music's")
    resampled = soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="float32")
    pieces: list[NDArray[np.float32]] = []
    left = int(limits.length_max_s * rate_hz)
    is_last = False
    while not is_last:
        piece = file.read(max(1, _READ_VALUES // file.channels), dtype="float32", always_2d=True)
        is_last = not len(piece)
        left -= len(piece)
        if left < 0:
            raise MusicError(f"the music is longer than {limits.length_max_s:g} s")
        pieces.append(resampled.resample_chunk(piece.mean(axis=1), last=is_last))
    return np.concatenate(pieces)


def _factor(sound: NDArray[np.float32]) -> float:
    """From 1.0 for the loudest to 16 bits at the loop's loudness; less where peaks would be cut."""
    peak = float(np.abs(sound).max())
    if not np.isfinite(peak):
        raise MusicError("the file holds numbers that are no sound")
    rms = _audible_rms(sound)
    if rms * _FULL_SCALE < _RMS_MIN:
        raise MusicError("the music is silent, or has nothing that a telephone carries")
    return min(RMS / rms, _PEAK_MAX / peak)


def _audible_rms(sound: NDArray[np.float32]) -> float:
    """Loudness in the telephone's band: a bass that nobody will hear must not make the rest quiet."""
    moments = sound[: len(sound) // _WINDOW_SAMPLES * _WINDOW_SAMPLES].reshape(-1, _WINDOW_SAMPLES)
    hz = np.fft.rfftfreq(_WINDOW_SAMPLES, 1 / RATE_HZ)
    carried = (hz >= BAND_HZ[0]) & (hz <= BAND_HZ[1])
    # Without a window the bass would leak into the band.
    window = np.hanning(_WINDOW_SAMPLES)
    energies = [float(np.sum(np.abs(np.fft.rfft(moment * window)[carried]) ** 2)) for moment in moments]
    # Parseval: energy is twice that of the positive frequencies, over the length, less what the window took.
    return float(np.sqrt(2 * np.mean(energies) / (_WINDOW_SAMPLES * np.sum(window**2))))


def _looped(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    """Its last moment is laid over its first, so that going round makes no click."""
    body, tail = samples[:-_SEAM_SAMPLES], samples[-_SEAM_SAMPLES:]
    coming = np.linspace(0, 1, _SEAM_SAMPLES)
    loop = body.copy()
    loop[:_SEAM_SAMPLES] = np.rint(body[:_SEAM_SAMPLES] * coming + tail * (1 - coming)).astype(np.int16)
    loop.flags.writeable = False
    return loop
