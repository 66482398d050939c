"""Text-to-speech in the voice agent's own voice, kept on disk: the port `actors.live_call.voice.Voice`.

Source: ElevenLabs OpenAPI, `POST /v1/text-to-speech/{voice_id}`.
"""

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import quote

import trio
from attrs import define, field, frozen

from actors.alerts import Alerts
from actors.live_call.mixing import wav
from actors.ports import VendorRefusedError, VendorUnavailableError
from actors.runtime.backoff import doubling_s
from daemon.elevenlabs import fields
from daemon.elevenlabs.rest import RestApi
from daemon.elevenlabs.sound_files import SoundFiles

_NAME: Final = re.compile(r"[0-9a-f]{64}\.wav")
_TEXT_MAX_CHARACTERS: Final = 2_000
# Two minutes and more at 8,000 bytes a second: longer than such a text takes to say.
_AUDIO_MAX_BYTES: Final = 2 * 1024**2

_PERSONA_FRESH_S: Final = 3600.0
_PERSONA_RETRY_S: Final = 10.0
_DISK_S: Final = 2.0
_IN_MEMORY_MAX: Final = 32

_AT_WORK_MAX: Final = 16
_READY_AGAIN_S: Final = _PERSONA_FRESH_S
_READY_RETRY_FIRST_S: Final = 5.0
_READY_RETRY_MAX_S: Final = 600.0

# Where an agent names none (ElevenLabs OpenAPI: Body_text_to_speech_full).
_DEFAULT_MODEL: Final = "eleven_multilingual_v2"
_TAKES_LANGUAGE: Final = "_v2_5"
"""Models that speak the language they are told, which keeps a name or a number from being read as English. The
multilingual ones refuse the field (ElevenLabs OpenAPI: language_code), and the later ones know by the text.
"""

_NO_SPEECH: Final = "speech_failed"
_NO_DISK: Final = "speech_not_stored"


@frozen(kw_only=True)
class Persona:
    """Who speaks. An empty `language` leaves it to the model."""

    voice_id: str
    model_id: str
    language: str = ""


@define(eq=False)
class _Making:
    """A sound that is being made. `is_made` is known once it is over, and None when whoever made it was cancelled."""

    over: trio.Event = field(factory=trio.Event)
    is_made: bool | None = None


_Job: TypeAlias = Callable[[], Awaitable[None]]


