"""The agent's voice outside of its sessions: the sound, its name, its cache, and every way not to have it."""

import os
import stat
import struct
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from attrs import define, field
from trio.testing import MockClock
from typing_extensions import override

from actors.alerts import Alerts
from actors.live_call.mixing import wav
from actors.live_call.voice import Voice
from daemon.clock import SystemClock
from daemon.elevenlabs.rest import RestApi
from daemon.elevenlabs.sound_files import SoundFiles
from daemon.elevenlabs.speech import Speech
from daemon.lab.elevenlabs.app import ElevenLabsLab
from daemon.lab.twilio.voice.mulaw import NoSuchSoundError, read_wav
from tests.contract.lab_elevenlabs import KEY, agent_body, served_lab

AGENT = {
    "conversation_config": {
        "agent": {"language": "es"},
        "tts": {"voice_id": "voz/1", "model_id": "eleven_flash_v2_5"},
    }
}
SOUND = bytes(range(256)) * 4
TEXT = "Le comunico con Laura."


async def at_once(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=SOUND)


@define
class Studio:
    """ElevenLabs as far as it speaks, behind httpx.

    Attributes:
        speak: answers requests for speech; may hold them.
    """

    speak: Callable[[httpx.Request], Awaitable[httpx.Response]] = at_once
    agent: httpx.Response = field(factory=lambda: httpx.Response(200, json=AGENT))
    asked_who: int = 0
    said: list[httpx.Request] = field(factory=list)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            self.asked_who += 1
            return self.agent
        self.said.append(request)
        return await self.speak(request)


def speech_of(studio: Studio, folder: Path, **options: Any) -> Speech:
    client = httpx.AsyncClient(transport=httpx.MockTransport(studio.answer))
    api = RestApi(
        client=client, base_url="http://eleven.test", api_key=KEY, timeout_s=10, answer_max_bytes=2**20
    )
    return Speech(
        api=api, agent_id="agent_1", folder=folder / "speech", alerts=Alerts(SystemClock()), **options
    )


async def name_of(speech: Voice, text: str = TEXT, *, within_s: float = 10) -> str:
    name = await speech.audio_for(text, within_s=within_s)
    assert name is not None
    return name


def alerts_of(speech: Speech) -> set[str]:
    return {alert.key for alert in speech.alerts.standing}


# --- The sound ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("audio", [b"\xff", SOUND, SOUND[:-1]])
def test_a_file_holds_mulaw_untouched_and_says_so(audio: bytes) -> None:
    file = wav(audio)

    assert read_wav(file) == audio
    assert file[:4] == b"RIFF"
    assert struct.unpack_from("<I", file, 4)[0] == len(file) - 8
    # WAVE format 7, mono, 8 kHz, 8 bits.
    assert struct.unpack_from("<HHIIHH", file, 20) == (7, 1, 8000, 8000, 1, 8)


async def test_a_sentence_is_asked_for_in_the_agents_voice_and_in_telephone_sound(tmp_path: Path) -> None:
    studio = Studio()
    speech = speech_of(studio, tmp_path)

    name = await name_of(speech, f"  {TEXT}\n")

    (request,) = studio.said
    assert request.url.raw_path == b"/v1/text-to-speech/voz%2F1?output_format=ulaw_8000"
    assert request.headers["xi-api-key"] == KEY
    assert (
        request.read()
        == httpx.Request(
            "POST", "http://x", json={"text": TEXT, "model_id": "eleven_flash_v2_5", "language_code": "es"}
        ).read()
    )
    content = await speech.content_of(name)
    assert content is not None
    assert read_wav(content) == SOUND


