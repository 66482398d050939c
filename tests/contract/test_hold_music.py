"""The company's hold music: any file a company has, from any server a company has, and a loop until then."""

import io
from collections.abc import AsyncIterator
from itertools import pairwise

import httpx
import numpy as np
import pytest
import soundfile
import trio
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from trio.testing import MockClock

from actors.alerts import Alerts
from actors.live_call.mixing import RATE_HZ, encode, wav
from daemon.lab.twilio.voice.mulaw import read_wav
from daemon.voice.hold_loop import RMS, hold_loop
from daemon.voice.music import HoldMusic, MusicError, MusicLimits, decode_music, fetch_music
from tests.contract.scripted_server import Step, Stream, answer, hang, reset, scripted
from tests.memory.clock import VirtualClock

LIMITS = MusicLimits(
    file_max_bytes=100_000, length_max_s=5.0, fetch_s=5.0, retry_first_s=0.01, retry_max_s=0.02
)
HZ = 500

Sound = NDArray[np.float64]


def tone(hz: float, *, rate_hz: int = RATE_HZ, seconds: float = 3.0, loudness: float = 0.1) -> Sound:
    places = np.arange(round(seconds * rate_hz))
    sine: Sound = loudness * np.sin(2 * np.pi * hz / rate_hz * places)
    return sine


def file(sound: Sound, *, rate_hz: int = RATE_HZ, form: str = "WAV", kind: str | None = None) -> bytes:
    target = io.BytesIO()
    soundfile.write(target, sound, rate_hz, format=form, subtype=kind)
    return target.getvalue()


def both(left: Sound, right: Sound) -> Sound:
    return np.column_stack([left, right])


def loudness_at(hz: float, sound: NDArray[np.int16]) -> float:
    """How loud a sine of that pitch is in it."""
    spectrum = np.abs(np.fft.rfft(sound)) * 2 / len(sound)
    place = round(hz * len(sound) / RATE_HZ)
    return float(np.sqrt(np.sum(spectrum[place - 2 : place + 3] ** 2)))


# --- a company's files ---

TONE_44 = tone(HZ, rate_hz=44_100)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(file(both(TONE_44, TONE_44), rate_hz=44_100), id="WAV 44.1 kHz stereo"),
        pytest.param(file(tone(HZ), kind="ULAW"), id="WAV mu-law"),
        pytest.param(file(tone(HZ), kind="ALAW"), id="WAV A-law"),
        pytest.param(file(tone(HZ, rate_hz=11_025), rate_hz=11_025, kind="PCM_U8"), id="WAV 8 bit"),
        pytest.param(file(tone(HZ, rate_hz=48_000), rate_hz=48_000, kind="PCM_24"), id="WAV 24 bit"),
        pytest.param(file(tone(HZ, rate_hz=96_000), rate_hz=96_000, kind="FLOAT"), id="WAV float"),
        pytest.param(file(TONE_44, rate_hz=44_100, form="MP3"), id="MP3"),
        pytest.param(file(both(TONE_44, TONE_44), rate_hz=44_100, form="MP3"), id="MP3 stereo"),
        pytest.param(file(tone(HZ, loudness=0.9)), id="loud"),
        pytest.param(file(tone(HZ, loudness=0.002)), id="soft"),
    ],
)
def test_every_usual_file_becomes_a_loop_as_loud_as_ours(data: bytes) -> None:
    loop = decode_music(data)

    assert loop.dtype == np.int16
    assert len(loop) / RATE_HZ == pytest.approx(3.0 - 0.05, abs=0.12)
    assert loudness_at(HZ, loop) == pytest.approx(RMS * 2**0.5, rel=0.05)


def test_both_channels_are_heard() -> None:
    loop = decode_music(file(both(tone(400), tone(800))))

    assert loudness_at(400, loop) == pytest.approx(RMS, rel=0.05)
    assert loudness_at(800, loop) == pytest.approx(RMS, rel=0.05)


def test_a_bass_that_no_telephone_carries_does_not_make_the_rest_quiet() -> None:
    loop = decode_music(file(tone(HZ) + tone(60, loudness=0.5)))

    assert loudness_at(HZ, loop) == pytest.approx(RMS * 2**0.5, rel=0.05)


def test_beats_are_not_cut_to_make_the_rest_louder() -> None:
    beats = tone(HZ, loudness=0.01)
    beats[8_000:8_050] *= 100
    loop = decode_music(file(beats))

    assert 28_000 < np.abs(loop.astype(np.int32)).max() <= 29_200


