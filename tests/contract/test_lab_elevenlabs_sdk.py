"""The official ElevenLabs SDK works against the lab."""

import queue
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import pytest
import trio
from elevenlabs import ElevenLabs
from elevenlabs.core.api_error import ApiError
from elevenlabs.errors import BadRequestError
from elevenlabs.types import (
    ConversationalConfig,
    OutboundCallRecipient,
)

from tests.contract.lab_elevenlabs import KEY, SECRET, ServedLab, agent_body, served_lab, webhook_receiver

with warnings.catch_warnings():
    # The SDK names a class that websockets has deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from elevenlabs.conversational_ai.conversation import (
        AgentChatResponsePartType,
        ClientTools,
        Conversation,
        ConversationInitiationData,
        DisconnectionDetails,
    )

ANSWER_LIMIT_S = 5.0


@contextmanager
def sdk(served: ServedLab, key: str = KEY) -> Iterator[ElevenLabs]:
    """The SDK over a client of ours: its own is never closed."""
    with httpx.Client(timeout=ANSWER_LIMIT_S) as client:
        yield ElevenLabs(api_key=key, base_url=served.url, httpx_client=client)


@asynccontextmanager
async def lab_and_sdk(**settings: Any) -> AsyncIterator[tuple[ServedLab, ElevenLabs]]:
    async with served_lab(**settings) as served:
        with sdk(served) as client:
            yield served, client


async def in_thread(work: Callable[[], Any]) -> Any:
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)


async def test_agents_are_created_read_updated_listed_and_deleted() -> None:
    async with lab_and_sdk() as (served, client):
        agents = client.conversational_ai.agents

        def work() -> tuple[Any, Any, list[str]]:
            config = ConversationalConfig.model_validate(agent_body()["conversation_config"])
            made = agents.create(name="Seguimiento", conversation_config=config).agent_id
            updated = agents.update(made, name="Otro nombre")
            read = agents.get(made)
            listed = [agent.agent_id for agent in agents.list().agents]
            agents.delete(made)
            return updated, read, listed

        updated, read, listed = await in_thread(work)
        assert read.name == updated.name == "Otro nombre"
        assert read.conversation_config.agent.language == "es"
        assert read.agent_id in listed
        assert list(served.lab.world.agents) == [served.agent_id]


async def test_a_batch_is_submitted_followed_and_read_back() -> None:
    async with lab_and_sdk() as (served, client):
        convai = client.conversational_ai
        recipients = [
            OutboundCallRecipient.model_validate(
                {
                    "id": "row-1",
                    "phone_number": "+573138539155",
                    "conversation_initiation_client_data": {"dynamic_variables": {"name": "Alejandro"}},
                }
            )
        ]

        def submit() -> Any:
            return convai.batch_calls.create(
                call_name="octubre",
                agent_id=served.agent_id,
                recipients=recipients,
                agent_phone_number_id="phnum_lab",
            )

        batch = await in_thread(submit)
        assert (batch.name, batch.status, batch.total_calls_scheduled) == ("octubre", "pending", 1)
        await served.lab.books.until(lambda: served.lab.batches.all[batch.id].status == "completed")
        detail = await in_thread(lambda: convai.batch_calls.get(batch.id))
        listed = await in_thread(convai.batch_calls.list)
        conversation_id = detail.recipients[0].conversation_id
        await served.lab.books.until(lambda: served.lab.world.conversations[conversation_id].status == "done")
        page = await in_thread(lambda: convai.conversations.list(summary_mode="include"))
        conversation = await in_thread(lambda: convai.conversations.get(conversation_id))

        assert detail.recipients[0].status == "completed"
        assert [it.id for it in listed.batch_calls] == [batch.id]
        assert page.conversations[0].conversation_id == conversation.conversation_id == conversation_id
        assert "Alejandro" in page.conversations[0].transcript_summary
        assert conversation.status == "done"
        assert conversation.metadata.phone_call.external_number == "+573138539155"
        assert conversation.analysis.data_collection_results["intent"].value == "cotización"


async def test_batches_are_cancelled_and_retried() -> None:
    async with lab_and_sdk() as (served, client):
        convai = client.conversational_ai
        batch_id = await served.submit({"outcome": "busy"})
        await served.lab.books.until(lambda: served.lab.batches.all[batch_id].status == "completed")
        retried = await in_thread(lambda: convai.batch_calls.retry(batch_id))
        cancelled = await in_thread(lambda: convai.batch_calls.cancel(batch_id))

        assert (retried.status, retried.retry_count, cancelled.status) == ("in_progress", 1, "cancelled")


async def test_a_signed_url_points_back_at_the_lab() -> None:
    async with lab_and_sdk() as (served, client):
        convai = client.conversational_ai
        answer = await in_thread(
            lambda: convai.conversations.get_signed_url(
                agent_id=served.agent_id, include_conversation_id=True
            )
        )
        async with served.talk(answer.signed_url) as talk:
            conversation_id = await talk.initiate()

    assert answer.signed_url.startswith("ws://127.0.0.1:")
    assert conversation_id in answer.signed_url


