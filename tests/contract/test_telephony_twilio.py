"""The port `Telephony` over Twilio's SDK and our transport, against a server that answers what a test scripts."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from actors.live_call.telephony import (
    AdvisorDial,
    AgentDial,
    Dialled,
    DialRefused,
    DialUnknown,
    LegStatus,
    MadeRecording,
    NoRecording,
    NotDialled,
    ParticipantStatus,
    Recording,
    RedirectOutcome,
    RoomStatus,
)
from actors.ports import VendorRefusedError, VendorUnavailableError
from daemon.twilio.telephony import TwilioTelephony
from daemon.twilio.transport import Limits, open_transport, sdk_client
from tests.contract.lab_twilio import nobody_listens
from tests.contract.scripted_server import (
    Step,
    answer,
    close_after_half,
    hang,
    hang_after_half,
    reset,
    scripted,
)
from tests.contract.test_twilio_transport import CERTIFICATE, KEY

ACCOUNT = "AC" + "0" * 32
LEG = "CA" + "1" * 32
ROOM = "CF" + "2" * 32
RECORDING = "RE" + "3" * 32
NAME = f"conf_{LEG}"
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
NUMBER = "+525500000000"
LAURA = "+573001234567"
PUBLIC = "https://relevo.example.com"
ACCOUNT_PATH = f"/2010-04-01/Accounts/{ACCOUNT}"
BASIC = "Basic QUMwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDp0b2tlbg=="

ADVISOR = AdvisorDial(live_call_id=7, leg=2, number=LAURA, ring_s=25.0, talk_max_s=3600)
AGENT = AgentDial(live_call_id=7, leg=1, room=NAME, token="a+b/c=&d", time_limit_s=7200)

CREATED = answer(201, {"sid": LEG, "call_sid": LEG, "status": "queued"})
UPDATED = answer(200, {"sid": LEG})


def refused(status: int, code: int, message: str = "no", **headers: str) -> Step:
    return answer(status, {"code": code, "message": message, "status": status}, **headers)


def problem(status: int, code: int) -> Step:
    """An error as RFC 9457 has it."""
    body = {"type": "https://twilio.com/x", "title": "No", "status": status, "code": code, "detail": "So."}
    return answer(status, body, "application/problem+json")


class Standing:
    """A clock that shows one moment."""

    def now(self) -> datetime:
        return NOW


@asynccontextmanager
async def telephony_at(origin: str, **limits: Any) -> AsyncIterator[TwilioTelephony]:
    async with open_transport(Limits(**limits)) as transport:
        yield TwilioTelephony(
            client=sdk_client(transport, account_sid=ACCOUNT, auth_token="token", base_url=origin),
            transport=transport,
            number=NUMBER,
            app_sid="AP" + "4" * 32,
            public_url=f"{PUBLIC}/",
            clock=Standing(),
            recording_deadline_s=limits.get("deadline_s", 5.0),
        )


LOST = [hang, hang_after_half, close_after_half, reset]
INSIDE_TWILIO = [
    refused(500, 20500),
    refused(503, 20503),
    refused(400, 20500),
    refused(408, 20408),
    problem(500, 20500),
    answer(502, "<html>", "text/html"),
]
UNREADABLE = [answer(201, "<html>", "text/html"), answer(201, '{"sid": ')]


class TestDial:
    async def test_an_advisor_is_called_with_everything_the_transfer_needs(self) -> None:
        async with scripted(CREATED) as (script, origin), telephony_at(origin) as telephony:
            assert await telephony.dial_advisor(ADVISOR) == Dialled(LEG)
        (request,) = script.seen
        assert (request.method, request.path) == ("POST", f"{ACCOUNT_PATH}/Calls.json")
        assert request.headers["authorization"] == BASIC
        assert request.form == {
            "To": [LAURA],
            "From": [NUMBER],
            "Url": [f"{PUBLIC}/voice/transfer/connect?c=7&l=2"],
            "Method": ["POST"],
            "StatusCallback": [f"{PUBLIC}/voice/transfer/status?c=7&l=2"],
            "StatusCallbackEvent": ["initiated", "ringing", "answered", "completed"],
            "StatusCallbackMethod": ["POST"],
            "Timeout": ["25"],
            "TimeLimit": ["3600"],
        }

    async def test_an_agent_is_called_into_the_room_unheard_until_it_is_there(self) -> None:
        async with scripted(CREATED) as (script, origin), telephony_at(origin) as telephony:
            assert await telephony.add_agent(AGENT) == Dialled(LEG)
        (request,) = script.seen
        assert request.path == f"{ACCOUNT_PATH}/Conferences/{NAME}/Participants.json"
        assert request.form == {
            "To": [f"app:AP{'4' * 32}?token=a%2Bb%2Fc%3D%26d&c=7"],
            "From": [NUMBER],
            "Label": ["agent"],
            "Timeout": ["15"],
            "TimeLimit": ["7200"],
            "Beep": ["false"],
            "EarlyMedia": ["false"],
            "WaitUrl": [""],
            "StartConferenceOnEnter": ["true"],
            "EndConferenceOnExit": ["false"],
            "JitterBufferSize": ["small"],
            "StatusCallback": [f"{PUBLIC}/voice/agent/status?c=7&l=1"],
            "StatusCallbackEvent": ["initiated", "ringing", "answered", "completed"],
            "ConferenceStatusCallback": [f"{PUBLIC}/voice/conference?c=7"],
            "ConferenceStatusCallbackEvent": ["start", "end", "join", "leave", "hold"],
        }

    async def test_without_an_app_there_is_no_agent_to_add(self) -> None:
        async with scripted(CREATED) as (script, origin), telephony_at(origin) as telephony:
            telephony.app_sid = ""
            with pytest.raises(ValueError, match="no TwiML App"):
                await telephony.add_agent(AGENT)
        assert script.seen == []

    @pytest.mark.parametrize(
        ("ring_s", "fence"), [(0.0, "5"), (4.2, "5"), (25.0, "25"), (25.1, "26"), (1e9, "600")]
    )
    async def test_twilios_own_fence_is_whole_seconds_that_it_takes(self, ring_s: float, fence: str) -> None:
        async with scripted(CREATED) as (script, origin), telephony_at(origin) as telephony:
            await telephony.dial_advisor(evolve(ADVISOR, ring_s=ring_s))
        assert script.seen[0].form["Timeout"] == [fence]


async def outcomes(step: Step, **limits: Any) -> list[object]:
    """What both ways of dialling make of the same answer."""
    async with scripted(step) as (_, origin), telephony_at(origin, **limits) as telephony:
        return [await telephony.dial_advisor(ADVISOR), await telephony.add_agent(AGENT)]


class TestOutcome:
    @pytest.mark.parametrize(
        ("status", "code"),
        [(400, 21211), (400, 21215), (400, 13227), (400, 16025), (401, 20003), (403, 20005), (404, 20404)],
    )
    async def test_a_code_of_twilio_is_a_refusal(self, status: int, code: int) -> None:
        for outcome in await outcomes(refused(status, code)):
            assert outcome == DialRefused(code=code, detail="no")

    async def test_so_is_a_problem_document_and_what_something_in_between_says(self) -> None:
        assert await outcomes(problem(400, 21211)) == [DialRefused(code=21211, detail="So.")] * 2
        for outcome in await outcomes(answer(302, "", "text/html", Location="https://x")):
            assert isinstance(outcome, DialRefused)
            assert outcome.code == 302

    async def test_a_phone_number_in_the_reason_is_masked(self) -> None:
        told = "The number +573001234567 is not valid"
        for outcome in await outcomes(refused(400, 21211, told)):
            assert outcome == DialRefused(code=21211, detail="The number +…4567 is not valid")

    async def test_too_many_requests_say_when_to_come_back(self) -> None:
        for outcome in await outcomes(refused(429, 20429, Retry_After="2")):
            assert isinstance(outcome, NotDialled)
            assert outcome.retry_after_s == 2.0

    async def test_nobody_listens(self) -> None:
        async with telephony_at(await nobody_listens()) as telephony:
            assert isinstance(await telephony.dial_advisor(ADVISOR), NotDialled)
            assert isinstance(await telephony.add_agent(AGENT), NotDialled)

    @pytest.mark.parametrize("step", [*INSIDE_TWILIO, *UNREADABLE, answer(201, {"sid": None})])
    async def test_nobody_knows(self, step: Step) -> None:
        for outcome in await outcomes(step):
            assert isinstance(outcome, DialUnknown)

    @pytest.mark.parametrize("step", LOST)
    async def test_nor_when_the_answer_is_lost(self, step: Step) -> None:
        for outcome in await outcomes(step, deadline_s=0.5):
            assert isinstance(outcome, DialUnknown)


class TestCommands:
    async def test_what_is_sent(self) -> None:
        async with scripted(UPDATED) as (script, origin), telephony_at(origin) as telephony:
            assert await telephony.end_leg(LEG)
            assert await telephony.redirect(LEG, "/voice/voicemail?c=7") is RedirectOutcome.DONE
            assert await telephony.end_room(ROOM)
        ended, redirected, closed = script.seen
        assert (ended.path, ended.form) == (
            f"{ACCOUNT_PATH}/Calls/{LEG}.json",
            {"Status": ["completed"]},
        )
        assert (redirected.path, redirected.form) == (
            f"{ACCOUNT_PATH}/Calls/{LEG}.json",
            {"Url": [f"{PUBLIC}/voice/voicemail?c=7"], "Method": ["POST"]},
        )
        assert (closed.path, closed.form) == (
            f"{ACCOUNT_PATH}/Conferences/{ROOM}.json",
            {"Status": ["completed"]},
        )

    @pytest.mark.parametrize(
        "step", [refused(400, 21220), refused(404, 20404), problem(404, 20404), problem(400, 21220)]
    )
    async def test_there_is_nothing_to_change(self, step: Step) -> None:
        async with scripted(step) as (_, origin), telephony_at(origin) as telephony:
            assert await telephony.end_leg(LEG)
            assert await telephony.redirect(LEG, "/x") is RedirectOutcome.OVER
            assert await telephony.end_room(ROOM)
            assert await telephony.delete_recording(RECORDING)

    @pytest.mark.parametrize(
        "step",
        [
            *LOST,
            *INSIDE_TWILIO,
            *UNREADABLE,
            refused(401, 20003),
            refused(429, 20429),
            refused(400, 21205),
            answer(404, "<html>", "text/html"),
        ],
    )
    async def test_twilio_could_not_be_told(self, step: Step) -> None:
        async with scripted(step) as (_, origin), telephony_at(origin, deadline_s=0.2) as telephony:
            assert not await telephony.end_leg(LEG)
            assert await telephony.redirect(LEG, "/x") is RedirectOutcome.FAILED
            assert not await telephony.end_room(ROOM)
            assert not await telephony.hold(NAME, "caller", on=True, music_path="/m")

    async def test_a_leg_is_limited_in_seconds(self) -> None:
        async with scripted(UPDATED) as (script, origin), telephony_at(origin) as telephony:
            assert await telephony.limit(LEG, 3600)
        (request,) = script.seen
        assert (request.path, request.form) == (f"{ACCOUNT_PATH}/Calls/{LEG}.json", {"TimeLimit": ["3600"]})

    async def test_a_recording_is_deleted(self) -> None:
        async with scripted(answer(204, "")) as (script, origin), telephony_at(origin) as telephony:
            assert await telephony.delete_recording(RECORDING)
        assert (script.seen[0].method, script.seen[0].path) == (
            "DELETE",
            f"{ACCOUNT_PATH}/Recordings/{RECORDING}.json",
        )


def conferences(*rooms: dict[str, object], next_page_uri: str | None = None) -> Step:
    return answer(200, {"conferences": rooms, "next_page_uri": next_page_uri})


def conference(sid: str, status: str, name: str = NAME) -> dict[str, object]:
    return {"sid": sid, "status": status, "friendly_name": name}


OVER = conference("CF" + "0" * 32, "completed")


class TestHold:
    async def test_the_room_of_that_name_that_is_open_is_found_first(self) -> None:
        steps = [conferences(conference(ROOM, "init"), OVER), UPDATED]
        async with scripted(*steps) as (script, origin), telephony_at(origin) as telephony:
            assert await telephony.hold(NAME, "caller", on=True, music_path="/voice/hold-music")
        asked, held = script.seen
        assert asked.query == {"FriendlyName": [NAME], "PageSize": ["20"]}
        assert held.path == f"{ACCOUNT_PATH}/Conferences/{ROOM}/Participants/caller.json"
        assert held.form == {
            "Hold": ["true"],
            "HoldUrl": [f"{PUBLIC}/voice/hold-music"],
            "HoldMethod": ["GET"],
        }

    async def test_taking_it_off_needs_no_music(self) -> None:
        steps = [conferences(conference(ROOM, "in-progress")), UPDATED]
        async with scripted(*steps) as (script, origin), telephony_at(origin) as telephony:
            assert await telephony.hold(NAME, "caller", on=False, music_path="/m")
        assert script.seen[1].form == {"Hold": ["false"]}

    @pytest.mark.parametrize("rooms", [[], [OVER], [conference(ROOM, "in-progress", "conf_CA_otra")]])
    async def test_without_such_a_room_nobody_is_held(self, rooms: list[dict[str, object]]) -> None:
        async with scripted(conferences(*rooms)) as (script, origin), telephony_at(origin) as telephony:
            assert not await telephony.hold(NAME, "caller", on=True, music_path="/m")
        assert len(script.seen) == 1

    async def test_two_slow_answers_do_not_last_twice_as_long(self) -> None:
        steps = [conferences(conference(ROOM, "init")), hang]
        async with scripted(*steps) as (_, origin), telephony_at(origin, deadline_s=60) as telephony:
            telephony.hold_deadline_s = 0.3
            assert not await telephony.hold(NAME, "caller", on=True, music_path="/m")


class TestRoom:
    async def test_is_told_with_who_is_in_it(self) -> None:
        participants = [
            {"call_sid": LEG, "label": "caller", "hold": True, "status": "connected"},
            {"call_sid": "CA" + "5" * 32, "label": None, "hold": False, "status": "ringing"},
            {"call_sid": "CA" + "6" * 32, "label": "agent", "hold": False, "status": "levitating"},
        ]
        steps = [
            conferences(OVER, conference(ROOM, "in-progress")),
            answer(200, {"participants": participants}),
        ]
        async with scripted(*steps) as (script, origin), telephony_at(origin) as telephony:
            room = await telephony.room(NAME)
        assert room is not None
        assert (room.sid, room.name, room.status) == (ROOM, NAME, RoomStatus.IN_PROGRESS)
        assert [(one.label, one.hold, one.status) for one in room.participants] == [
            ("caller", True, ParticipantStatus.CONNECTED),
            ("", False, ParticipantStatus.RINGING),
            ("agent", False, ParticipantStatus.OTHER),
        ]
        assert script.seen[1].path == f"{ACCOUNT_PATH}/Conferences/{ROOM}/Participants.json"

    async def test_open_ones_of_both_kinds_are_read_page_by_page(self) -> None:
        later = f"{ACCOUNT_PATH}/Conferences.json?PageToken=P1"
        other = conference("CF" + "9" * 32, "init", "sala")
        steps = [
            conferences(conference(ROOM, "init"), other, next_page_uri=later),
            conferences(conference("CF" + "7" * 32, "init", "conf_2")),
            conferences(
                conference("CF" + "8" * 32, "in-progress", "conf_3"), conference(ROOM, "in-progress")
            ),
        ]
        async with scripted(*steps) as (script, origin), telephony_at(origin) as telephony:
            rooms = await telephony.open_rooms()
        assert [(room.name, room.status.value) for room in rooms] == [
            # Begun between the two looks.
            (NAME, "in-progress"),
            ("conf_2", "init"),
            ("conf_3", "in-progress"),
        ]
        assert [request.query.get("Status") for request in script.seen] == [["init"], None, ["in-progress"]]


def call(sid: str, created_at: datetime | None, status: str = "ringing") -> dict[str, object]:
    stamp = format_datetime(created_at) if created_at is not None else None
    return {"sid": sid, "status": status, "date_created": stamp, "start_time": None}


def calls(*records: dict[str, object], next_page_uri: str | None = None, **headers: str) -> Step:
    return answer(200, {"calls": records, "next_page_uri": next_page_uri}, **headers)


class TestLegs:
    @pytest.mark.parametrize("status", [status for status in LegStatus if status is not LegStatus.INITIATED])
    async def test_every_status_is_known(self, status: LegStatus) -> None:
        step = answer(200, {"sid": LEG, "status": status.value})
        async with scripted(step) as (script, origin), telephony_at(origin) as telephony:
            assert await telephony.leg_status(LEG) is status
        assert script.seen[0].path == f"{ACCOUNT_PATH}/Calls/{LEG}.json"

    @pytest.mark.parametrize("step", [refused(404, 20404), problem(404, 20404)])
    async def test_a_leg_that_twilio_does_not_know_has_no_status(self, step: Step) -> None:
        async with scripted(step) as (_, origin), telephony_at(origin) as telephony:
            assert await telephony.leg_status(LEG) is None

    @pytest.mark.parametrize("ahead", [timedelta(hours=-2), timedelta(minutes=3), timedelta(days=400)])
    async def test_twilios_clock_tells_the_age_of_a_leg(self, ahead: timedelta) -> None:
        step = calls(
            call("CA1", None, "queued"),
            call("CA2", NOW + ahead - timedelta(seconds=30)),
            call("CA3", NOW + ahead - timedelta(minutes=5)),
            Date=format_datetime(NOW + ahead, usegmt=True),
        )
        async with scripted(step) as (script, origin), telephony_at(origin) as telephony:
            found = await telephony.legs_to(LAURA, since=NOW)
        assert [(leg.sid, leg.status, leg.number) for leg in found] == [
            ("CA1", LegStatus.QUEUED, LAURA),
            ("CA2", LegStatus.RINGING, LAURA),
        ]
        assert script.seen[0].query == {"To": [LAURA], "From": [NUMBER], "PageSize": ["100"]}

    async def test_every_spelling_of_the_number_is_asked_for_and_every_page_with_something_young(
        self,
    ) -> None:
        later = f"{ACCOUNT_PATH}/Calls.json?PageToken=P1"
        steps = [
            calls(call("CA1", NOW), next_page_uri=later),
            calls(call("CA2", NOW - timedelta(hours=1)), next_page_uri=later),
            calls(call("CA3", NOW + timedelta(seconds=1))),
        ]
        async with scripted(*steps) as (script, origin), telephony_at(origin) as telephony:
            found = await telephony.legs_to("+525512345678", since=NOW)
        assert [leg.sid for leg in found] == ["CA3", "CA1"]
        assert [request.query.get("To") for request in script.seen] == [
            ["+525512345678"],
            None,
            ["+5215512345678"],
        ]


def recording(number: int, **fields: object) -> dict[str, object]:
    shown = {"sid": f"RE{number:032x}", "source": "RecordVerb", "status": "completed", "duration": "7"}
    return shown | fields


class TestRecordingsOf:
    async def test_what_holds_nothing_and_what_no_document_asked_for_is_left_out(self) -> None:
        listed = [
            recording(1, status="processing", duration="-1"),
            recording(2, status="absent"),
            recording(3, source="StartCallRecordingAPI"),
            recording(4, status="in-progress", duration=None),
            recording(5),
        ]
        step = answer(200, {"recordings": listed})
        async with scripted(step) as (script, origin), telephony_at(origin) as telephony:
            assert await telephony.recordings_of(LEG) == [
                MadeRecording(sid=f"RE{5:032x}", duration_s=7),
                MadeRecording(sid=f"RE{4:032x}", duration_s=0),
                MadeRecording(sid=f"RE{1:032x}", duration_s=0),
            ]
        (request,) = script.seen
        assert request.path == f"{ACCOUNT_PATH}/Recordings.json"
        assert request.query == {"CallSid": [LEG], "PageSize": ["100"]}


async def ask_everything(telephony: TwilioTelephony) -> list[type[Exception]]:
    """What each question ends with that has no answer."""
    found: list[type[Exception]] = []
    for question in (
        telephony.leg_status(LEG),
        telephony.room(NAME),
        telephony.open_rooms(),
        telephony.legs_to(LAURA, since=NOW),
        telephony.recordings_of(LEG),
        telephony.recording(RECORDING, max_bytes=100),
    ):
        try:
            await question
        except (VendorUnavailableError, VendorRefusedError) as error:
            found.append(type(error))
    return found


class TestNoAnswer:
    @pytest.mark.parametrize("step", [*LOST, *INSIDE_TWILIO[:2], *INSIDE_TWILIO[4:], refused(429, 20429)])
    async def test_another_try_may_help(self, step: Step) -> None:
        async with scripted(step) as (_, origin), telephony_at(origin, deadline_s=0.2) as telephony:
            assert await ask_everything(telephony) == [VendorUnavailableError] * 6

    @pytest.mark.parametrize(
        "step", [answer(200, "<html>", "text/html"), answer(200, '{"x": '), answer(200, {})]
    )
    async def test_so_it_may_after_something_that_is_no_answer(self, step: Step) -> None:
        async with scripted(step) as (_, origin), telephony_at(origin, deadline_s=0.5) as telephony:
            assert await ask_everything(telephony) == [VendorUnavailableError] * 6

    @pytest.mark.parametrize("step", [refused(401, 20003), refused(403, 20005)])
    async def test_the_operator_has_to_help(self, step: Step) -> None:
        async with scripted(step) as (_, origin), telephony_at(origin) as telephony:
            assert await ask_everything(telephony) == [VendorRefusedError] * 6

    async def test_nobody_listens(self) -> None:
        async with telephony_at(await nobody_listens()) as telephony:
            assert await ask_everything(telephony) == [VendorUnavailableError] * 6


MP3 = answer(200, "ID3-sonido", "audio/mpeg; x=1")


class TestRecording:
    async def test_is_fetched_with_credentials(self) -> None:
        async with scripted(MP3) as (script, origin), telephony_at(origin) as telephony:
            recording = await telephony.recording(RECORDING, max_bytes=10)
        assert recording == Recording(audio=b"ID3-sonido", content_type="audio/mpeg")
        (request,) = script.seen
        assert (request.method, request.path) == ("GET", f"{ACCOUNT_PATH}/Recordings/{RECORDING}.mp3")
        assert request.headers["authorization"] == BASIC

    async def test_one_byte_more_is_too_much_and_harms_no_later_request(self) -> None:
        async with scripted(MP3) as (_, origin), telephony_at(origin, connections_max=1) as telephony:
            assert await telephony.recording(RECORDING, max_bytes=9) is NoRecording.TOO_LARGE
            assert isinstance(await telephony.recording(RECORDING, max_bytes=10), Recording)

    async def test_a_flood_is_cut_off(self) -> None:
        async def flood(stream: Any) -> None:
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n")
            while True:
                await stream.send_all(b"x" * 65_536)

        async with scripted(flood) as (_, origin), telephony_at(origin) as telephony:
            assert await telephony.recording(RECORDING, max_bytes=1_000_000) is NoRecording.TOO_LARGE

    @pytest.mark.parametrize("step", [refused(404, 20404), answer(404, "", "text/html"), refused(410, 20404)])
    async def test_is_not_there(self, step: Step) -> None:
        async with scripted(step) as (_, origin), telephony_at(origin) as telephony:
            assert await telephony.recording(RECORDING, max_bytes=10) is NoRecording.NOT_THERE

    async def test_an_encrypted_one_cannot_be_had_as_mp3(self) -> None:
        async with scripted(refused(400, 16109)) as (_, origin), telephony_at(origin) as telephony:
            with pytest.raises(VendorRefusedError):
                await telephony.recording(RECORDING, max_bytes=10)


class TestRecordingElsewhere:
    async def test_whoever_keeps_the_files_gets_no_credentials(self, tmp_path: Path) -> None:
        certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
        certificate.write_text(CERTIFICATE)
        key.write_text(KEY)
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate, key)
        async with scripted(MP3, tls=tls) as (elsewhere, other):
            sent_on = answer(307, "", Location=f"{other}/file.mp3?signed=1")
            async with scripted(sent_on) as (script, origin), telephony_at(origin) as telephony:
                telephony.transport._ssl_context.load_verify_locations(certificate)
                assert isinstance(await telephony.recording(RECORDING, max_bytes=10), Recording)
        assert script.seen[0].headers["authorization"] == BASIC
        (request,) = elsewhere.seen
        assert (request.path, request.query) == ("/file.mp3", {"signed": ["1"]})
        assert "authorization" not in request.headers

    async def test_another_host_is_not_called_without_tls(self) -> None:
        async with (
            scripted(MP3) as (elsewhere, other),
            scripted(answer(307, "", Location=f"{other}/file?signed=1")) as (script, origin),
            telephony_at(origin) as telephony,
        ):
            with pytest.raises(VendorRefusedError, match="not to be called"):
                await telephony.recording(RECORDING, max_bytes=10)
        assert len(script.seen) == 1
        assert elsewhere.seen == []

    async def test_on_the_same_host_they_go_along(self) -> None:
        steps = [answer(302, "", Location="/otra.mp3"), MP3]
        async with scripted(*steps) as (script, origin), telephony_at(origin) as telephony:
            assert isinstance(await telephony.recording(RECORDING, max_bytes=10), Recording)
        assert [request.path for request in script.seen][1] == "/otra.mp3"
        assert script.seen[1].headers["authorization"] == BASIC

    @pytest.mark.parametrize(
        "location",
        ["", "file:///etc/passwd", "http://127.0.0.1:1/x", "https://", "https://x:port/", "ftp://x/"],
    )
    async def test_a_strange_address_is_not_called(self, location: str) -> None:
        step = answer(302, "", Location=location)
        async with scripted(step) as (script, origin), telephony_at(origin) as telephony:
            with pytest.raises(VendorRefusedError):
                await telephony.recording(RECORDING, max_bytes=10)
        assert len(script.seen) == 1

    async def test_a_circle_ends(self) -> None:
        step = answer(302, "", Location="/otra.mp3")
        async with scripted(step) as (script, origin), telephony_at(origin) as telephony:
            with pytest.raises(VendorRefusedError, match="more than 3"):
                await telephony.recording(RECORDING, max_bytes=10)
        assert len(script.seen) == 4
