"""The port `CallSource` and the signed URL, over scripted answers of the REST API."""

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

from actors import ports
from actors.calls import CallOutcome
from daemon.elevenlabs import rest
from daemon.elevenlabs.problems import ApiRefusedError, ApiUnavailableError, UnexpectedAnswerError
from daemon.elevenlabs.rest import CallSource, RestApi
from tests.contract.scripted_server import Step, close_after_half, hang_after_half, reset, scripted
from tests.unit.test_elevenlabs_lists import batch, listed
from tests.unit.test_elevenlabs_mapping import conversation

Answer = Callable[[httpx.Request], Awaitable[httpx.Response]]
SINCE = datetime.fromtimestamp(1_760_000_000.7, UTC)


@define
class Api:
    """Answers requests by a function, and remembers them."""

    answer: Answer
    seen: list[httpx.Request] = field(factory=list)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return await self.answer(request)

    def rest(self, base_url: str = "https://api.example.org") -> RestApi:
        return RestApi(
            client=httpx.AsyncClient(transport=httpx.MockTransport(self)),
            base_url=base_url,
            api_key="xi-secret",
            timeout_s=15,
            answer_max_bytes=10_000,
        )


def answering(status: int, body: object = None, headers: Mapping[str, str] | None = None) -> Api:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def answer(_: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        return httpx.Response(status, content=content, headers=headers)

    return Api(answer)


def paging(cursor_name: str, pages: Mapping[str | None, object]) -> Api:
    """Answers by the cursor that is asked for."""

    async def answer(request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        return httpx.Response(200, json=pages[request.url.params.get(cursor_name)])

    return Api(answer)


# --- Requests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "base_url", ["https://api.example.org", "https://api.example.org/", "https://api.example.org/v1/"]
)
async def test_the_base_url_may_carry_its_version(base_url: str) -> None:
    signed = "wss://api.example.org/y?conversation_signature=z"
    api = answering(200, {"signed_url": signed})

    assert await api.rest(base_url).signed_url("agent_1") == signed
    (request,) = api.seen
    assert (
        str(request.url) == "https://api.example.org/v1/convai/conversation/get-signed-url?agent_id=agent_1"
    )
    assert request.headers["xi-api-key"] == "xi-secret"


async def test_the_key_is_not_shown() -> None:
    assert "xi-secret" not in repr(answering(200).rest())


@pytest.mark.parametrize("body", [{}, [], None, {"signed_url": 3}])
async def test_an_answer_without_a_signed_url_is_none(body: object) -> None:
    with pytest.raises(UnexpectedAnswerError):
        await answering(200, body).rest().signed_url("agent_1")


@pytest.mark.parametrize(
    ("base_url", "signed"),
    [
        ("https://api.elevenlabs.io", "wss://api.eu.residency.elevenlabs.io/v1/convai/conversation"),
        ("https://API.example.org", "wss://api.example.org/v1"),
        ("http://127.0.0.1:3101", "ws://127.0.0.1:3101/v1"),
    ],
)
async def test_a_talk_goes_to_the_host_that_was_asked_or_another_of_the_vendors(
    base_url: str, signed: str
) -> None:
    assert await answering(200, {"signed_url": signed}).rest(base_url).signed_url("agent_1") == signed


@pytest.mark.parametrize(
    "signed",
    [
        "wss://evil.example/v1",
        "wss://elevenlabs.io.evil.example/v1",
        "wss://evilelevenlabs.io/v1",
        "ws://api.elevenlabs.io/v1",
        "https://api.elevenlabs.io/v1",
        "wss://[::1/v1",
        "wss:///v1",
        "",
    ],
)
async def test_a_talk_goes_nowhere_else(signed: str) -> None:
    api = answering(200, {"signed_url": signed})
    with pytest.raises(UnexpectedAnswerError):
        await api.rest("https://api.elevenlabs.io").signed_url("agent_1")


async def test_an_unknown_agent_is_a_refusal() -> None:
    api = answering(404, {"detail": {"status": "agent_not_found", "message": "No such agent"}})

    with pytest.raises(ApiRefusedError, match="HTTP 404 agent_not_found: No such agent") as caught:
        await api.rest().signed_url("agent_1")
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("status", "detail", "kind"),
    [
        (401, {"code": "invalid_api_key", "message": "m"}, ports.VendorRefusedError),
        (400, {"status": "invalid_api_key", "message": "m"}, ports.VendorRefusedError),
        (401, {"status": "quota_exceeded", "message": "m"}, ports.VendorRefusedError),
        (403, "Forbidden", ports.VendorRefusedError),
        (404, "Not Found", ports.VendorRefusedError),
        (422, [{"loc": ["query"], "msg": "bad"}], ports.VendorRefusedError),
        (429, {"code": "rate_limit_exceeded", "message": "m"}, ports.VendorUnavailableError),
        (500, "Internal", ports.VendorUnavailableError),
        (503, None, ports.VendorUnavailableError),
    ],
)
async def test_refusals_are_told_from_trouble(status: int, detail: object, kind: type[Exception]) -> None:
    source = CallSource(answering(status, {"detail": detail}).rest())

    with pytest.raises(kind, match=f"^HTTP {status}"):
        await source.call("conv_1")
    with pytest.raises(kind, match=f"^HTTP {status}"):
        await anext(source.finished_calls(started_after=SINCE))


async def test_a_wait_that_is_asked_for_is_told() -> None:
    api = answering(429, {"detail": {"code": "rate_limit_exceeded"}}, {"Retry-After": "7"})

    with pytest.raises(ports.VendorUnavailableError, match=r"\(retry after 7 s\)"):
        await CallSource(api.rest()).batch("btcal_1")


