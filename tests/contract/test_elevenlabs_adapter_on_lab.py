"""The ElevenLabs adapter against the simulator: sessions, calls, batches and webhooks end to end."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
import pytest
import trio

from actors.agent_events import (
    AgentReplied,
    ReplyCompleted,
    SessionEnd,
    SessionEndReason,
    SessionPlan,
    ToolCalled,
    ToolFinished,
)
from actors.calls import CallDetails, CallOutcome, SeenCall
from actors.ports import AgentSession
from daemon.elevenlabs.agent_socket import AgentSessions, OnFrame
from daemon.elevenlabs.rest import CallSource, RestApi
from daemon.elevenlabs.webhook import SignatureCheck, check_signature, read_call_news
from daemon.lab.elevenlabs.session import SocketTiming
from tests.contract.lab_elevenlabs import KEY, SECRET, ServedLab, served_lab, webhook_receiver
from tests.contract.scripted_agent import Ear

PERMISSIONS = {"agent": {"first_message": True}, "conversation": {"text_only": True}}
LOST, FAILED, FULL = SessionEndReason.LOST, SessionEndReason.FAILED, SessionEndReason.FULL
REFUSED, BY_AGENT = SessionEndReason.REFUSED, SessionEndReason.ENDED_BY_AGENT


@asynccontextmanager
async def rest_of(served: ServedLab, *, key: str = KEY) -> AsyncIterator[RestApi]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield RestApi(client=client, base_url=served.url, api_key=key, timeout_s=5, answer_max_bytes=2**20)


@asynccontextmanager
async def sessions_of(
    served: ServedLab, *, start_timeout_s: float = 5, on_frame: OnFrame | None = None
) -> AsyncIterator[AgentSessions]:
    overrides = {"platform_settings": {"overrides": {"conversation_config_override": PERMISSIONS}}}
    async with served.client() as client:
        answer = await client.patch(f"/v1/convai/agents/{served.agent_id}", json=overrides)
        assert answer.status_code == 200
    async with rest_of(served) as api:
        yield AgentSessions(
            sign=api.signed_url,
            start_timeout_s=start_timeout_s,
            send_timeout_s=5,
            connects=trio.CapacityLimiter(8),
            on_frame=on_frame,
        )


def plan_for(served: ServedLab) -> SessionPlan:
    return SessionPlan(
        agent_id=served.agent_id,
        user_id="person-7",
        dynamic_variables={"customer_name": "Alejandro", "product": "Software IA"},
        context="Ayer habló de precios.",
    )


@asynccontextmanager
async def opened(sessions: AgentSessions, plan: SessionPlan) -> AsyncIterator[tuple[AgentSession, Ear]]:
    ear = Ear()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sessions.run, plan, ear.deliver)
        yield await ear.session(), ear
        nursery.cancel_scope.cancel()


async def answer_to(session: AgentSession, ear: Ear, text: str) -> list[str]:
    """Say something; the texts that come until the answer is complete."""
    await session.say(text)
    texts: list[str] = []
    while not isinstance(event := await ear.next(), ReplyCompleted):
        if isinstance(event, AgentReplied):
            texts.append(event.text)
        if isinstance(event, ToolCalled) and event.expects_response:
            await session.answer_tool(event.call_id, '{"status":"queued"}', is_error=False)
    return texts


async def ending(fault: str, *, start_timeout_s: float = 5, says: bool = True) -> SessionEnd:
    """How a session with this fault ends, after something was said in it."""
    async with (
        served_lab(timing=SocketTiming(ping_every_s=0.05)) as served,
        sessions_of(served, start_timeout_s=start_timeout_s) as sessions,
    ):
        served.fault(fault, times=None)
        ear, ends = Ear(), list[SessionEnd]()
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                ends.append(await sessions.run(plan_for(served), ear.deliver))
                nursery.cancel_scope.cancel()

            nursery.start_soon(run)
            if says:
                await (await ear.session()).say("hola")
        return ends[0]


async def test_a_conversation_goes_through_with_its_context() -> None:
    async with served_lab() as served, sessions_of(served) as sessions:
        async with opened(sessions, plan_for(served)) as (session, ear):
            first = await answer_to(session, ear, "¿Cuánto cuesta?")
            second = await answer_to(session, ear, "Gracias")
        conversation = served.lab.world.conversation(session.conversation_id)

    assert first
    assert second
    assert conversation.user_id == "person-7"
    assert [frame["type"] for frame in conversation.frames_of("in")][:3] == [
        "conversation_initiation_client_data",
        "contextual_update",
        "user_message",
    ]


async def test_pings_are_answered_between_the_words() -> None:
    pings, pongs = list[int](), list[int]()
    enough = trio.Event()

    def look(_: str, text: str) -> None:
        frame = json.loads(text)
        if frame["type"] == "ping":
            pings.append(frame["ping_event"]["event_id"])
        if frame["type"] == "pong":
            pongs.append(frame["event_id"])
        if len(pongs) == 5:
            enough.set()

    async with (
        served_lab(timing=SocketTiming(ping_every_s=0.01)) as served,
        sessions_of(served, on_frame=look) as sessions,
        opened(sessions, plan_for(served)),
    ):
        await enough.wait()

    assert pongs[:5] == pings[:5]


@pytest.mark.parametrize(
    "fault", ["string_event_ids", "unknown_types", "unknown_fields", "answer_flat", "parts_never"]
)
async def test_odd_frames_do_not_hide_the_answer(fault: str) -> None:
    async with served_lab() as served, sessions_of(served) as sessions:
        served.fault(fault, times=None)
        async with opened(sessions, plan_for(served)) as (session, ear):
            assert len(await answer_to(session, ear, "¿Cuánto cuesta?")) == 1


async def test_replies_around_a_tool_all_arrive() -> None:
    async with served_lab() as served, sessions_of(served) as sessions:
        served.fault("tool_between_replies")
        async with opened(sessions, plan_for(served)) as (session, ear):
            texts = await answer_to(session, ear, "¿Cuánto cuesta?")

    assert len(texts) == 2
    finished = [event for event in ear.said if isinstance(event, ToolFinished)]
    assert [(event.name, event.is_error) for event in finished] == [("request_advisor", False)]


@pytest.mark.parametrize(
    ("fault", "reason", "code"),
    [
        ("upgrade_401", REFUSED, 401),
        ("upgrade_403", REFUSED, 403),
        ("upgrade_429", FULL, 429),
        ("upgrade_silent", LOST, None),
        ("metadata_never", LOST, None),
        ("quota_at_start", REFUSED, 3000),
        ("rest_429", FAILED, 429),
        ("rest_500", FAILED, 500),
    ],
)
async def test_a_start_that_fails_is_told(fault: str, reason: SessionEndReason, code: int | None) -> None:
    end = await ending(fault, start_timeout_s=0.5, says=False)

    assert (end.reason, end.code) == (reason, code)


@pytest.mark.parametrize(
    ("fault", "reason", "code"),
    [
        ("drop_after_first_delta", LOST, 1006),
        ("max_duration_idle", BY_AGENT, 1000),
        ("receive_timeout_idle", FAILED, 1002),
        ("llm_error_mid_answer", FAILED, 1002),
        ("invalid_message_on_message", REFUSED, 1008),
        ("crash_mid_answer", FAILED, 1011),
        ("quota_mid_answer", REFUSED, 3000),
        ("goodbye_after_answer", BY_AGENT, 1000),
    ],
)
async def test_an_end_is_told_by_its_code(fault: str, reason: SessionEndReason, code: int) -> None:
    end = await ending(fault)

    assert (end.reason, end.code) == (reason, code)


async def test_a_refused_override_is_told_with_its_sentence() -> None:
    end = await ending("override_refused", says=False)

    assert (end.reason, end.code) == (REFUSED, 1008)
    assert end.detail.endswith("Override for field 'prompt' is not allowed by config.")


async def test_an_agent_without_permissions_refuses_the_session() -> None:
    async with served_lab() as served, rest_of(served) as api:
        sessions = AgentSessions(
            sign=api.signed_url, start_timeout_s=5, send_timeout_s=5, connects=trio.CapacityLimiter(1)
        )
        end = await sessions.run(plan_for(served), Ear().deliver)

    assert (end.reason, end.code) == (REFUSED, 1008)


async def test_a_wrong_key_refuses_the_session() -> None:
    async with served_lab() as served, rest_of(served, key="wrong") as api:
        sessions = AgentSessions(
            sign=api.signed_url, start_timeout_s=5, send_timeout_s=5, connects=trio.CapacityLimiter(1)
        )
        end = await sessions.run(plan_for(served), Ear().deliver)

    assert end.reason is REFUSED
    assert "invalid_api_key" in end.detail


OUTCOMES = ("completed", "voicemail", "no_answer", "busy", "failed", "cancelled")


async def test_every_outcome_of_a_batch_is_found_and_fetched() -> None:
    async with served_lab() as served, rest_of(served) as api:
        batch_id = await served.submit(*({"outcome": outcome} for outcome in OUTCOMES))
        lab, source = served.lab, CallSource(api)
        await lab.books.until(lambda: lab.batches.all[batch_id].status == "completed")
        await lab.books.until(
            lambda: all(it.status in {"done", "failed"} for it in lab.world.conversations.values())
        )

        batch = await source.batch(batch_id)
        assert batch is not None
        assert [summary async for summary in source.batches()] == [batch.summary]
        call_ids = [recipient.call_id for recipient in batch.recipients if recipient.call_id is not None]
        seen = [call async for call in source.finished_calls(started_after=datetime.fromtimestamp(0, UTC))]
        assert {call.id for call in seen} == set(call_ids)
        outcomes = []
        for call_id in call_ids:
            details = await source.call(call_id)
            assert details is not None
            assert (details.is_over, details.batch_id) == (True, batch_id)
            outcomes.append(details.outcome.value)

    assert batch.summary.is_over
    assert outcomes == list(OUTCOMES[:5])
    assert batch.recipients[5].outcome is CallOutcome.CANCELLED


async def test_chats_are_no_finished_calls() -> None:
    async with served_lab() as served, sessions_of(served) as sessions, rest_of(served) as api:
        async with opened(sessions, plan_for(served)) as (session, ear):
            await answer_to(session, ear, "hola")
        source = CallSource(api)

        assert await source.call(session.conversation_id) is not None
        assert [
            call async for call in source.finished_calls(started_after=datetime.fromtimestamp(0, UTC))
        ] == []


async def test_ids_that_nobody_knows_are_none() -> None:
    async with served_lab() as served, rest_of(served) as api:
        assert await CallSource(api).call("conv_unknown") is None
        assert await CallSource(api).batch("btcal_unknown") is None


async def test_webhooks_are_signed_and_tell_the_calls() -> None:
    async with (
        webhook_receiver() as (receiver, url),
        served_lab(webhook_url=url, webhook_secret=SECRET) as served,
    ):
        await served.submit({"outcome": "completed"}, {"outcome": "busy"})
        await served.lab.books.until(lambda: len(receiver.got) == 2)

    now = datetime.now(UTC)
    assert {check_signature(header, body, secret=SECRET, now=now) for header, body in receiver.got} == {
        SignatureCheck.GOOD
    }
    news = [read_call_news(body) for _, body in receiver.got]
    (completed,) = (it for it in news if isinstance(it, CallDetails))
    (busy,) = (it for it in news if isinstance(it, SeenCall))
    assert (completed.phone_number, completed.outcome) == ("+573138539150", CallOutcome.COMPLETED)
    assert (busy.phone_number, busy.outcome) == ("+573138539151", CallOutcome.BUSY)