@pytest.mark.parametrize(
    ("model", "language", "told"),
    [
        ("eleven_turbo_v2_5", "es", "es"),
        ("eleven_flash_v2_5", "pt-br", "pt"),
        ("eleven_flash_v2_5", "en", None),
        ("eleven_flash_v2_5", None, None),
        ("eleven_multilingual_v2", "es", None),
        ("eleven_v3_conversational", "es", None),
    ],
)
async def test_only_models_that_take_a_language_are_told_one(
    tmp_path: Path, model: str, language: str | None, told: str | None
) -> None:
    agent = {"agent": {"language": language}, "tts": {"voice_id": "v", "model_id": model}}
    studio = Studio(agent=httpx.Response(200, json={"conversation_config": agent}))
    await name_of(speech_of(studio, tmp_path))

    body = studio.said[0].read()
    assert (b"language_code" in body, f'"language_code":"{told}"'.encode() in body) == (
        told is not None,
        told is not None,
    )


async def test_the_lab_speaks(tmp_path: Path) -> None:
    async with served_lab(agent=agent_body()) as served, httpx.AsyncClient(trust_env=False) as client:
        api = RestApi(client=client, base_url=served.url, api_key=KEY, timeout_s=5, answer_max_bytes=2**20)
        speech = Speech(
            api=api, agent_id=served.agent_id, folder=tmp_path / "speech", alerts=Alerts(SystemClock())
        )
        name = await name_of(speech)
        content = await speech.content_of(name)
        assert content is not None
        # A tone as long as the sentence takes to say, no silence.
        assert len(read_wav(content)) > 8_000
        assert asked(served.lab) == 1
        served.fault("rest_429")
        assert await speech.audio_for("Otra frase.", within_s=5) is None
        assert alerts_of(speech) == {"speech_failed"}
        await name_of(speech, "Otra frase.")
        assert alerts_of(speech) == set()


def asked(lab: ElevenLabsLab) -> int:
    return lab.world.books.requests["POST /v1/text-to-speech/<voice_id>"]


# --- The name and the cache -----------------------------------------------------------------------------


async def test_a_sentence_is_made_once_and_after_a_restart_not_again(tmp_path: Path) -> None:
    studio = Studio()
    names = {await name_of(speech) for speech in (speech_of(studio, tmp_path),) for _ in range(3)}
    names.add(await name_of(speech_of(studio, tmp_path)))

    assert (len(names), len(studio.said)) == (1, 1)


async def test_a_name_says_nothing_to_who_has_no_key(tmp_path: Path) -> None:
    speech = speech_of(Studio(), tmp_path)
    other = speech_of(Studio(), tmp_path)
    other.api.api_key = "another"
    stranger = Speech(api=other.api, agent_id="agent_1", folder=other.folder, alerts=other.alerts)

    name = await name_of(speech)

    assert name != await name_of(stranger)
    assert name != await name_of(speech, f"{TEXT}!")
    assert "Laura" not in name


async def test_nobody_else_may_read_the_files(tmp_path: Path) -> None:
    speech = speech_of(Studio(), tmp_path)
    path = speech.path_of(await name_of(speech))

    assert path is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../../etc/passwd", "/etc/passwd", "a.wav", "A" * 64 + ".wav", "0" * 64, "0" * 64 + ".wav",
     "0" * 64 + ".wav\n", "\0", "0" * 64 + ".wav/..", "..%2f" + "0" * 59 + ".wav", "é" * 64 + ".wav"],
)  # fmt: skip
async def test_what_is_no_name_of_ours_leads_nowhere(tmp_path: Path, name: str) -> None:
    speech = speech_of(Studio(), tmp_path)
    known = await name_of(speech)
    (speech.folder / "a.wav").write_bytes(b"x")

    assert speech.path_of(name) is None
    assert await speech.content_of(name) is None
    assert speech.path_of(known) is not None


async def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    # Room for three files of this size.
    speech = speech_of(Studio(), tmp_path, cache_max_mib=3.5 * len(wav(SOUND)) / 1024**2)
    first, second, third = [await name_of(speech, text) for text in ("uno", "dos", "tres")]
    for age, name in ((30, first), (20, second), (10, third)):
        path = speech.path_of(name)
        assert path is not None
        moment = path.stat().st_mtime - age
        os.utime(path, (moment, moment))
    assert await name_of(speech, "uno") == first

    fourth = await name_of(speech, "cuatro")

    there = [name for name in (first, second, third, fourth) if speech.path_of(name)]
    assert there == [first, third, fourth]


