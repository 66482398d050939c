"""Stand-ins for Twilio, ElevenLabs and the people who write: one trio program that speaks just enough.

The lab's simulators are faithful and cost five times the CPU of what they would measure here. What these send
and expect is the same: forms, frames and answers look like the lab's.
"""

import itertools
import json
import re
from collections import deque
from math import nan
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import trio
from attrs import define, field

from daemon.lab.serving import LabAccount
from daemon.lab.twilio.signing import SIGNATURE_HEADER, signature
from tests.bench.wire import (
    HungUpError,
    Request,
    Wire,
    answer,
    connect,
    handshake,
    post,
    read_request,
    read_status,
    read_text_frame,
    text_frame,
)

PING_EVERY_S = 5.0
"""As often as the lab's agent pings."""
PART_PAUSE_S = 0.02
"""Between two parts of an answer; a language model's words come one after the other."""
STATUS_AFTER_S = 0.05
"""From a message's acceptance to its first status, and from one status to the next."""

STATUSES = ("sent", "delivered", "read")

INCOMING_PATH = "/api/webhook/twilio/incoming"
_NUMBERS = re.compile(r"#(\d+)")
_PARTS = (
    "El plan básico cuesta 49",
    " dólares al mes e incluye",
    " dos agentes, mil minutos de",
    " voz y WhatsApp sin límite.",
    " ¿Quiere que le envíe la",
    " propuesta por escrito?",
)
_EMPTY_LISTS = {
    "/v1/convai/batch-calling/workspace": {"batch_calls": [], "has_more": False, "next_doc": None},
    "/v1/convai/conversations": {"conversations": [], "has_more": False, "next_cursor": None},
}


@define(eq=False)
class Turn:
    """One message of a person and what became of it; monotonic seconds.

    Attributes:
        posted_at: its webhook was sent; `heard_at`: the agent got it; `said_at`: the agent's answer was complete;
            `created_at`: Twilio was asked to send the answer.
        created: is set with `created_at`; `done` when the last status of the answer has been taken.
    """

    number: int
    phone: str
    posted_at: float = nan
    heard_at: float = nan
    said_at: float = nan
    created_at: float = nan
    created: trio.Event = field(factory=trio.Event)
    done: trio.Event = field(factory=trio.Event)

    @property
    def added_s(self) -> float:
        """What the program under test has added: the way to the agent and the way from it to Twilio."""
        return (self.heard_at - self.posted_at) + (self.created_at - self.said_at)


