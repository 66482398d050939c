"""A conference and its rules, pure: what is done to it goes in, what it tells comes out.

Twilio docs: voice/twiml/conference, voice/api/conference-participant-resource.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final

from attrs import Factory, define, field, frozen

from daemon.lab.twilio.sids import new_sid

EVENT_GROUPS: Final[Mapping[str, frozenset[str]]] = {
    "start": frozenset({"conference-start"}),
    "end": frozenset({"conference-end"}),
    "join": frozenset({"participant-join"}),
    "leave": frozenset({"participant-leave"}),
    "mute": frozenset({"participant-mute", "participant-unmute"}),
    "hold": frozenset({"participant-hold", "participant-unhold"}),
    "modify": frozenset({"participant-modify"}),
    "speaker": frozenset({"participant-speech-start", "participant-speech-stop"}),
    "announcement": frozenset({"announcement-end", "announcement-fail"}),
}


class RoomStatus(Enum):
    INIT = "init"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"


class MemberStatus(Enum):
    QUEUED = "queued"
    RINGING = "ringing"
    CONNECTED = "connected"


class Left(Enum):
    """`ReasonParticipantLeft`."""

    HUNG_UP = "participant_hung_up"
    UPDATED = "participant_updated_via_api"
    ADD_FAILED = "participant_add_failed"
    MODERATOR = "moderator_ended_conference"
    ENDED_VIA_API = "conference_ended_via_api"


class Ended(Enum):
    """`ReasonConferenceEnded`."""

    VIA_API = "conference-ended-via-api"
    EXIT_LEFT = "participant-with-end-conference-on-exit-left"
    EXIT_KICKED = "participant-with-end-conference-on-exit-kicked"
    LAST_LEFT = "last-participant-left"
    LAST_KICKED = "last-participant-kicked"


class LabelTakenError(ValueError):
    """Somebody of that label is in the room already (Twilio error 16025)."""


@frozen(kw_only=True)
class Sheet:
    """Where what is played to somebody comes from. `url` None is Twilio's own music, an empty one is silence."""

    url: str | None = None
    method: str = "GET"


@frozen(kw_only=True)
class RoomCallback:
    """Who is told of a conference's events; the first participant's counts, the others' are ignored."""

    url: str | None = None
    method: str = "POST"
    groups: frozenset[str] = frozenset()

    def wants(self, event: str) -> bool:
        return self.url is not None and any(event in EVENT_GROUPS.get(group, ()) for group in self.groups)


@define(eq=False, kw_only=True)
class Member:
    """Somebody in a room, or on the way into it.

    Attributes:
        early_media: while the leg rings, the room hears it.
        wait: played while the conference has not started.
        hold_sheet: played while on hold.
    """

    call_sid: str
    created_at: datetime
    updated_at: datetime
    label: str | None = None
    muted: bool = False
    hold: bool = False
    start_on_enter: bool = True
    end_on_exit: bool = False
    early_media: bool = False
    status: MemberStatus = MemberStatus.QUEUED
    wait: Sheet = field(factory=lambda: Sheet(method="POST"))
    hold_sheet: Sheet = field(factory=Sheet)

    @property
    def connected(self) -> bool:
        return self.status is MemberStatus.CONNECTED


@frozen(kw_only=True)
class Happening:
    """An event of a conference, by its `StatusCallbackEvent`; `fields` are those beside the event's usual ones."""

    event: str
    member: Member | None = None
    fields: Mapping[str, str] = Factory(dict)


