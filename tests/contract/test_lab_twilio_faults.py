"""Every fault of the simulated Twilio, as it shows from outside."""

import httpx
import pytest
import trio

from daemon.lab.faults import Fault, UnknownFaultError
from daemon.lab.twilio.known_faults import KNOWN_FAULTS
from daemon.lab.twilio.whatsapp.carrier import Pace
from tests.contract.lab_twilio import PERSON, Bench, Received, served


def bodies(requests: list[Received]) -> list[str]:
    return [request.params["Body"] for request in requests]


async def all_done(bench: Bench, count: int) -> None:
    books = bench.lab.books
    await bench.until(lambda: len(books.webhooks) >= count and all(d.done.is_set() for d in books.webhooks))


async def test_429_says_when_to_come_back() -> None:
    async with served() as bench:
        bench.fault("rest_429", retry_after_s=3)
        refused, accepted = await bench.create("uno"), await bench.create("dos")

    assert (refused.status_code, refused.json()["code"], refused.headers["Retry-After"]) == (429, 20429, "3")
    assert accepted.status_code == 201
    assert [message.body for message in bench.lab.world.messages.values()] == ["dos"]


async def test_500_before_leaves_nothing() -> None:
    async with served() as bench:
        bench.fault("rest_500_before")
        answer = await bench.create()

    assert (answer.status_code, answer.json()["code"]) == (500, 20500)
    assert not bench.lab.world.messages


async def test_500_after_leaves_a_message_that_arrives() -> None:
    async with served() as bench:
        bench.lab.write(PERSON, "Hola")
        bench.fault("rest_500_after")
        answer = await bench.create("¿llegó?")
        [received] = await bench.lab.wait_for_message(PERSON)

    assert answer.status_code == 500
    assert received.body == "¿llegó?"


async def test_a_timeout_after_leaves_a_message_and_no_answer() -> None:
    async with served() as bench:
        bench.fault("rest_timeout_after", seconds=0)
        with pytest.raises(httpx.RemoteProtocolError):
            await bench.create("uno")
        bench.fault("rest_timeout_after", seconds=30)
        with pytest.raises(httpx.ReadTimeout):
            await bench.http.post(
                bench.path("Messages.json"),
                data={"To": f"whatsapp:{PERSON}", "From": bench.lab.account.senders[0], "Body": "dos"},
                timeout=0.1,
            )

    assert [message.body for message in bench.lab.world.messages.values()] == ["uno", "dos"]
    assert bench.lab.books.rest_calls[-1].fault == "rest_timeout_after"


async def test_a_drop_before_leaves_nothing() -> None:
    async with served() as bench:
        bench.fault("rest_drop_before")
        with pytest.raises(httpx.RemoteProtocolError):
            await bench.create()

    assert not bench.lab.world.messages


async def test_a_slow_answer_is_an_answer() -> None:
    async with served() as bench:
        bench.fault("rest_slow", seconds=0.2)
        begun = trio.current_time()
        answer = await bench.create()
        took_s = trio.current_time() - begun

    assert answer.status_code == 201
    assert took_s >= 0.2


async def test_any_refusal_can_be_scripted() -> None:
    async with served() as bench:
        bench.fault("rest_refused", code=21614, status=400)
        answer = await bench.create()

    assert (answer.status_code, answer.json()["code"]) == (400, 21614)
    assert not bench.lab.world.messages


async def test_a_proxy_answers_html() -> None:
    async with served() as bench:
        bench.fault("html_502")
        answer = await bench.create()

    assert (answer.status_code, answer.headers["Content-Type"]) == (502, "text/html")
    assert not bench.lab.world.messages


async def test_a_rest_fault_can_be_aimed_at_another_operation() -> None:
    async with served() as bench:
        bench.fault("rest_500_before", on="message.list")
        created = await bench.create()
        listed = await bench.http.get(bench.path("Messages.json"))
        bench.fault("rest_429", on="any")
        fetched = await bench.http.get(bench.path(f"Messages/{created.json()['sid']}.json"))

    assert [answer.status_code for answer in (created, listed, fetched)] == [201, 500, 429]


async def test_the_list_lags_behind_the_create() -> None:
    async with served() as bench:
        bench.fault("list_lags", seconds=10)
        created = await bench.create()
        before = await bench.http.get(bench.path("Messages.json"))
        fetched = await bench.http.get(bench.path(f"Messages/{created.json()['sid']}.json"))
        bench.lab.advance(11)
        after = await bench.http.get(bench.path("Messages.json"))

    assert before.json()["messages"] == []
    assert fetched.status_code == 200
    assert [message["sid"] for message in after.json()["messages"]] == [created.json()["sid"]]


async def test_typing_fails() -> None:
    async with served() as bench:
        sid = bench.lab.write(PERSON, "Hola")
        bench.fault("typing_fails", status=503)
        form = {"channel": "whatsapp", "messageId": sid}
        answer = await bench.http.post("/v2/Indicators/Typing.json", data=form)

    assert answer.status_code == 503
    assert not bench.lab.books.typing


async def test_a_webhook_comes_twice() -> None:
    async with served() as bench:
        bench.fault("webhook_duplicate")
        sid = bench.lab.write(PERSON, "Hola")
        first, second = await bench.business.wait_for(2)

    assert first.params["MessageSid"] == second.params["MessageSid"] == sid
    assert first.headers["i-twilio-idempotency-token"] != second.headers["i-twilio-idempotency-token"]


