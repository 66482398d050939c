"""The stage: a caller, advisors, the lab's telephone and agent, a database, and one life of the daemon after the other.

Everything in virtual time and in one process; what is played is a `Play`.
"""

import json
import random
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, Final
from unittest.mock import patch

import httpx
import structlog
import trio
from attrs import define, field, frozen
from quart_trio import QuartTrio
from typing_extensions import override

from actors.live_call.state import Mode
from daemon.lab.faults import Fault
from daemon.lab.twilio.account import Application, IncomingNumber
from daemon.lab.twilio.app import TwilioLab
from daemon.lab.twilio.books import VoiceEvent
from daemon.lab.twilio.clock import LabClock
from daemon.lab.twilio.voice.ground import VoicePace
from daemon.lab.twilio.voice.legs import Leg
from daemon.lab.twilio.voice.moments import read_wish
from daemon.lab.twilio.voice.mulaw import voice, wav
from daemon.lab.twilio.voice.script import Script
from daemon.lab.twilio.voice.socket import GoneError
from daemon.lab.twilio.webhooks import WebhookEngine
from tests.calls.agent import Agents, Start
from tests.calls.house import ACCOUNT, PUBLIC_URL, Counting, Life, Outside, PaperVoice, plugged, settings_for
from tests.calls.wires import BrokenOffError, Daemon, RestOffice, ToDaemon, open_pipe
from tests.memory.clock import BEGINNING, VirtualClock
from tests.memory.database import MemoryDatabase

CALLER: Final = "+5215512345678"
FRAME_S: Final = 0.2
"""Ten times as long as Twilio's: most of what a simulated call costs is its frames."""
PACE: Final = VoicePace(calls_per_second=1.0, dial_s=0.3, no_answer_extra_s=5.0, recording_s=0.5)
CALL_MAX_S: Final = 240.0
SETTLE_MAX_S: Final = 240.0
AFTERMATH_S: Final = 6.0
LOOK_EVERY_S: Final = 0.5


@frozen(kw_only=True)
class Incident:
    """Something that befalls the call, so long after a moment of the lab's books."""

    at: str
    act: str
    after_s: float = 0.0
    down_s: float = 2.0


@frozen(kw_only=True)
class Play:
    """What is to happen.

    Attributes:
        callers: what the caller does; each of several calls at once a script of its own.
        advisors: what each of them does, call by call.
        takes_s: how long a spoken sentence takes to make; None: there is no text-to-speech.
        starts: how the agent's sessions start.
        faults, agent_faults: of the lab's.
        away_s: how long a frame of a stream takes to get here, and one of ours to get there.
        music_gap_s: how long music may be missing while a telephone rings.
    """

    name: str
    mode: Mode
    callers: Sequence[Script]
    advisors: Mapping[str, Sequence[Script]] = field(factory=dict)
    advisors_known: int = 2
    takes_s: float | None = 0.2
    has_music_url: bool = False
    starts: Sequence[Start] = ()
    faults: Sequence[Fault] = ()
    agent_faults: Sequence[Fault] = ()
    incidents: Sequence[Incident] = ()
    ring_s: float = 12.0
    away_s: float = 0.03
    music_gap_s: float = 0.3


@define(eq=False, kw_only=True)
class MemoryEngine(WebhookEngine):
    """The lab's webhook engine, whose requests go through memory."""

    line: Callable[[], httpx.AsyncBaseTransport]
    concurrency: int = 12
    _tls: None = field(default=None, init=False)  # type: ignore[assignment]

    @override
    def _new_line(self) -> Any:
        return self.line()


class VoiceLab(TwilioLab):
    """Its telephone alone can be asked over REST: a route takes a millisecond to make, and there are many."""

    @override
    def _open_app(self) -> QuartTrio:
        app = QuartTrio("calls")
        for blueprint in self.voice.blueprints(self.edge):
            app.register_blueprint(blueprint)
        return app


@frozen
class Logged:
    at_s: float
    level: str
    event: str
    about: str


