"""`/voice/transfer/init`: a program asks for an advisor, such as a server tool of the agent's.

Not Twilio's: it has a token of its own, and dials nobody whom the settings do not name.
"""

import hmac
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from attrs import frozen

from actors.live_call.effects import Answer as CallAnswer
from actors.live_call.events import Source
from actors.live_call.mail import Answered, AskForAdvisor
from actors.live_call.ports import LiveCall
from actors.live_call.state import Phase
from actors.live_call.switchboard import Switchboard
from actors.live_call.telephony import room_name
from actors.live_call.transfer_desk import Advisor, Advisors
from daemon.web.door import FORM_TYPE, read_body, require_open, stored
from daemon.web.express import Answer, ExpressRequest
from daemon.web.problem import HttpError

JSON_TYPE: Final = "application/json"
MESSAGE: Final = "Desvío iniciado"
_FIELDS: Final = ("CallSid", "To", "ConferenceName", "Advisor", "Reason")
_FIELD_MAX_CHARACTERS: Final = 500
_CALL_SID: Final = re.compile("CA[0-9a-fA-F]{32}")
_MAY_COME_TO_TRANSFER: Final = frozenset({Phase.ARRIVING, Phase.WITH_AGENT, Phase.TRANSFERRING})


@frozen(kw_only=True)
class TransferRoute:
    """Attributes:
    token: the tool token; without one everybody is refused.
    number_of: a number in its canonical form; None for what is none.
    dial_timeout_s: how long Twilio may take to answer the dial.
    """

    token: str
    switchboard: Switchboard
    advisors: Advisors
    number_of: Callable[[str], str | None]
    is_open: Callable[[], bool]
    max_body_bytes: int
    store_timeout_s: float
    dial_timeout_s: float

    async def init(self, request: ExpressRequest) -> Answer:
        """Call an advisor for a live call. Asked again while one is being called: the same answer, no second dial."""
        require_open(self.is_open)
        self._check_token(request)
        fields = await self._fields(request)
        call = await self._call(fields)
        asked = AskForAdvisor(
            source=Source.API, reason=fields.get("Reason", ""), name=self._advisor_name(call, fields)
        )
        answered = await self.switchboard.ask_for_advisor(call.id, asked)
        return await self._answer(answered)

    def _check_token(self, request: ExpressRequest) -> None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        is_right = (
            bool(self.token)
            and scheme.lower() == "bearer"
            and hmac.compare_digest(given.strip().encode(), self.token.encode())
        )
        if not is_right:
            raise HttpError(
                status=401,
                code="bad_token",
                message="the tool token is missing or wrong",
                headers={"WWW-Authenticate": "Bearer"},
            )

    async def _fields(self, request: ExpressRequest) -> Mapping[str, str]:
        content_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if content_type not in {FORM_TYPE, JSON_TYPE}:
            raise HttpError(status=415, code="wrong_content_type", message=f"send {JSON_TYPE} or {FORM_TYPE}")
        body = await read_body(request, max_bytes=self.max_body_bytes)
        fields = _json_fields(body) if content_type == JSON_TYPE else _form_fields(body)
        sid = fields.get("CallSid", "")
        if not _CALL_SID.fullmatch(sid):
            raise HttpError(status=400, code="bad_field", message=_sid_wanted(sid), field="CallSid")
        return fields

    async def _call(self, fields: Mapping[str, str]) -> LiveCall:
        call = await stored(self.switchboard.find(fields["CallSid"]), timeout_s=self.store_timeout_s)
        if call is None:
            raise HttpError(status=404, code="unknown_call", message="there is no such call", field="CallSid")
        if call.state.is_over:
            raise HttpError(status=409, code="call_ended", message="the call has ended", field="CallSid")
        room = fields.get("ConferenceName", "")
        if room and room != room_name(call.call_sid):
            raise HttpError(
                status=409,
                code="wrong_room",
                message="that is not the room of this call",
                field="ConferenceName",
            )
        return call

    def _advisor_name(self, call: LiveCall, fields: Mapping[str, str]) -> str:
        """Whom the fields name, who must be an advisor of the settings; empty for nobody in particular."""
        to, name = fields.get("To", ""), fields.get("Advisor", "")
        if name and not self.advisors.knows(name):
            raise _stranger(call, "Advisor")
        if not to:
            return name
        advisor = self._owner_of(to)
        if advisor is None:
            raise _stranger(call, "To")
        return advisor.name

    def _owner_of(self, number: str) -> Advisor | None:
        wanted = self.number_of(number)
        return next(
            (one for one in self.advisors if wanted is not None and self.number_of(one.phone) == wanted), None
        )

    async def _answer(self, answered: Answered | None) -> Answer:
        if answered is None:
            raise HttpError(status=503, code="not_taken", message="not taken in; try again")
        if answered.answer is CallAnswer.REFUSED:
            raise _not_now()
        leg = answered.call.state.advisor
        if answered.answer is CallAnswer.NOBODY or leg is None:
            raise HttpError(
                status=409, code="nobody_free", message="nobody who was asked for can be called now"
            )
        if not answered.is_stored:
            raise HttpError(status=503, code="store_unavailable", message="not stored; try again")
        sid = await self.switchboard.sid_of(answered.call.id, leg.ordinal, within_s=self.dial_timeout_s)
        if sid is None:
            problem = {"success": False, "message": "Twilio did not place the call"}
            return _json(502, problem)
        return _json(200, {"success": True, "message": MESSAGE, "callSid": sid})


def _not_now() -> HttpError:
    return HttpError(
        status=409, code="not_now", message="the call cannot be put through now", field="CallSid"
    )


def _stranger(call: LiveCall, field: str) -> HttpError:
    """A call that is past transferring comes before whom it was to be put through to."""
    if call.state.phase not in _MAY_COME_TO_TRANSFER:
        return _not_now()
    return HttpError(status=403, code="no_advisor", message="the settings name no such advisor", field=field)


def _json(status: int, body: Mapping[str, Any]) -> Answer:
    content = json.dumps(body, ensure_ascii=False).encode()
    return Answer(status=status, body=content, content_type=JSON_TYPE)


def _sid_wanted(given: str) -> str:
    got = "what was sent is none" if given else "there is none"
    return f"CallSid must be the SID of the caller's call, CA and 32 hexadecimal digits; {got}"


def _form_fields(body: bytes) -> Mapping[str, str]:
    """Letters that should have been percent-encoded are taken as they are: `curl -d Advisor=Jesús` sends them so."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError:
        raise HttpError(
            status=400, code="bad_form", message="the body is no url-encoded form in UTF-8"
        ) from None
    return _checked(dict(reversed(pairs)))


def _json_fields(body: bytes) -> Mapping[str, str]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise HttpError(status=400, code="bad_json", message="the body is no JSON object")
    return _checked({name: value[name] for name in _FIELDS if value.get(name) is not None})


def _checked(fields: Mapping[str, Any]) -> Mapping[str, str]:
    known = {name: fields[name] for name in _FIELDS if name in fields}
    for name, value in known.items():
        if not isinstance(value, str) or len(value) > _FIELD_MAX_CHARACTERS:
            raise HttpError(
                status=400, code="bad_field", message="not a text of at most 500 characters", field=name
            )
    return known
