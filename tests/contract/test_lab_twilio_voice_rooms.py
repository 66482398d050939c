"""Conferences of the simulated Twilio in virtual time: who waits, talks, is held, leaves; what is told and heard."""

import pytest
import trio
from trio.testing import MockClock

from daemon.lab.twilio.errors import RestError
from daemon.lab.twilio.voice.audible import Heard
from daemon.lab.twilio.voice.calls import CallStatus
from daemon.lab.twilio.voice.legs import Fetch, Leg
from daemon.lab.twilio.voice.room import RoomStatus
from daemon.lab.twilio.voice.script import Answers, Script, Step
from tests.contract.lab_twilio_talk import AGENT, MUSIC, paper_with, sleep, talking
from tests.contract.lab_twilio_voice import ADVISOR, APP, CALLER, PAPER, Paper, on_paper, order


def since(paper: Paper, leg: Leg, start_s: float) -> list[Heard]:
    return paper.lab.voice.audible.heard(leg.sid, start_s, paper.now_s)


async def test_a_caller_alone_hears_the_music_over_and_over(autojump_clock: MockClock) -> None:
    async with on_paper(paper_with()) as paper:
        caller = paper.call_in()
        await paper.until("waiting", caller)
        await sleep(paper, 30.0)
        audible = paper.lab.voice.audible

        assert paper.heard(caller) == [MUSIC]
        assert audible.longest_silence_s(caller.sid, 0.0, paper.now_s) == 0.0
        assert audible.alone(caller.sid, 0.0, paper.now_s) != []

    form = paper.engine.asked["/wait"][0]
    assert (form["CallSid"], form["FriendlyName"]) == (caller.sid, "sala")


async def test_music_stops_when_the_agent_comes_and_does_not_return_when_it_goes(
    autojump_clock: MockClock,
) -> None:
    async with on_paper(paper_with()) as paper:
        caller, agent = await talking(paper)
        await sleep(paper, 5.0)
        paper.lab.voice.exchange.hang_up(agent)
        gone_s = paper.now_s
        await sleep(paper, 7.0)

        assert paper.heard(caller) == [MUSIC, AGENT]
        assert paper.lab.voice.audible.longest_silence_s(caller.sid, gone_s, paper.now_s) == pytest.approx(7)
        assert paper.lab.voice.audible.alone(caller.sid, gone_s, paper.now_s) == [(gone_s, paper.now_s)]


async def test_events_are_numbered_and_only_the_first_participants_callback_counts(
    autojump_clock: MockClock,
) -> None:
    async with on_paper(paper_with()) as paper:
        caller = paper.call_in()
        await paper.until("joined", caller)
        paper.add(
            ADVISOR,
            Label="advisor",
            ConferenceStatusCallback=f"{PAPER}/other",
            ConferenceStatusCallbackEvent="join",
        )
        await paper.until("started", caller)
        paper.lab.voice.exchange.hang_up(caller)
        await sleep(paper, 1.0)

    assert paper.engine.events("/events") == [
        "participant-join",
        "participant-join",
        "conference-start",
        "participant-leave",
        "participant-leave",
        "conference-end",
    ]
    assert paper.engine.events("/events", "SequenceNumber") == ["1", "2", "3", "4", "5", "6"]
    assert "/other" not in paper.engine.asked


async def test_who_hangs_up_and_ends_the_room_puts_the_others_out(autojump_clock: MockClock) -> None:
    async with on_paper(paper_with()) as paper:
        caller, agent = await talking(paper)
        inner = agent.far
        paper.lab.voice.hang_up(caller.sid)
        await agent.ended.wait()
        assert inner is not None
        await inner.ended.wait()
        [room] = paper.lab.voice.rooms.rooms.values()

    assert room.status is RoomStatus.COMPLETED
    assert paper.details(caller, "left") == ["participant_hung_up"]
    assert paper.details(agent, "left") == ["moderator_ended_conference"]


