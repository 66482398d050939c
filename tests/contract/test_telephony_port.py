"""The port `Telephony`, over everything that implements it.

What only one of them can do is tested elsewhere; here is what a caller may count on whichever it is given.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from actors.live_call.telephony import (
    ADVISOR_LABEL,
    AGENT_LABEL,
    CALLER_LABEL,
    LABEL_TAKEN_CODE,
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
    Room,
    RoomStatus,
)
from actors.ports import VendorUnavailableError
from tests.contract.lab_twilio_voice import ADVISOR
from tests.contract.telephony_benches import (
    ADVISOR_DIAL,
    REFUSAL,
    Bench,
    adapter_on_the_lab,
    agent_dial,
    fake_in_memory,
)

SOMEBODY_ELSE = "+525588888888"
UNKNOWN_LEG = "CA" + "f" * 32
LONG_S = 600
"""Well beyond the minute by which the clocks of Twilio and ours may differ."""

Opened = AbstractAsyncContextManager[Bench]


@pytest.fixture(params=[adapter_on_the_lab, fake_in_memory])
def opened(request: pytest.FixtureRequest) -> Opened:
    open_bench: Callable[[], Opened] = request.param
    return open_bench()


async def dialled(bench: Bench) -> str:
    """The SID of an advisor's leg."""
    outcome = await bench.port.dial_advisor(ADVISOR_DIAL)
    assert isinstance(outcome, Dialled)
    return outcome.sid


async def agent_in(bench: Bench, room: str) -> str:
    outcome = await bench.port.add_agent(agent_dial(room))
    assert isinstance(outcome, Dialled)
    await bench.picked_up(outcome.sid)
    return outcome.sid


async def seen(bench: Bench, name: str) -> Room:
    room = await bench.port.room(name)
    assert room is not None
    return room


async def hold(bench: Bench, room: str, label: str = CALLER_LABEL, *, on: bool = True) -> bool:
    return await bench.port.hold(room, label, on=on, music_path="/voice/hold-music")


class TestDialAdvisor:
    async def test_a_leg_that_was_dialled_rings_and_is_listed(self, opened: Opened) -> None:
        async with opened as bench:
            bench.lets_it_ring()
            since = bench.now()
            sid = await dialled(bench)
            assert await bench.port.leg_status(sid) in {LegStatus.QUEUED, LegStatus.RINGING}
            (listed,) = await bench.port.legs_to(ADVISOR, since=since)
            assert (listed.sid, listed.number, listed.status.is_over) == (sid, ADVISOR, False)
            assert await bench.port.legs_to(SOMEBODY_ELSE, since=since) == []

    async def test_a_leg_that_is_picked_up_is_in_progress(self, opened: Opened) -> None:
        async with opened as bench:
            sid = await dialled(bench)
            await bench.picked_up(sid)
            assert await bench.port.leg_status(sid) is LegStatus.IN_PROGRESS

    async def test_a_refusal_has_its_code_and_no_leg(self, opened: Opened) -> None:
        async with opened as bench:
            since = bench.now()
            bench.refuse_next()
            outcome = await bench.port.dial_advisor(ADVISOR_DIAL)
            assert isinstance(outcome, DialRefused)
            assert outcome.code == REFUSAL
            assert await bench.port.legs_to(ADVISOR, since=since) == []

    async def test_what_was_throttled_was_not_dialled(self, opened: Opened) -> None:
        async with opened as bench:
            since = bench.now()
            bench.throttle_next()
            outcome = await bench.port.dial_advisor(ADVISOR_DIAL)
            assert isinstance(outcome, NotDialled)
            assert outcome.retry_after_s == 3.0
            assert await bench.port.legs_to(ADVISOR, since=since) == []
            await dialled(bench)

    async def test_an_answer_that_was_lost_leaves_it_open_and_the_leg_is_listed(self, opened: Opened) -> None:
        async with opened as bench:
            bench.lets_it_ring()
            since = bench.now()
            bench.lose_next_answer()
            assert isinstance(await bench.port.dial_advisor(ADVISOR_DIAL), DialUnknown)
            (listed,) = await bench.port.legs_to(ADVISOR, since=since)
            assert await bench.port.end_leg(listed.sid)
            assert await bench.port.leg_status(listed.sid) is LegStatus.CANCELED

    async def test_a_request_that_was_lost_leaves_it_open_and_nothing_is_listed(self, opened: Opened) -> None:
        async with opened as bench:
            since = bench.now()
            bench.lose_next_request()
            assert isinstance(await bench.port.dial_advisor(ADVISOR_DIAL), DialUnknown)
            assert await bench.port.legs_to(ADVISOR, since=since) == []