def test_going_round_makes_no_click() -> None:
    loop = decode_music(file(tone(301.7, seconds=2.345))).astype(np.int32)
    steps = np.abs(np.diff(loop))

    assert abs(loop[0] - loop[-1]) <= steps.max()
    assert steps[: RATE_HZ // 10].max() <= 1.1 * steps[RATE_HZ // 2 :].max()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no WAV or MP3"),
        (b"<!doctype html><title>404</title>", "no WAV or MP3"),
        (file(tone(HZ))[:30], "no WAV or MP3"),
        (file(np.zeros(3 * RATE_HZ)), "silent"),
        (file(tone(40)), "silent"),
        (file(both(tone(HZ), -tone(HZ))), "silent"),
        (file(tone(HZ, seconds=0.5)), "shorter than 1 s"),
        (file(tone(HZ, seconds=5.1)), "longer than 5 s"),
        (file(tone(HZ, seconds=5.1), form="MP3"), "longer than 5 s"),
        (file(np.full(3 * RATE_HZ, np.nan), kind="FLOAT"), "numbers"),
        (file(tone(HZ), rate_hz=1_000), "1000 samples a second"),
        (bytes(100_001), "larger than 100000 bytes"),
    ],
)
def test_what_cannot_be_played_is_refused_with_a_sentence(data: bytes, why: str) -> None:
    with pytest.raises(MusicError, match=why):
        decode_music(data, LIMITS)


WAV, MP3 = file(tone(HZ, seconds=1.5)), file(tone(HZ, seconds=1.5), form="MP3")


@given(
    st.sampled_from([WAV, MP3, b"RIFF", b"ID3", b""]),
    st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), max_size=20),
    st.integers(0, 10_000),
    st.binary(max_size=100),
)
def test_a_broken_file_is_music_or_refused(
    whole: bytes, scratches: list[tuple[int, int]], left: int, more: bytes
) -> None:
    scratched = bytearray(whole)
    for place, byte in scratches:
        if place < len(scratched):
            scratched[place] = byte
    try:
        loop = decode_music(bytes(scratched[:left] if left % 2 else scratched) + more, LIMITS)
    except MusicError:
        return
    assert len(loop) > 0


# --- our file ---


@pytest.mark.parametrize("length", [8_000, 8_001])
def test_a_file_for_twilio_is_what_others_read(length: int) -> None:
    samples = hold_loop()[:length]
    written = wav(encode(samples))
    read = soundfile.SoundFile(io.BytesIO(written))

    assert (read.format, read.subtype, read.samplerate, read.channels) == ("WAV", "ULAW", RATE_HZ, 1)
    assert read.frames == length
    assert read_wav(written) == encode(samples)
    assert len(written) % 2 == 0


# --- a company's servers ---


def sound(body: bytes, *, chunked: bool = False) -> Step:
    async def send(stream: Stream) -> None:
        head = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
        sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\n" + head + b"\r\n\r\n" + sent)

    return send


async def hang_after_head(stream: Stream) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\nRIFF")
    await trio.sleep_forever()


def elsewhere(location: str) -> Step:
    return answer(302, "moved", Location=location)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


@pytest.fixture
def alerts() -> Alerts:
    return Alerts(VirtualClock())


async def test_the_company_s_music_takes_the_place_of_the_loop(
    client: httpx.AsyncClient, alerts: Alerts
) -> None:
    async with scripted(sound(WAV)) as (script, origin), trio.open_nursery() as nursery:
        music = HoldMusic(url=f"{origin}/espera.wav?v=2", client=client, alerts=alerts, limits=LIMITS)
        assert music.samples is hold_loop()
        assert music.file == wav(encode(hold_loop()))
        await nursery.start(music.run)
        await music.arrived.wait()

        assert np.array_equal(music.samples, decode_music(WAV))
        assert music.file == wav(encode(music.samples))
        assert [(seen.path, seen.query) for seen in script.seen] == [("/espera.wav", {"v": ["2"]})]
        assert not alerts.standing
        nursery.cancel_scope.cancel()


async def test_it_is_tried_again_until_it_is_there_and_the_operator_knows_meanwhile(
    client: httpx.AsyncClient, alerts: Alerts
) -> None:
    standing: list[str] = []

    async def look(stream: Stream) -> None:
        standing.extend(alert.text for alert in alerts.standing)
        await sound(MP3)(stream)

    steps = (answer(404, "no"), sound(b"<html>soon</html>"), reset, look)
    async with scripted(*steps) as (script, origin), trio.open_nursery() as nursery:
        url = origin.replace("//", "//user:hunter2@") + "/espera.mp3?signature=secreta"
        music = HoldMusic(url=url, client=client, alerts=alerts, limits=LIMITS)
        await nursery.start(music.run)
        await music.arrived.wait()

        assert len(script.seen) == 4
        assert [text.partition(": ")[0] for text in standing] == [
            "callers on hold hear the built-in loop instead of the company's music"
        ]
        assert not any(secret in f"{standing} {music}" for secret in ("hunter2", "secreta"))
        assert not alerts.standing
        nursery.cancel_scope.cancel()


