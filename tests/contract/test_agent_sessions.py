"""The port `AgentSessions`: how a session starts, and all the ways it does not."""

import socket
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from typing_extensions import override
from wsproto.events import CloseConnection

from actors import ports
from actors.agent_events import (
    SessionEndReason,
    SessionOpened,
    SessionPlan,
)
from daemon.elevenlabs.problems import ApiRefusedError, ApiUnavailableError
from tests.contract.scripted_agent import (
    METADATA,
    PLAN,
    RESOURCE,
    Ear,
    Peer,
    agent_sessions,
    ping,
    play,
    scripted_agent,
    stay_open,
)

LOST, FAILED = SessionEndReason.LOST, SessionEndReason.FAILED
REFUSED, BY_AGENT = SessionEndReason.REFUSED, SessionEndReason.ENDED_BY_AGENT


# --- Start ----------------------------------------------------------------------------------------------


async def test_the_session_starts_text_only_and_tells_the_agent_what_it_should_know() -> None:
    heard: list[Any] = []

    async def script(peer: Peer) -> None:
        heard.append((await peer.accept()).target)
        heard.append(await peer.frame())
        await peer.tell(METADATA)
        heard.append(await peer.frame())
        await peer.close(1000)

    plan = SessionPlan(
        agent_id="agent_1",
        user_id="person-7",
        dynamic_variables={"name": "Ñandú", "n": 2},
        context="Habló ayer.",
    )
    end, ear = await play(script, plan=plan)

    target, initiation, update = heard
    assert target == RESOURCE
    assert initiation.pop("source_info")["source"] == "relevo"
    assert initiation == {
        "type": "conversation_initiation_client_data",
        "conversation_config_override": {"agent": {"first_message": ""}, "conversation": {"text_only": True}},
        "dynamic_variables": {"name": "Ñandú", "n": 2},
        "user_id": "person-7",
    }
    assert update == {"type": "contextual_update", "text": "Habló ayer.", "context_id": "history"}
    assert [type(event) for event in ear.events] == [SessionOpened]
    assert end.reason is BY_AGENT


async def test_without_context_nothing_follows_the_initiation() -> None:
    async def script(peer: Peer) -> None:
        await peer.open()
        event = await peer.event()
        assert isinstance(event, CloseConnection)

    async with scripted_agent(script) as agent, trio.open_nursery() as nursery:
        ear = Ear()
        nursery.start_soon(agent.sessions.run, PLAN, ear.deliver)
        session = await ear.session()
        assert session.conversation_id == "conv_1"
        nursery.cancel_scope.cancel()


