"""One life of the daemon's live calls: everything of `daemon/live_calls.py` over stores in memory, from its start until it
is killed.
"""

import functools
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, cast
from unittest.mock import patch
from urllib.parse import urlsplit

import httpcore
import httpx
import structlog
import trio
from attrs import define, evolve, field, frozen
from typing_extensions import override

from actors.alerts import Alerts
from actors.conversation.texts import compile_text
from actors.live_call import wording
from actors.live_call.mixing import wav
from actors.live_call.state import Mode
from actors.metrics import NoMetrics
from actors.runtime.supervisor import ChildSpec, RestartPolicy, Supervisor
from daemon.adapters import TwilioApi, telephony
from daemon.lab.serving import LabAccount
from daemon.lab.twilio.voice.mulaw import spoken_s, voice
from daemon.live_calls import LiveCalls
from daemon.settings import Settings, load_settings
from daemon.settings.model import Advisor
from daemon.twilio.signature import SignatureCheck
from daemon.twilio.transport import Limits, sdk_client
from daemon.voice.music import HoldMusic
from daemon.web.app import make_app
from daemon.web.express import Express
from tests.calls.agent import VOICE_AGENT, Agents
from tests.calls.wires import MUSIC_HOST, Answered, BrokenOffError, MemoryTransport, Pipe, RestOffice, ask
from tests.memory.clock import VirtualClock
from tests.memory.database import MemoryDatabase
from tests.memory.live_calls import MemoryLiveCalls
from tests.memory.recordings import MemoryRecordings

PUBLIC_URL: Final = "http://daemon.example.com"
ACCOUNT: Final = LabAccount()
ADVISORS: Final = ("+525511111111", "+525522222222")
NAMES: Final = ("Laura Gómez", "Jesús Ríos")
MUSIC_URL: Final = f"http://{MUSIC_HOST}/hold.wav"
SPEECH_PITCH_HZ: Final = 450
HTTP_S: Final = 10.0

_log = structlog.get_logger(__name__)


@functools.cache
def _defaults() -> Settings:
    environ = {
        "BASE_PUBLIC_URL": PUBLIC_URL,
        "RELEVO_ADMIN_TOKEN": "an-admin-token-for-the-simulation",
        **ACCOUNT.environment(
            elevenlabs_url="http://elevenlabs.example.com", twilio_url="http://twilio.example.com"
        ),
        "ELEVENLABS_AGENT_ID": VOICE_AGENT,
    }
    return load_settings(Path(__file__).parents[2] / "config.toml", environ)


def settings_for(
    mode: Mode, *, advisors: int = 2, has_music_url: bool = False, ring_s: float = 12.0
) -> Settings:
    settings = _defaults()
    people = [
        Advisor(name=name, phone=phone, topics=["ventas"] if place == 0 else ["facturas"])
        for place, (name, phone) in enumerate(zip(NAMES, ADVISORS, strict=True))
    ]
    transfer = evolve(
        settings.transfer,
        advisors=people[:advisors],
        ring_timeout_s=ring_s,
        hold_music_url=MUSIC_URL if has_music_url else "",
    )
    twilio = settings.twilio
    if mode is Mode.DIRECT:
        twilio = evolve(twilio, twiml_app_sid="")
    return evolve(settings, transfer=transfer, twilio=twilio)


# --- what a life is given ---------------------------------------------------------------------------------


@define(eq=False)
class Counting(NoMetrics):
    """What happened, by a few words each."""

    counts: Counter[str] = field(factory=Counter)

    def live_call_ended(self, ending: str, _: float) -> None:
        self.counts[f"call ended: {ending}"] += 1

    def transfer_ended(self, outcome: str) -> None:
        self.counts[f"transfer: {outcome}"] += 1

    @override
    def child_restarted(self, kind: str) -> None:
        self.counts[f"{kind} restarted"] += 1

    def watch(self, *_: object) -> None:
        pass


@define(eq=False)
class PaperVoice:
    """`Voice` in memory: a tone for each sentence.

    Attributes:
        takes_s: how long a sentence takes to make; None: it cannot be had now.
    """

    takes_s: Callable[[], float | None]
    _made: dict[str, str] = field(factory=dict, init=False)

    async def audio_for(self, text: str, *, within_s: float) -> str | None:
        await trio.lowlevel.checkpoint()
        known = next((name for name, made in self._made.items() if made == text), None)
        if known is not None:
            return known
        takes_s = self.takes_s()
        await trio.sleep(min(within_s, takes_s if takes_s is not None else within_s))
        if takes_s is None or takes_s > within_s:
            return None
        name = f"{len(self._made) + 1:064x}.wav"
        self._made[name] = text
        return name

    async def prepare(self, texts: Sequence[str]) -> None:
        for text in texts:
            await self.audio_for(text, within_s=10.0)

    async def run(
        self, prepare: Callable[[], Awaitable[None]], *, task_status: trio.TaskStatus[None]
    ) -> None:
        """As `Speech.run`, once."""
        task_status.started()
        await prepare()
        await trio.sleep_forever()

    async def content_of(self, name: str) -> bytes | None:
        text = self._made.get(name)
        return wav(voice(spoken_s(text), SPEECH_PITCH_HZ)) if text is not None else None


@frozen
class Stores:
    """In place of the pool: where the stores of a life come from."""

    live_calls: MemoryLiveCalls
    recordings: MemoryRecordings


