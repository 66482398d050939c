"""Media streams of the simulated Twilio on real sockets: frames in real time, marks, clear, keys, and every way to end."""

import pytest
import trio
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from daemon.lab.twilio.voice.legs import Leg
from daemon.lab.twilio.voice.mulaw import is_loud, tone
from daemon.lab.twilio.voice.script import Step
from tests.contract.lab_twilio import AUTH_TOKEN
from tests.contract.lab_twilio_voice import APP, Told, VoiceBench, on_sockets

STREAM = (
    "<Connect><Stream url='{url}' statusCallback='/stream-status' name='charla'>"
    "<Parameter name='token' value='abc'/></Stream></Connect><Say>Se cortó</Say>"
)
ROOM = "<Dial><Conference endConferenceOnExit='true' waitUrl=''>sala</Conference></Dial>"


def streaming(bench: VoiceBench, path: str = "/incoming", document: str = STREAM) -> None:
    bench.office.documents[path] = document.format(url=bench.office.stream_url)


def call_in(bench: VoiceBench, *steps: Step) -> Leg:
    return bench.call_in(steps=steps)


async def test_a_stream_begins_as_twilios_do() -> None:
    async with on_sockets() as bench:
        streaming(bench)
        leg = call_in(bench)
        talk = await bench.office.talk()
        await talk.until("media", 3)
        [started] = await bench.office.wait_for("/stream-status")

    assert [frame["event"] for frame in talk.frames[:3]] == ["connected", "start", "media"]
    start = talk.start
    assert (start["callSid"], start["customParameters"], start["tracks"]) == (
        leg.sid,
        {"token": "abc"},
        ["inbound"],
    )
    assert started.params["StreamEvent"] == "stream-started"
    assert RequestValidator(AUTH_TOKEN).validate(
        bench.office.stream_url, {}, talk.headers["x-twilio-signature"]
    )


async def test_the_callers_voice_comes_in_frames_of_twenty_milliseconds() -> None:
    async with on_sockets() as bench:
        streaming(bench)
        call_in(bench, Step(at="stream", say="Hola", say_s=0.2))
        talk = await bench.office.talk()
        frames = await talk.until("media", 20)

    assert [frame["media"]["chunk"] for frame in frames] == [str(n + 1) for n in range(len(frames))]
    assert [frame["media"]["timestamp"] for frame in frames[:3]] == ["0", "20", "40"]
    audio = talk.audio()
    assert len(audio) == 160 * len(frames)
    assert sum(is_loud(audio[place : place + 160]) for place in range(0, len(audio), 160)) == pytest.approx(
        10, abs=1
    )


async def test_a_mark_comes_back_when_it_was_heard_and_not_before() -> None:
    async with on_sockets() as bench:
        streaming(bench)
        leg = call_in(bench)
        talk = await bench.office.talk()
        began_s = trio.current_time()
        await talk.send("mark", {"name": "empty"})
        await talk.say(tone(400, 0.3))
        await talk.send("mark", {"name": "said"})
        await talk.until("mark", 2)
        took_s = trio.current_time() - began_s
        heard = bench.lab.voice.audible.heard(leg.sid, 0.0, bench.now_s)

    assert [frame["mark"]["name"] for frame in talk.all("mark")] == ["empty", "said"]
    assert took_s >= 0.29
    assert [entry.kind.value for entry in heard] == ["stream"]
    assert heard[0].end_s - heard[0].start_s == pytest.approx(0.3, abs=0.02)


async def test_clear_empties_the_buffer_and_returns_the_marks() -> None:
    async with on_sockets() as bench:
        streaming(bench)
        leg = call_in(bench)
        talk = await bench.office.talk()
        await talk.say(tone(400, 60.0))
        await talk.send("mark", {"name": "never heard"})
        await talk.send("clear")
        await talk.until("mark")
        await bench.until("cleared", leg)
        await talk.say(tone(600, 0.1))
        await talk.send("mark", {"name": "after"})
        await talk.until("mark", 2)
        heard = bench.lab.voice.audible.heard(leg.sid, 0.0, bench.now_s + 60)

    assert sum(entry.end_s - entry.start_s for entry in heard) < 2.0


async def test_keys_are_told_where_the_person_presses_them() -> None:
    async with on_sockets() as bench:
        streaming(bench)
        call_in(bench, Step(at="stream", press="10"))
        talk = await bench.office.talk()
        keys = await talk.until("dtmf", 2)

    assert [frame["dtmf"]["digit"] for frame in keys] == ["1", "0"]


async def test_a_call_that_ends_stops_its_stream() -> None:
    async with on_sockets() as bench:
        streaming(bench)
        leg = call_in(bench)
        talk = await bench.office.talk()
        bench.lab.voice.hang_up(leg.sid)
        await talk.ended()
        stopped = (await bench.office.wait_for("/stream-status", 2))[1]

    assert talk.frames[-1]["event"] == "stop"
    assert stopped.params["StreamEvent"] == "stream-stopped"


async def test_a_server_that_closes_lets_the_call_go_on() -> None:
    async with on_sockets() as bench:
        streaming(bench)
        leg = call_in(bench)
        talk = await bench.office.talk()
        await talk.close(1008)
        await leg.ended.wait()

    assert bench.details(leg, "stream_closed") == ["1008"]
    assert bench.heard(leg) == ["say Se cortó"]


async def test_the_action_of_connect_comes_after_its_stream() -> None:
    async with on_sockets({"/after": "<Say>Adiós</Say>"}) as bench:
        streaming(bench, document=STREAM.replace("<Connect>", "<Connect action='/after'>"))
        leg = call_in(bench)
        talk = await bench.office.talk()
        await talk.close()
        await leg.ended.wait()

    assert bench.heard(leg) == ["say Adiós"]


