"""Why WhatsApp messages fail, and what follows. Pure.

One table of Twilio's error codes, for refusals at once (the answer to the request) and for those that come later (a
status of a message that had been accepted). Twilio advises against branching on anything but the code (Twilio docs:
api/errors, whatsapp/best-practices-and-faqs, messaging/guides/debugging-common-issues).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from attrs import frozen

from actors.conversation.identity import whatsapp_address_candidates
from actors.runtime.backoff import doubling_s

WINDOW_CLOSED_CODE: Final = 63016

_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3600.0


class FailureKind(Enum):
    """What a failure means for the message."""

    WINDOW_CLOSED = auto()
    """Outside the 24-hour window: its template may go instead."""
    LATER = auto()
    """It may go after a pause."""
    OTHER_SPELLING = auto()
    """Nobody has WhatsApp under this spelling of the number; there may be another."""
    PERSON = auto()
    """It will never reach this person."""
    CONTENT = auto()
    """This message will not be taken; another one may."""
    SETTINGS = auto()
    """Nothing goes before the operator has mended something."""
    UNCLASSIFIED = auto()


@frozen(kw_only=True)
class Failure:
    """What is known of a code.

    Attributes:
        advice: what it means and what to do, for the operator; a clause without a capital and a full stop.
        needs_operator: it will go on until somebody mends something, so it is an alert.
        first_pause_s, pause_max_s: before the message is sent again, twice as long each time; for `LATER` alone.
        repeats_max: how often it is sent again; likewise.
    """

    kind: FailureKind
    advice: str
    needs_operator: bool = False
    first_pause_s: float = 0.0
    pause_max_s: float = 0.0
    repeats_max: int = 0


@frozen(kw_only=True)
class FailedMessage:
    """What of a failed message decides whether it goes again.

    Attributes:
        must_use_template: free text was refused before.
        repeats: how often it has been sent again after a pause.
        is_respelled: its address is the other spelling of one that was not found.
        written_at: when its text came into the outbox, however often it was sent since.
    """

    address: str
    has_template: bool
    must_use_template: bool
    repeats: int
    is_respelled: bool
    written_at: datetime


@frozen(kw_only=True)
class Repeat:
    """A message that is sent in place of a failed one. `not_before`: None for at once."""

    address: str
    must_use_template: bool
    repeats: int
    is_respelled: bool
    not_before: datetime | None


def failure_of(code: int | None) -> Failure:
    if code is None:
        return _WITHOUT_CODE
    known = _TABLE.get(code)
    if known is not None:
        return known
    return Failure(
        kind=FailureKind.UNCLASSIFIED,
        advice=f"look it up at https://www.twilio.com/docs/api/errors/{code}",
        needs_operator=True,
    )


def told(code: int | None) -> str:
    """A code with its advice, as it stands beside what has failed."""
    advice = failure_of(code).advice
    return advice if code is None else f"{code}: {advice}"


def pause_s(code: int | None, repeats: int) -> float:
    """The pause after a failure with this code, when the message has been repeated so often; 0 where it asks for none."""
    failure = failure_of(code)
    return doubling_s(failure.first_pause_s, repeats, max_s=failure.pause_max_s)


def repeat_of(
    message: FailedMessage, code: int | None, *, now: datetime, give_up_after: timedelta | None
) -> Repeat | None:
    """What is to be sent in place of a message that has just failed; None when that is its end.

    Nothing is sent later than `give_up_after` after it was written; None for no such limit.
    """
    repeat = _repeat(message, code, now)
    if repeat is None or give_up_after is None:
        return repeat
    return repeat if (repeat.not_before or now) <= message.written_at + give_up_after else None


def other_form_of(message: FailedMessage, code: int, *, now: datetime) -> Repeat | None:
    """As `repeat_of`, for a message that was refused at once: one that may go later is not refused, but waits."""
    repeat = _repeat(message, code, now)
    return repeat if repeat is not None and repeat.not_before is None else None


def _repeat(message: FailedMessage, code: int | None, now: datetime) -> Repeat | None:
    failure = failure_of(code)
    address, must_use_template = message.address, message.must_use_template
    repeats, is_respelled, not_before = message.repeats, message.is_respelled, None
    if failure.kind is FailureKind.WINDOW_CLOSED and message.has_template and not must_use_template:
        must_use_template = True
    elif failure.kind is FailureKind.LATER and repeats < failure.repeats_max:
        not_before = now + timedelta(seconds=pause_s(code, repeats))
        repeats += 1
    elif failure.kind is FailureKind.OTHER_SPELLING and not is_respelled:
        others = [other for other in whatsapp_address_candidates(address) if other != address]
        if not others:
            return None
        address, is_respelled = others[0], True
    else:
        return None
    return Repeat(
        address=address,
        must_use_template=must_use_template,
        repeats=repeats,
        is_respelled=is_respelled,
        not_before=not_before,
    )


def _later(advice: str, *, first_s: float, max_s: float, times: int, needs_operator: bool = False) -> Failure:
    return Failure(
        kind=FailureKind.LATER,
        advice=advice,
        needs_operator=needs_operator,
        first_pause_s=first_s,
        pause_max_s=max_s,
        repeats_max=times,
    )


def _person(advice: str, *, needs_operator: bool = False) -> Failure:
    return Failure(kind=FailureKind.PERSON, advice=advice, needs_operator=needs_operator)


def _content(advice: str, *, needs_operator: bool = False) -> Failure:
    return Failure(kind=FailureKind.CONTENT, advice=advice, needs_operator=needs_operator)


def _settings(advice: str) -> Failure:
    return Failure(kind=FailureKind.SETTINGS, advice=advice, needs_operator=True)


_WITHOUT_CODE: Final = Failure(kind=FailureKind.UNCLASSIFIED, advice="Twilio gave no reason")

_INTERNAL: Final = _later(
    "trouble inside Twilio or WhatsApp: it is tried again", first_s=30, max_s=15 * _MINUTE_S, times=4
)
_SENDER: Final = _settings(
    "the sender is no WhatsApp sender of this account: check twilio.whatsapp_from against the senders in Twilio's console"
)
_NO_SUCH_NUMBER: Final = _person("this is no number that can be written to: correct it where it comes from")
_EMPTY: Final = _content("the message was empty, which should never happen: report it", needs_operator=True)
_MEDIA: Final = _content("WhatsApp did not take the media: check its address, type and size")
_VARIABLES: Final = _settings(
    "the template's SID or variables are wrong: check whatsapp.opening_template_sid, whatsapp.reopen_template_sid, "
    "transfer.message_template_sid and their variables"
)
_CHANNELS: Final = _settings("sender and recipient do not fit together: check twilio.whatsapp_from")

_TABLE: Final[Mapping[int, Failure]] = MappingProxyType(
    {
        WINDOW_CLOSED_CODE: Failure(
            kind=FailureKind.WINDOW_CLOSED,
            advice="the person's 24-hour window is closed: set a template, or wait until they write",
        ),
        # Later.
        14107: _later(
            "Twilio's loop guard stopped a fast exchange: is the other side a machine?",
            first_s=35,
            max_s=10 * _MINUTE_S,
            times=5,
        ),
        20429: _later(
            "too many requests at once: it is tried again", first_s=1, max_s=5 * _MINUTE_S, times=5
        ),
        21611: _later(
            "the sender's queue at Twilio is full: lower whatsapp.messages_per_second",
            first_s=_MINUTE_S,
            max_s=_HOUR_S,
            times=5,
        ),
        30036: _later(
            "the message waited too long at Twilio: it is sent again",
            first_s=_MINUTE_S,
            max_s=_HOUR_S,
            times=2,
        ),
        63009: _INTERNAL,
        63010: _INTERNAL,
        63012: _INTERNAL,
        63018: _later(
            "WhatsApp's rate or tier limit is reached: write to fewer people a day, or have the sender's limit raised "
            "in WhatsApp Manager",
            first_s=2 * _MINUTE_S,
            max_s=4 * _HOUR_S,
            times=10,
            needs_operator=True,
        ),
        63038: _later(
            "the account's daily limit of messages is reached: wait for tomorrow, or have Twilio raise it",
            first_s=_HOUR_S,
            max_s=6 * _HOUR_S,
            times=6,
            needs_operator=True,
        ),
        63003: Failure(
            kind=FailureKind.OTHER_SPELLING,
            advice="nobody has WhatsApp under this number: reach this person another way",
        ),
        # This person.
        21211: _NO_SUCH_NUMBER,
        21614: _NO_SUCH_NUMBER,
        21610: _person("the person has opted out: write to them no more"),
        63014: _person("the person has blocked the sender: write to them no more"),
        63015: _person(
            "the person has not joined the sandbox, or did so three days ago: have them send its join code",
            needs_operator=True,
        ),
        63024: _person("the number has no WhatsApp that can take it: reach this person another way"),
        63032: _person("WhatsApp does not let us write to this person: reach them another way"),
        # This content.
        21602: _EMPTY,
        21619: _EMPTY,
        21617: _content(
            "the message was too long, which should never happen: report it", needs_operator=True
        ),
        63005: _content("WhatsApp did not take the content"),
        63006: _content("the content cannot be shown on WhatsApp"),
        63013: _content("the content violates WhatsApp's policy: look at what the agent wrote"),
        63019: _MEDIA,
        63021: _MEDIA,
        63030: _content("WhatsApp does not know a part of the content"),
        63034: _MEDIA,
        63049: _content(
            "Meta chose not to deliver it: have the template classified as UTILITY instead of MARKETING",
            needs_operator=True,
        ),
        # The settings, here or at Twilio.
        20003: _settings("the credentials are refused: check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"),
        20005: _settings("the Twilio account is not active: see its console"),
        20404: _settings("Twilio knows no such account: check TWILIO_ACCOUNT_SID and twilio.base_url"),
        21212: _SENDER,
        21606: _SENDER,
        63002: _SENDER,
        63007: _SENDER,
        21408: _settings("the recipient's country is not enabled: enable it in Twilio's console"),
        21608: _settings("a trial account writes to verified numbers only: upgrade it"),
        21654: _VARIABLES,
        21655: _VARIABLES,
        21656: _VARIABLES,
        21658: _VARIABLES,
        21703: _settings("the messaging service has no sender: add one in Twilio's console"),
        21704: _settings("the messaging service has no sender for this channel: add one in Twilio's console"),
        21910: _CHANNELS,
        63001: _settings("the WhatsApp channel cannot log in: look at the sender in Twilio's console"),
        63008: _settings("the WhatsApp channel is set up wrongly: look at the sender in Twilio's console"),
        63027: _settings("the template lacks the language: add the translation, or set another template"),
        63028: _settings("the template has another number of variables: make the settings' variables fit it"),
        63040: _settings("WhatsApp has rejected the template: set another one"),
        63041: _settings("WhatsApp has paused the template for its quality: set another one, or wait"),
        63042: _settings("WhatsApp has disabled the template for its quality: set another one"),
    }
)

HELD_TOO_LONG: Final = "held back with its campaign until it was too old to be sent"
NOT_WRITTEN: Final = "the person did not write after the template: what stood behind it was not sent"
NOT_NEEDED: Final = "not sent: the person wrote by themselves, or nothing waits for their answer any more"
"""What is told of messages that were given up without an attempt."""

CLASSIFIED_CODES: Final = frozenset(_TABLE)

AT_ONCE_CODES: Final = frozenset(
    code
    for code, failure in _TABLE.items()
    if failure.kind in {FailureKind.WINDOW_CLOSED, FailureKind.OTHER_SPELLING}
)
"""After these a message goes again at once, if at all: in another form, which its campaign is not to be blamed for."""
