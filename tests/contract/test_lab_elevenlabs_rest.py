"""The REST side of the ElevenLabs lab: shapes, errors, paging, faults."""

from typing import Any

import httpx
import pytest
import trio

from daemon.lab.elevenlabs.agents import DEFAULT_CLIENT_EVENTS
from daemon.lab.elevenlabs.known_faults import KNOWN_FAULTS
from daemon.lab.elevenlabs.script import CallScript
from tests.contract.lab_elevenlabs import ADVISOR_TOOL, ServedLab, agent_body, served_lab

AGENT_URL = "/v1/convai/agents"
LIST_URL = "/v1/convai/conversations"


async def created(client: httpx.AsyncClient, config: dict[str, Any]) -> str:
    answer = await client.post(f"{AGENT_URL}/create", json={"conversation_config": config})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["agent_id"])


async def finished_calls(served: ServedLab, *scripts: dict[str, Any]) -> list[str]:
    batch_id = await served.submit(*scripts)
    conversations = served.lab.world.conversations
    await served.lab.books.until(lambda: served.lab.batches.all[batch_id].status == "completed")
    await served.lab.books.until(
        lambda: all(it.status in {"done", "failed"} for it in conversations.values())
    )
    return list(conversations)


async def test_a_wrong_or_missing_key_is_refused() -> None:
    async with served_lab() as served, httpx.AsyncClient(base_url=served.url) as client:
        for headers in ({}, {"xi-api-key": "wrong"}):
            answer = await client.get(AGENT_URL, headers=headers)

            assert answer.status_code == 401
            assert answer.json()["detail"]["code"] == answer.json()["detail"]["status"] == "invalid_api_key"


async def test_the_three_error_shapes() -> None:
    async with served_lab() as served, served.client() as client:
        business = await client.get(f"{LIST_URL}/conv_none")
        validation = await client.post("/v1/convai/batch-calling/submit", json={"call_name": "x"})
        unknown = await client.get("/v1/convai/nothing")

    assert (business.status_code, business.json()["detail"]["code"]) == (404, "conversation_not_found")
    assert (validation.status_code, validation.json()["detail"]) == (
        422,
        [
            {"loc": ["body", "agent_id"], "msg": "Field required", "type": "missing"},
            {"loc": ["body", "recipients"], "msg": "Field required", "type": "missing"},
        ],
    )
    assert (unknown.status_code, unknown.json()) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize("path", ["agents/x", "tools/x", "batch-calling/x", "conversations/x"])
async def test_unknown_ids_are_404(path: str) -> None:
    async with served_lab() as served, served.client() as client:
        answer = await client.get(f"/v1/convai/{path}")

    assert answer.status_code == 404
    assert answer.json()["detail"]["code"].endswith("_not_found")


async def test_a_fresh_agent_has_the_defaults_of_the_schema() -> None:
    async with served_lab() as served, served.client() as client:
        agent_id = await created(client, {"agent": {"prompt": {"prompt": "Hola"}}})
        agent = (await client.get(f"{AGENT_URL}/{agent_id}")).json()

    config = agent["conversation_config"]
    permitted = agent["platform_settings"]["overrides"]["conversation_config_override"]
    assert config["conversation"]["client_events"] == list(DEFAULT_CLIENT_EVENTS)
    assert (config["conversation"]["max_duration_seconds"], config["turn"]["turn_timeout"]) == (600, 7.0)
    assert permitted["conversation"] == {"text_only": False, "max_duration_seconds": False}
    assert permitted["agent"]["first_message"] is False


async def test_patch_merges_deeply_and_replaces_lists() -> None:
    async with served_lab() as served, served.client() as client:
        change = {
            "conversation_config": {"conversation": {"client_events": ["ping"]}},
            "platform_settings": {
                "overrides": {"conversation_config_override": {"agent": {"language": True}}}
            },
        }
        before = (await client.get(f"{AGENT_URL}/{served.agent_id}")).json()
        after = (await client.patch(f"{AGENT_URL}/{served.agent_id}", json=change)).json()

    assert after["conversation_config"]["conversation"]["client_events"] == ["ping"]
    assert after["conversation_config"]["agent"] == before["conversation_config"]["agent"]
    permitted = after["platform_settings"]["overrides"]["conversation_config_override"]["agent"]
    assert (permitted["language"], permitted["first_message"]) == (True, False)


