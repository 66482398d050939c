"""What goes wrong with the sound of the simulated telephone, and with calls that are under way."""

import pytest
import trio
from trio.testing import MockClock

from daemon.lab.twilio.form import Form
from daemon.lab.twilio.rest import Asked
from daemon.lab.twilio.voice.calls import CallStatus
from daemon.lab.twilio.voice.mulaw import tone
from daemon.lab.twilio.voice.rest_calls import CallRoutes
from tests.contract.lab_twilio_talk import paper_with, sleep, talking
from tests.contract.lab_twilio_voice import ADVISOR, CALLER, VoiceBench, on_paper, on_sockets, order

STREAM = "<Connect><Stream url='{url}'>{parameter}</Stream></Connect><Say>Se cortó</Say>"


def streaming(bench: VoiceBench, parameter: str = "") -> None:
    document = STREAM.format(url=bench.office.stream_url, parameter=parameter)
    bench.office.documents["/incoming"] = document


async def test_frames_get_lost_and_leave_a_gap_in_the_count() -> None:
    async with on_sockets() as bench:
        streaming(bench)
        bench.fault("media_lost", times=3)
        bench.call_in()
        talk = await bench.office.talk()
        first = (await talk.until("media", 2))[0]

    assert (first["media"]["chunk"], first["media"]["timestamp"]) == ("4", "60")


async def test_frames_get_held_up_and_come_at_once() -> None:
    async with on_sockets() as bench:
        streaming(bench)
        bench.call_in()
        talk = await bench.office.talk()
        before = len(talk.all("media"))
        bench.fault("media_jitter", seconds=0.4)
        began_s = trio.current_time()
        await talk.until("media", before + 2)
        waited_s = trio.current_time() - began_s
        await talk.until("media", before + 20)
        took_s = trio.current_time() - began_s
        frames = talk.all("media")

    assert waited_s > 0.3
    # Twenty frames would take as long as they sound, if those that waited had not come together.
    assert took_s < waited_s + 15 * 0.02
    assert [frame["media"]["chunk"] for frame in frames] == [str(n + 1) for n in range(len(frames))]


async def test_marks_get_lost() -> None:
    async with on_sockets() as bench:
        streaming(bench)
        bench.fault("mark_lost")
        leg = bench.call_in()
        talk = await bench.office.talk()
        await talk.send("mark", {"name": "lost"})
        await talk.send("mark", {"name": "told"})
        await talk.until("mark")

    assert [frame["mark"]["name"] for frame in talk.all("mark")] == ["told"]
    assert bench.details(leg, "mark") == ["lost", "told"]


async def test_marks_come_late() -> None:
    async with on_sockets() as bench:
        streaming(bench)
        bench.fault("mark_late", seconds=0.3)
        bench.call_in()
        talk = await bench.office.talk()
        began_s = trio.current_time()
        await talk.say(tone(400, 0.1))
        await talk.send("mark", {"name": "said"})
        await talk.until("mark")

        assert trio.current_time() - began_s >= 0.39


async def test_a_stream_can_open_and_not_start_for_long() -> None:
    async with on_sockets() as bench:
        streaming(bench)
        bench.fault("stream_start_late", seconds=0.3)
        bench.call_in()
        began_s = trio.current_time()
        talk = await bench.office.talk()
        took_s = trio.current_time() - began_s
        await talk.until("media")

    assert took_s >= 0.3
    assert [frame["event"] for frame in talk.frames[:3]] == ["connected", "start", "media"]


@pytest.mark.parametrize(("length", "refused"), [(493, False), (494, True)])
async def test_a_parameter_that_is_too_long_is_refused(length: int, *, refused: bool) -> None:
    async with on_sockets() as bench:
        streaming(bench, f"<Parameter name='testig' value='{'x' * length}'/>")
        leg = bench.call_in()
        if refused:
            await leg.ended.wait()
        else:
            await bench.office.talk()

    assert bool(bench.details(leg, "stream_refused")) is refused


async def test_a_call_can_break_off_by_itself(autojump_clock: MockClock) -> None:
    async with on_paper({"/advisor": "<Pause length='99'/>"}) as paper:
        paper.fault("call_drops", seconds=3, on=ADVISOR)
        leg = paper.lab.voice.exchange.dial(order())
        await leg.answered.wait()
        answered_s = paper.now_s
        await leg.ended.wait()

        assert paper.now_s - answered_s == pytest.approx(3.0)
    assert leg.call.status is CallStatus.COMPLETED


async def test_new_orders_can_be_followed_late(autojump_clock: MockClock) -> None:
    async with on_paper(paper_with()) as paper:
        caller, _ = await talking(paper)
        routes = CallRoutes(paper.lab.voice.ground, paper.lab.voice.exchange)
        asked = Asked(path="/", form=Form([("Twiml", "<Response><Hangup/></Response>")]), query=Form([]))
        paper.fault("redirect_late", seconds=2, on=CALLER)
        routes.update(asked, caller.sid)
        await sleep(paper, 1.9)
        assert caller.live
        await sleep(paper, 0.2)

    assert caller.call.over
