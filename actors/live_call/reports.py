"""What Twilio tells of a live call, and asks. Pure values.

All of it may come twice, late, or in another order than it happened. `live_call_id` and `leg` are ours, from the query of
the URL that was asked (see `paths`); each is None where it is missing. What no call goes by is left out: a field that
nobody uses must not be a reason to refuse a report.
"""

from enum import Enum

from attrs import field, frozen

from actors.live_call.telephony import LegStatus


@frozen(kw_only=True)
class IncomingCall:
    """Somebody calls.

    Attributes:
        call_sid: of the caller's leg.
        caller: their canonical number (see `actors.conversation.identity`); None when it is withheld, or is none.
        dialled: the number of ours that was called, E.164; None for an address that is none.
    """

    call_sid: str
    caller: str | None
    dialled: str | None


@frozen(kw_only=True)
class AgentCall:
    """The agent's leg asks what it is to do; what it shows was given to `Telephony.add_agent`.

    Attributes:
        call_sid: of the leg that will stream, as a rule not the SID of the participant.
        token: empty without one.
    """

    call_sid: str
    token: str = field(repr=False)
    live_call_id: int | None


@frozen(kw_only=True)
class LegReport:
    """A leg has come to a status.

    Attributes:
        status: None for one that is not known here.
        sequence: counts a leg's reports from 0, in the order in which things happened (Twilio docs:
            voice/api/call-resource, `SequenceNumber`); None where Twilio gives none.
    """

    call_sid: str
    status: LegStatus | None
    sequence: int | None = None
    live_call_id: int | None = None
    leg: int | None = None


class RoomEvent(Enum):
    """By Twilio's words (Twilio docs: voice/twiml/conference, `statusCallbackEvent`)."""

    START = "conference-start"
    END = "conference-end"
    JOIN = "participant-join"
    """Somebody is in the room. No proof of a person, and with early media none of a pick-up."""
    LEAVE = "participant-leave"
    """Also of somebody who was called into the room and never came."""
    HOLD = "participant-hold"
    UNHOLD = "participant-unhold"


@frozen(kw_only=True)
class RoomReport:
    """Something happened in a room.

    Attributes:
        room: its name.
        event: None for one that is not known here.
        call_sid: of the participant, where it is about one; of an agent the one that `Telephony.add_agent` gave.
        label: of the participant; empty without one.
        reason_left: such as `participant_hung_up`, `participant_add_failed`.
    """

    room: str
    event: RoomEvent | None
    call_sid: str | None = None
    label: str = ""
    reason_left: str | None = None
    live_call_id: int | None = None


@frozen(kw_only=True)
class KeysReport:
    """What was pressed when keys were asked for; empty when nothing was."""

    call_sid: str
    keys: str
    live_call_id: int | None = None
    leg: int | None = None


@frozen(kw_only=True)
class AfterReport:
    """A leg has done what its document said and asks what comes next.

    Attributes:
        call_status: of the leg itself; over when it was the caller who hung up.
    """

    call_sid: str
    call_status: LegStatus | None = None
    live_call_id: int | None = None
    leg: int | None = None


class RecordingStatus(Enum):
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    ABSENT = "absent"
    """Nothing was recorded: silence, or a caller who hung up before the tone."""
    FAILED = "failed"


@frozen(kw_only=True)
class RecordingReport:
    """How a recording stands. Its file may be there a moment later only. Names neither caller nor number.

    Its address, which Twilio sends too, is left out: the recording is fetched by its SID from where Twilio's API is, so
    that no request names an address to us.

    Attributes:
        status: None for one that is not known here.
    """

    call_sid: str
    recording_sid: str
    status: RecordingStatus | None
    duration_s: int | None = None
    live_call_id: int | None = None


@frozen(kw_only=True)
class RecordReport:
    """The caller is done with recording, and the leg asks what comes next; told only if something was recorded.

    Attributes:
        recording_sid: None where Twilio does not tell.
        has_hung_up: there is no leg any more.
    """

    call_sid: str
    recording_sid: str | None = None
    duration_s: int | None = None
    has_hung_up: bool = False
    live_call_id: int | None = None
