"""Batches submitted to the simulator: once, whatever becomes of the answer."""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import trio
from attrs import evolve, field, frozen
from typing_extensions import override

from daemon.elevenlabs.batch_calls import BatchCalls, BatchOrder, Recipient, SubmissionUnknownError
from daemon.elevenlabs.problems import ApiRefusedError, ApiUnavailableError
from daemon.elevenlabs.rest import OutcomeUnknownError, RestApi
from tests.contract.lab_elevenlabs import KEY, ServedLab, served_lab
from tests.contract.test_call_source import Api
from tests.contract.test_lab_elevenlabs_specs import check, openapi
from tests.unit.test_elevenlabs_lists import batch

SUBMIT = "POST /v1/convai/batch-calling/submit"
RECIPIENTS = [
    Recipient(id="row-1", phone_number="+573138539155", variables={"name": "Ana", "product": "Software IA"}),
    Recipient(id="row-2", phone_number="+573001234567"),
]

Send = Callable[[httpx.Request], Awaitable[httpx.Response]]
Mishap = Callable[[httpx.Request, Send], Awaitable[httpx.Response]]


@frozen
class Road(httpx.AsyncBaseTransport):
    """The way to the lab, on which something happens to submissions."""

    mishap: Mishap
    lab: httpx.AsyncHTTPTransport = field(factory=httpx.AsyncHTTPTransport)

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/submit"):
            return await self.mishap(request, self.lab.handle_async_request)
        return await self.lab.handle_async_request(request)

    @override
    async def aclose(self) -> None:
        await self.lab.aclose()


async def nothing(request: httpx.Request, send: Send) -> httpx.Response:
    return await send(request)


async def answer_cut_off(request: httpx.Request, send: Send) -> httpx.Response:
    await (await send(request)).aread()
    raise httpx.ReadError("connection reset by peer")


async def answer_swallowed(request: httpx.Request, send: Send) -> httpx.Response:
    await (await send(request)).aread()
    return await trio.sleep_forever()


async def answer_replaced(request: httpx.Request, send: Send) -> httpx.Response:
    await (await send(request)).aread()
    return httpx.Response(502, text="Bad Gateway")


async def answer_garbled(request: httpx.Request, send: Send) -> httpx.Response:
    await (await send(request)).aread()
    return httpx.Response(200, text="<html>")


async def answer_without_id(request: httpx.Request, send: Send) -> httpx.Response:
    await (await send(request)).aread()
    return httpx.Response(200, json={"status": "pending"})


LOST = [answer_cut_off, answer_swallowed, answer_replaced, answer_garbled, answer_without_id]


@asynccontextmanager
async def calls_of(
    served: ServedLab, mishap: Mishap = nothing, *, doubts: list[str] | None = None
) -> AsyncIterator[BatchCalls]:
    async with httpx.AsyncClient(transport=Road(mishap)) as client:
        yield BatchCalls(
            api=RestApi(client=client, base_url=served.url, api_key=KEY, timeout_s=5, answer_max_bytes=2**20),
            submit_timeout_s=0.5,
            look_every_s=0.05,
            looks=3,
            on_doubt=(doubts if doubts is not None else []).append,
        )


def order_for(served: ServedLab, **changes: Any) -> BatchOrder:
    order = BatchOrder(
        name="octubre", agent_id=served.agent_id, phone_number_id="phnum_lab", recipients=RECIPIENTS
    )
    return evolve(order, **changes)


def submissions(served: ServedLab) -> int:
    return served.lab.books.requests[SUBMIT]


async def test_a_batch_arrives_as_it_was_ordered() -> None:
    async with served_lab() as served, calls_of(served) as calls:
        batch_id = await calls.submit(order_for(served))

        found = served.lab.batches.all[batch_id]
        assert found.body == {
            "call_name": "octubre",
            "agent_id": served.agent_id,
            "agent_phone_number_id": "phnum_lab",
            "recipients": [
                {
                    "id": "row-1",
                    "phone_number": "+573138539155",
                    "conversation_initiation_client_data": {
                        "dynamic_variables": {"name": "Ana", "product": "Software IA"}
                    },
                },
                {"id": "row-2", "phone_number": "+573001234567"},
            ],
        }


