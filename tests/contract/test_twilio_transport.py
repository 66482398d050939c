"""Twilio's SDK over our transport: what its other calls ask of it, and what becomes of the connection pool."""

import json
import ssl
from pathlib import Path

import httpcore
import pytest
import trio

from daemon.twilio.transport import (
    Limits,
    MaybeReceivedError,
    NeverLeftError,
    Transport,
    open_transport,
    retry_after_s,
    sdk_client,
)
from tests.contract.scripted_server import Stream, answer, hang, reset, scripted

ACCOUNT = "AC" + "0" * 32
OK = answer(200, "{}")

# Of `localhost`, signed by itself, good from 2020 to 2120 and for nothing else.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBYjCCAQegAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhv
c3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMM
CWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCFCVGBzy6dC1/Ak
YrdxHJlZsRWVDnoTDOUtaLjMKi8fJiNqIZP46NQL3AmIIJMms59Jqor0bOEcZWXm
79jBIs+jSDBGMBQGA1UdEQQNMAuCCWxvY2FsaG9zdDAPBgNVHRMBAf8EBTADAQH/
MB0GA1UdDgQWBBQbx32FVdqi0a5lhW3JsNXk4FH06TAKBggqhkjOPQQDAgNJADBG
AiEAzn6SwLdMHT+B/XOBmgEvvWlUiWiytmPLkx2iB/WyPwICIQCRi+5nSwS0UfmL
NaxvVdioth2jpWVOQLfDNt7hc5sUKw==
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg8e3DR+eplPyJ/9dH
5Pp4OZSM6Vime/LHDDyGhwuoUGKhRANCAAQhQlRgc8unQtfwJGK3cRyZWbEVlQ56
EwzlLWi4zCovHyYjaiGT+OjUC9wJiCCTJrOfSaqK9GzhHGVl5u/YwSLP
-----END PRIVATE KEY-----
"""


async def post(transport: Transport, origin: str) -> int:
    response = await transport.request("POST", f"{origin}/x", data={"Body": "hola"})
    status = response.status_code
    assert isinstance(status, int)
    return status


class TestThePool:
    async def test_a_pool_that_lost_its_slots_is_replaced(self) -> None:
        limits = Limits(connections_max=1, pool_s=0.1)
        async with scripted(OK) as (_, origin), open_transport(limits) as transport:
            pool = transport._current.pool
            # What a cancelled request leaves behind (httpcore issue 1093): a connection nobody will finish.
            pool._connections.append(pool.create_connection(httpcore.URL(origin).origin))
            with pytest.raises(NeverLeftError, match="no free connection"):
                await post(transport, origin)
            assert await post(transport, origin) == 200
            assert transport._current.pool is not pool

    async def test_a_pool_that_is_merely_busy_stays(self) -> None:
        is_held = trio.Event()

        async def hold(stream: Stream) -> None:
            is_held.set()
            await trio.sleep_forever()

        limits = Limits(connections_max=1, pool_s=0.1)
        async with scripted(hold, OK) as (_, origin), open_transport(limits) as transport:
            pool = transport._current.pool
            async with trio.open_nursery() as nursery:
                nursery.start_soon(post, transport, origin)
                await is_held.wait()  # the first request has the only connection
                with pytest.raises(NeverLeftError, match="no free connection"):
                    await post(transport, origin)
                nursery.cancel_scope.cancel()
            assert await post(transport, origin) == 200
            assert transport._current.pool is pool

    async def test_a_request_in_an_abandoned_pool_is_answered(self) -> None:
        is_held, may_answer = trio.Event(), trio.Event()
        statuses = []

        async def answer_late(stream: Stream) -> None:
            is_held.set()
            await may_answer.wait()
            await OK(stream)

        async with scripted(answer_late) as (_, origin), open_transport() as transport:

            async def note_status() -> None:
                statuses.append(await post(transport, origin))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(note_status)
                await is_held.wait()
                abandoned = transport._current
                transport._suspect(abandoned)
                may_answer.set()
            assert statuses == [200]
            assert transport._current is not abandoned
            assert not abandoned.pool.connections

    async def test_cancelled_requests_leave_the_pool_usable(self) -> None:
        limits = Limits(connections_max=2)
        async with scripted(hang) as (script, origin), open_transport(limits) as transport:
            for _ in range(5):
                with trio.move_on_after(0.02):
                    await post(transport, origin)
            script.steps = [OK]
            assert await post(transport, origin) == 200


class TestTheTransportUnderTheSdk:
    """What other parts of the SDK ask of it."""

    async def test_lists_and_booleans_are_written_as_twilio_reads_them(self) -> None:
        async with scripted(OK) as (script, origin), open_transport() as transport:
            client = sdk_client(transport, account_sid=ACCOUNT, auth_token="token", base_url=origin)
            await client.request_async(
                "POST",
                f"{origin}/x",
                data={"Event": ["start", "end"], "Record": True, "Wait": "", "No": None},
            )
        assert script.seen[0].form == {"Event": ["start", "end"], "Record": ["true"], "Wait": [""]}

    async def test_json_goes_as_json(self) -> None:
        async with scripted(OK) as (script, origin), open_transport() as transport:
            headers = {"Content-Type": "application/json"}
            await transport.request("POST", f"{origin}/x", data={"a": ["ñ"]}, headers=headers)
        assert json.loads(script.seen[0].body) == {"a": ["ñ"]}

    async def test_a_post_without_fields_and_a_delete_work(self) -> None:
        async with scripted(answer(204, "")) as (script, origin), open_transport() as transport:
            client = sdk_client(transport, account_sid=ACCOUNT, auth_token="token", base_url=origin)
            assert await client.messages("SM" + "1" * 32).delete_async()
            await client.request_async("POST", f"{origin}/x")
        assert [seen.method for seen in script.seen] == ["DELETE", "POST"]
        assert "content-length" not in script.seen[0].headers
        assert script.seen[1].headers["content-length"] == "0"


async def test_over_tls(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_text(CERTIFICATE)
    key.write_text(KEY)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    async with scripted(OK, OK, reset, tls=tls) as (script, origin), open_transport() as transport:
        with pytest.raises(NeverLeftError):  # nobody trusts this certificate
            await post(transport, origin)
        transport._ssl_context.load_verify_locations(certificate)
        assert [await post(transport, origin), await post(transport, origin)] == [200, 200]
        with pytest.raises(MaybeReceivedError):
            await post(transport, origin)
    assert len(script.seen) == 3


@pytest.mark.parametrize(
    ("headers", "expected_s"),
    [
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": " 0 "}, 0.0),
        ({}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "86401"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:27:00 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], expected_s: float | None) -> None:
    assert retry_after_s(headers) == expected_s