async def test_pings_before_the_metadata_are_answered() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.frame()
        await peer.tell(ping(1))
        assert await peer.frame() == {"type": "pong", "event_id": 1}
        await peer.tell(METADATA)
        await peer.close(1000)

    end, ear = await play(script)

    assert len(ear.events) == 1
    assert end.reason is BY_AGENT


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, REFUSED),
        (403, REFUSED),
        (404, REFUSED),
        (429, FAILED),
        (500, FAILED),
        (502, FAILED),
        (503, FAILED),
    ],
)
@pytest.mark.parametrize("body", [b"", b'{"detail":{"code":"some_code","message":"Un motivo."}}'])
async def test_a_refused_upgrade_ends_with_its_status(
    status: int, reason: SessionEndReason, body: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.refuse(status, body)

    end, ear = await play(script)

    assert (end.reason, end.code) == (reason, status)
    assert ("some_code: Un motivo." in end.detail) == bool(body)
    assert ear.events == []


async def test_a_wait_that_the_refusal_asks_for_is_told() -> None:
    async def script(peer: Peer) -> None:
        await peer.refuse(429, retry_after="12")

    end, _ = await play(script)

    assert end.detail == "HTTP 429 (retry after 12 s)"


async def test_quota_is_a_refusal_whatever_its_status() -> None:
    async def script(peer: Peer) -> None:
        await peer.refuse(429, b'{"detail":{"status":"quota_exceeded","message":"No credits."}}')

    end, _ = await play(script)

    assert end.reason is REFUSED


async def test_too_many_sessions_at_a_time_are_no_common_failure() -> None:
    async def script(peer: Peer) -> None:
        await peer.refuse(429, b'{"detail":{"code":"concurrent_limit_exceeded","message":"Too many."}}')

    end, _ = await play(script)

    assert (end.reason, end.code) == (SessionEndReason.FULL, 429)


async def test_a_server_that_accepts_and_stays_silent_is_given_up() -> None:
    async def script(peer: Peer) -> None:
        while await peer.stream.receive_some():
            pass

    end, ear = await play(script, start_timeout_s=0.2)

    assert (end.reason, end.code) == (LOST, None)
    assert end.detail == "no start within 0.2 s: connecting"
    assert ear.events == []


async def test_metadata_that_never_comes_is_given_up_with_a_close() -> None:
    codes: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.frame()
        codes.append(await peer.until_closed())

    end, ear = await play(script, start_timeout_s=0.2)

    assert (end.reason, end.detail) == (LOST, "no start within 0.2 s: waiting for the agent's first message")
    assert (codes, ear.events) == ([1000], [])


async def test_a_signed_url_that_never_comes_is_given_up() -> None:
    async def sign(_: str) -> str:
        await trio.sleep_forever()
        raise AssertionError

    end = await agent_sessions(sign, start_timeout_s=0.05).run(PLAN, Ear().deliver)

    assert (end.reason, end.detail) == (LOST, "no start within 0.05 s: getting a signed URL")


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"]
)
async def test_a_server_that_breaks_the_upgrade_off_is_noticed_at_once(answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.stream.receive_some()
        if answer:
            await peer.stream.send_all(answer)

    end, ear = await play(script, start_timeout_s=60)

    assert (end.reason, end.code) == (LOST, None)
    assert end.detail.startswith("the upgrade was broken off")
    assert ear.events == []


async def test_tls_that_fails_is_a_lost_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.stream.receive_some()
        await peer.stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    end, _ = await play(script, scheme="wss")

    assert end.reason is LOST
    assert end.detail.startswith("connecting: SSL")


async def test_a_port_where_nobody_listens_is_a_lost_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

        async def sign(_: str) -> str:
            return f"ws://127.0.0.1:{port}/"

        with trio.fail_after(10):
            end = await agent_sessions(sign).run(PLAN, Ear().deliver)

    assert (end.reason, end.code) == (LOST, None)
    assert end.detail.startswith("connecting: ")


class NoSuchName(trio.abc.HostnameResolver):
    @override
    async def getaddrinfo(self, *args: object, **kwargs: object) -> Any:
        await trio.lowlevel.checkpoint()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    @override
    async def getnameinfo(self, *args: object, **kwargs: object) -> Any:
        raise NotImplementedError


async def test_a_name_that_does_not_resolve_is_a_lost_connection() -> None:
    async def sign(_: str) -> str:
        return "wss://api.example.invalid/v1"

    trio.socket.set_custom_hostname_resolver(NoSuchName())
    try:
        end = await agent_sessions(sign).run(PLAN, Ear().deliver)
    finally:
        trio.socket.set_custom_hostname_resolver(None)

    assert (end.reason, end.code) == (LOST, None)
    assert "Name or service not known" in end.detail


@pytest.mark.parametrize(
    ("problem", "reason", "code"),
    [
        (ApiUnavailableError("no answer within 15 s", status=None), LOST, None),
        (ApiUnavailableError("HTTP 503", status=503), FAILED, 503),
        (ApiUnavailableError("HTTP 429", status=429, is_full=True), SessionEndReason.FULL, 429),
        (ApiRefusedError("HTTP 401 invalid_api_key", status=401), REFUSED, 401),
    ],
)
async def test_without_a_signed_url_there_is_no_session(
    problem: Exception, reason: SessionEndReason, code: int | None
) -> None:
    async def sign(_: str) -> str:
        await trio.lowlevel.checkpoint()
        raise problem

    end = await agent_sessions(sign).run(PLAN, Ear().deliver)

    assert (end.reason, end.code, end.detail) == (reason, code, f"no signed URL: {problem}")


@pytest.mark.parametrize("url", ["", "https://example.org/", "ws://", "ws://a:b/", "ws://[/", "wss://ñ/"])
async def test_a_signed_url_that_is_none_is_a_lost_session(url: str) -> None:
    async def sign(_: str) -> str:
        await trio.lowlevel.checkpoint()
        return url

    end = await agent_sessions(sign).run(PLAN, Ear().deliver)

    assert end.reason is LOST
    assert end.detail.startswith("getting a signed URL: ValueError: ")


async def test_no_more_sessions_connect_at_a_time_than_allowed() -> None:
    may_accept = trio.Event()
    connects = trio.CapacityLimiter(2)

    async def script(peer: Peer) -> None:
        await may_accept.wait()
        await stay_open(peer)

    async with scripted_agent(script, connects=connects) as agent, trio.open_nursery() as nursery:
        ears = [Ear() for _ in range(5)]
        for ear in ears:
            nursery.start_soon(agent.sessions.run, PLAN, ear.deliver)
        await wait_all_tasks_blocked(0.05)
        statistics = connects.statistics()
        assert (statistics.borrowed_tokens, statistics.tasks_waiting) == (2, 3)

        may_accept.set()
        for ear in ears:
            await ear.session()
        assert connects.borrowed_tokens == 0
        nursery.cancel_scope.cancel()


async def test_the_adapter_has_the_shape_of_its_port() -> None:
    async def sign(_: str) -> str:
        raise NotImplementedError

    sessions: ports.AgentSessions = agent_sessions(sign)
    assert callable(sessions.run)
