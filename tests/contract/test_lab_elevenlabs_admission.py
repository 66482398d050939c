"""Who may start an agent session, and with which settings."""

from typing import Any

import pytest
from trio_websocket import ConnectionRejected

from tests.contract.lab_elevenlabs import KEY, ServedLab, agent_body, reply_texts, served_lab


async def permit(served: ServedLab, **permissions: dict[str, bool]) -> None:
    body = {"platform_settings": {"overrides": {"conversation_config_override": permissions}}}
    async with served.client() as client:
        answer = await client.patch(f"/v1/convai/agents/{served.agent_id}", json=body)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "conversation_initiation", "conversation_config": {"mode": "text"}},
        {"type": "user_message", "text": "hola"},
        {"type": "pong", "event_id": 1},
    ],
)
async def test_anything_but_the_initiation_first_is_refused(frame: dict[str, Any]) -> None:
    async with served_lab() as served, served.talk() as talk:
        await talk.send(frame)

        assert await talk.end() == (1008, "Invalid message received")
        (error,) = talk.frames
        assert error["error_event"]["error_type"] == "invalid_message"


async def test_a_refused_override_comes_after_the_metadata() -> None:
    async with served_lab() as served, served.talk() as talk:
        await talk.initiate(conversation_config_override={"agent": {"first_message": ""}})
        ended = await talk.end()

        assert ended == (1008, "Override for field 'first_message' is not allowed by config.")
        assert talk.frames[-1]["error_event"]["error_type"] == "override_error"
        (conversation,) = served.lab.world.conversations.values()
        assert conversation.status == "failed"


async def test_permitted_overrides_take_effect() -> None:
    async with served_lab(agent=agent_body(text_only=False)) as served:
        await permit(served, agent={"first_message": True}, conversation={"text_only": True})
        override = {"agent": {"first_message": "Hola {{customer_name}}"}, "conversation": {"text_only": True}}
        async with served.talk() as talk:
            await talk.initiate(
                conversation_config_override=override, dynamic_variables={"customer_name": "Ana"}
            )
            await talk.until("agent_response_complete")

        assert reply_texts(talk.frames) == ["Hola Ana"]
        assert "audio" not in talk.types()


async def test_a_text_only_flag_in_the_wrong_place_is_ignored() -> None:
    async with served_lab(agent=agent_body(text_only=False)) as served, served.talk() as talk:
        await talk.initiate(conversation_config_override={"text_only": True})
        await talk.turn("hola")

    assert "audio" in talk.types()


async def test_a_missing_dynamic_variable_ends_the_conversation() -> None:
    body = agent_body()
    body["conversation_config"]["agent"]["prompt"]["prompt"] = "Resumen: {{call_summary}}"
    async with served_lab(agent=body) as served, served.talk() as talk:
        await talk.initiate()
        code, reason = await talk.end()

        assert code == 1008
        assert reason == "Missing required dynamic variables in prompt: {'call_summary'}"
        assert talk.frames[-1]["error_event"]["error_type"] == "missing_dynamic_variable"


async def test_a_signed_url_with_a_conversation_id_is_good_once() -> None:
    body = agent_body()
    body["platform_settings"]["auth"] = {"enable_auth": True}
    async with served_lab(agent=body) as served, served.client() as client:
        with pytest.raises(ConnectionRejected):
            async with served.talk():
                pass
        query = {"agent_id": served.agent_id, "include_conversation_id": "true"}
        answer = await client.get("/v1/convai/conversation/get-signed-url", params=query)
        url = answer.json()["signed_url"]
        async with served.talk(url) as talk:
            conversation_id = await talk.initiate()
        assert f"conversation_id={conversation_id}" in url
        with pytest.raises(ConnectionRejected):
            async with served.talk(url):
                pass


async def test_a_plain_signed_url_may_be_used_again_and_so_may_the_key() -> None:
    body = agent_body()
    body["platform_settings"]["auth"] = {"enable_auth": True}
    async with served_lab(agent=body) as served, served.client() as client:
        query = {"agent_id": served.agent_id}
        url = (await client.get("/v1/convai/conversation/get_signed_url", params=query)).json()["signed_url"]
        for _ in range(2):
            async with served.talk(f"{url}&source=python_sdk") as talk:
                await talk.initiate()
        async with served.talk(headers=[(b"xi-api-key", KEY.encode())]) as talk:
            await talk.initiate()


async def test_the_subprotocol_is_selected_when_it_is_offered() -> None:
    async with served_lab() as served, served.talk(subprotocols=["convai"]) as talk:
        await talk.initiate()

        assert talk.socket.subprotocol == "convai"