async def test_errors_come_as_the_sdk_expects_them() -> None:
    async with served_lab() as served:

        def refused(key: str, agent_id: str) -> ApiError:
            with sdk(served, key) as client, pytest.raises(ApiError) as error:
                client.conversational_ai.agents.get(agent_id)
            return error.value

        wrong_key = await in_thread(lambda: refused("wrong", served.agent_id))
        no_agent = await in_thread(lambda: refused(KEY, "agent_none"))

    assert (wrong_key.status_code, no_agent.status_code) == (401, 404)
    assert no_agent.body["detail"]["code"] == "agent_not_found"


async def test_the_sdk_verifies_our_webhooks_and_refuses_forged_ones() -> None:
    async with (
        webhook_receiver() as (receiver, url),
        lab_and_sdk(webhook_url=url, webhook_secret=SECRET) as (served, client),
    ):
        webhooks = client.webhooks
        await served.submit(None)
        await served.lab.books.until(lambda: len(served.lab.books.webhooks) == 1)
        served.fault("webhook_forged")
        await served.submit(None)
        await served.lab.books.until(lambda: len(served.lab.books.webhooks) == 2)
        (header, body), (forged_header, forged_body) = receiver.got

        event = webhooks.construct_event(body.decode(), header, SECRET)
        assert event["type"] == "post_call_transcription"
        with pytest.raises(BadRequestError):
            webhooks.construct_event(forged_body.decode(), forged_header, SECRET)


class Chat:
    """The SDK's `Conversation` without audio, as its user sees it."""

    def __init__(
        self, client: ElevenLabs, agent_id: str, tools: ClientTools | None = None, *, signed: bool = False
    ) -> None:
        self.replies: queue.Queue[str] = queue.Queue()
        self.parts: list[tuple[AgentChatResponsePartType, str]] = []
        self.ended: queue.Queue[DisconnectionDetails] = queue.Queue()
        # Half of its methods are untyped.
        self.conversation: Any = Conversation(
            client,
            agent_id,
            requires_auth=signed,
            audio_interface=None,
            client_tools=tools,
            config=ConversationInitiationData(dynamic_variables={"customer_name": "Ana", "product": "IA"}),
            callback_agent_response=self.replies.put,
            callback_agent_chat_response_part=lambda text, kind: self.parts.append((kind, text)),
            callback_disconnect=self.ended.put,
        )

    def open(self) -> None:
        """Start, and wait for the metadata: the SDK has no callback for it."""
        self.conversation.start_session()
        deadline = time.monotonic() + ANSWER_LIMIT_S
        while self.conversation._conversation_id is None and time.monotonic() < deadline:
            time.sleep(0.01)

    def ask(self, text: str) -> str:
        self.conversation.send_user_message(text)
        return self.replies.get(timeout=ANSWER_LIMIT_S)

    def close(self) -> str | None:
        self.conversation.end_session()
        conversation_id: str | None = self.conversation.wait_for_session_end()
        return conversation_id


async def test_the_sdks_conversation_talks_text_only_over_a_signed_url() -> None:
    body = agent_body()
    body["platform_settings"]["auth"] = {"enable_auth": True}
    async with lab_and_sdk(agent=body) as (served, client):
        chat = Chat(client, served.agent_id, signed=True)

        def work() -> tuple[str, str, str | None]:
            chat.open()
            chat.conversation.send_contextual_update("El precio acordado es $800.")
            return chat.ask("¿cuánto cuesta? #1"), chat.ask("gracias #2"), chat.close()

        price, thanks, conversation_id = await in_thread(work)
        await served.lab.books.until(lambda: served.lab.books.sockets_open == 0)

        assert "$800" in price
        assert "#1" in price
        assert "Ana" in thanks
        assert chat.parts[0] == (AgentChatResponsePartType.START, "")
        conversation = served.lab.world.conversation(str(conversation_id))
        assert (conversation.source, conversation.authorization) == ("python_sdk", "signed_url")


async def test_the_sdk_answers_tool_calls_and_hears_the_agent_end_the_talk() -> None:
    async with lab_and_sdk() as (served, client):
        asked: list[dict[str, Any]] = []

        def request_advisor(parameters: dict[str, Any]) -> str:
            asked.append(parameters)
            return "queued"

        def work() -> tuple[list[str], DisconnectionDetails]:
            tools = ClientTools()
            tools.register("request_advisor", request_advisor)
            chat = Chat(client, served.agent_id, tools)
            chat.open()
            first = chat.ask("quiero hablar con un asesor")
            second = chat.replies.get(timeout=ANSWER_LIMIT_S)
            chat.ask("adiós")
            return [first, second], chat.ended.get(timeout=ANSWER_LIMIT_S)

        replies, ended = await in_thread(work)

    assert asked[0]["reason"] == "quiero hablar con un asesor"
    assert "comunicándole" in replies[1]
    assert (ended.reason, ended.close_code) == ("agent", 1000)