async def test_who_is_kicked_goes_on_with_his_document(autojump_clock: MockClock) -> None:
    async with on_paper(paper_with(after="<Say>Adiós</Say>")) as paper:
        caller, agent = await talking(paper)
        paper.post(paper.conferences.kick, "sala", "caller")
        await caller.ended.wait()
        await agent.ended.wait()

    form = paper.engine.asked["/after"][0]
    assert (form["DialCallStatus"], form["DialBridged"]) == ("answered", "true")
    assert "DialCallSid" not in form
    end = paper.engine.asked["/events"][-1]
    assert end["ReasonConferenceEnded"] == "participant-with-end-conference-on-exit-kicked"
    assert paper.heard(caller)[-1] == "say Adiós"


async def test_a_redirect_leaves_the_room_and_ends_it(autojump_clock: MockClock) -> None:
    async with on_paper(paper_with(voicemail="<Say>Deje su mensaje</Say>")) as paper:
        caller, agent = await talking(paper)
        paper.lab.voice.exchange.redirect(caller, Fetch(url=f"{PAPER}/voicemail"))
        await caller.ended.wait()

    assert agent.call.status is CallStatus.COMPLETED
    assert paper.details(caller, "left") == ["participant_updated_via_api"]
    assert "/after" not in paper.engine.asked


async def test_on_hold_one_hears_only_the_hold_music_and_is_not_heard(autojump_clock: MockClock) -> None:
    async with on_paper(paper_with()) as paper:
        caller, agent = await talking(paper)
        paper.change("caller", Hold="true", HoldUrl=f"{PAPER}/wait")
        held_s = paper.now_s
        paper.lab.voice.say(caller.sid, "¿Hay alguien?")
        await sleep(paper, 5.0)
        assert {one.label for one in since(paper, caller, held_s)} == {f"{PAPER}/music.wav"}
        assert since(paper, agent, held_s) == []

        paper.change("caller", Hold="false")
        back_s = paper.now_s
        paper.lab.voice.say(caller.sid, "¡Por fin!")
        await sleep(paper, 5.0)
        assert [one.label for one in since(paper, agent, back_s)] == ["¡Por fin!"]
        assert [one.label for one in since(paper, caller, back_s)] == ["Soy el agente"]

    assert paper.names(caller).count("held") == paper.names(caller).count("unheld") == 1


async def test_hold_without_a_url_is_twilios_music(autojump_clock: MockClock) -> None:
    async with on_paper(paper_with()) as paper:
        caller, _ = await talking(paper)
        paper.change("caller", Hold="true")
        held_s = paper.now_s
        await sleep(paper, 3.0)

        assert [one.label for one in since(paper, caller, held_s)] == ["twilio:music"]


async def test_the_flag_cannot_be_changed_on_hold(autojump_clock: MockClock) -> None:
    async with on_paper(paper_with()) as paper:
        caller, _ = await talking(paper)
        paper.change("caller", Hold="true")
        paper.change("caller", EndConferenceOnExit="false")
        member = caller.member
        assert member is not None
        assert member.end_on_exit

        paper.change("caller", Hold="false")
        paper.change("caller", EndConferenceOnExit="false")
        assert not member.end_on_exit


async def test_who_is_muted_hears_and_is_not_heard(autojump_clock: MockClock) -> None:
    async with on_paper(paper_with()) as paper:
        caller, agent = await talking(paper)
        paper.change("caller", Muted="true")
        muted_s = paper.now_s
        paper.lab.voice.say(caller.sid, "Hola")
        await sleep(paper, 3.0)

        assert since(paper, agent, muted_s) == []
        assert [one.label for one in since(paper, caller, muted_s)] == ["Soy el agente"]


