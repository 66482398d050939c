"""Every fault that keeps a session from starting, or ends it, can be seen from outside."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio_websocket import ConnectionRejected

from daemon.lab.elevenlabs.known_faults import ENDING_FAULTS, START_FAULTS, UPGRADE_FAULTS
from daemon.lab.elevenlabs.session import SocketTiming
from tests.contract.lab_elevenlabs import INITIATION, ServedLab, of_type, reply_texts, served_lab

SHORT_S = 0.05
BROKEN = 1006

Check = Callable[[ServedLab, str], Awaitable[None]]
CHECKS: dict[str, Check] = {}


def shows(*names: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        CHECKS.update(dict.fromkeys(names, check))
        return check

    return register


# --- the upgrade and the start


@shows("upgrade_401", "upgrade_403", "upgrade_429")
async def upgrade_refused(served: ServedLab, name: str) -> None:
    served.fault(name)
    with pytest.raises(ConnectionRejected) as refused:
        async with served.talk():
            pass
    assert refused.value.status_code == int(name.removeprefix("upgrade_"))


@shows("upgrade_silent")
async def upgrade_silent(served: ServedLab, name: str) -> None:
    served.fault(name)
    with trio.move_on_after(SHORT_S) as waiting:
        async with served.talk():
            pass
    assert waiting.cancelled_caught


@shows("upgrade_slow")
async def upgrade_slow(served: ServedLab, name: str) -> None:
    served.fault(name, seconds=SHORT_S)
    started_at = trio.current_time()
    async with served.talk() as talk:
        await talk.initiate()
    assert trio.current_time() - started_at >= SHORT_S


@shows("bad_signature_accepted")
async def bad_signature_accepted(served: ServedLab, name: str) -> None:
    url = f"{served.ws_url}&conversation_signature=cvtkn_wrong"
    with pytest.raises(ConnectionRejected):
        async with served.talk(url):
            pass
    served.fault(name)
    async with served.talk(url) as talk:
        code, _ = await talk.end()
    assert code == 1008


@shows("metadata_never")
async def metadata_never(served: ServedLab, name: str) -> None:
    served.fault(name)
    async with served.talk() as talk:
        await talk.send(INITIATION)
        with trio.move_on_after(SHORT_S):
            await talk.next()
        assert talk.frames == []


@shows("metadata_slow")
async def metadata_slow(served: ServedLab, name: str) -> None:
    served.fault(name, seconds=SHORT_S)
    async with served.talk() as talk:
        started_at = trio.current_time()
        await talk.initiate()
    assert trio.current_time() - started_at >= SHORT_S


@shows("quota_at_start")
async def quota_at_start(served: ServedLab, name: str) -> None:
    served.fault(name)
    async with served.talk() as talk:
        await talk.send(INITIATION)
        ended = await talk.end()
    assert ended == (3000, "quota_exceeded")
    assert talk.frames == []


@shows("override_refused")
async def override_refused(served: ServedLab, name: str) -> None:
    served.fault(name)
    async with served.talk() as talk:
        await talk.initiate()
        ended = await talk.end()
    assert ended == (1008, "Override for field 'prompt' is not allowed by config.")
    assert talk.types() == ["conversation_initiation_metadata", "error"]


@shows("error_frame_missing")
async def error_frame_missing(served: ServedLab, name: str) -> None:
    served.fault("override_refused")
    served.fault(name)
    async with served.talk() as talk:
        await talk.initiate()
        await talk.end()
    assert talk.types() == ["conversation_initiation_metadata"]


@shows("first_message_anyway")
async def first_message_anyway(served: ServedLab, name: str) -> None:
    served.fault(name)
    async with served.talk() as talk:
        await talk.initiate()
        await talk.until("agent_response_complete")
    assert reply_texts(talk.frames) == ["¡Hola! ¿En qué puedo ayudarte hoy?"]


@shows("first_message_never")
async def first_message_never(served: ServedLab, name: str) -> None:
    served.lab.world.agents[served.agent_id].config["agent"]["first_message"] = "Buenos días"
    served.fault(name)
    async with served.talk() as talk:
        await talk.initiate()
        frames = await talk.turn("gracias")
    assert len(reply_texts(frames)) == 1
    assert "Buenos días" not in reply_texts(talk.frames)


# --- endings


SEEN_BEFORE_DROP = {
    "drop_on_message": [],
    "drop_after_first_delta": ["agent_chat_response_part"] * 2,
    "drop_before_complete": ["agent_chat_response_part"] * 6 + ["agent_response"],
}


@shows(*SEEN_BEFORE_DROP)
async def drop_in_a_turn(served: ServedLab, name: str) -> None:
    served.fault(name)
    async with served.talk() as talk:
        await talk.initiate()
        await talk.say("necesito que revisen mi pedido de ayer #1")
        ended = await talk.end()
    assert ended == (BROKEN, None)
    assert talk.types()[1:] == SEEN_BEFORE_DROP[name]


@shows("drop_idle")
async def drop_idle(served: ServedLab, name: str) -> None:
    async with served.talk() as talk:
        await talk.initiate()
        await talk.turn("hola")
        served.fault(name)
        ended = await talk.end()
    assert ended == (BROKEN, None)


ENDED_WITH = {
    "max_duration_short": (1000, "max_duration_exceeded"),
    "max_duration_idle": (1000, "max_duration_exceeded"),
    "receive_timeout_idle": (1002, "transport_receive_timeout"),
    "crash_idle": (1011, "unknown_websocket_crash"),
    "quota_idle": (3000, None),
    "llm_timeout_on_message": (1002, "llm_timeout"),
    "invalid_message_on_message": (1008, "invalid_message"),
    "crash_on_message": (1011, "unknown_websocket_crash"),
    "llm_error_mid_answer": (1002, "llm_error"),
    "crash_mid_answer": (1011, "unknown_websocket_crash"),
    "quota_mid_answer": (3000, None),
}


@shows(*ENDED_WITH)
async def closed_by_server(served: ServedLab, name: str) -> None:
    served.fault(name, seconds=SHORT_S)
    async with served.talk() as talk:
        await talk.initiate()
        if not name.endswith(("idle", "short")):
            await talk.say("hola, cuénteme más de esto por favor #1")
        code, _ = await talk.end()
    errors = of_type(talk.frames, "error")
    assert (code, errors[-1]["error_event"]["error_type"] if errors else None) == ENDED_WITH[name]
    if name.endswith("mid_answer"):
        assert of_type(talk.frames, "agent_chat_response_part")
    if name.endswith("on_message"):
        assert not of_type(talk.frames, "agent_chat_response_part")


@shows("goodbye_after_answer")
async def goodbye_after_answer(served: ServedLab, name: str) -> None:
    served.fault(name)
    async with served.talk() as talk:
        await talk.initiate()
        await talk.say("hola")
        code, _ = await talk.end()
    assert code == 1000
    assert talk.frames[-1]["agent_tool_response"]["tool_name"] == "end_call"


@pytest.mark.parametrize("name", CHECKS)
async def test_fault_is_seen_on_the_wire(name: str) -> None:
    async with served_lab(timing=SocketTiming(ping_every_s=SHORT_S)) as served:
        await CHECKS[name](served, name)


def test_every_known_fault_of_starts_and_ends_is_shown() -> None:
    assert set(CHECKS) == {*UPGRADE_FAULTS, *START_FAULTS, *ENDING_FAULTS}
