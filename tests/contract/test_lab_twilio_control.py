"""The control routes of the simulated Twilio, by which other programs play the customers."""

import base64
import json
from typing import Any

import pytest
import trio

from tests.contract.lab_twilio import ACCOUNT_SID, PERSON, SENDER, served


async def test_the_lab_says_that_it_is_there() -> None:
    async with served() as bench:
        answer = await bench.http.get("/lab", auth=None)

    assert answer.json()["ok"] is True
    assert (answer.json()["calls"], answer.json()["calls_now"]) == (0, 0)
    assert (answer.json()["account_sid"], answer.json()["senders"]) == (ACCOUNT_SID, [SENDER])


async def test_a_customer_writes() -> None:
    async with served() as bench:
        answer = await bench.http.post(
            f"/lab/customers/{PERSON}/messages", json={"body": "Hola", "profile_name": "Ana"}
        )
        [request] = await bench.business.wait_for(1)

    assert answer.status_code == 201
    assert request.params["MessageSid"] == answer.json()["sid"]
    assert (request.params["Body"], request.params["ProfileName"]) == ("Hola", "Ana")


async def test_a_customer_sends_a_file_and_taps_a_button() -> None:
    async with served() as bench:
        content = base64.b64encode(b"OggS").decode()
        await bench.http.post(
            f"/lab/customers/{PERSON}/messages",
            json={"media": {"content_type": "audio/ogg", "base64": content}},
        )
        await bench.http.post(
            f"/lab/customers/{PERSON}/messages",
            json={"button": {"text": "Sí", "payload": "si"}, "fields": {"Forwarded": "true"}},
        )
        voice_note, tap = await bench.business.wait_for(2)
        fetched = await bench.http.get(voice_note.params["MediaUrl0"], follow_redirects=True)

    assert fetched.content == b"OggS"
    assert (tap.params["ButtonPayload"], tap.params["Forwarded"]) == ("si", "true")


async def test_what_was_said_is_shown_in_order_with_statuses_and_webhooks() -> None:
    async with served() as bench:
        await bench.http.post(f"/lab/customers/{PERSON}/messages", json={"body": "Hola"})
        await bench.create("¡Hola!", StatusCallback=bench.status_url)
        await bench.business.wait_for(3, "/status")
        await bench.until(lambda: all(delivery.done.is_set() for delivery in bench.lab.books.webhooks))
        answer = await bench.http.get(f"/lab/customers/{PERSON}/messages")

    inbound, outbound = answer.json()["messages"]
    assert (inbound["body"], inbound["direction"], inbound["status"]) == ("Hola", "inbound", "received")
    assert [entry["status"] for entry in outbound["history"]] == ["queued", "sent", "delivered", "read"]
    assert [webhook["attempts"][0]["status"] for webhook in outbound["webhooks"]] == [200, 200, 200]


async def test_a_program_waits_for_a_message() -> None:
    async with served() as bench:
        bench.lab.write(PERSON, "Hola")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.create, "¡Hola!")
            answer = await bench.http.get(
                f"/lab/customers/{PERSON}/messages", params={"of": "inbox", "count": 1, "wait_s": 10}
            )

    assert [message["body"] for message in answer.json()["messages"]] == ["¡Hola!"]


async def test_a_program_waits_in_vain() -> None:
    async with served() as bench:
        answer = await bench.http.get(
            f"/lab/customers/{PERSON}/messages", params={"of": "inbox", "count": 1, "wait_s": 0.05}
        )

    assert answer.json()["messages"] == []


async def test_a_customers_habits_are_changed() -> None:
    async with served() as bench:
        await bench.http.patch(f"/lab/customers/{PERSON}", json={"opted_out": True})
        refused = await bench.create()
        customers = await bench.http.get("/lab/customers")

    assert refused.json()["code"] == 21610
    assert [(c["phone"], c["opted_out"]) for c in customers.json()["customers"]] == [(PERSON, True)]


