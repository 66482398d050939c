"""The port `Messaging` over Twilio's SDK and our transport, against a server that answers what a test scripts."""

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import trio
from attrs import evolve

from actors.messages import Accepted, NotSent, Outgoing, Purpose, Refused, Template, Unknown
from actors.ports import Messaging, VendorRefusedError, VendorUnavailableError
from daemon.twilio.messaging import TwilioMessaging
from daemon.twilio.transport import Limits, Transport, open_transport, sdk_client
from tests.contract.scripted_server import (
    Step,
    Stream,
    answer,
    close_after_half,
    hang,
    hang_after_half,
    listening,
    reset,
    scripted,
    then_close,
)

ACCOUNT = "AC" + "0" * 32
SID = "SM" + "1" * 32
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
SENDER = "+14155238886"
ANA = "+5215512345678"

MESSAGE = Outgoing(
    id=42,
    person_id=7,
    conversation_id=1,
    address=ANA,
    purpose=Purpose.ANSWER,
    text="Hola, ¿cómo estás?\n100 % de acuerdo & más",
    template=None,
    must_use_template=False,
    attempts=0,
    created_at=NOW,
    sending_since=NOW,
    window_opened_at=NOW,
)


def created(**fields: object) -> Step:
    return answer(201, {"sid": SID, "status": "queued", **fields})


def refused(status: int, code: int, message: str = "no", **headers: str) -> Step:
    return answer(status, {"code": code, "message": message, "status": status}, **headers)


def problem(status: int, code: int) -> Step:
    """An error as RFC 9457 has it."""
    body = {
        "type": "https://twilio.com/x",
        "title": "No",
        "status": status,
        "code": code,
        "detail": "Because.",
    }
    return answer(status, body, "application/problem+json")


class Standing:
    """A clock that shows one moment."""

    def now(self) -> datetime:
        return NOW


@asynccontextmanager
async def messaging_at(origin: str, **limits: Any) -> AsyncIterator[tuple[Messaging, Transport]]:
    async with open_transport(Limits(**limits)) as transport:
        client = sdk_client(transport, account_sid=ACCOUNT, auth_token="token", base_url=origin)
        yield (
            TwilioMessaging(
                client=client,
                sender=SENDER,
                public_url="https://relevo.example.com/",
                clock=Standing(),
                vendor_now=transport.vendor_now,
                typing_deadline_s=0.3,
            ),
            transport,
        )


async def outcome(*steps: Step, **limits: Any) -> object:
    async with scripted(*steps) as (_, origin), messaging_at(origin, **limits) as (messaging, _):
        return await messaging.send(MESSAGE, as_template=False)


async def outcome_at_accept(step: Step) -> object:
    """The outcome when the server does something before it reads."""
    async with listening(step) as origin, messaging_at(origin) as (messaging, _):
        return await messaging.send(MESSAGE, as_template=False)


