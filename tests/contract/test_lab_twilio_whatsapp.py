"""WhatsApp in the simulated Twilio, from both sides."""

import json

import httpx
import pytest

from daemon.lab.twilio.whatsapp.messages import Media
from daemon.lab.twilio.whatsapp.phones import Button, Location
from daemon.lab.twilio.whatsapp.templates import Template
from tests.contract.lab_twilio import ACCOUNT_SID, PERSON, SENDER, Bench, served

TEMPLATE = Template(sid="HX" + "a" * 32, body="Hola {{1}}")
PAUSED = Template(sid="HX" + "b" * 32, body="Hola", refused_code=63041)


async def statuses(bench: Bench, count: int) -> list[dict[str, str]]:
    return [request.params for request in await bench.business.wait_for(count, "/status")]


async def test_a_message_tells_its_statuses() -> None:
    async with served() as bench:
        bench.lab.write(PERSON, "Hola")
        created = await bench.create(StatusCallback=bench.status_url)
        told = {params["MessageStatus"]: params for params in await statuses(bench, 3)}

    sid = created.json()["sid"]
    assert set(told) == {"sent", "delivered", "read"}
    assert all(params["MessageSid"] == params["SmsSid"] == sid for params in told.values())
    assert told["sent"]["StructuredMessage"] == "false"
    assert told["read"] == {
        "ApiVersion": "2010-04-01",
        "AccountSid": ACCOUNT_SID,
        "MessageSid": sid,
        "SmsSid": sid,
        "MessageStatus": "read",
        "SmsStatus": "read",
        "From": SENDER,
        "To": f"whatsapp:{PERSON}",
        "ChannelPrefix": "whatsapp",
        "ChannelInstallSid": told["read"]["ChannelInstallSid"],
        "ChannelToAddress": "+521551234XXXX",
        "EventType": "READ",
    }


async def test_a_message_through_a_service_is_accepted_and_then_queued() -> None:
    service = "MG" + "d" * 32
    async with served() as bench:
        bench.lab.account.messaging_service_sid = service
        bench.lab.write(PERSON, "Hola")
        created = await bench.create(From="", MessagingServiceSid=service, StatusCallback=bench.status_url)
        told = await statuses(bench, 4)

    assert created.json()["status"] == "accepted"
    assert {params["MessageStatus"] for params in told} == {"queued", "sent", "delivered", "read"}
    assert {params["MessagingServiceSid"] for params in told} == {service}


async def test_free_text_outside_the_window_is_accepted_and_fails() -> None:
    async with served() as bench:
        created = await bench.create(StatusCallback=bench.status_url)
        [told] = await statuses(bench, 1)
        fetched = await bench.http.get(bench.path(f"Messages/{created.json()['sid']}.json"))

    assert created.status_code == 201
    assert (told["MessageStatus"], told["ErrorCode"]) == ("failed", "63016")
    assert (fetched.json()["status"], fetched.json()["error_code"]) == ("failed", 63016)


@pytest.mark.parametrize(
    ("template", "variables", "code"),
    [(TEMPLATE, '{"1": "Ana"}', None), (TEMPLATE, "{}", 63028), (PAUSED, "{}", 63041)],
)
async def test_a_template_goes_outside_the_window_unless_whatsapp_refuses_it(
    template: Template, variables: str, code: int | None
) -> None:
    async with served(templates=[TEMPLATE, PAUSED]) as bench:
        created = await bench.create(
            Body="", ContentSid=template.sid, ContentVariables=variables, StatusCallback=bench.status_url
        )
        [first, *_] = await statuses(bench, 1)

    assert created.status_code == 201
    assert first.get("ErrorCode") == (str(code) if code else None)


async def test_a_person_without_a_number_is_answered_at_the_user_id() -> None:
    user_id = "MX.4566546130240823"
    async with served() as bench:
        bench.lab.write(user_id, "Hola")
        [request] = await bench.business.wait_for(1)
        await bench.create("¡Hola!", To=request.params["From"])
        [received] = await bench.lab.wait_for_message(user_id)

    assert request.params["From"] == request.params["ExternalUserId"] == f"whatsapp:{user_id}"
    assert request.params["WaId"] == ""
    assert received.body == "¡Hola!"


async def test_a_number_and_its_user_id_are_one_person() -> None:
    async with served() as bench:
        bench.lab.write(PERSON, "Hola", external_user_id="MX.77")
        [request] = await bench.business.wait_for(1)
        await bench.create("¡Hola!", To="whatsapp:MX.77")
        [received] = await bench.lab.wait_for_message(PERSON)

    assert (request.params["From"], request.params["ExternalUserId"]) == (
        f"whatsapp:{PERSON}",
        "whatsapp:MX.77",
    )
    assert received.recipient == "whatsapp:MX.77"


