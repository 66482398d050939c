"""Sessions with the agent: their start, what is said in them, and how they end."""

import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.metadata import version
from typing import TypeAlias

import trio
from attrs import Factory, define, field

from actors.agent_events import (
    AgentEvent,
    AgentFault,
    SessionEnd,
    SessionEndReason,
    SessionOpened,
    SessionPlan,
    ToolFinished,
)
from actors.ports import SessionLostError
from daemon.elevenlabs import endings, wire
from daemon.elevenlabs.client_socket import BrokenOffError, ClientSocket, Target
from daemon.elevenlabs.problems import ApiRefusedError, ApiUnavailableError, read_problem, sentence

OnFrame: TypeAlias = Callable[[str, str], None]

_VERSION = version("relevo")

_TEXT_MESSAGE_MAX_BYTES = 2**20
_VOICE_MESSAGE_MAX_BYTES = 16 * 2**20
"""As the official SDK has it: one frame may carry all of an utterance."""

_VOICE_FORMAT = "ulaw_8000"

_GOODBYE_S = 5.0
"""Between the agent's hanging up by its `end_call` tool and its close frame, which normally follows at once."""


class _CannotStartError(Exception):
    """The session did not come about; carries its end."""

    def __init__(self, end: SessionEnd) -> None:
        super().__init__(end)
        self.end = end


@define(eq=False)
class AgentSession:
    """An open session with the agent. It is gone after a send that was cancelled or took too long, since
    half a frame may have been written.
    """

    _socket: ClientSocket
    _on_frame: OnFrame | None
    _speaks: bool
    conversation_id: str = field(default="", init=False)
    _misfit: SessionEnd | None = field(default=None, init=False)
    _fault: AgentFault | None = field(default=None, init=False)

    async def say(self, text: str) -> None:
        await self._send(wire.user_message(text))

    async def inform(self, text: str) -> None:
        await self._send(wire.contextual_update(text))

    async def hear(self, audio: bytes) -> None:
        await self._send_encoded(wire.user_audio_chunk(audio))

    async def answer_tool(self, call_id: str, result: str, *, is_error: bool) -> None:
        await self._send(wire.client_tool_result(call_id, result, is_error=is_error))

    async def introduce(self, plan: SessionPlan) -> bool:
        """Say who we are, wait until the agent has done so, and tell it what it should know. False when the
        session ended before, or is none that we could speak in.
        """
        await self._tell(wire.initiation(plan, version=_VERSION))
        while not self.conversation_id:
            frame = await self._socket.receive()
            if frame is None:
                return False
            match self._read(frame):
                case wire.Metadata() as metadata:
                    self.conversation_id = metadata.conversation_id
                    self._misfit = _misfit(metadata) if self._speaks else None
                case wire.Ping(event_id):
                    await self._tell(wire.pong(event_id))
                case AgentFault() as fault:
                    self._fault = fault
        if self._misfit is not None:
            return False
        if plan.context:
            await self._tell(wire.history(plan.context))
        return True

    async def relay(self, deliver: Callable[[AgentEvent], None]) -> bool:
        """Deliver events and answer pings until the session ends. True when the agent has hung up by its
        tool and the close is still to come.
        """
        while (frame := await self._socket.receive()) is not None:
            event = self._read(frame)
            if event is None or isinstance(event, wire.Metadata):
                continue
            if isinstance(event, wire.Ping):
                await self._tell(wire.pong(event.event_id))
                continue
            if isinstance(event, AgentFault):
                self._fault = event
            deliver(event)
            if isinstance(event, ToolFinished) and event.name == "end_call" and not event.is_error:
                return True
        return False

    def end(self) -> SessionEnd:
        """How it ended, once it has."""
        if self._misfit is not None:
            return self._misfit
        if self._socket.lost_because:
            return endings.lost(self._socket.lost_because)
        code, reason = self._socket.close_code, self._socket.close_reason
        return endings.closed(code, reason, fault=self._fault, was_open=bool(self.conversation_id))

    def _read(self, frame: str | bytes) -> wire.Message | None:
        if self._on_frame is not None and isinstance(frame, str):
            self._on_frame("<", frame)
        return wire.parse_spoken(frame) if self._speaks else wire.parse(frame)

    async def _tell(self, frame: str) -> None:
        """Send, and leave it to the next read to find out that nobody listens: frames may be waiting there
        that say why.
        """
        with suppress(SessionLostError):
            await self._send(frame)

    async def _send(self, frame: str) -> None:
        await self._send_encoded(frame.encode())

    async def _send_encoded(self, frame: bytes) -> None:
        if not self._socket.is_open:
            raise SessionLostError
        if self._on_frame is not None:
            self._on_frame(">", frame.decode())
        if not await self._socket.send(frame):
            raise SessionLostError