class TestTheRequest:
    async def test_a_text_goes_as_a_form_with_everything_twilio_needs(self) -> None:
        async with scripted(created()) as (script, origin), messaging_at(origin) as (messaging, _):
            assert await messaging.send(MESSAGE, as_template=False) == Accepted(sid=SID)
        (seen,) = script.seen
        assert (seen.method, seen.path) == ("POST", f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json")
        assert seen.form == {
            "To": [f"whatsapp:{ANA}"],
            "From": [f"whatsapp:{SENDER}"],
            "Body": [MESSAGE.text],
            "StatusCallback": ["https://relevo.example.com/api/webhook/twilio/status?m=42"],
        }
        assert seen.headers["content-type"] == "application/x-www-form-urlencoded"
        assert seen.headers["authorization"].startswith("Basic ")
        assert "transfer-encoding" not in seen.headers

    async def test_a_template_goes_with_its_variables_and_without_a_body(self) -> None:
        template = Template(sid="HX" + "2" * 32, variables={"1": "Ana", "2": "mañana"})
        message = evolve(MESSAGE, template=template, address="MX.1A2B")
        async with scripted(created()) as (script, origin), messaging_at(origin) as (messaging, _):
            await messaging.send(message, as_template=True)
        form = script.seen[0].form
        assert form["ContentSid"] == [template.sid]
        assert json.loads(form["ContentVariables"][0]) == {"1": "Ana", "2": "mañana"}
        assert form["To"] == ["whatsapp:MX.1A2B"]
        assert "Body" not in form

    async def test_a_template_that_goes_as_text_sends_its_text_only(self) -> None:
        message = evolve(MESSAGE, template=Template(sid="HX" + "2" * 32))
        async with scripted(created()) as (script, origin), messaging_at(origin) as (messaging, _):
            await messaging.send(message, as_template=False)
        assert "ContentSid" not in script.seen[0].form

    async def test_a_message_without_a_template_cannot_go_as_one(self) -> None:
        async with scripted(created()) as (script, origin), messaging_at(origin) as (messaging, _):
            with pytest.raises(ValueError, match="no template"):
                await messaging.send(MESSAGE, as_template=True)
        assert not script.seen

    async def test_half_an_emoji_does_not_stop_a_message(self) -> None:
        async with scripted(created()) as (script, origin), messaging_at(origin) as (messaging, _):
            await messaging.send(evolve(MESSAGE, text="ok \ud83d"), as_template=False)
        assert script.seen[0].form["Body"] == ["ok ?"]

    async def test_region_and_edge_of_the_environment_change_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TWILIO_REGION", "ie1")
        monkeypatch.setenv("TWILIO_EDGE", "dublin")
        assert await outcome(created()) == Accepted(sid=SID)

    async def test_messages_share_a_connection(self) -> None:
        async with scripted(created()) as (script, origin), messaging_at(origin) as (messaging, _):
            for _ in range(3):
                await messaging.send(MESSAGE, as_template=False)
        assert script.connections == 1

    async def test_a_connection_that_was_closed_meanwhile_is_replaced(self) -> None:
        async with (
            scripted(then_close(created())) as (script, origin),
            messaging_at(origin) as (messaging, _),
        ):
            assert await messaging.send(MESSAGE, as_template=False) == Accepted(sid=SID)
            assert await messaging.send(MESSAGE, as_template=False) == Accepted(sid=SID)
        assert script.connections == 2


class TestRefused:
    @pytest.mark.parametrize(
        ("status", "code"),
        [
            (400, 21211),
            (400, 21408),
            (400, 21602),
            (400, 21608),
            (400, 21610),
            (400, 21617),
            (400, 21654),
            (400, 21656),
            (400, 21910),
            (400, 63007),
            (404, 20404),
        ],
    )
    async def test_a_code_of_twilio_is_final(self, status: int, code: int) -> None:
        assert await outcome(refused(status, code)) == Refused(code=code, detail="no")

    async def test_a_problem_document_is_read_by_its_status(self) -> None:
        assert await outcome(problem(400, 21656)) == Refused(code=21656, detail="Because.")

    async def test_a_phone_number_in_the_reason_is_masked(self) -> None:
        result = await outcome(refused(400, 21211, f"The 'To' number {ANA} is not valid"))
        assert result == Refused(code=21211, detail="The 'To' number +…5678 is not valid")


class TestNotSent:
    async def test_too_many_requests_carries_what_twilio_asked_for(self) -> None:
        result = await outcome(refused(429, 20429, Retry_After="7"))
        assert result == NotSent(code=20429, detail="too many requests (20429)", retry_after_s=7.0)

    async def test_too_many_requests_may_come_from_a_proxy(self) -> None:
        result = await outcome(answer(429, "<html>slow down</html>", "text/html"))
        assert result == NotSent(code=429, detail="too many requests (429)", retry_after_s=None)

    @pytest.mark.parametrize("code", [14107, 20429, 21611, 63018, 63038])
    async def test_a_limit_is_no_refusal(self, code: int) -> None:
        assert await outcome(refused(400, code)) == NotSent(code=code, detail="no")

    @pytest.mark.parametrize(("status", "code"), [(401, 20003), (403, 20005), (401, 20005)])
    async def test_bad_credentials_and_a_suspended_account_lose_nothing(self, status: int, code: int) -> None:
        assert await outcome(refused(status, code)) == NotSent(code=code, detail="no")

    async def test_a_403_from_something_in_between_loses_nothing(self) -> None:
        result = await outcome(answer(403, "<html>blocked</html>", "text/html"))
        assert isinstance(result, NotSent)

    async def test_a_redirect_is_no_answer_of_twilios(self) -> None:
        result = await outcome(answer(302, "", Location="https://portal.example.com"))
        assert isinstance(result, NotSent)

    async def test_nobody_listens(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        async with messaging_at(f"http://127.0.0.1:{port}") as (messaging, _):
            result = await messaging.send(MESSAGE, as_template=False)
        assert isinstance(result, NotSent)
        assert result.code is None

    async def test_a_host_that_does_not_exist(self) -> None:
        async with messaging_at("http://twilio.invalid", connect_s=1.0) as (messaging, _):
            assert isinstance(await messaging.send(MESSAGE, as_template=False), NotSent)

    async def test_a_tls_handshake_that_never_ends(self) -> None:
        async with scripted(hang) as (_, origin):
            secure = origin.replace("http:", "https:")
            async with messaging_at(secure, connect_s=0.2) as (messaging, _):
                assert isinstance(await messaging.send(MESSAGE, as_template=False), NotSent)

    async def test_the_time_runs_out_before_there_is_a_connection(self) -> None:
        async with scripted(hang) as (_, origin):
            secure = origin.replace("http:", "https:")
            async with messaging_at(secure, deadline_s=0.2) as (messaging, _):
                result = await messaging.send(MESSAGE, as_template=False)
        assert result == NotSent(code=None, detail="no answer within 0.2 s")


class TestUnknown:
    @pytest.mark.parametrize(
        "step",
        [
            pytest.param(refused(500, 20500), id="internal error"),
            pytest.param(refused(400, 20500), id="internal error under another status"),
            pytest.param(refused(500, 63012), id="trouble inside Twilio under a 500"),
            pytest.param(refused(503, 63010), id="trouble at the provider under a 503"),
            pytest.param(answer(503, "", Retry_After="5"), id="empty 503"),
            pytest.param(answer(502, "<html>Bad Gateway</html>", "text/html"), id="a proxy's 502"),
            pytest.param(problem(503, 20503), id="problem document"),
            pytest.param(answer(408, ""), id="request timeout"),
            pytest.param(answer(200, "<html>Hello</html>", "text/html"), id="a page instead of an answer"),
            pytest.param(answer(201, "[]"), id="a list"),
            pytest.param(answer(201, '{"sid": '), id="broken JSON"),
            pytest.param(answer(201, ""), id="nothing"),
            pytest.param(created(sid=None), id="no SID"),
            pytest.param(reset, id="reset after the request"),
            pytest.param(close_after_half, id="closed within the answer"),
        ],
    )
    async def test_nobody_knows(self, step: Step) -> None:
        assert isinstance(await outcome(step), Unknown)

    @pytest.mark.parametrize("step", [hang, hang_after_half])
    async def test_the_time_runs_out(self, step: Step) -> None:
        assert await outcome(step, deadline_s=0.2) == Unknown(detail="no answer within 0.2 s")

    async def test_a_connection_that_breaks_before_the_request_is_read(self) -> None:
        """It depends on whether the reset overtakes the form; neither outcome sends a message twice."""
        result = await outcome_at_accept(reset)
        assert isinstance(result, NotSent | Unknown)

    async def test_an_answer_before_the_request_was_read_counts(self) -> None:
        async def refuse(stream: Stream) -> None:
            await refused(400, 21617)(stream)
            await stream.send_eof()
            await trio.sleep_forever()

        assert await outcome_at_accept(refuse) == Refused(code=21617, detail="no")


def listed(sid: str, body: str, created_at: datetime, *, is_sent: bool = True) -> dict[str, object]:
    stamp = created_at.strftime("%a, %d %b %Y %H:%M:%S +0000")
    return {"sid": sid, "body": body, "date_created": stamp, "date_sent": stamp if is_sent else None}


def page(*messages: dict[str, object], next_page_uri: str | None = None, **headers: str) -> Step:
    body = {"messages": messages, "next_page_uri": next_page_uri, "page_size": 200}
    return answer(200, body, **headers)


SKEWS = [timedelta(hours=-2), timedelta(minutes=-3), timedelta(minutes=3), timedelta(days=400)]
"""By how much Twilio's clock may be ahead of ours."""


class TestSentTo:
    async def test_every_page_and_every_spelling_of_the_number_is_read(self) -> None:
        later = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json?PageToken=P1"
        steps = [
            page(listed("SM1", "uno", NOW), next_page_uri=later),
            page(listed("SM2", "dos", NOW, is_sent=False)),
            page(listed("SM1", "uno", NOW), listed("SM3", "tres", NOW + timedelta(seconds=5))),
        ]
        async with scripted(*steps) as (script, origin), messaging_at(origin) as (messaging, _):
            found = await messaging.sent_to(ANA, since=NOW)
        assert [(sent.sid, sent.body) for sent in found] == [("SM1", "uno"), ("SM2", "dos"), ("SM3", "tres")]
        assert found[2].created_at == NOW + timedelta(seconds=5)
        first, second, third = script.seen
        assert first.query == {
            "To": [f"whatsapp:{ANA}"],
            "From": [f"whatsapp:{SENDER}"],
            "PageSize": ["200"],
        }
        assert second.query == {"PageToken": ["P1"]}
        assert third.query["To"] == ["whatsapp:+525512345678"]

    async def test_older_messages_are_left_out(self) -> None:
        old = listed("SM1", "ayer", NOW - timedelta(minutes=5))
        just_before = listed("SM2", "hoy", NOW - timedelta(seconds=30))
        async with scripted(page(old, just_before)) as (_, origin), messaging_at(origin) as (messaging, _):
            found = await messaging.sent_to("MX.1A2B", since=NOW)
        assert [sent.sid for sent in found] == ["SM2"]

    @pytest.mark.parametrize("ahead", SKEWS)
    async def test_twilios_clock_tells_the_age_of_its_messages(self, ahead: timedelta) -> None:
        old = listed("SM1", "ayer", NOW + ahead - timedelta(minutes=5))
        new = listed("SM2", "hoy", NOW + ahead)
        step = page(new, old, Date=format_datetime(NOW + ahead, usegmt=True))
        async with scripted(step) as (_, origin), messaging_at(origin) as (messaging, _):
            found = await messaging.sent_to("MX.1A2B", since=NOW)
        assert [sent.sid for sent in found] == ["SM2"]

    @pytest.mark.parametrize("date", ["", "yesterday", "Thu, 99 Foo 2026 00:00:00 GMT", "0"])
    async def test_without_a_usable_date_both_clocks_count_as_equal(self, date: str) -> None:
        old = listed("SM1", "ayer", NOW - timedelta(minutes=5))
        step = page(listed("SM2", "hoy", NOW), old, Date=date)
        async with scripted(step) as (_, origin), messaging_at(origin) as (messaging, _):
            found = await messaging.sent_to("MX.1A2B", since=NOW)
        assert [sent.sid for sent in found] == ["SM2"]

    async def test_pages_are_read_until_one_has_only_older_messages(self) -> None:
        later = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json?PageToken=P1"
        old = listed("SM2", "ayer", NOW - timedelta(minutes=5))
        steps = [
            page(listed("SM1", "hoy", NOW), next_page_uri=later),
            page(old, next_page_uri=later),
            page(listed("SM3", "nadie pregunta", NOW)),
        ]
        async with scripted(*steps) as (script, origin), messaging_at(origin) as (messaging, _):
            found = await messaging.sent_to("MX.1A2B", since=NOW)
        assert [sent.sid for sent in found] == ["SM1"]
        assert len(script.seen) == 2

    @pytest.mark.parametrize(
        ("step", "error"),
        [
            (refused(401, 20003), VendorRefusedError),
            (refused(404, 20404), VendorRefusedError),
            (refused(429, 20429), VendorUnavailableError),
            (refused(500, 20500), VendorUnavailableError),
            (answer(502, "<html>", "text/html"), VendorUnavailableError),
            (answer(200, "<html>", "text/html"), VendorUnavailableError),
            (answer(200, '{"messages": ['), VendorUnavailableError),
            (answer(200, {}), VendorUnavailableError),
            (reset, VendorUnavailableError),
            (hang, VendorUnavailableError),
        ],
    )
    async def test_a_list_that_cannot_be_read(self, step: Step, error: type[Exception]) -> None:
        async with scripted(step) as (_, origin), messaging_at(origin, deadline_s=0.3) as (messaging, _):
            with pytest.raises(error):
                await messaging.sent_to(ANA, since=NOW)
            with pytest.raises(error):
                await anext(aiter(messaging.received_since(NOW)))


class TestReceivedSince:
    async def test_what_is_no_message_to_us_is_left_out(self) -> None:
        ours = {"direction": "inbound", "from": f"whatsapp:{ANA}", "num_media": "1"}
        steps = page(
            {**listed(SID, "mira", NOW), **ours},
            {**listed("SM" + "2" * 32, "antes", NOW - timedelta(minutes=5)), **ours},
            {**listed("SM" + "3" * 32, "nuestro", NOW), **ours, "direction": "outbound-api"},
            {**listed("SM" + "4" * 32, "SMS", NOW), **ours, "from": ANA},
        )
        async with scripted(steps) as (script, origin), messaging_at(origin) as (messaging, _):
            (found,) = [message async for message in messaging.received_since(NOW)]
        assert (found.sid, found.address, found.text) == (SID, ANA, "[archivo adjunto] mira")
        assert script.seen[0].query == {"To": [f"whatsapp:{SENDER}"], "PageSize": ["200"]}

    async def test_what_came_after_the_end_is_left_out(self) -> None:
        ours = {"direction": "inbound", "from": f"whatsapp:{ANA}", "num_media": "0"}
        steps = page(
            {**listed("SM" + "2" * 32, "después", NOW + timedelta(seconds=1)), **ours},
            {**listed(SID, "hola", NOW), **ours},
        )
        async with scripted(steps) as (_, origin), messaging_at(origin) as (messaging, _):
            found = [message.sid async for message in messaging.received_since(NOW, until=NOW)]
        assert found == [SID]

    @pytest.mark.parametrize("ahead", SKEWS)
    async def test_both_ends_are_by_our_clock(self, ahead: timedelta) -> None:
        ours = {"direction": "inbound", "from": f"whatsapp:{ANA}", "num_media": "0"}
        step = page(
            {**listed("SM" + "2" * 32, "después", NOW + ahead + timedelta(seconds=10)), **ours},
            {**listed(SID, "hola", NOW + ahead - timedelta(seconds=10)), **ours},
            {**listed("SM" + "3" * 32, "antes", NOW + ahead - timedelta(minutes=5)), **ours},
            Date=format_datetime(NOW + ahead, usegmt=True),
        )
        async with scripted(step) as (_, origin), messaging_at(origin) as (messaging, _):
            found = [message.sid async for message in messaging.received_since(NOW, until=NOW)]
        assert found == [SID]


class TestTyping:
    async def test_the_indicator_belongs_to_the_persons_message(self) -> None:
        async with (
            scripted(answer(200, {"success": True})) as (script, origin),
            messaging_at(origin) as (messaging, _),
        ):
            await messaging.show_typing(SID)
        (seen,) = script.seen
        assert seen.path == "/v2/Indicators/Typing.json"
        assert seen.form == {"channel": ["whatsapp"], "messageId": [SID]}

    @pytest.mark.parametrize(
        "step", [refused(400, 20001), refused(429, 20429), answer(500, ""), answer(200, "[]"), reset, hang]
    )
    async def test_nothing_that_happens_to_it_matters(self, step: Step) -> None:
        async with scripted(step) as (_, origin), messaging_at(origin) as (messaging, _):
            await messaging.show_typing(SID)

    async def test_a_crowd_of_them_leaves_the_connections_to_messages(self) -> None:
        async with scripted(hang) as (script, origin), messaging_at(origin) as (messaging, _):
            for crowd in (1, 2):
                async with trio.open_nursery() as nursery:
                    for _ in range(30):
                        nursery.start_soon(messaging.show_typing, SID)
                assert len(script.seen) == crowd * 8
