"""The public routes of a real daemon: who gets in, what the others are told, and that they leave nothing behind."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlencode

import httpx
import pytest
import trio
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from daemon.store.connection import Connection
from tests.integration.relay import Relay, open_relay
from tests.postgres import until_row

LIMIT_S = 60
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

pytestmark = pytest.mark.processes


class Door:
    """Knocks at the public routes as Twilio would, or nearly."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.url = f"http://127.0.0.1:{relay.public_port}"

    def message(self, **changes: str | None) -> dict[str, str]:
        fields: dict[str, str | None] = {
            "MessageSid": "SM" + "0" * 32,
            "AccountSid": self.relay.account.account_sid,
            "From": "whatsapp:+573001234567",
            "To": f"whatsapp:{self.relay.account.whatsapp_from}",
            "Body": "Hola",
            "NumMedia": "0",
        }
        return {name: value for name, value in (fields | changes).items() if value is not None}

    async def knock(
        self,
        path: str,
        fields: Mapping[str, str],
        *,
        signature: str | None = None,
        method: str = "POST",
        **options: Any,
    ) -> httpx.Response:
        signed = RequestValidator(self.relay.account.auth_token).compute_signature(self.url + path, fields)
        headers = {**FORM, "X-Twilio-Signature": signed if signature is None else signature}
        headers.update(options.pop("headers", {}))
        # A connection of its own: one that the server closes after a refusal is no good for the next request.
        async with httpx.AsyncClient(timeout=LIMIT_S) as http:
            return await http.request(
                method, self.url + path, content=options.pop("content", urlencode(fields)), headers=headers
            )


INCOMING = "/api/webhook/twilio/incoming"
STATUS = "/api/webhook/twilio/status"
POST_CALL = "/api/webhook/elevenlabs"


@pytest.fixture
async def door(database: str, tmp_path: Path) -> AsyncIterator[Door]:
    async with open_relay(database, tmp_path) as relay:
        yield Door(relay)


async def stored_messages(door: Door) -> int:
    connection = await Connection.connect(door.relay.database_url, timeout_s=10, statement_timeout_s=10)
    try:
        row = await connection.fetch_one(
            "SELECT (SELECT count(*) FROM message) + (SELECT count(*) FROM call)"
        )
        assert row is not None
        return int(row[0])
    finally:
        connection.close_now()


async def until_stored(door: Door, rows: LiteralString) -> None:
    connection = await Connection.connect(door.relay.database_url, timeout_s=10, statement_timeout_s=10)
    try:
        await until_row(connection, f"SELECT 1 FROM {rows}")
    finally:
        connection.close_now()


async def test_the_contracts_codes(door: Door) -> None:
    message = door.message()
    huge = door.message(Body="x" * 1_000_000)
    cases: list[tuple[int, httpx.Response]] = [
        (403, await door.knock(INCOMING, message, signature="wrong")),
        (403, await door.knock(INCOMING, message, signature="")),
        (403, await door.knock(INCOMING, door.message(AccountSid="AC" + "9" * 32))),
        (403, await door.knock(INCOMING, door.message(AccountSid=None))),
        (400, await door.knock(INCOMING, door.message(MessageSid=None))),
        (400, await door.knock(INCOMING, door.message(From="whatsapp:nobody"))),
        (413, await door.knock(INCOMING, huge)),
        (405, await door.knock(INCOMING, message, method="PUT")),
        (405, await door.knock(INCOMING, {}, method="GET")),
        (415, await door.knock(INCOMING, message, headers={"Content-Type": "application/json"})),
        (415, await door.knock(INCOMING, message, headers={"Content-Type": "text/plain"})),
        (403, await door.knock(STATUS + "?m=1", message, signature="wrong")),
        (400, await door.knock(STATUS + "?m=x", door.message(MessageStatus="sent"))),
        (401, await door.knock(POST_CALL, {}, headers={"Content-Type": "application/json"}, content="{}")),
        (404, await door.knock("/nowhere", message)),
    ]

    assert [wanted for wanted, _ in cases] == [answer.status_code for _, answer in cases]
    assert all(answer.json()["error"]["code"] for _, answer in cases)
    assert await stored_messages(door) == 0


async def test_a_bad_field_is_named(door: Door) -> None:
    answer = await door.knock(INCOMING, door.message(MessageSid="nonsense"))

    assert answer.json()["error"]["field"] == "MessageSid"


async def test_a_repeated_message_is_answered_the_same_and_stored_once(door: Door) -> None:
    answers = [await door.knock(INCOMING, door.message()) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200] * 3
    assert {"text/xml"} == {answer.headers["Content-Type"] for answer in answers}
    assert all(answer.text.endswith("<Response/>") for answer in answers)
    with trio.fail_after(LIMIT_S):
        await until_stored(door, "message WHERE direction = 'outbound'")
    assert await stored_messages(door) == 2


async def test_the_request_that_ends_a_plain_hypercorn_does_not_end_this_one(door: Door) -> None:
    upgrade = (
        b"GET /anything HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\nx"
    )
    with trio.fail_after(LIMIT_S):
        for _ in range(50):
            stream = await trio.open_tcp_stream("127.0.0.1", door.relay.public_port)
            async with stream:
                await stream.send_all(upgrade)
                await stream.receive_some()

    assert (await door.knock(INCOMING, door.message())).status_code == 200


async def test_losing_every_database_connection_heals(door: Door) -> None:
    connection = await Connection.connect(door.relay.database_url, timeout_s=10, statement_timeout_s=10)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    connection.close_now()
    with trio.fail_after(LIMIT_S):
        messages = [door.message(MessageSid=f"SM{number:032}") for number in range(20)]
        answers = [await door.knock(INCOMING, message) for message in messages]

    assert {200, 503} >= {answer.status_code for answer in answers}
    assert answers[-1].status_code == 200
