"""An agent session behaves as the live service's does."""

from collections.abc import Iterable
from typing import Any

import pytest
import trio

from daemon.lab.elevenlabs.brain import CallContext, CallTool, EndCall, Pause, Say, Step
from daemon.lab.elevenlabs.session import SocketTiming
from tests.contract.lab_elevenlabs import INITIATION, ServedLab, agent_body, reply_texts, served_lab

SOON = SocketTiming(ping_every_s=0.05)


class Scripted:
    """A brain that answers every message with the same steps."""

    def __init__(self, *steps: Step) -> None:
        self.steps = steps
        self.contexts: list[CallContext] = []

    def reply(self, context: CallContext, text: str) -> Iterable[Step]:
        self.contexts.append(context)
        return self.steps


async def test_a_plain_turn_looks_like_the_live_trace() -> None:
    async with served_lab() as served, served.talk() as talk:
        await talk.initiate()
        frames = await talk.turn("¿Cuánto cuesta? #1")

        kinds = [frame["type"] for frame in frames]
        parts = [frame["text_response_part"] for frame in frames if "text_response_part" in frame]
        assert kinds == [
            *["agent_chat_response_part"] * len(parts),
            "agent_response",
            "agent_response_complete",
        ]
        assert [part["type"] for part in (parts[0], parts[-1])] == ["start", "stop"]
        assert {part["type"] for part in parts[1:-1]} == {"delta"}
        assert "".join(part["text"] for part in parts) == reply_texts(frames)[0]
        ids = {part["event_id"] for part in parts}
        assert ids == {frames[-2]["agent_response_event"]["event_id"]}


async def test_event_ids_grow_and_are_shared_by_all_kinds() -> None:
    async with served_lab(timing=SOON, seed=7) as served, served.talk() as talk:
        await talk.initiate()
        for number in range(4):
            await talk.turn(f"hola #{number}")
            await talk.until("ping")
        ids = [
            frame[key]["event_id"]
            for frame in talk.frames
            for key in ("ping_event", "agent_response_event")
            if key in frame
        ]

    assert ids == sorted(set(ids))


async def test_the_first_ping_has_no_round_trip_and_the_next_one_does() -> None:
    async with served_lab(timing=SOON) as served, served.talk() as talk:
        await talk.initiate()
        first = await talk.until("ping")
        await talk.send({"type": "pong", "event_id": first["ping_event"]["event_id"]})
        second = await talk.until("ping")

    assert first["ping_event"]["ping_ms"] is None
    assert second["ping_event"]["ping_ms"] >= 0


@pytest.mark.parametrize(
    ("frame", "error_type"),
    [
        ({"type": "user_message", "message": "hola"}, "missing_fields"),
        ({"type": "client_tool_result", "tool_call_id": "x", "result": "y"}, "missing_fields"),
        (
            {"type": "client_tool_result", "tool_call_id": "x", "result": {}, "is_error": False},
            "invalid_message",
        ),
        ({"type": "pong"}, "missing_fields"),
        ({"type": "ping"}, "invalid_message"),
        ({"type": "keep_alive"}, "invalid_message"),
        (INITIATION, "invalid_message"),
    ],
)
async def test_what_the_protocol_does_not_know_ends_with_1008(frame: dict[str, Any], error_type: str) -> None:
    async with served_lab() as served, served.talk() as talk:
        await talk.initiate()
        await talk.send(frame)
        code, _ = await talk.end()

        assert code == 1008
        assert talk.frames[-1]["error_event"]["error_type"] == error_type


async def test_every_other_message_of_the_protocol_is_accepted() -> None:
    async with served_lab() as served, served.talk() as talk:
        await talk.initiate()
        for frame in (
            {"user_audio_chunk": "//8="},
            {"type": "user_activity"},
            {"type": "contextual_update", "text": "algo", "context_id": "a"},
            {"type": "feedback", "event_id": 1, "score": "like"},
            {"type": "feedback", "event_id": 1, "score": None},
            {"type": "mcp_tool_approval_result", "tool_call_id": "x", "is_approved": True},
            {"type": "client_tool_result", "tool_call_id": "late", "result": "", "is_error": False},
            {"type": "user_message", "text": None},
        ):
            await talk.send(frame)
        files = [{"type": "file_input", "file_id": "f1"}]
        text = {"type": "user_message", "text": "mira esto #9"}
        await talk.send({"type": "multimodal_message", "text": text, "files": files})
        await talk.until("agent_response_complete")

    assert "#9" in reply_texts(talk.frames)[0]