async def test_faults_are_switched_on_and_off() -> None:
    async with served() as bench:
        await bench.http.put("/lab/faults/rest_429", json={"details": {"retry_after_s": 9}})
        await bench.http.put("/lab/faults/html_502", json={"times": 1})
        shown = await bench.http.get("/lab/faults")
        refused = await bench.create()
        await bench.http.delete("/lab/faults/rest_429")
        left = await bench.http.get("/lab/faults")
        await bench.http.delete("/lab/faults")
        accepted = await bench.create()

    assert set(shown.json()["active"]) == {"rest_429", "html_502"}
    assert "Retry-After" in shown.json()["known"]["rest_429"]
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "9")
    assert set(left.json()["active"]) == {"html_502"}
    assert accepted.status_code == 201


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"probability": 1.5}, "probability: a number from 0 to 1"),
        ({"probability": -0.1}, "probability: a number from 0 to 1"),
        ({"times": 0}, "times: a whole number from 1"),
        ({"details": {"seconds": "soon"}}, "details: seconds: a number from 0"),
        ({"details": {"code": "63016"}}, "details: code: a number from 0"),
    ],
)
async def test_a_fault_that_cannot_be_is_refused(body: dict[str, Any], sentence: str) -> None:
    async with served() as bench:
        refused = await bench.http.put("/lab/faults/rest_slow", json=body)
        shown = await bench.http.get("/lab/faults")

    assert refused.status_code == 400
    assert sentence in refused.json()["error"]
    assert shown.json()["active"] == {}


async def test_time_passes_on_request() -> None:
    async with served() as bench:
        bench.lab.write(PERSON, "Hola")
        await bench.http.post("/lab/clock/advance", json={"seconds": 86400})
        await bench.create("tarde", StatusCallback=bench.status_url)
        [request] = await bench.business.wait_for(1, "/status")

    assert request.params["ErrorCode"] == "63016"


async def test_the_webhook_and_the_templates_are_set() -> None:
    async with served(incoming=None) as bench:
        template_sid = "HX" + "c" * 32
        await bench.http.put("/lab/incoming", json={"url": f"{bench.business.url}/nueva"})
        await bench.http.put(f"/lab/templates/{template_sid}", json={"body": "Hola {{1}}"})
        bench.lab.write(PERSON, "Hola")
        await bench.business.wait_for(1, "/nueva")
        created = await bench.create(ContentSid=template_sid, ContentVariables='{"1": "Ana"}')

    assert created.json()["body"] == "Hola Ana"


@pytest.mark.parametrize(
    ("book", "total"), [("messages", 2), ("webhooks", 1), ("rest_calls", 2), ("typing", 0), ("debugger", 0)]
)
async def test_the_books_are_open(book: str, total: int) -> None:
    async with served() as bench:
        bench.lab.write(PERSON, "Hola")
        await bench.business.wait_for(1)
        await bench.create()
        await bench.create(To="")
        answer = await bench.http.get(f"/lab/books/{book}", params={"last": 1})

    assert answer.json()["total"] == total
    assert len(answer.json()["entries"]) == min(1, total)


async def test_reset_empties_the_books() -> None:
    async with served() as bench:
        bench.lab.write(PERSON, "Hola")
        await bench.business.wait_for(1)
        await bench.http.put("/lab/faults/rest_429", json={})
        answer = await bench.http.post("/lab/reset")
        books = await bench.http.get("/lab/books/messages")

    assert answer.status_code == 204
    assert books.json()["total"] == 0
    assert not bench.lab.faults.active


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", f"/lab/customers/{PERSON}/messages", {"cuerpo": "Hola"}),
        ("POST", "/lab/customers/ana/messages", {"body": "Hola"}),
        ("POST", f"/lab/customers/{PERSON}/messages", {"body": "\ud83d"}),
        ("PUT", "/lab/faults/meteorite", {}),
        ("PUT", "/lab/faults/rest_429", {"details": {"on": True}}),
        ("POST", "/lab/clock/advance", {"seconds": "mañana"}),
        ("POST", "/lab/clock/advance", {"seconds": -1}),
        ("PUT", "/lab/templates/HX1", {}),
    ],
)
async def test_a_request_that_means_nothing_is_refused_with_a_reason(
    method: str, path: str, body: dict[str, object]
) -> None:
    async with served() as bench:
        answer = await bench.http.request(method, path, content=json.dumps(body))

    assert answer.status_code == 400
    assert answer.json()["error"]


async def test_an_unknown_book_is_not_found() -> None:
    async with served() as bench:
        answer = await bench.http.get("/lab/books/cuentas")

    assert answer.status_code == 404
    assert "webhooks" in answer.json()["error"]