@pytest.mark.parametrize(
    ("config", "status"),
    [
        ({"agent": {"language": "es"}}, 400),
        ({"agent": {"language": "es"}, "tts": {"model_id": "eleven_turbo_v2_5"}}, 200),
        ({"turn": {"turn_timeout": 0}}, 400),
        ({"turn": {"turn_timeout": -1}}, 200),
        ({"conversation": {"client_events": ["agent_answers"]}}, 422),
    ],
)
async def test_settings_that_elevenlabs_refuses_are_refused(config: dict[str, Any], status: int) -> None:
    async with served_lab() as served, served.client() as client:
        answer = await client.post(f"{AGENT_URL}/create", json={"conversation_config": config})

    assert answer.status_code == status


async def test_agents_are_listed_in_pages_and_deleted() -> None:
    async with served_lab() as served, served.client() as client:
        made = {served.agent_id} | {await created(client, {}) for _ in range(4)}
        listed: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await client.get(AGENT_URL, params={"page_size": 2, "cursor": cursor})).json()
            listed += [agent["agent_id"] for agent in page["agents"]]
            cursor = page["next_cursor"]
            assert page["has_more"] is (cursor is not None)
        gone = await client.delete(f"{AGENT_URL}/{served.agent_id}")
        missing = await client.get(f"{AGENT_URL}/{served.agent_id}")

    assert set(listed) == made
    assert len(listed) == 5
    assert (gone.status_code, missing.status_code) == (204, 404)


async def test_tools_are_made_read_and_used_by_agents() -> None:
    async with served_lab() as served, served.client() as client:
        tool = (await client.post("/v1/convai/tools", json={"tool_config": ADVISOR_TOOL})).json()
        read = (await client.get(f"/v1/convai/tools/{tool['id']}")).json()
        agent_id = await created(client, {"agent": {"prompt": {"tool_ids": [tool["id"]]}}})

        assert read == tool
        tools = served.lab.world.tool_configs(served.lab.world.agent(agent_id))
        assert tools["request_advisor"]["expects_response"] is True


async def test_conversations_are_paged_newest_first_without_gaps() -> None:
    async with served_lab() as served, served.client() as client:
        made = await finished_calls(served, *[{"duration_s": 10 * number} for number in range(7)])
        pages = []
        params: dict[str, Any] = {"page_size": 3}
        while True:
            page = (await client.get(LIST_URL, params=params)).json()
            pages.append([item["conversation_id"] for item in page["conversations"]])
            if not page["has_more"]:
                break
            params["cursor"] = page["next_cursor"]

    assert [len(page) for page in pages] == [3, 3, 1]
    assert [conversation_id for page in pages for conversation_id in page] == made


@pytest.mark.parametrize("page_size", ["0", "101", "many"])
async def test_page_sizes_out_of_range_are_refused(page_size: str) -> None:
    async with served_lab() as served, served.client() as client:
        answer = await client.get(LIST_URL, params={"page_size": page_size})

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "page_size"]


async def test_conversations_are_filtered() -> None:
    async with served_lab(now=lambda: 1_760_000_000.0) as served, served.client() as client:
        long, short, missed = await finished_calls(
            served, {"duration_s": 600}, {"duration_s": 60}, {"outcome": "busy"}
        )
        async with served.talk() as talk:
            chat = await talk.initiate()
        await served.lab.books.until(lambda: served.lab.world.conversations[chat].status == "done")

        async def found(**params: Any) -> set[str]:
            page = (await client.get(LIST_URL, params=params)).json()
            return {item["conversation_id"] for item in page["conversations"]}

        assert await found(call_start_after_unix=1_760_000_000 - 60) == {short, missed, chat}
        assert await found(call_start_before_unix=1_760_000_000 - 60) == {long, short}
        assert await found(exclude_statuses=["failed", "done"]) == set()
        assert await found(exclude_statuses="failed", text_only="false") == {long, short}
        assert await found(text_only="true") == {chat}
        assert await found(conversation_initiation_source="twilio") == {long, short, missed}
        assert await found(agent_id="agent_other") == set()
        assert await found(call_successful="success") == {long, short}
        assert await found(call_duration_min_secs=100) == {long}