async def test_client_events_decide_what_is_sent() -> None:
    body = agent_body(client_events=["agent_response_complete"])
    async with served_lab(agent=body) as served, served.talk() as talk:
        await talk.initiate()
        await talk.turn("hola")

    assert set(talk.types()) == {
        "conversation_initiation_metadata",
        "agent_chat_response_part",
        "agent_response_complete",
    }


async def test_a_new_message_interrupts_the_answer() -> None:
    brain = Scripted(Say("Una respuesta muy larga que no se termina nunca de decir"), Pause(0.01))
    timing = SocketTiming(delta_pause_s=5)
    async with served_lab(brain=brain, timing=timing) as served, served.talk() as talk:
        await talk.initiate()
        await talk.say("primera")
        await talk.until("agent_chat_response_part")
        delta = await talk.until("agent_chat_response_part")
        await talk.say("segunda")
        interruption = await talk.until("interruption")
        correction = await talk.until("agent_response_correction")
        again = await talk.until("agent_chat_response_part")

    event_id = delta["text_response_part"]["event_id"]
    corrected = correction["agent_response_correction_event"]
    assert interruption["interruption_event"]["event_id"] == corrected["event_id"] == event_id
    assert corrected["original_agent_response"].startswith(corrected["corrected_agent_response"].rstrip("…"))
    assert again["text_response_part"]["event_id"] > event_id
    assert "agent_response_complete" not in talk.types()


async def test_a_tool_call_stands_between_two_replies_and_its_result_is_known() -> None:
    async with served_lab() as served, served.talk() as talk:
        await talk.initiate()
        await talk.say("quiero hablar con un asesor")
        call = (await talk.until("client_tool_call"))["client_tool_call"]
        assert reply_texts(talk.frames) == ["Un momento, lo consulto."]
        await talk.send(
            {
                "type": "client_tool_result",
                "tool_call_id": call["tool_call_id"],
                "result": "nobody",
                "is_error": True,
            }
        )
        response = (await talk.until("agent_tool_response"))["agent_tool_response"]
        await talk.until("agent_response_complete")

        assert call["tool_name"] == "request_advisor"
        assert (response["is_error"], response["status"], response["tool_type"]) == (True, "error", "client")
        assert "recado" in reply_texts(talk.frames)[1]


async def test_a_tool_result_that_is_late_counts_as_failed() -> None:
    brain = Scripted(CallTool("request_advisor", {"reason": "x"}), Say("Sigo."))
    body = agent_body()
    body["conversation_config"]["agent"]["prompt"]["tools"][0]["response_timeout_secs"] = 0.05
    async with served_lab(agent=body, brain=brain) as served, served.talk() as talk:
        await talk.initiate()
        frames = await talk.turn("hola")
        (response,) = [frame for frame in frames if frame["type"] == "agent_tool_response"]

        assert response["agent_tool_response"]["is_error"] is True
        assert brain.contexts[0].tool_results[0].result == "Tool call timed out"


async def test_the_agent_ends_the_conversation_with_end_call() -> None:
    async with served_lab(brain=Scripted(Say("Adiós."), EndCall())) as served, served.talk() as talk:
        await talk.initiate()
        await talk.say("hola")
        code, _ = await talk.end()

        assert code == 1000
        assert talk.frames[-1]["agent_tool_response"]["tool_name"] == "end_call"


async def test_contextual_updates_are_silent_known_and_in_the_history() -> None:
    async with served_lab(timing=SOON) as served, served.client() as client:
        async with served.talk() as talk:
            conversation_id = await talk.initiate()
            for text in ("El precio es $900.", "El precio acordado es $800."):
                await talk.send({"type": "contextual_update", "text": text, "context_id": "offer"})
            await talk.until("ping")
            assert set(talk.types()) <= {"conversation_initiation_metadata", "ping"}
            frames = await talk.turn("¿cuánto cuesta?")
        await served.lab.books.until(lambda: served.lab.world.conversations[conversation_id].status == "done")
        detail = (await client.get(f"/v1/convai/conversations/{conversation_id}")).json()

    assert "$800" in reply_texts(frames)[0]
    updates = [entry for entry in detail["transcript"] if entry["contextual_update_info"]]
    assert updates[0]["tool_calls"][0]["tool_name"] == "system:contextual_update"
    assert [it["contextual_update_info"]["is_superseded"] for it in updates] == [True, True, False, False]