@define(eq=False)
class Vendors:
    """Both vendors on one port, and the people.

    Attributes:
        answers: false: the agent hears and says nothing.
        withholds_statuses: a turn is done with the request to send its answer; `report_withheld` tells the rest.
        turns: by number, which stands in every text; `finished` of them have been answered and reported.
        problems: what should not have happened. A figure from a run with problems is none.
    """

    public_port: int
    account: LabAccount = field(factory=LabAccount)
    answers: bool = True
    withholds_statuses: bool = False
    turns: dict[int, Turn] = field(factory=dict, init=False)
    finished: int = field(default=0, init=False)
    problems: list[str] = field(factory=list, init=False)
    open_sockets: int = field(default=0, init=False)
    port: int = field(default=0, init=False)
    _nursery: trio.Nursery = field(init=False)
    _progress: trio.Event = field(factory=trio.Event, init=False)
    _withheld: list[tuple[str, dict[str, str]]] = field(factory=list, init=False)
    _lines: deque[Wire] = field(factory=deque, init=False)
    _numbers: "itertools.count[int]" = field(factory=lambda: itertools.count(1), init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def public_url(self) -> str:
        return f"http://127.0.0.1:{self.public_port}"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=4096)
        self.port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.serve_listeners(self._serve, listeners)

    async def _serve(self, stream: trio.SocketStream) -> None:
        wire = Wire(stream)
        try:
            while True:
                request = await read_request(wire)
                if "sec-websocket-key" in request.headers:
                    await self._converse(wire, request)
                    return
                await wire.send(self._answer(request))
        except HungUpError:
            await stream.aclose()

    # --- REST -----------------------------------------------------------------------------------------------

    def _answer(self, request: Request) -> bytes:
        path = urlsplit(request.target).path
        if path.endswith("/Messages.json"):
            return self._messages(request)
        if path == "/v2/Indicators/Typing.json":
            return answer(200, '{"success":true}')
        if path == "/v1/convai/conversation/get-signed-url":
            url = f"ws://127.0.0.1:{self.port}/v1/convai/conversation?agent_id=agent&conversation_signature=s"
            return answer(200, json.dumps({"signed_url": url}))
        if path in _EMPTY_LISTS:
            return answer(200, json.dumps(_EMPTY_LISTS[path]))
        self.problems.append(f"unknown request {request.method} {path}")
        return answer(404, "{}")

    def _messages(self, request: Request) -> bytes:
        if request.method == "GET":
            page = {"messages": [], "page": 0, "page_size": 200, "start": 0, "end": 0, "next_page_uri": None}
            return answer(200, json.dumps(page))
        form = {name: values[0] for name, values in parse_qs(request.body.decode("ascii")).items()}
        sid = f"SM{next(self._numbers):032x}"
        turns = self._turns_in(form["Body"])
        for turn in turns:
            turn.created_at = trio.current_time()
            turn.created.set()
        self._nursery.start_soon(self._report, sid, form, turns)
        return answer(201, json.dumps(self._resource(sid, form)))

    def _resource(self, sid: str, form: dict[str, str]) -> dict[str, Any]:
        uri = f"/2010-04-01/Accounts/{self.account.account_sid}/Messages/{sid}"
        now = "Thu, 24 Aug 2023 05:01:45 +0000"
        return {
            "account_sid": self.account.account_sid,
            "api_version": "2010-04-01",
            "body": form["Body"],
            "date_created": now,
            "date_sent": None,
            "date_updated": now,
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "from": form["From"],
            "messaging_service_sid": None,
            "num_media": "0",
            "num_segments": "1",
            "price": None,
            "price_unit": None,
            "sid": sid,
            "status": "queued",
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": form["To"],
            "uri": f"{uri}.json",
        }

    def _turns_in(self, text: str) -> list[Turn]:
        return [self.turns[int(number)] for number in _NUMBERS.findall(text)]

    # --- The agent ------------------------------------------------------------------------------------------

    async def _converse(self, wire: Wire, request: Request) -> None:
        await wire.send(handshake(request))
        self.open_sockets += 1
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ping, wire)
                await self._listen(wire, nursery)
        except* HungUpError:
            pass
        finally:
            self.open_sockets -= 1
            await wire.stream.aclose()

    async def _listen(self, wire: Wire, nursery: trio.Nursery) -> None:
        while True:
            frame = json.loads(await read_text_frame(wire))
            match frame["type"]:
                case "conversation_initiation_client_data":
                    await wire.send(_metadata(f"conv_{next(self._numbers)}"))
                case "user_message":
                    turns = self._turns_in(frame["text"])
                    for turn in turns:
                        turn.heard_at = trio.current_time()
                    if self.answers:
                        nursery.start_soon(self._say, wire, turns)
                case _:
                    pass

    async def _say(self, wire: Wire, turns: list[Turn]) -> None:
        event_id = next(self._numbers)
        parts = [*_PARTS, "".join(f" #{turn.number}" for turn in turns)]
        await wire.send(_part("start", "", event_id))
        for part in parts:
            await wire.send(_part("delta", part, event_id))
            await trio.sleep(PART_PAUSE_S)
        await wire.send(_part("stop", "", event_id))
        response = {"agent_response": "".join(parts), "event_id": event_id}
        await wire.send(_frame("agent_response", "agent_response_event", response))
        said_at = trio.current_time()
        await wire.send(
            _frame("agent_response_complete", "agent_response_complete_event", {"event_id": event_id})
        )
        for turn in turns:
            turn.said_at = said_at

    async def _ping(self, wire: Wire) -> None:
        while True:
            await trio.sleep(PING_EVERY_S)
            await wire.send(_frame("ping", "ping_event", {"event_id": next(self._numbers), "ping_ms": None}))

    # --- Webhooks -------------------------------------------------------------------------------------------

    async def write(self, phone: str) -> Turn:
        """A person writes; returns once the webhook was answered."""
        turn = Turn(next(self._numbers), phone)
        self.turns[turn.number] = turn
        fields = self._incoming_fields(turn)
        turn.posted_at = trio.current_time()
        await self._post(self.public_url + INCOMING_PATH, fields, expected=200)
        return turn

    def _incoming_fields(self, turn: Turn) -> dict[str, str]:
        sid, digits = f"SM{turn.number:032x}", turn.phone.removeprefix("+")
        metadata = {"type": "whatsapp", "data": {"context": {"ProfileName": "Persona", "WaId": digits}}}
        return {
            "SmsMessageSid": sid,
            "NumMedia": "0",
            "ProfileName": "Persona",
            "MessageType": "text",
            "SmsSid": sid,
            "WaId": digits,
            "SmsStatus": "received",
            "Body": f"¿Cuánto cuesta el plan básico y qué incluye? #{turn.number}",
            "To": f"whatsapp:{self.account.whatsapp_from}",
            "NumSegments": "1",
            "ReferralNumMedia": "0",
            "MessageSid": sid,
            "AccountSid": self.account.account_sid,
            "ChannelMetadata": json.dumps(metadata),
            "From": f"whatsapp:{turn.phone}",
            "ExternalUserId": f"whatsapp:CO.{digits}",
            "ApiVersion": "2010-04-01",
        }

    async def _report(self, sid: str, form: dict[str, str], turns: list[Turn]) -> None:
        if self.withholds_statuses:
            self._withheld.append((sid, form))
        else:
            await self._post_statuses(sid, form, pause_s=STATUS_AFTER_S)
        for turn in turns:
            self.finished += 1
            turn.done.set()
        self._progress.set()
        self._progress = trio.Event()

    async def until_finished(self, turns: int) -> None:
        while self.finished < turns:
            await self._progress.wait()

    async def report_withheld(self, *, at_once: int) -> int:
        """Tell every status that was withheld, of so many messages at a time; returns how many statuses that were."""
        waiting, self._withheld = self._withheld, []
        limit = trio.CapacityLimiter(at_once)

        async def report(sid: str, form: dict[str, str]) -> None:
            async with limit:
                await self._post_statuses(sid, form, pause_s=0.0)

        async with trio.open_nursery() as nursery:
            for sid, form in waiting:
                nursery.start_soon(report, sid, form)
        return len(waiting) * len(STATUSES)

    async def _post_statuses(self, sid: str, form: dict[str, str], *, pause_s: float) -> None:
        for status in STATUSES:
            await trio.sleep(pause_s)
            fields = {
                "ApiVersion": "2010-04-01",
                "AccountSid": self.account.account_sid,
                "MessageSid": sid,
                "SmsSid": sid,
                "MessageStatus": status,
                "SmsStatus": status,
                "From": form["From"],
                "To": form["To"],
                "ChannelPrefix": "whatsapp",
                "ChannelInstallSid": "XE" + "0" * 32,
                "ChannelToAddress": f"{form['To'][:-4]}XXXX",
            }
            await self._post(form["StatusCallback"], fields, expected=204)

    async def _post(self, url: str, fields: dict[str, str], *, expected: int) -> None:
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
            "User-Agent": "TwilioProxy/1.1",
            "Accept": "*/*",
            "I-Twilio-Idempotency-Token": "0" * 36,
            SIGNATURE_HEADER: signature(self.account.auth_token, url, fields.items()),
        }
        target = url.removeprefix(self.public_url)
        octets = post(f"127.0.0.1:{self.public_port}", target, headers, urlencode(fields).encode("ascii"))
        line = self._lines.popleft() if self._lines else await connect(("127.0.0.1", self.public_port))
        try:
            await line.send(octets)
            status = await read_status(line)
        except HungUpError:
            self.problems.append(f"{target}: no answer")
            return
        self._lines.append(line)
        if status != expected:
            self.problems.append(f"{target}: {status}")

    async def hang_up(self) -> None:
        """Let go of the connections to the program under test, which is gone."""
        for line in self._lines:
            await line.stream.aclose()
        self._lines.clear()


def _frame(kind: str, name: str, event: dict[str, Any]) -> bytes:
    return text_frame(json.dumps({"type": kind, name: event}, ensure_ascii=False, separators=(",", ":")))


def _part(kind: str, text: str, event_id: int) -> bytes:
    part = {"type": kind, "text": text, "event_id": event_id}
    return _frame("agent_chat_response_part", "text_response_part", part)


def _metadata(conversation_id: str) -> bytes:
    event = {
        "conversation_id": conversation_id,
        "agent_output_audio_format": "pcm_16000",
        "user_input_audio_format": "pcm_16000",
    }
    return _frame("conversation_initiation_metadata", "conversation_initiation_metadata_event", event)
