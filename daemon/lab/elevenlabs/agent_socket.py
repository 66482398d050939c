"""The agent socket, `/v1/convai/conversation`: admission, initiation, session, close.

Source: ElevenLabs AsyncAPI of the agent WebSocket, and notes from the live service.
"""

import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn

import trio
from attrs import define, field, frozen
from quart import Response, websocket

from daemon.lab.elevenlabs import wire
from daemon.lab.elevenlabs.agents import Agent, Document, filled_in, merged, missing_variables
from daemon.lab.elevenlabs.brain import Brain, CallContext
from daemon.lab.elevenlabs.conversations import Conversation, Status
from daemon.lab.elevenlabs.listener import Listener
from daemon.lab.elevenlabs.loose import as_mapping
from daemon.lab.elevenlabs.recap import recap
from daemon.lab.elevenlabs.session import QUOTA_AT_START, Ending, Session, SocketTiming, Turn, TurnKind
from daemon.lab.elevenlabs.speaker import Speaker
from daemon.lab.elevenlabs.wire import BadFrame, Frame
from daemon.lab.elevenlabs.world import World

_TURNS_LIMIT: Final = 100
_REASON_MAX_BYTES: Final = 120
_DEFAULT_FIRST_MESSAGE: Final = "¡Hola! ¿En qué puedo ayudarte hoy?"
_NO_SUCH_AGENT: Final = Ending(1008, "The AI agent you are trying to reach does not exist.")
_NOT_AUTHORIZED: Final = Ending(1008, "Could not authorize the conversation.")
_SOURCES: Final = frozenset(
    [
        "android_sdk",
        "node_js_sdk",
        "react_native_sdk",
        "react_sdk",
        "js_sdk",
        "python_sdk",
        "widget",
        "swift_sdk",
        "flutter_sdk",
    ]
)
_UPGRADE_REFUSALS: Final[Mapping[str, tuple[int, str]]] = {
    "upgrade_401": (401, "invalid_api_key"),
    "upgrade_403": (403, "forbidden"),
    "upgrade_429": (429, "concurrent_limit_exceeded"),
}


def no_abort(_: tuple[str, int]) -> NoReturn:
    raise RuntimeError("faults that break connections need an `abort_connection` of the server")


@frozen(kw_only=True)
class _Admission:
    """Who may start a session; the conversation id is given where the signed URL named it."""

    agent: Agent
    authorization: str
    conversation_id: str | None = None