async def test_attempts_become_rarer(autojump_clock: MockClock, alerts: Alerts) -> None:
    asked_at: list[float] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        asked_at.append(trio.current_time())
        return httpx.Response(503)

    async with httpx.AsyncClient(transport=httpx.MockTransport(refuse)) as client:
        music = HoldMusic(url="http://music.test/a.wav", client=client, alerts=alerts)
        with trio.move_on_after(3_600):
            await music.run()

    pauses = [round(later - earlier) for earlier, later in pairwise(asked_at)]
    assert pauses == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]
    assert [alert.text.rpartition(": ")[2] for alert in alerts.standing] == ["music.test answers 503"]
    assert music.samples is hold_loop()


async def test_without_an_address_there_is_the_loop_and_nothing_to_fetch(
    autojump_clock: MockClock, alerts: Alerts, client: httpx.AsyncClient
) -> None:
    music = HoldMusic(url="", client=client, alerts=alerts)
    async with trio.open_nursery() as nursery:
        await nursery.start(music.run)
        await trio.sleep(3_600)
        nursery.cancel_scope.cancel()

    assert music.samples is hold_loop()
    assert not alerts.standing


async def test_a_supervisor_that_starts_it_again_fetches_nothing_twice(
    client: httpx.AsyncClient, alerts: Alerts
) -> None:
    async with scripted(sound(WAV)) as (script, origin):
        music = HoldMusic(url=origin, client=client, alerts=alerts, limits=LIMITS)
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                await nursery.start(music.run)
                await music.arrived.wait()
                nursery.cancel_scope.cancel()

        assert len(script.seen) == 1


@pytest.mark.parametrize("steps", [1, 3])
async def test_redirects_are_followed(client: httpx.AsyncClient, steps: int) -> None:
    hops = [elsewhere(f"/hop{number}") for number in range(steps)]
    async with scripted(*hops, sound(WAV)) as (script, origin):
        assert await fetch_music(f"{origin}/a", client=client, limits=LIMITS) == WAV
        assert script.seen[-1].path == f"/hop{steps - 1}"


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (answer(404, "no"), "127.0.0.1 answers 404"),
        (answer(204, ""), "answers 204"),
        (answer(500, "no"), "answers 500"),
        (sound(bytes(100_001)), "larger than 100000 bytes"),
        (sound(bytes(100_001), chunked=True), "larger than 100000 bytes"),
        (elsewhere("/again"), "one redirect too many"),
        (elsewhere("ftp://127.0.0.1/a.wav"), "only http and https"),
        (elsewhere("file:///etc/passwd"), "only http and https"),
        (elsewhere("http://127.0.0.1:port/"), "Invalid port"),
        (reset, "127.0.0.1: "),
    ],
)
async def test_a_server_that_has_no_music_is_told_of(client: httpx.AsyncClient, step: Step, why: str) -> None:
    async with scripted(step) as (_, origin):
        with pytest.raises(MusicError, match=why):
            await fetch_music(origin, client=client, limits=LIMITS)


async def radio(stream: Stream) -> None:
    """A station that never stops, and lets some time pass for each piece."""
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n")
    while True:
        await stream.send_all(bytes(10_000))
        await trio.sleep(0.001)


@pytest.mark.parametrize("step", [hang, hang_after_head, radio])
async def test_a_server_that_does_not_come_to_an_end_is_not_waited_for(
    client: httpx.AsyncClient, step: Step
) -> None:
    limits = MusicLimits(fetch_s=0.1, file_max_bytes=100_000)
    async with scripted(step) as (_, origin):
        with pytest.raises(MusicError, match="not send all"):
            await fetch_music(origin, client=client, limits=limits)


@pytest.mark.parametrize(
    "url", ["espera.wav", "file:///etc/passwd", "http://", "http://[::1", "http://127.0.0.1:1/a.wav"]
)
async def test_an_address_that_leads_nowhere_is_told_of(client: httpx.AsyncClient, url: str) -> None:
    with pytest.raises(MusicError):
        await fetch_music(url, client=client, limits=LIMITS)