async def test_a_conversation_goes_from_in_progress_to_done_in_the_rest_api() -> None:
    timing = SocketTiming(analysis_delay_s=0.05)
    async with served_lab(timing=timing) as served, served.client() as client:

        async def status(conversation_id: str) -> str:
            answer = await client.get(f"/v1/convai/conversations/{conversation_id}")
            return str(answer.json()["status"])

        async with served.talk() as talk:
            conversation_id = await talk.initiate(user_id="contact-1", dynamic_variables={"product": "IA"})
            await talk.turn("hola")
            seen = [await status(conversation_id)]
        await served.lab.books.until(lambda: served.lab.books.sockets_open == 0)
        seen.append(await status(conversation_id))
        await served.lab.books.until(lambda: served.lab.world.conversations[conversation_id].status == "done")
        detail = (await client.get(f"/v1/convai/conversations/{conversation_id}")).json()

    assert [*seen, detail["status"]] == ["in-progress", "processing", "done"]
    assert [entry["role"] for entry in detail["transcript"]] == ["user", "agent"]
    assert detail["user_id"] == "contact-1"
    assert detail["metadata"]["text_only"] is True
    assert detail["metadata"]["termination_reason"] == "Client disconnected: 1000"
    assert detail["conversation_initiation_client_data"]["dynamic_variables"] == {"product": "IA"}


async def test_the_maximum_duration_ends_with_1000() -> None:
    async with served_lab(agent=agent_body(max_duration_seconds=0.05)) as served, served.talk() as talk:
        await talk.initiate()
        code, _ = await talk.end()

        assert code == 1000
        assert talk.frames[-1]["error_event"]["error_type"] == "max_duration_exceeded"


@pytest.mark.parametrize("pong_is_input", [False, True])
async def test_without_user_input_the_session_times_out(pong_is_input: bool) -> None:  # noqa: FBT001
    timing = SocketTiming(ping_every_s=0.05, receive_timeout_s=0.5, pong_is_input=pong_is_input)
    async with served_lab(timing=timing) as served, served.talk() as talk:
        await talk.initiate()
        for _ in range(15):
            ping = await talk.next()
            if ping["type"] != "ping":
                break
            await talk.send({"type": "pong", "event_id": ping["ping_event"]["event_id"]})
        timed_out = [frame for frame in talk.frames if frame["type"] == "error"]

    assert bool(timed_out) is not pong_is_input
    assert all(it["error_event"]["error_type"] == "transport_receive_timeout" for it in timed_out)


async def test_a_first_message_comes_without_asking_and_a_silent_user_is_nudged() -> None:
    body = agent_body()
    body["conversation_config"]["agent"]["first_message"] = "Hola, soy Valeria."
    async with served_lab(agent=body) as served:
        served.lab.world.agents[served.agent_id].config["turn"]["turn_timeout"] = 0.05
        async with served.talk() as talk:
            await talk.initiate()
            await talk.until("agent_response_complete")
            await talk.until("agent_response_complete")

    assert reply_texts(talk.frames) == ["Hola, soy Valeria.", "¿Sigues ahí?"]


async def test_books_hold_every_frame_of_both_directions() -> None:
    async with served_lab() as served, served.talk() as talk:
        conversation_id = await talk.initiate()
        await talk.turn("hola #1")
        conversation = served.lab.books.conversations[conversation_id]

        assert conversation.frames_of("out") == talk.frames
        assert [frame["type"] for frame in conversation.frames_of("in")] == [
            INITIATION["type"],
            "user_message",
        ]


async def test_the_lab_can_close_and_break_an_open_socket() -> None:
    async with served_lab() as served, served.client() as client:
        async with served.talk() as talk:
            conversation_id = await talk.initiate()
            await client.post(
                f"/lab/conversations/{conversation_id}/close", json={"code": 1002, "reason": "x"}
            )
            assert await talk.end() == (1002, "x")
        async with served.talk() as talk:
            conversation_id = await talk.initiate()
            await client.post(f"/lab/conversations/{conversation_id}/drop")
            assert await talk.end() == (1006, None)
        await served.lab.books.until(lambda: served.lab.books.sockets_open == 0)


async def test_many_sockets_talk_at_once_without_mixing() -> None:
    async def one(served: ServedLab, number: int) -> None:
        async with served.talk() as talk:
            await talk.initiate()
            for turn in range(3):
                frames = await talk.turn(f"necesito ayuda #{number}x{turn}")
                assert f"#{number}x{turn}" in reply_texts(frames)[0]

    async with served_lab() as served:
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(one, served, number)
        assert served.lab.books.sockets_opened == 40