@define(eq=False, kw_only=True)
class AgentSocket:
    """Serves every agent socket of the lab.

    Attributes:
        choose_brain: the brain of a session that starts; it is told whether the session speaks.
        abort_connection: breaks the TCP connection of a peer, given as (host, port), without a close frame.
        sessions: open sessions by conversation id.
    """

    world: World
    api_key: str
    choose_brain: Callable[[bool], Brain]
    timing: SocketTiming
    abort_connection: Callable[[tuple[str, int]], None]
    sessions: dict[str, tuple[Session, Listener]] = field(factory=dict, init=False)

    async def serve(self) -> Response | None:
        """One socket, from the upgrade to the close; the view of the route."""
        refusal = await self._upgrade_fault()
        if refusal is not None:
            return refusal
        admitted = self._admit()
        if admitted is _NOT_AUTHORIZED and not self.world.faults.strikes("bad_signature_accepted"):
            return _http_refusal(403, "forbidden")
        await websocket.accept(subprotocol="convai" if "convai" in websocket.requested_subprotocols else None)
        books = self.world.books
        books.sockets_opened += 1
        books.sockets_open += 1
        books.change()
        try:
            ending = admitted if isinstance(admitted, Ending) else await self._converse(admitted)
            await self._hang_up(ending)
        finally:
            books.sockets_open -= 1
            books.change()
        return None

    async def _upgrade_fault(self) -> Response | None:
        faults = self.world.faults
        for name, (status, code) in _UPGRADE_REFUSALS.items():
            if faults.strikes(name):
                return _http_refusal(status, code)
        if faults.strikes("upgrade_silent"):
            await trio.sleep_forever()
        if fault := faults.strikes("upgrade_slow"):
            await trio.sleep(float(fault.details.get("seconds", 3)))
        return None

    def _admit(self) -> _Admission | Ending:
        agent = self.world.agents.get(websocket.args.get("agent_id", ""))
        if agent is None:
            return _NO_SUCH_AGENT
        token = websocket.args.get("conversation_signature")
        if token is not None:
            ticket = self.world.redeem_ticket(token, agent.id)
            if ticket is None:
                return _NOT_AUTHORIZED
            return _Admission(agent=agent, authorization="signed_url", conversation_id=ticket.conversation_id)
        key = websocket.headers.get("xi-api-key")
        if key is not None:
            is_right = key == self.api_key
            return (
                _Admission(agent=agent, authorization="authorization_header") if is_right else _NOT_AUTHORIZED
            )
        if agent.platform["auth"]["enable_auth"]:
            return _NOT_AUTHORIZED
        return _Admission(agent=agent, authorization="public")

    async def _converse(self, admission: _Admission) -> Ending:
        raw: str | bytes | None = None
        with trio.move_on_after(self.timing.initiation_timeout_s):
            raw = await websocket.receive()
        if raw is None:
            return await self._refuse(Ending(1002, "No initiation message received", "asyncio_timeout"))
        read = wire.read_client_frame(raw)
        if isinstance(read, BadFrame) or read[0] != "conversation_initiation_client_data":
            return await self._refuse(Ending(1008, "Invalid message received", "invalid_message"))
        await self._start_fault()
        if self.world.faults.strikes("quota_at_start"):
            return QUOTA_AT_START
        session = self._new_session(admission, read[1])
        session.record("in", str(raw))
        try:
            return await self._run_session(session, read[1])
        finally:
            self._close_books(session)

    async def _refuse(self, ending: Ending) -> Ending:
        """Announce an ending before there is a session."""
        await self._announce(ending, lambda frame: websocket.send(wire.encoded(frame)))
        return ending

    async def _start_fault(self) -> None:
        faults = self.world.faults
        if faults.strikes("metadata_never"):
            await trio.sleep_forever()
        if fault := faults.strikes("metadata_slow"):
            await trio.sleep(float(fault.details.get("seconds", 12)))

    def _new_session(self, admission: _Admission, initiation: Mapping[str, Any]) -> Session:
        world, agent = self.world, admission.agent
        source = as_mapping(initiation.get("source_info")).get("source") or websocket.args.get("source")
        settings = self._settings(agent, initiation)
        conversation = Conversation(
            id=admission.conversation_id or world.ids.new("conv_"),
            agent_id=agent.id,
            agent_name=agent.name,
            started_unix=int(world.now()),
            source=source if source in _SOURCES else "unknown",
            text_only=bool(settings["conversation"]["text_only"]),
            authorization=admission.authorization,
            user_id=initiation.get("user_id"),
            client_data={key: value for key, value in initiation.items() if key != "type"},
            field_schemas=agent.platform["data_collection"],
            status=Status.IN_PROGRESS,
            frames=deque(maxlen=world.frames_kept),
        )
        world.conversations[conversation.id] = conversation
        return Session(
            world=world,
            timing=self.timing,
            agent=agent,
            conversation=conversation,
            brain=self.choose_brain(not conversation.text_only),
            context=_context(world, agent, settings, conversation),
            settings=settings,
            send=websocket.send,
        )

    def _settings(self, agent: Agent, initiation: Mapping[str, Any]) -> Document:
        settings = agent.settings_for(initiation)
        if settings["conversation"]["text_only"] or not (fault := self.world.faults.strikes("wrong_formats")):
            return settings
        wrong = str(fault.details.get("format", "pcm_16000"))
        formats = {"tts": {"agent_output_audio_format": wrong}, "asr": {"user_input_audio_format": wrong}}
        return merged(settings, formats)

    async def _run_session(self, session: Session, initiation: Mapping[str, Any]) -> Ending:
        await session.emit(
            wire.metadata(
                session.conversation.id,
                output_format=session.settings["tts"]["agent_output_audio_format"],
                input_format=session.settings["asr"]["user_input_audio_format"],
            )
        )
        refusal = self._refusal(session, initiation)
        if refusal is not None:
            session.ending = refusal
            session.conversation.error = (refusal.code or 0, refusal.reason)
            await self._announce(refusal, session.emit)
            return refusal
        outbox, inbox = trio.open_memory_channel[Turn](_TURNS_LIMIT)
        listener = Listener(session, websocket.receive, outbox)
        self.sessions[session.conversation.id] = (session, listener)
        with session.scope:
            first_message = self._first_message(session)
            if first_message:
                await listener.start_turn(Turn(TurnKind.FIRST_MESSAGE, first_message))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Speaker(session, inbox).run, name="lab speaker")
                await listener.run()
        ending = session.ending or Ending(1011)
        await self._announce(ending, session.emit)
        return ending

    def _refusal(self, session: Session, initiation: Mapping[str, Any]) -> Ending | None:
        """What is checked only after the metadata was sent."""
        field_name = session.agent.refused_override(initiation)
        if fault := self.world.faults.strikes("override_refused"):
            field_name = str(fault.details.get("field", "prompt"))
        if field_name is not None:
            reason = f"Override for field '{field_name}' is not allowed by config."
            return Ending(1008, reason, "override_error")
        agent = session.settings["agent"]
        for place, text in (("prompt", agent["prompt"]["prompt"]), ("first message", agent["first_message"])):
            missing = missing_variables(text or "", session.context.variables)
            if missing:
                names = ", ".join(repr(name) for name in sorted(missing))
                reason = f"Missing required dynamic variables in {place}: {{{names}}}"
                return Ending(1008, reason, "missing_dynamic_variable")
        return None

    def _first_message(self, session: Session) -> str:
        faults = self.world.faults
        text = filled_in(session.settings["agent"]["first_message"] or "", session.context.variables)
        if faults.strikes("first_message_never"):
            return ""
        if not text and faults.strikes("first_message_anyway"):
            return _DEFAULT_FIRST_MESSAGE
        return text

    async def _announce(self, ending: Ending, emit: Callable[[Frame], Awaitable[None]]) -> None:
        if ending.code is None or ending.error_type is None:
            return
        if not self.world.faults.strikes("error_frame_missing"):
            await emit(wire.error(ending.code, ending.error_type, ending.reason))

    async def _hang_up(self, ending: Ending) -> None:
        if ending.code is None:
            host, port = websocket.scope["client"] or ("", 0)
            self.abort_connection((host, port))
        else:
            reason = ending.reason.encode()[:_REASON_MAX_BYTES].decode(errors="ignore")
            await websocket.close(ending.code, reason)

    def _close_books(self, session: Session) -> None:
        conversation = session.conversation
        self.sessions.pop(conversation.id, None)
        conversation.duration_s = session.second
        if conversation.error is not None:
            conversation.status = Status.FAILED
            conversation.termination_reason = conversation.error[1]
            self.world.books.change()
            return
        if not conversation.termination_reason:
            conversation.termination_reason = _termination_reason(session.ending)
        self.world.end_conversation(
            conversation, recap(conversation), analysis_delay_s=self.timing.analysis_delay_s
        )