async def test_summaries_come_only_when_asked_for_and_sentiment_only_in_lists() -> None:
    async with served_lab() as served, served.client() as client:
        await finished_calls(served, {"sentiment": "negative", "summary": "Se quejó."})
        plain = (await client.get(LIST_URL)).json()["conversations"][0]
        rich = (await client.get(LIST_URL, params={"summary_mode": "include"})).json()["conversations"][0]

    assert (plain["transcript_summary"], rich["transcript_summary"]) == (None, "Se quejó.")
    assert plain["sentiment_analysis"]["overall_label"] == "negative"
    assert (plain["direction"], plain["status"]) == ("outbound", "done")


async def test_a_deleted_conversation_is_gone() -> None:
    async with served_lab() as served, served.client() as client:
        (conversation_id,) = await finished_calls(served, {})
        deleted = await client.delete(f"{LIST_URL}/{conversation_id}")
        missing = await client.get(f"{LIST_URL}/{conversation_id}")

    assert (deleted.status_code, missing.status_code) == (200, 404)


async def test_batches_are_paged_by_last_doc() -> None:
    async with served_lab() as served, served.client() as client:
        made = [await served.submit({}) for _ in range(3)]
        first = (await client.get("/v1/convai/batch-calling/workspace", params={"limit": 2})).json()
        params = {"limit": 2, "last_doc": first["next_doc"]}
        second = (await client.get("/v1/convai/batch-calling/workspace", params=params)).json()

    assert [batch["id"] for batch in first["batch_calls"] + second["batch_calls"]] == made[::-1]
    assert (first["has_more"], second["has_more"], second["next_doc"]) == (True, False, None)


async def test_a_batch_without_numbers_is_refused() -> None:
    async with served_lab() as served, served.client() as client:
        body = {
            "call_name": "x",
            "agent_id": served.agent_id,
            "recipients": [{"phone_number": "+573001112233"}],
        }
        no_caller = await client.post("/v1/convai/batch-calling/submit", json=body)
        body |= {"agent_phone_number_id": "phnum_lab", "recipients": [{"variables": {"name": "Ana"}}]}
        no_callee = await client.post("/v1/convai/batch-calling/submit", json=body)
        body |= {"agent_id": "agent_none", "recipients": [{"phone_number": "+573001112233"}]}
        no_agent = await client.post("/v1/convai/batch-calling/submit", json=body)

    assert [no_caller.status_code, no_callee.status_code, no_agent.status_code] == [400, 400, 404]


@pytest.mark.parametrize(
    ("output_format", "start"),
    [("mp3_44100_128", b"\xff\xfb"), ("wav_8000", b"RIFF"), ("ulaw_8000", b"")],
)
async def test_text_to_speech_answers_in_the_format_asked_for(output_format: str, start: bytes) -> None:
    async with served_lab() as served, served.client() as client:
        url = f"/v1/text-to-speech/voice?output_format={output_format}"
        answer = await client.post(url, json={"text": "Deja tu mensaje después del tono."})

    assert answer.content.startswith(start)
    assert len(answer.content) > 8000


async def test_rest_faults_strike_only_their_path() -> None:
    async with served_lab() as served, served.client() as client:
        served.fault("rest_429", path="batch-calling")
        served.fault("rest_500", path="conversations")
        untouched = await client.get(AGENT_URL)
        limited = await client.get("/v1/convai/batch-calling/workspace")
        failed = await client.get(LIST_URL)
        after = await client.get(LIST_URL)

    assert [untouched.status_code, limited.status_code, failed.status_code] == [200, 429, 500]
    assert limited.json()["detail"]["code"] == "rate_limit_exceeded"
    assert after.status_code == 200


async def test_a_slow_rest_call_is_slow() -> None:
    async with served_lab() as served, served.client() as client:
        served.fault("rest_slow", seconds=0.05)
        started_at = trio.current_time()
        await client.get(AGENT_URL)

    assert trio.current_time() - started_at >= 0.05


