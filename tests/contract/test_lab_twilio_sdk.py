"""Twilio's own SDK against the simulated Twilio: it must notice nothing."""

from datetime import UTC, datetime, timedelta

import pytest
import trio
from twilio.base.exceptions import TwilioRestException  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from daemon.lab.twilio.account import Application, IncomingNumber
from daemon.lab.twilio.whatsapp.carrier import Pace
from daemon.lab.twilio.whatsapp.messages import Media
from daemon.lab.twilio.whatsapp.templates import Template
from tests.contract.lab_twilio import ACCOUNT_SID, PERSON, SENDER, Bench, sdk_client, served

TO = f"whatsapp:{PERSON}"
TEMPLATE = Template(sid="HX" + "a" * 32, body="Hola {{1}}, responde aquí para continuar.")


async def refusal(bench: Bench, **form: object) -> TwilioRestException:
    with pytest.raises(TwilioRestException) as caught:
        await bench.sdk(lambda client: client.messages.create(**form))
    return caught.value


async def test_a_message_is_created_and_fetched() -> None:
    async with served() as bench:
        created = await bench.sdk(
            lambda client: client.messages.create(to=TO, from_=SENDER, body="¿Qué tal?")
        )
        fetched = await bench.sdk(lambda client: client.messages(created.sid).fetch())

    assert created.sid.startswith("SM")
    assert len(created.sid) == 34
    assert (created.status, created.direction, created.num_segments) == ("queued", "outbound-api", "1")
    assert (fetched.body, fetched.to, fetched.from_) == ("¿Qué tal?", TO, SENDER)
    assert abs(fetched.date_created - datetime.now(UTC)) < timedelta(minutes=1)


async def test_a_template_is_rendered() -> None:
    async with served(templates=[TEMPLATE]) as bench:
        created = await bench.sdk(
            lambda client: client.messages.create(
                to=TO, from_=SENDER, content_sid=TEMPLATE.sid, content_variables='{"1": "Ana"}'
            )
        )
        [received] = await bench.lab.wait_for_message(PERSON)

    assert created.body == "Hola Ana, responde aquí para continuar."
    assert received.sid == created.sid


async def test_lists_go_through_all_pages_newest_first() -> None:
    async with served() as bench:
        for number in range(7):
            await bench.create(str(number))
        listed = await bench.sdk(lambda client: client.messages.list(page_size=3))

    assert [message.body for message in listed] == ["6", "5", "4", "3", "2", "1", "0"]


async def test_a_page_does_not_move_when_messages_are_added() -> None:
    async with served() as bench:
        for number in range(4):
            await bench.create(str(number))
        first = await bench.sdk(lambda client: client.messages.page(page_size=2))
        await bench.create("new")
        second = await bench.sdk(lambda client: first.next_page())
        last = await bench.sdk(lambda client: second.next_page())

        assert [message.body for message in first] == ["3", "2"]
        assert [message.body for message in second] == ["1", "0"]
        assert last is None


async def test_lists_are_filtered_by_address() -> None:
    async with served() as bench:
        await bench.create("a")
        await bench.create("b", To="whatsapp:+573001234567")
        bench.lab.write(PERSON, "c")
        to_person = await bench.sdk(lambda client: client.messages.list(to=TO))
        from_person = await bench.sdk(lambda client: client.messages.list(from_=TO))
        to_us = await bench.sdk(lambda client: client.messages.list(to=SENDER, from_=TO))
        nobody = await bench.sdk(lambda client: client.messages.list(to="whatsapp:+573009999999"))

    assert [message.body for message in to_person] == ["a"]
    assert [message.body for message in from_person] == ["c"]
    assert [message.direction for message in to_us] == ["inbound"]
    assert nobody == []


async def test_lists_are_filtered_by_time() -> None:
    async with served() as bench:
        await bench.create("early")
        bench.lab.advance(3600)
        middle = bench.lab.clock.now() - timedelta(minutes=30)
        await bench.create("late")
        after = await bench.sdk(lambda client: client.messages.list(date_sent_after=middle))
        before = await bench.sdk(lambda client: client.messages.list(date_sent_before=middle))

    assert [message.body for message in after] == ["late"]
    assert [message.body for message in before] == ["early"]


async def test_a_message_is_emptied_and_deleted() -> None:
    async with served() as bench:
        sid = bench.lab.write(PERSON, "un secreto")
        emptied = await bench.sdk(lambda client: client.messages(sid).update(body=""))
        deleted = await bench.sdk(lambda client: client.messages(sid).delete())
        with pytest.raises(TwilioRestException) as caught:
            await bench.sdk(lambda client: client.messages(sid).fetch())

    assert emptied.body == ""
    assert deleted is True
    assert (caught.value.status, caught.value.code) == (404, 20404)