def _http_refusal(status: int, code: str) -> Response:
    detail = {"type": "authentication_error", "code": code, "status": code, "message": "Upgrade refused."}
    return Response(json.dumps({"detail": detail}), status=status, content_type="application/json")


def _termination_reason(ending: Ending | None) -> str:
    if ending is None:
        # The server cannot see the client's close code.
        return "Client disconnected: 1000"
    return ending.reason or f"Closed: {ending.code}"


def _context(
    world: World, agent: Agent, settings: Mapping[str, Any], conversation: Conversation
) -> CallContext:
    variables = {
        **agent.placeholders,
        **conversation.variables,
        "system__agent_id": agent.id,
        "system__conversation_id": conversation.id,
        "system__time_utc": conversation.started_unix,
        "system__is_text_only": conversation.text_only,
        "system__call_duration_secs": 0,
        "system__caller_id": "",
        "system__called_number": "",
        "system__call_sid": "",
        "system__timezone": "",
        "system__time": "",
        "system__conversation_history": "",
    }
    return CallContext(
        agent_name=agent.name,
        text_only=conversation.text_only,
        variables={
            name: "<REDACTED>" if name.startswith("secret__") else value for name, value in variables.items()
        },
        prompt=filled_in(settings["agent"]["prompt"]["prompt"] or "", variables),
        tools=frozenset(world.tool_configs(agent)),
    )