@define(eq=False)
class Stage:
    """One world.

    Attributes:
        logged: what the daemon has logged, from warnings on.
        kills: when it was killed, and when it was back.
        crashes: of routes and streams, which nothing explains.
        ahead_s: of the lab's clock to trio's.
    """

    play: Play
    seed: int = 0
    lab: TwilioLab = field(init=False)
    agents: Agents = field(init=False)
    database: MemoryDatabase = field(factory=MemoryDatabase, init=False)
    metrics: Counting = field(factory=Counting, init=False)
    logged: list[Logged] = field(factory=list, init=False)
    crashes: list[str] = field(factory=list, init=False)
    kills: list[tuple[float, float]] = field(factory=list, init=False)
    outages: list[tuple[float, float]] = field(factory=list, init=False)
    life: Life | None = field(default=None, init=False)
    callers: list[Leg] = field(factory=list, init=False)
    is_stuck: bool = field(default=False, init=False)
    ended_s: float = field(default=0.0, init=False)
    ahead_s: float = field(default=0.0, init=False)
    _random: random.Random = field(init=False)
    _nursery: trio.Nursery = field(init=False)
    _outside: Outside = field(init=False)
    _down_s: float = field(default=2.0, init=False)
    _is_up: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(f"{self.seed}/stage")

    # --- what there is ---

    @property
    def now_s(self) -> float:
        return self.lab.clock.elapsed_s()

    @property
    def events(self) -> Sequence[VoiceEvent]:
        return list(self.lab.books.voice)

    @property
    def legs(self) -> Sequence[Leg]:
        return list(self.lab.voice.exchange.legs.values())

    def seconds_of(self, at: datetime) -> float:
        """By the lab's clock."""
        return (at - BEGINNING).total_seconds()

    def latency_s(self) -> float:
        return self._random.uniform(0.005, 0.06)

    # --- a world from its beginning to its end ---

    async def run(self) -> None:
        with self._surroundings():
            self._build()
            async with trio.open_nursery() as self._nursery:
                await self._nursery.start(self.lab.engine.run)
                await self._nursery.start(self.lab.schedule.run)
                await self._nursery.start(self.lab.voice.run)
                self._nursery.start_soon(self.agents.world.agenda.run)
                self._furnish()
                self._nursery.start_soon(self._live)
                await self._is_up.wait()
                await trio.sleep(1.0)
                await self._perform()
                self.ended_s = self.now_s
                self.ahead_s = self.now_s - trio.current_time()
                self._nursery.cancel_scope.cancel(reason="the play is over")

    @contextmanager
    def _surroundings(self) -> Iterator[None]:
        streams = "daemon.lab.twilio.voice.streams"
        tokens = random.Random(f"{self.seed}/sids")
        opened = partial(open_pipe, daemon=self._daemon, latency_s=self.play.away_s)
        hexes = type(
            "Hexes",
            (),
            {"token_hex": staticmethod(lambda size: f"{tokens.getrandbits(8 * size):0{2 * size}x}")},
        )
        before = structlog.get_config()
        with ExitStack() as stack:
            stack.enter_context(plugged())
            stack.enter_context(patch(f"{streams}.FRAME_S", FRAME_S))
            stack.enter_context(patch(f"{streams}.open_socket", opened))
            stack.enter_context(patch("daemon.lab.twilio.sids.secrets", hexes))
            engine = partial(MemoryEngine, line=self._new_line)
            stack.enter_context(patch("daemon.lab.twilio.app.WebhookEngine", engine))
            structlog.configure(processors=[self._log])
            try:
                yield
            finally:
                structlog.configure(**before)

    def _log(self, _: object, level: str, event: Any) -> str:
        name = str(event.pop("event", ""))
        if event.pop("exc_info", None):
            name = f"{name}\n{traceback.format_exc()}"
        about = " ".join(f"{key}={value}" for key, value in event.items())
        self.logged.append(Logged(self.now_s, level, name, about))
        raise structlog.DropEvent

    def _build(self) -> None:
        number = IncomingNumber(
            phone_number=ACCOUNT.voice_number,
            voice_url=f"{PUBLIC_URL}/voice/incoming",
            status_callback=f"{PUBLIC_URL}/voice/status",
        )
        app = Application(sid=ACCOUNT.twiml_app_sid, voice_url=f"{PUBLIC_URL}/voice/agent")
        self.lab = lab = VoiceLab(
            account_sid=ACCOUNT.account_sid,
            auth_token=ACCOUNT.auth_token,
            senders=[ACCOUNT.whatsapp_from],
            seed=self.seed,
            clock=LabClock(start=BEGINNING),
            numbers=[number],
            applications=[app],
            voice_pace=PACE,
        )
        lab.public_url = "http://twilio.example.com"
        self.agents = Agents(
            seed=self.seed,
            spoken=lab.voice.spoken,
            now=lambda: BEGINNING.timestamp() + self.now_s,
            starts=list(self.play.starts),
        )
        self.agents.world.on_agent_speaks = lab.voice.agent_speaks
        self.agents.world.on_agent_said = lab.voice.agent_said

    def _new_line(self) -> ToDaemon:
        return ToDaemon(self._daemon, self.latency_s, self._music)

    def _music(self) -> bytes:
        return wav(voice(4.0, 600))

    def _daemon(self) -> Daemon | None:
        return self.life if self.life is not None and self.life.is_serving else None

    def _furnish(self) -> None:
        play = self.play
        self._outside = Outside(
            settings=settings_for(
                play.mode, advisors=play.advisors_known, has_music_url=play.has_music_url, ring_s=play.ring_s
            ),
            clock=VirtualClock(),
            database=self.database,
            office=RestOffice(self.lab, self._nursery, self.latency_s),
            agents=self.agents,
            voice=PaperVoice(lambda: play.takes_s),
            metrics=self.metrics,
            music=self._music,
            is_up=self._is_up.set,
            crashed=lambda what, crash: self.crashes.append(f"{what}: {crash!r}"),
        )
        for number, scripts in play.advisors.items():
            self.lab.voice.script(number, *scripts)
        for fault in play.faults:
            self.lab.faults.switch_on(fault)
        for fault in play.agent_faults:
            self.agents.world.faults.switch_on(fault)

    async def _live(self) -> None:
        while True:
            self.life = Life(self._outside)
            await self.life.run()
            self.life = None
            await trio.sleep(self._down_s)
            self.kills[-1] = (self.kills[-1][0], self.now_s)

    def kill(self, down_s: float) -> None:
        if self.life is not None and self.life.is_serving:
            self._down_s = down_s
            self.kills.append((self.now_s, self.now_s + down_s))
            self.life.kill()

    # --- the play ---

    async def _perform(self) -> None:
        for place, script in enumerate(self.play.callers):
            leg = self.lab.voice.call_in(f"{CALLER[:-1]}{place}", script)
            self.callers.append(leg)
            for incident in self.play.incidents:
                self._nursery.start_soon(self._befall, incident, leg)
        with trio.move_on_after(CALL_MAX_S) as call:
            for leg in self.callers:
                await leg.ended.wait()
        self.is_stuck = call.cancelled_caught
        for leg in self.callers:
            self.lab.voice.exchange.hang_up(leg)
        await self._settle()

    async def _befall(self, incident: Incident, leg: Leg) -> None:
        await self.lab.voice.ground.moments.wait(read_wish(incident.at), leg.sid, after=leg.born)
        await trio.sleep(incident.after_s)
        match incident.act:
            case "hang up":
                self.lab.voice.exchange.hang_up(leg)
            case "kill":
                self.kill(incident.down_s)
            case "lose session":
                self.agents.lose()
            case "outage":
                self._nursery.start_soon(self._outage, incident.down_s)
            case "drop stream" | "end agent":
                self._end_agent_leg()
            case "calm":
                self.lab.faults.clear()
                self.agents.world.faults.clear()
                self.agents.starts.clear()
            case "program asks":
                await self._program_asks(leg)
            case other:
                raise ValueError(other)

    async def _program_asks(self, leg: Leg) -> None:
        """As a server tool of the agent's would."""
        if (life := self.life) is not None and life.is_serving:
            headers = {"Authorization": f"Bearer {ACCOUNT.tool_token}", "Content-Type": "application/json"}
            body = json.dumps({"CallSid": leg.sid, "Reason": "una factura"}).encode()
            with suppress(BrokenOffError):
                answer = await life.serve("POST", f"{PUBLIC_URL}/voice/transfer/init", headers, body)
                self.metrics.counts[f"program answered {answer.status}"] += 1

    @property
    def made_recordings(self) -> Sequence[str]:
        """SIDs of what was recorded, deleted or not."""
        return [event.detail for event in self.events if event.name == "recorded"]

    async def _outage(self, seconds: float) -> None:
        self.outages.append((self.now_s, self.now_s + seconds))
        self.database.unavailable = True
        await trio.sleep(seconds)
        self.database.unavailable = False

    def _end_agent_leg(self) -> None:
        """The agent's leg ends, or in direct mode its stream breaks."""
        for leg in self.legs:
            for stream in list(leg.streams):
                if leg.inner:
                    self.lab.voice.exchange.hang_up(leg)
                else:
                    stream._lose(GoneError(None))

    async def _settle(self) -> None:
        """Wait until everything is over, and a while longer."""
        give_up_s = self.now_s + SETTLE_MAX_S
        well_until_s = self.now_s + AFTERMATH_S
        while self.now_s < well_until_s:
            if self.what_is_left():
                well_until_s = self.now_s + AFTERMATH_S
            if self.now_s > give_up_s:
                return
            await trio.sleep(LOOK_EVERY_S)

    def what_is_left(self) -> Sequence[str]:
        left = [f"leg to {leg.number} is {leg.call.status.value}" for leg in self.legs if not leg.call.over]
        left += [
            f"call {row.id} is {row.state.phase.value}"
            for row in self.database.live_calls.values()
            if row.ended_at is None or not row.state.is_over
        ]
        left += [
            f"call {row.id} was not sought through"
            for row in self.database.live_calls.values()
            if row.seek_at is not None
        ]
        left += [
            f"recording {row.id} is awaited" for row in self.database.recordings.values() if row.is_awaited
        ]
        if self.life is not None and self.life.streams:
            left.append(f"{self.life.streams} streams are open")
        left += [
            f"room {room.friendly_name} is open"
            for room in self.lab.voice.rooms.rooms.values()
            if room.active
        ]
        return left
