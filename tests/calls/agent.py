"""The agent on the telephone: the lab's session, listener, speaker and receptionist behind the port `AgentSessions`.

Frames are those of the wire, both ways; only the socket is left out.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import trio
from attrs import define, field, frozen
from typing_extensions import override

from actors.agent_events import AgentEvent, SessionEnd, SessionEndReason, SessionOpened, SessionPlan
from actors.ports import SessionLostError
from daemon.elevenlabs import endings, wire
from daemon.lab.elevenlabs.agent_socket import _context
from daemon.lab.elevenlabs.agents import filled_in
from daemon.lab.elevenlabs.conversations import Conversation
from daemon.lab.elevenlabs.ids import Ids
from daemon.lab.elevenlabs.known_faults import KNOWN_FAULTS
from daemon.lab.elevenlabs.listener import Listener
from daemon.lab.elevenlabs.receptionist import ReceptionistBrain
from daemon.lab.elevenlabs.session import Ending, Session, SocketTiming, Turn, TurnKind
from daemon.lab.elevenlabs.speaker import Speaker
from daemon.lab.elevenlabs.world import World
from daemon.lab.faults import Fault, Faults
from daemon.lab.sample_agents import CLIENT_TOOLS, voice_agent
from daemon.lab.spoken import Spoken

VOICE_AGENT: Final = "agent_voice"
START_TIMEOUT_S: Final = 10.0
TIMING: Final = SocketTiming(ping_every_s=20.0, receive_timeout_s=None, think_s=0.4)

Span = tuple[float, float]


@define(eq=False, kw_only=True)
class WatchedSession(Session):
    """A session that notes when nothing is asked of it: from the end of an answer to the next thing it has to answer.

    Attributes:
        idle: those times, by trio's clock.
    """

    idle: list[Span] = field(factory=list)
    idle_since: float | None = None
    is_over: bool = False

    @override
    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "speaking":
            now = trio.current_time()
            if value is not None:
                self.wake(now)
            elif getattr(self, "idle_since", now) is None:
                super().__setattr__("idle_since", now)

    def wake(self, now: float) -> None:
        if self.idle_since is not None:
            self.idle.append((self.idle_since, now))
            super().__setattr__("idle_since", None)


@define(eq=False)
class Connection:
    """The client's end of one session."""

    session: WatchedSession
    to_server: trio.MemorySendChannel[str]
    latency_s: float
    from_server: trio.MemoryReceiveChannel[tuple[float, str]]
    to_client: trio.MemorySendChannel[tuple[float, str]]

    @property
    def conversation_id(self) -> str:
        return self.session.conversation.id

    async def say(self, text: str) -> None:
        await self._send(wire.user_message(text))

    async def inform(self, text: str) -> None:
        await self._send(wire.contextual_update(text))

    async def hear(self, audio: bytes) -> None:
        await self._send(wire.user_audio_chunk(audio).decode("ascii"))

    async def answer_tool(self, call_id: str, result: str, *, is_error: bool) -> None:
        await self._send(wire.client_tool_result(call_id, result, is_error=is_error))

    def close(self) -> None:
        """Nothing more comes from the server."""
        self.to_client.close()

    async def _send(self, frame: str) -> None:
        await trio.lowlevel.checkpoint()
        if self.session.is_over:
            raise SessionLostError
        self.to_server.send_nowait(frame)

    async def relay(self, deliver: Callable[[AgentEvent], None]) -> None:
        async for due, text in self.from_server:
            await trio.sleep_until(due)
            event = wire.parse_spoken(text)
            if isinstance(event, wire.Ping):
                self.to_server.send_nowait(wire.pong(event.event_id))
            elif event is not None and not isinstance(event, wire.Metadata):
                deliver(event)


@frozen(kw_only=True)
class Start:
    """How the next session starts; drawn, or set by a scenario."""

    after_s: float = 0.6
    end: SessionEnd | None = None


LOST_START: Final = endings.lost("no start in time")
REFUSED_START: Final = SessionEnd(reason=SessionEndReason.REFUSED, code=1008, detail="refused")