class TestLegsTo:
    async def test_leaves_out_what_is_older_and_gives_the_newest_first(self, opened: Opened) -> None:
        async with opened as bench:
            bench.lets_it_ring()
            await bench.port.end_leg(await dialled(bench))
            bench.pass_time(LONG_S)
            since = bench.now()
            first = await dialled(bench)
            await bench.port.end_leg(first)
            bench.pass_time(1)
            second = await dialled(bench)
            listed = await bench.port.legs_to(ADVISOR, since=since)
            assert [leg.sid for leg in listed] == [second, first]
            assert listed[-1].status is LegStatus.CANCELED

    async def test_says_so_when_the_list_cannot_be_read(self, opened: Opened) -> None:
        async with opened as bench:
            bench.fail_next("legs_to")
            with pytest.raises(VendorUnavailableError):
                await bench.port.legs_to(ADVISOR, since=bench.now())
            assert await bench.port.legs_to(ADVISOR, since=bench.now()) == []


class TestEndLeg:
    async def test_ends_a_leg_that_rings(self, opened: Opened) -> None:
        async with opened as bench:
            bench.lets_it_ring()
            sid = await dialled(bench)
            assert await bench.port.end_leg(sid)
            assert await bench.port.leg_status(sid) is LegStatus.CANCELED

    async def test_ends_a_leg_that_talks(self, opened: Opened) -> None:
        async with opened as bench:
            sid = await dialled(bench)
            await bench.picked_up(sid)
            assert await bench.port.end_leg(sid)
            assert await bench.port.leg_status(sid) is LegStatus.COMPLETED

    async def test_what_is_over_or_unknown_counts_as_ended(self, opened: Opened) -> None:
        async with opened as bench:
            sid = await dialled(bench)
            await bench.hang_up(sid)
            assert await bench.port.end_leg(sid)
            assert await bench.port.end_leg(UNKNOWN_LEG)

    async def test_says_so_when_twilio_could_not_be_told(self, opened: Opened) -> None:
        async with opened as bench:
            bench.lets_it_ring()
            sid = await dialled(bench)
            bench.fail_next("end_leg")
            assert not await bench.port.end_leg(sid)
            assert await bench.port.leg_status(sid) in {LegStatus.QUEUED, LegStatus.RINGING}
            assert await bench.port.end_leg(sid)


class TestLegStatus:
    async def test_a_leg_that_twilio_does_not_know_has_none(self, opened: Opened) -> None:
        async with opened as bench:
            assert await bench.port.leg_status(UNKNOWN_LEG) is None

    async def test_says_so_when_there_is_no_answer(self, opened: Opened) -> None:
        async with opened as bench:
            sid = await dialled(bench)
            bench.fail_next("leg_status")
            with pytest.raises(VendorUnavailableError):
                await bench.port.leg_status(sid)


class TestRedirect:
    async def test_takes_a_leg_out_of_its_room(self, opened: Opened) -> None:
        async with opened as bench:
            sid, room = await bench.caller_in_room()
            assert await bench.port.redirect(sid, "/end?c=7") is RedirectOutcome.DONE
            assert await bench.port.room(room) is None

    async def test_there_is_nothing_to_redirect_once_it_is_over_or_before_it_is_picked_up(
        self, opened: Opened
    ) -> None:
        async with opened as bench:
            sid, _ = await bench.caller_in_room()
            await bench.hang_up(sid)
            assert await bench.port.redirect(sid, "/end") is RedirectOutcome.OVER
            assert await bench.port.redirect(UNKNOWN_LEG, "/end") is RedirectOutcome.OVER
            bench.lets_it_ring()
            assert await bench.port.redirect(await dialled(bench), "/end") is RedirectOutcome.OVER

    async def test_says_so_when_twilio_could_not_be_told(self, opened: Opened) -> None:
        async with opened as bench:
            sid, room = await bench.caller_in_room()
            bench.fail_next("redirect")
            assert await bench.port.redirect(sid, "/end") is RedirectOutcome.FAILED
            assert await bench.port.room(room) is not None