@define(eq=False, kw_only=True)
class Speech:
    """Sentences as WAV files of mu-law, 8 kHz, mono: what a telephone carries, so that nobody converts it.

    A file's name is a keyed hash of who says what: the same for the same sentence, now and after a restart, and not
    to be guessed from a sentence with somebody's name in it. What is asked for while it is being made is made once,
    and goes on being made when nobody waits for it any longer: the next caller has it. What the disk does not take is
    kept in memory, the latest sentences only.

    Attributes:
        agent_id: the agent whose voice it is; asked for it once an hour.
        folder: of the files; made when it is needed, for nobody else to read.
        cache_max_mib: above it the files go that were not used for longest.
        concurrency: requests at a time; further ones wait. ElevenLabs' smallest plans take two.
        deadline_s: the longest that anybody waits for a sentence, whatever they ask for, and that one is worked at.
    """

    api: RestApi
    agent_id: str
    folder: Path
    alerts: Alerts
    cache_max_mib: float = 64.0
    concurrency: int = 2
    deadline_s: float = 10.0
    _files: SoundFiles = field(init=False)
    _key: bytes = field(init=False, repr=False)
    _requests: trio.CapacityLimiter = field(init=False)
    _asking: trio.Event | None = field(default=None, init=False)
    _persona: Persona | None = field(default=None, init=False)
    _ask_again_at: float = field(default=float("-inf"), init=False)
    _under_way: dict[str, _Making] = field(factory=dict, init=False)
    _in_memory: dict[str, bytes] = field(factory=dict, init=False, repr=False)
    # Without a buffer: a job is taken by who is free, or by nobody.
    _jobs: trio.MemorySendChannel[_Job] = field(init=False)
    _jobs_to_do: trio.MemoryReceiveChannel[_Job] = field(init=False)
    _are_all_ready: bool = field(default=True, init=False)

    def __attrs_post_init__(self) -> None:
        self._files = SoundFiles(self.folder, max_bytes=int(self.cache_max_mib * 1024**2))
        # Of the API key, which whoever could guess names does not have; a new key makes new names.
        self._key = hmac.digest(self.api.api_key.encode(), b"names of spoken sentences", hashlib.sha256)
        self._requests = trio.CapacityLimiter(self.concurrency)
        self._jobs, self._jobs_to_do = trio.open_memory_channel[_Job](0)

    async def run(
        self,
        prepare: Callable[[], Awaitable[None]],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Runs until cancelled: makes what its waiter does not wait for, and has the fixed sentences ready.

        `prepare` is to call `self.prepare`. It is called again soon while sentences are lacking, else hourly: the voice may
        be another by then, or files be gone. While 16 sentences are under way here, a further one is its waiter's own, and is
        given up with it; so it is without `run`.
        """
        task_status.started()
        async with trio.open_nursery() as nursery:
            for number in range(_AT_WORK_MAX):
                nursery.start_soon(self._work, name=f"speech {number + 1}")
            failures = 0
            while True:
                self._are_all_ready = True
                await prepare()
                if self._are_all_ready:
                    failures, pause_s = 0, _READY_AGAIN_S
                else:
                    pause_s = doubling_s(_READY_RETRY_FIRST_S, failures, max_s=_READY_RETRY_MAX_S)
                    failures += 1
                await trio.sleep(pause_s)

    async def _work(self) -> None:
        while True:
            job = await self._jobs_to_do.receive()
            await job()

    async def _see_through(self, job: _Job) -> None:
        """Do a job, or wait until it is done; then it goes on when its waiter gives up. It ends by itself."""
        over = trio.Event()

        async def told() -> None:
            try:
                await job()
            finally:
                over.set()

        try:
            # By a task of `run`'s, which has nothing of the request's about it.
            self._jobs.send_nowait(told)
        except trio.WouldBlock:
            await job()
        else:
            await over.wait()

    async def audio_for(self, text: str, *, within_s: float) -> str | None:
        """See `Voice.audio_for`. A text of over 2,000 characters is not spoken."""
        text = " ".join(fields.storable(text).split())
        if not text or len(text) > _TEXT_MAX_CHARACTERS:
            return None
        limit_s = min(within_s, self.deadline_s)
        with trio.move_on_after(limit_s):
            persona = await self._who_speaks()
            return None if persona is None else await self._have(persona, text)
        self._too_slow(limit_s)
        return None

    async def prepare(self, texts: Sequence[str]) -> None:
        """See `Voice.prepare`."""
        for text in dict.fromkeys(texts):
            if await self.audio_for(text, within_s=self.deadline_s) is None:
                self._are_all_ready = False

    def path_of(self, name: str) -> Path | None:
        """Where a sound of ours lies; None for what is no name of ours, and for one that is not on the disk."""
        return self._files.path_of(name) if _NAME.fullmatch(name) else None

    async def content_of(self, name: str) -> bytes | None:
        """The WAV file of that name, wherever it is kept; None where there is none."""
        if (file := self._in_memory.get(name)) is not None:
            return file
        path = self.path_of(name)
        if path is None:
            return None
        try:
            return await trio.to_thread.run_sync(path.read_bytes, abandon_on_cancel=True)
        except OSError:
            return None

    async def _have(self, persona: Persona, text: str) -> str | None:
        """The name of the sound, once there is one. Whoever waits for a maker that is cancelled has it made again."""
        name = self._name_of(persona, text)
        while name not in self._in_memory and not self._files.use(name):
            making = self._under_way.get(name)
            if making is None:
                making = self._under_way[name] = _Making()
                await self._see_through(partial(self._make, making, name, persona, text))
            else:
                await making.over.wait()
            if making.is_made is not None:
                return name if making.is_made else None
        return name

    async def _make(self, making: _Making, name: str, persona: Persona, text: str) -> None:
        try:
            with trio.move_on_after(self.deadline_s) as limit:
                audio = await self._speak(persona, text)
                if audio is not None:
                    await self._keep(name, wav(audio))
                making.is_made = audio is not None
            if limit.cancelled_caught:
                making.is_made = False
                self._too_slow(self.deadline_s)
        finally:
            del self._under_way[name]
            making.over.set()

    def _too_slow(self, limit_s: float) -> None:
        self.alerts.raise_alert(_NO_SPEECH, f"no speech from ElevenLabs within {limit_s:g} s")

    async def _speak(self, persona: Persona, text: str) -> bytes | None:
        body = {"text": text, "model_id": persona.model_id}
        if persona.language:
            body["language_code"] = persona.language
        audio: bytes | None = None
        async with self._requests:
            with self.alerts.while_failing(
                _NO_SPEECH, "ElevenLabs does not speak", VendorUnavailableError, VendorRefusedError
            ):
                audio = await self.api.audio(
                    f"/text-to-speech/{quote(persona.voice_id, safe='')}",
                    {"output_format": "ulaw_8000"},
                    body,
                    max_bytes=_AUDIO_MAX_BYTES,
                )
        return audio

    async def _keep(self, name: str, file: bytes) -> None:
        """In memory until the disk has it, which must not hold up a call."""
        self._in_memory[name] = file
        while len(self._in_memory) > _IN_MEMORY_MAX:
            del self._in_memory[next(iter(self._in_memory))]
        reason = "the disk takes too long"
        with trio.move_on_after(_DISK_S):
            try:
                await trio.to_thread.run_sync(self._files.store, name, file, abandon_on_cancel=True)
            except OSError as error:
                reason = error.strerror or type(error).__name__
            else:
                self._in_memory.pop(name, None)
                self.alerts.settle(_NO_DISK)
                return
        self.alerts.raise_alert(_NO_DISK, f"spoken sentences cannot be stored in {self.folder}: {reason}")

    async def _who_speaks(self) -> Persona | None:
        """The agent's voice; the one that was known where ElevenLabs does not say it again."""
        now = trio.current_time()
        if self._asking is not None:
            await self._asking.wait()
        elif now >= self._ask_again_at:
            # First, so that a caller who gives up leaves others no question to wait for.
            self._ask_again_at = now + _PERSONA_RETRY_S
            self._asking = trio.Event()
            await self._see_through(partial(self._learn_persona, self._asking))
        return self._persona

    async def _learn_persona(self, over: trio.Event) -> None:
        try:
            with (
                trio.move_on_after(self.deadline_s) as limit,
                self.alerts.while_failing(
                    _NO_SPEECH,
                    "the voice agent's voice is unknown",
                    VendorUnavailableError,
                    VendorRefusedError,
                ),
            ):
                self._persona = await self._ask_for_persona()
                self._ask_again_at = trio.current_time() + _PERSONA_FRESH_S
            if limit.cancelled_caught:
                self._too_slow(self.deadline_s)
        finally:
            self._asking = None
            over.set()

    async def _ask_for_persona(self) -> Persona:
        document = await self.api.get(f"/convai/agents/{quote(self.agent_id, safe='')}", {})
        config = fields.part(document, "conversation_config")
        speaks = fields.part(config, "tts")
        model_id = fields.text(speaks, "model_id") or _DEFAULT_MODEL
        language = (fields.text(fields.part(config, "agent"), "language") or "").partition("-")[0]
        # English is what an agent has that nobody has told.
        is_told = model_id.endswith(_TAKES_LANGUAGE) and language != "en"
        return Persona(
            voice_id=fields.required_text(speaks, "voice_id", "conversation_config.tts"),
            model_id=model_id,
            language=language if is_told else "",
        )

    def _name_of(self, persona: Persona, text: str) -> str:
        says = f"{persona.voice_id}\0{persona.model_id}\0{persona.language}\0{text}"
        return hmac.new(self._key, says.encode(), hashlib.sha256).hexdigest() + ".wav"
