"""The simulated Twilio's rules that need no clock and no socket."""

from datetime import UTC, datetime

import pytest

from daemon.lab.twilio.deliveries import Answer
from daemon.lab.twilio.errors import RestError
from daemon.lab.twilio.form import Form
from daemon.lab.twilio.overrides import ConnectionOverrides, split_overrides
from daemon.lab.twilio.whatsapp.answers import Reply, Trouble, read_answer
from daemon.lab.twilio.whatsapp.listing import sent_filter
from daemon.lab.twilio.whatsapp.messages import Direction, Message, Status
from daemon.lab.twilio.whatsapp.people import NoSuchAddressError, new_person
from daemon.lab.twilio.whatsapp.templates import Template, parse_variables


def test_a_url_without_a_fragment_has_the_default_overrides() -> None:
    assert split_overrides("https://x.mx/in?a=1") == ("https://x.mx/in?a=1", ConnectionOverrides())


def test_a_fragment_is_taken_off_and_read() -> None:
    url, overrides = split_overrides(
        "https://x.mx/in?a=1#ct=2000&rt=5000&tt=9000&rc=3&rp=5xx,ct&sni=n&e=ashburn"
    )

    assert url == "https://x.mx/in?a=1"
    assert overrides == ConnectionOverrides(
        connect_timeout_s=2.0,
        read_timeout_s=5.0,
        total_timeout_s=9.0,
        retries=3,
        retry_on=frozenset({"5xx", "ct"}),
    )


def test_overrides_out_of_range_are_moved_into_it() -> None:
    _, overrides = split_overrides("https://x.mx/#ct=1&rt=99999&rc=9&rp=all")

    assert (overrides.connect_timeout_s, overrides.read_timeout_s, overrides.retries) == (0.1, 15.0, 5)
    assert overrides.retry_on == {"ct", "rt", "4xx", "5xx"}


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("text/xml", "<Response/>", []),
        ("", "", []),
        ("text/plain; charset=utf-8", "OK", [Reply("OK")]),
        ("application/xml", "<Response><Message>Uno</Message></Response>", [Reply("Uno")]),
        (
            "text/html",
            "<Response><Message><Body>Dos</Body><Media>https://x.mx/a.jpg</Media></Message><Message>3</Message></Response>",
            [Reply("Dos", ("https://x.mx/a.jpg",)), Reply("3")],
        ),
    ],
)
def test_an_answer_is_read_as_twilio_reads_it(content_type: str, body: str, expected: list[Reply]) -> None:
    assert read_answer(Answer(status=200, content_type=content_type, body=body.encode())) == expected


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        ("application/json", '{"success": true}', 12300),
        ("text/xml", "<Response>", 12100),
        ("text/xml", "<Say>Hola</Say>", 12100),
    ],
)
def test_an_answer_that_means_nothing_is_trouble(content_type: str, body: str, code: int) -> None:
    read = read_answer(Answer(status=200, content_type=content_type, body=body.encode()))

    assert isinstance(read, Trouble)
    assert read.code == code


def test_a_template_is_rendered_with_values_and_defaults() -> None:
    template = Template(
        sid="HX" + "0" * 32, body="Hola {{1}}, hablamos de {{tema}}.", defaults={"tema": "tu pedido"}
    )

    assert template.render({"1": "Ana"}) == "Hola Ana, hablamos de tu pedido."
    assert not template.lacks({"1": "Ana"})
    assert template.lacks({})


@pytest.mark.parametrize(
    "text",
    ["no json", "[]", '{"1": 2}', '{"1": ""}', '{"1": "a\\nb"}', '{"1": "a\\tb"}', '{"1": "a     b"}'],
)
def test_variables_that_whatsapp_takes_in_no_template_are_refused(text: str) -> None:
    with pytest.raises(RestError) as caught:
        parse_variables(text)

    assert caught.value.code == 21656


SENT_AT = datetime(2026, 3, 5, 10, 30, 15, 400_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("DateSent", "2026-03-05", True),
        ("DateSent", "2026-03-04", False),
        ("DateSent>", "2026-03-05T10:30:15Z", True),
        ("DateSent>", "2026-03-05T10:30:16Z", False),
        ("DateSent<", "2026-03-05", True),
        ("DateSent<", "2026-03-05T10:30:15Z", True),
        ("DateSent<", "2026-03-05T10:30:14Z", False),
    ],
)
def test_a_list_is_filtered_by_the_time_of_sending(name: str, value: str, shown: bool) -> None:  # noqa: FBT001
    message = Message(
        sid="SM" + "0" * 32,
        ordinal=0,
        direction=Direction.INBOUND,
        sender="whatsapp:+5215512345678",
        recipient="whatsapp:+14155238886",
        status=Status.RECEIVED,
        created_at=SENT_AT,
        sent_at=SENT_AT,
    )

    assert sent_filter(Form([(name, value)]))(message) is shown


def test_a_number_gets_a_user_id_of_its_country() -> None:
    person = new_person("+5215512345678")

    assert person.address == "whatsapp:+5215512345678"
    assert person.external_user_id.startswith("MX.")
    assert person.external_user_id == new_person("+5215512345678").external_user_id


def test_a_person_may_have_no_number() -> None:
    person = new_person("MX.4566546130240823")

    assert (person.phone, person.address) == (None, "whatsapp:MX.4566546130240823")


@pytest.mark.parametrize("key", ["5215512345678", "+0123456789", "Ana", "MX."])
def test_what_is_no_address_is_refused(key: str) -> None:
    with pytest.raises(NoSuchAddressError):
        new_person(key)