class TestLimit:
    async def test_a_leg_is_limited_and_one_that_is_over_needs_none(self, opened: Opened) -> None:
        async with opened as bench:
            sid, _ = await bench.caller_in_room()
            assert await bench.port.limit(sid, 3600)
            assert await bench.port.leg_status(sid) is LegStatus.IN_PROGRESS
            await bench.hang_up(sid)
            assert await bench.port.limit(sid, 3600)
            assert await bench.port.limit(UNKNOWN_LEG, 3600)

    async def test_says_so_when_twilio_could_not_be_told(self, opened: Opened) -> None:
        async with opened as bench:
            sid, _ = await bench.caller_in_room()
            bench.fail_next("limit")
            assert not await bench.port.limit(sid, 3600)


class TestAddAgent:
    async def test_the_agent_is_in_the_room_under_its_label_when_it_is_picked_up(
        self, opened: Opened
    ) -> None:
        async with opened as bench:
            caller, name = await bench.caller_in_room()
            agent = await agent_in(bench, name)
            room = await seen(bench, name)
        assert room.status is RoomStatus.IN_PROGRESS
        assert {one.label: (one.call_sid, one.status) for one in room.participants} == {
            CALLER_LABEL: (caller, ParticipantStatus.CONNECTED),
            AGENT_LABEL: (agent, ParticipantStatus.CONNECTED),
        }

    async def test_a_second_agent_is_refused_while_there_is_one(self, opened: Opened) -> None:
        async with opened as bench:
            _, name = await bench.caller_in_room()
            agent = await agent_in(bench, name)
            outcome = await bench.port.add_agent(agent_dial(name, leg=2))
            assert isinstance(outcome, DialRefused)
            assert outcome.code == LABEL_TAKEN_CODE
            await bench.port.end_leg(agent)
            assert isinstance(await bench.port.add_agent(agent_dial(name, leg=3)), Dialled)

    async def test_the_room_goes_on_without_the_agent_and_ends_with_the_caller(self, opened: Opened) -> None:
        async with opened as bench:
            caller, name = await bench.caller_in_room()
            await bench.port.end_leg(await agent_in(bench, name))
            room = await seen(bench, name)
            assert [one.call_sid for one in room.participants] == [caller]
            agent = await agent_in(bench, name)
            await bench.hang_up(caller)
            assert await bench.port.room(name) is None
            assert await bench.port.leg_status(agent) is LegStatus.COMPLETED


class TestHold:
    async def test_holds_until_it_is_taken_off(self, opened: Opened) -> None:
        async with opened as bench:
            _, name = await bench.caller_in_room()
            await agent_in(bench, name)
            for on in (True, True, False, False):
                assert await hold(bench, name, on=on)
                caller = (await seen(bench, name)).labelled(CALLER_LABEL)
                assert caller is not None
                assert caller.hold is on

    async def test_nobody_of_that_label_or_no_such_room_is_not_done(self, opened: Opened) -> None:
        async with opened as bench:
            _, name = await bench.caller_in_room()
            assert not await hold(bench, name, ADVISOR_LABEL)
            assert not await hold(bench, "conf_" + UNKNOWN_LEG)

    async def test_says_so_when_twilio_could_not_be_told(self, opened: Opened) -> None:
        async with opened as bench:
            _, name = await bench.caller_in_room()
            await agent_in(bench, name)
            bench.fail_next("hold")
            assert not await hold(bench, name)
            assert await hold(bench, name)


class TestRoom:
    async def test_a_caller_alone_is_in_a_room_that_has_not_begun(self, opened: Opened) -> None:
        async with opened as bench:
            caller, name = await bench.caller_in_room()
            room = await seen(bench, name)
        assert (room.name, room.status) == (name, RoomStatus.INIT)
        assert [(one.call_sid, one.label, one.hold) for one in room.participants] == [
            (caller, CALLER_LABEL, False)
        ]

    async def test_one_that_is_over_or_never_was_is_none(self, opened: Opened) -> None:
        async with opened as bench:
            caller, name = await bench.caller_in_room()
            await bench.hang_up(caller)
            assert await bench.port.room(name) is None
            assert await bench.port.room("conf_nadie") is None

    async def test_says_so_when_there_is_no_answer(self, opened: Opened) -> None:
        async with opened as bench:
            _, name = await bench.caller_in_room()
            bench.fail_next("room")
            with pytest.raises(VendorUnavailableError):
                await bench.port.room(name)


