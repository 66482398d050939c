"""Reading the forms of `Calls` and `Participants` (Twilio OpenAPI: api_v2010)."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from daemon.lab.twilio.account import Account
from daemon.lab.twilio.errors import RestError
from daemon.lab.twilio.form import Form
from daemon.lab.twilio.voice.calls import CallCallback
from daemon.lab.twilio.voice.detection import Detection
from daemon.lab.twilio.voice.exchange import Order
from daemon.lab.twilio.voice.legs import Fetch, Inline, Program
from daemon.lab.twilio.voice.room import EVENT_GROUPS, RoomCallback

NUMBER: Final = re.compile(r"\+[1-9]\d{6,14}")
OTHER_ADDRESSES: Final = ("sip:", "client:")
TWIML_MAX: Final = 4_000
DATE_LENGTH: Final = len("2026-01-31")


def read_order(form: Form, account: Account, program: Program | None) -> Order:
    """What `Calls` and `Participants` have in common.

    Raises:
        RestError: 21201, 21211, 21213, 21210, 20001.
    """
    recipient, sender = form.get("To"), form.get("From")
    if not recipient:
        raise RestError(400, 21201)
    if not sender:
        raise RestError(400, 21213)
    _check_recipient(recipient, account)
    own = {number.phone_number for number in account.numbers}
    if own and sender not in own and not sender.startswith("client:"):
        raise RestError(400, 21210)
    return Order(
        sender=sender,
        recipient=recipient,
        program=program,
        callback=read_callback(form),
        fallback=read_fetch(form, "Fallback"),
        timeout_s=whole(form, "Timeout", 60, 1, 600),
        time_limit_s=whole(form, "TimeLimit", 14_400, 1, 86_400),
        detection=_read_detection(form),
    )


def read_program(form: Form, account: Account) -> Program | None:
    """What a call is to do: `Url`, else `Twiml`, else what an application says; None when nothing is said.

    Raises:
        RestError: 21218, 20001.
    """
    url = read_fetch(form, "")
    if url is not None:
        return url
    twiml = form.get("Twiml")
    if twiml:
        if len(twiml) > TWIML_MAX:
            raise RestError(400, 20001, f"Twiml must not be longer than {TWIML_MAX} characters")
        return Inline(twiml)
    sid = form.get("ApplicationSid")
    if not sid:
        return None
    app = next((app for app in account.applications if app.sid == sid), None)
    if app is None or app.voice_url is None:
        raise RestError(400, 21218)
    return Fetch(url=app.voice_url, method=app.voice_method)


def read_fetch(form: Form, prefix: str, default_method: str = "POST") -> Fetch | None:
    """`<prefix>Url` and `<prefix>Method`.

    Raises:
        RestError: 21205, it is no URL.
    """
    url = form.get(f"{prefix}Url")
    if not url:
        return None
    if not url.startswith(("http://", "https://")):
        raise RestError(400, 21205, f"Url is not a valid URL: {url}")
    return Fetch(url=url, method=form.get(f"{prefix}Method") or default_method)


def read_callback(form: Form) -> CallCallback | None:
    url = form.get("StatusCallback")
    if not url:
        return None
    # The SDK repeats the parameter; one value of several words is taken as well.
    events = " ".join(form.all("StatusCallbackEvent")).split()
    return CallCallback(
        url=url,
        method=form.get("StatusCallbackMethod") or "POST",
        events=frozenset(events or ["completed"]),
    )


def read_room_callback(form: Form) -> RoomCallback:
    """`ConferenceStatusCallback…` of a participant; without events it is told of start and end."""
    groups = " ".join(form.all("ConferenceStatusCallbackEvent")).split()
    return RoomCallback(
        url=form.get("ConferenceStatusCallback") or None,
        method=form.get("ConferenceStatusCallbackMethod") or "POST",
        groups=frozenset(group for group in groups if group in EVENT_GROUPS) or frozenset({"start", "end"}),
    )


def flag(form: Form, name: str) -> bool | None:
    """A boolean parameter; None when it is not given."""
    text = form.get(name)
    return None if text is None else text.lower() == "true"


def whole(form: Form, name: str, default: int, low: int, high: int) -> int:
    text = form.get(name)
    if not text:
        return default
    if not text.isdecimal() or not low <= int(text) <= high:
        raise RestError(400, 20001, f"Invalid {name}")
    return int(text)


def time_filter(query: Form, name: str) -> Callable[[datetime | None], bool]:
    """Read `<name>`, `<name>>` and `<name><`, each a date or a moment, all inclusive. Without any, all times fit.

    Raises:
        RestError: 20001, a value that is neither.
    """
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    given = False
    for key, text in query.pairs:
        if key.rstrip("<>") != name:
            continue
        given = True
        begins, ends = _span(text, name)
        first = first if key.endswith("<") else max(first, begins)
        last = last if key.endswith(">") else min(last, ends)

    def fits(moment: datetime | None) -> bool:
        return not given or (moment is not None and first <= moment.replace(microsecond=0) <= last)

    return fits


def _span(text: str, name: str) -> tuple[datetime, datetime]:
    """A date is a whole UTC day."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise RestError(400, 20001, f"Invalid {name}") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment, moment + (timedelta(days=1, seconds=-1) if len(text) == DATE_LENGTH else timedelta())


def _check_recipient(recipient: str, account: Account) -> None:
    if recipient.startswith("app:"):
        if account.target(recipient.partition("?")[0]) is None:
            raise RestError(400, 21218)
    elif not NUMBER.fullmatch(recipient) and not recipient.startswith(OTHER_ADDRESSES):
        raise RestError(
            400, 21211, f"The phone number you are attempting to call, {recipient}, is not valid."
        )


def _read_detection(form: Form) -> Detection | None:
    mode = form.get("MachineDetection")
    if not mode or form.get("SendDigits"):
        return None
    # Participants know only the asynchronous form, and its parameter has another name.
    url = form.get("AsyncAmdStatusCallback") or form.get("AmdStatusCallback")
    method = form.get("AsyncAmdStatusCallbackMethod") or form.get("AmdStatusCallbackMethod")
    blocks = flag(form, "AsyncAmd") is not True and form.get("AmdStatusCallback") is None
    return Detection(mode=mode, blocks=blocks, url=url, method=method or "POST")
