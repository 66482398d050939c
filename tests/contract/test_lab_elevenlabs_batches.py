"""Batch calling, single calls, and the webhooks that follow them."""

import json
from typing import Any

import pytest
import trio
from attrs import evolve

from daemon.lab.elevenlabs.webhooks import signature
from tests.contract.lab_elevenlabs import SECRET, Receiver, ServedLab, served_lab, webhook_receiver

OUTCOMES = ("completed", "voicemail", "no_answer", "busy", "failed", "cancelled")


async def batch_of(served: ServedLab, batch_id: str) -> dict[str, Any]:
    async with served.client() as client:
        answer: dict[str, Any] = (await client.get(f"/v1/convai/batch-calling/{batch_id}")).json()
    return answer


async def completed_batch(served: ServedLab, *scripts: Any) -> dict[str, Any]:
    batch_id = await served.submit(*scripts)
    await served.lab.books.until(lambda: served.lab.batches.all[batch_id].status == "completed")
    await served.lab.books.until(
        lambda: all(it.status in {"done", "failed"} for it in served.lab.world.conversations.values())
    )
    return await batch_of(served, batch_id)


async def detail_of(served: ServedLab, conversation_id: str) -> dict[str, Any]:
    async with served.client() as client:
        answer: dict[str, Any] = (await client.get(f"/v1/convai/conversations/{conversation_id}")).json()
    return answer


async def test_every_outcome_shows_in_batch_and_conversation() -> None:
    async with served_lab() as served:
        batch = await completed_batch(served, *({"outcome": outcome} for outcome in OUTCOMES))

        statuses = [recipient["status"] for recipient in batch["recipients"]]
        assert statuses == ["completed", "voicemail", "failed", "failed", "failed", "cancelled"]
        assert batch["status"] == "completed"
        assert batch["total_calls_finished"] == batch["total_calls_scheduled"] == 6
        assert batch["recipients"][5]["conversation_id"] is None
        details = [await detail_of(served, it["conversation_id"]) for it in batch["recipients"][:5]]
        assert [it["status"] for it in details] == ["done", "done", "failed", "failed", "failed"]
        results = [it["metadata"]["phone_call"]["call_result"] for it in details]
        assert results == ["answered", "voicemail", "no_answer", "busy", "failed"]


async def test_a_completed_call_tells_its_story() -> None:
    async with served_lab() as served:
        batch = await completed_batch(served, None)

        detail = await detail_of(served, batch["recipients"][0]["conversation_id"])
        assert "Alejandro" in detail["transcript"][0]["message"]
        assert "Software IA" in detail["analysis"]["transcript_summary"]
        assert detail["analysis"]["data_collection_results"]["intent"]["value"] == "cotización"
        assert "sentiment" not in json.dumps(detail)
        assert detail["metadata"]["batch_call"]["batch_call_id"] == batch["id"]
        assert detail["metadata"]["phone_call"]["external_number"] == "+573138539150"


async def test_a_held_batch_finishes_when_it_is_told_to() -> None:
    async with served_lab() as served, served.client() as client:
        batch_id = await served.submit(*[{"hold": True}] * 8)
        await served.lab.books.until(lambda: len(served.lab.calls.held) == 8)
        held = await batch_of(served, batch_id)
        assert {recipient["status"] for recipient in held["recipients"]} == {"in_progress"}
        one = await client.post(f"/lab/batches/{batch_id}/finish", json={"recipients": ["row-3"]})
        rest = await client.post(f"/lab/batches/{batch_id}/finish")

        assert (one.json(), rest.json()) == ({"finished": 1}, {"finished": 7})
        assert (await batch_of(served, batch_id))["status"] == "completed"