async def test_an_announcement_is_heard_above_the_talk(autojump_clock: MockClock) -> None:
    async with on_paper(paper_with(announcement="<Say>Un momento</Say>")) as paper:
        caller, _ = await talking(paper)
        paper.change("caller", AnnounceUrl=f"{PAPER}/announcement")
        begun_s = paper.now_s
        await paper.until("announced", caller)

        assert {one.label for one in since(paper, caller, begun_s)} == {"Un momento", "Soy el agente"}
    assert "announcement-end" in paper.engine.events("/events")


async def test_an_announcement_that_cannot_be_had_is_told(autojump_clock: MockClock) -> None:
    async with on_paper(paper_with(announcement=500)) as paper:
        await talking(paper)
        paper.post(paper.conferences.update, "sala", AnnounceUrl=f"{PAPER}/announcement")
        await sleep(paper, 1.0)

    form = paper.engine.asked["/events"][-1]
    assert (form["StatusCallbackEvent"], form["AnnounceUrl"]) == (
        "announcement-fail",
        f"{PAPER}/announcement",
    )


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (Script(answers=Answers.SILENT), "no-answer"),
        (Script(answers=Answers.BUSY), "busy"),
        (Script(answers=Answers.UNREACHABLE), "failed"),
    ],
)
async def test_a_participant_who_does_not_answer_leaves(
    autojump_clock: MockClock, script: Script, status: str
) -> None:
    async with on_paper(paper_with()) as paper:
        paper.lab.voice.script(ADVISOR, script)
        await talking(paper)
        advisor = paper.add(ADVISOR, Label="advisor", Timeout="20")
        await advisor.ended.wait()
        form = paper.engine.asked["/events"][-1]

    assert (form["StatusCallbackEvent"], form["ParticipantLabel"]) == ("participant-leave", "advisor")
    assert (form["ParticipantCallStatus"], form["ReasonParticipantLeft"]) == (
        status,
        "participant_add_failed",
    )


@pytest.mark.parametrize(("early", "heard"), [("true", True), ("false", False)])
async def test_early_media_lets_the_room_hear_the_ringing(
    autojump_clock: MockClock, early: str, *, heard: bool
) -> None:
    async with on_paper(paper_with()) as paper:
        paper.lab.voice.script(ADVISOR, Script(answer_after_s=5.0))
        caller, _ = await talking(paper)
        advisor = paper.add(ADVISOR, EarlyMedia=early)
        await advisor.answered.wait()

        assert ("tone ringback" in paper.heard(caller)) is heard


async def test_an_advisor_whose_room_has_ended_is_let_go_when_he_answers(autojump_clock: MockClock) -> None:
    async with on_paper(paper_with()) as paper:
        paper.lab.voice.script(ADVISOR, Script(answer_after_s=9.0))
        caller, _ = await talking(paper)
        advisor = paper.add(ADVISOR)
        await paper.until("ringing", advisor)
        paper.lab.voice.hang_up(caller.sid)
        # Nobody cancelled it: it rings on.
        assert not advisor.call.over
        await advisor.ended.wait()

    assert advisor.call.answered_s is not None
    assert "joined" not in paper.names(advisor)


async def test_an_advisor_presses_one_and_comes_in(autojump_clock: MockClock) -> None:
    gate = "<Gather numDigits='1' action='/accepted'><Say>Marque uno para aceptar</Say></Gather><Hangup/>"
    accepted = "<Dial><Conference beep='false' participantLabel='advisor'>sala</Conference></Dial>"
    async with on_paper(paper_with(gate=gate, accepted=accepted)) as paper:
        steps = [Step(at="say:marque uno", wait_s=1.0, press="1"), Step(at="joined", say="Buenas tardes")]
        paper.lab.voice.script(ADVISOR, Script(steps=steps))
        caller, _ = await talking(paper)
        advisor = paper.lab.voice.exchange.dial(order(program=Fetch(url=f"{PAPER}/gate")))
        await paper.until("speech", advisor)
        await sleep(paper, 2.0)

        assert "speech Buenas tardes" in paper.heard(caller)
        assert len(paper.lab.voice.rooms.active("sala").members) == 3  # type: ignore[union-attr]


