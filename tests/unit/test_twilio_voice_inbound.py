"""`daemon.twilio.voice_inbound`: Twilio's voice webhooks as reports."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.live_call.reports import (
    AfterReport,
    AgentCall,
    IncomingCall,
    KeysReport,
    LegReport,
    RecordingReport,
    RecordingStatus,
    RecordReport,
    RoomEvent,
    RoomReport,
)
from actors.live_call.telephony import LegStatus
from actors.messages import BadFieldError
from daemon.twilio.voice_inbound import (
    read_after,
    read_agent_call,
    read_incoming_call,
    read_keys,
    read_leg_report,
    read_record_report,
    read_recording_report,
    read_room_report,
)

LEG = "CA" + "0a" * 16
ROOM = "CF" + "0b" * 16
RECORDING = "RE" + "0c" * 16
BASE = {
    "CallSid": LEG,
    "AccountSid": "AC" + "0" * 32,
    "From": "+5215512345678",
    "To": "+525500000000",
    "Caller": "+5215512345678",
    "Called": "+525500000000",
    "CallStatus": "ringing",
    "ApiVersion": "2010-04-01",
    "Direction": "inbound",
    "FromCity": "",
}
STAMP = "Thu, 24 Aug 2023 05:01:45 +0000"
OURS = {"c": "7", "l": "2"}

Read = Callable[[Mapping[str, str]], object]


class TestIncomingCall:
    def test_a_caller_has_a_canonical_number(self) -> None:
        assert read_incoming_call(BASE) == IncomingCall(
            call_sid=LEG, caller="+525512345678", dialled="+525500000000"
        )

    @pytest.mark.parametrize(
        "number",
        [
            "+266696687",
            "+7378742833",
            "+86282452253",
            "Anonymous",
            "anonymous",
            "unknown",
            "restricted",
            "Private",
            "",
            "sip:ana@example.com",
            "client:ana",
            "+10000000000",
            "\0\ud800",
        ],
    )
    def test_a_withheld_number_is_none_and_no_reason_to_refuse(self, number: str) -> None:
        assert read_incoming_call({**BASE, "From": number}).caller is None

    def test_nor_is_one_that_is_missing(self) -> None:
        call = read_incoming_call({"CallSid": LEG})
        assert (call.caller, call.dialled) == (None, None)

    @pytest.mark.parametrize("sid", ["", "CA1", "SM" + "0" * 32, "CA" + "g" * 32, LEG + "\n", LEG + "0"])
    def test_without_its_sid_it_is_no_call(self, sid: str) -> None:
        with pytest.raises(BadFieldError) as caught:
            read_incoming_call({**BASE, "CallSid": sid})
        assert caught.value.field == "CallSid"


class TestAgentCall:
    def test_shows_what_the_address_carried(self) -> None:
        form = {**BASE, "token": "a+b/c=", "c": "7"}
        assert read_agent_call(form) == AgentCall(call_sid=LEG, token="a+b/c=", live_call_id=7)

    def test_a_stranger_shows_nothing(self) -> None:
        assert read_agent_call(BASE) == AgentCall(call_sid=LEG, token="", live_call_id=None)

    def test_the_token_stays_out_of_what_is_printed(self) -> None:
        assert "secreto" not in repr(read_agent_call({**BASE, "token": "secreto"}))

    @pytest.mark.parametrize(("name", "value"), [("token", "a b"), ("token", "x" * 501), ("c", "-1")])
    def test_a_field_that_is_none_of_ours(self, name: str, value: str) -> None:
        with pytest.raises(BadFieldError) as caught:
            read_agent_call({**BASE, name: value})
        assert caught.value.field == name


class TestLegReport:
    def test_everything_is_read(self) -> None:
        form = {
            **BASE,
            "CallStatus": "no-answer",
            "CallbackSource": "call-progress-events",
            "SequenceNumber": "3",
            "Timestamp": STAMP,
        }
        assert read_leg_report(form, OURS) == LegReport(
            call_sid=LEG,
            status=LegStatus.NO_ANSWER,
            sequence=3,
            live_call_id=7,
            leg=2,
        )

    @pytest.mark.parametrize("status", LegStatus)
    def test_every_status_is_known(self, status: LegStatus) -> None:
        assert read_leg_report({**BASE, "CallStatus": status.value}, {}).status is status

    def test_one_that_is_not_is_no_news(self) -> None:
        report = read_leg_report({**BASE, "CallStatus": "levitating"}, {})
        assert (report.status, report.live_call_id, report.leg) == (None, None, None)

    def test_a_field_that_nobody_uses_is_no_reason_to_refuse(self) -> None:
        form = {
            **BASE,
            "Timestamp": "yesterday",
            "SipResponseCode": "none",
            "AnsweredBy": "<b>",
            "CallDuration": "1.5",
        }
        assert read_leg_report(form, OURS) == read_leg_report(BASE, OURS)

    @pytest.mark.parametrize(
        ("form", "query", "field"),
        [
            ({"CallStatus": ""}, {}, "CallStatus"),
            ({"CallStatus": "no answer"}, {}, "CallStatus"),
            ({"SequenceNumber": "-1"}, {}, "SequenceNumber"),
            ({"SequenceNumber": "٣"}, {}, "SequenceNumber"),
            ({"SequenceNumber": "4294967296"}, {}, "SequenceNumber"),
            ({}, {"c": "9223372036854775808"}, "c"),
            ({}, {"l": "x"}, "l"),
        ],
    )
    def test_a_field_that_is_not_twilios_is_named(
        self, form: dict[str, str], query: dict[str, str], field: str
    ) -> None:
        with pytest.raises(BadFieldError) as caught:
            read_leg_report({**BASE, **form}, query)
        assert caught.value.field == field


class TestRoomReport:
    EVENT: Mapping[str, str] = {
        "AccountSid": BASE["AccountSid"],
        "ConferenceSid": ROOM,
        "FriendlyName": f"conf_{LEG}",
        "SequenceNumber": "4",
        "Timestamp": STAMP,
    }

    def test_somebody_left(self) -> None:
        form = {
            **self.EVENT,
            "StatusCallbackEvent": "participant-leave",
            "CallSid": LEG,
            "ParticipantLabel": "advisor",
            "Muted": "false",
            "Hold": "false",
            "Coaching": "false",
            "EndConferenceOnExit": "false",
            "StartConferenceOnEnter": "true",
            "ReasonParticipantLeft": "participant_add_failed",
            "ParticipantCallStatus": "no-answer",
        }
        assert read_room_report(form, {"c": "7"}) == RoomReport(
            room=f"conf_{LEG}",
            event=RoomEvent.LEAVE,
            call_sid=LEG,
            label="advisor",
            reason_left="participant_add_failed",
            live_call_id=7,
        )

    def test_it_is_over(self) -> None:
        form = {
            **self.EVENT,
            "StatusCallbackEvent": "conference-end",
            "CallSidEndingConference": LEG,
            "ReasonConferenceEnded": "participant-with-end-conference-on-exit-left",
            "Reason": "Participant CA… ended the conference",
        }
        report = read_room_report(form, {})
        assert (report.event, report.call_sid, report.label) == (RoomEvent.END, None, "")

    @pytest.mark.parametrize("event", RoomEvent)
    def test_every_event_is_known(self, event: RoomEvent) -> None:
        form = {**self.EVENT, "StatusCallbackEvent": event.value}
        assert read_room_report(form, {}).event is event

    def test_a_field_that_nobody_uses_is_no_reason_to_refuse(self) -> None:
        form = {**self.EVENT, "StatusCallbackEvent": "conference-end"}
        odd = {"ConferenceSid": "?", "SequenceNumber": "x", "Hold": "perhaps", "ReasonConferenceEnded": "<b>"}
        assert read_room_report({**form, **odd, "ParticipantCallStatus": "?!"}, OURS) == read_room_report(
            form, OURS
        )

    def test_one_that_is_not_is_no_news(self) -> None:
        form = {**self.EVENT, "StatusCallbackEvent": "participant-speech-start"}
        assert read_room_report(form, {}).event is None

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("FriendlyName", ""),
            ("FriendlyName", "a\0b"),
            ("StatusCallbackEvent", ""),
            ("CallSid", "x"),
            ("ParticipantLabel", "x" * 129),
        ],
    )
    def test_a_field_that_is_not_twilios_is_named(self, name: str, value: str) -> None:
        with pytest.raises(BadFieldError) as caught:
            read_room_report({**self.EVENT, "StatusCallbackEvent": "conference-start", name: value}, {})
        assert caught.value.field == name


class TestKeys:
    @pytest.mark.parametrize("keys", ["1", "*", "#", "12", ""])
    def test_what_was_pressed(self, keys: str) -> None:
        report = read_keys({**BASE, "Digits": keys}, OURS)
        assert report == KeysReport(call_sid=LEG, keys=keys, live_call_id=7, leg=2)

    def test_nothing_was(self) -> None:
        assert read_keys(BASE, {}).keys == ""

    def test_speech_is_no_key(self) -> None:
        with pytest.raises(BadFieldError):
            read_keys({**BASE, "Digits": "uno"}, {})


class TestAfter:
    def test_a_caller_who_hung_up_in_the_room(self) -> None:
        form = {**BASE, "CallStatus": "completed", "DialCallStatus": "answered", "DialBridged": "true"}
        assert read_after(form, {"c": "7"}) == AfterReport(
            call_sid=LEG, call_status=LegStatus.COMPLETED, live_call_id=7
        )

    def test_how_the_room_ended_is_no_reason_to_refuse(self) -> None:
        assert read_after({**BASE, "DialCallStatus": "?!"}, {}) == read_after(BASE, {})

    def test_a_redirect_says_less(self) -> None:
        form = {name: value for name, value in BASE.items() if name != "CallStatus"}
        assert read_after(form, {}) == AfterReport(call_sid=LEG)


class TestRecordings:
    FORM: Mapping[str, str] = {"AccountSid": BASE["AccountSid"], "CallSid": LEG, "RecordingSid": RECORDING}

    def test_one_that_is_complete(self) -> None:
        form = {
            **self.FORM,
            "RecordingStatus": "completed",
            "RecordingDuration": "12",
            "RecordingUrl": "http://169.254.169.254/latest",
            "RecordingSource": "RecordVerb",
        }
        assert read_recording_report(form, {"c": "7"}) == RecordingReport(
            call_sid=LEG,
            recording_sid=RECORDING,
            status=RecordingStatus.COMPLETED,
            duration_s=12,
            live_call_id=7,
        )

    @pytest.mark.parametrize(
        ("status", "read"),
        [("absent", RecordingStatus.ABSENT), ("in-progress", RecordingStatus.IN_PROGRESS), ("paused", None)],
    )
    def test_others_have_no_length(self, status: str, read: RecordingStatus | None) -> None:
        form = {**self.FORM, "RecordingStatus": status, "RecordingDuration": "-1"}
        report = read_recording_report(form, {})
        assert (report.status, report.duration_s) == (read, None)

    @pytest.mark.parametrize(("keys", "has_hung_up"), [("hangup", True), ("#", False), ("", False)])
    def test_the_caller_is_done(self, keys: str, *, has_hung_up: bool) -> None:
        form = {**BASE, "RecordingDuration": "4", "Digits": keys}
        assert read_record_report(form, {"c": "7"}) == RecordReport(
            call_sid=LEG, duration_s=4, has_hung_up=has_hung_up, live_call_id=7
        )

    def test_its_sid_may_be_told(self) -> None:
        assert read_record_report({**BASE, "RecordingSid": RECORDING}, {}).recording_sid == RECORDING
        with pytest.raises(BadFieldError):
            read_record_report({**BASE, "RecordingSid": LEG}, {})


# --- Properties -----------------------------------------------------------------------------------------

NAMES = [
    *("CallSid", "ConferenceSid", "RecordingSid", "From", "To", "CallStatus", "SequenceNumber", "Timestamp"),
    *("SipResponseCode", "AnsweredBy", "CallDuration", "FriendlyName", "StatusCallbackEvent", "Hold"),
    *("ParticipantLabel", "ReasonParticipantLeft", "ParticipantCallStatus", "ReasonConferenceEnded"),
    *("Digits", "DialCallStatus", "RecordingStatus", "RecordingDuration", "token", "c", "l"),
]
VALUES = st.sampled_from(
    [
        *(LEG, ROOM, RECORDING, "", "+5215512345678", "anonymous", "-1", "0", "2147483648", "hangup", "true"),
        *("conf_x", "in-progress", "participant-leave", "completed", STAMP, "Thu, 1 Jan 99999 0:0:0 +9999"),
    ]
)
FORMS = st.dictionaries(st.sampled_from(NAMES), VALUES | st.text(max_size=40))


def nowhere(read: Callable[[Any, Any], object]) -> Read:
    return lambda form: read(form, form)


READERS: list[Read] = [
    read_incoming_call,
    read_agent_call,
    *map(
        nowhere,
        [
            read_leg_report,
            read_room_report,
            read_keys,
            read_after,
            read_recording_report,
            read_record_report,
        ],
    ),
]


def problem_in(read: Read, form: dict[str, str]) -> BadFieldError | None:
    try:
        read(form)
    except BadFieldError as error:
        return error
    return None


@pytest.mark.parametrize("read", READERS)
@given(form=FORMS)
def test_whatever_comes_is_read_or_its_field_is_named(read: Read, form: dict[str, str]) -> None:
    problem = problem_in(read, form)
    if problem is not None:
        value = form.get(problem.field, "")
        assert problem.field in NAMES
        # Never with its value, which may be personal.
        assert len(value) < 5 or value not in str(problem)
