"""The rules of a conference, as a state machine."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.lab.twilio.voice.room import (
    Happening,
    LabelTakenError,
    Left,
    Member,
    Room,
    RoomCallback,
    RoomStatus,
    happening_fields,
)

NOW = datetime(2026, 3, 5, tzinfo=UTC)


def a_room() -> Room:
    return Room(friendly_name="sala", created_at=NOW, ordinal=0)


def member(name: str, **options: object) -> Member:
    return Member(call_sid=name, created_at=NOW, updated_at=NOW, label=name, **options)  # type: ignore[arg-type]


def told(happened: list[Happening]) -> list[str]:
    return [f"{one.event} {one.member.call_sid}" if one.member is not None else one.event for one in happened]


def test_one_alone_waits() -> None:
    room = a_room()

    assert told(room.join(member("caller"))) == ["participant-join caller"]
    assert room.status is RoomStatus.INIT


def test_it_starts_with_two_of_whom_one_may_start_it() -> None:
    room = a_room()
    room.join(member("caller", start_on_enter=False))
    room.join(member("agent", start_on_enter=False))
    assert not room.started

    assert told(room.join(member("advisor"))) == ["participant-join advisor", "conference-start"]
    assert room.started


def test_it_never_goes_back_to_waiting() -> None:
    room = a_room()
    room.join(member("caller"))
    room.join(member("agent"))
    room.leave("agent", Left.HUNG_UP, call_status="completed")

    assert room.started
    assert room.active


def test_it_ends_with_the_last() -> None:
    room = a_room()
    room.join(member("caller"))
    happened = room.leave("caller", Left.HUNG_UP, call_status="completed")

    assert told(happened) == ["participant-leave caller", "conference-end"]
    assert happened[-1].fields["ReasonConferenceEnded"] == "last-participant-left"
    assert room.status is RoomStatus.COMPLETED


@pytest.mark.parametrize(
    ("kicked", "reason"),
    [
        (False, "participant-with-end-conference-on-exit-left"),
        (True, "participant-with-end-conference-on-exit-kicked"),
    ],
)
def test_who_ends_it_on_exit_takes_all_along(*, kicked: bool, reason: str) -> None:
    room = a_room()
    room.join(member("caller", end_on_exit=True))
    room.join(member("agent"))
    happened = room.leave("caller", Left.UPDATED, call_status="in-progress", kicked=kicked)

    assert told(happened) == ["participant-leave caller", "participant-leave agent", "conference-end"]
    assert happened[1].fields["ReasonParticipantLeft"] == "moderator_ended_conference"
    assert happened[2].fields["ReasonConferenceEnded"] == reason
    assert happened[2].fields["ParticipantLabelEndingConference"] == "caller"


def test_who_is_still_called_rings_on_when_it_ends() -> None:
    room = a_room()
    room.join(member("caller", end_on_exit=True))
    room.expect(member("advisor"))
    room.leave("caller", Left.HUNG_UP, call_status="completed")

    assert list(room.members) == ["advisor"]
    assert told(room.leave("advisor", Left.ADD_FAILED, call_status="no-answer")) == [
        "participant-leave advisor"
    ]


def test_who_could_not_be_reached_leaves_without_having_come() -> None:
    room = a_room()
    room.join(member("caller"))
    room.expect(member("advisor"))
    [left] = room.leave("advisor", Left.ADD_FAILED, call_status="busy")

    assert left.fields == {
        "ReasonParticipantLeft": "participant_add_failed",
        "ParticipantCallStatus": "busy",
    }
    assert room.active


def test_a_label_is_had_once() -> None:
    room = a_room()
    room.join(member("caller"))
    other = member("CA2")
    other.label = "caller"

    with pytest.raises(LabelTakenError):
        room.join(other)


def test_on_hold_the_flag_does_not_change() -> None:
    room = a_room()
    caller = member("caller")
    room.join(caller)
    assert told(room.change(caller, hold=True)) == ["participant-hold caller"]

    assert room.change(caller, end_on_exit=True) == []
    assert told(room.change(caller, hold=False)) == ["participant-unhold caller"]
    assert told(room.change(caller, end_on_exit=True)) == ["participant-modify caller"]


def test_what_is_so_already_is_not_told() -> None:
    room = a_room()
    caller = member("caller")
    room.join(caller)

    assert room.change(caller, hold=False, muted=False, end_on_exit=False) == []
    assert told(room.change(caller, muted=True)) == ["participant-mute caller"]


def test_it_is_ended_over_rest_once() -> None:
    room = a_room()
    room.join(member("caller", end_on_exit=True))
    room.join(member("agent"))
    happened = room.end()

    assert told(happened) == ["participant-leave caller", "participant-leave agent", "conference-end"]
    assert happened[0].fields["ReasonParticipantLeft"] == "conference_ended_via_api"
    assert room.end() == []


def test_a_callback_wants_what_it_asked_for() -> None:
    callback = RoomCallback(url="http://here", groups=frozenset({"hold", "end"}))

    assert callback.wants("participant-unhold")
    assert not callback.wants("participant-join")
    assert not RoomCallback(groups=frozenset({"hold"})).wants("participant-hold")


def test_an_event_says_who_and_how() -> None:
    room = a_room()
    [joined] = room.join(member("caller", end_on_exit=True))
    fields = happening_fields("AC0", room, joined)

    assert (fields["CallSid"], fields["ParticipantLabel"], fields["Hold"]) == ("caller", "caller", "false")
    assert (fields["EndConferenceOnExit"], fields["ConferenceSid"]) == ("true", room.sid)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["join", "expect", "leave", "kick", "hold", "end"]),
        st.sampled_from("abc"),
        st.booleans(),
    ),
    max_size=30,
)


@given(STEPS)
def test_in_any_order_it_starts_at_most_once_ends_at_most_once_and_is_then_empty(
    steps: list[tuple[str, str, bool]],
) -> None:
    room = a_room()
    events: list[str] = []
    for what, name, switch in steps:
        events += [one.event for one in _do(room, what, name, switch=switch)]
        if not room.active:
            assert room.connected() == []

    assert events.count("conference-start") <= 1
    ended = not room.active and room.ended is not None and "participant-join" in events
    assert events.count("conference-end") == int(ended)


def _do(room: Room, what: str, name: str, *, switch: bool) -> list[Happening]:
    inside = room.members.get(name)
    if what in {"join", "expect"}:
        if not room.active or inside is not None:
            return []
        if what == "join":
            return room.join(member(name, end_on_exit=switch))
        room.expect(member(name, end_on_exit=switch))
        return []
    if what == "hold":
        return room.change(inside, hold=switch) if inside is not None else []
    if what == "end":
        return room.end()
    return room.leave(name, Left.HUNG_UP, call_status="completed", kicked=what == "kick")
