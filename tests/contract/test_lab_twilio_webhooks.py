"""The webhook engine over real connections: signatures, retries, answers, order."""

from typing import Any

import httpx
import pytest
import trio

from tests.contract.lab_twilio import AUTH_TOKEN, PERSON, SENDER, Told, nobody_listens, served

NEVER = trio.Event


async def test_an_inbound_message_is_told_and_signed() -> None:
    async with served() as bench:
        sid = bench.lab.write(PERSON, "Hola, ¿cómo estás?", profile_name="Zoë")
        [request] = await bench.business.wait_for(1)

    assert request.is_signed()
    assert request.headers["i-twilio-idempotency-token"]
    fields = {
        name: request.params[name]
        for name in ("MessageSid", "SmsSid", "From", "To", "Body", "WaId", "NumMedia")
    }
    assert fields == {
        "MessageSid": sid,
        "SmsSid": sid,
        "From": f"whatsapp:{PERSON}",
        "To": SENDER,
        "Body": "Hola, ¿cómo estás?",
        "WaId": "5215512345678",
        "NumMedia": "0",
    }
    assert request.params["ProfileName"] == "Zoë"
    assert request.params["ExternalUserId"].startswith("whatsapp:MX.")


async def test_a_get_webhook_carries_and_signs_its_fields_in_the_query() -> None:
    async with served(incoming="/incoming?cliente=1") as bench:
        bench.lab.account.incoming.method = "GET"
        bench.lab.write(PERSON, "Hola & adiós")
        [request] = await bench.business.wait_for(1)

    assert request.is_signed()
    assert httpx.URL(request.url).params["Body"] == "Hola & adiós"
    assert httpx.URL(request.url).params["cliente"] == "1"


async def test_the_fragment_is_neither_sent_nor_signed() -> None:
    async with served(incoming="/incoming?a=1#rc=3&rp=all") as bench:
        bench.lab.write(PERSON, "Hola")
        [request] = await bench.business.wait_for(1)

    assert request.is_signed()
    assert request.url == f"{bench.business.url}/incoming?a=1"


async def test_an_empty_answer_sends_nothing() -> None:
    async with served() as bench:
        bench.business.answers.append(Told(status=204, body=b""))
        bench.lab.write(PERSON, "Hola")
        [delivery] = bench.lab.books.webhooks
        await delivery.done.wait()

    assert [message.direction.value for message in bench.lab.world.messages.values()] == ["inbound"]
    assert not bench.lab.books.debugger


async def test_twiml_messages_reach_the_person() -> None:
    async with served() as bench:
        twiml = b"<Response><Message>Uno</Message><Message><Body>Dos</Body></Message></Response>"
        bench.business.answers.append(Told(body=twiml))
        bench.lab.write(PERSON, "Hola")
        received = await bench.lab.wait_for_message(PERSON, count=2)

    assert bench.lab.books.webhooks[0].attempts[0].answer == twiml.decode()
    assert [(message.body, message.direction.value) for message in received] == [
        ("Uno", "outbound-reply"),
        ("Dos", "outbound-reply"),
    ]


async def test_plain_text_reaches_the_person() -> None:
    async with served() as bench:
        bench.business.answers.append(Told(body=b"OK", content_type="text/plain; charset=utf-8"))
        bench.lab.write(PERSON, "Hola")
        [received] = await bench.lab.wait_for_message(PERSON)

    assert received.body == "OK"


async def test_json_is_trouble_in_the_debugger() -> None:
    async with served() as bench:
        bench.business.answers.append(Told(body=b'{"success":true}', content_type="application/json"))
        bench.lab.write(PERSON, "Hola")
        await bench.until(lambda: len(bench.lab.books.debugger) == 1)

    assert bench.lab.books.debugger[0].code == 12300
    assert bench.lab.person(PERSON).inbox == []


@pytest.mark.parametrize("status", [403, 500])
async def test_a_refused_webhook_is_not_redelivered(status: int) -> None:
    async with served() as bench:
        bench.business.answers.append(Told(status=status))
        bench.lab.write(PERSON, "Hola")
        [delivery] = bench.lab.books.webhooks
        await delivery.done.wait()

    assert [attempt.status for attempt in delivery.attempts] == [status]
    assert [entry.code for entry in bench.lab.books.debugger] == [11200]


async def test_an_answer_that_does_not_come_in_time_is_not_retried() -> None:
    async with served(incoming="/incoming#rt=100") as bench:
        bench.business.answers.append(Told(when=NEVER()))
        bench.lab.write(PERSON, "Hola")
        [delivery] = bench.lab.books.webhooks
        await delivery.done.wait()

    assert [attempt.failure for attempt in delivery.attempts] == ["timeout"]
    assert [entry.code for entry in bench.lab.books.debugger] == [11200]


async def test_the_total_limit_ends_all_attempts() -> None:
    async with served(incoming="/incoming#tt=200&rc=5&rp=all") as bench:
        bench.business.answers.extend([Told(status=500), Told(when=NEVER())])
        bench.lab.write(PERSON, "Hola")
        [delivery] = bench.lab.books.webhooks
        await delivery.done.wait()

    assert [attempt.failure for attempt in delivery.attempts] == ["5xx", "timeout"]


async def test_a_connection_that_fails_is_tried_once_more() -> None:
    async with served(incoming=None) as bench:
        bench.lab.account.incoming.url = f"{await nobody_listens()}/incoming"
        bench.lab.write(PERSON, "Hola")
        [delivery] = bench.lab.books.webhooks
        await delivery.done.wait()

    assert [attempt.failure for attempt in delivery.attempts] == ["connect", "connect"]
    assert [entry.code for entry in bench.lab.books.debugger] == [11205]