async def test_a_message_on_its_way_is_not_deleted() -> None:
    async with served(pace=Pace(sent_s=60)) as bench:
        created = await bench.create()
        with pytest.raises(TwilioRestException) as caught:
            await bench.sdk(lambda client: client.messages(created.json()["sid"]).delete())

    assert (caught.value.status, caught.value.code) == (409, 20009)


async def test_a_scheduled_message_is_cancelled_and_another_is_not() -> None:
    async with served() as bench:
        bench.lab.account.messaging_service_sid = "MG" + "b" * 32
        send_at = bench.lab.clock.now() + timedelta(hours=1)
        scheduled = await bench.sdk(
            lambda client: client.messages.create(
                to=TO,
                messaging_service_sid="MG" + "b" * 32,
                body="Luego",
                schedule_type="fixed",
                send_at=send_at,
            )
        )
        cancelled = await bench.sdk(lambda client: client.messages(scheduled.sid).update(status="canceled"))
        with pytest.raises(TwilioRestException) as caught:
            await bench.sdk(lambda client: client.messages(scheduled.sid).update(status="canceled"))
        bench.lab.advance(7200)

    assert (scheduled.status, scheduled.from_) == ("scheduled", SENDER)
    assert cancelled.status == "canceled"
    assert caught.value.code == 30409


async def test_a_scheduled_message_leaves_when_its_time_has_come() -> None:
    async with served() as bench:
        bench.lab.account.messaging_service_sid = "MG" + "b" * 32
        bench.lab.write(PERSON, "Hola")
        scheduled = await bench.create(
            MessagingServiceSid="MG" + "b" * 32,
            ScheduleType="fixed",
            SendAt=(bench.lab.clock.now() + timedelta(hours=1)).isoformat(),
        )
        bench.lab.advance(3601)
        [received] = await bench.lab.wait_for_message(PERSON)

    assert received.sid == scheduled.json()["sid"]
    assert [status.value for status, _ in received.history][:3] == ["scheduled", "queued", "sent"]


async def test_the_typing_indicator_answers_success() -> None:
    async with served() as bench:
        sid = bench.lab.write(PERSON, "Hola")
        shown = await bench.sdk(
            lambda client: client.messaging.v2.typing_indicator.create(channel="whatsapp", message_id=sid)
        )
        [typing] = bench.lab.books.typing

    assert shown.success is True
    assert (typing.message_sid, typing.person) == (sid, TO)


async def test_media_is_listed_and_fetched() -> None:
    async with served() as bench:
        sid = bench.lab.write(PERSON, "mira", media=Media(content_type="image/jpeg", content=b"\xff\xd8"))
        [listed] = await bench.sdk(lambda client: client.messages(sid).media.list())
        fetched = await bench.sdk(lambda client: client.messages(sid).media(listed.sid).fetch())
        await bench.sdk(lambda client: client.messages(sid).media(listed.sid).delete())
        rest = await bench.sdk(lambda client: client.messages(sid).media.list())

    assert sid.startswith("MM")
    assert (fetched.content_type, fetched.parent_sid) == ("image/jpeg", sid)
    assert rest == []


async def test_the_account_its_numbers_and_its_apps_are_shown() -> None:
    number = IncomingNumber(phone_number="+525512345678", voice_url="https://x.mx/voice/incoming")
    app = Application(friendly_name="agente", voice_url="https://x.mx/voice/agent")
    async with served(numbers=[number], applications=[app]) as bench:
        account = await bench.sdk(lambda client: client.api.accounts(ACCOUNT_SID).fetch())
        [shown] = await bench.sdk(
            lambda client: client.incoming_phone_numbers.list(phone_number="+525512345678")
        )
        others = await bench.sdk(lambda client: client.incoming_phone_numbers.list(phone_number="+1999"))
        fetched = await bench.sdk(lambda client: client.applications(app.sid).fetch())
        [listed] = await bench.sdk(lambda client: client.applications.list(friendly_name="agente"))

    assert account.status == "active"
    assert (shown.sid, shown.voice_url) == (number.sid, "https://x.mx/voice/incoming")
    assert others == []
    assert fetched.voice_url == listed.voice_url == "https://x.mx/voice/agent"


