"""The port `Messaging` and the reading of webhooks, against the simulated Twilio."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from attrs import evolve

from actors.messages import (
    Accepted,
    DeliveryStatus,
    NotSent,
    Outgoing,
    Purpose,
    Refused,
    SendResult,
    Template,
    Unknown,
)
from actors.ports import Messaging
from daemon.clock import SystemClock
from daemon.lab.twilio.whatsapp.phones import Location
from daemon.twilio.inbound import read_message, read_status
from daemon.twilio.messaging import STATUS_PATH, TwilioMessaging
from daemon.twilio.signature import SignatureCheck
from daemon.twilio.transport import Limits, open_transport, sdk_client
from tests.contract.lab_twilio import ACCOUNT_SID, AUTH_TOKEN, PERSON, SENDER, Bench, Received, served

NOW = datetime.now(UTC)
MESSAGE = Outgoing(
    id=42,
    person_id=7,
    conversation_id=1,
    address=PERSON,
    purpose=Purpose.ANSWER,
    text="Hola, ¿en qué le ayudo?",
    template=None,
    must_use_template=False,
    attempts=0,
    created_at=NOW,
    sending_since=NOW,
    window_opened_at=NOW,
)


@asynccontextmanager
async def messaging(bench: Bench, auth_token: str = AUTH_TOKEN) -> AsyncIterator[Messaging]:
    async with open_transport(Limits(deadline_s=1.0)) as transport:
        client = sdk_client(transport, account_sid=ACCOUNT_SID, auth_token=auth_token, base_url=bench.url)
        yield TwilioMessaging(
            client=client,
            sender=SENDER,
            public_url=bench.business.url,
            clock=SystemClock(),
            vendor_now=transport.vendor_now,
        )


async def send(bench: Bench, message: Outgoing = MESSAGE) -> SendResult:
    async with messaging(bench) as port:
        return await port.send(message, as_template=message.template is not None)


def is_signed(bench: Bench, request: Received) -> bool:
    url = urlsplit(request.url)
    check = SignatureCheck(bench.business.url, [AUTH_TOKEN])
    target = f"{url.path}?{url.query}" if url.query else url.path
    return check.form(target, request.params.items(), request.headers.get("x-twilio-signature"))


class TestSend:
    async def test_a_message_arrives_and_its_statuses_come_back_signed(self) -> None:
        async with served() as bench:
            bench.lab.write(PERSON, "Hola")
            result = await send(bench)
            assert isinstance(result, Accepted)
            (arrived,) = await bench.lab.wait_for_message(PERSON)
            callbacks = await bench.business.wait_for(3, STATUS_PATH)
        assert arrived.body == MESSAGE.text
        assert all(is_signed(bench, callback) for callback in callbacks)
        reports = [
            read_status(callback.params, message_id=parse_qs(urlsplit(callback.url).query)["m"][0])
            for callback in callbacks
        ]
        assert {report.message_id for report in reports} == {42}
        assert {report.sid for report in reports} == {result.sid}
        assert DeliveryStatus.DELIVERED in {report.status for report in reports}

    async def test_outside_the_window_the_refusal_comes_later(self) -> None:
        async with served() as bench:
            assert isinstance(await send(bench), Accepted)
            await bench.until(lambda: any("ErrorCode" in call.params for call in bench.business.received))
        failed = [call for call in bench.business.received if "ErrorCode" in call.params]
        assert read_status(failed[0].params, message_id="42").error_code == 63016

    async def test_a_template_that_does_not_exist_is_refused(self) -> None:
        message = evolve(MESSAGE, template=Template(sid="HX" + "0" * 32, variables={"1": "Ana"}))
        async with served() as bench:
            assert isinstance(await send(bench, message), Refused)

    @pytest.mark.parametrize(
        ("fault", "outcome"),
        [
            ("rest_429", NotSent),
            ("rest_500_before", Unknown),
            ("rest_500_after", Unknown),
            ("rest_timeout_after", Unknown),
            ("html_502", Unknown),
            ("rest_refused", Refused),
        ],
    )
    async def test_what_may_happen_on_the_way(self, fault: str, outcome: type[SendResult]) -> None:
        async with served() as bench:
            bench.fault(fault)
            assert isinstance(await send(bench), outcome)
            assert isinstance(await send(bench), Accepted)

    async def test_429_says_how_long_to_wait(self) -> None:
        async with served() as bench:
            bench.fault("rest_429", retry_after_s=3)
            result = await send(bench)
        assert isinstance(result, NotSent)
        assert (result.code, result.retry_after_s) == (20429, 3.0)

    async def test_a_wrong_token_loses_nothing(self) -> None:
        async with served() as bench, messaging(bench, auth_token="wrong") as port:
            result = await port.send(MESSAGE, as_template=False)
        assert isinstance(result, NotSent)
        assert result.code == 20003


class TestAnUnknownOutcome:
    @pytest.mark.parametrize(
        ("fault", "bodies"),
        [
            ("rest_500_after", [MESSAGE.text]),
            ("rest_timeout_after", [MESSAGE.text]),
            ("rest_500_before", []),
        ],
    )
    async def test_is_known_from_the_list(self, fault: str, bodies: list[str]) -> None:
        async with served() as bench, messaging(bench) as port:
            since = bench.lab.clock.now()
            bench.fault(fault)
            await port.send(MESSAGE, as_template=False)
            assert [sent.body for sent in await port.sent_to(PERSON, since=since)] == bodies
            assert not await port.sent_to("+525599999999", since=since)
            assert not await port.sent_to(PERSON, since=since + timedelta(minutes=5))

    async def test_is_known_of_a_person_without_a_number(self) -> None:
        async with served() as bench, messaging(bench) as port:
            since = bench.lab.clock.now()
            await port.send(evolve(MESSAGE, address="MX.1A2B"), as_template=False)
            (sent,) = await port.sent_to("MX.1A2B", since=since)
        assert sent.body == MESSAGE.text

    async def test_is_known_from_a_list_of_several_pages(self) -> None:
        async with served() as bench, messaging(bench) as port:
            since = bench.lab.clock.now()
            for number in range(205):
                await bench.create(f"Mensaje {number}")
            assert len(await port.sent_to(PERSON, since=since)) == 205


class TestWebhooks:
    async def test_a_message_is_signed_and_read(self) -> None:
        async with served() as bench:
            sid = bench.lab.write(PERSON, "¿Sigue ahí? 😀", external_user_id="MX.1A2B")
            (request,) = await bench.business.wait_for(1)
        assert is_signed(bench, request)
        read = read_message(request.params)
        assert (read.sid, read.text, read.kind) == (sid, "¿Sigue ahí? 😀", "text")
        assert read.address == PERSON
        assert read.identities == ("MX.1A2B", "+525512345678")

    async def test_a_place_and_a_person_without_a_number_are_read(self) -> None:
        place = Location(latitude="19.4326", longitude="-99.1332", address="Av. Uno 1", label="Oficina")
        async with served() as bench:
            bench.lab.write("MX.1A2B", "", location=place)
            (request,) = await bench.business.wait_for(1)
        read = read_message(request.params)
        assert read.text == "[ubicación] Oficina, Av. Uno 1 (19.4326, -99.1332)"
        assert (read.address, read.phone_number) == ("MX.1A2B", None)

    async def test_a_forged_message_is_not_signed(self) -> None:
        async with served() as bench:
            bench.fault("webhook_forged")
            bench.lab.write(PERSON, "Hola")
            requests = await bench.business.wait_for(2)
        assert sorted(is_signed(bench, request) for request in requests) == [False, True]


class TestMissedMessages:
    async def test_a_lost_webhook_is_made_up_for_by_the_list(self) -> None:
        async with served() as bench, messaging(bench) as port:
            since = bench.lab.clock.now()
            bench.fault("webhook_lost", times=None)
            sids = [bench.lab.write(PERSON, "Hola"), bench.lab.write("MX.1A2B", "Buenas")]
            await port.send(MESSAGE, as_template=False)
            found = [message async for message in port.received_since(since)]
        assert sorted(message.sid for message in found) == sorted(sids)
        assert {(message.address, message.text, message.identities) for message in found} == {
            (PERSON, "Hola", ("+525512345678",)),
            ("MX.1A2B", "Buenas", ("MX.1A2B",)),
        }

    async def test_it_is_read_no_further_back_than_needed(self) -> None:
        async with served(incoming=None) as bench, messaging(bench) as port:
            for number in range(205):
                bench.lab.write(PERSON, f"Mensaje {number}")
            bench.lab.advance(600)
            since = bench.lab.clock.now()
            bench.lab.write(PERSON, "nuevo")
            found = [message.text async for message in port.received_since(since)]
            lists = [call for call in bench.lab.books.rest_calls if call.operation == "message.list"]
            everything = [message async for message in port.received_since(since - timedelta(hours=1))]
        assert found == ["nuevo"]
        assert len(lists) <= 2
        assert len(everything) == 206


async def test_the_person_sees_that_an_answer_is_being_written() -> None:
    async with served() as bench, messaging(bench) as port:
        sid = bench.lab.write(PERSON, "Hola")
        await port.show_typing(sid)
        bench.fault("typing_fails")
        await port.show_typing(sid)
        operations = [call.operation for call in bench.lab.books.rest_calls]
    assert operations == ["typing.create", "typing.create"]
