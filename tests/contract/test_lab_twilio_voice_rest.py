"""The voice half of the simulated Twilio over REST: Twilio's own SDK, the vendor's schemas, faults, control routes."""

import io
import wave
from datetime import timedelta
from typing import Any

import pytest
from twilio.base.exceptions import TwilioRestException  # type: ignore[import-untyped]

from daemon.lab.twilio.known_faults import CALLBACK_FAULTS, VOICE_FAULTS
from daemon.lab.twilio.voice.mulaw import is_loud, read_wav
from daemon.lab.twilio.voice.script import Answers, Script, Step
from tests.contract.lab_twilio_voice import ADVISOR, APP, CALLER, OURS, VoiceBench, on_sockets

FOREVER = "<Say loop='0'>Espere</Say>"
ROOM = (
    "<Dial><Conference endConferenceOnExit='true' participantLabel='caller' waitUrl='' "
    "statusCallback='/events' statusCallbackEvent='start end join leave hold'>sala</Conference></Dial>"
)
EVERYTHING = ["initiated", "ringing", "answered", "completed"]


async def refused(bench: VoiceBench, call: Any) -> tuple[int, int]:
    with pytest.raises(TwilioRestException) as caught:
        await bench.sdk(call)
    return caught.value.status, caught.value.code


def creation(bench: VoiceBench, **options: Any) -> dict[str, Any]:
    return {"to": ADVISOR, "from_": OURS, "url": f"{bench.office.url}/advisor", **options}


async def test_a_call_is_made_watched_and_ended_by_the_sdk() -> None:
    async with on_sockets({"/advisor": FOREVER}) as bench:
        bench.lab.voice.script(ADVISOR, Script(answer_after_s=0.05))
        options = creation(
            bench, status_callback=f"{bench.office.url}/status", status_callback_event=EVERYTHING
        )
        created = await bench.sdk(lambda client: client.calls.create(**options))
        leg = bench.lab.voice.leg(created.sid)
        await leg.answered.wait()
        fetched = await bench.sdk(lambda client: client.calls(created.sid).fetch())
        ended = await bench.sdk(lambda client: client.calls(created.sid).update(status="completed"))
        requests = await bench.office.wait_for("/status", 4)
        again = await refused(bench, lambda client: client.calls(created.sid).update(status="completed"))
        gone = await refused(bench, lambda client: client.calls("CA" + "0" * 32).fetch())

    assert (created.status, created.direction, created.to) == ("queued", "outbound-api", ADVISOR)
    assert (fetched.status, ended.status, ended.duration is not None) == ("in-progress", "completed", True)
    assert all(request.is_signed() for request in requests)
    assert (again, gone) == ((400, 21220), (404, 20404))


async def test_a_ringing_call_is_cancelled_and_a_talking_one_is_not() -> None:
    async with on_sockets({"/advisor": FOREVER}) as bench:
        bench.lab.voice.script(ADVISOR, Script(answers=Answers.SILENT), Script(answer_after_s=0.0))
        created = await bench.sdk(lambda client: client.calls.create(**creation(bench)))
        await bench.until("ringing")
        not_yet = await refused(bench, lambda client: client.calls(created.sid).update(twiml="<Response/>"))
        cancelled = await bench.sdk(lambda client: client.calls(created.sid).update(status="canceled"))
        other = await bench.sdk(lambda client: client.calls.create(**creation(bench)))
        await bench.lab.voice.leg(other.sid).answered.wait()
        late = await refused(bench, lambda client: client.calls(other.sid).update(status="canceled"))

    assert cancelled.status == "canceled"
    assert not_yet == late == (400, 21220)