async def test_a_batch_for_later_says_when_and_by_whose_clock() -> None:
    later = datetime.now(UTC) + timedelta(hours=3)
    async with served_lab() as served, calls_of(served) as calls:
        batch_id = await calls.submit(order_for(served, begins_at=later, timezone="America/Bogota"))

        found = served.lab.batches.all[batch_id]
        assert found.scheduled_unix == int(later.timestamp())
        assert found.body["timezone"] == "America/Bogota"
        assert found.status == "pending"


@pytest.mark.specs
@pytest.mark.skipif("RELEVO_SPECS" not in os.environ, reason="RELEVO_SPECS names no folder")
def test_an_order_fits_the_vendors_schema() -> None:
    order = BatchOrder(
        name="octubre",
        agent_id="agent_1",
        phone_number_id="phnum_1",
        recipients=RECIPIENTS,
        begins_at=datetime.now(UTC),
        timezone="America/Bogota",
    )
    content = openapi()["paths"]["/v1/convai/batch-calling/submit"]["post"]["requestBody"]["content"]
    check(order.as_json(), content["application/json"]["schema"])


async def test_ten_thousand_fit() -> None:
    everybody = [
        Recipient(id=f"row-{number}", phone_number=f"+57300{number:07}", variables={"name": "Ana"})
        for number in range(10_000)
    ]
    async with served_lab() as served, calls_of(served) as calls:
        later = datetime.now(UTC) + timedelta(hours=3)
        order = order_for(served, recipients=everybody, begins_at=later)
        batch_id = await evolve(calls, submit_timeout_s=15).submit(order)

        (listed,) = await calls.newest(served.agent_id)
        assert (listed.summary.id, listed.calls, listed.finished) == (batch_id, 10_000, 0)


@pytest.mark.parametrize("mishap", LOST)
async def test_a_batch_whose_answer_was_lost_is_found_and_not_sent_again(mishap: Mishap) -> None:
    doubts: list[str] = []
    async with served_lab() as served, calls_of(served, mishap, doubts=doubts) as calls:
        earlier = await served.submit(None, None)
        batch_id = await calls.submit(order_for(served))

        assert submissions(served) == 1
        assert sorted(served.lab.batches.all) == sorted([earlier, batch_id])
        assert len(doubts) == 1


async def test_a_batch_is_found_whose_connection_was_cut_after_it_had_arrived() -> None:
    doubts: list[str] = []
    async with served_lab() as served, calls_of(served, doubts=doubts) as calls:
        served.fault("rest_answer_lost", path="submit")
        batch_id = await calls.submit(order_for(served))

        assert list(served.lab.batches.all) == [batch_id]
        assert submissions(served) == len(doubts) == 1


async def test_it_is_found_although_the_list_is_away_for_a_moment() -> None:
    async with served_lab() as served:

        async def mishap(request: httpx.Request, send: Send) -> httpx.Response:
            served.fault("rest_500", times=2, path="workspace")
            return await answer_cut_off(request, send)

        async with calls_of(served, mishap) as calls:
            assert await calls.submit(order_for(served)) in served.lab.batches.all


@pytest.mark.parametrize("fault", ["rest_500", "rest_slow"])
async def test_a_batch_that_does_not_show_up_is_unknown_and_not_sent_again(fault: str) -> None:
    async with served_lab() as served, calls_of(served) as calls:
        # The same order went through just before: it is not the one that is looked for.
        await served.submit(None, None)
        served.fault(fault, path="submit", seconds=30)

        with pytest.raises(SubmissionUnknownError) as caught:
            await calls.submit(order_for(served))

        assert caught.value.candidates == ()
        assert submissions(served) == 1
        assert len(served.lab.batches.all) == 1


async def test_it_is_unknown_too_while_the_list_cannot_be_read() -> None:
    async with served_lab() as served:

        async def mishap(request: httpx.Request, send: Send) -> httpx.Response:
            served.fault("rest_500", times=None, path="workspace")
            return await answer_cut_off(request, send)

        async with calls_of(served, mishap) as calls:
            with pytest.raises(SubmissionUnknownError, match=r"reset by peer; the list .* HTTP 500"):
                await calls.submit(order_for(served))