async def test_conversation_id_is_null_until_dialled_and_cancel_calls_off_the_rest() -> None:
    async with served_lab() as served, served.client() as client:
        batch_id = await served.submit({"hold": True}, {"hold": True}, target_concurrency_limit=1)
        await served.lab.books.until(lambda: served.lab.calls.held)
        first, second = (await batch_of(served, batch_id))["recipients"]
        assert first["conversation_id"] is not None
        assert (second["status"], second["conversation_id"]) == ("pending", None)
        cancelled = await client.post(f"/v1/convai/batch-calling/{batch_id}/cancel")

        assert cancelled.json()["status"] == "cancelled"
        statuses = [it["status"] for it in (await batch_of(served, batch_id))["recipients"]]
        assert statuses == ["in_progress", "cancelled"]


async def test_a_retry_calls_the_unreached_again_with_new_conversations() -> None:
    async with served_lab() as served, served.client() as client:
        before = await completed_batch(served, [{"outcome": "no_answer"}, {"outcome": "completed"}], None)
        await client.post(f"/v1/convai/batch-calling/{before['id']}/retry")
        await served.lab.books.until(lambda: served.lab.batches.all[before["id"]].status == "completed")
        after = await batch_of(served, before["id"])

        assert after["retry_count"] == 1
        assert [it["status"] for it in after["recipients"]] == ["completed", "completed"]
        assert after["recipients"][0]["conversation_id"] != before["recipients"][0]["conversation_id"]
        assert after["recipients"][1]["conversation_id"] == before["recipients"][1]["conversation_id"]


async def test_analysis_is_null_while_processing() -> None:
    async with served_lab() as served:
        await served.submit({"analysis_delay_s": 3600})
        await served.lab.books.until(
            lambda: any(it.status == "processing" for it in served.lab.world.conversations.values())
        )
        (conversation_id,) = served.lab.world.conversations
        detail = await detail_of(served, conversation_id)

        assert (detail["status"], detail["analysis"]) == ("processing", None)


async def test_a_single_inbound_call_ends_without_a_batch() -> None:
    async with served_lab() as served, served.client() as client:
        answer = await client.post(
            "/lab/calls",
            json={
                "agent_id": served.agent_id,
                "phone_number": "+573001112233",
                "direction": "inbound",
                "script": {
                    "summary": "Quería un recado.",
                    "lines": [{"role": "user", "text": "Hola", "at_s": 1}],
                },
            },
        )
        conversation_id = answer.json()["conversation_id"]
        await served.lab.books.until(lambda: served.lab.world.conversations[conversation_id].status == "done")
        detail = await detail_of(served, conversation_id)
        assert detail["metadata"]["phone_call"]["direction"] == "inbound"
        assert detail["metadata"]["batch_call"] is None
        assert detail["analysis"]["transcript_summary"] == "Quería un recado."


async def test_a_script_that_does_not_parse_is_refused() -> None:
    async with served_lab() as served, served.client() as client:
        body = {
            "call_name": "x",
            "agent_id": served.agent_id,
            "agent_phone_number_id": "phnum_lab",
            "recipients": [{"phone_number": "+573001112233", "script": {"outcome": "exploded"}}],
        }
        answer = await client.post("/lab/batches", json=body)

        assert answer.status_code == 400
        assert "exploded" in answer.json()["error"]


async def test_webhooks_follow_the_analysis_and_are_signed() -> None:
    async with (
        webhook_receiver() as (receiver, url),
        served_lab(webhook_url=url, webhook_secret=SECRET) as served,
    ):
        await completed_batch(served, None, {"outcome": "busy"})
        await served.lab.books.until(lambda: len(served.lab.books.webhooks) == 2)

        by_kind = {event["type"]: event["data"] for event in receiver.events}
        assert by_kind["post_call_transcription"]["status"] == "done"
        assert by_kind["post_call_transcription"]["analysis"]["call_successful"] == "success"
        assert by_kind["call_initiation_failure"]["failure_reason"] == "busy"
        assert by_kind["call_initiation_failure"]["metadata"]["body"]["CallStatus"] == "busy"
        for header, body in receiver.got:
            timestamp = int(header.split(",")[0].removeprefix("t="))
            assert header == signature(SECRET, timestamp, body)


