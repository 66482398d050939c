"""The port `Telephony`, our documents and the reading of voice webhooks together, against the simulated Twilio."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from actors.live_call import paths
from actors.live_call.documents import AgentStream, SpokenEnd, Voicemail
from actors.live_call.reports import LegReport, RoomEvent, RoomReport
from actors.live_call.telephony import (
    AGENT_LABEL,
    CALLER_LABEL,
    LABEL_TAKEN_CODE,
    Dialled,
    DialOutcome,
    DialRefused,
    DialUnknown,
    LegStatus,
    NoRecording,
    NotDialled,
    Recording,
    RedirectOutcome,
    RoomStatus,
    room_name,
)
from actors.ports import VendorRefusedError
from daemon.lab.twilio.voice.script import Script, Step
from daemon.twilio.voice_inbound import (
    read_agent_call,
    read_leg_report,
    read_recording_report,
    read_room_report,
)
from tests.contract.lab_twilio import Received
from tests.contract.lab_twilio_voice import ADVISOR, VoiceBench, on_sockets
from tests.contract.telephony_benches import (
    ADVISOR_DIAL,
    CALL_ID,
    TOKEN,
    agent_dial,
    file_documents,
    open_office,
    telephony_on,
)

ROOM = "conf_prueba"


def query_of(request: Received) -> Mapping[str, str]:
    return dict(parse_qsl(urlsplit(request.url).query))


def leg_reports(requests: list[Received]) -> list[LegReport]:
    return [read_leg_report(request.params, query_of(request)) for request in requests]


def room_reports(requests: list[Received]) -> list[RoomReport]:
    return [read_room_report(request.params, query_of(request)) for request in requests]


def dialled(outcome: DialOutcome) -> str:
    assert isinstance(outcome, Dialled)
    return outcome.sid


async def told_of(bench: VoiceBench, label: str, event: RoomEvent) -> RoomReport:
    """The first report of that, waited for."""
    count = 1
    while True:
        reports = room_reports(await bench.office.wait_for(paths.CONFERENCE, count))
        for report in reports:
            if (report.label, report.event) == (label, event):
                return report
        count = len(reports) + 1


class TestAgent:
    async def test_streams_to_us_with_its_token_and_is_known_by_another_sid(self) -> None:
        async with on_sockets({}) as bench, telephony_on(bench) as telephony:
            open_office(bench)
            file_documents(
                bench, {"/agent": AgentStream(token=TOKEN, own_music_url=f"{bench.office.url}/music.wav")}
            )
            caller = bench.call_in()
            await bench.until("joined", caller)
            sid = dialled(await telephony.add_agent(agent_dial(room_name(caller.sid))))
            talk = await bench.office.talk()
            (asked,) = await bench.office.wait_for("/agent")
            joined = await told_of(bench, AGENT_LABEL, RoomEvent.JOIN)
            assert await telephony.end_leg(sid)
            await talk.ended()
            statuses = await bench.office.wait_for(paths.AGENT_STATUS, 4)
        call = read_agent_call(asked.params)
        assert (call.token, call.live_call_id) == (TOKEN, CALL_ID)
        assert call.call_sid not in {sid, caller.sid}
        assert talk.start["customParameters"] == {"token": TOKEN}
        assert talk.start["callSid"] == call.call_sid
        assert (joined.call_sid, joined.live_call_id) == (sid, CALL_ID)
        assert all(request.is_signed() for request in [asked, *statuses])
        assert {(one.call_sid, one.live_call_id, one.leg) for one in leg_reports(statuses)} == {
            (sid, CALL_ID, 1)
        }

    async def test_the_room_that_it_opens_tells_us_too(self) -> None:
        async with on_sockets({}) as bench, telephony_on(bench) as telephony:
            open_office(bench)
            sid = dialled(await telephony.add_agent(agent_dial(ROOM)))
            joined = await told_of(bench, AGENT_LABEL, RoomEvent.JOIN)
            room = await telephony.room(ROOM)
        assert room is not None
        assert (room.status, joined.call_sid, joined.room, joined.live_call_id) == (
            RoomStatus.INIT,
            sid,
            ROOM,
            CALL_ID,
        )

    async def test_one_that_is_never_reached_is_told_as_one_who_left(self) -> None:
        async with on_sockets({}) as bench, telephony_on(bench) as telephony:
            open_office(bench)
            bench.fault("participant_add_failed")
            sid = dialled(await telephony.add_agent(agent_dial(ROOM)))
            left = await told_of(bench, AGENT_LABEL, RoomEvent.LEAVE)
            # It was dialled, at least.
            *_, report = leg_reports(await bench.office.wait_for(paths.AGENT_STATUS, 2))
            assert isinstance(await telephony.add_agent(agent_dial(ROOM, leg=2)), Dialled)
        assert (left.call_sid, left.reason_left) == (sid, "participant_add_failed")
        assert (report.call_sid, report.status) == (sid, LegStatus.FAILED)

    async def test_a_lost_answer_is_settled_by_the_room(self) -> None:
        async with on_sockets({}) as bench, telephony_on(bench) as telephony:
            open_office(bench)
            bench.fault("rest_timeout_after", on="participant.create", seconds=0)
            assert isinstance(await telephony.add_agent(agent_dial(ROOM)), DialUnknown)
            again = await telephony.add_agent(agent_dial(ROOM, leg=2))
            room = await telephony.room(ROOM)
            assert room is not None
            agent = room.labelled(AGENT_LABEL)
            assert agent is not None
            assert await telephony.end_leg(agent.call_sid)
        assert isinstance(again, DialRefused)
        assert again.code == LABEL_TAKEN_CODE


FAULTS: list[tuple[str, dict[str, Any], type[DialOutcome]]] = [
    ("rest_429", {}, NotDialled),
    ("rest_500_before", {}, DialUnknown),
    ("rest_500_after", {}, DialUnknown),
    ("rest_timeout_after", {"seconds": 0}, DialUnknown),
    ("rest_timeout_after", {"seconds": 5}, DialUnknown),
    ("rest_slow", {"seconds": 5}, DialUnknown),
    ("rest_drop_before", {}, DialUnknown),
    ("html_502", {}, DialUnknown),
    ("rest_refused", {"code": 21215}, DialRefused),
]


@pytest.mark.parametrize(("fault", "details", "kind"), FAULTS)
async def test_what_may_happen_on_the_way(
    fault: str, details: dict[str, Any], kind: type[DialOutcome]
) -> None:
    deadline_s = 1.0 if "seconds" in details else 5.0
    async with on_sockets({}) as bench, telephony_on(bench, deadline_s=deadline_s) as telephony:
        open_office(bench)
        bench.fault(fault, times=2, on="any", **details)
        assert isinstance(await telephony.dial_advisor(ADVISOR_DIAL), kind)
        assert isinstance(await telephony.add_agent(agent_dial(ROOM)), kind)


async def test_wrong_credentials_refuse_everything() -> None:
    async with on_sockets({}) as bench, telephony_on(bench, auth_token="falso") as telephony:
        assert await telephony.dial_advisor(ADVISOR_DIAL) == DialRefused(code=20003, detail="Authenticate")
        assert not await telephony.end_leg("CA" + "0" * 32)
        with pytest.raises(VendorRefusedError):
            await telephony.open_rooms()
        with pytest.raises(VendorRefusedError):
            await telephony.recording("RE" + "0" * 32, max_bytes=100)


class TestAdvisor:
    async def test_every_status_comes_back_with_the_call_and_the_leg(self) -> None:
        async with on_sockets({}) as bench, telephony_on(bench) as telephony:
            open_office(bench)
            bench.office.documents[paths.TRANSFER_CONNECT] = "<Hangup/>"
            bench.lab.voice.script(ADVISOR, Script(answer_after_s=0.1))
            sid = dialled(await telephony.dial_advisor(ADVISOR_DIAL))
            requests = await bench.office.wait_for(paths.TRANSFER_STATUS, 4)
            (connect,) = await bench.office.wait_for(paths.TRANSFER_CONNECT)
        reports = sorted(leg_reports(requests), key=lambda report: report.sequence or 0)
        assert [(report.sequence, report.status) for report in reports] == [
            (0, LegStatus.INITIATED),
            (1, LegStatus.RINGING),
            (2, LegStatus.IN_PROGRESS),
            (3, LegStatus.COMPLETED),
        ]
        assert {(report.call_sid, report.live_call_id, report.leg) for report in reports} == {
            (sid, CALL_ID, 2)
        }
        assert query_of(connect) == {"c": "7", "l": "2"}
        assert all(request.is_signed() for request in [connect, *requests])

    async def test_a_new_leg_may_be_listed_later_only(self) -> None:
        async with on_sockets({}) as bench, telephony_on(bench) as telephony:
            open_office(bench)
            since = bench.lab.clock.now()
            bench.fault("call_list_lags", seconds=60)
            sid = dialled(await telephony.dial_advisor(ADVISOR_DIAL))
            assert await telephony.legs_to(ADVISOR, since=since) == []
            bench.lab.advance(60)
            assert [leg.sid for leg in await telephony.legs_to(ADVISOR, since=since)] == [sid]


class TestCaller:
    async def test_hold_music_is_asked_for_when_somebody_is_held(self) -> None:
        async with on_sockets({}) as bench, telephony_on(bench) as telephony:
            open_office(bench)
            caller = bench.call_in()
            await bench.until("joined", caller)
            room = room_name(caller.sid)
            dialled(await telephony.add_agent(agent_dial(room)))
            await bench.until("started", caller)
            assert await telephony.hold(room, CALLER_LABEL, on=True, music_path="/voice/hold-music?a=1")
            held = await told_of(bench, CALLER_LABEL, RoomEvent.HOLD)
            _, music = await bench.office.wait_for(paths.HOLD_MUSIC, 2)
        assert (music.method, query_of(music)["a"], music.is_signed()) == ("GET", "1", True)
        assert held.call_sid == caller.sid

    async def test_a_new_room_may_be_found_later_only(self) -> None:
        async with on_sockets({}) as bench, telephony_on(bench) as telephony:
            open_office(bench)
            bench.fault("conference_lags", seconds=60)
            caller = bench.call_in()
            await bench.until("joined", caller)
            room = room_name(caller.sid)
            assert await telephony.room(room) is None
            assert not await telephony.hold(room, CALLER_LABEL, on=True, music_path="/m")
            assert await telephony.open_rooms() == []
            bench.lab.advance(60)
            assert await telephony.room(room) is not None

    async def test_a_message_is_left_and_fetched(self) -> None:
        voicemail = Voicemail(live_call_id=CALL_ID, prompts=[], nothing_recorded=[], length_max_s=60)
        async with on_sockets({}) as bench, telephony_on(bench) as telephony:
            open_office(bench)
            file_documents(bench, {paths.VOICEMAIL: voicemail, paths.VOICEMAIL_DONE: SpokenEnd()})
            steps = [Step(at="record", say="Que me llamen", say_s=0.3), Step(press="#")]
            bench.fault("recording_not_ready", seconds=60)
            caller = bench.call_in(steps=steps)
            await bench.until("joined", caller)
            path = paths.of_call(paths.VOICEMAIL, CALL_ID)
            assert await telephony.redirect(caller.sid, path) is RedirectOutcome.DONE
            (request,) = await bench.office.wait_for(paths.VOICEMAIL_RECORDING)
            report = read_recording_report(request.params, query_of(request))
            early = await telephony.recording(report.recording_sid, max_bytes=1_000_000)
            bench.lab.advance(60)
            recording = await telephony.recording(report.recording_sid, max_bytes=1_000_000)
        assert early is NoRecording.NOT_THERE
        assert isinstance(recording, Recording)
        assert (recording.content_type, bool(recording.audio)) == ("audio/mpeg", True)
        assert (report.call_sid, report.live_call_id) == (caller.sid, CALL_ID)