async def test_a_file_is_fetched_with_credentials_behind_a_redirect() -> None:
    async with served() as bench:
        bench.lab.write(PERSON, "mi recibo", media=Media(content_type="image/jpeg", content=b"\xff\xd8jpg"))
        [request] = await bench.business.wait_for(1)
        url = request.params["MediaUrl0"]
        async with httpx.AsyncClient(trust_env=False) as stranger:
            refused = await stranger.get(url)
            redirect = await bench.http.get(url)
            link = redirect.headers["Location"]
            fetched = await stranger.get(link)
            bench.lab.advance(4 * 3600 + 1)
            expired = await stranger.get(link)

    assert (request.params["NumMedia"], request.params["MessageType"]) == ("1", "image")
    assert (refused.status_code, redirect.status_code, expired.status_code) == (401, 307, 403)
    assert (fetched.content, fetched.headers["Content-Type"]) == (b"\xff\xd8jpg", "image/jpeg")


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("audio/ogg", "audio"),
        ("video/mp4", "video"),
        ("application/pdf", "document"),
        ("image/webp", "sticker"),
        ("text/vcard", "contacts"),
    ],
)
async def test_a_file_tells_what_it_is(content_type: str, kind: str) -> None:
    async with served() as bench:
        bench.lab.write(PERSON, media=Media(content_type=content_type, content=b"x"))
        [request] = await bench.business.wait_for(1)

    assert (request.params["MessageType"], request.params["MediaContentType0"]) == (kind, content_type)


async def test_a_tap_on_a_button_is_told_as_captured() -> None:
    async with served() as bench:
        bench.lab.write(
            PERSON, button=Button(text="Confirmar", payload="confirm_1"), replied_to="MM" + "1" * 32
        )
        [request] = await bench.business.wait_for(1)

    told = request.params
    assert (told["Body"], told["ButtonText"], told["ButtonPayload"]) == (
        "Confirmar",
        "Confirmar",
        "confirm_1",
    )
    assert (told["OriginalRepliedMessageSid"], told["OriginalRepliedMessageSender"]) == (
        "MM" + "1" * 32,
        SENDER,
    )
    assert told["MessageType"] == "interactive"
    assert json.loads(told["ChannelMetadata"])["data"]["context"]["ButtonText"] == "Confirmar"


async def test_a_location_is_told_with_its_address() -> None:
    async with served() as bench:
        place = Location(latitude="19.4326", longitude="-99.1332", address="Zócalo", label="Centro")
        bench.lab.write(PERSON, location=place)
        [request] = await bench.business.wait_for(1)

    told = {name: request.params[name] for name in ("Latitude", "Longitude", "Address", "Label", "Body")}
    assert told == {
        "Latitude": "19.4326",
        "Longitude": "-99.1332",
        "Address": "Zócalo",
        "Label": "Centro",
        "Body": "",
    }


async def test_any_further_field_is_told() -> None:
    async with served() as bench:
        bench.lab.write(PERSON, "Hola", ReferralHeadline="Promo", Forwarded="true")
        [request] = await bench.business.wait_for(1)

    assert (request.params["ReferralHeadline"], request.params["Forwarded"]) == ("Promo", "true")
    assert request.is_signed()


async def test_whoever_listens_hears_of_every_message_that_arrives() -> None:
    heard: list[tuple[str | None, str]] = []
    async with served() as bench:
        bench.lab.on_message(lambda person, message: heard.append((person.phone, message.body)))
        bench.lab.write(PERSON, "Hola")
        await bench.create("uno")
        await bench.create("dos")
        await bench.lab.wait_for_message(PERSON, count=2)

    assert heard == [(PERSON, "uno"), (PERSON, "dos")]


async def test_a_message_can_be_waited_for_by_what_it_says() -> None:
    async with served() as bench:
        bench.lab.write(PERSON, "Hola")
        await bench.create("uno")
        await bench.create("dos")
        [found] = await bench.lab.wait_for_message(PERSON, where=lambda message: "dos" in message.body)

    assert found.body == "dos"


@pytest.mark.parametrize("form", [{"channel": "sms"}, {"messageId": "SM" + "0" * 32}])
async def test_typing_needs_an_inbound_message(form: dict[str, str]) -> None:
    async with served() as bench:
        sid = bench.lab.write(PERSON, "Hola")
        good = {"channel": "whatsapp", "messageId": sid}
        answer = await bench.http.post("/v2/Indicators/Typing.json", data={**good, **form})
        created = await bench.create()
        ours = await bench.http.post(
            "/v2/Indicators/Typing.json", data={**good, "messageId": created.json()["sid"]}
        )

    assert (answer.status_code, ours.status_code) == (400, 400)
    assert not bench.lab.books.typing
