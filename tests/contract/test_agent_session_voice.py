"""Sessions that speak, as they go over the wire."""

import json
from base64 import b64decode
from typing import Any

import pytest
import trio
import trio.testing
from attrs import evolve

from actors.agent_events import AgentAudio, SessionEndReason, SessionPlan
from actors.ports import SessionLostError
from tests.contract.scripted_agent import (
    PLAN,
    VOICE_METADATA,
    Ear,
    Peer,
    metadata,
    ping,
    play,
    scripted_agent,
    sound,
)

SPOKEN = evolve(PLAN, speaks=True)


async def test_a_session_that_speaks_overrides_nothing_of_the_agent() -> None:
    heard: list[Any] = []

    async def script(peer: Peer) -> None:
        heard.append(await peer.open(VOICE_METADATA))
        heard.append(await peer.frame())
        await peer.close(1000)

    plan = SessionPlan(
        agent_id="agent_1",
        user_id="person-7",
        dynamic_variables={"n": 2},
        context="Llama otra vez.",
        speaks=True,
    )
    await play(script, plan=plan)

    initiation, update = heard
    assert initiation.pop("source_info")["source"] == "relevo"
    assert initiation == {
        "type": "conversation_initiation_client_data",
        "dynamic_variables": {"n": 2},
        "user_id": "person-7",
    }
    assert update == {"type": "contextual_update", "text": "Llama otra vez.", "context_id": "history"}


@pytest.mark.parametrize(
    ("agent_format", "person_format"),
    [("pcm_16000", "ulaw_8000"), ("ulaw_8000", "pcm_16000"), ("", ""), ("ulaw_8000", "")],
)
async def test_an_agent_that_sounds_otherwise_is_refused_and_told_what_to_set(
    agent_format: str, person_format: str
) -> None:
    codes: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.open(metadata(agent_format=agent_format, person_format=person_format))
        codes.append(await peer.until_closed())

    end, ear = await play(script, plan=SPOKEN)

    assert (end.reason, end.code, ear.events, codes) == (SessionEndReason.REFUSED, None, [], [1000])
    assert "conversation_config.tts.agent_output_audio_format" in end.detail
    assert "conversation_config.asr.user_input_audio_format" in end.detail
    assert end.detail.endswith(f"they are {agent_format or 'unknown'} and {person_format or 'unknown'}")


async def test_a_session_of_text_does_not_ask_how_the_agent_sounds() -> None:
    async def script(peer: Peer) -> None:
        await peer.open(metadata(agent_format="pcm_44100", person_format=""))
        await peer.close(1000)

    end, ear = await play(script)

    assert (end.reason, len(ear.events)) == (SessionEndReason.ENDED_BY_AGENT, 1)


async def test_sound_goes_byte_for_byte_and_what_we_inform_of_supersedes_nothing() -> None:
    heard: list[Any] = []

    async def script(peer: Peer) -> None:
        await peer.open(VOICE_METADATA)
        heard.extend([await peer.frame() for _ in range(3)])
        await peer.close(1000)

    ear, audio = Ear(), bytes(range(256))
    async with scripted_agent(script) as agent, trio.open_nursery() as nursery:
        nursery.start_soon(agent.sessions.run, SPOKEN, ear.deliver)
        session = await ear.session()
        await session.hear(audio)
        await session.inform("Nadie contesta.")
        await session.hear(b"")

    assert b64decode(heard[0].pop("user_audio_chunk"), validate=True) == audio
    assert heard == [
        {},
        {"type": "contextual_update", "text": "Nadie contesta."},
        {"user_audio_chunk": ""},
    ]


async def test_audio_of_any_size_comes_and_pings_between_it_are_answered() -> None:
    pieces = [b"\x01" * 10, b"\x02" * 70_000, b"\x03" * 3_000_000]
    pongs: list[Any] = []

    async def script(peer: Peer) -> None:
        await peer.open(VOICE_METADATA)
        for number, piece in enumerate(pieces):
            await peer.tell(sound(piece, number), ping(number))
            pongs.append(await peer.frame())
        await peer.close(1000)

    end, ear = await play(script, plan=SPOKEN)

    assert ear.said == [AgentAudio(payload=piece, event_id=number) for number, piece in enumerate(pieces)]
    assert pongs == [{"type": "pong", "event_id": number} for number in range(3)]
    assert end.reason is SessionEndReason.ENDED_BY_AGENT


async def test_every_frame_of_sound_is_shown_to_whoever_wants_to_see() -> None:
    seen: list[tuple[str, list[str]]] = []

    async def script(peer: Peer) -> None:
        await peer.open(VOICE_METADATA)
        await peer.frame()
        await peer.tell(sound(b"\x01", 1))
        await peer.close(1000)

    def look(direction: str, frame: str) -> None:
        seen.append((direction, list(json.loads(frame))))

    ear = Ear()
    async with scripted_agent(script, on_frame=look) as agent, trio.open_nursery() as nursery:
        nursery.start_soon(agent.sessions.run, SPOKEN, ear.deliver)
        await (await ear.session()).hear(b"\xff")

    assert seen[2:] == [(">", ["user_audio_chunk"]), ("<", ["type", "audio_event"])]


async def test_sound_that_nobody_takes_loses_the_session_and_no_more_is_taken() -> None:
    released = trio.Event()

    async def script(peer: Peer) -> None:
        await peer.open(VOICE_METADATA)
        await released.wait()

    ear = Ear()
    async with scripted_agent(script, send_timeout_s=0.2) as agent, trio.open_nursery() as nursery:
        nursery.start_soon(agent.sessions.run, SPOKEN, ear.deliver)
        session = await ear.session()
        with pytest.raises(SessionLostError):
            await session.hear(b"\xff" * 2**23)
        released.set()


async def test_frames_of_several_tasks_are_not_mixed_up_when_the_socket_is_full() -> None:
    may_read = trio.Event()
    sizes: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.open(VOICE_METADATA)
        await may_read.wait()
        for _ in range(60):
            frame = await peer.frame()
            sizes.append(len(frame.get("user_audio_chunk") or frame["text"]))
        await peer.close(1000)

    ear = Ear()
    async with scripted_agent(script) as agent, trio.open_nursery() as nursery:
        nursery.start_soon(agent.sessions.run, SPOKEN, ear.deliver)
        session = await ear.session()

        async def speak() -> None:
            for _ in range(30):
                await session.hear(b"\xff" * 150_000)

        async def write() -> None:
            for _ in range(30):
                await session.say("x" * 150_000)

        nursery.start_soon(speak)
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        may_read.set()

    assert sorted(sizes) == [150_000] * 30 + [200_000] * 30
