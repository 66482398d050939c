"""The voicemail: what callers leave is fetched, kept, and told to the advisor once."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from types import MappingProxyType

import pytest
import trio
from attrs import define, evolve, field
from trio.testing import MockClock, wait_all_tasks_blocked

from actors.alerts import Alerts
from actors.live_call.events import Recorded
from actors.live_call.ports import SEEK_AFTER, KeptRecording
from actors.live_call.reports import IncomingCall
from actors.live_call.state import CallState, Ending, Mode, Phase
from actors.live_call.telephony import MadeRecording, Recording
from actors.live_call.transfer_desk import Advisor, Advisors
from actors.live_call.voicemail import BATCH, LOOK_EVERY_S, Voicemail, VoicemailRules
from actors.live_call.wording import Words
from actors.messages import Purpose
from actors.ports import VendorRefusedError, VendorUnavailableError
from daemon.settings import Settings
from tests.memory.clock import VirtualClock
from tests.memory.database import MemoryDatabase
from tests.memory.exchange import MemoryExchange
from tests.memory.live_calls import MemoryLiveCalls
from tests.memory.outbox import MemoryOutbox
from tests.memory.recordings import MemoryRecordings
from tests.memory.telephony import MemoryTelephony

BETO = Advisor(name="Beto", phone="+573001112233", whatsapp="+573001112244")
CALLER = "+525512345678"
RULES = VoicemailRules(
    link_hours=72,
    template_sid="",
    text_agent_id="agent_text",
    max_bytes=1_000_000,
    keeps_at_twilio=False,
)
SOUND = Recording(audio=b"ID3 a message", content_type="audio/mpeg")


@define(eq=False)
class Desk:
    """A voicemail that runs, and what it works with."""

    voicemail: Voicemail
    database: MemoryDatabase
    telephony: MemoryTelephony
    alerts: Alerts
    clock: VirtualClock
    told: list[tuple[int, Purpose]] = field(factory=list)
    reported: list[tuple[int, Recorded]] = field(factory=list)
    are_calls_there: bool = True

    async def report(self, live_call_id: int, event: Recorded) -> None:
        """As a call does that is told of a recording, unless it is not there to be told."""
        self.reported.append((live_call_id, event))
        if self.are_calls_there:
            await MemoryRecordings(self.database).expect(
                live_call_id, sid=event.sid, advisor="Beto", duration_s=7, now=self.clock.now()
            )
            self.voicemail.due()

    async def unsought(self) -> list[str]:
        later = self.clock.now() + timedelta(days=30)
        return [call.call_sid for call in await MemoryRecordings(self.database).unsought(now=later, limit=99)]

    async def end_call(self, call_sid: str = "CA1", *recordings: str, duration_s: int = 7) -> int:
        """A caller has left messages, or none, of which nobody has told."""
        incoming = IncomingCall(call_sid=call_sid, caller=CALLER, dialled=None)
        calls = MemoryLiveCalls(self.database)
        call = await calls.begin(incoming, mode=Mode.CONFERENCE, now=self.clock.now())
        for sid in recordings:
            self.telephony.recordings[sid] = SOUND
            self.telephony.made.setdefault(call_sid, []).append(MadeRecording(sid=sid, duration_s=duration_s))
        over = CallState(mode=Mode.CONFERENCE, phase=Phase.ENDED, ending=Ending.VOICEMAIL)
        await calls.finish(
            call.id, over, ending=Ending.VOICEMAIL, note="", follows_up=True, now=self.clock.now()
        )
        return call.id

    async def leave(self, sid: str = "RE1", *, advisor: str = "Beto") -> None:
        """A caller has left a message."""
        incoming = IncomingCall(call_sid=f"CA{sid}", caller=CALLER, dialled=None)
        calls = MemoryLiveCalls(self.database)
        call = await calls.begin(incoming, mode=Mode.CONFERENCE, now=self.clock.now())
        await MemoryRecordings(self.database).expect(
            call.id, sid=sid, advisor=advisor, duration_s=7, now=self.clock.now()
        )
        self.voicemail.due()
        await wait_all_tasks_blocked()

    @property
    def notices(self) -> list[str]:
        return [row.text for row in self.database.outbound.values() if row.purpose is Purpose.NOTICE]

    @property
    def standing(self) -> set[str]:
        return {alert.key for alert in self.alerts.standing}

    def asked(self, name: str) -> int:
        return sum(command[0] == name for command in self.telephony.commands)


@asynccontextmanager
async def open_desk(
    recordings: Mapping[str, Recording] = MappingProxyType({}),
    *,
    database: MemoryDatabase | None = None,
    rules: VoicemailRules = RULES,
    advisors: Sequence[Advisor] = (BETO,),
) -> AsyncIterator[Desk]:
    clock, database = VirtualClock(), database or MemoryDatabase()
    alerts, telephony = Alerts(clock), MemoryTelephony(MemoryExchange(clock))
    telephony.recordings.update(recordings)
    told: list[tuple[int, Purpose]] = []

    async def report(live_call_id: int, event: Recorded) -> None:
        await desk.report(live_call_id, event)

    voicemail = Voicemail(
        store=MemoryRecordings(database),
        telephony=telephony,
        advisors=Advisors(advisors),
        words=Words(Settings().word_sources),
        rules=rules,
        link_of=lambda recording_id: f"https://relevo.example/r/{recording_id}",
        report=report,
        outbox_due=lambda person, purpose: told.append((person, purpose)),
        clock=clock,
        alerts=alerts,
    )
    async with trio.open_nursery() as nursery:
        desk = Desk(voicemail, database, telephony, alerts, clock, told)
        await nursery.start(voicemail.run)
        yield desk
        nursery.cancel_scope.cancel()


async def test_a_message_is_kept_and_told_once(autojump_clock: MockClock) -> None:
    async with open_desk({"RE1": SOUND}) as desk:
        await desk.leave()
        desk.voicemail.due()
        await trio.sleep(300)
        [notice] = desk.notices
        assert "https://relevo.example/r/1" in notice
        assert CALLER in notice, "an advisor has to call back"
        assert [purpose for _, purpose in desk.told] == [Purpose.NOTICE]
        assert await MemoryRecordings(desk.database).kept(1) is not None
        assert desk.asked("delete_recording") == 1
        [lane] = await MemoryOutbox(desk.database).lanes(limit=5, exclude=())
        assert lane.purpose is Purpose.NOTICE


async def test_a_file_that_is_not_ready_is_fetched_a_moment_later(autojump_clock: MockClock) -> None:
    async with open_desk() as desk:
        await desk.leave()
        assert desk.notices == []
        desk.telephony.recordings["RE1"] = SOUND
        await trio.sleep(10)
        assert len(desk.notices) == 1


@pytest.mark.parametrize("failure", [VendorUnavailableError("away"), VendorRefusedError("401")])
async def test_a_twilio_that_fails_is_waited_out_with_an_alert(
    failure: Exception, autojump_clock: MockClock
) -> None:
    async with open_desk({"RE1": SOUND}) as desk:
        desk.telephony.fail("recording", failure, times=3)
        await desk.leave()
        assert "recordings_unfetched" in desk.standing
        await trio.sleep(120)
        assert len(desk.notices) == 1
        assert "recordings_unfetched" not in desk.standing


async def test_what_twilio_never_gives_is_given_up_after_a_day_and_told(autojump_clock: MockClock) -> None:
    async with open_desk() as desk:
        await desk.leave()
        await trio.sleep(25 * 3600)
        assert "recording_lost_1" in desk.standing
        asked = desk.asked("recording")
        await trio.sleep(3600)
        assert desk.asked("recording") == asked


async def test_a_message_for_nobody_in_particular_is_the_first_advisors(autojump_clock: MockClock) -> None:
    """Such as of a caller who came to the menu before any advisor was tried."""
    async with open_desk({"RE1": SOUND}) as desk:
        await desk.leave(advisor="")
        assert len(desk.notices) == 1
        assert desk.standing == set()


async def test_a_message_for_nobody_is_kept_and_the_operator_told(autojump_clock: MockClock) -> None:
    async with open_desk({"RE1": SOUND}, advisors=()) as desk:
        await desk.leave(advisor="")
        assert desk.notices == []
        assert "recording_for_nobody_1" in desk.standing
        assert await MemoryRecordings(desk.database).kept(1) is not None


async def test_one_message_that_cannot_be_had_keeps_no_other_waiting(autojump_clock: MockClock) -> None:
    async with open_desk({"RE2": SOUND}) as desk:
        await desk.leave("RE1")
        await desk.leave("RE2")
        await trio.sleep(60)
        assert len(desk.notices) == 1


async def test_those_that_are_not_there_yet_are_waited_for_together(autojump_clock: MockClock) -> None:
    async with open_desk() as desk:
        for number in range(1, 21):
            await desk.leave(f"RE{number}")
        await trio.sleep(7)
        await desk.leave("RE99")
        desk.telephony.recordings["RE99"] = SOUND
        # Its own two seconds and what Twilio takes, not the others' pauses one after the other.
        await trio.sleep(7)
        assert len(desk.notices) == 1


async def test_a_wake_up_in_between_puts_off_nobody(autojump_clock: MockClock) -> None:
    async with open_desk() as desk:
        await desk.leave("RE1")
        await trio.sleep(8)
        desk.telephony.recordings["RE1"] = SOUND
        await desk.leave("RE2")
        await trio.sleep(8)
        assert len(desk.notices) == 1


async def test_more_than_a_batch_is_fetched_at_once(autojump_clock: MockClock) -> None:
    count = BATCH + 5
    async with open_desk({f"RE{number}": SOUND for number in range(count)}) as desk:
        desk.database.unavailable = True
        desk.voicemail.due()
        await wait_all_tasks_blocked()
        desk.database.unavailable = False
        calls, recordings = MemoryLiveCalls(desk.database), MemoryRecordings(desk.database)
        for number in range(count):
            incoming = IncomingCall(call_sid=f"CA{number}", caller=CALLER, dialled=None)
            call = await calls.begin(incoming, mode=Mode.CONFERENCE, now=desk.clock.now())
            await recordings.expect(
                call.id, sid=f"RE{number}", advisor="", duration_s=1, now=desk.clock.now()
            )
        desk.voicemail.due()
        await trio.sleep(LOOK_EVERY_S - 1)
        assert desk.telephony.recordings == {}


async def test_what_cannot_be_deleted_at_twilio_now_is_deleted_later(autojump_clock: MockClock) -> None:
    async with open_desk({"RE1": SOUND}) as desk:
        desk.telephony.fail("delete_recording", times=3)
        await desk.leave()
        await trio.sleep(1)
        assert "recordings_undeleted" in desk.standing
        assert "RE1" in desk.telephony.recordings
        await trio.sleep(60)
        assert desk.telephony.recordings == {}
        assert "recordings_undeleted" not in desk.standing
        await trio.sleep(3600)
        assert desk.asked("delete_recording") == 4
        assert len(desk.notices) == 1


async def test_what_was_kept_just_before_a_crash_is_deleted_afterwards(autojump_clock: MockClock) -> None:
    async with open_desk() as desk:
        await desk.leave()
    recordings = MemoryRecordings(desk.database)
    kept = KeptRecording(audio=SOUND.audio, content_type=SOUND.content_type)
    await recordings.keep(1, kept, notice=None, now=desk.clock.now())
    async with open_desk({"RE1": SOUND}, database=desk.database) as desk:
        await trio.sleep(1)
        assert desk.telephony.recordings == {}


async def test_what_is_to_stay_at_twilio_stays(autojump_clock: MockClock) -> None:
    async with open_desk({"RE1": SOUND}, rules=evolve(RULES, keeps_at_twilio=True)) as desk:
        await desk.leave()
        await trio.sleep(3600)
        assert len(desk.notices) == 1
        assert "RE1" in desk.telephony.recordings


# --- Messages that nobody told of -------------------------------------------------------------------------


async def test_what_a_caller_recorded_is_sought_once_after_the_call(autojump_clock: MockClock) -> None:
    async with open_desk() as desk:
        live_call_id = await desk.end_call("CA1", "RE1", "RE2")
        await desk.end_call("CA2")
        await trio.sleep(50)
        assert desk.reported == [], "Twilio's own report may be on its way"
        await trio.sleep(50)
        assert desk.reported == [(live_call_id, Recorded("RE1", 7)), (live_call_id, Recorded("RE2", 7))]
        await trio.sleep(3600)
        assert len(desk.reported) == len(desk.notices) == 2
        assert await desk.unsought() == []


async def test_of_what_is_known_nobody_is_told_again(autojump_clock: MockClock) -> None:
    async with open_desk() as desk:
        live_call_id = await desk.end_call("CA1", "RE1")
        await desk.report(live_call_id, Recorded("RE1", 7))
        await trio.sleep(200)
        assert len(desk.reported) == 1
        assert await desk.unsought() == []


@pytest.mark.parametrize("failure", [VendorUnavailableError("away"), VendorRefusedError("401")])
async def test_a_twilio_that_does_not_tell_is_asked_again_once_for_all(
    failure: Exception, autojump_clock: MockClock
) -> None:
    async with open_desk() as desk:
        desk.telephony.fail("recordings_of", failure, times=2)
        await desk.end_call("CA1", "RE1")
        await desk.end_call("CA2", "RE2")
        await trio.sleep(80)
        assert "recordings_unsought" in desk.standing
        await trio.sleep(30)
        assert desk.reported == []
        await trio.sleep(30)
        assert "recordings_unsought" not in desk.standing
        assert [event.sid for _, event in desk.reported] == ["RE1", "RE2"]


async def test_a_call_that_is_not_there_to_be_told_is_told_again_every_minute(
    autojump_clock: MockClock,
) -> None:
    async with open_desk() as desk:
        desk.are_calls_there = False
        await desk.end_call("CA1", "RE1")
        await trio.sleep(60 + 10 * 60)
        assert 8 <= len(desk.reported) <= 11
        desk.are_calls_there = True
        await trio.sleep(100)
        assert len(desk.notices) == 1
        assert await desk.unsought() == []


async def test_calls_of_which_nothing_is_learned_do_not_keep_others_waiting(
    autojump_clock: MockClock,
) -> None:
    async with open_desk() as desk:
        desk.are_calls_there = False
        for number in range(2 * BATCH):
            await desk.end_call(f"CA{number}", f"RE{number}")
        await trio.sleep(SEEK_AFTER.total_seconds() + LOOK_EVERY_S)
        assert len({event.sid for _, event in desk.reported}) == 2 * BATCH


async def test_a_recording_that_is_being_made_is_told_of_when_its_length_is_known(
    autojump_clock: MockClock,
) -> None:
    async with open_desk() as desk:
        await desk.end_call("CA1", "RE1", duration_s=0)
        await trio.sleep(300)
        assert desk.reported == []
        desk.telephony.made["CA1"] = [MadeRecording(sid="RE1", duration_s=7)]
        await trio.sleep(100)
        assert [event for _, event in desk.reported] == [Recorded("RE1", 7)]


async def test_one_whose_length_is_never_known_is_told_of_all_the_same(autojump_clock: MockClock) -> None:
    async with open_desk() as desk:
        await desk.end_call("CA1", "RE1", duration_s=0)
        await trio.sleep(800)
        assert len(desk.notices) == 1


async def test_what_is_not_learned_within_a_day_is_given_up_and_told(autojump_clock: MockClock) -> None:
    async with open_desk() as desk:
        desk.are_calls_there = False
        live_call_id = await desk.end_call("CA1", "RE1")
        await trio.sleep(25 * 3600)
        assert f"recordings_lost_{live_call_id}" in desk.standing
        assert await desk.unsought() == []
