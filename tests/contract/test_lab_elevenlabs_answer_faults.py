"""Every fault of the agent's answers and of single frames can be seen from outside."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from daemon.lab.elevenlabs.known_faults import ANSWER_FAULTS, FRAME_FAULTS
from daemon.lab.elevenlabs.session import SocketTiming
from daemon.lab.elevenlabs.speaker import UNKNOWN_TOOL
from tests.contract.lab_elevenlabs import ServedLab, Talk, of_type, reply_texts, served_lab

SHORT_S = 0.05

Check = Callable[[ServedLab, str], Awaitable[None]]
CHECKS: dict[str, Check] = {}


def shows(*names: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        CHECKS.update(dict.fromkeys(names, check))
        return check

    return register


async def answer_tool(talk: Talk, call: dict[str, Any]) -> None:
    await talk.send(
        {
            "type": "client_tool_result",
            "tool_call_id": call["client_tool_call"]["tool_call_id"],
            "result": "{}",
            "is_error": False,
        }
    )


# --- answers


@shows("answer_never")
async def answer_never(served: ServedLab, name: str) -> None:
    served.fault(name)
    async with served.talk() as talk:
        await talk.initiate()
        await talk.say("primera #1")
        await talk.until("ping")
        frames = await talk.turn("segunda #2")
    assert "#2" in reply_texts(frames)[0]
    assert len(reply_texts(talk.frames)) == 1


@shows("answer_delayed")
async def answer_delayed(served: ServedLab, name: str) -> None:
    served.fault(name, seconds=SHORT_S)
    async with served.talk() as talk:
        await talk.initiate()
        started_at = trio.current_time()
        await talk.turn("hola")
    assert trio.current_time() - started_at >= SHORT_S


@shows("answer_blank")
async def answer_blank(served: ServedLab, name: str) -> None:
    served.fault(name)
    async with served.talk() as talk:
        await talk.initiate()
        frames = await talk.turn("hola")
    assert [text.strip() for text in reply_texts(frames)] == [""]


@shows("answer_flat")
async def answer_flat(served: ServedLab, name: str) -> None:
    served.fault(name)
    async with served.talk() as talk:
        await talk.initiate()
        frames = await talk.turn("hola #1")
    (flat,) = of_type(frames, "agent_response")
    assert set(flat) == {"type", "message"}
    assert "#1" in flat["message"]


@shows("parts_never")
async def parts_never(served: ServedLab, name: str) -> None:
    served.fault(name)
    async with served.talk() as talk:
        await talk.initiate()
        frames = await talk.turn("hola")
    assert [frame["type"] for frame in frames] == ["agent_response", "agent_response_complete"]


@shows("response_never")
async def response_never(served: ServedLab, name: str) -> None:
    served.fault(name)
    async with served.talk() as talk:
        await talk.initiate()
        frames = await talk.turn("hola #1")
    parts = [part["text_response_part"]["text"] for part in of_type(frames, "agent_chat_response_part")]
    assert "#1" in "".join(parts)
    assert reply_texts(frames) == []


@shows("complete_never")
async def complete_never(served: ServedLab, name: str) -> None:
    served.fault(name)
    async with served.talk() as talk:
        await talk.initiate()
        await talk.say("hola")
        await talk.until("ping")
    assert "agent_response" in talk.types()
    assert "agent_response_complete" not in talk.types()


@shows("complete_late")
async def complete_late(served: ServedLab, name: str) -> None:
    served.fault(name, seconds=SHORT_S)
    async with served.talk() as talk:
        await talk.initiate()
        await talk.say("primera #1")
        await talk.until("agent_response")
        responded_at = trio.current_time()
        await talk.until("agent_response_complete")
    assert trio.current_time() - responded_at >= SHORT_S / 2


@shows("complete_after_next_message")
async def complete_after_next_message(served: ServedLab, name: str) -> None:
    served.fault(name)
    async with served.talk() as talk:
        await talk.initiate()
        await talk.say("primera #1")
        first = await talk.until("agent_response")
        await talk.until("ping")
        assert "agent_response_complete" not in talk.types()
        await talk.say("segunda #2")
        late = await talk.until("agent_response_complete")
        assert len(reply_texts(talk.frames)) == 1
        await talk.until("agent_response_complete")
    assert late["agent_response_complete_event"]["event_id"] == first["agent_response_event"]["event_id"]


@shows("interruption_late_correction")
async def interruption_late_correction(served: ServedLab, name: str) -> None:
    served.fault(name, seconds=SHORT_S)
    async with served.talk() as talk:
        await talk.initiate()
        frames = await talk.turn("primera #1")
        assert of_type(frames, "interruption")
        assert not of_type(frames, "agent_response_correction")
        await talk.say("segunda #2")
        corrected = await talk.until("agent_response_correction")
    correction = corrected["agent_response_correction_event"]
    assert "#1" in correction["original_agent_response"]
    assert correction["event_id"] == of_type(frames, "agent_response")[0]["agent_response_event"]["event_id"]


@shows("tool_between_replies")
async def tool_between_replies(served: ServedLab, name: str) -> None:
    served.fault(name)
    async with served.talk() as talk:
        await talk.initiate()
        await talk.say("cuénteme #1")
        call = await talk.until("client_tool_call")
        assert reply_texts(talk.frames) == ["Un momento, lo consulto."]
        await answer_tool(talk, call)
        await talk.until("agent_response_complete")
    assert len(reply_texts(talk.frames)) == 2
    assert talk.types().index("agent_tool_response") > talk.types().index("client_tool_call")


@shows("tool_expects_response", "tool_unknown")
async def tool_expects_response(served: ServedLab, name: str) -> None:
    served.fault(name)
    async with served.talk() as talk:
        await talk.initiate()
        await talk.say("cuénteme #1")
        call = await talk.until("client_tool_call")
        assert call["client_tool_call"]["expects_response"] is True
        expected = UNKNOWN_TOOL if name == "tool_unknown" else "request_advisor"
        assert call["client_tool_call"]["tool_name"] == expected
        await answer_tool(talk, call)
        await talk.until("agent_response_complete")
    assert "#1" in reply_texts(talk.frames)[0]


@shows("tool_fire_and_forget")
async def tool_fire_and_forget(served: ServedLab, name: str) -> None:
    served.fault(name)
    async with served.talk() as talk:
        await talk.initiate()
        frames = await talk.turn("cuénteme #1")
    (call,) = of_type(frames, "client_tool_call")
    assert call["client_tool_call"]["expects_response"] is False


# --- frames


@shows("string_event_ids")
async def string_event_ids(served: ServedLab, name: str) -> None:
    served.fault(name, times=None)
    async with served.talk() as talk:
        await talk.initiate()
        frames = await talk.turn("hola")
        ping = await talk.until("ping")
        await talk.send({"type": "pong", "event_id": ping["ping_event"]["event_id"]})
        await talk.turn("sigo aquí")
    ids = [frame["agent_response_event"]["event_id"] for frame in of_type(frames, "agent_response")]
    assert all(isinstance(event_id, str) and event_id.isdigit() for event_id in ids)


@shows("unknown_types")
async def unknown_types(served: ServedLab, name: str) -> None:
    served.fault(name, times=None)
    async with served.talk() as talk:
        await talk.initiate()
        await talk.turn("hola")
    assert talk.types().count("agent_mood_estimate") == len(talk.frames) / 2


@shows("unknown_fields")
async def unknown_fields(served: ServedLab, name: str) -> None:
    served.fault(name, times=None)
    async with served.talk() as talk:
        await talk.initiate()
        frames = await talk.turn("hola #1")
    assert all("lab_extra" in frame for frame in frames)
    assert "#1" in reply_texts(frames)[0]


@shows("ping_flood")
async def ping_flood(served: ServedLab, name: str) -> None:
    served.fault(name, count=50)
    async with served.talk() as talk:
        await talk.initiate()
        pings = [await talk.until("ping") for _ in range(50)]
    ids = [ping["ping_event"]["event_id"] for ping in pings]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("name", CHECKS)
async def test_fault_is_seen_on_the_wire(name: str) -> None:
    async with served_lab(timing=SocketTiming(ping_every_s=SHORT_S)) as served:
        await CHECKS[name](served, name)


def test_every_known_fault_of_answers_and_frames_is_shown() -> None:
    assert set(CHECKS) == {*ANSWER_FAULTS, *FRAME_FAULTS}


async def test_a_fault_that_has_struck_its_times_is_over() -> None:
    async with served_lab() as served:
        served.fault("answer_blank", times=1)
        async with served.talk() as talk:
            await talk.initiate()
            first = await talk.turn("hola #1")
            second = await talk.turn("hola #2")
        assert json.dumps(first).count("#1") == 0
        assert "#2" in reply_texts(second)[0]