@define(eq=False, kw_only=True)
class Room:
    """One conference. Every method says what happened, in order.

    Attributes:
        ended_by: the leg with which the conference ended.
        sequence: the number of the last event that was told.
    """

    friendly_name: str
    created_at: datetime
    ordinal: int
    callback: RoomCallback = field(factory=RoomCallback)
    region: str = "us1"
    sid: str = field(factory=lambda: new_sid("CF"))
    status: RoomStatus = RoomStatus.INIT
    updated_at: datetime = field(init=False)
    ended: Ended | None = None
    ended_by: str | None = None
    sequence: int = 0
    listed_from_s: float = 0.0
    members: dict[str, Member] = field(factory=dict, init=False)
    _was_joined: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.updated_at = self.created_at

    @property
    def active(self) -> bool:
        return self.status is not RoomStatus.COMPLETED

    @property
    def started(self) -> bool:
        return self.status is RoomStatus.IN_PROGRESS

    def connected(self) -> list[Member]:
        return [member for member in self.members.values() if member.connected]

    def find(self, key: str) -> Member | None:
        """By Call SID or label."""
        return self.members.get(key) or next((m for m in self.members.values() if m.label == key), None)

    def expect(self, member: Member) -> None:
        """Somebody is being called in.

        Raises:
            LabelTakenError: the label is in use.
        """
        if member.label is not None and self.find(member.label) not in {None, member}:
            raise LabelTakenError(member.label)
        self.members[member.call_sid] = member

    def join(self, member: Member) -> list[Happening]:
        """Somebody comes in.

        Raises:
            LabelTakenError: the label is in use.
        """
        self.expect(member)
        member.status = MemberStatus.CONNECTED
        self._was_joined = True
        happened = [Happening(event="participant-join", member=member)]
        inside = self.connected()
        if not self.started and len(inside) > 1 and any(other.start_on_enter for other in inside):
            self.status = RoomStatus.IN_PROGRESS
            happened.append(Happening(event="conference-start"))
        return happened

    def leave(
        self, call_sid: str, reason: Left, *, call_status: str, kicked: bool = False
    ) -> list[Happening]:
        """Somebody goes, or could not come. The conference may end with it, for all others too."""
        member = self.members.pop(call_sid, None)
        if member is None:
            return []
        happened = [_left(member, reason, call_status)]
        if not self.active:
            return happened
        if not member.connected:
            return happened if self.members else [*happened, *self._end(None, member)]
        if member.end_on_exit:
            ended = Ended.EXIT_KICKED if kicked else Ended.EXIT_LEFT
            return [*happened, *self._empty(Left.MODERATOR), *self._end(ended, member)]
        if not self.connected():
            return [*happened, *self._end(Ended.LAST_KICKED if kicked else Ended.LAST_LEFT, member)]
        return happened

    def end(self) -> list[Happening]:
        """End it over REST."""
        if not self.active:
            return []
        return [*self._empty(Left.ENDED_VIA_API), *self._end(Ended.VIA_API, None)]

    def change(
        self,
        member: Member,
        *,
        hold: bool | None = None,
        muted: bool | None = None,
        end_on_exit: bool | None = None,
    ) -> list[Happening]:
        """Change a participant. `end_on_exit` of one who is on hold stays as it is, without a word of it."""
        happened = []
        if end_on_exit is not None and end_on_exit != member.end_on_exit and not member.hold:
            member.end_on_exit = end_on_exit
            happened.append(Happening(event="participant-modify", member=member))
        if muted is not None and muted != member.muted:
            member.muted = muted
            event = "participant-mute" if muted else "participant-unmute"
            happened.append(Happening(event=event, member=member))
        if hold is not None and hold != member.hold:
            member.hold = hold
            event = "participant-hold" if hold else "participant-unhold"
            happened.append(Happening(event=event, member=member))
        return happened

    def _empty(self, reason: Left) -> Iterable[Happening]:
        """All who are inside go out; who is still being called rings on, into a room that is closed."""
        for member in self.connected():
            del self.members[member.call_sid]
            yield _left(member, reason, "in-progress")

    def _end(self, ended: Ended | None, by: Member | None) -> list[Happening]:
        self.status = RoomStatus.COMPLETED
        self.ended = ended
        self.ended_by = by.call_sid if by is not None else None
        if not self._was_joined or ended is None:
            return []
        fields = {"ReasonConferenceEnded": ended.value, "Reason": _sentence(ended, by)}
        if by is not None:
            fields["CallSidEndingConference"] = by.call_sid
            fields["ParticipantLabelEndingConference"] = by.label or ""
        return [Happening(event="conference-end", fields=fields)]

    def as_resource(self, account_sid: str) -> dict[str, Any]:
        """The Conference resource (Twilio OpenAPI: api.v2010.account.conference), dates left to the caller."""
        uri = f"/2010-04-01/Accounts/{account_sid}/Conferences/{self.sid}"
        return {
            "account_sid": account_sid,
            "api_version": "2010-04-01",
            "call_sid_ending_conference": self.ended_by,
            "friendly_name": self.friendly_name,
            "reason_conference_ended": self.ended.value if self.ended is not None else None,
            "region": self.region,
            "sid": self.sid,
            "status": self.status.value,
            "subresource_uris": {
                "participants": f"{uri}/Participants.json",
                "recordings": f"{uri}/Recordings.json",
            },
            "uri": f"{uri}.json",
        }


def _left(member: Member, reason: Left, call_status: str) -> Happening:
    return Happening(
        event="participant-leave",
        member=member,
        fields={"ReasonParticipantLeft": reason.value, "ParticipantCallStatus": call_status},
    )


def _sentence(ended: Ended, by: Member | None) -> str:
    if by is None:
        return "Conference ended via API"
    return f"Participant {by.call_sid} ended the conference: {ended.value}"


def happening_fields(account_sid: str, room: Room, happening: Happening) -> dict[str, str]:
    """The form of a conference event without its `Timestamp` (Twilio docs: voice/twiml/conference)."""
    fields = {
        "AccountSid": account_sid,
        "ConferenceSid": room.sid,
        "FriendlyName": room.friendly_name,
        "SequenceNumber": str(room.sequence),
        "StatusCallbackEvent": happening.event,
    }
    member = happening.member
    if member is not None:
        fields |= {
            "CallSid": member.call_sid,
            "Coaching": "false",
            "EndConferenceOnExit": _flag(member.end_on_exit),
            "Hold": _flag(member.hold),
            "Muted": _flag(member.muted),
            "StartConferenceOnEnter": _flag(member.start_on_enter),
        }
        if member.label is not None:
            fields["ParticipantLabel"] = member.label
    return {**fields, **happening.fields}


def _flag(value: bool) -> str:  # noqa: FBT001 - a formatter of one value
    return str(value).lower()