@define(eq=False, kw_only=True)
class Agents:
    """`AgentSessions` in memory.

    Attributes:
        starts: how the next sessions start; further ones are well.
        sessions: all there were, oldest first.
    """

    seed: int
    spoken: Spoken
    now: Callable[[], float]
    latency_s: float = 0.05
    starts: list[Start] = field(factory=list)
    draw_start: Callable[[SessionPlan], Start | None] = field(default=lambda _: None)
    sessions: list[WatchedSession] = field(factory=list, init=False)
    world: World = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.world = World(
            ids=Ids(self.seed),
            faults=Faults(KNOWN_FAULTS, self.seed),
            now=self.now,
            frames_kept=200,
            spoken=self.spoken,
        )
        tool_ids = [self.world.add_tool(config).id for config in CLIENT_TOOLS]
        self.world.add_agent(voice_agent(tool_ids), agent_id=VOICE_AGENT)

    def fault(self, name: str, *, times: int | None = 1, probability: float = 1.0, **details: float) -> None:
        self.world.faults.switch_on(Fault(name=name, times=times, probability=probability, details=details))

    def lose(self, ending: Ending | None = None) -> None:
        """End the sessions that are open; without a word unless `ending` says otherwise."""
        for session in self.sessions:
            if not session.is_over:
                session.end(ending or Ending(None))

    async def run(self, plan: SessionPlan, deliver: Callable[[AgentEvent], None]) -> SessionEnd:
        start = self.starts.pop(0) if self.starts else self.draw_start(plan) or Start()
        with trio.move_on_after(START_TIMEOUT_S) as starting:
            await trio.sleep(start.after_s)
        if starting.cancelled_caught:
            return LOST_START
        if start.end is not None:
            return start.end
        session, listener, speaker, connection = self._open(plan)
        async with trio.open_nursery() as nursery:
            deliver(SessionOpened(connection))
            nursery.start_soon(connection.relay, deliver, name="agent's wire")
            await self._hold(session, listener, speaker, connection, plan)
            ending = session.ending or Ending(1011)
            if ending.code is None:
                nursery.cancel_scope.cancel(reason="the connection broke")
            # What was sent before a close frame arrives before it.
            connection.close()
        await trio.sleep(self.latency_s)
        if ending.code is None:
            return endings.lost("the connection broke")
        return endings.closed(ending.code, ending.reason, fault=None, was_open=True)

    async def _hold(
        self,
        session: WatchedSession,
        listener: Listener,
        speaker: Speaker,
        connection: Connection,
        plan: SessionPlan,
    ) -> None:
        try:
            with session.scope:
                async with trio.open_nursery() as nursery:
                    if plan.context:
                        await connection._send(wire.history(plan.context))
                    nursery.start_soon(speaker.run, name="agent's speaker")
                    first = _first_message(session)
                    if first:
                        await listener.start_turn(Turn(TurnKind.FIRST_MESSAGE, first))
                    await listener.run()
        finally:
            session.is_over = True
            session.wake(trio.current_time())

    def _open(self, plan: SessionPlan) -> tuple[WatchedSession, Listener, Speaker, Connection]:
        world, agent = self.world, self.world.agent(plan.agent_id)
        initiation: Mapping[str, Any] = json.loads(wire.initiation(plan, version="0"))
        settings = agent.settings_for(initiation)
        conversation = Conversation(
            id=world.ids.new("conv_"),
            agent_id=agent.id,
            agent_name=agent.name,
            started_unix=int(world.now()),
            source="unknown",
            client_data={key: value for key, value in initiation.items() if key != "type"},
        )
        world.conversations[conversation.id] = conversation
        to_server, from_client = trio.open_memory_channel[str](100_000)
        to_client, from_server = trio.open_memory_channel[tuple[float, str]](100_000)

        async def send(text: str) -> None:
            await trio.lowlevel.checkpoint()
            to_client.send_nowait((trio.current_time() + self.latency_s, text))

        session = WatchedSession(
            world=world,
            timing=TIMING,
            agent=agent,
            conversation=conversation,
            brain=ReceptionistBrain(),
            context=_context(world, agent, settings, conversation),
            settings=settings,
            send=send,
        )
        self.sessions.append(session)
        turns, taken = trio.open_memory_channel[Turn](100)
        connection = Connection(session, to_server, self.latency_s, from_server, to_client)
        return session, Listener(session, from_client.receive, turns), Speaker(session, taken), connection


def _first_message(session: Session) -> str:
    return filled_in(session.settings["agent"]["first_message"] or "", session.context.variables)
