"""The account's settings over REST, against the simulated Twilio and its vendor's schema."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from actors.ports import VendorRefusedError, VendorUnavailableError
from daemon.lab.twilio.account import Application, IncomingNumber
from daemon.twilio.account_settings import (
    TwilioAccount,
    application_differences,
    number_differences,
)
from daemon.twilio.transport import Limits, open_transport, sdk_client
from daemon.web.whatsapp import INCOMING_MESSAGE
from tests.contract.lab_twilio import ACCOUNT_SID, AUTH_TOKEN, SENDER, Bench, served
from tests.contract.scripted_server import Step, answer, hang, scripted
from tests.contract.test_lab_twilio_schema import check, specs

__all__ = ["specs"]

PUBLIC = "https://relevo.empresa.com"
NUMBER = "+525512345678"


@asynccontextmanager
async def account_at(url: str, *, auth_token: str = AUTH_TOKEN) -> AsyncIterator[TwilioAccount]:
    async with open_transport(Limits(deadline_s=1.0)) as transport:
        yield TwilioAccount(
            sdk_client(transport, account_sid=ACCOUNT_SID, auth_token=auth_token, base_url=url)
        )


@asynccontextmanager
async def bench_with(*numbers: IncomingNumber, apps: tuple[Application, ...] = ()) -> AsyncIterator[Bench]:
    async with served(numbers=numbers, applications=apps) as bench:
        yield bench


async def test_a_number_is_set_and_is_then_as_it_should_be() -> None:
    other = IncomingNumber(phone_number=f"{NUMBER}0")
    number = IncomingNumber(phone_number=NUMBER, voice_url="https://central.mx/voz", voice_method="GET")
    async with bench_with(other, number) as bench, account_at(bench.url) as account:
        before = await account.number(NUMBER)
        assert before is not None
        assert before.sid == number.sid
        found = number_differences(before, public_url=PUBLIC)
        untaken = await account.change_number(before, found)
        after = await account.number(NUMBER)
        assert after is not None
        left = number_differences(after, public_url=PUBLIC)

    assert {one.path[0] for one in found} == {
        "voice_url",
        "voice_method",
        "status_callback",
        "voice_fallback_url",
    }
    assert untaken == []
    assert [one.path[0] for one in left] == ["voice_fallback_url"]
    assert (number.voice_url, number.voice_method) == (f"{PUBLIC}/voice/incoming", "POST")
    assert (number.status_callback, number.voice_fallback_url) == (f"{PUBLIC}/voice/status", None)
    assert other.voice_url is None


async def test_an_app_is_set_and_is_then_as_it_should_be() -> None:
    app = Application(voice_url="https://central.mx/agente", friendly_name="mi app")
    async with bench_with(apps=(app,)) as bench, account_at(bench.url) as account:
        before = await account.application(app.sid)
        assert before is not None
        untaken = await account.change_application(before, application_differences(before, public_url=PUBLIC))
        after = await account.application(app.sid)
        assert after is not None

    assert (untaken, application_differences(after, public_url=PUBLIC)) == ([], [])
    assert (app.voice_url, app.friendly_name) == (f"{PUBLIC}/voice/agent", "mi app")


async def test_what_is_not_the_accounts_is_none() -> None:
    async with (
        bench_with(IncomingNumber(phone_number=f"{NUMBER}0")) as bench,
        account_at(bench.url) as account,
    ):
        assert await account.number(NUMBER) is None
        assert await account.application("AP" + "0" * 32) is None
        assert await account.whatsapp_sender(NUMBER) is None


async def test_the_account_and_its_sender_are_told() -> None:
    async with bench_with() as bench, account_at(bench.url) as account:
        bench.lab.account.incoming.url = f"{PUBLIC}{INCOMING_MESSAGE}#ct=1000"
        state = await account.state()
        sender = await account.whatsapp_sender(SENDER.removeprefix("whatsapp:"))

    assert (state.status, state.is_trial) == ("active", False)
    assert sender is not None
    assert (sender.is_sending, sender.webhook_url) == (True, f"{PUBLIC}{INCOMING_MESSAGE}")


async def test_a_sender_that_is_offline_says_why() -> None:
    sender = {
        "sid": "XE" + "0" * 32,
        "sender_id": f"whatsapp:{NUMBER}",
        "status": "OFFLINE",
        "webhook": None,
        "offline_reasons": [{"code": "63104", "message": "Display name rejected"}],
    }
    page = {"senders": [sender], "meta": {"key": "senders", "next_page_url": None}}
    async with scripted(answer(200, page)) as (script, url), account_at(url) as account:
        told = await account.whatsapp_sender(NUMBER)

    assert told is not None
    assert (told.is_sending, told.status, told.webhook_url) == (False, "OFFLINE", None)
    assert told.reasons == ["Display name rejected (63104)"]
    assert script.seen[0].query["Channel"] == ["whatsapp"]


async def test_wrong_credentials_are_a_refusal() -> None:
    async with bench_with() as bench, account_at(bench.url, auth_token="otro") as account:
        for ask in (
            account.state,
            lambda: account.number(NUMBER),
            lambda: account.application("AP" + "0" * 32),
            lambda: account.whatsapp_sender(NUMBER),
        ):
            with pytest.raises(VendorRefusedError) as caught:
                await ask()
            assert caught.value.status == 401


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (answer(400, {"code": 21502, "message": "x", "status": 400}), VendorRefusedError),
        (answer(503, {"code": 20503, "message": "x", "status": 503}), VendorUnavailableError),
        (answer(429, {"code": 20429, "message": "x", "status": 429}), VendorUnavailableError),
        (answer(502, "<html>", "text/html"), VendorUnavailableError),
        (answer(200, "{nothing"), VendorUnavailableError),
        (hang, VendorUnavailableError),
    ],
)
async def test_a_change_that_fails_says_so(step: Step, expected: type[Exception]) -> None:
    number = IncomingNumber(phone_number=NUMBER)
    async with bench_with(number) as bench, account_at(bench.url) as account:
        before = await account.number(NUMBER)
    assert before is not None
    found = number_differences(before, public_url=PUBLIC)
    async with scripted(step) as (_, url), account_at(url) as account:
        with pytest.raises(expected, match="changed"):
            await account.change_number(before, found)


async def test_what_twilio_does_not_take_over_is_told() -> None:
    number = IncomingNumber(phone_number=NUMBER)
    async with bench_with(number) as bench, account_at(bench.url) as account:
        before = await account.number(NUMBER)
        assert before is not None
        found = number_differences(before, public_url=PUBLIC)
    unchanged = answer(200, {"sid": before.sid, **before.settings})
    async with scripted(unchanged) as (script, url), account_at(url) as account:
        untaken = await account.change_number(before, found)

    assert [one.path[0] for one in untaken] == ["voice_url", "status_callback"]
    assert set(script.seen[0].form) == {"VoiceUrl", "StatusCallback"}


@pytest.mark.specs
async def test_the_new_routes_have_the_vendors_shape(specs: Path) -> None:
    app = Application()
    async with bench_with(apps=(app,)) as bench:
        changed = await bench.http.post(
            bench.path(f"Applications/{app.sid}.json"), data={"VoiceUrl": f"{PUBLIC}/voice/agent"}
        )
        senders = await bench.http.get("/v2/Channels/Senders", params={"Channel": "whatsapp"})

    resource = "/2010-04-01/Accounts/{AccountSid}/Applications/{Sid}.json"
    check(specs, "twilio_api_v2010.json", resource, "post", changed)
    check(specs, "twilio_messaging_v2.json", "/v2/Channels/Senders", "get", senders)
