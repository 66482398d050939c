"""A call as a record (Twilio OpenAPI: api.v2010.account.call; Twilio docs: voice/api/call-resource)."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from math import ceil
from typing import Any, Final

from attrs import define, field, frozen

from daemon.lab.twilio.sids import new_sid
from daemon.lab.twilio.whatsapp.messages import rfc2822

GEOGRAPHY: Final = tuple(
    f"{side}{part}"
    for side in ("Called", "Caller", "From", "To")
    for part in ("City", "Country", "State", "Zip")
)


class Direction(Enum):
    INBOUND = "inbound"
    OUTBOUND_API = "outbound-api"
    OUTBOUND_DIAL = "outbound-dial"


class CallStatus(Enum):
    """As callbacks say it. REST knows no `initiated`."""

    QUEUED = "queued"
    INITIATED = "initiated"
    RINGING = "ringing"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    BUSY = "busy"
    FAILED = "failed"
    NO_ANSWER = "no-answer"
    CANCELED = "canceled"


OVER: Final = frozenset(
    {CallStatus.COMPLETED, CallStatus.BUSY, CallStatus.FAILED, CallStatus.NO_ANSWER, CallStatus.CANCELED}
)
EVENT_OF: Final[Mapping[CallStatus, str]] = {
    CallStatus.INITIATED: "initiated",
    CallStatus.RINGING: "ringing",
    CallStatus.IN_PROGRESS: "answered",
    **dict.fromkeys(OVER, "completed"),
}


@frozen(kw_only=True)
class CallCallback:
    """Who is told of a call's statuses."""

    url: str
    method: str = "POST"
    events: frozenset[str] = frozenset({"completed"})


@define(eq=False, kw_only=True)
class Call:
    """One call. Times of the calendar are shown, `answered_s` and `ended_s` are `LabClock.elapsed_s`.

    Attributes:
        shown_sid: the SID in webhooks and streams, another's where a fault makes two legs look like one.
        custom: parameters that came with an `app:` address and go into every request for a document.
        sip_code: `SipResponseCode` of a call that was not connected.
    """

    sender: str
    recipient: str
    direction: Direction
    created_at: datetime
    ordinal: int
    sid: str = field(factory=lambda: new_sid("CA"))
    shown_sid: str = field(init=False)
    parent_sid: str | None = None
    phone_number_sid: str | None = None
    callback: CallCallback | None = None
    custom: Mapping[str, str] = field(factory=dict)
    status: CallStatus = CallStatus.QUEUED
    answered_by: str | None = None
    queue_time_ms: int = 0
    sequence: int = 0
    sip_code: int | None = None
    updated_at: datetime = field(init=False)
    started_at: datetime | None = None
    ended_at: datetime | None = None
    answered_s: float | None = None
    ended_s: float | None = None
    listed_from_s: float = 0.0
    history: list[tuple[CallStatus, datetime]] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.shown_sid = self.sid
        self.enter(self.status, self.created_at)

    def enter(self, status: CallStatus, at: datetime) -> None:
        self.status = status
        self.updated_at = at
        self.history.append((status, at))

    @property
    def over(self) -> bool:
        return self.status in OVER

    @property
    def duration_s(self) -> int:
        """Whole seconds from the answer to the end; 0 while it is not over or was never answered."""
        if self.answered_s is None or self.ended_s is None:
            return 0
        return ceil(self.ended_s - self.answered_s)

    def fields(self, account_sid: str) -> dict[str, str]:
        """What every voice webhook says of its call (Twilio docs: voice/twiml#request-parameters)."""
        fields = {
            "AccountSid": account_sid,
            "ApiVersion": "2010-04-01",
            "CallSid": self.shown_sid,
            "CallStatus": self.status.value,
            "Called": self.recipient,
            "Caller": self.sender,
            "Direction": self.direction.value,
            "From": self.sender,
            "To": self.recipient,
            **dict.fromkeys(GEOGRAPHY, ""),
            **self.custom,
        }
        if self.parent_sid is not None:
            fields["ParentCallSid"] = self.parent_sid
        if self.answered_by is not None:
            fields["AnsweredBy"] = self.answered_by
        return fields

    def callback_fields(self, account_sid: str) -> dict[str, str]:
        """The form of a status callback without its `Timestamp` (Twilio docs: voice/api/call-resource)."""
        fields = {
            **self.fields(account_sid),
            "CallbackSource": "call-progress-events",
            "SequenceNumber": str(self.sequence),
        }
        if self.over:
            fields["CallDuration"] = str(self.duration_s)
        if self.status is CallStatus.COMPLETED:
            fields["Duration"] = str(max(1, ceil(self.duration_s / 60)))
        if self.sip_code is not None:
            fields["SipResponseCode"] = str(self.sip_code)
        return fields

    def as_resource(self, account_sid: str) -> dict[str, Any]:
        uri = f"/2010-04-01/Accounts/{account_sid}/Calls/{self.sid}"
        shown = CallStatus.QUEUED if self.status is CallStatus.INITIATED else self.status
        return {
            "account_sid": account_sid,
            "answered_by": self.answered_by,
            "api_version": "2010-04-01",
            "caller_name": None,
            "date_created": rfc2822(self.created_at),
            "date_updated": rfc2822(self.updated_at),
            "direction": self.direction.value,
            "duration": str(self.duration_s) if self.over else None,
            "end_time": rfc2822(self.ended_at),
            "forwarded_from": None,
            "from": self.sender,
            "from_formatted": self.sender,
            "group_sid": None,
            "parent_call_sid": self.parent_sid,
            "phone_number_sid": self.phone_number_sid,
            "price": None,
            "price_unit": "USD",
            "queue_time": str(self.queue_time_ms),
            "sid": self.sid,
            "start_time": rfc2822(self.started_at),
            "status": shown.value,
            "subresource_uris": {
                "recordings": f"{uri}/Recordings.json",
                "streams": f"{uri}/Streams.json",
            },
            "to": self.recipient,
            "to_formatted": self.recipient,
            "trunk_sid": None,
            "uri": f"{uri}.json",
        }

    def as_json(self) -> dict[str, Any]:
        """The call as the control routes show it."""
        return {
            "sid": self.sid,
            "parent_sid": self.parent_sid,
            "direction": self.direction.value,
            "from": self.sender,
            "to": self.recipient,
            "status": self.status.value,
            "answered_by": self.answered_by,
            "answered_s": self.answered_s,
            "ended_s": self.ended_s,
            "history": [{"status": status.value, "at": at.isoformat()} for status, at in self.history],
        }