REFUSED = [
    pytest.param({"from_": SENDER, "body": "x", "to": "whatsapp:52155"}, 21211, id="to is no number"),
    pytest.param({"from_": SENDER, "body": "x", "to": ""}, 21604, id="no to"),
    pytest.param({"from_": "", "body": "x", "to": TO}, 21603, id="no from"),
    pytest.param({"from_": "whatsapp:hola", "body": "x", "to": TO}, 21212, id="from is no number"),
    pytest.param({"from_": "whatsapp:+14150000000", "body": "x", "to": TO}, 63007, id="from is no sender"),
    pytest.param({"from_": "+14155238886", "body": "x", "to": PERSON}, 21606, id="no SMS sender"),
    pytest.param({"from_": SENDER, "body": "x", "to": PERSON}, 21910, id="two channels"),
    pytest.param({"from_": SENDER, "to": TO}, 21619, id="nothing to say"),
    pytest.param({"from_": SENDER, "to": TO, "body": " \n"}, 21602, id="blank"),
    pytest.param({"from_": SENDER, "to": TO, "body": "x" * 1601}, 21617, id="too long"),
    pytest.param(
        {"from_": SENDER, "to": TO, "media_url": ["https://x.mx/a"] * 11}, 21623, id="too many media"
    ),
    pytest.param(
        {"from_": SENDER, "to": TO, "body": "x", "status_callback": "https://mi_host/x"},
        21609,
        id="callback host",
    ),
    pytest.param(
        {"from_": SENDER, "to": TO, "body": "x", "status_callback": "x.mx"}, 21609, id="callback URL"
    ),
    pytest.param(
        {"from_": SENDER, "to": TO, "body": "x", "content_variables": "{}"}, 21654, id="variables of nothing"
    ),
    pytest.param({"from_": SENDER, "to": TO, "content_sid": "HX" + "0" * 32}, 21655, id="unknown template"),
    pytest.param(
        {"from_": SENDER, "to": TO, "content_sid": TEMPLATE.sid, "content_variables": '{"1": "a\\nb"}'},
        21656,
        id="bad variable",
    ),
    pytest.param(
        {"messaging_service_sid": "MG" + "0" * 32, "to": TO, "body": "x"}, 21701, id="unknown service"
    ),
]


@pytest.mark.parametrize(("form", "code"), REFUSED)
async def test_a_wrong_message_is_refused_with_its_code(form: dict[str, object], code: int) -> None:
    async with served(templates=[TEMPLATE]) as bench:
        error = await refusal(bench, **form)

        assert (error.status, error.code) == (400, code)
        assert not bench.lab.world.messages


async def test_a_body_of_1600_characters_passes() -> None:
    async with served() as bench:
        assert (await bench.create("ñ" * 1600)).status_code == 201


async def test_who_opted_out_is_not_written_to() -> None:
    async with served() as bench:
        bench.lab.person(PERSON).opted_out = True
        error = await refusal(bench, to=TO, from_=SENDER, body="Hola")

    assert error.code == 21610


async def test_a_full_queue_takes_no_more() -> None:
    async with served(messages_per_second=1 / 7200) as bench:
        answers = [await bench.create() for _ in range(4)]

    assert [answer.status_code for answer in answers] == [201, 201, 201, 400]
    assert answers[-1].json()["code"] == 21611


async def test_wrong_credentials_are_refused() -> None:
    async with served() as bench:
        stranger = sdk_client(bench.url, auth_token="otro")
        with pytest.raises(TwilioRestException) as caught:
            await trio.to_thread.run_sync(stranger.messages("SM" + "0" * 32).fetch)
        stranger.http_client.session.close()

    assert (caught.value.status, caught.value.code) == (401, 20003)


async def test_another_account_is_not_found() -> None:
    async with served() as bench:
        answer = await bench.http.get(f"/2010-04-01/Accounts/AC{'9' * 32}/Messages.json")

    assert (answer.status_code, answer.json()["code"]) == (404, 20404)


async def test_errors_have_twilios_shape() -> None:
    async with served() as bench:
        answer = await bench.create(To="whatsapp:+1")
        unknown = await bench.http.get("/2010-04-01/Nothing.json")
        wrong_method = await bench.http.put(bench.path("Messages.json"))

    assert answer.json() == {
        "code": 21211,
        "message": "Invalid 'To' Phone Number: whatsapp:+1",
        "more_info": "https://www.twilio.com/docs/errors/21211",
        "status": 400,
    }
    assert (unknown.status_code, unknown.json()["code"]) == (404, 20404)
    assert (wrong_method.status_code, wrong_method.json()["code"]) == (405, 20004)


@pytest.mark.parametrize("query", ["PageSize=x", "DateSent>=ayer", "PageToken=zz"])
async def test_a_list_parameter_that_does_not_parse_is_refused(query: str) -> None:
    async with served() as bench:
        answer = await bench.http.get(f"{bench.path('Messages.json')}?{query}")

    assert (answer.status_code, answer.json()["code"]) == (400, 20001)


def test_the_sdk_reaches_no_other_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWILIO_REGION", "ie1")
    client: Client = sdk_client("http://127.0.0.1:9")

    assert client.get_hostname("http://127.0.0.1:9/2010-04-01") == "http://127.0.0.1:9/2010-04-01"