@contextmanager
def plugged() -> Iterator[None]:
    """Have `daemon.live_calls` take its stores from `Stores`, and nobody make twice what takes long and is always the same."""
    with ExitStack() as stack:
        swap = partial(patch.multiple, "daemon.live_calls")
        stack.enter_context(
            swap(
                PostgresLiveCalls=lambda stores: stores.live_calls,
                PostgresRecordings=lambda stores: stores.recordings,
                voice_key=lambda _: b"a key of thirty-two bytes exactly",
            )
        )
        stack.enter_context(patch.object(httpcore, "default_ssl_context", _tls))
        stack.enter_context(patch.object(wording, "compile_text", _compiled))
        yield


@functools.cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()


@functools.cache
def _compiled(name: str, source: str) -> Any:
    return compile_text(name, source)


# --- a life -----------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Outside:
    """What a daemon finds when it starts, and leaves behind when it dies."""

    settings: Settings
    clock: VirtualClock
    database: MemoryDatabase
    office: RestOffice
    agents: Agents
    voice: PaperVoice
    metrics: Counting
    music: Callable[[], bytes]
    is_up: Callable[[], None]
    crashed: Callable[[str, BaseException], None]


@define(eq=False)
class Life:
    """Attributes:
    is_serving: requests are taken.
    """

    outside: Outside
    is_serving: bool = field(default=False, init=False)
    calls: LiveCalls = field(init=False)
    alerts: Alerts = field(init=False)
    _supervisor: Supervisor = field(init=False)
    _app: Any = field(init=False)
    _nursery: trio.Nursery = field(init=False)
    _pipes: set[Pipe] = field(factory=set, init=False)
    _scope: trio.CancelScope = field(factory=trio.CancelScope, init=False)

    def __attrs_post_init__(self) -> None:
        outside = self.outside
        settings = outside.settings
        self.alerts = Alerts(outside.clock)
        self._supervisor = Supervisor(metrics=outside.metrics)
        transport = MemoryTransport(Limits(deadline_s=settings.twilio.request_timeout_s), outside.office)
        client = sdk_client(
            transport,
            account_sid=settings.secrets.twilio_account_sid,
            auth_token=settings.secrets.twilio_auth_token,
            base_url=settings.twilio.base_url,
        )
        stores = Stores(MemoryLiveCalls(outside.database), MemoryRecordings(outside.database))
        music_client = httpx.AsyncClient(transport=httpx.MockTransport(self._fetch_music))
        self.calls = LiveCalls(
            settings=settings,
            pool=cast("Any", stores),
            share=cast("Any", stores),
            telephony=telephony(settings, TwilioApi(transport=transport, client=client), outside.clock),
            speech=cast("Any", outside.voice),
            sessions=outside.agents,
            music=HoldMusic(url="", client=music_client, alerts=self.alerts),
            supervisor=self._supervisor,
            details_due=lambda: outside.metrics.counts.update(["details due"]),
            outbox_due=lambda *_: outside.metrics.counts.update(["notice due"]),
            clock=outside.clock,
            alerts=self.alerts,
            metrics=cast("Any", outside.metrics),
        )
        self._app = self._served()

    def _fetch_music(self, _: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=self.outside.music())

    def _served(self) -> Any:
        """As `daemon/listeners.py` has it."""
        settings = self.outside.settings
        is_signed = SignatureCheck(settings.http.public_url, [settings.secrets.twilio_auth_token])
        voice: dict[str, Any] = {"is_signed": is_signed, "is_open": lambda: self.is_serving}
        app = make_app(
            "public",
            [self.calls.sounds(**voice)],
            max_body_bytes=settings.http.max_body_bytes,
            request_timeout_s=settings.http.request_timeout_s,
            count=lambda *_: None,
        )
        express = Express(views=self.calls.views(**voice), otherwise=app, count=lambda *_: None)
        return self.calls.stream_route(is_signed=is_signed, otherwise=express)

    @property
    def streams(self) -> int:
        return len(self._pipes)

    async def run(self) -> None:
        """Until it is killed. Who is killed may stumble over what died before it."""
        with self._scope:
            try:
                async with trio.open_nursery() as self._nursery:
                    await self._start()
                    await trio.sleep_forever()
            except BaseExceptionGroup:
                if not self._scope.cancel_called:
                    raise
        self.is_serving = False

    async def _start(self) -> None:
        await self._nursery.start(self._supervisor.run)
        self.is_serving = True
        for name, run in self.calls.watchers.items():
            spec = ChildSpec(name=name, run=run, policy=RestartPolicy.PERMANENT, kind=name)
            await self._supervisor.start(spec)
        self.outside.is_up()

    def kill(self) -> None:
        """`kill -9`: requests and streams break off, and nothing that waits goes on."""
        self.is_serving = False
        for pipe in list(self._pipes):
            pipe.break_off()
        self._scope.cancel(reason="killed")

    # --- what it is asked from outside ---

    async def serve(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        """Answer a request in a task of this life's; see `wires.Daemon`."""
        answers: list[Answered] = []
        done = trio.Event()

        async def work() -> None:
            try:
                with trio.move_on_after(HTTP_S):
                    answers.append(await ask(self._app, method, url, headers, body))
            except BaseException as crash:
                if not self.is_serving:
                    raise
                self.outside.crashed(f"{method} {urlsplit(url).path}", crash)
            finally:
                done.set()

        self._nursery.start_soon(work, name=f"request {urlsplit(url).path}")
        await done.wait()
        if not answers:
            raise BrokenOffError
        return answers[0]

    async def serve_stream(self, target: str, headers: Mapping[str, str], pipe: Pipe) -> None:
        async def work() -> None:
            self._pipes.add(pipe)
            try:
                await pipe.serve(self._app, target, headers)
            except BaseException as crash:
                if not self.is_serving:
                    raise
                self.outside.crashed("stream", crash)
            finally:
                self._pipes.discard(pipe)
                pipe.break_off()

        self._nursery.start_soon(work, name="stream")
        await trio.lowlevel.checkpoint()
