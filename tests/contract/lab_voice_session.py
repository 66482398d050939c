"""A voice session of the simulated ElevenLabs on paper: no sockets, in virtual time, with a caller who speaks into it."""

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from attrs import define, field

from daemon.lab.elevenlabs.app import ElevenLabsLab
from daemon.lab.elevenlabs.brain import CallContext
from daemon.lab.elevenlabs.conversations import Conversation
from daemon.lab.elevenlabs.listener import Listener
from daemon.lab.elevenlabs.session import Session, SocketTiming, Turn
from daemon.lab.elevenlabs.speaker import Speaker
from daemon.lab.faults import Fault
from daemon.lab.twilio.voice.mulaw import FRAME_BYTES, FRAME_S, SILENT_FRAME, spoken_s, voice
from tests.contract.lab_elevenlabs import KEY, agent_body


@define(eq=False)
class Seen:
    at_s: float
    frame: dict[str, Any]


@define(eq=False)
class Receiver:
    """The client's end.

    Attributes:
        seen: what the server sent, and when, by the session's time.
    """

    lab: ElevenLabsLab
    to_server: trio.MemorySendChannel[str]
    session: Session = field(init=False)
    seen: list[Seen] = field(factory=list)

    @property
    def now_s(self) -> float:
        return trio.current_time() - self.session.started_at

    async def take(self, text: str) -> None:
        self.seen.append(Seen(self.now_s, json.loads(text)))

    async def send(self, frame: dict[str, Any]) -> None:
        await self.to_server.send(json.dumps(frame))

    async def stream(self, audio: bytes) -> None:
        """Send sound at the pace at which it is heard."""
        for place in range(0, len(audio), FRAME_BYTES):
            piece = b64encode(audio[place : place + FRAME_BYTES]).decode()
            await self.send({"user_audio_chunk": piece})
            await trio.sleep(FRAME_S)

    async def say(self, words: str, seconds: float | None = None, *, silence_s: float = 0.5) -> None:
        """Speak, and be silent for a moment."""
        sound = voice(spoken_s(words) if seconds is None else seconds, 200)
        await self.stream(self.lab.spoken.say(words, sound))
        await self.be_silent(silence_s)

    async def be_silent(self, seconds: float) -> None:
        await self.stream(SILENT_FRAME * round(seconds / FRAME_S))

    def fault(self, name: str, *, times: int | None = 1, **details: float | str) -> None:
        self.lab.faults.switch_on(Fault(name=name, times=times, details=details))

    def types(self) -> list[str]:
        """What came, several audio frames in a row as one."""
        kinds = [one.frame["type"] for one in self.seen]
        return [
            kind
            for place, kind in enumerate(kinds)
            if kind != "audio" or place == 0 or kinds[place - 1] != "audio"
        ]

    def all(self, kind: str) -> list[Seen]:
        return [one for one in self.seen if one.frame["type"] == kind]

    def texts(self) -> list[str]:
        return [one.frame["agent_response_event"]["agent_response"] for one in self.all("agent_response")]

    def transcripts(self) -> list[str]:
        frames = [one.frame for one in self.all("user_transcript")]
        return [frame["user_transcription_event"]["user_transcript"] for frame in frames]

    def audio(self) -> list[bytes]:
        return [b64decode(one.frame["audio_event"]["audio_base_64"]) for one in self.all("audio")]


VOICE_EVENTS = [
    "audio",
    "interruption",
    "user_transcript",
    "agent_response",
    "agent_response_correction",
    "client_tool_call",
    "agent_tool_response",
    "agent_response_complete",
]


@asynccontextmanager
async def on_the_phone(
    *, timing: SocketTiming | None = None, agent: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Receiver]:
    """A session under way, with the settings of an agent for the telephone; for tests with `autojump_clock`."""
    lab = ElevenLabsLab(api_key=KEY, **options)
    body = agent or agent_body(text_only=False, client_events=VOICE_EVENTS)
    made = lab.world.add_agent(body)
    conversation = Conversation(
        id="conv_1", agent_id=made.id, agent_name=made.name, started_unix=0, source="unknown"
    )
    to_server, from_client = trio.open_memory_channel[str](1_000)
    outbox, inbox = trio.open_memory_channel[Turn](100)
    context = CallContext(
        agent_name=made.name, text_only=False, tools=frozenset(lab.world.tool_configs(made))
    )
    receiver = Receiver(lab, to_server)
    receiver.session = Session(
        world=lab.world,
        timing=timing or SocketTiming(ping_every_s=3_600.0, receive_timeout_s=None),
        agent=made,
        conversation=conversation,
        brain=lab.voice_brain or lab.brain,
        context=context,
        settings=made.config,
        send=receiver.take,
    )
    listener = Listener(receiver.session, from_client.receive, outbox)
    with trio.fail_after(24 * 3600):
        async with trio.open_nursery() as nursery:
            await nursery.start(lab.run)
            nursery.start_soon(Speaker(receiver.session, inbox).run)
            nursery.start_soon(listener.run)
            yield receiver
            nursery.cancel_scope.cancel(reason="the test is over")