@define(eq=False, kw_only=True)
class AgentSessions:
    """Sessions with agents, in text or in sound, each one WebSocket.

    Attributes:
        sign: gets a signed URL for an agent; raises `ApiUnavailableError` or `ApiRefusedError`.
        start_timeout_s: for everything up to the agent's first message, waiting for `connects` included.
        send_timeout_s: for one frame.
        connects: how many sessions may be connecting at a time, since each TLS handshake costs CPU.
        on_frame: sees every text frame, with `>` for sent and `<` for received.
    """

    sign: Callable[[str], Awaitable[str]]
    start_timeout_s: float
    send_timeout_s: float
    connects: trio.CapacityLimiter
    ssl_context: ssl.SSLContext = Factory(ssl.create_default_context)
    on_frame: OnFrame | None = None

    async def run(self, plan: SessionPlan, deliver: Callable[[AgentEvent], None]) -> SessionEnd:
        """Open a session and stay with it until it ends; see the port."""
        socket = ClientSocket(
            message_max_bytes=_VOICE_MESSAGE_MAX_BYTES if plan.speaks else _TEXT_MESSAGE_MAX_BYTES,
            send_timeout_s=self.send_timeout_s,
        )
        try:
            session = await self._start(socket, plan)
            # A plan carries a whole history, and this frame lives as long as the session.
            del plan
            return await _stay(session, deliver)
        except _CannotStartError as failure:
            return failure.end
        finally:
            await socket.hang_up()

    async def _start(self, socket: ClientSocket, plan: SessionPlan) -> AgentSession:
        step = "getting a signed URL"
        try:
            with trio.fail_after(self.start_timeout_s):
                async with self.connects:
                    target = Target.of(await self.sign(plan.agent_id))
                    step = "connecting"
                    await socket.connect(target, self.ssl_context)
                step = "waiting for the agent's first message"
                session = AgentSession(socket, self.on_frame, plan.speaks)
                if await session.introduce(plan):
                    return session
                end = session.end()
        except trio.TooSlowError:
            end = endings.lost(f"no start within {self.start_timeout_s:g} s: {step}")
        except (ApiUnavailableError, ApiRefusedError) as error:
            end = endings.unsigned(error)
        except BrokenOffError as error:
            end = _broken_off(error)
        except (OSError, ValueError, trio.BrokenResourceError) as error:
            end = endings.lost(f"{step}{_named(error.__cause__ or error)}")
        raise _CannotStartError(end)


async def _stay(session: AgentSession, deliver: Callable[[AgentEvent], None]) -> SessionEnd:
    try:
        deliver(SessionOpened(session))
        if await session.relay(deliver):
            with trio.move_on_after(_GOODBYE_S):
                while await session.relay(deliver):
                    pass
                return session.end()
            return endings.closed(1000, "the agent hung up", fault=None, was_open=True)
    except trio.WouldBlock:
        return endings.lost("events were not taken as fast as the agent sent them")
    return session.end()


def _broken_off(error: BrokenOffError) -> SessionEnd:
    refusal = error.refusal
    if refusal is None:
        return endings.lost(f"the upgrade was broken off{_named(error.problem)}")
    return endings.refused(read_problem(refusal.status, refusal.headers, refusal.body))


def _misfit(metadata: wire.Metadata) -> SessionEnd | None:
    """The end of a session whose sound is not a telephone's. The formats are settings of the agent alone."""
    if metadata.agent_format == metadata.person_format == _VOICE_FORMAT:
        return None
    given = f"{metadata.agent_format or 'unknown'} and {metadata.person_format or 'unknown'}"
    detail = (
        f"a call needs {_VOICE_FORMAT} in the agent's settings conversation_config.tts.agent_output_audio_format"
        f" and conversation_config.asr.user_input_audio_format; they are {given}"
    )
    return SessionEnd(reason=SessionEndReason.REFUSED, code=None, detail=sentence(detail))


def _named(error: BaseException | None) -> str:
    return "" if error is None else f": {type(error).__name__}: {error}"