async def test_a_workspace_webhook_gets_what_its_settings_choose() -> None:
    async with webhook_receiver() as (receiver, url), served_lab() as served, served.client() as client:
        made = await client.post(
            "/v1/workspace/webhooks",
            json={"settings": {"auth_type": "hmac", "name": "lab", "webhook_url": url}},
        )
        webhooks = {"post_call_webhook_id": made.json()["webhook_id"], "events": ["call_initiation_failure"]}
        await client.patch("/v1/convai/settings", json={"webhooks": webhooks})
        await completed_batch(served, None, {"outcome": "failed"})
        await served.lab.books.until(lambda: served.lab.books.webhooks)

        assert receiver.kinds == ["call_initiation_failure"]
        assert made.json()["webhook_secret"].startswith("wsec_")


@pytest.mark.parametrize(("retry", "attempts"), [(False, 1), (True, 3)])
async def test_retries_are_off_unless_asked_for(retry: bool, attempts: int) -> None:  # noqa: FBT001
    async with (
        webhook_receiver() as (receiver, url),
        served_lab(webhook_url=url, webhook_secret=SECRET) as served,
    ):
        receiver.statuses = [503, 429]
        served.lab.world.webhooks.retry_delays_s = (0.0, 0.0)
        book = served.lab.world.webhook_book
        assert book.direct is not None
        book.direct = evolve(book.direct, retry=retry)
        await completed_batch(served, None)
        await served.lab.books.until(lambda: len(served.lab.books.webhooks) == attempts)

        assert [sent.status for sent in served.lab.books.webhooks] == [503, 429, 200][:attempts]


async def finished_calls(served: ServedLab, count: int) -> None:
    await completed_batch(served, *[None] * count)


async def seen(served: ServedLab, receiver: Receiver, count: int) -> None:
    await served.lab.books.until(lambda: len(served.lab.books.webhooks) >= count)
    assert len(receiver.got) == count


async def test_webhook_faults_are_seen_by_the_receiver() -> None:
    async with (
        webhook_receiver() as (receiver, url),
        served_lab(webhook_url=url, webhook_secret=SECRET) as served,
    ):
        served.fault("webhook_lost")
        await finished_calls(served, 1)
        assert len(served.lab.books.lost_webhooks) == 1
        served.fault("webhook_duplicated")
        await finished_calls(served, 1)
        await seen(served, receiver, 2)
        assert receiver.events[0] == receiver.events[1]
        served.fault("webhook_late", seconds=0.1)
        started_at = trio.current_time()
        await finished_calls(served, 1)
        await seen(served, receiver, 3)
        assert trio.current_time() - started_at >= 0.1
        served.fault("webhook_forged")
        await finished_calls(served, 1)
        await seen(served, receiver, 4)
        header, body = receiver.got[3]
        assert header != signature(SECRET, int(header.split(",")[0].removeprefix("t=")), body)


async def test_a_reordered_webhook_comes_after_the_next_one() -> None:
    async with (
        webhook_receiver() as (receiver, url),
        served_lab(webhook_url=url, webhook_secret=SECRET) as served,
    ):
        served.fault("webhook_reordered")
        await finished_calls(served, 2)
        await seen(served, receiver, 2)
        posted = [event["data"]["conversation_id"] for event in receiver.events]

        assert posted == list(served.lab.world.conversations)[::-1]


async def test_analysis_faults_delay_or_stop_it() -> None:
    async with served_lab() as served:
        served.fault("analysis_never")
        await served.submit(None)
        served.fault("analysis_late", seconds=0.05)
        await served.lab.books.until(
            lambda: [it.status.value for it in served.lab.world.conversations.values()] == ["processing"]
        )
        await served.submit(None)
        await served.lab.books.until(
            lambda: (
                [it.status.value for it in served.lab.world.conversations.values()] == ["processing", "done"]
            )
        )
