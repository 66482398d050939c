"""The lab's answers and frames fit the vendor's own schemas."""

import functools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import yaml
from jsonschema import Draft202012Validator

from daemon.lab.elevenlabs.session import SocketTiming
from daemon.lab.elevenlabs.wire import REQUIRED_FIELDS
from tests.contract.lab_elevenlabs import (
    ADVISOR_TOOL,
    SECRET,
    ServedLab,
    agent_body,
    served_lab,
    webhook_receiver,
)

pytestmark = [
    pytest.mark.specs,
    pytest.mark.skipif("RELEVO_SPECS" not in os.environ, reason="RELEVO_SPECS names no folder"),
]

NOT_IN_ASYNCAPI = {"agent_response_complete"}
"""Known from the SDK's enum and the live service only."""


def specs_folder() -> Path:
    return Path(os.environ["RELEVO_SPECS"]) / "elevenlabs"


@functools.cache
def openapi() -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads((specs_folder() / "convai-subset.json").read_text("utf-8")))


@functools.cache
def asyncapi() -> dict[str, Any]:
    return cast("dict[str, Any]", yaml.safe_load((specs_folder() / "agent.asyncapi.yaml").read_text("utf-8")))


def validator(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": document["components"]})


def check(answer: object, schema: Mapping[str, Any]) -> None:
    problems = [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"
        for error in validator(openapi(), schema).iter_errors(cast("Any", answer))
    ]
    assert problems == []


def schema_of(method: str, path: str, status: str = "200") -> Mapping[str, Any]:
    content = openapi()["paths"][path][method]["responses"][status]["content"]
    return cast("Mapping[str, Any]", content["application/json"]["schema"])


async def call(
    client: httpx.AsyncClient, method: str, path: str, *, body: Any = None, **names: str
) -> dict[str, Any]:
    """Make a call and check its answer against the schema of that operation."""
    if body is not None:
        request_body = openapi()["paths"][path][method]["requestBody"]
        check(body, request_body["content"]["application/json"]["schema"])
    answer = await client.request(method, path.format(**names), json=body)
    assert answer.status_code == 200, answer.text
    check(answer.json(), schema_of(method, path))
    return cast("dict[str, Any]", answer.json())


async def test_agents_and_tools_fit_the_openapi() -> None:
    async with served_lab() as served, served.client() as client:
        made = await call(client, "post", "/v1/convai/agents/create", body=agent_body())
        one = "/v1/convai/agents/{agent_id}"
        await call(client, "get", one, agent_id=made["agent_id"])
        await call(client, "patch", one, body={"name": "Otro"}, agent_id=made["agent_id"])
        await call(client, "get", "/v1/convai/agents")
        tool = await call(client, "post", "/v1/convai/tools", body={"tool_config": ADVISOR_TOOL})
        await call(client, "get", "/v1/convai/tools/{tool_id}", tool_id=tool["id"])
        await call(client, "get", "/v1/convai/tools")


async def test_a_bare_agent_fits_the_openapi() -> None:
    async with served_lab() as served, served.client() as client:
        made = await call(client, "post", "/v1/convai/agents/create", body={"conversation_config": {}})
        await call(client, "get", "/v1/convai/agents/{agent_id}", agent_id=made["agent_id"])


async def test_batches_and_their_conversations_fit_the_openapi() -> None:
    outcomes = ("completed", "voicemail", "no_answer", "busy", "failed", "cancelled")
    async with served_lab() as served, served.client() as client:
        batch_id = await served.submit(*({"outcome": outcome} for outcome in outcomes), {"hold": True})
        await served.lab.books.until(lambda: served.lab.calls.held)
        one = "/v1/convai/batch-calling/{batch_id}"
        await call(client, "get", one, batch_id=batch_id)
        await call(client, "get", "/v1/convai/batch-calling/workspace")
        for conversation_id in list(served.lab.world.conversations):
            await call(
                client, "get", "/v1/convai/conversations/{conversation_id}", conversation_id=conversation_id
            )
        page = await call(client, "get", "/v1/convai/conversations")
        submission = {
            "call_name": "x",
            "agent_id": served.agent_id,
            "agent_phone_number_id": "phnum_lab",
            "recipients": [{"phone_number": "+573001112233"}],
        }
        await call(client, "post", "/v1/convai/batch-calling/submit", body=submission)

    assert {item["status"] for item in page["conversations"]} == {"done", "failed", "in-progress"}


async def test_the_rest_of_the_workspace_fits_the_openapi() -> None:
    async with served_lab() as served, served.client() as client:
        settings = {"auth_type": "hmac", "name": "lab", "webhook_url": "https://example.com/hook"}
        made = await call(client, "post", "/v1/workspace/webhooks", body={"settings": settings})
        await call(client, "get", "/v1/workspace/webhooks")
        change = {"webhooks": {"post_call_webhook_id": made["webhook_id"], "events": ["transcript"]}}
        await call(client, "patch", "/v1/convai/settings", body=change)
        await call(client, "get", "/v1/convai/settings")
        await call(client, "get", "/v1/convai/phone-numbers")
        call_out = {
            "agent_id": served.agent_id,
            "agent_phone_number_id": "phnum_lab",
            "to_number": "+573001112233",
        }
        await call(client, "post", "/v1/convai/twilio/outbound-call", body=call_out)
        signed = await client.get(
            "/v1/convai/conversation/get-signed-url", params={"agent_id": served.agent_id}
        )
        check(signed.json(), schema_of("get", "/v1/convai/conversation/get-signed-url"))
        invalid = await client.post("/v1/convai/batch-calling/submit", json={})
        check(invalid.json(), schema_of("post", "/v1/convai/batch-calling/submit", "422"))


async def test_the_transcription_webhook_holds_the_conversation_of_the_openapi() -> None:
    async with (
        webhook_receiver() as (receiver, url),
        served_lab(webhook_url=url, webhook_secret=SECRET) as served,
    ):
        await served.submit(None)
        await served.lab.books.until(lambda: served.lab.books.webhooks)
        (event,) = receiver.events

    check(event["data"], {"$ref": "#/components/schemas/GetConversationResponseModel"})


@functools.cache
def frame_schemas() -> dict[str, Draft202012Validator]:
    """A validator for every message of the AsyncAPI that has a constant type."""
    found = {}
    for schema in asyncapi()["components"]["schemas"].values():
        constant = (schema.get("properties") or {}).get("type", {}).get("const")
        if isinstance(constant, str):
            found[constant] = validator(asyncapi(), schema)
    return found


def problems_of(frames: list[dict[str, Any]]) -> Iterator[str]:
    for frame in frames:
        if frame["type"] not in NOT_IN_ASYNCAPI:
            for error in frame_schemas()[frame["type"]].iter_errors(cast("Any", frame)):
                yield f"{frame['type']}: {error.message}"


async def whole_session(served: ServedLab) -> list[dict[str, Any]]:
    """One session that makes the lab say everything it can say."""
    async with served.client() as client, served.talk() as talk:
        conversation_id = await talk.initiate()
        await client.post(f"/lab/conversations/{conversation_id}/hear", json={"text": "hola"})
        await talk.until("agent_response_complete")
        await talk.say("quiero hablar con un asesor")
        call_frame = await talk.until("client_tool_call")
        result = {
            "type": "client_tool_result",
            "tool_call_id": call_frame["client_tool_call"]["tool_call_id"],
            "result": "{}",
            "is_error": False,
        }
        await talk.send(result)
        await talk.until("agent_response_complete")
        await talk.until("ping")
        await talk.send({"type": "keep_alive"})
        await talk.end()
        return talk.frames


async def test_frames_of_the_server_fit_the_asyncapi() -> None:
    async with served_lab(
        agent=agent_body(text_only=False), timing=SocketTiming(ping_every_s=0.05)
    ) as served:
        frames = await whole_session(served)

    assert list(problems_of(frames)) == []
    assert {frame["type"] for frame in frames} == {
        "conversation_initiation_metadata",
        "ping",
        "audio",
        "interruption",
        "user_transcript",
        "agent_response",
        "agent_response_correction",
        "agent_chat_response_part",
        "agent_response_complete",
        "client_tool_call",
        "agent_tool_response",
        "error",
    }


@pytest.mark.parametrize(
    "name",
    [
        "PongPayload",
        "ContextualUpdatePayload",
        "ClientToolResultPayload",
        "UserFeedbackPayload",
        "MCPToolApprovalResultPayload",
    ],
)
def test_the_lab_demands_what_the_asyncapi_demands_of_the_client(name: str) -> None:
    schema = asyncapi()["components"]["schemas"][name]
    kind = schema["properties"]["type"]["const"]

    assert {*REQUIRED_FIELDS[kind], "type"} == set(schema["required"])


def test_the_schemas_are_really_looked_at() -> None:
    with pytest.raises(AssertionError, match="conversations"):
        check({"has_more": False}, schema_of("get", "/v1/convai/conversations"))
    assert list(problems_of([{"type": "ping", "ping_event": {"event_id": "1"}}])) != []
