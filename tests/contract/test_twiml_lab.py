"""Our documents, run by the simulated Twilio in virtual time; what it then tells is read as our webhooks read it."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from trio.testing import MockClock

from actors.live_call import paths
from actors.live_call.documents import (
    AdvisorGate,
    AdvisorRoom,
    AgentStream,
    CallerRoom,
    Document,
    HoldMusic,
    Menu,
    Nothing,
    Prompt,
    SpokenEnd,
    Voicemail,
)
from actors.live_call.reports import RecordingStatus, RoomEvent
from actors.live_call.telephony import LegStatus
from daemon.lab.twilio.voice.calls import CallStatus
from daemon.lab.twilio.voice.legs import Fetch, Leg
from daemon.lab.twilio.voice.mulaw import tone, wav
from daemon.lab.twilio.voice.script import Answers, Script, Step
from daemon.twilio.twiml import Twiml
from daemon.twilio.voice_inbound import (
    read_after,
    read_incoming_call,
    read_keys,
    read_leg_report,
    read_record_report,
    read_recording_report,
    read_room_report,
)
from tests.contract.lab_twilio_voice import ADVISOR, CALLER, OURS, PAPER, Paper, Told, on_paper, order
from tests.contract.telephony_benches import in_document

CALL_ID = 7
ROOM = "conf_CA1"
GATE = AdvisorGate(
    live_call_id=CALL_ID,
    leg=2,
    whisper=[Prompt("Le llama Ana."), Prompt("Marque uno.")],
    again=[Prompt("Marque uno.")],
)
CALLER_ROOM = CallerRoom(live_call_id=CALL_ID, room=ROOM, time_limit_s=3600)
ADVISOR_ROOM = AdvisorRoom(live_call_id=CALL_ID, room=ROOM, time_limit_s=600)
MUSIC = f"{PAPER}/music.wav"
GONE = f"{PAPER}/weg.mp3"
VOICEMAIL = Voicemail(
    live_call_id=CALL_ID,
    prompts=[Prompt("Deje su mensaje.")],
    nothing_recorded=[Prompt("No quedó ningún mensaje.")],
    length_max_s=120,
)


def answers(documents: Mapping[str, Document]) -> dict[str, Told]:
    """An office that answers with documents of ours, by path."""
    twiml = Twiml(public_url=PAPER)
    written: dict[str, Told] = {path: in_document(twiml.write(told)) for path, told in documents.items()}
    return {
        "/music.wav": wav(tone(440, 2.0)),
        paths.HOLD_MUSIC: in_document(twiml.write(HoldMusic(MUSIC))),
        "/end": "<Say>Adiós</Say>",
        **written,
    }


def queries(paper: Paper, path: str) -> list[dict[str, str]]:
    """Of every request to a path."""
    asked = [urlsplit(delivery.url) for delivery in paper.lab.books.webhooks]
    return [dict(parse_qsl(url.query)) for url in asked if url.path == path]


def read_last(paper: Paper, path: str, read: Any) -> Any:
    return read(paper.engine.asked[path][-1], queries(paper, path)[-1])


async def advisor_called(paper: Paper, *steps: Step, answers: Answers = Answers.PERSON) -> Leg:
    """An advisor who is rung and does something; the leg when it is over."""
    paper.lab.voice.script(ADVISOR, Script(answers=answers, steps=steps, hang_up_after_s=120.0))
    program = Fetch(url=f"{PAPER}{paths.of_leg(paths.TRANSFER_CONNECT, CALL_ID, 2)}")
    leg = paper.lab.voice.exchange.dial(order(program=program))
    await leg.ended.wait()
    return leg


GATED = answers(
    {
        paths.TRANSFER_CONNECT: GATE,
        paths.TRANSFER_ACCEPT: ADVISOR_ROOM,
        paths.TRANSFER_DECLINED: SpokenEnd(),
    }
)


class TestGate:
    @pytest.mark.parametrize("key", ["1", "2", "#", "*"])
    async def test_any_key_is_told_and_none_is_special(self, autojump_clock: MockClock, key: str) -> None:
        async with on_paper(dict(GATED)) as paper:
            await advisor_called(paper, Step(at="say:marque uno", wait_s=0.2, press=key))

            report = read_last(paper, paths.TRANSFER_ACCEPT, read_keys)
            assert (report.keys, report.live_call_id, report.leg) == (key, CALL_ID, 2)
            assert paths.TRANSFER_DECLINED not in paper.engine.asked

    async def test_a_key_before_the_end_of_the_sentence_counts(self, autojump_clock: MockClock) -> None:
        async with on_paper(dict(GATED)) as paper:
            leg = await advisor_called(paper, Step(at="say:le llama", wait_s=0.1, press="1"))

            assert paper.details(leg, "say") == ["Le llama Ana."]
            assert paths.TRANSFER_ACCEPT in paper.engine.asked

    @pytest.mark.parametrize("who", [Answers.PERSON, Answers.MACHINE])
    async def test_nobody_who_presses_nothing_gets_through(
        self, autojump_clock: MockClock, who: Answers
    ) -> None:
        async with on_paper(dict(GATED)) as paper:
            leg = await advisor_called(paper, answers=who)

            assert paper.details(leg, "say") == ["Le llama Ana.", "Marque uno.", "Marque uno."]
            assert paths.TRANSFER_ACCEPT not in paper.engine.asked
            assert queries(paper, paths.TRANSFER_DECLINED) == [{"c": "7", "l": "2"}]
            # Two prompts and six seconds after each, of which a machine's greeting is a part.
            assert 12.0 < paper.now_s < 25.0


class TestRooms:
    DOCUMENTS = answers(
        {"/incoming": CALLER_ROOM, paths.TRANSFER_CONNECT: ADVISOR_ROOM, paths.AFTER: SpokenEnd()}
    )

    async def test_a_caller_alone_has_music_and_an_advisor_ends_it(self, autojump_clock: MockClock) -> None:
        async with on_paper(dict(self.DOCUMENTS)) as paper:
            caller = paper.call_in()
            await paper.until("joined", caller)
            call = read_incoming_call(paper.engine.asked["/incoming"][0])
            await paper.lab.voice.ground.sleep(5.0)
            await advisor_called(paper, Step(at="joined", say="Buenas", say_s=3.0), Step(hang_up=True))
            left = read_last(paper, paths.CONFERENCE, read_room_report)
            paper.lab.voice.hang_up(caller.sid)
            await paper.lab.books.wait_until(
                lambda: "conference-end" in paper.engine.events(paths.CONFERENCE)
            )

            assert (call.call_sid, call.caller, call.dialled) == (caller.sid, "+525512345678", OURS)
            assert call.caller != CALLER
            assert paper.heard(caller) == [f"music {MUSIC}", "speech Buenas"]
            assert paper.details(caller, "operator_voice") == []
            assert (left.event, left.label, left.room, left.live_call_id) == (
                RoomEvent.LEAVE,
                "advisor",
                ROOM,
                CALL_ID,
            )
            ended = read_last(paper, paths.CONFERENCE, read_room_report)
            assert ended.event is RoomEvent.END

    async def test_the_caller_who_leaves_takes_the_advisor_along(self, autojump_clock: MockClock) -> None:
        async with on_paper(dict(self.DOCUMENTS)) as paper:
            caller = paper.call_in(hang_up_after_s=20.0)
            await paper.until("joined", caller)
            advisor = await advisor_called(paper)

            assert advisor.call.status is CallStatus.COMPLETED
            assert paper.now_s < 25.0

    async def test_after_the_room_the_callers_leg_asks_what_comes_next(
        self, autojump_clock: MockClock
    ) -> None:
        async with on_paper(dict(self.DOCUMENTS)) as paper:
            caller = paper.call_in()
            await paper.until("joined", caller)
            paper.lab.voice.rooms.end(next(iter(paper.lab.voice.rooms.rooms.values())))
            await caller.ended.wait()

            report = read_last(paper, paths.AFTER, read_after)
            assert (report.call_sid, report.live_call_id) == (caller.sid, CALL_ID)
            assert report.call_status is LegStatus.IN_PROGRESS

    async def test_no_talk_is_longer_than_its_limit(self, autojump_clock: MockClock) -> None:
        async with on_paper(dict(self.DOCUMENTS)) as paper:
            caller = paper.call_in(hang_up_after_s=10_000.0)
            await paper.until("joined", caller)
            await caller.ended.wait()

            assert paper.now_s == pytest.approx(3600.0, abs=2.0)
            assert read_last(paper, paths.AFTER, read_after).live_call_id == CALL_ID


class TestVoicemail:
    DOCUMENTS = answers(
        {"/incoming": VOICEMAIL, paths.VOICEMAIL_DONE: SpokenEnd(prompts=[Prompt("Gracias.")])}
    )

    async def test_a_message_is_recorded_and_told(self, autojump_clock: MockClock) -> None:
        async with on_paper(dict(self.DOCUMENTS)) as paper:
            caller = paper.call_in(steps=[Step(at="record", say="Que me llamen mañana", say_s=4.0)])
            await caller.ended.wait()
            await paper.lab.books.wait_until(lambda: paths.VOICEMAIL_RECORDING in paper.engine.asked)

            done = read_last(paper, paths.VOICEMAIL_DONE, read_record_report)
            told = read_last(paper, paths.VOICEMAIL_RECORDING, read_recording_report)
            assert (done.duration_s, done.has_hung_up, done.live_call_id) == (4, False, CALL_ID)
            assert (told.status, told.duration_s, told.live_call_id) == (
                RecordingStatus.COMPLETED,
                4,
                CALL_ID,
            )
            assert told.recording_sid == done.recording_sid
            assert paper.details(caller, "say") == ["Deje su mensaje.", "Gracias."]

    async def test_a_caller_who_hangs_up_has_left_a_message_too(self, autojump_clock: MockClock) -> None:
        async with on_paper(dict(self.DOCUMENTS)) as paper:
            said = Step(at="record", say="Que me llamen", say_s=3.0)
            caller = paper.call_in(steps=[said, Step(hang_up=True)])
            await caller.ended.wait()
            await paper.lab.books.wait_until(lambda: paths.VOICEMAIL_DONE in paper.engine.asked)

            assert read_last(paper, paths.VOICEMAIL_DONE, read_record_report).has_hung_up

    async def test_a_key_ends_it(self, autojump_clock: MockClock) -> None:
        async with on_paper(dict(self.DOCUMENTS)) as paper:
            caller = paper.call_in(steps=[Step(at="record", say="Hola", say_s=2.0), Step(press="#")])
            await caller.ended.wait()

            assert not read_last(paper, paths.VOICEMAIL_DONE, read_record_report).has_hung_up
            assert paper.now_s < 10.0

    async def test_silence_is_no_message(self, autojump_clock: MockClock) -> None:
        async with on_paper(dict(self.DOCUMENTS)) as paper:
            caller = paper.call_in()
            await caller.ended.wait()
            await paper.lab.books.wait_until(lambda: paths.VOICEMAIL_RECORDING in paper.engine.asked)

            told = read_last(paper, paths.VOICEMAIL_RECORDING, read_recording_report)
            assert (told.status, told.live_call_id) == (RecordingStatus.ABSENT, CALL_ID)
            assert paper.details(caller, "say") == ["Deje su mensaje.", "No quedó ningún mensaje."]
            assert paths.VOICEMAIL_DONE not in paper.engine.asked


@pytest.mark.parametrize(("press", "keys"), [("1", "1"), (None, "")])
async def test_the_menu_is_answered_by_a_key_or_by_none(
    autojump_clock: MockClock, press: str | None, keys: str
) -> None:
    menu = Menu(live_call_id=CALL_ID, prompts=[Prompt("Para dejar un mensaje, marque uno.")])
    documents = answers({"/incoming": menu, paths.MENU_CHOICE: SpokenEnd()})
    async with on_paper(documents) as paper:
        steps = [Step(at="say:marque uno", wait_s=0.2, press=press)] if press else []
        caller = paper.call_in(steps=steps)
        await caller.ended.wait()

        report = read_last(paper, paths.MENU_CHOICE, read_keys)
        assert (report.keys, report.live_call_id) == (keys, CALL_ID)
        assert len(paper.engine.asked[paths.MENU_CHOICE]) == 1


async def test_a_caller_for_whom_there_is_nothing_to_do_is_let_go(autojump_clock: MockClock) -> None:
    async with on_paper(answers({"/incoming": Nothing()})) as paper:
        caller = paper.call_in()
        await caller.ended.wait()

        assert caller.call.status is CallStatus.COMPLETED
        # What the number itself tells, without our ids.
        report = read_last(paper, "/number-status", read_leg_report)
        assert (report.call_sid, report.status, report.live_call_id) == (
            caller.sid,
            LegStatus.COMPLETED,
            None,
        )


class TestLostStream:
    async def lost(self, paper: Paper) -> Leg:
        """A caller on a stream that never opens."""
        paper.fault("stream_refused")
        caller = paper.call_in(hang_up_after_s=60.0)
        await caller.ended.wait()
        return caller

    async def test_a_caller_hears_our_music_waits_ten_seconds_and_asks_what_comes_next(
        self, autojump_clock: MockClock
    ) -> None:
        stream = AgentStream(token="t", caller_of=CALL_ID, own_music_url=MUSIC)
        async with on_paper(answers({"/incoming": stream, paths.AFTER: SpokenEnd()})) as paper:
            caller = await self.lost(paper)

            assert paper.heard(caller)[0] == f"play {MUSIC}"
            assert queries(paper, paths.AFTER) == [{"c": "7"}]
            assert paper.now_s == pytest.approx(12.0, abs=1.0)
            assert paper.details(caller, "operator_voice") == []

    async def test_of_a_daemon_that_is_away_he_hears_nothing_and_waits_no_longer(
        self, autojump_clock: MockClock
    ) -> None:
        stream = AgentStream(token="t", caller_of=CALL_ID, own_music_url=GONE)
        documents = {**answers({"/incoming": stream, paths.AFTER: SpokenEnd()}), "/weg.mp3": 404}
        async with on_paper(documents) as paper:
            caller = await self.lost(paper)

            assert queries(paper, paths.AFTER) == [{"c": "7"}]
            assert paper.now_s == pytest.approx(10.0, abs=1.0)
            assert paper.details(caller, "operator_voice") == []

    async def test_with_music_of_somebody_elses_he_hears_that(self, autojump_clock: MockClock) -> None:
        stream = AgentStream(token="t", caller_of=CALL_ID, own_music_url=GONE, lost_music_url=MUSIC)
        async with on_paper(answers({"/incoming": stream})) as paper:
            caller = await self.lost(paper)

            assert paper.heard(caller) == [f"play {MUSIC}"]
            assert paper.now_s == pytest.approx(60.0, abs=2.0)

    async def test_where_that_cannot_be_had_he_asks_at_once(self, autojump_clock: MockClock) -> None:
        stream = AgentStream(token="t", caller_of=CALL_ID, own_music_url=MUSIC, lost_music_url=GONE)
        documents = {**answers({"/incoming": stream, paths.AFTER: SpokenEnd()}), "/weg.mp3": 404}
        async with on_paper(documents) as paper:
            await self.lost(paper)

            assert queries(paper, paths.AFTER) == [{"c": "7"}]
            assert paper.now_s < 2.0

    async def test_an_agents_own_leg_ends(self, autojump_clock: MockClock) -> None:
        stream = AgentStream(token="t", own_music_url=MUSIC)
        async with on_paper(answers({"/incoming": stream})) as paper:
            caller = await self.lost(paper)

            assert paper.now_s == pytest.approx(12.0, abs=1.0)
            assert paper.details(caller, "operator_voice") == []