async def test_a_webhook_comes_after_the_next_one() -> None:
    async with served() as bench:
        bench.fault("webhook_reorder")
        for body in ("uno", "dos", "tres"):
            bench.lab.write(PERSON, body)
        requests = await bench.business.wait_for(3)

    assert bodies(requests) == ["dos", "uno", "tres"]


async def test_a_webhook_that_waits_for_a_next_one_does_not_wait_for_ever() -> None:
    async with served() as bench:
        bench.fault("webhook_reorder", seconds=3600)
        bench.lab.write(PERSON, "uno")
        assert not bench.lab.books.webhooks
        bench.lab.advance(3601)
        requests = await bench.business.wait_for(1)

    assert bodies(requests) == ["uno"]


async def test_a_late_webhook_is_overtaken() -> None:
    async with served() as bench:
        bench.fault("webhook_late", seconds=3600)
        bench.lab.write(PERSON, "uno")
        bench.lab.write(PERSON, "dos")
        await bench.business.wait_for(1)
        bench.lab.advance(3601)
        requests = await bench.business.wait_for(2)

    assert bodies(requests) == ["dos", "uno"]


async def test_a_lost_webhook_is_in_the_list_alone() -> None:
    async with served() as bench:
        bench.fault("webhook_lost")
        bench.lab.write(PERSON, "uno")
        bench.lab.write(PERSON, "dos")
        await all_done(bench, 2)
        listed = await bench.http.get(bench.path("Messages.json"))

    assert bodies(bench.business.received) == ["dos"]
    assert [message["body"] for message in listed.json()["messages"]] == ["dos", "uno"]
    assert bench.lab.books.webhooks[0].note == "lost"


async def test_a_forged_webhook_comes_along_with_a_bad_signature() -> None:
    async with served() as bench:
        bench.fault("webhook_forged")
        sid = bench.lab.write(PERSON, "Hola")
        requests = await bench.business.wait_for(2)

    [forged] = [request for request in requests if not request.is_signed()]
    [genuine] = [request for request in requests if request.is_signed()]
    assert genuine.params["MessageSid"] == sid
    assert forged.params["MessageSid"] not in bench.lab.world.messages
    assert forged.params["From"] == genuine.params["From"]


async def statuses_of_one_message(bench: Bench, count: int) -> list[str]:
    bench.lab.write(PERSON, "Hola")
    await bench.create(StatusCallback=bench.status_url)
    requests = await bench.business.wait_for(count, "/status")
    return [request.params["MessageStatus"] for request in requests]


async def test_a_status_comes_twice() -> None:
    async with served() as bench:
        bench.fault("status_duplicate")
        told = await statuses_of_one_message(bench, 4)

    assert sorted(told) == ["delivered", "read", "sent", "sent"]


async def test_a_status_comes_after_the_next_one() -> None:
    async with served() as bench:
        bench.fault("status_reorder")
        told = await statuses_of_one_message(bench, 3)

    assert told.index("delivered") < told.index("sent")


async def test_a_late_status_is_overtaken() -> None:
    async with served() as bench:
        bench.fault("status_late", seconds=3600)
        before = await statuses_of_one_message(bench, 2)
        bench.lab.advance(3601)
        requests = await bench.business.wait_for(3, "/status")

    assert sorted(before) == ["delivered", "read"]
    assert requests[-1].params["MessageStatus"] == "sent"


async def test_a_lost_status_never_comes() -> None:
    async with served() as bench:
        bench.fault("status_lost")
        told = await statuses_of_one_message(bench, 2)
        await all_done(bench, 4)

    assert sorted(told) == ["delivered", "read"]


async def test_a_status_comes_before_the_answer_of_the_create() -> None:
    async with served(pace=Pace(sent_s=60, delivered_s=60)) as bench:
        bench.lab.write(PERSON, "Hola")
        bench.fault("status_before_answer")
        created = await bench.create(StatusCallback=bench.status_url)
        already = [request.params for request in bench.business.received if request.path == "/status"]

    assert created.status_code == 201
    assert [(params["MessageSid"], params["MessageStatus"]) for params in already] == [
        (created.json()["sid"], "sent")
    ]


@pytest.mark.parametrize(
    ("name", "history"),
    [
        ("message_failed", ["queued", "failed"]),
        ("message_undelivered", ["queued", "sent", "undelivered"]),
    ],
)
async def test_a_message_ends_badly_with_any_code(name: str, history: list[str]) -> None:
    async with served() as bench:
        bench.lab.write(PERSON, "Hola")
        bench.fault(name, code=63010)
        created = await bench.create(StatusCallback=bench.status_url)
        message = bench.lab.world.messages[created.json()["sid"]]
        await bench.until(lambda: message.error_code == 63010)

    assert [status.value for status, _ in message.history] == history
    assert bench.lab.person(PERSON).inbox == []


async def test_every_fault_explains_itself_and_no_other_is_taken() -> None:
    async with served() as bench:
        assert all(len(sentence) > 20 for sentence in KNOWN_FAULTS.values())
        with pytest.raises(UnknownFaultError, match="rest_429"):
            bench.lab.faults.switch_on(Fault(name="meteorite"))


async def test_without_a_way_to_drop_it_a_connection_is_held() -> None:
    async with served() as bench:
        bench.lab.abort_connection = None
        bench.fault("rest_drop_before")
        with pytest.raises(httpx.ReadTimeout):
            await bench.http.post(bench.path("Messages.json"), data={}, timeout=0.1)

    assert not bench.lab.world.messages