async def test_an_advisor_may_pick_up_an_instant_before_he_is_cancelled() -> None:
    async with on_sockets({"/advisor": FOREVER}) as bench:
        bench.lab.voice.script(ADVISOR, Script(answers=Answers.SILENT))
        created = await bench.sdk(lambda client: client.calls.create(**creation(bench)))
        await bench.until("ringing")
        bench.fault("picks_up_first")
        late = await refused(bench, lambda client: client.calls(created.sid).update(status="canceled"))
        ended = await bench.sdk(lambda client: client.calls(created.sid).update(status="completed"))

    assert late == (400, 21220)
    assert ended.status == "completed"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"to": "52"}, 21211),
        ({"to": "app:AP" + "0" * 32}, 21218),
        ({"from_": "+15550000000"}, 21210),
        ({"url": "ftp://x"}, 21205),
        ({"timeout": 9999}, 20001),
    ],
)
async def test_a_call_that_cannot_be_is_refused(options: dict[str, Any], code: int) -> None:
    async with on_sockets() as bench:
        wrong = creation(bench, **options)
        assert await refused(bench, lambda client: client.calls.create(**wrong)) == (400, code)


async def test_calls_are_listed_by_number_status_and_time() -> None:
    async with on_sockets({"/advisor": "", "/incoming": FOREVER}) as bench:
        caller = bench.call_in()
        await caller.answered.wait()
        bench.lab.voice.script(ADVISOR, Script(answers=Answers.BUSY, answer_after_s=0.0))
        created = await bench.sdk(lambda client: client.calls.create(**creation(bench)))
        await bench.lab.voice.leg(created.sid).ended.wait()
        to_advisor = await bench.sdk(lambda client: client.calls.list(to=ADVISOR))
        open_now = await bench.sdk(lambda client: client.calls.list(status="in-progress"))
        recent = bench.lab.clock.now() - timedelta(minutes=1)
        after = await bench.sdk(lambda client: client.calls.list(start_time_after=recent))
        before = await bench.sdk(lambda client: client.calls.list(start_time_before=recent))

    assert [call.status for call in to_advisor] == ["busy"]
    assert [call.sid for call in open_now] == [call.sid for call in after] == [caller.sid]
    assert before == []


async def test_a_conference_is_driven_by_the_sdk() -> None:
    async with on_sockets(
        {"/incoming": ROOM, "/agent": FOREVER, "/hold": "<Play loop='0'>/x</Play>"}
    ) as bench:
        caller = bench.call_in()
        await bench.until("joined", caller)
        waiting = await bench.sdk(lambda client: client.conferences.list(friendly_name="sala", status="init"))
        room = bench.client.conferences(waiting[0].sid)
        agent = await bench.sdk(
            lambda client: room.participants.create(
                from_=OURS, to=f"app:{APP.sid}", label="agent", early_media=False
            )
        )
        await bench.until("started", caller)
        held = await bench.sdk(
            lambda client: room.participants("caller").update(hold=True, hold_url=f"{bench.office.url}/hold")
        )
        present = await bench.sdk(lambda client: room.participants.list())
        back = await bench.sdk(lambda client: room.participants(caller.sid).update(hold=False, muted=True))
        await bench.sdk(lambda client: room.participants("agent").delete())
        gone = await refused(bench, lambda client: room.participants("agent").fetch())
        closed = await bench.sdk(lambda client: room.update(status="completed"))
        await caller.ended.wait()
        [music] = await bench.office.wait_for("/hold")
        over = await refused(bench, lambda client: room.participants.create(from_=OURS, to=ADVISOR))

    assert (agent.status, agent.label, agent.call_sid[:2]) == ("queued", "agent", "CA")
    assert (held.hold, back.hold, back.muted) == (True, False, True)
    assert {participant.label for participant in present} == {"caller", "agent"}
    assert closed.status == "completed"
    assert gone == over == (404, 20404)
    assert (music.method, music.is_signed()) == ("GET", True)


