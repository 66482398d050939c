"""Agents set over REST, against the simulated ElevenLabs and a server that fails."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from daemon.elevenlabs.agent_documents import AgentDocuments, AgentPlan
from daemon.elevenlabs.agent_settings import Role
from daemon.elevenlabs.problems import ApiRefusedError, ApiUnavailableError
from daemon.elevenlabs.rest import RestApi
from tests.contract.lab_elevenlabs import KEY, ServedLab, served_lab
from tests.contract.scripted_server import answer, reset, scripted

FRESH: Mapping[str, Any] = {
    "name": "Valeria",
    "conversation_config": {
        "agent": {"first_message": "Hola, {{name}}.", "prompt": {"prompt": "Eres Valeria."}},
        "conversation": {"client_events": ["audio", "vad_score"]},
    },
}
REASONABLE = {"type": "object", "properties": {}}


@asynccontextmanager
async def documents_at(url: str) -> AsyncIterator[AgentDocuments]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield AgentDocuments(
            RestApi(client=client, base_url=url, api_key=KEY, timeout_s=5, answer_max_bytes=2**20)
        )


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[ServedLab, AgentDocuments]]:
    async with served_lab(agent=dict(FRESH)) as served, documents_at(served.url) as documents:
        yield served, documents


async def planned(documents: AgentDocuments, agent_id: str, role: Role) -> AgentPlan:
    plan = await documents.plan(agent_id, role)
    assert plan is not None
    return plan


def config_of(served: ServedLab) -> dict[str, Any]:
    return served.lab.world.agent(served.agent_id).config


def names_of_tools(served: ServedLab) -> list[str]:
    tools = served.lab.world.tools
    return [tools[tool_id].config["name"] for tool_id in config_of(served)["agent"]["prompt"]["tool_ids"]]


@pytest.mark.parametrize("role", Role)
async def test_what_is_written_leaves_nothing_to_do(role: Role) -> None:
    async with opened() as (served, documents):
        plan = await planned(documents, served.agent_id, role)
        assert plan.writes
        assert await documents.write(plan) == []
        again = await planned(documents, served.agent_id, role)
        assert (again.found, again.writes) == ([], False)
        requests = served.lab.world.books.requests.copy()
        assert await documents.write(again) == []
        # Nothing at all is sent.
        assert served.lab.world.books.requests == requests

        agent = config_of(served)["agent"]
        assert (agent["first_message"], agent["prompt"]["prompt"]) == ("Hola, {{name}}.", "Eres Valeria.")


async def test_a_voice_agent_gets_its_tools_beside_its_own() -> None:
    async with opened() as (served, documents), served.client() as client:
        own = {"type": "client", "name": "look_up", "description": "Busca.", "parameters": REASONABLE}
        made = (await client.post("/v1/convai/tools", json={"tool_config": own})).json()["id"]
        patch = {"conversation_config": {"agent": {"prompt": {"tool_ids": [made]}}}}
        await client.patch(f"/v1/convai/agents/{served.agent_id}", json=patch)

        await documents.write(await planned(documents, served.agent_id, Role.VOICE))

        assert names_of_tools(served) == ["look_up", "request_advisor", "take_message"]
        assert served.lab.world.tools[made].config == own


async def test_a_tool_that_the_agent_has_is_mended_in_its_place() -> None:
    async with opened() as (served, documents), served.client() as client:
        own = {
            "type": "client",
            "name": "request_advisor",
            "description": "Mi texto.",
            "expects_response": False,
        }
        made = (await client.post("/v1/convai/tools", json={"tool_config": own})).json()["id"]
        patch = {"conversation_config": {"agent": {"prompt": {"tool_ids": [made]}}}}
        await client.patch(f"/v1/convai/agents/{served.agent_id}", json=patch)

        plan = await planned(documents, served.agent_id, Role.VOICE)
        await documents.write(plan)

        assert "tools.request_advisor.expects_response" in {".".join(one.path) for one in plan.found}
        config = served.lab.world.tools[made].config
        assert (config["description"], config["expects_response"]) == ("Mi texto.", True)
        assert config["parameters"]["required"] == ["reason"]
        assert names_of_tools(served) == ["request_advisor", "take_message"]
        assert (await planned(documents, served.agent_id, Role.VOICE)).found == []


async def test_a_run_that_was_broken_off_is_gone_on_with_and_makes_no_tool_twice() -> None:
    async with opened() as (served, documents):
        served.fault("rest_500", path="/v1/convai/agents", times=1)
        plan = await documents_plan_past_fault(documents, served)
        served.fault("rest_answer_lost", path="/v1/convai/agents", times=1)
        with pytest.raises(ApiUnavailableError):
            await documents.write(plan)
        tools = list(served.lab.world.tools)

        await documents.write(await planned(documents, served.agent_id, Role.VOICE))

        assert list(served.lab.world.tools) == tools
        assert names_of_tools(served) == ["request_advisor", "take_message"]


async def documents_plan_past_fault(documents: AgentDocuments, served: ServedLab) -> AgentPlan:
    with pytest.raises(ApiUnavailableError):
        await documents.plan(served.agent_id, Role.VOICE)
    return await planned(documents, served.agent_id, Role.VOICE)


async def test_one_agent_in_both_roles_comes_to_rest() -> None:
    async with opened() as (served, documents):
        for role in Role:
            await documents.write(await planned(documents, served.agent_id, role))
        for role in Role:
            assert (await planned(documents, served.agent_id, role)).found == []


async def test_no_such_agent_is_none_and_a_wrong_key_a_refusal() -> None:
    async with opened() as (served, documents):
        assert await documents.plan("agent_of_nobody", Role.TEXT) is None
        async with httpx.AsyncClient(trust_env=False) as client:
            api = RestApi(
                client=client, base_url=served.url, api_key="x", timeout_s=5, answer_max_bytes=2**20
            )
            with pytest.raises(ApiRefusedError) as caught:
                await AgentDocuments(api).plan(served.agent_id, Role.TEXT)
        assert caught.value.status == 401


async def test_what_elevenlabs_does_not_take_over_is_told() -> None:
    unchanged = answer(200, {"agent_id": "agent_1", "conversation_config": {}, "platform_settings": {}})
    nothing = answer(200, {"tools": [], "has_more": False})
    steps = [unchanged, nothing, nothing, answer(200, {"id": "t1"}), answer(200, {"id": "t2"}), unchanged]
    async with scripted(*steps) as (script, url), documents_at(url) as documents:
        plan = await planned(documents, "agent_1", Role.VOICE)
        untaken = await documents.write(plan)

    assert [(seen.method, seen.path.removeprefix("/v1/convai")) for seen in script.seen] == [
        ("GET", "/agents/agent_1"),
        ("GET", "/tools"),
        ("GET", "/tools"),
        ("POST", "/tools"),
        ("POST", "/tools"),
        ("PATCH", "/agents/agent_1"),
    ]
    assert [one.path for one in untaken] == [one.path for one in plan.found]


async def test_a_patch_whose_answer_is_lost_is_a_failure() -> None:
    document = answer(200, {"agent_id": "agent_1"})
    async with scripted(document, reset) as (_, url), documents_at(url) as documents:
        plan = await planned(documents, "agent_1", Role.TEXT)
        with pytest.raises(ApiUnavailableError):
            await documents.write(plan)


@pytest.mark.parametrize("document", [{}, {"conversation_config": [1]}, {"conversation_config": {"agent": {"prompt": {"tool_ids": [None, 3]}}}}])  # fmt: skip
async def test_a_document_of_any_shape_is_read(document: dict[str, Any]) -> None:
    nothing = answer(200, {"tools": [{"id": "t", "tool_config": None}], "has_more": False})
    async with scripted(answer(200, document), nothing) as (_, url), documents_at(url) as documents:
        assert (await planned(documents, "agent_1", Role.VOICE)).writes
