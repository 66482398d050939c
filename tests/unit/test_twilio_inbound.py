"""`daemon.twilio.inbound`: Twilio's forms as messages and statuses."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import BadFieldError, DeliveryStatus, InboundMessage
from daemon.twilio.inbound import read_message, read_status

SID = "SM" + "0a" * 16
BASE = {
    "MessageSid": SID,
    "SmsSid": SID,
    "AccountSid": "AC" + "0" * 32,
    "From": "whatsapp:+5215512345678",
    "To": "whatsapp:+14155238886",
    "Body": "Hola",
    "NumMedia": "0",
    "NumSegments": "1",
    "SmsStatus": "received",
    "ApiVersion": "2010-04-01",
}


def message(**fields: str) -> InboundMessage:
    return read_message({**BASE, **fields})


class TestWho:
    def test_a_number_with_its_user_id(self) -> None:
        read = message(
            ExternalUserId="whatsapp:MX.4566546130240823", ProfileName=" Ana ", WaId="5215512345678"
        )
        assert read.address == "+5215512345678"
        assert read.identities == ("MX.4566546130240823", "+525512345678")
        assert read.phone_number == "+525512345678"
        assert read.profile_name == "Ana"

    def test_a_person_without_a_number(self) -> None:
        read = message(From="whatsapp:MX.1A2B", ExternalUserId="whatsapp:MX.1A2B", ProfileName="")
        assert read.address == "MX.1A2B"
        assert read.identities == ("MX.1A2B",)
        assert read.phone_number is None
        assert read.profile_name is None

    def test_every_field_is_kept(self) -> None:
        assert message(Unheard="of it").fields == {**BASE, "Unheard": "of it"}


class TestWhat:
    @pytest.mark.parametrize(
        ("fields", "kind", "text"),
        [
            ({}, "text", "Hola"),
            ({"MessageType": "text", "Body": "  ¿Precio?\n"}, "text", "¿Precio?"),
            ({"Body": " "}, "text", "[mensaje vacío]"),
            (
                {"MessageType": "button", "ButtonText": "Sí", "ButtonPayload": "yes", "Body": ""},
                "button",
                "Sí",
            ),
            (
                {"MessageType": "interactive", "ButtonText": "Confirmar", "Body": "x"},
                "interactive",
                "Confirmar",
            ),
            ({"ButtonText": "Confirmar", "Body": "Confirmar"}, "button", "Confirmar"),
            ({"ListId": "1", "ListTitle": "Plan anual", "Body": ""}, "interactive", "Plan anual"),
            (
                {"MessageType": "interactive", "FlowData": '{"fecha":"5"}', "Body": ""},
                "interactive",
                '[formulario] {"fecha":"5"}',
            ),
            ({"MessageType": "interactive", "Body": ""}, "interactive", "[respuesta interactiva]"),
            ({"MessageType": "image", "NumMedia": "1", "Body": ""}, "image", "[imagen]"),
            ({"NumMedia": "1", "MediaContentType0": "image/jpeg", "Body": "mira"}, "image", "[imagen] mira"),
            ({"NumMedia": "1", "MediaContentType0": "image/webp", "Body": ""}, "sticker", "[sticker]"),
            ({"NumMedia": "1", "MediaContentType0": "audio/ogg", "Body": ""}, "audio", "[nota de voz]"),
            ({"NumMedia": "1", "MediaContentType0": "video/mp4", "Body": ""}, "video", "[video]"),
            (
                {"NumMedia": "1", "MediaContentType0": "application/pdf", "Body": ""},
                "document",
                "[documento]",
            ),
            ({"NumMedia": "1", "MediaContentType0": "text/vcard", "Body": ""}, "contacts", "[contacto]"),
            ({"NumMedia": "1", "Body": ""}, "media", "[archivo adjunto]"),
            ({"MessageType": "contacts", "Body": ""}, "contacts", "[contacto]"),
            (
                {"MessageType": "order", "Body": ""},
                "order",
                "[mensaje de un tipo que no se puede mostrar]",
            ),
            ({"MessageType": "reaction", "Body": "👍"}, "reaction", "👍"),
            ({"MessageType": "<b>", "Body": "x"}, "text", "x"),
        ],
    )
    def test_what_the_agent_reads(self, fields: dict[str, str], kind: str, text: str) -> None:
        read = message(**fields)
        assert (read.kind, read.text) == (kind, text)

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            (
                {"Latitude": "19.4326", "Longitude": "-99.1332", "Label": "Oficina", "Address": "Av. Uno 1"},
                "[ubicación] Oficina, Av. Uno 1 (19.4326, -99.1332)",
            ),
            ({"Latitude": "19.4326", "Longitude": "-99.1332"}, "[ubicación] (19.4326, -99.1332)"),
            ({"Latitude": "0", "Longitude": "0", "Address": "Mar"}, "[ubicación] Mar (0, 0)"),
            ({"MessageType": "location"}, "[ubicación]"),
        ],
    )
    def test_a_place_is_told_with_all_that_is_known_of_it(self, fields: dict[str, str], text: str) -> None:
        read = message(Body="", **fields)
        assert (read.kind, read.text) == ("location", text)

    def test_nul_is_left_out_since_the_database_cannot_store_it(self) -> None:
        read = message(Body="a\0b", ProfileName="A\0na")
        assert read.text == "ab"
        assert read.profile_name == "Ana"
        assert read.fields["Body"] == "ab"


class TestBadForms:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("MessageSid", ""),
            ("MessageSid", "SM1"),
            ("MessageSid", "CA" + "0" * 32),
            ("MessageSid", SID + "\n"),
            ("From", ""),
            ("From", "+5215512345678"),
            ("From", "whatsapp:"),
            ("From", "whatsapp:hola"),
            ("From", "whatsapp:5215512345678"),
            ("From", "whatsapp:+266696687"),
            ("NumMedia", "one"),
            ("NumMedia", "-1"),
            ("NumMedia", "9" * 30),
            ("Latitude", "north"),
            ("Latitude", "91"),
            ("Latitude", "nan"),
        ],
    )
    def test_the_field_is_named(self, field: str, value: str) -> None:
        with pytest.raises(BadFieldError) as caught:
            message(**{"Longitude": "1", field: value})
        assert caught.value.field == field
        assert value not in caught.value.problem or not value

    @pytest.mark.parametrize("field", ["MessageSid", "From"])
    def test_a_missing_field_is_named(self, field: str) -> None:
        with pytest.raises(BadFieldError, match=f"{field}: missing"):
            read_message({name: value for name, value in BASE.items() if name != field})


class TestStatus:
    @pytest.mark.parametrize(
        ("told", "status"),
        [
            ("sent", DeliveryStatus.SENT),
            ("delivered", DeliveryStatus.DELIVERED),
            ("read", DeliveryStatus.READ),
            ("undelivered", DeliveryStatus.UNDELIVERED),
            ("failed", DeliveryStatus.FAILED),
            ("queued", None),
            ("accepted", None),
            ("sending", None),
            ("scheduled", None),
            ("canceled", None),
            ("partially_delivered", None),
            ("whatever", None),
        ],
    )
    def test_only_news_is_a_status(self, told: str, status: DeliveryStatus | None) -> None:
        report = read_status({"MessageSid": SID, "MessageStatus": told}, message_id="42")
        assert (report.message_id, report.sid, report.status, report.error_code) == (42, SID, status, None)

    def test_a_failure_has_a_code(self) -> None:
        form = {"MessageSid": SID, "SmsStatus": "failed", "ErrorCode": "63016"}
        report = read_status(form, message_id=None)
        assert (report.message_id, report.status, report.error_code) == (None, DeliveryStatus.FAILED, 63016)

    def test_a_blank_code_is_none(self) -> None:
        form = {"MessageSid": SID, "MessageStatus": "sent", "ErrorCode": ""}
        assert read_status(form, message_id="").error_code is None

    @pytest.mark.parametrize(
        ("field", "form", "message_id"),
        [
            ("MessageStatus", {"MessageSid": SID}, "1"),
            ("MessageSid", {"MessageStatus": "sent"}, "1"),
            ("ErrorCode", {"MessageSid": SID, "MessageStatus": "failed", "ErrorCode": "x"}, "1"),
            ("ErrorCode", {"MessageSid": SID, "MessageStatus": "failed", "ErrorCode": str(2**31)}, "1"),
            ("m", {"MessageSid": SID, "MessageStatus": "sent"}, "one"),
            ("m", {"MessageSid": SID, "MessageStatus": "sent"}, str(2**63)),
            ("m", {"MessageSid": SID, "MessageStatus": "sent"}, "٣"),
        ],
    )
    def test_a_field_that_does_not_parse_is_named(
        self, field: str, form: dict[str, str], message_id: str
    ) -> None:
        with pytest.raises(BadFieldError) as caught:
            read_status(form, message_id=message_id)
        assert caught.value.field == field


NAMES = st.sampled_from(
    [
        *BASE,
        "MessageType",
        "MediaContentType0",
        "Latitude",
        "Longitude",
        "Label",
        "Address",
        "ButtonText",
        "ListTitle",
        "FlowData",
        "ExternalUserId",
        "ProfileName",
        "ErrorCode",
        "MessageStatus",
    ]
)


TEXTS = st.text() | st.sampled_from(
    ["", " ", "\0", "1", "-1", "whatsapp:MX.1A2B", "whatsapp:+", "nan", "order", "\ud800"]
)
FORMS = st.dictionaries(NAMES | st.text(max_size=9), TEXTS)


@given(fields=FORMS, missing=st.sets(NAMES, max_size=3))
def test_any_form_is_a_message_or_a_bad_form(fields: dict[str, str], missing: set[str]) -> None:
    form = {name: value for name, value in {**BASE, **fields}.items() if name not in missing}
    try:
        read = read_message(form)
    except BadFieldError as error:
        assert error.field in {"MessageSid", "From", "NumMedia", "Latitude", "Longitude"}  # noqa: PT017
        return
    assert read.text.strip()
    assert read.identities
    assert read.sid == form["MessageSid"].replace("\0", "")
    assert "\0" not in "".join([read.text, read.address, *read.fields, *read.fields.values()])
    assert len(read.fields) <= len(form)


@given(fields=FORMS)
def test_no_message_is_lost_for_what_is_not_needed_to_answer_it(fields: dict[str, str]) -> None:
    needed = {name: BASE[name] for name in ("MessageSid", "From", "NumMedia")}
    placeless = {name: text for name, text in fields.items() if name not in {"Latitude", "Longitude"}}
    read = read_message({**placeless, **needed})
    assert (read.sid, read.address) == (SID, "+5215512345678")
    assert read.identities[-1] == "+525512345678"


@given(fields=FORMS, message_id=st.none() | st.text())
def test_any_form_is_a_status_or_a_bad_form(fields: dict[str, str], message_id: str | None) -> None:
    with suppress(BadFieldError):
        assert read_status({**BASE, **fields}, message_id=message_id).sid


@given(fields=FORMS, status=st.sampled_from(["sent", "Delivered", "READ", "failed", "undelivered"]))
def test_no_status_is_lost_for_what_it_does_not_need(fields: dict[str, str], status: str) -> None:
    form = {**fields, "MessageSid": SID, "MessageStatus": status, "ErrorCode": "63016"}
    report = read_status(form, message_id="7")
    assert (report.message_id, report.sid, report.error_code) == (7, SID, 63016)
    assert report.status is not None
    assert report.status.label == status.lower()