class TestEndRoom:
    async def test_ends_it_for_all_and_may_be_said_twice(self, opened: Opened) -> None:
        async with opened as bench:
            _, name = await bench.caller_in_room()
            agent = await agent_in(bench, name)
            room = await seen(bench, name)
            assert await bench.port.end_room(room.sid)
            assert await bench.port.room(name) is None
            assert await bench.port.leg_status(agent) is LegStatus.COMPLETED
            assert await bench.port.end_room(room.sid)
            assert await bench.port.end_room("CF" + "f" * 32)

    async def test_says_so_when_twilio_could_not_be_told(self, opened: Opened) -> None:
        async with opened as bench:
            _, name = await bench.caller_in_room()
            room = await seen(bench, name)
            bench.fail_next("end_room")
            assert not await bench.port.end_room(room.sid)
            assert await bench.port.room(name) is not None


class TestOpenRooms:
    async def test_gives_those_of_one_and_those_of_several_but_none_that_is_over(
        self, opened: Opened
    ) -> None:
        async with opened as bench:
            over, _ = await bench.caller_in_room()
            await bench.hang_up(over)
            _, alone = await bench.caller_in_room()
            _, both = await bench.caller_in_room()
            await agent_in(bench, both)
            rooms = await bench.port.open_rooms()
        assert {room.name: room.status for room in rooms} == {
            alone: RoomStatus.INIT,
            both: RoomStatus.IN_PROGRESS,
        }

    async def test_gives_those_whose_name_begins_so(self, opened: Opened) -> None:
        async with opened as bench:
            await bench.caller_in_room()
            assert await bench.port.open_rooms(prefix="otra_") == []

    async def test_says_so_when_the_list_cannot_be_read(self, opened: Opened) -> None:
        async with opened as bench:
            bench.fail_next("open_rooms")
            with pytest.raises(VendorUnavailableError):
                await bench.port.open_rooms()


class TestRecordingsOf:
    async def test_a_legs_recordings_are_listed_oldest_first_until_they_are_deleted(
        self, opened: Opened
    ) -> None:
        async with opened as bench:
            caller, _ = await bench.caller_in_room()
            assert await bench.port.recordings_of(caller) == []
            first, second = bench.record(caller), bench.record(caller)
            bench.record()
            assert await bench.port.recordings_of(caller) == [
                MadeRecording(sid=first, duration_s=2),
                MadeRecording(sid=second, duration_s=2),
            ]
            assert await bench.port.delete_recording(first)
            assert [made.sid for made in await bench.port.recordings_of(caller)] == [second]
            assert await bench.port.recordings_of(UNKNOWN_LEG) == []

    async def test_says_so_when_they_cannot_be_listed(self, opened: Opened) -> None:
        async with opened as bench:
            bench.fail_next("recordings_of")
            with pytest.raises(VendorUnavailableError):
                await bench.port.recordings_of(UNKNOWN_LEG)


class TestRecording:
    async def test_has_its_sound_until_it_is_deleted(self, opened: Opened) -> None:
        async with opened as bench:
            sid = bench.record()
            recording = await bench.port.recording(sid, max_bytes=1_000_000)
            assert isinstance(recording, Recording)
            assert recording.content_type == "audio/mpeg"
            assert len(recording.audio) > 10_000
            assert await bench.port.delete_recording(sid)
            assert await bench.port.recording(sid, max_bytes=1_000_000) is NoRecording.NOT_THERE
            assert await bench.port.delete_recording(sid)

    async def test_one_that_is_too_large_is_left(self, opened: Opened) -> None:
        async with opened as bench:
            sid = bench.record()
            assert await bench.port.recording(sid, max_bytes=10_000) is NoRecording.TOO_LARGE

    async def test_says_so_when_it_cannot_be_had_or_deleted(self, opened: Opened) -> None:
        async with opened as bench:
            sid = bench.record()
            bench.fail_next("recording")
            with pytest.raises(VendorUnavailableError):
                await bench.port.recording(sid, max_bytes=1_000_000)
            bench.fail_next("delete_recording")
            assert not await bench.port.delete_recording(sid)
            assert isinstance(await bench.port.recording(sid, max_bytes=1_000_000), Recording)