async def test_the_lab_counts_calls_and_lists_and_switches_faults() -> None:
    async with served_lab() as served, served.client() as client:
        await client.get(AGENT_URL)
        await client.get(f"{AGENT_URL}/{served.agent_id}")
        books = (await client.get("/lab/books")).json()
        on = await client.put("/lab/faults/answer_blank", json={"times": 2, "probability": 0.5})
        unknown = await client.put("/lab/faults/earthquake")
        faults = (await client.get("/lab/faults")).json()
        await client.delete("/lab/faults/answer_blank")
        health = (await client.get("/lab")).json()

        assert books["requests"] == {f"GET {AGENT_URL}": 1, f"GET {AGENT_URL}/<agent_id>": 1}
        assert (on.status_code, unknown.status_code) == (200, 404)
        assert faults["known"] == dict(KNOWN_FAULTS)
        assert faults["on"] == {"answer_blank": {"probability": 0.5, "times": 2, "details": {}}}
        assert served.lab.faults.active == []
        assert (health["lab"], health["ok"]) == ("elevenlabs", True)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"probability": 1.5}, "probability: a number from 0 to 1"),
        ({"probability": "often"}, "probability: a number from 0 to 1"),
        ({"probability": True}, "probability: a number from 0 to 1"),
        ({"times": 0}, "times: a whole number from 1"),
        ({"times": 1.5}, "times: a whole number from 1"),
        ({"details": {"seconds": "soon"}}, "details: seconds: a number from 0"),
        ({"details": {"seconds": -1}}, "details: seconds: a number from 0"),
        ({"details": {"tool": ["x"]}}, "details: tool: a number or a string"),
        ({"details": ["seconds"]}, "details: an object"),
        ({"chance": 1}, "no such setting of a fault: chance"),
    ],
)
async def test_a_fault_that_cannot_be_is_refused(body: dict[str, Any], sentence: str) -> None:
    async with served_lab() as served, served.client() as client:
        refused = await client.put("/lab/faults/answer_delayed", json=body)

        assert refused.status_code == 400
        assert refused.json()["error"].startswith(sentence)
        assert served.lab.faults.active == []


async def test_what_was_asked_is_done_although_its_answer_is_lost() -> None:
    async with served_lab() as served, served.client() as client:
        served.fault("rest_answer_lost", path="agents")
        assert (await client.get("/v1/convai/batch-calling/workspace")).status_code == 200
        with pytest.raises(httpx.TransportError):
            await client.post(f"{AGENT_URL}/create", json=agent_body())

        assert len(served.lab.world.agents) == 2
        assert (await client.get(AGENT_URL)).status_code == 200


async def test_a_reset_forgets_the_traffic_and_keeps_the_agents() -> None:
    async with served_lab() as served, served.client() as client:
        await finished_calls(served, {})
        served.fault("answer_blank")
        await client.post("/lab/reset")
        conversations = (await client.get(LIST_URL)).json()["conversations"]
        batches = (await client.get("/v1/convai/batch-calling/workspace")).json()["batch_calls"]
        agent = await client.get(f"{AGENT_URL}/{served.agent_id}")

        assert (conversations, batches, agent.status_code) == ([], [], 200)
        assert served.lab.faults.active == []


async def test_one_seed_gives_one_sequence_of_ids() -> None:
    names = []
    for _ in range(2):
        async with served_lab(seed=42, write_script=lambda _: CallScript()) as served:
            names.append((served.agent_id, await finished_calls(served, {}, {})))

    assert names[0] == names[1]


async def test_the_labs_own_routes_answer_loopback_only() -> None:
    async with served_lab() as served:
        client = served.lab.app.test_client()
        far = await client.get("/lab", scope_base={"client": ("192.0.2.1", 4711)})
        near = await client.get("/lab", scope_base={"client": ("127.0.0.1", 4711)})

    assert (far.status_code, near.status_code) == (403, 200)


async def test_clocks_are_changed_for_new_sessions() -> None:
    async with served_lab() as served, served.client() as client:
        changed = await client.put("/lab/timing", json={"think_s": 0.05})
        unknown = await client.put("/lab/timing", json={"think_h": 1})
        async with served.talk() as talk:
            await talk.initiate()
            started_at = trio.current_time()
            await talk.turn("hola")

    assert (changed.status_code, unknown.status_code) == (200, 400)
    assert trio.current_time() - started_at >= 0.05