async def test_a_machine_never_presses_one(autojump_clock: MockClock) -> None:
    gate = "<Gather numDigits='1' action='/accepted'><Say>Marque uno para aceptar</Say></Gather><Hangup/>"
    async with on_paper(paper_with(gate=gate)) as paper:
        paper.lab.voice.script(ADVISOR, Script(answers=Answers.MACHINE))
        advisor = paper.lab.voice.exchange.dial(order(program=Fetch(url=f"{PAPER}/gate")))
        await advisor.ended.wait()

    assert "/accepted" not in paper.engine.asked
    assert paper.details(advisor, "speech")[0].startswith("No puedo atender")


async def test_a_label_in_use_is_refused_by_both_ways(autojump_clock: MockClock) -> None:
    async with on_paper(paper_with(after="<Say>No se pudo</Say>")) as paper:
        caller = paper.call_in()
        await paper.until("joined", caller)
        with pytest.raises(RestError) as caught:
            paper.add(ADVISOR, Label="caller")
        second = paper.call_in()
        await second.ended.wait()

    assert caught.value.code == 16025
    assert "/after" not in paper.engine.asked
    assert 16025 in [entry.code for entry in paper.lab.books.debugger]


async def test_waiting_music_that_cannot_be_had_puts_the_caller_out(autojump_clock: MockClock) -> None:
    async with on_paper(paper_with(wait=500, after="<Say>Adiós</Say>")) as paper:
        caller = paper.call_in()
        await caller.ended.wait()

    assert paper.heard(caller) == ["say Adiós"]


async def test_an_empty_wait_url_is_silence(autojump_clock: MockClock) -> None:
    room = "<Dial><Conference waitUrl=''>sala</Conference></Dial>"
    async with on_paper(paper_with(incoming=room)) as paper:
        caller = paper.call_in()
        await paper.until("joined", caller)
        await sleep(paper, 4.0)

        assert paper.heard(caller) == []


async def test_a_room_is_ended_over_rest(autojump_clock: MockClock) -> None:
    async with on_paper(paper_with()) as paper:
        caller, agent = await talking(paper)
        paper.post(paper.conferences.update, "sala", Status="completed")
        await caller.ended.wait()
        await agent.ended.wait()

    assert paper.engine.asked["/events"][-1]["ReasonConferenceEnded"] == "conference-ended-via-api"
    assert paper.engine.asked["/after"][0]["DialCallStatus"] == "answered"


async def test_an_agent_whose_document_fails_speaks_with_an_operators_voice_into_the_room(
    autojump_clock: MockClock,
) -> None:
    async with on_paper(paper_with(agent=500)) as paper:
        caller = paper.call_in()
        await paper.until("joined", caller)
        agent = paper.add(f"app:{APP.sid}")
        await agent.ended.wait()

        assert any(heard.startswith("operator") for heard in paper.heard(caller))


async def test_a_hundred_calls_go_on_side_by_side(autojump_clock: MockClock) -> None:
    room = (
        "<Dial><Conference endConferenceOnExit='true' waitUrl='/wait' waitMethod='GET'>{}</Conference></Dial>"
    )
    documents = paper_with(incoming=lambda form: room.format(form["CallSid"]))
    async with on_paper(documents) as paper:
        callers = [paper.call_in(hang_up_after_s=60.0) for _ in range(100)]
        await paper.until("joined", count=100)
        for caller in callers:
            paper.add(f"app:{APP.sid}", room=caller.sid, EndConferenceOnExit="false")
        async with trio.open_nursery() as nursery:
            for caller in callers:
                nursery.start_soon(caller.ended.wait)

        assert all(not room.active for room in paper.lab.voice.rooms.rooms.values())
        assert all(AGENT in paper.heard(caller) for caller in callers)
        assert callers[0].number == CALLER