async def test_a_server_that_speaks_no_tls_is_named_as_such() -> None:
    async with served() as bench:
        bench.lab.account.incoming.url = bench.business.url.replace("http:", "https:")
        bench.lab.write(PERSON, "Hola")
        [delivery] = bench.lab.books.webhooks
        await delivery.done.wait()

    assert [attempt.failure for attempt in delivery.attempts] == ["tls", "tls"]
    assert [entry.code for entry in bench.lab.books.debugger] == [11220]


RETRIES = [
    pytest.param("rc=2&rp=5xx", [500, 503, 200], 3, id="5xx"),
    pytest.param("rc=1&rp=5xx", [500, 503], 2, id="retries used up"),
    pytest.param("rc=3&rp=4xx", [500], 1, id="another class"),
    pytest.param("rc=3&rp=all", [404, 500, 200], 3, id="all"),
    pytest.param("rc=0&rp=all", [500], 1, id="none"),
]


@pytest.mark.parametrize(("fragment", "statuses", "attempts"), RETRIES)
async def test_retries_follow_the_fragment(fragment: str, statuses: list[int], attempts: int) -> None:
    async with served(incoming=f"/incoming#{fragment}") as bench:
        bench.business.answers.extend(Told(status=status) for status in statuses)
        bench.lab.write(PERSON, "Hola")
        [delivery] = bench.lab.books.webhooks
        await delivery.done.wait()

    assert [attempt.status for attempt in delivery.attempts] == statuses
    tokens = {request.headers["i-twilio-idempotency-token"] for request in bench.business.received}
    assert len(bench.business.received) == attempts
    assert len(tokens) == 1


async def test_a_timeout_is_retried_when_asked_for() -> None:
    async with served(incoming="/incoming#rt=100&rc=1&rp=rt") as bench:
        bench.business.answers.extend([Told(when=NEVER()), Told()])
        bench.lab.write(PERSON, "Hola")
        [delivery] = bench.lab.books.webhooks
        await delivery.done.wait()

    assert [attempt.failure for attempt in delivery.attempts] == ["timeout", None]


async def test_the_fallback_is_asked_with_the_reason() -> None:
    async with served() as bench:
        bench.lab.account.incoming.fallback_url = f"{bench.business.url}/fallback"
        bench.business.answers.append(Told(status=500))
        sid = bench.lab.write(PERSON, "Hola")
        [request] = await bench.business.wait_for(1, "/fallback")

    assert request.is_signed()
    assert (request.params["MessageSid"], request.params["ErrorCode"]) == (sid, "11200")
    assert request.params["ErrorUrl"] == f"{bench.business.url}/incoming"


async def test_a_redirect_is_followed_with_a_new_signature() -> None:
    async with served() as bench:
        bench.business.answers.append(Told(status=307, headers=[(b"location", b"/otra?x=1")]))
        sid = bench.lab.write(PERSON, "Hola")
        [request] = await bench.business.wait_for(1, "/otra")

    assert request.is_signed()
    assert request.params["MessageSid"] == sid


async def test_a_persons_messages_are_told_one_after_the_other() -> None:
    async with served() as bench:
        gate = trio.Event()
        bench.business.answers.append(Told(when=gate))
        bench.lab.write(PERSON, "uno")
        bench.lab.write(PERSON, "dos")
        bench.lab.write("+573001234567", "de otra persona")
        requests = await bench.business.wait_for(2)
        before = sorted(request.params["Body"] for request in requests)
        gate.set()
        after = (await bench.business.wait_for(3))[2].params["Body"]

    assert before == ["de otra persona", "uno"]
    assert after == "dos"


async def test_statuses_are_told_at_once_and_not_in_turn() -> None:
    async with served() as bench:
        bench.lab.write(PERSON, "Hola")
        await bench.business.wait_for(1)
        gate = trio.Event()
        bench.business.answers.extend([Told(when=gate)] * 3)
        await bench.create(StatusCallback=bench.status_url)
        requests = await bench.business.wait_for(3, "/status")
        gate.set()

    assert {request.params["MessageStatus"] for request in requests} == {"sent", "delivered", "read"}
    assert all(request.is_signed() for request in requests)


async def test_a_business_that_is_down_does_not_hold_the_lab() -> None:
    async with served(incoming=None) as bench:
        bench.lab.account.incoming.url = f"{await nobody_listens()}/incoming"
        for number in range(300):
            bench.lab.write(f"+5215512{number:06d}", "Hola")
        await bench.until(lambda: all(delivery.done.is_set() for delivery in bench.lab.books.webhooks))
        answer = await bench.http.get("/lab")

    assert answer.status_code == 200
    assert len(bench.lab.books.webhooks) == 300


async def test_what_finds_no_room_is_lost_and_noted() -> None:
    async with served() as bench:
        bench.lab.engine.waiting_max = 1
        bench.lab.write(PERSON, "uno")
        bench.lab.write(PERSON, "dos")
        [taken, lost] = bench.lab.books.webhooks
        await taken.done.wait()
        bench.lab.write(PERSON, "tres")
        await bench.business.wait_for(2)

    assert lost.note == "the simulator's queue is full"
    assert [request.params["Body"] for request in bench.business.received] == ["uno", "tres"]


async def test_secrets_are_not_in_the_books() -> None:
    async with served() as bench:
        bench.lab.write(PERSON, "Hola")
        await bench.business.wait_for(1)
        shown: Any = (await bench.http.get("/lab/books/webhooks")).text

    assert AUTH_TOKEN not in shown