async def test_a_refused_handshake_is_told_and_the_call_goes_on() -> None:
    async with on_sockets() as bench:
        bench.office.refuses_streams = True
        streaming(bench)
        leg = call_in(bench)
        await leg.ended.wait()
        [error] = await bench.office.wait_for("/stream-status")

    assert error.params["StreamEvent"] == "stream-error"
    assert "31920" in error.params["StreamError"]
    assert bench.heard(leg) == ["say Se cortó"]


async def test_a_query_in_the_streams_url_is_refused() -> None:
    async with on_sockets() as bench:
        bench.office.documents["/incoming"] = STREAM.format(url=f"{bench.office.stream_url}?token=x")
        leg = call_in(bench)
        await leg.ended.wait()

    assert len(bench.details(leg, "stream_refused")) == 1
    assert bench.office.talks == []


@pytest.mark.parametrize(
    ("fault", "talks"), [("stream_refused", 0), ("stream_drop", 1), ("stream_no_stop", 1)]
)
async def test_streams_break_by_fault(fault: str, talks: int) -> None:
    async with on_sockets() as bench:
        streaming(bench)
        # Long enough for the handshake of a slow machine.
        bench.fault(fault, seconds=1.0)
        leg = call_in(bench)
        if talks:
            talk = await bench.office.talk()
            if fault == "stream_no_stop":
                bench.lab.voice.hang_up(leg.sid)
            await talk.ended()
            assert talk.all("stop") == []
        await leg.ended.wait()

    assert len(bench.office.talks) == talks


@pytest.mark.parametrize(
    ("form", "good"), [("absent", None), ("forged", False), ("https", False), ("slash", False)]
)
async def test_the_handshakes_signature_can_differ(form: str, *, good: bool | None) -> None:
    async with on_sockets() as bench:
        streaming(bench)
        bench.fault("stream_signature", form=form)
        call_in(bench)
        talk = await bench.office.talk()

    given = talk.headers.get("x-twilio-signature")
    valid = (
        None if given is None else RequestValidator(AUTH_TOKEN).validate(bench.office.stream_url, {}, given)
    )
    assert valid is good


async def test_new_orders_for_the_leg_end_its_stream() -> None:
    async with on_sockets() as bench:
        streaming(bench)
        leg = call_in(bench)
        talk = await bench.office.talk()
        await bench.http.post(
            bench.path(f"Calls/{leg.sid}.json"), data={"Twiml": "<Response><Hangup/></Response>"}
        )
        await leg.ended.wait()
        await talk.ended()

    assert talk.frames[-1]["event"] == "stop"


async def test_a_stream_of_start_listens_to_both_sides_and_is_stopped() -> None:
    listening = "<Start><Stream name='oído' url='{url}' track='both_tracks'/></Start><Pause length='0.3'/>"
    documents: dict[str, Told] = {}
    async with on_sockets(documents) as bench:
        streaming(bench, document=listening + "<Stop><Stream name='oído'/></Stop><Pause length='0.5'/>")
        call_in(bench)
        talk = await bench.office.talk()
        await talk.ended()

    assert {frame["media"]["track"] for frame in talk.all("media")} == {"inbound", "outbound"}
    assert talk.frames[-1]["event"] == "stop"


async def test_a_stream_is_started_and_stopped_over_rest() -> None:
    async with on_sockets({"/incoming": "<Say loop='0'>Espere</Say>"}) as bench:
        leg = call_in(bench)
        await leg.answered.wait()
        created = await bench.sdk(
            lambda client: client.calls(leg.sid).streams.create(
                url=bench.office.stream_url, name="oído", parameter1_name="a", parameter1_value="b"
            )
        )
        talk = await bench.office.talk()
        stopped = await bench.sdk(lambda client: client.calls(leg.sid).streams("oído").update("stopped"))
        await talk.ended()

    assert talk.start["customParameters"] == {"a": "b"}
    assert (created.status, stopped.status) == ("in-progress", "stopped")


async def test_the_agent_in_a_conference_hears_the_caller_and_is_heard() -> None:
    async with on_sockets({"/incoming": ROOM}) as bench:
        streaming(bench, path="/agent")
        caller = call_in(bench, Step(at="started", say="¿Me oye?", say_s=0.2))
        await bench.until("joined", caller)
        await bench.http.post(
            bench.path("Conferences/sala/Participants.json"),
            data={"From": "+525500000000", "To": f"app:{APP.sid}?call_token=xyz", "Label": "agent"},
        )
        talk = await bench.office.talk()
        await bench.until("started", caller)
        sound = tone(700, 0.3)
        await talk.say(sound)
        await talk.send("mark", {"name": "said"})
        await talk.until("mark")
        while not is_loud(talk.audio()):
            await talk.news.park()
        [heard] = bench.lab.voice.audible.heard(caller.sid, 0.0, bench.now_s)
        samples = bench.lab.voice.audible.audio(caller.sid, heard.start_s, heard.start_s + 0.3)
        agent_leg = bench.lab.voice.leg(talk.start["callSid"])
        bench.lab.voice.hang_up(caller.sid)
        await talk.ended()

    [form] = [request.params for request in bench.office.received if request.path == "/agent"]
    assert form["call_token"] == "xyz"
    assert agent_leg.far is not None
    assert agent_leg.far.sid != agent_leg.sid == form["CallSid"]
    assert samples == sound
    assert talk.frames[-1]["event"] == "stop"