async def test_a_sentence_larger_than_the_cache_is_kept_while_it_is_the_newest(tmp_path: Path) -> None:
    speech = speech_of(Studio(), tmp_path, cache_max_mib=0.0001)
    first = await name_of(speech, "uno")
    assert speech.path_of(first) is not None
    second = await name_of(speech, "dos")
    assert (speech.path_of(first) is None, speech.path_of(second) is not None) == (True, True)


async def test_what_a_killed_daemon_left_half_written_is_no_sound_and_goes(tmp_path: Path) -> None:
    studio = Studio()
    speech = speech_of(studio, tmp_path)
    name = await name_of(speech)
    half = speech.folder / f"{name}.0000.part"
    half.write_bytes(b"RIFF")
    fresh = speech.folder / f"{name}.1111.part"
    fresh.write_bytes(b"RIFF")
    os.utime(half, (0, 0))
    (speech.folder / name).write_bytes(b"")

    assert await name_of(speech) == name

    assert len(studio.said) == 2
    assert sorted(speech.folder.iterdir()) == sorted([speech.folder / name, fresh])


# --- Not to be had --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " \n", "x" * 2_001])
async def test_what_nobody_says_is_not_asked_for(tmp_path: Path, text: str) -> None:
    studio = Studio()
    assert await speech_of(studio, tmp_path).audio_for(text, within_s=10) is None
    assert (studio.asked_who, studio.said) == (0, [])


async def test_a_text_that_is_no_utf_8_is_said_all_the_same(tmp_path: Path) -> None:
    await name_of(speech_of(Studio(), tmp_path), "Hola \ud800 \x00Ana")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(401, json={"detail": {"status": "quota_exceeded", "message": "x"}}),
        httpx.Response(429, json={"detail": {"status": "system_busy", "message": "x"}}),
        httpx.Response(500, text="x"),
        httpx.Response(302, headers={"Location": "http://elsewhere"}),
        httpx.Response(200, content=b""),
        httpx.Response(200, content=b"x" * (2 * 1024**2 + 1)),
    ],
)
async def test_a_refusal_is_told_and_the_next_sentence_is_tried(
    tmp_path: Path, answer: httpx.Response
) -> None:
    async def refuse(_: httpx.Request) -> httpx.Response:
        return answer

    studio = Studio(speak=refuse)
    speech = speech_of(studio, tmp_path)
    assert await speech.audio_for(TEXT, within_s=10) is None
    assert alerts_of(speech) == {"speech_failed"}

    studio.speak = at_once
    await name_of(speech)
    assert alerts_of(speech) == set()


async def test_nobody_waits_longer_than_they_said(tmp_path: Path, mock_clock: MockClock) -> None:
    asked_for = trio.Event()

    async def never(_: httpx.Request) -> httpx.Response:
        asked_for.set()
        await trio.sleep_forever()
        raise AssertionError

    speech = speech_of(Studio(speak=never), tmp_path, deadline_s=4)
    for within_s, limit_s in ((1.0, 1.0), (60.0, 4.0)):
        asked_for = trio.Event()
        results: list[str | None] = []
        async with trio.open_nursery() as nursery:

            async def ask(within_s: float = within_s, results: list[str | None] = results) -> None:
                results.append(await speech.audio_for(TEXT, within_s=within_s))

            began = trio.current_time()
            nursery.start_soon(ask)
            await asked_for.wait()
            mock_clock.jump(limit_s)
        assert (results, trio.current_time() - began) == ([None], limit_s)
    assert alerts_of(speech) == {"speech_failed"}