async def test_of_two_new_batches_none_is_taken_for_the_lost_one() -> None:
    async with served_lab() as served:

        async def mishap(request: httpx.Request, send: Send) -> httpx.Response:
            await served.submit(None, None)
            return await answer_cut_off(request, send)

        async with calls_of(served, mishap) as calls:
            with pytest.raises(SubmissionUnknownError) as caught:
                await calls.submit(order_for(served))
        assert sorted(caught.value.candidates) == sorted(served.lab.batches.all)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "btcal_1"},
        {"created_at_unix": 999},
        {"name": "x"},
        {"agent_id": "x"},
        {"total_calls_scheduled": 3},
    ],
)
async def test_only_what_was_not_there_and_looks_the_same_is_it(changes: dict[str, object]) -> None:
    known = batch(id="btcal_1", created_at_unix=1000, name="octubre", total_calls_scheduled=2)
    lost = {**known, "id": "btcal_2", **changes}
    lists = [[known], [lost]]

    async def answer(request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        if request.method == "POST":
            return httpx.Response(500)
        return httpx.Response(200, json={"batch_calls": lists.pop(0), "has_more": False})

    order = BatchOrder(
        name="octubre", agent_id=known["agent_id"], phone_number_id="phnum_1", recipients=RECIPIENTS
    )
    with pytest.raises(SubmissionUnknownError, match=r"^HTTP 500$") as caught:
        await BatchCalls(api=Api(answer).rest(), looks=1).submit(order)
    assert caught.value.candidates == ()


# --- What surely was not submitted ------------------------------------------------------------------------


async def test_an_unknown_agent_is_refused() -> None:
    async with served_lab() as served, calls_of(served) as calls:
        with pytest.raises(ApiRefusedError, match="agent_not_found"):
            await calls.submit(order_for(served, agent_id="agent_none"))


async def test_too_many_requests_are_trouble_and_no_doubt() -> None:
    async with served_lab() as served, calls_of(served) as calls:
        served.fault("rest_429", path="submit")

        with pytest.raises(ApiUnavailableError, match="rate_limit_exceeded"):
            await calls.submit(order_for(served))
        assert served.lab.batches.all == {}


async def test_nothing_is_submitted_before_the_list_was_read() -> None:
    async with served_lab() as served, calls_of(served) as calls:
        served.fault("rest_500", path="workspace")

        with pytest.raises(ApiUnavailableError, match="HTTP 500"):
            await calls.submit(order_for(served))
        assert submissions(served) == 0


# --- RestApi.post -----------------------------------------------------------------------------------------


async def outcome_of_post(answer: httpx.Response | Exception) -> ApiUnavailableError | ApiRefusedError:
    async def respond(_: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        if isinstance(answer, Exception):
            raise answer
        return answer

    try:
        await Api(respond).rest().post("/x", {"a": "ñ"}, timeout_s=1)
    except (ApiUnavailableError, ApiRefusedError) as error:
        return error
    raise AssertionError("the answer was taken")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ReadTimeout(""),
        httpx.WriteError(""),
        httpx.RemoteProtocolError("Server disconnected"),
        httpx.Response(408),
        httpx.Response(500),
        httpx.Response(504, json={"detail": {"code": "system_busy", "message": "m"}}),
        httpx.Response(200, content=b"[]"),
        httpx.Response(200, content=b"{" * 20_000),
    ],
    ids=repr,
)
async def test_what_was_sent_and_not_answered_may_have_been_done(answer: httpx.Response | Exception) -> None:
    assert type(await outcome_of_post(answer)) is OutcomeUnknownError


@pytest.mark.parametrize(
    "answer",
    [httpx.ConnectError("refused"), httpx.ConnectTimeout(""), httpx.PoolTimeout(""), httpx.Response(429)],
    ids=repr,
)
async def test_what_was_not_sent_or_not_taken_was_not_done(answer: httpx.Response | Exception) -> None:
    assert type(await outcome_of_post(answer)) is ApiUnavailableError


@pytest.mark.parametrize("status", [400, 401, 404, 422])
async def test_a_refusal_is_one(status: int) -> None:
    assert type(await outcome_of_post(httpx.Response(status))) is ApiRefusedError


async def test_a_body_goes_as_json() -> None:
    async def echo(request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        return httpx.Response(200, json={"got": json.loads(request.content)})

    api = Api(echo)
    assert await api.rest().post("/x", {"a": "ñ"}, timeout_s=1) == {"got": {"a": "ñ"}}
    (request,) = api.seen
    assert (request.method, request.headers["content-type"]) == ("POST", "application/json")
    assert request.headers["xi-api-key"] == "xi-secret"