async def test_a_recording_is_fetched_and_deleted() -> None:
    record = "<Record timeout='1' recordingStatusCallback='/recording'/>"
    async with on_sockets({"/incoming": record}) as bench:
        bench.call_in(steps=[Step(at="record", say="Llámeme", say_s=0.5), Step(press="#", wait_s=0.2)])
        [request] = await bench.office.wait_for("/recording")
        url, sid = request.params["RecordingUrl"], request.params["RecordingSid"]
        fetched = await bench.sdk(lambda client: client.recordings(sid).fetch())
        sound = await bench.http.get(f"{url}.wav")
        mp3 = await bench.http.get(f"{url}.mp3")
        nobody = await bench.http.get(f"{url}.wav", auth=("x", "y"))
        await bench.sdk(lambda client: client.recordings(sid).delete())
        gone = await refused(bench, lambda client: client.recordings(sid).fetch())

    assert (fetched.source, fetched.status, fetched.duration) == ("RecordVerb", "completed", "1")
    with wave.open(io.BytesIO(sound.content)) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(0.5, abs=0.05)
    assert is_loud(read_wav(sound.content))
    assert (mp3.headers["content-type"], mp3.content[:2]) == ("audio/mpeg", b"\xff\xfb")
    assert (nobody.status_code, gone) == (401, (404, 20404))


async def test_a_number_is_pointed_elsewhere() -> None:
    async with on_sockets({"/elsewhere": "<Hangup/>"}) as bench:
        [number] = await bench.sdk(lambda client: client.incoming_phone_numbers.list())
        url = f"{bench.office.url}/elsewhere"
        updated = await bench.sdk(
            lambda client: client.incoming_phone_numbers(number.sid).update(voice_url=url)
        )
        bench.call_in()
        await bench.office.wait_for("/elsewhere")

    assert updated.voice_url == url


async def test_a_participant_is_added_though_rest_says_500() -> None:
    async with on_sockets({"/incoming": ROOM, "/agent": FOREVER}) as bench:
        caller = bench.call_in()
        await bench.until("joined", caller)
        bench.fault("rest_500_after", on="participant.create")
        answer = await bench.http.post(
            bench.path("Conferences/sala/Participants.json"), data={"From": OURS, "To": f"app:{APP.sid}"}
        )
        await bench.until("started", caller)

    assert answer.status_code == 500


async def test_a_new_room_is_not_found_at_first() -> None:
    async with on_sockets({"/incoming": ROOM}) as bench:
        bench.fault("conference_lags", seconds=60)
        caller = bench.call_in()
        await bench.until("joined", caller)
        early = await bench.http.get(bench.path("Conferences/sala.json"))
        bench.lab.advance(60)
        later = await bench.http.get(bench.path("Conferences/sala.json"))

    assert (early.status_code, later.status_code) == (404, 200)


async def test_a_document_that_nobody_delivers_falls_back() -> None:
    async with on_sockets({"/fallback": "<Hangup/>"}) as bench:
        bench.lab.account.numbers[0].voice_fallback_url = f"{bench.office.url}/fallback"
        bench.fault("document_lost", on="/incoming")
        leg = bench.call_in()
        await leg.ended.wait()

    assert [request.path for request in bench.office.received if request.path != "/number-status"] == [
        "/fallback"
    ]


def test_every_fault_of_the_telephone_explains_itself() -> None:
    assert len(CALLBACK_FAULTS) == 12
    assert all(len(sentence) > 30 for sentence in {**CALLBACK_FAULTS, **VOICE_FAULTS}.values())


async def test_calls_are_played_over_the_control_routes() -> None:
    async with on_sockets({"/incoming": ROOM, "/gate": "<Gather numDigits='1' action='/menu'/>"}) as bench:
        put = await bench.http.put(
            f"/lab/lines/{ADVISOR}", json={"calls": [{"answers": "busy"}, {"answer_after_s": 0}]}
        )
        created = await bench.http.post(
            "/lab/calls", json={"sender": CALLER, "script": {"steps": [{"wait_s": 0.01}]}}
        )
        sid = created.json()["sid"]
        await bench.until("joined")
        spoken = await bench.http.post(f"/lab/calls/{sid}/speech", json={"words": "Hola", "seconds": 0.1})
        pressed = await bench.http.post(f"/lab/calls/{sid}/digits", json={"keys": "1"})
        await bench.until("key")
        bench.lab.advance(5.0)
        rooms = await bench.http.get("/lab/conferences")
        hung_up = await bench.http.post(f"/lab/calls/{sid}/hangup")
        call = await bench.http.get(f"/lab/calls/{sid}")
        heard = await bench.http.get(f"/lab/calls/{sid}/heard")
        sound = await bench.http.get(f"/lab/calls/{sid}/heard.wav")
        listed = await bench.http.get("/lab/calls")
        book = await bench.http.get("/lab/books/voice")

    assert (put.json()["calls"], created.status_code) == (2, 201)
    assert {spoken.status_code, pressed.status_code, hung_up.status_code} == {204}
    assert rooms.json()["conferences"][0]["members"][0]["label"] == "caller"
    assert {"answered", "joined", "speech", "key", "ended"} <= {e["name"] for e in call.json()["events"]}
    assert (heard.json()["heard"], heard.json()["longest_silence_s"] > 5) == ([], True)
    assert sound.headers["content-type"] == "audio/x-wav"
    assert [one["sid"] for one in listed.json()["calls"]] == [sid]
    assert book.json()["total"] >= 5