async def test_who_wait_for_one_sentence_share_it_whatever_becomes_of_the_first(tmp_path: Path) -> None:
    arrived: list[trio.Event] = [trio.Event(), trio.Event()]
    go_on = trio.Event()

    async def when_told(request: httpx.Request) -> httpx.Response:
        arrived[len(studio.said) - 1].set()
        await go_on.wait()
        return await at_once(request)

    studio = Studio(speak=when_told)
    speech = speech_of(studio, tmp_path)
    names: list[str | None] = []

    async def ask(*, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.CancelScope() as scope:
            task_status.started(scope)
            names.append(await speech.audio_for(TEXT, within_s=10))

    async with trio.open_nursery() as nursery:
        first = await nursery.start(ask)
        await arrived[0].wait()
        for _ in range(3):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        # The first hangs up: one of the others asks in its place.
        first.cancel()
        await arrived[1].wait()
        go_on.set()

    assert len(set(names)) == 1
    assert (len(names), len(studio.said)) == (3, 2)


async def test_a_failure_is_shared_too(tmp_path: Path) -> None:
    go_on = trio.Event()

    async def fail(_: httpx.Request) -> httpx.Response:
        await go_on.wait()
        return httpx.Response(500)

    studio = Studio(speak=fail)
    speech = speech_of(studio, tmp_path)
    names: list[str | None] = []

    async def ask() -> None:
        names.append(await speech.audio_for(TEXT, within_s=10))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        go_on.set()

    assert (names, len(studio.said)) == ([None] * 3, 1)


async def test_no_more_are_asked_for_at_a_time_than_allowed(tmp_path: Path) -> None:
    now, most = 0, 0

    async def count(request: httpx.Request) -> httpx.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await trio.testing.wait_all_tasks_blocked()
        now -= 1
        return await at_once(request)

    speech = speech_of(Studio(speak=count), tmp_path, concurrency=2)
    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(name_of, speech, f"frase {number}")

    assert most == 2


async def test_prompts_are_prepared_one_by_one_and_best_effort(tmp_path: Path) -> None:
    async def refuse_one(request: httpx.Request) -> httpx.Response:
        return httpx.Response(500) if b"dos" in request.read() else await at_once(request)

    studio = Studio(speak=refuse_one)
    speech = speech_of(studio, tmp_path)
    await speech.prepare(["uno", "dos", "tres", "uno"])

    assert len(studio.said) == 3
    assert len(list(speech.folder.iterdir())) == 2


# --- Beyond the waiter -----------------------------------------------------------------------------------


async def nothing() -> None:
    await trio.lowlevel.checkpoint()


class Slow:
    """ElevenLabs, which takes its time for a sentence, and for the voice where it is told to."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.go_on = trio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.set()
        await self.go_on.wait()
        return await at_once(request)


async def test_a_sentence_that_takes_longer_than_its_waiter_has_is_there_for_the_next(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    slow = Slow()
    studio = Studio(speak=slow)
    speech = speech_of(studio, tmp_path)
    names: list[str | None] = []

    async def ask() -> None:
        names.append(await speech.audio_for(TEXT, within_s=1))

    async with trio.open_nursery() as nursery:
        await nursery.start(speech.run, nothing)
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as callers:
            callers.start_soon(ask)
            await slow.asked.wait()
            mock_clock.jump(1)
        assert (names, alerts_of(speech)) == ([None], {"speech_failed"})

        slow.go_on.set()
        name = await name_of(speech, within_s=1)
        nursery.cancel_scope.cancel()

    assert speech.path_of(name) is not None
    assert (len(studio.said), alerts_of(speech)) == (1, set())


async def test_a_sentence_is_not_worked_at_for_ever(tmp_path: Path, mock_clock: MockClock) -> None:
    slow = Slow()
    studio = Studio(speak=slow)
    speech = speech_of(studio, tmp_path, deadline_s=4)
    async with trio.open_nursery() as nursery:
        await nursery.start(speech.run, nothing)
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as callers:
            callers.start_soon(partial(speech.audio_for, TEXT, within_s=1))
            await slow.asked.wait()
            mock_clock.jump(1)
        mock_clock.jump(3)
        await trio.testing.wait_all_tasks_blocked()
        slow.go_on.set()
        # It was given up, so it is asked for anew.
        await name_of(speech)
        nursery.cancel_scope.cancel()

    assert len(studio.said) == 2


async def test_what_run_cannot_take_is_made_by_its_waiter(tmp_path: Path, mock_clock: MockClock) -> None:
    slow = Slow()
    studio = Studio(speak=slow)
    speech = speech_of(studio, tmp_path, concurrency=100, deadline_s=100)
    async with trio.open_nursery() as nursery:
        await nursery.start(speech.run, nothing)
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as callers:
            for number in range(17):
                callers.start_soon(partial(speech.audio_for, f"frase {number}", within_s=1))
                await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(1)
        slow.go_on.set()
        names = [await name_of(speech, f"frase {number}") for number in range(17)]
        nursery.cancel_scope.cancel()

    assert (len(set(names)), len(studio.said)) == (17, 18)


async def test_a_waiter_outlives_the_run_that_worked_for_it(tmp_path: Path) -> None:
    slow = Slow()
    studio = Studio(speak=slow)
    speech = speech_of(studio, tmp_path)
    async with trio.open_nursery() as callers:
        async with trio.open_nursery() as nursery:
            await nursery.start(speech.run, nothing)
            await trio.testing.wait_all_tasks_blocked()
            callers.start_soon(name_of, speech)
            await slow.asked.wait()
            nursery.cancel_scope.cancel()
        slow.go_on.set()

    assert len(studio.said) == 2


async def test_a_voice_that_is_named_slowly_is_known_in_the_end(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    asked_who, may_say, said_who = trio.Event(), trio.Event(), trio.Event()

    class SlowToSayWho(Studio):
        @override
        async def answer(self, request: httpx.Request) -> httpx.Response:
            if request.method == "GET":
                asked_who.set()
                await may_say.wait()
                said_who.set()
            return await super().answer(request)

    studio = SlowToSayWho()
    speech = speech_of(studio, tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(speech.run, nothing)
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as callers:
            callers.start_soon(partial(speech.audio_for, TEXT, within_s=1))
            await asked_who.wait()
            mock_clock.jump(1)
        may_say.set()
        await said_who.wait()
        await name_of(speech, within_s=1)
        nursery.cancel_scope.cancel()

    assert studio.asked_who == 1


async def test_fixed_sentences_are_had_again_soon_after_a_failure_and_every_hour(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(500)

    studio = Studio(speak=refuse)
    speech = speech_of(studio, tmp_path)
    done, was_done = trio.open_memory_channel[None](1)

    async def prepare() -> None:
        await speech.prepare(["uno", "dos"])
        done.send_nowait(None)

    async def after(pause_s: float) -> int:
        """Not before the pause is over, and then at once; how many were asked for meanwhile."""
        before = len(studio.said)
        for part_s in (pause_s - 0.5, 0.5):
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.WouldBlock):
                was_done.receive_nowait()
            mock_clock.jump(part_s)
        await was_done.receive()
        return len(studio.said) - before

    async with trio.open_nursery() as nursery:
        await nursery.start(speech.run, prepare)
        await was_done.receive()
        assert (await after(5), await after(10)) == (2, 2)
        studio.speak = at_once
        assert (await after(20), alerts_of(speech)) == (2, set())
        assert len(list(speech.folder.iterdir())) == 2

        # Somebody clears the folder; then the agent is given another voice.
        for file in speech.folder.iterdir():
            file.unlink()
        assert await after(3600) == 2
        assert await after(3600) == 0
        studio.agent = httpx.Response(200, json={"conversation_config": {"tts": {"voice_id": "v2"}}})
        assert await after(3600) == 2
        assert "/text-to-speech/v2" in studio.said[-1].url.path
        nursery.cancel_scope.cancel()


# --- Whose voice ----------------------------------------------------------------------------------------


async def test_the_voice_is_asked_for_once_an_hour(tmp_path: Path, mock_clock: MockClock) -> None:
    studio = Studio()
    speech = speech_of(studio, tmp_path)
    first = await name_of(speech)
    await name_of(speech, "Otra frase.")
    assert studio.asked_who == 1

    mock_clock.jump(3601)
    studio.agent = httpx.Response(200, json={"conversation_config": {"tts": {"voice_id": "v2"}}})
    assert await name_of(speech) != first
    assert (studio.asked_who, b"eleven_multilingual_v2" in studio.said[-1].read()) == (2, True)

    # ElevenLabs does not say it again: the voice stays, and soon it is asked again.
    mock_clock.jump(3601)
    studio.agent = httpx.Response(500)
    await name_of(speech, "Una más.")
    assert (studio.asked_who, alerts_of(speech)) == (3, set())
    mock_clock.jump(11)
    await name_of(speech, "Una más.")
    assert (studio.asked_who, alerts_of(speech)) == (4, {"speech_failed"})


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, json={"detail": {"status": "agent_not_found"}}),
        httpx.Response(200, json={}),
        httpx.Response(200, json={"conversation_config": {"tts": {"voice_id": 7}}}),
        httpx.Response(200, text="no json"),
    ],
)
async def test_without_a_voice_nothing_is_said_and_nobody_waits_to_hear_so(
    tmp_path: Path, answer: httpx.Response, mock_clock: MockClock
) -> None:
    studio = Studio(agent=answer)
    speech = speech_of(studio, tmp_path)
    assert [await speech.audio_for(TEXT, within_s=10) for _ in range(3)] == [None] * 3
    assert (studio.asked_who, studio.said, alerts_of(speech)) == (1, [], {"speech_failed"})

    mock_clock.jump(11)
    studio.agent = httpx.Response(200, json=AGENT)
    await name_of(speech)
    assert alerts_of(speech) == set()


# --- The disk -------------------------------------------------------------------------------------------


async def test_a_disk_that_takes_nothing_is_no_failure_of_the_call(tmp_path: Path) -> None:
    studio = Studio()
    speech = speech_of(studio, tmp_path)
    # A file where the folder belongs: what root, too, cannot write into.
    speech.folder.write_text("")

    name = await name_of(speech)

    content = await speech.content_of(name)
    assert content is not None
    assert read_wav(content) == SOUND
    assert speech.path_of(name) is None
    assert alerts_of(speech) == {"speech_not_stored"}
    # Known already, and only the latest are kept.
    await name_of(speech)
    assert len(studio.said) == 1
    for number in range(32):
        await name_of(speech, f"frase {number}")
    assert await speech.content_of(name) is None

    speech.folder.unlink()
    await name_of(speech)
    assert speech.path_of(name) is not None
    assert alerts_of(speech) == set()


def test_a_disk_that_is_full_keeps_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    files = SoundFiles(tmp_path / "speech", max_bytes=1000)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.store("name", b"content")

    assert list((tmp_path / "speech").iterdir()) == []


async def test_a_disk_that_hangs_holds_up_no_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mock_clock: MockClock
) -> None:
    is_slow, may_end = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def hang(_: int) -> None:
        trio.from_thread.run_sync(is_slow.set, trio_token=token)
        may_end.wait(10)

    monkeypatch.setattr(os, "fsync", hang)
    speech = speech_of(Studio(), tmp_path)
    names: list[str] = []

    async def ask() -> None:
        names.append(await name_of(speech))

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await is_slow.wait()
            mock_clock.jump(3)
    finally:
        may_end.set()

    assert await speech.content_of(names[0]) is not None
    assert alerts_of(speech) == {"speech_not_stored"}


def test_a_broken_file_is_no_sound() -> None:
    with pytest.raises(NoSuchSoundError):
        read_wav(wav(SOUND)[:40])