async def test_an_error_page_may_be_any_size() -> None:
    with pytest.raises(ports.VendorUnavailableError, match="HTTP 502"):
        await CallSource(answering(502, b"<html>" * 100_000).rest()).call("conv_1")


async def test_a_silent_api_is_given_up_in_time(autojump_clock: MockClock) -> None:
    async def answer(_: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()
        raise AssertionError

    start = trio.current_time()
    with pytest.raises(ports.VendorUnavailableError, match="no answer within 15 s"):
        await CallSource(Api(answer).rest()).call("conv_1")
    assert trio.current_time() - start == 15


@pytest.mark.parametrize(
    "problem", [httpx.ConnectError("nobody"), httpx.PoolTimeout("full"), httpx.RemoteProtocolError("odd")]
)
async def test_a_connection_that_fails_is_trouble(problem: httpx.HTTPError) -> None:
    async def answer(_: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        raise problem

    with pytest.raises(ApiUnavailableError, match=f"no answer: {type(problem).__name__}: ") as caught:
        await CallSource(Api(answer).rest()).call("conv_1")
    assert caught.value.__cause__ is problem


@pytest.mark.parametrize("step", [hang_after_half, close_after_half, reset])
async def test_an_answer_that_breaks_off_is_trouble(step: Step) -> None:
    async with scripted(step) as (_, origin), httpx.AsyncClient(trust_env=False) as client:
        api = RestApi(client=client, base_url=origin, api_key="k", timeout_s=0.2, answer_max_bytes=1000)
        with pytest.raises(ApiUnavailableError, match="no answer"):
            await CallSource(api).call("conv_1")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 9_000, b'"' + b"x" * 10_000 + b'"', b"[]", b"null"])
async def test_an_answer_that_is_none_is_trouble(body: bytes) -> None:
    with pytest.raises(UnexpectedAnswerError):
        await CallSource(answering(200, body).rest()).call("conv_1")


# --- One call, one batch --------------------------------------------------------------------------------


async def test_a_call_is_fetched_by_its_id() -> None:
    api = answering(200, conversation())
    details = await CallSource(api.rest()).call("conv_1/../x?y")

    assert details is not None
    assert (details.id, details.outcome) == ("conv_1", CallOutcome.COMPLETED)
    assert api.seen[0].url.raw_path == b"/v1/convai/conversations/conv_1%2F..%2Fx%3Fy"


async def test_a_batch_is_fetched_with_its_recipients() -> None:
    recipients = [{"id": "row-1", "status": "voicemail", "conversation_id": "conv_1"}]
    found = await CallSource(answering(200, batch(recipients=recipients)).rest()).batch("btcal_1")

    assert found is not None
    assert [recipient.outcome for recipient in found.recipients] == [CallOutcome.VOICEMAIL]


@pytest.mark.parametrize(
    "detail", [{"code": "conversation_not_found"}, {"status": "x"}, "No such thing", [], None]
)
async def test_what_is_unknown_is_none(detail: object) -> None:
    source = CallSource(answering(404, {"detail": detail}).rest())

    assert await source.call("conv_1") is None
    assert await source.batch("btcal_1") is None


# --- Lists ----------------------------------------------------------------------------------------------


def calls_page(*numbers: int, then: str | None = None) -> dict[str, Any]:
    items = [listed(number) for number in numbers]
    return {"conversations": items, "has_more": then is not None, "next_cursor": then}


async def test_finished_calls_come_from_all_pages() -> None:
    # A page may hold nothing that is wanted.
    api = paging("cursor", {None: calls_page(5, 4, then="b"), "b": calls_page(then="c"), "c": calls_page(3)})
    source = CallSource(api.rest())

    assert [call.id async for call in source.finished_calls(started_after=SINCE)] == [
        "conv_5",
        "conv_4",
        "conv_3",
    ]
    assert dict(api.seen[0].url.params) == {
        "call_start_after_unix": "1760000000",
        "page_size": "100",
        "summary_mode": "exclude",
        "text_only": "false",
    }
    assert [request.url.params.get("cursor") for request in api.seen] == [None, "b", "c"]


async def test_batches_come_from_all_pages() -> None:
    pages = {
        None: {
            "batch_calls": [batch(id="btcal_3"), batch(id="btcal_2")],
            "has_more": True,
            "next_doc": "btcal_2",
        },
        "btcal_2": {"batch_calls": [batch(id="btcal_1")], "has_more": False, "next_doc": None},
    }
    source = CallSource(paging("last_doc", pages).rest())

    assert [summary.id async for summary in source.batches()] == ["btcal_3", "btcal_2", "btcal_1"]


async def test_a_list_may_be_left_early() -> None:
    api = paging("cursor", {None: calls_page(2, 1, then="b")})

    async for call in CallSource(api.rest()).finished_calls(started_after=SINCE):
        assert call.id == "conv_2"
        break
    assert len(api.seen) == 1


async def test_a_list_that_turns_in_circles_is_trouble() -> None:
    api = paging("cursor", {None: calls_page(2, then="b"), "b": calls_page(1, then="b")})

    with pytest.raises(UnexpectedAnswerError):
        assert [call async for call in CallSource(api.rest()).finished_calls(started_after=SINCE)] == []
    assert len(api.seen) == 2


async def test_an_endless_list_is_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "_PAGES_MAX", 5)

    async def answer(request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        cursor = int(request.url.params.get("cursor", "0"))
        return httpx.Response(200, json=calls_page(cursor, then=str(cursor + 1)))

    api = Api(answer)
    with pytest.raises(UnexpectedAnswerError):
        assert [call async for call in CallSource(api.rest()).finished_calls(started_after=SINCE)] == []
    assert len(api.seen) == 5


async def test_the_adapter_has_the_shape_of_its_port() -> None:
    source: ports.CallSource = CallSource(answering(200).rest())
    assert callable(source.call)