async def test_numbers_and_applications_are_had_over_the_control_routes() -> None:
    async with on_sockets({"/other": f"<Dial><Application>{'AP' + 'b' * 32}</Application></Dial>"}) as bench:
        url = bench.office.url
        number = await bench.http.put("/lab/numbers/+525511111111", json={"voice_url": f"{url}/other"})
        await bench.http.put(f"/lab/applications/{'AP' + 'b' * 32}", json={"voice_url": f"{url}/app"})
        called = await bench.http.post("/lab/calls", json={"sender": CALLER, "to": "+525511111111"})
        await bench.office.wait_for("/app")

    assert number.json()["sid"].startswith("PN")
    assert called.status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "sentence"),
    [
        ("POST", "/lab/calls/CA0/hangup", None, 404, "no call CA0"),
        (
            "POST",
            "/lab/calls",
            {"sender": CALLER, "script": {"steps": [{"at": "noon"}]}},
            400,
            "no moment 'noon'; there are: dialing, ",
        ),
        ("POST", "/lab/calls", {"sender": CALLER, "to": "+1"}, 400, "no number +1"),
        ("POST", "/lab/calls", {"sender": "abc"}, 400, "'abc' is no telephone"),
        ("POST", "/lab/calls", {"from": CALLER}, 400, "no such field: from; there are: sender, to, script"),
        ("PUT", "/lab/lines/banana", {"calls": [{}]}, 400, "'banana' is no telephone"),
        ("PUT", "/lab/numbers/banana", {"voice_url": "http://127.0.0.1:1"}, 400, "'banana' is no telephone"),
        (
            "PUT",
            f"/lab/lines/{ADVISOR}",
            {"calls": [{"answers": "ghost"}]},
            400,
            "'ghost' is not a valid Answers; there are: person, machine, ",
        ),
    ],
)
async def test_wrong_orders_are_refused(
    method: str, path: str, body: Any, status: int, sentence: str
) -> None:
    async with on_sockets() as bench:
        answer = await bench.http.request(method, path, json=body)

    assert answer.status_code == status
    assert sentence in answer.json()["error"]


async def test_the_lab_tells_how_many_calls_it_has_seen() -> None:
    async with on_sockets({"/incoming": ROOM}) as bench:
        caller = bench.call_in()
        await bench.until("joined", caller)
        seen = (await bench.http.get("/lab")).json()
        await bench.http.post(f"/lab/calls/{caller.sid}/hangup")
        await bench.until("ended", caller)
        later = (await bench.http.get("/lab")).json()

    assert [seen[name] for name in ("calls", "calls_now", "conferences", "conferences_now")] == [1, 1, 1, 1]
    assert [later[name] for name in ("calls", "calls_now", "conferences_now")] == [1, 0, 0]


async def test_a_reset_breaks_everything_off() -> None:
    async with on_sockets({"/incoming": ROOM}) as bench:
        caller = bench.call_in()
        await bench.until("joined", caller)
        await bench.http.post("/lab/reset")
        calls = await bench.http.get(bench.path("Calls.json"))
        again = bench.call_in()
        await bench.until("joined", again)

    assert calls.json()["calls"] == []
    assert caller.ended.is_set()
    assert [room.friendly_name for room in bench.lab.voice.rooms.rooms.values()] == ["sala"]
